"""Normalised losses, and their sums with a second loss that pushes the other classes down.

A loss divided by its sum over all labels, such as NCE = log p_y / sum_k log p_k, is symmetric: uniform noise does not
move its minimiser. Alone it under-fits, so an "active passive loss" is alpha NCE + beta (MAE or reverse CE) (Ma et al.,
ICML 2020; NFL, the normalised focal loss, in the place of NCE), or NCE with an asymmetric loss (Zhou et al., ICML
2021). Constants: CIFAR-10 / CIFAR-100 of the papers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cleanlab_lite.train.losses.base import LOSSES, LossFunction, or_default, reject

ACTIVE_PASSIVE = "Ma et al., ICML 2020"
ASYMMETRIC = "Zhou et al., ICML 2021"


def _normalized(name: str, num_classes: int, **hp: float) -> LossFunction:
    """A loss without memory, over its sum over all labels: of "ce", "focal" and "gce" never 0."""
    loss = LOSSES.get(name).function(1, num_classes, **hp)

    def normalized(logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        return loss(logits, targets, index) / loss(logits, torch.ones_like(logits), index)

    return normalized


@LOSSES.register("nce", summary="normalised cross entropy; robust, under-fits alone", paper=ACTIVE_PASSIVE)
def normalized_cross_entropy(num_samples: int, num_classes: int) -> LossFunction:
    """log p_y / sum_k log p_k, in 0..1."""
    return _normalized("ce", num_classes)


@LOSSES.register("nfl", summary="normalised focal loss; robust, under-fits alone", paper=ACTIVE_PASSIVE)
def normalized_focal(num_samples: int, num_classes: int, *, gamma: float = 0.5) -> LossFunction:
    """(1 - p_y)^gamma log p_y / sum_k (1 - p_k)^gamma log p_k, in 0..1, differentiated through both factors."""
    return _normalized("focal", num_classes, gamma=gamma)


@LOSSES.register("ngce", summary="normalised gce; robust, under-fits alone", paper=ACTIVE_PASSIVE)
def normalized_gce(num_samples: int, num_classes: int, *, q: float | None = None) -> LossFunction:
    """(1 - p_y^q) / (k - sum_k p_k^q), in 0..1. Default q: 0.1 up to 20 classes, else 0.7."""
    return _normalized("gce", num_classes, q=or_default(q, num_classes, 0.1, 0.7))


def _sum(name: str, alpha: float, beta: float, active: LossFunction, passive: LossFunction) -> LossFunction:
    """alpha active + beta passive."""
    reject(
        name,
        {
            f"alpha is {alpha}, must be positive": not 0 < alpha < math.inf,
            f"beta is {beta}, must be positive": not 0 < beta < math.inf,
        },
        hint=f"alpha weighs {name[:3]}, beta the second loss; to leave one out, use the other by its own name",
    )

    def loss(logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        return alpha * active(logits, targets, index) + beta * passive(logits, targets, index)

    return loss


def _with_mae(name: str, num_classes: int, active: LossFunction, alpha: float | None, beta: float) -> LossFunction:
    passive = LOSSES.get("mae").function(1, num_classes)
    return _sum(name, or_default(alpha, num_classes, 1.0, 10.0), beta, active, passive)


def _with_rce(
    name: str, num_classes: int, active: LossFunction, alpha: float | None, beta: float | None
) -> LossFunction:
    passive = LOSSES.get("sce").function(1, num_classes, alpha=0.0, beta=1.0)
    alpha, beta = or_default(alpha, num_classes, 1.0, 10.0), or_default(beta, num_classes, 1.0, 0.1)
    return _sum(name, alpha, beta, active, passive)


@LOSSES.register("nce_mae", summary="normalised cross entropy + mean absolute error", paper=ACTIVE_PASSIVE)
def nce_mae(num_samples: int, num_classes: int, *, alpha: float | None = None, beta: float = 1.0) -> LossFunction:
    """alpha NCE + beta (1 - p_y). Default alpha: 1 up to 20 classes, else 10."""
    return _with_mae("nce_mae", num_classes, _normalized("ce", num_classes), alpha, beta)


@LOSSES.register("nce_rce", summary="normalised cross entropy + reverse cross entropy", paper=ACTIVE_PASSIVE)
def nce_rce(
    num_samples: int, num_classes: int, *, alpha: float | None = None, beta: float | None = None
) -> LossFunction:
    """alpha NCE + beta RCE, RCE = 9.21 (1 - p_y). Default (alpha, beta): (1, 1) up to 20 classes, else (10, 0.1)."""
    return _with_rce("nce_rce", num_classes, _normalized("ce", num_classes), alpha, beta)


@LOSSES.register("nfl_mae", summary="normalised focal loss + mean absolute error", paper=ACTIVE_PASSIVE)
def nfl_mae(
    num_samples: int, num_classes: int, *, alpha: float | None = None, beta: float = 1.0, gamma: float = 0.5
) -> LossFunction:
    """alpha NFL(gamma) + beta (1 - p_y). Defaults of alpha and beta as in nce_mae."""
    return _with_mae("nfl_mae", num_classes, _normalized("focal", num_classes, gamma=gamma), alpha, beta)


@LOSSES.register("nfl_rce", summary="normalised focal loss + reverse cross entropy", paper=ACTIVE_PASSIVE)
def nfl_rce(
    num_samples: int,
    num_classes: int,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float = 0.5,
) -> LossFunction:
    """alpha NFL(gamma) + beta RCE. Defaults of alpha and beta as in nce_rce."""
    return _with_rce("nfl_rce", num_classes, _normalized("focal", num_classes, gamma=gamma), alpha, beta)


@LOSSES.register("nce_agce", summary="normalised cross entropy + asymmetric GCE", paper=ASYMMETRIC)
def nce_agce(
    num_samples: int,
    num_classes: int,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    a: float | None = None,
    q: float | None = None,
) -> LossFunction:
    """alpha NCE + beta AGCE(a, q).

    Default (alpha, beta, a, q): (1, 4, 6, 1.5) up to 20 classes, else (10, 0.1, 1.8, 3).
    """
    a, q = or_default(a, num_classes, 6.0, 1.8), or_default(q, num_classes, 1.5, 3.0)
    passive = LOSSES.get("agce").function(num_samples, num_classes, a=a, q=q)
    alpha, beta = or_default(alpha, num_classes, 1.0, 10.0), or_default(beta, num_classes, 4.0, 0.1)
    return _sum("nce_agce", alpha, beta, _normalized("ce", num_classes), passive)


@LOSSES.register("nce_aul", summary="normalised cross entropy + asymmetric unhinged loss", paper=ASYMMETRIC)
def nce_aul(
    num_samples: int,
    num_classes: int,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    a: float | None = None,
    q: float | None = None,
) -> LossFunction:
    """alpha NCE + beta AUL(a, q).

    Default (alpha, beta, a, q): (1, 4, 6.3, 1.5) up to 20 classes, else (10, 0.015, 6, 3).
    """
    a, q = or_default(a, num_classes, 6.3, 6.0), or_default(q, num_classes, 1.5, 3.0)
    passive = LOSSES.get("aul").function(num_samples, num_classes, a=a, q=q)
    alpha, beta = or_default(alpha, num_classes, 1.0, 10.0), or_default(beta, num_classes, 4.0, 0.015)
    return _sum("nce_aul", alpha, beta, _normalized("ce", num_classes), passive)


@LOSSES.register("nce_ael", summary="normalised cross entropy + asymmetric exponential loss", paper=ASYMMETRIC)
def nce_ael(
    num_samples: int,
    num_classes: int,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    a: float | None = None,
) -> LossFunction:
    """alpha NCE + beta AEL(a). Default (alpha, beta, a): (1, 4, 5) up to 20 classes, else (10, 0.1, 1.5)."""
    passive = LOSSES.get("ael").function(num_samples, num_classes, a=or_default(a, num_classes, 5.0, 1.5))
    alpha, beta = or_default(alpha, num_classes, 1.0, 10.0), or_default(beta, num_classes, 4.0, 0.1)
    return _sum("nce_ael", alpha, beta, _normalized("ce", num_classes), passive)

"""Normalised cross entropy, and its sums with a second loss that pushes the other classes down.

NCE = log p_y / sum_k log p_k is a loss divided by its sum over all labels, hence symmetric: uniform noise does not move
its minimiser. Alone it under-fits, so an "active passive loss" is alpha NCE + beta (MAE or reverse CE) (Ma et al.,
ICML 2020), or beta times an asymmetric loss (Zhou et al., ICML 2021). Constants: CIFAR-10 / CIFAR-100 of the papers.
"""

from __future__ import annotations

import math

from torch import Tensor

from cleanlab_lite.losses.base import LOSSES, LossFunction, log_probabilities, of_target, or_default, reject

ACTIVE_PASSIVE = "Ma et al., ICML 2020"
ASYMMETRIC = "Zhou et al., ICML 2021"


def _normalized(logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
    log_p = log_probabilities(logits)
    return of_target(log_p, targets) / log_p.sum(dim=1)  # the sum is at most -k log k, never 0


@LOSSES.register("nce", summary="normalised cross entropy; robust, under-fits alone", paper=ACTIVE_PASSIVE)
def normalized_cross_entropy(num_samples: int, num_classes: int) -> LossFunction:
    """log p_y / sum_k log p_k, in 0..1."""
    return _normalized


def _sum(name: str, alpha: float, beta: float, passive: LossFunction) -> LossFunction:
    """alpha NCE + beta passive."""
    reject(
        name,
        {
            f"alpha is {alpha}, must be positive": not 0 < alpha < math.inf,
            f"beta is {beta}, must be positive": not 0 < beta < math.inf,
        },
        hint="alpha weighs nce, beta the second loss; to leave one out, use the other by its own name",
    )

    def loss(logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        return alpha * _normalized(logits, targets, index) + beta * passive(logits, targets, index)

    return loss


@LOSSES.register("nce_mae", summary="normalised cross entropy + mean absolute error", paper=ACTIVE_PASSIVE)
def nce_mae(num_samples: int, num_classes: int, *, alpha: float | None = None, beta: float = 1.0) -> LossFunction:
    """alpha NCE + beta (1 - p_y). Default alpha: 1 up to 20 classes, else 10."""
    passive = LOSSES.get("mae").function(num_samples, num_classes)
    return _sum("nce_mae", or_default(alpha, num_classes, 1.0, 10.0), beta, passive)


@LOSSES.register("nce_rce", summary="normalised cross entropy + reverse cross entropy", paper=ACTIVE_PASSIVE)
def nce_rce(
    num_samples: int, num_classes: int, *, alpha: float | None = None, beta: float | None = None
) -> LossFunction:
    """alpha NCE + beta RCE, RCE = 9.21 (1 - p_y). Default (alpha, beta): (1, 1) up to 20 classes, else (10, 0.1)."""
    passive = LOSSES.get("sce").function(num_samples, num_classes, alpha=0.0, beta=1.0)
    alpha, beta = or_default(alpha, num_classes, 1.0, 10.0), or_default(beta, num_classes, 1.0, 0.1)
    return _sum("nce_rce", alpha, beta, passive)


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
    return _sum("nce_agce", alpha, beta, passive)


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
    return _sum("nce_aul", alpha, beta, passive)


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
    return _sum("nce_ael", alpha, beta, passive)

"""Asymmetric losses (Zhou et al., ICML 2021), each a function of p_y alone.

With label weights w at a point x, w_y the largest, an asymmetric loss is least at the vertex of y as long as
max_{i != y} w_i / w_y <= r: any label noise under which the true class still dominates by that much does no harm.
r is the asymmetry ratio in 0..1; 1 is full asymmetry (also of "mae"), 0 is none ("ce", and "gce" with q < 1). Uniform
noise on k classes is tolerated up to a rate of r (k - 1) / (1 + r (k - 1)), flips between two classes up to
r / (1 + r).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cleanlab_lite.train.losses.base import LOSSES, LossFunction, of_log_probability, reject

PAPER = "Zhou et al., ICML 2021"


def agce_ratio(a: float, q: float) -> float:
    """The ratio r. Raises ConfigError for values that make no asymmetric loss."""
    reject(
        "agce",
        {f"a is {a}, must be positive": not 0 < a < math.inf, f"q is {q}, must be positive": not 0 < q < math.inf},
        hint="asymmetric only for a > 0 and q > 0, ratio r = (a / (a + 1))^(1 - q), 1 from q = 1 on; a -> 0 is gce",
    )
    return 1.0 if q >= 1 else (a / (a + 1)) ** (1 - q)


def aul_ratio(a: float, q: float) -> float:
    """The ratio r. Raises ConfigError for values that make no asymmetric loss."""
    reject(
        "aul",
        {f"a is {a}, must exceed 1": not 1 < a < math.inf, f"q is {q}, must be positive": not 0 < q < math.inf},
        hint="asymmetric only for a > 1 and q > 0, ratio r = ((a - 1) / a)^(q - 1), 1 up to q = 1",
    )
    return 1.0 if q <= 1 else ((a - 1) / a) ** (q - 1)


def ael_ratio(a: float) -> float:
    """The ratio r. Raises ConfigError for values that make no asymmetric loss."""
    reject(
        "ael",
        {f"a is {a}, must be positive": not 0 < a < math.inf},
        hint="asymmetric only for a > 0, ratio r = exp(-1 / a)",
    )
    return math.exp(-1 / a)


@LOSSES.register("agce", summary="asymmetric generalised cross entropy", paper=PAPER)
def asymmetric_generalized_cross_entropy(
    num_samples: int, num_classes: int, *, a: float = 0.6, q: float = 0.6
) -> LossFunction:
    """((a + 1)^q - (a + p_y)^q) / q with a > 0 and q > 0; 0 at p_y = 1."""
    agce_ratio(a, q)
    scale: float = (a + 1) ** q / q

    def value(log_p: Tensor) -> Tensor:
        p = log_p.clamp(min=-60.0).exp()  # bounds the slope 1/(a + p) for tiny a; nothing is left to learn down there
        return -scale * torch.expm1(q * torch.log((a + p) / (a + 1)))

    return of_log_probability(value)


@LOSSES.register("aul", summary="asymmetric unhinged loss", paper=PAPER)
def asymmetric_unhinged(num_samples: int, num_classes: int, *, a: float = 5.5, q: float = 3.0) -> LossFunction:
    """((a - p_y)^q - (a - 1)^q) / q with a > 1 and q > 0; 0 at p_y = 1. At the defaults 13.5 where "ce" is 1.3."""
    aul_ratio(a, q)
    scale: float = (a - 1) ** q / q

    def value(log_p: Tensor) -> Tensor:
        return scale * torch.expm1(q * torch.log1p(-torch.expm1(log_p) / (a - 1)))

    return of_log_probability(value)


@LOSSES.register("ael", summary="asymmetric exponential loss", paper=PAPER)
def asymmetric_exponential(num_samples: int, num_classes: int, *, a: float = 2.5) -> LossFunction:
    """exp(-p_y / a) with a > 0; from 1 at p_y = 0 to exp(-1 / a) at p_y = 1."""
    ael_ratio(a)

    def value(log_p: Tensor) -> Tensor:
        return torch.exp(-log_p.exp() / a)

    return of_log_probability(value)

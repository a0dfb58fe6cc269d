"""Generalised cross entropy (1 - p_y^q) / q, plain and truncated (Zhang and Sabuncu, NeurIPS 2018).

The gradient is p_y^q times that of cross entropy, so samples that the model contradicts count less.
q -> 0 is cross entropy, q = 1 is 1 - p_y. Truncation makes the loss constant, its gradient zero, where p_y <= k.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cleanlab_lite.train.losses.base import LOSSES, LossFunction, of_log_probability, reject

PAPER = "Zhang and Sabuncu, NeurIPS 2018"
HINT = "q -> 0 is the loss ce, q = 1 is mae"


@LOSSES.register("gce", summary="between cross entropy (q -> 0) and mean absolute error (q = 1)", paper=PAPER)
def generalized_cross_entropy(num_samples: int, num_classes: int, *, q: float = 0.7) -> LossFunction:
    """(1 - p_y^q) / q, in 0..1/q."""
    reject("gce", {f"q is {q}, must lie in (0, 1]": not 0 < q <= 1}, hint=HINT)

    def value(log_p: Tensor) -> Tensor:
        return -torch.expm1(q * log_p) / q  # accurate for q near 0, where 1 - p^q cancels

    return of_log_probability(value)


@LOSSES.register("truncated_gce", summary="gce without gradient for samples that look wrong (p_y <= k)", paper=PAPER)
def truncated_generalized_cross_entropy(
    num_samples: int, num_classes: int, *, q: float = 0.7, k: float = 0.5
) -> LossFunction:
    """(1 - max(p_y, k)^q) / q, in 0..(1 - k^q)/q. Needs warm-up with "gce": at the start p_y ~ 1/num_classes < k."""
    reject(
        "truncated_gce",
        {f"q is {q}, must lie in (0, 1]": not 0 < q <= 1, f"k is {k}, must lie in (0, 1)": not 0 < k < 1},
        hint=HINT if 0 < k < 1 else "k is the probability at and below which a sample is ignored",
    )
    log_k = math.log(k)
    constant = -math.expm1(q * log_k) / q

    def value(log_p: Tensor) -> Tensor:
        return torch.where(log_p > log_k, -torch.expm1(q * log_p) / q, constant)

    return of_log_probability(value)

"""Symmetric cross entropy: alpha CE + beta reverse CE (Wang et al., ICCV 2019).

Reverse cross entropy -sum_k p_k log t_k of a one-hot t, with log 0 := A, is -A (1 - p_y).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cleanlab_lite.train.losses.base import LOSSES, LossFunction, of_log_probability, or_default, reject

LOG_ZERO = math.log(1e-4)  # the paper's text says -4; the code behind its alpha and beta clips the one-hot at 1e-4


@LOSSES.register("sce", summary="cross entropy plus reverse cross entropy", paper="Wang et al., ICCV 2019")
def symmetric_cross_entropy(
    num_samples: int, num_classes: int, *, alpha: float | None = None, beta: float | None = None, A: float = LOG_ZERO
) -> LossFunction:
    """-alpha log p_y - beta A (1 - p_y). Default (alpha, beta): (0.1, 1) up to 20 classes, else (6, 0.1)."""
    alpha, beta = or_default(alpha, num_classes, 0.1, 6.0), or_default(beta, num_classes, 1.0, 0.1)
    reject(
        "sce",
        {
            f"alpha is {alpha}, must not be negative": not 0 <= alpha < math.inf,
            f"beta is {beta}, must not be negative": not 0 <= beta < math.inf,
            "alpha and beta are both 0": alpha == 0 and beta == 0,
            f"A is {A}, must be negative": not -math.inf < A < 0,
        },
        hint="alpha weighs the cross entropy, beta the reverse cross entropy, A stands for log 0",
    )

    def value(log_p: Tensor) -> Tensor:
        return beta * A * torch.expm1(log_p) - alpha * log_p

    return of_log_probability(value)

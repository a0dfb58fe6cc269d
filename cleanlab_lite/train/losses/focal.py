"""Focal loss: cross entropy weighed down where the model is already right (Lin et al., ICCV 2017).

Made for rare classes, not for wrong labels, which it weighs up: a control among the robust losses.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cleanlab_lite.train.losses.base import LOSSES, LossFunction, of_log_probability, reject


@LOSSES.register("focal", summary="cross entropy times (1 - p_y)^gamma; not robust", paper="Lin et al., ICCV 2017")
def focal(num_samples: int, num_classes: int, *, gamma: float = 2.0) -> LossFunction:
    """-(1 - p_y)^gamma log p_y, differentiated through both factors."""
    reject(
        "focal",
        {f"gamma is {gamma}, must not be negative": not 0 <= gamma < math.inf},
        hint="gamma 0 is the loss ce",
    )

    def value(log_p: Tensor) -> Tensor:
        rest = (-torch.expm1(log_p)).clamp(min=1e-30)  # at 0 the slope of rest^gamma is infinite for gamma < 1
        return -rest.pow(gamma) * log_p

    return of_log_probability(value)

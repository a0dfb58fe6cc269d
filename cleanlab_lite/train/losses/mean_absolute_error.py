"""Mean absolute error between the one-hot label and the softmax.

Symmetric: its sum over all labels is constant, so uniform label noise does not move the minimiser (Ghosh et al.,
AAAI 2017). The price: its gradient is p_y times that of cross entropy, about 1/k at the start.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cleanlab_lite.train.losses.base import LOSSES, LossFunction, of_log_probability, reject


@LOSSES.register(
    "mae", summary="mean absolute error; robust, slow on many classes", paper="Ghosh, Kumar and Sastry, AAAI 2017"
)
def mean_absolute_error(num_samples: int, num_classes: int, *, scale: float = 1.0) -> LossFunction:
    """scale * (1 - p_y), in 0..scale. The L1 distance of the paper has scale 2."""
    reject(
        "mae",
        {f"scale is {scale}, must be positive": not 0 < scale < math.inf},
        hint="scale multiplies the loss; the usual values are 1 and 2",
    )

    def value(log_p: Tensor) -> Tensor:
        return -scale * torch.expm1(log_p)

    return of_log_probability(value)

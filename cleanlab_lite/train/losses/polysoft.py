"""Cross entropy with polynomial soft weights, which drop losses above a threshold (Shu et al., arXiv 2002.06482)."""

from __future__ import annotations

import math

from torch import Tensor

from cleanlab_lite.train.losses.base import LOSSES, LossFunction, of_log_probability, reject


@LOSSES.register("polysoft", summary="cross entropy, bent to a constant above lam", paper="Shu et al., arXiv 2020")
def polysoft(num_samples: int, num_classes: int, *, lam: float | None = None, d: float = 3.0) -> LossFunction:
    """(d-1)/d lam [1 - max(0, 1 - l/lam)^(d/(d-1))] of l = -log p_y; its slope in l is max(0, 1 - l/lam)^(1/(d-1)).

    lam is in nats. Default: 2 log num_classes, twice the loss of a model that knows nothing, so that an untrained one
    does learn; at log num_classes (where uniform noise would do no harm) half of its samples have no gradient.
    """
    lam = 2 * math.log(num_classes) if lam is None else lam
    reject(
        "polysoft",
        {f"lam is {lam}, must be positive": not 0 < lam < math.inf, f"d is {d}, must exceed 1": not 1 < d < math.inf},
        hint="samples with a cross entropy above lam have no gradient; d -> 1 cuts sharply, a large d gradually",
    )

    def value(log_p: Tensor) -> Tensor:
        below = (1 + log_p / lam).clamp(min=0)
        return (d - 1) / d * lam * (1 - below.pow(d / (d - 1)))

    return of_log_probability(value)

"""Cross entropy: -log p_y. Learns fastest and memorises every wrong label in the end."""

from __future__ import annotations

from torch import Tensor

from cleanlab_lite.train.losses.base import LOSSES, LossFunction, of_log_probability


@LOSSES.register("ce", summary="cross entropy; memorises wrong labels", paper="Good, JRSS B 1952")
def cross_entropy(num_samples: int, num_classes: int) -> LossFunction:
    """-log p_y in nats, 0 and up."""

    def value(log_p: Tensor) -> Tensor:
        return -log_p

    return of_log_probability(value)

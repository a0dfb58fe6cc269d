"""Discard the largest losses of each batch, once the network has learned something (Fonseca et al., WASPAA 2019).

From the starting epoch on a batch's loss is sum_i l_i keep_i / sum_i keep_i with keep_i = l_i <= threshold, the
threshold being a percentile of the batch's losses, or a share of the largest. Dividing by the survivors, not by the
batch, leaves the learning rate what it was. The paper goes from L_q with q = 0.7 to q = 0.5 at the same time:
`--loss gce:q=0.7 --strategy discard:second_q=0.5`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.losses import LOSSES
from cleanlab_lite.train.strategies.base import STRATEGIES, Setting, Strategy, reject


@STRATEGIES.register(
    "discard", summary="largest losses of each batch ignored, after a start", paper="Fonseca et al., WASPAA 2019"
)
class Discard(Strategy):
    """start: share of the epochs trained plainly first (paper: 20 epochs). percentile: of the losses that are kept.

    max_ratio: keep instead what is at most this share of the batch's largest loss (paper: 0.93). second_q: from the
    start on the loss is generalised cross entropy with this q; without it the loss stays as it is.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        start: float = 0.25,
        percentile: float = 93.0,
        max_ratio: float | None = None,
        second_q: float | None = None,
    ) -> None:
        reject(
            "discard",
            {
                f"start is {start}, must lie in 0..1": not 0 <= start <= 1,
                f"percentile is {percentile}, must lie in 0..100": not 0 <= percentile <= 100,
                f"max_ratio is {max_ratio}, must lie in 0..1": max_ratio is not None and not 0 <= max_ratio <= 1,
                f"second_q is {second_q}, must lie in 0..1, without 0": second_q is not None and not 0 < second_q <= 1,
            },
        )
        super().__init__(setting)
        self.start_epoch = round(start * setting.epochs)
        self.percentile, self.max_ratio = percentile, max_ratio
        self.second_loss = setting.loss
        if second_q is not None:
            self.second_loss = LOSSES.get("gce").function(len(setting.samples), setting.num_classes, q=second_q)

    def step(self, epoch: int, batch: Batch) -> None:
        if epoch < self.start_epoch:
            return super().step(epoch, batch)
        learner = self.learners[0]
        values = self.second_loss(learner.logits(self.setting.augment(batch.inputs)), batch.targets, batch.index)
        learner.update(mean_of_survivors(values, self.percentile, self.max_ratio))


def mean_of_survivors(losses: Tensor, percentile: float, max_ratio: float | None = None) -> Tensor:
    """Mean of the losses (b,) up to the threshold; ties with it survive."""
    ranked = losses.detach()
    if max_ratio is None:
        threshold = torch.quantile(ranked, percentile / 100, interpolation="lower")
    else:
        threshold = max_ratio * ranked.max()
    survives = ranked <= threshold
    return (losses * survives).sum() / survives.sum().clamp(min=1)

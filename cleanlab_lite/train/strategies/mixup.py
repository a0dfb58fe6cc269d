"""Mixup (Zhang et al., ICLR 2018) inside the batch, after a warm-up without it (Fonseca et al., WASPAA 2019).

x' = l x_i + (1 - l) x_j and l L(f(x'), y_i) + (1 - l) L(f(x'), y_j), with l ~ Beta(alpha, alpha) per sample. The
two-term form is right for every loss; mixing the targets instead is right only for those linear in the target.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Setting, Strategy, reject
from cleanlab_lite.train.strategies.parts import mix, mixed_loss, numpy_generator


@STRATEGIES.register(
    "mixup",
    summary="convex combinations of pairs, after a warm-up",
    paper="Zhang et al., ICLR 2018; Fonseca et al., 2019",
)
class Mixup(Strategy):
    """alpha: strength, 0.1 is mild and 32 mixes half and half. warmup: share of the epochs trained plainly first."""

    def __init__(self, setting: Setting, *, alpha: float = 1.0, warmup: float = 0.1) -> None:
        reject(
            "mixup",
            {
                f"alpha is {alpha}, must be positive": alpha <= 0,
                f"warmup is {warmup}, must lie in 0..1": not 0 <= warmup <= 1,
            },
        )
        super().__init__(setting)
        self.alpha = alpha
        self.warmup_epochs = round(warmup * setting.epochs)
        self.draws = numpy_generator(setting)

    def step(self, epoch: int, batch: Batch) -> None:
        if epoch < self.warmup_epochs:
            return super().step(epoch, batch)
        b, inputs = len(batch.index), self.setting.augment(batch.inputs)
        partner = self.setting.permutation(b)
        share = torch.as_tensor(self.draws.beta(self.alpha, self.alpha, b), dtype=torch.float32)
        share = share.to(inputs.device, non_blocking=True)
        self.learners[0].descend(self._mean_mixed_loss, inputs, batch.targets, batch.index, partner, share)

    def _mean_mixed_loss(
        self, inputs: Tensor, targets: Tensor, index: Tensor, partner: Tensor, share: Tensor
    ) -> Tensor:
        logits = self.learners[0].logits(mix(inputs, partner, share))
        return mixed_loss(self.setting.loss, logits, targets, index, partner, share).mean()

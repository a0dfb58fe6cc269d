"""Co-teaching (Han et al., NeurIPS 2018): two networks, each learning the small losses that the other one chose.

Of a batch of B, each network picks the int((1 - forget) B) rows with its smallest cross entropy and hands them to the
other, whose own errors it does not share. The forget rate rises from 0, as in the authors' code:
linspace(0, tau^c, T)[epoch], then tau. tau is the noise rate; the paper knows it, here it is the weight of the noisy
component in the mixture of the losses, at most 1/2.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Observed, Setting, Strategy, reject
from cleanlab_lite.train.strategies.parts import cross_entropy, noisy_posterior, within_quota


@STRATEGIES.register(
    "co_teaching", summary="two networks choose small losses for each other", paper="Han et al., NeurIPS 2018"
)
class CoTeaching(Strategy):
    """forget_rate: tau; estimated while it rises where none is given. exponent: c.

    rise: share of the epochs in which the rate rises (paper: 10 epochs of 200, which is later in steps than it looks).
    floor: share of each class in a batch that is kept whatever its losses, so that rare classes do not starve.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        forget_rate: float | None = None,
        rise: float = 0.3,
        exponent: float = 1.0,
        floor: float = 0.25,
    ) -> None:
        reject(
            "co_teaching",
            {
                f"forget_rate is {forget_rate}, must lie in 0..1": forget_rate is not None and not 0 <= forget_rate < 1,
                f"rise is {rise}, must lie in 0..1": not 0 <= rise <= 1,
                f"exponent is {exponent}, must be positive": exponent <= 0,
                f"floor is {floor}, must lie in 0..1": not 0 <= floor <= 1,
            },
        )
        super().__init__(setting)
        self.learners.append(setting.new_learner())
        self.estimating = forget_rate is None
        self.forget_rate = forget_rate or 0.0
        self.rise_epochs, self.exponent, self.floor = max(2, round(rise * setting.epochs)), exponent, floor

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        if self.estimating and 1 <= epoch <= self.rise_epochs:  # later the wrong labels are memorised
            self.forget_rate = min(0.5, float(noisy_posterior(observed.loss[-1, self.setting.rows]).mean()))
        return super().batches(epoch, observed)

    def step(self, epoch: int, batch: Batch) -> None:
        s = self.setting
        forget = forget_at(epoch, self.forget_rate, self.rise_epochs, self.exponent)
        inputs = s.augment(batch.inputs)
        logits = [learner.logits(inputs) for learner in self.learners]
        labels = batch.targets.cpu().numpy()
        chosen = [
            torch.as_tensor(
                small_losses(cross_entropy(z.detach(), batch.targets).cpu().numpy(), labels, forget, self.floor)
            ).to(batch.index.device)
            for z in logits
        ]
        for learner, z, rows in zip(self.learners, logits, reversed(chosen), strict=True):
            learner.update(s.loss(z[rows], batch.targets[rows], batch.index[rows]).mean())


def forget_at(epoch: int, rate: float, rise_epochs: int, exponent: float = 1.0) -> float:
    """Share of a batch that is forgotten."""
    return rate if epoch >= rise_epochs else rate**exponent * epoch / max(1, rise_epochs - 1)


def small_losses(losses: np.ndarray, labels: np.ndarray, forget: float, floor: float = 0.0) -> np.ndarray:
    """Sorted positions of the int((1 - forget) b) smallest losses (b,), and of the smallest `floor` of each class."""
    order = np.argsort(losses, kind="stable")
    small = order[: max(1, int((1 - forget) * len(losses)))]
    quota = (floor * np.bincount(labels) + 0.5).astype(np.int64)
    return np.union1d(small, within_quota(order, labels, quota))

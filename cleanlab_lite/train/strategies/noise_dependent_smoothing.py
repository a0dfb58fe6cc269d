"""Label smoothing that is stronger for the classes whose labels are wrong more often.

Fonseca et al., "Learning sound event classifiers from web audio with noisy labels", WASPAA 2019. There a person
names the noisy classes (the loss `group_label_smoothing`); here they are found after a warm-up with one strength for
all: rho_c is the mean posterior of the high component of the mixture on the mean losses, over the rows given class
c, and two means on rho split the classes. (The Gaussian mixture: a Beta mixture sees no two groups where only some
classes are noisy.)

The target is smoothed, so that any loss can be used; with cross entropy it is group label smoothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Observed, Setting, Strategy, reject
from cleanlab_lite.train.strategies.parts import noisy_posterior, one_hot, targets_of


@STRATEGIES.register(
    "noise_dependent_smoothing",
    summary="label smoothing, stronger for the classes that the loss mixture finds noisy",
    paper="Fonseca et al., WASPAA 2019",
)
class NoiseDependentSmoothing(Strategy):
    """eps + delta for the noisier group of classes, eps - delta for the other; warmup: share of the epochs before."""

    def __init__(self, setting: Setting, *, eps: float = 0.1, delta: float = 0.05, warmup: float = 0.25) -> None:
        reject(
            "noise_dependent_smoothing",
            {
                f"delta is {delta}, must not be negative": delta < 0,
                f"eps - delta is {eps - delta:g}, must not be negative": eps - delta < 0,
                f"eps + delta is {eps + delta:g}, must not exceed 0.5": eps + delta > 0.5,
                f"warmup is {warmup}, must lie in 0..1": not 0 <= warmup <= 1,
            },
        )
        super().__init__(setting)
        self.eps, self.delta = eps, delta
        self.start = max(1, round(warmup * setting.epochs))
        self.strength = torch.full((setting.num_classes,), eps, device=setting.targets.device)

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        if epoch == self.start:
            s = self.setting
            wrong = noisy_posterior(observed.loss[:, s.rows].astype(np.float64).mean(axis=0))
            labels = targets_of(s)
            counts = np.bincount(labels, minlength=s.num_classes)
            rate = np.bincount(labels, wrong, minlength=s.num_classes) / np.maximum(counts, 1)
            present = np.flatnonzero(counts)
            noisy = present[upper_of_two_means(rate[present])]
            if len(noisy):
                self.strength -= self.delta
                self.strength[noisy] += 2 * self.delta
        return super().batches(epoch, observed)

    def step(self, epoch: int, batch: Batch) -> None:
        s, learner = self.setting, self.learners[0]
        logits = learner.logits(s.augment(batch.inputs))
        targets = smoothed(batch.targets, self.strength)
        learner.update(s.loss(logits, targets, batch.index).mean())


def smoothed(targets: Tensor, strength: Tensor) -> Tensor:
    """(b, k) targets (1 - e_y) y + e_y / k of targets (b,), with e = strength (k,). The given label decides."""
    eps = strength[targets][:, None]
    return (1 - eps) * one_hot(targets, len(strength)) + eps / len(strength)


def upper_of_two_means(values: np.ndarray) -> np.ndarray:
    """(n,) bool: the upper of the two groups of values (n,) with the least sum of squares; none if all are equal."""
    ordered = np.sort(values)
    if len(values) < 2 or ordered[0] == ordered[-1]:
        return np.zeros(len(values), dtype=bool)
    n, below = len(values), np.arange(1, len(values))
    totals = np.cumsum(ordered)
    gain = totals[:-1] ** 2 / below + (totals[-1] - totals[:-1]) ** 2 / (n - below)
    gain[ordered[1:] == ordered[:-1]] = -np.inf  # equal values stay together
    return values > ordered[gain.argmax()]

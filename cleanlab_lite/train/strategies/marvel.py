"""MARVEL-style: a row whose margin stays negative epoch after epoch is given up (Lin and Bradic, arXiv 2102.00751).

    m_i(t) = z_y - max_{j != y} z_j, after epoch t, not augmented
    given up once max(m_i(t-k+1), ..., m_i(t)) < c: its weight is 0 from then on

MARVEL+ gives a greater weight to the arduous: rows with a small positive mean margin over the same k epochs.
The paper's statistic and constants could not be checked; these, and the guards, are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Observed, Setting, reject
from cleanlab_lite.train.strategies.parts import Weighted, targets_of, worst_within

CHANCE = 0.05  # of giving up a row whose margin is a coin's toss each epoch
PER_CLASS = 0.6  # share of a class that may be given up
PER_EPOCH = 0.15  # share of all rows that may be given up at a time
ARDUOUS = 0.3  # quantile of the positive mean margins below which a row is arduous


@STRATEGIES.register(
    "marvel", summary="rows with a long run of negative margins given up", paper="Lin and Bradic, arXiv 2021"
)
class Marvel(Weighted):
    """streak: k, in epochs; by default as short as chance allows, and at most a quarter of the epochs.

    burn_in: share of the epochs before which no row is given up (10 of 100). threshold: c. readmit: take a row back
    after k epochs above c. `abandoned_at` (n,) is the first epoch without the row, -1 if it was never given up.
    Nothing is given up before the network predicts half of the given labels, or 3/K of them where that is less.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        streak: int | None = None,
        burn_in: float = 0.1,
        threshold: float = 0.0,
        readmit: bool = False,
    ) -> None:
        reject(
            "marvel",
            {
                f"streak is {streak}, must be at least 1": streak is not None and streak < 1,
                f"burn_in is {burn_in}, must lie in 0..1": not 0 <= burn_in <= 1,
            },
        )
        super().__init__(setting)
        self.streak = streak or default_streak(setting.epochs)
        self.first_epoch = round(burn_in * setting.epochs)
        self.threshold, self.readmit = threshold, readmit
        self.abandoned_at = np.full(len(setting.samples), -1)

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        rows = self.setting.rows
        margin, labels = observed.margin[:, rows].astype(np.float32), targets_of(self.setting)
        if self.readmit:
            self.abandoned_at[rows[current_streak(-margin, -self.threshold) >= self.streak]] = -1
        agreement = (observed.predicted[:, rows] == labels).mean(axis=1)
        if epoch > self.first_epoch and agreement.max() > min(0.5, 3 / self.setting.num_classes):
            self._abandon(epoch, margin, labels)
        weights = self.weigh(margin, self.abandoned_at[rows] < 0)
        self.weights[torch.as_tensor(rows)] = torch.as_tensor(weights).to(self.weights)
        return super().batches(epoch, observed)

    def weigh(self, margin: np.ndarray, active: np.ndarray) -> np.ndarray:
        """(r,) weights from margins (e, r)."""
        return active.astype(np.float32)

    def _abandon(self, epoch: int, margin: np.ndarray, labels: np.ndarray) -> None:
        """Give up the worst first, within what a class and an epoch allow."""
        abandoned = self.abandoned_at[self.setting.rows] >= 0
        hopeless = ~abandoned & (current_streak(margin, self.threshold) >= self.streak)
        badness = -margin[-self.streak :].max(axis=0)
        chosen = worst_within(hopeless, badness, labels, PER_CLASS, gone=abandoned)
        self.abandoned_at[self.setting.rows[chosen[: int(PER_EPOCH * len(labels))]]] = epoch


@STRATEGIES.register(
    "marvel_plus", summary="marvel, and a greater weight for arduous rows", paper="Lin and Bradic, arXiv 2021"
)
class MarvelPlus(Marvel):
    """gamma: weight added to arduous rows, before the weights are scaled to a mean of 1. The rest as in marvel."""

    def __init__(
        self,
        setting: Setting,
        *,
        gamma: float = 1.0,
        **giving_up: Any,
    ) -> None:
        reject("marvel_plus", {f"gamma is {gamma}, must not be negative": gamma < 0})
        super().__init__(setting, **giving_up)
        self.gamma = gamma

    def weigh(self, margin: np.ndarray, active: np.ndarray) -> np.ndarray:
        if not len(margin):
            return super().weigh(margin, active)
        mean = margin[-self.streak :].mean(axis=0)
        known = active & (mean > 0) & (current_streak(margin, self.threshold) == 0)
        weights = active.astype(np.float32)
        if known.any():
            weights[known & (mean < np.quantile(mean[active & (mean > 0)], ARDUOUS))] += self.gamma
        return weights / weights[active].mean() if active.any() else weights


def current_streak(margin: np.ndarray, threshold: float = 0.0) -> np.ndarray:
    """(n,) epochs, up to the last of margin (e, n), for which it has stayed below; NaN does not count as below."""
    below = margin < threshold
    return np.logical_and.accumulate(below[::-1]).sum(axis=0)


def chance_of_streak(streak: int, epochs: int, p: float = 0.5) -> float:
    """Probability of at least one run of `streak` in `epochs` independent events of probability p."""
    run = np.zeros(streak)  # probability of a current run of each length, none yet complete
    run[0] = 1.0
    for _ in range(epochs):
        run = np.concatenate([[(1 - p) * run.sum()], p * run[:-1]])
    return float(1 - run.sum())


def default_streak(epochs: int) -> int:
    """The shortest run that chance rarely makes: 10 in 100 epochs, 7 in 16; but a quarter of a short training."""
    rare = next(k for k in range(1, epochs + 2) if chance_of_streak(k, epochs) <= CHANCE)
    return max(2, min(rare, round(epochs / 4)))

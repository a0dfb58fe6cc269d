"""Prune the data by a checkpoint's losses, once or in rounds, and go on with the same weights.

After Fonseca et al., WASPAA 2019: stabler than discarding per batch, and when counts as much as how much: too early
the network cannot tell, too late it has memorised the wrong labels. The paper takes away the largest 3 % of all losses
after 15 epochs. Added here: a guard for hard rows that the network gets right, a cap per class (a global percentile
takes the rare classes), and an amount read off the losses.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Observed, Setting, Strategy, reject
from cleanlab_lite.train.strategies.parts import batches_over, noisy_posterior, targets_of, worst_within


@STRATEGIES.register(
    "prune", summary="rows with a large loss at a checkpoint taken out", paper="Fonseca et al., WASPAA 2019"
)
class Prune(Strategy):
    """start: share of the epochs before the first round. rounds: how often, spread evenly up to 3/4 of the epochs.

    amount: share of each given class, over all rounds. Without it the rows that are noisy in the mixture of the losses
    (`mixture`: gaussian or beta). guard: rows whose label is predicted stay. cap: share of a class that may go.
    `pruned_at` (n,) is the epoch before which a row was taken out, -1 if it was not.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        start: float = 0.3,
        rounds: int = 1,
        amount: float | None = None,
        mixture: str = "gaussian",
        cap: float = 0.4,
        guard: bool = True,
    ) -> None:
        reject(
            "prune",
            {
                f"start is {start}, must lie in 0..0.75": not 0 <= start <= 0.75,
                f"rounds is {rounds}, must be at least 1": rounds < 1,
                f"amount is {amount}, must lie in 0..1": amount is not None and not 0 <= amount < 1,
                f"mixture is {mixture!r}, must be gaussian or beta": mixture not in ("gaussian", "beta"),
                f"cap is {cap}, must lie in 0..1": not 0 <= cap < 1,
            },
        )
        super().__init__(setting)
        self.round_at = [max(1, round(share * setting.epochs)) for share in np.linspace(start, 0.75, rounds)]
        self.amount, self.family, self.cap, self.guard = amount, mixture, cap, guard
        self.pruned_at = np.full(len(setting.samples), -1)

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        rows = self.setting.rows
        if epoch in self.round_at:
            loss, margin = (values[-1, rows].astype(np.float64) for values in (observed.loss, observed.margin))
            labels, left = targets_of(self.setting), self.pruned_at[rows] < 0
            if self.amount is None:
                large = noisy_posterior(loss, self.family) > 0.5
            else:
                large = largest(loss, labels, self.amount * (self.round_at.index(epoch) + 1) / len(self.round_at))
            chosen = large & left & ((margin < 0) | (not self.guard))
            self.pruned_at[rows[worst_within(chosen, loss, labels, self.cap, gone=~left)]] = epoch
        return batches_over(self.setting, rows[self.pruned_at[rows] < 0])


def largest(loss: np.ndarray, labels: np.ndarray, amount: float) -> np.ndarray:
    """(r,) bool: above the (1 - amount) quantile, taken from below, of the losses of its class. Ties stay."""
    chosen = np.zeros(len(loss), dtype=bool)
    for c in np.unique(labels):
        members = labels == c
        chosen[members] = loss[members] > np.quantile(loss[members], 1 - amount, method="lower")
    return chosen

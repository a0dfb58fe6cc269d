"""Curriculum by density (Guo et al., CurriculumNet, ECCV 2018): first the dense part of each class, the thin last.

After a plain warm-up the proxy's features split each given class into easy, semi-hard and hard rows, see
`judge/detectors/density.py`. Then the easy ones are learned, then the semi-hard ones with them, then all; the weights
of the three are 1, 1/2 and 1/2.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from cleanlab_lite.judge.detectors.density import EASY, HARD, class_densities
from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Observed, Setting, reject
from cleanlab_lite.train.strategies.parts import Weighted, batches_over, features_of, targets_of


@STRATEGIES.register(
    "curriculum", summary="dense parts of each class first, thin ones last", paper="Guo et al., ECCV 2018"
)
class Curriculum(Weighted):
    """warmup: share of the epochs on all rows alike. The three stages share the rest.

    weight: of semi-hard and hard rows. `subset` (n,) is 0 easy, 1 semi-hard or 2 hard; 0 before they are known.
    """

    def __init__(self, setting: Setting, *, warmup: float = 0.25, weight: float = 0.5) -> None:
        reject(
            "curriculum",
            {
                f"warmup is {warmup}, must lie in 0..1": not 0 <= warmup < 1,
                f"weight is {weight}, must lie in 0..1": not 0 <= weight <= 1,
            },
        )
        super().__init__(setting)
        self.warmup_epochs = max(1, round(warmup * setting.epochs))
        self.weight = weight
        self.subset = np.zeros(len(setting.samples), dtype=np.int64)

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        s = self.setting
        if epoch < self.warmup_epochs:
            return super().batches(epoch, observed)
        if epoch == self.warmup_epochs:
            _, self.subset[s.rows] = class_densities(features_of(self.learners[0], s.samples, s.rows), targets_of(s))
            self.weights = torch.as_tensor(np.where(self.subset == EASY, 1.0, self.weight)).to(self.weights)
        return batches_over(s, s.rows[self.subset[s.rows] <= self.stage(epoch)])

    def stage(self, epoch: int) -> int:
        """The hardest subset that epoch learns."""
        return min(HARD, 3 * (epoch - self.warmup_epochs) // max(1, self.setting.epochs - self.warmup_epochs))

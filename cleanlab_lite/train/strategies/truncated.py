"""Truncated generalised cross entropy with its pruning schedule (Zhang and Sabuncu, NeurIPS 2018).

With L_q = (1 - p_y^q) / q the paper minimises, by turns over the network and over weights w_i in 0..1,

    mean_i w_i (L_q,i - L_q(k)),  for a fixed network least at w_i = 1[p_y,i > k]

All weights are 1 at first: p_y starts at 1/K < k, and the loss `truncated_gce` on its own would learn nothing. From a
starting epoch on they are recomputed now and then for all rows, from the clean pass, so that a row may come back. The
constant L_q(k) has no gradient and is left out; the mean is over the rows that count, so that the learning rate stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.losses import LOSSES
from cleanlab_lite.train.strategies.base import STRATEGIES, Observed, Setting, reject
from cleanlab_lite.train.strategies.parts import Weighted, targets_of, worst_within


@STRATEGIES.register(
    "truncated",
    summary="generalised cross entropy without rows whose label stays improbable; replaces the loss",
    paper="Zhang and Sabuncu, NeurIPS 2018",
)
class Truncated(Weighted):
    """start: share of the epochs before the first pruning (40 of 120). every: share between two (10 of 120).

    q, k: of the loss, which takes the place of `--loss`. cap: share of a class that may have weight 0, the least
    probable labels first; the paper has none.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        q: float = 0.7,
        k: float = 0.5,
        start: float = 0.33,
        every: float = 0.08,
        cap: float = 0.6,
    ) -> None:
        reject(
            "truncated",
            {
                f"q is {q}, must lie in 0..1, without 0": not 0 < q <= 1,
                f"k is {k}, must lie in 0..1, without the ends": not 0 < k < 1,
                f"start is {start}, must lie in 0..1": not 0 <= start <= 1,
                f"every is {every}, must lie in 0..1": not 0 <= every <= 1,
                f"cap is {cap}, must lie in 0..1": not 0 <= cap <= 1,
            },
        )
        super().__init__(
            replace(setting, loss=LOSSES.get("gce").function(len(setting.samples), setting.num_classes, q=q))
        )
        self.start, self.every = (max(1, round(share * setting.epochs)) for share in (start, every))
        self.k, self.cap = k, cap

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        if epoch >= self.start and (epoch - self.start) % self.every == 0:
            rows, labels = self.setting.rows, targets_of(self.setting)
            loss = observed.loss[-1, rows].astype(np.float64)  # -log p_y
            self.weights.fill_(1)
            pruned = worst_within(loss >= -math.log(self.k), loss, labels, self.cap)
            self.weights[torch.as_tensor(rows[pruned])] = 0
        return super().batches(epoch, observed)

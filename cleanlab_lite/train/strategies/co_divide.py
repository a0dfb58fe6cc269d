"""Two networks split the rows for each other into clean and unlabelled (Li, Socher and Hoi, DivideMix, ICLR 2020).

1. Warm-up on all rows: loss + penalty mean_i sum_k p log p, which keeps the losses apart under asymmetric noise.
2. Co-divide, before each later epoch: a mixture of two Gaussians on one network's losses gives w_i, the probability
   that the label is clean, for the other network. Rows with w_i > threshold are labelled, the rest is not.

What is learned from the two parts is up to the strategy. Both networks' logits are averaged where they are observed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import Learner, Observed, Setting, Strategy, reject
from cleanlab_lite.train.strategies.parts import (
    OfNetwork,
    batches_over,
    losses_by_network,
    negative_entropy,
    noisy_posterior,
)


@dataclass(frozen=True)
class Divided(OfNetwork):
    """What one of the networks learns from in a step: labelled rows, and others whose label is not shown."""

    unlabelled: Batch | None = None  # None in the warm-up, empty where every label is trusted


class CoDivided(Strategy):
    """Two networks, a warm-up, and the division. Subclasses say how to learn from a divided batch.

    warmup: share of the epochs (paper: 10 of 300, 30 with 100 classes). penalty: on certainty, in the warm-up.
    threshold: of w.
    """

    reads_logits = True

    def __init__(
        self, name: str, setting: Setting, *, warmup: float = 0.25, penalty: float = 1.0, threshold: float = 0.5
    ) -> None:
        reject(
            name,
            {
                f"warmup is {warmup}, must lie in 0..1": not 0 <= warmup <= 1,
                f"penalty is {penalty}, must not be negative": penalty < 0,
                f"threshold is {threshold}, must lie in 0..1": not 0 <= threshold < 1,
            },
        )
        super().__init__(setting)
        self.learners.append(setting.new_learner())
        self.warmup_epochs = max(2, round(warmup * setting.epochs))  # after one, the losses say little
        self.penalty, self.threshold = penalty, threshold
        # of pictures two views of half a batch each: the labelled part of a step costs what a plain step does
        self.views = 2 if setting.samples.is_image else 1
        self.clean = torch.ones(2, len(setting.samples), device=setting.samples.device)  # w, for each network

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        s = self.setting
        if epoch >= self.warmup_epochs:
            self.divide(observed)
        for network in (0, 1):
            if epoch < self.warmup_epochs:
                for batch in s.samples.shuffled(s.rows, s.targets, s.batch_size, s.generator):
                    yield Divided(batch.inputs, batch.targets, batch.index, network)
                continue
            clean = self.clean[network].cpu().numpy()[s.rows] > self.threshold
            size = max(2, s.batch_size // self.views)
            unlabelled = batches_over(s, s.rows[~clean], size)
            for batch, other in zip(batches_over(s, s.rows[clean], size), unlabelled, strict=True):
                yield Divided(batch.inputs, batch.targets, batch.index, network, other)

    def divide(self, observed: Observed) -> None:
        """Each network's losses say which labels the other one trusts; all of them where the losses have one bump."""
        s = self.setting
        for network, loss in enumerate(losses_by_network(s, observed)):
            clean = 1 - noisy_posterior(loss)
            if min(np.bincount(clean > self.threshold, minlength=2)) < 2:  # batch norm takes no single row
                clean = np.ones(len(clean))
            self.clean[1 - network, torch.as_tensor(s.rows)] = torch.as_tensor(clean).to(self.clean)

    def step(self, epoch: int, batch: Batch) -> None:
        assert isinstance(batch, Divided)
        learner = self.learners[batch.network]
        if batch.unlabelled is not None:
            return self.learn(epoch, batch, batch.unlabelled, learner)
        logits = learner.logits(self.setting.augment(batch.inputs))
        values = self.setting.loss(logits, batch.targets, batch.index)
        learner.update(values.mean() + self.penalty * negative_entropy(logits))

    def learn(self, epoch: int, batch: Divided, unlabelled: Batch, learner: Learner) -> None:
        """One step of `learner` after the warm-up."""
        raise NotImplementedError

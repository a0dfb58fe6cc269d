"""Self-learning with prototypes: after each epoch the labels are corrected to the class whose prototypes a row is like.

Han, Luo and Wang, "Deep self-learning from noisy labels", ICCV 2019. The loss is (1 - alpha) L(y) + alpha L(y^),
where y^ is the class with the largest mean cosine similarity to its density-peak prototypes (see the detector
`prototypes`) in the encoder's features. With many classes y^ is softened: softmax(similarity / tau), tau such that it
is as confident as it agrees with the trusted labels.

The paper corrects from the second epoch on. A reproduction saw accuracy collapse from it, so it starts later here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from cleanlab_lite.arrays import unit_rows
from cleanlab_lite.judge.detectors.prototypes import class_centers
from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Observed, Setting, Strategy, reject
from cleanlab_lite.train.strategies.parts import features_of, noisy_posterior, numpy_generator, one_hot, targets_of

MANY_CLASSES = 20  # above which corrections are soft


@STRATEGIES.register(
    "self_learning",
    summary="labels corrected after each epoch by similarity to prototypes",
    paper="Han, Luo and Wang, ICCV 2019",
)
class SelfLearning(Strategy):
    """alpha: weight of the corrected label. prototypes per class, from `sample` rows. start: share of the epochs.

    soft: corrections as probabilities; by default above 20 classes.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        alpha: float = 0.5,
        prototypes: int = 8,
        sample: int = 1280,
        start: float = 0.25,
        soft: bool | None = None,
    ) -> None:
        reject(
            "self_learning",
            {
                f"alpha is {alpha}, must lie in 0..1": not 0 <= alpha <= 1,
                f"prototypes is {prototypes}, must be positive": prototypes < 1,
                f"sample is {sample}, must be at least 20": sample < 20,
                f"start is {start}, must lie in 0..1": not 0 <= start <= 1,
            },
        )
        super().__init__(setting)
        self.alpha, self.prototypes, self.sample = alpha, prototypes, sample
        self.start = max(1, round(start * setting.epochs))
        self.soft = setting.num_classes > MANY_CLASSES if soft is None else soft
        self.draws = numpy_generator(setting)
        self.corrected: Tensor | None = None  # (n, k), zeros outside the rows to learn from

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        if epoch >= self.start:
            self.corrected = self.correct(observed)
        return super().batches(epoch, observed)

    def step(self, epoch: int, batch: Batch) -> None:
        if self.corrected is None:
            return super().step(epoch, batch)
        s, learner = self.setting, self.learners[0]
        given = one_hot(batch.targets, s.num_classes)
        targets = (1 - self.alpha) * given + self.alpha * self.corrected[batch.index]
        learner.update(s.loss(learner.logits(s.augment(batch.inputs)), targets, batch.index).mean())

    def correct(self, observed: Observed) -> Tensor:
        """(n, k) corrected labels."""
        s = self.setting
        labels = targets_of(s)
        trust = 1 - noisy_posterior(observed.loss[-1, s.rows], family="beta")
        rows = unit_rows(features_of(self.learners[0], s.samples, s.rows))
        options = {"prototypes": self.prototypes, "sample": self.sample}
        centers = class_centers(rows, labels, s.num_classes, self.draws, trust=trust, **options)
        similarity = (rows @ centers.T).astype(np.float64)
        similarity[:, np.bincount(labels, minlength=s.num_classes) == 0] = -np.inf
        if self.soft:
            clean = trust > 0.95 if (trust > 0.95).any() else np.ones(len(trust), bool)
            values = softmax(similarity / temperature(similarity[clean], labels[clean]), axis=1)
        else:
            values = np.eye(s.num_classes)[similarity.argmax(axis=1)]
        corrected = torch.zeros(len(s.targets), s.num_classes)
        corrected[torch.as_tensor(s.rows)] = torch.as_tensor(values, dtype=torch.float32)
        return corrected.to(s.targets.device)


def temperature(similarity: np.ndarray, labels: np.ndarray) -> float:
    """tau in 0.01..1 whose softmax(similarity / tau) (r, k) is as sure as its largest class agrees with labels (r,)."""
    agreement = (similarity.argmax(axis=1) == labels).mean()
    low, high = 0.01, 1.0
    for _ in range(20):
        middle = (low * high) ** 0.5
        sure = softmax(similarity / middle, axis=1).max(axis=1).mean() > agreement
        low, high = (middle, high) if sure else (low, middle)
    return (low * high) ** 0.5

"""Attentive feature mixup: pairs are mixed in feature space, with a share that a small network learns per pair.

Peng et al., "Suppressing mislabeled data via grouping and self-attention", ECCV 2020. For features f_i, f_j of a pair

    a = sigmoid(w . (relu(A f_i) + relu(B f_j))),   f' = a f_i + (1 - a) f_j
    L = weight [c L(f', y_i) + (1 - c) L(f', y_j)] + (1 - weight) L(f_i, y_i)

A wrong label makes the mixture hard to classify, so the network is to learn to give its row little attention; on a
few hundred rows the shares stay near one half. c is 1/2 in the authors' code. With c = a, as mixup would have it, one
side of every pair soon gets all of the attention. Predictions come from the plain branch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Setting, Strategy, reject
from cleanlab_lite.train.strategies.parts import Extended, mix, mixed_loss, new_linear

LABELS = ("equal", "attention")
WIDTH = 3 / 16  # of the features: 384 of 2048


class Attentive(Extended):
    """A proxy with the layers that weigh pairs of features."""

    def __init__(self, proxy: Any, setting: Setting) -> None:
        super().__init__(proxy)
        d = proxy.head.in_features
        width = max(1, round(WIDTH * d))
        self.first, self.second = new_linear(d, width, setting), new_linear(d, width, setting)
        self.score = new_linear(width, 1, setting)

    def attention(self, features: Tensor, partner: Tensor) -> Tensor:
        """(b,) share of each row in the mixture with its partner."""
        hidden = self.first(features).relu() + self.second(features[partner]).relu()
        return self.score(hidden)[:, 0].float().sigmoid()


@STRATEGIES.register(
    "attention_mixup",
    summary="features of pairs mixed with a learned share",
    paper="Peng et al., ECCV 2020",
)
class AttentionMixup(Strategy):
    """weight: of the mixed branch. labels: "equal" or "attention", how the mixture shares its labels."""

    def __init__(self, setting: Setting, *, weight: float = 0.75, labels: str = "equal") -> None:
        reject(
            "attention_mixup",
            {
                f"weight is {weight}, must lie in 0..1": not 0 <= weight <= 1,
                f"labels is {labels!r}, must be equal or attention": labels not in LABELS,
            },
        )
        super().__init__(setting, lambda proxy: Attentive(proxy, setting))
        self.weight, self.labels = weight, labels

    def step(self, epoch: int, batch: Batch) -> None:
        s, learner = self.setting, self.learners[0]
        network: Any = learner.network
        partner = s.permutation(len(batch.index))
        with learner.precision():
            features = network.encoder(s.augment(batch.inputs))
            attention = network.attention(features, partner)
            plain = network.head(features).float()
            mixed = network.head(mix(features, partner, attention)).float()
        share = attention if self.labels == "attention" else torch.full_like(attention, 0.5)
        pairs = mixed_loss(s.loss, mixed, batch.targets, batch.index, partner, share)
        naive = s.loss(plain, batch.targets, batch.index)
        learner.update((self.weight * pairs + (1 - self.weight) * naive).mean())

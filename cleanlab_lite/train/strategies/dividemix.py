"""DivideMix (Li, Socher and Hoi, ICLR 2020): MixMatch on rows that two networks have split for each other.

The warm-up and the split are in `co_divide.py`; w is the probability that a label is clean. Of each row:

    two augmented views
    co-refine a labelled row:   y' = w y + (1 - w) mean p_own          both sharpened,
    co-guess an unlabelled row: q' = mean p of both networks           means over the views
    mix all views together: l ~ Beta(alpha, alpha), l' = max(l, 1 - l), one per batch
    CE(x', y') + lambda_u ramp mean_k (p(u') - q')^2 + sum_k 1/K log(1/K / mean p_k)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Learner, Setting, reject
from cleanlab_lite.train.strategies.co_divide import CoDivided, Divided
from cleanlab_lite.train.strategies.parts import (
    class_balance,
    cross_entropy,
    larger_share,
    mix,
    numpy_generator,
    one_hot,
    ramp,
    sharpen,
)


@STRATEGIES.register(
    "dividemix", summary="two networks split the rows for each other, MixMatch", paper="Li, Socher and Hoi, ICLR 2020"
)
class DivideMix(CoDivided):
    """alpha: of the mixing, 0.5 for real noise in the paper. lambda_u: weight of unlabelled rows; the
    paper's 0 for real noise, where these serve as partners in the mixing; 25 for CIFAR-10 with half of the labels
    random, 50 to 150 beyond. rise: share of the epochs in which it comes in (paper: 16 of 300).
    """

    def __init__(
        self,
        setting: Setting,
        *,
        temperature: float = 0.5,
        alpha: float = 4.0,
        lambda_u: float = 0.0,
        rise: float = 0.1,
        **division: float,
    ) -> None:
        reject(
            "dividemix",
            {
                f"temperature is {temperature}, must be positive": temperature <= 0,
                f"alpha is {alpha}, must be positive": alpha <= 0,
                f"lambda_u is {lambda_u}, must not be negative": lambda_u < 0,
                f"rise is {rise}, must lie in 0..1": not 0 <= rise <= 1,
            },
        )
        super().__init__("dividemix", setting, **division)
        self.temperature, self.alpha, self.lambda_u = temperature, alpha, lambda_u
        self.rise_epochs = rise * setting.epochs
        self.draws = numpy_generator(setting)

    def learn(self, epoch: int, batch: Divided, unlabelled: Batch, learner: Learner) -> None:
        s = self.setting
        labelled = [s.augment(batch.inputs) for _ in range(self.views)]
        rest = unlabelled.inputs
        unlabelled_views = [s.augment(rest) for _ in range(self.views)] if len(rest) else []
        with torch.no_grad():
            refined = co_refine(
                one_hot(batch.targets, s.num_classes),
                self.clean[batch.network, batch.index],
                _belief(learner, labelled),
            )
            targets = [sharpen(refined, self.temperature)] * self.views
            if unlabelled_views:
                other = self.learners[1 - batch.network]
                other.network.eval()
                guess = (_belief(learner, unlabelled_views) + _belief(other, unlabelled_views)) / 2
                other.network.train()
                targets += [sharpen(guess, self.temperature)] * self.views
        inputs, target = torch.cat(labelled + unlabelled_views), torch.cat(targets)
        order = s.permutation(len(inputs))
        share = larger_share(self.draws, self.alpha)
        logits, target = learner.logits(mix(inputs, order, share)), mix(target, order, share)
        known = self.views * len(batch.index)
        loss = cross_entropy(logits[:known], target[:known]).mean() + class_balance(logits)
        if unlabelled_views:
            weight = self.lambda_u * ramp(epoch, self.warmup_epochs, self.rise_epochs)
            loss = loss + weight * squared_distance(logits[known:].softmax(dim=1), target[known:]).mean()
        learner.update(loss)


def co_refine(given: Tensor, clean: Tensor, belief: Tensor) -> Tensor:
    """(b, k) w y + (1 - w) p of given labels (b, k), clean probabilities (b,) and the network's belief (b, k)."""
    return clean[:, None] * given + (1 - clean[:, None]) * belief


def squared_distance(probabilities: Tensor, targets: Tensor) -> Tensor:
    """(b,) mean over the classes."""
    return ((probabilities - targets) ** 2).mean(dim=1)


def _belief(learner: Learner, views: list[Tensor]) -> Tensor:
    """(b, k) mean prediction over augmented views of the same rows."""
    parts: Any = learner.logits(torch.cat(views)).softmax(dim=1).chunk(len(views))
    return torch.stack(parts).mean(dim=0)

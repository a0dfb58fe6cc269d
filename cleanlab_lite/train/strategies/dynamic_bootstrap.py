"""Dynamic bootstrapping: the likelier a label is wrong, the more the network's own prediction takes its place.

Arazo et al., "Unsupervised label noise modeling and loss correction", ICML 2019 (M-DYR-H, M-DYR-S, MD-DYR-SH).
w_i is the posterior of the high component of a Beta mixture on the losses after the last epoch:

    t_i = (1 - w_i) y_i + w_i z_i,  z_i = the predicted class (hard) or probabilities (soft) of the unmixed input
    L = l L(f(x'), t_i) + (1 - l) L(f(x'), t_j) + reg KL(uniform || mean prediction),  x' = l x_i + (1 - l) x_j

with one l ~ Beta(alpha, alpha) per batch. "soft_to_hard" weighs label and prediction alike, sharpens the prediction
from epoch to epoch, and mixes inputs by how clean they are: (1 - w_i) : (1 - w_j).
Without mixup the network memorises wrong labels before it could correct them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Observed, Setting, Strategy, reject
from cleanlab_lite.train.strategies.parts import (
    class_balance,
    mix,
    mixed_loss,
    noisy_posterior,
    numpy_generator,
    one_hot,
)

KINDS = ("hard", "soft", "soft_to_hard")
SHARPEST = 1e-3  # temperature
FULLY_SHARP = 0.67  # share of the epochs; 200 of 300 in the paper


@STRATEGIES.register(
    "dynamic_bootstrap",
    summary="labels give way to predictions as the loss mixture doubts them, with mixup",
    paper="Arazo et al., ICML 2019",
)
class DynamicBootstrap(Strategy):
    """kind: hard, soft or soft_to_hard. alpha: of mixup, 0 is without. reg: weight of the class regulariser.

    warmup: share of the epochs that only mix, 105 of 300 in the paper.
    """

    def __init__(
        self, setting: Setting, *, kind: str = "hard", alpha: float = 32.0, reg: float = 1.0, warmup: float = 0.35
    ) -> None:
        reject(
            "dynamic_bootstrap",
            {
                f"kind is {kind!r}, must be one of {', '.join(KINDS)}": kind not in KINDS,
                f"alpha is {alpha}, must not be negative": alpha < 0,
                "soft_to_hard mixes inputs, alpha must not be 0": kind == "soft_to_hard" and alpha == 0,
                f"reg is {reg}, must not be negative": reg < 0,
                f"warmup is {warmup}, must lie in 0..1": not 0 <= warmup <= 1,
            },
        )
        super().__init__(setting)
        self.kind, self.alpha, self.reg = kind, alpha, reg
        self.start = max(1, round(warmup * setting.epochs))
        self.draws = numpy_generator(setting)
        self.wrong = torch.zeros(len(setting.targets), device=setting.targets.device)  # w

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        if epoch >= self.start:
            rows = self.setting.rows
            wrong = torch.as_tensor(noisy_posterior(observed.loss[-1, rows], family="beta"))
            self.wrong[torch.as_tensor(rows, device=self.wrong.device)] = wrong.clamp(1e-4, 1 - 1e-4).to(self.wrong)
        return super().batches(epoch, observed)

    def step(self, epoch: int, batch: Batch) -> None:
        s, learner = self.setting, self.learners[0]
        inputs, wrong = s.augment(batch.inputs), self.wrong[batch.index]
        bootstraps = epoch >= self.start
        targets = one_hot(batch.targets, s.num_classes)
        if not self.alpha:
            logits = learner.logits(inputs)
            if bootstraps:
                targets = self.correct(targets, wrong, logits.detach(), epoch)
            loss = s.loss(logits, targets, batch.index)
        else:
            if bootstraps:
                with torch.no_grad():
                    targets = self.correct(targets, wrong, learner.logits(inputs), epoch)
            share = float(self.draws.beta(self.alpha, self.alpha))
            partner = s.permutation(len(wrong))
            portion = torch.full_like(wrong, share)
            if bootstraps and self.kind == "soft_to_hard":
                portion = (1 - wrong) / (2 - wrong - wrong[partner])
            logits = learner.logits(mix(inputs, partner, portion))
            loss = mixed_loss(s.loss, logits, targets, batch.index, partner, share)
        learner.update(loss.mean() + (self.reg * class_balance(logits) if bootstraps else 0.0))

    def correct(self, given: Tensor, wrong: Tensor, logits: Tensor, epoch: int) -> Tensor:
        """(b, k) targets."""
        if self.kind == "soft_to_hard":
            return bootstrapped(given, torch.full_like(wrong, 0.5), logits, temperature=self.temperature(epoch))
        return bootstrapped(given, wrong, logits, hard=self.kind == "hard")

    def temperature(self, epoch: int) -> float:
        """1 where bootstrapping starts, then falling in a line, over 89 of 300 epochs in the paper."""
        end = max(self.start + 1, round(FULLY_SHARP * self.setting.epochs))
        return max(SHARPEST, 1 - (1 - SHARPEST) * (epoch - self.start) / (end - self.start))


def bootstrapped(
    given: Tensor, wrong: Tensor, logits: Tensor, *, hard: bool = False, temperature: float = 1.0
) -> Tensor:
    """(b, k) targets (1 - w) given + w belief, of given (b, k), wrong (b,) and the logits (b, k) of the belief."""
    belief = one_hot(logits.argmax(dim=1), logits.shape[1]) if hard else (logits / temperature).softmax(dim=1)
    return (1 - wrong[:, None]) * given + wrong[:, None] * belief

"""ProMix, compact (Xiao et al., IJCAI 2023): learn from a balanced clean set that grows, guess through another head.

Before each epoch after the warm-up, the ceil(rho N / K) smallest cross entropies of each given class are selected, the
same number for each class. In a batch a row is selected as well where p(given label) > confidence: another label never
selects. On the selected rows, with w rising from 0 to 1,

    CE(weak view) + w [CE(strong view) + mixup]

for both heads on the features: the primary one, which alone predicts, and the pseudo head, which also learns the rest
from the primary head's sharpened predictions. So wrong guesses reach the features, not the predictor. Running class
priors, of selected rows and of the rest, are added to logits in losses and taken from logits that guess:
+- debias log pi.

Left out of the paper's method: FMix, and labels guessed by agreement of two networks towards the end.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.losses.base import or_default
from cleanlab_lite.train.strategies.base import STRATEGIES, Learner, Observed, Setting, Strategy, reject
from cleanlab_lite.train.strategies.parts import (
    Extended,
    OfNetwork,
    batches_over,
    cross_entropy,
    larger_share,
    losses_by_network,
    mix,
    numpy_generator,
    ramp,
    sharpen,
    targets_of,
    within_quota,
)

MOMENTUM = 0.99  # of the class priors, per step; the paper's 0.9999 is for 100,000 steps
TEMPERATURE = 0.5  # of the guesses
ALPHA = 4.0  # of mixup
SELECTED, REST = 0, 1


class TwoHeads(Extended):
    """A proxy with a pseudo head beside its own, which starts as a copy: no random number is drawn."""

    def __init__(self, proxy: Any) -> None:
        super().__init__(proxy)
        self.pseudo = copy.deepcopy(proxy.head)

    def both(self, inputs: Tensor) -> Tensor:
        """(2, b, k) logits of the primary and the pseudo head."""
        features = self.encoder(inputs)
        return torch.stack([self.head(features), self.pseudo(features)])


@STRATEGIES.register(
    "promix",
    summary="a balanced clean set that grows; guesses through a head of their own",
    paper="Xiao et al., IJCAI 2023",
)
class ProMix(Strategy):
    """networks: 1 or 2, each selecting for itself. select: rho, share of the rows; the paper's .5 for human noise.

    warmup: share of the epochs (10 of 600 in the paper). confidence: .99, with many classes .95. guess: weight of the
    guesses, which comes in twice as slowly as w. debias: .8, with many classes .5. rise: share of the epochs in which
    w rises (50 of 600 in the paper).
    """

    reads_logits = True

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 1,
        select: float = 0.5,
        warmup: float = 0.2,
        confidence: float | None = None,
        guess: float = 0.1,
        debias: float | None = None,
        rise: float = 0.15,
    ) -> None:
        self.confidence = or_default(confidence, setting.num_classes, 0.99, 0.95)
        self.debias = or_default(debias, setting.num_classes, 0.8, 0.5)
        reject(
            "promix",
            {
                f"networks is {networks}, must be 1 or 2": networks not in (1, 2),
                f"select is {select}, must lie in 0..1": not 0 < select <= 1,
                f"warmup is {warmup}, must lie in 0..1": not 0 <= warmup <= 1,
                f"confidence is {confidence}, must lie in 0..1": not 0 <= self.confidence <= 1,
                f"guess is {guess}, must not be negative": guess < 0,
                f"debias is {debias}, must not be negative": self.debias < 0,
                f"rise is {rise}, must lie in 0..1": not 0 <= rise <= 1,
            },
        )
        super().__init__(setting, TwoHeads)
        self.learners += [setting.new_learner(TwoHeads) for _ in range(networks - 1)]
        self.select, self.guess = select, guess
        self.warmup_epochs, self.rise_epochs = max(1, round(warmup * setting.epochs)), rise * setting.epochs
        self.draws = numpy_generator(setting)
        n, k, device = len(setting.samples), setting.num_classes, setting.samples.device
        self.small = torch.zeros(networks, n, dtype=torch.bool, device=device)
        self.prior = torch.full((networks, 2, k), 1 / k, device=device)

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        s = self.setting
        if epoch >= self.warmup_epochs:
            for network, loss in enumerate(losses_by_network(s, observed)):
                small = s.rows[balanced_small(loss, targets_of(s), s.num_classes, self.select)]
                self.small[network] = False
                self.small[network, torch.as_tensor(small)] = True
        for network in range(len(self.learners)):
            for batch in batches_over(s, s.rows):
                yield OfNetwork(batch.inputs, batch.targets, batch.index, network)

    def step(self, epoch: int, batch: Batch) -> None:
        assert isinstance(batch, OfNetwork)
        s, learner = self.setting, self.learners[batch.network]
        if epoch < self.warmup_epochs:
            primary, pseudo = self._both(learner, s.augment(batch.inputs))
            own = s.loss(primary, batch.targets, batch.index)
            return learner.update((own + cross_entropy(pseudo, batch.targets)).mean())
        weak = s.augment(batch.inputs)
        logits = self._both(learner, torch.cat([weak, s.augment_strongly(batch.inputs)]))  # (2, 2b, k)
        weak_logits, strong_logits = logits.chunk(2, dim=1)
        belief = weak_logits[0].detach()
        selected = self.small[batch.network, batch.index] | matched(belief, batch.targets, self.confidence)
        shift, rest_shift = self.track_priors(batch.network, belief.softmax(dim=1), selected)
        w = ramp(epoch, self.warmup_epochs, self.rise_epochs)
        loss, chosen = torch.zeros((), device=belief.device), torch.nonzero(selected)[:, 0]
        if len(chosen) > 1:
            targets = batch.targets[chosen]
            order = s.permutation(len(chosen))
            share = larger_share(self.draws, ALPHA)
            mixed_logits = self._both(learner, mix(weak[chosen], order, share))
            for head in (0, 1):
                mixed = mixed_logits[head] + shift
                pairs = share * cross_entropy(mixed, targets) + (1 - share) * cross_entropy(mixed, targets[order])
                strong = cross_entropy(strong_logits[head, chosen] + shift, targets)
                loss = loss + (cross_entropy(weak_logits[head, chosen] + shift, targets) + w * (strong + pairs)).mean()
        if not selected.all():
            target = sharpen((belief[~selected] - rest_shift).softmax(dim=1), TEMPERATURE)
            views = (weak_logits[1, ~selected], strong_logits[1, ~selected])
            slow = self.guess * ramp(epoch, self.warmup_epochs, 2 * self.rise_epochs)
            loss = loss + slow * sum(cross_entropy(view + rest_shift, target).mean() for view in views)
        learner.update(loss)

    @staticmethod
    def _both(learner: Learner, inputs: Tensor) -> Tensor:
        network: Any = learner.network
        with learner.precision():
            return network.both(inputs).float()

    def track_priors(self, network: int, probabilities: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
        """Update the priors; (k,) shift of the logits of selected rows, and of the rest."""
        for part, rows in ((SELECTED, selected), (REST, ~selected)):
            if rows.any():
                self.prior[network, part].lerp_(probabilities[rows].mean(dim=0), 1 - MOMENTUM)
        shifts = self.debias * self.prior[network].log()
        return shifts[SELECTED], shifts[REST]


def balanced_small(loss: np.ndarray, labels: np.ndarray, num_classes: int, select: float) -> np.ndarray:
    """Indices of the ceil(select r / K) smallest losses (r,) of each class, or all of a smaller class."""
    quota = np.full(num_classes, int(np.ceil(select * len(loss) / num_classes)))
    return within_quota(np.argsort(loss, kind="stable"), labels, quota)


def matched(logits: Tensor, labels: Tensor, confidence: float) -> Tensor:
    """(b,) bool: the given label is more probable than `confidence`."""
    return cross_entropy(logits, labels).neg().exp() > confidence

"""What several strategies share: batches over a part of the rows, weights, which rows go, soft targets, heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cleanlab_lite.judge.mixture import BetaMixture, GaussianMixture, fit_beta_mixture, fit_gaussian_mixture
from cleanlab_lite.train.augment import integers
from cleanlab_lite.train.loader import Batch, Samples
from cleanlab_lite.train.losses import LossFunction
from cleanlab_lite.train.losses.base import log_probabilities, of_target
from cleanlab_lite.train.strategies.base import Learner, Observed, Setting, Strategy

ENCODED = 1024  # rows at a time

# --- batches --------------------------------------------------------------------------------------------------------


def batches_over(setting: Setting, rows: np.ndarray, size: int = 0) -> Iterator[Batch]:
    """One epoch over `rows` (r,), some of `setting.rows`, in batches of `size` (default: the usual).

    An epoch has as many steps as plain training, whatever the rows: else the learning rate would not come down.
    They are shuffled anew when they run out.
    """
    left = setting.steps_per_epoch
    while left:
        for batch in setting.samples.shuffled(rows, setting.targets, size or setting.batch_size, setting.generator):
            yield batch
            left -= 1
            if not left:
                return


@dataclass(frozen=True)
class OfNetwork(Batch):
    """A batch for one of several networks."""

    network: int


def targets_of(setting: Setting) -> np.ndarray:
    """(r,) int64 labels of `setting.rows` on the host."""
    return setting.targets.cpu().numpy()[setting.rows]


def numpy_generator(setting: Setting) -> np.random.Generator:
    """For Beta distributions, which torch draws without taking a generator."""
    return np.random.default_rng(int(integers(0, 2**62 - 1, (), setting.generator)))


def ramp(epoch: float, start: float, length: float) -> float:
    """0 up to `start`, then linear to 1 at `start + length`."""
    return float(min(max((epoch - start) / length, 0.0), 1.0)) if length > 0 else float(epoch >= start)


class Weighted(Strategy):
    """Plain training with a weight per row: sum_i w_i l_i / max(sum_i w_i, 1)."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.weights = torch.ones(len(setting.samples), device=setting.samples.device)  # (n,)

    def step(self, epoch: int, batch: Batch) -> None:
        inputs, weights = self.setting.augment(batch.inputs), self.weights[batch.index]
        self.learners[0].descend(self._weighted_loss, inputs, batch.targets, batch.index, weights)

    def _weighted_loss(self, inputs: Tensor, targets: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        values = self.setting.loss(self.learners[0].logits(inputs), targets, index)
        return (weights * values).sum() / weights.sum().clamp(min=1)


# --- what is chosen -------------------------------------------------------------------------------------------------


def noisy_posterior(loss: np.ndarray, family: str = "gaussian") -> np.ndarray:
    """(r,) probability that the label is wrong, from a mixture of two on the losses (r,); 0 where there is one bump.

    family: "gaussian" or "beta". A degenerate Beta mixture gives way to the Gaussian one.
    """
    mixture: BetaMixture | GaussianMixture = fit_beta_mixture(loss) if family == "beta" else fit_gaussian_mixture(loss)
    if mixture.degenerate and family == "beta":
        mixture = fit_gaussian_mixture(loss)
    return mixture.posterior(loss) if mixture.separated else np.zeros(len(loss))


def losses_by_network(setting: Setting, observed: Observed) -> Iterator[np.ndarray]:
    """(r,) cross entropies of `setting.rows` in the last clean pass, network by network."""
    assert observed.logits is not None
    targets = torch.as_tensor(targets_of(setting))
    for logits in observed.logits:
        yield cross_entropy(torch.as_tensor(logits[setting.rows]), targets).numpy()


def worst_within(
    chosen: np.ndarray, badness: np.ndarray, labels: np.ndarray, cap: float, gone: np.ndarray | None = None
) -> np.ndarray:
    """Indices of `chosen` (r,) bool, the worst first, as many as a share `cap` of each class allows.

    `gone` (r,) bool: rows that already count towards that share.
    """
    sizes = np.bincount(labels)
    quota = (cap * sizes).astype(np.int64)
    if gone is not None:
        quota -= np.bincount(labels[gone], minlength=len(sizes))
    order = np.flatnonzero(chosen)
    return within_quota(order[np.argsort(-badness[order], kind="stable")], labels, quota)


def within_quota(order: np.ndarray, labels: np.ndarray, quota: np.ndarray) -> np.ndarray:
    """The first quota[c] rows of each class c among `order` (m,), which index `labels` (r,); in the same order."""
    classes = labels[order]
    by_class = np.argsort(classes, kind="stable")
    sizes = np.bincount(classes, minlength=len(quota))
    rank = np.empty(len(order), dtype=np.int64)
    rank[by_class] = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[classes[by_class]]
    return order[rank < quota[classes]]


# --- targets and penalties ------------------------------------------------------------------------------------------


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """(b,) of hard (b,) or soft (b, k) targets."""
    return -of_target(log_probabilities(logits), targets)


def sharpen(probabilities: Tensor, temperature: float = 0.5) -> Tensor:
    """p^(1/T) / sum_k p_k^(1/T), rows of (b, k)."""
    powers = (probabilities / probabilities.amax(dim=1, keepdim=True)) ** (1 / temperature)
    return powers / powers.sum(dim=1, keepdim=True)


def negative_entropy(logits: Tensor) -> Tensor:
    """Mean of sum_k p_k log p_k: a penalty on certainty."""
    log_p = log_probabilities(logits)
    return (log_p.exp() * log_p).sum(dim=1).mean()


def class_balance(logits: Tensor) -> Tensor:
    """sum_k 1/K log(1/K / mean_i p_ik): 0 where every class is predicted alike, and grows as one takes over."""
    k = logits.shape[1]
    return -(k * log_probabilities(logits).exp().mean(dim=0).clamp(min=1e-8)).log().mean()


def mix(values: Tensor, order: Tensor, share: float | Tensor) -> Tensor:
    """Each row of `values` (b, ...) with its partner values[order]: share of its own, the rest of the partner's.

    share: one for all, or (b,).
    """
    if isinstance(share, Tensor):
        share = share.to(values).reshape(-1, *[1] * (values.dim() - 1))
    return share * values + (1 - share) * values[order]


def mixed_loss(
    loss: LossFunction, logits: Tensor, targets: Tensor, index: Tensor, partner: Tensor, share: float | Tensor
) -> Tensor:
    """(b,) share L(f, y_i) + (1 - share) L(f, y_j), for logits of inputs mixed with those of `partner` (b,)."""
    own = loss(logits, targets, index)
    return share * own + (1 - share) * loss(logits, targets[partner], index[partner])


def larger_share(draws: np.random.Generator, alpha: float) -> float:
    """l ~ Beta(alpha, alpha), or 1 - l where that is more: each row stays the greater part of its mixture."""
    share = float(draws.beta(alpha, alpha))
    return max(share, 1 - share)


# --- features -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def features_of(learner: Learner, samples: Samples, rows: np.ndarray) -> np.ndarray:
    """(r, d) float32 penultimate features of `rows`, not augmented. The network is left in training mode."""
    network = learner.network
    network.eval()
    features = samples.averaged(rows, ENCODED, lambda inputs: network.encoder(inputs).float())
    network.train()
    return features.cpu().numpy()


# --- heads and labels of one batch ----------------------------------------------------------------------------------


class Extended(nn.Module):
    """A proxy to which a strategy adds layers; its predictions are those of the proxy."""

    def __init__(self, proxy: Any) -> None:
        super().__init__()
        self.encoder, self.head = proxy.encoder, proxy.head

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.encoder(inputs))


def new_linear(inputs: int, outputs: int, setting: Setting) -> nn.Linear:
    """A layer initialised from the setting's generator; global random state stays as it is."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, device=setting.generator.device)
    nn.init.normal_(layer.weight, std=inputs**-0.5, generator=setting.generator)
    nn.init.zeros_(layer.bias)
    return layer


def one_hot(targets: Tensor, num_classes: int) -> Tensor:
    """(b, num_classes) float32 of targets (b,)."""
    return nn.functional.one_hot(targets, num_classes).float()

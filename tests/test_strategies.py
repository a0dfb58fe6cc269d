"""Strategies and the learner they move: what goes into the network, which loss comes out, and how a step is taken."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cleanlab_lite.train.loader import Batch, Samples
from cleanlab_lite.train.strategies import STRATEGIES, Learner, Observed, Setting, Strategy

N = 12
PARTIAL = {"dividemix", "fixmatch", "meta_loss"}  # hold rows back, or take some of them more often


class Recorder(nn.Module):
    """The identity, which remembers its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.inputs.append(inputs.detach().clone())
        return inputs


class Spy(nn.Module):
    """A linear network that remembers its inputs, in the parts of a proxy."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Recorder(), nn.Linear(N, 3)
        nn.init.constant_(self.head.weight, 0.1)

    @property
    def linear(self) -> nn.Linear:
        return self.head

    @property
    def inputs(self) -> list[Tensor]:
        return self.encoder.inputs

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.encoder(inputs))


class SpyLoss:
    """Cross entropy that remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        self.calls.append((logits.detach().clone(), targets, index))
        return nn.functional.cross_entropy(logits, targets, reduction="none")


def learner_of(network: nn.Module, *, steps: int = 100, learning_rate: float = 0.1, **options: Any) -> Learner:
    return Learner(
        network, steps=steps, learning_rate=learning_rate, **{"weight_decay": 0.0, "autocast": None} | options
    )


def build(
    name: str, *, epochs: int = 10, augment: Any = lambda inputs: inputs, **hp: Any
) -> tuple[Strategy, Spy, SpyLoss]:
    torch.manual_seed(0)
    network, loss = Spy(), SpyLoss()
    setting = Setting(
        samples=Samples(np.eye(N, dtype=np.float32), np.ones(N, bool), torch.device("cpu")),
        rows=np.arange(N),
        targets=torch.arange(N) % 3,
        num_classes=3,
        loss=loss,
        epochs=epochs,
        batch_size=6,
        generator=torch.Generator().manual_seed(0),
        augment=augment,
        augment_strongly=augment,
        new_learner=lambda wrap=None: learner_of(wrap(network) if wrap else network),
    )
    return STRATEGIES.get(name).function(setting, **hp), network, loss


def nothing_seen(strategy: Strategy) -> Observed:
    """Five epochs without any difference between the rows."""
    nothing = np.zeros((5, N), dtype=np.float16)
    logits = np.zeros((len(strategy.learners), N, 3), dtype=np.float32)
    return Observed(nothing, nothing, nothing.astype(np.int32), logits)


def unit_batch() -> Batch:
    """Row i is the i-th unit vector, so a mixed input shows what it was mixed from."""
    return Batch(torch.eye(N), torch.arange(N) % 3, torch.arange(N))


# --- every strategy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_an_epoch_visits_every_row_once_and_moves_the_network(name):
    strategy, network, _ = build(name)
    before = network.linear.weight.detach().clone()
    seen = []
    for batch in strategy.batches(5, nothing_seen(strategy)):
        seen += batch.index.tolist()
        strategy.step(5, batch)
    assert set(seen) <= set(range(N))
    if name not in PARTIAL:
        assert sorted(seen) == list(range(N))
    assert not torch.equal(before, network.linear.weight)


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_inputs_are_augmented(name):
    strategy, network, _ = build(name, augment=lambda inputs: inputs * 0 + 7)
    batch = next(iter(strategy.batches(5, nothing_seen(strategy))))
    before = len(network.inputs)  # a strategy may look at the rows as they are between epochs
    strategy.step(5, batch)
    torch.testing.assert_close(network.inputs[before], torch.full((len(network.inputs[before]), N), 7.0))


# --- plain ----------------------------------------------------------------------------------------------------------


def test_a_plain_step_is_a_gradient_step_on_the_mean_loss():
    strategy, network, loss = build("plain")
    twin = nn.Linear(N, 3)
    twin.load_state_dict(network.linear.state_dict())
    nn.functional.cross_entropy(twin(torch.eye(N)), torch.arange(N) % 3).backward()
    rate = 0.1 / 25  # where a one-cycle schedule starts
    strategy.step(0, unit_batch())
    expected = twin.weight - rate * 1.9 * twin.weight.grad  # Nesterov: gradient + 0.9 momentum, which is the gradient
    torch.testing.assert_close(network.linear.weight, expected)
    assert torch.equal(loss.calls[0][2], torch.arange(N))


# --- mixup ----------------------------------------------------------------------------------------------------------


def test_mixup_mixes_pairs_and_weighs_both_labels_alike(monkeypatch):
    strategy, network, loss = build("mixup")
    losses: list[float] = []
    monkeypatch.setattr(strategy.learners[0], "update", lambda value: losses.append(value.item()))
    strategy.step(5, unit_batch())
    (mixed,), ((logits, own, own_index), (again, other, partner)) = network.inputs, loss.calls
    assert torch.equal(logits, again)
    assert torch.equal(own_index, torch.arange(N)) and torch.equal(own, own_index % 3)
    assert sorted(partner.tolist()) == list(range(N)) and torch.equal(other, partner % 3)
    total = 0.0
    for i, j in enumerate(partner.tolist()):
        share = 1.0 if i == j else float(mixed[i, i])
        expected = torch.zeros(N)
        expected[i] += share
        expected[j] += 1 - share
        torch.testing.assert_close(mixed[i], expected)
        log_p = logits[i].log_softmax(0)
        total -= float(share * log_p[i % 3] + (1 - share) * log_p[j % 3]) / N
    assert losses == [pytest.approx(total, rel=1e-4)]


def test_mixup_warms_up_with_whole_inputs():
    strategy, network, loss = build("mixup", epochs=20, warmup=0.1)
    for epoch in (0, 1, 2):
        strategy.step(epoch, unit_batch())
    assert torch.equal(network.inputs[0], torch.eye(N)) and torch.equal(network.inputs[1], torch.eye(N))
    assert not torch.equal(network.inputs[2], torch.eye(N))
    assert len(loss.calls) == 1 + 1 + 2


@pytest.mark.parametrize(("alpha", "low", "high"), [(0.05, 0.0, 0.1), (50.0, 0.7, 1.0)])
def test_alpha_is_the_strength(alpha, low, high):
    strategy, network, _ = build("mixup", alpha=alpha, warmup=0.0)
    for _ in range(20):
        strategy.step(0, unit_batch())
    shares = torch.stack([inputs.diagonal() for inputs in network.inputs])
    evenness = (4 * shares * (1 - shares)).mean()  # 0: nothing mixed, 1: half and half
    assert low <= evenness <= high


# --- the learner ----------------------------------------------------------------------------------------------------


def test_steps_are_bounded_whatever_the_scale_of_the_loss():
    moves = []
    for scale in (1e3, 1e6):
        network = nn.Linear(4, 1, bias=False)
        before = network.weight.detach().clone()
        learner_of(network).update(scale * network(torch.ones(1, 4)).sum())
        moves.append((network.weight - before).norm().item())
    assert moves[0] == pytest.approx(moves[1], rel=1e-3)
    assert moves[0] == pytest.approx(0.1 / 25 * 1.9 * 5.0, rel=1e-3)  # the gradient is cut to norm 5


def test_weights_decay_but_biases_norms_and_frozen_layers_do_not():
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    network[2].requires_grad_(False)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    learner = learner_of(network, weight_decay=0.5)
    learner.update(sum((0.0 * value).sum() for value in network.parameters() if value.requires_grad))
    changed = {name for name, value in network.named_parameters() if not torch.equal(before[name], value)}
    assert changed == {"0.weight"}


@pytest.mark.parametrize("steps", [1, 2, 5, 40])
def test_the_schedule_rises_to_the_learning_rate_and_may_be_outlasted(steps):
    network = nn.Linear(2, 1)
    learner = learner_of(network, steps=steps, learning_rate=0.3)
    rates = []
    for _ in range(steps + 10):
        rates.append(learner.rate)
        learner.update(network(torch.ones(1, 2)).sum())
    assert max(rates) <= 0.3 + 1e-9
    assert rates[-1] < rates[0] < 0.3
    if steps >= 40:
        assert max(rates) == pytest.approx(0.3, rel=0.02)
        assert rates.index(max(rates)) == pytest.approx(0.25 * steps, abs=2)


def test_a_half_precision_step_that_overflows_is_skipped_in_silence():
    network = nn.Linear(4, 1)
    before = network.weight.detach().clone()
    learner = learner_of(network, autocast=torch.float16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner.update(1e38 * network(torch.ones(1, 4)).sum())  # times the scale of the scaler: infinite
        assert torch.equal(network.weight, before)
        learner.update(network(torch.ones(1, 4)).sum())
    assert not torch.equal(network.weight, before)
    assert network.weight.isfinite().all()

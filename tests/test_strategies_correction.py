"""Strategies that correct what a label is worth: reference values, and what they do to planted wrong labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_strategies import N, build, learner_of, unit_batch
from test_training import fit_all, mean_loss, samples_of
from torch import Tensor, nn
from worlds import World, auroc, blobs

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.train import fit as training
from cleanlab_lite.train.losses import LOSSES
from cleanlab_lite.train.strategies import STRATEGIES, Observed, Strategy
from cleanlab_lite.train.strategies.attention_mixup import Attentive
from cleanlab_lite.train.strategies.confidence_branch import trusted
from cleanlab_lite.train.strategies.dynamic_bootstrap import bootstrapped
from cleanlab_lite.train.strategies.meta_loss import exponent, generalized, hypergradient, look_ahead
from cleanlab_lite.train.strategies.noise_dependent_smoothing import smoothed, upper_of_two_means
from cleanlab_lite.train.strategies.parts import class_balance, mix, one_hot
from cleanlab_lite.train.strategies.self_learning import temperature

# the batch of four rows on which all methods are compared
Z = torch.tensor([[2, 1, 0.1, -1], [0.5, 2.5, -0.5, 0], [-1, 0, 1.5, 3], [0.2, 0.1, 0, -0.1]], dtype=torch.float64)
Y = torch.tensor([0, 2, 3, 1])
W = torch.tensor([0.1, 0.8, 0.05, 0.4], dtype=torch.float64)
INDEX = torch.arange(4)
GIVEN = one_hot(Y, 4).double()


def ce(logits: Tensor, targets: Tensor) -> Tensor:
    return LOSSES.get("ce").function(4, 4)(logits, targets, INDEX)


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(
        torch.as_tensor(actual), torch.as_tensor(expected, dtype=torch.float64), atol=2e-6, rtol=0
    )


EPOCHS, BATCH = 24, 64  # long enough to memorise every label


def noisy(rate: float) -> World:
    return blobs(320, 4, rate, separation=3.5)


def right(strategy: str, rate: float) -> float:
    """Share of the rows whose true class a proxy predicts in the end. Plain training memorises: 1 - rate."""
    world = noisy(rate)
    return float(
        (fit_all(world, strategy=strategy, epochs=EPOCHS, batch_size=BATCH).predicted[-1] == world.truth).mean()
    )


@pytest.fixture
def built(monkeypatch) -> list[Strategy]:
    """Every strategy that `fit` builds."""
    strategies: list[Strategy] = []
    parse = STRATEGIES.parse

    def keep(text: str) -> Any:
        spec, options = parse(text)

        def function(setting, **hp):
            strategies.append(spec.function(setting, **hp))
            return strategies[-1]

        return replace(spec, function=function), options

    monkeypatch.setattr(training.STRATEGIES, "parse", keep)
    return strategies


def test_plain_training_memorises():
    assert right("plain", 0.4) == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize(
    ("strategy", "rate", "least"),
    [
        ("dynamic_bootstrap", 0.2, 0.88),
        pytest.param("dynamic_bootstrap:kind=soft", 0.2, 0.88, marks=pytest.mark.slow),
        pytest.param("dynamic_bootstrap:kind=soft_to_hard", 0.4, 0.7, marks=pytest.mark.slow),
        ("self_learning", 0.4, 0.7),
        pytest.param("self_learning:soft=yes", 0.4, 0.7, marks=pytest.mark.slow),
        ("confidence_branch", 0.4, 0.7),
        ("meta_loss", 0.4, 0.65),
    ],
)
def test_wrong_labels_are_memorised_less(strategy, rate, least):
    assert right(strategy, rate) > least


@pytest.mark.parametrize(
    ("strategy", "option", "value"),
    [
        ("mixup", "alpha", 0),
        ("dynamic_bootstrap", "kind", "firm"),
        ("dynamic_bootstrap", "alpha", -1),
        ("noise_dependent_smoothing", "delta", 0.2),
        ("self_learning", "alpha", 2),
        ("attention_mixup", "labels", "half"),
        ("confidence_branch", "penalty", 0),
        ("meta_loss", "q", 1),
    ],
)
def test_options_out_of_range_are_named(strategy, option, value):
    with pytest.raises(ConfigError, match=f"strategy {strategy}: .*{option} .*must"):
        build(strategy, **{option: value})


# --- dynamic bootstrapping ------------------------------------------------------------------------------------------


def test_bootstrap_reference():
    hard, soft = bootstrapped(GIVEN, W, Z, hard=True), bootstrapped(GIVEN, W, Z)
    close(ce(Z, hard), [0.449313, 0.836816, 0.255597, 1.302536])
    close(ce(Z, soft), [0.500449, 1.231538, 0.277178, 1.357550])
    close(ce(Z, hard).mean(), 0.711065)
    close(ce(Z, soft).mean(), 0.841679)
    close(
        bootstrapped(GIVEN, torch.ones(4, dtype=torch.float64), Z, temperature=0.5)[1],
        [0.017825, 0.973205, 0.002412, 0.006557],
    )
    close(bootstrapped(GIVEN, W, Z).sum(dim=1), [1, 1, 1, 1])


def test_mixed_bootstrap_reference():
    targets, partner = bootstrapped(GIVEN, W, Z, hard=True), torch.tensor([1, 2, 3, 0])
    values = 0.6 * ce(Z, targets) + 0.4 * ce(Z, targets[partner])
    close(values, [0.921313, 1.596816, 1.615597, 1.278536])
    close(values.mean(), 1.353065)
    close(class_balance(Z), 0.050171)
    close(class_balance(torch.eye(4, dtype=torch.float64)), 0)


def test_a_step_is_the_formula(monkeypatch):
    strategy, network, loss = build("dynamic_bootstrap", warmup=0.0)
    strategy.wrong = torch.linspace(0.1, 0.9, N)
    values: list[float] = []
    monkeypatch.setattr(strategy.learners[0], "update", lambda value: values.append(value.item()))
    strategy.step(5, unit_batch())
    whole, mixed = network.inputs
    (_, own, _), (logits, other, partner) = loss.calls
    torch.testing.assert_close(whole, torch.eye(N))
    expected = bootstrapped(one_hot(torch.arange(N) % 3, 3), strategy.wrong, network.linear(whole), hard=True)
    torch.testing.assert_close(own, expected)
    torch.testing.assert_close(other, expected[partner])
    fixed = partner == torch.arange(N)
    share = float(mixed.diagonal()[~fixed][0])
    torch.testing.assert_close(mixed.diagonal()[~fixed], torch.full(((~fixed).sum(),), share))  # one share per batch
    log_p = logits.log_softmax(1)
    mean = -(share * (own * log_p).sum(1) + (1 - share) * (other * log_p).sum(1)).mean() + class_balance(logits)
    assert values == [pytest.approx(mean.item(), rel=1e-5)]


def test_soft_to_hard_mixes_by_cleanness_and_sharpens():
    strategy, network, loss = build("dynamic_bootstrap", epochs=30, kind="soft_to_hard", warmup=0.1)
    strategy.wrong = torch.where(torch.arange(N) < 6, 0.9999, 1e-4)
    strategy.step(12, unit_batch())
    mixed, partner = network.inputs[1], loss.calls[1][2]
    doubtful_with_clean = (torch.arange(N) < 6) & (partner >= 6)
    assert doubtful_with_clean.any()
    assert (mixed.diagonal()[doubtful_with_clean] < 1e-3).all()  # nothing is left of a doubtful input
    temperatures = [strategy.temperature(epoch) for epoch in range(3, 30)]
    assert temperatures[0] == 1 and temperatures[-1] == 1e-3
    assert temperatures == sorted(temperatures, reverse=True)
    assert strategy.temperature(20) == pytest.approx(1e-3)  # at 0.67 of the epochs


def test_bootstrapping_starts_after_the_warmup_with_the_mixture_of_the_losses(built):
    world = blobs(400, 3, 0.2)
    fit_all(world, strategy="dynamic_bootstrap:warmup=1", epochs=6)
    fit_all(world, strategy="dynamic_bootstrap:warmup=0.5", epochs=6)
    never, half = built
    assert (never.wrong == 0).all()
    assert auroc(half.wrong.numpy(), world.wrong) > 0.95
    assert 0 < half.wrong.min() < half.wrong.max() < 1


# --- noise-dependent smoothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "upper"),
    [([0.1, 0.12, 0.4, 0.09], [2]), ([0.2, 0.2], []), ([0.3], []), ([0.1, 0.5, 0.1, 0.5], [1, 3]), ([0, 1], [1])],
)  # fmt: skip
def test_classes_are_split_by_two_means(values, upper):
    assert np.flatnonzero(upper_of_two_means(np.array(values))).tolist() == upper


def test_smoothed_targets_and_the_groups_of_the_given_label():
    strength = torch.tensor([0.05, 0.15, 0.15, 0.05])
    targets = smoothed(Y, strength)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))
    own = targets.gather(1, Y[:, None])[:, 0]
    torch.testing.assert_close(own, 1 - strength[Y] * 3 / 4)
    grouped = LOSSES.get("group_label_smoothing").function(4, 4, high_noise=[1, 2], eps=0.1, delta=0.05)
    torch.testing.assert_close(ce(Z, targets.double()), grouped(Z, Y, INDEX), atol=1e-6, rtol=0)


def test_without_delta_it_is_label_smoothing():
    world = blobs(200, 3)
    ours = fit_all(world, strategy="noise_dependent_smoothing:delta=0,eps=0.15")
    theirs = fit_all(world, loss="label_smoothing:eps=0.15")
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-3)


def test_the_noisier_classes_are_found(built):
    world = blobs(800, 4, 0.0)
    flipped = (np.random.default_rng(0).random(800) < 0.3) & (world.truth >= 2)
    world.labels[flipped] = 5 - world.labels[flipped]  # 2 is called 3, and 3 is called 2
    fit_all(world, strategy="noise_dependent_smoothing", epochs=6)
    torch.testing.assert_close(built[0].strength, torch.tensor([0.05, 0.05, 0.15, 0.15]))


# --- self-learning --------------------------------------------------------------------------------------------------


def test_corrected_labels_are_better_than_the_given_ones(built):
    world = blobs(600, 4, 0.3)
    fit_all(world, strategy="self_learning:soft=no", epochs=6)
    corrected = built[0].corrected.argmax(1).numpy()
    assert (corrected == world.truth).mean() > 0.97


def test_nothing_is_corrected_before_the_start(built):
    fit_all(blobs(120, 3), strategy="self_learning:start=1", epochs=4)
    assert built[0].corrected is None


def test_targets_are_half_given_half_corrected():
    strategy, _, loss = build("self_learning", alpha=0.3)
    strategy.corrected = one_hot((torch.arange(N) + 1) % 3, 3)
    strategy.step(5, unit_batch())
    given = one_hot(torch.arange(N) % 3, 3)
    torch.testing.assert_close(loss.calls[0][1], 0.7 * given + 0.3 * strategy.corrected)


def test_soft_corrections_are_as_sure_as_they_are_right(built):
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=3000)
    similarity = 0.1 * np.eye(4)[labels] + rng.normal(scale=0.05, size=(3000, 4))
    tau = temperature(similarity, labels)
    powers = np.exp(similarity / tau)
    sure = (powers / powers.sum(1, keepdims=True)).max(1).mean()
    assert sure == pytest.approx((similarity.argmax(1) == labels).mean(), abs=1e-3)
    fit_all(blobs(300, 3, 0.1), strategy="self_learning:soft=yes")
    torch.testing.assert_close(built[0].corrected.sum(1), torch.ones(300))


# --- attentive feature mixup ----------------------------------------------------------------------------------------


class Tiny(nn.Module):
    """A proxy: encoder and head."""

    def __init__(self, d: int = 16, k: int = 4) -> None:
        super().__init__()
        self.encoder, self.head = nn.Sequential(nn.Linear(d, 32), nn.ReLU()), nn.Linear(32, k)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.encoder(inputs))


def test_attention_learns_and_predictions_come_from_the_plain_branch():
    strategy, _, _ = build("attention_mixup")
    inputs = torch.randn(40, 16, generator=torch.Generator().manual_seed(0))
    proxy = Tiny()
    attentive = Attentive(proxy, strategy.setting)
    torch.testing.assert_close(attentive(inputs), proxy(inputs))
    features, partner = proxy.encoder(inputs), torch.arange(40).flip(0)
    attentive.head(mix(features, partner, attentive.attention(features, partner))).square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in attentive.parameters())


@pytest.mark.parametrize("labels", ["equal", "attention"])
def test_the_loss_of_attentive_mixup(monkeypatch, labels):
    strategy, _, loss = build("attention_mixup", labels=labels)
    attentive: Any = strategy.learners[0].network
    values: list[float] = []
    monkeypatch.setattr(strategy.learners[0], "update", lambda value: values.append(value.item()))
    strategy.step(5, unit_batch())
    (mixed, own, _), (_, other, partner), (naive, given, _) = loss.calls
    attention = attentive.attention(torch.eye(N), partner).detach()
    torch.testing.assert_close(mixed, attentive.head(mix(torch.eye(N), partner, attention)).detach())
    share = attention if labels == "attention" else 0.5
    values_of = [
        nn.functional.cross_entropy(z, t, reduction="none") for z, t in ((mixed, own), (mixed, other), (naive, given))
    ]
    expected = 0.75 * (share * values_of[0] + (1 - share) * values_of[1]) + 0.25 * values_of[2]
    assert values == [pytest.approx(expected.mean().item(), rel=1e-5)]


def test_full_attention_keeps_the_features():
    attentive = Attentive(Tiny(), build("attention_mixup")[0].setting)
    nn.init.zeros_(attentive.score.weight)
    nn.init.constant_(attentive.score.bias, 50.0)
    features = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    attention = attentive.attention(features, torch.arange(6).flip(0))
    torch.testing.assert_close(mix(features, torch.arange(6).flip(0), attention), features)


def test_attention_differs_from_pair_to_pair_and_stays_a_share(built):
    world = blobs(300, 3, 0.2)
    fit_all(world, strategy="attention_mixup")
    network: Any = built[0].learners[0].network.eval()
    with torch.no_grad():
        features = network.encoder(samples_of(world).inputs(torch.arange(300)))
        attention = network.attention(features, torch.randperm(300, generator=torch.Generator().manual_seed(0)))
    assert 0 <= attention.min() < attention.max() <= 1
    assert attention.std() > 0.01


# --- confidence branch ----------------------------------------------------------------------------------------------


def test_confidence_branch_reference():
    h = torch.tensor([1, -0.5, 2, 0], dtype=torch.float64)
    close(h.sigmoid(), [0.731059, 0.377541, 0.880797, 0.5])
    values = ce(trusted(Z, h, GIVEN), GIVEN)
    close(values, [0.307334, 0.450527, 0.221471, 0.461097])
    close(values.mean(), 0.360107)
    penalty = -nn.functional.logsigmoid(h).mean()
    close(penalty, 0.526853)
    close(values.mean() + 0.5 * penalty, 0.623534)
    close(values.mean() + 10 * penalty, 5.628642)
    drifted = 0.9 * GIVEN + 0.1 * Z.softmax(1)
    close(drifted[1], [0.010680, 0.078914, 0.903929, 0.006478])
    after = ce(trusted(Z, h, drifted), drifted)
    close(after, [0.386481, 0.635536, 0.271247, 0.630050])
    close(after.mean(), 0.480828)


@pytest.mark.parametrize(("penalty", "tau"), [(0.5, 1 / 3), (10.0, 10 / 11)])
def test_the_best_trust_in_a_prediction_that_is_wrong(penalty, tau):
    grid = torch.linspace(1e-3, 1 - 1e-3, 5000, dtype=torch.float64).logit()
    wrong = torch.tensor([[-40.0, 40.0]], dtype=torch.float64).expand(5000, 2)
    target = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(5000, 2)
    values = -(target * trusted(wrong, grid, target)).sum(1) - penalty * nn.functional.logsigmoid(grid)
    assert grid[values.argmin()].sigmoid().item() == pytest.approx(tau, abs=1e-3)


def test_targets_drift_to_the_clean_pass_from_the_start_on():
    strategy, _, _ = build("confidence_branch", epochs=8, momentum=0.9, start=0.5)
    given = one_hot(torch.arange(N) % 3, 3)
    logits = np.zeros((1, N, 3), dtype=np.float32)
    logits[:, :, 1] = 50
    zeros = np.zeros((3, N))
    observed = Observed(zeros, zeros, zeros.astype(np.int32), logits)
    strategy.batches(3, observed)
    torch.testing.assert_close(strategy.estimates, given)
    strategy.batches(4, observed)
    torch.testing.assert_close(strategy.estimates, 0.9 * given + 0.1 * torch.tensor([0.0, 1.0, 0.0]))


def test_the_indicator_distrusts_predictions_on_wrong_labels(built):
    world = blobs(600, 4, 0.2)
    fit_all(world, strategy="confidence_branch", epochs=8)
    strategy: Any = built[0]
    corrected = strategy.estimates.argmax(1).numpy()
    assert (strategy.estimates.sum(1) - 1).abs().max() < 1e-5
    moved = strategy.estimates.gather(1, torch.as_tensor(world.labels)[:, None])[:, 0].numpy()
    assert auroc(-moved, world.wrong) > 0.95
    assert (corrected == world.truth).mean() >= (world.labels == world.truth).mean()


# --- the loss that learns its parameter -----------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["mae", "ce"])
def test_hypergradient_equals_the_central_difference(objective):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).double()
    generator = torch.Generator().manual_seed(1)
    lesson, judge = (
        (torch.randn(16, 5, generator=generator, dtype=torch.float64), torch.arange(16) % 3) for _ in range(2)
    )
    state = {name: value.clone() for name, value in network.state_dict().items()}
    phi = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    found = hypergradient(network, phi, lesson, judge, 0.5, objective)
    step = 1e-4
    up, down = (look_ahead(network, phi.detach() + s, lesson, judge, 0.5, objective) for s in (step, -step))
    assert found.item() == pytest.approx(((up - down) / (2 * step)).item(), rel=1e-3)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("q", [0.05, 0.7, 1.0])
def test_the_learnable_loss_is_gce(q):
    expected = LOSSES.get("gce").function(4, 4, q=q)(Z, Y, INDEX)
    torch.testing.assert_close(generalized(Z, Y, torch.tensor(q, dtype=torch.float64)), expected)
    assert 0.01 <= exponent(torch.tensor(-50.0)) < exponent(torch.tensor(50.0)) <= 1


def learned_q(built: list[Strategy], rate: float, objective: str) -> float:
    fit_all(noisy(rate), strategy=f"meta_loss:objective={objective},every=1,meta_rate=0.1", epochs=EPOCHS)
    strategy: Any = built[-1]
    assert len(strategy.trajectory) == 1 + EPOCHS * (320 // 32) and strategy.trajectory[0] == 0.7
    return strategy.trajectory[-1]


@pytest.mark.slow
def test_clean_data_do_not_raise_q(built):
    assert learned_q(built, 0.0, "mae") < 0.8


@pytest.mark.slow
def test_cross_entropy_on_noisy_rows_rewards_memorising_and_a_symmetric_loss_does_not(built):
    assert learned_q(built, 0.3, "ce") < 0.1
    assert learned_q(built, 0.3, "mae") > 0.4


def test_held_back_rows_are_not_learned():
    strategy, _, _ = build("meta_loss", share=0.25)
    zeros = np.zeros((5, N))
    seen = [row for batch in strategy.batches(5, Observed(zeros, zeros, zeros, None)) for row in batch.index.tolist()]
    assert len(strategy.held_back) == 3 and not set(seen) & set(strategy.held_back.tolist())


# --- penalties on the weights ---------------------------------------------------------------------------------------


def test_l1_pulls_weights_but_not_biases_and_norms_by_the_same_amount():
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    learner = learner_of(network, l1=0.01)
    learner.update(sum((0.0 * value).sum() for value in network.parameters()))
    after = dict(network.named_parameters())
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"0.weight"}
    step = 0.1 / 25 * 1.9 * 0.01  # rate, Nesterov, penalty
    torch.testing.assert_close(
        before["0.weight"] - after["0.weight"], step * before["0.weight"].sign(), rtol=1e-3, atol=1e-8
    )


def test_l1_makes_small_weights():
    world = blobs(200, 3)
    sizes = []
    for l1 in (0.0, 5e-3):
        seen = fit_all(world, l1=l1, epochs=8)
        sizes.append(float(np.abs(seen.logits).mean()))
        assert auroc(mean_loss(seen), world.wrong) > 0.95
    assert sizes[1] < 0.8 * sizes[0]

"""Strategies that choose what to learn: which rows, in which order, with which weight, and without which label."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from test_strategies import N, SpyLoss, build, unit_batch
from test_training import CONFIG, CPU, fit_all, pictures, samples_of
from torch import Tensor, nn
from worlds import auroc, blobs

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.judge.detectors.density import EASY, HARD, SEMI_HARD, class_densities, three_clusters
from cleanlab_lite.train import fit as training
from cleanlab_lite.train.loader import Batch, Samples
from cleanlab_lite.train.strategies import Observed, Strategy
from cleanlab_lite.train.strategies.co_divide import Divided
from cleanlab_lite.train.strategies.co_teaching import forget_at, small_losses
from cleanlab_lite.train.strategies.discard import mean_of_survivors
from cleanlab_lite.train.strategies.dividemix import co_refine, squared_distance
from cleanlab_lite.train.strategies.fixmatch import confident_guess
from cleanlab_lite.train.strategies.marvel import chance_of_streak, current_streak, default_streak
from cleanlab_lite.train.strategies.parts import (
    batches_over,
    class_balance,
    cross_entropy,
    negative_entropy,
    noisy_posterior,
    ramp,
    sharpen,
    within_quota,
)
from cleanlab_lite.train.strategies.promix import balanced_small, matched
from cleanlab_lite.train.strategies.prune import largest

# methods_training.md, section 0
Z = torch.tensor(
    [[2.0, 1.0, 0.1, -1.0], [0.5, 2.5, -0.5, 0.0], [-1.0, 0.0, 1.5, 3.0], [0.2, 0.1, 0.0, -0.1]], dtype=torch.float64
)
Y = torch.tensor([0, 2, 3, 1])
P = Z.softmax(1)
SELECTION = (
    "co_teaching",
    "curriculum",
    "discard",
    "dividemix",
    "fixmatch",
    "marvel",
    "marvel_plus",
    "promix",
    "prune",
    "truncated",
)


def observed(loss: Any, margin: Any, strategy: Strategy, logits: np.ndarray | None = None) -> Observed:
    """loss and margin (e, n); the label is predicted where the margin is positive."""
    values = np.array(margin, dtype=np.float16)
    labels = strategy.setting.targets.numpy()
    predicted = np.where(values > 0, labels, (labels + 1) % 3).astype(np.int32)
    return Observed(np.array(loss, dtype=np.float16), values, predicted, logits)


def rows_of(strategy: Strategy, epoch: int, seen: Observed) -> list[int]:
    """The rows that the epoch may learn; drawn often, for each draw drops what does not fill a batch."""
    return sorted({row for _ in range(10) for batch in strategy.batches(epoch, seen) for row in batch.index.tolist()})


def captured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The strategies that are built from now on."""
    built: list[Any] = []
    plain = Strategy.__init__

    def recording(self: Strategy, *args: Any) -> None:
        plain(self, *args)
        built.append(self)

    monkeypatch.setattr(Strategy, "__init__", recording)
    return built


# --- every strategy -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", SELECTION)
def test_planted_errors_are_recovered_where_plain_training_fits_them(name):
    task = blobs(400, 4, 0.3, separation=5.0)
    seen = fit_all(task, strategy=name, epochs=8)
    margin = seen.margin.astype(np.float32).mean(axis=0)
    assert auroc(-margin, task.wrong) > 0.9
    assert (seen.predicted[-1] == task.truth).mean() > 0.75  # 0.7 of the labels are right


@pytest.mark.parametrize("name", SELECTION)
def test_rows_that_are_not_learned_decide_nothing(name):
    task = blobs(160, 3, 0.2)
    train = np.arange(0, 160, 2)
    other = task.labels.copy()
    other[1::2] = (other[1::2] + 1) % 3
    config = replace(CONFIG, strategy=name, epochs=5)
    one, two = (training.fit(samples_of(task), labels, train, 3, config, seed=0) for labels in (task.labels, other))
    np.testing.assert_array_equal(one.logits, two.logits)


@pytest.mark.parametrize("name", SELECTION)
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_short_trainings_of_small_sets(name, epochs):
    task = blobs(20, 3, 0.2)
    assert np.isfinite(fit_all(task, strategy=name, epochs=epochs, batch_size=8).loss).all()


@pytest.mark.parametrize("name", ["dividemix", "fixmatch", "promix", "curriculum"])
def test_pictures_are_learned(name):
    pixels, labels = pictures(64)
    given = labels.copy()
    given[:12] = 1 - given[:12]
    config = replace(CONFIG, proxy="cnn", strategy=name, epochs=6, batch_size=16, shift=1, flip=True)
    seen = training.fit(Samples(pixels, np.ones(64, bool), CPU), given, np.arange(64), 2, config, seed=0)
    assert auroc(-seen.margin.astype(np.float32).mean(axis=0), given != labels) > 0.95


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("discard:percentile=130,start=2", "start is 2.0.*percentile is 130"),
        ("prune:rounds=0,mixture=normal", "rounds is 0.*mixture is 'normal'"),
        ("co_teaching:forget_rate=1", "forget_rate is 1"),
        ("marvel:streak=0", "streak is 0"),
        ("marvel_plus:gamma=-1", "gamma is -1"),
        ("curriculum:weight=2", "weight is 2"),
        ("dividemix:alpha=0,rise=3", "alpha is 0.*rise is 3"),
        ("dividemix:threshold=1", "strategy dividemix: threshold is 1"),
        ("fixmatch:threshold=1", "strategy fixmatch: threshold is 1"),
        ("fixmatch:confidence=1.5", "confidence is 1.5"),
        ("discard:second_q=0", "second_q is 0.0"),
        ("truncated:q=0,k=1", "q is 0.0.*k is 1.0"),
        ("promix:networks=3,select=0", "networks is 3.*select is 0"),
    ],
)
def test_options_out_of_range_are_refused_all_at_once(spec, message):
    with pytest.raises(ConfigError, match=message):
        fit_all(blobs(20, 2), strategy=spec)


# --- parts ----------------------------------------------------------------------------------------------------------


def test_sharpened_predictions():
    torch.testing.assert_close(
        sharpen(P)[[0, 3]],
        torch.tensor([[0.861932, 0.116650, 0.019282, 0.002137], [0.329179, 0.269509, 0.220655, 0.180657]]).double(),
        atol=2e-6,
        rtol=0,
    )
    tiny = sharpen(torch.tensor([[1e-30, 2e-30], [0.0, 1.0]]))
    torch.testing.assert_close(tiny, torch.tensor([[0.2, 0.8], [0.0, 1.0]]))


def test_penalties():
    assert negative_entropy(Z).item() == pytest.approx(-0.939544, abs=2e-6)
    assert class_balance(Z).item() == pytest.approx(0.050171, abs=2e-6)
    assert class_balance(torch.zeros(3, 5)).item() == pytest.approx(0, abs=1e-6)
    one_class = torch.full((2, 3), -1e4)
    one_class[:, 0] = 1e4
    assert math.isfinite(class_balance(one_class)) and math.isfinite(negative_entropy(one_class))


def test_ramp():
    assert [ramp(epoch, 10, 50) for epoch in (0, 10, 35, 60, 99)] == [0, 0, 0.5, 1, 1]
    assert [ramp(epoch, 2, 0) for epoch in (1, 2, 3)] == [0, 1, 1]


def test_an_epoch_has_as_many_steps_whatever_its_rows():
    strategy, _, _ = build("plain")
    for rows in (np.arange(N), np.arange(8), np.arange(3), np.arange(1), np.arange(0)):
        batches = list(batches_over(strategy.setting, rows))
        assert len(batches) == 2
        assert {row for batch in batches for row in batch.index.tolist()} <= set(rows.tolist())
    assert sorted(row for batch in batches_over(strategy.setting, np.arange(N)) for row in batch.index.tolist()) == [
        *range(N)
    ]


def test_quota_takes_the_first_of_each_class():
    labels = np.array([0, 0, 1, 1, 1, 2])
    order = np.array([4, 1, 0, 2, 3])
    np.testing.assert_array_equal(within_quota(order, labels, np.array([1, 2, 5])), [4, 1, 2])
    np.testing.assert_array_equal(within_quota(order, labels, np.array([0, -3, 0])), [])
    assert len(within_quota(order[:0], labels, np.array([1, 1, 1]))) == 0


@pytest.mark.parametrize("family", ["gaussian", "beta"])
def test_one_bump_of_losses_is_not_noise(family):
    rng = np.random.default_rng(0)
    assert noisy_posterior(rng.normal(1, 0.1, 3000), family).max() == 0
    two = np.concatenate([rng.gamma(2, 0.1, 2400), rng.normal(3, 0.4, 600)])
    posterior = noisy_posterior(two, family)
    assert posterior[:2400].mean() < 0.05 and posterior[2400:].mean() > 0.95
    assert not noisy_posterior(np.zeros(50), family).any()


# --- discard --------------------------------------------------------------------------------------------------------


def test_survivors_share_the_gradient():
    losses = torch.ones(64, requires_grad=True)
    with torch.no_grad():
        losses[2:] = 50.0
    mean = mean_of_survivors(losses, 100 * 1 / 63)
    assert mean.item() == 1  # two survivors of 64 with loss 1
    mean.backward()
    assert losses.grad is not None
    assert losses.grad[:2].tolist() == [0.5, 0.5] and not losses.grad[2:].any()


def test_the_threshold_is_the_lower_quantile_and_ties_survive():
    losses = torch.tensor([1.0, 2, 3, 4])
    assert mean_of_survivors(losses, 50).item() == 1.5
    assert mean_of_survivors(losses, 100).item() == 2.5
    assert mean_of_survivors(torch.tensor([1.0, 2, 2, 2, 9]), 50).item() == 7 / 4
    assert mean_of_survivors(losses, 93, max_ratio=0.5).item() == 1.5
    assert mean_of_survivors(losses, 93, max_ratio=1.0).item() == 2.5


def test_discarding_begins_at_its_epoch(monkeypatch):
    strategy, _, _ = build("discard", epochs=20, start=0.25, percentile=50.0)
    values: list[float] = []
    monkeypatch.setattr(strategy.learners[0], "update", lambda value: values.append(value.item()))
    steps = torch.arange(1.0, N + 1)
    monkeypatch.setattr(SpyLoss, "__call__", lambda self, logits, targets, index: steps)
    for epoch in (4, 5):
        strategy.step(epoch, unit_batch())
    assert values == [6.5, 3.5]


def test_from_its_epoch_on_another_exponent(monkeypatch):
    strategy, network, loss = build("discard", epochs=20, start=0.25, percentile=100.0, second_q=0.5)
    values: list[Tensor] = []
    monkeypatch.setattr(strategy.learners[0], "update", values.append)
    for epoch in (4, 5):
        strategy.step(epoch, unit_batch())
    assert len(loss.calls) == 1
    p = network.linear(torch.eye(N)).softmax(dim=1)[torch.arange(N), torch.arange(N) % 3]
    torch.testing.assert_close(values[1], (2 * (1 - p.sqrt())).mean())


# --- prune ----------------------------------------------------------------------------------------------------------


def test_the_largest_losses_of_each_class_and_no_ties():
    loss = np.array([1.0, 2, 3, 4, 10, 20, 30, 40])
    labels = np.repeat([0, 1], 4)
    np.testing.assert_array_equal(np.flatnonzero(largest(loss, labels, 0.5)), [2, 3, 6, 7])
    assert not largest(loss, labels, 0.0).any()
    assert not largest(np.ones(8), labels, 0.5).any()


def prune_once(margin: float = -1.0, **hp: Any) -> tuple[Any, list[int]]:
    """Rows 0..11 of classes 0, 1, 2, 0, ...; row i has the loss i. What is left after the round at epoch 3."""
    strategy, _, _ = build("prune", epochs=10, start=0.3, **hp)
    seen = observed([np.arange(N)] * 3, [[margin] * N] * 3, strategy)
    return strategy, rows_of(strategy, 3, seen)


def test_pruning_takes_a_share_of_each_class_for_good():
    strategy, left = prune_once(amount=0.25)
    assert left == list(range(9))  # one of four in each class
    assert strategy.pruned_at.tolist() == [-1] * 9 + [3] * 3
    nothing = observed([np.zeros(N)] * 4, [np.ones(N)] * 4, strategy)
    assert rows_of(strategy, 4, nothing) == left
    assert rows_of(build("prune", amount=0.25)[0], 2, nothing) == list(range(N))  # not before its epoch


def test_rows_that_are_predicted_right_stay_unless_told():
    assert prune_once(margin=1.0, amount=0.25)[1] == list(range(N))
    assert prune_once(margin=1.0, amount=0.25, guard=False)[1] == list(range(9))


def test_a_class_loses_no_more_than_its_cap():
    assert prune_once(amount=0.75, cap=0.5)[1] == list(range(6))
    assert prune_once(amount=0.0)[1] == list(range(N))


def test_rounds_take_the_amount_in_parts():
    strategy, _, _ = build("prune", epochs=20, start=0.25, rounds=2, amount=0.5, cap=0.9)
    assert strategy.round_at == [5, 15]
    seen = observed([np.arange(N)], [[-1] * N], strategy)
    assert rows_of(strategy, 5, seen) == list(range(9))
    assert rows_of(strategy, 15, seen) == list(range(6))


@pytest.mark.parametrize("mixture", ["gaussian", "beta"])
def test_the_mixture_says_how_much_to_prune(mixture, monkeypatch):
    built = captured(monkeypatch)
    for noise in (0.0, 0.2):
        task = blobs(500, 3, noise)
        fit_all(task, strategy="prune", epochs=4)
        pruned = built[-1].pruned_at >= 0
        assert pruned[task.wrong].mean() > 0.8 if noise else pruned.mean() < 0.02
        assert pruned[~task.wrong].mean() < 0.05


# --- truncated ------------------------------------------------------------------------------------------------------


def test_improbable_labels_weigh_nothing_until_they_are_probable_again():
    strategy, _, _ = build("truncated", epochs=10, start=0.3, every=0.2, cap=1.0)
    p = np.full(N, 0.6)
    p[:4] = [0.5, 0.49, 0.51, 0.1]

    def weights(epoch: int) -> list[float]:
        seen = observed([-np.log(p)], [[1.0] * N], strategy)
        assert rows_of(strategy, epoch, seen) == list(range(N))  # all are shown, the weights decide
        return strategy.weights.tolist()

    assert weights(2) == [1.0] * N  # not before its epoch
    assert weights(3) == [0, 0, 1, 0] + [1.0] * 8
    p[[0, 4]] = p[[4, 0]]
    p[0] = 0.7
    assert weights(4) == [0, 0, 1, 0] + [1.0] * 8
    assert weights(5) == [1, 0, 1, 0, 0] + [1.0] * 7


def test_a_class_keeps_its_most_probable_labels():
    strategy, _, _ = build("truncated", epochs=10, start=0.3, cap=0.5)
    list(strategy.batches(3, observed([np.arange(1.0, N + 1)], [[-1.0] * N], strategy)))
    assert strategy.weights.tolist() == [1.0] * 6 + [0.0] * 6  # two of four in each class


def test_the_gradient_is_that_of_the_truncated_loss(monkeypatch):
    """mean_i w_i (L_q,i - L_q(k)) over the rows that count differs by a constant from what is learned."""
    strategy, network, loss = build("truncated", epochs=10, q=0.7)
    strategy.weights[6:] = 0
    values: list[Tensor] = []
    monkeypatch.setattr(strategy.learners[0], "update", values.append)
    strategy.step(5, unit_batch())
    p = network.linear(torch.eye(N)[:6]).softmax(dim=1)[torch.arange(6), torch.arange(6) % 3]
    torch.testing.assert_close(values[0], ((1 - p**0.7) / 0.7).mean())
    assert not loss.calls  # it brings its own


def test_pruning_by_probability_removes_the_wrong_labels(monkeypatch):
    built = captured(monkeypatch)
    task = blobs(500, 4, 0.3, separation=5.0)
    fit_all(task, strategy="truncated", epochs=8)
    pruned = built[-1].weights.numpy() == 0
    assert pruned[task.wrong].mean() > 0.8
    assert pruned[~task.wrong].mean() < 0.05


# --- co-teaching ----------------------------------------------------------------------------------------------------


def test_the_forget_rate_rises_as_in_the_authors_code():
    rates = [forget_at(epoch, 0.2, 10) for epoch in range(12)]
    np.testing.assert_allclose(rates, [*np.linspace(0, 0.2, 10), 0.2, 0.2], atol=1e-12)
    assert rates[1] == pytest.approx(0.022222, abs=1e-6)
    assert forget_at(9, 0.2, 10, exponent=2) == pytest.approx(0.04)


def test_small_losses_and_the_floor_of_a_class():
    losses = np.array([0.1, 5.0, 0.3, 0.2, 6.0, 7.0, 8.0, 0.4])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(small_losses(losses, labels, 0.5), [0, 2, 3, 7])
    np.testing.assert_array_equal(small_losses(losses, labels, 0.5, floor=0.5), [0, 2, 3, 4, 5, 7])
    np.testing.assert_array_equal(small_losses(losses, labels, 0.0), np.arange(8))
    assert len(small_losses(losses[:1], labels[:1], 0.9)) == 1


def two_networks(monkeypatch, **hp) -> tuple[Any, SpyLoss]:
    """Co-teaching between two linear networks, moved by nothing."""
    strategy, _, loss = build("co_teaching", epochs=10, **hp)
    strategy.learners[1] = build("plain")[0].learners[0]
    for learner in strategy.learners:
        monkeypatch.setattr(learner, "update", lambda value: None)
    return strategy, loss


def test_each_network_learns_what_the_other_one_chose(monkeypatch):
    strategy, loss = two_networks(monkeypatch, forget_rate=0.5, floor=0.0)
    first, second = (learner.network.head for learner in strategy.learners)
    with torch.no_grad():
        first.weight.zero_()
        first.weight[torch.arange(N)[:6] % 3, torch.arange(6)] = 5.0  # certain of the labels of rows 0..5
        second.weight.zero_()
        second.weight[torch.arange(N)[6:] % 3, torch.arange(6, 12)] = 5.0
    strategy.step(9, unit_batch())
    learned_by_first, learned_by_second = (sorted(index.tolist()) for _, _, index in loss.calls)
    assert learned_by_first == list(range(6, 12))
    assert learned_by_second == list(range(6))


def test_equal_networks_choose_alike_and_without_forgetting_all_is_learned(monkeypatch):
    strategy, loss = two_networks(monkeypatch, forget_rate=0.5, floor=0.0)
    strategy.step(9, unit_batch())
    assert torch.equal(loss.calls[0][2], loss.calls[1][2]) and len(loss.calls[0][2]) == 6
    strategy, loss = two_networks(monkeypatch, forget_rate=0.0)
    strategy.step(9, unit_batch())
    assert [index.tolist() for _, _, index in loss.calls] == [list(range(N))] * 2


def test_the_forget_rate_is_the_noise_rate(monkeypatch):
    built = captured(monkeypatch)
    for noise in (0.0, 0.3):
        fit_all(blobs(500, 3, noise), strategy="co_teaching", epochs=6)
        assert built[-1].forget_rate == pytest.approx(noise, abs=0.06)


# --- marvel ---------------------------------------------------------------------------------------------------------


def abandoned(signs: str, streak: int, burn_in: int = 0, readmit: bool = False) -> list[int]:
    """Epoch by epoch `abandoned_at` of row 0 whose margins have these signs; all others are always positive."""
    epochs = 100
    strategy, _, _ = build("marvel", epochs=epochs, streak=streak, burn_in=burn_in / epochs, readmit=readmit)
    margin = np.ones((len(signs), N))
    margin[:, 0] = [{"+": 1.0, "-": -1.0, "0": 0.0, "?": np.nan}[sign] for sign in signs]
    history = []
    for epoch in range(len(signs) + 1):
        strategy.batches(epoch, observed(np.zeros((epoch, N)), margin[:epoch], strategy))
        history.append(int(strategy.abandoned_at[0]))
        assert (strategy.weights[0] == 0) == (history[-1] >= 0)
    return history


@pytest.mark.parametrize(
    ("signs", "streak", "burn_in", "index"),
    [
        ("+---+", 3, 0, 3),
        ("+---+", 4, 0, None),
        ("+---+", 3, 5, None),
        ("-----", 5, 0, 4),
        ("--0--", 3, 0, None),
        ("--?--", 3, 0, None),
        ("+---+++++++", 3, 0, 3),
    ],
)
def test_a_run_of_negative_margins_is_given_up(signs, streak, burn_in, index):
    history = abandoned(signs, streak, burn_in)
    expected = [-1] * len(signs) + [-1]
    if index is not None:  # the epoch after the run
        expected[index + 1 :] = [index + 1] * (len(signs) - index)
    assert history == expected


def test_a_row_comes_back_only_where_that_is_allowed():
    assert abandoned("---+++", 3)[-1] == 3
    assert abandoned("---+++", 3, readmit=True) == [-1, -1, -1, 3, 3, 3, -1]


def test_current_streak():
    margin = np.array([[-1, -1, 1], [-1, 1, -1], [-1, -1, -1]], dtype=np.float32)
    np.testing.assert_array_equal(current_streak(margin), [3, 1, 2])
    np.testing.assert_array_equal(current_streak(margin[:0]), [0, 0, 0])


def give_up(margin: np.ndarray, **hp: Any) -> np.ndarray:
    strategy, _, _ = build("marvel", epochs=10, streak=2, **hp)
    strategy.batches(3, observed(np.zeros((3, N)), margin, strategy))
    return np.flatnonzero(strategy.abandoned_at >= 0)


def test_the_worst_go_first_and_nothing_before_the_network_has_learned():
    margin = np.ones((3, N))
    margin[:, :4] = [[-1, -4, -3, -2]] * 3
    np.testing.assert_array_equal(give_up(margin), [1])  # 15 % of twelve
    assert len(give_up(-np.ones((3, N)))) == 0


def test_chance_of_a_run():
    expected = {(0.5, 10, 100): 0.0441, (0.5, 10, 50): 0.0204, (0.5, 5, 100): 0.8101, (0.3, 5, 100): 0.1526}
    expected |= {(0.3, 10, 100): 0.0004, (0.2, 3, 100): 0.4744, (0.2, 5, 100): 0.0244}
    for (p, streak, epochs), chance in expected.items():
        assert chance_of_streak(streak, epochs, p) == pytest.approx(chance, abs=6e-5)
    assert default_streak(100) == 10
    assert all(2 <= default_streak(epochs) <= max(2, epochs / 4 + 0.5) for epochs in range(1, 65))


def test_arduous_rows_weigh_more_and_given_up_ones_nothing():
    strategy, _, _ = build("marvel_plus", epochs=10, streak=2)
    margin = np.tile(np.arange(1.0, N + 1), (3, 1))
    margin[:, 0], margin[2, 1] = -1, -0.1  # row 0 is given up, row 1 wavers
    strategy.batches(3, observed(np.zeros((3, N)), margin, strategy))
    weights = strategy.weights.numpy()
    assert weights[0] == 0
    assert weights[1:].mean() == pytest.approx(1)
    assert np.flatnonzero(weights > weights[1]).tolist() == [2, 3]  # below the 30 % quantile of the positive means
    np.testing.assert_allclose(weights[2:4], 2 * weights[1])


def test_weights_scale_the_loss_and_no_weight_is_no_loss(monkeypatch):
    strategy, _, loss = build("marvel")
    values: list[float] = []
    monkeypatch.setattr(strategy.learners[0], "update", lambda value: values.append(value.item()))
    strategy.step(0, unit_batch())
    strategy.weights[1:] = 0
    strategy.step(0, unit_batch())
    strategy.weights[:] = 0
    strategy.step(0, unit_batch())
    each = nn.functional.cross_entropy(loss.calls[0][0], torch.arange(N) % 3, reduction="none")
    assert values == [pytest.approx(each.mean().item()), pytest.approx(each[0].item()), 0]


def test_marvel_gives_up_the_wrong_labels(monkeypatch):
    built = captured(monkeypatch)
    task = blobs(500, 3, 0.2)
    fit_all(task, strategy="marvel", epochs=8)
    gone = built[-1].abandoned_at >= 0
    assert gone[task.wrong].mean() > 0.7
    assert gone[~task.wrong].mean() < 0.03


# --- curriculum and density -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 4, 9, 40])
def test_three_clusters_are_optimal(size):
    rng = np.random.default_rng(size)
    for _ in range(20):
        values = np.round(rng.normal(size=size), 1)
        found = three_clusters(values)
        if len(np.unique(values)) < 3:
            assert (found == 2).all()
            continue
        ordered = np.sort(values)
        spread = lambda part: ((part - part.mean()) ** 2).sum()  # noqa: E731
        best = min(
            spread(ordered[:i]) + spread(ordered[i:j]) + spread(ordered[j:])
            for i in range(1, size - 1)
            for j in range(i + 1, size)
        )
        assert sum(spread(values[found == c]) for c in range(3)) == pytest.approx(best, abs=1e-9)
        assert all(values[found == a].max() < values[found == b].min() for a, b in pairwise(range(3)))


def rare_modes(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes, each with 95 % of its rows in one blob and 5 % in another, 8 deviations off."""
    rng = np.random.default_rng(seed)
    labels, rare = np.arange(n) % 2, rng.random(n) < 0.05
    features = rng.normal(size=(n, 2))
    features[:, 0] += 100 * labels + 8 * rare
    return features, labels, rare


def test_a_small_mode_of_a_class_is_hard():
    features, labels, rare = rare_modes()
    share, subset = class_densities(features, labels)
    assert (subset[rare] == HARD).all()
    assert share.min() >= 0 and share.max() <= 1
    assert np.bincount(subset).min() > 0
    order = np.random.default_rng(1).permutation(len(labels))
    again, regrouped = class_densities(features[order], labels[order])
    np.testing.assert_array_equal(again, share[order])
    np.testing.assert_array_equal(regrouped, subset[order])


def test_densities_count_the_near_rows():
    features = np.array([[0.0], [1], [2], [10]])
    # 16 distances sorted: four 0, four 1, two 2, two 8, two 9, two 10; the entry of rank 9 is 2
    share, _ = class_densities(features, np.zeros(4, dtype=np.int64))
    np.testing.assert_allclose(share, np.array([1, 2, 1, 0]) / 3)
    alike, subset = class_densities(np.ones((6, 3)), np.zeros(6, dtype=np.int64))
    assert not alike.any() and (subset == EASY).all()


def test_a_sample_stands_for_a_large_class():
    features, labels, rare = rare_modes(3000)
    exact, _ = class_densities(features, labels, sample=3000)
    drawn, subset = class_densities(features, labels, sample=300)
    assert np.corrcoef(exact, drawn)[0, 1] > 0.98
    assert (subset[rare] == HARD).mean() > 0.95


def test_stages_open_one_after_the_other():
    strategy, _, _ = build("curriculum", epochs=14, warmup=2 / 14)
    strategy.subset = np.array([EASY, SEMI_HARD, HARD] * 4)
    nothing = observed([np.zeros(N)], [np.zeros(N)], strategy)
    learned = {epoch: set(np.array(rows_of(strategy, epoch, nothing)) % 3) for epoch in (1, 3, 5, 6, 9, 10, 13)}
    assert learned[3] == learned[5] == {EASY}
    assert learned[6] == learned[9] == {EASY, SEMI_HARD}
    assert learned[1] == learned[10] == learned[13] == {EASY, SEMI_HARD, HARD}


def test_wrong_labels_are_rarely_easy(monkeypatch):
    built = captured(monkeypatch)
    task = blobs(500, 3, 0.2)
    fit_all(task, strategy="curriculum", epochs=8)
    strategy: Any = built[-1]
    assert (strategy.subset[task.wrong] == EASY).mean() < 0.05
    assert (strategy.subset[~task.wrong] == EASY).mean() > 0.4
    np.testing.assert_array_equal(strategy.weights.numpy(), np.where(strategy.subset == EASY, 1.0, 0.5))


# --- DivideMix ------------------------------------------------------------------------------------------------------


def test_co_refinement():
    given = nn.functional.one_hot(Y, 4).double()
    refined = co_refine(given, torch.tensor([0.9, 0.2, 0.8, 0.5], dtype=torch.float64), P)
    expected = torch.tensor([0.085438, 0.631309, 0.231431, 0.051821]).double()
    torch.testing.assert_close(refined[1], expected, atol=2e-6, rtol=0)
    sharp = torch.tensor([[0.015797, 0.862485, 0.115907, 0.005811], [0.046928, 0.895861, 0.031457, 0.025755]]).double()
    torch.testing.assert_close(sharpen(refined)[[1, 3]], sharp, atol=2e-6, rtol=0)


def test_the_unlabelled_loss_is_a_mean_over_the_classes():
    values = squared_distance(P, sharpen(P))
    expected = torch.tensor([0.017684, 0.011637, 0.012020, 0.000765]).double()
    torch.testing.assert_close(values, expected, atol=2e-6, rtol=0)
    assert values.mean().item() == pytest.approx(0.010526, abs=2e-6)


def test_each_network_is_given_the_split_of_the_other_one():
    strategy, _, _ = build("dividemix", epochs=10)
    logits = np.zeros((2, N, 3), dtype=np.float32)
    labels = np.arange(N) % 3
    logits[:, np.arange(N), labels] = 6 + np.linspace(0, 0.5, N)
    logits[0, :3] = -logits[0, :3]  # the first network doubts rows 0..2, the second row 3..4
    logits[1, 3:5] = -logits[1, 3:5]
    seen = observed([np.zeros(N)] * 5, [np.ones(N)] * 5, strategy, logits)
    rows: dict[tuple[int, str], set[int]] = {}
    for batch in strategy.batches(5, seen):
        assert isinstance(batch, Divided) and batch.unlabelled is not None
        rows.setdefault((batch.network, "labelled"), set()).update(batch.index.tolist())
        rows.setdefault((batch.network, "unlabelled"), set()).update(batch.unlabelled.index.tolist())
    assert rows[0, "unlabelled"] == {3, 4} and not rows[0, "labelled"] & {3, 4}
    assert rows[1, "unlabelled"] == {0, 1, 2} and not rows[1, "labelled"] & {0, 1, 2}


def test_the_warm_up_penalises_certainty(monkeypatch):
    losses: list[float] = []
    for penalty in (0.0, 2.0):
        strategy, _, loss = build("dividemix", penalty=penalty)
        monkeypatch.setattr(strategy.learners[0], "update", lambda value: losses.append(value.item()))
        batch = unit_batch()
        strategy.step(0, Divided(batch.inputs, batch.targets, batch.index, 0))
    assert losses[1] - losses[0] == pytest.approx(2 * negative_entropy(loss.calls[0][0]).item(), rel=1e-5)


@pytest.mark.parametrize("name", ["dividemix", "fixmatch"])
def test_labels_of_unlabelled_rows_are_not_shown(name):
    def step(labels: Tensor) -> Tensor:
        strategy, network, _ = build(name, epochs=10)
        clean, other = torch.arange(6), torch.arange(6, 12)
        one = Batch(torch.eye(N)[clean], clean % 3, clean)
        rest = Batch(torch.eye(N)[other], labels, other)
        strategy.step(5, Divided(one.inputs, one.targets, one.index, 0, rest))
        return network.linear.weight.detach()

    torch.testing.assert_close(step(torch.zeros(6, dtype=torch.int64)), step(torch.ones(6, dtype=torch.int64)))


def test_dividemix_doubts_the_wrong_labels(monkeypatch):
    built = captured(monkeypatch)
    task = blobs(500, 3, 0.3)
    fit_all(task, strategy="dividemix", epochs=8)
    clean = built[-1].clean.mean(dim=0).numpy()
    assert (clean[task.wrong] < 0.5).mean() > 0.8
    assert (clean[~task.wrong] < 0.5).mean() < 0.05


# --- FixMatch -------------------------------------------------------------------------------------------------------


def test_confident_guesses():
    guess, passes = confident_guess(P, 0.75)
    assert passes.tolist() == [False, True, True, False]
    assert guess.tolist() == [0, 1, 3, 0]


def test_the_strong_view_learns_the_guess_of_the_weak_one(monkeypatch):
    strategy, network, _ = build("fixmatch", confidence=0.0, lambda_u=2.0)
    object.__setattr__(strategy.setting, "augment_strongly", lambda inputs: 3 * inputs)
    values: list[float] = []
    monkeypatch.setattr(strategy.learners[0], "update", lambda value: values.append(value.item()))
    with torch.no_grad():
        network.linear.weight.copy_(torch.randn(3, N, generator=torch.Generator().manual_seed(0)))
    clean, other = torch.arange(6), torch.arange(6, 12)
    rest = Batch(torch.eye(N)[other], other % 3, other)
    strategy.step(5, Divided(torch.eye(N)[clean], clean % 3, clean, 0, rest))
    with torch.no_grad():
        logits = network.linear(torch.eye(N))
        strong = network.linear(3 * torch.eye(N))
    expected = cross_entropy(logits[:6], clean % 3).mean() + 2 * cross_entropy(strong[6:], logits[6:].argmax(1)).mean()
    assert values == [pytest.approx(expected.item(), rel=1e-5)]


# --- ProMix ---------------------------------------------------------------------------------------------------------


def test_small_losses_are_selected_alike_from_every_class():
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    losses = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    assert sorted(balanced_small(losses, labels, 2, 0.5)) == [0, 1, 6, 7]
    assert sorted(balanced_small(losses, labels, 2, 1.0)) == [0, 1, 2, 3, 6, 7]  # a smaller class gives all it has


def test_only_a_confident_prediction_of_the_given_label_selects():
    p = torch.tensor([[0.995, 0.005], [0.98, 0.02], [0.999, 0.001]])
    assert matched(p.log(), torch.tensor([0, 0, 1]), 0.99).tolist() == [True, False, False]


def test_a_uniform_prior_changes_no_softmax():
    strategy, _, _ = build("promix")
    even = torch.full((6, 3), 1 / 3)
    shift, rest = strategy.track_priors(0, even, torch.arange(6) < 3)
    for values in (shift, rest):
        torch.testing.assert_close((Z[:, :3].float() + values).softmax(1), Z[:, :3].float().softmax(1))
    tilted = torch.tensor([[0.8, 0.1, 0.1]]).repeat(6, 1)
    shift, rest = strategy.track_priors(0, tilted, torch.ones(6, dtype=torch.bool))
    assert shift[0] > shift[1] and torch.equal(shift[1], shift[2])
    assert rest.unique().numel() == 1  # no such row was seen


def test_rows_that_are_not_selected_leave_the_predictor_alone(monkeypatch):
    strategy: Any = build("promix", epochs=10, debias=0.0, confidence=1.0, rise=0.0)[0]
    network = strategy.learners[0].network
    batch = next(strategy.batches(0, observed(np.zeros((0, N)), np.zeros((0, N)), strategy)))
    strategy.small[:] = False
    monkeypatch.setattr(strategy.learners[0], "update", lambda value: value.backward())
    network.encoder.register_parameter("unused", nn.Parameter(torch.zeros(1)))
    strategy.step(5, batch)
    assert network.head.weight.grad is None or not network.head.weight.grad.any()
    assert network.pseudo.weight.grad.any()


def test_selection_grows_over_the_right_labels(monkeypatch):
    built = captured(monkeypatch)
    task = blobs(600, 3, 0.3)
    fit_all(task, strategy="promix:networks=2", epochs=8)
    small = built[-1].small.numpy()
    assert small.shape == (2, 600) and (small.sum(axis=1) == 300).all()
    assert task.wrong[small.any(axis=0)].mean() < 0.02
    assert (np.bincount(task.labels[small[0]]) == 100).all()


def test_only_the_primary_head_predicts():
    strategy: Any = build("promix")[0]
    network = strategy.learners[0].network
    with torch.no_grad():
        network.pseudo.weight.fill_(100.0)
    torch.testing.assert_close(network(torch.eye(N)), network.head(torch.eye(N)))
    assert list(strategy.learners) == strategy.learners[:1]

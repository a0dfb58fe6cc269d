"""Calibration: the rate of planted noise is recovered, and the probabilities mean what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cleanlab_lite.evidence.evidence import Evidence, Plants
from cleanlab_lite.evidence.history import History
from cleanlab_lite.judge.calibration import (
    Calibration,
    calibrate,
    hit_chance,
    scale_odds,
    tail_rate,
    wrong_probability,
)
from cleanlab_lite.measure import expected_calibration_error


def simulate(
    rate: float,
    *,
    n: int = 6000,
    k: int = 5,
    separation: float = 1.5,
    planted: float = 0.2,
    informed: bool = True,
    seed: int = 0,
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Evidence, ranking and which rows are wrong. Margins are N(separation, 1) of right labels, N(-separation, 1) else.

    With `informed` probabilities a label planted on a wrong row is nearly always the true one; else it is drawn
    from all classes alike.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    wrong = rng.permutation(n) < round(rate * n)
    labels = np.where(wrong, (truth + rng.integers(1, k, n)) % k, truth)
    pred_probs = np.full((n, k), 1 / k)
    pred_probs[np.arange(n), truth] += 1e-6  # the top class is right, by next to nothing
    if informed:
        pred_probs[:] = 0.02 / (k - 1)
        pred_probs[np.arange(n), truth] = 0.98
    rows = rng.choice(n, round(planted * n), replace=False)
    draw = pred_probs[rows].copy()
    draw[np.arange(len(rows)), labels[rows]] = 0
    draw = (draw / draw.sum(axis=1, keepdims=True)).cumsum(axis=1)
    drawn = np.minimum((draw < rng.random((len(rows), 1))).sum(axis=1), k - 1)
    shown = labels.copy()
    shown[rows] = drawn

    def margin(label: np.ndarray) -> np.ndarray:
        return np.where(label == truth, separation, -separation) + rng.normal(size=n)

    ranking, seen = margin(labels), margin(shown)
    margins = np.stack([ranking, seen])[:, None].astype(np.float16)
    history = History(-margins, margins, np.zeros((2, 1, n), np.int32), np.stack([labels, shown]).astype(np.int32))
    evidence = Evidence(
        labels,
        k,
        history,
        pred_probs=pred_probs.astype(np.float32),
        plants=Plants(1, rows, drawn, np.arange(len(rows)) % 2 == 0),
    )
    return evidence, ranking, wrong


def orderly(calibration: Calibration, ranking: np.ndarray) -> None:
    """What holds of every calibration."""
    rate, p = calibration.rate, calibration.p_mislabel
    assert 0 <= rate.low <= rate.estimate <= rate.high <= 1
    assert np.isfinite(p).all() and p.min() >= 0 and p.max() <= 1
    resolution = 2e-4
    assert (calibration.p_low <= p + resolution).all() and (p <= calibration.p_high + resolution).all()
    assert (np.diff(p[np.argsort(ranking, kind="stable")]) <= 1e-12).all()  # a lower rank is never more right


# --- planted errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("rate", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("informed", [True, False], ids=["many hit the truth", "few hit the truth"])
def test_planted_errors_recover_the_rate(rate, informed, seed):
    evidence, ranking, wrong = simulate(rate, informed=informed, seed=seed)
    calibration = calibrate(evidence, ranking, seed=seed)
    orderly(calibration, ranking)
    assert calibration.rate.method == "planted errors"
    assert calibration.rate.estimate == pytest.approx(rate, abs=0.005 + 0.2 * rate)
    assert calibration.rate.low <= 1.15 * rate  # not corrected for planted labels that are right
    assert rate <= calibration.rate.high
    assert expected_calibration_error(calibration.p_mislabel, wrong) < 0.05
    assert ((calibration.p_mislabel >= 0.5) == wrong).mean() > 0.9


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3])
def test_the_mean_probability_is_the_estimate(rate):
    calibration = calibrate(*simulate(rate)[:2])
    for p, mean in (
        (calibration.p_mislabel, calibration.rate.estimate),
        (calibration.p_low, calibration.rate.low),
        (calibration.p_high, calibration.rate.high),
    ):
        assert p.mean() == pytest.approx(mean, abs=1e-3)


def test_clean_labels_are_called_clean():
    evidence, ranking, _ = simulate(0.0)
    calibration = calibrate(evidence, ranking)
    orderly(calibration, ranking)
    assert calibration.rate.estimate < 0.02
    assert (calibration.p_mislabel >= 0.5).mean() < 0.01


def test_two_clear_groups_are_counted():
    evidence, ranking, wrong = simulate(0.15, separation=4.0)
    calibration = calibrate(evidence, ranking)
    orderly(calibration, ranking)
    assert calibration.rate.method == "two clear groups"
    assert calibration.rate.estimate == pytest.approx(0.15, abs=0.005)
    assert ((calibration.p_mislabel >= 0.5) == wrong).mean() > 0.995


def test_what_out_of_sample_predictions_agree_with_is_not_called_wrong():
    """Proxies trained too briefly rank in two groups, learned and not yet learned, that are not right and wrong."""
    evidence, ranking, _ = simulate(0.15, separation=4.0)
    late = np.random.default_rng(0).random(len(ranking)) < 0.8
    history = evidence.history
    margins = history.margin.astype(np.float32) - 8.0 * late  # most rows are not yet learned
    evidence = replace(evidence, history=replace(history, margin=margins.astype(np.float16)))
    calibration = calibrate(evidence, ranking - 8.0 * late)
    assert calibration.rate.method == "planted errors"
    assert calibration.rate.estimate <= 0.15 + 1e-3


def test_overlap_widens_towards_more_errors_not_fewer():
    """Planted errors count only where no right label lies; where some do, the estimate is an upper bound."""
    evidence, ranking, _ = simulate(0.15, separation=0.7)
    calibration = calibrate(evidence, ranking)
    orderly(calibration, ranking)
    assert 0.15 < calibration.rate.high < 0.6
    assert calibration.rate.high - calibration.rate.low > 0.05


def test_the_seed_decides_the_interval():
    evidence, ranking, _ = simulate(0.15)
    assert calibrate(evidence, ranking, seed=4).rate == calibrate(evidence, ranking, seed=4).rate


# --- without planted errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [None, 10], ids=["no plants", "few plants"])
def test_without_enough_planted_rows_a_mixture_counts_and_is_named(kept):
    evidence, ranking, wrong = simulate(0.2, separation=3.0)
    plants = evidence.plants
    if kept is None:
        evidence = replace(evidence, plants=None)
    else:
        few = Plants(plants.proxy, plants.rows[:kept], plants.labels[:kept], plants.instance_level[:kept])
        evidence = replace(evidence, plants=few)
    calibration = calibrate(evidence, ranking)
    assert calibration.rate.method == "Gaussian mixture, uncalibrated"
    assert calibration.rate.low < 0.2 < calibration.rate.high
    assert ((calibration.p_mislabel >= 0.5) == wrong).mean() > 0.98
    orderly(calibration, ranking)


def test_the_mixture_alone_is_not_believed_beyond_what_predictions_differ_from():
    evidence, ranking, _ = simulate(0.15)
    calibration = calibrate(replace(evidence, plants=None), ranking - 100.0)  # all margins are low
    assert calibration.rate.estimate <= 0.15 + 1e-3
    assert calibration.p_mislabel.mean() <= 0.15 + 1e-3


def test_plants_of_one_kind_only_are_not_enough():
    evidence, ranking, _ = simulate(0.2)
    plants = evidence.plants
    one_kind = Plants(plants.proxy, plants.rows, plants.labels, np.ones(len(plants.rows), bool))
    assert "uncalibrated" in calibrate(replace(evidence, plants=one_kind), ranking).rate.method


@pytest.mark.parametrize("with_plants", [True, False])
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_equal_scores_give_finite_probabilities(value, with_plants):
    evidence, ranking, _ = simulate(0.1, n=500)
    evidence = evidence if with_plants else replace(evidence, plants=None)
    calibration = calibrate(evidence, np.full_like(ranking, value))
    assert np.isfinite(calibration.p_mislabel).all()
    assert 0 <= calibration.rate.low <= calibration.rate.estimate <= calibration.rate.high <= 1


# --- formulas -------------------------------------------------------------------------------------------------------


def test_tail_rate_of_known_shares():
    planted = -np.arange(1, 1001, dtype=np.float64)
    same = np.sort(planted)
    assert tail_rate(same, planted) == pytest.approx(1.0, abs=0.01)  # all rows look like the planted ones
    diluted = np.sort(np.concatenate([planted, np.full(3000, 50.0)]))
    assert tail_rate(diluted, planted) == pytest.approx(0.25, abs=0.01)
    assert tail_rate(np.full(100, 50.0), planted) == 0.0


def test_wrong_probability_of_two_separate_groups():
    rest = np.concatenate([np.linspace(-2, -1, 100), np.linspace(1, 2, 900)])
    planted = np.linspace(-2, -1, 50)
    p = wrong_probability(rest, planted, rate=0.1, right=0.0)
    np.testing.assert_allclose(p[:95], 1.0, atol=0.05)  # the groups are sampled, their edges are not sharp
    np.testing.assert_allclose(p[105:], 0.0, atol=0.05)


def test_wrong_probability_allows_for_planted_labels_that_are_right():
    """A tenth of the planted rows has a margin like the right rows; told so, none of those is suspected."""
    rest = np.concatenate([np.linspace(-2, -1, 100), np.linspace(1, 2, 900)])
    planted = np.concatenate([np.linspace(-2, -1, 90), np.linspace(1, 2, 10)])
    assert wrong_probability(rest, planted, rate=0.1, right=0.0)[100:].mean() > 0.005
    told = wrong_probability(rest, planted, rate=0.1, right=0.1)
    assert told[100:].mean() < 0.005
    np.testing.assert_allclose(told[:95], 1.0, atol=0.05)


def test_hit_chance_is_the_chance_that_two_draws_agree():
    n = 40
    labels = np.zeros(n, dtype=np.int64)
    certain, uniform = np.tile([0.5, 0.5, 0, 0, 0], (n, 1)), np.full((n, 5), 0.2)
    ranking = np.arange(n, dtype=np.float64)
    assert hit_chance(labels, certain, ranking, 0.5) == pytest.approx(1.0)
    assert hit_chance(labels, uniform, ranking, 0.5) == pytest.approx(0.25)
    mixed = np.where(ranking[:, None] < 20, certain, uniform)
    assert hit_chance(labels, mixed, ranking, 0.5) == pytest.approx(1.0)  # of the suspicious half


@pytest.mark.parametrize("mean", [0.001, 0.2, 0.9])
def test_scaled_odds_share_one_factor(mean):
    p = np.linspace(0.01, 0.99, 99)
    scaled = scale_odds(p, mean)
    assert scaled.mean() == pytest.approx(mean, rel=1e-6)
    factor = scaled / (1 - scaled) / (p / (1 - p))
    np.testing.assert_allclose(factor, factor[0], rtol=1e-6)


def test_proxies_that_learned_nothing_judge_nothing():
    evidence, ranking, _ = simulate(0.15)
    guesses = np.random.default_rng(5).random(evidence.pred_probs.shape).astype(np.float32)
    calibration = calibrate(replace(evidence, pred_probs=guesses / guesses.sum(1, keepdims=True)), ranking)
    assert "unknown" in calibration.rate.method
    assert np.isnan(calibration.rate.estimate) and np.isnan(calibration.p_mislabel).all()


def test_margins_that_hardly_differ_get_probabilities_too() -> None:
    """An isotonic fit takes numbers 1e-16 apart for one, and is then asked about the largest, beyond its end."""
    margins = np.array([-3.0, -2.0, -1.0, 0.0, 1e-16, 2e-16])
    assert np.isfinite(wrong_probability(margins, np.array([-3.0, -2.5]), 0.2, 0.0)).all()

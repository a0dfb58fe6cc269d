"""The noise rate as a median, and probabilities that mean what they say, in worlds where the wrong labels are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cleanlab_lite.arrays import draw
from cleanlab_lite.judge.closed_form import hold_out
from cleanlab_lite.judge.rate import (
    DRAWS,
    Estimators,
    consult,
    judge_rate,
    margin,
    plant,
    planted_rates,
    strictly,
    with_one_more,
)
from cleanlab_lite.measure import expected_calibration_error


def planted(
    rate: float, *, n: int = 2000, k: int = 5, d: int = 20, apart: float = 1.0, stray: bool = False, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, d) of k clusters, labels of which a share `rate` is wrong, and which. Some rows may `stray` far."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    features = rng.normal(size=(k, d))[truth] * apart
    noise = rng.normal(size=(n, d))
    features += noise * np.sqrt(3 / rng.chisquare(3, (n, 1))) if stray else noise
    wrong = rng.permutation(n) < round(rate * n)
    return features, np.where(wrong, (truth + rng.integers(1, k, n)) % k, truth), wrong


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
def test_the_planted_rate_is_recovered_and_the_probabilities_are_honest(rate: float) -> None:
    features, labels, wrong = planted(rate)
    judged = judge_rate(hold_out([features], labels, 5), labels)
    found, p = judged.calibration.rate, judged.calibration.p_mislabel
    assert found.estimate == pytest.approx(rate, abs=0.03)
    assert found.low <= rate <= found.high
    assert p.mean() == pytest.approx(found.estimate, abs=2e-3)
    assert expected_calibration_error(p, wrong) < 0.04
    assert ((p >= 0.5) == wrong).mean() > 0.95


def test_clean_labels_of_weak_features_are_not_half_wrong() -> None:
    features, labels, _ = planted(0.0, apart=0.4)
    judged = judge_rate(hold_out([features], labels, 5), labels)
    assert judged.estimators is not None and judged.estimators.disagreement > 0.2
    assert judged.calibration.rate.estimate < judged.estimators.disagreement / 2


def test_labels_by_chance_leave_everything_unknown() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 500)
    judged = judge_rate(hold_out([rng.normal(size=(500, 20))], labels, 5), labels)
    assert judged.estimators is None
    assert np.isnan(judged.calibration.rate.estimate) and np.isnan(judged.calibration.p_mislabel).all()
    assert (judged.calibration.rate.low, judged.calibration.rate.high) == (0, 1)


def test_where_hardly_a_row_is_in_doubt_the_confusion_counts() -> None:
    """Two glaring errors among 600 rows: planted labels, which are as glaring, and halves say next to nothing."""
    clear = Estimators(
        0.0, 0.0033, 0.0001, None, classwise=0.0, disagreement=0.0033, unsure=0.0001, rows=600, classes=2
    )
    assert clear.clear and clear.rate == 0.0033
    two = np.repeat([0.0, 0.99], [598, 2])
    rate = clear.noise_rate(two, "")
    assert 0.002 < rate.low < 0.0033 < rate.high < 0.02
    doubtful = replace(clear, unsure=0.001)
    assert not doubtful.clear and doubtful.rate == pytest.approx(0.0001, rel=0.02)
    none = Estimators(0.0, 0.0, 0.0, None, classwise=0.0, disagreement=0.0, unsure=0.0, rows=600, classes=2)
    high = none.noise_rate(np.zeros(600), "").high
    assert none.rate == 0 and 0 < high < 0.01  # none of 600 seen is no proof that there are none


def test_the_lower_end_is_the_nearer_the_better_it_is_known_which_rows_are_wrong() -> None:
    voices = Estimators(0.2, 0.21, 0.2, None, classwise=0.2, disagreement=0.2, unsure=0.05, rows=1000, classes=2)
    known, open_ = np.repeat([0.01, 0.96], [800, 200]), np.full(1000, 0.2)
    near, far = (voices.noise_rate(p, "") for p in (known, open_))
    assert far.estimate - far.low == pytest.approx(1.96 * np.sqrt(0.2 * 0.8 / 1000), rel=0.2)  # as of a sample
    assert near.estimate - near.low < (far.estimate - far.low) / 2.5
    assert near.high == far.high == pytest.approx(0.2 + 1.96 * np.sqrt(0.2 * 0.8 / 1000), abs=2e-3)


def test_the_rate_is_the_median_but_never_above_the_disagreement() -> None:
    voices = Estimators(0.3, 0.1, 0.2, None, classwise=0.05, disagreement=0.4, unsure=0.1, rows=10_000, classes=2)
    assert voices.rate == pytest.approx(0.2, rel=0.002)
    assert voices.ends == pytest.approx((0.05, 0.4), abs=1e-3)
    crowd = replace(voices, views=0.25)  # in place of the halves, which repeat each other's mistakes
    assert crowd.rate == pytest.approx(0.25, rel=0.002)
    alone = replace(voices, planted=0.05, confusion=0.07, views=0.15)  # errors that the head behind these two repeats
    assert alone.rate == pytest.approx(0.07, rel=0.002)
    assert replace(alone, besides=0.15).rate == pytest.approx(0.11, rel=0.002)
    assert replace(voices, halves=None, disagreement=1).rate == pytest.approx(0.2, rel=0.002)
    assert replace(voices, disagreement=0.15).rate == 0.15
    assert replace(voices, classwise=0.9).ends[0] < 0.2


def test_the_fewer_rows_a_class_has_the_less_of_what_is_counted_is_believed() -> None:
    many = Estimators(0.3, 0.1, 0.2, None, classwise=0.05, disagreement=0.4, unsure=0.1, rows=10_000, classes=2)
    few = [replace(many, classes=classes) for classes in (2, 100, 1000, 5000)]
    assert [each.rate for each in few] == sorted((each.rate for each in few), reverse=True)
    assert [each.ends[0] for each in few] == sorted((each.ends[0] for each in few), reverse=True)
    assert 0.1 < few[2].rate < 0.17
    assert replace(many, confusion=0.2, unsure=0.001, classes=5000).rate == 0.2  # hardly a row is in doubt


def test_where_a_class_has_fifteen_rows_as_many_flags_are_real_as_is_said() -> None:
    """Some rows stray, as those of real data do. Of 100 flags 74 were said to be real, and 53 were."""
    said, real, flags, rate = np.zeros(4)
    for seed in range(6):
        features, labels, wrong = planted(0.15, n=300, k=20, apart=0.8, stray=True, seed=seed)
        calibration = judge_rate(hold_out([features], labels, 20), labels).calibration
        flagged = calibration.p_mislabel >= 0.5
        flags += flagged.sum()
        said += calibration.p_mislabel[flagged].sum()
        real += wrong[flagged].sum()
        rate += calibration.rate.estimate / 6
    assert flags > 200 and said / flags == pytest.approx(real / flags, abs=0.06)


def test_the_interval_ends_at_the_disagreement_where_errors_may_be_uncounted_and_nearer_where_not() -> None:
    voices = Estimators(0.1, 0.1, 0.1, None, classwise=0.1, disagreement=0.3, unsure=0.05, rows=10**8, classes=2)
    highs = [replace(voices, unsure=unsure).ends[1] for unsure in (0.09, 0.05, 0.025, 0.011)]
    assert highs == pytest.approx([0.3, 0.3, 0.2, 0.144], abs=1e-3)


def test_independent_views_are_heard() -> None:
    (first, labels, wrong), (second, _, _) = planted(0.2, apart=0.8), planted(0.2, apart=0.8, seed=0)
    second = second + np.random.default_rng(9).normal(size=second.shape)
    views = [hold_out([view], labels, 5).predicted for view in (first, second)]
    judged = judge_rate(hold_out([first, second], labels, 5), labels, views)
    assert judged.estimators is not None and judged.estimators.views == pytest.approx(wrong.mean(), abs=0.06)
    assert judged.calibration.rate.estimate == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_regression_beside_networks_that_see_less_than_it_does_is_heard(seed: int) -> None:
    features, labels, _ = planted(0.2, apart=0.8, seed=seed)
    whole, part = hold_out([features], labels, 5), hold_out([features[:, :4]], labels, 5)
    networks = replace(part, halves=part.halves[:0], neighbors=np.full(len(labels), -1))
    counsel = consult(whole, labels)
    assert counsel is not None and len(counsel.select(labels == 0).by_confusion) == (labels == 0).sum()
    alone, both = (judge_rate(networks, labels, counsel=each).calibration.rate for each in (None, counsel))
    assert alone.estimate > 0.3 and both.low < 0.2 < both.high
    assert abs(both.estimate - 0.2) < abs(alone.estimate - 0.2) / 1.5
    assert consult(hold_out([features], np.random.default_rng(seed).permutation(labels), 5), labels) is None


def falls_strictly(p: np.ndarray, ranking: np.ndarray) -> bool:
    order = np.argsort(ranking)
    tied = np.diff(ranking[order]) == 0
    return bool((np.where(tied, np.diff(p[order]) == 0, np.diff(p[order]) < 0)).all())


def test_probabilities_fall_strictly_along_the_ranking_and_stay_off_the_ends() -> None:
    features, labels, _ = planted(0.3, apart=3.0)  # nearly all rows are beyond doubt
    found = hold_out([features], labels, 5)
    calibration = judge_rate(found, labels).calibration
    for p in (calibration.p_mislabel, calibration.p_low, calibration.p_high):
        assert falls_strictly(p, found.score)
        assert 0 < p.min() < p.max() < 1
    assert (calibration.p_low <= calibration.p_mislabel + 1e-4).all()
    assert (calibration.p_mislabel <= calibration.p_high + 1e-4).all()


def test_a_plateau_is_spread_by_rank_around_its_mean() -> None:
    p = np.repeat([1.0, 0.6, 0.6 - 1e-9, 0.0], [3, 4, 5, 8])
    ranking = np.arange(20.0)
    found = strictly(p, ranking)
    assert falls_strictly(found, ranking)
    for start, stop in ((0, 3), (3, 12), (12, 20)):
        assert found[start:stop].mean() == pytest.approx(p[start:stop].mean(), abs=2e-5)
    shuffled = np.random.default_rng(0).permutation(20)
    np.testing.assert_array_equal(strictly(p[shuffled], ranking[shuffled]), found[shuffled])


def test_rows_of_equal_rank_have_equal_probabilities() -> None:
    ranking = np.array([0.0, 1, 1, 2, 3, 3])
    found = strictly(np.full(6, 0.3), ranking)
    assert falls_strictly(found, ranking)
    assert found.mean() == pytest.approx(0.3)


def test_a_fused_ranking_takes_the_probabilities() -> None:
    features, labels, wrong = planted(0.2)
    found = hold_out([features], labels, 5)
    ranking = found.score + np.random.default_rng(0).normal(size=len(labels))
    ranking[:5] = np.nan
    calibration = judge_rate(found, labels, ranking=ranking).calibration
    assert np.isnan(calibration.p_mislabel[:5]).all()
    assert falls_strictly(calibration.p_mislabel[5:], ranking[5:])
    assert expected_calibration_error(calibration.p_mislabel[5:], wrong[5:]) < 0.05


def test_rows_without_a_label_are_not_judged_and_change_nothing_else() -> None:
    features, labels, _ = planted(0.2, n=600)
    labels[:50] = -1
    features[50] = np.nan
    calibration = judge_rate(hold_out([features], labels, 5), labels).calibration
    assert np.isnan(calibration.p_mislabel[:51]).all() and np.isfinite(calibration.p_mislabel[51:]).all()
    rest = judge_rate(hold_out([features[51:]], labels[51:], 5), labels[51:]).calibration
    assert calibration.rate.estimate == pytest.approx(rest.rate.estimate, abs=0.02)


def test_a_large_set_is_judged_from_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, wrong = planted(0.2, n=4000)
    whole = judge_rate(hold_out([features], labels, 5), labels).calibration
    for name, most in (("closed_form.LEARNED_ROWS", 2000), ("closed_form.NEIGHBORLY", 500), ("ridge.SAMPLE", 1000)):
        monkeypatch.setattr(f"cleanlab_lite.judge.{name}", most)
    sampled = judge_rate(hold_out([features], labels, 5), labels).calibration
    assert sampled.rate.estimate == pytest.approx(whole.rate.estimate, abs=0.03)
    assert expected_calibration_error(sampled.p_mislabel, wrong) < 0.05


@pytest.mark.parametrize(
    ("k", "used"), [(2, 2), (4, 3), (150, 50)], ids=["two classes", "an empty class", "most classes empty"]
)
def test_degenerate_classes(k: int, used: int) -> None:
    features, labels, wrong = planted(0.1, n=1500, k=used, apart=3.0)
    judged = judge_rate(hold_out([features], labels, k), labels)
    assert judged.calibration.rate.estimate == pytest.approx(wrong.mean(), abs=0.05)
    assert falls_strictly(judged.calibration.p_mislabel, hold_out([features], labels, k).score)


@pytest.mark.parametrize("spoil", ["identical rows", "one class", "one label"])
def test_nothing_to_tell_rows_apart_by_is_said(spoil: str) -> None:
    features, labels, _ = planted(0.2, n=100)
    if spoil == "identical rows":
        features[:] = features[0]
    elif spoil == "one class":
        labels[:] = 2
    else:
        labels[1:] = -1
    judged = judge_rate(hold_out([features], labels, 5), labels)
    assert judged.estimators is None and np.isnan(judged.calibration.rate.estimate)


def test_the_seed_decides_everything() -> None:
    features, labels, _ = planted(0.2, n=500)
    runs: list[Any] = [judge_rate(hold_out([features], labels, 5), labels, seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0].calibration.p_mislabel, runs[1].calibration.p_mislabel)
    assert runs[0].estimators.planted != runs[2].estimators.planted


def test_margins_and_draws() -> None:
    rng = np.random.default_rng(0)
    log_q, labels = rng.normal(size=(50, 4)), rng.integers(0, 4, 50)
    others = log_q.copy()
    others[np.arange(50), labels] = -np.inf
    np.testing.assert_allclose(margin(log_q, labels), log_q[np.arange(50), labels] - others.max(axis=1))
    weight = np.tile([0.0, 1.0, 3.0, 0.0], (20_000, 1))
    share = np.bincount(draw(weight, rng), minlength=4) / 20_000
    np.testing.assert_allclose(share, [0, 0.25, 0.75, 0], atol=0.02)


def test_planted_labels_are_wrong_and_easier_to_see_along_classes() -> None:
    features, labels, _ = planted(0.2, apart=0.6)
    plants = plant(hold_out([features], labels, 5).logits, labels, np.arange(2000), np.random.default_rng(0))
    assert plants.of_row.shape == plants.of_class.shape == (DRAWS, 2000)
    assert (plants.of_row != labels).all() and (plants.of_class != labels).all()
    row, classwise = planted_rates(plants)
    assert classwise < row


def test_planted_labels_that_hit_the_truth_are_taken_off() -> None:
    """A label drawn from the probabilities of a wrong row is nearly always its true one, and looks right."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 5000)
    logits = 6 * np.eye(5)[truth] + rng.normal(size=(5000, 5))
    other = np.exp(logits) * (1 - np.eye(5)[truth])
    labels = np.where(rng.random(5000) < 0.3, draw(other, rng), truth)
    rate, _ = planted_rates(plant(logits, labels, np.arange(5000), rng))
    assert rate == pytest.approx(0.3, abs=0.03)


def test_views_that_count_twice_move_all_probabilities_and_keep_their_order() -> None:
    (first, labels, _), (second, _, _) = planted(0.2, apart=0.8), planted(0.2, apart=0.8, seed=0)
    views = [hold_out([view], labels, 5).predicted for view in (first, second + 1)]
    judged = judge_rate(hold_out([first, second], labels, 5), labels, views)
    assert judged.estimators is not None
    found = replace(judged.estimators, planted=0.05, confusion=0.05, views=0.25)
    after, estimators = with_one_more(judged.calibration, found, near=True)
    assert estimators.rate == after.rate.estimate == pytest.approx(0.15, abs=0.01)
    assert after.p_mislabel.mean() == pytest.approx(after.rate.estimate, abs=1e-3)
    order = judged.calibration.p_mislabel.argsort()
    assert (np.diff(after.p_mislabel[order]) >= 0).all() and after.rate.low <= after.rate.estimate <= after.rate.high
    _, apart = with_one_more(judged.calibration, replace(found, halves=0.1), near=False)
    assert apart.rate == pytest.approx(0.075, abs=0.005)  # the middle of .05, .05, .1 and .25

"""Closed-form heads: equal to regressions that were really fitted without the row, however the rows are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn import linear_model
from worlds import auroc

from cleanlab_lite.errors import EvidenceError
from cleanlab_lite.judge.closed_form import hold_out, log_odds, log_probability, sharpness
from cleanlab_lite.judge.random_features import RandomFeatures
from cleanlab_lite.judge.ridge import Head, Ridge, Standard
from cleanlab_lite.train.products import products_on


def world(n: int = 120, d: int = 10, k: int = 4, noise: float = 0.2, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Features (n, d) of k clusters, given labels, true labels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    features = rng.normal(size=(k, d))[truth] * 2 + rng.normal(size=(n, d)) + 0.5
    labels = np.where(rng.random(n) < noise, rng.integers(0, k, n), truth)
    return features.astype(np.float32), labels, truth


def refitted(ridge: Ridge, head: Head, left_out: np.ndarray) -> np.ndarray:
    """(m, k) predictions for the rows left out (m,), by scikit-learn, from all other rows with a label."""
    x = Standard(ridge.views, ridge.centre, ridge.scale)(np.arange(len(ridge.labels))).astype(np.float64)
    taught = ridge.labels >= 0
    w = np.linalg.eigvalsh(x[taught].T @ x[taught])
    penalty = head.strength * w.sum() / min(taught.sum(), x.shape[1])
    rest = np.setdiff1d(np.flatnonzero(taught), left_out)
    y = np.eye(ridge.num_classes)[ridge.labels[rest]]
    return linear_model.Ridge(penalty, solver="svd").fit(x[rest], y).predict(x[left_out])


@pytest.mark.parametrize(("n", "d"), [(120, 10), (60, 200)], ids=["more rows than columns", "fewer rows than columns"])
@pytest.mark.parametrize("strength", [0.03, 1.0, 30.0])
def test_left_out_rows_are_predicted_as_by_a_regression_without_them(n: int, d: int, strength: float) -> None:
    features, labels, _ = world(n, d)
    ridge = Ridge.fit([features], labels, 4)
    z = ridge.predictions(Head(strength))
    for row in (0, 17, n - 1):
        np.testing.assert_allclose(z[row], refitted(ridge, Head(strength), np.array([row]))[0], atol=2e-4)


@pytest.mark.parametrize("size", [2, 3, 25], ids=["pairs", "triples", "more copies than columns"])
def test_left_out_groups_are_predicted_as_by_a_regression_without_them(size: int) -> None:
    features, labels, _ = world()
    group = np.arange(len(labels))
    chosen = np.random.default_rng(1).permutation(len(labels))[: 2 * size].reshape(2, size)
    group[chosen] = chosen[:, :1]
    ridge = Ridge.fit([features], labels, 4, group)
    z = ridge.predictions(Head(0.3))
    for rows in (*chosen, np.setdiff1d(np.arange(len(labels)), chosen)[:1]):
        np.testing.assert_allclose(z[rows], refitted(ridge, Head(0.3), rows), atol=2e-4)


def test_one_group_of_all_rows_leaves_nothing_to_learn_from() -> None:
    features, labels, _ = world(n=30)
    z = Ridge.fit([features], labels, 4, np.zeros(30, np.int64)).predictions(Head(1.0))
    np.testing.assert_allclose(z, 0.25)


def test_a_copy_does_not_answer_for_its_twin() -> None:
    features, labels, truth = world(n=200, d=150, noise=0.0)
    rng = np.random.default_rng(3)
    wrong = rng.permutation(200)[:20]
    labels[wrong] = (truth[wrong] + 1) % 4
    twins, both = np.concatenate([features, features[wrong]]), np.concatenate([labels, labels[wrong]])
    group = np.concatenate([np.arange(200), wrong])
    apart, together = (Ridge.fit([twins], both, 4, g).predictions(Head(0.03)).argmax(axis=1) for g in (None, group))
    assert (apart[wrong] == labels[wrong]).mean() > 0.9  # each is confirmed by its copy
    assert (together[wrong] == truth[wrong]).mean() > 0.8


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_blocks_of_a_memory_map_change_nothing(tmp_path: Path, dtype: type) -> None:
    features, labels, _ = world()
    np.save(tmp_path / "x.npy", (features + 5).astype(dtype))  # far from 0: products must not lose the differences
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    group = np.arange(len(labels)) // 2 * 2
    small = Ridge.fit([on_disk], labels, 4, group, block=7)
    whole = Ridge.fit([np.load(tmp_path / "x.npy")], labels, 4, group)
    np.testing.assert_allclose(small.predictions(Head(0.3)), whole.predictions(Head(0.3)), atol=1e-4)
    assert small.choose() == whole.choose()


def test_the_strength_is_the_one_that_agrees_best() -> None:
    features, labels, _ = world(n=150, d=100)
    ridge = Ridge.fit([features], labels, 4)
    strengths = (0.01, 1.0, 100.0)
    agreements = [(ridge.predictions(Head(s)).argmax(axis=1) == labels).mean() for s in strengths]
    [chosen] = ridge.choose_each([[Head(strength) for strength in strengths]])
    assert chosen.strength == strengths[int(np.argmax(agreements))]


def test_rows_without_a_label_are_predicted_and_do_not_teach() -> None:
    features, labels, truth = world(noise=0.0)
    labels[:40] = -1
    ridge = Ridge.fit([features], labels, 4)
    z = ridge.predictions(Head(1.0))
    np.testing.assert_allclose(z[:40], refitted(ridge, Head(1.0), np.arange(40)), atol=2e-4)
    assert (z[:40].argmax(axis=1) == truth[:40]).mean() > 0.9
    features[:40] = np.random.default_rng(5).normal(size=(40, 10))
    np.testing.assert_allclose(Ridge.fit([features], labels, 4).predictions(Head(1.0))[40:], z[40:], atol=1e-5)


def test_rows_of_no_class_make_others_like_them_doubtful() -> None:
    features, labels, _ = world(noise=0.0)
    rng = np.random.default_rng(3)
    junk = rng.normal(size=10) * 2 + rng.normal(size=(60, 10))
    features, labels = np.concatenate([features, junk]), np.concatenate([labels, np.zeros(60, dtype=np.int64)])
    strangers = np.arange(len(labels)) >= len(labels) - 20
    left = np.arange(len(labels)) >= len(labels) - 60
    taught = np.where(strangers, -1, labels)
    views, others = [features.astype(np.float32)], ~strangers
    without, found = (hold_out(views, taught, 4, judged=labels, strangers=who) for who in (None, strangers))
    assert auroc(-without.score[others], left[others]) < 0.8
    assert auroc(-found.score[others], left[others]) > 0.95
    assert found.logits.shape == (len(labels), 4)
    assert found.predicted.max() == found.neighbors.max() == 3 and found.halves.max() == 3


def test_unreadable_rows_are_nan_and_leave_the_others_alone() -> None:
    features, labels, _ = world()
    broken = features.copy()
    broken[[3, 50]] = np.nan
    broken[70, 2] = np.inf
    found = hold_out([broken], labels, 4)
    gone = np.array([3, 50, 70])
    rest = np.setdiff1d(np.arange(len(labels)), gone)
    assert np.isnan(found.logits[gone]).all() and np.isnan(found.score[gone]).all()
    assert (found.predicted[gone] == -1).all()
    expected = Ridge.fit([features[rest]], labels[rest], 4).predictions(Head(found.strength))
    np.testing.assert_allclose(found.logits[rest] / found.sharpness, expected, atol=1e-4)


def test_a_view_does_not_count_more_for_being_wide() -> None:
    (first, labels, _), (second, _, _) = world(seed=0), world(seed=1)
    once = Ridge.fit([first, second], labels, 4).predictions(Head(1.0))
    w = Ridge.fit([first, np.tile(second, (1, 3))], labels, 4)
    # the strength counts in mean eigenvalues, and the wide view has twenty of 0
    thrice = w.predictions(Head(w.rank / 20))
    np.testing.assert_allclose(thrice, once, atol=1e-4)


def test_halves_are_disjoint_and_even() -> None:
    features, labels, _ = world(d=9)
    ridge = Ridge.fit([features], labels, 4)
    a, b = ridge.halves(np.random.default_rng(0))
    assert not (a & b).any() and (a | b).all()
    assert (a[:8].reshape(4, 2).sum(axis=1) == 1).all()  # of two neighbours each half gets one


def spoilt(change: Callable[[np.ndarray, np.ndarray], None]) -> tuple[np.ndarray, np.ndarray]:
    features, labels, _ = world()
    change(features, labels)
    return features, labels


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: x.__setitem__(slice(None), 1.0),
        lambda x, y: x.__setitem__(slice(None), 0.0),
        lambda x, y: x.__setitem__((slice(None), slice(1, None)), 3.0),
        lambda x, y: x.__imul__(np.float32(1e30)),
        lambda x, y: x.__imul__(np.float32(1e-30)),
        lambda x, y: x.__setitem__(0, 1e38),
        lambda x, y: y.__setitem__(slice(None), y % 2),
        lambda x, y: y.__setitem__(slice(None), 0),
        lambda x, y: y.__setitem__(slice(1, None), -1),
    ],
    ids=["identical rows", "zeros", "constant columns", "huge", "tiny", "one huge row", "empty classes", "one class",
         "one label"],
)  # fmt: skip
def test_degenerate_input_gives_finite_numbers(change: Callable[[np.ndarray, np.ndarray], None]) -> None:
    features, labels = spoilt(change)
    found = hold_out([features], labels, 4)
    assert np.isfinite(found.logits).all()
    assert np.isfinite(found.score[labels >= 0]).all()
    assert 0 <= found.agreement <= 1


def test_the_scale_of_the_features_does_not_matter() -> None:
    features, labels, _ = world()
    np.testing.assert_allclose(
        hold_out([features * np.float32(1e30)], labels, 4).score, hold_out([features], labels, 4).score, atol=1e-3
    )


def test_nothing_to_learn_from_is_an_error() -> None:
    features, labels, _ = world()
    with pytest.raises(EvidenceError, match="no row with a label"):
        hold_out([features], np.full(len(labels), -1), 4)
    with pytest.raises(EvidenceError, match="120 labels"):
        hold_out([features, features[:5]], labels, 4)


def test_thousands_of_classes() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.permutation(5000)[:50], 4)
    features = rng.normal(size=(5000, 64))[labels] + 0.3 * rng.normal(size=(200, 64))
    found = hold_out([features], labels, 5000)
    assert found.logits.shape == (200, 5000)
    assert found.agreement > 0.7


def test_sharpness_is_the_best_of_a_fine_grid() -> None:
    features, labels, _ = world(n=400, noise=0.3)
    z = Ridge.fit([features], labels, 4).predictions(Head(1.0)).astype(np.float64)
    s, e = sharpness(z, labels)

    def likelihoods(s: float, e: np.ndarray) -> np.ndarray:
        q = np.exp(log_probability(s * z, labels))[:, None]
        return np.log((1 - e) * q + e * (1 - q) / 3).mean(axis=0)

    grid = max(likelihoods(a, np.linspace(0, 0.7, 141)).max() for a in np.geomspace(0.5, 60, 200))
    assert likelihoods(s, np.array([e])) >= grid - 1e-7


def test_sharpness_and_noise_are_recovered() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20_000, 5)) * 0.5
    q = np.exp(8 * z) / np.exp(8 * z).sum(axis=1, keepdims=True)
    truth = (q.cumsum(axis=1) < rng.random((len(z), 1))).sum(axis=1)
    wrong = rng.random(len(z)) < 0.25
    labels = np.where(wrong, (truth + rng.integers(1, 5, len(z))) % 5, truth)
    s, e = sharpness(z, labels)
    assert s == pytest.approx(8, rel=0.05)
    assert e == pytest.approx(0.25, abs=0.01)


def test_log_odds_tell_rows_apart_where_probabilities_are_one() -> None:
    z, labels = np.array([[0.3, 1.0, -1.0], [900.0, 0, 0], [950.0, 0, 0]]), np.array([1, 0, 0])
    q = np.exp(log_probability(z[:1], labels[:1]))
    assert log_odds(z, labels)[0] == pytest.approx(float(np.log(q / (1 - q))[0]))
    np.testing.assert_allclose(log_odds(z, labels)[1:], [900 - np.log(2), 950 - np.log(2)])
    assert np.isnan(log_odds(z, np.array([-1, 0, 0]))[0])
    assert np.isfinite(log_odds(z[:, :1], np.zeros(3, np.int64))).all()


def test_wrong_labels_score_lowest_and_two_runs_are_equal() -> None:
    features, labels, truth = world(n=400, noise=0.2)
    first, second = (hold_out([features], labels, 4) for _ in range(2))
    wrong = labels != truth
    assert wrong[np.argsort(first.score)[: wrong.sum()]].mean() > 0.85
    np.testing.assert_array_equal(first.score, second.score)
    np.testing.assert_array_equal(first.halves, second.halves)


@pytest.mark.parametrize("bent", [False, True])
def test_products_of_a_device_give_the_same(bent: bool) -> None:
    """On a GPU they are torch's; torch on a CPU is the twin."""
    features, labels, _ = world(400)
    found = []
    for multiply in (np.matmul, products_on("cpu")):
        view = RandomFeatures.of(features, multiply=multiply) if bent else features
        found.append(hold_out([view], labels, 4, multiply=multiply))
    np.testing.assert_allclose(found[1].logits, found[0].logits, atol=1e-2 if bent else 1e-3)
    assert (found[0].predicted == found[1].predicted).mean() > 0.99
    assert found[0].agreement == pytest.approx(found[1].agreement, abs=0.01)


def decaying(rate: float) -> tuple[np.ndarray, np.ndarray]:
    """400 rows whose columns matter less and less, by that factor each, and labels that most columns tell of."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 64))
    labels = np.argmax(features @ rng.normal(size=(64, 4)), axis=1)
    return (features @ np.linalg.qr(rng.normal(size=(64, 64)))[0].T * rate ** np.arange(64)).astype(np.float32), labels


def test_the_largest_components_are_those_of_all():
    features, labels = decaying(0.9)
    every, few = (Ridge.fit([features], labels, 4, largest=largest) for largest in (None, 16))
    np.testing.assert_allclose(few.eigenvalues, every.eigenvalues[:16], rtol=1e-4)
    first = np.arange(64) < 16
    head, same = Head(1.0, first), Head(1.0, first[:16])
    np.testing.assert_allclose(few.predictions(same), every.predictions(head), atol=1e-3)
    np.testing.assert_allclose(few.complete().predictions(Head(1.0)), every.predictions(Head(1.0)), atol=1e-5)


def test_components_that_were_not_found_are_lacked_where_together_they_make_a_difference():
    scaled, labels = decaying(0.9)
    turned = (scaled @ np.linalg.qr(np.random.default_rng(1).normal(size=(64, 64)))[0]).astype(np.float32)
    few = Ridge.fit([turned], labels, 4, largest=16)
    assert few.lacks(Head(0.01)) and not few.lacks(Head(30.0))
    assert not few.complete().lacks(Head(0.01))
    assert not Ridge.fit([turned], labels, 4, largest=33).lacks(Head(0.01))  # of 64 all are found
    alike, labels = decaying(1.0)  # a strong penalty leaves little of each, but three of four were not found
    assert Ridge.fit([alike], labels, 4, largest=16).lacks(Head(30.0))


def test_components_that_are_held_change_nothing():
    features, labels = decaying(0.9)
    features[7] = np.nan
    group = np.arange(400)
    group[[3, 5]] = 3
    ridge = Ridge.fit([features], labels, 4, group)
    np.testing.assert_allclose(ridge.holding().predictions(Head(1.0)), ridge.predictions(Head(1.0)), atol=1e-6)

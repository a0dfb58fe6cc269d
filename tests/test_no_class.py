"""Rows of no class: found where they are, not imagined where the classes are merely hard."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from worlds import blobs

from cleanlab_lite.judge.calibration import Calibration, NoiseRate
from cleanlab_lite.judge.no_class import find_rows_of_no_class, hide_class, signs, tell_apart, unexplained
from cleanlab_lite.judge.verdict import combine, with_rows_of_no_class
from cleanlab_lite.measure import auroc

K = 8


def found_in(world):
    evidence = world.evidence
    knows_mislabelled = np.where(world.wrong, 0.95, 0.02)  # what planted errors can tell
    return find_rows_of_no_class(evidence.labels, evidence.pred_probs, knows_mislabelled)


def test_rows_of_no_class_are_counted_and_told():
    world = blobs(2000, K, 0.1, alien=0.1, separation=4.0)
    found = found_in(world)
    alien = world.truth < 0
    assert found is not None
    assert 0.05 < found.share < 0.15 and found.share <= found.most < 0.2
    assert auroc(-found.p, alien) > 0.9
    assert found.p[alien].mean() > 5 * found.p[~alien].mean()


@pytest.mark.parametrize("separation", [2.0, 3.0, 4.0])
def test_hard_classes_are_no_rows_of_no_class(separation):
    assert found_in(blobs(2000, K, 0.2, separation=separation)) is None


def test_too_little_to_go_by():
    world = blobs(2000, 3, 0.1, alien=0.1, separation=4.0)
    assert found_in(world) is None  # hiding one of three classes leaves no choice
    assert found_in(blobs(90, K, 0.1, alien=0.1)) is None


@pytest.mark.parametrize(("k", "sharpness"), [(10, 1.0), (10, 2.0), (50, 2.0)])
def test_weak_proxies_see_no_rows_of_no_class(k, sharpness):
    """Labels that are right, and probabilities that are exactly those of each label."""
    rng = np.random.default_rng(0)
    logits = sharpness * rng.normal(size=(3000, k))
    pred_probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (pred_probs.cumsum(axis=1) < rng.random((3000, 1))).sum(axis=1).clip(0, k - 1)
    assert find_rows_of_no_class(labels, pred_probs, np.zeros(3000)) is None


def test_a_hidden_class_is_gone_and_the_labels_are_renumbered():
    pred_probs = np.array([[0.7, 0.2, 0.1, 0.0], [0.1, 0.1, 0.2, 0.6]])
    labels, rest = hide_class(np.array([0, 3]), pred_probs, np.random.default_rng(0))
    np.testing.assert_allclose(rest, [[2 / 3, 1 / 3, 0], [0.25, 0.25, 0.5]], atol=1e-9)
    assert ((labels >= 0) & (labels < 3)).all()
    many = hide_class(np.zeros(4000, np.int64), np.tile(pred_probs[:1], (4000, 1)), np.random.default_rng(0))[0]
    share = np.bincount(many, minlength=3) / 4000  # half uniform, half by what is left
    np.testing.assert_allclose(share, [(1 / 3 + 2 / 3) / 2, 1 / 3, 1 / 6], atol=0.03)


def test_signs_of_known_rows():
    margin, best, rest, entropy = signs(np.array([0, 1]), np.array([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]])).T
    np.testing.assert_allclose(margin, [np.log(2), 0], atol=1e-6)
    np.testing.assert_allclose(best, np.log([0.5, 1 / 3]), atol=1e-6)
    np.testing.assert_allclose(rest, np.log([0.5, 2 / 3]), atol=1e-6)
    np.testing.assert_allclose(entropy, [1.5 * np.log(2) / np.log(3), 1], atol=1e-6)


def test_the_unexplained_share_is_the_ratio_of_densities():
    rng = np.random.default_rng(0)
    alike = np.repeat([0.0, 1.0], [9000, 1000])  # one row in ten looks as if its class were hidden
    p = unexplained(alike, np.ones(500), np.ones(10_000), 0.05)
    np.testing.assert_allclose(p[alike == 1], 0.5, atol=1e-6)  # of those, half are of no class
    np.testing.assert_allclose(p[alike == 0], 0, atol=1e-6)
    rising = unexplained(rng.normal(size=1000), rng.normal(2, 1, 500), np.ones(1000), 0.3)
    assert (rising <= 1).all() and rising.max() > rising.min()


def test_the_ranking_stays_and_the_rate_grows_by_what_is_found():
    world = blobs(2000, K, 0.1, alien=0.1, separation=4.0)
    ranking = np.where(world.wrong | (world.truth < 0), -1.0, 1.0) + np.random.default_rng(0).normal(0, 0.3, 2000)
    p = np.where(world.wrong, 0.95, 0.02)
    before = Calibration(NoiseRate(0.1, 0.08, 0.12, "planted errors"), p, p, p)
    after = with_rows_of_no_class(world.evidence, ranking, before, seed=0)
    assert 0.15 < after.rate.estimate < 0.25 and after.rate.low == 0.08 and after.rate.high > 0.17
    assert (np.diff(after.p_mislabel[np.argsort(ranking)]) <= 1e-9).all()
    sure = replace(world.evidence, labels=world.evidence.pred_probs.argmax(axis=1))  # nobody disagrees
    crowd = with_rows_of_no_class(world.evidence, ranking, before, least=after.rate.estimate + 0.02, seed=0)
    assert crowd.rate.estimate == pytest.approx(after.rate.estimate + 0.02, abs=1e-3)  # where such rows show
    assert with_rows_of_no_class(sure, ranking, before, seed=0).rate.estimate <= 0.1
    clean = blobs(2000, K, 0.1, separation=4.0)
    assert with_rows_of_no_class(clean.evidence, ranking, before, seed=0) is before
    assert with_rows_of_no_class(clean.evidence, ranking, before, least=0.5, seed=0) is before  # and only there


def test_an_audit_finds_rows_of_no_class_and_drops_no_right_label():
    world = blobs(2000, K, 0.1, alien=0.1, separation=4.0)
    verdict = combine(world.evidence, np.ones(2000, bool), np.full(2000, -1))
    alien = world.truth < 0
    assert (verdict.p_mislabel >= 0.5)[alien].mean() > 0.6
    assert set(verdict.action[verdict.issue == "out_of_vocabulary"]) <= {"drop", "review"}
    assert not ((verdict.action == "drop") & (world.labels == world.truth)).any()
    assert (verdict.issue == "out_of_vocabulary")[alien].sum() > 5 * (verdict.issue == "out_of_vocabulary")[
        ~alien
    ].sum()


def test_the_classifier_is_the_quadratic_one_of_scikit_learn():
    rng = np.random.default_rng(0)
    hidden, rows, sample = rng.normal(size=(200, 4)) + 0.5, rng.normal(size=(900, 4)), rng.permutation(900)[:400]
    theirs = make_pipeline(
        StandardScaler(), PolynomialFeatures(2), LogisticRegression(class_weight="balanced", tol=1e-8, max_iter=5000)
    )
    theirs.fit(np.concatenate([hidden, rows[sample]]), np.arange(600) < 200)
    for ours, x in zip(tell_apart(hidden, rows, sample), (hidden, rows), strict=True):
        np.testing.assert_allclose(ours, theirs.decision_function(x), atol=1e-4)

"""Fusion: rankings of any scale, weighted by how well their heads agree with the given labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, spearmanr

from cleanlab_lite.judge.fusion import FAR, fuse, normal_scores, shares
from cleanlab_lite.measure import average_precision


def test_normal_scores_are_quantiles_at_the_ranks() -> None:
    np.testing.assert_allclose(
        normal_scores(np.array([10.0, -3.0, 2.0, 2.0])), norm.ppf(np.array([3.5, 0.5, 2.0, 2.0]) / 4)
    )
    scores = normal_scores(np.array([1.0, np.nan, 2.0]))
    assert np.isnan(scores[1]) and scores[0] == pytest.approx(-scores[2])


def test_only_the_order_of_a_ranking_counts() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=100), rng.normal(size=100)
    np.testing.assert_allclose(fuse([a, b], [0.7, 0.69]), fuse([np.exp(9 * a), b], [0.7, 0.69]))


def test_the_weaker_counts_less_and_the_far_weaker_not_at_all() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=1000), rng.normal(size=1000)
    near, between, far = (fuse([a, b], [0.7, 0.7 - gap]) for gap in (0, FAR / 2, FAR))
    likeness = [spearmanr(fused, b).statistic for fused in (near, between, far)]
    assert likeness[0] > likeness[1] > likeness[2]
    np.testing.assert_allclose(far, normal_scores(a))
    np.testing.assert_allclose(shares([0.7, 0.7 - FAR / 2, 0.5]), [1, 0.5, 0])


def test_a_row_that_one_ranking_does_not_know_is_ranked_by_the_others() -> None:
    a, b = np.array([1.0, 2, 3, np.nan]), np.array([np.nan, 1.0, 2, np.nan])
    fused = fuse([a, b], [0.7, 0.7])
    assert fused[0] == normal_scores(a)[0]
    assert np.isnan(fused[3]) and np.isfinite(fused[:3]).all()


def test_two_rankings_that_err_apart_are_better_together() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(4000) < 0.2
    a, b = (np.where(wrong, -1.0, 1.0) + rng.normal(size=4000) * 1.5 for _ in range(2))
    single = max(average_precision(a, wrong), average_precision(b, wrong))
    assert average_precision(fuse([a, b], [0.7, 0.7]), wrong) > single + 0.05

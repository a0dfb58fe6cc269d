"""Ranks and isotonic regression: reference numbers, and what scikit-learn and SciPy's statistics say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.isotonic import IsotonicRegression

from cleanlab_lite.judge.monotone import isotonic, ranks


def test_neighbours_in_the_wrong_order_get_their_mean():
    x, y = np.arange(4.0), np.array([4.0, 1.0, 3.0, 0.0])
    np.testing.assert_allclose(isotonic(x, y, x), [4, 2, 2, 0])
    np.testing.assert_allclose(isotonic(x, y, x, weight=np.array([1, 3, 1, 1.0])), [4, 1.5, 1.5, 0])
    np.testing.assert_allclose(isotonic(x, y, np.array([-9, 0.5, 9]), most=3.0), [3, 2.5, 0])


@pytest.mark.parametrize("rising", [True, False])
@pytest.mark.parametrize("n", [1, 2, 3000])
def test_it_is_that_of_scikit_learn(n, rising):
    rng = np.random.default_rng(n)
    x = rng.normal(size=n).round(2)  # many are equal
    y, weight, at = x + rng.normal(size=n), rng.random(n) + 0.01, 2 * rng.normal(size=50)
    theirs = IsotonicRegression(increasing=rising, out_of_bounds="clip").fit(x, y, sample_weight=weight)
    np.testing.assert_allclose(isotonic(x, y, at, rising=rising, weight=weight), theirs.predict(at), atol=1e-12)


def test_equal_values_share_their_ranks():
    np.testing.assert_array_equal(ranks(np.array([3.0, -1, 3, 7, 3])), [3, 1, 3, 5, 3])
    values = np.random.default_rng(0).normal(size=500).round(1)
    np.testing.assert_array_equal(ranks(values), rankdata(values))

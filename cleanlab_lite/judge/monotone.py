"""Ranks, and functions that only rise or only fall. What SciPy's statistics and scikit-learn have for it takes most of
a second of every process to load."""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression


def isotonic(
    x: np.ndarray,
    y: np.ndarray,
    at: np.ndarray,
    *,
    rising: bool = False,
    weight: np.ndarray | None = None,
    most: float | None = None,
) -> np.ndarray:
    """(m,) float64 at the places `at` (m,): the falling function of x (s,) that is nearest to y (s,) in squares.

    It is linear between the x, and constant beyond them; y at equal x are averaged.

    Args:
        rising: it rises.
        weight: (s,) above 0, of the squares.
        most: the function is no larger.
    """
    places, place = np.unique(x, return_inverse=True)
    weights = np.bincount(place, weight)
    means = np.bincount(place, y if weight is None else y * weight) / weights
    fit = isotonic_regression(means, weights=weights, increasing=rising).x
    return np.interp(at, places, fit if most is None else np.minimum(fit, most))


def ranks(values: np.ndarray) -> np.ndarray:
    """(n,) float64: 1 for the smallest of values (n,), which are not NaN; equal ones have the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (count.cumsum() - (count - 1) / 2)[place]

"""A `Ridge` of other labels and of rows that do not weigh the same, which predicts rows that it has
not seen.

Minimises the weighted sum of squared errors; columns are standardised as those of the ridge at hand, and the penalty
has the same strength, in mean eigenvalues of the weighted products.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve

from cleanlab_lite.judge.ridge import BLOCK, Ridge, Standard, class_sums, in_parts


def predict_reweighted(
    ridge: Ridge, strength: float, labels: np.ndarray, weight: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """(t, k) float64 for the rows (t,).

    Args:
        labels: (n,) int64, -1 where a row does not teach. All that teach must be readable.
        weight: (n,) float, at least 0.
    """
    x, k = Standard(ridge.views, ridge.centre, ridge.scale), ridge.num_classes
    d, taught = len(ridge.centre), np.flatnonzero(labels >= 0)
    gram, sums, products = np.zeros((d, d)), np.zeros(d), np.zeros((d, k))
    for part in in_parts(taught, BLOCK):
        z = x(part)
        weighted = z * weight[part, None].astype(np.float32)
        gram += ridge.multiply(weighted.T, z)
        sums += weighted.sum(axis=0, dtype=np.float64)
        products += class_sums(weighted, labels[part], k)
    counts = np.bincount(labels[taught], weights=weight[taught], minlength=k)
    mean, share = sums / counts.sum(), counts / counts.sum()
    gram -= np.outer(sums, mean)
    penalty = strength * np.trace(gram) / min(len(taught), d)
    slopes = solve(gram + penalty * np.eye(d), products - np.outer(mean, counts), assume_a="pos")
    return np.concatenate([(x(part) - mean) @ slopes + share for part in in_parts(rows, BLOCK)])

"""What several rooms do with arrays, once. Letters: n samples, k classes, d features, e epochs."""

from __future__ import annotations

from typing import Any

import numpy as np

from cleanlab_lite.errors import EvidenceError
from cleanlab_lite.text import counted

Z = 1.96  # standard errors on either side of what is estimated, of an interval of 95 %


def without_own(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A copy of values (n, k) in which the class of labels (n,) is -inf."""
    others = values.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others


def largest_other(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) largest value of values (n, k) outside the class of labels (n,); -inf where there is but one class."""
    return without_own(values, labels).max(axis=1, initial=-np.inf)


def row_keys(rows: np.ndarray) -> np.ndarray:
    """(n,) uint64, the same for equal rows of (n, d) of any float type, and for others by a chance of 2^-64 a pair."""
    bits = np.ascontiguousarray(rows + rows.dtype.type(0)).view(f"u{rows.dtype.itemsize}")  # -0.0 becomes 0.0
    mixed: np.ndarray = bits.astype(np.uint64) + np.arange(1, bits.shape[1] + 1, dtype=np.uint64) * np.uint64(
        0x9E3779B97F4A7C15
    )
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):  # splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed.sum(axis=1, dtype=np.uint64)


def draw(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) a class of every row, with chances like weight (n, k)."""
    cumulative = weight.cumsum(axis=1)
    drawn = (cumulative <= rng.random((len(weight), 1)) * cumulative[:, -1:]).sum(axis=1)
    return np.minimum(drawn, weight.shape[1] - 1)


def rows_by(values: np.ndarray) -> list[np.ndarray]:
    """Of each distinct one of values (n,), in order, the rows that have it, ascending."""
    order = np.argsort(values, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(values[order])) + 1) if len(values) else []


def mean_over_epochs(values: np.ndarray) -> np.ndarray:
    """(n,) mean of values (e, n) over the epochs that are not NaN; NaN where none is."""
    recorded = np.isfinite(values)
    count = recorded.sum(axis=0)
    return np.where(count > 0, np.where(recorded, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def unit_rows(features: Any) -> np.ndarray:
    """(n, d) float32 rows of length 1, or of zeros, of a `Matrix`. Raises EvidenceError where a value is not finite."""
    rows = np.array(features, dtype=np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    extreme = np.flatnonzero(np.isinf(norms) | ((norms < 1e-15) & rows.any(axis=1)))  # squares beyond float32
    if len(extreme):
        largest = np.abs(rows[extreme]).max(axis=1, keepdims=True)
        rows[extreme] = np.divide(rows[extreme], largest, out=rows[extreme], where=np.isfinite(largest))
        norms[extreme] = np.linalg.norm(rows[extreme], axis=1)
    if not np.isfinite(norms).all():
        bad = np.flatnonzero(~np.isfinite(norms))
        raise EvidenceError(
            f"features of {counted(len(bad), 'row')} are not finite, the first is row {bad[0]}",
            hint="leave out unreadable rows",
        )
    rows /= np.maximum(norms, np.finfo(np.float32).tiny)[:, None]
    return rows


def kappa(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Cohen's kappa (1960) of two (n,) labellings: agreement beyond chance, 1 where it is full.

    scikit-learn's holds k x k numbers three times, too many for an audit of 10,000 classes.
    """
    k = int(max(predicted.max(initial=0), labels.max(initial=0))) + 1
    share_a, share_b = (np.bincount(x, minlength=k) / max(len(x), 1) for x in (predicted, labels))
    chance = float(share_a @ share_b)
    return (float((predicted == labels).mean()) - chance) / max(1 - chance, 1e-12)

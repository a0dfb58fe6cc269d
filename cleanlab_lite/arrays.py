"""What several rooms do with arrays, once: NumPy only. Letters: n samples, k classes, d features, e epochs."""

from __future__ import annotations

import numpy as np

from cleanlab_lite.errors import EvidenceError


def without_own(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A copy of values (n, k) in which the class of labels (n,) is -inf."""
    others = values.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others


def largest_other(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) largest value of values (n, k) outside the class of labels (n,); -inf where there is but one class."""
    return without_own(values, labels).max(axis=1, initial=-np.inf)


def margins(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) float64 value of values (n, k) at the class of labels (n,) minus the largest other; NaN where it is -1."""
    rows = np.flatnonzero(labels >= 0)
    result = np.full(len(labels), np.nan)
    own = values[rows, labels[rows]]
    result[rows] = own - largest_other(values[rows], labels[rows])
    return result


def mean_over_epochs(values: np.ndarray) -> np.ndarray:
    """(n,) mean of values (e, n) over the epochs that are not NaN; NaN where none is."""
    recorded = np.isfinite(values)
    count = recorded.sum(axis=0)
    return np.where(count > 0, np.where(recorded, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def unit_rows(features: np.ndarray) -> np.ndarray:
    """(n, d) float32 rows of length 1; a row of zeros stays zero. Raises EvidenceError where a value is not finite."""
    rows = features.astype(np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    extreme = np.flatnonzero(np.isinf(norms) | ((norms < 1e-15) & rows.any(axis=1)))  # squares beyond float32
    if len(extreme):
        largest = np.abs(rows[extreme]).max(axis=1, keepdims=True)
        rows[extreme] = np.divide(rows[extreme], largest, out=rows[extreme], where=np.isfinite(largest))
        norms[extreme] = np.linalg.norm(rows[extreme], axis=1)
    if not np.isfinite(norms).all():
        bad = np.flatnonzero(~np.isfinite(norms))
        raise EvidenceError(
            f"features of {len(bad)} rows are not finite, the first is row {bad[0]}", hint="leave out unreadable rows"
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

"""Groups of rows that are copies of each other. A group is named by its first row."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def roots(copy_of: np.ndarray) -> np.ndarray:
    """(n,) int64: the first row of every row's group, the row itself where there is none before it."""
    return np.where(copy_of >= 0, copy_of, np.arange(len(copy_of)))


def copies_in(group: np.ndarray) -> np.ndarray:
    """(n,) int64: first row of the group, -1 for that row itself and unique rows; `roots` undoes it."""
    return np.where(group == np.arange(len(group)), -1, group)


def group_pairs(n: int, pairs: np.ndarray) -> np.ndarray:
    """(n,) int64: the first row of the group that pairs (p, 2) unite, -1 for that row itself and for unique rows."""
    _, group = connected_components(coo_matrix((np.ones(len(pairs), bool), pairs.T), shape=(n, n)), directed=False)
    _, first = np.unique(group, return_index=True)
    return copies_in(first[group])


def differs(group: np.ndarray, values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(n,) bool: rows in whose group the counted rows have more than one of the `values` (n,) int64."""
    largest = np.full(len(group), np.iinfo(np.int64).min)
    smallest = np.full(len(group), np.iinfo(np.int64).max)
    np.maximum.at(largest, group[counted], values[counted])
    np.minimum.at(smallest, group[counted], values[counted])
    return largest[group] > smallest[group]

"""Exact nearest neighbours by cosine similarity, in blocks; n x n is never held."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cleanlab_lite.arrays import unit_rows

# rows (b, d), their numbers in the pool (b,), or -1, and k -> numbers (b, k) in the pool and products (b, k), any order
Top = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
Search = Callable[[np.ndarray], Top]  # of a pool (r, d): the largest products of rows with those of the pool

STRIDE = 64  # columns per group in the first pass of the top-k search
HELD = 1 << 24  # similarities in memory at a time, 64 MiB


def nearest_neighbors(
    features: np.ndarray,
    k: int,
    block: int = 2000,  # rows at a time, fewer where that would be more than `HELD`
    *,
    among: np.ndarray | None = None,
    on_rows: Callable[[int], None] = lambda _: None,
    search: Search | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (n, k) int64 and cosine similarities (n, k) float32 of each row's nearest rows, nearest first.

    features (n, d) of any float type. A row is not its own neighbour. Neighbours are sought among all rows, or
    among the rows `among` (r,) int64. Where fewer than k exist, the index is -1 and the similarity NaN. `on_rows` is
    told how many rows are done. `search` is `on_host`, or does the same elsewhere.
    """
    rows = unit_rows(features)
    n = len(rows)
    pool = rows if among is None else rows[among]
    among = np.arange(n) if among is None else among
    position = np.full(n, -1, dtype=np.int64)
    position[among] = np.arange(len(among))
    indices = np.full((n, k), -1, dtype=np.int64)
    similarities = np.full((n, k), np.nan, dtype=np.float32)
    found = min(k, len(among))
    block = max(1, min(block, n, HELD // max(len(among), 1)))
    top = (search or on_host)(pool)
    for start in range(0, n if found else 0, block):
        stop = min(start + block, n)
        columns, values = top(rows[start:stop], position[start:stop], found)
        order = np.lexsort((among[np.minimum(columns, len(among) - 1)], -values), axis=1)
        columns, values = np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
        valid = np.isfinite(values)
        indices[start:stop, :found] = np.where(valid, among[np.minimum(columns, len(among) - 1)], -1)
        similarities[start:stop, :found] = np.where(valid, values, np.nan)
        on_rows(stop)
    return indices, similarities


def on_host(pool: np.ndarray) -> Top:
    """A search by NumPy."""
    groups = -(-max(len(pool), 1) // STRIDE)
    padded = np.empty((0, groups * STRIDE), dtype=np.float32)

    def top(rows: np.ndarray, own: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        nonlocal padded
        if len(padded) < len(rows):
            padded = np.empty((len(rows), groups * STRIDE), dtype=np.float32)
        sims = padded[: len(rows)]
        np.matmul(rows, pool.T, out=sims[:, : len(pool)])
        sims[:, len(pool) :] = -np.inf
        sims[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
        columns = _top(sims, k, groups)
        return columns, np.take_along_axis(sims, columns, axis=1)

    return top


def _top(sims: np.ndarray, k: int, groups: int) -> np.ndarray:
    """(b, k) columns of the k largest entries of each row of sims (b, groups * STRIDE).

    The k largest entries lie in the k groups with the largest maxima, and a maximum is far cheaper than a partition.
    """
    if groups <= k:
        return np.argpartition(-sims, k - 1, axis=1)[:, :k]
    maxima = sims.reshape(len(sims), STRIDE, groups).max(axis=1)
    best = np.argpartition(-maxima, k - 1, axis=1)[:, :k]
    columns = (best[:, :, None] + groups * np.arange(STRIDE)).reshape(len(sims), -1)
    chosen = np.argpartition(-np.take_along_axis(sims, columns, axis=1), k - 1, axis=1)[:, :k]
    return np.take_along_axis(columns, chosen, axis=1)

"""Nearest neighbours by cosine similarity, in blocks; n x n is never held.

All pairs are looked at where they are few, see `is_exact`. Else rows are sorted into cells around centres that k-means
finds, and a row is compared with those in the `PROBES` cells nearest to it (Jégou, Douze and Schmid, "Product
quantization for nearest neighbor search", TPAMI 2011, without the quantization). A copy lies in the cell of its
original or in the next one; of other neighbours some are missed, and others take their place that are hardly farther.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from cleanlab_lite.arrays import unit_rows
from cleanlab_lite.matrices import Matrix

# rows (b, d), their numbers in the pool (b,), or -1, and k -> numbers (b, k) in the pool and products (b, k), any order
Top = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
Search = Callable[[np.ndarray], Top]  # of a pool (r, d): the largest products of rows with those of the pool

HELD = 1 << 24  # similarities in memory at a time, 64 MiB
EXACT_PAIRS = 12_000**2  # on the host, where cells are 3 times as fast with 10,000 rows, and 10 with 50,000
PAIRS_ON_DEVICE = 50_000**2
PER_CELL = 1.0  # of the root of the number of rows, which a cell holds on average
PROBES = 8  # cells that a row looks into
SAMPLE = 64  # rows per cell that teach the centres
ROUNDS = 8  # of k-means
BLOCK = 2000  # rows at a time, fewer where that would be more than `HELD`
PAIRS = 1 << 21  # of rows and neighbours in memory at a time, beside those that are wanted
ASKING = 16_384  # rows whose neighbours are sought in cells at a time

Found = tuple[np.ndarray, np.ndarray, np.ndarray]  # rows (b,), their neighbours (b, k) and similarities (b, k)


def nearest_neighbors(
    features: Matrix,
    k: int,
    block: int = BLOCK,
    *,
    among: np.ndarray | None = None,
    search: Search | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (n, k) int64 and cosine similarities (n, k) float32 of each row's nearest rows, nearest first.

    features (n, d) of any float type. A row is not its own neighbour. Neighbours are sought among all rows, or
    among the rows `among` (r,) int64. Where fewer than k exist, the index is -1 and the similarity NaN. `search` is
    `on_host`, or does the same elsewhere.
    """
    n = len(features)
    indices = np.full((n, k), -1, dtype=np.int64)
    similarities = np.full((n, k), np.nan, dtype=np.float32)
    for rows, near, similarity in neighbors_in_blocks(features, k, block, among=among, search=search):
        indices[rows], similarities[rows] = near, similarity
    return indices, similarities


def neighbors_in_blocks(
    features: Matrix,
    k: int,
    block: int = BLOCK,
    *,
    among: np.ndarray | None = None,
    search: Search | None = None,
) -> Iterator[Found]:
    """The same, block by block: of every row once, and not in order where they are many."""
    n = len(features)
    among = np.arange(n) if among is None else among
    if len(among) and k:
        exact = is_exact(n, len(among), search)
        yield from _among_all(features, k, block, among, search or on_host) if exact else _in_cells(features, k, among)


def is_exact(rows: int, among: int, search: Search | None = None) -> bool:
    """Whether all pairs of so many rows are looked at."""
    return rows * among <= (EXACT_PAIRS if search in (None, on_host) else PAIRS_ON_DEVICE)


def _among_all(features: Matrix, k: int, block: int, among: np.ndarray, search: Search) -> Iterator[Found]:
    n = len(features)
    top = search(unit_rows(features[among]))
    position = np.full(n, -1, dtype=np.int64)
    position[among] = np.arange(len(among))
    found = min(k, len(among))
    block = max(1, min(block, n, HELD // len(among)))
    for start in range(0, n, block):
        rows = np.arange(start, min(start + block, n))
        columns, values = top(unit_rows(features[start : start + block]), position[rows], found)
        yield rows, *_nearest_first(among[np.minimum(columns, len(among) - 1)], values, k)


def _nearest_first(numbers: np.ndarray, values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (b, k) and similarities (b, k) in order, from those found (b, f); -inf where there is none."""
    if numbers.shape[1] > k:
        chosen = np.argpartition(-values, k - 1, axis=1)[:, :k]
        numbers, values = np.take_along_axis(numbers, chosen, axis=1), np.take_along_axis(values, chosen, axis=1)
    order = np.lexsort((numbers, -values), axis=1)
    numbers, values = np.take_along_axis(numbers, order, axis=1), np.take_along_axis(values, order, axis=1)
    there = np.isfinite(values)
    lacking = ((0, 0), (0, k - numbers.shape[1]))
    return (
        np.pad(np.where(there, numbers, -1), lacking, constant_values=-1),
        np.pad(np.where(there, values, np.float32(np.nan)), lacking, constant_values=np.nan),
    )


def on_host(pool: np.ndarray) -> Top:
    """A search by NumPy."""
    padded = np.empty((0, 0), dtype=np.float32)

    def top(rows: np.ndarray, own: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        nonlocal padded
        # of n columns in groups of s, n / s maxima and k s columns are sorted: least for this s
        stride = max(1, round((len(pool) / k) ** 0.5))
        groups = -(-max(len(pool), 1) // stride)
        if len(padded) < len(rows) or padded.shape[1] != groups * stride:
            padded = np.empty((len(rows), groups * stride), dtype=np.float32)
        sims = padded[: len(rows)]
        np.matmul(rows, pool.T, out=sims[:, : len(pool)])
        sims[:, len(pool) :] = -np.inf
        sims[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
        columns = _top(sims, k, groups)
        return columns, np.take_along_axis(sims, columns, axis=1)

    return top


def _top(sims: np.ndarray, k: int, groups: int) -> np.ndarray:
    """(b, k) columns of the k largest entries of each row of sims (b, groups * s).

    The k largest entries lie in the k groups with the largest maxima, and a maximum is far cheaper than a partition.
    """
    if groups <= k:
        return np.argpartition(-sims, k - 1, axis=1)[:, :k]
    maxima = sims.reshape(len(sims), -1, groups).max(axis=1)
    best = np.argpartition(-maxima, k - 1, axis=1)[:, :k]
    columns = (best[:, :, None] + np.arange(0, sims.shape[1], groups)).reshape(len(sims), -1)
    chosen = np.argpartition(-np.take_along_axis(sims, columns, axis=1), k - 1, axis=1)[:, :k]
    return np.take_along_axis(columns, chosen, axis=1)


@dataclass(frozen=True)
class Cells:
    """Rows of a matrix sorted by the nearest of c centres."""

    members: np.ndarray  # (r,) int64 row numbers, cell by cell
    ends: np.ndarray  # (c + 1,) int64: cell i has members[ends[i]:ends[i + 1]]
    near: np.ndarray  # (n, p) int32 cells that each of all rows looks into, the nearest first

    @classmethod
    def of(cls, features: Matrix, among: np.ndarray) -> Cells:
        """Of the rows `among` (r,), in cells of about `PER_CELL` times the root of r."""
        centres = find_centres(features, among)
        probes = min(PROBES, len(centres))
        parts = [slice(start, start + BLOCK) for start in range(0, len(features), BLOCK)]
        near = np.concatenate([nearest_centres(unit_rows(features[part]), centres, probes) for part in parts])
        own = near[among, 0]
        ends = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=len(centres)))])
        return cls(among[np.argsort(own, kind="stable")], ends, near)

    def rows(self, cell: int) -> np.ndarray:
        """(m,) int64"""
        return self.members[self.ends[cell] : self.ends[cell + 1]]


def find_centres(features: Matrix, among: np.ndarray) -> np.ndarray:
    """(c, d) float32 of norm 1, by k-means of a sample."""
    c = round(np.sqrt(len(among)) / PER_CELL)
    sample = unit_rows(features[among[:: max(1, len(among) // (SAMPLE * c))]])
    centres = sample[np.linspace(0, len(sample) - 1, c).astype(int)]
    for _ in range(ROUNDS):
        parts = [sample[start : start + BLOCK] for start in range(0, len(sample), BLOCK)]
        cell = np.concatenate([nearest_centres(part, centres, 1)[:, 0] for part in parts])
        moved = csr_array((np.ones(len(sample), np.float32), (cell, np.arange(len(sample)))), (c, len(sample))) @ sample
        centres = np.where(moved.any(axis=1, keepdims=True), unit_rows(moved), centres)
    return centres


def nearest_centres(rows: np.ndarray, centres: np.ndarray, count: int) -> np.ndarray:
    """(b, count) int32 of the nearest of centres (c, d) to rows (b, d), the nearest first, the others in any order."""
    similarity = rows @ centres.T
    first = similarity.argmax(axis=1)[:, None]
    np.put_along_axis(similarity, first, -np.inf, axis=1)
    others = np.argpartition(-similarity, count - 1, axis=1)[:, : count - 1]
    return np.concatenate([first, others], axis=1).astype(np.int32)


def _in_cells(features: Matrix, k: int, among: np.ndarray) -> Iterator[Found]:
    """Of a row's own cell the k nearest, then those of its other cells that are nearer than the last of these."""
    cells = Cells.of(features, among)
    order = np.argsort(cells.near[:, 0], kind="stable")  # rows of a cell look into much the same cells
    for start in range(0, len(features), ASKING):
        rows = order[start : start + ASKING]
        asking, near = unit_rows(features[rows]), cells.near[rows]
        least = np.full(len(rows), -1.1, dtype=np.float32)
        found = _Found(len(rows), k, least)
        for who, members, sims in _compared(features, asking, near[:, :1], cells):
            sims[rows[who][:, None] == members] = -np.inf
            if len(members) > k:
                least[who] = np.maximum(np.partition(sims, -k, axis=1)[:, -k], least[who])
            found.add(*_at_least(who, members, sims, least))
        for who, members, sims in _compared(features, asking, near[:, 1:], cells):
            found.add(*_at_least(who, members, sims, least))
        yield rows, *found.nearest()


class _Found:
    """Pairs of rows 0 to b - 1 and neighbours, of which the k nearest of each row are wanted.

    Rows of small cells know no similarity that theirs must reach, and find all of the next cells: when there are too
    many, all but the nearest are let go, and the last of these is what others must reach, in `least` (b,).
    """

    def __init__(self, b: int, k: int, least: np.ndarray) -> None:
        self.b, self.k, self.least = b, k, least
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.held = 0

    def add(self, who: np.ndarray, number: np.ndarray, value: np.ndarray) -> None:
        """Pairs (s,): row, number of the neighbour, similarity."""
        self.parts.append((who, number, value))
        self.held += len(who)
        if self.held > PAIRS + self.b * self.k:
            numbers, values = self.nearest()
            full = numbers[:, -1] >= 0
            self.least[full] = np.maximum(self.least[full], values[full, -1])
            row, place = np.nonzero(numbers >= 0)
            self.parts = [(row.astype(np.int32), numbers[row, place].astype(np.int32), values[row, place])]
            self.held = len(row)

    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """Neighbours (b, k) and similarities (b, k), nearest first."""
        who, number, value = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        return _nearest_of_each(self.b, self.k, who, number, value)


def _at_least(
    who: np.ndarray, members: np.ndarray, sims: np.ndarray, least: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who (s,) has which neighbour (s,) at what similarity (s,), of sims (a, m) that are as large as `least` (b,)."""
    at, place = np.divmod(np.flatnonzero(sims >= least[who][:, None]), len(members))  # faster than np.nonzero
    return who[at].astype(np.int32), members[place].astype(np.int32), sims[at, place]


def _nearest_of_each(
    b: int, k: int, who: np.ndarray, number: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (b, k) and similarities (b, k), nearest first, of pairs (s,) with row, number and similarity."""
    order = np.argsort(who - value / np.float64(4))  # similarities lie in -1..1: by row, then the nearest first
    count = np.bincount(who, minlength=b)
    rank = np.arange(len(who)) - np.repeat(np.cumsum(count) - count, count)
    nearest = rank < k
    order, rank = order[nearest], rank[nearest]
    indices, similarities = np.full((b, k), -1, dtype=np.int64), np.full((b, k), np.nan, dtype=np.float32)
    indices[who[order], rank], similarities[who[order], rank] = number[order], value[order]
    return indices, similarities


def _compared(
    features: Matrix, asking: np.ndarray, near: np.ndarray, cells: Cells
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of rows `asking` (b, d), who (a,) looks into a cell by `near` (b, p), its rows (m,), and similarities (a, m)."""
    by_cell = np.argsort(near, axis=None, kind="stable")
    found, begin = np.unique(near.ravel()[by_cell], return_index=True)
    for cell, those in zip(found, np.split(by_cell // near.shape[1], begin[1:]), strict=True):
        members = cells.rows(cell)
        pool = unit_rows(features[members])
        for start in range(0, len(those) if len(members) else 0, BLOCK):
            who = those[start : start + BLOCK]
            yield who, members, asking[who] @ pool.T

"""Vectors that lie far nearer to each other than neighbours usually do."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import digamma

from cleanlab_lite.arrays import unit_rows
from cleanlab_lite.judge.neighbors import Search, nearest_neighbors, on_host

NEIGHBORS = 20  # searched for near vectors
EMBEDDING_SHARE = 0.15  # of the distance to the last of them, at most
FALSE_PAIRS = 0.05  # expected among vectors without any copy
ROUNDING = 1e-3  # of a distance that comes from a cosine in float32
EXACT_ROWS = 1_000_000  # vectors up to which every pair is looked at, faiss or not
RECALL_ROWS = 1000  # vectors that the recall of faiss is measured on
BLOCK_VALUES = 100_000_000  # similarities held at a time
ROWS = 2048  # vectors compared at a time


def embedding_pairs(
    vectors: np.ndarray, on_rows: Callable[[int], None] = lambda _: None, search: Search = on_host
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Pairs (p, 2) of vectors (u, d) that are far nearer than neighbours usually are; the nearest rows (u, k) of all;
    and how they were searched.

    Distances are those of directions. A pair is nearer than EMBEDDING_SHARE of the distance to the twentieth neighbour
    of either, and so near that chance has less than FALSE_PAIRS such pairs: with m dimensions, by which neighbours
    spread, the share of distances below r times the twentieth grows as r^m (m: Levina and Bickel, NeurIPS 2004).
    Where all twenty are that near, the usual distance of the set is taken instead. Where half of all rows have eight
    copies and more, these are what is usual, and none is found.
    """
    u = len(vectors)
    k = min(NEIGHBORS, u - 1)
    if k < 1:
        return np.zeros((0, 2), np.int64), np.zeros((u, 0), np.int64), {"method": "exact", "recall": None}
    largest = np.abs(vectors).max(axis=1, keepdims=True).astype(np.float32)
    vectors = vectors / np.maximum(largest, np.finfo(np.float32).tiny)  # or squares of huge values overflow
    neighbors, cosines, how = _search(vectors, k, on_rows, search)
    distance = np.sqrt(np.maximum(2 - 2 * np.nan_to_num(cosines, nan=-1.0).astype(np.float64), 0))  # (u, k)
    width = distance[:, -1]
    usual = float(np.median(width))
    share = min(EMBEDDING_SHARE, (FALSE_PAIRS / (u * max(k - 1, 1))) ** (1 / _dimensions(distance)))
    reference = np.where(width < share * usual, usual, width)
    left, place = np.nonzero((neighbors >= 0) & (distance <= share * reference[:, None] + ROUNDING))
    pairs = np.stack([left, neighbors[left, place]], axis=1)
    near = chord(vectors, pairs) < share * reference[pairs].min(axis=1)
    return pairs[near], neighbors, how | {"share": share}


def _dimensions(distance: np.ndarray) -> float:
    """By how many dimensions neighbours spread, from their distances (u, k), nearest first: median of the rows."""
    k = distance.shape[1]
    outer = np.arange(k // 4, k - 1)  # the nearest may be copies
    if not len(outer):
        return 1.0
    logs = np.log(np.maximum(distance[:, -1:], 1e-9) / np.maximum(distance[:, outer], 1e-9)).mean(axis=1)
    in_one_dimension = float((digamma(k) - digamma(outer + 1)).mean())
    return in_one_dimension / max(float(np.median(logs)), 1e-3)


def chord(vectors: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(p,) float64 distance between the directions of pairs (p, 2) of vectors (u, d): sqrt(2 - 2 cosine)."""
    result = np.empty(len(pairs))
    for start in range(0, len(pairs), ROWS):
        a, b = (vectors[pairs[start : start + ROWS, side]].astype(np.float64) for side in (0, 1))
        a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-300)
        b /= np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-300)
        result[start : start + ROWS] = np.linalg.norm(a - b, axis=1)
    return result


def _search(
    vectors: np.ndarray, k: int, on_rows: Callable[[int], None], search: Search
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """`nearest_neighbors`, or above EXACT_ROWS what faiss finds instead where it is installed, and its recall."""
    on_rows(0)
    u = len(vectors)
    if u <= EXACT_ROWS or importlib.util.find_spec("faiss") is None:
        block = max(1, min(2000, BLOCK_VALUES // u))
        neighbors, cosines = nearest_neighbors(vectors, k, block, on_rows=on_rows, search=search)
        return neighbors, cosines, {"method": "exact", "recall": None}
    import faiss

    rows = unit_rows(vectors)
    cells = int(4 * np.sqrt(u))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(rows.shape[1]), rows.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.train(rows[np.linspace(0, u - 1, min(u, 64 * cells)).astype(int)])
    index.add(rows)
    index.nprobe = max(1, cells // 64)
    neighbors = np.full((u, k), -1, np.int64)
    cosines = np.full((u, k), np.nan, np.float32)
    for start in range(0, u, ROWS):
        stop = min(start + ROWS, u)
        found, numbers = index.search(rows[start:stop], k + 1)
        neighbors[start:stop], cosines[start:stop] = _without_self(np.arange(start, stop), numbers, found)
        on_rows(stop)
    return neighbors, cosines, {"method": "faiss", "recall": _recall(rows, neighbors)}


def _without_self(own: np.ndarray, numbers: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (b, k + 1) without the row itself, or the last where it is not among them: both (b, k)."""
    keep = numbers != own[:, None]
    keep[keep.all(axis=1), -1] = False
    k = numbers.shape[1] - 1
    numbers, found = numbers[keep].reshape(-1, k), found[keep].reshape(-1, k)
    return numbers, np.where(numbers >= 0, found, np.nan)


def _recall(rows: np.ndarray, neighbors: np.ndarray) -> float:
    """Share of the true nearest rows among `neighbors` (u, k), on a sample."""
    u, k = neighbors.shape
    sample = np.linspace(0, u - 1, min(u, RECALL_ROWS)).astype(int)
    hits, step = 0, max(1, BLOCK_VALUES // u)
    for start in range(0, len(sample), step):
        part = sample[start : start + step]
        cosines = rows[part] @ rows.T
        cosines[np.arange(len(part)), part] = -np.inf
        true = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        hits += sum(len(np.intersect1d(a, b)) for a, b in zip(true, neighbors[part], strict=True))
    return hits / (len(sample) * k)

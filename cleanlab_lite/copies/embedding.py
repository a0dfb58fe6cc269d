"""Vectors that lie far nearer to each other than neighbours usually do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import digamma

from cleanlab_lite.arrays import unit_rows
from cleanlab_lite.judge.neighbors import Search, is_exact, neighbors_in_blocks, on_host
from cleanlab_lite.matrices import Matrix, blocks, per_row

NEIGHBORS = 20  # searched for near vectors
EMBEDDING_SHARE = 0.15  # of the distance to the last of them, at most
FALSE_PAIRS = 0.05  # expected among vectors without any copy
ROUNDING = 1e-3  # of a distance that comes from a cosine in float32
RECALL_ROWS, RECALL_BLOCK = 200, 50_000  # vectors that the recall of an inexact search is measured on, and by
BLOCK_VALUES = 100_000_000  # similarities held at a time
ROWS = 2048  # vectors compared at a time


def embedding_pairs(
    vectors: Matrix, on_rows: Callable[[int], None] = lambda _: None, search: Search = on_host
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
    on_rows(0)
    neighbors, cosines = np.full((u, k), -1, np.int32), np.full((u, k), np.nan, np.float32)
    done = 0
    for rows, near, similarity in neighbors_in_blocks(vectors, k, max(1, min(2000, BLOCK_VALUES // u)), search=search):
        neighbors[rows], cosines[rows] = near, similarity
        done += len(rows)
        on_rows(done)
    exact = is_exact(u, u, search)
    how = {"method": "exact" if exact else "cells", "recall": None if exact else _recall(vectors, cosines)}
    width = _distances(cosines[:, -1])
    usual = float(np.median(width))
    share = min(EMBEDDING_SHARE, (FALSE_PAIRS / (u * max(k - 1, 1))) ** (1 / _dimensions(cosines)))
    reference = np.where(width < share * usual, usual, width)
    pairs = np.concatenate([_near(part, neighbors, cosines, share * reference + ROUNDING) for part in blocks(cosines)])
    near = chord(vectors, pairs) < share * reference[pairs].min(axis=1)
    return pairs[near], neighbors, how | {"share": share}


def _distances(cosines: np.ndarray) -> np.ndarray:
    """float64 distances of directions with these cosines; 2 where there is none."""
    return np.sqrt(np.maximum(2 - 2 * np.nan_to_num(cosines, nan=-1.0).astype(np.float64), 0))


def _near(part: slice, neighbors: np.ndarray, cosines: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Pairs (p, 2) of some rows and those of their neighbours that are not farther than `most` (u,)."""
    left, place = np.nonzero((neighbors[part] >= 0) & (_distances(cosines[part]) <= most[part, None]))
    return np.stack([left + part.start, neighbors[part][left, place]], axis=1)


def _dimensions(cosines: np.ndarray) -> float:
    """By how many dimensions neighbours spread, by their cosines (u, k), nearest first: median of the rows."""
    k = cosines.shape[1]
    outer = np.arange(k // 4, k - 1)  # the nearest may be copies
    if not len(outer):
        return 1.0

    def logarithms(block: np.ndarray) -> np.ndarray:
        distance = _distances(block)
        return np.log(np.maximum(distance[:, -1:], 1e-9) / np.maximum(distance[:, outer], 1e-9)).mean(axis=1)

    in_one_dimension = float((digamma(k) - digamma(outer + 1)).mean())
    return in_one_dimension / max(float(np.median(per_row(logarithms, cosines))), 1e-3)


def chord(vectors: Matrix, pairs: np.ndarray) -> np.ndarray:
    """(p,) float64 distance between the directions of pairs (p, 2) of vectors (u, d): sqrt(2 - 2 cosine)."""
    result = np.empty(len(pairs))
    for start in range(0, len(pairs), ROWS):
        a, b = (vectors[pairs[start : start + ROWS, side]].astype(np.float64) for side in (0, 1))
        a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-300)
        b /= np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-300)
        result[start : start + ROWS] = np.linalg.norm(a - b, axis=1)
    return result


def _recall(vectors: Matrix, cosines: np.ndarray) -> float:
    """Share of the true nearest rows that are among those found, with these cosines (u, k), on a sample."""
    u, k = cosines.shape
    sample = np.linspace(0, u - 1, min(u, RECALL_ROWS)).astype(int)
    asking, best = unit_rows(vectors[sample]), np.full((len(sample), k), -np.inf, dtype=np.float32)
    for start in range(0, u, RECALL_BLOCK):
        found = asking @ unit_rows(vectors[start : start + RECALL_BLOCK]).T
        own = np.flatnonzero((sample >= start) & (sample < start + RECALL_BLOCK))
        found[own, sample[own] - start] = -np.inf
        best = np.partition(np.concatenate([best, found], axis=1), -k, axis=1)[:, -k:]
    return float((cosines[sample] >= best.min(axis=1, keepdims=True) - 1e-6).mean())

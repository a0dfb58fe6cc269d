"""Where rows lie in feature space: two principal components, as small whole numbers for the map of the page."""

from __future__ import annotations

import numpy as np

POINTS = 20_000  # drawn at most
FITTED = 2_000  # rows behind the components, evenly spread
SIZE = 1000  # places along a side of the map
EDGE = 0.5  # percent of the rows that do not count for its size, and
SLACK = 0.1  # of that size, left around them; what is still outside lies on the border
BLOCK = 4096  # rows projected at a time


def map_of(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(len(rows), 2) int64 from 0 to SIZE of these rows of features (n, d); -1 where a vector is not finite.

    The first component points right, the second up; signs are such that the largest weight is positive.
    """
    sample = features[np.sort(rows)[:: len(rows) // FITTED + 1]].astype(np.float32)
    sample = sample[np.isfinite(sample).all(axis=1)]
    places = np.full((len(rows), 2), -1)
    if len(sample) < 2 or features.shape[1] < 2:
        return places
    middle = sample.mean(axis=0)
    axes = np.linalg.svd(sample - middle, full_matrices=False)[2][:2]
    axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
    blocks = [features[rows[start : start + BLOCK]].astype(np.float32) for start in range(0, len(rows), BLOCK)]
    projected = np.concatenate([(block - middle) @ axes.T for block in blocks])
    finite = np.isfinite(projected).all(axis=1)
    low, high = np.percentile(projected[finite], (EDGE, 100 - EDGE), axis=0)
    size = np.maximum(high - low, 1e-9) * (1 + 2 * SLACK)
    scaled = (projected[finite] - (low + high) / 2) / size + 0.5
    places[finite] = np.rint(SIZE * np.clip(scaled, 0, 1)).astype(int)
    return places

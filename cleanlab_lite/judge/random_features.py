"""Random features of vectors, so that a regression in closed form is not a linear one.

Rectified random projections, a network of one hidden layer that is never trained (Rahimi & Recht, "Weighted sums of
random kitchen sinks", NeurIPS 2008). Of vectors of 128 numbers they bring average precision from .643 to .767 (77
classes of sentences), .761 to .770 and .892 to .896 (pictures); vectors of a pretrained network of ours, 744 numbers
from several of its layers, gain nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cleanlab_lite.matrices import Matrix

WIDTH = 2048
OFFSET = 0.3  # deviation of the offsets, where projections have 1
SAMPLE = 20_000  # rows that tell mean and deviation


@dataclass(frozen=True)
class RandomFeatures:
    """`WIDTH` features of every row of vectors (n, d), made when they are asked for: an array (n, WIDTH) to look at."""

    vectors: Matrix  # (n, d) of any float type; rows with NaN have NaN features
    centre: np.ndarray  # (d,) float32
    weights: np.ndarray  # (d, WIDTH) float32
    offsets: np.ndarray  # (WIDTH,) float32
    multiply: Callable[[np.ndarray, np.ndarray], np.ndarray]  # of float32 matrices

    @classmethod
    def of(cls, vectors: Matrix, *, seed: int = 0, multiply: Callable = np.matmul) -> RandomFeatures:
        """Features for vectors (n, d)."""
        rng = np.random.default_rng((seed, 7))
        d = vectors.shape[1]
        sample = _unit(vectors[:: max(1, -(-len(vectors) // SAMPLE))])
        sample = sample[np.isfinite(sample).all(axis=1)]
        centre = sample.mean(axis=0) if len(sample) else np.zeros(d, np.float32)
        deviation = float(np.std(sample - centre)) if len(sample) else 0.0
        weights = rng.normal(size=(d, WIDTH)) / (np.sqrt(d) * (deviation or 1.0))
        offsets = (OFFSET * rng.normal(size=WIDTH)).astype(np.float32)
        return cls(vectors, centre, weights.astype(np.float32), offsets, multiply)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, WIDTH)"""
        return len(self.vectors), WIDTH

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        """(b, WIDTH) float32."""
        return np.maximum(self.multiply(_unit(self.vectors[rows]) - self.centre, self.weights) + self.offsets, 0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(b, d) float32 of length 1; rows of zeros stay zero, rows with NaN become NaN."""
    rows = np.asarray(vectors, dtype=np.float32)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norm == 0, np.float32(1), norm)

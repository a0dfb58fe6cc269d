"""Statistics of sounds: worked out by hand, and the same whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest

from cleanlab_lite.data import statistics as module
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.data.statistics import statistics


def clips(patches: np.ndarray, counts: list[int]) -> Inputs:
    n = len(counts)
    nothing = np.zeros(n, dtype="U1")
    offsets = np.cumsum([0, *counts])
    return Inputs(patches, nothing, nothing, np.full(n, -1), 0, np.array([f"clip {i}" for i in range(n)]), offsets)


def test_by_hand():
    patches = np.zeros((2, 1, 2, 4), np.uint8)  # one clip of two patches of four frames in two bands
    patches[0, 0, 1] = [0, 255, 0, 255]
    patches[1, 0, 0] = 51
    found = statistics(clips(patches, [2]))
    assert found.array.shape == (1, 8) and found.array.dtype == np.float32 and found.offsets is None
    level, deviation, change, spread = found.array[0].reshape(4, 2)
    np.testing.assert_allclose(level, [0.1, 0.25], rtol=1e-6)  # half the frames are at 51 / 255, a quarter at 1
    np.testing.assert_allclose(deviation, [0.1, np.sqrt(0.25 * 0.75)], rtol=1e-6)
    np.testing.assert_allclose(change, [0, 1 / 6], rtol=1e-6)  # 1, -1, 1 of six steps; none from patch to patch
    np.testing.assert_allclose(spread, [0, np.sqrt(3 / 6 - 1 / 36)], rtol=1e-6)


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_they_are_those_of_numpy_whatever_the_blocks(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    patches = np.random.default_rng(0).integers(0, 256, (7, 1, 5, 6), dtype=np.uint8)
    found = statistics(clips(patches, [1, 4, 2])).array
    for row, part in enumerate((patches[:1], patches[1:5], patches[5:])):
        level = part[:, 0].astype(np.float64) / 255
        change = np.diff(level)
        expected = [f(x, axis=(0, 2)) for x in (level, change) for f in (np.mean, np.std)]
        np.testing.assert_allclose(found[row], np.concatenate(expected), rtol=1e-5, atol=1e-7)


def test_silence_and_extremes_are_finite():
    patches = np.zeros((3, 1, 64, 64), np.uint8)
    patches[1] = 255
    found = statistics(clips(patches, [1, 2]))
    assert not found.array[0].any() and np.isfinite(found.array).all()
    assert found.readable.all() and list(found.content) == ["clip 0", "clip 1"]

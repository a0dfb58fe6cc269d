"""Sounds as vectors without any network: how loud each band is, how much it varies, and how fast it changes.

A second way of looking at a clip, beside what an encoder sees: it costs next to nothing and errs elsewhere.
Letters: n clips, p patches of all clips, f frames of a patch, s mel bands.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cleanlab_lite.data.inputs import Inputs

BLOCK = 1024  # patches in memory at a time, 48 MiB


def statistics(clips: Inputs) -> Inputs:
    """Patches (p, 1, s, f) uint8 to vectors (n, 4 s) float32, from the lowest band up.

    Mean and deviation over time of every band, then those of its differences from frame to frame, where 1 is the range
    of the patches. Neighbouring patches overlap: what lies in both counts twice. Unreadable rows are zeros.
    """
    assert clips.offsets is not None, "statistics are of sounds"
    starts = range(0, len(clips.array), BLOCK)
    sums = np.concatenate([_sums(clips.array[start : start + BLOCK]) for start in starts])  # (p, 4, s)
    totals = np.add.reduceat(sums, clips.offsets[:-1], axis=0)  # (n, 4, s)
    frames = (np.diff(clips.offsets) * clips.array.shape[-1])[:, None]  # (n, 1)
    steps = (np.diff(clips.offsets) * (clips.array.shape[-1] - 1))[:, None]
    levels = _mean_and_deviation(totals[:, 0], totals[:, 1], frames)
    changes = _mean_and_deviation(totals[:, 2], totals[:, 3], steps)
    vectors = np.concatenate([*levels, *changes], axis=1) / 255
    return replace(clips, array=vectors.astype(np.float32), offsets=None)


def _sums(patches: np.ndarray) -> np.ndarray:
    """(q, 4, s) int64 over the frames of patches (q, 1, s, f): of levels, their squares, changes and theirs."""
    level = patches[:, 0].astype(np.int32)
    change = np.diff(level)
    return np.stack([part.sum(axis=-1, dtype=np.int64) for part in (level, level**2, change, change**2)], axis=1)


def _mean_and_deviation(total: np.ndarray, squares: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, s) each, of sums (n, s) over `count` (n, 1) numbers. Integers cancel without rounding."""
    return total / count, np.sqrt(count * squares - total**2) / count

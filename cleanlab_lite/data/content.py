"""What a row holds, as a sha256: rows of the same content are copies."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from cleanlab_lite.manifest.manifest import WHOLE, Segment
from cleanlab_lite.matrices import per_row


def content_of(file: str, segment: Segment = WHOLE) -> str:
    """What a row holds, as a sha256: that of its file, or of that and the part. "" where either is unknown."""
    if segment == WHOLE:
        return file
    if not file or math.isnan(sum(segment)):
        return ""
    return hashlib.sha256(f"{file} {segment.offset!r} {segment.duration!r}".encode()).hexdigest()


def find_duplicates(content: Sequence[str] | np.ndarray) -> np.ndarray:
    """(n,) int64: the first row with the same content; -1 for the first itself, unique rows and empty content."""
    first: dict[str, int] = {}
    found = np.full(len(content), -1, dtype=np.int64)
    for row, value in enumerate(content):
        if value and first.setdefault(value, row) != row:
            found[row] = first[value]
    return found


def vector_content(features: np.ndarray) -> np.ndarray:
    """(n,) str: sha256 of each row of `features` (n, d), "" where a value is not finite. 0.0 and -0.0 are equal."""

    def of_block(block: np.ndarray) -> np.ndarray:
        rows, finite = np.ascontiguousarray(block + 0.0), np.isfinite(block).all(axis=1)
        found = [hashlib.sha256(row).hexdigest() if fine else "" for row, fine in zip(rows, finite, strict=True)]
        return np.array(found, dtype=np.str_)

    return per_row(of_block, features)

"""Pictures that are arrays: as bytes, which files can hold."""

from __future__ import annotations

import numpy as np

from cleanlab_lite.errors import ManifestError

CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
BLOCK = 256  # pictures looked at together


def bytes_of(array: np.ndarray, where: str, channels: int) -> np.ndarray:
    """Pictures as uint8: as they are, or floats of 0 to 1 rounded to 256 steps. Raises ManifestError."""
    if channels not in CHANNELS:
        raise ManifestError(
            f"{where} has shape {array.shape}, expected pictures with 1, 3 or 4 channels in the last place",
            hint="channels first? numpy.moveaxis(X, 1, -1); for vectors X.reshape(len(X), -1)",
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "f" and array.size:
        low, high = float(array.min()), float(array.max())
        if low >= 0 and high <= 1:  # not with NaN
            return np.rint(array * 255).astype(np.uint8)
        raise ManifestError(
            f"{where} holds floats from {low:g} to {high:g}, expected pictures of 0 to 1, or uint8",
            hint="undo the normalisation: X * std + mean; X / 255 where they reach 255",
        )
    raise ManifestError(f"{where} has type {array.dtype}, expected uint8 or floats of 0 to 1", hint="X.astype('uint8')")

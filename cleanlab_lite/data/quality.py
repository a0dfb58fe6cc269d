"""What is odd about pictures as pictures, from the decoded pixels and the sizes of the files: notes, no verdicts.

A note is about what hardly any other picture of the set is: drawings on black are not dark where most are. Blur is told
by how much of the change from pixel to pixel goes on in the next pixel: an edge that is spread over several pixels
changes by the same small step again and again. That is a ratio, so that neither another lamp nor a plain background
makes a picture blurred, as small steps alone would.
"""

from __future__ import annotations

import numpy as np

from cleanlab_lite.workers import ahead, cores

BLOCK = 64  # pictures looked at together: what fits near a core
LOOKED_AT = 32  # pixels of a side that brightness is told by
DARK, BRIGHT = 50, 205  # grey levels: no more than 1 % of the pixels are brighter, or darker
BLANK = 8  # grey levels between the 1st and the 99th percentile
RARE = 0.05  # of the set: what more pictures are is how the set looks
NOISE = 1.0  # grey levels squared: steps as small as these are those of any file
SOFT = 0.7  # times the usual sharpness; pictures of 32 pixels reach that at a Gaussian of 1 pixel
OTHER_SIZE, OTHER_SHAPE = 2.0, 1.5  # times the usual side, and the usual ratio of the longer side to the shorter
FAR = 5.0  # times the spread of the set: how far from the median something is odd in a set of many kinds


def picture_notes(pixels: np.ndarray, sizes: np.ndarray, readable: np.ndarray) -> dict[str, np.ndarray]:
    """(n,) bool by note: `blank`, `dark`, `bright`, `blurred`, `odd_size`.

    pixels (n, 3, s, s) uint8; sizes (n, 2) of the files in pixels, 0 where not known; readable (n,) bool.
    """
    low, high, sharp = np.full((3, len(pixels)), np.nan)
    known = readable & (sizes > 0).all(axis=1)
    width, height = np.log(np.where(known[:, None], sizes, 1)).T
    enlarged = pixels.shape[-1] / np.exp(np.median((width + height)[known] / 2)) if known.any() else 1.0
    every = max(1, round(enlarged))  # pixel: what lies between is interpolated, and looks blurred in any picture
    step = max(1, pixels.shape[-1] // LOOKED_AT)
    rows = np.flatnonzero(readable)
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]

    def look(block: np.ndarray) -> None:
        chosen = pixels[block]
        grey = chosen[:, :, ::step, ::step].mean(axis=1, dtype=np.float32)
        low[block], high[block] = percentiles(grey.reshape(len(block), -1), (1, 99))
        sharp[block] = sharpness(chosen[:, 1, ::every, ::every].astype(np.float32))

    list(ahead(look, blocks, cores()))
    blank = high - low < BLANK
    sharp[blank] = np.nan
    found = {
        "blank": blank,
        "dark": (high < DARK) & ~blank,
        "bright": (low > BRIGHT) & ~blank,
        "blurred": distance(np.log(sharp)) < np.log(SOFT),
        "odd_size": (np.abs(distance(np.where(known, (width + height) / 2, np.nan))) > np.log(OTHER_SIZE))
        | (np.abs(distance(np.where(known, np.abs(width - height), np.nan))) > np.log(OTHER_SHAPE)),
    }
    return {note: holds for note, holds in found.items() if 0 < holds.sum() <= max(1, RARE * len(rows))}


def sharpness(grey: np.ndarray) -> np.ndarray:
    """(b,) the Laplacian of pictures (b, s, s) float32 to their steps from pixel to pixel, root mean squares of both.

    sqrt(10) for noise of several grey levels, the less the more a picture is blurred.
    """
    down, right = np.diff(grey, axis=1), np.diff(grey, axis=2)
    laplacian = np.diff(down, axis=1)[:, :, 1:-1] + np.diff(right, axis=2)[:, 1:-1]
    curved, across, along = (np.einsum("bij,bij->b", each, each) / each[0].size for each in (laplacian, down, right))
    return np.sqrt((curved + NOISE) / ((across + along) / 2 + NOISE))


def distance(values: np.ndarray) -> np.ndarray:
    """(n,) from the median of (n,), 0 where no more than FAR times the spread of the set; NaN where unknown."""
    if np.isnan(values).all():
        return values
    off = values - np.nanmedian(values)
    spread = 1.4826 * np.nanmedian(np.abs(off))  # of a normal distribution: its standard deviation
    return np.where(np.abs(off) > FAR * spread, off, 0 * off)


def percentiles(values: np.ndarray, percents: tuple[float, ...]) -> np.ndarray:
    """np.percentile of rows (b, m) float32, as (p, b): to sort whole rows takes a third of its time."""
    rows = np.sort(values, axis=1)
    place = np.asarray(percents) / 100 * (rows.shape[1] - 1)
    below = place.astype(np.int64)
    upper = rows[:, np.minimum(below + 1, rows.shape[1] - 1)]
    return (rows[:, below] + (place - below) * (upper - rows[:, below])).T

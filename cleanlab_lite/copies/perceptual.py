"""Pictures and sounds that look or sound the same: a hash proposes pairs, and their small pictures must correlate.

The hash is the signs of 64 low frequencies (Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010). How alike copies must be is read from the data: two different hand signs before one wall are more
alike than two copies of a landscape in poor quality. Letters: u rows, p pairs, g groups of q values in a small picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cleanlab_lite.arrays import unit_rows
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.data.sound import RANGE_DB, SIDE
from cleanlab_lite.groups import group_pairs, roots
from cleanlab_lite.workers import ahead, cores

# Measured on 25,000 pictures of CIFAR-10 and 2,062 photographs of hands: of copies resized, brighter by a fifth, with
# more contrast or as JPEG of quality 40, at least 98.8 % are found, of quality 20 at least 91.8 %; cropped by 4 % few.
RADIUS = 7  # bits of 64; in one of the bands at most one of them
BANDS, BAND_BITS = 4, 16
SMALL = 16  # pixels of a small picture, or bands of a small spectrogram
FRAMES = 32  # of a small spectrogram
HEARD_DB = 50.0  # below the loudest; what is softer, lossy formats leave out
HEARD_BANDS = SIDE * 3 // 4  # mel bands below half of the highest frequency: a copy at half the rate has no others
FARTHEST, FARTHEST_CLIP = 0.05, 0.02  # 1 - correlation of perceptual copies, at most
PERCEPTUAL_SHARE = 1 / 8  # of the usual distance to the tenth neighbour, at most
USUAL_NEIGHBOR, USUAL_ROWS = 10, 256
MOST_COPIES = 128  # of one picture, that do not make its copies what is usual
ROUNDING = 1e-4  # of a correlation of small pictures
SHIFT = 64.0  # grey levels between the means of two copies, at most
FLAT = 2.0  # grey levels; a picture that varies less has no structure to compare
LENGTHS = 1  # patches that two copies of a clip may differ by
CANDIDATES = 1 << 20  # pairs of hashes compared at a time
VERIFIED = 1 << 14  # pairs of pictures compared at a time
PATIENCE = 200  # other pictures that a picture is compared with: in a crowd of like hashes there are thousands
ROWS = 2048  # pictures read at a time
PIXELS = 1 << 22  # the same, of which each thread has as many
GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Looks:
    """What u pictures or clips look like from afar."""

    small: np.ndarray  # (u, g, q) uint8; each group, a colour or a mel band, is compared without its mean
    hashes: np.ndarray  # (u,) uint64
    length: np.ndarray  # (u,) int64, patches of a clip; 0 for pictures
    mute: np.ndarray  # (u,) bool, never a copy: silence
    farthest: float  # 1 - correlation of two copies, whatever is usual


def small_pictures(array: np.ndarray, rows: np.ndarray) -> Looks:
    """Of the pictures `rows` (u,) of array (n, 3, s, s) uint8, which may be memory-mapped."""
    shrink = pooling(SMALL, array.shape[-1])
    small = np.empty((len(rows), 3, SMALL * SMALL), np.uint8)

    step = max(1, PIXELS // max(1, array[:1].size))

    def shrunk(start: int) -> np.ndarray:
        block = np.asarray(array[rows[start : start + step]], dtype=np.float32)
        own = np.rint(shrink @ block @ shrink.T).reshape(-1, 3, SMALL * SMALL)
        small[start : start + step] = own
        return _hash((GREY[:, None] * own).sum(axis=1).reshape(-1, SMALL, SMALL), slice(1, 9))

    hashes = ahead(shrunk, range(0, len(rows), step), cores())
    nothing = np.zeros(len(rows), np.int64)
    return Looks(small, np.concatenate([np.zeros(0, np.uint64), *hashes]), nothing, nothing.astype(bool), FARTHEST)


def small_clips(inputs: Inputs, rows: np.ndarray) -> Looks:
    """Of the clips `rows` (u,): their spectrograms as a whole, so that steady noises differ by when they swell."""
    assert inputs.offsets is not None
    bands = pooling(SMALL, HEARD_BANDS)
    floor = 255 * (1 - HEARD_DB / RANGE_DB)
    small = np.empty((len(rows), SMALL, FRAMES), np.uint8)
    for place, row in enumerate(rows):
        heard = np.maximum(_joined(inputs.array[inputs.offsets[row] : inputs.offsets[row + 1]]), floor)
        small[place] = np.rint(bands @ heard[:HEARD_BANDS] @ pooling(FRAMES, heard.shape[1]).T)
    centred = small - small.mean(axis=2, keepdims=True, dtype=np.float32)
    mute = inputs.notes["silent"][rows] if "silent" in inputs.notes else np.zeros(len(rows), bool)
    mute |= (small == small.min(axis=(1, 2), keepdims=True)).all(axis=(1, 2))
    return Looks(small, _hash(centred, slice(0, 8)), np.diff(inputs.offsets)[rows], mute, FARTHEST_CLIP)


def _joined(patches: np.ndarray) -> np.ndarray:
    """(SIDE, t) float32 of the overlapping patches (p, 1, SIDE, SIDE) of a clip: the middle of each, and both ends."""
    quarter = SIDE // 4
    middle = patches[:, 0, :, quarter:-quarter].swapaxes(0, 1).reshape(SIDE, -1)
    return np.concatenate([patches[0, 0, :, :quarter], middle, patches[-1, 0, :, -quarter:]], axis=1).astype(np.float32)


def pooling(k: int, s: int) -> np.ndarray:
    """(k, s) float32: means over k equal parts of s values."""
    edges = np.linspace(0, s, k + 1)
    cells = np.arange(s)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return (np.maximum(overlap, 0) * (k / s)).astype(np.float32)


def _hash(pictures: np.ndarray, rows: slice) -> np.ndarray:
    """(u,) uint64: the signs of 8 x 8 coefficients of the cosine transform of (u, h, w), the mean of rows left out."""
    height, width = (_cosines(side) for side in pictures.shape[1:])
    signs = (height[rows] @ pictures @ width[1:9].T) > 0
    return np.packbits(signs.reshape(len(pictures), 64), axis=1).view(np.uint64).ravel()


def _cosines(s: int) -> np.ndarray:
    """(9, s) float32: the first waves of the cosine transform."""
    return np.cos(np.pi * np.arange(9)[:, None] * (2 * np.arange(s) + 1) / (2 * s)).astype(np.float32)


def perceptual_pairs(looks: Looks, on_rows: Callable[[int], None] = lambda _: None) -> tuple[np.ndarray, float]:
    """Pairs (p, 2) that unite all copies among u rows, and the distance up to which they count.

    Not all pairs: what earlier ones have united is not looked at again.
    """
    u = len(looks.small)
    on_rows(0)
    flat = _contrast(looks.small) < FLAT
    distance = min(looks.farthest, PERCEPTUAL_SHARE * usual_distance(looks.small[~flat]))
    rows = np.flatnonzero(~flat & ~looks.mute)
    kept = [_equal(looks.small, np.flatnonzero(flat & ~looks.mute))]
    brightness = looks.small.mean(axis=(1, 2), dtype=np.float32)
    group, fresh, refused = np.arange(u), 0, np.zeros(u, np.int64)
    for candidates in hamming_pairs(looks.hashes[rows]):
        for start in range(0, len(candidates), VERIFIED):
            pairs = rows[candidates[start : start + VERIFIED]]
            pairs = pairs[group[pairs[:, 0]] != group[pairs[:, 1]]]
            pairs = pairs[np.abs(looks.length[pairs[:, 0]] - looks.length[pairs[:, 1]]) <= LENGTHS]
            pairs = pairs[np.abs(brightness[pairs[:, 0]] - brightness[pairs[:, 1]]) <= SHIFT]
            pairs = pairs[refused[pairs].min(axis=1) < PATIENCE]
            alike = 1 - correlation(looks.small, pairs) <= distance
            refused += np.bincount(pairs[~alike].ravel(), minlength=u)
            kept.append(pairs[alike])
            fresh += len(kept[-1])
            if fresh > VERIFIED // 8:  # of thousands of copies of one picture, millions of pairs are none to look at
                group, fresh = roots(group_pairs(u, np.concatenate(kept))), 0
    on_rows(u)
    return np.concatenate(kept), float(distance)


def _equal(small: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pairs (p, 2) of `rows` that look exactly the same: each with the first of them."""
    first: dict[bytes, int] = {}
    pairs = np.array([[first.setdefault(small[row].tobytes(), row), row] for row in rows], np.int64).reshape(-1, 2)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def _centred(small: np.ndarray) -> np.ndarray:
    """(u, g * q) float32, without the mean of each group."""
    return (small - small.mean(axis=2, keepdims=True, dtype=np.float32)).reshape(len(small), -1)


def _contrast(small: np.ndarray) -> np.ndarray:
    """(u,) float32: standard deviation within the groups, in grey levels."""

    def of_block(start: int) -> np.ndarray:
        return np.sqrt(np.square(_centred(small[start : start + ROWS])).mean(axis=1))

    return np.concatenate([np.zeros(0, np.float32), *ahead(of_block, range(0, len(small), ROWS), cores())])


def correlation(small: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(p,) float64 correlation of pairs (p, 2) of small pictures (u, g, q); flat ones are 1 where equal, else 0."""
    result = np.empty(len(pairs))
    for start in range(0, len(pairs), ROWS):
        a, b = (small[pairs[start : start + ROWS, side]] for side in (0, 1))
        x, y = _centred(a), _centred(b)
        norm = np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1))
        product = np.einsum("pq,pq->p", x, y)
        equal = (a == b).all(axis=(1, 2))
        result[start : start + ROWS] = np.where(equal, 1.0, product / np.maximum(norm, 1e-6))
    return result


def usual_distance(small: np.ndarray) -> float:
    """Median of 1 - correlation to the tenth nearest of all small pictures (u, g, q), of a sample; inf for a few.

    Copies do not count: where distances jump as they do behind copies, those before the jump are left out.
    """
    u = len(small)
    if u <= USUAL_NEIGHBOR + 1:
        return np.inf
    sample = unit_rows(_centred(small[np.linspace(0, u - 1, min(u, USUAL_ROWS)).astype(int)]))
    reach = min(u, USUAL_NEIGHBOR + MOST_COPIES + 1)
    best = np.zeros((len(sample), 0), np.float32)
    for start in range(0, u, ROWS):
        best = np.concatenate([best, sample @ unit_rows(_centred(small[start : start + ROWS])).T], axis=1)
        best = -np.partition(-best, min(reach, best.shape[1]) - 1, axis=1)[:, :reach]
    distance = np.sort(np.maximum(1 - best, ROUNDING), axis=1)[:, 1:]  # the first is the row itself
    last = distance.shape[1] - USUAL_NEIGHBOR
    jumps = distance[:, :last] < PERCEPTUAL_SHARE * distance[:, 1 : last + 1]
    copies = np.where(jumps.any(axis=1), last - jumps[:, ::-1].argmax(axis=1), 0)  # nearest rows before the last jump
    return float(np.median(distance[np.arange(len(distance)), copies + USUAL_NEIGHBOR - 1]))


def hamming_pairs(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """All pairs (p, 2) of hashes (u,) uint64 that differ in at most RADIUS bits, in blocks; a pair may come again.

    Of two such hashes one of the four bands of 16 bits differs in at most one bit, so only rows that share such a band
    are compared (multi-index hashing: Norouzi et al., CVPR 2012). Where hashes crowd, every pair is: faster then.
    """
    u = len(hashes)
    keys = [((hashes >> np.uint64(BAND_BITS * band)) & np.uint64(0xFFFF)).astype(np.int64) for band in range(BANDS)]
    flips = [0, *(1 << bit for bit in range(BAND_BITS))]
    counts = [np.bincount(key, minlength=1 << BAND_BITS) for key in keys]
    values = np.arange(1 << BAND_BITS)
    work = sum(int(count @ count[values ^ flip]) for count in counts for flip in flips)
    if work > u * u // 4:  # a row of a matrix is compared several times faster than scattered pairs
        step = max(1, CANDIDATES // max(u, 1))
        for start in range(0, u, step):
            near = np.bitwise_count(hashes[start : start + step, None] ^ hashes[None, start:]) <= RADIUS
            left, right = np.nonzero(near)
            yield np.stack([left, right], axis=1)[left < right] + start
        return
    for key, count in zip(keys, counts, strict=True):
        order = np.argsort(key, kind="stable")
        starts = np.concatenate([[0], np.cumsum(count)])
        for flip in flips:
            partner = key ^ flip
            sizes = count[partner]
            edges = np.searchsorted(np.cumsum(sizes), np.arange(0, int(sizes.sum()), CANDIDATES), side="right")
            for first, last in pairwise([*edges, u]):
                left = np.repeat(np.arange(first, last), sizes[first:last])
                within = np.arange(len(left)) - np.repeat(
                    np.cumsum(sizes[first:last]) - sizes[first:last], sizes[first:last]
                )
                right = order[starts[partner[left]] + within]
                close = (left < right) & (np.bitwise_count(hashes[left] ^ hashes[right]) <= RADIUS)
                yield np.stack([left[close], right[close]], axis=1)

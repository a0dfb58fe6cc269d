"""Cropped and mirrored copies of pictures: neighbours of an encoder propose them, laid over each other they must agree.

Hashes see none of these, an encoder most: the copy is among the nearest neighbours. So each row is compared with a few
of them, as it is and mirrored, and inside the frames that crops have; first at 16 pixels a side, then finer, where the
frame is fitted. How well copies must agree is read from the data, from neighbours that are no copies.

Letters: n pictures, u rows, p pairs, f frames, s pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from cleanlab_lite.copies.perceptual import FARTHEST, GREY, SMALL, pooling
from cleanlab_lite.workers import ahead, cores

# Measured on 1,200 pictures of CIFAR-10 and 1,000 photographs of hands: of copies cropped by 4 or 8 % at each side,
# mirrored, or both, 240 and 232 of 240 are found, and nothing that is none.
NEIGHBORS = 3  # that a row is compared with
USUAL_NEIGHBOR = 9  # counted from 0: no copy
USUAL_ROWS = 256
SCALES = (0.96, 0.92, 0.88, 0.84)  # of the side, that a crop leaves
PLACES = (0.0, 0.5, 1.0)  # of what it leaves, at the left and at the top
FINE = 48  # pixels a side, at most
SHARE = 1 / 16  # of the usual distance, at most: half of what is asked of others, as so many frames are tried
COARSE_SHARE = 8  # times the distance of copies, at 16 pixels
STEPS = (("scale", 0.02), ("top", 0.25), ("left", 0.25), ("scale", 0.01))  # in which a frame is fitted
ROWS, PAIRS = 64, 128  # at a time
PAIRS_ELSEWHERE = 8192  # the same, of a device with many units

Elsewhere = Callable[..., tuple[np.ndarray, ...]]  # calls a function of arrays and of the library that computes it


@dataclass(frozen=True)
class Frames:
    """Parts of pictures, one per element."""

    scale: np.ndarray  # float32, of the side
    top: np.ndarray  # 0..1 of the rest, above
    left: np.ndarray

    def moved(self, name: str, by: float) -> Frames:
        low = 0.5 if name == "scale" else 0.0
        return Frames(**{**vars(self), name: np.clip(getattr(self, name) + by, low, 1.0)})

    def where(self, chosen: np.ndarray, other: Frames) -> Frames:
        """These where `chosen`, else `other`."""
        return Frames(*(np.where(chosen, a, b) for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    def take(self, index: np.ndarray) -> Frames:
        return Frames(*(values[index] for values in vars(self).values()))

    def sampling(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Two (f, side, side) float32: rows @ picture @ columns.T is what lies in the frame, enlarged to the side."""
        return tuple(_sampling(side, self.scale, place) for place in (self.top, self.left))  # type: ignore[return-value]


def _sampling(side: int, scale: np.ndarray, place: np.ndarray) -> np.ndarray:
    start = place * (1 - scale) * side - 0.5
    at = np.clip((np.arange(side) + 0.5) * scale[:, None] + start[:, None], 0, side - 1)
    return np.maximum(1 - np.abs(at[:, :, None] - np.arange(side)), 0).astype(np.float32)  # linear between two pixels


def all_frames() -> Frames:
    """The whole, and those of crops."""
    crops = [(scale, top, left) for scale in SCALES for top in PLACES for left in PLACES]
    return Frames(*np.array([(1.0, 0.5, 0.5), *crops], dtype=np.float32).T)


@cache
def samplings() -> np.ndarray:
    """(1 + SCALES x PLACES, 16, 16) float32 `sampling` of one axis, of the whole and of crops, in that order."""
    scale, place = np.array([(1.0, 0.5), *((scale, place) for scale in SCALES for place in PLACES)], np.float32).T
    return _sampling(SMALL, scale, place)


def framed_agreement(whole: Any, place: Any, other: Any, matrices: Any, library: Any = np) -> tuple[Any, Any]:
    """(p, f) correlation of what lies in each of `all_frames` with another picture, and with its mirror image.

    What lies in a frame, R w C', need not be computed: <R w C', o> is <R w, o C>, and its square <R'R w, w C'C>, so
    that there are as many products as places along an axis and not as frames. Mirrored, o C is that of the mirrored
    place, mirrored.

    Args:
        whole: (u, 256) float32 pictures of 16 pixels a side.
        place: (p,) which of them.
        other: (p, 256) float32.
        matrices: `samplings`.
        library: `numpy`, or `torch`, where the arrays are its own.
    """
    centred = (whole - whole.mean(axis=1, keepdims=True)).reshape(-1, SMALL, SMALL)
    seen = _unit(other).reshape(-1, SMALL, SMALL)
    squares = matrices.swapaxes(1, 2) @ matrices
    rows, columns = _along(matrices, centred), _along(matrices.swapaxes(1, 2), seen.swapaxes(1, 2))
    tops, lefts = _along(squares, centred), _along(squares, centred.swapaxes(1, 2)).swapaxes(2, 3)
    norm = _by_frame(tops, lefts, library)
    sums = matrices.sum(axis=1)
    total = sums @ centred @ sums.T  # (u, places, places), of all pixels in a frame
    apart = (total[:, one, one].reshape(len(total), -1) for one in _scales())
    mean = library.concatenate([total[:, :1, 0], *apart], axis=1)
    norm = ((norm - mean**2 / SMALL**2).clip(1e-6) ** 0.5)[place]
    columns, rows = columns.swapaxes(2, 3), rows[place]
    mirrored = [0, *(at for one in _scales() for at in range(one.start, one.stop)[::-1])]
    across = columns[:, mirrored][..., list(range(SMALL))[::-1]]
    return _by_frame(rows, columns, library) / norm, _by_frame(rows, across, library) / norm


def _scales() -> list[slice]:
    """The crops of each scale among `samplings`."""
    return [slice(start, start + len(PLACES)) for start in range(1, 1 + len(SCALES) * len(PLACES), len(PLACES))]


def _along(matrices: Any, pictures: Any) -> Any:
    """(u, m, 16, 16) every matrix (m, 16, 16) times every picture (u, 16, 16)."""
    return (matrices.reshape(-1, SMALL) @ pictures).reshape(len(pictures), len(matrices), SMALL, SMALL)


def _by_frame(tops: Any, lefts: Any, library: Any) -> Any:
    """(p, f) products of what belongs to the top and to the left of every frame, each (p, m, 16, 16)."""
    p = len(tops)
    tops, lefts = (each.reshape(p, -1, SMALL * SMALL) for each in (tops, lefts))
    whole = (tops[:, 0] * lefts[:, 0]).sum(axis=1)[:, None]
    apart = (p, len(SCALES), len(PLACES), SMALL * SMALL)
    crops = tops[:, 1:].reshape(apart) @ lefts[:, 1:].reshape(apart).swapaxes(2, 3)
    return library.concatenate([whole, crops.reshape(p, -1)], axis=1)


def best_frame(whole: Any, place: Any, other: Any, matrices: Any, library: Any) -> tuple[Any, Any]:
    """(p,) the largest `framed_agreement`, and (p,) where: of `all_frames`, those of the mirror image behind them."""
    agreement = library.concatenate(framed_agreement(whole, place, other, matrices, library), axis=1)
    at = agreement.argmax(axis=1)
    return agreement[library.arange(len(at)), at], at


@dataclass(frozen=True)
class Overlay:
    """Pictures to lay over each other."""

    pictures: np.ndarray  # (n, 3, s, s) uint8, which may be memory-mapped
    rows: np.ndarray  # (u,) those that are compared
    small: np.ndarray  # (u, 3, 256) uint8, the same at 16 pixels a side
    elsewhere: Elsewhere | None = None  # to compute on; else with NumPy, in as many threads as there are cores

    @cached_property
    def _grey(self) -> np.ndarray:
        """(u, 256) float32"""
        return np.concatenate(
            [
                np.einsum("ucq,c->uq", self.small[start : start + ROWS], GREY)
                for start in range(0, len(self.small), ROWS)
            ]
            or [np.zeros((0, SMALL * SMALL), np.float32)]
        )

    def agreement(self, pairs: np.ndarray, least: float = -1.0) -> np.ndarray:
        """(p,) float64 correlation of pairs (p, 2) of the u, in the frame where it is largest; -1 where it is below
        `least` at 16 pixels already."""
        with threadpool_limits(1):  # threads of BLAS wait for those that call it
            return self._agreement(pairs, least)

    def _agreement(self, pairs: np.ndarray, least: float) -> np.ndarray:
        result = np.full(len(pairs), -1.0)
        coarse, inside, mirrored, frames = self._coarse(pairs)
        likely = np.flatnonzero(coarse >= least)
        parts = [likely[start : start + PAIRS] for start in range(0, len(likely), PAIRS)]

        def fit(part: np.ndarray) -> np.ndarray:
            ends = pairs[part]
            whole = np.where(inside[part], ends[:, 0], ends[:, 1])
            other = np.where(inside[part], ends[:, 1], ends[:, 0])
            return self._fine(whole, other, mirrored[part], frames.take(part))

        for part, found in zip(parts, ahead(fit, parts, cores()), strict=True):
            result[part] = found
        return result

    def _coarse(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, Frames]:
        """Of each pair (p, 2) the best correlation, whether the second lies inside the first, or the first inside the
        second, whether mirrored, and the frame."""
        first, second = self._framed(*pairs.T), self._framed(*pairs.T[::-1])
        inside = first[0] >= second[0]
        flip, frame = np.divmod(np.where(inside, first[1], second[1]), len(all_frames().scale))
        return np.maximum(first[0], second[0]), inside, flip == 1, all_frames().take(frame)

    def _framed(self, whole: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(p,) and (p,) `best_frame` of pictures (p,) with others (p,)."""
        order = np.argsort(whole, kind="stable")  # what belongs to a row is computed once, mostly
        size = ROWS if self.elsewhere is None else PAIRS_ELSEWHERE
        parts = [order[start : start + size] for start in range(0, len(order), size)]

        def compare(part: np.ndarray) -> tuple[np.ndarray, ...]:
            known, place = np.unique(whole[part], return_inverse=True)
            arrays = self._grey[known], place, self._grey[other[part]], samplings()
            return best_frame(*arrays, np) if self.elsewhere is None else self.elsewhere(best_frame, *arrays)

        value, frame = np.empty(len(order), np.float32), np.empty(len(order), np.int64)
        for part, found in zip(parts, ahead(compare, parts, cores() if self.elsewhere is None else 0), strict=True):
            value[part], frame[part] = found
        return value, frame

    def _fine(self, whole: np.ndarray, other: np.ndarray, mirrored: np.ndarray, frames: Frames) -> np.ndarray:
        """(p,) correlation, the frames fitted: one of their numbers after the other."""
        side = min(self.pictures.shape[-1], FINE)
        ground, seen = (self._pictures(rows, side) for rows in (whole, other))
        if all((part == part[:, :1]).all() for part in (ground, seen)):  # grey: one channel says what three do
            ground, seen = ground[:, :1], seen[:, :1]
        seen = np.where(mirrored[:, None, None, None], seen[..., ::-1], seen)
        seen = _unit(seen.reshape(*seen.shape[:2], -1))

        def agree(frames: Frames) -> np.ndarray:
            rows, columns = (matrix[:, None] for matrix in frames.sampling(side))
            framed = rows @ ground @ columns.swapaxes(-1, -2)
            return np.einsum("pcq,pcq->p", _unit(framed.reshape(seen.shape)), seen)

        best = agree(frames)
        for name, step in STEPS:
            for sign in (-1, 1):
                tried = frames.moved(name, sign * step)
                value = agree(tried)
                frames = tried.where(value > best, frames)
                best = np.maximum(best, value)
        return best

    def _pictures(self, rows: np.ndarray, side: int) -> np.ndarray:
        """(p, 3, side, side) float32"""
        shrink = pooling(side, self.pictures.shape[-1])
        return shrink @ np.asarray(self.pictures[self.rows[rows]], dtype=np.float32) @ shrink.T


def _unit(values: Any) -> Any:
    """(..., q) without their mean; of norm 1 over all but the first axis where there are three, else over the last."""
    centred = values - values.mean(axis=-1, keepdims=True)
    axes = (1, 2) if values.ndim == 3 else (-1,)
    return centred / ((centred**2).sum(axis=axes, keepdims=True) ** 0.5).clip(1e-6)


def reframed_pairs(overlay: Overlay, neighbors: np.ndarray) -> tuple[np.ndarray, float]:
    """Pairs (p, 2) of the u rows that are crops or mirror images of each other, and up to which distance they count.

    neighbors (u, k) int64: nearest first, -1 where there are fewer.
    """
    u, k = neighbors.shape
    usual = min(USUAL_NEIGHBOR, k - 1)
    sample = np.linspace(0, u - 1, min(u, USUAL_ROWS)).astype(int)
    sample = sample[neighbors[sample, usual] >= 0] if k else sample[:0]
    if not len(sample) or usual < NEIGHBORS:
        return np.zeros((0, 2), np.int64), 0.0
    apart = 1 - overlay.agreement(np.stack([sample, neighbors[sample, usual]], axis=1))
    distance = min(FARTHEST, SHARE * float(np.median(apart)))
    near = neighbors[:, :NEIGHBORS]
    pairs = np.stack([np.repeat(np.arange(u), near.shape[1]), near.ravel()], axis=1)
    pairs = np.unique(np.sort(pairs[pairs[:, 1] >= 0], axis=1), axis=0)
    agreement = overlay.agreement(pairs, least=1 - COARSE_SHARE * distance)
    return pairs[1 - agreement <= distance], distance

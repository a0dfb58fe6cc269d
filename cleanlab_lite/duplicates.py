"""Rows with the same or nearly the same content, and splits that share some.

Three kinds of copies. `exact`: the same bytes. `perceptual`: a picture or sound that was saved again, resized, made
brighter or louder; a hash of 64 low frequencies (Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010) proposes pairs, and their small pictures must correlate. `embedding`: vectors of the user or of a
frozen encoder that lie far nearer to each other than neighbours usually do. The proxies' own features are not searched:
they are learned from the labels, so that rows of a class look alike in them.

What "far nearer" is, is read from the data: two different hand signs before one wall are more alike than two copies of
a landscape in poor quality. Letters: n rows, u unique rows, p pairs, g groups of q values in a small picture.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import digamma

from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.data.sound import RANGE_DB, SIDE
from cleanlab_lite.detectors.neighbors import nearest_neighbors, unit_rows
from cleanlab_lite.progress import OnProgress, Progress, ignore

KINDS = ("exact", "perceptual", "embedding")

# Measured on 25,000 pictures of CIFAR-10 and 2,062 photographs of hands: of copies resized, brighter by a fifth, with
# more contrast or as JPEG of quality 40, at least 98.8 % are found, of quality 20 at least 91.8 %; cropped by 4 % few.
RADIUS = 7  # bits of 64; in one of the bands at most one of them
BANDS, BAND_BITS = 4, 16
SMALL = 16  # pixels of a small picture, or bands of a small spectrogram
FRAMES = 32  # of a small spectrogram
HEARD_DB = 50.0  # below the loudest; what is softer, lossy formats leave out
HEARD_BANDS = SIDE * 3 // 4  # mel bands below half of the highest frequency: a copy at half the rate has no others
FARTHEST, FARTHEST_CLIP = 0.05, 0.025  # 1 - correlation of perceptual copies, at most
PERCEPTUAL_SHARE = 1 / 8  # of the usual distance to the tenth neighbour, at most
USUAL_NEIGHBOR, USUAL_ROWS = 10, 256
SHIFT = 64.0  # grey levels between the means of two copies, at most
FLAT = 2.0  # grey levels; a picture that varies less has no structure to compare
LENGTHS = 1  # patches that two copies of a clip may differ by

NEIGHBORS = 20  # searched for near vectors
EMBEDDING_SHARE = 0.15  # of the distance to the last of them, at most
FALSE_PAIRS = 0.05  # expected among vectors without any copy
ROUNDING = 1e-3  # of a distance that comes from a cosine in float32
EXACT_ROWS = 1_000_000  # vectors up to which every pair is looked at, faiss or not
RECALL_ROWS = 1000  # vectors that the recall of faiss is measured on
BLOCK_VALUES = 100_000_000  # similarities held at a time
CANDIDATES = 1 << 20  # pairs of hashes compared at a time
VERIFIED = 1 << 14  # pairs of pictures compared at a time
PATIENCE = 200  # other pictures that a picture is compared with: in a crowd of like hashes there are thousands
ROWS = 2048  # pictures read at a time
GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Duplicates:
    """Groups of copies. Every array points to the first row of the group, -1 for that row itself and for unique rows.

    A group is the union of pairs; similarity is that of the row and the first one, measured as `kind` says.
    """

    copy_of: np.ndarray  # (n,) int64, of all kinds together
    kind: np.ndarray  # (n,) str, what makes the row a copy, "" where it is none
    similarity: np.ndarray  # (n,) float64, 0..1, NaN where it is none
    by_kind: dict[str, np.ndarray]  # kind -> (n,) int64; `exact` alone, and each other kind with `exact`
    facts: dict[str, Any]  # for the summary, JSON types

    @property
    def near(self) -> np.ndarray:
        """(n,) bool: copies whose bytes are not those of the first row."""
        return np.isin(self.kind, KINDS[1:])

    def reasons(self, labels: np.ndarray, splits: np.ndarray) -> dict[str, np.ndarray]:
        """Reason code -> (n,) bool. labels (n,) int64, -1 where there is none; splits (n,) str, "" where none."""
        group, content = roots(self.copy_of), roots(self.by_kind["exact"])
        _, name = np.unique(splits, return_inverse=True)
        named, labelled = splits != "", labels >= 0
        return {
            "near_duplicate": _differs(group, content, np.ones(len(group), bool)),
            "near_duplicate_conflict": labelled
            & _differs(group, labels, labelled)
            & ~_differs(content, labels, labelled),
            "leakage": named & _differs(group, name, named),
        }

    def leakage(self, splits: np.ndarray) -> list[dict[str, Any]]:
        """What the splits (n,) str share: per pair of them and kind, rows of either with a copy in the other."""
        names = [str(name) for name in np.unique(splits) if name]
        rows = {name: splits == name for name in names}
        content = roots(self.by_kind["exact"])
        found = []
        for a, b in ((a, b) for i, a in enumerate(names) for b in names[i + 1 :]):
            for kind, copies in self.by_kind.items():
                group = roots(copies)
                n_a, n_b = (int(_meets(group, content, rows[x], rows[y], kind).sum()) for x, y in ((a, b), (b, a)))
                if n_a or n_b:
                    found.append(
                        {
                            "split_a": a,
                            "split_b": b,
                            "kind": kind,
                            "rows_a": n_a,
                            "rows_b": n_b,
                            "share_a": n_a / int(rows[a].sum()),
                            "share_b": n_b / int(rows[b].sum()),
                        }
                    )
        return found


def roots(copy_of: np.ndarray) -> np.ndarray:
    """(n,) int64: the first row of every row's group, the row itself where there is none before it."""
    return np.where(copy_of >= 0, copy_of, np.arange(len(copy_of)))


def find_copies(inputs: Inputs, seen: Inputs | None = None, *, on_progress: OnProgress = ignore) -> Duplicates:
    """All copies among the rows: of pictures and clips by their pixels, of vectors by their neighbours.

    Args:
        inputs: what the rows are. Where nothing was decoded, only the same bytes are found.
        seen: what a frozen encoder made of them, searched as well; by default `inputs`.
    """
    n = len(inputs.codes)
    exact = inputs.duplicate_of
    unique = np.flatnonzero(inputs.readable & (exact < 0))
    links = {kind: np.zeros((0, 2), np.int64) for kind in KINDS[1:]}
    measures: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    facts: dict[str, Any] = {}

    def hear(total: int) -> Callable[[int], None]:
        return lambda done: on_progress(Progress("duplicates", done, total, "rows"))

    if inputs.array.ndim == 4:
        looks = small_pictures(inputs.array, unique) if inputs.offsets is None else small_clips(inputs, unique)
        found, facts["perceptual_distance"] = perceptual_pairs(looks, hear(len(unique)))
        links["perceptual"] = unique[found]
        place = np.full(n, -1)
        place[unique] = np.arange(len(unique))
        measures["perceptual"] = lambda pairs: correlation(looks.small, place[pairs])
    vectors = inputs if seen is None else seen
    if vectors.array.ndim == 2 and vectors.array.shape[1]:
        usable = unique[vectors.readable[unique]]
        found, facts["search"] = embedding_pairs(vectors.array[usable], hear(len(usable)))
        links["embedding"] = usable[found]
        measures["embedding"] = lambda pairs: 1 - chord(vectors.array, pairs) ** 2 / 2

    tied = np.flatnonzero(exact >= 0)
    same = np.stack([exact[tied], tied], axis=1)
    by_kind = {"exact": exact}
    by_kind |= {kind: group_pairs(n, np.concatenate([same, links[kind]])) for kind in measures}
    copy_of = group_pairs(n, np.concatenate([same, *links.values()]))
    kind, similarity = _describe(copy_of, by_kind, links, measures)
    counts = {name: int((kind == name).sum()) for name in KINDS}
    return Duplicates(copy_of, kind, similarity, by_kind, {"rows": counts, **facts})


def _describe(
    copy_of: np.ndarray,
    by_kind: dict[str, np.ndarray],
    links: dict[str, np.ndarray],
    measures: dict[str, Callable[[np.ndarray], np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Kind and similarity of every copy. What ties a row to the first one comes before what ties it to any other."""
    kind, similarity = np.full(len(copy_of), "", dtype="U10"), np.full(len(copy_of), np.nan)
    left = copy_of >= 0
    same = left & (by_kind["exact"] == copy_of)
    kind[same], similarity[same] = "exact", 1.0
    content = roots(by_kind["exact"])
    for direct in (True, False):
        for name, measure in measures.items():
            tied = (by_kind[name] == copy_of) if direct else np.isin(content, content[links[name]])
            rows = np.flatnonzero(left & (kind == "") & tied)
            kind[rows] = name
            pairs = content[np.stack([copy_of[rows], rows], axis=1)]  # only unique rows have been looked at
            similarity[rows] = np.clip(measure(pairs), 0, 1)
    return kind, similarity


def group_pairs(n: int, pairs: np.ndarray) -> np.ndarray:
    """(n,) int64: the first row of the group that pairs (p, 2) unite, -1 for that row itself and for unique rows."""
    _, group = connected_components(coo_matrix((np.ones(len(pairs), bool), pairs.T), shape=(n, n)), directed=False)
    _, first = np.unique(group, return_index=True)
    return np.where(first[group] == np.arange(n), -1, first[group])


def _differs(group: np.ndarray, values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(n,) bool: rows in whose group the counted rows have more than one of the `values` (n,) int64."""
    largest = np.full(len(group), np.iinfo(np.int64).min)
    smallest = np.full(len(group), np.iinfo(np.int64).max)
    np.maximum.at(largest, group[counted], values[counted])
    np.minimum.at(smallest, group[counted], values[counted])
    return largest[group] > smallest[group]


def _meets(group: np.ndarray, content: np.ndarray, own: np.ndarray, other: np.ndarray, kind: str) -> np.ndarray:
    """(n,) bool: `own` rows with a copy among `other` rows; but for kind `exact`, one of another content."""
    n = len(group)
    there = np.bincount(group[other], minlength=n)[group]
    same = 0 if kind == "exact" else np.bincount(content[other], minlength=n)[content]
    return own & (there > same)


# --- Perceptual -------------------------------------------------------------------------------------------------------


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
    shrink = _pooling(SMALL, array.shape[-1])
    small = np.empty((len(rows), 3, SMALL * SMALL), np.uint8)
    for start in range(0, len(rows), ROWS):
        block = np.asarray(array[rows[start : start + ROWS]], dtype=np.float32)
        small[start : start + ROWS] = np.rint(shrink @ block @ shrink.T).reshape(-1, 3, SMALL * SMALL)
    grey = (GREY[:, None] * small[start : start + ROWS] for start in range(0, len(rows), ROWS))
    hashes = [_hash(block.sum(axis=1).reshape(-1, SMALL, SMALL), slice(1, 9)) for block in grey]
    nothing = np.zeros(len(rows), np.int64)
    return Looks(small, np.concatenate([np.zeros(0, np.uint64), *hashes]), nothing, nothing.astype(bool), FARTHEST)


def small_clips(inputs: Inputs, rows: np.ndarray) -> Looks:
    """Of the clips `rows` (u,): their spectrograms as a whole, so that steady noises differ by when they swell."""
    assert inputs.offsets is not None
    bands = _pooling(SMALL, HEARD_BANDS)
    floor = 255 * (1 - HEARD_DB / RANGE_DB)
    small = np.empty((len(rows), SMALL, FRAMES), np.uint8)
    for place, row in enumerate(rows):
        heard = np.maximum(_spectrogram(inputs.array[inputs.offsets[row] : inputs.offsets[row + 1]]), floor)
        small[place] = np.rint(bands @ heard[:HEARD_BANDS] @ _pooling(FRAMES, heard.shape[1]).T)
    centred = small - small.mean(axis=2, keepdims=True, dtype=np.float32)
    mute = inputs.notes["silent"][rows] if "silent" in inputs.notes else np.zeros(len(rows), bool)
    mute |= (small == small.min(axis=(1, 2), keepdims=True)).all(axis=(1, 2))
    return Looks(small, _hash(centred, slice(0, 8)), np.diff(inputs.offsets)[rows], mute, FARTHEST_CLIP)


def _spectrogram(patches: np.ndarray) -> np.ndarray:
    """(SIDE, t) float32 of the overlapping patches (p, 1, SIDE, SIDE) of a clip: the middle of each, and both ends."""
    quarter = SIDE // 4
    middle = patches[:, 0, :, quarter:-quarter].swapaxes(0, 1).reshape(SIDE, -1)
    return np.concatenate([patches[0, 0, :, :quarter], middle, patches[-1, 0, :, -quarter:]], axis=1).astype(np.float32)


def _pooling(k: int, s: int) -> np.ndarray:
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

    Not all pairs: what earlier ones have united is not looked at again. Where most pictures have ten copies and more,
    these are what is usual, and none is found.
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
    result = np.empty(len(small), np.float32)
    for start in range(0, len(small), ROWS):
        result[start : start + ROWS] = np.sqrt(np.square(_centred(small[start : start + ROWS])).mean(axis=1))
    return result


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
    """Median of 1 - correlation to the tenth nearest of all small pictures (u, g, q), of a sample; inf for a few."""
    u = len(small)
    if u <= USUAL_NEIGHBOR:
        return np.inf
    sample = unit_rows(_centred(small[np.linspace(0, u - 1, min(u, USUAL_ROWS)).astype(int)]))
    best = np.zeros((len(sample), 0), np.float32)
    for start in range(0, u, ROWS):
        best = np.concatenate([best, sample @ unit_rows(_centred(small[start : start + ROWS])).T], axis=1)
        best = -np.partition(-best, min(USUAL_NEIGHBOR, best.shape[1] - 1), axis=1)[:, : USUAL_NEIGHBOR + 1]
    return max(0.0, float(np.median(1 - best.min(axis=1))))


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


# --- Embeddings -------------------------------------------------------------------------------------------------------


def embedding_pairs(
    vectors: np.ndarray, on_rows: Callable[[int], None] = lambda _: None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Pairs (p, 2) of vectors (u, d) that are far nearer than neighbours usually are, and how they were searched.

    Distances are those of directions. A pair is nearer than EMBEDDING_SHARE of the distance to the twentieth neighbour
    of either, and so near that chance has less than FALSE_PAIRS such pairs: with m dimensions, by which neighbours
    spread, the share of distances below r times the twentieth grows as r^m (m: Levina and Bickel, NeurIPS 2004).
    Where all twenty are that near, the usual distance of the set is taken instead: there are more copies than that.
    """
    u = len(vectors)
    k = min(NEIGHBORS, u - 1)
    if k < 1:
        return np.zeros((0, 2), np.int64), {"method": "exact", "recall": None}
    largest = np.abs(vectors).max(axis=1, keepdims=True).astype(np.float32)
    vectors = vectors / np.maximum(largest, np.finfo(np.float32).tiny)  # or squares of huge values overflow
    neighbors, cosines, search = _search(vectors, k, on_rows)
    distance = np.sqrt(np.maximum(2 - 2 * np.nan_to_num(cosines, nan=-1.0).astype(np.float64), 0))  # (u, k)
    width = distance[:, -1]
    usual = float(np.median(width))
    share = min(EMBEDDING_SHARE, (FALSE_PAIRS / (u * max(k - 1, 1))) ** (1 / _dimensions(distance)))
    reference = np.where(width < share * usual, usual, width)
    left, place = np.nonzero((neighbors >= 0) & (distance <= share * reference[:, None] + ROUNDING))
    pairs = np.stack([left, neighbors[left, place]], axis=1)
    near = chord(vectors, pairs) < share * reference[pairs].min(axis=1)
    return pairs[near], search | {"share": share}


def _dimensions(distance: np.ndarray) -> float:
    """By how many dimensions neighbours spread, from their distances (u, k), nearest first: median of the rows."""
    k = distance.shape[1]
    outer = np.arange(k // 4, k - 1)  # the nearest may be copies
    if not len(outer):
        return 1.0
    logs = np.log(np.maximum(distance[:, -1:], 1e-9) / np.maximum(distance[:, outer], 1e-9)).mean(axis=1)
    in_one_dimension = float((digamma(k) - digamma(outer + 1)).mean())
    return in_one_dimension / max(float(np.median(logs)), 1e-3)


def chord(vectors: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(p,) float64 distance between the directions of pairs (p, 2) of vectors (u, d): sqrt(2 - 2 cosine)."""
    result = np.empty(len(pairs))
    for start in range(0, len(pairs), ROWS):
        a, b = (vectors[pairs[start : start + ROWS, side]].astype(np.float64) for side in (0, 1))
        a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-300)
        b /= np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-300)
        result[start : start + ROWS] = np.linalg.norm(a - b, axis=1)
    return result


def _search(
    vectors: np.ndarray, k: int, on_rows: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """`nearest_neighbors`, or above EXACT_ROWS what faiss finds instead where it is installed, and its recall."""
    on_rows(0)
    u = len(vectors)
    if u <= EXACT_ROWS or importlib.util.find_spec("faiss") is None:
        block = max(1, min(2000, BLOCK_VALUES // u))
        neighbors, cosines = nearest_neighbors(vectors, k, block, on_rows=on_rows)
        return neighbors, cosines, {"method": "exact", "recall": None}
    import faiss

    rows = unit_rows(vectors)
    cells = int(4 * np.sqrt(u))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(rows.shape[1]), rows.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.train(rows[np.linspace(0, u - 1, min(u, 64 * cells)).astype(int)])
    index.add(rows)
    index.nprobe = max(1, cells // 64)
    neighbors = np.full((u, k), -1, np.int64)
    cosines = np.full((u, k), np.nan, np.float32)
    for start in range(0, u, ROWS):
        stop = min(start + ROWS, u)
        found, numbers = index.search(rows[start:stop], k + 1)
        neighbors[start:stop], cosines[start:stop] = _without_self(np.arange(start, stop), numbers, found)
        on_rows(stop)
    return neighbors, cosines, {"method": "faiss", "recall": _recall(rows, neighbors)}


def _without_self(own: np.ndarray, numbers: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (b, k + 1) without the row itself, or the last where it is not among them: both (b, k)."""
    keep = numbers != own[:, None]
    keep[keep.all(axis=1), -1] = False
    k = numbers.shape[1] - 1
    numbers, found = numbers[keep].reshape(-1, k), found[keep].reshape(-1, k)
    return numbers, np.where(numbers >= 0, found, np.nan)


def _recall(rows: np.ndarray, neighbors: np.ndarray) -> float:
    """Share of the true nearest rows among `neighbors` (u, k), on a sample."""
    u, k = neighbors.shape
    sample = np.linspace(0, u - 1, min(u, RECALL_ROWS)).astype(int)
    hits, step = 0, max(1, BLOCK_VALUES // u)
    for start in range(0, len(sample), step):
        part = sample[start : start + step]
        cosines = rows[part] @ rows.T
        cosines[np.arange(len(part)), part] = -np.inf
        true = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        hits += sum(len(np.intersect1d(a, b)) for a, b in zip(true, neighbors[part], strict=True))
    return hits / (len(sample) * k)

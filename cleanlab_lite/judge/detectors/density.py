"""Density within the given class: rare rows lie far from most of their class (Guo et al., CurriculumNet, ECCV 2018).

Per class, of m rows with Euclidean distances D (m, m):

    d_c = the entry of rank int(0.6 m^2) of all of D sorted, 60 % of the pairs are near
    density_i = #{j != i: D_ij < d_c}
    three clusters of the densities: easy, semi-hard, hard

The paper reduces features to 256 dimensions and clusters by k-means from a random start; distances cost no more here
without that, and the clusters of numbers on a line are found exactly. Density says how unusual a row is for its label:
a rare kind of the class is as thin as a wrong label, so do not drop rows on it alone.
"""

from __future__ import annotations

import numpy as np

from cleanlab_lite.arrays import unit_rows
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection

NEAR = 0.6  # share of the pairs that are near
BLOCK = 10_000
EASY, SEMI_HARD, HARD = 0, 1, 2


@DETECTORS.register(
    "density",
    summary="how many rows of the given class are near; thin regions are hard",
    paper="Guo et al. (CurriculumNet), ECCV 2018",
    needs=("features",),
)
def density(evidence: Evidence, *, sample: int = 1280, seed: int = 0) -> Detection:
    """The score is the share of the given class that is near; `sample` rows stand for a larger class."""
    share, subset = class_densities(unit_rows(evidence.need("features")), evidence.labels, sample=sample, seed=seed)
    sizes = np.bincount(subset, minlength=3)
    return Detection(
        score=share,
        reasons={"thin_region": subset == HARD},
        facts={"easy": int(sizes[EASY]), "semi_hard": int(sizes[SEMI_HARD]), "hard": int(sizes[HARD])},
    )


def class_densities(
    features: np.ndarray, labels: np.ndarray, *, sample: int = 1280, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Share of the class that is near (n,), 0..1, and EASY, SEMI_HARD or HARD (n,), of features (n, d)."""
    rng = np.random.default_rng(seed)
    share, subset = np.zeros(len(labels)), np.zeros(len(labels), dtype=np.int64)
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        drawn = np.arange(len(members))
        if len(members) > sample:
            drawn = np.sort(rng.choice(len(members), sample, replace=False))
        count = densities(features[members], drawn)
        share[members] = count / max(len(drawn) - 1, 1)
        subset[members] = HARD - three_clusters(count)
    return share, subset


def densities(features: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(m,) int number of the rows `drawn` (s,), the row itself left out, near each row of features (m, d)."""
    rows = (features - features.mean(axis=0)).astype(np.float32)
    pool = rows[drawn]
    squares = (pool**2).sum(axis=1)
    position = np.full(len(rows), -1)
    position[drawn] = np.arange(len(drawn))

    def distances(start: int, stop: int) -> np.ndarray:
        """(stop - start, s) squared."""
        block, own = rows[start:stop], position[start:stop]
        result = np.maximum((block**2).sum(axis=1)[:, None] + squares - 2 * block @ pool.T, 0)
        result[np.flatnonzero(own >= 0), own[own >= 0]] = 0  # exact, whatever rounding made of it
        return result

    among = (pool**2).sum(axis=1)[:, None] + squares - 2 * pool @ pool.T
    np.fill_diagonal(among, 0)
    cut = np.partition(np.maximum(among, 0).ravel(), int(NEAR * among.size))[int(NEAR * among.size)]
    near = [(distances(i, i + BLOCK) < cut).sum(axis=1) for i in range(0, len(rows), BLOCK)]
    return np.concatenate(near) - (position >= 0) * bool(cut > 0)


def three_clusters(values: np.ndarray) -> np.ndarray:
    """(m,) 0, 1 or 2 in rising order: the three clusters of values (m,) with the least sum of squares; exact.

    All 2 where there are fewer than three distinct values. Quadratic in the number of those.
    """
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    m = len(distinct)
    if m < 3:
        return np.full(len(values), 2)
    x = distinct - values.mean()
    moments = np.concatenate([np.zeros((3, 1)), np.cumsum([counts, counts * x, counts * x**2], axis=1)], axis=1)

    def cost(first: np.ndarray | int, end: np.ndarray | int) -> np.ndarray:
        """Sums of squares about the means of distinct[first:end]."""
        weight, total, square = moments[:, np.atleast_1d(end)] - moments[:, np.atleast_1d(first)]
        return square - total**2 / weight

    best, cuts = np.inf, (1, 2)
    for second in range(2, m):
        firsts = np.arange(1, second)
        whole = cost(0, firsts) + cost(firsts, second) + cost(second, m)
        if whole.min() < best:
            best, cuts = whole.min(), (int(firsts[whole.argmin()]), second)
    return np.digitize(inverse.reshape(-1), cuts)

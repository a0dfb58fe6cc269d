"""Density-peak prototypes: a few typical rows per class, and the class whose prototypes a row resembles most.

Han, Luo and Wang, "Deep self-learning from noisy labels", ICCV 2019. Per class, of m rows drawn at random with
cosine similarities S (m, m):

    rho_i = sum_j sign(S_ij - S_c), S_c the 60th percentile of S        density
    eta_i = max of S_ij over denser j; min_j S_ij for the densest       similarity to a denser mode
    prototypes: of the rows with eta < 0.95, the p with the largest rho

Class similarity is the mean cosine similarity to the prototypes, which is the dot product with their mean.
"""

from __future__ import annotations

import numpy as np

from cleanlab_lite.arrays import largest_other, unit_rows
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection
from cleanlab_lite.matrices import Matrix
from cleanlab_lite.workers import ahead, cores

SMALL_CLASS = 20  # below it there is no density to speak of, and the class mean is the prototype
MIN_TRUSTED = 50  # with fewer trusted rows in a class, all of its rows are drawn from
CUT = 0.6  # quantile of the similarities from which two rows are near each other
MOST_ALIKE = 0.95  # similarity of a prototype to a denser row, from which it is no other
BLOCK = 10_000


@DETECTORS.register(
    "prototypes",
    summary="cosine similarity to density-peak prototypes of each class",
    paper="Han, Luo and Wang, ICCV 2019",
    needs=("features",),
    runs=True,
    given=("trust", "seed"),
)
def prototype_similarity(
    evidence: Evidence,
    *,
    prototypes: int = 8,
    sample: int = 1280,
    trust: np.ndarray | None = None,
    seed: int = 0,
) -> Detection:
    """`prototypes` (p) per class from `sample` (m) rows. trust (n,) in 0..1: rows at 0.5 or less are not drawn."""
    features, labels, num_classes = evidence.need("features"), evidence.labels, evidence.num_classes
    rng = np.random.default_rng(seed)
    centers = class_centers(features, labels, num_classes, rng, prototypes=prototypes, sample=sample, trust=trust)
    sizes = np.bincount(labels, minlength=num_classes)
    small = sizes < SMALL_CLASS
    totals = np.zeros_like(centers)
    rare = np.flatnonzero(small[labels])
    for some in np.split(rare, range(BLOCK, len(rare), BLOCK)):
        np.add.at(totals, labels[some], unit_rows(features[some]))

    n = len(labels)
    given, rival = np.empty(n), np.empty(n)
    suggestion = np.empty(n, dtype=np.int64)
    for start in range(0, n, BLOCK):
        block, own = unit_rows(features[start : start + BLOCK]), labels[start : start + BLOCK]
        similarity = block @ centers.T
        similarity[:, sizes == 0] = -np.inf
        alone = np.flatnonzero(small[own])  # a mean of few rows would resemble each of them: leave the row out
        without = unit_rows(totals[own[alone]] - block[alone])
        similarity[alone, own[alone]] = np.where(sizes[own[alone]] > 1, (without * block[alone]).sum(axis=1), 0)
        part = slice(start, start + len(block))
        suggestion[part] = similarity.argmax(axis=1)
        given[part] = similarity[np.arange(len(block)), own]
        rival[part] = largest_other(similarity, own)
    several = np.count_nonzero(sizes) > 1
    return Detection(
        score=given - rival if several else np.full(n, np.nan),
        columns={
            "prototype_label": suggestion,
            "prototype_similarity_given": given,
            "prototype_similarity_suggested": np.where(suggestion == labels, given, rival),
        },
        reasons={"prototypes_disagree": suggestion != labels},
    )


def class_centers(
    features: Matrix,
    labels: np.ndarray,
    num_classes: int,
    rng: np.random.Generator,
    *,
    prototypes: int = 8,
    sample: int = 1280,
    trust: np.ndarray | None = None,
) -> np.ndarray:
    """(k, d) float32 mean of each class's prototypes, features (n, d) of length 1; zeros for a class without rows.

    The dot product with it is the mean cosine similarity to the prototypes.
    """
    centers = np.zeros((num_classes, features.shape[1]), dtype=np.float32)
    sizes = np.bincount(labels, minlength=num_classes)
    drawn = []
    for members in np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1]):
        trusted = members if trust is None else members[trust[members] > 0.5]
        several = trusted if len(trusted) >= MIN_TRUSTED else members
        if len(members) < SMALL_CLASS:
            drawn.append(members)
        else:
            drawn.append(rng.choice(several, sample, replace=False) if len(several) > sample else several)

    def center(c: int) -> np.ndarray:
        rows = unit_rows(features[drawn[c]])
        peaks = density_peaks(rows @ rows.T, prototypes) if sizes[c] >= SMALL_CLASS else ()
        return rows[peaks].mean(axis=0) if len(peaks) else unit_rows(rows.sum(axis=0)[None])[0]

    for c, found in enumerate(ahead(center, range(num_classes), cores())):
        centers[c] = found
    return centers


def density_peaks(similarity: np.ndarray, prototypes: int) -> np.ndarray:
    """Indices of at most `prototypes` rows of similarity (m, m), densest first; fewer rather than near-duplicates."""
    _, eta, order = density_and_eta(similarity)
    return order[eta[order] < MOST_ALIKE][:prototypes]


def density_and_eta(similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rho (m,) int, eta (m,), and the rows in order of falling density, of similarity (m, m).

    Equal densities are ordered by total similarity, then by index, so that just one row is the densest.
    """
    m = len(similarity)
    cut = np.quantile(similarity[~np.eye(m, dtype=bool)], CUT)
    rho = np.sign(similarity - cut).sum(axis=1, dtype=np.int64)
    order = np.lexsort((np.arange(m), -similarity.sum(axis=1, dtype=np.float64), -rho))
    ordered = similarity[np.ix_(order, order)]
    eta = np.empty(m, dtype=similarity.dtype)
    eta[order] = np.where(np.tri(m, k=-1, dtype=bool), ordered, -np.inf).max(axis=1)
    eta[order[0]] = similarity[order[0]].min()
    return rho, eta, order

"""Neighbours' soft labels, judged by vote or by rank with an estimated transition matrix.

Zhu, Dong and Liu, "Detecting corrupted labels without training a model to predict", ICML 2022 (SimiFeat); the
transition matrix after Zhu, Song and Liu, "Clusterability as an alternative to anchor points", ICML 2021 (HOC).

Soft label: the k nearest rows, the row itself among them, add their similarity to their classes; the class sums are
brought to length 1. Vote: wrong where another class leads. Rank: in every class the rows with the least support of
their own label, as many as the transition matrix says are wrong.

HOC assumes that a row and its two nearest neighbours share their true class and that their three labels err
independently. It matches the moments of such triples by gradient descent; here the same model is fitted by maximum
likelihood with EM, which needs no step size and never more than n x k numbers. Where neighbours share their errors,
as people's do, the noise is estimated too low: hence the vote is the default.
"""

from __future__ import annotations

import numpy as np

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection
from cleanlab_lite.judge.neighbors import nearest_neighbors

METHODS = ("vote", "rank")
DIAGONAL = 0.8  # of the transition matrix EM starts from
MOST_FLAGGED = 0.95  # share of a class


@DETECTORS.register(
    "simifeat",
    summary="soft labels of the nearest rows, by vote or by rank; transition matrix",
    paper="Zhu, Dong and Liu, ICML 2022",
    needs=("features",),
)
def simifeat(
    evidence: Evidence, *, k: int = 10, method: str = "vote", max_triples: int = 15_000, seed: int = 0
) -> Detection:
    """k counts the row itself. The transition matrix is estimated from at most `max_triples` rows, drawn with `seed`.

    Raises ConfigError for an unknown method.
    """
    if method not in METHODS:
        raise ConfigError(f"detector simifeat: method is {method!r}, must be vote or rank")
    labels, classes = evidence.labels, evidence.num_classes
    n = len(labels)
    nearest, similarity = nearest_neighbors(evidence.need("features"), max(k - 1, 2))
    soft = soft_labels(labels, nearest[:, : k - 1], similarity[:, : k - 1], classes)
    own = soft[np.arange(n), labels]

    triples = np.column_stack([labels, labels[nearest[:, :2]]])[(nearest[:, :2] >= 0).all(axis=1)]
    if len(triples) > max_triples:
        triples = triples[np.random.default_rng(seed).choice(len(triples), max_triples, replace=False)]
    transition, prior = transition_matrix(triples, classes)
    right = np.diag(transition) * prior / np.maximum(prior @ transition, 1e-12)  # P(true = j | given = j)
    if method == "vote":
        flagged = soft.argmax(axis=1) != labels
    else:
        flagged = lowest_of_each_class(own, labels, np.clip(1 - right, 0, MOST_FLAGGED))
    return Detection(
        score=np.log(own.astype(np.float64) + 1e-8),
        reasons={"neighbours_unlike": flagged},
        facts={"right_by_class": [round(float(share), 6) for share in right], "method": method},
    )


def soft_labels(labels: np.ndarray, nearest: np.ndarray, similarity: np.ndarray, num_classes: int) -> np.ndarray:
    """(n, num_classes) sums of cosine similarity by class over `nearest` (n, k - 1) and the row itself, of length 1.

    The row itself is as far as the line through its first two neighbours says: 2 d_1 - d_2, not 0, lest it outvote
    them. Neighbours that do not exist have index -1.
    """
    n = len(labels)
    there = nearest >= 0
    weight = np.where(there, np.maximum(similarity, 0), 0)
    self_weight = np.ones(n, dtype=np.float32)
    if nearest.shape[1] >= 2:
        both = there[:, 1]
        self_weight[both] = np.maximum(2 * similarity[both, 0] - similarity[both, 1], 0)
    soft = np.zeros((n, num_classes), dtype=np.float32)
    soft[np.arange(n), labels] = self_weight
    np.add.at(soft, (np.arange(n)[:, None], labels[nearest]), weight)
    return soft / np.maximum(np.linalg.norm(soft, axis=1, keepdims=True), 1e-12)


def transition_matrix(
    triples: np.ndarray, num_classes: int, weights: np.ndarray | None = None, *, rounds: int = 500, tol: float = 1e-7
) -> tuple[np.ndarray, np.ndarray]:
    """T (k, k), T[i, j] = P(given j | true i), and the prior (k,) of the true classes, by EM.

    triples: (t, 3) int64, labels that are thought to have one true class and to err independently; weights: (t,).
    """
    weights = np.ones(len(triples)) if weights is None else weights
    triples, index = np.unique(np.sort(triples, axis=1), axis=0, return_inverse=True)  # their order says nothing
    weights = np.bincount(index.ravel(), weights, minlength=len(triples))
    transition = np.full((num_classes, num_classes), (1 - DIAGONAL) / max(num_classes - 1, 1))
    np.fill_diagonal(transition, DIAGONAL)
    prior = np.full(num_classes, 1 / num_classes)
    for _ in range(rounds if len(triples) else 0):
        joint = prior * transition[:, triples].prod(axis=2).T  # (t, k)
        share = joint * (weights / np.maximum(joint.sum(axis=1), 1e-300))[:, None]
        new = np.full_like(transition, 1e-12)
        for column in triples.T:
            np.add.at(new.T, column, share)
        new /= new.sum(axis=1, keepdims=True)
        prior = share.sum(axis=0) / share.sum()
        change = np.abs(new - transition).max()
        transition = new
        if change < tol:
            break
    return transition, prior


def lowest_of_each_class(values: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(n,) bool: in class j the `shares[j]` of the rows with the lowest values; of rows tied at the end none."""
    lowest = np.zeros(len(values), dtype=bool)
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        count = round(shares[c] * len(members))
        lowest[members] = values[members] < np.sort(values[members])[min(count, len(members) - 1)]
    return lowest

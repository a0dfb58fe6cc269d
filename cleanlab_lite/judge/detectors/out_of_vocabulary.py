"""How unlike every class of the vocabulary a row is. It ranks rows that should be dropped, not relabelled.

Four signs, each in 0..1, averaged:
- distance: k-NN cosine distance, as percentile among trusted rows that are predicted in the same class
  (Kuan and Mueller, "Back to the basics: revisiting out-of-distribution detection baselines", 2022);
- entropy: collision entropy of (p + onehot(given)) / 2 beyond ln 2, the value of a confident other class
  (Albert et al., DSOS, WACV 2022);
- doubt: 1 - max p, scaled so that the uniform distribution has 1 (Hendrycks and Gimpel, ICLR 2017);
- contest: the same among the classes other than the given one, in the mean of all proxies: a mislabelled row has one
  that stands out.

Says nothing about wrong labels within the vocabulary: those have low entropy, near neighbours and no doubt.
"""

from __future__ import annotations

import math

import numpy as np

from cleanlab_lite.arrays import rows_by
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection
from cleanlab_lite.judge.neighbors import Search, neighbors_in_blocks
from cleanlab_lite.matrices import Softmax, per_row, predictions

MIN_TRUSTED = 50  # with fewer trusted rows all rows are the reference


@DETECTORS.register(
    "ood",
    summary="distance to the data, collision entropy, doubt and contest: rows of no class",
    paper="Albert et al. (DSOS), WACV 2022; Kuan and Mueller, 2022",
    needs=("features", "pred_probs"),
    runs=True,
    given=("trust", "seed", "search"),
)
def out_of_vocabulary(
    evidence: Evidence,
    *,
    k: int = 10,
    trust: np.ndarray | None = None,
    max_pool: int = 20_000,
    seed: int = 0,
    search: Search | None = None,
) -> Detection:
    """trust (n,) in 0..1: the reference is rows above 0.5, at most `max_pool` of them, drawn with `seed`."""
    features, pred_probs, labels = evidence.need("features"), evidence.need("pred_probs"), evidence.labels
    n, num_classes = len(labels), evidence.num_classes
    reference = np.arange(n) if trust is None else np.flatnonzero(trust > 0.5)
    reference = reference if len(reference) >= MIN_TRUSTED else np.arange(n)
    if len(reference) > max_pool:
        reference = np.sort(np.random.default_rng(seed).choice(reference, max_pool, replace=False))

    distance = np.ones(n)
    for rows, _, similarity in neighbors_in_blocks(features, k, among=reference, search=search):
        found = np.isfinite(similarity)
        distance[rows] = 1 - np.where(found, similarity, 0).sum(axis=1) / np.maximum(found.sum(axis=1), 1)
    far = percentile_within(distance, predictions(pred_probs), reference)
    entropy = per_row(lambda block, own: collision_entropy(own, block), pred_probs, labels)
    most = math.log(4 * (num_classes - 1) / num_classes) if num_classes > 1 else 0.0  # uniform over the other classes
    spread = np.clip((entropy - math.log(2)) / max(most - math.log(2), 1e-9), 0, 1) if num_classes > 2 else 0.0
    others = pred_probs if evidence.logits is None else Softmax(evidence.logits)
    rivalry = per_row(lambda block, own: contest(own, block), others, labels)
    largest = per_row(lambda block: block.max(axis=1), pred_probs)
    doubt = (1 - largest.astype(np.float64)) / max(1 - 1 / num_classes, 1e-9)
    ood = np.clip((far + spread + doubt + rivalry) / 4, 0, 1)
    return Detection(score=1 - ood, columns={"ood_score": ood}, facts={"reference_rows": len(reference)})


def collision_entropy(labels: np.ndarray, pred_probs: np.ndarray) -> np.ndarray:
    """(n,) -ln sum_k ((p_k + y_k) / 2)^2: 0 is agreement, ln 2 confidently another class, above it diffuse."""
    own = pred_probs[np.arange(len(labels)), labels].astype(np.float64)
    squares = np.einsum("nk,nk->n", pred_probs, pred_probs, dtype=np.float64)
    return -np.log((squares + 2 * own + 1) / 4)


def contest(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """(n,) 0..1: 1 - the largest of the probabilities (n, k) without the given class, 1 where all others are alike.

    0 where there are only two classes.
    """
    k = probs.shape[1]
    if k < 3:
        return np.zeros(len(labels))
    rest = probs.astype(np.float64)
    rest[np.arange(len(labels)), labels] = 0
    largest = rest.max(axis=1) / np.maximum(rest.sum(axis=1), 1e-12)
    return np.clip((1 - largest) / (1 - 1 / (k - 1)), 0, 1)


def percentile_within(values: np.ndarray, groups: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(n,) share, 0..1, of the reference rows of the same group with a smaller value, ties by half.

    A group with fewer than 20 reference rows is compared with all of them.
    """
    result = np.empty(len(values))
    of_all = np.sort(values[reference])
    peers = {groups[part[0]]: part for part in (reference[place] for place in rows_by(groups[reference]))}
    for rows in rows_by(groups):
        own = peers.get(groups[rows[0]], ())
        ordered = np.sort(values[own]) if len(own) >= 20 else of_all
        below = np.searchsorted(ordered, values[rows], "left") + np.searchsorted(ordered, values[rows], "right")
        result[rows] = below / (2 * max(len(ordered), 1))
    return result

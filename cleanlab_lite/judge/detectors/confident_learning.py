"""Confident learning: count which class each row confidently belongs to, and prune what the counts call wrong.

Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 2021.
Names and conventions are those of cleanlab 2, the numbers agree with it.

    t_j = mean of p_j over rows labelled j;  guess_i = argmax p over {j: p_ij >= t_j};  J[given, guess] += 1

Probabilities must come from models that did not train on the row. On human errors the joint counts too few
(its rate is biased low); the log-margin is the best single ranking there, so it is the score.

Shapes: labels (n,) int in 0..k-1, pred_probs (n, k) rows summing to 1, joint (k, k) [given, true].
"""

from __future__ import annotations

import math

import numpy as np

from cleanlab_lite.arrays import largest_other
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection
from cleanlab_lite.matrices import Logarithm, Matrix, per_row, predictions

FILTERS = (
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)
SLACK = 1e-6  # probabilities this close count as equal


@DETECTORS.register(
    "confident_learning",
    summary="log-margin of out-of-sample probabilities; off-diagonal of the confident joint",
    paper="Northcutt, Jiang and Chuang, JAIR 2021",
    needs=("pred_probs",),
    runs=True,
)
def confident_learning(evidence: Evidence, *, filter_by: str = "confident_learning") -> Detection:
    """`filter_by`, one of FILTERS, decides `confident_joint_flag`."""
    labels, pred_probs = evidence.labels, evidence.need("pred_probs")
    flag = find_label_issues(labels, pred_probs, filter_by=filter_by)
    calibrated = calibrate_joint(confident_joint(labels, pred_probs)[0], labels)
    return Detection(
        score=log_margin(labels, Logarithm(pred_probs, least=float(np.finfo(np.float32).tiny))),
        columns={"confident_joint_flag": flag},
        reasons={"confident_joint": flag},
        facts={
            "noise_rate": float(1 - np.trace(calibrated) / max(calibrated.sum(), 1)),
            "label_issues": int(flag.sum()),
        },
    )


def confident_thresholds(labels: np.ndarray, pred_probs: Matrix) -> np.ndarray:
    """(k,) mean probability of each class over the rows that carry it; 2 for a class that none carries."""
    k = pred_probs.shape[1]
    counts = np.bincount(labels, minlength=k)
    sums = np.bincount(labels, weights=self_confidence(labels, pred_probs), minlength=k)
    return np.where(counts > 0, np.maximum(sums / np.maximum(counts, 1), 2 * SLACK), 2.0)


def confident_joint(labels: np.ndarray, pred_probs: Matrix) -> tuple[np.ndarray, np.ndarray]:
    """(k, k) int64 counts [given, guess] with a diagonal of at least 1, and the guess of each row (n,), -1 for none."""
    k = pred_probs.shape[1]
    thresholds = confident_thresholds(labels, pred_probs) - SLACK

    def guesses(block: np.ndarray) -> np.ndarray:
        confident = block >= thresholds
        candidates = confident.sum(axis=1)
        guess = np.where(candidates > 1, block.argmax(axis=1), confident.argmax(axis=1))
        return np.where(candidates > 0, guess, -1)

    guess = per_row(guesses, pred_probs)
    counted = guess >= 0
    joint = np.bincount(labels[counted] * k + guess[counted], minlength=k * k).reshape(k, k)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    return joint, guess


def calibrate_joint(joint: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(k, k) int64: each row of the joint scaled to the number of rows that carry its label."""
    given = np.bincount(labels, minlength=len(joint))
    scaled = joint / np.maximum(joint.sum(axis=1), 1)[:, None] * given[:, None]
    return _round_rows(scaled / max(scaled.sum(), 1) * given.sum())


def find_label_issues(
    labels: np.ndarray,
    pred_probs: Matrix,
    filter_by: str = "prune_by_noise_rate",
    *,
    frac_noise: float = 1.0,
    min_examples_per_class: int = 1,
) -> np.ndarray:
    """(n,) bool, rows that the filter calls mislabelled. Raises ConfigError for a filter not in FILTERS.

    Except for the low_* filters no row is flagged whose most probable class is the given one. `frac_noise`
    scales the number of rows pruned, and `min_examples_per_class` survive per class, for the prune_* filters.
    """
    if filter_by not in FILTERS:
        raise ConfigError(f"unknown filter {filter_by!r}", hint=f"known: {', '.join(FILTERS)}")
    joint, guess = confident_joint(labels, pred_probs)
    own = self_confidence(labels, pred_probs)
    agrees = predictions(pred_probs) == labels
    agrees |= own + SLACK >= per_row(lambda block: block.max(axis=1, initial=0.0), pred_probs)
    off_diagonal = (guess >= 0) & (guess != labels) & ~agrees
    if filter_by == "confident_learning":
        return off_diagonal
    if filter_by == "predicted_neq_given":
        return ~agrees
    if filter_by in ("low_normalized_margin", "low_self_confidence"):
        score = own if filter_by == "low_self_confidence" else normalized_margin(labels, pred_probs)
        mask = np.zeros(len(labels), dtype=bool)
        mask[np.argsort(score, kind="stable")[: off_diagonal.sum()]] = True
        return mask
    counts = _prune_counts(calibrate_joint(joint, labels), frac_noise, min_examples_per_class)
    masks = []
    if filter_by != "prune_by_class":
        masks.append(_prune_by_noise_rate(labels, pred_probs, counts, min_examples_per_class))
    if filter_by != "prune_by_noise_rate":
        masks.append(_prune_by_class(labels, own, counts, min_examples_per_class))
    return np.logical_and.reduce(masks) & ~agrees


def self_confidence(labels: np.ndarray, pred_probs: Matrix) -> np.ndarray:
    """(n,) p_y in 0..1, higher is cleaner."""
    return per_row(lambda block, own: block[np.arange(len(own)), own].astype(np.float64), pred_probs, labels)


def normalized_margin(labels: np.ndarray, pred_probs: Matrix) -> np.ndarray:
    """(n,) (p_y - max_{j != y} p_j + 1) / 2 in 0..1, higher is cleaner."""
    return (log_margin(labels, pred_probs) + 1) / 2


def confidence_weighted_entropy(labels: np.ndarray, pred_probs: np.ndarray) -> np.ndarray:
    """(n,) ln(1 + r) / r with r = H(p) / ln k / p_y, in 0..1, higher is cleaner."""
    logs = np.log(pred_probs, out=np.zeros_like(pred_probs), where=pred_probs > 0)
    entropy = -np.einsum("nk,nk->n", pred_probs, logs) / math.log(pred_probs.shape[1])
    ratio = np.maximum(entropy / np.maximum(self_confidence(labels, pred_probs), SLACK), SLACK)
    return np.log1p(ratio) / ratio


def log_margin(labels: np.ndarray, log_probs: Matrix) -> np.ndarray:
    """(n,) log p_y - max_{j != y} log p_j from log probabilities (n, k), or logits; higher is cleaner."""
    return self_confidence(labels, log_probs) - per_row(largest_other, log_probs, labels)


def _round_rows(matrix: np.ndarray) -> np.ndarray:
    """Integers that keep each row's (rounded) total: the largest remainders are rounded up."""
    floor = np.floor(matrix + 1e-9)
    missing = np.rint(matrix.sum(axis=1)) - floor.sum(axis=1)
    rank = np.argsort(np.argsort(matrix - floor, axis=1, kind="stable"), axis=1, kind="stable")
    return (floor + (rank >= len(matrix) - missing[:, None])).astype(np.int64)


def _prune_counts(calibrated: np.ndarray, frac_noise: float, min_examples: int) -> np.ndarray:
    """The calibrated joint with at least `min_examples` on the diagonal and the rest scaled by `frac_noise`."""
    noise = calibrated.astype(np.float64)
    np.fill_diagonal(noise, 0)
    diagonal = calibrated.diagonal().astype(np.float64)
    lift = np.maximum(min_examples - diagonal, 0)  # taken in equal parts from the classes that the noise points to
    sources = noise > 0
    noise = np.where(sources, np.maximum(noise - (lift / np.maximum(sources.sum(axis=1), 1))[:, None], 0), 0)
    counts = noise * frac_noise
    np.fill_diagonal(counts, diagonal + lift + (noise.sum(axis=1) * (1 - frac_noise)))
    return np.floor(counts + 1e-9).astype(np.int64)


def _prune_by_class(labels: np.ndarray, own: np.ndarray, counts: np.ndarray, min_examples: int) -> np.ndarray:
    """The n_j - counts[j, j] rows of each class with the smallest p_j."""
    mask = np.zeros(len(labels), dtype=bool)
    for j, rows in enumerate(_rows_by_class(labels, len(counts))):
        if len(rows) > min_examples:
            mask[rows[np.argsort(own[rows], kind="stable")[: len(rows) - counts[j, j]]]] = True
    return mask


def _prune_by_noise_rate(labels: np.ndarray, pred_probs: Matrix, counts: np.ndarray, min_examples: int) -> np.ndarray:
    """For each pair (given i, true j) the counts[i, j] rows with the largest p_j - p_i."""
    mask = np.zeros(len(labels), dtype=bool)
    for i, rows in enumerate(_rows_by_class(labels, len(counts))):
        if len(rows) <= min_examples:
            continue
        for j in np.flatnonzero(counts[i]):
            if j != i:
                margin = pred_probs[rows, i] - pred_probs[rows, j]
                mask[rows[np.argsort(margin, kind="stable")[: counts[i, j]]]] = True
    return mask


def _rows_by_class(labels: np.ndarray, k: int) -> list[np.ndarray]:
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=k))[:-1])

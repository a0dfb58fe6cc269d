"""What class a row truly is of, by its p_mislabel and by what was seen of it without its label.

Letters: n samples, k classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from cleanlab_lite.arrays import without_own
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.evidence.history import History
from cleanlab_lite.judge.closed_form import log_probability, sample_rows
from cleanlab_lite.matrices import LazyMatrix, Logarithm, Matrix, blocks

CONTESTED = 0.25  # mean of 2 min(P(given), P(other)) from which two classes are one: human errors have at most 0.16
ALONE = 0.8  # share of it that the other class has
LEAST_LABELLED = 10  # rows of either class


@dataclass(frozen=True)
class Posterior(LazyMatrix):
    """`class_posterior` of all rows, made when it is asked for."""

    logits: Matrix  # (n, k), without their power
    power: np.float32
    pred_probs: Matrix  # (n, k)
    labels: np.ndarray  # (n,) int64
    p: np.ndarray  # (n,) float64, p_mislabel

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.labels), self.logits.shape[1]

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        logits = self.power * self.logits[rows]
        return class_posterior(logits, self.pred_probs[rows], self.labels[rows], self.p[rows])


def class_posterior(logits: np.ndarray, pred_probs: np.ndarray, labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    """(n, k) float32: 1 - p for the given class, the rest shared like the proxies' mean logits without it.

    Rows without a label take their probabilities as they are.
    """
    rows = np.flatnonzero(labels >= 0)
    result = pred_probs.copy()
    others = without_own(logits[rows].astype(np.float32), labels[rows])
    others -= others.max(axis=1, keepdims=True)
    share = np.exp(others)
    share /= share.sum(axis=1, keepdims=True)
    result[rows] = share * p[rows, None].astype(np.float32)
    result[rows, labels[rows]] = 1 - p[rows]
    return result


def class_evidence(
    evidence: Evidence, rows: np.ndarray, rate: float, *, seed: int = 0
) -> tuple[Matrix, np.float32, Matrix]:
    """(n, k) logits that share out what the given label lost, their power, and (n, k) probabilities without a label.

    Out-of-sample probabilities are sharpened by the judged `rows`, of whose labels a share `rate` is wrong. Without
    any, the epochs of the history vote with their predictions: before a network learns a wrong label by heart, it
    predicts the class that the row looks like.
    """
    if evidence.pred_probs is None:
        votes = prediction_shares(evidence.need_history(), evidence.num_classes)
        return Logarithm(votes, least=1e-3), np.float32(1), votes
    pred_probs = evidence.pred_probs
    logits = Logarithm(pred_probs, least=1e-12) if evidence.logits is None else evidence.logits
    rows = sample_rows(rows, evidence.num_classes, seed)
    return logits, label_free_sharpness(np.asarray(pred_probs[rows]), evidence.labels[rows], rate), pred_probs


def label_free_sharpness(pred_probs: np.ndarray, labels: np.ndarray, rate: float) -> np.float32:
    """The power of `pred_probs` (n, k) that makes them probabilities of the true class.

    They were fitted to the given labels (n,), of which a share `rate` is wrong, and so are too flat. Maximises the
    likelihood of labels that are true with probability 1 - rate, else uniform over the other classes.
    """
    log_p = np.log(np.maximum(pred_probs, 1e-12)).astype(np.float64)
    k = pred_probs.shape[1]

    def loss(log_power: float) -> float:
        own = np.exp(log_probability(log_p * np.exp(log_power), labels))
        return -float(np.log((1 - rate) * own + rate * (1 - own) / (k - 1) + 1e-12).mean())

    return np.float32(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def prediction_shares(history: History, num_classes: int) -> np.ndarray:
    """(n, k) float32 share of all epochs and proxies in which each class was predicted; NaN where none was."""
    m, e, n = history.shape
    votes = np.zeros((n, num_classes), dtype=np.float32)
    for predicted in history.predicted.reshape(m * e, n):
        rows = np.flatnonzero(predicted >= 0)
        votes[rows, predicted[rows]] += 1
    total = votes.sum(axis=1, keepdims=True)
    return np.where(total > 0, votes / np.maximum(total, 1), np.nan)


def best_other(posterior: Matrix, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) most probable class other than the given one, and its probability; of any class where there is no label."""
    best, confidence = np.zeros(len(labels), dtype=np.int64), np.zeros(len(labels))
    for part in blocks(posterior):
        others, own = np.nan_to_num(posterior[part], nan=-1.0), labels[part]
        rows = np.flatnonzero(own >= 0)
        others[rows, own[rows]] = -1
        best[part] = others.argmax(axis=1)
        confidence[part] = np.maximum(others.max(axis=1, initial=-1), 0)
    return best, confidence


def most_probable(pred_probs: np.ndarray) -> np.ndarray:
    """(n,) int64 class of the largest of probabilities (n, k), any of them NaN."""
    return np.nan_to_num(pred_probs, nan=-1).argmax(axis=1)


def between_classes(
    labels: np.ndarray, best: np.ndarray, confidence: np.ndarray, p: np.ndarray, num_classes: int
) -> np.ndarray:
    """(n,) bool: rows between their class and one that nothing tells from it, as synonyms are.

    Those of two classes whose rows are, in both directions and on average, at least a quarter as likely of the other
    class as is possible, and hardly of any third one. That rows of a pair are often taken for each other is not enough:
    of human errors between cats and dogs, what looks wrong is wrong.

    Args:
        best: (n,) int64, the most probable other class, and `confidence` (n,) its probability.
        p: (n,) probability that the label is wrong.
    """
    known = np.flatnonzero((labels >= 0) & np.isfinite(p))
    if num_classes < 3 or not len(known):  # what two classes share, all share
        return np.zeros(len(labels), dtype=bool)
    given, other = labels[known], best[known]
    contested = 2 * np.minimum(1 - p[known], confidence[known])
    pairs, index = np.unique(given * num_classes + other, return_inverse=True)
    mass = np.bincount(index, weights=contested)
    rows, total = np.bincount(given), np.bincount(given, weights=contested)
    a, b = np.divmod(pairs, num_classes)
    close = (rows[a] >= LEAST_LABELLED) & (mass >= CONTESTED * rows[a]) & (mass >= ALONE * total[a])
    close &= np.isin(b * num_classes + a, pairs[close])
    result = np.zeros(len(labels), dtype=bool)
    result[known] = close[index]
    return result

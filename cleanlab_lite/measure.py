"""How well wrong labels are ranked, flagged, counted and corrected, given the truth.

Shapes: n samples. `score` (n,) float, finite, higher is cleaner. `wrong` (n,) bool: the given label is not the true
one. Tied scores are treated alike, so no result depends on the order of the rows. A measure that is not defined for the
data (average precision without a wrong row, a share of nothing) is NaN.

All functions raise EvidenceError when arrays differ in length or shape, or hold NaN or infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from cleanlab_lite.errors import EvidenceError


class Corrections(NamedTuple):
    """What relabelling as suggested would do."""

    offered: int  # rows with a suggestion
    accuracy: float  # share of them whose suggestion is the true label
    harm: float  # share of them whose given label was right


class Difference(NamedTuple):
    """A metric of A minus that of B."""

    difference: float  # on the data itself
    low: float  # 2.5th percentile over the replicates
    high: float  # 97.5th percentile
    share_better: float  # replicates where A is ahead; a draw counts half


def average_precision(score: np.ndarray, wrong: np.ndarray) -> float:
    """Area under the precision-recall curve as a step function, wrong rows being the positives."""
    _check(score, wrong)
    return float(average_precision_score(wrong, -score)) if wrong.any() else math.nan


def auroc(score: np.ndarray, wrong: np.ndarray) -> float:
    """Chance that a wrong row scores below a right one."""
    _check(score, wrong)
    return float(roc_auc_score(wrong, -score)) if wrong.any() and not wrong.all() else math.nan


def f1_at_flags(flagged: np.ndarray, wrong: np.ndarray) -> float:
    """F1 of the rows flagged (n,) bool. 0 where nothing is flagged but something is wrong."""
    _check(flagged, wrong)
    total = int(flagged.sum() + wrong.sum())
    return 2 * int((flagged & wrong).sum()) / total if total else math.nan


def best_f1(score: np.ndarray, wrong: np.ndarray) -> float:
    """F1 at the threshold that suits it best: what the ranking would allow if the truth were known."""
    _check(score, wrong)
    if not wrong.any():
        return math.nan
    precision, recall, _ = precision_recall_curve(wrong, -score)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())


def precision_at(score: np.ndarray, wrong: np.ndarray, k: int) -> float:
    """Share of wrong rows among the k most suspicious; of all rows where there are fewer than k."""
    _check(score, wrong)
    k = min(k, len(score))
    return _hits(score, wrong, k) / k if k > 0 else math.nan


def recall_at_budget(score: np.ndarray, wrong: np.ndarray, budget: float) -> float:
    """Share of the wrong rows found by looking at the most suspicious share `budget` (0..1) of all rows."""
    _check(score, wrong)
    if not 0 <= budget <= 1:
        raise EvidenceError(f"budget is {budget}, must be a share in 0..1")
    return _hits(score, wrong, round(budget * len(score))) / int(wrong.sum()) if wrong.any() else math.nan


def expected_calibration_error(p: np.ndarray, wrong: np.ndarray, bins: int = 10) -> float:
    """Mean over rows of |mean p - share wrong| in the row's bin; `bins` of equal width (Naeini et al., AAAI 2015)."""
    _check_probability(p, wrong)
    index = np.minimum((p * bins).astype(np.int64), bins - 1)
    gap = np.bincount(index, weights=p - wrong, minlength=bins)
    return float(np.abs(gap).sum() / len(p)) if len(p) else math.nan


def brier(p: np.ndarray, wrong: np.ndarray) -> float:
    """Mean squared error of the probabilities p (n,) (Brier 1950). Rewards a sharp p as well as a calibrated one."""
    _check_probability(p, wrong)
    return float(((p - wrong) ** 2).mean()) if len(p) else math.nan


def rate_error(estimate: float, wrong: np.ndarray) -> float:
    """Estimated minus actual share of wrong rows: positive where the noise is overestimated."""
    return float(estimate - wrong.mean()) if len(wrong) else math.nan


def correction_accuracy(
    suggested: np.ndarray, given: np.ndarray, truth: np.ndarray, offered: np.ndarray
) -> Corrections:
    """How good the suggestions are where one is offered.

    Args:
        suggested, given, truth: (n,) labels, of one kind: names or class indices.
        offered: (n,) bool, rows that would be relabelled.
    """
    for labels in (suggested, given, truth):
        _check(offered, labels)
    count = int(offered.sum())
    if not count:
        return Corrections(0, math.nan, math.nan)
    right = (suggested == truth)[offered].mean()
    harmed = (given == truth)[offered].mean()
    return Corrections(count, float(right), float(harmed))


def paired_bootstrap(
    score_a: np.ndarray,
    score_b: np.ndarray,
    wrong: np.ndarray,
    metric: Callable[[np.ndarray, np.ndarray], float] = average_precision,
    n: int = 1000,
    seed: int = 0,
) -> Difference:
    """Is ranking A better than ranking B on other rows like these (Efron and Tibshirani 1993)?

    Rows are drawn with replacement, the same for A and B, `n` times. It says nothing about other trainings: repeat
    those with other seeds. Replicates for which the metric is not defined do not count.
    """
    _check(score_a, wrong)
    _check(score_b, wrong)
    rng = np.random.default_rng(seed)
    differences = np.empty(n)
    for i in range(n):
        rows = rng.integers(len(wrong), size=len(wrong))
        differences[i] = metric(score_a[rows], wrong[rows]) - metric(score_b[rows], wrong[rows])
    differences = differences[np.isfinite(differences)]
    difference = metric(score_a, wrong) - metric(score_b, wrong)
    if not len(differences):
        return Difference(difference, math.nan, math.nan, math.nan)
    low, high = np.quantile(differences, [0.025, 0.975])
    return Difference(difference, float(low), float(high), float((np.sign(differences) + 1).mean() / 2))


HALF_A_ROW = math.sqrt(0.5)  # a gain with the variance that half of a row has, whose gain is 1


def crossed_bootstrap(
    right_a: np.ndarray, right_b: np.ndarray, group: np.ndarray, n: int = 2000, seed: int = 0
) -> Difference:
    """Is A more accurate than B on other rows like these, and with other seeds?

    Rows and seeds are drawn with replacement, independently (Owen, Annals of Applied Statistics 2007); of s seeds
    s - 1, or few of them would look alike (Rao & Wu, JASA 1988). Rows that A alone or B alone predicts right may be
    there though none was drawn: half a row of either kind, and of both that are alike, is added (Agresti & Min,
    Statistics in Medicine 2005).

    Args:
        right_a, right_b: (s, t) bool, whether row t is predicted right with seed s; (1, t) where there is no chance.
        group: (t,) int64, rows with the same number are drawn together.
    """
    gain = right_a.astype(np.int64) - right_b
    _check(gain[0], group)
    _, place = np.unique(group, return_inverse=True)
    counts = np.bincount(place)
    sums = np.stack([np.bincount(place, weights=each) for each in gain])  # (s, g)
    sums = np.pad(sums, ((0, 0), (0, 2)))
    sums[:, -2:] = HALF_A_ROW, -HALF_A_ROW
    counts = np.append(counts, [1, 1])
    rng = np.random.default_rng(seed)
    s, g = sums.shape
    differences = np.empty(n)
    for replicate in range(n):
        drawn = np.bincount(rng.integers(g, size=g), minlength=g)
        seeds = rng.integers(s, size=max(s - 1, 1))
        differences[replicate] = (sums[seeds] @ drawn).mean() / (counts @ drawn)
    low, high = np.quantile(differences, [0.025, 0.975])
    return Difference(float(gain.mean()), float(low), float(high), float((np.sign(differences) + 1).mean() / 2))


def _hits(score: np.ndarray, wrong: np.ndarray, k: int) -> float:
    """Expected number of wrong rows among the k lowest scores, ties in random order."""
    if k <= 0:
        return 0.0
    edge = np.partition(score, k - 1)[k - 1]
    below, tied = score < edge, score == edge
    return float(wrong[below].sum() + (k - below.sum()) * wrong[tied].mean())


def _check(values: np.ndarray, other: np.ndarray) -> None:
    if values.ndim != 1 or values.shape != other.shape:
        raise EvidenceError(f"shapes are {values.shape} and {other.shape}, must both be (n,)")
    if not np.isfinite(values).all():
        raise EvidenceError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} scores are NaN or infinite",
            hint="select the rows that were judged first",
        )


def _check_probability(p: np.ndarray, wrong: np.ndarray) -> None:
    _check(p, wrong)
    if len(p) and not 0 <= p.min() <= p.max() <= 1:
        raise EvidenceError(f"probabilities lie in {p.min():.3g}..{p.max():.3g}, must lie in 0..1")

"""What is the matter with a row, and what to do with it.

Letters: n samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cleanlab_lite.judge.anchors import Anchors
from cleanlab_lite.run.report import FLAG

AMBIGUOUS = 0.3  # p_mislabel from which a row without a clear class is worth a look
OFFER = 0.6  # probability from which a correction is offered
# probability from which a correction is made without a person: of small sets with weak evidence 9 in 10 are then wrong
ACTED_ON = 0.9
TRUSTED = 0.2  # p_mislabel up to which a row shows how the classes look
UNLIKE = 0.97  # a wrong row without a clear class belongs to none when it is stranger than this share of the right ones
LEAST_TRUSTED = 50  # rows that show how classes look, before one is said to be beyond them all


@dataclass(frozen=True)
class Signs:
    """What n rows are judged by."""

    readable: np.ndarray  # (n,) bool
    labels: np.ndarray  # (n,) int64, -1 where there is none
    p: np.ndarray  # (n,) float64, p_mislabel
    p_low: np.ndarray  # (n,) float64, the same if as few labels are wrong as may be
    confidence: np.ndarray  # (n,) float64, probability of the most probable class but the given one
    ood_score: np.ndarray  # (n,) float64, higher is stranger
    conflict: np.ndarray  # (n,) bool: a copy has another label
    between: np.ndarray  # (n,) bool: of one of two classes that are not told apart
    nothing: np.ndarray  # (n,) bool: the file holds nothing by which a class is known


@dataclass(frozen=True)
class Decided:
    """On n rows."""

    issue: np.ndarray  # (n,) str
    action: np.ndarray  # (n,) str
    offered: np.ndarray  # (n,) bool: a correction is


def decide(signs: Signs, anchors: Anchors, *, determined: bool) -> Decided:
    """Where the noise rate is not `determined`, no label is changed without a person.

    Nor is one that would not be flagged if the rate were at the low end of its interval: of clean labels that are hard
    to tell some are flagged, and hardly one at that end (benchmarks/RESULTS.md, "Harm").
    """
    p, confidence = signs.p, signs.confidence
    sure = determined & (np.nan_to_num(signs.p_low) >= FLAG)
    issue = decide_issue(signs)
    doubted = np.isin(issue, ("mislabel", "duplicate_conflict", "ambiguous")) & (p >= FLAG)
    offered = (doubted | (issue == "unlabeled")) & (confidence >= OFFER) & ~signs.nothing
    clear = offered & ((sure & (confidence >= ACTED_ON)) | (issue == "unlabeled") | anchors.relabelled)
    far = sure & beyond_all(signs.ood_score, p) & (confidence < AMBIGUOUS) & (p >= ACTED_ON)
    return Decided(issue, np.where(anchors.dropped, "drop", decide_action(issue, p, clear, far)), offered)


def decide_issue(signs: Signs) -> np.ndarray:
    """(n,) str. A wrong row is out of the vocabulary when no class claims it and it is unlike the others, or when it
    holds nothing; a row that may be wrong is ambiguous when no other class is clear, or when it is between two that are
    not told apart."""
    p, confidence, ood_score = signs.p, signs.confidence, signs.ood_score
    wrong = p >= FLAG
    unlike = (confidence < OFFER) & (np.nan_to_num(ood_score) >= max(usual(ood_score, p), 0.5))
    no_class = wrong & (unlike | signs.nothing)
    undecided = (p >= AMBIGUOUS) & (p < FLAG) & ((confidence < AMBIGUOUS) | signs.between)
    conditions = [~signs.readable, signs.labels < 0, signs.conflict, no_class, wrong, undecided]
    names = ["unreadable", "unlabeled", "duplicate_conflict", "out_of_vocabulary", "mislabel", "ambiguous"]
    return np.select(conditions, names, default="none")


def like_nothing(labels: np.ndarray, best: np.ndarray, empty: np.ndarray, num_classes: int) -> np.ndarray:
    """(n,) bool: rows that are `empty` (n,) and whose `best` (n,) other class is not one of such rows, as `silence` is.

    They are all alike, so the label that most of them happen to have is predicted for the others with much confidence.
    """
    known = labels >= 0
    rows, hollow = (np.bincount(labels[part], minlength=num_classes) for part in (known, known & empty))
    return empty & ~(2 * hollow > rows)[best]


def usual(ood_score: np.ndarray, p: np.ndarray) -> float:
    """What `UNLIKE` of the rows that are right do not exceed. A row counts as far as it may be right: of noisy labels
    only those that are easy are surely right, and beside them all others look strange."""
    known = np.flatnonzero(np.isfinite(ood_score) & np.isfinite(p))
    order = known[np.argsort(ood_score[known])]
    right = (1 - p[order]).cumsum()
    return float(ood_score[order[np.searchsorted(right, UNLIKE * right[-1])]]) if len(order) else 0.0


def beyond_all(ood_score: np.ndarray, p: np.ndarray) -> np.ndarray:
    """(n,) bool: rows that are stranger than every row whose label is trusted; none where these are too few."""
    trusted = ood_score[p < TRUSTED]
    limit = np.nanmax(trusted) if np.isfinite(trusted).sum() >= LEAST_TRUSTED else np.inf
    return np.nan_to_num(ood_score) > limit


def decide_action(issue: np.ndarray, p: np.ndarray, offered: np.ndarray, far: np.ndarray) -> np.ndarray:
    """(n,) str. Dropped is only what cannot be read, and rows of no class that are `far` (n,) from every class; where
    no clear correction is `offered` (n,) a person decides: one good label lost costs more than ten looks."""
    wrong = np.nan_to_num(p) >= FLAG
    conditions = [
        (issue == "unreadable") | ((issue == "out_of_vocabulary") & far),
        offered,
        np.isin(issue, ("unlabeled", "ambiguous")) | wrong,
    ]
    return np.select(conditions, ["drop", "relabel", "review"], default="keep")

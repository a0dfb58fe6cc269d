"""From evidence to verdicts: one ranking, one calibrated probability per row, and what to do with the row.

Letters: n samples, k classes, m proxies, p planted rows. All functions are pure; rows are in manifest order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cleanlab_lite.calibration import Calibration, calibrate
from cleanlab_lite.detectors import DETECTORS
from cleanlab_lite.evidence import Evidence

PROTOTYPES = 0.25  # weight in the ranking, in standard deviations; margins have 1
FLAG = 0.5  # p_mislabel from which a row is a label issue
AMBIGUOUS = 0.3  # p_mislabel from which a row without a clear class is worth a look
OFFER = 0.6  # probability from which a correction is offered
TRUSTED = 0.2  # p_mislabel up to which a row shows how the classes look
UNLIKE = 0.99  # a wrong row without a clear class belongs to none when it is stranger than this share of them
CERTAIN = 0.8  # p_mislabel from which a wrong row without a correction is dropped rather than reviewed
TOP = 3  # classes listed per row
# Detectors that fill columns of the report. The others are for comparison; bmm falls back to gmm by itself,
# and the second split is judged where it was trained.
DETECTORS_RUN = ("aum", "bmm", "confident_learning", "forgetting", "knn", "ood", "prototypes")


@dataclass(frozen=True)
class Verdict:
    """The judgement on n rows. Arrays are NaN, -1 or "" where there is nothing to say."""

    score: np.ndarray  # (n,) float64, the ranking, higher is cleaner
    calibration: Calibration  # of the judged rows: probability and noise rate
    judged: np.ndarray  # (n,) bool, labelled and readable
    p_mislabel: np.ndarray  # (n,) float64
    posterior: np.ndarray  # (n, k) float32, probability that the true class is each of the k
    predicted: np.ndarray  # (n,) int64, most probable class out of sample
    suggested: np.ndarray  # (n,) int64, correction on offer
    suggestion_confidence: np.ndarray  # (n,) float64
    issue: np.ndarray  # (n,) str
    action: np.ndarray  # (n,) str
    weight: np.ndarray  # (n,) float64, 0..1
    columns: dict[str, np.ndarray]  # what the detectors measured
    reasons: dict[str, np.ndarray]  # reason code -> (n,) bool
    facts: dict[str, object]  # of the detectors, JSON types


def combine(evidence: Evidence, readable: np.ndarray, duplicate_of: np.ndarray, *, seed: int = 0) -> Verdict:
    """Judge every row.

    Args:
        readable: (n,) bool.
        duplicate_of: (n,) int64, first row with the same content, -1 for that row itself and for unique rows.

    Raises:
        EvidenceError: no history, or no out-of-sample probabilities.
    """
    evidence.require("history", "pred_probs", "logits")
    labels = evidence.labels
    judged = readable & (labels >= 0)
    part = evidence.select(np.flatnonzero(judged))
    ranking = rank(part, seed=seed)
    calibration = calibrate(part, ranking, seed=seed)
    score, p = _spread(ranking, judged), _spread(calibration.p_mislabel, judged)
    conflict = conflicting_duplicates(labels, duplicate_of, readable)
    p = settle_conflicts(p, labels, duplicate_of, conflict)

    columns, reasons, facts = detect(part, trust=1 - p[judged], seed=seed)
    columns = {name: _spread(values, judged) for name, values in columns.items()}
    reasons = {name: _spread(values, judged) for name, values in reasons.items()}
    if "neighbors" in columns:  # detectors number the judged rows
        known = columns["neighbors"] >= 0
        columns["neighbors"] = np.where(known, np.flatnonzero(judged)[np.maximum(columns["neighbors"], 0)], -1)
    reasons["duplicate_conflict"] = conflict

    assert evidence.pred_probs is not None and evidence.logits is not None
    rows = np.flatnonzero(judged)
    sharpness = label_free_sharpness(evidence.pred_probs[rows], labels[rows], np.nan_to_num(calibration.rate.estimate))
    posterior = class_posterior(sharpness * evidence.logits, evidence.pred_probs, labels, p)
    best, confidence = best_other(posterior, labels)
    issue = decide_issue(readable, labels, p, confidence, columns["ood_score"], conflict)
    offered = (
        np.isin(issue, ("mislabel", "duplicate_conflict", "ambiguous")) & (p >= FLAG) & (confidence >= OFFER)
    ) | ((issue == "unlabeled") & (confidence >= OFFER))
    predicted = np.where(readable, np.nan_to_num(evidence.pred_probs, nan=-1).argmax(axis=1), -1)
    return Verdict(
        score=score,
        calibration=calibration,
        judged=judged,
        p_mislabel=p,
        posterior=posterior,
        predicted=predicted,
        suggested=np.where(offered, best, -1),
        suggestion_confidence=np.where(offered, confidence, np.nan),
        issue=issue,
        action=decide_action(issue, p, offered),
        weight=np.where(judged, 1 - np.nan_to_num(p), 0.0),
        columns=columns,
        reasons=reasons,
        facts=facts | {"judged_rows": len(part)},
    )


def rank(evidence: Evidence, *, seed: int) -> np.ndarray:
    """(n,) float64 ranking, higher is cleaner: margins, and a little of the likeness to the prototypes of the class.

    Margins order rows best where errors are spread over classes. Where a class is often mistaken for one other, the
    proxies learn the mistake; the densest rows of a class still show what it looks like. Measured in RESULTS.md.
    """
    margins = mean_margins(evidence)
    if evidence.features is None:
        return margins
    trust = 1 - calibrate(evidence, margins, seed=seed).p_mislabel
    likeness = np.nan_to_num(DETECTORS.get("prototypes").function(evidence, trust=trust, seed=seed).score)
    return margins / deviation(margins) + PROTOTYPES * likeness / deviation(likeness)


def deviation(values: np.ndarray) -> float:
    """Standard deviation of values (n,); 1 where all are alike."""
    return float(np.std(values)) or 1.0


def mean_margins(evidence: Evidence) -> np.ndarray:
    """(n,) float64 logit margin of the given label, mean over good epochs and all proxies.

    The proxy that a row was held out of counts like those that trained on it: it says what the others think of the
    row. A proxy that was shown a planted label for the row does not count.
    """
    history = evidence.history
    assert history is not None
    first, end = history.safe_window(evidence.labels)
    margin = np.nanmean(history.margin[:, first:end].astype(np.float32), axis=1)  # (m, n)
    planted = (history.trained_on >= 0) & (history.trained_on != evidence.labels)
    return np.nanmean(np.where(planted, np.nan, margin), axis=0).astype(np.float64)


def detect(
    evidence: Evidence, *, trust: np.ndarray, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, object]]:
    """Run the detectors of an audit: their report columns, their reasons, their facts by detector."""
    columns: dict[str, np.ndarray] = {}
    reasons: dict[str, np.ndarray] = {}
    facts: dict[str, object] = {}
    assert evidence.history is not None
    first, end = evidence.history.safe_window(evidence.labels)
    window = {"first_epoch": first, "last_epoch": end}
    options: dict[str, dict[str, Any]] = {
        "aum": window,
        "bmm": window,
        "prototypes": {"trust": trust, "seed": seed},
        "ood": {"trust": trust, "seed": seed},
        "knn": {"seed": seed},
    }
    names = list(DETECTORS_RUN)
    if evidence.second_split is not None:
        names.append("second_split_forgetting")
    for name in names:
        detection = DETECTORS.get(name).function(evidence, **options.get(name, {}))
        columns |= detection.columns
        reasons |= detection.reasons
        facts[name] = detection.facts
    facts["window"] = window
    return columns, reasons, facts


def conflicting_duplicates(labels: np.ndarray, duplicate_of: np.ndarray, readable: np.ndarray) -> np.ndarray:
    """(n,) bool: rows whose content occurs with another label too. Proof of an error, without a model."""
    group = np.where(duplicate_of >= 0, duplicate_of, np.arange(len(labels)))
    known = readable & (labels >= 0)
    largest = np.full(len(labels), -1)
    np.maximum.at(largest, group[known], labels[known])
    smallest = np.full(len(labels), np.iinfo(np.int64).max)
    np.minimum.at(smallest, group[known], labels[known])
    return known & (largest[group] != smallest[group])


def settle_conflicts(p: np.ndarray, labels: np.ndarray, duplicate_of: np.ndarray, conflict: np.ndarray) -> np.ndarray:
    """(n,) probabilities that respect: of the labels of one content, at most one is right.

    With independent p_l, P(label l is right) is proportional to (1 - p_l) / p_l, and P(none) to 1.
    """
    p = p.copy()
    group = np.where(duplicate_of >= 0, duplicate_of, np.arange(len(labels)))
    for g in np.unique(group[conflict]):
        rows = np.flatnonzero(conflict & (group == g))
        mean = {label: p[rows[labels[rows] == label]].mean() for label in np.unique(labels[rows])}
        odds = {label: (1 - value) / max(value, 1e-3) for label, value in mean.items()}
        total = 1 + sum(odds.values())
        for row in rows:
            p[row] = 1 - odds[labels[row]] / total
    return p


def label_free_sharpness(pred_probs: np.ndarray, labels: np.ndarray, rate: float) -> np.float32:
    """The power of `pred_probs` (n, k) that makes them probabilities of the true class.

    They were fitted to the given labels (n,), of which a share `rate` is wrong, and so are too flat. Maximises the
    likelihood of labels that are true with probability 1 - rate, else uniform over the other classes.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    log_p = np.log(np.maximum(pred_probs, 1e-12)).astype(np.float64)
    k = pred_probs.shape[1]

    def loss(log_power: float) -> float:
        own = np.exp(log_softmax(log_p * np.exp(log_power), axis=1)[np.arange(len(labels)), labels])
        return -float(np.log((1 - rate) * own + rate * (1 - own) / (k - 1) + 1e-12).mean())

    return np.float32(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def class_posterior(logits: np.ndarray, pred_probs: np.ndarray, labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    """(n, k) float32: 1 - p for the given class, the rest shared like the proxies' mean logits without it.

    Rows without a label take the out-of-sample probabilities.
    """
    rows = np.flatnonzero(labels >= 0)
    result = pred_probs.copy()
    others = logits[rows].astype(np.float32)
    others[np.arange(len(rows)), labels[rows]] = -np.inf
    others -= others.max(axis=1, keepdims=True)
    share = np.exp(others)
    share /= share.sum(axis=1, keepdims=True)
    result[rows] = share * p[rows, None].astype(np.float32)
    result[rows, labels[rows]] = 1 - p[rows]
    return result


def best_other(posterior: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) most probable class other than the given one, and its probability; of any class where there is no label."""
    others = np.nan_to_num(posterior, nan=-1.0)
    rows = np.flatnonzero(labels >= 0)
    others[rows, labels[rows]] = -1
    best = others.argmax(axis=1)
    return best, np.maximum(others[np.arange(len(best)), best], 0).astype(np.float64)


def decide_issue(
    readable: np.ndarray,
    labels: np.ndarray,
    p: np.ndarray,
    confidence: np.ndarray,
    ood_score: np.ndarray,
    conflict: np.ndarray,
) -> np.ndarray:
    """(n,) str. A wrong row is out of the vocabulary when no class claims it and it is unlike the others."""
    wrong = p >= FLAG
    trusted = ood_score[p < TRUSTED]
    strange = max(np.quantile(trusted, UNLIKE), 0.5) if len(trusted) else 0.5
    no_class = wrong & (confidence < OFFER) & (np.nan_to_num(ood_score) >= strange)
    undecided = (p >= AMBIGUOUS) & (p < FLAG) & (confidence < AMBIGUOUS)
    conditions = [~readable, labels < 0, conflict, no_class, wrong, undecided]
    names = ["unreadable", "unlabeled", "duplicate_conflict", "out_of_vocabulary", "mislabel", "ambiguous"]
    return np.select(conditions, names, default="none")


def decide_action(issue: np.ndarray, p: np.ndarray, offered: np.ndarray) -> np.ndarray:
    """(n,) str. Rows of no class are dropped, never relabelled; without a clear correction a person decides."""
    wrong = np.nan_to_num(p) >= FLAG
    conditions = [
        np.isin(issue, ("unreadable", "out_of_vocabulary")),
        offered,
        (issue == "mislabel") & (np.nan_to_num(p) >= CERTAIN),
        np.isin(issue, ("unlabeled", "ambiguous")) | wrong,
    ]
    return np.select(conditions, ["drop", "relabel", "drop", "review"], default="keep")


def _spread(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Values of the judged rows at their places among all n: NaN, -1 or False elsewhere."""
    empty: object = np.nan if values.dtype.kind == "f" else False if values.dtype.kind == "b" else -1
    result = np.full((len(rows), *values.shape[1:]), empty, dtype=values.dtype)
    result[rows] = values
    return result

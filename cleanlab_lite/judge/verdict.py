"""From evidence to verdicts: one ranking, one calibrated probability per row, and what to do with the row.

Letters: n samples, k classes, m proxies, p planted rows. All functions are pure; rows are in manifest order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cleanlab_lite.arrays import rows_by
from cleanlab_lite.errors import EvidenceError
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.groups import differs, roots
from cleanlab_lite.judge.actions import Signs, decide, like_nothing
from cleanlab_lite.judge.anchors import Anchors
from cleanlab_lite.judge.calibration import COUNTED, PLANTED, Calibration, NoiseRate, calibrate, ceiling, scale_odds
from cleanlab_lite.judge.crowd import Crowd, Voted, hear, weighed
from cleanlab_lite.judge.detectors import DETECTORS
from cleanlab_lite.judge.detectors.base import Detection, DetectorFacts
from cleanlab_lite.judge.monotone import isotonic
from cleanlab_lite.judge.neighbors import Search, on_host
from cleanlab_lite.judge.no_class import find_rows_of_no_class
from cleanlab_lite.judge.posterior import Posterior, best_other, between_classes, class_evidence, most_probable
from cleanlab_lite.judge.ranking import (
    Witness,
    are_near,
    blended,
    margins_by_view,
    rank,
    side_by_side,
    together,
    votes_of,
    witnesses,
)
from cleanlab_lite.judge.rate import FEW, FEW_FOR_NETWORKS, Estimators, judge_rate, strictly, with_one_more
from cleanlab_lite.judge.reviews import calibrate_by, contrary
from cleanlab_lite.matrices import Matrix, finite_rows, per_row
from cleanlab_lite.registry import Spec
from cleanlab_lite.run.report import FLAG
from cleanlab_lite.votes import Votes
from cleanlab_lite.workers import ahead

AS_RIGHT_AS_WRONG = 0.49  # most that p_mislabel is between two classes that are one: no label is more wrong than right


@dataclass(frozen=True)
class Verdict:
    """The judgement on n rows. Arrays are NaN, -1 or "" where there is nothing to say."""

    score: np.ndarray  # (n,) float64, the ranking, higher is cleaner
    calibration: Calibration  # of the judged rows: probability and noise rate
    judged: np.ndarray  # (n,) bool, labelled, readable, and with evidence
    p_mislabel: np.ndarray  # (n,) float64
    posterior: Matrix  # (n, k) float32, probability that the true class is each of the k
    predicted: np.ndarray  # (n,) int64, most probable class out of sample; -1 without out-of-sample probabilities
    suggested: np.ndarray  # (n,) int64, correction on offer
    suggestion_confidence: np.ndarray  # (n,) float64
    issue: np.ndarray  # (n,) str
    action: np.ndarray  # (n,) str
    weight: np.ndarray  # (n,) float64, 0..1
    columns: dict[str, np.ndarray]  # what the detectors measured
    reasons: dict[str, np.ndarray]  # reason code -> (n,) bool
    facts: dict[str, object]  # of the detectors, JSON types
    alone: np.ndarray  # (n,) bool: the only row of its class, copies aside, which is not judged
    contrary: np.ndarray  # (n,) bool: decided rows that contradict the data, where these are many
    crowd: Crowd | None = None  # of the judged rows, where several annotators have labelled them
    estimators: Estimators | None = None  # that the noise rate is a median of, where it is one


@dataclass(frozen=True)
class Rows:
    """Which of n rows are judged."""

    known: np.ndarray  # (n,) bool, labelled and readable
    judged: np.ndarray  # (n,) bool, those of them that there is evidence for
    alone: np.ndarray  # (n,) bool, as in `Verdict`
    conflict: np.ndarray  # (n,) bool: the same content has another label too

    @classmethod
    def of(cls, evidence: Evidence, readable: np.ndarray, duplicate_of: np.ndarray) -> Rows:
        """Raises EvidenceError where there is evidence for none."""
        known = readable & (evidence.labels >= 0)
        conflict = conflicting_duplicates(evidence.labels, duplicate_of, readable)
        judged = known & recorded(evidence)
        alone = judged & alone_in_class(evidence.labels, roots(duplicate_of), known) & ~conflict
        if (judged & ~alone).any():  # else there is nothing to learn, which is found out
            judged &= ~alone
        if known.any() and not judged.any():
            raise EvidenceError("no readable, labelled row has a history or out-of-sample probabilities")
        return cls(known, judged, alone, conflict)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values of the judged rows at their places among all n: NaN, -1 or False elsewhere."""
        empty: object = np.nan if values.dtype.kind == "f" else False if values.dtype.kind == "b" else -1
        result = np.full((len(self.judged), *values.shape[1:]), empty, dtype=values.dtype)
        result[self.judged] = values
        return result


@dataclass(frozen=True)
class Opinion:
    """What the judged rows are by all that was seen, said and decided of them; they are numbered anew."""

    ranking: np.ndarray  # (n,) float64, higher is cleaner
    calibration: Calibration
    estimators: Estimators | None  # what the rate is a median of, where it is one
    crowd: Crowd | None
    contrary: np.ndarray  # (n,) bool, as in `Verdict`


@dataclass(frozen=True)
class TrueClass:
    """What class n rows truly are of."""

    posterior: Matrix  # (n, k), as in `Verdict`
    best: np.ndarray  # (n,) int64, most probable class but the given one
    confidence: np.ndarray  # (n,) float64, its probability
    between: np.ndarray  # (n,) bool: of one of two classes that are not told apart
    p: np.ndarray  # (n,) p_mislabel, which these classes bound


def combine(
    evidence: Evidence,
    readable: np.ndarray,
    duplicate_of: np.ndarray,
    *,
    empty: np.ndarray | None = None,
    votes: Votes | None = None,
    seed: int = 0,
    search: Search = on_host,
) -> Verdict:
    """Judge every row that there is evidence for. What needs evidence that is not there is left out.

    Args:
        readable: (n,) bool.
        duplicate_of: (n,) int64, first row with the same content, -1 for that row itself and for unique rows.
        empty: (n,) bool, rows whose file holds nothing, a silent sound or a picture of one grey level.
        votes: of several annotators on the rows.
        search: for neighbours.

    Raises:
        EvidenceError: neither a history nor out-of-sample probabilities.
    """
    labels, anchors = evidence.labels, Anchors.of(evidence)
    rows = Rows.of(evidence, readable, duplicate_of)
    judged = np.flatnonzero(rows.judged)
    part = evidence.select(judged)
    found, by_view = witnesses(part, seed=seed), margins_by_view(part)
    if len(found) > 1:
        evidence, part = blended(evidence, found), blended(part, found)
    said = None if votes is None else votes.select(judged, len(labels))
    opinion = judge_rows(part, found, said, seed=seed)
    p, p_low = (
        anchors.settle(settle_conflicts(rows.spread(values), labels, duplicate_of, rows.conflict))
        for values in (opinion.calibration.p_mislabel, opinion.calibration.p_low)
    )
    conflict = rows.conflict & ~anchors.kept

    columns, reasons, facts = detect(part, trust=1 - p[judged], seed=seed, search=search)
    columns |= {f"view_margin_{view}": margin for view, margin in by_view.items()}
    if "neighbors" in columns:  # detectors number the judged rows
        columns["neighbors"] = np.where(columns["neighbors"] >= 0, judged[columns["neighbors"]], -1)
    if opinion.crowd is not None:
        reasons |= {"annotators_disagree": opinion.crowd.disagree, "outweighed": opinion.crowd.outweighed}
    columns = {name: rows.spread(values) for name, values in columns.items()}
    reasons = {name: rows.spread(values) for name, values in reasons.items()}

    truth = true_class(evidence, rows, opinion, p, conflict | anchors.decided, seed=seed)
    p, (best, confidence) = truth.p, anchors.suggest(truth.best, truth.confidence)
    strange = columns.get("ood_score", np.zeros(len(labels)))
    nothing = np.zeros(len(labels), dtype=bool)
    if empty is not None:
        nothing = like_nothing(labels, best, empty, evidence.num_classes) & ~anchors.decided
    signs = Signs(readable, labels, p, p_low, confidence, strange, conflict, truth.between, nothing)
    decided = decide(signs, anchors, determined=opinion.calibration.rate.reported.determined)
    predicted = np.full(len(labels), -1)
    if evidence.pred_probs is not None:
        predicted[readable] = per_row(most_probable, evidence.pred_probs)[readable]
    return Verdict(
        score=rows.spread(opinion.ranking),
        calibration=opinion.calibration,
        judged=rows.judged,
        p_mislabel=p,
        posterior=truth.posterior,
        predicted=predicted,
        suggested=np.where(decided.offered, best, -1),
        suggestion_confidence=np.where(decided.offered, confidence, np.nan),
        issue=decided.issue,
        action=decided.action,
        weight=np.where(rows.known, 1 - np.nan_to_num(p), 0.0),
        columns=columns,
        reasons=reasons | {"duplicate_conflict": conflict, "decided_wrong": anchors.wrong & readable},
        facts=facts | {"judged_rows": len(part)} | ({"rate": opinion.estimators.facts} if opinion.estimators else {}),
        alone=rows.alone,
        contrary=rows.spread(opinion.contrary),
        crowd=opinion.crowd,
        estimators=opinion.estimators,
    )


def judge_rows(evidence: Evidence, found: list[Witness], votes: Votes | None, *, seed: int) -> Opinion:
    """What rows that all are labelled are; `votes` of several annotators on them."""
    crowd = None if votes is None else hear(votes, evidence)
    near = bool(found) and are_near(evidence, found)
    ranking, calibration, estimators = judge_labels(evidence, found, near=near, seed=seed)
    by_views = estimators.views if estimators else None
    with_strangers = with_rows_of_no_class(evidence, ranking, calibration, least=by_views or 0.0, seed=seed)
    if estimators is not None and by_views is not None and with_strangers is calibration:
        calibration, estimators = with_one_more(calibration, estimators, near=near)
    else:
        calibration = with_strangers
    if crowd is not None:
        ranking, calibration = weighed(crowd, evidence.labels, ranking, calibration)
    contradicting = contrary(calibration.p_mislabel, Anchors.of(evidence).looks)
    calibration = with_decisions(evidence, ranking, calibration, seed=seed)
    return Opinion(ranking, calibration, estimators, crowd, contradicting)


def judge_labels(
    evidence: Evidence, found: list[Witness], *, near: bool, seed: int
) -> tuple[np.ndarray, Calibration, Estimators | None]:
    """(n,) ranking, higher is cleaner; its calibration; and what the rate is a median of, where it is one.

    The witness that agrees best with the given labels says what planted errors would look like: a head in closed form,
    networks, or out-of-sample probabilities of the user's own. Where networks of one view are all there is, errors that
    one of them was shown say it too, and a regression where there is one; a ranking that falls apart into two clear
    groups is counted. A history alone is judged by itself. `near` as in `judge_rate`.
    """
    if not found:
        ranking = rank(evidence, seed=seed)
        return ranking, calibrate(evidence, ranking, seed=seed), None
    ranking, best = together(found), max(found, key=lambda each: each.agreement)
    votes = list(votes_of(evidence, found).values())
    few, shown, counsel = FEW, None, evidence.counsel
    if len(found) == 1 and best.view:  # networks of one view
        few = FEW_FOR_NETWORKS if counsel is None else FEW
        shown = calibrate(evidence, best.ranking, seed=seed)
        if shown.rate.method == COUNTED:
            return ranking, shown, None
        shown = shown if shown.rate.method == PLANTED else None
    judged = judge_rate(
        best.held_out, evidence.labels, votes, ranking, near=near, few=few, shown=shown, counsel=counsel, seed=seed
    )
    return ranking, judged.calibration, judged.estimators


def recorded(evidence: Evidence) -> np.ndarray:
    """(n,) bool: rows with a history or out-of-sample probabilities."""
    rows = np.zeros(len(evidence), dtype=bool)
    if evidence.history is not None:
        rows |= np.isfinite(evidence.history.margin).any(axis=(0, 1))
    if evidence.pred_probs is not None:
        rows |= finite_rows(evidence.pred_probs)
    return rows


def with_rows_of_no_class(
    evidence: Evidence, ranking: np.ndarray, mislabelled: Calibration, *, least: float = 0.0, seed: int
) -> Calibration:
    """The calibration with what planted errors do not know: rows of no class, where there are any to be seen.

    p of a row is that of being mislabelled, or else of no class; made to fall along the ranking, which stays as it is.

    Args:
        least: the rate by independent views, which such rows do not mislead: views contradict their label, and each
            other. Where there are such rows, the rate is no lower.
    """
    rate, p = mislabelled.rate, mislabelled.p_mislabel
    if evidence.pred_probs is None or not (np.isfinite(p).all() and finite_rows(evidence.pred_probs).all()):
        return mislabelled
    found = find_rows_of_no_class(evidence.labels, evidence.pred_probs, p, seed=seed)
    if found is None:
        return mislabelled
    p = isotonic(ranking, p + (1 - p) * found.p, ranking)
    share = min(max(float(p.mean()), least), ceiling(evidence))
    p = scale_odds(p, share) if share != p.mean() else p
    high = min(rate.high + found.most, 1.0)
    rate = NoiseRate(float(p.mean()), rate.low, max(high, float(p.mean())), f"{rate.method}, hidden classes")
    p = strictly(p, ranking) if evidence.head else p
    return Calibration(rate, p, scale_odds(p, float(mislabelled.p_low.mean())), scale_odds(p, rate.high))


def with_decisions(evidence: Evidence, ranking: np.ndarray, judged: Calibration, *, seed: int) -> Calibration:
    """The calibration of judged rows (n,), calibrated once more by what people have decided about some of them."""
    anchors, p = Anchors.of(evidence), judged.p_mislabel
    if not anchors.decided.any() or not np.isfinite(p).all():
        return judged
    found = calibrate_by(p, p >= FLAG, anchors.looks, seed=seed)
    rest = ~anchors.decided
    if rest.any():
        p = strictly(isotonic(ranking[rest], found.p[rest], ranking), ranking)
    rate, low, high = (getattr(found.everything, name) / len(p) for name in ("estimate", "low", "high"))
    method = f"{judged.rate.method}, {anchors.decided.sum():,} decided rows"
    ends = [anchors.settle(scale_odds(p, end)) for end in (low, high)]
    return Calibration(NoiseRate(rate, low, high, method), anchors.settle(p), *ends)


def detect(
    evidence: Evidence, *, trust: np.ndarray, seed: int, search: Search
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, object]]:
    """Run the detectors of an audit that have their evidence: report columns, reasons, and facts by detector."""
    columns: dict[str, np.ndarray] = {}
    reasons: dict[str, np.ndarray] = {}
    facts: dict[str, object] = {}
    window: dict[str, int] = {}
    if evidence.history is not None:
        window["first_epoch"], window["last_epoch"] = evidence.history.safe_window(evidence.labels)
    options: dict[str, Any] = {
        "trust": trust,
        "seed": seed,
        "search": search,
        "first_epoch": 0,
        "last_epoch": None,
        **window,
    }
    running = [spec for spec in DETECTORS if spec.facts.runs]
    specs = [spec for spec in running if all(getattr(evidence, need) is not None for need in spec.needs)]

    def find(spec: Spec[DetectorFacts]) -> Detection:
        return spec.function(evidence, **{name: options[name] for name in spec.facts.given})

    for spec, detection in zip(specs, ahead(find, specs, side_by_side(evidence)), strict=True):
        columns |= detection.columns
        reasons |= detection.reasons
        facts[spec.name] = detection.facts
    facts["window"] = window
    return columns, reasons, facts


def true_class(
    evidence: Evidence, rows: Rows, opinion: Opinion, p: np.ndarray, settled: np.ndarray, *, seed: int
) -> TrueClass:
    """By p_mislabel (n,); rows whose label is `settled` (n,) bool are not between classes."""
    labels, rate = evidence.labels, float(np.nan_to_num(opinion.calibration.rate.estimate))
    seen = class_evidence(evidence, np.flatnonzero(rows.judged), rate, seed=seed)
    posterior: Matrix = Posterior(*seen, labels, p)
    if opinion.crowd is not None:  # annotators tell apart what the views do not
        posterior = Voted(posterior, opinion.crowd, rows.judged)
        return TrueClass(posterior, *best_other(posterior, labels), np.zeros(len(labels), dtype=bool), p)
    best, confidence = best_other(posterior, labels)
    between = between_classes(labels, best, confidence, p, evidence.num_classes) & ~settled
    if between.any():
        p = np.where(between, np.minimum(p, AS_RIGHT_AS_WRONG), p)
        posterior = Posterior(*seen, labels, p)
        best, confidence = best_other(posterior, labels)
    return TrueClass(posterior, best, confidence, between, p)


def conflicting_duplicates(labels: np.ndarray, duplicate_of: np.ndarray, readable: np.ndarray) -> np.ndarray:
    """(n,) bool: rows whose content occurs with another label too. Proof of an error, without a model."""
    known = readable & (labels >= 0)
    return known & differs(roots(duplicate_of), labels, known)


def settle_conflicts(p: np.ndarray, labels: np.ndarray, duplicate_of: np.ndarray, conflict: np.ndarray) -> np.ndarray:
    """(n,) probabilities that respect: of the labels of one content, at most one is right.

    With independent p_l, P(label l is right) is proportional to (1 - p_l) / p_l, and P(none) to 1.
    """
    p = p.copy()
    among = np.flatnonzero(conflict)
    for rows in (among[place] for place in rows_by(roots(duplicate_of)[among])):
        mean = {label: p[rows[labels[rows] == label]].mean() for label in np.unique(labels[rows])}
        odds = {label: (1 - value) / max(value, 1e-3) for label, value in mean.items()}
        total = 1 + sum(odds.values())
        for row in rows:
            p[row] = 1 - odds[labels[row]] / total
    return p


def alone_in_class(labels: np.ndarray, group: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n,) bool: rows whose class no `known` (n,) row has but they and their copies, `group` (n,).

    Whoever has not learned from them has not heard of the class: that they are not predicted in it says nothing.
    """
    n = len(labels)
    pairs = np.unique(labels[known] * n + group[known])  # of class and group
    groups = np.bincount(pairs // n, minlength=int(labels.max(initial=-1)) + 1)
    return (labels >= 0) & (groups[np.maximum(labels, 0)] < 2) if len(groups) else np.zeros(len(labels), bool)

"""From evidence to verdicts: one ranking, one calibrated probability per row, and what to do with the row.

Letters: n samples, k classes, m proxies, p planted rows. All functions are pure; rows are in manifest order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cleanlab_lite.arrays import LazyMatrix, Logarithm, Matrix, blocks, finite_rows, per_row, rows_by, without_own
from cleanlab_lite.errors import EvidenceError
from cleanlab_lite.evidence.evidence import NOBODY, Evidence
from cleanlab_lite.evidence.history import History
from cleanlab_lite.groups import differs, roots
from cleanlab_lite.judge.calibration import COUNTED, PLANTED, Calibration, NoiseRate, calibrate, ceiling, scale_odds
from cleanlab_lite.judge.closed_form import log_probability, sample_rows
from cleanlab_lite.judge.crowd import Crowd, Voted, hear, weighed
from cleanlab_lite.judge.detectors import DETECTORS
from cleanlab_lite.judge.detectors.base import Detection, DetectorFacts
from cleanlab_lite.judge.monotone import isotonic
from cleanlab_lite.judge.neighbors import Search, on_host
from cleanlab_lite.judge.no_class import find_rows_of_no_class
from cleanlab_lite.judge.ranking import (
    Witness,
    blended,
    margins_by_view,
    rank,
    side_by_side,
    together,
    votes_of,
    witnesses,
)
from cleanlab_lite.judge.rate import FEW, FEW_FOR_NETWORKS, Estimators, judge_rate, strictly
from cleanlab_lite.judge.reviews import Looks, calibrate_by, contrary
from cleanlab_lite.registry import Spec
from cleanlab_lite.run.report import FLAG
from cleanlab_lite.votes import Votes
from cleanlab_lite.workers import ahead

AMBIGUOUS = 0.3  # p_mislabel from which a row without a clear class is worth a look
OFFER = 0.6  # probability from which a correction is offered
# probability from which a correction is made without a person: of small sets with weak evidence 9 in 10 are then wrong
ACTED_ON = 0.9
TRUSTED = 0.2  # p_mislabel up to which a row shows how the classes look
UNLIKE = 0.99  # a wrong row without a clear class belongs to none when it is stranger than this share of them
LEAST_TRUSTED = 50  # rows that show how classes look, before one is said to be beyond them all
CONTESTED = 0.25  # mean of 2 min(P(given), P(other)) from which two classes are one: human errors have at most 0.16
ALONE = 0.8  # share of it that the other class has
LEAST_LABELLED = 10  # rows of either class
UNDECIDED = 0.49  # most that p_mislabel is between such classes: no label is more wrong than right
TOP = 3  # classes listed per row


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
class Anchors:
    """Rows that people have decided on: they are not judged again."""

    decided: np.ndarray  # (n,) bool
    wrong: np.ndarray  # (n,) bool, the given label is
    classes: np.ndarray  # (n,) int64 the class that was decided on; NO_CLASS or NOBODY where there is none
    relabelled: np.ndarray  # (n,) bool, another class was decided on

    @classmethod
    def of(cls, evidence: Evidence) -> Anchors:
        labels = evidence.labels
        classes = np.full(len(labels), NOBODY) if evidence.decided is None else evidence.decided
        decided = classes != NOBODY
        other = decided & (classes != labels)
        return cls(decided, other & (labels >= 0), classes, other & (classes >= 0))

    @property
    def looks(self) -> Looks:
        """What was decided of each label."""
        return Looks(self.decided, self.wrong, self.decided)

    @property
    def kept(self) -> np.ndarray:
        """(n,) bool: the label is right."""
        return self.decided & ~self.wrong

    @property
    def dropped(self) -> np.ndarray:
        """(n,) bool: the label is wrong, and there is no other."""
        return self.wrong & ~self.relabelled

    def settle(self, p: np.ndarray) -> np.ndarray:
        """(n,) p_mislabel, which is 0 or 1 where it was decided and is not NaN."""
        return np.where(self.decided & np.isfinite(p), self.wrong, p)

    def suggest(self, best: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) the class that takes the place of the label, and its probability."""
        confidence = np.where(self.relabelled, 1.0, np.where(self.dropped, 0.0, confidence))
        return np.where(self.relabelled, self.classes, best), confidence


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
    labels = evidence.labels
    known = readable & (labels >= 0)
    conflict = conflicting_duplicates(labels, duplicate_of, readable)
    judged = known & recorded(evidence)
    alone = judged & alone_in_class(labels, roots(duplicate_of), known) & ~conflict
    if (judged & ~alone).any():  # else there is nothing to learn, which is found out
        judged &= ~alone
    if known.any() and not judged.any():
        raise EvidenceError("no readable, labelled row has a history or out-of-sample probabilities")
    part = evidence.select(np.flatnonzero(judged))
    found, by_view = witnesses(part, seed=seed), margins_by_view(part)
    ranking, calibration, estimators = judge_labels(part, found, seed=seed)
    if len(found) > 1:
        evidence, part = blended(evidence, found), blended(part, found)
    crowd = (estimators.views or 0.0) if estimators else 0.0
    calibration = with_rows_of_no_class(part, ranking, calibration, least=crowd, seed=seed)
    heard = None if votes is None else hear(votes.select(np.flatnonzero(judged), len(labels)), part)
    if heard is not None:
        ranking, calibration = weighed(heard, part.labels, ranking, calibration)
    contradicting = contrary(calibration.p_mislabel, Anchors.of(part).looks)
    calibration = with_decisions(part, ranking, calibration, seed=seed)
    anchors = Anchors.of(evidence)
    score, p = _spread(ranking, judged), _spread(calibration.p_mislabel, judged)
    p = anchors.settle(settle_conflicts(p, labels, duplicate_of, conflict))
    conflict &= ~anchors.kept

    columns, reasons, facts = detect(part, trust=1 - p[judged], seed=seed, search=search)
    columns |= {f"view_margin_{view}": margin for view, margin in by_view.items()}
    if heard is not None:
        reasons |= {"annotators_disagree": heard.disagree, "outweighed": heard.outweighed}
    columns = {name: _spread(values, judged) for name, values in columns.items()}
    reasons = {name: _spread(values, judged) for name, values in reasons.items()}
    if "neighbors" in columns:  # detectors number the judged rows
        there = columns["neighbors"] >= 0
        columns["neighbors"] = np.where(there, np.flatnonzero(judged)[np.maximum(columns["neighbors"], 0)], -1)
    reasons["duplicate_conflict"] = conflict
    reasons["decided_wrong"] = anchors.wrong & readable

    rate = float(np.nan_to_num(calibration.rate.estimate))
    by_views = Posterior(*class_evidence(evidence, np.flatnonzero(judged), rate, seed=seed), labels, p)
    posterior = by_views if heard is None else Voted(by_views, heard, judged)
    best, confidence = best_other(posterior, labels)
    between = np.zeros(len(labels), dtype=bool)
    if heard is None:  # annotators tell apart what the views do not
        between = between_classes(labels, best, confidence, p, evidence.num_classes) & ~conflict & ~anchors.decided
    if between.any():
        p = np.where(between, np.minimum(p, UNDECIDED), p)
        posterior = replace(by_views, p=p)
        best, confidence = best_other(posterior, labels)
    best, confidence = anchors.suggest(best, confidence)
    ood_score = columns.get("ood_score", np.zeros(len(labels)))
    issue = decide_issue(readable, labels, p, confidence, ood_score, conflict, between)
    offered = (
        np.isin(issue, ("mislabel", "duplicate_conflict", "ambiguous")) & (p >= FLAG) & (confidence >= OFFER)
    ) | ((issue == "unlabeled") & (confidence >= OFFER))
    if empty is not None:
        nothing = like_nothing(labels, best, empty, evidence.num_classes) & ~anchors.decided
        issue, offered = np.where(nothing & (issue == "mislabel"), "out_of_vocabulary", issue), offered & ~nothing
    far = beyond_all(ood_score, p) & (confidence < AMBIGUOUS) & (p >= ACTED_ON)
    clear = offered & ((confidence >= ACTED_ON) | (issue == "unlabeled"))
    if not calibration.rate.reported.determined:  # then nothing is changed without a person
        clear, far = clear & (issue == "unlabeled"), np.zeros(len(labels), dtype=bool)
    clear |= offered & anchors.relabelled
    predicted = np.full(len(labels), -1)
    if evidence.pred_probs is not None:
        predicted[readable] = per_row(most_probable, evidence.pred_probs)[readable]
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
        action=np.where(anchors.dropped, "drop", decide_action(issue, p, clear, far)),
        weight=np.where(known, 1 - np.nan_to_num(p), 0.0),
        columns=columns,
        reasons=reasons,
        facts=facts | {"judged_rows": len(part)} | ({"rate": estimators.facts} if estimators else {}),
        alone=alone,
        contrary=_spread(contradicting, judged),
        crowd=heard,
        estimators=estimators,
    )


def judge_labels(
    evidence: Evidence, found: list[Witness], *, seed: int
) -> tuple[np.ndarray, Calibration, Estimators | None]:
    """(n,) ranking, higher is cleaner; its calibration; and what the rate is a median of, where it is one.

    The witness that agrees best with the given labels says what planted errors would look like: a head in closed form,
    networks, or out-of-sample probabilities of the user's own. Where networks of one view are all there is, errors that
    one of them was shown say it too, and a ranking that falls apart into two clear groups is counted. A history alone
    is judged by itself.
    """
    if not found:
        ranking = rank(evidence, seed=seed)
        return ranking, calibrate(evidence, ranking, seed=seed), None
    ranking, best = together(found), max(found, key=lambda each: each.agreement)
    votes = list(votes_of(evidence, found).values())
    few, shown = FEW, None
    if len(found) == 1 and best.view:  # networks of one view
        few, shown = FEW_FOR_NETWORKS, calibrate(evidence, best.ranking, seed=seed)
        if shown.rate.method == COUNTED:
            return ranking, shown, None
        shown = shown if shown.rate.method == PLANTED else None
    judged = judge_rate(best.held_out, evidence.labels, votes, ranking, few=few, shown=shown, seed=seed)
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
    return Calibration(rate, p, scale_odds(p, rate.low), scale_odds(p, rate.high))


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


def label_free_sharpness(pred_probs: np.ndarray, labels: np.ndarray, rate: float) -> np.float32:
    """The power of `pred_probs` (n, k) that makes them probabilities of the true class.

    They were fitted to the given labels (n,), of which a share `rate` is wrong, and so are too flat. Maximises the
    likelihood of labels that are true with probability 1 - rate, else uniform over the other classes.
    """
    from scipy.optimize import minimize_scalar

    log_p = np.log(np.maximum(pred_probs, 1e-12)).astype(np.float64)
    k = pred_probs.shape[1]

    def loss(log_power: float) -> float:
        own = np.exp(log_probability(log_p * np.exp(log_power), labels))
        return -float(np.log((1 - rate) * own + rate * (1 - own) / (k - 1) + 1e-12).mean())

    return np.float32(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


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


def most_probable(pred_probs: np.ndarray) -> np.ndarray:
    """(n,) int64 class of the largest of probabilities (n, k), any of them NaN."""
    return np.nan_to_num(pred_probs, nan=-1).argmax(axis=1)


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


def prediction_shares(history: History, num_classes: int) -> np.ndarray:
    """(n, k) float32 share of all epochs and proxies in which each class was predicted; NaN where none was."""
    m, e, n = history.shape
    votes = np.zeros((n, num_classes), dtype=np.float32)
    for predicted in history.predicted.reshape(m * e, n):
        rows = np.flatnonzero(predicted >= 0)
        votes[rows, predicted[rows]] += 1
    total = votes.sum(axis=1, keepdims=True)
    return np.where(total > 0, votes / np.maximum(total, 1), np.nan)


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


def alone_in_class(labels: np.ndarray, group: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(n,) bool: rows whose class no `known` (n,) row has but they and their copies, `group` (n,).

    Whoever has not learned from them has not heard of the class: that they are not predicted in it says nothing.
    """
    n = len(labels)
    pairs = np.unique(labels[known] * n + group[known])  # of class and group
    groups = np.bincount(pairs // n, minlength=int(labels.max(initial=-1)) + 1)
    return (labels >= 0) & (groups[np.maximum(labels, 0)] < 2) if len(groups) else np.zeros(len(labels), bool)


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


def decide_issue(
    readable: np.ndarray,
    labels: np.ndarray,
    p: np.ndarray,
    confidence: np.ndarray,
    ood_score: np.ndarray,
    conflict: np.ndarray,
    between: np.ndarray,
) -> np.ndarray:
    """(n,) str. A wrong row is out of the vocabulary when no class claims it and it is unlike the others; a row that
    may be wrong is ambiguous when no other class is clear, or when it is `between` (n,) two that are not told apart."""
    wrong = p >= FLAG
    trusted = ood_score[p < TRUSTED]
    strange = max(np.quantile(trusted, UNLIKE), 0.5) if len(trusted) else 0.5
    no_class = wrong & (confidence < OFFER) & (np.nan_to_num(ood_score) >= strange)
    undecided = (p >= AMBIGUOUS) & (p < FLAG) & ((confidence < AMBIGUOUS) | between)
    conditions = [~readable, labels < 0, conflict, no_class, wrong, undecided]
    names = ["unreadable", "unlabeled", "duplicate_conflict", "out_of_vocabulary", "mislabel", "ambiguous"]
    return np.select(conditions, names, default="none")


def like_nothing(labels: np.ndarray, best: np.ndarray, empty: np.ndarray, num_classes: int) -> np.ndarray:
    """(n,) bool: rows that are `empty` (n,) and whose `best` (n,) other class is not one of such rows, as `silence` is.

    They are all alike, so the label that most of them happen to have is predicted for the others with much confidence.
    """
    known = labels >= 0
    rows, hollow = (np.bincount(labels[part], minlength=num_classes) for part in (known, known & empty))
    return empty & ~(2 * hollow > rows)[best]


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


def _spread(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Values of the judged rows at their places among all n: NaN, -1 or False elsewhere."""
    empty: object = np.nan if values.dtype.kind == "f" else False if values.dtype.kind == "b" else -1
    result = np.full((len(rows), *values.shape[1:]), empty, dtype=values.dtype)
    result[rows] = values
    return result

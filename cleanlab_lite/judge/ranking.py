"""How suspicious each row is: by every witness, a head in closed form or the networks of a view, and by all together.

Witnesses err on different rows, so that their rankings together are better than the best of them, if each counts by
how well it agrees with the given labels on rows that it has not seen (`fusion`).

Letters: n samples, k classes, m proxies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cleanlab_lite.arrays import mean_over_epochs
from cleanlab_lite.evidence.evidence import Evidence, HeldOut, Vote
from cleanlab_lite.evidence.history import HELD_OUT, History
from cleanlab_lite.judge.calibration import calibrate
from cleanlab_lite.judge.closed_form import log_odds, sharpness
from cleanlab_lite.judge.detectors import DETECTORS
from cleanlab_lite.judge.fusion import fuse, shares
from cleanlab_lite.matrices import Logarithm, Softmax, WeightedSum, margins, predictions
from cleanlab_lite.workers import ahead, cores

PROTOTYPES = 0.25  # weight in the ranking, in standard deviations; margins have 1
HEARD = 0.5  # most weight in the ranking of the proxy that was not shown the row
SIDE_BY_SIDE = 200_000  # rows
SURE = 16.0  # nats between two classes; float32 and printed digits round what is beyond to 0 and 1


@dataclass(frozen=True)
class Witness:
    """What a head, or the networks of one view, say of n rows without having seen them."""

    view: str  # "" of a head, which looks at several
    ranking: np.ndarray  # (n,) float64, higher is cleaner
    held_out: HeldOut

    @property
    def agreement(self) -> float:
        """Share of the given labels that are predicted."""
        return self.held_out.agreement


def witnesses(evidence: Evidence, *, seed: int) -> list[Witness]:
    """The head, and the networks of each view; none where nothing says what it has not seen."""
    if evidence.head is None and not evidence.beside:
        if evidence.pred_probs is None:
            return []
        return [Witness(evidence.view, rank(evidence, seed=seed), held_out_by(evidence))]
    found = [] if evidence.head is None else [Witness("", evidence.head.score, evidence.head)]

    def hear(each: Evidence) -> Witness:
        return Witness(each.view, rank(each, seed=seed), held_out_by(each))

    return found + list(ahead(hear, networks_of(evidence), side_by_side(evidence)))


def side_by_side(evidence: Evidence) -> int:
    """How many threads may judge it at the same time: none where that would take much memory."""
    return cores() if len(evidence) <= SIDE_BY_SIDE else 0


def networks_of(evidence: Evidence) -> list[Evidence]:
    """What the networks of each view saw, view by view."""
    return [*([evidence] if evidence.history is not None else []), *evidence.beside.values()]


def held_out_by(networks: Evidence) -> HeldOut:
    """What networks say of rows that they were not shown, scaled like what a head says."""
    labels, pred_probs = networks.labels, networks.need("pred_probs")
    s, noise = sharpness(Logarithm(pred_probs), labels)
    logits = Logarithm(pred_probs, s)
    return HeldOut(
        logits=logits,
        score=log_odds(logits, labels),
        predicted=predictions(pred_probs),
        halves=np.zeros((0, 2, len(labels)), dtype=np.int64),
        neighbors=np.full(len(labels), -1),
        agreement=networks.agreement,
        strength=np.nan,
        sharpness=s,
        noise=noise,
    )


def together(found: list[Witness]) -> np.ndarray:
    """(n,) float64 ranking by all witnesses, higher is cleaner."""
    return fuse([each.ranking for each in found], [each.agreement for each in found])


def votes_of(evidence: Evidence, found: list[Witness]) -> Mapping[str, np.ndarray]:
    """What each view predicts alone, (n,) int64 by its name: views of vectors, and networks on others that count."""
    return {name: vote.predicted for name, vote in _voters(evidence, found).items()}


def are_near(evidence: Evidence, found: list[Witness]) -> bool:
    """Whether two views and more predict nearly as many of the given labels as the best.

    One that is far behind contradicts labels by mistakes of its own.
    """
    agreements = [vote.agreement for vote in _voters(evidence, found).values()]
    return bool(agreements) and int((shares(agreements) > 0).sum()) > 1


def _voters(evidence: Evidence, found: list[Witness]) -> Mapping[str, HeldOut | Vote]:
    weight = shares([each.agreement for each in found])
    counted = [each for each, share in zip(found, weight, strict=True) if share > 0 and each.view]
    return {each.view: each.held_out for each in counted} | dict(evidence.votes)


def margins_by_view(evidence: Evidence) -> dict[str, np.ndarray]:
    """By view, (n,) float64 log-probability of the given label minus that of the best other class, without the row.

    Of vectors by the head that looks at them alone, else by the networks.
    """
    found = {each.view: each for each in networks_of(evidence) if each.view}
    by_networks = {view: margins(Logarithm(each.need("pred_probs")), evidence.labels) for view, each in found.items()}
    return by_networks | {view: vote.margin for view, vote in evidence.votes.items()}


def blended(evidence: Evidence, found: list[Witness]) -> Evidence:
    """With the class probabilities of all witnesses, each by its share, in place of those of one.

    Args:
        evidence: of all n rows.
        found: the witnesses of the judged rows among them, which tell the shares.
    """
    weight = shares([each.agreement for each in found]).astype(np.float32)
    weight /= weight.sum()
    by_head = () if evidence.head is None else (Softmax(evidence.head.logits),)
    networks = networks_of(evidence)
    pred_probs = WeightedSum((*by_head, *(each.need("pred_probs") for each in networks)), weight)
    mean = WeightedSum((*by_head, *(Softmax(each.need("logits")) for each in networks)), weight)
    return replace(evidence, pred_probs=pred_probs, logits=Logarithm(mean, least=1e-12))


def rank(evidence: Evidence, *, seed: int) -> np.ndarray:
    """(n,) float64 ranking, higher is cleaner: margins, and a little of the likeness to the prototypes of the class.

    Margins order rows best where errors are spread over classes. Where a class is often mistaken for one other, the
    proxies learn the mistake; the densest rows of a class still show what it looks like. Measured in RESULTS.md.
    """
    margins = margins_of(evidence)
    if evidence.features is None:
        return margins
    trust = 1 - calibrate(evidence, margins, seed=seed).p_mislabel
    likeness = np.nan_to_num(DETECTORS.get("prototypes").function(evidence, trust=trust, seed=seed).score)
    return margins / deviation(margins) + PROTOTYPES * likeness / deviation(likeness)


def margins_of(evidence: Evidence) -> np.ndarray:
    """(n,) float64 margin of the given label by what there is of it, below 0 where another class is ahead.

    The proxies' own history holds the view of proxies that were not shown the row. A history of one training does not:
    out-of-sample probabilities add it, with the same weight, or stand alone.
    """
    history, pred_probs = evidence.history, evidence.pred_probs
    if history is not None and (pred_probs is None or held_out(history).any()):
        return mean_margins(evidence)
    out_of_sample = np.clip(DETECTORS.get("confident_learning").function(evidence).score, -SURE, SURE)
    if history is None:
        return out_of_sample
    in_sample = mean_margins(evidence)
    return mean_over_epochs(np.stack([values / deviation(values) for values in (in_sample, out_of_sample)]))


def deviation(values: np.ndarray) -> float:
    """Standard deviation of values (n,) without those that are NaN; 1 where all are alike."""
    return float(np.std(values[np.isfinite(values)])) or 1.0


def held_out(history: History) -> np.ndarray:
    """(m, n) bool: the proxy was watched on the row without having been shown its label."""
    return (history.trained_on == HELD_OUT) & np.isfinite(history.margin).any(axis=1)


def mean_margins(evidence: Evidence) -> np.ndarray:
    """(n,) float64 logit margin of the given label, mean over good epochs and all proxies; NaN where none watched.

    A proxy that was shown a planted label for the row does not count. The proxies that trained on a row tell how hard
    its label was to learn, the one that it was held out of what the others think of it. All count alike unless labels
    are learned by heart: then the latter has as much weight as is `memorised`, up to that of all the others together.
    """
    history, labels = evidence.need_history(), evidence.labels
    first, end = history.safe_window(labels)
    margin = np.stack([mean_over_epochs(proxy[first:end].astype(np.float32)) for proxy in history.margin])  # (m, n)
    out = held_out(history)
    counts = np.isfinite(margin) & (out | (history.trained_on == labels))
    trained = mean_over_epochs(np.where(counts & ~out, margin, np.nan))
    others = mean_over_epochs(np.where(counts & out, margin, np.nan))
    alike = (counts & out).sum(axis=0) / np.maximum(counts.sum(axis=0), 1)
    weight = np.maximum(alike, min(memorised(evidence), HEARD))
    mean = weight * others + (1 - weight) * trained
    return np.where(np.isnan(trained), others, np.where(np.isnan(others), trained, mean)).astype(np.float64)


def memorised(evidence: Evidence) -> float:
    """Share, 0..1, of the given labels that are not predicted out of sample but are once they were trained on."""
    history, labels = evidence.need_history(), evidence.labels
    first, end = history.safe_window(labels)
    right = (history.predicted[:, first:end] == labels).mean(axis=1)  # (m, n)
    seen, unseen = history.seen(labels), held_out(history) & (labels >= 0)
    if not seen.any() or not unseen.any():
        return 0.0
    missed = 1 - right[unseen].mean()
    return float(np.clip((right[seen].mean() - right[unseen].mean()) / max(missed, 1e-12), 0, 1))

"""Peers on the very vectors that nlclean's head in closed form learns from: what differs is only how they are judged.

Of pictures and sounds, those of the frozen encoder lite0 (of sounds beside log-mel statistics); ready vectors as they
are. Rows have norm 1, as that head reads them. The methods here need no network but the encoder: 0 epochs, 0 passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.peers import Contest, Finding, aum, confident_learning, look, small_loss
from cleanlab_lite.arrays import unit_rows
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.simifeat import METHODS as SIMIFEAT_METHODS
from cleanlab_lite.judge.detectors.simifeat import simifeat as simifeat_detector
from cleanlab_lite.judge.neighbors import nearest_neighbors
from cleanlab_lite.train.models.encoders import LITE, is_encoder
from cleanlab_lite.train.plan import make_plan

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of LogisticRegression, for columns of variance 1; its default is 1
NEIGHBORS = (10, 20)


@dataclass(frozen=True)
class Vectors:
    """The n teachable rows of a contest."""

    rows: np.ndarray  # (n,) rows of the manifest
    x: np.ndarray  # (n, d) float32, norm 1
    given: np.ndarray  # (n,) int64
    classes: np.ndarray  # (k,) str
    seed: int

    @classmethod
    def of(cls, contest: Contest) -> Vectors:
        manifest, config = on_features(contest).read()
        inputs = look(manifest, make_plan(manifest, config), config)
        rows = np.flatnonzero(inputs.readable & (manifest.labels >= 0))
        x = unit_rows(inputs.array[rows])
        return cls(rows, x, manifest.labels[rows], np.array(manifest.classes), config.seed)

    def finding(self, method: str, score: np.ndarray, **more: Any) -> Finding:
        return Finding(method, self.rows, score, visits=0, epochs=0, **more)


def on_features(contest: Contest) -> Contest:
    """The same contest, seen through an encoder: the one it names, or lite0. Vectors stay as they are."""
    if contest.features is not None or is_encoder(contest.options.get("proxy", "auto")):
        return contest
    return replace(contest, options=contest.options | {"proxy": LITE})


def cleanlab_features(contest: Contest) -> Iterator[Finding]:
    """cleanlab as its users run it on embeddings: logistic regression on standardised columns, cross-validated."""
    seen = Vectors.of(contest)
    pred_probs = regress(seen.x, seen.given, len(seen.classes), contest.folds, seen.seed)
    for pair, found in confident_learning(seen.given, seen.classes, pred_probs):
        yield seen.finding(f"cleanlab on features, {pair}", **found)


def regress(x: np.ndarray, given: np.ndarray, num_classes: int, folds: int, seed: int) -> np.ndarray:
    """(n, k) float64 out-of-sample probabilities of logistic regression on x (n, d), at the strength that suits best.

    Best is the highest out-of-sample accuracy on the given labels, all that a user has.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    pred_probs = np.zeros((len(STRENGTHS), len(x), num_classes))
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, given):
        scaler = StandardScaler().fit(x[train])
        model = LogisticRegression(max_iter=1000, warm_start=True)  # from the weaker solution to the stronger one
        for strength, found in zip(STRENGTHS, pred_probs, strict=True):
            model.set_params(C=strength).fit(scaler.transform(x[train]), given[train])
            found[np.ix_(test, model.classes_)] = model.predict_proba(scaler.transform(x[test]))
    accuracy = (pred_probs.argmax(axis=2) == given).mean(axis=1)
    return pred_probs[accuracy.argmax()]


def simifeat(contest: Contest) -> Iterator[Finding]:
    """SimiFeat (Zhu, Dong and Liu, ICML 2022), its vote and its rank, with k = 10 as in the paper.

    The detector of this library, on all rows at once: the paper repeats it on random subsets and augmentations. Both
    forms have one ranking, the cosine between soft label and given label. The rate is that of the transition matrix.
    """
    seen = Vectors.of(contest)
    evidence = Evidence(seen.given, len(seen.classes), features=seen.x)
    for method in SIMIFEAT_METHODS:
        found = simifeat_detector(evidence, method=method, seed=seen.seed)
        right = np.array(found.facts["right_by_class"])  # (k,)
        yield seen.finding(
            f"SimiFeat, {method}",
            found.score,
            flagged=found.reasons["neighbours_unlike"],
            noise_rate=float(1 - right[seen.given].mean()),
        )


def knn(contest: Contest) -> Iterator[Finding]:
    """Share of the nearest rows, by cosine, with the same given label; flagged where another label has more of them."""
    seen = Vectors.of(contest)
    for k in NEIGHBORS:
        votes = neighbors_votes(seen.x, seen.given, len(seen.classes), k)
        own = votes[np.arange(len(votes)), seen.given]
        flagged = votes.max(axis=1) > own
        suggested = np.where(flagged, seen.classes[votes.argmax(axis=1)], "")
        yield seen.finding(f"kNN agreement, k = {k}", own, flagged=flagged, suggested=suggested)


def neighbors_votes(x: np.ndarray, given: np.ndarray, num_classes: int, k: int) -> np.ndarray:
    """(n, c) float64 shares of the k nearest rows of each row of x (n, d), without itself, by given label."""
    nearest, _ = nearest_neighbors(x, k)
    labels = given[nearest]  # (n, k)
    return np.stack([(labels == c).mean(axis=1) for c in range(num_classes)], axis=1)


def aum_features(contest: Contest) -> Iterator[Finding]:
    """AUM of MLPs on the features."""
    return named_on_features(aum(on_features(contest)))


def small_loss_features(contest: Contest) -> Iterator[Finding]:
    """Small loss of MLPs on the features."""
    return named_on_features(small_loss(on_features(contest)))


def named_on_features(findings: Iterator[Finding]) -> Iterator[Finding]:
    for finding in findings:
        yield replace(finding, method=f"{finding.method}, on features")


METHODS: dict[str, Callable[[Contest], Iterator[Finding]]] = {
    method.__name__: method for method in (cleanlab_features, simifeat, knn, aum_features, small_loss_features)
}

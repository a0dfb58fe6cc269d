"""Rows that several annotators have labelled: their votes and the views, weighed together.

Where there are votes, p_mislabel of a row is what the consensus (`cleanlab_lite.crowd`) leaves for other classes than
the given one: of the votes alone where the views have learned nothing. The rate is its mean. Its interval reaches from
the least of what the votes say alone, the views alone, and both, to the upper end of the views: where everybody errs on
the same items, no voice that counts agreement sees it.

Letters: n rows, k classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from cleanlab_lite.arrays import Z
from cleanlab_lite.crowd import Consensus, find_consensus
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.calibration import Calibration, NoiseRate, scale_odds
from cleanlab_lite.matrices import LazyMatrix, Logarithm, Matrix
from cleanlab_lite.votes import Votes

LEAST = 1e-6  # p_mislabel is never nearer to 0 or 1
METHOD = "annotators and views"


@dataclass(frozen=True)
class Crowd:
    """What votes on n rows say, together with the views."""

    votes: Votes
    voted: np.ndarray  # (n,) bool
    consensus: Consensus  # (n, k)
    alone: Consensus  # of the votes without the views
    disagree: np.ndarray  # (n,) bool: not all votes on the row are for one class
    outweighed: np.ndarray  # (n,) bool: by the votes alone another class than the given one is more probable


@dataclass(frozen=True)
class Voted(LazyMatrix):
    """A matrix (n, k) with the consensus in place of the rows that were voted on."""

    whole: Matrix
    crowd: Crowd
    judged: np.ndarray  # (n,) bool: the rows of the crowd

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.whole), self.whole.shape[1]

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        result = np.array(self.whole[rows])
        place = np.cumsum(self.judged)[rows] - 1  # among the rows of the crowd
        here = np.flatnonzero(self.judged[rows])
        here = here[self.crowd.voted[place[here]]]
        result[here] = self.crowd.consensus[place[here]]
        return result


def hear(votes: Votes, evidence: Evidence) -> Crowd:
    """The votes on n rows of evidence, all of them labelled."""
    n, k = len(evidence), evidence.num_classes
    logits = evidence.logits
    if logits is None and evidence.pred_probs is not None:
        logits = Logarithm(evidence.pred_probs, least=1e-12)
    alone = find_consensus(votes, n, k)
    first = np.full(n, -1)
    first[votes.item[::-1]] = votes.label[::-1]
    disagree = np.zeros(n, dtype=bool)
    disagree[votes.item[votes.label != first[votes.item]]] = True
    voted = votes.counts(n) > 0
    return Crowd(
        votes=votes,
        voted=voted,
        consensus=alone if logits is None else find_consensus(votes, n, k, logits),
        alone=alone,
        disagree=disagree,
        outweighed=voted & (_wrong(alone, evidence.labels) > 0.5),
    )


def _wrong(posterior: Matrix, labels: np.ndarray) -> np.ndarray:
    """(n,) float64 probability of other classes than the labels (n,)."""
    return 1 - np.asarray(posterior[np.arange(len(labels)), labels], dtype=np.float64)


def weighed(
    crowd: Crowd, labels: np.ndarray, ranking: np.ndarray, by_views: Calibration
) -> tuple[np.ndarray, Calibration]:
    """(n,) ranking, higher is cleaner, and its calibration, where rows were voted on; else as the views have them."""
    p = np.where(crowd.voted, _wrong(crowd.consensus, labels), np.nan_to_num(by_views.p_mislabel))
    p = np.clip(p, LEAST, 1 - LEAST)
    known = crowd.voted | np.isfinite(by_views.p_mislabel)
    rate, n = float(p[known].mean()), int(known.sum())
    by_votes = np.where(crowd.voted, _wrong(crowd.alone, labels), p)[known].mean()
    views = by_views.rate
    known_by_views = [views.estimate, views.high] if np.isfinite(views.estimate) else []
    voices = [rate, float(by_votes), *known_by_views]
    ends = np.array([min(voices), max(voices)])
    low, high = np.clip(ends + [-1, 1] * (Z * np.sqrt(ends * (1 - ends) / n)), 0, 1).tolist()
    found = NoiseRate(rate, low, high, METHOD)
    p[~known] = np.nan
    p_low, p_high = np.full((2, len(p)), np.nan)
    p_low[known], p_high[known] = scale_odds(p[known], low), scale_odds(p[known], high)
    return np.where(known, -logit(p), ranking), Calibration(found, p, p_low, p_high)

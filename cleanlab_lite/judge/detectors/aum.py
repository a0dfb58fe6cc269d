"""Area under the margin: the logit margin of the given label, averaged over training.

Pleiss et al., "Identifying mislabeled data using the area under the margin ranking", NeurIPS 2020.

margin_i(t) = z_y - max_{k != y} z_k, AUM_i = mean over epochs and proxies. Small or negative is suspicious.
The ranking is good; the paper's threshold (below the 99th percentile of rows with random labels) catches
errors that look random and misses human ones, so it is a column and not the verdict.
"""

from __future__ import annotations

import math

import numpy as np

from cleanlab_lite.arrays import mean_over_epochs
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.evidence.history import History
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection

FEW_SAMPLES = 200  # below it the 99th percentile is one order statistic, and the 95th is taken


@DETECTORS.register(
    "aum",
    summary="mean logit margin of the given label over training",
    paper="Pleiss et al., NeurIPS 2020",
    needs=("history",),
    runs=True,
    given=("first_epoch", "last_epoch"),
)
def area_under_margin(
    evidence: Evidence, *, first_epoch: int = 0, last_epoch: int | None = None, threshold: float | None = None
) -> Detection:
    """Epoch window [first_epoch, last_epoch), from 0. Without `threshold`, planted rows of the history give one."""
    history, labels = evidence.need_history(), evidence.labels
    margin = history.mean_over_proxies(history.margin[:, first_epoch:last_epoch], labels)
    aum = mean_over_epochs(margin)
    facts: dict[str, object] = {}
    if threshold is None:
        planted = planted_aum(history, labels, first_epoch=first_epoch, last_epoch=last_epoch)
        percentile = 99.0 if len(planted) >= FEW_SAMPLES else 95.0
        threshold = aum_threshold(planted, percentile)
        if len(planted):
            facts = {"threshold_samples": len(planted), "threshold_percentile": percentile}
    return Detection(
        score=aum,
        columns={
            "aum": aum,
            "aum_threshold": np.full(len(aum), threshold),
            "margin_streak": np.where(np.isfinite(aum), longest_negative_streak(margin), -1),
        },
        reasons={"negative_margin": aum < 0},
        facts=facts,
    )


def planted_aum(
    history: History, labels: np.ndarray, *, first_epoch: int = 0, last_epoch: int | None = None
) -> np.ndarray:
    """(p,) AUM of every (proxy, row) pair whose proxy was shown another label than the given one."""
    member, row = np.nonzero((history.trained_on >= 0) & (history.trained_on != labels))
    aum = mean_over_epochs(history.margin[member, first_epoch:last_epoch, row].T.astype(np.float64))
    return aum[np.isfinite(aum)]


def aum_threshold(aum_of_threshold_samples: np.ndarray, percentile: float = 99.0) -> float:
    """AUM below which more than (100 - percentile) % of the threshold samples lie higher; NaN without samples."""
    ordered = np.sort(aum_of_threshold_samples)
    if not len(ordered):
        return math.nan
    above = int((100 - percentile) * len(ordered) / 100 + 1e-9)
    return float(ordered[max(len(ordered) - 1 - above, 0)])


def longest_negative_streak(margin: np.ndarray) -> np.ndarray:
    """(n,) int32 longest run of negative margins (e, n); an epoch that was not recorded neither adds nor breaks."""
    run = np.zeros(margin.shape[1], dtype=np.int32)
    longest = run.copy()
    for epoch in margin:
        run = np.where(epoch < 0, run + 1, np.where(np.isnan(epoch), run, 0)).astype(np.int32)
        longest = np.maximum(longest, run)
    return longest

"""Runs of negative margins: a label that the proxy contradicts for several epochs in a row is given up.

After MARVEL: Lin and Bradic, "Learning to combat noisy labels via classification margins", arXiv 2021. The paper's
window and threshold could not be checked; ours are a window of 5 epochs (3 in trainings of less than 15) and the
margin 0, below which another class is predicted.

The score is the share of windows without any positive margin, so it resists the last epochs, in which wrong labels
are memorised.
"""

from __future__ import annotations

import numpy as np

from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection

SHORT = 15  # epochs


@DETECTORS.register(
    "marvel",
    summary="share of windows of epochs in which the margin stayed negative",
    paper="Lin and Bradic, arXiv 2021",
    needs=("history",),
)
def marvel(
    evidence: Evidence, *, first_epoch: int = 0, last_epoch: int | None = None, window: int | None = None
) -> Detection:
    """Epoch window [first_epoch, last_epoch), from 0. `abandoned`: most proxies had such a run."""
    history, labels = evidence.need_history(), evidence.labels
    margin = history.margin[:, first_epoch:last_epoch]
    window = min(window or (3 if margin.shape[1] < SHORT else 5), max(margin.shape[1], 1))
    seen = history.seen(labels)[:, None, :] & np.isfinite(margin)
    negative, windows = negative_windows(margin, seen, window)
    observed = windows > 0  # (m, n)
    proxies = observed.sum(axis=0)
    share = (negative / np.maximum(windows, 1)).sum(axis=0)
    return Detection(
        score=np.where(proxies > 0, -share / np.maximum(proxies, 1), np.nan),
        reasons={"abandoned": (negative > 0).sum(axis=0) > proxies / 2},
        facts={"window": window},
    )


def negative_windows(margin: np.ndarray, recorded: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows of `window` successive recorded epochs whose margins are all negative, and all windows: each (m, n).

    `margin` and `recorded` are (m, e, n). A row with fewer epochs than a window has none.
    """
    m, e, n = margin.shape
    run, length, negative = (np.zeros((m, n), dtype=np.int64) for _ in range(3))
    for epoch in range(e):
        now = recorded[:, epoch]
        run = np.where(now, np.where(margin[:, epoch] < 0, run + 1, 0), run)
        length += now
        negative += now & (run >= window)
    return negative, np.maximum(length - window + 1, 0)

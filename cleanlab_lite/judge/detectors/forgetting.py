"""Learning and forgetting of the given label, epoch by epoch.

Toneva et al., "An empirical study of example forgetting", ICLR 2019: an event is a step from predicted to not
predicted. The score is the share of epochs in which the label was not predicted: unlike the loss of the last
epoch it resists memorisation, and a label that was never learned has the worst value there is.
Forgetting alone mixes hard and wrong rows, so its count is a column only.
"""

from __future__ import annotations

import numpy as np

from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection


@DETECTORS.register(
    "forgetting",
    summary="share of epochs in which the given label was not predicted; forgetting events",
    paper="Toneva et al., ICLR 2019",
    needs=("history",),
    runs=True,
)
def forgetting(evidence: Evidence, *, first_epoch: int = 0, last_epoch: int | None = None) -> Detection:
    """Epoch window [first_epoch, last_epoch), from 0; `learned_epoch` counts all epochs from 1, -1 is never."""
    history, labels = evidence.need_history(), evidence.labels
    window = slice(first_epoch, last_epoch)
    seen = history.seen(labels)[:, None, :]
    recorded = seen & np.isfinite(history.margin[:, window])
    events, learned, wrong = count_events(history.predicted[:, window] == labels, recorded)

    observed = recorded.any(axis=1)  # (m, n)
    proxies = observed.sum(axis=0)
    # median over proxies, where never sorts last and proxies that saw nothing after that; the earlier of two middles
    order = np.where(learned > 0, learned + first_epoch, np.iinfo(np.int64).max - 1)
    order = np.sort(np.where(observed, order, np.iinfo(np.int64).max), axis=0)
    median = np.take_along_axis(order, np.maximum(proxies - 1, 0)[None, :] // 2, axis=0)[0]
    median = np.where(median < np.iinfo(np.int64).max - 1, median, -1)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.where(proxies > 0, np.where(observed, values, 0.0).sum(axis=0) / np.maximum(proxies, 1), np.nan)

    return Detection(
        score=-mean(wrong),
        columns={"forgetting_events": mean(events), "learned_epoch": median},
        reasons={"never_learned": (median < 0) & (proxies > 0)},
    )


def count_events(correct: np.ndarray, recorded: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forgetting events, epoch (from 1) from which the label stays predicted (0: never), share of wrong epochs.

    `correct` and `recorded` are (m, e, n) bool, each result is (m, n). Epochs that were not recorded are skipped:
    0011011 has 1 event, 0101010 has 3, 1111 has none.
    """
    m, e, n = correct.shape
    events, learned, wrong = (np.zeros((m, n), dtype=np.int64) for _ in range(3))
    was_correct = np.zeros((m, n), dtype=bool)
    for epoch in range(e):
        hit, miss = correct[:, epoch] & recorded[:, epoch], ~correct[:, epoch] & recorded[:, epoch]
        events += was_correct & miss
        wrong += miss
        learned = np.where(miss, 0, np.where(hit & (learned == 0), epoch + 1, learned))
        was_correct = np.where(recorded[:, epoch], hit, was_correct)
    return events, learned, wrong / np.maximum(recorded.sum(axis=1), 1)

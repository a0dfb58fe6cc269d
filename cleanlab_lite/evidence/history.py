"""`History`: how every sample was learned, by every proxy, epoch by epoch.

Letters: m networks (proxies), e epochs, n samples. Row i is row i of the manifest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cleanlab_lite.arrays import largest_other
from cleanlab_lite.matrices import let_go

HELD_OUT = -1
STATISTICS_ROWS = 8192  # of logits at a time
LARGEST = 6e4  # loss or margin: float16 ends at 65504
SAFE_AGREEMENT = 0.95  # of the best epoch's; measured on vectors and pictures, .9 and .97 do as well


@dataclass(frozen=True)
class History:
    """Loss and margin of every sample after every epoch, from clean, unaugmented passes.

    Loss, margin and prediction refer to the label in `trained_on`, and to the given label where the
    sample was held out. A value is NaN where nothing was recorded.
    """

    loss: np.ndarray  # (m, e, n) float16, cross entropy in nats, whatever the training loss was
    margin: np.ndarray  # (m, e, n) float16, logit of the label minus the largest other logit
    predicted: np.ndarray  # (m, e, n) signed integers, class of the largest logit
    trained_on: np.ndarray  # (m, n) int32, label each proxy was shown; HELD_OUT where it saw none

    @property
    def shape(self) -> tuple[int, int, int]:
        """(m, e, n)"""
        return self.loss.shape  # type: ignore[return-value]

    def let_go(self) -> None:
        """Give back the memory of what was read or written so far, where the curves lie in files."""
        for curves in (self.loss, self.margin, self.predicted, self.trained_on):
            let_go(curves)

    def seen(self, labels: np.ndarray) -> np.ndarray:
        """(m, n) bool: the proxy trained on the sample with its given label (not held out, not planted)."""
        return (self.trained_on == labels[None, :]) & (labels[None, :] >= 0)

    def safe_window(self, labels: np.ndarray) -> tuple[int, int]:
        """First epoch, and the one after the last, whose held-out predictions agree well with the given labels.

        Before it the proxies have learned too little, after it they memorise. No clean label is needed: wrong labels
        lower the agreement of all epochs alike. All epochs where nothing was held out.
        """
        held_out = (self.trained_on == HELD_OUT) & (labels >= 0)
        if not held_out.any():
            return 0, self.shape[1]
        agreement = ((self.predicted == labels) & held_out[:, None, :]).sum(axis=(0, 2)) / held_out.sum()
        good = np.flatnonzero(agreement >= SAFE_AGREEMENT * agreement.max())
        return int(good[0]), int(good[-1]) + 1

    def select(self, rows: np.ndarray | slice) -> History:
        """The same history for a subset of rows (index, mask, or a slice, of which nothing is copied)."""
        return History(
            self.loss[:, :, rows], self.margin[:, :, rows], self.predicted[:, :, rows], self.trained_on[:, rows]
        )

    def mean_over_proxies(self, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(e, n) float64 mean of `values` (m, e, n) over the proxies that trained on the given label.

        NaN where no proxy did.
        """
        count, total = np.zeros(values.shape[1:], dtype=np.int32), np.zeros(values.shape[1:])
        for proxy, seen in zip(values, self.seen(labels), strict=True):
            there = np.isfinite(proxy) & seen
            count += there
            np.add(total, proxy, out=total, where=there)
        return np.divide(total, count, out=np.full(values.shape[1:], np.nan), where=count > 0)


def smallest_integer(num_classes: int) -> np.dtype:
    """The smallest signed type for class numbers and -1."""
    return next(np.dtype(kind) for kind in (np.int8, np.int16, np.int32) if num_classes <= np.iinfo(kind).max)


def statistics(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loss, margin and prediction of (n, k) logits for (n,) labels: float16, float16, int32.

    Loss and margin are NaN where the label is -1 or the logits are NaN; the prediction is -1 only for the latter.
    """
    n = len(labels)
    loss, margin, predicted = np.empty(n, np.float16), np.empty(n, np.float16), np.empty(n, np.int32)
    for start in range(0, n, STATISTICS_ROWS):  # in parts, as each needs several copies of its logits
        part = slice(start, start + STATISTICS_ROWS)
        loss[part], margin[part], predicted[part] = _statistics(logits[part], labels[part])
    return loss, margin, predicted


def _statistics(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = np.arange(len(labels))
    valid = np.isfinite(logits[:, 0])
    predicted = np.where(valid, logits.argmax(1), -1).astype(np.int32)
    label = np.maximum(labels, 0)
    given = logits[rows, label]
    top = logits.max(1)
    loss = np.log(np.exp(logits - top[:, None]).sum(1)) + top - given
    margin = given - largest_other(logits, label)
    known = valid & (labels >= 0)
    return (
        np.where(known, np.clip(loss, 0, LARGEST), np.nan).astype(np.float16),
        np.where(known, np.clip(margin, -LARGEST, LARGEST), np.nan).astype(np.float16),
        predicted,
    )

"""Data maps: how probable the given label was over training, and how much that changed.

Swayamdipta et al., "Dataset cartography: mapping and diagnosing datasets with training dynamics", EMNLP 2020.

    confidence_i = mean_t p_t(y_i)        variability_i = std_t p_t(y_i)

Wrong labels are the region of low confidence and low variability. Confidence is the score: variability alone
ranks them the wrong way round, because most right labels have little of it too.
"""

from __future__ import annotations

import numpy as np

from cleanlab_lite.arrays import mean_over_epochs
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection


@DETECTORS.register(
    "cartography",
    summary="mean probability of the given label over training; its variability",
    paper="Swayamdipta et al., EMNLP 2020",
    needs=("history",),
)
def cartography(evidence: Evidence, *, first_epoch: int = 0, last_epoch: int | None = None) -> Detection:
    """Epoch window [first_epoch, last_epoch), from 0. A label below one half is less likely than all others together.

    The facts hold the mean variability of the rows that are flagged and of those that are not.
    """
    history, labels = evidence.need_history(), evidence.labels
    loss = history.loss[:, first_epoch:last_epoch].astype(np.float64)
    confidence, variability = data_map(history.mean_over_proxies(np.exp(-loss), labels))
    hard = confidence < 0.5
    means: dict[str, object] = {
        name: float(variability[rows].mean()) if rows.any() else 0.0
        for name, rows in (("variability_flagged", hard), ("variability_others", confidence >= 0.5))
    }
    return Detection(score=confidence, reasons={"low_confidence": hard}, facts=means)


def data_map(probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (n,) over the epochs of probability (e, n); epochs that are NaN do not count."""
    confidence = mean_over_epochs(probability)
    return confidence, np.sqrt(mean_over_epochs((probability - confidence) ** 2))

"""Second-split forgetting: how soon a label is forgotten once the network learns other rows only.

Maini et al., "Characterizing datapoints via second-split forgetting", NeurIPS 2022. A network learns one half of the
rows, then the other half only. For a row x of the first,

    SSFT(x) = the first epoch of the second phase from which x stays misclassified

Nothing in the other rows supports a wrong label, so it goes early. A rare row has its like in the other half and is
remembered, though it is learned as late and lies as far from its class as a wrong one: margins and density do not
tell these two apart. The paper averages over seeds; here every row is in one first half.
"""

from __future__ import annotations

import numpy as np

from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection


@DETECTORS.register(
    "second_split_forgetting",
    summary="how soon the label is forgotten while the network learns other rows only",
    paper="Maini et al., NeurIPS 2022",
    needs=("second_split",),
    runs=True,
)
def second_split_forgetting(evidence: Evidence, *, early: float = 0.5) -> Detection:
    """The score is the epoch of forgetting, one more than there are where the label is remembered.

    early: share of the epochs up to which a label is forgotten early. A label that the first phase did not teach is
    forgotten at 0.
    """
    predicted = np.asarray(evidence.need("second_split"))
    epoch = forgotten_at(predicted != evidence.labels)
    last = len(predicted) - 1
    return Detection(
        score=epoch.astype(np.float64),
        columns={"second_split_epoch": np.where(epoch <= last, epoch, -1)},
        reasons={"forgotten_early": epoch <= early * last},
        facts={"epochs": last, "remembered": int((epoch > last).sum())},
    )


def forgotten_at(wrong: np.ndarray) -> np.ndarray:
    """(n,) first epoch from which wrong (e, n) stays true; e where it does not: 0111 -> 1, 1101 -> 3, 1110 -> 4."""
    return len(wrong) - np.logical_and.accumulate(wrong[::-1]).sum(axis=0)

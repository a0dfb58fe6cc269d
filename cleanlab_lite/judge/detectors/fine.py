"""Alignment with the main direction of a class in feature space.

Kim et al., "FINE samples for learning with noisy labels", NeurIPS 2021. Per class, u is the first eigenvector of the
Gram matrix sum_i f_i f_i^T of its rows, f of length 1 and not centred, and the score is <u, f_i>^2. Wrong labels are
the lower of two Gaussians on the scores of a class.

Assumes that right labels are the majority of the class and that the class has one mode: u follows the largest.
"""

from __future__ import annotations

import numpy as np

from cleanlab_lite.arrays import unit_rows
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection
from cleanlab_lite.judge.mixture import fit_gaussian_mixture


@DETECTORS.register(
    "fine",
    summary="alignment with the first eigenvector of the class's features",
    paper="Kim et al., NeurIPS 2021",
    needs=("features",),
)
def fine(evidence: Evidence) -> Detection:
    """A class whose scores have one bump, or hardly any rows, flags none."""
    rows, labels = unit_rows(evidence.need("features")), evidence.labels
    score = np.empty(len(labels))
    noisy = np.zeros(len(labels), dtype=bool)
    rates = []
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        score[members] = alignment(rows[members])
        mixture = fit_gaussian_mixture(-score[members])
        if mixture.separated:
            noisy[members] = mixture.posterior(-score[members]) > 0.5
        rates.append(float(noisy[members].mean()))
    return Detection(score=score, reasons={"misaligned": noisy}, facts={"flagged_share_by_class": rates})


def alignment(rows: np.ndarray) -> np.ndarray:
    """(r,) squared cosine of each of `rows` (r, d), of length 1, with the first right singular vector of them all."""
    gram = rows.T.astype(np.float64) @ rows
    return (rows @ np.linalg.eigh(gram)[1][:, -1]) ** 2

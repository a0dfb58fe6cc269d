"""The order of the rows is nobody's opinion: the same rows, listed otherwise, get the same verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from audit_world import CLASSES, save_pictures, task, write_csv

import nlclean

pytestmark = pytest.mark.usefixtures("here")


def shuffled_p(audit) -> tuple[np.ndarray, np.ndarray]:
    """p_mislabel of the rows as they are, and of the same rows shuffled, put back."""
    order = np.random.default_rng(1).permutation(120)
    found = []
    for number, rows in enumerate((np.arange(120), order)):
        report = audit(rows, f"run{number}")
        p = np.empty(120)
        p[rows] = np.asarray(report.table["p_mislabel"], dtype=np.float64)
        found.append(p)
    return found[0], found[1]


def test_vectors(here: Path) -> None:
    given = task(120, wrong=12)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 8)).astype(np.float32) + 3 * np.eye(8, dtype=np.float32)[given.truth]
    options = {"epochs": 4, "ensemble": 3, "progress": False}

    def audit(rows: np.ndarray, out: str):
        return nlclean.audit((x[rows], given.labels[rows]), out=here / out, **options)

    p, again = shuffled_p(audit)
    np.testing.assert_allclose(again, p, atol=1e-6)


def test_pictures_with_copies(here: Path) -> None:
    given = task(120, wrong=12)
    names = [f"{row:03}.png" for row in range(120)]
    save_pictures(here, given.truth, names)
    for copy, original in ((5, 70), (90, 11)):
        (here / names[copy]).write_bytes((here / names[original]).read_bytes())

    def audit(rows: np.ndarray, out: str):
        cells = {"path": [names[row] for row in rows], "label": [CLASSES[given.labels[row]] for row in rows]}
        options = {"views": "pixels", "epochs": 2, "ensemble": 2, "image_size": 16, "progress": False}
        return nlclean.audit(write_csv(here / f"{out}.csv", cells), out=here / out, **options)

    p, again = shuffled_p(audit)
    rank = np.corrcoef(np.argsort(np.argsort(p)), np.argsort(np.argsort(again)))[0, 1]
    assert rank > 0.99 and np.mean((p >= 0.5) == (again >= 0.5)) >= 0.99

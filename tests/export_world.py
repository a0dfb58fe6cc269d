"""A small audited dataset of pictures on disk, for the tests of the exporters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from audit_world import CLASSES, save_pictures, write_csv
from cli_world import finished_run, make_report, mislabel, row, sealed

from cleanlab_lite.export.policy import Cleaned, apply_policy
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.manifest.saved import save_manifest
from cleanlab_lite.run.report import ReportTable

# file, class of the picture, label given, split, what the report says
ROWS: list[tuple[str, int, str, str, dict]] = [
    ("a/1.png", 0, "cat", "train", {}),
    ("a/2.png", 0, "dog", "train", {"predicted_label": "cat"}),
    ("b/1.png", 1, "dog", "train", {}),
    ("b/3.png", 2, "cat", "train", {"issue": "out_of_vocabulary", "action": "drop", "suggested_label": None}),
    ("b/4.png", 2, "owl", "train", {}),
    ("t/5.png", 2, "owl", "test", {}),
    ("t/6.png", 1, "owl", "test", {"suggested_label": "dog", "predicted_label": "dog"}),
]


def dataset(folder: Path, rows: list = ROWS, *, splits: bool = True) -> tuple[Manifest, ReportTable]:
    """`folder/data/m.csv` with its pictures, read; and a report in which the rows with a verdict are mislabels."""
    (folder / "data").mkdir(parents=True)
    save_pictures(folder / "data", np.array([kind for _, kind, *_ in rows]), [name for name, *_ in rows])
    columns = {"path": [name for name, *_ in rows], "label": [label for _, _, label, *_ in rows]}
    if splits:
        columns["split"] = [split for *_, split, _ in rows]
    manifest = read_manifest(write_csv(folder / "data" / "m.csv", columns | {"by": ["ann"] * len(rows)}))
    return manifest, make_report([report_row(*entry) for entry in rows])


def report_row(name: str, kind: int, label: str, split: str, verdict: dict) -> dict:
    make = mislabel if verdict else row
    facts = {"given_label": label or None, "predicted_label": CLASSES[kind], "split": split or None, "path": name}
    facts |= {"top_labels": [CLASSES[kind], "cow"], "top_probs": [0.75, 0.25]}
    return make(name, **facts | verdict)


def saved_run(folder: Path, manifest: Manifest, report: ReportTable) -> Path:
    """A run folder of this user, for the command line."""
    run = finished_run(folder / "run", report)
    save_manifest(manifest, run / "manifest.parquet")
    return sealed(run)


def cleaned(manifest: Manifest, report: ReportTable, policy: str = "correct", **options) -> Cleaned:
    return Cleaned(manifest, report.table, apply_policy(report.table, manifest.held_back, policy, **options))


def tree(folder: Path) -> list[str]:
    """Relative paths of all files, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())

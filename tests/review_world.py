"""Small finished runs to review: pictures, sounds and vectors that anyone can tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cli_world import make_report, row
from PIL import Image

from cleanlab_lite.evidence.decisions import DecisionLog
from cleanlab_lite.manifest.manifest import Manifest, Modality, Source
from cleanlab_lite.manifest.saved import save_manifest
from cleanlab_lite.report.reviewed import rows_to_decide
from cleanlab_lite.run import RunFolder
from cleanlab_lite.run.report import ReportTable
from nlclean.review.app import ReviewApp
from nlclean.review.queue import Queue
from nlclean.review.samples import SampleReader

CLASSES = ("bird", "cat", "dog")
EPOCHS = 8
ROWS = 24
FLAGGED = (3, 7, 11, 15)  # in the order of p_mislabel: .95, .85, .75, .65


def report_rows(ids: list[str]) -> list[dict[str, Any]]:
    """Row i has class i % 3, but for FLAGGED, whose given label is the next one and whose own label is suggested."""
    rows = []
    for i, id in enumerate(ids):
        true = i % 3
        wrong = i in FLAGGED
        p = 0.95 - 0.1 * FLAGGED.index(i) if wrong else 0.02
        given = CLASSES[(true + wrong) % 3]
        same = [ids[j] for j in range(len(ids)) if j % 3 == true and j != i][:6]
        flagged = {
            "predicted_label": CLASSES[true],
            "suggested_label": CLASSES[true],
            "suggestion_confidence": p - 0.03,
            "is_label_issue": True,
            "issue": "mislabel",
            "action": "relabel",
            "reasons": ["high_loss", "negative_margin", "neighbours_disagree"],
            "loss_mean": 2.31,
            "aum": -1.7,
            "knn_agreement": 0.1,
            "knn_label": CLASSES[true],
        }
        others = [name for name in CLASSES if name != CLASSES[true]]
        rows.append(
            row(id, path=id, given_label=given, p_mislabel=p, label_score=1 - p, neighbors=same)
            | {"top_labels": [CLASSES[true], *others], "top_probs": [0.9, 0.07, 0.03]}
            | (flagged if wrong else {})
        )
    return rows


def make_run(folder: Path, modality: Modality, rows: list[dict[str, Any]] | None = None) -> Path:
    """A run folder `folder/run` on `ROWS` samples, with the files beside it."""
    run = folder / "run"
    run.mkdir(parents=True)
    ending = {"image": ".png", "sound": ".wav", "vector": ""}[modality]
    rows = rows or report_rows([f"{i:02}{ending}" for i in range(ROWS)])
    ids = [row["id"] for row in rows]
    n, truth = len(ids), np.arange(len(ids)) % 3
    report: ReportTable = make_report(rows)
    report.write(run / "report.parquet", run_id="0123abcd")
    files = [folder / f"{i}{ending}" for i in range(n)]
    for i, file in enumerate(files):
        if modality == "image":
            picture(int(truth[i])).save(file)
        elif modality == "sound":
            write_wav(file, 300.0 * 3 ** int(truth[i]))
    given = [row["given_label"] for row in rows]
    classes = tuple(sorted({label for label in given if label is not None}))
    source = Source(
        str(folder / "pets.csv"), "csv", "label", path_column=None if modality == "vector" else "id", id_column="id"
    )
    manifest = Manifest(
        table=pa.table({"id": ids, "label": given}),
        source=source,
        modality=modality,
        classes=classes,
        ids=np.array(ids),
        labels=np.array([-1 if label is None else classes.index(label) for label in given]),
        splits=np.array([""] * n),
        uris=None if modality == "vector" else np.array(list(map(str, files))),
    )
    save_manifest(manifest, run / "manifest.parquet")
    wrong = np.array([row["is_label_issue"] for row in rows])[:, None]
    time = np.linspace(0, 1, EPOCHS)
    curves = {
        "loss": np.where(wrong, 2.4 - 0.5 * time, 1.1 * np.exp(-3 * time)),
        "margin": np.where(wrong, -2 + 0.8 * time, 3 * time),
    }
    columns = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), EPOCHS)
        for name, values in curves.items()
    }
    pq.write_table(pa.table({"id": ids, **columns}), run / "history.parquet")
    features = np.eye(3)[truth] + np.random.default_rng(0).normal(0, 0.1, (n, 3))
    np.save(run / "features.npy", features.astype(np.float16))
    return run


def picture(kind: int) -> Image.Image:
    """A red, green or blue square in another corner of a grey one."""
    pixels = np.full((16, 16, 3), 60, dtype=np.uint8)
    corner = ((0, 0), (0, 8), (8, 8))[kind]
    pixels[corner[0] : corner[0] + 8, corner[1] : corner[1] + 8] = np.eye(3, dtype=np.uint8)[kind] * 180 + 40
    return Image.fromarray(pixels)


def write_wav(path: Path, hertz: float) -> None:
    """A tone of one second that swells and fades, 8 kHz, 16 bits."""
    import wave

    t = np.arange(8000) / 8000
    samples = np.sin(2 * np.pi * hertz * t) * np.sin(np.pi * t)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((samples * 20000).astype("<i2").tobytes())


def open_review(run: Path, *, reviewer: str = "ann", calibrate: bool = False) -> ReviewApp:
    samples = SampleReader(RunFolder(run))
    rows = rows_to_decide(samples.table, np.zeros(samples.table.num_rows, dtype=bool)) if calibrate else None
    queue = Queue(samples.table, DecisionLog(run / "decisions.jsonl"), reviewer, rows)
    return ReviewApp(samples, queue, blind=calibrate)

"""A finished run with a known report, and a way to call the program, for the tests of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cleanlab_lite.forecast import Forecast, Part
from cleanlab_lite.manifest.manifest import Manifest, Source
from cleanlab_lite.run.report import SCHEMA, ReportTable
from cleanlab_lite.run.seal import seal
from cleanlab_lite.run.summary import Summary
from nlclean.main import program

HOSTILE = "\x1b[2J[red]cat[/red]\n\u202etxt.exe"  # clears the screen, is rich markup, breaks the line, reverses text
HOSTILE_SHOWN = r"\x1b[2J[red]cat[/red]\n\u202etxt.exe"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Result:
    """Run `nlclean ARGUMENTS` in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        program.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return Result(int(stop.value.code or 0), out, err)


HEAVY = {"torch", "torchvision", "torchaudio", "numpy", "pyarrow", "scipy", "scipy.stats", "sklearn", "rich", "pandas"}

_LOADED = f"""
import json, sys
from nlclean.main import program
for arguments in json.loads(sys.argv[1]):
    try:
        program.main(arguments)
    except SystemExit:
        pass
print(*sorted({HEAVY} & set(sys.modules)), file=sys.stderr)
"""


def loaded_by(*arguments: object) -> set[str]:
    """The heavy packages that `nlclean ARGUMENTS` imports, in a fresh interpreter."""
    return loaded_by_all(arguments)


def loaded_by_all(*commands: Sequence[object]) -> set[str]:
    """The same of several commands, one after the other in one interpreter."""
    command = [sys.executable, "-c", _LOADED, json.dumps([list(map(str, arguments)) for arguments in commands])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return set(done.stderr.splitlines()[-1].split())


def on_terminal(*arguments: object, stdout: int | None = None, **environ: str) -> tuple[str, str]:
    """Run Python with `arguments` on a pseudo terminal: (what reached stdout when that is a pipe, the terminal)."""
    pty = pytest.importorskip("pty")  # not on Windows
    master, slave = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI")}
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdout=stdout or slave,
        stderr=slave,
        env=inherited | {"TERM": "xterm-256color", "COLUMNS": "120"} | environ,
    )
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)
    out, _ = process.communicate()
    assert process.returncode == 0, shown.decode()
    return (out or b"").decode(), shown.decode()


def row(id: str, **values: Any) -> dict[str, Any]:
    """A row of a report that is fine, but for `values`."""
    fine = {
        "given_label": "dog",
        "predicted_label": "dog",
        "is_label_issue": False,
        "label_score": 0.99,
        "p_mislabel": 0.01,
        "issue": "none",
        "action": "keep",
        "weight": 1.0,
        "reasons": [],
    }
    return dict.fromkeys(SCHEMA.names) | {"id": id} | fine | values


def mislabel(id: str, **values: Any) -> dict[str, Any]:
    """A row whose label is probably wrong, to be relabelled to cat."""
    wrong = {
        "is_label_issue": True,
        "label_score": 0.05,
        "p_mislabel": 0.95,
        "issue": "mislabel",
        "suggested_label": "cat",
        "suggestion_confidence": 0.9,
        "action": "relabel",
        "reasons": ["negative_margin"],
    }
    return row(id) | wrong | values


def summary(**values: Any) -> Summary:
    base = {
        "schema_version": 1,
        "run_id": "0123abcd",
        "manifest": {"path": "pets.csv", "rows": 4, "labelled": 4, "classes": 2, "modality": "image"},
        "noise_rate": {"estimate": 0.123, "low": 0.1, "high": 0.15, "method": "confident joint"},
        "flagged": 2,
        "issues": {"none": 2, "mislabel": 2},
        "actions": {"keep": 2, "relabel": 1, "drop": 1},
        "reasons": {"negative_margin": 2},
        "classes": [
            {"label": "cat", "rows": 1, "flagged": 0, "noise_rate": 0.0, "low": 0.0, "high": 0.1},
            {"label": "dog", "rows": 3, "flagged": 2, "noise_rate": 0.5, "low": 0.4, "high": 0.6},
        ],
        "confusions": [{"given": "dog", "suggested": "cat", "rows": 2, "expected": 1.5}],
        "proxy": {"name": "cnn"},
        "warnings": [],
    }
    return Summary.from_dict(base | values)


def make_report(rows: list[dict[str, Any]], **changes: Any) -> ReportTable:
    return ReportTable(pa.Table.from_pylist(rows, schema=SCHEMA), summary(**changes))


def make_manifest(path: Path, ids: list[str], labels: list[str], splits: list[str] | None = None) -> Manifest:
    """A CSV on disk and the manifest of it: columns path, label, split, and one of the owner's own."""
    columns = {"path": ids, "label": labels, "split": splits or [""] * len(ids), "annotator": ["ann"] * len(ids)}
    lines = [",".join(values) for values in zip(*columns.values(), strict=True)]
    path.write_text("\n".join([",".join(columns), *lines]) + "\n", encoding="utf-8")
    classes = tuple(sorted(set(labels)))
    return Manifest(
        table=pa.table(columns),
        source=Source(
            str(path), "csv", "label", path_column="path", split_column="split", notes=("label column: label",)
        ),
        modality="image",
        classes=classes,
        ids=np.array(ids),
        labels=np.array([classes.index(label) for label in labels]),
        splits=np.array(columns["split"]),
        uris=np.array([str(path.parent / id) for id in ids]),
    )


def finished_run(folder: Path, report: ReportTable) -> Path:
    """A run folder that holds `report`."""
    folder.mkdir(parents=True)
    report.write(folder / "report.parquet", run_id="0123abcd")
    return folder


def sealed(folder: Path) -> Path:
    """The run folder, as one that an audit of this user has finished."""
    state = {"key": "0123abcd" * 8, "command": ["nlclean"], "resumed": 0, "finished": "2026-01-01T00:00:00+00:00"}
    (folder / "run.json").write_text(json.dumps(state | {"seal": seal(folder, state["key"])}))
    return folder


def fake_pipeline(monkeypatch: pytest.MonkeyPatch, audit: Any) -> None:
    """Put `audit` in the place of the pipeline's, and a source of evidence that is none."""
    pipeline, sources = ModuleType("cleanlab_lite.pipeline"), ModuleType("cleanlab_lite.sources")

    def without_decisions(*args: Any, asked: None, **more: Any) -> Any:
        return audit(*args, **more)

    pipeline.__dict__.update(run_audit=without_decisions, run_key=lambda *_: "ab" * 32)
    sources.__dict__.update(source_of=fake_source, workers_ready=lambda *_, **__: nullcontext())
    for module in (pipeline, sources):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def fake_source(manifest: Manifest, config: Any, **_: None) -> SimpleNamespace:
    """Of evidence: a plan and nothing else."""
    plan = {
        "rows": len(manifest),
        "labelled": len(manifest),
        "classes": manifest.num_classes,
        "modality": manifest.modality,
        "views": ("pixels",),
        "recipes": 1,
        "encoder_precision": "",
        "encoder_features": 0,
        "memory_gib": 1.0,
        "disk_mib": 12,
        "ensemble": config.ensemble,
        "heads": "trained",
        "proxy": "mlp",
        "image_size": 0,
        "sample_rate": 0,
        "encoder": "",
        "beside": None,
        "patch_seconds": 0.0,
        "strategy": "mixup",
        "loss": "ce",
        "epochs": config.epochs,
        "batch_size": 32,
        "device": "cpu",
        "precision": "fp32",
        "warm_start": "",
    }
    expected = Forecast((Part("train", 95, 80, 125, epochs=96),))
    return SimpleNamespace(facts=plan, forecast=lambda _: expected)

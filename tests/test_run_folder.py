"""A finished run, read: every part, and what is said when one is missing, damaged, or of other rows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_world import call, finished_run, loaded_by_all, make_report, mislabel, row, sealed
from review_world import EPOCHS, ROWS, make_run

from cleanlab_lite.errors import ReportError
from cleanlab_lite.evidence.decisions import Decision
from cleanlab_lite.run import RunFolder, layout
from cleanlab_lite.run.report import ReportTable, by_suspicion
from cleanlab_lite.run.summary import Summary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run(tmp_path, "vector")


def test_a_run_is_named_by_its_folder_by_its_report_or_is_the_newest(tmp_path: Path) -> None:
    old, new = (finished_run(tmp_path / stem / "run", make_report([row("a")])) for stem in ("old", "new"))
    os.utime(old / layout.REPORT, (1, 1))
    assert RunFolder(old).folder == RunFolder(old / layout.REPORT).folder == old
    assert RunFolder(root=tmp_path).folder == new


def test_every_part_is_read(folder: Path) -> None:
    run = RunFolder(folder)
    ids = run.report.table["id"].to_pylist()
    assert run.manifest.ids.tolist() == run.lines.ids.to_pylist() == ids
    assert run.lines.source == run.manifest.source and run.lines.numbers is None
    assert run.summary.manifest.path == "pets.csv" and run.summary is run.report.summary
    assert run.features is not None and run.features.shape == (ROWS, 3)
    assert run.history is not None and run.history.epochs == EPOCHS
    written = np.array(pq.read_table(folder / layout.HISTORY)["margin"].to_pylist(), dtype=np.float32)
    rows = np.array([7, 2, 2, 0])
    np.testing.assert_array_equal(run.history.read("margin", rows), written[rows])
    assert run.decisions == []
    run.journal.append(Decision(ids[0], "keep", "dog", reviewer="ann"))
    assert [decision.id for decision in run.decisions] == ids[:1]  # also those made since


def test_parts_that_not_every_run_has(tmp_path: Path) -> None:
    run = RunFolder(finished_run(tmp_path / "run", make_report([row("a")])))
    assert run.history is run.features is run.noise_matrix is run.state is None and not run.has_manifest
    for part in ("manifest", "lines"):
        with pytest.raises(ReportError, match=r"cannot read .*manifest\.parquet"):
            getattr(run, part)


def test_a_run_whose_files_were_moved_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page without a single picture would be a riddle."""
    run, page = make_run(tmp_path, "image"), tmp_path / "page.html"
    uris, found = RunFolder(run).manifest.uris, RunFolder(run).report
    place = found.table.schema.get_field_index("content")
    read = found.table.set_column(place, found.table.schema.field(place), found.table["id"])
    ReportTable(read, found.summary).write(run / layout.REPORT)
    sealed(run)
    assert uris is not None and not RunFolder(run).moved
    assert call(capsys, "report", run, "--html", page).err.count("warning") == 0
    for uri in filter(os.path.exists, uris.tolist()):
        os.rename(uri, f"{uri}.moved")
    assert "not where they were audited" in call(capsys, "report", run, "--html", page, "--force").err
    assert not RunFolder(make_run(tmp_path / "vectors", "vector")).moved


def test_the_state_of_a_run(folder: Path) -> None:
    state = {"key": "0123", "command": ["nlclean"], "resumed": 0, "finished": "2026-01-01", "classes": ["cat"], "x": 1}
    (folder / layout.STATE).write_text(json.dumps(state))
    read = RunFolder(folder).state
    assert read is not None and (read.key, read.classes, read.plan) == ("0123", ["cat"], None)


PARTS = {
    "manifest": layout.MANIFEST,
    "lines": layout.MANIFEST,
    "history": layout.HISTORY,
    "features": layout.FEATURES,
    "noise_matrix": layout.NOISE_MATRIX,
    "report": layout.REPORT,
    "state": layout.STATE,
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("content", [b"", b"no such format", b"PAR1 cut off"])
def test_a_damaged_part_is_named(folder: Path, part: str, content: bytes) -> None:
    (folder / PARTS[part]).write_bytes(content)
    with pytest.raises(ReportError, match=PARTS[part]) as caught:
        getattr(RunFolder(folder), part)
    assert caught.value.hint


@pytest.mark.parametrize("part", ["manifest", "lines", "history"])
def test_a_part_of_other_rows_is_refused(folder: Path, part: str) -> None:
    report = ReportTable.read(folder / layout.REPORT)
    ReportTable(report.table.slice(1), report.summary).write(folder / layout.REPORT)
    with pytest.raises(ReportError, match=f"a report on {ROWS - 1} rows and a .* of {ROWS}"):
        getattr(RunFolder(folder), part)
    ids = report.table["id"].to_pylist()
    ids[4] = "another"
    ReportTable(report.table.set_column(0, "id", pa.array(ids)), report.summary).write(folder / layout.REPORT)
    with pytest.raises(ReportError, match="different rows: row 5 is 'another' in the report"):
        getattr(RunFolder(folder), part)


@pytest.mark.parametrize("shape", [(ROWS + 1, 3), (ROWS,)])
def test_features_of_other_rows_are_refused(folder: Path, shape: tuple[int, ...]) -> None:
    np.save(folder / layout.FEATURES, np.zeros(shape, dtype=np.float16))
    with pytest.raises(ReportError, match=f"{ROWS} rows and features of {shape[0]}"):
        _ = RunFolder(folder).features


def test_a_history_without_curves_is_refused(folder: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), folder / layout.HISTORY)
    with pytest.raises(ReportError, match="no curves of loss and margin"):
        _ = RunFolder(folder).history


# --- the summary ----------------------------------------------------------------------------------------------------


def test_a_summary_goes_through_json_unchanged() -> None:
    summary = make_report([]).summary
    stored = json.dumps(summary.as_dict())
    assert Summary.from_dict(json.loads(stored)) == summary
    assert json.dumps(Summary.from_dict(json.loads(stored)).as_dict()) == stored  # the order of the keys too


def test_a_summary_of_another_version_is_read() -> None:
    summary = make_report([]).summary
    stored = summary.as_dict() | {"of tomorrow": 1}
    for name in ("leakage", "duplicates", "warnings", "encoder", "search", "run_id", "detectors"):
        del stored[name]
    stored["manifest"].pop("fingerprint")
    read = Summary.from_dict(stored)
    assert read.noise_rate == summary.noise_rate and read.warnings == read.leakage == [] and read.search is None


@pytest.mark.parametrize("summary", [None, b"[]", b"{", b"{}", b'{"manifest": 1}'])
def test_a_report_with_a_damaged_summary_is_named(folder: Path, summary: bytes | None) -> None:
    path = folder / layout.REPORT
    table = pq.read_table(path)
    metadata = table.schema.metadata | {b"nlclean.summary": summary}
    if summary is None:
        del metadata[b"nlclean.summary"]
    pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(ReportError, match=r"the summary in .* is damaged"):
        ReportTable.read(path)


# --- one order of suspicion -----------------------------------------------------------------------------------------


def test_every_list_has_the_same_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = {"issue": "duplicate_conflict"}
    rows = [
        mislabel("sure", label_score=0.001),
        mislabel("late copy", label_score=0.4, content="c", duplicate_of="copy", **proof),
        mislabel("less sure", label_score=0.02),
        mislabel("copy", label_score=0.3, content="c", **proof),
    ]
    make_run(tmp_path, "vector", rows)
    report = ReportTable.read(tmp_path / "run" / layout.REPORT)
    order = ["copy", "late copy", "sure", "less sure"]
    assert report.table["id"].take(pa.array(by_suspicion(report.table))).to_pylist() == order
    assert report.flagged()["id"].to_pylist() == report.suspicious()["id"].to_pylist() == order
    checked = json.loads(call(capsys, "check", tmp_path / "run", "--format", "json").out)
    assert [each["id"] for each in checked["suspicious"]] == order and "place" not in checked["suspicious"][0]


# --- what is loaded -------------------------------------------------------------------------------------------------


def test_looking_at_a_run_loads_nothing_heavy(folder: Path) -> None:
    looks = [("report", folder), ("review", folder, "--json"), ("review", folder)]
    checks = [("check", folder, "--format", form) for form in ("text", "json", "markdown", "junit", "sarif")]
    loaded = loaded_by_all(*looks, *checks)
    assert "pyarrow" in loaded
    assert not {"torch", "torchvision", "torchaudio", "scipy", "sklearn"} & loaded

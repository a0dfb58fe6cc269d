"""`nlclean export`: what is written, where, and what is never touched."""

from __future__ import annotations

import json

import pytest
from cli_world import call, finished_run, loaded_by, make_manifest, make_report, mislabel, row

from cleanlab_lite.exporters.manifest import save_manifest

IDS = ["fine.png", "wrong.png", "alien.png", "test.png"]
LABELS = ["dog", "dog", "cat", "dog"]
ORIGINAL = """path,label,split,annotator
fine.png,dog,train,ann
wrong.png,dog,train,ann
alien.png,cat,train,ann
test.png,dog,test,ann
"""


@pytest.fixture
def run(tmp_path):
    """A finished run of `data/pets.csv`."""
    (tmp_path / "data").mkdir()
    manifest = make_manifest(tmp_path / "data" / "pets.csv", IDS, LABELS, ["train", "train", "train", "test"])
    rows = [
        row(IDS[0], split="train"),
        mislabel(IDS[1], split="train", suggestion_confidence=0.7),
        mislabel(IDS[2], split="train", issue="out_of_vocabulary", action="drop", suggested_label=None),
        mislabel(IDS[3], split="test"),
    ]
    folder = finished_run(tmp_path / "run", make_report(rows))
    save_manifest(manifest, folder / "manifest.parquet")
    return folder


def without(*names: str) -> str:
    return "".join(line for line in ORIGINAL.splitlines(keepends=True) if not line.startswith(names))


def test_pruned_is_the_default_and_lies_beside_the_manifest(run, capsys):
    result = call(capsys, "export", run)
    target = run.parent / "data" / "pets.pruned.csv"
    assert (result.code, result.out) == (0, f"{target}\n")
    assert result.err == "kept 2, dropped 2, relabelled 0 of 4 rows\n"
    assert target.read_text() == without("wrong", "alien")
    assert (run.parent / "data" / "pets.csv").read_text() == ORIGINAL
    assert len(list(target.parent.iterdir())) == 2  # no temporary file stays


def test_corrected(run, capsys):
    target = run.parent / "out.csv"
    result = call(capsys, "export", run, "--what", "corrected", "--output", target)
    assert target.read_text() == without("alien").replace("wrong.png,dog", "wrong.png,cat")
    assert result.err.splitlines() == [
        "kept 3, dropped 1, relabelled 1 of 4 rows",
        f"relative paths in it count from {run.parent / 'data'}",
    ]


def test_min_confidence_and_include_split(run, capsys):
    target = run.parent / "data" / "out.csv"
    options = ["--what", "corrected", "--min-confidence", 0.8, "--include-split", "test", "--output", target]
    result = call(capsys, "export", run, *options, "--json")
    assert json.loads(result.out) == {
        "path": str(target),
        "what": "corrected",
        "kept": 3,
        "dropped": 1,
        "relabelled": 1,
    }
    assert target.read_text() == without("alien").replace("test.png,dog", "test.png,cat")


def test_nothing_is_overwritten_unless_forced(run, capsys):
    target = run.parent / "data" / "pets.pruned.csv"
    target.write_text("precious")
    result = call(capsys, "export", run)
    assert result.code == 2
    assert "--force" in result.err
    assert target.read_text() == "precious"
    assert call(capsys, "export", run, "--force").code == 0
    assert target.read_text() == without("wrong", "alien")


def test_the_audited_manifest_is_never_overwritten(run, capsys):
    original = run.parent / "data" / "pets.csv"
    result = call(capsys, "export", run, "--output", original, "--force")
    assert result.code == 2
    assert "is the audited manifest" in result.err
    assert original.read_text() == ORIGINAL


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--output", "x.parquet"], 2, "the manifest is a .csv file"),
        (["--output", "folder.csv"], 2, "folder.csv is a folder"),
        (["--output", "no/such/folder/x.csv"], 3, "cannot write no/such/folder/x.csv"),
        (["--include-split", "tset"], 2, "no row has the split 'tset'"),
        (["--min-confidence", "2"], 2, "--min-confidence"),
    ],
)
def test_what_is_refused(run, capsys, monkeypatch, options, code, said):
    monkeypatch.chdir(run)
    (run / "folder.csv").mkdir()
    result = call(capsys, "export", run, *options)
    assert (result.code, result.out) == (code, "")
    assert said in result.err


def test_a_report_of_another_manifest_is_refused(run, capsys):
    make_report([row("a")]).write(run / "report.parquet")
    assert call(capsys, "export", run).code == 3


def test_export_never_loads_torch(run):
    assert not {"torch", "torchvision", "torchaudio"} & loaded_by("export", run)

"""`nlclean export`: what is written, where, and what is never touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from audit_world import write_csv
from cli_world import call, finished_run, loaded_by, make_manifest, make_report, mislabel, row
from export_world import ROWS, dataset, saved_run, tree

from cleanlab_lite.decisions import Decision, DecisionLog
from cleanlab_lite.exporters import folders
from cleanlab_lite.exporters.formats import FORMATS
from cleanlab_lite.exporters.manifest import save_manifest
from cleanlab_lite.readers import read_manifest

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
        mislabel(
            IDS[2], split="train", given_label="cat", issue="out_of_vocabulary", action="drop", suggested_label=None
        ),
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
    result = call(capsys, "export", run, "--policy", "correct", "--output", target)
    assert target.read_text() == without("alien").replace("wrong.png,dog", "wrong.png,cat")
    assert result.err.splitlines() == [
        "kept 3, dropped 1, relabelled 1 of 4 rows",
        f"relative paths in it count from {run.parent / 'data'}",
    ]


def test_min_confidence_and_include_split(run, capsys):
    target = run.parent / "data" / "out.csv"
    options = ["--policy", "correct", "--min-confidence", 0.8, "--include-split", "test", "--output", target]
    result = call(capsys, "export", run, *options, "--json")
    assert json.loads(result.out) == {
        "path": str(target),
        "format": "manifest",
        "policy": "correct",
        "kept": 3,
        "dropped": 1,
        "relabelled": 1,
        "decided_by_people": 0,
        "notes": [],
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
        (["--output", "x.parquet"], 2, "it must end in .csv"),
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


def test_help_shows_every_format_and_loads_nothing(capsys):
    out = call(capsys, "export", "--help").out
    for format in FORMATS.values():
        assert f"{format.name:<13}{format.summary}" in out
    assert loaded_by("export", "--help") == set()


def test_weight(run, capsys):
    result = call(capsys, "export", run, "--policy", "weight")
    target = run.parent / "data" / "pets.weighted.csv"
    assert result.out == f"{target}\n"
    assert target.read_text().splitlines() == [
        "path,label,split,annotator,weight",
        "fine.png,dog,train,ann,1.0",
        "wrong.png,dog,train,ann,1.0",
        "alien.png,cat,train,ann,1.0",
        "test.png,dog,test,ann,1.0",
    ]
    again = ["--policy", "weight", "--output", run.parent / "x.csv"]
    save_manifest(read_manifest(_with_pictures(target)), run / "manifest.parquet")
    call(capsys, "export", run, *again)
    assert (run.parent / "x.csv").read_text().startswith("path,label,split,annotator,weight,weight_2\n")


def _with_pictures(manifest):
    for name in IDS:
        (manifest.parent / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    return manifest


def test_decisions_of_the_run_count(run, capsys):
    log = DecisionLog(run / "decisions.jsonl")
    log.append(Decision("wrong.png", "keep", "dog", reviewer="ann"))
    log.append(Decision("fine.png", "relabel", "dog", "cat", reviewer="ann"))
    log.append(Decision("test.png", "drop", "dog", reviewer="ann"))
    result = call(capsys, "export", run)
    assert (run.parent / "data" / "pets.pruned.csv").read_text() == without("alien").replace(
        "fine.png,dog", "fine.png,cat"
    )
    assert result.err.splitlines() == [
        "kept 3, dropped 1, relabelled 1 of 4 rows; 2 decided by people",
        "1 decisions on test or validation rows (--include-split names a split to change) are passed over: 'test.png'",
    ]


def test_decisions_of_other_files_replace_those_of_the_run(run, capsys):
    DecisionLog(run / "decisions.jsonl").append(Decision("fine.png", "drop", "dog", reviewer="ann"))
    files = [run.parent / f"{name}.jsonl" for name in ("ann", "bob")]
    for file, name in zip(files, ("ann", "bob"), strict=True):
        DecisionLog(file).append(Decision("wrong.png", "keep", "dog", reviewer=name))
    target = run.parent / "out.csv"
    options = [text for file in files for text in ("--decisions", file)]
    result = call(capsys, "export", run, *options, "--output", target, "--json")
    assert json.loads(result.out)["decided_by_people"] == 1
    assert target.read_text() == without("alien")
    files[0].write_text("{}\n")
    result = call(capsys, "export", run, *options, "--output", target, "--force")
    assert (result.code, target.read_text()) == (2, without("alien"))
    assert "line 1 is no decision" in result.err


def test_max_drop_per_class(run, capsys):
    call(capsys, "export", run, "--max-drop-per-class", 0.5)
    assert (run.parent / "data" / "pets.pruned.csv").read_text() == without("wrong")  # 1 of 2 dogs, 0 of 1 cats


@pytest.fixture
def pictures(tmp_path):
    return saved_run(tmp_path, *dataset(tmp_path))


def test_folders(pictures, capsys):
    clean = pictures.parent / "clean"
    result = call(capsys, "export", pictures, "--format", "folders", "--policy", "correct", "--output", f"{clean}/")
    assert (result.code, result.out) == (0, f"{clean}\n")
    kept = ["train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "train/owl/4.png"]
    assert tree(clean) == [".nlclean-export", "test/owl/5.png", "test/owl/6.png", *kept]
    assert sorted(path.name for path in pictures.parent.iterdir()) == ["clean", "data", "run"]


@pytest.mark.parametrize("name", [name for name, format in FORMATS.items() if name != "manifest"])
def test_every_format_has_a_place_of_its_own(pictures, capsys, name):
    result = call(capsys, "export", pictures, "--format", name, "--json")
    document = json.loads(result.out)
    assert result.code == 0 and document["format"] == name
    assert Path(document["path"]).parent == pictures.parent / "data"
    assert len(list((pictures.parent / "data").iterdir())) == 5  # three folders of pictures, the manifest, and it
    assert read_manifest(pictures.parent / "data" / "m.csv").ids.tolist() == [row[0] for row in ROWS]
    again = call(capsys, "export", pictures, "--format", name)
    assert again.code == 2 and "--force" in again.err
    assert call(capsys, "export", pictures, "--format", name, "--force").code == 0
    assert len(list((pictures.parent / "data").iterdir())) == 5


def test_force_replaces_no_folder_that_an_export_did_not_make(pictures, capsys):
    mine = pictures.parent / "mine"
    mine.mkdir()
    options = ["--format", "folders", "--output", mine, "--force"]
    assert call(capsys, "export", pictures, *options).code == 0  # an empty one will do
    shutil.rmtree(mine)
    mine.mkdir()
    (mine / "precious").touch()
    result = call(capsys, "export", pictures, *options)
    assert result.code == 2 and "holds files that no export wrote" in result.err
    assert tree(mine) == ["precious"]


def test_nothing_is_written_into_what_was_audited(tmp_path, capsys):
    folders_of = tmp_path / "photos"
    earlier = saved_run(tmp_path, *dataset(tmp_path, splits=False))
    call(capsys, "export", earlier, "--format", "folders", "--output", folders_of)
    manifest = read_manifest(folders_of)  # an export of earlier is audited
    rows = make_report([row(id) for id in manifest.ids.tolist()])
    run = saved_run(tmp_path / "y", manifest, rows)
    before = tree(folders_of)
    (tmp_path / "alias").symlink_to(folders_of)
    for target in (folders_of, folders_of / "clean", folders_of / "cat" / "x.csv", tmp_path / "alias" / "new"):
        options = ["--format", "folders"] if target.suffix == "" else []
        result = call(capsys, "export", run, *options, "--output", target, "--force")
        assert result.code == 2 and "which is never changed" in result.err, target
    write_csv(tmp_path / "m.csv", {"path": [f"photos/{id}" for id in manifest.ids], "label": ["cat", "dog"] * 2})
    save_manifest(read_manifest(tmp_path / "m.csv"), run / "manifest.parquet")
    result = call(capsys, "export", run, "--format", "folders", "--output", folders_of, "--force")
    assert result.code == 2 and "holds audited files" in result.err
    assert tree(folders_of) == before


def test_a_glob_is_not_added_to(tmp_path, capsys, monkeypatch):
    dataset(tmp_path)
    shutil.copy(tmp_path / "data/m.csv", tmp_path / "data/n.csv")
    manifest = read_manifest(f"{tmp_path}/data/*.csv")
    run = saved_run(tmp_path, manifest, make_report([row(id) for id in manifest.ids.tolist()]))
    result = call(capsys, "export", run, "--output", tmp_path / "data" / "new.csv")
    assert result.code == 2 and "lies in the audited data" in result.err
    monkeypatch.chdir(run)
    assert call(capsys, "export", run).out == f"{run / 'dataset.pruned.csv'}\n"


def test_a_failure_leaves_nothing_behind(pictures, capsys, monkeypatch):
    clean = pictures.parent / "clean"
    call(capsys, "export", pictures, "--format", "folders", "--output", clean)
    before = tree(clean)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.Placer, "place", fail)
    result = call(capsys, "export", pictures, "--format", "folders", "--output", clean, "--force")
    assert result.code == 3 and "No space left" in result.err
    assert tree(clean) == before
    assert sorted(path.name for path in pictures.parent.iterdir()) == ["clean", "data", "run"]


def test_vectors_have_no_files_to_put_into_folders(tmp_path, capsys):
    np.savez(tmp_path / "f.npz", x=np.eye(2), y=np.array(["cat", "dog"]), ids=np.array(["u", "v"]))
    run = saved_run(tmp_path, read_manifest(tmp_path / "f.npz"), make_report([row("u"), mislabel("v")]))
    for name in ("folders", "huggingface", "labelstudio", "fiftyone"):
        result = call(capsys, "export", run, "--format", name)
        assert result.code == 2 and "the rows are of the kind vector" in result.err
    for name in ("manifest", "patch", "cleanlab", "argilla"):
        assert call(capsys, "export", run, "--format", name).code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--format", "labelstudio", "--policy", "correct"],
            "--policy does nothing in an export of format labelstudio",
        ),
        (["--format", "cleanlab", "--min-confidence", "0.5"], "--min-confidence does nothing"),
        (["--link", "copy"], "--link does nothing in an export of format manifest"),
        (["--format", "folders", "--policy", "weight"], "--format folders has no place for weights"),
        (["--policy", "weight", "--max-drop-per-class", "0.5"], "weight drops nothing"),
        (["--reverse"], "--reverse does nothing in an export of format manifest"),
        (["--format", "cleanlab", "--output", "x.json"], "it must end in .csv or .parquet"),
        (["--format", "folders", "--output", "report.parquet"], "is a file, this format writes a folder"),
    ],
)
def test_options_that_do_not_go_together(run, capsys, monkeypatch, options, said):
    monkeypatch.chdir(run)
    result = call(capsys, "export", run, *options)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_apply_and_reverse(run, capsys):
    patch = run.parent / "p.jsonl"
    call(capsys, "export", run, "--policy", "correct", "--format", "patch", "--output", patch)
    original = run.parent / "data" / "pets.csv"
    result = call(capsys, "export", "--apply", patch, "--to", original)
    patched = run.parent / "data" / "pets.patched.csv"
    assert (result.code, result.out) == (0, f"{patched}\n")
    assert result.err == "dropped 1, put back 0, relabelled 1 rows\n"
    assert patched.read_text() == without("alien").replace("wrong.png,dog", "wrong.png,cat")
    result = call(capsys, "export", "--apply", patch, "--to", patched, "--reverse", "--json")
    document = json.loads(result.out)
    assert Path(document.pop("path")).read_text() == original.read_text() == ORIGINAL
    assert document == {"dropped": 0, "restored": 1, "relabelled": 1, "notes": []}


def test_conflicts_are_all_listed(run, capsys):
    patch, moved = run.parent / "p.jsonl", run.parent / "moved.csv"
    call(capsys, "export", run, "--policy", "correct", "--format", "patch", "--output", patch)
    moved.write_text(without("alien").replace("wrong.png,dog", "wrong.png,owl"))
    result = call(capsys, "export", "--apply", patch, "--to", moved)
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines() == [
        f"error: 2 of 2 changes conflict with {moved}, nothing is written:",
        "  'wrong.png': the label is 'owl', not 'dog'",
        "  'alien.png': the row is gone",
        "  hint: --skip-conflicts makes the others",
    ]
    assert not (run.parent / "moved.patched.csv").exists()
    result = call(capsys, "export", "--apply", patch, "--to", moved, "--skip-conflicts")
    assert result.code == 0
    assert (run.parent / "moved.patched.csv").read_text() == moved.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--to"], "requires an argument"),
        ([], "--apply needs --to MANIFEST"),
        (["--to", "m.csv", "--policy", "correct"], "--policy does nothing in --apply"),
        (["--to", "m.csv", "--format", "folders"], "--format does nothing in --apply"),
        (["--to", "gone.csv"], "'gone.csv' does not exist"),
        (["--to", "m.csv"], "no column 'label' for the label"),
        (["--to", "ok.csv", "--output", "ok.csv", "--force"], "is the audited manifest"),
    ],
)
def test_patches_that_cannot_be_applied(run, capsys, monkeypatch, options, said):
    monkeypatch.chdir(run.parent)
    call(capsys, "export", run, "--format", "patch", "--output", "p.jsonl")
    write_csv(run.parent / "m.csv", {"path": ["fine.png"], "class": ["dog"]})
    (run.parent / "ok.csv").write_text(ORIGINAL)
    result = call(capsys, "export", "-q", "--apply", "p.jsonl", *options)
    assert (result.code, result.out) == (2, "")
    assert said in result.err

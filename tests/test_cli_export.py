"""`nlclean export`: what is written, where, and what is never touched."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit_world import write_csv
from cli_world import call, finished_run, loaded_by, make_manifest, make_report, mislabel, row, sealed
from export_world import ROWS, dataset, saved_run, tree

from cleanlab_lite.evidence.decisions import Decision, DecisionLog
from cleanlab_lite.export import folders
from cleanlab_lite.export.formats import FORMATS
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.manifest.saved import save_manifest

# a quarter of the rows goes, and half of the cats: as much as may go without --max-drop
IDS = ["fine.png", "wrong.png", "alien.png", "test.png", "rex.png", "bello.png", "lassie.png", "tom.png"]
LABELS = ["dog", "dog", "cat", "dog", "dog", "dog", "dog", "cat"]
ORIGINAL = """path,label,split,annotator
fine.png,dog,train,ann
wrong.png,dog,train,ann
alien.png,cat,train,ann
test.png,dog,test,ann
rex.png,dog,train,ann
bello.png,dog,train,ann
lassie.png,dog,train,ann
tom.png,cat,train,ann
"""


@pytest.fixture
def run(tmp_path):
    """A finished run of `data/pets.csv`."""
    (tmp_path / "data").mkdir()
    manifest = make_manifest(tmp_path / "data" / "pets.csv", IDS, LABELS, ["train"] * 3 + ["test"] + ["train"] * 4)
    rows = [
        row(IDS[0], split="train"),
        mislabel(IDS[1], split="train", suggestion_confidence=0.7),
        mislabel(
            IDS[2], split="train", given_label="cat", issue="out_of_vocabulary", action="drop", suggested_label=None
        ),
        mislabel(IDS[3], split="test"),
        *(row(id, split="train", given_label=label) for id, label in zip(IDS[4:], LABELS[4:], strict=True)),
    ]
    folder = finished_run(tmp_path / "run", make_report(rows))
    save_manifest(manifest, folder / "manifest.parquet")
    return sealed(folder)


def without(*names: str) -> str:
    return "".join(line for line in ORIGINAL.splitlines(keepends=True) if not line.startswith(names))


def test_pruned_is_the_default_and_lies_beside_the_manifest(run, capsys):
    result = call(capsys, "export", run)
    target = run.parent / "data" / "pets.pruned.csv"
    assert (result.code, result.out) == (0, f"{target}\n")
    assert result.err == "kept 6, dropped 2, relabelled 0 of 8 rows\n"
    assert target.read_text() == without("wrong", "alien")
    assert (run.parent / "data" / "pets.csv").read_text() == ORIGINAL
    assert len(list(target.parent.iterdir())) == 2  # no temporary file stays


def test_corrected(run, capsys):
    target = run.parent / "out.csv"
    result = call(capsys, "export", run, "--policy", "correct", "--output", target)
    assert target.read_text() == without("alien").replace("wrong.png,dog", "wrong.png,cat")
    assert result.err.splitlines() == [
        "kept 7, dropped 1, relabelled 1 of 8 rows",
        f"relative paths in it start at {run.parent / 'data'}",
    ]


def test_a_policy_of_decisions_says_where_there_is_none(run, capsys):
    result = call(capsys, "export", run, "--policy", "decided")
    assert (run.parent / "data" / "pets.decided.csv").read_text() == ORIGINAL
    assert result.err.splitlines()[-1] == "nobody has decided about a row: nothing is changed"


def test_min_confidence_and_include_split(run, capsys):
    target = run.parent / "data" / "out.csv"
    options = ["--policy", "correct", "--min-confidence", 0.8, "--include-split", "test", "--output", target]
    result = call(capsys, "export", run, *options, "--json")
    assert json.loads(result.out) == {
        "path": str(target),
        "format": "manifest",
        "policy": "correct",
        "kept": 7,
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


def test_help_shows_every_format(capsys):
    out = call(capsys, "export", "--help").out
    for format in FORMATS.values():
        assert f"{format.name:<13}{format.summary}" in out


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
        "rex.png,dog,train,ann,1.0",
        "bello.png,dog,train,ann,1.0",
        "lassie.png,dog,train,ann,1.0",
        "tom.png,cat,train,ann,1.0",
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
        "kept 7, dropped 1, relabelled 1 of 8 rows; 2 decided by people",
        "passed over: 1 decision in a test or validation split (--include-split names a split to change): 'test.png'",
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
    target = run.parent / "data" / "pets.pruned.csv"
    for share in ("0.4", "40%"):
        call(capsys, "export", run, "--max-drop-per-class", share, "--force")
        assert target.read_text() == without("wrong")  # 2 of 5 dogs, 0 of 2 cats
        target.unlink()


def test_shares_are_written_as_percentages_too(run, capsys, tmp_path):
    options = ["--policy", "correct", "--output", tmp_path / "x.csv", "--force", "--min-confidence"]
    texts = []
    for share in ("0.8", "80%"):
        assert call(capsys, "export", run, *options, share).code == 0
        texts.append((tmp_path / "x.csv").read_text())
    assert texts[0] == texts[1]


def flagged_run(tmp_path, flagged, classes=("dog", "cat"), rows=10):
    """A run on `rows` pictures, the classes in turn; those in `flagged` are to be dropped."""
    labels = [classes[i % len(classes)] for i in range(rows)]
    entries = [(f"{i}.png", 0, label, "", DROP if i in flagged else {}) for i, label in enumerate(labels)]
    return saved_run(tmp_path, *dataset(tmp_path, entries, splits=False))


DROP = {"issue": "out_of_vocabulary", "action": "drop", "suggested_label": None}
DATASETS = [name for name, format in FORMATS.items() if format.kind == "dataset"]


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("policy", ["prune", "correct"])
def test_an_empty_dataset_is_never_written(tmp_path, capsys, name, policy):
    run = flagged_run(tmp_path, range(10))
    for options in ([], ["--max-drop", "100%"]):
        result = call(capsys, "export", run, "--format", name, "--policy", policy, *options)
        assert (result.code, result.out) == (2, "")
        assert "every row that may change would be dropped (10), and an empty dataset is never written" in result.err
    assert sorted(path.name for path in (tmp_path / "data").iterdir() if path.suffix != ".png") == ["m.csv"]


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("policy", ["prune", "correct"])
def test_no_more_than_the_limit_is_dropped_unasked(tmp_path, capsys, name, policy):
    run = flagged_run(tmp_path, range(4))
    options = ["--format", name, "--policy", policy, "--json"]
    result = call(capsys, "export", run, *options)
    assert (result.code, result.out) == (2, "")
    assert "4 of 10 rows (40 %, the limit is 30 %)" in result.err and "--max-drop 40%" in result.err
    assert "class" not in result.err  # 4 of 10 are no more than half of a class
    assert sorted(path.name for path in (tmp_path / "data").iterdir() if path.suffix != ".png") == ["m.csv"]
    for share in ("0.39", "39%"):
        assert "the limit is 39 %" in call(capsys, "export", run, *options, "--max-drop", share).err
    assert json.loads(call(capsys, "export", run, *options, "--max-drop", "40%").out)["dropped"] == 4


def test_no_more_than_half_of_a_class_is_dropped_unasked(tmp_path, capsys):
    run = flagged_run(tmp_path, [0, 4, 8], classes=("cat", "dog", "dog", "owl"), rows=20)  # 3 of 5 cats
    result = call(capsys, "export", run)
    assert result.code == 2 and "nothing is written: 3 of 5 rows of class 'cat' (60 %, the limit is 50 %)" in result.err
    assert "of 20 rows" not in result.err
    assert "or --max-drop-per-class 50% the most probable half of a class" in " ".join(result.err.split())
    assert call(capsys, "export", run, "--max-drop", "0.59").code == 2
    assert call(capsys, "export", run, "--max-drop-per-class", "0.5", "--output", tmp_path / "x.csv").code == 0
    assert call(capsys, "export", run, "--max-drop", "0.6").code == 0


def test_what_people_drop_does_not_count(tmp_path, capsys):
    run = flagged_run(tmp_path, range(3))
    log = DecisionLog(run / "decisions.jsonl")
    for i in range(9):
        log.append(Decision(f"{i}.png", "drop", ("dog", "cat")[i % 2], reviewer="ann"))
    document = json.loads(call(capsys, "export", run, "--json").out)
    assert (document["kept"], document["dropped"]) == (1, 9)
    log.append(Decision("9.png", "drop", "cat", reviewer="ann"))
    for policy in ("prune", "correct", "weight"):
        result = call(capsys, "export", run, "--policy", policy, "--output", tmp_path / "x.csv")
        assert result.code == 2 and "an empty dataset is never written" in result.err


def test_rows_without_files_or_labels_do_not_make_an_empty_folder(tmp_path, capsys):
    run = flagged_run(tmp_path, [])
    for path in (tmp_path / "data").glob("*.png"):
        path.unlink()
    for name in ("folders", "huggingface"):
        result = call(capsys, "export", run, "--format", name)
        assert (
            result.code == 2 and "no row is left, nothing is written\n  left out: 10 rows without a file" in result.err
        )
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["m.csv"]


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
    call(capsys, "export", earlier, "--format", "folders", "--output", folders_of, "--max-drop", 1)
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
    save_manifest(replace(read_manifest(tmp_path / "m.csv"), ids=manifest.ids), run / "manifest.parquet")
    sealed(run)
    result = call(capsys, "export", run, "--format", "folders", "--output", folders_of, "--force")
    assert result.code == 2 and "holds audited files" in result.err
    assert tree(folders_of) == before


def test_files_of_a_run_and_files_that_are_read_are_never_overwritten(run, capsys):
    """Also where their ending is that of the format."""
    other = run.parent / "ann.jsonl"
    for log in (DecisionLog(run / "decisions.jsonl"), DecisionLog(other)):
        log.append(Decision("wrong.png", "keep", "dog", reviewer="ann"))
    (run / "pruned.csv").write_text("of the audit")
    before = tree_bytes(run) | {"ann": other.read_bytes()}
    for options, said in (
        (["--format", "patch", "--output", run / "decisions.jsonl"], "is a file of a run folder"),
        (["--format", "argilla", "--output", run / "decisions.jsonl"], "is a file of a run folder"),
        (["--format", "cleanlab", "--output", run / "report.parquet"], "is a file of a run folder"),
        (["--output", run / "pruned.csv"], "is a file of a run folder"),
        (["--output", run / "corrected.csv"], "is a file of a run folder"),
        (["--format", "patch", "--decisions", other, "--output", other], "is read by this command"),
    ):
        result = call(capsys, "export", run, *options, "--force")
        assert result.code == 2 and said in result.err, options
    assert tree_bytes(run) | {"ann": other.read_bytes()} == before


def test_audited_files_are_never_overwritten(run, capsys):
    (run.parent / "data" / "wrong.png").write_bytes(b"precious")
    (run.parent / "out.csv").symlink_to(run.parent / "data" / "wrong.png")
    result = call(capsys, "export", run, "--output", run.parent / "out.csv", "--force")
    assert result.code == 2 and "is an audited file" in result.err
    assert (run.parent / "data" / "wrong.png").read_bytes() == b"precious"


def test_a_patch_is_not_overwritten_by_what_it_makes(tmp_path, capsys):
    lines = "".join(json.dumps({"id": str(i), "label": "cat" if i % 2 else "dog", "x": i}) + "\n" for i in range(10))
    (tmp_path / "m.jsonl").write_text(lines)
    change = {"id": "1", "row": 1, "old": "cat", "new": "dog", "probability": 0.9, "who": "nlclean", "why": []}
    patch = tmp_path / "p.jsonl"
    patch.write_text(json.dumps(change | {"columns": {"label": "label", "id": "id"}, "record": None}) + "\n")
    before = patch.read_bytes()
    options = ["--apply", patch, "--to", tmp_path / "m.jsonl", "--force"]
    result = call(capsys, "export", *options, "--output", patch)
    assert result.code == 2 and "is read by this command" in result.err
    assert patch.read_bytes() == before
    assert call(capsys, "export", *options).code == 0


def tree_bytes(folder):
    return {name: (folder / name).read_bytes() for name in tree(folder)}


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
    run = saved_run(tmp_path, read_manifest(tmp_path / "f.npz"), make_report([row("u"), row("v")]))
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
        (["--policy", "weight", "--max-drop", "0.5"], "weight, which drops nothing"),
        (["--format", "cleanlab", "--max-drop", "0.5"], "--max-drop does nothing"),
        (["--max-drop", "60"], "'60' is more than all of it"),
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
    assert result.err == "dropped 1, put back 0, relabelled 1\n"
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
        (["--to"], "requires an argument.\n  hint: see `nlclean export --help`"),
        ([], "--apply needs --to MANIFEST"),
        (["--to", "m.csv", "--policy", "correct"], "--policy does nothing in --apply"),
        (["--to", "m.csv", "--format", "folders"], "--format does nothing in --apply"),
        (["--to", "ok.csv", "--reverse", "--max-drop", "0.5"], "--max-drop does nothing in --apply --reverse"),
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

"""Splits as people write them are found, said, and held back on export, in folders and columns alike."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, save_pictures, write_csv
from cli_world import call, finished_run, make_report, mislabel, row

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.evidence.decisions import Decision, DecisionLog
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.manifest.saved import save_manifest
from cleanlab_lite.manifest.splits import is_held_back, split_word

HELD_BACK = (
    *("test", "TEST", "Test ", "testing", "Testing", "test_set", "testset", "Test-Set", "tests", "test2017", "test 1"),
    *("PrivateTest", "PublicTest", "private_test", "testA", "test-clean", "dev", "dev-other", "devel", "development"),
    *("val", "val1", "valid", "validate", "Validation", "validation_set", "val_split", "x_val", "eval", "evaluation"),
    *("holdout", "hold-out", "Hold out", "held_out", "holdout_set"),
    *("seg_test", "imagenet-val", "my test", "test-multiple_fruits", "val_mini", "test_jpg", "test-audio"),
)
TRAIN = (
    "train",
    "Training",
    "train2017",
    "trainset",
    "train_val",
    "trainval",
    "train-clean-100",
    "trainB",
    "seg_train",
    "train_mini",
)
NEITHER = ("", " ", "contest", "latest", "device", "valley", "tester", "extra", "unlabeled", "a", "3", "set", "testify")


@pytest.mark.parametrize("name", HELD_BACK)
def test_words_that_hold_back(name):
    assert split_word(name) and is_held_back(name)


@pytest.mark.parametrize("name", TRAIN)
def test_words_of_training(name):
    assert split_word(name) and not is_held_back(name)


@pytest.mark.parametrize("name", NEITHER)
def test_words_that_are_no_splits(name):
    assert split_word(name) == ""


# --- columns ---


def manifest(path, column, cells, **more):
    """A CSV with the cells in a column, read."""
    rows = {"path": [f"{i}.png" for i in range(len(cells))], "label": [CLASSES[i % 2] for i in range(len(cells))]}
    return read_manifest(write_csv(path / "m.csv", rows | {column: list(cells)} | more))


@pytest.mark.parametrize(
    "column",
    [
        *("split", "Subset", "partition", "Split ", "Usage", "set", "phase", "fold", "dataset"),
        *("dataset_split", "data_split", "dataSplit", "Data Split", "split_name"),
    ],
)
def test_columns_of_splits(tmp_path, column):
    found = manifest(tmp_path, column, ["Training", "PublicTest", "PrivateTest", "Training"])
    assert found.source.split_column == column
    assert found.splits.tolist() == ["Training", "PublicTest", "PrivateTest", "Training"]  # as the user spells them
    assert found.held_back.tolist() == [False, True, True, False]
    assert "splits: Training 2 rows; PublicTest 1 row, protected; PrivateTest 1 row, protected" in found.source.notes


@pytest.mark.parametrize("yes_no", [("True", "False"), ("1", "0"), ("yes", "no"), ("y", ""), ("TRUE", "false")])
def test_columns_that_say_yes_or_no(tmp_path, yes_no):
    cells = [yes_no[0], yes_no[1], yes_no[1]]
    assert manifest(tmp_path, "is_test", cells).splits.tolist() == ["test", "train", "train"]
    assert manifest(tmp_path, "isVal", cells).held_back.tolist() == [True, False, False]
    assert manifest(tmp_path, "is_train", cells).held_back.tolist() == [False, True, True]


def test_columns_of_booleans(tmp_path):
    columns = {"path": ["a.png", "b.png", "c.png"], "label": ["x", "y", "x"], "is_test": [True, False, None]}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    (tmp_path / "m.jsonl").write_text(
        "".join(
            json.dumps(dict(zip(columns, cells, strict=True))) + "\n" for cells in zip(*columns.values(), strict=True)
        )
    )
    for name in ("m.parquet", "m.jsonl"):
        assert read_manifest(tmp_path / name).splits.tolist() == ["test", "train", "train"], name


def test_of_several_columns_the_one_that_protects_most(tmp_path):
    more = {"is_val": ["0", "1", "0", "0"], "is_train": ["1", "0", "0", "1"]}
    found = manifest(tmp_path, "is_test", ["0", "0", "1", "0"], **more)
    assert found.source.split_column == "is_train"
    assert found.held_back.tolist() == [False, True, True, False]
    with pytest.raises(ManifestError, match="several columns could be the split: 'is_test', 'is_val'"):
        manifest(tmp_path, "is_test", ["0", "0", "1", "0"], is_val=["0", "1", "0", "0"])
    # what is called a split, and speaks of one, comes before what others say
    assert manifest(tmp_path, "split", ["train", "test"], set=["test", "x"]).source.split_column == "split"
    assert manifest(tmp_path, "split", ["a", "b"], Usage=["train", "test"]).source.split_column == "Usage"


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("fold", ["0", "1", "2"]),
        ("set", ["basic", "promo", "basic"]),
        ("phase", ["larva", "adult", "larva"]),
        ("is_valid", ["1", "1", "0"]),  # the row is whole
        ("is_test", ["0", "0", "0"]),
        ("is_tested", ["1", "0", "0"]),
        ("contest", ["1", "0", "0"]),
    ],
)
def test_columns_that_mean_something_else(tmp_path, column, cells):
    found = manifest(tmp_path, column, cells)
    assert found.source.split_column is None
    assert not found.held_back.any()
    assert not [note for note in found.source.notes if note.startswith("splits:")]


def test_a_column_of_splits_by_any_name(tmp_path):
    found = manifest(tmp_path, "Dataset Type", ["train", "valid", "train", "train"])
    assert found.source.split_column == "Dataset Type" and found.held_back.tolist() == [False, True, False, False]
    for cells in (["train", "car", "train"], ["test", "val", "test"], ["train", "", "test"]):
        assert manifest(tmp_path, "Dataset Type", cells).source.split_column is None
    assert manifest(tmp_path, "Dataset Type", ["train", "test"], split=["a", "b"]).source.split_column == "split"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["train/0.png", "test/1.png", "train/2.png"], ["train", "test", "train"]),
        (["data\\Train\\a\\0.png", "data\\Val\\b\\1.png"], ["Train", "Val"]),
        (["https://host/train/0.png", "https://host/val/1.png"], ["train", "val"]),
        (["test/0.png", "test/1.png"], ["", ""]),  # all of them
        (["train/0.png", "car/1.png"], ["", ""]),
        (["train/0.png", "1.png"], ["", ""]),
        (["train/0.png", "train2/1.png"], ["", ""]),
        (["fold1/0.png", "fold2/1.png"], ["", ""]),
    ],
)
def test_folders_in_paths(tmp_path, cells, expected):
    rows = {"path": cells, "label": [CLASSES[i % 2] for i in range(len(cells))]}
    found = read_manifest(write_csv(tmp_path / "m.csv", rows))
    assert found.splits.tolist() == expected
    assert any("from the folders in the paths" in note for note in found.source.notes) == any(expected)
    asked = read_manifest(write_csv(tmp_path / "m.csv", rows | {"split": ["a"] * len(cells)}))
    assert asked.splits.tolist() == ["a"] * len(cells)  # a column comes first
    assert any(
        "none of these is known as a split" in note and "write 'test' or 'val' into the rows of" in note
        for note in asked.source.notes
    )


def test_a_column_without_any_split_is_not_told_that_it_knows_none(tmp_path):
    rows = {"path": ["0.png", "1.png"], "label": list(CLASSES[:2]), "split": ["", ""]}
    notes = read_manifest(write_csv(tmp_path / "m.csv", rows)).source.notes
    assert "no splits: no row is protected" in notes and not any("none of these" in note for note in notes)


def test_a_list_is_no_split(tmp_path):
    records = [{"path": f"{i}.png", "label": "ab"[i % 2], "set": [i], "phase": i / 3} for i in range(3)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert read_manifest(tmp_path / "m.jsonl").source.split_column is None


def test_only_some_splits_are_said(tmp_path):
    cells = [f"part {'abcdefghijklmnopqrstuvwxyz'[i]}" for i in range(25)] + ["", "test"]
    notes = manifest(tmp_path, "split", cells).source.notes
    (said,) = [note for note in notes if note.startswith("splits:")]
    assert said.startswith("splits: part a 1 row; part b 1 row; ") and said.endswith("; and 7 more")


# --- from the manifest to what is exported ---


def tree(folder, *tops):
    """A class-folder tree with two pictures of every class under every split."""
    for top in tops:
        names = [f"{top}/{name}/{i}.png" for name in CLASSES for i in range(2)]
        save_pictures(folder, np.repeat(np.arange(len(CLASSES)), 2), names)
    return folder


def audited(folder, path, ids=None):
    """A run in which every row is to go, by the report and by a person, but the first that is not protected."""
    manifest = read_manifest(path)
    rows = [
        mislabel(id, action="drop", split=split or None, given_label=manifest.classes[label])
        for id, split, label in zip(manifest.ids.tolist(), manifest.splits.tolist(), manifest.labels, strict=True)
    ]
    stays = int(np.flatnonzero(~manifest.held_back)[0])
    rows[stays] = row(
        str(manifest.ids[stays]), split=str(manifest.splits[stays]), given_label=rows[stays]["given_label"]
    )
    run = finished_run(folder / "run", make_report(rows))
    save_manifest(manifest, run / "manifest.parquet")
    log = DecisionLog(run / "decisions.jsonl")
    for entry in [*rows[:stays], *rows[stays + 1 :]]:
        log.append(Decision(entry["id"], "drop", entry["given_label"], reviewer="ann"))
    return run, manifest


@pytest.mark.parametrize(
    ("tops", "stay"),
    [
        (("Training", "Testing"), "Testing"),
        (("train_set", "test_set"), "test_set"),
        (("train2017", "val2017"), "val2017"),
        (("TRAIN", "hold-out"), "hold-out"),
    ],
)
def test_protected_folders_stay(tmp_path, capsys, tops, stay):
    run, manifest = audited(tmp_path, tree(tmp_path / "data", *tops))
    assert manifest.classes == tuple(sorted(CLASSES))
    target = tmp_path / "out.csv"
    result = call(capsys, "export", run, "--output", target)
    assert result.code == 0, result.err
    kept = [line.split(",")[0] for line in target.read_text().splitlines()[1:]]
    protected = [id for id in manifest.ids.tolist() if id.startswith(f"{stay}/")]
    assert len(protected) == 2 * len(CLASSES)
    assert [id for id in kept if id.startswith(f"{stay}/")] == protected and len(kept) == len(protected) + 1
    assert f"{len(protected)} decisions in a test or validation split" in result.err


def test_a_split_is_opened_as_the_user_spells_it(tmp_path, capsys):
    cells = ["train", "Test ", "PrivateTest", "train"]
    save_pictures(tmp_path, np.zeros(4, int), [f"{i}.png" for i in range(4)])
    manifest(tmp_path, "Usage", cells)
    run, _ = audited(tmp_path, tmp_path / "m.csv")
    target = tmp_path / "out.csv"
    for asked, kept in (((), "012"), (("Test ",), "02"), (("test",), "02"), (("PrivateTest", "Test"), "0")):
        options = [text for name in asked for text in ("--include-split", name)]
        result = call(capsys, "export", run, "--output", target, "--force", *options)
        assert result.code == 0, result.err
        assert "".join(line[0] for line in target.read_text().splitlines()[1:]) == kept, asked


@pytest.mark.usefixtures("untimed")
def test_the_dry_run_says_what_is_protected(tmp_path, capsys):
    result = call(capsys, "audit", tree(tmp_path / "data", "Training", "Testing"), "--dry-run")
    rows = 2 * len(CLASSES)
    assert f"splits: Testing {rows} rows, protected; Training {rows} rows" in result.err.splitlines()

"""Folders of files: safe names, links and copies, and what torchvision and datasets read in them."""

from __future__ import annotations

import errno
import gc
import json
import os
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, save_pictures, write_csv
from export_world import ROWS, cleaned, dataset, tree

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.export import fiftyone, folders, huggingface
from cleanlab_lite.export.files import Names, safe_name
from cleanlab_lite.manifest.readers import read_manifest


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat", "cat"),
        ("Große Katze", "Große Katze"),
        ("a/b\\c", "a-b-c"),
        ("..", "unnamed"),
        ("../../etc/passwd", "-.-etc-passwd"),
        ("", "unnamed"),
        (" .hidden. ", "hidden"),
        ("\x1b[2J\ncat\u202e.png", "-[2J-cat-.png"),
        ("CON", "CON_"),
        ("nul.txt", "nul_.txt"),
        ("what?.jpg", "what-.jpg"),
        ("/", "-"),
    ],
)
def test_safe_names(text, name):
    assert safe_name(text) == name


def test_safe_names_fit_every_file_system_and_keep_their_ending():
    name = safe_name("ö" * 300 + ".png")
    assert name.endswith("ö.png") and len(name.encode()) <= 204


def test_a_name_is_given_once_in_its_folder():
    names = Names()
    assert [names.claim("a", name) for name in ("x.png", "X.PNG", "x.png", "x-2.png")] == [
        "x.png",
        "X-2.PNG",
        "x-3.png",
        "x-2-2.png",
    ]
    assert names.claim("b", "x.png") == "x.png"
    assert [names.claim("c", name, by_stem=True) for name in ("x.png", "x.jpg")] == ["x.png", "x-2.jpg"]


def test_a_folder_per_class_that_torchvision_reads(tmp_path):
    from torchvision.datasets import ImageFolder

    out = tmp_path / "out"
    assert folders.write(cleaned(*dataset(tmp_path)), out, "hard") == []
    assert tree(out) == [
        *("test/owl/5.png", "test/owl/6.png"),  # test rows stay as they are
        *("train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "train/owl/4.png"),
    ]
    found = ImageFolder(str(out / "train"))
    assert found.classes == ["cat", "dog", "owl"]
    assert [label for _, label in found] == [0, 0, 1, 2]
    assert (out / "train/cat/2.png").samefile(tmp_path / "data/a/2.png")
    again = read_manifest(out)
    assert sorted(zip(again.splits, (again.classes[label] for label in again.labels), strict=True)) == [
        *[("test", "owl")] * 2,
        *[("train", "cat")] * 2,
        *[("train", "dog"), ("train", "owl")],
    ]


@pytest.mark.parametrize("link", ["hard", "sym", "copy"])
def test_links_and_copies(tmp_path, link):
    out = tmp_path / "out"
    folders.write(cleaned(*dataset(tmp_path, splits=False)), out, link)
    original, new = tmp_path / "data/b/1.png", out / "dog/1.png"
    assert new.read_bytes() == original.read_bytes()
    assert new.is_symlink() == (link == "sym")
    assert new.samefile(original) == (link != "copy")


def test_hard_links_become_copies_where_they_cannot_be(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    out = tmp_path / "out"
    notes = folders.write(cleaned(*dataset(tmp_path)), out, "hard")
    assert notes == ["copied, as no hard link is possible: 6 files"]
    assert not (out / "train/cat/1.png").samefile(tmp_path / "data/a/1.png")


def test_a_full_disk_is_not_taken_for_another_device(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="No space"):
        folders.write(cleaned(*dataset(tmp_path)), tmp_path / "out", "hard")


def hostile(folder):
    """Classes and files whose names are traps, a file that is gone, a row without a label."""
    names = ["1.png", "x/1.png", "y/1.PNG", "2.png", "3.png", "gone.png", "4.png", "5.png", "-rf.png", "6.png"]
    labels = ["a/b", "a/b", "a/b", "a-b", "..", "a/b", "", "A-B", "con", "\x1b[2J"]
    kinds = np.arange(len(names)) % 3
    save_pictures(folder, kinds, names)
    (folder / "gone.png").unlink()
    if hasattr(os, "mkfifo"):  # not on Windows
        os.mkfifo(folder / "gone.png")  # would block whoever opens it
    write_csv(folder / "m.csv", {"path": names, "label": labels})
    return read_manifest(folder / "m.csv")


def test_hostile_names_stay_inside_and_are_told(tmp_path):
    from cli_world import make_report, row

    manifest = hostile(tmp_path)
    report = make_report(
        [
            row(str(id), given_label=label or None)
            for id, label in zip(manifest.ids, manifest.table["label"].to_pylist(), strict=True)
        ]
    )
    out = tmp_path / "out"
    notes = folders.write(cleaned(manifest, report), out, "copy")
    assert tree(out) == [
        "-[2J/6.png",
        "A-B/5.png",
        "a-b-2/2.png",
        *("a-b-3/1-2.png", "a-b-3/1-3.PNG", "a-b-3/1.png"),
        "con_/-rf.png",
        "unnamed/3.png",
    ]
    assert notes[0] == "left out: 1 row without a label"
    assert (
        "class names made safe: 'a-b' as 'a-b-2', '\\x1b[2J' as '-[2J', '..' as 'unnamed', 'a/b' as 'a-b-3'" in notes[1]
    )
    assert notes[2].startswith(f"left out: 1 row without a file: {str(tmp_path / 'gone.png')!r}"[:100])
    again = tmp_path / "again"
    folders.write(cleaned(manifest, report), again, "copy")
    assert tree(again) == tree(out)


def test_remote_files_are_refused(tmp_path):
    write_csv(tmp_path / "m.csv", {"path": ["s3://bucket/1.png", "s3://bucket/2.png"], "label": ["cat", "dog"]})
    from cli_world import make_report, row

    given = cleaned(read_manifest(tmp_path / "m.csv"), make_report([row("a"), row("b")]))
    with pytest.raises(ConfigError, match="2 remote files"):
        folders.write(given, tmp_path / "out", "hard")


def load(folder):
    """`datasets.load_dataset`, offline, with its cache beside the folder."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(folder.parent / "cache"))
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # it leaves files open, which must not show up in a test of ours
    return loaded


def test_datasets_reads_the_hugging_face_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    out = tmp_path / "out"
    assert huggingface.write(cleaned(*dataset(tmp_path)), out, "hard") == []
    text = (out / "train/metadata.csv").read_text()
    assert text == (
        "file_name,label,split,by\n1.png,cat,train,ann\n2.png,cat,train,ann\n1-2.png,dog,train,ann\n4.png,owl,train,ann\n"
    )
    loaded = load(out)
    assert {split: rows["label"][:] for split, rows in loaded.items()} == {
        "train": ["cat", "cat", "dog", "owl"],
        "test": ["owl", "owl"],
    }
    pixels = np.asarray(loaded["train"][2]["image"])
    assert pixels[..., CLASSES.index("dog")].mean() > 120  # the picture of that row
    assert read_manifest(out / "train").table["file_name"].to_pylist() == ["1.png", "2.png", "1-2.png", "4.png"]


def test_columns_whose_names_datasets_keeps_are_renamed(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    _, report = dataset(tmp_path)
    columns = {name: [f"{name} {row}" for row in range(len(ROWS))] for name in ("image", "file_name", "mask_file_name")}
    columns |= {"path": [name for name, *_ in ROWS], "label": [label for _, _, label, *_ in ROWS]}
    write_csv(tmp_path / "data/m.csv", columns)
    manifest = read_manifest(tmp_path / "data/m.csv", path_column="path")
    huggingface.write(cleaned(manifest, report), tmp_path / "out", "copy")
    row = load(tmp_path / "out")["train"][0]
    assert row.pop("image").size == (16, 16)
    assert row == {
        "source_image": "image 0",
        "file_name_source": "file_name 0",
        "mask_file_name_source": "mask_file_name 0",
        "label": "cat",
    }


def test_hugging_face_metadata_quotes_what_a_tsv_has_as_text(tmp_path):
    manifest, report = dataset(tmp_path, splits=False)
    said = ['"Yes, he', 'said"', "a, b", *"cdef"]
    rows = zip(manifest.ids.tolist(), said, report.table["given_label"].to_pylist(), strict=True)
    path = tmp_path / "data" / "said.tsv"
    path.write_text("path\tsaid\tlabel\n" + "".join("\t".join(row) + "\n" for row in rows))
    out = tmp_path / "out"
    huggingface.write(cleaned(read_manifest(path), report, "weight"), out, "sym")
    assert read_manifest(out / "train").table["said"].to_pylist() == said


def test_names_of_splits_in_paths_do_not_make_splits(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    rows = [("test/1.png", 0, "cat", "", {}), ("validation/test_2.png", 1, "dog", "", {}), ("3.png", 2, "owl", "", {})]
    out = tmp_path / "out"
    huggingface.write(cleaned(*dataset(tmp_path, rows, splits=False), "weight"), out, "sym")
    loaded = load(out)
    assert {split: rows["label"][:] for split, rows in loaded.items()} == {"train": ["cat", "dog", "owl"]}
    assert loaded["train"]["weight"][:] == [1.0, 1.0, 1.0]


def test_metadata_is_as_the_manifest_is(tmp_path):
    manifest, report = dataset(tmp_path)
    pq.write_table(manifest.table.append_column("n", [list(range(len(ROWS)))]), tmp_path / "data/m.parquet")
    huggingface.write(cleaned(read_manifest(tmp_path / "data/m.parquet"), report), tmp_path / "p", "copy")
    assert pq.read_table(tmp_path / "p/test/metadata.parquet").to_pylist()[0] == {
        "file_name": "5.png",
        "label": "owl",
        "split": "test",
        "by": "ann",
        "n": 5,
    }
    lines = [json.dumps({"path": name, "label": label, "n": [1]}) for name, _, label, *_ in ROWS]
    (tmp_path / "data/m.jsonl").write_text("\n".join(lines))
    huggingface.write(cleaned(read_manifest(tmp_path / "data/m.jsonl"), report), tmp_path / "j", "copy")
    line = (tmp_path / "j/train/metadata.jsonl").read_text().splitlines()[1]
    assert json.loads(line) == {"file_name": "2.png", "label": "cat", "n": [1]}


@pytest.mark.parametrize(("name", "delimiter"), [("m.csv", ";"), ("m.tsv", "\t")])
def test_metadata_is_comma_separated(tmp_path, name, delimiter):
    _, report = dataset(tmp_path)
    rows = [("path", "label"), *((name, label) for name, _, label, *_ in ROWS)]
    (tmp_path / "data" / name).write_text("".join(delimiter.join(cells) + "\n" for cells in rows))
    huggingface.write(cleaned(read_manifest(tmp_path / "data" / name), report), tmp_path / "out", "copy")
    assert (tmp_path / "out/train/metadata.csv").read_text().startswith("file_name,label\n1.png,cat\n")


def test_rows_without_a_split_go_to_train(tmp_path):
    rows = [
        (name, kind, label, split if row else "", verdict)
        for row, (name, kind, label, split, verdict) in enumerate(ROWS)
    ]
    notes = folders.write(cleaned(*dataset(tmp_path, rows)), tmp_path / "out", "hard")
    assert notes == ["in train: 1 row without a split"]
    assert (tmp_path / "out/train/cat/1.png").exists()


def test_fiftyone(tmp_path):
    """As https://docs.voxel51.com says: files under data/, their names without ending as keys, classes by index."""
    manifest, report = dataset(tmp_path)
    out = tmp_path / "out"
    assert fiftyone.write(manifest, report.table, out, "hard") == []
    document = json.loads((out / "labels.json").read_text())
    assert document["classes"] == ["cat", "dog", "owl"]
    stems = [path.rpartition("/")[2].removesuffix(".png") for path in tree(out / "data")]
    assert sorted(document["labels"]) == sorted(stems) and len(stems) == len(ROWS)
    assert document["labels"]["2"] == {
        "label": 1,
        "attributes": {
            "mistakenness": pytest.approx(0.95),
            "suggested_label": "cat",
            "suggestion_confidence": pytest.approx(0.9),
            "issue": "mislabel",
            "action": "relabel",
            "split": "train",
            "sample_id": "a/2.png",
        },
    }

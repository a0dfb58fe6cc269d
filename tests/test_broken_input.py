"""What people really hand in: every case ends in a report or in a sentence that says what is wrong and what to do."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, QUICK, fingerprints, save_pictures, task, vectors, write_csv
from cli_world import HOSTILE, Result, call
from PIL import Image
from PIL.PngImagePlugin import PngInfo

N = 60
GIVEN = task(N, wrong=4)
LABELS = [CLASSES[label] for label in GIVEN.labels]
ENCODED = ("--image-size", "16")  # through the encoder, and from pixels
SMALL = (*ENCODED, "--views", "pixels")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and a cache of its own for every test."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "work"


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """`nlclean audit --out run ARGUMENTS`, quickly; whatever happens, it changes no file and has no bug."""

    def run(*arguments: object) -> Result:
        before = fingerprints(Path())
        result = call(capsys, "audit", "--out", "run", *QUICK, *arguments)
        after = fingerprints(Path())
        assert {name: after.get(name) for name in before} == before
        assert "Traceback" not in result.err and "this is a bug" not in result.err, result.err
        return result

    return run


def report() -> list[dict]:
    return pq.read_table("run/report.parquet").to_pylist()


def table(**changes: object) -> Path:
    """A manifest of vectors; a change of None leaves a column out."""
    columns: dict[str, object] = {
        "id": [f"r{row}" for row in range(N)],
        "embedding": list(vectors(GIVEN.truth)),
        "label": LABELS,
    }
    kept = {name: values for name, values in (columns | changes).items() if values is not None}
    pq.write_table(pa.table(kept), "m.parquet")
    return Path("m.parquet")


def photos(names: list[str] | None = None, labels: list[str] | None = None) -> Path:
    """A manifest of pictures and the pictures."""
    names = names or [f"{row}.png" for row in range(N)]
    save_pictures(Path(), GIVEN.truth[: len(names)], names)
    return write_csv(Path("m.csv"), {"path": names, "label": labels or LABELS[: len(names)]})


# --- Refused: nothing on stdout, no run folder, and what to do next --------------------------------------------------


def text_file(content: str | bytes, name: str = "m.csv") -> list[object]:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return [name]


def with_features(rows: int) -> list[object]:
    np.save("f.npy", np.ones((rows, 4), dtype=np.float32))
    write_csv(Path("m.csv"), {"id": [str(row) for row in range(N)], "label": LABELS})
    return ["m.csv", "--features", "f.npy"]


def vectors_with(row: int, value: object) -> list[object]:
    cells = [vector.tolist() for vector in vectors(GIVEN.truth)]
    cells[row] = value
    return [table(embedding=cells)]


def empty_pictures() -> list[object]:
    for row in range(N):
        Path(f"{row}.png").touch()
    return [write_csv(Path("m.csv"), {"path": [f"{row}.png" for row in range(N)], "label": LABELS})]


def same_pictures() -> list[object]:
    manifest = photos()
    for row in range(1, N):
        Path(f"{row}.png").write_bytes(Path("0.png").read_bytes())
    return [manifest, *SMALL]


def sounds() -> list[object]:
    for row in range(4):
        Path(f"{row}.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(24))
    return [
        write_csv(Path("m.csv"), {"path": [f"{row}.wav" for row in range(4)], "label": ["a", "b", "a", "b"]}),
        "--ensemble",
        "2",
    ]


def jsonl(broken: int) -> list[object]:
    lines = [json.dumps({"vector": [1.0, row], "label": LABELS[row]}) for row in range(N)]
    lines[broken] = lines[broken][:-5]
    return text_file("\n".join(lines), "m.jsonl")


def configured(text: str) -> list[object]:
    Path("nlclean.toml").write_text(text)
    return [table()]


def folder(*entries: str) -> list[object]:
    for entry in entries:
        Path("tree", entry).mkdir(parents=True)
    return ["tree"]


def object_array() -> list[object]:
    np.save("f.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    write_csv(Path("m.csv"), {"id": ["1", "2"], "label": ["a", "b"]})
    return ["m.csv", "--features", "f.npy"]


def features(content: bytes, name: str = "f.npy") -> list[object]:
    write_csv(Path("m.csv"), {"id": [str(row) for row in range(N)], "label": LABELS})
    Path(name).write_bytes(content)
    return ["m.csv", "--features", name]


def npy(values: np.ndarray | None = None, shape: str = "") -> bytes:
    """An .npy file; one with `shape` claims another than its own."""
    buffer = io.BytesIO()
    np.save(buffer, np.ones((N, 4), dtype=np.float32) if values is None else values)
    content = buffer.getvalue()
    return content.replace(b"(60, 4), }" + b" " * len(shape), f"{shape}, }}".encode() + b" " * 7) if shape else content


def npz(content: bytes, damage: Callable[[bytearray], object] = bytes) -> bytes:
    """An .npz file of features, of which `damage` changes the compressed bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", content)
    data = bytearray(buffer.getvalue())
    damage(data)
    return bytes(data)


def flip_payload(data: bytearray) -> None:
    data[42:60] = b"\xff" * 18  # behind the local header of 30 bytes and the name


def jsonl_with(key: str, text: str) -> list[object]:
    lines = [json.dumps({"vector": [1.0, row], "label": LABELS[row], "id": f"r{row}"}) for row in range(N)]
    lines[6] = lines[6][:-1] + f', "{key}": {text}}}'
    return [*text_file("\n".join(lines), "m.jsonl"), "--features-column", "vector"]


def not_utf8() -> list[object]:
    strings = pa.array([f"r{row}".encode() if row else b"\xff" for row in range(N)]).view(pa.string())
    return [table(id=strings)]


REFUSED: dict[str, tuple[Callable[[], list[object]], list[str]]] = {
    # the manifest as a file
    "missing manifest": (lambda: ["nowhere.csv"], ["'nowhere.csv' does not exist"]),
    "misspelt manifest": (lambda: (table(), ["n.parquet"])[1], ["'n.parquet' does not exist", "did you mean", "m.pa"]),
    "no manifest": (list, ["missing argument 'MANIFEST'", "--help"]),
    "empty file": (lambda: text_file(""), ["m.csv", "empty (0 bytes)"]),
    "header only": (lambda: text_file("path,label\n"), ["m.csv", "no rows"]),
    "empty lines only": (lambda: text_file("\n\n\n"), ["m.csv", "only empty lines", "must name the columns"]),
    "no header": (lambda: text_file("a.png,cat\nb.png,dog\n"), ["no path column", "no label column", "first line"]),
    "not UTF-8": (lambda: text_file("path,label\na.png,кот\n".encode("cp1251")), ["m.csv", "line 2", "0xea", "iconv"]),
    "UTF-16": (lambda: text_file("path,label\na.png,x\n".encode("utf-16-le")), ["m.csv", "line 1", "UTF-16", "iconv"]),
    "unknown ending": (lambda: text_file("a", "m.xlsx"), ["m.xlsx", "unknown ending '.xlsx'", "expected .csv"]),
    "not Parquet": (lambda: text_file("path,label\n", "m.parquet"), ["m.parquet", "whole Parquet file?"]),
    "half a Parquet": (
        lambda: text_file(table().read_bytes()[:2000], "half.parquet"),
        ["half.parquet", "whole Parquet file?"],
    ),
    "CSV with a short row": (
        lambda: text_file("path,label\na.png,cat\nb.png\nc.png,dog\n"),
        ["m.csv", "line 3: 1 fields ('b.png')", "expected 2 fields"],
    ),
    "CSV with an open quote": (
        lambda: text_file('path,label\n"a.png,cat\n"b, c.png",dog\n'),
        ["m.csv", "line 2", "is a quote opened and not closed?"],
    ),
    "JSONL with a broken line": (lambda: jsonl(7), ["m.jsonl", "line 8", "one JSON object per line"]),
    "empty folder": (lambda: folder(""), ["tree", "a folder per class", "found nothing"]),
    "folder of empty classes": (lambda: folder("cat", "dog"), ["tree", "a folder per class", "found nothing"]),
    # its columns
    "missing column": (lambda: [table(label=None)], ["m.parquet", "no label column", "'embedding'", "--label-column"]),
    "misspelt column": (
        lambda: [table(), "--label-column", "lable"],
        ["no column 'lable'", "columns found", "did you mean 'label'"],
    ),
    "two label columns": (lambda: [table(category=LABELS)], ["several columns could be the label", "--label-column"]),
    "one class only": (lambda: [table(label=["cat"] * N)], ["one class only, 'cat'", "at least two classes"]),
    "no label at all": (lambda: [table(label=[None] * N)], ["no label in any row"]),
    "fractions for labels": (lambda: [table(label=[row / 7 for row in range(N)])], ["'label'", "regression"]),
    "ids for labels": (lambda: [table(label=[f"x{row}" for row in range(N)])], ["60 classes for 60", "--label-column"]),
    "duplicate ids": (
        lambda: [table(id=["r0", *(f"r{row}" for row in range(N - 1))]), "--id-column", "id"],
        ["'r0' in row 0, row 1"],
    ),
    # vectors
    "nothing but NaN": (
        lambda: [table(embedding=[[float("nan")] * 4] * N)],
        ["all 60 vectors hold NaN", "how the vectors were computed"],
    ),
    "mixed lengths": (lambda: vectors_with(5, [1.0, 2.0]), ["row 5", "2 numbers, expected 8", "one length"]),
    "features of other rows": (lambda: with_features(N - 1), ["f.npy", "59 rows", "m.csv", "60", "same order"]),
    "features that are pickled": (object_array, ["f.npy", "pickle", "numpy.save"]),
    "features missing": (
        lambda: [write_csv(Path("m.csv"), {"id": ["1", "2"], "label": ["a", "b"]}), "--features", "gone.npy"],
        ["gone.npy", "No such file"],
    ),
    "one vector without NaN": (
        lambda: [table(embedding=[[1.0, 2.0]] + [None] * (N - 1))],
        ["have a label and can be read: 1, too few"],
    ),
    "vectors that are all the same": (
        lambda: [table(embedding=[[1.0, 2.0]] * N)],
        ["can be read: 60, too few or too alike"],
    ),
    "one readable class": (
        lambda: [table(embedding=[[row, 1.0] if label == "owl" else None for row, label in enumerate(LABELS)])],
        ["too alike", "at least two classes"],
    ),
    "vectors beyond a float in JSON": (lambda: jsonl_with("vector", f"[1, 1{'0' * 400}]"), ["line 7", "too large"]),
    # files that no writer has made
    "features with a header that breaks off": (lambda: features(npy().replace(b"(60, 4)", b"(60, 4,")), ["f.npy"]),
    "features with half a header": (lambda: features(npy()[:40]), ["f.npy", "numpy.save"]),
    "features that claim a huge array": (
        lambda: features(npz(npy(shape="(60, 99999999999999)")), "f.npz"),
        ["f.npz", "numpy.savez"],
    ),
    "features whose compression is broken": (lambda: features(npz(npy(), flip_payload), "f.npz"), ["f.npz", "decompr"]),
    "features of nothing": (lambda: features(b""), ["f.npy", "numpy.save"]),
    "labels of half characters": (
        lambda: (np.savez("m.npz", features=np.ones((4, 2)), labels=["a", "\ud800", "a", "b"]), ["m.npz"])[1],
        ["cannot read the labels of 'm.npz'"],
    ),
    "JSON without end": (lambda: jsonl_with("x", "[" * 100_000), ["m.jsonl", "line 7", "nested too deeply"]),
    "JSON that is deep": (lambda: jsonl_with("x", "[" * 300 + "]" * 300), ["line 7", "nested too deeply"]),
    "a column that is half a character": (lambda: jsonl_with("\\ud800", "1"), ["m.jsonl", "half a character"]),
    "Parquet with text that is none": (not_utf8, ["m.parquet", "UTF8"]),
    "deep configuration": (lambda: configured(f"epochs = {'[' * 5000}{']' * 5000}\n"), ["nlclean.toml", "too deeply"]),
    # pictures and sounds
    "empty pictures only": (empty_pictures, ["none of 60 files can be read", "0 bytes", "--path-column"]),
    "missing pictures only": (
        lambda: [write_csv(Path("m.csv"), {"path": [f"{row}.png" for row in range(N)], "label": LABELS}), *SMALL],
        ["missing: 60 of 60 files", "looked for", "0.png", "--path-column", "--path-root"],
    ),
    "sounds with broken headers only": (sounds, ["none of 4 files can be read", "header is broken", "RIFF"]),
    "pictures that are all the same": (
        same_pictures,
        ["can be read: 60", "too alike", "are the files the right ones?"],
    ),
    # options
    "unknown flag": (lambda: [table(), "--epoch", "3"], ["no such option", "--epochs"]),
    "unknown command line word": (lambda: [table(), "extra"], ["unexpected extra argument", "extra"]),
    "bad value": (lambda: [table(), "--seed", "many"], ["--seed", "'many'", "a whole number"]),
    "value out of range": (lambda: [table(), "--ensemble", "1"], ["ensemble is 1", "at least 2"]),
    "batches of one": (lambda: [table(), "--batch-size", "1"], ["batch_size is 1", "at least 2"]),
    "several bad values": (lambda: [table(), "--seed", "x", "--max-memory", "big"], ["--seed", "'big' is no size"]),
    "unknown loss": (lambda: [table(), "--loss", "gcce"], ["gcce", "did you mean", "gce"]),
    "unknown device": (lambda: [table(), "--device", "tpu9"], ["tpu9", "cuda"]),
    "proxy for other data": (lambda: [table(), "--proxy", "cnn"], ["cnn", "vectors", "mlp"]),
    "more proxies than rows": (lambda: [table(), "--ensemble", "61"], ["ensemble is 61", "60 labelled rows"]),
    "unknown key": (
        lambda: configured("epoch = 3\n"),
        ["nlclean.toml", "unknown key 'epoch'", "did you mean 'epochs'"],
    ),
    "bad value in a file": (lambda: configured("epochs = [3]\n"), ["nlclean.toml", "epochs is [3]", "a whole number"]),
    "broken configuration": (lambda: configured("epochs = \n"), ["nlclean.toml", "not valid TOML", "line 1"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_reason_and_a_way_out(audit, case):
    make, phrases = REFUSED[case]
    result = audit(*make())
    assert (result.code, result.out) == (2, ""), result.err
    for phrase in phrases:
        assert phrase in result.err, result.err
    assert not Path("run/report.parquet").exists()


# --- Audited nevertheless --------------------------------------------------------------------------------------------


def test_some_vectors_hold_nan(audit):
    cells = vectors(GIVEN.truth)
    cells[3, 2], cells[7] = np.nan, np.inf
    result = audit(table(embedding=[*cells[:10], None, *cells[11:]]))
    assert result.code == 0
    rows = report()
    assert [row["id"] for row in rows if row["issue"] == "unreadable"] == ["r3", "r7", "r10"]
    assert rows[3]["reasons"] == ["not_finite"] and "NaN" in rows[3]["error"]
    assert "3 of 60 rows could not be read" in result.err
    features = np.load("run/features.npy")
    assert np.isnan(features[[3, 7, 10]]).all() and np.isfinite(np.delete(features, [3, 7, 10], axis=0)).all()


def test_vectors_of_any_size(audit):
    found = []
    for exponent in (0, 30, -4):
        assert audit(table(embedding=list(vectors(GIVEN.truth) * np.float32(10.0**exponent))), "--out", "run").code == 0
        found.append([row["predicted_label"] for row in report()])
        shutil.rmtree("run")
    for predicted in found:
        assert np.mean([label == CLASSES[c] for label, c in zip(predicted, GIVEN.truth, strict=True)]) > 0.8


def test_file_urls_are_local_files_and_devices_are_not_read(audit):
    manifest = photos()
    urls = [f"file://{Path(f'{row}.png').absolute()}" for row in range(N - 1)] + ["file:///dev/zero"]
    named = write_csv(Path("urls.csv"), {"path": urls, "label": LABELS})
    assert audit(manifest, *SMALL).code == 0
    local = report()
    shutil.rmtree("run")
    assert audit(f"file://{named.absolute()}", *SMALL).code == 0
    rows = report()
    assert [row["content"] for row in rows[:-1]] == [row["content"] for row in local[:-1]]
    assert rows[-1]["issue"] == "unreadable" and rows[-1]["reasons"] == ["not_readable"]


def test_some_pictures_cannot_be_read(audit):
    manifest = photos()
    Path("0.png").write_bytes(b"")
    Path("1.png").write_bytes(Path("2.png").read_bytes()[:100])
    Path("3.png").unlink()
    Path("4.png").unlink()
    Path("4.png").mkdir()
    Path("5.png").write_bytes(b"GIF89a" + bytes(20))
    result = audit(manifest, *ENCODED)
    assert result.code == 0
    rows = report()
    assert [row["issue"] for row in rows[:6]].count("unreadable") == 5
    codes = [row["reasons"][0] for row in rows if row["issue"] == "unreadable"]
    assert codes == ["file_empty", "truncated", "file_missing", "is_directory", "decode_failed"]
    assert all(row["error"] for row in rows if row["issue"] == "unreadable")


def test_a_class_that_cannot_be_read(audit):
    """All rows of one class are unreadable: the others are judged, and the class is in the tables."""
    cells = [None if label == "owl" else vector for vector, label in zip(vectors(GIVEN.truth), LABELS, strict=True)]
    assert audit(table(embedding=cells)).code == 0
    assert {row["issue"] for row in report() if row["given_label"] == "owl"} == {"unreadable"}
    assert pq.read_table("run/classes.parquet")["label"].to_pylist() == list(CLASSES)


def test_pictures_that_look_the_same_are_too_alike(audit):
    """Other bytes, same pixels: copies of one picture are held out together, and nothing is left to learn from."""
    manifest = photos()
    for row in range(N):
        note = PngInfo()
        note.add_text("number", str(row))
        Image.new("RGB", (16, 16)).save(f"{row}.png", pnginfo=note)
    result = audit(manifest, *SMALL)
    assert result.code == 2 and "too alike" in result.err


def test_pictures_of_one_colour(audit):
    """One grey each, which says nothing about the class."""
    manifest = photos()
    for row, grey in enumerate(np.random.default_rng(0).permutation(N)):
        Image.new("RGB", (16, 16), (int(grey) * 4,) * 3).save(f"{row}.png")
    result = audit(manifest, *ENCODED)
    assert result.code == 0
    assert "no better than chance" in result.err and "every picture has its own label" in result.err
    assert "--proxy torchvision:MODEL" in result.out and "--proxy lite0" not in result.out  # which was used
    assert "nlclean export" not in result.out
    for name in ("p_mislabel", "label_score", "suggested_label"):  # nothing is invented
        assert all(row[name] is None for row in report())
    assert not any(row["is_label_issue"] for row in report())
    assert {row["noise_rate"] for row in pq.read_table("run/classes.parquet").to_pylist()} == {None}
    assert json.loads(Path("run/summary.json").read_text())["noise_rate"]["estimate"] is None


def test_one_dimension_that_is_constant(audit):
    cells = np.concatenate([vectors(GIVEN.truth), np.full((N, 1), 1e20, dtype=np.float32)], axis=1)
    assert audit(table(embedding=list(cells))).code == 0
    assert all(np.isfinite(row["p_mislabel"]) for row in report())


def test_a_class_with_one_sample(audit):
    result = audit(table(label=["lynx", *LABELS[1:]]))
    assert result.code == 0 and "1 row is the only one of a class" in result.err
    rows = report()  # that nobody predicts what nobody else shows says nothing
    assert rows[0]["given_label"] == "lynx" and rows[0]["p_mislabel"] is None and not rows[0]["is_label_issue"]
    assert all(row["p_mislabel"] is not None for row in rows[1:])
    classes = {row["label"]: row["rows"] for row in pq.read_table("run/classes.parquet").to_pylist()}
    assert classes["lynx"] == 1 and sum(classes.values()) == N


def test_four_rows(audit):
    cells = [[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]]
    result = audit(table(id=["a", "b", "c", "d"], embedding=cells, label=["x", "x", "y", "y"]))
    assert result.code == 0
    assert len(report()) == 4
    assert "classes have 2 rows on average, too few to judge" in " ".join(result.err.split())


def test_hundreds_of_tiny_classes(audit):
    k, each = 200, 3
    truth = np.arange(k * each) % k
    rng = np.random.default_rng(0)
    cells = (rng.normal(size=(k, 16)) * 6)[truth] + rng.normal(size=(k * each, 16))
    manifest = table(id=[str(row) for row in range(k * each)], embedding=list(cells), label=truth)
    result = audit(manifest, "--epochs", 1)
    assert result.code == 0
    assert len(result.out.splitlines()) < 80  # of 200 classes the worst are shown
    assert pq.read_table("run/classes.parquet").num_rows == k
    assert [row["given_label"] for row in report()] == [str(label) for label in truth]


def test_rows_without_a_label_are_most_of_the_set(audit):
    labels = [label if row < 30 else None for row, label in enumerate(LABELS)]
    assert audit(table(label=labels)).code == 0
    rows = report()
    assert [row["issue"] == "unlabeled" for row in rows] == [row >= 30 for row in range(N)]
    assert all(row["predicted_label"] in CLASSES for row in rows)


# --- Hostile names ---------------------------------------------------------------------------------------------------


def test_labels_that_drive_the_terminal(audit, capsys):
    evil = {"cat": HOSTILE, "dog": "[bold red]dog[/] {0} %s", "owl": "owl\r\x07\x9b31m"}
    result = audit(table(label=[evil[label] for label in LABELS], id=[f"{HOSTILE}{row}" for row in range(N)]))
    assert result.code == 0
    for text in (result.out, result.err):
        assert not {"\x1b", "\r", "\x07", "\x9b", "\u202e"} & set(text)
    assert "[bold red]dog[/] {0} %s" in result.out  # shown as it is, not as markup
    rows = report()
    assert {row["given_label"] for row in rows} == set(evil.values())
    assert rows[0]["id"] == f"{HOSTILE}0"
    assert call(capsys, "export", "run", "--policy", "correct", "--output", "corrected.parquet", "--force").code == 0
    kept = set(pq.read_table("corrected.parquet")["label"].to_pylist())
    assert kept <= set(evil.values())


def test_names_of_300_characters(audit):
    deep = "/".join(["d" * 100] * 3)
    names = [f"{deep}/{row}.png" for row in range(N - 1)]
    manifest = photos(names, labels=[label * 100 for label in LABELS[: N - 1]])
    write_csv(
        manifest, {"path": [*names, "x" * 300 + ".png"], "label": [label * 100 for label in LABELS]}
    )  # the last name is longer than a file system takes
    result = audit(manifest, *SMALL)
    assert result.code == 0
    rows = report()
    assert rows[0]["id"] == names[0] and rows[0]["given_label"] == LABELS[0] * 100
    assert rows[-1]["issue"] == "unreadable" and "too long" in rows[-1]["error"]
    assert max(map(len, result.out.splitlines())) < 300


@pytest.mark.skipif(os.name == "nt", reason="Windows takes no such names")
def test_a_newline_in_a_file_name(audit, capsys):
    names = [f"{row}.png" for row in range(N - 2)] + ["two\nlines.png", 'quo"te, comma.png']
    assert audit(photos(names), *SMALL).code == 0
    assert [row["id"] for row in report()] == names
    assert call(capsys, "export", "run", "--policy", "correct", "--output", "corrected.csv", "--force").code == 0
    with open("corrected.csv", newline="", encoding="utf-8") as file:
        written = [row["path"] for row in csv.DictReader(file)]
    assert written == [name for name in names if name in set(written)]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
def test_links_that_run_in_circles(audit):
    names = [f"{label}/{row}.png" for row, label in enumerate(LABELS)]
    save_pictures(Path("tree"), GIVEN.truth, names)
    os.symlink(Path("tree").absolute(), "tree/cat/up")
    os.symlink("loop.png", "tree/dog/loop.png")
    os.symlink("nowhere.png", "tree/owl/broken.png")
    assert audit("tree", *SMALL).code == 0
    rows = {row["id"]: row["issue"] for row in report()}
    assert set(rows) == {*names, "dog/loop.png", "owl/broken.png"}
    assert rows["dog/loop.png"] == rows["owl/broken.png"] == "unreadable"


def test_names_that_mean_something_elsewhere(audit):
    """Paths that look like options, globs, markup or home folders are plain names."""
    strange = ["-rf.png", "*.png", "~.png", "$HOME.png", "%s.png", "{0}.png", "[red].png", "a b.png", "ü😀.png"]
    names = strange + [f"{row}.png" for row in range(N - len(strange))]
    assert audit(photos(names), *SMALL).code == 0
    rows = report()
    assert [row["id"] for row in rows] == names
    assert not any(row["issue"] == "unreadable" for row in rows)


# --- Where the run goes ----------------------------------------------------------------------------------------------


def test_out_is_a_file(capsys):
    Path("taken").write_text("mine")
    result = call(capsys, "audit", table(), "--out", "taken", *QUICK)
    assert (result.code, result.out) == (2, "")
    assert "taken is a file" in result.err and "choose another --out" in result.err
    assert Path("taken").read_text() == "mine"


def test_out_holds_something_else(capsys):
    Path("taken").mkdir()
    Path("taken/thesis.tex").write_text("mine")
    result = call(capsys, "audit", table(), "--out", "taken", *QUICK)
    assert (result.code, result.out) == (2, "")
    assert "not empty and holds no run" in result.err
    assert [path.name for path in Path("taken").iterdir()] == ["thesis.tex"]


def test_out_cannot_be_written(capsys):
    Path("file").touch()
    result = call(capsys, "audit", table(), "--out", "file/run", *QUICK)
    assert (result.code, result.out) == (3, "")
    assert "cannot write file/run" in result.err and "choose another --out" in result.err


def test_a_cache_that_cannot_be_written(capsys, monkeypatch):
    Path("file").touch()
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(Path("file/cache").absolute()))
    result = call(capsys, "audit", photos(), "--out", "run", *QUICK, *SMALL)
    assert (result.code, result.out) == (2, "")
    assert "cannot write the cache" in result.err and "NLCLEAN_CACHE_DIR" in result.err


def test_a_damaged_file_of_an_unfinished_run_is_named(capsys):
    command = ("audit", table(), "--out", "run", *QUICK)
    assert call(capsys, *command).code == 0
    for name in ("report", "judge"):
        Path(f"run/stages/{name}.json").unlink()
    state = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps(state | {"finished": None}))
    Path("run/copies.npz").write_bytes(b"PK\x03\x04" + bytes(500))  # as a failing disk may leave it
    result = call(capsys, *command)
    assert (result.code, result.out) == (3, "")
    assert "cannot read run/copies.npz" in result.err and "delete run" in result.err

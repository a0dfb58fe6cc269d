"""What comes out of a manifest is what went in, but for the rows dropped and the labels changed."""

import csv
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.export.manifest import suffix, write_manifest
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.manifest.saved import load_manifest, save_manifest


def everything(manifest):
    return np.ones(len(manifest), dtype=bool)


def write_and_export(path, text, *, keep=None, labels=None):
    """Write `text` to `path`, export it again and return the exported text."""
    path.write_bytes(text.encode())
    manifest = read_manifest(path)
    out = path.with_name("out" + suffix(manifest))
    write_manifest(manifest, out, keep=everything(manifest) if keep is None else np.array(keep), labels=labels)
    return out.read_bytes().decode()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "path,label,by\na.png,cat,\nb.png,dog,x\n"),
        ("m.csv", 'path;label\n"a;b.png";"say ""cat"""\n"c\nd.png";\ne.png; dog \n'),
        ("m.csv", '"path","label"\n"a.png","1"\n"b.png","2"\n'),
        ("m.tsv", "path\tlabel\na,b.png\tcat\n🐈.png\tdog\n"),
        ("m.csv", "path,label\na.png,1.0\nb.png,2.0\n"),
        ("m.tsv", 'path\tsaid\tlabel\na.png\t"Hello\tcat\nb.png\tso"\tdog\nc.png\t"a ""b"""\tcat\nd.png\t""\tdog\n'),
        ("m.csv", 'path;said;label\na.png;"a \\"b\\"";cat\nb.png;"c";dog\n'),
        ("m.csv", 'path,size,label\na.png,5" tall,cat\nb.png,6",dog\n'),  # either, so as it was
        (
            "m.jsonl",
            '{"path": "ä.png", "label": 1, "x": [1, {"y": 2.50}]}\n{"label": 2, "path": "b.png"}\n'.replace(
                "2.50", "2.5"
            ),
        ),
    ],
)
def test_same_text_out_as_in(tmp_path, name, text):
    out = write_and_export(tmp_path / name, text)
    if name.endswith("jsonl"):
        assert [json.loads(line) for line in out.splitlines()] == [json.loads(line) for line in text.splitlines()]
    else:
        assert out == text


def test_prune_and_correct(tmp_path):
    text = "path,label,by\na.png,cat,1\nb.png,dog,2\nc.png,,3\nd.png,cat,4\n"
    out = write_and_export(tmp_path / "m.csv", text, keep=[1, 0, 1, 1], labels=["dog", None, "cat", None])
    assert out == "path,label,by\na.png,dog,1\nc.png,cat,3\nd.png,cat,4\n"


def test_new_labels_are_spelt_as_the_user_spells_them(tmp_path):
    out = write_and_export(tmp_path / "m.csv", "path,label\na.png,1.0\nb.png,2.0\n", labels=["2", "2"])
    assert out == "path,label\na.png,2.0\nb.png,2.0\n"
    out = write_and_export(tmp_path / "m.csv", "path,label\na.png,1\nb.png,2\n", labels=["new, class", None])
    assert out == 'path,label\na.png,"new, class"\nb.png,2\n'


def test_new_labels_where_quotes_are_text(tmp_path):
    text = 'path\tsaid\tlabel\na.png\t"Hello\tcat\nb.png\tso"\tdog\n'
    out = write_and_export(tmp_path / "m.tsv", text, labels=["dog", "big cat"])
    assert out == 'path\tsaid\tlabel\na.png\t"Hello\tdog\nb.png\tso"\tbig cat\n'
    for bad in ("big\tcat", "big\ncat", '"cat"'):
        with pytest.raises(ManifestError, match=r"cannot be written into .*m\.tsv.*quotes are text") as error:
            write_and_export(tmp_path / "m.tsv", text, labels=[bad, None])
        assert error.value.hint


def test_jsonl_keeps_types_and_tells_null_from_absent(tmp_path):
    records = [
        {"path": "a.png", "label": 1, "u": "\ud83d", "n": None, "m": 1, "f": 1.0, "big": 2**70, "e": []},
        {"path": "b.png", "label": 2, "n": None, "m": "x", "f": 2.5, "deep": {"k": [True, None]}, "both": None},
        {"path": "c.png", "n": None, "m": None, "f": -0.0, "s": "\u2028\n", "both": "x"},
        {"path": "d.png", "label": None, "n": None, "s": None},
    ]
    text = "".join(json.dumps(record) + "\n" for record in records)
    out = write_and_export(tmp_path / "m.jsonl", text)
    assert [json.loads(line) for line in out.split("\n")[:-1]] == records
    out = write_and_export(tmp_path / "m.jsonl", text, keep=[1, 0, 1, 0], labels=["2", None, "1", None])
    assert [json.loads(line) for line in out.split("\n")[:-1]] == [
        {**records[0], "label": 2},
        {**records[2], "label": 1},
    ]


@pytest.mark.parametrize(
    ("labels", "changed"),
    [
        (pa.array([1, 2, None, 1], pa.int16()), [2, 2, 1, 1]),
        (pa.array([1.0, 2.0, None, 1.0], pa.float32()), [2.0, 2.0, 1.0, 1.0]),
        (pa.array([True, False, None, True]), [False, False, True, True]),
        (pa.array(["b", "a", None, "b"]).dictionary_encode(), ["a", "a", "b", "b"]),
        (pa.array(["b", "a", None, "b"], pa.large_string()), ["a", "a", "b", "b"]),
    ],
)
def test_parquet_keeps_its_schema(tmp_path, labels, changed):
    columns = {
        "label": labels,
        "embedding": pa.array([[1, 2], [3, None], None, [5, 6]], pa.list_(pa.float16(), 2)),
        "boxes": pa.array([[{"x": 1}], [], None, [{"x": 2}]]),
        "when": pa.array([1, 2, 3, 4], pa.timestamp("ms", tz="UTC")),
    }
    table = pa.table(columns).replace_schema_metadata({"mine": "kept"})
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=3)
    table = pq.read_table(tmp_path / "m.parquet")  # Parquet renames the fields inside lists
    manifest = read_manifest(tmp_path / "m.parquet")
    write_manifest(manifest, tmp_path / "same.parquet", keep=everything(manifest), labels=None)
    same = pq.read_table(tmp_path / "same.parquet")
    assert same.schema.equals(table.schema, check_metadata=True)
    assert same.to_pylist() == table.to_pylist()
    first, second = manifest.classes[manifest.labels[0]], manifest.classes[manifest.labels[1]]
    write_manifest(manifest, tmp_path / "new.parquet", keep=everything(manifest), labels=[second, None, first, first])
    new = pq.read_table(tmp_path / "new.parquet")
    assert new.schema.equals(table.schema, check_metadata=True)
    assert new["label"].to_pylist() == changed
    assert new.drop_columns("label").to_pylist() == table.drop_columns("label").to_pylist()


def test_labels_that_no_row_has(tmp_path):
    def export(cells, text):
        pq.write_table(pa.table({"path": ["a.png", "b.png"], "label": cells}), tmp_path / "m.parquet")
        manifest = read_manifest(tmp_path / "m.parquet")
        write_manifest(manifest, tmp_path / "out.parquet", keep=everything(manifest), labels=[text, None])
        return pq.read_table(tmp_path / "out.parquet")["label"].to_pylist()

    assert export([1, 2], "7") == [7, 2]
    assert export(pa.array(["x", "y"]).dictionary_encode(), "z") == ["z", "y"]
    with pytest.raises(ManifestError, match="'seven' do not fit the column 'label' of type int64"):
        export([1, 2], "seven")


def test_pandas_reads_a_pruned_frame(tmp_path):
    frame = pd.DataFrame({"path": ["a.png", "b.png", "c.png"], "label": ["x", "y", "x"]})
    frame.to_parquet(tmp_path / "m.parquet")
    manifest = read_manifest(tmp_path / "m.parquet")
    write_manifest(manifest, tmp_path / "out.parquet", keep=np.array([True, False, True]), labels=None)
    assert pd.read_parquet(tmp_path / "out.parquet")["path"].tolist() == ["a.png", "c.png"]


def test_trees_and_arrays_become_csv(tmp_path):
    for name in ("cat/1.png", "dog/2.png"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True)
        (tmp_path / "tree" / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    np.savez(tmp_path / "f.npz", x=np.ones((2, 2)), y=np.array([0, 1]), ids=np.array(["u", "v"]))
    for path, labels, expected in (
        ("tree", ["dog", None], "path,label\ncat/1.png,dog\ndog/2.png,dog\n"),
        ("f.npz", [None, "0"], "id,label\nu,0\nv,0\n"),
    ):
        manifest = read_manifest(tmp_path / path)
        assert suffix(manifest) == ".csv"
        write_manifest(manifest, tmp_path / "out.csv", keep=everything(manifest), labels=labels)
        assert (tmp_path / "out.csv").read_text() == expected


def test_export_checks_lengths(tmp_path):
    (tmp_path / "m.csv").write_text("path,label\na.png,x\nb.png,y\n")
    manifest = read_manifest(tmp_path / "m.csv")
    with pytest.raises(ValueError, match="2 rows"):
        write_manifest(manifest, tmp_path / "out.csv", keep=np.ones(3, dtype=bool), labels=None)
    with pytest.raises(ValueError, match="2 rows"):
        write_manifest(manifest, tmp_path / "out.csv", keep=everything(manifest), labels=["x"])


def same(a, b):
    assert a.table.schema.equals(b.table.schema, check_metadata=True)
    assert a.table.equals(b.table)
    for name in ("ids", "labels", "splits", "uris", "lines"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None)
        assert left is None or (left.tolist() == right.tolist() and left.dtype.kind == right.dtype.kind)
    assert (a.source, a.modality, a.classes, a.fingerprint) == (b.source, b.modality, b.classes, b.fingerprint)


def test_a_saved_manifest_needs_no_original(tmp_path):
    text = (
        '{"path": "a\\n.png", "label": 1, "x": [1], "split": "test"}\n{"path": "b.png", "label": null}\n{"label": 2}\n'
    )
    (tmp_path / "m.jsonl").write_text(text)
    manifest = read_manifest(tmp_path / "m.jsonl")
    write_manifest(manifest, tmp_path / "before.jsonl", keep=everything(manifest), labels=None)
    save_manifest(manifest, tmp_path / "saved.parquet")
    (tmp_path / "m.jsonl").unlink()
    loaded = load_manifest(tmp_path / "saved.parquet")
    same(loaded, manifest)
    write_manifest(loaded, tmp_path / "after.jsonl", keep=everything(loaded), labels=None)
    assert (tmp_path / "after.jsonl").read_bytes() == (tmp_path / "before.jsonl").read_bytes()


def test_a_saved_vector_manifest_keeps_its_fingerprint(tmp_path):
    np.savez(tmp_path / "f.npz", x=np.eye(3), y=np.array(["a", "b", "a"]))
    manifest = read_manifest(tmp_path / "f.npz")
    save_manifest(manifest, tmp_path / "saved.parquet")
    loaded = load_manifest(tmp_path / "saved.parquet")
    assert loaded.features is None
    same(loaded, manifest)
    assert replace(manifest, features=2 * manifest.features, _fingerprint=[]).fingerprint != loaded.fingerprint


def test_loading_something_else(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no")
    for name, message in (("other", "not a manifest saved"), ("text", "cannot read"), ("none", "cannot read")):
        with pytest.raises(ManifestError, match=message):
            load_manifest(tmp_path / f"{name}.parquet")


def test_quoted_csv_with_crlf_gives_the_same_records(tmp_path):
    text = 'path,label,note\r\n"a.png",cat,"x\r\ny"\r\n\r\nb.png,"dog",z\r\n'
    out = write_and_export(tmp_path / "m.csv", text)
    assert list(csv.reader(out.splitlines(keepends=True))) == [
        ["path", "label", "note"],
        ["a.png", "cat", "x\r\ny"],
        ["b.png", "dog", "z"],
    ]

"""Every format in, one `Manifest` out; and what a broken manifest says."""

import codecs
import csv
import json
import os
import struct
import zipfile

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.export.manifest import write_manifest
from cleanlab_lite.manifest.readers import read_manifest, sniff

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(16)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def fails(path, *parts, **options):
    """`read_manifest` fails with all of `parts` in its message, and with a hint."""
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    return caught.value


def given(manifest):
    """Class names of the rows, None where the label is missing."""
    return [manifest.classes[label] if label >= 0 else None for label in manifest.labels]


# --- CSV and TSV ---


def test_csv_with_extra_columns(tmp_path):
    path = write(
        tmp_path / "m.csv", "path,label,annotator\na.jpg,cat,ann\n/abs/b.jpg,dog,\ns3://k/c.jpg,cat,bob\nd.jpg,,x\n"
    )
    manifest = read_manifest(path)
    assert manifest.ids.tolist() == ["a.jpg", "/abs/b.jpg", "s3://k/c.jpg", "d.jpg"]
    assert manifest.uris.tolist() == [f"{tmp_path}/a.jpg", "/abs/b.jpg", "s3://k/c.jpg", f"{tmp_path}/d.jpg"]
    assert manifest.classes == ("cat", "dog")
    assert manifest.labels.tolist() == [0, 1, 0, -1]
    assert manifest.labels.dtype == np.int64
    assert manifest.lines.tolist() == [2, 3, 4, 5]
    assert manifest.splits.tolist() == [""] * 4
    assert manifest.modality == "image"
    assert manifest.features is None
    assert manifest.table.column_names == ["path", "label", "annotator"]
    assert manifest.table["annotator"].to_pylist() == ["ann", "", "bob", "x"]
    source = manifest.source
    assert (source.path, source.format, source.path_column, source.label_column) == (str(path), "csv", "path", "label")
    assert "label column: label (detected)" in source.notes
    assert "rows without a label: 1" in source.notes


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_and_quoting_are_found(tmp_path, delimiter):
    rows = ["path", "label"], ["a,b;c|d\te.png", 'say "cat"'], ["b.png", "dog"]
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        with open(tmp_path / "m.csv", "w", newline="") as file:
            csv.writer(file, delimiter=delimiter, quoting=quoting).writerows(rows)
        manifest = read_manifest(tmp_path / "m.csv")
        assert manifest.source.delimiter == delimiter
        assert manifest.source.quoting == quoting
        assert manifest.ids.tolist() == ["a,b;c|d\te.png", "b.png"]
        assert given(manifest) == ['say "cat"', "dog"]


def test_tsv_keeps_commas(tmp_path):
    manifest = read_manifest(write(tmp_path / "m.tsv", "file,name\tPATH\tClass\nx\ta,b.png\tcat\ny\tc.png\tdog\n"))
    assert manifest.ids.tolist() == ["a,b.png", "c.png"]
    assert manifest.source.format == "tsv"
    assert (manifest.source.path_column, manifest.source.label_column) == ("PATH", "Class")


def test_lines_are_right_with_newlines_in_fields_blank_lines_bom_and_crlf(tmp_path):
    text = '\ufeffpath,label\r\n"a\nb.png",cat\r\n\r\nc.png,"d\r\n\r\nog"\r\ne.png,cat\r\n'
    manifest = read_manifest(write(tmp_path / "m.csv", text))
    assert manifest.lines.tolist() == [2, 5, 8]
    assert manifest.ids.tolist() == ["a\nb.png", "c.png", "e.png"]
    assert manifest.classes == ("cat", "d\r\n\r\nog")


def spoken(delimiter, *sentences):
    """A manifest without quoting, a row per sentence."""
    labels = ["cat", "dog", "owl"]
    rows = [["path", "sentence", "label"]]
    rows += [[f"{i}.png", sentence, labels[i % 3]] for i, sentence in enumerate(sentences)]
    return "".join(delimiter.join(row) + "\n" for row in rows)


@pytest.mark.parametrize(("ending", "delimiter"), [("tsv", "\t"), ("csv", ","), ("csv", ";"), ("csv", "|")])
@pytest.mark.parametrize(
    "sentences",
    [
        ["a", '"Hello', 'he said so"', "b", '"whole"', 'in "the" middle'],  # two rows would be merged
        ["a", "b", '"Hello', "c", "d"],  # the rest would be swallowed
        ["a", '"Yes" she said', "b", "c"],
        [r'"a \"big\" cat"', r'"a \"big\" dog"', '""', '"'],  # escaped as Spark and MySQL do
    ],
)
def test_quotes_that_are_text(tmp_path, ending, delimiter, sentences):
    path = write(tmp_path / f"m.{ending}", spoken(delimiter, *sentences))
    manifest = read_manifest(path)
    assert manifest.table["sentence"].to_pylist() == sentences
    assert given(manifest) == [("cat", "dog", "owl")[i % 3] for i in range(len(sentences))]
    assert manifest.ids.tolist() == [f"{i}.png" for i in range(len(sentences))]
    assert manifest.lines.tolist() == list(range(2, len(sentences) + 2))
    first = next(i for i, text in enumerate(sentences) if text.startswith('"'))
    (note,) = [note for note in manifest.source.notes if "quotes are text" in note]
    assert f"'{path}', line {first + 2} has" in note


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ('path,label\n1.png,"cat"\n2.png,dog\n', ["cat", "dog"]),
        ('path,label\n1.png,"say ""cat"""\n2.png,""""\n', ['say "cat"', '"']),
        ('path,label\n1.png,"big, cat"\n2.png,"dog"\n', ["big, cat", "dog"]),
        ('path,label\n1.png,"a\nb"\n2.png,"c\n\nd"\n', ["a\nb", "c\n\nd"]),
        ('path,label,v,w\n1.png,"a\nb",2,3\n2.png,dog,2,3\n', ["a\nb", "dog"]),
        ('"path","label"\n"1.png","cat"\n"2.png","dog"\n', ["cat", "dog"]),
        ('path,label\n1.png,5" cat\n2.png,a "b" c\n', ['5" cat', 'a "b" c']),
    ],
)
def test_quotes_that_are_quoting_or_either(tmp_path, text, cells):
    manifest = read_manifest(write(tmp_path / "m.csv", text))
    assert given(manifest) == cells
    assert not [note for note in manifest.source.notes if "quotes are text" in note]


def test_line_breaks_in_a_column_that_stands_alone(tmp_path):
    """Lines of one field always agree, and say nothing about quotes."""
    np.save(tmp_path / "f.npy", np.eye(3, dtype=np.float32))
    path = write(tmp_path / "m.csv", 'label\n"a\nb"\nc\n"a\nb"\n')
    assert given(read_manifest(path, features=tmp_path / "f.npy")) == ["a\nb", "c", "a\nb"]


def test_quotes_are_read_alike_in_all_files_of_a_dataset(tmp_path):
    write(tmp_path / "set/a.tsv", spoken("\t", "a", '"whole"'))
    write(tmp_path / "set/b.tsv", spoken("\t", '"open', "b"))
    assert read_manifest(tmp_path / "set").table["sentence"].to_pylist() == ["a", '"whole"', '"open', "b"]


def test_hostile_names_pass_unharmed(tmp_path):
    names = [
        "../../etc/passwd.png",
        "a\nb\r.png",
        '"q",\'.png',
        "🐈‍⬛ é.png",
        "x" * 300 + ".png",
        "[red]\x1b[31m.png",
        " .png ",
        "=1+1.png",
    ]
    with open(tmp_path / "m.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label"], *([name, "ab"[i % 2]] for i, name in enumerate(names))])
    manifest = read_manifest(tmp_path / "m.csv")
    assert manifest.ids.tolist() == names
    assert manifest.uris.tolist() == [os.path.join(tmp_path, name) for name in names]
    jsonl = write(tmp_path / "m.jsonl", lines(*({"path": n, "label": "ab"[i % 2]} for i, n in enumerate(names))))
    assert read_manifest(jsonl).ids.tolist() == names


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-be"])
def test_what_excel_writes_in_place_of_utf_8_is_read_and_said(tmp_path, encoding):
    text = "path;label\na.png;café\nb.png;crème brûlée\nc.png;“Straße” 5 €\n"
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    manifest = read_manifest(write(tmp_path / "m.csv", mark + text.encode(encoding)))
    assert manifest.classes == ("café", "crème brûlée", "“Straße” 5 €")
    said = "Windows-1252, such as 'café'" if encoding == "cp1252" else "UTF-16"
    assert [said in note and "exports are UTF-8" in note for note in manifest.source.notes].count(True) == 1
    write_manifest(manifest, tmp_path / "out.csv", keep=np.ones(3, dtype=bool), labels=None)
    assert (tmp_path / "out.csv").read_bytes() == text.encode("utf-8-sig")  # which Excel knows by its mark


FOREIGN = {
    "Cyrillic": "кот".encode("cp1251"),
    "Greek": "γάτα".encode("cp1253"),
    "Polish": "stół".encode("cp1250"),
    "Chinese": "小狗".encode("gbk"),
    "Japanese": "子猫".encode("shift-jis"),
    "damaged UTF-8": "café und \udcfc".encode(errors="surrogateescape"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_text_that_hardly_is_western_is_not_guessed_at(tmp_path, kind):
    fails(write(tmp_path / "m.csv", b"path,label\na.png," + FOREIGN[kind] + b"\n"), "line 2", "is not UTF-8", "iconv")


def test_broken_text(tmp_path):
    fails(
        write(tmp_path / "len.csv", 'path,label\na,cat\n"b\n2",dog,3\nc\n'),
        "line 3: 3 fields",
        "line 5: 1 fields",
        "expected 2 fields",
    )
    fails(write(tmp_path / "many.csv", "path,label\n" + "a\n" * 9), "line 6: 1 fields", "and 4 more lines")
    fails(write(tmp_path / "quote.csv", 'path,label\na,cat\nb,"dog\n"c,d",cat\n'), "line 3", "quote")
    fails(write(tmp_path / "back.csv", 'path,label\n"a, \\"b\\"",cat\nb,dog\n'), "line 2", "not with a backslash")
    fails(write(tmp_path / "utf16.csv", "path,label\na,b\n".encode("utf-16-le")), "NUL", "line 1", "UTF-16")
    fails(write(tmp_path / "nul.csv", b"path,label\na,b\0\n"), "NUL", "line 2, byte offset 14")
    fails(write(tmp_path / "empty.csv", ""), "is empty (0 bytes)")
    fails(write(tmp_path / "blank.csv", "\n\n"), "only empty lines")
    fails(write(tmp_path / "header.csv", "path,label\n"), "no rows")
    fails(write(tmp_path / "twice.csv", "path,label,label\na,b,c\n"), "more than once", "'label'")
    fails(write(tmp_path / "own.csv", "path,label,__nlclean_id\na,b,c\n"), "__nlclean_id")
    fails(
        write(tmp_path / "m.jsonl", '{"path": "a", "label": 1}\n[1]\n\n{"path": \n'),
        "line 2: found '[1]'",
        "line 4: ",
        "jq",
    )


# --- places ---


def test_missing_files_and_wrong_places(tmp_path, monkeypatch):
    write(tmp_path / "manifest.csv", "path,label\n")
    assert "manifest.csv" in fails(tmp_path / "manifset.csv", "does not exist").hint
    fails(tmp_path / "no" / "m.csv", "nor does the folder")
    fails(tmp_path / "*.parquet", "no file matches")
    fails(write(tmp_path / "m.xlsx", "x"), "unknown ending '.xlsx'", ".parquet")
    fails(write(tmp_path / "m.json", "[]"), "no rows")
    (tmp_path / "dir.csv").mkdir()
    fails(tmp_path / "dir.csv", "expected a folder per class", "found nothing")
    fails("memory://nowhere.csv", "cannot read 'memory://nowhere.csv'")
    fails("nosuch://x/m.csv", "cannot read", "nosuch")
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "good.csv", "path,label\na.png,x\nb.png,y\n")
    manifest = read_manifest("good.csv")
    assert manifest.source.path == str(tmp_path / "good.csv")
    assert manifest.uris[0] == str(tmp_path / "a.png")


def test_remote_manifest(tmp_path):
    import fsspec

    with fsspec.open("memory://bucket/set/m.csv", "wb") as file:
        file.write(b"path,label\nimg/a.png,x\nhttps://h/b.png?size=2,y\n")
    manifest = read_manifest("memory://bucket/set/m.csv")
    assert manifest.uris.tolist() == ["memory://bucket/set/img/a.png", "https://h/b.png?size=2"]
    assert manifest.source.path == "memory://bucket/set/m.csv"
    assert manifest.modality == "image"
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("in/m.csv", "path,label\na.wav,x\nb.wav,y\n")
    manifest = read_manifest(f"zip://in/m.csv::{tmp_path}/set.zip")
    assert manifest.uris[0] == f"zip://in/a.wav::{tmp_path}/set.zip"
    assert manifest.modality == "sound"


def test_a_local_file_in_a_folder_whose_name_ends_in_a_colon_is_local(tmp_path):
    (tmp_path / "odd:").mkdir()
    (tmp_path / "odd:" / "m.csv").write_text("path,label\nimg/b://c.png,x\ns3://k/d.png,y\n")
    manifest = read_manifest(f"{tmp_path}/odd://m.csv")
    assert [os.path.normpath(manifest.uris[0]), manifest.uris[1]] == [f"{tmp_path}/odd:/img/b:/c.png", "s3://k/d.png"]


def test_several_files_are_one_dataset(tmp_path):
    for shard, label in (("a", "cat"), ("b", "dog")):
        write(tmp_path / "csv" / f"{shard}.csv", f"path,label\n{shard}.png,{label}\n")
        (tmp_path / shard).mkdir()
        pq.write_table(pa.table({"path": [f"{shard}.png"], "label": [label]}), tmp_path / shard / "x.parquet")
    manifest = read_manifest(tmp_path / "csv")
    assert given(manifest) == ["cat", "dog"]
    assert manifest.lines is None
    assert manifest.source.path == str(tmp_path / "csv")
    globbed = read_manifest(f"{tmp_path}/**/*.parquet")
    assert globbed.uris.tolist() == [f"{tmp_path}/a/a.png", f"{tmp_path}/b/b.png"]
    fails(tmp_path / "*" / "*.*", "expected one format")
    write(tmp_path / "csv" / "c.csv", "path,lable\nc.png,dog\n")
    fails(tmp_path / "csv", "c.csv", "'lable'", "'label'")


# --- JSONL ---


def test_jsonl_types(tmp_path):
    records = (
        {"path": "a.png", "label": 3, "score": 0.5, "tags": ["x"], "mixed": 1, "note": None},
        {"path": "b.png", "label": 10, "score": 1.5, "tags": [], "mixed": "1", "extra": True},
        {"path": "c.png", "label": 3, "score": 2.5, "tags": None, "mixed": None, "note": None, "big": 2**70},
    )
    manifest = read_manifest(write(tmp_path / "m.ndjson", "\n" + lines(*records)))
    types = {field.name: str(field.type) for field in manifest.table.schema}
    assert types["label"] == "int64"
    assert types["score"] == "double"
    assert types["extra"] == "bool"
    assert manifest.table["mixed"].to_pylist() == ["1", '"1"', "null"]
    assert manifest.table["tags"].to_pylist() == ['["x"]', "[]", "null"]
    assert manifest.classes == ("3", "10")  # numerically
    assert manifest.lines.tolist() == [2, 3, 4]


def test_nemo(tmp_path):
    write(tmp_path / "a.wav", WAV)
    nemo = {"audio_filepath": "a.wav", "duration": 1.0, "text": "spoken words"}
    command = lines({**nemo, "offset": 0.0, "command": "yes"}, {**nemo, "offset": 1.0, "command": "no"})
    manifest = read_manifest(write(tmp_path / "m.json.jsonl", command))
    assert manifest.modality == "sound"
    assert manifest.source.label_column == "command"
    assert manifest.ids.tolist() == ["a.wav", "a.wav#2"]
    assert "rows that repeat a path: 1; their ids end in #2, #3, ..." in manifest.source.notes
    text = lines({**nemo, "text": "one"}, {**nemo, "text": "two"})
    assert read_manifest(write(tmp_path / "t.jsonl", text)).source.label_column == "text"


def test_json_escapes_that_no_path_can_hold(tmp_path):
    for bad in ("a\0.png", "\ud800.png"):
        path = write(tmp_path / "m.jsonl", lines({"path": "x", "label": "a"}, {"path": bad, "label": "b"}))
        fails(path, "line 2", "NUL or half a character")


# --- Parquet ---


def test_parquet_of_pandas_and_polars(tmp_path):
    frame = pd.DataFrame({"image": ["a.png", "b.png", "c.png"], "label": pd.Categorical(["cat", None, "dog"])})
    frame.to_parquet(tmp_path / "pandas.parquet")
    assert given(read_manifest(tmp_path / "pandas.parquet")) == ["cat", None, "dog"]
    pl.DataFrame({"image": ["a.png", "b.png"], "label": [True, False]}).write_parquet(tmp_path / "polars.parquet")
    manifest = read_manifest(tmp_path / "polars.parquet")
    assert manifest.ids.tolist() == ["a.png", "b.png"]
    assert given(manifest) == ["true", "false"]
    assert manifest.lines is None


def test_parquet_errors(tmp_path):
    fails(write(tmp_path / "bad.parquet", b"PAR1 no"), "cannot read", "bad.parquet")
    images = pa.array([{"bytes": PNG, "path": "a.png"}] * 2)
    pq.write_table(pa.table({"image": images, "label": ["a", "b"]}), tmp_path / "hf.parquet")
    fails(tmp_path / "hf.parquet", "'image'", "embedded bytes", "a place for files")
    pq.write_table(pa.table({"path": ["a", "b"], "label": [["a"], ["b", "a"]]}), tmp_path / "multi.parquet")
    fails(tmp_path / "multi.parquet", "list", "one label per row")


# --- folders ---


def test_class_tree(tmp_path):
    for name in ("dog/2.png", "dog/1.png", "cat/deep/3.png", "cat/.hidden", "dog/1.txt", "top.png"):
        write(tmp_path / name, PNG)
    manifest = read_manifest(tmp_path)
    assert manifest.ids.tolist() == ["cat/deep/3.png", "dog/1.png", "dog/2.png"]
    assert given(manifest) == ["cat", "dog", "dog"]
    assert manifest.uris[0] == str(tmp_path / "cat/deep/3.png")
    assert manifest.source.format == "folder"
    assert any("skipped 2 files" in note for note in manifest.source.notes)


def test_class_tree_named_from_where_one_stands(tmp_path, monkeypatch):
    for name in ("cat/1.png", "dog/2.png"):
        write(tmp_path / "tree" / name, PNG)
    monkeypatch.chdir(tmp_path)
    assert read_manifest("tree/").uris.tolist() == [f"{tmp_path}/tree/cat/1.png", f"{tmp_path}/tree/dog/2.png"]


def test_class_tree_with_splits(tmp_path):
    for name in ("train/dog/1.png", "train/cat/1.png", "Test/dog/2.png"):
        write(tmp_path / name, PNG)
    manifest = read_manifest(tmp_path)
    assert manifest.splits.tolist() == ["Test", "train", "train"]
    assert manifest.held_back.tolist() == [True, False, False]
    assert given(manifest) == ["dog", "cat", "dog"]


def test_class_tree_follows_links_but_not_loops(tmp_path):
    write(tmp_path / "store/1.png", PNG)
    write(tmp_path / "tree/dog/2.png", PNG)
    (tmp_path / "tree/cat").symlink_to(tmp_path / "store")
    (tmp_path / "tree/fox").symlink_to(tmp_path / "store")
    (tmp_path / "tree/dog/again").symlink_to(tmp_path / "tree")
    for root in (tmp_path / "tree", f"{tmp_path}/tree/"):
        assert read_manifest(root).ids.tolist() == ["cat/1.png", "dog/2.png", "fox/1.png"]


def test_folder_errors(tmp_path):
    write(tmp_path / "one/cat/1.png", PNG)
    fails(tmp_path / "one", "one class only, 'cat'")
    write(tmp_path / "flat/1.png", PNG)
    fails(tmp_path / "flat", "expected a folder per class", "1 x .png")
    write(tmp_path / "both/m.csv", "path,label\n")
    write(tmp_path / "both/cat/1.png", PNG)
    fails(tmp_path / "both", "'m.csv'", "'cat'")
    write(tmp_path / "parts/some/metadata.csv", "file_name,label\n")
    write(tmp_path / "parts/some/1.png", PNG)
    write(tmp_path / "parts/more/metadata.csv", "file_name,label\n")
    fails(tmp_path / "parts", "metadata files in subfolders", "glob")


def test_of_several_tables_in_a_folder_the_one_that_is_read_is_named(tmp_path):
    for name in ("manifest.csv", "worst.csv", "provenance.csv"):
        write(tmp_path / name, f"path,label\n1.png,{name[0]}\n2.png,cat\n")
    found = read_manifest(tmp_path)
    assert found.classes == ("cat", "m")
    assert "rows from 'manifest.csv', by its name; not read: 'provenance.csv', 'worst.csv'" in found.source.notes
    alone = read_manifest(tmp_path / "manifest.csv").source.notes
    assert not any("not read" in note for note in alone)


def test_a_folder_is_read_by_its_manifest(tmp_path):
    write(tmp_path / "files/1.png", PNG)
    write(tmp_path / "files/2.png", PNG)
    write(tmp_path / "truth.csv", "path,true_label\nfiles/1.png,cat\n")
    write(tmp_path / "manifest.csv", "path,label\nfiles/1.png,dog\nfiles/2.png,cat\n")
    manifest = read_manifest(tmp_path)
    assert manifest.uris.tolist() == [f"{tmp_path}/files/1.png", f"{tmp_path}/files/2.png"]
    assert manifest.classes == ("cat", "dog")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_hugging_face_metadata(tmp_path, form):
    write(tmp_path / "img/a.png", PNG)
    frame = pd.DataFrame({"file_name": ["img/a.png", "img/b.png"], "label": [0, 1], "url": ["http://a", "http://b"]})
    path = tmp_path / f"metadata.{form}"
    {
        "csv": lambda: frame.to_csv(path, index=False),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(path),
    }[form]()
    for place in (tmp_path, path):
        manifest = read_manifest(place)
        assert manifest.uris.tolist() == [f"{tmp_path}/img/a.png", f"{tmp_path}/img/b.png"]
        assert manifest.source.path_column == "file_name"
        assert manifest.source.format == form
        assert manifest.classes == ("0", "1")


# --- columns, labels, ids ---


def test_columns_are_named_or_detected(tmp_path):
    path = write(
        tmp_path / "m.csv", "p,path,Target,klass,uuid,Subset\na.png,b.png,x,s,1,train\nc.png,d.png,y,t,2,val\n"
    )
    manifest = read_manifest(path)
    assert manifest.ids.tolist() == ["1", "2"]
    assert manifest.held_back.tolist() == [False, True]
    manifest = read_manifest(path, path_column="p", label_column="klass", id_column="path", split_column="Target")
    assert manifest.ids.tolist() == ["b.png", "d.png"]
    assert manifest.uris[0].endswith("/a.png")
    assert given(manifest) == ["s", "t"]
    assert manifest.splits.tolist() == ["x", "y"]
    assert "label column: klass (named)" in manifest.source.notes


def test_column_errors_come_all_at_once(tmp_path):
    path = write(tmp_path / "m.csv", "img,lable\na.png,x\nb.png,y\n")
    error = fails(path, "no label column", "'img', 'lable'", "name it with --label-column")
    assert "path" not in str(error)  # would be found by its cells
    fails(
        write(tmp_path / "h.csv", "a,b\nx,y\n"), "no path column; no label column", "name them with --path-column, --l"
    )
    error = fails(path, "no column 'Img'", "no column 'label'", path_column="Img", label_column="label")
    assert error.hint == "did you mean 'img', 'lable'?"
    path = write(tmp_path / "n.csv", "path,url,label,target\na,b,c,d\n")
    fails(
        path,
        "several columns could be the path: 'path', 'url'",
        "several columns could be the label: 'label', 'target'",
    )


def test_label_spellings(tmp_path):
    def classes(*cells):
        rows = "".join(f"{i}.png,{cell}\n" for i, cell in enumerate(cells))
        return read_manifest(write(tmp_path / "m.csv", "path,label\n" + rows))

    assert classes("10", "9", "-1").classes == ("-1", "9", "10")
    assert classes("10", "9", "x").classes == ("10", "9", "x")
    assert classes("1.0", "0.0", "", "1").classes == ("0", "1")
    assert classes("01", "1", "2").classes == ("01", "1", "2")
    manifest = classes("3.0", "1.0", "nan", "1")
    assert manifest.classes == ("1", "3") and given(manifest)[2] is None
    assert any("'nan' is a missing label" in note for note in manifest.source.notes)
    assert classes("3", "1", "nan", "x").classes == ("1", "3", "nan", "x")
    manifest = classes("cat", "Cat", " cat", "dog", "  ", "NA")
    assert manifest.classes == (" cat", "Cat", "NA", "cat", "dog")
    assert given(manifest)[4] is None
    assert any("differ only by case or surrounding blanks" in note for note in manifest.source.notes)
    assert "'NA' counts as a class, not as a missing label" in manifest.source.notes


def test_float_labels(tmp_path):
    for values, expected in (([1.0, None, 0.0, np.nan], (1, -1, 0, -1)), ([1e3, 2.0, 2.0, 2.0], (1, 0, 0, 0))):
        table = pa.table({"path": list("abcd"), "label": pa.array(values, pa.float32())})
        pq.write_table(
            table.set_column(0, "path", pa.array(["a.png", "b.png", "c.png", "d.png"])), tmp_path / "m.parquet"
        )
        assert read_manifest(tmp_path / "m.parquet").labels.tolist() == list(expected)
    fails(write(tmp_path / "m.csv", "path,label\na.png,0.5\nb.png,1\n"), "0.5", "regression")
    fails(
        write(tmp_path / "m.jsonl", lines({"path": "a", "label": 1}, {"path": "b", "label": 1e-9})),
        "1e-09",
        "regression",
    )


def test_labels_that_are_no_classes(tmp_path):
    fails(write(tmp_path / "a.csv", "path,label\na.png,x\nb.png,x\nc.png,\n"), "one class only, 'x'")
    fails(write(tmp_path / "b.csv", "path,label\na.png,\nb.png, \n"), "no label in any row")
    rows = "".join(f"{i}.png,{'x' if i < 9 else i}\n" for i in range(20))
    fails(
        write(tmp_path / "c.csv", "path,label\n" + rows),
        "12 classes for 20 labelled rows, 11 of them",
        "--label-column",
    )
    fails(write(tmp_path / "d.jsonl", lines({"path": "a", "label": [["x"]]}, {"path": "b", "label": "y"})), "['x']")


def test_ids(tmp_path):
    path = write(tmp_path / "m.csv", 'path,label,id\na,x,1\nb,y,"2\n"\nc,x,1\nd,y,\ne,x,3\nf,y,3\ng,x,1\n')
    repeated = "2 ids more than once ('1' in line 2, line 5, line 9; '3' in line 7, line 8)"
    fails(path, "1 empty ids (line 6)", repeated, id_column="id")
    path = write(tmp_path / "n.csv", "path,label\na.png,x\na.png#2,y\na.png,y\na.png,x\n,y\n")
    manifest = read_manifest(path)
    assert manifest.ids.tolist() == ["a.png", "a.png#2", "a.png#3", "a.png#4", "4"]
    assert manifest.uris.tolist() == [*(f"{tmp_path}/{name}" for name in ("a.png", "a.png#2", "a.png", "a.png")), ""]
    many = "".join(f"p{i},{'xy'[i % 2]},{i // 2}\n" for i in range(20))
    fails(
        write(tmp_path / "o.csv", "path,label,id\n" + many),
        "10 ids more than once",
        "'4' in line 10, line 11)",
        id_column="id",
    )


# --- modality ---


def test_sniff():
    mp3 = b"\xff\xfb\x90\x64" + bytes(8)
    bmp = b"BM" + struct.pack("<IHHII", 100, 0, 0, 54, 40)
    images = (b"\xff\xd8\xff\xe0", PNG, b"GIF89a", b"II*\0", b"MM\0*", b"RIFF\0\0\0\0WEBPVP8 ", bmp)
    sounds = (WAV, b"fLaC", b"OggS", b"ID3\4", mp3)
    assert [sniff(head) for head in images] == ["image"] * len(images)
    assert [sniff(head) for head in sounds] == ["sound"] * len(sounds)
    others = (
        b"",
        b"BM stands for bitmap",
        b"RIFF\0\0\0\0AVI LIST",
        b"\xff\xfeh\0i\0",
        b"%PDF-1.7",
        b"\xff",
        b"path,label",
    )
    assert [sniff(head) for head in others] == [None] * len(others)


def test_modality_is_by_content_before_ending(tmp_path):
    text = "path,label\nempty.wav,x\nmissing.wav,y\nreal.wav,x\n"
    path = write(tmp_path / "m.csv", text)
    assert read_manifest(path).modality == "sound"
    write(tmp_path / "empty.wav", b"")
    assert read_manifest(path).modality == "sound"
    write(tmp_path / "real.wav", PNG)
    manifest = read_manifest(path)
    assert manifest.modality == "image"
    assert "modality: image (by content of 1 file)" in manifest.source.notes
    write(tmp_path / "real.wav", b"%PDF-1.7")
    fails(path, "neither images nor sounds", "content of 1 file")
    remote = read_manifest(write(tmp_path / "r.csv", "path,label\ns3://b/0.png,x\ns3://b/1.png,y\n"))
    assert "modality: image (by file endings (.png), as remote files are not opened for that)" in remote.source.notes
    fails(write(tmp_path / "n.csv", "path,label\nq1,x\nq2,y\n"), "neither images nor sounds", "none", "--features")
    fails(write(tmp_path / "o.csv", "path,label\n,x\n,y\n"), "path column is empty in all 2 rows")


# --- vectors ---


def test_features_next_to_a_table(tmp_path):
    table = write(tmp_path / "m.csv", "path,label\nq0,x\nq1,y\nq2,x\n")
    vectors = np.array([[1, 2], [np.nan, 1], [3, np.inf]], dtype=np.float16)
    np.save(tmp_path / "f.npy", vectors)
    manifest = read_manifest(table, features=tmp_path / "f.npy")
    assert manifest.modality == "vector"
    assert manifest.features.dtype == np.float32
    np.testing.assert_array_equal(manifest.features, vectors)
    assert manifest.ids.tolist() == ["q0", "q1", "q2"]
    unnamed = read_manifest(write(tmp_path / "n.csv", "label\nx\ny\nx\n"), features=tmp_path / "f.npy")
    assert unnamed.ids.tolist() == ["0", "1", "2"]
    assert unnamed.uris is None


def test_feature_errors(tmp_path):
    table = write(tmp_path / "m.csv", "path,label\nq0,x\nq1,y\n")

    def broken(array, *parts):
        np.save(tmp_path / "f.npy", array)
        fails(table, "f.npy", *parts, features=tmp_path / "f.npy")

    broken(np.zeros((3, 2)), "has 3 rows", "has 2")
    broken(np.zeros(2), "shape (2,)", "expected (n, d)")
    broken(np.zeros((2, 0)), "shape (2, 0)")
    broken(np.array([["a"], ["b"]]), "expected numbers")
    broken(np.full((2, 2), np.nan), "all 2 vectors hold NaN")
    broken(np.array([[{}], [{}]]), "pickle")
    fails(table, "is a folder", features=write(tmp_path / "d.npy" / "x", "").parent)
    assert "without --features" in fails(table, "unknown ending '.csv'", features=table).hint
    fails(table, "cannot read", features=tmp_path / "none.npy")
    fails(table, "cannot read", features=write(tmp_path / "z.npz", "no zip"))


@pytest.mark.parametrize("labels", [np.array(["b", "a", "b"]), np.array([1, 0, 1]), np.array([1.0, 0.0, 1.0])])
def test_npz(tmp_path, labels):
    vectors = np.arange(6.0).reshape(3, 2)
    np.savez(tmp_path / "f.npz", X=vectors, y=labels)
    manifest = read_manifest(tmp_path / "f.npz")
    assert manifest.labels.tolist() == [1, 0, 1]
    assert manifest.ids.tolist() == ["0", "1", "2"]
    assert manifest.table.column_names == ["id", "label"]
    assert manifest.source.format == "arrays"
    np.testing.assert_array_equal(manifest.features, vectors)
    np.savez(tmp_path / "f.npz", embeddings=vectors, labels=labels, ids=np.array(["u", "v", "w"]))
    assert read_manifest(tmp_path / "f.npz").ids.tolist() == ["u", "v", "w"]


def test_npz_errors(tmp_path):
    def broken(*parts, **arrays):
        np.savez(tmp_path / "f.npz", **arrays)
        fails(tmp_path / "f.npz", *parts)

    broken("no array for features and labels", "'a'", a=np.zeros(2))
    broken("features have 2 rows, labels have 3", x=np.zeros((2, 2)), y=np.arange(3))
    broken("labels have shape (2, 1)", x=np.zeros((2, 2)), y=np.zeros((2, 1)))
    broken("several arrays could be the features", x=np.zeros((2, 2)), features=np.zeros((2, 2)), y=np.arange(2))
    broken("pickles", x=np.zeros((2, 2)), y=np.array(["a", None]))
    broken("1 ids more than once ('u' in row 0, row 1)", x=np.zeros((2, 2)), y=np.arange(2), ids=np.array(["u", "u"]))


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 2), pa.large_list(pa.int16())])
def test_list_column(tmp_path, kind):
    cells = [[1, 2], None, [3, None], [5, 6]]
    columns = {"id": list("abcd"), "label": list("xyxy"), "embedding": pa.array(cells, kind), "annotator": [1, 2, 3, 4]}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet", row_group_size=1)
    manifest = read_manifest(tmp_path / "m.parquet")
    nan = np.nan
    np.testing.assert_array_equal(manifest.features, np.array([[1, 2], [nan, nan], [3, nan], [5, 6]]))
    assert manifest.features.dtype == np.float32
    assert manifest.ids.tolist() == list("abcd")
    assert manifest.source.features_column == "embedding"
    assert manifest.source.path_column is None
    write(tmp_path / "m.jsonl", lines(*({"id": i, "label": i % 2, "v": cell} for i, cell in enumerate(cells))))
    jsonl = read_manifest(tmp_path / "m.jsonl")
    np.testing.assert_array_equal(jsonl.features, manifest.features)
    assert jsonl.ids.tolist() == ["0", "1", "2", "3"]


def test_list_column_errors(tmp_path):
    mixed = [{"id": i, "label": i % 2, "v": [0.0] * (3 if i < 2 else 4)} for i in range(5)]
    text = "'v' has 4 numbers, expected 3 as in {}; another length in 3 of 5 rows"
    fails(write(tmp_path / "m.jsonl", lines(*mixed)), "line 3", text.format("line 1"))
    pq.write_table(pa.Table.from_pylist(mixed), tmp_path / "m.parquet")
    fails(tmp_path / "m.parquet", "row 2", text.format("row 0"))
    strings = [{"id": 1, "label": 0, "v": [1]}, {"id": 2, "label": 1, "v": ["1"]}]
    fails(write(tmp_path / "s.jsonl", lines(*strings)), "line 2", "['1']", "expected numbers")
    fails(write(tmp_path / "s.csv", "id,label,v\n1,2,[1]\n3,4,[2]\n"), "lists of numbers", features_column="v")
    nulls = pa.table({"label": ["a", "b"], "v": pa.array([None, None], pa.list_(pa.float32()))})
    pq.write_table(nulls, tmp_path / "n.parquet")
    fails(tmp_path / "n.parquet", "null in all 2 rows")


def test_path_or_vectors(tmp_path):
    vectors = pa.array([[1.0, 2.0], [3.0, 4.0]])
    base = {"path": ["a.png", "b.png"], "label": ["x", "y"]}
    pq.write_table(pa.table({**base, "bbox": vectors}), tmp_path / "box.parquet")
    assert read_manifest(tmp_path / "box.parquet").modality == "image"
    assert read_manifest(tmp_path / "box.parquet", features_column="bbox").modality == "vector"
    pq.write_table(pa.table({**base, "embedding": vectors}), tmp_path / "emb.parquet")
    manifest = read_manifest(tmp_path / "emb.parquet")
    assert manifest.modality == "vector"
    assert manifest.uris[0] == f"{tmp_path}/a.png"
    assert read_manifest(tmp_path / "emb.parquet", path_column="path").modality == "image"
    pq.write_table(pa.table({**base, "url": ["u", "v"], "bbox": vectors}), tmp_path / "two.parquet")
    fails(tmp_path / "two.parquet", "several columns could be the path")
    np.save(tmp_path / "f.npy", np.ones((2, 2)))
    fails(tmp_path / "emb.parquet", "given twice", features=tmp_path / "f.npy", features_column="embedding")

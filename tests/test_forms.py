"""Forms of tables by content; what was not changed comes out as it was, in the same form."""

import bz2
import csv
import gzip
import io
import itertools
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_world import QUICK
from cli_world import call
from PIL import Image

from cleanlab_lite.data.objects import ObjectStore
from cleanlab_lite.errors import ManifestError
from cleanlab_lite.export.manifest import suffix, write_manifest
from cleanlab_lite.manifest.readers import read_labels, read_manifest
from cleanlab_lite.manifest.saved import load_manifest, save_manifest

KINDS = ("cat", "dog", "owl")
N = 24
LABELS = [KINDS[row % 3] for row in range(N)]
NOTES = [("plain", "with, comma; and more", 'say "hi"', "", "ünï🐈", " blanks ")[row % 6] for row in range(N)]
COLUMNS = {
    "path": [f"img/{label}_{row}.png" for row, label in enumerate(LABELS)],
    "label": LABELS,
    "size": [str(row * 3) for row in range(N)],
    "note": NOTES,
}


def png(seed=0):
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "img").mkdir()
    for row, name in enumerate(COLUMNS["path"]):
        (tmp_path / name).write_bytes(png(row))
    return tmp_path


def exported(manifest, folder, *, keep=None, labels=None, name="out"):
    """The bytes of an export, through a saved manifest as in a run folder."""
    save_manifest(manifest, folder / "saved.parquet")
    again = load_manifest(folder / "saved.parquet")
    path = folder / f"{name}{suffix(again)}"
    keep = np.ones(len(manifest), dtype=bool) if keep is None else keep
    write_manifest(again, path, keep=keep, labels=labels)
    return path


def unpacked(path):
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".bz2":
        return bz2.decompress(data)
    return pa.input_stream(str(path), compression="zstd").read() if path.suffix == ".zst" else data


# --- the matrix -----------------------------------------------------------------------------------------------------

QUOTING = {"minimal": csv.QUOTE_MINIMAL, "all": csv.QUOTE_ALL, "strings": csv.QUOTE_NONNUMERIC}
PACK = {"": lambda data: data, ".gz": gzip.compress, ".bz2": bz2.compress}
PACK[".zst"] = lambda data: pa.compress(data, codec="zstd", asbytes=True)


def csv_text(delimiter, quoting, end):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=QUOTING[quoting], lineterminator=end)
    writer.writerow(COLUMNS)
    for path, label, size, note in zip(*COLUMNS.values(), strict=True):
        writer.writerow([path, label, int(size), note])
    return text.getvalue()


@pytest.mark.parametrize(
    ("ending", "quoting", "end", "bom", "packed"),
    [
        *itertools.product((",", ";", "\t", "|"), QUOTING, ("\n", "\r\n"), (False, True), ("",)),
        *itertools.product((";",), ("strings",), ("\r\n",), (True,), (".gz", ".zst", ".bz2")),
    ],
)
def test_csv_comes_out_as_it_was(folder, ending, quoting, end, bom, packed):
    delimiter, form = ending, ".tsv" if ending == "\t" else ".csv"
    text = csv_text(delimiter, quoting, end)
    data = text.encode("utf-8-sig" if bom else "utf-8")
    path = folder / f"m{form}{packed}"
    path.write_bytes(PACK[packed](data))
    manifest = read_manifest(path)
    assert manifest.modality == "image" and manifest.classes == KINDS
    assert manifest.table.to_pydict() == COLUMNS
    out = exported(manifest, folder)
    assert out.name == f"out{form}{packed}"
    assert unpacked(out) == data
    keep = np.arange(N) != 3
    labels = [None] * 5 + ["owl"] + [None] * (N - 6)
    changed = unpacked(exported(manifest, folder, keep=keep, labels=labels, name="changed")).decode("utf-8-sig")
    before, after = (list(csv.reader(io.StringIO(each, newline=""), delimiter=delimiter)) for each in (text, changed))
    before[6][1] = "owl"
    assert after == [*before[:4], *before[5:]]
    assert changed.count(end) >= N and (end == "\r\n" or "\r" not in changed)
    again = read_manifest(folder / f"changed{form}{packed}")
    assert len(again) == N - 1


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [False, True])
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_jsonl_comes_out_as_it_was(folder, end, bom, packed):
    rows = [
        {"path": path, "label": label, "box": [row, 1.5], "note": None if row % 2 else "ü"}
        for row, (path, label) in enumerate(zip(COLUMNS["path"], LABELS, strict=True))
    ]
    rows[3].pop("box")
    data = "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode("utf-8-sig" if bom else "utf-8")
    path = folder / f"m.jsonl{packed}"
    path.write_bytes(PACK[packed](data))
    manifest = read_manifest(path)
    out = unpacked(exported(manifest, folder))
    assert out.decode("utf-8-sig").splitlines(keepends=True)[0].endswith(end)
    assert out.startswith(b"\xef\xbb\xbf") is bom
    assert [json.loads(line) for line in out.decode("utf-8-sig").splitlines()] == rows


@pytest.mark.parametrize("form", ["json", "parquet", "arrow", "stream", "feather", "no ending"])
def test_other_forms_come_out_in_their_form(folder, form):
    rows = [dict(zip(COLUMNS, cells, strict=True)) for cells in zip(*COLUMNS.values(), strict=True)]
    table = pa.table(COLUMNS)
    path = folder / f"m.{ {'stream': 'arrow', 'no ending': 'data'}.get(form, form) }"
    if form == "json":
        path.write_text(json.dumps(rows, indent=1))
    elif form in ("parquet", "no ending"):
        pq.write_table(table, path)
    elif form == "arrow":
        with pa.ipc.new_file(str(path), table.schema) as file:
            file.write_table(table)
    elif form == "stream":
        with pa.ipc.new_stream(str(path), table.schema) as file:
            file.write_table(table)
    else:
        from pyarrow import feather

        feather.write_feather(
            table,
            str(path),
        )
    manifest = read_manifest(path)
    assert manifest.table.to_pydict() == COLUMNS
    keep = np.arange(N) != 3
    labels = [None] * 5 + ["owl"] + [None] * (N - 6)
    out = exported(manifest, folder, keep=keep, labels=labels)
    assert out.suffix == (".parquet" if form == "no ending" else path.suffix)
    again = read_manifest(out)
    rows[5]["label"] = "owl"
    assert again.table.to_pylist() == [*rows[:3], *rows[4:]]


# --- text -----------------------------------------------------------------------------------------------------------


def same(folder, text, **options):
    """Read, saved, and written again: the manifest, and the text of the export."""
    path = folder / "m.csv"
    path.write_bytes(text.encode())
    manifest = read_manifest(path, **options)
    return manifest, exported(manifest, folder).read_bytes().decode()


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\npath;label\na.png;cat\nb.png;dog, small\n",
        "# made by hand\n# path, label of v2\npath,label\na.png,cat\nb.png,dog\n",
        "path,label,\na.png,cat,\nb.png,dog,\n",
        "path,label\na.png,cat,\nb.png,dog,\n",
        "#path,label\na.png,cat\nb.png,dog\n",
        '"path","label","n"\n"a.png","cat",NA\n"b.png","dog",3\n',  # R
        'path,label\n"a.png",cat\n"b.png",dog\n',
        "path, label, n\na.png, cat, 1\nb.png, dog, 2\n",  # Roboflow
        'path, label, n\na.png, cat, 1\nb.png, "dog, small", 2\n',
        '"path", "label"\n"a.png", "cat"\n"b.png", "dog"\n',
        "Survey of 2023\npath,label\na.png,cat\nb.png,dog\n",
        "Survey of 2023;;\n;;\npath;label;note\na.png;cat;\nb.png;dog;\n",
    ],
)
def test_what_stands_around_the_cells_comes_out_again(tmp_path, text):
    options = {"path_column": "#path"} if text.startswith("#path") else {}
    manifest, out = same(tmp_path, text, **options)
    assert manifest.labels.tolist() == [0, 1]
    assert out == text
    first = text.split("a.png")[0].count("\n") + 1
    assert manifest.lines.tolist() == [first, first + 1]


def test_blanks_behind_delimiters_are_no_part_of_the_cells(tmp_path):
    manifest, _ = same(tmp_path, 'path, label\na.png, cat\nb.png, "dog, small"\n')
    assert manifest.classes == ("cat", "dog, small") and manifest.table.column_names == ["path", "label"]
    manifest, _ = same(tmp_path, "path,label\na.png, cat\nb.png,cat\n")  # only some are
    assert manifest.classes == (" cat", "cat")


def test_what_stands_above_the_header_is_said(tmp_path):
    manifest, _ = same(tmp_path, "Survey of 2023,,\n,,\npath,label,note\na.png,cat,\nb.png,dog,\n")
    assert any("above the header: 'Survey of 2023,,'" in note for note in manifest.source.notes)
    manifest, _ = same(tmp_path, "what,kind\npath,label\nb.png,dog\n", path_column="what", label_column="kind")
    assert manifest.table["what"].to_pylist() == ["path", "b.png"]  # as wide as the header: a row


def test_columns_without_a_name(tmp_path):
    manifest, out = same(tmp_path, "path,label,,\na.png,cat,,1\nb.png,dog,,\n")
    assert manifest.table.column_names == ["path", "label", "column 3", "column 4"]
    assert any("columns without a name" in note for note in manifest.source.notes)
    assert out == "path,label,column 3,column 4\na.png,cat,,1\nb.png,dog,,\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gs://b/0.jpg,cat\n" * 3 + "gs://b/1.jpg,dog\n" * 3, "put 'path,label' above it"),
        ("training,a.jpg,cat\n" * 3 + "test,b.jpg,dog\n" * 4, "put 'split,path,label' above it"),
        (
            "file_name,Art\n" + "a.png,Katze\nb.png,Hund\n" * 3,
            "'Art' (2), such as nlclean audit /",
        ),
        ("file_name,Art,who\n" + "a.png,0,x\nb.png,1,y\n" * 3, "few values that repeat are in 'who' (2), 'Art' (2)"),
        (
            "file_name,a,b,c,d,who\n" + "a.png,3,4,5,6,x\nb.png,4,5,6,7,y\n" * 3,
            "/m.csv --label-column who; the first line",
        ),
        ("id,label,0,1,2\n" + "a,cat,.1,.2,.3\nb,dog,.1,.2,.3\n", "--features-columns '[0-9]*'"),
        ("id,label,width,height\n" + "a,cat,.1,.2\nb,dog,.1,.2\n", "--features-columns 'width,height'"),
        ("id,label\na,cat\nb,dog\n", "vectors.npy"),
        ("image,label\n" + f"{'A' * 300}=,cat\n{'B' * 300}=,dog\n", "base64.b64decode"),
        ("image,label\n" + "data:image/png;base64,AAAA,cat\n".replace(",A", ";A") + "data:x,dog\n", "base64.b64decode"),
        ('image,annotation\na.png,"{""label"": ""cat""}"\nb.png,"{""label"": ""dog""}"\n', "a column of its own"),
        ("image,LabelName,Confidence\n" + "a,cat,1\na,dog,0\nb,dog,1\nb,cat,0\n", "leave these rows out"),
    ],
)
def test_tables_that_cannot_be_read_say_what_to_do(tmp_path, text, words):
    np.save(tmp_path / "vectors.npy", np.zeros((2, 2)))
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "m.csv")
    assert words in caught.value.hint, caught.value


def test_comments_between_rows_are_left_out_and_counted(tmp_path):
    manifest, out = same(tmp_path, "path,label\na.png,cat\n# these are doubtful\nb.png,dog\n")
    assert out == "path,label\na.png,cat\nb.png,dog\n"
    assert "lines left out that begin with #: 1" in manifest.source.notes
    assert manifest.lines.tolist() == [2, 4]


def test_long_cells(tmp_path):
    long = "x" * 300_000
    limit = csv.field_size_limit()
    manifest, out = same(tmp_path, f"path,label,text\na.png,cat,{long}\nb.png,dog,y\n")
    assert manifest.table["text"][0].as_py() == long and long in out
    assert csv.field_size_limit() == limit


def test_what_is_packed_badly_is_said(tmp_path):
    (tmp_path / "m.csv.gz").write_bytes(gzip.compress(b"path,label\n" * 1000)[:40])
    with pytest.raises(ManifestError, match="cannot unpack"):
        read_manifest(tmp_path / "m.csv.gz")
    (tmp_path / "m.csv").write_bytes(gzip.compress(b"path,label\na.png,cat\nb.png,dog\n"))  # by content
    assert read_manifest(tmp_path / "m.csv").classes == ("cat", "dog")
    (tmp_path / "m.arrow").write_bytes(b"ARROW1 no")
    (tmp_path / "n.feather").write_bytes(b"FEA1 no")
    for name, words in (("m.arrow", "cannot read"), ("n.feather", "first version")):
        with pytest.raises(ManifestError, match=words):
            read_manifest(tmp_path / name)


# --- JSON of other programs -----------------------------------------------------------------------------------------


def read_json(folder, document, name="m.json"):
    (folder / name).write_text(json.dumps(document))
    return read_manifest(folder / name)


def tasks(choices=lambda label: [label]):
    return [
        {
            "id": row + 1,
            "data": {"image": f"/data/local-files/?d={path}", "size": row},
            "annotations": [
                {"was_cancelled": True, "result": [{"type": "choices", "value": {"choices": ["none"]}}]},
                {"id": 7, "result": [{"from_name": "c", "type": "choices", "value": {"choices": choices(label)}}]},
            ],
        }
        for row, (path, label) in enumerate(zip(COLUMNS["path"], LABELS, strict=True))
    ]


def coco(categories=lambda row: [row % 3]):
    return {
        "info": {},
        "images": [{"id": row, "file_name": path, "width": 8} for row, path in enumerate(COLUMNS["path"])],
        "annotations": [
            {"id": 100 * row + place, "image_id": row, "category_id": number, "bbox": [0, 0, 3, 4]}
            for row in range(N)
            for place, number in enumerate(categories(row))
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(KINDS)],
    }


def fiftyone():
    labels = {f"../img/{label}_{row}": row % 3 for row, label in enumerate(LABELS)}
    return {"classes": list(KINDS), "labels": labels}


def said():
    """What a program asked of each picture, and was told."""
    return zip(COLUMNS["path"], LABELS, strict=True)


def vertex(path, label, row):
    labels = {"aiplatform.googleapis.com/ml_use": "test" if row % 4 == 0 else "training"}
    return {
        "imageGcsUri": path,
        "classificationAnnotation": {"displayName": label},
        "dataItemResourceLabels": labels,
    }


def labelbox(path, label):
    answer = {"name": "Animal", "radio_answer": {"name": label, "classifications": []}}
    annotations = {"objects": [], "classifications": [answer]}
    row = {"id": f"cl{path}", "external_id": path, "row_data": f"https://storage.labelbox.com/{path}"}
    return {"data_row": row, "projects": {"p": {"name": "P", "labels": [{"annotations": annotations}]}}}


def datumaro():
    return {
        "categories": {"label": {"labels": [{"name": name, "parent": ""} for name in KINDS]}},
        "items": [
            {"id": path, "annotations": [{"type": "label", "label_id": KINDS.index(label)}], "image": {"path": path}}
            for path, label in said()
        ],
    }


DOCUMENTS = {
    "array": lambda: [{"path": p, "label": label} for p, label in zip(COLUMNS["path"], LABELS, strict=True)],
    "in a key": lambda: {"version": 1, "items": DOCUMENTS["array"]()},
    "columns": lambda: {"path": COLUMNS["path"], "label": LABELS},
    "pandas": lambda: json.loads(pd.DataFrame(COLUMNS).to_json()),
    "path to label": lambda: dict(zip(COLUMNS["path"], LABELS, strict=True)),
    "label to paths": lambda: {kind: [p for p in COLUMNS["path"] if kind in p] for kind in KINDS},
    "Label Studio": tasks,
    "Label Studio MIN": lambda: [
        {"image": f"/data/upload/1/0a1b2c3d-{p[4:]}", "id": i, "choice": label, "annotator": 1, "annotation_id": i}
        for i, (p, label) in enumerate(zip(COLUMNS["path"], LABELS, strict=True))
    ],
    "COCO": coco,
    "COCO, ids as text": lambda: coco() | {"images": [each | {"id": str(each["id"])} for each in coco()["images"]]},
    "COCO, several boxes": lambda: coco(lambda row: [row % 3] * 3),
    "FiftyOne": fiftyone,
    "Prodigy": lambda: [
        {"image": path, "options": [{"id": kind} for kind in KINDS], "accept": [label], "answer": "accept"}
        for path, label in said()
    ],
    "Ground Truth": lambda: [
        {"source-ref": path, "job": 7, "job-metadata": {"class-name": label, "confidence": 0.9}}
        for path, label in said()
    ],
    "Vertex AI": lambda: [vertex(path, label, row) for row, (path, label) in enumerate(said())],
    "Labelbox": lambda: [labelbox(path, label) for path, label in said()],
    "Datumaro": datumaro,
    "VIA": lambda: {
        "_via_settings": {},
        "_via_img_metadata": {
            f"{path}99": {"filename": path, "size": 99, "regions": [], "file_attributes": {"class": label}}
            for path, label in said()
        },
    },
    "SuperAnnotate": lambda: [
        {
            "metadata": {"name": path, "width": 8, "height": 8},
            "instances": [{"type": "tag", "className": label}, {"type": "bbox", "className": "eye"}],
            "tags": [],
        }
        for path, label in said()
    ],
    "SuperAnnotate, boxes": lambda: [
        {"metadata": {"name": path}, "instances": [{"type": "bbox", "className": label}] * 2} for path, label in said()
    ],
    "Edge Impulse": lambda: {
        "version": 1,
        "files": [
            {
                "path": path,
                "name": f"{label}.{row}",
                "category": "testing" if row % 4 == 0 else "training",
                "label": {"type": "label", "label": label},
            }
            for row, (path, label) in enumerate(said())
        ],
    },
    "lists by file": lambda: {path: [label] for path, label in said()},
    "by id": lambda: {f"row {row}": {"file": path, "class": label} for row, (path, label) in enumerate(said())},
    "columns by row": lambda: {
        "path": {f"row {row}": path for row, (path, _) in enumerate(said())},
        "label": {f"row {row}": label for row, (_, label) in enumerate(said())},
    },
    "by file": lambda: {path: {"label": label, "score": 0.5} for path, label in said()},
    "by split": lambda: {"train": DOCUMENTS["array"]()[:20], "val": DOCUMENTS["array"]()[20:]},
}


@pytest.mark.parametrize("form", DOCUMENTS)
def test_json_documents(folder, form):
    manifest = read_json(folder, DOCUMENTS[form]())
    assert sorted(uri[-9:] for uri in manifest.uris) == sorted(f"{folder}/{path}"[-9:] for path in COLUMNS["path"])
    assert manifest.classes == KINDS
    for uri, label in zip(manifest.uris, manifest.labels, strict=True):
        assert KINDS[label] in uri.rpartition("/")[2]
    assert all(map(os.path.isfile, manifest.uris))
    keep = np.arange(N) != 3
    again = read_manifest(exported(manifest, folder, keep=keep, labels=None))
    assert sorted(again.uris.tolist()) == sorted(manifest.uris[keep].tolist())
    assert again.labels.tolist() == manifest.labels[keep].tolist()


def test_splits_of_other_programs(folder):
    by_split = read_json(folder, DOCUMENTS["by split"]())
    assert by_split.splits.tolist() == ["train"] * 20 + ["val"] * (N - 20)
    assert any("splits are the keys 'train', 'val'" in note for note in by_split.source.notes)
    for program in ("Vertex AI", "Edge Impulse"):
        assert read_json(folder, DOCUMENTS[program]()).held_back.tolist() == [row % 4 == 0 for row in range(N)]


def test_a_folder_of_edge_impulse(folder):
    (folder / "info.labels").write_text(json.dumps(DOCUMENTS["Edge Impulse"]()))
    manifest = read_manifest(folder)
    assert manifest.classes == KINDS and all(map(os.path.isfile, manifest.uris))


def test_what_was_rejected_is_no_label(folder):
    answers = ["accept", "reject", "accept", "ignore"]
    records = [
        {"image": path, "label": label, "_task_hash": row, "answer": answers[row % 4]}
        for row, (path, label) in enumerate(said())
    ]
    manifest = read_json(folder, records)
    assert (manifest.labels >= 0).tolist() == [row % 2 == 0 for row in range(N)]
    assert any("as rejected or ignored: 12" in note for note in manifest.source.notes)
    again = read_manifest(exported(manifest, folder, keep=np.ones(N, dtype=bool), labels=None))
    assert again.labels.tolist() == manifest.labels.tolist()


def test_answers_to_several_questions_are_not_mixed(folder):
    """People answer in any order, so the first answer may be to either."""

    def answers(animal, row, label):
        given = [(animal, label), ("quality", ("good", "bad")[row % 2])]
        return [
            {"from_name": name, "type": "choices", "value": {"choices": [choice]}}
            for name, choice in (given[::-1] if row % 3 == 0 else given)
        ]

    def project(animal, *who):
        return [
            {
                "id": row,
                "data": {"image": path},
                "annotations": [{"completed_by": n, "result": answers(animal, row, label)} for n in who],
            }
            for row, (path, label) in enumerate(said())
        ]

    with pytest.raises(ManifestError, match="no label column") as caught:
        read_json(folder, project("animal", 1))
    assert "'animal', 'quality'" in caught.value.message or "'quality', 'animal'" in caught.value.message
    assert read_manifest(folder / "m.json", label_column="animal").classes == KINDS
    assert read_json(folder, project("label", 1)).classes == KINDS  # one is called so
    with pytest.raises(ManifestError, match="several annotators answered several questions") as caught:
        read_json(folder, project("animal", 1, 2))
    assert "CSV" in caught.value.hint


def test_a_taxonomy_is_a_label_with_its_levels(folder):
    document = tasks()
    for task, label in zip(document, LABELS, strict=True):
        task["annotations"] = [{"result": [{"from_name": "t", "value": {"taxonomy": [["animal", label]]}}]}]
    assert read_json(folder, document).classes == tuple(f"animal/{kind}" for kind in KINDS)


def test_choices_of_several_regions_are_several(folder):
    document = tasks()
    document[3]["annotations"] = [
        {"result": [{"from_name": "c", "id": kind, "value": {"choices": [kind]}} for kind in KINDS[:2]]}
    ]
    with pytest.raises(ManifestError, match="several choices in 1 of 24 tasks, the first is task 3"):
        read_json(folder, document)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_lists_of_one_label(folder, form):
    records = [{"path": path, "label": [label] if row else []} for row, (path, label) in enumerate(said())]
    path = folder / f"m.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        pq.write_table(pa.Table.from_pylist(records), path)
    manifest = read_manifest(path)
    assert manifest.classes == KINDS and manifest.labels.tolist()[0] == -1
    labels = [None, KINDS[2], *[None] * (N - 2)]
    again = read_manifest(exported(manifest, folder, keep=np.ones(N, dtype=bool), labels=labels))
    assert again.labels.tolist() == [-1, 2, *manifest.labels[2:].tolist()]


def test_json_lines_are_read_whatever_they_are_called(folder):
    lines = "".join(json.dumps(record) + "\n" for record in DOCUMENTS["array"]())
    for name in ("m.json", "m.data"):
        (folder / name).write_text(lines)
        assert read_manifest(folder / name).classes == KINDS


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "no rows"),
        ([1, 2], "not every entry of the array is an object: 2 of 2"),
        ({"a": {"b": 1}}, "unknown form"),
        (3, "unknown form"),
        (tasks(lambda label: [label, "other"]), "several choices in 24 of 24 tasks"),
        (coco(lambda row: [0, 1]), "annotations of several categories in 24 of 24 pictures"),
        ({"classes": ["a"], "labels": {"x": 5}}, "class 5"),
        ([{"id": "a", "row": 0, "old": "x", "new": None, "columns": {}}], "is a patch of nlclean"),
    ],
)
def test_json_that_cannot_be_audited_says_why(tmp_path, document, words):
    with pytest.raises(ManifestError, match=words) as caught:
        read_json(tmp_path, document)
    assert caught.value.hint


def test_broken_and_deep_json(tmp_path):
    for text, words in (("[{", "no JSON"), ("[" * 500 + "]" * 500, "nested"), ("{} x", "expected one JSON object")):
        (tmp_path / "m.json").write_text(text)
        with pytest.raises(ManifestError, match=words):
            read_manifest(tmp_path / "m.json")


# --- Arrow ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()])
def test_views_are_read_and_written(tmp_path, kind):
    vectors = [[float(row), 1.0, 2.0] for row in range(N)]
    cells = [label.encode() for label in LABELS] if kind == pa.binary_view() else LABELS
    columns = {"embedding": vectors, "label": pa.array(LABELS, pa.string_view()), "extra": pa.array(cells, kind)}
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "m.parquet")
    manifest = read_manifest(tmp_path / "m.parquet")
    assert manifest.classes == KINDS
    keep = np.arange(N) > 2
    out = exported(manifest, tmp_path, keep=keep, labels=[None] * 4 + ["cat"] + [None] * (N - 5))
    written = pq.read_table(out)
    assert written.schema == pq.read_table(tmp_path / "m.parquet").schema
    assert written["extra"].to_pylist() == cells[3:]
    assert written["label"].to_pylist() == [LABELS[3], "cat", *LABELS[5:]]


def hugging_face(names):
    feature = {"label": {"names": list(names), "_type": "ClassLabel"}, "file": {"dtype": "string", "_type": "Value"}}
    return {b"huggingface": json.dumps({"info": {"features": feature}}).encode()}


def test_class_labels_have_names_and_stay_numbers(folder):
    names = ("owl", "ant", "dog", "cat")
    numbers = [names.index(label) for label in LABELS]
    numbers[7] = -1
    table = pa.table({"file": COLUMNS["path"], "label": numbers}).replace_schema_metadata(hugging_face(names))
    pq.write_table(table, folder / "m.parquet")
    manifest = read_manifest(folder / "m.parquet")
    assert manifest.classes == ("owl", "dog", "cat") and manifest.labels[7] == -1
    out = exported(manifest, folder, labels=["ant", "owl"] + [None] * (N - 2))
    assert pq.read_table(out)["label"].to_pylist() == [1, 0, *numbers[2:]]
    assert pq.read_table(out).schema.metadata[b"huggingface"] == table.schema.metadata[b"huggingface"]
    with pytest.raises(ManifestError, match="have no number"):
        exported(manifest, folder, labels=["zebra"] + [None] * (N - 1))
    pq.write_table(table.set_column(1, "label", pa.array([9] * N)), folder / "strange.parquet")
    with pytest.raises(ManifestError, match="holds '9', but its classes are"):
        read_manifest(folder / "strange.parquet")


# --- pictures inside tables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["struct", "bytes", "large"])
def test_pictures_inside_parquet(tmp_path, form):
    data = [png(row) for row in range(N)]
    cells = {
        "struct": pa.array([{"bytes": each, "path": f"{row}.png"} for row, each in enumerate(data)]),
        "bytes": pa.array(data, pa.binary()),
        "large": pa.array(data, pa.large_binary()),
    }[form]
    table = pa.table({"image": cells, "label": [KINDS.index(k) for k in LABELS]})
    table = table.replace_schema_metadata(hugging_face(KINDS))
    pq.write_table(table, tmp_path / "m.parquet")
    manifest = read_manifest(tmp_path / "m.parquet", keep=ObjectStore(tmp_path / "cache"))
    assert manifest.modality == "image" and manifest.classes == KINDS
    assert [Path(uri).read_bytes() == each for uri, each in zip(manifest.uris, data, strict=True)] == [True] * N
    keep = np.arange(N) > 2
    written = pq.read_table(exported(manifest, tmp_path, keep=keep))
    assert written.equals(pq.read_table(tmp_path / "m.parquet").filter(pa.array(keep)))


def test_missing_bytes_are_paths_or_nothing(folder):
    cells = [{"bytes": None, "path": path} for path in COLUMNS["path"]]
    cells[0], cells[1] = None, {"bytes": png(), "path": None}
    pq.write_table(pa.table({"image": cells, "label": LABELS}), folder / "m.parquet")
    manifest = read_manifest(folder / "m.parquet", keep=ObjectStore(folder / "cache"))
    assert manifest.uris[0] == "" and manifest.uris[1].startswith(str(folder / "cache"))
    assert manifest.uris[2] == str(folder / COLUMNS["path"][2])


@pytest.mark.parametrize("splits", [False, True])
def test_save_to_disk(folder, splits):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"file": datasets.Value("string"), "label": datasets.ClassLabel(names=list(KINDS))})
    columns = {"file": [str(folder / path) for path in COLUMNS["path"]], "label": [KINDS.index(k) for k in LABELS]}
    whole = datasets.Dataset.from_dict(columns, features=features)
    parts = {"train": whole.select(range(18)), "test": whole.select(range(18, N))}
    (datasets.DatasetDict(parts) if splits else whole).save_to_disk(str(folder / "saved"))
    manifest = read_manifest(folder / "saved")
    assert manifest.classes == KINDS and len(manifest) == N
    assert manifest.held_back.sum() == (6 if splits else 0)
    assert read_manifest(exported(manifest, folder)).classes == KINDS


def test_hive_partitions(folder):
    for kind in KINDS:
        part = folder / "hive" / f"label={kind}" / "year=2024"
        part.mkdir(parents=True)
        pq.write_table(pa.table({"path": [p for p in COLUMNS["path"] if kind in p]}), part / "0.parquet")
    manifest = read_manifest(folder / "hive")
    assert manifest.classes == KINDS and manifest.table.column_names == ["path", "label", "year"]
    assert all(map(os.path.isfile, manifest.uris))
    assert read_manifest(exported(manifest, folder)).classes == KINDS


# --- vectors --------------------------------------------------------------------------------------------------------

VECTORS = np.random.default_rng(0).normal(size=(N, 8)).astype(np.float32)


@pytest.mark.parametrize("text", [lambda v: str(v.tolist()), str, repr, lambda v: f"tensor({v.tolist()})"])
@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_vectors_as_text(tmp_path, text, form):
    frame = pd.DataFrame({"id": [f"r{i}" for i in range(N)], "label": LABELS, "embedding": [text(v) for v in VECTORS]})
    frame.loc[2, "embedding"] = ""
    path = tmp_path / f"m.{form}"
    {
        "csv": lambda: frame.to_csv(path, index=False),
        "parquet": lambda: frame.to_parquet(path),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
    }[form]()
    manifest = read_manifest(path)
    assert manifest.modality == "vector" and np.isnan(manifest.features[2]).all()
    np.testing.assert_allclose(np.delete(manifest.features, 2, 0), np.delete(VECTORS, 2, 0), rtol=1e-5)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_column_per_number(tmp_path, form):
    frame = pd.DataFrame(VECTORS, columns=[f"emb_{i}" for i in range(8)])
    frame.insert(0, "label", LABELS)
    path = tmp_path / f"m.{form}"
    frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path)
    with pytest.raises(ManifestError, match="no path column") as caught:
        read_manifest(path)
    assert "--features-columns 'emb_*'" in caught.value.hint
    manifest = read_manifest(path, features_columns="emb_*")
    np.testing.assert_allclose(manifest.features, VECTORS, rtol=1e-5)
    assert read_manifest(path, features_columns="emb_1, emb_3").features.shape == (N, 2)
    for patterns, words in (("x*", "no column is called"), ("label", "expected a number")):
        with pytest.raises(ManifestError, match=words):
            read_manifest(path, features_columns=patterns)
    assert list(pd.read_csv(path).columns if form == "csv" else pd.read_parquet(path).columns) == list(frame.columns)


def test_vectors_that_cannot_be_read_say_what_they_are(tmp_path):
    def hint(column, **options):
        pq.write_table(pa.table({"label": LABELS, "embedding": column}), tmp_path / "m.parquet")
        with pytest.raises(ManifestError) as caught:
            read_manifest(tmp_path / "m.parquet", **options)
        return str(caught.value)

    raw = pa.array([v.tobytes() for v in VECTORS])
    assert "raw bytes (32 in the first cell, 8 numbers if they are float32)" in hint(raw)
    assert "raw bytes" in hint(raw, features_column="embedding")
    assert "holds 2 lists" in hint([[v.tolist(), v.tolist()] for v in VECTORS])
    cut = ["[1.0 2.0 3.0 ... 4.0 5.0]"] * N
    assert "begins with '[1.0 2.0" in hint(cut)
    one = pa.table({"label": LABELS, "embedding": [[v.tolist()] for v in VECTORS]})
    pq.write_table(one, tmp_path / "one.parquet")
    np.testing.assert_allclose(read_manifest(tmp_path / "one.parquet").features, VECTORS)


def test_other_names_and_byte_orders_in_npz(tmp_path):
    labels = np.array([KINDS.index(k) for k in LABELS], dtype=">i8")
    np.savez(tmp_path / "m.npz", X_train=VECTORS.astype(">f4"), targets=labels)
    manifest = read_manifest(tmp_path / "m.npz")
    np.testing.assert_array_equal(manifest.features, VECTORS)
    assert manifest.labels.tolist() == labels.tolist()
    np.savez(tmp_path / "n.npz", VECTORS, np.array(LABELS))
    assert read_manifest(tmp_path / "n.npz").classes == KINDS
    np.savez(tmp_path / "o.npz", a=VECTORS, b=VECTORS, c=labels)
    with pytest.raises(ManifestError, match=r"no array for features and labels; found 'a' \(24, 8\)"):
        read_manifest(tmp_path / "o.npz")


def cvat(inner):
    images = "".join(
        f'<image id="{row}" name="{path}">{inner(row, label)}</image>' for row, (path, label) in numbered()
    )
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{images}</annotations>'


def numbered():
    return list(enumerate(said()))


def test_tags_of_cvat(folder):
    text = cvat(lambda row, label: f'<tag label="{label}"/><box label="nose"/>' if row else '<box label="nose"/>')
    (folder / "annotations.xml").write_text(text.replace('id="5"', 'id="5" subset="Test"'))
    for given in (folder / "annotations.xml", folder / "again.json"):
        manifest = read_manifest(given)
        assert [manifest.classes[label] for label in manifest.labels[1:]] == LABELS[1:] and manifest.labels[0] == -1
        assert all(map(os.path.isfile, manifest.uris)) and np.flatnonzero(manifest.held_back).tolist() == [5]
        exported(manifest, folder).rename(folder / "again.json")


def test_an_archive_of_cvat(folder):
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("annotations.xml", cvat(lambda row, label: f'<tag label="{label}"/>'))
        for path in COLUMNS["path"]:
            archive.write(folder / path, path)
    assert read_manifest(folder / "a.zip").classes == KINDS


def test_shapes_of_one_class_in_every_picture(folder):
    path = folder / "annotations.xml"
    path.write_text(cvat(lambda row, label: f'<box label="{label}"/>' * 2 + f'<polygon label="{label}"/>'))
    assert [KINDS[label] for label in read_manifest(path).labels] == LABELS
    path.write_text(cvat(lambda row, label: f'<box label="{label}"/><box label="cat"/>'))
    with pytest.raises(ManifestError, match="shapes of several classes in 16 of 24 pictures"):
        read_manifest(path)


@pytest.mark.parametrize("place", ["img", "JPEGImages", "ann"])
def test_files_of_pascal_voc(folder, place):
    (folder / "ann").mkdir()
    (folder / place).mkdir(exist_ok=True)
    for row, (path, label) in numbered():
        name = os.path.basename(path)
        (folder / path).rename(folder / place / name)
        text = f"<annotation><folder>{'img' if place == 'img' else 'VOC2012'}</folder><filename>{name}</filename>"
        text += f"<object><name>{label}</name></object>" * (row % 3) + "</annotation>"
        (folder / f"ann/{row:02}.xml").write_text(text)
    manifest = read_manifest(folder / "ann/*.xml")
    assert manifest.classes == ("dog", "owl") and (manifest.labels >= 0).tolist() == [row % 3 > 0 for row in range(N)]
    assert all(map(os.path.isfile, manifest.uris))
    (folder / "ann/00.xml").write_text(text.replace("</annotation>", "<object><name>emu</name></object></annotation>"))
    with pytest.raises(ManifestError, match="shapes of several classes in 1 of 24 pictures"):
        read_manifest(folder / "ann/*.xml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotations><image>", "is no XML"),
        ("<annotations/>", "XML of an unknown form, <annotations>"),
        ("<dataset><images/></dataset>", "export the annotations as CSV or JSON"),
        ("<annotations><image/></annotations>", "without a name"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations><image name="&b;"/></annotations>', "declares a document type"),
        ("<a>" * 100_000, "is no XML"),
    ],
)
def test_xml_that_cannot_be_read_says_why(tmp_path, text, words):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "a.xml")
    assert words in f"{caught.value} {caught.value.hint}"


PIXELS = np.random.default_rng(0).integers(0, 255, (N, 8, 8, 3), dtype=np.uint8)
NUMBERS = np.arange(N, dtype=np.uint8) % 3
ARRAYS = {
    "MedMNIST": {
        **{"train_images": PIXELS[:12], "train_labels": NUMBERS[:12, None]},
        **{"val_images": PIXELS[12:18], "val_labels": NUMBERS[12:18, None]},
        **{"test_images": PIXELS[18:], "test_labels": NUMBERS[18:, None]},
    },
    "grey": {"train_images": PIXELS[..., 0], "train_labels": NUMBERS[:, None]},
    "Keras": {"x_train": PIXELS[:16], "y_train": NUMBERS[:16], "x_test": PIXELS[16:], "y_test": NUMBERS[16:]},
    "of no split": {"images": PIXELS / 255, "labels": np.array(LABELS)},
    "by columns": {"X": np.asfortranarray(PIXELS[..., 0]), "y": NUMBERS},
}


@pytest.mark.parametrize("case", ARRAYS)
def test_pictures_in_npz(tmp_path, case):
    np.savez_compressed(tmp_path / "m.npz", **ARRAYS[case])
    manifest = read_manifest(tmp_path / "m.npz", keep=ObjectStore(tmp_path / "cache"))
    assert manifest.modality == "image" and manifest.labels.tolist() == NUMBERS.tolist()
    for row, uri in enumerate(manifest.uris):
        found = np.array(Image.open(uri))
        assert np.array_equal(found, PIXELS[row] if found.ndim == 3 else PIXELS[row, ..., 0])
    expected = {"MedMNIST": 12, "Keras": N - 16}
    assert manifest.held_back.sum() == expected.get(case, 0) and manifest.held_back[N - 1] == (case in expected)
    names = exported(manifest, tmp_path).read_text().splitlines()
    assert names[0].startswith("image,label") and names[1].startswith(f"{next(iter(ARRAYS[case]))}[0],")
    assert read_labels(tmp_path / "m.npz", {"label": "label", "path": "image"}).ids.tolist() == manifest.ids.tolist()
    with pytest.raises(ManifestError, match="need a place for files"):
        read_manifest(tmp_path / "m.npz")


def test_vectors_of_several_splits_in_npz(tmp_path):
    parts = {"X_train": VECTORS[:16], "y_train": NUMBERS[:16], "X_test": VECTORS[16:], "y_test": NUMBERS[16:]}
    np.savez(tmp_path / "m.npz", **parts)
    manifest = read_manifest(tmp_path / "m.npz")
    assert np.array_equal(manifest.features, VECTORS.astype(np.float32))
    assert manifest.labels.tolist() == NUMBERS.tolist() and manifest.held_back.tolist() == [False] * 16 + [True] * 8
    assert manifest.ids[[0, 16]].tolist() == ["X_train[0]", "X_test[0]"]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"train_images": PIXELS, "train_labels": np.eye(N)}, "labels have shape"),  # several labels, or one-hot
        ({"train_images": PIXELS, "train_labels": NUMBERS[1:]}, "there are 23 labels"),
        ({"images": PIXELS * 2.0, "labels": NUMBERS}, "expected pictures of 0 to 1"),
        ({"images": np.zeros((N, 8, 8, 5), np.uint8), "labels": NUMBERS}, "1, 3 or 4 channels"),
        ({"x_train": PIXELS, "x_test": PIXELS, "y_train": NUMBERS}, "pictures need labels by them"),
        ({"X_train": VECTORS, "y_train": NUMBERS, "X_test": VECTORS[:, 1:], "y_test": NUMBERS}, "different lengths"),
    ],
)
def test_arrays_that_cannot_be_audited_say_why(tmp_path, arrays, words):
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "m.npz", keep=ObjectStore(tmp_path / "cache"))
    assert words in f"{caught.value} {caught.value.hint}"


def test_boxes_as_text_are_no_vectors(folder):
    pd.DataFrame({**COLUMNS, "bbox": ["[1, 2, 3, 4]"] * N}).to_csv(folder / "m.csv", index=False)
    assert read_manifest(folder / "m.csv").modality == "image"


# --- what nlclean has written itself --------------------------------------------------------------------------------


def test_every_export_is_read_again(folder, capsys, monkeypatch):
    """But for patches, which are no datasets."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(folder / "cache"))
    splits = ["test" if row % 4 == 0 else "train" for row in range(N)]
    pd.DataFrame(COLUMNS | {"split": splits}).to_csv("m.csv", index=False)
    assert call(capsys, "audit", "m.csv", "--out", "run", "--views", "pixels", *QUICK, "-q").code == 0
    (folder / "out").mkdir()
    names = {
        "manifest": "m2.csv",
        "folders": "out/tree",
        "huggingface": "out/hf",
        "labelstudio": "tasks.json",
        "fiftyone": "out/fo",
        "cleanlab": "issues.csv",
        "argilla": "records.jsonl",
    }
    for form, name in names.items():
        result = call(capsys, "export", "run", "--format", form, "--output", name, "--force")
        assert result.code == 0, result.err
        manifest = read_manifest(name)
        assert manifest.classes == KINDS and manifest.modality == "image", form
        assert all(map(os.path.isfile, manifest.uris)), form
        for uri, label in zip(manifest.uris, manifest.labels, strict=True):
            data = Path(uri).read_bytes()
            assert (folder / COLUMNS["path"][[png(row) for row in range(N)].index(data)]).name.startswith(KINDS[label])


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()])
def test_an_audit_of_views(tmp_path, capsys, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    cells = [label.encode() for label in LABELS] if kind == pa.binary_view() else LABELS
    vectors = (np.eye(3, 8)[[KINDS.index(label) for label in LABELS]] * 5 + VECTORS).tolist()
    table = pa.table({"embedding": vectors, "label": LABELS, "extra": pa.array(cells, kind)})
    pq.write_table(table, "m.parquet")
    result = call(capsys, "audit", "m.parquet", "--preset", "fast", "--out", "run", "-q")
    assert result.code == 0, result.err
    assert call(capsys, "export", "run", "--output", "out.parquet", "--force").code == 0
    assert pq.read_table("out.parquet").schema == pq.read_table("m.parquet").schema

"""Findings for other programs: cleanlab, Label Studio, Argilla."""

from __future__ import annotations

import base64
import json
import zipfile
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from audit_world import write_csv
from cli_world import HOSTILE, make_report, mislabel, row
from export_world import ROWS, dataset, report_row

from cleanlab_lite.archives import uri_of
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.export import argilla, cleanlab, fiftyone, labelstudio
from cleanlab_lite.export.formats import FORMATS
from cleanlab_lite.export.reserved import RESERVED, free_name, is_reserved
from cleanlab_lite.manifest.readers import read_manifest


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_cleanlab_columns(tmp_path, ending):
    manifest, report = dataset(tmp_path)
    target = tmp_path / f"issues.{ending}"
    assert cleanlab.write(manifest, report.table, target) == []
    frame = pd.read_csv(target) if ending == "csv" else pd.read_parquet(target)
    assert frame["id"].tolist() == [name for name, *_ in ROWS]
    assert frame["is_label_issue"].dtype == bool
    assert frame["is_label_issue"].tolist() == [bool(verdict) for *_, verdict in ROWS]
    assert frame["predicted_label"].tolist() == ["cat", "cat", "dog", "owl", "owl", "owl", "dog"]


def test_cleanlab_columns_are_those_of_datalab(tmp_path):
    pytest.importorskip("datasets")
    datalab = pytest.importorskip("cleanlab").Datalab
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    lab = datalab({"y": [f"class {label}" for label in labels]}, label_name="y", verbosity=0)
    lab.find_issues(pred_probs=np.eye(3)[labels] * 0.7 + rng.dirichlet(np.ones(3), 60) * 0.3, issue_types={"label": {}})
    theirs = lab.get_issues("label")
    manifest, report = dataset(tmp_path)
    cleanlab.write(manifest, report.table, tmp_path / "issues.parquet")
    ours = pd.read_parquet(tmp_path / "issues.parquet").set_index("id")
    assert list(ours.columns) == list(theirs.columns)
    assert [dtype.kind for dtype in ours.dtypes] == [dtype.kind for dtype in theirs.dtypes]


def test_duckdb_and_polars_read_the_table(tmp_path):
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    manifest, report = dataset(tmp_path)
    cleanlab.write(manifest, report.table, tmp_path / "issues.csv")
    cleanlab.write(manifest, report.table, tmp_path / "issues.parquet")
    flagged = [(name,) for name, *_, verdict in ROWS if verdict]
    for ending in ("csv", "parquet"):
        query = f"select id from '{tmp_path}/issues.{ending}' where is_label_issue"
        assert duckdb.execute(query).fetchall() == flagged
    assert polars.read_csv(tmp_path / "issues.csv")["label_score"].round(2).to_list() == (
        polars.read_parquet(tmp_path / "issues.parquet")["label_score"].cast(polars.Float64).round(2).to_list()
    )


def check_task(task):
    """What Label Studio's guide asks of an imported task with predictions, for one <Choices name="label">."""
    assert set(task) == {"data", "predictions"}
    (media,) = {"image", "audio"} & set(task["data"])
    for prediction in task["predictions"]:
        assert set(prediction) <= {"model_version", "score", "result"}
        assert isinstance(prediction["model_version"], str)
        assert 0 <= prediction.get("score", 0) <= 1
        (result,) = prediction["result"]
        assert (result["from_name"], result["to_name"], result["type"]) == ("label", media, "choices")
        assert all(isinstance(choice, str) for choice in result["value"]["choices"])
    return media


def test_label_studio_tasks(tmp_path):
    manifest, report = dataset(tmp_path)
    notes = labelstudio.write(manifest, report.table, tmp_path / "tasks.json")
    root = tmp_path / "data"
    assert notes == [f"files are named relative to LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root}"]
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [check_task(task) for task in tasks] == ["image"] * len(ROWS)
    assert [task["data"]["id"] for task in tasks[:3]] == ["a/2.png", "b/3.png", "t/6.png"]  # most suspicious first
    shown = [unquote(task["data"]["image"].removeprefix("/data/local-files/?d=")) for task in tasks]
    assert all((root / path).is_file() for path in shown)
    assert [(p["model_version"], p["result"][0]["value"]["choices"], p["score"]) for p in tasks[0]["predictions"]] == [
        ("given", ["dog"], pytest.approx(0.05)),
        ("nlclean", ["cat"], 0.75),
    ]


def media_manifest(folder, names, labels):
    for name in names:
        if "://" not in name:
            (folder / name).write_bytes(b"RIFF    WAVE")
    return read_manifest(write_csv(folder / "m.csv", {"path": names, "label": labels}))


def test_label_studio_takes_sounds_urls_and_hostile_names(tmp_path):
    names = ["a b&c?.wav", "https://example.org/x.wav", "broken.wav", "new.wav"]
    manifest = media_manifest(tmp_path, names, ["cat", HOSTILE, "cat", ""])
    rows = [
        row(names[0], given_label="cat"),
        mislabel(names[1], given_label=HOSTILE),
        row(names[2], given_label="cat", error="cannot decode", issue="unreadable", label_score=None),
        row(names[3], given_label=None, label_score=None, top_labels=["cat"], top_probs=[0.5]),
    ]
    notes = labelstudio.write(manifest, make_report(rows).table, tmp_path / "tasks.json")
    assert notes[1] == "left out: 1 row without a readable file"
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [check_task(task) for task in tasks] == ["audio"] * 3
    assert [task["data"]["audio"] for task in tasks] == [
        names[1],
        "/data/local-files/?d=a%20b%26c%3F.wav",
        "/data/local-files/?d=new.wav",
    ]
    assert tasks[0]["data"]["given_label"] == HOSTILE
    assert [len(task["predictions"]) for task in tasks] == [1, 1, 1]


def test_argilla_records(tmp_path):
    manifest, report = dataset(tmp_path)
    assert argilla.write(manifest, report.table, tmp_path / "records.jsonl") == []
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records[:2]] == ["a/2.png", "b/3.png"]
    assert records[0]["fields"] == {"image": str(tmp_path / "data/a/2.png")}
    assert records[0]["suggestions"] == {"label": {"value": "cat", "score": pytest.approx(0.9), "agent": "nlclean"}}
    assert records[1]["suggestions"]["label"]["value"] == "owl"  # no correction on offer: the most probable class
    assert records[0]["metadata"]["issue"] == "mislabel"
    assert all(set(record) == {"id", "fields", "metadata", "suggestions"} for record in records)


def test_argilla_records_of_vectors_show_their_ids(tmp_path):
    np.savez(tmp_path / "f.npz", x=np.eye(2), y=np.array(["cat", "dog"]), ids=np.array(["u", "v"]))
    manifest = read_manifest(tmp_path / "f.npz")
    argilla.write(manifest, make_report([row("u"), row("v")]).table, tmp_path / "r.jsonl")
    records = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [record["fields"] for record in records] == [{"text": "u"}, {"text": "v"}]
    assert [record["suggestions"] for record in records] == [{}, {}]


@pytest.mark.parametrize(
    ("receiver", "names"),
    [
        ("fiftyone", fiftyone.ATTRIBUTES),
        ("labelstudio", [*labelstudio.COLUMNS, "segment"]),
        ("argilla", argilla.METADATA),
        ("cleanlab", [name for name in cleanlab.COLUMNS if name == "id"]),
    ],
)
def test_no_field_of_ours_has_a_name_that_the_receiver_keeps(receiver, names):
    assert [name for name in names if is_reserved(receiver, name)] == []


def test_every_format_for_another_program_has_its_reserved_names():
    assert RESERVED.keys() == {name for name, format in FORMATS.items() if format.kind == "review"} | {"huggingface"}


def test_reserved_names_become_free_ones():
    assert free_name("fiftyone", "author", []) == "author"
    assert free_name("fiftyone", "id", []) == "source_id"
    assert free_name("huggingface", "x_file_name", []) == "x_file_name_source"
    taken = ["source_image", "image_source", "image_source_2"]
    assert free_name("huggingface", "image", taken) == "image_source_3"


def test_files_in_an_archive_are_shown_or_left_out_and_said(tmp_path):
    """No receiver looks into archives: Argilla gets the pictures themselves, FiftyOne copies, Label Studio nothing."""
    manifest, report = dataset(tmp_path)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name, *_ in ROWS[:3]:
            archive.write(tmp_path / "data" / name, name)
    inside = [uri_of(str(tmp_path / "set.zip"), name) for name, *_ in ROWS[:3]]
    mixed = replace(manifest, uris=np.array([*inside, *manifest.uris.tolist()[3:]]))

    assert argilla.write(mixed, report.table, tmp_path / "r.jsonl") == []
    records = {
        each["id"]: each["fields"]["image"] for each in map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    }
    head, data = records["a/2.png"].split(",")
    assert head == "data:image/png;base64" and base64.b64decode(data) == (tmp_path / "data/a/2.png").read_bytes()
    assert records["b/3.png"] == str(tmp_path / "data/b/3.png")

    notes = labelstudio.write(mixed, report.table, tmp_path / "tasks.json")
    assert notes[1] == "left out: 3 rows in archives: Label Studio does not look into them, unpack them first"
    assert len(json.loads((tmp_path / "tasks.json").read_text())) == len(ROWS) - 3
    with pytest.raises(ConfigError, match="no row is left"):
        labelstudio.write(replace(mixed, uris=np.array([inside[0]] * len(ROWS))), report.table, tmp_path / "none.json")

    fiftyone.write(mixed, report.table, tmp_path / "out", "copy")
    assert sorted(path.name for path in (tmp_path / "out/data").iterdir()) == [
        *("1-2.png", "1.png", "2.png", "3.png", "4.png", "5.png", "6.png")
    ]


def test_pictures_that_argilla_cannot_open_are_left_out_and_said(tmp_path):
    manifest, _ = dataset(tmp_path)
    (tmp_path / "data/b/4.png").unlink()
    rows = [report_row(*entry) for entry in ROWS]
    rows[0] |= {"error": "image file is truncated", "issue": "unreadable", "label_score": None}
    notes = argilla.write(manifest, make_report(rows).table, tmp_path / "r.jsonl")
    assert notes == ["left out: 2 rows without a picture that Argilla can open"]
    ids = {json.loads(line)["id"] for line in (tmp_path / "r.jsonl").read_text().splitlines()}
    assert ids == {name for name, *_ in ROWS} - {"a/1.png", "b/4.png"}

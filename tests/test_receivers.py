"""Exports as the programs see them that they are for: loaded by FiftyOne, Label Studio's SDK, Argilla themselves."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from audit_world import write_csv
from cli_world import make_report, mislabel, row
from export_world import ROWS, dataset
from receivers import seen_by

from cleanlab_lite.export import argilla, cleanlab, fiftyone, labelstudio
from cleanlab_lite.export.reserved import is_reserved
from cleanlab_lite.manifest.readers import read_manifest

pytestmark = pytest.mark.slow
GIVEN = {name: label for name, _, label, *_ in ROWS}
FLAGGED = {name for name, *_, verdict in ROWS if verdict}
QUIET = {"FIFTYONE_DO_NOT_TRACK": "true"}
AWKWARD = "a \"b\" <c> & 'd'"  # a label that configurations and markup must quote

# Its importer needs no database
FIFTYONE = """
import json, sys
from pathlib import Path
from fiftyone.core.labels import Classification
from fiftyone.utils.data.importers import FiftyOneImageClassificationDatasetImporter
with FiftyOneImageClassificationDatasetImporter(dataset_dir=sys.argv[1], compute_metadata=True) as importer:
    classes = importer.get_dataset_info()["classes"]
    samples = [(Path(path).name, metadata.width, label) for path, metadata, label in importer]
print(json.dumps({
    "classes": classes,
    "labels": {label.sample_id: label.label for _, _, label in samples},
    "files": {label.sample_id: name for name, _, label in samples},
    "widths": sorted({width for _, width, _ in samples}),
    "mistakenness": {label.sample_id: label.mistakenness for _, _, label in samples},
    "members": [name for name in dir(Classification(label="cat")) if not name.startswith("__")],
}))
"""

# Where there is no mongod, a database in memory that speaks its language takes its place
FIFTYONE_DATASET = """
import importlib.util, json, sys
import fiftyone, mongoengine, pymongo
from fiftyone.core import odm
from fiftyone.core.service import ServiceExecutableNotFound

def imported():
    kind = fiftyone.types.FiftyOneImageClassificationDataset
    return fiftyone.Dataset.from_dir(dataset_dir=sys.argv[1], dataset_type=kind)

def in_memory():
    import mongomock
    client, connect = mongomock.MongoClient(), mongoengine.connect
    client._closed = False  # or it is the database of that name
    fiftyone.config.database_uri = "mongodb://memory"
    pymongo.MongoClient = lambda *_, **__: client
    mongoengine.connect = lambda name, **_: connect(name, mongo_client_class=lambda **_: client)
    odm.database._validate_db_version = odm.database._update_fc_version = lambda *_: None
    return imported()

try:
    dataset = imported()
except (ServiceExecutableNotFound, fiftyone.core.config.FiftyOneConfigError):
    dataset = in_memory() if importlib.util.find_spec("mongomock") else None
if dataset is None:
    print(json.dumps(None))
    sys.exit()
worst = dataset.sort_by("ground_truth.mistakenness", reverse=True)
print(json.dumps({
    "classes": dataset.default_classes,
    "labels": {sample.ground_truth.sample_id: sample.ground_truth.label for sample in dataset},
    "relabel": [sample.ground_truth.sample_id for sample in dataset.match({"ground_truth.action": "relabel"})],
    "worst": worst.first().ground_truth.sample_id,
    "counted": dataset.count_values("ground_truth.issue"),
}))
"""

LABEL_STUDIO = """
import csv, json, sys
from label_studio_sdk.converter import Converter
from label_studio_sdk.label_interface import LabelInterface
config, tasks = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
interface = LabelInterface(config)
problems = [
    problem
    for task in tasks
    for prediction in task["predictions"]
    for problem in interface.validate_prediction(prediction, return_errors=True)
]
valid = [interface.validate_task({"data": task["data"]}) for task in tasks]
# whoever accepts our prediction makes an annotation of it
accepted = [
    {"id": number, "data": task["data"], "annotations": [{"id": 1, "completed_by": 1, **task["predictions"][-1]}]}
    for number, task in enumerate(tasks)
]
json.dump(accepted, open("accepted.json", "w"))
Converter(config, ".", download_resources=False).convert("accepted.json", "converted", "CSV", is_dir=False)
rows = list(csv.DictReader(open("converted/result.csv", newline="", encoding="utf-8")))
print(json.dumps({"problems": problems, "valid": valid, "labels": {row["id"]: row["label"] for row in rows}}))
"""

# The client asks a server who it is before it makes a dataset. Records are made and checked without one.
ARGILLA = """
import json, os, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer

class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        me = {"id": "00000000-0000-0000-0000-000000000001", "username": "ann", "first_name": "Ann", "role": "owner"}
        body = json.dumps(me).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
# of the client that settings make for themselves
os.environ |= {"ARGILLA_API_URL": f"http://127.0.0.1:{server.server_port}", "ARGILLA_API_KEY": "key"}
import argilla
lines = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
field = {"image": argilla.ImageField, "text": argilla.TextField}[sys.argv[2]](sys.argv[2])
settings = argilla.Settings(
    fields=[field],
    questions=[argilla.LabelQuestion("label", labels=json.loads(sys.argv[3]))],
    metadata=[
        *map(argilla.TermsMetadataProperty, ("split", "given_label", "issue", "action")),
        *map(argilla.FloatMetadataProperty, ("p_mislabel", "label_score")),
    ],
)
settings.validate()
dataset = argilla.Dataset("found", settings=settings)
records = [argilla.Record.from_dict(line, dataset=dataset) for line in lines]
models = [record.api_model() for record in records]
print(json.dumps({
    "ids": [record.id for record in records],
    "shown": [model.fields[sys.argv[2]][:40] for model in models],
    "suggested": {record.id: [each.value for each in record.suggestions] for record in records},
    "p": {record.id: record.metadata.get("p_mislabel") for record in records},
}))
"""


def test_fiftyone_imports_the_folder(tmp_path: Path) -> None:
    manifest, report = dataset(tmp_path)
    fiftyone.write(manifest, report.table, tmp_path / "out", "copy")
    found = seen_by("fiftyone", FIFTYONE, tmp_path, tmp_path / "out", **QUIET)
    assert found["labels"] == GIVEN and found["classes"] == ["cat", "dog", "owl"]
    for id, name in found["files"].items():
        assert (tmp_path / "out/data" / name).read_bytes() == (tmp_path / "data" / id).read_bytes()
    assert found["mistakenness"]["a/2.png"] == pytest.approx(0.95)
    assert len(found["widths"]) == 1  # every picture opened
    assert [name for name in found["members"] if not is_reserved("fiftyone", name)] == []


def test_fiftyone_makes_a_dataset_of_it(tmp_path: Path) -> None:
    manifest, report = dataset(tmp_path)
    fiftyone.write(manifest, report.table, tmp_path / "out", "copy")
    variables = QUIET | {"FIFTYONE_DATABASE_DIR": str(tmp_path / "database")}
    found = seen_by("fiftyone", FIFTYONE_DATASET, tmp_path, tmp_path / "out", **variables)
    if found is None:
        pytest.skip("FiftyOne has no database here: pip install mongomock beside it")
    assert found["labels"] == GIVEN and found["classes"] == ["cat", "dog", "owl"]
    assert found["worst"] in FLAGGED
    actions = zip(report.table["id"].to_pylist(), report.table["action"].to_pylist(), strict=True)
    assert found["relabel"] == [id for id, action in actions if action == "relabel"]
    issues = Counter(report.table["issue"].to_pylist())
    assert found["counted"] == {("null" if issue is None else issue): rows for issue, rows in issues.items()}


def configuration(media: str, classes: list[str]) -> str:
    """That of docs/export.md."""
    choices = "".join(f"<Choice value={quoteattr(label)}/>" for label in classes)
    tag = {"image": "Image", "audio": "Audio"}[media]
    shown = f'<{tag} name="{media}" value="${media}"/>'
    return f'<View>{shown}<Choices name="label" toName="{media}">{choices}</Choices></View>'


@pytest.mark.parametrize("media", ["image", "audio"])
def test_label_studio_validates_tasks_and_converts_what_is_accepted(tmp_path: Path, media: str) -> None:
    if media == "image":
        manifest, report = dataset(tmp_path)
        expected, classes = {name: ["cat", "dog", "owl"][kind] for name, kind, *_ in ROWS}, ["cat", "dog", "owl"]
    else:
        names = ["a b&c?.wav", "x.wav"]
        for name in names:
            (tmp_path / name).write_bytes(b"RIFF    WAVE")
        manifest = read_manifest(write_csv(tmp_path / "m.csv", {"path": names, "label": ["cat", AWKWARD]}))
        rows = [
            mislabel(names[0], given_label="cat", top_labels=[AWKWARD], top_probs=[0.9]),
            row(names[1], given_label=AWKWARD, top_labels=[AWKWARD], top_probs=[0.9]),
        ]
        report, expected, classes = make_report(rows), dict.fromkeys(names, AWKWARD), ["cat", AWKWARD]
    labelstudio.write(manifest, report.table, tmp_path / "tasks.json")
    found = seen_by("label_studio_sdk", LABEL_STUDIO, tmp_path, configuration(media, classes), tmp_path / "tasks.json")
    assert found["problems"] == [] and all(found["valid"])
    assert found["labels"] == expected


@pytest.mark.parametrize("field", ["image", "text"])
def test_argilla_makes_records_of_the_lines(tmp_path: Path, field: str) -> None:
    if field == "image":
        manifest, report = dataset(tmp_path)
        classes, ids = ["cat", "dog", "owl"], set(GIVEN)
    else:
        table = {"id": ["u", "v", "w", "x"], "f1": [0.0, 1.0, 2.0, 3.0], "f2": [1.0] * 4, "label": ["cat", AWKWARD] * 2}
        manifest = read_manifest(write_csv(tmp_path / "v.csv", table), features_columns="f*")
        rows = [row(id, given_label=label) for id, label in zip(table["id"], table["label"], strict=True)]
        rows[1] = mislabel("v", given_label=AWKWARD, suggested_label="cat")
        report, classes, ids = make_report(rows), ["cat", AWKWARD], set("uvwx")
    argilla.write(manifest, report.table, tmp_path / "records.jsonl")
    found = seen_by("argilla", ARGILLA, tmp_path, tmp_path / "records.jsonl", field, json.dumps(classes))
    assert set(found["ids"]) == ids
    table = report.table.to_pydict()
    for id, p, suggested in zip(table["id"], table["p_mislabel"], table["suggested_label"], strict=True):
        assert found["p"][id] == pytest.approx(p)
        assert suggested is None or found["suggested"][id] == [suggested]
    if field == "image":  # the client has read the files
        assert all(shown.startswith("data:image/png;base64,") for shown in found["shown"])


def test_cleanlab_cleans_by_our_table(tmp_path: Path) -> None:
    """`CleanLearning` takes the label issues of somebody else, and learns without those rows."""
    import numpy as np
    import pandas as pd
    from cleanlab.classification import CleanLearning
    from sklearn.linear_model import LogisticRegression

    manifest, report = dataset(tmp_path)
    cleanlab.write(manifest, report.table, tmp_path / "issues.csv")
    issues = pd.read_csv(tmp_path / "issues.csv").drop(columns="id")
    names = ["cat", "dog", "owl"]
    for column in ("given_label", "predicted_label"):
        issues[column] = issues[column].map(names.index)
    vectors = np.eye(3)[[kind for _, kind, *_ in ROWS]]
    labels = np.array([names.index(GIVEN[name]) for name in GIVEN])
    learner = CleanLearning(LogisticRegression(), verbose=False)
    learner.fit(vectors, labels, label_issues=issues)
    assert learner.clf.predict(np.eye(3)).tolist() == [0, 1, 2]
    assert learner.get_label_issues()["is_label_issue"].tolist() == [name in FLAGGED for name in GIVEN]

"""JSON of programs that people label with, as one flat object per row: Prodigy, SageMaker Ground Truth, Vertex AI,
Labelbox, Edge Impulse, SuperAnnotate, Datumaro (CVAT) and VIA. Label Studio, Argilla, COCO and FiftyOne are in
`documents`.

The label of a row stands in one key, so that an export can change it; what said it in the program's own form is left
out. An answer of several labels is a list. Formats as these programs document them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from cleanlab_lite.text import listing

Record = dict[str, Any]

METADATA = "-metadata"  # of Ground Truth: behind the name of the job, which is the key of the label
ML_USE = "aiplatform.googleapis.com/ml_use"
VERTEX = ("imageGcsUri", "videoGcsUri", "textGcsUri")
OF_BOXES = (  # a hint
    "nlclean audits one label per picture, and does not read boxes: cut the boxes out into pictures of their own, or "
    "leave these pictures out"
)
ANSWERS = {"accept", "reject", "ignore"}  # of Prodigy


def flattened(records: Sequence[Record]) -> tuple[list[Record], dict[str, str], str] | None:
    """Rows, role -> key, and a note; None where the objects are of none of these programs."""
    programs = (
        *((_of_prodigy, _prodigy), (_of_ground_truth, _ground_truth), (_of_vertex, _vertex)),
        *((_of_edge_impulse, _edge_impulse), (_of_superannotate, _superannotate)),
    )
    for known, read in programs:
        if all(map(known, records)):
            return read(records)
    return _labelbox(records) if all(map(_of_labelbox, records)) else None


def datumaro(document: Mapping[str, Any]) -> tuple[list[Record], dict[str, str], str] | None:
    """Rows of Datumaro's JSON: items with annotations whose labels are numbers of its categories."""
    names = [_dig(each, "name") for each in _list(_dig(document, "categories", "label", "labels"))]
    items = _list(document.get("items"))
    if not names or not items or not all(isinstance(item, dict) for item in items):
        return None
    records: list[Record] = []
    for item in items:
        numbers = [_dig(each, "label_id") for each in _list(item.get("annotations")) if _dig(each, "type") == "label"]
        found = [names[n] if isinstance(n, int) and 0 <= n < len(names) else n for n in numbers]
        path = _dig(item, "image", "path") or _dig(item, "media", "path") or item.get("id")
        records.append({"id": item.get("id"), "path": path, "label": one_label(found)})
    return records, {"path": "path", "label": "label"}, "items of Datumaro"


def via(document: Mapping[str, Any]) -> list[Record] | None:
    """Rows of a project of the VGG Image Annotator: a file and its attributes each."""
    files = document.get("_via_img_metadata")
    if not isinstance(files, dict) or not all(isinstance(each, dict) for each in files.values()):
        return None
    return [{"filename": each.get("filename"), **_object(each.get("file_attributes"))} for each in files.values()]


def _of_prodigy(record: Record) -> bool:
    answer = record.get("answer")
    return isinstance(answer, str) and answer in ANSWERS and ("_task_hash" in record or "accept" in record)


def _prodigy(records: Sequence[Record]) -> tuple[list[Record], dict[str, str], str]:
    """What was chosen of the options, or the label that was accepted. Rejected, it says what a row is not."""
    rows = []
    for record in records:
        said = record["accept"] if "accept" in record else record.get("label")
        choice = one_label(_list(said) if isinstance(said, list) else [said]) if record["answer"] == "accept" else None
        rest = {key: value for key, value in record.items() if key not in ("label", "accept", "answer", "choice")}
        rows.append({**rest, "choice": choice})
    left = sum(record["answer"] != "accept" for record in records)
    return rows, {"label": "choice"}, f"answers of Prodigy; without a label, as rejected or ignored: {left:,}"


def _jobs(record: Record) -> list[str]:
    """The keys of labels that classify."""
    return [key for key in record if isinstance(_dig(record, key + METADATA, "class-name"), str)]


def _of_ground_truth(record: Record) -> bool:
    return "source-ref" in record and any(key.endswith(METADATA) for key in record)


def _ground_truth(records: Sequence[Record]) -> tuple[list[Record], dict[str, str], str] | None:
    jobs = list(dict.fromkeys(key for record in records for key in _jobs(record)))
    if not jobs:
        return None
    taken = {*jobs, *(job + METADATA for job in jobs)}
    columns = {job: "label" if len(jobs) == 1 else job for job in jobs}
    rows = [
        {key: value for key, value in record.items() if key not in taken}
        | {columns[job]: _dig(record, job + METADATA, "class-name") for job in jobs}
        for record in records
    ]
    known = {"path": "source-ref"} | ({"label": "label"} if len(jobs) == 1 else {})
    return rows, known, f"manifest of SageMaker Ground Truth; the label is the class of {listing(jobs)}"


def _of_edge_impulse(record: Record) -> bool:
    return {"path", "category"} <= record.keys() and _dig(record, "label", "type") in ("label", "unlabeled")


def _edge_impulse(records: Sequence[Record]) -> tuple[list[Record], dict[str, str], str]:
    rows = [
        {key: value for key, value in record.items() if key not in ("label", "category")}
        | {"label": _dig(record, "label", "label"), "split": record["category"]}
        for record in records
    ]
    return rows, {"path": "path", "label": "label", "split": "split"}, "files of Edge Impulse"


def _of_superannotate(record: Record) -> bool:
    return isinstance(_dig(record, "metadata", "name"), str) and isinstance(record.get("instances"), list)


def _superannotate(records: Sequence[Record]) -> tuple[list[Record], dict[str, str], str]:
    """The class of the tags of a picture; without tags the one of what was drawn on it."""
    rows = []
    for record in records:
        found = [each for each in record["instances"] if isinstance(each, dict)]
        tags = [each for each in found if each.get("type") == "tag"]
        label = one_label([each.get("className") for each in tags or found])
        rows.append({"path": _dig(record, "metadata", "name"), "label": label})
    return rows, {"path": "path", "label": "label"}, "annotations of SuperAnnotate"


def _of_vertex(record: Record) -> bool:
    return any(key in record for key in VERTEX) and any(key.startswith("classificationAnnotation") for key in record)


def _vertex(records: Sequence[Record]) -> tuple[list[Record], dict[str, str], str]:
    rows = []
    for record in records:
        path = next(record[key] for key in VERTEX if key in record)
        annotations = [record.get("classificationAnnotation"), *_list(record.get("classificationAnnotations"))]
        found = [_dig(each, "displayName") for each in annotations if isinstance(each, dict)]
        use = _dig(record, "dataItemResourceLabels", ML_USE)
        rows.append({"path": path, "label": one_label(found)} | ({"split": use} if use is not None else {}))
    return rows, {"path": "path", "label": "label"}, "import file of Vertex AI"


def _of_labelbox(record: Record) -> bool:
    return isinstance(record.get("data_row"), dict) and isinstance(record.get("projects"), dict)


def _labelbox(records: Sequence[Record]) -> tuple[list[Record], dict[str, str], str]:
    """A column for every question that was answered by one choice of several, or by some."""
    found = [_labelbox_answers(record) for record in records]
    questions = list(dict.fromkeys(question for answers in found for question in answers))
    columns = {question: "label" if len(questions) == 1 else question for question in questions}
    rows = [
        {columns[question]: one_label(answers.get(question, [])) for question in questions}
        | {
            "id": _dig(record, "data_row", "id"),
            "file_name": _dig(record, "data_row", "external_id"),
            "url": _dig(record, "data_row", "row_data"),
        }
        for record, answers in zip(records, found, strict=True)
    ]
    return rows, {"label": "label"} if len(questions) == 1 else {}, f"exported by Labelbox: {listing(questions)}"


def _labelbox_answers(record: Record) -> dict[str, list[Any]]:
    """Question -> what was answered, in the labels of all projects."""
    said: defaultdict[str, list[Any]] = defaultdict(list)
    for label in (each for project in record["projects"].values() for each in _list(_dig(project, "labels"))):
        for question in _list(_dig(label, "annotations", "classifications")):
            answers = _list(_dig(question, "checklist_answers")) or [_dig(question, "radio_answer")]
            names = [name for answer in answers if (name := _dig(answer, "name")) is not None]
            if names:
                said[str(_dig(question, "name"))] += names
    return dict(said)


def one_label(found: Sequence[Any]) -> Any:
    """The label of a row: the only one, or a list where they differ."""
    different = [value for place, value in enumerate(found) if value is not None and value not in found[:place]]
    return different if len(different) > 1 else different[0] if different else None


def _dig(value: Any, *keys: str) -> Any:
    """A value inside objects, None where it is not there."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: Any) -> Record:
    return value if isinstance(value, dict) else {}

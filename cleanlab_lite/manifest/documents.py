"""JSON of other programs as one object per row: arrays, Label Studio, COCO, FiftyOne, Argilla, plain mappings."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.text import listing

Record = dict[str, Any]

MEDIA_KEYS = ("image", "audio", "img", "url", "path", "file", "file_name")  # of Label Studio's data, best first
PATCH = {"id", "row", "old", "new", "columns"}  # of a line
ARGILLA = {"fields", "suggestions"}
EXPECTED = (
    "an array of objects, one JSON object per line, an export of Label Studio (JSON or JSON-MIN), COCO with images, "
    "annotations and categories, FiftyOne's labels.json, or an object of path: label"
)


@dataclass(frozen=True)
class Document:
    """n rows of a JSON document."""

    records: list[Record]
    known: dict[str, str] = field(default_factory=dict)  # role -> key, where the form fixes it
    notes: tuple[str, ...] = ()


def rows_of(document: Any, path: str) -> Document:
    """What a parsed JSON document says. Raises ManifestError naming `path` where it is of no known form."""
    if isinstance(document, list):
        if strange := [part for part in document if not isinstance(part, dict)]:
            raise ManifestError(
                f"{path!r}: an array with {len(strange):,} entries that are no objects, first {strange[0]!r:.60}",
                hint=f"expected {EXPECTED}",
            )
        return of_records(document, path)
    if isinstance(document, dict):
        if _are_objects(document.get("images")) and "annotations" in document:
            return _coco(document, path)
        if isinstance(document.get("classes"), list) and isinstance(document.get("labels"), dict):
            return _fiftyone(document, path)
        lists = [value for value in document.values() if _are_objects(value)]
        if len(lists) == 1:
            return of_records(lists[0], path)
        if document and (found := _columns(document) or _mapping(document)):
            return found
    found_keys = listing(list(document), 8) if isinstance(document, dict) else f"{document!r:.60}"
    raise ManifestError(f"{path!r}: JSON of an unknown form, found {found_keys}", hint=f"expected {EXPECTED}")


def of_records(records: Sequence[Record], path: str) -> Document:
    """Objects of an array or of lines: rows as they are, or what other programs pack into them."""
    if records and all(record.keys() >= PATCH for record in records):
        raise ManifestError(
            f"{path!r} is a patch of nlclean: changes of labels, not a dataset",
            hint="`nlclean export --apply PATCH --to MANIFEST` applies it",
        )
    if any(isinstance(record.get("data"), dict) and _has_results(record) for record in records):
        return _label_studio(records, path)
    if records and all(record.keys() >= ARGILLA and isinstance(record["fields"], dict) for record in records):
        return _argilla(records)
    if records and all("annotation_id" in record and "choice" in record for record in records):
        media = _media_key(records)
        return Document(list(records), {"label": "choice"} | ({"path": media} if media else {}), (_FROM + " (MIN)",))
    if records and all("choice" in record and "label" not in record for record in records):  # written by an export
        return Document(list(records), {"label": "choice"})
    return Document(list(records))


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(part, dict) for part in value)


# --- Label Studio ---------------------------------------------------------------------------------------------------

_FROM = "exported by Label Studio"


def _has_results(task: Record) -> bool:
    return any(isinstance(task.get(key), list) for key in ("annotations", "completions", "predictions"))


def _label_studio(tasks: Sequence[Record], path: str) -> Document:
    """A row per task: its data, and the choice of the last annotation, or that of the predictions called "given"."""
    records: list[Record] = []
    several = []
    for task in tasks:
        data: Record = found if isinstance(found := task.get("data"), dict) else {}
        choices = _choices(task)
        if len(choices) > 1:
            several.append(len(records))
        record = {"id": task["id"]} if "id" in task and "id" not in data else {}
        records.append({**record, **data, "choice": choices[0] if choices else None})
    if several:
        raise ManifestError(
            f"{path!r}: {len(several):,} of {len(tasks):,} tasks have several choices, the first is task {several[0]}",
            hint="nlclean audits one label per row: leave these tasks out, or export one choice of each",
        )
    media = _media_key(records)
    return Document(records, {"label": "choice"} | ({"path": media} if media else {}), (_FROM,))


def _choices(task: Record) -> list[str]:
    """Of the newest annotation that was not cancelled, else of the prediction of the version "given"."""
    done = [each for each in _results(task, "annotations", "completions") if not each.get("was_cancelled")]
    given = [each for each in _results(task, "predictions") if each.get("model_version") == "given"]
    for each in [*reversed(done), *given]:
        for result in each.get("result") or []:
            value = result.get("value") if isinstance(result, dict) else None
            if isinstance(value, dict) and isinstance(value.get("choices"), list):
                return [str(choice) for choice in value["choices"]]
    return []


def _results(task: Record, *keys: str) -> list[Record]:
    return [each for key in keys for each in task.get(key) or [] if isinstance(each, dict)]


def _media_key(records: Sequence[Record]) -> str:
    """The key whose values are the files; "" where none is known."""
    keys = dict.fromkeys(key for record in records[:100] for key, value in record.items() if isinstance(value, str))
    lower = {key.lower(): key for key in keys}
    if named := [lower[key] for key in MEDIA_KEYS if key in lower]:
        return named[0]
    like_files = [
        key
        for key in keys
        if all("/" in str(record.get(key)) and os.path.splitext(str(record.get(key)))[1] for record in records[:20])
    ]
    return like_files[0] if len(like_files) == 1 else ""


# --- other programs -------------------------------------------------------------------------------------------------


def _argilla(records: Sequence[Record]) -> Document:
    flat = []
    for record in records:
        metadata = record.get("metadata")
        flat.append({"id": record.get("id"), **record["fields"], **(metadata if isinstance(metadata, dict) else {})})
    keys = flat[0].keys()
    known = {role: key for role, key in (("label", "given_label"), ("id", "id")) if key in keys}
    if path := next((key for key in ("image", "text") if key in keys), ""):
        known["path"] = path
    return Document(flat, known, ("records of Argilla",))


def _coco(document: Mapping[str, Any], path: str) -> Document:
    """A row per picture; its category, where all its annotations have one. Boxes and masks are not looked at."""
    annotations = document["annotations"] if _are_objects(document["annotations"]) else []
    categories = document.get("categories") or []
    names = {_key(each, "id"): each.get("name") for each in categories if isinstance(each, dict)}
    of_picture: defaultdict[Any, Counter[Any]] = defaultdict(Counter)
    for each in annotations:
        of_picture[_key(each, "image_id")][_key(each, "category_id")] += 1
    several = sum(len(counts) > 1 for counts in of_picture.values())
    if several:
        raise ManifestError(
            f"{path!r}: {several:,} of {len(document['images']):,} pictures have annotations of several categories",
            hint="nlclean audits one label per picture, and does not read boxes: cut the boxes out into pictures of "
            "their own, or leave these pictures out",
        )
    records = []
    for picture in document["images"]:
        found = of_picture.get(_key(picture, "id"))
        category = next(iter(found)) if found else None
        records.append({**picture, "category": names.get(category, category)})
    known = {"label": "category"} | ({"path": "file_name"} if any("file_name" in each for each in records) else {})
    boxes = sum(map(len, of_picture.values()))
    return Document(records, known, (f"COCO: {len(records):,} pictures with the categories of {boxes:,} of them",))


def _key(record: Record, name: str) -> Any:
    """An id, as text where it is no number: anything else cannot be looked up."""
    value = record.get(name)
    return value if isinstance(value, int | str) or value is None else str(value)


def _fiftyone(document: Mapping[str, Any], path: str) -> Document:
    """labels.json: number of a class by the name of a file without its ending, in `data/` beside it."""
    classes = [str(name) for name in document["classes"]]
    records: list[Record] = []
    for name, value in document["labels"].items():
        number = value.get("label") if isinstance(value, dict) else value
        if isinstance(number, int) and not isinstance(number, bool) and not 0 <= number < len(classes):
            raise ManifestError(
                f"{path!r}: {name!r} has the class {number}, the list of classes has {len(classes)}",
                hint="is this a labels.json of FiftyOne's image classification dataset?",
            )
        attributes = value.get("attributes") if isinstance(value, dict) else None
        more = {key: cell for key, cell in (attributes or {}).items() if key not in ("file", "label")}
        label = classes[number] if isinstance(number, int) else number
        records.append({"file": f"data/{name}", "label": label, **more})
    return Document(records, {"path": "file", "label": "label"}, ("labels.json of FiftyOne",))


# --- plain objects --------------------------------------------------------------------------------------------------


def _columns(document: Mapping[str, Any]) -> Document | None:
    """Columns of one length: lists, or objects by row number as pandas writes them."""
    values = list(document.values())
    if len(values) < 2:
        return None
    if all(isinstance(value, dict) for value in values) and len({tuple(value) for value in values}) == 1:
        values = [list(value.values()) for value in values]
    if not all(isinstance(value, list) for value in values) or len(set(map(len, values))) != 1:
        return None
    if all(isinstance(cell, str) and os.path.splitext(cell)[1] for value in values for cell in value):
        return None  # lists of files by class, as long as each other
    return Document([dict(zip(document, cells, strict=True)) for cells in zip(*values, strict=True)])


def _mapping(document: Mapping[str, Any]) -> Document | None:
    """path: label, or class: its paths."""
    if all(isinstance(value, str | int) and not isinstance(value, bool) for value in document.values()):
        rows: Iterable[tuple[str, Any]] = document.items()
    elif all(isinstance(value, list) and all(isinstance(cell, str) for cell in value) for value in document.values()):
        rows = ((cell, name) for name, cells in document.items() for cell in cells)
    else:
        return None
    records = [{"path": path, "label": label} for path, label in rows]
    return Document(records, {"path": "path", "label": "label"}, ("an object of paths and labels",))

"""JSON of other programs as one object per row: arrays, Label Studio, COCO, FiftyOne, Argilla, plain mappings; those of
`annotated`."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.manifest.annotated import OF_BOXES, datumaro, flattened, one_label, via
from cleanlab_lite.manifest.roles import called
from cleanlab_lite.manifest.sniff import MEDIA_ENDINGS
from cleanlab_lite.manifest.splits import split_word
from cleanlab_lite.text import counted, listing
from cleanlab_lite.votes import VOTES

Record = dict[str, Any]

MEDIA_KEYS = ("image", "audio", "img", "url", "path", "file", "file_name")  # of Label Studio's data, best first
PATCH = {"id", "row", "old", "new", "columns"}  # of a line
ARGILLA = ({"fields", "suggestions"}, {"fields", "responses"})
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
                f"{path!r}: not every entry of the array is an object: {len(strange):,} of "
                f"{len(document):,}, first {strange[0]!r:.60}",
                hint=f"expected {EXPECTED}",
            )
        return of_records(document, path)
    if isinstance(document, dict):
        if _are_objects(document.get("images")) and "annotations" in document:
            return _coco(document, path)
        if isinstance(document.get("classes"), list) and isinstance(document.get("labels"), dict):
            return _fiftyone(document, path)
        if found := datumaro(document):
            return _document(*found)
        if files := via(document):
            return Document(files, {"path": "filename"}, ("project of VIA",))
        if parts := _by_split(document):
            found_in = of_records(parts, path)
            return replace(found_in, notes=(*found_in.notes, f"splits are the keys {listing(list(document))}"))
        lists = [value for value in document.values() if _are_objects(value)]
        if len(lists) == 1:
            return of_records(lists[0], path)
        if document and (plain := _by_file(document) or _by_id(document) or _columns(document) or _mapping(document)):
            return plain
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
    if records and all(_is_of_argilla(record) for record in records):
        return _argilla(records)
    if records and (found := flattened(records)):
        return _document(*found)
    if records and all("annotation_id" in record and "choice" in record for record in records):
        media = _media_key(records)
        return Document(list(records), {"label": "choice"} | ({"path": media} if media else {}), (_FROM + " (MIN)",))
    if records and all("choice" in record and "label" not in record for record in records):  # written by an export
        return Document(list(records), {"label": "choice"})
    return Document(list(records))


def _document(records: list[Record], known: dict[str, str], note: str) -> Document:
    return Document(records, known, (note,))


def _is_of_argilla(record: Record) -> bool:
    return isinstance(record.get("fields"), dict) and any(record.keys() >= keys for keys in ARGILLA)


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(part, dict) for part in value)


# --- Label Studio ---------------------------------------------------------------------------------------------------

_FROM = "exported by Label Studio"


def _has_results(task: Record) -> bool:
    return any(isinstance(task.get(key), list) for key in ("annotations", "completions", "predictions"))


def _label_studio(tasks: Sequence[Record], path: str) -> Document:
    """A row per task: its data, and its choice; where tasks have annotations of several people, the choice of each.

    Where tasks were asked several questions, a column for the answers to each.
    """
    answers = [_choices(task) for task in tasks]
    asked = list(dict.fromkeys(question for each in answers for question, _, _ in each))
    voted = any(len({who for question, who, _ in each if question == asked[0]}) > 1 for each in answers)
    if voted and len(asked) > 1:
        raise ManifestError(
            f"{path!r}: several annotators answered several questions: {listing(asked)}",
            hint="export the project as CSV, and name the question with --label-column",
        )
    if len(asked) == 1:
        several = [row for row, each in enumerate(answers) if any(len(choices) > 1 for _, _, choices in each)]
        if several:
            raise ManifestError(
                f"{path!r}: several choices in {len(several):,} of {len(tasks):,} tasks, the first is task "
                f"{several[0]}",
                hint="nlclean audits one label per row: leave these tasks out, or export one choice of each",
            )
    records: list[Record] = []
    for task, each in zip(tasks, answers, strict=True):
        data: Record = task["data"] if isinstance(task.get("data"), dict) else {}
        record = {"id": task["id"]} if "id" in task and "id" not in data else {}
        if voted:
            label: Record = {VOTES: {who: choices[0] for _, who, choices in each}}  # the newest of an annotator counts
        elif len(asked) > 1:
            newest = {question: choices for question, _, choices in each}
            label = {name: one_label(newest.get(name, [])) for name in asked}
        else:
            label = {"choice": each[-1][2][0] if each else None}
        records.append({**record, **_renamed(data, *label), **label})
    media = _media_key(records)
    known = ({} if voted or len(asked) > 1 else {"label": "choice"}) | ({"path": media} if media else {})
    return Document(records, known, (_FROM,))


def _renamed(data: Record, *taken: str) -> Record:
    """The data of a task, with another name for what would be overwritten."""
    return {f"{key} of the data" if key in taken else key: value for key, value in data.items()}


def _choices(task: Record) -> list[tuple[str, str, list[str]]]:
    """Question, annotator and choices in annotations that were not cancelled, the newest last; else of the prediction
    called "given"."""
    done = [each for each in _results(task, "annotations", "completions") if not each.get("was_cancelled")]
    found = [(name, _annotator(each), choices) for each in done for name, choices in _chosen(each).items()]
    given = [each for each in _results(task, "predictions") if each.get("model_version") == "given"]
    return found or [(name, "given", choices) for each in given[:1] for name, choices in _chosen(each).items()]


def _chosen(annotation: Record) -> dict[str, list[str]]:
    """Question -> what was chosen, each once. Of a taxonomy, all levels are the name."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for result in _objects(annotation.get("result")):
        value = result.get("value")
        value = value if isinstance(value, dict) else {}
        said: list[str] = []
        if isinstance(value.get("choices"), list):
            said = [str(choice) for choice in value["choices"]]
        elif isinstance(value.get("taxonomy"), list):
            said = ["/".join(map(str, levels)) for levels in value["taxonomy"] if isinstance(levels, list)]
        question = found[str(result.get("from_name", "choice"))] if said else []
        question += [choice for choice in dict.fromkeys(said) if choice not in question]
    return dict(found)


def _annotator(annotation: Record) -> str:
    """Who made it: a number, an object of the user, or nothing."""
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("username") or who.get("id")
    return "unnamed" if who is None else str(who)


def _results(task: Record, *keys: str) -> list[Record]:
    return [each for key in keys for each in _objects(task.get(key))]


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
    """A row per record; where people have answered a question about labels, the answer of each."""
    flat: list[Record] = []
    found = [_answers(record) for record in records]
    asked = Counter(question for answers in found for question in answers)
    question = max(asked, key=asked.__getitem__) if asked else ""
    for record, answers in zip(records, found, strict=True):
        metadata = record.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        votes = {VOTES: answers.get(question, {})} if asked else {}
        flat.append({"id": record.get("id"), **_renamed({**record["fields"], **metadata}, VOTES), **votes})
    keys = flat[0].keys()
    known = {role: key for role, key in (("label", "given_label"), ("id", "id")) if key in keys}
    if path := next((key for key in ("image", "text") if key in keys), ""):
        known["path"] = path
    return Document(flat, known, ("records of Argilla",))


def _answers(record: Record) -> dict[str, dict[str, str]]:
    """Question -> user -> label, of submitted responses; other answers than a text are no labels.

    Argilla 2 has lists of responses by question, Argilla 1 a list of users with values by question.
    """
    responses = record.get("responses")
    said: list[tuple[Any, Any, Record]] = []  # question, value, response
    if isinstance(responses, dict):
        said = [(name, each.get("value"), each) for name, found in responses.items() for each in _objects(found)]
    for each in _objects(responses):
        values = each.get("values")
        for name, value in (values if isinstance(values, dict) else {}).items():
            said.append((name, value.get("value") if isinstance(value, dict) else value, each))
    result: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name, value, each in said:
        if isinstance(value, str) and each.get("status") in (None, "submitted"):
            result[str(name)]["unnamed" if each.get("user_id") is None else str(each["user_id"])] = value
    return dict(result)


def _objects(value: Any) -> list[Record]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


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
            f"{path!r}: annotations of several categories in {several:,} of {len(document['images']):,} pictures",
            hint=OF_BOXES,
        )
    records = []
    for picture in document["images"]:
        found = of_picture.get(_key(picture, "id"))
        category = next(iter(found)) if found else None
        records.append({**picture, "category": names.get(category, category)})
    known = {"label": "category"} | ({"path": "file_name"} if any("file_name" in each for each in records) else {})
    boxes = sum(map(len, of_picture.values()))
    return Document(records, known, (f"COCO: {counted(len(records), 'picture')}, {boxes:,} with a category",))


def _key(record: Record, name: str) -> Any:
    """An id as text, which may be a number in one place and text in another."""
    value = record.get(name)
    return None if value is None else str(value)


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


def _by_split(document: Mapping[str, Any]) -> list[Record]:
    """The rows of lists that are called like splits; none where they are not, or know their splits."""
    if len(document) < 2 or not all(split_word(name) and _are_objects(rows) for name, rows in document.items()):
        return []
    if any("split" in row for rows in document.values() for row in rows):
        return []
    return [{**row, "split": name} for name, rows in document.items() for row in rows]


def _by_file(document: Mapping[str, Any]) -> Document | None:
    """What is said of every file, by its name: an object, or a list of labels."""
    if not all(os.path.splitext(name)[1].lower() in MEDIA_ENDINGS for name in document):
        return None
    if all(isinstance(said, dict) for said in document.values()):
        rows = [{"path": name, **_renamed(said, "path")} for name, said in document.items()]
        return Document(rows, {"path": "path"}, ("an object of files",))
    if all(isinstance(said, list) and all(isinstance(one, str | int) for one in said) for said in document.values()):
        rows = [{"path": name, "label": one_label(said)} for name, said in document.items()]
        return Document(rows, {"path": "path", "label": "label"}, ("an object of files and their labels",))
    return None


def _by_id(document: Mapping[str, Any]) -> Document | None:
    """Rows by an id: more objects than they have keys, which are alike and no row numbers."""
    rows = list(document.values())
    if len(rows) < 2 or not all(isinstance(row, dict) and row for row in rows) or len({frozenset(r) for r in rows}) > 1:
        return None
    keys = rows[0].keys()
    if len(rows) <= len(keys) or all(key.isdigit() for key in keys):  # columns by row number, as pandas writes them
        return None
    if any(any(called(role, list(document))) for role in ("path", "label")):
        return None
    return Document([{"id": name, **_renamed(row, "id")} for name, row in document.items()], {}, ("an object of rows",))


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

"""Names of classes whose numbers a file holds: `ClassLabel` of Hugging Face datasets, lists of names beside a table."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import is_remote, json_value, open_regular
from cleanlab_lite.manifest.readers.base import Rows, ending, is_text, list_folder, plain
from cleanlab_lite.manifest.sniff import MEDIA_ENDINGS
from cleanlab_lite.text import listing

HUGGING_FACE = b"huggingface"  # metadata of a schema
CLASSES = 100_000  # names of one column at most
LARGEST = 4 << 20  # bytes of a list of names
# Files beside a table that list the names of its classes: a line each, by place or with the number before it; a CSV of
# numbers and names; JSON; or the YAML of YOLO.
LISTS = re.compile(r"(class(es)?|labels?|categor(y|ies))([_-]?(names?|list|map|id|dict))?\.(txt|names|csv)")
MAPS = re.compile(
    r"((.*[_-])?(label|class|categor)[^.]*|(.*_)?id_?(2|to)_?(name|label|class)|label2id|config|cat_to_name)\.json"
)
YAMLS = re.compile(r"[\w-]*(data|dataset|classes|labels|names)\.ya?ml")
YAML_CELL = re.compile(r"""'([^']*)'|"([^"]*)"|([^\s,\[\]'"][^,\[\]]*)""")
YAML_NAMES = re.compile(r"^names[ \t]*:[ \t]*(.*(?:\n(?:[ \t]+.*|-.*|[ \t]*))*)", re.MULTILINE)
FORMS = (".txt", ".names", ".csv", ".json", ".yaml", ".yml")
NUMBERS = re.compile("0|[1-9][0-9]{0,8}")
NUMBERED = re.compile(r"(0|[1-9][0-9]{0,8})[\s:,=]+(.*)")


def with_class_labels(rows: Rows) -> Rows:
    """Names of `ClassLabel` columns, as Hugging Face datasets keeps them in the metadata of Parquet and Arrow files."""
    found = dict(_class_labels(rows.table.schema))
    if not found:
        return rows
    known = {"label": next(iter(found))} if len(found) == 1 else {}
    return replace(
        rows,
        names={column: {str(number): name for number, name in enumerate(names)} for column, names in found.items()},
        classes=rows.classes | found,
        known=known | rows.known,
        notes=(*rows.notes, *(f"names of the classes in {column!r} from its ClassLabel" for column in found)),
    )


def _class_labels(schema: pa.Schema) -> Iterator[tuple[str, tuple[str, ...]]]:
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):  # anybody can write metadata
        features = json.loads((schema.metadata or {})[HUGGING_FACE])["info"]["features"]
        for column, kind in features.items():
            if kind.get("_type") != "ClassLabel" or column not in schema.names:
                continue
            names = [str(name) for name in kind["names"]]
            if pa.types.is_integer(schema.field(column).type) and len(set(names)) == len(names) <= CLASSES:
                yield column, tuple(names)


def with_names_beside(rows: Rows, column: str) -> Rows:
    """Names of the classes whose numbers a column holds, from a file beside the table; a guess that a note says."""
    folder = rows.folders[0][0] if rows.folders else ""
    if column in rows.names or column not in rows.table.column_names or is_remote(folder):
        return rows
    if rows.format in ("arrays", "table"):  # no table of a file
        return rows
    numbers = plain(rows.table, column)
    if not is_text(numbers.type) and not pa.types.is_integer(numbers.type):
        return rows
    cells = {str(cell) for cell in numbers.unique().to_pylist() if cell not in (None, "")}
    if len(cells) < 2 or not all(map(NUMBERS.fullmatch, cells)):
        return rows
    files: list[str] = []
    with suppress(ManifestError):  # a folder that may not be listed
        files = [file for file in list_folder(folder) if file.endswith(FORMS)]
    paths = {file: os.path.join(folder, file) for file in files}
    own = os.path.abspath(rows.path)
    found = {file: names for file, path in paths.items() if path != own and (names := _names_in(path, cells))}
    least, most = min(map(int, cells)), max(map(int, cells))
    fitting = {file: names for file, names in found.items() if cells <= names.keys() and least == min(map(int, names))}
    if len({tuple(names[cell] for cell in sorted(cells)) for names in fitting.values()}) > 1:
        note = f"{listing(list(fitting), 3)} name the classes differently: the numbers in {column!r} stay"
        return replace(rows, notes=(*rows.notes, note))
    if not fitting:
        notes = tuple(
            f"{file!r} has {len(names):,} names, and {column!r} holds {len(cells):,} numbers, {least:,} to {most:,}: "
            "these stay"
            for file, names in list(found.items())[:1]
        )
        return replace(rows, notes=(*rows.notes, *notes))
    file, names = next(iter(fitting.items()))
    note = f"names of the classes in {column!r} from {file!r}, a guess by their numbers; exports keep the numbers"
    return replace(
        rows,
        names=rows.names | {column: names},
        classes=rows.classes | {column: tuple(names.values())},
        notes=(*rows.notes, note),
    )


def lists_classes(path: str) -> bool:
    """Whether a file is called like a list of the names of classes, and is a CSV of such, or any JSON."""
    file = os.path.basename(path).casefold()
    if file.endswith(".json"):
        return MAPS.fullmatch(file) is not None
    with suppress(OSError, ValueError, OverflowError):
        if file.endswith(".csv") and LISTS.fullmatch(file) and os.path.isfile(path):
            with open_regular(path, LARGEST) as opened:
                return bool(_of_table(opened.read().decode("utf-8-sig")))
    return False


def _names_in(path: str, cells: set[str]) -> dict[str, str]:
    """Number of a class -> its name, as a file says; {} where it is no list of different names.

    Names without numbers count from 0; their numbers count from 0 or 1, or are those of the cells.
    """
    file = os.path.basename(path).casefold()
    if not any(kind.fullmatch(file) for kind in (LISTS, MAPS, YAMLS)) or not os.path.isfile(path):
        return {}
    with suppress(OSError, ValueError, OverflowError, RecursionError):  # too large, no text, no JSON
        with open_regular(path, LARGEST) as opened:
            text = opened.read().decode("utf-8-sig")
        if file.endswith(".json"):
            names = _of_json(json_value(text), file)
        elif file.endswith(".csv"):
            names = _of_table(text)
        else:
            names = _of_yaml(text) if YAMLS.fullmatch(file) else _of_lines(text)
        if not 1 < len(set(names.values())) == len(names) <= CLASSES or not all(map(NUMBERS.fullmatch, names)):
            return {}
        counted = sorted(map(int, names)) in (list(range(len(names))), list(range(1, len(names) + 1)))
        words = all(name.strip() and not NUMBERS.fullmatch(name) for name in names.values())
        return names if words and (counted or cells <= names.keys()) else {}
    return {}


def _of_lines(text: str) -> dict[str, str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(ending(word) in MEDIA_ENDINGS for line in lines for word in line.split()):
        return {}  # of files
    numbered = [NUMBERED.fullmatch(line) for line in lines]
    if all(numbered):
        return {match[1]: match[2] for match in numbered if match}
    return {str(place): line for place, line in enumerate(lines)}


def _of_table(text: str) -> dict[str, str]:
    """Of a CSV with a header, a column of numbers that count and one of names; or of names alone."""
    header, *rows = [row for row in csv.reader(text.splitlines()) if row] or [[]]
    if not rows or any(len(row) != len(header) for row in rows):
        return {}
    columns = [[cell.strip() for cell in column] for column in zip(*rows, strict=True)]
    words = [column for column in columns if not any(map(NUMBERS.fullmatch, column))]
    numbers = [column for column in columns if all(map(NUMBERS.fullmatch, column))]
    if len(words) != 1 or len(columns) > 2 or any(ending(cell) in MEDIA_ENDINGS for cell in words[0]):
        return {}
    keys = numbers[0] if numbers else list(map(str, range(len(rows))))
    return dict(zip(keys, words[0], strict=True)) if len(set(keys)) == len(keys) == len(set(words[0])) else {}


def _of_yaml(text: str) -> dict[str, str]:
    """Of `names:` in the YAML of a dataset of YOLO: `[cat, dog]`, a line `- cat` each, or a line `0: cat` each."""
    if not (found := YAML_NAMES.search(text)):
        return {}
    body = re.sub(r"(^|[ \t]+)#.*", "", found[1]).strip()
    if body.startswith("["):
        return {str(place): "".join(cell).strip() for place, cell in enumerate(YAML_CELL.findall(body))}
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    if all(line.startswith("-") for line in lines):
        return {str(place): line[1:].strip().strip("'\"") for place, line in enumerate(lines)}
    pairs = [line.partition(":") for line in lines]
    return {number.strip().strip("'\""): name.strip().strip("'\"") for number, _, name in pairs}


def _of_json(value: Any, file: str) -> dict[str, str]:
    """Of a list, `{"0": "cat"}` or `{"cat": 0}`, by itself or as `id2label`, `label2id` or `names` in an object."""
    if isinstance(value, dict):
        other = None if file == "config.json" else value
        value = next((value[key] for key in ("id2label", "label2id", "names") if key in value), other)
    if isinstance(value, list):
        return {str(place): name for place, name in enumerate(value)} if _are(str, value) else {}
    if not isinstance(value, Mapping):
        return {}
    if _are(str, value.values()):
        return {str(number): str(name) for number, name in value.items()}
    return {str(number): str(name) for name, number in value.items()} if _are(int, value.values()) else {}


def _are(kind: type, values: Any) -> bool:
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values)

"""Numbers of classes and their names: in the metadata of a file, or in two columns that say the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.manifest.readers.base import Rows, texts

HUGGING_FACE = b"huggingface"  # metadata of a schema
CLASSES = 100_000  # names of one column at most
INTEGER = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")
# Without blanks, marks and case: columns that hold a class, as a number or by name
_STEMS = ("label", "labels", "class", "category", "target", "y", "species", "breed", "classes")
_TAILS = ("", "id", "idx", "index", "num", "number", "code", "int", "encoded", "name", "names", "text", "str", "title")
ALIKE = {stem + tail for stem in _STEMS for tail in _TAILS}


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


def with_twins(rows: Rows, label: str) -> tuple[Rows, tuple[str, ...]]:
    """The rows, knowing the names of classes that `label` numbers, and the columns that change with it.

    Another column says the same where it is called alike, and every class of one is one class of the other.
    """
    pairs: dict[str, dict[str, str]] = {}
    with suppress(ManifestError):  # no classes
        labels = texts(rows, label)
        for column in rows.table.column_names:
            if column != label and _letters(column) in ALIKE:
                with suppress(ManifestError):
                    if (pair := _one_to_one(labels, texts(rows, column))) is not None:
                        pairs[column] = pair
    if label in rows.names or not _are_numbers(next(iter(pairs.values()), {})):
        return rows, tuple(pairs)
    for column, pair in pairs.items():
        if not any(map(INTEGER.fullmatch, pair.values())):
            order = sorted(pair, key=lambda number: int(float(number)))
            return (
                replace(
                    rows,
                    names={**rows.names, label: {_plain(number): name for number, name in pair.items()}},
                    classes=rows.classes | {label: tuple(pair[number] for number in order)},
                    notes=(*rows.notes, f"{label!r} numbers the classes that {column!r} names"),
                ),
                tuple(pairs),
            )
    return rows, tuple(pairs)


def _plain(number: str) -> str:
    """As a class is named: 1.0 is 1."""
    return str(int(float(number))) if "." in number else number


def _are_numbers(pair: dict[str, str]) -> bool:
    return bool(pair) and all(map(INTEGER.fullmatch, pair))


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _one_to_one(these: list[str], those: list[str]) -> dict[str, str] | None:
    """Which class of one column is which of the other; None where they do not agree in every row."""
    pair: dict[str, str] = {}
    for one, other in zip(these, those, strict=True):
        if bool(one.strip()) != bool(other.strip()) or pair.setdefault(one, other) != other:
            return None
    pair = {one: other for one, other in pair.items() if one.strip()}
    return pair if len(pair) > 1 and len(set(pair.values())) == len(pair) else None

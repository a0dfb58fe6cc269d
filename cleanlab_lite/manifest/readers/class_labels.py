"""Names of classes whose numbers a file holds: `ClassLabel` of Hugging Face datasets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa

from cleanlab_lite.manifest.readers.base import Rows

HUGGING_FACE = b"huggingface"  # metadata of a schema
CLASSES = 100_000  # names of one column at most


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

"""Pictures and sounds inside tables: `{bytes, path}` as Hugging Face writes them, or bytes alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.manifest.readers.base import FileKeeper, Rows, locate

# Endings of files that come without a name, by their first bytes.
MAGIC = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"II*\0": ".tif", b"MM\0*": ".tif"}
MAGIC |= {b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3"}
RIFF = {b"WEBP": ".webp", b"WAVE": ".wav"}
HEAD = 12


def media_columns(table: pa.Table) -> list[str]:
    """Columns whose cells hold files."""
    return [field.name for field in table.schema if _is_file(field.type) or _holds_media(table, field)]


def with_media(rows: Rows, keep: FileKeeper | None) -> Rows:
    """The rows, knowing the files of the columns that hold some: the cells stay, the files are made by `keep`."""
    columns = media_columns(rows.table)
    if not columns:
        return rows
    if keep is None:
        raise ManifestError(
            f"{rows.path!r}: column {columns[0]!r} holds embedded bytes, which need a place for files",
            hint="`nlclean audit` and nlclean.audit(path) read it",
        )
    files = {column: list(_paths(rows, column, keep)) for column in columns}
    known = {"path": columns[0]} if len(columns) == 1 and "path" not in rows.known else {}
    note = f"files inside the table: {', '.join(map(repr, columns))}"
    return replace(rows, files=files, known=rows.known | known, numbered=True, notes=(*rows.notes, note))


def _is_file(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}


def _holds_media(table: pa.Table, field: pa.Field) -> bool:
    """Whether the first bytes of a column of bytes are those of a picture or a sound."""
    if not (pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)):
        return False
    first = next((cell.as_py() for chunk in table[field.name].chunks for cell in chunk if cell.is_valid), b"")
    return bool(ending_of(first))


def ending_of(data: bytes) -> str:
    """Of a file with this content; "" where it is none of the usual ones."""
    head = data[:HEAD]
    return next((ending for magic, ending in MAGIC.items() if head.startswith(magic)), RIFF.get(head[8:12], ""))


def _paths(rows: Rows, column: str, keep: FileKeeper) -> Iterator[str]:
    folders = [folder for folder, count in rows.folders for _ in range(count)]
    cells = (cell for chunk in rows.table[column].chunks for cell in chunk)
    for cell, folder in zip(cells, folders, strict=True):
        value: Any = cell.as_py()
        data, path = (
            (value, "") if isinstance(value, bytes) else ((value or {}).get("bytes"), (value or {}).get("path"))
        )
        if data:
            yield keep.file(data, ending_of(data) or PurePath(path or "").suffix.lower())
        else:
            yield locate(path or "", folder)

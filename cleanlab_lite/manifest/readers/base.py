"""What every reader returns (`Rows`), and how all of them open files and look at cells."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import is_remote, local_path, read_remote, reading, why
from cleanlab_lite.manifest.manifest import JSON_CELLS

PERMISSIONS = "check the path and its permissions"

IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
SOUND_ENDINGS = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"}
# Of files that are looked for by their names, some of which need another program to be read
MEDIA_ENDINGS = IMAGE_ENDINGS | SOUND_ENDINGS
MEDIA_ENDINGS |= {".heic", ".heif", ".avif", ".jp2", ".jfif", ".aif", ".aiff", ".au", ".caf", ".w64", ".m4a", ".aac"}


@dataclass(frozen=True)
class Rows:
    """n rows as they stand in the user's files, before anyone asks what the columns mean."""

    path: str  # for messages
    table: pa.Table  # n rows
    format: str  # as in `Source.format`
    folders: tuple[tuple[str, int], ...]  # folder or URL where relative paths start, and for how many rows
    lines: np.ndarray | None = None  # (n,) int64 line of the row, from 1; None unless there is one text file
    delimiter: str = ","
    quoting: int = csv.QUOTE_MINIMAL
    known: dict[str, str] = field(default_factory=dict)  # role -> column, where the format fixes it
    features: np.ndarray | None = None  # (n, d) float32
    numbered: bool = False  # rows without an id column are called by their numbers, not by their paths
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # column -> its classes in their own order
    notes: tuple[str, ...] = ()

    def where(self, row: int) -> str:
        """How to name a row in a message; row numbers count from 0 as arrays do."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"


def ending(path: str) -> str:
    """Lower-case file ending with its dot, of a path or a URL (chained fsspec URLs: of the first member)."""
    first = path.partition("::")[0] if is_remote(path) else path
    if first.startswith(("http://", "https://")):
        first = urlsplit(first).path
    return os.path.splitext(first)[1].lower()


def folder_of(path: str) -> str:
    """The folder or URL that relative paths in the file `path` start from."""
    if not is_remote(path):
        return os.path.dirname(os.path.abspath(path))
    first, chained, rest = path.partition("::")
    if first.startswith(("http://", "https://")):
        first = urlsplit(first)._replace(query="", fragment="").geturl()
    return first.rpartition("/")[0] + chained + rest


def locate(path: str, folder: str) -> str:
    """`path` as an absolute path or URL. Remote and absolute paths are kept as they are, and "" means missing.

    The URL of a local file becomes its path.
    """
    path, folder = local_path(path), local_path(folder)
    if not path or is_remote(path) or os.path.isabs(path):
        return path
    if is_remote(folder):
        first, chained, rest = folder.partition("::")
        return f"{first}/{path}{chained}{rest}"
    return os.path.join(folder, path)


def read_file(path: str) -> bytes:
    """The whole file, local or remote. Raises ManifestError, also when it is empty."""
    local = local_path(path)
    with reading(f"cannot read {path!r}", ManifestError, hint=PERMISSIONS):
        if is_remote(local):
            data = read_remote(local)
        else:
            with open(local, "rb") as file:
                data = file.read()
    if not data:
        raise ManifestError(f"{path!r} is empty (0 bytes)", hint="was it written completely?")
    return data


def unreadable(path: str, error: Exception) -> ManifestError:
    return ManifestError(f"cannot read {path!r}: {why(error)}", hint=PERMISSIONS)


def list_folder(path: str) -> list[str]:
    """Sorted names in a folder. Raises ManifestError when it cannot be read."""
    with reading(f"cannot read {path!r}", ManifestError, hint=PERMISSIONS):
        return sorted(os.listdir(path))


def read_text(path: str) -> str:
    """The whole file as text. Raises ManifestError where it is not UTF-8 (a byte order mark is accepted)."""
    data = read_file(path)

    def place(offset: int) -> str:
        line = data.count(b"\n", 0, offset) + 1
        return f"{path!r}, line {line}, byte offset {offset}"

    if (offset := data.find(b"\0")) >= 0:
        raise ManifestError(
            f"{place(offset)}: NUL byte, expected UTF-8 text",
            hint="UTF-16 can be converted with `iconv -f UTF-16 -t UTF-8`; otherwise the file is damaged or not text",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{place(error.start)}: byte 0x{data[error.start]:02x} is not UTF-8",
            hint="convert the file, e.g. `iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW`",
        ) from None


def holds_json(table: pa.Table, name: str) -> bool:
    return JSON_CELLS in (table.schema.field(name).metadata or {})


def plain(table: pa.Table, name: str) -> pa.ChunkedArray:
    """The column without dictionary encoding and string views, which few kernels know."""
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


def is_text(dtype: pa.DataType) -> bool:
    return pa.types.is_string(dtype) or pa.types.is_large_string(dtype)


def texts(rows: Rows, name: str) -> list[str]:
    """Cells of a column of strings or integers as n strings, "" where null. Raises ManifestError on anything else."""
    column = plain(rows.table, name)
    values: list[Any] = column.to_pylist()
    if holds_json(rows.table, name):
        values = [None if value is None else json.loads(value) for value in values]
    elif not is_text(column.type) and not pa.types.is_integer(column.type) and not pa.types.is_null(column.type):
        raise ManifestError(
            f"{rows.path!r}: column {name!r} has type {column.type}, expected strings or integers",
            hint="embedded bytes are not read: write them to files and list their paths"
            if pa.types.is_struct(column.type) or pa.types.is_binary(column.type)
            else "name another column",
        )
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str | int):
            raise ManifestError(
                f"{rows.path!r}, {rows.where(row)}: {name!r} is {value!r:.60}, expected a string or an integer"
            )
    result = ["" if value is None else str(value) for value in values]
    if not storable("".join(result)):
        row = next(row for row, value in enumerate(result) if not storable(value))
        raise ManifestError(
            f"{rows.path!r}, {rows.where(row)}: {name!r} is {result[row]!r:.60}, which holds a NUL or half a character",
            hint="no file can have that name: repair the row",
        )
    return result


def storable(text: str) -> bool:
    """Whether `text` can be encoded as UTF-8 and survive in a NumPy string array (which cuts trailing NULs)."""
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, from a JSON escape
        return False
    return "\0" not in text

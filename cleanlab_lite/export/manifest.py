"""A `Manifest` back into files: pruned or corrected, in the user's own format.

Paths are written as the user gave them. Relative ones start from the folder of the original manifest (from the root
of a class-folder tree), so a file written elsewhere needs that folder to find them.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.export.policy import Cleaned
from cleanlab_lite.manifest.labels import labels_of, with_first
from cleanlab_lite.manifest.manifest import JSON_CELLS, NULLS_WRITTEN, VIEWS, Manifest, Source, TextStyle
from cleanlab_lite.manifest.readers.base import CODECS
from cleanlab_lite.manifest.styles import write_record

SUFFIXES = {"csv": ".csv", "tsv": ".tsv", "jsonl": ".jsonl", "json": ".json", "folder": ".csv", "arrays": ".csv"}
SUFFIXES |= {"parquet": ".parquet", "arrow": ".arrow", "feather": ".feather"}
SUFFIXES |= {"table": ".parquet"}  # a table in memory: Parquet keeps the types of its columns
LINE_END = "\r\n"
BINARY = (".parquet", ".arrow", ".feather")


def kind(manifest: Manifest) -> str:
    """What the file of `write_manifest` holds, one of the values of SUFFIXES."""
    return SUFFIXES[manifest.source.format]


def suffix(manifest: Manifest) -> str:
    """Ending of the file that `write_manifest` makes, with that of a compression."""
    return kind(manifest) + manifest.source.style.compression


def write(cleaned: Cleaned, target: Path) -> list[str]:
    """The rows that stay, in the format of `suffix`."""
    manifest, cleaning = cleaned.manifest, cleaned.cleaning
    write_manifest(manifest, target, keep=cleaning.keep, labels=cleaning.labels, weights=cleaning.weights)
    base = base_folder(manifest)
    relative = manifest.source.path_column and target.parent.resolve() != Path(base).resolve()
    return [f"relative paths in it start at {base}"] if relative else []


def base_folder(manifest: Manifest) -> str:
    """The folder, or URL, that relative paths of the manifest start from."""
    if manifest.source.root is not None:
        return manifest.source.root
    path = manifest.source.path
    return path if os.path.isdir(path) else os.path.dirname(path)


def write_manifest(
    manifest: Manifest,
    path: str | Path,
    *,
    keep: np.ndarray,
    labels: Sequence[str | None] | None,
    weights: np.ndarray | None = None,
) -> None:
    """Write the user's columns, in order and in the format of `suffix`, for the rows to keep.

    `keep` (n,) bool. `labels` (n,) are new label texts, None where the label stays; they are written in the type of
    the label column. `weights` (n,) become a last column `weight` (`weight_2` where there is a `weight` already).
    Everything else comes out as it went in: CSV keeps delimiter, quoting, line ends and comments before the header,
    JSONL keeps absent keys absent, Parquet keeps its schema. Class-folder trees and `.npz` files become CSV.

    Raises ManifestError when a new label does not fit the type of its column.
    """
    n = len(manifest)
    if len(keep) != n or (labels is not None and len(labels) != n):
        raise ValueError(f"keep and labels must have {n} rows")
    table = changed_table(manifest, labels, weights).filter(pa.array(np.asarray(keep, dtype=bool)))
    write_table(manifest.source, table, Path(path), kind(manifest))


def changed_table(
    manifest: Manifest, labels: Sequence[str | None] | None, weights: np.ndarray | None = None
) -> pa.Table:
    """The user's columns with new labels, and a column of weights where there are any."""
    table = manifest.table if labels is None else _relabelled(manifest, labels)
    if weights is None:
        return table
    numbered = (f"weight_{number}" for number in itertools.count(2))
    name = next(name for name in itertools.chain(["weight"], numbered) if name not in table.column_names)
    return table.append_column(name, pa.array(np.round(weights, 4)))


def write_table(source: Source, table: pa.Table, path: Path, kind: str) -> None:
    """Write rows and columns of a manifest as a file of `kind`, one of the values of SUFFIXES."""
    if kind in BINARY:
        table = with_views(table)
        if kind == ".parquet":
            pq.write_table(table, path, compression="zstd")
        else:
            with pa.ipc.new_file(str(path), table.schema) as file:
                file.write_table(table)
        return
    write_lines(source, table.column_names, text_lines(source, table, kind), path, kind)


def with_views(table: pa.Table) -> pa.Table:
    """The columns that the reader has taken views from, as they were."""
    for position, field in enumerate(table.schema):
        if field.metadata and VIEWS in field.metadata:
            rest = {key: value for key, value in field.metadata.items() if key != VIEWS}
            types = {pa.large_string(): pa.string_view(), pa.large_binary(): pa.binary_view()}
            view = types.get(field.type, field.type)
            plain = pa.field(field.name, view, field.nullable, rest or None)
            table = table.set_column(position, plain, table.column(position).cast(view))
    return table


def text_lines(source: Source, table: pa.Table, kind: str) -> Iterator[str]:
    """One piece of text per row: a record of a CSV, or a line of JSON."""
    if kind in (".jsonl", ".json"):
        return json_lines(table)
    columns = (column.to_pylist() for column in table.columns)
    return (csv_line(source, cells) for cells in zip(*columns, strict=True))


def write_lines(source: Source, names: Sequence[str], lines: Iterable[str], path: Path, kind: str) -> None:
    """Write `text_lines` as a file, with all that is around them."""
    style = source.style
    with _opened(path, style) as file:
        if kind == ".json":
            file.write("[\n")
            for number, line in enumerate(lines):
                file.write((",\n" if number else "") + line.rstrip("\n"))
            file.write("\n]\n")
        elif kind == ".jsonl":
            file.writelines(line.replace("\n", style.line_end) for line in lines)
        else:
            file.write(style.before)
            file.write(csv_line(source, names, header=True))
            file.writelines(lines)


@contextmanager
def _opened(path: Path, style: TextStyle) -> Iterator[TextIO]:
    encoding = "utf-8-sig" if style.bom else "utf-8"
    if not style.compression:
        with path.open("w", encoding=encoding, newline="") as file:
            yield file
        return
    with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), CODECS[style.compression]) as packed:
        file = io.TextIOWrapper(cast(Any, _Writable(packed)), encoding=encoding, newline="")
        yield file
        file.flush()
        file.detach()


class _Writable(io.RawIOBase):
    """An Arrow stream for TextIOWrapper."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(bytes(data))
        return len(data)


def csv_line(source: Source, cells: Sequence[object], *, header: bool = False) -> str:
    """One record as `write_table` writes it."""
    style = source.style
    end = style.line_end if header or not style.closed else source.delimiter + style.line_end
    if style.quoted is not None or style.spaced:
        everything = range(len(cells) if style.header_quoted or source.quoting == csv.QUOTE_ALL else 0)
        quoted = everything if header or style.quoted is None else style.quoted
        blank = " " if style.spaced else ""
        return write_record(cells, source.delimiter, quoted, () if header else style.bare, end, blank)
    text = io.StringIO(newline="")
    _csv_writer(text, source).writerow(cells)
    return text.getvalue().removesuffix(LINE_END) + end


def _relabelled(manifest: Manifest, labels: Sequence[str | None]) -> pa.Table:
    """The table with new labels. A cell is copied from a row of that class, so it is written as the user writes it."""
    source = manifest.source
    if source.label_form:
        return _first_labels(manifest, labels)
    index = {text: position for position, text in enumerate(manifest.classes)}
    first = np.full(manifest.num_classes, -1)  # a row of every class
    rows = np.flatnonzero(manifest.labels >= 0)[::-1]
    first[manifest.labels[rows]] = rows
    take = np.arange(len(manifest))
    new: dict[str, int] = {}  # labels that no row has yet, put behind the column
    for row, text in enumerate(labels):
        if text is None:
            continue
        if (position := index.get(text)) is None:
            take[row] = len(manifest) + new.setdefault(text, len(new))
        elif position != manifest.labels[row]:
            take[row] = first[position]
    if new and source.label_columns:
        raise ManifestError(
            f"new labels {', '.join(map(repr, list(new)[:5]))} have no place in the columns "
            f"{', '.join(source.label_columns)} of {source.path!r}",
            hint="use labels that some row has",
        )
    table = manifest.table
    for name in source.label_columns or (source.label_column,):
        column = manifest.table[name]
        if new:
            column = pa.chunked_array([*column.chunks, _cells(manifest, list(new))])
        position = table.schema.get_field_index(name)
        table = table.set_column(position, table.schema.field(name), column.take(pa.array(take)))
    return table


def _first_labels(manifest: Manifest, labels: Sequence[str | None]) -> pa.Table:
    """The table with new labels, where a cell holds a list of them and the first counts. The others stay; so does a
    cell with several that were not taken as labels."""
    source, table = manifest.source, manifest.table
    field = table.schema.field(source.label_column)
    as_json = JSON_CELLS in (field.metadata or {})
    cells = table[source.label_column].to_pylist()
    for row, text in enumerate(labels):
        given = manifest.labels[row]
        if text is None or (given >= 0 and manifest.classes[given] == text):
            continue
        cell = json.loads(cells[row]) if as_json and cells[row] is not None else cells[row]
        if given >= 0:
            new = with_first(cell, source.label_form, text)
        elif len(labels_of("" if cell is None else cell, source.label_form)) > 1:
            continue
        else:
            new = text if cell is None or isinstance(cell, str) else [text]
        cells[row] = json.dumps(new) if as_json else new
    position = table.schema.get_field_index(source.label_column)
    return table.set_column(position, field, pa.array(cells, field.type))


def _cells(manifest: Manifest, texts: list[str]) -> pa.Array:
    """Label texts as cells of the label column."""
    field, source = manifest.table.schema.field(manifest.source.label_column), manifest.source
    numbers = {name: cell for cell, name in source.label_names}
    if source.label_names and (unknown := [text for text in texts if text not in numbers]):
        raise ManifestError(
            f"new labels {', '.join(map(repr, unknown[:5]))} have no number in the column {field.name!r}",
            hint=f"its classes are {', '.join(repr(name) for name in list(numbers)[:10])}",
        )
    texts = [numbers.get(text, text) for text in texts]
    if JSON_CELLS in (field.metadata or {}):
        return pa.array([json.dumps(text) for text in texts], field.type)
    if source.quotes_are_text and (bad := [text for text in texts if not fits_unquoted(source, text)]):
        raise ManifestError(
            f"new labels {', '.join(map(repr, bad[:5]))} cannot be written into {source.path!r}: quotes are text "
            f"there, and a field neither begins with one nor holds {source.delimiter!r} or a line break",
            hint="use other labels, or convert the manifest to JSONL or Parquet before the audit",
        )
    try:
        return pa.array(texts, pa.string()).cast(field.type)
    except pa.ArrowException as error:
        raise ManifestError(
            f"new labels {', '.join(map(repr, texts[:5]))} do not fit the column {field.name!r} of type {field.type}",
            hint="use labels of that type, or convert the column to strings before the audit",
        ) from error


def fits_unquoted(source: Source, text: str) -> bool:
    """Whether a field without quoting gives back `text` to every reader."""
    return not text.startswith('"') and not any(mark in text for mark in (source.delimiter, "\n", "\r"))


def _csv_writer(file: TextIO, source: Source) -> Any:
    """Ends lines with `LINE_END`, whose characters are quoted. Those of the source may end with a delimiter before it,
    which Python refuses from 3.13 on.
    """
    return csv.writer(
        file,
        delimiter=source.delimiter,
        quoting=source.quoting,  # type: ignore[arg-type]
        quotechar=None if source.quotes_are_text else '"',
        lineterminator=LINE_END,
    )


def json_lines(table: pa.Table) -> Iterator[str]:
    """One line per row, as `write_table` writes it."""
    names = [json.dumps(name, ensure_ascii=False) for name in table.column_names]
    columns = [_json_texts(field, column) for field, column in zip(table.schema, table.columns, strict=True)]
    for cells in zip(*columns, strict=True):
        record = (f"{name}: {cell}" for name, cell in zip(names, cells, strict=True) if cell is not None)
        yield "{" + ", ".join(record) + "}\n"


def _json_texts(field: pa.Field, column: pa.ChunkedArray) -> list[str | None]:
    """Cells as JSON text, None where the key was absent."""
    metadata = field.metadata or {}
    values = column.to_pylist()
    if JSON_CELLS in metadata:
        return values
    null = "null" if NULLS_WRITTEN in metadata else None
    return [null if value is None else json.dumps(value, ensure_ascii=False) for value in values]

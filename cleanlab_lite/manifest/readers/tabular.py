"""Tables: CSV, TSV, JSONL and Parquet. Each reader takes the files of one dataset, usually one."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import is_remote, json_value, read_table, reading
from cleanlab_lite.manifest.manifest import JSON_CELLS, NULLS_WRITTEN
from cleanlab_lite.manifest.readers.base import Rows, folder_of, read_file, read_text, storable
from cleanlab_lite.text import listing

DELIMITERS = ",;\t|"
QUOTED = re.compile(r'"(?:[^"]|"")*"')  # a field in quotes, those inside it doubled
SHOWN = 5  # bad lines in one message
RESERVED = "__nlclean_"  # columns of a saved manifest

_ABSENT: Any = object()  # a key that a JSON record does not have


def read_csv(paths: Sequence[str], *, quotes_are_text: bool = False) -> Rows:
    """Comma, semicolon, tab or bar separated, whichever splits the header into most columns; quotes as `_quoting`."""
    return _read_delimited(paths, "csv", DELIMITERS, quotes_are_text)


def read_tsv(paths: Sequence[str], *, quotes_are_text: bool = False) -> Rows:
    """Tab separated; quotes as `_quoting` says."""
    return _read_delimited(paths, "tsv", "\t", quotes_are_text)


def _read_delimited(paths: Sequence[str], format: str, delimiters: str, quotes_are_text: bool) -> Rows:
    contents = {path: read_text(path) for path in paths}
    first = contents[paths[0]]
    delimiter = max(delimiters, key=lambda char: _width(paths[0], first, char))
    header = _header(paths[0], first, delimiter)
    check_names(paths[0], header)
    for path, text in contents.items():
        if (found := _header(path, text, delimiter)) != header:
            raise _other_columns(path, found, paths[0], header)
    quoting, notes = _quoting(contents, delimiter, header, quotes_are_text)
    records: list[list[str]] = []
    lines: list[int] = []
    folders = []
    for path, text in contents.items():
        before = len(records)
        _read_records(path, _parse(path, text, delimiter, quoting), delimiter, header, records, lines)
        folders.append((folder_of(path), len(records) - before))
    check_rows(paths, len(records))
    columns = zip(*records, strict=True)
    table = pa.table({name: pa.array(cells, pa.string()) for name, cells in zip(header, columns, strict=True)})
    return Rows(
        path=_title(paths),
        table=table,
        format=format,
        folders=tuple(folders),
        lines=np.array(lines, dtype=np.int64) if len(paths) == 1 else None,
        delimiter=delimiter,
        quoting=quoting,
        notes=notes,
    )


def _quoting(
    contents: Mapping[str, str], delimiter: str, header: list[str], quotes_are_text: bool
) -> tuple[int, tuple[str, ...]]:
    """How files of one dataset use quotes, as the csv module names it, and a note where that is a guess.

    QUOTE_NONE: quotes are text. Every line splits at the delimiters alone into as many fields as the header, and no
    field is quoted, or one opens a quote that does not close in it, as sentences do. Where all fields that open a
    quote close it, it is quoting, unless `quotes_are_text` is known: QUOTE_ALL when the header is quoted, else
    QUOTE_MINIMAL.
    """
    quoted = delimiter.join('"' + name.replace('"', '""') + '"' for name in header)
    if next(iter(contents.values())).lstrip("\r\n").startswith(quoted):
        return csv.QUOTE_ALL, ()
    undecided = quotes_are_text or any('"' in text for text in contents.values())
    if len(header) < 2 or not undecided:  # lines of one field always agree
        return csv.QUOTE_MINIMAL, ()
    opened = False
    unclosed: tuple[str, int, str] | None = None
    for path, text in contents.items():
        parsed = _parse(path, text, delimiter, csv.QUOTE_NONE)
        if next(parsed)[1] != header:
            return csv.QUOTE_MINIMAL, ()
        for line, record in parsed:
            if len(record) != len(header):
                return csv.QUOTE_MINIMAL, ()
            for cell in record:
                if cell.startswith('"'):
                    opened = True
                    if not QUOTED.fullmatch(cell):
                        unclosed = unclosed or (path, line, cell)
    if unclosed is None:
        return (csv.QUOTE_MINIMAL if opened and not quotes_are_text else csv.QUOTE_NONE), ()
    path, line, cell = unclosed
    return csv.QUOTE_NONE, (
        f"quotes are text here, not quoting: {path!r}, line {line} has {cell!r:.60}, which is no quoted field, "
        f"and every line splits into the {len(header)} fields of the header",
    )


def _parse(path: str, text: str, delimiter: str, quoting: int = csv.QUOTE_MINIMAL) -> Iterator[tuple[int, list[str]]]:
    """Line where the record starts, and its fields; empty lines are skipped, quoted fields may span lines."""
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        strict=True,
        quoting=csv.QUOTE_NONE if quoting == csv.QUOTE_NONE else csv.QUOTE_MINIMAL,
    )
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise ManifestError(
                f"{path!r}, line {line}: {error}, expected a well-formed record",
                hint='is a quote opened and not closed? A quote inside a quoted field is written twice (""), '
                "not with a backslash",
            ) from None
        if record is None:
            return
        if record:
            yield line, record


def _header(path: str, text: str, delimiter: str) -> list[str]:
    for _, record in _parse(path, text, delimiter):
        return record
    raise ManifestError(f"{path!r} holds only empty lines", hint="the first line must name the columns")


def _width(path: str, text: str, delimiter: str) -> int:
    """Columns that `delimiter` would give; 0 where its header does not parse, which is an error if none does."""
    try:
        return len(_header(path, text, delimiter))
    except ManifestError:
        return 0


def _read_records(
    path: str,
    parsed: Iterator[tuple[int, list[str]]],
    delimiter: str,
    header: list[str],
    records: list[list[str]],
    lines: list[int],
) -> None:
    """Append the records after the header, and their lines. Raises ManifestError when a length differs."""
    width = len(header)
    bad: list[str] = []
    count = 0
    next(parsed)
    for line, record in parsed:
        if len(record) == width:
            records.append(record)
            lines.append(line)
        else:
            count += 1
            if count <= SHOWN:
                bad.append(f"line {line}: {len(record)} fields ({delimiter.join(record)!r:.60})")
    if count:
        more = f"; and {count - SHOWN} more lines" if count > SHOWN else ""
        raise ManifestError(
            f"{path!r}, {'; '.join(bad)}{more}; expected {width} fields ({listing(header)})",
            hint=f"put fields that contain {delimiter!r} in double quotes",
        )


def read_jsonl(paths: Sequence[str]) -> Rows:
    """One JSON object per line; empty lines are skipped.

    Columns of one scalar type are native. The rest hold JSON text and are marked with `JSON_CELLS`.
    """
    records: list[dict[str, Any]] = []
    lines: list[int] = []
    folders = []
    for path in paths:
        before = len(records)
        bad: list[str] = []
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            if not line.strip():
                continue
            try:
                record = json_value(line)
                problem = "" if isinstance(record, dict) else f"found {line!r:.60}"
            except ValueError as error:  # also: an integer of more than 4,300 digits
                problem = f"{error} in {line!r:.60}"
            if problem:
                bad.append(f"line {number}: {problem}")
            else:
                records.append(record)
                lines.append(number)
        if bad:
            more = f"; and {len(bad) - SHOWN} more lines" if len(bad) > SHOWN else ""
            raise ManifestError(
                f"{path!r}, {'; '.join(bad[:SHOWN])}{more}; expected one JSON object per line",
                hint="a JSON array can be converted with `jq -c '.[]' OLD > NEW.jsonl`",
            )
        folders.append((folder_of(path), len(records) - before))
    check_rows(paths, len(records))
    names = list(dict.fromkeys(key for record in records for key in record))
    check_names(_title(paths), names)
    columns = [_json_column(name, [record.get(name, _ABSENT) for record in records]) for name in names]
    return Rows(
        path=_title(paths),
        table=pa.Table.from_arrays([array for _, array in columns], schema=pa.schema([field for field, _ in columns])),
        format="jsonl",
        folders=tuple(folders),
        lines=np.array(lines, dtype=np.int64) if len(paths) == 1 else None,
    )


def _json_column(name: str, cells: list[Any]) -> tuple[pa.Field, pa.Array]:
    """The narrowest column that gives back every cell, and tells null from absent."""
    kinds = set(map(type, cells))
    absent, null = type(_ABSENT) in kinds, type(None) in kinds
    scalar = kinds - {type(_ABSENT), type(None)}
    if not (absent and null) and (dtype := _scalar_type(scalar, cells)) is not None:
        metadata = {NULLS_WRITTEN: b"1"} if null else None
        values = [None if cell is _ABSENT else cell for cell in cells]
        return pa.field(name, dtype, metadata=metadata), pa.array(values, dtype)
    values = [None if cell is _ABSENT else json.dumps(cell) for cell in cells]
    return pa.field(name, pa.string(), metadata={JSON_CELLS: b"1"}), pa.array(values, pa.string())


def _scalar_type(kinds: set[type], cells: list[Any]) -> pa.DataType | None:
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {float}:
        return pa.float64()
    if kinds == {int}:
        fits = all(-(2**63) <= cell < 2**63 for cell in cells if type(cell) is int)
        return pa.int64() if fits else None
    if kinds == {str}:
        return pa.string() if storable("".join(cell for cell in cells if type(cell) is str)) else None
    return pa.string() if not kinds else None  # nothing but nulls


def read_parquet(paths: Sequence[str]) -> Rows:
    """Parquet files of one schema, put one after the other."""
    tables: list[pa.Table] = []
    for path in paths:
        with reading(f"cannot read {path!r}", ManifestError, hint="is it a whole Parquet file?"):
            table = _unmarked(read_table(pa.BufferReader(read_file(path)) if is_remote(path) else path))
            check_names(path, table.column_names)
        if tables and not table.schema.equals(tables[0].schema):
            raise _other_columns(path, _typed(table), paths[0], _typed(tables[0]))
        tables.append(table.replace_schema_metadata(tables[0].schema.metadata if tables else table.schema.metadata))
    table = pa.concat_tables(tables)
    check_rows(paths, len(table))
    folders = tuple((folder_of(path), len(part)) for path, part in zip(paths, tables, strict=True))
    return Rows(_title(paths), table, "parquet", folders)


def _unmarked(table: pa.Table) -> pa.Table:
    """Without our own marks of JSON in columns: the user's Parquet files have none, and text may be anything."""
    for i, field in enumerate(table.schema):
        if field.metadata and JSON_CELLS in field.metadata:
            rest = {key: value for key, value in field.metadata.items() if key != JSON_CELLS}
            table = table.set_column(i, field.with_metadata(rest), table.column(i))
    return table


def _typed(table: pa.Table) -> list[str]:
    return [f"{field.name}: {field.type}" for field in table.schema]


def _title(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def check_names(path: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if bad := [name for name in names if not storable(name)]:
        raise ManifestError(f"{path!r}: names of columns hold a NUL or half a character: {listing(bad)}")
    reserved = [name for name in names if name.startswith(RESERVED)]
    if repeated:
        raise ManifestError(
            f"{path!r}: columns named more than once: {listing(repeated)}; found {listing(names)}",
            hint="the first line must name the columns, each differently",
        )
    if reserved:
        raise ManifestError(
            f"{path!r}: columns {listing(reserved)} are nlclean's own", hint="audit the manifest this was made from"
        )


def check_rows(paths: Sequence[str], n: int) -> None:
    if not n:
        raise ManifestError(f"{_title(paths)!r} has no rows", hint="expected one row per sample")


def _other_columns(path: str, found: Sequence[str], first: str, expected: Sequence[str]) -> ManifestError:
    return ManifestError(
        f"{path!r} has the columns {listing(found)}, expected those of {first!r}: {listing(expected)}",
        hint="files of one dataset must agree; give one of them by name to audit it alone",
    )


DELIMITED: dict[str, Callable[..., Rows]] = {".csv": read_csv, ".tsv": read_tsv}
READERS: dict[str, Callable[[Sequence[str]], Rows]] = {
    **DELIMITED,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
}

"""Tables: CSV, TSV, JSONL and Parquet. Each reader takes the files of one dataset, usually one."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import is_remote, json_value, read_table, reading
from cleanlab_lite.manifest.documents import of_records, rows_of
from cleanlab_lite.manifest.manifest import JSON_CELLS, TextStyle
from cleanlab_lite.manifest.readers.base import (
    Rows,
    Text,
    check_names,
    check_rows,
    folder_of,
    json_table,
    one_after_the_other,
    other_columns,
    read_file,
    read_text,
    title,
    without_views,
)
from cleanlab_lite.manifest.styles import blank, line_end, preamble, quoting_of, without_blanks
from cleanlab_lite.text import listing

DELIMITERS = ",;\t|"
QUOTED = re.compile(r'"(?:[^"]|"")*"')  # a field in quotes, those inside it doubled
LONGEST_CELL = 1 << 30  # characters; embeddings as text are longer than the 131,072 of the csv module
SHOWN = 5  # bad lines in one message


def read_csv(paths: Sequence[str], *, quotes_are_text: bool = False) -> Rows:
    """Comma, semicolon, tab or bar separated, whichever splits the header into most columns; quotes as `_quoting`."""
    return _read_delimited(paths, "csv", DELIMITERS, quotes_are_text)


def read_tsv(paths: Sequence[str], *, quotes_are_text: bool = False) -> Rows:
    """Tab separated; quotes as `_quoting` says."""
    return _read_delimited(paths, "tsv", "\t", quotes_are_text)


def _read_delimited(paths: Sequence[str], format: str, delimiters: str, quotes_are_text: bool) -> Rows:
    stored = {path: read_text(path) for path in paths}
    before, named = preamble(stored[paths[0]].text, delimiters)
    contents = {path: _without_preamble(found.text, delimiters) for path, found in stored.items()}
    first = contents[paths[0]]
    delimiter = named or max(delimiters, key=lambda char: _width(paths[0], first, char))
    bare = {path: without_blanks(text, delimiter) for path, text in contents.items()}
    spaced = all(bare[path] != text for path, text in contents.items())
    contents = bare if spaced else contents
    first = contents[paths[0]]
    header = _header(paths[0], first, delimiter)
    for path, text in contents.items():
        if (found := _header(path, text, delimiter)) != header:
            raise other_columns(path, found, paths[0], header)
    quoting, notes = _quoting(contents, delimiter, header, quotes_are_text)
    header, called = _all_named(header)
    check_names(paths[0], header)
    notes += called
    read = _Records(header)
    folders = []
    for path, text in contents.items():
        count = len(read.cells)
        _read_records(path, _parse(path, text, delimiter, quoting), delimiter, read)
        folders.append((folder_of(path), len(read.cells) - count))
    check_rows(paths, len(read.cells))
    if above := [line for line in before.splitlines() if line.strip(delimiter) and not line.startswith("#")][
        bool(named) :
    ]:
        notes += (f"left out above the header: {listing(above, 2)}",)
    notes += tuple(dict.fromkeys(note for each in stored.values() for note in each.notes))
    if read.comments:
        notes += (f"lines left out that begin with #: {read.comments}",)
    style = _style(stored[paths[0]], first, before, delimiter, quoting, len(header))
    columns = zip(*read.cells, strict=True)
    table = pa.table({name: pa.array(cells, pa.string()) for name, cells in zip(header, columns, strict=True)})
    return Rows(
        path=title(paths),
        table=table,
        format=format,
        folders=tuple(folders),
        lines=np.array(read.lines, dtype=np.int64) if len(paths) == 1 else None,
        delimiter=delimiter,
        quoting=quoting,
        style=replace(style, spaced=spaced, closed=read.closed == len(read.cells)),
        notes=notes,
    )


def _all_named(header: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """The header with names for columns that have none, where these are several, as Excel leaves them; and a note."""
    nameless = [place for place, name in enumerate(header) if not name.strip()]
    if len(nameless) < 2:
        return header, ()
    named = [f"column {place + 1}" if place in nameless else name for place, name in enumerate(header)]
    shown = listing([named[place] for place in nameless], SHOWN)
    return named, (f"columns without a name are called {shown}, in exports too",)


def _without_preamble(text: str, delimiters: str) -> str:
    """Empty lines in its place, so that lines keep their numbers."""
    before, _ = preamble(text, delimiters)
    return blank(before) + text[len(before) :]


def _style(stored: Text, text: str, before: str, delimiter: str, quoting: int, width: int) -> TextStyle:
    style = TextStyle()
    if quoting != csv.QUOTE_NONE and '"' in text:
        style = quoting_of(text.lstrip("\r\n"), delimiter, width)
        if style.header_quoted and style.quoted == tuple(range(width)) and not style.bare:
            style = TextStyle()  # all are, as `quoting` says
    return replace(style, before=before, line_end=line_end(stored.text), bom=stored.bom, compression=stored.compression)


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
        usual = csv.field_size_limit(LONGEST_CELL)  # the limit is the process's
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise ManifestError(
                f"{path!r}, line {line}: {error}, expected a well-formed record",
                hint='is a quote opened and not closed? A quote inside a quoted field is written twice (""), '
                "not with a backslash",
            ) from None
        finally:
            csv.field_size_limit(usual)
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


@dataclass
class _Records:
    """Rows of one or several files, as they are read."""

    header: list[str]
    cells: list[list[str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    closed: int = 0  # rows that end in one delimiter more than the header
    comments: int = 0  # lines left out


def _read_records(path: str, parsed: Iterator[tuple[int, list[str]]], delimiter: str, read: _Records) -> None:
    """Append the records after the header, and their lines. Raises ManifestError when a length differs."""
    header, width = read.header, len(read.header)
    bad: list[str] = []
    count = 0
    next(parsed)
    for line, record in parsed:
        if len(record) == width + 1 and not record[-1]:  # written with a delimiter behind every cell
            record.pop()
            read.closed += 1
        elif len(record) == width - 1 and not header[-1]:  # or so in the header only
            record.append("")
        if len(record) == width:
            read.cells.append(record)
            read.lines.append(line)
        elif record[0].startswith("#"):
            read.comments += 1
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

    Columns as in `json_table`.
    """
    records: list[dict[str, Any]] = []
    lines: list[int] = []
    folders = []
    for path in paths:
        before = len(records)
        bad: list[str] = []
        stored = read_text(path)
        for number, line in enumerate(stored.text.split("\n"), start=1):
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
                hint="a JSON array can be converted with `jq -c '.[]' OLD > NEW.jsonl`, or be called .json",
            )
        folders.append((folder_of(path), len(records) - before))
    check_rows(paths, len(records))
    found = of_records(records, title(paths))
    return Rows(
        path=title(paths),
        table=json_table(found.records, title(paths)),
        format="jsonl",
        known=found.known,
        notes=(*stored.notes, *found.notes),
        folders=tuple(folders),
        style=TextStyle(
            line_end="\r\n" if "\r\n" in stored.text[:65536] else "\n", bom=stored.bom, compression=stored.compression
        ),
        lines=np.array(lines, dtype=np.int64) if len(paths) == 1 else None,
    )


def read_json(paths: Sequence[str]) -> Rows:
    """A JSON document of one of the forms of `documents`, or one JSON object per line."""
    if len(paths) > 1:
        raise ManifestError(f"several JSON files ({listing(paths, 3)}), expected one", hint="name one of them")
    [path] = paths
    stored = read_text(path)
    try:
        document = json_value(stored.text)
    except ValueError as error:
        if "Extra data" in str(error):  # a second line
            return read_jsonl(paths)
        raise ManifestError(f"{path!r} is no JSON: {error}", hint="is it written completely?") from None
    found = rows_of(document, path)
    check_rows(paths, len(found.records))
    return Rows(
        path=path,
        table=json_table(found.records, path),
        format="json",
        folders=((folder_of(path), len(found.records)),),
        known=found.known,
        style=TextStyle(bom=stored.bom, compression=stored.compression),
        notes=(*stored.notes, *found.notes),
    )


def read_parquet(paths: Sequence[str]) -> Rows:
    """Parquet files of one schema, put one after the other."""
    return one_after_the_other(paths, map(_parquet, paths), "parquet")


def _parquet(path: str) -> pa.Table:
    with reading(f"cannot read {path!r}", ManifestError, hint="is it a whole Parquet file?"):
        return without_views(_unmarked(read_table(pa.BufferReader(read_file(path)) if is_remote(path) else path)))


def _unmarked(table: pa.Table) -> pa.Table:
    """Without our own marks of JSON in columns: the user's Parquet files have none, and text may be anything."""
    for i, column in enumerate(table.schema):
        if column.metadata and JSON_CELLS in column.metadata:
            rest = {key: value for key, value in column.metadata.items() if key != JSON_CELLS}
            table = table.set_column(i, column.with_metadata(rest), table.column(i))
    return table


DELIMITED: dict[str, Callable[..., Rows]] = {".csv": read_csv, ".tsv": read_tsv}
READERS: dict[str, Callable[[Sequence[str]], Rows]] = {
    **DELIMITED,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
}

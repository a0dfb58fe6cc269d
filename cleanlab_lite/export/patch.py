"""`labels.patch.jsonl`: what a cleaning changes, a line per row, to be read, applied and taken back.

A line holds `id`, `old` and `new` label (`old` null: there was none; `new` null: the row goes), `probability` that the
change is right (null where a person decided), `who` ("nlclean" or the reviewer), `why` (reasons of the report), `row`
(in the manifest, from 0), and `columns` (which one is the label, the id, the path). Where a label alone could not bring
the row back, `record` holds all of it: the cells of CSV and TSV, the line of JSONL, an Arrow stream in base64 for
Parquet. `quotes_are_text` is there, and true, where the manifest is a CSV or TSV without quoting: the rows that show it
may all go.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cleanlab_lite.addresses import unsigned
from cleanlab_lite.errors import ManifestError
from cleanlab_lite.export.manifest import (
    BINARY,
    changed_table,
    csv_line,
    json_lines,
    kind,
    text_lines,
    write_lines,
    write_table,
)
from cleanlab_lite.export.policy import Cleaned, excess
from cleanlab_lite.files import json_object, reading
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.text import listing

TOOL, UNNAMED = "nlclean", "unnamed"  # who: where no person decided, where one without a name did
HINT = "name a file of `nlclean export --format patch`"

Record = dict[str, str] | str


@dataclass(frozen=True)
class Change:
    """One line of a patch."""

    id: str
    row: int  # in the manifest that the patch was made from, from 0
    old: str | None  # label before; None for a row that had none
    new: str | None  # label after; None for a row that goes
    probability: float | None  # 0-1
    who: str
    why: list[str]
    columns: dict[str, str]  # role -> column: label, and id, path and other columns of the label, if any
    record: Record | None  # the whole row, where it goes or had no label
    quotes_are_text: bool = False  # in a manifest without quoting

    def __post_init__(self) -> None:
        texts = isinstance(self.id, str) and {type(self.old), type(self.new)} <= {str, type(None)}
        if not texts or type(self.row) is not int or self.row < 0 or not _is_columns(self.columns):
            raise ValueError("id, row, old, new or columns are not what they should be")
        if (self.record is None) == (self.drop or self.old is None):
            raise ValueError("a record belongs to rows that go or had no label, and only to them")

    @property
    def drop(self) -> bool:
        return self.new is None


def _is_columns(value: Any) -> bool:
    return isinstance(value, dict) and "label" in value and all(isinstance(name, str) for name in value.values())


def write(cleaned: Cleaned, target: Path) -> list[str]:
    """Write a line for every row that goes or gets a new label."""
    manifest, cleaning = cleaned.manifest, cleaned.cleaning
    source = manifest.source
    if source.elected:
        raise ManifestError(
            "the labels are what most annotators say, and a patch changes the label that a row of the file has",
            hint="export the manifest itself, without --format patch: it has the votes and the label of every item",
        )
    one_hot = source.label_columns and source.label_column not in source.label_columns
    if one_hot or source.label_form:
        what = (
            f"the one-hot columns {listing(source.label_columns, 5)}"
            if one_hot
            else f"lists in {source.label_column!r}"
        )
        raise ManifestError(
            f"labels are {what}, and a patch changes the one label of a row",
            hint="export the manifest itself, without --format patch",
        )
    others = [name for name in source.label_columns if name != source.label_column]
    named = {
        "label": source.label_column,
        "id": source.id_column,
        "path": None if manifest.holds_files else source.path_column,
    }
    columns = {role: name for role, name in named.items() if name is not None}
    columns |= {f"label {number}": name for number, name in enumerate(others, start=2)}
    keep = cleaning.keep.tolist()
    given, p, confidence, reasons = (
        cleaned.table[name].to_pylist() for name in ("given_label", "p_mislabel", "suggestion_confidence", "reasons")
    )
    changed = [row for row, label in enumerate(cleaning.labels) if label is not None or not keep[row]]
    whole = [row for row in changed if not keep[row] or given[row] is None]
    records = dict(zip(whole, _records(manifest, whole), strict=True))
    with target.open("w", encoding="utf-8") as file:
        for row in changed:
            reviewer = cleaning.reviewers[row]
            change = Change(
                id=str(manifest.ids[row]),
                row=row,
                old=given[row],
                new=cleaning.labels[row] if keep[row] else None,
                probability=None if reviewer is not None else confidence[row] if keep[row] else p[row],
                who=TOOL if reviewer is None else reviewer or UNNAMED,
                why=reasons[row] or [],
                columns=columns,
                record=records.get(row),
                quotes_are_text=source.quotes_are_text,
            )
            cells = asdict(change)
            if not change.quotes_are_text:
                del cells["quotes_are_text"]
            file.write(json.dumps(cells) + "\n")
    return []


def read_patch(path: Path) -> list[Change]:
    """The lines of a patch. Raises ManifestError that names the line when one is none, when the file holds none, and
    when they come from manifests with different columns."""
    names = [field.name for field in fields(Change)]
    with reading(f"cannot read {path}", ManifestError, hint=HINT):
        lines = path.read_text("utf-8").split("\n")
    changes = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            with reading(f"{path}, line {number} is no line of a patch", ManifestError, hint=HINT):
                cells = json_object(line)
                json.dumps(cells, ensure_ascii=False).encode()  # half a character has no place in a file
                changes.append(Change(**{name: cells[name] for name in names if name in cells}))
    if not changes:
        raise ManifestError(f"{path} holds no change", hint=HINT)
    if any(change.columns != changes[0].columns for change in changes):
        raise ManifestError(f"{path} mixes lines of several manifests", hint="apply them one after the other")
    return changes


@dataclass(frozen=True)
class PatchOutcome:
    """How many rows a patch changes, and why it cannot change others, a sentence each."""

    dropped: int
    restored: int
    relabelled: int
    conflicts: tuple[str, ...]


def apply_patch(
    manifest: Manifest,
    changes: Sequence[Change],
    target: Path,
    *,
    reverse: bool = False,
    skip_conflicts: bool = False,
    max_drop: float | None = None,
) -> PatchOutcome:
    """Write `manifest` with the changes made; or taken back, dropped rows being where and as they were.

    A row is found by its place and id, else by its id. A change conflicts where the row is gone, where its label is not
    `old` (`new`, to take it back), and where a row to put back is there already or does not fit the columns.
    Where there is a conflict nothing is written, unless `skip_conflicts`. Raises ConfigError as `policy.excess` says.
    """
    rows = _Rows(manifest)
    conflicts: list[str] = []
    pieces: list[pa.Table | str] = []  # rows put back
    order = list(range(len(manifest)))  # rows of the manifest; from its length on, pieces
    labels: list[str | None] = [None] * len(manifest)
    replaced: dict[int, int | None] = {}  # row -> piece in its place, None: it goes
    decided: set[int] = set()  # rows that people drop
    restored = relabelled = 0

    def add(change: Change) -> int | None:
        piece = _piece(manifest, change.record)
        if piece is None:
            conflicts.append(f"{change.id!r}: the manifest has another format or other columns now")
            return None
        pieces.append(piece)
        return len(manifest) + len(pieces) - 1

    if reverse:
        for change in sorted((change for change in changes if change.drop), key=lambda change: change.row):
            if rows.holds(change):
                conflicts.append(f"{change.id!r}: the row is there already")
            elif (piece := add(change)) is not None:
                order.insert(min(change.row, len(order)), piece)
                restored += 1
    for change in (change for change in changes if not (reverse and change.drop)):
        row = rows.find(change, order)
        before, after = (change.new, change.old) if reverse else (change.old, change.new)
        if row is None:
            conflicts.append(f"{change.id!r}: the row is gone")
        elif (label := rows.label(row)) != before:
            conflicts.append(f"{change.id!r}: the label is {label!r}, not {before!r}")
        elif change.drop:
            replaced[row] = None
            decided |= set() if change.who == TOOL else {row}
        elif after is not None:
            labels[row] = after
            relabelled += 1
        elif (piece := add(change)) is not None:
            replaced[row] = piece
            relabelled += 1
    dropped = [row for row, piece in replaced.items() if piece is None]
    if not conflicts or skip_conflicts:
        _refuse_excess(manifest, dropped, decided, max_drop)
        _write(manifest, labels, pieces, [replaced.get(row, row) for row in order], target)
    return PatchOutcome(len(dropped), restored, relabelled, tuple(conflicts))


def _refuse_excess(manifest: Manifest, dropped: list[int], decided: set[int], max_drop: float | None) -> None:
    """A patch knows no splits: any row may change."""
    given = [manifest.classes[label] if label >= 0 else None for label in manifest.labels.tolist()]
    drop, by_people = np.zeros(len(given), dtype=bool), np.zeros(len(given), dtype=bool)
    drop[dropped] = by_people[list(decided)] = True
    error = excess(given, np.ones(len(given), dtype=bool), drop, by_people, max_drop)
    if error is not None:
        raise error


class _Rows:
    """Finds the row that a change is about, though rows may have been added, dropped or moved since."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._ids: list[str] = manifest.ids.tolist()
        self._index = {id: row for row, id in enumerate(self._ids)}
        source = manifest.source
        paths = None if manifest.paths is None else unsigned(manifest.paths.to_pylist())
        # What a row is called wherever it stands; None where ids are row numbers.
        self._names = self._ids if source.id_column else paths

    def find(self, change: Change, order: Sequence[int]) -> int | None:
        """The row at the place that it had, if it is called so, else the row with the id. None where there is none."""
        row = order[change.row] if change.row < len(order) else len(self._ids)
        if row < len(self._ids) and self._called(row, change):
            return row
        return None if self._names is None else self._index.get(change.id)

    def _called(self, row: int, change: Change) -> bool:
        if self._names is None:
            return True
        name = self._names[row] or str(change.row)
        return change.id == name or change.id.startswith(f"{name}#")  # a path that comes again has a number behind it

    def holds(self, change: Change) -> bool:
        """Whether the row that a change dropped is in the manifest."""
        row = self._index.get(change.id)
        if row is None:
            return False
        return bool(self._manifest.source.id_column) or _records(self._manifest, [row]) == [change.record]

    def label(self, row: int) -> str | None:
        label = self._manifest.labels[row]
        return self._manifest.classes[label] if label >= 0 else None


def _records(manifest: Manifest, rows: Sequence[int]) -> list[Record]:
    """Whole rows, in a form that `_piece` takes."""
    table, form = manifest.table.take(pa.array(rows, pa.int64())), kind(manifest)
    if form in (".jsonl", ".json"):
        return list(json_lines(table))
    return table.to_pylist() if form in (".csv", ".tsv") else [_encode(table.slice(row, 1)) for row in range(len(rows))]


def _encode(row: pa.Table) -> str:
    """A table of one row. Dictionaries are left out: they hold the classes of all rows."""
    plain = pa.schema([_plain(field) for field in row.schema])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, plain) as stream:
        stream.write_table(row.cast(plain).combine_chunks())
    return base64.b64encode(sink.getvalue()).decode()


def _plain(field: pa.Field) -> pa.Field:
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def _are_cells(values: Iterable[Any]) -> bool:
    """Text and numbers, as tables hold them."""
    return all(isinstance(value, str | int | float) for value in values)


def _piece(manifest: Manifest, record: Record | None) -> pa.Table | str | None:
    """A row to put back: a line, or a table of one row. None where it does not fit the manifest."""
    form, schema = kind(manifest), manifest.table.schema
    if form in (".csv", ".tsv"):
        if not isinstance(record, dict) or set(record) != set(schema.names) or not _are_cells(record.values()):
            return None
        return csv_line(manifest.source, [record[name] for name in schema.names])
    if not isinstance(record, str):
        return None
    with suppress(Exception):  # whatever it is, it is no row of this manifest
        if form in (".jsonl", ".json"):
            json_object(record)
            return record if record.endswith("}\n") and record.count("\n") == 1 else None
        row = pa.ipc.open_stream(base64.b64decode(record, validate=True)).read_all().cast(schema)
        row.validate(full=True)
        return row if len(row) == 1 else None
    return None


def _write(
    manifest: Manifest, labels: list[str | None], pieces: list[pa.Table | str], order: list[int | None], target: Path
) -> None:
    """Rows and pieces in this order, where None is no row."""
    stay = [row for row in order if row is not None]
    table, form, source = changed_table(manifest, labels), kind(manifest), manifest.source
    if form in BINARY:
        whole = pa.concat_tables([table, *pieces]).unify_dictionaries()
        write_table(source, whole.take(pa.array(stay)), target, form)
        return
    lines = [*text_lines(source, table, form), *pieces]
    write_lines(source, table.column_names, (lines[row] for row in stay), target, form)

"""Rows and columns of several annotators: who said what of which item.

Three layouts are known: a row per item and annotator; a column of labels per annotator; a column of objects that hold
a label per annotator, which exports have and which documents of other programs become. Rows are made one per item, and
nothing that they say is lost: where rows of an item differ, its cell holds what each annotator has there.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cleanlab_lite.arrays import kappa
from cleanlab_lite.errors import ManifestError
from cleanlab_lite.manifest.manifest import JSON_CELLS
from cleanlab_lite.manifest.readers.base import Rows, holds_json, is_text, plain, texts
from cleanlab_lite.manifest.roles import ANNOTATORS, OF_ANNOTATOR, called, spelled
from cleanlab_lite.text import counted, listing
from cleanlab_lite.votes import VOTES

NOBODY = "none"  # given as the column: rows are rows, whatever they look like
UNNAMED = "unnamed"  # an annotator whose cell is empty
AGREE = 0.1  # kappa from which columns are labels of the same items, not several labels of each
SHARED = 0.5  # of the classes of a column that others have too
MARKS = {"0", "1", "true", "false"}
SPAN = ("offset", "duration", "start", "end")  # parts of a file are items of their own
HINT = f"--annotator-column names a column of annotators, or with commas one of labels per annotator; {NOBODY} none"


@dataclass(frozen=True)
class Ballots:
    """m votes on the n items that the rows are."""

    annotators: tuple[str, ...]
    item: np.ndarray  # (m,) int64, ascending
    annotator: np.ndarray  # (m,) int64
    cells: pa.Array  # m cells of labels
    columns: tuple[str, ...]  # that hold the votes
    label: str  # the column of the label; its cells are to come from `cells` where `elected`
    elected: bool  # nobody has said what the label of an item is


def find_columns(rows: Rows, asked: str | None) -> tuple[str, ...]:
    """The columns that say who voted, or how: one of annotators or of objects, or several of labels. () for none.

    Raises ManifestError where `asked` names none.
    """
    names = rows.table.column_names
    if asked is not None and (asked not in names):
        wanted = [pattern.strip() for pattern in asked.split(",") if pattern.strip()]
        if wanted == [NOBODY]:
            return ()
        found = tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in wanted))
        missing = [pattern for pattern in wanted if not any(fnmatchcase(name, pattern) for name in names)]
        if missing or not found:
            raise ManifestError(
                f"{rows.path!r}: no column is called {listing(missing)}; columns found: {listing(names)}", hint=HINT
            )
        return found
    if asked is not None:
        return (asked,)
    for name in names:
        if name.rstrip("_0123456789") == VOTES and _objects(rows, name) is not None:
            return (name,)
    if rows.encoded is not None:  # a row per file
        return ()
    return _of_annotators(rows) or tuple(name for name in names if spelled(name) in ANNOTATORS)[:1]


def _of_annotators(rows: Rows) -> tuple[str, ...]:
    """Columns that are called alike, and look like labels of several annotators."""
    called_alike: defaultdict[tuple[str, bool], list[str]] = defaultdict(list)
    for name in rows.table.column_names:
        if match := OF_ANNOTATOR.fullmatch(spelled(name)):
            called_alike[match[1] or match[3], bool(match[3])].append(name)
    found: dict[tuple[str, ...], float] = {(): AGREE}
    for (_, anything), named in called_alike.items():
        cells = {name: labels for name in named if (labels := _label_cells(rows, name)) is not None}
        classes = {name: {cell for cell in labels if cell} for name, labels in cells.items()}
        if anything and {cell for each in classes.values() for cell in each} <= MARKS:
            continue  # a class each
        shared = Counter(cell for each in classes.values() for cell in each)
        alike = [name for name, each in classes.items() if sum(shared[c] > 1 for c in each) > SHARED * len(each)]
        if len(alike) > 1:
            found[tuple(alike)] = _agreement([cells[name] for name in alike])
    return max(found, key=found.__getitem__)


def _agreement(columns: Sequence[list[str]]) -> float:
    """Mean kappa of pairs of columns of n labels, "" where there is none."""
    codes = np.unique(np.array(columns, dtype=str), return_inverse=True)[1].reshape(len(columns), -1)
    there = np.array([[bool(cell) for cell in column] for column in columns])
    pairs = [(i, j) for i in range(len(columns)) for j in range(i) if (there[i] & there[j]).any()]
    found = [kappa(codes[i, both], codes[j, both]) for i, j in pairs for both in [there[i] & there[j]]]
    return float(np.mean(found)) if found else 0.0


def _label_cells(rows: Rows, name: str) -> list[str] | None:
    """n cells as text, "" where null; None of a column that holds no labels."""
    kind = plain(rows.table.slice(0, 0), name).type
    if holds_json(rows.table, name) or not (is_text(kind) or pa.types.is_integer(kind)):
        return None
    return [cell.strip() for cell in texts(rows, name)]


def _objects(rows: Rows, name: str) -> list[dict[str, Any]] | None:
    """n objects of annotator: label; None of a column that holds something else."""
    if not is_text(plain(rows.table.slice(0, 0), name).type):
        return None
    found: list[dict[str, Any]] = []
    for cell in plain(rows.table, name).to_pylist():
        if cell is None or cell.strip() in ("", "null"):
            found.append({})
            continue
        if not cell.lstrip().startswith("{"):
            return None
        try:
            value = json.loads(cell)
        except ValueError:
            return None
        if not isinstance(value, dict) or not all(isinstance(label, str | int | None) for label in value.values()):
            return None
        found.append(value)
    return found if any(found) else None


# --- a column per annotator, or of objects --------------------------------------------------------------------------


def ballots_of(rows: Rows, columns: Sequence[str], given: str | None) -> tuple[Rows, Ballots | None]:
    """The rows, with a column for the label where there is none, and the votes on them.

    `given` is the column that the user names for the label: where it is one of the annotators', there are no votes.
    """
    objects = _objects(rows, columns[0]) if len(columns) == 1 else None
    if given in columns or (len(columns) == 1 and objects is None):
        return rows, None
    if objects is not None:
        annotators = list(dict.fromkeys(name for each in objects for name in each))
        place = {name: number for number, name in enumerate(annotators)}
        votes = [(row, place[name], label) for row, each in enumerate(objects) for name, label in each.items()]
        who = [name.strip() or UNNAMED for name in annotators]
        cells = pa.array([None if label is None else str(label) for *_, label in votes], pa.string())
    else:
        who = _named(columns)
        table = [plain(rows.table, name) for name in columns]
        kinds = {column.type for column in table}
        table = table if len(kinds) == 1 else [column.cast(pa.string()) for column in table]
        n, a = len(rows.table), len(columns)
        votes = [(row, number, None) for row in range(n) for number in range(a)]
        cells = pa.concat_arrays([column.combine_chunks() for column in table])
        cells = cells.take(pa.array(np.arange(n * a).reshape(a, n).T.ravel()))
    item, annotator = (np.array([vote[side] for vote in votes], dtype=np.int64) for side in (0, 1))
    rest = [name for name in rows.table.column_names if name not in columns]
    label = given or rows.known.get("label") or next(iter([*called("label", rest)[0], *called("label", rest)[1]]), None)
    elected = label is None
    if label is None:
        label = _free("label", rows.table.column_names)
        rows = replace(rows, table=rows.table.append_column(label, pa.nulls(len(rows.table), cells.type)))
    return rows, Ballots(tuple(who), item, annotator, cells, tuple(columns), label, elected)


def _named(columns: Sequence[str]) -> list[str]:
    """Annotators by what their columns do not share with the others."""
    start = 0
    while len({name[: start + 1] for name in columns}) == 1 and all(len(name) > start + 1 for name in columns):
        start += 1
    while start and columns[0][start - 1].isalnum() and not columns[0][start - 1 : start + 1].isdigit():
        start -= 1  # not within a word
    short = [name[start:] for name in columns]
    return short if all(short) else list(columns)


def _free(name: str, taken: Sequence[str]) -> str:
    return next(each for each in (name, *(f"{name}_{i}" for i in range(2, len(taken) + 3))) if each not in taken)


# --- a row per item and annotator -----------------------------------------------------------------------------------


def as_items(
    rows: Rows, annotators: str, label: str, path: str | None, asked: Mapping[str, str | None], *, named: bool
) -> tuple[Rows, Ballots | None]:
    """A row per item, the first that it has, and the votes on it; the rows as they are where they are items already.

    Items are told apart by the id column that is asked for, else by the path and the part of the file, else by an id
    that repeats. Unless the column is `named`, an annotator who has two rows on an item shows that rows mean otherwise.
    """
    key = None if label == annotators else _keys(rows, path, asked.get("id"))
    if key is None:
        return rows, None
    who = [cell.strip() or UNNAMED for cell in texts(rows, annotators)]
    people = list(dict.fromkeys(who))
    place = {name: number for number, name in enumerate(people)}
    annotator = np.array([place[name] for name in who])
    _, first, item = np.unique(np.array(key), return_index=True, return_inverse=True)
    order = np.argsort(first)  # items in the order of the rows
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    item, first = rank[item], first[order]
    pairs = np.stack([item, annotator], axis=1)
    kept = len(pairs) - 1 - np.unique(pairs[::-1], axis=0, return_index=True)[1]  # the last of each pair
    again = len(pairs) - len(kept)
    if len(first) == len(item) or len(people) < 2 or (again and not named):
        return rows, None
    kept = kept[np.lexsort((kept, item[kept]))]
    cells = pa.concat_arrays(plain(rows.table, label).chunks).take(pa.array(kept))
    table, varied = _merged(rows, item, first, label, annotators, who)
    notes = [
        f"{counted(len(item), 'row')} as votes of {counted(len(people), 'annotator')} (column {annotators!r}) on "
        f"{counted(len(first), 'item')}"
    ]
    notes[0] += f"; --annotator-column {NOBODY} makes them rows"
    notes += [f"what differs within an item is held by annotator, also in exports: {listing(varied)}"] if varied else []
    notes += [f"{counted(again, 'second vote')} of the same annotator on the same item: the last counts"] * bool(again)
    merged = _rows_of(rows, table, first, tuple(notes))
    column = table.column_names[rows.table.column_names.index(annotators)]
    return merged, Ballots(tuple(people), item[kept], annotator[kept], cells, (column,), label, True)


def _keys(rows: Rows, path: str | None, named: str | None) -> list[str] | None:
    """What is the same in all rows of an item, and differs between items; None where nothing could be."""
    if named is None and path is None:
        usual, others = called("id", rows.table.column_names)
        named = next(iter([*usual, *others]), None)
    if named is None and path is None:
        return None
    spans = [] if named is not None else [n for n in rows.table.column_names if n.strip().lower() in SPAN]
    cells = rows.table[named or path or ""]
    if pa.types.is_nested(cells.type) or pc.count_distinct(cells, mode="all").as_py() == len(cells):
        return None
    columns = [texts(rows, named or path or "")]
    columns += [[str(cell) for cell in rows.table[name].to_pylist()] for name in spans]
    keys = ["\x1f".join(cells) for cells in zip(*columns, strict=True)]
    return [key if cell else f"\x1e{row}" for row, (key, cell) in enumerate(zip(keys, columns[0], strict=True))]


def _merged(
    rows: Rows, item: np.ndarray, first: np.ndarray, label: str, annotators: str, who: Sequence[str]
) -> tuple[pa.Table, list[str]]:
    """The first rows of the items; in place of the annotators, and where rows of an item differ, objects of what each
    annotator has there; and the names of the columns where they differ."""
    table, varied = rows.table.take(pa.array(first)), []

    def by_annotator(name: str) -> pa.Array:
        objects: list[dict[str, Any]] = [{} for _ in first]
        for number, person, cell in zip(item.tolist(), who, _cells(rows, name), strict=True):
            objects[number][person] = cell
        return pa.array([json.dumps(each, ensure_ascii=False, default=str) for each in objects], pa.string())

    for position, field in enumerate(rows.table.schema):
        if field.name == annotators:
            name = _free(VOTES, rows.table.column_names)
            table = table.set_column(position, _json(name), by_annotator(label))
        elif field.name != label and _differs(rows.table[field.name], item):
            varied.append(field.name)
            table = table.set_column(position, _json(field.name), by_annotator(field.name))
    return table, varied


def _json(name: str) -> pa.Field:
    return pa.field(name, pa.string(), metadata={JSON_CELLS: b"1"})


def _cells(rows: Rows, name: str) -> list[Any]:
    """n cells as Python values."""
    cells = rows.table[name].to_pylist()
    return [None if c is None else json.loads(c) for c in cells] if holds_json(rows.table, name) else cells


def _differs(column: pa.ChunkedArray, item: np.ndarray) -> bool:
    """Whether rows of an item hold different cells; lists are taken to be the same."""
    kind = column.type
    if pa.types.is_nested(kind) and not pa.types.is_dictionary(kind):
        return False
    codes = column.combine_chunks()
    codes = codes if pa.types.is_dictionary(kind) else codes.dictionary_encode()
    found = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return len(np.unique(np.stack([item, found]), axis=1).T) > len(np.unique(item))


def _rows_of(rows: Rows, table: pa.Table, first: np.ndarray, notes: tuple[str, ...]) -> Rows:
    """Some rows (index, ascending) in place of all, with another table."""

    def counted(parts: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
        ends = np.cumsum([0, *(count for _, count in parts)])
        return tuple((name, int(n)) for (name, _), n in zip(parts, np.diff(np.searchsorted(first, ends)), strict=True))

    quoted = rows.quoting != csv.QUOTE_NONE
    return replace(
        rows,
        table=table,
        lines=None if rows.lines is None else rows.lines[first],
        features=None if rows.features is None else rows.features[first],
        files={name: [paths[row] for row in first] for name, paths in rows.files.items()},
        folders=counted(rows.folders),
        file_splits=counted(rows.file_splits),
        quoting=rows.quoting if quoted else csv.QUOTE_MINIMAL,  # votes hold quotes
        notes=(*rows.notes, *notes),
    )

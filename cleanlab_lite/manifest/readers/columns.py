"""What the columns mean: which one holds the paths, labels, ids and splits, and what their cells say."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.manifest.readers.base import Rows, holds_json, is_text, plain, storable, texts
from cleanlab_lite.manifest.splits import called_splits, could_hold_splits, from_flags, held_back
from cleanlab_lite.text import listing

ROLES: dict[str, tuple[str, ...]] = {
    "path": (
        *("path", "file_name", "filename", "filepath", "file"),
        *("image", "image_path", "audio_filepath", "audio", "uri", "url"),
    ),
    "label": ("label", "labels", "class", "category", "target", "given_label", "y", "command"),
    "id": ("id", "sample_id", "uuid", "key"),
    "features": ("features", "feature", "embeddings", "embedding", "vectors", "vector"),
}
NEMO_PATH = "audio_filepath"
NEMO_LABELS = ("label", "command", "text")  # the first that is there
OFFSET, DURATION = SPAN = ("offset", "duration")  # seconds; a duration alone is that of the whole file
START_END = ("start", "end")

SHOWN = 5  # rows or names in one message
MISSING_WORDS = {"nan", "none", "null", "na", "n/a"}  # classes, but perhaps not meant to be
INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
DECIMAL = re.compile(r"[+-]?[0-9]{1,18}\.[0-9]*")


@dataclass(frozen=True)
class Columns:
    """Column names by role."""

    label: str
    path: str | None = None
    id: str | None = None
    split: str | None = None
    features: str | None = None
    notes: tuple[str, ...] = ()


def find_columns(rows: Rows, asked: Mapping[str, str | None], vectors: Sequence[str]) -> Columns:
    """Names for every role: as asked, else as the format fixes it, else by their names.

    `vectors` are the columns that hold lists of numbers. Raises ManifestError naming all that is absent or ambiguous.
    """
    names = rows.table.column_names
    check_columns(rows, asked)
    chosen: dict[str, str] = {role: name for role, name in asked.items() if name is not None}
    named = set(chosen)
    for role, name in rows.known.items():
        chosen.setdefault(role, name)
    problems: dict[str, str] = {}

    def alike(role: str, among: Sequence[str]) -> list[str]:
        free = (name for name in among if name not in chosen.values())
        return [name for name in free if name.strip().lower() in ROLES[role]]

    def detect(role: str, candidates: Sequence[str]) -> None:
        if len(candidates) == 1:
            chosen[role] = candidates[0]
        elif candidates:
            problems[role] = f"several columns could be the {role}: {listing(candidates)}"

    # A list column called embedding beats a path, unless the path was asked for; any other list column yields to it.
    if rows.features is None and "features" not in chosen and "path" not in named:
        detect("features", alike("features", vectors))
    embedded = rows.features is not None or "features" in chosen
    paths = alike("path", [name for name in names if name not in vectors])
    if "path" not in chosen and not (embedded and len(paths) > 1):
        detect("path", paths)
    if not embedded and not paths and not {"path", "features"} & {*chosen, *problems}:
        detect("features", vectors)
        embedded = "features" in chosen
    if "label" not in chosen:
        detect("label", _nemo_labels(names, chosen.get("path")) or alike("label", names))
    if "id" not in chosen:
        detect("id", alike("id", names))
    if "split" not in chosen:
        detect("split", _split_columns(rows, [name for name in names if name not in chosen.values()]))

    if not embedded and not {"path", "features"} & {*chosen, *problems}:
        problems["path"] = "no path column"
    if not {"label"} & {*chosen, *problems}:
        problems["label"] = "no label column"
    if problems:
        raise ManifestError(
            f"{rows.path!r}: {'; '.join(problems.values())}; columns found: {listing(names)}",
            hint=_how_to_name(rows, problems),
        )
    notes = [
        f"{role} column: {name} ({'named' if role in named else 'detected'})"
        for role, name in chosen.items()
        if role not in rows.known or role in named
    ]
    return Columns(**chosen, notes=tuple(notes))


def _how_to_name(rows: Rows, roles: Iterable[str]) -> str:
    hint = f"name them with {', '.join(f'--{role}-column' for role in roles)}"
    if rows.format in ("csv", "tsv"):
        return f"{hint}; the first line of a CSV must hold the column names"
    numbers = [field.name for field in rows.table.schema if pa.types.is_floating(field.type)]
    if rows.format == "table" and "path" in roles and len(numbers) > 1:
        return f"{hint}; vectors in columns of their own go in as (frame[columns].to_numpy(), frame[label])"
    return hint


def check_columns(rows: Rows, asked: Mapping[str, str | None]) -> None:
    """Raise ManifestError, with columns of similar names, where a column asked for is not there."""
    names = rows.table.column_names
    problems, near = [], []
    for role, name in asked.items():
        if name is not None and name not in names:
            problems.append(f"no column {name!r} for the {role}")
            lower = {other.strip().lower(): other for other in names}
            near += [lower[match] for match in difflib.get_close_matches(name.strip().lower(), lower, n=1)]
    if problems:
        raise ManifestError(
            f"{rows.path!r}: {'; '.join(problems)}; columns found: {listing(names)}",
            hint=f"did you mean {listing(near)}?" if near else "name one of the columns found",
        )


def _nemo_labels(names: Sequence[str], path: str | None) -> list[str]:
    return [name for name in NEMO_LABELS if name in names][:1] if path == NEMO_PATH else []


def _split_columns(rows: Rows, names: Sequence[str]) -> list[str]:
    """Columns that could be the split: those whose cells name test or validation rows, else those called so.

    Of columns that could be meant, the one that holds back whatever the others do is taken.
    """
    called = [name for name in names if called_splits(name)]
    others = [name for name in names if could_hold_splits(name)]
    held = _held_back_by(rows, called) or _held_back_by(rows, others)
    if not held:
        return called
    all_held = np.any(list(held.values()), axis=0)
    return [name for name, mask in held.items() if (mask == all_held).all()][:1] or list(held)


def _held_back_by(rows: Rows, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Column -> (n,) bool rows that it holds back, for columns that hold back some."""
    found = {}
    for name in names:
        with suppress(ManifestError):  # numbers or lists, no splits
            mask = held_back(_splits(rows, name))
            if mask.any() and not _means_intact(name, mask):
                found[name] = mask
    return found


def _means_intact(name: str, held: np.ndarray) -> bool:
    """Whether `is_valid` says of a row that it is whole, not that it is for validation: then it holds for most."""
    return name.strip().lower() == "is_valid" and bool(held.mean() > 0.5)


def make_ids(rows: Rows, columns: Columns) -> tuple[np.ndarray, list[str]]:
    """(n,) str, unique: the id column, else the paths as given, else row numbers from 0; and notes.

    A path that comes again gets the suffix `#2`, `#3`, ... Raises ManifestError when the id column has empty or
    repeated cells.
    """
    if columns.id is not None:
        ids = texts(rows, columns.id)
        _check_ids(rows, columns, ids)
        return np.array(ids, dtype=str), []
    if columns.path is None or rows.numbered:
        return np.arange(len(rows.table)).astype(str), ["ids: row numbers, from 0"]
    ids = [path or str(row) for row, path in enumerate(texts(rows, columns.path))]
    taken = set(ids)
    if len(taken) == len(ids):
        return np.array(ids, dtype=str), []
    seen: dict[str, int] = {}
    repeats = 0
    for row, path in enumerate(ids):
        seen[path] = seen.get(path, 0) + 1
        if seen[path] == 1:
            continue
        repeats += 1
        while (name := f"{path}#{seen[path]}") in taken:  # a file may be called so
            seen[path] += 1
        taken.add(name)
        ids[row] = name
    return np.array(ids, dtype=str), [f"rows that repeat a path: {repeats}; their ids end in #2, #3, ..."]


def _check_ids(rows: Rows, columns: Columns, ids: list[str]) -> None:
    places: defaultdict[str, list[int]] = defaultdict(list)
    if len(set(ids)) < len(ids) or not all(ids):
        for row, name in enumerate(ids):
            places[name].append(row)
    problems = []
    if empty := places.pop("", []):
        shown = ", ".join(rows.where(row) for row in empty[:SHOWN])
        problems.append(f"{len(empty)} empty ids ({shown})")
    if repeated := {name: at for name, at in places.items() if len(at) > 1}:
        shown = "; ".join(
            f"{name!r:.60} in {', '.join(rows.where(row) for row in at[:SHOWN])}"
            for name, at in list(repeated.items())[:SHOWN]
        )
        problems.append(f"{len(repeated)} ids more than once ({shown})")
    if problems:
        instead = f", or name another column, e.g. --id-column {columns.path!r}" if columns.path else ""
        raise ManifestError(
            f"{rows.path!r}: id column {columns.id!r} has {' and '.join(problems)}; expected one id for every row",
            hint=f"repair the ids{instead}",
        )


def make_segments(rows: Rows, uris: np.ndarray, nemo: bool) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(n, 2) float64 offset and duration of every row in seconds, and the columns they are from; None without any.

    Columns `offset` and `duration` name parts of files; an offset is 0 where the cell is empty, a duration reaches to
    the end. In NeMo manifests an offset is enough. `start` and `end` do so only where they give one file several
    parts: elsewhere they often say where in a longer recording a file was cut from. Cells that are no numbers are NaN.
    """
    names = {name.strip().lower(): name for name in rows.table.column_names}
    if OFFSET in names and (nemo or DURATION in names):
        columns = tuple(names[role] for role in SPAN if role in names)
        offset = _seconds(rows, names[OFFSET], 0.0)
        duration = _seconds(rows, names[DURATION], np.inf) if DURATION in names else np.full(len(offset), np.inf)
        return np.stack([offset, duration], axis=1), columns
    if all(name in names for name in START_END):
        columns = tuple(names[name] for name in START_END)
        start, end = _seconds(rows, columns[0], 0.0), _seconds(rows, columns[1], np.inf)
        known = ~np.isnan(start + end)
        files = uris[known].tolist()
        parts = set(zip(files, start[known].tolist(), end[known].tolist(), strict=True))
        if len(parts) > len(set(files)):
            return np.stack([start, np.round(end - start, 9)], axis=1), columns
    return None, ()


def _seconds(rows: Rows, name: str, empty: float) -> np.ndarray:
    """(n,) float64 numbers of a column, `empty` for empty cells, NaN for what is no finite number."""
    values = plain(rows.table, name).to_pylist()
    if holds_json(rows.table, name):
        values = [None if value is None else json.loads(value) for value in values]
    return np.array([_number(value, empty) for value in values])


def _number(value: Any, empty: float) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return empty
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) and not isinstance(value, bool) else math.nan


def make_splits(rows: Rows, columns: Columns) -> np.ndarray:
    """(n,) str, "" where there is none."""
    return np.full(len(rows.table), "", dtype=str) if columns.split is None else _splits(rows, columns.split)


def _splits(rows: Rows, name: str) -> np.ndarray:
    """(n,) str splits by the cells of a column, or by what the answers in a column like `is_test` mean."""
    column = plain(rows.table, name)
    if pa.types.is_boolean(column.type):
        cells = ["" if value is None else str(value) for value in column.to_pylist()]
    else:
        cells = texts(rows, name)
    return np.array(from_flags(name, cells) or cells, dtype=str)


def make_labels(rows: Rows, columns: Columns) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """(n,) int64 class of every row, -1 where the label is missing; the class names, sorted unless the rows know
    their order; and notes.

    Missing is an empty, blank or null cell, and NaN in a float column. Raises ManifestError when the cells are no
    classes: decimal fractions or lists.
    """
    codes, values = _distinct(rows, columns.label)
    names = [_class_name(rows, columns.label, value) for value in values]
    present = [name for name in names if name is not None]
    if any(map(DECIMAL.fullmatch, present)) and all(DECIMAL.fullmatch(n) or INTEGER.fullmatch(n) for n in present):
        names = [None if name is None else _integral(rows, columns.label, name) for name in names]
    if (known := rows.names.get(columns.label)) is not None:
        names = [None if name in (None, "-1") else _named(rows, columns.label, known, name) for name in names]
    classes = sorted({name for name in names if name is not None})
    if all(map(INTEGER.fullmatch, classes)):
        classes.sort(key=int)
    if order := rows.classes.get(columns.label):
        place = {name: position for position, name in enumerate(order)}
        classes.sort(key=place.__getitem__)
    index = {name: position for position, name in enumerate(classes)}
    lookup = np.array([-1 if name is None else index[name] for name in names] + [-1])  # code -1 is a null cell
    labels = lookup[codes].astype(np.int64)
    return labels, tuple(classes), _label_notes(labels, classes)


def _named(rows: Rows, column: str, known: Mapping[str, str], number: str) -> str:
    if number not in known:
        raise ManifestError(
            f"{rows.path!r}: label column {column!r} holds {number!r:.60}, but its classes are "
            f"{listing(list(known), 8)} ({listing(list(known.values()), 8)})",
            hint="was the file written by another program? Name another column with --label-column",
        )
    return known[number]


def _distinct(rows: Rows, name: str) -> tuple[np.ndarray, list[Any]]:
    """(n,) index into the distinct cells, -1 for null; and the distinct cells as Python values."""
    column = plain(rows.table, name)
    dtype = column.type
    if pa.types.is_float16(dtype):
        column = column.cast(pa.float32())
    elif pa.types.is_null(dtype):
        return np.full(len(column), -1), []
    elif not (is_text(dtype) or pa.types.is_primitive(dtype)) or pa.types.is_temporal(dtype):
        raise ManifestError(
            f"{rows.path!r}: label column {name!r} has type {dtype}, expected strings, integers or booleans",
            hint="one label per row; name another column with --label-column",
        )
    encoded = pa.concat_arrays(column.chunks).dictionary_encode()
    values = encoded.dictionary.to_pylist()
    if holds_json(rows.table, name):
        values = [json.loads(value) for value in values]
    return encoded.indices.fill_null(-1).to_numpy(), values


def _class_name(rows: Rows, column: str, value: Any) -> str | None:
    """Text of a label cell, None where it is missing."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else _integral(rows, column, repr(value))
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str) and storable(value):
        return value if value.strip() else None
    raise ManifestError(
        f"{rows.path!r}: label column {column!r} holds {value!r:.60}, expected strings, integers or booleans",
        hint="one label per row; name another column with --label-column",
    )


def _integral(rows: Rows, column: str, name: str) -> str:
    """The integer that a decimal number stands for."""
    whole, _, fraction = name.partition(".")
    if fraction.strip("0") or not INTEGER.fullmatch(whole):
        raise ManifestError(
            f"{rows.path!r}: label column {column!r} holds numbers like {name}, expected classes",
            hint="this looks like regression; name another column with --label-column",
        )
    return str(int(whole))


def check_classes(rows: Rows, column: str, labels: np.ndarray, classes: Sequence[str]) -> None:
    """Raise ManifestError where there is one class only, or a class of its own for more than half of the rows."""
    if len(classes) < 2:
        found = f"one class only, {classes[0]!r:.60}" if classes else "no label in any row"
        raise ManifestError(
            f"{rows.path!r}: label column {column!r} has {found}; expected at least two classes",
            hint="name another column with --label-column",
        )
    labelled = labels[labels >= 0]
    alone = int((np.bincount(labelled) == 1).sum())
    if len(labelled) > 10 and alone > len(labelled) / 2:
        raise ManifestError(
            f"{rows.path!r}: label column {column!r} has {len(classes)} classes for {len(labelled)} labelled rows, "
            f"{alone} of them with one row",
            hint="is this the label? Name the right column with --label-column",
        )


def _label_notes(labels: np.ndarray, classes: list[str]) -> list[str]:
    notes = []
    if unlabelled := int((labels < 0).sum()):
        notes.append(f"rows without a label: {unlabelled}")
    similar: defaultdict[str, list[str]] = defaultdict(list)
    for name in classes:
        similar[name.strip().casefold()].append(name)
    for group in similar.values():
        if len(group) > 1:
            notes.append(f"classes {listing(group)} differ only by case or surrounding blanks")
    if words := [name for name in classes if name.strip().lower() in MISSING_WORDS]:
        notes.append(f"{listing(words)} counts as a class, not as a missing label")
    return notes

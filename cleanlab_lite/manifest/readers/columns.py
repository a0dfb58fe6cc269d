"""What the columns mean: which one holds the paths, labels, ids and splits, and what their cells say."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cleanlab_lite import addresses
from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import is_remote
from cleanlab_lite.manifest.annotated import OF_BOXES
from cleanlab_lite.manifest.labels import DROP, FIRST, WHOLE, find_form, labels_of, lists_labels, look_alike
from cleanlab_lite.manifest.readers.base import Rows, ending, holds_json, is_text, locate, plain, storable, texts
from cleanlab_lite.manifest.roles import ANNOTATORS, called, is_geometry, spelled
from cleanlab_lite.manifest.splits import (
    TRAIN_WORDS,
    called_splits,
    could_hold_splits,
    from_flags,
    held_back,
    in_paths,
    split_word,
)
from cleanlab_lite.text import counted, listing, short_names

NEMO_PATH = "audio_filepath"
NEMO_LABELS = ("label", "command", "text")  # the first that is there
OFFSET, DURATION = SPAN = ("offset", "duration")  # seconds; a duration alone is that of the whole file
# Where parts of sounds begin and end, as `spelled`; `offset` is an end beside an `onset` only
START_END = (
    *(("start", "end"), ("onset", "offset"), ("starttime", "endtime"), ("begintime", "endtime"), ("begin", "end")),
    *(
        ("startseconds", "endseconds"),
        ("startsec", "endsec"),
        ("tstart", "tend"),
        ("tmin", "tmax"),
        ("mint", "maxt"),
        ("starts", "ends"),
    ),
)
BOXES = (
    {"xmin", "ymin", "xmax", "ymax"},
    {"x1", "y1", "x2", "y2"},
    {"x", "y", "w", "h"},
    {"x", "y", "width", "height"},
)
ROUNDED = 0.1  # seconds that an end may lie behind that of the file

SHOWN = 5  # rows or names in one message
CLASSES_SHOWN = 12
WIDEST = 40  # columns of a class name among them
SPLITS = 12  # at most, in a column that is not called so
LOOKED_AT = 20  # rows whose paths are looked at to tell columns apart
MEDIA_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
MEDIA_ENDINGS |= {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"}
YES, NO = ("1", "1.0", "true", "yes", "x"), ("0", "0.0", "false", "no", "-1", "-1.0", "")  # in one-hot columns
MISSING_WORDS = {"nan", "none", "null", "na", "n/a"}  # classes, but perhaps not meant to be
LONGEST_PATH = 255  # characters without a slash or an ending
MERGED = "labels look like merged cells of a spreadsheet, each in the first row of its group only: fill them down"
BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
DECIMAL = re.compile(r"[+-]?[0-9]{1,18}\.[0-9]*")


@dataclass(frozen=True)
class Columns:
    """Column names by role."""

    label: str  # of one-hot columns: their names, joined
    path: str | None = None
    id: str | None = None
    split: str | None = None
    features: str | None = None
    labels: tuple[str, ...] = ()  # all columns that say the label, where they are several
    one_hot: bool = False  # they are a class each, else they say the same
    notes: tuple[str, ...] = ()


def find_columns(
    rows: Rows, asked: Mapping[str, str | None], vectors: Sequence[str], several: str | None = None
) -> Columns:
    """Names for every role: as asked, else as the format fixes it, else by their names and cells.

    `vectors` are the columns that hold lists of numbers; `several` says what rows with several labels are. Raises
    ManifestError naming all that is absent or ambiguous.
    """
    check_columns(rows, asked)
    roles = _Roles(rows, asked)
    _detect_inputs(roles, [name for name in vectors if not is_geometry(name)])
    alike, one_hot = _detect_label(roles, several)
    if not roles.embedded and not roles.settled("path", "features"):
        roles.detect("path", _with_media(rows, roles.free("id")))
    kept = _detect_id(roles)
    if "split" not in roles.chosen:
        roles.detect("split", _split_columns(rows, roles.free()))
    roles.check()
    notes = (
        *_taken(roles, alike, one_hot),
        *_of_several_genera(rows, roles.chosen["label"]),
        *_could_be(roles, alike),
        *kept,
    )
    return Columns(**roles.chosen, labels=alike, one_hot=one_hot, notes=notes)


class _Roles:
    """The columns that have a role so far, and what is unclear."""

    def __init__(self, rows: Rows, asked: Mapping[str, str | None]) -> None:
        self.rows = rows
        self.chosen: dict[str, str] = {role: name for role, name in asked.items() if name is not None}
        self.named = set(self.chosen)  # roles
        self.problems: dict[str, str] = {}  # by role
        for role, name in rows.known.items():
            self.chosen.setdefault(role, name)

    @property
    def embedded(self) -> bool:
        """Whether vectors are looked at, whatever files there are."""
        return self.rows.features is not None or "features" in self.chosen

    def settled(self, *roles: str) -> bool:
        """Whether one of the roles has a column, or several that it could be."""
        return not {*roles}.isdisjoint((*self.chosen, *self.problems))

    def free(self, *roles: str) -> list[str]:
        """Columns that no other role has; `roles` may share theirs."""
        taken = {name for role, name in self.chosen.items() if role not in roles}
        return [name for name in self.rows.table.column_names if name not in taken]

    def detect(self, role: str, candidates: Sequence[str]) -> None:
        """The only candidate has the role; where there are several, that is a problem."""
        if len(candidates) == 1:
            self.chosen[role] = candidates[0]
        elif candidates:
            self.problems[role] = f"several columns could be the {role}: {listing(candidates)}"

    def check(self) -> None:
        """Raise ManifestError naming all that is absent or ambiguous."""
        if not self.embedded and not self.settled("path", "features"):
            self.problems["path"] = "no path column"
        if not self.settled("label"):
            self.problems["label"] = "no label column"
        if self.problems:
            found = listing(self.rows.table.column_names)
            raise ManifestError(
                f"{self.rows.path!r}: {'; '.join(self.problems.values())}; columns found: {found}",
                hint=_how_to_name(self.rows, self.problems),
            )


def _detect_inputs(roles: _Roles, vectors: Sequence[str]) -> None:
    """A list column called embedding beats a path, unless one was asked for; any other list column yields to it."""
    rows = roles.rows
    if not roles.embedded and "path" not in roles.named:
        roles.detect("features", [name for name in called("features", vectors)[0] if name not in roles.chosen.values()])
    paths, others = called("path", [name for name in roles.free("id") if name not in vectors])
    paths = _narrowed(rows, paths) or _narrowed(rows, others)
    if "path" not in roles.chosen and not (roles.embedded and len(paths) > 1):
        roles.detect("path", paths)
    if not roles.embedded and not paths and not roles.settled("path", "features"):
        roles.detect("features", vectors)


def _detect_label(roles: _Roles, several: str | None) -> tuple[tuple[str, ...], bool]:
    """All columns that say the label, where they are several; and whether they are a class each."""
    if "label" in roles.chosen:
        return (), False
    found, alike = _label_columns(roles.rows, roles.free(), roles.chosen.get("path"))
    roles.detect("label", found)
    if not found and (columns := _one_hot(roles.rows, roles.free(), several)):
        roles.chosen["label"] = ", ".join(columns)
        return columns, True
    return alike, False


def _detect_id(roles: _Roles) -> list[str]:
    """Notes on columns that are no ids."""
    chosen = roles.chosen
    if "id" not in chosen:
        ids, notes = _id_columns(roles.rows, roles.free())
        roles.detect("id", ids[:1])
        return notes
    if chosen["id"] == chosen.get("path") and "id" in roles.named:
        del chosen["id"]  # paths are the ids anyway, and may repeat
    return []


def _taken(roles: _Roles, alike: tuple[str, ...], one_hot: bool) -> list[str]:
    """Which column has which role, a sentence each."""
    taken = [
        f"{role} column: {name} ({'named' if role in roles.named else 'detected'})"
        for role, name in roles.chosen.items()
        if (role not in roles.rows.known or role in roles.named) and not (role == "label" and one_hot)
    ]
    if one_hot:
        taken.append(f"label columns: a class each, 1 in one of them per row ({listing(alike, CLASSES_SHOWN)})")
    elif alike:
        rest = listing([name for name in alike if name != roles.chosen["label"]])
        taken.append(f"the same labels in other words, changed with them on export: {rest}")
    return taken


def _of_several_genera(rows: Rows, label: str) -> list[str]:
    """A note where a column of species holds second words only, and some come again in other genera."""
    genus = next((name for name in rows.table.column_names if spelled(name) == "genus"), None)
    if genus is None or spelled(label) != "species":
        return []
    words, genera = _codes(rows, label), _codes(rows, genus)
    if words is None or genera is None:
        return []
    pairs = np.unique(np.stack([words, genera]), axis=1)
    several = int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())
    return [f"{several:,} cells of {label!r} stand beside several of {genus!r}: each is one class"] if several else []


def _could_be(roles: _Roles, alike: tuple[str, ...]) -> list[str]:
    """Columns that could have been meant where another one was taken without being named."""
    rows, taken = roles.rows, {*roles.chosen.values(), *alike}
    names = [name for name in rows.table.column_names if name not in taken]
    found = {role: [*usual, *others] for role in ("path", "label", "id") for usual, others in [called(role, names)]}
    found["label"] = [name for name in found["label"] if not _is_coordinate(rows, name)]
    found["split"] = [name for name in names if called_splits(name) or could_hold_splits(name)]
    if roles.embedded:
        del found["path"]
    return [
        f"could have been meant as the {role}: {listing(columns, SHOWN)}; name it with --{role}-column"
        for role, columns in found.items()
        if columns and role not in {*roles.named, *rows.known} and role in {*roles.chosen, "split"}
    ]


# --- paths ----------------------------------------------------------------------------------------------------------


def _narrowed(rows: Rows, names: list[str]) -> list[str]:
    """Of several columns of paths the one whose files are there, or the one that is not of URLs."""
    if len(names) < 2:
        return names
    cells = {name: _first_cells(rows, name) for name in names}
    folder = rows.folders[0][0]
    there = [
        name
        for name in names
        if any(
            not is_remote(place) and os.path.isfile(place) for place in (locate(cell, folder) for cell in cells[name])
        )
    ]
    local = [name for name in names if cells[name] and not any(map(is_remote, cells[name]))]
    return there if len(there) == 1 else local if len(local) == 1 else names


def _with_media(rows: Rows, names: Sequence[str]) -> list[str]:
    """Columns whose cells are names of pictures or sounds; where their own name is one, the file has no header."""
    return [
        name
        for name in names
        if ending(name) not in MEDIA_ENDINGS
        and is_text(plain(rows.table.slice(0, 0), name).type)
        and (cells := _first_cells(rows, name))
        and all(ending(cell) in MEDIA_ENDINGS for cell in cells)
    ]


def _first_cells(rows: Rows, name: str) -> list[str]:
    """Cells of the first rows that have one; none of a column that cannot hold paths."""
    few = replace(rows, table=rows.table.slice(0, min(LOOKED_AT, rows.folders[0][1])))
    try:
        return [cell for cell in texts(few, name) if cell]
    except ManifestError:
        return []


def refuse_contents(rows: Rows, name: str) -> None:
    """Raise ManifestError where the cells of paths are the files themselves, as text (base64)."""
    first = next(iter(_first_cells(rows, name)), "")
    if first.startswith("data:") or (len(first) > LONGEST_PATH and BASE64.fullmatch(first)):
        raise ManifestError(
            f"{rows.path!r}: path column {name!r} holds pictures or sounds as text (base64), {first!r:.40}, no paths",
            hint="write each to a file with base64.b64decode, and its path into the table",
        )


def in_one_folder(rows: Rows, name: str) -> Rows:
    """Rows of files in several folders with paths that start from one folder, so that they stay apart in one table."""
    places = [folder for folder, _ in rows.folders]
    if len(set(places)) < 2 or any(map(is_remote, places)) or not is_text(plain(rows.table, name).type):
        return rows
    if holds_json(rows.table, name):
        return rows
    root = os.path.commonpath(places)
    cells = rows.table[name].to_pylist()
    starts = (os.path.relpath(folder, root).replace(os.sep, "/") for folder, n in rows.folders for _ in range(n))
    longer = [
        f"{start}/{cell}" if cell and start != "." and not is_remote(cell) and not os.path.isabs(cell) else cell
        for cell, start in zip(cells, starts, strict=True)
    ]
    position = rows.table.schema.get_field_index(name)
    field = rows.table.schema.field(name)
    table = rows.table.set_column(position, field, pa.array(longer, pa.string()).cast(field.type))
    note = f"paths are from several folders, and start from {root!r} in reports and exports"
    return replace(rows, table=table, folders=((root, len(table)),), notes=(*rows.notes, note))


# --- labels ---------------------------------------------------------------------------------------------------------


def _label_columns(rows: Rows, names: Sequence[str], path: str | None) -> tuple[list[str], tuple[str, ...]]:
    """Columns that could be the label; and all that say the same labels, where these are names and their numbers."""
    if nemo := _nemo_labels(names, path):
        return nemo, ()
    usual, others = called("label", [name for name in names if not _is_coordinate(rows, name)])
    found = usual or others
    codes = {name: code for name in (*usual, *others) if (code := _codes(rows, name)) is not None}
    varied = [name for name in found if name in codes and codes[name].max(initial=-1) > 0]
    if len(found) > 1 and varied:
        found = varied
    if not found or found[0] not in codes or len(codes) < 2:
        return found, ()
    alike = [name for name in codes if name == found[0] or _same_rows(codes[name], codes[found[0]])]
    if not set(found) <= set(alike):
        return found, ()
    words = [name for name in alike if not _is_numeric(rows, name)]
    if sum(name in words for name in found) > 1:
        return found, ()
    first = next((name for name in words if name in found), words[0] if words else found[0])
    same = [name for name in alike if name != first and (name in found or name not in words)]
    return [first], (first, *same) if same else ()


def _codes(rows: Rows, name: str) -> np.ndarray | None:
    """(n,) which distinct cell each row has, -1 where it is null; None of a column that holds no labels."""
    with suppress(ManifestError):
        return _distinct(rows, name)[0]
    return None


def _same_rows(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two columns divide the rows in the same way."""
    pairs = len(np.unique(np.stack([a, b]), axis=1).T)
    return pairs == len(np.unique(a)) == len(np.unique(b)) > 1


def _is_numeric(rows: Rows, name: str) -> bool:
    """Whether all cells are numbers, also as text."""
    values = [value for value in _distinct(rows, name)[1] if value is not None and str(value).strip()]
    return bool(values) and not any(math.isnan(_number(value, math.nan)) for value in values)


def _is_coordinate(rows: Rows, name: str) -> bool:
    """Whether a column `y` goes with a column `x` of numbers."""
    if spelled(name) != "y":
        return False
    other = next((other for other in rows.table.column_names if spelled(other) == "x"), None)
    return other is not None and _codes(rows, other) is not None and _is_numeric(rows, other)


def _one_hot(rows: Rows, names: Sequence[str], several: str | None) -> tuple[str, ...]:
    """Columns side by side that hold 0 and 1, with a single 1 in every row: a class each. () where there are none.

    Raises ManifestError where rows have several, unless `several` says what that means.
    """
    runs: list[list[str]] = [[]]
    for name in rows.table.column_names:
        if name in names and not could_hold_splits(name) and _is_binary(rows, name):
            runs[-1].append(name)
        elif runs[-1] and not _is_empty(rows, name):
            runs.append([])
    runs += [[name for name in run if not name.casefold().startswith(("is", "has"))] for run in runs]
    runs = [run for run in runs if len(run) > 1]
    marks = {tuple(run): np.stack([_ones(rows, name) for name in run]) for run in runs}
    exact = [run for run, mark in marks.items() if (mark.sum(axis=0) == 1).all()]
    if exact:
        return max(exact, key=len)
    crowded = [(run, np.flatnonzero(mark.sum(axis=0) > 1)) for run, mark in marks.items() if len(run) > 2]
    if not crowded:
        return ()
    run, places = max(crowded, key=lambda found: len(found[0]))
    if several in (FIRST, DROP):
        return run
    if not len(places):  # not every row has a 1, and none has two
        return run if (marks[run].sum(axis=0) == 1).mean() > 0.5 else ()
    raise _several(
        rows,
        f"columns {listing(run, SHOWN)} hold a 1 for each label, and several in {counted(len(places), 'row')}",
        places[0],
    )


def _is_empty(rows: Rows, name: str) -> bool:
    return is_text(rows.table.schema.field(name).type) and not any(
        value and str(value).strip() for value in _distinct_or_none(rows, name)
    )


def _is_binary(rows: Rows, name: str) -> bool:
    values = {str(value).strip().casefold() for value in _distinct_or_none(rows, name)}
    return bool(values - {""}) and values <= {*YES, *NO}


def _distinct_or_none(rows: Rows, name: str) -> list[Any]:
    with suppress(ManifestError):
        return _distinct(rows, name)[1]
    return []


def _ones(rows: Rows, name: str) -> np.ndarray:
    """(n,) bool: rows with a 1."""
    codes, values = _distinct(rows, name)
    yes = np.array([str(value).strip().casefold() in YES for value in values] + [False])
    return yes[codes]


def _several(rows: Rows, found: str, row: int) -> ManifestError:
    return ManifestError(
        f"{rows.path!r}, {rows.where(row)}: {found}; an audit judges one label per row",
        hint="--multi-label first takes the first of them, drop leaves out the labels of rows with several"
        " (whole makes a class of every combination); or name another column with --label-column",
    )


# --- splits and ids -------------------------------------------------------------------------------------------------


def _how_to_name(rows: Rows, roles: Collection[str]) -> str:
    options = [f"--{role}-column" for role in roles]
    hint = f"name {'it' if len(options) == 1 else 'them'} with {', '.join(options)}"
    if "path" in roles:
        hint += "; --features none, where rows have neither files nor vectors and --pred-probs judges them"
    if "label" in roles and (likely := _likely_labels(rows)):
        shown = ", ".join(f"{name!r} ({count:,})" for name, count in list(likely.items())[:SHOWN])
        command = f"nlclean audit {shlex.quote(rows.path)} " if len(roles) == 1 and os.path.exists(rows.path) else ""
        option = f"{command}--label-column {shlex.quote(next(iter(likely)))}"
        hint += f"; few values that repeat are in {shown}, such as {option}"
        if pattern := _called_alike(rows, list(likely)):
            hint += f"; where each is what one annotator said: --annotator-column {shlex.quote(pattern)}"
    if rows.format in ("csv", "tsv"):
        if header := _header_above(rows):
            return f"the first line is a row: put {header!r} above it"
        return f"{hint}; the first line of a CSV must hold the column names"
    return hint


def _header_above(rows: Rows) -> str:
    """What could stand above a first line that names a file, as a header does not; "" where it names none."""
    names = rows.table.column_names
    roles = ["path" if ending(name) in MEDIA_ENDINGS else "split" if split_word(name) else "" for name in names]
    if "path" not in roles:
        return ""
    likely = [place for place, name in enumerate(names) if not roles[place] and name in _likely_labels(rows)]
    for place in likely[:1]:
        roles[place] = "label"
    return rows.delimiter.join(role or f"column_{place + 1}" for place, role in enumerate(roles))


def _likely_labels(rows: Rows) -> dict[str, int]:
    """Columns with few values, which repeat, and their number: of text, then of whole numbers, unless many columns hold
    these; those called like ids and annotators last, and none where there are no others."""
    words: dict[str, int] = {}
    codes: dict[str, int] = {}
    for name in rows.table.column_names:
        values = [str(value) for value in _distinct_or_none(rows, name) if value is not None and str(value).strip()]
        if not 1 < len(values) <= len(rows.table) / 2 or called_splits(name) or could_hold_splits(name):
            continue
        if all(any(map(str.isalpha, value)) and ending(value) not in MEDIA_ENDINGS for value in values):
            words[name] = len(values)
        elif all(map(INTEGER.fullmatch, values)):
            codes[name] = len(values)
    found = words | (codes if len(codes) <= SHOWN - 2 else {})
    others = {name for name in found if _says_who_or_where(name)}
    return dict(sorted(found.items(), key=lambda item: item[0] in others)) if len(others) < len(found) else {}


def _called_alike(rows: Rows, names: Sequence[str]) -> str:
    """`label_*` where columns `label_ann` and `label_bob` hold mostly the same values; else ""."""
    start = names[0][: names[0].rfind("_") + 1]
    alike = [set(_distinct_or_none(rows, name)) for name in names if start and name.startswith(start)]
    common = set.intersection(*alike) if len(alike) > 1 else set()
    return f"{start}*" if 2 * len(common) > len(set().union(*alike)) else ""


def _says_who_or_where(name: str) -> bool:
    """Whether a column is called like annotators, or like ids of something, if not of labels (`breed_id`)."""
    word = spelled(name)
    of = word.removesuffix("id")
    return word in ANNOTATORS or (of not in ("", word) and not any(called("label", [of])))


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

    Of columns that could be meant, the one that holds back whatever the others do is taken; where none holds back
    anything, the first.
    """
    called_so = [name for name in names if called_splits(name)]
    others = [name for name in names if could_hold_splits(name)]
    held = _held_back_by(rows, called_so) or _held_back_by(rows, others)
    if not held and not called_so:
        held = _held_back_by(rows, [name for name in names if name not in others and _speaks_of_splits(rows, name)])
    if not held:
        return called_so[:1]
    all_held = np.any(list(held.values()), axis=0)
    return [name for name, mask in held.items() if (mask == all_held).all()][:1] or list(held)


def _speaks_of_splits(rows: Rows, name: str) -> bool:
    """Whether all cells of a column, whatever it is called, name splits: for training, and others."""
    if not is_text(plain(rows.table.slice(0, 0), name).type) or not all(map(split_word, _first_cells(rows, name))):
        return False
    values = [str(value) for value in _distinct_or_none(rows, name) if value is not None]
    words = {split_word(value) for value in values[: SPLITS + 1]}
    return len(values) <= SPLITS and "" not in words and bool(words & {*TRAIN_WORDS}) and len(words) > 1


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


def _id_columns(rows: Rows, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Columns that are called ids and are, one for every row; and a note on each that is not."""
    found, notes = [], []
    usual, others = called("id", names)
    for name in (*usual, *others):
        try:
            cells = texts(rows, name)
        except ManifestError:
            continue
        if (distinct := len(set(cells))) == len(cells) and "" not in cells:
            found.append(name)
        elif name in usual:
            why = f"it has {distinct:,} values in {len(cells):,} rows" if all(cells) else "it has empty cells"
            notes.append(f"column {name!r} is no id of the rows: {why}")
    return found, notes


def make_ids(rows: Rows, columns: Columns) -> tuple[np.ndarray, list[str]]:
    """(n,) str, unique: the id column, else the paths, else row numbers from 0; and notes.

    Signatures of addresses are left out: they open the files, and every table shows ids. A path that comes again gets
    the suffix `#2`, `#3`, ... Raises ManifestError when the id column has empty or repeated cells.
    """
    if columns.id is not None:
        ids = texts(rows, columns.id)
        _check_ids(rows, columns, ids)
        return np.array(ids, dtype=str), []
    if columns.path is None or rows.numbered:
        return np.arange(len(rows.table)).astype(str), ["ids: row numbers, from 0"]
    paths = texts(rows, columns.path)
    ids = [path or str(row) for row, path in enumerate(addresses.unsigned(paths))]
    notes = []
    if any(addresses.shown(path) != path for path in ids):
        notes.append("ids: the addresses with their signatures, without which some are the same; name an id column")
    taken = set(ids)
    if len(taken) == len(ids):
        return np.array(ids, dtype=str), notes
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
    return np.array(ids, dtype=str), [*notes, f"rows that repeat a path: {repeats}; their ids end in #2, #3, ..."]


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


def make_segments(rows: Rows, uris: np.ndarray, nemo: bool) -> tuple[np.ndarray | None, tuple[str, ...], list[str]]:
    """(n, 2) float64 offset and duration of every row in seconds, and the columns they are from; None without any.

    Columns `offset` and `duration` name parts of files; an offset is 0 where the cell is empty, a duration reaches to
    the end. In NeMo manifests an offset is enough. `start` and `end` do so only where they give one file several
    parts, and lie within the files: elsewhere they often say where in a longer recording a file was cut from. Cells
    that are no numbers are NaN. Notes say why columns were not taken.
    """
    names = {name.strip().lower(): name for name in rows.table.column_names}
    if OFFSET in names and "onset" not in names and (nemo or DURATION in names):
        columns = tuple(names[role] for role in SPAN if role in names)
        offset = _seconds(rows, names[OFFSET], 0.0)
        duration = _seconds(rows, names[DURATION], np.inf) if DURATION in names else np.full(len(offset), np.inf)
        return np.stack([offset, duration], axis=1), columns, []
    called_so = {spelled(name): name for name in rows.table.column_names}
    pair = next((pair for pair in START_END if all(name in called_so for name in pair)), None)
    if pair is not None:
        columns = (called_so[pair[0]], called_so[pair[1]])
        start, end = _seconds(rows, columns[0], 0.0), _seconds(rows, columns[1], np.inf)
        known = ~np.isnan(start + end)
        files = uris[known].tolist()
        parts = set(zip(files, start[known].tolist(), end[known].tolist(), strict=True))
        if len(parts) > len(set(files)):
            outside, measured = _beyond(uris, np.where(known, np.where(np.isfinite(end), end, start), 0.0))
            if 2 * outside > measured:
                found = f"{outside} of {measured} files are shorter"
                return None, (), [f"{' and '.join(columns)} do not fit the files ({found}): rows are whole files"]
            return np.stack([start, np.round(end - start, 9)], axis=1), columns, []
    return None, (), []


def _beyond(uris: np.ndarray, ends: np.ndarray) -> tuple[int, int]:
    """Of some local files, how many end before what their rows say, and how many could be measured."""
    import soundfile  # loads the decoder, which few manifests need here

    outside = measured = 0
    for uri in dict.fromkeys(uris.tolist()):
        if measured == LOOKED_AT:
            break
        if not uri or is_remote(uri) or not os.path.isfile(uri):
            continue
        with suppress(RuntimeError, OSError, ValueError):  # no sound: decoding says so later
            seconds = soundfile.info(uri).duration
            measured += 1
            outside += bool(ends[uris == uri].max() > seconds + ROUNDED)
    return outside, measured


def _seconds(rows: Rows, name: str, empty: float) -> np.ndarray:
    """(n,) float64 numbers of a column, `empty` for empty cells, NaN for what is no finite number."""
    values = plain(rows.table, name).to_pylist()
    if holds_json(rows.table, name):
        values = [None if value is None else json.loads(value) for value in values]
    return np.array([_number(value, empty) for value in values])


def is_fraction(cell: str) -> bool:
    """Whether a cell is a number with decimals."""
    return not cell.strip().isdigit() and "." in cell and not math.isnan(_number(cell, math.nan))


def _number(value: Any, empty: float) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return empty
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) and not isinstance(value, bool) else math.nan


def make_splits(rows: Rows, columns: Columns) -> tuple[np.ndarray, list[str]]:
    """(n,) str, "" where there is none: by the column, else by the folders in the paths; and notes."""
    if columns.split is not None:
        splits = _splits(rows, columns.split)
        if not splits.any() or any(map(split_word, np.unique(splits).tolist())):
            return splits, []
        note = "none of these is known as a split for tests or validation: no row is protected"
        return splits, [f"{note}; write 'test' or 'val' into the rows of {columns.split!r} that are to be"]
    if columns.path is not None and columns.path not in rows.files and rows.format != "folder":
        splits = in_paths([cell.partition("::")[0] for cell in texts(rows, columns.path)])
        if splits.any():
            return splits, ["splits are from the folders in the paths"]
    return np.full(len(rows.table), "", dtype=str), []


def _splits(rows: Rows, name: str) -> np.ndarray:
    """(n,) str splits by the cells of a column, or by what the answers in a column like `is_test` mean."""
    column = plain(rows.table, name)
    if pa.types.is_boolean(column.type):
        cells = ["" if value is None else str(value) for value in column.to_pylist()]
    else:
        cells = texts(rows, name)
    return np.array(from_flags(name, cells) or cells, dtype=str)


def make_labels(
    rows: Rows, columns: Columns, several: str | None = None
) -> tuple[np.ndarray, tuple[str, ...], str, list[str]]:
    """(n,) int64 class of every row, -1 where the label is missing; the class names, sorted unless the rows know
    their order; the form of cells that hold lists of labels; and notes.

    Missing is an empty, blank or null cell, and NaN in a float column. `several` says what rows with several labels
    are: "first" (their first label), "drop" (not labelled) or "whole" (a class of their own). Raises ManifestError
    when the cells are no classes: decimal fractions or lists; and where rows have several labels, and nothing is said.
    """
    if columns.one_hot:
        return (*_labels_of_marks(rows, columns.labels, several), [])
    codes, values = _distinct(rows, columns.label, several)
    strange = any(isinstance(value, list | dict) and not lists_labels(value) for value in values)
    form = "" if several == WHOLE or (strange and several is None) else find_form(values, columns.label)
    if not form and several != WHOLE:
        _refuse_objects(rows, columns.label, values)
    if form:
        names = _one_of_several(rows, columns.label, codes, values, form, several)
    else:
        names = [_class_name(rows, columns.label, value) for value in values]
    names, blanks = _without_nan(names)
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
    return labels, tuple(classes), form, [*blanks, *_label_notes(labels, classes)]


def _without_nan(names: Sequence[str | None]) -> tuple[list[str | None], list[str]]:
    """The names with "nan" as missing, where all others are numbers: pandas writes it so into text; and a note."""
    numbers = [name for name in names if name is not None and name.strip().casefold() != "nan"]
    nan = sum(name is not None for name in names) > len(numbers)
    if not nan or not numbers or not all(DECIMAL.fullmatch(name) or INTEGER.fullmatch(name) for name in numbers):
        return [*names], []
    return [name if name in numbers else None for name in names], [
        "'nan' is a missing label, as all others are numbers"
    ]


def _refuse_objects(rows: Rows, column: str, values: Sequence[Any]) -> None:
    """Raise ManifestError where cells hold JSON objects: which of their values is the label is not known."""
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    if not texts or not all(text.strip().startswith("{") and text.strip().endswith("}") for text in texts):
        return
    found: Any = None
    with suppress(ValueError, RecursionError):
        found = json.loads(texts[0])
    if isinstance(found, dict):
        raise ManifestError(
            f"{rows.path!r}: label column {column!r} holds objects, such as {texts[0]!r:.60}",
            hint=f"write the label of each ({listing(list(found), 4)}) into a column of its own",
        )


def _named(rows: Rows, column: str, known: Mapping[str, str], number: str) -> str:
    if number not in known:
        raise ManifestError(
            f"{rows.path!r}: label column {column!r} holds {number!r:.60}, but its classes are "
            f"{listing(list(known), 8)} ({listing(list(known.values()), 8)})",
            hint="was the file written by another program? Name another column with --label-column",
        )
    return known[number]


def _labels_of_marks(
    rows: Rows, columns: Sequence[str], several: str | None
) -> tuple[np.ndarray, tuple[str, ...], str]:
    """As `make_labels`, of columns that hold a 1 where the row has their class."""
    marks = np.stack([_ones(rows, name) for name in columns])
    count = marks.sum(axis=0)
    first = np.where((count == 1) | ((count > 1) & (several == FIRST)), marks.argmax(axis=0), -1)
    used = np.unique(first[first >= 0])
    lookup = np.full(len(columns) + 1, -1)
    lookup[used] = np.arange(len(used))
    return lookup[first].astype(np.int64), tuple(columns[place] for place in used), ""


def _one_of_several(
    rows: Rows, column: str, codes: np.ndarray, values: Sequence[Any], form: str, several: str | None
) -> list[str | None]:
    """The label of every distinct cell. Raises ManifestError where one holds several, and nothing is said of that."""
    found = [[] if value is None else labels_of(value, form) for value in values]
    crowded = [place for place, labels in enumerate(found) if len(labels) > 1]
    if crowded and several is None:
        row = int(np.flatnonzero(np.isin(codes, crowded))[0])
        cell = values[codes[row]]
        raise _several(rows, f"label column {column!r} holds several labels in a cell, {cell!r:.60}", row)
    return [labels[0] if len(labels) == 1 or (labels and several == FIRST) else None for labels in found]


def _distinct(rows: Rows, name: str, several: str | None = None) -> tuple[np.ndarray, list[Any]]:
    """(n,) index into the distinct cells, -1 for null; and the distinct cells as Python values."""
    column = plain(rows.table, name)
    dtype = column.type
    if pa.types.is_float16(dtype):
        column = column.cast(pa.float32())
    elif pa.types.is_null(dtype):
        return np.full(len(column), -1), []
    elif (pa.types.is_list(dtype) or pa.types.is_large_list(dtype)) and (
        several in (FIRST, DROP) or _at_most_one(column)
    ):
        cells = [None if cell is None else json.dumps(cell) for cell in column.to_pylist()]
        column = pa.chunked_array([pa.array(cells, pa.string())])
    elif not (is_text(dtype) or pa.types.is_primitive(dtype)) or pa.types.is_temporal(dtype):
        raise ManifestError(
            f"{rows.path!r}: label column {name!r} has type {dtype}, expected strings, integers or booleans",
            hint="one label per row; name another column with --label-column, or say --multi-label first or drop",
        )
    encoded = pa.concat_arrays(column.chunks).dictionary_encode()
    values = encoded.dictionary.to_pylist()
    if holds_json(rows.table, name):
        values = [json.loads(value) for value in values]
    return encoded.indices.fill_null(-1).to_numpy(), values


def _at_most_one(column: pa.ChunkedArray) -> bool:
    """Whether all lists of a column hold one text or integer, or none."""
    kind = column.type.value_type
    longest = pc.max(pc.list_value_length(column)).as_py()
    return (is_text(kind) or pa.types.is_integer(kind)) and (longest is None or longest < 2)


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
        hint=f"write the label of each ({listing(list(value), 4)}) into a column of its own"
        if isinstance(value, dict)
        else "one label per row; name another column with --label-column, or say --multi-label first or drop",
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


def refuse_denied(rows: Rows, columns: Columns) -> None:
    """Raise ManifestError where rows say of a file what it is not: a confidence of 0 beside one of 1 (Open Images)."""
    name = next((name for name in rows.table.column_names if spelled(name) == "confidence"), None)
    if name is None or columns.path is None or not _is_binary(rows, name):
        return
    denied = np.flatnonzero(~_ones(rows, name))
    codes = _codes(rows, columns.path)
    if len(denied) and codes is not None and len(np.unique(codes)) < len(codes):
        raise ManifestError(
            f"{rows.path!r}: {name!r} is 0 in {counted(len(denied), 'row')}, the first is {rows.where(denied[0])}: "
            f"there {columns.label!r} says what a file is not",
            hint="leave these rows out",
        )


def of_several_labels(files: np.ndarray, labels: np.ndarray) -> int:
    """How many of the files (n,), by name or number, have rows with different labels (n,); -1 is none."""
    given = labels >= 0
    named = files[given].tolist()
    if len(set(named)) == len(named):  # as mostly
        return 0
    pairs = set(zip(named, labels[given].tolist(), strict=True))
    return sum(count > 1 for count in Counter(file for file, _ in pairs).values())


def refuse_boxes(rows: Rows, columns: Columns, labels: np.ndarray) -> None:
    """Raise ManifestError where rows are boxes, and those of one picture have several classes."""
    names = {spelled(name) for name in rows.table.column_names}
    if columns.path is None or not (any(map(is_geometry, names)) or any(names >= corners for corners in BOXES)):
        return
    codes = _codes(rows, columns.path)
    several = 0 if codes is None else of_several_labels(codes, labels)
    if several:
        raise ManifestError(
            f"{rows.path!r}: rows are boxes, and {counted(several, 'picture')} have boxes of several classes",
            hint=OF_BOXES,
        )


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
    merged = f"; {MERGED}" if _looks_merged(labels) else ""
    if len(labelled) > 10 and alone > len(labelled) / 2:
        raise ManifestError(
            f"{rows.path!r}: label column {column!r} has {len(classes)} classes for {len(labelled)} labelled rows, "
            f"{alone} of them with one row",
            hint=f"is this the label? Name the right column with --label-column{merged}",
        )


def _looks_merged(labels: np.ndarray) -> bool:
    """Whether labels (n,), -1 for none, stand in the first rows of groups only, as cells merged in a spreadsheet come
    out: no two alike after each other, and each with rows without one behind it, or half of them where none repeats."""
    given = labels >= 0
    if len(labels) < 4 or not given[0] or not 2 <= given.sum() <= len(labels) / 2:
        return False
    heads = labels[given]
    followed = ~np.append(given[1:], True)[given]
    once = len(np.unique(heads)) == len(heads)
    return bool((heads[1:] != heads[:-1]).all() and (followed.all() or (once and followed.mean() >= 0.5)))


def classes_in_words(labels: np.ndarray, classes: Sequence[str]) -> str:
    """The names of the classes and their rows; where there are many, of the largest and the smallest."""
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    order = np.argsort(-counts, kind="stable")
    short = short_names(classes, WIDEST)

    def named(places: np.ndarray) -> str:
        return ", ".join(f"{short.get(classes[place], classes[place])!r} {counts[place]:,}" for place in places)

    if len(classes) <= CLASSES_SHOWN + 1:
        return f"{counted(len(classes), 'class')}: {named(np.arange(len(classes)))}"
    more = f"{len(classes) - CLASSES_SHOWN:,} smaller ones, down to {named(order[-1:])}"
    return f"{counted(len(classes), 'class')}: {named(np.sort(order[:CLASSES_SHOWN]))} and {more}"


def _label_notes(labels: np.ndarray, classes: list[str]) -> list[str]:
    notes = []
    if unlabelled := int((labels < 0).sum()):
        notes.append(f"rows without a label: {unlabelled}")
    notes += [MERGED] if _looks_merged(labels) else []
    notes += [f"classes {listing(group)} differ only by {how}" for group, how in look_alike(classes)]
    if words := [name for name in classes if name.strip().lower() in MISSING_WORDS]:
        kind = "a class, not as a missing label" if len(words) == 1 else "classes, not as missing labels"
        notes.append(f"{listing(words)} {'counts' if len(words) == 1 else 'count'} as {kind}")
    return notes

"""Lists of files that lie beside class folders and say which split a file is for: `testing_list.txt`, `meta/test.txt`.

A line names a file by its class folder and its name, with or without an ending, a label behind it, folders before, or
in a cell of a CSV.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from cleanlab_lite.files import open_regular
from cleanlab_lite.manifest.splits import is_held_back, split_word
from cleanlab_lite.text import counted, listing

ENDINGS = (".txt", ".lst", ".csv")
LARGEST = 64 << 20  # bytes of a list
FLAGS, IMAGES, FLAG = "train_test_split.txt", "images.txt", {"1": "train", "0": "test"}  # of CUB-200
NEARLY_ALL = 0.9  # of the lines must name a file


def listed_splits(
    read: Callable[[str], bytes], files: Sequence[str], rows: Sequence[str]
) -> tuple[list[str], list[str]]:
    """n splits of the files `rows`, none where no list among `files`, which `read` opens, says it; and notes.

    Lists that name a file twice are not used: they are splits of several rounds.
    """
    named = [path for path in files if path.endswith(ENDINGS) and split_word(_stem(path))]
    place = _places(rows) if named else {}
    for path in named:
        if os.path.basename(path) == FLAGS and (splits := _flagged(read, path, rows, place)):
            return splits, [f"splits are from lists: {path!r}, by the numbers of {IMAGES!r}"]
    found: dict[str, list[int]] = {}
    for path in named:
        lines = _lines(read, path)
        at = [row for line in lines if (row := _row(line, place)) >= 0]
        if at and len(at) >= NEARLY_ALL * len(lines):
            found[path] = at
    if not any(is_held_back(_stem(path)) for path in found):
        return [], []
    told = [row for at in found.values() for row in at]
    if len(set(told)) < len(told):
        return [], [f"lists that name files more than once, and are not read as splits: {listing(list(found), 5)}"]
    other = "" if any(not is_held_back(_stem(path)) for path in found) else "train"
    splits = [other] * len(rows)
    for path, at in found.items():
        for row in at:
            splits[row] = split_word(_stem(path))
    shown = ", ".join(f"{path!r} ({counted(len(at), 'file')})" for path, at in found.items())
    return splits, [f"splits are from lists: {shown}"]


def _flagged(read: Callable[[str], bytes], path: str, rows: Sequence[str], place: dict[str, int]) -> list[str]:
    """n splits by a list of numbers and 1 for training, 0 for tests (CUB-200, NABirds); none where it is none."""
    files = dict(_pairs(read, os.path.join(os.path.dirname(path), IMAGES)))
    found = {_row(files.get(number, ""), place): flag for number, flag in _pairs(read, path)}
    known = [found.get(row, "") for row in range(len(rows))]
    return [FLAG[flag] for flag in known] if set(known) == {*FLAG} else []


def _pairs(read: Callable[[str], bytes], path: str) -> list[tuple[str, str]]:
    """The first word of every line, and what follows."""
    found = [line.partition(" ") for line in _lines(read, path)]
    return [(number, rest.strip()) for number, _, rest in found]


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def read_list(path: str) -> bytes:
    """All of a file that may be a list; raises OverflowError where it is larger."""
    with open_regular(path, LARGEST) as file:
        return file.read()


def _lines(read: Callable[[str], bytes], path: str) -> list[str]:
    try:
        text = read(path).decode("utf-8-sig")
    except (OSError, ValueError, OverflowError, KeyError):  # too large, no text, or not there
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


def _places(rows: Sequence[str]) -> dict[str, int]:
    """Class folder and name, with and without the ending -> row; -1 where there are several."""
    place: dict[str, int] = {}
    for row, path in enumerate(rows):
        key = "/".join(path.split("/")[-2:])
        for name in {key, os.path.splitext(key)[0]}:
            place[name] = -1 if name in place else row
    return place


def _row(line: str, place: dict[str, int]) -> int:
    for text in (line, line.rpartition(" ")[0], line.partition("\t")[0], *line.split(",")):
        parts = text.strip().replace("\\", "/").split("/")
        if len(parts) > 1 and (row := place.get("/".join(parts[-2:]), -1)) >= 0:
            return row
    return -1

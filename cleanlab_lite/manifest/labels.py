"""Cells that hold several labels: which form they have, what they say, and how one is written back.

    'cat|dog'  'cat;dog'  'cat,dog'  'cat dog'  "['cat', 'dog']"  '["cat", "dog"]'  '{"choices": ["cat", "dog"]}'

A class name may hold a comma or a blank itself. So a mark separates labels only where what it separates is seen in
other cells as well.
"""

from __future__ import annotations

import ast
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from cleanlab_lite.manifest.roles import PLURAL, spelled
from cleanlab_lite.text import looks

LIST = "list"  # the form of a list, as text or not
SEPARATORS = ("|", ";", ",", " ")
FIRST, DROP, WHOLE = POLICIES = ("first", "drop", "whole")


def find_form(cells: Iterable[Any], column: str) -> str:
    """How these distinct cells of a label column hold several labels: LIST or a separator; "" where they do not."""
    cells = list(cells)
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    if any(isinstance(cell, list | dict) for cell in cells) or any(_listed(cell) is not None for cell in texts):
        return LIST
    return next((mark for mark in SEPARATORS if _separates(mark, texts, spelled(column) in PLURAL)), "")


def lists_labels(cell: Any) -> bool:
    """Whether it is a list of texts and integers, as names and numbers of classes are."""
    return isinstance(cell, list) and all(isinstance(item, str | int | None) for item in cell)


def labels_of(cell: Any, form: str) -> list[str]:
    """The labels in a cell; none where it is empty."""
    if form == LIST:
        listed = cell if isinstance(cell, list | dict) else _listed(cell)
        found = [cell] if listed is None else _items(listed)
        return [str(item) for item in found if item is not None and str(item).strip()]
    text = str(cell)
    if form and form in text:
        return [part.strip() for part in text.split(form) if part.strip()]
    return [text] if text.strip() else []


def with_first(cell: Any, form: str, label: str) -> Any:
    """The cell with another first label, in its own form."""
    rest = labels_of(cell, form)[1:]
    if form != LIST:
        blank = " " if form != " " and isinstance(cell, str) and f"{form} " in cell else ""
        return f"{form}{blank}".join([label, *rest])
    listed = cell if isinstance(cell, list | dict) else _listed(cell)
    if listed is None:
        return label
    new: Any = [label, *rest]
    if isinstance(listed, dict):
        new = {key: new if isinstance(value, list) else value for key, value in listed.items()}
    if not isinstance(cell, str):
        return new
    return json.dumps(new, ensure_ascii=False) if _is_json(cell) else repr(new)


def _listed(cell: str) -> list[Any] | dict[str, Any] | None:
    """A list of labels, or an object with one list of them, in text."""
    text = cell.strip()
    if not (text.startswith(("[", "{")) and text.endswith(("]", "}"))):
        return None
    value: Any = None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if isinstance(value, dict) and sum(isinstance(part, list) for part in value.values()) != 1:
        return None
    fits = isinstance(value, list | dict) and all(isinstance(item, str | int | None) for item in _items(value))
    return value if fits else None


def _items(listed: list[Any] | dict[str, Any]) -> list[Any]:
    if isinstance(listed, list):
        return listed
    return next((value for value in listed.values() if isinstance(value, list)), [])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _separates(mark: str, cells: Sequence[str], plural: bool) -> bool:
    """Whether a mark stands between labels, not in their names.

    `|` and `;`, and `,` without a blank, in a column called so: where anything is seen in two cells. Otherwise half of
    the cells must be made up of what other cells hold; with blanks, which are in many names, by itself.
    """
    several = [cell for cell in cells if len(labels_of(cell, mark)) > 1]
    if not several:
        return False
    parts = [set(labels_of(cell, mark)) for cell in cells]
    seen = Counter(part for found in parts for part in found)
    alone = {next(iter(found)) for found in parts if len(found) == 1}
    if mark == " " and all(part.lstrip("+-").isdigit() for part in seen):
        return True
    loose = mark in "|;" or (mark == "," and plural and not any(", " in cell for cell in several))
    if loose:
        return any(seen[part] > 1 for cell in several for part in labels_of(cell, mark))
    made = sum(all(seen[part] > 1 for part in labels_of(cell, mark)) for cell in several)
    if mark == " " and not plural:
        made = sum(all(part in alone for part in labels_of(cell, mark)) for cell in several)
    return 2 * made >= len(several)


# --- names that look alike ------------------------------------------------------------------------------------------


def look_alike(classes: Sequence[str]) -> list[tuple[list[str], str]]:
    """Groups of class names that a reader takes for one, and what they differ by."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[_seen(name)].append(name)
    return [(group, _difference(group)) for group in groups.values() if len(group) > 1]


def _seen(name: str) -> str:
    """A name as it looks: no marks that take no room, blanks as one, accents composed, numbers as numbers."""
    text = " ".join(unicodedata.normalize("NFKC", looks(name)).split()).casefold()
    try:
        return repr(float(text)) if text[-1:].isdigit() or text.endswith(".") else text
    except ValueError:
        return text


def _difference(group: Sequence[str]) -> str:
    def same(change: Any) -> bool:
        return len({change(name) for name in group}) == 1

    if same(lambda name: name.strip().casefold()):
        return "case or surrounding blanks"
    if same(lambda name: unicodedata.normalize("NFC", name)):
        return "Unicode form (accents composed or not)"
    if all(char.isascii() for name in group for char in name):
        return "the way a number is written" if any(char.isdigit() for char in group[0]) else "blanks or case"
    return "characters that are not seen, or that look the same"

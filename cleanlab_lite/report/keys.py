"""The keys of a review, one map for the page and the terminal. What they do, each screen says by itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """`word` stands in the last line of the terminal, "" for a key that is not shown there."""

    key: str
    word: str
    meaning: str
    page: bool = True
    terminal: bool = True


KEYS = (
    Key("k", "keep", "keep: the given label is right"),
    Key("a", "accept", "accept the suggested label"),
    Key("1 2 3", "", "give one of the three probable labels"),
    Key("l", "label", "give another label"),
    Key("d", "drop", "drop the row from exports"),
    Key("u", "unsure", "unsure: decided, but no vote"),
    Key("s", "", "skip: the next row without a decision"),
    Key("b", "bulk", "accept all rows of this confused pair"),
    Key("z", "undo", "undo the latest decision, a bulk as a whole"),
    Key("f", "filter", "show one issue, class or confused pair only"),
    Key("/", "", "find an id or a part of one"),
    Key("← → ↑ ↓", "", "previous and next row"),
    Key("PgUp PgDn", "", "several rows at once", terminal=False),
    Key("PgUp PgDn", "", "scroll the evidence", page=False),
    Key("space", "", "the picture as large as the window, and back", terminal=False),
    Key("g", "", "pictures in a grid, or rows in a table", terminal=False),
    Key("p", "", "play the sound, or stop it"),
    Key("?", "help", "this page"),
    Key("Esc", "", "back to the rows", terminal=False),
    Key("q", "quit", "quit; every decision is on disk already", page=False),
)
PAGE = tuple(key for key in KEYS if key.page)
TERMINAL = tuple(key for key in KEYS if key.terminal)

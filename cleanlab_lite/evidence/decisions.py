"""`DecisionLog`: what people decided about rows. An append-only journal, a JSON object a line, one file per run.

A line is on disk before `append` returns, so a kill loses nothing. Nothing is ever rewritten: an undo is a line, and
the latest line of a reviewer about a row counts. Several reviewers may share a file, or merge theirs by appending.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from cleanlab_lite.arrays import kappa
from cleanlab_lite.errors import ConfigError, ReportError
from cleanlab_lite.files import json_value, open_regular, open_unlinked, reading

ACTIONS = ("keep", "relabel", "drop", "unsure", "undo")
MOST_BYTES = 1 << 28  # of a journal: a million decisions, or thousands of everyone
HINT = 'a line is {"id": ..., "action": "keep", "given_label": ..., "label": null, "reviewer": ...}'


@dataclass(frozen=True)
class Decision:
    """One line of the journal."""

    id: str  # of the row, as in the report
    action: str  # one of ACTIONS
    given_label: str | None  # what the manifest said when the reviewer looked
    label: str | None = None  # the new label, for relabel only
    reviewer: str = ""
    time: str = ""  # UTC, ISO 8601, seconds

    def __post_init__(self) -> None:
        if not {type(self.id), type(self.action), type(self.reviewer), type(self.time)} <= {str}:
            raise ValueError("id, action, reviewer and time must be strings")
        if not {type(self.given_label), type(self.label)} <= {str, type(None)}:
            raise ValueError("given_label and label must be strings or null")
        (self.label or "").encode()  # ValueError where it holds half a character: no file could hold that label
        if self.action not in ACTIONS:
            raise ValueError(f"unknown action {self.action!r}; known: {', '.join(ACTIONS)}")
        if (self.label is None) == (self.action == "relabel"):
            raise ValueError(f"action {self.action!r} with label {self.label!r}: relabel, and only that, has a label")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class DecisionLog:
    """The journal in one file, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, *decisions: Decision) -> None:
        """Write a line each, together, and wait until they are on disk."""
        text = b"".join(map(encoded_line, decisions))
        handle = open_unlinked(self.path, os.O_RDWR | os.O_APPEND)
        try:
            size = os.fstat(handle).st_size
            if size and _last_byte(handle, size) != b"\n":
                text = b"\n" + text  # a line torn by a kill stays alone
            while text:  # a disk that is about to be full takes a part, and refuses the rest
                text = text[os.write(handle, text) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def add(self, decisions: Iterable[Decision]) -> int:
        """Append the lines of another journal that this one does not have yet; returns how many.

        Lines are counted, so a file that grew from a copy of this journal adds its new lines only.
        """
        present, seen = Counter(self.read()), Counter[Decision]()
        new = []
        for decision in decisions:
            seen[decision] += 1
            if seen[decision] > present[decision]:
                new.append(decision)
        if new:
            self.append(*new)
        return len(new)

    def read(self) -> list[Decision]:
        """All lines in order; none where there is no file. A line cut off by a kill is passed over.

        Raises ReportError naming the line when a complete line is not a decision.
        """
        if not os.path.lexists(self.path):
            return []
        return self.parse(self.content())

    def content(self, start: int = 0) -> bytes:
        """The file from a byte on. Raises ReportError where it is no file, or beyond `MOST_BYTES`."""
        with reading(f"cannot read {self.path}", ReportError), open_regular(self.path, MOST_BYTES) as file:
            file.seek(start)
            return file.read()

    def parse(self, content: bytes, above: int = 0) -> list[Decision]:
        """The decisions of some lines of the file, below `above` others. Raises ReportError as `read` does."""
        known = {field.name for field in fields(Decision)}
        found = []
        for number, line in enumerate(content.split(b"\n"), start=above + 1):
            if not line.strip():
                continue
            with reading(f"{self.path}, line {number} is no decision", ReportError, hint=HINT):
                try:
                    record = json_value(line)
                except (json.JSONDecodeError, UnicodeDecodeError):
                    continue  # torn; whole lines are always valid JSON
                found.append(Decision(**{name: value for name, value in record.items() if name in known}))
        return found


class Follower:
    """A journal that others write to, too: what is new in it is read, and nothing twice. Not for several threads."""

    def __init__(self, log: DecisionLog) -> None:
        self.decisions: list[Decision] = []
        self._log, self._bytes, self._lines = log, 0, 0  # read of it

    def refresh(self) -> None:
        """Read the whole lines that were added; all of it, where the file was replaced by a shorter one."""
        size = self._log.path.stat().st_size if self._log.path.exists() else 0
        if size < self._bytes:
            self.decisions, self._bytes, self._lines = [], 0, 0
        if size == self._bytes:
            return
        content = self._log.content(self._bytes)
        content = content[: content.rfind(b"\n") + 1]
        self.decisions += self._log.parse(content, self._lines)
        self._bytes, self._lines = self._bytes + len(content), self._lines + content.count(b"\n")


def encoded_line(decision: Decision) -> bytes:
    return json.dumps(asdict(decision), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def read_journal(path: Path) -> list[Decision]:
    """The decisions in a file that the user has named. Raises ConfigError where it holds none, or a line is none."""
    if not path.is_file():
        raise ConfigError(f"{path} is no file", hint="name a file of decisions, as `nlclean review` writes them")
    try:
        found = DecisionLog(path).read()
    except ReportError as error:
        raise ConfigError(error.message, hint=error.hint) from error
    if not found and path.stat().st_size:
        raise ConfigError(f"{path} holds no decision", hint=HINT)
    return found


def standing(decisions: Iterable[Decision]) -> dict[tuple[str, str], Decision]:
    """(reviewer, id) -> the decision that counts: the reviewer's latest on the row. An undo takes back the latest."""
    history: dict[tuple[str, str], list[Decision]] = {}
    for decision in decisions:
        taken = history.setdefault((decision.reviewer, decision.id), [])
        if decision.action != "undo":
            taken.append(decision)
        elif taken:
            taken.pop()
    return {key: taken[-1] for key, taken in history.items() if taken}


def settle(decisions: Iterable[Decision]) -> dict[str, Decision]:
    """id -> one decision. Reviewers vote with action and label; "unsure" abstains; a tie is "unsure"."""
    return {id: majority(cast) for id, cast in by_row(decisions).items()}


def by_row(decisions: Iterable[Decision]) -> dict[str, list[Decision]]:
    """The standing decisions of all reviewers by the id of their row."""
    cast: dict[str, list[Decision]] = {}
    for decision in standing(decisions).values():
        cast.setdefault(decision.id, []).append(decision)
    return cast


def majority(cast: Sequence[Decision]) -> Decision:
    """The one decision that those of several reviewers on a row come to."""
    counts = Counter((d.action, d.label) for d in cast if d.action != "unsure").most_common()
    if not counts or (len(counts) > 1 and counts[0][1] == counts[1][1]):
        return Decision(cast[0].id, "unsure", cast[0].given_label, reviewer="+".join(d.reviewer for d in cast))
    winners = [d for d in cast if (d.action, d.label) == counts[0][0]]
    return Decision(**(asdict(winners[-1]) | {"reviewer": "+".join(d.reviewer for d in winners)}))


@dataclass(frozen=True)
class Agreement:
    """How far reviewers agree beyond chance: 1 always, 0 as chance would have it."""

    reviewers: tuple[str, ...]
    rows: int  # decided by all of them
    kappa: float  # Cohen's for two reviewers, Fleiss' for more; NaN without a common row or where chance is 1


def agreement(decisions: Iterable[Decision]) -> Agreement:
    """Agreement on the rows that every reviewer has decided (Cohen, 1960; Fleiss, 1971)."""
    by_row: dict[str, dict[str, tuple[str, str | None]]] = {}
    for (reviewer, id), decision in standing(decisions).items():
        by_row.setdefault(id, {})[reviewer] = (decision.action, decision.label)
    reviewers = tuple(sorted({reviewer for row in by_row.values() for reviewer in row}))
    common = [row for row in by_row.values() if len(row) == len(reviewers)]
    if len(reviewers) < 2 or not common:
        return Agreement(reviewers, len(common), float("nan"))
    categories = sorted({vote for row in common for vote in row.values()}, key=repr)
    if len(categories) == 1:  # chance is 1
        return Agreement(reviewers, len(common), float("nan"))
    votes = np.array([[categories.index(row[reviewer]) for reviewer in reviewers] for row in common])
    return Agreement(reviewers, len(common), kappa(votes[:, 0], votes[:, 1]) if len(reviewers) == 2 else _fleiss(votes))


def _fleiss(votes: np.ndarray) -> float:
    """Kappa of (rows, m) votes; scikit-learn has none for m reviewers."""
    m = votes.shape[1]
    one_hot = np.eye(votes.max() + 1)[votes]  # (rows, m, categories)
    observed = ((one_hot.sum(axis=1) ** 2).sum(axis=1) - m).mean() / (m * (m - 1))
    chance = (one_hot.mean(axis=(0, 1)) ** 2).sum()
    return float((observed - chance) / (1 - chance))


def _last_byte(handle: int, size: int) -> bytes:
    os.lseek(handle, size - 1, os.SEEK_SET)
    return os.read(handle, 1)

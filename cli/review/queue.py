"""`Queue`: which row comes next, and what this reviewer has decided so far. It knows the journal, not the screen.

Letters: n rows of the report. Rows are numbered as in the report.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cleanlab_lite.evidence.decisions import Decision, DecisionLog, now
from cleanlab_lite.report.reviewed import is_about
from cleanlab_lite.run.columns import Labels, numbers
from cleanlab_lite.run.report import content_groups, contradicts, with_issue

KINDS = ("issue", "class", "pair")  # of filters
Value = str | tuple[str, str]  # an issue, a class, or (given label, suggested label)


def value_of_a_look(table: pa.Table) -> np.ndarray:
    """(n,) probability that a look changes what an export does with the row. Without a label to check, 0.

    A row that stays as it is (keep, review) changes when its label is wrong, a relabelled one when the suggestion is,
    a dropped one when its label was right.
    """
    p, confidence = numbers(table, "p_mislabel"), numbers(table, "suggestion_confidence")
    action = Labels(table, "action")
    value = np.select([action.equal("relabel"), action.equal("drop")], [1 - confidence, 1 - p], default=p)
    return np.where(np.isfinite(p), np.nan_to_num(value), 0.0)


def order(table: pa.Table) -> np.ndarray:
    """The rows with an issue: contradicting copies first, together, then by the value of a look.

    Of contradicting copies at least one is wrong for certain, and a person sees at once which.
    """
    rows = np.flatnonzero(with_issue(table))
    conflict = contradicts(table)[rows]
    group = np.where(conflict, content_groups(table)[rows], 0)
    p = np.nan_to_num(numbers(table, "p_mislabel"))[rows]
    return rows[np.lexsort((-p, -value_of_a_look(table)[rows], group, ~conflict))]


class Queue:
    """The rows on show, the place in them, and the decisions of `reviewer`, each in the journal before it counts.

    `rows` is what to review, in order; by default what `order` says, and then `jump` finds any row of the report.
    """

    def __init__(self, table: pa.Table, log: DecisionLog, reviewer: str, rows: np.ndarray | None = None) -> None:
        self.log, self.reviewer = log, reviewer
        self.rows = order(table) if rows is None else rows
        self.filters: dict[str, Value] = {}
        self._open_ended = rows is None
        self._ids = table["id"].combine_chunks()
        self._given, self._suggested = Labels(table, "given_label"), Labels(table, "suggested_label")
        self._issue = Labels(table, "issue")
        self._decided = np.zeros(table.num_rows, dtype=bool)
        self._taken: dict[int, list[Decision]] = {}
        self._latest: list[list[int]] = []  # for undo: rows in the order of their decisions
        self._recall(log.read())
        self.visible = self.rows
        self.position = 0  # in `visible`; its length stands for the end
        self._to_undecided(0)

    @property
    def row(self) -> int | None:
        """The row on show; None at the end, and where no row is."""
        return int(self.visible[self.position]) if self.position < len(self.visible) else None

    @property
    def left(self) -> int:
        """Rows on show without a decision."""
        return int((~self._decided[self.visible]).sum())

    @property
    def decided(self) -> int:
        """Rows to review that have a decision, on show or not."""
        return int(self._decided[self.rows].sum())

    def id(self, row: int) -> str:
        return self._ids[row].as_py()

    def decision(self, row: int) -> Decision | None:
        """What counts of this reviewer's decisions on the row."""
        taken = self._taken.get(row)
        return taken[-1] if taken else None

    def decide(self, action: str, label: str | None = None) -> Decision:
        """Write the decision on the row on show to the journal, then go to the next one without a decision."""
        assert self.row is not None
        return self._decide([self.row], action, label)[0]

    def accept(self, rows: np.ndarray) -> list[Decision]:
        """Give all these rows, of one confused pair, the suggested label; one undo takes all of it back."""
        return self._decide(rows.tolist(), "relabel", self._suggested.text(rows[0]))

    def confused_alike(self) -> np.ndarray:
        """Rows to review without a decision that are confused as the row on show is, in the order of the review."""
        row = self.row
        if row is None or self._given.codes[row] < 0 or self._suggested.codes[row] < 0:
            return self.rows[:0]
        alike = self._given.codes[self.rows] == self._given.codes[row]
        alike &= self._suggested.codes[self.rows] == self._suggested.codes[row]
        return self.rows[alike & ~self._decided[self.rows]]

    def skip(self) -> None:
        """Go to the next row without a decision, from the top after the last one."""
        self._to_undecided(self.position + 1)

    def undo(self) -> list[Decision]:
        """Take back this reviewer's latest decision, or all made with it at once; the first of their rows is shown."""
        if not self._latest:
            return []
        rows = list(self._latest[-1])
        undone = [self._taken[row][-1] for row in rows]
        self.log.append(*(Decision(d.id, "undo", d.given_label, None, self.reviewer, now()) for d in undone))
        for row in rows:
            self._take_back(row)
        self._show(rows[0])
        return undone

    def _decide(self, rows: list[int], action: str, label: str | None) -> list[Decision]:
        decisions = [Decision(self.id(row), action, self._given.text(row), label, self.reviewer, now()) for row in rows]
        self.log.append(*decisions)
        for row, decision in zip(rows, decisions, strict=True):
            self._take(row, decision)
        self._latest[-len(rows) :] = [rows]
        self._to_undecided(self.position + 1)
        return decisions

    def move(self, steps: int) -> None:
        """Go some rows on, or back, decided or not."""
        self.position = max(0, min(self.position + steps, len(self.visible) - 1))

    def jump(self, text: str) -> bool:
        """Go to the row with this id, else to this position from 1, else to the next row whose id holds the text.

        Rows on show are searched first. False where there is no such row.
        """
        if not text:
            return False
        row = self._ids.index(text).as_py()
        if row >= 0 and (self._open_ended or row in self.rows):
            self._show(row)
            return True
        if text.isascii() and text.isdigit() and 1 <= int(text) <= len(self.visible):
            self.position = int(text) - 1
            return True
        holds = np.asarray(pc.match_substring(self._ids, text, ignore_case=True))
        places = np.flatnonzero(holds[self.visible])
        if len(places):
            after = places[places > self.position]
            self.position = int(after[0] if len(after) else places[0])
        elif self._open_ended and holds.any():
            self._show(int(holds.argmax()))
        else:
            return False
        return True

    def choices(self, kind: str) -> list[tuple[Value, int]]:
        """The values of a filter and how many rows to review they have, most first."""
        rows = self.rows
        if kind == "pair":
            both = rows[(self._given.codes[rows] >= 0) & (self._suggested.codes[rows] >= 0)]
            pairs, counts = np.unique(
                np.stack([self._given.codes[both], self._suggested.codes[both]], axis=1), axis=0, return_counts=True
            )
            values: list[Value] = [(self._given.names[g], self._suggested.names[s]) for g, s in pairs]
        else:
            labels = self._issue if kind == "issue" else self._given
            codes, counts = np.unique(labels.codes[rows][labels.codes[rows] >= 0], return_counts=True)
            values = [labels.names[code] for code in codes]
        found = zip(values, counts.tolist(), strict=True)
        return sorted(found, key=lambda choice: (-choice[1], choice[0]))

    def filter(self, **values: Value | None) -> None:
        """Show only rows with these values of `KINDS`; None lifts one filter. The row on show stays where it can."""
        row = self.row
        self.filters |= {kind: value for kind, value in values.items() if value is not None}
        for kind in [kind for kind, value in values.items() if value is None]:
            self.filters.pop(kind, None)
        self.visible = self.rows[self._match(self.rows, self.filters)]
        place = np.flatnonzero(self.visible == row)
        if len(place):
            self.position = int(place[0])
        else:
            self._to_undecided(0)

    def _match(self, rows: np.ndarray, filters: Mapping[str, Value]) -> np.ndarray:
        fits = np.ones(len(rows), dtype=bool)
        for kind, value in filters.items():
            if isinstance(value, tuple):
                fits &= self._given.equal(value[0])[rows] & self._suggested.equal(value[1])[rows]
            else:
                fits &= (self._issue if kind == "issue" else self._given).equal(value)[rows]
        return fits

    def _to_undecided(self, start: int) -> None:
        """Go to the first row without a decision from `start` on, then from the top; to the end where there is none."""
        places = np.flatnonzero(~self._decided[self.visible])
        after = places[places >= start]
        self.position = int(after[0] if len(after) else places[0] if len(places) else len(self.visible))

    def _show(self, row: int) -> None:
        """Go to a row; filters that hide it are lifted, and a row that is not to be reviewed is put in here."""
        if row not in self.rows:
            place = np.flatnonzero(self.rows == self.row)
            self.rows = np.insert(self.rows, place[0] + 1 if len(place) else len(self.rows), row)
            self.filter(**dict.fromkeys(KINDS))
        if row not in self.visible:
            self.filter(**dict.fromkeys(KINDS))
        self.position = int(np.flatnonzero(self.visible == row)[0])

    def _recall(self, decisions: list[Decision]) -> None:
        """What this reviewer has decided in earlier sessions."""
        own = [decision for decision in decisions if decision.reviewer == self.reviewer]
        index = pc.index_in(pa.array([d.id for d in own], pa.string()), value_set=self._ids).to_pylist()
        wanted = None if self._open_ended else set(self.rows.tolist())
        for row, decision in zip(index, own, strict=True):
            if row is None or (wanted is not None and row not in wanted):
                continue
            if decision.action != "undo":
                self._take(row, decision)
            elif self._taken.get(row):
                self._take_back(row)

    def _take(self, row: int, decision: Decision) -> None:
        self._taken.setdefault(row, []).append(decision)
        self._latest.append([row])
        self._decided[row] = self._counts(row)

    def _take_back(self, row: int) -> None:
        self._taken[row].pop()
        place = max(place for place, rows in enumerate(self._latest) if row in rows)
        self._latest[place] = [other for other in self._latest[place] if other != row]
        self._latest[place : place + 1] = [rows for rows in self._latest[place : place + 1] if rows]
        self._decided[row] = self._counts(row)

    def _counts(self, row: int) -> bool:
        """Whether the row is decided: not by a decision on a label that it no longer has."""
        taken = self.decision(row)
        return taken is not None and is_about(taken, self._given.text(row))

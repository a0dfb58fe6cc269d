"""The gate for CI: which rows are suspect, what changed since a baseline, which limits are exceeded.

A row is its content and its given label, so a renamed file is the same row, and a new label on the same content is a
relabelled one. A row that could not be read has no content and is known by its id. The baseline is an earlier run or
its report, or the small JSON file that `baseline_text` makes:

    {"nlclean_baseline": 1, "suspect": {CONTENT: [LABEL, ...]}, "accepted": {...}, "fine": {...}}
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cleanlab_lite.errors import ReportError
from cleanlab_lite.evidence.decisions import Decision, DecisionLog, settle
from cleanlab_lite.report.reasons import in_one_sentence, with_context
from cleanlab_lite.run import RunFolder
from cleanlab_lite.run.layout import DECISIONS
from cleanlab_lite.run.report import ReportTable, by_suspicion
from cleanlab_lite.run.summary import Summary
from cleanlab_lite.text import counted, tell_apart

BASELINE_VERSION = 1
NEW = "newly_suspect"
CHANGES = (NEW, "fixed", "relabelled", "added", "removed")

# suspect: flagged, and no person has kept the label. accepted: a person has kept it, flagged or not.
State = Literal["suspect", "accepted", "fine"]
STATES: tuple[State, ...] = ("suspect", "accepted", "fine")

_ID = "id:"  # before the id of a row without content
RENAMED = 5  # classes in one message
WHY = 100  # characters of a sentence on a row, where its first reason is not longer
_VERSION = "nlclean_baseline"
_HINT = "make one with `nlclean check --write-baseline FILE`"


@dataclass(frozen=True, slots=True)
class Row:
    """A row as the gate sees it. Of a row from a baseline file only the first three fields are known."""

    content: str  # content hash, or "id:" and the id
    label: str | None  # given label
    state: State
    id: str = ""
    path: str | None = None
    line: int | None = None  # in the manifest, from 1
    issue: str = "none"
    suggested_label: str | None = None
    p_mislabel: float | None = None
    label_score: float = 1.0  # low is suspicious; 1 where not known
    why: str = ""  # a sentence on a flagged row
    place: int = 0  # among all rows of the report, most suspicious first

    def as_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {name: value for name, value in asdict(self).items() if name != "place"}


@dataclass(frozen=True, slots=True)
class RowChange:
    """What became of a row since the baseline."""

    row: Row  # as it is now; of a removed row, as it was
    before: Row | None = None  # as it was; None for an added row


@dataclass(frozen=True)
class Bound:
    """A limit: a number of rows, or a share (0-1)."""

    value: float
    is_share: bool

    def __str__(self) -> str:
        return _show(self.value, self.is_share)


@dataclass(frozen=True)
class LimitOutcome:
    """One limit and what was found. `found` is None where it could not be determined, which exceeds any limit."""

    limit: str  # name of the option
    bound: Bound
    found: float | None
    subject: str  # what is counted or measured
    rows: Sequence[Row] = ()  # those that count towards it

    @property
    def exceeded(self) -> bool:
        return self.found is None or self.found > self.bound.value

    @property
    def message(self) -> str:
        if self.found is None:
            return f"{self.subject}: could not be determined"
        relation = "above" if self.exceeded else "within"
        return f"{self.subject}: {_show(self.found, self.bound.is_share)}, {relation} the limit of {self.bound}"


@dataclass(frozen=True)
class Gate:
    """All that a check found."""

    summary: Summary  # of the report
    rows: Sequence[Row]  # of the run, in manifest order
    changes: Mapping[str, Sequence[RowChange]] | None  # by name of CHANGES; None without a baseline
    outcomes: Sequence[LimitOutcome]
    warnings: Sequence[str] = ()

    @cached_property
    def names(self) -> dict[str, str]:
        """What people are shown of labels that look alike; see `tell_apart`."""
        return tell_apart(entry.label for entry in self.summary.classes)

    @property
    def exceeded(self) -> bool:
        return any(outcome.exceeded for outcome in self.outcomes)

    @cached_property
    def suspects(self) -> list[Row]:
        """Most suspicious first."""
        return suspect_rows(self.rows)

    def size(self, name: str) -> str:
        """How many rows a list of CHANGES has; of new suspects also how many of them are rows that were added."""
        assert self.changes is not None
        found = self.changes[name]
        added = sum(change.before is None for change in found) if name == NEW else 0
        return f"{len(found):,}" + (f", {added:,} of them added" if added else "")

    @cached_property
    def accepted(self) -> int:
        return sum(row.state == "accepted" for row in self.rows)

    def __repr__(self) -> str:
        said = [outcome.message for outcome in self.outcomes] or ["no limits"]
        return f"<Gate: {counted(len(self.suspects), 'suspect')}; {'; '.join(said)}>"


def noise_outcome(summary: Summary, bound: Bound, rows: Sequence[Row] = ()) -> LimitOutcome:
    """`--max-noise`: the estimate, not an end of its interval, against the bound."""
    return LimitOutcome("max-noise", bound, summary.noise_rate.estimate, "noise rate", rows)


def suspect_outcome(count: int, labelled: int, bound: Bound, rows: Sequence[Row] = ()) -> LimitOutcome:
    """`--max-suspects`: their number, or their share of the labelled rows."""
    found = count / max(labelled, 1) if bound.is_share else count
    return LimitOutcome("max-suspects", bound, found, "suspects", rows)


def judge(
    summary: Summary,
    rows: Sequence[Row],
    baseline: Sequence[Row] | None = None,
    *,
    max_noise: Bound | None = None,
    max_suspects: Bound | None = None,
    max_new_suspects: int | None = None,
) -> Gate:
    """Compare with the baseline, where there is one, and hold every limit that is given against the run.

    What a person kept in the baseline stays accepted while content and label are the same. Rows of a class that is only
    called otherwise now are the same rows, which is said.
    Raises ValueError for `max_new_suspects` without a baseline.
    """
    if max_new_suspects is not None and baseline is None:
        raise ValueError("new suspects need a baseline")
    changes = None
    warnings = []
    if baseline is not None:
        if names := renamed_classes(rows, baseline):
            baseline = [replace(row, label=names.get(row.label, row.label)) for row in baseline]
            said = [f"{old!r:.60} is {new!r:.60}" for old, new in names.items()]
            more = f" and {len(said) - RENAMED:,} more" if len(said) > RENAMED else ""
            warnings.append(
                f"renamed since the baseline: {', '.join(said[:RENAMED])}{more}; their rows count as the same rows"
            )
        rows = _accept(rows, baseline)
        changes = changes_since(rows, baseline)
        found = len(baseline) - len(changes["removed"])
        if 2 * found < len(baseline):
            warnings.append(
                f"this run has only {found:,} of {counted(len(baseline), 'row')} of the baseline: "
                "is it of another dataset?"
            )
    worst = suspect_rows(rows)
    outcomes = []
    if max_noise is not None:
        outcomes.append(noise_outcome(summary, max_noise, worst))
    if max_suspects is not None:
        outcomes.append(suspect_outcome(len(worst), summary.manifest.labelled, max_suspects, worst))
    if max_new_suspects is not None and changes is not None:
        new = [change.row for change in changes["newly_suspect"]]
        outcomes.append(LimitOutcome("max-new-suspects", Bound(max_new_suspects, False), len(new), "new suspects", new))
    return Gate(summary, rows, changes, outcomes, warnings)


def renamed_classes(rows: Sequence[Row], baseline: Sequence[Row]) -> dict[str | None, str]:
    """Old name -> new name of classes of the baseline that no row has any more, where most of their rows that are still
    there have one label that the baseline does not have."""
    old, new = {row.label for row in baseline}, {row.label for row in rows}
    called: dict[str | None, Counter[str | None]] = defaultdict(Counter)
    for now, before in _pair(rows, baseline):
        if now is not None and before is not None and before.label is not None and before.label not in new:
            called[before.label][now.label] += 1
    found = {label: counts.most_common(1)[0] for label, counts in called.items()}
    return {
        label: name
        for label, (name, count) in found.items()
        if name is not None and name not in old and 2 * count > called[label].total()
    }


def suspect_rows(rows: Iterable[Row]) -> list[Row]:
    """Most suspicious first."""
    return sorted((row for row in rows if row.state == "suspect"), key=lambda row: row.place)


def changes_since(rows: Sequence[Row], baseline: Sequence[Row]) -> dict[str, list[RowChange]]:
    """What changed, by name of CHANGES. A row may be in several: relabelled and fixed, say.

    - newly_suspect: suspect now, and not with this label in the baseline; most suspicious first.
    - fixed: suspect in the baseline, and now accepted, fine, or relabelled and fine.
    - relabelled: the same content with another label.
    - added, removed: content that is there, or gone; copies of the same content are counted.
    """
    doubted = {(row.content, row.label) for row in baseline if row.state != "fine"}
    still = {(row.content, row.label) for row in rows if row.state == "suspect"}
    changes: dict[str, list[RowChange]] = {name: [] for name in CHANGES}
    for now, before in _pair(rows, baseline):
        if now is None:
            assert before is not None
            changes["removed"].append(RowChange(before, before))
            continue
        change = RowChange(now, before)
        if now.state == "suspect" and (now.content, now.label) not in doubted:
            changes["newly_suspect"].append(change)
        if before is None:
            changes["added"].append(change)
            continue
        if before.label != now.label:
            changes["relabelled"].append(change)
        if before.state == "suspect" and now.state != "suspect" and (before.content, before.label) not in still:
            changes["fixed"].append(change)
    changes["newly_suspect"].sort(key=lambda change: change.row.place)
    return changes


def _pair(rows: Sequence[Row], baseline: Sequence[Row]) -> Iterable[tuple[Row | None, Row | None]]:
    """Rows of the same content, now and before: those of the same label first, then the rest in order.

    In the order of `rows`, content that is gone last.
    """
    now, then = _by_content(rows), _by_content(baseline)
    for content in now | then:
        waiting: dict[str | None, list[Row]] = defaultdict(list)
        for row in reversed(then.get(content, [])):
            waiting[row.label].append(row)
        relabelled = []
        for row in now.get(content, []):
            if waiting[row.label]:
                yield row, waiting[row.label].pop()
            else:
                relabelled.append(row)
        left = [row for stack in waiting.values() for row in stack]
        yield from zip_longest(relabelled, left)


def _by_content(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.content, []).append(row)
    return found


def _accept(rows: Sequence[Row], baseline: Iterable[Row]) -> list[Row]:
    kept = {(row.content, row.label) for row in baseline if row.state == "accepted"}
    return [replace(row, state="accepted") if (row.content, row.label) in kept else row for row in rows]


# --- Runs and baselines ----------------------------------------------------------------------------------------------


def read_rows(report: ReportTable, decisions: Iterable[Decision] = (), lines: np.ndarray | None = None) -> list[Row]:
    """The rows of a report. A decision to keep the label accepts the row, as long as the label is the same.

    `lines` (n,) are line numbers in the manifest. Raises ReportError when the report knows no contents.
    """
    table = report.table
    if "content" not in table.column_names:
        raise ReportError("the report has no column `content`", hint="run `nlclean audit` again with this version")
    kept = {id: decision.given_label for id, decision in settle(decisions).items() if decision.action == "keep"}
    names = ("id", "content", "given_label", "path", "is_label_issue", "issue", "suggested_label", "p_mislabel")
    columns = [table[name].to_pylist() for name in (*names, "label_score")]
    numbers = [None] * len(report) if lines is None else lines.tolist()
    places = np.argsort(by_suspicion(table)).tolist()
    told = report.told_apart
    whys = {row["id"]: in_one_sentence(row, WHY) for row in with_context(told, told.flagged())}
    rows = []
    for id, content, label, path, flagged, issue, suggested, p, score, line, place in zip(
        *columns, numbers, places, strict=True
    ):
        accepted = id in kept and kept[id] == label
        state: State = "accepted" if accepted else "suspect" if flagged else "fine"
        score = 1.0 if score is None else score
        why = whys.get(id, "")
        rows.append(Row(content or _ID + id, label, state, id, path, line, issue, suggested, p, score, why, place))
    return rows


def load_baseline(path: Path) -> list[Row]:
    """The rows of a run folder, of a report (with the decisions beside it), or of a baseline file.

    Raises ReportError when it is none of them, or of a newer version.
    """
    if path.is_dir():
        run = RunFolder(path)
        return read_rows(run.report, run.decisions)
    try:
        with path.open("rb") as file:
            is_report = file.read(4) == b"PAR1"
        if not is_report:
            return parse_baseline(path.read_bytes(), str(path))
    except OSError as error:
        raise ReportError(f"cannot read the baseline {path}: {error.strerror}", hint=_HINT) from error
    return read_rows(ReportTable.read(path), DecisionLog(path.with_name(DECISIONS)).read())


def is_baseline(path: Path) -> bool:
    """Whether there is a baseline file at `path` that this version can read."""
    try:
        parse_baseline(path.read_bytes(), str(path))
    except (OSError, ReportError):
        return False
    return True


def baseline_text(rows: Iterable[Row]) -> str:
    """JSON to commit: sorted, a line per content and state, the same for the same rows in any order.

    It holds no path, and no id but those of rows that could not be read.
    """
    labels: dict[State, dict[str, list[str | None]]] = {state: {} for state in STATES}
    for row in rows:
        labels[row.state].setdefault(row.content, []).append(row.label)
    parts = [f'  "{_VERSION}": {BASELINE_VERSION}']
    for state, contents in labels.items():
        entries = [
            f"\n    {json.dumps(content)}: {json.dumps(sorted(found, key=_null_first))}"
            for content, found in sorted(contents.items())
        ]
        parts.append(f'  "{state}": {{{",".join(entries)}' + ("\n  }" if entries else "}"))
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _null_first(label: str | None) -> tuple[bool, str]:
    return label is not None, label or ""


def parse_baseline(data: bytes, name: str) -> list[Row]:
    """What `baseline_text` made, read from the file `name`. Raises ReportError when it is not, or is newer."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{name} is neither a report nor a baseline: {error}", hint=_HINT) from error
    version = document.get(_VERSION) if isinstance(document, dict) else None
    if type(version) is not int:
        raise ReportError(f"{name} is no baseline: it has no version {_VERSION!r}", hint=_HINT)
    if version > BASELINE_VERSION:
        raise ReportError(
            f"{name} has version {version}, this nlclean reads up to {BASELINE_VERSION}", hint="upgrade nlclean"
        )
    rows: list[Row] = []
    for state in STATES:
        contents = document.get(state)
        if not isinstance(contents, dict) or not all(map(_is_labels, contents.values())):
            raise ReportError(f"{name} is damaged: {state!r} must map a content to its labels", hint=_HINT)
        rows += [Row(content, label, state) for content, labels in contents.items() for label in labels]
    return rows


def _is_labels(value: Any) -> bool:
    return isinstance(value, list) and all(label is None or isinstance(label, str) for label in value)


def _show(value: float, is_share: bool) -> str:
    return f"{100 * value:.4g} %" if is_share else f"{value:,}"

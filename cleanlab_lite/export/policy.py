"""What becomes of every row of a dataset: it stays or goes, under which label, with which weight, and who says so."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.evidence.decisions import Decision, settle
from cleanlab_lite.export.formats import Policy
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.text import counted

# Verdicts that are facts, not estimates: no confidence applies to dropping them.
_FACTS = ("unreadable", "duplicate_conflict")
SHOWN = 5  # ids or classes in one message
# What may go without being asked: an audit that flags more has seldom found so many wrong labels.
MAX_DROP = 0.3  # of all rows
MAX_DROP_OF_CLASS = 0.5  # of the rows of a class
MOST_OF_CLASS = "--max-drop-per-class 50%"  # what an export drops within that limit


@dataclass(frozen=True)
class Cleaning:
    """What becomes of the n rows of a report."""

    keep: np.ndarray  # (n,) bool
    labels: list[str | None]  # n new labels, None where the label stays
    reviewers: list[str | None]  # n names of who decided, None where the tool did
    open_to_change: np.ndarray  # (n,) bool: not held back, or opened by name
    weights: np.ndarray | None = None  # (n,) float64, 0-1: how much to trust the label; policy weight only
    notes: tuple[str, ...] = ()  # decisions that were passed over, a sentence each

    def counts(self) -> dict[str, int]:
        """Rows kept, dropped, under a new label, and of all rows those that people decided."""
        return {
            "kept": int(self.keep.sum()),
            "dropped": int((~self.keep).sum()),
            "relabelled": sum(label is not None for label in self.labels),
            "decided_by_people": sum(name is not None for name in self.reviewers),
        }


@dataclass(frozen=True)
class Cleaned:
    """What exporters of datasets write: the rows of a manifest, the report on them, and what becomes of them."""

    manifest: Manifest
    table: pa.Table  # of the report, n rows
    cleaning: Cleaning

    def labels(self) -> list[str | None]:
        """n labels after cleaning, None where a row has none."""
        given = self.table["given_label"].to_pylist()
        return [old if new is None else new for old, new in zip(given, self.cleaning.labels, strict=True)]

    def excess(self, max_drop: float | None = None) -> ConfigError | None:
        """What to raise instead of writing this: see `excess`."""
        decided = np.array([name is not None for name in self.cleaning.reviewers], dtype=bool)
        given, open_to_change = self.table["given_label"].to_pylist(), self.cleaning.open_to_change
        return excess(given, open_to_change, ~self.cleaning.keep, decided, max_drop, cap=True)


def apply_policy(
    report_table: pa.Table,
    held_back: np.ndarray,
    policy: Policy,
    *,
    min_confidence: float = 0.0,
    max_drop_per_class: float = 1.0,
    include_splits: Collection[str] = (),
    decisions: Iterable[Decision] = (),
) -> Cleaning:
    """Decide for every row of a report.

    - prune: every row goes that is flagged (`is_label_issue`) or whose action is drop or relabel.
    - correct: rows with action relabel get their suggested label, rows with action drop go. Rows to review stay.
    - correct-prune: rows with action relabel get their suggested label, every other row goes that prune lets go.
    - weight: every row stays, with the weight of the report.
    - decided: nothing but what people have decided.

    Nothing is done on less than `min_confidence` (0-1): a label is replaced when suggestion_confidence reaches it,
    a row goes, or weighs less than 1, when p_mislabel does; broken files and contradicting duplicates go in any case.
    Of the rows of a class (by given label, open to change) at most the share `max_drop_per_class` goes, the most
    probable errors first; rows that go in any case, and those that people drop, count and go first.

    `decisions` of people, settled over reviewers, come before all this: keep and relabel keep the row, drop drops it,
    unsure leaves it as it is. One on an id that the report does not have, or on another label than the report's, is
    passed over and noted.

    Rows where `held_back (n,) bool` (test and validation splits) stay as they are, unless their split is in
    `include_splits` (upper and lower case alike, blanks around it aside).

    Raises ConfigError when a name in there is no split of the report, when no decision fits the report, and when
    `max_drop_per_class` is given to the policy that drops nothing.
    """
    open_to_change = ~held_back | _in_splits(report_table, include_splits)
    if policy in ("weight", "decided") and max_drop_per_class < 1:
        raise ConfigError(f"the policy {policy} drops nothing by itself", hint="leave --max-drop-per-class out")
    settled, notes = _matching(report_table, open_to_change, decisions)

    action, issue = _texts(report_table, "action"), _texts(report_table, "issue")
    p = _numbers(report_table, "p_mislabel")
    fact = np.isin(issue, _FACTS)
    sure = open_to_change & (fact | (p >= min_confidence)) & (policy != "decided")
    drop, relabel = action == "drop", action == "relabel"
    suggested = report_table["suggested_label"].to_pylist()
    weights = None
    if policy in ("prune", "correct-prune"):
        drop = drop | relabel | np.asarray(report_table["is_label_issue"].fill_null(False))
    if policy == "weight":
        weights = np.where(sure, _numbers(report_table, "weight"), 1.0).astype(np.float64)
        drop = np.zeros_like(drop)
    if policy not in ("correct", "correct-prune"):
        relabel = np.zeros_like(relabel)
    relabel = relabel & open_to_change & (_numbers(report_table, "suggestion_confidence") >= min_confidence)
    relabel &= np.array([label is not None for label in suggested], dtype=bool)
    drop = drop & sure & ~relabel

    labels = [label if change else None for label, change in zip(suggested, relabel.tolist(), strict=True)]
    reviewers: list[str | None] = [None] * len(drop)
    given = report_table["given_label"].to_pylist()
    for row, decision in settled.items():
        reviewers[row] = decision.reviewer
        drop[row] = decision.action == "drop"
        labels[row] = decision.label if decision.label != given[row] else None
        if weights is not None and decision.action != "unsure":
            weights[row] = 1.0
    spared = _over_the_cap(report_table, open_to_change, drop, fact, reviewers, p, max_drop_per_class)
    return Cleaning(~drop | spared, labels, reviewers, open_to_change, weights, tuple(notes))


def _in_splits(table: pa.Table, names: Collection[str]) -> np.ndarray:
    """(n,) bool: rows of the splits `names`. Raises ConfigError for a name that no row has."""
    given = _texts(table, "split").tolist()
    splits = np.array([name.strip().casefold() for name in given], dtype=str)
    wanted = sorted({name.strip().casefold() for name in names})
    unknown = [name for name in wanted if name not in splits]
    if unknown:
        known = ", ".join(map(repr, sorted(set(given) - {""}))) or "none"
        raise ConfigError(f"no row has the split {', '.join(map(repr, unknown))}", hint=f"splits: {known}")
    return np.isin(splits, wanted)


def excess(
    given: Sequence[str | None],
    open_to_change: np.ndarray,
    drop: np.ndarray,
    decided: np.ndarray,
    max_drop: float | None = None,
    *,
    cap: bool = False,
) -> ConfigError | None:
    """What to raise where too much of a dataset would go; None where it would not.

    `given` are the labels of n rows; `open_to_change`, `drop` and `decided` (by people) are (n,) bool. Rows that people
    drop do not count. The others may be `MAX_DROP` of all rows and `MAX_DROP_OF_CLASS` of those of a class that are
    open to change, or the share `max_drop` of either. Rows that are open to change must be left in any case. `cap`: a
    policy drops them, which can spare the least certain ones of a class.
    """
    n = len(given)
    if drop.any() and not (open_to_change & ~drop).any():
        return ConfigError(
            f"every row that may change would be dropped ({int(drop.sum()):,}), and an empty dataset is never written",
            hint="is the audit to be trusted? `nlclean report` says what it found, `nlclean review` shows the rows",
        )
    counted = drop & ~decided
    losses = [_Loss("", int(counted.sum()), n, MAX_DROP if max_drop is None else max_drop)]
    labels = np.array(["" if label is None else label for label in given], dtype=object)
    of_class = MAX_DROP_OF_CLASS if max_drop is None else max_drop
    may_go = Counter(labels[open_to_change].tolist())
    losses += [
        _Loss(f" of class {label!r:.60}", rows, may_go[label], of_class)
        for label, rows in Counter(labels[counted & open_to_change].tolist()).items()
        if label
    ]
    over = [loss for loss in losses if loss.rows > loss.limit * loss.of + 1e-9]  # 0.3 * 10 is 2.999...
    if not over:
        return None
    over.sort(key=lambda loss: (bool(loss.what), -loss.share))  # of the whole first, then the worst class
    needed = math.ceil(100 * max(loss.share for loss in over) - 1e-9)
    more = f"; and {len(over) - SHOWN:,} more" if len(over) > SHOWN else ""
    way_out = f"--max-drop {needed}% lets them go"
    if cap and over[0].what:
        way_out += f", or {MOST_OF_CLASS} the most probable half of a class"
    return ConfigError(
        "too many rows would be dropped, nothing is written: " + "; ".join(map(str, over[:SHOWN])) + more,
        hint=f"look at them with `nlclean review`; {way_out}",
    )


@dataclass(frozen=True)
class _Loss:
    """How many rows go of how many."""

    what: str
    rows: int
    of: int
    limit: float  # share that may go

    @property
    def share(self) -> float:
        return self.rows / self.of

    def __str__(self) -> str:
        shares = f"({100 * self.share:.3g} %, the limit is {100 * self.limit:.3g} %)"
        return f"{self.rows:,} of {self.of:,} rows{self.what} {shares}"


def _matching(
    table: pa.Table, open_to_change: np.ndarray, decisions: Iterable[Decision]
) -> tuple[dict[int, Decision], list[str]]:
    """Row -> the one decision that counts for it; and notes on decisions that fit no row."""
    settled = settle(decisions)
    if not settled:
        return {}, []
    rows = {id: row for row, id in enumerate(table["id"].to_pylist())}
    given = table["given_label"].to_pylist()
    unknown = [id for id in settled if id not in rows]
    if len(unknown) == len(settled):
        raise ConfigError(
            f"of {counted(len(settled), 'decision')} none is on a row of this report, e.g. {unknown[0]!r:.60}",
            hint="are they decisions on another dataset?",
        )
    found = {rows[id]: decision for id, decision in settled.items() if id in rows}
    other = [decision.id for row, decision in found.items() if decision.given_label != given[row]]
    closed = [table["id"][row].as_py() for row in found if not open_to_change[row]]
    notes = [
        f"passed over: {counted(len(ids), 'decision')} {why}: " + ", ".join(f"{id!r:.60}" for id in ids[:SHOWN])
        for ids, why in (
            (unknown, "on no row of the report"),
            (other, "on a label that the row no longer has"),
            (closed, "in a test or validation split (--include-split names a split to change)"),
        )
        if ids
    ]
    passed_over = {*other, *closed}
    return {row: decision for row, decision in found.items() if decision.id not in passed_over}, notes


def _over_the_cap(
    table: pa.Table,
    open_to_change: np.ndarray,
    drop: np.ndarray,
    fact: np.ndarray,
    reviewers: list[str | None],
    p: np.ndarray,
    share: float,
) -> np.ndarray:
    """(n,) bool: the drops that stay, the least confident ones of classes that would lose more than `share`."""
    spared = np.zeros_like(drop)
    if share >= 1:
        return spared
    certain = fact | np.array([name is not None for name in reviewers])
    given = table["given_label"].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    for label in np.unique(given[drop & (given >= 0)]):
        rows = np.flatnonzero((given == label) & open_to_change)
        dropped = rows[drop[rows]]
        allowed = int(share * len(rows) + 1e-9)  # 0.3 * 10 is 2.999...
        order = np.lexsort((-p[dropped], ~certain[dropped]))  # certain ones first, then the most probable errors
        late = dropped[order[allowed:]]
        spared[late[~certain[late]]] = True
    return spared


def _texts(table: pa.Table, name: str) -> np.ndarray:
    """(n,) str, "" for null."""
    return np.array(table[name].fill_null("").to_pylist(), dtype=str)


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    """(n,) float32 as in the report, 0 for null: what was not measured reaches no threshold above 0."""
    return np.nan_to_num(np.asarray(table[name].fill_null(0.0), dtype=np.float32))

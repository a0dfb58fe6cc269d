"""Two runs over the same data: what is flagged in one and not in the other, and what is suggested otherwise.

Rows are matched by id, or by path where ids differ (a manifest that has got a column of ids since). Rows with one path
are matched in order.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.run.report import ReportTable, flags
from cleanlab_lite.run.summary import Noise

LEAST = 0.5  # share of the smaller run's rows that must be in the other, or they are different data
NEW, GONE, OTHER = "newly flagged", "no longer flagged", "other suggestion"
CHANGES = (NEW, GONE, OTHER)


@dataclass(frozen=True)
class Change:
    """A row on which the runs differ: before is the first run, after the second."""

    change: str  # one of CHANGES
    id: str  # in the second run
    path: str | None
    label_before: str | None
    label_after: str | None
    p_before: float | None
    p_after: float | None
    suggested_before: str | None
    suggested_after: str | None


@dataclass(frozen=True)
class ClassChange:
    """The matched rows that carry a label in the second run."""

    label: str
    rows: int
    flagged_before: int
    flagged_after: int
    newly_flagged: int
    no_longer_flagged: int


@dataclass(frozen=True)
class Comparison:
    """Before is the first run, after the second."""

    rows: int  # in both
    only_before: int
    only_after: int
    relabelled: int  # matched rows with another label
    flagged_before: int  # of the matched rows
    flagged_after: int
    flagged_in_both: int
    rate_before: Noise
    rate_after: Noise
    decided_before: int  # rows with a decision of people that the audit was given
    decided_after: int
    classes: list[ClassChange]
    changes: list[Change]  # by kind, most suspicious first

    @property
    def stay(self) -> float | None:
        """Share of the first run's flags that the second raises too; None where there are none."""
        return self.flagged_in_both / self.flagged_before if self.flagged_before else None

    @property
    def counts(self) -> dict[str, int]:
        """Rows by kind of change."""
        found = Counter(each.change for each in self.changes)
        return {name: found[name] for name in CHANGES}

    def as_dict(self) -> dict[str, Any]:
        """JSON types."""
        found = asdict(self)
        changes = found.pop("changes")
        return found | {"stay": self.stay, "counts": self.counts, "changes": changes}


def compare(before: ReportTable, after: ReportTable) -> Comparison:
    """Hold two runs against each other. Raises ConfigError where they are of different data."""
    first, second = match(before, after)
    old, new = before.table.take(pa.array(first)), after.table.take(pa.array(second))
    was, is_now = flags(old), flags(new)
    columns = {
        "label": "given_label",
        "p": "p_mislabel",
        "suggested": "suggested_label",
    }
    values: dict[str, list[Any]] = {"id": new["id"].to_pylist(), "path": new["path"].to_pylist()}
    for name, column in columns.items():
        values |= {f"{name}_before": old[column].to_pylist(), f"{name}_after": new[column].to_pylist()}
    other = np.array(values["suggested_before"], dtype=object) != np.array(values["suggested_after"], dtype=object)
    masks = {NEW: ~was & is_now, GONE: was & ~is_now, OTHER: was & is_now & other}
    changes = []
    for change, mask in masks.items():
        p = np.array(values["p_before" if change == GONE else "p_after"], dtype=np.float64)
        rows = np.flatnonzero(mask)
        for row in rows[np.argsort(-p[rows], kind="stable")]:
            changes.append(Change(change, **{name: cells[row] for name, cells in values.items()}))
    return Comparison(
        rows=len(first),
        only_before=len(before) - len(first),
        only_after=len(after) - len(second),
        relabelled=sum(a != b for a, b in zip(values["label_before"], values["label_after"], strict=True)),
        flagged_before=int(was.sum()),
        flagged_after=int(is_now.sum()),
        flagged_in_both=int((was & is_now).sum()),
        rate_before=before.summary.noise_rate,
        rate_after=after.summary.noise_rate,
        decided_before=before.summary.trusted,
        decided_after=after.summary.trusted,
        classes=_by_class(values["label_after"], was, is_now),
        changes=changes,
    )


def match(before: ReportTable, after: ReportTable) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (m,) int64 of the same rows in either run, in the order of the second."""
    smaller = min(len(before), len(after))
    for column in ("id", "path"):
        first, second = _shared(before.table[column].to_pylist(), after.table[column].to_pylist())
        if len(first) >= LEAST * smaller and len(first):
            return first, second
    raise ConfigError(
        f"the runs are of different data: they share {len(first):,} of {smaller:,} rows by path",
        hint="compare runs of one manifest, or of two versions of it with the same ids or paths",
    )


def _shared(before: Sequence[str | None], after: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    seen: dict[tuple[str, int], int] = {}
    for row, key in enumerate(_numbered(before)):
        if key is not None:
            seen[key] = row
    pairs = [(seen[key], row) for row, key in enumerate(_numbered(after)) if key is not None and key in seen]
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _numbered(names: Sequence[str | None]) -> list[tuple[str, int] | None]:
    """Each name with how often it has been there before."""
    count: Counter[str] = Counter()
    found: list[tuple[str, int] | None] = []
    for name in names:
        found.append(None if name is None else (name, count[name]))
        if name is not None:
            count[name] += 1
    return found


def _by_class(labels: Sequence[str | None], was: np.ndarray, is_now: np.ndarray) -> list[ClassChange]:
    """By label, those with most changes first."""
    names, index = np.unique([label or "" for label in labels], return_inverse=True)
    found = []
    for number, name in enumerate(names.tolist()):
        inside = index == number
        masks = (inside, inside & was, inside & is_now, inside & ~was & is_now, inside & was & ~is_now)
        found.append(ClassChange(name, *(int(mask.sum()) for mask in masks)))
    return sorted(found, key=lambda each: (-each.newly_flagged - each.no_longer_flagged, each.label))


def to_csv(comparison: Comparison) -> str:
    """The changed rows, a line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Change.__dataclass_fields__)
    writer.writerows(asdict(each).values() for each in comparison.changes)
    return text.getvalue()

"""Which rows of a manifest survive an export, and under which label."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
import pyarrow as pa

from cleanlab_lite.errors import ConfigError

What = Literal["pruned", "corrected"]

# Verdicts that are facts, not estimates: no confidence applies to dropping them.
_FACTS = ("unreadable", "duplicate_conflict")


def apply_policy(
    report_table: pa.Table,
    held_back: np.ndarray,
    what: What,
    min_confidence: float = 0.0,
    include_splits: Collection[str] = (),
) -> tuple[np.ndarray, list[str | None]]:
    """Decide for every row of a report. Returns `keep (n,) bool` and `labels`, n new labels, None where unchanged.

    - pruned: every row goes that is flagged (`is_label_issue`) or whose action is drop or relabel.
    - corrected: rows with action relabel get their suggested label, rows with action drop go. Rows to review stay.

    Nothing is done on less than `min_confidence` (0-1): a label is replaced when suggestion_confidence reaches it,
    a row goes when p_mislabel does; broken files and contradicting duplicates go in any case.

    Rows where `held_back (n,) bool` (test and validation splits) stay as they are, unless their split is in
    `include_splits` (upper and lower case alike). Raises ConfigError when a name in there is no split of the report.
    """
    splits = np.char.lower(_texts(report_table, "split"))
    wanted = sorted({name.lower() for name in include_splits})
    unknown = [name for name in wanted if name not in splits]
    if unknown:
        known = ", ".join(sorted(set(splits) - {""})) or "none"
        raise ConfigError(f"no row has the split {', '.join(map(repr, unknown))}", hint=f"splits: {known}")
    open_to_change = ~held_back | np.isin(splits, wanted)

    action, issue = _texts(report_table, "action"), _texts(report_table, "issue")
    fact = np.isin(issue, _FACTS)
    drop, relabel = action == "drop", action == "relabel"
    if what == "pruned":
        drop = drop | relabel | np.asarray(report_table["is_label_issue"].fill_null(False))
        relabel = np.zeros_like(drop)

    keep = ~(open_to_change & drop & (fact | (_numbers(report_table, "p_mislabel") >= min_confidence)))
    relabel &= open_to_change & (_numbers(report_table, "suggestion_confidence") >= min_confidence)
    suggested = report_table["suggested_label"].to_pylist()
    return keep, [label if change else None for label, change in zip(suggested, relabel.tolist(), strict=True)]


def _texts(table: pa.Table, name: str) -> np.ndarray:
    """(n,) str, "" for null."""
    return np.array(table[name].fill_null("").to_pylist(), dtype=str)


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    """(n,) float32 as in the report, 0 for null: what was not measured reaches no threshold above 0."""
    return np.nan_to_num(np.asarray(table[name].fill_null(0.0), dtype=np.float32))

"""Where a review stands, as data and as lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from cleanlab_lite.evidence.decisions import Agreement, Decision, agreement, settle, standing
from cleanlab_lite.report.reviewed import TARGET, looks_of, reviewed, rows_to_decide
from cleanlab_lite.run.report import flags
from cleanlab_lite.text import counted, escape

from .queue import order


def describe(table: pa.Table, decisions: Sequence[Decision], target: float = TARGET) -> dict[str, Any]:
    """JSON types: rows to review and those left of them, rows decided, by whom, agreement, calibration."""
    settled = settle(decisions)
    to_review = set(table["id"].take(pa.array(order(table))).to_pylist())
    ids = set(table["id"].to_pylist())
    agreed = agreement(decisions)
    found = reviewed(table, decisions)
    return {
        "rows": table.num_rows,
        "flagged": int(flags(table).sum()),
        "to_review": len(to_review),
        "decided": len(ids & settled.keys()),
        "left": len(to_review - settled.keys()),
        "actions": dict(sorted(Counter(settled[id].action for id in ids & settled.keys()).items())),
        "reviewers": dict(sorted(Counter(reviewer for reviewer, _ in standing(decisions)).items())),
        "unknown_ids": len(settled.keys() - ids),
        "agreement": asdict(agreed) if len(agreed.reviewers) > 1 else None,
        "calibration": None if found is None else found.as_dict(target),
    }


def agreement_line(found: Agreement) -> str:
    """How far the reviewers agree, in a line."""
    names = escape(", ".join(found.reviewers))
    if len(found.reviewers) < 2:
        return f"Agreement: one reviewer only, {names}" if names else "Agreement: nobody has decided anything"
    if not found.rows:
        return f"Agreement of {names}: no row was decided by all of them"
    kind = "Cohen's" if len(found.reviewers) == 2 else "Fleiss'"
    kappa = "not defined, all decided alike" if found.kappa != found.kappa else f"{found.kappa:.2f}"
    return f"Agreement of {names} on {counted(found.rows, 'row')}: {kind} kappa {kappa}"


def calibration_lines(table: pa.Table, decisions: Sequence[Decision], target: float = TARGET) -> list[str]:
    """What the decisions say of the whole set, in sentences."""
    found = reviewed(table, decisions)
    return [] if found is None else found.in_words(target)


def others_to_decide(table: pa.Table, decisions: Sequence[Decision], reviewer: str) -> bool:
    """Whether `--calibrate` has rows left that this reviewer has not decided."""
    decided = looks_of(table, [decision for decision in decisions if decision.reviewer == reviewer]).decided
    return not decided[rows_to_decide(table, decided)].all()


def progress_line(decisions: Sequence[Decision], reviewer: str) -> str:
    """What this reviewer has decided, in a line."""
    own = [decision.action for (who, _), decision in standing(decisions).items() if who == reviewer]
    counts = ", ".join(f"{action} {count:,}" for action, count in Counter(own).most_common())
    return f"{escape(reviewer)}: {counted(len(own), 'row')} decided" + (f" ({counts})" if counts else "")

"""What the decisions of a review say of the whole report: which rows to look at, how many are wrong, when to stop."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cleanlab_lite.evidence.decisions import Decision, by_row, majority
from cleanlab_lite.judge.reviews import (
    Count,
    Looks,
    Remaining,
    calibrate_by,
    contrary,
    decision_error,
    leading,
    random_order,
    remaining,
)
from cleanlab_lite.run.columns import Labels, numbers
from cleanlab_lite.run.report import flags
from cleanlab_lite.text import counted, percent

SAMPLE = 40  # rows that `review --calibrate` shows at a time
FEWEST = 5  # decisions that say anything of all rows: after two, 545 ± 626 errors were missed
AHEAD = 60  # rows of which it is said what looking at them would find
ASKED = f"{SAMPLE} decisions tell (`nlclean review --calibrate`)"  # ends a warning
TARGET = 0.01  # share of wrong labels below which a review may stop


@dataclass(frozen=True)
class Reviewed:
    """The report, calibrated by decisions. `p` is (n,) float64, as in `Calibrated`."""

    p: np.ndarray
    decided: int  # judged rows with a decision
    error: float | None  # share of decisions that are errors; None where no row was decided by two people
    flagged: Count
    unflagged: Count
    everything: Count
    ahead: int  # rows without a decision that are most probably wrong
    ahead_wrong: float  # of them, expected
    remaining: Remaining
    contrary: int = 0  # decisions that contradict the report, where these are many

    def stops(self, target: float = TARGET) -> bool:
        """Whether fewer labels than the share `target` are wrong, with 95 %, once the decisions are applied."""
        return self.remaining.share < target

    def as_dict(self, target: float = TARGET) -> dict[str, Any]:
        """JSON types."""
        left = asdict(self.remaining) | {"share": self.remaining.share, "target": target, "stop": self.stops(target)}
        rows = self.everything.rows
        ends = {name: getattr(self.everything, name) / rows for name in ("estimate", "low", "high")} if rows else None
        return {
            "decided": self.decided,
            "decision_error": self.error,
            "contrary": self.contrary,
            "flagged": asdict(self.flagged),
            "unflagged": asdict(self.unflagged),
            "noise_rate": ends,
            "next": {"rows": self.ahead, "wrong": self.ahead_wrong},
            "remaining": left,
        }

    def in_words(self, target: float = TARGET) -> list[str]:
        """A sentence each: what is wrong, how often, and whether to go on."""
        flagged, more, rows = self.flagged, self.unflagged, max(self.everything.rows, 1)
        count = self.everything
        text = (
            f"real flags: about {_number(flagged)} of {flagged.rows:,}; "
            f"wrong rows that are not flagged: about {_number(more)}"
        )
        if self.ahead:
            text += f"; reviewing {self.ahead:,} more would find about {self.ahead_wrong:,.0f}"
        ends = (percent(end / rows) for end in (count.estimate, count.low, count.high))
        decisions = counted(self.decided, "decision")
        rate = "noise rate by {}: {}, between {} and {}".format(decisions, *ends)
        found = [text, rate]
        if self.error is not None:
            found.append(f"about {percent(self.error)} of the decisions are errors, by rows that two people decided")
        if self.contrary:
            found.append(
                f"{counted(self.contrary, 'decision')} {'contradicts' if self.contrary == 1 else 'contradict'} what "
                "the report is sure of: look at these rows again; where the decisions are right, go on with "
                "`nlclean review --calibrate`, whose rows are drawn at random"
            )
        return [*found, self._whether_to_stop(target)]

    def _whether_to_stop(self, target: float) -> str:
        left = self.remaining
        if self.stops(target):
            return (
                f"stop here: with 95 % fewer than {_fine(target)} of the labels are wrong "
                "once the decisions are applied"
            )
        if not left.sample:
            return "do not stop yet: no row of a random sample is decided, see `nlclean review --calibrate`"
        sample = counted(left.sample, "row")
        return (
            f"do not stop yet: a random sample of {sample} shows with 95 % that at most {_fine(left.share)} of the "
            f"labels are wrong once the decisions are applied, not {_fine(target)}"
        )


def reviewed(table: pa.Table, decisions: Sequence[Decision]) -> Reviewed | None:
    """What decisions make of a report; None where fewer than `FEWEST` of them are about rows that were judged."""
    looks = looks_of(table, decisions)
    p = numbers(table, "p_mislabel")
    judged = np.isfinite(p)
    if (looks.decided & judged).sum() < min(FEWEST, max(judged.sum(), 1)):
        return None
    found = calibrate_by(p, flags(table), looks)
    undecided = np.sort(found.p[np.isfinite(p) & ~looks.decided])[::-1][:AHEAD]
    return Reviewed(
        p=found.p,
        decided=int((looks.decided & np.isfinite(p)).sum()),
        error=decision_error(looks.pairs, looks.disagreeing) if looks.pairs else None,
        flagged=found.flagged,
        unflagged=found.unflagged,
        everything=found.everything,
        ahead=len(undecided),
        ahead_wrong=float(undecided.sum()),
        remaining=remaining(p, looks),
        contrary=int(contrary(p, looks).sum()),
    )


def unanswered(warnings: Iterable[str], found: Reviewed | None) -> list[str]:
    """Those of a report that do not ask for decisions which people have made by now."""
    answered = found is not None and found.decided >= SAMPLE
    return [warning for warning in warnings if not (answered and warning.endswith(ASKED))]


def looks_of(table: pa.Table, decisions: Iterable[Decision]) -> Looks:
    """Decisions by the rows of the report. Whether a label is wrong is voted on whatever the right one may be."""
    cast = by_row(decisions)
    place = pc.index_in(pa.array(list(cast), pa.string()), value_set=table["id"].combine_chunks())
    given = Labels(table, "given_label")
    decided, wrong, known, left = (np.zeros(table.num_rows, dtype=bool) for _ in range(4))
    pairs = disagreeing = 0
    for row, of_row in zip(place.to_pylist(), cast.values(), strict=True):
        if row is None:
            continue
        label = given.text(row)
        votes = [says_wrong(decision, label) for decision in of_row]
        against, for_it = votes.count(True), votes.count(False)
        decided[row] = any(is_about(decision, label) for decision in of_row)
        known[row], wrong[row] = against != for_it, against > for_it
        settled = majority(of_row)
        left[row] = wrong[row] and not (says_wrong(settled, label) and settled.given_label == label)
        pairs += math.comb(against + for_it, 2)
        disagreeing += against * for_it
    return Looks(decided, wrong, known, pairs, disagreeing, left)


def says_wrong(decision: Decision, given: str | None) -> bool | None:
    """Whether this label is wrong, by a decision that may be about an earlier label of the row; None where it does not
    say."""
    if decision.action == "drop":
        return True if decision.given_label == given else None
    right = {"keep": decision.given_label, "relabel": decision.label}.get(decision.action)
    return None if right is None else right != given


def is_about(decision: Decision, given: str | None) -> bool:
    """Whether a row with this label is decided by it: another label that was dropped once says nothing of this one."""
    return decision.action == "unsure" or says_wrong(decision, given) is not None


def rows_to_decide(table: pa.Table, decided: np.ndarray) -> np.ndarray:
    """The next `SAMPLE` rows of the random order, where the first ones are `decided` (n,) bool."""
    order = random_order(numbers(table, "p_mislabel"))
    done = len(leading(order, decided))
    start = min(done, max(len(order) - 1, 0)) // SAMPLE * SAMPLE
    return order[start : start + SAMPLE]


def _fine(share: float) -> str:
    """Also of less than a tenth of a percent."""
    return percent(share) if share >= 0.001 else f"{100 * share:.2g} %"


def _number(found: Count) -> str:
    """With "±" where both its ends can be: an interval may be far longer on one side, or have one side only."""
    least, most = sorted((found.estimate - found.low, found.high - found.estimate))
    possible = found.within <= min(found.estimate, found.rows - found.estimate) and 3 * least >= most
    if possible or round(found.within) == 0:
        return f"{found.estimate:,.0f} ± {found.within:,.0f}"
    return f"{found.estimate:,.0f} ({found.low:,.0f} to {found.high:,.0f})"

"""`Verification`: whether cleaning helped. `verify.json` is exactly its fields, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cleanlab_lite.run.kept import Kept
from cleanlab_lite.run.layout import VERIFICATION

VERSION = 2  # 1 did not compare corrected-pruned
HELPED, HURT, USELESS, UNKNOWN, SAME = (
    *("helped", "made it worse", "did not help", "cannot be told"),
    "changes nothing",
)


@dataclass(frozen=True)
class Way:
    """What was learned from the labels as one way of cleaning leaves them. Means over the seeds."""

    name: str  # original, pruned, corrected, corrected-pruned, weighted or random
    summary: str  # what it does with the rows
    rows: int  # learned from
    relabelled: int
    accuracy: float  # share of the test rows that are predicted right
    by_seed: list[float]  # the same per seed; one where there is no chance in it
    difference: float | None  # of the accuracy to that of the original labels; None for those
    low: float | None  # ends of its 95 % interval, over seeds and test rows
    high: float | None
    verdict: str | None  # HELPED, HURT, USELESS, UNKNOWN or SAME; None for the original labels


@dataclass(frozen=True)
class Verification(Kept):
    """Of one run."""

    FILE, VERSION, COMMAND = VERIFICATION, VERSION, "nlclean verify"

    key: str  # of the run, the test rows, how it is trained, and nlclean
    run_id: str
    learner: str  # what was trained
    seeds: int
    measured_on: str  # "file", "split" or "agreeing"
    measure: str  # the same as a sentence, with what is to be known about it
    rows: int  # that were learned from, before any cleaning
    test_rows: int
    left_out: list[str]  # test rows that do not count, a sentence each
    ways: list[Way]  # the original labels first
    sentence: str  # the verdict

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**{**stored, "ways": [Way(**each) for each in stored["ways"]]})

"""Progress is an event that the caller may draw; the library prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One step forward. `done == total` closes the stage; `total == 0` means not known yet."""

    stage: str  # "read", "decode", "encode", "filters", "duplicates", "heads", "train", "judge", "report", "page"
    done: int
    total: int
    unit: str  # what is counted: "rows", "files", "epochs"
    note: str = ""  # one line of news, e.g. "network 2 of 5, epoch 7, loss 0.81"
    share: float | None = None  # of the whole audit that is done; it never falls, and is 1 at the end only
    left: float | None = None  # seconds that the rest of the audit takes, by a forecast and what was measured since


OnProgress = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """The default listener."""

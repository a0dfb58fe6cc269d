"""Progress is an event that the caller may draw; the library prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One step forward. `done == total` closes the stage; `total == 0` means not known yet."""

    stage: str  # "read", "decode", "encode", "duplicates", "train", "detect", "combine", "report"
    done: int
    total: int
    unit: str  # what is counted: "rows", "files", "epochs"
    note: str = ""  # one line of news, e.g. "proxy 2/5, epoch 7, loss 0.81"


OnProgress = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """The default listener."""

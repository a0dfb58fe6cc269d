"""`Clock`: one time budget and one line of progress over decoding, encoding, the search for copies, and training.

It is made once per audit and passed on; whoever works tells it how far the work is, and it stops the run when the
time is up. What has been done by then is kept: a call that was stopped goes on from there. So that any budget gets
further, nothing is stopped before this process has done something that outlasts it.
"""

from __future__ import annotations

import time

from cleanlab_lite.errors import StoppedEarly
from cleanlab_lite.progress import OnProgress, Progress, ignore

KEPT = ("decode", "encode")  # stages of which every step forward is on the disk


class Clock:
    """Seconds of `budget` from now on, 0 for no limit. Itself a listener of progress.

    `moved` is whether this process has done something that is kept.
    """

    def __init__(self, budget: float = 0.0, on_progress: OnProgress = ignore) -> None:
        self.budget, self.on_progress = budget, on_progress
        self.deadline = time.monotonic() + budget if budget else None
        self.moved = False
        self.done = self.total = 0  # epochs of all proxies
        self._reached: dict[str, int] = {}

    def __call__(self, progress: Progress) -> None:
        """Pass an event on. Raises StoppedEarly when the time is up and the stage is not over."""
        self.on_progress(progress)
        before = self._reached.get(progress.stage, progress.done)  # the first event tells what was found, not done
        self.moved |= progress.stage in KEPT and progress.done > before
        self._reached[progress.stage] = progress.done
        if progress.done < progress.total:
            self.check(f"{progress.stage}: {progress.done:,} of {progress.total:,} {progress.unit}")

    @property
    def remaining(self) -> float:
        """Seconds, hardly any where the time is up; 0 for no limit."""
        return 0.0 if self.deadline is None else max(self.deadline - time.monotonic(), 1e-3)

    def check(self, where: str) -> None:
        """Raises StoppedEarly when the time is up. `where` says what was being done."""
        if self.moved and self.deadline is not None and time.monotonic() > self.deadline:
            raise self.late(where)

    def late(self, where: str) -> StoppedEarly:
        """What is raised when the time is up."""
        return StoppedEarly(
            f"the time budget of {self.budget:.10g} s is used up ({where})", hint="the same command goes on from here"
        )

    def expect(self, total: int) -> None:
        """From now on `total` epochs are to be counted from 0."""
        self.done, self.total = 0, total

    def reach(self, done: int) -> None:
        """So many epochs are done, by this process or an earlier one."""
        self.done = done

    def pulse(self, epochs: int, note: str) -> Pulse:
        """What the training of one network of `epochs` tells; `note` names it in progress and messages."""
        return Pulse(self, epochs, note)


class Pulse:
    """The heartbeat of one training: a clock hears of its steps, clean passes and epochs."""

    def __init__(self, clock: Clock, epochs: int, note: str) -> None:
        self.clock, self.epochs, self.note = clock, epochs, note
        self.start = clock.done
        self.epoch = 0

    def step(self) -> None:
        """A step of training is done; who trains saves it before the stop goes on its way. Raises StoppedEarly."""
        self.clock.moved = True
        self.look()

    def look(self) -> None:
        """Part of a clean pass is done, which is lost by stopping. Raises StoppedEarly."""
        self.clock.check(f"{self.note}, epoch {self.epoch + 1} of {self.epochs}")

    def end_epoch(self, epoch: int) -> None:
        """Epoch `epoch`, counted from 0, is trained and observed."""
        self.epoch = epoch + 1
        total = self.clock.total or self.epochs
        self.clock.on_progress(Progress("train", self.start + self.epoch, total, "epochs", self.note))

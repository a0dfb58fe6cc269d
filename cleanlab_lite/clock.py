"""`Clock`: one time budget and one line of progress over decoding, encoding, the search for copies, and training.

It is made once per audit and passed on; whoever works tells it how far the work is, and it stops the run when the
time is up. What has been done by then is kept: a call that was stopped goes on from there. So that any budget gets
further, nothing is stopped before this process has done something that outlasts it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from cleanlab_lite.errors import StoppedEarly
from cleanlab_lite.forecast import Course, Forecast
from cleanlab_lite.progress import OnProgress, Progress, ignore

KEPT = ("decode", "encode")  # stages of which every step forward is on the disk
LATE = 2.0  # seconds after the end of a budget that are worth a word


class Clock:
    """Seconds of `budget` from now on, 0 for no limit. Itself a listener of progress.

    With a `forecast`, what it passes on says how much of the whole audit is done. `moved` is whether this process has
    done something that is kept.
    """

    def __init__(self, budget: float = 0.0, on_progress: OnProgress = ignore, forecast: Forecast | None = None) -> None:
        self.budget, self.on_progress = budget, on_progress
        self.deadline = time.monotonic() + budget if budget else None
        self.moved = False
        self.done = self.total = 0  # epochs of all proxies
        self._reached: dict[str, int] = {}
        self._forecast = {part.name: part for part in forecast.parts} if forecast else {}
        self._course = Course(forecast) if forecast else None
        self._part = ""  # of the forecast, while networks are trained
        self._epochs: dict[str, int] = {}  # by stage of the run: of every network of this part, discarded ones too
        self._planned = 0.0  # of all of them
        self._where = ""  # what was looked at last
        self._told: Progress | None = None  # last

    def __call__(self, progress: Progress) -> None:
        """Pass an event on. Raises StoppedEarly when the time is up and the stage is not over."""
        self.tell(progress)
        before = self._reached.get(progress.stage, progress.done)  # their first event tells what was found, not done
        self.moved |= progress.stage in KEPT and progress.done > before
        self._reached[progress.stage] = progress.done
        if progress.done < progress.total:
            self.check(f"{progress.stage}: {progress.done:,} of {progress.total:,} {progress.unit}")

    def tell(self, progress: Progress) -> None:
        """Pass an event on, with how far the whole audit is."""
        if self._course is not None:
            if progress.stage == "train":
                share, left = self._hear(found=False)
            else:
                found = progress.stage in KEPT and progress.stage not in self._reached
                done = progress.done / progress.total if progress.total else 1.0
                part = self._forecast.get(progress.stage)
                done = part.beyond(done) if part is not None else done
                share, left = self._course.hear(progress.stage, done, found=found)
            progress = replace(progress, share=share, left=left)
        self._told = progress
        self.on_progress(progress)

    def _hear(self, *, found: bool) -> tuple[float, float]:
        """How far the whole audit is, networks being trained."""
        assert self._course is not None
        expected = self._forecast[self._part].epochs if self._part in self._forecast else 1.0
        done = sum(self._epochs.values())
        return self._course.hear(self._part, done / expected, max(self._planned, done) / expected, found=found)

    @property
    def remaining(self) -> float:
        """Seconds, hardly any where the time is up; 0 for no limit."""
        return 0.0 if self.deadline is None else max(self.deadline - time.monotonic(), 1e-3)

    def check(self, where: str) -> None:
        """Raises StoppedEarly when the time is up. `where` says what was being done."""
        if self.deadline is None:
            return
        if not self.moved:
            self._where = f"{where}: there was nothing yet to go on from"
            return
        late = time.monotonic() - self.deadline
        if late > 0:
            why = f"; {late:,.0f} s late, after {self._where}" if late >= LATE and self._where else ""
            raise self.late(where, why)
        self._where = f"{where}, which is done in one piece"

    def late(self, where: str, why: str = "") -> StoppedEarly:
        """What is raised when the time is up."""
        return StoppedEarly(
            f"the time budget of {self.budget:.10g} s is used up ({where}){why}",
            hint="the same command goes on from here",
        )

    def overrun(self) -> str:
        """That more than the budget was taken, and why; "" where it was not."""
        late = time.monotonic() - self.deadline if self.deadline is not None else 0.0
        if late < LATE:
            return ""
        why = "regression, judge and report are each done in one piece"
        return f"{late:,.0f} s over the time budget of {self.budget:.10g} s: {why}"

    def begin(self, part: str) -> None:
        """Networks of another part of the forecast are trained from now on."""
        self._part, self._epochs, self.done, self.total = part, {}, 0, 0
        self._planned = self._forecast[part].epochs if part in self._forecast else 0.0
        self._look_around()

    def expect(self, total: int, tried: Iterable[str] = ()) -> None:
        """From now on `total` epochs are to be counted from 0; those of the stages `tried` are among them, and done."""
        self.done, self.total = 0, total
        self._planned = sum(self._epochs.values()) + total - sum(self._epochs.get(stage, 0) for stage in tried)
        self._look_around()

    def reach(self, done: int) -> None:
        """So many epochs are done, by this process or an earlier one."""
        self.done = done

    def trained(self, stage: str, epochs: int) -> None:
        """The network of a stage of the run has come so far."""
        self._epochs[stage] = epochs

    def ahead(self, part: str, epochs: int) -> None:
        """A network of a later part of the forecast has come so far, beside those of this one. What was told is told
        once more, with that."""
        if self._course is not None and part in self._forecast:
            self._course.ahead(part, epochs / self._forecast[part].epochs)
        if self._told is not None and self._told.stage == "train":
            self.tell(self._told)

    def found(self, stage: str, epochs: int) -> None:
        """An earlier process has trained the network of a stage."""
        self._epochs[stage] = epochs
        self._look_around()

    def _look_around(self) -> None:
        """What changes now is not this process's work."""
        if self._course is not None:
            self._hear(found=True)

    def pulse(self, epochs: int, note: str, stage: str = "") -> Pulse:
        """What the training of one network of `epochs` tells; `note` names it in progress and messages.

        Args:
            stage: of the run.
        """
        return Pulse(self, epochs, note, stage)


class Pulse:
    """The heartbeat of one training: a clock hears of its steps, clean passes and epochs."""

    def __init__(self, clock: Clock, epochs: int, note: str, stage: str = "") -> None:
        self.clock, self.epochs, self.note, self.stage = clock, epochs, note, stage
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
        self.clock.trained(self.stage or self.note, self.epoch)
        self.clock.tell(Progress("train", self.start + self.epoch, total, "epochs", self.note))

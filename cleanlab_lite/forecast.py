"""`Forecast`: how long each stage of an audit will take. `Course`: how far an audit is, by that and by what it took.

Pure arithmetic: what steps of the job at hand take is measured in `train.timing`, and the rest in `judge.cost`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

# Rows: of fewer, the timed steps would take as long as the audit; on a GPU 10 s, most of it to plan convolutions
WORTH_TIMING, WORTH_TIMING_GPU = 500, 100_000
SOON = 0.25  # of a part: when so much of it is done, what it took counts alone
STEADY = 0.1  # of the whole: before so much is done, the forecast says more about the rest than what was done
LARGEST = 0.99  # share of an audit that is not over


def worth_timing(rows: int, device: str | None) -> bool:
    """Whether an audit takes so long that its time is worth a forecast. `device`: of networks; None without any."""
    return rows >= (WORTH_TIMING if device in (None, "cpu") else WORTH_TIMING_GPU)


@dataclass(frozen=True)
class Part:
    """Seconds that one part of an audit is expected to take; between `least` and `most` where trials decide."""

    name: str  # of its stage in progress; of networks on a second view, that of the view
    seconds: float
    least: float
    most: float
    epochs: float = 0.0  # of all its networks, discarded trials too; 0 where nothing is trained
    cached: float = 0.0  # share of its rows that the cache holds: `seconds` are of the others

    @classmethod
    def sure(cls, name: str, seconds: float, cached: float = 0.0) -> Part:
        """One that nothing is decided about on the way."""
        return cls(name, seconds, seconds, seconds, cached=cached)

    def beyond(self, done: float) -> float:
        """What is done of that which the cache does not hold, where so much is done of all."""
        return done if self.cached >= 1 else max((done - self.cached) / (1 - self.cached), 0.0)


@dataclass(frozen=True)
class Forecast:
    """The parts of an audit in order."""

    parts: tuple[Part, ...]

    @property
    def seconds(self) -> float:
        return sum(part.seconds for part in self.parts)

    @property
    def least(self) -> float:
        return sum(part.least for part in self.parts)

    @property
    def most(self) -> float:
        return sum(part.most for part in self.parts)

    def facts(self) -> dict[str, object]:
        """JSON types."""
        return {
            "estimated_seconds": round(self.seconds, 1),
            "estimated_least": round(self.least, 1),
            "estimated_most": round(self.most, 1),
            "estimated_parts": {part.name: round(part.seconds, 1) for part in self.parts},
            "estimated_cached": {part.name: round(part.cached, 3) for part in self.parts if part.cached},
        }


@dataclass
class _Stretch:
    """A part on the way. Work is counted in what the forecast takes for the whole part."""

    expected: float  # seconds
    work: float = 1.0  # in all: more than 1 where trials choose more epochs
    done: float = 0.0
    gained: float = 0.0  # by this process
    spent: float = 0.0  # seconds of this process
    over: bool = False


class Course:
    """Where an audit stands. What an earlier process did counts as done, but says nothing of how fast this one is.

    `clock` gives seconds.
    """

    def __init__(self, forecast: Forecast, clock: Callable[[], float] = time.monotonic) -> None:
        self._stretches = {part.name: _Stretch(part.seconds) for part in forecast.parts}
        self._whole = forecast.seconds
        self._clock = clock
        self._since = clock()
        self._current: str | None = None
        self._share = 0.0

    def hear(self, name: str, done: float, work: float = 1.0, *, found: bool = False) -> tuple[float, float]:
        """What share of the audit is done, which never falls, and the seconds left.

        Args:
            name: of the part at hand; those before it are over. A name that the forecast does not know is passed over.
            done: of its `work`.
            found: an earlier process did what is new.
        """
        now = self._clock()
        if name in self._stretches:
            self._arrive(name, now)
            at = self._stretches[name]
            done = max(done, at.done)  # what is gone through twice has come so far the first time
            if not found:
                at.gained += done - at.done
            at.work = max(work, done)
            at.done, at.over = done, done >= work
        past = sum(each.done * self._length(each) / each.work for each in self._stretches.values())
        left = sum((1 - each.done / each.work) * self._length(each) for each in self._stretches.values())
        share = 1.0 if all(each.over for each in self._stretches.values()) else min(past / (past + left or 1), LARGEST)
        self._share = max(self._share, share)
        return self._share, left

    def ahead(self, name: str, done: float) -> None:
        """So much of a part that comes later is done beside the one at hand, which takes its time."""
        at = self._stretches[name]
        at.done = max(at.done, min(done, at.work))

    def _arrive(self, name: str, now: float) -> None:
        """Time has passed in the part that was not over, and parts before this one are: done, or left out."""
        at = self._stretches[name if self._current is None else self._current]
        (self._stretches[name] if at.over else at).spent += now - self._since
        self._since, self._current = now, name
        for before, each in self._stretches.items():
            if before == name:
                break
            each.done, each.over = each.work, True

    def _length(self, each: _Stretch) -> float:
        """Seconds that a whole part takes: by forecast, by how other forecasts came true, by its own rate so far."""
        expected = each.work * each.expected * self._pace
        if each.gained <= 0:
            return expected
        weight = min(each.gained / (SOON * each.work), 1.0)
        return (1 - weight) * expected + weight * each.work * each.spent / each.gained

    @property
    def _pace(self) -> float:
        """How many times as long as was expected everything takes so far."""
        known = [each for each in self._stretches.values() if each.gained > 0]
        steady = STEADY * self._whole
        expected = steady + sum(each.gained * each.expected for each in known)
        return (steady + sum(each.spent for each in known)) / expected if expected > 0 else 1.0


# --- How long networks take ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wave:
    """Networks that are trained side by side, for so many epochs on a share of the rows."""

    networks: int
    epochs: int
    learned: float = 1.0  # share of the rows


@dataclass(frozen=True)
class Speed:
    """What one network costs, in seconds."""

    begin: float  # to build it, and to leave what it saw
    step: float  # of training
    epoch: float  # beside steps and rows
    row: float  # of a clean pass
    batch: int  # rows of a step

    def of(self, epochs: int, rows: int, observed: int) -> float:
        """To learn from `rows` and look at `observed` rows after each epoch, and once more for their features."""
        steps = max(1, rows // self.batch)
        return self.begin + self.row * observed + epochs * (steps * self.step + self.epoch + self.row * observed)


def schedule_seconds(waves: list[Wave], speed: Speed, rows: int, observed: int, workers: int) -> float:
    """Of waves one after the other, `workers` networks of each at a time."""
    return sum(
        math.ceil(wave.networks / workers) * speed.of(wave.epochs, round(wave.learned * rows), observed)
        for wave in waves
    )


def epochs_of(waves: list[Wave]) -> int:
    """Of all networks."""
    return sum(wave.networks * wave.epochs for wave in waves)

"""`SelfTest`: what audits make of planted errors. `selftest.json` is exactly its fields, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cleanlab_lite.run.kept import Kept
from cleanlab_lite.run.layout import SELFTEST

VERSION = 2


@dataclass(frozen=True)
class Bin:
    """Rows whose p_mislabel lies in one tenth of 0..1."""

    rows: int
    p: float  # mean
    wrong: float  # share


@dataclass(frozen=True)
class ClassOutcome:
    """The rows with one label. Shares are None where they are shares of nothing."""

    label: str
    rows: int
    planted: int
    flagged: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Outcome:
    """How well errors of one shape were found. Shares are None where they are shares of nothing."""

    shape: str
    summary: str  # of the shape
    rows: int  # that count
    planted: int
    flagged: int
    average_precision: float | None
    precision: float | None  # of the flags
    recall: float | None
    precision_at_depth: float | None  # of as many of the most suspicious rows as the run flags, by share
    noise_rate: float | None  # as the audit estimates it; planted / rows is what it is
    corrections: int  # flagged rows with a suggestion
    corrections_right: float | None  # share of them whose suggestion is the true label
    calibration: list[Bin]
    classes: list[ClassOutcome]

    @property
    def weakest(self) -> list[ClassOutcome]:
        """Classes into which something was planted, those whose errors are found least first."""
        known = [each for each in self.classes if each.recall is not None]
        return sorted(known, key=lambda each: (each.recall or 0.0, each.label))


@dataclass(frozen=True)
class Between:
    """A share, and the interval that is expected to hold it."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Expected:
    """What to expect of the run's own flags. None where nothing is flagged."""

    average_precision: Between | None
    precision: Between | None
    recall: Between | None
    sentence: str

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Expected:
        """What `asdict` gave. Raises KeyError or TypeError where it is something else."""
        names = ("average_precision", "precision", "recall")
        return cls(**{**stored, **{name: stored[name] and Between(**stored[name]) for name in names}})


@dataclass(frozen=True)
class SelfTest(Kept):
    """Of one run."""

    FILE, VERSION, COMMAND = SELFTEST, VERSION, "nlclean selftest"

    key: str  # of the run, the options of its audits, and nlclean
    run_id: str
    preset: str
    seed: int
    noise_rate: float  # of the run: errors were planted at it, or more where that is `crowded`
    flagged: int  # by the run
    expected: Expected
    shapes: list[Outcome]
    left_out: list[str]  # why there is no other shape, a sentence each

    @property
    def crowded(self) -> bool:
        """Whether more errors were planted than the noise rate has, which would be too few, and count for less."""
        return all(each.planted > self.noise_rate * each.rows + 1 for each in self.shapes)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        shapes = [
            Outcome(
                **shape
                | {
                    "calibration": [Bin(**each) for each in shape["calibration"]],
                    "classes": [ClassOutcome(**each) for each in shape["classes"]],
                }
            )
            for shape in stored["shapes"]
        ]
        return cls(**{**stored, "expected": Expected.from_dict(stored["expected"]), "shapes": shapes})

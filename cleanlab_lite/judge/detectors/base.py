"""What a detector returns, and the table of detectors."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cleanlab_lite.registry import Registry

GIVEN = ("trust", "seed", "first_epoch", "last_epoch", "search")


@dataclass(frozen=True)
class DetectorFacts:
    """What an audit must know of a detector."""

    runs: bool = False  # an audit runs it where its evidence is there; the others are functions of the library
    given: tuple[str, ...] = ()  # its options that an audit sets, of GIVEN

    def __post_init__(self) -> None:
        if not set(self.given) <= set(GIVEN):
            raise ValueError(f"given is {self.given!r}, an audit can set {', '.join(GIVEN)}")


DETECTORS = Registry("detector", DetectorFacts)


@dataclass(frozen=True)
class Detection:
    """The judgement of one detector over n samples."""

    score: np.ndarray  # (n,) float64, higher is cleaner; NaN where the detector cannot say
    columns: dict[str, np.ndarray] = field(default_factory=dict)  # report columns it fills, each (n, ...)
    reasons: dict[str, np.ndarray] = field(default_factory=dict)  # reason code -> (n,) bool, rows it speaks for
    facts: dict[str, object] = field(default_factory=dict)  # numbers about the whole set, JSON types only

"""`Stability`: how far the flags hang on chance. `stability.json` is exactly its fields, in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from cleanlab_lite.run.kept import Kept
from cleanlab_lite.run.layout import STABILITY

VERSION = 1


@dataclass(frozen=True)
class OtherSeed:
    """The same audit with another seed."""

    seed: int
    folder: str  # of its run
    flagged: int
    stay: float  # share of the run's flags that it raises, too
    newly_flagged: int
    no_longer_flagged: int
    other_suggestion: int  # rows flagged by both that it would relabel otherwise
    noise_rate: float | None


@dataclass(frozen=True)
class Stability(Kept):
    """How far the flags of a run hang on chance."""

    FILE, VERSION, COMMAND = STABILITY, VERSION, "nlclean compare --seeds"

    run_id: str
    seed: int  # of the run
    flagged: int
    noise_rate: float | None
    stay: float  # share of the flags that another seed raises, too, in the mean
    always: float  # share of them that all seeds raise
    added: float  # flags that another seed raises beside them, as a share of them, in the mean
    seeds: list[OtherSeed]
    sentence: str

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**{**stored, "seeds": [OtherSeed(**each) for each in stored["seeds"]]})

"""What people have decided about rows: these are not judged again, and the others by them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cleanlab_lite.evidence.evidence import NOBODY, Asked, Evidence
from cleanlab_lite.judge.reviews import Looks


@dataclass(frozen=True)
class Anchors:
    """Rows that people have decided on: they are not judged again."""

    decided: np.ndarray  # (n,) bool
    wrong: np.ndarray  # (n,) bool, the given label is
    classes: np.ndarray  # (n,) int64 the class that was decided on; NO_CLASS or NOBODY where there is none
    relabelled: np.ndarray  # (n,) bool, another class was decided on
    asked: Asked | None = None  # what was said of them then

    @classmethod
    def of(cls, evidence: Evidence) -> Anchors:
        labels = evidence.labels
        classes = np.full(len(labels), NOBODY) if evidence.decided is None else evidence.decided
        decided = classes != NOBODY
        other = decided & (classes != labels)
        return cls(decided, other & (labels >= 0), classes, other & (classes >= 0), evidence.asked)

    @property
    def looks(self) -> Looks:
        """What was decided of each label."""
        looks = Looks(self.decided, self.wrong, self.decided)
        return looks if self.asked is None else replace(looks, p=self.asked.p, at_random=self.asked.at_random)

    @property
    def kept(self) -> np.ndarray:
        """(n,) bool: the label is right."""
        return self.decided & ~self.wrong

    @property
    def dropped(self) -> np.ndarray:
        """(n,) bool: the label is wrong, and there is no other."""
        return self.wrong & ~self.relabelled

    def settle(self, p: np.ndarray) -> np.ndarray:
        """(n,) p_mislabel, which is 0 or 1 where it was decided and is not NaN."""
        return np.where(self.decided & np.isfinite(p), self.wrong, p)

    def suggest(self, best: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) the class that takes the place of the label, and its probability."""
        confidence = np.where(self.relabelled, 1.0, np.where(self.dropped, 0.0, confidence))
        return np.where(self.relabelled, self.classes, best), confidence

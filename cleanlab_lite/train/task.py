"""`Task`: what there is to learn. `View`: one way of looking at its rows.

encoder       vectors of a frozen pretrained network
pixels        decoded pictures, for networks from scratch
patches       log-mel spectrograms of sounds, for networks from scratch
statistics    of the spectrogram of a whole clip, a vector
filters       of pictures or patches, a vector by how like they are to small pieces of each other
vectors       those of the user

Letters: n samples, k classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.evidence.evidence import NO_CLASS, taught_labels
from cleanlab_lite.groups import roots
from cleanlab_lite.manifest.manifest import Modality

ENCODER, STATISTICS, FILTERS = "encoder", "statistics", "filters"
MADE = (ENCODER, STATISTICS, FILTERS)  # vectors that are made of files
DATA: dict[Modality, str] = {"image": "pixels", "sound": "patches", "vector": "vectors"}  # themselves
VIEWS: dict[Modality, tuple[str, ...]] = {  # in the order in which networks are trained on them
    "image": (ENCODER, "pixels", FILTERS),
    "sound": (ENCODER, "patches", STATISTICS, FILTERS),
    "vector": ("vectors",),
}


@dataclass(frozen=True)
class View:
    """One way of looking at the rows: decoded pictures, patches of sounds, vectors of an encoder or of the user."""

    name: str
    inputs: Inputs


@dataclass(frozen=True)
class Task:
    """Rows, labels and views that proxies learn from. Plain data: it travels to other processes."""

    labels: np.ndarray  # (n,) int64, -1 where there is none
    num_classes: int
    views: Mapping[str, View]  # by name
    copy_of: np.ndarray  # (n,) int64, first of the rows that are held out together, -1 for that row and unique rows
    decided: np.ndarray | None = None  # (n,) int64, the class that people have decided on, as in `Evidence`

    @classmethod
    def of(
        cls,
        labels: np.ndarray,
        num_classes: int,
        inputs: Inputs,
        *,
        view: str = "pixels",
        copy_of: np.ndarray | None = None,
        decided: np.ndarray | None = None,
    ) -> Task:
        """A task with one view. Rows of the same content are copies unless `copy_of` says otherwise."""
        copies = inputs.duplicate_of if copy_of is None else copy_of
        return cls(labels, num_classes, {view: View(view, inputs)}, copies, decided)

    @property
    def main(self) -> View:
        """The view that proxies are trained on."""
        return next(iter(self.views.values()))

    @property
    def readable(self) -> np.ndarray:
        """(n,) bool: the main view has the row."""
        return self.main.inputs.readable

    @cached_property
    def teachable(self) -> np.ndarray:
        """(n,) bool: readable, and labelled or decided."""
        return self.readable & (taught_labels(self.labels, self.decided) >= 0)

    @property
    def taught(self) -> np.ndarray:
        """(n,) int64: what teachable rows teach, the decided class or the label; -1 for others."""
        return np.where(self.teachable, taught_labels(self.labels, self.decided), -1)

    @cached_property
    def strange(self) -> np.ndarray:
        """(n,) bool: readable, and decided to be of no class."""
        return self.readable & (self.decided == NO_CLASS) if self.decided is not None else np.zeros(len(self), bool)

    @cached_property
    def order(self) -> np.ndarray:
        """(n,) int64: all rows by content and label: what is drawn from them hangs on no order of a manifest."""
        return self.main.inputs.order(self.labels)

    def rows(self, wanted: np.ndarray) -> np.ndarray:
        """(r,) int64: the rows that are `wanted` (n,) bool, in that order."""
        return self.order[wanted[self.order]]

    @property
    def group(self) -> np.ndarray:
        """(n,) int64: the first row of the copies that a row belongs to, the row itself where it is unique."""
        return roots(self.copy_of)

    def __len__(self) -> int:
        return len(self.labels)

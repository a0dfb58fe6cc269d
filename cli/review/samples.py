"""`SampleReader`: all that a run folder knows about one row, read from its files when it is asked for.

Letters: n rows, e epochs, d features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cleanlab_lite.manifest.manifest import Segment
from cleanlab_lite.report.reasons import context, epochs_of, in_sentences, why
from cleanlab_lite.run import RunFolder
from cleanlab_lite.run.columns import Labels, numbers
from cleanlab_lite.run.folder import CURVES
from cleanlab_lite.run.report import content_groups, flags
from cleanlab_lite.text import renamed

NEIGHBOURS = 6  # per class
SEARCHED = 20_000  # rows of a class that are compared, so that a step takes the same time in any set
TYPICAL = 2_000  # unflagged rows that the typical curves are the median of


@dataclass(frozen=True)
class Neighbour:
    """A row near the one on show."""

    row: int
    id: str
    label: str | None
    similarity: float | None = None  # cosine; None where the run has no features


@dataclass(frozen=True)
class Curve:
    """A quantity over epochs, and its median over rows that are not flagged."""

    own: np.ndarray  # (e,) NaN where nothing was recorded
    typical: np.ndarray  # (e,)


@dataclass(frozen=True)
class Sample:
    """A row of the report with what belongs to it."""

    row: int
    values: Mapping[str, Any]  # the report's columns
    reasons: tuple[str, ...]  # sentences, the most telling first
    loss: Curve  # nats
    margin: Curve  # logits
    nearest: tuple[Neighbour, ...]  # of any class
    given: tuple[Neighbour, ...]  # unflagged rows of the given class, most similar first
    suggested: tuple[Neighbour, ...]  # the same of the class on offer, or else of the most probable other one
    rival: str | None  # that class
    copies: tuple[Neighbour, ...]  # rows with the same content
    classes: tuple[str, ...]  # all of them, as they are called here


class SampleReader:
    """The rows of a finished run.

    Raises ReportError when a part of it cannot be read.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.report, self.manifest = run.report, run.manifest
        self._ids = self.table["id"].combine_chunks()
        self._given = Labels(self.table, "given_label")
        self._p, self._flagged = numbers(self.table, "p_mislabel"), flags(self.table)

    @property
    def table(self) -> pa.Table:
        return self.report.table

    @property
    def modality(self) -> str:
        """image, sound or vector; what vectors were made of, where that is known."""
        return self.manifest.source.media or self.manifest.modality

    @property
    def name(self) -> str:
        """File or folder name of what was audited."""
        return Path(self.manifest.source.path).name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.classes

    def uri(self, row: int) -> str:
        """Where the file of the row lies; "" where it has none."""
        return "" if self.manifest.uris is None else str(self.manifest.uris[row])

    def decoded(self, row: int) -> np.ndarray | None:
        """A file elsewhere as an audit has decoded it: picture (3, s, s) uint8, or patches (p, 1, s, s) of a sound."""
        return self.run.decoded.get(row)

    def segment(self, row: int) -> Segment:
        """The part of that file which the row is about."""
        return self.manifest.segment(row)

    @property
    def names(self) -> Mapping[str, str]:
        """What is shown of labels that look alike; the table has the labels themselves."""
        return self.report.names

    def sample(self, row: int) -> Sample:
        """All about row `row`, to be shown."""
        values = self.table.slice(row, 1).to_pylist()[0]
        given = values["given_label"]
        copies = np.flatnonzero(self._groups == self._groups[row])
        others = [values["suggested_label"], *(values["top_labels"] or [])]
        rival = next((label for label in others if label is not None and label != given), None)
        nearest = self._rows_of(values["neighbors"], row)
        near = [self._given.text(one.row) for one in nearest]
        beside = context(near, epochs_of(self.report.summary), self._short)
        return Sample(
            row,
            renamed(values, self.names),
            tuple(why(renamed(values | beside, self.names))),
            self._curve("loss", row),
            self._curve("margin", row),
            nearest,
            self._similar(row, given, values["neighbors"]),
            self._similar(row, rival, values["neighbors"]),
            renamed(rival, self.names),
            tuple(map(self._neighbour, copies[copies != row].tolist())),
            self._classes,
        )

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        return tuple(renamed(self.classes, self.names))

    @cached_property
    def _short(self) -> dict[str, str]:
        return in_sentences(self.report.told_apart.summary)

    def _neighbour(self, row: int, similarity: float | None = None) -> Neighbour:
        return Neighbour(row, self._ids[row].as_py(), renamed(self._given.text(row), self.names), similarity)

    def _rows_of(self, ids: list[str] | None, row: int) -> tuple[Neighbour, ...]:
        """The rows with these ids, with their similarity to `row`."""
        rows = np.array(pc.index_in(pa.array(ids or [], pa.string()), value_set=self._ids).to_pylist(), dtype=int)
        if self.run.features is None:
            return tuple(map(self._neighbour, rows.tolist()))
        return tuple(map(self._neighbour, rows.tolist(), self._similarity(row, rows).tolist()))

    def _similar(self, row: int, label: str | None, ids: list[str] | None) -> tuple[Neighbour, ...]:
        """The most similar unflagged rows with that label: by the features, without them among the ids."""
        if label is None:
            return ()
        if self.run.features is None:
            return tuple(near for near in self._rows_of(ids, row) if self._given.text(near.row) == label)[:NEIGHBOURS]
        rows = self._examples(label)
        rows = rows[self._groups[rows] != self._groups[row]]
        similarity = self._similarity(row, rows)
        if not similarity.any():  # the row could not be read
            return ()
        best = np.argsort(-similarity, kind="stable")[:NEIGHBOURS]
        return tuple(map(self._neighbour, rows[best].tolist(), similarity[best].tolist()))

    def _similarity(self, row: int, others: np.ndarray) -> np.ndarray:
        """(len(others),) cosine similarities of the features; 0 for rows without any."""
        assert self.run.features is not None
        own, rest = (_unit(self.run.features[rows].astype(np.float32)) for rows in ([row], others))
        return rest @ own[0]

    @lru_cache(maxsize=64)  # noqa: B019  there is one SampleReader in a process
    def _examples(self, label: str) -> np.ndarray:
        """Unflagged rows of a class, evenly spread over the set where there are many."""
        rows = np.flatnonzero(self._given.equal(label) & ~self._flagged)
        return rows[:: -(-len(rows) // SEARCHED) or 1]

    @cached_property
    def _groups(self) -> np.ndarray:
        """(n,) int64: rows with the same content have the same number."""
        return content_groups(self.table)

    @cached_property
    def _curves(self) -> dict[str, np.ndarray]:
        """(n, e) float32 per quantity, NaN where nothing was recorded; no epochs where the run has no history."""
        n, history = len(self.report), self.run.history
        if history is None:
            return dict.fromkeys(CURVES, np.zeros((n, 0), dtype=np.float32))
        return {name: history.read(name, np.arange(n)) for name in CURVES}

    @cached_property
    def _typical(self) -> dict[str, np.ndarray]:
        rows = np.flatnonzero(~self._flagged & np.isfinite(self._p))
        rows = rows[:: -(-len(rows) // TYPICAL) or 1]
        return {
            name: np.nanmedian(np.where(np.isfinite(curves[rows]), curves[rows], np.nan), axis=0)
            if len(rows) and np.isfinite(curves[rows]).any(axis=0).all()
            else np.full(curves.shape[1], np.nan)
            for name, curves in self._curves.items()
        }

    def _curve(self, name: str, row: int) -> Curve:
        return Curve(self._curves[name][row], self._typical[name])


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows of NaN or zeros become zeros."""
    vectors = np.nan_to_num(vectors)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

"""`RunFolder`: a finished run, read. A part is read when it is asked for first, and held against the report once.

Letters: n rows, e epochs, d features.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cleanlab_lite.errors import ManifestError, ReportError
from cleanlab_lite.evidence.decisions import Decision, DecisionLog
from cleanlab_lite.files import load_arrays, read_table, reading
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.saved import Lines, load_lines, load_manifest
from cleanlab_lite.run.find import find_run
from cleanlab_lite.run.layout import DECISIONS, FEATURES, HISTORY, MANIFEST, NOISE_MATRIX, REPORT, ROOT
from cleanlab_lite.run.report import ReportTable
from cleanlab_lite.run.selftest import SelfTest
from cleanlab_lite.run.state import State
from cleanlab_lite.run.summary import Summary
from cleanlab_lite.run.verification import Verification

CURVES = ("loss", "margin")  # nats, logits
AGAIN = "run `nlclean audit` again"
_BLOCK = 65_536  # rows of curves read at a time


class RunFolder:
    """What a run has found. Raises ReportError for a part that is missing, damaged, or of other rows than the report.

    Parts that not every run has are None where they are missing: `state`, `history`, `features`, `noise_matrix`.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, root: Path = ROOT) -> None:
        """`path` is a run folder or the report in it; None stands for the newest run under `root`."""
        self.folder = find_run(None if path is None else Path(path), root)

    def path(self, name: str) -> Path:
        """Of a file of `layout`."""
        return self.folder / name

    @cached_property
    def report(self) -> ReportTable:
        return ReportTable.read(self.path(REPORT))

    @property
    def summary(self) -> Summary:
        return self.report.summary

    @cached_property
    def state(self) -> State | None:
        return State.read(self.folder)

    @cached_property
    def selftest(self) -> SelfTest | None:
        """What to expect of the flags; None where nobody has tested it."""
        return SelfTest.read(self.folder)

    @cached_property
    def verification(self) -> Verification | None:
        """Whether cleaning helped; None where nobody has tried it."""
        return Verification.read(self.folder)

    @property
    def journal(self) -> DecisionLog:
        """What people decide goes there."""
        return DecisionLog(self.path(DECISIONS))

    @property
    def decisions(self) -> list[Decision]:
        """What people have decided by now."""
        return self.journal.read()

    @property
    def has_manifest(self) -> bool:
        return self.path(MANIFEST).exists()

    @cached_property
    def manifest(self) -> Manifest:
        """What was audited, without its features."""
        try:
            manifest = load_manifest(self.path(MANIFEST))
        except ManifestError as error:
            raise ReportError(error.message, hint=error.hint) from error
        self._same_rows("a manifest", pa.chunked_array([pa.array(manifest.ids.tolist(), pa.string())]))
        return manifest

    @cached_property
    def lines(self) -> Lines:
        """Where the rows stand in the user's file; much quicker to read than `manifest`."""
        try:
            lines = load_lines(self.path(MANIFEST))
        except ManifestError as error:
            raise ReportError(error.message, hint=error.hint) from error
        self._same_rows("a manifest", lines.ids)
        return lines

    @cached_property
    def history(self) -> StoredCurves | None:
        path = self.path(HISTORY)
        if not path.exists():
            return None
        with _reading(path):
            file = pq.ParquetFile(path, page_checksum_verification=True)
            schema = file.schema_arrow
        if not all(name in schema.names and pa.types.is_fixed_size_list(schema.field(name).type) for name in CURVES):
            raise ReportError(f"{path} holds no curves of {' and '.join(CURVES)}", hint=AGAIN)
        with _reading(path):
            ids = file.read(["id"])["id"]
        self._same_rows("a history", ids)
        return StoredCurves(path, file, schema.field(CURVES[0]).type.list_size)

    @cached_property
    def features(self) -> np.ndarray | None:
        """(n, d), left on disk."""
        path = self.path(FEATURES)
        if not path.exists():
            return None
        with _reading(path):
            features = load_arrays(path)
            if not isinstance(features, np.ndarray):
                raise ValueError("it holds an archive of arrays")
        if features.ndim != 2 or len(features) != len(self.report):
            found = " x ".join(map(str, features.shape))
            raise ReportError(
                f"{self.folder} holds a report on {len(self.report)} rows and features of {found}", hint=AGAIN
            )
        return features

    @property
    def noise_matrix(self) -> pa.Table | None:
        """P(given | true), a line per pair of classes."""
        path = self.path(NOISE_MATRIX)
        if not path.exists():
            return None
        with _reading(path):
            return read_table(path)

    def _same_rows(self, what: str, ids: pa.ChunkedArray) -> None:
        """Raise ReportError unless the ids are those of the report, in order."""
        own = self.report.table["id"]
        if len(ids) != len(own):
            raise ReportError(f"{self.folder} holds a report on {len(own)} rows and {what} of {len(ids)}", hint=AGAIN)
        differs = np.asarray(pc.not_equal(ids.cast(pa.string()), own).fill_null(True))
        if differs.any():
            row = int(differs.argmax())
            raise ReportError(
                f"{self.folder} holds a report and {what} of different rows: row {row + 1} is "
                f"{own[row].as_py()!r:.60} in the report and {ids[row].as_py()!r:.60} there",
                hint=AGAIN,
            )


@dataclass(frozen=True)
class StoredCurves:
    """Loss and margin of the n rows after each of e epochs, left on disk."""

    path: Path
    file: pq.ParquetFile
    epochs: int

    def read(self, name: str, rows: np.ndarray) -> np.ndarray:
        """(len(rows), e) float32 of one of `CURVES`, NaN where nothing was recorded."""
        result = np.full((len(rows), self.epochs), np.nan, dtype=np.float32)
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        start = 0
        with _reading(self.path):
            for batch in self.file.iter_batches(batch_size=_BLOCK, columns=[name]):
                first, last = np.searchsorted(ascending, (start, start + len(batch)))
                values = batch.column(0).flatten().to_numpy(zero_copy_only=False).reshape(-1, self.epochs)
                result[order[first:last]] = values[ascending[first:last] - start]
                start += len(batch)
        return result


def _reading(path: Path) -> AbstractContextManager[None]:
    return reading(f"cannot read {path}", ReportError, hint=AGAIN)

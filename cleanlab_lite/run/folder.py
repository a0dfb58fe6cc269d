"""`RunFolder`: a finished run, read. A part is read when it is asked for first, and held against the report once.

Letters: n rows, e epochs, d features.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cleanlab_lite.addresses import is_elsewhere
from cleanlab_lite.archives import member
from cleanlab_lite.data.cache import decoded_before, default_cache_dir
from cleanlab_lite.errors import ConfigError, ManifestError, ReportError
from cleanlab_lite.evidence.decisions import Decision, DecisionLog
from cleanlab_lite.files import load_arrays, read_table, reading
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.saved import Lines, load_lines, load_manifest
from cleanlab_lite.run.find import find_run
from cleanlab_lite.run.layout import DECISIONS, FEATURES, HISTORY, MANIFEST, NOISE_MATRIX, REPORT, ROOT
from cleanlab_lite.run.reach import around, outside
from cleanlab_lite.run.report import ReportTable
from cleanlab_lite.run.seal import fits
from cleanlab_lite.run.selftest import SelfTest
from cleanlab_lite.run.stability import Stability
from cleanlab_lite.run.state import State
from cleanlab_lite.run.summary import Summary
from cleanlab_lite.run.verification import Verification
from cleanlab_lite.text import counted

CURVES = ("loss", "margin")  # nats, logits
AGAIN = "run `nlclean audit` again"
LOOKED_FOR = 20  # files, before all are said to be gone
_BLOCK = 65_536  # rows of curves read at a time


class RunFolder:
    """What a run has found. Raises ReportError for a part that is missing, damaged, or of other rows than the report.

    Parts that not every run has are None where they are missing: `state`, `history`, `features`, `noise_matrix`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        root: Path = ROOT,
        *,
        data_roots: Iterable[str | os.PathLike[str]] = (),
    ) -> None:
        """`path` is a run folder or the report in it; None stands for the newest run under `root`.

        `data_roots`: folders whose files may be opened for a run that others have made, beside what lies around it.
        """
        self.folder = find_run(None if path is None else Path(path), root)
        self._roots = [*around(self.folder), *data_roots]

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
    def own(self) -> bool:
        """Whether an audit of this user has written it, and its manifest is still the same."""
        return self.state is not None and fits(self.folder, self.state.key, self.state.seal)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """What goes wrong in the block with a run that others have made, is said to be wrong with the run."""
        if self.own:
            yield
            return
        with reading(f"{self.folder} holds what no audit has written", ReportError, hint=AGAIN):
            yield

    @cached_property
    def selftest(self) -> SelfTest | None:
        """What to expect of the flags; None where nobody has tested it."""
        return SelfTest.read(self.folder)

    @cached_property
    def verification(self) -> Verification | None:
        """Whether cleaning helped; None where nobody has tried it."""
        return Verification.read(self.folder)

    @cached_property
    def stability(self) -> Stability | None:
        """How far the flags hang on chance; None where nobody has tried other seeds."""
        return Stability.read(self.folder)

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
    def _manifest(self) -> Manifest:
        try:
            manifest = load_manifest(self.path(MANIFEST))
        except ManifestError as error:
            raise ReportError(error.message, hint=error.hint) from error
        self._same_rows("a manifest", pa.chunked_array([pa.array(manifest.ids.tolist(), pa.string())]))
        return manifest

    @cached_property
    def _withheld(self) -> np.ndarray:
        """(n,) bool: files that this run names and may not."""
        uris = self._manifest.uris
        return np.zeros(len(self.report), bool) if self.own or uris is None else outside(uris, self._roots)

    @cached_property
    def manifest(self) -> Manifest:
        """What was audited, without its features. Files that a run of others may not name are missing."""
        found, withheld = self._manifest, self._withheld
        if found.uris is None or not withheld.any():
            return found
        return replace(found, uris=np.where(withheld, "", found.uris))

    @cached_property
    def decoded(self) -> dict[int, np.ndarray]:
        """Row -> picture (3, s, s) uint8, or patches of a sound (p, 1, s, s) uint8: files elsewhere, which nothing
        fetches again, as an audit of this user has decoded them and the cache still holds them."""
        uris = self._manifest.uris
        if not self.own or uris is None or "content" not in self.report.table.column_names:
            return {}
        elsewhere = [row for row, uri in enumerate(uris.tolist()) if is_elsewhere(uri)]
        contents = self.report.table["content"].take(pa.array(elsewhere, pa.int64())).to_pylist()
        found = decoded_before(filter(None, contents), default_cache_dir()) if elsewhere else {}
        return {row: found[content] for row, content in zip(elsewhere, contents, strict=True) if content in found}

    @property
    def withheld(self) -> str:
        """A sentence on the files that are not opened; "" where all are."""
        if not self._withheld.any():
            return ""
        first = str(self._manifest.uris[self._withheld.argmax()])  # type: ignore[index]
        return (
            f"not opened: {counted(int(self._withheld.sum()), 'file')}, e.g. {first!r:.120}: this run was made "
            "elsewhere, by an older nlclean, or has been changed, and the data do not lie around it; --data-root DIR "
            "names their folder"
        )

    @property
    def moved(self) -> str:
        """A sentence where files that the audit has read are no longer where it read them; "" where they are."""
        manifest = self.manifest
        of_files = manifest.modality != "vector" or manifest.source.media
        if manifest.uris is None or not of_files or "content" not in self.report.table.column_names:
            return ""
        was_read = np.array([bool(content) for content in self.report.table["content"].to_pylist()])
        read = [uri for uri in manifest.uris[was_read].tolist() if uri and not is_elsewhere(uri)]
        few = read[:: len(read) // LOOKED_FOR + 1]
        if not few or any(os.path.exists(uri if (place := member(uri)) is None else place.archive) for uri in few):
            return ""
        return (
            f"the files are not where they were audited, e.g. {few[0]!r:.120}: nothing is shown of them; move their "
            "folder back, or put a link in its place"
        )

    def need_files(self) -> None:
        """Raise ConfigError where files are not opened."""
        if self.withheld:
            raise ConfigError(self.withheld)

    @property
    def exports(self) -> Path | None:
        """Where exports go by default; None: beside what was audited, which a run of others does not decide."""
        return None if self.own else self.folder.resolve().parent

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

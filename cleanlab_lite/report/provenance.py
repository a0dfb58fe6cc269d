"""Where wrong labels come from: a line per value of the user's columns, and those that are noisier than the rest."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pyarrow as pa

from cleanlab_lite.judge.posterior import best_other
from cleanlab_lite.judge.provenance import Source, find_sources
from cleanlab_lite.judge.verdict import Verdict
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.provenance import provenance_columns
from cleanlab_lite.run.summary import NoisySource

OFTEN = 0.2  # share of one confusion in what a value has too many of, from which it is told
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("column", "value")),
        ("rows", pa.int64()),
        *((name, pa.float64()) for name in ("rate", "low", "high", "ratio", "q")),
        ("found", pa.bool_()),
        *((name, pa.string()) for name in ("given", "suggested")),
        ("confusion_share", pa.float64()),
    ]
)


def provenance_table(manifest: Manifest, verdict: Verdict, group: np.ndarray) -> pa.Table:
    """A line per value that was tested, findings first.

    group: (n,) int64, the same for copies.
    """
    rows = np.flatnonzero(verdict.judged & np.isfinite(verdict.p_mislabel))
    p, labels = verdict.p_mislabel[rows], manifest.labels[rows]
    columns = provenance_columns(manifest) if len(rows) else []
    codes = [column.codes[rows] for column in columns]
    best, _ = best_other(verdict.posterior, manifest.labels)
    lines = []
    for source in find_sources(codes, p, labels, group[rows]):
        column = columns[source.column]
        pair = _typical(p, labels, best[rows], codes[source.column] == source.value, manifest.num_classes)
        lines.append(_line(source, column.name, column.values[source.value]) | _named(pair, manifest.classes))
    return pa.Table.from_pylist(lines, schema=SCHEMA)


def _line(source: Source, column: str, value: str) -> dict[str, object]:
    ratio = source.rate / source.expected
    return asdict(source) | {"column": column, "value": value, "ratio": ratio}


def _typical(
    p: np.ndarray, labels: np.ndarray, best: np.ndarray, inside: np.ndarray, k: int
) -> tuple[int, int, float] | None:
    """Given and likely class of the wrong labels that the rows `inside` (n,) have most too many of, against the other
    rows of the class, and their share of all that they have too many; None where they have not."""
    pairs, index = np.unique(labels * k + best, return_inverse=True)
    own, others = (np.bincount(index, weights=p * part, minlength=len(pairs)) for part in (inside, ~inside))
    rows, rest = (np.bincount(labels[part], minlength=k)[pairs // k] for part in (inside, ~inside))
    excess = np.maximum(own - others * rows / np.maximum(rest, 1), 0)
    most = int(excess.argmax())
    if excess[most] == 0:
        return None
    return int(pairs[most] // k), int(pairs[most] % k), float(excess[most] / excess.sum())


def _named(pair: tuple[int, int, float] | None, classes: tuple[str, ...]) -> dict[str, object]:
    if pair is None or pair[2] < OFTEN:
        return {}
    return {"given": classes[pair[0]], "suggested": classes[pair[1]], "confusion_share": pair[2]}


def noisy_sources(table: pa.Table) -> list[NoisySource]:
    """The findings of `provenance_table`."""
    return [
        NoisySource(**{name: value for name, value in row.items() if name != "found"})
        for row in table.to_pylist()
        if row["found"]
    ]

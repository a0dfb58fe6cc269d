"""What an audit said of rows when people were asked about them: by that, decisions say how far off p is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cleanlab_lite.errors import ReportError
from cleanlab_lite.evidence.decisions import read_journal
from cleanlab_lite.evidence.evidence import Asked
from cleanlab_lite.files import read_table, reading
from cleanlab_lite.judge.reviews import leading, random_order
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.report.reviewed import looks_of
from cleanlab_lite.run import layout
from cleanlab_lite.run.columns import numbers
from cleanlab_lite.run.report import ReportTable
from cleanlab_lite.run.state import DAMAGED

COLUMNS = pa.schema([("id", pa.string()), ("p_mislabel", pa.float64()), ("at_random", pa.bool_())])


def asked_in(folder: Path) -> pa.Table:
    """`COLUMNS` of all rows that are decided in a run; of those that it was given, as in the run that they are from.

    Raises ReportError where a file of the run is damaged.
    """
    table = ReportTable.read(folder / layout.REPORT).table
    decided = looks_of(table, read_journal(folder / layout.DECISIONS)).decided
    p, at_random = numbers(table, "p_mislabel"), np.zeros(table.num_rows, dtype=bool)
    at_random[leading(random_order(p), decided)] = True
    rows = np.flatnonzero(decided)
    own = pa.table([table["id"].take(pa.array(rows)), pa.array(p[rows]), pa.array(at_random[rows])], schema=COLUMNS)
    path = folder / layout.ASKED
    if not path.exists():
        return own
    with reading(f"{path} is damaged", ReportError, hint=DAMAGED):
        earlier = read_table(path).cast(COLUMNS)
    new = own.filter(pc.invert(pc.is_in(own["id"], value_set=earlier["id"].combine_chunks())))
    return pa.concat_tables([earlier, new])


def asked_of(manifest: Manifest, asked: pa.Table) -> Asked:
    """The same by rows of a manifest."""
    p, at_random = np.full(len(manifest), np.nan), np.zeros(len(manifest), dtype=bool)
    rows = pc.index_in(asked["id"], value_set=pa.array(manifest.ids, pa.string())).fill_null(-1).to_numpy()
    there = rows >= 0
    p[rows[there]] = numbers(asked, "p_mislabel")[there]
    at_random[rows[there]] = asked["at_random"].to_numpy()[there]
    return Asked(p, at_random)


def asked_table(manifest: Manifest, asked: Asked) -> pa.Table:
    """`COLUMNS` of the rows of a manifest that have a p."""
    rows = np.flatnonzero(np.isfinite(asked.p))
    return pa.table([pa.array(manifest.ids[rows]), asked.p[rows], asked.at_random[rows]], schema=COLUMNS)

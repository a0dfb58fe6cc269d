"""What is learned from the labels as they are, and cleaned."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cleanlab_lite.text import counted, escape, percent, points

from .. import tables
from ..output import line
from ..terminal import wrapped

if TYPE_CHECKING:
    from cleanlab_lite.run.verification import Verification, Way


def verification_view(found: Verification, folder: Path) -> None:
    """What a person reads after a verification; the last line is the file that holds it."""
    from cleanlab_lite.run.layout import VERIFICATION

    learned = f"{counted(found.rows, 'row')} to learn from, {counted(found.seeds, 'seed')}: {escape(found.learner)}"
    line(wrapped(learned, sys.stdout))
    line(wrapped(escape(found.measure), sys.stdout))
    line()
    names = ("labels", "", "rows", "relabelled", "accuracy", "difference", "95 % interval", "verdict")
    cells = map(_way_cells, found.ways)
    under = {1: "", 3: "relabelled ", 7: ""}
    tables.wide_table("What is learned from the labels", names, cells, right=(2, 3, 4, 5, 6), under=under)
    line(wrapped(found.sentence, sys.stdout))
    line(str(folder / VERIFICATION))


def _way_cells(way: Way) -> tuple[str, ...]:
    gain = ("", "", "")
    if way.difference is not None and way.low is not None and way.high is not None:
        between = f"{points(way.low)} to {points(way.high)}"
        gain = (points(way.difference), between, way.verdict or "")
    return (way.name, way.summary, f"{way.rows:,}", f"{way.relabelled:,}", percent(way.accuracy), *gain)

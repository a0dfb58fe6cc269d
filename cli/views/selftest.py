"""What audits made of planted errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cleanlab_lite.text import counted, percent, renamed

from .. import tables
from ..output import line
from ..terminal import wrapped

if TYPE_CHECKING:
    from cleanlab_lite.run.selftest import Outcome, SelfTest


def selftest_view(found: SelfTest, folder: Path) -> None:
    """What a person reads after a self-test; the last line is the file that holds it."""
    from cleanlab_lite.run.layout import SELFTEST

    planted = "wrong labels planted at that rate"
    if found.crowded:
        planted = "more wrong labels planted than that, which count for less"
    line(
        wrapped(
            f"{counted(found.flagged, 'row')} flagged, noise rate {percent(found.noise_rate)}; "
            f"{planted}, audits with preset {found.preset}",
            sys.stdout,
        )
    )
    names = ("errors planted", "rows", "planted", "flagged", "AP", "precision", "recall", "corrections right", "rate")
    line()
    under = {0: "", 7: "corrections right ", 8: "rate "}
    cells = map(_outcome_cells, found.shapes)
    tables.wide_table("What audits make of planted errors", names, cells, right=range(1, len(names)), under=under)
    _calibration(found.shapes)
    _weakest_classes(found.shapes)
    line(wrapped(found.expected.sentence, sys.stdout))
    line(str(folder / SELFTEST))


def _outcome_cells(shape: Outcome) -> tuple[str, ...]:
    return (
        shape.summary,
        f"{shape.rows:,}",
        f"{shape.planted:,}",
        f"{shape.flagged:,}",
        "-" if shape.average_precision is None else f"{shape.average_precision:.3f}",
        percent(shape.precision),
        percent(shape.recall),
        percent(shape.corrections_right),
        percent(shape.noise_rate),
    )


def _calibration(shapes: Sequence[Outcome]) -> None:
    """The curve of the first shape: errors as the run believes them to be."""
    for shape in shapes[:1]:
        cells = [(percent(each.p), percent(each.wrong), f"{each.rows:,}") for each in shape.calibration]
        tables.table("Calibration", ("p(wrong)", "wrong", "rows"), cells, right=(0, 1, 2))


def _weakest_classes(shapes: Sequence[Outcome]) -> None:
    """Classes whose errors are found least, by the first shape."""
    for shape in shapes[:1]:
        names = tables.label_names(each.label for each in shape.classes)
        tables.table(
            "Classes whose errors are found least",
            ("label", "rows", "planted", "flagged", "precision", "recall"),
            [
                (
                    tables.label_cell(renamed(each.label, names)),
                    *(f"{count:,}" for count in (each.rows, each.planted, each.flagged)),
                    percent(each.precision),
                    percent(each.recall),
                )
                for each in shape.weakest[: tables.CLASSES]
            ],
            right=range(1, 6),
        )

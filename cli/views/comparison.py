"""Two runs row by row, and the same audit with other seeds."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cleanlab_lite.text import chance, counted, escape, percent, renamed, shorten_path

from .. import tables
from ..output import line
from ..terminal import wrapped

if TYPE_CHECKING:
    from cleanlab_lite.report.comparison import Change, Comparison
    from cleanlab_lite.run.stability import Stability
    from cleanlab_lite.run.summary import Noise


def comparison_view(found: Comparison, top: int) -> None:
    """What a person reads of two runs; `top` rows a list."""
    from cleanlab_lite.report.comparison import CHANGES

    line(f"{counted(found.rows, 'row')} in both, {found.only_before:,} only before, {found.only_after:,} only after")
    if found.relabelled:
        line(f"relabelled: {counted(found.relabelled, 'row')}")
    line(f"noise rate: {_between(found.rate_before)} before, {_between(found.rate_after)} after")
    for which, decided in (("first", found.decided_before), ("second", found.decided_after)):
        if decided:
            given = counted(decided, "row")
            line(f"the {which} was given {given} that people decided (--trusted): they move rate and flags")
    shared = " of the rows in both" if found.only_before or found.only_after else ""
    line(f"flagged{shared}: {counted(found.flagged_before, 'row')} before, {counted(found.flagged_after, 'row')} after")
    if found.stay is not None:
        line(f"{percent(found.stay)} of the flags{shared} stay")
    line()
    names = tables.label_names(each.label for each in found.classes)
    changed = [each for each in found.classes if each.newly_flagged or each.no_longer_flagged]
    tables.table(
        "Classes with most changes",
        ("label", "rows", "flagged before", "after", "newly", "no longer"),
        [
            (
                tables.label_cell(renamed(each.label, names)),
                *(f"{n:,}" for n in (each.rows, each.flagged_before, each.flagged_after)),
                *(f"{n:,}" for n in (each.newly_flagged, each.no_longer_flagged)),
            )
            for each in changed[: tables.CLASSES]
        ],
        right=range(1, 6),
    )
    for name in CHANGES:
        rows = [each for each in found.changes if each.change == name]
        tables.wide_table(
            f"{name.capitalize()}: {counted(len(rows), 'row')}",
            ("id", "label", "p(wrong)", "suggested"),
            [_change_cells(each, names) for each in rows[:top]],
            right=(2,),
            under={2: "p(wrong) ", 3: "suggested "},
        )


def _change_cells(each: Change, names: Mapping[str, str]) -> tuple[str, ...]:
    label, *suggested = (
        tables.label_cell(renamed(text, names))
        for text in (each.label_after, each.suggested_before, each.suggested_after)
    )
    p = ["-" if p is None else chance(p) for p in (each.p_before, each.p_after)]
    return (
        shorten_path(escape(each.id), tables.ID_WIDTH),
        label,
        " -> ".join(p),
        " -> ".join(dict.fromkeys(suggested)),
    )


def _between(rate: Noise) -> str:
    return f"{percent(rate.estimate)} ({percent(rate.low)} to {percent(rate.high)})" if rate.learned else "unknown"


def stability_view(found: Stability) -> None:
    """What a person reads of the same audit with other seeds."""
    line(f"{counted(found.flagged, 'row')} flagged with seed {found.seed}, noise rate {percent(found.noise_rate)}")
    line()
    tables.wide_table(
        "With other seeds",
        ("seed", "flagged", "flags that stay", "newly", "no longer", "other suggestion", "noise rate", "folder"),
        [
            (
                *(f"{each.seed}", f"{each.flagged:,}", percent(each.stay)),
                *(f"{n:,}" for n in (each.newly_flagged, each.no_longer_flagged, each.other_suggestion)),
                *(percent(each.noise_rate), escape(each.folder)),
            )
            for each in found.seeds
        ],
        right=range(7),
        under={5: "other suggestion ", 6: "noise rate ", 7: ""},
    )
    line(wrapped(found.sentence, sys.stdout))

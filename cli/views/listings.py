"""What is there: methods, runs, the cache, and facts about this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleanlab_lite.text import counted, escape

from .. import tables
from ..output import line
from ..terminal import format_size

if TYPE_CHECKING:
    from cleanlab_lite.run.listing import ListedRun

_METHOD_COLUMNS = {"runs": "in an audit", "pretrained": "takes weights"}  # where the name does not say enough


def methods_view(methods: Mapping[str, Sequence[Mapping[str, Any]]], columns: Mapping[str, Sequence[str]]) -> None:
    """Tables of methods, by title, with some columns of each."""
    for title, rows in methods.items():
        shown = columns[title]
        titles = [_METHOD_COLUMNS.get(name, name.replace("_", " ")) for name in shown]
        tables.wide_table(
            title.capitalize(),
            ("name", "what it does", *titles, "paper"),
            [(row["name"], row["summary"], *(_method_cell(row[name]) for name in shown), row["paper"]) for row in rows],
            right=(),
            under={1: "", **{place: f"{name} " for place, name in enumerate(titles, start=2)}, len(titles) + 2: ""},
        )


def _method_cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={default}" for name, default in value.items())
    if isinstance(value, bool):
        return "yes" if value else ""
    return ", ".join(value) if isinstance(value, list | tuple) else f"{value:g}"


def runs_view(runs: Sequence[ListedRun], root: Path) -> None:
    """A line per run, newest first."""
    if not runs:
        line(f"no runs in {escape(str(root))}")
        return
    total = sum(run.bytes for run in runs)
    rows = []
    for run in runs:
        state = "damaged" if run.fault else f"{run.flagged:,} of {run.rows:,}" if run.finished else "not finished"
        when = run.when[:16].replace("T", " ")
        folder = run.folder.relative_to(root) if run.folder.is_relative_to(root) else run.folder
        rows.append((when, state, "yes" if run.decided else "", format_size(run.bytes), escape(str(folder))))
    title = f"{counted(len(runs), 'run')} in {escape(str(root))}, {format_size(total)}"
    names = ("finished or begun", "flagged", "reviewed", "size", "folder")
    tables.wide_table(title, names, rows, right={1, 3}, under={4: ""})


def cache_view(parts: Sequence[Mapping[str, Any]], root: Path) -> None:
    """A line per kind of what the cache holds."""
    if not parts:
        line(f"nothing in {escape(str(root))}")
        return
    total = format_size(sum(part["bytes"] for part in parts))
    rows = [(part["meaning"], f"{part['files']:,}", format_size(part["bytes"])) for part in parts]
    tables.table(f"{total} in {escape(str(root))}", ("what", "files", "size"), rows, right={1, 2})


def facts_view(sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Named sections of names and values."""
    for title, facts in sections.items():
        line(f"{title}:")
        for name, value in facts.items():
            line(f"  {escape(name)}: {escape(_scalar(value))}")


def _scalar(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)

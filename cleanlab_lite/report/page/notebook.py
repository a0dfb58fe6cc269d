"""A report as a notebook shows it: counts, charts, the worst rows with what they look like; and the page, inline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from cleanlab_lite.report.advice import advice_of
from cleanlab_lite.report.page.previews import Preview, preview_of
from cleanlab_lite.report.reasons import ISSUES, in_parts, noted
from cleanlab_lite.run import RunFolder
from cleanlab_lite.run.report import ReportTable, by_suspicion, contradicts, flags
from cleanlab_lite.text import chance, counted, percent, short_names, shorten

TOP = 20  # rows on show
LONGEST = 60  # characters of a label or an id
BARS = 8  # classes and confusions in the charts
WIDTH, LABELS, NUMBERS, LINE = 450, 180, 120, 20  # pixels of a chart, of names and numbers in it, of a bar with its gap
NAME = 22  # characters of a name in a chart: 8 pixels each, for fonts as wide as DejaVu Sans
INLINE = 4_000_000  # bytes of a page that is stored in a notebook
HEIGHT = 900  # pixels of it
LEFT = 'style="text-align:left"'  # Jupyter sets tables as if all were numbers
COLUMNS = ("id", "given_label", "suggested_label", "p_mislabel", "issue", "action")
HEADS = ("", "row", "given", "suggested", "p(wrong)", "issue", "action")


def headline(report: ReportTable) -> str:
    """Rows, flagged rows and the noise rate with its interval."""
    rate = report.summary.noise_rate
    found = [rate.estimate, rate.low, rate.high]
    noise = "noise rate unknown"
    known = [value for value in found if value is not None and math.isfinite(value)]
    if len(known) == len(found):
        estimate, low, high = map(percent, known)
        noise = f"noise rate {estimate} ({low} to {high})"
    return f"{counted(len(report), 'row')}, {report.summary.flagged:,} flagged, {noise}"


def html_view(report: ReportTable, run: RunFolder | None = None, top: int = TOP) -> str:
    """A fragment of HTML without scripts and without references to elsewhere. Text of strangers is escaped.

    Pictures are shown, and sounds played, where the `run` says where the files are and they can be read.
    """
    report = report.told_apart
    order, summary = by_suspicion(report.table), report.summary
    suspicious = flags(report.table) | contradicts(report.table)
    shown = order[suspicious[order]][:top]
    others = sum(summary.other_issues.values())
    counts = [f"{summary.flagged:,} flagged{in_parts(summary.flagged_issues)}"] * bool(summary.flagged)
    counts += [f"{others:,} not flagged, with an issue{in_parts(summary.other_issues)}"] * bool(others)
    notes = noted(summary.reasons)
    counts += [f"noted: {notes}"] * bool(notes)
    charts = [_classes(report), _confusions(report)]
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in report.summary.warnings)
    parts = [f"<p><b>{escape(headline(report))}</b>{''.join(f'<br>{escape(text)}' for text in counts)}</p>"]
    parts += [f"<ul>{warnings}</ul>"] if warnings else []
    if advice := advice_of(summary):
        parts.append(f"<p>What to try:</p><ul>{''.join(f'<li>{escape(text)}</li>' for text in advice)}</ul>")
    if any(charts):
        parts.append(f'<div style="display:flex;flex-wrap:wrap;gap:1.5em">{"".join(charts)}</div>')
    if len(shown):
        cells = report.table.select(list(COLUMNS)).take(shown).to_pylist()
        lines = [
            _line(row, preview_of(run, int(at)) if run and run.has_manifest else Preview())
            for row, at in zip(cells, shown, strict=True)
        ]
        head = "".join(f"<th {LEFT}>{name}</th>" for name in HEADS)
        parts.append(f"<table cellpadding=5><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>")
    if (more := int(np.count_nonzero(suspicious)) - len(shown)) > 0:
        parts.append(f"<p>and {more:,} more: report.suspicious()</p>")
    return f"<div>{''.join(parts)}</div>"


@dataclass(frozen=True)
class InlinePage:
    """The page about a run in a frame, which can neither ask for anything nor reach the notebook around it."""

    content: bytes

    def __repr__(self) -> str:
        return f"<page of {len(self.content) / 1e6:.1f} MB: shown in a notebook, written by page('page.html')>"

    def _repr_html_(self) -> str:
        return (
            f'<iframe title="label audit" sandbox="allow-scripts allow-downloads" style="width:100%;border:0" '
            f'height="{HEIGHT}" srcdoc="{escape(self.content.decode())}"></iframe>'
        )


@dataclass(frozen=True)
class _Bar:
    name: str
    share: float  # of the longest bar
    text: str
    low: float | None = None  # of a whisker
    high: float | None = None


def _classes(report: ReportTable) -> str:
    """The classes with the highest noise rates, with their intervals."""
    rated = [row for row in report.summary.classes if row.noise_rate is not None]
    worst = sorted(rated, key=lambda row: -(row.noise_rate or 0))[:BARS]
    full = max((row.high or row.noise_rate or 0 for row in worst), default=0) or 1
    return _chart(
        "Wrong labels by class",
        [
            _Bar(
                row.label,
                (row.noise_rate or 0) / full,
                f"{percent(row.noise_rate)} of {row.rows:,}",
                *(None if end is None else end / full for end in (row.low, row.high)),
            )
            for row in worst
        ],
    )


def _confusions(report: ReportTable) -> str:
    """The labels that look most often like another one."""
    pairs = report.summary.confusions[:BARS]
    most = max((pair.rows for pair in pairs), default=1)
    return _chart(
        "Looks like another class",
        [_Bar(f"{pair.given} → {pair.suggested}", pair.rows / most, counted(pair.rows, "row")) for pair in pairs],
    )


def _chart(title: str, bars: Sequence[_Bar]) -> str:
    """Bars as SVG in the colours of the notebook; "" without any."""
    if not bars:
        return ""
    room = WIDTH - LABELS - NUMBERS  # what is left of the width for a bar
    lines = []
    short = short_names([bar.name for bar in bars], NAME)
    for place, bar in enumerate(bars):
        y = LINE * (place + 0.5)
        whisker = ""
        if bar.low is not None and bar.high is not None:
            ends = f"M{LABELS + room * bar.low:.1f} {y}H{LABELS + room * bar.high:.1f}"
            whisker = f'<path d="{ends}" stroke="currentColor" stroke-width="1.5" opacity=".55"/>'
        lines.append(
            f"<g><title>{escape(bar.name)}</title>"
            f'<text x="{LABELS - 8}" y="{y}" text-anchor="end">{escape(short.get(bar.name, bar.name))}</text>'
            f'<rect x="{LABELS}" y="{y - 6}" width="{room * bar.share:.1f}" height="12" fill="#3b78d8"/>{whisker}'
            f'<text x="{LABELS + room + 8}" y="{y}">{escape(bar.text)}</text></g>'
        )
    return (
        f'<figure style="margin:.5em 0"><figcaption><b>{escape(title)}</b></figcaption>'
        f'<svg width="{WIDTH}" height="{LINE * len(bars)}" role="img" aria-label="{escape(title)}" font-size="12" '
        f'fill="currentColor" dominant-baseline="central">{"".join(lines)}</svg></figure>'
    )


def _line(row: dict[str, Any], seen: Preview) -> str:
    media = (
        f'<img src="{seen.picture}" alt="" style="height:72px;max-width:200px;object-fit:contain">'
        if seen.picture
        else ""
    )
    media += f'<br><audio controls preload="none" src="{seen.sound}"></audio>' if seen.sound else ""
    p = row["p_mislabel"]
    texts = [row["id"], row["given_label"], row["suggested_label"], None if p is None else chance(p)]
    texts += [ISSUES.get(row["issue"], row["issue"]), row["action"]]
    cells = "".join(f"<td {LEFT}>{escape(shorten(text or '', LONGEST))}</td>" for text in texts)
    return f"<tr><td {LEFT}>{media}</td>{cells}</tr>"

"""A report at a glance, as a notebook shows it: the counts, and the worst rows with what they look like."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import numpy as np

from cleanlab_lite.errors import DecodeError
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.report.advice import advice_of
from cleanlab_lite.report.page.page_data import ISSUES, in_parts
from cleanlab_lite.report.page.previews import Preview, preview
from cleanlab_lite.run.report import ReportTable, by_suspicion, contradicts, flags
from cleanlab_lite.text import percent, shorten

TOP = 20  # rows on show
LONGEST = 60  # characters of a label or an id
COLUMNS = ("id", "given_label", "suggested_label", "p_mislabel", "issue", "action")
HEADS = ("", "row", "given", "suggested", "p", "issue", "action")


def headline(report: ReportTable) -> str:
    """Rows, flagged rows and the noise rate with its interval."""
    rate = report.summary.noise_rate
    found = [rate.estimate, rate.low, rate.high]
    noise = "noise rate unknown"
    known = [value for value in found if value is not None and math.isfinite(value)]
    if len(known) == len(found):
        estimate, low, high = map(percent, known)
        noise = f"noise rate {estimate} ({low} to {high})"
    return f"{len(report):,} rows, {report.summary.flagged:,} flagged, {noise}"


def html_view(report: ReportTable, manifest: Manifest | None = None, top: int = TOP) -> str:
    """A fragment of HTML without scripts and without references to elsewhere. Text of strangers is escaped.

    Pictures are shown, and sounds played, where `manifest` says where the files are and they can be read.
    """
    order, summary = by_suspicion(report.table), report.summary
    suspicious = flags(report.table, "is_label_issue") | contradicts(report.table)
    shown = order[suspicious[order]][:top]
    others = sum(summary.other_issues.values())
    counts = [f"{summary.flagged:,} flagged{in_parts(summary.flagged_issues)}"] * bool(summary.flagged)
    counts += [f"{others:,} not flagged, with an issue{in_parts(summary.other_issues)}"] * bool(others)
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in report.summary.warnings)
    parts = [f"<p><b>{escape(headline(report))}</b>{''.join(f'<br>{escape(text)}' for text in counts)}</p>"]
    parts += [f"<ul>{warnings}</ul>"] if warnings else []
    if advice := advice_of(summary):
        parts.append(f"<p>What to try:</p><ul>{''.join(f'<li>{escape(text)}</li>' for text in advice)}</ul>")
    if len(shown):
        cells = report.table.select(list(COLUMNS)).take(shown).to_pylist()
        lines = [_line(row, _preview(manifest, int(at))) for row, at in zip(cells, shown, strict=True)]
        head = "".join(f"<th>{name}</th>" for name in HEADS)
        parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>")
    if (more := int(np.count_nonzero(suspicious)) - len(shown)) > 0:
        parts.append(f"<p>and {more:,} more: report.suspicious()</p>")
    return f"<div>{''.join(parts)}</div>"


def _line(row: dict[str, Any], seen: Preview) -> str:
    media = f'<img src="{seen.picture}" alt="">' if seen.picture else ""
    media += f'<br><audio controls preload="none" src="{seen.sound}"></audio>' if seen.sound else ""
    p = row["p_mislabel"]
    texts = [row["id"], row["given_label"], row["suggested_label"], None if p is None else f"{p:.2f}"]
    texts += [ISSUES.get(row["issue"], row["issue"]), row["action"]]
    cells = "".join(f"<td>{escape(shorten(text or '', LONGEST))}</td>" for text in texts)
    return f"<tr><td>{media}</td>{cells}</tr>"


def _preview(manifest: Manifest | None, row: int) -> Preview:
    if manifest is None or manifest.uris is None:
        return Preview()
    try:
        return preview(manifest.uris[row], manifest.segment(row))
    except DecodeError:
        return Preview()  # the row is shown without

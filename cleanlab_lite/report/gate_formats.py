"""What a check found, as text for people, and for programs: JSON, Markdown of pull requests, JUnit XML, SARIF, GitHub.

Labels and ids are strangers' texts. Where a program shows them as they are, control characters, marks that reorder
text, and what XML cannot hold are written as `\\x1b`, `\\u202e`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from cleanlab_lite.files import is_remote
from cleanlab_lite.manifest.manifest import Source
from cleanlab_lite.report.gate import NEW, Gate, Row, RowChange
from cleanlab_lite.report.reasons import ISSUES
from cleanlab_lite.text import chance, counted, escape, percent, renamed, shorten

JSON_VERSION = 1
WIDTH = 80  # characters of an id or a label in Markdown, JUnit and messages
SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
RULES = {
    "mislabel": "The given label is probably wrong.",
    "out_of_vocabulary": "The sample probably belongs to no class of the dataset.",
    "duplicate_conflict": "The same content has different labels, and this one is probably wrong.",
}


def to_json(gate: Gate) -> str:
    """All rows of every list, texts as they are."""
    summary = gate.summary
    document = {
        "version": JSON_VERSION,
        "exceeded": gate.exceeded,
        "manifest": asdict(summary.manifest),
        "noise_rate": asdict(summary.noise_rate),
        "suspects": len(gate.suspects),
        "accepted": gate.accepted,
        "limits": [
            {"limit": o.limit, "bound": o.bound.value, "found": o.found, "exceeded": o.exceeded, "message": o.message}
            for o in gate.outcomes
        ],
        "warnings": list(gate.warnings),
        "suspicious": [row.as_dict() for row in gate.suspects],
        "changes": None
        if gate.changes is None
        else {name: [_change_json(change) for change in changes] for name, changes in gate.changes.items()},
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _change_json(change: RowChange) -> dict[str, Any]:
    before = change.before
    return change.row.as_dict() | {"before": None if before is None else {"label": before.label, "state": before.state}}


# --- Markdown --------------------------------------------------------------------------------------------------------


def to_markdown(gate: Gate, top: int) -> str:
    """A comment for a pull request: limits, counts, and the `top` rows of every list folded away."""
    verdict = "a limit is exceeded" if gate.exceeded else "within the limits" if gate.outcomes else "no limits"
    parts = [f"### nlclean check: {verdict}", _code(_manifest_name(gate)) + ": " + _headline(gate) + "."]
    if gate.outcomes:
        cells = [(f"`{o.limit}`", "**exceeded**" if o.exceeded else "passed", o.message) for o in gate.outcomes]
        parts.append(_table(("limit", "", "found"), cells))
    parts += [f"> {warning}" for warning in gate.warnings]
    lists: dict[str, Sequence[RowChange]] = {"suspects": [RowChange(row, row) for row in gate.suspects]}
    if gate.changes is not None:
        lists |= gate.changes
        counts = [(name.replace("_", " "), gate.size(name)) for name in gate.changes]
        parts.append(_table(("since the baseline", "rows"), counts))
    for name, changes in lists.items():
        if changes:
            shown = "" if len(changes) <= top else f", {top:,} of them here"
            title = f"{len(changes):,} {name.replace('_', ' ')}{shown}"
            header = ("line", "id", "given", "suggested", "p(wrong)", "issue")
            rows = [_cells(gate, change) for change in changes[:top]]
            parts.append(f"<details><summary>{title}</summary>\n\n{_table(header, rows)}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def _cells(gate: Gate, change: RowChange) -> tuple[str, ...]:
    def label(text: str | None) -> str:
        return _code(renamed(text, gate.names))

    row, before = change.row, change.before
    given = label(row.label)
    if before is not None and before.label != row.label:
        given = f"{label(before.label)} to {given}"
    p = "" if row.p_mislabel is None else chance(row.p_mislabel)
    return (
        "" if row.line is None else str(row.line),
        _code(row.id or row.content),
        given,
        label(row.suggested_label),
        p,
        ISSUES.get(row.issue, row.issue),
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _code(text: str | None) -> str:
    """`text` as a code span, in which nothing is markup, a link or a mention; a bar would still end the cell."""
    if text is None:
        return ""
    text = shorten(escape(text), WIDTH) or " "
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    text = re.sub(r"(\\*)\|", lambda found: found[1] * 2 + r"\|", text)
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


# --- JUnit -----------------------------------------------------------------------------------------------------------


def to_junit(gate: Gate, top: int) -> str:
    """A test case per limit; a failure holds the `top` rows that count towards it."""
    failures = str(sum(outcome.exceeded for outcome in gate.outcomes))
    totals = {"tests": str(len(gate.outcomes)), "failures": failures, "errors": "0", "time": "0"}
    suites = ET.Element("testsuites", {"name": "nlclean", **totals})
    suite = ET.SubElement(suites, "testsuite", {"name": "nlclean check", **totals, "skipped": "0"})
    for outcome in gate.outcomes:
        case = ET.SubElement(suite, "testcase", {"classname": "nlclean.check", "name": outcome.limit, "time": "0"})
        if outcome.exceeded:
            failure = ET.SubElement(case, "failure", {"message": escape(outcome.message), "type": outcome.limit})
            lines = [_suspect_text(gate, row) for row in outcome.rows[:top]]
            if len(outcome.rows) > top:
                lines.append(f"and {len(outcome.rows) - top:,} more")
            failure.text = "\n".join(lines)
    output = ET.SubElement(suite, "system-out")
    output.text = f"{escape(_manifest_name(gate))}: {_headline(gate)}"
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


# --- SARIF -----------------------------------------------------------------------------------------------------------


def to_sarif(gate: Gate, source: Source, root: Path) -> str:
    """Every suspect as a result at its line of the manifest; an error where a limit it counts towards is exceeded.

    A file under `root`, which must be absolute, gets a URI relative to it. Rows of a class-folder tree point at their
    file; rows of a manifest without lines (Parquet, arrays) at the manifest.
    """
    failed = {row for outcome in gate.outcomes if outcome.exceeded for row in outcome.rows}
    new = None if gate.changes is None else {change.row for change in gate.changes[NEW]}
    results = []
    for row in gate.suspects:
        result: dict[str, Any] = {
            "ruleId": row.issue,
            "ruleIndex": list(RULES).index(row.issue),
            "level": "error" if row in failed else "warning",
            "message": {"text": message(gate, row)},
            "locations": [_location(row, source, root)],
            "partialFingerprints": {"nlcleanRow/v1": _fingerprint(row)},
        }
        if new is not None:
            result["baselineState"] = "new" if row in new else "unchanged"
        results.append(result)
    rules = [{"id": name, "shortDescription": {"text": text}} for name, text in RULES.items()]
    driver = {"name": "nlclean", "version": version("nlclean"), "rules": rules}
    document = {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _location(row: Row, source: Source, root: Path) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(_source_of(row, source), root)}}
    if row.line is not None:
        physical["region"] = {"startLine": row.line}
    return {"physicalLocation": physical, "logicalLocations": [{"name": escape(row.id)}]}


def _source_of(row: Row, source: Source) -> str:
    """The manifest, or the file of a row in a tree of class folders."""
    if source.format == "folder" and row.path:
        return f"{source.path.rstrip('/')}/{row.path}"
    return source.file or source.path


def _uri(path: str, root: Path) -> str:
    if is_remote(path):
        return quote(path, safe=":/?&=%")
    if PurePath(path).is_relative_to(root):
        return quote(os.fsencode(PurePath(path).relative_to(root).as_posix()))
    return Path(path).as_uri()


def _fingerprint(row: Row) -> str:
    return hashlib.sha256(json.dumps([row.content, row.label]).encode()).hexdigest()[:32]


# --- GitHub -----------------------------------------------------------------------------------------------------------


def to_github(gate: Gate, source: Source, root: Path, top: int) -> str:
    """Commands of a workflow, which become annotations at the lines of the manifest.

    Of the `top` suspects, the new ones where there is a baseline; of every limit that is exceeded; one about all.
    """
    lines = []
    shown = gate.suspects if gate.changes is None else [change.row for change in gate.changes[NEW]]
    failed = {row for outcome in gate.outcomes if outcome.exceeded for row in outcome.rows}
    for row in shown[:top]:
        where = {"file": _file(row, source, root)} | ({} if row.line is None else {"line": str(row.line)})
        title = "new wrong label" if gate.changes is not None else "wrong label"
        lines.append(_command("error" if row in failed else "warning", message(gate, row), **where, title=title))
    lines += [_command("error", outcome.message) for outcome in gate.outcomes if outcome.exceeded]
    more = f"; {len(shown) - top:,} more are not shown" if len(shown) > top else ""
    lines.append(_command("notice", f"{_manifest_name(gate)}: {_headline(gate)}{more}"))
    return "\n".join(lines) + "\n"


def _file(row: Row, source: Source, root: Path) -> str:
    """Of a row, or the manifest; relative to the repository where it lies in it."""
    path = _source_of(row, source)
    return PurePath(path).relative_to(root).as_posix() if PurePath(path).is_relative_to(root) else path


def _command(name: str, text: str, **properties: str) -> str:
    """What a runner reads from a line, escaped as it wants it."""
    values = []
    for key, value in properties.items():
        safe = _data(escape(value)).replace(":", "%3A").replace(",", "%2C")
        values.append(f"{key}={safe}")
    return f"::{name} {','.join(values)}".rstrip() + f"::{_data(escape(text))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


# --- Texts -----------------------------------------------------------------------------------------------------------


def to_text(gate: Gate, top: int) -> str:
    """What a person reads after a check: the `top` rows of every list, then counts and limits. With a baseline the
    suspects that are new come first, and those that are not are only counted."""
    lists: dict[str, Sequence[Row | RowChange]] = {"suspects": gate.suspects}
    if gate.changes is not None:
        lists = {n: [c.row for c in found] if n == NEW else found for n, found in gate.changes.items()}
    lines = []
    for name, found in lists.items():
        size = f"{len(found):,}" if gate.changes is None else gate.size(name)
        lines.append(f"{name.replace('_', ' ')}: {size}")
        for one in found[:top]:
            lines.append(f"  {_change_text(gate, one) if isinstance(one, RowChange) else _suspect_text(gate, one)}")
        if 0 < top < len(found):
            lines.append(f"  and {len(found) - top:,} more")
    lines.append(f"{escape(gate.summary.manifest.path)}: {_headline(gate)}")
    lines += [f"{'FAILED' if outcome.exceeded else 'passed'}  {outcome.message}" for outcome in gate.outcomes]
    return "\n".join(lines) + "\n"


def _headline(gate: Gate) -> str:
    """Rows, noise rate and suspects in one line."""
    manifest, rate = gate.summary.manifest, gate.summary.noise_rate
    noise = "unknown"
    if rate.estimate is not None:
        noise = f"{percent(rate.estimate)}, between {percent(rate.low)} and {percent(rate.high)}"
    accepted = f", {gate.accepted:,} accepted" if gate.accepted else ""
    return (
        f"{counted(manifest.rows, 'row')}, {manifest.labelled:,} labelled; noise rate {noise}; "
        f"{counted(len(gate.suspects), 'suspect')}{accepted}"
    )


def _suspect_text(gate: Gate, row: Row) -> str:
    """The message with the place before it, as compilers write it: `pets.csv:12: ...`."""
    return f"{_place(gate, row)} {message(gate, row)}"


def _change_text(gate: Gate, change: RowChange) -> str:
    """The row with its label, and the one before if it is another."""
    row, before = change.row, change.before
    label = _label(gate, row.label)
    if before is not None and before.label != row.label:
        label = f"{_label(gate, before.label)} -> {label}"
    return f"{_place(gate, row)} {_named(row.id or row.content)}: {label}"


def message(gate: Gate, row: Row) -> str:
    """What is the matter with a suspect."""
    p = "" if row.p_mislabel is None else f" ({chance(row.p_mislabel)})"
    text = f"{_named(row.id)}: label {_label(gate, row.label)} is probably wrong{p}"
    if row.suggested_label is not None:
        text += f", {_label(gate, row.suggested_label)} fits better"
    elif row.issue == "out_of_vocabulary":
        text += ", no class fits"
    return f"{text}: {escape(row.why[0].lower() + row.why[1:])}" if row.why else text


def _place(gate: Gate, row: Row) -> str:
    line = "" if row.line is None else f"{row.line}:"
    return f"{escape(_manifest_name(gate))}:{line}"


def _manifest_name(gate: Gate) -> str:
    return PurePath(gate.summary.manifest.path).name


def _label(gate: Gate, label: str | None) -> str:
    return _named(renamed(label, gate.names))


def _named(text: str | None) -> str:
    return "no label" if text is None else f"'{shorten(escape(text), WIDTH)}'"

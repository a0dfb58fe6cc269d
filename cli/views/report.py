"""A report: headline, tables, suspicious rows, what to do next; its JSON twin; how its numbers were made."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleanlab_lite.text import chance, counted, escape, percent, renamed, room_of, short_names, shorten, shorten_path

from .. import tables
from ..output import json_document, line
from ..terminal import is_terminal, wrapped

if TYPE_CHECKING:
    from cleanlab_lite.run.report import ReportTable
    from cleanlab_lite.run.summary import Annotator, ClassNoise, Confusion, Leak, Summary

_SHORTEST_PATH = 24  # characters that are left of a path
_ROOM, _MOST = 60, 140  # characters that a sentence needs beside its row, and takes at most
_TOP_CONFUSIONS = 8  # rows
_TOP = 20  # suspicious rows
_TALL = 40  # lines of a terminal that shows a report whole, with some scrolling; a lower one is shown what fits
_REST = 21  # lines of such a report beside the suspicious rows, which have two each
_SUSPICIOUS_COLUMNS = ("id", "given_label", "suggested_label", "p_mislabel", "issue", "action", "reasons")


def report_view(
    report: ReportTable, path: Path, top: int | None, reviews: Sequence[str] = (), *, decided: bool = False
) -> None:
    """What a person reads after an audit; `reviews` is what decisions say of it, where people have `decided` on enough
    rows. The last line is `path`.

    Where the user has not named `top` rows, a low terminal is shown the first of them and no tables.
    """
    from cleanlab_lite.report.reasons import with_context

    report = report.told_apart
    summary = report.summary
    learned = summary.noise_rate.learned
    height = shutil.get_terminal_size().lines if is_terminal(sys.stdout) else _TALL
    low = top is None and height < _TALL
    _headline(summary)
    tables.sentences("By the decisions of people", reviews)
    names = [entry.label for entry in summary.classes]
    if not low:
        _tables(type(summary).from_dict(renamed(summary.as_dict(), short_names(names, tables.LABEL_WIDTH))))
    title = "Most suspicious rows" if learned else "Copies that carry different labels"
    shown = max((height - _REST) // 2, 2) if low else _TOP if top is None else top
    _suspicious_rows(title, with_context(report, report.suspicious().slice(0, shown)), names)
    if low:
        everything = f"nlclean report {escape(shlex.quote(str(path.parent)))} --top {_TOP}"
        beside = "classes, confusions and more rows:"
        gap = " " if len(beside) + len(everything) < tables.width() else "\n  "
        line(f"{beside}{gap}{everything}")
    _next_steps(path.parent, report, bare=low, decided=decided)
    line(str(path))


def _tables(summary: Summary) -> None:
    """All but the headline and the suspicious rows."""
    if summary.noise_rate.learned:
        _worst_classes(summary.classes)
        _top_confusions(summary.confusions)
        tables.sentences("Classes taken for each other", [pair.in_words for pair in summary.overlaps])
        tables.sentences("Where wrong labels come from", [source.in_words for source in summary.provenance])
    _annotators(summary.annotators)
    _leakage(summary.leakage)
    if summary.search:
        _search(summary.search)


def _headline(summary: Summary) -> None:
    from cleanlab_lite.report.reasons import noted

    manifest, rate = summary.manifest, summary.noise_rate
    facts = (
        f": {counted(manifest.rows, 'row')}, {manifest.labelled:,} labelled, {counted(manifest.classes, 'class')}, "
        f"{manifest.modality}"
    )
    line(shorten(escape(manifest.path), max(tables.width() - len(facts), _SHORTEST_PATH)) + facts)
    between = f"{percent(rate.estimate)}, between {percent(rate.low)} and {percent(rate.high)} "
    line(f"noise rate: {f'{between}({escape(rate.method)})' if rate.learned else escape(rate.method)}")
    line(wrapped(f"flagged: {counted(summary.flagged, 'row')}{_parts(summary.flagged_issues)}", sys.stdout))
    if others := summary.other_issues:
        line(wrapped(f"not flagged, with an issue: {counted(sum(others.values()), 'row')}{_parts(others)}", sys.stdout))
    if summary.duplicates:
        _copies(summary.duplicates, summary.reasons.get("leakage", 0))
    if notes := noted(summary.reasons):
        line(wrapped(f"noted: {notes}", sys.stdout))
    line()


def _parts(counts: Mapping[str, int]) -> str:
    """What a number of rows is made of, by issue, behind it."""
    from cleanlab_lite.report.reasons import by_issue

    return f" ({by_issue(counts)})" if counts else ""


def _copies(duplicates: Mapping[str, Any], leaking: int) -> None:
    kinds = [f"{kind} {rows:,}" for kind, rows in duplicates["rows"].items() if rows]
    search = duplicates.get("search") or {}
    if kinds:
        line(f"copies: {', '.join(kinds)}")
    if search.get("recall") is not None:
        line(f"copies among vectors were sought nearby, where {percent(search['recall'])} of all neighbours are")
    if leaking:
        line(f"leakage: {counted(leaking, 'row')} with a copy in another split")


def _worst_classes(classes: Sequence[ClassNoise]) -> None:
    from cleanlab_lite.run.summary import FEW

    judged, few = [row for row in classes if not row.too_few], [row for row in classes if row.too_few]
    worst = sorted(judged, key=lambda row: -(row.noise_rate or 0))[: tables.CLASSES]
    tables.table(
        "Worst classes",
        ("class", "rows", "flagged", "noise rate", "between"),
        [
            (
                tables.label_cell(row.label),
                f"{row.rows:,}",
                f"{row.flagged:,}",
                percent(row.noise_rate),
                f"{percent(row.low)} - {percent(row.high)}",
            )
            for row in worst
        ],
        right=(1, 2, 3, 4),
    )
    each = [f"{tables.label_cell(row.label)}: {row.too_few}" for row in few]
    if len(few) > 1 and not judged:
        each = [f"all {len(few):,}: too few to judge (n < {FEW})"]
    tables.sentences("Classes without a noise rate", each)


def _top_confusions(confusions: Sequence[Confusion]) -> None:
    tables.table(
        "Top confusions",
        ("given", "suggested", "rows", "probably right"),
        [
            (tables.label_cell(row.given), tables.label_cell(row.suggested), f"{row.rows:,}", f"{row.expected:,.0f}")
            for row in confusions[:_TOP_CONFUSIONS]
        ],
        right=(2, 3),
    )


def _annotators(found: Sequence[Annotator]) -> None:
    tables.table(
        "Annotators, least reliable first",
        ("annotator", "votes", "right", "between", "mostly said"),
        [
            (
                tables.label_cell(each.annotator),
                f"{each.votes:,}",
                percent(each.quality),
                f"{percent(each.low)} - {percent(each.high)}",
                escape(each.in_words),
            )
            for each in found[: tables.CLASSES]
        ],
        right=(1, 2, 3),
    )


def _leakage(shared: Sequence[Leak]) -> None:
    tables.table(
        "Leakage between splits",
        ("split", "rows", "share", "split", "rows", "share", "copies"),
        [
            (
                tables.label_cell(pair.split_a),
                f"{pair.rows_a:,}",
                percent(pair.share_a),
                tables.label_cell(pair.split_b),
                f"{pair.rows_b:,}",
                percent(pair.share_b),
                pair.kind,
            )
            for pair in shared
        ],
        right=(1, 2, 4, 5),
    )


def _search(search: Mapping[str, Any]) -> None:
    """What `--strategy auto` tried, and why it chose."""
    tables.table(
        "Recipes tried",
        ("strategy", "loss", "networks", "agreement", "behind the best", "seconds"),
        [
            (
                escape(row["strategy"]),
                escape(row["loss"]),
                f"{row['trials']:,}",
                percent(row["agreement"]),
                f"{100 * row['behind']:.1f} ± {100 * row['standard_error']:.1f}",
                f"{row['seconds']:,.1f}",
            )
            for row in search["tried"]
        ],
        right=(2, 3, 4, 5),
    )
    chosen = search["chosen"]
    line(f"chosen: {escape(chosen['strategy'])} with {escape(chosen['loss'])}: {escape(search['reason'])}")
    line()


def _suspicious_rows(title: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """A line per row of `with_context`, with one sentence; under the row where the terminal has no room beside it.

    `names` of all classes.
    """
    from cleanlab_lite.report.reasons import in_one_sentence

    width = tables.width()
    id_width = min(tables.ID_WIDTH, max(20, width // 4))
    label_width = min(tables.LABEL_WIDTH, max(8, (width - id_width - 34) // 2))  # 34: the other columns and the gaps
    short = short_names(names, label_width)
    ids = [escape(row["id"]) for row in rows]
    corrections = [_correction(row, label_width, short) for row in rows]
    chances = ["-" if row["p_mislabel"] is None else chance(row["p_mislabel"]) for row in rows]
    header = ("id", "given -> suggested", "p(wrong)")
    columns = ([shorten_path(id, id_width) for id in ids], corrections, chances)
    longest = [max(map(room_of, (name, *column))) for name, column in zip(header, columns, strict=True)]
    beside = min(width - sum(longest) - 4 * len(longest), _MOST)
    if beside < _ROOM:  # the ids take what nothing is put into
        id_width = min(tables.ID_WIDTH, width - sum(longest[1:]) - 4 * len(longest))
        columns = ([shorten_path(id, id_width) for id in ids], corrections, chances)
    cells = list(zip(*columns, strict=True))
    room = beside if beside >= _ROOM else width - len(tables.INDENT)
    whys = [escape(in_one_sentence(row, room)) for row in rows]
    if beside >= _ROOM:
        tables.table(title, (*header, "why"), [(*row, text) for row, text in zip(cells, whys, strict=True)], right=(2,))
    else:
        tables.table(title, header, cells, right=(2,), below=whys)


def _correction(row: Mapping[str, Any], width: int, short: Mapping[str, str]) -> str:
    """The given label and the suggested one, with the probability that this is right."""
    given, suggested = (
        tables.label_cell(renamed(row[name], short), width) for name in ("given_label", "suggested_label")
    )
    if row["suggested_label"] is None:
        return given
    confidence = row["suggestion_confidence"]
    return f"{given} -> {suggested}" + ("" if confidence is None else f" {chance(confidence)}")


def _next_steps(run: Path, report: ReportTable, *, bare: bool, decided: bool) -> None:
    """Commands to paste. Where nothing was learned: what to try. `bare` ones are without what they do where that would
    take a line of its own. Where people have `decided` on rows, an export follows them: nothing is counted."""
    from cleanlab_lite.report.advice import advice_of, advised_policy

    summary = report.summary
    if advice := advice_of(summary):
        line()
        line("Nothing was learned from these labels. What to try:")
        for text in advice:
            line(f"  {text}")
        line()
        return
    folder = escape(shlex.quote(str(run)))
    others = sum(summary.other_issues.values())
    steps = []
    if summary.flagged or others:
        look = "go on" if decided else f"look at {_to_review(summary.flagged, others)}, one by one"
        steps.append((f"nlclean review {folder}", look))
        steps.append((f"nlclean report {folder} --html page.html", "the same in a browser, with charts"))
    if cleaned := advised_policy(run, report):
        policy, does = cleaned
        does = "as people have decided, the other rows as the audit advises" if decided else does
        steps.append((f"nlclean export {folder} --policy {policy}", does))
    width = max((len(command) for command, _ in steps), default=0)
    line("Next:")
    beside = all(width + len(comment) + 7 <= tables.width() for _, comment in steps)
    for command, comment in steps:
        above = "" if bare else f"  # {comment}\n"
        line(f"  {command:<{width}}   # {comment}" if beside else f"{above}  {command}")
    line(f"  nlclean report {folder} --json --top 100")
    line()


def _to_review(flagged: int, others: int) -> str:
    """Rows with an issue, flagged ones first."""
    if not (flagged and others):
        return "the flagged rows" if flagged else counted(others, "row")
    return f"{flagged:,} flagged and {counted(others, 'other row')}"


def report_json(report: ReportTable, path: Path, top: int | None, reviews: Mapping[str, Any] | None = None) -> None:
    """The JSON twin of `report_view`: summary, `report` (path), `suspicious` (the `top` rows), `advice`, `reviews`."""
    from cleanlab_lite.report.advice import advice_of
    from cleanlab_lite.report.reasons import why, with_context

    rows = with_context(report, report.suspicious().slice(0, _TOP if top is None else top))
    suspicious = [{name: row[name] for name in _SUSPICIOUS_COLUMNS} | {"why": why(row)} for row in rows]
    more = {"report": str(path), "suspicious": suspicious, "advice": advice_of(report.summary), "reviews": reviews}
    json_document(report.summary.as_dict() | more)


def method_view(summary: Summary) -> None:
    """How the numbers of a run were made, as Markdown."""
    from cleanlab_lite.report.method import method_card

    for section in method_card(summary):
        line(f"## {section.title}")
        line()
        for text in section.sentences:
            line(f"- {escape(text)}.")
        line()


def method_json(summary: Summary) -> None:
    """The JSON twin of `method_view`: sentences by title."""
    from cleanlab_lite.report.method import method_card

    json_document({section.title: section.sentences for section in method_card(summary)})

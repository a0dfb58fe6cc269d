"""All of stdout: the report view, checks, plans, settings, and JSON."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleanlab_lite.addresses import shown
from cleanlab_lite.config import FIELDS
from cleanlab_lite.text import (
    chance,
    counted,
    escape,
    percent,
    renamed,
    room_of,
    short_names,
    shorten,
    shorten_path,
    tell_apart,
)

from .settings import OptionValue
from .terminal import format_duration, is_terminal, supports_color, wrapped

if TYPE_CHECKING:
    from cleanlab_lite.forecast import Forecast
    from cleanlab_lite.manifest.encoded import Done
    from cleanlab_lite.manifest.manifest import Modality
    from cleanlab_lite.report.comparison import Change, Comparison, Stability
    from cleanlab_lite.report.gate import Gate, Row, RowChange
    from cleanlab_lite.run.listing import ListedRun
    from cleanlab_lite.run.report import ReportTable
    from cleanlab_lite.run.selftest import ClassOutcome, Outcome, SelfTest
    from cleanlab_lite.run.summary import Annotator, ClassNoise, Confusion, Leak, Noise, Summary
    from cleanlab_lite.run.verification import Verification, Way

_ID_WIDTH, _LABEL_WIDTH = 40, 24  # columns
_SHORTEST_PATH = 24  # characters that are left of a path
_INDENT = " " * 6  # of a sentence under its row
_ROOM, _MOST = 60, 140  # characters that a sentence needs beside its row, and takes at most
_PIPE_WIDTH = 1000  # characters per line off a terminal: tables take what they need, nothing is cut
_WORST_CLASSES = _TOP_CONFUSIONS = 8  # rows
_TOP = 20  # suspicious rows
_TALL = 40  # lines of a terminal that shows a report whole, with some scrolling; a lower one is shown what fits
_REST = 21  # lines of such a report beside the suspicious rows, which have two each
_SENTENCES = 8
_ALL = 0.98  # share that the cache holds; of a few files some are broken, and decoded each time
_METHOD_COLUMNS = {"runs": "in an audit", "pretrained": "takes weights"}  # where the name does not say enough
_SUSPICIOUS_COLUMNS = ("id", "given_label", "suggested_label", "p_mislabel", "issue", "action", "reasons")


def line(text: str = "") -> None:
    """One line of the answer, or several; whatever strangers' text in it has missed, is made safe here."""
    _print(escape(shown(text), keep="\n\t"))


def _print(text: str) -> None:
    """When the reader has gone away (`| head`) the rest is dropped, the command goes on."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def document(text: str) -> None:
    """What is made for a program, and has been made safe for it."""
    _print(text)


def json_document(value: Any) -> None:
    """`value` as JSON; NaN and infinities become null, which JSON has no numbers for."""
    _print(json.dumps(_finite(value), indent=2, allow_nan=False))


def encoded_view(done: Done) -> None:
    """What a person reads after an encoding; the last line is the folder."""
    there = f", {done.found:,} of them from before" if done.found else ""
    line(
        f"{counted(done.rows, 'row')} as vectors of {done.dimensions:,} numbers in {counted(done.parts, 'part')}{there}"
    )
    line(f"  nlclean audit {escape(shlex.quote(str(done.folder)))}")
    line(escape(str(done.folder)))


def report_json(report: ReportTable, path: Path, top: int | None, reviews: Mapping[str, Any] | None = None) -> None:
    """The JSON twin of `report_view`: summary, `report` (path), `suspicious` (the `top` rows), `advice`, `reviews`."""
    from cleanlab_lite.report.advice import advice_of
    from cleanlab_lite.report.reasons import why, with_context

    rows = with_context(report, report.suspicious().slice(0, _TOP if top is None else top))
    suspicious = [{name: row[name] for name in _SUSPICIOUS_COLUMNS} | {"why": why(row)} for row in rows]
    more = {"report": str(path), "suspicious": suspicious, "advice": advice_of(report.summary), "reviews": reviews}
    json_document(report.summary.as_dict() | more)


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
    _sentences("By the decisions of people", reviews)
    names = [entry.label for entry in summary.classes]
    if not low:
        _tables(type(summary).from_dict(renamed(summary.as_dict(), short_names(names, _LABEL_WIDTH))))
    title = "Most suspicious rows" if learned else "Copies that carry different labels"
    shown = max((height - _REST) // 2, 2) if low else _TOP if top is None else top
    _suspicious_rows(title, with_context(report, report.suspicious().slice(0, shown)), names)
    if low:
        everything = f"nlclean report {escape(shlex.quote(str(path.parent)))} --top {_TOP}"
        beside = "classes, confusions and more rows:"
        line(f"{beside} {everything}" if len(beside) + len(everything) < _width() else f"{beside}\n  {everything}")
    _next_steps(path.parent, report, bare=low, decided=decided)
    line(str(path))


def _tables(summary: Summary) -> None:
    """All but the headline and the suspicious rows."""
    if summary.noise_rate.learned:
        _worst_classes(summary.classes)
        _top_confusions(summary.confusions)
        _sentences("Classes taken for each other", [pair.in_words for pair in summary.overlaps])
        _sentences("Where wrong labels come from", [source.in_words for source in summary.provenance])
    _annotators(summary.annotators)
    _leakage(summary.leakage)
    if summary.search:
        _search(summary.search)


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


def selftest_view(found: SelfTest, folder: Path) -> None:
    """What a person reads after a self-test; the last line is the file that holds it."""
    from cleanlab_lite.run.layout import SELFTEST

    line(
        wrapped(
            f"{counted(found.flagged, 'row')} flagged, noise rate {percent(found.noise_rate)}; "
            f"wrong labels planted at that rate, audits with preset {found.preset}",
            sys.stdout,
        )
    )
    names = ("errors planted", "rows", "planted", "flagged", "AP", "precision", "recall", "corrections right", "rate")
    line()
    under = {0: "", 7: "corrections right ", 8: "rate "}
    cells = map(_outcome_cells, found.shapes)
    _wide_table("What audits make of planted errors", names, cells, right=range(1, len(names)), under=under)
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
        _table("Calibration", ("p(wrong)", "wrong", "rows"), cells, right=(0, 1, 2))


def _weakest_classes(shapes: Sequence[Outcome]) -> None:
    """Classes whose errors are found least, by the first shape."""
    for shape in shapes[:1]:
        names = _names(each.label for each in shape.classes)
        known = [each for each in shape.classes if each.recall is not None]
        weakest: list[ClassOutcome] = sorted(known, key=lambda each: (each.recall or 0.0, each.label))
        _table(
            "Classes whose errors are found least",
            ("label", "rows", "planted", "flagged", "precision", "recall"),
            [
                (
                    _label(renamed(each.label, names)),
                    *(f"{count:,}" for count in (each.rows, each.planted, each.flagged)),
                    percent(each.precision),
                    percent(each.recall),
                )
                for each in weakest[:_WORST_CLASSES]
            ],
            right=range(1, 6),
        )


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
    _wide_table("What is learned from the labels", names, cells, right=(2, 3, 4, 5, 6), under=under)
    line(wrapped(found.sentence, sys.stdout))
    line(str(folder / VERIFICATION))


def _way_cells(way: Way) -> tuple[str, ...]:
    gain = ("", "", "")
    if way.difference is not None and way.low is not None and way.high is not None:
        between = f"{100 * way.low:+.1f} to {100 * way.high:+.1f}"
        gain = (f"{100 * way.difference:+.1f}", between, way.verdict or "")
    return (way.name, way.summary, f"{way.rows:,}", f"{way.relabelled:,}", percent(way.accuracy), *gain)


def comparison_view(found: Comparison, top: int) -> None:
    """What a person reads of two runs; `top` rows a list."""
    from cleanlab_lite.report.comparison import CHANGES

    line(f"{counted(found.rows, 'row')} in both, {found.only_before:,} only before, {found.only_after:,} only after")
    if found.relabelled:
        line(f"relabelled: {counted(found.relabelled, 'row')}")
    line(f"noise rate: {_between(found.rate_before)} before, {_between(found.rate_after)} after")
    line(f"flagged: {counted(found.flagged_before, 'row')} before, {counted(found.flagged_after, 'row')} after")
    if found.stay is not None:
        line(f"{percent(found.stay)} of the flags stay")
    line()
    names = _names(each.label for each in found.classes)
    changed = [each for each in found.classes if each.newly_flagged or each.no_longer_flagged]
    _table(
        "Classes with most changes",
        ("label", "rows", "flagged before", "after", "newly", "no longer"),
        [
            (
                _label(renamed(each.label, names)),
                *(f"{n:,}" for n in (each.rows, each.flagged_before, each.flagged_after)),
                *(f"{n:,}" for n in (each.newly_flagged, each.no_longer_flagged)),
            )
            for each in changed[:_WORST_CLASSES]
        ],
        right=range(1, 6),
    )
    for name in CHANGES:
        rows = [each for each in found.changes if each.change == name]
        _wide_table(
            f"{name.capitalize()}: {counted(len(rows), 'row')}",
            ("id", "label", "p(wrong)", "suggested"),
            [_change_cells(each, names) for each in rows[:top]],
            right=(2,),
            under={2: "p(wrong) ", 3: "suggested "},
        )


def stability_view(found: Stability) -> None:
    """What a person reads of the same audit with other seeds."""
    line(f"{counted(found.flagged, 'row')} flagged with seed {found.seed}, noise rate {percent(found.noise_rate)}")
    line()
    _wide_table(
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


def _between(rate: Noise) -> str:
    return f"{percent(rate.estimate)} ({percent(rate.low)} to {percent(rate.high)})" if rate.learned else "unknown"


def _change_cells(each: Change, names: Mapping[str, str]) -> tuple[str, ...]:
    label, *suggested = (
        _label(renamed(text, names)) for text in (each.label_after, each.suggested_before, each.suggested_after)
    )
    p = ["-" if p is None else chance(p) for p in (each.p_before, each.p_after)]
    return (shorten_path(escape(each.id), _ID_WIDTH), label, " -> ".join(p), " -> ".join(dict.fromkeys(suggested)))


def _headline(summary: Summary) -> None:
    from cleanlab_lite.report.reasons import noted

    manifest, rate = summary.manifest, summary.noise_rate
    facts = (
        f": {counted(manifest.rows, 'row')}, {manifest.labelled:,} labelled, {counted(manifest.classes, 'class')}, "
        f"{manifest.modality}"
    )
    line(shorten(escape(manifest.path), max(_width() - len(facts), _SHORTEST_PATH)) + facts)
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


def _to_review(flagged: int, others: int) -> str:
    """Rows with an issue, flagged ones first."""
    if not (flagged and others):
        return "the flagged rows" if flagged else counted(others, "row")
    return f"{flagged:,} flagged and {counted(others, 'other row')}"


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


def _annotators(found: Sequence[Annotator]) -> None:
    _table(
        "Annotators, least reliable first",
        ("annotator", "votes", "right", "between", "mostly said"),
        [
            (
                _label(each.annotator),
                f"{each.votes:,}",
                percent(each.quality),
                f"{percent(each.low)} - {percent(each.high)}",
                escape(each.in_words),
            )
            for each in found[:_WORST_CLASSES]
        ],
        right=(1, 2, 3),
    )


def _leakage(shared: Sequence[Leak]) -> None:
    _table(
        "Leakage between splits",
        ("split", "rows", "share", "split", "rows", "share", "copies"),
        [
            (
                _label(pair.split_a),
                f"{pair.rows_a:,}",
                percent(pair.share_a),
                _label(pair.split_b),
                f"{pair.rows_b:,}",
                percent(pair.share_b),
                pair.kind,
            )
            for pair in shared
        ],
        right=(1, 2, 4, 5),
    )


def _worst_classes(classes: Sequence[ClassNoise]) -> None:
    from cleanlab_lite.run.summary import FEW

    judged, few = [row for row in classes if not row.too_few], [row for row in classes if row.too_few]
    worst = sorted(judged, key=lambda row: -(row.noise_rate or 0))[:_WORST_CLASSES]
    _table(
        "Worst classes",
        ("class", "rows", "flagged", "noise rate", "between"),
        [
            (
                _label(row.label),
                f"{row.rows:,}",
                f"{row.flagged:,}",
                percent(row.noise_rate),
                f"{percent(row.low)} - {percent(row.high)}",
            )
            for row in worst
        ],
        right=(1, 2, 3, 4),
    )
    each = [f"{_label(row.label)}: {row.too_few}" for row in few]
    if len(few) > 1 and not judged:
        each = [f"all {len(few):,}: too few to judge (n < {FEW})"]
    _sentences("Classes without a noise rate", each)


def _top_confusions(confusions: Sequence[Confusion]) -> None:
    _table(
        "Top confusions",
        ("given", "suggested", "rows", "probably right"),
        [
            (_label(row.given), _label(row.suggested), f"{row.rows:,}", f"{row.expected:,.0f}")
            for row in confusions[:_TOP_CONFUSIONS]
        ],
        right=(2, 3),
    )


def _sentences(title: str, texts: Sequence[str]) -> None:
    """A line each, the first ones; nothing where there are none. Strangers' text is made safe here."""
    if not texts:
        return
    _print(f"\x1b[1m{title}\x1b[0m" if supports_color(sys.stdout) else title)
    for text in texts[:_SENTENCES]:
        line(wrapped(f"  {escape(text)}", sys.stdout))
    if len(texts) > _SENTENCES:
        line(f"  and {len(texts) - _SENTENCES:,} more")
    line()


def _search(search: Mapping[str, Any]) -> None:
    """What `--strategy auto` tried, and why it chose."""
    _table(
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

    id_width = min(_ID_WIDTH, max(20, _width() // 4))
    label_width = min(_LABEL_WIDTH, max(8, (_width() - id_width - 34) // 2))  # 34: the other columns and the gaps
    short = short_names(names, label_width)
    ids = [escape(row["id"]) for row in rows]
    corrections = [_correction(row, label_width, short) for row in rows]
    chances = ["-" if row["p_mislabel"] is None else chance(row["p_mislabel"]) for row in rows]
    header = ("id", "given -> suggested", "p(wrong)")
    columns = ([shorten_path(id, id_width) for id in ids], corrections, chances)
    longest = [max(map(room_of, (name, *column))) for name, column in zip(header, columns, strict=True)]
    beside = min(_width() - sum(longest) - 4 * len(longest), _MOST)
    if beside < _ROOM:  # the ids take what nothing is put into
        id_width = min(_ID_WIDTH, _width() - sum(longest[1:]) - 4 * len(longest))
        columns = ([shorten_path(id, id_width) for id in ids], corrections, chances)
    cells = list(zip(*columns, strict=True))
    room = beside if beside >= _ROOM else _width() - len(_INDENT)
    whys = [escape(in_one_sentence(row, room)) for row in rows]
    if beside >= _ROOM:
        _table(title, (*header, "why"), [(*row, text) for row, text in zip(cells, whys, strict=True)], right=(2,))
    else:
        _table(title, header, cells, right=(2,), below=whys)


def _correction(row: Mapping[str, Any], width: int, short: Mapping[str, str]) -> str:
    """The given label and the suggested one, with the probability that this is right."""
    given, suggested = (_label(renamed(row[name], short), width) for name in ("given_label", "suggested_label"))
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
    beside = all(width + len(comment) + 7 <= _width() for _, comment in steps)
    for command, comment in steps:
        above = "" if bare else f"  # {comment}\n"
        line(f"  {command:<{width}}   # {comment}" if beside else f"{above}  {command}")
    line(f"  nlclean report {folder} --json --top 100")
    line()


def gate_text(gate: Gate, top: int) -> str:
    """What a person reads after a check: the `top` rows of every list, then counts and limits. With a baseline the
    suspects that are new come first, and those that are not are only counted."""
    from cleanlab_lite.report.gate import NEW, RowChange
    from cleanlab_lite.report.gate_formats import change_text, gate_headline, suspect_text

    lists: dict[str, Sequence[Row | RowChange]] = {"suspects": gate.suspects}
    if gate.changes is not None:
        lists = {n: [c.row for c in found] if n == NEW else found for n, found in gate.changes.items()}
    lines = []
    for name, found in lists.items():
        size = f"{len(found):,}" if gate.changes is None else gate.size(name)
        lines.append(f"{name.replace('_', ' ')}: {size}")
        for one in found[:top]:
            lines.append(f"  {change_text(gate, one) if isinstance(one, RowChange) else suspect_text(gate, one)}")
        if 0 < top < len(found):
            lines.append(f"  and {len(found) - top:,} more")
    lines.append(f"{escape(gate.summary.manifest.path)}: {gate_headline(gate)}")
    lines += [f"{'FAILED' if outcome.exceeded else 'passed'}  {outcome.message}" for outcome in gate.outcomes]
    return "\n".join(lines) + "\n"


def forecast_view(facts: Mapping[str, Any], forecast: Forecast, budget: float) -> None:
    """What `audit --dry-run` would do, in words; `budget` in seconds, 0 for none."""
    lines = [("rows", _of_rows(facts)), *(("looks at", text) for text in views_in_words(facts))]
    if "evidence" not in facts:
        precisions = sorted({facts["precision"], facts["encoder_precision"]} - {""})
        lines.append(("machine", f"{facts['device']} in {' and '.join(precisions)}"))
    lines.append(("takes", duration_in_words(forecast)))
    asides = cached_in_words(forecast, facts["modality"]), budget_in_words(forecast, budget)
    lines += [("", text) for text in asides if text]
    if "evidence" not in facts:
        lines.append(("needs", f"{facts['memory_gib']:g} GiB of memory, {facts['disk_mib']:,} MiB on the disk"))
    width = max(len(name) for name, _ in lines)
    before = ""
    for name, text in lines:
        line(f"{name if name != before else '':<{width}}  {escape(text)}")
        before = name


def duration_in_words(forecast: Forecast) -> str:
    """ "about 1m10s (55s to 2m: trials decide what is trained)"; what one cannot see is left out."""
    about, least, most = map(format_duration, (forecast.seconds, forecast.least, forecast.most))
    if len({about, least, most}) == 1:
        return f"about {about}"
    return f"about {about} ({least} to {most}: trials decide what is trained)"


def budget_in_words(forecast: Forecast, budget: float) -> str:
    """That a time budget in seconds is too short; "" where it is not, or is 0 for none."""
    if not 0 < budget < forecast.seconds:
        return ""
    return f"more than the time budget of {format_duration(budget)}: given again, the same command goes on"


def cached_in_words(forecast: Forecast, modality: Modality) -> str:
    """ "the cache holds 62 % of the pictures and their vectors"; "" where it has none of a few."""
    from cleanlab_lite.manifest.manifest import PLURALS

    shares = {part.name: part.cached for part in forecast.parts}
    decoded, encoded = shares.get("decode", 0.0), shares.get("encode")
    if not decoded:
        return ""
    most = "" if decoded > _ALL else f"{100 * decoded:.0f} % of "
    held = f"the cache holds {most}the {PLURALS[modality]}"
    if encoded is None:
        return held
    if encoded > _ALL * decoded:
        return f"{held} and their vectors"
    return f"{held}, and {f'the vectors of {100 * encoded:.0f} %' if encoded else 'no vectors yet'}"


def _of_rows(facts: Mapping[str, Any]) -> str:
    from cleanlab_lite.manifest.manifest import PLURALS

    rows, labelled, missing = facts["rows"], facts["labelled"], facts.get("missing_files", 0)
    parts = [counted(rows, PLURALS[facts["modality"]].removesuffix("s")), counted(facts["classes"], "class")]
    parts += [f"{rows - labelled:,} without a label"] if labelled < rows else []
    return ", ".join([*parts, *([f"missing: {counted(missing, 'file')}"] if missing else [])])


def views_in_words(facts: Mapping[str, Any]) -> list[str]:
    """What an audit looks at, by the facts of its plan, and what it learns from that; a line per view."""
    if "evidence" in facts:
        return [f"your own evidence ({facts['evidence']}): nothing is trained"]
    size = f"{facts['image_size']} px" if facts["image_size"] else ""
    if facts["sample_rate"]:
        size = f"{facts['sample_rate'] / 1000:g} kHz, patches of {facts['patch_seconds']:g} s"
    encoder = f"{facts['encoder']}, {facts['encoder_features']} numbers, {size}"
    in_words = {"encoder": f"encoder ({encoder})", "statistics": "statistics of the spectrograms"}
    beside = facts["beside"] or {"views": ()}
    found = []
    for view in facts["views"]:
        if view in beside["views"]:
            continue
        learned = "a regression in closed form"
        if facts["heads"] == "closed":
            learned += ", nothing is trained"
        elif view == facts["views"][0]:
            head = f"{learned}, " if facts["encoder"] else ""
            start = f", from the proxies of run {facts['warm_start']}" if facts["warm_start"] else ""
            learned = f"{head}{_networks(facts)}, batches of {facts['batch_size']}{start}"
        found.append(f"{in_words.get(view, f'{view} ({size})' if size else view)}: {learned}")
    for view in beside["views"]:
        side = f" ({beside['image_size']} px)" if beside["image_size"] else ""
        found.append(f"{view}{side}: {_networks(beside)}, if the first comes near the regression")
    return found


def _networks(facts: Mapping[str, Any]) -> str:
    epochs = counted(facts["epochs"], "epoch") if facts["epochs"] else "epochs by trial"
    taught = f"{facts['strategy']} with {facts['loss']}"
    if facts["recipes"] > 1:
        taught = f"the best of {facts['recipes']} recipes"
    return f"{facts['ensemble']} cross-fitted networks {facts['proxy']}, {taught}, {epochs}"


def settings_view(settings: Mapping[str, OptionValue]) -> None:
    """Value, origin and meaning of every setting, as lines that nlclean.toml would take."""
    pairs = [f"{name} = {json.dumps(setting.value)}" for name, setting in settings.items()]
    width = max(map(len, pairs))
    for pair, (name, setting) in zip(pairs, settings.items(), strict=True):
        line(f"{pair:<{width}}  # {escape(setting.origin)}{_meaning(name, setting.value)}")


def _meaning(name: str, value: Any) -> str:
    """What the value of a setting stands for, or is counted in; "" where it speaks for itself."""
    option = FIELDS.get(name)
    if option is None:
        return ""
    if value == option.default and option.stands_for:
        return f": {option.stands_for}"
    return f", in {option.unit}" if option.unit else ""


def methods_view(methods: Mapping[str, Sequence[Mapping[str, Any]]], columns: Mapping[str, Sequence[str]]) -> None:
    """Tables of methods, by title, with some columns of each."""
    for title, rows in methods.items():
        shown = columns[title]
        titles = [_METHOD_COLUMNS.get(name, name.replace("_", " ")) for name in shown]
        _wide_table(
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
        rows.append((when, state, "yes" if run.decided else "", size(run.bytes), escape(str(folder))))
    title = f"{counted(len(runs), 'run')} in {escape(str(root))}, {size(total)}"
    names = ("finished or begun", "flagged", "reviewed", "size", "folder")
    _wide_table(title, names, rows, right={1, 3}, under={4: ""})


def cache_view(parts: Sequence[Mapping[str, Any]], root: Path) -> None:
    """A line per kind of what the cache holds."""
    if not parts:
        line(f"nothing in {escape(str(root))}")
        return
    total = size(sum(part["bytes"] for part in parts))
    rows = [(part["meaning"], f"{part['files']:,}", size(part["bytes"])) for part in parts]
    _table(f"{total} in {escape(str(root))}", ("what", "files", "size"), rows, right={1, 2})


def size(count: int) -> str:
    """Bytes as people say them."""
    if count < 1e6:
        return f"{count / 1e3:,.1f} kB"
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def facts_view(sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Named sections of names and values."""
    for title, facts in sections.items():
        line(f"{title}:")
        for name, value in facts.items():
            line(f"  {escape(name)}: {escape(_scalar(value))}")


def _table(
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[int],
    below: Sequence[str] = (),
) -> None:
    """A table, a line per row; nothing where there are no rows.

    Where the terminal is too narrow, the last column is cut. Cells are never markup. `below`: a text under each row.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if index in right else "left", no_wrap=index < len(header) - 1)
    for row in rows:
        table.add_row(*(Text(escape(shown(cell)), no_wrap=True, overflow="ellipsis") for cell in row))
    if not table.row_count:
        return
    console = Console(
        file=sys.stdout,
        width=_width(),
        color_system="auto" if supports_color(sys.stdout) else None,
    )
    with console.capture() as capture:
        console.print(table)
    lines = [text.rstrip() for text in capture.get().splitlines()]
    if below:
        first = len(lines) - 1 - table.row_count  # an empty line is the last
        lines = [*lines[:first], *_under(lines[first:-1], (escape(shown(text)) for text in below)), lines[-1]]
    _print("\n".join(lines))


def _wide_table(
    title: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[int],
    under: Mapping[int, str],
) -> None:
    """A table of which columns stand under each row where the terminal has no room for all beside each other.

    `under`: those columns, and what is said before their cells there.
    """
    rows = list(rows)
    longest = [max(map(room_of, column)) for column in zip(header, *rows, strict=True)]
    if sum(longest) + 3 * len(longest) < _width():
        _table(title, header, rows, right)
        return
    kept = [index for index in range(len(header)) if index not in under]
    below = ["; ".join(before + row[index] for index, before in under.items() if row[index]) for row in rows]
    cells = [[row[index] for index in kept] for row in rows]
    _table(title, [header[i] for i in kept], cells, {kept.index(i) for i in right if i in kept}, below=below)


def _under(lines: Iterable[str], texts: Iterable[str]) -> Iterator[str]:
    """Every line and the text under it, indented."""
    for each, text in zip(lines, texts, strict=True):
        yield each
        wrapper = textwrap.TextWrapper(
            _width(), initial_indent=_INDENT, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
        )
        yield from wrapper.wrap(text)


def _width() -> int:
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else _PIPE_WIDTH


def _names(labels: Iterable[str]) -> dict[str, str]:
    """What is shown of labels in tables, where that is something else: no two look alike, none is too long."""
    labels = list(labels)
    apart = tell_apart(labels)
    short = short_names((apart.get(label, label) for label in labels), _LABEL_WIDTH)
    return {label: short.get(apart.get(label, label), apart.get(label, label)) for label in labels}


def _label(label: str | None, width: int = _LABEL_WIDTH) -> str:
    return "-" if label is None else shorten(escape(label), width)


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


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value

"""One offline page about a run: charts, pictures, and a table in which a person decides about rows.

A single file without any reference to elsewhere. What people wrote (labels, ids, paths) travels as JSON and reaches the
page as text only; the content security policy lets nothing but this very script and style run, and nothing be fetched.

The page never exceeds its limit: rows are added in order of suspicion until their share of it is used up, then details
(preview, margins, neighbours) in the same order until it is full. What is left out is counted.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path, PurePath
from string import Template
from typing import Any

import numpy as np

from cleanlab_lite.errors import ConfigError, ReportError
from cleanlab_lite.export.target import choose_file, replacing
from cleanlab_lite.judge.mixture import BetaMixture, GaussianMixture, fit_beta_mixture, fit_gaussian_mixture
from cleanlab_lite.manifest.manifest import PLURALS
from cleanlab_lite.progress import OnProgress, ignore
from cleanlab_lite.report.advice import UNLEARNED, advice_of, advised_policy
from cleanlab_lite.report.method import method_card
from cleanlab_lite.report.page import charts
from cleanlab_lite.report.page.page_data import Look, PageData, known
from cleanlab_lite.report.page.previews import Preview, preview_of
from cleanlab_lite.report.reasons import in_parts
from cleanlab_lite.report.reviewed import Reviewed, reviewed, unanswered
from cleanlab_lite.run import RunFolder
from cleanlab_lite.run.folder import StoredCurves
from cleanlab_lite.run.layout import DECISIONS
from cleanlab_lite.run.report import ReportTable, by_suspicion, flags
from cleanlab_lite.run.selftest import Outcome, SelfTest
from cleanlab_lite.run.stability import Stability
from cleanlab_lite.run.summary import Annotator, ClassNoise, Leak, NoisySource, Summary
from cleanlab_lite.run.verification import Verification
from cleanlab_lite.text import counted, percent, points, renamed

# what the page may load: nothing, or the pictures, sounds and decisions of `nlclean review --web`
OFFLINE = "img-src data:; media-src data:"
SERVED = "img-src data: 'self'; media-src 'self'; connect-src 'self'"
LIMIT = 15_000_000  # bytes of the whole page
CURVE_ROWS = 100_000  # rows behind the quartiles of the margins, evenly spread
# Parts of the script in the order in which they run, of one scope
SCRIPTS = tuple(
    f"page_{part}.js" for part in ("parts", "decisions", "table", "grid", "detail", "pairs", "map", "tools", "keys")
)
ANNOTATORS = 60  # in the table of annotators
CLASS_ROWS = 60  # classes in the table of classes
WEAKEST = 8  # classes whose planted errors are found least

_percent = partial(percent, unknown="unknown")


def build_page(
    run: RunFolder, *, served: Look | None = None, limit: int = LIMIT, on_progress: OnProgress = ignore
) -> bytes:
    """The page about the run, at most `limit` bytes of UTF-8. The same run gives the same bytes.

    A chart whose file the run lacks is left out, and so is the preview of a row whose file cannot be read. A page that
    is `served` shows the pictures under these addresses, relative to its own, and leaves decisions at `decisions`.
    Raises ReportError when there is no report, or when not even an empty table fits into `limit`.
    """
    before, after = _frame(run, served=served is not None)
    island = PageData(run.report, limit - len(before) - len(after), limit)
    island.add_rows(by_suspicion(run.report.table))
    look = served
    if look is None:
        island.add_decisions(run.decisions)  # a page that is served asks for them
        if run.has_manifest and run.manifest.uris is not None:
            look = partial(preview_of, run)
    island.add_examples(look)
    island.add_map(run.features)
    island.add_details(look or _unseen, run.history, on_progress)
    page = before + island.encoded() + after
    if len(page) > limit:
        raise ReportError(f"the page has {len(page):,} bytes without any row, the limit is {limit:,}")
    return page


def write_page(run: RunFolder, page: Path, *, force: bool = False, on_progress: OnProgress = ignore) -> int:
    """Write the page of a run to a file, whole or not at all; its bytes. Raises ConfigError when it must not be."""
    if page.is_dir():
        raise ConfigError(f"{page} is a folder", hint=f"expected e.g. {page / 'report.html'}")
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{page} is no name of a page", hint=f"expected e.g. {page.with_suffix('.html')}")
    choose_file(run, page, force=force)
    content = build_page(run, on_progress=on_progress)
    with replacing(page, hint="give another file") as temporary:
        temporary.write_bytes(content)
    return len(content)


def _unseen(_row: int, _side: int) -> Preview:
    return Preview()


def _quartiles(history: StoredCurves, suspect: np.ndarray) -> dict[str, np.ndarray]:
    """Quartiles (3, e) of the margins of flagged rows, and of all other rows."""
    groups = {"all": np.flatnonzero(~suspect), "suspect": np.flatnonzero(suspect)}
    result = {}
    for name, rows in groups.items():
        spread = rows[:: len(rows) // CURVE_ROWS + 1]
        found = history.read("margin", spread)
        whole = found[np.isfinite(found).all(axis=1)]
        if len(whole):
            result[name] = np.percentile(whole, (25, 50, 75), axis=0)
    return result


def _mixture(loss: np.ndarray, facts: dict[str, Any] | None) -> BetaMixture | GaussianMixture | None:
    """What the loss mixture of the audit found, fitted again: the iterations it took make it the same."""
    if facts is None or facts["degenerate"] or not facts["separated"]:
        return None  # no two groups were found
    if facts["family"] == "beta":
        return fit_beta_mixture(loss, rounds=facts["iterations"])
    return fit_gaussian_mixture(loss)


def _frame(run: RunFolder, *, served: bool) -> tuple[bytes, bytes]:
    """The page before and after its data."""
    here = files(__package__)
    names = (*SCRIPTS, "page_served.js") if served else SCRIPTS
    style = (here / "page.css").read_text("utf-8")
    script = f"(() => {{\n{''.join((here / name).read_text('utf-8') for name in names)}}})();\n"
    before, after = (here / "page.html").read_text("utf-8").split("$data")
    report, said = run.report.told_apart, reviewed(run.report.table, run.decisions)
    values = {
        "served": " data-served" if served else "",
        "icon": '<link rel="icon" href="data:,">' if served else "",  # or a browser asks the server for one
        "sources": SERVED if served else OFFLINE,
        "style": style,
        "script": script,
        "style_hash": _csp_hash(style),
        "script_hash": _csp_hash(script),
        "journal": DECISIONS,
        "export": _export(run),
        **_headline(run, unanswered(run.summary.warnings, said)),
        "leakage": _leakage(run.summary.leakage),
        "provenance": _provenance(report.summary.provenance),
        "annotators": _annotators(report.summary.annotators),
        "reviews": _reviews(said),
        "selftest": _selftest(run.selftest, run.report.names),
        "verification": _verification(run.verification),
        "stability": _stability(run.stability),
        "method": _method(run.summary),
        "order": "Rows, most suspicious first" if run.summary.noise_rate.learned else "Rows",
        "charts": _learning(run.report, run.history),
        **_classes_or_advice(run),
    }
    encoded = [Template(part).substitute(values).encode("utf-8", "xmlcharrefreplace") for part in (before, after)]
    return encoded[0], encoded[1]


def _export(run: RunFolder) -> str:
    """The command that leaves a clean dataset without anybody's decisions."""
    if (cleaned := advised_policy(run.folder, run.report)) is None:
        return ""
    policy, does = cleaned
    return f"<p>Without decisions: <code>nlclean export --policy {policy}</code>, {escape(does)}.</p>"


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _headline(run: RunFolder, warnings: Sequence[str]) -> dict[str, str]:
    summary = run.summary
    manifest, rate, actions, others = summary.manifest, summary.noise_rate, summary.actions, summary.other_issues
    finished = run.state.finished if run.state else None
    about = [
        counted(manifest.rows, "row"),
        counted(manifest.classes, "class"),
        PLURALS[manifest.modality],
        *([f"audited on {finished[:10]}"] if finished else []),
        f"run {summary.run_id}",
    ]
    proposals = {"relabel": "to relabel", "drop": "to drop", "review": "to look at"}
    tiles = [
        _tile(
            "Noise rate",
            _percent(rate.estimate),
            f"between {_percent(rate.low)} and {_percent(rate.high)}" if rate.learned else "nothing was learned",
        ),
        _tile(
            "Probably wrong",
            f"{summary.flagged:,}" if rate.learned else "unknown",
            f"flagged, of {manifest.labelled:,} labelled rows{in_parts(summary.flagged_issues)}"
            if rate.learned
            else "no row is judged",
        ),
        _tile(
            "Proposed",
            f"{sum(actions.get(action, 0) for action in proposals):,}",
            ", ".join(f"{actions.get(action, 0):,} {text}" for action, text in proposals.items()),
        ),
        _tile("Other issues", f"{sum(others.values()):,}", f"not flagged{in_parts(others)}"),
    ]
    return {
        "name": escape(PurePath(manifest.path).name),
        "about": escape(" · ".join(about)),
        "tiles": "".join(tiles),
        "warnings": "".join(f'<p class="warning">{escape(sentence)}</p>' for sentence in warnings),
    }


def _tile(title: str, value: str, note: str) -> str:
    return (
        f'<div class="tile"><h2>{escape(title)}</h2><p class="value">{escape(value)}</p>'
        f'<p class="note">{escape(note)}</p></div>'
    )


def _learning(report: ReportTable, history: StoredCurves | None) -> str:
    suspect = flags(report.table)
    loss = np.asarray(report.table["loss_mean"].fill_null(np.nan), dtype=np.float64)
    figures = []
    if np.isfinite(loss).any():
        mixture = _mixture(loss, report.summary.detectors.get("bmm"))
        keys = [("all", "all rows"), ("suspect", "flagged")]
        keys += [("fit clean", "fitted: clean"), ("fit noisy", "fitted: noisy")] if mixture else []
        text = "A row that stays expensive to learn is often mislabelled. The vertical scale is a square root."
        figures.append(_figure("Loss", text, keys, charts.loss_histogram(loss, suspect, mixture)))
    if history and (quartiles := _quartiles(history, suspect)):
        text = (
            "How far the given label is ahead of the best other class. Lines are medians, bands hold the middle half."
        )
        keys = [("all", "all others"), ("suspect", "flagged")]
        figures.append(_figure("Margin while learning", text, keys, charts.margin_curves(quartiles)))
    return "".join(figures)


def _leakage(shared: Sequence[Leak]) -> str:
    """Rows that splits share, a table row per pair of them and kind of copy."""
    if not shared:
        return ""
    lines = [
        f'<tr><th scope="row" class="text">{escape(pair.split_a)}</th>'
        f'<td class="figure">{pair.rows_a:,}</td><td class="figure">{_percent(pair.share_a)}</td>'
        f'<td class="text">{escape(pair.split_b)}</td>'
        f'<td class="figure">{pair.rows_b:,}</td><td class="figure">{_percent(pair.share_b)}</td>'
        f"<td>{escape(pair.kind)}</td></tr>"
        for pair in shared
    ]
    note = "Rows of either split with the same or nearly the same content in the other, each counted once."
    heads = ("Split", "Rows", "Share", "Split", "Rows", "Share", "Copies")
    return _pair(_table_card("Leakage between splits", note, heads, lines))


def _provenance(sources: Sequence[NoisySource]) -> str:
    """Values of the user's columns whose rows are noisier than the rest, a table row each."""
    if not sources:
        return ""
    full = max(source.high for source in sources) or 1
    lines = []
    for source in sources:
        pair = "" if source.given is None else f"{source.given} → {source.suggested}"
        share = "" if source.confusion_share is None else f" {_percent(source.confusion_share)}"
        lines.append(
            f'<tr><th scope="row" class="text">{escape(source.column)}</th>'
            f'<td class="text">{escape(source.value) or "(missing)"}</td>'
            f'<td class="bars">{charts.share_bar(source.rate, source.low, source.high, full)}</td>'
            f'<td class="figure">{_percent(source.rate)}</td>'
            f'<td class="figure note interval">{_percent(source.low)} - {_percent(source.high)}</td>'
            f'<td class="figure">{source.ratio:.1f}</td><td class="figure">{source.q:.1g}</td>'
            f'<td class="figure">{source.rows:,}</td><td class="text">{escape(pair)}{share}</td></tr>'
        )
    note = (
        "Rows that are noisier than others of the same class; the whisker is the interval of the share of wrong labels."
    )
    heads = ("Column", "Value", "Wrong", "Interval", "Times the rest", "q", "Rows", "Typical confusion")
    return _pair(_table_card("Where wrong labels come from", note, heads, lines, wide="Wrong"))


def _annotators(annotators: Sequence[Annotator]) -> str:
    """How reliable several annotators are, a table row each, the least reliable first."""
    if not annotators:
        return ""
    lines = [
        f'<tr><th scope="row" class="text">{escape(each.annotator)}</th>'
        f'<td class="bars">{charts.share_bar(each.quality, each.low, each.high, 1.0)}</td>'
        f'<td class="figure">{_percent(each.quality)}</td>'
        f'<td class="figure note interval">{_percent(each.low)} - {_percent(each.high)}</td>'
        f'<td class="figure">{each.votes:,}</td><td class="text">{escape(each.in_words)}</td></tr>'
        for each in annotators[:ANNOTATORS]
    ]
    note = "Share of right votes by the consensus of all annotators and the views; the whisker is its interval."
    if (more := len(annotators) - len(lines)) > 0:
        note += f" In annotators.parquet: {counted(more, 'more reliable one')}."
    heads = ("Annotator", "Right", "Interval", "Votes", "Mostly said")
    return _pair(_table_card("Annotators", note, heads, lines, wide="Right"))


def _reviews(found: Reviewed | None) -> str:
    """What decisions say of the whole set; nothing where nobody has decided anything."""
    if found is None:
        return ""
    lines = "".join(f"<p>{escape(sentence)}</p>" for sentence in found.in_words())
    return _pair(f'<div class="card"><h2>By the decisions of people</h2>{lines}</div>')


def _selftest(found: SelfTest | None, names: Mapping[str, str]) -> str:
    """What to expect of the flags, a table row per shape of planted errors, where somebody has tested it."""
    if found is None:
        return ""
    lines = []
    for shape in found.shapes:
        ap = "unknown" if shape.average_precision is None else f"{shape.average_precision:.2f}"
        shares = map(_percent, (shape.precision, shape.recall, shape.corrections_right))
        cells = "".join(f'<td class="figure">{cell}</td>' for cell in (f"{shape.planted:,}", ap, *shares))
        lines.append(f'<tr><th scope="row" class="text sentence">{escape(shape.summary)}</th>{cells}</tr>')
    heads = ("Errors planted", "How many", "AP", "Flags that are real", "Errors that are flagged", "Corrections right")
    rate = "more than at the estimated rate, which count for less" if found.crowded else "at the estimated rate"
    note = f"Wrong labels were planted among yours, {rate}, and audited (preset {escape(found.preset)})."
    card = _table_card("What to expect", note, heads, lines, sentence=found.expected.sentence)
    more = [_calibration(found.shapes[0]) + _weakest(found.shapes[0], names)] if found.shapes else []
    return "".join(map(_pair, [card, *more]))


def _calibration(shape: Outcome) -> str:
    """How many of the rows with some p_mislabel were wrong, a table row per tenth."""
    lines = [
        f'<tr><th scope="row" class="text">{_percent(each.p)}</th>'
        f'<td class="bars">{charts.share_bar(each.wrong, each.wrong, each.wrong, 1.0)}</td>'
        f'<td class="figure">{_percent(each.wrong)}</td><td class="figure">{each.rows:,}</td></tr>'
        for each in shape.calibration
    ]
    note = f"Of rows with that probability of being wrong so many were ({escape(shape.summary)})."
    return _table_card("Calibration", note, ("p(wrong)", "Wrong", "Rows"), lines, wide="Wrong")


def _weakest(shape: Outcome, names: Mapping[str, str]) -> str:
    """The classes whose errors are found least, a table row each."""
    lines = []
    for each in shape.weakest[:WEAKEST]:
        counts = (f"{count:,}" for count in (each.rows, each.planted, each.flagged))
        cells = (*counts, _percent(each.precision), _percent(each.recall))
        figures = "".join(f'<td class="figure">{cell}</td>' for cell in cells)
        lines.append(f'<tr><th scope="row" class="text">{escape(renamed(each.label, names))}</th>{figures}</tr>')
    heads = ("Label", "Rows", "Planted", "Flagged", "Flags that are real", "Errors that are flagged")
    note = f"Of planted errors that now carry the label ({escape(shape.summary)})."
    return _table_card("Classes whose errors are found least", note, heads, lines)


def _verification(found: Verification | None) -> str:
    """Whether cleaning helped, a table row per way, where somebody has tried it."""
    if found is None:
        return ""
    lines = []
    for way in found.ways:
        between = "" if way.low is None or way.high is None else f"{points(way.low)} to {points(way.high)}"
        difference = "" if way.difference is None else points(way.difference)
        figures = (f"{way.rows:,}", f"{way.relabelled:,}", _percent(way.accuracy), difference, between)
        cells = "".join(f'<td class="figure">{cell}</td>' for cell in figures)
        lines.append(
            f'<tr><th scope="row" class="text sentence">{escape(way.name)}: {escape(way.summary)}</th>{cells}'
            f'<td class="text">{escape(way.verdict or "")}</td></tr>'
        )
    heads = ("Labels", "Rows", "Relabelled", "Accuracy", "Difference", "95 % interval", "Verdict")
    note = f"{escape(found.learner)}; {escape(found.measure)}."
    return _pair(_table_card("Did cleaning help?", note, heads, lines, sentence=found.sentence))


def _stability(found: Stability | None) -> str:
    """How many flags stay with other seeds, a table row per seed, where somebody has tried some."""
    if found is None:
        return ""
    lines = []
    for each in found.seeds:
        counts = (each.newly_flagged, each.no_longer_flagged, each.other_suggestion)
        figures = (f"{each.flagged:,}", _percent(each.stay), *(f"{n:,}" for n in counts), _percent(each.noise_rate))
        cells = "".join(f'<td class="figure">{cell}</td>' for cell in figures)
        lines.append(f'<tr><th scope="row" class="text">{each.seed:d}</th>{cells}</tr>')
    heads = ("Seed", "Flagged", "Flags that stay", "Newly", "No longer", "Other suggestion", "Noise rate")
    note = f"The same audit, which flags {counted(found.flagged, 'row')} with seed {found.seed:d}."
    return _pair(_table_card("With other seeds", note, heads, lines, sentence=found.sentence))


def _method(summary: Summary) -> str:
    """How the numbers were made, closed until somebody asks."""
    sections = [
        f"<h3>{escape(section.title)}</h3><ul>{''.join(f'<li>{escape(text)}.</li>' for text in section.sentences)}</ul>"
        for section in method_card(summary)
    ]
    return f'<details class="card method"><summary>Method</summary>{"".join(sections)}</details>'


def _pair(card: str) -> str:
    """A card that may stand beside another."""
    return f'<div class="pair">{card}</div>'


def _table_card(
    title: str, note: str, heads: Sequence[str], lines: Sequence[str], *, wide: str = "", sentence: str = ""
) -> str:
    """A table of `lines`, rows in HTML, under a title, a `sentence` where there is one, and a note in HTML.

    The head `wide` stands above two columns.
    """
    said = f"<p>{escape(sentence)}</p>" if sentence else ""
    words = {"Split": ' class="text"', "Copies": ' class="text"', "Rows": ' class="figure"'}
    marks = words | {wide: ' colspan="2"', "Interval": ' class="interval"'}
    spans = ((head, marks.get(head, "")) for head in heads)
    cells = "".join(f'<th scope="col"{span}>{head}</th>' for head, span in spans)
    return (
        f'<div class="card"><h2>{title}</h2>{said}<p class="note">{note}</p><table class="classes">'
        f"<thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _figure(title: str, text: str, keys: Sequence[tuple[str, str]], chart: str) -> str:
    legend = "".join(f'<li><i class="key {kind}"></i>{name}</li>' for kind, name in keys)
    return (
        f'<figure class="card"><figcaption><h2>{title}</h2><p class="note">{text}</p></figcaption>{chart}'
        f'<ul class="legend">{legend}</ul></figure>'
    )


def _classes_or_advice(run: RunFolder) -> dict[str, str]:
    """The table of classes and the noise matrix; where nothing was learned, what to try."""
    if advice := advice_of(run.summary):
        items = "".join(f"<li>{escape(text)}</li>" for text in advice)
        card = f'<div class="card"><h2>What to try</h2><p class="note">{escape(UNLEARNED)}.</p><ul>{items}</ul></div>'
        return {"classes_title": "What to try", "classes": card, "matrix": ""}
    return {
        "classes_title": "Classes",
        "classes": _class_card(run.report.told_apart.summary.classes),
        "matrix": _matrix(run),
    }


def _class_card(classes: Sequence[ClassNoise]) -> str:
    note = (
        "Estimated share of wrong labels among the rows that carry the label; the whisker is its interval. "
        "A click on a label shows its suspects."
    )
    heads = ("Label", "Wrong", "Interval", "Flagged", "Rows")
    return _table_card("Classes", note, heads, [_classes(classes)], wide="Wrong")


def _classes(classes: Sequence[ClassNoise]) -> str:
    """The classes with the highest noise rate, a table row each."""
    worst = sorted(classes, key=lambda row: (-(known(row.noise_rate) or 0), row.label))[:CLASS_ROWS]
    full = max((known(row.high) or 0 for row in worst), default=0) or 1
    lines = []
    for row in worst:
        rate, low, high = map(known, (row.noise_rate, row.low, row.high))
        label = escape(row.label)
        share = f'<td class="figure">{_percent(rate)}</td>'
        share += f'<td class="figure note interval">{_percent(low)} - {_percent(high)}</td>'
        if row.too_few:
            share = f'<td class="note">{row.too_few}</td><td class="interval"></td>'
        bar = "" if rate is None else charts.share_bar(rate, low or 0, high or 0, full)
        lines.append(
            f'<tr><th scope="row" class="text" title="{label}">'
            f'<button type="button" class="plain" data-given="{label}">{label}</button></th><td class="bars">{bar}</td>'
            f"{share}"
            f'<td class="figure">{row.flagged:,}</td><td class="figure">{row.rows:,}</td></tr>'
        )
    more = len(classes) - len(worst)
    left_out = f'<tr><td colspan="6" class="note">and {counted(more, "more class")}</td></tr>' if more else ""
    return "".join(lines) + left_out


def _matrix(run: RunFolder) -> str:
    matrix = run.noise_matrix
    if matrix is None:
        return ""
    labels, cells, left_out = charts.fold_noise_matrix(renamed(matrix.to_pylist(), run.report.names))
    note = "How often rows of a class carry each label, in percent; a click shows the suspects among them. "
    note += f"The {len(labels)} most confused classes; not drawn: {counted(left_out, 'other')}." if left_out else ""
    return (
        f'<figure class="card"><figcaption><h2>Who is mistaken for whom</h2><p class="note">{note}</p></figcaption>'
        f"{charts.heat_map(labels, cells)}</figure>"
    )

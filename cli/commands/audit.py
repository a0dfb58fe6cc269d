"""`nlclean audit`: find the wrong labels of a dataset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from .. import diagnostics
from ..diagnostics import ExitCode
from ..help import HelpfulCommand
from ..options import READING, Limit, config_options, json_option, together, verbosity_options
from ..settings import OptionValue, resolve, to_config

if TYPE_CHECKING:
    from cleanlab_lite.config import AuditConfig
    from cleanlab_lite.evidence.evidence import Asked
    from cleanlab_lite.manifest.manifest import Manifest
    from cleanlab_lite.report.gate import LimitOutcome
    from cleanlab_lite.run.report import ReportTable
    from cleanlab_lite.run.summary import Summary
    from cleanlab_lite.sources import EvidenceSource
    from cleanlab_lite.train.ranks import Ranks

TOP = 20  # suspicious rows on show


_PATH = click.Path(path_type=Path)
reading_options = together(
    click.option("--path-column", help="Column of the files.  [default: detected]"),
    click.option("--label-column", help="Column of the labels.  [default: detected]"),
    click.option("--id-column", help="Column that identifies a row.  [default: detected, else the path]"),
    click.option("--split-column", help="Column of the split.  [default: detected]"),
    click.option("--features-column", help="Column of the embeddings.  [default: detected]"),
    click.option(
        "--annotator-column",
        help="Column of who labelled an item, or NAMES of a column of labels each; none.  [default: detected]",
    ),
    click.option(
        "--features",
        type=_PATH,
        help="File of embeddings, aligned by row; or `none`, where rows are judged by --pred-probs or --history alone.",
    ),
    click.option("--features-columns", metavar="NAMES", help="Columns of one number each, e.g. 'emb_*'."),
    click.option("--path-prefix", help="Text before every path, e.g. train/."),
    click.option("--path-suffix", help="Text behind every path, e.g. .jpg."),
    click.option("--path-root", type=_PATH, help="Folder of the files.  [default: the manifest's]"),
    click.option(
        "--layout",
        help="Levels of class folders: class, split/class, any/class, class/class, leaf, path, name, auto.",
    ),
    click.option(
        "--multi-label",
        type=click.Choice(["first", "drop", "whole"]),
        help="A row with several labels has its first, none, or a class of its own.  [default: an error]",
    ),
    click.option("--no-segments", "segments", flag_value=False, default=True, help="Rows are whole sounds."),
)
_evidence_options = together(
    click.option("--history", type=_PATH, help="Folder of a Recorder; nothing is trained then."),
    click.option("--pred-probs", type=_PATH, help="Out-of-sample probabilities; nothing is trained."),
    click.option("--warm-start", type=_PATH, help="Earlier run whose proxies to start from."),
    click.option("--trusted", type=_PATH, help="Decided rows: a reviewed run, a journal, a table of right labels."),
)


@click.command("audit", cls=HelpfulCommand, epilog="Example: nlclean audit manifest.csv --preset fast --out run")
@click.argument("manifest", required=False)
@reading_options
@_evidence_options
@click.option("--out", type=_PATH, help="Run folder.  [default: a new one under nlclean-runs/]")
@config_options()
@click.option(
    "--fail-on", type=Limit("rows"), metavar="LIMIT", help="Exit 1 above a noise rate (5%) or flagged rows (100)."
)
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option("--show-config", is_flag=True, help="Print every value and where it came from.")
@json_option
@verbosity_options
@click.pass_context
def command(
    ctx: click.Context,
    manifest: str | None,
    history: Path | None,
    pred_probs: Path | None,
    warm_start: Path | None,
    trusted: Path | None,
    out: Path | None,
    fail_on: tuple[float, bool] | None,
    dry_run: bool,
    show_config: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Find the wrong labels of MANIFEST.

    MANIFEST is a CSV, TSV, JSONL or Parquet file, a folder or glob of Parquet files, a folder with one folder per
    class, or an .npz file. With --history or --pred-probs it is audited from that evidence, see docs/own_evidence.md;
    otherwise small networks are trained. The last line on stdout is the path of the report.
    """
    ranks = _ranks(ctx)
    reading = {name: given.pop(name) for name in READING}
    settings = resolve(given, environ=os.environ, cwd=Path.cwd())
    config = to_config(settings)
    if show_config:
        _show(settings, as_json)
        return
    if manifest is None:
        raise click.UsageError("Missing argument 'MANIFEST': name it, or write it into nlclean.toml.", ctx)

    dataset = read(manifest, reading)
    evidence = None
    if history or pred_probs:
        from cleanlab_lite.evidence.own import own_evidence

        evidence = own_evidence(dataset, history=history, pred_probs=pred_probs)
    warm = None
    if warm_start:
        from cleanlab_lite.train.warm_start import read_warm_start

        warm = read_warm_start(warm_start, dataset, evidence)
    from cleanlab_lite.pipeline import run_key
    from cleanlab_lite.sources import source_of, workers_ready

    from ..output import json_document
    from ..views.plan import forecast_view, views_in_words
    from ..views.report import report_json, report_view

    decided, people = None, None
    if trusted:
        from cleanlab_lite.pipeline import read_decided

        people = read_decided(trusted, dataset)
        decided = people.decided
        for sentence in people.notes:
            diagnostics.warn(sentence)
    if not dry_run:
        ctx.with_resource(workers_ready(dataset, config, evidence=evidence, ranks=ranks))
    source = source_of(dataset, config, evidence=evidence, warm=warm, decided=decided, ranks=ranks)
    for sentence in shortages(source.facts, out or Path.cwd()):
        diagnostics.warn(sentence)
    if dry_run:
        forecast = source.forecast(dataset)
        if as_json:
            json_document(source.facts | forecast.facts())
        else:
            forecast_view(source.facts, forecast, config.time_budget)
        return
    diagnostics.note(f"plan: {'; '.join(views_in_words(source.facts))}")
    key, asked = run_key(dataset, config, evidence, warm, people), people and people.asked
    report, path = _audit(dataset, config, source, key, out, ctx.obj, asked)
    if people:
        from cleanlab_lite.pipeline import carry_decisions

        carry_decisions(people, path.parent, dataset)

    for warning in report.summary.warnings:
        diagnostics.warn(warning)
    if as_json:
        report_json(report, path, TOP)
    else:
        report_view(report, path, TOP, decided=people is not None and people.run is not None)
    if fail_on and (outcome := _outcome(report.summary, fail_on)).exceeded:
        diagnostics.error(outcome.message)
        ctx.exit(ExitCode.GATE_FAILED)


def _ranks(ctx: click.Context) -> Ranks | None:
    """Those that torchrun has started, for the command of rank 0. Any other does what it is asked for, and exits."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() or os.environ["WORLD_SIZE"] == "1":
        return None
    from cleanlab_lite.train.ranks import Link, joined, serve

    found = joined()
    if isinstance(found, Link):
        serve(found)
        ctx.exit(ExitCode.OK)
    return ctx.with_resource(found)


def shortages(facts: Mapping[str, Any], folder: Path) -> list[str]:
    """What the plan needs more of than there is: memory, or room where the run goes; a sentence each."""
    if "evidence" in facts:
        return []
    from cleanlab_lite.train.memory import available

    found = []
    memory = available() / 2**30
    if facts["memory_gib"] > memory:
        found.append(
            f"about {facts['memory_gib']:g} GiB of memory are needed and {memory:.1f} GiB are free: the system may "
            "kill the run; --preset fast or --workers 1 need less"
        )
    while not folder.exists():
        folder = folder.parent
    room = shutil.disk_usage(folder).free / 2**20
    if facts["disk_mib"] > room:
        found.append(
            f"about {facts['disk_mib']:,} MiB on the disk are needed and {room:,.0f} MiB are free in {folder}: another "
            "--out, and NLCLEAN_CACHE_DIR for decoded files, lead elsewhere"
        )
    return found


def read(path: str, reading: dict[str, Any]) -> Manifest:
    """The manifest, and what was detected on stderr."""
    from cleanlab_lite.data.cache import default_cache_dir
    from cleanlab_lite.data.objects import ObjectStore
    from cleanlab_lite.manifest.readers import read_manifest

    dataset = read_manifest(path, **reading, keep=ObjectStore(default_cache_dir()))
    for sentence in dataset.source.notes:
        diagnostics.note(sentence)
    return dataset


def _audit(
    dataset: Manifest,
    config: AuditConfig,
    source: EvidenceSource,
    key: str,
    out: Path | None,
    typed: list[str],
    asked: Asked | None,
) -> tuple[ReportTable, Path]:
    from cleanlab_lite.forecast import worth_timing
    from cleanlab_lite.pipeline import run_audit
    from cleanlab_lite.run import Run
    from cleanlab_lite.run.layout import REPORT

    from ..progress import Drawer
    from ..views.plan import budget_in_words, cached_in_words, duration_in_words

    with Run.start(out, PurePath(dataset.source.path).stem, key, typed) as run, Drawer() as drawer:
        quiet = diagnostics.verbosity() <= diagnostics.QUIET
        told = not run.finished and not quiet and worth_timing(len(dataset), source.facts.get("device"))
        forecast = source.forecast(dataset) if told else None
        if forecast is not None:
            begun = ", a part of which is done" if run.resumed else ""
            cached = cached_in_words(forecast, dataset.modality)
            over = budget_in_words(forecast, config.time_budget)
            text = f"takes {duration_in_words(forecast)}{begun}"
            diagnostics.note("; ".join(filter(None, (text, cached, over))))
        report = run_audit(dataset, config, run=run, source=source, on_progress=drawer, forecast=forecast, asked=asked)
        return report, run.path(REPORT)


def _show(settings: dict[str, OptionValue], as_json: bool) -> None:
    from ..output import json_document
    from ..views.plan import settings_view

    if as_json:
        json_document({name: {"value": s.value, "origin": s.origin} for name, s in settings.items()})
    else:
        settings_view(settings)


def _outcome(summary: Summary, limit: tuple[float, bool]) -> LimitOutcome:
    from cleanlab_lite.report.gate import Bound, noise_outcome, suspect_outcome

    bound = Bound(*limit)
    if bound.is_share:
        return noise_outcome(summary, bound)
    return suspect_outcome(summary.flagged, summary.manifest.labelled, bound)

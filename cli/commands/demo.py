"""`nlclean demo`: an audit of sample data with errors that are known, to see what it finds."""

from __future__ import annotations

import csv
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import click

from cleanlab_lite.config import PRESETS
from cleanlab_lite.errors import ConfigError

from .. import diagnostics
from ..help import HelpfulCommand
from ..options import verbosity_options
from .audit import command as audit

SAMPLES = "nlclean.samples"
MANIFESTS = {"images": "manifest.csv", "sounds": "manifest.csv", "vectors": "manifest.parquet"}
TRUTH = "truth.csv"


@click.command(
    "demo",
    cls=HelpfulCommand,
    short_help="Copy sample data, audit them: a first look.",
    epilog="Example: nlclean demo --output demo",
)
@click.argument("kind", type=click.Choice(list(MANIFESTS)), default="images")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("nlclean-demo"), show_default=True, help="Folder to fill."
)
@click.option(
    "--preset", type=click.Choice(list(PRESETS)), default="fast", show_default=True, help="How thorough to be."
)
@verbosity_options
@click.pass_context
def command(ctx: click.Context, kind: str, output: Path, preset: str) -> None:
    """Copy sample data into a folder, audit them, and say how much of what is wrong was found.

    KIND is images (1,823 small pictures, the default), sounds or vectors. Wrong labels were planted, so that this once
    the truth is known. Example: nlclean demo
    """
    from .. import output as out

    data = output / kind
    _copy(kind, data)
    manifest = data / MANIFESTS[kind]
    run = output / f"{kind}-{preset}"
    diagnostics.note(f"nlclean audit {manifest} --preset {preset} --out {run}")
    ctx.obj = ["nlclean", "audit", str(manifest), "--preset", preset, "--out", str(run)]
    ctx.invoke(audit, manifest=str(manifest), preset=preset, out=run)
    out.line(_held_against_truth(run, data / TRUTH))


def _copy(kind: str, data: Path) -> None:
    """The samples of a kind, into a folder that is free or holds them already. Raises ConfigError."""
    if data.exists():
        if not (data / TRUTH).is_file():
            raise ConfigError(f"{data} is there already and is no sample data", hint="choose another --output")
        return
    try:
        with as_file(files(SAMPLES) / kind) as source:
            shutil.copytree(source, data)
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise ConfigError("this installation has no sample data", hint="pip install nlclean again") from error


def _held_against_truth(run: Path, truth: Path) -> str:
    """A sentence: how many flags are real, and how much of what is wrong is flagged."""
    from cleanlab_lite.run import RunFolder
    from cleanlab_lite.run.report import flags

    table = RunFolder(run).report.table
    with truth.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        true = {row[0]: row[1] for row in rows}
    wrong = [
        given != true[key] for key, given in zip(table["id"].to_pylist(), table["given_label"].to_pylist(), strict=True)
    ]
    flagged = flags(table).tolist()
    hits = sum(map(bool.__and__, wrong, flagged))
    return (
        f"The truth is known here: {hits:,} of the {sum(flagged):,} flagged labels are wrong, "
        f"and {hits:,} of the {sum(wrong):,} wrong labels are flagged."
    )

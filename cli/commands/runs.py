"""`nlclean runs`: the runs that are there, how large they are, and which are superfluous."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.text import counted

from .. import diagnostics
from ..help import HelpfulCommand
from ..options import json_option, verbosity_options
from ..terminal import format_size

if TYPE_CHECKING:
    from cleanlab_lite.run.listing import ListedRun


@click.command("runs", cls=HelpfulCommand, epilog="Example: nlclean runs --prune")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--prune", is_flag=True, help="Delete runs that a newer one of the same manifest replaces.")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@json_option
@verbosity_options
def command(folder: Path | None, prune: bool, yes: bool, as_json: bool) -> None:
    """List the runs in FOLDER, newest first.

    FOLDER is where run folders lie.  [default: nlclean-runs]

    --prune deletes runs of which a newer one of the same manifest is finished. It leaves those in which somebody has
    decided about rows, those with files of others, and those in use. Example: nlclean runs --prune
    """
    from cleanlab_lite.run.layout import ROOT
    from cleanlab_lite.run.listing import list_runs, superseded

    from .. import output
    from ..views.listings import runs_view

    root = folder or ROOT
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder", hint="name the one in which run folders lie, such as nlclean-runs")
    runs = list_runs(root)
    if prune:
        runs = superseded(runs)
        deleted = _delete(runs, yes or not runs)
        if as_json:
            output.json_document({"deleted": [str(run.folder) for run in deleted], "bytes": _bytes(deleted)})
        else:
            output.line(f"{counted(len(deleted), 'run')} deleted, {format_size(_bytes(deleted))}")
    elif as_json:
        output.json_document([asdict(run) | {"folder": str(run.folder)} for run in runs])
    else:
        runs_view(runs, root)


def _bytes(runs: Sequence[ListedRun]) -> int:
    return sum(run.bytes for run in runs)


def _delete(runs: Sequence[ListedRun], yes: bool) -> list[ListedRun]:
    """Those that were deleted, after asking."""
    from cleanlab_lite.errors import RunLocked
    from cleanlab_lite.run.listing import delete_run

    if not yes:
        for run in runs:
            diagnostics.note(f"{run.folder}: {format_size(run.bytes)}")
        ask(f"Delete {counted(len(runs), 'run')}, {format_size(_bytes(runs))}?")
    deleted = []
    for run in runs:
        try:
            delete_run(run)
        except RunLocked as error:
            diagnostics.warn(error.message)
            continue
        deleted.append(run)
    return deleted


def ask(question: str) -> None:
    """Go on only if somebody says so. Raises ConfigError where nobody can be asked, click.Abort on no."""
    if not sys.stdin.isatty():
        raise ConfigError("nobody is there to be asked whether to delete", hint="add --yes")
    click.confirm(question, abort=True, err=True)

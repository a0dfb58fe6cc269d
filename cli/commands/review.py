"""`nlclean review`: decide on the flagged rows, one by one."""

from __future__ import annotations

from pathlib import Path

import click

from .. import diagnostics
from ..help import HelpfulCommand
from ..options import Whole, data_root_option, json_option, run_argument, target_option, verbosity_options


@click.command("review", cls=HelpfulCommand, epilog="Example: nlclean review run --web")
@run_argument
@click.option("--reviewer", metavar="NAME", help="Who decides.  [default: your login name]")
@click.option("--calibrate", is_flag=True, help="Decide 40 random rows, flags hidden: what they say of all rows.")
@target_option
@click.option("--web", is_flag=True, help="In a browser of this machine, for several people at once, until Ctrl-C.")
@click.option("--port", type=Whole(0, 65535), metavar="N", help="Where --web listens.  [default: a free one]")
@click.option(
    "--merge",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Add the decisions of another journal, print the agreement and stop; may be repeated.",
)
@data_root_option
@json_option
@verbosity_options
def command(
    run: Path | None,
    reviewer: str | None,
    calibrate: bool,
    target: float,
    web: bool,
    port: int | None,
    files: tuple[Path, ...],
    data_roots: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Look at the flagged rows and decide on them.

    RUN is a run folder or the report.parquet in it.  [default: the newest under nlclean-runs/]

    Every decision is on disk, in decisions.jsonl of the run folder, before the next row is shown; the same command goes
    on where it stopped. --json prints where the review stands instead.

    --web prints an address with a token in it: the page of `nlclean report --html`, with every picture in full size.
    """
    if calibrate and web:
        raise click.UsageError("--calibrate hides what the page shows: it is for the terminal.")
    if port is not None and not web:
        raise click.UsageError("--port belongs to --web.")
    from cleanlab_lite.run import RunFolder

    from ..review import session

    found = RunFolder(run, data_roots=data_roots)
    if files:
        session.merge(found, files)
    if as_json:
        session.print_state(found, target)
    elif files:
        session.print_agreement(found)
    else:
        if found.has_manifest and (unseen := found.withheld or found.moved):
            diagnostics.warn(unseen)
        if web:
            session.serve(found, reviewer, port=port or 0, target=target)
        else:
            session.review(found, reviewer, calibrate=calibrate, target=target)

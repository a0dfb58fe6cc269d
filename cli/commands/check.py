"""`nlclean check`: a gate for CI, and what changed since a baseline."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cleanlab_lite.text import counted

from .. import diagnostics
from ..diagnostics import ExitCode
from ..help import HelpfulCommand
from ..options import Limit, Whole, run_argument, together, verbosity_options
from ..terminal import is_terminal

if TYPE_CHECKING:
    from cleanlab_lite.report.gate import Gate
    from cleanlab_lite.run import RunFolder

FILE = click.Path(path_type=Path, dir_okay=False)


_limit_options = together(
    click.option(
        "--max-noise",
        type=Limit("share"),
        metavar="SHARE",
        help="Fail above this noise rate, 2% or 0.02, as estimated.",
    ),
    click.option(
        "--max-suspects",
        type=Limit("rows"),
        metavar="LIMIT",
        help="Fail above this many suspects, or % of labelled rows.",
    ),
    click.option(
        "--max-new-suspects",
        type=Whole(min=0),
        metavar="N",
        help="Fail above this many suspects that the baseline does not have.  [default: 0 with --baseline]",
    ),
    click.option(
        "--baseline",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="What to compare with: a run folder, a report.parquet, or a file of --write-baseline.",
    ),
)
_writing_options = together(
    click.option(
        "--write-baseline", type=FILE, metavar="FILE", help="Write the state of this run, to compare with later."
    ),
    click.option("--exit-zero", is_flag=True, help="Exit 0 above a limit too."),
    click.option(
        "--format",
        "form",
        type=click.Choice(["text", "json", "markdown", "junit", "sarif", "github"]),
        default="text",
        show_default=True,
        help="junit, sarif and github (annotations) are for CI servers, markdown for a pull request.",
    ),
    click.option("--output", "target", type=FILE, metavar="FILE", help="File to write.  [default: stdout]"),
    click.option("--force", is_flag=True, help="Overwrite files; a baseline is overwritten by a baseline in any case."),
    click.option(
        "--top",
        type=Whole(min=0),
        metavar="N",
        default=20,
        show_default=True,
        help="Rows on show per list; json and sarif hold all.",
    ),
)


@click.command("check", cls=HelpfulCommand, epilog="Example: nlclean check run --max-noise 5% --max-suspects 100")
@run_argument
@_limit_options
@_writing_options
@verbosity_options
@click.pass_context
def command(
    ctx: click.Context,
    run: Path | None,
    max_noise: tuple[float, bool] | None,
    max_suspects: tuple[float, bool] | None,
    max_new_suspects: int | None,
    baseline: Path | None,
    write_baseline: Path | None,
    exit_zero: bool,
    form: str,
    target: Path | None,
    force: bool,
    top: int,
) -> None:
    """Hold a run against limits, and against a baseline. Exit 1 above a limit.

    RUN is a run folder or the report.parquet in it.  [default: the newest under nlclean-runs/]

    Suspects are the flagged rows whose label no person has kept in review. Without limits the state is printed.
    """
    if max_new_suspects is not None and baseline is None:
        raise click.UsageError("--max-new-suspects needs --baseline: new since when?", ctx)

    from cleanlab_lite.report import gate_formats
    from cleanlab_lite.report.gate import Bound, baseline_text, judge, load_baseline, read_rows
    from cleanlab_lite.run import RunFolder

    from .. import output

    found = RunFolder(run)
    source = found.lines.source
    _choose_files(found, target, write_baseline, baseline, force)
    with found.blamed():
        gate = judge(
            found.summary,
            read_rows(found.report, found.decisions, found.lines.numbers),
            None if baseline is None else load_baseline(baseline),
            max_noise=Bound(*max_noise) if max_noise else None,
            max_suspects=Bound(*max_suspects) if max_suspects else None,
            max_new_suspects=0 if baseline is not None and max_new_suspects is None else max_new_suspects,
        )
    formats = {
        "text": lambda: gate_formats.to_text(gate, top),
        "json": lambda: gate_formats.to_json(gate),
        "markdown": lambda: gate_formats.to_markdown(gate, top),
        "junit": lambda: gate_formats.to_junit(gate, top),
        "sarif": lambda: gate_formats.to_sarif(gate, source, Path.cwd()),
        "github": lambda: gate_formats.to_github(gate, source, Path.cwd(), top),
    }
    text = formats[form]()
    if write_baseline is not None:
        _write(write_baseline, baseline_text(gate.rows))
        diagnostics.note(f"baseline of {counted(len(gate.rows), 'row')}: {write_baseline}")
    if target is None:
        (output.line if form == "text" else output.document)(text.removesuffix("\n"))
    else:
        _write(target, text)
        output.line(str(target))
    for warning in gate.warnings:
        diagnostics.warn(warning)
    # who sees the text on the same screen has read there which limits are exceeded
    if form != "text" or target is not None or not (is_terminal(sys.stdout) and is_terminal(sys.stderr)):
        _say_exceeded(gate, exit_zero)
    if gate.exceeded and not exit_zero:
        ctx.exit(ExitCode.GATE_FAILED)


def _say_exceeded(gate: Gate, exit_zero: bool) -> None:
    """Exceeded limits on stderr."""
    for outcome in gate.outcomes:
        if outcome.exceeded:
            (diagnostics.warn if exit_zero else diagnostics.error)(outcome.message)


def _choose_files(
    run: RunFolder, target: Path | None, write_baseline: Path | None, baseline: Path | None, force: bool
) -> None:
    """Raise ConfigError where one of the files must not be written. A baseline may take the place of one: it is made
    again with every change of the dataset, and the one before is in the history of the repository."""
    from cleanlab_lite.errors import ConfigError
    from cleanlab_lite.export.target import choose_file
    from cleanlab_lite.report.gate import is_baseline

    if target is not None:
        choose_file(run, target, force=force, inputs=[baseline] if baseline else [])
    if write_baseline is not None:
        choose_file(run, write_baseline, force=force or is_baseline(write_baseline))
        if target is not None and os.path.realpath(target) == os.path.realpath(write_baseline):
            raise ConfigError(f"--output and --write-baseline are both {target}", hint="give another file")


def _write(path: Path, text: str) -> None:
    from cleanlab_lite.export.target import replacing

    with replacing(path, hint="give another file") as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")

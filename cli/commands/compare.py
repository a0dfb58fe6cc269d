"""`nlclean compare`: what two runs over the same data see differently."""

from __future__ import annotations

from pathlib import Path

import click

from cleanlab_lite.config import AuditConfig

from ..help import HelpfulCommand
from ..options import Whole, json_option, verbosity_options

_PATH = click.Path(path_type=Path)


@click.command(
    "compare",
    cls=HelpfulCommand,
    short_help="Show what two runs see differently.",
    epilog="Example: nlclean compare before after --output changes.csv",
)
@click.argument("before", type=_PATH)
@click.argument("after", type=_PATH, required=False)
@click.option(
    "--seeds",
    type=Whole(min=1, max=100),
    metavar="N",
    help="Audit the data of BEFORE again with so many other seeds, and say how many flags stay.",
)
@click.option("--top", type=Whole(min=0), metavar="N", default=10, show_default=True, help="Rows on show per list.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="CSV of all rows that changed; its path is the last line.",
)
@click.option("--force", is_flag=True, help="Overwrite that file.")
@json_option
@verbosity_options
@click.pass_context
def command(
    ctx: click.Context,
    before: Path,
    after: Path | None,
    seeds: int | None,
    top: int,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Show what AFTER flags and BEFORE does not, and the other way round.

    BEFORE and AFTER are run folders, or the report.parquet in them, of the same data: with another seed, preset or
    version, or after labels were corrected. Rows are matched by id, else by path. With --seeds there is no AFTER: the
    same audit is done with other seeds, in the folder of BEFORE, and what was done is read.
    """
    if (after is None) == (seeds is None):
        raise click.UsageError("name a second run or --seeds, one of the two", ctx)
    if seeds is not None and output is not None:
        raise click.UsageError("--output is for two runs: name one of those that --seeds has made", ctx)
    if seeds is not None:
        _with_other_seeds(before, seeds, ctx.obj, as_json)
    elif after is not None:
        _two_runs(before, after, top, output, force, as_json)


def _with_other_seeds(path: Path, seeds: int, typed: list[str], as_json: bool) -> None:
    from cleanlab_lite.run import RunFolder
    from cleanlab_lite.stability import stability

    from .. import output as out
    from ..options import READING
    from ..progress import Drawer
    from ..views.comparison import stability_view
    from .selftest import audited
    from .verify import as_the_run

    run = RunFolder(path)
    manifest = audited(run, dict.fromkeys(READING))
    config = as_the_run(run, AuditConfig())
    with Drawer() as drawer:
        found = stability(run, manifest, config, seeds=seeds, command=typed, on_progress=drawer)
    if as_json:
        out.json_document(found.as_dict() | {"run": str(run.folder)})
    else:
        stability_view(found)


def _two_runs(before: Path, after: Path, top: int, output: Path | None, force: bool, as_json: bool) -> None:
    from cleanlab_lite.export.target import choose_file, replacing
    from cleanlab_lite.report.comparison import compare, to_csv
    from cleanlab_lite.run import RunFolder

    from .. import output as out
    from ..views.comparison import comparison_view

    runs = [RunFolder(path) for path in (before, after)]
    if output is not None:
        for run in runs:
            choose_file(run, output, force=force)
    found = compare(*(run.report for run in runs))
    if output is not None:
        with replacing(output, hint="give another file") as temporary:
            temporary.write_text(to_csv(found), encoding="utf-8", newline="\n")
    if as_json:
        out.json_document(found.as_dict() | {"before": str(runs[0].folder), "after": str(runs[1].folder)})
        return
    comparison_view(found, top)
    if output is not None:
        out.line(str(output))

"""`nlclean compare`: what two runs over the same data see differently."""

from __future__ import annotations

from pathlib import Path

import click

from ..options import json_option, verbosity_options

_PATH = click.Path(path_type=Path)


@click.command("compare")
@click.argument("before", type=_PATH)
@click.argument("after", type=_PATH)
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, help="Rows on show per list.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="CSV of all rows that changed; its path is the last line.",
)
@click.option("--force", is_flag=True, help="Overwrite that file.")
@json_option
@verbosity_options
def command(before: Path, after: Path, top: int, output: Path | None, force: bool, as_json: bool) -> None:
    """Show what AFTER flags and BEFORE does not, and the other way round.

    BEFORE and AFTER are run folders, or the report.parquet in them, of the same data: with another seed, preset or
    version, or after labels were corrected. Rows are matched by id, else by path.
    """
    from cleanlab_lite.export.target import choose_file, replacing
    from cleanlab_lite.report.comparison import compare, to_csv
    from cleanlab_lite.run import RunFolder

    from .. import output as out

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
    out.comparison_view(found, top)
    if output is not None:
        out.line(str(output))

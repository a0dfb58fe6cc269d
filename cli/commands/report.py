"""`nlclean report`: show what an audit found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import diagnostics
from ..options import data_root_option, json_option, run_argument, verbosity_options

if TYPE_CHECKING:
    pass


@click.command("report")
@run_argument
@click.option("--top", type=click.IntRange(min=0), default=20, show_default=True, help="Suspicious rows on show.")
@click.option("--schema", is_flag=True, help="Print the columns of report.parquet as JSON.")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write one offline page, to look at and decide in a browser, and print its path.",
)
@click.option("--force", is_flag=True, help="Overwrite the page.")
@data_root_option
@json_option
@verbosity_options
def command(
    run: Path | None,
    top: int,
    schema: bool,
    page: Path | None,
    force: bool,
    data_roots: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Show what an audit found.

    RUN is a run folder or the report.parquet in it.  [default: the newest under nlclean-runs/]

    The page of --html holds charts, previews and the rows; it has at most 15 MB and loads nothing. Decisions made in
    it are downloaded as decisions.jsonl.
    """
    from cleanlab_lite.run import RunFolder
    from cleanlab_lite.run.layout import REPORT
    from cleanlab_lite.run.report import COLUMNS

    from .. import output

    if schema:
        keys = ("name", "type", "range", "meaning")
        output.json_document([dict(zip(keys, map(str, column), strict=True)) for column in COLUMNS])
        return
    if page is not None:
        from cleanlab_lite.report.page.html import write_page

        from ..progress import Drawer

        found = RunFolder(run, data_roots=data_roots)
        if found.has_manifest and found.withheld:
            diagnostics.warn(found.withheld)
        with Drawer() as drawer, found.blamed():
            size = write_page(found, page, force=force, on_progress=drawer)
        if as_json:
            output.json_document({"path": str(page), "bytes": size})
        else:
            diagnostics.note(f"{size / 1e6:.1f} MB")
            output.line(str(page))
        return
    found = RunFolder(run)
    with found.blamed():
        for warning in found.summary.warnings:
            diagnostics.warn(warning)
        (output.report_json if as_json else output.report_view)(found.report, found.path(REPORT), top)

"""`nlclean report`: show what an audit found."""

from __future__ import annotations

from pathlib import Path

import click

from .. import diagnostics
from ..help import HelpfulCommand
from ..options import Whole, data_root_option, json_option, run_argument, target_option, verbosity_options


@click.command("report", cls=HelpfulCommand, epilog="Example: nlclean report run --html page.html")
@run_argument
@click.option(
    "--top",
    type=Whole(min=0),
    metavar="N",
    help="Suspicious rows on show.  [default: 20; in a low terminal what fits]",
)
@click.option("--schema", is_flag=True, help="Print the columns of report.parquet as JSON.")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write one offline page, to look at and decide in a browser, and print its path.",
)
@click.option("--method", is_flag=True, help="Print how p_mislabel was made, what it assumes, when it fails.")
@click.option("--force", is_flag=True, help="Overwrite the page.")
@target_option
@data_root_option
@json_option
@verbosity_options
def command(
    run: Path | None,
    top: int | None,
    schema: bool,
    page: Path | None,
    method: bool,
    force: bool,
    target: float,
    data_roots: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Show what an audit found.

    RUN is a run folder or the report.parquet in it.  [default: the newest under nlclean-runs/]

    The page of --html holds charts, previews and the rows; it has at most 15 MB and loads nothing. Decisions made in
    it are downloaded as decisions.jsonl.
    """
    from cleanlab_lite.report.reviewed import reviewed, unanswered
    from cleanlab_lite.run import RunFolder
    from cleanlab_lite.run.layout import REPORT
    from cleanlab_lite.run.report import COLUMNS

    from .. import output
    from ..views import report as views

    if schema:
        keys = ("name", "type", "range", "meaning")
        output.json_document([dict(zip(keys, map(str, column), strict=True)) for column in COLUMNS])
        return
    if page is not None:
        from cleanlab_lite.report.page.html import write_page

        from ..progress import Drawer

        found = RunFolder(run, data_roots=data_roots)
        if found.has_manifest and (unseen := found.withheld or found.moved):
            diagnostics.warn(unseen)
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
        if method:
            (views.method_json if as_json else views.method_view)(found.summary)
            return
        said = reviewed(found.report.table, found.decisions)
        for warning in unanswered(found.summary.warnings, said):
            diagnostics.warn(warning)
        if as_json:
            views.report_json(found.report, found.path(REPORT), top, None if said is None else said.as_dict(target))
        else:
            words = [] if said is None else said.in_words(target)
            views.report_view(found.report, found.path(REPORT), top, words, decided=bool(found.decisions))

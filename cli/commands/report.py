"""`nlclean report`: show what an audit found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import diagnostics
from ..options import json_option, run_argument, verbosity_options

if TYPE_CHECKING:
    from cleanlab_lite.run import RunFolder


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
@json_option
@verbosity_options
def command(run: Path | None, top: int, schema: bool, page: Path | None, force: bool, as_json: bool) -> None:
    """Show what an audit found.

    RUN is a run folder or the report.parquet in it.  [default: the newest under nlclean-runs/]

    The page of --html holds charts, previews and the rows; it has at most 15 MB and loads nothing. Decisions made in
    it are downloaded as decisions.jsonl.
    """
    from cleanlab_lite.report import COLUMNS
    from cleanlab_lite.run import RunFolder
    from cleanlab_lite.run.layout import REPORT

    from .. import output

    if schema:
        keys = ("name", "type", "range", "meaning")
        output.json_document([dict(zip(keys, map(str, column), strict=True)) for column in COLUMNS])
        return
    if page is not None:
        found = RunFolder(run)
        _check(found, page, force)
        size = _write_page(found, page)
        if as_json:
            output.json_document({"path": str(page), "bytes": size})
        else:
            diagnostics.note(f"{size / 1e6:.1f} MB")
            output.line(str(page))
        return
    found = RunFolder(run)
    for warning in found.summary.warnings:
        diagnostics.warn(warning)
    (output.report_json if as_json else output.report_view)(found.report, found.path(REPORT), top)


def _check(run: RunFolder, page: Path, force: bool) -> None:
    """Raise ConfigError when `page` must not be written."""
    from cleanlab_lite.errors import ConfigError
    from cleanlab_lite.exporters.target import choose_file

    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{page} is no name of a page", hint=f"--html {page.with_suffix('.html')}")
    if page.is_dir():
        raise ConfigError(f"{page} is a folder", hint=f"--html {page / 'report.html'}")
    choose_file(run, page, force=force)


def _write_page(run: RunFolder, page: Path) -> int:
    """Write the page of a run, whole or not at all; its bytes."""
    from cleanlab_lite.exporters.html import build_page
    from cleanlab_lite.exporters.target import replacing

    from ..progress import Drawer

    with Drawer() as drawer:
        content = build_page(run, on_progress=drawer)
    with replacing(page, hint="give another file") as temporary:
        temporary.write_bytes(content)
    return len(content)

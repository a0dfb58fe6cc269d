"""`nlclean encode`: the vectors of a dataset, for `nlclean audit` and other programs."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cleanlab_lite.config import ENCODER_OPTIONS
from cleanlab_lite.text import counted, escape

from .. import diagnostics
from ..help import HelpfulCommand
from ..options import READING, config_options, json_option, verbosity_options
from ..settings import resolve, to_config
from .audit import read, reading_options


@click.command("encode", cls=HelpfulCommand, epilog="Example: nlclean encode photos --output vectors")
@click.argument("manifest")
@reading_options
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="Folder of the vectors; what is there stays."
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    help="Who encodes: processes of this machine, or actors of Ray.  [default: local]",
)
@config_options(*ENCODER_OPTIONS)
@json_option
@verbosity_options
def command(manifest: str, output: Path, engine: str, as_json: bool, **given: Any) -> None:
    """Turn the files of MANIFEST into vectors, once.

    A frozen encoder (--proxy, lite0 by default) sees every picture or sound. The folder of Parquet files that this
    makes is a manifest: `nlclean audit FOLDER` starts from there, and pandas, Polars or DuckDB read it. A command that
    was stopped goes on where it was. The last line on stdout is the path of the folder.
    """
    dataset = read(manifest, {name: given.pop(name) for name in READING})
    config = to_config(resolve(given, environ=os.environ, cwd=Path.cwd()))
    from cleanlab_lite.encoding import encode

    from .. import output as out
    from ..progress import Drawer

    with Drawer() as drawer:
        done = encode(dataset, output, config, engine=engine, on_progress=drawer)
    if done.unreadable:
        diagnostics.warn(f"{done.unreadable:,} of {done.rows:,} rows could not be read ({done.why})")
    if as_json:
        out.json_document(asdict(done) | {"folder": str(done.folder)})
    else:
        there = f", {done.found:,} of them from before" if done.found else ""
        vectors = f"{counted(done.rows, 'row')} as vectors of {done.dimensions:,} numbers"
        out.line(f"{vectors} in {counted(done.parts, 'part')}{there}")
        out.line(f"  nlclean audit {escape(shlex.quote(str(done.folder)))}")
        out.line(escape(str(done.folder)))

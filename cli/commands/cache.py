"""`nlclean cache`: what decoded files take, and how to be rid of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from ..help import HelpfulCommand
from ..options import json_option, verbosity_options
from ..terminal import format_size
from .runs import ask

OBJECTS = "objects"
KINDS = {  # by how folders of the cache begin
    "images": "decoded pictures",
    "sounds": "decoded sounds",
    "features": "vectors of encoders",
    "stat": "what is known of files",
    OBJECTS: "pictures and sounds that had no files",
}


@click.command("cache", cls=HelpfulCommand, epilog="Example: nlclean cache --clean")
@click.option("--clean", is_flag=True, help="Delete what can be made again from the files.")
@click.option("--objects", is_flag=True, help="With --clean: pictures and sounds that had no files, too.")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@json_option
@verbosity_options
def command(clean: bool, objects: bool, yes: bool, as_json: bool) -> None:
    """Show what the cache holds, and how large it is.

    It lies in NLCLEAN_CACHE_DIR, else in the platform's folder for caches. What --clean deletes is made again by the
    next audit of the same files. Pictures that came from Python, or out of tables, have no files to be made from:
    reports and reviews show them from here. Example: nlclean cache --clean
    """
    from cleanlab_lite.data.cache import default_cache_dir

    from .. import output
    from ..views.listings import cache_view

    if objects and not clean:
        raise click.UsageError("--objects says what --clean deletes: give both")
    root = default_cache_dir()
    parts = held(root)
    if not clean:
        if as_json:
            output.json_document({"folder": str(root), "parts": parts})
        else:
            cache_view(parts, root)
        return
    doomed = [part for part in parts if objects or part["kind"] != OBJECTS]
    total = sum(part["bytes"] for part in doomed)
    if doomed and not yes:
        ask(f"Delete {format_size(total)} in {root}?")
    for part in doomed:
        for folder in part["folders"]:
            shutil.rmtree(folder)
    if as_json:
        output.json_document({"folder": str(root), "bytes": total})
    else:
        output.line(f"{format_size(total)} deleted")


def held(root: Path) -> list[dict[str, Any]]:
    """What lies in the cache, by kind, JSON types; folders of others are not looked at."""
    found = []
    for kind, meaning in KINDS.items():
        folders = [folder for folder in sorted(root.glob(f"{kind}-v*")) if folder.is_dir() and not folder.is_symlink()]
        sizes = [path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()]
        if folders:
            found.append(
                {
                    "kind": kind,
                    "meaning": meaning,
                    "files": len(sizes),
                    "bytes": sum(sizes),
                    "folders": [str(folder) for folder in folders],
                }
            )
    return found

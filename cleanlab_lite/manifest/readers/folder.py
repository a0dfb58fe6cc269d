"""Class-per-folder trees: `root/cat/1.jpg`, or `root/train/cat/1.jpg` with a split level."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.manifest.readers.base import Rows, ending, unreadable
from cleanlab_lite.manifest.splits import split_word
from cleanlab_lite.text import listing

# Files that lie next to the data without being data; skipped and counted.
SIDECARS = {".csv", ".tsv", ".json", ".jsonl", ".parquet", ".npy", ".npz", ".txt", ".md", ".xml", ".yaml", ".yml"}
SIDECARS |= {".html", ".ini", ".db", ".py", ".log"}
METADATA = {"metadata.csv", "metadata.jsonl", "metadata.parquet"}


def read_tree(root: str) -> Rows:
    """One row per file, folders and files in sorted order; columns `path` (relative to `root`), `label`, `split`.

    A root that holds only folders named like splits (train, Testing, val2017...) has a split level; others have no
    `split`. Hidden files and folders are ignored. Raises ManifestError when there are no class folders with files.
    """
    files = list(_walk(root))
    damaged = [path for path in files if any("\udc80" <= char <= "\udcff" for char in path)]
    if damaged:
        raise ManifestError(
            f"{root!r}: {len(damaged)} file names are not UTF-8: {listing(damaged, 5)}",
            hint="rename them, e.g. with `convmv -f WINDOWS-1252 -t UTF-8`",
        )
    metadata = [path for path in files if path.rpartition("/")[2] in METADATA]
    if metadata:
        raise ManifestError(
            f"{root!r}: metadata files in subfolders ({listing(metadata, 3)})",
            hint=f"give one of these folders, or all files as a glob: '{os.path.join(root, '*', 'metadata.*')}'",
        )
    data = [path for path in files if ending(path) not in SIDECARS]
    tops = {path.partition("/")[0] for path in data if "/" in path}
    levels = 2 if tops and all(map(split_word, tops)) and any(p.count("/") > 1 for p in data) else 1
    rows = [path for path in data if path.count("/") >= levels]
    if not rows:
        kinds = Counter(ending(path) or "no ending" for path in files).most_common(5)
        found = ", ".join(f"{count} x {kind}" for kind, count in kinds) or "nothing"
        raise ManifestError(
            f"{root!r}: expected a folder per class with files in it, found {found}",
            hint="give a manifest (CSV, TSV, JSONL, Parquet); tables in subfolders need a glob, "
            f"e.g. '{os.path.join(root, '**', '*.parquet')}'",
        )
    notes = []
    if len(rows) < len(files):
        skipped = set(files) - set(rows)
        kinds = Counter(ending(path) or "no ending" for path in skipped).most_common(5)
        found = ", ".join(f"{count} x {kind}" for kind, count in kinds)
        notes.append(f"skipped {len(skipped)} files that are no data or lie outside the class folders ({found})")
    parts = [path.split("/", levels) for path in rows]
    columns = {"path": rows, "label": [part[levels - 1] for part in parts]}
    if levels == 2:
        columns["split"] = [part[0] for part in parts]
        notes.append(f"split level: {', '.join(sorted(tops))}")
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    folders = ((os.path.abspath(root), len(rows)),)
    return Rows(root, table, "folder", folders, known={name: name for name in columns}, notes=tuple(notes))


def _refuse(error: OSError) -> None:
    """A class folder that cannot be read must not go missing quietly."""
    raise unreadable(str(error.filename), error) from error


def _walk(root: str) -> Iterator[str]:
    """Relative paths with forward slashes, sorted folder by folder. Links are followed, loops are not."""
    root = os.path.normpath(root)
    lineage: dict[str, frozenset[str]] = {}  # folder -> real paths from the root to it
    for folder, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        above = lineage.get(os.path.dirname(folder), frozenset())
        if (real := os.path.realpath(folder)) in above:
            folders.clear()
            continue
        lineage[folder] = above | {real}
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = os.path.relpath(folder, root).replace(os.sep, "/") + "/"
        yield from (prefix.removeprefix("./") + name for name in sorted(files) if not name.startswith("."))

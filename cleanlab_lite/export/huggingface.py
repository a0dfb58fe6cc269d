"""A folder that `datasets.load_dataset("imagefolder" | "audiofolder", data_dir=...)` reads.

`root/train/metadata.csv` and the files beside it, likewise for every other split. The metadata has the columns of the
manifest, its path column as `file_name` in the first place, and is CSV, JSONL or Parquet as the manifest is. Columns
that say where in a file a row lies get `source_` before their names: the files written here are those parts. So do
columns whose names `datasets` keeps for files and for what it makes of them.
"""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from cleanlab_lite.export.files import Names, Placer, file_names, local_uris, refuse_empty, split_folders
from cleanlab_lite.export.formats import Link
from cleanlab_lite.export.manifest import changed_table, kind, write_table
from cleanlab_lite.export.policy import Cleaned
from cleanlab_lite.export.reserved import free_name
from cleanlab_lite.manifest.manifest import Manifest, TextStyle

# Metadata that `datasets` reads, by what the manifest is
KINDS = {".csv": ".csv", ".tsv": ".csv", ".jsonl": ".jsonl", ".json": ".jsonl"}
KINDS |= dict.fromkeys((".parquet", ".arrow", ".feather"), ".parquet")


def write(cleaned: Cleaned, target: Path, link: Link) -> list[str]:
    """Link or copy the files of the rows that stay, flat: `datasets` would take some folder names for splits."""
    manifest, cleaning = cleaned.manifest, cleaned.cleaning
    uris = local_uris(manifest)
    own = file_names(manifest, uris)
    splits, notes = split_folders(manifest)
    names, placer = Names(), Placer(target, link)
    placed: dict[str, tuple[list[int], list[str]]] = {}  # split -> rows and file names
    for row in cleaning.keep.nonzero()[0].tolist():
        split = splits[row] or "train"
        name = names.claim(split, own[row])
        if placer.place(uris[row], os.path.join(split, name), manifest.segment(row)):
            rows, files = placed.setdefault(split, ([], []))
            rows.append(row)
            files.append(name)
    table = _columns(manifest, changed_table(manifest, cleaning.labels, cleaning.weights))
    form = KINDS[kind(manifest)]
    source = replace(manifest.source, delimiter=",", quoting=csv.QUOTE_MINIMAL, style=TextStyle())  # that all read
    for split, (rows, files) in placed.items():
        part = table.take(pa.array(rows)).add_column(0, "file_name", pa.array(files, pa.string()))
        write_table(source, part, target / split / f"metadata{form}", form)
    notes += placer.notes()
    refuse_empty(len(placed), notes)
    return notes


def _columns(manifest: Manifest, table: pa.Table) -> pa.Table:
    """The user's columns but that of the paths, under names that are free in a folder of `datasets`."""
    if manifest.source.path_column is not None:
        table = table.drop_columns([manifest.source.path_column])
    for column in manifest.source.segment_columns:
        name = f"source_{column}"
        while name in table.column_names:
            name = f"source_{name}"
        table = table.rename_columns({column: name})
    for column in table.column_names:
        table = table.rename_columns({column: free_name("huggingface", column, table.column_names)})
    return table

"""Parquet in folders called `key=value` (hive partitioning): the keys are columns."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from urllib.parse import unquote

import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import read_table, reading
from cleanlab_lite.manifest.readers.base import Rows, check_names, check_rows, list_folder, without_views
from cleanlab_lite.text import counted, listing

PARTITION = re.compile(r"([^=]+)=(.*)")
DEEPEST = 8  # keys
NULL = "__HIVE_DEFAULT_PARTITION__"

Part = tuple[tuple[str, ...], tuple[str | None, ...], str]  # keys, values, path


def partitions(folder: str) -> list[Part]:
    """The Parquet files below folders that are all called `key=value`; none where there are other folders."""
    return _below(folder, (), (), DEEPEST)


def _below(folder: str, keys: tuple[str, ...], values: tuple[str | None, ...], depth: int) -> list[Part]:
    found: list[Part] = []
    for name in list_folder(folder):
        path = os.path.join(folder, name)
        if name.startswith((".", "_")):
            continue
        if os.path.isdir(path):
            part = PARTITION.fullmatch(name)
            if part is None or not depth:
                return []
            value = None if part[2] == NULL else unquote(part[2])
            found += _below(path, (*keys, unquote(part[1])), (*values, value), depth - 1)
        elif keys and name.lower().endswith(".parquet"):
            found.append((keys, values, path))
    return found


def read_partitions(folder: str, parts: Sequence[Part]) -> Rows:
    """Their rows, one file after the other, with a column of text for every key that the files do not have."""
    keys = parts[0][0]
    tables: list[pa.Table] = []
    for own, values, path in parts:
        if own != keys:
            raise ManifestError(
                f"{path!r} lies in folders for {listing(own)}, the first file in folders for {listing(keys)}",
                hint="give a folder whose files are all split by the same keys",
            )
        with reading(f"cannot read {path!r}", ManifestError, hint="is it a whole Parquet file?"):
            table = without_views(read_table(path))
        for key, value in zip(keys, values, strict=True):
            if key not in table.column_names:
                table = table.append_column(key, pa.array([value] * len(table), pa.string()))
        tables.append(table if not tables else table.replace_schema_metadata(tables[0].schema.metadata))
    with reading(f"the files of {folder!r} do not fit together", ManifestError, hint="audit one of its folders"):
        table = pa.concat_tables(tables, promote_options="default")
    check_names(folder, table.column_names)
    check_rows([folder], len(table))
    note = f"partitioned by {listing(keys)}, {counted(len(parts), 'file')}"
    return Rows(folder, table, "parquet", ((os.path.abspath(folder), len(table)),), notes=(note,))

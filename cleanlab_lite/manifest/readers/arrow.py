"""Arrow on disk: `.arrow` and Feather files, and folders that Hugging Face `save_to_disk` has written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import is_remote, json_object, open_regular, reading
from cleanlab_lite.manifest.readers.base import Rows, one_after_the_other, read_file, without_views

HINT = "is it a whole Arrow file?"
DATASET, SPLITS = "state.json", "dataset_dict.json"  # what save_to_disk leaves in a folder


def read_arrow(paths: Sequence[str]) -> Rows:
    """Arrow files of one schema, in the file or the stream format, put one after the other."""
    return one_after_the_other(paths, map(_table, paths), "arrow")


def read_feather(paths: Sequence[str]) -> Rows:
    """The same, by another name."""
    return one_after_the_other(paths, map(_table, paths), "feather")


def _table(path: str) -> pa.Table:
    with reading(f"cannot read {path!r}", ManifestError, hint=HINT):
        if not is_remote(path):
            open_regular(path, sys.maxsize).close()
        source = pa.BufferReader(read_file(path)) if is_remote(path) else pa.memory_map(path)
        head = source.read(6)
        source.seek(0)
        if head[:4] == b"FEA1":
            raise ManifestError(
                f"{path!r} is the first version of Feather, which Arrow gives up",
                hint="write it again with pandas: frame.to_feather(path)",
            )
        opened = pa.ipc.open_file(source) if head == b"ARROW1" else pa.ipc.open_stream(source)
        table = opened.read_all()
        table.validate(full=True)
        return without_views(table)


def read_saved_dataset(folder: str) -> Rows:
    """A folder of `save_to_disk` of a Dataset, or of a DatasetDict: its splits are a column `split`."""
    parts = list(_parts(folder))
    tables, folders = [], []
    first: Rows | None = None
    for split, part in parts:
        names = _facts(os.path.join(part, DATASET), "_data_files")
        if not names:
            continue
        rows = read_arrow([os.path.join(part, name) for name in names])
        first = first or rows
        table = rows.table
        if split and "split" not in table.column_names:
            table = table.append_column("split", pa.array([split] * len(table), pa.string()))
        tables.append(table.replace_schema_metadata(first.table.schema.metadata))
        folders.append((os.path.abspath(folder), len(table)))
    if first is None:
        raise ManifestError(f"{folder!r} holds no rows", hint="was it saved completely?")
    with reading(f"the splits of {folder!r} do not fit together", ManifestError, hint="audit one of its folders"):
        table = pa.concat_tables(tables)
    return Rows(folder, table, "arrow", tuple(folders), notes=("saved by Hugging Face datasets",))


def _parts(folder: str) -> Iterator[tuple[str, str]]:
    """Split and folder of every dataset."""
    dictionary = os.path.join(folder, SPLITS)
    if not os.path.exists(dictionary):
        yield "", folder
        return
    splits = _facts(dictionary, "splits")
    for split in splits:
        yield split, os.path.join(folder, split)


def _facts(path: str, key: str) -> list[str]:
    """Names of files or folders beside `path`, a JSON of save_to_disk."""
    hint = "was it saved completely?"
    with reading(f"cannot read {path!r}", ManifestError, hint=hint), open_regular(path) as file:
        found = json_object(file.read(), **{key: list})[key]
        names = [each["filename"] if isinstance(each, dict) else each for each in found]
        return [os.path.basename(str(name)) for name in names]

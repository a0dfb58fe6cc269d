"""Columns that may say where a label comes from: annotators, batches, devices, dates by month, folders, splits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cleanlab_lite.addresses import unsigned
from cleanlab_lite.manifest.manifest import JSON_CELLS, Manifest

MOST = 0.5  # values per row, from which a column names rows rather than where they come from
LEVELS = 3  # folders of a path that are told apart
SPLIT, FOLDER = "split", "folder"  # what is called so where no column is
DATE = re.compile(r"((?:19|20)\d\d)[-/.:]?(0[1-9]|1[0-2])(?:[-/.:]?(?:0[1-9]|[12]\d|3[01])(?:[T ].*)?)?")


@dataclass(frozen=True)
class Provenance:
    """A column as codes of its values."""

    name: str
    values: tuple[str, ...]  # "" stands for missing cells
    codes: np.ndarray  # (n,) int64, indexes into `values`


def provenance_columns(manifest: Manifest) -> list[Provenance]:
    """The columns whose values may explain wrong labels, coarsest first; dates are months.

    Left out are columns that have a role (path, label, id, vector, part of a sound) or hold lists, objects or bytes,
    those with about as many values as rows, and those whose values are names of classes: another opinion on the label,
    not where it comes from.
    """
    source = manifest.source
    roles = {source.path_column, source.label_column, source.id_column, source.split_column, source.features_column}
    roles |= {*source.segment_columns, *source.label_columns, *source.vote_columns}
    found = [
        _coded(field.name, manifest.table[field.name])
        for field in manifest.table.schema
        if field.name not in roles and _is_plain(field)
    ]
    if (manifest.splits != "").any():
        found.append(_coded(source.split_column or SPLIT, pa.chunked_array([manifest.splits.tolist()])))
    found += _folders(manifest)
    most = MOST * len(manifest)
    kept = [each for each in found if 1 < len(each.values) <= most and not _are_classes(each.values, manifest)]
    return sorted(kept, key=lambda each: len(each.values))


def _is_plain(field: pa.Field) -> bool:
    if JSON_CELLS in (field.metadata or {}):
        return False
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return text or pa.types.is_primitive(kind)  # numbers, booleans, dates and times


def _coded(name: str, column: pa.ChunkedArray) -> Provenance:
    encoded = column.cast(pa.string()).fill_null("").combine_chunks().dictionary_encode()
    cells = [cell.strip() for cell in encoded.dictionary.to_pylist()]
    months = [DATE.fullmatch(cell) for cell in cells]
    if all(month or not cell for month, cell in zip(months, cells, strict=True)):
        cells = [f"{month[1]}-{month[2]}" if month else "" for month in months]
    values, place = np.unique(np.array(cells, dtype=object), return_inverse=True)
    return Provenance(name, tuple(values), place[encoded.indices.to_numpy()])


def _are_classes(values: tuple[str, ...], manifest: Manifest) -> bool:
    """Whether most of the values are names of classes."""
    return 2 * len({*values} & {*manifest.classes}) >= len(values)


def _folders(manifest: Manifest) -> Iterator[Provenance]:
    """The folders that files lie in, level by level, each with those above it; not those that classes are named by."""
    paths = manifest.paths
    if paths is None:
        return
    folders = pc.replace_substring_regex(
        pa.chunked_array([unsigned(paths.to_pylist())], pa.string()).fill_null(""), r"[^/\\]*$", ""
    )
    encoded = folders.combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    parts = [re.split(r"[/\\]+", folder.rstrip("/\\")) for folder in encoded.dictionary.to_pylist()]
    above: list[str] = [""] * len(parts)
    level = 0
    for depth in range(max(map(len, parts), default=0)):
        names = [each[depth] if depth < len(each) else "" for each in parts]
        if len({*names}) == 1 or _are_classes(tuple({*names}), manifest) or level == LEVELS:
            continue
        above = ["/".join(filter(None, pair)) for pair in zip(above, names, strict=True)]
        values, place = np.unique(np.array(above, dtype=object), return_inverse=True)
        level += 1
        yield Provenance(FOLDER if level == 1 else f"{FOLDER} {level}", tuple(values), place[codes])

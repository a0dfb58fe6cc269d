"""Vectors: `.npy` and `.npz` files, list columns of Parquet and JSONL."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import is_remote, load_arrays, reading
from cleanlab_lite.manifest.readers.base import Rows, ending, folder_of, holds_json, read_file
from cleanlab_lite.text import listing

FEATURE_KEYS = ("features", "embeddings", "x")
LABEL_KEYS = ("labels", "y")
ID_KEYS = ("ids",)

BLOCK = 4096  # rows looked at together


def read_npz(path: str) -> Rows:
    """An archive of `features` (n, d), `labels` (n,) and, if there are any, `ids` (n,), or names like these.

    The table has the columns `id` (the row number, from 0, where the archive has no ids) and `label`.
    """
    arrays = _load(path)
    if isinstance(arrays, np.ndarray):
        raise ManifestError(f"{path!r} holds one array", hint="give it with --features, next to a table of labels")
    keys = {"features": FEATURE_KEYS, "labels": LABEL_KEYS, "ids": ID_KEYS}
    matches = {role: _key(path, arrays, role, choices) for role, choices in keys.items()}
    names = {role: name for role, name in matches.items() if name is not None}
    if missing := [role for role in ("features", "labels") if role not in names]:
        raise ManifestError(
            f"{path!r}: no array for {' and '.join(missing)}; found {listing(list(arrays)) or 'none'}",
            hint="expected `features` (n, d) and `labels` (n,), and `ids` (n,) if you have them",
        )
    features = check_features(path, arrays[names["features"]])
    ids = arrays[names["ids"]] if "ids" in names else np.arange(len(features)).astype(str)
    columns = {"id": _column(path, "ids", ids), "label": _column(path, "labels", arrays[names["labels"]])}
    for name, column in columns.items():
        if len(column) != len(features):
            raise ManifestError(
                f"{path!r}: features have {len(features)} rows, {name}s have {len(column)}",
                hint="row i of every array must be the same sample",
            )
    found = ", ".join(f"{role} from {name!r}" for role, name in names.items())
    return Rows(
        path,
        pa.table(columns),
        "arrays",
        ((folder_of(path), len(features)),),
        known={"id": "id", "label": "label"},
        features=features,
        notes=(f"arrays: {found}",),
    )


def load_features(path: str, rows: Rows) -> np.ndarray:
    """(n, d) float32 from an `.npy` file, or the features of an `.npz`, row i for row i of `rows`."""
    arrays = _load(path)
    if not isinstance(arrays, np.ndarray):
        name = _key(path, arrays, "features", FEATURE_KEYS)
        if name is None:
            raise ManifestError(f"{path!r}: no array called {listing(FEATURE_KEYS)}; found {listing(list(arrays))}")
        arrays = arrays[name]
    features = check_features(path, arrays)
    n = len(rows.table)
    if len(features) != n:
        raise ManifestError(
            f"{path!r} has {len(features)} rows, {rows.path!r} has {n}",
            hint="both need the same rows in the same order",
        )
    return features


def vector_columns(table: pa.Table) -> list[str]:
    """Columns whose cells are lists of numbers. In JSON text the first cell that is not null decides."""
    return [field.name for field in table.schema if _is_vector(field.type) or _starts_with_vector(table, field.name)]


def column_features(rows: Rows, name: str) -> np.ndarray:
    """(n, d) float32 from a list column; NaN where the cell, or a number in it, is null.

    Raises ManifestError where the lists differ in length or do not hold numbers.
    """
    if name not in vector_columns(rows.table):
        raise ManifestError(
            f"{rows.path!r}: column {name!r} has type {rows.table.schema.field(name).type}, expected lists of numbers"
        )
    features = _from_json(rows, name) if holds_json(rows.table, name) else _from_lists(rows, name)
    return check_features(f"{rows.path}, column {name}", features)


def _is_vector(dtype: pa.DataType) -> bool:
    listed = pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype)
    return listed and (pa.types.is_floating(dtype.value_type) or pa.types.is_integer(dtype.value_type))


def _starts_with_vector(table: pa.Table, name: str) -> bool:
    if not holds_json(table, name):
        return False
    cells = (json.loads(text) for chunk in table[name].chunks for text in (cell.as_py() for cell in chunk) if text)
    first = next((cell for cell in cells if cell is not None), None)
    return isinstance(first, list) and bool(first) and _numbers(first)


def _numbers(cell: list[Any]) -> bool:
    return all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in cell)


def _from_lists(rows: Rows, name: str) -> np.ndarray:
    column = rows.table[name]
    lengths = np.full(len(column), -1)
    start = 0
    for chunk in column.chunks:
        if pa.types.is_fixed_size_list(column.type):
            found = np.where(chunk.is_valid().to_numpy(zero_copy_only=False), column.type.list_size, -1)
        else:
            found = chunk.value_lengths().fill_null(-1).to_numpy()
        lengths[start : start + len(chunk)] = found
        start += len(chunk)
    features = np.full((len(column), _one_length(rows, name, lengths)), np.nan, dtype=np.float32)
    start = 0
    for chunk in column.chunks:
        valid = lengths[start : start + len(chunk)] >= 0
        numbers = chunk.flatten().to_numpy(zero_copy_only=False)  # null lists are left out
        with np.errstate(over="ignore"):
            features[start : start + len(chunk)][valid] = numbers.reshape(valid.sum(), -1)
        start += len(chunk)
    return features


def _from_json(rows: Rows, name: str) -> np.ndarray:
    cells = [None if text is None else json.loads(text) for text in rows.table[name].to_pylist()]
    for row, cell in enumerate(cells):
        if cell is not None and not (isinstance(cell, list) and _numbers(cell)):
            raise ManifestError(f"{rows.path!r}, {rows.where(row)}: {name!r} is {cell!r:.60}, expected numbers")
    lengths = np.array([-1 if cell is None else len(cell) for cell in cells])
    features = np.full((len(cells), _one_length(rows, name, lengths)), np.nan, dtype=np.float32)
    with np.errstate(over="ignore"):
        for row, cell in enumerate(cells):
            if cell is not None:
                with reading(f"cannot read the numbers of {rows.path!r}, {rows.where(row)}", ManifestError):
                    features[row] = cell
    return features


def _one_length(rows: Rows, name: str, lengths: np.ndarray) -> int:
    """The common length, -1 standing for a null."""
    present = np.flatnonzero(lengths >= 0)
    if not len(present):
        raise ManifestError(f"{rows.path!r}: column {name!r} is null in all {len(lengths)} rows")
    expected = int(lengths[present[0]])
    other = present[lengths[present] != expected]
    if len(other):
        raise ManifestError(
            f"{rows.path!r}, {rows.where(other[0])}: {name!r} has {lengths[other[0]]} numbers, expected {expected} "
            f"as in {rows.where(present[0])}; {len(other)} of {len(lengths)} rows differ",
            hint="all vectors must have one length; a missing vector is written as null",
        )
    return expected


def check_features(path: str, features: np.ndarray) -> np.ndarray:
    """`features` as (n, d) float32. Rows with NaN or infinite values are legal, a matrix without any other is not."""
    if features.ndim != 2:
        raise ManifestError(f"{path!r}: features have shape {features.shape}, expected (n, d)")
    if features.dtype.kind not in "fiu":
        raise ManifestError(f"{path!r}: features have type {features.dtype}, expected numbers")
    n, d = features.shape
    if not n or not d:
        raise ManifestError(f"{path!r}: features have shape {features.shape}, expected at least one row and column")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, hence an unreadable row
        features = features.astype(np.float32, copy=False)
    if not any(np.isfinite(features[start : start + BLOCK]).all(axis=1).any() for start in range(0, n, BLOCK)):
        raise ManifestError(
            f"{path!r}: all {n} vectors hold NaN or infinite values", hint="check how the vectors were computed"
        )
    return features


def _key(path: str, arrays: dict[str, np.ndarray], role: str, choices: Sequence[str]) -> str | None:
    matches = [name for name in arrays if name.lower() in choices]
    if len(matches) > 1:
        raise ManifestError(f"{path!r}: several arrays could be the {role}: {listing(matches)}", hint="keep one")
    return matches[0] if matches else None


def _column(path: str, role: str, array: np.ndarray) -> pa.Array:
    if array.ndim != 1:
        raise ManifestError(f"{path!r}: {role} have shape {array.shape}, expected (n,)")
    if array.dtype.kind not in "Uiufb":
        raise ManifestError(f"{path!r}: {role} have type {array.dtype}, expected strings or integers")
    with reading(f"cannot read the {role} of {path!r}", ManifestError):  # half characters, floats that Arrow has not
        return pa.array(array.tolist() if array.dtype.kind == "U" else array)


def _load(path: str) -> np.ndarray | dict[str, np.ndarray]:
    """One array of an `.npy` file, mapped into memory where it is local, or the arrays of an `.npz`."""
    if ending(path) not in (".npy", ".npz"):
        raise ManifestError(f"{path!r}: unknown ending {ending(path)!r}, expected .npy or .npz")
    if not is_remote(path) and os.path.isdir(path):
        raise ManifestError(f"{path!r} is a folder, expected an .npy or .npz file")
    hint = "save plain numeric or string arrays with numpy.save or numpy.savez; objects (pickles) are refused"
    with reading(f"cannot read {path!r}", ManifestError, hint=hint):
        return load_arrays(io.BytesIO(read_file(path)) if is_remote(path) or not os.path.exists(path) else path)

"""Vectors: `.npy` and `.npz` files, list columns of Parquet and JSONL."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import (
    array_blocks,
    declared_arrays,
    is_remote,
    load_archive,
    load_arrays,
    open_regular,
    reading,
)
from cleanlab_lite.manifest.pixels import BLOCK as BLOCK_OF_PICTURES
from cleanlab_lite.manifest.pixels import bytes_of
from cleanlab_lite.manifest.readers.base import (
    FileKeeper,
    Rows,
    ending,
    folder_of,
    holds_json,
    is_text,
    plain,
    read_file,
)
from cleanlab_lite.manifest.splits import split_word
from cleanlab_lite.text import listing

PARTS = {  # words in names of arrays beside those of splits
    "inputs": ("x", "images", "image", "imgs", "data", "features", "embeddings", "vectors", "pixels"),
    "labels": ("y", "labels", "label", "targets", "target"),
}
FEATURE_KEYS = ("features", "embeddings", "x")
LABEL_KEYS = ("labels", "y")
ID_KEYS = ("ids",)

CALLED = ("features", "feature", "embeddings", "embedding", "vectors", "vector", "emb", "feat", "feats")
FEWEST = 4  # numbers in text that could be a box
AROUND = re.compile(r"(?:(?:array|tensor)\()?\[([^\[\]]*)\](?:,[^()\[\]]*)?\)?")
NUMBERED = re.compile(r"([^0-9]*)[0-9]+(?:[x_.-][0-9]+)*")  # emb_7, pixel_0_27, 28x28
NAMED = 4  # columns in a hint
FIRST = 20  # rows that show whether a column holds numbers
BLOCK = 4096  # rows looked at together


def read_npz(path: str) -> Rows:
    """An archive of `features` (n, d), `labels` (n,) and, if there are any, `ids` (n,), or names like these; or
    such pairs as `x_train` and `y_train`, also of pictures (n, h, w) or (n, h, w, c).

    The table has the columns `id` (the row number, from 0, where the archive has no ids) and `label`.
    """
    arrays = _declared(path)
    if isinstance(arrays, np.ndarray):
        raise ManifestError(f"{path!r} holds one array", hint="give it with --features, next to a table of labels")
    if parts := _parts(arrays):
        return _read_parts(path, arrays, parts)
    keys = {"features": FEATURE_KEYS, "labels": LABEL_KEYS, "ids": ID_KEYS}
    matches = {role: _key(path, arrays, role, choices) for role, choices in keys.items()}
    names = _by_shape(arrays, {role: name for role, name in matches.items() if name is not None})
    if missing := [role for role in ("features", "labels") if role not in names]:
        raise ManifestError(
            f"{path!r}: no array for {' and '.join(missing)}; found {_shapes(arrays) or 'none'}",
            hint=_hint_of_arrays(arrays),
        )
    arrays = _load(path, set(names.values()))
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


def _parts(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[str, str]]:
    """Split -> its inputs and its labels, by their names: `x_train`, `test_images`; none where they are not all there,
    and where vectors of one split are read without."""
    found: dict[str, dict[str, str]] = {"inputs": {}, "labels": {}}
    for name in arrays:
        words = re.split(r"[\W_]+", name.casefold())
        splits, rest = [word for word in words if split_word(word)], [word for word in words if not split_word(word)]
        role = next((role for role, known in PARTS.items() if rest and rest[0] in known), "")
        if role and len(rest) == 1 and len(splits) < 2:
            if (split := "".join(splits)) in found[role]:
                return {}
            found[role][split] = name
    inputs, labels = found["inputs"], found["labels"]
    pictures = {arrays[name].ndim in (3, 4) for name in inputs.values()}
    if inputs.keys() != labels.keys() or len(pictures) != 1 or (len(inputs) == 1 and pictures == {False}):
        return {}
    return {split: (name, labels[split]) for split, name in inputs.items()}


def _read_parts(path: str, arrays: Mapping[str, np.ndarray], parts: Mapping[str, tuple[str, str]]) -> Rows:
    """Rows of all parts, one after the other, called by the array that they are in and their number there."""
    given = _load(path, [label for _, label in parts.values()])
    labels = [given[label][:, 0] if given[label].shape[1:] == (1,) else given[label] for _, label in parts.values()]
    names, splits = [], []
    for (split, (name, _)), found in zip(parts.items(), labels, strict=True):
        _column(path, "labels", found)
        if arrays[name].shape[:1] != found.shape:
            raise ManifestError(
                f"{path!r}: {name!r} has shape {arrays[name].shape}, and there are {len(found)} labels",
                hint="row i of both must be the same sample",
            )
        names += [f"{name}[{row}]" for row in range(len(found))]
        splits += [split] * len(found)
    inputs = tuple(name for name, _ in parts.values())
    pictures = arrays[inputs[0]].ndim > 2
    features = None
    if not pictures:
        if len({arrays[name].shape[1:] for name in inputs}) > 1:
            raise ManifestError(f"{path!r}: vectors of different lengths: {_shapes(arrays)}")
        loaded = _load(path, inputs)
        features = check_features(path, np.concatenate([loaded[name] for name in inputs]))
    role = "path" if pictures else "id"
    columns = {"image" if pictures else "id": names, "label": _column(path, "labels", np.concatenate(labels))}
    known = {role: "image" if pictures else "id", "label": "label"}
    if len(parts) > 1:
        columns, known = columns | {"split": splits}, known | {"split": "split"}
    return Rows(
        path,
        pa.table(columns),
        "arrays",
        ((folder_of(path), len(names)),),
        known=known,
        features=features,
        pictures=partial(_blocks_of, path, inputs) if pictures else None,
        notes=(f"arrays: {', '.join(f'{name!r} with {label!r}' for name, label in parts.values())}",),
    )


def with_pictures(rows: Rows, keep: FileKeeper | None) -> Rows:
    """The rows, with files that `keep` makes of pictures in arrays. Raises ManifestError for what is no picture."""
    if keep is None:
        raise ManifestError(
            f"{rows.path!r} holds pictures in arrays, which need a place for files",
            hint="`nlclean audit` and nlclean.audit(path) read it",
        )
    blocks = () if rows.pictures is None else rows.pictures()
    files = [keep.picture(each) for block in blocks for each in block]
    return replace(rows, files={"image": files}, notes=(*rows.notes, "pictures in arrays are kept as files"))


def _blocks_of(path: str, names: Sequence[str]) -> Iterator[np.ndarray]:
    """Blocks of the pictures in arrays, one after the other. Raises ManifestError for what is no picture."""
    for name in names:
        with reading(f"cannot read {path!r}", ManifestError, hint=HINT), _stream(path) as file:
            for pixels in array_blocks(file, name, BLOCK_OF_PICTURES):
                yield bytes_of(pixels, f"{name!r}", pixels.shape[3] if pixels.ndim == 4 else 1)


def _hint_of_arrays(arrays: dict[str, np.ndarray]) -> str:
    """What to save instead of arrays of pictures, or of several splits."""
    usual = "expected `features` (n, d) and `labels` (n,), and `ids` (n,) if you have them"
    if any(array.ndim in (3, 4) for array in arrays.values()):
        return (
            "pictures need labels by them: `images` (n, h, w, c) and `labels` (n,), or so for every split, such as "
            "`train_images` and `train_labels`, or `x_train` and `y_train`"
        )
    if sum(array.ndim == 2 for array in arrays.values()) > 1:
        return f"{usual}: those of one split, or of all of them put together"
    return usual


def load_features(path: str, rows: Rows) -> np.ndarray:
    """(n, d) float32 from an `.npy` file, or the features of an `.npz`, row i for row i of `rows`."""
    arrays = _declared(path)
    if not isinstance(arrays, np.ndarray):
        name = _key(path, arrays, "features", FEATURE_KEYS) or _by_shape(arrays, {}).get("features")
        if name is None:
            raise ManifestError(
                f"{path!r}: no array called {listing(FEATURE_KEYS)}; found {_shapes(arrays)}",
                hint="name it so: numpy.savez(file, features=...)",
            )
        arrays = _load(path, [name])[name]
    features = check_features(path, arrays)
    n = len(rows.table)
    if len(features) != n:
        raise ManifestError(
            f"{path!r} has {len(features)} rows, {rows.path!r} has {n}",
            hint="both need the same rows in the same order",
        )
    return features


def vector_columns(table: pa.Table) -> list[str]:
    """Columns whose cells are lists of numbers. In text the first cell that is not empty decides."""
    return [
        field.name
        for field in table.schema
        if _is_vector(field.type)
        or (pa.types.is_list(field.type) and _is_vector(field.type.value_type))
        or _starts_with_vector(table, field.name)
    ]


def column_features(rows: Rows, name: str) -> np.ndarray:
    """(n, d) float32 from a list column; NaN where the cell, or a number in it, is null.

    Raises ManifestError where the lists differ in length or do not hold numbers.
    """
    if name not in vector_columns(rows.table):
        raise ManifestError(
            f"{rows.path!r}: column {name!r} has type {rows.table.schema.field(name).type}, expected lists of numbers",
            hint=what_it_holds(rows.table, name),
        )
    kind = rows.table.schema.field(name).type
    if holds_json(rows.table, name):
        features = _from_json(rows, name)
    elif is_text(plain(rows.table, name).type):
        features = _from_text(rows, name)
    else:
        features = _from_lists(rows if _is_vector(kind) else _flat(rows, name), name)
    return check_features(f"{rows.path}, column {name}", features)


def several_columns(rows: Rows, patterns: str) -> tuple[np.ndarray, list[str]]:
    """(n, d) float32 from d columns of a number each, and their names: those that match `patterns`, with commas.

    Empty cells are NaN. Raises ManifestError where a cell is no number.
    """
    wanted = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    names = rows.table.column_names
    missing = [pattern for pattern in wanted if not any(fnmatchcase(name, pattern) for name in names)]
    if missing or not wanted:
        raise ManifestError(
            f"{rows.path!r}: no column is called {listing(missing) or patterns!r}; columns found: {listing(names)}",
            hint="--features-columns takes names, and patterns such as 'emb_*', with commas",
        )
    chosen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in wanted)]
    features = np.empty((len(rows.table), len(chosen)), dtype=np.float32)
    with np.errstate(over="ignore"):
        for position, name in enumerate(chosen):
            features[:, position] = _numbers_of(rows, name)
    return check_features(f"{rows.path}, columns {patterns}", features), chosen


def _numbers_of(rows: Rows, name: str) -> np.ndarray:
    """(n,) numbers of a column, NaN where it is empty."""
    column = plain(rows.table, name)
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return np.array([np.nan if cell is None else float(cell) for cell in column.to_pylist()])
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    values = []
    for row, cell in enumerate(column.to_pylist()):
        try:
            values.append(float(cell) if cell is not None and str(cell).strip() else np.nan)
        except (TypeError, ValueError):
            raise ManifestError(
                f"{rows.path!r}, {rows.where(row)}: {name!r} is {cell!r:.60}, expected a number",
                hint="--features-columns names the columns of the numbers",
            ) from None
    return np.array(values)


def what_it_holds(table: pa.Table, name: str) -> str:
    """Of a column that is no vector: what to do with it."""
    column = table[name]
    first = next((cell.as_py() for chunk in column.chunks for cell in chunk if cell.is_valid), None)
    if isinstance(first, bytes):
        return (
            f"{name!r} holds raw bytes ({len(first):,} in the first cell, {len(first) // 4:,} numbers if they are "
            "float32): numpy.frombuffer makes vectors of them; save those with numpy.save and give --features FILE"
        )
    if first is None:
        return f"{name!r} is empty"
    return f"{name!r} begins with {first!r:.60}; [0.1, 0.2, ...] is read, also as text, or give --features FILE"


def hint_for(table: pa.Table, taken: Sequence[str] = ()) -> str:
    """Where neither files nor vectors are found: what could be meant as vectors; "" where nothing could."""
    vectors = vector_columns(table)
    if called := [name for name in table.column_names if name.strip().lower() in CALLED and name not in vectors]:
        return what_it_holds(table, called[0])
    families: dict[str, int] = {}
    for field in table.schema:
        if found := NUMBERED.fullmatch(field.name):
            families[found[1]] = families.get(found[1], 0) + 1
    if families:
        stem, count = max(families.items(), key=lambda pair: pair[1])
        if count > 2:
            pattern = f"{stem}*" if stem else "[0-9]*"
            return f"{count:,} columns are numbered: --features-columns '{pattern}' reads them as vectors"
    numbers = [name for name in table.column_names if name not in taken and name.strip() and _fractions(table, name)]
    if len(numbers) > 1 and not any("," in name for name in numbers):
        return (
            f"{len(numbers):,} columns hold numbers: --features-columns '{','.join(numbers[:NAMED])}"
            f"{',...' if len(numbers) > NAMED else ''}' reads them as vectors"
        )
    return ""


def _fractions(table: pa.Table, name: str) -> bool:
    """Whether the first cells of a column are numbers, and one is no integer."""
    cells = [cell for cell in table.slice(0, FIRST)[name].to_pylist() if cell not in (None, "")]
    try:
        numbers = [float(cell) for cell in cells]
    except (TypeError, ValueError):
        return False
    return any(not number.is_integer() for number in numbers)


def _flat(rows: Rows, name: str) -> Rows:
    """Lists that hold one list of numbers each as lists of numbers."""
    cells = rows.table[name].to_pylist()
    for row, cell in enumerate(cells):
        if cell is not None and len(cell) != 1:
            raise ManifestError(
                f"{rows.path!r}, {rows.where(row)}: {name!r} holds {len(cell)} lists, expected one list of numbers",
                hint="one vector per row: take the mean of several, or give --features FILE",
            )
    kind = rows.table.schema.field(name).type.value_type
    column = pa.array([None if cell is None else cell[0] for cell in cells], kind)
    return replace(rows, table=rows.table.set_column(rows.table.schema.get_field_index(name), name, column))


def _text_vector(text: str) -> np.ndarray | None:
    """The numbers of `[0.1, 0.2]`, `[0.1 0.2]`, `array([...], dtype=float32)`; None where it is no such text."""
    found = AROUND.fullmatch(text.strip())
    if not found:
        return None
    try:
        return np.array(found[1].replace(",", " ").split(), dtype=np.float64)
    except ValueError:
        return None


def _from_text(rows: Rows, name: str) -> np.ndarray:
    cells = [text if text and text.strip() else None for text in plain(rows.table, name).to_pylist()]
    found: list[np.ndarray | None] = []
    for row, text in enumerate(cells):
        vector = None if text is None else _text_vector(text)
        if text is not None and vector is None:
            cut = "..." in text or "…" in text
            raise ManifestError(
                f"{rows.path!r}, {rows.where(row)}: {name!r} is {text!r:.60}, expected numbers",
                hint="NumPy's print leaves numbers out (...): save the vectors with numpy.save for --features FILE"
                if cut
                else "expected a list such as [0.1, 0.2]; an empty cell where there is none",
            )
        found.append(vector)
    lengths = np.array([-1 if vector is None else len(vector) for vector in found])
    features = np.full((len(cells), _one_length(rows, name, lengths)), np.nan, dtype=np.float32)
    with np.errstate(over="ignore"):
        for row, vector in enumerate(found):
            if vector is not None:
                features[row] = vector
    return features


def _is_vector(dtype: pa.DataType) -> bool:
    listed = pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype)
    return listed and (pa.types.is_floating(dtype.value_type) or pa.types.is_integer(dtype.value_type))


def _starts_with_vector(table: pa.Table, name: str) -> bool:
    if not holds_json(table, name):
        return _text_starts_with_vector(table, name)
    cells = (json.loads(text) for chunk in table[name].chunks for text in (cell.as_py() for cell in chunk) if text)
    first = next((cell for cell in cells if cell is not None), None)
    return isinstance(first, list) and bool(first) and _numbers(first)


def _text_starts_with_vector(table: pa.Table, name: str) -> bool:
    """Whether text is a list of numbers: of more than the four of a box, unless the column is called so."""
    if not is_text(table.schema.field(name).type):
        return False
    texts = (cell.as_py() for chunk in table[name].chunks for cell in chunk if cell.is_valid)
    first = next((text for text in texts if text.strip()), "")
    if not first.lstrip().startswith(("[", "array(", "tensor(")):
        return False
    vector = _text_vector(first)
    return vector is not None and len(vector) > (1 if name.strip().lower() in CALLED else FEWEST)


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
            f"as in {rows.where(present[0])}; another length in {len(other):,} of {len(lengths):,} rows",
            hint="all vectors must have one length; a missing vector is written as null",
        )
    return expected


def check_features(path: str, features: np.ndarray) -> np.ndarray:
    """`features` as (n, d) float32. Rows with NaN or infinite values are legal, a matrix without any other is not."""
    if features.ndim != 2:
        raise ManifestError(f"{path!r}: features have shape {features.shape}, expected (n, d)", hint=VECTORS)
    if features.dtype.kind not in "fiu":
        raise ManifestError(f"{path!r}: features have type {features.dtype}, expected numbers", hint=VECTORS)
    n, d = features.shape
    if not n or not d:
        raise ManifestError(
            f"{path!r}: features have shape {features.shape}, expected at least one row and column", hint=VECTORS
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, hence an unreadable row
        features = features.astype(np.float32, copy=False)
    if not any(np.isfinite(features[start : start + BLOCK]).all(axis=1).any() for start in range(0, n, BLOCK)):
        raise ManifestError(
            f"{path!r}: all {n} vectors hold NaN or infinite values", hint="check how the vectors were computed"
        )
    return features


def _by_shape(arrays: dict[str, np.ndarray], names: dict[str, str]) -> dict[str, str]:
    """`names` with features and labels where only one array each can be meant: (n, d) numbers, and n cells."""
    free = {name: array for name, array in arrays.items() if name not in names.values()}
    matrices = [name for name, array in free.items() if array.ndim == 2 and array.dtype.kind in "fiu" and array.size]
    if "features" not in names and len(matrices) == 1:
        names = {"features": matrices[0], **names}
    if "features" in names and "labels" not in names:
        n = len(arrays[names["features"]]) if arrays[names["features"]].ndim else 0
        cells = [name for name, array in free.items() if array.shape == (n,) and array.dtype.kind in "iuUb"]
        if len(cells) == 1:
            names = {**names, "labels": cells[0]}
    return names


def _shapes(arrays: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name!r} {array.shape}" for name, array in list(arrays.items())[:20])


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
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    with reading(f"cannot read the {role} of {path!r}", ManifestError):  # half characters, floats that Arrow has not
        return pa.array(array.tolist() if array.dtype.kind == "U" else array)


VECTORS = "one row of numbers for each row of the manifest: numpy.save(file, array of shape (n, d))"
HINT = "save plain numeric or string arrays with numpy.save or numpy.savez; objects (pickles) are refused"


def _declared(path: str) -> np.ndarray | dict[str, np.ndarray]:
    """One array of an `.npy` file, mapped into memory where it is local, or what the arrays of an `.npz` look like."""
    if ending(path) not in (".npy", ".npz"):
        raise ManifestError(
            f"{path!r}: unknown ending {ending(path)!r}, expected .npy or .npz",
            hint="a table with the vectors and the labels is a manifest itself: give it without --features, and "
            "name its columns with --features-column, or --features-columns; or save the vectors with numpy.save",
        )
    if not is_remote(path) and os.path.isdir(path):
        raise ManifestError(
            f"{path!r} is a folder, expected an .npy or .npz file",
            hint="a folder that `nlclean encode` has written is a manifest itself: give it without --features",
        )
    with reading(f"cannot read {path!r}", ManifestError, hint=HINT):
        with _stream(path) as file:
            if zipfile.is_zipfile(file):
                return declared_arrays(file)
        if is_remote(path):
            with _stream(path) as file:
                return load_arrays(file)
        return load_arrays(path)


def _load(path: str, names: Collection[str]) -> dict[str, np.ndarray]:
    """Arrays of an `.npz`."""
    with reading(f"cannot read {path!r}", ManifestError, hint=HINT), _stream(path) as file:
        return load_archive(file, names)


def _stream(path: str) -> BinaryIO:
    return io.BytesIO(read_file(path)) if is_remote(path) else open_regular(path, sys.maxsize)

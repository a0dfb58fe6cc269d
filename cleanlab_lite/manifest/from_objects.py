"""Objects in memory -> `Manifest`: tables, Hugging Face datasets, arrays, pictures, torch datasets.

A table goes through the same detection of columns as a file. Pictures and sounds that have no file get one from a
`FileKeeper`, named by its content, so that decoding, review, page, export and resume work on them as on any other file.

A package that made the object is loaded already: types are looked up in `sys.modules`, and nothing is imported here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.manifest.manifest import NO_FEATURES, Manifest
from cleanlab_lite.manifest.pixels import BLOCK, CHANNELS, bytes_of
from cleanlab_lite.manifest.readers import to_manifest, with_columns, without_features
from cleanlab_lite.manifest.readers.base import FileKeeper, Rows, check_names, check_rows, without_views
from cleanlab_lite.manifest.readers.columns import find_columns
from cleanlab_lite.manifest.readers.embedded import ending_of
from cleanlab_lite.manifest.readers.features import check_features, vector_columns
from cleanlab_lite.manifest.reading import Reading
from cleanlab_lite.text import listing

TAKEN = (
    "a path, a Manifest, a pandas or polars DataFrame, an Arrow table, a Hugging Face Dataset, (X, y) arrays, "
    "a list of pictures with labels=, or a torch Dataset"
)
BATCH = 1000  # rows of a Hugging Face dataset looked at together
MISSING = -1  # a class number that stands for no label

# type -> what to do instead
LAZY = {
    ("polars", "LazyFrame"): "call .collect() first",
    ("datasets", "IterableDataset"): "an audit looks at every row several times: load it without streaming=True",
    ("datasets", "IterableDatasetDict"): "an audit looks at every row several times: load it without streaming=True",
    ("torch.utils.data", "IterableDataset"): "an audit needs len() and [i]: give a map-style Dataset",
    ("torch.utils.data", "DataLoader"): "give its .dataset, without random augmentation",
}


def from_objects(
    data: Any,
    labels: Any = None,
    *,
    classes: Sequence[str] | None = None,
    asked: Reading,
    keep: FileKeeper,
) -> Manifest:
    """`data` is anything of `TAKEN` but a path or a Manifest; columns that are `asked` for are those of tables.

    `labels` (n,) come with arrays and pictures: strings, booleans, or integers, which `classes` may name in order;
    None, NaN and -1 next to `classes` mean not labelled. `asked.features` (n, d) replace what would be looked at.

    Raises ManifestError with what was found, what was expected and how to repair it.
    """
    name = _kind(data)
    for (module, kind), hint in LAZY.items():
        if _is(data, module, kind):
            raise ManifestError(f"cannot audit a {type(data).__name__}", hint=hint)
    if _is_table(data) and (labels is None or _is(data, "datasets", "Dataset") or _is(data, "datasets", "DatasetDict")):
        if labels is not None:
            raise ManifestError(
                f"labels are given beside a {type(data).__name__}",
                hint="it has them in a column, which label_column= names",
            )
        rows = _of_table(data, name, asked.id_column, keep)
        if asked.features_columns is not None:
            rows = with_columns(rows, asked.features_columns, asked.features_column)
    else:
        named = [f"{role}_column=" for role, column in asked.columns.items() if column is not None]
        if named := [*named, *(["features_columns="] if asked.features_columns is not None else [])]:
            raise ManifestError(f"{', '.join(named)} name columns, and a {type(data).__name__} has none")
        rows = _of_pairs(data, labels, name, classes, keep)
        classes = None
    features = asked.features
    if isinstance(features, str) and features == NO_FEATURES:
        rows = without_features(rows)
    elif features is not None:
        if rows.features is not None or asked.features_column is not None:
            raise ManifestError("features are given twice", hint="leave features= out, or the other")
        rows = replace(rows, features=_own_features(features, len(rows.table)))
    if classes is not None:
        column = find_columns(rows, asked.columns, vector_columns(rows.table), asked.multi_label).label
        if column not in rows.table.column_names:
            raise ManifestError(
                f"classes= name numbers, and {column} are columns of their own", hint="leave classes= out"
            )
        named_column, order = name_classes(rows.table[column], classes, f"column {column!r}")
        position = rows.table.schema.get_field_index(column)
        table = rows.table.set_column(position, column, named_column)
        rows = replace(rows, table=table, classes=rows.classes | {column: order})
    place = os.path.abspath(f"<{name}>")  # a folder `Dataset` may be there, and is not meant
    return to_manifest(rows, asked, place)


def _is(data: Any, module: str, name: str) -> bool:
    """Whether `data` is of that class, of a package that may not be there."""
    found = getattr(sys.modules.get(module), name, None)
    return found is not None and isinstance(data, found)


def _is_table(data: Any) -> bool:
    return (
        _is(data, "pandas", "DataFrame")
        or _is(data, "datasets", "Dataset")
        or _is(data, "datasets", "DatasetDict")
        or (hasattr(data, "__arrow_c_stream__") and not _is_column(data))
    )


def _is_column(data: Any) -> bool:
    """One column, not a table of them."""
    return isinstance(data, pa.ChunkedArray) or _is(data, "pandas", "Series") or _is(data, "polars", "Series")


def _kind(data: Any) -> str:
    """What messages and the folder of the run call it."""
    plain = data is None or isinstance(data, tuple | list | np.ndarray) or _is(data, "torch", "Tensor")
    return "arrays" if plain else type(data).__name__


# --- tables ---------------------------------------------------------------------------------------------------------


def _of_table(data: Any, name: str, id_column: str | None, keep: FileKeeper) -> Rows:
    if _is(data, "datasets", "Dataset") or _is(data, "datasets", "DatasetDict"):
        return _hugging_face(data, name, keep)
    table, media = _with_files(_arrow(data, name, id_column), keep)
    check_names(name, table.column_names)
    check_rows([name], len(table))
    known = {"path": media[0]} if len(media) == 1 else {}
    return Rows(name, table, "table", ((os.getcwd(), len(table)),), known=known, numbered=bool(media))


def _arrow(data: Any, name: str, id_column: str | None) -> pa.Table:
    """Without metadata: that of pandas holds its version, and the rows would be others with the next one."""
    try:
        if _is(data, "pandas", "DataFrame"):
            from_index = id_column is not None and id_column in data.index.names and id_column not in data.columns
            frame = (data.reset_index() if from_index else data).rename(columns=str)
            if repeated := sorted(set(frame.columns[frame.columns.duplicated()])):
                raise ManifestError(f"{name!r}: columns named more than once: {listing(repeated)}")
            table = pa.Table.from_pandas(frame, preserve_index=False)
        elif _is(data, "polars", "DataFrame"):
            table = data.to_arrow()
        else:
            table = pa.table(data)
    except pa.ArrowException as error:
        reason = "; ".join(map(str, error.args))  # of several the last names the column
        raise ManifestError(
            f"{name!r}: a column cannot be read: {' '.join(reason.split())}",
            hint="each column needs one type; pictures go in as a list with labels=, or as paths",
        ) from error
    return without_views(table.replace_schema_metadata(None))


def _with_files(table: pa.Table, keep: FileKeeper) -> tuple[pa.Table, list[str]]:
    """Columns of embedded files (a struct of bytes and path, as Hugging Face writes them) as columns of paths."""
    media = []
    for position, field in enumerate(table.schema):
        if isinstance(field.type, pa.ExtensionType):
            chunks = [chunk.storage for chunk in table[field.name].chunks]
            table = table.set_column(position, field.name, pa.chunked_array(chunks, field.type.storage_type))
        elif pa.types.is_struct(field.type) and {"bytes", "path"} == {child.name for child in field.type}:
            media.append(field.name)
            paths = (_file_of(cell, keep) for chunk in table[field.name].chunks for cell in chunk)
            table = table.set_column(position, field.name, pa.array(paths, pa.string()))
    return table, media


def _file_of(cell: pa.Scalar, keep: FileKeeper) -> str | None:
    """Path of an embedded file; None where there is neither bytes nor path."""
    value = cell.as_py()
    if not value:
        return None
    if not value["bytes"]:
        return value["path"]
    data = value["bytes"]
    return keep.file(data, ending_of(data) or PurePath(value["path"] or "").suffix.lower())


def _hugging_face(data: Any, name: str, keep: FileKeeper) -> Rows:
    """The splits of a DatasetDict one after the other, with a column `split`."""
    parts = dict(data) if _is(data, "datasets", "DatasetDict") else {"": data}
    tables = []
    for split, part in parts.items():
        if part.column_names != next(iter(parts.values())).column_names:
            raise ManifestError(
                f"the splits have different columns: {listing(part.column_names)} in {split!r}",
                hint="select_columns() those that all have, or audit one split",
            )
        for batch in part.with_format("arrow").iter(batch_size=BATCH):
            table, _ = _with_files(batch.replace_schema_metadata(None), keep)
            table = _class_names(table, part.features)
            if split and "split" not in table.column_names:
                table = table.append_column("split", pa.array([split] * len(table), pa.string()))
            tables.append(table)
    check_rows([name], sum(map(len, tables)))
    table = pa.concat_tables(tables, promote_options="permissive")
    check_names(name, table.column_names)
    features = next(iter(parts.values())).features
    media = [column for column, kind in features.items() if type(kind).__name__ in ("Image", "Audio")]
    classes = {column: tuple(kind.names) for column, kind in features.items() if type(kind).__name__ == "ClassLabel"}
    known = {role: found[0] for role, found in (("path", media), ("label", list(classes))) if len(found) == 1}
    return Rows(
        name,
        table,
        "table",
        ((os.getcwd(), len(table)),),
        known=known,
        numbered=bool(media),
        classes=classes,
        notes=tuple(f"{role}s from {column!r}, by its type" for role, column in known.items()),
    )


def _class_names(table: pa.Table, features: Mapping[str, Any]) -> pa.Table:
    """Numbers of ClassLabel columns as the names of the classes."""
    for column, kind in features.items():
        if type(kind).__name__ == "ClassLabel":
            named, _ = name_classes(table[column], kind.names, f"column {column!r}")
            table = table.set_column(table.schema.get_field_index(column), column, named)
    return table


# --- labels ---------------------------------------------------------------------------------------------------------


def name_classes(column: Any, classes: Sequence[str], where: str) -> tuple[pa.Array, tuple[str, ...]]:
    """Labels as names of `classes`, null where missing; and the classes in their order.

    Numbers count `classes` from 0, -1 is missing; names must be among them. Raises ManifestError.
    """
    if isinstance(classes, str):
        raise ManifestError(f"classes= is {classes!r:.60}, expected a list of names")
    names = tuple(map(str, classes))
    if len(set(names)) < len(names):
        raise ManifestError(f"classes= names a class twice: {listing(names)}")
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values = column.to_pylist()
    known = set(names)
    strange = []
    result: list[str | None] = []
    for row, value in enumerate(values):
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if value is None or number == MISSING:
            result.append(None)
        elif isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(names):
            result.append(names[number])
        elif isinstance(value, str) and value in known:
            result.append(value)
        else:
            strange.append((row, value))
            result.append(None)
    if strange:
        row, value = strange[0]
        raise ManifestError(
            f"{where}: no class in {len(strange):,} of {len(values):,} labels, first {value!r:.60} in row {row}",
            hint=f"expected a number from 0 to {len(names) - 1}, or one of {listing(names)}; None where there is none",
        )
    return pa.array(result, pa.string()), names


def label_array(labels: Any) -> pa.Array:
    """(n,) labels of any kind of sequence. Raises ManifestError."""
    if isinstance(labels, pa.ChunkedArray):
        return labels.combine_chunks()
    if isinstance(labels, pa.Array):
        return labels
    if _is(labels, "polars", "Series"):
        return labels.to_arrow()
    if not hasattr(labels, "__len__"):
        raise ManifestError(f"labels are {labels!r:.60}, expected (n,): one per row")
    array = _numpy(labels) if hasattr(labels, "__array__") else None
    if array is not None and array.ndim != 1:
        hint = "labels in one-hot form: .argmax(axis=1)" if array.ndim == 2 and array.shape[1] > 1 else "use .ravel()"
        raise ManifestError(f"labels have shape {array.shape}, expected (n,): one per row", hint=hint)
    values = list(labels) if array is None or array.dtype == object or array.dtype.kind == "U" else array
    try:
        if isinstance(values, list):
            values = [value.item() if hasattr(value, "item") else value for value in values]
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, ValueError) as error:
        kinds = listing(sorted({type(value).__name__ for value in labels}), 5)
        raise ManifestError(
            f"labels hold {kinds}, expected strings, integers or booleans of one kind: {' '.join(str(error).split())}",
            hint="e.g. [str(label) for label in labels], with None where there is no label",
        ) from error


# --- arrays, pictures and torch datasets ----------------------------------------------------------------------------


def _of_pairs(data: Any, labels: Any, name: str, classes: Sequence[str] | None, keep: FileKeeper) -> Rows:
    """Inputs and labels, row by row."""
    if _is(data, "torch.utils.data", "Dataset"):
        if labels is not None:
            raise ManifestError("labels are given beside a torch Dataset", hint="it yields (input, label)")
        inputs, given = _of_torch(data, keep)
        classes = getattr(data, "classes", None) if classes is None else classes
    else:
        if labels is None and isinstance(data, tuple) and len(data) == 2:
            data, labels = data
        if labels is None:
            raise ManifestError(f"cannot audit a {type(data).__name__} alone", hint=f"give {TAKEN}")
        given = label_array(labels)
        inputs = np.zeros((len(given), 0), np.float32) if data is None else _inputs(data, keep)
    if len(inputs) != len(given):
        raise ManifestError(
            f"{len(inputs):,} inputs and {len(given):,} labels", hint="row i of both must be the same sample"
        )
    check_rows([name], len(given))
    order: dict[str, tuple[str, ...]] = {}
    if classes is not None:
        given, order["label"] = name_classes(given, classes, "labels")
    columns: dict[str, Any] = {"id": np.arange(len(given)).astype(str).tolist(), "label": given}
    known = {"id": "id", "label": "label"}
    features = inputs if isinstance(inputs, np.ndarray) else None
    if features is None:
        columns, known = {"id": columns["id"], "path": inputs, "label": given}, known | {"path": "path"}
    folders = ((os.getcwd(), len(given)),)
    return Rows(name, pa.table(columns), "arrays", folders, known=known, features=features, classes=order)


def _inputs(data: Any, keep: FileKeeper) -> np.ndarray | list[str]:
    """(n, d) float32 vectors, or n paths of pictures."""
    if hasattr(data, "tocsr"):
        raise ManifestError("X is a sparse matrix", hint="use X.toarray(), or fewer, dense columns (TruncatedSVD)")
    if isinstance(data, Sequence) and not isinstance(data, str | bytes) and len(data):
        if _is_picture(data[0]):
            return [keep.picture(_checked_picture(item, row)) for row, item in enumerate(data)]
        if hasattr(data[0], "shape") and len(data[0].shape) in (2, 3):
            return [_keep_array(_channels_last(item), f"row {row} of X", keep) for row, item in enumerate(data)]
    try:
        array = _numpy(data)
    except ValueError as error:  # lists of different lengths
        raise ManifestError(f"X is no array: {error}", hint="every row needs the same length") from error
    if array.dtype.kind not in "fiub":
        raise ManifestError(
            f"X has type {array.dtype}, expected numbers (n, d), pictures (n, h, w, c), or a list of PIL pictures",
            hint="X.astype(float) where the cells are numbers; text needs embeddings first; paths of files go into a "
            "table with their labels: pandas.DataFrame({'path': X, 'label': y})",
        )
    if array.ndim == 2:
        return check_features("X", array.astype(np.float32) if array.dtype == bool else array)
    if array.ndim == 1:
        raise ManifestError(f"X has shape {array.shape}, expected (n, d)", hint="one number per row: X.reshape(-1, 1)")
    if array.ndim not in (3, 4):
        raise ManifestError(f"X has shape {array.shape}, expected (n, d) or (n, h, w, c)")
    array = _channels_last(data) if array.ndim == 4 else array
    channels = array.shape[3] if array.ndim == 4 else 1
    parts = (bytes_of(array[start : start + BLOCK], "X", channels) for start in range(0, len(array), BLOCK))
    return [keep.picture(pixels) for part in parts for pixels in part]


def _is_picture(value: Any) -> bool:
    return _is(value, "PIL.Image", "Image")


def _checked_picture(item: Any, row: int) -> Any:
    if not _is_picture(item):
        raise ManifestError(f"row {row} is a {type(item).__name__}, expected a picture as in row 0")
    return item


def _keep_array(array: np.ndarray, where: str, keep: FileKeeper) -> str:
    """One picture (h, w) or (h, w, c)."""
    return keep.picture(bytes_of(array, where, array.shape[2] if array.ndim == 3 else 1))


def _of_torch(data: Any, keep: FileKeeper) -> tuple[np.ndarray | list[str], pa.Array]:
    """Inputs and labels of a map-style dataset, one row at a time: no more than one picture is held."""
    inputs: list[Any] = []
    labels = []
    for row in range(len(data)):
        item = data[row]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise ManifestError(
                f"row {row} of the dataset is {_form(item)}, expected (input, label)",
                hint="wrap it in a Dataset whose __getitem__ returns a pair",
            )
        inputs.append(_torch_input(item[0], row, keep))
        labels.append(item[1])
    kinds = {type(value) for value in inputs}
    if len(kinds) > 1:
        raise ManifestError("some rows of the dataset are pictures and some are vectors, expected one kind")
    given = label_array(labels)
    if kinds <= {str}:
        return inputs, given
    lengths = sorted({len(value) for value in inputs})
    if len(lengths) > 1:
        raise ManifestError(f"the vectors of the dataset have {lengths[0]} to {lengths[-1]} numbers, expected as many")
    return check_features("the dataset", np.stack(inputs)), given


def _form(item: Any) -> str:
    return f"a {type(item).__name__}" + (f" of {len(item)}" if isinstance(item, tuple | list) else "")


def _torch_input(value: Any, row: int, keep: FileKeeper) -> str | np.ndarray:
    """Path of a picture, or a vector (d,)."""
    if _is_picture(value):
        return keep.picture(value)
    if not hasattr(value, "shape"):
        raise ManifestError(
            f"the input of row {row} is a {type(value).__name__}, expected a tensor, an array or a PIL picture"
        )
    array = _numpy(value)
    if array.ndim == 1:
        return array
    if array.ndim in (2, 3):
        return _keep_array(_channels_last(value), f"the input of row {row}", keep)
    raise ManifestError(f"the input of row {row} has shape {array.shape}, expected (c, h, w) or (d,)")


def _channels_last(value: Any) -> np.ndarray:
    """Pictures as arrays. Channels of a tensor come first, as torch has them, unless they cannot be there."""
    array = _numpy(value)
    first = _is(value, "torch", "Tensor") and array.ndim > 2 and array.shape[-3] in CHANNELS
    return np.moveaxis(array, -3, -1) if first else array


def _numpy(value: Any) -> np.ndarray:
    if _is(value, "torch", "Tensor"):
        value = value.detach().cpu()
        return (value.float() if value.is_floating_point() else value).numpy()  # NumPy has no bfloat16
    return value.to_numpy() if hasattr(value, "to_numpy") else np.asarray(value)


def _own_features(features: Any, n: int) -> np.ndarray:
    """(n, d) float32 that the user gives beside a table."""
    array = check_features("features", _numpy(features))
    if len(array) != n:
        raise ManifestError(
            f"features have {len(array):,} rows, the data have {n:,}", hint="both need the same rows in the same order"
        )
    return array

"""Evidence that the user brings: the history of their own training, probabilities of their own models, or both.

Everything is held against the manifest first. What does not fit is refused with its name, never guessed.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa

from cleanlab_lite.addresses import unsigned
from cleanlab_lite.errors import EvidenceError, ManifestError
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.evidence.history import HELD_OUT, History
from cleanlab_lite.evidence.recorder import read_history
from cleanlab_lite.files import load_arrays, reading
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.readers.tabular import READERS
from cleanlab_lite.text import counted, listing

SUM = 0.01  # by which a row of probabilities may miss 1: half precision, printed digits


def own_evidence(
    manifest: Manifest,
    *,
    history: str | os.PathLike[str] | None,
    pred_probs: str | os.PathLike[str] | np.ndarray | None,
) -> Evidence | None:
    """A folder of `Recorder.save` and a file of probabilities, with the vectors of the manifest if it has any.

    None where neither is given. The probabilities are a table (CSV, TSV, JSONL, Parquet) with a column per class, named
    like it, and perhaps the manifest's column of ids, by which the rows are then matched; or an .npy file (n, k) with
    its columns in the order of `manifest.classes`. That they come from models that did not train on the row is the
    user's promise. An array (n, k) is taken like an .npy file.

    Raises EvidenceError when something does not fit the manifest.
    """
    if history is None and pred_probs is None:
        return None
    return Evidence(
        labels=manifest.labels,
        num_classes=manifest.num_classes,
        history=None if history is None else load_history(Path(history), manifest),
        features=None if manifest.is_bare else manifest.features,
        pred_probs=None if pred_probs is None else load_pred_probs(pred_probs, manifest),
    )


def load_history(folder: Path, manifest: Manifest) -> History:
    """The history in `folder` in the manifest's own numbers of the classes.

    Which class a recorded number stands for is read off the labels, which must agree in every row that was recorded.
    """
    history, num_classes = read_history(folder)
    n, k = len(manifest), manifest.num_classes
    if history.shape[2] != n:
        raise EvidenceError(
            f"the history in {folder} is of {history.shape[2]:,} samples, the manifest has {n:,} rows",
            hint="record with num_samples = rows of this manifest, and ids = row numbers from 0",
        )
    if num_classes != k:
        raise EvidenceError(
            f"the history in {folder} is of {num_classes} classes, the manifest has {k}: {listing(manifest.classes)}"
        )
    recorded = history.trained_on[0]
    both = np.flatnonzero((recorded != HELD_OUT) & (manifest.labels >= 0))
    if not len(both):
        raise EvidenceError(f"the history in {folder} has no row that the manifest labels")
    pairs, counts = np.unique(np.stack([recorded[both], manifest.labels[both]]), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    meaning = np.full(num_classes, -1)  # recorded number -> class
    for number, label in pairs[:, order].T:
        if meaning[number] < 0 and label not in meaning:
            meaning[number] = label
    other = both[meaning[recorded[both]] != manifest.labels[both]]
    if len(other):
        number = int(recorded[other[0]])
        name = manifest.classes[meaning[number]] if meaning[number] >= 0 else "another class"
        given = manifest.classes[manifest.labels[other[0]]]
        raise EvidenceError(
            f"the history in {folder} has other labels than the manifest in {len(other):,} of {len(both):,} rows; the "
            f"first is {str(manifest.ids[other[0]])!r}: the manifest says {given!r}, "
            f"it was recorded as {number}, which elsewhere is {name!r}",
            hint="record the given labels, and ids that are row numbers of this manifest",
        )
    missing = np.flatnonzero(meaning < 0)
    if len(missing) == 1:
        meaning[missing] = np.setdiff1d(np.arange(k), meaning)
    in_manifest = np.append(meaning, -1).astype(np.int32)  # the last one is for -1
    trained_on = np.where(manifest.labels >= 0, in_manifest[recorded], HELD_OUT).astype(np.int32)
    return History(history.loss, history.margin, in_manifest[history.predicted], trained_on[None])


def load_pred_probs(given: str | os.PathLike[str] | np.ndarray, manifest: Manifest) -> np.ndarray:
    """(n, k) float32 probabilities, rows and columns in the order of the manifest, each row with the sum 1."""
    if isinstance(given, str | os.PathLike):
        path: Path | str = Path(given)
        is_matrix = Path(given).suffix.lower() == ".npy"
        probabilities = _read_matrix(Path(given), manifest) if is_matrix else _named_columns(Path(given), manifest)
    else:
        path, probabilities = "pred_probs", _matrix("pred_probs", np.asarray(given), manifest)
    bad = ~np.isfinite(probabilities).all(axis=1) | (probabilities < 0).any(axis=1)
    if bad.any():
        raise EvidenceError(
            f"{path}: values that are negative, missing, NaN or infinite in {bad.sum():,} of "
            f"{counted(len(bad), 'row')}; the first is that of {str(manifest.ids[bad.argmax()])!r}",
            hint="every row of the manifest needs a probability for every class",
        )
    sums = probabilities.sum(axis=1)
    off = np.abs(sums - 1) > SUM
    if off.any():
        raise EvidenceError(
            f"{path}: {off.sum():,} of {counted(len(off), 'row')} with a sum other than 1; the first is that of "
            f"{str(manifest.ids[off.argmax()])!r}, with {sums[off.argmax()]:.3g}",
            hint="are these logits, or scores per class? Take the softmax first",
        )
    return (probabilities / sums[:, None]).astype(np.float32)


def _read_matrix(path: Path, manifest: Manifest) -> np.ndarray:
    with reading(f"cannot read {path}", EvidenceError, hint="save numbers (n, k) with numpy.save"):
        return _matrix(str(path), load_arrays(path), manifest)


def _matrix(path: str, array: np.ndarray | dict[str, np.ndarray], manifest: Manifest) -> np.ndarray:
    expected = (len(manifest), manifest.num_classes)
    if not isinstance(array, np.ndarray) or array.shape != expected or array.dtype.kind not in "fiu":
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise EvidenceError(
            f"{path} holds {found}, expected numbers {expected}: a row per row of the manifest, a column per class in "
            f"the order {listing(manifest.classes)}",
            hint="a CSV or Parquet file with the classes as names of its columns leaves no doubt",
        )
    return array.astype(np.float64)


def _named_columns(path: Path, manifest: Manifest) -> np.ndarray:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise EvidenceError(f"{path}: unknown ending {path.suffix!r}, expected .npy or {', '.join(READERS)}")
    try:
        table = reader([str(path)]).table
    except (ManifestError, OSError) as error:
        reason = error.message if isinstance(error, ManifestError) else str(error)
        raise EvidenceError(f"cannot read {path}: {reason}", hint="expected a column per class") from error
    source = manifest.source
    id_names = {source.id_column or source.path_column or "id"} - set(manifest.classes)
    ids = next((name for name in table.column_names if name in id_names), None)
    columns = [name for name in table.column_names if name != ids]
    lacking = [name for name in manifest.classes if name not in columns]
    unknown = [name for name in columns if name not in manifest.classes]
    if lacking or unknown:
        raise EvidenceError(
            f"{path} does not have the classes of the manifest as columns"
            + (f"; lacking: {listing(lacking)}" if lacking else "")
            + (f"; not a class: {listing(unknown)}" if unknown else ""),
            hint="name each column like the label in the manifest, and leave out all others",
        )
    if len(table) != len(manifest):
        raise EvidenceError(
            f"{path} has {len(table):,} rows, the manifest has {len(manifest):,}",
            hint="both need the same rows, in the same order or with the manifest's ids",
        )
    probabilities = np.stack([_numbers(path, table[name], name) for name in manifest.classes], axis=1)
    return probabilities if ids is None else probabilities[_places(path, table[ids], ids, manifest)]


def _numbers(path: Path, column: pa.ChunkedArray, name: str) -> np.ndarray:
    """(n,) float64, NaN for null."""
    try:
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise EvidenceError(f"{path}: column {name!r} does not hold numbers: {error}") from error


def _places(path: Path, column: pa.ChunkedArray, name: str, manifest: Manifest) -> np.ndarray:
    """(n,) row of the file for each row of the manifest."""
    keys = column.cast(pa.string()).fill_null("").to_pylist()
    found = keys if manifest.source.id_column else unsigned(keys)  # as ids are made of paths
    place = {key: row for row, key in enumerate(found)}
    absent = [key for key in manifest.ids.tolist() if key not in place]
    if absent or len(place) < len(found):
        raise EvidenceError(
            f"{path}: column {name!r} does not name every row of the manifest once; "
            + (f"{len(absent):,} absent, the first is {absent[0]!r}" if absent else "some occur twice"),
            hint="leave the column out where the rows are in the order of the manifest",
        )
    return np.array([place[key] for key in manifest.ids.tolist()])

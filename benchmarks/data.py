"""Datasets with known truth: a folder of `manifest_<labels>.csv` (path,label), `truth.csv` (path,true_label) and,
for `--features`, `embeddings.npy` with the rows of `truth.csv`.

A true label that is not among the manifest's labels belongs to a row of no class in the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from cleanlab_lite.errors import ManifestError


@dataclass(frozen=True)
class Dataset:
    """One label set of a folder; n rows in manifest order."""

    folder: str  # its name
    labels: str  # name of the label set
    manifest: Path
    features: Path | None  # (n, d) float16 or float32 .npy with the rows of the manifest
    given: np.ndarray  # (n,) str
    truth: np.ndarray  # (n,) str


def label_sets(folder: Path) -> list[str]:
    """Names of the label sets of a folder. Raises ManifestError when there is none."""
    names = sorted(path.stem.removeprefix("manifest_") for path in folder.glob("manifest_*.csv"))
    if not names:
        raise ManifestError(f"{str(folder)!r} holds no manifest_<labels>.csv", hint="name a folder with known truth")
    return names


def load(folder: Path, labels: str, *, features_to: Path | None = None) -> Dataset:
    """One label set with its truth, matched by path.

    Args:
        features_to: where to write the embeddings of the manifest's rows; None: the samples are the files themselves.

    Raises:
        ManifestError: no such label set, a path without truth or with two, or embeddings that do not fit the truth.
    """
    manifest = folder / f"manifest_{labels}.csv"
    if not manifest.is_file():
        raise ManifestError(f"{str(manifest)!r} does not exist", hint=f"known: {', '.join(label_sets(folder))}")
    paths, given = _columns(manifest, "path", "label")
    known, truth = _columns(folder / "truth.csv", "path", "true_label")
    position = {path: row for row, path in enumerate(known)}
    if len(position) < len(known):
        raise ManifestError(f"truth.csv of {str(folder)!r} names {len(known) - len(position)} paths more than once")
    missing = [path for path in paths if path not in position]
    if missing:
        raise ManifestError(f"{len(missing)} paths of {manifest.name} have no truth, the first: {missing[0]!r}")
    rows = np.array([position[path] for path in paths])
    if features_to is not None:
        embeddings = np.load(folder / "embeddings.npy", mmap_mode="r")
        if len(embeddings) != len(known):
            raise ManifestError(f"embeddings.npy has {len(embeddings)} rows, truth.csv has {len(known)}")
        np.save(features_to, embeddings[rows])
    return Dataset(folder.name, labels, manifest, features_to, given, truth[rows])


def write_unused(folder: Path, labels: str, count: int, target: Path, seed: int = 0) -> Path:
    """A manifest of rows that a label set does not have, with their true labels: `count` of them at most, by chance.

    Raises ManifestError where it has all of them.
    """
    used, _ = _columns(folder / f"manifest_{labels}.csv", "path", "label")
    paths, truth = _columns(folder / "truth.csv", "path", "true_label")
    left = np.flatnonzero(~np.isin(paths, used))
    if not len(left):
        raise ManifestError(f"manifest_{labels}.csv of {str(folder)!r} has all rows whose truth is known")
    rows = np.random.default_rng(seed).permutation(left)[:count]
    files = [str(folder / path) for path in paths[rows].tolist()]
    pc.write_csv(pa.table({"path": files, "label": truth[rows].tolist()}), target)
    return target


def _columns(path: Path, *names: str) -> list[np.ndarray]:
    """Columns of a CSV file as (n,) str."""
    options = pc.ConvertOptions(include_columns=names, column_types=dict.fromkeys(names, "string"))
    table = pc.read_csv(path, convert_options=options)
    return [np.array(table[name].to_pylist(), dtype=str) for name in names]

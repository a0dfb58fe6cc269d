"""Small data sets on disk for the tests that run the whole audit, and what a run folder must hold."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OPTIONS = {"epochs": 4, "batch_size": 16, "ensemble": 2, "device": "cpu"}
QUICK = tuple(text for name, value in OPTIONS.items() for text in (f"--{name.replace('_', '-')}", str(value)))
CLASSES = ("cat", "dog", "owl")
FILES = {  # of every run folder, beside pruned.* and corrected.*
    "classes.parquet",
    "duplicates.parquet",
    "features.npy",
    "history.parquet",
    "log.jsonl",
    "noise_matrix.parquet",
    "provenance.parquet",
    "proxies.safetensors",
    "report.parquet",
    "run.json",
    "summary.json",
}


@dataclass(frozen=True)
class Task:
    """n samples of k classes that anything learns at once; some labels are wrong."""

    truth: np.ndarray  # (n,) int64
    labels: np.ndarray  # (n,) int64, as given
    wrong: np.ndarray  # rows with another label than their own


def task(n: int = 150, k: int = 3, *, wrong: int = 12, seed: int = 0) -> Task:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(n) % k)
    labels = truth.copy()
    rows = np.sort(rng.choice(n, wrong, replace=False))
    labels[rows] = (labels[rows] + rng.integers(1, k, wrong)) % k
    return Task(truth, labels, rows)


def vectors(truth: np.ndarray, *, d: int = 8, seed: int = 0) -> np.ndarray:
    """(n, d) float32: unit-variance blobs, six standard deviations from the origin on an axis of their own."""
    rng = np.random.default_rng(seed)
    centers = 6 * np.eye(int(truth.max()) + 1, d)
    return (centers[truth] + rng.normal(size=(len(truth), d))).astype(np.float32)


def picture(kind: int, *, seed: int) -> Image.Image:
    """16 x 16 noise, brighter in red, green or blue: `kind` 0, 1 or 2."""
    pixels = np.random.default_rng(seed).integers(0, 90, (16, 16, 3))
    pixels[..., kind] += 120
    return Image.fromarray(pixels.astype(np.uint8))


def save_pictures(folder: Path, truth: np.ndarray, names: list[str]) -> None:
    """A picture of class truth[i] at names[i], no two alike in one call."""
    for row, (kind, name) in enumerate(zip(truth, names, strict=True)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(int(kind), seed=row).save(path)


def write_csv(path: Path, columns: dict[str, list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def vector_parquet(path: Path, given: Task) -> Path:
    """Columns `key` (an id), `embedding`, `label` and two of the owner's own."""
    n = len(given.labels)
    table = pa.table(
        {
            "key": [f"r{row:03}" for row in range(n)],
            "shot": pa.array([None if row % 7 == 0 else row / 4 for row in range(n)], pa.float32()),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors(given.truth).ravel()), 8),
            "label": pa.array([CLASSES[label] for label in given.labels]).dictionary_encode(),
            "tags": [["a", "b"][: row % 3] for row in range(n)],
        }
    )
    pq.write_table(table, path)
    return path


def fingerprints(folder: Path) -> dict[str, str]:
    """sha256 of every file under `folder`, by relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def findings(run: Path) -> dict[str, str]:
    """Fingerprints of all that two runs of the same data and options share: everything but times and process ids."""
    return {
        name: digest
        for name, digest in fingerprints(run).items()
        if name not in ("run.json", "log.jsonl", ".lock") and not name.startswith("stages/")
    }


def descendants(pid: int) -> Iterator[int]:
    """Processes that it has started, and that these have; of Linux."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield child
            yield from descendants(child)

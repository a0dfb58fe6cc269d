"""`Observation`: what one proxy saw while it learned, and its place in the run folder.

jobs/STAGE/loss.npy, margin.npy, predicted.npy   (e, n) each, memory maps that fill up while the network trains
jobs/STAGE/logits.npy, features.npy              (n, k), (n, d), when it is done
jobs/STAGE/weights.safetensors                   of the network, when it is done
jobs/STAGE/checkpoint.safetensors                where the training stands, while it goes on
jobs/history/*.npy                               (m, e, n) curves of all proxies, put together

Letters: n samples, k classes, d features, e epochs.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from cleanlab_lite.errors import ReportError
from cleanlab_lite.evidence.history import History, smallest_integer
from cleanlab_lite.files import reading
from cleanlab_lite.matrices import Matrix, OnDisk
from cleanlab_lite.run import RunFiles
from cleanlab_lite.run.layout import JOBS

CURVES = ("loss", "margin", "predicted")


@dataclass(frozen=True)
class Curves:
    """What is written after every epoch."""

    loss: np.ndarray  # (e, n) float16, cross entropy of the label, nats
    margin: np.ndarray  # (e, n) float16, logit margin of the label
    predicted: np.ndarray  # (e, n) the smallest signed integers that hold k classes; -1 where unusable

    @classmethod
    def empty(cls, epochs: int, n: int, num_classes: int) -> Curves:
        """In memory."""
        return cls(*(np.empty((epochs, n), dtype) for dtype in dtypes(num_classes)))

    def flush(self) -> None:
        """To the disk, where they lie there."""
        for array in (self.loss, self.margin, self.predicted):
            if isinstance(array, np.memmap):
                array.flush()


@dataclass(frozen=True)
class Observation:
    """What was seen while one proxy learned. All n rows are observed, trained on or not."""

    loss: np.ndarray  # (e, n) float16, cross entropy of the label, nats
    margin: np.ndarray  # (e, n) float16, logit margin of the label
    predicted: np.ndarray  # (e, n) int8, int16 or int32
    logits: Matrix  # (n, k) float32, mean over the last quarter of the epochs
    features: Matrix  # (n, FEATURES or fewer) float16, after the last epoch
    weights: Mapping[str, Tensor]  # of the first network, its buffers too


def dtypes(num_classes: int) -> tuple[np.dtype, np.dtype, np.dtype]:
    """Of the curves."""
    return np.dtype(np.float16), np.dtype(np.float16), smallest_integer(num_classes)


def begin_curves(run: RunFiles, stage: str, epochs: int, n: int, num_classes: int) -> Curves:
    """Memory maps for a training that begins. Raises ReportError when the disk has no room for them."""
    folder = _folder(run, stage)
    shapes = zip(CURVES, dtypes(num_classes), strict=True)
    return Curves(*(_allocate(folder / f"{name}.npy", (epochs, n), dtype) for name, dtype in shapes))


def continue_curves(run: RunFiles, stage: str) -> Curves:
    """Those of a training that goes on. Raises ReportError when they are damaged."""
    return Curves(*(_open(_folder(run, stage) / f"{name}.npy", "r+") for name in CURVES))


def allocate_history(run: RunFiles, stage: str, proxies: int, epochs: int, n: int, num_classes: int) -> History:
    """Memory maps for the curves of all proxies. Raises ReportError when the disk has no room for them."""
    folder = _folder(run, stage)
    shapes = zip(CURVES, dtypes(num_classes), strict=True)
    curves = {name: _allocate(folder / f"{name}.npy", (proxies, epochs, n), dtype) for name, dtype in shapes}
    trained_on = _allocate(folder / "trained_on.npy", (proxies, n), smallest_integer(num_classes))
    return History(**curves, trained_on=trained_on)


def save_observation(run: RunFiles, stage: str, seen: Observation) -> None:
    """Write what is known at the end; the curves are there."""
    for name in ("logits", "features"):
        run.write(f"{JOBS}/{stage}/{name}.npy", partial(_save, array=getattr(seen, name)))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in seen.weights.items()}
    run.write(f"{JOBS}/{stage}/weights.safetensors", lambda path: save_file(tensors, path))


def read_observation(run: RunFiles, stage: str) -> Observation:
    """What a finished stage has left, in its files. Raises ReportError when a part is missing or damaged."""
    folder = _folder(run, stage)
    # the features stay mapped: neighbours are sought by thousands of looks at some rows anywhere
    arrays: dict[str, Any] = {name: _open(folder / f"{name}.npy", "r") for name in (*CURVES, "features")}
    arrays["logits"] = OnDisk.of(_open(folder / "logits.npy", "r"))
    path = folder / "weights.safetensors"
    with _reading(path, run.folder):
        weights = load_file(path)
    return Observation(**arrays, weights=weights)


def _save(path: Path, array: np.ndarray) -> None:
    np.save(path, array)


def _folder(run: RunFiles, stage: str) -> Path:
    folder = run.path(JOBS) / stage
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _allocate(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.memmap:
    """A memory map whose room on the disk is taken now: a full disk would kill the process when it is written to."""
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate") and array.size:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot reserve
            return array
        raise ReportError(
            f"cannot write {path}: {error.strerror or error}",
            hint="check free space and permissions, or choose another --out; the same command goes on from here",
        ) from error
    return array


def _open(path: Path, mode: str) -> np.memmap:
    with _reading(path, path.parents[2]):
        return np.lib.format.open_memmap(path, mode=mode)


def _reading(path: Path, folder: Path) -> AbstractContextManager[None]:
    return reading(f"cannot read {path}", ReportError, hint=f"delete {folder} and run again")

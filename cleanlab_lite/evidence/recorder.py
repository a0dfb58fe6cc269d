"""`Recorder`: the history of somebody else's training. `save` writes it, `nlclean audit --history` reads it.

    recorder = Recorder(num_samples, num_classes)
    for epoch in range(epochs):
        for ids, x, labels in loader:
            logits = network(x)
            recorder.update(ids, logits, labels)
            ...
        recorder.end_epoch()
    recorder.save("recorded")

Logits, labels and row numbers travel together (Pleiss et al., AUM, NeurIPS 2020). Letters: n samples, k classes,
b batch, e epochs. torch is imported only where tensors were recorded.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from cleanlab_lite.errors import EvidenceError
from cleanlab_lite.evidence.history import HELD_OUT, History, statistics
from cleanlab_lite.files import load_archive, reading, whole

FILE = "history.npz"
VERSION = 1  # of the file
BUFFER = 1 << 24  # logits that wait on their device, 64 MiB, before they are fetched at once
FIELDS = {"loss": np.float16, "margin": np.float16, "predicted": np.int32}


class Recorder:
    """Loss, margin and prediction of every row after every epoch, as an audit's own proxies are recorded.

    `update` only copies the logits where they are; they come to the CPU once per epoch, or per `BUFFER` of them.
    So wrong values are reported by `end_epoch`, wrong shapes at once.
    """

    def __init__(self, num_samples: int, num_classes: int) -> None:
        if num_samples < 1 or num_classes < 2:
            raise EvidenceError(f"num_samples is {num_samples}, num_classes is {num_classes}: need at least 1 and 2")
        self.num_samples, self.num_classes = num_samples, num_classes
        self._labels = np.full(num_samples, HELD_OUT, dtype=np.int32)
        self._epochs: list[dict[str, np.ndarray]] = []
        self._waiting: list[tuple[Any, Any, Any]] = []
        self._rows = 0  # of `_waiting`
        self._now = self._nothing()

    @property
    def epochs(self) -> int:
        """Epochs that were ended."""
        return len(self._epochs)

    def update(self, ids: Any, logits: Any, labels: Any) -> None:
        """Record a batch; of a row that comes twice in an epoch the last values stay.

        Args:
            ids: (b,) integers, row of each sample in the manifest, from 0.
            logits: (b, k) before softmax, of any float type; classes numbered as in `labels`.
            labels: (b,) integers, the given label: not a corrected, smoothed or mixed one.

        All three may be tensors of torch on any device, arrays, or lists. Raises EvidenceError on wrong shapes.
        """
        batch = _copied(ids, "int64"), _copied(logits, "float32"), _copied(labels, "int64")
        shapes = [tuple(part.shape) for part in batch]
        b = len(batch[0])
        if shapes != [(b,), (b, self.num_classes), (b,)]:
            raise EvidenceError(
                f"ids, logits and labels have the shapes {shapes}, expected (b,), (b, {self.num_classes}) and (b,)"
            )
        self._waiting.append(batch)
        self._rows += b
        if self._rows * self.num_classes >= BUFFER:
            self._fetch()

    def end_epoch(self) -> None:
        """Close the epoch; rows without an update are NaN in it. Raises EvidenceError when values are wrong."""
        self._fetch()
        self._epochs.append(self._now)
        self._now = self._nothing()

    def history(self) -> History:
        """What was recorded in the epochs that were ended, of one network. Raises EvidenceError when there is none."""
        if not self._epochs:
            raise EvidenceError("no epoch was recorded", hint="call end_epoch() after every epoch")
        arrays = {name: np.stack([epoch[name] for epoch in self._epochs])[None] for name in FIELDS}
        return History(**arrays, trained_on=self._labels[None].copy())

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the epochs that were ended into `folder`, whole or not at all, and return the file."""
        history = self.history()
        path = Path(folder) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: getattr(history, name)[0] for name in FIELDS}
        with whole(path) as temporary:
            np.savez(
                temporary,
                **arrays,  # type: ignore[arg-type]
                labels=history.trained_on[0],
                num_classes=np.array(self.num_classes),
                version=np.array(VERSION),
            )
        return path

    def _nothing(self) -> dict[str, np.ndarray]:
        return {
            name: np.full(self.num_samples, -1 if dtype is np.int32 else np.nan, dtype=dtype)
            for name, dtype in FIELDS.items()
        }

    def _fetch(self) -> None:
        """Bring the waiting batches to the CPU, one transfer per kind, and keep their statistics."""
        waiting, self._waiting, self._rows = self._waiting, [], 0
        if not waiting:
            return
        ids, logits, labels = (_joined(parts) for parts in zip(*waiting, strict=True))
        for name, values, end in (("ids", ids, self.num_samples), ("labels", labels, self.num_classes)):
            if len(values) and (values.min() < 0 or values.max() >= end):
                raise EvidenceError(f"{name} must lie in 0..{end - 1}, found {values.min()}..{values.max()}")
        before = self._labels[ids]
        self._labels[ids] = labels
        other = np.flatnonzero(((before != HELD_OUT) & (before != labels)) | (self._labels[ids] != labels))
        if len(other):
            row = ids[other[0]]
            raise EvidenceError(
                f"row {row} comes with different labels, among them {labels[other[0]]}; so do {len(other):,} updates",
                hint="record the given label of the manifest, and take ids that name its rows",
            )
        for name, values in zip(FIELDS, statistics(logits, labels), strict=True):
            self._now[name][ids] = values


def read_history(folder: str | os.PathLike[str]) -> tuple[History, int]:
    """The history that a Recorder saved in `folder`, and its number of classes.

    Raises EvidenceError when there is none, when it is damaged, or of a newer version.
    """
    path = Path(folder) / FILE
    if not path.exists():
        raise EvidenceError(f"{folder} holds no {FILE}", hint="give the folder of Recorder.save()")
    with reading(f"cannot read {path}", EvidenceError, hint="save it again with Recorder.save()"):
        return _history(path, load_archive(path))


def _history(path: Path, arrays: dict[str, np.ndarray]) -> tuple[History, int]:
    if missing := sorted({*FIELDS, "labels", "num_classes", "version"} - arrays.keys()):
        raise EvidenceError(f"{path} lacks {', '.join(missing)}", hint="save it again with Recorder.save()")
    if int(arrays["version"]) > VERSION:
        raise EvidenceError(
            f"{path} has version {int(arrays['version'])}, this nlclean reads up to {VERSION}", hint="upgrade nlclean"
        )
    e, n = arrays["loss"].shape if arrays["loss"].ndim == 2 else (0, 0)
    expected = dict.fromkeys(FIELDS, (e, n)) | {"labels": (n,)}
    if not e or any(arrays[name].shape != shape for name, shape in expected.items()):
        found = {name: arrays[name].shape for name in expected}
        raise EvidenceError(f"{path} has the shapes {found}", hint="save it again with Recorder.save()")
    recorded = {name: arrays[name].astype(dtype)[None] for name, dtype in FIELDS.items()}
    return History(**recorded, trained_on=arrays["labels"].astype(np.int32)[None]), int(arrays["num_classes"])


def _copied(values: Any, dtype: str) -> Any:
    """A copy that later changes do not touch: of a tensor on its device and without its graph, else an array.

    Loops go on to write into their tensors, and captured CUDA graphs do so by themselves.
    """
    if hasattr(values, "detach"):
        return getattr(values.detach(), "float" if dtype == "float32" else "long")().clone()
    return np.array(values, dtype=dtype)


def _joined(parts: tuple[Any, ...]) -> np.ndarray:
    if not all(hasattr(part, "detach") for part in parts):
        return np.concatenate([np.asarray(part.cpu() if hasattr(part, "detach") else part) for part in parts])
    import torch

    return torch.cat(parts).cpu().numpy()

"""Checkpoints: where the training of one network stands, so that a killed run goes on inside it.

A training that is killed within an epoch goes on within it. Its state lies there twice: as it was when the epoch began,
from which the batches are drawn again, and as it is now. Before each batch that is drawn again the generator gets the
state that it had then, since what was learned in between drew from it too. On a CPU the result is the same to the bit.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cleanlab_lite.run import RunFiles
from cleanlab_lite.run.layout import JOBS
from cleanlab_lite.train.state import Capture, Tree

INTERVAL = 60.0  # seconds between two checkpoints


@dataclass(frozen=True)
class Snapshot:
    """The objects of a training at one moment."""

    tree: Tree
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, value: Any, *, constant: tuple[object, ...] = ()) -> Snapshot:
        capture = Capture(constant)
        tree = capture(value, "state")
        return cls(tree, capture.tensors)


@dataclass(frozen=True)
class Checkpoint:
    """Epoch `epoch`, counted from 0, is under way, and `steps` of its steps are done."""

    epoch: int
    steps: int
    begun: Snapshot  # before the first step
    now: Snapshot  # after the last one; `begun` itself where there is none
    generator: Tensor  # (steps, s) uint8, state of the generator before each batch was drawn
    late: Tensor | None  # (n, k) sum of logits so far, in the epochs that are averaged
    added: int  # readable rows in it whose logits of this epoch are in that sum already
    facts: dict[str, Any]  # what must be the same for the training to go on, JSON types


class GeneratorStates:
    """Of every batch of an epoch, in one block: small ones that stay would part the memory that batches leave free."""

    def __init__(self) -> None:
        self._bytes, self._count = bytearray(), 0

    def append(self, state: Tensor) -> None:
        """(s,) uint8"""
        self._bytes += state.numpy().tobytes()
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def tensor(self) -> Tensor:
        """(steps, s) uint8, a copy."""
        if not self._count:
            return torch.zeros(0, 0, dtype=torch.uint8)
        return torch.frombuffer(bytearray(self._bytes), dtype=torch.uint8).reshape(self._count, -1)


class CheckpointKeeper:
    """Leaves checkpoints of one stage of a run, at most every `INTERVAL` seconds, and finds the last one."""

    def __init__(self, run: RunFiles, stage: str) -> None:
        self.run, self.name = run, f"{JOBS}/{stage}/checkpoint.safetensors"
        self.saved = time.monotonic()

    @property
    def due(self) -> bool:
        return time.monotonic() - self.saved >= INTERVAL

    def save(self, point: Checkpoint) -> None:
        """Raises ReportError when the disk is full."""
        tensors = {f"begun/{name}": tensor for name, tensor in point.begun.tensors.items()}
        if point.steps:
            tensors |= {f"now/{name}": tensor for name, tensor in point.now.tensors.items()}
            tensors["generator"] = point.generator
        if point.late is not None:
            tensors["late"] = point.late
        trees = {"begun": point.begun.tree, "now": point.now.tree if point.steps else None}
        facts = {"epoch": point.epoch, "steps": point.steps, "added": point.added, "facts": point.facts, **trees}
        metadata = {"checkpoint": json.dumps(facts)}
        tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
        self.run.write(self.name, lambda path: save_file(tensors, path, metadata=metadata))
        self.saved = time.monotonic()

    def load(self) -> Checkpoint | None:
        """The last one; None where there is none, or none that can be read: the training then begins anew."""
        path = self.run.path(self.name)
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()["checkpoint"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception:  # no file, or whatever a damaged one makes its reader raise
            return None
        parts: dict[str, dict[str, Tensor]] = {"begun": {}, "now": {}}
        for name, tensor in tensors.items():
            part, slash, rest = name.partition("/")
            if slash:
                parts[part][rest] = tensor
        begun = Snapshot(facts["begun"], parts["begun"])
        now = Snapshot(facts["now"], parts["now"]) if facts["steps"] else begun
        generator = tensors.get("generator", torch.zeros(0, 0, dtype=torch.uint8))
        late = tensors.get("late")
        return Checkpoint(
            facts["epoch"], facts["steps"], begun, now, generator, late, facts.get("added", 0), facts["facts"]
        )

    def clear(self) -> None:
        """The training is over, or begins anew."""
        self.run.path(self.name).unlink(missing_ok=True)

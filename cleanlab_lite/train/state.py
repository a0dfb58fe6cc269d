"""The state of a training as tensors and plain values: what its objects hold, found by looking at their attributes.

No strategy and no loss describes its own state, so none can forget a part of it. Constructing them again, from the
same seed, gives the objects; restoring puts back what has changed since. Every name in STRATEGIES and LOSSES is tested.

A captured value is a tree of JSON types; tensors, arrays and generators lie beside it by name.
"""

from __future__ import annotations

import collections
import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cleanlab_lite.train.graphs import Replay

Tree = list[Any]  # [kind, ...]
SAME: Tree = ["same"]  # constructing it again gives the same
# what never changes in a training, or is kept by others: parameters by their module
CONSTANT = (
    nn.Parameter,
    torch.device,
    torch.dtype,
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    functools.partial,
    Replay,
)
KEEPS_ITSELF = (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, torch.amp.GradScaler)  # by state_dict()
SEQUENCES: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "deque": collections.deque,
}


class Capture:
    """Collects the tensors of the values that it is shown; objects seen before are not shown again."""

    def __init__(self, constant: tuple[object, ...] = ()) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._seen = {id(value) for value in constant}

    def keep(self, name: str, tensor: Tensor) -> str:
        # on its device: nobody waits for a copy that, mostly, is never read
        self.tensors[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
        return name

    def __call__(self, value: Any, name: str) -> Tree:
        if value is None or isinstance(value, bool | int | float | str):
            return ["value", value]
        if isinstance(value, np.generic):
            return ["scalar", self.keep(name, torch.from_numpy(np.array(value)))]
        if isinstance(value, CONSTANT) or id(value) in self._seen:
            return SAME
        if isinstance(value, Tensor):
            return ["tensor", self.keep(name, value)]
        if isinstance(value, np.ndarray):
            return ["array", self.keep(name, torch.from_numpy(np.ascontiguousarray(value)))]
        if isinstance(value, list | tuple | set | collections.deque):
            return [type(value).__name__, *(self(item, f"{name}.{i}") for i, item in enumerate(value))]
        if isinstance(value, dict):
            items = enumerate(value.items())
            return ["dict", *([self(key, f"{name}.{i}.key"), self(item, f"{name}.{i}")] for i, (key, item) in items)]
        self._seen.add(id(value))
        return self._of_object(value, name)

    def _of_object(self, value: Any, name: str) -> Tree:
        if isinstance(value, torch.Generator):
            return ["generator", self.keep(name, value.get_state())]
        if isinstance(value, np.random.Generator):
            return ["random", value.bit_generator.state]
        if isinstance(value, nn.Module):
            return ["module", *([key, self.keep(f"{name}.{key}", t)] for key, t in value.state_dict().items())]
        if isinstance(value, KEEPS_ITSELF):
            return ["stateful", self(value.state_dict(), name)]
        if hasattr(value, "__dict__"):
            return ["object", *([key, self(item, f"{name}.{key}")] for key, item in vars(value).items())]
        return SAME


def restore(tree: Tree, tensors: dict[str, Tensor], value: Any) -> Any:
    """What was captured, in place of `value`, which construction has made; objects are filled and stay themselves."""
    kind, *rest = tree
    if kind in READERS:
        return READERS[kind](rest, tensors, value)
    if kind in SEQUENCES:
        made = list(value) if isinstance(value, list | tuple | collections.deque) else []
        made += [None] * (len(rest) - len(made))
        return SEQUENCES[kind](restore(item, tensors, old) for item, old in zip(rest, made, strict=False))
    raise ValueError(f"unknown kind of state: {kind!r}")


def _tensor(rest: Tree, tensors: dict[str, Tensor], value: Any) -> Tensor:
    saved = tensors[rest[0]]
    if isinstance(value, Tensor) and value.requires_grad:  # an optimiser holds on to it
        with torch.no_grad():
            return value.copy_(saved)
    return saved.to(value.device, copy=True) if isinstance(value, Tensor) else saved.clone()


def _dict(rest: Tree, tensors: dict[str, Tensor], value: Any) -> dict[Any, Any]:
    old = value if isinstance(value, dict) else {}
    keys = [restore(key, tensors, None) for key, _ in rest]
    return {key: restore(item, tensors, old.get(key)) for key, (_, item) in zip(keys, rest, strict=True)}


def _generator(rest: Tree, tensors: dict[str, Tensor], value: torch.Generator) -> torch.Generator:
    return value.set_state(tensors[rest[0]].clone())  # a tensor with its own memory, or torch reads another


def _random(rest: Tree, tensors: dict[str, Tensor], value: np.random.Generator) -> np.random.Generator:
    value.bit_generator.state = rest[0]
    return value


def _module(rest: Tree, tensors: dict[str, Tensor], value: nn.Module) -> nn.Module:
    value.load_state_dict({key: tensors[name] for key, name in rest})
    return value


def _stateful(rest: Tree, tensors: dict[str, Tensor], value: Any) -> Any:
    value.load_state_dict(restore(rest[0], tensors, None))
    return value


def _object(rest: Tree, tensors: dict[str, Tensor], value: Any) -> Any:
    for key, item in rest:
        if item != SAME:
            object.__setattr__(value, key, restore(item, tensors, getattr(value, key, None)))  # frozen ones, too
    return value


READERS: dict[str, Callable[[Tree, dict[str, Tensor], Any], Any]] = {
    "same": lambda rest, tensors, value: value,
    "value": lambda rest, tensors, value: rest[0],
    "scalar": lambda rest, tensors, value: tensors[rest[0]].numpy()[()],
    "tensor": _tensor,
    "array": lambda rest, tensors, value: tensors[rest[0]].numpy().copy(),
    "dict": _dict,
    "generator": _generator,
    "random": _random,
    "module": _module,
    "stateful": _stateful,
    "object": _object,
}

"""Products of matrices and the like on a device, for what is computed without torch otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from cleanlab_lite.judge.neighbors import Search, Top, on_host
from cleanlab_lite.train.memory import out_of_memory


def products_on(device: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The product of two float32 matrices (a, b) and (b, c), as `running_on` computes it."""
    call = running_on(device)

    def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return call(_product, left, right)[0]

    return multiply


def _product(left: Any, right: Any, library: Any) -> tuple[Any]:
    return (library.matmul(left, right),)


def running_on(device: str) -> Callable[..., tuple[np.ndarray, ...]]:
    """Calls a function of arrays and of the library that computes it: of torch on the device, in full precision.

    With NumPy on the host where memory ends.
    """

    def call(function: Callable[..., tuple[Any, ...]], *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        try:
            there = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays)
            return tuple(result.cpu().numpy() for result in function(*there, torch))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        return function(*arrays, np)

    return call


def searching_on(device: str) -> Search:
    """`judge.neighbors.on_host` by torch on the device, in full precision; on the host where memory ends."""

    def search(pool: np.ndarray) -> Top:
        try:
            there = torch.from_numpy(np.ascontiguousarray(pool)).to(device)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return on_host(pool)

        def top(rows: np.ndarray, own: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            try:
                products = torch.from_numpy(np.ascontiguousarray(rows)).to(device) @ there.T
                inside = np.flatnonzero(own >= 0)
                products[torch.from_numpy(inside).to(device), torch.from_numpy(own[inside]).to(device)] = -torch.inf
                values, columns = products.topk(k, dim=1, sorted=False)
                return columns.cpu().numpy(), values.cpu().numpy()
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            return on_host(pool)(rows, own, k)

        return top

    return search

"""Products of matrices on a device, for what is computed without torch otherwise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from cleanlab_lite.train.memory import out_of_memory


def products_on(device: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The product of two float32 matrices (a, b) and (b, c), by torch on the device, in full precision."""

    def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        try:
            a, b = (torch.from_numpy(np.ascontiguousarray(matrix)).to(device) for matrix in (left, right))
            return (a @ b).cpu().numpy()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        return np.matmul(left, right)

    return multiply

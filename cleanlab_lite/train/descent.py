"""`SGD`: torch's, without its compiler.

Optimisers import the compiler only to tell it that it is not to compile them. That takes 1.5 CPU seconds of every
process that trains, as much as torch itself, and nothing here is compiled.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

_PLAIN_STEP = inspect.unwrap(torch.optim.SGD.step)  # without what turns gradients off, and the compiler


class SGD(torch.optim.SGD):
    """Stochastic gradient descent with momentum, as `torch.optim.SGD` does it."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        _PLAIN_STEP(self, closure)

    # these are wrapped for the compiler
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

"""The signature that every loss has, and the table of losses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cleanlab_lite.registry import Registry

LOSSES = Registry("loss")

LossFunction = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits (b, k), targets (b,) or (b, k), index (b,) -> (b,)


def log_probabilities(logits: Tensor) -> Tensor:
    """(b, k) log-softmax in float32 at least, whatever autocast says."""
    return torch.log_softmax(logits.double() if logits.dtype == torch.float64 else logits.float(), dim=1)


def of_target(values: Tensor, targets: Tensor) -> Tensor:
    """(b,) values[i, targets[i]] for hard targets, sum_k targets[i, k] * values[i, k] for soft ones."""
    if targets.dim() == 1:
        return values.gather(1, targets[:, None])[:, 0]
    return (targets.to(values.dtype) * values).sum(dim=1)

"""The signature that every loss has, the table of losses, and the few lines that most of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.registry import NoFacts, Registry

LOSSES = Registry("loss", NoFacts)

# logits (b, k), targets (b,) or (b, k), index (b,) -> (b,)
#
# The one hook: a loss whose weights follow a schedule also has `start_epoch(epoch: int) -> None`, which training
# calls before each epoch, counted from 0. It depends on the epoch only, so a resumed run needs nothing more.
# A loss with memory also has `state_dict() -> dict[str, Tensor]` and `load_state_dict(state)`, for checkpoints.
LossFunction = Callable[[Tensor, Tensor, Tensor], Tensor]

FEW_CLASSES = 20


def full_precision(logits: Tensor) -> Tensor:
    """Half-precision logits as float32; float32 and float64 as they are."""
    return logits if logits.dtype == torch.float64 else logits.float()


def log_probabilities(logits: Tensor) -> Tensor:
    """(b, k) log-softmax in float32 at least, whatever autocast says."""
    return torch.log_softmax(full_precision(logits), dim=1)


def of_target(values: Tensor, targets: Tensor) -> Tensor:
    """(b,) values[i, targets[i]] for hard targets, sum_k targets[i, k] * values[i, k] for soft ones.

    A label outside 0..k-1 raises RuntimeError on the CPU and fails a device assertion on a GPU.
    """
    if targets.dim() == 1:
        return values.gather(1, targets[:, None])[:, 0]
    return (targets.to(values.dtype) * values).sum(dim=1)


def of_log_probability(value: Callable[[Tensor], Tensor]) -> LossFunction:
    """The loss whose value for class k is `value(log p_k)`, element by element."""

    def loss(logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        log_p = log_probabilities(logits)
        if targets.dim() == 1:  # select first: k times less to compute
            return value(of_target(log_p, targets))
        return of_target(value(log_p), targets)

    return loss


def or_default(given: float | None, num_classes: int, few: float, many: float) -> float:
    """`given`, else the value published for CIFAR-10 (up to 20 classes) or that for CIFAR-100."""
    if given is not None:
        return given
    return few if num_classes <= FEW_CLASSES else many


def reject(loss: str, problems: Mapping[str, bool], *, hint: str = "") -> None:
    """Raise ConfigError with every message whose flag is true."""
    found = [message for message, is_wrong in problems.items() if is_wrong]
    if found:
        raise ConfigError(f"loss {loss}: {'; '.join(found)}", hint=hint)

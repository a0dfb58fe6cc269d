"""Early-learning regularisation, ELR (Liu et al., NeurIPS 2020).

Networks fit the right labels first. A running mean t of what the model said about each sample remembers that phase,
and cross entropy + lam log(1 - <t, p>) pulls the prediction back to it when a wrong label would take over.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cleanlab_lite.errors import EvidenceError
from cleanlab_lite.train.losses.base import LOSSES, LossFunction, log_probabilities, of_target, or_default, reject


class EarlyLearning:
    """The loss and its memory. Every network needs its own.

    memory: (num_samples, num_classes) float32, follows the logits to their device. A row seen s times sums to
    1 - beta^s; its argmax is the class that early learning suggests.
    """

    def __init__(self, num_samples: int, num_classes: int, lam: float, beta: float) -> None:
        self.lam, self.beta = lam, beta
        self.memory = torch.zeros(num_samples, num_classes)

    def __call__(self, logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        """Take the prediction into the memory, then return CE + lam log(1 - <t, p>), which may be negative."""
        log_p = log_probabilities(logits)
        p = log_p.exp().clamp(1e-4, 1 - 1e-4)
        self.memory = self.memory.to(p.device)
        with torch.no_grad():
            t = self.beta * self.memory[index] + (1 - self.beta) * p / p.sum(dim=1, keepdim=True)
            self.memory[index] = t.to(self.memory.dtype)
        return -of_target(log_p, targets) + self.lam * torch.log1p(-(t * p).sum(dim=1))

    def state_dict(self) -> dict[str, Tensor]:
        return {"memory": self.memory}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Raises EvidenceError when the memory is that of another data set."""
        memory = state["memory"]
        if memory.shape != self.memory.shape:
            raise EvidenceError(
                f"loss elr: the saved memory is {tuple(memory.shape)}, this run needs {tuple(self.memory.shape)}",
                hint="the checkpoint belongs to another manifest; start with a new run folder",
            )
        self.memory = memory.to(self.memory.dtype).clone()


@LOSSES.register(
    "elr",
    summary="cross entropy pulled towards what was learned early",
    paper="Liu et al., NeurIPS 2020",
    needs=("index",),
)
def early_learning_regularization(
    num_samples: int, num_classes: int, *, lam: float | None = None, beta: float | None = None
) -> LossFunction:
    """Default (lam, beta): (3, 0.7) up to 20 classes, else (7, 0.9). Takes 4 * num_samples * num_classes bytes.

    Mixed inputs teach the memory about mixtures, not about rows: use it with unmixed batches.
    """
    lam, beta = or_default(lam, num_classes, 3.0, 7.0), or_default(beta, num_classes, 0.7, 0.9)
    reject(
        "elr",
        {
            f"lam is {lam}, must not be negative": not 0 <= lam < math.inf,
            f"beta is {beta}, must lie in [0, 1)": not 0 <= beta < 1,
        },
        hint="lam weighs the pull towards early predictions, beta is the inertia of their running mean",
    )
    return EarlyLearning(num_samples, num_classes, lam, beta)

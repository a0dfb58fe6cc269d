"""Static bootstrapping: the target is part label, part what the model believes (Reed et al., ICLR workshop 2015).

The belief is held constant in the gradient (in the paper it is not): it is a target, nothing to be fitted itself.
"""

from __future__ import annotations

from torch import Tensor

from cleanlab_lite.train.losses.base import LOSSES, LossFunction, log_probabilities, of_target, reject

PAPER = "Reed et al., ICLR workshop 2015"


def _check(name: str, weight: float) -> None:
    reject(
        name,
        {f"weight is {weight}, must lie in 0..1": not 0 <= weight <= 1},
        hint="weight is the share of the given label in the target, 1 is the loss ce",
    )


@LOSSES.register("bootstrap_soft", summary="target: label mixed with the predicted probabilities", paper=PAPER)
def bootstrap_soft(num_samples: int, num_classes: int, *, weight: float = 0.95) -> LossFunction:
    """-sum_k [weight t_k + (1 - weight) p_k] log p_k."""
    _check("bootstrap_soft", weight)

    def loss(logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        log_p = log_probabilities(logits)
        belief = log_p.detach().exp()
        return -weight * of_target(log_p, targets) - (1 - weight) * of_target(log_p, belief)

    return loss


@LOSSES.register("bootstrap_hard", summary="target: label mixed with the predicted class", paper=PAPER)
def bootstrap_hard(num_samples: int, num_classes: int, *, weight: float = 0.8) -> LossFunction:
    """-weight sum_k t_k log p_k - (1 - weight) max_k log p_k."""
    _check("bootstrap_hard", weight)

    def loss(logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        log_p = log_probabilities(logits)
        return -weight * of_target(log_p, targets) - (1 - weight) * of_target(log_p, log_p.argmax(dim=1))

    return loss

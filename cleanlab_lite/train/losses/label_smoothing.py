"""Label smoothing, one strength for all (Szegedy et al., CVPR 2016) or one per group of classes (Fonseca et al., 2019).

The target of class c becomes (1 - eps_c) e_c + eps_c / k. Groups smooth the classes with noisier labels more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cleanlab_lite.train.losses.base import LOSSES, LossFunction, log_probabilities, of_target, reject


def _smoothed(eps: Tensor) -> LossFunction:
    """`eps` is (k,), or (1,) for all classes alike."""

    def loss(logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        log_p = log_probabilities(logits)
        e = eps.to(log_p)
        return -of_target((1 - e) * log_p + e * log_p.mean(dim=1, keepdim=True), targets)

    return loss


@LOSSES.register("label_smoothing", summary="cross entropy with smoothed labels", paper="Szegedy et al., CVPR 2016")
def label_smoothing(num_samples: int, num_classes: int, *, eps: float = 0.1) -> LossFunction:
    """-(1 - eps) log p_y - eps mean_k log p_k."""
    reject(
        "label_smoothing",
        {f"eps is {eps}, must lie in 0..1": not 0 <= eps <= 1},
        hint="eps is the share of the target spread over all classes",
    )
    return _smoothed(torch.tensor([eps], dtype=torch.float64))


@LOSSES.register(
    "group_label_smoothing",
    summary="label smoothing, stronger for the classes named as noisy",
    paper="Fonseca et al., WASPAA 2019",
    needs=("high_noise",),
)
def group_label_smoothing(
    num_samples: int,
    num_classes: int,
    *,
    high_noise: Tensor | Sequence[int] | None = None,
    eps: float = 0.1,
    delta: float = 0.05,
) -> LossFunction:
    """Label smoothing with eps + delta for rows given a label in `high_noise`, with eps - delta for all others.

    The given label decides, never the predicted one. high_noise: class indices in 0..num_classes-1.
    """
    classes = [] if high_noise is None else [int(label) for label in high_noise]
    strange = sorted({label for label in classes if not 0 <= label < num_classes})
    reject(
        "group_label_smoothing",
        {
            "high_noise is missing": high_noise is None,
            f"high_noise holds {strange}, the classes are 0..{num_classes - 1}": bool(strange),
            f"eps - delta is {eps - delta:g}, must not be negative": not eps - delta >= 0,
            f"eps + delta is {eps + delta:g}, must not exceed 1": not eps + delta <= 1,
            f"delta is {delta}, must not be negative": not delta >= 0,
        },
        hint="high_noise lists the classes whose labels are wrong more often than most; label_smoothing needs no list",
    )
    strength = torch.full((num_classes,), eps - delta, dtype=torch.float64)
    strength[classes] = eps + delta
    return _smoothed(strength)

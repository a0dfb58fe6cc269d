"""Sparse regularisation of any loss (Zhou et al., ICCV 2021).

Any loss is robust if the network can only say permutations of one vector. Close to it: sharpen the softmax with a
temperature and add lam sum_k p_k^p, least at one-hot outputs, with lam growing from epoch to epoch.
With normalised logits the largest possible probability is far from 1 (.48 for 10 classes and tau .5), so in effect
they bound the loss. Use the raw logits for any confidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import normalize as unit_length

from cleanlab_lite.train.losses.base import LOSSES, LossFunction, full_precision, log_probabilities, or_default, reject

LOG_FLOOR = math.log(1e-7)  # probabilities below count as 1e-7: p^0.1 has no finite slope at 0
SHORT = 1e-3  # logits shorter than this are only scaled, so that a last layer of zeros has a bounded gradient


class Sparse:
    """base(z / tau) + lam rho^(epoch // every) sum_k p_k^p, where z are the logits, of unit length if `normalize`."""

    def __init__(
        self, base: LossFunction, tau: float, p: float, lam: float, rho: float, every: int, normalize: bool
    ) -> None:
        self.base, self.tau, self.p, self.normalize = base, tau, p, normalize
        self.lam, self.rho, self.every = lam, rho, every
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        self.weight = self.lam * self.rho ** (epoch // self.every)

    def __call__(self, logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        z = full_precision(logits)
        if self.normalize:
            z = unit_length(z, dim=1, eps=SHORT)
        z = z / self.tau
        penalty = (self.p * log_probabilities(z).clamp(min=LOG_FLOOR)).exp().sum(dim=1)
        return self.base(z, targets, index) + self.weight * penalty


@LOSSES.register("sparse", summary="any loss on a sharpened, sparse softmax", paper="Zhou et al., ICCV 2021")
def sparse(
    num_samples: int,
    num_classes: int,
    *,
    base: str = "ce",
    base_options: Mapping[str, Any] | None = None,
    tau: float = 0.5,
    p: float | None = None,
    lam: float | None = None,
    rho: float | None = None,
    every: int = 1,
    normalize: bool = True,
) -> LossFunction:
    """`base`, built with `base_options`, of logits / tau, plus the penalty; `start_epoch` moves its weight.

    Default (p, lam, rho): (0.1, 1.2, 1.03) up to 20 classes, else (0.01, 10, 1.02), both for normalised logits; the
    paper's MNIST networks took tau 0.1, p 0.1, lam 4, rho 2, every 5 without. In long runs lam rho^epoch takes over.
    """
    p = or_default(p, num_classes, 0.1, 0.01)
    lam, rho = or_default(lam, num_classes, 1.2, 10.0), or_default(rho, num_classes, 1.03, 1.02)
    reject(
        "sparse",
        {
            f"base is {base}, must be another loss without memory or schedule": base in ("sparse", "elr"),
            f"tau is {tau}, must be positive": not 0 < tau < math.inf,
            f"p is {p}, must lie in (0, 1]": not 0 < p <= 1,
            f"lam is {lam}, must not be negative": not 0 <= lam < math.inf,
            f"rho is {rho}, must be at least 1": not 1 <= rho < math.inf,
            f"every is {every}, must be at least 1": every < 1,
        },
        hint="tau sharpens the softmax, p is the power of the penalty, lam its weight, times rho every so many epochs",
    )
    inner: LossFunction = LOSSES.get(base).function(num_samples, num_classes, **(base_options or {}))
    return Sparse(inner, tau, p, lam, rho, every, normalize)

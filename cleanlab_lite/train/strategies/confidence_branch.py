"""Confidence branch: a second head says how far the prediction is to be trusted; where it is not, the target shows.

Lu, Bo and He, "Confidence adaptive regularization for deep learning with noisy labels", arXiv 2021; the formulas are
those of their NAL, NeurIPS 2022. With tau = sigmoid(h(x)) and a target t that starts as the given label

    p' = tau p + (1 - tau) t
    L = -sum_k t_k log p'_k - penalty log tau - beta sum_k p'_k log t_k

so the gradient on a label that the prediction contradicts is small. For a fixed prediction the best tau is
penalty / ((1 + penalty) (1 - p_y)), 1/3 for a wrong label at penalty .5 and .91 at 10: only a small penalty tells
labels apart. From `start` on t <- m t + (1 - m) p, once per epoch, from the clean pass. (The papers: after 60 of 500
epochs, every tenth; penalty .5, 10 or 50 by dataset.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor, nn

from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Observed, Setting, Strategy, reject
from cleanlab_lite.train.strategies.parts import Extended, new_linear, one_hot


class Confident(Extended):
    """A proxy with a scalar head beside the classifier."""

    def __init__(self, proxy: Any, setting: Setting) -> None:
        super().__init__(proxy)
        self.indicator = new_linear(proxy.head.in_features, 1, setting)


@STRATEGIES.register(
    "confidence_branch",
    summary="a second head learns which labels to distrust; targets drift to the predictions",
    paper="Lu, Bo and He, arXiv 2021; NeurIPS 2022",
)
class ConfidenceBranch(Strategy):
    """penalty: keeps tau from 0. beta: of the reverse term, .1 on real data. momentum of the targets. start: share."""

    reads_logits = True

    def __init__(
        self,
        setting: Setting,
        *,
        penalty: float = 0.5,
        beta: float = 0.0,
        momentum: float = 0.9,
        start: float = 0.25,
    ) -> None:
        reject(
            "confidence_branch",
            {
                f"penalty is {penalty}, must be positive (or tau falls to 0)": penalty <= 0,
                f"beta is {beta}, must not be negative": beta < 0,
                f"momentum is {momentum}, must lie in 0..1": not 0 <= momentum <= 1,
                f"start is {start}, must lie in 0..1": not 0 <= start <= 1,
            },
        )
        super().__init__(setting, lambda proxy: Confident(proxy, setting))
        self.penalty, self.beta, self.momentum = penalty, beta, momentum
        self.start = max(1, round(start * setting.epochs))
        self.estimates = one_hot(setting.targets.clamp(min=0), setting.num_classes)  # t, (n, k)

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        if epoch >= self.start and observed.logits is not None:
            s = self.setting
            belief = torch.as_tensor(softmax(observed.logits[0][s.rows].astype(np.float32), axis=1))
            rows = torch.as_tensor(s.rows, device=s.targets.device)
            t = self.estimates[rows]
            self.estimates[rows] = self.momentum * t + (1 - self.momentum) * belief.to(t)
        return super().batches(epoch, observed)

    def step(self, epoch: int, batch: Batch) -> None:
        s, learner = self.setting, self.learners[0]
        network: Any = learner.network
        with learner.precision():
            features = network.encoder(s.augment(batch.inputs))
            logits = network.head(features).float()
            indicator = network.indicator(features)[:, 0].float()
        t = self.estimates[batch.index]
        log_mixed = trusted(logits, indicator, t)
        loss = s.loss(log_mixed, t, batch.index) - self.penalty * nn.functional.logsigmoid(indicator)
        if self.beta:
            loss = loss - self.beta * (log_mixed.exp() * t.clamp(min=1e-4).log()).sum(dim=1)
        learner.update(loss.mean())


def trusted(logits: Tensor, indicator: Tensor, targets: Tensor) -> Tensor:
    """(b, k) log of tau p + (1 - tau) t, which any loss takes for logits; indicator (b,) is the logit of tau."""
    tau = indicator.sigmoid()[:, None]
    return (tau * logits.softmax(dim=1) + (1 - tau) * targets).clamp(min=1e-7).log()

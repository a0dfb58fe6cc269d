"""A robust loss that learns its own parameter: the q of generalised cross entropy, on rows that are held back.

Shu et al., "Learning adaptive loss for robust learning with noisy labels", arXiv 2020. Every few steps

    theta'(q) = theta - rate grad mean GCE_q(f_theta(x), y)          one virtual step
    q <- q - meta_rate d/dq mean M(f_theta'(x_m), y_m)               on held-back rows
    theta <- a real step with the new q

The paper has clean rows to hold back, users have not. With M = 1 - p_y, a symmetric loss, noisy ones will do: under
symmetric noise its mean is a rising line in its mean on clean labels. Cross entropy there would reward memorising.
A small learned q on noisy data is a sign of noise that depends on the class. The look-ahead of one step does not see
late memorisation, so a fixed q is the safer choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cleanlab_lite.train.augment import integers
from cleanlab_lite.train.loader import Batch
from cleanlab_lite.train.strategies.base import STRATEGIES, Observed, Setting, Strategy, reject
from cleanlab_lite.train.strategies.parts import batches_over

OBJECTIVES = ("mae", "ce")
SMALLEST = 0.01  # q


@STRATEGIES.register(
    "meta_loss",
    summary="generalised cross entropy whose q is learned on held-back rows; replaces the loss",
    paper="Shu et al., arXiv 2020",
)
class MetaLoss(Strategy):
    """q: where it starts. share: of the rows, held back. every: steps between two updates of q, at rate `meta_rate`.

    objective: "mae" (1 - p_y), or "ce", which is right only if the held-back labels are. `trajectory` holds every q.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        q: float = 0.7,
        objective: str = "mae",
        share: float = 0.1,
        every: int = 5,
        meta_rate: float = 0.05,
    ) -> None:
        reject(
            "meta_loss",
            {
                f"q is {q}, must lie in {SMALLEST}..1, without the ends": not SMALLEST < q < 1,
                f"objective is {objective!r}, must be mae or ce": objective not in OBJECTIVES,
                f"share is {share}, must lie in 0..0.5, without 0": not 0 < share <= 0.5,
                f"every is {every}, must be positive": every < 1,
                f"meta_rate is {meta_rate}, must be positive": meta_rate <= 0,
            },
        )
        super().__init__(setting)
        self.objective, self.every, self.steps = objective, every, 0
        order = setting.permutation(len(setting.rows)).cpu().numpy()
        count = max(1, round(share * len(order)))
        self.held_back, self.learned = setting.rows[order[:count]], setting.rows[order[count:]]
        start = (q - SMALLEST) / (1 - SMALLEST)
        self.phi = torch.tensor(math.log(start / (1 - start)), device=setting.targets.device, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.phi], lr=meta_rate)
        self.trajectory = [q]

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        return batches_over(self.setting, self.learned)

    def step(self, epoch: int, batch: Batch) -> None:
        s, learner = self.setting, self.learners[0]
        inputs = s.augment(batch.inputs)
        if self.steps % self.every == 0:
            drawn = integers(0, len(self.held_back) - 1, (s.batch_size,), s.generator)
            index = torch.as_tensor(self.held_back, device=drawn.device)[drawn].to(s.targets.device)
            judge = (s.samples.inputs(index), s.targets[index])
            self.phi.grad = hypergradient(
                learner.network, self.phi, (inputs, batch.targets), judge, learner.rate, self.objective
            )
            self.optimizer.step()
            self.trajectory.append(float(exponent(self.phi.detach())))
        self.steps += 1
        loss = generalized(learner.logits(inputs), batch.targets, exponent(self.phi.detach()))
        learner.update(loss.mean())


def exponent(phi: Tensor) -> Tensor:
    """q in 0.01..1 of any phi."""
    return SMALLEST + (1 - SMALLEST) * phi.sigmoid()


def generalized(logits: Tensor, targets: Tensor, q: Tensor) -> Tensor:
    """(b,) (1 - p_y^q) / q, differentiable in q."""
    log_p = logits.log_softmax(dim=1).gather(1, targets[:, None])[:, 0]
    return -torch.expm1(q * log_p) / q


def hypergradient(network: nn.Module, phi: Tensor, *step: Any) -> Tensor:
    """Derivative of `look_ahead` by phi. The network, its batch-norm statistics included, stays as it is."""
    return torch.autograd.grad(look_ahead(network, phi, *step), phi)[0]


def look_ahead(
    network: nn.Module,
    phi: Tensor,
    lesson: tuple[Tensor, Tensor],
    judge: tuple[Tensor, Tensor],
    rate: float,
    objective: str = "mae",
) -> Tensor:
    """The judge's mean loss after one virtual step on the lesson, differentiable in phi; both are (inputs, targets)."""
    weights = {n: p.detach().requires_grad_() for n, p in network.named_parameters() if p.requires_grad}

    def call(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}  # written to in the forward pass
        return functional_call(network, parameters | buffers, (inputs,))

    loss = generalized(call(weights, lesson[0]), lesson[1], exponent(phi)).mean()
    slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    moved = {name: w - rate * slope for (name, w), slope in zip(weights.items(), slopes, strict=True)}
    logits = call(moved, judge[0])
    if objective == "ce":
        return nn.functional.cross_entropy(logits, judge[1])
    return generalized(logits, judge[1], torch.ones((), device=phi.device)).mean()

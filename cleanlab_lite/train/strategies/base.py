"""What a strategy is given (`Setting`), what it moves (`Learner`), and the three verbs it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.registry import NoFacts, Registry
from cleanlab_lite.train.descent import SGD
from cleanlab_lite.train.graphs import Replay
from cleanlab_lite.train.loader import Batch, Samples
from cleanlab_lite.train.losses import LossFunction

STRATEGIES = Registry("strategy", NoFacts)

# Puts more parts around a fresh proxy. What it returns keeps `encoder`, and its forward gives logits (b, k).
Wrap = Callable[[nn.Module], nn.Module]

SHORTEST_SCHEDULE = 5  # steps; torch's one-cycle schedule divides by zero where the warm-up, a quarter, is one step


class Learner:
    """A network with its optimiser and schedule. Gradients are clipped at norm 5, whatever the scale of the loss."""

    def __init__(
        self,
        network: nn.Module,
        *,
        steps: int,
        learning_rate: float,
        weight_decay: float,
        autocast: torch.dtype | None,
        l1: float = 0.0,
        encoder_rate: float = 1.0,
        replay: Replay | None = None,
    ) -> None:
        """`replay`: where steps that `descend` is told may be recorded."""
        self.network = network
        self._replay = replay
        self._device = next(network.parameters()).device
        self._autocast = autocast
        steps = max(steps, SHORTEST_SCHEDULE)
        trained = self._trained = [p for p in network.parameters() if p.requires_grad]
        self._weights = [p for p in trained if p.dim() > 1]
        self._l1 = l1
        parts = [(trained, learning_rate)]
        if encoder_rate < 1:  # discriminative rates: Howard & Ruder, ACL 2018
            known = {id(p) for name, p in network.named_parameters() if ".encoder." in f".{name}"}
            head = [p for p in trained if id(p) not in known]
            parts = [(head, learning_rate), ([p for p in trained if id(p) in known], encoder_rate * learning_rate)]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in part if (p.dim() > 1) == heavy], "weight_decay": weight_decay * heavy, "lr": rate}
            for part, rate in parts
            for heavy in (True, False)  # biases and norms do not decay
        ]
        # on a CPU it takes memory as it lies, and kernels of convolutions may lie in another order than their momentum
        flat = self._device.type == "cpu" and all(p.dim() <= 2 for p in trained)
        fused = True if flat or self._device.type == "cuda" else None
        self._optimizer = SGD(groups, lr=learning_rate, momentum=0.9, nesterov=True, fused=fused)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            [group["lr"] for group in groups],
            total_steps=steps,
            pct_start=0.25,
            cycle_momentum=False,
        )
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=autocast is torch.float16)
        if self._scaler.is_enabled():  # the fused step leaves momenta as memory was where the first gradient overflows
            for weight in trained:
                self._optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        self._steps_left = steps - 1

    def logits(self, inputs: Tensor) -> Tensor:
        """(b, k) float32 logits of `inputs`, under the learner's precision."""
        with self.precision():
            return self.network(inputs).float()

    def precision(self) -> torch.autocast:
        """The context to run parts of the network in."""
        return torch.autocast(self._device.type, dtype=self._autocast, enabled=self._autocast is not None)

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def descend(self, loss: Callable[..., Tensor], *tensors: Tensor) -> None:
        """`update(loss(*tensors))`. The loss must depend on nothing else that changes, but for the network."""
        if self._replay is None or self._scaler.is_enabled():  # a scaler asks the device whether gradients overflowed
            return self.update(loss(*tensors))
        for group in self._optimizer.param_groups:  # where a recording finds the rate of its step
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=self._device)
        self._replay(_Descent(self, loss), *tensors)
        self._advance()

    def update(self, loss: Tensor) -> None:
        """One step down the gradient of a scalar, and of the l1 norm of the weights where that is penalised."""
        scale = self._scaler.get_scale()
        self._step(loss)
        self._scaler.update()
        if self._scaler.get_scale() >= scale:  # else the gradient overflowed, in fp16 only
            self._advance()

    def _step(self, loss: Tensor) -> None:
        if self._l1:
            loss = loss + self._l1 * sum(weight.abs().sum() for weight in self._weights)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._trained, 5.0)
        self._scaler.step(self._optimizer)

    def _advance(self) -> None:
        if self._steps_left:
            self._schedule.step()
            self._steps_left -= 1


@dataclass(frozen=True)
class _Descent:
    """A step that is equal to another one of the same learner down the same loss."""

    learner: Learner
    loss: Callable[..., Tensor]

    def __call__(self, *tensors: Tensor) -> None:
        self.learner._step(self.loss(*tensors))


@dataclass(frozen=True)
class Observed:
    """What the clean passes after each epoch so far have seen, for all n rows. Learn from `Setting.rows` only."""

    loss: np.ndarray  # (epoch, n) float16, cross entropy of the label, mean over the networks' logits
    margin: np.ndarray  # (epoch, n) float16
    predicted: np.ndarray  # (epoch, n) signed integers
    # (networks, n, k) float32 of the last pass, for strategies that declare `reads_logits`; None before the first
    logits: np.ndarray | None


@dataclass(frozen=True)
class Setting:
    """Everything a strategy may use; it reaches for nothing else."""

    samples: Samples
    rows: np.ndarray  # (r,) int64, the rows to learn from
    targets: Tensor  # (n,) int64 on the device, label to learn; -1 outside `rows` is possible
    num_classes: int
    loss: LossFunction
    epochs: int
    batch_size: int
    generator: torch.Generator  # on the device where that is CUDA, else on the host
    augment: Callable[[Tensor], Tensor]  # a batch of inputs -> the same, augmented
    augment_strongly: Callable[[Tensor], Tensor]  # -> the same, hardly recognisable
    new_learner: Callable[..., Learner]  # (wrap=None): each call initialises with another seed; see `Wrap`

    @property
    def steps_per_epoch(self) -> int:
        """What the schedule of a learner counts on."""
        return max(1, len(self.rows) // self.batch_size)

    def permutation(self, count: int) -> Tensor:
        """(count,) int64 numbers from 0 on the device, in random order."""
        order = torch.randperm(count, generator=self.generator, device=self.generator.device)
        return order.to(self.samples.device)


class Strategy:
    """Plain training; others override what differs.

    Whatever changes on the way is an attribute: a killed training goes on from the attributes (see `state`).
    """

    reads_logits = False  # of the last clean pass, which are many numbers to keep

    def __init__(self, setting: Setting, wrap: Wrap | None = None) -> None:
        self.setting = setting
        self.learners = [setting.new_learner(wrap)]

    def batches(self, epoch: int, observed: Observed) -> Iterator[Batch]:
        """The batches of one epoch."""
        s = self.setting
        return s.samples.shuffled(s.rows, s.targets, s.batch_size, s.generator)

    def step(self, epoch: int, batch: Batch) -> None:
        """Learn from one batch."""
        self.learners[0].descend(self._mean_loss, self.setting.augment(batch.inputs), batch.targets, batch.index)

    def _mean_loss(self, inputs: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        return self.setting.loss(self.learners[0].logits(inputs), targets, index).mean()


def reject(strategy: str, problems: Mapping[str, bool]) -> None:
    """Raise ConfigError with every message whose flag is true."""
    found = [message for message, is_wrong in problems.items() if is_wrong]
    if found:
        raise ConfigError(
            f"strategy {strategy}: {'; '.join(found)}", hint="`nlclean methods strategies` lists the options"
        )

"""Steps that are recorded: the same numbers as without, and no recording of a step that cannot be. CUDA: test_cuda."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cleanlab_lite.train.graphs import PLAIN_STEPS, Replay
from cleanlab_lite.train.strategies import Learner


class Recorder:
    """Records as a GPU does: the step sees memory only, and what it was given afterwards it does not."""

    def __init__(self) -> None:
        self.recorded = self.repeated = 0

    def __call__(self, step: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1

        def again() -> None:
            self.repeated += 1
            step()

        return again


def learner_of(replay: Replay | None) -> Learner:
    torch.manual_seed(0)
    return Learner(
        nn.Linear(3, 2), steps=20, learning_rate=0.5, weight_decay=0.01, autocast=None, l1=1e-3, replay=replay
    )


def test_a_recorded_step_learns_what_a_plain_one_learns():
    recorder = Recorder()
    plain, replayed = learner_of(None), learner_of(Replay(recorder))
    for step in range(12):
        inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))
        for learner in (plain, replayed):
            learner.descend(lambda x, learner=learner: learner.logits(x).square().mean(), inputs)
    assert recorder.recorded == 0  # each step was told another function

    def losses(learner: Learner) -> Callable[[Tensor], Tensor]:
        return lambda x: learner.logits(x).square().mean()

    ways = {learner: losses(learner) for learner in (plain, replayed)}
    for step in range(12):
        inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))
        for learner, loss in ways.items():
            learner.descend(loss, inputs)
    assert (recorder.recorded, recorder.repeated) == (1, 12 - PLAIN_STEPS)
    assert torch.equal(plain.network.weight, replayed.network.weight)
    assert plain.rate == pytest.approx(replayed.rate)


def test_another_shape_or_another_step_is_recorded_anew():
    recorder, seen = Recorder(), []
    replay = Replay(recorder)

    def first(x: Tensor) -> None:
        seen.append(("first", x.tolist()))

    def second(x: Tensor) -> None:
        seen.append(("second", x.tolist()))

    expected = []
    for step, count, size in ((first, 5, 1), (first, 5, 2), (second, 5, 2), (first, 2, 1)):
        for number in range(count):
            replay(step, torch.full((size,), float(number)))
            expected.append((step.__name__, [float(number)] * size))
    assert seen == expected  # every argument arrives, in its order
    assert recorder.recorded == 3


def test_a_step_that_cannot_be_recorded_is_run_as_it_is():
    def refuse(step: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    replay, seen = Replay(refuse), []

    def step(x: Tensor) -> None:
        seen.append(float(x))

    for number in range(8):
        replay(step, torch.tensor(float(number)))
    assert seen == [float(number) for number in range(8)]

"""`Replay`: a step of training as a CUDA graph, so that the GPU need not wait for the launches of its 250 small parts.

A graph repeats what was recorded, on the same memory. So what it runs may depend on nothing else that changes: its
arguments are copied to where the recording found them, and weights, momenta and statistics stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PLAIN_STEPS = 3  # before a graph is recorded: libraries choose their algorithms in them, and optimisers their buffers

Step = Callable[..., None]  # of tensors on the device
Record = Callable[[Callable[[], None]], Callable[[], None]]  # what repeats a step that is not run meanwhile


def cuda_graph(step: Callable[[], None]) -> Callable[[], None]:
    """Record `step` without running it. Raises RuntimeError for one that waits for the device, or asks it something."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class Replay:
    """Runs steps on tensors; the same step on tensors of the same shapes is recorded after `PLAIN_STEPS` of them.

    A step that cannot be recorded is run as it is from then on.
    """

    def __init__(self, record: Record = cuda_graph) -> None:
        self._record = record
        self._step: Step | None = None  # what was run last, recorded or not
        self._shapes: list[torch.Size] = []
        self._plain = 0  # steps so far
        self._held: list[Tensor] = []  # where the recording reads its arguments
        self._again: Callable[[], None] | None = None
        self._refused: set[Step] = set()

    def __call__(self, step: Step, *arguments: Tensor) -> None:
        """Run `step(*arguments)`, which must not keep the tensors."""
        if step != self._step or [each.shape for each in arguments] != self._shapes:
            self._step, self._shapes, self._plain = step, [each.shape for each in arguments], 0
            self._held, self._again = [], None  # its memory is free
        if self._plain < PLAIN_STEPS or step in self._refused:
            self._plain += 1
            return step(*arguments)
        if self._again is None:
            self._held = [each.clone(memory_format=torch.preserve_format) for each in arguments]
            try:
                self._again = self._record(lambda: step(*self._held))
            except RuntimeError:
                self._refused.add(step)
                return step(*arguments)
        for held, given in zip(self._held, arguments, strict=True):
            held.copy_(given)
        self._again()

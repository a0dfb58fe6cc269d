"""`Job`: one network to train, as plain data; `run_jobs` does one after the other, or reads what is done already.

A job can be pickled: it runs in this process, in a worker process, or on another machine that shares the run folder.
Of all jobs only that with planted errors waits for others, the cross-fitted ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from cleanlab_lite.clock import Clock, Pulse
from cleanlab_lite.run import Run
from cleanlab_lite.train.checkpoint import Checkpoint, CheckpointKeeper
from cleanlab_lite.train.fit import Start, Teaching, facts_of, fit
from cleanlab_lite.train.loader import Samples
from cleanlab_lite.train.memory import out_of_memory
from cleanlab_lite.train.observation import (
    Observation,
    begin_curves,
    continue_curves,
    read_observation,
    save_observation,
)
from cleanlab_lite.train.task import Task

SMALLEST_BATCH = 8


@dataclass(frozen=True)
class Job:
    """One network to train."""

    stage: str  # of the run, unique
    view: str  # of the task, that the network sees
    rows: np.ndarray  # (r,) int64, rows to learn from
    shown: np.ndarray  # (n,) int64, label of each row for learning and observing; -1 where there is none
    teaching: Teaching
    seed: int
    note: str  # for progress and messages
    start: Start | None = None  # plain data too; None: from scratch


@dataclass(frozen=True)
class Bench:
    """Where jobs are done: a device, and how many bytes of inputs it may hold."""

    task: Task
    device: str
    device_limit: float

    @cached_property
    def _samples(self) -> dict[str, Samples]:
        return {}

    def samples(self, view: str) -> Samples:
        """A view of the task on the device, put there once."""
        if view not in self._samples:
            inputs = self.task.views[view].inputs
            self._samples[view] = Samples(
                inputs.array,
                inputs.readable,
                torch.device(self.device),
                offsets=inputs.offsets,
                device_limit=self.device_limit,
            )
        return self._samples[view]


def run_jobs(jobs: Iterable[Job], bench: Bench, run: Run, clock: Clock) -> Iterator[Observation]:
    """What each job saw, in order; finished stages of the run are read.

    Raises:
        StoppedEarly: the time budget is used up. Finished jobs, and how far the present one came, are saved.
    """
    for job in jobs:
        if not run.done(job.stage):
            train(job, bench, run, clock.pulse(job.teaching.epochs, job.note))
        yield read_observation(run, job.stage)


def train(job: Job, bench: Bench, run: Run, pulse: Pulse) -> None:
    """Do one job, from its last checkpoint if there is one, and leave what it saw in the run folder.

    With half the batch size again and again as long as the device runs out of memory.
    """
    keeper = CheckpointKeeper(run, job.stage)
    teaching, point = _resume(job, keeper.load())
    while True:
        try:
            seen = _attempt(job, teaching, bench, run, pulse, keeper, point)
            break
        except RuntimeError as error:
            if teaching.batch_size // 2 < SMALLEST_BATCH or not out_of_memory(error):
                raise
        teaching, point = replace(teaching, batch_size=teaching.batch_size // 2), None
    save_observation(run, job.stage, seen)
    run.mark(job.stage, epochs=teaching.epochs, rows=len(job.rows), batch_size=teaching.batch_size, flip=teaching.flip)
    keeper.clear()


def _resume(job: Job, point: Checkpoint | None) -> tuple[Teaching, Checkpoint | None]:
    """How the job is taught, with the batch size that its checkpoint has come to; and the checkpoint, if it is its."""
    if point is None:
        return job.teaching, None
    teaching = replace(job.teaching, batch_size=min(point.facts["batch_size"], job.teaching.batch_size))
    same = point.facts == facts_of(job.rows, teaching, job.seed)
    return (teaching, point) if same else (job.teaching, None)


def _attempt(
    job: Job,
    teaching: Teaching,
    bench: Bench,
    run: Run,
    pulse: Pulse,
    keeper: CheckpointKeeper,
    point: Checkpoint | None,
) -> Observation:
    n, k = len(bench.task), bench.task.num_classes
    return fit(
        bench.samples(job.view),
        job.shown,
        job.rows,
        k,
        teaching,
        seed=job.seed,
        start=job.start,
        pulse=pulse,
        curves=continue_curves(run, job.stage) if point else begin_curves(run, job.stage, teaching.epochs, n, k),
        keeper=keeper,
        point=point,
    )

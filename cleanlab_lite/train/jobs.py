"""`Job`: one network to train, as plain data; `run_jobs` does one after the other or, on a CPU, several side by side.

A job can be pickled: it runs in this process, in a worker process, or on another machine that shares the run folder.
Of all jobs only that with planted errors waits for others, the cross-fitted ones of its view. A job of another view
that is done in any case is begun with them, and waited for when it is needed.

A worker has one thread of torch: two networks with a thread each take less time than one after the other with two
threads, and far less on a machine that does other work. What it reads is mapped from a file, so that all share the
memory; what it saw it leaves in the folder of its job. This process alone says what is done.
"""

from __future__ import annotations

import math
import mmap
import platform
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cleanlab_lite.clock import Clock, Pulse
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.progress import Progress
from cleanlab_lite.run import Run, RunFiles
from cleanlab_lite.run.layout import JOBS
from cleanlab_lite.train.checkpoint import Checkpoint, CheckpointKeeper
from cleanlab_lite.train.crew import Crew
from cleanlab_lite.train.fit import OWN, Start, Teaching, facts_of, fit, is_ours, observing_batch, side_of
from cleanlab_lite.train.loader import Samples
from cleanlab_lite.train.memory import available, give_blocks_back, out_of_memory, reuse_blocks
from cleanlab_lite.train.models import PROXIES
from cleanlab_lite.train.observation import (
    Observation,
    begin_curves,
    continue_curves,
    read_observation,
    save_observation,
)
from cleanlab_lite.train.ranks import RankCrew, Ranks
from cleanlab_lite.train.task import Task, View
from cleanlab_lite.workers import cores, may_start

WORTH = 5.0  # seconds of training, as they are estimated: a worker takes 1.5 to start

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
    weight: np.ndarray | None = None  # (n,) float, of each row's loss, at least 0; None: all weigh the same
    strangers: np.ndarray | None = None  # (s,) int64, rows of no class, as in `fit`


@dataclass(frozen=True)
class Mapped:
    """An array in a file, which takes no memory of its own until it is read."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int  # bytes of the file before it

    def open(self) -> np.ndarray:
        """As if it were in memory: written to, it is a copy."""
        return np.memmap(self.path, self.dtype, "c", self.offset, self.shape)

    @classmethod
    def of(cls, array: np.ndarray, run: RunFiles, name: str) -> Mapped:
        """Where an array lies already; or else in a file of the run, which is written now."""
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.flags.c_contiguous:
            path = Path(array.filename)  # not of a part of one
            if path.is_file() and path.stat().st_size >= array.offset + array.nbytes:
                return cls(path.resolve(), array.dtype, array.shape, array.offset)
        run.write(name, partial(np.save, arr=np.ascontiguousarray(array)))
        written = np.load(run.path(name), mmap_mode="r")
        return cls(run.path(name).resolve(), written.dtype, written.shape, written.offset)


@dataclass(frozen=True)
class Bench:
    """Where jobs are done: a device, and how many bytes of inputs it may hold."""

    task: Task
    device: str
    device_limit: float
    crew: Crew | RankCrew | None = None  # None: all is done in this process

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

    @cached_property
    def _files(self) -> dict[str, Mapped]:
        return {}

    def mapped(self, view: str, run: RunFiles) -> Mapped:
        """The inputs of a view as a file that all workers see, written once where there is none."""
        if view not in self._files:
            array = self.task.views[view].inputs.array
            if isinstance(self.crew, RankCrew) and not self.crew.ranks.share_cache:
                array = np.asarray(array)  # no map of a file there: all see the run folder
            self._files[view] = Mapped.of(array, run, f"{JOBS}/inputs/{view}.npy")
        return self._files[view]


JobOnBench = tuple[Job, Bench]  # a job, and where it is done


def run_jobs(
    jobs: Iterable[Job], bench: Bench, run: Run, clock: Clock, *, also: JobOnBench | None = None
) -> Iterator[Observation]:
    """What each job saw, in order; finished stages of the run are read.

    Side by side where that is sooner: then all are done before the first is given. Else each when it is asked for.

    Args:
        also: a job that is needed later in any case, and is begun now where jobs are done side by side.

    Raises:
        StoppedEarly: the time budget is used up. Finished jobs, and how far the present ones came, are saved.
        WorkerDied: a worker process was ended, and so was the next one at the same job.
    """
    if bench.crew is not None:
        jobs = list(jobs)
        side_by_side(jobs, bench, run, clock, also)
    for job in jobs:
        if not run.done(job.stage):
            facts = train(job, bench, run, clock.pulse(job.teaching.epochs, job.note, job.stage))
            _finish(job, run, facts)
        clock.found(job.stage, job.teaching.epochs)
        yield read_observation(run, job.stage)


def _finish(job: Job, run: Run, facts: dict[str, Any]) -> None:
    """Say that what `train` has left is whole."""
    run.mark(job.stage, **facts)
    CheckpointKeeper(run, job.stage).clear()


def train(job: Job, bench: Bench, run: RunFiles, pulse: Pulse) -> dict[str, Any]:
    """Do one job, from its last checkpoint if there is one, and leave what it saw in the run folder; facts about it.

    With half the batch size again and again as long as the device runs out of memory.
    """
    keeper = CheckpointKeeper(run, job.stage)
    teaching, point = _resume(job, keeper.load())
    while True:
        try:
            with training_settings(bench.device):
                seen = _attempt(job, teaching, bench, run, pulse, keeper, point)
            break
        except RuntimeError as error:
            if teaching.batch_size // 2 < SMALLEST_BATCH or not out_of_memory(error):
                raise
        teaching, point = replace(teaching, batch_size=teaching.batch_size // 2), None
    save_observation(run, job.stage, seen)
    return {
        "epochs": teaching.epochs,
        "rows": len(job.rows),
        "batch_size": teaching.batch_size,
        "flip": teaching.flip,
    }


@contextmanager
def training_settings(device: str) -> Iterator[None]:
    """What torch is told while it trains, and untold after.

    One thread on a CPU, where small operations wait for the slower of several threads, and other threads round
    otherwise. On a GPU 10 bits of factors in products, and convolutions that give the same result twice.
    """
    threads, factors = torch.get_num_threads(), torch.get_float32_matmul_precision()
    repeats = torch.backends.cudnn.deterministic
    if device == "cpu":
        reuse_blocks()
        torch.set_num_threads(1)
    elif device.startswith("cuda"):
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(factors)
        torch.backends.cudnn.deterministic = repeats
        if device == "cpu":
            give_blocks_back()


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
    run: RunFiles,
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
        weight=job.weight,
        strangers=job.strangers,
        pulse=pulse,
        curves=continue_curves(run, job.stage) if point else begin_curves(run, job.stage, teaching.epochs, n, k),
        keeper=keeper,
        point=point,
    )


# --- Side by side ----------------------------------------------------------------------------------------------------


def hire(device: str, workers: int, ranks: Ranks | None = None) -> AbstractContextManager[Crew | RankCrew]:
    """Who does the jobs of an audit: ranks, or workers, none of which is started before it is needed. 0 workers: one
    per core."""
    if ranks is not None:
        return nullcontext(ranks.crew(do_errand))
    return Crew((workers or cores()) if device == "cpu" and may_start() else 1, do_errand)


def workers_for(jobs: Sequence[Job], bench: Bench, also: JobOnBench | None = None) -> int:
    """How many processes to spread the jobs over, done ones too: what goes on is to be decided as it was begun.

    1 where they are not worth a process, need what a new process does not know, or where memory is short.
    """
    crew, all_of_them = bench.crew, [*([also] if also else []), *((job, bench) for job in jobs)]
    most = min(crew.size, len(all_of_them)) if crew else 1
    travel = all(_travels(job) for job, _ in all_of_them)
    if isinstance(crew, RankCrew):  # they are there, each with the memory of its own
        return most if travel else 1
    if crew is not None and crew.begun:  # so are these
        return len(crew.pids) if travel else 1
    if crew is None or most < 2 or not travel or sum(_seconds(*each) for each in all_of_them) < WORTH:
        return 1
    room = available() + STARTED * len(crew.pids)  # those have it already
    return max(1, int(min(most, room / max(_memory(*each) for each in all_of_them))))


def _travels(job: Job) -> bool:
    """Whether all methods of a job are ours: what a user has registered, a new process does not know."""
    return is_ours(job.teaching) and (job.start is None or type(job.start).__module__.startswith(OWN))


def _seconds(job: Job, bench: Bench) -> float:
    """To train and observe, on one core: an estimate by measured constants, the same every time."""
    samples = bench.samples(job.view)
    side = side_of(samples, job.teaching)
    each = PROXIES.get(job.teaching.proxy).facts.seconds_at(side, samples.patches)
    return each * len(job.rows) * job.teaching.epochs


# Measured, see benchmarks/RESULTS.md, and rounded up.
STARTED = 400 * 2**20  # bytes of a worker that has learned almost nothing
ACTIVATIONS = {True: 150, False: 40}  # bytes per byte of an input in float32, of pictures and of vectors
WEIGHTS = 48  # of weights in half precision: as float32, their gradient and momentum, a checkpoint, a second network
PER_CLASS = 24  # bytes per row and class: logits of a pass and of the late epochs, and what they are made from
PER_ROW = 4096  # bytes: features of the last layer, of which the principal ones are taken


def _memory(job: Job, bench: Bench) -> float:
    """Bytes that a worker takes for itself: an estimate, rather too high."""
    samples, n = bench.samples(job.view), len(bench.task)
    side, shape = side_of(samples, job.teaching), samples.sample_shape
    of_input = 4 * math.prod([shape[0], side, side] if side else shape) * ACTIVATIONS[samples.is_image]
    weights = PROXIES.get(job.teaching.proxy).facts.weights_mib * 2**20
    per_row = PER_CLASS * bench.task.num_classes + PER_ROW
    batch = max(job.teaching.batch_size, observing_batch(samples, job.teaching))
    return STARTED + of_input * batch + weights * WEIGHTS + per_row * n


@dataclass(frozen=True)
class Errand:
    """A job with what a worker must know of the run."""

    job: Job
    folder: Path  # of the run
    num_classes: int
    inputs: Mapped  # of the view
    readable: np.ndarray  # (n,) bool
    offsets: np.ndarray | None  # of clips
    device: str
    device_limit: float

    def bench(self) -> Bench:
        codes = np.where(self.readable, "", "-")
        nothing = np.full(len(codes), -1)
        inputs = Inputs(self.inputs.open(), codes, codes, nothing, 0, codes, self.offsets)
        task = Task(self.job.shown, self.num_classes, {self.job.view: View(self.job.view, inputs)}, nothing)
        return Bench(task, self.device, self.device_limit)


_bench: tuple[Mapped, Bench] | None = None  # of a worker: kept from one job on the same inputs to the next


def do_errand(errand: Errand, clock: Clock) -> dict[str, Any]:
    """What a worker does."""
    global _bench
    if not errand.folder.is_dir():
        raise ConfigError(
            f"the run folder {errand.folder} is not there on {platform.node()}",
            hint="ranks on several machines need a run folder that all of them see: --out on a shared disk",
        )
    if _bench is None or _bench[0] != errand.inputs:
        _bench = errand.inputs, errand.bench()
    pulse = clock.pulse(errand.job.teaching.epochs, errand.job.note, errand.job.stage)
    return train(errand.job, _bench[1], RunFiles(errand.folder), pulse)


def side_by_side(jobs: Sequence[Job], bench: Bench, run: Run, clock: Clock, also: JobOnBench | None = None) -> None:
    """Do those that are not done, where that is sooner than one after the other, or they were begun; else nothing.
    Arguments and what is raised as those of `run_jobs`."""
    crew = bench.crew
    begun = {errand.job.stage for errand in crew.begun} if isinstance(crew, Crew) else set[str]()
    if isinstance(crew, Crew) and (awaited := [job for job in jobs if job.stage in begun]):
        crew.finish(_Together.of(awaited, jobs, run, clock), clock)
    left, workers = [job for job in jobs if not run.done(job.stage)], workers_for(jobs, bench, also)
    if crew is None or not left or workers < 2:
        return
    beside = [also] if also and also[0].stage not in begun and not run.done(also[0].stage) else []
    if beside and isinstance(crew, Crew):
        [(job, there)] = beside
        crew.begin(_errand(job, there, run), _Together.of([job], jobs, run, clock, {job.stage}))
        beside = []
    all_of_them = [*beside, *((job, bench) for job in left)]
    together = _Together.of([job for job, _ in all_of_them], jobs, run, clock, {job.stage for job, _ in beside})
    crew.do([_errand(job, there, run) for job, there in all_of_them], together, clock, workers=workers)


def _errand(job: Job, bench: Bench, run: Run) -> Errand:
    inputs = bench.task.views[job.view].inputs
    shared = (bench.mapped(job.view, run), inputs.readable, inputs.offsets)
    return Errand(job, run.folder.resolve(), bench.task.num_classes, *shared, bench.device, bench.device_limit)


@dataclass
class _Together:
    """Hears of jobs that are done side by side."""

    jobs: Sequence[Job]
    run: Run
    clock: Clock
    before: int  # epochs that were done when they began
    total: int
    uncounted: Set[str]  # stages of jobs that belong to what comes later
    reached: dict[int, int] = field(default_factory=dict)  # epochs, by number of the job

    @classmethod
    def of(
        cls, jobs: Sequence[Job], among: Sequence[Job], run: Run, clock: Clock, uncounted: Set[str] = frozenset()
    ) -> _Together:
        """Hears of some jobs `among` those of an ensemble, of which others are done already."""
        earlier = [job for job in among if run.done(job.stage)]
        for job in earlier:
            clock.found(job.stage, job.teaching.epochs)
        before = clock.done + sum(job.teaching.epochs for job in earlier)
        return cls(jobs, run, clock, before, clock.total or sum(job.teaching.epochs for job in among), uncounted)

    def heard(self, errand: int, progress: Progress) -> None:
        job = self.jobs[errand]
        if job.stage in self.uncounted:
            self.clock.ahead(job.view, progress.done)
            return
        self.reached[errand] = max(progress.done, self.reached.get(errand, 0))  # a repeated job begins with less
        self.clock.trained(job.stage, self.reached[errand])
        done = self.before + sum(self.reached.values())
        self.clock.tell(Progress("train", done, self.total, "epochs", job.note))

    def done(self, errand: int, answer: Any) -> None:
        job = self.jobs[errand]
        if job.stage not in self.uncounted:
            self.reached[errand] = job.teaching.epochs
        _finish(job, self.run, answer)

    def lost(self, errand: int, exit_code: int | None) -> None:
        stage = self.jobs[errand].stage
        self.run.log("worker died", stage=stage, exit_code=exit_code)
        self.run.sweep(f"{JOBS}/{stage}")

"""Jobs are plain data, and a training that is stopped anywhere goes on to the same bytes, whatever it is taught by."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_ensemble import KEY, inputs_of
from test_training import CONFIG, NOT_ALONE, pictures
from worlds import blobs

from cleanlab_lite.clock import Clock, Pulse
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.errors import ReportError, StoppedEarly
from cleanlab_lite.run import Run
from cleanlab_lite.train import checkpoint
from cleanlab_lite.train import fit as fit_module
from cleanlab_lite.train.fit import Teaching
from cleanlab_lite.train.jobs import Bench, Job, run_jobs
from cleanlab_lite.train.losses import LOSSES
from cleanlab_lite.train.observation import Observation
from cleanlab_lite.train.strategies import STRATEGIES
from cleanlab_lite.train.task import Task
from cleanlab_lite.train.warm_start import Continue

WORLD = blobs(100, 3, 0.1)
TASK = Task.of(WORLD.labels, 3, inputs_of(WORLD, (3,)))
TEACHING = replace(CONFIG, epochs=5, batch_size=16)


class Stops(Clock):
    """Its time is up after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def check(self, where: str) -> None:
        self.steps -= 1
        if self.steps == 0 and "epoch" in where:
            raise StoppedEarly("the time is up")


def job(teaching: Teaching = TEACHING, task: Task = TASK, stage: str = "proxy") -> Job:
    rows = np.flatnonzero(task.teachable)[10:]
    return Job(stage, "pixels", rows, task.labels, teaching, seed=4, note="network 1 of 1")


def do(folder: Path, job: Job, clock: Clock, task: Task = TASK) -> Observation:
    with Run.start(folder, "world", KEY) as run:
        return next(run_jobs([job], Bench(task, "cpu", 2**30), run, clock))


def do_in_parts(folder: Path, job: Job, parts: tuple[int, ...], task: Task = TASK) -> Observation:
    """Stopped after so many steps and looks, again and again."""
    for steps in parts:
        with pytest.raises(StoppedEarly):
            do(folder, job, Stops(steps), task)
    return do(folder, job, Clock(), task)


def assert_same(one: Observation, two: Observation) -> None:
    for name in ("loss", "margin", "predicted", "logits", "features"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert one.weights.keys() == two.weights.keys()
    assert all(torch.equal(weight, two.weights[name]) for name, weight in one.weights.items())


@pytest.mark.parametrize(
    ("epochs", "parts"), [(3, (4, 9)), pytest.param(5, (3, 5, 1, 7, 4, 2), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("strategy", STRATEGIES.names())
def test_every_strategy_goes_on_where_it_was_stopped(tmp_path, strategy, epochs, parts):
    asked = job(replace(TEACHING, strategy=strategy, epochs=epochs))
    whole = do(tmp_path / "whole", asked, Clock())
    assert_same(whole, do_in_parts(tmp_path / "parts", asked, parts))


@pytest.mark.parametrize(("epochs", "parts"), [(2, (4, 3)), pytest.param(5, (3, 9, 6), marks=pytest.mark.slow)])
@pytest.mark.parametrize("loss", sorted(set(LOSSES.names()) - NOT_ALONE))
def test_every_loss_goes_on_where_it_was_stopped(tmp_path, loss, epochs, parts):
    asked = job(replace(TEACHING, loss=loss, epochs=epochs))
    whole = do(tmp_path / "whole", asked, Clock())
    assert_same(whole, do_in_parts(tmp_path / "parts", asked, parts))


@pytest.mark.parametrize("strategy", ["plain", "dividemix"])
@pytest.mark.parametrize("sound", [False, True], ids=["pictures", "clips"])
def test_pictures_and_clips_go_on_with_dropout_and_batch_norm(tmp_path, sound, strategy):
    pixels, labels = pictures(48)
    offsets = np.arange(0, 97, 2) if sound else None
    array = np.repeat(pixels[:, :1], 2, axis=0) if sound else pixels
    nothing = np.zeros(48, dtype="U1")
    task = Task.of(labels, 2, Inputs(array, nothing, nothing, np.full(48, -1), 0, nothing, offsets))
    taught = replace(TEACHING, proxy="baseline_cnn", strategy=strategy, epochs=3, shift=2, learning_rate=0.01)
    whole = do(tmp_path / "whole", job(taught, task), Clock(), task)
    assert_same(whole, do_in_parts(tmp_path / "parts", job(taught, task), (2, 3), task))


def test_checkpoints_are_left_on_the_way_not_only_when_the_time_is_up(tmp_path, monkeypatch):
    """What a killed process has left is what the next one goes on from."""
    whole = do(tmp_path / "whole", job(), Clock())
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)

    class Killed(Stops):
        def check(self, where: str) -> None:
            self.steps -= 1
            if not self.steps:
                raise RuntimeError("killed")  # nothing is saved any more

    for steps in (7, 13):
        with pytest.raises(RuntimeError, match="killed"):
            do(tmp_path / "parts", job(), Killed(steps))
    steps_left: list[int] = []

    class Counting(Clock):
        def check(self, where: str) -> None:
            steps_left.append(1)

    assert_same(whole, do(tmp_path / "parts", job(), Counting()))
    assert 0 < len(steps_left) < 5 * (89 // 16 + 1) - 7
    assert not list((tmp_path / "parts").rglob("checkpoint*"))


class Looks(Clock):
    """Its time is up in the clean pass after so many steps, when so many of its batches are seen."""

    def __init__(self, steps: int, batches: int = 0) -> None:
        super().__init__()
        self.left, self.batches, self.steps = steps, batches, 0

    def pulse(self, epochs: int, note: str, stage: str = "") -> Pulse:
        clock = self

        class Counting(Pulse):
            def step(self) -> None:
                clock.left, clock.steps = clock.left - 1, clock.steps + 1

            def look(self) -> None:
                if clock.left <= 0 and clock.batches <= 0:
                    raise StoppedEarly("the time is up")
                clock.batches -= clock.left <= 0

        return Counting(self, epochs, note, stage)


@pytest.mark.parametrize("strategy", ["plain", "mixup", "dividemix"])
def test_a_stop_in_a_clean_pass_loses_no_step(tmp_path, strategy):
    asked = job(replace(TEACHING, strategy=strategy))
    whole = do(tmp_path / "whole", asked, undisturbed := Looks(10**9))
    stopped = Looks(7)  # in the second epoch
    with pytest.raises(StoppedEarly):
        do(tmp_path / "parts", asked, stopped)
    resumed = Looks(10**9)
    assert_same(whole, do(tmp_path / "parts", asked, resumed))
    assert stopped.steps + resumed.steps == undisturbed.steps


def test_logits_count_once_where_the_last_pass_is_stopped_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(fit_module, "OBSERVED", 16)
    asked = job(replace(TEACHING, epochs=4))
    whole = do(tmp_path / "whole", asked, counted := Looks(10**9))
    for seen, steps in ((2, counted.steps), (1, 0), (5, 0)):  # of 7 batches, the first pass after all steps
        with pytest.raises(StoppedEarly):
            do(tmp_path / "parts", asked, Looks(steps, seen))
    assert_same(whole, do(tmp_path / "parts", asked, Clock()))


def test_a_damaged_checkpoint_counts_for_nothing(tmp_path):
    whole = do(tmp_path / "whole", job(), Clock())
    with pytest.raises(StoppedEarly):
        do(tmp_path / "parts", job(), Stops(8))
    (path,) = (tmp_path / "parts").rglob("checkpoint.safetensors")
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(data)
    assert_same(whole, do(tmp_path / "parts", job(), Clock()))


def test_a_checkpoint_of_another_job_is_not_taken(tmp_path):
    with pytest.raises(StoppedEarly):
        do(tmp_path / "parts", job(), Stops(8))
    other = job(replace(TEACHING, strategy="mixup"))
    assert_same(do(tmp_path / "whole", other, Clock()), do(tmp_path / "parts", other, Clock()))


def test_the_batch_size_that_the_device_had_room_for_is_kept(tmp_path, monkeypatch):
    smaller = do(tmp_path / "whole", job(replace(TEACHING, batch_size=8)), Clock())
    with pytest.raises(StoppedEarly):
        do(tmp_path / "parts", job(replace(TEACHING, batch_size=8)), Stops(8))
    assert_same(smaller, do(tmp_path / "parts", job(), Clock()))


def test_a_damaged_part_of_a_finished_job_is_told(tmp_path):
    do(tmp_path / "run", job(), Clock())
    (tmp_path / "run" / "jobs" / "proxy" / "margin.npy").write_bytes(b"\x93NUMPY" + b"\xff" * 50)
    with pytest.raises(ReportError, match=r"margin\.npy"):
        do(tmp_path / "run", job(), Clock())


def test_a_second_network_starts_from_all_weights_of_the_first(tmp_path):
    first = do(tmp_path / "first", job(), Clock())
    still = replace(TEACHING, epochs=1, learning_rate=1e-9)
    second = do(tmp_path / "second", replace(job(still), start=Continue(first.weights)), Clock())
    np.testing.assert_allclose(second.margin[-1], first.margin[-1], rtol=2e-2)


def _elsewhere(folder: str, task: Task, job: Job) -> dict[str, np.ndarray]:
    """What a process of its own makes of a job."""
    torch.set_num_threads(1)
    seen = do(Path(folder), job, Clock(), task)
    return {name: np.array(getattr(seen, name)) for name in ("loss", "margin", "predicted", "logits", "features")}


def test_a_job_done_in_a_spawned_process_gives_the_same_arrays(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = do(tmp_path / "here", job(), Clock())
    finally:
        torch.set_num_threads(threads)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(_elsewhere, str(tmp_path / "there"), TASK, job()).result()
    for name, array in there.items():
        np.testing.assert_array_equal(array, getattr(here, name), err_msg=name)


def test_predictions_take_as_little_room_as_the_classes_allow(tmp_path):
    seen = do(tmp_path / "run", job(), Clock())
    assert seen.predicted.dtype == np.int8
    assert seen.predicted[:, 3].tolist() == [-1] * 5  # unreadable
    assert isinstance(seen.loss, np.memmap)
    facts = json.loads((tmp_path / "run" / "stages" / "proxy.json").read_bytes())["facts"]
    assert facts == {"epochs": 5, "rows": 89, "batch_size": 16, "flip": False}

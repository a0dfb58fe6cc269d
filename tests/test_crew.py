"""A crew does errands in processes; it survives a worker, stops when it is told to, and leaves nobody behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crew_work
import pytest

from cleanlab_lite.clock import Clock
from cleanlab_lite.errors import ConfigError, StoppedEarly, WorkerDied
from cleanlab_lite.progress import Progress
from cleanlab_lite.train.crew import Crew

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills by signals")


class Answers:
    """Listens."""

    def __init__(self) -> None:
        self.answers: dict[int, Any] = {}
        self.steps: list[Progress] = []
        self.deaths: list[tuple[int, int | None]] = []

    def heard(self, errand: int, progress: Progress) -> None:
        self.steps.append(progress)

    def done(self, errand: int, answer: Any) -> None:
        self.answers[errand] = answer

    def lost(self, errand: int, exit_code: int | None) -> None:
        self.deaths.append((errand, exit_code))


@pytest.fixture
def crew() -> Iterator[Crew]:
    with Crew(2, crew_work.do) as crew:
        yield crew
    assert not multiprocessing.active_children()


def do(crew: Crew, *errands: tuple[str, Any], clock: Clock | None = None, listener: Answers | None = None) -> Answers:
    listener = listener or Answers()
    crew.do(errands, listener, clock or Clock(), workers=crew.size)
    return listener


def test_errands_are_answered_by_as_many_processes_which_stay(crew):
    heard = do(crew, *[("square", number) for number in range(7)])
    assert heard.answers == {number: number**2 for number in range(7)}
    assert [step.done for step in heard.steps] == [1] * 7
    before = {process.pid for process in multiprocessing.active_children()}
    pids = set(do(crew, *[("pid", None)] * 6).answers.values())
    assert len(before) == 2 and pids <= before and os.getpid() not in pids


def test_no_process_is_started_before_there_is_work(crew):
    do(crew)
    assert not multiprocessing.active_children()


def test_the_errand_of_a_worker_that_died_is_done_once_more_by_the_others(crew, tmp_path):
    heard = do(crew, ("die", (tmp_path / "count", 1)), *[("square", number) for number in range(1, 5)])
    assert heard.answers == {0: "alive", 1: 1, 2: 4, 3: 9, 4: 16}
    assert heard.deaths == [(0, -signal.SIGKILL)]
    assert len(multiprocessing.active_children()) == 1  # fewer need less memory


def test_the_last_worker_is_replaced(crew, tmp_path):
    heard = do(crew, ("die", (tmp_path / "one", 1)), ("die", (tmp_path / "two", 1)))
    assert heard.answers == {0: "alive", 1: "alive"} and len(heard.deaths) == 2


def test_an_errand_that_costs_two_workers_is_given_up_when_the_others_have_stopped(crew, tmp_path):
    crew.size = 3
    with pytest.raises(WorkerDied, match=r"ended twice .*signal 9") as caught:
        do(crew, ("die", (tmp_path / "count", 9)), ("steps", (60, tmp_path / "other")), ("square", 2))
    assert "--workers 1" in caught.value.hint and "goes on from here" in caught.value.hint
    assert (tmp_path / "count").stat().st_size == 2
    assert (tmp_path / "other").read_text() == "left"


def test_a_worker_that_died_while_it_had_nothing_to_do(crew):
    do(crew, ("square", 1), ("square", 2))
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert do(crew, ("square", 3), ("square", 4)).answers == {0: 9, 1: 16}


def test_what_an_errand_raises_is_raised_here(crew, tmp_path):
    with pytest.raises(ConfigError, match="it cannot be") as caught:
        do(crew, ("fail", None), ("steps", (60, tmp_path / "other")), ("square", 2))
    assert caught.value.hint == "try another"
    assert "in a worker process" in caught.value.__notes__[0] and "crew_work.py" in caught.value.__notes__[0]
    assert (tmp_path / "other").read_text() == "left"
    with pytest.raises(RuntimeError, match="Unwilling: ab"):
        do(crew, ("unwilling", None))
    assert do(crew, ("square", 3)).answers == {0: 9}  # and the crew is as good as before


def test_all_stop_when_the_time_is_up_but_not_before_something_is_done(crew, tmp_path):
    steps = [("steps", (60, tmp_path / name)) for name in ("one", "two", "three")]
    with pytest.raises(StoppedEarly, match=r"time budget of 1e-09 s is used up \(steps, epoch 1 of 1\)"):
        do(crew, *steps, clock=Clock(1e-9))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_what_was_begun_goes_on_beside_the_rest_and_is_finished_at_last(crew, tmp_path):
    begun, ended = Answers(), Answers()
    crew.begin(("until", tmp_path / "signal"), begun)
    for _ in range(2):
        assert do(crew, ("square", 2), ("square", 3)).answers == {0: 4, 1: 9}
    assert crew.begun == [("until", tmp_path / "signal")]
    (tmp_path / "signal").touch()
    crew.finish(ended, Clock())
    assert ended.answers == {0: "there"} and not begun.answers and not crew.begun
    assert do(crew, ("square", 4)).answers == {0: 16}


def test_what_was_begun_is_done_once_more_where_its_worker_died(crew, tmp_path):
    begun = Answers()
    crew.begin(("die", (tmp_path / "count", 1)), begun)
    do(crew, ("square", 2))
    crew.finish(begun, Clock())
    assert begun.answers == {0: "alive"} and begun.deaths == [(0, -signal.SIGKILL)]
    crew.begin(("die", (tmp_path / "more", 9)), begun)
    with pytest.raises(WorkerDied, match="ended twice"):
        crew.finish(begun, Clock())


def test_what_was_begun_stops_and_fails_like_the_rest(crew, tmp_path):
    crew.begin(("steps", (60, tmp_path / "begun")), Answers())
    with pytest.raises(StoppedEarly):
        do(crew, ("steps", (60, tmp_path / "other")), clock=Clock(1e-9))
    assert (tmp_path / "begun").read_text() == "left" and not crew.begun
    crew.begin(("until", tmp_path / "never"), Answers())
    do(crew, ("square", 2))
    crew.close()
    assert not crew.begun
    crew.begin(("fail", None), Answers())
    with pytest.raises(ConfigError, match="it cannot be"):
        do(crew, ("steps", (60, tmp_path / "other")))
    assert not crew.begun


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_nobody_is_left_when_this_process_is_interrupted(crew, tmp_path, error):
    class Interrupted(Answers):
        def heard(self, errand: int, progress: Progress) -> None:
            raise error

    begun = time.monotonic()
    with pytest.raises(error):
        do(crew, ("steps", (60, tmp_path / "one")), ("square", 2), listener=Interrupted())
    assert not multiprocessing.active_children() and time.monotonic() - begun < 30
    assert do(crew, ("square", 3)).answers == {0: 9}


ORPHANS = """
import multiprocessing, os, signal, sys, threading, time
import crew_work
from cleanlab_lite.clock import Clock
from cleanlab_lite.train.crew import Crew
from test_crew import Answers

class Heard(Clock):
    def check(self, where):
        print(*(process.pid for process in multiprocessing.active_children()), flush=True)
        os.kill(os.getpid(), int(sys.argv[1]))

with Crew(2, crew_work.do) as crew:
    crew.do([("steps", (60, sys.argv[2])), ("steps", (60, sys.argv[2]))], Answers(), Heard(), workers=2)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_workers_end_with_the_process_that_started_them(tmp_path: Path, number: signal.Signals):
    command = [sys.executable, "-c", ORPHANS, str(int(number)), str(tmp_path / "left")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode in (-number, 1, 130)
    pids = [int(pid) for pid in done.stdout.splitlines()[0].split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_lives(pid) for pid in pids)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

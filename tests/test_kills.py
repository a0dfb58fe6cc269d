"""Any command that is killed, at a random moment, and given again leaves what it leaves undisturbed, to the bit.

NLCLEAN_KILLS=10 kills ten times as often, at other moments.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_world import mislabel
from kill_world import WORLDS, Machine, World
from review_world import make_run
from test_review_web import post, start

from cleanlab_lite.evidence.decisions import DecisionLog

pytestmark = [pytest.mark.survival, pytest.mark.skipif(not hasattr(os, "fork"), reason="killer.py forks")]

TIMES = int(os.environ.get("NLCLEAN_KILLS", "1"))
KILLED = -9
LATE = 0.03  # seconds from a step to a kill at most


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.killer.communicate()


def stage_of(steps: list[str]) -> str:
    """What was being done when the last of the steps came."""
    return next((step.removeprefix("stage ") for step in reversed(steps) if step.startswith("stage ")), "start")


def killed_and_finished(machine: Machine, world: World, kills: int) -> Counter[str]:
    """Kill the command at random steps, spread over all that it does; how often, by stage."""
    machine.prepare(world.given)
    steps = machine.done(*world.command, eager=world.eager)
    expected = machine.left()
    rng, stages = random.Random(world.name), Counter[str]()
    for part in range(kills):
        at = int((part + rng.random()) / kills * len(steps))
        late = rng.choice((0.0, rng.uniform(0, LATE)))
        machine.prepare(world.given)
        killed = machine.call(*world.command, eager=world.eager, at=at, late=late)
        about = f"{world.name} killed {late:.4f} s after step {at}, {killed.steps[at]!r}"
        assert killed.code == KILLED, about
        machine.done(*world.command, eager=world.eager)
        found = machine.left()
        assert found.keys() == expected.keys(), about
        assert [name for name in found if found[name] != expected[name]] == [], about
        stages[stage_of(killed.steps)] += 1
    return stages


ONCE = {"vectors": (), "export-folders": (), "page": pytest.mark.slow}


@pytest.mark.parametrize(
    "world", [pytest.param(world, marks=ONCE[world.name]) for world in WORLDS if world.name in ONCE]
)
def test_killed_once(machine: Machine, world: World) -> None:
    assert killed_and_finished(machine, world, 1).total() == 1


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_killed_at_random(machine: Machine, world: World, record_property: Any) -> None:
    stages = killed_and_finished(machine, world, world.kills * TIMES)
    assert stages.total() == world.kills * TIMES
    record_property("kills", dict(stages))
    print(f"{world.name}: {dict(stages)}")


# --- Reviews ----------------------------------------------------------------------------------------------------------

ROWS = 2000  # to decide, more than anybody comes to
WAITS = 60  # seconds for a review to open
LEFT = re.compile(r"([\d,]+) left")


@pytest.fixture
def suspects(tmp_path: Path) -> Path:
    """A run of which every row is to be decided."""
    return make_run(tmp_path, "vector", [mislabel(f"{i:04}", given_label="dog") for i in range(ROWS)])


def reviewed(run: Path) -> list[tuple[str, str]]:
    """(reviewer, id) of all decisions. None of them twice."""
    found = [(decision.reviewer, decision.id) for decision in DecisionLog(run / "decisions.jsonl").read()]
    assert len(set(found)) == len(found)
    return found


def killed_in_browsers(run: Path, rng: random.Random, names: dict[str, Iterator[str]]) -> None:
    """Kill `nlclean review --web` while several people decide. `names`: of each, the ids of the rows to come."""
    process, url = start(run)
    asked, told = set[tuple[str, str]](), set[tuple[str, str]]()
    first = threading.Event()

    def decide(name: str) -> None:
        for id in names[name]:
            asked.add((name, id))
            try:
                if post(url, {"id": id, "action": "keep", "reviewer": name}) != 200:
                    return
            except (OSError, http.client.HTTPException):  # it is dead
                return
            told.add((name, id))
            first.set()

    before = set(reviewed(run))
    people = [threading.Thread(target=decide, args=(name,)) for name in names]
    for person in people:
        person.start()
    assert first.wait(WAITS)
    time.sleep(rng.uniform(0, 0.3))
    process.kill()
    process.communicate()
    for person in people:
        person.join()
    found = set(reviewed(run))
    assert told and told | before <= found <= asked | before


def killed_in_a_terminal(run: Path, rng: random.Random) -> None:
    """Kill `nlclean review` while somebody holds a key down. What is left to do, the screen has said."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    before, keys = len(reviewed(run)), 0
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    process = subprocess.Popen(
        [sys.executable, "-m", "nlclean", "review", str(run), "--reviewer", "ann"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=os.environ | {"TERM": "xterm-256color", "NO_COLOR": "1"},
    )
    os.close(slave)
    shown, most, end = b"", rng.randint(1, 60), time.monotonic() + WAITS
    while keys < most and time.monotonic() < end:
        if select.select([master], [], [], rng.uniform(0, 0.02))[0]:
            shown += os.read(master, 1 << 16)
        if LEFT.search(shown.decode(errors="replace")):  # it is open
            keys += os.write(master, b"k")
    time.sleep(rng.uniform(0, 0.3))
    process.kill()
    process.wait()
    try:
        while chunk := os.read(master, 1 << 16):
            shown += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)
    said = [int(text.replace(",", "")) for text in LEFT.findall(shown.decode(errors="replace"))]
    assert said and said[0] == ROWS - before, shown  # it has gone on where it stood
    assert ROWS - min(said) <= len(reviewed(run)) <= before + keys


def goes_on(run: Path) -> None:
    """After all kills: what is decided now follows what was decided before."""
    before = reviewed(run)
    process, url = start(run)
    assert post(url, {"id": "0000", "action": "drop", "reviewer": "late"}) == 200
    process.kill()
    process.communicate()
    assert reviewed(run) == [*before, ("late", "0000")]


def kill_reviews(run: Path, kills: int) -> None:
    rng = random.Random(str(kills))
    names = {name: iter([f"{i:04}" for i in range(ROWS)]) for name in ("bob", "eve", "joe")}
    for _ in range(kills):
        killed_in_browsers(run, rng, names)
    goes_on(run)


def test_a_review_in_browsers_that_is_killed(suspects: Path) -> None:
    kill_reviews(suspects, 1)


@pytest.mark.slow
def test_reviews_in_browsers_that_are_killed(suspects: Path) -> None:
    kill_reviews(suspects, 8 * TIMES)


@pytest.mark.slow
def test_reviews_in_terminals_that_are_killed(suspects: Path) -> None:
    rng = random.Random(0)
    for _ in range(8 * TIMES):
        killed_in_a_terminal(suspects, rng)

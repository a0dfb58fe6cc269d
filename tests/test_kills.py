"""Any command that is killed, at a random moment, and given again leaves what it leaves undisturbed, to the bit.

NLCLEAN_KILLS=10 kills ten times as often, at other moments.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from kill_world import WORLDS, Machine, World

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


@pytest.mark.parametrize("world", [world for world in WORLDS if world.name in ("vectors", "page", "export-folders")])
def test_killed_once(machine: Machine, world: World) -> None:
    assert killed_and_finished(machine, world, 1).total() == 1


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_killed_at_random(machine: Machine, world: World, record_property: Any) -> None:
    stages = killed_and_finished(machine, world, world.kills * TIMES)
    assert stages.total() == world.kills * TIMES
    record_property("kills", dict(stages))
    print(f"{world.name}: {dict(stages)}")

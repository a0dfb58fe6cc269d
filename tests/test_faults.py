"""The machine is unkind: full disks, missing rights, no more processes or memory, files that go away, clocks that jump.

Each ends in a sentence that says what, where and what to do, with the documented exit code; nothing is lost, and the
same command goes on. NLCLEAN_KILLS=10 tries ten times as many places.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from audit_world import descendants
from kill_world import TINY, WORLDS, Ended, Machine, World, audit

from cleanlab_lite.run import RunFolder

pytestmark = [pytest.mark.survival, pytest.mark.skipif(sys.platform != "linux", reason="faults of Linux")]

TIMES = int(os.environ.get("NLCLEAN_KILLS", "1"))
FAULTS = ("ENOSPC", "EROFS", "EACCES", "EIO", "EMFILE")
VECTORS = audit("vectors", "vectors", *TINY, kills=2)
PICTURES = audit("pixels", "pictures", *TINY, "--views", "pixels", "--image-size", "32", kills=2)
TWO = audit("vectors-2", "vectors", *TINY, kills=2, eager=True)
DECODING = audit("pixels-2", "pictures", *TINY, "--views", "pixels", "--image-size", "32", kills=2, eager=True)
USUAL = {world.name: world for world in WORLDS}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.killer.communicate()


@functools.cache
def undisturbed(
    machine: Machine, given: str, command: tuple[str, ...], eager: bool
) -> tuple[list[str], dict[str, str]]:
    """The steps of a command that nobody disturbs, and what it leaves."""
    machine.prepare(given)
    return machine.done(*command, eager=eager), machine.left()


def begin(machine: Machine, world: World) -> tuple[list[str], dict[str, str]]:
    """The same of a world, in which everything is then as before."""
    found = undisturbed(machine, world.given, world.command, world.eager)
    machine.prepare(world.given)
    return found


def said_well(ended: Ended, *words: str, codes: tuple[int, ...] = (2, 3)) -> None:
    """It has failed with a sentence for the user."""
    assert ended.code in codes, ended
    assert "error: " in ended.said and "hint: " in ended.said, ended.said
    assert "bug" not in ended.said and "Traceback" not in ended.said, ended.said
    for word in words:
        assert word in ended.said, ended.said


def goes_on(machine: Machine, world: World, left: dict[str, str]) -> None:
    """The same command, on a machine that is well again, ends like one that was never disturbed."""
    machine.done(*world.command, eager=world.eager)
    found = machine.left()
    assert found.keys() == left.keys()
    assert [name for name in found if found[name] != left[name]] == []


# --- What the system refuses ------------------------------------------------------------------------------------------


def refused_and_finished(machine: Machine, world: World, count: int) -> None:
    """From a random step on, nothing can be written any more; spread over all steps, an error after the other."""
    steps, left = begin(machine, world)
    rng = random.Random(world.name)
    for part in range(count):
        at = int((part + rng.random()) / count * len(steps))
        fault = FAULTS[(part + len(world.name)) % len(FAULTS)]
        machine.prepare(world.given)
        ended = machine.call(*world.command, eager=world.eager, at=at, fault=fault)
        if ended.code:  # what is refused may not matter, such as clearing up
            said_well(ended, os.strerror(getattr(errno, fault)))
        goes_on(machine, world, left)


def test_a_write_that_is_refused(machine: Machine) -> None:
    refused_and_finished(machine, VECTORS, 1)


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_any_write_that_is_refused(machine: Machine, world: World) -> None:
    refused_and_finished(machine, world, (2 if world.eager or world.name.startswith("export") else 4) * TIMES)


@contextlib.contextmanager
def disk(folder: Path, kib: int) -> Iterator[None]:
    """A file system of so many KiB at `folder`; skipped where one may not be mounted."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize(
    ("world", "place", "kib"),
    [
        (VECTORS, "disk", 60),
        *(pytest.param(VECTORS, "disk", kib, marks=pytest.mark.slow) for kib in (8, 200)),
        *(pytest.param(PICTURES, "disk", kib, marks=pytest.mark.slow) for kib in (100, 400)),
        *(pytest.param(PICTURES, "cache", kib, marks=pytest.mark.slow) for kib in (8, 100)),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_disk_that_is_full(machine: Machine, world: World, place: str, kib: int) -> None:
    """A real one: also what is mapped into memory, or written by libraries in C, must not end the process."""
    command = tuple("disk/run" if word == "run" else word for word in world.command)
    _, left = begin(machine, replace(world, command=command))
    with disk(machine.here / place, kib):
        said_well(machine.call(*command), str(place), "pace")  # "No space left on device", "free some space there"
        subprocess.run(["mount", "-o", "remount,size=64m", machine.here / place], check=True)
        machine.done(*command)
        assert machine.left() == left


@pytest.mark.parametrize("world", [USUAL["page"], USUAL["export-folders"]], ids=lambda world: world.name)
def test_an_output_on_a_full_disk(machine: Machine, world: World) -> None:
    machine.prepare(world.given)
    outputs = {"out": "disk/out", "page.html": "disk/page.html"}
    command = tuple(outputs.get(word, word) for word in (*world.command, "--link", "copy"))
    command = command if world.name != "page" else command[:-2]
    with disk(machine.here / "disk", 16):
        said_well(machine.call(*command), "cannot write disk/", "No space left")
        assert not [path for path in (machine.here / "disk").rglob("*") if path.is_file()]
        subprocess.run(["mount", "-o", "remount,size=64m", machine.here / "disk"], check=True)
        machine.done(*command)


@pytest.mark.parametrize("place", [".", pytest.param("cache", marks=pytest.mark.slow), "run"])
def test_a_folder_without_permission(machine: Machine, place: str) -> None:
    _, left = begin(machine, PICTURES)
    folder = machine.here / place
    folder.mkdir(exist_ok=True)
    folder.chmod(0o555)
    ended = machine.call(*PICTURES.command, bound=True)
    folder.chmod(0o755)
    said_well(ended, "Permission denied", "cache" if place == "cache" else "cannot write run")
    goes_on(machine, PICTURES, left)


def test_files_without_permission_are_rows_and_a_manifest_is_named(machine: Machine) -> None:
    machine.prepare("pictures")
    for row in range(3):
        (machine.here / f"{row}.png").chmod(0)
    ended = machine.call(*PICTURES.command, bound=True)
    assert ended.code == 0 and "3 of 70" in ended.said
    report = RunFolder(machine.here / "run").report.table
    errors = [error for error in report["error"].to_pylist() if error]
    assert len(errors) == 3 and all("ermission denied" in error for error in errors), errors
    (machine.here / "pictures.csv").chmod(0)
    said_well(machine.call(*PICTURES.command, bound=True), "pictures.csv", "Permission denied", codes=(2,))


# --- Processes and memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "what", "spared"),
    [
        (DECODING, "processes", 0),
        (DECODING, "threads", 0),
        *(pytest.param(DECODING, "processes", spared, marks=pytest.mark.slow) for spared in (1, 2)),
        *(pytest.param(TWO, "processes", spared, marks=pytest.mark.slow) for spared in (0, 1, 2)),
        *(pytest.param(DECODING, "threads", spared, marks=pytest.mark.slow) for spared in (1, 2)),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_nothing_more_can_be_started(machine: Machine, world: World, what: str, spared: int) -> None:
    alone = replace(world, eager=False)  # goes on in one process, which starts sooner and leaves the same
    _, left = begin(machine, alone)
    ended = machine.call(*world.command, eager=True, refused=what, spared=spared)
    if ended.code:  # a few may be enough
        said_well(ended, "cannot be started" if "worker" in ended.said else "no more threads", codes=(3,))
    else:
        assert spared > 0
    goes_on(machine, alone, left)


@pytest.mark.slow
@pytest.mark.parametrize("world", [TWO, DECODING, USUAL["encode-2"]], ids=lambda world: world.name)
def test_a_worker_that_is_killed_is_replaced(machine: Machine, world: World) -> None:
    _, left = begin(machine, world)
    killed: list[int] = []

    def murder() -> None:
        """The newest of the workers, half a second after it was seen."""
        while not killed:
            workers = [pid for pid in descendants(machine.killer.pid) if b"spawn_main" in command_of(pid)]
            if workers:
                time.sleep(0.5)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(workers[-1], signal.SIGKILL)
                    killed.append(workers[-1])
            time.sleep(0.01)

    thread = threading.Thread(target=murder, daemon=True)
    thread.start()
    machine.done(*world.command, eager=True)
    found = machine.left()
    assert killed and [name for name in left if found.get(name) != left[name]] == []


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.slow
@pytest.mark.parametrize("mib", [1, 8, 32, 96])
def test_the_memory_of_the_machine_is_used_up(machine: Machine, mib: int) -> None:
    _, left = begin(machine, PICTURES)
    ended = machine.call(*PICTURES.command, room=mib << 20)
    # Arrow dies where there is nothing left to write Parquet with, torch where that is found out while it learns
    place = re.search(r'most recent call first\):\s+File "(.*)", line', ended.said)
    inside = place and re.search(r"site-packages/(pyarrow/parquet|torch/autograd)/", place[1])
    if ended.code and not (inside and ended.code in (-signal.SIGSEGV, -signal.SIGABRT)):
        said_well(ended, "memory", codes=(2, 3))
    goes_on(machine, PICTURES, left)


@pytest.mark.slow
def test_two_processes_fill_one_cold_cache(machine: Machine) -> None:
    _, left = begin(machine, PICTURES)
    other = Machine(machine.folder)
    command = tuple("second" if word == "run" else word for word in PICTURES.command)
    thread = threading.Thread(target=other.done, args=command)
    thread.start()
    machine.done(*PICTURES.command)
    thread.join()
    other.killer.communicate()
    found = machine.left()
    beside = {name.replace("second/", "run/"): value for name, value in found.items() if name.startswith("second/")}
    same = [name for name in beside if name != "run/run.json"]  # that has the command in it
    assert [name for name in left if found[name] != left[name]] == []
    assert beside and [name for name in same if beside[name] != left[name]] == []


# --- Files and clocks that change -------------------------------------------------------------------------------------


def test_a_file_that_goes_away_meanwhile_is_a_row(machine: Machine) -> None:
    machine.prepare("pictures")
    ended = machine.call(*PICTURES.command, at=3, of="decode", vanishes=str(machine.here / "69.png"))
    assert ended.code == 0 and "1 of 70" in ended.said
    report = RunFolder(machine.here / "run").report.table
    errors = [error for error in report["error"].to_pylist() if error]
    assert errors == ["the file does not exist"]


@pytest.mark.parametrize("change", [pytest.param("gone", marks=pytest.mark.slow), "changed"])
def test_files_that_changed_between_two_processes(machine: Machine, change: str) -> None:
    """What a run was begun with is no more: that is said, and another run starts from what is there."""
    machine.prepare("pictures")
    assert machine.call(*PICTURES.command, at=0, of="epoch").code == -9
    picture = machine.here / "3.png"
    if change == "gone":
        picture.unlink()
    else:
        picture.write_bytes((machine.here / "4.png").read_bytes())
    said_well(machine.call(*PICTURES.command), "run", "another", codes=(2,))
    machine.done(*(("fresh" if word == "run" else word) for word in PICTURES.command))


@pytest.mark.parametrize("year", [pytest.param(1980, marks=pytest.mark.slow), 2099])
def test_a_clock_that_jumps_between_two_processes(machine: Machine, year: int) -> None:
    """Whatever an earlier process has left is of a distant past, or of the future."""
    steps, left = begin(machine, PICTURES)
    assert machine.call(*PICTURES.command, at=steps.index("rename run/.tmp-stages-proxy-1.json")).code == -9
    then = (year - 1970) * 365.25 * 86_400
    for path in [*(machine.here / "run").rglob("*"), *(machine.here / "cache").rglob("*")]:
        os.utime(path, (then, then))
    for path in (machine.here / "run" / "stages").iterdir():
        done = json.loads(path.read_bytes())
        path.write_text(json.dumps(done | {"finished": f"{year}{done['finished'][4:]}"}))
    again = machine.done(*PICTURES.command)
    assert "decode" not in again and again.count("epoch") < steps.count("epoch")
    found = machine.left()
    assert [name for name in left if found[name] != left[name]] == []

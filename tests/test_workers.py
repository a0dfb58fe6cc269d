"""Worker processes: they never import the user's `__main__`, however Python was started, and they end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from audit_world import CLASSES, save_pictures, write_csv

from cleanlab_lite.workers import ahead, pool

# No guard. What stands before the call must run once; the work must be done in other processes.
SCRIPT = """
import os
print("before the call")
from cleanlab_lite.workers import ahead, pool

with pool(2) as executor:
    print(executor.submit(os.getpid).result() != os.getpid())
print("the end")
"""
CONSOLE = f"""
import sys, types
sys.modules["__main__"] = types.ModuleType("__main__")
{{without}}
exec({SCRIPT!r}, vars(sys.modules["__main__"]))
"""


def run(*arguments: object, folder: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, input=stdin, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with the script as a file, as a module of a package, and as the `__main__` of the package."""
    (tmp_path / "mine").mkdir()
    for name in ("script.py", "mine/__init__.py", "mine/__main__.py", "mine/part.py"):
        (tmp_path / name).write_text("" if name.endswith("__init__.py") else SCRIPT)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["script.py"], ""),
        (["-m", "mine"], ""),
        (["-m", "mine.part"], ""),
        (["-c", SCRIPT], ""),
        (["-"], SCRIPT),
        (["-c", CONSOLE.format(without="")], ""),  # as in a notebook: no file, no spec
        (["-c", CONSOLE.format(without="del sys.modules['__main__'].__spec__")], ""),  # as in some consoles
    ],
    ids=["script", "package", "module", "-c", "stdin", "notebook", "console"],
)
def test_a_main_without_a_guard_runs_once(package: Path, arguments: list[str], stdin: str) -> None:
    done = run(*arguments, folder=package, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["before the call", "True", "the end"]


AUDIT = """
import cleanlab_lite as cl
from cleanlab_lite.data import decode, media

print("before the call")
decode.CHUNK, decode.POOL_MIN_FILES = 8, 8
media.read_bytes = None  # of this process: the files are read by workers, or not at all
options = dict(epochs=1, ensemble=2, planted=0.0, views="pixels", image_size=8, workers=2, device="cpu")
print(len(cl.audit("m.csv", **options)))
"""


def test_a_script_without_a_guard_audits_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    names = [f"{row}.png" for row in range(60)]
    kinds = np.arange(60) % 3
    save_pictures(tmp_path, kinds, names)
    write_csv(tmp_path / "m.csv", {"path": names, "label": [CLASSES[kind] for kind in kinds]})
    (tmp_path / "script.py").write_text(AUDIT)
    done = run("script.py", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["before the call", "60"]


CONSOLE_SCRIPT = """
import nlclean.main
from cleanlab_lite.workers import ahead, pool

if __name__ == "__main__":
    with pool(1) as executor:
        loaded = executor.submit(eval, "set(__import__('sys').modules)").result()
    print(*{"nlclean", "torch"} & loaded)
"""


def test_the_console_script_is_not_loaded_by_workers(tmp_path: Path) -> None:
    """Its guard would keep it from running, but every worker would load the command line."""
    (tmp_path / "nlclean").write_text(CONSOLE_SCRIPT)
    done = run("nlclean", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


# What a packer makes of `nlclean`: one executable that is Python and the program.
FROZEN = f"""#!{sys.executable}
import sys
sys.frozen, sys.executable = True, __file__
if "-c" in sys.argv:  # packers take care of the resource tracker
    exec(sys.argv[-1])
elif sys.argv[1] == "go":
    exec({SCRIPT!r})
else:
    from nlclean.main import main
    main()
"""


@pytest.mark.skipif(os.name != "posix", reason="starts a file by its first line")
def test_a_frozen_program_is_its_own_worker(tmp_path: Path) -> None:
    (tmp_path / "nlclean").write_text(FROZEN)
    (tmp_path / "nlclean").chmod(0o755)
    done = subprocess.run([tmp_path / "nlclean", "go"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["before the call", "True", "the end"]


OWN_PROCESS = """
import multiprocessing
from cleanlab_lite.workers import ahead, pool

def work():
    print("work of __main__")

if __name__ == "__main__":
    with pool(1) as executor:
        executor.submit(len, "").result()
    process = multiprocessing.get_context("spawn").Process(target=work)
    process.start()
    process.join()
"""


def test_processes_of_the_user_keep_their_main(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(OWN_PROCESS)
    done = run("script.py", folder=tmp_path)
    assert (done.stdout, done.stderr) == ("work of __main__\n", "")


FORKED = """
import os, sys
from multiprocessing import active_children
print("before the call")
from cleanlab_lite.workers import forked_from, pool, start

with forked_from("this_is_no_module", "colorsys", "os"), forked_from("nothing"):
    [template] = active_children()
    with pool(2) as executor:
        loaded = executor.submit(eval, "'colorsys' in __import__('sys').modules").result()
        print(loaded, executor.submit(os.getppid).result() == template.pid)
    ended = start(os._exit, 3)
    ended.join()
    print(ended.exitcode)
    template.kill()
    template.join()
    with pool(1) as executor:
        print(executor.submit(os.getppid).result() == os.getpid())
print(active_children(), os.listdir(os.environ["TMPDIR"]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are spawned")
def test_workers_are_forked_from_one_that_has_loaded_what_they_need(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "script.py").write_text(FORKED)
    done = run("script.py", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["before the call", "True True", "3", "True", "[] []"]


KILLED = """
import os, signal, time
from multiprocessing import active_children
from cleanlab_lite.workers import forked_from, start
with forked_from("os"):
    worker = start(time.sleep, 60)
    print(worker.pid, active_children()[0].pid, active_children()[1].pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are spawned")
def test_a_process_that_is_killed_takes_its_template_and_its_workers_with_it(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    done = run("-c", KILLED, folder=tmp_path)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    end = time.monotonic() + 20
    while any(Path("/proc", pid).exists() for pid in done.stdout.split()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(Path("/proc", pid).exists() for pid in done.stdout.split())
    assert not list((tmp_path / "tmp").iterdir())


ENDED = """
import os, sys, time
from cleanlab_lite.workers import forked_from, start
os.setsid()
with forked_from("os"):
    worker = start(time.sleep, 60)
    print(worker.pid, flush=True)
    os.killpg(0, int(sys.argv[1]))
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are spawned")
@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), getattr(signal, "SIGHUP", 0)])
def test_where_all_are_ended_at_once_no_folder_is_left(tmp_path: Path, number: int, monkeypatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    done = run("-c", ENDED, str(int(number)), folder=tmp_path)
    assert (done.returncode, done.stderr) == (-number, "")
    end = time.monotonic() + 20
    while (
        list((tmp_path / "tmp").iterdir()) or Path("/proc", done.stdout.strip()).exists()
    ) and time.monotonic() < end:
        time.sleep(0.05)
    assert not list((tmp_path / "tmp").iterdir()) and not Path("/proc", done.stdout.strip()).exists()


def test_every_worker_is_initialized() -> None:
    with pool(2, os.chdir, (os.sep,)) as executor:
        assert {executor.submit(os.getcwd).result() for _ in range(8)} == {os.sep}


def test_a_worker_that_dies_is_said_so() -> None:
    with pool(1) as executor, pytest.raises(BrokenProcessPool):
        executor.submit(os._exit, 1).result()


# In a process of its own: were one of the workers left, its end would wait for it.
REFUSED = """
import errno, multiprocessing.util, os, threading, time
from cleanlab_lite.errors import WorkerDied
from cleanlab_lite.workers import pool

def none_left(*_, **__):
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

def no_thread(*_, **__):
    raise RuntimeError("can't start new thread")

usual, spared = multiprocessing.util.spawnv_passfds, [{spared}]
def spawn(*arguments):
    spared[0] -= 1
    return none_left() if spared[0] < 0 else usual(*arguments)

multiprocessing.util.spawnv_passfds = spawn
if {spared} > 2:
    threading._start_new_thread = threading._start_joinable_thread = no_thread
for _ in range(2):
    try:
        with pool(2) as executor:
            for _ in range(3):
                executor.submit(time.sleep, 1)
    except WorkerDied as error:
        print(error)
"""


@pytest.mark.parametrize(("spared", "why"), [(0, "unavailable"), (2, "unavailable"), (6, "can't start new thread")])
def test_where_no_process_can_be_started_it_is_said_and_none_is_left(tmp_path: Path, spared: int, why: str) -> None:
    done = run("-c", REFUSED.format(spared=spared), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("a worker process cannot be started: ") == 2 == done.stdout.count(why)
    assert "hint: --workers 1 starts none" in done.stdout


def test_threads_give_what_map_gives_in_order_and_no_further_than_they_are_asked():
    begun = []

    def double(number):
        begun.append(number)
        return 2 * number

    given = ahead(double, range(1000), threads=2)
    assert [next(given) for _ in range(3)] == [0, 2, 4]
    given.close()
    assert len(begun) <= 3 + 4 + 1
    assert list(ahead(double, range(5), threads=3)) == [0, 2, 4, 6, 8]


def test_what_one_of_several_threads_raises_ends_the_work():
    begun = []

    def fail(number):
        begun.append(number)
        if number == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        list(ahead(fail, range(1000), threads=2))
    assert len(begun) < 20

"""Runs the program in processes that die on cue. One job per line on stdin, one answer per line on stdout, both JSON.

    {"arguments": ["audit", ...], "at": 3}
    {"code": -9, "said": "plan: ...", "steps": ["write run.json", "write manifest.parquet", ...]}

A step is a file of the run half written ("write NAME"), a batch learned ("learn"), an epoch trained and observed
("epoch"), a picture decoded ("decode"). The process is killed at step `at`, counted from 0; null lets it live. `steps`
are those it came to. Where `of` is given, only steps that start with it are counted. A checkpoint is left every
`interval` seconds of training, where that is given.

Where a folder `under` is given, every change of a file in it is a step too, taken just before it happens ("open PATH",
"rename PATH", "remove PATH", ...), and so is every word of progress ("stage NAME"). `late` are seconds from the step to
the kill, so that it comes in the middle of whatever follows. `cwd` is where the program runs. Where `eager`, workers
are started for work that is not worth them. `said` is what was on stderr.

Faults in the place of a kill: from the step on, all changes end in the error of the name `fault` (ENOSPC spares those
that a full disk allows). `vanishes` is a file that is gone from then on. `bound`: root is bound by permissions, too.
`room` are bytes of memory that it may take beyond what it has. `refused` is what cannot be started, "processes" or
"threads", but for `spared` of them.

torch is imported once, here, where it has no reason yet to start threads, and every job is a fork.
"""

from __future__ import annotations

import ctypes
import errno
import json
import multiprocessing.util
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

# what an audit would import on its way, again in every fork
import pandas  # noqa: F401
import pyarrow.compute  # noqa: F401
import rich.table  # noqa: F401
import scipy.linalg
import scipy.optimize  # noqa: F401
import torch  # noqa: F401

from cleanlab_lite import encoding, sources
from cleanlab_lite.data import decode, media
from cleanlab_lite.forecast import Forecast, Part
from cleanlab_lite.manifest import readers  # noqa: F401
from cleanlab_lite.run import Run
from cleanlab_lite.train import checkpoint, ensemble, jobs  # noqa: F401
from cleanlab_lite.train import fit as training
from cleanlab_lite.train.strategies import Learner
from nlclean import progress
from nlclean.commands import audit  # noqa: F401
from nlclean.main import program
from nlclean.views import plan, report  # noqa: F401

HANGS_AFTER = 120  # seconds
SPAWN = "spawnv_passfds"  # of multiprocessing
THREAD = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"  # of threading
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# of Python's audit
TAKES = ("open", "os.mkdir", "os.link", "os.symlink")  # room on the disk
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")


class Killer:
    """Counts steps, keeps a record of them, and kills the process at the one it waits for."""

    def __init__(self, at: int | None, of: str, record: BinaryIO, late: float = 0.0, fault: str = "") -> None:
        self.at, self.of, self.record, self.late, self.fault = at, of, record, late, fault
        self.vanishes = ""
        self.steps = 0
        self.due = False  # the kill has been set up, and comes

    def now(self, step: str) -> bool:
        """Whether this step is the one."""
        self.record.write(step.encode() + b"\n")
        self.record.flush()
        if not step.startswith(self.of):
            return False
        self.steps += 1
        return self.steps - 1 == self.at and not self.fault

    def kill(self) -> None:
        if self.vanishes:
            os.unlink(self.vanishes)
            return
        if not self.late:
            os.kill(os.getpid(), signal.SIGKILL)
        self.due = True
        threading.Thread(target=self._kill_late, daemon=True).start()

    def _kill_late(self) -> None:
        time.sleep(self.late)
        os.kill(os.getpid(), signal.SIGKILL)

    def watch_files(self, folder: str) -> None:
        """Count what changes a file below `folder`, and what is said of progress."""

        def look(event: str, arguments: tuple[Any, ...]) -> None:
            changes = arguments[2] & WRITES if event == "open" and arguments[2] is not None else event in CHANGES
            path = os.fspath(arguments[0]) if changes and not isinstance(arguments[0], int) else ""
            place = os.path.join(os.getcwd(), os.fsdecode(path))
            if not path or not place.startswith(folder):
                return
            if self.now(f"{event.removeprefix('os.')} {place[len(folder) :]}"):
                self.kill()
            if self.at is None or self.steps <= self.at or not self.fault:
                return
            if self.fault != "ENOSPC" or event in TAKES:
                code = getattr(errno, self.fault)
                raise OSError(code, os.strerror(code), path)

        draw = progress.Drawer.__call__

        def drawn(drawer: progress.Drawer, event: Any) -> None:
            if self.now(f"stage {event.stage}"):
                self.kill()
            draw(drawer, event)

        progress.Drawer.__call__ = drawn  # type: ignore[method-assign]
        sys.addaudithook(look)

    def watch(self) -> None:
        """Put itself in the way of every step."""
        write = Run.write

        def torn_write(run: Run, name: str, writer: Callable[[Path], object]) -> None:
            def half(path: Path) -> None:
                writer(path)
                os.truncate(path, path.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)  # at once, or the half would be put in place

            write(run, name, half if self.now(f"write {name}") else writer)

        def after(step: str, function: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any) -> Any:
                result = function(*args)
                if self.now(step):
                    self.kill()
                return result

            return wrapped

        Run.write = torn_write  # type: ignore[method-assign]
        Learner.update = after("learn", Learner.update)  # type: ignore[method-assign]
        training.observe = after("epoch", training.observe)
        media.decode_image = after("decode", media.decode_image)
        # what a forecast times is no step of the run
        sources.Proxies.forecast = lambda *_: Forecast((Part.sure("report", 1.0),))  # type: ignore[method-assign]


def bind_root() -> None:
    """Give up the capabilities by which root passes over the permissions of files; of Linux."""
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    for lower in (0, 1):  # effective, permitted
        sets[lower] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def refuse(what: str, spared: int) -> None:
    """From now on the system starts no "processes" or no "threads" any more, but for some."""
    owner, name = (threading, THREAD) if what == "threads" else (multiprocessing.util, SPAWN)
    usual, left = getattr(owner, name), [spared]

    def refused(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            return usual(*arguments, **named)
        if what == "threads":
            raise RuntimeError("can't start new thread")
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    setattr(owner, name, refused)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job in a process of its own: its exit code, negative for a signal, and the steps it came to."""
    with tempfile.TemporaryFile() as record, tempfile.TemporaryFile() as talk:
        process = os.fork()
        if not process:
            signal.alarm(HANGS_AFTER)
            silence = os.open(os.devnull, os.O_RDWR)
            for stream, to in ((0, silence), (1, silence), (2, talk.fileno())):
                os.dup2(to, stream)
            os.chdir(job.get("cwd", "."))
            killer = Killer(job["at"], job.get("of", ""), record, job.get("late", 0.0), job.get("fault", ""))
            killer.vanishes = job.get("vanishes", "")
            killer.watch()
            if "under" in job:
                killer.watch_files(job["under"])
            checkpoint.INTERVAL = job.get("interval", checkpoint.INTERVAL)
            if job.get("eager"):
                jobs.WORTH, decode.POOL_MIN_FILES, encoding.FEWEST = 0, 2, decode.CHUNK
            if job.get("bound"):
                bind_root()
            if "room" in job:
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                most = pages * resource.getpagesize() + job["room"]
                resource.setrlimit(resource.RLIMIT_AS, (most, most))
            if "refused" in job:
                refuse(job["refused"], job.get("spared", 0))
            try:
                program.main(job["arguments"])
            except SystemExit as end:
                while killer.due:  # it is killed, not done
                    time.sleep(1)
                os._exit(int(end.code or 0))
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        record.seek(0)
        talk.seek(0)
        return {"code": status, "said": talk.read().decode(), "steps": record.read().decode().splitlines()}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)

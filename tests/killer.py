"""Runs the program in processes that die on cue. One job per line on stdin, one answer per line on stdout, both JSON.

    {"arguments": ["audit", ...], "at": 3}  ->  {"code": -9, "steps": ["write run.json", "write manifest.parquet", ...]}

A step is a file of the run half written ("write NAME"), a batch learned ("learn"), an epoch trained and observed
("epoch"), a picture decoded ("decode"). The process is killed at step `at`, counted from 0; null lets it live. `steps`
are those it came to. Where `of` is given, only steps that start with it are counted. A checkpoint is left every
`interval` seconds of training, where that is given.

torch is imported once, here, where it has no reason yet to start threads, and every job is a fork.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

# what an audit would import on its way, again in every fork
import pandas  # noqa: F401
import pyarrow.compute  # noqa: F401
import rich.table  # noqa: F401
import scipy.optimize  # noqa: F401
import torch  # noqa: F401
from sklearn import isotonic, linear_model, preprocessing  # noqa: F401

from cleanlab_lite import pipeline
from cleanlab_lite.data import media
from cleanlab_lite.forecast import Forecast, Part
from cleanlab_lite.manifest import readers  # noqa: F401
from cleanlab_lite.run import Run
from cleanlab_lite.train import checkpoint, ensemble  # noqa: F401
from cleanlab_lite.train import fit as training
from cleanlab_lite.train.strategies import Learner
from nlclean import output, progress  # noqa: F401
from nlclean.commands import audit  # noqa: F401
from nlclean.main import program

HANGS_AFTER = 120  # seconds


class Killer:
    """Counts steps, keeps a record of them, and kills the process at the one it waits for."""

    def __init__(self, at: int | None, of: str, record: BinaryIO) -> None:
        self.at, self.of, self.record = at, of, record
        self.steps = 0

    def now(self, step: str) -> bool:
        """Whether this step is the one."""
        self.record.write(step.encode() + b"\n")
        self.record.flush()
        if not step.startswith(self.of):
            return False
        self.steps += 1
        return self.steps - 1 == self.at

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Put itself in the way of every step."""
        write = Run.write

        def torn_write(run: Run, name: str, writer: Callable[[Path], object]) -> None:
            def half(path: Path) -> None:
                writer(path)
                os.truncate(path, path.stat().st_size // 2)
                self.kill()

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
        pipeline.Proxies.forecast = lambda *_: Forecast((Part.sure("report", 1.0),))  # type: ignore[method-assign]


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job in a process of its own: its exit code, negative for a signal, and the steps it came to."""
    with tempfile.TemporaryFile() as record:
        process = os.fork()
        if not process:
            signal.alarm(HANGS_AFTER)
            silence = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(silence, stream)
            Killer(job["at"], job.get("of", ""), record).watch()
            checkpoint.INTERVAL = job.get("interval", checkpoint.INTERVAL)
            try:
                program.main(job["arguments"])
            except SystemExit as end:
                os._exit(int(end.code or 0))
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        record.seek(0)
        return {"code": status, "steps": record.read().decode().splitlines()}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)

"""What workers do in tests. In a module of its own, which loads no torch: they start in a fraction of a second."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from cleanlab_lite.clock import Clock
from cleanlab_lite.errors import ConfigError


class Unwilling(Exception):
    """Pickles, but does not come back."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def do(errand: tuple[str, Any], clock: Clock) -> Any:
    """("square", 3), ("die", file that counts), ("fail", ...), ("wait", seconds): in C, without a word,
    ("steps", (seconds, file)): until told to stop, ("until", file): until it is there."""
    what, given = errand
    pulse = clock.pulse(1, what)
    if what == "die":
        path, times = given
        with Path(path).open("a") as file:
            file.write("x")
        if Path(path).stat().st_size <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        return "alive"
    if what == "fail":
        raise ConfigError("it cannot be", hint="try another")
    if what == "unwilling":
        raise Unwilling("a", "b")
    if what == "wait":
        time.sleep(given)
        return "waited"
    if what == "until":
        while not Path(given).exists():
            time.sleep(0.005)
            pulse.step()
        return "there"
    if what == "steps":
        seconds, path = given
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                time.sleep(0.005)
                pulse.step()
        finally:
            Path(path).write_text("left")
        return "finished"
    pulse.step()
    pulse.end_epoch(0)
    return os.getpid() if what == "pid" else given**2

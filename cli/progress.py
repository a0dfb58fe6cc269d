"""Draws the library's progress events: a bar on a terminal and in a notebook, a line every 30 s on stderr elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING

from cleanlab_lite.progress import Progress
from cleanlab_lite.text import escape

from . import diagnostics
from .terminal import format_duration, is_terminal, supports_color

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PATIENCE = 2.0  # seconds that a stage, or the whole, may take before anything is drawn
INTERVAL = 30.0  # seconds between lines where there is no terminal


def watched() -> bool:
    """Whether somebody sees bars: on a terminal that is no log of CI, or in a notebook."""
    return (is_terminal(sys.stderr) and not os.environ.get("CI")) or _in_notebook()


def _in_notebook() -> bool:
    """Whether rich can draw in a notebook: asked of IPython as rich does, and ipywidgets is what it draws with."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell" and find_spec("ipywidgets") is not None


class Drawer:
    """A listener for `on_progress`, and a context manager that leaves the terminal as it was.

    Events that know how far the whole audit is share one bar, which names the stage; others have a bar per stage. A bar
    is drawn once it has lasted `PATIENCE`. `clock` gives seconds; tests wind it by hand.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._live = watched()
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._first: Progress | None = None  # event that opened the current stage
        self._began = 0.0  # of the current stage
        self._started = 0.0  # of the current bar
        self._drawn: float | None = None  # when the current bar was last drawn

    def __enter__(self) -> Drawer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: Progress) -> None:
        if diagnostics.verbosity() <= diagnostics.QUIET:
            return
        now = self._clock()
        first = self._first
        again = first is None or event.stage != first.stage or event.done < first.done
        if first is None or (again and event.share is None):  # another bar
            self._started, self._drawn, self._task = now, None, None
        if again:
            self._first, self._began = event, now
        closed = bool(event.total) and event.done >= event.total if event.share is None else event.share >= 1
        elapsed = now - self._started
        due = elapsed >= PATIENCE and not closed if self._drawn is None else closed or now - self._drawn >= INTERVAL
        name = "audit" if closed and event.share is not None else event.stage
        if self._live and (due or self._drawn is not None):
            self._draw_bar(name, event, self._status(event, now, closed))
            self._drawn = now
        elif not self._live and due:
            diagnostics.note(f"{name}: {self._status(event, now, closed)}")
            self._drawn = now
        if closed:
            self._first = None

    def _status(self, event: Progress, now: float, closed: bool) -> str:
        """ "12/50 epochs, 0.4 epochs/s, 31 % of all, 1m35s left, network 2 of 5".

        The rate is that of the stage at hand. What a resumed run had done is not in the rate.
        """
        whole = event.share is not None
        note = [escape(event.note)] if event.note else []
        if closed:
            what = "done" if whole else f"{event.done:,} {event.unit}"
            return ", ".join([f"{what} in {format_duration(now - self._started)}", *(note if whole else [])])
        assert self._first is not None
        elapsed = now - self._began
        rate = (event.done - self._first.done) / elapsed if elapsed > 0 else 0.0
        parts = [f"{event.done:,}/{event.total:,} {event.unit}" if event.total else f"{event.done:,} {event.unit}"]
        left = (event.total - event.done) / rate if rate > 0 and event.total else None
        if rate > 0:
            parts.append(f"{rate:,.0f} {event.unit}/s" if rate >= 100 else f"{rate:.2g} {event.unit}/s")
        if event.share is not None:
            parts = [] if event.total == 1 else parts  # a stage in one piece
            parts.append(f"{math.floor(100 * event.share)} % of all")
            left = event.left
        if left is not None:
            parts.append(f"{format_duration(left)} left")
        return ", ".join([*parts, *note])

    def _draw_bar(self, name: str, event: Progress, status: str) -> None:
        if self._bars is None:
            self._bars = _start_bars()
        if self._task is None:
            self._task = self._bars.add_task(name, total=None, status="")
        done, total = (event.done, event.total or None) if event.share is None else (event.share, 1.0)
        self._bars.update(self._task, description=name, completed=done, total=total, status=status)


def _start_bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[status]}", markup=False),
        console=Console(file=sys.stderr, color_system="auto" if supports_color(sys.stderr) else None),
        redirect_stdout=False,  # stdout is the answer and may be a pipe
    )
    bars.start()
    return bars

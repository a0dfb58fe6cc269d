"""Draws the library's progress events: bars on a terminal and in a notebook, a line every 30 s on stderr elsewhere."""

from __future__ import annotations

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

PATIENCE = 2.0  # seconds a stage may take before anything is drawn
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

    A stage is drawn once it has lasted `PATIENCE`. `clock` gives seconds; tests wind it by hand.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._live = watched()
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._first: Progress | None = None  # event that opened the current stage
        self._started = 0.0
        self._drawn: float | None = None  # when the current stage was last drawn

    def __enter__(self) -> Drawer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: Progress) -> None:
        if diagnostics.verbosity() <= diagnostics.QUIET:
            return
        now = self._clock()
        if self._first is None or event.stage != self._first.stage or event.done < self._first.done:
            self._first, self._started, self._drawn, self._task = event, now, None, None
        closed = bool(event.total) and event.done >= event.total
        elapsed = now - self._started
        due = elapsed >= PATIENCE and not closed if self._drawn is None else closed or now - self._drawn >= INTERVAL
        if self._live and (due or self._drawn is not None):
            self._draw_bar(event, self._status(event, elapsed, closed))
            self._drawn = now
        elif not self._live and due:
            diagnostics.note(f"{event.stage}: {self._status(event, elapsed, closed)}")
            self._drawn = now
        if closed:
            self._first = None

    def _status(self, event: Progress, elapsed: float, closed: bool) -> str:
        """ "12/50 epochs, 0.4 epochs/s, 1m35s left, proxy 2/5"; what a resumed run had done is not in the rate."""
        if closed:
            return f"{event.done:,} {event.unit} in {format_duration(elapsed)}"
        assert self._first is not None
        rate = (event.done - self._first.done) / elapsed
        parts = [f"{event.done:,}/{event.total:,} {event.unit}" if event.total else f"{event.done:,} {event.unit}"]
        if rate > 0:
            parts.append(f"{rate:,.0f} {event.unit}/s" if rate >= 100 else f"{rate:.2g} {event.unit}/s")
            if event.total:
                parts.append(f"{format_duration((event.total - event.done) / rate)} left")
        if event.note:
            parts.append(escape(event.note))
        return ", ".join(parts)

    def _draw_bar(self, event: Progress, status: str) -> None:
        if self._bars is None:
            self._bars = _start_bars()
        if self._task is None:
            self._task = self._bars.add_task(event.stage, total=None, status="")
        self._bars.update(self._task, completed=event.done, total=event.total or None, status=status)


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

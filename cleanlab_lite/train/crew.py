"""`Crew`: worker processes that do errands beside each other, as long as an audit goes on.

It knows processes and messages, not networks. An errand is what can be pickled. A worker does one at a time, says how
far it is, and may be told to stop, which it hears at its next look at the clock. A worker that dies is not replaced,
unless it was the last: most often the memory was full, and fewer need less. Its errand is done once more by another.
"""

from __future__ import annotations

import contextlib
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from cleanlab_lite.clock import Clock
from cleanlab_lite.errors import StoppedEarly, WorkerDied
from cleanlab_lite.progress import Progress
from cleanlab_lite.workers import pipe, start

LOOKS = 0.05  # seconds between two looks of a worker at what it is told
PATIENCE = 5.0  # seconds that a process is given to end, before it is killed

Work = Callable[[Any, Clock], Any]  # (errand, clock) -> answer


class Listener(Protocol):
    """Who sends the errands, by their number."""

    def heard(self, errand: int, progress: Progress) -> None:
        """A step forward."""

    def done(self, errand: int, answer: Any) -> None:
        """It is done."""

    def lost(self, errand: int, exit_code: int | None) -> None:
        """Its worker died; it is done once more, or that was the second time."""


@dataclass(eq=False)
class _Errand:
    number: int
    content: Any
    listener: Listener
    deaths: int = 0  # of workers at it
    over: bool = False


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    errand: _Errand | None = None  # that it does

    def tell(self, message: Any) -> bool:
        """Whether it still listens."""
        try:
            self.connection.send(message)
        except OSError:
            return False
        return True

    def end(self) -> None:
        """See it off."""
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


class Crew:
    """At most `size` processes that do `work`, an importable function. In a `with` block, behind which none is left."""

    def __init__(self, size: int, work: Work) -> None:
        self.size, self.work = size, work
        self._workers: list[_Worker] = []
        self._begun: list[_Errand] = []
        self._lost = 0

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Of those that were started, and were not found dead."""
        return [worker.process.pid for worker in self._workers if worker.process.pid]

    def close(self) -> None:
        """End all of them, whatever they do."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        self._begun.clear()

    def do(self, errands: Sequence[Any], listener: Listener, clock: Clock, *, workers: int) -> None:
        """Do all of them, at most `workers` at a time, beside what was begun.

        Raises, when all that are under way have come to an end:
            StoppedEarly: the time of `clock` is up.
            WorkerDied: an errand has cost two workers.
            Exception: what an errand has raised.
        """
        self._see_to([_Errand(number, content, listener) for number, content in enumerate(errands)], clock, workers)

    def begin(self, errand: Any, listener: Listener) -> None:
        """Have it done beside what comes next, first of all, and be `finish`ed at last."""
        self._begun.append(_Errand(0, errand, listener))

    @property
    def begun(self) -> list[Any]:
        """Errands that were begun, and are not over."""
        return [errand.content for errand in self._begun if not errand.over]

    def finish(self, listener: Listener, clock: Clock) -> None:
        """Wait for what was begun, of which `listener` hears from now on. Raises as `do` does."""
        self._begun = [errand for errand in self._begun if not errand.over]
        for number, errand in enumerate(self._begun):
            errand.number, errand.listener = number, listener
        self._see_to(self._begun, clock, self.size)

    def _see_to(self, errands: list[_Errand], clock: Clock, workers: int) -> None:
        round_ = _Round(self, errands, clock, workers)
        try:
            while round_.goes_on():
                pass
        except BaseException:  # Ctrl-C, or the listener: nobody waits for what is under way
            self.close()
            raise
        if round_.error is not None:
            raise round_.error

    def start(self, count: int) -> None:
        """Until there are so many that live."""
        for worker in [each for each in self._workers if each.errand is None and not each.process.is_alive()]:
            self._workers.remove(worker)
            worker.end()
        while len(self._workers) < count:
            ours, theirs = pipe()
            self._workers.append(_Worker(start(_serve, theirs, self.work), ours))
            theirs.close()  # or its end would not be heard of


class _Round:
    """Some errands on their way through a crew, beside what was begun."""

    def __init__(self, crew: Crew, errands: list[_Errand], clock: Clock, workers: int) -> None:
        self.crew, self.errands, self.clock, self.workers = crew, errands, clock, workers
        given_out = [worker.errand for worker in self.busy]
        left = (errand for errand in dict.fromkeys([*crew._begun, *errands]) if not errand.over)
        self.waiting = deque(errand for errand in left if errand not in given_out)
        self.error: Exception | None = None  # why no more is begun

    @property
    def busy(self) -> list[_Worker]:
        return [worker for worker in self.crew._workers if worker.errand is not None]

    def goes_on(self) -> bool:
        """Give out what is waiting, and listen once. False when all that is waited for is over."""
        if self.error is None:
            self.give_out()
        busy = self.busy
        for connection in wait([worker.connection for worker in busy]) if busy else ():
            worker = next(worker for worker in busy if worker.connection is connection)
            try:
                kind, content = worker.connection.recv()
            except (EOFError, OSError):
                self.bury(worker)
            else:
                self.hear(worker, kind, content)
        if self.error is not None:
            return bool(self.busy)
        return bool(self.waiting) or not all(errand.over for errand in self.errands)

    def give_out(self) -> None:
        most = max(1, min(self.workers, self.crew.size) - self.crew._lost)
        room = max(0, min(most - len(self.busy), len(self.waiting)))
        self.crew.start(min(most, len(self.busy) + room))  # all at once: starting takes seconds
        for worker in [worker for worker in self.crew._workers if worker.errand is None][:room]:
            worker.errand = self.waiting.popleft()
            if not worker.tell(worker.errand.content):
                self.bury(worker)

    def hear(self, worker: _Worker, kind: str, content: Any) -> None:
        errand = worker.errand
        assert errand is not None
        if kind == "look":
            where, moved = content
            self.clock.moved |= moved
            try:
                self.clock.check(where)
            except StoppedEarly as error:
                self.stop(error)
        elif kind == "progress":
            errand.listener.heard(errand.number, content)
        else:
            worker.errand, errand.over = None, True
            if kind == "done":
                errand.listener.done(errand.number, content)
            elif kind == "failed":
                self.stop(content)

    def bury(self, worker: _Worker) -> None:
        """A worker has died at its errand."""
        errand = worker.errand
        assert errand is not None
        self.crew._workers.remove(worker)
        self.crew._lost += 1
        worker.end()
        errand.deaths += 1
        errand.listener.lost(errand.number, worker.process.exitcode)
        if errand.deaths < 2:
            self.waiting.appendleft(errand)
            return
        self.stop(
            WorkerDied(
                f"a worker process was ended twice at the same network ({_how(worker.process.exitcode)})",
                hint="most often the memory was full: --workers 1 takes the least; the same command goes on from here",
            )
        )

    def stop(self, error: Exception) -> None:
        """Begin no more, and tell all to stop; they save how far they are."""
        if self.error is None:
            self.error = error
            for worker in self.busy:
                worker.tell(None)


def _how(exit_code: int | None) -> str:
    return f"signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"exit code {exit_code}"


# --- In a worker -----------------------------------------------------------------------------------------------------


class _Remote(Clock):
    """The clock of a worker: who sent the errand knows what time it is."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(on_progress=lambda progress: connection.send(("progress", progress)))
        self.connection = connection
        self.next = 0.0

    def check(self, where: str) -> None:
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + LOOKS
        if self.connection.poll():
            self.connection.recv()
            raise StoppedEarly("told to stop")
        self.connection.send(("look", (where, self.moved)))


def _serve(connection: Connection, work: Work) -> None:
    """What a worker does: one errand after the other, until nobody is there to send one."""
    with contextlib.suppress(OSError):  # where memory ends, Linux shall rather take a worker than the run
        Path("/proc/self/oom_score_adj").write_text("500")
    warnings.simplefilter("ignore")  # they are for whoever writes the program, and all workers would repeat them
    while True:
        try:
            errand = connection.recv()
            if errand is not None:  # told to stop when it was done
                connection.send(answer_of(errand, work, _Remote(connection)))
        except (EOFError, OSError):
            return


def answer_of(errand: Any, work: Work, clock: Clock) -> tuple[str, Any]:
    """("done", answer), ("stopped", None), or ("failed", what it has raised); all can be pickled."""
    try:
        return "done", work(errand, clock)
    except StoppedEarly:
        return "stopped", None
    except Exception as error:
        text = traceback.format_exc()
        try:
            ForkingPickler.loads(ForkingPickler.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        error.add_note(f"in a worker process: {text}")
        return "failed", error

"""Worker processes that never import the user's `__main__`.

The processes are spawned: a fork of a process in which torch runs threads may deadlock. But a process that
`multiprocessing` spawns first imports the `__main__` of its parent. A script without `if __name__ == "__main__"` would
run again in every worker, and what is no file (stdin, a notebook) cannot be imported at all. Ours start without it.
So what they are to do must be importable: functions and classes of `__main__` do not exist there.

To import torch takes each of them two seconds. On Linux one process that was spawned can do that for all, and is then
forked: it has run nothing of torch, and has no threads of it.
"""

from __future__ import annotations

import gc
import io
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from multiprocessing import reduction, resource_tracker, spawn, util
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess, set_spawning_popen
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from cleanlab_lite.errors import WorkerDied
from cleanlab_lite.files import why

Item = TypeVar("Item")
Result = TypeVar("Result")

_starting = threading.Lock()


def pool(
    workers: int, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """An executor of that many processes, which load what `initializer` and the work need and nothing else.

    They leave Ctrl-C to this process, and end with it, however it ends. Where one of them dies, futures raise
    BrokenProcessPool. What is submitted must be picklable and importable, see above.

    Raises WorkerDied, and so does submitting, where the system starts no more processes.
    """
    try:
        found = _Pool(workers, _Context(), _begin, (initializer, initargs))
        # the executor starts this thread in another thread, of which nobody hears that it could not: all would wait
        found._call_queue._start_thread()  # type: ignore[attr-defined]
    except (OSError, RuntimeError) as error:  # there is a process, too, that keeps track of what they share
        raise _not_started(error) from error
    return found


class _Pool(ProcessPoolExecutor):
    """A process starts with an errand. Where one cannot, none of the others may be left: they would wait for work, and
    the end of this process for them."""

    def submit(self, function: Callable[..., Result], /, *args: Any, **named: Any) -> Future[Result]:
        try:
            return super().submit(function, *args, **named)
        except BrokenProcessPool:
            raise
        except (OSError, RuntimeError) as error:  # of processes and of the thread that looks after them
            for process in (self._processes or {}).values():
                process.kill()
            manager: Any = self._executor_manager_thread
            if manager is not None and not manager.is_alive():  # who shuts this down would wait for it
                self._executor_manager_thread = None  # type: ignore[assignment]
            raise _not_started(error) from error


def _not_started(error: Exception) -> WorkerDied:
    return WorkerDied(
        f"a worker process cannot be started: {why(error)}",
        hint="--workers 1 starts none, and `ulimit -u` says how many you may have; the same command goes on from here",
    )


def start(target: Callable[..., object], *args: Any, daemon: bool = True) -> BaseProcess:
    """One such process, which does `target(*args)`. It ends with this one, and may be ended at any time.

    A daemon must not have workers of its own. Raises WorkerDied where the system starts no more processes.
    """
    process = _Context().Process(target=_begin, args=(target, args), daemon=daemon)
    try:
        process.start()
    except OSError as error:
        raise _not_started(error) from error
    return process


@contextmanager
def forked_from(*modules: str) -> Iterator[None]:
    """In the block processes are forked from one that has loaded these modules, and need not load them each.

    It begins with that at once, and is there until the last of such blocks ends; one inside another has the modules of
    that. Where it cannot be started, and on other systems than Linux, processes are spawned as ever.
    """
    global _template
    template = _template or (_template_of(modules) if may_start() else None)
    if template is None:
        yield
        return
    _template = template
    template.blocks += 1
    try:
        yield
    finally:
        template.blocks -= 1
        if not template.blocks:
            _template = None
            template.close()


def pipe() -> tuple[Connection, Connection]:
    """Two ends: one to keep, one to give to a process."""
    return _Context().Pipe()


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ahead(function: Callable[[Item], Result], items: Iterable[Item], threads: int = 1) -> Iterator[Result]:
    """`map`, with threads that are up to two items ahead each; in this thread where there are none."""
    if not threads:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # nobody waits for what was not begun
            pool.shutdown(wait=False, cancel_futures=True)


def may_start() -> bool:
    """Whether this process may have others: a daemonic one of `multiprocessing` may not."""
    return not multiprocessing.current_process().daemon


class _Process(SpawnProcess):
    """A process without the `__main__` of its parent: forked where there is what to fork it from, or else spawned."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        with _hidden_main():
            if _template is not None:
                with suppress(OSError, EOFError):  # it was ended
                    return _Forked(process_obj, _template)
            return SpawnProcess._Popen(process_obj)  # type: ignore[attr-defined]


class _Context(SpawnContext):
    Process = _Process  # type: ignore[assignment]


@contextmanager
def _hidden_main() -> Iterator[None]:
    """Processes that this thread starts are not told where `__main__` is. Those of other threads are."""
    vars(sys.modules["__main__"]).setdefault("__spec__", None)  # some consoles have none, and `spawn` asks for it
    with _starting:
        thread, usual = threading.get_ident(), spawn.get_preparation_data

        def preparation(name: str) -> dict[str, Any]:
            data = usual(name)
            if threading.get_ident() == thread:
                data.pop("init_main_from_name", None)
                data.pop("init_main_from_path", None)
            return data

        spawn.get_preparation_data = preparation
        try:
            yield
        finally:
            spawn.get_preparation_data = usual


if sys.platform == "linux":
    from multiprocessing import forkserver, popen_forkserver

    ENDING = (signal.SIGTERM, signal.SIGHUP)

    class _Template:
        """A process that has loaded modules, and forks others: the fork server of Python, but it finds modules where
        this process does, can be ended, and is nobody else's.

        It runs no code of torch, which would start threads: to fork them may deadlock.
        """

        def __init__(self, modules: Sequence[str]) -> None:
            self.blocks = 0  # that use it
            self.folder = tempfile.mkdtemp(prefix="nlclean-")  # for nobody else to look into
            self.address = os.path.join(self.folder, "template")
            try:
                with socket.socket(socket.AF_UNIX) as listener:
                    listener.bind(self.address)
                    listener.listen()
                    end, self.end = _Context().Pipe(duplex=False)  # it is there as long as this end is open
                    with end:
                        asked = (self.folder, listener, end, modules)
                        self.process = _Context().Process(target=_fork_others, args=asked, daemon=True)
                        self.process.start()
            except BaseException:
                shutil.rmtree(self.folder)
                raise

        def fork(self, descriptors: Sequence[int]) -> tuple[int, int]:
            """Two descriptors: what tells the number of a new process, and later its exit code; what that one reads."""
            told, tells = os.pipe()
            reads, written = os.pipe()
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(self.address)
                    tracker: Any = resource_tracker.getfd()  # of semaphores
                    reduction.sendfds(client, [reads, tells, self.end.fileno(), tracker, *descriptors])
            except BaseException:
                os.close(told)
                os.close(written)
                raise
            finally:
                os.close(tells)
                os.close(reads)
            return told, written

        def close(self) -> None:
            self.end.close()
            self.process.kill()
            self.process.join()
            shutil.rmtree(self.folder, ignore_errors=True)

    class _Forked(popen_forkserver.Popen):
        """A process forked from a template."""

        def __init__(self, process: BaseProcess, template: _Template) -> None:
            self.template = template
            super().__init__(process)  # type: ignore[no-untyped-call]

        def _launch(self, process: BaseProcess) -> None:
            """As Python does it."""
            content = io.BytesIO()
            set_spawning_popen(self)
            try:
                reduction.dump(spawn.get_preparation_data(process.name), content)
                reduction.dump(process, content)
            finally:
                set_spawning_popen(None)
            self.sentinel, end = self.template.fork(self._fds)  # type: ignore[attr-defined]
            ends = os.dup(end), self.sentinel  # it hears that this process has ended when they are closed
            self.finalizer = util.Finalize(self, util.close_fds, ends)  # type: ignore[attr-defined]
            with open(end, "wb") as file:
                file.write(content.getbuffer())
            self.pid = forkserver.read_signed(self.sentinel)

    def _template_of(modules: Sequence[str]) -> _Template | None:
        """None where no process can be started, or the path of its socket is too long."""
        with suppress(OSError):
            return _Template(modules)
        return None

    def _fork_others(folder: str, listener: socket.socket, end: Connection, modules: Sequence[str]) -> None:
        """What a template does, until the process that it is for has ended."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in `_begin`
        _on_end(partial(_leave, os.getpid()))
        try:
            gc.disable()
            for name in modules:
                with suppress(Exception):  # who needs it says what is wrong
                    import_module(name)
            gc.freeze()  # what is never looked through stays shared
            gc.enable()
            with suppress(OSError):  # no more processes
                forkserver.main(listener.detach(), end.fileno(), [])
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _leave(template: int, number: int, *_: object) -> None:
        """A template that is ended with all others, as by a terminal that is closed, still removes its folder; who was
        forked from it a moment ago just ends."""
        if os.getpid() != template:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        raise SystemExit

else:
    ENDING: tuple[signal.Signals, ...] = ()
    _Template = None

    def _template_of(modules: Sequence[str]) -> None:
        """Processes are spawned."""


_template: _Template | None = None  # that processes are forked from


def _begin(initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the pool
    _on_end(signal.SIG_DFL)  # a template does something else
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


def _on_end(handler: Callable[..., object] | signal.Handlers) -> None:
    """What is done at the signals that end a process, those that are ignored aside, as under `nohup`."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _exit_with_parent() -> None:
    """Workers would outlive a parent that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

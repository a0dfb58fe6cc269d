"""Files as arrays, decoded in worker processes where that pays; one that takes too long, or ends its process, is a row
with an error."""

from __future__ import annotations

import faulthandler
import hashlib
import itertools
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import numpy as np

from cleanlab_lite.data import media
from cleanlab_lite.data.content import content_of
from cleanlab_lite.data.formats import Decoder
from cleanlab_lite.data.media import Decoded
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.manifest.manifest import WHOLE, Segment
from cleanlab_lite.workers import cores, pool

CHUNK = 64  # files per task of a worker
POOL_MIN_FILES = 500  # below this, starting workers costs more than it saves
SECONDS = 120.0  # that decoding a file may take
PATIENCE = 1.5  # times as long until a worker is ended that does not hear that
TOO_SLOW = ("too_slow", "decoding it takes too long")  # code and reason of such a file
ENDED = ("decode_failed", "decoding it ends the process that does it: out of memory, or a fault of a library")
HOPELESS = 3  # files in a row that end their process, until something else must be wrong
AHEAD = 4  # tasks under way per worker


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one file, or part of one."""

    content: str  # `content_of` it, "" where unreadable
    code: str = ""
    error: str = ""
    decoded: Decoded | None = None  # None when unreadable or already in the cache
    file: str = ""  # sha256 of the whole file


Place = tuple[str, Segment]


def places_of(uris: Sequence[str] | np.ndarray, segments: np.ndarray | None) -> list[Place]:
    parts = [WHOLE] * len(uris) if segments is None else [Segment(*part) for part in segments.tolist()]
    return [(str(uri), part) for uri, part in zip(uris, parts, strict=True)]


def read_rows(places: list[Place], form: Decoder, cached: frozenset[str]) -> list[Row]:
    """A row for each; rows of one file that follow each other share its bytes."""
    rows = []
    for uri, group in itertools.groupby(places, key=lambda place: place[0]):
        segments = [segment for _, segment in group]
        try:
            data = media.read_bytes(uri, remote=True)
        except DecodeError as error:
            rows += [Row("", error.code, error.message)] * len(segments)
        else:
            file = hashlib.sha256(data).hexdigest()
            rows += [_decode(data, file, segment, form, cached) for segment in segments]
    return rows


def _decode(data: bytes, file: str, segment: Segment, form: Decoder, cached: frozenset[str]) -> Row:
    content = content_of(file, segment)
    if content in cached:
        return Row(content, file=file)
    try:
        with _limited(_seconds):
            decoded = form.decode(data, segment)
    except _TooSlow:
        return Row("", *TOO_SLOW)
    except DecodeError as error:
        return Row("", error.code, error.message)
    return Row(content, decoded=decoded, file=file)


def read_in_chunks(
    places: list[Place], form: Decoder, cached: frozenset[str], workers: int
) -> Generator[list[Row], None, None]:
    """A row for each, in order, up to `CHUNK` at a time; from worker processes where that pays (0: one per core).

    What is `cached`, by its content, is not decoded.
    """
    chunks = [places[start : start + CHUNK] for start in range(0, len(places), CHUNK)]
    workers = min(workers or cores(), len(chunks))
    if workers < 2 or len(places) < POOL_MIN_FILES:
        for chunk in chunks:
            yield read_rows(chunk, form, cached)
        return
    finished = 0
    while finished < len(chunks):
        try:
            with closing(_pooled(chunks[finished:], form, cached, workers)) as results:
                for result in results:
                    finished += 1
                    yield result
        except BrokenProcessPool:  # a worker was ended, and nobody knows by which of the files that were under way
            suspects = chunks[finished : finished + AHEAD * workers]
            rows = iter(_read_alone(list(itertools.chain(*suspects)), form, cached))
            for chunk in suspects:
                finished += 1
                yield list(itertools.islice(rows, len(chunk)))


def _read_alone(places: list[Place], form: Decoder, cached: frozenset[str]) -> list[Row]:
    """Like `read_rows`, a file at a time in a process of its own: one that ends it twice, or takes too long, is no row.

    Where many files in a row do, it is not they: the rest is read right here.
    """
    rows: list[Row] = []
    lost = 0  # in a row
    with ExitStack() as running:
        executor: Executor | None = None
        for number, place in enumerate(places):
            for attempt in (1, 2):
                begun = time.monotonic()
                try:
                    if executor is None:
                        executor = pool(1, _start_worker, (form, cached, SECONDS))
                        running.callback(executor.shutdown, cancel_futures=True)
                        executor.submit(_work, []).result()
                        begun = time.monotonic()  # that it started is no time of the file
                    rows += executor.submit(_work, [place]).result()
                    lost = 0
                    break
                except BrokenProcessPool:
                    executor = None
                    slow = time.monotonic() - begun >= SECONDS
                if slow or attempt == 2:
                    lost = 0 if slow else lost + 1
                    rows.append(Row("", *(TOO_SLOW if slow else ENDED)))
                    break
            if lost == HOPELESS:
                return rows[:-lost] + read_rows(places[number + 1 - lost :], form, cached)
    return rows


def _pooled(
    chunks: list[list[Place]], form: Decoder, cached: frozenset[str], workers: int
) -> Generator[list[Row], None, None]:
    executor = pool(workers, _start_worker, (form, cached, SECONDS))
    try:
        ahead: deque[Future[list[Row]]] = deque()  # bounded, so that results do not pile up in memory
        for chunk in chunks:
            ahead.append(executor.submit(_work, chunk))
            if len(ahead) >= AHEAD * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


_worker_args: tuple[Decoder, frozenset[str]]  # of `read_rows`, the same for all tasks: set once per worker
_seconds = SECONDS  # that decoding a file may take in this process
_nowhere = -1  # in a worker: a descriptor of nothing


def _start_worker(form: Decoder, cached: frozenset[str], seconds: float) -> None:
    global _worker_args, _seconds, _nowhere
    _worker_args, _seconds = (form, cached), seconds
    _nowhere = os.open(os.devnull, os.O_WRONLY)


def _work(places: list[Place]) -> list[Row]:
    return read_rows(places, *_worker_args)


class _TooSlow(BaseException):
    """Decoding has taken too long. No Exception: what reads broken files catches all of these."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raises _TooSlow in the block when the time is over; a worker that does not hear it, in C, is ended.

    Only in a main thread whose alarm nobody else has set; elsewhere there is no limit.
    """
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGALRM, _over)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again and again: some C code drops what is raised in it
    if _nowhere >= 0:
        faulthandler.dump_traceback_later(PATIENCE * seconds, exit=True, file=_nowhere)
    try:
        yield
    finally:
        if _nowhere >= 0:
            faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _over(number: int, frame: object) -> None:
    raise _TooSlow

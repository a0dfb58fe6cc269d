"""Decode once: memory-mapped arrays, keyed by the content of the files. Failures are rows.

A picture is one array (3, size, size), a sound is one array (1, 64, 64) or several: the log-mel patches of the clip.
What a frozen encoder makes of a file is one vector, kept in the same way.

A part of a sound counts as a file: where this page says sha256, that of a part is of the file's sha256 and the part.

    <cache_dir>/images-v<version>-<size>/<pack>.npy    (a, 3, size, size) uint8
    <cache_dir>/sounds-v<version>-<rate>-<ms>/         (a, 1, 64, 64) uint8
    <cache_dir>/features-v<version>-<encoder>/         (a, d) float16
                                         <pack>.txt    crc32 of the pack, then a line per file: its sha256 or "-",
                                                       and where not 1, none and unknown: how many arrays it has, its
                                                       notes or "-", the size of the picture as 640x480
    <cache_dir>/stat-v1/<id>.txt                       fingerprint of (path, inode, size, times) -> sha256, per line

Files appear complete (temporary name, fsync, rename; the index after the pixels), under names that are never used
twice, and are never changed: processes do not disturb each other, and anything may be deleted at any time.
A pack that is damaged or has no index counts for nothing, and its files are decoded again.
"""

from __future__ import annotations

import faulthandler
import hashlib
import itertools
import math
import os
import signal
import threading
import time
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Protocol, TypeVar

import numpy as np
import platformdirs

from cleanlab_lite.arrays import per_row
from cleanlab_lite.data import media
from cleanlab_lite.data.media import Decoded
from cleanlab_lite.data.sound import PREPROCESSING_VERSION as SOUND_VERSION
from cleanlab_lite.data.sound import SoundFormat, sound_header
from cleanlab_lite.errors import ConfigError, DecodeError
from cleanlab_lite.files import is_remote, whole
from cleanlab_lite.manifest.manifest import WHOLE, Segment
from cleanlab_lite.progress import OnProgress, Progress, ignore
from cleanlab_lite.workers import ahead, cores, pool

SIZES = (32, 48, 64, 96, 128)  # pixels; what `choose_image_size` chooses from
CHUNK = 64  # files per task of a worker
POOL_MIN_FILES = 500  # below this, starting workers costs more than it saves
PACK_BYTES = 128 << 20  # pixels written at a time: what a killed run loses at most
WRITTEN = 256  # small arrays written at a time
SHARD_ROWS = 2048  # vectors written at a time: each has cost an encoder far more than the disk
SECONDS = 120.0  # that decoding a file may take
PATIENCE = 1.5  # times as long until a worker is ended that does not hear that
TOO_SLOW = ("too_slow", "decoding it takes too long")  # code and reason of such a file
ENDED = ("decode_failed", "decoding it ends the process that does it: out of memory, or a fault of a library")
HOPELESS = 3  # files in a row that end their process, until something else must be wrong
AHEAD = 4  # tasks under way per worker
MEMORY_BYTES = 1 << 30  # pixels beyond this are gathered in a memory-mapped file
RACY_NS = 2_000_000_000  # a file this young may change again without a new time stamp (FAT counts in 2 s)
ABANDONED_S = 86_400  # temporary files older than this belong to killed runs


SHALLOW = (".jpg", ".jpeg", ".webp", ".gif", ".bmp")  # endings of pictures of 8 bits
DEEP = 64  # pictures that the depth is chosen by
HEADERS = 256  # files that a format is chosen by

Header = TypeVar("Header")


@dataclass(frozen=True)
class Store:
    """Files as arrays, aligned with the rows that were asked for. Letters: n rows, a arrays, s pixels or bands."""

    pixels: np.ndarray  # (a, 3 or 1, s, s) uint8, possibly memory-mapped; one of zeros where unreadable
    offsets: np.ndarray  # (n + 1,) int64: row i has pixels[offsets[i]:offsets[i + 1]]; of pictures, always one
    notes: np.ndarray  # (n,) str, codes of what a readable row suffers from, with commas
    errors: np.ndarray  # (n,) str, why the row could not be read, "" where it could
    codes: np.ndarray  # (n,) str, code of the DecodeError, "" where there was none
    content: np.ndarray  # (n,) str, `content_of` the row, "" where unreadable
    sizes: np.ndarray  # (n, 2) int64 width and height of pictures; 0 where not known: caches of older versions, sounds
    decoded: int  # files decoded by this call; the others came from the cache

    def row(self, row: int) -> Decoded:
        """What a readable row holds."""
        notes = tuple(filter(None, str(self.notes[row]).split(",")))
        width, height = self.sizes[row].tolist()
        return Decoded(self.pixels[self.offsets[row] : self.offsets[row + 1]], notes, (width, height))


def default_cache_dir() -> Path:
    """`NLCLEAN_CACHE_DIR`, or the platform's folder for caches."""
    return Path(os.environ.get("NLCLEAN_CACHE_DIR") or platformdirs.user_cache_dir("nlclean", appauthor=False))


class Layout(Protocol):
    """What the arrays of a cache look like."""

    @property
    def folder(self) -> str:
        """Of the cache: one for each set of parameters."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of each array."""

    @property
    def dtype(self) -> str:
        """As NumPy writes it in a file, byte order included."""


class Decoder(Layout, Protocol):
    """How one file becomes arrays. Travels to the worker processes."""

    def decode(self, data: bytes, segment: Segment) -> Decoded:
        """Of a part of the file. Raises DecodeError."""


@dataclass(frozen=True)
class ImageFormat:
    """Pictures of `size` x `size` pixels."""

    size: int
    depth: int = 16  # bits of grey levels beyond 8
    dtype: ClassVar[str] = "|u1"

    @property
    def folder(self) -> str:
        deep = "" if self.depth == 16 else f"-{self.depth}bit"
        return f"images-v{media.PREPROCESSING_VERSION}-{self.size}{deep}"

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.size, self.size

    def decode(self, data: bytes, segment: Segment = WHOLE) -> Decoded:
        """Of a picture there are no parts."""
        deep = () if self.depth == 16 else (self.depth,)
        pixels, size = media.decode_image(data, self.size, *deep)
        return Decoded(pixels[None], size=size)


@dataclass(frozen=True)
class FeatureFormat:
    """Vectors of `dimensions` that an encoder makes of files. `encoder` is the identity of all that decides them."""

    encoder: str
    dimensions: int
    dtype: ClassVar[str] = "<f2"

    @property
    def folder(self) -> str:
        return f"features-v{media.PREPROCESSING_VERSION}-{self.encoder[:32]}"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dimensions,)


def choose_image_size(uris: Sequence[str] | np.ndarray, *, sample: int = HEADERS) -> int:
    """A square size in pixels for these pictures: their `median_side`, snapped down to one of `SIZES`; 32 at least."""
    median = median_side(uris, sample=sample)
    return max((size for size in SIZES if size <= median), default=SIZES[0])


def median_side(uris: Sequence[str] | np.ndarray, *, sample: int = HEADERS) -> float:
    """Of the shorter sides of these pictures, in pixels.

    Looks at the headers of `sample` evenly spaced files. Unreadable ones do not count; 0 when all are.
    """
    sides = [min(size) for size in _headers(uris, media.image_header, sample)]
    return float(np.median(sides)) if sides else 0.0


def choose_depth(uris: Sequence[str] | np.ndarray) -> int:
    """Bits of the grey levels of pictures that are stored with 16, by the largest of evenly spaced ones; else 16."""
    deep = [uri for uri in np.asarray(uris, dtype=np.str_).tolist() if os.path.splitext(uri)[1].lower() not in SHALLOW]
    return media.depth_of(max(_headers(deep, media.grey_peak, DEEP), default=0) or 1 << 15)


def choose_sound_format(
    uris: Sequence[str] | np.ndarray, sample_rate: int = 0, segments: np.ndarray | None = None
) -> tuple[SoundFormat, float]:
    """Sample rate and length of the patches for these clips, and the median length of the clips in seconds.

    The clips are the files, or the parts `segments` (n, 2) of them. 16 kHz unless most have less, then 8 kHz;
    `sample_rate` in Hz overrules it. Patches of 1 s, or of 0.5 s where most clips are no longer than that. Looks at
    headers of evenly spaced files; unreadable ones do not count.
    """
    found = np.array(_headers(list(dict.fromkeys(uris)), sound_header) or [(0, 0.0)])
    rate, seconds = np.median(found, axis=0)
    if segments is not None:
        seconds = np.nanmedian(np.minimum(segments[:, 1], seconds)) if np.isfinite(segments[:, 1]).any() else seconds
    chosen = sample_rate or (16_000 if rate >= 16_000 else 8_000)
    return SoundFormat(chosen, 0.512 if 0 < seconds <= 0.512 else 1.024), float(seconds)


def _headers(
    uris: Sequence[str] | np.ndarray, read: Callable[[BinaryIO], Header], sample: int = HEADERS
) -> list[Header]:
    """What `read` says of `sample` evenly spaced files; nothing of those that cannot be read."""
    found = []
    for row in np.unique(np.linspace(0, len(uris) - 1, min(sample, len(uris))).astype(np.int64)):
        with suppress(DecodeError):  # `load` reports it
            with media.opened(str(uris[row]), remote=True) as file:
                header = read(file)
            found.append(header)
    return found


def load(
    uris: Sequence[str] | np.ndarray,
    form: Decoder,
    *,
    segments: np.ndarray | None = None,
    cache_dir: Path,
    workers: int = 0,
    on_progress: OnProgress = ignore,
) -> Store:
    """Read n files, or the parts `segments` (n, 2) of them, decoding only what the cache does not hold.

    `workers` counts decoding processes (0 = one per core). A file that cannot be read or decoded gives an array of
    zeros with its error; such files are tried again on every call. An interrupted call keeps what it decoded.
    Raises ConfigError when the cache cannot be written.
    """
    places = _places(uris, segments)
    found, decoded = None, 0
    damaged: set[Path] = set()
    while found is None:  # once more for every damaged pack that comes to light
        cache = _Cache(cache_dir / form.folder, form, damaged)
        rows, count = _fill(cache, form, _StatCache(cache_dir / "stat-v1"), places, workers, on_progress)
        decoded += count
        content = [row.content for row in rows]
        found = cache.gather(content)
    pixels, entries = found
    return Store(
        pixels,
        offsets=np.cumsum([0, *(entry.count for entry in entries)], dtype=np.int64),
        notes=np.array([entry.notes for entry in entries], dtype=np.str_),
        errors=np.array([row.error for row in rows], dtype=np.str_),
        codes=np.array([row.code for row in rows], dtype=np.str_),
        content=np.array(content, dtype=np.str_),
        sizes=np.array([entry.size for entry in entries], dtype=np.int64).reshape(-1, 2),
        decoded=decoded,
    )


def read(
    uris: Sequence[str] | np.ndarray, form: Decoder, *, segments: np.ndarray | None = None, workers: int = 1
) -> Iterator[Store]:
    """Like `load`, in order and in blocks of up to CHUNK files; nothing is asked of a cache, and nothing kept."""
    places = _places(uris, segments)
    chunks = [places[start : start + CHUNK] for start in range(0, len(places), CHUNK)]
    for rows in _read_chunks(chunks, form, frozenset(), workers):
        nothing = Decoded(np.zeros((1, *form.shape), form.dtype))
        found = [row.decoded or nothing for row in rows]
        yield Store(
            np.concatenate([each.arrays for each in found]),
            offsets=np.cumsum([0, *(len(each.arrays) for each in found)], dtype=np.int64),
            notes=np.array([",".join(each.notes) for each in found], dtype=np.str_),
            errors=np.array([row.error for row in rows], dtype=np.str_),
            codes=np.array([row.code for row in rows], dtype=np.str_),
            content=np.array([row.content for row in rows], dtype=np.str_),
            sizes=np.array([each.size for each in found], dtype=np.int64).reshape(-1, 2),
            decoded=sum(row.decoded is not None for row in rows),
        )


def keep(form: Layout, found: Iterable[tuple[str, Decoded]], cache_dir: Path) -> None:
    """Put what others have made of files into the cache, by their content."""
    cache = _Cache(cache_dir / form.folder, form, set())
    known = set(cache.contents())
    for content, decoded in found:
        if content not in known:
            known.add(content)
            cache.add(content, decoded)
    cache.flush()


def decoded_before(contents: Iterable[str], cache_dir: Path) -> dict[str, np.ndarray]:
    """By the start of a content (16 digits) what is in the cache: pictures (3, s, s) uint8, patches
    of sounds (p, 1, SIDE, SIDE) uint8.

    Only a look: nothing is written, and of packs only their shape is checked.
    """
    wanted, found = set(contents), dict[str, np.ndarray]()
    folders: list[tuple[int, Path, ImageFormat | SoundFormat]] = []
    for folder in cache_dir.glob(f"images-v{media.PREPROCESSING_VERSION}-*"):
        if (size := folder.name.split("-")[2]).isdecimal():
            folders.append((int(size), folder, ImageFormat(int(size))))
    for folder in cache_dir.glob(f"sounds-v{SOUND_VERSION}-*-*"):
        rate, milliseconds = folder.name.split("-")[2:4]
        if rate.isdecimal() and milliseconds.isdecimal():
            folders.append((int(rate), folder, SoundFormat(int(rate), int(milliseconds) / 1000)))
    for _, folder, form in sorted(folders, key=lambda each: each[:2]):  # the largest, the finest last
        for pack in filter(None, (_open_pack(index, form) for index in sorted(folder.glob("*.txt")))):
            places = [(entry, at) for entry, at in pack.places() if entry.content[:16] in wanted]
            if not places:
                continue
            with suppress(_Damaged):  # it is gone
                pixels = pack.mapped()
                for entry, at in places:
                    arrays = pixels[at : at + entry.count]
                    found[entry.content[:16]] = arrays if isinstance(form, SoundFormat) else arrays[0]
    return found


def found_before(
    uris: Sequence[str] | np.ndarray, form: Decoder, *, segments: np.ndarray | None = None, cache_dir: Path
) -> np.ndarray:
    """(n,) str: `content_of` every row that `load` would find in the cache, "" where it would decode the file.

    Only a look: nothing is written, and packs are taken for whole.
    """
    places = _places(uris, segments)
    keys = [_stat_key(uri) for uri, _ in places]
    known = dict(_stat_lines(cache_dir / "stat-v1", set(keys) - {""}))
    contents = [content_of(known.get(key, ""), segment) for key, (_, segment) in zip(keys, places, strict=True)]
    held = held_by_cache(contents, form, cache_dir)
    return np.array([content if content in held else "" for content in contents], dtype=np.str_)


def held_by_cache(contents: Iterable[str], form: Layout, cache_dir: Path) -> frozenset[str]:
    """Which of these contents the cache holds in that form. Only a look, as in `found_before`."""
    wanted, held = frozenset(contents) - {""}, frozenset[str]()
    for index in (cache_dir / form.folder).glob("*.txt"):
        with suppress(OSError, UnicodeDecodeError):  # deleted meanwhile, not ours to read, damaged
            if index.with_suffix(".npy").exists():
                held |= wanted.intersection(line.partition(" ")[0] for line in index.read_text("ascii").splitlines())
    return held


def decode_few(
    uris: Sequence[str] | np.ndarray, form: Decoder, rows: np.ndarray, segments: np.ndarray | None = None
) -> Iterator[tuple[str, np.ndarray | None, float]]:
    """`content_of` some rows and what `load` would make of them, "" and None where one cannot be read, and the seconds
    each took. Not cached.
    """
    for row in rows.tolist():
        begun = time.perf_counter()
        place = str(uris[row]), WHOLE if segments is None else Segment(*segments[row].tolist())
        [found] = _read([place], form, frozenset())
        yield found.content, found.decoded and found.decoded.arrays, time.perf_counter() - begun


def load_vectors(
    content: Sequence[str] | np.ndarray,
    form: FeatureFormat,
    compute: Callable[[np.ndarray], np.ndarray],
    *,
    batch_size: int,
    cache_dir: Path,
    threads: int = 1,
    on_progress: OnProgress = ignore,
) -> tuple[np.ndarray, int]:
    """(n, d) float16 vectors of n files by their content, zeros where it is ""; and how many were computed now.

    `compute(rows (b,)) -> (b, d)` is asked only for what the cache does not hold, once per content, by `threads` at the
    same time. What it raises ends the call; what it computed before is kept. Above `MEMORY_BYTES` the array is
    memory-mapped.
    """
    names = np.asarray(content, dtype=np.str_).tolist()
    first = {name: row for row, name in reversed(list(enumerate(names))) if name}
    found, computed = None, 0
    damaged: set[Path] = set()
    while found is None:
        cache = _Cache(cache_dir / form.folder, form, damaged)
        cached = cache.contents()
        todo = np.array(sorted(row for name, row in first.items() if name not in cached), dtype=np.int64)
        done, total, before = len(first) - len(todo), len(first), computed
        note = f"{done} from the cache" if done else ""
        on_progress(Progress("encode", done, total, "rows", note))
        try:
            parts = [todo[start : start + batch_size] for start in range(0, len(todo), batch_size)]
            for rows, vectors in zip(parts, ahead(compute, parts, threads), strict=True):
                for row, vector in zip(rows, vectors, strict=True):
                    cache.add(names[row], Decoded(vector.astype(np.float16)[None]))
                computed += len(rows)
                if computed // SHARD_ROWS > (computed - len(rows)) // SHARD_ROWS:
                    cache.flush()
                on_progress(Progress("encode", done + computed - before, total, "rows", note))
        finally:
            cache.flush()
        found = cache.gather(names)
    return found[0], computed


def content_of(file: str, segment: Segment = WHOLE) -> str:
    """What a row holds, as a sha256: that of its file, or of that and the part. "" where either is unknown."""
    if segment == WHOLE:
        return file
    if not file or math.isnan(sum(segment)):
        return ""
    return hashlib.sha256(f"{file} {segment.offset!r} {segment.duration!r}".encode()).hexdigest()


def find_duplicates(content: Sequence[str] | np.ndarray) -> np.ndarray:
    """(n,) int64: the first row with the same content; -1 for the first itself, unique rows and empty content."""
    first: dict[str, int] = {}
    found = np.full(len(content), -1, dtype=np.int64)
    for row, value in enumerate(content):
        if value and first.setdefault(value, row) != row:
            found[row] = first[value]
    return found


def vector_content(features: np.ndarray) -> np.ndarray:
    """(n,) str: sha256 of each row of `features` (n, d), "" where a value is not finite. 0.0 and -0.0 are equal."""

    def of_block(block: np.ndarray) -> np.ndarray:
        rows, finite = np.ascontiguousarray(block + 0.0), np.isfinite(block).all(axis=1)
        found = [hashlib.sha256(row).hexdigest() if fine else "" for row, fine in zip(rows, finite, strict=True)]
        return np.array(found, dtype=np.str_)

    return per_row(of_block, features)


# --- Reading and decoding files --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """What became of one file, or part of one."""

    content: str  # `content_of` it, "" where unreadable
    code: str = ""
    error: str = ""
    decoded: Decoded | None = None  # None when unreadable or already in the cache
    file: str = ""  # sha256 of the whole file


_Place = tuple[str, Segment]


def _places(uris: Sequence[str] | np.ndarray, segments: np.ndarray | None) -> list[_Place]:
    parts = [WHOLE] * len(uris) if segments is None else [Segment(*part) for part in segments.tolist()]
    return [(str(uri), part) for uri, part in zip(uris, parts, strict=True)]


def _read(places: list[_Place], form: Decoder, cached: frozenset[str]) -> list[_Row]:
    """A row for each; rows of one file that follow each other share its bytes."""
    rows = []
    for uri, group in itertools.groupby(places, key=lambda place: place[0]):
        segments = [segment for _, segment in group]
        try:
            data = media.read_bytes(uri, remote=True)
        except DecodeError as error:
            rows += [_Row("", error.code, error.message)] * len(segments)
        else:
            file = hashlib.sha256(data).hexdigest()
            rows += [_decode(data, file, segment, form, cached) for segment in segments]
    return rows


def _decode(data: bytes, file: str, segment: Segment, form: Decoder, cached: frozenset[str]) -> _Row:
    content = content_of(file, segment)
    if content in cached:
        return _Row(content, file=file)
    try:
        with _limited(_seconds):
            decoded = form.decode(data, segment)
    except _TooSlow:
        return _Row("", *TOO_SLOW)
    except DecodeError as error:
        return _Row("", error.code, error.message)
    return _Row(content, decoded=decoded, file=file)


def _fill(
    cache: _Cache, form: Decoder, stats: _StatCache, places: list[_Place], workers: int, on_progress: OnProgress
) -> tuple[list[_Row], int]:
    """A _Row without pixels for every place, the pixels all in `cache`; and how many had to be decoded."""
    cached = cache.contents()
    keys = [_stat_key(uri) for uri, _ in places]
    known = [
        content_of(stats.content.get(key, ""), segment) if key else ""
        for key, (_, segment) in zip(keys, places, strict=True)
    ]
    rows = [_Row(content if content in cached else "") for content in known]
    todo = [i for i, row in enumerate(rows) if not row.content]
    first = {places[i][0]: i for i in reversed(todo)}
    todo.sort(key=lambda i: first[places[i][0]])  # parts of a file together, so that it is read once
    done, decoded, total = len(places) - len(todo), 0, len(places)
    note = f"{done} from the cache" if done else ""
    if total:
        on_progress(Progress("decode", done, total, "files", note))

    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    results = _read_chunks([[places[i] for i in chunk] for chunk in chunks], form, cached, workers)
    try:
        for chunk, result in zip(chunks, results, strict=True):
            for i, row in zip(chunk, result, strict=True):
                rows[i] = _Row(row.content, row.code, row.error)
                if row.content:
                    stats.add(keys[i], row.file)
                if row.decoded is not None:
                    decoded += 1
                    cache.add(row.content, row.decoded)
            done += len(chunk)
            on_progress(Progress("decode", done, total, "files", note))
    finally:  # also on Ctrl-C: what is decoded stays decoded
        results.close()
        cache.flush()
        stats.flush()
    return rows, decoded


def _read_chunks(
    chunks: list[list[_Place]], form: Decoder, cached: frozenset[str], workers: int
) -> Generator[list[_Row], None, None]:
    """Results of `_read` per chunk, in order, from worker processes where that pays."""
    workers = min(workers or cores(), len(chunks))
    if workers < 2 or sum(map(len, chunks)) < POOL_MIN_FILES:
        for chunk in chunks:
            yield _read(chunk, form, cached)
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


def _read_alone(places: list[_Place], form: Decoder, cached: frozenset[str]) -> list[_Row]:
    """Like `_read`, a file at a time in a process of its own: one that ends it twice, or takes too long, is no row.

    Where many files in a row do, it is not they: the rest is read right here.
    """
    rows: list[_Row] = []
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
                    rows.append(_Row("", *(TOO_SLOW if slow else ENDED)))
                    break
            if lost == HOPELESS:
                return rows[:-lost] + _read(places[number + 1 - lost :], form, cached)
    return rows


def _pooled(
    chunks: list[list[_Place]], form: Decoder, cached: frozenset[str], workers: int
) -> Generator[list[_Row], None, None]:
    executor = pool(workers, _start_worker, (form, cached, SECONDS))
    try:
        ahead: deque[Future[list[_Row]]] = deque()  # bounded, so that results do not pile up in memory
        for chunk in chunks:
            ahead.append(executor.submit(_work, chunk))
            if len(ahead) >= AHEAD * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


_worker_args: tuple[Decoder, frozenset[str]]  # of `_read`, the same for all tasks: set once per worker


def _start_worker(form: Decoder, cached: frozenset[str], seconds: float) -> None:
    global _worker_args, _seconds, _nowhere
    _worker_args, _seconds = (form, cached), seconds
    _nowhere = os.open(os.devnull, os.O_WRONLY)


def _work(places: list[_Place]) -> list[_Row]:
    return _read(places, *_worker_args)


_seconds = SECONDS  # that decoding a file may take in this process
_nowhere = -1  # in a worker: a descriptor of nothing


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


# --- Files of the cache ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """One line of an index."""

    content: str  # sha256, "" where the row is no file that could be read
    count: int = 1  # of its arrays
    notes: str = ""
    size: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        words = [self.content or "-", str(self.count), self.notes or "-", f"{self.size[0]}x{self.size[1]}"]
        kept = 4 if any(self.size) else 3 if self.notes else 2 if self.count != 1 else 1
        return " ".join(words[:kept])

    @classmethod
    def read(cls, line: str) -> _Entry:
        words = line.split(" ")
        content, count, notes, size = words + ["-", "1", "-", "0x0"][len(words) :]
        width, height = size.split("x")
        return cls(content.strip("-"), int(count), notes.strip("-"), (int(width), int(height)))


@dataclass(frozen=True)
class _Pack:
    path: Path  # of the index
    crc: int  # of entries and pixels
    entries: list[_Entry]

    def mapped(self) -> np.ndarray:
        """(a, *shape), a memory map that lasts as long as it is held: together packs are as large as the data.

        Copy on write: torch wants a writeable array, but nothing written to it reaches the file. Raises _Damaged.
        """
        try:
            return np.load(self.path.with_suffix(".npy"), mmap_mode="c")
        except FileNotFoundError as error:  # deleted meanwhile, or joined with others by another process
            raise _Damaged(self) from error

    def places(self) -> Iterator[tuple[_Entry, int]]:
        """Every entry with its first array."""
        first = 0
        for entry in self.entries:
            yield entry, first
            first += entry.count


class _Damaged(Exception):
    """A pack is not what was written, or is there no longer."""

    def __init__(self, pack: _Pack) -> None:
        super().__init__(pack)
        self.pack = pack


class _Cache:
    """All packs of one folder, and the files that are about to become one."""

    def __init__(self, folder: Path, form: Layout, damaged: set[Path]) -> None:
        with _writing(folder):
            _sweep(folder)
        self.folder = folder
        self.form = form
        self.damaged = damaged  # indices of packs to leave alone, grown by `gather`
        paths = sorted(set(folder.glob("*.txt")) - damaged)
        self.packs = [pack for path in paths if (pack := _open_pack(path, form)) is not None]
        self._new: dict[_Entry, np.ndarray] = {}
        self._new_bytes = 0

    @property
    def _array_bytes(self) -> int:
        return math.prod(self.form.shape) * np.dtype(self.form.dtype).itemsize

    def contents(self) -> frozenset[str]:
        return frozenset(entry.content for pack in self.packs for entry in pack.entries) - {""}

    def add(self, content: str, decoded: Decoded) -> None:
        arrays, notes, size = decoded
        self._new[_Entry(content, len(arrays), ",".join(notes), size)] = arrays
        self._new_bytes += arrays.nbytes
        if self._new_bytes >= PACK_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._new:
            arrays = iter(self._new.values())
            together = iter(lambda: list(itertools.islice(arrays, WRITTEN)), [])
            self._write(list(self._new), map(np.concatenate, together))
            self._new, self._new_bytes = {}, 0

    def gather(self, content: list[str]) -> tuple[np.ndarray, list[_Entry]] | None:
        """(a, *shape) arrays of these contents, and their entries. None when a pack was found damaged."""
        try:
            return self._gather(content)
        except _Damaged as found:
            self.damaged.add(found.pack.path)
            _remove(found.pack.path)
            return None

    def _gather(self, content: list[str]) -> tuple[np.ndarray, list[_Entry]]:
        for pack in self.packs:
            if [entry.content for entry in pack.entries] == content:
                return _intact(pack), pack.entries
        wanted = frozenset(content) - {""}
        place: dict[str, tuple[_Pack | None, _Entry, int]] = {"": (None, _Entry(""), 0)}  # and the first of its arrays
        used = []
        for pack in self.packs:
            new = {
                entry.content: (pack, entry, first)
                for entry, first in pack.places()
                if entry.content in wanted and entry.content not in place
            }
            if new:
                _intact(pack)
                place |= new
                used.append(pack)
        places = [place[c] for c in content]
        entries = [entry for _, entry, _ in places]
        ends = np.cumsum([entry.count for entry in entries]) * self._array_bytes
        if ends[-1:].sum() <= MEMORY_BYTES:
            return self._arrays(places), entries
        blocks = itertools.groupby(zip(places, ends // PACK_BYTES, strict=True), key=lambda row: row[1])
        whole = self._write(entries, (self._arrays([row for row, _ in block]) for _, block in blocks))
        for pack in used:  # its files are all in `whole` now; open memory maps of it stay valid
            if wanted.issuperset(entry.content for entry in pack.entries if entry.content):
                _remove(pack.path)
        return whole.mapped(), entries

    def _arrays(self, places: Sequence[tuple[_Pack | None, _Entry, int]]) -> np.ndarray:
        """(a, *shape) arrays of rows, from one pack after the other; zeros for those of none."""
        found = np.zeros((sum(entry.count for _, entry, _ in places), *self.form.shape), self.form.dtype)
        spans: dict[Path, list[tuple[int, int, int]]] = {}  # by pack: where to, where from, how many
        packs, to = {}, 0
        for pack, entry, first in places:
            if pack is not None:
                packs[pack.path] = pack
                spans.setdefault(pack.path, []).append((to, first, entry.count))
            to += entry.count
        for path, pack in packs.items():
            pixels = np.asarray(pack.mapped())  # a slice of a memory map costs ten times as much
            for to, first, count in spans[path]:
                found[to : to + count] = pixels[first : first + count]
        return found

    def _write(self, entries: list[_Entry], blocks: Iterable[np.ndarray]) -> _Pack:
        """Write a new pack; `blocks` are (r, *shape) and together hold the arrays of all entries."""
        index = self.folder / f"{uuid.uuid4().hex}.txt"
        pack_path, temporary = index.with_suffix(".npy"), index.with_suffix(".npy.tmp")
        crc = _crc(entries)
        shape = (sum(entry.count for entry in entries), *self.form.shape)
        with _writing(self.folder), whole(pack_path, temporary), open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": self.form.dtype, "fortran_order": False, "shape": shape}
            )
            for block in blocks:
                data = np.ascontiguousarray(block, self.form.dtype).data
                crc = zlib.crc32(data, crc)
                file.write(data)
        _write_text(index, [f"{crc:08x}", *map(str, entries)])
        pack = _Pack(index, crc, entries)
        self.packs.append(pack)
        return pack


def _open_pack(path: Path, form: Layout) -> _Pack | None:
    """The pack with this index, or None when it is not whole."""
    with suppress(Exception):  # NumPy's header parser alone lets a dozen kinds out; whatever it is, the pack is no use
        crc, *lines = path.read_text("ascii").splitlines()
        entries = [_Entry.read(line) for line in lines]
        pack = _Pack(path, int(crc, 16), entries)
        pixels, shape = pack.mapped(), (sum(entry.count for entry in entries), *form.shape)
        if pixels.dtype == form.dtype and pixels.shape == shape and pixels.flags.c_contiguous:
            return pack
    return None


def _intact(pack: _Pack) -> np.ndarray:
    """Its pixels, mapped, where they and the index are those that were written. Raises _Damaged."""
    pixels = pack.mapped()
    if zlib.crc32(pixels.data, _crc(pack.entries)) != pack.crc:
        raise _Damaged(pack)
    return pixels


def _crc(entries: list[_Entry]) -> int:
    """Of the index; that of a pack goes on from here over its pixels."""
    return zlib.crc32("\n".join(map(str, entries)).encode())


def _remove(index: Path) -> None:
    for path in (index, index.with_suffix(".npy")):
        with suppress(OSError):  # gone already, in use (Windows), or not ours to remove
            path.unlink()


class _StatCache:
    """sha256 of local files that have not changed since they were read, by path, inode, size and time stamps."""

    def __init__(self, folder: Path) -> None:
        with _writing(folder):
            _sweep(folder)
        self.folder = folder
        self.content = dict(_stat_lines(folder))
        self._new: dict[str, str] = {}

    def add(self, key: str, content: str) -> None:
        if key and self.content.get(key) != content:
            self.content[key] = self._new[key] = content

    def flush(self) -> None:
        if self._new:
            path = self.folder / f"{uuid.uuid4().hex}.txt"
            _write_text(path, [f"{key} {content}" for key, content in self._new.items()])
            self._new = {}


def _stat_key(uri: str) -> str:
    """The fingerprint of a file that is settled, else ""."""
    if not uri or is_remote(uri):
        return ""
    try:
        found = os.stat(uri)
    except (OSError, ValueError):  # `media.read_bytes` reports it
        return ""
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < RACY_NS:
        return ""
    facts = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return hashlib.sha256(os.fsencode(uri) + repr(facts).encode()).hexdigest()[:32]


def _stat_lines(folder: Path, wanted: Collection[str] | None = None) -> Iterator[tuple[str, str]]:
    """Fingerprint and sha256 of every file that was read, or of the `wanted` fingerprints."""
    for path in sorted(folder.glob("*.txt")):
        with suppress(OSError):  # deleted meanwhile, not ours to read
            for line in path.read_text("ascii", errors="replace").splitlines():
                key, _, content = line.partition(" ")
                if wanted is None or key in wanted:
                    yield key, content


def _write_text(path: Path, lines: Iterable[str]) -> None:
    temporary = path.with_suffix(".txt.tmp")
    with _writing(path.parent), whole(path, temporary), open(temporary, "w", encoding="ascii", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Makes the folder, and says which one is full or forbidden."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot write the cache in {folder}: {error.strerror or error}",
            hint="free some space there, or set NLCLEAN_CACHE_DIR to another folder",
        ) from error


def _sweep(folder: Path) -> None:
    """Remove what killed runs left behind: old temporary files and old pixels without an index."""
    for path in folder.iterdir():
        if path.suffix == ".tmp" or (path.suffix == ".npy" and not path.with_suffix(".txt").exists()):
            with suppress(OSError):  # another process was faster
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink()

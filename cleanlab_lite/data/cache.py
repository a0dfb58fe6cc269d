"""Decode once: pictures as memory-mapped uint8 arrays, keyed by the content of their files. Failures are rows.

    <cache_dir>/images-v<version>-<size>/<pack>.npy    (r, 3, size, size) uint8
                                         <pack>.txt    crc32 of the pack, then per row the sha256 of its file or "-"
    <cache_dir>/stat-v1/<id>.txt                       fingerprint of (path, inode, size, times) -> sha256, per line

Files appear complete (temporary name, fsync, rename; the index after the pixels), under names that are never used
twice, and are never changed: processes do not disturb each other, and anything may be deleted at any time.
A pack that is damaged or has no index counts for nothing, and its pictures are decoded again.
"""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
import uuid
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from cleanlab_lite.data import media
from cleanlab_lite.errors import ConfigError, DecodeError
from cleanlab_lite.progress import OnProgress, Progress, ignore

SIZES = (32, 48, 64, 96, 128)  # pixels; what `choose_image_size` chooses from
CHUNK = 64  # files per task of a worker
POOL_MIN_FILES = 500  # below this, starting workers costs more than it saves
PACK_BYTES = 128 << 20  # pixels written at a time: what a killed run loses at most
MEMORY_BYTES = 1 << 30  # pixels beyond this are gathered in a memory-mapped file
RACY_NS = 2_000_000_000  # a file this young may change again without a new time stamp (FAT counts in 2 s)
ABANDONED_S = 86_400  # temporary files older than this belong to killed runs


@dataclass(frozen=True)
class ImageStore:
    """Pictures aligned with the rows that were asked for. Letters: n rows, s pixels."""

    pixels: np.ndarray  # (n, 3, s, s) uint8, possibly memory-mapped; zeros where unreadable
    errors: np.ndarray  # (n,) str, why the row could not be read, "" where it could
    codes: np.ndarray  # (n,) str, code of the DecodeError, "" where there was none
    content: np.ndarray  # (n,) str, sha256 of the file's bytes, "" where unreadable
    decoded: int  # pictures decoded by this call; the others came from the cache


def default_cache_dir() -> Path:
    """`NLCLEAN_CACHE_DIR`, or the platform's folder for caches."""
    return Path(os.environ.get("NLCLEAN_CACHE_DIR") or platformdirs.user_cache_dir("nlclean", appauthor=False))


def choose_image_size(uris: Sequence[str] | np.ndarray, *, sample: int = 256) -> int:
    """A square size in pixels for these pictures: their median shorter side, snapped down to one of `SIZES`.

    Looks at the headers of `sample` evenly spaced files. Unreadable ones do not count; 32 when all are.
    """
    rows = np.unique(np.linspace(0, len(uris) - 1, min(sample, len(uris))).astype(np.int64))
    sides = []
    for row in rows:
        with suppress(DecodeError):  # `load_images` reports it
            sides.append(min(media.image_header(media.read_bytes(str(uris[row])))))
    median = float(np.median(sides)) if sides else 0.0
    return max((size for size in SIZES if size <= median), default=SIZES[0])


def load_images(
    uris: Sequence[str] | np.ndarray,
    size: int,
    *,
    cache_dir: Path,
    workers: int = 0,
    on_progress: OnProgress = ignore,
) -> ImageStore:
    """Read n files as pictures of `size` x `size` pixels, decoding only what the cache does not hold.

    `workers` counts decoding processes (0 = one per core). A file that cannot be read or decoded gives a row of
    zeros with its error; such files are tried again on every call. An interrupted call keeps what it decoded.
    Raises ConfigError when the cache cannot be written.
    """
    folder = cache_dir / f"images-v{media.PREPROCESSING_VERSION}-{size}"
    names = [str(uri) for uri in uris]
    pixels, decoded = None, 0
    damaged: set[Path] = set()
    while pixels is None:  # once more for every damaged pack that comes to light
        cache = _Cache(folder, size, damaged)
        rows, count = _fill(cache, _StatCache(cache_dir / "stat-v1"), names, workers, on_progress)
        decoded += count
        content = [row.content for row in rows]
        pixels = cache.gather(content)
    return ImageStore(
        pixels,
        errors=np.array([row.error for row in rows], dtype=np.str_),
        codes=np.array([row.code for row in rows], dtype=np.str_),
        content=np.array(content, dtype=np.str_),
        decoded=decoded,
    )


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
    finite = np.isfinite(features).all(axis=1)
    rows = np.ascontiguousarray(features + 0.0)
    return np.array(
        [hashlib.sha256(row.tobytes()).hexdigest() if fine else "" for row, fine in zip(rows, finite, strict=True)],
        dtype=np.str_,
    )


# --- Reading and decoding files --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """What became of one file."""

    content: str  # sha256, "" where unreadable
    code: str = ""
    error: str = ""
    pixels: np.ndarray | None = None  # (3, s, s) uint8, None when unreadable or already in the cache


def _read(uri: str, size: int, cached: frozenset[str]) -> _Row:
    try:
        data = media.read_bytes(uri)
        content = hashlib.sha256(data).hexdigest()
        if content in cached:
            return _Row(content)
        return _Row(content, pixels=media.decode_image(data, size))
    except DecodeError as error:
        return _Row("", error.code, error.message)


def _fill(
    cache: _Cache, stats: _StatCache, uris: list[str], workers: int, on_progress: OnProgress
) -> tuple[list[_Row], int]:
    """A _Row without pixels for every file, the pixels all in `cache`; and how many had to be decoded."""
    cached = cache.contents()
    keys = [stats.key(uri) for uri in uris]
    known = [stats.content.get(key, "") if key else "" for key in keys]
    rows = [_Row(content if content in cached else "") for content in known]
    todo = [i for i, row in enumerate(rows) if not row.content]
    done, decoded, total = len(uris) - len(todo), 0, len(uris)
    note = f"{done} from the cache" if done else ""
    if total:
        on_progress(Progress("decode", done, total, "files", note))

    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    results = _read_chunks([[uris[i] for i in chunk] for chunk in chunks], cache.size, cached, workers)
    try:
        for chunk, result in zip(chunks, results, strict=True):
            for i, row in zip(chunk, result, strict=True):
                rows[i] = _Row(row.content, row.code, row.error)
                if row.content:
                    stats.add(keys[i], row.content)
                if row.pixels is not None:
                    decoded += 1
                    cache.add(row.content, row.pixels)
            done += len(chunk)
            on_progress(Progress("decode", done, total, "files", note))
    finally:  # also on Ctrl-C: what is decoded stays decoded
        results.close()
        cache.flush()
        stats.flush()
    return rows, decoded


def _read_chunks(
    chunks: list[list[str]], size: int, cached: frozenset[str], workers: int
) -> Generator[list[_Row], None, None]:
    """Results of `_read` per chunk, in order, from worker processes where that pays."""
    workers = min(workers or _cores(), len(chunks))
    finished = 0
    if workers > 1 and sum(map(len, chunks)) >= POOL_MIN_FILES:
        # A crashed worker (out of memory, most often) ends the pool: the rest is read right here, one by one.
        with suppress(BrokenProcessPool), closing(_pooled(chunks, size, cached, workers)) as results:
            for result in results:
                finished += 1
                yield result
    for chunk in chunks[finished:]:
        yield [_read(uri, size, cached) for uri in chunk]


def _pooled(
    chunks: list[list[str]], size: int, cached: frozenset[str], workers: int
) -> Generator[list[_Row], None, None]:
    # "spawn": a fork of a process in which torch runs threads may deadlock
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(size, cached)
    )
    try:
        ahead: deque[Future[list[_Row]]] = deque()  # bounded, so that results do not pile up in memory
        for chunk in chunks:
            ahead.append(pool.submit(_work, chunk))
            if len(ahead) >= 4 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


_worker_args: tuple[int, frozenset[str]]  # of `_read`, the same for all tasks: set once per worker


def _start_worker(size: int, cached: frozenset[str]) -> None:
    global _worker_args
    _worker_args = size, cached
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the pool
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """The pool's workers would outlive a parent that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(uris: list[str]) -> list[_Row]:
    return [_read(uri, *_worker_args) for uri in uris]


def _cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# --- Files of the cache ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pack:
    path: Path  # of the index
    crc: int  # of content and pixels
    content: list[str]  # (r,) sha256, "" where the row is no picture
    pixels: np.ndarray  # (r, 3, s, s) uint8, memory-mapped


class _Cache:
    """All packs of one folder, and the pictures that are about to become one."""

    def __init__(self, folder: Path, size: int, damaged: set[Path]) -> None:
        with _writing(folder):
            _sweep(folder)
        self.folder = folder
        self.size = size
        self.damaged = damaged  # indices of packs to leave alone, grown by `gather`
        paths = sorted(set(folder.glob("*.txt")) - damaged)
        self.packs = [pack for path in paths if (pack := _open_pack(path, size)) is not None]
        self._new: dict[str, np.ndarray] = {}

    def contents(self) -> frozenset[str]:
        return frozenset(itertools.chain.from_iterable(pack.content for pack in self.packs)) - {""}

    def add(self, content: str, pixels: np.ndarray) -> None:
        self._new[content] = pixels
        if len(self._new) * pixels.nbytes >= PACK_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._new:
            self._write(list(self._new), self._new.values())
            self._new = {}

    def gather(self, content: list[str]) -> np.ndarray | None:
        """(n, 3, s, s) uint8 pixels of these contents. None when a pack was found damaged."""
        for pack in self.packs:
            if pack.content == content:
                return pack.pixels if self._intact(pack) else None
        wanted = frozenset(content) - {""}
        place: dict[str, tuple[int, int]] = {}
        used = []
        for p, pack in enumerate(self.packs):
            new = {c: (p, r) for r, c in enumerate(pack.content) if c in wanted and c not in place}
            if new:
                if not self._intact(pack):
                    return None
                place |= new
                used.append(pack)

        def blocks(rows: int = 1024) -> Iterator[np.ndarray]:
            for start in range(0, len(content), rows):
                part = content[start : start + rows]
                block = np.zeros((len(part), 3, self.size, self.size), np.uint8)
                for i, c in enumerate(part):
                    if c:
                        p, r = place[c]
                        block[i] = self.packs[p].pixels[r]
                yield block

        if len(content) * 3 * self.size**2 <= MEMORY_BYTES:
            return np.concatenate([np.zeros((0, 3, self.size, self.size), np.uint8), *blocks()])
        whole = self._write(content, blocks())
        for pack in used:  # its pictures are all in `whole` now; open memory maps of it stay valid
            if wanted.issuperset(filter(None, pack.content)):
                _remove(pack.path)
        return whole.pixels

    def _intact(self, pack: _Pack) -> bool:
        """Whether index and pixels are those that were written; a pack where they are not is removed."""
        if zlib.crc32(pack.pixels.data, _crc(pack.content)) == pack.crc:
            return True
        self.damaged.add(pack.path)
        _remove(pack.path)
        return False

    def _write(self, content: list[str], blocks: Iterable[np.ndarray]) -> _Pack:
        """Write a new pack; `blocks` are (3, s, s) or (r, 3, s, s) and together give one row per content."""
        index = self.folder / f"{uuid.uuid4().hex}.txt"
        temporary = index.with_suffix(".npy.tmp")
        crc = _crc(content)
        with _writing(self.folder, temporary):
            with open(temporary, "wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(content), 3, self.size, self.size)}
                np.lib.format.write_array_header_1_0(file, header)
                for block in blocks:
                    crc = zlib.crc32(block.data, crc)
                    file.write(block.data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, index.with_suffix(".npy"))
        _write_text(index, [f"{crc:08x}", *(c or "-" for c in content)])
        pixels = np.load(index.with_suffix(".npy"), mmap_mode="c")
        pack = _Pack(index, crc, content, pixels)
        self.packs.append(pack)
        return pack


def _open_pack(path: Path, size: int) -> _Pack | None:
    """The pack with this index, or None when it is not whole."""
    try:
        crc, *content = path.read_text("ascii").splitlines()
        # Copy on write: torch wants a writeable array, but nothing written to it reaches the file
        pixels = np.load(path.with_suffix(".npy"), mmap_mode="c")
        if pixels.dtype == np.uint8 and pixels.shape == (len(content), 3, size, size):
            return _Pack(path, int(crc, 16), ["" if c == "-" else c for c in content], pixels)
    except (OSError, ValueError, EOFError):
        pass
    return None


def _crc(content: list[str]) -> int:
    """Of the index; that of a pack goes on from here over its pixels."""
    return zlib.crc32("\n".join(content).encode())


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
        self.content: dict[str, str] = {}
        self._new: dict[str, str] = {}
        for path in sorted(folder.glob("*.txt")):
            with suppress(FileNotFoundError):  # deleted meanwhile
                for line in path.read_text("ascii", errors="replace").splitlines():
                    key, _, content = line.partition(" ")
                    self.content[key] = content

    def key(self, uri: str) -> str:
        """The fingerprint of a file that is settled, else ""."""
        if not uri or media.is_remote(uri):
            return ""
        try:
            found = os.stat(uri)
        except (OSError, ValueError):  # `media.read_bytes` reports it
            return ""
        if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < RACY_NS:
            return ""
        facts = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return hashlib.sha256(os.fsencode(uri) + repr(facts).encode()).hexdigest()[:32]

    def add(self, key: str, content: str) -> None:
        if key and self.content.get(key) != content:
            self.content[key] = self._new[key] = content

    def flush(self) -> None:
        if self._new:
            path = self.folder / f"{uuid.uuid4().hex}.txt"
            _write_text(path, [f"{key} {content}" for key, content in self._new.items()])
            self._new = {}


def _write_text(path: Path, lines: Iterable[str]) -> None:
    temporary = path.with_suffix(".txt.tmp")
    with _writing(path.parent, temporary):
        with open(temporary, "w", encoding="ascii", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


@contextmanager
def _writing(folder: Path, temporary: Path | None = None) -> Iterator[None]:
    """Makes the folder; leaves no temporary file behind, whatever happens; says which folder is full or forbidden."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot write the picture cache in {folder}: {error.strerror or error}",
            hint="free some space there, or set NLCLEAN_CACHE_DIR to another folder",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed runs left behind: old temporary files and old pixels without an index."""
    for path in folder.iterdir():
        if path.suffix == ".tmp" or (path.suffix == ".npy" and not path.with_suffix(".txt").exists()):
            with suppress(OSError):  # another process was faster
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink()

"""Files of the cache: arrays in packs, each with an index of what they are of; and what is known of local files.

A pack that is damaged or has no index counts for nothing. Letters: a arrays, r of them at a time.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import time
import uuid
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cleanlab_lite.data.formats import Layout
from cleanlab_lite.data.media import Decoded
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.files import is_remote, whole

PACK_BYTES = 128 << 20  # pixels written at a time: what a killed run loses at most
WRITTEN = 256  # small arrays written at a time
MEMORY_BYTES = 1 << 30  # pixels beyond this are gathered in a memory-mapped file
RACY_NS = 2_000_000_000  # a file this young may change again without a new time stamp (FAT counts in 2 s)
ABANDONED_S = 86_400  # temporary files older than this belong to killed runs


@dataclass(frozen=True)
class Entry:
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
    def read(cls, line: str) -> Entry:
        words = line.split(" ")
        content, count, notes, size = words + ["-", "1", "-", "0x0"][len(words) :]
        width, height = size.split("x")
        return cls(content.strip("-"), int(count), notes.strip("-"), (int(width), int(height)))


@dataclass(frozen=True)
class Pack:
    path: Path  # of the index
    crc: int  # of entries and pixels
    entries: list[Entry]

    def mapped(self) -> np.ndarray:
        """(a, *shape), a memory map that lasts as long as it is held: together packs are as large as the data.

        Copy on write: torch wants a writeable array, but nothing written to it reaches the file. Raises Damaged.
        """
        try:
            return np.load(self.path.with_suffix(".npy"), mmap_mode="c")
        except FileNotFoundError as error:  # deleted meanwhile, or joined with others by another process
            raise Damaged(self) from error

    def places(self) -> Iterator[tuple[Entry, int]]:
        """Every entry with its first array."""
        first = 0
        for entry in self.entries:
            yield entry, first
            first += entry.count


class Damaged(Exception):
    """A pack is not what was written, or is there no longer."""

    def __init__(self, pack: Pack) -> None:
        super().__init__(pack)
        self.pack = pack


class Packs:
    """All packs of one folder, and the files that are about to become one."""

    def __init__(self, folder: Path, form: Layout, damaged: set[Path]) -> None:
        with _writing(folder):
            _sweep(folder)
        self.folder = folder
        self.form = form
        self.damaged = damaged  # indices of packs to leave alone, grown by `gather`
        paths = sorted(set(folder.glob("*.txt")) - damaged)
        self.packs = [pack for path in paths if (pack := open_pack(path, form)) is not None]
        self._new: dict[Entry, np.ndarray] = {}
        self._new_bytes = 0

    @property
    def _array_bytes(self) -> int:
        return math.prod(self.form.shape) * np.dtype(self.form.dtype).itemsize

    def contents(self) -> frozenset[str]:
        return frozenset(entry.content for pack in self.packs for entry in pack.entries) - {""}

    def add(self, content: str, decoded: Decoded) -> None:
        arrays, notes, size = decoded
        self._new[Entry(content, len(arrays), ",".join(notes), size)] = arrays
        self._new_bytes += arrays.nbytes
        if self._new_bytes >= PACK_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._new:
            arrays = iter(self._new.values())
            together = iter(lambda: list(itertools.islice(arrays, WRITTEN)), [])
            self._write(list(self._new), map(np.concatenate, together))
            self._new, self._new_bytes = {}, 0

    def gather(self, content: list[str]) -> tuple[np.ndarray, list[Entry]] | None:
        """(a, *shape) arrays of these contents, and their entries. None when a pack was found damaged."""
        try:
            return self._gather(content)
        except Damaged as found:
            self.damaged.add(found.pack.path)
            _remove(found.pack.path)
            return None

    def _gather(self, content: list[str]) -> tuple[np.ndarray, list[Entry]]:
        for pack in self.packs:
            if [entry.content for entry in pack.entries] == content:
                return _intact(pack), pack.entries
        wanted = frozenset(content) - {""}
        place: dict[str, tuple[Pack | None, Entry, int]] = {"": (None, Entry(""), 0)}  # and the first of its arrays
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

    def _arrays(self, places: Sequence[tuple[Pack | None, Entry, int]]) -> np.ndarray:
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

    def _write(self, entries: list[Entry], blocks: Iterable[np.ndarray]) -> Pack:
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
        pack = Pack(index, crc, entries)
        self.packs.append(pack)
        return pack


def open_pack(path: Path, form: Layout) -> Pack | None:
    """The pack with this index, or None when it is not whole."""
    with suppress(Exception):  # NumPy's header parser alone lets a dozen kinds out; whatever it is, the pack is no use
        crc, *lines = path.read_text("ascii").splitlines()
        entries = [Entry.read(line) for line in lines]
        pack = Pack(path, int(crc, 16), entries)
        pixels, shape = pack.mapped(), (sum(entry.count for entry in entries), *form.shape)
        if pixels.dtype == form.dtype and pixels.shape == shape and pixels.flags.c_contiguous:
            return pack
    return None


def _intact(pack: Pack) -> np.ndarray:
    """Its pixels, mapped, where they and the index are those that were written. Raises Damaged."""
    pixels = pack.mapped()
    if zlib.crc32(pixels.data, _crc(pack.entries)) != pack.crc:
        raise Damaged(pack)
    return pixels


def _crc(entries: list[Entry]) -> int:
    """Of the index; that of a pack goes on from here over its pixels."""
    return zlib.crc32("\n".join(map(str, entries)).encode())


def _remove(index: Path) -> None:
    for path in (index, index.with_suffix(".npy")):
        with suppress(OSError):  # gone already, in use (Windows), or not ours to remove
            path.unlink()


class Stats:
    """sha256 of local files that have not changed since they were read, by path, inode, size and time stamps."""

    def __init__(self, folder: Path) -> None:
        with _writing(folder):
            _sweep(folder)
        self.folder = folder
        self.content = dict(stat_lines(folder))
        self._new: dict[str, str] = {}

    def add(self, key: str, content: str) -> None:
        if key and self.content.get(key) != content:
            self.content[key] = self._new[key] = content

    def flush(self) -> None:
        if self._new:
            path = self.folder / f"{uuid.uuid4().hex}.txt"
            _write_text(path, [f"{key} {content}" for key, content in self._new.items()])
            self._new = {}


def stat_key(uri: str) -> str:
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


def stat_lines(folder: Path, wanted: Collection[str] | None = None) -> Iterator[tuple[str, str]]:
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

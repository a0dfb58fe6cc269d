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

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from cleanlab_lite.data import media
from cleanlab_lite.data.content import content_of
from cleanlab_lite.data.decode import Place, Row, places_of, read_in_chunks, read_rows
from cleanlab_lite.data.formats import Decoder, FeatureFormat, ImageFormat, Layout
from cleanlab_lite.data.media import Decoded
from cleanlab_lite.data.packs import Damaged, Packs, Stats, open_pack, stat_key, stat_lines
from cleanlab_lite.data.sound import PREPROCESSING_VERSION as SOUND_VERSION
from cleanlab_lite.data.sound import SoundFormat
from cleanlab_lite.manifest.manifest import WHOLE, Segment
from cleanlab_lite.progress import OnProgress, Progress, ignore
from cleanlab_lite.workers import ahead

SHARD_ROWS = 2048  # vectors written at a time: each has cost an encoder far more than the disk


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
    places = places_of(uris, segments)
    found, decoded = None, 0
    damaged: set[Path] = set()
    while found is None:  # once more for every damaged pack that comes to light
        cache = Packs(cache_dir / form.folder, form, damaged)
        rows, count = _fill(cache, form, Stats(cache_dir / "stat-v1"), places, workers, on_progress)
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
    for rows in read_in_chunks(places_of(uris, segments), form, frozenset(), workers):
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
    cache = Packs(cache_dir / form.folder, form, set())
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
        for pack in filter(None, (open_pack(index, form) for index in sorted(folder.glob("*.txt")))):
            places = [(entry, at) for entry, at in pack.places() if entry.content[:16] in wanted]
            if not places:
                continue
            with suppress(Damaged):  # it is gone
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
    places = places_of(uris, segments)
    keys = [stat_key(uri) for uri, _ in places]
    known = dict(stat_lines(cache_dir / "stat-v1", set(keys) - {""}))
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
        [found] = read_rows([place], form, frozenset())
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
        cache = Packs(cache_dir / form.folder, form, damaged)
        cached = cache.contents()
        todo = np.array(sorted(row for name, row in first.items() if name not in cached), dtype=np.int64)
        done, total, before = len(first) - len(todo), len(first), computed
        note = f"{done:,} from the cache" if done else ""
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


def _fill(
    cache: Packs, form: Decoder, stats: Stats, places: list[Place], workers: int, on_progress: OnProgress
) -> tuple[list[Row], int]:
    """A Row without pixels for every place, the pixels all in `cache`; and how many had to be decoded."""
    cached = cache.contents()
    keys = [stat_key(uri) for uri, _ in places]
    known = [
        content_of(stats.content.get(key, ""), segment) if key else ""
        for key, (_, segment) in zip(keys, places, strict=True)
    ]
    rows = [Row(content if content in cached else "") for content in known]
    todo = [i for i, row in enumerate(rows) if not row.content]
    first = {places[i][0]: i for i in reversed(todo)}
    todo.sort(key=lambda i: first[places[i][0]])  # parts of a file together, so that it is read once
    done, decoded, total = len(places) - len(todo), 0, len(places)
    note = f"{done:,} from the cache" if done else ""
    if total:
        on_progress(Progress("decode", done, total, "files", note))

    results, left = read_in_chunks([places[i] for i in todo], form, cached, workers), iter(todo)
    try:
        for result in results:
            for row, i in zip(result, left, strict=False):
                rows[i] = Row(row.content, row.code, row.error)
                if row.content:
                    stats.add(keys[i], row.file)
                if row.decoded is not None:
                    decoded += 1
                    cache.add(row.content, row.decoded)
            done += len(result)
            on_progress(Progress("decode", done, total, "files", note))
    finally:  # also on Ctrl-C: what is decoded stays decoded
        results.close()
        cache.flush()
        stats.flush()
    return rows, decoded

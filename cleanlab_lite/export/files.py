"""Files of a dataset under new names: names that are safe on every system, and links or copies of what they name.

A part of a sound becomes a file of its own.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from cleanlab_lite.archives import member
from cleanlab_lite.data.media import read_bytes
from cleanlab_lite.data.sound import cut_out
from cleanlab_lite.errors import ConfigError, DecodeError
from cleanlab_lite.export.formats import Link
from cleanlab_lite.files import is_remote
from cleanlab_lite.manifest.manifest import WHOLE, Manifest, Segment
from cleanlab_lite.text import UNSAFE, counted, listing

SHOWN = 5  # names in one message
_LONGEST = 200  # bytes of a name; file systems take 255, and a number may be added
# Not allowed on Windows, or dangerous in a terminal
_UNSAFE = re.compile(rf'[<>:"/\\|?*{UNSAFE}]+')
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(1, 10))}
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}  # other device, forbidden, too many, unknown there


def safe_name(text: str) -> str:
    """`text` as the name of a file or folder on any system: not hidden, not reserved, no separators or controls."""
    name = _UNSAFE.sub("-", text).strip(" .")
    stem, dot, ending = name.rpartition(".")
    if len(ending.encode()) > 20 or not dot:
        stem, dot, ending = name, "", ""
    room = _LONGEST - len((dot + ending).encode())
    stem = stem.encode()[:room].decode(errors="ignore").strip(" .")
    if stem.partition(".")[0].lower() in _RESERVED:
        stem += "_"
    return (stem or "unnamed") + dot + ending


class Names:
    """Safe names, each given once in its folder; upper and lower case count as one, as they do on many systems."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def claim(self, folder: str, text: str, *, by_stem: bool = False) -> str:
        """A safe name for `text` in `folder`: `a.png`, then `a-2.png`, ... `by_stem` counts `a.png` and `a.jpg` as one.

        The same calls in the same order give the same names.
        """
        stem, ending = os.path.splitext(safe_name(text))
        number = 1
        while True:
            name = f"{stem}-{number}" if number > 1 else stem
            key = f"{folder}/{name if by_stem else name + ending}".casefold()
            if key not in self._taken:
                self._taken.add(key)
                return name + ending
            number += 1


class Placer:
    """Puts files of a dataset under a folder, and remembers what could not be done."""

    def __init__(self, root: Path, link: Link) -> None:
        self.root = root
        self._link = link
        self._missing: list[str] = []
        self._unreadable: list[str] = []
        self._copied = self._segments = 0
        self._read = lru_cache(maxsize=1)(read_bytes)  # rows of one file mostly follow each other

    def place(self, uri: str, name: str, segment: Segment = WHOLE) -> bool:
        """Put the file at `uri` under `name`, a relative path. False where there is no such file, or no such part."""
        inside = member(uri) is not None
        if not inside and (not uri or not os.path.isfile(uri)):
            self._missing.append(uri)
            return False
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = uri if inside else os.path.realpath(uri)
        if segment != WHOLE:
            return self._cut(source, target, segment)
        if inside:
            return self._copy_out(source, target)
        if self._link == "sym":
            os.symlink(source, target)
        elif self._link == "copy" or not self._hard_link(source, target):
            shutil.copyfile(source, target)
        return True

    def _copy_out(self, source: str, target: Path) -> bool:
        """Of an archive."""
        try:
            target.write_bytes(self._read(source))
        except DecodeError:
            self._missing.append(source)
            return False
        return True

    def _cut(self, source: str, target: Path, segment: Segment) -> bool:
        try:
            target.write_bytes(cut_out(self._read(source), segment))
        except DecodeError:
            self._unreadable.append(source)
            return False
        self._segments += 1
        return True

    def _hard_link(self, source: str, target: Path) -> bool:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            self._copied += 1
            return False
        return True

    def notes(self) -> list[str]:
        """What the user should know, a sentence each."""
        notes = []
        if self._missing:
            missing = listing(self._missing, SHOWN, 80)
            notes.append(f"left out: {counted(len(self._missing), 'row')} without a file: {missing}")
        if self._unreadable:
            unreadable = listing(self._unreadable, SHOWN, 80)
            notes.append(f"left out: {counted(len(self._unreadable), 'row')} without a readable part: {unreadable}")
        if self._segments:
            notes.append(f"cut out of files, as WAV: {counted(self._segments, 'part')}")
        if self._copied:
            notes.append(f"copied, as no hard link is possible: {counted(self._copied, 'file')}")
        return notes


def refuse_empty(placed: int, notes: list[str]) -> None:
    """Raise ConfigError where an export would hold no file; `notes` say what was left out."""
    if not placed:
        raise ConfigError(
            "no row is left, nothing is written" + "".join(f"\n  {note}" for note in notes),
            hint="export with --format manifest: it needs no files",
        )


def file_names(manifest: Manifest, uris: Iterable[str]) -> list[str]:
    """n names of files: their own, of a part of a sound with its place in seconds: `a-1.5-2.wav`."""
    names = []
    for row, uri in enumerate(uris):
        place = member(uri)
        name, segment = os.path.basename(uri if place is None else place.name), manifest.segment(row)
        if segment != WHOLE:
            end = "" if math.isinf(segment.duration) else f"-{segment.offset + segment.duration:.10g}"
            name = f"{os.path.splitext(name)[0]}-{segment.offset:.10g}{end}.wav"
        names.append(name)
    return names


def local_uris(manifest: Manifest) -> list[str]:
    """n absolute paths, "" where the manifest has none. Raises ConfigError when files are remote."""
    uris: list[str] = manifest.uris.tolist() if manifest.uris is not None else [""] * len(manifest)
    remote = [uri for uri in uris if is_remote(uri) and member(uri) is None]
    if remote:
        raise ConfigError(
            f"{counted(len(remote), 'remote file')}, e.g. {remote[0]!r:.80}: this format needs files on this machine",
            hint="export with --format manifest, or audit a local copy",
        )
    return uris


def split_folders(manifest: Manifest) -> tuple[list[str], list[str]]:
    """n folders by split, "" for all where the manifest has no splits; and notes. Rows without one go to train."""
    splits: list[str] = manifest.splits.tolist()
    if not any(splits):
        return [""] * len(splits), []
    names = Names()
    folders = {split: names.claim("", split) for split in dict.fromkeys(splits) if split}
    empty = splits.count("")
    folders.setdefault("", folders.get("train", "train"))
    notes = [f"in train: {counted(empty, 'row')} without a split"] if empty else []
    return [folders[split] for split in splits], notes + renamed("split", folders)


def renamed(kind: str, names: dict[str, str]) -> list[str]:
    """A note on names that could not stay as they are; none where all could."""
    changed = [f"{old!r:.60} as {new!r:.60}" for old, new in names.items() if old and old != new]
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return [f"{kind} names made safe: {', '.join(changed[:SHOWN])}{more}"] if changed else []

"""Files inside local `.zip` and `.tar` archives, read without unpacking: `zip://cat/1.png::/data/set.zip`.

fsspec knows these names as well, but reads the table of contents again for every file. Here that is done once per
process.
"""

from __future__ import annotations

import os
import re
import tarfile
import threading
import zipfile
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from cleanlab_lite.files import MAX_FILE_BYTES, open_regular

ENDINGS = (".zip", ".tar")
MOST_MEMBERS = 2_000_000
MAX_ARCHIVE_BYTES = 1 << 44  # an archive is not read whole
KEPT = 8  # archives open at a time
_MEMBER = re.compile(r"(zip|tar)://(?P<name>.+?)::(?:file://)?(?P<archive>(?:/|[A-Za-z]:[\\/]).*)", re.DOTALL)


class Member(NamedTuple):
    """A file in an archive."""

    archive: str  # absolute path
    name: str  # in it


def member(uri: str) -> Member | None:
    """The file in a local archive that `uri` names; None where it names something else."""
    found = _MEMBER.fullmatch(uri)
    if found is None or "::" in found["archive"]:
        return None
    return Member(found["archive"], found["name"])


def uri_of(archive: str, name: str) -> str:
    """What `member` understands, and fsspec too."""
    kind = "tar" if archive.lower().endswith(".tar") else "zip"
    return f"{kind}://{name}::{os.path.abspath(archive)}"


def names_in(archive: str) -> list[str]:
    """The regular files of an archive in its order, without hidden ones. Raises what zipfile and tarfile raise."""
    return [
        name
        for name in _open(archive).sizes
        if "::" not in name and not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    ]


def read_member(place: Member, most: int | None = None) -> bytes:
    """All of a file in an archive, or its first `most` bytes.

    Raises FileNotFoundError, OverflowError beyond `MAX_FILE_BYTES`, and what zipfile and tarfile raise.
    """
    return _open(place.archive).read(place.name, most)


def size_in(place: Member) -> int:
    """Bytes of a file in an archive."""
    return _open(place.archive).sizes[place.name]


class _Archive:
    """An open archive. One read at a time: they share a place in the file."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._zip: zipfile.ZipFile | None = None
        self._file: BinaryIO = open_regular(path, MAX_ARCHIVE_BYTES)
        try:
            if zipfile.is_zipfile(self._file):
                self._zip = zipfile.ZipFile(self._file)
                infos = self._zip.infolist()
                if len(infos) > MOST_MEMBERS:
                    raise OverflowError(f"the archive holds more than {MOST_MEMBERS} files")
                self.sizes = {info.filename: info.file_size for info in infos if not info.is_dir()}
            else:
                self._file.seek(0)
                self._places = _places(self._file)
                self.sizes = {name: size for name, (_, size) in self._places.items()}
        except BaseException:
            self._file.close()
            raise

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def read(self, name: str, most: int | None = None) -> bytes:
        size = self.sizes.get(name)
        if size is None:
            raise FileNotFoundError(f"no {name!r} in the archive")
        if size > MAX_FILE_BYTES:
            raise OverflowError(f"the file has {size} bytes, more than the limit of {MAX_FILE_BYTES}")
        size = size if most is None else min(size, most)
        with self._lock:
            if self._zip is not None:
                with self._zip.open(name) as file:
                    return file.read(size)
            start, _ = self._places[name]
            self._file.seek(start)
            data = self._file.read(size)
        if len(data) < size:
            raise EOFError("the archive breaks off within the file")
        return data


def _places(file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Start and size of the files of a tar. What a broken one holds before it breaks off counts."""
    found: dict[str, tuple[int, int]] = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        try:
            for info in archive:
                if info.isreg() and not info.issparse():
                    found[info.name.removeprefix("./")] = (info.offset_data, info.size)
                archive.members.clear()  # type: ignore[attr-defined]  # or every header stays in memory
                if len(found) > MOST_MEMBERS:
                    raise OverflowError(f"the archive holds more than {MOST_MEMBERS} files")
        except tarfile.ReadError:
            if not found:
                raise
    return found


def _open(path: str) -> _Archive:
    """Kept open, per process: one that was forked would share its place in the file."""
    found = os.stat(path)
    return _opened(path, found.st_size, found.st_mtime_ns, os.getpid())


@lru_cache(maxsize=KEPT)
def _opened(path: str, size: int, changed: int, process: int) -> _Archive:
    return _Archive(path)

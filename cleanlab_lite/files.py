"""Files: written whole or not at all, and read although others wrote them, or a disk has damaged them.

The parsers below us (zip, zlib, NumPy's headers, Arrow, JSON) let dozens of kinds of exceptions out where bytes are not
what they expect: TokenError, RecursionError, MemoryError, zlib.error ... No list of them is ever complete.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import stat
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cleanlab_lite.errors import NlcleanError
from cleanlab_lite.text import one_line

if TYPE_CHECKING:  # NumPy and Arrow are slow to import, and settings are read without them
    import numpy as np
    import pyarrow as pa

FILE_URLS = ("file://", "local://")
MAX_FILE_BYTES = 2 << 30  # of a file that is read whole; some never end
MAX_FACTS_BYTES = 256 << 20  # of a JSON that says something about a run
PART = 64 << 20  # bytes asked for at a time
DEEPEST = 200  # levels of lists and objects in JSON
TOO_DEEP = "it is nested too deeply"
LONGEST = 200  # characters of a parser's own words in a message
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")


@contextmanager
def whole(target: Path, temporary: Path | None = None, *, durable: bool = True) -> Iterator[Path]:
    """A path to write to, which becomes `target` when the block ends well; nothing stays of it when it does not.

    Whoever reads sees the old file or the new one, never a part; after a power cut too, if `durable`. What is written
    lies in `temporary` meanwhile, by default beside the target under a name of this process. Raises OSError.
    """
    temporary = temporary or target.with_name(f".{os.getpid()}.{target.name}")  # the ending is what writers look at
    if temporary.is_symlink():  # nobody's but a stranger's: it would be written through
        temporary.unlink()
    try:
        yield temporary
        if durable:
            _sync(temporary)
        os.replace(temporary, target)
        if durable:
            _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file, or the entries of a folder, to the disk."""
    if path.is_dir() and sys.platform == "win32":
        return  # Windows cannot open a folder, and journals renames itself
    handle = os.open(path, os.O_RDONLY if sys.platform != "win32" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def reading(failure: str, error: type[NlcleanError], *, hint: str = "") -> Iterator[None]:
    """Turn whatever goes wrong in the block into `error`: `failure` ("cannot read x.npy"), and why.

    Errors of nlclean pass: they know better. So does a map of a file that finds no memory: the file is whole.
    """
    try:
        yield
    except NlcleanError:
        raise
    except Exception as cause:
        if isinstance(cause, OSError) and cause.errno == errno.ENOMEM:
            raise
        raise error(f"{failure}: {why(cause)}", hint=hint) from cause


def why(cause: Exception) -> str:
    """The reason in one line; without the path, which the message names already."""
    if isinstance(cause, KeyError):
        return f"{cause} is missing"
    if isinstance(cause, RecursionError):
        return TOO_DEEP
    if isinstance(cause, FileNotFoundError) and not cause.strerror:  # of fsspec, which says the path or why
        return f"there is no such file ({one_line(str(cause), LONGEST)})"
    return one_line(str(getattr(cause, "strerror", None) or cause), LONGEST) or type(cause).__name__


def is_remote(path: str) -> bool:
    """Whether it is for fsspec (`s3://…`, `zip://a.png::b.zip`); a folder on the way to a local file may end in ":"."""
    return ":" in path and _REMOTE.match(path) is not None


def local_path(uri: str) -> str:
    """`uri`, or the path in it where it is the URL of a local file: what holds for local files holds for these, too."""
    if ":" not in uri:
        return uri
    scheme = next((scheme for scheme in FILE_URLS if uri.startswith(scheme) and "::" not in uri), "")
    return uri.removeprefix(scheme)


def read_small(path: str | os.PathLike[str]) -> bytes:
    """All of a file of facts. Raises OSError and OverflowError as `open_regular` does."""
    with open_regular(path, MAX_FACTS_BYTES) as file:
        return file.read()


def open_unlinked(path: str | os.PathLike[str], flags: int) -> int:
    """A descriptor of a file to be changed in place, made where it is missing. Raises OSError where it is a link: what
    a stranger's folder links to is not changed."""
    if os.path.islink(path):
        raise OSError(errno.ELOOP, "it is a link, and nothing is written through links")
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)


def open_regular(path: str | os.PathLike[str], limit: int | None = None, *, block: int = -1) -> BinaryIO:
    """A local file, open for reading. Whoever wrote a manifest may have named a pipe or a device, which never ends.

    Args:
        block: bytes read at a time; by default what Python takes for fast.

    Raises OSError, also for what is no regular file, and OverflowError beyond `limit` bytes (`MAX_FILE_BYTES`).
    """

    def never_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    file = open(path, "rb", block, opener=never_waiting)  # noqa: SIM115
    try:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "this is a pipe, socket or device, not a file")
        limit = MAX_FILE_BYTES if limit is None else limit
        if found.st_size > limit:
            raise OverflowError(f"the file has {found.st_size} bytes, more than the limit of {limit}")
    except BaseException:
        file.close()
        raise
    return file


def load_arrays(file: str | os.PathLike[str] | BinaryIO) -> np.ndarray | dict[str, np.ndarray]:
    """One array of an `.npy` file, mapped into memory where it is named, or the arrays of an `.npz`. No pickles.

    Raises anything where the file is not what it should be: to be called within `reading`.
    """
    import numpy as np

    if not isinstance(file, str | os.PathLike):
        return _loaded(file)
    with open_regular(file, sys.maxsize) as opened:  # of a damaged file np.load keeps the handle
        if opened.read(6) != np.lib.format.MAGIC_PREFIX:
            opened.seek(0)
            return _loaded(opened)
    return np.load(file, mmap_mode="r", allow_pickle=False)


def _loaded(file: BinaryIO, names: Iterable[str] | None = None) -> np.ndarray | dict[str, np.ndarray]:
    """All arrays, or those called `names`. What an archive declares is held against the memory before it is read."""
    import numpy as np

    head = file.read(len(np.lib.format.MAGIC_PREFIX))
    file.seek(0)
    if head == np.lib.format.MAGIC_PREFIX:
        return np.load(file, allow_pickle=False)
    declared = declared_arrays(file)
    file.seek(0)
    chosen = list(declared if names is None else names)
    _afford(sum(declared[name].size * declared[name].itemsize for name in chosen))
    with np.load(file, allow_pickle=False) as found:
        return {name: found[name] for name in chosen}


def load_archive(path: str | os.PathLike[str] | BinaryIO, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file, or only those called `names`. To be called within `reading`."""
    with open_regular(path, sys.maxsize) if isinstance(path, str | os.PathLike) else nullcontext(path) as file:
        file.seek(0)
        arrays = _loaded(file, names)
    if not isinstance(arrays, dict):
        raise ValueError("it holds one array, not an archive of arrays")
    return arrays


def declared_arrays(file: BinaryIO) -> dict[str, np.ndarray]:
    """By name what the headers of an `.npz` say: arrays of the right shapes and types that hold, and take, nothing.

    Raises anything where it is none, or where a header says more than its member has. To be called within `reading`.
    """
    import numpy as np

    found = {}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                version = np.lib.format.read_magic(member)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(member)
            if dtype.hasobject:
                raise ValueError("it holds Python objects (pickles), which are not read")
            if math.prod(shape) * dtype.itemsize > info.file_size:
                raise ValueError(f"{info.filename!r:.60} breaks off: it declares {shape} of {dtype!s:.30}")
            found[info.filename.removesuffix(".npy")] = np.broadcast_to(np.zeros((), dtype), shape)
    return found


def array_blocks(file: BinaryIO, name: str, rows: int) -> Iterator[np.ndarray]:
    """An array of an `.npz` in blocks of so many rows, so that no more of it is held. To be called within `reading`."""
    import numpy as np

    with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(member)
        if not by_columns:
            for start in range(0, shape[0], rows):
                some = (min(rows, shape[0] - start), *shape[1:])
                yield np.frombuffer(member.read(math.prod(some) * dtype.itemsize), dtype).reshape(some)
            return
    whole = load_archive(file, [name])[name]
    yield from (whole[start : start + rows] for start in range(0, len(whole), rows))


def _afford(size: float) -> None:
    """Raise OverflowError for what a file declares, in bytes, where this machine has not so much memory."""
    memory = math.inf
    with suppress(AttributeError, OSError, ValueError):  # Windows does not say
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise OverflowError(f"it declares {size / 2**30:,.0f} GiB, and this machine has {memory / 2**30:,.0f} GiB")


WIDTHS = {"BOOLEAN": 0.125, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12, "BYTE_ARRAY": 4}  # bytes
ROW = 100  # bytes that any row takes, whatever is in it


def read_table(file: str | os.PathLike[str] | pa.BufferReader, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file, or those of `columns` that it has; text that is no text is found here. Within `reading`."""
    import pyarrow.parquet as pq

    if isinstance(file, str | os.PathLike):
        open_regular(file, sys.maxsize).close()
    # ParquetFile, because pq.read_table takes folders called `key=value` on the way for columns
    with pq.ParquetFile(file, page_checksum_verification=True) as opened:
        _vet(opened.metadata)
        _afford(_declared(opened.metadata, columns))
        table = opened.read(columns)
    table.validate(full=True)
    return table


class _NothingRead(Exception):
    """Arrow has come to the data."""


class _Nothing(io.RawIOBase):
    """A large file whose data cannot be read."""

    at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: 1 << 62}[whence]
        return self.at

    def read(self, size: int = -1) -> bytes:
        raise _NothingRead


def _vet(facts: Any) -> None:
    """Raise OSError where Arrow cannot make sense of what a Parquet file says of its columns.

    Asked about a column of such a file from Python, Arrow 26 ends the process; on its way to the data it raises.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with suppress(_NothingRead):
        pq.ParquetFile(pa.PythonFile(_Nothing(), mode="r"), metadata=facts, pre_buffer=True).read()


def _declared(facts: Any, columns: list[str] | None) -> float:
    """Bytes that a Parquet file unpacks to, by its own account: runs of one value take next to nothing in the file."""
    total = float(ROW * facts.num_rows)
    for group in map(facts.row_group, range(facts.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if columns is None or column.path_in_schema.partition(".")[0] in columns:
                unpacked = WIDTHS.get(column.physical_type, 1) * column.num_values
                total += max(unpacked, column.total_uncompressed_size)
    return total


def json_value(data: bytes | str) -> Any:
    """What the JSON says. Raises ValueError where it is none, or is nested deeper than `DEEPEST`.

    How deep Python itself can go depends on the caller: what one step reads, a later one could not.
    """
    try:
        found = json.loads(data)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    brackets = ("[", "{") if isinstance(data, str) else (b"[", b"{")
    if sum(map(data.count, brackets)) > DEEPEST:  # type: ignore[arg-type]
        level, depth = [found], 0
        while level := [child for part in level for child in _children(part)]:
            depth += 1
            if depth > DEEPEST:
                raise ValueError(TOO_DEEP)
    return found


def _children(part: Any) -> Iterable[Any]:
    return part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()


def json_object(data: bytes | str, **expected: type | tuple[type, ...]) -> dict[str, Any]:
    """A JSON object that has at least the fields `expected`, of these types.

    Raises ValueError for everything else, also where it is nested too deeply.
    """
    found = json_value(data)
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, found {found!r:.60}")
    check_fields(found, **expected)
    return found


def check_fields(found: Mapping[str, Any], **expected: type | tuple[type, ...]) -> None:
    """Raise ValueError where a field is missing or of another type."""
    for name, types in expected.items():
        if name not in found:
            raise ValueError(f"{name!r} is missing")
        if not isinstance(found[name], types):
            raise ValueError(f"{name!r} is {found[name]!r:.60}")

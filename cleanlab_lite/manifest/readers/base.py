"""What every reader returns (`Rows`), and how all of them open files and look at cells."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import os
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from cleanlab_lite.addresses import REACHED, is_elsewhere
from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import MAX_FILE_BYTES, PART, is_remote, local_path, open_regular, reading, why
from cleanlab_lite.manifest.manifest import JSON_CELLS, NULLS_WRITTEN, VIEWS, Encoded, TextStyle
from cleanlab_lite.remote import read_remote
from cleanlab_lite.text import listing

PERMISSIONS = "check the path and its permissions"
MOST_COLUMNS = 100_000
ARRAYS = (
    "write its pictures to files in a folder per class, or its vectors with numpy.savez(file, features=..., labels=...)"
)
SAVEZ = "write its vectors with numpy.savez(file, features=..., labels=...)"
PICKLE = f"pickles are not read, they can run programs: {ARRAYS}"
IDX = (
    "this is MNIST's own form, which is read where the files are called like train-images-idx3-ubyte and "
    "train-labels-idx1-ubyte"
)
LINES = "put them into a CSV below the line path,label: `(echo path,label; sed 's/ /,/' OLD.txt) > NEW.csv`"
UNREAD = {  # endings of files that may hold labels and are not read -> what to do
    "": "the format is taken from the ending; rename the file, e.g. to manifest.csv",
    ".xlsx": "save the sheet as CSV",
    ".xls": "save the sheet as CSV",
    ".ods": "save the sheet as CSV",
    ".pkl": "pickles are not read, they can run programs: save a frame with to_parquet(), arrays with numpy.savez()",
    ".tgz": "unpack it, or pack it again without compression: .tar and .zip are read as they are",
    ".mat": f"scipy.io.loadmat reads it: {ARRAYS}",
    ".h5": f"h5py reads it: {ARRAYS}",
    ".hdf5": f"h5py reads it: {ARRAYS}",
    ".tfrecord": "write its pictures to files in a folder per class, or its rows to Parquet",
    ".arff": "scipy.io.arff.loadarff reads it: save it as CSV, and name its numbers with --features-columns",
    ".pt": f"torch.load reads it: {SAVEZ}",
    ".pth": f"torch.load reads it: {SAVEZ}",
    ".safetensors": f"safetensors.numpy.load_file reads it: {SAVEZ}",
    ".h5ad": f"anndata.read_h5ad reads it, labels are a column of its .obs: {SAVEZ}",
    ".libsvm": f"sklearn.datasets.load_svmlight_file reads it, .toarray() makes it dense: {SAVEZ}",
    ".svm": f"sklearn.datasets.load_svmlight_file reads it, .toarray() makes it dense: {SAVEZ}",
    ".npy": "give it with --features, next to a table of labels",
    ".txt": "rename it to .csv or .tsv if it is a table, with a line that names the columns, such as path,label;"
    f" of a list of files and labels: {LINES}",
}
STRANGE = {b"\x80\x02": PICKLE, b"\x80\x03": PICKLE, b"\x80\x04": PICKLE, b"\x80\x05": PICKLE, b"\0\0\x08": IDX}
STRANGE |= {b"\x89HDF": UNREAD[".h5"], b"MATLAB": UNREAD[".mat"]}  # the first bytes of such files
# Folders of what was drawn on pictures, without underscores
DRAWN = {"masks", "mask", "annotations", "annotation", "segmentations", "segmentation", "labels", "groundtruth", "gt"}
ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")  # before a number
WHOLE_ARCHIVE = "is it a whole archive? Compressed tars (.tar.gz) need to be unpacked"
RESERVED = "__nlclean_"  # columns of a saved manifest


class FileKeeper(Protocol):
    """Makes files of what is in memory only; the same content gives the same path."""

    def picture(self, picture: Any) -> str: ...

    def file(self, data: bytes, ending: str) -> str: ...


@dataclass(frozen=True)
class Rows:
    """n rows as they stand in the user's files, before anyone asks what the columns mean."""

    path: str  # for messages
    table: pa.Table  # n rows
    format: str  # as in `Source.format`
    folders: tuple[tuple[str, int], ...]  # folder or URL where relative paths start, and for how many rows
    lines: np.ndarray | None = None  # (n,) int64 line of the row, from 1; None unless there is one text file
    delimiter: str = ","
    quoting: int = csv.QUOTE_MINIMAL
    style: TextStyle = field(default_factory=TextStyle)
    known: dict[str, str] = field(default_factory=dict)  # role -> column, where the format fixes it
    features: np.ndarray | None = None  # (n, d) float32
    encoded: Encoded | None = None  # what else is known of files that they were made of
    numbered: bool = False  # rows without an id column are called by their numbers, not by their paths
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)  # column -> its classes in their own order
    names: dict[str, dict[str, str]] = field(default_factory=dict)  # column of numbers -> cell -> name of the class
    files: dict[str, list[str]] = field(default_factory=dict)  # column -> paths of the files that its n cells hold
    pictures: Callable[[], Iterator[np.ndarray]] | None = None  # blocks (b, h, w) or (b, h, w, c) uint8 of the rows
    file_splits: tuple[tuple[str, int], ...] = ()  # of several files: the split each is named after, and its rows
    notes: tuple[str, ...] = ()

    def where(self, row: int) -> str:
        """How to name a row in a message; row numbers count from 0 as arrays do."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"


def ending(path: str) -> str:
    """Lower-case file ending with its dot, of a path or a URL (chained fsspec URLs: of the first member)."""
    first = path.partition("::")[0] if is_remote(path) else path
    if first.startswith(("http://", "https://")):
        first = urlsplit(first).path
    return os.path.splitext(first)[1].lower()


def unpadded(name: str) -> str:
    """A name as names are compared by their numbers: without zeros before these, and without case."""
    folded = name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()
    return ZEROS.sub("", folded) if "0" in folded else folded


def what_to_do(path: str) -> str:
    """With a file of a form that is not read."""
    head = b""
    with suppress(OSError, ValueError, EOFError, zlib.error):
        if not is_remote(path) and os.path.isfile(path):
            with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
                head = file.read(8)
    strange = next((words for magic, words in STRANGE.items() if head.startswith(magic)), None)
    kind = ending(path).partition("-")[0]  # .tfrecord-00000-of-00004
    return strange or UNREAD.get(kind, "convert it to one of these, such as a CSV with the columns path and label")


def folder_of(path: str) -> str:
    """The folder or URL that relative paths in the file `path` start from."""
    if not is_remote(path):
        return os.path.dirname(os.path.abspath(path))
    first, chained, rest = path.partition("::")
    if first.startswith(("http://", "https://")):
        first = urlsplit(first)._replace(query="", fragment="").geturl()
    scheme, slashes, inside = first.partition("://")
    return f"{scheme}{slashes}{inside.rpartition('/')[0]}{chained}{rest}"


def locate(path: str, folder: str) -> str:
    """`path` as an absolute path or URL. Remote and absolute paths are kept as they are, and "" means missing.

    The URL of a local file becomes its path.
    """
    path, folder = local_path(path), local_path(folder)
    if not path or is_remote(path) or os.path.isabs(path):
        return path
    if is_remote(folder):
        first, chained, rest = folder.partition("::")
        slash = "" if first.endswith("://") else "/"  # at the root of an archive
        return f"{first}{slash}{path}{chained}{rest}"
    return os.path.join(folder, path)


def read_file(path: str) -> bytes:
    """The whole file, local or remote. Raises ManifestError, also when it is empty."""
    local = local_path(path)
    with reading(f"cannot read {path!r}", ManifestError, hint=REACHED if is_elsewhere(local) else PERMISSIONS):
        if is_remote(local):
            data = read_remote(local)
        else:
            with open_regular(local) as file:
                data = file.read()
    if not data:
        raise ManifestError(f"{path!r} is empty (0 bytes)", hint="was it written completely?")
    return data


def unreadable(path: str, error: Exception) -> ManifestError:
    return ManifestError(f"cannot read {path!r}: {why(error)}", hint=PERMISSIONS)


def list_folder(path: str) -> list[str]:
    """Sorted names in a folder. Raises ManifestError when it cannot be read."""
    with reading(f"cannot read {path!r}", ManifestError, hint=PERMISSIONS):
        return sorted(os.listdir(path))


class Text(NamedTuple):
    """A text file and how it was stored."""

    text: str
    bom: bool  # of UTF-8: one that is to be written
    compression: str  # ending that says so, "" where it is not compressed
    notes: tuple[str, ...] = ()


# Euro, quotation marks, dashes, degree and the like in Windows-1252: what stands between words only, and the others
BETWEEN = b"\x80\x82\x84\x85\x89\x8b\x91\x93\x94\x95\x99\x9b".decode("cp1252")
BETWEEN += b"\xa1\xa2\xa3\xa5\xa7\xa9\xab\xae\xb1\xbb\xbf\xd7".decode("cp1252")
SIGNS = {*BETWEEN, *b"\x92\x96\x97\xa0\xb0\xb7".decode("cp1252")}
COMPRESSED = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2"}
CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def bare(path: str) -> str:
    """`path` without the ending of a compression."""
    stem, last = os.path.splitext(path)
    return stem if last.lower() in CODECS and "::" not in path else path


def read_text(path: str) -> Text:
    """The whole file as text, unpacked. What Excel writes in place of UTF-8 is read with a note.

    Raises ManifestError where it is no text in UTF-8, in UTF-16 with a byte order mark, or in Windows-1252.
    """
    data = read_file(path)
    compression = next((ending for magic, ending in COMPRESSED.items() if data.startswith(magic)), "")
    if compression:
        with reading(f"cannot unpack {path!r}", ManifestError, hint="is it written completely?"):
            data = _unpacked(data, CODECS[compression])

    def place(offset: int) -> str:
        line = data.count(b"\n", 0, offset) + 1
        return f"{path!r}, line {line}, byte offset {offset}"

    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with suppress(UnicodeDecodeError):
            if "\0" not in (text := data.decode("utf-16")):
                return Text(text, True, compression, ("the file is UTF-16, exports are UTF-8",))
    if (offset := data.find(b"\0")) >= 0:
        raise ManifestError(
            f"{place(offset)}: NUL byte, expected UTF-8 text",
            hint="if it is UTF-16, save it as UTF-8 (Excel: CSV UTF-8), or `iconv -f UTF-16 -t UTF-8 OLD > NEW`",
        )
    try:
        return Text(data.decode("utf-8-sig"), data.startswith(codecs.BOM_UTF8), compression)
    except UnicodeDecodeError as error:
        found = western(data)
        if found is None:
            raise ManifestError(
                f"{place(error.start)}: byte 0x{data[error.start]:02x} is not UTF-8",
                hint="save it as UTF-8 (Excel: CSV UTF-8), or by `iconv -f WINDOWS-1250 -t UTF-8 OLD > NEW`",
            ) from None
    word = next(word for word in re.findall(r"\w+", found) if not word.isascii())
    note = f"the file is not UTF-8: read as Windows-1252, such as {word!r:.40}; exports are UTF-8"
    return Text(found, True, compression, (note,))


def western(data: bytes) -> str | None:
    """The text in Windows-1252, as Excel writes CSV in Western Europe and America; None where it hardly is that.

    Words of other alphabets become three and more letters with accents in a row, those of Central Europe signs such as
    superscripts, those of East Asia bytes that stand for nothing and quotes within words; and damaged UTF-8 holds whole
    letters.
    """
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return None
    if re.search(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}", data):
        return None
    strange = {char for char in set(text) - SIGNS if not char.isascii() and not char.isalpha()}
    foreign = re.search(rf"[^\W\d_A-Za-z]{{3}}|[^\W\d_][{BETWEEN}][^\W\d_]", text)
    return None if strange or foreign or not re.search(r"[^\W\d_A-Za-z]", text) else text


def _unpacked(data: bytes, codec: str) -> bytes:
    """All of a compressed file, within the bounds of a file."""
    with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
        found = bytearray()
        while part := stream.read(PART):
            found += part
            if len(found) > MAX_FILE_BYTES:
                raise OverflowError(f"unpacked it has more than the limit of {MAX_FILE_BYTES} bytes")
    return bytes(found)


def title(paths: Sequence[str]) -> str:
    """How messages name the files of a dataset."""
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def check_names(path: str, names: Sequence[str]) -> None:
    """Raise ManifestError where columns have names that cannot be used."""
    if len(names) > MOST_COLUMNS:
        raise ManifestError(
            f"{path!r} has {len(names):,} columns, more than the limit of {MOST_COLUMNS:,}",
            hint="long vectors are given with --features FILE, as .npy",
        )
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if bad := [name for name in names if not storable(name)]:
        raise ManifestError(f"{path!r}: names of columns hold a NUL or half a character: {listing(bad)}")
    reserved = [name for name in names if name.startswith(RESERVED)]
    if repeated:
        raise ManifestError(
            f"{path!r}: columns named more than once: {listing(repeated)}; found {listing(names)}",
            hint="the first line must name the columns, each differently",
        )
    if reserved:
        raise ManifestError(
            f"{path!r}: columns {listing(reserved)} are nlclean's own", hint="audit the manifest this was made from"
        )


def check_rows(paths: Sequence[str], n: int) -> None:
    """Raise ManifestError where there are no rows."""
    if not n:
        raise ManifestError(f"{title(paths)!r} has no rows", hint="expected one row per sample")


def other_columns(path: str, found: Sequence[str], first: str, expected: Sequence[str]) -> ManifestError:
    """What to say where two files of a dataset do not agree."""
    return ManifestError(
        f"{path!r} has the columns {listing(found)}, expected those of {first!r}: {listing(expected)}",
        hint="files of one dataset must agree; give one of them by name to audit it alone",
    )


def one_after_the_other(paths: Sequence[str], tables: Iterable[pa.Table], form: str) -> Rows:
    """The rows of typed tables, one per file. Raises ManifestError where their schemas differ, or there are no rows."""
    parts: list[pa.Table] = []
    for path, table in zip(paths, tables, strict=True):
        check_names(path, table.column_names)
        if parts and not table.schema.equals(parts[0].schema):
            raise other_columns(path, _typed(table), paths[0], _typed(parts[0]))
        parts.append(table.replace_schema_metadata(parts[0].schema.metadata if parts else table.schema.metadata))
    check_rows(paths, sum(map(len, parts)))
    folders = tuple((folder_of(path), len(part)) for path, part in zip(paths, parts, strict=True))
    return Rows(title(paths), pa.concat_tables(parts), form, folders)


def _typed(table: pa.Table) -> list[str]:
    return [f"{field.name}: {field.type}" for field in table.schema]


ABSENT: Any = object()  # a key that a JSON record does not have


def json_table(records: Sequence[Mapping[str, Any]], where: str) -> pa.Table:
    """n JSON objects as a table, columns in the order of their first key.

    Columns of one scalar type are native. The rest hold JSON text and are marked with `JSON_CELLS`.
    """
    names = list(dict.fromkeys(key for record in records for key in record))
    check_names(where, names)
    columns = [_json_column(name, [record.get(name, ABSENT) for record in records]) for name in names]
    return pa.Table.from_arrays([array for _, array in columns], schema=pa.schema([field for field, _ in columns]))


def _json_column(name: str, cells: list[Any]) -> tuple[pa.Field, pa.Array]:
    """The narrowest column that gives back every cell, and tells null from absent."""
    kinds = set(map(type, cells))
    absent, null = type(ABSENT) in kinds, type(None) in kinds
    scalar = kinds - {type(ABSENT), type(None)}
    if not (absent and null) and (dtype := _scalar_type(scalar, cells)) is not None:
        metadata = {NULLS_WRITTEN: b"1"} if null else None
        values = [None if cell is ABSENT else cell for cell in cells]
        return pa.field(name, dtype, metadata=metadata), pa.array(values, dtype)
    values = [None if cell is ABSENT else json.dumps(cell) for cell in cells]
    return pa.field(name, pa.string(), metadata={JSON_CELLS: b"1"}), pa.array(values, pa.string())


def _scalar_type(kinds: set[type], cells: list[Any]) -> pa.DataType | None:
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {float}:
        return pa.float64()
    if kinds == {int}:
        fits = all(-(2**63) <= cell < 2**63 for cell in cells if type(cell) is int)
        return pa.int64() if fits else None
    if kinds == {str}:
        return pa.string() if storable("".join(cell for cell in cells if type(cell) is str)) else None
    return pa.string() if not kinds else None  # nothing but nulls


def without_views(table: pa.Table) -> pa.Table:
    """Text and bytes as plain Arrow types: few kernels know views. Columns that were views are marked with `VIEWS`."""
    for position, column in enumerate(table.schema):
        if (kind := _plain_type(column.type)) != column.type:
            marked = pa.field(column.name, kind, column.nullable, {**(column.metadata or {}), VIEWS: b"1"})
            try:
                cells = table.column(position).cast(kind)
            except pa.ArrowException:  # a view within a list or a struct
                cells = pa.chunked_array([pa.array(table.column(position).to_pylist(), kind)])
            table = table.set_column(position, marked, cells)
    return table


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return kind if (inner := _plain_type(kind.value_type)) == kind.value_type else pa.list_(inner)
    if pa.types.is_large_list(kind):
        return kind if (inner := _plain_type(kind.value_type)) == kind.value_type else pa.large_list(inner)
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        plain = [child.with_type(_plain_type(child.type)) for child in fields]
        return kind if plain == fields else pa.struct(plain)
    return kind


def holds_json(table: pa.Table, name: str) -> bool:
    return JSON_CELLS in (table.schema.field(name).metadata or {})


def plain(table: pa.Table, name: str) -> pa.ChunkedArray:
    """The column without dictionary encoding and string views, which few kernels know."""
    column = table[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


def is_text(dtype: pa.DataType) -> bool:
    return pa.types.is_string(dtype) or pa.types.is_large_string(dtype)


def texts(rows: Rows, name: str) -> list[str]:
    """Cells of a column of strings or integers as n strings, "" where null. Raises ManifestError on anything else."""
    column = plain(rows.table, name)
    values: list[Any] = column.to_pylist()
    if holds_json(rows.table, name):
        values = [None if value is None else json.loads(value) for value in values]
    elif not is_text(column.type) and not pa.types.is_integer(column.type) and not pa.types.is_null(column.type):
        raise ManifestError(
            f"{rows.path!r}: column {name!r} has type {column.type}, expected strings or integers",
            hint="embedded bytes are not read: write them to files and list their paths"
            if pa.types.is_struct(column.type) or pa.types.is_binary(column.type)
            else "name another column",
        )
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str | int):
            raise ManifestError(
                f"{rows.path!r}, {rows.where(row)}: {name!r} is {value!r:.60}, expected a string or an integer",
                hint="a path, or another text, by itself: name another column, or write it into one",
            )
    result = ["" if value is None else str(value) for value in values]
    if not storable("".join(result)):
        row = next(row for row, value in enumerate(result) if not storable(value))
        raise ManifestError(
            f"{rows.path!r}, {rows.where(row)}: {name!r} is {result[row]!r:.60}, which holds a NUL or half a character",
            hint="no file can have that name: repair the row",
        )
    return result


def storable(text: str) -> bool:
    """Whether `text` can be encoded as UTF-8 and survive in a NumPy string array (which cuts trailing NULs)."""
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, from a JSON escape
        return False
    return "\0" not in text

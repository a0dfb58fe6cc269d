"""The folder that `nlclean encode` writes: vectors of files, and all that an audit asks of the files themselves.

    part-00000.parquet, part-00001.parquet, ...    rows in the order of the manifest, each part whole or absent

    id, path, label, split         of the row; `path` is absolute, or a URL
    offset, duration               of a part of a sound, in seconds, where the manifest has such
    sha256                         of the file, or of that and the part of it
    vector                         fixed-size list of float32; null where the row could not be read
    thumbnail                      of a picture: SMALL x SMALL pixels, channels first; copies are looked for by it
    notes, code, error             what a sound suffers from; why a row could not be read

Numbers have the precision of float16, which an audit keeps, in the width that every program reads: with the bytes of
each number apart, compressed, they take no more room. What holds for all parts is in the metadata of each.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import json_object, read_table, reading, whole
from cleanlab_lite.manifest.manifest import Encoded, Modality
from cleanlab_lite.text import counted, listing

KEY = b"nlclean.encoded"  # of the metadata
VERSION = 1
NAME = "part-{:05}.parquet"
SMALL = 16  # pixels of a thumbnail
OWN = ("vector", "thumbnail", "notes", "code", "error")  # columns that are no part of the user's table
AGAIN = "the same `nlclean encode` writes what is missing"


@dataclass(frozen=True)
class Facts:
    """What all parts of a folder share."""

    key: str  # sha256 of the manifest, its files, and what makes vectors of them
    rows: int  # of all parts
    parts: int
    part_rows: int  # of all parts but the last
    modality: str  # of the files
    encoder: str
    fingerprint: str  # of its weights
    dimensions: int
    classes: list[str]
    version: int = VERSION

    def size(self, part: int) -> int:
        """Rows of a part."""
        return min(self.part_rows, self.rows - part * self.part_rows)

    @classmethod
    def read(cls, path: Path) -> Facts | None:
        """Those in the metadata of a Parquet file; None where it has none. Raises ManifestError where it is damaged."""
        with reading(f"cannot read {str(path)!r}", ManifestError, hint=f"delete it: {AGAIN}"):
            found = (pq.read_schema(path).metadata or {}).get(KEY)
            if found is None:
                return None
            facts = json_object(found, version=int)
            if facts["version"] > VERSION:
                raise ManifestError(f"{str(path)!r} is of version {facts['version']}", hint="upgrade nlclean")
            return cls(**facts)


@dataclass(frozen=True)
class Done:
    """What has been encoded."""

    folder: Path
    rows: int
    dimensions: int
    parts: int
    found: int  # parts that were there already
    unreadable: int  # rows, of the parts encoded now
    why: str  # they are, counted; "" where none is


def part_name(number: int) -> str:
    return NAME.format(number)


def write_part(folder: Path, number: int, table: pa.Table, encoded: Encoded, vectors: np.ndarray, facts: Facts) -> None:
    """Write one part: `table` has the columns of its p rows up to `duration`, `vectors` are (p, d)."""
    unreadable = pa.array(encoded.codes != "")
    flat = pa.array(vectors.astype(np.float32).ravel())
    columns: dict[str, pa.Array] = {
        "sha256": _text(encoded.content),
        "vector": pa.FixedSizeListArray.from_arrays(flat, facts.dimensions, mask=unreadable),
        "notes": _text(encoded.notes),
        "code": _text(encoded.codes),
        "error": _text(encoded.errors),
    }
    if encoded.small is not None:
        cells = [small.tobytes() for small in encoded.small]
        columns["thumbnail"] = pa.array(cells, pa.binary(3 * SMALL**2), mask=encoded.codes != "")
    for name, column in columns.items():
        table = table.append_column(name, column)
    table = table.replace_schema_metadata({KEY: json.dumps(asdict(facts)).encode()})
    with whole(folder / part_name(number)) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            write_page_checksum=True,
            use_dictionary=["label", "split", "notes", "code", "error"],
            column_encoding={"vector.list.element": "BYTE_STREAM_SPLIT"},
        )


def _text(cells: np.ndarray) -> pa.Array:
    return pa.array([cell or None for cell in cells.tolist()], pa.string())


def facts_of(folder: Path) -> Facts | None:
    """What the parts in a folder share; None where it is no such folder."""
    return next((Facts.read(path) for path in sorted(folder.glob("part-*.parquet"))), None)


def read_encoded(folder: Path, facts: Facts) -> tuple[pa.Table, np.ndarray, Encoded]:
    """The table without the columns of OWN, (n, d) float16 vectors, and the rest; one part in memory at a time.

    Raises ManifestError where a part is missing, damaged, or of another folder.
    """
    missing = [name for name in map(part_name, range(facts.parts)) if not (folder / name).is_file()]
    if missing:
        raise ManifestError(
            f"{str(folder)!r} is not complete, {len(missing):,} of {counted(facts.parts, 'part')} missing "
            f"({listing(missing, 3)})",
            hint=AGAIN,
        )
    vectors = np.empty((facts.rows, facts.dimensions), np.float16)
    pictures = facts.modality == "image"
    small = np.zeros((facts.rows, 3, SMALL, SMALL), np.uint8) if pictures else None
    tables: list[pa.Table] = []
    row = 0
    for path in (folder / part_name(number) for number in range(facts.parts)):
        if Facts.read(path) != facts:
            raise ManifestError(
                f"{str(path)!r} is of another manifest or encoder than {part_name(0)}",
                hint="delete the folder and encode again",
            )
        with reading(f"cannot read {str(path)!r}", ManifestError, hint=f"delete it: {AGAIN}"):
            part = read_table(path)
            rows = slice(row, row := row + len(part))
            _fill(part["vector"], vectors[rows])
            if small is not None:
                cells = part["thumbnail"].to_pylist()
                for place, cell in zip(small[rows], cells, strict=True):
                    if cell is not None:
                        place[:] = np.frombuffer(cell, np.uint8).reshape(place.shape)
        tables.append(part.drop_columns([name for name in ("vector", "thumbnail") if name in part.column_names]))
    if row != facts.rows:
        raise ManifestError(f"{str(folder)!r} has {row:,} rows, expected {facts.rows:,}", hint="encode again")
    table = pa.concat_tables(tables).replace_schema_metadata(None)
    words = {name: np.array([cell or "" for cell in table[name].to_pylist()], str) for name in ("sha256", *OWN[2:])}
    codes = np.where(np.isnan(vectors[:, 0]) & (words["code"] == ""), "not_finite", words["code"])
    modality = cast(Modality, facts.modality)
    found = Encoded(modality, facts.encoder, words["sha256"], codes, words["error"], words["notes"], small)
    return table.drop_columns(list(OWN[2:])), vectors, found


def _fill(column: pa.ChunkedArray, vectors: np.ndarray) -> None:
    """Put the vectors of a column in their place (p, d); null is NaN."""
    start = 0
    for chunk in column.chunks:
        there = vectors[start : start + len(chunk)]
        there[:] = np.nan
        there[chunk.is_valid().to_numpy(zero_copy_only=False)] = (
            chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, vectors.shape[1])
        )
        start += len(chunk)

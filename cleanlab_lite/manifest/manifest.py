"""`Manifest`: what the user says. Rows are in the order of the user's file, and stay so everywhere."""

from __future__ import annotations

import csv
import hashlib
import math
import os
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from cleanlab_lite.manifest.splits import held_back
from cleanlab_lite.votes import Votes

Modality = Literal["image", "sound", "vector"]
PLURALS: dict[str, str] = {"image": "pictures", "sound": "sounds", "vector": "vectors"}

# Metadata of a field of `Manifest.table`: how the cells were written, of JSON and Arrow.
JSON_CELLS = b"nlclean.json"  # cells hold JSON text: the column mixes types, or holds lists or objects
NULLS_WRITTEN = b"nlclean.null"  # a null was written as null; otherwise the key was absent
VIEWS = b"nlclean.view"  # text or bytes were Arrow views


class Segment(NamedTuple):
    """A part of a sound. NaN where the row does not hold a number."""

    offset: float  # seconds from the start of the file
    duration: float  # seconds, infinite: to the end

    def __str__(self) -> str:
        if math.isinf(self.duration):
            return f"from {self.offset:g} s"
        return f"{self.offset:g} to {self.offset + self.duration:g} s"


WHOLE = Segment(0.0, math.inf)
NO_FEATURES = "none"  # in the place of a file of vectors: rows have neither files nor vectors


@dataclass(frozen=True)
class TextStyle:
    """How a text file is written, beside its delimiter and quoting: what an export writes as it was."""

    before: str = ""  # lines before the header: `sep=;`, comments
    line_end: str = "\n"
    bom: bool = False  # a byte order mark
    compression: str = ""  # ".gz", ".zst" or ".bz2"
    spaced: bool = False  # a blank follows every delimiter
    closed: bool = False  # rows end in a delimiter that the header does not have
    header_quoted: bool = False
    quoted: tuple[int, ...] | None = None  # columns whose cells are in quotes; None: all or none, as `quoting` says
    bare: tuple[str, ...] = ()  # cells of those columns that are not


@dataclass(frozen=True)
class Source:
    """Where the rows came from and how to write them again."""

    path: str  # as the user gave it, absolute; of objects in memory, `<kind>` in the working folder
    format: str  # "csv", "tsv", "jsonl", "json", "parquet", "arrow", "feather", "folder", "arrays", "table" in memory
    label_column: str  # of one-hot columns: their names, joined
    path_column: str | None = None  # None for embeddings
    id_column: str | None = None
    split_column: str | None = None
    features_column: str | None = None
    segment_columns: tuple[str, ...] = ()  # offset and duration, or start and end; () where rows are whole files
    label_columns: tuple[str, ...] = ()  # all that say the label, where they are several: one-hot, or names and numbers
    vote_columns: tuple[str, ...] = ()  # that hold what each annotator says; () where there is one label per row
    elected: bool = False  # the label is what most annotators say: the file has no such column, or has several rows
    label_form: str = ""  # how cells hold several labels, of which the first counts: "list" or what separates them
    root: str | None = None  # where relative paths of the table start, where that is not the folder of `path`
    delimiter: str = ","  # csv and tsv only
    quoting: int = 0  # csv.QUOTE_MINIMAL, QUOTE_ALL, or QUOTE_NONE where quotes are text; csv and tsv only
    style: TextStyle = TextStyle()
    label_names: tuple[tuple[str, str], ...] = ()  # label cell, class name: where the cells are numbers of classes
    file: str | None = None  # the text file that `Manifest.lines` count in, absolute; None without lines
    notes: tuple[str, ...] = ()  # what was detected, one sentence each, for the user
    media: str = ""  # "image" or "sound" where the vectors were made of such files, which `uris` name

    @property
    def in_memory(self) -> bool:
        """Whether the rows came from no file: those of `.npz` and IDX are "arrays" as well."""
        name = os.path.basename(self.path)
        return name.startswith("<") and name.endswith(">")

    @property
    def quotes_are_text(self) -> bool:
        """Whether the file is delimited without quoting, so that quotes come out as they went in."""
        return self.quoting == csv.QUOTE_NONE


@dataclass(frozen=True)
class Encoded:
    """What an encoder's vectors do not say of the n files that they were made of."""

    modality: Modality  # of the files
    encoder: str  # its name
    content: np.ndarray  # (n,) str, sha256 of each, "" where unreadable
    codes: np.ndarray  # (n,) str, reason code of an unreadable row, "" where it is readable
    errors: np.ndarray  # (n,) str, the same in words
    notes: np.ndarray  # (n,) str, codes of what a readable row suffers from, with commas
    small: np.ndarray | None = None  # (n, 3, s, s) uint8, what copies among pictures are looked for by

    def select(self, rows: np.ndarray) -> Encoded:
        """The part of these rows (r,) int64."""
        names = ("content", "codes", "errors", "notes", "small")
        return replace(self, **{name: array[rows] for name in names if (array := getattr(self, name)) is not None})


@dataclass(frozen=True)
class Manifest:
    """A dataset as its owner describes it.

    Shapes: n samples, d features. `labels[i] == -1` means that row i has no label.
    """

    table: pa.Table  # the user's columns, untouched and in order, n rows
    source: Source
    modality: Modality
    classes: tuple[str, ...]  # class names; `labels` indexes into it
    ids: np.ndarray  # (n,) str, unique
    labels: np.ndarray  # (n,) int64
    splits: np.ndarray  # (n,) str, "" where the manifest has no split
    uris: np.ndarray | None = None  # (n,) str, absolute path or URL; "" where missing
    segments: np.ndarray | None = None  # (n, 2) float64, a `Segment` per row; None: the rows are whole files
    features: np.ndarray | None = None  # (n, d) float32, embeddings only (`encoded`: float16); NaN rows are unreadable
    encoded: Encoded | None = None  # where the embeddings were made of files by `nlclean encode`
    lines: np.ndarray | None = None  # (n,) int64, line of the row in its text file, from 1
    votes: Votes | None = None  # where several annotators have labelled the rows
    _fingerprint: list[str] = field(default_factory=list, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: np.ndarray) -> Manifest:
        """The part of these rows (r,) int64, with all classes."""
        parts: dict[str, Any] = {
            name: None if (array := getattr(self, name)) is None else array[rows]
            for name in ("ids", "labels", "splits", "uris", "segments", "features", "lines")
        }
        parts["encoded"] = None if self.encoded is None else self.encoded.select(rows)
        parts["votes"] = None if self.votes is None else self.votes.select(rows, len(self))
        return replace(self, **parts, table=self.table.take(pa.array(rows)), _fingerprint=[])

    @property
    def is_bare(self) -> bool:
        """Whether there is nothing to look at: rows have neither files nor vectors."""
        return self.features is not None and not self.features.shape[1]

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def paths(self) -> pa.ChunkedArray | None:
        """n paths as the user wrote them; null where the column holds the files themselves. None without a column."""
        if self.source.path_column is None:
            return None
        column = self.table[self.source.path_column]
        if pa.types.is_struct(column.type):
            names = [name.as_py() for chunk in column.chunks for name in chunk.field("path")]
            return pa.chunked_array([pa.array(names, pa.string())])
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            return pa.chunked_array([pa.nulls(len(column), pa.string())])
        return column.cast(pa.string())

    @property
    def holds_files(self) -> bool:
        """Whether the path column holds files, not their paths."""
        if self.source.path_column is None:
            return False
        kind = self.table.schema.field(self.source.path_column).type
        return pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    @property
    def files(self) -> np.ndarray:
        """(n,) str, the `uris` where an audit opens them; (0,) where it looks at vectors."""
        return np.zeros(0, dtype=str) if self.uris is None or self.modality == "vector" else self.uris

    def segment(self, row: int) -> Segment:
        """The part of its file that row `row` is about."""
        return WHOLE if self.segments is None else Segment(*self.segments[row].tolist())

    @property
    def held_back(self) -> np.ndarray:
        """(n,) bool: rows of a validation or test split, audited but not changed on export."""
        return held_back(self.splits)

    @property
    def fingerprint(self) -> str:
        """sha256 over the user's columns, ids, labels, classes, locations, segments and features: the identity of the
        dataset."""
        if not self._fingerprint:
            digest = hashlib.sha256()
            for array in (self.ids, self.splits, self.uris):
                # as a list: an interrupt in the middle of NumPy's own strings is lost
                digest.update("\x1f".join(array.tolist() if array is not None else ()).encode())
                digest.update(b"\x1e")
            digest.update("\x1f".join(self.classes).encode())
            digest.update(np.ascontiguousarray(self.labels).tobytes())
            for numbers in (self.segments, self.features):
                if numbers is not None:
                    digest.update(np.ascontiguousarray(numbers).reshape(-1).data)
            if self.votes is not None:
                digest.update("\x1f".join(self.votes.annotators).encode())
                for numbers in (self.votes.item, self.votes.annotator, self.votes.label):
                    digest.update(np.ascontiguousarray(numbers).data)
            columns = pa.BufferOutputStream()
            with pa.ipc.new_stream(columns, self.table.schema) as stream:
                stream.write_table(self.table.combine_chunks())
            digest.update(columns.getvalue())
            self._fingerprint.append(digest.hexdigest())
        return self._fingerprint[0]

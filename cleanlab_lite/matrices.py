"""Matrices of which any rows can be had, and what is done to all rows of one in blocks: an array, a file, or rows that
are made when they are asked for. Letters: n samples, k classes, d features, b rows of a block."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cleanlab_lite.arrays import largest_other, unit_rows

HELD = 1 << 22  # numbers of a block of rows
FEWEST_ROWS = 64  # of a block, however long they are
LARGEST = 16  # logits of a row that are held where not all are
HELD_CELLS = 50_000_000  # numbers (n, k) that are held as they are, 200 MB; of more, less is held, or nothing


class Matrix(Protocol):
    """(n, k) numbers of which any rows can be had: an array, a memory map, or a `LazyMatrix`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


class LazyMatrix:
    """Rows that are made when they are asked for. As an array it is all of them, at once."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, k)"""
        raise NotImplementedError

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        """(b, k)"""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        """(b, k) for the numbers of rows, (k,) for one; of rows and of columns (b,) a number for each pair."""
        if isinstance(key, int | np.integer):
            return self.rows(np.array([key]))[0]
        if not isinstance(key, tuple):
            is_mask = isinstance(key, np.ndarray) and key.dtype.kind == "b"
            return self.rows(np.flatnonzero(key) if is_mask else key)
        rows, columns = np.broadcast_arrays(*key)
        size = _at_once(self.shape[1])
        parts = [slice(start, start + size) for start in range(0, len(rows), size)]
        found = [self.rows(rows[part])[np.arange(len(rows[part])), columns[part]] for part in parts]
        return np.concatenate(found) if found else np.zeros(0)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = per_row(lambda block: block, self)
        return whole if dtype is None else whole.astype(dtype)  # NumPy takes None for float64


@dataclass(frozen=True)
class OnDisk(LazyMatrix):
    """A matrix in an `.npy` file, mapped into memory only while rows of it are read."""

    path: Path
    dtype: np.dtype
    offset: int  # bytes of the file before it
    n: int
    k: int

    @classmethod
    def of(cls, array: np.memmap) -> OnDisk:
        """The matrix of a map of a whole file, which need not stay."""
        return cls(Path(str(array.filename)).resolve(), array.dtype, array.offset, *array.shape)

    @property
    def shape(self) -> tuple[int, int]:
        return self.n, self.k

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        return np.array(np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[rows])


@dataclass(frozen=True)
class RowChoice(LazyMatrix):
    """Each row from one of several matrices (n, k)."""

    parts: tuple[Matrix, ...]
    number: np.ndarray  # (n,) int64 of the part

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.number), self.parts[0].shape[1]

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        numbers = np.arange(len(self.number))[rows]
        result = np.empty((len(numbers), self.shape[1]), dtype=np.float32)
        for part, matrix in enumerate(self.parts):
            there = self.number[numbers] == part
            result[there] = matrix[numbers[there]]
        return result


@dataclass(frozen=True)
class Subset(LazyMatrix):
    """Some rows of a matrix, numbered anew."""

    whole: Matrix
    chosen: np.ndarray  # (b,) int64

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.chosen), self.whole.shape[1]

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        return np.asarray(self.whole[self.chosen[rows]])


@dataclass(frozen=True)
class Masked(LazyMatrix):
    """A matrix (n, d) with other numbers in place of some rows."""

    whole: Matrix
    known: np.ndarray  # (n,) bool, the rows that stay
    instead: float

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.whole), self.whole.shape[1]

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        return np.where(self.known[rows][:, None], self.whole[rows], np.float32(self.instead))


@dataclass(frozen=True)
class Softmax(LazyMatrix):
    """The probabilities (n, k) that logits stand for."""

    logits: Matrix

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.logits), self.logits.shape[1]

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        logits = self.logits[rows]
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Logarithm(LazyMatrix):
    """The logarithm of probabilities (n, k) that are at least `least`, times a factor."""

    probabilities: Matrix
    factor: float = 1.0
    least: float = 1e-9

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.probabilities), self.probabilities.shape[1]

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        logs = np.log(np.maximum(self.probabilities[rows], self.least)).astype(np.float32)
        return np.float32(self.factor) * logs


@dataclass(frozen=True)
class WeightedSum(LazyMatrix):
    """The weighted sum of matrices (n, k)."""

    parts: tuple[Matrix, ...]
    weights: np.ndarray  # (p,) float32

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.parts[0]), self.parts[0].shape[1]

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        first, *others = (weight * part[rows] for weight, part in zip(self.weights, self.parts, strict=True))
        for other in others:
            first += other
        return first


@dataclass(frozen=True)
class Concatenated(LazyMatrix):
    """Matrices (n, d of each) side by side."""

    parts: tuple[Matrix, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.parts[0]), sum(part.shape[1] for part in self.parts)

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        return np.concatenate([part[rows] for part in self.parts], axis=1)


@dataclass(frozen=True)
class UnitRows(Concatenated):
    """Matrices (n, d of each) side by side, the rows of each of length 1, those that are not finite of zeros."""

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        """float16"""
        sides = [unit_rows(np.nan_to_num(np.asarray(part[rows]))).astype(np.float16) for part in self.parts]
        return np.concatenate(sides, axis=1)


@dataclass(frozen=True)
class TopLogits(LazyMatrix):
    """Logits (n, k) of which the largest of every row are held, and that of the given label.

    The others get one number, with which the sum of their exponentials is what it was.
    """

    classes: np.ndarray  # (n, c) int32
    values: np.ndarray  # (n, c) float32
    rest: np.ndarray  # (n,) float32
    k: int

    @classmethod
    def empty(cls, n: int, k: int) -> TopLogits:
        """NaN until rows are put."""
        c = min(k, LARGEST)
        classes = np.tile(np.arange(c, dtype=np.int32), (n, 1))
        return cls(classes, np.full((n, c), np.nan, np.float32), np.full(n, np.nan, np.float32), k)

    def put(self, rows: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> None:
        """Logits (b, k) of rows (b,) with these labels (b,), -1 where there is none."""
        c = self.classes.shape[1]
        top = np.argpartition(-logits, c - 1, axis=1)[:, :c]
        lacking = np.flatnonzero((labels >= 0) & (top != labels[:, None]).all(axis=1))
        smallest = np.take_along_axis(logits[lacking], top[lacking], axis=1).argmin(axis=1)
        top[lacking, smallest] = labels[lacking]
        self.classes[rows], self.values[rows] = top, np.take_along_axis(logits, top, axis=1)
        if self.k > c:
            others = logits.astype(np.float32)
            np.put_along_axis(others, top, -np.inf, axis=1)
            largest = others.max(axis=1)
            total = np.exp(others - largest[:, None]).sum(axis=1)
            self.rest[rows] = largest + np.log(total / (self.k - c))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rest), self.k

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        rest = self.rest[rows]
        result = np.repeat(rest[:, None], self.k, axis=1)
        np.put_along_axis(result, self.classes[rows].astype(np.int64), self.values[rows], axis=1)
        return result


def let_go(array: np.ndarray | None) -> None:
    """Give back the memory of what was read of, or written to, an array in a mapped file: the system's cache has it.

    An array in memory, and a map that keeps what is written to itself, stay as they are.
    """
    while isinstance(array, np.ndarray) and not isinstance(array.base, mmap.mmap):
        array = array.base
    if isinstance(array, np.memmap) and array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)


def held(matrix: Matrix) -> Matrix:
    """As an array where it is small enough to be in memory: that of `HELD_CELLS` in float32."""
    size = math.prod(matrix.shape) * matrix[:0].dtype.itemsize
    return np.asarray(matrix) if size <= HELD_CELLS * np.dtype(np.float32).itemsize else matrix


def take(matrix: Matrix, rows: np.ndarray) -> Matrix:
    """The rows (index or mask) of a matrix; itself where these are all, in order."""
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    if len(rows) == len(matrix) and (rows == np.arange(len(rows))).all():
        return matrix
    return matrix[rows] if isinstance(matrix, np.ndarray) else Subset(matrix, rows)


def blocks(matrix: Matrix) -> Iterator[slice]:
    """Consecutive rows of a matrix (n, k), so few that a block of them is small; one empty block where it has none."""
    n, k = matrix.shape
    size = _at_once(k)
    for start in range(0, max(n, 1), size):
        yield slice(start, min(start + size, n))


def _at_once(k: int) -> int:
    """Rows of a block of a matrix (n, k)."""
    return max(HELD // max(k, 1), FEWEST_ROWS)


def per_row(function: Callable[..., np.ndarray], matrix: Matrix, *columns: np.ndarray) -> np.ndarray:
    """(n, ...) what a function of rows (b, k), and of the same rows of the columns (n,), says of all rows."""
    return np.concatenate([function(matrix[part], *(column[part] for column in columns)) for part in blocks(matrix)])


def save_matrix(path: Path, matrix: Matrix) -> None:
    """As an `.npy` file, block by block."""
    first, *others = blocks(matrix)
    rows = np.asarray(matrix[first])
    with open(path, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(rows.dtype), "fortran_order": False, "shape": matrix.shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(rows).data)
        for part in others:
            file.write(np.ascontiguousarray(matrix[part]).data)


def predictions(values: Matrix) -> np.ndarray:
    """(n,) class of the largest of values (n, k); 0 where they are NaN."""
    return per_row(lambda block: block.argmax(axis=1), values)


def finite_rows(values: Matrix) -> np.ndarray:
    """(n,) bool: rows of values (n, k) without NaN and infinity."""
    return per_row(lambda block: np.isfinite(block).all(axis=1), values)


def margins(values: Matrix, labels: np.ndarray) -> np.ndarray:
    """(n,) float64 value of values (n, k) at the class of labels (n,) minus the largest other; NaN where it is -1."""

    def of_block(block: np.ndarray, own: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(own >= 0)
        result = np.full(len(own), np.nan)
        result[rows] = block[rows, own[rows]] - largest_other(block[rows], own[rows])
        return result

    return per_row(of_block, values, labels)

"""Columns of a report as NumPy arrays: n rows, nulls as said below."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def numbers(table: pa.Table, name: str) -> np.ndarray:
    """(n,) float64, NaN for null."""
    return np.asarray(table[name].cast(pa.float64()).fill_null(float("nan")))


def flags(table: pa.Table, name: str) -> np.ndarray:
    """(n,) bool, False for null."""
    return np.asarray(table[name].fill_null(False))


def content_groups(table: pa.Table) -> np.ndarray:
    """(n,) int64: the first row with the same content; the row itself where there is none before it."""
    first = pc.index_in(table["duplicate_of"], value_set=table["id"].combine_chunks(), skip_nulls=True).fill_null(-1)
    return np.where(np.asarray(first) >= 0, first, np.arange(table.num_rows))


class Labels:
    """A text column as codes: names, and (n,) int64 indices into them, -1 for null."""

    def __init__(self, table: pa.Table, name: str) -> None:
        encoded = table[name].combine_chunks().dictionary_encode()
        self.names: list[str] = encoded.dictionary.to_pylist()
        self.codes = np.asarray(encoded.indices.fill_null(-1)).astype(np.int64)

    def text(self, row: int) -> str | None:
        code = self.codes[row]
        return self.names[code] if code >= 0 else None

    def equal(self, name: str) -> np.ndarray:
        """(n,) bool"""
        return self.codes == self.names.index(name) if name in self.names else np.zeros(len(self.codes), dtype=bool)

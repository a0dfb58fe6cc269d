"""Columns of a report as NumPy arrays: n rows, nulls as said below."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def numbers(table: pa.Table, name: str) -> np.ndarray:
    """(n,) float64, NaN for null."""
    return np.asarray(table[name].cast(pa.float64()).fill_null(float("nan")))


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

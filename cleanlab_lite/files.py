"""Files that others wrote, or a disk has damaged. One place knows that opening them can raise anything.

The parsers below us (zip, zlib, NumPy's headers, Arrow, JSON) let dozens of kinds of exceptions out where bytes are not
what they expect: TokenError, RecursionError, MemoryError, zlib.error ... No list of them is ever complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cleanlab_lite.errors import NlcleanError

LONGEST = 200  # characters of a parser's own words in a message


@contextmanager
def reading(name: object, error: type[NlcleanError], *, hint: str = "") -> Iterator[None]:
    """Turn whatever goes wrong in the block into `error`, which says that `name` cannot be read and why.

    Errors of nlclean pass: they know better.
    """
    try:
        yield
    except NlcleanError:
        raise
    except Exception as cause:
        raise error(f"cannot read {name}: {why(cause)}", hint=hint) from cause


def why(cause: Exception) -> str:
    """The reason in one line; without the path, which the message names already."""
    if isinstance(cause, KeyError):
        return f"{cause} is missing"
    if isinstance(cause, RecursionError):
        return "it is nested too deeply"
    text = " ".join(str(getattr(cause, "strerror", None) or cause).split()) or type(cause).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def load_arrays(file: str | os.PathLike[str] | BinaryIO) -> np.ndarray | dict[str, np.ndarray]:
    """One array of an `.npy` file, mapped into memory where it is named, or the arrays of an `.npz`. No pickles.

    Raises anything where the file is not what it should be: to be called within `reading`.
    """
    if not isinstance(file, str | os.PathLike):
        return _loaded(np.load(file, allow_pickle=False))
    with open(file, "rb") as opened:  # of a damaged file np.load keeps the handle
        if opened.read(6) != np.lib.format.MAGIC_PREFIX:
            opened.seek(0)
            return _loaded(np.load(opened, allow_pickle=False))
    return np.load(file, mmap_mode="r", allow_pickle=False)


def _loaded(found: Any) -> np.ndarray | dict[str, np.ndarray]:
    if isinstance(found, np.ndarray):
        return found
    with found:
        return {name: found[name] for name in found.files}


def load_archive(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file. To be called within `reading`."""
    arrays = load_arrays(path)
    if isinstance(arrays, np.ndarray):
        raise ValueError("it holds one array, not an archive of arrays")
    return arrays


def json_object(data: bytes | str) -> dict[str, Any]:
    """A JSON object. Raises ValueError for everything else, also where it is nested too deeply."""
    try:
        found = json.loads(data)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, found {found!r:.60}")
    return found

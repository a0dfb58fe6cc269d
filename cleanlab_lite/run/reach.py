"""Which files of a run that others have made may be opened: those below folders that the user has named."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from cleanlab_lite.archives import member
from cleanlab_lite.files import is_remote


def around(folder: Path) -> list[str]:
    """What lies around a run folder counts as sent along with it, but not where that is all that the user has."""
    parent = Path(os.path.realpath(folder)).parent
    home = Path(os.path.realpath(Path.home()))
    return [] if parent in (home, *home.parents) else [str(parent)]


def outside(uris: np.ndarray, folders: Iterable[str | os.PathLike[str]]) -> np.ndarray:
    """(n,) bool: files that do not lie below `folders` when all links are followed. Addresses are never opened."""
    roots = [os.path.join(os.path.realpath(folder), "") for folder in folders]
    return np.array([bool(uri) and not _within(uri, roots) for uri in uris.tolist()], dtype=bool)


def _within(uri: str, roots: Sequence[str]) -> bool:
    place = member(uri)
    path = uri if place is None else place.archive
    if is_remote(path):
        return "::" not in path  # an address, which is not opened; but of archives in archives nothing is known
    try:
        return _real(path).startswith(tuple(roots))
    except ValueError:  # a NUL byte
        return False


def _real(path: str) -> str:
    """`os.path.realpath`, which looks at every folder on the way, for many files of few folders."""
    folder, name = os.path.split(path)
    inside = os.path.join(_real_folder(folder), name)
    return os.path.realpath(inside) if name in ("", ".", "..") or os.path.islink(inside) else inside


@lru_cache(maxsize=1 << 16)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)

"""The lock of a run folder: one process writes."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import BinaryIO

from cleanlab_lite.errors import RunLocked
from cleanlab_lite.files import open_unlinked
from cleanlab_lite.run.layout import LOCK

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LONGEST = 20  # bytes of a lock: a number
_held: set[BinaryIO] = set()  # locks of this process


def _let_go() -> None:
    for lock in _held:
        lock.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    # A forked worker inherits the lock and would keep it after the run itself is killed.
    os.register_at_fork(after_in_child=_let_go)


def acquire(folder: Path) -> BinaryIO:
    """The lock of the folder, held until released or until this process dies. Raises RunLocked, and OSError where what
    is called like a lock is none."""
    lock = os.fdopen(open_unlinked(folder / LOCK, os.O_RDWR | os.O_APPEND), "a+b")
    if not _try_lock(lock):
        lock.seek(0)
        pid = lock.read(LONGEST).decode("ascii", "replace").strip()
        lock.close()
        raise RunLocked(
            f"{folder} is in use by process {pid}" if pid else f"{folder} is in use by another process",
            hint="wait until it is done, or audit into another --out",
        )
    if os.fstat(lock.fileno()).st_size > LONGEST:
        lock.close()
        raise OSError(errno.EEXIST, f"{folder / LOCK} is no lock of nlclean; delete it")
    lock.truncate(0)
    lock.write(str(os.getpid()).encode())
    lock.flush()
    _held.add(lock)
    return lock


def _try_lock(lock: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            lock.seek(1 << 30)  # Windows locks bytes against reading too: one far behind the pid
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def release(lock: BinaryIO) -> None:
    _held.discard(lock)
    lock.close()

"""How much memory is left, by the machine and by a device that has none; and how blocks of it are used again."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

UNKNOWN_DEVICE = 4 * 2**30  # bytes of inputs
CGROUP = Path("/sys/fs/cgroup")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h of glibc
USUAL, REUSED = 32 * 2**20, 128 * 2**20  # bytes of a block; glibc's own limit, and ours


def reuse_blocks() -> None:
    """Have the C library keep what batches of a network are done with, for the next ones; where that is glibc.

    It gives every block above 32 MiB back to the kernel and gets it again, page by page and zeroed, for the next batch:
    what a convolution makes of 64 pictures of 48 pixels, or of 16 of 160. That took a seventh of a training on pictures
    of 48 and 96 pixels, and a fifth of an encoder's time in fp32. Up to twice the size of a block is kept unused.
    """
    _keep_blocks(REUSED)


def give_blocks_back() -> None:
    """Have the C library keep no more than it usually does, and give the kernel what it has kept: what comes after a
    training has other sizes, and would lie beside it."""
    _keep_blocks(USUAL)
    if trim := _of_c_library("malloc_trim"):
        trim(0)


def _keep_blocks(size: int) -> None:
    if mallopt := _of_c_library("mallopt"):
        mallopt(MMAP_THRESHOLD, size)
        mallopt(TRIM_THRESHOLD, 2 * size)


@cache
def _of_c_library(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def out_of_memory(error: RuntimeError) -> bool:
    """Whether the device ran out of memory, whose unused part is then given back, so that less can be tried."""
    if "out of memory" not in str(error):  # CUDA has a type of its own for it, MPS only says so
        return False
    import torch

    torch.cuda.empty_cache()
    return True


def for_inputs(device: str) -> float:
    """Bytes of inputs that a device may hold, where the user does not say: half of what a GPU has left."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0] / 2
    return UNKNOWN_DEVICE


def available() -> float:
    """Bytes that this machine, or the container we are in, could still give; infinity where it does not say."""
    return min(_of_machine(), _of_container())


def _of_machine() -> float:
    with contextlib.suppress(OSError, ValueError, IndexError):  # Linux
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    with contextlib.suppress(
        AttributeError, OSError, ValueError
    ):  # half of all there is, where nothing better is known
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    return math.inf


def _of_container() -> float:
    """Of version 2 of control groups: the limit minus what cannot be taken back."""
    left = math.inf
    with contextlib.suppress(OSError, ValueError, IndexError):
        own = Path("/proc/self/cgroup").read_text().splitlines()[-1].partition("::")[2].lstrip("/")
        for folder in {CGROUP, CGROUP / own}:
            with contextlib.suppress(OSError, ValueError, KeyError):  # no limit is "max"
                limit, used = (float((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
                parts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                left = min(left, limit - used + float(parts["inactive_file"]))
    return left

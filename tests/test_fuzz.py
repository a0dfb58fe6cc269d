"""Every decoder and reader, fed with damaged files: it reads them, or refuses them in words.

The same mutations every time. `pytest -m "survival and slow" tests/test_fuzz.py` takes a minute, and an hour with
`--fuzz-seconds 3600`; a file that brought a reader down is left in the working folder.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from fuzz_world import Target, damaged, mutations, targets

pytestmark = [pytest.mark.survival, pytest.mark.filterwarnings("ignore")]

TARGETS = targets()
PUSHED = 12  # mutations of a target in every push


def feed(name: str, data: bytes, folder: Path) -> bool:
    """Whether it was read. What brings the reader down is kept."""
    try:
        return TARGETS[name].feed(data, folder)
    except BaseException:
        Path(f"fuzz-{hashlib.sha256(data).hexdigest()[:12]}-{name}").write_bytes(data)
        raise


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused(name, here):
    target = TARGETS[name]
    assert all(feed(name, data, here) for data in target.corpus)  # what is not damaged is read
    found = [feed(name, data, here) for data in itertools.islice(mutations(target, np.random.default_rng(0)), PUSHED)]
    assert not all(found)  # damage is met


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused_for_long(name, here, request, record_property):
    end = time.monotonic() + request.config.getoption("--fuzz-seconds") / len(TARGETS)
    tried = 0
    for data in mutations(TARGETS[name], np.random.default_rng(1)):
        feed(name, data, here)
        tried += 1
        if time.monotonic() > end:
            break
    record_property("mutations", tried)


def test_a_fault_is_a_fault_and_its_file_is_kept(here, monkeypatch):
    def breaks(path: Path) -> None:
        raise IndexError

    monkeypatch.setitem(TARGETS, "broken", Target((b"x",), breaks, ".bin"))
    with pytest.raises(IndexError):
        feed("broken", damaged(b"x", np.random.default_rng(0)), here)
    assert len(list(here.glob("fuzz-*-broken"))) == 1

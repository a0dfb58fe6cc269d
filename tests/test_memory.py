"""How much memory an audit of many rows takes beside its data: no array of all proxies is there twice."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import textwrap
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit_world import CLASSES, OPTIONS, task, vectors, write_csv
from test_ensemble import KEY, PLAN

import nlclean
from cleanlab_lite.clock import Clock
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.verdict import combine
from cleanlab_lite.matrices import let_go
from cleanlab_lite.progress import Progress
from cleanlab_lite.run import Run
from cleanlab_lite.train.ensemble import watch
from cleanlab_lite.train.task import Task

K, D = 10, 32
MIB = 2**20
MAPS = Path("/proc/self/smaps")


def many(n: int) -> Task:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, K, n)
    array = (2 * rng.normal(size=(K, D))[labels] + rng.normal(size=(n, D))).astype(np.float32)
    labels = np.where(rng.random(n) < 0.1, rng.integers(0, K, n), labels)
    nothing = np.zeros(n, dtype="U1")
    content = np.array([f"{row:064x}" for row in range(n)])
    return Task.of(labels, K, Inputs(array, nothing, nothing, np.full(n, -1), decoded=0, content=content))


def watched(folder: Path, task: Task, proxies: int, epochs: int) -> Evidence:
    n = len(task)
    plan = replace(PLAN, rows=n, labelled=n, classes=K, epochs=epochs, ensemble=proxies, batch_size=512)
    config = AuditConfig(ensemble=proxies, epochs=epochs)
    with Run.start(folder, "many", KEY) as run:
        return watch(task, plan, config, run=run, clock=Clock())


@pytest.mark.slow
def test_fifty_thousand_rows_take_half_of_what_they_did(tmp_path):
    """Five proxies of four epochs, and one with planted errors. Before the memory maps: 90 and 799 MiB."""
    watched(tmp_path / "first", many(600), 2, 1)  # what is imported on the way does not count
    task = many(50_000)
    tracemalloc.start()
    try:
        evidence = watched(tmp_path / "run", task, 5, 4)
        watching = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        combine(evidence, np.ones(50_000, bool), np.full(50_000, -1))
        judging = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert watching < 45 * MIB
    assert judging < 400 * MIB
    assert isinstance(evidence.history.margin, np.memmap)
    assert evidence.history.predicted.dtype == np.int8


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such setting")
def test_memory_of_one_batch_serves_the_next():
    code = """
        import resource
        import numpy as np
        from cleanlab_lite.train.memory import reuse_blocks
        if {told}:
            reuse_blocks()
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            np.ones(48 * 2**20, dtype=np.uint8)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """

    def faults(told: bool) -> int:
        command = [sys.executable, "-c", textwrap.dedent(code.format(told=told))]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults(told=True) < 10
    assert faults(told=False) > 10  # with huge pages a few, else 12,288


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such setting")
def test_memory_of_a_training_does_not_lie_beside_what_comes_after_it():
    code = """
        import numpy as np
        from cleanlab_lite.train.jobs import training_settings

        def mib():
            [line] = (line for line in open("/proc/self/status") if line.startswith("RssAnon"))
            return int(line.split()[1]) // 1024

        before = mib()
        with training_settings("cpu"):
            batches = [np.ones(64 * 2**20, dtype=np.uint8) for _ in range(4)]
            seen = np.ones(2**20, dtype=np.uint8)  # which stays, above them
            del batches
        print(mib() - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 64


def in_memory(*files: Path) -> int:
    """KiB of maps of these files that count as memory of this process."""
    parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", MAPS.read_text(), flags=re.MULTILINE)
    ours = [part for part in parts if part.split("\n")[0].endswith(tuple(f" {file}" for file in files))]
    return sum(int(found.group(1)) for part in ours if (found := re.search(r"^Rss: +(\d+) kB", part, re.MULTILINE)))


@pytest.mark.skipif(not MAPS.exists(), reason="asks Linux which pages are mapped")
@pytest.mark.parametrize("options", [OPTIONS, {"preset": "fast"}], ids=["networks", "regression"])
def test_what_a_stage_has_read_of_mapped_files_is_not_in_memory_when_the_next_begins(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    given = task(60, wrong=4)
    write_csv(
        tmp_path / "rows.csv", {"id": [str(row) for row in range(60)], "label": [CLASSES[i] for i in given.labels]}
    )
    np.save("vectors.npy", vectors(given.truth))
    found: dict[str, int] = {}

    def hear(progress: Progress) -> None:
        if progress.stage in ("duplicates", "judge", "report") and progress.done == 0:
            curves = (tmp_path / "run/jobs/history").glob("*.npy")
            found.setdefault(progress.stage, in_memory(tmp_path / "vectors.npy", *curves))

    nlclean.audit("rows.csv", features="vectors.npy", out="run", progress=hear, **options)
    assert found["duplicates"] > 0  # they were read to know their content
    assert found["judge"] == found["report"] == 0


def test_an_array_is_what_it_was_when_its_memory_is_let_go(tmp_path):
    data = np.arange(1 << 16, dtype=np.float32)
    np.save(tmp_path / "data.npy", data)
    for mode in ("r", "r+", "c"):
        mapped = np.load(tmp_path / "data.npy", mmap_mode=mode)
        if mode != "r":
            mapped[7] = -1
        let_go(mapped[4:].reshape(2, -1))  # a part of it, seen otherwise
        assert mapped[7] == (7 if mode == "r" else -1) and mapped[8:].tolist() == data[8:].tolist()
    assert np.load(tmp_path / "data.npy")[7] == -1
    for kept in (data, None):
        let_go(kept)
    assert data[7] == 7

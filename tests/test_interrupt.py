"""Ctrl-C, also pressed twice by somebody in a hurry."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cleanlab_lite.export.target import MARKER, replacing
from cleanlab_lite.manifest.readers import read_manifest

pytestmark = [pytest.mark.survival, pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")]


@pytest.mark.parametrize("pause", [0.0, pytest.param(0.1, marks=pytest.mark.slow)])
def test_twice_ends_without_a_traceback(here: Path, pause: float) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(3000) % 5
    np.savez(here / "rows.npz", features=rng.normal(size=(3000, 32)) + labels[:, None], labels=labels)
    command = [sys.executable, "-m", "nlclean", "audit", "rows.npz", "--epochs", "200", "--out", "run"]
    audit = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here)
    assert audit.stderr is not None
    assert any("plan" in line for line in audit.stderr)
    audit.send_signal(signal.SIGINT)
    time.sleep(pause)
    audit.send_signal(signal.SIGINT)
    _, said = audit.communicate(timeout=60)
    assert audit.returncode == 130
    assert "Traceback" not in said and "Exception ignored" not in said


def test_an_interrupt_is_not_lost_while_the_rows_are_counted(here: Path) -> None:
    np.savez(here / "rows.npz", features=np.zeros((20_000, 2)), labels=np.arange(20_000) % 2)
    manifest = read_manifest(here / "rows.npz")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for pause in np.linspace(1e-4, 2e-3, 40):
            manifest._fingerprint.clear()
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012
                signal.setitimer(signal.ITIMER_REAL, float(pause))
                assert manifest.fingerprint
                time.sleep(0.1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def finished(process: subprocess.Popen[bytes]) -> int:
    """The number of a process that has ended."""
    process.wait()
    return process.pid


def test_what_a_killed_export_of_a_folder_left_is_cleared_up_and_what_stepped_aside_comes_back(here: Path) -> None:
    gone = finished(subprocess.Popen([sys.executable, "-c", ""]))
    for name, marked in ((f".{gone}.out", True), (f".{gone}.old.out", True), (".1.out", True), (f".{gone}.mine", True)):
        (here / name).mkdir()
        if marked:
            (here / name / MARKER).touch()
    (here / f".{gone}.old.out" / "earlier.txt").write_text("earlier")
    (here / f".{gone}9.out").mkdir()  # of nobody: no mark
    with pytest.raises(RuntimeError), replacing(here / "out", tree=True):  # noqa: PT012
        assert (here / "out" / "earlier.txt").read_text() == "earlier"
        raise RuntimeError("killed again")
    assert sorted(path.name for path in here.iterdir()) == sorted([".1.out", f".{gone}.mine", f".{gone}9.out", "out"])
    with replacing(here / "out", tree=True) as place:
        (place / "new.txt").touch()
    assert sorted(path.name for path in (here / "out").iterdir()) == sorted([MARKER, "new.txt"])


def test_what_a_killed_export_of_a_file_left_is_cleared_up(here: Path) -> None:
    gone = finished(subprocess.Popen([sys.executable, "-c", ""]))
    for name in (f".{gone}.out.csv", f".{gone}.other.csv", ".1.out.csv", ".mine.out.csv"):
        (here / name).write_text("half")
    (here / "target.txt").write_text("kept")
    (here / f".{gone}0000000.out.csv").symlink_to(here / "target.txt")
    with replacing(here / "out.csv") as place:
        place.write_text("whole")
    left = {path.name for path in here.iterdir()}
    assert f".{gone}.out.csv" not in left and (here / "out.csv").read_text() == "whole"
    assert left >= {f".{gone}.other.csv", ".1.out.csv", ".mine.out.csv", f".{gone}0000000.out.csv"}

"""What is drawn on stderr while the library works."""

from __future__ import annotations

import subprocess

import pytest
from cli_world import on_terminal

from cleanlab_lite.progress import Progress
from nlclean import diagnostics
from nlclean.progress import Drawer


@pytest.fixture(autouse=True)
def _normal_verbosity():
    diagnostics.set_verbosity(diagnostics.NORMAL)


def play(capsys, events: list[tuple[float, Progress]]) -> list[str]:
    """Lines on stderr after `events`, each at its second."""
    now = 0.0
    with Drawer(clock=lambda: now) as drawer:
        for now, event in events:  # noqa: B007 - the clock reads it
            drawer(event)
    return capsys.readouterr().err.splitlines()


def epochs(done: int, total: int = 50, note: str = "") -> Progress:
    return Progress("train", done, total, "epochs", note)


def test_a_stage_under_two_seconds_is_silent(capsys):
    assert play(capsys, [(0, epochs(0)), (1, epochs(25)), (1.9, epochs(50))]) == []


def test_a_stage_that_took_long_between_two_events_and_is_over_is_silent(capsys):
    assert play(capsys, [(0, epochs(0)), (9, epochs(50))]) == []


def test_one_line_in_thirty_seconds_with_rate_and_time_left(capsys):
    lines = play(capsys, [(second, epochs(second // 2)) for second in range(0, 101, 2)])
    assert lines == [
        "train: 1/50 epochs, 0.5 epochs/s, 1m38s left",
        "train: 16/50 epochs, 0.5 epochs/s, 1m08s left",
        "train: 31/50 epochs, 0.5 epochs/s, 38s left",
        "train: 46/50 epochs, 0.5 epochs/s, 8.0s left",
        "train: 50 epochs in 1m40s",
    ]


def test_what_a_resumed_run_had_done_is_not_in_the_rate(capsys):
    (line,) = play(capsys, [(0, epochs(40)), (5, epochs(45))])
    assert line == "train: 45/50 epochs, 1 epochs/s, 5.0s left"


def test_a_total_that_is_not_known_gives_no_time_left(capsys):
    (line,) = play(capsys, [(0, Progress("read", 0, 0, "rows")), (4, Progress("read", 4000, 0, "rows"))])
    assert line == "read: 4,000 rows, 1,000 rows/s"


def test_a_stage_that_starts_again_is_timed_again(capsys):
    lines = play(capsys, [(0, epochs(0)), (5, epochs(50)), (5, epochs(0)), (6, epochs(25)), (9, epochs(30))])
    assert lines == ["train: 30/50 epochs, 7.5 epochs/s, 2.7s left"]


def whole(stage: str, done: int, total: int, share: float, left: float, note: str = "") -> Progress:
    return Progress(stage, done, total, "epochs" if stage == "train" else "steps", note, share, left)


def test_all_stages_of_an_audit_are_one_line_of_progress(capsys):
    """A line in 30 s, whatever stage it finds; what is left is left of the audit, the rate is that of the stage."""
    events = [
        (0, whole("decode", 0, 100, 0.0, 100.0)),
        (1, whole("decode", 100, 100, 0.01, 99.0)),
        (2, whole("train", 10, 60, 0.02, 98.0, "trying 20 epochs")),
        (12, whole("train", 20, 60, 0.125, 88.0)),
        (32, whole("train", 40, 60, 0.345, 65.0, "network 2 of 3")),
        (52, whole("train", 5, 60, 0.40, 60.0, "pixels: network 1 of 3")),
        (62, whole("judge", 0, 1, 0.9, 12.0)),
        (70, whole("judge", 1, 1, 0.97, 2.0)),
        (72, whole("report", 1, 1, 1.0, 0.0)),
    ]
    assert play(capsys, events) == [
        "train: 10/60 epochs, 2 % of all, 1m38s left, trying 20 epochs",
        "train: 40/60 epochs, 1 epochs/s, 34 % of all, 1m05s left, network 2 of 3",
        "judge: 90 % of all, 12s left",
        "audit: done in 1m12s",
    ]


def test_a_budget_that_was_overrun_is_told_at_the_end(capsys):
    events = [(0, whole("judge", 0, 1, 0.5, 9.0)), (3, whole("judge", 0, 1, 0.5, 9.0))]
    (_, last) = play(capsys, [*events, (40, whole("report", 1, 1, 1.0, 0.0, "20 s over the time budget"))])
    assert last == "audit: done in 40s, 20 s over the time budget"


def test_a_whole_audit_under_two_seconds_is_silent(capsys):
    assert play(capsys, [(0, whole("train", 0, 1, 0.1, 1.0)), (1.9, whole("report", 1, 1, 1.0, 0.0))]) == []


def test_notes_are_harmless(capsys):
    (line,) = play(capsys, [(0, epochs(0)), (5, epochs(1, note="\x1b[2J[red]cat"))])
    assert line.endswith(r"\x1b[2J[red]cat")


def test_quiet_draws_nothing(capsys):
    diagnostics.set_verbosity(diagnostics.QUIET)
    assert play(capsys, [(0, epochs(0)), (40, epochs(1))]) == []


AUDIT = """
from cleanlab_lite.progress import Progress
from nlclean.progress import Drawer
now = 0.0
with Drawer(clock=lambda: now) as drawer:
    for now in range(0, 11):
        stage = ("decode", "train")[now > 4] if now < 10 else "report"
        drawer(Progress(stage, now, 10, "rows", "", now / 10, 10.0 - now))
"""


def test_all_stages_are_one_bar_on_a_terminal():
    _, shown = on_terminal("-c", AUDIT, stdout=subprocess.PIPE)
    assert "decode" in shown and "done in 10s" in shown[shown.index("audit") :]
    assert shown.count("\n") < 3  # drawn over and over in one place


SCRIPT = """
from cleanlab_lite.progress import Progress
from nlclean.progress import Drawer
import sys
now = 0.0
with Drawer(clock=lambda: now) as drawer:
    for now in range(0, 11, 2):
        drawer(Progress("train", now, 10, "epochs", "[red]"))
        print("answer", now)
print("end", file=sys.stderr)
"""


@pytest.mark.parametrize("plain", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"CI": "1"}])
def test_bars_on_a_terminal_leave_stdout_alone(plain):
    """Bars only where a terminal can draw them and a person watches; colours only where wanted."""
    out, shown = on_terminal("-c", SCRIPT, stdout=subprocess.PIPE, **plain)
    assert out == "".join(f"answer {second}\n" for second in range(0, 11, 2))
    if not plain or "NO_COLOR" in plain:
        assert "10 epochs in 10s" in shown
        assert "\x1b[?25l" in shown  # cursor hidden
        assert "\x1b[?25h" in shown  # and given back
        assert ("\x1b[38;" in shown) == (not plain)
    else:
        assert "train: 2/10 epochs" in shown
        assert "\x1b" not in shown

"""The review screen: every key, every kind of data, hostile text, a kill in the middle, and how it looks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cli_world import HOSTILE, HOSTILE_SHOWN
from cli_world import row as report_row
from review_world import make_run, open_review, report_rows
from textual.pilot import Pilot
from textual.strip import Strip

from cleanlab_lite.report.keys import TERMINAL
from nlclean.review import app as app_module
from nlclean.review.app import ReviewApp
from nlclean.review.widgets import graphics

SNAPSHOTS = Path(__file__).parent / "snapshots"
QUEUE = ["15", "11", "07", "03"]  # in the order in which they are shown


@pytest.fixture(autouse=True)
def in_color(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, "vector")


def drive(app: ReviewApp, steps: Callable[[Pilot], Awaitable[None]], size: tuple[int, int] = (80, 24)) -> None:
    """Open the screen, wait until all is drawn, and go through `steps`."""

    async def play() -> None:
        async with app.run_test(size=size, notifications=True) as pilot:
            await settle(pilot)
            await steps(pilot)

    asyncio.run(play())


async def settle(pilot: Pilot) -> None:
    """Until files are loaded and everything is drawn. A worker that waits for a dialog is not waited for."""
    await pilot.pause()
    for worker in list(pilot.app.workers):
        if worker.group == "files" and not worker.is_cancelled:
            await worker.wait()
    await pilot.pause()


async def press(pilot: Pilot, *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await settle(pilot)


def strips(app: ReviewApp) -> list[Strip]:
    """What is on the screen, line by line. Textual has no public name for it but as SVG."""
    return app.screen._compositor.render_strips()


def lines(app: ReviewApp) -> list[str]:
    """What is on the screen, as text."""
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips(app)]


def shown(app: ReviewApp) -> str:
    return "\n".join(lines(app))


def told(app: ReviewApp) -> str:
    """The latest message, which on the screen is wrapped."""
    return list(app._notifications)[-1].message


def journal(run: Path) -> list[tuple[str, str, str | None]]:
    path = run / "decisions.jsonl"
    records = map(json.loads, path.read_text("utf-8").splitlines()) if path.exists() else []
    return [(record["id"], record["action"], record["label"]) for record in records]


def test_every_key_of_the_help_is_tested_here():
    tested = Path(__file__).read_text("utf-8")
    for key in (key.key for key in TERMINAL):
        names = {"PgUp PgDn": ["pageup", "pagedown"], "?": ["question_mark"], "/": ["slash"]}
        names |= {"← → ↑ ↓": ["left", "right", "up", "down"], "1 2 3": ["1", "2", "3"]}
        assert all(f'"{name}"' in tested for name in names.get(key, [key])), key


def test_decisions_with_one_key_each(run):
    app = open_review(run)

    async def steps(pilot):
        assert "given       cat" in shown(app) and "suggested   bird" in shown(app)
        await press(pilot, "k")
        assert journal(run) == [("15", "keep", None)]  # on disk at once
        assert "keep: 15" in lines(app)[0] and "2 of 4 · 3 left" in lines(app)[0]
        await press(pilot, "a", "d", "u")
        assert journal(run)[1:] == [("11", "relabel", "dog"), ("07", "drop", None), ("03", "unsure", None)]
        assert "All is decided: 4 rows" in shown(app)
        assert "ann: 4 rows decided (keep 1, relabel 1, drop 1, unsure 1)" in shown(app)
        await press(pilot, "k", "a", "l", "d", "u")  # nothing is left to decide
        assert len(journal(run)) == 4
        await press(pilot, "z", "z")
        assert journal(run)[4:] == [("03", "undo", None), ("07", "undo", None)]
        assert "undone: drop" in lines(app)[0] and "id          07" in shown(app)
        await press(pilot, "z", "z", "z")
        assert "nothing to undo" in lines(app)[0] and "1 of 4 · 4 left" in lines(app)[0]
        await press(pilot, "q")

    drive(app, steps)
    assert app.return_code == 0 and app.failure is None


def test_it_resumes_where_it_was(run):
    async def first(pilot):
        await press(pilot, "k", "d")

    async def second(pilot):
        assert "id          07" in shown(app) and "3 of 4 · 2 left" in lines(app)[0]
        await press(pilot, "left")
        assert "decided     drop" in shown(app)

    drive(open_review(run), first)
    app = open_review(run)
    drive(app, second)
    other = open_review(run, reviewer="bob")

    async def third(pilot):
        assert "4 left" in lines(other)[0]

    drive(other, third)


def test_arrows_go_through_all_rows(run):
    app = open_review(run)

    async def steps(pilot):
        for key, id in (("right", "11"), ("down", "07"), ("left", "11"), ("up", "15"), ("up", "15")):
            await press(pilot, key)
            assert f"id          {id}" in shown(app)
        await press(pilot, *["right"] * 9)
        assert "4 of 4 · 4 left" in lines(app)[0]

    drive(app, steps)


def test_another_label(run):
    app = open_review(run)

    async def steps(pilot):
        await press(pilot, "l")
        dialog = shown(app)
        assert dialog.index("bird  90 %") < dialog.index("dog  3 %")
        await press(pilot, "d", "o")
        assert "bird  90 %" not in shown(app)
        await press(pilot, "enter")
        await press(pilot, "l", "down", "down", "up", "down", "enter")  # the third choice
        await press(pilot, "l", *"zebra")
        assert "zebra  a new label" in shown(app)
        await press(pilot, "enter")
        await press(pilot, "l", "escape")
        assert journal(run) == [("15", "relabel", "dog"), ("11", "relabel", "cat"), ("07", "relabel", "zebra")]
        await press(pilot, "l", *"cat", "enter")  # as given
        assert journal(run)[-1] == ("03", "keep", None)

    drive(app, steps)


def test_a_window_that_changes_its_size_keeps_the_question(tmp_path):
    run = make_run(tmp_path, "image")
    app = open_review(run)

    async def steps(pilot):
        await press(pilot, "l")
        await pilot.resize_terminal(100, 30)  # reads the files again
        await settle(pilot)
        await press(pilot, "d", "o", "enter")
        assert journal(run) == [("15.png", "relabel", "dog")]

    drive(app, steps)


def test_filters(run):
    app = open_review(run)

    async def steps(pilot):
        await press(pilot, "f")
        dialog = shown(app)
        for choice in ("issue wrong label  4", "class cat  2", "class bird  1", "pair cat → bird  2"):
            assert choice in dialog
        await press(pilot, *"pair cat", "enter")
        assert "1 of 2 · 2 left" in lines(app)[0] and "cat → bird" in lines(app)[0]
        await press(pilot, "k", "k")
        assert "All rows of this filter are decided" in shown(app)
        await press(pilot, "f", *"all rows", "enter")
        assert "2 left" in lines(app)[0]
        await press(pilot, "f", "escape")
        assert "2 left" in lines(app)[0]

    drive(app, steps)


def test_jump(run):
    app = open_review(run)

    async def steps(pilot):
        await press(pilot, "slash", *"03", "enter")
        assert "id          03" in shown(app)
        await press(pilot, "slash", *"1", "enter")
        assert "id          15" in shown(app)
        await press(pilot, "slash", *"xyz", "enter")
        assert "No row has 'xyz' in its id." in told(app)
        await press(pilot, "slash", "escape")
        await press(pilot, "slash", *"00", "enter")  # a row that is not flagged
        await press(pilot, "d")
        assert journal(run) == [("00", "drop", None)]

    drive(app, steps)


def test_number_keys_give_probable_labels(run):
    app = open_review(run)

    async def steps(pilot):
        await press(pilot, "1", "2", "3")  # the second of row 11 and the third of row 07 is their given label
        assert journal(run) == [("15", "relabel", "bird"), ("11", "keep", None), ("07", "keep", None)]
        await press(pilot, "z", "z", "3", "s")  # s goes on
        assert journal(run)[3:] == [("07", "undo", None), ("11", "undo", None), ("11", "relabel", "cat")]
        assert "id          03" in shown(app)

    drive(app, steps)


def test_one_row_is_no_all(tmp_path):
    app = open_review(make_run(tmp_path, "vector"))

    async def steps(pilot):
        await press(pilot, "k")  # one of the two of this pair
        await press(pilot, "/", *"03", "enter", "b")
        assert "accept the one row there is  z takes it back" in shown(app)

    drive(app, steps, (120, 30))


def test_all_rows_of_a_confused_pair_at_once(tmp_path):
    rows = report_rows([f"{i:02}" for i in range(24)])
    for i in (6, 9):  # as 3 and 15: cat, but really bird
        rows[i] |= {name: rows[3][name] for name in rows[3] if name not in ("id", "path", "neighbors")}
    run = make_run(tmp_path, "vector", rows)
    app = open_review(run)

    async def steps(pilot):
        await press(pilot, "b")
        assert "cat → bird" in shown(app)
        assert "accept all 4" in shown(app) and "about 3 right, 1 wrong" in shown(app)
        await press(pilot, "escape")
        assert journal(run) == []
        await press(pilot, "b", "enter")
        assert sorted(journal(run)) == [(id, "relabel", "bird") for id in ("03", "06", "09", "15")]
        assert "accepted 4: cat → bird" in lines(app)[0] and "2 left" in lines(app)[0]
        await press(pilot, "z")
        assert "undone: relabel to bird of 4 rows" in lines(app)[0] and "6 left" in lines(app)[0]
        assert [action for _, action, _ in journal(run)[4:]] == ["undo"] * 4

    drive(app, steps, (120, 30))


def test_help(run):
    app = open_review(run)

    async def steps(pilot):
        await press(pilot, "question_mark")
        assert all(meaning in shown(app) for meaning in (key.meaning for key in TERMINAL))
        await press(pilot, "k")  # any key leaves it, and does nothing else
        assert "this page" not in shown(app) and journal(run) == []

    drive(app, steps)


def test_the_evidence_scrolls(run):
    app = open_review(run)

    async def steps(pilot):
        assert "Most probable" not in shown(app)
        await press(pilot, "pagedown")
        assert "Most probable" in shown(app)
        await press(pilot, "pageup")
        assert "Most probable" not in shown(app)

    drive(app, steps)


def test_no_suggestion_to_accept(tmp_path):
    rows = report_rows([f"{i}" for i in range(9)])
    rows[3] |= {"suggested_label": None, "suggestion_confidence": None, "action": "review"}
    run = make_run(tmp_path, "vector", rows)
    app = open_review(run)

    async def steps(pilot):
        await press(pilot, "slash", *"3", "enter", "a")
        assert "nothing clear" in shown(app) and "There is no suggestion for this row." in told(app)
        assert journal(run) == []

    drive(app, steps)


def test_playing_a_sound(tmp_path, monkeypatch):
    pytest.importorskip("soundfile")
    app = open_review(make_run(tmp_path, "sound"))
    program = tmp_path / "aplay"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)

    async def steps(pilot):
        monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
        await press(pilot, "p")
        assert "No player was found" in told(app)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        await press(pilot, "p")
        assert app.player.playing
        await press(pilot, "p")
        assert not app.player.playing
        await press(pilot, "p", "right")  # the next row is silent until it is asked for
        assert not app.player.playing
        await press(pilot, "p")

    drive(app, steps)
    assert not app.player.playing  # nor does it play on after the end


def test_nothing_to_play(run):
    app = open_review(run)

    async def steps(pilot):
        await press(pilot, "p")
        assert "There is no sound to play." in shown(app)

    drive(app, steps)


def test_calibration_where_no_row_was_judged(tmp_path):
    rows = [report_row(id, path=id, given_label="cat", p_mislabel=None, label_score=None) for id in "abc"]
    app = open_review(make_run(tmp_path, "vector", rows), calibrate=True)

    async def steps(pilot):
        assert "the audit has judged no row" in shown(app) and "other rows" not in shown(app)

    drive(app, steps)


def test_calibration_hides_what_the_audit_thinks_and_then_measures(run):
    app = open_review(run, calibrate=True)

    async def steps(pilot):
        await press(pilot, "a")
        assert "suggestion is hidden" in told(app)
        app.clear_notifications()
        await settle(pilot)
        for _ in range(24):
            text = shown(app)
            for secret in ("suggest", "p(wrong)", "loss", "wrong label", "Most probable"):
                assert secret not in text
            row = app.queue.row
            assert not re.search(r"\d %", text)
            await press(pilot, "d" if row % 4 == 3 and row < 15 else "k")
        text = shown(app)
        assert "real flags: about 3 ± 0 of 4; wrong rows that are not flagged: about 0 ± 0" in " ".join(text.split())
        assert "stop here: with 95 % fewer than 1.0 % of the labels are wrong" in " ".join(text.split())
        assert "goes on with other rows" not in text  # there are none
        await press(pilot, "z")
        assert "real flags" not in shown(app)

    drive(app, steps)


def test_agreement_at_the_end(run):
    async def all_kept(pilot):
        await press(pilot, "k", "k", "d", "d")

    drive(open_review(run, reviewer="bob"), all_kept)
    app = open_review(run)

    async def steps(pilot):
        await press(pilot, "k", "d", "d", "d")
        assert "Agreement of ann, bob on 4 rows: Cohen's kappa 0.50" in shown(app)

    drive(app, steps)


def test_a_journal_that_cannot_be_written_ends_the_review(run, monkeypatch):
    app = open_review(run)

    def full(decision):
        raise OSError(28, "No space left on device")

    async def steps(pilot):
        monkeypatch.setattr(app.queue.log, "append", full)
        await press(pilot, "k")

    drive(app, steps)
    assert app.failure is not None and app.queue.decided == 0


@pytest.mark.parametrize("modality", ["image", "sound"])
def test_a_file_that_is_gone_is_a_message(tmp_path, modality):
    run = make_run(tmp_path, modality)
    for file in tmp_path.glob("*.*"):
        file.unlink()
    app = open_review(run)

    async def steps(pilot):
        assert "the file does not exist" in shown(app)
        await press(pilot, "k")
        assert len(journal(run)) == 1

    drive(app, steps)


@pytest.mark.parametrize("calibrate", [False, True])
def test_hostile_text_is_shown_escaped(tmp_path, calibrate):
    rows = report_rows([f"{HOSTILE}{i}" for i in range(9)])
    names = {"bird": HOSTILE, "cat": "[bold]cat", "dog": "dog"}
    for row in rows:
        row["given_label"] = names[row["given_label"]]
        if row["suggested_label"]:
            row["suggested_label"] = HOSTILE
        row["top_labels"] = list(names.values())
        row |= {"issue": "mislabel", "is_label_issue": True, "reasons": [HOSTILE], "error": HOSTILE}
    run = make_run(tmp_path, "vector", rows)
    app = open_review(run, reviewer=HOSTILE, calibrate=calibrate)

    async def steps(pilot):
        for _ in range(4):
            for keys in ([], ["l"], ["escape"], ["f"], ["escape"], ["right"]):
                await press(pilot, *keys)
                assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown(app))
        await press(pilot, "l", "e", "enter")
        assert len(journal(run)) == 1
        assert "[bold]cat" in shown(app) or HOSTILE_SHOWN[:8] in shown(app)

    drive(app, steps, size=(120, 40))


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (300, 90)])
@pytest.mark.parametrize("modality", ["image", "vector"])
def test_odd_sizes(tmp_path, modality, size):
    run = make_run(tmp_path, modality)
    app = open_review(run)

    async def steps(pilot):
        await press(pilot, "right", "k", "l", "escape", "question_mark", "escape")
        await pilot.resize_terminal(80, 24)
        await settle(pilot)
        assert "id  " in shown(app) and len(journal(run)) == 1

    drive(app, steps, size)


def test_without_colour_there_is_no_colour_code(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    app = open_review(make_run(tmp_path, "image"))

    async def steps(pilot):
        assert re.search("[\u2801-\u28ff]{4}", shown(app))  # the picture, in Braille dots
        for name in ("color", "bgcolor"):
            colors = {getattr(segment.style, name) for strip in strips(app) for segment in strip if segment.style}
            assert {color.name for color in colors if color} == {"default"}
        await press(pilot, "l", "down")
        marked = "".join(segment.text for strip in strips(app) for segment in strip if segment.style.underline)
        assert marked.strip() == "cat  as given"  # what is chosen stands out all the same

    drive(app, steps)


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
@pytest.mark.parametrize("modality", ["image", "sound", "vector"])
def test_the_screens_look_as_they_did(tmp_path, modality, size):
    """To renew a snapshot delete it, run the test, look at the new file."""
    if modality == "sound":
        pytest.importorskip("soundfile")
    app = open_review(make_run(tmp_path, modality))
    path = SNAPSHOTS / f"review-{modality}-{size[0]}x{size[1]}.svg"
    drawn = []

    async def steps(pilot):
        drawn.append(app.export_screenshot(title="nlclean review", simplify=True))

    drive(app, steps, size)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawn[0], encoding="utf-8")
        pytest.fail(f"{path} was missing and has been written: look at it")
    assert _cells(drawn[0]) == _cells(path.read_text("utf-8"))


def _cells(svg: str) -> list[tuple[str, ...]]:
    """Texts and boxes of a picture with their places and colours, without what a release of rich may name anew."""
    styles = dict(re.findall(r"\.terminal-\d+-(r\d+) \{([^}]*)\}", svg))
    texts = re.findall(r'<text class="terminal-\d+-(r\d+)" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', svg)
    boxes = re.findall(r'<rect fill="(#\w+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', svg)
    assert texts and boxes
    return [(styles[style].strip(), *rest) for style, *rest in texts] + boxes


def test_a_terminal_that_cannot_be_asked_draws_no_pixels(monkeypatch):
    class Asking(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            raise ZeroDivisionError("its width is 0")

    monkeypatch.setitem(sys.modules, "textual_image.renderable", Asking("textual_image.renderable"))
    assert graphics() is None


def test_a_kill_in_the_middle_loses_no_decision(run):
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "nlclean", "review", str(run), "--reviewer", "ann"]
    environ = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environ, start_new_session=True)
    os.close(slave)
    seen, changed = bytearray(), threading.Condition()

    def listen() -> None:
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # how Linux says that the other end is closed
                return
            with changed:
                seen.extend(chunk)
                changed.notify_all()

    listener = threading.Thread(target=listen)
    listener.start()

    def wait_for(text: bytes) -> None:
        with changed:
            assert changed.wait_for(lambda: text in seen, timeout=60), bytes(seen)

    try:
        wait_for(b"4 left")
        os.write(master, b"k")
        wait_for(b"3 left")
        os.write(master, b"d")
        wait_for(b"2 left")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        listener.join()
        os.close(master)
    assert journal(run) == [("15", "keep", None), ("11", "drop", None)]
    with (run / "decisions.jsonl").open("a") as file:
        file.write('{"id": "07", "act')  # and should it ever be cut off
    app = open_review(run)

    async def steps(pilot):
        assert "id          07" in shown(app) and "2 left" in lines(app)[0]
        await press(pilot, "k")

    drive(app, steps)
    assert [d.id for d in app.queue.log.read()] == ["15", "11", "07"]


def test_the_style_sheet_is_installed():
    assert (Path(app_module.__file__).parent / ReviewApp.CSS_PATH).is_file()


def test_of_vectors_a_neighbour_takes_one_line_at_80_columns(tmp_path):
    rows = report_rows([f"a quite long name of row {i:02}" for i in range(24)])
    app = open_review(make_run(tmp_path, "vector", rows))

    async def steps(pilot):
        text = shown(app)
        first = next(line for line in text.splitlines() if re.search(r"\d\.\d\d  (bird|cat|dog) ", line))
        assert re.search(r"  (bird|cat|dog) +a \w*\.\.\.\w* \d\d ", first)  # with the end of its id

    drive(app, steps)


def test_what_is_decided_of_a_label_is_said_of_a_contradicting_copy(tmp_path):
    rows = report_rows([f"{i:02}" for i in range(24)])
    for i in (3, 7):
        rows[i] |= {"issue": "duplicate_conflict"}
    rows[7] |= {"duplicate_of": "03"}
    app = open_review(make_run(tmp_path, "vector", rows))

    async def steps(pilot):
        assert "contradicting copy" in shown(app)
        kept, label = app.queue.row, rows[app.queue.row]["given_label"]
        await press(pilot, "k")
        assert {kept, app.queue.row} == {3, 7} and f"its copy was kept as {label}" in shown(app)
        await press(pilot, "z", "right")
        assert {kept, app.queue.row} == {3, 7} and "its copy" not in shown(app)

    drive(app, steps, size=(120, 40))


def test_labels_of_neighbours_take_the_room_that_short_ids_leave(tmp_path):
    rows = report_rows([f"{i:02}" for i in range(24)])
    for each in rows:
        for name in ("given_label", "predicted_label", "suggested_label", "knn_label"):
            each[name] = each[name] and f"request_of_a_{each[name]}"
        each["top_labels"] = [f"request_of_a_{label}" for label in each["top_labels"]]
    app = open_review(make_run(tmp_path, "vector", rows))

    async def steps(pilot):
        assert re.search(r"\d\.\d\d  \S{13,14}  \d\d ", shown(app))

    drive(app, steps)

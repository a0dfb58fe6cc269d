"""The queue, the calibration and the journals of several reviewers, without a screen."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from cli_world import HOSTILE, HOSTILE_SHOWN, call, finished_run, make_report, mislabel, row
from review_world import CLASSES, FLAGGED, make_run, report_rows, write_wav

from cleanlab_lite.data.sound import spectrogram
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.evidence.decisions import Decision, DecisionLog
from cleanlab_lite.report import reasons
from cleanlab_lite.run import RunFolder
from nlclean.review import player, previews, state
from nlclean.review.queue import Queue, order, value_of_a_look
from nlclean.review.samples import SampleReader

ROOT = Path(__file__).parents[1]


@pytest.fixture
def log(tmp_path):
    return DecisionLog(tmp_path / "decisions.jsonl")


def table(*rows):
    return make_report(list(rows)).table


def ids(queue):
    return [queue.id(row) for row in queue.visible]


PETS = table(
    row("fine"),
    mislabel("sure", p_mislabel=0.99, suggestion_confidence=0.98),
    mislabel("close", p_mislabel=0.55, suggested_label=None, suggestion_confidence=None, action="review"),
    row("ambiguous", p_mislabel=0.4, issue="ambiguous", action="review"),
    row("alien", p_mislabel=0.8, is_label_issue=True, issue="out_of_vocabulary", action="drop", given_label="cat"),
    row("copy 1", p_mislabel=0.02, issue="duplicate_conflict", given_label="cat"),
    row("broken", p_mislabel=None, issue="unreadable", action="drop"),
    mislabel("copy 2", issue="duplicate_conflict", duplicate_of="copy 1", given_label="owl"),
    mislabel("unclear", p_mislabel=0.7, suggestion_confidence=0.65),
)


def test_a_look_is_worth_the_probability_that_it_changes_an_export():
    value = dict(zip(PETS["id"].to_pylist(), value_of_a_look(PETS).round(2), strict=True))
    assert value["sure"] == 0.02  # the suggestion is right
    assert value["close"] == 0.55  # a wrong label would stay
    assert value["alien"] == 0.2  # a right row would go
    assert value["unclear"] == 0.35
    assert value["broken"] == 0  # nothing to see


def test_copies_come_first_then_what_a_look_is_worth(log):
    queue = Queue(PETS, log, "ann")
    assert ids(queue) == ["copy 2", "copy 1", "close", "ambiguous", "unclear", "alien", "sure", "broken"]


def test_decisions_lead_on_and_are_on_disk_at_once(log):
    queue = Queue(PETS, log, "ann")
    queue.decide("keep")
    assert [d.id for d in log.read()] == ["copy 2"]
    queue.decide("relabel", "cat")
    assert (queue.id(queue.row), queue.position, queue.left, queue.decided) == ("close", 2, 6, 2)
    last = log.read()[-1]
    assert (last.id, last.action, last.given_label, last.label, last.reviewer) == (
        "copy 1",
        "relabel",
        "cat",
        "cat",
        "ann",
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", last.time)


def test_it_resumes_behind_what_this_reviewer_decided(log):
    first = Queue(PETS, log, "ann")
    first.move(1)
    first.decide("drop")
    first.decide("keep")
    again = Queue(PETS, log, "ann")
    assert (again.id(again.row), again.left) == ("copy 2", 6)
    again.decide("unsure")
    assert again.id(again.row) == "ambiguous"
    assert Queue(PETS, log, "bob").left == 8


def test_the_end_and_back(log):
    queue = Queue(PETS, log, "ann")
    for _ in range(8):
        queue.decide("keep")
    assert queue.row is None and queue.left == 0
    queue.move(-1)
    assert queue.id(queue.row) == "broken"
    assert queue.decision(queue.row).action == "keep"


def test_undo_goes_back_row_by_row_and_into_earlier_sessions(log):
    first = Queue(PETS, log, "ann")
    first.decide("keep")
    first.decide("drop")
    first.move(-2)
    first.decide("unsure")  # copy 2, a second time
    again = Queue(PETS, log, "ann")
    assert again.undo()[0].action == "unsure"
    assert again.id(again.row) == "copy 2" and again.decision(again.row).action == "keep"
    assert again.undo()[0].action == "drop"
    assert again.id(again.row) == "copy 1" and again.decision(again.row) is None
    assert again.undo()[0].action == "keep"
    assert again.undo() == []
    assert Queue(PETS, log, "ann").left == 8


def test_undo_leaves_other_reviewers_alone(log):
    Queue(PETS, log, "bob").decide("keep")
    assert Queue(PETS, log, "ann").undo() == []


def test_moving_stays_within_the_rows(log):
    queue = Queue(PETS, log, "ann")
    queue.move(-3)
    assert queue.position == 0
    queue.move(100)
    assert queue.position == 7


def test_filters(log):
    queue = Queue(PETS, log, "ann")
    assert queue.choices("issue") == [
        ("mislabel", 3),
        ("duplicate_conflict", 2),
        ("ambiguous", 1),
        ("out_of_vocabulary", 1),
        ("unreadable", 1),
    ]
    assert queue.choices("class") == [("dog", 5), ("cat", 2), ("owl", 1)]
    assert queue.choices("pair") == [(("dog", "cat"), 2), (("owl", "cat"), 1)]
    queue.filter(issue="mislabel")
    assert ids(queue) == ["close", "unclear", "sure"]
    queue.filter(pair=("dog", "cat"))
    assert ids(queue) == ["unclear", "sure"]
    queue.move(1)
    queue.filter(issue=None)
    assert queue.id(queue.row) == "sure"  # the row on show stays
    queue.filter(pair=None, **{"class": "cat"})
    assert ids(queue) == ["copy 1", "alien"]
    queue.decide("keep")
    queue.decide("keep")
    assert queue.row is None and queue.decided == 2
    queue.filter(**{"class": None})
    assert queue.id(queue.row) == "copy 2"


def test_jump(log):
    queue = Queue(PETS, log, "ann")
    assert queue.jump("alien") and queue.id(queue.row) == "alien"
    assert queue.jump("2") and queue.id(queue.row) == "copy 1"
    assert queue.jump("UNCL") and queue.id(queue.row) == "unclear"
    assert queue.jump("copy") and queue.id(queue.row) == "copy 2"  # round the end
    assert queue.jump("copy") and queue.id(queue.row) == "copy 1"  # the next one
    assert not queue.jump("nobody") and not queue.jump("") and not queue.jump("99")
    assert queue.id(queue.row) == "copy 1"
    queue.filter(issue="mislabel")
    assert queue.jump("alien") and not queue.filters
    queue.jump("fine")  # a row without an issue can be decided too
    assert queue.id(queue.row) == "fine" and len(queue.visible) == 9
    queue.decide("drop")
    assert log.read()[-1].id == "fine"
    assert queue.undo()[0].id == "fine" and queue.id(queue.row) == "fine"


def test_an_id_of_digits_is_an_id_first(log):
    queue = Queue(table(mislabel("5"), mislabel("2"), mislabel("1")), log, "ann")
    queue.jump("1")
    assert queue.id(queue.row) == "1"
    queue.jump("3")
    assert queue.position == 2


def test_nothing_to_review(log):
    queue = Queue(table(row("a"), row("b")), log, "ann")
    assert queue.row is None and queue.left == 0
    queue.move(1)
    assert queue.row is None
    assert queue.undo() == [] and not queue.jump("c")


# several reviewers


def say(log, *said):
    for reviewer, id, action, *given in said:
        log.append(Decision(id, action, *(given or ["dog"]), None, reviewer, "2026-01-01T00:00:00+00:00"))


def test_merging_adds_what_is_new_and_only_that(tmp_path, log):
    other = DecisionLog(tmp_path / "bob.jsonl")
    say(log, ("ann", "close", "keep"), ("bob", "close", "keep"))
    say(other, ("bob", "close", "keep"), ("bob", "close", "undo"), ("bob", "close", "keep"), ("bob", "sure", "drop"))
    assert log.add(other.read()) == 3  # the same line a second time is a decision of its own
    assert log.add(other.read()) == log.add(log.read()) == 0
    assert [d.action for d in log.read() if d.reviewer == "bob"] == ["keep", "undo", "keep", "drop"]


@pytest.fixture
def run(tmp_path):
    return finished_run(tmp_path / "run", make_report(PETS.to_pylist()))


def test_a_row_whose_label_was_dropped_when_it_was_another_is_shown_again(log):
    say(log, ("ann", "sure", "drop", "cow"), ("ann", "close", "drop"))
    queue = Queue(PETS, log, "ann")
    assert queue.left == len(queue.rows) - 1 and queue.jump("sure")
    queue.decide("keep")
    assert queue.left == len(queue.rows) - 2
    queue.undo()
    assert queue.left == len(queue.rows) - 1


def test_merge_prints_the_agreement(run, tmp_path, capsys):
    log, other = DecisionLog(run / "decisions.jsonl"), DecisionLog(tmp_path / "bob.jsonl")
    say(log, ("ann", "close", "keep"), ("ann", "sure", "drop"), ("ann", "alien", "drop"), ("ann", "unclear", "keep"))
    say(other, ("bob", "close", "keep"), ("bob", "sure", "drop"), ("bob", "alien", "keep"), ("bob", "unclear", "keep"))
    say(other, ("bob", "of another set", "keep"))
    result = call(capsys, "review", run, "--merge", other.path)
    assert result.code == 0
    assert result.out == "Agreement of ann, bob on 4 rows: Cohen's kappa 0.50\n"
    assert "5 new decisions" in result.err and "not in this run: 1 decided row;" in result.err
    say(other, *(("eve", id, "keep") for id in ("close", "sure", "alien", "unclear")))
    assert "Fleiss' kappa" in call(capsys, "review", run, "--merge", other.path).out
    assert call(capsys, "review", run, "--merge", tmp_path / "none.jsonl").code == 2
    result = call(capsys, "review", run, "--merge", run / "report.parquet")
    assert result.code == 2 and "report.parquet holds no decision" in result.err


def test_a_journal_that_cannot_be_written_is_named(run, tmp_path, capsys, monkeypatch):
    other = DecisionLog(tmp_path / "bob.jsonl")
    say(other, ("bob", "close", "keep"))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(DecisionLog, "append", full)
    result = call(capsys, "review", run, "--merge", other.path)
    assert result.code == 3
    assert f"cannot write {run / 'decisions.jsonl'}: No space left" in result.err and "hint:" in result.err


def test_the_state_as_json(run, capsys):
    def document():
        return json.loads(call(capsys, "review", run, "--json").out)

    empty = document()
    assert (empty["rows"], empty["to_review"], empty["decided"], empty["agreement"]) == (9, 8, 0, None)
    assert empty["flagged"] <= empty["to_review"]
    log = DecisionLog(run / "decisions.jsonl")
    say(log, *(("ann", id, "drop") for id in ("sure", "close", "unclear")))
    say(log, ("ann", "alien", "drop", "cat"), ("ann", "copy 2", "drop", "owl"), ("ann", "copy 1", "keep", "cat"))
    say(log, ("bob", "fine", "keep"), ("ann", "fine", "keep"), ("ann", "ambiguous", "keep"))
    full = document()
    assert full["journal"] == str(run / "decisions.jsonl")
    assert (full["decided"], full["left"]) == (8, 1) and full["actions"] == {"drop": 5, "keep": 3}
    assert full["reviewers"] == {"ann": 8, "bob": 1}
    assert full["agreement"]["rows"] == 1 and full["agreement"]["kappa"] is None
    assert full["calibration"]["flagged"]["wrong"] == 5
    assert full["calibration"]["unflagged"]["wrong"] == 0
    say(log, ("ann", "elsewhere", "drop"))
    more = document()
    assert more["unknown_ids"] == 1 and (more["decided"], more["actions"]) == (full["decided"], full["actions"])
    refused = call(capsys, "review", run, "--json", "--target", "0%")
    assert refused.code == 2 and "a share above 0" in refused.err


def test_without_a_terminal_it_says_what_else_to_do(run, capsys):
    result = call(capsys, "review", run)
    assert result.code == 2
    assert "needs a terminal" in result.err and "review --web" in result.err
    assert "--json" in result.err and "nlclean report" in result.err


# what is known about a row


def test_a_sample_has_neighbours_of_both_classes_curves_and_reasons(tmp_path):
    samples = SampleReader(RunFolder(make_run(tmp_path, "vector")))
    found = samples.sample(FLAGGED[0])  # a bird that is called a cat
    assert found.rival == "bird"
    assert {near.label for near in found.given} == {"cat"} and {near.label for near in found.suggested} == {"bird"}
    assert found.row not in {near.row for near in (*found.given, *found.suggested)}
    assert not set(FLAGGED) & {near.row for near in (*found.given, *found.suggested)}
    assert found.suggested[0].similarity > 0.9 > found.given[0].similarity
    assert found.loss.own[-1] > 1 > found.loss.typical[-1]
    assert found.reasons[0] == "The loss on the given label is high (2.31 nats)"
    assert found.reasons[1] == "5 of the 6 nearest rows are labelled bird"


def test_a_run_without_features_and_history_is_reviewed_all_the_same(tmp_path):
    run = make_run(tmp_path, "image")
    (run / "features.npy").unlink()
    (run / "history.parquet").unlink()
    found = SampleReader(RunFolder(run)).sample(FLAGGED[0])
    assert {near.label for near in found.suggested} == {"bird"}
    assert len(found.loss.own) == 0


def test_copies_are_shown_with_their_labels(tmp_path):
    rows = report_rows([f"{i}" for i in range(9)])
    rows[5] |= {"issue": "duplicate_conflict", "duplicate_of": "2"}
    found = SampleReader(RunFolder(make_run(tmp_path, "vector", rows)))
    assert [(copy.id, copy.label) for copy in found.sample(2).copies] == [("5", "dog")]
    assert [copy.id for copy in found.sample(5).copies] == ["2"]


def test_every_reason_code_has_a_sentence():
    text = "\n".join(path.read_text("utf-8") for path in (ROOT / "cleanlab_lite").rglob("*.py"))
    codes = set(re.findall(r'reasons=\{"(\w+)"', text)) | set(re.findall(r'code="(\w+)"', text))
    assert len(codes) > 10
    assert {code for code in codes if reasons.sentence(code, {}) == code.replace("_", " ")} == set()
    assert reasons.sentence("some_new_code", {}) == "some new code"
    assert reasons.sentence("high_loss", {"loss_mean": None}) == "The loss on the given label is high"


# previews


def test_a_picture_fills_the_space_in_its_own_proportions():
    wide = np.zeros((10, 40, 3), dtype=np.uint8)
    assert previews.scale_to(wide, 80, 80).shape == (20, 80, 3)
    assert previews.scale_to(wide, 20, 1).shape == (1, 4, 3)


def test_thumbnails_stand_side_by_side_as_many_as_fit():
    red = np.full((8, 8, 3), (255, 0, 0), dtype=np.uint8)
    strip = previews.tile([red] * 5, (1, 2, 3))(20, 8)
    assert strip.shape == (8, 20, 3)
    assert (strip[:, :8] == (255, 0, 0)).all() and (strip[:, 8] == (1, 2, 3)).all()
    assert (strip[:, 9:17] == (255, 0, 0)).all() and (strip[:, 17:] == (1, 2, 3)).all()
    assert previews.tile([], (0, 0, 0))(5, 4).shape == (4, 5, 3)


def test_a_tone_is_a_line_in_the_spectrogram_and_a_swell_in_the_waveform(tmp_path):
    pytest.importorskip("soundfile")
    levels = []
    for hertz in (300.0, 2700.0):
        write_wav(tmp_path / "tone.wav", hertz)
        sound = previews.drawing(str(tmp_path / "tone.wav"), "sound").sound
        levels.append(spectrogram(sound.wave, sound.rate, 40, 32).mean(axis=1).argmax())
        assert previews.paint_sound(sound, 40, 32).shape == (32, 40, 3)
    assert levels[0] > levels[1]  # low tones are low
    wave = previews.waveform(sound, 40, 9).any(axis=2).sum(axis=0)
    assert wave[20] == 9 and wave[0] <= 3


def test_short_long_and_silent_sounds():
    for wave in (np.zeros(0), np.zeros(5), np.zeros(100_000), np.ones(3)):
        sound = previews.Sound(wave.astype(np.float32), 16_000, len(wave) / 16_000)
        for size in ((30, 20), (1, 4)):
            pixels = previews.paint_sound(sound, *size)
            assert pixels.shape == (size[1], size[0], 3) and pixels.dtype == np.uint8


def test_what_cannot_be_decoded_says_why(tmp_path):
    (tmp_path / "x").write_bytes(b"no sound")
    for modality in ("image", "sound"):
        with pytest.raises(DecodeError):
            previews.drawing(str(tmp_path / "x"), modality)
    with pytest.raises(DecodeError, match="does not exist"):
        previews.drawing(str(tmp_path / "y"), "image")


def test_braille_dots_are_the_bright_pixels():
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    pixels[:, :2] = 255
    assert previews.braille(pixels) == ["⣿⠀"]
    pixels = np.zeros((4, 2, 3), dtype=np.uint8)
    pixels[0, 0] = pixels[3, 1] = 255
    assert previews.braille(pixels) == ["⢁"]


def test_sparklines():
    values = np.array([0, 1, np.nan, 2.0])
    assert previews.sparkline(values, 10, 0, 2) == ["▁▄·█"] or previews.sparkline(values, 10, 0, 2) == ["▁▅·█"]
    assert previews.sparkline(np.array([0.0, 2.0]), 10, 0, 2, wide=2, rows=2) == ["  ██", "▁▁██"]
    assert len(previews.sparkline(np.arange(100.0), 20, 0, 99)[0]) == 20
    assert previews.sparkline(np.full(3, 5.0), 10, 5, 5) == ["▁▁▁"]


def test_the_first_player_there_is_plays(tmp_path, monkeypatch):
    soundfile = pytest.importorskip("soundfile")
    program = tmp_path / "aplay"
    program.write_text(f'#!/bin/sh\ncp "$2" "{tmp_path}/played.wav"\nsleep 60\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(player, "PLAYERS", {"afplay-nowhere": (), "aplay": ("-q",)})
    machine = player.Player()
    sound = previews.Sound(np.linspace(-0.5, 0.5, 800, dtype=np.float32), 8000, 0.1)
    assert machine.play(sound) == "aplay" and machine.playing
    while not (tmp_path / "played.wav").exists() or not (tmp_path / "played.wav").stat().st_size:
        assert machine.playing
    machine.stop()
    assert not machine.playing
    played, rate = soundfile.read(tmp_path / "played.wav")
    assert rate == 8000 and len(played) == 800
    monkeypatch.setattr(player, "PLAYERS", {})
    assert machine.play(sound) == ""


def test_hostile_labels_in_sentences_of_the_command_line(tmp_path, capsys):
    run = finished_run(tmp_path / "run", make_report([mislabel(HOSTILE, given_label=HOSTILE)]))
    log = DecisionLog(run / "decisions.jsonl")
    log.append(Decision(HOSTILE, "keep", HOSTILE, None, HOSTILE))
    log.append(Decision(HOSTILE, "keep", HOSTILE, None, "bob"))
    out = state.progress_line(log.read(), HOSTILE)
    assert out == f"{HOSTILE_SHOWN}: 1 row decided (keep 1)"
    assert "\x1b" not in call(capsys, "review", run, "--json").out
    result = call(capsys, "review", run, "--merge", log.path)
    assert "\x1b" not in result.out and HOSTILE_SHOWN in result.out


def test_order_of_a_report_without_rows():
    assert len(order(table(row("x")).slice(0, 0))) == 0
    assert pa.types.is_string(PETS["id"].type) and CLASSES  # the world is as the tests take it

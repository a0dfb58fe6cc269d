"""The journal of decisions: nothing is lost, undo, several reviewers, agreement."""

from __future__ import annotations

import errno
import json
import math
import os

import pytest

from cleanlab_lite.errors import ReportError
from cleanlab_lite.evidence.decisions import Decision, DecisionLog, agreement, settle, standing


def decide(row: str, action: str, reviewer: str = "ann", label: str | None = None) -> Decision:
    return Decision(row, action, "cat", label, reviewer)


def test_what_was_appended_is_read_in_order(tmp_path):
    log = DecisionLog(tmp_path / "decisions.jsonl")
    assert log.read() == []
    written = [decide("ä\n1", "keep"), decide("2", "relabel", label="dog"), decide("2", "undo")]
    for decision in written:
        log.append(decision)
    assert log.read() == written


def test_a_torn_line_costs_itself_only(tmp_path):
    log = DecisionLog(tmp_path / "decisions.jsonl")
    log.append(decide("1", "keep"))
    with log.path.open("ab") as file:
        file.write(b'{"id": "2", "acti')  # a kill in the middle of a write
    log.append(decide("3", "drop"))
    with log.path.open("ab") as file:
        file.write('{"id": "ü'.encode()[:-1])  # and of a character
    log.append(decide("4", "drop"))
    assert [d.id for d in log.read()] == ["1", "3", "4"]


@pytest.mark.parametrize("room", [0, 10, 10_000])
def test_a_disk_that_takes_a_part_only_is_full_and_says_so(tmp_path, monkeypatch, room):
    log = DecisionLog(tmp_path / "decisions.jsonl")
    log.append(decide("1", "keep"))
    write, left = os.write, [room]

    def nearly_full(handle, data):
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = data[: left[0]]
        left[0] -= len(taken)
        return write(handle, taken)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", nearly_full)
        if room < 1000:
            with pytest.raises(OSError, match="No space"):
                log.append(decide("2", "keep"))
        else:
            log.append(decide("2", "keep"))
    log.append(decide("3", "keep"))
    assert [d.id for d in log.read()] == (["1", "3"] if room < 1000 else ["1", "2", "3"])


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "1", "action": "burn", "given_label": null}',
        "[1]",
        '{"id": "1"}',
        '{"id":"1","action":"relabel"}',
        '{"id": [1], "action": "keep", "given_label": "a"}',
        '{"id": "1", "action": ["keep"], "given_label": "a"}',
        '{"id": "1", "action": "keep", "given_label": "a", "reviewer": null}',
        '{"id": "1", "action": "keep", "given_label": 5}',
        '{"id": "1", "action": "relabel", "given_label": "a", "label": 5}',
        '{"id": "1", "action": "relabel", "given_label": "a", "label": "\\ud800"}',
        "[" * 100_000,
        "[" * 300 + "]" * 300,
        "9" * 5000,
    ],
)
def test_a_line_that_is_no_decision_is_named(tmp_path, line):
    path = tmp_path / "decisions.jsonl"
    path.write_text(json.dumps({"id": "0", "action": "keep", "given_label": "a"}) + "\n" + line + "\n")
    with pytest.raises(ReportError, match="line 2"):
        DecisionLog(path).read()


def test_names_that_are_not_utf8_are_kept(tmp_path):
    log = DecisionLog(tmp_path / "decisions.jsonl")
    log.append(decide("1", "keep", reviewer="ren\udce9"))
    assert [d.reviewer for d in log.read()] == ["ren\udce9"]


def test_a_label_belongs_to_relabel_alone():
    for action, label in [("keep", "dog"), ("relabel", None)]:
        with pytest.raises(ValueError, match="relabel"):
            decide("1", action, label=label)


def test_the_latest_counts_and_undo_takes_it_back():
    said = [decide("1", "keep"), decide("1", "drop"), decide("2", "keep"), decide("2", "undo"), decide("3", "undo")]
    assert {id: d.action for (_, id), d in standing(said).items()} == {"1": "drop"}
    assert {id: d.action for (_, id), d in standing([*said, decide("1", "undo")]).items()} == {"1": "keep"}


def test_reviewers_vote():
    said = [
        *(decide("1", "drop", who) for who in "ab"),
        decide("1", "keep", "c"),
        decide("2", "relabel", "a", "dog"),
        decide("2", "relabel", "b", "fox"),  # the same action with another label is another opinion
        decide("3", "unsure", "a"),
        decide("3", "keep", "b"),
    ]
    settled = settle(said)
    assert [(settled[id].action, settled[id].reviewer) for id in "123"] == [
        ("drop", "a+b"),
        ("unsure", "a+b"),
        ("keep", "b"),
    ]


def test_cohens_kappa_of_the_textbook_table():
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed .7, by chance .5, kappa .4
    pairs = ["kk"] * 20 + ["kd"] * 5 + ["dk"] * 10 + ["dd"] * 15
    action = {"k": "keep", "d": "drop"}
    said = [decide(str(i), action[p[j]], "ab"[j]) for i, p in enumerate(pairs) for j in range(2)]
    found = agreement(said)
    assert (found.reviewers, found.rows) == (("a", "b"), 50)
    assert found.kappa == pytest.approx(0.4)


def test_fleiss_kappa_and_rows_not_decided_by_all():
    votes = {"1": "kkk", "2": "ddd", "3": "kkd", "4": "kd"}
    action = {"k": "keep", "d": "drop"}
    said = [decide(row, action[v], "abc"[j]) for row, cast in votes.items() for j, v in enumerate(cast)]
    # P = (1 + 1 + 1/3) / 3 = 7/9; shares 5/9 and 4/9, so chance 41/81; kappa = (7/9 - 41/81) / (40/81) = 0.55
    found = agreement(said)
    assert found.rows == 3
    assert found.kappa == pytest.approx(0.55)


def test_no_agreement_without_a_second_opinion():
    assert math.isnan(agreement([decide("1", "keep")]).kappa)

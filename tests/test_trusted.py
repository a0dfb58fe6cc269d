"""`--trusted`: decided rows are not flagged again, and teach what was decided."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, task, vector_parquet
from cli_world import call

import nlclean
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.evidence.decisions import Decision, DecisionLog
from cleanlab_lite.evidence.evidence import NO_CLASS, NOBODY
from cleanlab_lite.evidence.trusted import read_trusted
from cleanlab_lite.judge.reviews import random_order
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.report.warnings import LOOSE
from cleanlab_lite.run.layout import ASKED, DECISIONS

pytestmark = pytest.mark.usefixtures("here")
FAST = ("--preset", "fast")


def rows_of(run):
    return {row["id"]: row for row in pq.read_table(f"{run}/report.parquet").to_pylist()}


@pytest.fixture
def audited(here, capsys):
    """A manifest, its task, and the rows of a first audit in the folder `first`."""
    given = task(300, wrong=25)
    path = vector_parquet(here / "v.parquet", given)
    assert call(capsys, "audit", path, *FAST, "--out", "first").code == 0
    return path, given, rows_of("first")


def decide(here, rows, chosen):
    """Write {id: right label, or "" for none} to the journal of the first run."""
    log = DecisionLog(here / "first" / DECISIONS)
    for id, label in chosen.items():
        given = rows[id]["given_label"]
        action = "drop" if not label else "keep" if label == given else "relabel"
        log.append(Decision(id, action, given, label if action == "relabel" else None, "ann"))


@pytest.mark.parametrize("preset", ["fast", pytest.param("balanced", marks=pytest.mark.slow)])
def test_decided_rows_are_not_judged_again(audited, here, capsys, preset):
    path, given, rows = audited
    ids, truth = list(rows), dict(zip(rows, (CLASSES[c] for c in given.truth), strict=True))
    flagged = [id for id in ids if rows[id]["is_label_issue"]]
    wrongly_kept, right, dropped = flagged[0], flagged[1:9], flagged[9]
    unflagged = [id for id in ids if not rows[id]["is_label_issue"]][:15]
    chosen = {wrongly_kept: rows[wrongly_kept]["given_label"], dropped: ""}
    decide(here, rows, chosen | {id: truth[id] for id in [*right, *unflagged]})
    answer = call(capsys, "audit", path, "--preset", preset, "--trusted", "first", "--out", "second")
    assert answer.code == 0, answer.err
    again = rows_of("second")
    kept = again[wrongly_kept]
    assert (kept["is_label_issue"], kept["issue"], kept["action"]) == (False, "none", "keep")
    assert kept["p_mislabel"] == 0 and kept["weight"] == 1
    for id in right:
        if truth[id] != rows[id]["given_label"]:
            row = again[id]
            assert (row["p_mislabel"], row["suggested_label"], row["action"]) == (1, truth[id], "relabel")
            assert row["suggestion_confidence"] == 1 and "decided_wrong" in row["reasons"]
    assert (again[dropped]["action"], again[dropped]["suggested_label"]) == ("drop", None)
    others = [id for id in ids if id not in {*chosen, *right, *unflagged}]
    changed = sum(again[id]["is_label_issue"] != rows[id]["is_label_issue"] for id in others)
    assert changed <= 3
    summary = json.loads((here / "second" / "summary.json").read_bytes())
    assert summary["trusted"] == 25 and summary["noise_rate"]["method"].endswith("25 decided rows")
    assert summary["noise_rate"]["low"] <= 25 / 300 <= summary["noise_rate"]["high"]


def test_a_review_goes_on_in_the_second_audit(audited, here, capsys):
    path, given, rows = audited
    truth = dict(zip(rows, (CLASSES[c] for c in given.truth), strict=True))
    flagged = [id for id in rows if rows[id]["is_label_issue"]][:12]
    decide(here, rows, {id: truth[id] for id in flagged})
    again = ("audit", path, *FAST, "--trusted", "first", "--out", "second")
    answer = call(capsys, *again)
    assert answer.code == 0 and "# go on" in answer.out
    state = json.loads(call(capsys, "review", "second", "--json").out)
    assert state["decided"] == 12 and state["reviewers"] == {"ann": 12}
    exported = call(capsys, "export", "second", "--policy", "decided", "--output", "decided.parquet")
    assert "12 decided by people" in exported.err
    journal = (here / "second" / DECISIONS).read_bytes()
    assert call(capsys, *again).code == 0 and (here / "second" / DECISIONS).read_bytes() == journal
    (here / "mine.jsonl").write_bytes(journal)  # kept by people: theirs stays the only one
    assert call(capsys, *again[:-4], "--trusted", "mine.jsonl", "--out", "third").code == 0
    assert not (here / "third" / DECISIONS).exists()
    report = nlclean.audit(path, preset="fast", trusted="first", out="fourth", progress=False)
    assert (report.folder / DECISIONS).read_bytes() == journal


def test_decisions_count_by_what_was_said_when_they_were_made(audited, here, capsys):
    path, given, rows = audited
    truth = dict(zip(rows, (CLASSES[c] for c in given.truth), strict=True))
    drawn = [list(rows)[row] for row in random_order(np.array([row["p_mislabel"] for row in rows.values()]))[:20]]
    surest = [id for id in sorted(rows, key=lambda id: -rows[id]["p_mislabel"]) if id not in drawn][:5]
    decide(here, rows, {id: truth[id] for id in [*drawn, *surest]})
    second = ("audit", path, *FAST, "--trusted", "first", "--out", "second")
    assert call(capsys, *second).code == 0
    asked = {row["id"]: row for row in pq.read_table(here / "second" / ASKED).to_pylist()}
    assert {id: row["p_mislabel"] for id, row in asked.items()} == {
        id: rows[id]["p_mislabel"] for id in [*drawn, *surest]
    }
    assert {id for id, row in asked.items() if row["at_random"]} >= set(drawn)
    later = rows_of("second")
    other = next(id for id in later if id not in asked and later[id]["is_label_issue"])
    DecisionLog(here / "second" / DECISIONS).append(Decision(other, "drop", later[other]["given_label"], None, "ann"))
    assert call(capsys, "audit", path, *FAST, "--trusted", "second", "--out", "third").code == 0
    third = {row["id"]: row for row in pq.read_table(here / "third" / ASKED).to_pylist()}
    assert third.pop(other)["p_mislabel"] == later[other]["p_mislabel"]
    assert third == asked  # not the 0 and 1 that the second run says of them
    (here / "second" / ASKED).write_bytes(b"PAR1")
    answer = call(capsys, "audit", path, *FAST, "--trusted", "second", "--out", "fourth")
    assert answer.code == 3 and f"{ASKED} is damaged" in answer.err and "Traceback" not in answer.err


def test_a_few_wrong_decisions_move_the_noise_rate_little_and_are_named(audited, here, capsys):
    path, given, rows = audited
    ids, labels = list(rows), given.labels
    right = [ids[i] for i in np.flatnonzero(labels == given.truth) if not rows[ids[i]]["is_label_issue"]][:4]
    wrong = [ids[i] for i in np.flatnonzero(labels != given.truth) if rows[ids[i]]["is_label_issue"]][:3]
    decide(here, rows, dict.fromkeys(right, "") | {id: rows[id]["given_label"] for id in wrong})
    answer = call(capsys, "audit", path, *FAST, "--trusted", "first", "--out", "second")
    assert answer.code == 0, answer.err
    before, rate = (json.loads((here / run / "summary.json").read_bytes()) for run in ("first", "second"))
    assert abs(rate["noise_rate"]["estimate"] - before["noise_rate"]["estimate"]) < 0.15
    assert rate["noise_rate"]["high"] - rate["noise_rate"]["low"] > 0.3
    assert "7 decided rows contradict" in answer.err and repr(right[0]) in answer.err


def test_decisions_on_the_surest_rows_leave_the_rate_open_and_that_is_said(here, capsys):
    given = task(300, wrong=90)
    path = vector_parquet(here / "v.parquet", given)
    assert call(capsys, "audit", path, *FAST, "--out", "first").code == 0
    rows = rows_of("first")
    truth = dict(zip(rows, (CLASSES[c] for c in given.truth), strict=True))
    surest = sorted(rows, key=lambda id: -rows[id]["p_mislabel"])[:10]
    decide(here, rows, {id: truth[id] for id in surest})
    answer = call(capsys, "audit", path, *FAST, "--trusted", "first", "--out", "second")
    rate = json.loads((here / "second" / "summary.json").read_bytes())["noise_rate"]
    assert rate["high"] - rate["low"] > LOOSE
    said = " ".join(answer.err.split())
    assert "10 decided rows leave the noise rate between" in said and "nlclean review --calibrate" in said
    decide(here, rows, truth)
    answer = call(capsys, "audit", path, *FAST, "--trusted", "first", "--out", "third")
    assert answer.code == 0 and "leave the noise rate" not in answer.err


def test_heads_learn_the_decided_label(here, capsys):
    """A class whose label is mostly wrong is not learned; with decisions it is."""
    given = task(300, wrong=25)
    path = vector_parquet(here / "v.parquet", given)
    frame = pq.read_table(path).to_pandas()
    first = np.flatnonzero(given.truth == 0)
    frame.loc[first[:60], "label"] = CLASSES[1]
    frame.to_parquet(path)
    assert call(capsys, "audit", path, *FAST, "--out", "first").code == 0
    rows = rows_of("first")
    ids = list(rows)
    decide(here, rows, {ids[row]: CLASSES[0] for row in first[:40]})
    assert call(capsys, "audit", path, *FAST, "--trusted", "first", "--out", "second").code == 0
    left = [ids[row] for row in first[40:60]]
    before, after = (sum(found[id]["is_label_issue"] for id in left) for found in (rows, rows_of("second")))
    assert after >= 18 and after > before


@pytest.mark.slow
def test_networks_learn_what_rows_of_no_class_look_like(here, capsys):
    """A strange group under one label: of its rows some are dropped, and the others come up."""
    given = task(300, wrong=10)
    path = vector_parquet(here / "v.parquet", given)
    frame = pq.read_table(path).to_pandas()
    strange, rng = np.arange(250, 300), np.random.default_rng(1)
    width = len(frame.loc[0, "embedding"])
    frame.loc[strange, "label"] = CLASSES[0]
    for row in strange:
        frame.at[row, "embedding"] = (rng.normal(0, 0.5, width) - 4).astype(np.float32)
    frame.to_parquet(path)
    assert call(capsys, "audit", path, "--preset", "balanced", "--out", "first").code == 0
    rows = rows_of("first")
    ids = list(rows)
    decide(here, rows, dict.fromkeys([ids[row] for row in strange[:25]], ""))
    more = ("--second-split", "--trusted", "first", "--out", "second")
    assert call(capsys, "audit", path, "--preset", "balanced", *more).code == 0
    before, after = (
        np.argsort(np.argsort([found[id]["label_score"] for id in ids]))[strange[25:]].mean()
        for found in (rows, rows_of("second"))
    )
    assert after < before / 2


def test_decisions_make_another_run(audited, here):
    path, _, rows = audited
    decide(here, rows, {id: rows[id]["given_label"] for id in list(rows)[:5]})
    report = nlclean.audit(path, preset="fast", trusted="first", out="second", progress=False)
    assert report.summary.trusted == 5
    with pytest.raises(ConfigError):
        nlclean.audit(path, preset="fast", out="second", progress=False)


def verdicts(path, lines):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "label"), *lines])
    return path


def test_a_table_of_right_labels(audited, here):
    path, _, rows = audited
    manifest = read_manifest(path)
    ids = list(rows)
    lines = [(ids[0], CLASSES[2]), (ids[1], ""), ("nobody", CLASSES[0]), (ids[2], "unicorn")]
    decided, notes = read_trusted(verdicts(here / "verdicts.csv", lines), manifest)
    assert decided.tolist() == [2, NO_CLASS] + [NOBODY] * 298
    assert len(notes) == 2 and "'unicorn'" in notes[1]


def test_a_label_that_was_changed_since_is_not_dropped(audited, here):
    path, _, rows = audited
    manifest = read_manifest(path)
    ids, other = list(rows), {name: CLASSES[(CLASSES.index(name) + 1) % 3] for name in CLASSES}
    log = DecisionLog(here / "other.jsonl")
    log.append(Decision(ids[0], "drop", other[rows[ids[0]]["given_label"]], None, "ann"))
    log.append(Decision(ids[1], "drop", rows[ids[1]]["given_label"], None, "ann"))
    log.append(Decision(ids[2], "unsure", rows[ids[2]]["given_label"], None, "ann"))
    assert read_trusted(log.path, manifest)[0].tolist() == [NOBODY, NO_CLASS] + [NOBODY] * 298


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "id,label\nnobody,cat\n", "says nothing about a row"),
        ("a.csv", "name,verdict\nx,y\n", "has no column of ids and of labels"),
        ("a.jsonl", "", "nothing is decided in it"),
        ("a.txt", "x", "unknown ending '.txt'"),
        ("missing.csv", None, "cannot read"),
        ("missing.jsonl", None, "is no file"),
        ("first", None, "nobody has decided anything of the run in first"),
    ],
)
def test_what_cannot_be_trusted(audited, here, capsys, name, content, said):
    if content is not None:
        (here / name).write_text(content)
    answer = call(capsys, "audit", audited[0], *FAST, "--trusted", name, "--out", "second")
    assert answer.code == 2 and said in answer.err

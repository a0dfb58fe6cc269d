"""The gate: limits, identity by content, changes since a baseline, the baseline file."""

from __future__ import annotations

import json
import random

import pytest
from cli_world import make_report, mislabel, row, summary

from cleanlab_lite.errors import ReportError
from cleanlab_lite.evidence.decisions import Decision, DecisionLog
from cleanlab_lite.report.gate import (
    CHANGES,
    Bound,
    Row,
    baseline_text,
    changes_since,
    judge,
    load_baseline,
    noise_outcome,
    parse_baseline,
    read_rows,
    suspect_outcome,
)
from cleanlab_lite.run.layout import DECISIONS
from cleanlab_lite.run.report import ReportTable


def rows(*specs: str) -> list[Row]:
    """Rows from "CONTENT LABEL [STATE]"; the id is the place."""
    found = []
    for place, spec in enumerate(specs):
        content, label, *state = spec.split()
        found.append(Row(content, label, *(state or ["fine"]), id=f"{place}.png", place=-place))  # type: ignore[arg-type]
    return found


def changes(now: list[Row], before: list[Row]) -> dict[str, list[str]]:
    """Contents by kind of change, kinds without a row left out."""
    found = changes_since(now, before)
    assert tuple(found) == CHANGES
    return {name: [change.row.content for change in listed] for name, listed in found.items() if listed}


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimate", "bound", "exceeded"),
    [(0.019, 0.02, False), (0.02, 0.02, False), (0.0201, 0.02, True), (0.0, 0.0, False), (None, 1.0, True)],
)
def test_noise_against_the_estimate(estimate, bound, exceeded):
    found = noise_outcome(
        summary(noise_rate={"estimate": estimate, "low": 0.0, "high": 1.0, "method": ""}), Bound(bound, True)
    )
    assert found.exceeded == exceeded
    assert "limit of" in found.message or "could not be determined" in found.message


@pytest.mark.parametrize(
    ("bound", "exceeded"),
    [
        (Bound(4, False), True),
        (Bound(5, False), False),
        (Bound(6, False), False),
        (Bound(0.049, True), True),
        (Bound(0.05, True), False),
    ],
)
def test_suspects_by_number_and_by_share_of_the_labelled_rows(bound, exceeded):
    assert suspect_outcome(5, 100, bound).exceeded == exceeded
    assert not suspect_outcome(0, 0, bound).exceeded


@pytest.mark.parametrize(("limit", "exceeded"), [(0, True), (1, True), (2, False), (3, False)])
def test_new_suspects(limit, exceeded):
    now = rows("a dog suspect", "b dog suspect", "c dog suspect", "d dog")
    gate = judge(summary(), now, rows("a dog suspect", "b dog", "d dog"), max_new_suspects=limit)
    assert gate.exceeded == exceeded
    assert [found.content for found in gate.outcomes[0].rows] == ["c", "b"]  # most suspicious first


def test_without_limits_nothing_is_exceeded():
    gate = judge(summary(), rows("a dog suspect"))
    assert (gate.exceeded, gate.outcomes, gate.changes) == (False, [], None)


def test_new_suspects_need_a_baseline():
    with pytest.raises(ValueError, match="baseline"):
        judge(summary(), rows("a dog"), max_new_suspects=0)


def test_messages_say_what_and_how_much():
    outcome = suspect_outcome(1234, 10_000, Bound(0.1, True))
    assert outcome.message == "suspects: 12.34 %, above the limit of 10 %"
    assert suspect_outcome(1234, 1, Bound(5000, False)).message == "suspects: 1,234, within the limit of 5,000"


# --- identity and changes -------------------------------------------------------------------------------------------


def test_a_renamed_and_moved_row_is_the_same_row():
    before = rows("a dog", "b cat suspect", "c cat")
    assert changes(list(reversed(before)), before) == {}
    assert changes([Row("b", "cat", "suspect", id="elsewhere/new.png"), *rows("a dog", "c cat")], before) == {}


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (["a dog suspect"], ["a dog"], {"newly_suspect": ["a"]}),
        (["a dog"], ["a dog suspect"], {"fixed": ["a"]}),
        (["a dog accepted"], ["a dog suspect"], {"fixed": ["a"]}),
        (["a cat"], ["a dog"], {"relabelled": ["a"]}),
        (["a cat"], ["a dog suspect"], {"fixed": ["a"], "relabelled": ["a"]}),
        (["a cat suspect"], ["a dog suspect"], {"newly_suspect": ["a"], "relabelled": ["a"]}),
        (["a dog", "b dog"], ["a dog"], {"added": ["b"]}),
        (["a dog", "b dog suspect"], ["a dog"], {"newly_suspect": ["b"], "added": ["b"]}),
        (["a dog"], ["a dog", "b dog suspect"], {"removed": ["b"]}),
        (["a dog suspect"], ["a dog accepted"], {}),  # `judge` accepts it, and `changes_since` does not call it new
    ],
)
def test_what_became_of_a_row(now, before, expected):
    assert changes(rows(*now), rows(*before)) == expected


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (["a dog", "a dog"], ["a dog"], {"added": ["a"]}),
        (["a dog"], ["a dog", "a dog"], {"removed": ["a"]}),
        (["a cat", "a dog"], ["a dog", "a cat"], {}),
        (["a cat", "a cat"], ["a dog", "a cat"], {"relabelled": ["a"]}),
        (["a cat", "a owl", "a owl"], ["a dog", "a cat"], {"relabelled": ["a"], "added": ["a"]}),
        (["a dog suspect", "a dog"], ["a dog", "a dog suspect"], {}),  # which copy is flagged does not matter
        (["a dog suspect", "a dog suspect"], ["a dog suspect", "a dog"], {}),
        (["a dog", "a dog"], ["a dog suspect", "a dog"], {"fixed": ["a"]}),
    ],
)
def test_copies_of_one_content(now, before, expected):
    assert changes(rows(*now), rows(*before)) == expected


def test_a_relabelled_row_knows_its_old_label():
    [change] = changes_since(rows("a cat"), rows("a dog"))["relabelled"]
    assert change.before is not None
    assert (change.before.label, change.row.label) == ("dog", "cat")


def test_the_five_lists_add_up():
    """Whatever happens to a dataset, rows = baseline - removed + added, and nothing is said twice in a list."""
    chance = random.Random(0)

    def dataset() -> list[Row]:
        pick = chance.choice
        return rows(*(f"{pick('abcdef')} {pick(['x', 'y'])} {pick(['fine', 'suspect'])}" for _ in range(12)))

    for _ in range(50):
        now, before = dataset(), dataset()
        found = changes_since(now, before)
        assert len(now) == len(before) - len(found["removed"]) + len(found["added"])
        for listed in found.values():
            assert len({id(change.row) for change in listed}) == len(listed)
        assert all(change.row.state == "suspect" for change in found["newly_suspect"])


def test_a_renamed_class_makes_no_new_suspects():
    """`cat` is called `felis` now: who was suspect as a cat is no new suspect as felis, and what was kept stays so."""
    before = rows("a cat suspect", "b cat accepted", "c cat", "d cat", "e dog", "f dog suspect")
    now = rows(
        "a felis suspect", "b felis suspect", "c felis", "d dog suspect", "e dog", "f dog suspect", "g felis suspect"
    )
    gate = judge(summary(), now, before, max_new_suspects=2)
    listed = {name: [change.row.content for change in found] for name, found in gate.changes.items() if found}
    assert listed == {"newly_suspect": ["g", "d"], "relabelled": ["d"], "added": ["g"]}
    assert [row.content for row in gate.rows if row.state == "accepted"] == ["b"]
    [said] = gate.warnings
    assert said.startswith("renamed since the baseline: 'cat' is 'felis'")


@pytest.mark.parametrize(
    "now",
    [
        ["a felis suspect", "b cat", "c dog"],  # there are cats
        ["a dog suspect", "b dog", "c dog"],  # there were dogs
        ["a felis suspect", "b lynx", "c dog"],  # no name has most of them
    ],
)
def test_relabelled_rows_are_no_renamed_class(now):
    gate = judge(summary(), rows(*now), rows("a cat suspect", "b cat", "c dog"))
    assert [change.row.content for change in gate.changes["newly_suspect"]] == ["a"]
    assert not gate.warnings


def test_a_baseline_of_another_dataset_is_warned_of():
    gate = judge(summary(), rows("a dog", "b dog"), rows("a dog", "y dog", "z dog"), max_new_suspects=0)
    assert "only 1 of 3 rows" in gate.warnings[0]
    assert not judge(summary(), rows("a dog"), rows("a dog", "b cat")).warnings
    assert not judge(summary(), rows("a dog"), []).warnings


# --- reports and decisions ------------------------------------------------------------------------------------------


def report() -> ReportTable:
    return make_report(
        [
            row("a.png", content="aa"),
            mislabel("b.png", content="bb"),
            mislabel("c.png", content="cc", label_score=0.01),
            row("broken.png", issue="unreadable", label_score=None, p_mislabel=None),
        ]
    )


def keep(id: str, label: str = "dog") -> Decision:
    return Decision(id, "keep", label)


def test_rows_of_a_report():
    found = read_rows(report())
    assert [(each.content, each.state) for each in found] == [
        ("aa", "fine"),
        ("bb", "suspect"),
        ("cc", "suspect"),
        ("id:broken.png", "fine"),
    ]
    assert [each.id for each in judge(summary(), found).suspects] == ["c.png", "b.png"]


def test_a_label_that_a_person_kept_is_no_suspect():
    decisions = [keep("a.png"), keep("b.png"), Decision("c.png", "relabel", "dog", "cat")]
    assert [each.state for each in read_rows(report(), decisions)] == ["accepted", "accepted", "suspect", "fine"]


def test_a_decision_about_another_label_does_not_count():
    assert read_rows(report(), [keep("b.png", "owl")])[1].state == "suspect"


def test_what_was_accepted_stays_accepted_until_the_label_changes():
    before = rows("a dog accepted", "b dog accepted")
    gate = judge(summary(), rows("a dog suspect", "b cat suspect"), before, max_new_suspects=0)
    assert [each.state for each in gate.rows] == ["accepted", "suspect"]
    assert [each.content for each in gate.outcomes[0].rows] == ["b"]


def test_a_report_without_contents_is_refused():
    old = ReportTable(report().table.drop_columns(["content"]), summary())
    with pytest.raises(ReportError, match="content"):
        read_rows(old)


# --- the baseline file ----------------------------------------------------------------------------------------------

MANY = [
    Row("bb", "dog", "suspect"),
    Row("aa", "c\u00e4t\n\x1b", "fine"),
    Row("aa", None, "fine"),
    Row("aa", "dog", "accepted"),
    Row("id:\udcff.png", "dog", "fine"),
]


def test_a_baseline_file_round_trips_and_is_stable():
    text = baseline_text(MANY)
    assert baseline_text(list(reversed(MANY))) == text
    assert sorted(map(repr, parse_baseline(text.encode(), "x"))) == sorted(map(repr, MANY))
    assert baseline_text(parse_baseline(text.encode(), "x")) == text
    assert text.isascii() and text.endswith("}\n")
    assert text.splitlines()[:4] == ["{", '  "nlclean_baseline": 1,', '  "suspect": {', '    "bb": ["dog"]']
    assert json.loads(baseline_text([])) == {"nlclean_baseline": 1, "suspect": {}, "accepted": {}, "fine": {}}


def test_a_change_of_one_row_is_a_change_of_its_lines_only():
    before = baseline_text(rows("a dog", "b dog suspect", "c cat", "d cat suspect")).splitlines()
    after = baseline_text(rows("a dog", "b cat", "c cat", "d cat suspect")).splitlines()
    assert set(before) ^ set(after) == {'    "b": ["dog"],', '    "b": ["cat"],'}


GOOD = {"nlclean_baseline": 1, "suspect": {}, "accepted": {}, "fine": {}}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither a report nor a baseline"),
        (b"\xff\xfe\x00", "neither a report nor a baseline"),
        (b"[" * 100_000, "neither a report nor a baseline"),
        (b"[]", "is no baseline"),
        (b"{}", "is no baseline"),
        (b'{"nlclean_baseline": true}', "is no baseline"),
        (json.dumps(GOOD | {"nlclean_baseline": 2}).encode(), "reads up to 1"),
        (json.dumps(GOOD | {"fine": []}).encode(), "'fine' must map"),
        (json.dumps(GOOD | {"suspect": {"a": "dog"}}).encode(), "'suspect' must map"),
        (json.dumps(GOOD | {"suspect": {"a": [1]}}).encode(), "'suspect' must map"),
        (b'{"nlclean_baseline": 1}', "'suspect' must map"),
    ],
)
def test_what_is_no_baseline(tmp_path, data, said):
    path = tmp_path / "baseline.json"
    path.write_bytes(data)
    with pytest.raises(ReportError, match=said) as refused:
        load_baseline(path)
    assert refused.value.hint


def test_a_baseline_is_a_run_a_report_or_a_file(tmp_path):
    report().write(tmp_path / "report.parquet")
    DecisionLog(tmp_path / DECISIONS).append(keep("b.png"))
    expected = ["fine", "accepted", "suspect", "fine"]
    assert [each.state for each in load_baseline(tmp_path)] == expected
    assert [each.state for each in load_baseline(tmp_path / "report.parquet")] == expected
    (tmp_path / "b.json").write_text(baseline_text(load_baseline(tmp_path)))
    assert sorted(each.state for each in load_baseline(tmp_path / "b.json")) == sorted(expected)
    with pytest.raises(ReportError, match="cannot read"):
        load_baseline(tmp_path / "missing.json")

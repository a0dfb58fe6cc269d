"""Which rows an export changes."""

from __future__ import annotations

import numpy as np
import pytest
from cli_world import make_report, mislabel, row

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.evidence.decisions import Decision
from cleanlab_lite.export.policy import Cleaned, apply_policy

ROWS = [
    row("fine"),
    mislabel("wrong"),
    mislabel("unsure", suggestion_confidence=0.6, p_mislabel=0.7),
    mislabel("alien", issue="out_of_vocabulary", action="drop", suggested_label=None, suggestion_confidence=None),
    mislabel("look", issue="ambiguous", action="review", suggested_label=None, p_mislabel=0.55),
    row("broken", issue="unreadable", action="drop", is_label_issue=None, p_mislabel=None),
    row("twin", issue="duplicate_conflict", action="drop", is_label_issue=True, p_mislabel=0.2),
    row("unlabeled", given_label=None, issue="unlabeled", action="relabel", suggested_label="cat", p_mislabel=None)
    | {"suggestion_confidence": 0.8},
    mislabel("test", split="Test"),
    mislabel("val", split="val"),
]
IDS = [entry["id"] for entry in ROWS]
HELD_BACK = np.array([entry["split"] is not None for entry in ROWS])


def decide(policy, **options):
    cleaning = apply_policy(make_report(ROWS).table, HELD_BACK, policy, **options)
    keep, labels = cleaning.keep, cleaning.labels
    assert keep.dtype == bool
    assert len(keep) == len(labels) == len(ROWS)
    kept = {name for name, stays in zip(IDS, keep, strict=True) if stays}
    return kept, {name: label for name, label in zip(IDS, labels, strict=True) if label is not None}


def test_prune_drops_every_flagged_row_and_changes_no_label():
    assert decide("prune") == ({"fine", "test", "val"}, {})


def test_correct_relabels_drops_and_leaves_reviews():
    kept, labels = decide("correct")
    assert kept == set(IDS) - {"alien", "broken", "twin"}
    assert labels == {"wrong": "cat", "unsure": "cat", "unlabeled": "cat"}


def test_correct_prune_relabels_what_is_clear_and_drops_the_other_flagged_rows():
    kept, labels = decide("correct-prune")
    assert labels == decide("correct")[1]
    assert kept == decide("prune")[0] | labels.keys()
    kept, labels = decide("correct-prune", min_confidence=0.65)
    assert labels == {"wrong": "cat", "unlabeled": "cat"}
    assert kept == {
        "fine",
        "wrong",
        "look",
        "unlabeled",
        "test",
        "val",
    }


def test_min_confidence_spares_what_is_less_sure_but_not_facts():
    kept, labels = decide("correct", min_confidence=0.9)
    assert labels == {"wrong": "cat"}  # 0.9 reaches 0.9, though the report holds float32
    assert kept == set(IDS) - {"alien", "broken", "twin"}
    kept, _ = decide("prune", min_confidence=0.9)
    assert kept == {"fine", "unsure", "look", "unlabeled", "test", "val"}


def test_held_back_splits_change_only_when_named():
    kept, labels = decide("prune", include_splits=["TEST"])
    assert kept == {"fine", "val"}
    kept, labels = decide("correct", include_splits=["test", "val"])
    assert labels.keys() >= {"test", "val"}


def test_a_split_that_does_not_exist_is_an_error():
    with pytest.raises(ConfigError, match="no row has the split 'tset'") as error:
        decide("prune", include_splits=["tset", "val"])
    assert "'Test', 'val'" in error.value.hint


def test_a_relabel_without_a_suggestion_keeps_the_label():
    table = make_report([mislabel("a", suggested_label=None, suggestion_confidence=None)]).table
    for policy, keep in (("correct", True), ("correct-prune", False)):
        cleaning = apply_policy(table, np.array([False]), policy)
        assert cleaning.keep.tolist() == [keep]
        assert cleaning.labels == [None]


def test_weight_keeps_all_rows_and_trusts_them_as_far_as_the_report():
    rows = [row("fine", weight=0.97), mislabel("wrong", weight=0.05), mislabel("test", weight=0.1, split="test")]
    cleaning = apply_policy(make_report(rows).table, np.array([False, False, True]), "weight")
    assert cleaning.keep.all()
    assert cleaning.labels == [None] * 3
    assert cleaning.weights == pytest.approx([0.97, 0.05, 1])  # test rows stay as they are
    cleaning = apply_policy(make_report(rows).table, np.array([False, False, True]), "weight", min_confidence=0.9)
    assert cleaning.weights == pytest.approx([1, 0.05, 1])
    with pytest.raises(ConfigError, match="drops nothing"):
        apply_policy(make_report(rows).table, np.zeros(3, bool), "weight", max_drop_per_class=0.5)


def test_the_cap_keeps_the_least_confident_drops_of_each_class():
    dogs = [mislabel(f"dog{p}", p_mislabel=p) for p in (0.6, 0.9, 0.7, 0.8)] + [row(f"dog{i}") for i in range(6)]
    cats = [mislabel("cat", given_label="cat", suggested_label="dog"), row("cat2", given_label="cat")]
    broken = [row("broken", issue="unreadable", action="drop", is_label_issue=None, p_mislabel=None)]
    table = make_report(dogs + cats + broken).table

    def gone(share, held_back=(), **options):
        held = np.isin(table["id"].to_pylist(), held_back)
        cleaning = apply_policy(table, held, "prune", max_drop_per_class=share, **options)
        return {id for id, keep in zip(table["id"].to_pylist(), cleaning.keep, strict=True) if not keep}

    assert gone(1) == {"dog0.6", "dog0.7", "dog0.8", "dog0.9", "cat", "broken"}
    assert gone(0.5) == gone(1)
    assert gone(0.3) == {"dog0.9", "dog0.8", "broken"}  # 3 of 11 dogs, the broken one first; 0 of 2 cats
    assert gone(0) == {"broken"}  # nothing can be done with it
    assert gone(0.3, ["dog0", "dog1"]) == {"dog0.9", "broken"}  # 2 of 9 open to change
    person = Decision("dog0", "drop", "dog", reviewer="ann")
    assert gone(0.3, decisions=[person]) == {"dog0.9", "dog0", "broken"}  # what a person drops counts, and goes


def test_decisions_of_people_come_before_the_verdict():
    rows = [row("fine"), mislabel("kept"), mislabel("relabelled"), mislabel("unsure"), row("dropped"), mislabel("left")]
    decisions = [
        Decision("kept", "keep", "dog", reviewer="ann"),
        Decision("relabelled", "relabel", "dog", "owl", reviewer="ann"),
        Decision("unsure", "unsure", "dog", reviewer="ann"),
        Decision("dropped", "drop", "dog", reviewer="ann"),
        Decision("fine", "relabel", "dog", "dog", reviewer="ann"),
    ]
    table, held_back = make_report(rows).table, np.zeros(len(rows), bool)
    for policy, left in (("prune", False), ("correct", True)):
        cleaning = apply_policy(table, held_back, policy, decisions=decisions)
        assert cleaning.keep.tolist() == [True, True, True, True, False, left]
        assert cleaning.labels == [None, None, "owl", None, None, "cat" if left else None]
        assert cleaning.reviewers == ["ann"] * 5 + [None]
        assert cleaning.counts()["decided_by_people"] == 5
    weights = apply_policy(
        make_report([mislabel("a", weight=0.1), mislabel("b", weight=0.1)]).table,
        np.zeros(2, bool),
        "weight",
        decisions=[Decision("a", "keep", "dog"), Decision("b", "unsure", "dog")],
    ).weights
    assert weights == pytest.approx([1, 0.1])


def test_reviewers_vote():
    table = make_report([mislabel("a"), mislabel("b")]).table
    votes = [
        *(Decision("a", "drop", "dog", reviewer=name) for name in ("ann", "bob")),
        Decision("a", "keep", "dog", reviewer="cid"),
        Decision("b", "drop", "dog", reviewer="ann"),
        Decision("b", "keep", "dog", reviewer="bob"),
    ]
    cleaning = apply_policy(table, np.zeros(2, bool), "correct", decisions=votes)
    assert cleaning.keep.tolist() == [False, True]
    assert cleaning.labels == [None, None]  # a tie leaves the row as it is
    assert cleaning.reviewers == ["ann+bob", "ann+bob"]


def test_decisions_that_fit_no_row_are_passed_over_and_noted():
    table = make_report([mislabel("a"), mislabel("b"), mislabel("t", split="test")]).table
    held_back = np.array([False, False, True])
    decisions = [
        Decision("a", "keep", "cow", reviewer="ann"),  # was another label when ann looked
        Decision("gone", "drop", "dog", reviewer="ann"),
        Decision("t", "drop", "dog", reviewer="ann"),
    ]
    cleaning = apply_policy(table, held_back, "prune", decisions=decisions)
    assert cleaning.keep.tolist() == [False, False, True]
    assert cleaning.counts()["decided_by_people"] == 0
    assert [note.rpartition(": ")[2] for note in cleaning.notes] == ["'gone'", "'a'", "'t'"]
    cleaning = apply_policy(table, held_back, "prune", decisions=decisions, include_splits=["test"])
    assert not cleaning.keep[2] and cleaning.reviewers[2] == "ann"
    with pytest.raises(ConfigError, match="of 1 decision none is on a row of this report"):
        apply_policy(table, held_back, "prune", decisions=decisions[1:2])


def problem(cleaning_of, held_back=(), max_drop=None, **options):
    """What would be said instead of writing what the policy prune leaves of these rows."""
    report = make_report(cleaning_of)
    held = np.isin(report.table["id"].to_pylist(), held_back)
    cleaned = Cleaned(None, report.table, apply_policy(report.table, held, "prune", **options))
    error = cleaned.excess(max_drop)
    return "" if error is None else error.message.removeprefix("too many rows would be dropped, nothing is written: ")


def pets(dogs, cats, wrong_dogs, wrong_cats):
    make = [(mislabel if i < wrong_dogs else row)(f"dog{i}") for i in range(dogs)]
    return make + [(mislabel if i < wrong_cats else row)(f"cat{i}", given_label="cat") for i in range(cats)]


def test_the_limits_are_shares_of_all_rows_and_of_the_rows_of_a_class_that_may_change():
    assert problem(pets(8, 2, 3, 0)) == ""
    assert problem(pets(8, 2, 4, 0)) == "4 of 10 rows (40 %, the limit is 30 %)"
    assert problem(pets(8, 2, 1, 1)) == ""
    assert problem(pets(8, 2, 1, 2)) == "2 of 2 rows of class 'cat' (100 %, the limit is 50 %)"
    # held-back rows count among all rows, not among those of the class
    assert problem(pets(8, 3, 0, 1), held_back=["cat1"]) == ""
    assert problem(pets(8, 4, 0, 2), held_back=["cat2"]) == "2 of 3 rows of class 'cat' (66.7 %, the limit is 50 %)"
    # one limit for both
    assert problem(pets(8, 2, 6, 0), max_drop=0.75) == ""
    assert problem(pets(8, 2, 6, 0), max_drop=0.6) == "6 of 8 rows of class 'dog' (75 %, the limit is 60 %)"
    assert problem(pets(8, 2, 0, 1), max_drop=0.1) == "1 of 2 rows of class 'cat' (50 %, the limit is 10 %)"


def test_the_worst_classes_are_named_and_the_others_counted():
    rows = [mislabel(str(label), given_label=str(label)) for label in range(8)] + [row(f"ok{i}") for i in range(40)]
    said = problem(rows)
    assert said.count("of class") == 5 and said.endswith("; and 3 more")


def test_held_back_rows_alone_are_no_dataset():
    assert "empty dataset" in problem(pets(3, 3, 3, 0), held_back=["cat0", "cat1", "cat2"], max_drop=1.0)
    assert problem(pets(3, 3, 0, 0), held_back=[f"{pet}{i}" for pet in ("dog", "cat") for i in range(3)]) == ""


def test_decisions_of_people_are_not_counted():
    people = [Decision(f"dog{i}", "drop", "dog", reviewer="ann") for i in range(7)]
    assert problem(pets(8, 2, 8, 0), decisions=people) == ""
    assert problem(pets(8, 2, 8, 0), decisions=people[:4]) != ""

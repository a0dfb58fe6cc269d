"""Which rows an export changes."""

from __future__ import annotations

import numpy as np
import pytest
from cli_world import make_report, mislabel, row

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.exporters.policy import apply_policy

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


def decide(what, **options):
    keep, labels = apply_policy(make_report(ROWS).table, HELD_BACK, what, **options)
    assert keep.dtype == bool
    assert len(keep) == len(labels) == len(ROWS)
    kept = {name for name, stays in zip(IDS, keep, strict=True) if stays}
    return kept, {name: label for name, label in zip(IDS, labels, strict=True) if label is not None}


def test_pruned_drops_every_flagged_row_and_changes_no_label():
    assert decide("pruned") == ({"fine", "test", "val"}, {})


def test_corrected_relabels_drops_and_leaves_reviews():
    kept, labels = decide("corrected")
    assert kept == set(IDS) - {"alien", "broken", "twin"}
    assert labels == {"wrong": "cat", "unsure": "cat", "unlabeled": "cat"}


def test_min_confidence_spares_what_is_less_sure_but_not_facts():
    kept, labels = decide("corrected", min_confidence=0.9)
    assert labels == {"wrong": "cat"}  # 0.9 reaches 0.9, though the report holds float32
    assert kept == set(IDS) - {"alien", "broken", "twin"}
    kept, _ = decide("pruned", min_confidence=0.9)
    assert kept == {"fine", "unsure", "look", "unlabeled", "test", "val"}


def test_held_back_splits_change_only_when_named():
    kept, labels = decide("pruned", include_splits=["TEST"])
    assert kept == {"fine", "val"}
    kept, labels = decide("corrected", include_splits=["test", "val"])
    assert labels.keys() >= {"test", "val"}


def test_a_split_that_does_not_exist_is_an_error():
    with pytest.raises(ConfigError, match="no row has the split 'tset'") as error:
        decide("pruned", include_splits=["tset", "val"])
    assert "test, val" in error.value.hint


def test_a_relabel_without_a_suggestion_keeps_the_label():
    table = make_report([mislabel("a", suggested_label=None, suggestion_confidence=None)]).table
    keep, labels = apply_policy(table, np.array([False]), "corrected")
    assert keep.tolist() == [True]
    assert labels == [None]

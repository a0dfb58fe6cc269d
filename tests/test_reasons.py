"""Why a row is doubted: which reasons come first, which are left out, and what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cli_world import HOSTILE, make_report, mislabel, row

from cleanlab_lite.report.reasons import REASONS, in_one_sentence, order_reasons, sentence, to_show, why, with_context

NAMES = ("a", "b", "c", "d", "e")


def ordered(*args: Any, **options: Any) -> list[list[str]]:
    return order_reasons(*args, **options).to_pylist()


def masks(**rows):
    """Code -> (5,) bool, of the rows with that reason."""
    return {code: np.isin(NAMES, list(found)) for code, found in rows.items()}


EVERY = np.ones(len(NAMES), bool)


def test_the_rarer_reason_comes_first():
    found = ordered(masks(misaligned="abcde", thin_region="ab", abandoned="abc"), {}, EVERY)
    assert found[0] == ["thin_region", "abandoned", "misaligned"]
    assert found[4] == ["misaligned"]


def test_a_number_that_few_flagged_rows_reach_comes_first():
    reasons = masks(high_loss="abcde", negative_margin="abcde")
    strength = {"high_loss": np.array([9.0, 1, 2, 3, 4]), "negative_margin": np.array([1.0, 9, 8, 7, 6])}
    found = ordered(reasons, strength, EVERY)
    assert found[0] == ["high_loss", "negative_margin"] and found[1] == ["negative_margin", "high_loss"]


def test_rows_that_are_not_flagged_do_not_make_a_reason_common():
    flagged = np.isin(NAMES, ["a", "b", "c"])
    found = ordered(masks(misaligned="ade", thin_region="abc"), {}, flagged)
    assert found[0] == ["misaligned", "thin_region"]


def test_facts_come_first_and_what_is_beside_the_label_last():
    reasons = masks(near_duplicate="a", misaligned="abcde", duplicate_conflict="abcde", my_own="abcde")
    assert ordered(reasons, {}, EVERY)[0] == ["duplicate_conflict", "misaligned", "my_own", "near_duplicate"]


def test_the_order_is_that_of_the_rows_and_of_nothing_else():
    rng = np.random.default_rng(0)
    reasons = {code: rng.random(50) < 0.5 for code in REASONS}
    strength = {code: np.where(rng.random(50) < 0.8, rng.random(50), np.nan) for code in ("high_loss", "aum")}
    flagged, shuffled = rng.random(50) < 0.6, rng.permutation(50)
    found = ordered(reasons, strength, flagged)
    again = ordered(
        {code: reasons[code][shuffled] for code in reversed(reasons)},
        {code: values[shuffled] for code, values in strength.items()},
        flagged[shuffled],
    )
    assert again == [found[i] for i in shuffled]
    assert all(set(codes) == {code for code, held in reasons.items() if held[i]} for i, codes in enumerate(found))


CAT = {"top_labels": ["cat", "dog", "owl"], "top_probs": [0.7, 0.2, 0.1]}


@pytest.mark.parametrize(
    ("code", "kept", "dropped"),
    [
        ("confident_joint", {"predicted_label": "cat"} | CAT, {"predicted_label": "dog"} | CAT),
        ("confident_joint", {"predicted_label": "cat"}, {"predicted_label": "owl"} | CAT),
        ("negative_margin", {"aum": -0.1}, {"aum": 0.1}),
        ("never_learned", {"learned_epoch": None}, {"learned_epoch": 3}),
        ("neighbours_disagree", {"knn_agreement": 0.2}, {"knn_agreement": 0.8}),
        ("neighbours_unlike", {"knn_agreement": 0.2}, {"knn_agreement": 0.8}),
        (
            "neighbours_disagree",
            {"knn_label": "cat", "neighbor_labels": ["cat", "cat", "dog"]},
            {"knn_label": "cat", "neighbor_labels": ["cat", "dog", "dog"]},
        ),
        ("neighbours_disagree", {"knn_label": "cat"} | CAT, {"knn_label": "emu"} | CAT),
        ("prototypes_disagree", {"prototype_label": "cat"} | CAT, {"prototype_label": "emu"} | CAT),
        (
            "prototypes_disagree",
            {"prototype_similarity_given": 0.1, "prototype_similarity_suggested": 0.2},
            {"prototype_similarity_given": 0.3, "prototype_similarity_suggested": 0.2},
        ),
    ],
)
def test_what_the_numbers_of_the_row_contradict_is_not_shown(code, kept, dropped):
    assert to_show(row("a", reasons=[code]) | kept) == [code]
    assert to_show(row("a", reasons=[code]) | dropped) == []


def test_reasons_for_another_class_than_the_suggested_one_come_last():
    shown = mislabel("a", reasons=["neighbours_disagree", "high_loss"], knn_label="owl")
    assert to_show(shown) == ["high_loss", "neighbours_disagree"]
    assert to_show(shown | {"knn_label": "cat"}) == ["neighbours_disagree", "high_loss"]


def test_the_prediction_comes_last_where_it_is_the_suggestion_that_everyone_sees():
    shown = mislabel("a", reasons=["confident_joint", "high_loss"], predicted_label="cat")
    assert to_show(shown) == ["high_loss", "confident_joint"]


def test_reasons_of_one_kind_do_not_crowd_out_the_others():
    shown = mislabel("a", reasons=["negative_margin", "high_loss", "never_learned", "neighbours_disagree"])
    assert to_show(shown)[:2] == ["negative_margin", "neighbours_disagree"]


def test_sentences_have_their_numbers():
    rows = [
        mislabel(
            "a",
            reasons=["neighbours_disagree", "never_learned", "high_loss", "negative_margin"],
            neighbors=["b", "c", "d"],
            knn_label="cat",
            loss_mean=2.345,
            aum=-1.25,
        ),
        *(row(id, given_label="cat") for id in "bc"),
        row("d"),
    ]
    report = make_report(rows, proxy={"proxy": "cnn", "epochs": 16})
    (shown,) = with_context(report, report.flagged())
    assert why(shown) == [
        "2 of the 3 nearest rows are labelled cat",
        "The given label was never learned in 16 epochs",
        "The loss on the given label is high (2.35 nats)",
    ]
    assert (
        in_one_sentence(shown, 100)
        == "2 of the 3 nearest rows are labelled cat; the given label was never learned in 16 epochs"
    )
    assert in_one_sentence(shown, 10) == "2 of the 3 nearest rows are labelled cat"


def test_sentences_do_without_numbers_that_are_not_known():
    assert sentence("neighbours_disagree", {}) == "The nearest rows carry another label"
    assert sentence("never_learned", {}) == "The given label was never learned"


def test_labels_and_codes_are_no_templates():
    named = {"knn_label": "{epochs}%", "neighbor_labels": ["{epochs}%"], "epochs": 3}
    assert sentence("neighbours_disagree", named) == "All 1 nearest rows are labelled {epochs}%"
    assert sentence("{0}", {}) == "{0}" and HOSTILE in sentence(HOSTILE, {})


def test_a_flagged_row_without_a_reason_has_its_probabilities():
    said = "No sign stands out; most probable: cat 70 %, dog 20 %"
    assert why(mislabel("a", reasons=[]) | CAT) == [said]
    assert why(mislabel("a", reasons=["clipped"]) | CAT) == [said, "The sound is clipped"]  # which is no sign
    assert why(row("a", reasons=["clipped"]) | CAT) == ["The sound is clipped"]
    assert why(row("a") | CAT) == []
    assert in_one_sentence(row("a")) == ""

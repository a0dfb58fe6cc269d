"""The method card: it says what this run did, what that assumes and when it fails, on the page and in the terminal."""

from __future__ import annotations

import json
import re

import pytest
from cli_world import call, finished_run, make_report, mislabel, row, summary
from html_world import HOSTILE

from cleanlab_lite.report.method import method_card
from cleanlab_lite.report.page.html import build_page
from cleanlab_lite.run import RunFolder

MEDIAN = {"estimate": 0.12, "low": 0.08, "high": 0.2, "method": "median of estimators, hidden classes"}
RATE = {"planted": 0.11, "confusion": 0.12, "halves": None, "views": 0.13}
TRAINED = {
    "noise_rate": MEDIAN,
    "detectors": {"rate": RATE},
    "proxy": {"proxy": "cnn", "ensemble": 6, "epochs": 8},
    "views": {
        "encoder": {"head": 0.82, "networks": 0.84},
        "pixels": {"networks": 0.4, "left_out": True, "proxy": "lite0_tuned"},
    },
    "duplicates": {"rows": {"exact": 3, "perceptual": 1}},
}


def said(**values: object) -> str:
    return "\n".join(text for section in method_card(summary(**values)) for text in section.sentences)


def test_it_tells_the_views_the_estimators_and_the_copies_of_the_run():
    text = said(**TRAINED)
    assert "vectors of a pretrained encoder (regression in closed form 82.0 %, networks 84.0 %)" in text
    assert "(networks lite0_tuned left out: 40.0 % agreement" in text
    assert "6 cross-fitted networks of 8 epochs" in text
    assert "planted errors 11.0 %, confusion 12.0 %, views 13.0 %" in text and "halves 1" not in text
    assert "12.0 %, between 8.0 % and 20.0 %" in text
    assert "hiding classes" in text
    assert "4 rows with the content of another" in text
    assert "annotators" not in text


@pytest.mark.parametrize(
    ("looks_at", "words"),
    [
        (["encoder", "filters"], "The regression looks at all of them side by side"),
        (["encoder"], "looks at vectors of a pretrained encoder alone"),
    ],
)
def test_a_regression_on_two_views_is_one_ranking_and_says_what_it_looks_at(looks_at, words):
    closed = {"proxy": {"proxy": "ridge", "looks_at": looks_at, "epochs": 0}}
    views = {"views": {"encoder": {"head": 0.82}, "filters": {"head": 0.41}}}
    text = said(**TRAINED | closed | views)
    assert words in text and "put together" not in text


def test_the_upper_end_is_not_said_to_be_all_labels_that_predictions_differ_from():
    rate = {"rate": RATE | {"disagreement": 0.31}}
    assert "nearer to all labels that predictions differ from (31.0 %)" in said(**TRAINED | {"detectors": rate})
    assert "predictions differ from the more" in said(**TRAINED)  # of an earlier version


def test_it_says_that_less_is_believed_where_classes_have_few_rows():
    few, many = (said(**TRAINED | {"detectors": {"rate": RATE | {"rows": n, "classes": 20}}}) for n in (300, 6000))
    assert "Classes have 15 rows on average" in few and "rows on average" not in many


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("two clear groups", "two clear groups"),
        ("planted errors", "planted for one network"),
        ("Gaussian mixture, uncalibrated", "is not calibrated"),
        ("annotators and views", "how reliable each is"),
    ],
)
def test_every_way_of_calibrating_has_its_words(method, words):
    text = said(**TRAINED | {"noise_rate": MEDIAN | {"method": method}})
    assert words in text
    assert ("uncalibrated" in method) == ("Rely on the order" in text)
    assert "hiding classes" not in text
    assert ("unlike those that were planted" in text) == method.startswith("planted")


def test_nothing_learned_is_said_and_gives_no_rate():
    unknown = {"estimate": None, "low": 0.0, "high": 1.0, "method": "unknown: nothing was learned"}
    text = said(**TRAINED | {"noise_rate": unknown})
    assert "Nothing was learned" in text and "Noise rate:" not in text


def test_what_fails_here_comes_first():
    pair = {"a": "cat", "b": "dog", "rows_a": 9, "rows_b": 9, "a_like_b": 2.0, "b_like_a": 2.0}
    fails = method_card(summary(**TRAINED | {"views": {"vectors": {"head": 0.3}}, "overlaps": [pair]}))[-1].sentences
    here = [text for text in fails if text.startswith("Here")]
    assert fails[: len(here)] == here
    assert [bool(re.search(words, "\n".join(here))) for words in ("30.0 %", "2 classes have fewer", "1 pair")] == [
        True
    ] * 3


@pytest.mark.parametrize(
    ("unsure", "method", "told"), [(0.07, "median", True), (0.05, "median", False), (0.07, "two", False)]
)
def test_a_rate_of_errors_that_are_hardly_told_from_right_labels_may_be_too_low(unsure, method, told):
    rate = MEDIAN | {"method": {"median": MEDIAN["method"], "two": "two clear groups"}[method]}
    text = said(**TRAINED | {"noise_rate": rate, "detectors": {"rate": RATE | {"unsure": unsure}}})
    assert ("only its upper end, 20.0 %, held" in text) == told


def test_evidence_of_the_users_own_is_called_so():
    text = said(proxy=None, evidence=["pred_probs", "features"], noise_rate=MEDIAN)
    assert "You brought out-of-sample probabilities and features; nothing was trained" in text
    assert "no row's probabilities have seen its own label" in text


def test_the_page_holds_it_closed_and_escaped(tmp_path):
    views = {HOSTILE: {"head": 0.8}}
    run = finished_run(tmp_path / "run", make_report([mislabel("a"), row("b")], **TRAINED | {"views": views}))
    page = build_page(RunFolder(run)).decode()
    [card] = re.findall(r'<details class="card method">.*?</details>', page, re.DOTALL)
    assert " open" not in card.partition(">")[0]
    assert "<h3>When it fails</h3>" in card
    assert "<script" not in card and "<img" not in card and "&lt;img" in card


def test_report_prints_it_as_markdown_or_json(tmp_path, capsys):
    run = finished_run(tmp_path / "run", make_report([mislabel("a"), row("b")], **TRAINED))
    shown = call(capsys, "report", str(run), "--method").out
    assert shown.startswith("## How p_mislabel was made\n\n- ") and "## What it assumes" in shown
    found = json.loads(call(capsys, "report", str(run), "--method", "--json").out)
    assert all(f"- {text}." in shown for texts in found.values() for text in texts)

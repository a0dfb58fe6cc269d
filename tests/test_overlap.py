"""Classes that are taken for each other are told in one sentence; evenly spread errors, and one direction, are not."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from audit_world import vectors
from cli_world import call

import cleanlab_lite as cl
from cleanlab_lite.judge.posterior import between_classes
from cleanlab_lite.report.overlap import overlapping_pairs
from cleanlab_lite.run.summary import ClassNoise, ClassPair

NAMES = ("bee", "cat", "dog", "emu", "fox")
ROWS = dict.fromkeys(NAMES, 200)


def matrix(expected: np.ndarray) -> pa.Table:
    """expected[given, true]: rows off the diagonal."""
    given, true = np.nonzero(expected)
    names = np.array(NAMES)
    columns = {"given_label": names[given], "true_label": names[true], "expected_rows": expected[given, true]}
    return pa.table(columns)


def even(rows: float) -> np.ndarray:
    return np.where(np.eye(len(NAMES)) > 0, 180.0, rows)


def test_evenly_spread_errors_are_no_pair():
    rng = np.random.default_rng(0)
    for rows in (0.5, 5, 20):
        assert not any(overlapping_pairs(matrix(rng.poisson(even(rows)).astype(float)), ROWS) for _ in range(50))


def test_both_directions_make_a_pair():
    expected = even(3)
    expected[1, 2], expected[2, 1] = 30, 24
    assert overlapping_pairs(matrix(expected), ROWS) == [ClassPair("cat", "dog", 200, 200, 30, 24)]


def test_one_direction_is_no_pair():
    expected = even(12)
    expected[1, 2] = 60
    assert overlapping_pairs(matrix(expected), ROWS) == []


def test_few_rows_are_no_pair():
    expected = even(0) + 0.2
    expected[1, 2] = expected[2, 1] = 1.5
    assert overlapping_pairs(matrix(expected), dict.fromkeys(NAMES, 12)) == []


def test_of_two_classes_nothing_stands_out():
    table = pa.table({"given_label": ["a", "b"], "true_label": ["b", "a"], "expected_rows": [40.0, 40.0]})
    assert overlapping_pairs(table, {"a": 100, "b": 100}) == []


def test_the_sentence():
    assert ClassPair("cat", "lynx", 250, 1300, 31.4, 38.6).in_words == (
        "cat and lynx are taken for each other: about 31 of 250 rows of cat could be lynx, and 39 of 1,300 the other "
        "way round; merge them, clarify the guideline, or allow two labels"
    )


def test_a_class_of_few_rows_has_no_rate():
    assert ClassNoise("lynx", 7, 0, None, None, None).too_few == "too few to judge (n = 7)"
    assert ClassNoise("lynx", 10, 0, 0.1, 0.0, 0.2).too_few == ""


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Rows of five classes, of which cat and dog are the same; and a sixth of seven rows."""
    run = tmp_path_factory.mktemp("overlap") / "run"
    rng = np.random.default_rng(0)
    truth = np.append(rng.permutation(np.arange(1000) % 5), np.full(7, 5))
    features = vectors(np.where(truth == 2, 1, truth), d=16)
    names = np.array([*NAMES, "gnu"])[truth]
    cl.audit((features, names), out=run, preset="fast")
    return run


def test_an_audit_tells_of_overlapping_classes(audited, capsys):
    [pair] = json.loads(call(capsys, "report", audited, "--json").out)["overlaps"]
    assert (pair["a"], pair["b"]) == ("cat", "dog")
    text = call(capsys, "report", audited).out
    assert "  cat and dog are taken for each other: about " in text
    assert text.count("gnu: too few to judge (n = 7)") == 1


def test_rows_between_classes_that_are_one_are_ambiguous(audited):
    table = cl.Report.read(audited).table.select(["given_label", "issue", "is_label_issue", "p_mislabel"]).to_pylist()
    same = [row for row in table if row["given_label"] in ("cat", "dog")]
    assert sum(row["issue"] == "ambiguous" for row in same) > len(same) / 4
    assert sum(row["is_label_issue"] for row in same) < len(same) / 100
    assert sum(row["issue"] == "ambiguous" for row in table if row["given_label"] in ("bee", "emu", "fox")) < 6


def between(*, shared: float, both: bool = True, classes: int = 3) -> int:
    """How many of 40 rows of classes 0 and 1 are between them, if as much of P is shared."""
    labels, best = np.repeat([0, 1], 20), np.repeat([1, 0], 20)
    p = np.where((labels == 0) | both, shared, 0.01)
    return int(between_classes(labels, best, p, p, classes).sum())


def test_rows_are_between_two_classes_only_where_nothing_tells_them_apart():
    assert between(shared=0.5) == 40
    assert between(shared=0.1) == 0  # the classes differ
    assert between(shared=0.95) == 0  # and here the labels are wrong
    assert between(shared=0.5, both=False) == 0
    assert between(shared=0.5, classes=2) == 0


def test_the_page_tells_of_overlapping_classes(audited, capsys):
    page = audited.parent / "page.html"
    assert call(capsys, "report", audited, "--html", page).code == 0
    text = page.read_text("utf-8")
    assert "cat and dog are taken for each other" in text
    assert text.count("too few to judge (n = 7)") == 1

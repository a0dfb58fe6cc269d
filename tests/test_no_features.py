"""Rows that have neither files nor vectors, such as texts: labels, and what the user's own models say of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cli_world import call

import nlclean
from cleanlab_lite.errors import NlcleanError
from cleanlab_lite.run import RunFolder

CLASSES = ["praise", "question", "rant"]


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """300 texts, 24 of them with a wrong label, and probabilities that know it. The last two say the same."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    given = truth.copy()
    given[:24] = (given[:24] + 1) % 3
    truth[299] = truth[298]
    given[299] = (given[298] + 1) % 3
    probs = rng.dirichlet(np.ones(3), 300) * 0.3 + 0.7 * np.eye(3)[truth]
    said = [f"text number {row}" for row in range(299)] + ["text number 298"]
    frame = pd.DataFrame({"text": said, "label": np.array(CLASSES)[given]})
    return frame, given, probs


def found(report) -> set[int]:
    flagged = report.to_pandas()["is_label_issue"].to_numpy()
    return {*np.flatnonzero(flagged).tolist()}


def test_labels_and_probabilities_are_enough(texts):
    _, given, probs = texts
    report = nlclean.audit((None, given), classes=CLASSES, pred_probs=probs, progress=False)
    assert len(found(report) & set(range(24))) >= 22 and len(found(report)) <= 30
    assert found(nlclean.audit(None, given, classes=CLASSES, pred_probs=probs, progress=False)) == found(report)
    assert not any("decoded" in warning for warning in report.summary.warnings)
    assert report.page() is not None


def test_a_table_of_texts_and_texts_that_come_twice(texts, tmp_path, capsys):
    frame, _, probs = texts
    report = nlclean.audit(frame, pred_probs=probs, features="none", progress=False)
    issues = report.to_pandas()["issue"]
    assert set(issues[298:]) == {"duplicate_conflict"} and (issues[24:298] != "duplicate_conflict").all()
    frame.to_csv("texts.csv", index=False)
    pd.DataFrame(probs, columns=CLASSES).to_csv("p.csv", index=False)
    options = ["--pred-probs", "p.csv", "--features", "none", "--out", "run"]
    done = call(capsys, "audit", "texts.csv", *options)
    assert done.code == 0 and "neither files nor vectors" in done.err
    assert found(nlclean.Report.read("run")) == found(report)
    assert RunFolder("run").features is None
    tested = call(capsys, "selftest", "run")
    assert tested.code != 0 and "nothing could learn planted labels" in tested.err and "--pred-probs" not in tested.err
    for command in (
        ["report", "run", "--html", "page.html"],
        ["export", "run", "--policy", "correct"],
        ["check", "run"],
    ):
        assert call(capsys, *command).code == 0
    corrected = pd.read_csv("texts.corrected.csv")
    assert corrected["text"].tolist() == frame["text"].tolist()
    assert corrected["label"][298] == corrected["label"][299]


def test_what_is_missing_is_said(texts):
    frame, given, probs = texts
    with pytest.raises(NlcleanError) as error:
        nlclean.audit((None, given), progress=False)
    assert "neither files nor vectors" in str(error.value) and "pred_probs=" in error.value.hint
    with pytest.raises(NlcleanError) as error:
        nlclean.audit(frame, pred_probs=probs, progress=False)
    assert "features='none'" in error.value.hint
    with pytest.raises(NlcleanError, match="holds vectors"):
        nlclean.audit((probs, given), features="none", progress=False)

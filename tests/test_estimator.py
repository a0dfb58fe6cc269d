"""`LabelIssueDetector` finds planted errors, keeps the user's labels, and behaves as scikit-learn expects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from audit_world import CLASSES, OPTIONS, task, vectors
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from cleanlab_lite.config import AuditConfig
from cleanlab_lite.errors import ConfigError
from nlclean import LabelIssueDetector

CONFIG = AuditConfig(**OPTIONS)
TINY = AuditConfig(epochs=1, ensemble=2, batch_size=64, device="cpu")
TASK = task()
X, NAMES = vectors(TASK.truth), np.array(CLASSES)


# None is expected to fail. Those for classifiers, regressors and outlier detectors do not apply: `predict` is missing,
# because labels are judged and rows are not classified.
@pytest.mark.slow
@parametrize_with_checks([LabelIssueDetector(TINY)])
def test_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def fitted() -> LabelIssueDetector:
    return LabelIssueDetector(CONFIG).fit(X, NAMES[TASK.labels])


def test_planted_errors_come_first(fitted):
    assert set(fitted.ranking_[: len(TASK.wrong)]) == set(TASK.wrong)
    assert sorted(fitted.ranking_) == list(range(len(X)))
    assert np.flatnonzero(fitted.is_label_issue_).tolist() == TASK.wrong.tolist()
    assert fitted.p_mislabel_[TASK.wrong].min() > 0.5 > np.delete(fitted.p_mislabel_, TASK.wrong).max()
    assert fitted.label_scores_[TASK.wrong].max() < np.delete(fitted.label_scores_, TASK.wrong).min()
    assert abs(fitted.noise_rate_ - len(TASK.wrong) / len(X)) < 0.05


@pytest.mark.parametrize(
    "names",
    [NAMES, np.array([7, -3, 40]), np.array([True, False]), np.array(["b", "c", "a"], dtype=object)],
    ids=["str", "int", "bool", "object"],
)
def test_labels_come_back_in_the_type_of_the_user(names):
    binary = len(names) == 2
    truth, labels = (np.minimum(part, 1) if binary else part for part in (TASK.truth, TASK.labels))
    found = LabelIssueDetector(CONFIG).fit(X, names[labels])
    assert found.suggested_.dtype == names.dtype
    assert (found.suggested_ == names[truth]).mean() > 0.9
    assert found.classes_.tolist() == sorted(names.tolist())


def test_the_same_seed_gives_the_same(fitted):
    again = clone(fitted).fit(X, NAMES[TASK.labels])
    np.testing.assert_array_equal(again.p_mislabel_, fitted.p_mislabel_)
    other = LabelIssueDetector(CONFIG, random_state=1).fit(X, NAMES[TASK.labels])
    assert (other.p_mislabel_ != fitted.p_mislabel_).any()
    drawn = LabelIssueDetector(CONFIG, random_state=np.random.RandomState(3)).fit(X, NAMES[TASK.labels])
    assert set(drawn.ranking_[: len(TASK.wrong)]) == set(TASK.wrong)


@pytest.mark.parametrize("k", [2, 3])
def test_new_rows_fit_their_own_class_best(k):
    given = task(k=k)
    found = LabelIssueDetector(CONFIG).fit(vectors(given.truth), given.labels)
    new = vectors(given.truth, seed=1)
    scores = found.decision_function(new)
    assert scores.shape == (len(new), k)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1)
    assert (scores.argmax(axis=1) == given.truth).mean() > 0.98  # labels that are wrong have not pulled it away


def test_a_frame_keeps_its_column_names():
    frame = pd.DataFrame(X, columns=[f"x{column}" for column in range(X.shape[1])])
    found = LabelIssueDetector(CONFIG).fit(frame, pd.Series(NAMES[TASK.labels]))
    assert found.feature_names_in_.tolist() == list(frame.columns)


def test_too_few_rows():
    with pytest.raises(ConfigError, match="2 labelled rows"):
        LabelIssueDetector(AuditConfig(ensemble=3)).fit(X[:2], [0, 1])


@pytest.mark.parametrize(
    ("y", "said"),
    [([0] * len(X), "one class only"), (np.linspace(0, 1, len(X)), "continuous"), (None, "requires y")],
)
def test_what_is_no_labels(y, said):
    with pytest.raises(ValueError, match=said):
        LabelIssueDetector(TINY).fit(X, y)


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    LabelIssueDetector(TINY).fit(X, TASK.labels)
    assert list(tmp_path.iterdir()) == []

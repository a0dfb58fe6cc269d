"""True classes from labels that disagree: equal to the equations written out, and rates that were planted come back."""

from __future__ import annotations

import numpy as np
import pytest

from cleanlab_lite.judge import confusion
from cleanlab_lite.judge.confusion import confusion_em, dawid_skene


def em_written_out(q: np.ndarray, labels: np.ndarray, rounds: int = 100) -> np.ndarray:
    """(n,) probability of a wrong label with the whole k x k confusion."""
    n, k = q.shape
    t = np.full((k, k), 0.2 / (k - 1))
    np.fill_diagonal(t, 0.8)
    for _ in range(rounds):
        r = t[:, labels].T * q
        r /= r.sum(axis=1, keepdims=True)
        new = r.T @ np.eye(k)[labels] + 0.5 * np.eye(k) + 0.5 / k
        new /= new.sum(axis=1, keepdims=True)
        done, t = np.abs(new - t).max() < 1e-5, new
        if done:
            break
    r = t[:, labels].T * q
    return 1 - (r / r.sum(axis=1, keepdims=True))[np.arange(n), labels]


def voters(n: int, k: int, errors: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Votes (v, n) that are wrong independently, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    votes = [np.where(rng.random(n) < e, (truth + rng.integers(1, k, n)) % k, truth) for e in errors]
    return np.stack(votes), truth


def test_confusion_em_is_what_the_equations_say() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 4)) * 2
    labels = rng.integers(0, 4, 300)
    q = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(confusion_em(logits, labels), em_written_out(q, labels), atol=1e-9)


def test_confusion_em_finds_a_class_that_is_called_by_the_name_of_another() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 3000)
    renamed = (truth == 0) & (rng.random(3000) < 0.3)
    labels = np.where(renamed, 1, truth)
    logits = 3 * np.eye(3)[truth] + rng.normal(size=(3000, 3))
    p = confusion_em(logits, labels)
    assert p.mean() == pytest.approx(renamed.mean(), abs=0.02)
    assert p[labels == 2].mean() < 0.02


@pytest.mark.parametrize("errors", [[0.1, 0.2, 0.3], [0.4, 0.3, 0.3], [0.02, 0.3, 0.3, 0.4]])
def test_dawid_skene_finds_the_errors_of_the_first_voter(errors: list[float]) -> None:
    votes, truth = voters(5000, 6, errors)
    p = dawid_skene(votes, 6)
    assert p.mean() == pytest.approx(errors[0], abs=0.02)
    assert p[votes[0] != truth].mean() > p[votes[0] == truth].mean() + 0.3


@pytest.mark.parametrize("k", [2, 3])
def test_few_classes(k: int) -> None:
    votes, _ = voters(2000, k, [0.1, 0.1, 0.1])
    assert dawid_skene(votes, k).mean() == pytest.approx(0.1, abs=0.03)


def test_one_class_has_no_errors() -> None:
    assert not dawid_skene(np.zeros((3, 5), np.int64), 1).any()
    assert not confusion_em(np.zeros((5, 1)), np.zeros(5, np.int64)).any()


def test_of_many_classes_only_the_likely_ones_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    votes, truth = voters(3000, 30, [0.15, 0.2, 0.3])
    logits = 4 * np.eye(30)[votes[1]] + np.random.default_rng(2).normal(size=(3000, 30)) * 0.3
    whole = dawid_skene(votes, 30), confusion_em(logits, votes[0])
    monkeypatch.setattr(confusion, "MANY", 12)
    few = dawid_skene(votes, 30), confusion_em(logits, votes[0])
    assert few[0].mean() == pytest.approx(whole[0].mean(), abs=0.02)
    assert few[1].mean() == pytest.approx(whole[1].mean(), abs=0.03)
    assert few[0][votes[0] != truth].mean() > 0.8
    assert (few[0] >= 0).all() and (few[0] <= 1).all()


def test_thousands_of_classes_need_no_square_table() -> None:
    votes, _ = voters(2000, 50_000, [0.2, 0.2, 0.2])  # a table of 50,000 x 50,000 would be 20 GB
    assert dawid_skene(votes, 50_000).mean() == pytest.approx(0.2, abs=0.05)

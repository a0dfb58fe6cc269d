"""Consensus of several annotators: planted qualities come back, and every voice that knows something helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cleanlab_lite import crowd
from cleanlab_lite.crowd import find_consensus, majority
from cleanlab_lite.votes import Votes, confused


def voters(
    qualities: list[float], *, n: int = 1500, k: int = 5, per_item: int = 3, seed: int = 0
) -> tuple[Votes, np.ndarray]:
    """Votes on n items by some of the annotators each; who is wrong says any other class. And the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    who = np.sort(np.argsort(rng.random((n, len(qualities))), axis=1)[:, :per_item], axis=1).ravel()
    item = np.repeat(np.arange(n), per_item)
    wrong = rng.random(len(item)) > np.array(qualities)[who]
    said = np.where(wrong, (truth[item] + rng.integers(1, k, len(item))) % k, truth[item])
    return Votes(tuple(f"a{j}" for j in range(len(qualities))), item, who, said), truth


def seen(truth: np.ndarray, k: int, *, clearness: float = 2.5, seed: int = 1) -> np.ndarray:
    """(n, k) logits of a model that is right about half of the time, and knows how sure it may be."""
    logits = np.random.default_rng(seed).normal(size=(len(truth), k))
    logits[np.arange(len(truth)), truth] += clearness
    return logits * clearness


def right(label: np.ndarray, truth: np.ndarray) -> float:
    return float((label == truth).mean())


CROWDS = {
    "three, an adversary among them": [0.9, 0.8, 0.1],
    "five with a spammer and an adversary": [0.9, 0.8, 0.7, 0.2, 0.05],
    "seven": [0.95, 0.9, 0.8, 0.7, 0.6, 0.2, 0.1],
}


@pytest.mark.parametrize("name", CROWDS)
@pytest.mark.parametrize("few_numbers", [False, True])
def test_planted_qualities_come_back_and_every_voice_helps(monkeypatch, name, few_numbers):
    if few_numbers:
        monkeypatch.setattr(crowd, "LARGEST", 1)  # as with thousands of classes: one number per annotator
    votes, truth = voters(CROWDS[name])
    n, k = len(truth), 5
    alone, both = find_consensus(votes, n, k), find_consensus(votes, n, k, seen(truth, k, clearness=1.5))
    for found in (alone, both):
        np.testing.assert_allclose(found.accuracy, CROWDS[name], atol=0.05)
    most, by_votes, by_all = majority(votes, n, k), *(np.asarray(each).argmax(axis=1) for each in (alone, both))
    assert right(by_votes, truth) > right(most, truth) + 0.01
    assert right(by_all, truth) > right(by_votes, truth) + 0.005
    posterior = np.asarray(both)
    assert posterior.max(axis=1).mean() == pytest.approx(right(by_all, truth), abs=0.03)  # it knows how sure it is
    assert posterior.sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("few_numbers", [False, True])
def test_voices_that_err_on_the_same_items_are_believed_less(monkeypatch, few_numbers):
    if few_numbers:
        monkeypatch.setattr(crowd, "LARGEST", 1)
    votes, truth = voters([0.95, 0.9, 0.85])
    n, k = len(truth), 5
    rng = np.random.default_rng(4)
    hard, like = rng.random(n) < 0.25, (truth + rng.integers(1, k, n)) % k
    misled = hard[votes.item] & (rng.random(len(votes)) < 0.4)
    votes = Votes(votes.annotators, votes.item, votes.annotator, np.where(misled, like[votes.item], votes.label))
    found = find_consensus(votes, n, k, seen(np.where(hard & (rng.random(n) < 0.4), like, truth), k, clearness=1.5))
    accuracy = right(np.asarray(found).argmax(axis=1), truth)

    def too_sure(each: crowd.Consensus) -> float:
        return float(np.asarray(each).max(axis=1).mean()) - accuracy

    assert found.power < 0.9
    assert too_sure(found) < 0.75 * too_sure(replace(found, power=1.0))


def test_a_model_is_trusted_as_far_as_the_votes_confirm_it():
    votes, truth = voters([0.85, 0.8, 0.75])
    n, k = len(truth), 5
    logits = seen(truth, k)
    honest = find_consensus(votes, n, k, logits)
    loud = find_consensus(votes, n, k, 5 * logits)
    assert honest.trust == pytest.approx(1, abs=0.25)
    assert loud.trust == pytest.approx(honest.trust / 5, rel=0.05)
    np.testing.assert_allclose(np.asarray(loud), np.asarray(honest), atol=0.01)

    nonsense = np.random.default_rng(3).normal(size=(n, k)) * 5
    ignored = find_consensus(votes, n, k, nonsense)
    assert ignored.trust < 0.1
    label = np.asarray(ignored).argmax(axis=1)
    assert right(label, truth) == pytest.approx(
        right(np.asarray(find_consensus(votes, n, k)).argmax(axis=1), truth), abs=0.01
    )


def test_systematic_mistakes_are_undone():
    """An annotator who calls every dog a cat is right about the others, and a cat of theirs may be a dog."""
    votes, truth = voters([0.95, 0.95, 0.95], k=3)
    said = votes.label.copy()
    theirs = (votes.annotator == 0) & (truth[votes.item] == 1)
    said[theirs] = 0
    crowd_of_three = Votes(votes.annotators, votes.item, votes.annotator, said)
    found = find_consensus(crowd_of_three, len(truth), 3)
    label = np.asarray(found).argmax(axis=1)
    assert right(label, truth) > 0.97
    assert confused(crowd_of_three, label, 0)[0][:2] == (1, 0)


def test_of_few_votes_on_many_classes_no_confusions_are_learned_by_heart():
    k = 40
    votes, truth = voters([0.9, 0.7, 0.6], k=k, n=1200)
    posterior = np.asarray(find_consensus(votes, len(truth), k))
    assert posterior.max(axis=1).mean() == pytest.approx(right(posterior.argmax(axis=1), truth), abs=0.03)


def test_a_single_vote_of_a_new_annotator_makes_nobody_perfect():
    votes, truth = voters([0.7, 0.7, 0.7], n=300)
    more = Votes(
        (*votes.annotators, "new"),
        np.append(votes.item, len(truth) - 1),
        np.append(votes.annotator, 3),
        np.append(votes.label, truth[-1]),
    )
    found = find_consensus(more, len(truth), 5)
    assert found.accuracy[3] == pytest.approx(found.accuracy[:3].mean(), abs=0.05)


def test_rows_that_the_model_cannot_read_have_their_votes():
    votes, truth = voters([0.9, 0.8, 0.7])
    logits = seen(truth, 5)
    logits[:100] = np.nan
    posterior = np.asarray(find_consensus(votes, len(truth), 5, logits))
    assert np.isfinite(posterior).all()
    assert right(posterior[:100].argmax(axis=1), truth[:100]) > 0.85


def test_majority_breaks_ties_by_reliability():
    votes, truth = voters([0.95, 0.9, 0.4], per_item=2)
    label = majority(votes, len(truth), 5)
    said, who = votes.label.reshape(-1, 2), votes.annotator.reshape(-1, 2)
    tied = said[:, 0] != said[:, 1]
    assert (label == said[:, 0])[tied & (who[:, 1] == 2)].mean() > 0.9  # the third is the worst
    assert (label == said[:, 0])[~tied].all()


def test_no_votes_no_label():
    votes = Votes(("a", "b"), np.array([1, 1]), np.array([0, 1]), np.array([2, 2]))
    assert majority(votes, 3, 3).tolist() == [-1, 2, -1]
    part = votes.select(np.array([1, 0]), 3)
    assert part.item.tolist() == [0, 0] and part.counts(2).tolist() == [2, 0]

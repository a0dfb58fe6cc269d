"""The true classes from labels that disagree, by expectation and maximisation; no clean label is needed.

`confusion_em` believes in the probabilities of one classifier and learns how the true classes are confused in the given
labels. `dawid_skene` (Dawid and Skene, 1979) believes in nobody: every voter has one error rate and confusions of its
own, learned from how the voters agree. It counts what each gets wrong alone; what all get wrong together it cannot see.

Letters: n rows, k classes, v voters, c candidate classes of a row. Confusions are held only where they occur, so that
thousands of classes fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from cleanlab_lite.arrays import Matrix, per_row

MANY = 128  # classes up to which each is a candidate of every row
RIGHT = 0.8  # of the given labels, to begin with


@dataclass(frozen=True)
class Cells:
    """The cells (true class, label) of a k x k table that occur among rows with candidate classes."""

    index: np.ndarray  # (n, c) int64, of the u cells
    true: np.ndarray  # (u,) int64
    diagonal: np.ndarray  # (u,) bool, where the label is the true class
    k: int

    @classmethod
    def of(cls, candidates: np.ndarray, labels: np.ndarray, k: int) -> Cells:
        """candidates (n, c), labels (n,)."""
        cells, index = np.unique(candidates.astype(np.int64) * k + labels[:, None], return_inverse=True)
        return cls(index.reshape(candidates.shape), cells // k, cells // k == cells % k, k)

    def sums(self, weight: np.ndarray) -> np.ndarray:
        """(u,) the weight (n, c) in each cell."""
        return np.bincount(self.index.ravel(), weights=weight.ravel(), minlength=len(self.true))

    def rows(self, values: np.ndarray) -> np.ndarray:
        """(k,) sum of values (u,) over the labels of each true class."""
        return np.bincount(self.true, weights=values, minlength=self.k)


def confusion_em(logits: Matrix, labels: np.ndarray, rounds: int = 100) -> np.ndarray:
    """(n,) probability that the given label is wrong, from fixed logits (n, k) and one learned confusion."""
    n, k = logits.shape
    if k == 1:
        return np.zeros(n)
    candidates = per_row(likely_classes, logits, labels)
    prior = per_row(_prior, logits, candidates)
    cells = Cells.of(candidates, labels, k)
    confusion = np.where(cells.diagonal, RIGHT, (1 - RIGHT) / (k - 1))
    for _ in range(rounds):
        posterior = _normalised(confusion[cells.index] * prior)
        counts = cells.sums(posterior)
        new = (counts + 0.5 * cells.diagonal + 0.5 / k) / (cells.rows(counts) + 1)[cells.true]
        done, confusion = np.abs(new - confusion).max() < 1e-5, new
        if done:
            break
    posterior = _normalised(confusion[cells.index] * prior)
    return 1 - posterior[candidates == labels[:, None]]


def _prior(logits: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """(n, c) float64 probabilities of the candidates (n, c) by logits (n, k)."""
    return softmax(np.take_along_axis(logits, candidates, axis=1).astype(np.float64), axis=1)


def dawid_skene(votes: np.ndarray, k: int, rounds: int = 60) -> np.ndarray:
    """(n,) probability that the first vote is wrong, from votes (v, n)."""
    if k == 1:
        return np.zeros(votes.shape[1])
    patterns, place, size = np.unique(votes, axis=1, return_inverse=True, return_counts=True)
    candidates = patterns.T if k > MANY else np.broadcast_to(np.arange(k), (patterns.shape[1], k))
    repeated = _repeats(candidates) if k > MANY else np.zeros(candidates.shape, dtype=bool)
    cells = [Cells.of(candidates, vote, k) for vote in patterns]
    voted = [candidates == vote[:, None] for vote in patterns]
    posterior = np.where(repeated, 0, np.sum(voted, axis=0) + 0.1)
    posterior /= posterior.sum(axis=1, keepdims=True)
    for _ in range(rounds):
        weight = posterior * size[:, None]
        share = np.bincount(candidates.ravel(), weights=weight.ravel(), minlength=k) / size.sum()
        log_p = np.where(repeated, -np.inf, np.log(share + 1e-9)[candidates])
        for cell, agree in zip(cells, voted, strict=True):
            log_p = log_p + np.log(_voter(cell, agree, weight) + 1e-12)
        new = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        new /= new.sum(axis=1, keepdims=True)
        done, posterior = np.abs(new - posterior).max() < 1e-4, new
        if done:
            break
    return (1 - (posterior * voted[0]).sum(axis=1))[place.ravel()]


def likely_classes(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n, c) all classes, or of more than `MANY` the given one and the others that are most probable."""
    n, k = logits.shape
    if k <= MANY:
        return np.broadcast_to(np.arange(k), (n, k))
    others = -logits
    others[np.arange(n), labels] = np.inf
    top = np.argpartition(others, MANY - 1, axis=1)[:, : MANY - 1]
    return np.concatenate([labels[:, None], top], axis=1)


def _voter(cells: Cells, agree: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n, c) chance of one voter's vote if the candidate is the true class.

    agree (n, c) bool: the candidate is what was voted for. weight (n, c): posterior, times the rows that are alike.
    """
    total = weight.sum()
    error = np.clip(1 - ((weight * agree).sum() + 0.5) / (total + 1), 1e-3, 0.95)
    counts = np.where(cells.diagonal, 0, cells.sums(weight))
    row = cells.rows(counts)
    smoothed = counts + (0.2 * row / (cells.k - 1) + 0.5 / cells.k)[cells.true]
    chance = smoothed / (1.2 * row + 0.5 * (cells.k - 1) / cells.k)[cells.true]
    return np.where(agree, 1 - error, error * chance[cells.index])


def _repeats(candidates: np.ndarray) -> np.ndarray:
    """(n, c) bool: the class is in an earlier column of the row too."""
    return np.stack(
        [(candidates[:, :j] == candidates[:, j : j + 1]).any(axis=1) for j in range(candidates.shape[1])], axis=1
    )


def _normalised(p: np.ndarray) -> np.ndarray:
    return p / np.maximum(p.sum(axis=1, keepdims=True), 1e-12)

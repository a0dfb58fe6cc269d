"""The true classes from labels that disagree, by expectation and maximisation; no clean label is needed.

`confusion_em` believes in the probabilities of one classifier and learns how the true classes are confused in the given
labels. `dawid_skene` (Dawid and Skene, 1979) believes in nobody: every voter has one error rate and confusions of its
own, learned from how the voters agree. It counts what each gets wrong alone; what all get wrong together it cannot see.

Letters: n rows, k classes, v voters, c candidate classes of a row. Confusions are held only where they occur, so that
thousands of classes fit.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.special import softmax

from cleanlab_lite.matrices import Matrix, per_row

MANY = 128  # classes up to which each is a candidate of every row
RIGHT = 0.8  # of the given labels, to begin with
ROUNDS, ROUNDS_OF_VOTERS = 100, 60  # at most


class Cells:
    """The cells (true class, label) of a k x k table that occur among rows with candidate classes."""

    def __init__(self, candidates: np.ndarray, labels: np.ndarray, k: int) -> None:
        """candidates (n, c), labels (n,)."""
        cells, index = np.unique(candidates.astype(np.int64) * k + labels[:, None], return_inverse=True)
        self.k = k
        self.true = cells // k  # (u,) int64
        self.diagonal = cells // k == cells % k  # (u,) bool, where the label is the true class
        self._index = index.reshape(candidates.shape)  # (n, c) of the u cells

    def sums(self, weight: np.ndarray) -> np.ndarray:
        """(u,) the weight (n, c) in each cell."""
        return np.bincount(self._index.ravel(), weights=weight.ravel(), minlength=len(self.true))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """(n, c) the values (u,) of the cells of each row."""
        return values[self._index]

    def rows(self, values: np.ndarray) -> np.ndarray:
        """(k,) sum of values (u,) over the labels of each true class."""
        return np.bincount(self.true, weights=values, minlength=self.k)


class Table(Cells):
    """All cells of the table, label by label: each class is a candidate of every row, in order."""

    def __init__(self, labels: np.ndarray, k: int) -> None:
        self.k, self._labels = k, labels
        self.true = np.tile(np.arange(k), k)
        self.diagonal = np.eye(k, dtype=bool).ravel()
        self._by_label = csr_array((np.ones(len(labels)), (labels, np.arange(len(labels)))), shape=(k, len(labels)))

    def sums(self, weight: np.ndarray) -> np.ndarray:
        return (self._by_label @ weight).ravel()

    def spread(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(self.k, self.k)[self._labels]


def cells_of(candidates: np.ndarray, labels: np.ndarray, k: int) -> Cells:
    """candidates (n, c) as `likely_classes` makes them, labels (n,)."""
    return Table(labels, k) if k <= MANY else Cells(candidates, labels, k)


def confusion_em(logits: Matrix, labels: np.ndarray) -> np.ndarray:
    """(n,) probability that the given label is wrong, from fixed logits (n, k) and one learned confusion."""
    n, k = logits.shape
    if k == 1:
        return np.zeros(n)
    candidates = per_row(likely_classes, logits, labels)
    prior = per_row(_prior, logits, candidates)
    cells = cells_of(candidates, labels, k)
    confusion = np.where(cells.diagonal, RIGHT, (1 - RIGHT) / (k - 1))
    for _ in range(ROUNDS):
        posterior = _normalised(cells.spread(confusion) * prior)
        counts = cells.sums(posterior)
        new = (counts + 0.5 * cells.diagonal + 0.5 / k) / (cells.rows(counts) + 1)[cells.true]
        done, confusion = np.abs(new - confusion).max() < 1e-5, new
        if done:
            break
    posterior = _normalised(cells.spread(confusion) * prior)
    return 1 - posterior[candidates == labels[:, None]]


def _prior(logits: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """(n, c) float64 probabilities of the candidates (n, c) by logits (n, k)."""
    return softmax(np.take_along_axis(logits, candidates, axis=1).astype(np.float64), axis=1)


def dawid_skene(votes: np.ndarray, k: int) -> np.ndarray:
    """(n,) probability that the first vote is wrong, from votes (v, n)."""
    if k == 1:
        return np.zeros(votes.shape[1])
    patterns, place, size = np.unique(votes, axis=1, return_inverse=True, return_counts=True)
    candidates = patterns.T if k > MANY else np.broadcast_to(np.arange(k), (patterns.shape[1], k))
    repeated = _repeats(candidates) if k > MANY else np.zeros(candidates.shape, dtype=bool)
    cells = [cells_of(candidates, vote, k) for vote in patterns]
    support = np.sum([cell.spread(cell.diagonal) for cell in cells], axis=0)
    posterior = np.where(repeated, 0, support + 0.1)
    posterior /= posterior.sum(axis=1, keepdims=True)
    for _ in range(ROUNDS_OF_VOTERS):
        weight = posterior * size[:, None]
        share = np.bincount(candidates.ravel(), weights=weight.ravel(), minlength=k) / size.sum()
        log_p = np.where(repeated, -np.inf, np.log(share + 1e-9)[candidates])
        for cell in cells:
            log_p += cell.spread(np.log(_voter(cell, weight) + 1e-12))
        new = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        new /= new.sum(axis=1, keepdims=True)
        done, posterior = np.abs(new - posterior).max() < 1e-4, new
        if done:
            break
    return (1 - (posterior * (candidates == patterns[0][:, None])).sum(axis=1))[place.ravel()]


def likely_classes(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n, c) all classes, or of more than `MANY` the given one and the others that are most probable."""
    n, k = logits.shape
    if k <= MANY:
        return np.broadcast_to(np.arange(k), (n, k))
    others = -logits
    others[np.arange(n), labels] = np.inf
    top = np.argpartition(others, MANY - 1, axis=1)[:, : MANY - 1]
    return np.concatenate([labels[:, None], top], axis=1)


def _voter(cells: Cells, weight: np.ndarray) -> np.ndarray:
    """(u,) chance of one voter's vote if the candidate is the true class, of each cell.

    weight (n, c): posterior, times the rows that are alike.
    """
    counts = cells.sums(weight)
    error = np.clip(1 - (counts[cells.diagonal].sum() + 0.5) / (counts.sum() + 1), 1e-3, 0.95)
    counts = np.where(cells.diagonal, 0, counts)
    row = cells.rows(counts)
    smoothed = counts + (0.2 * row / (cells.k - 1) + 0.5 / cells.k)[cells.true]
    chance = smoothed / (1.2 * row + 0.5 * (cells.k - 1) / cells.k)[cells.true]
    return np.where(cells.diagonal, 1 - error, error * chance)


def _repeats(candidates: np.ndarray) -> np.ndarray:
    """(n, c) bool: the class is in an earlier column of the row too."""
    return np.stack(
        [(candidates[:, :j] == candidates[:, j : j + 1]).any(axis=1) for j in range(candidates.shape[1])], axis=1
    )


def _normalised(p: np.ndarray) -> np.ndarray:
    return p / np.maximum(p.sum(axis=1, keepdims=True), 1e-12)

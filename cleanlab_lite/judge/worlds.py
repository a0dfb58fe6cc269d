"""Worlds whose truth is known: wrong labels planted into a user's own, to see what an audit makes of them.

The user's labels hold errors already, and nobody knows which. A world begins with a draw of the truth: every row keeps
its label with probability 1 - p_mislabel, and takes the most probable other class else. As far as p is right, the rows
that kept theirs are a fair sample of the right ones: of hard rows as many as are right. Those that took another stay in
the set, so that an audit learns as much as from the real one, but no error is planted on them and they do not count.

What simpler choices do (benchmarks/RESULTS.md, "Self-test"):

- Suspects count as right. Real errors that are found then pass for false alarms: precision and AP are far too low.
- All suspects are left out. So are the right rows that an audit takes for wrong: precision and AP are too high.
- Suspects keep their labels and do not count. Errors are twice as many as in the real set while the audit learns.

What bias is left: where p is too low for real errors, these count as right rows, and precision comes out too low; where
p is too high for hard right rows, too few of them are there, and it comes out too high. Planted errors fall on rows of
all kinds; people err more on hard rows, so recall comes out too high where errors are a matter of the row.

Letters: n rows, k classes, v neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cleanlab_lite.arrays import draw

FEWEST_CLASSES = 4  # with fewer, hiding one leaves no choice
MOST_HIDDEN = 0.5  # share of the classes, to find rows of no class
TRACE = 1e-6  # weight of a class that nothing speaks for, so that every row can be given another label


@dataclass(frozen=True)
class Drawn:
    """A truth drawn for n rows."""

    labels: np.ndarray  # (n,) int64, -1 where there is none
    kept: np.ndarray  # (n,) bool: rows whose own label was drawn; errors are planted on some, and all of them count


@dataclass(frozen=True)
class World:
    """Labels of which it is known which are wrong."""

    labels: np.ndarray  # (n,) int64 to be audited, -1 where there is none; classes are numbered anew if any is hidden
    true: np.ndarray  # (n,) int64, -1 for rows of no class and for rows that do not count
    planted: np.ndarray  # (n,) bool, wrong
    counts: np.ndarray  # (n,) bool: rows of which it is known whether they are wrong
    visible: np.ndarray  # (c,) int64, the classes that are left


@dataclass(frozen=True)
class Shape:
    """What planted errors look like."""

    name: str
    summary: str
    plant: Callable[[Drawn, int, np.ndarray, np.ndarray, np.random.Generator], World | None]


def draw_truth(labels: np.ndarray, p: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> Drawn:
    """Keep each label with probability 1 - p.

    Args:
        labels: (n,) int64, -1 where there is none.
        p: (n,) probability that it is wrong, NaN where a row was not judged; it keeps its label and does not count.
        other: (n,) int64, the most probable other class, -1 where none is known: then the row has no label.
    """
    judged = (labels >= 0) & np.isfinite(p)
    replaced = judged & (rng.random(len(labels)) < p)
    return Drawn(np.where(replaced, other, labels), judged & ~replaced)


def like_matrix(
    drawn: Drawn, count: int, matrix: np.ndarray, neighbors: np.ndarray, rng: np.random.Generator
) -> World | None:
    """Classes are mistaken for each other as often as `matrix` (k, k) says, P(given | true)."""
    off = np.where(np.eye(len(matrix), dtype=bool), 0, matrix) + TRACE
    often = off.sum(axis=1)
    return _planted(drawn, count, often[drawn.labels], lambda rows: off[drawn.labels[rows]], len(matrix), rng)


def like_similar(
    drawn: Drawn, count: int, matrix: np.ndarray, neighbors: np.ndarray, rng: np.random.Generator
) -> World | None:
    """A row takes the label of one of its nearest rows that have another, `neighbors` (n, v); any row may."""
    k = len(matrix)
    return _planted(drawn, count, None, lambda rows: votes(drawn.labels, neighbors[rows], k) + TRACE, k, rng)


def uniform(
    drawn: Drawn, count: int, matrix: np.ndarray, neighbors: np.ndarray, rng: np.random.Generator
) -> World | None:
    """Any row takes any other label."""
    k = len(matrix)
    return _planted(drawn, count, None, lambda rows: np.ones((len(rows), k)), k, rng)


def of_no_class(
    drawn: Drawn, count: int, matrix: np.ndarray, neighbors: np.ndarray, rng: np.random.Generator
) -> World | None:
    """Classes are taken out of the vocabulary, and their rows take labels of their nearest rows of other classes.

    Classes are hidden in random order until they have `count` rows; rows beyond that have no label. None where there
    are too few classes.
    """
    k = len(matrix)
    if k < FEWEST_CLASSES:
        return None
    order = rng.permutation(k)
    sizes = np.bincount(drawn.labels[drawn.kept], minlength=k)[order]
    enough = int(np.searchsorted(sizes.cumsum(), count)) + 1
    hidden = np.isin(np.arange(k), order[: min(enough, int(MOST_HIDDEN * k))])
    of_hidden = (drawn.labels >= 0) & hidden[drawn.labels]
    shown = np.where(of_hidden, -1, drawn.labels)
    strangers = Drawn(drawn.labels, drawn.kept & of_hidden)
    world = _planted(
        strangers, count, None, lambda rows: votes(shown, neighbors[rows], k) * ~hidden + TRACE * ~hidden, k, rng
    )
    number = np.where(hidden, -1, np.cumsum(~hidden) - 1)
    labels = np.where(world.labels >= 0, number[world.labels], -1)  # what is left of hidden classes: no label
    right = drawn.kept & ~of_hidden
    true = np.where(right, number[drawn.labels], -1)
    return World(labels, true, world.planted, world.planted | right, np.flatnonzero(~hidden))


SHAPES = (
    Shape("matrix", "between classes as the audit estimates it", like_matrix),
    Shape("similar", "labels of similar rows", like_similar),
    Shape("uniform", "any other label", uniform),
    Shape("no_class", "rows of classes that are hidden", of_no_class),
)


def votes(labels: np.ndarray, neighbors: np.ndarray, k: int) -> np.ndarray:
    """(r, k) how many of the neighbours (r, v) of some rows have each of the labels (n,)."""
    r, v = neighbors.shape
    given = np.where(neighbors >= 0, labels[neighbors], -1)
    known = given >= 0
    rows = np.repeat(np.arange(r), v).reshape(r, v)
    return np.bincount(rows[known] * k + given[known], minlength=r * k).reshape(r, k).astype(np.float64)


def _planted(
    drawn: Drawn,
    count: int,
    often: np.ndarray | None,
    weigh: Callable[[np.ndarray], np.ndarray],
    k: int,
    rng: np.random.Generator,
) -> World:
    """`count` of the kept rows with other labels.

    Args:
        often: (n,) how readily a row is taken; None: all alike.
        weigh: of rows (r,), how readily each takes a label (r, k).
    """
    chance = drawn.kept * (1.0 if often is None else often)
    rows = rng.choice(len(chance), min(count, int((chance > 0).sum())), replace=False, p=chance / chance.sum())
    weight = np.where(np.arange(k) == drawn.labels[rows, None], 0, weigh(rows))
    labels, planted = drawn.labels.copy(), np.zeros(len(chance), dtype=bool)
    labels[rows] = draw(weight, rng)
    planted[rows] = True
    return World(labels, np.where(drawn.kept, drawn.labels, -1), planted, drawn.kept, np.arange(k))

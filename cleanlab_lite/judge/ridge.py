"""Ridge regression of one-hot labels that predicts every row without the row itself and its copies.

With H the matrix that turns labels into fitted values, the prediction for row i of the regression that never saw it is
((H y)_i - h_i y_i) / (1 - h_i) (Allen's PRESS, 1974), and for the rows g of a group of copies
(I - H_gg)^-1 ((H y)_g - H_gg y_g): without the latter a copy answers for its twin. Neither depends on the labels left
out, so the margin of every label that a row might have had is known too.

The views stand side by side: rows of norm 1, columns centred and scaled, each view divided by the square root of its
width. They are read in blocks of rows, once for the products of columns with each other and with the labels, once for
the predictions; only min(n, d) x min(n, d) is held beside a block. Products are float32, their sums float64.

Letters: n rows, k classes, d columns of all views together, r components, b rows of a block, m rows of a group. A row
without a label (-1) is predicted but does not teach; a row with a value that is not finite is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import coo_array, csr_array

from cleanlab_lite.arrays import unit_rows
from cleanlab_lite.errors import EvidenceError
from cleanlab_lite.judge.neighbors import Search, nearest_neighbors, on_host
from cleanlab_lite.judge.random_features import RandomFeatures
from cleanlab_lite.matrices import Matrix, per_row

BLOCK = 4096  # rows, fewer where there are thousands of classes
BLOCK_CELLS = 1 << 21  # predictions of one head in a block
HELD_COMPONENTS = 1 << 25  # 128 MiB
SAMPLE, SAMPLE_CELLS, FEWEST = 20_000, 40_000_000, 2000  # rows by which a strength is chosen, at most and at least
VOTERS = 30  # nearest rows
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # of the penalty, in mean eigenvalues
FLAT = 0.05  # of the mean deviation of a view: columns that vary less are not blown up
ROUNDING = 1e-7  # of the largest eigenvalue: what float32 products leave of directions in which nothing varies
PRINCIPAL = 256  # components that are shared out between two halves
LEFT = 1 / 3  # of all that a penalty leaves, from which components that were not found make a difference
LEVERAGE = 0.999  # most that a row is said to answer for itself; where it is 1 nothing else speaks about it

Views = Sequence[Matrix]  # (n, d of the view), of any float type
Multiply = Callable[[np.ndarray, np.ndarray], np.ndarray]  # float32 matrices; on a GPU where there is one


@dataclass(frozen=True)
class Head:
    """One regression among those that a `Ridge` can do."""

    strength: float  # of the penalty, in mean eigenvalues of its components
    components: np.ndarray | None = None  # (c,) bool, those of the c first that it may use; None: all there are


@dataclass(frozen=True)
class Ridge:
    """Ridge regression of labels on views; held-out predictions of any labels cost one pass over the rows."""

    views: Views
    labels: np.ndarray  # (n,) int64, -1 where a row does not teach
    group: np.ndarray  # (n,) int64, rows with the same number are left out together
    readable: np.ndarray  # (n,) bool
    centre: np.ndarray  # (d,) float32
    scale: np.ndarray  # (d,) float32, with the weight of the view in it
    eigenvalues: np.ndarray  # (r,) float64, descending
    directions: np.ndarray  # (d, r) float32, the principal directions of the teaching rows
    targets: np.ndarray  # (r, k) float64, products of the components with the one-hot labels
    counts: np.ndarray  # (k,) int64, teaching rows of each class
    rank: int  # min(teaching rows, d), the number of eigenvalues of which `eigenvalues` are those above 0
    total: float  # sum of them, those that were not found included
    rest: tuple[np.ndarray, np.ndarray] | None  # x'x (d, d) and x'y (d, k), from which all are found; None: they are
    block: int  # rows that are predicted at a time
    multiply: Multiply
    held: np.ndarray | None = None  # (n, r) float32 components of the readable rows, where they are held

    @classmethod
    def fit(
        cls,
        views: Views,
        labels: np.ndarray,
        num_classes: int,
        group: np.ndarray | None = None,
        block: int = 0,
        multiply: Multiply = np.matmul,
        largest: int | None = None,
    ) -> Ridge:
        """Learn from the rows with a label. `group` (n,) int64: rows with the same number are left out together.

        largest: where there are twice as many components and more, only so many are found until `complete`.

        Raises:
            EvidenceError: views of different lengths, or no readable row with a label.
        """
        n = len(labels)
        lengths = [len(view) for view in views]
        if not views or set(lengths) != {n}:
            raise EvidenceError(f"views have {lengths} rows for {n} labels", hint="give every view the rows of the set")
        predicted, block = block or min(BLOCK, max(BLOCK_CELLS // num_classes, 64)), block or BLOCK
        readable = find_readable(views)
        labels = np.where(readable, labels, -1)
        rows = np.flatnonzero(labels >= 0)
        if not len(rows):
            raise EvidenceError("no row with a label has features that are finite")
        start = _scaling(views, unit(views, spread(rows, block)))
        x = Standard(views, *start)
        counts = np.bincount(labels[rows], minlength=num_classes)
        if len(rows) < len(x.centre):
            x = Standard(views, *_scaling(views, unit(views, rows)))
            w, v = _components_of_few(x(rows))
            total, rest, targets = float(w.sum()), None, v.T @ class_sums(x(rows), labels[rows], num_classes)
        else:
            gram, sums, products = _products(x, rows, labels, num_classes, block, multiply)
            x, gram, products = _restandardise(x, gram, sums, products, counts)
            d = len(gram)
            few = largest is not None and 2 * largest <= d
            w, v = _largest(gram, largest) if few and largest else np.linalg.eigh(gram)
            w, v = w[::-1], v[:, ::-1]
            total, rest, targets = float(np.trace(gram)), (gram, products) if few else None, v.T @ products
        kept = w > ROUNDING * max(w[0], 0)
        return cls(
            views=views,
            labels=labels,
            group=np.arange(n) if group is None else group,
            readable=readable,
            centre=x.centre,
            scale=x.scale,
            eigenvalues=w[kept],
            directions=v[:, kept].astype(np.float32),
            targets=targets[kept],
            counts=counts,
            rank=min(len(rows), len(x.centre)),
            total=total,
            rest=rest,
            block=predicted,
            multiply=multiply,
        )

    @property
    def num_classes(self) -> int:
        return self.targets.shape[1]

    @property
    def teaching(self) -> int:
        """Number of rows."""
        return int(self.counts.sum())

    @property
    def share(self) -> np.ndarray:
        """(k,) float64 of each class among the teaching rows."""
        return self.counts / self.teaching

    def lacks(self, head: Head) -> bool:
        """Whether components that were not found make a difference to a head on all of them: by the effective degrees
        of freedom, sum of w / (w + penalty) (Hastie, Tibshirani and Friedman, 2009), theirs as if all were alike."""
        penalty, count = self._penalty(head.strength), self.rank - len(self.eigenvalues)
        if self.rest is None or not count:
            return False
        found = (self.eigenvalues / (self.eigenvalues + penalty)).sum()
        mean = max(self.total - self.eigenvalues.sum(), 0.0) / count
        left = count * mean / (mean + penalty)
        return bool(left > LEFT * (found + left))

    def complete(self) -> Ridge:
        """The same regression with all components."""
        if self.rest is None:
            return self
        gram, products = self.rest
        w, v = np.linalg.eigh(gram)
        kept = np.flatnonzero(w > ROUNDING * w[-1])[::-1]
        v = v[:, kept]
        directions = v.astype(np.float32)
        return replace(self, eigenvalues=w[kept], directions=directions, targets=v.T @ products, rest=None, held=None)

    def holding(self) -> Ridge:
        """The same, with the components of all rows at hand for all that is asked, if they take little memory."""
        shape = len(self.labels), len(self.eigenvalues)
        if shape[0] * shape[1] > HELD_COMPONENTS:
            return self
        held = np.empty(shape, np.float32)
        for rows in in_parts(np.flatnonzero(self.readable), self.block):
            held[rows] = self._components(rows)
        return replace(self, held=held)

    def held_out(self, heads: Sequence[Head]) -> Iterator[tuple[np.ndarray, Iterator[np.ndarray]]]:
        """Row numbers (b,) and, head by head, what it predicts for them (b, k) float32 without their group.

        Every readable row comes once; the blocks are not in order where there are groups.
        """
        alone, groups = self._by_group(np.flatnonzero(self.readable))
        weights = [self._weights(head) for head in heads]
        for rows in in_parts(alone, self.block):
            z = self._components(rows)
            yield rows, (self._without_row(z, self.labels[rows], *weight) for weight in weights)
        for rows in groups:
            z = self._components(rows.ravel()).reshape(*rows.shape, -1)
            yield rows.ravel(), (self._without_group(z, self.labels[rows], head) for head in heads)

    def predictions(self, head: Head, rows: np.ndarray | None = None) -> np.ndarray:
        """(b, k) float32 of one head for some rows (b,) or all, without their group; NaN where one is unreadable."""
        rows = np.arange(len(self.labels)) if rows is None else rows
        place = np.full(len(self.labels), -1)
        place[rows] = np.arange(len(rows))
        result = np.full((len(rows), self.num_classes), np.nan, np.float32)
        for part, (z,) in self.on(rows).held_out([head]):
            result[place[part]] = z
        return result

    def choose(self) -> Head:
        """That on all components whose held-out predictions agree best with the given labels of a sample."""
        return self.choose_each([[Head(strength) for strength in STRENGTHS]])[0]

    def choose_each(self, choices: Sequence[Sequence[Head]]) -> list[Head]:
        """The best of each of several choices of heads, by the same rows."""
        sample = min(SAMPLE, max(SAMPLE_CELLS // self.num_classes, FEWEST))
        heads = [head for choice in choices for head in choice]
        agreeing = np.zeros(len(heads), dtype=np.int64)
        for rows, predicted in self.on(self._sample(sample)).held_out(heads):
            agreeing += [int((z.argmax(axis=1) == self.labels[rows]).sum()) for z in predicted]
        ends = np.cumsum([len(choice) for choice in choices])[:-1]
        return [choice[int(count.argmax())] for choice, count in zip(choices, np.split(agreeing, ends), strict=True)]

    def on(self, rows: np.ndarray) -> Ridge:
        """The same regression, which predicts no others than these rows (b,)."""
        chosen = np.zeros(len(self.labels), dtype=bool)
        chosen[rows] = True
        return replace(self, readable=self.readable & chosen)

    def _sample(self, most: int) -> np.ndarray:
        """About so many teaching rows: every step-th group, spread over the rows."""
        taught = np.flatnonzero(self.labels >= 0)
        _, place = np.unique(self.group[taught], return_inverse=True)
        return taught[place % -(-len(place) // most) == 0]

    def halves(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Two disjoint (c,) bool halves of the first components; of two neighbours each gets one, by chance."""
        c = min(len(self.eigenvalues), PRINCIPAL)
        side = rng.permuted(np.tile([False, True], (-(-c // 2), 1)), axis=1).ravel()[:c]
        return side, ~side

    def neighbors_vote(self, rows: np.ndarray, search: Search = on_host) -> np.ndarray:
        """(b,) int64 class that the nearest among teaching `rows` (b,) vote for, each with its cosine; no copies.

        By the vectors themselves where the view is random features of them, which are many more numbers.
        """
        views = [view.vectors if isinstance(view, RandomFeatures) else view for view in self.views]
        x = Standard(views, *_scaling(views, unit(views, rows)))(rows)
        near, cosine = nearest_neighbors(x, min(VOTERS, max(len(rows) - 1, 1)), search=search)
        other = (near >= 0) & (self.group[rows][near] != self.group[rows][:, None])
        weight = np.where(other, np.nan_to_num(cosine).clip(0) + 1e-6, 0)
        voter = np.repeat(np.arange(len(rows)), near.shape[1])
        votes = coo_array(
            (weight.ravel(), (voter, self.labels[rows][near].ravel())), shape=(len(rows), self.num_classes)
        )
        return votes.tocsr().argmax(axis=1).ravel()

    def _components(self, rows: np.ndarray) -> np.ndarray:
        """(b, r) float32."""
        if self.held is not None:
            return self.held[rows]
        return self.multiply(Standard(self.views, self.centre, self.scale)(rows), self.directions)

    def _gains(self, head: Head) -> np.ndarray:
        """(r,) float64 1 / (eigenvalue + penalty), 0 where the head does not look."""
        if head.components is None:
            return 1 / (self.eigenvalues + self._penalty(head.strength))
        gains, used = np.zeros(len(self.eigenvalues)), np.flatnonzero(head.components)
        w = self.eigenvalues[used]
        gains[used] = 1 / (w + head.strength * w.sum() / max(len(used), 1))
        return gains

    def _penalty(self, strength: float) -> float:
        """Of a head on all components."""
        return strength * self.total / self.rank

    def _weights(self, head: Head) -> tuple[np.ndarray, np.ndarray]:
        """(r,) float32 gains, and (r, k) float32 what they make of the targets; without the last that are 0."""
        gains = self._gains(head)
        gains = gains[: int(np.flatnonzero(gains).max(initial=-1)) + 1]
        return gains.astype(np.float32), (gains[:, None] * self.targets[: len(gains)]).astype(np.float32)

    def _without_row(self, z: np.ndarray, labels: np.ndarray, gains: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(b, k) float32 from components z (b, r): each row predicted by the regression that did not see it.

        `gains` and `weight` are `_weights` of a head.
        """
        z, share = z[:, : len(gains)], self.share.astype(np.float32)
        fitted = self.multiply(z, weight)
        h = np.minimum(z**2 @ gains + np.float32(1 / self.teaching), np.float32(LEVERAGE))
        h = np.where(labels >= 0, h, np.float32(0))[:, None]
        result = fitted + h * share
        taught = np.flatnonzero(labels >= 0)
        result[taught, labels[taught]] -= h[taught, 0]
        return result / (1 - h) + share

    def _without_group(self, z: np.ndarray, labels: np.ndarray, head: Head) -> np.ndarray:
        """(g m, k) float32 from components z (g, m, r) of g groups of m teaching rows, each without its group."""
        m, k = z.shape[1], self.num_classes
        if m >= self.teaching:  # nothing is left to learn from
            return np.full((labels.size, k), 1 / k, np.float32)
        if m > z.shape[2]:
            return np.concatenate([self._refitted(*group, head) for group in zip(z, labels, strict=True)])
        z = z.astype(np.float64)
        gains, share = self._gains(head), self.share
        h = (z * gains) @ z.swapaxes(1, 2) + 1 / self.teaching  # (g, m, m)
        y = _one_hot(labels.ravel(), k).toarray().reshape(*labels.shape, k) - share
        right = z @ (gains[:, None] * self.targets) - h @ y
        return (np.linalg.solve(np.eye(m) - h, right) + share).reshape(-1, k).astype(np.float32)

    def _refitted(self, z: np.ndarray, labels: np.ndarray, head: Head) -> np.ndarray:
        """(m, k) float32: the same for one group of more rows than components, by the equations without its rows."""
        used = self._gains(head) > 0
        z = np.concatenate([np.ones((len(z), 1)), z[:, used]], axis=1)
        left = np.diag(np.concatenate([[self.teaching], 1 / self._gains(head)[used]])) - z.T @ z
        right = np.concatenate([self.counts[None], self.targets[used]]) - class_sums(z, labels, self.num_classes)
        return (z @ np.linalg.solve(left, right)).astype(np.float32)

    def _by_group(self, rows: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Of `rows`, those that no other teaching row goes with, and arrays (g, m) of the others, a group a line."""
        taught = rows[self.labels[rows] >= 0]
        _, place, size = np.unique(self.group[taught], return_inverse=True, return_counts=True)
        paired = size[place] > 1
        alone = np.setdiff1d(rows, taught[paired], assume_unique=True)
        order = np.lexsort((taught[paired], place[paired], size[place][paired]))
        members, sizes = taught[paired][order], size[place][paired][order]
        batches: list[np.ndarray] = []
        for m in np.unique(sizes):
            together = members[sizes == m].reshape(-1, m)
            batches += in_parts(together, max(self.block // int(m), 1))
        return alone, batches


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of `rows`, evenly."""
    return rows[:: max(-(-len(rows) // most), 1)]


@dataclass(frozen=True)
class Standard:
    """The views as one standardised matrix, of which any rows can be had."""

    views: Views
    centre: np.ndarray  # (d,) float32
    scale: np.ndarray  # (d,) float32

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(b, d) float32."""
        x = unit(self.views, rows)
        x -= self.centre
        x /= self.scale
        return x


def unit(views: Views, rows: np.ndarray) -> np.ndarray:
    """(b, d) float32: the rows of each view with norm 1, side by side."""
    return np.concatenate([unit_rows(np.asarray(view[rows])) for view in views], axis=1)


def find_readable(views: Views) -> np.ndarray:
    """(n,) bool: every value of the row, in every view, is finite."""
    readable = np.ones(len(views[0]), dtype=bool)
    with np.errstate(over="ignore"):
        for view in views:
            vectors = view.vectors if isinstance(view, RandomFeatures) else view
            readable &= per_row(finite_as_float32, vectors)
    return readable


def finite_as_float32(rows: np.ndarray) -> np.ndarray:
    """(b,) bool: every value of rows (b, d) is finite, as float32, too."""
    return np.asarray(np.isfinite(np.asarray(rows).astype(np.float32)).all(axis=1))


def _scaling(views: Views, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and scale (d,) float32 of rows x (b, d) of norm 1."""
    return x.mean(axis=0), _scale(views, x.std(axis=0, dtype=np.float64))


def _scale(views: Views, deviation: np.ndarray) -> np.ndarray:
    """(d,) float32 by which columns with these deviations are divided, so that each view has the same weight."""
    widths = [view.shape[1] for view in views]
    parts = np.split(deviation, np.cumsum(widths)[:-1])
    return np.concatenate([np.maximum(part, FLAT * part.mean() + 1e-9) * np.sqrt(len(part)) for part in parts]).astype(
        np.float32
    )


def _products(
    x: Standard, rows: np.ndarray, labels: np.ndarray, k: int, block: int, multiply: Multiply
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x'x (d, d), column sums (d,), x'y (d, k), float64."""
    d = len(x.centre)
    gram, sums, products = np.zeros((d, d)), np.zeros(d), np.zeros((d, k))
    for part in in_parts(rows, block):
        values = x(part)
        gram += multiply(values.T, values)
        sums += values.sum(axis=0, dtype=np.float64)
        products += class_sums(values, labels[part], k)
    return gram, sums, products


def _restandardise(
    x: Standard, gram: np.ndarray, sums: np.ndarray, products: np.ndarray, counts: np.ndarray
) -> tuple[Standard, np.ndarray, np.ndarray]:
    """What `_products` found with the scaling of a sample, as it is with that of all rows."""
    n = counts.sum()
    mean = sums / n
    deviation = np.sqrt(np.maximum(np.diag(gram) / n - mean**2, 0))
    scale = _scale(x.views, deviation * x.scale)
    factor = x.scale / scale.astype(np.float64)
    gram = (gram - n * np.outer(mean, mean)) * np.outer(factor, factor)
    products = (products - np.outer(mean, counts)) * factor[:, None]
    return Standard(x.views, (x.centre + mean * x.scale).astype(np.float32), scale), gram, products


def _largest(gram: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (count,) ascending and directions (d, count): in float32, which is twice as fast and exact enough."""
    d = len(gram)
    w, v = eigh(gram.astype(np.float32), subset_by_index=(d - count, d - 1))
    return w.astype(np.float64), v


def _components_of_few(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (n,) descending and directions (d, n) of x'x for x (n, d) with fewer rows than columns."""
    x = x.astype(np.float64)
    w, u = np.linalg.eigh(x @ x.T)
    w, u = w[::-1], u[:, ::-1]
    return w, x.T @ u / np.sqrt(np.maximum(w, ROUNDING * max(w[0], 1e-300)))


def class_sums(x: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """(d, k): the sum of the rows x (b, d) of each class."""
    return (_one_hot(labels, k).T @ x).T


def _one_hot(labels: np.ndarray, k: int) -> csr_array:
    """(b, k) float32, sparse: there may be thousands of classes."""
    return csr_array((np.ones(len(labels), np.float32), labels, np.arange(len(labels) + 1)), shape=(len(labels), k))


def in_parts(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Consecutive parts of at most `size`."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]

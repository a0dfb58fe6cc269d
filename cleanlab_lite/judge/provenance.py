"""Where wrong labels come from: values of the user's own columns (an annotator, a batch, a month) that are noisier.

A value is tested against the other rows *of the same class*, so that nobody looks bad for having been given the hard
classes: within a class, any row could have had any value, if the value says nothing. Of the sum of p_mislabel over the
rows of a value, mean, variance and skewness over all such permutations are known exactly, and a curve of Pearson's
type III with these three gives the tail (Mielke and Berry, 1976), far beyond what drawn permutations could reach. The
thresholds are those of Benjamini and Hochberg (1995) over all tests of all columns, stepping down: after each finding
the others are tested again among rows that agree about the findings, so that a batch inside a bad annotator is not
told a second time, nor an annotator whose one bad batch was.

How much noisier is another question: probabilities that were calibrated on all rows are too low for a bad source and
too high for a good one. Per value, the odds of a wrong label are multiplied by what makes the rows' probabilities
agree with themselves (Saerens, Latinne and Decaestecker, 2002); the factors of a column are drawn together as far as
they differ by chance alone (DerSimonian and Laird, 1986). The interval is that of the factor before it is drawn, which
a source that is unlike all others needs; and it counts with the rate of the whole set, by which all are measured, being
an estimate itself.

Letters: n rows, k classes, v values of a column, m tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, gammainc, gammaincc, logit, ndtr

from cleanlab_lite.arrays import Z

NORMAL = 2e-5  # skewness below which it makes no difference
LEAST_ROWS = 20  # of a value that is tested
FALSE_DISCOVERIES = 0.05  # expected share of the findings, at most
SURE = 1e-4  # probabilities are not believed to be nearer to 0 or 1
STEADY = 10.0  # rows that the rate of all counts for in the rate of a class
WIDE = 2.0  # standard deviation of the log odds factors, before any row is seen
# Standard deviation of the log odds of the whole set's rate. Nine audits with known truth were off by .17; with .15 and
# more, intervals hold the rate in all draws (benchmarks/RESULTS.md).
SHARED = 0.1
STEPS = 50  # of halving an interval, or of a fixed point: more changes nothing


@dataclass(frozen=True)
class Source:
    """One value of a column, as it was tested. Rates are shares of wrong labels."""

    column: int
    value: int
    rows: int
    rate: float
    low: float  # ends of its 95 % interval
    high: float
    expected: float  # of the same rows, were they as noisy as those of the column's other values
    q: float  # Benjamini and Hochberg's, over all tests of all columns
    found: bool  # noisier, and not because of another finding


def find_sources(columns: Sequence[np.ndarray], p: np.ndarray, labels: np.ndarray, group: np.ndarray) -> list[Source]:
    """All values that can be tested, findings first, the clearest of them first.

    Values of fewer than `LEAST_ROWS` rows cannot, nor those that are the same for all rows of every class.

    Args:
        columns: (n,) int64 codes from 0, one array per column, from the coarsest.
        p: (n,) probability that the label is wrong.
        labels: (n,) int64.
        group: (n,) int64, the same for copies: copies with one value count once.
    """
    counted = [_without_copies(codes, labels, group) for codes in columns]

    def test(strata: np.ndarray) -> np.ndarray:
        """(m,) p-values of all values of all columns, among rows of the same stratum (n,)."""
        parts = [_test(p[at], strata[at], codes[at]) for codes, at in zip(columns, counted, strict=True)]
        return np.concatenate([np.zeros(0), *parts])

    place = [(column, value) for column, codes in enumerate(columns) for value in range(codes.max() + 1)]
    rows = np.concatenate([np.zeros(0, dtype=int), *map(np.bincount, columns)])
    first = test(labels)
    tests = np.flatnonzero((rows >= LEAST_ROWS) & np.isfinite(first))
    if not len(tests):
        return []
    found = _step_down(test, first, tests, lambda i: columns[place[i][0]] == place[i][1], labels)
    q = dict(zip(tests.tolist(), false_discovery_rates(first[tests]), strict=True))
    rates = np.concatenate(
        [_rates(p[at], labels[at], codes[at]) for codes, at in zip(columns, counted, strict=True)], axis=1
    )
    others = [i for i in tests[np.argsort(first[tests], kind="stable")].tolist() if i not in found]
    sources = []
    for i in (*found, *others):
        rate, low, high, expected = rates[:, i].tolist()
        sources.append(
            Source(place[i][0], place[i][1], int(rows[i]), rate, low, high, expected, q=float(q[i]), found=i in found)
        )
    return sources


def _step_down(
    test: Callable[[np.ndarray], np.ndarray],
    first: np.ndarray,
    tests: np.ndarray,
    members: Callable[[int], np.ndarray],
    labels: np.ndarray,
) -> list[int]:
    """The tests that are findings, in the order in which they were made.

    first (m,): p-values before anything is found; tests: those that count; members(i): (n,) bool, the rows of a value.
    """
    found: list[int] = []
    strata, p = labels, first
    while True:
        left = np.setdiff1d(tests, found)
        if not len(left):
            return found
        best = int(left[np.argmin(np.nan_to_num(p[left], nan=1.0))])  # of equals the first: the coarser column
        if not max(p[best], first[best]) <= FALSE_DISCOVERIES * (len(found) + 1) / len(tests):
            return found
        found.append(best)
        strata = np.unique(2 * strata + members(best), return_inverse=True)[1]
        p = test(strata)


def _without_copies(codes: np.ndarray, labels: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The rows that count: of copies with the same value and label, the first."""
    _, first = np.unique(group, return_index=True)
    alone = np.zeros(len(group), dtype=bool)
    alone[first] = np.bincount(group)[group[first]] == 1
    copies = np.flatnonzero(~alone)  # mostly few
    kept = np.unique(np.stack([group, labels, codes])[:, copies], axis=1, return_index=True)[1]
    return np.sort(np.concatenate([np.flatnonzero(alone), copies[kept]]))


def _test(p: np.ndarray, strata: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(v,) chance that a value's rows have so much p, or more, if values were dealt anew within strata; NaN where
    nothing could come out differently.
    """
    _, stratum, size = np.unique(strata, return_inverse=True, return_counts=True)
    centred = p - (np.bincount(stratum, weights=p) / size)[stratum]
    second, third = (np.bincount(stratum, weights=centred**power) / size for power in (2, 3))
    cells, index, m = np.unique(stratum * (codes.max() + 1) + codes, return_inverse=True, return_counts=True)
    s, value = np.divmod(cells, codes.max() + 1)
    n = size[s]
    # cumulants of the sum of m of n numbers drawn without replacement
    variance = m * (n - m) / np.maximum(n - 1, 1) * second[s]
    skewness = m * (n - m) * (n - 2 * m) / np.maximum((n - 1) * (n - 2), 1) * third[s]
    sums = np.stack([np.bincount(index, weights=centred), variance, skewness])
    total, variance, skewness = np.stack([np.bincount(value, weights=each, minlength=codes.max() + 1) for each in sums])
    result = np.full(len(total), np.nan)
    free = variance > 1e-12
    deviation = np.sqrt(variance[free])
    result[free] = beyond(total[free] / deviation, skewness[free] / deviation**3)
    return result


def beyond(x: np.ndarray, skewness: np.ndarray) -> np.ndarray:
    """(v,) chance that a variable of Pearson's type III with mean 0, variance 1 and such a skewness is larger than x.

    That is a shifted gamma variable, mirrored where the skewness is negative, and a normal one where it is 0.
    """
    skewed = np.abs(skewness) > NORMAL
    s = np.where(skewed, skewness, 1.0)
    shape = 4 / s**2
    at = np.maximum(shape + 2 / s * x, 0)
    return np.where(skewed, np.where(s > 0, gammaincc(shape, at), gammainc(shape, at)), ndtr(-x))


def false_discovery_rates(p: np.ndarray) -> np.ndarray:
    """(t,) of all p-values as small as each of these (t,), the expected share that are chance (Benjamini and Hochberg,
    JRSS B 1995)."""
    order = np.argsort(p)
    share = p[order] * len(p) / np.arange(1, len(p) + 1)
    rates = np.empty(len(p))
    rates[order] = np.minimum(np.minimum.accumulate(share[::-1])[::-1], 1)
    return rates


def _rates(p: np.ndarray, labels: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(4, v) of each value: the rate, both ends of its interval, and what it would be were it like the others."""
    likelihood = logit(np.clip(p, SURE, 1 - SURE)) - logit(np.clip(p.mean(), SURE, 1 - SURE))  # log, wrong to right
    prior = logit(_class_rates(likelihood, labels, float(p.mean())))[labels]

    def excess(factor: np.ndarray) -> np.ndarray:
        """(n,) posterior minus prior, both moved by log odds factors (v,): of the right ones their sums are 0."""
        moved = prior + factor[codes]
        return expit(likelihood + moved) - expit(moved)

    low, high = np.full((2, codes.max() + 1), [[-10.0], [10.0]])
    for _ in range(STEPS):
        middle = (low + high) / 2
        more = np.bincount(codes, weights=excess(middle)) > middle / WIDE**2
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    factor = (low + high) / 2
    information = np.bincount(codes, weights=excess(factor) ** 2) + 1 / WIDE**2
    rest = (information @ factor - information * factor) / np.maximum(information.sum() - information, 1e-12)
    reach = Z * np.sqrt(1 / information + SHARED**2)
    drawn = _drawn_together(factor, information)
    ends = (drawn, np.minimum(factor - reach, drawn), np.maximum(factor + reach, drawn), rest)
    rows = np.maximum(np.bincount(codes), 1)
    return np.stack([np.bincount(codes, weights=expit(prior + each[codes])) / rows for each in ends])


def _class_rates(likelihood: np.ndarray, labels: np.ndarray, overall: float) -> np.ndarray:
    """(k,) share of wrong labels per class, by log likelihood ratios (n,); few rows are drawn to `overall`."""
    rows = np.bincount(labels)
    rate = np.full(len(rows), overall)
    for _ in range(STEPS):
        posterior = expit(likelihood + logit(rate)[labels])
        rate = (np.bincount(labels, weights=posterior) + STEADY * overall) / (rows + STEADY)
    return np.clip(rate, SURE, 1 - SURE)


def _drawn_together(factor: np.ndarray, information: np.ndarray) -> np.ndarray:
    """(v,) log odds factors, drawn to their mean as far as they differ by chance alone."""
    mean = information @ factor / information.sum()
    free = information.sum() - information @ information / information.sum()
    between = max(float(information @ (factor - mean) ** 2 - (len(factor) - 1)), 0.0) / max(float(free), 1e-12)
    return mean + between / (between + 1 / information) * (factor - mean)

"""Pairs of classes that are taken for each other in both directions, by the noise matrix.

Were the wrong labels of a class spread evenly, another class would have its share of them by its rows. A pair is told
when in either direction there is twice that and more, and at least a twentieth of the rows; and when both directions
together are beyond chance (upper tail of the Poisson distribution, Bonferroni over all pairs). Of two classes nothing
can stand out, and nothing is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa
from scipy.special import gammainc

from cleanlab_lite.run.summary import ClassPair

LEAST = 0.05  # of the rows of either class that look like the other one
TIMES = 2.0  # what evenly spread labels would give
CHANCE = 0.05  # that evenly spread labels give any pair


def overlapping_pairs(matrix: pa.Table, rows: Mapping[str, int]) -> list[ClassPair]:
    """The pairs that stand out, those with most rows first.

    matrix: as `noise_matrix_table` makes it; rows: judged rows by given label.
    """
    expected = {(row["given_label"], row["true_label"]): row["expected_rows"] for row in matrix.to_pylist()}
    wrong = Counter[str]()
    for (given, true), count in expected.items():
        wrong[given] += count * (given != true)
    total, pairs = sum(rows.values()), len(rows) * (len(rows) - 1) / 2

    def even(given: str, true: str) -> float:
        """Expected rows, were the wrong labels of a class spread evenly."""
        return wrong[given] * rows[true] / (total - rows[given])

    found = []
    for (a, b), a_like_b in expected.items():
        b_like_a = expected.get((b, a), 0.0)
        if a >= b or a_like_b < LEAST * rows[a] or b_like_a < LEAST * rows[b]:
            continue
        if a_like_b < TIMES * even(a, b) or b_like_a < TIMES * even(b, a):
            continue
        if gammainc(a_like_b + b_like_a, even(a, b) + even(b, a)) * pairs <= CHANCE:
            found.append(ClassPair(a, b, rows[a], rows[b], a_like_b, b_like_a))
    return sorted(found, key=lambda pair: -(pair.a_like_b + pair.b_like_a))

"""How long takes what is not trained: a regression in closed form, and what comes before and after; without torch."""

from __future__ import annotations

import math
import time

import numpy as np
from threadpoolctl import threadpool_limits

from cleanlab_lite.forecast import Part
from cleanlab_lite.judge.closed_form import look
from cleanlab_lite.judge.neighbors import is_exact
from cleanlab_lite.judge.ridge import SAMPLE

READ = 1e-8  # seconds to read a number of vectors that are there
VOTING, REFERENCE = 50_000, 20_000  # rows among which neighbours are sought at most, by the detectors knn and ood
SMALL = (1024, 256, 10)  # rows, dimensions and classes of a regression that takes 60 ms there


def settled_parts(
    n: int, k: int, dimensions: int, widths: list[int], *, decoded: bool
) -> tuple[list[Part], list[Part]]:
    """What does not hang on networks, before and after they are trained.

    Args:
        dimensions: of the vectors among which copies are sought; 0: none.
        widths: of the views that a regression looks at.
    """
    slow = slowness()
    before = {"duplicates": copies_seconds(n, dimensions, decoded=decoded)}
    if widths:
        before["heads"] = heads_seconds(n, k, widths)
    after = {"judge": judge_seconds(n, k, dimensions), "report": report_seconds(n)}
    first, last = ([Part.sure(name, slow * each) for name, each in parts.items()] for parts in (before, after))
    return first, last


def heads_seconds(n: int, k: int, widths: list[int]) -> float:
    """Of regressions in closed form on all views side by side, and on each."""
    together = [sum(widths), *(widths if len(widths) > 1 else [])]
    return sum(0.03 + n * (2e-5 + 6.5e-11 * d * min(n, d) + 3e-10 * d * k) + _strengths_seconds(n, d) for d in together)


def _strengths_seconds(n: int, d: int) -> float:
    """Of what does not grow with the rows where they are many: components, and strengths that are tried on a sample."""
    return 2e-10 * min(n, d) ** 3 + min(n, SAMPLE) * 3.5e-11 * d * min(n, d)


def slowness() -> float:
    """How many times as long as there a regression in closed form takes here."""
    n, d, k = SMALL
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(n, d)).astype(np.float32), rng.integers(0, k, n)
    seconds = []
    with threadpool_limits(1):  # beside other work, two that wait for each other take ten times as long for so little
        for _ in range(2):  # the first loads what is needed
            begun = time.perf_counter()
            look({"": x}, labels, k, np.arange(n))
            seconds.append(time.perf_counter() - begun)
    return min(seconds) / heads_seconds(n, k, [d])


# --- Slopes ----------------------------------------------------------------------------------------------------------
# Measured on 300 to 1,000,000 rows and up to 5,000 classes with one core of a Xeon with AVX-512, see
# benchmarks/RESULTS.md. Letters: n samples, k classes.


def copies_seconds(n: int, dimensions: int, *, decoded: bool) -> float:
    """Of the search for copies among vectors, and among pictures or sounds that were decoded."""
    among_vectors = neighbors_seconds(n, n, dimensions) + n * (3e-5 if is_exact(n, n) else 1e-4)
    return among_vectors * (dimensions > 0) + 1.3e-4 * n * decoded


def neighbors_seconds(n: int, among: int, dimensions: int) -> float:
    """Of the search for the nearest of so many vectors."""
    if is_exact(n, among):
        return n * among * (1.6e-9 + 1.2e-11 * dimensions)
    return n * math.sqrt(among) * (1e-7 + 7e-10 * dimensions)  # those in cells, each of which holds the root


def judge_seconds(n: int, k: int, dimensions: int) -> float:
    """The neighbours of the detectors knn and ood, and all that does not depend on how wide vectors are."""
    neighbors = sum(neighbors_seconds(n, min(n, pool), dimensions) for pool in (VOTING, REFERENCE))
    return 0.5 + neighbors + n * (6e-5 + 3.5e-7 * k)


def report_seconds(n: int) -> float:
    return 0.1 + 3e-5 * n

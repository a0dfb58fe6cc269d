"""How long a regression in closed form takes here, with what comes before and after it; without torch."""

from __future__ import annotations

import time

import numpy as np

from cleanlab_lite.forecast import Part, copies_seconds, judge_seconds, report_seconds
from cleanlab_lite.judge.closed_form import SAMPLE, look

READ = 1e-8  # seconds to read a number of vectors that are there
SMALL = (512, 128, 10)  # rows, dimensions and classes of a regression that takes 40 ms there


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
    after = {"judge": judge_seconds(n, k), "report": report_seconds(n)}
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
    begun = time.perf_counter()
    look({"": x}, labels, k, np.arange(n))
    return (time.perf_counter() - begun) / heads_seconds(n, k, [d])

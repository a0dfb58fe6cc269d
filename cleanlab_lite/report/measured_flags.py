"""How good the flags are, measured on a small stratified sample that a person decides without seeing the flags.

Letters: n rows of the report, h strata.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cleanlab_lite.evidence.decisions import Decision
from cleanlab_lite.run.columns import numbers
from cleanlab_lite.run.report import FLAG

SAMPLE = 40  # rows, half of them flagged
STRATA = (0.0, 0.05, 0.2, FLAG, 0.8, 0.95, 1.0)  # bounds of p_mislabel
LEAST = 2  # rows of every stratum


@dataclass(frozen=True)
class Share:
    """Wrong labels among some rows, estimated from a sample."""

    rows: int  # that the estimate is about
    looked_at: int  # of them, "unsure" left out
    wrong: int  # of those looked at
    share: float  # estimate, 0-1
    low: float  # 95 % interval
    high: float


@dataclass(frozen=True)
class Measured:
    """What the sample says. `flagged.share` is the precision of the flags, `unflagged` holds the missed errors."""

    sample: int
    decided: int
    flagged: Share | None  # None until all of the sample is decided
    unflagged: Share | None


def propose(table: pa.Table, *, size: int = SAMPLE, seed: int = 0) -> np.ndarray:
    """Rows to decide, flagged and unflagged in random order: the same for the same report.

    Half are flagged, where there are as many. Within a half, the strata get rows by Neyman allocation, in proportion
    to size times expected standard deviation (Neyman, JRSS 1934).
    """
    rng = np.random.default_rng(seed)
    p = numbers(table, "p_mislabel")
    strata = _strata(p)
    flagged = [stratum for stratum in strata if p[stratum[0]] >= FLAG]
    unflagged = [stratum for stratum in strata if p[stratum[0]] < FLAG]
    available = [sum(map(len, half)) for half in (flagged, unflagged)]
    of_flagged = min(available[0], max(size // 2, size - available[1]))
    chosen = [
        rng.choice(stratum, count, replace=False)
        for half, total in ((flagged, of_flagged), (unflagged, min(size - of_flagged, available[1])))
        for stratum, count in zip(half, _allocate(half, p, total), strict=True)
    ]
    return rng.permutation(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)


def measure(table: pa.Table, rows: np.ndarray, settled: Mapping[str, Decision]) -> Measured:
    """Precision of the flags and missed errors, from the decisions (by id) on the `rows` of `propose`."""
    ids = table["id"].take(pa.array(rows)).to_pylist()
    actions = [settled[id].action if id in settled else "" for id in ids]
    decided = sum(action != "" for action in actions)
    if decided < len(rows) or not decided:
        return Measured(len(rows), decided, None, None)
    p = numbers(table, "p_mislabel")
    wrong = dict(zip(rows.tolist(), (action in ("relabel", "drop") for action in actions), strict=True))
    known = dict(zip(rows.tolist(), (action != "unsure" for action in actions), strict=True))
    strata = _strata(p)
    halves = [[s for s in strata if (p[s[0]] >= FLAG) == flagged] for flagged in (True, False)]
    flagged, unflagged = (_estimate(half, p, wrong, known) if half else None for half in halves)
    return Measured(len(rows), decided, flagged, unflagged)


def clopper_pearson(wrong: int, n: int) -> tuple[float, float]:
    """Exact 95 % interval of a share (Clopper and Pearson, Biometrika 1934); 0 to 1 without an observation.

    Wilson's is shorter, but holds too little where one rare error turns up, and rare errors are what is looked for.
    """
    from scipy.stats import binomtest  # takes longer to load than all else of a review

    if not n:
        return 0.0, 1.0
    low, high = binomtest(wrong, n).proportion_ci(method="exact")
    return float(low), float(high)


def _estimate(strata: list[np.ndarray], p: np.ndarray, wrong: dict[int, bool], known: dict[int, bool]) -> Share:
    """The stratified share. Intervals of the strata are joined by MOVER (Zou and Donner, Statistics in Medicine 2008).

    A stratum that was looked at in full has no uncertainty left (finite population correction). One of which nobody
    was sure is taken to be as p_mislabel says, with an interval from 0 to 1.
    """
    total = sum(map(len, strata))
    looked_at = errors = 0
    share = below = above = 0.0
    for stratum in strata:
        seen = [row for row in stratum.tolist() if known.get(row)]
        k, n = sum(wrong[row] for row in seen), len(seen)
        estimate = k / n if n else float(p[stratum].mean())
        low, high = clopper_pearson(k, n)
        weight, correction = len(stratum) / total, 1 - n / len(stratum)
        share += weight * estimate
        below += correction * (weight * (estimate - low)) ** 2
        above += correction * (weight * (high - estimate)) ** 2
        looked_at, errors = looked_at + n, errors + k
    low, high = max(share - math.sqrt(below), 0.0), min(share + math.sqrt(above), 1.0)
    return Share(total, looked_at, errors, share, low, high)


def _allocate(strata: list[np.ndarray], p: np.ndarray, total: int) -> list[int]:
    """How many rows of each stratum, `total` in all, `LEAST` where there are as many."""
    sizes = np.array([len(stratum) for stratum in strata])
    mean = np.array([p[stratum].mean() for stratum in strata])
    wanted = sizes * np.sqrt(np.maximum(mean * (1 - mean), 1e-4))
    counts = np.minimum(sizes, LEAST)
    while counts.sum() > total:
        counts[counts.argmax()] -= 1
    while counts.sum() < total:  # to whom it is due most
        counts[np.where(counts < sizes, wanted / (counts + 1), -1).argmax()] += 1
    return counts.tolist()


def _strata(p: np.ndarray) -> list[np.ndarray]:
    """Rows by p_mislabel, the strata that have any. Rows without a label, or without a file, are in none."""
    number = np.searchsorted(STRATA[1:-1], p, side="right")
    rows = [np.flatnonzero(np.isfinite(p) & (number == h)) for h in range(len(STRATA) - 1)]
    return [stratum for stratum in rows if len(stratum)]

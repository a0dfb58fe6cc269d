"""Held-out evidence from frozen features in closed form: no folds, no epochs, no seeds.

A `Ridge` on all views side by side predicts every row without itself; how sharp its predictions are is learned from the
given labels. What halves of its components and the nearest rows say is kept, for the noise rate (`rate`).

Letters: n rows, k classes. A row without a label (-1) is predicted but does not teach; a row with a value that is not
finite is neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.special import logsumexp

from cleanlab_lite.evidence.evidence import HeldOut, Vote
from cleanlab_lite.judge.neighbors import Search, on_host
from cleanlab_lite.judge.ridge import FEWEST, STRENGTHS, Head, Multiply, Ridge, Views, spread
from cleanlab_lite.matrices import HELD_CELLS, Matrix, TopLogits, finite_rows, margins, per_row

NEIGHBORLY = 10_000  # rows among which neighbours are sought: all pairs of them are compared
HALF_STRENGTHS = (0.1, 1.0, 10.0)  # `STRENGTHS` of which only the vote counts
SHARPNESS, NOISE = (0.5, 60.0), 0.7  # bounds
LEARNED_ROWS, LEARNED_CELLS = 50_000, 10_000_000  # of a sample from which a few numbers about all rows are learned
MOST_LOG_ODDS = 1e6  # where there is no other class
LARGEST = 512  # components that are found at first where there are twice as many: a third of the time of 2,048
SPLITS = 3  # into halves; what one split says of the noise rate differs by .02 from what the next one does


def hold_out(
    views: Views,
    labels: np.ndarray,
    num_classes: int,
    group: np.ndarray | None = None,
    *,
    judged: np.ndarray | None = None,
    strangers: np.ndarray | None = None,
    seed: int = 0,
    multiply: Multiply = np.matmul,
    search: Search = on_host,
) -> HeldOut:
    """Predict every row of the views, side by side, from the others; `group` as in `Ridge.fit`.

    Args:
        judged: (n,) int64, the labels that are scored, where these are not the labels to learn from.
        strangers: (n,) bool, rows of no class. They teach a class of their own, which none is predicted to be of, but
            which a label must be more probable than.
    """
    learned = labels if strangers is None else np.where(strangers, num_classes, labels)
    k = num_classes + bool((learned == num_classes).any())
    ridge = Ridge.fit(views, learned, k, group, multiply=multiply, largest=LARGEST).holding()
    rng = np.random.default_rng((seed, 6))
    parts = [half for _ in range(SPLITS) for half in ridge.halves(rng)]
    whole = [Head(strength) for strength in STRENGTHS]
    heads = ridge.choose_each([whole, *([Head(strength, part) for strength in HALF_STRENGTHS] for part in parts)])
    if ridge.lacks(heads[0]):
        ridge = ridge.complete().holding()
        heads[0] = ridge.choose()
    n, labels = len(labels), np.where(ridge.labels < num_classes, ridge.labels, -1)
    taught = np.flatnonzero(labels >= 0)
    votes = np.full((len(heads), n), -1)
    stranger = np.full((n, k - num_classes), np.nan, np.float32)
    logits: np.ndarray | TopLogits
    if n * num_classes <= HELD_CELLS:
        logits = np.full((n, num_classes), np.nan, np.float32)
    else:  # which needs the sharpness: what the smaller ones add up to depends on it
        sample = sample_rows(taught, num_classes, seed)
        s, noise = sharpness(ridge.predictions(heads[0], sample)[:, :num_classes], labels[sample])
        logits = TopLogits.empty(n, num_classes)
    for rows, predicted in ridge.held_out(heads):
        for head, every in enumerate(predicted):
            z = every[:, :num_classes]
            votes[head, rows] = z.argmax(axis=1)
            if head:
                continue
            stranger[rows] = every[:, num_classes:]
            if isinstance(logits, TopLogits):
                logits.put(rows, z * np.float32(s), labels[rows])
            else:
                logits[rows] = z
    if isinstance(logits, np.ndarray):
        s, noise = sharpness(logits, labels, seed=seed)
        logits *= np.float32(s)
    near = spread(taught, NEIGHBORLY)
    neighbors = np.full(n, -1)
    neighbors[near] = ridge.neighbors_vote(near, search=search)
    scored = labels if judged is None else np.where(ridge.readable, judged, -1)
    return HeldOut(
        logits=logits,
        score=log_odds(logits, scored, stranger * np.float32(s)),
        predicted=votes[0],
        halves=votes[1:].reshape(SPLITS, 2, n),
        neighbors=neighbors,
        agreement=float((votes[0, taught] == labels[taught]).mean()),
        strength=heads[0].strength,
        sharpness=s,
        noise=noise,
    )


def look(
    views: Mapping[str, Matrix],
    labels: np.ndarray,
    num_classes: int,
    group: np.ndarray,
    *,
    judged: np.ndarray | None = None,
    strangers: np.ndarray | None = None,
    seed: int = 0,
    multiply: Multiply = np.matmul,
    search: Search = on_host,
) -> tuple[HeldOut, dict[str, Vote]]:
    """What a head says, and what each view by itself would have voted for.

    The head looks at all views side by side, or at one where that predicts more of the labels: another view that is
    far weaker does harm where rows are few.

    `labels` (n,) are learned from; `judged` (n,) are scored, the same by default; `strangers` as in `hold_out`.
    """
    judged = labels if judged is None else judged
    hold = partial(
        hold_out,
        labels=labels,
        num_classes=num_classes,
        group=group,
        judged=judged,
        strangers=strangers,
        seed=seed,
        multiply=multiply,
        search=search,
    )
    alone = {name: replace(hold([view]), looks_at=(name,)) for name, view in views.items()}
    heads = list(alone.values())
    if len(views) > 1:
        heads.insert(0, replace(hold(list(views.values())), looks_at=tuple(views)))
    head = max(heads, key=lambda each: each.agreement)  # of equals the first
    votes = {
        name: Vote(found.predicted, margins(found.logits, judged), found.agreement) for name, found in alone.items()
    }
    return head, votes


def sharpness(predictions: Matrix, labels: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """(s, e) that maximise the mean of log((1 - e) q + e (1 - q) / (k - 1)), q = softmax(s z) of the given label.

    Predictions z (n, k) of a regression are neither probabilities nor logits, and of the labels a share e is wrong:
    fitted without e, s would be too small. For each s the best e is that of a concave function. Learned from a sample.
    """
    k = predictions.shape[1]
    rows = sample_rows(np.flatnonzero((labels >= 0) & finite_rows(predictions)), k, seed)
    if k == 1 or not len(rows):
        return 1.0, 0.0
    z, y = predictions[rows].astype(np.float64), labels[rows]

    def likelihood(log_s: float) -> float:
        return _best_noise(np.exp(log_probability(np.exp(log_s) * z, y)), k)[0]

    grid = np.linspace(np.log(SHARPNESS[0]), np.log(SHARPNESS[1]), 9)  # the best of several peaks
    best = int(np.argmax([likelihood(log_s) for log_s in grid]))
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    log_s = minimize_scalar(lambda at: -likelihood(at), bounds=around, method="bounded", options={"xatol": 1e-4}).x
    return float(np.exp(log_s)), _best_noise(np.exp(log_probability(np.exp(log_s) * z, y)), k)[1]


def _best_noise(q: np.ndarray, k: int) -> tuple[float, float]:
    """The largest mean of log((1 - e) q + e (1 - q) / (k - 1)) over e in 0..`NOISE`, and that e. q (n,)."""
    slope = (1 - q) / (k - 1) - q

    def rise(e: float) -> float:
        return float((slope / np.maximum(q + e * slope, 1e-12)).mean())

    e = 0.0 if rise(0.0) <= 0 else NOISE if rise(NOISE) >= 0 else brentq(rise, 0.0, NOISE, xtol=1e-6)
    return float(np.log(np.maximum(q + e * slope, 1e-12)).mean()), float(e)


def log_probability(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) float64 logarithm of the softmax of logits (n, k) at each label."""
    largest = logits.max(axis=1)
    total = np.exp(logits - largest[:, None]).sum(axis=1)  # SciPy's function takes three times as long
    return logits[np.arange(len(labels)), labels] - largest - np.log(total)


def log_odds(logits: Matrix, labels: np.ndarray, beside: np.ndarray | None = None) -> np.ndarray:
    """(n,) float64 log q - log(1 - q), q the softmax of logits (n, k) at each label; NaN where there is no label.

    In the order of q, and still tells rows apart where q is 1 to all digits. `beside` (n, c) are logits of further
    classes that no label is of.
    """
    beside = np.zeros((len(labels), 0), np.float32) if beside is None else beside

    def of_block(block: np.ndarray, own: np.ndarray, more: np.ndarray) -> np.ndarray:
        result, rows = np.full(len(own), np.nan), np.flatnonzero(own >= 0)
        z, at = np.concatenate([block[rows], more[rows]], axis=1, dtype=np.float64), (np.arange(len(rows)), own[rows])
        given = z[at]
        z[at] = -np.inf
        result[rows] = np.minimum(given - logsumexp(z, axis=1), MOST_LOG_ODDS)
        return result

    return per_row(of_block, logits, labels, beside)


def sample_rows(rows: np.ndarray, k: int, seed: int) -> np.ndarray:
    """As many of `rows` as it takes to learn what holds for all: fewer where there are thousands of classes."""
    most = int(np.clip(LEARNED_CELLS // k, FEWEST, LEARNED_ROWS))
    return rows if len(rows) <= most else np.sort(np.random.default_rng((seed, 4)).choice(rows, most, replace=False))

"""How many rows belong to no class of the vocabulary, and which: planted errors do not show it, hidden classes do.

A planted error is a picture of one class under the name of another, so the proxies are sure of it. A row of no class is
one that nobody is sure of; among hard rows that are right it hardly shows. What it would look like can be seen by
hiding a class: for a row whose given label is predicted, that class is struck from its out-of-sample probabilities, and
another label is drawn for it, for half of the rows from what is left, for half uniformly.

A classifier then tells the rows with a hidden class from all rows. With s the likeness, S_q the share q of the hidden
rows that are most alike, and G the rows that are right as far as planted errors know,

    r(q) = P(s in S_q and row in G) / q

is the share of rows of no class if nothing else were alike (mixture proportions from positive and unlabelled data:
Elkan and Noto, KDD 2008; Ramaswamy et al., ICML 2016). Where hard rows of the classes are all there is, they come in
evenly or ever faster as q grows, and r is straight or bends upwards. Where there are rows of no class they come first,
and r bends downwards. Only then is there something to be added: too little of it where they are many (half of all rows
pass for hard ones), and nothing where each carries the label that it resembles most. Measured in benchmarks/RESULTS.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from cleanlab_lite.arrays import draw
from cleanlab_lite.judge.monotone import isotonic
from cleanlab_lite.matrices import Matrix, per_row, predictions

QUANTILES = np.linspace(0.1, 0.8, 8)
EARLY, LATE = slice(1, 4), slice(4, 8)  # of QUANTILES; r averaged over each
BENT = 0.5  # early over late r from which it bends downwards; a straight line has .46, which chance may exceed
AT, AT_MOST = 2, 4  # of QUANTILES: r there is the estimate, and the upper end
FEWEST_CLASSES = 4  # with fewer, hiding one leaves no choice
FEWEST_HIDDEN = 100  # rows
PREDICTED = 0.5  # share of the rows predicted as labelled; of weaker proxies most rows look like rows of no class
SAMPLE = 20_000  # rows that the classifier learns from, of either kind
CELLS = 10_000_000  # probabilities of them
NEWTON, CONVERGED = 100, 1e-12  # steps at most, and by what share of the loss the last one lowers it


@dataclass(frozen=True)
class NoClass:
    """Rows of no class among n that seemed right."""

    share: float  # of all rows
    most: float  # the same where more of what is alike is counted, never less than share
    p: np.ndarray  # (n,) probability that a row which is not mislabelled belongs to no class


def find_rows_of_no_class(
    labels: np.ndarray, pred_probs: Matrix, p_mislabel: np.ndarray, *, seed: int = 0
) -> NoClass | None:
    """None where no such rows show, or too little is known: fewer than 4 classes, or than half of the rows, or 100 of
    them, predicted as labelled.

    Args:
        labels: (n,) int64, all valid.
        pred_probs: (n, k), out of sample.
        p_mislabel: (n,) by planted errors, which know nothing of rows of no class.
    """
    rng = np.random.default_rng((seed, 3))
    hidden = np.flatnonzero(predictions(pred_probs) == labels)
    k = pred_probs.shape[1]
    if k < FEWEST_CLASSES or len(hidden) < max(FEWEST_HIDDEN, PREDICTED * len(labels)):
        return None
    hidden = np.sort(rng.permutation(hidden)[: max(min(SAMPLE, CELLS // k), FEWEST_HIDDEN)])
    of_hidden = signs(*hide_class(labels[hidden], pred_probs[hidden], rng))
    of_rows = per_row(lambda block, own: signs(own, block), pred_probs, labels)
    sample = rng.permutation(len(labels))[:SAMPLE]
    likeness_hidden, likeness = tell_apart(of_hidden, of_rows, sample)

    seems_right = 1 - p_mislabel
    cuts = np.quantile(likeness_hidden, 1 - QUANTILES)
    curve = np.array([seems_right[likeness >= cut].sum() for cut in cuts]) / (QUANTILES * len(labels))
    if curve[EARLY].mean() < BENT * curve[LATE].mean() or not curve[AT]:
        return None
    share = float(curve[AT])
    most = max(share, float(curve[AT_MOST]))
    return NoClass(share, most, unexplained(likeness, likeness_hidden, seems_right, share))


def hide_class(labels: np.ndarray, pred_probs: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Another label (h,) for each row, and its probabilities (h, k - 1) without the class it had; both renumbered."""
    h, k = pred_probs.shape
    left = np.arange(k) != labels[:, None]
    rest = pred_probs[left].reshape(h, k - 1).astype(np.float64) + 1e-12
    rest /= rest.sum(axis=1, keepdims=True)
    uniform = (np.arange(h) % 2 == 0)[:, None]
    return draw(np.where(uniform, 1 / (k - 1), rest), rng), rest


def signs(labels: np.ndarray, pred_probs: np.ndarray) -> np.ndarray:
    """(n, 4): log-margin of the given label, logarithms of the largest probability and of the rest, entropy in 0..1."""
    p = np.maximum(pred_probs.astype(np.float64), 1e-9)
    rows = np.arange(len(labels))
    own, best = p[rows, labels], p.max(axis=1)
    entropy = -np.einsum("nk,nk->n", p, np.log(p)) / np.log(p.shape[1])
    p[rows, labels] = 0
    margin = np.clip(np.log(own / p.max(axis=1)), -8, 8)
    return np.stack([margin, np.log(best), np.log(np.maximum(1 - best, 1e-3)), entropy], axis=1)


def tell_apart(hidden: np.ndarray, rows: np.ndarray, sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Likeness (h,) and (n,) to rows with a hidden class, by a quadratic logistic regression on `signs`.

    Either kind has the same weight; squares of the coefficients are penalised by 1/2, for the sum of all rows' losses.
    """
    known = np.concatenate([hidden, rows[sample]])
    h, s = len(hidden), len(sample)
    centre, scale = known.mean(axis=0), known.std(axis=0)
    scale[scale == 0] = 1
    x = quadratic((known - centre) / scale)
    hides = np.repeat([1.0, 0.0], [h, s])
    weight = np.repeat([(h + s) / (2 * h), (h + s) / (2 * s)], [h, s])
    w = logistic(x, hides, weight)
    return x[:h] @ w, quadratic((rows - centre) / scale) @ w


def logistic(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(d,) weights of columns x (n, d), the first of them 1, that tell y (n,) of 0 and 1: by Newton's method.

    The sum of losses, weighted by `weight` (n,), and half the squares of the weights but the first one's is smallest.
    """
    penalty = np.ones(x.shape[1])
    penalty[0] = 0

    def loss(w: np.ndarray) -> float:
        z = x @ w
        return float(weight @ (np.logaddexp(0, z) - y * z) + penalty @ w**2 / 2)

    w = np.zeros(x.shape[1])
    now = loss(w)
    for _ in range(NEWTON):
        p = expit(x @ w)
        slope = (weight * (p - y)) @ x + penalty * w
        curvature = (x * (weight * p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.lstsq(curvature, slope)[0]
        while (after := loss(w - step)) > now:  # far from the smallest it may go too far
            step /= 2
        w, now, before = w - step, after, now
        if before - now <= CONVERGED * now:
            break
    return w


def quadratic(x: np.ndarray) -> np.ndarray:
    """(n, 1 + d + d (d + 1) / 2): 1, the columns of x (n, d), and their products with each other."""
    left, right = np.triu_indices(x.shape[1])
    return np.concatenate([np.ones((len(x), 1)), x, x[:, left] * x[:, right]], axis=1)


def unexplained(likeness: np.ndarray, hidden: np.ndarray, seems_right: np.ndarray, share: float) -> np.ndarray:
    """(n,) share * f_hidden / f_right at each likeness, at most 1, rising with it: isotonic regression of the odds."""
    x = np.concatenate([likeness, hidden])
    y = np.repeat([0.0, 1.0], [len(likeness), len(hidden)])
    weight = np.concatenate([seems_right / len(likeness), np.full(len(hidden), share / len(hidden))])
    z = isotonic(x, y, likeness, rising=True, weight=np.maximum(weight, 1e-12), most=1 - 1e-6)
    return np.minimum(z / (1 - z), 1.0)

"""Tiny tasks whose answer is known: blobs with planted wrong labels, and what proxies would have recorded of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.evidence.history import HELD_OUT, History


@dataclass(frozen=True)
class World:
    """n rows in k classes; `truth` is -1 where the row belongs to none of them."""

    features: np.ndarray  # (n, d) float32
    labels: np.ndarray  # (n,) int64, as given
    truth: np.ndarray  # (n,) int64
    evidence: Evidence

    @property
    def wrong(self) -> np.ndarray:
        """(n,) bool: in the vocabulary and mislabelled."""
        return (self.labels != self.truth) & (self.truth >= 0)


def blobs(
    n: int = 600,
    k: int = 3,
    noise: float = 0.1,
    *,
    d: int = 16,
    alien: float = 0.0,
    planted: float = 0.0,
    separation: float = 6.0,
    proxies: int = 3,
    epochs: int = 8,
    seed: int = 0,
) -> World:
    """One unit-variance Gaussian blob per class at distance `separation` from the origin.

    A share `noise` of rows carries another class than its own, a share `alien` comes from a blob of no class and
    carries any. Of the rows each proxy trains on, a share `planted` is shown yet another label.
    """
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(k + 1, d))
    if k < d:
        centers = np.linalg.qr(centers.T)[0].T
    centers *= separation / np.linalg.norm(centers, axis=1, keepdims=True)
    truth = rng.permutation(np.arange(n) % k)
    labels = truth.copy()
    order = rng.permutation(n)
    flipped, aliens = order[: round(noise * n)], order[round(noise * n) : round((noise + alien) * n)]
    labels[flipped] = (labels[flipped] + rng.integers(1, k, len(flipped))) % k
    truth[aliens] = -1
    features = centers[truth] + rng.normal(size=(n, d))  # class -1 is the last centre
    knowledge = features @ centers[:k].T - separation**2 / 2  # logits of the Bayes rule

    shape = (proxies, epochs, n)
    loss, margin, predicted = np.empty(shape), np.empty(shape), np.empty(shape, dtype=np.int32)
    trained_on = np.tile(labels, (proxies, 1)).astype(np.int32)
    fold = rng.permutation(np.arange(n) % proxies)
    rows = np.arange(n)
    pred_probs, in_sample = np.zeros((n, k)), np.zeros((n, k))
    for m in range(proxies):
        shown = (rng.random(n) < planted) & (fold != m)
        trained_on[m, shown] = (labels[shown] + rng.integers(1, k, shown.sum())) % k
        trained_on[m, fold == m] = HELD_OUT
        target = np.where(fold == m, labels, trained_on[m])
        bias = rng.normal(scale=0.5, size=(n, k))  # what sets this proxy apart
        for e in range(epochs):
            strength = 0.3 * min(1.0, (e + 1) / 4)  # the classes are learned in the first half
            logits = strength * knowledge + bias + rng.normal(scale=0.2, size=(n, k))
            memorised = 4.0 * max(0.0, (e + 1) / epochs - 0.5)  # the labels after that
            logits[rows, target] += np.where(fold == m, 0.0, memorised)
            own = logits[rows, target]
            loss[m, e] = _logsumexp(logits) - own
            others = logits.copy()
            others[rows, target] = -np.inf
            margin[m, e] = own - others.max(axis=1)
            predicted[m, e] = logits.argmax(axis=1)
        out = fold == m
        pred_probs[out] = np.exp(logits[out] - _logsumexp(logits[out])[:, None])
        in_sample += logits / proxies
    # a wrong label is held for an epoch or two of learning other rows; a right one slips at times and comes back
    second_split = np.tile(labels, (epochs + 1, 1)).astype(np.int32)
    elapsed = np.arange(epochs + 1)[:, None]
    gone = (labels != truth) & (truth >= 0) & (elapsed >= rng.integers(0, 4, n))
    slips = (elapsed == rng.integers(1, epochs, n)) & (rng.random(n) < 0.3)
    second_split = np.where(gone, truth, np.where(slips, (labels + 1) % k, second_split)).astype(np.int32)
    history = History(loss.astype(np.float16), margin.astype(np.float16), predicted, trained_on)
    evidence = Evidence(
        labels=labels,
        num_classes=k,
        history=history,
        features=features.astype(np.float32),
        pred_probs=pred_probs.astype(np.float32),
        logits=in_sample.astype(np.float32),
        second_split=second_split,
    )
    return World(features.astype(np.float32), labels, truth, evidence)


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive row scores above a negative one, ties by half."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    good, bad = positive.sum(), (~positive).sum()
    return float((rank[positive].sum() - good * (good + 1) / 2) / (good * bad))


def _logsumexp(logits: np.ndarray) -> np.ndarray:
    top = logits.max(axis=1)
    return top + np.log(np.exp(logits - top[:, None]).sum(axis=1))

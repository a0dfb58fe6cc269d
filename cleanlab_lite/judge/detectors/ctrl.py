"""Clusters of loss curves: wrong labels are learned late, so their curves lie above those of the right ones.

Yue and Jha, "CTRL: clustering training losses for label error detection", IEEE TAI 2024 (arXiv 2022).

Losses are cut at 2 ln k and smoothed over 5 epochs. Within each given class, and in each of w equal windows of the
training, k-means splits the curves; the clusters with the largest mean loss are the noisy ones, and a row is clean
when it lies in a clean cluster in at least `votes` windows. Clusters there always are, also in a class without a
wrong label; the ones with a mean loss below ln 2, at which the label is the likelier answer, are taken for clean.
"""

from __future__ import annotations

import math

import numpy as np

from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection

SMOOTHING = 5  # epochs
ROUNDS = 100  # of Lloyd's algorithm, which needs far fewer


@DETECTORS.register(
    "ctrl",
    summary="clusters of loss curves within each class",
    paper="Yue and Jha, IEEE TAI 2024",
    needs=("history",),
)
def ctrl(
    evidence: Evidence, *, clusters: int = 2, noisy_clusters: int = 1, windows: int = 2, votes: int = 1
) -> Detection:
    """The paper searches clusters 2-3, noisy_clusters, windows 1, 2, 4 and votes up to windows // 2 + 1 by silhouette.

    The score is how much nearer a curve is to the clean clusters than to the noisy ones, -1..1, mean over windows.
    """
    history, labels = evidence.need_history(), evidence.labels
    loss = history.mean_over_proxies(history.loss, labels)
    curves = smooth(np.minimum(loss, 2 * math.log(max(evidence.num_classes, 2)))).T  # (n, e)
    score = np.full(len(labels), np.nan)
    noisy = np.zeros(len(labels), dtype=bool)
    recorded = np.isfinite(curves).all(axis=1)
    for c in np.unique(labels):
        members = np.flatnonzero((labels == c) & recorded)
        if not len(members):
            continue
        clean_windows, closeness = np.zeros(len(members), dtype=int), np.zeros(len(members))
        parts = np.array_split(curves[members], min(windows, curves.shape[1]), axis=1)
        for part in parts:
            centers = k_means(part, clusters)  # from the lowest mean loss to the highest
            distance = np.sqrt(((part[:, None] - centers) ** 2).sum(axis=2))
            split = max(len(centers) - noisy_clusters, 1)
            bad = (np.arange(len(centers)) >= split) & (centers.mean(axis=1) > math.log(2))
            clean_windows += ~bad[distance.argmin(axis=1)]
            if len(centers) > 1:
                near, far = distance[:, :split].min(axis=1), distance[:, split:].min(axis=1)
                closeness += (far - near) / np.maximum(far + near, 1e-12)
        score[members] = closeness / len(parts)
        noisy[members] = clean_windows < min(votes, len(parts))
    return Detection(score=score, reasons={"high_loss_curve": noisy})


def smooth(values: np.ndarray) -> np.ndarray:
    """Moving mean of values (e, n) over `SMOOTHING` epochs, fewer at the ends; epochs that are NaN do not count."""
    known = np.isfinite(values)
    totals = np.cumsum(np.where(known, values, 0.0), axis=0)
    counts = np.cumsum(known, axis=0)
    e, half = len(values), SMOOTHING // 2
    last = np.minimum(np.arange(e) + half, e - 1)
    first = np.arange(e) - half - 1
    before = np.where(first[:, None] >= 0, totals[np.maximum(first, 0)], 0.0)
    count = counts[last] - np.where(first[:, None] >= 0, counts[np.maximum(first, 0)], 0)
    return np.where(count > 0, (totals[last] - before) / np.maximum(count, 1), np.nan)


def k_means(points: np.ndarray, k: int) -> np.ndarray:
    """(k or fewer, d) centres of points (n, d) by Lloyd's algorithm, in order of rising mean.

    Starts from even steps between the points of the lowest and the highest mean: no chance is involved.
    """
    mean = points.mean(axis=1)
    low, high = points[mean.argmin()], points[mean.argmax()]
    centers = low + np.linspace(0, 1, k)[:, None] * (high - low)
    for _ in range(ROUNDS):
        nearest = ((points[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
        moved = np.stack([points[nearest == c].mean(axis=0) for c in np.unique(nearest)])
        if moved.shape == centers.shape and np.allclose(moved, centers, atol=1e-9):
            break
        centers = moved
    return centers[np.argsort(centers.mean(axis=1), kind="stable")]

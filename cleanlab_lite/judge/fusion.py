"""One ranking from several: of views, and of what was trained on them.

Ranks become quantiles of a normal distribution (normal scores: van der Waerden, 1952), so that no ranking counts more
because its numbers are larger, and are averaged by how well each agrees with the given labels on rows held out. That
agreement orders encoders as their average precision does, nearly always, without a clean label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from cleanlab_lite.judge.monotone import ranks

# Of agreement behind the best, from which a ranking does not count. A regression and networks on the same vectors that
# were .05 apart ranked better together than either (50 classes of sounds), .12 apart worse (77 classes of sentences).
FAR = 0.08


def fuse(rankings: Sequence[np.ndarray], agreements: Sequence[float]) -> np.ndarray:
    """(n,) float64, higher is cleaner: mean normal score of rankings (n,), NaN where no ranking that counts has one.

    Args:
        agreements: of each ranking, the share of the given labels that its held-out predictions agree with.
    """
    weight = shares(agreements)
    scores = np.stack([normal_scores(ranking) for ranking in rankings])
    counted = np.where(np.isfinite(scores), weight[:, None], 0)
    total = counted.sum(axis=0)
    mean = (np.nan_to_num(scores) * counted).sum(axis=0) / np.where(total > 0, total, 1)
    return np.where(total > 0, mean, np.nan)


def shares(agreements: Sequence[float]) -> np.ndarray:
    """(r,) weight of each ranking: 1 for the best, less for those behind, 0 from `FAR` on."""
    behind = max(agreements) - np.asarray(agreements, dtype=np.float64)
    return np.maximum(1 - behind / FAR, 0)


def normal_scores(ranking: np.ndarray) -> np.ndarray:
    """(n,) float64 quantiles of a normal distribution at the ranks of a ranking (n,); ties alike, NaN where it is."""
    scores = np.full(len(ranking), np.nan)
    known = np.flatnonzero(~np.isnan(ranking))
    scores[known] = ndtri((ranks(ranking[known]) - 0.5) / max(len(known), 1))
    return scores

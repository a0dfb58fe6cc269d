"""Planted errors: rows that one proxy is shown a wrong label of, so that it is known how wrong labels look here.

Their margins are AUM's threshold samples (Pleiss et al., NeurIPS 2020), drawn from the proxies' own confusions.
"""

from __future__ import annotations

import numpy as np

from cleanlab_lite.arrays import draw
from cleanlab_lite.evidence.evidence import Plants
from cleanlab_lite.matrices import Matrix, predictions

FEWEST_PLANTED, MOST_PLANTED = 60, 0.3  # rows, for a distribution of margins; share of a small set


def share_to_plant(asked: float, rows: int) -> float:
    """Of `rows` rows: what was asked for, or more where that would be too few to tell anything."""
    return max(asked, min(FEWEST_PLANTED / rows, MOST_PLANTED))


def plant(
    labels: np.ndarray,
    rows: np.ndarray,
    pred_probs: Matrix,
    logits: Matrix,
    share: float,
    proxy: int,
    seed: int,
) -> Plants:
    """Choose `share` of the rows at random and draw a wrong label for each.

    Half of the labels are drawn from the row's own out-of-sample probabilities without the given class (errors as
    hard as this ensemble can make them), half from the labels that rows of the same class seem to be confused with:
    those on whose true class the held-out proxy and the mean of all agree, against the given label.
    """
    rng = np.random.default_rng((seed, 1))
    chosen = rng.choice(rows, max(2, round(share * len(rows))), replace=False)
    instance_level = np.arange(len(chosen)) % 2 == 0
    k = pred_probs.shape[1]
    vote, other = (predictions(values)[rows] for values in (pred_probs, logits))
    confused = (vote == other) & (vote != labels[rows])
    counts = np.full((k, k), 0.1 * confused.sum() / k**2 + 1e-3)  # a little of every confusion
    np.add.at(counts, (vote[confused], labels[rows][confused]), 1)  # [true, given]

    probability = np.where(instance_level[:, None], pred_probs[chosen], counts[labels[chosen]]).astype(np.float64)
    own = np.arange(k) == labels[chosen][:, None]
    probability = np.where(own, 0, probability + 1e-12)  # a row that is all certainty draws any class
    return Plants(proxy, chosen, draw(probability, rng), instance_level)

"""Agreement of the given label with the labels of the nearest rows in feature space, the row itself left out.

Bahri, Jiang and Gupta, "Deep k-NN for noisy labels", ICML 2020. By cosine similarity, see `neighbors`.

Rows with equal features share one vote, split by their labels, and none of them votes for another: otherwise
copies of a wrong label vouch for each other. Misses errors that a whole neighbourhood shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cleanlab_lite.arrays import row_keys
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection
from cleanlab_lite.judge.neighbors import Search, neighbors_in_blocks
from cleanlab_lite.matrices import Matrix, per_row, take

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SHOWN = 10  # neighbours in the report
BLOCK = 2000  # rows whose votes are held at once


@DETECTORS.register(
    "knn",
    summary="leave-one-out vote of the nearest neighbours",
    paper="Bahri, Jiang and Gupta, ICML 2020",
    needs=("features",),
    runs=True,
    given=("seed", "search"),
)
def nearest_neighbor_vote(
    evidence: Evidence, *, k: int | None = None, max_pool: int = 50_000, seed: int = 0, search: Search | None = None
) -> Detection:
    """k is 50, or 10 where the smallest class has fewer than 200 rows.

    Above `max_pool` distinct rows the neighbours are sought among that many, drawn with `seed`: time grows with the
    rows. Classes vote with weight 1/sqrt(size) when the largest is over 10 times the smallest.
    """
    features, labels, num_classes = evidence.need("features"), evidence.labels, evidence.num_classes
    from scipy.sparse import csr_matrix

    n = len(labels)
    sizes = np.bincount(labels, minlength=num_classes)
    present = sizes[sizes > 0]
    smallest, largest = (int(present.min()), int(present.max())) if n else (0, 0)
    k = k or (10 if smallest < 200 else 50)
    class_weight = 1 / np.sqrt(np.maximum(sizes, 1)) if largest > 10 * smallest else np.ones(num_classes)

    first, group, count = _equal_rows(features)
    among = None
    if len(first) > max_pool:
        among = np.sort(np.random.default_rng(seed).choice(len(first), max_pool, replace=False))
    # (u, k) the vote of each distinct row, split by the labels of the rows that share it
    votes = csr_matrix((class_weight[labels] / count[group], (group, labels)), shape=(len(first), num_classes))

    agreement, score = np.full(n, np.nan), np.full(n, np.nan)
    suggestion = np.full(n, -1, dtype=np.int64)
    shown = np.full((n, SHOWN), -1, dtype=np.int32)
    blocks = neighbors_in_blocks(take(features, first), max(k, SHOWN), among=among, search=search)
    for distinct, nearest, similarity in blocks:
        place = np.full(len(first), -1)
        place[distinct] = np.arange(len(distinct))
        those = np.flatnonzero(place[group] >= 0)
        shown[those] = np.where(nearest >= 0, first[nearest], -1)[place[group[those]], :SHOWN]
        for rows in np.split(those, range(BLOCK, len(those), BLOCK)):
            at = place[group[rows]]
            agreement[rows], score[rows], suggestion[rows] = _vote(
                nearest[at, :k], similarity[at, :k], votes, labels[rows]
            )
    return Detection(
        score=score,
        columns={"knn_label": suggestion, "knn_agreement": agreement, "neighbors": shown},
        reasons={"neighbours_disagree": (suggestion >= 0) & (suggestion != labels)},
        facts={"k": k, "distinct_rows": len(first)},
    )


def _vote(
    voters: np.ndarray, closeness: np.ndarray, votes: csr_matrix, given: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(r,) share of the given label, (r,) its margin, (r,) the class that wins; NaN and -1 for rows nobody votes on.

    `voters` (r, k) number the rows of `votes` (u, c), -1 where there is none, and `closeness` (r, k) says how near.
    """
    from scipy.sparse import csr_matrix

    index = np.arange(len(given))
    valid = voters >= 0
    ends = np.concatenate([[0], valid.sum(axis=1).cumsum()])
    shape = (len(given), votes.shape[0])
    total = (csr_matrix((np.ones(ends[-1]), voters[valid], ends), shape=shape) @ votes).toarray()
    cast = total.sum(axis=1)
    total /= np.maximum(cast, np.finfo(float).tiny)[:, None]
    own = total[index, given]
    # equal votes for two other classes: the closer neighbours decide
    tie = (csr_matrix((closeness[valid].astype(np.float64), voters[valid], ends), shape=shape) @ votes).toarray()
    total[index, given] = -1
    rival = np.argmax(total + 1e-6 * tie / voters.shape[1], axis=1)
    margin = own - np.maximum(total[index, rival], 0)
    suggestion = np.where(margin < -1e-9, rival, given)
    heard = cast > 0
    return np.where(heard, own, np.nan), np.where(heard, margin, np.nan), np.where(heard, suggestion, -1)


def _equal_rows(features: Matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups of equal rows: first row of each (u,) ascending, group of each row (n,), size of each (u,)."""
    keys = per_row(row_keys, features)
    _, first, group, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[group], count[order]

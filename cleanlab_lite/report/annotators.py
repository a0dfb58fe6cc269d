"""How reliable several annotators are, and what they say of every row together with the views."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cleanlab_lite.arrays import Z
from cleanlab_lite.crowd import TO_ALL
from cleanlab_lite.judge.crowd import Crowd
from cleanlab_lite.judge.verdict import Verdict
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.matrices import blocks
from cleanlab_lite.run.summary import Annotator, Mistake
from cleanlab_lite.votes import confused

MISTAKES = 5  # of an annotator
SCHEMA = pa.schema(
    [
        ("annotator", pa.string()),
        ("votes", pa.int64()),
        *((name, pa.float64()) for name in ("quality", "low", "high")),
        (
            "mistakes",
            pa.list_(pa.struct([("consensus", pa.string()), ("said", pa.string()), ("votes", pa.int64())])),
        ),
    ]
)


def annotators_of(manifest: Manifest, crowd: Crowd) -> list[Annotator]:
    """The annotators who have voted on judged rows, the least reliable first."""
    votes, classes = crowd.votes, manifest.classes
    labels = _best(crowd)[0]
    number = np.bincount(votes.annotator, minlength=len(votes.annotators))
    found = []
    for who in np.flatnonzero(number).tolist():
        quality, n = float(crowd.consensus.accuracy[who]), int(number[who])
        spread = Z * np.sqrt(quality * (1 - quality) / (n + TO_ALL))
        mistakes = [Mistake(classes[a], classes[b], m) for a, b, m in confused(votes, labels, who)[:MISTAKES]]
        low, high = max(float(quality - spread), 0.0), min(float(quality + spread), 1.0)
        found.append(Annotator(votes.annotators[who], n, quality, low, high, mistakes))
    return sorted(found, key=lambda each: (each.quality, each.annotator))


def annotators_table(annotators: list[Annotator]) -> pa.Table:
    """A line per annotator."""
    lines = [vars(each) | {"mistakes": [vars(mistake) for mistake in each.mistakes]} for each in annotators]
    return pa.Table.from_pylist(lines, schema=SCHEMA)


def consensus_table(manifest: Manifest, verdict: Verdict, crowd: Crowd) -> pa.Table:
    """A line per row of the manifest: given label, consensus and its probability, number of votes, and the share of
    them that is for the consensus. Null where nobody has voted, or the row is not judged."""
    n, votes = len(manifest), crowd.votes
    label, p = _best(crowd)
    number = votes.counts(len(label))
    agree = np.bincount(votes.item, weights=votes.label == label[votes.item], minlength=len(label))
    place = np.full(n, -1)
    rows = np.flatnonzero(verdict.judged)
    place[rows[crowd.voted]] = np.flatnonzero(crowd.voted)
    missing = place < 0
    classes = pa.array(manifest.classes, pa.string())
    return pa.table(
        {
            "id": pa.array(manifest.ids, pa.string()),
            "given_label": classes.take(pa.array(manifest.labels, mask=manifest.labels < 0)),
            "consensus_label": classes.take(pa.array(label[place], mask=missing)),
            "p_consensus": pa.array(p[place], pa.float32(), mask=missing),
            "agreement": pa.array((agree / np.maximum(number, 1))[place], pa.float32(), mask=missing),
            "votes": pa.array(np.where(missing, 0, number[place]), pa.int32()),
        }
    )


def _best(crowd: Crowd) -> tuple[np.ndarray, np.ndarray]:
    """(n,) the most probable class, and its probability."""
    n = crowd.consensus.shape[0]
    label, p = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.float32)
    for part in blocks(crowd.consensus):
        posterior = crowd.consensus[part]
        label[part], p[part] = posterior.argmax(axis=1), posterior.max(axis=1)
    return label, p

"""Whether the qualities of planted annotators, and the true labels, come out of their votes: a section of `trust`.

The crowd votes on real data whose truth is known. Errors are as those of people: half of them are the class that the
row looks most like beside its own, and rows that look like another class are mistaken twice as often by everybody. One
annotator says anything (a spammer), one mostly something wrong (an adversary).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data import Dataset, load
from cleanlab_lite.crowd import find_consensus, majority
from cleanlab_lite.door import audit
from cleanlab_lite.judge.closed_form import look
from cleanlab_lite.judge.neighbors import nearest_neighbors
from cleanlab_lite.judge.random_features import RandomFeatures
from cleanlab_lite.matrices import Softmax
from cleanlab_lite.measure import average_precision
from cleanlab_lite.votes import Votes

CROWDS = {  # name -> share of right votes of each annotator
    "3": (0.9, 0.75, 0.6),
    "3, one adversary": (0.9, 0.8, 0.1),
    "5, spammer and adversary": (0.9, 0.8, 0.7, math.nan, 0.1),
    "7, spammer and adversary": (0.95, 0.85, 0.8, 0.7, 0.6, math.nan, 0.1),
}
NEAR, TWICE = 10, 2.0
HEADS = (
    *("set", "annotators", "votes per item", "majority", "Dawid-Skene", "views", "CROWDLAB", "together"),
    *("quality off, Dawid-Skene", "together", "AP of p", "wrong", "rate", "low", "high"),
)


def add_section(sections: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    section = sections.add_parser("annotators")
    add = section.add_argument
    add("--data", type=Path, nargs="+", required=True, help="folders with known truth")
    add("--labels", required=True, help="label set, whose rows are taken")
    add("--per-item", type=int, nargs="+", default=[2, 3])
    add("--seeds", type=int, default=1)
    add("--preset", default="fast")
    add("--runs", type=Path, default=Path("trust-runs"))
    section.set_defaults(run=of_annotators)


def of_annotators(args: argparse.Namespace) -> None:
    print("| " + " | ".join(HEADS) + " |\n" + "|" + "---|" * len(HEADS), flush=True)
    for folder in args.data:
        for name, qualities in CROWDS.items():
            for per_item in args.per_item:
                found = []
                for seed in range(args.seeds):
                    place = args.runs / f"{folder.name}-{args.labels}-crowd-{name.replace(' ', '-')}-{per_item}-{seed}"
                    place.mkdir(parents=True, exist_ok=True)
                    data = load(folder, args.labels, features_to=place / "features.npy")
                    found.append(outcome(data, qualities, per_item, seed, place, args.preset))
                cells = [f"{value:.3f}" for value in np.mean(found, axis=0)]
                print("| " + " | ".join([data.folder, name, str(per_item), *cells]) + " |", flush=True)


def vote(
    truth: np.ndarray, looks: np.ndarray, k: int, qualities: Sequence[float], per_item: int, rng: np.random.Generator
) -> Votes:
    """Votes on n items. truth (n,) and looks (n,) are classes; the latter what the item looks most like beside."""
    n, a = len(truth), len(qualities)
    who = np.sort(np.argsort(rng.random((n, a)), axis=1)[:, :per_item], axis=1).ravel()
    item = np.repeat(np.arange(n), min(per_item, a))
    harder = np.where(looks >= 0, TWICE, 1.0)
    quality = np.array([1 / k if math.isnan(each) else each for each in qualities])
    wrong = rng.random(len(item)) < np.minimum((1 - quality[who]) * (harder / harder.mean())[item], 1)
    anything = (truth[item] + rng.integers(1, k, len(item))) % k
    similar = np.where((looks[item] >= 0) & (rng.random(len(item)) < 0.5), looks[item], anything)
    spam = np.isnan(np.array(qualities))[who]
    said = np.where(spam, rng.integers(0, k, len(item)), np.where(wrong, similar, truth[item]))
    return Votes(tuple(f"annotator {j}" for j in range(a)), item, who, said)


def looks_like(features: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(n,) the class other than the true one that most of the nearest rows have; -1 where less than two have one."""
    near = truth[nearest_neighbors(features, NEAR)[0]]
    other = np.where(near == truth[:, None], -1, near)
    result = np.full(len(truth), -1)
    for row, classes in enumerate(other):
        values, counts = np.unique(classes[classes >= 0], return_counts=True)
        if len(values) and counts.max() > 1:
            result[row] = values[counts.argmax()]
    return result


def crowdlab(votes: Votes, q: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(n, k) by the formulas of Goh et al. (2022), from probabilities q (n, k) and the majority (n,)."""
    n, k = q.shape
    counts = votes.counts(n)
    said = np.zeros((n, k))
    np.add.at(said, (votes.item, votes.label), 1)
    several = counts[votes.item] > 1
    right = float((votes.label == given[votes.item])[several].mean())
    others = (said[votes.item, votes.label] - 1) * several
    agree = np.bincount(votes.annotator, others) / np.maximum(
        np.bincount(votes.annotator, (counts[votes.item] - 1) * several), 1
    )
    base = 1 - np.bincount(given).max() / n
    weight = np.maximum(1 - (1 - agree) / base, 1e-6)
    of_model = max(1 - (1 - (q.argmax(axis=1) == given)[counts > 1].mean()) / base, 1e-6) * np.sqrt(counts.mean())
    result = of_model * q
    one = np.full((k, k), (1 - right) / (k - 1))
    np.fill_diagonal(one, right)
    np.add.at(result, votes.item, weight[votes.annotator][:, None] * one[votes.label])
    return result / result.sum(axis=1, keepdims=True)


def outcome(
    data: Dataset, qualities: Sequence[float], per_item: int, seed: int, place: Path, preset: str
) -> list[float]:
    """What `HEADS` names, of one crowd and one audit of its votes."""
    assert data.features is not None
    features = np.load(data.features).astype(np.float32)
    classes, truth = np.unique(data.truth, return_inverse=True)
    n, k = len(truth), len(classes)
    votes = vote(truth, looks_like(features, truth), k, qualities, per_item, np.random.default_rng(seed))
    pq.write_table(
        pa.table(
            {
                "id": [f"{row:06d}" for row in votes.item.tolist()],
                "annotator": [votes.annotators[who] for who in votes.annotator.tolist()],
                "label": classes[votes.label].tolist(),
            }
        ),
        place / "votes.parquet",
    )
    np.save(place / "rows.npy", features[votes.item])
    found = audit(
        place / "votes.parquet",
        features=place / "rows.npy",
        preset=preset,
        seed=seed,
        out=place / "run",
        progress=False,
    )
    given, alone = majority(votes, n, k), find_consensus(votes, n, k)
    consensus = pq.read_table(place / "run" / "consensus.parquet")["consensus_label"].to_pylist()
    together = np.searchsorted(classes, np.array(consensus))
    views = {"vectors": RandomFeatures.of(features, seed=seed, multiply=np.matmul)}
    head, _ = look(views, given, k, np.arange(n), seed=seed, multiply=np.matmul)
    q = np.asarray(Softmax(head.logits))
    real = np.array([np.mean((votes.label == truth[votes.item])[votes.annotator == j]) for j in range(len(qualities))])
    quality = {each.annotator: each.quality for each in found.summary.annotators}
    said = np.array([quality[name] for name in votes.annotators])
    p = np.asarray(found.table["p_mislabel"])
    wrong = given != truth
    accuracy = [float((each == truth).mean()) for each in (given, np.asarray(alone).argmax(axis=1), q.argmax(axis=1))]
    accuracy += [float((each == truth).mean()) for each in (crowdlab(votes, q, given).argmax(axis=1), together)]
    off = [float(np.abs(each - real).max()) for each in (alone.accuracy, said)]
    noise = found.summary.noise_rate
    rates = [math.nan if end is None else end for end in (noise.estimate, noise.low, noise.high)]
    return [*accuracy, *off, average_precision(1 - p, wrong), float(wrong.mean()), *rates]

"""A section of `benchmarks.trust`: how often the interval of the noise rate holds the truth, in simulated worlds.

Blobs of several classes, strong (a right label is hardly ever in doubt) or weak; labels are wrong uniformly, by pairs
of classes, or where a row lies near another class. The audit is that of `--preset fast` on vectors, from head to rate.
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np

from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.calibration import NoiseRate
from cleanlab_lite.judge.closed_form import look
from cleanlab_lite.judge.random_features import RandomFeatures
from cleanlab_lite.judge.ranking import witnesses
from cleanlab_lite.judge.verdict import judge_rows
from cleanlab_lite.matrices import Matrix, Softmax, UnitRows

N, K, D = 1000, 6, 16  # rows, classes, dimensions
NOISES = ("uniform", "class", "row")
RATES = (0.02, 0.05, 0.1, 0.2)
SPREADS = {"strong": 4.5, "weak": 2.5}  # distance of a centre from the origin, in standard deviations of a class


def add_section(sections: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    section = sections.add_parser("rate")
    section.add_argument("--simulations", type=int, default=200)
    section.set_defaults(run=of_rate)


def of_rate(args: argparse.Namespace) -> None:
    cells = list(product(SPREADS, NOISES, RATES))
    seen: dict[tuple[str, str, float], list[tuple[float, NoiseRate]]] = {cell: [] for cell in cells}
    for seed in range(args.simulations):
        spread, noise, rate = cells[seed % len(cells)]
        labels, truth, x = world(spread, noise, rate, np.random.default_rng(seed))
        seen[spread, noise, rate].append((float((labels != truth).mean()), estimated(labels, x, seed)))
    heads = ("vectors", "labels", "rate", "worlds", "estimate", "interval", "covers", "too low", "too high")
    print("| " + " | ".join(heads) + " |\n" + "|" + "---|" * len(heads))
    for (spread, noise, rate), found in seen.items():
        if found:
            print("| " + " | ".join((spread, noise, f"{rate:.0%}", *_shares(found))) + " |", flush=True)
    print("| all | | | " + " | ".join(_shares([each for found in seen.values() for each in found])) + " |")


def _shares(found: list[tuple[float, NoiseRate]]) -> tuple[str, ...]:
    low, high = (np.array([getattr(rate, end) for _, rate in found]) for end in ("low", "high"))
    truth, estimate = np.array([true for true, _ in found]), np.array([rate.estimate for _, rate in found])
    covers = (low <= truth) & (truth <= high)
    shares = (covers.mean(), (high < truth).mean(), (low > truth).mean())
    ends = f"{np.mean(low):.3f} - {np.mean(high):.3f}"
    return (f"{len(found)}", f"{np.mean(estimate):.3f}", ends, *(f"{share:.2f}" for share in shares))


def world(spread: str, noise: str, rate: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (n,), the truth (n,), and vectors (n, d)."""
    centres = rng.standard_normal((K, D))
    centres *= SPREADS[spread] / np.linalg.norm(centres, axis=1, keepdims=True)
    truth = rng.integers(0, K, N)
    x = centres[truth] + rng.standard_normal((N, D))
    distance = ((x[:, None] - centres) ** 2).sum(axis=2)
    distance[np.arange(N), truth] = np.inf
    nearest = distance.argmin(axis=1)
    weight = np.exp(-(distance.min(axis=1) - ((x - centres[truth]) ** 2).sum(axis=1)) / 8) if noise == "row" else None
    wrong = rng.choice(N, round(rate * N), False, None if weight is None else weight / weight.sum())
    other = {
        "uniform": (truth + rng.integers(1, K, N)) % K,
        "class": (truth + np.where(rng.random(N) < 0.8, 1, rng.integers(1, K, N))) % K,
        "row": nearest,
    }[noise]
    labels = truth.copy()
    labels[wrong] = other[wrong]
    return labels, truth, x.astype(np.float32)


def estimated(labels: np.ndarray, x: np.ndarray, seed: int) -> NoiseRate:
    """The noise rate as a fast audit of vectors (n, d) has it."""
    views: dict[str, Matrix] = {"vectors": RandomFeatures.of(x, seed=seed)}
    head, votes = look(views, labels, K, np.arange(len(labels)), seed=seed)
    evidence = Evidence(
        labels=labels,
        num_classes=K,
        features=UnitRows((x,)),
        pred_probs=Softmax(head.logits),
        logits=head.logits,
        head=head,
        votes=votes,
    )
    return judge_rows(evidence, witnesses(evidence, seed=seed), None, seed=seed).calibration.rate

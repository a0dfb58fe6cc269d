"""Sections of `benchmarks.trust` about reviews: what truthful decisions say, and whether a stop is right.

They use p_mislabel of audits whose truth is known, and worlds drawn from these p, where they are right by construction.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.data import label_sets, load
from cleanlab_lite.config import preset
from cleanlab_lite.judge.reviews import Looks, calibrate_by, random_order, remaining
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.pipeline import run_audit, run_key
from cleanlab_lite.run import Run, RunFolder
from cleanlab_lite.run.columns import numbers
from cleanlab_lite.run.report import FLAG

POINTS = 0.05  # of the precision of the flags
DECISIONS = (0, 40, 100, 300)
LOOKS = 40  # at the bound, spread over the rows

World = tuple[str, np.ndarray, np.ndarray]  # its name, p_mislabel (n,), and which labels are wrong (n,)


def add_sections(sections: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name, run in (("reviews", of_reviews), ("stop", of_stop)):
        section = sections.add_parser(name)
        add = section.add_argument
        add("--data", type=Path, nargs="+", required=True, help="folders with known truth")
        add("--labels", nargs="+", help="label sets  [default: all of them]")
        add("--features", action="store_true", help="audit the embeddings")
        add("--simulations", type=int, default=200)
        add("--target", type=float, default=0.01, help="of the stop rule")
        add(
            "--runs", type=Path, default=Path("trust-runs"), help="folder of the runs, which stay: what is done is read"
        )
        section.set_defaults(run=run)


def worlds(args: argparse.Namespace) -> Iterator[World]:
    """Of every audit, with the true errors and with errors drawn from its p."""
    for folder in args.data:
        for labels in args.labels or label_sets(folder):
            place = args.runs / f"{folder.name}-{labels}-fast-0{'-features' * args.features}"
            place.mkdir(parents=True, exist_ok=True)
            data = load(folder, labels, features_to=place / "features.npy" if args.features else None)
            manifest, config = read_manifest(data.manifest, features=data.features), preset("fast")
            with Run.start(place / "run", "trust", run_key(manifest, config)) as run:
                run_audit(manifest, config, run=run)
            p = numbers(RunFolder(place / "run").report.table, "p_mislabel")
            judged = np.isfinite(p)
            yield f"{folder.name} {labels}", p[judged], (data.given != data.truth)[judged]
            drawn = np.random.default_rng(0).random(int(judged.sum())) < p[judged]
            yield f"{folder.name} {labels}, drawn from p", p[judged], drawn


def of_reviews(args: argparse.Namespace) -> None:
    """After so many decisions along the random order: how near the stated precision is, and what the intervals hold."""
    heads = (
        "set",
        "flags",
        "precision",
        "decisions",
        "within 5 points",
        "±",
        "holds",
        "missed hold",
        "raw share within",
    )
    print("| " + " | ".join(heads) + " |\n" + "|" + "---|" * len(heads), flush=True)
    for name, p, wrong in worlds(args):
        flagged = p >= FLAG
        real, missed, flags = wrong[flagged].sum(), wrong[~flagged].sum(), max(flagged.sum(), 1)
        for count in DECISIONS:
            near, raw, inside, unflagged, width = [], [], [], [], []
            for seed in range(args.simulations if count else 1):
                rows = random_order(p, seed=seed)[:count]
                found = calibrate_by(p, flagged, truthful(rows, wrong), seed=seed)
                near.append(abs(found.flagged.estimate - real) <= POINTS * flags)
                inside.append(found.flagged.low <= real <= found.flagged.high)
                unflagged.append(found.unflagged.low <= missed <= found.unflagged.high)
                width.append(found.flagged.within / flags)
                drawn = np.random.default_rng(seed).choice(np.flatnonzero(flagged), min(count // 2, flags), False)
                raw.append(len(drawn) > 0 and abs(wrong[drawn].mean() - real / flags) <= POINTS)
            shares = [f"{np.mean(each):.2f}" for each in (near, width, inside, unflagged, raw)]
            print("| " + " | ".join((name, f"{flags}", f"{real / flags:.3f}", f"{count}", *shares)) + " |", flush=True)


def of_stop(args: argparse.Namespace) -> None:
    """Flags are decided first, worst first; then rows of the random order, until the bound is below the target."""
    heads = ("set", "rows", "left after the flags", "target", "promise kept", "stopped before the end", "rows decided")
    print("| " + " | ".join(heads) + " |\n" + "|" + "---|" * len(heads), flush=True)
    for name, p, wrong in worlds(args):
        kept, early, decided = [], [], []
        for seed in range(args.simulations):
            rows, found = decided_until(p, wrong, args.target, seed)
            kept.append(found < args.target)
            early.append(rows < len(p))
            decided.append(rows)
        left = wrong[p < FLAG].mean() * (p < FLAG).mean()
        numbers_of_it = (f"{np.mean(kept):.3f}", f"{np.mean(early):.2f}", f"{np.median(decided):,.0f}")
        print(
            "| " + " | ".join((name, f"{len(p):,}", f"{left:.1%}", f"{args.target:.0%}", *numbers_of_it)) + " |",
            flush=True,
        )


def decided_until(p: np.ndarray, wrong: np.ndarray, target: float, seed: int) -> tuple[int, float]:
    """Rows decided until the stop rule says so, and the share of wrong labels that is left then."""
    order, done = random_order(p, seed=seed), p >= FLAG
    rest = order[~done[order]]
    step = max(len(p) // LOOKS, 1)
    for start in range(0, len(rest) + step, step):
        done[rest[:start]] = True
        if remaining(p, truthful(np.flatnonzero(done), wrong), seed=seed).share < target:
            break
    return int(done.sum()), float((wrong & ~done).mean())


def truthful(rows: np.ndarray, wrong: np.ndarray) -> Looks:
    """Decisions on some rows (b,) that are right."""
    decided = np.zeros(len(wrong), dtype=bool)
    decided[rows] = True
    return Looks(decided, decided & wrong, decided)

"""Sections of `benchmarks.trust` about reviews: what truthful decisions say, whether a stop is right, and what a second
audit makes of decided rows.

They use p_mislabel of audits whose truth is known, and worlds drawn from these p, where they are right by construction.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from benchmarks.data import Dataset, label_sets, load
from cleanlab_lite.config import preset
from cleanlab_lite.judge.reviews import Looks, calibrate_by, random_order, remaining
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.measure import average_precision
from cleanlab_lite.pipeline import read_decided, run_audit, run_key
from cleanlab_lite.run import Run, RunFolder
from cleanlab_lite.run.columns import numbers
from cleanlab_lite.run.report import FLAG, flags
from cleanlab_lite.sources import source_of

POINTS = 0.05  # of the precision of the flags
DECISIONS = (0, 40, 100, 300)
CARELESS = 0.1  # share of decisions
LOOKS = 40  # at the bound, spread over the rows

World = tuple[str, np.ndarray, np.ndarray]  # its name, p_mislabel (n,), and which labels are wrong (n,)


def add_sections(sections: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name, run in (("reviews", of_reviews), ("reviewers", of_reviewers), ("stop", of_stop), ("trusted", of_trusted)):
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


def audits(args: argparse.Namespace) -> Iterator[tuple[Dataset, RunFolder]]:
    for folder in args.data:
        for labels in args.labels or label_sets(folder):
            place = args.runs / f"{folder.name}-{labels}-fast-0{'-features' * args.features}"
            place.mkdir(parents=True, exist_ok=True)
            data = load(folder, labels, features_to=place / "features.npy" if args.features else None)
            yield data, audited(data, place / "run")


def audited(data: Dataset, place: Path, trusted: Path | None = None) -> RunFolder:
    """A fast audit, done or read."""
    manifest, config = read_manifest(data.manifest, features=data.features), preset("fast")
    people = None if trusted is None else read_decided(trusted, manifest)
    source = source_of(manifest, config, decided=people and people.decided)
    with Run.start(place, "trust", run_key(manifest, config, trusted=people)) as run:
        run_audit(manifest, config, run=run, source=source, asked=people and people.asked)
    return RunFolder(place)


def worlds(args: argparse.Namespace) -> Iterator[World]:
    """Of every audit, with the true errors and with errors drawn from its p."""
    for data, run in audits(args):
        name, p = f"{data.folder} {data.labels}", numbers(run.report.table, "p_mislabel")
        judged = np.isfinite(p)
        yield name, p[judged], (data.given != data.truth)[judged]
        drawn = np.random.default_rng(0).random(int(judged.sum())) < p[judged]
        yield f"{name}, drawn from p", p[judged], drawn


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
                drawn = np.random.default_rng(seed).choice(np.flatnonzero(flagged), flagged[rows].sum(), False)
                raw.append(len(drawn) > 0 and abs(wrong[drawn].mean() - real / flags) <= POINTS)
            shares = [f"{np.mean(each):.2f}" for each in (near, width, inside, unflagged, raw)]
            print("| " + " | ".join((name, f"{flags}", f"{real / flags:.3f}", f"{count}", *shares)) + " |", flush=True)


def of_reviewers(args: argparse.Namespace) -> None:
    """What truthful, careless and adversarial decisions make of the noise rate and of the flags: means over all sets.

    The worst first (`top`), in the random order (`order`), or uniform; careless decisions err in one of ten rows;
    adversarial ones drop right rows that are not flagged, keep wrong ones that are, or half and half.
    """
    seen: dict[str, list[tuple[float, ...]]] = {}
    for _, p, wrong in worlds(args):
        flagged, n = p >= FLAG, len(p)
        for seed in range(args.simulations):
            for name, looks in reviewers(p, wrong, seed):
                found = calibrate_by(p, flagged, looks, seed=seed)
                rate, flags = found.everything, found.flagged
                real, all_wrong = wrong[flagged].sum(), wrong.sum()
                numbers = (
                    abs(rate.estimate - all_wrong) / n,
                    rate.low <= all_wrong <= rate.high,
                    (rate.high - rate.low) / n,
                    abs(flags.estimate - real) / max(flagged.sum(), 1),
                    flags.low <= real <= flags.high,
                )
                seen.setdefault(name, []).append(numbers)
    heads = ("decisions", "rate off by", "holds", "length", "precision of flags off by", "holds")
    print("| " + " | ".join(heads) + " |\n" + "|" + "---|" * len(heads))
    for name, each in seen.items():
        off, holds, length, flags_off, flags_hold = np.mean(each, axis=0)
        print(f"| {name} | {off:.3f} | {holds:.2f} | {length:.2f} | {flags_off:.3f} | {flags_hold:.2f} |", flush=True)


def reviewers(p: np.ndarray, wrong: np.ndarray, seed: int) -> Iterator[tuple[str, Looks]]:
    """Their names, and what they decide about rows with p (n,), of which some are `wrong` (n,)."""
    rng, flagged = np.random.default_rng((seed, 11)), p >= FLAG
    orders = {"top": np.argsort(-p), "order": random_order(p, seed=seed), "uniform": rng.permutation(len(p))}
    for name, order in orders.items():
        for count in (40, 100):
            yield f"{count} truthful, {name}", truthful(order[:count], wrong)
        says = wrong ^ (rng.random(len(p)) < CARELESS)
        yield f"100 careless, {name}", truthful(order[:100], says)
    right, found = (rng.permutation(np.flatnonzero(rows)) for rows in (~wrong & ~flagged, wrong & flagged))
    for count in (5, 10, 20):
        yield f"{count} adversarial, dropped", truthful(right[:count], ~wrong)
        yield f"{count} adversarial, kept", truthful(found[:count], ~wrong)
        yield f"{count} adversarial, both", truthful(np.r_[right[: count - count // 2], found[: count // 2]], ~wrong)


def of_trusted(args: argparse.Namespace) -> None:
    """A second audit with truthful decisions on the first rows of the random order as anchors."""
    heads = ("set", "decided", "kept", "of them flagged", "other rows: wrong", "AP without", "AP with", "flags", "real")
    print("| " + " | ".join(heads) + " |\n" + "|" + "---|" * len(heads), flush=True)
    for data, run in audits(args):
        before, wrong = run.report.table, data.given != data.truth
        p = numbers(before, "p_mislabel")
        judged, known = np.isfinite(p), np.isin(data.truth, data.given)
        for count in (each for each in DECISIONS if each):
            rows = random_order(p)[:count]
            trusted = run.folder.parent / f"trusted-{count}.csv"
            labels = np.where(known, data.truth, "")[rows]  # no class of the vocabulary: none is right
            ids = pa.array(read_manifest(data.manifest, features=data.features).ids[rows].tolist())
            pc.write_csv(pa.table({"id": ids, "label": labels.tolist()}), trusted)
            after = audited(data, run.folder.parent / f"run-{count}", trusted).report.table
            rest, kept = judged.copy(), rows[~wrong[rows]]
            rest[rows] = False
            flagged = flags(after)
            scores = (numbers(table, "label_score")[rest] for table in (before, after))
            shares = (wrong[rest].mean(), *(average_precision(score, wrong[rest]) for score in scores))
            cells = [f"{count}", f"{len(kept)}", f"{flagged[kept].sum()}", *(f"{share:.3f}" for share in shares)]
            real = (flagged & wrong)[rest].sum() / max(flagged[rest].sum(), 1)
            cells += [f"{flagged[rest].sum()}", f"{real:.3f}"]
            print("| " + " | ".join([f"{data.folder} {data.labels}", *cells]) + " |", flush=True)


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

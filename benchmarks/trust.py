"""Whether what nlclean says of itself is true: `python -m benchmarks.trust selftest --data FOLDER ...`.

A section per promise. `selftest`: what a self-test predicts of the run's own flags, its interval, and what the truth
says. `verify`: whether cleaning helps, on rows with known truth that a label set does not have, and what is said of
that without them. `annotators`: whether the qualities of a crowd, and the true labels, come out of its votes.
`reviews`: what truthful decisions say. `reviewers`: what careless and adversarial ones make of it. `stop`: whether the
stop rule keeps its promise. `trusted`: whether decided rows help a second audit. `rate`: whether the interval of the
noise rate holds the truth, in simulated worlds. Folders are
those of `benchmarks.data`, with `--features` where they hold embeddings to be audited instead of their files.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import annotators, rates, reviewing
from benchmarks.data import Dataset, label_sets, load, write_unused
from cleanlab_lite.config import preset
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.measure import average_precision
from cleanlab_lite.pipeline import run_audit, run_key
from cleanlab_lite.run import Run, RunFolder
from cleanlab_lite.run.columns import numbers
from cleanlab_lite.run.report import flags
from cleanlab_lite.selftest import self_test
from cleanlab_lite.verify import verify

HEADS = (
    *("set", "seed", "rate", "estimated", "AP", "predicted", "from", "to", "precision", "predicted", "from", "to"),
    *("recall", "predicted", "from", "to", "outside"),
)

WAY_HEADS = (
    "set",
    "preset",
    "learns",
    "tested on",
    "labels",
    "rows",
    "relabelled",
    "accuracy",
    "gain",
    "95 %",
    "verdict",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trust", description=__doc__)
    sections = parser.add_subparsers(required=True)
    section = sections.add_parser("selftest")
    add = section.add_argument
    add("--data", type=Path, nargs="+", required=True, help="folders with known truth")
    add("--labels", nargs="+", help="label sets  [default: all of them]")
    add("--features", action="store_true", help="audit the embeddings")
    add("--preset", default="fast", help="of the run and of its self-test")
    add("--seeds", type=int, default=1)
    add("--runs", type=Path, default=Path("trust-runs"), help="folder of the runs, which stay: what is done is read")
    section.set_defaults(run=of_selftest)
    section = sections.add_parser("verify")
    add = section.add_argument
    add("--data", type=Path, required=True, help="folder with known truth of more rows than the label sets have")
    add("--labels", nargs="+", required=True, help="label sets")
    add("--presets", nargs="+", default=["fast", "balanced"])
    add("--seeds", type=int, default=5)
    add("--test-rows", type=int, default=5000)
    add("--plain", action="store_true", help="networks without anything against wrong labels learn")
    add("--runs", type=Path, default=Path("trust-runs"), help="folder of the runs, which stay: what is done is read")
    section.set_defaults(run=of_verify)
    annotators.add_section(sections)
    reviewing.add_sections(sections)
    rates.add_section(sections)
    args = parser.parse_args()
    args.run(args)


def of_selftest(args: argparse.Namespace) -> None:
    print("| " + " | ".join(HEADS) + " |\n" + "|" + "---|" * len(HEADS), flush=True)
    for folder in args.data:
        for labels in args.labels or label_sets(folder):
            for seed in range(args.seeds):
                place = args.runs / f"{folder.name}-{labels}-{args.preset}-{seed}{'-features' * args.features}"
                place.mkdir(parents=True, exist_ok=True)
                data = load(folder, labels, features_to=place / "features.npy" if args.features else None)
                print("| " + " | ".join(predicted_and_real(data, args.preset, seed, place)) + " |", flush=True)


def predicted_and_real(data: Dataset, name: str, seed: int, place: Path) -> Sequence[str]:
    """What `HEADS` names, for one run and its self-test."""
    manifest = read_manifest(data.manifest, features=data.features)
    config = preset(name, seed=seed)
    with Run.start(place / "run", "trust", run_key(manifest, config)) as run:
        run_audit(manifest, config, run=run)
    folder = RunFolder(place / "run")
    table, rate = folder.report.table, folder.summary.noise_rate.estimate
    judged = np.isfinite(numbers(table, "p_mislabel"))
    wrong, flagged = (data.given != data.truth)[judged], flags(table)[judged]
    real = (
        average_precision(numbers(table, "label_score")[judged], wrong),
        (wrong & flagged).sum() / max(flagged.sum(), 1),
        (wrong & flagged).sum() / max(wrong.sum(), 1),
    )
    found = self_test(folder, manifest, config, preset=name)
    said = [found.expected.average_precision, found.expected.precision, found.expected.recall]
    cells, outside = [], []
    for name, truth, share in zip(("AP", "precision", "recall"), real, said, strict=True):
        ends = (math.nan,) * 3 if share is None else (share.estimate, share.low, share.high)
        cells += [f"{value:.3f}" for value in (truth, *ends)]
        if not ends[1] <= truth <= ends[2]:
            outside.append(name)
    rates = (f"{wrong.mean():.3f}", "-" if rate is None else f"{rate:.3f}")
    return f"{data.folder} {data.labels}", f"{seed}", *rates, *cells, ", ".join(outside)


def of_verify(args: argparse.Namespace) -> None:
    print("| " + " | ".join(WAY_HEADS) + " |\n" + "|" + "---|" * len(WAY_HEADS), flush=True)
    for labels in args.labels:
        for name in args.presets:
            place = args.runs / f"verify-{args.data.name}-{labels}-{name}"
            place.mkdir(parents=True, exist_ok=True)
            clean = write_unused(args.data, labels, args.test_rows, place / "clean.csv")
            for line in gains(args.data / f"manifest_{labels}.csv", clean, name, args, place):
                print("| " + " | ".join([f"{args.data.name} {labels}", name, *line]) + " |", flush=True)


def gains(path: Path, clean: Path, name: str, args: argparse.Namespace, place: Path) -> Iterator[Sequence[str]]:
    """What `WAY_HEADS` names, on trusted rows and on those that an audit agrees with, for one run."""
    manifest, config = read_manifest(path), preset(name)
    with Run.start(place / "run", "trust", run_key(manifest, config)) as run:
        run_audit(manifest, config, run=run)
    for test in (read_manifest(clean), None):
        found = verify(RunFolder(place / "run"), manifest, config, test=test, seeds=args.seeds, plain=args.plain)
        for way in found.ways:
            figures = ("", "", "")
            if way.difference is not None:
                low, high = (f"{100 * (end or 0):+.1f}" for end in (way.low, way.high))
                figures = (f"{100 * way.difference:+.1f}", f"{low} to {high}", way.verdict or "")
            learner = found.learner.split(" on ")[0].removeprefix("a ")
            tested = f"{found.test_rows:,} {'trusted' if test else 'agreeing'}"
            yield learner, tested, way.name, f"{way.rows:,}", f"{way.relabelled:,}", f"{way.accuracy:.3f}", *figures


if __name__ == "__main__":
    main()

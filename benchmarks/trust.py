"""Whether what nlclean says of itself is true: `python -m benchmarks.trust selftest --data FOLDER ...`.

A section per promise. `selftest`: how far what a self-test predicts is from what the truth says, of the run's own
flags. `reviews`: what truthful decisions say. `stop`: whether the stop rule keeps its promise. `rate`:
whether the interval of the noise rate holds the truth, in simulated worlds. Folders are those of `benchmarks.data`,
with `--features` where they hold embeddings to be audited instead of their files.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.data import Dataset, label_sets, load
from benchmarks.rates import add_section
from benchmarks.reviewing import add_sections
from cleanlab_lite.config import preset
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.measure import average_precision
from cleanlab_lite.pipeline import run_audit, run_key
from cleanlab_lite.run import Run, RunFolder
from cleanlab_lite.run.columns import numbers
from cleanlab_lite.run.report import flags
from cleanlab_lite.selftest import self_test

AP, PRECISION = 0.05, 0.07  # how far off a prediction may be
HEADS = (
    *("set", "seed", "rate", "estimated", "AP", "predicted", "precision", "predicted", "recall", "predicted"),
    *("similar", "off"),
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
    add_sections(sections)
    add_section(sections)
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
    wrong, flagged = (data.given != data.truth)[judged], flags(table, "is_label_issue")[judged]
    real = (
        average_precision(numbers(table, "label_score")[judged], wrong),
        (wrong & flagged).sum() / max(flagged.sum(), 1),
        (wrong & flagged).sum() / max(wrong.sum(), 1),
    )
    found = self_test(folder, manifest, config, preset=name)
    said = [
        math.nan if value is None else value
        for value in (found.expected.average_precision, found.expected.precision, found.expected.recall)
    ]
    off = [
        word
        for word, a, b, limit in zip(("AP", "precision"), said, real, (AP, PRECISION), strict=False)
        if not abs(a - b) <= limit
    ]
    pairs = [f"{value:.3f}" for pair in zip(real, said, strict=True) for value in pair]
    rates = (f"{wrong.mean():.3f}", "-" if rate is None else f"{rate:.3f}")
    return f"{data.folder} {data.labels}", f"{seed}", *rates, *pairs, f"{found.expected.similar:.2f}", ", ".join(off)


if __name__ == "__main__":
    main()

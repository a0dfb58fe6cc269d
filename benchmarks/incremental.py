"""A warm start against an audit from scratch, of a set that has grown and whose worst rows were corrected:
`python -m benchmarks.incremental --data FOLDER --labels NAME [--features] [--new N] [--fixed F]`.

N random rows come later; of the others, the F most suspicious wrong ones get their true label in between.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import data
from cleanlab_lite import measure as metrics
from cleanlab_lite.door import audit
from cleanlab_lite.run.report import ReportTable

HEADS = ("seed", "audit", "AP", "AP old", "AP new", "noise rate", "rate error", "ECE", "flagged again", "passes", "s")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.incremental", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of manifest_<labels>.csv and truth.csv")
    add("--labels", required=True, help="label set")
    add("--features", action="store_true", help="audit embeddings.npy instead of the files")
    add("--rows", type=int, help="of the set, drawn at random (default: all)")
    add("--new", type=int, default=0, help="rows that come later")
    add("--fixed", type=int, default=0, help="wrong old rows that are corrected")
    add("--ensemble", type=int, default=5)
    add("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    print("| " + " | ".join(HEADS) + " |\n" + "|" + "---|" * len(HEADS))
    for seed in args.seeds:
        with TemporaryDirectory() as folder:
            compare(args, seed, Path(folder))


def compare(args: argparse.Namespace, seed: int, folder: Path) -> None:
    dataset = data.load(args.data, args.labels, features_to=folder / "x.npy" if args.features else None)
    rows = np.random.default_rng(seed).permutation(len(dataset.given))[: args.rows]
    given, truth, before = dataset.given.copy(), dataset.truth, len(rows) - args.new

    def run(name: str, chosen: np.ndarray, **options: Any) -> tuple[ReportTable, float]:
        manifest = save(folder, dataset, given, chosen)
        since = time.monotonic()
        report = audit(manifest, out=folder / name, seed=seed, ensemble=args.ensemble, **options)
        return report, time.monotonic() - since

    first, _ = run("first", rows[:before])
    order = np.argsort(first.table["label_score"].to_numpy(), kind="stable")
    in_vocabulary = np.isin(truth[rows], given)
    fixed = order[(given[rows][order] != truth[rows][order]) & in_vocabulary[order]][: args.fixed]
    given[rows[fixed]] = truth[rows[fixed]]
    wrong = given[rows] != truth[rows]
    for name, options in (("scratch", {}), ("warm", {"warm_start": folder / "first"})):
        report, seconds = run(name, rows, **options)
        score, p = (report.table[column].to_numpy() for column in ("label_score", "p_mislabel"))
        parts = (slice(None), slice(before), slice(before, None))
        found = [metrics.average_precision(score[part], wrong[part]) if wrong[part].any() else np.nan for part in parts]
        estimate = report.summary.noise_rate.estimate
        rate = np.nan if estimate is None else estimate
        again = int((p[fixed] >= 0.5).sum())
        stages = [json.loads(path.read_bytes())["facts"] for path in (folder / name / "stages").glob("*.json")]
        figures = [*found, rate, metrics.rate_error(rate, wrong), metrics.expected_calibration_error(p, wrong)]
        passes = sum(stage.get("epochs", 0) for stage in stages)
        cells = [str(seed), name, *(f"{value:.3f}" for value in figures), f"{again}/{len(fixed)}", str(passes)]
        print("| " + " | ".join([*cells, f"{seconds:.0f}"]) + " |", flush=True)


def save(folder: Path, dataset: data.Dataset, given: np.ndarray, rows: np.ndarray) -> Path:
    """A manifest of the rows: with their vectors, or with absolute paths."""
    if dataset.features:
        np.savez(folder / "part.npz", features=np.load(dataset.features)[rows], labels=given[rows])
        return folder / "part.npz"
    with dataset.manifest.open(encoding="utf-8", newline="") as file:
        paths = [record["path"] for record in csv.DictReader(file)]
    with (folder / "part.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows((dataset.manifest.parent.resolve() / paths[row], given[row]) for row in rows)
    return folder / "part.csv"


if __name__ == "__main__":
    main()

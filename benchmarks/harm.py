"""How many right labels would be lost without a person: `python -m benchmarks.harm --data FOLDER`.

Small sets with planted errors, several draws of each: some classes of a folder of pictures, a share of the labels
swapped. Of the rows that an audit proposes to drop or relabel, how many have their right label?
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import nlclean

AUDITS: Mapping[str, Mapping[str, Any]] = {
    "fast": {"preset": "fast"},
    "balanced": {},
    "weak": {"views": "pixels", "epochs": 10, "ensemble": 3, "image_size": 48},
}
HEADS = (
    "draw",
    "audit",
    "wrong",
    "flagged",
    "proposed",
    "of these right labels",
    "dropped",
    "of these right labels",
    "refused",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harm", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of truth.csv and pictures")
    add("--classes", type=int, default=6)
    add("--rows", type=int, default=364)
    add("--noise", type=float, default=0.09, help="share of labels swapped with another class")
    add("--draws", type=int, default=10)
    add("--audits", nargs="+", choices=list(AUDITS), default=list(AUDITS))
    args = parser.parse_args()
    rows = [
        (row["path"], row["true_label"]) for row in csv.DictReader((args.data / "truth.csv").open(encoding="utf-8"))
    ]
    print("| " + " | ".join(HEADS) + " |\n" + "|" + "---|" * len(HEADS))
    for draw in range(args.draws):
        paths, truth, given = drawn(rows, args, np.random.default_rng(draw))
        for name in args.audits:
            with TemporaryDirectory() as folder:
                manifest = Path(folder) / "manifest.csv"
                lines = [("path", "label"), *zip((str((args.data / p).resolve()) for p in paths), given, strict=True)]
                with manifest.open("w", encoding="utf-8", newline="") as file:
                    csv.writer(file).writerows(lines)
                report = nlclean.audit(manifest, out=Path(folder) / "run", progress=False, seed=draw, **AUDITS[name])
                print(
                    f"| {draw} | {name} | " + " | ".join(map(str, counted(report, truth != given))) + " |", flush=True
                )


def drawn(
    rows: list[tuple[str, str]], args: argparse.Namespace, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paths, true and given labels of one small set."""
    chosen = rng.choice(sorted({label for _, label in rows}), args.classes, replace=False)
    pool = [(path, label) for path, label in rows if label in set(chosen)]
    picked = [pool[i] for i in np.sort(rng.permutation(len(pool))[: args.rows])]
    paths, truth = (np.array(column) for column in zip(*picked, strict=True))
    given = truth.copy()
    for row in rng.permutation(len(truth))[: round(args.noise * len(truth))]:
        given[row] = rng.choice(chosen[chosen != truth[row]])
    return paths, truth, given


def counted(report: nlclean.Report, wrong: np.ndarray) -> tuple[int | str, ...]:
    """What `HEADS` names, for one audit."""
    action = np.array(report.table["action"].to_pylist())
    flagged = report.table["is_label_issue"].to_numpy(zero_copy_only=False)
    proposed, dropped = np.isin(action, ("drop", "relabel")), action == "drop"
    refused = "" if report.summary.noise_rate.determined else "yes"
    numbers = (wrong, flagged, proposed, proposed & ~wrong, dropped, dropped & ~wrong)
    return *(int(mask.sum()) for mask in numbers), refused


if __name__ == "__main__":
    main()

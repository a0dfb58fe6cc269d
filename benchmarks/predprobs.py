"""Confident learning of nlclean and of cleanlab on public out-of-sample probabilities: no proxy, no training.

`python -m benchmarks.predprobs FOLDER ...`, each with `labels.csv` (id,label), `pred_probs.npy` (n, k) and
`verified.csv` (id,...,is_error): rows that cleanlab had flagged and people looked at. Rows nobody looked at count as
right, so errors that cleanlab missed count against whoever finds them: compare methods, do not quote the figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.csv as pc
from cleanlab.filter import find_label_issues as cleanlab_issues
from cleanlab.rank import get_label_quality_scores

from cleanlab_lite import measure as metrics
from cleanlab_lite.judge.detectors import confident_learning as ours


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predprobs")
    parser.add_argument("folders", nargs="+", type=Path)
    for folder in parser.parse_args(argv).folders:
        print(f"### {folder.name}\n\n{table(*read(folder))}\n")


def read(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (n,), probabilities (n, k) float64, and (n,) bool: verified to be wrong."""
    given = pc.read_csv(folder / "labels.csv")
    verified = pc.read_csv(folder / "verified.csv")
    errors = verified.filter(verified["is_error"].cast("bool"))["id"].to_numpy()
    pred_probs = np.load(folder / "pred_probs.npy").astype(np.float64)
    pred_probs /= pred_probs.sum(axis=1, keepdims=True)  # they were rounded to be stored
    return given["label"].to_numpy(), pred_probs, np.isin(given["id"].to_numpy(), errors)


def table(labels: np.ndarray, pred_probs: np.ndarray, wrong: np.ndarray) -> str:
    """A line per ranking, flags and method."""
    log_probs = np.log(np.maximum(pred_probs, np.finfo(np.float32).tiny))
    scores = {
        "nlclean log_margin": ours.log_margin(labels, log_probs),
        "nlclean self_confidence": ours.self_confidence(labels, pred_probs),
        "nlclean normalized_margin": ours.normalized_margin(labels, pred_probs),
        "nlclean confidence_weighted_entropy": ours.confidence_weighted_entropy(labels, pred_probs),
    }
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        scores[f"cleanlab {method}"] = get_label_quality_scores(labels, pred_probs, method=method)
    count = int(wrong.sum())
    lines = [f"{len(labels):,} rows, {count} verified errors.", ""]
    lines += ["| ranking | AP | AUROC | P@wrong |", "|---|---|---|---|"]
    for name, score in scores.items():
        measures = (
            metrics.average_precision(score, wrong),
            metrics.auroc(score, wrong),
            metrics.precision_at(score, wrong, count),
        )
        lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in measures)} |")
    lines += ["", "| filter | flagged by nlclean | F1 | flagged by cleanlab | F1 |", "|---|---|---|---|---|"]
    for filter_by in ours.FILTERS:
        flags = [find(labels, pred_probs, filter_by=filter_by) for find in (ours.find_label_issues, cleanlab_issues)]
        cells = [f"{int(flagged.sum())} | {metrics.f1_at_flags(flagged, wrong):.3f}" for flagged in flags]
        lines.append(f"| {filter_by} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

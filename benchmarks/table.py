"""One table of all audits from the figures of detection.py: `python -m benchmarks.table FILE.json ...`.

A row per set and audit, beside cleanlab on the same features, the better of its two rankings. RESULTS.md explains the
columns.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detection import ahead, by_method, cell, cpu_seconds_before, rate

HEADS = (
    "set",
    "wrong",
    "audit",
    "AP",
    "F1 own / best",
    "noise rate",
    "ECE",
    "missed@wrong",
    "CPU s",
    "AP cleanlab, same features",
    "difference",
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=(__doc__ or "").split(":")[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="what benchmarks.detection --json wrote")
    args = parser.parse_args(argv)
    print(render([result for file in args.files for result in json.loads(file.read_text("utf-8"))]))


def render(results: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    lines += ["| " + " | ".join(cells) + " |" for result in results for cells in rows_of(result)]
    return "\n".join(lines)


def rows_of(result: dict[str, Any]) -> list[list[str]]:
    """The cells of every audit of one set."""
    findings = result["findings"]
    audits = by_method([finding for finding in findings if finding["by"] == "nlclean"])
    rivals = by_method([finding for finding in findings if finding["by"] == "cleanlab_features"])
    best = max(rivals, key=lambda method: np.mean([f["average_precision"] for f in rivals[method]]), default=None)
    rows = []
    for audit, group in audits.items():
        rival, difference = "-", "-"
        if best:
            rival = cell(rivals[best], "average_precision")
            difference = "{} ({})".format(*ahead(result["differences"][audit][best]))
        rows.append(
            [
                f"{result['data']}, {result['labels']}{' (embeddings)' if result['features'] else ''}",
                f"{result['wrong'] / result['rows']:.3f}",
                audit.removeprefix("nlclean "),
                cell(group, "average_precision"),
                f"{cell(group, 'f1_at_flags')} / {cell(group, 'best_f1')}",
                rate(group),
                cell(group, "ece"),
                cell(group, "missed_at_wrong"),
                f"{cell(group, 'cpu_seconds', 0)} + {cpu_seconds_before(findings):.0f}",
                rival,
                difference,
            ]
        )
    return rows


if __name__ == "__main__":
    main()

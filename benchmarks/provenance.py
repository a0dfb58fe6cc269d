"""Whether noisy sources are found, and nothing else: on the p_mislabel of real audits whose truth is known.

    python -m benchmarks.provenance --data FOLDER --labels NAME [--simulations 200] [--json FILE]

One audit of the vectors (`--preset fast`) with a planted annotator among its columns, as a user would see it; then its
p_mislabel as they are, with the columns dealt anew: by chance, and with an annotator who has a tenth of the rows and
three times the noise of the others. The labels stay, so which rows are wrong is what the truth says.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data import Dataset, load
from cleanlab_lite.door import audit
from cleanlab_lite.judge.provenance import find_sources

SHARE, TIMES = 0.1, 3.0  # of the planted annotator: of the rows, and noise against the others
ANNOTATORS, BATCHES = 10, 4  # batches of each annotator
CHANCE = (2, 10, 40)  # values of the columns that say nothing; another one has many rare values
SIZES = (1000, 2000, 5000)  # rows, drawn from the set


def planted(wrong: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) annotators of rows that are wrong or not (n,); number 0 is the noisy one."""
    rate = wrong.mean()
    others = rate / (1 - SHARE + SHARE * TIMES)  # the noise of the others
    bad = rng.random(len(wrong)) < np.where(
        wrong, SHARE * TIMES * others / rate, SHARE * (1 - TIMES * others) / (1 - rate)
    )
    return np.where(bad, 0, rng.integers(1, ANNOTATORS, len(wrong)))


def by_chance(n: int, rng: np.random.Generator) -> list[np.ndarray]:
    return [*(rng.integers(0, values, n) for values in CHANCE), np.minimum(rng.zipf(1.5, n), 200) - 1]


def simulate(p: np.ndarray, labels: np.ndarray, wrong: np.ndarray, size: int, simulations: int) -> dict[str, Any]:
    """How often something is found, over `simulations` draws of `size` rows."""
    alarms, hits, false, ratios, truths, covered = 0, 0, [], [], [], 0
    for seed in range(simulations):
        rng = np.random.default_rng(seed)
        at = rng.permutation(len(p))[:size]
        group, chance = np.arange(len(at)), by_chance(len(at), rng)
        alarms += any(source.found for source in find_sources(chance, p[at], labels[at], group))
        who = planted(wrong[at], rng)
        batch = BATCHES * who + rng.integers(0, BATCHES, len(at))
        sources = find_sources([who, batch, *chance], p[at], labels[at], group)
        found = [(source.column, source.value) for source in sources if source.found]
        true = [pair for pair in found if pair == (0, 0) or (pair[0] == 1 and pair[1] < BATCHES)]
        hits += (0, 0) in found
        false.append((len(found) - len(true)) / max(len(found), 1))
        [bad] = [source for source in sources if (source.column, source.value) == (0, 0)]
        rate = wrong[at][who == 0].mean()
        ratios.append(bad.rate / bad.expected)
        truths.append(rate / wrong[at][who > 0].mean())
        covered += bad.low <= rate <= bad.high
    return {
        "rows": size,
        "chance columns speak": alarms / simulations,
        "annotator found": hits / simulations,
        "false among findings": float(np.mean(false)),
        "ratio told": float(np.mean(ratios)),
        "ratio true": float(np.mean(truths)),
        "interval covers": covered / simulations,
    }


def audited(data: Dataset, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """p_mislabel, labels and which are wrong (n,) of one audit with a planted annotator; and the sentences it says."""
    assert data.features is not None
    rng, wrong = np.random.default_rng(0), data.given != data.truth
    who, features = planted(wrong, rng), np.load(data.features).astype(np.float32)
    told = {"annotator": who, "batch": BATCHES * who + rng.integers(0, BATCHES, len(who))}
    told |= {f"chance {number}": values for number, values in enumerate(by_chance(len(who), rng))}
    columns = {name: pa.array(values.astype(str).tolist()) for name, values in told.items()}
    columns["label"] = pa.array(data.given.tolist())
    columns["features"] = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
    pq.write_table(pa.table(columns), folder / "manifest.parquet")
    report = audit(folder / "manifest.parquet", preset="fast", out=folder / "run", progress=False)
    p = np.asarray(report.table["p_mislabel"].fill_null(np.nan), dtype=np.float64)
    known, labels = np.isfinite(p), np.unique(data.given, return_inverse=True)[1]
    return p[known], labels[known], wrong[known], [source.in_words for source in report.summary.provenance]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", required=True)
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = load(options.data, options.labels, features_to=folder / "features.npy")
        p, labels, wrong, sentences = audited(data, folder)
    print(f"{data.folder}, {data.labels}: {sentences}", flush=True)
    found = [simulate(p, labels, wrong, size, options.simulations) for size in SIZES]
    for row in found:
        print(" | ".join(f"{name} {value:.3g}" for name, value in row.items()))
    if options.json:
        options.json.write_text(
            json.dumps({"set": data.folder, "labels": data.labels, "sentences": sentences, "rows": found})
        )


if __name__ == "__main__":
    main()

"""nlclean against its peers on data with known truth: `python -m benchmarks.detection --data FOLDER`.

Prints Markdown tables; RESULTS.md explains the columns. Every method runs in a fresh process (worker.py).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import data
from cleanlab_lite import measure as metrics
from cleanlab_lite.config import PRESETS, preset
from cleanlab_lite.errors import NlcleanError

Differences = dict[str, dict[str, list[metrics.Difference]]]  # by audit and by peer, one per seed

ROOT = Path(__file__).parents[1]
# Methods and tasks go to worker.py by name: importing peers.py would load torch here too.
ON_FEATURES = ("aum_features", "small_loss_features")  # networks; of ready vectors the same as without "_features"
PLAIN = ("bare", "aum_plain")  # loops that anyone would write
NETWORKS = ("cleanlab", "cleanlab_taught", "aum", "aum_threshold", "small_loss", *ON_FEATURES, *PLAIN)
METHODS = ("nlclean", "cleanlab_features", "simifeat", "knn", *NETWORKS)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    results = []
    for labels in args.labels or data.label_sets(args.data):
        with TemporaryDirectory() as folder:
            dataset = data.load(args.data, labels, features_to=Path(folder) / "x.npy" if args.features else None)
            records = [record for seed in args.seeds for record in compare(dataset, args, seed, Path(folder))]
        versus = differences(records, dataset, args.bootstrap)
        print(render(dataset, records, versus, args), flush=True)
        results.append(as_json(dataset, records, versus, args))
        if args.json:  # after each label set: a long run may be stopped
            args.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=(__doc__ or "").split(":")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of manifest_<labels>.csv and truth.csv")
    add("--labels", nargs="+", help="label sets (default: all in the folder)")
    add("--features", action="store_true", help="audit embeddings.npy instead of the files")
    add("--presets", nargs="+", choices=list(PRESETS), default=["balanced"], help="audits of nlclean")
    add("--epochs", type=int, default=0, help="epochs per proxy of nlclean (default: its own choice)")
    add("--peer-epochs", type=int, default=0, help="epochs per network of a peer (default: those of nlclean)")
    add("--ensemble", type=int, help="cross-fitted proxies of nlclean")
    add("--proxy", help="proxy of all methods")
    add("--device", help="auto, cpu, cuda, mps")
    add("--folds", type=int, default=5, help="of the cross-validation for cleanlab")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--only", type=lambda text: text.split(","), default=list(METHODS), help=f"of {','.join(METHODS)}")
    add("--bootstrap", type=int, default=1000, help="replicates")
    add("--json", type=Path, help="write every figure here too")
    args = parser.parse_args(argv)
    if unknown := set(args.only) - set(METHODS):
        parser.error(f"unknown method {', '.join(sorted(unknown))}; known: {', '.join(METHODS)}")
    chosen = "nlclean" in args.only and any(preset(name).heads != "closed" for name in args.presets)
    if set(args.only) & set(NETWORKS) and not (chosen or args.peer_epochs or args.epochs):
        parser.error("no audit that trains networks chooses the epochs: give --peer-epochs, or leave networks out")
    if any(name.startswith("cleanlab") for name in args.only) and importlib.util.find_spec("cleanlab") is None:
        parser.error("cleanlab is not installed: pip install -e '.[dev]', or leave it out with --only")
    return args


def compare(dataset: data.Dataset, args: argparse.Namespace, seed: int, folder: Path) -> list[dict[str, Any]]:
    """Run every method. A record per finding: what worker.py wrote, its measures, and the seed."""
    options = {name: getattr(args, name) for name in ("epochs", "ensemble", "proxy", "device") if getattr(args, name)}
    task = {
        "manifest": str(dataset.manifest.resolve()),
        "features": str(dataset.features) if dataset.features else None,
        "options": options | {"seed": seed},
        "epochs": args.peer_epochs or args.epochs,
        "budget": 0,
        "folds": args.folds,
    }
    prepared = 0.0 if dataset.features else run_method("prepare", task, folder)["cpu_seconds"]
    records: list[dict[str, Any]] = []
    for name, audit in turns(args):
        since = time.monotonic()
        result = run_method(name, task | {"preset": audit}, folder)
        facts = {"by": name, "seed": seed, "device": result["device"], "torch": result["torch"]}
        facts["cpu_seconds_before"] = prepared
        for finding in result["findings"]:
            assert not records or np.array_equal(finding["rows"], records[0]["rows"]), "other rows than before"
            records.append(finding | facts | measure(finding, dataset))
        if name == "nlclean":
            (found,) = result["findings"]
            task["epochs"] = task["epochs"] or found["epochs"]  # of the first audit that trains
            task["budget"] = max(task["budget"], found["visits"])
        took = time.monotonic() - since
        print(f"{dataset.folder} {dataset.labels} seed {seed}: {name}, {took:.0f} s", file=sys.stderr, flush=True)
    return records


def turns(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Methods with the preset they run at, audits first: they set the epochs and the budget of the others."""
    audits = [("nlclean", name) for name in args.presets if "nlclean" in args.only]
    same = ON_FEATURES if args.features else ()
    return audits + [(name, "balanced") for name in METHODS[1:] if name in args.only and name not in same]


def run_method(name: str, task: dict[str, Any], folder: Path) -> dict[str, Any]:
    task_file, out = folder / "task.json", folder / "out.json"
    task_file.write_text(json.dumps(task), "utf-8")
    command = [sys.executable, "-m", "benchmarks.worker", name, str(task_file), str(out)]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise SystemExit(f"{name} failed")  # it has said why
    return json.loads(out.read_text("utf-8"))


def measure(finding: dict[str, Any], dataset: data.Dataset) -> dict[str, float]:
    """Every measure of `cleanlab_lite.measure`; NaN where the method says nothing."""
    given, truth = dataset.given[finding["rows"]], dataset.truth[finding["rows"]]
    wrong, score = given != truth, np.array(finding["score"])
    found = {
        "average_precision": metrics.average_precision(score, wrong),
        "auroc": metrics.auroc(score, wrong),
        "best_f1": metrics.best_f1(score, wrong),
        "missed_at_wrong": 1 - metrics.precision_at(score, wrong, int(wrong.sum())),  # as many rows as are wrong
        "precision_at_100": metrics.precision_at(score, wrong, 100),
        "precision_at_500": metrics.precision_at(score, wrong, 500),
        "recall_at_1_percent": metrics.recall_at_budget(score, wrong, 0.01),
        "recall_at_5_percent": metrics.recall_at_budget(score, wrong, 0.05),
        "recall_at_10_percent": metrics.recall_at_budget(score, wrong, 0.10),
        "rate_error": metrics.rate_error(finding["noise_rate"], wrong),
    }
    if finding["flagged"] is not None:
        found["f1_at_flags"] = metrics.f1_at_flags(np.array(finding["flagged"]), wrong)
    if finding["p_mislabel"] is not None:
        p = np.array(finding["p_mislabel"])
        found |= {"ece": metrics.expected_calibration_error(p, wrong), "brier": metrics.brier(p, wrong)}
    no_class = ~np.isin(truth, dataset.given)
    if finding["ood_score"] is not None and 0 < no_class.sum() < wrong.sum():
        found["ood_auroc"] = metrics.auroc(-np.array(finding["ood_score"])[wrong], no_class[wrong])
    if finding["suggested"] is not None:
        suggested = np.array(finding["suggested"])
        result = metrics.correction_accuracy(suggested, given, truth, suggested != "")
        found |= {"corrections": result.offered, "correction_accuracy": result.accuracy, "harm": result.harm}
    return found


def differences(records: list[dict[str, Any]], dataset: data.Dataset, replicates: int) -> Differences:
    """Average precision of every audit minus that of every peer, a paired bootstrap per seed."""
    result: Differences = {}
    for ours in records:
        for peer in records:
            if ours["by"] == "nlclean" != peer["by"] and ours["seed"] == peer["seed"]:
                wrong = (dataset.given != dataset.truth)[ours["rows"]]
                score, other = (np.array(record["score"]) for record in (ours, peer))
                difference = metrics.paired_bootstrap(score, other, wrong, n=replicates, seed=ours["seed"])
                result.setdefault(ours["method"], {}).setdefault(peer["method"], []).append(difference)
    return result


def render(dataset: data.Dataset, records: list[dict[str, Any]], versus: Differences, args: argparse.Namespace) -> str:
    """The tables as Markdown; several seeds as mean ± standard deviation."""
    rows = np.array(records[0]["rows"])
    wrong = (dataset.given != dataset.truth)[rows]
    on_device = any(record["device_peak_mib"] for record in records)

    heads = ["method", "AP", "AUROC", "F1 own", "F1 best", "missed@wrong", "noise rate", "rate error", "ECE"]
    heads += ["offered", "right", "harm", "CPU s", "MiB", *(["device MiB"] if on_device else []), "epochs", "passes"]
    lines = [
        f"### {dataset.folder}, {dataset.labels}{' (embeddings)' if dataset.features else ''}",
        "",
        f"{len(rows):,} rows, {len(np.unique(dataset.given))} classes, {wrong.mean():.3f} wrong; seeds "
        f"{' '.join(map(str, args.seeds))}. Decoding and encoding beforehand: {cpu_seconds_before(records):.0f} CPU s. "
        f"{machine(records[0])}",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
    ]
    for method, group in by_method(records).items():
        cells = [method]
        cells += [cell(group, name) for name in ("average_precision", "auroc", "f1_at_flags", "best_f1")]
        cells += [cell(group, "missed_at_wrong"), rate(group), cell(group, "rate_error"), cell(group, "ece")]
        cells += [cell(group, "corrections", 0), cell(group, "correction_accuracy"), cell(group, "harm")]
        cells += [cell(group, name, 0) for name in ("cpu_seconds", "peak_mib", *["device_peak_mib"] * on_device)]
        cells += [cell(group, "epochs", 0), cell(group, "visits", 0, 1 / len(rows))]
        lines.append("| " + " | ".join(cells) + " |")
    told = [record["ood_auroc"] for record in records if "ood_auroc" in record]
    if told:
        share = (~np.isin(dataset.truth, dataset.given))[rows].mean()
        lines += [
            "",
            f"{share:.3f} of the rows belong to no class; `ood_score` tells them from mislabelled rows with AUROC "
            f"{spread(told, 3)}.",
        ]
    for audit, peers in versus.items():
        lines += ["", f"| {audit} against | AP difference | 95 % interval | share ahead |", "|---|---|---|---|"]
        for method, found in peers.items():
            difference, interval = ahead([d._asdict() for d in found])
            lines.append(f"| {method} | {difference} | {interval} | {np.mean([d.share_better for d in found]):.3f} |")
    return "\n".join([*lines, ""])


def by_method(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The records of all seeds by the name of their method."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(record["method"], []).append(record)
    return groups


def cell(group: list[dict[str, Any]], name: str, digits: int = 3, scale: float = 1.0) -> str:
    """One figure of a method, over its seeds; None and absent where the method says nothing, as is NaN."""
    values = (record.get(name) for record in group)
    return spread([value * scale for value in values if value is not None], digits)


def rate(group: list[dict[str, Any]]) -> str:
    """The noise rate, with the mean ends of its interval where the method has one."""
    intervals = [record["noise_interval"] for record in group if record["noise_interval"]]
    if not intervals:
        return cell(group, "noise_rate")
    low, high = np.mean(intervals, axis=0)
    return f"{cell(group, 'noise_rate')} ({low:.3f}-{high:.3f})"


def ahead(found: list[dict[str, float]]) -> tuple[str, str]:
    """A difference over its seeds, and the widest ends of its intervals."""
    low, high = min(d["low"] for d in found), max(d["high"] for d in found)
    return spread([d["difference"] for d in found], 3), f"{low:.3f} to {high:.3f}"


def cpu_seconds_before(records: list[dict[str, Any]]) -> float:
    """What filling the cache took: later seeds find it filled."""
    return max(record["cpu_seconds_before"] for record in records)


def spread(values: list[float], digits: int) -> str:
    """Mean, with the standard deviation where there are several. NaN does not count; "-" where all are."""
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return "-"
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"


def machine(record: dict[str, Any]) -> str:
    """When and where this was measured."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.open() if "model name" in line] if info.exists() else []
    cpu = names[0] if names else platform.processor() or platform.machine()
    versions = f"nlclean {importlib.metadata.version('nlclean')}"
    if importlib.util.find_spec("cleanlab"):
        versions += f", cleanlab {importlib.metadata.version('cleanlab')}"
    return (
        f"{date.today()}, {os.cpu_count()} cores of {cpu}, device {record['device']}, Python "
        f"{platform.python_version()}, torch {record['torch']}, {versions}."
    )


def as_json(
    dataset: data.Dataset, records: list[dict[str, Any]], versus: Differences, args: argparse.Namespace
) -> dict[str, Any]:
    """Every figure, without the arrays; NaN as null."""
    arrays = ("rows", "score", "flagged", "p_mislabel", "suggested", "ood_score")

    def clean(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    rows = records[0]["rows"]
    return {
        "data": dataset.folder,
        "labels": dataset.labels,
        "features": bool(dataset.features),
        "rows": len(rows),
        "wrong": int((dataset.given != dataset.truth)[rows].sum()),
        "measured": machine(records[0]),
        "arguments": {name: str(value) for name, value in vars(args).items()},
        "findings": [{k: clean(v) for k, v in record.items() if k not in arrays} for record in records],
        "differences": {
            audit: {
                method: [{k: clean(v) for k, v in d._asdict().items()} for d in found]
                for method, found in peers.items()
            }
            for audit, peers in versus.items()
        },
    }


if __name__ == "__main__":
    try:
        main()
    except NlcleanError as error:
        raise SystemExit(f"error: {error}") from error

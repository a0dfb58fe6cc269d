"""Every loss, strategy and detector on data with known truth: `python -m benchmarks.methods --data FOLDER`.

A record per method, world and seed is appended to `--out` as soon as it is there, and what is there is not run again;
`--render FILE` prints the tables. RESULTS.md explains the columns.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks import data
from cleanlab_lite import measure as metrics
from cleanlab_lite.clock import Clock
from cleanlab_lite.config import preset
from cleanlab_lite.data.inputs import Inputs, load_inputs
from cleanlab_lite.judge.calibration import calibrate
from cleanlab_lite.judge.detectors import DETECTORS
from cleanlab_lite.judge.ranking import rank
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.run import Run
from cleanlab_lite.train.ensemble import prepare, watch
from cleanlab_lite.train.fit import Observation, fit
from cleanlab_lite.train.losses import LOSSES
from cleanlab_lite.train.plan import make_plan
from cleanlab_lite.train.planned import Plan
from cleanlab_lite.train.strategies import STRATEGIES
from cleanlab_lite.train.task import DATA, Task

HELD_OUT = 0.1  # of the rows with given labels: what a choice without clean labels can go by
LATE = 0.25  # of the epochs, for the swing of the accuracy
VARIANTS = {  # beside every strategy with its defaults
    "mixup:warmup=0.3",
    "prune:rounds=3",
    "discard:percentile=70",
    "dynamic_bootstrap:kind=soft",
    "dynamic_bootstrap:kind=soft_to_hard",
    "promix:networks=2",
}
LOSS_VARIANTS = {"gce:q=0.5"}
COMBINED = (
    *(("gce:q=0.5", "mixup"), ("elr", "mixup"), ("nce_rce", "mixup")),  # a robust loss on top of mixup
    *(("gce:q=0.5", "discard"), ("gce:q=0.5", "prune"), ("gce:q=0.5", "prune:rounds=3")),  # Fonseca et al., 2019
)


@dataclass(frozen=True)
class World:
    """Rows to learn from, rows held back with given labels, rows to test on with true labels."""

    name: str
    inputs: Inputs
    plan: Plan
    labels: np.ndarray  # (n,) int64, given; true for the test rows
    truth: np.ndarray  # (n,) int64, -2 where the row belongs to no class
    train: np.ndarray  # rows
    held_out: np.ndarray  # rows
    test: np.ndarray  # rows
    num_classes: int


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    if args.render:
        print(render([json.loads(line) for file in args.render for line in file.read_text("utf-8").splitlines()]))
        return
    done = set()
    if args.out.exists():
        records = map(json.loads, args.out.read_text("utf-8").splitlines())
        done = {(r["world"], r["kind"], r["name"], r["seed"]) for r in records}
    with TemporaryDirectory() as folder:
        for seed in args.seeds:
            world = build_world(args, seed, Path(folder))
            for kind in args.kinds:
                todo = {name for name in names(kind) if not args.only or name.partition(":")[0] in args.only}
                for record in RUNNERS[kind](
                    world, args, seed, todo - {n for w, k, n, s in done if (w, k, s) == (world.name, kind, seed)}
                ):
                    line = {"world": world.name, "kind": kind, "seed": seed, "epochs": args.epochs} | record
                    with args.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
                    print(world.name, kind, record["name"], f"{record['ap']:.3f}", file=sys.stderr, flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description=(__doc__ or "").split(":")[0])
    add = parser.add_argument
    add("--data", type=Path, help="folder of manifest_<labels>.csv and truth.csv")
    add("--labels", help="a label set of the folder")
    add("--features", action="store_true", help="vectors of embeddings.npy instead of the files")
    add("--plant", metavar="KIND:RATE", help="symmetric:0.4 or pair:0.4 planted on the truth instead of the labels")
    add("--kinds", nargs="+", choices=list(RUNNERS), default=list(RUNNERS))
    add("--only", nargs="+", help="methods by name")
    add("--epochs", type=int, default=16)
    add("--ensemble", type=int, default=3, help="proxies whose evidence the detectors judge")
    add("--test", type=int, default=2000, help="most rows to test on, from outside the label set")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--out", type=Path, default=Path("methods.jsonl"))
    add("--render", type=Path, nargs="+", metavar="FILE", help="print the tables of these results and stop")
    args = parser.parse_args(argv)
    if not args.render and not (args.data and args.labels):
        parser.error("--data and --labels are needed")
    return args


def names(kind: str) -> set[str]:
    """Every method of the registry with its defaults, and the variants."""
    if kind == "losses":
        return {spec.name for spec in LOSSES if "high_noise" not in spec.needs} | LOSS_VARIANTS
    if kind == "strategies":
        return set(STRATEGIES.names()) | VARIANTS | {f"{strategy} + {loss}" for loss, strategy in COMBINED}
    return set(DETECTORS.names()) | {"audit"}


def build_world(args: argparse.Namespace, seed: int, folder: Path) -> World:
    """The rows of the label set, and others with known truth to test on: a fifth of the rows where there are none."""
    chosen = data.load(args.data, args.labels)
    paths = [row["path"] for row in csv.DictReader(chosen.manifest.open(encoding="utf-8"))]
    rows = list(csv.DictReader((args.data / "truth.csv").open(encoding="utf-8")))
    position = {row["path"]: index for index, row in enumerate(rows)}
    rng = np.random.default_rng(0)  # the same rows for every seed
    vocabulary, labelled = set(chosen.given.tolist()), set(paths)
    known = {row["path"] for row in rows if row["true_label"] in vocabulary}
    others = [row["path"] for row in rows if row["path"] in known and row["path"] not in labelled]
    if others:
        test_paths = [others[i] for i in rng.permutation(len(others))[: args.test]]
    else:
        shuffled = [paths[i] for i in rng.permutation(len(paths)) if paths[i] in known]
        test_paths = shuffled[: len(paths) // 5]
    given = dict(zip(paths, chosen.given.tolist(), strict=True))
    kept = [path for path in paths if path not in set(test_paths)]
    order = kept + test_paths
    truth_texts = [rows[position[path]]["true_label"] for path in order]
    labels_texts = [given[path] for path in kept] + truth_texts[len(kept) :]

    manifest_file, features = folder / "world.csv", None
    with manifest_file.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label"))
        writer.writerows(zip((str((args.data / p).resolve()) for p in order), labels_texts, strict=True))
    if args.features:
        features = folder / "world.npy"
        np.save(features, np.load(args.data / "embeddings.npy", mmap_mode="r")[[position[path] for path in order]])
    manifest = read_manifest(manifest_file, features=features)
    index = {text: c for c, text in enumerate(manifest.classes)}
    truth = np.array([index.get(text, -2) for text in truth_texts])
    labels = manifest.labels.copy()
    train = np.arange(len(kept))
    if args.plant:
        kind, _, rate = args.plant.partition(":")
        labels[train] = plant(truth[train], kind, float(rate), manifest.num_classes, rng)
    view = DATA[manifest.modality]  # networks from scratch: what they are taught by shows there
    config = preset("balanced", seed=seed, epochs=args.epochs, ensemble=args.ensemble, views=view)
    plan = make_plan(manifest, config)
    inputs = load_inputs(manifest, plan.image_size, plan.sound)
    train = train[inputs.readable[train]]
    held_out = rng.permutation(train)[: round(HELD_OUT * len(train))]
    test = np.flatnonzero(inputs.readable & (truth >= 0) & (np.arange(len(order)) >= len(kept)))
    what = f"{plan.modality}s".replace("image", "picture")
    name = f"{args.data.name} {args.plant.replace(':', ' ') if args.plant else args.labels} ({what})"
    return World(name, inputs, plan, labels, truth, np.setdiff1d(train, held_out), held_out, test, manifest.num_classes)


def plant(truth: np.ndarray, kind: str, rate: float, k: int, rng: np.random.Generator) -> np.ndarray:
    """Labels with errors: `symmetric`, any other class alike; `pair`, class c is mistaken for c + 1."""
    wrong = rng.random(len(truth)) < rate
    if kind not in ("symmetric", "pair"):
        raise SystemExit(f"unknown noise {kind!r}: symmetric or pair")
    shift = rng.integers(1, k, len(truth)) if kind == "symmetric" else np.ones(len(truth), dtype=np.int64)
    return np.where(wrong, (truth + shift) % k, truth)


def teach(world: World, args: argparse.Namespace, seed: int, loss: str, strategy: str) -> dict[str, Any]:
    """One network on the training rows, taught so; its measures."""
    config = preset("balanced", seed=seed, epochs=args.epochs)
    task = Task.of(world.labels, world.num_classes, world.inputs)
    bench, teaching = prepare(task, world.plan, config)
    since = time.process_time()
    seen = fit(
        bench.samples(task.main.name),
        world.labels,
        world.train,
        world.num_classes,
        replace(teaching, loss=loss, strategy=strategy, epochs=args.epochs),
        seed=seed * 1000,
    )
    return measure(world, seen) | {"seconds": time.process_time() - since}


def measure(world: World, seen: Observation) -> dict[str, float]:
    """Detection from the history of one network; accuracy on rows it has not seen."""
    wrong = world.labels[world.train] != world.truth[world.train]
    margin = seen.margin[:, world.train].astype(np.float64)
    accuracy = (seen.predicted[:, world.test] == world.truth[world.test]).mean(axis=1)
    agreement = (seen.predicted[:, world.held_out] == world.labels[world.held_out]).mean(axis=1)
    late = accuracy[-max(2, round(LATE * len(accuracy))) :]
    return {
        "ap": metrics.average_precision(margin.mean(axis=0), wrong),
        "ap_last": metrics.average_precision(margin[-1], wrong),
        "accuracy": float(accuracy[-1]),
        "best": float(accuracy.max()),
        "swing": float(np.abs(np.diff(late)).mean()),
        "agreement": float(agreement[-1]),
    }


def run_losses(world: World, args: argparse.Namespace, seed: int, todo: set[str]) -> Iterator[dict[str, Any]]:
    for loss in sorted(todo, key=lambda name: (name != "ce", name)):
        yield {"name": loss} | teach(world, args, seed, loss, "plain")


def run_strategies(world: World, args: argparse.Namespace, seed: int, todo: set[str]) -> Iterator[dict[str, Any]]:
    for name in sorted(todo, key=lambda name: (name != "plain", name)):
        strategy, _, loss = name.partition(" + ")
        yield {"name": name} | teach(world, args, seed, loss or "ce", strategy)


def run_detectors(world: World, args: argparse.Namespace, seed: int, todo: set[str]) -> Iterator[dict[str, Any]]:
    """Every detector on the evidence of one ensemble, as an audit records it (all training rows, no test rows)."""
    if not todo:
        return
    rows = np.sort(np.concatenate([world.train, world.held_out]))
    inputs = world.inputs.select(rows)
    config = preset("balanced", seed=seed, epochs=args.epochs, ensemble=args.ensemble, second_split=True)
    since = time.process_time()
    with TemporaryDirectory() as folder, Run.start(Path(folder) / "run", "methods", "0" * 64) as run:
        task = Task.of(world.labels[rows], world.num_classes, inputs)
        evidence = watch(task, world.plan, config, run=run, clock=Clock())
    training = time.process_time() - since
    wrong = world.labels[rows] != world.truth[rows]
    ranking = rank(evidence, seed=seed)
    calibration = calibrate(evidence, ranking, seed=seed)
    assert evidence.history is not None
    first, end = evidence.history.safe_window(evidence.labels)
    known = {"first_epoch": first, "last_epoch": end, "trust": 1 - calibration.p_mislabel, "seed": seed}
    for name in sorted(todo):
        since = time.process_time()
        if name == "audit":
            score = ranking
        else:
            spec = DETECTORS.get(name)
            options = {option: known[option] for option, _ in spec.options if option in known}
            score = spec.function(evidence, **options).score
        cost = (time.process_time() - since) / training
        judged = np.isfinite(score)
        yield {
            "name": name,
            "ap": metrics.average_precision(score[judged], wrong[judged]),
            "auroc": metrics.auroc(score[judged], wrong[judged]),
            "best_f1": metrics.best_f1(score[judged], wrong[judged]),
            "judged": float(judged.mean()),
            "seconds": cost,
        }


RUNNERS = {"losses": run_losses, "strategies": run_strategies, "detectors": run_detectors}


def render(records: list[dict[str, Any]]) -> str:
    """A table per kind: a row per method, the worlds side by side; several seeds as their mean.

    Cells: average precision of the mean margin, of the last epoch's margin, test accuracy; of detectors, average
    precision and AUROC.
    """
    parts = []
    for kind in RUNNERS:
        group = [record for record in records if record["kind"] == kind]
        if group:
            parts.append(f"### {kind.capitalize()}\n\n{table(group, kind)}")
    return "\n\n".join(parts)


def table(records: list[dict[str, Any]], kind: str) -> str:
    worlds = list(dict.fromkeys(record["world"] for record in records))
    base = {"losses": "ce", "strategies": "plain", "detectors": "audit"}[kind]
    columns = ("ap", "auroc") if kind == "detectors" else ("ap", "ap_last", "accuracy")

    def mean(world: str, name: str, column: str) -> float:
        values = [r[column] for r in records if (r["world"], r["name"]) == (world, name)]
        return float(np.mean(values)) if values else math.nan

    def cell(world: str, name: str) -> str:
        values = [mean(world, name, column) for column in columns]
        return " ".join(f"{value:.3f}"[1:] for value in values) if np.isfinite(values[0]) else "-"

    def cost(name: str) -> str:
        if kind == "detectors":  # as a share of the training
            return f"{100 * np.nanmean([mean(world, name, 'seconds') for world in worlds]):.2f} %"
        return f"{np.nanmean([mean(world, name, 'seconds') / mean(world, base, 'seconds') for world in worlds]):.1f}"

    lines = [f"| method | {' | '.join(worlds)} | time |", "|---" * (len(worlds) + 2) + "|"]
    for name in sorted({r["name"] for r in records}, key=lambda name: (name != base, name)):
        lines.append(f"| {name} | {' | '.join(cell(world, name) for world in worlds)} | {cost(name)} |")
    for world in worlds:
        group = [r for r in records if r["world"] == world]
        seeds = ", ".join(map(str, sorted({r["seed"] for r in group})))
        lines += [
            "",
            f"{world}: {group[0]['epochs']} epochs, seed {seeds}. {'' if kind == 'detectors' else correlation(group)}",
        ]
    return "\n".join(line.rstrip() for line in lines)


def correlation(records: list[dict[str, Any]]) -> str:
    """How well agreement with held-out given labels orders the methods."""
    agreement = [r["agreement"] for r in records]
    found = {what: spearmanr(agreement, [r[what] for r in records]).statistic for what in ("accuracy", "ap", "ap_last")}
    return (
        f"Rank correlation of the held-out agreement with the test accuracy {found['accuracy']:.2f}, "
        f"with AP {found['ap']:.2f}, with AP of the last epoch {found['ap_last']:.2f}."
    )


if __name__ == "__main__":
    main()

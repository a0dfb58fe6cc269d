"""What it costs, and what it finds: nlclean beside its peers, `python -m benchmarks.speed --data FOLDER --labels NAME`.

Every method in a process of its own, one after the other, with the same rows, the same decoded data and, where it
trains networks, the same network for as many epochs each as nlclean chose. Peers train no more than they need: five
for a cross-validation, one for AUM and for the bare loop. What each decodes and encodes lies in the cache before.

With --limits it ends with 1 where average precision is not above that of cleanlab on the same features at no more CPU
seconds (the encoder's included on both sides), or not above that of cleanlab's 5-fold network at a fifth of them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import data
from benchmarks.detection import machine, measure, run_method

AUDITS = ("balanced", "fast")  # the first chooses the epochs
PEERS = ("cleanlab_features", "simifeat", "cleanlab", "aum_plain", "bare")
SHARE = 1 / 5  # of the CPU seconds of cleanlab's networks


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder of manifest_<labels>.csv and truth.csv")
    add("--labels", nargs="+", help="label sets  [default: all in the folder]")
    add("--features", action="store_true", help="audit embeddings.npy instead of the files")
    add("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    add("--seed", type=int, default=0)
    add("--limits", action="store_true", help="end with 1 where nlclean is not ahead")
    args = parser.parse_args()
    missed = []
    for labels in args.labels or data.label_sets(args.data):
        with TemporaryDirectory() as folder:
            dataset = data.load(args.data, labels, features_to=Path(folder) / "x.npy" if args.features else None)
            before, found = compare(dataset, args, Path(folder))
        print(table(dataset, before, found), flush=True)
        missed += [f"{labels}: {sentence}" for sentence in behind(before, found)]
    print("\n".join(missed))
    if args.limits and missed:
        raise SystemExit(1)


def compare(dataset: data.Dataset, args: argparse.Namespace, folder: Path) -> tuple[float, dict[str, dict[str, Any]]]:
    """CPU seconds of decoding and encoding, and what every method found and cost, by name."""
    task: dict[str, Any] = {
        "manifest": str(dataset.manifest.resolve()),
        "features": str(dataset.features) if dataset.features else None,
        "options": {"seed": args.seed},
        "epochs": 0,
        "budget": 0,  # no more networks than a method needs
        "folds": 5,
    }
    before = 0.0 if dataset.features else run_method("prepare", task, folder)["cpu_seconds"]
    found = {}
    for name in (*AUDITS, *args.peers):
        audit = name in AUDITS
        result = run_method("nlclean" if audit else name, task | {"preset": name if audit else "balanced"}, folder)
        found[name] = best(result, dataset)
        if audit:
            task["epochs"] = task["epochs"] or found[name]["epochs"]
        print(json.dumps({"method": name} | found[name]["cost"]), flush=True)
    return before, found


def best(result: dict[str, Any], dataset: data.Dataset) -> dict[str, Any]:
    """The finding with the highest average precision, at the cost of the first: rankings of one computation."""
    first = result["findings"][0]
    measured = [finding | measure(finding, dataset) for finding in result["findings"]]
    chosen = max(measured, key=lambda finding: finding["average_precision"])
    cost = {name: first[name] for name in ("seconds", "cpu_seconds", "peak_mib")}
    return chosen | {"cost": cost, "device": result["device"], "torch": result["torch"]}


def table(dataset: data.Dataset, before: float, found: dict[str, dict[str, Any]]) -> str:
    ours = next(iter(found.values()))
    wrong = (dataset.given != dataset.truth)[ours["rows"]].mean()
    lines = [
        f"\n### {dataset.folder}, {dataset.labels}{' (embeddings)' if dataset.features else ''}\n",
        f"{len(ours['rows']):,} rows, {wrong:.3f} wrong. Decoding and encoding before: {before:.0f} CPU s. "
        f"{machine(ours)}\n",
        "| method | AP | F1 own | networks x epochs | CPU s | s | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found.values():
        cost, flagged = one["cost"], one.get("f1_at_flags")
        passes = one["visits"] / len(one["rows"])
        lines.append(
            f"| {one['method']} | {one['average_precision']:.3f} | {'-' if flagged is None else f'{flagged:.3f}'} "
            f"| {passes:.0f} passes, {one['epochs']} each | {cost['cpu_seconds']:.0f} | {cost['seconds']:.0f} "
            f"| {cost['peak_mib']:,.0f} |"
        )
    return "\n".join(lines)


def behind(before: float, found: dict[str, dict[str, Any]]) -> list[str]:
    """A sentence for each promise that is not kept."""
    sentences = []
    for audit, peer, share in (("fast", "cleanlab_features", 1.0), ("balanced", "cleanlab", SHARE)):
        if peer not in found:
            continue
        ours, theirs = found[audit], found[peer]
        gained = ours["average_precision"] - theirs["average_precision"]
        # features need the encoder on both sides, cleanlab's networks on pixels do not
        spent = before + ours["cost"]["cpu_seconds"]
        allowed = share * (theirs["cost"]["cpu_seconds"] + (before if peer == "cleanlab_features" else 0))
        if gained <= 0 or spent > allowed:
            sentences.append(f"{audit} against {peer}: AP {gained:+.3f}, {spent:.0f} CPU s of {allowed:.0f} allowed")
    return sentences


if __name__ == "__main__":
    main()

"""What to do next: what to try where nothing was learned from the labels, else which cleaned manifest to take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cleanlab_lite.export.formats import STEMS, Policy
from cleanlab_lite.export.policy import MAX_DROP_OF_CLASS, MOST_OF_CLASS, apply_policy, excess
from cleanlab_lite.manifest.splits import held_back, is_held_back
from cleanlab_lite.run.report import ReportTable, flags
from cleanlab_lite.run.summary import Summary

UNLEARNED = "held-out labels are predicted no better than chance, so no row is judged"
LITE = "lite0"  # the encoder that takes pictures and sounds, and comes with a package of pip
FEATURES = {
    "image": "--features FILE: vectors that a network of your own makes of the pictures",
    "sound": "--features FILE: vectors of your own, of a network that was trained on sounds",
    "vector": "--features FILE: vectors of another network, that tell the classes apart",
}
CHECKS = {
    "image": "check that every picture has its own label: are files and labels in the same order?",
    "sound": "check that every sound has its own label: are files and labels in the same order?",
    "vector": "check the order: vector i must belong to row i of the manifest",
}
OWN_CHECK = (
    "check that history and probabilities are in the order of the manifest, and their columns in that of the classes"
)


def advise(modality: str, proxy: Mapping[str, Any] | None, encoder: Mapping[str, Any] | None) -> list[str]:
    """What to try, a line each, the cheapest first; by modality, and never what the run has done already.

    Args:
        modality: image, sound or vector.
        proxy: what was trained, as the summary says it; None where history and probabilities were the user's own.
        encoder: the frozen encoder that was used, as the summary says it.
    """
    if proxy is None:
        return [OWN_CHECK, "leave --history and --pred-probs out: nlclean then trains networks of its own"]
    encoders = {"image": _picture_encoders, "sound": _sound_encoders}.get(modality)
    return [
        CHECKS[modality],
        *(encoders((encoder or {}).get("name", "")) if encoders else []),
        *_sample_rate(proxy),
        *_training(proxy),
        FEATURES[modality],
    ]


def advice_of(summary: Summary) -> list[str]:
    """What to try after this run; nothing where it has learned something."""
    if summary.noise_rate.learned:
        return []
    return advise(summary.manifest.modality, summary.proxy, summary.encoder)


def advised_policy(run: Path, report: ReportTable) -> tuple[str, str] | None:
    """The policy that fits most exports of the run in this folder, with its options, and what it does to rows that may
    change; None where an audit has refused to write a cleaned manifest, or there is nothing to clean."""
    if not report.summary.noise_rate.determined:
        return None
    written = {policy for policy in ("prune", "correct") if any(run.glob(f"{STEMS[policy]}.*"))}
    table = report.table.select(["split", "action", "is_label_issue"])
    protected = [name for name in pc.unique(table["split"]).to_pylist() if is_held_back(name or "")]
    table = table.filter(pc.invert(pc.is_in(table["split"], pa.array(protected, pa.string()))))
    actions = Counter(table["action"].to_pylist())
    relabel, drop = actions["relabel"], actions["drop"]
    # With corrections as good a classifier as without these rows, and more rows: RESULTS.md
    if flags(table).any():
        policy: Policy = "correct-prune" if relabel else "prune"
        does = f"{relabel:,} to relabel, other flagged rows left out" if relabel else "without the flagged rows"
        if "prune" in written or _is_within_limits(report, policy):
            return policy, does
        if _is_within_limits(report, policy, MAX_DROP_OF_CLASS):
            return f"{policy} {MOST_OF_CLASS}", f"{does}, half of a class at most"
    if "correct" in written and relabel + drop:
        return "correct", f"{relabel:,} to relabel, {drop:,} to drop"
    return None


def _is_within_limits(report: ReportTable, policy: Policy, max_drop_per_class: float = 1.0) -> bool:
    """Whether an export drops no more than it does unasked."""
    table = report.table
    protected = held_back(np.array(table["split"].fill_null("").to_pylist(), dtype=str))
    cleaning = apply_policy(table, protected, policy, max_drop_per_class=max_drop_per_class)
    given, by_people = table["given_label"].to_pylist(), np.zeros(len(table), dtype=bool)
    return excess(given, cleaning.open_to_change, ~cleaning.keep, by_people) is None


def _picture_encoders(used: str) -> list[str]:
    lite = [] if used == LITE else [f"--proxy {LITE}: a small pretrained encoder"]
    other = "another" if used else "or another"
    return [*lite, f"--proxy torchvision:MODEL or timm:MODEL, with --weights default: {other} pretrained encoder"]


def _sound_encoders(used: str) -> list[str]:
    """No others: those of torchvision and timm take pictures only."""
    return [] if used else [f"--proxy {LITE}: a pretrained encoder, which sees sounds as log-mel pictures"]


def _sample_rate(proxy: Mapping[str, Any]) -> list[str]:
    rate = proxy.get("sample_rate")
    return [f"--sample-rate HZ: the sounds were heard at {rate:,} Hz"] if rate else []


def _training(proxy: Mapping[str, Any]) -> list[str]:
    if proxy.get("proxy") == "ridge":
        return ["--heads trained: networks, in the place of a regression in closed form"]
    epochs = proxy.get("epochs")
    return [f"--epochs {2 * epochs}: the networks had {epochs} epochs"] if epochs else []

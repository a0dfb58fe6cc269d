"""`audit`: from a manifest to a report. The first function is the table of contents."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cleanlab_lite.combine import Verdict, combine
from cleanlab_lite.conclude import build_report, class_table, duplicates_table, history_table, noise_matrix_table
from cleanlab_lite.config import AuditConfig, as_dict, validate
from cleanlab_lite.data.inputs import Inputs, load_contents, load_inputs
from cleanlab_lite.duplicates import Duplicates, find_copies
from cleanlab_lite.evidence import Evidence
from cleanlab_lite.exporters.formats import STEMS, Policy
from cleanlab_lite.exporters.manifest import save_manifest, suffix, write_manifest
from cleanlab_lite.exporters.policy import apply_policy
from cleanlab_lite.manifest import Manifest
from cleanlab_lite.progress import OnProgress, Progress, ignore
from cleanlab_lite.report import Report
from cleanlab_lite.run import REPORT, Run

if TYPE_CHECKING:
    from cleanlab_lite.plan import Plan
    from cleanlab_lite.warm_start import WarmStart

SUMMARY, MANIFEST = "summary.json", "manifest.parquet"
SOUND = ("sample_rate", "patch_seconds")  # of a plan
# What is lost with a kind of evidence.
WITHOUT = {
    "history": (
        "no history (--history): how training went says nothing, and its columns are null: loss_mean, loss_last, "
        "p_noisy_loss, aum, margin_streak, learned_epoch, forgetting_events"
    ),
    "pred_probs": (
        "no out-of-sample probabilities (--pred-probs): wrong labels that were soon learned by heart look right, a "
        "suggested label is only what the network predicted most often, and predicted_label, confident_joint_flag and "
        "ood_score are null"
    ),
    "features": (
        "no features (--features): rows of no class are not told from mislabelled ones, and the columns of neighbours "
        "and prototypes are null"
    ),
}
EXECUTION = ("time_budget", "workers", "max_memory")  # options that change how a run goes, not what it finds


def audit(
    manifest: Manifest,
    config: AuditConfig,
    *,
    run: Run,
    evidence: Evidence | None = None,
    warm: WarmStart | None = None,
    on_progress: OnProgress = ignore,
) -> Report:
    """Find the wrong labels of a manifest and fill the run folder. A finished run is read, not repeated.

    Args:
        evidence: recorded elsewhere, of the manifest's rows; without it proxies are trained.
        warm: the proxies of an earlier run, to start from.

    Raises:
        ConfigError: the options do not fit the data or the machine.
        EvidenceError: the evidence says nothing about any row.
        StoppedEarly: the time budget is used up; the same call goes on from there.
    """
    if run.finished:
        return Report.read(run.path(REPORT))
    if evidence is None:
        planned = make_plan(manifest, config, warm)
        facts = asdict(planned)
    else:
        planned, facts = None, own_facts(manifest, evidence)
    done = run.done("report")  # and killed just after it
    found = (
        Report.read(run.path(REPORT)) if done else _find(manifest, planned, config, evidence, warm, run, on_progress)
    )
    run.remove("*.npz")  # what every proxy saw is in the history now
    run.finish(
        plan=facts, configuration=as_dict(config), fingerprint=manifest.fingerprint, classes=list(manifest.classes)
    )
    on_progress(Progress("judge", 1, 1, "steps"))
    return found


def _find(
    manifest: Manifest,
    plan: Plan | None,
    config: AuditConfig,
    evidence: Evidence | None,
    warm: WarmStart | None,
    run: Run,
    on_progress: OnProgress,
) -> Report:
    """The stages of an audit, each read where an earlier process has done it. There is a plan or there is evidence."""
    run.write(MANIFEST, lambda path: save_manifest(manifest, path))
    if evidence is None:
        assert plan is not None
        inputs, duplicates, evidence = _train(manifest, plan, config, warm, run, on_progress)
    else:
        inputs = load_contents(manifest, on_progress=on_progress)
        duplicates = _copies(inputs, inputs, run, on_progress)
    on_progress(Progress("judge", 0, 1, "steps"))
    verdict = combine(evidence, inputs.readable, inputs.duplicate_of, seed=config.seed)
    copies = duplicates.reasons(manifest.labels, manifest.splits)
    verdict = replace(verdict, reasons=verdict.reasons | inputs.notes | copies)
    run.mark("judge")
    about = describe(run, plan, evidence, verdict, inputs, warm)
    about |= {"duplicates": duplicates.facts, "leakage": duplicates.leakage(manifest.splits)}
    about["warnings"] += leaks(manifest, copies["leakage"])
    report = build_report(manifest, verdict, duplicates, inputs.content, inputs.codes, inputs.errors, about)
    write(run, manifest, evidence, verdict, duplicates, report)
    run.mark("report")
    return report


def _train(
    manifest: Manifest, plan: Plan, config: AuditConfig, warm: WarmStart | None, run: Run, on_progress: OnProgress
) -> tuple[Inputs, Duplicates, Evidence]:
    from cleanlab_lite.ensemble import watch  # torch: an audit of the user's own evidence does without

    inputs, duplicates = _inputs(manifest, plan, config, warm, run, on_progress)
    evidence = watch(
        manifest.labels,
        manifest.num_classes,
        inputs,
        plan,
        config,
        run=run,
        on_progress=on_progress,
        warm=warm,
        copy_of=duplicates.copy_of,  # or a row's prediction would be that of a proxy that has seen its copy
    )
    return inputs, duplicates, evidence


def _inputs(
    manifest: Manifest, plan: Plan, config: AuditConfig, warm: WarmStart | None, run: Run, on_progress: OnProgress
) -> tuple[Inputs, Duplicates]:
    """What the proxies are going to see, the data itself or what a frozen encoder makes of it, and which are copies."""
    encoder = None
    if plan.encoder:  # before the pictures are decoded: its weights may not fit
        from cleanlab_lite.models.encoders import describe_encoder, load_encoder

        encoder = load_encoder(describe_encoder(plan.encoder, plan.image_size), plan.encoder_weights)
        if warm is not None:
            warm.require(encoder_fingerprint=encoder.fingerprint)
    inputs = load_inputs(manifest, plan.image_size, plan.sound, workers=config.workers, on_progress=on_progress)
    run.mark("decode", decoded=inputs.decoded, unreadable=int((~inputs.readable).sum()))
    if encoder is None:
        return inputs, _copies(inputs, inputs, run, on_progress)
    import torch

    from cleanlab_lite.encode import encode
    from cleanlab_lite.ensemble import PRECISIONS

    vectors, computed = encode(
        inputs,
        encoder,
        device=torch.device(plan.device),
        autocast=PRECISIONS[plan.encoder_precision],
        time_budget=config.time_budget,
        on_progress=on_progress,
    )
    run.mark("encode", weights=encoder.weights, fingerprint=encoder.fingerprint, computed=computed)
    return vectors, _copies(inputs, vectors, run, on_progress)


def _copies(inputs: Inputs, seen: Inputs, run: Run, on_progress: OnProgress) -> Duplicates:
    duplicates = find_copies(inputs, seen, on_progress=on_progress)
    run.mark("duplicates", **duplicates.facts)
    return duplicates


def make_plan(manifest: Manifest, config: AuditConfig, warm: WarmStart | None = None) -> Plan:
    """Raises ConfigError when the options do not fit the data, the machine, or the earlier run."""
    from cleanlab_lite import plan as planning

    return planning.make_plan(manifest, validate(config), warm)


def plan(manifest: Manifest, config: AuditConfig, warm: WarmStart | None = None) -> dict[str, Any]:
    """What `audit` would do without evidence, as JSON types."""
    return asdict(make_plan(manifest, config, warm))


def own_facts(manifest: Manifest, evidence: Evidence) -> dict[str, Any]:
    """What `audit` would do with this evidence, as JSON types."""
    return {
        "rows": len(manifest),
        "labelled": int((manifest.labels >= 0).sum()),
        "classes": manifest.num_classes,
        "modality": manifest.modality,
        "evidence": ", ".join(kinds(evidence)),
        "epochs": evidence.history.shape[1] if evidence.history is not None else 0,
    }


def kinds(evidence: Evidence) -> list[str]:
    """What there is of the evidence that a user can bring."""
    return [name for name in WITHOUT if getattr(evidence, name) is not None]


def run_key(
    manifest: Manifest, config: AuditConfig, evidence: Evidence | None = None, warm: WarmStart | None = None
) -> str:
    """sha256 of all that decides the findings: data, options, earlier run, version. It names the run."""
    options = {name: value for name, value in as_dict(config).items() if name not in EXECUTION}
    facts = [manifest.fingerprint, _file_facts(manifest), options, importlib.metadata.version("nlclean")]
    if config.weights not in ("", "default"):
        facts.append(_stamp(config.weights))
    if evidence is not None:
        facts.append(evidence.fingerprint())
    if warm is not None:
        facts.append(warm.key)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _file_facts(manifest: Manifest) -> str:
    """sha256 of size and time of change of every local file: replaced pictures make another run."""
    digest = hashlib.sha256()
    for uri in manifest.uris if manifest.uris is not None and manifest.modality != "vector" else ():
        digest.update(f"{_stamp(uri)}\n".encode())
    return digest.hexdigest()


def _stamp(path: str) -> str:
    """Size and time of change of a local file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # missing, remote, or no path at all: who reads it says so
        return "-"
    return f"{found.st_size} {found.st_mtime_ns}"


def describe(
    run: Run, plan: Plan | None, evidence: Evidence, verdict: Verdict, inputs: Inputs, warm: WarmStart | None
) -> dict[str, Any]:
    """What the summary says about the run itself: what was planned, and what trials have chosen."""
    about: dict[str, Any] = {
        "run_id": run.run_id,
        "evidence": kinds(evidence),
        "proxy": None,
        "search": None,
        "encoder": None,
        "warm_start": warm.described(inputs.content) if warm else None,
        "device": None,
        "warnings": warnings(verdict, inputs) + (costs(evidence, inputs, verdict) if plan is None else []),
    }
    if plan is None:
        return about
    assert evidence.history is not None
    search = run.facts("search") if run.done("search") else None
    proxy = {
        name: getattr(plan, name)
        for name in ("proxy", "loss", "strategy", "ensemble", "batch_size", "precision", "image_size", *SOUND)
    }
    proxy |= {"epochs": evidence.history.shape[1]}
    proxy |= {name: search["chosen"][name] for name in ("loss", "strategy")} if search else {}
    return about | {"proxy": proxy, "search": search, "encoder": _encoder_facts(run, plan), "device": plan.device}


def _encoder_facts(run: Run, plan: Plan) -> dict[str, Any] | None:
    """Which pretrained encoder made the features, and why; None where the proxies saw the data themselves."""
    if not plan.encoder:
        return None
    return {
        "name": plan.encoder,
        "reason": plan.encoder_reason,
        "image_size": plan.image_size,
        "features": plan.encoder_features,
        "precision": plan.encoder_precision,
        **run.facts("encode"),
    }


def warnings(verdict: Verdict, inputs: Inputs) -> list[str]:
    """What a reader should know before trusting the numbers, a sentence each."""
    found = []
    unreadable = int((~inputs.readable).sum())
    if unreadable:
        n = len(inputs.codes)
        found.append(f"{unreadable:,} of {n:,} rows could not be read; they are in the report as unreadable")
    rate = verdict.calibration.rate
    if "unknown" in rate.method:
        found.append(
            "held-out labels are predicted no better than chance, so no row is judged: are these the right files and "
            "labels, in the right order? A pretrained encoder (--proxy torchvision:resnet50 --weights default, or "
            "--features) or more epochs may help"
        )
    elif "uncalibrated" in rate.method:
        found.append("without enough planted errors p_mislabel is not calibrated: rely on the order of the rows")
    elif rate.high - rate.low > 0.5 or rate.estimate > 0.5:
        found.append("the noise rate is hardly determined: the proxies learn too little from these labels")
    return found


def leaks(manifest: Manifest, leaking: np.ndarray) -> list[str]:
    """Which test and validation splits share rows with others, a sentence each. `leaking` is (n,) bool."""
    found = []
    for name in np.unique(manifest.splits[manifest.held_back & leaking]):
        rows = manifest.splits == name
        count = int((rows & leaking).sum())
        found.append(
            f"{count:,} of {rows.sum():,} rows of split {name} ({count / rows.sum():.1%}) have the same or nearly the "
            "same content as rows of another split: scores on it are too good"
        )
    return found


def costs(evidence: Evidence, inputs: Inputs, verdict: Verdict) -> list[str]:
    """What an audit of the user's own evidence lacks, and what that costs, a sentence each."""
    found = [sentence for name, sentence in WITHOUT.items() if getattr(evidence, name) is None]
    silent = int((inputs.readable & (evidence.labels >= 0) & ~verdict.judged).sum())
    if silent:
        found.append(f"{silent:,} labelled rows are not in the history and are not judged")
    if not inputs.array.shape[1]:
        found.append("the files were not decoded: broken ones are not found, copies only where the bytes are the same")
    return found


def write(
    run: Run, manifest: Manifest, evidence: Evidence, verdict: Verdict, duplicates: Duplicates, report: Report
) -> None:
    """Everything a user finds in the run folder, each file whole or absent."""
    features = evidence.features
    if features is not None:
        run.write("features.npy", lambda path: np.save(path, features))
    if evidence.history is not None:
        run.write_parquet("history.parquet", history_table(manifest, evidence))
    run.write_parquet("classes.parquet", class_table(manifest, verdict))
    run.write_parquet("noise_matrix.parquet", noise_matrix_table(manifest, verdict))
    run.write_parquet("duplicates.parquet", duplicates_table(manifest, duplicates))
    policies: tuple[Policy, ...] = ("prune", "correct")
    for policy in policies:
        cleaning = apply_policy(report.table, manifest.held_back, policy)
        writer = partial(write_manifest, manifest, keep=cleaning.keep, labels=cleaning.labels)
        run.write(f"{STEMS[policy]}{suffix(manifest)}", writer)
    run.write_json(SUMMARY, report.summary)
    run.write(REPORT, lambda path: report.write(path, run_id=run.run_id))

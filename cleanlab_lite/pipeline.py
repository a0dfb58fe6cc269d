"""`audit`: from a manifest to a report. The first function is the table of contents."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cleanlab_lite import plan as planning
from cleanlab_lite.combine import Verdict, combine
from cleanlab_lite.conclude import build_report, class_table, history_table, noise_matrix_table
from cleanlab_lite.config import AuditConfig, as_dict, validate
from cleanlab_lite.data.inputs import Inputs, load_inputs
from cleanlab_lite.encode import encode
from cleanlab_lite.ensemble import PRECISIONS, watch
from cleanlab_lite.evidence import Evidence
from cleanlab_lite.exporters.formats import STEMS, Policy
from cleanlab_lite.exporters.manifest import save_manifest, suffix, write_manifest
from cleanlab_lite.exporters.policy import apply_policy
from cleanlab_lite.manifest import Manifest
from cleanlab_lite.models.encoders import describe_encoder, load_encoder
from cleanlab_lite.progress import OnProgress, Progress, ignore
from cleanlab_lite.report import Report
from cleanlab_lite.run import REPORT, Run

SUMMARY, MANIFEST = "summary.json", "manifest.parquet"
SOUND = ("sample_rate", "patch_seconds")  # of a plan
EXECUTION = ("time_budget", "workers", "max_memory")  # options that change how a run goes, not what it finds


def audit(manifest: Manifest, config: AuditConfig, *, run: Run, on_progress: OnProgress = ignore) -> Report:
    """Find the wrong labels of a manifest and fill the run folder. A finished run is read, not repeated.

    Raises:
        ConfigError: the options do not fit the data or the machine.
        StoppedEarly: the time budget is used up; the same call goes on from there.
    """
    if run.finished:
        return Report.read(run.path(REPORT))
    plan = planning.make_plan(manifest, validate(config))
    done = run.done("report")  # and killed just after it
    report = Report.read(run.path(REPORT)) if done else _find(manifest, plan, config, run, on_progress)
    run.remove("*.npz")  # what every proxy saw is in the history now
    run.finish(plan=planning.as_dict(plan), configuration=as_dict(config), fingerprint=manifest.fingerprint)
    on_progress(Progress("judge", 1, 1, "steps"))
    return report


def _find(manifest: Manifest, plan: planning.Plan, config: AuditConfig, run: Run, on_progress: OnProgress) -> Report:
    """The stages of an audit, each read where an earlier process has done it."""
    run.write(MANIFEST, lambda path: save_manifest(manifest, path))
    inputs = _inputs(manifest, plan, config, run, on_progress)
    evidence = watch(manifest.labels, manifest.num_classes, inputs, plan, config, run=run, on_progress=on_progress)
    on_progress(Progress("judge", 0, 1, "steps"))
    verdict = combine(evidence, inputs.readable, inputs.duplicate_of, seed=config.seed)
    verdict = replace(verdict, reasons=verdict.reasons | inputs.notes)
    run.mark("judge")
    about = describe(run, plan, evidence, verdict, inputs)
    report = build_report(manifest, verdict, inputs.duplicate_of, inputs.content, inputs.codes, inputs.errors, about)
    write(run, manifest, evidence, verdict, report)
    run.mark("report")
    return report


def _inputs(manifest: Manifest, plan: planning.Plan, config: AuditConfig, run: Run, on_progress: OnProgress) -> Inputs:
    """What the proxies are going to see: the data itself, or what a frozen encoder makes of it."""
    encoder = None
    if plan.encoder:  # before the pictures are decoded: its weights may not fit
        encoder = load_encoder(describe_encoder(plan.encoder, plan.image_size), plan.encoder_weights)
    inputs = load_inputs(manifest, plan.image_size, plan.sound, workers=config.workers, on_progress=on_progress)
    run.mark("decode", decoded=inputs.decoded, unreadable=int((~inputs.readable).sum()))
    if encoder is None:
        return inputs
    vectors, computed = encode(
        inputs,
        encoder,
        device=torch.device(plan.device),
        autocast=PRECISIONS[plan.encoder_precision],
        time_budget=config.time_budget,
        on_progress=on_progress,
    )
    run.mark("encode", weights=encoder.weights, fingerprint=encoder.fingerprint, computed=computed)
    return vectors


def plan(manifest: Manifest, config: AuditConfig) -> dict[str, Any]:
    """What `audit` would do, as JSON types."""
    return planning.as_dict(planning.make_plan(manifest, validate(config)))


def run_key(manifest: Manifest, config: AuditConfig) -> str:
    """sha256 of all that decides the findings: the data, the options, the version. It names the run."""
    options = {name: value for name, value in as_dict(config).items() if name not in EXECUTION}
    facts = [manifest.fingerprint, _file_facts(manifest), options, importlib.metadata.version("nlclean")]
    if config.weights not in ("", "default"):
        facts.append(_stamp(config.weights))
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


def describe(run: Run, plan: planning.Plan, evidence: Evidence, verdict: Verdict, inputs: Inputs) -> dict[str, Any]:
    """What the summary says about the run itself: what was planned, and what trials have chosen."""
    assert evidence.history is not None
    search = run.facts("search") if run.done("search") else None
    return {
        "run_id": run.run_id,
        "proxy": {
            name: getattr(plan, name)
            for name in ("proxy", "loss", "strategy", "ensemble", "batch_size", "precision", "image_size", *SOUND)
        }
        | {"epochs": evidence.history.shape[1]}
        | ({name: search["chosen"][name] for name in ("loss", "strategy")} if search else {}),
        "search": search,
        "encoder": _encoder_facts(run, plan),
        "device": plan.device,
        "warnings": warnings(verdict, inputs, plan),
    }


def _encoder_facts(run: Run, plan: planning.Plan) -> dict[str, Any] | None:
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


def warnings(verdict: Verdict, inputs: Inputs, plan: planning.Plan) -> list[str]:
    """What a reader should know before trusting the numbers, a sentence each."""
    found = []
    unreadable = int((~inputs.readable).sum())
    if unreadable:
        found.append(f"{unreadable:,} of {plan.rows:,} rows could not be read; they are in the report as unreadable")
    rate = verdict.calibration.rate
    if "unknown" in rate.method:
        found.append(
            "the proxies predict held-out labels no better than chance, so no row is judged: are these the right files "
            "and labels? A pretrained encoder (--proxy torchvision:resnet50 --weights default, or --features) or more "
            "epochs may help"
        )
    elif "uncalibrated" in rate.method:
        found.append("too few rows for planted errors: p_mislabel is not calibrated, rely on the order of the rows")
    elif rate.high - rate.low > 0.5:
        found.append("the noise rate is hardly determined: the proxies learn too little from these labels")
    return found


def write(run: Run, manifest: Manifest, evidence: Evidence, verdict: Verdict, report: Report) -> None:
    """Everything a user finds in the run folder, each file whole or absent."""
    assert evidence.features is not None
    features = evidence.features
    run.write("features.npy", lambda path: np.save(path, features))
    run.write_parquet("history.parquet", history_table(manifest, evidence))
    run.write_parquet("classes.parquet", class_table(manifest, verdict))
    run.write_parquet("noise_matrix.parquet", noise_matrix_table(manifest, verdict))
    policies: tuple[Policy, ...] = ("prune", "correct")
    for policy in policies:
        cleaning = apply_policy(report.table, manifest.held_back, policy)
        writer = partial(write_manifest, manifest, keep=cleaning.keep, labels=cleaning.labels)
        run.write(f"{STEMS[policy]}{suffix(manifest)}", writer)
    run.write_json(SUMMARY, report.summary)
    run.write(REPORT, lambda path: report.write(path, run_id=run.run_id))


def audit_path(
    path: str | Path, *, out: Path | None = None, on_progress: OnProgress = ignore, **options: Any
) -> Report:
    """`audit` for Python: read the manifest, open a run folder, audit.

    `options` are `preset` and the fields of AuditConfig; column names go to `read_manifest` before.
    """
    from cleanlab_lite.config import preset
    from cleanlab_lite.readers import read_manifest

    manifest = read_manifest(path)
    config = preset(options.pop("preset", "balanced"), **options)
    with Run.start(out, Path(manifest.source.path).stem, run_key(manifest, config)) as run:
        return audit(manifest, config, run=run, on_progress=on_progress)

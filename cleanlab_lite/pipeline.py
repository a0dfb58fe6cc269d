"""`run_audit`: from a manifest to a report. The first function is the table of contents."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from cleanlab_lite.archives import member
from cleanlab_lite.clock import Clock
from cleanlab_lite.config import AuditConfig, as_dict, validate
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.evidence.decisions import DecisionLog, read_journal
from cleanlab_lite.evidence.evidence import NOBODY, Asked, Evidence
from cleanlab_lite.evidence.trusted import read_trusted
from cleanlab_lite.export.formats import STEMS, Policy
from cleanlab_lite.export.manifest import suffix, write_manifest
from cleanlab_lite.export.policy import Cleaned, Cleaning, apply_policy
from cleanlab_lite.forecast import Forecast
from cleanlab_lite.groups import roots
from cleanlab_lite.judge.ranking import networks_of
from cleanlab_lite.judge.verdict import Verdict, combine
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.saved import save_manifest
from cleanlab_lite.matrices import let_go, save_matrix
from cleanlab_lite.progress import OnProgress, Progress, ignore
from cleanlab_lite.report.advice import advise
from cleanlab_lite.report.annotators import annotators_of, annotators_table, consensus_table
from cleanlab_lite.report.asked import asked_in, asked_of, asked_table
from cleanlab_lite.report.overlap import overlapping_pairs
from cleanlab_lite.report.provenance import noisy_sources, provenance_table
from cleanlab_lite.report.tables import build_report, class_table, duplicates_table, history_table, noise_matrix_table
from cleanlab_lite.report.warnings import contradictions, leaks, loose, warnings
from cleanlab_lite.run import Run, RunFiles, layout
from cleanlab_lite.run.find import find_run
from cleanlab_lite.run.report import ReportTable
from cleanlab_lite.run.seal import seal
from cleanlab_lite.sources import EvidenceSource, Seen, source_of

if TYPE_CHECKING:
    from cleanlab_lite.train.warm_start import WarmStart

# Options that change how a run goes, not what it finds
EXECUTION = ("time_budget", "workers", "devices", "max_memory", "allow_remote")


def run_audit(
    manifest: Manifest,
    config: AuditConfig,
    *,
    run: Run,
    source: EvidenceSource | None = None,
    on_progress: OnProgress = ignore,
    forecast: Forecast | None = None,
    asked: Asked | None = None,
) -> ReportTable:
    """Find the wrong labels of a manifest and fill the run folder. A finished run is read, not repeated.

    Args:
        source: of the evidence, see `source_of`; by default proxies are trained as `config` says.
        forecast: that of the source; with it, events of progress say how far the whole audit is.
        asked: of `Trusted`, where the source has decided rows.

    Raises:
        ConfigError: the options do not fit the data or the machine.
        EvidenceError: the evidence says nothing about any row.
        StoppedEarly: the time budget is used up; the same call goes on from there.
    """
    if run.finished:
        return ReportTable.read(run.path(layout.REPORT))
    source = source or source_of(manifest, config)
    clock = Clock(config.time_budget, on_progress, forecast)
    done = run.done("report")  # and killed just after it
    report = ReportTable.read(run.path(layout.REPORT)) if done else _find(manifest, config, source, run, clock, asked)
    run.discard()  # what every proxy saw is in the history now
    run.finish(
        plan=source.facts,
        configuration=as_dict(config),
        fingerprint=manifest.fingerprint,
        classes=list(manifest.classes),
        seal=seal(run.folder, run.key),
    )
    clock.tell(Progress("report", 1, 1, "steps", clock.overrun()))
    return report


def _find(
    manifest: Manifest, config: AuditConfig, source: EvidenceSource, run: Run, clock: Clock, asked: Asked | None
) -> ReportTable:
    """The stages of an audit, each read where an earlier process has done it."""
    run.write(layout.MANIFEST, lambda path: save_manifest(manifest, path))
    seen = source.look(manifest, run, clock)
    seen = replace(seen, evidence=replace(seen.evidence, asked=asked))
    _let_go(manifest, seen)
    clock.tell(Progress("judge", 0, 1, "steps"))
    verdict = _judge(manifest, config.seed, seen)
    run.mark("judge")
    _let_go(manifest, seen)
    clock.tell(Progress("judge", 1, 1, "steps"))
    clock.tell(Progress("report", 0, 1, "steps"))
    report = _report(manifest, source, run, seen, verdict)
    run.mark("report")
    return report


def _let_go(manifest: Manifest, seen: Seen) -> None:
    """Give back the memory of what a stage has read of files that are mapped, for the next one."""
    for array in (manifest.features, seen.inputs.array):
        let_go(array)
    for networks in networks_of(seen.evidence):
        networks.need_history().let_go()


def _judge(manifest: Manifest, seed: int, seen: Seen) -> Verdict:
    """The verdict on all rows, with what is known of their files and their copies among its reasons."""
    inputs = seen.inputs
    verdict = combine(
        seen.evidence,
        inputs.readable,
        inputs.duplicate_of,
        empty=inputs.empty,
        votes=manifest.votes,
        seed=seed,
        search=seen.search,
    )
    copies = seen.duplicates.reasons(manifest.labels, manifest.splits)
    return replace(verdict, reasons=verdict.reasons | inputs.notes | copies)


def _report(manifest: Manifest, source: EvidenceSource, run: Run, seen: Seen, verdict: Verdict) -> ReportTable:
    """The report, and all that lies beside it in the run folder."""
    inputs, duplicates = seen.inputs, seen.duplicates
    about = facts_of_all(run, seen) | source.about(run, seen, verdict)
    about |= {"duplicates": duplicates.facts, "leakage": duplicates.leakage(manifest.splits)}
    provenance = provenance_table(manifest, verdict, roots(duplicates.copy_of))
    about["provenance"] = noisy_sources(provenance)
    matrix = noise_matrix_table(manifest, verdict)
    rows = np.bincount(manifest.labels[verdict.judged], minlength=manifest.num_classes).tolist()
    about["overlaps"] = overlapping_pairs(matrix, dict(zip(manifest.classes, rows, strict=True)))
    if verdict.crowd is not None:
        about["annotators"] = annotators_of(manifest, verdict.crowd)
        run.write_parquet(layout.ANNOTATORS, annotators_table(about["annotators"]))
        run.write_parquet(layout.CONSENSUS, consensus_table(manifest, verdict, verdict.crowd))
    advice = advise(manifest.modality, about["proxy"], about["encoder"])
    about["warnings"] = [
        *warnings(verdict, inputs, advice),
        *contradictions(manifest, verdict),
        *loose(verdict, about["trusted"]),
        *about["warnings"],
        *leaks(manifest, verdict.reasons["leakage"]),
    ]
    report = build_report(manifest, verdict, duplicates, inputs.content, inputs.codes, inputs.errors, about)
    run.write_parquet(layout.PROVENANCE, provenance)
    run.write_parquet(layout.NOISE_MATRIX, matrix)
    write_tables(run, manifest, seen, verdict, report)
    return report


class Trusted(NamedTuple):
    """What people have decided about the rows of a manifest."""

    decided: np.ndarray  # (n,) int64, of `read_trusted`
    asked: Asked | None  # what was said of them in the run that was reviewed
    notes: list[str]  # a sentence for everything that was passed over
    run: Path | None = None  # the one that was reviewed, where it is one


def read_decided(path: Path, manifest: Manifest) -> Trusted:
    """`read_trusted`, which also takes a reviewed run."""
    if not path.is_dir():
        decided, notes = read_trusted(path, manifest)
        return Trusted(decided, None, notes)
    folder = find_run(path)
    if not (folder / layout.DECISIONS).is_file():
        raise ConfigError(
            f"nobody has decided anything of the run in {folder}",
            hint="`nlclean review RUN` first, or name a journal or a table of right labels",
        )
    decided, notes = read_trusted(folder / layout.DECISIONS, manifest)
    return Trusted(decided, asked_of(manifest, asked_in(folder)), notes, folder)


def carry_decisions(trusted: Trusted, folder: Path, manifest: Manifest) -> None:
    """Put the decisions of a reviewed run on rows of this manifest into the run `folder`: a review goes on there.

    Other journals, and tables, stay where people keep them.
    """
    if trusted.run is not None and trusted.asked is not None:
        ids = set(manifest.ids.tolist())
        journal = read_journal(trusted.run / layout.DECISIONS)
        DecisionLog(folder / layout.DECISIONS).add(decision for decision in journal if decision.id in ids)
        asked = asked_table(manifest, trusted.asked)
        RunFiles(folder).write(layout.ASKED, lambda file: pq.write_table(asked, file))


def run_key(
    manifest: Manifest,
    config: AuditConfig,
    evidence: Evidence | None = None,
    warm: WarmStart | None = None,
    trusted: Trusted | None = None,
) -> str:
    """sha256 of all that decides the findings: data, options, earlier run, decisions, version. It names the run."""
    options = {name: value for name, value in as_dict(validate(config)).items() if name not in EXECUTION}
    facts = [manifest.fingerprint, file_facts(manifest), options, importlib.metadata.version("nlclean")]
    if config.weights not in ("", "default"):
        facts.append(_stamp(config.weights))
    if evidence is not None:
        facts.append(evidence.fingerprint())
    if warm is not None:
        facts.append(warm.key)
    if trusted is not None:
        asked = () if trusted.asked is None else (trusted.asked.p, trusted.asked.at_random)
        facts.append(hashlib.sha256(b"".join(array.tobytes() for array in (trusted.decided, *asked))).hexdigest())
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_facts(manifest: Manifest) -> str:
    """sha256 of size and time of change of every local file: replaced pictures make another run."""
    digest = hashlib.sha256()
    for uri in manifest.files:
        digest.update(f"{_stamp(uri)}\n".encode())
    return digest.hexdigest()


def _stamp(path: str) -> str:
    """Size and time of change of a local file."""
    place = member(path)
    try:
        found = os.stat(path if place is None else place.archive)
    except (OSError, ValueError):  # missing, remote, or no path at all: who reads it says so
        return "-"
    return f"{found.st_size} {found.st_mtime_ns}"


def facts_of_all(run: Run, seen: Seen) -> dict[str, Any]:
    """Fields of the summary that every audit has."""
    decided = seen.evidence.decided
    trusted = 0 if decided is None else int((decided != NOBODY).sum())
    return {"run_id": run.run_id, "evidence": seen.evidence.kinds, "trusted": trusted}


def cleanings(manifest: Manifest, report: ReportTable) -> dict[Policy, Cleaning]:
    """What the policies would do with the manifest; a warning of the report where that is too much to be written."""
    found: dict[Policy, Cleaning] = {}
    if not report.summary.noise_rate.determined:
        return found  # a warning says so
    policies: tuple[Policy, ...] = ("prune", "correct")
    for policy in policies:
        cleaning = apply_policy(report.table, manifest.held_back, policy)
        error = Cleaned(manifest, report.table, cleaning).excess()
        if error is None:
            found[policy] = cleaning
        else:
            file = f"{STEMS[policy]}{suffix(manifest)}"
            report.summary.warnings.append(
                f"{file} is not in the run folder: {error.message} (`nlclean export --policy {policy}` has --max-drop "
                "and --max-drop-per-class)"
            )
    return found


def write_tables(run: Run, manifest: Manifest, seen: Seen, verdict: Verdict, report: ReportTable) -> None:
    """Everything a user finds in every run folder, each file whole or absent."""
    evidence, features = seen.evidence, seen.evidence.features
    cleaned = cleanings(manifest, report)  # the summary has a warning where that is too much
    if features is not None:
        run.write(layout.FEATURES, lambda path: save_matrix(path, features))
    if evidence.history is not None:
        run.write_parquet(layout.HISTORY, history_table(manifest, evidence))
    run.write_parquet(layout.CLASSES, class_table(manifest, verdict))
    run.write_parquet(layout.DUPLICATES, duplicates_table(manifest, seen.duplicates))
    for policy, cleaning in cleaned.items():
        writer = partial(write_manifest, manifest, keep=cleaning.keep, labels=cleaning.labels)
        run.write(f"{STEMS[policy]}{suffix(manifest)}", writer)
    run.write_json(layout.SUMMARY, report.summary.as_dict())
    run.write(layout.REPORT, lambda path: report.write(path, run_id=run.run_id))

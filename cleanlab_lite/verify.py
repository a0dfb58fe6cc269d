"""`verify`: does cleaning help? The same proxy learns from the labels as they are and as cleaning leaves them.

original    all rows to learn from, with the labels that they carry
pruned      without the rows that `export --policy prune` leaves out
corrected   as `export --policy correct` writes them
corrected-pruned  as `export --policy correct-prune` writes them: what is not corrected and flagged goes
weighted    all rows, each with the weight that `export --policy weight` writes
random      without as many rows as pruned, drawn at random: what fewer rows do by themselves

All are tested on the same rows (`holdout`), which teach nobody. Where these were among the rows of the run, the rest is
audited again without them: else what is corrected would have been decided with the help of their labels.

What is learned is what the run has learned: networks on its first view, taught as they were, from the same
initialisations for every way; or its regression in closed form. That has no chance in it: seeds only change which rows
`random` leaves out. Both resist wrong labels; `plain` networks, taught as most models are, do not. Differences have an
interval over test rows and seeds together (`measure.crossed_bootstrap`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cleanlab_lite.clock import Clock
from cleanlab_lite.config import AuditConfig, preset
from cleanlab_lite.errors import ConfigError, ReportError
from cleanlab_lite.export.formats import Policy
from cleanlab_lite.export.policy import apply_policy
from cleanlab_lite.groups import copies_in
from cleanlab_lite.holdout import NAME_FILE, Audit, Looked, Rows, join, look, rows_of_file, rows_of_run
from cleanlab_lite.judge.reweighted import predict_reweighted
from cleanlab_lite.judge.ridge import Ridge
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.measure import Difference, crossed_bootstrap
from cleanlab_lite.pipeline import run_audit, run_key
from cleanlab_lite.progress import OnProgress, Progress, ignore
from cleanlab_lite.run import Run, RunFiles, RunFolder, layout
from cleanlab_lite.run.report import ReportTable
from cleanlab_lite.run.verification import HELPED, HURT, SAME, UNKNOWN, USELESS, VERSION, Verification, Way
from cleanlab_lite.sources import Proxies, regressed, source_of
from cleanlab_lite.text import points

SEEDS = 5
WORTH = 0.005  # of accuracy: a gain that is surely less is none
RESISTS = "What the audit trains resists wrong labels; --learner plain asks networks that do not, as most models"
ORIGINAL, RANDOM = "original", "random"
POLICIES: dict[str, Policy] = {
    "pruned": "prune",
    "corrected": "correct",
    "corrected-pruned": "correct-prune",
    "weighted": "weight",
}
SUMMARIES = {
    ORIGINAL: "all labels as they are",
    "pruned": "without the rows that prune leaves out",
    "corrected": "as correct writes them",
    "corrected-pruned": "corrected where that is clear, no other flagged rows",
    "weighted": "every row with its weight",
    RANDOM: "without as many rows as pruned, at random",
}


@dataclass(frozen=True)
class Lesson:
    """What n rows teach."""

    labels: np.ndarray  # (n,) int64, -1 where a row does not teach
    weight: np.ndarray | None = None  # (n,) float64; None: all weigh the same


Lessons = Mapping[str, Sequence[Lesson]]  # by way; one, or one per seed
Predicted = Mapping[str, np.ndarray]  # by way: (s, t) int64, of the test rows; s is 1 where there is no chance


@dataclass(frozen=True)
class School:
    """Where the ways are compared."""

    whole: Manifest  # the rows of the run, and of the test file behind them
    rows: Rows
    looked: Looked
    source: Proxies  # what is learned, and how
    seeds: int


def verify(
    run: RunFolder,
    manifest: Manifest,
    config: AuditConfig,
    *,
    test: Manifest | None = None,
    seeds: int = SEEDS,
    plain: bool = False,
    command: Sequence[str] = (),
    on_progress: OnProgress = ignore,
) -> Verification:
    """Learn from a finished run's labels as they are and cleaned, and write `verify.json` into its folder.

    What was done with the same options is read, and what was killed goes on.

    Args:
        manifest: what the run audited.
        config: the options of the run, which say what is learned and how.
        test: rows whose labels are trusted.
        seeds: networks per way, and draws of the rows that are left out at random.
        plain: networks with cross-entropy and nothing else against wrong labels learn, not what the run has trained.
        command: what the user typed.

    Raises:
        ReportError: the run has learned nothing that could be verified.
        ConfigError: there are no test rows, or they do not fit the run; or the run began with evidence or decisions
            that it does not hold, and no test rows were brought.
        StoppedEarly: the time budget is used up; the same call goes on from there.
    """
    if not run.summary.noise_rate.learned:
        raise ReportError(
            f"the run in {run.folder} has learned nothing from the labels, so there is nothing to verify",
            hint="`nlclean report` says what to try",
        )
    if run.summary.proxy is None:  # evidence was brought: nothing is known of how to train
        if test is None:
            raise ConfigError(
                f"the run in {run.folder} is of evidence that it does not hold: nothing can be kept from it to test on",
                hint=NAME_FILE,
            )
        config = replace(preset("fast"), seed=config.seed, device=config.device)
    if run.summary.trusted and test is None:
        raise ConfigError(
            f"the run in {run.folder} started from decisions of people: an audit of a part of its rows would not know "
            "them",
            hint=NAME_FILE,
        )
    key = verification_key(run, manifest, config, test, seeds, plain)
    if run.verification is not None and run.verification.key == key:
        RunFiles(run.folder).remove_folder(layout.VERIFYING)  # of one that was killed at that
        return run.verification
    clock, folder = Clock(config.time_budget, on_progress), run.path(layout.VERIFYING) / key[:8]
    audit = partial(audit_part, config=config, folder=folder, clock=clock)
    with Run.start(folder / "learned", "verify", key, command) as trial:
        taught_by = replace(config, heads="trained", loss="ce", strategy="plain") if plain else config
        school = prepare(run, manifest, taught_by, test, seeds, audit, trial, clock)
        learned = np.flatnonzero(school.rows.learn)
        report = audit(school.whole.select(learned), "learned-from") if test is None else run.report
        lessons = teach(run, school, report.table if test is None else report.table.take(pa.array(learned)))
        if school.source.plan.heads == "closed":
            learner, predicted = by_regression(school, lessons, clock)
        else:
            taught = {} if plain else run.summary.proxy or {}
            learner, predicted = by_networks(school, lessons, trial, clock, as_in=taught)
    found = conclude(run, key, school, learner, lessons, predicted, plain=plain)
    files = RunFiles(run.folder)
    files.write_json(layout.VERIFICATION, found.as_dict())
    files.remove_folder(layout.VERIFYING)
    return found


def verification_key(
    run: RunFolder, manifest: Manifest, config: AuditConfig, test: Manifest | None, seeds: int, plain: bool = False
) -> str:
    """sha256 of all that decides what is found: run, decisions, test rows, options, version."""
    facts = [
        *(run.summary.run_id, run.summary.flagged, run_key(manifest, config), seeds),
        None if test is None else run_key(test, config),
        [asdict(each) for each in run.decisions],
        importlib.metadata.version("nlclean"),
        *(["plain"] if plain else []),
    ]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def audit_part(part: Manifest, name: str, *, config: AuditConfig, folder: Path, clock: Clock) -> ReportTable:
    """The report of the same audit on some rows alone, in a folder of this name."""
    limited = replace(config, time_budget=clock.remaining)
    with Run.start(folder / name, name, run_key(part, config)) as again:
        report = run_audit(part, limited, run=again, on_progress=clock.on_progress)
    clock.moved = True  # whatever an audit of its own has done is kept
    return report


def prepare(
    run: RunFolder,
    manifest: Manifest,
    config: AuditConfig,
    test: Manifest | None,
    seeds: int,
    audit: Audit,
    trial: Run,
    clock: Clock,
) -> School:
    """All rows, looked at, and who is tested."""
    n = len(manifest)
    whole = manifest if test is None else join(manifest, test)
    taught = replace(whole, labels=np.where(np.arange(len(whole)) < n, whole.labels, -1), _fingerprint=[])
    source = source_of(taught, config)
    assert isinstance(source, Proxies)
    looked = look(whole, source, trial, clock)
    by_run = partial(rows_of_run, run, whole, looked, audit, config.seed)
    rows = by_run() if test is None else rows_of_file(whole, n, looked)
    return School(whole, rows, looked, source, seeds)


# --- what is learned ------------------------------------------------------------------------------------------------


def teach(run: RunFolder, school: School, report: pa.Table) -> Lessons:
    """What each way of cleaning leaves of the rows that are learned from, of which `report` speaks.

    Raises ReportError where one leaves nothing.
    """
    whole = school.whole
    rows = np.flatnonzero(school.rows.learn)
    nobody = np.zeros(len(rows), dtype=bool)
    ids, number = set(report["id"].to_pylist()), {name: c for c, name in enumerate(whole.classes)}
    decisions = [each for each in run.decisions if each.id in ids]
    original = np.full(len(whole), -1)
    original[rows] = whole.labels[rows]
    lessons: dict[str, list[Lesson]] = {ORIGINAL: [Lesson(original)]}
    for name, policy in POLICIES.items():
        cleaning = apply_policy(report, nobody, policy, decisions=decisions)
        labels, weight = original.copy(), None
        for row, label in zip(rows, cleaning.labels, strict=True):
            labels[row] = original[row] if label is None else number.get(label, -1)
        labels[rows[~cleaning.keep]] = -1
        if cleaning.weights is not None:
            weight = np.zeros(len(whole))
            weight[rows] = cleaning.weights
        lessons[name] = [Lesson(labels, weight)]
        if not (labels >= 0 if weight is None else weight > 0).any():
            raise ReportError(f"{name}: no row is left to learn from", hint="`nlclean report` says what was found")
    left = int((lessons["pruned"][0].labels >= 0).sum())
    order, seed = school.looked.order, school.source.config.seed
    dealt = order[school.rows.learn[order]]  # by content, so that no order of the manifest tells which are left out
    lessons[RANDOM] = [_at_random(original, dealt, left, (seed, s)) for s in range(school.seeds)]
    return lessons


def _at_random(labels: np.ndarray, rows: np.ndarray, left: int, seed: tuple[int, int]) -> Lesson:
    kept = np.random.default_rng(seed).choice(rows, left, replace=False)
    result = np.full(len(labels), -1)
    result[kept] = labels[kept]
    return Lesson(result)


def by_regression(school: School, lessons: Lessons, clock: Clock) -> tuple[str, Predicted]:
    """What a regression in closed form learns, of the strength that suits the original labels; and its name."""
    whole, source, looked = school.whole, school.source, school.looked
    multiply = source.arithmetic().multiply
    vectors = {name: looked.views[name].array for name in source.plan.in_closed_form}
    views = regressed(whole, vectors, looked.readable, source.config.seed, multiply)
    labels = lessons[ORIGINAL][0].labels
    ridge = Ridge.fit(list(views.values()), labels, whole.num_classes, looked.group, multiply=multiply)
    strength = ridge.choose().strength
    test, same = np.flatnonzero(school.rows.test), np.ones(len(whole))
    total, done = sum(map(len, lessons.values())), 0
    predicted: dict[str, list[np.ndarray]] = {name: [] for name in lessons}
    for name, of_way in lessons.items():
        for lesson in of_way:
            weight = same if lesson.weight is None else lesson.weight
            predicted[name].append(predict_reweighted(ridge, strength, lesson.labels, weight, test).argmax(axis=1))
            done += 1
            clock.tell(Progress("heads", done, total, "steps", name))
    return f"a regression in closed form on {' and '.join(vectors)}", {
        name: np.stack(each) for name, each in predicted.items()
    }


def by_networks(
    school: School, lessons: Lessons, trial: Run, clock: Clock, *, as_in: Mapping[str, Any]
) -> tuple[str, Predicted]:
    """What networks on the first view learn, taught as those of the run were, whose facts are `as_in`; and their name.
    Without any as was planned."""
    from cleanlab_lite.train.ensemble import SEED_STRIDE, first_epochs
    from cleanlab_lite.train.ensemble import prepare as prepare_networks
    from cleanlab_lite.train.jobs import Job, hire, run_jobs
    from cleanlab_lite.train.task import Task

    source, looked = school.source, school.looked
    told = {name: as_in[name] for name in ("proxy", "loss", "strategy", "epochs") if name in as_in}
    plan, config = replace(source.plan, **told, recipes=1), source.config
    plan = replace(plan, epochs=first_epochs(plan))
    view, labels = plan.views[0], lessons[ORIGINAL][0].labels
    task = Task.of(labels, school.whole.num_classes, looked.views[view], view=view, copy_of=copies_in(looked.group))
    predicted: dict[str, list[np.ndarray]] = {name: [] for name in lessons}
    with hire(plan.device, config.workers) as crew:
        bench, teaching = prepare_networks(task, plan, config, crew)
        jobs = []
        for s in range(school.seeds):
            for name, of_way in lessons.items():
                lesson, seed = of_way[s % len(of_way)], (config.seed + s) * SEED_STRIDE
                rows, note = np.flatnonzero(lesson.labels >= 0), f"{name}, {s + 1}/{school.seeds}"
                job = Job(f"{name}-{s}", view, rows, lesson.labels, teaching, seed, note, weight=lesson.weight)
                jobs.append((name, job))
        clock.expect(len(jobs) * teaching.epochs)
        observations = run_jobs([job for _, job in jobs], bench, trial, clock)
        for count, ((name, _), seen) in enumerate(zip(jobs, observations, strict=True), start=1):
            predicted[name].append(seen.logits[school.rows.test].argmax(axis=1))
            clock.reach(count * teaching.epochs)
    learner = f"networks {plan.proxy} on {view}, {plan.strategy} with {plan.loss}, {plan.epochs} epochs"
    return learner, {name: np.stack(each) for name, each in predicted.items()}


# --- what was found -------------------------------------------------------------------------------------------------


def conclude(
    run: RunFolder, key: str, school: School, learner: str, lessons: Lessons, predicted: Predicted, *, plain: bool
) -> Verification:
    """The accuracies held against that of the original labels."""
    rows = school.rows
    ways = compare(lessons, predicted, rows.true[rows.test], rows.group[rows.test], school.source.config.seed)
    return Verification(
        version=VERSION,
        key=key,
        run_id=run.summary.run_id,
        learner=learner,
        seeds=school.seeds,
        measured_on=rows.measured_on,
        measure=rows.measure,
        rows=int(rows.learn.sum()),
        test_rows=int(rows.test.sum()),
        left_out=rows.left_out,
        ways=ways,
        sentence=in_words(ways, biased=rows.measured_on == "agreeing", plain=plain),
    )


def compare(lessons: Lessons, predicted: Predicted, true: np.ndarray, group: np.ndarray, seed: int = 0) -> list[Way]:
    """Every way on the test rows with the labels `true` (t,); rows of one `group` (t,) int64 are copies."""
    original = lessons[ORIGINAL][0].labels
    before = predicted[ORIGINAL] == true
    ways = []
    for name, of_way in lessons.items():
        right = predicted[name] == true
        same = all(each.weight is None and (each.labels == original).all() for each in of_way)
        if name == ORIGINAL:
            gain = None
        elif same:
            gain = Difference(0.0, 0.0, 0.0, 0.5)
        else:
            gain = crossed_bootstrap(right, before, group, seed=seed)
        taught = of_way[0].labels >= 0
        ways.append(
            Way(
                name=name,
                summary=SUMMARIES[name],
                rows=int(taught.sum()),
                relabelled=int((of_way[0].labels != original)[taught].sum()),
                accuracy=float(right.mean()),
                by_seed=right.mean(axis=1).tolist(),
                difference=gain and gain.difference,
                low=gain and gain.low,
                high=gain and gain.high,
                verdict=gain and (SAME if same else verdict(gain.low, gain.high)),
            )
        )
    return ways


def verdict(low: float, high: float) -> str:
    """Of a gain in accuracy that lies between them."""
    if low > 0:
        return HELPED
    if high < 0:
        return HURT
    return USELESS if high < WORTH else UNKNOWN


def in_words(ways: Sequence[Way], *, biased: bool, plain: bool = False) -> str:
    """The verdict on cleaning, and what fewer rows do by themselves.

    Args:
        biased: the audit has chosen the test rows.
        plain: as of `verify`.
    """
    cleaned = [way for way in ways if way.name in POLICIES]
    random = next(way for way in ways if way.name == RANDOM)
    verdicts = {way.verdict for way in cleaned}
    if HELPED in verdicts:
        head = "cleaning helped"
    elif UNKNOWN in verdicts:
        head = "it cannot be told whether cleaning helped"
    elif verdicts == {SAME}:
        head = "cleaning changes nothing"
    elif verdicts <= {SAME, HURT}:
        head = "cleaning made it worse"
    else:
        head = "cleaning did not help"
    head = f"By the audit's own opinion {head}" if biased else head[0].upper() + head[1:]
    parts = "; ".join(f"{way.name} {_gain(way)}: {way.verdict}" for way in cleaned)
    by_chance = f"Leaving out as many rows at random: {_gain(random)}."
    if random.verdict == HELPED:
        by_chance += " That helped, too: what pruning gains is no merit of the audit."
    if not plain and HELPED not in verdicts and verdicts != {SAME}:
        by_chance += f" {RESISTS}."
    return f"{head} ({parts}). {by_chance}"


def _gain(way: Way) -> str:
    """ "+3.1 points (+1.9 to +4.3)"."""
    difference, low, high = (points(value or 0.0) for value in (way.difference, way.low, way.high))
    return f"{difference} points ({low} to {high})"

"""`self_test`: what to expect of an audit of these data, seen on wrong labels that are planted among the user's own.

Worlds of several shapes are drawn from what a finished run believes (`judge.worlds`), each is audited like any other
data, and the flags are held against what was planted.

The headline is about the run's own flags. Its centre is what the run's own probabilities say of them: the mean of
p_mislabel over the flags, and the share of the sum of p_mislabel that is flagged. They are as right as the noise rate
is, and where little is learned the rate is mostly too high: so the interval is what the same probabilities say at rates
further down and up, `WAY` of the way to the ends of the rate's own interval, on a logarithmic scale. AP is rather a
matter of how well the rows are told apart, which the probabilities may overstate or understate: its ends are at odds
raised to a lower and a higher power, further apart where classes have few rows. People's errors were nowhere as easy to
see as planted ones; that is why worlds do not make the headline. They widen its interval where they contradict it: by
how much was planted among as many of the most suspicious rows as the run flags.

Few errors in a small set would tell little: then more are planted, and count so much less (`Scored.weight`) that
precision is that at the estimated rate (a change of priors: Elkan, IJCAI 2001).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc
from sklearn.metrics import average_precision_score

from cleanlab_lite.arrays import Z
from cleanlab_lite.clock import Clock
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.errors import ReportError
from cleanlab_lite.judge.calibration import raised, scale_odds
from cleanlab_lite.judge.worlds import FEWEST_CLASSES, SHAPES, Shape, World, draw_truth
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.pipeline import run_audit, run_key
from cleanlab_lite.progress import OnProgress, ignore
from cleanlab_lite.run import Run, RunFiles, RunFolder, layout
from cleanlab_lite.run.columns import numbers
from cleanlab_lite.run.report import ReportTable, flags
from cleanlab_lite.run.selftest import VERSION, Between, Bin, ClassOutcome, Expected, Outcome, SelfTest

LIKELY = ("matrix", "similar")  # shapes that are most like people's errors
WAY = 0.8  # the least, in tenths, whose intervals held the truth in 95 % of 128 sets whichever kind was left out
WAY_OF_AP, SURER = 0.5, 0.25  # the narrowest that held AP in 95 % of 61 sets, and then in 96 % of 50 others
FEWEST, MOST = 60, 0.3  # planted rows, and their share of a small set
BINS = 10  # of the calibration curve


@dataclass(frozen=True)
class Believed:
    """What a run says of n rows and k classes."""

    labels: np.ndarray  # (n,) int64, -1 where there is none
    p: np.ndarray  # (n,) p_mislabel, NaN where a row was not judged
    other: np.ndarray  # (n,) int64, most probable class beside the given one, -1 where none is known
    neighbors: np.ndarray  # (n, v) int64, -1 where there are fewer; v is 0 where the run knows none
    matrix: np.ndarray  # (k, k) P(given | true)
    rate: float
    rates: tuple[float, float]  # ends of its interval
    share: float  # of what was counted, that is believed: the less, the fewer rows a class has
    score: np.ndarray  # (n,) higher is cleaner
    flagged: np.ndarray  # (n,) bool, judged rows only

    @property
    def judged(self) -> np.ndarray:
        """(n,) bool"""
        return np.isfinite(self.p)

    @property
    def depth(self) -> float:
        """Share of the judged rows that is flagged."""
        return float(self.flagged.sum() / self.judged.sum())

    def towards_ends(self, way: float) -> tuple[float, float]:
        """Rates so far on the way from the estimate to either end of its interval, on a logarithmic scale."""
        low, high = (self.rate * (end / self.rate) ** way for end in self.rates)
        return low, high


@dataclass(frozen=True)
class Scored:
    """Of the s rows of a world that count and were judged."""

    score: np.ndarray  # (s,) higher is cleaner
    p: np.ndarray  # (s,)
    flagged: np.ndarray  # (s,) bool
    planted: np.ndarray  # (s,) bool
    given: np.ndarray  # (s,) int64
    suggested: np.ndarray  # (s,) int64, -1 where nothing is offered
    true: np.ndarray  # (s,) int64, -1 for rows of no class
    weight: np.ndarray  # (s,) so that the share of planted rows is the estimated rate


def self_test(
    run: RunFolder,
    manifest: Manifest,
    config: AuditConfig,
    *,
    preset: str,
    command: Sequence[str] = (),
    on_progress: OnProgress = ignore,
) -> SelfTest:
    """Plant errors into the labels of a finished run, audit them, and write `selftest.json` into its folder.

    A test that was done with the same options is read, and one that was killed goes on.

    Args:
        manifest: what the run audited.
        config: of the audits of planted labels.
        preset: its name, for the reader.
        command: what the user typed.

    Raises:
        ReportError: the run has learned nothing that could be tested, or audits of planted errors learn nothing.
        StoppedEarly: the time budget is used up; the same call goes on from there.
    """
    key = test_key(run, manifest, config)
    stored = run.selftest
    if stored is not None and stored.key == key:
        RunFiles(run.folder).remove_folder(layout.PLANTED)  # of one that was killed at that
        return stored
    believed, clock = believe(run, manifest), Clock(config.time_budget, on_progress)
    outcomes: list[Outcome] = []
    left_out: list[str] = []
    for number, shape in enumerate(SHAPES):
        world, why = plant(believed, shape, np.random.default_rng((config.seed, 7, number)))
        if world is None:
            left_out.append(f"{shape.name}: {why}")
            continue
        clock.moved = True  # whatever an audit of its own has done is kept
        clock.check(f"{number} of {len(SHAPES)} shapes")
        planted = replace(
            manifest,
            labels=world.labels,
            classes=tuple(manifest.classes[c] for c in world.visible),
            votes=None,  # they would tell which labels are planted
            _fingerprint=[],
        )
        limited = replace(config, time_budget=clock.remaining)
        folder = run.path(layout.PLANTED) / f"{shape.name}-{key[:8]}"
        with Run.start(folder, shape.name, run_key(planted, limited), command) as trial:
            report = run_audit(planted, limited, run=trial, on_progress=on_progress)
        if not report.summary.noise_rate.learned:
            left_out.append(f"{shape.name}: nothing is learned from labels with these errors")
            continue
        outcomes.append(outcome_of(shape, believed, world, planted.classes, report))
    files = RunFiles(run.folder)
    if not outcomes:
        files.remove_folder(layout.PLANTED)
        raise ReportError(
            f"the run in {run.folder} cannot be tested: with errors planted at the rate that it estimates, nothing is "
            "learned from its labels",
            hint="do not rely on its flags; more rows per class help, or other features",
        )
    found = SelfTest(
        version=VERSION,
        key=key,
        run_id=run.summary.run_id,
        preset=preset,
        seed=config.seed,
        noise_rate=run.summary.noise_rate.estimate or 0.0,
        flagged=run.summary.flagged,
        expected=expect(outcomes, believed),
        shapes=outcomes,
        left_out=left_out,
    )
    files.write_json(layout.SELFTEST, found.as_dict())
    files.remove_folder(layout.PLANTED)
    return found


def test_key(run: RunFolder, manifest: Manifest, config: AuditConfig) -> str:
    """sha256 of all that decides what a self-test finds: the run, the options of its audits, the version."""
    facts = [run.summary.run_id, run.summary.flagged, run_key(manifest, config), importlib.metadata.version("nlclean")]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def believe(run: RunFolder, manifest: Manifest) -> Believed:
    """What the run says. Raises ReportError when it has learned nothing."""
    table, rate = run.report.table, run.summary.noise_rate
    if not rate.learned or rate.estimate is None or run.noise_matrix is None:
        raise ReportError(
            f"the run in {run.folder} has learned nothing from the labels, so there is nothing to test",
            hint="`nlclean report` says what to try",
        )
    if manifest.is_bare:
        raise ReportError(
            f"the rows of {run.folder} have neither files nor vectors: nothing could learn planted labels",
            hint="audit the same labels with their files, or with --features FILE, and test that run",
        )
    number = {name: c for c, name in enumerate(manifest.classes)}
    top = table["top_labels"].to_pylist()
    other = [
        next((number[name] for name in names or () if number[name] != given), -1)
        for names, given in zip(top, manifest.labels.tolist(), strict=True)
    ]
    matrix = np.zeros((manifest.num_classes, manifest.num_classes))
    for row in run.noise_matrix.to_pylist():
        matrix[number[row["true_label"]], number[row["given_label"]]] = row["probability"]
    p = numbers(table, "p_mislabel")
    judged = np.isfinite(p)
    least, most = 1 / max(judged.sum(), 2), 1 - 1e-3
    ends = (0.0 if rate.low is None else rate.low, 1.0 if rate.high is None else rate.high)
    estimate, low, high = np.clip((rate.estimate, *ends), least, most).tolist()
    return Believed(
        labels=manifest.labels,
        p=p,
        other=np.array(other, dtype=np.int64),
        neighbors=_neighbors(run.report),
        matrix=matrix,
        rate=estimate,
        rates=(low, high),
        share=(run.summary.detectors.get("rate") or {}).get("believed", 1.0),
        score=numbers(table, "label_score"),
        flagged=flags(table) & judged,
    )


def _neighbors(report: ReportTable) -> np.ndarray:
    """(n, v) int64 row numbers, -1 where there are fewer."""
    lists = report.table["neighbors"].combine_chunks()
    counts = np.asarray(pc.list_value_length(lists).fill_null(0))
    found = np.full((len(report), counts.max(initial=0)), -1, dtype=np.int64)
    there = np.arange(found.shape[1]) < counts[:, None]
    ids = report.table["id"].combine_chunks()
    found[there] = np.asarray(pc.index_in(pc.list_flatten(lists), value_set=ids))
    return found


def plant(believed: Believed, shape: Shape, rng: np.random.Generator) -> tuple[World | None, str]:
    """A world of this shape; or None, and why there is none."""
    if shape.name in ("similar", "no_class") and not (believed.neighbors >= 0).any():
        return None, "the run knows no neighbours"
    drawn = draw_truth(believed.labels, believed.p, believed.other, rng)
    kept = int(drawn.kept.sum())
    count = max(round(believed.rate * kept), min(FEWEST, int(MOST * kept)))
    world = shape.plant(drawn, count, believed.matrix, believed.neighbors, rng)
    return world, f"fewer than {FEWEST_CLASSES} classes" if world is None else ""


# --- what was found -------------------------------------------------------------------------------------------------


def outcome_of(shape: Shape, believed: Believed, world: World, classes: Sequence[str], report: ReportTable) -> Outcome:
    """The report on a world held against its truth."""
    rows = score(world, classes, report, believed.rate)
    offered = rows.flagged & rows.planted & (rows.suggested >= 0)
    return Outcome(
        shape=shape.name,
        summary=shape.summary,
        rows=len(rows.score),
        planted=int(rows.planted.sum()),
        flagged=int(rows.flagged.sum()),
        average_precision=_share(average_precision_score(rows.planted, -rows.score, sample_weight=rows.weight)),
        precision=_mean(rows.planted, rows.weight * rows.flagged),
        recall=_mean(rows.flagged, rows.weight * rows.planted),
        precision_at_depth=precision_at_depth(rows, believed.depth),
        noise_rate=report.summary.noise_rate.estimate if report.summary.noise_rate.learned else None,
        corrections=int(offered.sum()),
        corrections_right=_mean(rows.suggested == rows.true, offered) if (rows.true[rows.planted] >= 0).any() else None,
        calibration=calibration(rows),
        classes=by_class(rows, classes),
    )


def score(world: World, classes: Sequence[str], report: ReportTable, rate: float) -> Scored:
    """The rows that count."""
    table, number = report.table, {name: c for c, name in enumerate(classes)}
    p = numbers(table, "p_mislabel")
    rows = np.flatnonzero(world.counts & np.isfinite(p))
    planted = world.planted[rows]
    suggested = np.array([number.get(name, -1) for name in table["suggested_label"].to_pylist()], dtype=np.int64)
    odds = rate / (1 - rate) * (~planted).sum() / max(planted.sum(), 1)
    return Scored(
        score=numbers(table, "label_score")[rows],
        p=p[rows],
        flagged=flags(table)[rows],
        planted=planted,
        given=world.labels[rows],
        suggested=suggested[rows],
        true=world.true[rows],
        weight=np.where(planted, odds, 1.0),
    )


def precision_at_depth(rows: Scored, depth: float) -> float | None:
    """Share of planted rows among the most suspicious share `depth` of all."""
    order = np.argsort(rows.score, kind="stable")
    weight = rows.weight[order]
    first = np.searchsorted(weight.cumsum(), depth * weight.sum(), side="right")
    return _mean(rows.planted[order[:first]], weight[:first])


def calibration(rows: Scored) -> list[Bin]:
    """The bins that hold any row, rising."""
    index = np.minimum((rows.p * BINS).astype(np.int64), BINS - 1)
    found = []
    for number in np.unique(index):
        inside = index == number
        weight = rows.weight * inside
        p, wrong = (np.average(values, weights=weight) for values in (rows.p, rows.planted))
        found.append(Bin(int(inside.sum()), float(p), float(wrong)))
    return found


def by_class(rows: Scored, classes: Sequence[str]) -> list[ClassOutcome]:
    """By the label that an audit is shown."""
    found = []
    for number, name in enumerate(classes):
        inside = rows.given == number
        planted, flagged = inside & rows.planted, inside & rows.flagged
        found.append(
            ClassOutcome(
                label=name,
                rows=int(inside.sum()),
                planted=int(planted.sum()),
                flagged=int(flagged.sum()),
                precision=_mean(rows.planted, rows.weight * flagged),
                recall=_mean(rows.flagged, rows.weight * planted),
            )
        )
    return found


@dataclass(frozen=True)
class Promise:
    """What probabilities say of a ranking and of flags."""

    average_precision: float
    precision: float
    recall: float


def expect(outcomes: Sequence[Outcome], believed: Believed) -> Expected:
    """What to expect of the run's flags."""
    if not believed.flagged.any():
        return Expected(None, None, None, "On your data no row is flagged, so nothing can be said of the flags.")
    low, high = believed.towards_ends(WAY)
    p, score, flagged = (values[believed.judged] for values in (believed.p, believed.score, believed.flagged))
    centre, *ends = (promise(each, score, flagged) for each in (p, scale_odds(p, low), scale_odds(p, high)))
    planted = [each for each in outcomes if each.shape in LIKELY]
    at_depth = [each.precision_at_depth for each in planted if each.precision_at_depth is not None]
    precision = _between(centre.precision, [each.precision for each in ends] + at_depth, flagged.sum())
    found = [share * believed.depth / believed.rate for share in at_depth]
    recall = _between(centre.recall, [each.recall for each in ends] + found, believed.rate * len(p))
    seen = [each.average_precision for each in planted if each.average_precision is not None]
    few = np.sqrt(believed.share)
    powers = (1 - SURER) * few, (1 + SURER) / few
    for power, rate in zip(powers, believed.towards_ends(WAY_OF_AP), strict=True):
        seen.append(promise(scale_odds(raised(p, power), rate), score, flagged).average_precision)
    ap = _between(centre.average_precision, seen, believed.rate * len(p))
    sentence = (
        f"On your data about {100 * precision.estimate:.0f} % of the flags are real ({_ends(precision)}), and about "
        f"{100 * recall.estimate:.0f} % of the errors are flagged ({_ends(recall)})."
    )
    return Expected(ap, precision, recall, sentence)


def promise(p: np.ndarray, score: np.ndarray, flagged: np.ndarray) -> Promise:
    """Expected shares if each row is wrong with its probability p (r,); higher scores (r,) are cleaner."""
    along = p[np.argsort(score, kind="stable")]
    wrong_so_far = 1 + along.cumsum() - along  # where a row itself is wrong
    return Promise(
        average_precision=float(np.average(wrong_so_far / np.arange(1, len(p) + 1), weights=along)),
        precision=float(p[flagged].mean()),
        recall=float(p[flagged].sum() / p.sum()),
    )


def _between(centre: float, others: Sequence[float], count: float) -> Between:
    """From the least to the most of what is said of `count` rows, and what chance adds to either end."""
    low, high = min(centre, *others), min(max(centre, *others), 1.0)
    chance = [Z * np.sqrt(max(end * (1 - end), 1 / count) / count) for end in (low, high)]
    return Between(centre, max(float(low - chance[0]), 0.0), min(float(high + chance[1]), 1.0))


def _ends(share: Between) -> str:
    return f"between {100 * share.low:.0f} and {100 * share.high:.0f} %"


def _mean(values: np.ndarray, weight: np.ndarray) -> float | None:
    """The weighted mean; None where nothing weighs anything."""
    return float(np.average(values, weights=weight)) if np.any(weight > 0) else None


def _share(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

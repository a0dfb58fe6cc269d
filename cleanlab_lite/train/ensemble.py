"""The ensemble that is watched: cross-fitted proxies, and one that is shown planted errors.

Every row is held out of exactly one cross-fitted proxy. That proxy votes on it without having seen its label;
the others show how hard its label was to learn. Both kinds of margin are evidence, so the folds serve the
ranking and the votes with the same compute. The last proxy trains on all rows, a tenth of them with a planted
wrong label (see `planting`). Where it is asked for, two more networks learn one half of the rows and then the other
(see the detector `second_split`).

Letters: n samples, k classes, m proxies, e epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from cleanlab_lite.clock import Clock
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.evidence.evidence import Evidence, Plants
from cleanlab_lite.evidence.history import HELD_OUT, History
from cleanlab_lite.matrices import Concatenated, Matrix, RowChoice, Softmax, WeightedSum, finite_rows, held, predictions
from cleanlab_lite.run import Run
from cleanlab_lite.train.augment import flips_preserve_labels
from cleanlab_lite.train.crew import Crew
from cleanlab_lite.train.fit import Start, Teaching
from cleanlab_lite.train.folds import FOLDS, choose_folds, halves
from cleanlab_lite.train.jobs import Bench, Job, JobOnBench, run_jobs, side_by_side
from cleanlab_lite.train.memory import for_inputs
from cleanlab_lite.train.models import PROXIES
from cleanlab_lite.train.observation import Observation, allocate_history
from cleanlab_lite.train.planned import Plan
from cleanlab_lite.train.planting import plant, share_to_plant
from cleanlab_lite.train.ranks import RankCrew
from cleanlab_lite.train.task import Task
from cleanlab_lite.train.trials import Chosen, Rival, Trial, agreement, choose_epochs, choose_recipe, trial_of
from cleanlab_lite.train.warm_start import Continue, WarmStart, save_proxies

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
SEED_STRIDE = 1000  # between proxies, so that no two share the seed of anything
REPEAT_STRIDE = 500  # between two trainings of one proxy
TEMPERATURE_ROWS, TEMPERATURE_CELLS = 50_000, 10_000_000  # plenty for one number; in float64 they are held thrice
ENOUGH_ROWS = 20_000  # on a GPU: so many steps are in the fewest epochs that no trial of more pays
OBSERVE_EVERY = 2  # epochs: a clean pass takes a third of the time of an epoch


def without_trials(plan: Plan) -> bool:
    """Whether the fewest epochs are enough."""
    return plan.device.startswith("cuda") and plan.labelled >= ENOUGH_ROWS


def first_epochs(plan: Plan) -> int:
    """Epochs of a network, or of the first trial where they are left open."""
    return plan.epochs or PROXIES.get(plan.proxy).facts.fewest_epochs


def watch(
    task: Task,
    plan: Plan,
    config: AuditConfig,
    *,
    run: Run,
    clock: Clock,
    warm: WarmStart | None = None,
    rival: Rival | None = None,
    crew: Crew | RankCrew | None = None,
    also: JobOnBench | None = None,
) -> Evidence:
    """Train the ensemble, a stage of the run per proxy, and gather what it saw.

    Args:
        warm: the proxies to start from; rows that they know keep their folds.
        rival: what is known already; networks that come near to it are not tried with more epochs.
        crew: trains the cross-fitted proxies side by side.
        also: a job of another ensemble, as in `run_jobs`.

    Raises:
        ConfigError: too few rows, or rows too alike, to learn anything from; or `warm` does not fit.
        StoppedEarly: the time budget is used up; what was trained so far is saved.
    """
    ensemble = Ensemble(task, plan, config, run, clock, warm, crew=crew, also=also)
    half = halves(task, config.seed) if config.second_split else None
    if rival is not None:
        ensemble.try_together()
    chosen = ensemble.choose(rival)
    clock.expect((ensemble.proxies + (half is not None) * 4) * chosen.teaching.epochs, chosen.stages.values())
    gathered = ensemble.gather(chosen)
    pred_probs, scale = gathered.votes()
    plants = None
    if config.planted:
        plants = ensemble.plants(pred_probs, gathered.mean_logits)
        gathered.add_planted(ensemble.planted(chosen, plants), plants)
    ensemble.keep(chosen, gathered.weights)
    evidence = replace(gathered.evidence(pred_probs, scale), plants=plants)
    if half is None:
        return evidence
    return replace(evidence, second_split=ensemble.second_split(chosen, half))


def beside(
    task: Task, plan: Plan, config: AuditConfig, *, run: Run, clock: Clock, crew: Crew | RankCrew | None = None
) -> Ensemble:
    """An ensemble on another view. Nothing is planted, kept for a warm start, or split. Raises as `watch` does."""
    plain = replace(config, planted=0.0)
    return Ensemble(task, plan, plain, run, clock, prefix=f"{task.main.name}-", crew=crew)


def watch_beside(ensemble: Ensemble, rival: Rival) -> Evidence | None:
    """Train it as long as it comes near to what is known already; None where it does not. Raises as `watch` does."""
    task, run, clock = ensemble.task, ensemble.run, ensemble.clock
    chosen = ensemble.choose(rival)
    tried = [f"{ensemble.prefix}{stage}" for stage in chosen.stages.values()]
    clock.expect(ensemble.proxies * chosen.teaching.epochs, tried)
    chosen, first = ensemble.first(chosen)
    held_out = task.teachable & (ensemble.fold == 0)
    reached, wanted = agreement(predictions(first.logits), task.taught, held_out), rival.wants(task.taught, held_out)
    run.mark(f"{task.main.name}-first", agreement=reached, wanted=wanted)
    if reached < wanted:
        return None
    gathered = ensemble.gather(chosen)
    return gathered.evidence(*gathered.votes())


def prepare(task: Task, plan: Plan, config: AuditConfig, crew: Crew | RankCrew | None = None) -> tuple[Bench, Teaching]:
    """The data on its device, and how every proxy is taught. The epochs are 0 where they are chosen by trial."""
    limit = config.max_memory * 2**30 if config.max_memory else for_inputs(plan.device)
    bench = Bench(task, plan.device, limit, crew)
    samples, teachable = bench.samples(task.main.name), task.teachable
    mirrored = samples.is_image and not samples.is_sound
    return bench, Teaching(
        proxy=plan.proxy,
        weights=plan.weights,
        loss=plan.loss,
        strategy=plan.strategy,
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        weight_decay=config.weight_decay,
        l1=config.l1,
        flip=mirrored and flips_preserve_labels(task.main.inputs.array, task.taught, task.rows(teachable)),
        shift=max(1, samples.sample_shape[-1] // 8) if samples.is_image else 0,
        autocast=PRECISIONS[plan.precision],
        enlarged=plan.enlarged,
        observe_every=OBSERVE_EVERY,
    )


class Ensemble:
    """The jobs of an audit, and what they need to know of each other."""

    def __init__(
        self,
        task: Task,
        plan: Plan,
        config: AuditConfig,
        run: Run,
        clock: Clock,
        warm: WarmStart | None = None,
        prefix: str = "",
        crew: Crew | RankCrew | None = None,
        also: JobOnBench | None = None,
    ) -> None:
        self.task, self.plan, self.config, self.run, self.clock, self.warm = task, plan, config, run, clock, warm
        self.prefix, self.also = prefix, also  # the prefix of every stage; a job of another ensemble
        self.bench, self.teaching = prepare(task, plan, config, crew)
        if without_trials(plan) and not plan.epochs:
            fewest = PROXIES.get(self.teaching.proxy).facts.fewest_epochs
            self.teaching = replace(self.teaching, epochs=fewest)
        self.fold = choose_folds(task, plan.ensemble, config.seed, run, warm, f"{prefix}{FOLDS}")  # (n,) int64
        self.proxies = plan.ensemble + (config.planted > 0)

    def choose(self, rival: Rival | None = None) -> Chosen:
        """Epochs and recipe, by trials where they are left open."""

        def attempt(stage: str, m: int, teaching: Teaching, note: str, repeat: int) -> Observation:
            return self.do(self.without_fold(stage, m, teaching, note, repeat))

        def prepare_trials(trials: list[Trial]) -> None:
            side_by_side([self.without_fold(*trial) for trial in trials], self.bench, self.run, self.clock)

        chosen = choose_epochs(self.task, self.fold, self.teaching, attempt, rival)
        if self.plan.recipes == 1:
            return replace(chosen, stages=chosen.stages | self._tried_together(chosen))
        asked, budget = (self.config.loss, self.config.strategy), self.config.search_budget
        return choose_recipe(
            self.task, self.fold, chosen, asked, self.run, attempt, budget=budget, prepare=prepare_trials
        )

    def try_together(self) -> None:
        """Train all cross-fitted proxies side by side with the fewest epochs, with which they mostly come near to a
        rival: so none waits for the first. Where nothing is side by side, or more is to be tried, nothing happens."""
        if not self.teaching.epochs and self.plan.recipes == 1:
            jobs = [self.without_fold(*trial_of(self.teaching, 0, m)) for m in range(self.plan.ensemble)]
            side_by_side(jobs, self.bench, self.run, self.clock, self.also)

    def _tried_together(self, chosen: Chosen) -> dict[int, str]:
        """The stages of proxies that are trained like the first already, by their number."""
        if 0 not in chosen.stages:  # no trials
            return {}
        stages = {m: trial_of(self.teaching, chosen.teaching.epochs, m)[0] for m in range(1, self.plan.ensemble)}
        return {m: stage for m, stage in stages.items() if self.run.done(f"{self.prefix}{stage}")}

    def gather(self, chosen: Chosen) -> Gathered:
        """What the cross-fitted proxies saw."""
        stage = f"{self.prefix}history"
        gathered = Gathered(self.task, self.run, self.proxies, chosen.teaching.epochs, self.fold, stage)
        for seen in self.cross_fitted(chosen):
            gathered.add(seen)
        return gathered

    @property
    def foremost(self) -> Job:
        """What is trained whatever comes of it: the first trial, or where there is none the first proxy."""
        if self.teaching.epochs:
            return self.cross_fitted_job(Chosen(self.teaching, {}), 0)
        return self.without_fold(*trial_of(self.teaching, 0))

    def first(self, chosen: Chosen) -> tuple[Chosen, Observation]:
        """What the first of the cross-fitted proxies saw, which is then one that a trial has trained."""
        stage = chosen.stage(0)
        seen = self.do(self.cross_fitted_job(chosen, 0))
        self.clock.reach(chosen.teaching.epochs)
        return replace(chosen, stages={0: stage} | chosen.stages), seen

    def cross_fitted(self, chosen: Chosen) -> Iterator[Observation]:
        """What each proxy saw that is trained without a fold; side by side those that no trial has trained."""
        jobs = [self.cross_fitted_job(chosen, m) for m in range(self.plan.ensemble)]
        fresh = [job for m, job in enumerate(jobs) if m not in chosen.stages]
        seen_by_fresh = run_jobs(fresh, self.bench, self.run, self.clock, also=self.also)
        for m, job in enumerate(jobs):
            seen = self.do(job) if m in chosen.stages else next(seen_by_fresh)
            self.clock.reach((m + 1) * chosen.teaching.epochs)  # whoever trained it
            yield seen

    def cross_fitted_job(self, chosen: Chosen, m: int) -> Job:
        note = f"network {m + 1} of {self.plan.ensemble}"
        return self.without_fold(chosen.stage(m), m, chosen.teaching, note, warm=True)

    def do(self, job: Job) -> Observation:
        return next(run_jobs([job], self.bench, self.run, self.clock))

    def without_fold(
        self, stage: str, m: int, teaching: Teaching, note: str, repeat: int = 0, *, warm: bool = False
    ) -> Job:
        """Proxy m, trained on the teachable rows of all other folds."""
        start = self.warm.starter(m) if warm and self.warm else None
        return self.job(stage, m, self.fold != m, teaching, note, repeat=repeat, start=start)

    def job(
        self,
        stage: str,
        m: int,
        among: np.ndarray,
        teaching: Teaching,
        note: str,
        *,
        labels: np.ndarray | None = None,
        repeat: int = 0,
        start: Start | None = None,
    ) -> Job:
        """The job of network m on rows `among` (n,) bool, with `labels` (n,) in place of what they teach."""
        rows = self.task.rows(self.task.teachable & among)
        shown = self.task.labels.copy()  # held-out rows are judged by their given label
        shown[rows] = (self.task.taught if labels is None else labels)[rows]
        seed = (self.config.seed + m) * SEED_STRIDE + repeat * REPEAT_STRIDE
        stage, note = f"{self.prefix}{stage}", f"{self.prefix.replace('-', ': ')}{note}"
        strangers = self.task.rows(self.task.strange & among) if self.task.strange.any() else None
        return Job(stage, self.task.main.name, rows, shown, teaching, seed, note, start, strangers=strangers)

    def plants(self, pred_probs: Matrix, logits: Matrix) -> Plants:
        """The errors to plant, drawn from what the cross-fitted proxies confuse."""
        rows = self.task.rows(self.task.teachable)
        share = share_to_plant(self.config.planted, len(rows))
        return plant(self.task.taught, rows, pred_probs, logits, share, self.plan.ensemble, self.config.seed)

    def planted(self, chosen: Chosen, plants: Plants) -> Observation:
        """What the proxy saw that learned them."""
        labels = self.task.taught
        labels[plants.rows] = plants.labels
        everywhere, note = np.ones(len(self.task), dtype=bool), "the network with planted errors"
        seen = self.do(self.job("planted", self.plan.ensemble, everywhere, chosen.teaching, note, labels=labels))
        self.clock.reach(self.proxies * chosen.teaching.epochs)
        return seen

    def second_split(self, chosen: Chosen, half: np.ndarray) -> np.ndarray:
        """(e + 1, n) what a network that had learned a row predicted before and while it learned the other half."""
        first, second = (self._learn_halves(chosen, half, number) for number in (0, 1))
        return np.where(half == 0, first, second)

    def _learn_halves(self, chosen: Chosen, half: np.ndarray, first: int) -> np.ndarray:
        """(e + 1, n) int32 predictions of a network that learns half `first`, then the other."""
        # the network must learn every label of the first half: nothing that resists wrong ones; and every epoch counts
        teaching = replace(chosen.teaching, loss="ce", strategy="plain", observe_every=1)
        number, note = self.proxies + first, f"second split {first + 1}/2"

        def learn(part: int, stage: str, start: Start | None = None) -> Observation:
            return self.do(self.job(stage, number, half == part, teaching, note, start=start))

        before = self.proxies + 2 * first
        learned = learn(first, f"second-split-{first}")
        self.clock.reach((before + 1) * teaching.epochs)
        other = learn(1 - first, f"second-split-{first}-other", Continue(learned.weights))
        self.clock.reach((before + 2) * teaching.epochs)
        return np.concatenate([learned.predicted[-1:], other.predicted]).astype(np.int32)

    def keep(self, chosen: Chosen, weights: list[dict[str, np.ndarray]]) -> None:
        """Leave the proxies for a later audit to start from."""
        task, warm, teaching = self.task, self.warm, chosen.teaching
        facts = {
            "epochs": warm.full_epochs if warm else teaching.epochs,
            "loss": teaching.loss,
            "strategy": teaching.strategy,
            "shape": self.bench.samples(task.main.name).sample_shape,
            "encoder_fingerprint": self.run.facts("encode")["fingerprint"] if self.plan.encoder else "",
        }
        content = task.main.inputs.content[task.teachable].tolist()
        learned = dict(zip(content, self.fold[task.teachable].tolist(), strict=True))
        # the weights remember rows that are gone: should they come back, they keep their folds
        save_proxies(self.run, weights, (warm.fold_of if warm else {}) | learned, facts)


@dataclass
class Gathered:
    """What all proxies saw, put together one by one. What they predict stays in their files where it is much."""

    task: Task
    run: Run
    proxies: int
    epochs: int
    fold: np.ndarray  # (n,) int64, the cross-fitted proxy that a row was held out of
    stage: str = "history"  # of the run
    weights: list[dict[str, np.ndarray]] = field(default_factory=list)  # of the cross-fitted ones, by name
    _logits: list[Matrix] = field(default_factory=list)
    _features: list[Matrix] = field(default_factory=list)

    def __post_init__(self) -> None:
        n, k = len(self.task), self.task.num_classes
        self.history: History = allocate_history(self.run, self.stage, self.proxies, self.epochs, n, k)  # memory maps

    def add(self, seen: Observation) -> None:
        """The next of the cross-fitted proxies."""
        m = len(self.weights)
        self._record(m, seen, np.where(self.task.teachable & (self.fold != m), self.task.taught, HELD_OUT))
        self._logits.append(seen.logits)
        self._features.append(seen.features)
        floats = {name: weight for name, weight in seen.weights.items() if weight.is_floating_point()}
        self.weights.append({name: weight.half().numpy() for name, weight in floats.items()})

    @property
    def mean_logits(self) -> Matrix:
        """(n, k) over the cross-fitted proxies."""
        m = len(self._logits)
        return WeightedSum(tuple(self._logits), np.full(m, 1 / m, dtype=np.float32))

    def add_planted(self, seen: Observation, plants: Plants) -> None:
        """The last proxy, which was shown planted labels."""
        shown = self.task.taught
        shown[plants.rows] = plants.labels
        self._record(self.proxies - 1, seen, shown)

    def _record(self, m: int, seen: Observation, trained_on: np.ndarray) -> None:
        history = self.history
        history.loss[m], history.margin[m], history.predicted[m] = seen.loss, seen.margin, seen.predicted
        history.trained_on[m] = trained_on
        history.let_go()  # nobody reads it before all networks are trained

    def votes(self) -> tuple[Matrix, np.float32]:
        """(n, k) float32 out-of-sample probabilities, and the factor of logits that makes them such."""
        held_out = held(RowChoice(tuple(self._logits), self.fold))
        scale = inverse_temperature(held_out, self.task.taught)
        return held(Softmax(WeightedSum((held_out,), np.array([scale])))), scale

    def evidence(self, pred_probs: Matrix, scale: np.float32) -> Evidence:
        """All that was seen, given the `votes`."""
        return Evidence(
            labels=self.task.labels,
            decided=self.task.decided,
            num_classes=self.task.num_classes,
            history=self.history,
            features=held(Concatenated(tuple(self._features))),  # (n, d) float16 of the cross-fitted proxies
            pred_probs=pred_probs,
            logits=held(WeightedSum((self.mean_logits,), np.array([scale]))),
        )


def inverse_temperature(logits: Matrix, labels: np.ndarray) -> np.float32:
    """The factor of held-out logits (n, k) that makes the labels (n,) most likely; rows with -1 or NaN do not count.

    Proxies taught with mixup or a bounded loss are under-confident (Guo et al., ICML 2017, for the remedy).
    """
    most = min(TEMPERATURE_ROWS, max(TEMPERATURE_CELLS // logits.shape[1], 1))
    rows = np.flatnonzero((labels >= 0) & finite_rows(logits))[:most]
    sample = logits[rows].astype(np.float64)

    def loss(log_factor: float) -> float:
        return -float(log_softmax(sample * np.exp(log_factor), axis=1)[np.arange(len(rows)), labels[rows]].mean())

    return np.float32(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))

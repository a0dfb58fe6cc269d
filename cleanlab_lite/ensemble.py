"""The ensemble that is watched: cross-fitted proxies, and one that is shown planted errors.

Every row is held out of exactly one cross-fitted proxy. That proxy votes on it without having seen its label;
the others show how hard its label was to learn. Both kinds of margin are evidence, so the folds serve the
ranking and the votes with the same compute. The last proxy trains on all rows, a tenth of them with a planted
wrong label: they show what the margins of wrong labels look like here (AUM's threshold samples, Pleiss et al.,
NeurIPS 2020, drawn from the proxies' own confusions). Where it is asked for, two more networks learn one half of the
rows and then the other (see the detector `second_split`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.augment import flips_preserve_labels
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.data.loader import Samples
from cleanlab_lite.errors import ConfigError, StoppedEarly
from cleanlab_lite.evidence import Evidence, Plants
from cleanlab_lite.groups import roots
from cleanlab_lite.history import HELD_OUT, History
from cleanlab_lite.models import Proxy
from cleanlab_lite.plan import Plan
from cleanlab_lite.progress import OnProgress, Progress
from cleanlab_lite.run import Run
from cleanlab_lite.search import FOLDS, Recipe, candidates, search
from cleanlab_lite.training import Fit, TrainConfig, fit
from cleanlab_lite.warm_start import WarmStart, save_proxies

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
SEED_STRIDE = 1000  # between proxies, so that no two share the seed of anything
REPEAT_STRIDE = 500  # between two trainings of one proxy
SMALLEST_BATCH = 8
KNOWN = -2  # stands for the label of rows whose fold is known already
WEIGHTS = "weights/"  # before the names of a proxy's parameters in the file of its stage
TEMPERATURE_ROWS = 50_000  # plenty for one number
FEWEST_EPOCHS, MOST_EPOCHS = 8, 32  # that are tried where the user leaves the choice
FEWEST_PLANTED, MOST_PLANTED = 60, 0.3  # rows, for a distribution of margins; share of a small set
WORTH_DOUBLING = 0.01  # gain in held-out agreement


def watch(
    labels: np.ndarray,
    num_classes: int,
    inputs: Inputs,
    plan: Plan,
    config: AuditConfig,
    *,
    run: Run,
    on_progress: OnProgress,
    warm: WarmStart | None = None,
    copy_of: np.ndarray | None = None,
) -> Evidence:
    """Train the ensemble, a stage of the run per proxy, and gather what it saw.

    Args:
        labels: (n,) int64, -1 where there is none.
        warm: the proxies to start from; rows that they know keep their folds.
        copy_of: (n,) int64, first of the rows that are held out together, -1 for that row itself and for unique rows;
            by default those with the same content.

    Raises:
        ConfigError: too few rows, or rows too alike, to learn anything from; or `warm` does not fit.
        StoppedEarly: the time budget is used up; finished proxies are saved.
    """
    samples, train_config = prepare(labels, inputs, plan, config)
    usable = inputs.readable & (labels >= 0)
    copy_of = inputs.duplicate_of if copy_of is None else copy_of
    known = warm.folds(inputs.content) if warm else np.full(len(labels), -1)
    groups = np.where(known >= 0, KNOWN, np.where(usable, labels, -1))  # new rows are spread among themselves
    fold = keep_folds(known, assign_folds(groups, copy_of, plan.ensemble, config.seed), copy_of)
    require_variety(labels, usable, fold, plan.ensemble, inputs.errors)
    fold = _folds_of_the_run(run, fold, usable)
    if config.second_split:
        half = assign_folds(np.where(usable, labels, -1), copy_of, 2, config.seed)
        require_variety(labels, usable, half, 2, inputs.errors)
    proxies = plan.ensemble + (config.planted > 0)
    clock = _Clock(config.time_budget, on_progress)

    def learn(
        name: str,
        m: int,
        teaching: TrainConfig,
        trained_on: np.ndarray,
        note: str,
        repeat: int = 0,
        start: Callable[[Proxy], object] | None = None,
    ) -> dict[str, np.ndarray]:
        """Train proxy m, or read what an earlier process left of it."""
        if run.done(name):
            return run.arrays(f"{name}.npz")
        shown = np.where(trained_on >= 0, trained_on, labels)  # held-out rows are judged by their given label
        seen, batch_size = _fit_within_memory(
            samples,
            shown,
            np.flatnonzero(trained_on >= 0),
            num_classes,
            teaching,
            (config.seed + m) * SEED_STRIDE + repeat * REPEAT_STRIDE,
            clock.count(teaching.epochs, note),
            start,
        )
        arrays = {field: getattr(seen, field) for field in ("loss", "margin", "predicted", "logits", "features")}
        arrays["trained_on"] = trained_on.astype(np.int32)
        floats = {name: weight for name, weight in seen.weights.items() if weight.is_floating_point()}
        arrays |= {f"{WEIGHTS}{name}": weight.half().cpu().numpy() for name, weight in floats.items()}
        run.write_arrays(f"{name}.npz", **arrays)
        learned = int((trained_on >= 0).sum())
        run.mark(name, epochs=teaching.epochs, rows=learned, batch_size=batch_size, flip=teaching.flip)
        return arrays

    def learn_halves(first: int, epochs: int) -> np.ndarray:
        """(e + 1, n) what a network that learned one half of the rows predicts before and while it learns the other."""
        name = f"second-split-{first}"
        if run.done(name):
            return run.arrays(f"{name}.npz")["predicted"]
        # the network must learn every label of the first half, so nothing that resists wrong ones
        teaching = replace(train_config, loss="ce", strategy="plain", epochs=epochs)
        on_epoch = clock.count(2 * epochs, f"second split {first + 1}/2")
        seed = (config.seed + proxies + first) * SEED_STRIDE

        def phase(part: int, done: int, start: Callable[[Proxy], object] | None = None) -> Fit:
            rows, heard = np.flatnonzero(usable & (half == part)), lambda epoch: on_epoch(done + epoch)
            return _fit_within_memory(samples, labels, rows, num_classes, teaching, seed, heard, start)[0]

        learned = phase(first, 0)
        second = phase(1 - first, epochs, lambda proxy: proxy.load_state_dict(learned.weights))
        predicted = np.concatenate([learned.predicted[-1:], second.predicted])
        run.write_arrays(f"{name}.npz", predicted=predicted)
        run.mark(name, epochs=epochs, rows=int(usable.sum()))
        return predicted

    def without_fold(m: int) -> np.ndarray:
        return np.where(usable & (fold != m), labels, HELD_OUT)

    def try_epochs(epochs: int) -> np.ndarray:
        teaching = replace(train_config, epochs=epochs)
        return learn(f"trial-{epochs}", 0, teaching, without_fold(0), f"trying {epochs} epochs")["logits"]

    epochs = plan.epochs or choose_epochs(try_epochs, labels, usable & (fold == 0))
    teaching = replace(train_config, epochs=epochs)
    stage = {0: f"trial-{epochs}"} if not plan.epochs else {}  # proxies that a trial has trained already
    if plan.recipes > 1:
        recipes = candidates(config.loss, config.strategy, Recipe(plan.loss, plan.strategy))

        def try_recipe(recipe: int, m: int, repeat: int) -> np.ndarray:
            tried = replace(teaching, loss=recipes[recipe].loss, strategy=recipes[recipe].strategy)
            note = f"trying {recipes[recipe]}"
            name = trial_stage(recipe, m, repeat, stage)
            return learn(name, m, tried, without_fold(m), note, repeat)["logits"].argmax(axis=1)

        if not run.done("search"):
            choice = search(recipes, try_recipe, np.where(usable, labels, -1), fold, budget=config.search_budget)
            run.mark("search", **choice.facts())
        chosen = recipes.index(Recipe(**run.facts("search")["chosen"]))
        teaching = replace(teaching, loss=recipes[chosen].loss, strategy=recipes[chosen].strategy)
        stage = {m: trial_stage(chosen, m, 0, stage) for m in range(min(FOLDS, plan.ensemble))}
    clock.expect((proxies + 4 * config.second_split) * epochs)
    seen = []
    for m in range(plan.ensemble):
        note = f"proxy {m + 1}/{proxies}"
        start = warm.starter(m) if warm else None
        seen.append(learn(stage.get(m, f"proxy-{m}"), m, teaching, without_fold(m), note, start=start))
        clock.reach((m + 1) * epochs)
    logits = np.stack([s["logits"] for s in seen])
    held_out = logits[fold, np.arange(len(fold))]
    scale = inverse_temperature(held_out, np.where(usable, labels, -1))
    pred_probs = softmax(scale * held_out, axis=1)
    plants = None
    if config.planted:
        rows = np.flatnonzero(usable)
        share = max(config.planted, min(FEWEST_PLANTED / len(rows), MOST_PLANTED))
        plants = plant(labels, rows, pred_probs, logits.mean(0), share, plan.ensemble, config.seed)
        trained_on = np.where(usable, labels, HELD_OUT)
        trained_on[plants.rows] = plants.labels
        seen.append(learn("planted", plan.ensemble, teaching, trained_on, f"proxy {proxies}/{proxies}"))
        clock.reach(proxies * epochs)
    facts = {
        "epochs": warm.full_epochs if warm else epochs,
        "loss": teaching.loss,
        "strategy": teaching.strategy,
        "shape": samples.sample_shape,
        "encoder_fingerprint": run.facts("encode")["fingerprint"] if plan.encoder else "",
    }
    learned = dict(zip(inputs.content[usable].tolist(), fold[usable].tolist(), strict=True))
    # the weights remember rows that are gone: should they come back, they keep their folds
    save_proxies(run, [weights(s) for s in seen[: plan.ensemble]], (warm.fold_of if warm else {}) | learned, facts)
    evidence = gather(labels, num_classes, seen, pred_probs, scale * logits.mean(0), plants)
    if config.second_split:
        halves = []
        for first in (0, 1):
            halves.append(learn_halves(first, epochs))
            clock.reach((proxies + 2 * (first + 1)) * epochs)
        evidence = replace(evidence, second_split=np.where(half == 0, *halves))
    return evidence


def prepare(labels: np.ndarray, inputs: Inputs, plan: Plan, config: AuditConfig) -> tuple[Samples, TrainConfig]:
    """The data on its device, and how every proxy is taught. The epochs are 0 where they are chosen by trial."""
    samples = Samples(
        inputs.array,
        inputs.readable,
        torch.device(plan.device),
        offsets=inputs.offsets,
        device_limit=(config.max_memory or 4) * 2**30,
    )
    usable = inputs.readable & (labels >= 0)
    return samples, TrainConfig(
        proxy=plan.proxy,
        weights="" if plan.encoder else config.weights,
        loss=plan.loss,
        strategy=plan.strategy,
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        weight_decay=config.weight_decay,
        l1=config.l1,
        flip=samples.is_image and not samples.is_sound and flips_preserve_labels(inputs.array[usable], labels[usable]),
        shift=max(1, samples.sample_shape[-1] // 8) if samples.is_image else 0,
        autocast=PRECISIONS[plan.precision],
    )


def weights(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of a proxy, by name, from the file of its stage."""
    return {name.removeprefix(WEIGHTS): array for name, array in arrays.items() if name.startswith(WEIGHTS)}


def trial_stage(recipe: int, m: int, repeat: int, trained: dict[int, str]) -> str:
    """The stage of a search's trial. Those of the default, number 0, and of the first seed are proxies of its own."""
    if recipe == 0 and repeat == 0:
        return trained.get(m, f"proxy-{m}")
    return f"search-{recipe}-{m}-{repeat}"


def choose_epochs(trial: Callable[[int], np.ndarray], labels: np.ndarray, held_out: np.ndarray) -> int:
    """Double the epochs as long as the held-out rows agree better with their given labels.

    Wrong labels lower the agreement of every candidate alike, so their order holds without clean labels (Chen et
    al., AAAI 2021); memorising shows as a fall. `trial(epochs)` gives the logits (n, k) of a proxy trained so long.
    """
    epochs, best = FEWEST_EPOCHS, -1.0
    while True:
        agreement = float((trial(epochs)[held_out].argmax(axis=1) == labels[held_out]).mean())
        if agreement < best + WORTH_DOUBLING:
            return epochs // 2
        if epochs * 2 > MOST_EPOCHS:
            return epochs
        epochs, best = epochs * 2, agreement


def assign_folds(labels: np.ndarray, copy_of: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(n,) fold of each row: equal shares of every class, and copies together, or they leak."""
    rng = np.random.default_rng(seed)
    fold = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        fold[rows] = (np.arange(len(rows)) + rng.integers(folds)) % folds
    return np.where(copy_of >= 0, fold[np.maximum(copy_of, 0)], fold)


def keep_folds(known: np.ndarray, fold: np.ndarray, copy_of: np.ndarray) -> np.ndarray:
    """(n,) `known` folds where there are any; copies of such rows join them; `fold` for the rest."""
    group = roots(copy_of)
    of_group = np.full(len(known), -1)
    np.maximum.at(of_group, group, known)
    return np.where(known >= 0, known, np.where(of_group[group] >= 0, of_group[group], fold))


def _folds_of_the_run(run: Run, fold: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The folds that the run began with: finished proxies have them. Raises ConfigError where other rows are usable."""
    if not run.done("folds"):
        run.write_arrays("folds.npz", fold=fold, usable=usable)
        run.mark("folds")
    began = run.arrays("folds.npz")
    changed = np.flatnonzero(began["usable"] != usable)
    if len(changed):
        raise ConfigError(
            f"{len(changed):,} rows were read when this run began and cannot be read now, or the other way round; the "
            f"first is row {changed[0] + 1}",
            hint="mend the file and repeat the command, or start a new run with --out DIR",
        )
    return began["fold"]


def require_variety(labels: np.ndarray, usable: np.ndarray, fold: np.ndarray, folds: int, errors: np.ndarray) -> None:
    """Raises ConfigError unless there are two classes, and two rows to learn from and one to try on for every proxy."""
    counts = np.bincount(fold[usable], minlength=folds)
    if len(np.unique(labels[usable])) > 1 and counts.min() >= 1 and usable.sum() - counts.max() >= 2:
        return
    raise ConfigError(
        f"rows that have a label and can be read: {usable.sum():,}, too few or too alike for {folds} proxies",
        hint="at least two classes and several different rows are needed; are the files the right ones?"
        + "".join(f" The first that cannot be read: {error}" for error in errors[errors != ""][:1]),
    )


def inverse_temperature(logits: np.ndarray, labels: np.ndarray) -> np.float32:
    """The factor of held-out logits (n, k) that makes the labels (n,) most likely; rows with -1 or NaN do not count.

    Proxies taught with mixup or a bounded loss are under-confident (Guo et al., ICML 2017, for the remedy).
    """
    rows = np.flatnonzero((labels >= 0) & np.isfinite(logits[:, 0]))[:TEMPERATURE_ROWS]
    sample = logits[rows].astype(np.float64)

    def loss(log_factor: float) -> float:
        return -float(log_softmax(sample * np.exp(log_factor), axis=1)[np.arange(len(rows)), labels[rows]].mean())

    return np.float32(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))


def plant(
    labels: np.ndarray,
    rows: np.ndarray,
    pred_probs: np.ndarray,
    logits: np.ndarray,
    share: float,
    proxy: int,
    seed: int,
) -> Plants:
    """Choose `share` of the rows at random and draw a wrong label for each.

    Half of the labels are drawn from the row's own out-of-sample probabilities without the given class (errors as
    hard as this ensemble can make them), half from the labels that rows of the same class seem to be confused with:
    those on whose true class the held-out proxy and the mean of all agree, against the given label.
    """
    rng = np.random.default_rng((seed, 1))
    chosen = rng.choice(rows, max(2, round(share * len(rows))), replace=False)
    instance_level = np.arange(len(chosen)) % 2 == 0
    k = pred_probs.shape[1]
    vote, other = pred_probs[rows].argmax(axis=1), logits[rows].argmax(axis=1)
    confused = (vote == other) & (vote != labels[rows])
    counts = np.full((k, k), 0.1 * confused.sum() / k**2 + 1e-3)  # a little of every confusion
    np.add.at(counts, (vote[confused], labels[rows][confused]), 1)  # [true, given]

    probability = np.where(instance_level[:, None], pred_probs[chosen], counts[labels[chosen]]).astype(np.float64)
    own = np.arange(k) == labels[chosen][:, None]
    probability = np.where(own, 0, probability + 1e-12)  # a row that is all certainty draws any class
    cumulative = probability.cumsum(axis=1)
    draws = rng.random(len(chosen)) * cumulative[:, -1]
    drawn = np.minimum((cumulative <= draws[:, None]).sum(axis=1), k - 1)
    return Plants(proxy, chosen, drawn, instance_level)


def gather(
    labels: np.ndarray,
    num_classes: int,
    seen: list[dict[str, np.ndarray]],
    pred_probs: np.ndarray,
    logits: np.ndarray,
    plants: Plants | None,
) -> Evidence:
    """One `Evidence` from what the proxies saw. Features of the cross-fitted proxies stand side by side."""
    cross_fitted = seen[:-1] if plants is not None else seen
    history = History(*(np.stack([s[name] for s in seen]) for name in ("loss", "margin", "predicted", "trained_on")))
    return Evidence(
        labels=labels,
        num_classes=num_classes,
        history=history,
        features=np.concatenate([s["features"] for s in cross_fitted], axis=1),
        pred_probs=pred_probs,
        logits=logits,
        plants=plants,
    )


def _fit_within_memory(
    samples: Samples,
    targets: np.ndarray,
    rows: np.ndarray,
    num_classes: int,
    config: TrainConfig,
    seed: int,
    on_epoch: Callable[[int], None],
    start: Callable[[Proxy], object] | None = None,
) -> tuple[Fit, int]:
    """`fit`, again with half the batch size whenever the device runs out of memory; and the size that fitted."""
    while True:
        try:
            seen = fit(samples, targets, rows, num_classes, config, seed=seed, start=start, on_epoch=on_epoch)
            return seen, config.batch_size
        except RuntimeError as error:  # CUDA has a type of its own for it, MPS only says so
            if "out of memory" not in str(error) or config.batch_size // 2 < SMALLEST_BATCH:
                raise
        config = replace(config, batch_size=config.batch_size // 2)
        torch.cuda.empty_cache()


class _Clock:
    """Counts epochs over all proxies, reports them, and stops the run when its time is up.

    The first proxy that a process trains is always finished: with any budget, a repeated command gets further.
    """

    def __init__(self, budget: float, on_progress: OnProgress) -> None:
        self.budget, self.on_progress = budget, on_progress
        self.deadline = time.monotonic() + budget if budget else None
        self.done = self.total = 0
        self.trained = 0  # proxies, by this process

    def expect(self, total: int) -> None:
        """From now on `total` epochs are to be counted from 0."""
        self.done, self.total = 0, total

    def reach(self, done: int) -> None:
        """So many epochs are done, by this process or an earlier one."""
        self.done = done

    def count(self, epochs: int, note: str) -> Callable[[int], None]:
        start = self.done
        self.trained += 1
        first = self.trained == 1

        def on_epoch(epoch: int) -> None:
            done, total = start + epoch + 1, self.total or epochs
            self.on_progress(Progress("train", done, total, "epochs", note))
            late = self.deadline is not None and time.monotonic() > self.deadline
            if late and not first and epoch + 1 < epochs:  # after its last epoch a proxy is better saved than lost
                raise StoppedEarly(
                    f"the time budget of {self.budget:.0f} s is used up ({note}, epoch {epoch + 1} of {epochs})",
                    hint="the same command goes on from the last finished proxy",
                )

        return on_epoch

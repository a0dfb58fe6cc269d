"""`--strategy auto`: which way of teaching suits these labels, found without a clean one.

Judged by the agreement of predictions with held-out given labels: under class-conditional noise with a dominant
diagonal the classifier that agrees best is the best one (Chen et al., AAAI 2021). Never by cross entropy, which
prefers a model as noisy as the labels. Candidates are halved over folds and seeds, each with its whole schedule:
memorising shows late, so short schedules would reward it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

LEAST_KAPPA = 0.1  # of the best candidate, before any preference is believed
KEPT = (1 / 3, 1 / 3)  # share of the candidates that survives a rung
FOLDS = 3  # that are tried, at most
CLEARLY = 2.0  # standard errors that the default must be behind: the best of several looks better than it is


@dataclass(frozen=True)
class Recipe:
    """A loss and a strategy, each with its options."""

    loss: str
    strategy: str

    def __str__(self) -> str:
        return f"{self.strategy} with {self.loss}"


# From simple to involved: among equals the first is taken.
RECIPES = (
    Recipe("ce", "plain"),
    Recipe("ce", "mixup"),
    Recipe("gce", "plain"),
    Recipe("sce", "plain"),
    Recipe("nce_rce", "plain"),
    Recipe("elr", "plain"),
    Recipe("gce:q=0.5", "mixup"),
    Recipe("elr", "mixup"),
    Recipe("ce", "discard"),
    Recipe("ce", "co_teaching"),
    Recipe("ce", "dynamic_bootstrap:kind=soft_to_hard"),
    Recipe("ce", "promix"),
    Recipe("ce", "dividemix"),
)


@dataclass(frozen=True)
class Tried:
    """How one candidate did, on the trials that it shares with the best."""

    loss: str
    strategy: str
    trials: int  # networks trained
    agreement: float  # with held-out given labels, mean over its trials
    behind: float  # agreement of the best minus its own, on common trials
    standard_error: float  # of that difference, paired by row
    seconds: float  # per trial


@dataclass(frozen=True)
class Choice:
    """What the search came to."""

    recipe: Recipe
    reason: str
    confident: bool  # clearly better than the default
    tried: tuple[Tried, ...]  # best first

    def facts(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "chosen": asdict(self.recipe),
            "reason": self.reason,
            "confident": self.confident,
            "tried": [asdict(tried) for tried in self.tried],
        }


def candidates(loss: str, strategy: str, default: Recipe) -> tuple[Recipe, ...]:
    """The recipes to try, the default first. One of `loss` and `strategy` is "auto"; what the user named stays.

    With the loss alone on "auto", the strategy stays the default one.
    """
    if strategy != "auto":
        found = [Recipe(recipe.loss, default.strategy) for recipe in RECIPES]
    elif loss not in ("auto", "default"):
        found = [Recipe(default.loss, recipe.strategy) for recipe in RECIPES]
    else:
        found = list(RECIPES)
    return tuple(dict.fromkeys([default, *found]))


def most_trials(recipes: int, folds: int) -> int:
    """Networks that a search without a budget trains."""
    if recipes < 2:
        return 0
    folds = min(FOLDS, folds)
    second = 1 + max(2, round(KEPT[0] * recipes))
    third = 1 + max(2, round(KEPT[1] * second))
    return recipes + (folds - 1) * second + folds * third


def search(
    recipes: Sequence[Recipe],
    trial: Callable[[int, int, int], np.ndarray],
    labels: np.ndarray,
    fold: np.ndarray,
    *,
    budget: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    prepare: Callable[[list[tuple[int, int, int]]], None] = lambda trials: None,
) -> Choice:
    """Try the recipes and choose one. The first is the default: it stays unless another is clearly better.

    All on one fold, the best third on three folds, the best third of those with another seed too. The default stays
    unless it is clearly behind; else, of the recipes within one standard error of the best, the simplest wins. The
    error is that of paired rows, or of paired trials where it is larger: rows do not know how two trainings differ.

    Args:
        trial: (recipe, fold, seed) -> predictions (n,) of a network that did not train on the fold.
        labels: (n,) given labels, -1 where a row does not count.
        fold: (n,) int.
        budget: seconds; 0 is no limit. A trial that would not fit is not begun; the default always is.
        prepare: hears of trials that do not depend on each other, before they are asked for one by one; not of those
            that a budget may cut off. What it takes counts for all of them alike.
    """
    folds = min(FOLDS, int(fold.max()) + 1)
    rungs = [[(0, 0)], [(m, 0) for m in range(1, folds)], [(m, 1) for m in range(folds)]]
    since = clock()
    right: dict[int, list[np.ndarray]] = {}  # recipe -> per trial, (rows of the fold,) bool
    took: dict[int, list[float]] = {}
    alive = list(range(len(recipes)))
    columns: list[int] = []  # fold of every trial that all of `alive` have done

    def prepared(column: list[tuple[int, int, int]]) -> float:
        begun = clock()
        if not budget:
            prepare(column)
        return (clock() - begun) / len(column)

    def attempt(recipe: int, m: int, seed: int, share: float) -> bool:
        longest = max((seconds for spent in took.values() for seconds in spent), default=0.0)
        begun = clock()
        if budget and took and begun - since + longest > budget:
            return False
        rows = (fold == m) & (labels >= 0)
        right.setdefault(recipe, []).append(trial(recipe, m, seed)[rows] == labels[rows])
        took.setdefault(recipe, []).append(clock() - begun + share)
        return True

    for rung, trials in enumerate(rungs):
        if rung:
            order = sorted(alive, key=lambda recipe: -_agreement(right[recipe]))
            alive = sorted({0, *order[: max(2, round(KEPT[rung - 1] * len(alive)))]})
        for m, seed in trials:
            share = prepared([(recipe, m, seed) for recipe in alive])
            done = [recipe for recipe in alive if attempt(recipe, m, seed, share)]
            if len(done) < len(alive):
                if not columns:  # those that were tried are compared; a later trial that some lack is not
                    alive, columns = done, [m]
                return _choose(recipes, alive, right, took, columns, labels, out_of_time=True)
            columns.append(m)
    return _choose(recipes, alive, right, took, columns, labels, out_of_time=False)


def _choose(
    recipes: Sequence[Recipe],
    alive: list[int],
    right: dict[int, list[np.ndarray]],
    took: dict[int, list[float]],
    columns: list[int],
    labels: np.ndarray,
    out_of_time: bool,
) -> Choice:
    finals = {recipe: right[recipe][: len(columns)] for recipe in alive}
    best = max(finals, key=lambda recipe: _agreement(finals[recipe]))
    gap = {recipe: _difference(finals[best], finals[recipe], columns) for recipe in alive}
    equals = [recipe for recipe in alive if gap[recipe][0] <= gap[recipe][1]]
    shares = np.bincount(labels[labels >= 0]) / max((labels >= 0).sum(), 1)
    kappa = (_agreement(finals[best]) - shares.max()) / max(1 - shares.max(), 1e-9)
    if kappa < LEAST_KAPPA:
        chosen, reason = 0, "no recipe predicts held-out labels better than the most common class would"
    elif gap[0][0] <= CLEARLY * gap[0][1]:
        chosen, reason = 0, f"none was better than the default by more than {CLEARLY:.0f} standard errors"
    else:
        chosen = min(equals)
        reason = f"agreed with held-out labels better than the default by {gap[0][0] - gap[chosen][0]:.1%}"
        if chosen != best:
            reason += f", and no worse than {recipes[best]} beyond a standard error"
    if out_of_time:
        reason += f"; the budget ended the search after {sum(map(len, took.values()))} networks"
    tried = []
    for recipe in sorted(right, key=lambda r: (r not in gap, gap[r][0] if r in gap else -_agreement(right[r]))):
        # those that were given up have in common with the best what they did first
        shared = len(right[recipe])
        behind, error = gap.get(recipe) or _difference(right[best][:shared], right[recipe], columns[:shared])
        tried.append(
            Tried(
                recipes[recipe].loss,
                recipes[recipe].strategy,
                len(right[recipe]),
                _agreement(right[recipe]),
                behind,
                error,
                float(np.mean(took[recipe])),
            )
        )
    return Choice(recipes[chosen], reason, chosen != 0, tuple(tried))


def _agreement(trials: list[np.ndarray]) -> float:
    return float(np.mean([trial.mean() for trial in trials]))


def _difference(best: list[np.ndarray], other: list[np.ndarray], columns: list[int]) -> tuple[float, float]:
    """Mean of best - other over paired trials, and its standard error. `columns` is the fold of each trial."""
    by_trial = [one.astype(np.float64) - two for one, two in zip(best, other, strict=True)]
    by_fold: dict[int, list[np.ndarray]] = {}
    for m, difference in zip(columns, by_trial, strict=True):
        by_fold.setdefault(m, []).append(difference)
    rows = np.concatenate([np.mean(repeats, axis=0) for repeats in by_fold.values()])
    means = np.array([difference.mean() for difference in by_trial])
    error = rows.std() / np.sqrt(len(rows))
    if len(means) > 2:
        error = max(error, means.std(ddof=1) / np.sqrt(len(means)))
    return float(means.mean()), float(error)

"""Trials: how long to teach, and by which recipe, where the user leaves that open. A trial that wins is a proxy.

Judged by the agreement of held-out predictions with the given labels. Wrong labels lower the agreement of every
candidate alike, so their order holds without clean labels (Chen et al., AAAI 2021); memorising shows as a fall.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cleanlab_lite.matrices import predictions
from cleanlab_lite.run import Run
from cleanlab_lite.train.fit import Teaching
from cleanlab_lite.train.models import PROXIES
from cleanlab_lite.train.observation import Observation
from cleanlab_lite.train.search import FOLDS, Recipe, candidates, search
from cleanlab_lite.train.task import Task

MOST_EPOCHS = 32  # that are tried where the user leaves the choice; the fewest are the proxy's
WORTH_DOUBLING = 0.01  # gain in held-out agreement

Trial = tuple[str, int, Teaching, str, int]  # stage, proxy whose fold is held out, teaching, note, repeat
Attempt = Callable[[str, int, Teaching, str, int], Observation]  # of a network that is so taught


@dataclass(frozen=True)
class Chosen:
    """How every proxy is taught, and the stages of proxies that trials have trained already, by their number."""

    teaching: Teaching
    stages: dict[int, str]

    def stage(self, m: int) -> str:
        """Of cross-fitted proxy m."""
        return self.stages.get(m, f"proxy-{m}")


def agreement(predicted: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> float:
    """Share of the given labels (n,) of `rows` (n,) bool that are predicted (n,)."""
    return float((predicted[rows] == labels[rows]).mean())


@dataclass(frozen=True)
class Rival:
    """Evidence that is there already, which networks must come near to be worth their time."""

    predicted: np.ndarray  # (n,) int64 held-out predictions
    near: float  # of its agreement with the given labels: how far behind networks may be

    def wants(self, labels: np.ndarray, rows: np.ndarray) -> float:
        """The agreement on `rows` (n,) bool that networks must reach."""
        return agreement(self.predicted, labels, rows) - self.near


def choose_epochs(
    task: Task, fold: np.ndarray, teaching: Teaching, attempt: Attempt, rival: Rival | None = None
) -> Chosen:
    """The epochs that were named; else doubled as long as the held-out rows agree better with their given labels, or
    where there is a `rival`, until they come near to it."""
    if teaching.epochs:
        return Chosen(teaching, {})

    fewest = PROXIES.get(teaching.proxy).facts.fewest_epochs
    held_out = task.teachable & (fold == 0)

    def reached(epochs: int) -> tuple[float, float]:
        seen = attempt(*trial_of(teaching, epochs))
        halfway, end = seen.predicted[epochs // 2 - 1], predictions(seen.logits)
        return agreement(halfway, task.taught, held_out), agreement(end, task.taught, held_out)

    if rival is None:
        epochs = doubled_epochs(lambda epochs: reached(epochs)[1], fewest)
    else:
        epochs = epochs_to_reach(reached, rival.wants(task.taught, held_out), fewest)
    return Chosen(replace(teaching, epochs=epochs), {0: f"trial-{epochs}"})


def trial_of(teaching: Teaching, epochs: int, m: int = 0) -> Trial:
    """Proxy m, taught so long. Without any epochs, the fewest."""
    epochs = epochs or PROXIES.get(teaching.proxy).facts.fewest_epochs
    stage = f"trial-{epochs}-{m}" if m else f"trial-{epochs}"
    return stage, m, replace(teaching, epochs=epochs), f"trying {epochs} epochs", 0


def doubled_epochs(agreement: Callable[[int], float], fewest: int) -> int:
    """The number of epochs, doubled from `fewest` on while the held-out agreement of so many gains `WORTH_DOUBLING`."""
    epochs, best = fewest, -1.0
    while True:
        reached = agreement(epochs)
        if reached < best + WORTH_DOUBLING:
            return epochs // 2
        if epochs * 2 > MOST_EPOCHS:
            return epochs
        epochs, best = epochs * 2, reached


def epochs_to_reach(agreement: Callable[[int], tuple[float, float]], wanted: float, fewest: int) -> int:
    """The number of epochs, doubled from `fewest` on until the held-out agreement is what is `wanted`, or cannot be.

    From one doubling to the next gains are about half: what is to come is less than the last gain, the second half of
    the first trial being one. A doubling that gains less than `WORTH_DOUBLING` is not taken.

    Args:
        agreement: after half of so many epochs, and after all of them.
    """
    epochs = fewest
    halfway, reached = agreement(fewest)
    gain = reached - halfway
    while reached < wanted <= reached + gain * (1 - epochs / MOST_EPOCHS):
        _, doubled = agreement(epochs * 2)
        gain = doubled - reached
        if gain < WORTH_DOUBLING:
            break
        epochs, reached = epochs * 2, doubled
    return epochs


def choose_recipe(
    task: Task,
    fold: np.ndarray,
    chosen: Chosen,
    asked: tuple[str, str],
    run: Run,
    attempt: Attempt,
    *,
    budget: float,
    prepare: Callable[[list[Trial]], None],
) -> Chosen:
    """The loss and strategy that a search over held-out rows finds, `asked` being what the user said of the two.

    Args:
        prepare: hears of trials before they are attempted, if they do not depend on each other.
    """
    teaching = chosen.teaching
    recipes = candidates(*asked, Recipe(teaching.loss, teaching.strategy))

    def described(recipe: int, m: int, repeat: int) -> Trial:
        tried = replace(teaching, loss=recipes[recipe].loss, strategy=recipes[recipe].strategy)
        return trial_stage(recipe, m, repeat, chosen.stages), m, tried, f"trying {recipes[recipe]}", repeat

    def trial(recipe: int, m: int, repeat: int) -> np.ndarray:
        return predictions(attempt(*described(recipe, m, repeat)).logits)

    def prepare_all(trials: list[tuple[int, int, int]]) -> None:
        prepare([described(*trial) for trial in trials])

    if not run.done("search"):
        found = search(recipes, trial, task.taught, fold, budget=budget, prepare=prepare_all)
        run.mark("search", **found.facts())
    recipe = Recipe(**run.facts("search")["chosen"])
    number = recipes.index(recipe)
    stages = {m: trial_stage(number, m, 0, chosen.stages) for m in range(min(FOLDS, int(fold.max()) + 1))}
    return Chosen(replace(teaching, loss=recipe.loss, strategy=recipe.strategy), stages)


def trial_stage(recipe: int, m: int, repeat: int, trained: dict[int, str]) -> str:
    """The stage of a search's trial. Those of the default, number 0, and of the first seed are proxies of its own."""
    if recipe == 0 and repeat == 0:
        return trained.get(m, f"proxy-{m}")
    return f"search-{recipe}-{m}-{repeat}"

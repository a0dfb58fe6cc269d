"""`--strategy auto`: the clearly better recipe is found, the simplest of equals is taken, nothing is made of noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_ensemble import CONFIG, KEY, PLAN, inputs_of
from worlds import blobs

from cleanlab_lite.clock import Clock
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.run import Run
from cleanlab_lite.train import search as searching
from cleanlab_lite.train.ensemble import watch
from cleanlab_lite.train.losses import LOSSES
from cleanlab_lite.train.search import RECIPES, Recipe, candidates, most_trials, search
from cleanlab_lite.train.strategies import STRATEGIES
from cleanlab_lite.train.task import Task

DEFAULT = Recipe("ce", "plain")
ARMS = [DEFAULT, Recipe("gce", "plain"), Recipe("elr", "plain"), Recipe("ce", "dividemix")]
LABELS = np.arange(3000) % 4
FOLD = np.random.default_rng(0).integers(0, 5, 3000)


def players(*skills: float):
    """A trial whose recipe r predicts the label with probability skills[r], and the list of its calls."""
    calls: list[tuple[int, int, int]] = []

    def trial(recipe: int, m: int, seed: int) -> np.ndarray:
        calls.append((recipe, m, seed))
        rng = np.random.default_rng((recipe, m, seed))
        return np.where(rng.random(len(LABELS)) < skills[recipe], LABELS, (LABELS + 1) % 4)

    return trial, calls


def test_the_clearly_better_recipe_is_chosen_and_the_table_says_why():
    trial, calls = players(0.6, 0.62, 0.9, 0.5)
    choice = search(ARMS, trial, LABELS, FOLD)
    assert choice.recipe == ARMS[2] and choice.confident
    assert "better than the default by 29.2%" in choice.reason
    assert len(calls) == len(set(calls)) <= most_trials(len(ARMS), 5)
    best = choice.tried[0]
    assert (best.loss, best.behind, best.trials) == ("elr", 0.0, 6)
    assert best.agreement == pytest.approx(0.9, abs=0.03)
    default = next(tried for tried in choice.tried if tried.loss == "ce" and tried.strategy == "plain")
    assert default.behind == pytest.approx(0.3, abs=0.05) and 0 < default.standard_error < 0.05


def test_of_equals_the_default_stays_then_the_simplest():
    trial, _ = players(0.8, 0.8, 0.8, 0.8)
    choice = search(ARMS, trial, LABELS, FOLD)
    assert choice.recipe == DEFAULT and not choice.confident

    def alike(recipe: int, m: int, seed: int) -> np.ndarray:
        return players(0.5, 0.8)[0](min(recipe, 1), m, seed)

    assert search(ARMS, alike, LABELS, FOLD).recipe == ARMS[1]


def test_nothing_is_preferred_where_nothing_is_learned():
    trial, _ = players(0.25, 0.28, 0.25, 0.25)
    choice = search(ARMS, trial, LABELS, FOLD)
    assert choice.recipe == DEFAULT and not choice.confident
    assert "most common class" in choice.reason


def test_rows_without_a_label_do_not_count():
    labels = np.where(np.arange(len(LABELS)) % 2 == 0, LABELS, -1)

    def trial(recipe: int, m: int, seed: int) -> np.ndarray:
        right = labels >= 0 if recipe == 1 else labels < 0
        return np.where(right, LABELS, (LABELS + 2) % 4)

    choice = search(ARMS[:2], trial, labels, FOLD)
    assert choice.recipe == ARMS[1] and choice.tried[0].agreement == 1


def test_a_budget_ends_the_search_with_what_is_known():
    now = [0.0]
    trial, calls = players(0.5, 0.9, 0.5, 0.5)

    def timed(recipe: int, m: int, seed: int) -> np.ndarray:
        now[0] += 10
        return trial(recipe, m, seed)

    choice = search(ARMS, timed, LABELS, FOLD, budget=25, clock=lambda: now[0])
    assert calls == [(0, 0, 0), (1, 0, 0)]  # a third would have ended after 30 seconds
    assert choice.recipe == ARMS[1] and "budget" in choice.reason

    now[0] = 0.0
    calls.clear()
    assert search(ARMS, timed, LABELS, FOLD, budget=5, clock=lambda: now[0]).recipe == DEFAULT
    assert calls == [(0, 0, 0)]


def test_trials_that_do_not_depend_on_each_other_are_known_before():
    now, told = [0.0], []

    def prepare(trials: list[tuple[int, int, int]]) -> None:
        now[0] += 6 * len(trials)
        told.append(trials)

    trial, calls = players(0.5, 0.9, 0.5, 0.5)
    choice = search(ARMS, trial, LABELS, FOLD, clock=lambda: now[0], prepare=prepare)
    assert [call for column in told for call in column] == calls
    assert told[0] == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)]
    assert all(len({call[1:] for call in column}) == 1 for column in told)
    assert {tried.seconds for tried in choice.tried} == {6.0}
    search(ARMS, trial, LABELS, FOLD, budget=25, prepare=lambda trials: pytest.fail("some may be cut off"))


def test_more_folds_are_tried_for_fewer_recipes():
    skills = [0.5] * 12
    skills[7] = 0.7
    trial, calls = players(*skills)
    arms = [Recipe(f"l{i}", "plain") for i in range(12)]
    choice = search(arms, trial, LABELS, FOLD)
    assert choice.recipe == arms[7]
    tried = [sum(call[1:] == column for call in calls) for column in ((0, 0), (1, 0), (2, 0), (0, 1))]
    assert tried[0] == 12 and tried[1] == tried[2] and 12 > tried[1] > tried[3] >= 2
    assert len(calls) <= most_trials(12, 5) < 12 * 3


def test_what_the_user_named_is_not_searched():
    everything = candidates("default", "auto", Recipe("ce", "mixup"))
    assert everything[0] == Recipe("ce", "mixup") and set(everything) == set(RECIPES)
    assert {recipe.loss for recipe in candidates("sce", "auto", Recipe("sce", "plain"))} == {"sce"}
    assert {recipe.strategy for recipe in candidates("auto", "prune", Recipe("ce", "prune"))} == {"prune"}
    assert {recipe.strategy for recipe in candidates("auto", "default", Recipe("ce", "mixup"))} == {"mixup"}


def test_every_recipe_exists():
    for recipe in RECIPES:
        LOSSES.parse(recipe.loss)
        STRATEGIES.parse(recipe.strategy)


def run_search(folder: Path, labels: np.ndarray, world, monkeypatch: pytest.MonkeyPatch) -> dict:
    """A real search between cross entropy and GCE, with networks large enough to memorise."""
    monkeypatch.setattr(searching, "RECIPES", (DEFAULT, Recipe("gce", "plain")))
    plan = PLAN.__class__(**(vars(PLAN) | {"recipes": 2, "epochs": 24, "ensemble": 3}))
    config = AuditConfig(**(vars(CONFIG) | {"loss": "auto", "strategy": "plain", "planted": 0.0}))
    with Run.start(folder, "world", KEY) as run:
        evidence = watch(Task.of(labels, 3, inputs_of(world)), plan, config, run=run, clock=Clock())
        assert evidence.history.shape[0] == 3
        assert len(list(folder.glob("jobs/proxy-*"))) <= 3  # trials of the chosen recipe are its proxies
        return run.facts("search")


@pytest.mark.slow
def test_gce_is_found_under_symmetric_noise_and_nothing_in_shuffled_labels(tmp_path, monkeypatch):
    world = blobs(600, 3, 0.4)
    found = run_search(tmp_path / "noisy", world.labels, world, monkeypatch)
    assert found["chosen"]["loss"] == "gce" and found["confident"]
    shuffled = np.random.default_rng(0).permutation(world.labels)
    assert not run_search(tmp_path / "shuffled", shuffled, world, monkeypatch)["confident"]

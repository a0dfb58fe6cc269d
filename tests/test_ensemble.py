"""The ensemble: who is held out of whom, how long to train, what is planted, and what survives an interruption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from worlds import World, auroc, blobs

from cleanlab_lite import clock as clocks
from cleanlab_lite import matrices
from cleanlab_lite.clock import Clock
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.content import vector_content
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.errors import ConfigError, StoppedEarly
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.evidence.history import HELD_OUT
from cleanlab_lite.judge.detectors import DETECTORS
from cleanlab_lite.judge.verdict import combine
from cleanlab_lite.progress import Progress, ignore
from cleanlab_lite.run import Run
from cleanlab_lite.train import jobs, trials
from cleanlab_lite.train.ensemble import inverse_temperature, watch
from cleanlab_lite.train.folds import assign_folds, choose_folds, keep_folds
from cleanlab_lite.train.planned import Plan
from cleanlab_lite.train.planting import plant
from cleanlab_lite.train.task import Task
from cleanlab_lite.train.trials import doubled_epochs

KEY = "0123456789abcdef"
PLAN = Plan(
    rows=150,
    labelled=150,
    classes=3,
    modality="vector",
    missing_files=0,
    device="cpu",
    precision="fp32",
    proxy="mlp",
    loss="ce",
    strategy="plain",
    recipes=1,
    epochs=2,
    ensemble=3,
    image_size=0,
    batch_size=32,
    learning_rate=0.05,
    memory_gib=1,
    disk_mib=1,
)
CONFIG = AuditConfig(ensemble=3, epochs=2)


def inputs_of(world: World, unreadable: tuple[int, ...] = ()) -> Inputs:
    n = len(world.labels)
    codes = np.where(np.isin(np.arange(n), unreadable), "not_finite", "")
    array = np.where((codes == "")[:, None], world.features, 0).astype(np.float32)
    return Inputs(array, codes, codes, np.full(n, -1), decoded=0, content=vector_content(array))


def watch_world(folder: Path, config: AuditConfig = CONFIG, plan: Plan = PLAN, on_progress=ignore, **task) -> Any:
    """The evidence of a run in `folder` on a small world, whose rows 3 and 7 are unreadable and 5 is unlabelled."""
    world = blobs(150, 3, 0.1, **task)
    labels = world.labels.copy()
    labels[5] = -1
    with Run.start(folder, "world", KEY) as run:
        clock = Clock(config.time_budget, on_progress)
        return watch(Task.of(labels, 3, inputs_of(world, (3, 7))), plan, config, run=run, clock=clock)


def arrays(evidence: Evidence) -> dict[str, np.ndarray]:
    assert evidence.history is not None and evidence.plants is not None
    found = {name: getattr(evidence, name) for name in ("features", "pred_probs", "logits")}
    found |= {name: getattr(evidence.history, name) for name in ("loss", "margin", "predicted", "trained_on")}
    return found | {name: getattr(evidence.plants, name) for name in ("rows", "labels", "instance_level")}


def assert_same(one: Evidence, two: Evidence) -> None:
    for name, array in arrays(one).items():
        np.testing.assert_array_equal(array, arrays(two)[name], err_msg=name)


# --- folds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_share_every_class_equally(folds):
    labels = np.random.default_rng(0).choice(4, 500, p=[0.6, 0.3, 0.08, 0.02])
    fold = assign_folds(labels, np.full(500, -1), folds, seed=0, order=np.arange(500))
    assert set(fold) == set(range(folds))
    for label in range(4):
        counts = np.bincount(fold[labels == label], minlength=folds)
        assert counts.max() - counts.min() <= 1


def test_rows_of_the_same_content_are_held_out_together():
    rng = np.random.default_rng(1)
    labels = rng.integers(-1, 3, 200)  # some rows without a label
    duplicate_of = np.full(200, -1)
    duplicate_of[100:150] = rng.integers(0, 100, 50)
    fold = assign_folds(labels, duplicate_of, 5, seed=0, order=np.arange(200))
    copies = np.flatnonzero(duplicate_of >= 0)
    np.testing.assert_array_equal(fold[copies], fold[duplicate_of[copies]])
    assert fold.min() >= 0 and fold.max() < 5


def test_folds_depend_on_the_seed_only():
    labels = np.arange(100) % 3
    unique, order = np.full(100, -1), np.arange(100)
    first, again, other = (assign_folds(labels, unique, 5, seed, order) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# --- epochs ---------------------------------------------------------------------------------------------------------

CURVES = {
    "rises, then flat": ([0.5, 0.7, 0.701], 1),
    "rises, then falls": ([0.5, 0.7, 0.6], 1),
    "flat from the start": ([0.7, 0.7, 0.7], 0),
    "falls from the start": ([0.7, 0.5, 0.9], 0),
    "always rises": ([0.2, 0.4, 0.6], 2),
}


@pytest.mark.parametrize(("agreement", "best"), CURVES.values(), ids=CURVES)
def test_epochs_double_as_long_as_the_held_out_rows_agree_better(agreement, best):
    candidates = [trials.MOST_EPOCHS // 2**i for i in (2, 1, 0)]
    tried = []

    def reached(epochs: int) -> float:
        tried.append(epochs)
        return agreement[candidates.index(epochs)]

    assert doubled_epochs(reached, candidates[0]) == candidates[best]
    assert tried == candidates[: min(best + 2, 4)]  # one beyond the best, and never more than once


# --- temperature ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_inverse_temperature_is_recovered(factor):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=2, size=(20_000, 4))
    cumulative = softmax(logits, axis=1).cumsum(axis=1)
    labels = np.minimum((cumulative < rng.random((len(logits), 1))).sum(axis=1), 3)
    given = (logits / factor).astype(np.float32)
    given[:50] = np.nan
    labels[50:100] = -1
    assert inverse_temperature(given, labels) == pytest.approx(factor, rel=0.05)


# --- planted errors -------------------------------------------------------------------------------------------------


def planted_world(n: int = 4000, k: int = 4) -> dict:
    """Rows of class c that look a little like class c + 1; a tenth of them is labelled so."""
    rng = np.random.default_rng(0)
    truth = np.arange(n) % k
    labels = np.where(rng.random(n) < 0.1, (truth + 1) % k, truth)
    pred_probs = np.full((n, k), 0.05)
    pred_probs[np.arange(n), truth] = 0.6
    pred_probs[np.arange(n), (truth + 2) % k] = 0.3
    return {"labels": labels, "rows": np.arange(n), "pred_probs": pred_probs, "logits": np.log(pred_probs)}


def test_planted_labels_are_wrong_and_half_of_either_kind():
    world = planted_world()
    world["rows"] = np.arange(1000, 4000)
    plants = plant(**world, share=0.1, proxy=5, seed=0)
    assert plants.proxy == 5
    assert len(plants.rows) == len(set(plants.rows)) == 300
    assert plants.rows.min() >= 1000
    assert (plants.labels != world["labels"][plants.rows]).all()
    assert plants.labels.min() >= 0 and plants.labels.max() < 4
    assert plants.instance_level.sum() == 150


def test_planted_labels_follow_the_stated_distributions():
    world = planted_world()
    plants = plant(**world, share=0.5, proxy=0, seed=0)
    labels, truth = world["labels"][plants.rows], plants.rows % 4
    clean = labels == truth  # 1,800 rows, of which the probabilities exclude the given class
    step = (plants.labels - labels) % 4
    of_row = np.bincount(step[clean & plants.instance_level], minlength=4)
    np.testing.assert_allclose(of_row / of_row.sum(), [0, 0.125, 0.75, 0.125], atol=0.04)
    of_class = np.bincount(step[clean & ~plants.instance_level], minlength=4)  # as the labels are confused
    assert of_class[1] / of_class.sum() > 0.9


def test_a_row_that_is_all_certainty_still_gets_a_wrong_label():
    labels = np.arange(60) % 3
    certain = np.eye(3)[labels]
    plants = plant(labels, np.arange(60), certain, certain, 0.5, 0, seed=0)
    assert (plants.labels != labels[plants.rows]).all()


def test_few_rows_have_at_least_two_plants():
    labels = np.arange(6) % 2
    plants = plant(labels, np.arange(6), np.full((6, 2), 0.5), np.zeros((6, 2)), 0.1, 0, seed=0)
    assert len(plants.rows) == 2
    np.testing.assert_array_equal(plants.labels, 1 - labels[plants.rows])


# --- the whole ------------------------------------------------------------------------------------------------------


def test_every_teachable_row_is_held_out_once_and_planted_rows_are_shown_their_plant(tmp_path):
    evidence = watch_world(tmp_path / "run")
    history, plants, labels = evidence.history, evidence.plants, evidence.labels
    assert history.shape == (4, 2, 150)
    teachable = ~np.isin(np.arange(150), (3, 5, 7))
    held_out = history.trained_on[:3] == HELD_OUT
    assert (held_out.sum(axis=0)[teachable] == 1).all()
    assert held_out[:, ~teachable].all()
    for shown in history.trained_on[:3]:
        np.testing.assert_array_equal(shown[shown != HELD_OUT], labels[shown != HELD_OUT])
    last = history.trained_on[3]
    np.testing.assert_array_equal(last[plants.rows], plants.labels)
    others = teachable & ~np.isin(np.arange(150), plants.rows)
    np.testing.assert_array_equal(last[others], labels[others])
    assert (last[~teachable] == HELD_OUT).all()
    assert teachable[plants.rows].all()


def test_votes_are_out_of_sample_probabilities_and_find_the_errors(tmp_path):
    world = blobs(150, 3, 0.1)
    evidence = watch_world(tmp_path / "run")
    readable = ~np.isin(np.arange(150), (3, 7))
    assert np.isnan(evidence.pred_probs[~readable]).all()
    np.testing.assert_allclose(evidence.pred_probs[readable].sum(axis=1), 1, rtol=1e-5)  # the unlabelled row too
    assert evidence.features.shape[0] == 150
    judged = readable & (evidence.labels >= 0)
    margin = evidence.history.margin[:3, :, judged].astype(np.float32).mean(axis=(0, 1))
    assert auroc(-margin, world.wrong[judged]) > 0.9


def test_what_is_much_stays_in_its_files_and_is_the_same(tmp_path, monkeypatch):
    whole = watch_world(tmp_path / "memory")
    monkeypatch.setattr(matrices, "HELD_CELLS", 0)
    monkeypatch.chdir(tmp_path)
    stored = watch_world(Path("files"))
    monkeypatch.chdir("/")
    assert isinstance(whole.pred_probs, np.ndarray) and not isinstance(stored.pred_probs, np.ndarray)
    assert_same(whole, stored)
    found = [combine(each, ~np.isin(np.arange(150), (3, 7)), np.full(150, -1), seed=0) for each in (whole, stored)]
    np.testing.assert_allclose(found[0].p_mislabel, found[1].p_mislabel, rtol=1e-6)
    np.testing.assert_array_equal(found[0].suggested, found[1].suggested)
    np.testing.assert_allclose(found[0].columns["ood_score"], found[1].columns["ood_score"], rtol=1e-6)


def test_nothing_is_planted_when_that_is_turned_off(tmp_path):
    evidence = watch_world(tmp_path / "run", replace(CONFIG, planted=0.0))
    assert evidence.plants is None
    assert evidence.history.shape[0] == 3


def test_progress_counts_the_epochs_of_all_proxies(tmp_path):
    events: list[Progress] = []
    watch_world(tmp_path / "run", on_progress=events.append)
    assert [(event.done, event.total) for event in events] == [(i, 8) for i in range(1, 9)]
    assert {(event.stage, event.unit) for event in events} == {("train", "epochs")}
    assert events[-1].note == "the network with planted errors"


def test_chosen_epochs_are_kept_and_their_trial_is_the_first_proxy(tmp_path):
    evidence = watch_world(tmp_path / "run", plan=replace(PLAN, epochs=0))
    epochs = evidence.history.shape[1]
    assert epochs in (16, 32)  # as few as the proxy says
    saved = {path.name for path in (tmp_path / "run" / "jobs").iterdir()}
    assert {f"trial-{epochs}", "planted", "proxy-1", "proxy-2"} <= saved
    assert "proxy-0" not in saved
    first = np.load(tmp_path / "run" / "jobs" / f"trial-{epochs}" / "margin.npy")
    np.testing.assert_array_equal(first, evidence.history.margin[0])
    assert_same(evidence, watch_world(tmp_path / "run", plan=replace(PLAN, epochs=0)))


# --- the second split -----------------------------------------------------------------------------------------------

HALVES = replace(CONFIG, second_split=True)


def test_no_second_split_unless_asked_for(tmp_path):
    assert watch_world(tmp_path / "run").second_split is None


def test_the_second_split_is_seen_and_counted(tmp_path):
    events: list[Progress] = []
    evidence = watch_world(tmp_path / "run", HALVES, on_progress=events.append)
    assert evidence.second_split.shape == (3, 150)
    teachable = ~np.isin(np.arange(150), (3, 5, 7))
    learned = evidence.second_split[0, teachable] == evidence.labels[teachable]  # before: each row by who learned it
    assert learned.mean() > 0.85
    assert [(event.done, event.total) for event in events] == [(i, 16) for i in range(1, 17)]
    assert events[-1].note == "second split 2/2"
    assert_same(evidence, watch_world(tmp_path / "other"))  # the proxies are what they were


def test_a_second_split_that_was_cut_off_goes_on(tmp_path, monkeypatch, fits):
    whole = watch_world(tmp_path / "whole", HALVES)
    fits.clear()
    heard = ticking(monkeypatch)
    with pytest.raises(StoppedEarly, match=r"second split 2/2, epoch 2 of 2"):
        watch_world(tmp_path / "run", replace(HALVES, time_budget=12.5), on_progress=heard)
    assert fits == [32] * (4 + 2 + 1)
    resumed = watch_world(tmp_path / "run", HALVES)
    assert len(fits) == 7 + 2
    np.testing.assert_array_equal(resumed.second_split, whole.second_split)


def flipped_and_rare(folder: Path, seed: int) -> tuple[dict[str, float], np.ndarray, np.ndarray, np.ndarray]:
    """AUROC of telling flipped rows from rare ones, by detector; `forgotten_early` of flipped, rare and other rows.

    Of class 0: twelve rows of class 1 with a wrong label, and twelve of a rare kind that is hard to tell from it.
    """
    rng = np.random.default_rng(seed)
    centers = 6 * np.linalg.qr(rng.normal(size=(16, 16)))[0]
    labels = np.arange(500) % 2
    features = centers[labels] + rng.normal(size=(500, 16))
    rare, flipped = np.arange(0, 24, 2), np.arange(1, 24, 2)
    features[rare] = 0.9 * centers[1] + 0.2 * centers[2] + 0.3 * rng.normal(size=(12, 16))
    labels[flipped] = 0
    world = World(features.astype(np.float32), labels, np.arange(500) % 2, Evidence(labels, 2))
    plan = replace(PLAN, proxy="wide_mlp", epochs=12, ensemble=2, learning_rate=0.1)
    config = AuditConfig(ensemble=2, planted=0.0, second_split=True)
    with Run.start(folder, "world", KEY) as run:
        evidence = watch(Task.of(labels, 2, inputs_of(world)), plan, config, run=run, clock=Clock())
    found = {name: DETECTORS.get(name).function(evidence) for name in ("second_split_forgetting", "aum", "density")}
    both = np.concatenate([flipped, rare])
    told_apart = {name: auroc(-detection.score[both], np.arange(24) < 12) for name, detection in found.items()}
    early = found["second_split_forgetting"].reasons["forgotten_early"]
    return told_apart, early[flipped], early[rare], early[24:]


def test_flipped_labels_are_forgotten_before_rare_rows_that_are_as_hard(tmp_path):
    told_apart, flipped, rare, others = flipped_and_rare(tmp_path / "run", seed=0)
    assert told_apart["second_split_forgetting"] > max(0.8, told_apart["aum"])
    assert flipped.mean() > 0.5 and rare.mean() < 0.1
    assert others.mean() < 0.03


@pytest.mark.slow
def test_forgetting_tells_flipped_labels_from_rare_rows_better_than_margins_and_density(tmp_path):
    """Of eight worlds: in one, twelve against twelve rows say an AUROC to .07 or so, and it varies by as much."""
    worlds = [flipped_and_rare(tmp_path / str(seed), seed) for seed in range(8)]
    told_apart = {name: np.mean([world[0][name] for world in worlds]) for name in worlds[0][0]}
    assert told_apart["second_split_forgetting"] > 0.85
    assert told_apart["aum"] < 0.7 and told_apart["density"] < told_apart["second_split_forgetting"]
    flipped, rare, others = (np.concatenate(rows) for rows in list(zip(*worlds, strict=True))[1:])
    assert flipped.mean() > 0.65
    assert rare.mean() < 0.1
    assert others.mean() < 0.02


# --- interruptions --------------------------------------------------------------------------------------------------


@pytest.fixture
def fits(monkeypatch) -> list[int]:
    """The batch size of every fit."""
    sizes: list[int] = []
    original = jobs.fit

    def counting(samples, targets, rows, num_classes, teaching, **options):
        sizes.append(teaching.batch_size)
        return original(samples, targets, rows, num_classes, teaching, **options)

    monkeypatch.setattr(jobs, "fit", counting)
    return sizes


def ticking(monkeypatch: pytest.MonkeyPatch) -> Callable[[Progress], None]:
    """Time passes by one second per epoch, as the listener hears of it."""
    heard: list[Progress] = []
    monkeypatch.setattr(clocks, "time", SimpleNamespace(monotonic=lambda: len(heard)))
    return heard.append


def failing(times: int, error: Exception, then: Callable) -> Callable:
    left = iter(range(times))

    def fit(*args, **options):
        if next(left, None) is not None:
            raise error
        return then(*args, **options)

    return fit


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("MPS backend out of memory")],
    ids=["cuda", "mps"],
)
def test_a_full_device_halves_the_batch_size_and_the_run_goes_on(tmp_path, monkeypatch, fits, error):
    monkeypatch.setattr(jobs, "fit", failing(1, error, jobs.fit))
    evidence = watch_world(tmp_path / "run")
    assert fits == [16, 32, 32, 32]  # only the proxy that did not fit
    assert np.isfinite(evidence.history.loss[0][:, [0, 1, 2]]).all()
    with Run.start(tmp_path / "run", "world", KEY) as run:
        assert run.facts("proxy-0")["batch_size"] == 16


def test_a_device_that_is_too_small_for_anything_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "fit", failing(99, torch.OutOfMemoryError("CUDA out of memory."), jobs.fit))
    with pytest.raises(torch.OutOfMemoryError):
        watch_world(tmp_path / "run")


def test_other_failures_are_not_tried_again(tmp_path, monkeypatch, fits):
    monkeypatch.setattr(jobs, "fit", failing(1, RuntimeError("shapes do not match"), jobs.fit))
    with pytest.raises(RuntimeError, match="shapes"):
        watch_world(tmp_path / "run")
    assert fits == []


def test_a_budget_too_small_for_anything_still_gets_a_step_further_each_time(tmp_path):
    undisturbed, stops = watch_world(tmp_path / "whole"), 0
    while True:
        try:
            resumed = watch_world(tmp_path / "run", replace(CONFIG, time_budget=1e-9))
            break
        except StoppedEarly:
            stops += 1
    assert 10 < stops <= 4 * 2 * (150 // 32)  # no more than there are steps
    assert_same(undisturbed, resumed)


@pytest.mark.parametrize("budget", [2.5, 3.5, 4.5], ids=["in its first epoch", "in its last", "in the next proxy"])
def test_a_run_that_used_up_its_time_goes_on_to_the_same_evidence(tmp_path, monkeypatch, fits, budget):
    undisturbed = watch_world(tmp_path / "whole")
    fits.clear()
    heard = ticking(monkeypatch)
    done = int(budget + 0.5)
    with pytest.raises(StoppedEarly, match=rf"network {done // 2 + 1} of 3, epoch {done % 2 + 1} of 2") as caught:
        watch_world(tmp_path / "run", replace(CONFIG, time_budget=budget), on_progress=heard)
    assert "same command" in caught.value.hint
    assert len(fits) == done // 2 + 1
    events: list[Progress] = []
    resumed = watch_world(tmp_path / "run", on_progress=events.append)
    assert len(fits) == 5  # the one that was stopped goes on
    assert_same(undisturbed, resumed)
    assert [event.done for event in events] == list(range(done + 1, 9))  # what was done is not done again


def test_saved_proxies_hold_no_pickles(tmp_path):
    watch_world(tmp_path / "run")
    saved = [path for path in (tmp_path / "run" / "jobs").rglob("*") if path.is_file()]
    assert {path.suffix for path in saved} == {".npy", ".safetensors"}
    assert all(np.load(path, allow_pickle=False).dtype != object for path in saved if path.suffix == ".npy")
    assert not [path for path in saved if path.name.startswith("checkpoint")]


def test_known_folds_are_kept_and_copies_of_known_rows_join_them():
    known = np.array([2, -1, -1, 0, -1, -1])
    fold = np.array([0, 1, 1, 1, 3, 4])
    copy_of = np.array([-1, 0, -1, 2, 2, -1])  # row 1 is a copy of a known row; rows 3 and 4 are copies of a new one
    np.testing.assert_array_equal(keep_folds(known, fold, copy_of), [2, 2, 0, 0, 0, 4])


def test_a_run_does_not_go_on_with_other_rows(tmp_path):
    world = blobs(60, 3, 0.1)
    task, other = Task.of(world.labels, 3, inputs_of(world)), Task.of(world.labels, 3, inputs_of(world, (3,)))
    with Run.start(tmp_path / "run", "folds", "0" * 64) as run:
        fold = choose_folds(task, 3, 0, run, None)
        # computed anew they would differ: finished proxies have those of the beginning
        np.testing.assert_array_equal(choose_folds(task, 3, 1, run, None), fold)
        with pytest.raises(ConfigError, match=r"1 row could .* row 4"):
            choose_folds(other, 3, 0, run, None)


def test_too_few_rows_are_told_with_the_first_error(tmp_path):
    codes = np.array(["", "empty", "empty"])
    errors = np.array(["", "the row names no part", "too"])
    inputs = Inputs(np.zeros((3, 2), np.float32), codes, errors, np.full(3, -1), decoded=0, content=codes)
    task = Task.of(np.array([0, 1, 1]), 2, inputs)
    with Run.start(tmp_path / "run", "folds", "0" * 64) as run, pytest.raises(ConfigError, match="read: 1") as caught:
        choose_folds(task, 2, 0, run, None)
    assert "The first that cannot be read: the row names no part" in caught.value.hint

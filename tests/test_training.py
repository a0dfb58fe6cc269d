"""The training loop: what is recorded is exact, the same for the same seed, and tells wrong labels from right ones."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from worlds import World, auroc, blobs

from cleanlab_lite.clock import Clock
from cleanlab_lite.evidence import history
from cleanlab_lite.progress import Progress
from cleanlab_lite.train import fit as training
from cleanlab_lite.train.fit import Observation, Teaching, fit, observe, principal_features, recalibrate, statistics
from cleanlab_lite.train.loader import Samples
from cleanlab_lite.train.losses import LOSSES
from cleanlab_lite.train.models import Proxy
from cleanlab_lite.train.strategies import STRATEGIES, Learner

CPU = torch.device("cpu")
CONFIG = Teaching(
    proxy="wide_mlp",  # learns any label, so that what resists wrong ones shows
    weights="",
    loss="ce",
    strategy="plain",
    epochs=4,
    batch_size=32,
    learning_rate=0.1,
    weight_decay=5e-4,
    flip=False,
    shift=0,
    autocast=None,
)
NOT_ALONE = {
    "group_label_smoothing",  # needs a list of classes
    "truncated_gce",  # ignores all labels that are not yet likely: needs a proxy that has begun to learn
}


def samples_of(world: World, readable: np.ndarray | None = None) -> Samples:
    return Samples(world.features, np.ones(len(world.labels), bool) if readable is None else readable, CPU)


def fit_all(world: World, *, seed: int = 0, **changes) -> Observation:
    """One proxy that learns every row of `world`."""
    rows = np.arange(len(world.labels))
    config = replace(CONFIG, **changes)
    return fit(samples_of(world), world.labels, rows, world.evidence.num_classes, config, seed=seed)


def mean_loss(seen: Observation) -> np.ndarray:
    return seen.loss.astype(np.float32).mean(axis=0)


def pictures(n: int = 48, size: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes: bright above, bright below. (n, 3, s, s) uint8 and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    pixels = rng.integers(0, 60, (n, 3, size, size))
    pixels[labels == 0, :, : size // 2] += 150
    pixels[labels == 1, :, size // 2 :] += 150
    return pixels.astype(np.uint8), labels


def learner_of(network: nn.Module) -> Learner:
    return Learner(network, steps=10, learning_rate=0.1, weight_decay=0.0, autocast=None)


@pytest.mark.parametrize("strategy", ["plain", "mixup", "prune", "dividemix"])
def test_rows_of_no_class_teach_what_a_label_must_be_more_probable_than(strategy):
    """Strangers under the labels of two classes: some are known, and the others are doubted, but not predicted."""
    world = blobs(n=240, k=3)
    features, labels = world.features.copy(), world.labels.copy()
    strange = np.arange(200, 240)
    features[strange] = np.random.default_rng(0).normal(0, 0.3, (40, features.shape[1])) - 8
    labels[strange] = np.arange(40) % 2
    samples = Samples(features, np.ones(240, bool), CPU)
    rows, known, left = np.arange(220), np.arange(220, 240), np.arange(200, 220)
    config = replace(CONFIG, strategy=strategy, epochs=6)
    before = fit(samples, labels, rows, 3, config, seed=0)
    after = fit(samples, labels, rows, 3, config, seed=0, strangers=known)
    assert after.logits.shape == (240, 3) and after.predicted.max() < 3
    assert (before.margin[-1, left] > 0).mean() >= 0.5 > (after.margin[-1, left] > 0).mean()
    assert after.margin[-1, known].mean() < 0 < after.margin[-1, :200].mean()


def test_proxies_with_dropout_depend_on_the_seed_and_on_nothing_else():
    pixels, labels = pictures()
    samples = Samples(pixels, np.ones(len(labels), bool), CPU)
    config = replace(CONFIG, proxy="baseline_cnn", learning_rate=0.01, epochs=2, batch_size=16)
    before = torch.get_rng_state()
    first = fit(samples, labels, np.arange(len(labels)), 2, config, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(100)  # what others draw
    again = fit(samples, labels, np.arange(len(labels)), 2, config, seed=3)
    np.testing.assert_array_equal(first.loss, again.loss)
    assert (fit(samples, labels, np.arange(len(labels)), 2, config, seed=4).loss != first.loss).any()


# --- what is recorded -----------------------------------------------------------------------------------------------


def of_tensors(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """What networks' logits become on their device."""
    return tuple(value.numpy() for value in statistics(torch.from_numpy(logits), torch.from_numpy(labels)))


EITHER = pytest.mark.parametrize("statistics", [history.statistics, of_tensors])


@EITHER
def test_statistics_equal_a_plain_loop(statistics):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(40, 5)).astype(np.float32)
    labels = rng.integers(-1, 5, 40)
    logits[7] = np.nan
    loss, margin, predicted = statistics(logits, labels)
    assert (loss.dtype, margin.dtype, predicted.dtype) == (np.float16, np.float16, np.int32)
    for i, row in enumerate(logits.astype(np.float64)):
        if np.isnan(row).any():
            assert predicted[i] == -1
            assert np.isnan(loss[i]) and np.isnan(margin[i])
            continue
        assert predicted[i] == row.argmax()
        if labels[i] < 0:
            assert np.isnan(loss[i]) and np.isnan(margin[i])
            continue
        own = row[labels[i]]
        assert loss[i] == pytest.approx(np.log(np.exp(row).sum()) - own, rel=2e-3, abs=1e-3)
        assert margin[i] == pytest.approx(own - np.delete(row, labels[i]).max(), rel=2e-3, abs=1e-3)


@EITHER
def test_extreme_logits_stay_finite(statistics):
    logits = np.array([[1e30, -1e30, 0], [-1e30, 1e30, 0], [500, 500, 500], [-200, 0, 100]], dtype=np.float32)
    loss, margin, predicted = statistics(logits, np.array([0, 0, 1, 0]))
    assert np.isfinite(loss).all() and np.isfinite(margin).all()
    assert loss[0] == 0 and margin[0] > 5e4
    assert loss[1] > 5e4 and margin[1] < -5e4
    assert loss[2] == pytest.approx(np.log(3), rel=1e-3) and margin[2] == 0
    assert (loss[3], margin[3]) == (300, -300)
    assert predicted.tolist() == [0, 1, 0, 2]


def test_every_row_is_observed_and_held_out_labels_are_not_learned():
    world = blobs(200, 3, 0.1)
    train, held_out = np.arange(0, 200, 2), np.arange(1, 200, 2)
    other = world.labels.copy()
    other[held_out] = (other[held_out] + 1) % 3
    one = fit(samples_of(world), world.labels, train, 3, CONFIG, seed=3)
    two = fit(samples_of(world), other, train, 3, CONFIG, seed=3)
    assert np.isfinite(one.loss).all() and np.isfinite(one.margin).all()
    np.testing.assert_array_equal(one.logits, two.logits)  # what the proxy learned does not depend on them ...
    for seen, labels in ((one, world.labels), (two, other)):  # ... and each is judged by the label it was given
        loss, margin, predicted = of_tensors(seen.logits, labels)  # of 4 epochs only the last is averaged
        np.testing.assert_array_equal(seen.loss[-1], loss)
        np.testing.assert_array_equal(seen.margin[-1], margin)
        np.testing.assert_array_equal(seen.predicted[-1], predicted)


def test_logits_are_the_mean_of_the_last_quarter(monkeypatch):
    world = blobs(60, 2)
    recorded: list[np.ndarray] = []

    def recording(*args) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        parts = list(observe(*args))
        recorded.append(torch.cat([logits for _, logits in parts], dim=1).numpy())
        return iter(parts)

    monkeypatch.setattr(training, "observe", recording)
    seen = fit_all(world, epochs=8)
    assert len(recorded) == 8
    np.testing.assert_allclose(seen.logits, (recorded[6] + recorded[7]).mean(axis=0) / 2, rtol=1e-5)


def test_epochs_that_are_not_observed_are_recorded_as_the_next_that_is():
    world = blobs(120, 3)
    every, some = fit_all(world, epochs=8), fit_all(world, epochs=8, observe_every=2)
    observed = [1, 1, 3, 3, 5, 5, 7, 7]
    for name in ("loss", "margin", "predicted"):
        np.testing.assert_array_equal(getattr(some, name), getattr(every, name)[observed])
    loss, _, _ = of_tensors(some.logits, world.labels)  # of the last quarter, one pass
    np.testing.assert_array_equal(some.loss[-1], loss)


def test_strategies_that_choose_by_what_was_seen_see_every_epoch():
    world = blobs(120, 3)
    every, some = (fit_all(world, epochs=8, strategy="prune", observe_every=n) for n in (1, 2))
    np.testing.assert_array_equal(some.loss, every.loss)


def test_unusable_and_unlabeled_rows_leave_nan():
    world = blobs(120, 3)
    readable = np.ones(120, bool)
    readable[[4, 50]] = False
    world.features[~readable] = 0
    labels = world.labels.copy()
    labels[[9, 10]] = -1
    seen = fit(samples_of(world, readable), labels, np.flatnonzero(readable & (labels >= 0)), 3, CONFIG, seed=0)
    silent = ~readable | (labels < 0)
    for values in (seen.loss, seen.margin):
        assert np.isnan(values[:, silent]).all()
        assert np.isfinite(values[:, ~silent]).all()
    assert (seen.predicted[:, ~readable] == -1).all()
    assert (seen.predicted[:, labels < 0] >= 0).all()  # a row without a label still gets a prediction
    assert np.isnan(seen.logits[~readable]).all() and np.isfinite(seen.logits[readable]).all()
    assert np.isnan(seen.features[~readable]).all() and np.isfinite(seen.features[readable]).all()


def test_pictures_are_learned_and_observed_with_augmentation():
    pixels, labels = pictures()
    labels[5] = 1 - labels[5]
    samples = Samples(pixels, np.ones(len(pixels), bool), CPU)
    config = replace(CONFIG, proxy="cnn", batch_size=8, flip=True, shift=2, strategy="mixup", epochs=5)
    seen = fit(samples, labels, np.arange(len(pixels)), 2, config, seed=0)
    assert mean_loss(seen).argmax() == 5
    assert (seen.predicted[-1] == np.arange(len(pixels)) % 2).mean() > 0.9


def test_principal_features_have_unit_norm_and_ignore_rotations():
    world = blobs(150, 3, d=12)
    samples = samples_of(world)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]

    class Turned(Proxy):
        def __init__(self, turn: np.ndarray) -> None:
            encoder = nn.Linear(12, 12, bias=False)
            encoder.weight.data = torch.tensor(turn, dtype=torch.float32)
            super().__init__(encoder, 12, 3)

    plain, turned = (
        principal_features([learner_of(Turned(turn))], samples).astype(np.float32) for turn in (np.eye(12), rotation)
    )
    assert plain.shape == (150, 12)
    np.testing.assert_allclose(np.linalg.norm(plain, axis=1), 1, atol=2e-3)
    np.testing.assert_allclose(plain @ plain.T, turned @ turned.T, atol=5e-3)


def test_features_of_many_rows_are_those_of_few(monkeypatch):
    world = blobs(150, 3, d=12)
    samples, network = samples_of(world), learner_of(Proxy(nn.Linear(12, 40), 40, 3))
    held = principal_features([network], samples, 64)
    monkeypatch.setattr(training, "HELD_FEATURES", 0)
    np.testing.assert_array_equal(principal_features([network], samples, 64), held)


def test_features_are_at_most_32_and_rows_of_a_class_lie_together():
    world = blobs(150, 3, 0.0)
    features = fit_all(world).features.astype(np.float32)
    assert features.shape == (150, training.FEATURES)
    same = world.labels[:, None] == world.labels
    similarity = features @ features.T
    assert similarity[same].mean() > similarity[~same].mean() + 0.5


# --- batch-norm statistics ------------------------------------------------------------------------------------------


def test_recalibration_replaces_stale_statistics_by_means_over_the_data(monkeypatch):
    monkeypatch.setattr("cleanlab_lite.train.fit.RECALIBRATION_ROWS", 512)
    rng = np.random.default_rng(0)
    values = rng.normal(5, 3, size=(512, 4)).astype(np.float32)
    samples = Samples(values, np.ones(512, bool), CPU)
    norm = nn.BatchNorm1d(4)
    norm.running_mean.fill_(100)
    norm.running_var.fill_(0.01)
    weight = norm.weight.detach().clone()
    recalibrate(learner_of(norm), samples, np.arange(512))
    seen = samples.inputs(torch.arange(512)).numpy().astype(np.float64)
    np.testing.assert_allclose(norm.running_mean, seen.mean(axis=0), atol=1e-6)
    variance = [half.var(axis=0, ddof=1) for half in (seen[:256], seen[256:])]  # it goes through in batches of 256
    np.testing.assert_allclose(norm.running_var, np.mean(variance, axis=0), rtol=1e-5)
    assert norm.momentum == 0.1
    assert torch.equal(norm.weight, weight)


def test_recalibration_measures_what_is_observed():
    """Dropout widens what a norm sees in training; in a clean pass nothing is dropped."""
    values = np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32)
    samples = Samples(values, np.ones(256, bool), CPU)
    norm = nn.BatchNorm1d(4)
    recalibrate(learner_of(nn.Sequential(nn.Dropout(0.5), norm)), samples, np.arange(256))
    np.testing.assert_allclose(norm.running_var, samples.inputs(torch.arange(256)).var(0), rtol=1e-5)


def test_recalibration_separates_wrong_labels_better_in_early_epochs(monkeypatch):
    world = blobs(600, 5, 0.2, d=32, separation=4.0)
    # the weights run away from the statistics
    fast: dict[str, Any] = {"learning_rate": 1.0, "batch_size": 16}
    with_it = auroc(mean_loss(fit_all(world, **fast)), world.wrong)
    monkeypatch.setattr(training, "recalibrate", lambda *args: None)
    without = auroc(mean_loss(fit_all(world, **fast)), world.wrong)
    assert with_it > without + 0.05


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_wrong_labels_of_long_vectors_are_not_learned_by_heart(seed):
    """More numbers than rows: whatever sees all of them can fit any label."""
    world = blobs(500, 4, 0.25, d=600, separation=4.0, seed=seed)
    usual, wide = (
        auroc(mean_loss(fit_all(world, proxy=name, strategy="mixup", epochs=16)), world.wrong)
        for name in ("mlp", "wide_mlp")
    )
    assert usual > wide + 0.02


# --- the same for the same seed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES.names())
def test_a_seed_decides_everything_and_global_random_state_stays(strategy):
    world = blobs(64, 3)
    torch.manual_seed(1)
    np.random.seed(1)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=True)
    one = fit_all(world, strategy=strategy, seed=5)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state(legacy=True)[1], numpy_state[1])  # type: ignore[index]
    torch.manual_seed(2)
    again, other = fit_all(world, strategy=strategy, seed=5), fit_all(world, strategy=strategy, seed=6)
    for name in ("loss", "margin", "predicted", "logits", "features"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert not np.array_equal(one.logits, other.logits)


@pytest.mark.parametrize("strategy", STRATEGIES.names())
def test_what_a_training_held_is_let_go_when_it_is_over(strategy, monkeypatch):
    alive: weakref.WeakSet[training.Training] = weakref.WeakSet()

    class Watched(training.Training):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            alive.add(self)

    fit_all(blobs(60, 3, 0.1), strategy=strategy, epochs=2)  # torch imports more with its first optimiser of a kind
    monkeypatch.setattr(training, "Training", Watched)
    gc.disable()  # which comes by when many objects were made, not when they are large
    try:
        fit_all(blobs(60, 3, 0.1), strategy=strategy, epochs=2)
        assert not alive
    finally:
        gc.enable()


def test_the_last_epoch_does_not_depend_on_a_listener():
    world = blobs(80, 2)
    events: list[Progress] = []
    pulse = Clock(on_progress=events.append).pulse(4, "proxy")
    heard = fit(samples_of(world), world.labels, np.arange(80), 2, CONFIG, seed=0, pulse=pulse)
    assert [event.done for event in events] == [1, 2, 3, 4]
    np.testing.assert_array_equal(heard.logits, fit_all(world).logits)


def test_a_fit_goes_on_from_the_weights_of_another():
    world = blobs(80, 2)
    first = fit_all(world, seed=1)
    still = replace(CONFIG, epochs=1, learning_rate=1e-9)
    second = fit(
        samples_of(world),
        world.labels,
        np.arange(80),
        2,
        still,
        seed=2,
        start=lambda network: network.load_state_dict(first.weights),
    )
    np.testing.assert_allclose(second.margin[-1], first.margin[-1], rtol=1e-2)
    fresh = fit_all(world, seed=2, epochs=1, learning_rate=1e-9)
    assert not np.allclose(fresh.margin[-1], first.margin[-1], rtol=1e-2)


def test_a_batch_larger_than_the_data_is_one_batch():
    world = blobs(40, 2)
    np.testing.assert_array_equal(fit_all(world, batch_size=1000).loss, fit_all(world, batch_size=40).loss)


# --- wrong labels stand out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES.names())
@pytest.mark.parametrize(
    "world",
    [{"n": 250, "k": 3, "noise": 0.1}, pytest.param({"n": 400, "k": 8, "noise": 0.2}, marks=pytest.mark.slow)],
    ids=str,
)
def test_wrong_labels_have_a_low_area_under_the_margin(strategy, world):
    task = blobs(**world)
    margin = fit_all(task, strategy=strategy, epochs=5).margin.astype(np.float32).mean(axis=0)
    assert auroc(-margin, task.wrong) > 0.95


@pytest.mark.parametrize("loss", sorted(set(LOSSES.names()) - NOT_ALONE))
def test_every_loss_learns_the_right_labels_first(loss):
    task = blobs(400, 3, 0.1)
    seen = fit_all(task, loss=loss, epochs=3, learning_rate=0.05)
    assert auroc(mean_loss(seen), task.wrong) > 0.9


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_comes_to_the_same_judgement(precision):
    world = blobs(120, 3, 0.1)
    full, half = fit_all(world), fit_all(world, autocast=precision)
    assert half.logits.dtype == np.float32 and np.isfinite(half.logits).all()
    assert np.corrcoef(mean_loss(full), mean_loss(half))[0, 1] > 0.95


def test_options_behind_the_names_reach_the_loss_and_the_strategy():
    world = blobs(120, 3)
    plain, same, other = (fit_all(world, loss=loss).logits for loss in ("gce", "gce:q=0.7", "gce:q=0.3"))
    np.testing.assert_array_equal(plain, same)
    assert not np.allclose(plain, other)
    never = fit_all(world, strategy="mixup:warmup=1").logits  # a warm-up of all epochs
    np.testing.assert_allclose(never, fit_all(world, strategy="mixup:warmup=1,alpha=9").logits)
    assert not np.allclose(never, fit_all(world, strategy="mixup").logits)


# --- hooks of losses ------------------------------------------------------------------------------------------------


@pytest.fixture
def watched_loss() -> Iterator[list[tuple[str, int]]]:
    """A loss called "watched" that notes its hook and which rows it is asked about."""
    calls: list[tuple[str, int]] = []

    class Watched:
        def start_epoch(self, epoch: int) -> None:
            calls.append(("epoch", epoch))

        def __call__(self, logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
            calls.extend(("row", int(row)) for row in index)
            return nn.functional.cross_entropy(logits, targets, reduction="none")

    with LOSSES.temporarily():
        LOSSES.register("watched")(lambda num_samples, num_classes: Watched())
        yield calls


def test_a_loss_is_told_of_each_epoch_and_which_rows_it_sees(watched_loss):
    world = blobs(64, 2)
    rows = np.arange(0, 64, 2)
    fit(samples_of(world), world.labels, rows, 2, replace(CONFIG, loss="watched", epochs=3, batch_size=8), seed=0)
    starts = [i for i, (kind, _) in enumerate(watched_loss) if kind == "epoch"]
    assert [watched_loss[i] for i in starts] == [("epoch", 0), ("epoch", 1), ("epoch", 2)]
    for start, end in zip(starts, [*starts[1:], len(watched_loss)], strict=True):
        assert sorted(row for _, row in watched_loss[start + 1 : end]) == rows.tolist()  # rows of the data, each once


def test_a_loss_with_memory_remembers_the_rows_it_learned():
    world = blobs(400, 3, 0.1)
    elr = LOSSES.get("elr").function(400, 3)
    held_out = np.arange(400) % 4 == 0
    rows = np.flatnonzero(~held_out)
    config = replace(CONFIG, loss="remembered", batch_size=30, epochs=6, learning_rate=0.05)
    with LOSSES.temporarily():
        LOSSES.register("remembered")(lambda num_samples, num_classes: elr)
        fit(samples_of(world), world.labels, rows, 3, config, seed=0)
    memory = elr.memory.numpy()
    assert (memory[held_out] == 0).all()
    np.testing.assert_allclose(memory[rows].sum(axis=1), 1 - 0.7**6, atol=1e-3)
    wrong = rows[world.wrong[rows]]
    assert (memory[wrong].argmax(axis=1) == world.truth[wrong]).mean() > 0.6  # what early learning said

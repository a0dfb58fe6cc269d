"""On a GPU: the same judgement as on the CPU, in every precision, and a full device is no end. Skipped without one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_ensemble import KEY, inputs_of
from worlds import auroc, blobs

from cleanlab_lite.clock import Clock
from cleanlab_lite.copies.reframed import best_frame, samplings
from cleanlab_lite.run import Run
from cleanlab_lite.train import fit as training
from cleanlab_lite.train import graphs, jobs
from cleanlab_lite.train.augment import random_flip, random_shift
from cleanlab_lite.train.encode import features, get_ready
from cleanlab_lite.train.fit import Observation, Teaching, fit
from cleanlab_lite.train.loader import Samples
from cleanlab_lite.train.losses import LOSSES
from cleanlab_lite.train.models.encoders import LITE, describe_encoder, load_encoder
from cleanlab_lite.train.products import running_on
from cleanlab_lite.train.strategies import STRATEGIES
from cleanlab_lite.train.task import Task

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

CONFIG = Teaching(
    proxy="mlp",
    weights="",
    loss="ce",
    strategy="plain",
    epochs=3,
    batch_size=32,
    learning_rate=0.05,
    weight_decay=5e-4,
    flip=False,
    shift=0,
    autocast=None,
)


def fit_world(device: str, **changes) -> tuple[Observation, np.ndarray]:
    world = blobs(400, 3, 0.1)
    samples = Samples(world.features, np.ones(400, bool), torch.device(device))
    seen = fit(samples, world.labels, np.arange(400), 3, replace(CONFIG, **changes), seed=0)
    return seen, world.wrong


def fit_pictures(device: str, *, device_limit: float = 2**30, **changes) -> tuple[Observation, np.ndarray]:
    """Two classes, bright above and bright below, 32 px; one row in eight of each carries the other label."""
    rng = np.random.default_rng(0)
    truth = np.arange(256) % 2
    pixels = rng.integers(0, 60, (256, 3, 32, 32))
    pixels[truth == 0, :, :16] += 150
    pixels[truth == 1, :, 16:] += 150
    wrong = np.arange(256) // 2 % 8 == 3
    samples = Samples(pixels.astype(np.uint8), np.ones(256, bool), torch.device(device), device_limit=device_limit)
    labels = np.where(wrong, 1 - truth, truth)
    config = replace(CONFIG, proxy="cnn", batch_size=32, learning_rate=0.01, flip=True, shift=2, **changes)
    return fit(samples, labels, np.arange(256), 2, config, seed=0), wrong


def mean_margin(seen: Observation) -> np.ndarray:
    return seen.margin.astype(np.float32).mean(axis=0)


def test_single_precision_agrees_with_the_cpu():
    (cpu, _), (gpu, _) = fit_world("cpu"), fit_world("cuda")  # the order of the rows is drawn on the device
    assert np.corrcoef(mean_margin(cpu), mean_margin(gpu))[0, 1] > 0.85
    assert (cpu.predicted[-1] == gpu.predicted[-1]).mean() > 0.95


def test_the_same_seed_gives_the_same_bits():
    with jobs.training_settings("cuda"):
        first, second = (fit_pictures("cuda", autocast=torch.bfloat16, epochs=6)[0] for _ in range(2))
    np.testing.assert_array_equal(first.logits, second.logits)
    np.testing.assert_array_equal(first.loss, second.loss)


@pytest.mark.parametrize("precision", [None, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("strategy", STRATEGIES.names())
def test_pictures_in_every_precision_rank_wrong_labels_low(precision, strategy):
    seen, wrong = fit_pictures("cuda", autocast=precision, strategy=strategy, epochs=10)
    assert np.isfinite(seen.logits).all() and np.isfinite(seen.loss).all()
    assert auroc(-mean_margin(seen), wrong) > 0.9


def test_pictures_that_stay_on_the_host_are_judged_alike():
    (near, _), (far, _) = fit_pictures("cuda"), fit_pictures("cuda", device_limit=0)
    assert np.corrcoef(mean_margin(near), mean_margin(far))[0, 1] > 0.99


@pytest.mark.parametrize("loss", sorted(set(LOSSES.names()) - {"group_label_smoothing", "truncated_gce"}))
def test_every_loss_runs_on_the_device(loss):
    seen, wrong = fit_world("cuda", loss=loss)
    assert auroc(-mean_margin(seen), wrong) > 0.9


def test_random_state_of_the_device_stays():
    torch.cuda.manual_seed(1)
    before = torch.cuda.get_rng_state()
    fit_world("cuda")
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_augmentation_is_that_of_the_cpu():
    pictures = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for move in (random_flip, lambda x, generator: random_shift(x, 3, generator)):
        here = move(pictures, torch.Generator().manual_seed(1))
        there = move(pictures.cuda(), torch.Generator().manual_seed(1))
        assert torch.equal(here, there.cpu())


def test_a_device_that_runs_full_gets_smaller_batches(monkeypatch, tmp_path):
    original, sizes = jobs.fit, []

    def hungry(samples, targets, rows, num_classes, teaching, **options):
        sizes.append(teaching.batch_size)
        if teaching.batch_size > 16:
            torch.empty(2**50, dtype=torch.uint8, device="cuda")  # more than any device has
        return original(samples, targets, rows, num_classes, teaching, **options)

    monkeypatch.setattr(jobs, "fit", hungry)
    world = blobs(120, 3, 0.1)
    teaching = replace(CONFIG, batch_size=64, epochs=1)
    bench = jobs.Bench(Task.of(world.labels, 3, inputs_of(world)), "cuda", 2**30)
    job = jobs.Job("proxy", "pixels", np.arange(120), world.labels, teaching, seed=0, note="proxy")
    with Run.start(tmp_path / "run", "world", KEY) as run:
        (seen,) = jobs.run_jobs([job], bench, run, Clock())
        assert (sizes, run.facts("proxy")["batch_size"]) == ([64, 32, 16], 16)
    assert np.isfinite(seen.loss).all()


@pytest.mark.parametrize("strategy", ["plain", "mixup", "prune"])
@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=str)
def test_recorded_steps_learn_what_plain_ones_learn(strategy, precision, monkeypatch):
    recorded, record = [], graphs.cuda_graph

    def counting(step):
        recorded.append(step)
        return record(step)

    monkeypatch.setattr(training, "Replay", lambda: graphs.Replay(counting))
    replayed, _ = fit_pictures("cuda", autocast=precision, strategy=strategy, epochs=8)
    assert recorded
    monkeypatch.setattr(training, "Replay", lambda: None)
    plain, _ = fit_pictures("cuda", autocast=precision, strategy=strategy, epochs=8)
    assert np.corrcoef(mean_margin(replayed), mean_margin(plain))[0, 1] > 0.99
    assert np.abs(replayed.loss[0].astype(np.float32) - plain.loss[0]).max() < 0.1  # before small differences grow


def test_a_step_that_asks_the_device_is_not_recorded():
    replay, seen = graphs.Replay(), []

    def step(x: torch.Tensor) -> None:
        seen.append(float(x.sum()))

    for number in range(8):
        replay(step, torch.full((3,), float(number), device="cuda"))
    assert seen == [3.0 * number for number in range(8)]
    assert torch.ones(3, device="cuda").sum() == 3  # the device goes on


def test_a_device_that_got_ready_shows_the_same():
    cuda, shape = torch.device("cuda"), (3, 32, 32)
    pictures = np.random.default_rng(0).integers(0, 256, (5, *shape)).astype(np.uint8)
    encoder = load_encoder(describe_encoder(LITE, 0), "")
    get_ready(encoder, shape, cuda, torch.bfloat16)
    shown = features(encoder, pictures, cuda, torch.bfloat16)
    again = features(load_encoder(describe_encoder(LITE, 0), "").to(cuda), pictures, cuda, torch.bfloat16)
    np.testing.assert_array_equal(shown, again)


def test_pictures_laid_over_each_other_there_are_those_of_the_host():
    rng = np.random.default_rng(0)
    whole, other = (rng.integers(0, 256, (n, 256)).astype(np.float32) for n in (30, 200))
    arrays = whole, rng.integers(0, 30, 200), other, samplings()
    here, there = best_frame(*arrays, np), running_on("cuda")(best_frame, *arrays)
    np.testing.assert_allclose(there[0], here[0], atol=1e-4)
    assert (there[1] == here[1]).mean() > 0.99

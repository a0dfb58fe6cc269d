"""Training observes: one loop for every method, and one place where history is written.

Letters: n samples, k classes, d features, b batch, e epochs, m proxies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cleanlab_lite.data.augment import blur_vectors, distort, mask_bands, random_flip, random_roll, random_shift
from cleanlab_lite.data.loader import Samples
from cleanlab_lite.history import statistics
from cleanlab_lite.losses import LOSSES
from cleanlab_lite.models import Proxy, build_proxy
from cleanlab_lite.strategies import STRATEGIES, Learner, Observed, Setting, Wrap

RECALIBRATION_ROWS = 1024  # enough for stable batch-norm statistics, few enough to be cheap
LATE_SHARE = 0.25  # logits are averaged over the last quarter of the epochs
FEATURES = 32  # dimensions kept of the penultimate layer: principal components


@dataclass(frozen=True)
class TrainConfig:
    """Resolved options of one fit; nothing is "auto" here."""

    proxy: str
    weights: str
    loss: str  # with its options, as `Registry.parse` reads them
    strategy: str
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    flip: bool  # mirror pictures: wrong for letters and digits
    shift: int  # pixels, or frames of a spectrogram
    autocast: torch.dtype | None
    l1: float = 0.0  # penalty on the weights


@dataclass(frozen=True)
class Fit:
    """What was seen while one proxy learned. All n rows are observed, trained on or not."""

    loss: np.ndarray  # (e, n) float16, cross entropy of the label, nats
    margin: np.ndarray  # (e, n) float16, logit margin of the label
    predicted: np.ndarray  # (e, n) int32
    logits: np.ndarray  # (n, k) float32, mean over the last quarter of the epochs
    features: np.ndarray  # (n, FEATURES or fewer) float16, after the last epoch
    weights: dict[str, Tensor]  # of the first network, its buffers too


def fit(
    samples: Samples,
    targets: np.ndarray,
    rows: np.ndarray,
    num_classes: int,
    config: TrainConfig,
    *,
    seed: int,
    start: Callable[[Proxy], object] | None = None,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> Fit:
    """Train one proxy on `rows` and observe every usable row after each epoch.

    Args:
        targets: (n,) int64, label of each row for training and observing; -1 where there is none.
        rows: (r,) int64 rows to learn from.
        seed: of the initialisation, the order of the batches and the augmentation.
        start: given every fresh network, to fill it with what was learned before; the schedule begins anew.
        on_epoch: called after each observed epoch; may raise to stop.
    """
    device = samples.device
    generator = torch.Generator().manual_seed(seed)
    labels = torch.as_tensor(targets, device=device)
    batch_size = min(config.batch_size, len(rows))
    steps = config.epochs * max(1, len(rows) // batch_size)
    seeds = iter(range(seed, seed + 500))

    def new_learner(wrap: Wrap | None = None) -> Learner:
        examples = samples.inputs(torch.as_tensor(rows[:: max(1, len(rows) // 2000)], device=device))
        network = build_proxy(config.proxy, examples, num_classes, seed=next(seeds), weights=config.weights)
        if start is not None:
            start(network)
        return Learner(
            wrap(network).to(device) if wrap else network,
            steps=steps,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            l1=config.l1,
            autocast=config.autocast,
        )

    def augment(inputs: Tensor) -> Tensor:
        if samples.is_sound:
            return random_roll(inputs, config.shift, generator)
        if not samples.is_image:
            return inputs
        if config.flip:
            inputs = random_flip(inputs, generator)
        return random_shift(inputs, config.shift, generator) if config.shift else inputs

    def augment_strongly(inputs: Tensor) -> Tensor:
        if samples.is_sound:
            return mask_bands(augment(inputs), generator)
        return distort(augment(inputs), generator) if samples.is_image else blur_vectors(inputs, generator)

    build_loss, loss_options = LOSSES.parse(config.loss)
    build_strategy, strategy_options = STRATEGIES.parse(config.strategy)
    setting = Setting(
        samples=samples,
        rows=rows,
        targets=labels,
        num_classes=num_classes,
        loss=build_loss.function(len(samples), num_classes, **loss_options),
        epochs=config.epochs,
        batch_size=batch_size,
        generator=generator,
        augment=augment,
        augment_strongly=augment_strongly,
        new_learner=new_learner,
    )
    strategy = build_strategy.function(setting, **strategy_options)

    n = len(samples)
    loss = np.full((config.epochs, n), np.nan, dtype=np.float16)
    margin = np.full((config.epochs, n), np.nan, dtype=np.float16)
    predicted = np.full((config.epochs, n), -1, dtype=np.int32)
    late = np.zeros((n, num_classes), dtype=np.float32)
    late_epochs = max(1, round(LATE_SHARE * config.epochs))
    logits: np.ndarray | None = None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # dropout draws from the global generator
        for epoch in range(config.epochs):
            for learner in strategy.learners:
                learner.network.train()
            if hasattr(setting.loss, "start_epoch"):
                setting.loss.start_epoch(epoch)
            for batch in strategy.batches(epoch, Observed(loss[:epoch], margin[:epoch], predicted[:epoch], logits)):
                strategy.step(epoch, batch)
            logits = observe(strategy.learners, samples, rows)
            mean = logits.mean(axis=0)
            loss[epoch], margin[epoch], predicted[epoch] = statistics(mean, targets)
            if epoch >= config.epochs - late_epochs:
                late += mean / late_epochs
            on_epoch(epoch)
    features = principal_features(strategy.learners, samples)
    return Fit(loss, margin, predicted, late, features, strategy.learners[0].network.state_dict())


@torch.no_grad()
def observe(learners: list[Learner], samples: Samples, rows: np.ndarray) -> np.ndarray:
    """(networks, n, k) float32 logits from a clean, unaugmented pass over all usable rows; NaN rows are unusable.

    Batch-norm statistics are recalibrated first: in a short training they lag behind the weights, and a mean over
    epochs would inherit the garbage.
    """
    usable = np.flatnonzero(samples.usable)
    passes = []
    for learner in learners:
        recalibrate(learner, samples, rows)
        learner.network.eval()
        logits = samples.averaged(usable, observing_batch(samples.device), learner.logits).cpu().numpy()
        everywhere = np.full((len(samples), logits.shape[1]), np.nan, dtype=np.float32)
        everywhere[usable] = logits
        passes.append(everywhere)
    return np.stack(passes)


def observing_batch(device: torch.device) -> int:
    """Small enough for the caches of a CPU, large enough to fill a GPU."""
    return 256 if device.type == "cpu" else 4096


@torch.no_grad()
def recalibrate(learner: Learner, samples: Samples, rows: np.ndarray) -> None:
    """Replace the running statistics of every batch norm by plain means over some unaugmented training rows."""
    norms = [layer for layer in learner.network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
    learner.network.train()
    for index in samples.batches(rows[:: max(1, len(rows) // RECALIBRATION_ROWS)][:RECALIBRATION_ROWS], 256):
        if len(index) > 1:
            learner.logits(samples.inputs(index))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


@torch.no_grad()
def principal_features(learners: list[Learner], samples: Samples) -> np.ndarray:
    """(n, d) float16 leading principal components of the first network's penultimate layer, each row of norm 1."""
    network: Any = learners[0].network  # anything with an `encoder`
    network.eval()
    usable = np.flatnonzero(samples.usable)
    raw = samples.averaged(usable, observing_batch(samples.device), lambda x: network.encoder(x).float())
    raw = raw - raw.mean(0)
    _, vectors = torch.linalg.eigh((raw.T @ raw).cpu().double())  # not every device has float64
    projected = raw @ vectors[:, -FEATURES:].to(raw)
    result = np.full((len(samples), projected.shape[1]), np.nan, dtype=np.float16)
    result[usable] = torch.nn.functional.normalize(projected).cpu().numpy()
    return result

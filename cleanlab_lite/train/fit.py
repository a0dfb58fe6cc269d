"""Training observes: one loop for every method, and one place where history is written.

Letters: n samples, k classes, d features, b batch, e epochs, m proxies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cleanlab_lite.clock import Clock, Pulse
from cleanlab_lite.errors import StoppedEarly
from cleanlab_lite.evidence.history import LARGEST
from cleanlab_lite.train.augment import blur_vectors, distort, mask_bands, random_flip, random_roll, random_shift
from cleanlab_lite.train.checkpoint import Checkpoint, CheckpointKeeper, GeneratorStates, Snapshot
from cleanlab_lite.train.graphs import Replay
from cleanlab_lite.train.loader import Batch, Samples
from cleanlab_lite.train.losses import LOSSES, LossFunction
from cleanlab_lite.train.models import PROXIES, Pixels, Proxy, build_proxy
from cleanlab_lite.train.observation import Curves, Observation
from cleanlab_lite.train.state import restore
from cleanlab_lite.train.strategies import STRATEGIES, Learner, Observed, Setting, Strategy, Wrap

RECALIBRATION_ROWS = 256  # enough for batch-norm statistics: 1,024 changed no F1 by more than .005, for 5 % more time
RECALIBRATION_GPU = 1024  # as many as a pass over large pictures sees at a time: another number would be planned anew
OBSERVED = 256  # rows of a clean pass at a time, on a CPU
OBSERVED_GPU = {True: 4096, False: 65_536}  # pictures, and vectors, of which launches take longer than the sums
MANY_EPOCHS = 8  # of fewer, every one is observed
LATE_SHARE = 0.25  # logits are averaged over the last quarter of the epochs
OWN = "cleanlab_lite."  # module names begin so
FEATURES = 32  # dimensions kept of the penultimate layer: principal components
HELD_FEATURES = 1 << 27  # numbers of that layer that are held for it, 512 MiB

Start = Callable[[Proxy], object]  # fills a fresh network, in place, with what was learned before


@dataclass(frozen=True)
class Teaching:
    """How one proxy is taught; nothing is "auto" here."""

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
    enlarged: int = 0  # pixels that a pretrained network sees smaller inputs at; 0: what it is used to
    observe_every: int = 1  # epochs, of `MANY_EPOCHS` or more, the last one included

    @property
    def every(self) -> int:
        """Epochs from one clean pass to the next; what is skipped is recorded as the next that is not."""
        return self.observe_every if self.epochs >= MANY_EPOCHS else 1


def fit(
    samples: Samples,
    targets: np.ndarray,
    rows: np.ndarray,
    num_classes: int,
    teaching: Teaching,
    *,
    seed: int,
    start: Start | None = None,
    weight: np.ndarray | None = None,
    strangers: np.ndarray | None = None,
    pulse: Pulse | None = None,
    curves: Curves | None = None,
    keeper: CheckpointKeeper | None = None,
    point: Checkpoint | None = None,
) -> Observation:
    """Train one proxy on `rows` and observe every readable row after each epoch.

    Args:
        targets: (n,) int64, label of each row for training and observing; -1 where there is none.
        rows: (r,) int64 rows to learn from.
        seed: of the initialisation, the order of the batches and the augmentation.
        start: given every fresh network; the schedule begins anew.
        weight: (n,) float, of each row's loss, at least 0; only their ratios count. By default all weigh the same.
        strangers: (s,) int64 rows of no class, none of `rows`. They teach a class of their own, which none is predicted
            to be of, but which a label must be more probable than. That class is there even if they are none.
        pulse: hears of every step and epoch, and may stop the training.
        curves: where the epochs are recorded; in memory by default.
        keeper: keeps checkpoints; `point` is the one to go on from, whose epochs `curves` holds.

    Raises:
        StoppedEarly: by `pulse`; a checkpoint is left where there is a keeper.
    """
    training = Training(samples, targets, rows, num_classes, teaching, seed, start, curves, weight, strangers)
    pulse = pulse or Clock().pulse(teaching.epochs, "training")
    with torch.random.fork_rng(devices=[samples.device] if samples.device.type == "cuda" else []):
        torch.manual_seed(seed)  # dropout draws from the global generator
        for epoch in range(point.epoch if point else 0, teaching.epochs):
            pulse.epoch = epoch
            save = training.learn(epoch, pulse, keeper, point if point and point.epoch == epoch else None)
            training.look(epoch, pulse, save)
            pulse.end_epoch(epoch)
    return training.observation()


class Training:
    """The training of one proxy: what `fit` was told, and all that changes on the way."""

    def __init__(
        self,
        samples: Samples,
        targets: np.ndarray,
        rows: np.ndarray,
        num_classes: int,
        teaching: Teaching,
        seed: int,
        start: Start | None,
        curves: Curves | None = None,
        weight: np.ndarray | None = None,
        strangers: np.ndarray | None = None,
    ) -> None:
        self.samples, self.rows, self.teaching, self.seed = samples, rows, teaching, seed
        self.num_classes = num_classes  # without that of strangers
        self.shown = torch.as_tensor(targets, device=samples.device)
        if strangers is not None:
            targets, rows = targets.copy(), np.concatenate([rows, strangers])
            targets[strangers] = num_classes
            num_classes += 1
        build_loss, loss_options = LOSSES.parse(teaching.loss)
        build_strategy, strategy_options = STRATEGIES.parse(teaching.strategy)
        batch_size = min(teaching.batch_size, len(rows))
        host = samples.device.type != "cuda"  # where drawing numbers must not make the device wait
        generator = torch.Generator("cpu" if host else samples.device).manual_seed(seed)
        augmenting = Augmenting(samples, teaching, generator)
        loss = build_loss.function(len(samples), num_classes, **loss_options)
        self.recordable = not host and is_ours(teaching) and not remembers(loss)
        self.setting = Setting(
            samples=samples,
            rows=rows,
            targets=torch.as_tensor(targets, device=samples.device),
            num_classes=num_classes,
            loss=loss if weight is None else Weighted(loss, weight, rows, samples.device),
            epochs=teaching.epochs,
            batch_size=batch_size,
            generator=augmenting.generator,
            augment=augmenting.weakly,
            augment_strongly=augmenting.strongly,
            new_learner=self._new_learner(num_classes, teaching.epochs * max(1, len(rows) // batch_size), start),
        )
        self.strategy = build_strategy.function(self.setting, **strategy_options)
        n = len(samples)
        self.readable = torch.as_tensor(np.flatnonzero(samples.readable), device=samples.device)
        self.curves = curves or Curves.empty(teaching.epochs, n, self.num_classes)
        self.late = torch.zeros((n, num_classes), device=samples.device)
        self.added = 0  # rows of a pass that was stopped whose logits are in that sum already
        self.late_epochs = max(1, round(LATE_SHARE * teaching.epochs))
        blind = type(self.strategy).batches is Strategy.batches  # others choose rows by what was seen last
        self.every = teaching.every if blind else 1
        self.at_once = observing_batch(samples, teaching)
        self.logits: np.ndarray | None = None  # (networks, n, k) of the last pass, for strategies that read them

    def _new_learner(self, num_classes: int, steps: int, start: Start | None) -> Callable[..., Learner]:
        seeds = iter(range(self.seed, self.seed + 500))
        # not `self`, which holds what is made here: in a circle, n x k logits would stay until the collector comes by
        samples, teaching, rows, recordable = self.samples, self.teaching, self.rows, self.recordable

        def new_learner(wrap: Wrap | None = None) -> Learner:
            device = samples.device
            examples = samples.inputs(torch.as_tensor(rows[:: max(1, len(rows) // 2000)], device=device))
            pixels = Pixels(*samples.statistics, teaching.enlarged)
            network = build_proxy(
                teaching.proxy, examples, num_classes, seed=next(seeds), weights=teaching.weights, pixels=pixels
            )
            if start is not None:
                start(network)
            return Learner(
                wrap(network).to(device) if wrap else network,
                steps=steps,
                learning_rate=teaching.learning_rate,
                weight_decay=teaching.weight_decay,
                l1=teaching.l1,
                autocast=teaching.autocast,
                encoder_rate=PROXIES.get(teaching.proxy).facts.encoder_rate,
                replay=Replay() if recordable else None,
            )

        return new_learner

    def learn(
        self, epoch: int, pulse: Pulse, keeper: CheckpointKeeper | None, point: Checkpoint | None
    ) -> Callable[[], None]:
        """The steps of one epoch, those before `point` left out; and what saves the state behind the last of them.

        Raises StoppedEarly when its time is up; the state is saved then.
        """
        if point:
            self.restore(point.begun)
            self.late = self.late if point.late is None else point.late.to(self.samples.device)
            self.added = point.added
        begun = point.begun if point else self.snapshot() if keeper else None
        for learner in self.strategy.learners:
            learner.network.train()
        if hasattr(self.setting.loss, "start_epoch"):
            self.setting.loss.start_epoch(epoch)
        batches, drawn = self.batches(epoch), GeneratorStates()
        if point:
            drawn = self.draw_again(batches, point)

        facts = facts_of(self.rows, self.teaching, self.seed)

        def save(now: Snapshot | None) -> None:
            if keeper and begun and now:
                late = self.late.cpu() if epoch >= self.teaching.epochs - self.late_epochs else None
                self.curves.flush()
                keeper.save(Checkpoint(epoch, len(drawn), begun, now, drawn.tensor(), late, self.added, facts))

        while True:
            if keeper and keeper.due:
                save(self.snapshot() if drawn else begun)
            state = self.setting.generator.get_state()
            batch = next(batches, None)
            if batch is None:  # a clean pass moves batch norms: what is saved then is the state before
                return partial(save, self.snapshot() if keeper else None)
            self.strategy.step(epoch, batch)
            drawn.append(state)
            try:
                pulse.step()
            except StoppedEarly:
                save(self.snapshot() if keeper else None)
                raise

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Those of one epoch, drawn one by one."""
        seen = self.curves
        observed = Observed(seen.loss[:epoch], seen.margin[:epoch], seen.predicted[:epoch], self.logits)
        return iter(self.strategy.batches(epoch, observed))

    def draw_again(self, batches: Iterator[Batch], point: Checkpoint) -> GeneratorStates:
        """Leave out the batches that were learned, and go on from there; the states that each was drawn with."""
        drawn = GeneratorStates()
        for state in point.generator:
            self.setting.generator.set_state(state.clone())  # with its own memory, or torch reads another
            next(batches)
            drawn.append(state)
        if len(drawn):
            self.restore(point.now)
        return drawn

    def look(self, epoch: int, pulse: Pulse, save: Callable[[], None]) -> None:
        """Observe every readable row after an epoch. Raises StoppedEarly when its time is up, and calls `save` then."""
        if not self.looks_after(epoch):
            return
        learners, n, k = self.strategy.learners, len(self.samples), self.setting.num_classes
        done, many, device = 0, len(self.readable), self.samples.device
        # room for all from the start: small pieces would lie between the logits of batches, and take their place
        seen = [torch.empty(many, dtype=kind, device=device) for kind in (torch.half, torch.half, torch.int)]
        logits = np.full((len(learners), n, k), np.nan, np.float32) if self.strategy.reads_logits else None
        try:
            for rows, values in observe(learners, self.samples, self.rows, pulse.look, self.at_once):
                part = slice(done, done + len(rows))
                index, mean, done = self.readable[part], values.mean(dim=0), part.stop
                for whole, found in zip(seen, statistics(mean, self.shown[index], self.num_classes), strict=True):
                    whole[part] = found
                if epoch >= self.teaching.epochs - self.late_epochs and done > self.added:
                    new = max(len(rows) - (done - self.added), 0)  # the first of them, where a pass goes on
                    self.late[index[new:]] += mean[new:] / self.late_looks
                    self.added = done
                if logits is not None:
                    logits[:, rows] = values.cpu().numpy()
        except StoppedEarly:
            save()
            raise
        loss, margin, predicted = (whole.cpu().numpy() for whole in seen)
        curves, readable = self.curves, self.samples.readable
        for unseen in range(max(epoch - self.every + 1, 0), epoch + 1):
            curves.loss[unseen] = curves.margin[unseen] = np.nan
            curves.predicted[unseen] = -1
            curves.loss[unseen, readable], curves.margin[unseen, readable] = loss, margin
            curves.predicted[unseen, readable] = predicted
        self.added = 0
        self.logits = logits

    def looks_after(self, epoch: int) -> bool:
        """Whether there is a clean pass after it."""
        return (self.teaching.epochs - 1 - epoch) % self.every == 0

    @property
    def late_looks(self) -> int:
        """Clean passes whose logits are averaged."""
        first = self.teaching.epochs - self.late_epochs
        return sum(map(self.looks_after, range(first, self.teaching.epochs)))

    def observation(self) -> Observation:
        """After the last epoch."""
        seen, learners = self.curves, self.strategy.learners
        features = principal_features(learners, self.samples, self.at_once)
        late = self.late[:, : self.num_classes].cpu().numpy()
        late[~self.samples.readable] = np.nan
        return Observation(seen.loss, seen.margin, seen.predicted, late, features, learners[0].network.state_dict())

    def snapshot(self) -> Snapshot:
        """All that changes on the way, but for the curves and the sum of late logits."""
        return Snapshot.of(self._changing(), constant=(self.samples, self.setting, self.setting.targets))

    def restore(self, snapshot: Snapshot) -> None:
        """The objects as they were at an earlier moment."""
        changing = restore(snapshot.tree, snapshot.tensors, self._changing())
        self.logits = changing["logits"]
        torch.set_rng_state(changing["random"])
        if changing["random_cuda"] is not None:
            torch.cuda.set_rng_state(changing["random_cuda"].cpu(), self.samples.device)

    def _changing(self) -> dict[str, Any]:
        cuda = self.samples.device.type == "cuda"
        return {
            "strategy": self.strategy,
            "loss": self.setting.loss,
            "generator": self.setting.generator,
            "logits": self.logits,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.samples.device) if cuda else None,
        }


def is_ours(teaching: Teaching) -> bool:
    """Whether the proxy, the loss and the strategy are, not what a user has registered."""
    methods = (PROXIES.get(teaching.proxy), LOSSES.parse(teaching.loss)[0], STRATEGIES.parse(teaching.strategy)[0])
    return all((method.function.__module__ or "").startswith(OWN) for method in methods)  # None of what `exec` defines


class Weighted:
    """A loss (see `losses.base`) times the weight of each row, which is 1 in the mean over `rows`."""

    def __init__(self, loss: LossFunction, weight: np.ndarray, rows: np.ndarray, device: torch.device) -> None:
        self.loss = loss
        self.weight = torch.as_tensor(weight / weight[rows].mean(), dtype=torch.float32, device=device)
        if hasattr(loss, "start_epoch"):
            self.start_epoch = loss.start_epoch

    def __call__(self, logits: Tensor, targets: Tensor, index: Tensor) -> Tensor:
        return self.weight[index] * self.loss(logits, targets, index)


def remembers(loss: LossFunction) -> bool:
    """Whether it changes from epoch to epoch, or from step to step."""
    return hasattr(loss, "start_epoch") or hasattr(loss, "state_dict")


def facts_of(rows: np.ndarray, teaching: Teaching, seed: int) -> dict[str, Any]:
    """What must be the same for a training to go on from a checkpoint, JSON types."""
    named = ("epochs", "batch_size", "proxy", "loss", "strategy")
    return {"rows": len(rows), "seed": seed} | {name: getattr(teaching, name) for name in named}


@dataclass(frozen=True)
class Augmenting:
    """How batches are augmented, by what they hold."""

    samples: Samples
    teaching: Teaching
    generator: torch.Generator

    def weakly(self, inputs: Tensor) -> Tensor:
        shift = self.teaching.shift
        if self.samples.is_sound:
            return random_roll(inputs, shift, self.generator)
        if not self.samples.is_image:
            return inputs
        if self.teaching.flip:
            inputs = random_flip(inputs, self.generator)
        return random_shift(inputs, shift, self.generator) if shift else inputs

    def strongly(self, inputs: Tensor) -> Tensor:
        if self.samples.is_sound:
            return mask_bands(self.weakly(inputs), self.generator)
        if self.samples.is_image:
            return distort(self.weakly(inputs), self.generator)
        return blur_vectors(inputs, self.generator)


@torch.no_grad()
def observe(
    learners: list[Learner],
    samples: Samples,
    rows: np.ndarray,
    look: Callable[[], None] = lambda: None,
    size: int = OBSERVED,
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """A clean, unaugmented pass over all readable rows: (b,) some of them, and their (networks, b, k) float32 logits.

    Batch-norm statistics are recalibrated first, on some of `rows`: in a short training they lag behind the weights,
    and a mean over epochs would inherit the garbage. `look` is called on the way and may raise to stop.
    """
    for learner in learners:
        recalibrate(learner, samples, rows, size)
        learner.network.eval()

    def compute(inputs: Tensor) -> Tensor:
        look()
        return torch.stack([learner.logits(inputs) for learner in learners])

    readable = np.flatnonzero(samples.readable)
    for part, logits in samples.passes(readable, size, compute):
        yield readable[part], logits


def statistics(logits: Tensor, labels: Tensor, num_classes: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """`evidence.history.statistics` on a device: loss, margin and prediction of (b, k) logits for (b,) labels.

    Of the logits only the first `num_classes` are of classes that are predicted.

    float16, float16 and int32. Loss and margin are NaN where the label is -1 or logits are NaN; then the prediction
    is -1.
    """
    finite = logits[:, 0].isfinite()
    predicted = logits[:, :num_classes].argmax(dim=1).where(finite, -1)
    label = labels.clamp(min=0)[:, None]
    given = logits.gather(1, label)[:, 0]
    loss = logits.logsumexp(dim=1) - given
    margin = given - logits.scatter(1, label, -torch.inf).amax(dim=1)
    bounded = torch.stack([loss.clamp(0, LARGEST), margin.clamp(-LARGEST, LARGEST)])
    bounded = bounded.masked_fill((labels < 0) | ~finite, torch.nan).half()
    return bounded[0], bounded[1], predicted.int()


def observing_batch(samples: Samples, teaching: Teaching) -> int:
    """Rows of a clean pass at a time: for the caches of a CPU, or to fill a GPU; fewer of pictures above 64 pixels."""
    most = OBSERVED if samples.device.type == "cpu" else OBSERVED_GPU[samples.is_image]
    return max(most // max(1, side_of(samples, teaching) // 64) ** 2, 16)


def side_of(samples: Samples, teaching: Teaching) -> int:
    """Pixels of the pictures or patches that a network sees; 0 of vectors."""
    return max(samples.sample_shape[-1], teaching.enlarged) if samples.is_image else 0


@torch.no_grad()
def recalibrate(learner: Learner, samples: Samples, rows: np.ndarray, size: int = OBSERVED) -> None:
    """Replace the running statistics of every batch norm by plain means over some unaugmented training rows."""
    norms = [layer for layer in learner.network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
    learner.network.eval()  # without dropout, as the network is observed
    for layer in norms:
        layer.train()
    count = RECALIBRATION_ROWS if samples.device.type == "cpu" else RECALIBRATION_GPU
    for index in samples.batches(rows[:: max(1, len(rows) // count)][:count], min(size, count)):
        if len(index) > 1:
            learner.logits(samples.inputs(index))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


@torch.no_grad()
def principal_features(learners: list[Learner], samples: Samples, size: int = OBSERVED) -> np.ndarray:
    """(n, d) float16 leading principal components of the first network's penultimate layer, each row of norm 1.

    Of many rows the layer is computed twice and not held.
    """
    network: Any = learners[0].network  # anything with an `encoder`
    network.eval()
    readable = np.flatnonzero(samples.readable)

    def encoded() -> Iterator[tuple[slice, Tensor]]:
        return samples.passes(readable, size, lambda x: network.encoder(x).float())

    blocks: list[tuple[slice, Tensor]] = []
    origin = total = gram = torch.zeros(0)
    for part, values in encoded():
        if part.start == 0:  # near the mean, so that little is lost when that is taken off
            origin = values.mean(0)
            total, gram = torch.zeros_like(origin), torch.zeros_like(values.T @ values)
        if len(readable) * values.shape[1] <= HELD_FEATURES:
            blocks.append((part, values))
        total += (values - origin).sum(0)
        gram += (values - origin).T @ (values - origin)
    mean = total / len(readable)
    gram -= len(readable) * torch.outer(mean, mean)
    _, vectors = torch.linalg.eigh(gram.cpu().double())  # not every device has float64
    directions = vectors[:, -FEATURES:].to(gram)
    result = np.full((len(samples), directions.shape[1]), np.nan, dtype=np.float16)
    for part, values in blocks or encoded():
        projected = torch.nn.functional.normalize((values - origin - mean) @ directions)
        result[readable[part]] = projected.cpu().numpy()
    return result

"""How long an audit will take, from a few steps of it: files, batches of the encoder, steps of every network.

Everything timed is the real thing at its real size, with the threads that it will have: `jobs.train` does a short job
in a temporary folder. Only numbers of rows are scaled. The regression is scaled by its known complexity from a small
one, the search for copies and the judge by slopes that were measured (see benchmarks/RESULTS.md), on a machine as fast
as the small regression says.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cleanlab_lite.clock import Clock, Pulse
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.cache import decode_few, default_cache_dir, found_before, held_by_cache
from cleanlab_lite.data.decode import POOL_MIN_FILES
from cleanlab_lite.data.formats import Decoder
from cleanlab_lite.data.inputs import Inputs, form_of
from cleanlab_lite.forecast import (
    Forecast,
    Part,
    Speed,
    Wave,
    epochs_of,
    schedule_seconds,
)
from cleanlab_lite.judge.cost import READ, settled_parts
from cleanlab_lite.judge.random_features import WIDTH
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.run import RunFiles
from cleanlab_lite.train.encode import batch_of, feature_format, features, threads_of
from cleanlab_lite.train.ensemble import PRECISIONS, first_epochs, prepare, without_trials
from cleanlab_lite.train.filters import NUMBERS, Filters, compared, pieces_of
from cleanlab_lite.train.jobs import Bench, Job, hire, train, workers_for
from cleanlab_lite.train.models import PROXIES
from cleanlab_lite.train.models.encoders import blank_encoder, brings_weights, describe_encoder, load_encoder
from cleanlab_lite.train.planned import Plan
from cleanlab_lite.train.search import most_trials
from cleanlab_lite.train.task import DATA, ENCODER, FILTERS, STATISTICS, Task
from cleanlab_lite.train.trials import MOST_EPOCHS
from cleanlab_lite.train.views import PIXELS, reduced
from cleanlab_lite.workers import ahead, cores

FILES, FILE_SECONDS = 16, 0.5  # that are decoded at most, and how long
LOOKED = 1000  # rows that are looked for in the cache at most
FOUND, CHECKED = 7e-5, 6e-9  # seconds to find a row there, and to check and copy a byte of it
ENOUGH = 0.3  # seconds of an encoder, which may be a large one
STEPS = 3  # timed; of networks on vectors more, which take milliseconds, as long as another process may take the core
EPOCHS, EPOCHS_OF_VECTORS = 2, 5  # the first is not timed: memory is new then, and strategies warm up
ROWS = 512  # of a clean pass: two batches
HEAVY = 2.5  # seconds of one epoch on `ROWS`, as they are estimated: such networks are shown batches of `LIGHT` rows
LIGHT = 8
# seconds to start one: on Linux it is forked from a process that has loaded torch, else it loads that itself
WORKER = 0.2 if sys.platform == "linux" else 4.0
DECODERS = 1.0  # seconds to start those


def forecast(manifest: Manifest, plan: Plan, config: AuditConfig) -> Forecast:
    """What the audit of `plan` will take. Takes a second or two; nothing is left behind.

    Raises ConfigError where the encoder's weights do not fit.
    """
    inputs, decoding, content = _decoded(manifest, plan, config)
    parts = [decoding]
    if plan.encoder:
        parts.append(_encoded(inputs, content, plan))
    if FILTERS in plan.views:
        parts.append(_filtered(inputs, plan))
    width = {
        ENCODER: plan.encoder_features,
        STATISTICS: 0 if plan.sound is None else 4 * plan.sound.shape[1],
        FILTERS: NUMBERS,
        "vectors": WIDTH,
    }
    dimensions = inputs.array.shape[1] if inputs.array.ndim == 2 else plan.encoder_features
    widths = [width[view] for view in plan.in_closed_form]
    before, after = settled_parts(plan.rows, plan.classes, dimensions, widths, decoded=inputs.array.ndim == 4)
    parts += before
    if plan.heads != "closed":
        main = plan.views[0]
        seen = inputs if main == DATA[manifest.modality] else _vectors(width[main])
        first = time_network(seen, manifest, plan, config)
        parts.append(_networks("train", first, plan, config, rival=bool(plan.in_closed_form)))
        if plan.beside is not None:
            [view] = plan.beside.views
            seen = reduced(inputs, plan.beside.image_size) if plan.beside.image_size else inputs
            plain = replace(config, planted=0.0, second_split=False)
            timed = time_network(seen, manifest, plan.of_data, plain)
            parts.append(_beside(view, timed, plan, config, first))
    return Forecast((*parts, *after))


# --- Files and the encoder -------------------------------------------------------------------------------------------


def _decoded(manifest: Manifest, plan: Plan, config: AuditConfig) -> tuple[Inputs, Part, np.ndarray]:
    """Some rows as they will be decoded, what decoding all will take, and `found_before` of evenly spread ones."""
    if manifest.features is not None:  # any vectors: theirs may be all alike
        inputs = _vectors(manifest.features.shape[1])
        return inputs, Part.sure("decode", manifest.features.size * READ), inputs.content
    assert manifest.uris is not None
    form = form_of(manifest, plan.picture_size, plan.sound)
    arrays, each, read = [], [], []
    begun = time.perf_counter()
    for content, array, seconds in decode_few(manifest.uris, form, _spread(plan.rows, FILES), manifest.segments):
        read.append(content)
        each.append(seconds)
        arrays += [] if array is None else [array]
        if time.perf_counter() - begun > FILE_SECONDS:
            break
    found = _found(manifest, form, read)
    cached = float((found != "").mean())
    if not arrays:
        arrays = [np.zeros((1, *form.shape), np.uint8)]
    left = (1 - cached) * plan.rows
    whole = statistics.mean(each) * left
    workers = min(config.workers or cores(), plan.rows)
    if workers > 1 and left >= POOL_MIN_FILES:
        whole = DECODERS + whole / workers
    offsets = np.cumsum([0, *map(len, arrays)]) if plan.sound else None
    inputs = _inputs(np.concatenate(arrays), offsets)
    whole += (plan.rows - left) * (FOUND + inputs.array.nbytes / len(inputs.codes) * CHECKED)
    return replace(inputs, form=form.folder), Part.sure("decode", whole, cached), found


def _found(manifest: Manifest, form: Decoder, read: list[str]) -> np.ndarray:
    """Content of evenly spread rows, "" of those that the cache does not hold.

    Where it knows no file by its place and time stamps, as they were moved or linked, by the content `read` of a few.
    """
    assert manifest.uris is not None
    looked, cache = _spread(len(manifest), LOOKED), default_cache_dir()
    segments = None if manifest.segments is None else manifest.segments[looked]
    found = found_before(manifest.uris[looked], form, segments=segments, cache_dir=cache)
    if not (found != "").any():
        held = held_by_cache(read, form, cache)
        found = np.array([content if content in held else "" for content in read], dtype=np.str_)
    return found


def _spread(n: int, count: int) -> np.ndarray:
    """At most `count` of n rows, evenly."""
    return np.unique(np.linspace(0, n - 1, min(count, n)).astype(np.int64))


def _inputs(array: np.ndarray, offsets: np.ndarray | None = None) -> Inputs:
    n = len(array) if offsets is None else len(offsets) - 1
    nothing = np.zeros(n, dtype="U1")
    return Inputs(array, nothing, nothing, np.full(n, -1), 0, nothing, offsets)


def _vectors(width: int) -> Inputs:
    """Vectors (n, `width`) in the place of what they are made from: a network takes as long whatever they are."""
    values = np.random.default_rng(0).normal(size=(2 * ROWS, width))
    return _inputs(values.astype(np.float16))


def _encoded(inputs: Inputs, content: np.ndarray, plan: Plan) -> Part:
    """To load the encoder and show it every picture or patch of which the cache holds no vector.

    `content`: of evenly spread rows, "" of those that the cache does not hold.
    """
    begun = time.perf_counter()
    spec = describe_encoder(plan.encoder, plan.image_size)
    known = brings_weights(plan.encoder) or plan.encoder_weights != "default"  # those would be downloaded
    encoder = load_encoder(spec, plan.encoder_weights) if known else blank_encoder(spec)
    device, autocast = torch.device(plan.device), PRECISIONS[plan.encoder_precision]
    encoder = encoder.to(device, memory_format=torch.channels_last)
    held = held_by_cache(content, feature_format(encoder, autocast, inputs.form), default_cache_dir())
    cached = float(np.isin(content, list(held)).mean()) if known else 0.0
    seconds = time.perf_counter() - begun + cached * plan.rows * FOUND
    if cached == 1:
        return Part.sure("encode", seconds, cached)
    size = batch_of(device)
    batch = np.resize(inputs.array, (size, *inputs.array.shape[1:]))
    with threads_of(device) as threads:
        batches = [batch] * max(threads, 1)
        each = _timed(lambda: list(ahead(lambda part: features(encoder, part, device, autocast), batches, threads)))
    each /= size * len(batches)
    patches = len(inputs.array) / len(inputs.codes)
    return Part.sure("encode", seconds + each * patches * plan.rows * (1 - cached), cached)


def _filtered(inputs: Inputs, plan: Plan) -> Part:
    """To draw filters, and to compare every picture or patch with them."""
    device, begun = torch.device(plan.device), time.perf_counter()
    filters = Filters.drawn(pieces_of(reduced(inputs, PIXELS), 0), np.random.default_rng(0)).to(device)
    seconds = time.perf_counter() - begun
    count = filters.batch * (torch.get_num_threads() if device.type == "cpu" else 1)
    few = replace(inputs, array=np.resize(inputs.array, (count, *inputs.array.shape[1:])), offsets=None)
    each = _timed(lambda: compared(reduced(few, PIXELS).array, filters)) / count
    return Part.sure("filters", seconds + each * len(inputs.array) / len(inputs.codes) * plan.rows)


def _timed(work: Callable[[], object]) -> float:
    """Median seconds of `STEPS` times, fewer where they take `ENOUGH` together; a first one is not counted."""
    work()
    took: list[float] = []
    while len(took) < STEPS and sum(took) < ENOUGH:
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


# --- Networks --------------------------------------------------------------------------------------------------------


def _networks(name: str, timed: Timed, plan: Plan, config: AuditConfig, *, rival: bool) -> Part:
    """The ensemble on the first view."""
    usual, most = schedules(plan, config, rival=rival)
    seconds, longest = timed.seconds(usual), timed.seconds(most)
    recipes = [Wave(tried, usual[-1].epochs)] if (tried := most_trials(plan.recipes, plan.ensemble)) else []
    searching = min(timed.seconds(recipes), config.search_budget or math.inf)
    return Part(name, seconds + searching, seconds + searching, longest + searching, epochs_of(usual + recipes))


def _beside(view: str, timed: Timed, plan: Plan, config: AuditConfig, first: Timed) -> Part:
    """Networks on the data beside an encoder: the middle between that the first alone is trained, and all of them.

    The first of them is trained beside all those of the `first` view, where these are trained side by side.
    """
    plain = replace(config, planted=0.0, second_split=False)
    kept, most = schedules(plan.of_data, plain, rival=True, first_alone=True)
    left_out = kept[:1]
    early = 0.0
    if first.workers > 1:
        waves, one = schedules(plan, config, rival=True)[0], timed.seconds(left_out)
        work = sum(wave.networks * first.seconds([replace(wave, networks=1)]) for wave in waves)
        early = one + first.seconds(waves) - max(one, (one + work) / first.workers)
    least, usual, longest = (max(timed.seconds(case) - early, 0.0) for case in (left_out, kept, most))
    return Part(view, (least + usual) / 2, least, longest, (epochs_of(left_out) + epochs_of(kept)) / 2)


def schedules(
    plan: Plan, config: AuditConfig, *, rival: bool, first_alone: bool = False
) -> tuple[list[Wave], list[Wave]]:
    """What is trained on a view: as trials most likely choose, and where they choose twice as many epochs.

    Args:
        rival: a regression is there already, which networks mostly come near to in as few epochs as are tried.
        first_alone: whether the others are trained is decided by the first.
    """
    cross_fitted = 1 - 1 / max(plan.ensemble, 2)

    def chosen(epochs: int, alone: list[int]) -> list[Wave]:
        waves = [Wave(1, tried, cross_fitted) for tried in alone]
        waves.append(Wave(plan.ensemble - (epochs in alone), epochs, cross_fitted))
        waves += [Wave(1, epochs)] if config.planted else []
        return waves + ([Wave(1, epochs, 0.5)] * 4 if config.second_split else [])

    fewest = PROXIES.get(plan.proxy).facts.fewest_epochs
    if named := plan.epochs or (fewest if without_trials(plan) else 0):
        waves = chosen(named, [named] if first_alone else [])
        return waves, waves
    doubled = 2 * fewest if 2 * fewest <= MOST_EPOCHS else fewest
    if rival:
        return chosen(fewest, [fewest]), chosen(doubled, sorted({fewest, doubled}))
    again = 2 * doubled if 2 * doubled <= MOST_EPOCHS else doubled
    return chosen(fewest, sorted({fewest, doubled})), chosen(doubled, sorted({fewest, doubled, again}))


@dataclass(frozen=True)
class Timed:
    """A network that was timed."""

    speed: Speed
    rows: int  # of the audit that can be learned
    observed: int  # after each epoch, on average
    workers: int

    def seconds(self, waves: list[Wave]) -> float:
        together = self.workers > 1 and any(wave.networks > 1 for wave in waves)
        return together * WORKER + schedule_seconds(waves, self.speed, self.rows, self.observed, self.workers)


@dataclass
class _Epoch:
    """Times of one epoch."""

    steps: list[float]  # when each was done
    looks: list[float]  # when each part of the clean pass was begun
    over: float = 0.0


class Stopwatch(Pulse):
    """Hears when each step was done, each part of the clean pass begun, and each epoch over, of two epochs at least."""

    def __init__(self, device: str, epochs: int, now: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(Clock(), epochs, "")
        self.device, self.now = device, now
        self.begun = now()
        self.timed = [_Epoch([], []) for _ in range(epochs)]

    def step(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        self.timed[self.epoch].steps.append(self.now())

    def look(self) -> None:
        self.timed[self.epoch].looks.append(self.now())

    def end_epoch(self, epoch: int) -> None:
        self.timed[epoch].over = self.now()

    def speed(self, end: float, rows: int, batch: int) -> Speed:
        """By all epochs but the first, of a job that was over at `end` and has looked at `rows`."""
        timed = self.timed[1:]
        step = float(np.median(np.concatenate([np.diff(epoch.steps) for epoch in timed])))
        row = statistics.median((epoch.over - epoch.looks[0]) / rows for epoch in timed)
        rest = statistics.median(epoch.looks[0] - epoch.steps[-1] for epoch in timed)
        each = statistics.median(np.diff([epoch.over for epoch in self.timed]).tolist())
        begin = end - self.begun - self.epochs * each - row * rows
        return Speed(max(begin, 0.0), step, rest, row, batch)


def time_network(inputs: Inputs, manifest: Manifest, plan: Plan, config: AuditConfig) -> Timed:
    """Train a network of the plan for a few steps, and look at some rows."""
    usual = min(plan.batch_size, max(plan.labelled, 1))
    patches = len(inputs.array) / len(inputs.codes)
    side = max(inputs.array.shape[-1], plan.enlarged) if inputs.array.ndim == 4 else 0
    heavy = PROXIES.get(plan.proxy).facts.seconds_at(side, patches) * ROWS > HEAVY
    batch = min(usual, LIGHT) if heavy else usual
    light = side == 0
    steps = max(STEPS, ROWS // batch) if light else STEPS
    rows = steps * batch if heavy else max(ROWS, steps * batch)
    some = _repeated(inputs, rows)
    labels = np.resize(manifest.labels[_spread_labelled(manifest.labels, rows)], rows)
    task = Task.of(labels, plan.classes, some, copy_of=np.full(rows, -1))
    bench, teaching = prepare(task, replace(plan, batch_size=batch), config)
    teaching = replace(teaching, epochs=EPOCHS_OF_VECTORS if light else EPOCHS)
    if teaching.weights == "default" and PROXIES.get(plan.proxy).facts.sees_pixels:  # those would be downloaded
        teaching = replace(teaching, weights="")
    job = Job("timed", task.main.name, np.arange(steps * batch), labels, teaching, 0, "")
    with tempfile.TemporaryDirectory(prefix="nlclean-") as folder:
        watch = Stopwatch(plan.device, teaching.epochs)
        train(job, bench, RunFiles(Path(folder)), watch)
        speed = watch.speed(time.perf_counter(), rows, batch)
    speed = replace(speed, step=speed.step * usual / batch, batch=usual)
    observed = plan.rows // replace(teaching, epochs=first_epochs(plan)).every
    return Timed(speed, plan.labelled, observed, _workers(bench, job, manifest, plan, config))


def _spread_labelled(labels: np.ndarray, count: int) -> np.ndarray:
    labelled = np.flatnonzero(labels >= 0)
    return labelled[_spread(len(labelled), count)]


def _repeated(inputs: Inputs, rows: int) -> Inputs:
    """As many rows, the same ones again and again."""
    n = len(inputs.codes)
    return inputs.select(np.arange(rows) % n)


def _workers(bench: Bench, job: Job, manifest: Manifest, plan: Plan, config: AuditConfig) -> int:
    """How many processes the cross-fitted networks are spread over."""
    if plan.ensemble < 2:
        return 1
    rows = np.arange(round(plan.labelled * (1 - 1 / plan.ensemble)))
    real = replace(
        job, rows=rows, teaching=replace(job.teaching, epochs=first_epochs(plan), batch_size=plan.batch_size)
    )
    with hire(plan.device, config.workers) as crew:
        whole = Task(manifest.labels, plan.classes, bench.task.views, np.full(len(manifest), -1))
        return workers_for([real] * (plan.ensemble - (not plan.epochs)), replace(bench, task=whole, crew=crew))

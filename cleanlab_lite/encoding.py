"""`encode`: every row of a manifest through a frozen encoder once, to a folder of vectors that `audit` starts from.

Rows are encoded in parts, each of which is one file of the folder, whole or absent. So whoever does them (worker
processes, actors of Ray on other machines) needs nothing from the others, and a run that was killed goes on with the
parts that are not there. Nothing is put into the cache: what is decoded is as large as the data.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from cleanlab_lite.clock import Clock
from cleanlab_lite.config import ENCODER_OPTIONS, AuditConfig
from cleanlab_lite.copies.perceptual import small_pictures
from cleanlab_lite.data.cache import Store, read
from cleanlab_lite.data.decode import CHUNK
from cleanlab_lite.data.formats import Decoder
from cleanlab_lite.data.inputs import causes, form_of, inputs_of
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.manifest.encoded import SMALL, Done, Facts, facts_of, part_name, write_part
from cleanlab_lite.manifest.manifest import Encoded, Manifest, Modality
from cleanlab_lite.pipeline import file_facts
from cleanlab_lite.progress import OnProgress, Progress, ignore
from cleanlab_lite.run.layout import LOCK
from cleanlab_lite.run.lock import acquire, release
from cleanlab_lite.run.writer import reporting
from cleanlab_lite.train.task import ENCODER
from cleanlab_lite.votes import VOTES
from cleanlab_lite.workers import cores

if TYPE_CHECKING:
    from cleanlab_lite.train.models.encoders import EncoderSpec

FEWEST, MOST = 256, 4096  # rows of a part: a killed process loses one
ARRAYS = ("content", "codes", "errors", "notes")  # (n,) of Encoded
LEFTOVERS = ".*.part-*.parquet"  # of a process that was killed
PARTS = 16  # that a manifest has, unless they were smaller or larger than that


@dataclass(frozen=True)
class Recipe:
    """What makes vectors of files, as plain data."""

    modality: Modality
    form: Decoder  # what a file becomes before the encoder sees it
    encoder: EncoderSpec
    weights: str
    precision: str
    device: str


@dataclass(frozen=True)
class Part:
    """Some rows to encode, as plain data."""

    number: int
    folder: Path  # where the vectors go
    facts: Facts  # of the folder
    table: pa.Table  # p rows: id, path, label, split, and offset and duration where they are parts of sounds
    recipe: Recipe


def encode(
    manifest: Manifest,
    output: Path,
    config: AuditConfig | None = None,
    *,
    engine: str = "local",
    on_progress: OnProgress = ignore,
) -> Done:
    """Write the vectors of all files of a manifest to the folder `output`; parts that are there already stay.

    Args:
        config: its ENCODER_OPTIONS count; `proxy` names the encoder, by default lite0. On a CPU `workers` processes
            encode side by side; for a GPU they decode.
        engine: "ray" has actors do it, where Ray is running or else on this machine.

    Raises:
        ConfigError: vectors are given, an option does not fit, Ray is not installed, or `output` holds something else.
        RunLocked: another process writes to `output`.
        ReportError: `output` cannot be written.
        WorkerDied: a worker process was ended twice, or cannot be started; what is finished is kept.
    """
    config = config or AuditConfig()
    recipe = _recipe(manifest, config)
    facts = _facts(manifest, recipe)  # before anything is decoded: its weights may not fit
    do = _with_ray if engine == "ray" else _side_by_side if recipe.device == "cpu" else _in_process
    with reporting(output, "--output"):
        output.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(output, facts)
        lock = acquire(output)
        try:
            for leftover in output.glob(LEFTOVERS):
                leftover.unlink()
            todo = [number for number in range(facts.parts) if not (output / part_name(number)).is_file()]
            heard = _Heard(facts, todo, on_progress)
            do([_part(manifest, output, facts, recipe, number) for number in todo], config.workers, heard)
        finally:
            release(lock)
            with suppress(OSError):  # what went wrong before is the news
                (output / LOCK).unlink()  # or a program that reads all files of the folder would read it
    return Done(output, facts.rows, facts.dimensions, facts.parts, facts.parts - len(todo), *heard.unreadable())


def _recipe(manifest: Manifest, config: AuditConfig) -> Recipe:
    if manifest.modality == "vector":
        raise ConfigError(
            f"{manifest.source.path!r} holds vectors, expected pictures or sounds", hint="`nlclean audit` reads them"
        )
    from cleanlab_lite.train.models.encoders import describe_encoder
    from cleanlab_lite.train.plan import make_plan  # torch

    named = {name: getattr(config, name) for name in ENCODER_OPTIONS}
    plan = make_plan(manifest, replace(AuditConfig(heads="closed", views=ENCODER), **named))
    form = form_of(manifest, plan.picture_size, plan.sound)
    spec = describe_encoder(plan.encoder, plan.image_size)
    return Recipe(manifest.modality, form, spec, plan.encoder_weights, plan.encoder_precision, plan.device)


def _facts(manifest: Manifest, recipe: Recipe) -> Facts:
    encoder, n = _Encoder(recipe), len(manifest)
    size = min(max(-(-n // (PARTS * CHUNK)) * CHUNK, FEWEST), MOST)  # whole blocks
    made_by = [encoder.fingerprint, recipe.precision, repr(recipe.form), size]
    same = [manifest.fingerprint, file_facts(manifest), *made_by]
    return Facts(
        key=hashlib.sha256(json.dumps(same).encode()).hexdigest(),
        rows=n,
        parts=-(-n // size),
        part_rows=size,
        modality=manifest.modality,
        encoder=recipe.encoder.name,
        fingerprint=encoder.fingerprint,
        dimensions=encoder.dimensions,
        classes=list(manifest.classes),
    )


def _refuse_foreign(output: Path, facts: Facts) -> None:
    """Raise ConfigError where a folder holds anything but parts of these vectors."""
    own = {LOCK, *map(part_name, range(facts.parts))}
    if any(path.name not in own and not path.match(LEFTOVERS) for path in output.iterdir()):
        raise ConfigError(f"{output} holds something else already", hint="name a new folder with --output")
    if facts_of(output) not in (None, facts):
        raise ConfigError(
            f"{output} holds vectors of other files, or by another encoder or other options",
            hint="name another folder with --output, or delete this one",
        )


def _part(manifest: Manifest, output: Path, facts: Facts, recipe: Recipe, number: int) -> Part:
    assert manifest.uris is not None
    rows = slice(number * facts.part_rows, (number + 1) * facts.part_rows)
    names = (*manifest.classes, None)  # the last, -1: without a label
    columns: dict[str, pa.Array] = {
        "id": pa.array(manifest.ids[rows].tolist(), pa.string()),
        "path": pa.array(manifest.uris[rows].tolist(), pa.string()),
        "label": pa.array([names[label] for label in manifest.labels[rows].tolist()], pa.string()),
        "split": pa.array([split or None for split in manifest.splits[rows].tolist()], pa.string()),
    }
    if manifest.votes is not None:
        columns[VOTES] = pa.array(manifest.votes.objects(len(manifest), manifest.classes)[rows], pa.string())
    if manifest.segments is not None:
        columns |= {"offset": pa.array(manifest.segments[rows, 0]), "duration": pa.array(manifest.segments[rows, 1])}
    return Part(number, output.resolve(), facts, pa.table(columns), recipe)


class _Heard:
    """Hears how far the parts are."""

    def __init__(self, facts: Facts, todo: Sequence[int], on_progress: OnProgress) -> None:
        self.facts, self.on_progress = facts, on_progress
        self.before = facts.rows - sum(map(facts.size, todo))
        self.note = f"{self.before} from before" if self.before else ""
        self.reached: dict[int, int] = {}  # rows, by number of the errand
        self.causes: list[tuple[np.ndarray, np.ndarray]] = []
        self.tell()

    def tell(self) -> None:
        done = self.before + sum(self.reached.values())
        self.on_progress(Progress("encode", done, self.facts.rows, "rows", self.note))

    def heard(self, errand: int, progress: Progress) -> None:
        self.reached[errand] = progress.done
        self.tell()

    def done(self, errand: int, answer: Answer) -> None:
        rows, codes, errors = answer
        self.reached[errand] = rows
        self.causes.append((codes, errors))
        self.tell()

    def lost(self, errand: int, exit_code: int | None) -> None:
        self.reached[errand] = 0

    def unreadable(self) -> tuple[int, str]:
        """How many rows cannot be read, and why."""
        if not any(len(codes) for codes, _ in self.causes):
            return 0, ""
        codes, errors = (np.concatenate(arrays) for arrays in zip(*self.causes, strict=True))
        return len(codes), causes(codes, errors)


# --- What is done ----------------------------------------------------------------------------------------------------

Answer = tuple[int, np.ndarray, np.ndarray]  # rows of the part, and code and error of those that cannot be read


class _Encoder:
    """The encoder of a recipe, on its device."""

    def __init__(self, recipe: Recipe) -> None:
        import torch

        from cleanlab_lite.train.ensemble import PRECISIONS
        from cleanlab_lite.train.models.encoders import load_encoder

        self.recipe = recipe
        self.device, self.autocast = torch.device(recipe.device), PRECISIONS[recipe.precision]
        encoder = load_encoder(recipe.encoder, recipe.weights)
        self.fingerprint, self.dimensions = encoder.fingerprint, encoder.spec.num_features
        self.network = encoder.to(self.device, memory_format=torch.channels_last)

    def __call__(self, store: Store) -> tuple[Encoded, np.ndarray]:
        """What is known of some files, and their vectors (b, d) float16."""
        from cleanlab_lite.train.encode import BROKEN, batch_of, vectors_of

        inputs, step = inputs_of(store, self.recipe.form), batch_of(self.device)
        vectors = np.full((len(inputs.codes), self.dimensions), np.nan, np.float16)
        readable = np.flatnonzero(inputs.readable)
        for start in range(0, len(readable), step):
            rows = readable[start : start + step]
            vectors[rows] = vectors_of(self.network, inputs, rows, self.device, self.autocast)
        broken = inputs.readable & np.isnan(vectors[:, 0])
        pictures = self.recipe.modality == "image"
        return Encoded(
            self.recipe.modality,
            self.recipe.encoder.name,
            content=inputs.content,
            codes=np.where(broken, "not_finite", inputs.codes),
            errors=np.where(broken, BROKEN, inputs.errors),
            notes=store.notes,
            small=_thumbnails(inputs.array) if pictures else None,
        ), vectors


def _thumbnails(pictures: np.ndarray) -> np.ndarray:
    """(b, 3, SMALL, SMALL) uint8 of pictures (b, 3, s, s): what copies are looked for by."""
    return small_pictures(pictures, np.arange(len(pictures))).small.reshape(-1, 3, SMALL, SMALL)


def encode_parts(
    parts: Sequence[Part], encoder: _Encoder, workers: int, on_rows: Callable[[int, int], object]
) -> Iterator[Answer]:
    """Do one part after the other, each written before the next is begun; `workers` processes decode for all.

    `on_rows(number, rows)` hears how many rows of parts[number] are encoded.
    """
    if not parts:
        return
    rows = pa.concat_tables([part.table for part in parts])
    segments = np.stack([rows["offset"], rows["duration"]], axis=1) if "offset" in rows.column_names else None
    stores = read(rows["path"].to_pylist(), parts[0].recipe.form, segments=segments, workers=workers)
    for number, part in enumerate(parts):
        found: list[tuple[Encoded, np.ndarray]] = []
        for _ in range(-(-len(part.table) // CHUNK)):  # all parts but the last are whole blocks
            found.append(encoder(next(stores)))
            on_rows(number, sum(len(vectors) for _, vectors in found))
        encoded, vectors = _together([each for each, _ in found]), np.concatenate([each for _, each in found])
        write_part(part.folder, part.number, part.table, encoded, vectors, part.facts)
        unreadable = encoded.codes != ""
        yield len(part.table), encoded.codes[unreadable], encoded.errors[unreadable]


def _together(blocks: Sequence[Encoded]) -> Encoded:
    joined = {name: np.concatenate([getattr(each, name) for each in blocks]) for name in ARRAYS}
    pictures = [each.small for each in blocks if each.small is not None]
    small = np.concatenate(pictures) if pictures else None
    return Encoded(blocks[0].modality, blocks[0].encoder, **joined, small=small)


_encoder: _Encoder | None = None  # of a worker: kept from one part to the next


def do_part(part: Part, clock: Clock) -> Answer:
    """What a worker or an actor does."""
    global _encoder
    if _encoder is None or _encoder.recipe != part.recipe:
        import torch

        if part.recipe.device == "cpu":
            torch.set_num_threads(1)
        _encoder = _Encoder(part.recipe)
    total = len(part.table)
    [answer] = encode_parts([part], _encoder, 1, lambda _, rows: clock(Progress("encode", rows, total, "rows")))
    return answer


# --- Who does the parts ----------------------------------------------------------------------------------------------


def _side_by_side(parts: list[Part], workers: int, heard: _Heard) -> None:
    """On a CPU: a process with one thread each."""
    from cleanlab_lite.train.crew import Crew

    size = min(workers or cores(), len(parts))
    if size < 2:
        return _in_process(parts, workers, heard)
    with Crew(size, do_part) as crew:
        crew.do(parts, heard, Clock(on_progress=heard.on_progress), workers=size)


def _in_process(parts: list[Part], workers: int, heard: _Heard) -> None:
    """On a GPU: this process encodes what others decode."""
    if not parts:
        return

    def hear(number: int, rows: int) -> None:
        heard.heard(number, Progress("encode", rows, len(parts[number].table), "rows"))

    done = encode_parts(parts, _Encoder(parts[0].recipe), workers, hear)
    for number, answer in enumerate(done):
        heard.done(number, answer)


def _with_ray(parts: list[Part], workers: int, heard: _Heard) -> None:
    """Actors of Ray, each with an encoder of its own; on a GPU one each."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("Ray is not installed", hint="pip install 'nlclean[ray]'") from error
    if not parts:
        return
    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False  # there is one already
        gpus = int(parts[0].recipe.device != "cpu")  # of an actor
        actors = min(workers or int(ray.cluster_resources().get("GPU" if gpus else "CPU", 1)), len(parts))
        items = [{"number": number, "part": pickle.dumps(part)} for number, part in enumerate(parts)]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Actor, batch_size=1, compute=ray.data.ActorPoolStrategy(size=actors), num_gpus=gpus
        )
        for row in done.iter_rows():
            heard.done(int(row["number"]), pickle.loads(row["answer"]))
    finally:
        if ours:
            ray.shutdown()


class _Actor:
    """What an actor of Ray does: a part is a batch; the encoder stays."""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        answers = [pickle.dumps(do_part(pickle.loads(part), Clock())) for part in batch["part"]]
        return {"number": batch["number"], "answer": np.array(answers, dtype=object)}

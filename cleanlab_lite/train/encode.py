"""Frozen features: every picture passes a pretrained encoder once, and its vector is kept in the cache.

A sound is several pictures, the patches of its spectrogram; its vector is their mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import TypeVar

import numpy as np
import torch

from cleanlab_lite.data.cache import default_cache_dir, load_vectors
from cleanlab_lite.data.formats import FeatureFormat
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.progress import OnProgress, ignore
from cleanlab_lite.train.memory import out_of_memory, reuse_blocks
from cleanlab_lite.train.models.encoders import Encoder

Result = TypeVar("Result")

BROKEN = "the encoder makes NaN of this row"
BATCH_CPU, BATCH_GPU = 16, 1024  # pictures, and clips between two events of progress
LARGEST = float(np.finfo(np.float16).max)


def encode(
    inputs: Inputs,
    encoder: Encoder,
    *,
    device: torch.device,
    autocast: torch.dtype | None,
    on_progress: OnProgress = ignore,
) -> tuple[Inputs, int]:
    """The same rows as vectors (n, d) float16 instead of pictures (n, 3, s, s) or patches of sounds (p, 1, s, s) uint8,
    and how many were computed now.

    Unreadable rows are zeros, as is a row of which the encoder makes NaN: it becomes unreadable. What is computed stays
    in the cache, also when `on_progress` raises to stop.
    """
    form = feature_format(encoder, autocast, inputs.form)
    _there(device, partial(encoder.to, device, memory_format=torch.channels_last))

    def compute(rows: np.ndarray) -> np.ndarray:
        return vectors_of(encoder, inputs, rows, device, autocast)

    with threads_of(device) as threads:
        vectors, computed = load_vectors(
            inputs.content,
            form,
            compute,
            batch_size=batch_of(device),
            cache_dir=default_cache_dir(),
            threads=threads,
            on_progress=on_progress,
        )
    broken = np.isnan(vectors[:, 0])
    vectors[broken] = 0
    return replace(
        inputs,
        array=vectors,
        offsets=None,
        codes=np.where(broken, "not_finite", inputs.codes),
        errors=np.where(broken, BROKEN, inputs.errors),
    ), computed


def feature_format(encoder: Encoder, autocast: torch.dtype | None, form: str) -> FeatureFormat:
    """How the cache keeps what an encoder makes of files that became `form`."""
    identity = hashlib.sha256(f"{encoder.fingerprint} {autocast} {form}".encode()).hexdigest()
    return FeatureFormat(identity, encoder.spec.num_features)


def batch_of(device: torch.device) -> int:
    """Pictures that an encoder is shown at a time."""
    return BATCH_CPU if device.type == "cpu" else BATCH_GPU


@contextmanager
def threads_of(device: torch.device) -> Iterator[int]:
    """How many threads encode a batch each. On a CPU as many as torch has, which has one in each of them meanwhile.

    Several threads of torch on one batch wait for the slowest after every layer, and round otherwise than one does.
    For a GPU of CUDA two: one has the next pictures ready while the other waits for it. Elsewhere this one.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu":
        yield 2 if device.type == "cuda" else 0
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _there(device: torch.device, function: Callable[[], Result]) -> Result:
    """What the function returns: called here, for CUDA in the one thread that shows encoders pictures there.

    cuDNN plans all convolutions anew for every other thread, for two seconds.
    """
    return _cuda_thread().submit(function).result() if device.type == "cuda" else function()


@cache
def _cuda_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "encoder")


def get_ready(encoder: Encoder, shape: tuple[int, ...], device: torch.device, autocast: torch.dtype | None) -> None:
    """With CUDA, begin to load what the encoder needs there and to plan for pictures of a shape; return at once.

    It takes 3 to 7 seconds, in which files can be decoded.
    """

    def begin() -> None:
        encoder.to(device, memory_format=torch.channels_last)
        _features(encoder, np.zeros((batch_of(device), *shape), np.uint8), device, autocast)

    if device.type == "cuda":
        _cuda_thread().submit(begin)  # what it raises, it raises again when the first pictures are shown


def vectors_of(
    encoder: Encoder, inputs: Inputs, rows: np.ndarray, device: torch.device, autocast: torch.dtype | None
) -> np.ndarray:
    """(r, d) vectors of the rows (r,), NaN where one number of a row is; no more rows at a time than `batch_of`."""
    if inputs.offsets is None:
        return features(encoder, inputs.array[rows], device, autocast)
    clips, step = inputs.select(rows), batch_of(device)
    assert clips.offsets is not None
    starts = range(0, len(clips.array), step)  # a clip has up to 64 patches
    parts = [features(encoder, clips.array[start : start + step], device, autocast) for start in starts]
    return mean_of_clips(np.concatenate(parts), clips.offsets)


def features(encoder: Encoder, pictures: np.ndarray, device: torch.device, autocast: torch.dtype | None) -> np.ndarray:
    """(b, d) float16 of pictures (b, 3, s, s) uint8, all NaN where one number of a row is.

    In halves where the device has no memory for all at once.
    """
    if device.type == "cpu":
        reuse_blocks()
    show = partial(_features, encoder, filled_up(pictures, batch_of(device)), device, autocast)
    return _there(device, show)[: len(pictures)]


def filled_up(pictures: np.ndarray, size: int) -> np.ndarray:
    """Blank ones behind them, so that there are `size`: convolutions of another number round otherwise, and a vector
    would hang on what is in the cache already; to plan them takes a GPU a second.
    """
    blank = np.zeros((max(size - len(pictures), 0), *pictures.shape[1:]), pictures.dtype)
    return np.concatenate([pictures, blank]) if len(blank) else pictures


@torch.inference_mode()
def _features(encoder: Encoder, pictures: np.ndarray, device: torch.device, autocast: torch.dtype | None) -> np.ndarray:
    batch = torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
    if device.type == "cpu":  # it enlarges them faster so, a GPU slower
        batch = batch.to(memory_format=torch.channels_last)
    try:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            values = encoder(batch).float()
        values = values.masked_fill(values.isnan().any(dim=1, keepdim=True), torch.nan)
        return values.clamp(-LARGEST, LARGEST).half().cpu().numpy()
    except RuntimeError as error:
        if len(pictures) == 1 or not out_of_memory(error):
            raise
    half = len(pictures) // 2
    parts = (pictures[:half], pictures[half:])
    return np.concatenate([_features(encoder, part, device, autocast) for part in parts])


def mean_of_clips(vectors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(n, d) float32 of the vectors (p, d) of all patches; clip i has those from offsets[i] to offsets[i + 1]."""
    return np.add.reduceat(vectors.astype(np.float32), offsets[:-1]) / np.diff(offsets)[:, None].astype(np.float32)

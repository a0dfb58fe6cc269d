"""Frozen features: every picture passes a pretrained encoder once, and its vector is kept in the cache."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

import numpy as np
import torch

from cleanlab_lite.data.cache import FeatureFormat, default_cache_dir, load_features
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.errors import StoppedEarly
from cleanlab_lite.models.encoders import Encoder
from cleanlab_lite.progress import OnProgress, ignore

BATCH_CPU, BATCH_GPU = 16, 256  # pictures
LARGEST = float(np.finfo(np.float16).max)


def encode(
    inputs: Inputs,
    encoder: Encoder,
    *,
    device: torch.device,
    autocast: torch.dtype | None,
    time_budget: float = 0.0,
    on_progress: OnProgress = ignore,
) -> tuple[Inputs, int]:
    """The same rows as vectors (n, d) float16 instead of pictures (n, 3, s, s) uint8, and how many were computed now.

    Unreadable rows are zeros, as is a row of which the encoder makes NaN: it becomes unreadable.

    Raises:
        StoppedEarly: `time_budget` seconds are used up; what is computed stays in the cache.
    """
    identity = hashlib.sha256(f"{encoder.fingerprint} {autocast}".encode()).hexdigest()
    form = FeatureFormat(identity, encoder.spec.num_features)
    encoder = encoder.to(device, memory_format=torch.channels_last)
    deadline = time.monotonic() + time_budget if time_budget else None
    started = False

    def compute(rows: np.ndarray) -> np.ndarray:
        nonlocal started
        if started and deadline is not None and time.monotonic() > deadline:
            raise StoppedEarly(
                f"the time budget of {time_budget:.0f} s is used up while pictures are encoded",
                hint="the same command goes on from there",
            )
        started = True
        return features(encoder, inputs.array[rows], device, autocast)

    vectors, computed = load_features(
        inputs.content,
        form,
        compute,
        batch_size=BATCH_CPU if device.type == "cpu" else BATCH_GPU,
        cache_dir=default_cache_dir(),
        on_progress=on_progress,
    )
    broken = np.isnan(vectors[:, 0])
    vectors[broken] = 0
    return replace(
        inputs,
        array=vectors,
        codes=np.where(broken, "not_finite", inputs.codes),
        errors=np.where(broken, "the encoder makes NaN of this picture", inputs.errors),
    ), computed


@torch.inference_mode()
def features(encoder: Encoder, pictures: np.ndarray, device: torch.device, autocast: torch.dtype | None) -> np.ndarray:
    """(b, d) float16 of pictures (b, 3, s, s) uint8, all NaN where one number of a row is.

    In halves where the device has no memory for all at once.
    """
    batch = torch.from_numpy(np.ascontiguousarray(pictures)).to(device, memory_format=torch.channels_last)
    try:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            values = encoder(batch).float()
        values[values.isnan().any(dim=1)] = torch.nan
        return values.clamp(-LARGEST, LARGEST).half().cpu().numpy()
    except RuntimeError as error:  # CUDA has a type of its own for it, MPS only says so
        if "out of memory" not in str(error) or len(pictures) == 1:
            raise
    torch.cuda.empty_cache()
    half = len(pictures) // 2
    parts = (pictures[:half], pictures[half:])
    return np.concatenate([features(encoder, part, device, autocast) for part in parts])

"""Frozen features: every picture passes a pretrained encoder once, and its vector is kept in the cache."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import torch

from cleanlab_lite.data.cache import FeatureFormat, default_cache_dir, load_vectors
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.progress import OnProgress, ignore
from cleanlab_lite.train.memory import out_of_memory
from cleanlab_lite.train.models.encoders import Encoder

BATCH_CPU, BATCH_GPU = 16, 256  # pictures
LARGEST = float(np.finfo(np.float16).max)


def encode(
    inputs: Inputs,
    encoder: Encoder,
    *,
    device: torch.device,
    autocast: torch.dtype | None,
    on_progress: OnProgress = ignore,
) -> tuple[Inputs, int]:
    """The same rows as vectors (n, d) float16 instead of pictures (n, 3, s, s) uint8, and how many were computed now.

    Unreadable rows are zeros, as is a row of which the encoder makes NaN: it becomes unreadable. What is computed stays
    in the cache, also when `on_progress` raises to stop.
    """
    identity = hashlib.sha256(f"{encoder.fingerprint} {autocast}".encode()).hexdigest()
    form = FeatureFormat(identity, encoder.spec.num_features)
    encoder = encoder.to(device, memory_format=torch.channels_last)

    def compute(rows: np.ndarray) -> np.ndarray:
        return features(encoder, inputs.array[rows], device, autocast)

    vectors, computed = load_vectors(
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
    except RuntimeError as error:
        if len(pictures) == 1 or not out_of_memory(error):
            raise
    half = len(pictures) // 2
    parts = (pictures[:half], pictures[half:])
    return np.concatenate([features(encoder, part, device, autocast) for part in parts])

"""Pictures as vectors without a pretrained network: one layer of filters, which are pieces of the pictures themselves.

Every piece of 6 x 6 pixels is brought to one brightness and contrast, whitened, and compared with `FILTERS` that were
drawn by chance; how like and how unlike it is to each is averaged over the quarters of the picture (Coates, Ng and Lee,
"An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011; pieces by chance do as well as
learned ones: Coates and Ng, "The Importance of Encoding Versus Training", ICML 2011).

An encoder has learned from photographs; this looks at nothing but the data, errs elsewhere, and costs a tenth. Beside
an encoder it is the second view that says how many labels are wrong (benchmarks/RESULTS.md, "Filters").

Letters: n rows, p pictures (of sounds patches), b of them at a time, c channels, s pixels a side, m pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor
from torch.nn import functional as F

from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.progress import OnProgress, Progress, ignore
from cleanlab_lite.train.encode import filled_up, mean_of_clips, threads_of
from cleanlab_lite.workers import ahead

FILTERS = 64
NUMBERS = 8 * FILTERS  # of a vector: like and unlike, four quarters
SIDE = 6  # pixels of a filter
PIECES = 20_000  # from which brightness, contrast and colours are learned that pieces have in common
BATCH_CPU, BATCH_GPU = 64, 2048  # pictures
CONTRAST = (10 / 255) ** 2  # variance that counts as none, of pixels from 0 to 1
WHITE = 0.1  # variance of a direction below which it is not blown up
THRESHOLD = 0.25  # likeness from which it counts


@dataclass(frozen=True)
class Filters:
    """What pictures (b, c, s, s) are compared with."""

    weights: Tensor  # (f, c, side, side) float32, of mean 0
    offsets: Tensor  # (f, 1, 1)

    @classmethod
    def drawn(cls, pieces: np.ndarray, rng: np.random.Generator) -> Filters:
        """From pieces (m, c, side, side) float32 of pictures from 0 to 1."""
        flat = pieces.reshape(len(pieces), -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        flat /= np.sqrt((flat**2).mean(axis=1, keepdims=True) + CONTRAST)
        mean = flat.mean(axis=0)
        variances, directions = np.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
        whiten = (directions / np.sqrt(np.maximum(variances, 0) + WHITE)) @ directions.T
        chosen = (flat[rng.permutation(len(flat))[:FILTERS]] - mean) @ whiten
        chosen /= np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-6)
        weights = chosen @ whiten  # on pieces of one contrast; `whiten` is symmetric
        offsets = weights @ mean
        weights -= weights.mean(axis=1, keepdims=True)  # so that no brightness needs to be taken off
        shape = (len(chosen), *pieces.shape[1:])
        return cls(torch.from_numpy(weights.reshape(shape)), torch.from_numpy(offsets[:, None, None]))

    def to(self, device: torch.device) -> Filters:
        weights = self.weights.to(device, memory_format=torch.channels_last)
        return Filters(weights, self.offsets.to(device))

    @property
    def batch(self) -> int:
        """Pictures that are compared at a time."""
        return BATCH_CPU if self.weights.device.type == "cpu" else BATCH_GPU

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """(b, `NUMBERS`) float16 of pictures (b, c, s, s) uint8."""
        x = torch.from_numpy(pictures).to(self.weights.device).float() / 255
        even = torch.full_like(self.weights[:1], 1 / self.weights[0].numel())
        mean, square = F.conv2d(x, even), F.conv2d(x * x, even)
        contrast = torch.rsqrt((square - mean * mean).clamp_(min=0) + CONTRAST)
        like = F.conv2d(x.contiguous(memory_format=torch.channels_last), self.weights)
        like = like.mul_(contrast).sub_(self.offsets)
        both = (like - THRESHOLD).relu_(), like.neg_().sub_(THRESHOLD).relu_()
        quarters = [F.adaptive_avg_pool2d(part, 2).flatten(1) for part in both]
        return torch.cat(quarters, dim=1).half().cpu().numpy()


def filtered(inputs: Inputs, device: str, *, seed: int, on_progress: OnProgress = ignore) -> Inputs:
    """The same rows as vectors (n, `NUMBERS`) float16 instead of small pictures (n, c, s, s) or patches of sounds
    (p, c, s, s) uint8; a clip is the mean of its patches, an unreadable row zeros."""
    vectors = np.zeros((len(inputs.array), NUMBERS), np.float16)
    if inputs.readable.any():
        filters = Filters.drawn(pieces_of(inputs, seed), np.random.default_rng((seed, 9))).to(torch.device(device))
        unit = "pictures" if inputs.offsets is None else "patches"
        vectors = compared(inputs.array, filters, unit, on_progress)
    if inputs.offsets is not None:
        vectors = mean_of_clips(vectors, inputs.offsets).astype(np.float16)
    vectors[~inputs.readable] = 0
    return replace(inputs, array=vectors, offsets=None)


def compared(
    pictures: np.ndarray, filters: Filters, unit: str = "pictures", on_progress: OnProgress = ignore
) -> np.ndarray:
    """(p, `NUMBERS`) float16 of pictures (p, c, s, s) uint8, some of them at a time on the device of the filters.
    `unit`: what progress calls them."""
    vectors = np.zeros((len(pictures), NUMBERS), np.float16)
    size = filters.batch
    starts = range(0, len(vectors), size)

    def compare(start: int) -> np.ndarray:
        return filters(filled_up(pictures[start : start + size], size))

    with threads_of(filters.weights.device) as threads:
        for start, found in zip(starts, ahead(compare, starts, threads), strict=True):
            part = vectors[start : start + size]
            part[:] = found[: len(part)]
            on_progress(Progress("filters", start + len(part), len(vectors), unit))
    return vectors


def pieces_of(inputs: Inputs, seed: int) -> np.ndarray:
    """(m, c, side, side) float32 from 0 to 1: pieces by chance of what is readable, whatever the order of the rows.
    One row at least must be."""
    _, rows = np.unique(inputs.content, return_index=True)
    rows = rows[inputs.readable[rows]]
    rng = np.random.default_rng((seed, 8))
    side = min(SIDE, inputs.array.shape[-1])
    rows = rng.choice(rows, PIECES)
    pictures = rows if inputs.offsets is None else rng.integers(inputs.offsets[rows], inputs.offsets[rows + 1])
    windows = sliding_window_view(inputs.array, (side, side), axis=(2, 3))
    top, left = (rng.integers(0, windows.shape[axis], PIECES) for axis in (2, 3))
    return windows[pictures, :, top, left].astype(np.float32) / 255

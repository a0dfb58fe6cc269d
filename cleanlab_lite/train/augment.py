"""Augmentation of whole batches on the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def uniform(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Numbers from 0 to 1, on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device)


def integers(low: int, high: int, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """int64 from `low` to `high`, both included, on the generator's device."""
    return torch.randint(low, high + 1, shape, generator=generator, device=generator.device)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each picture (b, c, s, s) left to right with probability 1/2."""
    flip = uniform((len(images),), generator).to(images.device) < 0.5
    return torch.where(flip[:, None, None, None], images.flip(3), images)


def random_shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Move each picture (b, c, s, s) by up to `pixels` in both directions; borders are reflected."""
    b, _, s, _ = images.shape
    padded = F.pad(images, (pixels,) * 4, mode="reflect")
    windows = padded.unfold(2, s, 1).unfold(3, s, 1)  # (b, c, offset, offset, s, s), a view
    row, column = integers(0, 2 * pixels, (2, b), generator).to(images.device)
    shifted = windows[torch.arange(b, device=images.device), :, row, column]
    return shifted.contiguous(memory_format=torch.channels_last)


def random_cutout(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Set a square of `side` pixels of each picture (b, c, s, s) to 0, the mean of normalised pictures.

    Its centre is any pixel, so it may reach over the border (DeVries and Taylor, 2017).
    """
    b, _, s, _ = images.shape
    first = (integers(0, s - 1, (2, b, 1), generator) - side // 2).to(images.device)
    pixel = torch.arange(s, device=images.device)
    row, column = (first <= pixel) & (pixel < first + side)  # (b, s) each
    return images.masked_fill((row[:, :, None] & column[:, None, :])[:, None], 0.0)


def random_tone(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Scale the contrast of each picture (b, c, s, s) by 1 +- `strength`, shift its brightness by +- `strength`.

    The shift is in standard deviations of normalised pictures.
    """
    change = (2 * uniform((2, len(images), 1, 1, 1), generator) - 1).to(images) * strength
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - middle) * (1 + change[0]) + middle + change[1]


def distort(images: Tensor, generator: torch.Generator) -> Tensor:
    """Strong augmentation of normalised pictures (b, c, s, s): tone, and a hole of half the side (16 px of 32)."""
    return random_cutout(random_tone(images, 0.5, generator), images.shape[-1] // 2, generator)


def random_roll(spectrograms: Tensor, frames: int, generator: torch.Generator) -> Tensor:
    """Move each (b, c, bands, t) in time by up to `frames`; what leaves at one end comes in at the other."""
    b, _, _, t = spectrograms.shape
    by = integers(-frames, frames, (b, 1), generator)
    source = ((torch.arange(t, device=by.device) - by) % t).to(spectrograms.device)
    return spectrograms.gather(3, source[:, None, None, :].expand_as(spectrograms))


def mask_bands(spectrograms: Tensor, generator: torch.Generator) -> Tensor:
    """SpecAugment (Park et al., Interspeech 2019) of normalised (b, c, bands, t): two masks along each of both axes.

    Each is up to 1/5 of its axis wide and sets to 0, the mean. torchaudio's `mask_along_axis_iid` takes no generator,
    masks channels apart, never reaches the last frame, and needs 3 to 8 times as long on a CPU.
    """
    b, _, bands, t = spectrograms.shape

    def masked(length: int) -> Tensor:
        """(b, length) bool"""
        width, place = uniform((2, b, 2, 1), generator)
        width = (width * (length / 5 + 1)).floor()
        start = (place * (length - width + 1)).floor()
        position = torch.arange(length, device=generator.device)
        return ((start <= position) & (position < start + width)).any(dim=1).to(spectrograms.device)

    return spectrograms.masked_fill((masked(bands)[:, :, None] | masked(t)[:, None, :])[:, None], 0.0)


def blur_vectors(vectors: Tensor, generator: torch.Generator, *, noise: float = 0.3, dropout: float = 0.2) -> Tensor:
    """Strong augmentation of vectors (b, d) with dimensions of mean 0 and deviation 1.

    Gaussian noise of deviation `noise`; a share `dropout` of the numbers is set to 0, their mean.
    """
    noisy = vectors + noise * torch.randn(vectors.shape, generator=generator, device=generator.device).to(vectors)
    return noisy.masked_fill((uniform(vectors.shape, generator) < dropout).to(vectors.device), 0.0)


def flips_preserve_labels(pixels: np.ndarray, labels: np.ndarray, teachable: np.ndarray, *, sample: int = 2000) -> bool:
    """Whether mirrored pictures still look like their class: true for photographs, false for letters and digits.

    Compares how often the nearest neighbour (cosine, 8x8 pixels) of a picture has its label when the picture
    is mirrored and when it is not. Wrong labels lower both shares alike.

    Args:
        pixels: (n, 3, s, s) uint8.
        labels: (n,) int64.
        teachable: (u,) int64, rows with a picture and a label.
    """
    rng = np.random.default_rng(0)
    rows = teachable[np.sort(rng.permutation(len(teachable))[:sample])]
    small = F.adaptive_avg_pool2d(torch.from_numpy(np.asarray(pixels[rows])).float(), 8)
    small = small - small.mean(dim=(1, 2, 3), keepdim=True)

    def agreement(queries: Tensor) -> float:
        similarity = F.normalize(queries.flatten(1)) @ F.normalize(small.flatten(1)).T
        similarity.fill_diagonal_(-2)  # a picture is no evidence about itself, nor is its mirror image
        return float(np.mean(labels[rows][similarity.argmax(1).numpy()] == labels[rows]))

    return agreement(small.flip(3)) > 0.8 * agreement(small)

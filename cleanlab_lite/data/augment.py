"""Augmentation of whole batches on the device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each picture (b, c, s, s) left to right with probability 1/2."""
    flip = torch.rand(len(images), generator=generator).to(images.device) < 0.5
    return torch.where(flip[:, None, None, None], images.flip(3), images)


def random_shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Move each picture (b, c, s, s) by up to `pixels` in both directions; borders are reflected."""
    b, _, s, _ = images.shape
    padded = F.pad(images, (pixels,) * 4, mode="reflect")
    windows = padded.unfold(2, s, 1).unfold(3, s, 1)  # (b, c, offset, offset, s, s), a view
    row, column = torch.randint(0, 2 * pixels + 1, (2, b), generator=generator).to(images.device)
    shifted = windows[torch.arange(b, device=images.device), :, row, column]
    return shifted.contiguous(memory_format=torch.channels_last)


def flips_preserve_labels(pixels: np.ndarray, labels: np.ndarray, *, sample: int = 2000, seed: int = 0) -> bool:
    """Whether mirrored pictures still look like their class: true for photographs, false for letters and digits.

    Compares how often the nearest neighbour (cosine, 8x8 pixels) of a picture has its label when the picture
    is mirrored and when it is not. Wrong labels lower both shares alike.

    Args:
        pixels: (n, 3, s, s) uint8.
        labels: (n,) int64, all valid.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(labels))[:sample])
    small = F.adaptive_avg_pool2d(torch.from_numpy(np.asarray(pixels[rows])).float(), 8)
    small = small - small.mean(dim=(1, 2, 3), keepdim=True)

    def agreement(queries: Tensor) -> float:
        similarity = F.normalize(queries.flatten(1)) @ F.normalize(small.flatten(1)).T
        similarity.fill_diagonal_(-2)  # a picture is no evidence about itself, nor is its mirror image
        return float(np.mean(labels[rows][similarity.argmax(1).numpy()] == labels[rows]))

    return agreement(small.flip(3)) > 0.8 * agreement(small)

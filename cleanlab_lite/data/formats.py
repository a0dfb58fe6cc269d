"""What files become: arrays of one shape; which size of pictures, which sample rate and patches, is read from some."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Protocol, TypeVar

import numpy as np

from cleanlab_lite.data import media
from cleanlab_lite.data.media import Decoded
from cleanlab_lite.data.sound import SoundFormat, sound_header
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.manifest.manifest import WHOLE, Segment

SIZES = (32, 48, 64, 96, 128)  # pixels; what `choose_image_size` chooses from
SHALLOW = (".jpg", ".jpeg", ".webp", ".gif", ".bmp")  # endings of pictures of 8 bits
DEEP = 64  # pictures that the depth is chosen by
HEADERS = 256  # files that a format is chosen by

Header = TypeVar("Header")


class Layout(Protocol):
    """What the arrays of a cache look like."""

    @property
    def folder(self) -> str:
        """Of the cache: one for each set of parameters."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of each array."""

    @property
    def dtype(self) -> str:
        """As NumPy writes it in a file, byte order included."""


class Decoder(Layout, Protocol):
    """How one file becomes arrays. Travels to the worker processes."""

    def decode(self, data: bytes, segment: Segment) -> Decoded:
        """Of a part of the file. Raises DecodeError."""


@dataclass(frozen=True)
class ImageFormat:
    """Pictures of `size` x `size` pixels."""

    size: int
    depth: int = 16  # bits of grey levels beyond 8
    dtype: ClassVar[str] = "|u1"

    @property
    def folder(self) -> str:
        deep = "" if self.depth == 16 else f"-{self.depth}bit"
        return f"images-v{media.PREPROCESSING_VERSION}-{self.size}{deep}"

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.size, self.size

    def decode(self, data: bytes, segment: Segment = WHOLE) -> Decoded:
        """Of a picture there are no parts."""
        deep = () if self.depth == 16 else (self.depth,)
        pixels, size = media.decode_image(data, self.size, *deep)
        return Decoded(pixels[None], size=size)


@dataclass(frozen=True)
class FeatureFormat:
    """Vectors of `dimensions` that an encoder makes of files. `encoder` is the identity of all that decides them."""

    encoder: str
    dimensions: int
    dtype: ClassVar[str] = "<f2"

    @property
    def folder(self) -> str:
        return f"features-v{media.PREPROCESSING_VERSION}-{self.encoder[:32]}"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dimensions,)


def choose_image_size(uris: Sequence[str] | np.ndarray, *, sample: int = HEADERS) -> int:
    """A square size in pixels for these pictures: their `median_side`, snapped down to one of `SIZES`; 32 at least."""
    median = median_side(uris, sample=sample)
    return max((size for size in SIZES if size <= median), default=SIZES[0])


def median_side(uris: Sequence[str] | np.ndarray, *, sample: int = HEADERS) -> float:
    """Of the shorter sides of these pictures, in pixels.

    Looks at the headers of `sample` evenly spaced files. Unreadable ones do not count; 0 when all are.
    """
    sides = [min(size) for size in _headers(uris, media.image_header, sample)]
    return float(np.median(sides)) if sides else 0.0


def choose_depth(uris: Sequence[str] | np.ndarray) -> int:
    """Bits of the grey levels of pictures that are stored with 16, by the largest of evenly spaced ones; else 16."""
    deep = [uri for uri in np.asarray(uris, dtype=np.str_).tolist() if os.path.splitext(uri)[1].lower() not in SHALLOW]
    return media.depth_of(max(_headers(deep, media.grey_peak, DEEP), default=0) or 1 << 15)


def choose_sound_format(
    uris: Sequence[str] | np.ndarray, sample_rate: int = 0, segments: np.ndarray | None = None
) -> tuple[SoundFormat, float]:
    """Sample rate and length of the patches for these clips, and the median length of the clips in seconds.

    The clips are the files, or the parts `segments` (n, 2) of them. 16 kHz unless most have less, then 8 kHz;
    `sample_rate` in Hz overrules it. Patches of 1 s, or of 0.5 s where most clips are no longer than that. Looks at
    headers of evenly spaced files; unreadable ones do not count.
    """
    found = np.array(_headers(list(dict.fromkeys(uris)), sound_header) or [(0, 0.0)])
    rate, seconds = np.median(found, axis=0)
    if segments is not None:
        seconds = np.nanmedian(np.minimum(segments[:, 1], seconds)) if np.isfinite(segments[:, 1]).any() else seconds
    chosen = sample_rate or (16_000 if rate >= 16_000 else 8_000)
    return SoundFormat(chosen, 0.512 if 0 < seconds <= 0.512 else 1.024), float(seconds)


def _headers(
    uris: Sequence[str] | np.ndarray, read: Callable[[BinaryIO], Header], sample: int = HEADERS
) -> list[Header]:
    """What `read` says of `sample` evenly spaced files; nothing of those that cannot be read."""
    found = []
    for row in np.unique(np.linspace(0, len(uris) - 1, min(sample, len(uris))).astype(np.int64)):
        with suppress(DecodeError):  # `load` reports it
            with media.opened(str(uris[row]), remote=True) as file:
                header = read(file)
            found.append(header)
    return found

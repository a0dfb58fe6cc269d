"""What a sample looks like, as pixels of any size: a picture, or a sound's spectrogram over its waveform.

Everything here is arrays, without a terminal. Pixels are square; a character cell is one wide and two high in colour,
two wide and four high in Braille dots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cleanlab_lite.data import media
from cleanlab_lite.data.sound import color_map, read_samples, sound_header, spectrogram, spectrogram_of
from cleanlab_lite.manifest.manifest import WHOLE, Segment

LONGEST, THUMBNAIL = 1024, 128  # pixels kept of a picture, and of a neighbour's
SECONDS = 60  # of a sound, from its start

# (width, height) -> pixels (h, w, 3) uint8, no larger than asked for
Paint = Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class Sound:
    """A decoded sound, mixed down to one channel."""

    wave: np.ndarray  # (t,) float32, -1 to 1
    rate: int  # Hz
    seconds: float  # of the whole file, or segment
    segment: Segment = WHOLE


@dataclass(frozen=True)
class Drawing:
    """How to draw a sample, and a line about it."""

    paint: Paint
    caption: str
    sound: Sound | None = None


def drawing(uri: str, modality: str, segment: Segment = WHOLE) -> Drawing:
    """The preview of a file, or a part of a sound. Raises DecodeError."""
    data = media.read_bytes(uri)
    if modality == "sound":
        sound = decode_sound(data, segment)
        return Drawing(lambda width, height: paint_sound(sound, width, height), _caption(sound), sound)
    pixels = np.asarray(media.thumbnail(data, LONGEST).convert("RGB"))
    return Drawing(lambda width, height: scale_to(pixels, width, height), f"{pixels.shape[1]} x {pixels.shape[0]}")


def drawing_of(decoded: np.ndarray) -> Drawing:
    """The same of what an audit has decoded: a picture (3, s, s) uint8, or patches of a sound (p, 1, s, s) uint8."""
    caption = "as decoded by the audit"
    if decoded.ndim == 4:
        return Drawing(lambda width, height: paint_patches(decoded, width, height), caption)
    pixels = decoded.transpose(1, 2, 0)
    return Drawing(lambda width, height: scale_to(pixels, width, height), caption)


@lru_cache(maxsize=512)
def neighbour_picture(uri: str) -> np.ndarray:
    """(h, w, 3) uint8, no side above `THUMBNAIL` pixels. Raises DecodeError."""
    return np.asarray(media.thumbnail(media.read_bytes(uri), THUMBNAIL).convert("RGB"))


def tile(thumbnails: Sequence[np.ndarray], background: tuple[int, int, int]) -> Paint:
    """Pictures side by side in squares as high as the space, as many as it takes."""

    def paint(width: int, height: int) -> np.ndarray:
        step = height + max(height // 8, 1)
        strip = np.full((height, width, 3), background, dtype=np.uint8)
        for place, pixels in enumerate(thumbnails[: (width + step - height) // step]):
            small = scale_to(pixels, height, height)
            top, left = (height - small.shape[0]) // 2, place * step + (height - small.shape[1]) // 2
            strip[top : top + small.shape[0], left : left + small.shape[1]] = small
        return strip

    return paint


def scale_to(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """`pixels` (h, w, 3) enlarged or reduced to fill `width` x `height` in their own proportions."""
    from PIL import Image

    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    size = max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1)
    kind = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(pixels).resize(size, kind))


def decode_sound(data: bytes, segment: Segment = WHOLE) -> Sound:
    """The first `SECONDS` of a WAV, FLAC, OGG or MP3 file, or of a part of one. Raises DecodeError."""
    wave, rate, _ = read_samples(data, SECONDS, segment=segment)
    left = sound_header(data)[1] - segment.offset
    return Sound(wave, rate, min(left, segment.duration), segment)


def paint_sound(sound: Sound, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8: the spectrogram, low frequencies below, and in the last quarter the waveform."""
    below = max(height // 4, 3)
    level = spectrogram(sound.wave, sound.rate, width, max(height - below - 1, 1))
    gap = np.zeros((1, width, 3), dtype=np.uint8)
    return np.concatenate([_MAP[level], gap, waveform(sound, width, below)])[:height]


def paint_patches(patches: np.ndarray, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8: the spectrogram that the patches (p, 1, s, s) of a sound are cut from."""
    return _MAP[spectrogram_of(patches, width, height)]


def waveform(sound: Sound, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8: the largest swing of every column, about the middle."""
    edges = np.linspace(0, len(sound.wave), width + 1)
    swing = np.array([np.abs(sound.wave[int(a) : max(int(b), int(a) + 1)]).max(initial=0.0) for a, b in _pairs(edges)])
    reach = swing / max(swing.max(), 1e-9) * height / 2
    distance = np.abs(np.arange(height) - (height - 1) / 2)
    lit = distance[:, None] <= np.maximum(reach, 0.5)[None, :]
    return np.where(lit[..., None], np.array([120, 200, 220], np.uint8), np.uint8(0))


def braille(pixels: np.ndarray) -> list[str]:
    """Lines of Braille characters for (4 h, 2 w, 3) pixels, dithered: bright is dotted."""
    from PIL import Image, ImageOps

    grey = ImageOps.autocontrast(Image.fromarray(pixels).convert("L"))
    dots = np.asarray(grey.convert("1"))
    rows, columns = dots.shape[0] // 4, dots.shape[1] // 2
    cells = dots[: 4 * rows, : 2 * columns].reshape(rows, 4, columns, 2).transpose(0, 2, 1, 3).reshape(rows, columns, 8)
    return ["".join(chr(0x2800 + code) for code in line) for line in (cells @ _DOTS).tolist()]


def sparkline(values: np.ndarray, width: int, low: float, high: float, *, wide: int = 1, rows: int = 1) -> list[str]:
    """Bars from `low` to `high`, `rows` lines from the top; a dot in the lowest where nothing is known.

    A bar is `wide` characters and stands for one value, or for a group of them where there are more than `width`.
    """
    groups = np.array_split(values, width) if len(values) > width else values[:, None]
    means = np.array([group[np.isfinite(group)].mean() if np.isfinite(group).any() else np.nan for group in groups])
    share = np.clip((means - low) / max(high - low, 1e-9), 0, 1)
    eighths = np.where(np.isfinite(share), 1 + np.rint(np.nan_to_num(share) * (8 * rows - 1)), 0).astype(int)
    lines = [
        "".join(wide * _BARS[bar] for bar in np.clip(eighths - 8 * floor, 0, 8).tolist())
        for floor in reversed(range(rows))
    ]
    return [*lines[:-1], lines[-1].replace(" ", "·")]


_BARS = " ▁▂▃▄▅▆▇█"
_DOTS = np.array([1, 8, 2, 16, 4, 32, 64, 128])  # bits of a Braille character, left to right, downwards


_MAP = color_map(32)  # steps: equal neighbours make short lines for the terminal


def _pairs(edges: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _caption(sound: Sound) -> str:
    part = f" of {sound.seconds:.0f}" if sound.seconds > SECONDS else ""
    place = f" from {sound.segment.offset:g} s" if sound.segment != WHOLE else ""
    return f"{min(sound.seconds, SECONDS):.1f}{part} s{place} · {sound.rate / 1000:g} kHz"

"""What a person sees or hears of a row in the page: a picture made small, or a short clip with its spectrogram.

WebP: at 320 pixels and an SSIM of .971, 7.1 kB and 9 ms (12 crops of photographs and 6 pictures of hands, one thread).
At .972 AVIF takes 10.4 kB at its fastest, and 95 ms for 9 kB at speed 6; JPEG takes 11.4 kB.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cleanlab_lite.data.media import read_bytes, thumbnail
from cleanlab_lite.data.sound import color_map, read_samples, spectrogram, spectrogram_of
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.manifest.manifest import WHOLE, Segment
from cleanlab_lite.manifest.sniff import HEAD, sniff
from cleanlab_lite.run import RunFolder

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

LARGE, SMALL = 320, 96  # pixels, longest side of a picture to judge, and of one to glance at
QUALITY, METHOD = 60, 4  # of WebP
SECONDS = 3.0  # of a clip: the loudest part of a longer sound
RATE = 16_000  # samples per second of a clip, MP3 of about 7 kB: every browser plays it
COMPRESSION = 0.7  # of MP3: 0 is the largest, 1 the smallest
BANDS = 128  # pixels of a large spectrogram, high; it is LARGE wide


@dataclass(frozen=True)
class Preview:
    """Data URIs, "" where there is none."""

    picture: str = ""
    sound: str = ""


def preview(uri: str, segment: Segment = WHOLE, side: int = SMALL) -> Preview:
    """Look at the file, or a part of a sound, and make it small: `side` pixels. What it is, its first bytes say.

    Raises DecodeError when it cannot be read.
    """
    data = read_bytes(uri)
    if segment == WHOLE and sniff(data[:HEAD]) != "sound":
        return Preview(picture=_webp(thumbnail(data, side)))
    samples, rate, _ = read_samples(data, segment=segment)
    return _clip(samples.astype(np.float64), rate, side)


def preview_of(run: RunFolder, row: int, side: int = SMALL) -> Preview:
    """What a row looks like; empty where that cannot be read. Of files elsewhere, what has been decoded of them."""
    from PIL import Image

    uris = run.manifest.uris
    if uris is None or not uris[row]:
        return Preview()
    if (decoded := run.decoded.get(row)) is not None:
        if decoded.ndim == 4:  # patches of a sound
            return Preview(_drawn(spectrogram_of(decoded, side, round(BANDS * side / LARGE))))
        picture = Image.fromarray(decoded.transpose(1, 2, 0))
        picture.thumbnail((side, side))
        return Preview(_webp(picture))
    try:
        return preview(uris[row], run.manifest.segment(row), side)
    except DecodeError:
        return Preview()  # the row is shown without; why the audit could not read it is in its `error`


def _clip(mono: np.ndarray, rate: int, side: int) -> Preview:
    """The loudest part of a sound at no more than RATE, and its spectrogram."""
    from scipy.signal import resample_poly

    mono = _loudest(mono, int(SECONDS * rate))
    common = math.gcd(RATE, rate)
    wave = resample_poly(mono, RATE // common, rate // common)
    wave /= max(float(np.abs(wave).max()), 1e-9)
    level = spectrogram(wave, RATE, side, round(BANDS * side / LARGE))
    return Preview(_drawn(level), _data_uri("audio/mpeg", _mp3(wave)))


def _loudest(wave: np.ndarray, length: int) -> np.ndarray:
    """The part of `length` samples that has the most energy."""
    if len(wave) <= length:
        return wave
    energy = np.concatenate([[0.0], np.cumsum(wave**2)])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return wave[start : start + length]


def _mp3(wave: np.ndarray) -> bytes:
    """Mono samples at RATE, within -1 and 1, as MP3."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, 0.9 * wave, RATE, format="MP3", compression_level=COMPRESSION)
    return buffer.getvalue()


def _drawn(level: np.ndarray) -> str:
    """A spectrogram (h, w) uint8 in colour."""
    from PIL import Image

    return _webp(Image.fromarray(_COLORS[level]))


def _webp(picture: Picture) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, method=METHOD)
    return _data_uri("image/webp", buffer.getvalue())


def _data_uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


_COLORS = color_map()

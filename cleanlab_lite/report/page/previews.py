"""What a person sees or hears of a row in the page: a small picture, or a short clip with its spectrogram."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cleanlab_lite.data.media import read_bytes, thumbnail
from cleanlab_lite.data.sound import read_samples, spectrogram
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.manifest.manifest import WHOLE, Segment

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SIDE = 88  # pixels, longest side of a picture
QUALITY = 72  # of WebP
SECONDS = 2.0  # of a clip: the loudest part of a longer sound
RATE = 8000  # samples per second of a clip, 8 bits each
MAX_ORIGINAL = 48_000  # bytes; a compressed sound travels as it is, or not at all
BANDS, FRAMES = 48, 96  # pixels of a spectrogram, high and wide

# Compressed sounds, by their first bytes. Browsers decode them, so they need no spectrogram of ours.
_COMPRESSED = (
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"\xff\xf2", "audio/mpeg"),
)


@dataclass(frozen=True)
class Preview:
    """Data URIs, "" where there is none."""

    picture: str = ""
    sound: str = ""


def preview(uri: str, segment: Segment = WHOLE) -> Preview:
    """Look at the file, or a part of a sound, and make it small; what it is, its first bytes say.

    Raises DecodeError when it cannot be read, or is a whole compressed sound of more than `MAX_ORIGINAL` bytes.
    """
    data = read_bytes(uri)
    if segment != WHOLE or (data[:4] == b"RIFF" and data[8:12] == b"WAVE"):
        samples, rate, _ = read_samples(data, segment=segment)
        return _small(samples.astype(np.float64), rate)
    for magic, mime in _COMPRESSED:
        if data.startswith(magic):
            if len(data) > MAX_ORIGINAL:
                raise DecodeError(
                    f"a compressed sound of {len(data)} bytes is too long for a preview", code="too_large"
                )
            return Preview(sound=_data_uri(mime, data))
    return Preview(picture=_webp(thumbnail(data, SIDE)))


def _small(mono: np.ndarray, rate: int) -> Preview:
    """The loudest part of a sound, at RATE."""
    from PIL import Image
    from scipy.signal import resample_poly

    mono = _loudest(mono, int(SECONDS * rate))
    common = math.gcd(RATE, rate)
    wave = resample_poly(mono, RATE // common, rate // common)
    wave /= max(float(np.abs(wave).max()), 1e-9)
    picture = Image.fromarray(spectrogram(wave, RATE, FRAMES, BANDS))
    return Preview(_webp(picture), _data_uri("audio/wav", _wav(np.rint(128 + 127 * wave).astype(np.uint8))))


def _loudest(wave: np.ndarray, length: int) -> np.ndarray:
    """The part of `length` samples that has the most energy."""
    if len(wave) <= length:
        return wave
    energy = np.concatenate([[0.0], np.cumsum(wave**2)])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return wave[start : start + length]


def _wav(samples: np.ndarray) -> bytes:
    """A WAVE file of 8-bit mono samples at RATE."""
    import wave

    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def _webp(picture: Picture) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, method=2)
    return _data_uri("image/webp", buffer.getvalue())


def _data_uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"

"""From bytes to log-mel patches. What a listener should know of a clip comes along as notes.

soundfile decodes, scipy resamples and NumPy makes the log-mel: worker processes would load torch for torchaudio. What
comes out is torchaudio's (tests/test_sound.py holds both against each other on chirps and noise):

- `log_mel` is MelSpectrogram(norm=None, mel_scale="htk", pad_mode="constant") in dB to within the rounding to uint8,
  0.16 dB: the filters are equal to 1e-5.
- `resampled` is functional.resample(lowpass_filter_width=16, rolloff=0.95) to within 0.2 % below 0.8 of half the lower
  rate. Between there and half the rate they differ, as scipy's filter (Kaiser, 10 zero crossings) falls off later.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import numpy as np

from cleanlab_lite.data.kinds import HEAD, refuse_sound
from cleanlab_lite.data.media import Decoded, stream_of
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.manifest.manifest import WHOLE, Segment

if TYPE_CHECKING:
    from soundfile import SoundFile

PREPROCESSING_VERSION = 3  # raise it whenever the same bytes give other patches or notes

SIDE = 64  # mel bands, and frames of a patch
STEP = SIDE // 2  # frames from patch to patch
MAX_PATCHES = 64  # of one clip, spread evenly over a longer one; 33 s at 1 s each
MAX_SECONDS = 300  # what lies behind is not read
MAX_VALUES = 1 << 27  # samples times channels read of one file: 512 MiB
SHORT_SECONDS = 0.1  # that a segment may reach behind the end of its file: durations are rounded, lossy files padded
PREROLL = 3 << 12  # samples decoded before a segment: what MP3 gives after a jump leans on frames it has not seen
BLOCK = 1 << 12  # samples of a channel decoded at a time: what a damaged place costs
WINDOW_SECONDS = 0.032
LOWEST_HZ = 50.0
RANGE_DB = 80.0  # below the loudest band of the clip
FRAMES = 128  # transformed at a time: 300 s would need gigabytes, and a thread fetches larger arrays anew each time
RATES = (1_000, 1_000_000)  # Hz; outside of it a header is broken

SILENT_PEAK = 1e-3  # -60 dB of full scale
CANCELLED = 1e-4  # share of the power of a channel that is left where the channels cancel each other
CHUNKS = 1 << 11  # bytes within which the data of a WAV begin
AFTER_DATA = (b"LIST", b"id3 ", b"ID3 ", b"fact", b"cue ", b"smpl", b"bext", b"PEAK", b"JUNK")  # of a WAV without data
CLIPPED_LEVEL = 0.9  # of full scale
CLIPPED_SHARE = 1e-3  # of the samples

# libsndfile also takes formats that are recognised by hardly anything; these begin with a signature.
FORMATS = {"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF"}
# What a WAV can hold as it is, and the type that carries it: libsndfile reads 16 bits as n / 2^15, but writes
# x (2^15 - 1) of floats
EXACT = dict.fromkeys(("PCM_U8", "PCM_16", "PCM_24", "PCM_32"), "int32") | {"FLOAT": "float32", "DOUBLE": "float64"}

_STDERR = threading.Lock()  # two threads that take it away would not give it back


@dataclass(frozen=True)
class SoundFormat:
    """How clips become patches: mono, log-mel, `SIDE` bands by `SIDE` frames, neighbours overlapping by half."""

    sample_rate: int  # Hz
    patch_seconds: float
    dtype: ClassVar[str] = "|u1"

    @property
    def folder(self) -> str:
        """Of the cache."""
        return f"sounds-v{PREPROCESSING_VERSION}-{self.sample_rate}-{1000 * self.patch_seconds:.0f}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a patch."""
        return 1, SIDE, SIDE

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return max(1, round(self.sample_rate * self.patch_seconds / SIDE))

    def patches(self, seconds: float) -> int:
        """How many a clip of this length is cut into."""
        return len(patch_starts(1 + int(seconds * self.sample_rate) // self.hop))

    def decode(self, data: bytes, segment: Segment = WHOLE) -> Decoded:
        """(p, 1, SIDE, SIDE) uint8 patches of a file or a part of it, from the lowest band up, and its notes:

        - silent: no sample is louder than -60 dB of full scale;
        - clipped: at least 0.1 % of the samples stand still near full scale (lossy formats hide it);
        - truncated: the file promises more than it holds, or the segment is more than 0.1 s longer than what is there;
        - low_sample_rate: lower than that of the patches, whose upper bands are empty then;
        - long: longer than what is read, 300 s.

        Raises DecodeError with code decode_failed, file_empty, truncated, not_finite, too_large or bad_segment.
        """
        samples, rate, notes = read_samples(data, segment=segment)
        if rate < self.sample_rate:
            notes = (*notes, "low_sample_rate")
        return Decoded(cut(log_mel(resampled(samples, rate, self.sample_rate), self.sample_rate, self.hop)), notes)


def sound_header(data: bytes | BinaryIO) -> tuple[int, float]:
    """Sample rate in Hz and duration in seconds, without decoding: of a stream only the header, and the end of an Ogg,
    is read. Raises DecodeError."""
    with _opened(data) as file:
        return file.samplerate, file.frames / file.samplerate


def read_samples(
    data: bytes, seconds: int | None = None, *, segment: Segment = WHOLE
) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """(t,) float32 mean of the channels, full scale is 1; the sample rate in Hz; notes as in `SoundFormat.decode`.

    Of the segment the first `seconds` are read, by default MAX_SECONDS. Its first sample is the one that counting from
    the start of the file gives; libsndfile 1.2.2 is up to 128 samples off in the last page of an Ogg file.
    """
    with _opened(data) as file:
        rate = file.samplerate
        start, asked = seek(file, segment)
        promised = file.frames - start
        there = round(min(promised, asked))
        wanted = min(there, (seconds or MAX_SECONDS) * rate, MAX_VALUES // file.channels)
        guessed = file.format == "MP3" and not _says_its_length(data)
        still = 0
        parts, firsts = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
        for block in _blocks(file, wanted, "float32"):
            parts.append(block.mean(axis=1))
            firsts.append(block[:, 0].copy() if file.channels > 1 else parts[-1])
            still += stands_still(block)
    samples, first = np.concatenate(parts), np.concatenate(firsts)
    if np.square(samples).sum() < CANCELLED * np.square(first).sum():  # one channel is the other upside down
        samples = first
    short = promises_more(data) if math.isinf(segment.duration) else asked - promised > SHORT_SECONDS * rate
    if not len(samples):
        raise DecodeError("the sound holds 0 samples", code="truncated" if promised else "file_empty")
    if not np.isfinite(samples).all():
        raise DecodeError("the sound holds NaN or infinity", code="not_finite")
    notes = {
        "silent": np.ptp(samples) < 2 * SILENT_PEAK,
        "clipped": still >= CLIPPED_SHARE * len(samples) and still > 2,
        "truncated": (len(samples) < wanted and not guessed) or short,
        "long": wanted < there,
    }
    return samples, rate, tuple(note for note, holds in notes.items() if holds)


def cut_out(data: bytes, segment: Segment) -> bytes:
    """A WAV file of a part of a sound: same rate and channels, and the same samples unless the source was lossy.

    Raises DecodeError.
    """
    import soundfile

    result = io.BytesIO()
    with _opened(data) as file:
        start, asked = seek(file, segment)
        subtype = file.subtype if file.subtype in EXACT else "PCM_16"
        with soundfile.SoundFile(result, "w", file.samplerate, file.channels, subtype, format="WAV") as part:
            for block in _blocks(file, round(min(file.frames - start, asked)), EXACT.get(file.subtype, "float64")):
                part.write(block)
    return result.getvalue()


def _blocks(file: SoundFile, count: int, dtype: str) -> Iterator[np.ndarray]:
    """The next `count` samples as (t, channels), or as many as can be decoded. Raises DecodeError where none can."""
    import soundfile

    read = 0
    while read < count:
        try:
            block = file.read(min(BLOCK, count - read), dtype=dtype, always_2d=True)
        except soundfile.LibsndfileError as error:  # what was decoded before counts
            if not read:
                raise DecodeError(f"cannot decode the sound: {error.error_string}", code="truncated") from error
            return
        if not len(block):
            return
        yield block
        read += len(block)


def seek(file: SoundFile, segment: Segment) -> tuple[int, float]:
    """Go to the first sample of the segment; its number, and how many the segment asks for, which may be infinite.

    Raises DecodeError with code bad_segment where there are none, or truncated where the file breaks off before it.
    """
    import soundfile

    if segment == WHOLE:
        return 0, math.inf
    offset, duration = segment
    start, asked = offset * file.samplerate, duration * file.samplerate
    if not (0 <= start < file.frames - 0.5 and asked >= 0.5):  # so is NaN
        found = f"offset {offset:g} s, duration {'to the end' if math.isinf(duration) else f'{duration:g} s'}"
        raise DecodeError(
            f"the row names no part of the sound ({found}): it has {file.frames / file.samplerate:g} s",
            code="bad_segment",
        )
    first = round(start)
    try:
        file.seek(max(0, first - PREROLL))
        file.read(min(first, PREROLL))
    except soundfile.LibsndfileError as error:
        raise DecodeError(
            f"the sound breaks off before {offset:g} s: {error.error_string}", code="truncated"
        ) from error
    return first, asked


@contextmanager
def _opened(data: bytes | BinaryIO) -> Iterator[SoundFile]:
    """The sound, header read. Raises DecodeError for what is none, or has an absurd sample rate."""
    import soundfile

    stream, head = stream_of(data)
    refuse_sound(stream.read(HEAD))
    stream.seek(0)
    stream = _mended(stream)
    with _quiet() if head[:3] == b"ID3" or head[:1] == b"\xff" else nullcontext():
        try:
            file = soundfile.SoundFile(stream)
        except soundfile.LibsndfileError as error:
            raise DecodeError(
                f"not a sound, or its header is broken: {error.error_string} Starts with {head!r}"
            ) from error
        with file:
            if file.format not in FORMATS or not RATES[0] <= file.samplerate <= RATES[1]:
                raise DecodeError(
                    f"cannot decode a sound of format {file.format} with {file.samplerate} samples a second"
                )
            # else soundfile jumps to where it is after every read, and what MP3 gives there is wrong (see PREROLL)
            file.seekable = lambda: False
            yield file


@contextmanager
def _quiet() -> Iterator[None]:
    """libmpg123 writes about broken MP3s, and after a seek, to the terminal; they are rows of the report instead."""
    with _STDERR:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def stands_still(block: np.ndarray) -> int:
    """How many samples of (t, channels) near full scale equal both of their neighbours, in the worst channel."""
    middle = block[1:-1]
    still = (np.abs(middle) >= CLIPPED_LEVEL) & (middle == block[:-2]) & (middle == block[2:])
    return int(still.sum(axis=0).max(initial=0))


def promises_more(data: bytes) -> bool:
    """Whether a WAV says it has more data than follows, or an Ogg stream lacks its last page."""
    if data[:4] == b"OggS":
        last = data.rfind(b"OggS")
        flags = int.from_bytes(data[last + 5 : last + 6], "little")
        return not flags & 4
    if data[:4] != b"RIFF":
        return False
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            return len(data) < at + 8 + size < 2**32 - 1  # all bits set: written to a pipe, length unknown
        at += 8 + size + size % 2
    return False


def _says_its_length(data: bytes) -> bool:
    """Whether an MP3 begins with a frame that counts the others; else its length is guessed from the first of them."""
    start = 0
    if data[:3] == b"ID3" and len(data) > 10:
        size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]
        start = 10 + size
    head = data[start : start + 4096]
    return any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def _mended(stream: BinaryIO) -> BinaryIO:
    """A WAV that was written to a pipe says 0 where the size of its data belongs: with the size that it has."""
    head = stream.read(12)
    stream.seek(0)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return stream
    start = stream.read(CHUNKS)
    stream.seek(0)
    at = 12
    while at + 8 <= len(start) and start[at : at + 4] != b"data":
        at += 8 + (size := int.from_bytes(start[at + 4 : at + 8], "little")) + size % 2
    following = start[at + 8 : at + 12]
    if start[at : at + 8] != b"data\0\0\0\0" or len(following) < 4 or following in AFTER_DATA:
        return stream
    data = bytearray(stream.read())
    data[at + 4 : at + 8] = min(len(data) - at - 8, 2**32 - 1).to_bytes(4, "little")
    data[4:8] = min(len(data) - 8, 2**32 - 1).to_bytes(4, "little")
    return io.BytesIO(bytes(data))


def resampled(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """(t,) at `to` Hz instead of `rate`, by a polyphase filter."""
    if rate == to or len(samples) < 2:
        return samples
    from scipy.signal import resample_poly

    ratio = Fraction(to, rate).limit_denominator(1000)  # off by less than 1e-3 of a semitone, and short filters
    return resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32)


def log_mel(samples: np.ndarray, rate: int, hop: int) -> np.ndarray:
    """(SIDE, frames) uint8: power of mel bands, 0-255 for -80 to 0 dB of the loudest; frames `hop` samples apart."""
    window = round(WINDOW_SECONDS * rate)
    size = 1 << (2 * window - 1).bit_length()  # at least twice the window, or the lowest bands share their bins
    padded = np.pad(samples - samples.mean(), window // 2)
    padded = np.pad(padded, (0, max(0, window - len(padded))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]  # (frames, window), a view
    hann = np.hanning(window + 1)[:-1].astype(np.float32)
    filters = mel_filters(rate, size)
    power = np.concatenate(
        [
            np.square(np.abs(np.fft.rfft(frames[start : start + FRAMES] * hann, size))).astype(np.float32) @ filters
            for start in range(0, len(frames), FRAMES)
        ]
    )
    loudest = float(power.max())
    if loudest <= 0:
        return np.zeros(power.T.shape, np.uint8)
    decibel = 10 * np.log10(np.maximum(power / loudest, 10 ** (-RANGE_DB / 10)))
    return np.ascontiguousarray(np.rint((decibel / RANGE_DB + 1) * 255).astype(np.uint8).T)


def spectrogram(samples: np.ndarray, rate: int, width: int, height: int) -> np.ndarray:
    """(height, width) uint8: what proxies see of samples (t,), for people. Low frequencies are below.

    A column shows the loudest of its frames, so that nothing between two columns is lost. Frames that share more than
    seven eighths of their samples would say the same again: half the time, and 1.4 of 255 levels beside four a column.
    """
    from PIL import Image

    window, column = round(WINDOW_SECONDS * rate), len(samples) // width
    hop = max(1, min(max(window // 8, column // 4), column, window // 2))  # a click between two frames loses 0.3 dB
    level = log_mel(samples if len(samples) else np.zeros(1, np.float32), rate, hop)[::-1]
    starts = np.linspace(0, level.shape[1], width, endpoint=False).astype(int)
    kind = Image.Resampling.BOX if height < SIDE else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(np.maximum.reduceat(level, starts, axis=1)).resize((width, height), kind))


def spectrogram_of(patches: np.ndarray, width: int, height: int) -> np.ndarray:
    """(height, width) uint8: the same of the patches (p, 1, SIDE, SIDE) of a clip, where the clip is not at hand."""
    from PIL import Image

    kind = Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(joined(patches)[::-1]).resize((width, height), kind))


def color_map(steps: int = 256) -> np.ndarray:
    """(256, 3) uint8, colours of a spectrogram: from black over violet to pale yellow, in `steps`."""
    anchors = np.array([(0, 0, 0), (60, 15, 110), (165, 45, 125), (240, 110, 80), (255, 195, 110), (255, 250, 220)])
    places = np.linspace(0, 1, len(anchors))
    level = np.floor(np.linspace(0, 1, 256) * (steps - 1)) / (steps - 1)
    return np.stack([np.interp(level, places, anchors[:, channel]) for channel in range(3)], axis=1).astype(np.uint8)


@lru_cache
def mel_filters(rate: int, size: int) -> np.ndarray:
    """(size // 2 + 1, SIDE) float32 triangles, evenly spaced in mel = 2595 log10(1 + f / 700), each of height 1."""
    lowest, highest = 2595 * np.log10(1 + np.array([LOWEST_HZ, rate / 2]) / 700)
    corners = 700 * (10 ** (np.linspace(lowest, highest, SIDE + 2) / 2595) - 1)  # Hz
    frequency = np.fft.rfftfreq(size, 1 / rate)[:, None]
    rising = (frequency - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequency) / (corners[2:] - corners[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def patch_starts(frames: int) -> np.ndarray:
    """First frames of the patches of a clip: all of it is covered, unless it needs more than MAX_PATCHES."""
    last = max(0, frames - SIDE)
    count = 1 + -(-last // STEP)
    return np.linspace(0, last, min(count, MAX_PATCHES)).round().astype(np.int64)


def cut(spectrogram: np.ndarray) -> np.ndarray:
    """(p, 1, SIDE, SIDE) patches of (SIDE, frames); what is shorter than a patch stands in the middle of silence."""
    missing = max(0, SIDE - spectrogram.shape[1])
    padded = np.pad(spectrogram, ((0, 0), (missing // 2, missing - missing // 2)))
    return np.stack([padded[None, :, start : start + SIDE] for start in patch_starts(padded.shape[1])])


def joined(patches: np.ndarray) -> np.ndarray:
    """(SIDE, frames): the spectrogram that `cut` has made patches (p, 1, SIDE, SIDE) of.

    How long it was, the columns say that two patches share; those of a clip that was too long stand side by side.
    """
    pairs = list(itertools.pairwise(patches[:, 0]))
    least, most = max((len(pairs) - 1) * STEP, -1), len(pairs) * STEP  # frames from the first patch to the last
    for last in (*range(most, least, -1), *range(most + 1, len(pairs) * SIDE + 1)):
        steps = np.diff(np.linspace(0, last, len(patches)).round().astype(np.int64)).tolist()
        if all(np.array_equal(a[:, by:], b[:, : SIDE - by]) for (a, b), by in zip(pairs, steps, strict=True)):
            break
    parts = [b[:, SIDE - by :] for (_, b), by in zip(pairs, steps, strict=True)]
    return np.concatenate([patches[0, 0], *parts], axis=1)

"""Make the sounds of this folder: `python sample_data/make_sounds.py [FOLDER]`.

Everything is drawn from numpy's RandomState, whose streams are frozen; the files are WAV of 8 kHz and 8 bits.
"""

from __future__ import annotations

import io
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
from make_samples import NONE_OF_THESE, Sample, write_files

RATE = 8000  # Hz
SECONDS = (0.3, 1.3)
CLIPS = 54  # of each class
MISLABELS = 0.10
OUT_OF_VOCABULARY = 0.04
CONFUSED = {  # what a tired person hears instead
    "bell": "tone",
    "clicks": "hiss",
    "falling": "rising",
    "hiss": "clicks",
    "rising": "falling",
    "siren": "tremolo",
    "tone": "bell",
    "tremolo": "siren",
}

Draw = np.random.RandomState


def main(folder: Path) -> None:
    write_files(folder / "sounds", samples(), ".wav")


def samples() -> list[Sample]:
    rng = Draw(5)
    known = [Sample(wav(recorded(sound, rng)), name, name) for name, sound in CLASSES.items() for _ in range(CLIPS)]
    known = [known[i] for i in rng.permutation(len(known))]
    wrong = round(MISLABELS * len(known))
    for sample in known[:wrong]:
        others = sorted(set(CLASSES) - {sample.true_label})
        sample.label = CONFUSED[sample.true_label] if rng.rand() < 0.7 else others[rng.randint(len(others))]
        sample.planted = "mislabel"

    strangers = [
        Sample(
            wav(recorded(sound, rng)), sorted(CLASSES)[rng.randint(len(CLASSES))], NONE_OF_THESE, "out_of_vocabulary"
        )
        for sound in (melody, words) * round(OUT_OF_VOCABULARY * len(known) / 2)
    ]
    empty, headless, cut, loud, quiet, twin = known[wrong : wrong + 6]
    empty.content, empty.planted = b"", "unreadable"
    headless.content, headless.planted = headless.content[:12] + bytes(16) + headless.content[28:], "unreadable"
    cut.content, cut.planted = cut.content[: len(cut.content) * 2 // 3], "truncated"
    loud.content, loud.planted = wav(np.clip(6 * recorded(CLASSES[loud.label], rng), -1, 1)), "clipped"
    quiet.content, quiet.true_label, quiet.planted = wav(np.zeros(RATE)), NONE_OF_THESE, "silent"
    twin.planted = "duplicate_conflict"  # the same bytes under two labels; the other one is wrong
    other = Sample(twin.content, CONFUSED[twin.true_label], twin.true_label, "duplicate_conflict")
    rows = [*known, *strangers, other]
    return [rows[i] for i in rng.permutation(len(rows))]


# --- Sounds: (t,) about -1..1 of a time axis in seconds --------------------------------------------------------------


def recorded(sound: Callable[[np.ndarray, Draw], np.ndarray], rng: Draw) -> np.ndarray:
    """(t,) a sound of random length and loudness, over noise 15 to 35 dB below it."""
    seconds = SECONDS[0] * (SECONDS[1] / SECONDS[0]) ** rng.rand()
    t = np.arange(round(seconds * RATE)) / RATE
    clean = sound(t, rng)
    clean = clean / np.abs(clean).max()
    noise = rng.normal(size=len(t)) * clean.std() * 10 ** (-rng.uniform(15, 35) / 20)
    return (clean + noise) * rng.uniform(0.25, 0.6)


def voice(frequency: np.ndarray, rng: Draw, *, overtones: int = 3) -> np.ndarray:
    """(t,) harmonics of a frequency in Hz, per sample (t,)."""
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    return sum(rng.uniform(0.1, 1.0) / k * np.sin(k * phase) for k in range(1, overtones + 1))


def pitch(rng: Draw, low: float = 250, high: float = 1000) -> float:
    return low * (high / low) ** rng.rand()


def tone(t: np.ndarray, rng: Draw) -> np.ndarray:
    return voice(np.full(len(t), pitch(rng)), rng)


def bell(t: np.ndarray, rng: Draw) -> np.ndarray:
    """Partials that are no harmonics, struck once."""
    base = pitch(rng)
    partials = [np.sin(2 * np.pi * base * ratio * t) / ratio for ratio in (1.0, 2.76, 1.52, 3.4)]
    return sum(partials) * np.exp(-t * rng.uniform(5, 9))


def rising(t: np.ndarray, rng: Draw) -> np.ndarray:
    return voice(pitch(rng, 250, 600) * 2 ** (rng.uniform(1, 1.6) * t / t[-1]), rng, overtones=2)


def falling(t: np.ndarray, rng: Draw) -> np.ndarray:
    return rising(t, rng)[::-1]


def siren(t: np.ndarray, rng: Draw) -> np.ndarray:
    """Pitch goes up and down."""
    return voice(pitch(rng) * 2 ** (0.25 * np.sin(2 * np.pi * (rng.uniform(4, 7) * t + rng.rand()))), rng)


def tremolo(t: np.ndarray, rng: Draw) -> np.ndarray:
    """Loudness goes up and down."""
    return tone(t, rng) * (0.55 + 0.45 * np.sin(2 * np.pi * (rng.uniform(5, 9) * t + rng.rand())))


def hiss(t: np.ndarray, rng: Draw) -> np.ndarray:
    """Bursts of noise."""
    gate = np.sin(2 * np.pi * (rng.uniform(2, 4) * t + rng.rand())) > -0.3
    return rng.normal(size=len(t)) * (gate + 0.05)


def clicks(t: np.ndarray, rng: Draw) -> np.ndarray:
    places = np.arange(rng.uniform(0, 0.05), t[-1], rng.uniform(0.06, 0.14))
    signal = np.zeros(len(t))
    signal[(places * RATE).astype(int)] = 1
    return np.convolve(signal, np.exp(-np.arange(40) / 6) * rng.choice([-1, 1], 40))[: len(t)]


def melody(t: np.ndarray, rng: Draw) -> np.ndarray:
    """Of no class: a note after the other."""
    notes = np.array([pitch(rng, 300, 2500) for _ in range(16)])
    return voice(notes[(t / 0.09).astype(int) % 16], rng, overtones=1)


def words(t: np.ndarray, rng: Draw) -> np.ndarray:
    """Of no class: a buzz through a resonance that wanders, in syllables."""
    buzz = voice(np.full(len(t), rng.uniform(90, 130)), rng, overtones=25)
    resonance = np.sin(2 * np.pi * np.cumsum(900 + 600 * np.sin(2 * np.pi * rng.uniform(2, 4) * t)) / RATE)
    return buzz * resonance * (np.sin(2 * np.pi * (rng.uniform(3, 5) * t + rng.rand())) > -0.2)


CLASSES: dict[str, Callable[[np.ndarray, Draw], np.ndarray]] = {
    "bell": bell,
    "clicks": clicks,
    "falling": falling,
    "hiss": hiss,
    "rising": rising,
    "siren": siren,
    "tone": tone,
    "tremolo": tremolo,
}


# --- Files -----------------------------------------------------------------------------------------------------------


def wav(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(RATE)
        file.writeframes(np.rint(samples.clip(-1, 1) * 127 + 128).astype(np.uint8).tobytes())
    return buffer.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)

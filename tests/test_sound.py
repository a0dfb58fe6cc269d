"""Sounds: what becomes of the bytes, what is said of broken ones, clips of several patches, and a whole audit."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from audit_world import OPTIONS, findings, write_csv

from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data import decode, packs, sound
from cleanlab_lite.data.cache import load
from cleanlab_lite.data.formats import choose_sound_format
from cleanlab_lite.data.inputs import load_inputs
from cleanlab_lite.data.sound import SIDE, SoundFormat, cut, joined, patch_starts, sound_header, spectrogram
from cleanlab_lite.errors import ConfigError, DecodeError, StoppedEarly
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.pipeline import run_audit, run_key
from cleanlab_lite.run import Run
from cleanlab_lite.train.augment import mask_bands, random_roll
from cleanlab_lite.train.fit import Teaching, fit, observe
from cleanlab_lite.train.loader import Samples
from cleanlab_lite.train.models import build_proxy
from cleanlab_lite.train.plan import make_plan
from cleanlab_lite.train.strategies import Learner

CPU = torch.device("cpu")
FORM = SoundFormat(8000, 1.024)
FORMATS = [("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(packs, "RACY_NS", 0)


def tone(hertz: float, seconds: float, rate: int = 8000) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def encoded(samples: np.ndarray, rate: int = 8000, form: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def rejected(data: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        FORM.decode(data)
    assert "0x" not in caught.value.message  # an address would differ from run to run
    return caught.value


def loudest_band(patches: np.ndarray) -> int:
    return int(patches[0, 0].mean(axis=1).argmax())


# --- from bytes to patches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
def test_every_format_is_decoded(form, subtype):
    data = encoded(tone(440, 1.5, 16000), 16000, form, subtype)
    rate, seconds = sound_header(data)
    assert rate == 16000 and seconds == pytest.approx(1.5, abs=0.01)
    patches, notes, _ = FORM.decode(data)
    assert (patches.shape, patches.dtype, notes) == ((2, 1, SIDE, SIDE), np.uint8, ())
    assert abs(loudest_band(patches) - loudest_band(FORM.decode(encoded(tone(440, 1.5)))[0])) <= 1


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
@pytest.mark.parametrize("hertz", [300, 440, 1000, 3000])
def test_a_tone_has_its_band_whatever_the_sample_rate(rate, hertz):
    patches, *_ = FORM.decode(encoded(tone(hertz, 1, rate), rate))
    mel = 2595 * np.log10(1 + np.array([50, hertz, 4000]) / 700)
    expected = (mel[1] - mel[0]) / (mel[2] - mel[0]) * (SIDE + 1) - 1  # bands are evenly spaced between the ends
    assert abs(loudest_band(patches) - expected) <= 0.75
    assert patches.max() == 255


def test_what_is_above_half_the_new_rate_is_gone():
    both = tone(500, 1, 44100) + tone(6000, 1, 44100)
    clean = FORM.decode(encoded(tone(500, 1, 44100), 44100))[0].astype(int)
    assert np.abs(FORM.decode(encoded(both, 44100))[0][0, 0, :, 5:-5] - clean[0, 0, :, 5:-5]).mean() < 3


def test_channels_are_averaged_and_loudness_does_not_count():
    left = tone(440, 1)
    stereo = np.stack([left, np.zeros_like(left)], axis=1)
    mono, quiet = (FORM.decode(encoded(x, subtype="FLOAT"))[0].astype(int) for x in (left, left / 20))
    assert np.abs(FORM.decode(encoded(stereo, subtype="FLOAT"))[0] - mono).max() <= 1
    assert np.abs(quiet - mono).max() <= 1


@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.0, 1.1, 2.6, 30.0, 70.0])
def test_patches_cover_the_clip_and_are_as_many_as_planned(seconds):
    patches, *_ = FORM.decode(encoded(tone(440, seconds)))
    assert len(patches) == FORM.patches(seconds) <= sound.MAX_PATCHES
    if 1.1 <= seconds <= 30:
        assert (patches[:, 0].max(axis=1) > 200).mean() > 0.97  # something sounds in nearly every frame


def test_starts_overlap_by_half_and_reach_the_end():
    assert patch_starts(1).tolist() == patch_starts(64).tolist() == [0]
    assert patch_starts(65).tolist() == [0, 1]
    assert patch_starts(160).tolist() == [0, 32, 64, 96]
    spread = patch_starts(100_000)
    assert (len(spread), spread[0], spread[-1]) == (sound.MAX_PATCHES, 0, 100_000 - 64)


def test_a_short_clip_stands_in_the_middle_of_silence():
    patch = FORM.decode(encoded(tone(440, 0.2)))[0][0, 0]
    loud = np.flatnonzero(patch.max(axis=0) > 128)
    assert 10 <= len(loud) <= 16 and abs(loud.mean() - 31.5) <= 1
    assert not patch[:, :20].any()


# --- against torchaudio ----------------------------------------------------------------------------------------------


def sweep(kind: str, rate: int) -> np.ndarray:
    """(2 s,) float32, a chirp up to 0.9 of half the rate, or noise."""
    time = np.arange(2 * rate) / rate
    if kind == "chirp":
        return (0.5 * np.sin(2 * np.pi * (100 + 0.11 * rate * time) * time)).astype(np.float32)
    return (0.2 * np.random.default_rng(0).normal(size=len(time))).astype(np.float32)


@pytest.mark.parametrize("kind", ["chirp", "noise"])
@pytest.mark.parametrize(("rate", "to"), [(44100, 16000), (48000, 16000), (11025, 8000), (16000, 8000), (8000, 16000)])
def test_resampling_agrees_with_torchaudio(kind, rate, to):
    torchaudio = pytest.importorskip("torchaudio")
    samples = sweep(kind, rate)
    ours = sound.resampled(samples, rate, to)
    theirs = torchaudio.functional.resample(
        torch.from_numpy(samples), rate, to, lowpass_filter_width=16, rolloff=0.95
    ).numpy()
    assert len(ours) == len(theirs)
    passed = int(0.4 * min(rate, to) * len(ours) / to)  # 0.8 of half the lower rate
    spectra = [np.fft.rfft(each * np.hanning(len(each)))[:passed] for each in (ours, theirs)]
    assert np.linalg.norm(spectra[0] - spectra[1]) < 2e-3 * np.linalg.norm(spectra[1])


@pytest.mark.parametrize("kind", ["chirp", "noise"])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_log_mel_agrees_with_torchaudio(kind, rate):
    transforms = pytest.importorskip("torchaudio.transforms")
    samples = sweep(kind, rate)
    window = round(sound.WINDOW_SECONDS * rate)
    hop = SoundFormat(rate, 1.024).hop
    mel = transforms.MelSpectrogram(
        rate,
        n_fft=2 * window,
        win_length=window,
        hop_length=hop,
        f_min=sound.LOWEST_HZ,
        n_mels=SIDE,
        pad_mode="constant",
        norm=None,
        mel_scale="htk",
    )
    power = mel(torch.from_numpy(samples - samples.mean())).numpy()
    decibel = 10 * np.log10(np.maximum(power / power.max(), 1e-8))
    ours = sound.log_mel(samples, rate, hop)
    assert ours.shape == decibel.shape
    assert np.abs(ours - (1 + decibel / sound.RANGE_DB) * 255).max() < 0.51  # ours is rounded to a whole number


# --- clips that something is wrong with ------------------------------------------------------------------------------


def test_notes_of_readable_clips():
    notes = {
        "fine": tone(440, 1),
        "loud": 2 * tone(440, 1),  # touches full scale, but does not stay there
        "silent": 1e-4 * tone(440, 1),
        "clipped": np.clip(6 * tone(440, 1), -1, 1),
    }
    found = {name: FORM.decode(encoded(samples))[1] for name, samples in notes.items()}
    assert found == {"fine": (), "loud": (), "silent": ("silent",), "clipped": ("clipped",)}
    assert FORM.decode(encoded(np.zeros(8000)))[1] == ("silent",)
    assert SoundFormat(16000, 1.024).decode(encoded(tone(440, 1)))[1] == ("low_sample_rate",)


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
def test_half_a_file_is_truncated(form, subtype):
    rng = np.random.default_rng(0)
    data = encoded(0.2 * rng.normal(size=8 * 8000), 8000, form, subtype)
    patches, notes, _ = FORM.decode(data[: len(data) // 2])
    assert notes == ("truncated",)
    assert 5 <= len(patches) <= 9  # of 15


def test_a_wav_written_to_a_pipe_is_whole():
    data = bytearray(encoded(tone(440, 1)))
    assert data[36:40] == b"data"
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert FORM.decode(bytes(data))[1] == ()


def test_only_the_first_minutes_of_a_recording_count(monkeypatch):
    monkeypatch.setattr(sound, "MAX_SECONDS", 5)
    patches, notes, _ = FORM.decode(encoded(np.concatenate([tone(440, 5), np.zeros(8000 * 595)]), form="FLAC"))
    assert notes == ("long",) and len(patches) == FORM.patches(5)
    assert (patches[:, 0].max(axis=1) > 128).mean() > 0.95


@pytest.mark.parametrize("name", ["text", "zeros", "mp3", "id3", "flac", "ogg", "riff"])
def test_what_is_no_sound_is_rejected_quietly(name, capfd):
    head = {"zeros": b"", "mp3": b"\xff\xfb\x90\x64", "id3": b"ID3\4", "flac": b"fLaC", "ogg": b"OggS"}
    riff = b"RIFF\x24\0\0\0WAVEfmt " + bytes(24)
    data = b"hello, world\n" * 9 if name == "text" else riff if name == "riff" else head[name] + bytes(400)
    error = rejected(data)
    assert error.code == "decode_failed" and repr(data[:12]) in error.message
    assert capfd.readouterr().err == ""


def test_broken_mp3s_do_not_write_to_the_terminal(capfd):
    data = bytearray(encoded(tone(440, 4), form="MP3"))
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    FORM.decode(bytes(data))
    print("still heard", file=sys.stderr)
    assert capfd.readouterr().err == "still heard\n"


def test_other_ways_to_be_unreadable():
    assert rejected(encoded(np.zeros(0))).code == "file_empty"
    assert rejected(encoded(np.where(np.arange(8000) == 5000, np.nan, tone(440, 1)), subtype="FLOAT")).code == (
        "not_finite"
    )
    absurd = bytearray(encoded(tone(440, 1)))
    absurd[24:28] = (2**31 - 1).to_bytes(4, "little")
    assert "2147483647" in rejected(bytes(absurd)).message
    flac = encoded(tone(440, 1), form="FLAC")
    assert rejected(flac[:200]).code == "truncated"


def test_one_sample_is_a_clip():
    patches, *_ = FORM.decode(encoded(np.array([0.5])))
    assert patches.shape == (1, 1, SIDE, SIDE)


# --- the cache -------------------------------------------------------------------------------------------------------


def save(folder: Path, clips: dict[str, np.ndarray | bytes], rate: int = 8000) -> list[str]:
    for name, clip in clips.items():
        (folder / name).write_bytes(clip if isinstance(clip, bytes) else encoded(clip, rate))
    return [str(folder / name) for name in clips]


CLIPS = {"a.wav": tone(440, 0.5), "b.wav": b"", "c.wav": tone(900, 3), "d.wav": np.zeros(8000), "e.wav": tone(440, 0.5)}


@pytest.mark.parametrize("memory", [1 << 30, 1])
def test_a_second_call_finds_everything_in_the_cache(tmp_path, memory, monkeypatch):
    monkeypatch.setattr(packs, "MEMORY_BYTES", memory)
    uris = save(tmp_path, CLIPS)
    first = load(uris, FORM, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(sound, "read_samples", None)  # whoever decodes now fails
    for order in ([0, 1, 2, 3, 4], [3, 2, 0], [2, 2]):
        again = load([uris[i] for i in order], FORM, cache_dir=tmp_path / "cache")
        assert again.decoded == 0
        assert again.notes.tolist() == [["", "", "", "silent", ""][i] for i in order]
        for row, i in enumerate(order):
            found, expected = (
                store.pixels[store.offsets[k] : store.offsets[k + 1]] for store, k in ((again, row), (first, i))
            )
            np.testing.assert_array_equal(found, expected)
    assert np.diff(first.offsets).tolist() == [1, 1, FORM.patches(3), 1, 1]
    assert first.codes.tolist() == ["", "file_empty", "", "", ""]
    assert first.content[0] == first.content[4] != first.content[2]
    assert first.pixels.shape[1:] == FORM.shape


def test_other_parameters_are_another_cache(tmp_path):
    uris = save(tmp_path, {"a.wav": tone(440, 1)})
    assert load(uris, FORM, cache_dir=tmp_path / "cache").decoded == 1
    assert load(uris, SoundFormat(16000, 1.024), cache_dir=tmp_path / "cache").decoded == 1
    assert load(uris, SoundFormat(8000, 0.512), cache_dir=tmp_path / "cache").decoded == 1


def test_workers_decode_what_one_process_decodes_without_torch(tmp_path, monkeypatch):
    uris = save(tmp_path, CLIPS)
    here = load(uris, FORM, cache_dir=tmp_path / "one", workers=1)
    monkeypatch.setattr(decode, "POOL_MIN_FILES", 1)
    monkeypatch.setattr(decode, "CHUNK", 3)
    there = load(uris, FORM, cache_dir=tmp_path / "two", workers=2)
    np.testing.assert_array_equal(here.pixels, there.pixels)
    assert here.notes.tolist() == there.notes.tolist()
    code = "import sys; from cleanlab_lite.data.sound import SoundFormat as S; "
    code += f"S(16000, 1.024).decode(open({uris[0]!r}, 'rb').read()); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_the_format_is_chosen_by_the_headers(tmp_path):
    short, long = tone(440, 0.4), tone(440, 2, 44100)
    uris = save(tmp_path, {"a.wav": short, "b.wav": short, "c.wav": b"no sound"})
    assert choose_sound_format(uris) == (SoundFormat(8000, 0.512), 0.4)
    uris += save(tmp_path, {f"{i}.wav": long for i in range(3)}, 44100)
    assert choose_sound_format(uris) == (SoundFormat(16000, 1.024), 2.0)
    assert choose_sound_format(uris, 32000)[0].sample_rate == 32000
    assert choose_sound_format(["missing.wav"]) == (SoundFormat(8000, 1.024), 0.0)


# --- clips of several patches ----------------------------------------------------------------------------------------


def clips(counts: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(p, 1, 8, 8) patches and (n + 1,) offsets."""
    patches = np.random.default_rng(seed).integers(0, 255, (sum(counts), 1, 8, 8)).astype(np.uint8)
    return patches, np.cumsum([0, *counts])


def one_by_one(patches: np.ndarray, readable: np.ndarray | None = None) -> torch.Tensor:
    """(p, 1, 8, 8) patches as networks see them: each a clip of its own."""
    p = len(patches)
    samples = Samples(patches, np.ones(p, bool) if readable is None else readable, CPU, offsets=np.arange(p + 1))
    return samples.inputs(torch.arange(p))


@pytest.mark.parametrize("limit", [0, 2**30])
@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_a_clip_is_the_mean_over_its_patches(size, limit):
    counts = [1, 3, 2, 4, 1, 1, 2]
    patches, offsets = clips(counts)
    samples = Samples(patches, np.ones(7, bool), CPU, offsets=offsets, device_limit=limit)
    weights = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    seen = []

    def compute(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(len(inputs))
        return inputs.flatten(1) @ weights

    rows = np.array([6, 1, 0, 3])
    found = samples.averaged(rows, size, compute)
    values = one_by_one(patches)
    expected = torch.stack([compute(values[offsets[row] : offsets[row + 1]]).mean(dim=0) for row in rows])
    torch.testing.assert_close(found, expected)
    assert max(seen) <= max(size, 4)  # a clip is not divided
    assert len(samples) == 7 and samples.sample_shape == (1, 8, 8)


def test_training_draws_every_patch_and_only_those_of_the_clip():
    counts = [1, 3, 5]
    patches, offsets = clips(counts)
    samples = Samples(patches, np.ones(3, bool), CPU, offsets=offsets)
    place = {values.numpy().tobytes(): i for i, values in enumerate(one_by_one(patches))}
    seen = {0: set(), 1: set(), 2: set()}
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        for batch in samples.shuffled(np.arange(3), torch.arange(3), 3, generator):
            for row, values in zip(batch.index.tolist(), batch.inputs, strict=True):
                seen[row].add(place[values.numpy().tobytes()])
    assert seen == {0: {0}, 1: {1, 2, 3}, 2: {4, 5, 6, 7, 8}}
    middle = [place[values.numpy().tobytes()] for values in samples.inputs(torch.arange(3))]
    assert middle == [0, 2, 6]


def test_unusable_clips_do_not_count_in_the_statistics():
    patches, offsets = clips([2, 1, 3])
    patches[2] = 0
    samples = Samples(patches, np.array([True, False, True]), CPU, offsets=offsets)
    seen = samples.averaged(np.array([0, 2]), 8, lambda inputs: inputs.flatten(1)).numpy()
    kept = patches[[0, 1, 3, 4, 5]].astype(np.float64)
    expected = (np.stack([kept[:2].mean(axis=0), kept[2:].mean(axis=0)]) - kept.mean()) / kept.std()
    np.testing.assert_allclose(seen, expected.reshape(2, -1), atol=1e-5)


def test_a_spectrogram_shows_a_click_as_bright_wherever_it_is():
    """Fewer frames are computed than there are samples between columns: none may hide what lies between two of them."""
    brightest = []
    for at in range(20_000, 20_160, 7):
        samples = np.random.default_rng(0).normal(0, 1e-3, 48_000).astype(np.float32)
        samples[8_000] = 1.0  # what loudness is relative to
        samples[at] = 0.5
        shown = spectrogram(samples, 16_000, 320, 128).max(axis=0).astype(int)
        brightest.append(shown[320 * at // 48_000 - 3 : 320 * at // 48_000 + 4].max())
    assert np.ptp(brightest) <= 3  # of 255


@pytest.mark.parametrize("frames", [1, 40, SIDE, SIDE + 1, 150, 312, 1000, 2000])
def test_a_spectrogram_comes_back_from_its_patches(frames):
    whole = np.random.default_rng(0).integers(0, 256, (SIDE, frames), dtype=np.uint8)
    found = joined(cut(whole))
    assert found.shape == (SIDE, max(frames, SIDE))
    before = (found.shape[1] - frames) // 2
    np.testing.assert_array_equal(found[:, before : before + frames], whole)


def test_a_pause_hides_no_more_than_a_frame():
    whole = np.random.default_rng(0).integers(0, 256, (SIDE, 312), dtype=np.uint8)
    whole[:, 100:200] = 0  # fits to itself however far it is moved
    found = joined(cut(whole))
    assert abs(found.shape[1] - 312) <= 1
    np.testing.assert_array_equal(found[:, :100], whole[:, :100])
    np.testing.assert_array_equal(found[:, -100:], whole[:, -100:])


def test_patches_of_a_clip_too_long_for_all_of_it_stand_side_by_side():
    whole = np.random.default_rng(0).integers(0, 256, (SIDE, 100 * SIDE), dtype=np.uint8)
    assert joined(cut(whole)).shape == (SIDE, 64 * SIDE)


def test_masks_and_shifts():
    spectrograms = torch.randn(300, 1, 20, 30, generator=torch.Generator().manual_seed(1))
    masked = mask_bands(spectrograms, torch.Generator().manual_seed(0))
    hole = masked[:, 0] == 0
    assert torch.equal(masked[:, 0][~hole], spectrograms[:, 0][~hole])
    bands, frames = hole.all(dim=2), hole.all(dim=1)
    assert torch.equal(hole, bands[:, :, None] | frames[:, None, :])
    assert bands.sum(1).max() <= 8 and frames.sum(1).max() <= 12  # two of a fifth each
    assert bands.any(dim=0).all() and frames.any(dim=0).all()
    rolled = random_roll(spectrograms, 2, torch.Generator().manual_seed(0))
    by = [
        next(k for k in range(-2, 3) if torch.equal(a, b.roll(k, 2))) for a, b in zip(rolled, spectrograms, strict=True)
    ]
    assert set(by) == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("proxy", ["cnn", "baseline_cnn", "resnet18"])
def test_proxies_take_one_channel(proxy):
    examples = torch.randn(12, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    network = build_proxy(proxy, examples, 4, seed=0)
    assert network(examples).shape == (12, 4)


def test_logits_of_a_clip_are_the_mean_of_those_of_its_patches():
    counts = [2, 1, 4, 3]
    patches, offsets = clips(counts)
    samples = Samples(patches, np.array([True, True, False, True]), CPU, offsets=offsets)
    values = one_by_one(patches, np.repeat(samples.readable, counts))
    learner = Learner(
        build_proxy("cnn", values, 3, seed=0), steps=5, learning_rate=0.1, weight_decay=0.0, autocast=None
    )
    (rows, logits), *others = observe([learner], samples, np.array([0, 1, 3]))
    assert rows.tolist() == [0, 1, 3] and not others
    with torch.no_grad():
        each = learner.logits(values).numpy()
    expected = np.stack([each[offsets[row] : offsets[row + 1]].mean(axis=0) for row in range(4)])
    np.testing.assert_allclose(logits[0], expected[[0, 1, 3]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", ["fixmatch", "mixup:alpha=0.3,warmup=0.3"])
def test_clips_are_learned_the_same_way_twice(strategy):
    rng = np.random.default_rng(0)
    counts, labels = rng.integers(1, 5, 48), np.arange(48) % 2
    bright = 120 * np.repeat(labels, counts)[:, None, None, None]
    patches = (rng.integers(0, 100, (len(bright), 1, 8, 8)) + bright).astype(np.uint8)
    samples = Samples(patches, np.ones(48, bool), CPU, offsets=np.cumsum([0, *counts]))
    config = Teaching("cnn", "", "ce", strategy, 6, 16, 0.1, 0.0, False, 1, None)
    seen, again = (fit(samples, labels, np.arange(40), 2, config, seed=0) for _ in range(2))
    assert seen.margin.shape == (6, 48) and seen.logits.shape == (48, 2) and len(seen.features) == 48
    assert (seen.predicted[-1][40:] == labels[40:]).all()
    np.testing.assert_array_equal(seen.loss, again.loss)
    np.testing.assert_array_equal(seen.features, again.features)


# --- the whole audit -------------------------------------------------------------------------------------------------

KINDS = ("low", "high", "noise")


def clip(kind: int, rng: np.random.Generator) -> np.ndarray:
    seconds = rng.uniform(0.3, 1.6)
    hiss = rng.normal(size=round(8000 * seconds))
    return 0.01 * hiss + tone((400, 2500)[kind] * rng.uniform(0.9, 1.1), seconds) if kind < 2 else 0.1 * hiss


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a manifest of 96 clips, 8 of them mislabelled, and some that something is wrong with."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.arange(96) % 3)
    given = truth.copy()
    given[:8] = (given[:8] + 1) % 3
    contents: list[np.ndarray | bytes] = [clip(kind, rng) for kind in truth]
    contents[90] = b""
    contents[91] = b"no sound at all\n"
    contents[92] = np.zeros(8000)
    contents[93] = encoded(contents[93])[:-2000]
    truth[94] = given[94] = 0
    contents[94] = np.clip(8 * clip(0, rng), -1, 1)
    contents[95] = encoded(contents[20])
    given[95] = (given[20] + 1) % 3
    paths = [f"{row:02}.wav" for row in range(96)]
    save(folder, dict(zip(paths, contents, strict=True)))
    write_csv(folder / "m.csv", {"path": paths, "label": [KINDS[label] for label in given]})
    return folder


def audited(world: Path, out: Path, **options):
    manifest = read_manifest(world / "m.csv")
    config = AuditConfig(**(OPTIONS | {"epochs": 12} | options))
    with Run.start(out, "m", run_key(manifest, config)) as run:
        return run_audit(manifest, config, run=run).table.to_pandas()


def test_audit_finds_planted_errors_and_says_what_is_wrong_with_files(world, tmp_path):
    table = audited(world, tmp_path / "run")
    order = table["label_score"].to_numpy(float, na_value=np.nan)
    worst = np.argsort(order)[:10]  # unreadable rows have no score, and come last
    assert len(set(range(8)) & set(worst.tolist())) >= 6
    reasons = [set(row) for row in table["reasons"]]
    assert table["issue"][90] == table["issue"][91] == "unreadable"
    assert reasons[90] == {"file_empty"} and reasons[91] == {"decode_failed"}
    for row, note in ((92, "silent"), (93, "truncated"), (94, "clipped")):
        assert note in reasons[row] and table["issue"][row] != "unreadable"
    noted = [row for row in range(96) if reasons[row] & {"silent", "truncated", "clipped", "low_sample_rate"}]
    assert noted == [92, 93, 94]
    assert table["issue"][95] == table["issue"][20] == "duplicate_conflict"
    assert table["duplicate_of"][95] == table["id"][20]
    assert len(np.load(tmp_path / "run" / "features.npy")) == 96
    assert pq.read_table(tmp_path / "run" / "history.parquet").num_rows == 96


def test_a_stopped_audit_goes_on_to_the_same_findings(world, tmp_path):
    audited(world, tmp_path / "whole", epochs=2)
    with pytest.raises(StoppedEarly):
        audited(world, tmp_path / "parts", epochs=2, time_budget=1e-6)
    audited(world, tmp_path / "parts", epochs=2)
    whole, parts = findings(tmp_path / "whole"), findings(tmp_path / "parts")
    assert whole["history.parquet"] == parts["history.parquet"] and whole["features.npy"] == parts["features.npy"]


def test_plan_of_sounds(world):
    manifest = read_manifest(world / "m.csv")
    plan = make_plan(manifest, AuditConfig(device="cpu", views="patches"))
    assert (plan.modality, plan.proxy, plan.sample_rate, plan.patch_seconds) == ("sound", "cnn", 8000, 1.024)
    assert plan.image_size == 0 and plan.sound == FORM
    assert make_plan(manifest, AuditConfig(device="cpu", sample_rate=16000)).sample_rate == 16000
    with pytest.raises(ConfigError, match="takes vectors, this manifest holds sounds"):
        make_plan(manifest, AuditConfig(device="cpu", proxy="mlp"))


def test_a_part_of_the_inputs(world):
    manifest = read_manifest(world / "m.csv")
    inputs = load_inputs(manifest, 0, FORM)
    rows = np.array([92, 3, 94])
    part = inputs.select(rows)
    for row, whole in enumerate(rows):
        np.testing.assert_array_equal(
            part.array[part.offsets[row] : part.offsets[row + 1]],
            inputs.array[inputs.offsets[whole] : inputs.offsets[whole + 1]],
        )
    assert part.notes["silent"].tolist() == [True, False, False]
    assert part.offsets[-1] == len(part.array)

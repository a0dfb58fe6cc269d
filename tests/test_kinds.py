"""Kinds of pictures and sounds: those that are decoded, and what is said of those that are not."""

import io
import re

import numpy as np
import pytest
import soundfile
from audit_world import QUICK, picture
from cli_world import call
from PIL import Image

from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data import kinds
from cleanlab_lite.data.formats import choose_depth
from cleanlab_lite.data.inputs import causes, load_inputs
from cleanlab_lite.data.media import decode_image, image_header, thumbnail
from cleanlab_lite.data.sound import SoundFormat, read_samples, sound_header
from cleanlab_lite.errors import ConfigError, DecodeError
from cleanlab_lite.manifest.readers import read_manifest, sniff
from cleanlab_lite.train.plan import make_plan

FORM = SoundFormat(8000, 1.024)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300)
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>' + b" " * 200
M4A = b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(300)
AAC = b"\xff\xf1\x50\x80\x04\x3f\xfc" + bytes(300)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))


def refused(function, *arguments):
    with pytest.raises(DecodeError) as caught:
        function(*arguments)
    return caught.value


# --- pictures -------------------------------------------------------------------------------------------------------


def deep_pictures(folder, bits, n=6):
    """Pictures of `bits` in 16-bit files, and their manifest."""
    rng = np.random.default_rng(0)
    lines = ["path,label"]
    for row in range(n):
        pixels = rng.integers(0, 1 << bits, (32, 32)).astype(np.uint16)
        pixels[0, 0] = (1 << bits) - 1
        Image.fromarray(pixels).save(folder / f"{row}.png")
        lines.append(f"{row}.png,{'xy'[row % 2]}")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return read_manifest(folder / "m.csv")


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_levels_are_scaled_by_what_the_set_holds(tmp_path, bits):
    manifest = deep_pictures(tmp_path, bits)
    assert choose_depth(manifest.uris) == bits
    array = load_inputs(manifest, 32).array
    assert array.max() == 255 and len(np.unique(array)) > 200
    pixels = np.asarray(Image.open(tmp_path / "0.png"))
    np.testing.assert_array_equal(array[0, 0], np.rint(pixels * (255 / ((1 << bits) - 1))))


def test_a_dark_picture_of_a_bright_set_stays_dark(tmp_path):
    manifest = deep_pictures(tmp_path, 12)
    Image.fromarray(np.full((32, 32), 100, np.uint16)).save(tmp_path / "3.png")
    assert load_inputs(manifest, 32).array[3].max() == 6
    data = (tmp_path / "3.png").read_bytes()
    assert np.asarray(thumbnail(data, 32)).max() == 100  # people want to see something


def test_pictures_of_8_bits_are_not_opened_for_their_depth():
    assert choose_depth(["/nowhere/a.jpg", "/nowhere/b.png"]) == 16


@pytest.mark.parametrize(("form", "ending"), [("AVIF", "avif"), ("JPEG2000", "jp2")])
def test_other_pictures_are_decoded(form, ending):
    from PIL import features

    if not features.check({"AVIF": "avif", "JPEG2000": "jpg_2000"}[form]):
        pytest.skip("Pillow was built without it")
    data = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(data, form)
    assert sniff(data.getvalue()[:256]) == "image"
    assert image_header(data.getvalue()) == (40, 30)
    red, green, _ = decode_image(data.getvalue(), 32)[0].reshape(3, -1).mean(axis=1)
    assert red > 180 and green < 60


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (HEIC, "HEIC: pip install 'nlclean[heif]'"),
        (SVG, "SVG: a drawing without pixels"),
        (b"%PDF-1.7" + bytes(99), "PDF"),
        (b"8BPS" + bytes(99), "Photoshop"),
    ],
)
def test_pictures_that_are_not_decoded_are_named(data, words, monkeypatch):
    monkeypatch.setattr(kinds, "find_spec", lambda name: None)
    for error in (refused(decode_image, data, 32), refused(image_header, data)):
        assert error.code == "unsupported_format" and words in error.message


def test_avif_without_a_decoder_names_the_extra(monkeypatch):
    monkeypatch.setattr(kinds, "find_spec", lambda name: None)
    monkeypatch.setattr(kinds, "reads_avif", lambda: False)
    assert "AVIF: pip install 'nlclean[heif]'" in refused(decode_image, HEIC.replace(b"heic", b"avif"), 8).message


def test_an_audit_counts_why_rows_cannot_be_read(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kinds, "find_spec", lambda name: None)
    lines = ["path,label"]
    for row in range(70):
        data = io.BytesIO()
        picture(row % 3, seed=row).save(data, "PNG")
        data = data.getvalue()
        data = HEIC if row < 5 else SVG if row < 7 else data[: len(data) // 2] if row < 10 else data
        (tmp_path / f"{row}.png").write_bytes(data)
        lines.append(f"{row}.png,{('cat', 'dog', 'owl')[row % 3]}")
    lines.append("gone.png,cat")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    result = call(capsys, "audit", "m.csv", "--out", "run", "--views", "pixels", *QUICK)
    assert result.code == 0, result.err
    said = (
        "11 of 71 rows could not be read (5 HEIC: pip install 'nlclean[heif]'; 3 truncated; 2 SVG: a drawing without "
        "pixels, convert it to PNG, e.g. `rsvg-convert IN -o OUT`; 1 missing)"
    )
    assert said in " ".join(result.err.split())
    assert said in (tmp_path / "run" / "summary.json").read_text()


def test_a_set_of_heic_only_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "find_spec", lambda name: None)
    for row in range(6):
        (tmp_path / f"{row}.heic").write_bytes(HEIC)
    (tmp_path / "m.csv").write_text("path,label\n" + "".join(f"{row}.heic,{'xy'[row % 2]}\n" for row in range(6)))
    manifest = read_manifest(tmp_path / "m.csv")
    assert manifest.modality == "image"
    make_plan(manifest, AuditConfig(ensemble=2, device="cpu"))
    with pytest.raises(ConfigError, match=r"6 HEIC: pip install 'nlclean\[heif\]'") as caught:
        load_inputs(manifest, 32)
    assert "install" in caught.value.hint


def test_causes_are_counted_and_cut():
    codes = np.array(["", "truncated", "truncated", *(f"code_{i}" for i in range(8))])
    text = causes(codes, codes)
    assert text.startswith("2 truncated; 1 code_0") and text.endswith("3 for other reasons")
    assert causes(np.array([""]), np.array([""])) == ""


# --- sounds ---------------------------------------------------------------------------------------------------------


def tone(seconds=1.0, rate=8000):
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples, form="WAV", subtype=None, rate=8000):
    data = io.BytesIO()
    soundfile.write(data, samples, rate, subtype, format=form)
    return data.getvalue()


@pytest.mark.parametrize("form", ["AIFF", "AU", "CAF", "W64"])
def test_other_sounds_are_told_and_decoded(form):
    data = encoded(tone(), form, "PCM_16")
    assert sniff(data[:256]) == "sound"
    assert sound_header(data) == (8000, 1.0)
    patches, notes, _ = FORM.decode(data)
    assert notes == () and patches.any()


@pytest.mark.parametrize(
    ("data", "words"),
    [(M4A, "M4A or MP4 (AAC): `ffmpeg"), (AAC, "AAC: `ffmpeg"), (b"#!AMR\n" + bytes(99), "AMR"), (b"MThd", "MIDI")],
)
def test_sounds_that_are_not_decoded_are_named(data, words):
    for error in (refused(FORM.decode, data), refused(sound_header, data)):
        assert error.code == "unsupported_format" and words in error.message
    assert sniff(data) in ("sound", None)
    assert sniff(M4A) == sniff(AAC) == "sound"


def test_a_wav_whose_data_size_is_zero_is_read(tmp_path):
    data = bytearray(encoded(tone()))
    at = data.index(b"data")
    data[at + 4 : at + 8] = bytes(4)
    data[4:8] = bytes(4)
    samples, rate, notes = read_samples(bytes(data))
    assert (len(samples), rate, notes) == (8000, 8000, ())
    assert sound_header(io.BytesIO(bytes(data))) == (8000, 1.0)
    empty = encoded(np.zeros(0, np.float32))
    assert refused(FORM.decode, empty).code == "file_empty"
    listed = empty + b"LIST\x04\0\0\0INFO"
    assert refused(FORM.decode, listed).code == "file_empty"


def test_an_mp3_without_a_header_is_not_truncated():
    """Its length is guessed from the first frames: here those of silence, which are small."""
    rng = np.random.default_rng(0)
    samples = np.concatenate([np.zeros(8 * 16000), rng.normal(0, 0.3, 16 * 16000).clip(-1, 1)]).astype(np.float32)
    data = io.BytesIO()
    soundfile.write(data, samples, 16000, format="MP3", bitrate_mode="VARIABLE")
    whole = data.getvalue()
    assert whole.index(b"Xing") < 40 and "truncated" not in read_samples(whole)[2]
    second = next(found.start() for found in re.finditer(re.escape(whole[:2]), whole) if found.start() > 60)
    read, _, notes = read_samples(whole[second:])
    assert len(read) < sound_header(whole[second:])[1] * 16000  # the guess
    assert "truncated" not in notes and len(read) > 20 * 16000


def test_channels_that_cancel_each_other_are_not_silent():
    left = tone()
    data = encoded(np.stack([left, -left], axis=1), subtype="FLOAT")
    samples, _, notes = read_samples(data)
    assert notes == ()
    np.testing.assert_allclose(samples, left, atol=1e-6)
    assert read_samples(encoded(np.zeros((8000, 2), np.float32)))[2] == ("silent",)
    half = encoded(np.stack([left, np.zeros_like(left)], axis=1), subtype="FLOAT")
    np.testing.assert_allclose(read_samples(half)[0], left / 2, atol=1e-6)

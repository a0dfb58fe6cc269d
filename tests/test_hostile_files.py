"""Small files that would cost gigabytes, or hours: they are rows with a reason, and the others are read."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from decode_work import Hanging
from PIL import Image

from cleanlab_lite.data import decode, media
from cleanlab_lite.data.cache import load
from cleanlab_lite.data.formats import ImageFormat
from cleanlab_lite.data.media import decode_image, thumbnail
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.workers import pool

pytestmark = pytest.mark.survival

SIDE = 13_300  # below the limit of pixels


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def refused(data: bytes, *words: str) -> None:
    for read in (lambda: decode_image(data, 32)[0], lambda: thumbnail(data, 32)):
        with pytest.raises(DecodeError) as caught:
            read()
        assert caught.value.code == "too_large"
        for word in words:
            assert word in caught.value.message


# --- Memory ----------------------------------------------------------------------------------------------------------


def webp(kind: bytes, body: bytes) -> bytes:
    chunk = kind + len(body).to_bytes(4, "little") + body
    return b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk


def test_webp_headers_that_promise_everything():
    side = (SIDE - 1).to_bytes(3, "little")
    lossless = (0x2F).to_bytes(1, "little") + ((SIDE - 1) | (SIDE - 1) << 14).to_bytes(4, "little") + bytes(9)
    refused(webp(b"VP8X", b"\2\0\0\0" + side + side), "13300 x 13300", "no picture is so plain")
    refused(webp(b"VP8L", lossless), "13300 x 13300")
    lossy = b"\0\0\0\x9d\x01\x2a" + SIDE.to_bytes(2, "little") * 2
    refused(webp(b"VP8 ", lossy + bytes(40_000)), "GiB to decode")
    for picture in (Image.new("RGB", (90, 70)), Image.new("RGBA", (90, 70))):
        for lossless_too in (False, True):
            data = encoded(picture, "WEBP", lossless=lossless_too)
            assert media._webp_size(io.BytesIO(data)) == (90, 70)


def test_what_takes_too_much_memory_is_refused_by_its_header(monkeypatch):
    monkeypatch.setattr(media, "MAX_DECODED", 1 << 20)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8))
    refused(encoded(noise.convert("RGBA"), "PNG"), "600 x 600", "0.0 GiB")
    refused(encoded(noise, "WEBP"), "GiB to decode")
    refused(encoded(noise, "JPEG2000"), "GiB to decode")
    refused(encoded(noise, "JPEG", progressive=True), "GiB to decode")
    assert decode_image(encoded(noise, "JPEG"), 32)[0].shape == (3, 32, 32)  # at an eighth
    assert decode_image(encoded(noise.convert("L"), "PNG"), 32)[0].shape == (3, 32, 32)
    assert media.image_header(encoded(noise, "PNG")) == (600, 600)


def test_too_many_pixels_for_so_few_bytes():
    refused(
        encoded(Image.new("RGB", (9000, 9000)), "WEBP", lossless=True, quality=0, method=0), "no picture is so plain"
    )
    assert decode_image(encoded(Image.new("RGB", (2000, 2000)), "WEBP", lossless=True), 32)[0].max() == 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "1", "CMYK", "I;16", "F", "I"])
def test_a_picture_in_strips_is_the_picture(mode, monkeypatch):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 255, (70, 50, 4), dtype=np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 4000, (70, 50), dtype=np.uint16))
    elif mode in ("F", "I"):
        picture = Image.fromarray((rng.normal(size=(70, 50)) * 900).astype(np.float32 if mode == "F" else np.int32))
    else:
        picture = Image.fromarray(values, "RGBA").convert("RGB" if mode in ("P", "CMYK") else mode).convert(mode)
    data = encoded(picture, "TIFF")
    whole = decode_image(data, 32)[0], np.asarray(thumbnail(data, 40)), media.grey_peak(data)
    monkeypatch.setattr(media, "STRIP", 130)  # two rows
    parts = decode_image(data, 32)[0], np.asarray(thumbnail(data, 40)), media.grey_peak(data)
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one, other)


MEASURE = """
import resource, sys
from cleanlab_lite.data.media import decode_image
data = open(sys.argv[1], "rb").read()
decode_image(data[:0] + open(sys.argv[2], "rb").read(), 64)[0]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_image(data, 64)[0]
except Exception as error:
    print(error.code)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in KiB on Linux")
@pytest.mark.parametrize(("mode", "most"), [("RGB", 900), ("RGBA", 100), ("I;16", 900), ("P", 1200)])
def test_a_large_plain_picture_takes_less_than_a_gigabyte(tmp_path, mode, most):
    if mode == "I;16":
        data = encoded(Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)), "TIFF", compression="tiff_lzw")
    else:
        picture = Image.new(mode, (SIDE, SIDE))
        if mode == "P":
            picture.putpalette([7] * 768)
        data = encoded(picture, "PNG", **({"transparency": 0} if mode == "P" else {}))
    assert len(data) < 3e6
    (tmp_path / "large").write_bytes(data)
    (tmp_path / "small").write_bytes(encoded(Image.new("RGB", (9, 9)), "PNG"))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "large"), str(tmp_path / "small")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < most


# --- Time ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Twelve pictures, and files 3 (hangs) and 8 (ends the process) that `Hanging` knows by their lengths."""
    for row in range(12):
        Image.new("RGB", (8, 8), (row, 0, 0)).save(tmp_path / f"{row}.png")
    (tmp_path / "3.png").write_bytes(b"x" * 11)
    return [str(tmp_path / f"{row}.png") for row in range(12)]


def test_a_file_that_takes_too_long_is_a_row_and_the_rest_is_read(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "_seconds", 0.2)
    store = load(pictures, Hanging(8), cache_dir=tmp_path / "cache", workers=1)
    assert store.codes.tolist() == ["", "", "", "too_slow", *[""] * 8]
    assert "too long" in store.errors[3] and store.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 0, *range(4, 12)]


def test_a_worker_that_hears_nothing_or_dies_is_replaced(pictures, tmp_path, monkeypatch):
    (tmp_path / "8.png").write_bytes(b"x" * 7)
    monkeypatch.setattr(decode, "SECONDS", 1.6)
    monkeypatch.setattr(decode, "POOL_MIN_FILES", 1)
    monkeypatch.setattr(decode, "CHUNK", 2)
    store = load(pictures, Hanging(8, deaf=True), cache_dir=tmp_path / "cache", workers=2)
    assert store.codes.tolist() == ["", "", "", "too_slow", "", "", "", "", "decode_failed", "", "", ""]
    assert "ends the process" in store.errors[8] and store.decoded == 10
    assert store.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 4, 5, 6, 7, 0, 9, 10, 11]


def test_starting_a_worker_is_no_time_of_a_file(pictures, tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "3.png")
    (tmp_path / "8.png").write_bytes(b"x" * 7)
    now = 0.0

    def slowly(*arguments):
        nonlocal now
        now += 2 * decode.SECONDS
        return pool(*arguments)

    monkeypatch.setattr(decode, "pool", slowly)
    monkeypatch.setattr(decode, "time", SimpleNamespace(**vars(time) | {"monotonic": lambda: now}))
    monkeypatch.setattr(decode, "POOL_MIN_FILES", 1)
    monkeypatch.setattr(decode, "CHUNK", 2)
    store = load(pictures, Hanging(8), cache_dir=tmp_path / "cache", workers=2)
    assert [(row, code) for row, code in enumerate(store.codes) if code] == [(8, "decode_failed")]


def test_the_alarm_of_others_is_left_alone(pictures, tmp_path):
    import signal

    heard = signal.signal(signal.SIGALRM, lambda *_: None)
    mine = signal.getsignal(signal.SIGALRM)
    try:
        load(pictures[:3], ImageFormat(8), cache_dir=tmp_path / "cache", workers=1)
        assert signal.getsignal(signal.SIGALRM) is mine
    finally:
        signal.signal(signal.SIGALRM, heard)

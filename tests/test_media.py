"""Bytes to pixels, against closed forms; and every kind of broken file."""

import io
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from cleanlab_lite.data import media
from cleanlab_lite.data.media import decode_image, image_header, opened, read_bytes, thumbnail
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.files import MAX_FILE_BYTES

RNG = np.random.default_rng(0)


def encoded(array, fmt="png", mode=None, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, fmt, **options)
    return buffer.getvalue()


def noise(*shape):
    return RNG.integers(0, 256, shape).astype(np.uint8)


def failure(function, *args):
    with pytest.raises(DecodeError) as caught:
        function(*args)
    return caught.value


# --- read_bytes, opened


def test_reads_local_and_remote_files(tmp_path):
    folder = tmp_path / "a\nb 'ü' s3:"
    folder.mkdir()
    (folder / "x.bin").write_bytes(b"abc")
    assert read_bytes(f"{folder}//x.bin") == b"abc"  # local although "://" is in it
    assert read_bytes(f"file://{folder}/x.bin") == b"abc"
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("x.bin", b"zipped")
    assert read_bytes(f"zip://x.bin::{tmp_path}/c.zip") == b"zipped"


def open_and_read(uri):
    with opened(uri) as file:
        return file.read()


@pytest.mark.parametrize("read", [read_bytes, open_and_read])
@pytest.mark.parametrize("prefix", ["", "file://"])
def test_unreadable_files_have_codes(tmp_path, prefix, read):
    (tmp_path / "empty").touch()
    assert failure(read, f"{prefix}{tmp_path}/empty").code == "file_empty"
    assert failure(read, f"{prefix}{tmp_path}/gone").code == "file_missing"
    assert failure(read, f"{prefix}{tmp_path}").code == "is_directory"


def test_a_file_is_opened_wherever_it_is(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"abc")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.write(tmp_path / "x.bin", "x.bin")
    for uri in (f"{tmp_path}/x.bin", f"file://{tmp_path}/x.bin", f"zip://x.bin::{tmp_path}/c.zip"):
        assert open_and_read(uri) == b"abc"
    assert failure(open_and_read, "").code == "file_missing"
    assert failure(open_and_read, "nosuchprotocol://bucket/key").code == "not_readable"


def test_odd_locations_have_codes(tmp_path):
    assert failure(read_bytes, "").code == "file_missing"
    assert failure(read_bytes, f"{tmp_path}/nul\0byte").code == "not_readable"
    assert failure(read_bytes, f"{tmp_path}/{'x' * 400}").code == "not_readable"
    assert failure(read_bytes, "nosuchprotocol://bucket/key").code == "not_readable"
    with pytest.raises(DecodeError, match="nosuchprotocol"):
        read_bytes("nosuchprotocol://bucket/key", remote=True)
    assert failure(read_bytes, f"zip://\x1b[31m\udcff.png::{tmp_path}/gone\udcff.zip").message.isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert failure(read_bytes, str(tmp_path / "pipe")).code == "not_readable"


def test_a_file_over_the_limit_is_refused_unread(tmp_path):
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert failure(read_bytes, str(tmp_path / "huge")).code == "too_large"


# --- decode_image: exact values


@pytest.mark.parametrize("fmt", ["png", "bmp", "tiff", "webp", "ppm"])
def test_right_size_keeps_exact_pixels(fmt):
    pixels = noise(32, 32, 3)
    decoded = decode_image(encoded(pixels, fmt, **({"lossless": True} if fmt == "webp" else {})), 32)[0]
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    assert np.array_equal(decoded, pixels.transpose(2, 0, 1))


def test_grey_gives_three_equal_channels():
    pixels = noise(32, 32)
    assert np.array_equal(decode_image(encoded(pixels), 32)[0], np.stack([pixels] * 3))


def test_bilevel():
    pixels = noise(32, 32) > 127
    assert np.array_equal(decode_image(encoded(Image.fromarray(pixels)), 32)[0], np.stack([pixels * np.uint8(255)] * 3))


def test_16_bit_grey_is_scaled_by_its_full_range():
    pixels = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    for fmt in ("png", "tiff"):
        assert np.array_equal(decode_image(encoded(pixels, fmt), 32)[0][1], np.rint(pixels / 257))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_other_ranges_are_stretched(dtype):
    pixels = np.linspace(-3000, 70000, 32 * 32).astype(dtype).reshape(32, 32)
    decoded = decode_image(encoded(pixels, "tiff"), 32)[0][0]
    assert (decoded.min(), decoded.max()) == (0, 255)
    assert np.abs(decoded - np.linspace(0, 255, 32 * 32).reshape(32, 32)).max() <= 0.51


def test_float_grey_within_a_known_range_keeps_it():
    unit = np.linspace(0, 0.5, 32 * 32, dtype=np.float32).reshape(32, 32)
    assert np.array_equal(decode_image(encoded(unit, "tiff"), 32)[0][0], np.rint(unit.astype(float) * 255))
    eight = np.linspace(0, 100, 32 * 32, dtype=np.float32).reshape(32, 32)
    assert np.array_equal(decode_image(encoded(eight, "tiff"), 32)[0][0], np.rint(eight))
    eight[0, 0] = np.nan
    assert decode_image(encoded(eight, "tiff"), 32)[0][0, 0, 0] == 0


def test_constant_grey_out_of_range_does_not_divide_by_zero():
    assert not decode_image(encoded(np.full((32, 32), -7, np.float32), "tiff"), 32)[0].any()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_flattened_on_mid_grey(mode):
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[..., :3] = 200
    rgba[:16, :, 3] = 255
    decoded = decode_image(encoded(rgba, "png", mode), 32)[0]
    assert (decoded[:, :16] == 200).all()
    assert (decoded[:, 16:] == 128).all()


def test_palette_with_and_without_transparency():
    image = Image.fromarray((np.arange(32 * 32) % 3).astype(np.uint8).reshape(32, 32), "L").convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    expected = np.eye(3, dtype=np.uint8)[np.arange(32 * 32) % 3].reshape(32, 32, 3) * 255
    assert np.array_equal(decode_image(encoded(image), 32)[0], expected.transpose(2, 0, 1))
    clear = decode_image(encoded(image, transparency=1), 32)[0].transpose(1, 2, 0).reshape(-1, 3)
    assert (clear[1::3] == 128).all()
    assert np.array_equal(clear[0::3], expected.reshape(-1, 3)[0::3])


def test_cmyk():
    image = Image.new("CMYK", (32, 32), (0, 255, 255, 0))  # magenta + yellow = red
    for fmt in ("tiff", "jpeg"):
        red, green, blue = decode_image(encoded(image, fmt), 32)[0].reshape(3, -1).astype(int)
        assert red.min() > 245 and green.max() < 10 and blue.max() < 10


@pytest.mark.parametrize(
    ("fmt", "options"), [("jpeg", {}), ("png", {}), ("webp", {}), ("tiff", {}), ("tiff", {"compression": "tiff_lzw"})]
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(fmt, options, orientation):
    upright = np.zeros((64, 48, 3), np.uint8)
    upright[:20, :16] = 255  # a white top left corner tells all eight apart
    undo = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]  # Image.Transpose that turns upright into stored
    image = Image.fromarray(upright)
    stored = image if undo is None else image.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded, size = decode_image(encoded(stored, fmt, exif=exif, **options), 32)
    assert size == (48, 64)
    difference = np.abs(decoded.astype(int) - decode_image(encoded(image), 32)[0]).mean()
    assert difference < 6


def test_first_frame_counts():
    frames = [Image.new("RGB", (32, 32), color) for color in ("red", "lime", "blue")]
    for fmt in ("gif", "webp", "tiff", "png"):
        options = {"lossless": True} if fmt == "webp" else {}
        decoded = decode_image(encoded(frames[0], fmt, save_all=True, append_images=frames[1:], **options), 32)[0]
        assert decoded.reshape(3, -1).mean(axis=1).tolist() == [255, 0, 0]


# --- decode_image: resizing


def test_downscaling_is_antialiased():
    checkers = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for fmt in ("png", "jpeg"):
        assert np.abs(decode_image(encoded(checkers, fmt), 32)[0].astype(int) - 127).max() <= 3


def test_jpeg_draft_gives_the_same_picture():
    y, x = np.indices((640, 640)) / 640
    smooth = np.stack([x, y, np.sin(7 * x * y) ** 2], axis=2)
    pixels = (smooth * 255).astype(np.uint8)
    shrunk, size = decode_image(encoded(pixels, "jpeg", quality=95), 32)
    assert size == pixels.shape[1::-1]
    difference = shrunk.astype(int) - decode_image(encoded(pixels), 32)[0]
    assert np.abs(difference).max() <= 6


def test_the_whole_picture_is_squashed():
    wide = np.zeros((10, 400), np.uint8)
    wide[:, 200:] = 255
    decoded = decode_image(encoded(wide), 32)[0]
    assert decoded.shape == (3, 32, 32)
    assert (decoded[:, :, :14] <= 2).all() and (decoded[:, :, 18:] >= 253).all()
    assert decode_image(encoded(np.full((1, 1), 9, np.uint8)), 32)[0].tolist() == np.full((3, 32, 32), 9).tolist()


# --- broken bytes


@pytest.mark.parametrize("fmt", ["png", "jpeg", "tiff", "bmp", "gif", "webp"])
def test_truncated_pictures_fail(fmt):
    data = encoded(noise(64, 64, 3), fmt)
    error = failure(decode_image, data[: len(data) // 2], 32)
    assert error.code in ("truncated", "decode_failed") and error.message and "\n" not in error.message
    if fmt in ("png", "jpeg"):
        assert error.code == "truncated"


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"<html>404</html>", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_picture_fails_the_same_way_every_time(data):
    first, second = failure(decode_image, data, 32), failure(decode_image, data, 32)
    assert first.code == "decode_failed"
    assert first.message == second.message and "0x" not in first.message.replace("\\x", "")
    assert failure(image_header, data).code == "decode_failed"


def test_decompression_bombs_are_refused_by_their_header():
    def bomb(width, height):
        data = encoded(np.zeros((1, 1), np.uint8), "ppm")
        return data.replace(b"1 1", f"{width} {height}".encode())

    for width, height in ((20_000, 20_000), (media.MAX_PIXELS + 1, 1)):
        assert failure(decode_image, bomb(width, height), 32).code == "too_large"
        assert failure(image_header, bomb(width, height)).code == "too_large"


def test_random_damage_gives_pixels_or_a_decode_error_and_silence():
    script = """
import io, logging, sys
import numpy as np
from PIL import Image
from cleanlab_lite.data.media import decode_image
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.files import MAX_FILE_BYTES
rng = np.random.default_rng(1)
failed = 0
for fmt in ("png", "jpeg", "tiff", "gif", "webp", "bmp", "ppm"):
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(buffer, fmt)
    for _ in range(150):
        data = bytearray(buffer.getvalue())
        for at in rng.integers(0, min(len(data), 400), rng.integers(1, 6)):
            data[at] = rng.integers(256)
        try:
            assert decode_image(bytes(data), 32)[0].shape == (3, 32, 32)
        except DecodeError as error:
            failed += 1
            assert error.message.isprintable() and len(error.message) < 200
assert failed > 100
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_header_gives_width_and_height():
    assert image_header(encoded(noise(30, 50, 3), "jpeg")) == (50, 30)
    data = encoded(noise(300, 500, 3))
    assert image_header(data[:2000]) == (500, 300)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_thumbnails_keep_their_proportions_and_stand_upright(orientation):
    upright = np.zeros((40, 80, 3), dtype=np.uint8)
    upright[:20, :20] = 255
    undo = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]
    stored = Image.fromarray(upright) if undo is None else Image.fromarray(upright).transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, exif=exif)
    small = np.asarray(thumbnail(data, 20))
    assert small.shape == (10, 20, 3) and small.dtype == np.uint8
    assert small[:4, :4].min() > 200 and small[6:].max() < 50 and small[:, 10:].max() < 50
    assert np.array_equal(np.asarray(thumbnail(data, 80)), upright)

"""Plans look at headers: of large and remote files only a little is read, and the choice is that of the whole files."""

from __future__ import annotations

import builtins
import io
import os
from functools import cache
from typing import ClassVar

import fsspec
import numpy as np
import pytest
import soundfile
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from PIL import Image

from cleanlab_lite import addresses
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.formats import choose_image_size, choose_sound_format
from cleanlab_lite.data.media import image_header
from cleanlab_lite.data.sound import SoundFormat, sound_header
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.train.plan import make_plan

HEADER = 64 << 10  # bytes; the files have megabytes
# libsndfile looks for the last page of an Ogg in the last 64 KiB
SOUNDS = [
    ("WAV", "PCM_16", HEADER),
    ("FLAC", "PCM_16", HEADER),
    ("MP3", "MPEG_LAYER_III", HEADER),
    ("OGG", "VORBIS", 128 << 10),
]
PICTURES = ["PNG", "JPEG", "BMP", "TIFF", "GIF", "PPM"]
NOISE = np.random.default_rng(0)


@cache
def sound(form: str, subtype: str, seconds: int = 120, rate: int = 16000) -> bytes:
    data = io.BytesIO()
    with soundfile.SoundFile(data, "w", rate, 1, subtype, format=form) as file:
        for _ in range(seconds):  # libsndfile's Vorbis cannot take all at once
            file.write(NOISE.normal(0, 0.1, rate))
    return data.getvalue()


@cache
def picture(form: str, width: int = 1300, height: int = 1100) -> bytes:
    data = io.BytesIO()
    pixels = NOISE.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels[..., 0] if form == "GIF" else pixels).save(
        data, form, **({"quality": 100} if form == "JPEG" else {})
    )
    return data.getvalue()


class Distant(AbstractFileSystem):
    """A bucket that counts what is fetched from it."""

    protocol = "distant"
    cachable = False
    files: ClassVar[dict[str, bytes]] = {}
    fetched = 0
    breaks_at = 1 << 60  # offset that cannot be fetched
    parts = True  # whether it sends parts of files

    def info(self, path, **kwargs):
        if path not in self.files:
            raise FileNotFoundError(path)
        return {"name": path, "size": len(self.files[path]), "type": "file"}

    def _open(self, path, mode="rb", block_size=None, **kwargs):
        return (DistantFile if self.parts else DistantStream)(self, path, mode, block_size or "default")

    @classmethod
    def _strip_protocol(cls, path):
        return path.removeprefix("distant://")


class DistantFile(AbstractBufferedFile):
    def _fetch_range(self, start, end):
        if end > Distant.breaks_at:
            raise ConnectionError("gone")
        part = Distant.files[self.path][start:end]
        Distant.fetched += len(part)
        return part


class DistantStream(DistantFile):
    def seek(self, loc, whence=0):
        raise ValueError("Cannot seek")


@pytest.fixture
def distant(monkeypatch):
    fsspec.register_implementation("distant", Distant, clobber=True)
    monkeypatch.setattr(addresses, "PROTOCOLS", addresses.PROTOCOLS | {"distant"})
    for name, value in (("files", {}), ("fetched", 0)):
        monkeypatch.setattr(Distant, name, value)
    return Distant


@pytest.fixture
def local(monkeypatch, tmp_path):
    """Folder, and the files that are opened in it."""
    found: list[Counted] = []
    real = builtins.open

    def counting(path, mode="r", buffering=-1, *args, **kwargs):
        if isinstance(path, str | os.PathLike) and str(path).startswith(str(tmp_path)) and mode == "rb":
            found.append(Counted(str(path)))
            return io.BufferedReader(found[-1], buffering if buffering > 0 else io.DEFAULT_BUFFER_SIZE)
        return real(path, mode, buffering, *args, **kwargs)

    return tmp_path, found, lambda: monkeypatch.setattr(builtins, "open", counting)


class Counted(io.FileIO):
    fetched = 0

    def readinto(self, buffer):
        count = super().readinto(buffer)
        self.fetched += count
        return count

    def readall(self):
        data = super().readall()
        self.fetched += len(data)
        return data


@pytest.mark.parametrize(("form", "subtype", "most"), SOUNDS)
def test_of_a_remote_sound_the_header_is_fetched(distant, form, subtype, most):
    data = sound(form, subtype)
    distant.files["a"] = data
    chosen, seconds = choose_sound_format(["distant://a"])
    assert (chosen, seconds) == (SoundFormat(16000, 1.024), sound_header(data)[1])
    assert seconds == pytest.approx(120, abs=0.1)
    assert 0 < distant.fetched < most < len(data) / 3


@pytest.mark.parametrize("form", PICTURES)
def test_of_a_remote_picture_the_header_is_fetched(distant, form):
    distant.files["a"] = picture(form)
    assert choose_image_size(["distant://a"]) == 128
    assert 0 < distant.fetched < HEADER < len(distant.files["a"]) / 8


def test_what_needs_the_whole_file_gets_it(distant, monkeypatch):
    distant.files["a"], distant.files["b"] = picture("WEBP", 100, 70), picture("PNG", 100, 70)
    assert choose_image_size(["distant://a"]) == 64
    assert distant.fetched == len(distant.files["a"])
    monkeypatch.setattr(distant, "parts", False)  # as some web servers
    assert choose_image_size(["distant://b"]) == 64


def test_a_connection_that_breaks_is_a_file_that_does_not_count(distant, capfd, monkeypatch):
    distant.files["a"] = sound("OGG", "VORBIS")  # its length stands at its end
    distant.files["b"] = sound("WAV", "PCM_16", 2, 44100)
    monkeypatch.setattr(distant, "breaks_at", 1 << 17)
    assert choose_sound_format(["distant://a", "distant://b"]) == (SoundFormat(16000, 1.024), 2.0)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("form", "subtype", "most"), SOUNDS)
def test_of_a_local_sound_the_header_is_read(local, form, subtype, most):
    folder, found, start = local
    (folder / "a").write_bytes(sound(form, subtype))
    start()
    assert choose_sound_format([str(folder / "a")])[1] == pytest.approx(120, abs=0.1)
    assert len(found) == 1 and 0 < found[0].fetched < most


@pytest.mark.parametrize("form", PICTURES)
def test_of_a_local_picture_the_header_is_read(local, form):
    folder, found, start = local
    (folder / "a").write_bytes(picture(form))
    start()
    assert choose_image_size([str(folder / "a")]) == 128
    assert len(found) == 1 and 0 < found[0].fetched < HEADER


@pytest.mark.parametrize("modality", ["image", "sound"])
def test_a_plan_reads_headers(local, modality):
    folder, found, start = local
    data = picture("PNG") if modality == "image" else sound("WAV", "PCM_16")
    for i in range(4):
        (folder / f"{i}.bin").write_bytes(data)
    (folder / "m.csv").write_text("path,label\n" + "".join(f"{i}.bin,{'ab'[i % 2]}\n" for i in range(4)))
    start()
    plan = make_plan(read_manifest(folder / "m.csv"), AuditConfig(ensemble=2))
    assert (plan.modality, plan.image_size, plan.sample_rate) == (
        modality,
        *((160, 0) if modality == "image" else (96, 16000)),
    )
    assert sum(file.fetched for file in found) < 4 * HEADER < len(data)


@pytest.mark.parametrize("form", [*PICTURES, "WEBP"])
def test_streams_say_what_bytes_say_of_pictures(form):
    data = picture(form, 90, 70)
    assert image_header(io.BytesIO(data)) == image_header(data) == (90, 70)


@pytest.mark.parametrize(
    ("form", "subtype", "most"), [*SOUNDS, ("AIFF", "PCM_16", 0), ("W64", "PCM_16", 0), ("OGG", "OPUS", 0)]
)
def test_streams_say_what_bytes_say_of_sounds(form, subtype, most):
    data = sound(form, subtype, 2)
    assert sound_header(io.BytesIO(data)) == sound_header(data)

"""Pictures and sounds that are in memory only, as files that every later step can read.

    <cache_dir>/objects-v1/<first two digits>/<sha256 of the content>.<ending>

The name is the content: the same object gives the same path, in every run and every process, and is written once. The
file's time of change is a constant, so that a file that was deleted and written again is the same to a run.
"""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.files import whole
from cleanlab_lite.progress import OnProgress, Progress, ignore

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FOLDER = "objects-v1"
WRITTEN = 315_532_800  # seconds, 1 January 1980: the first moment that every file system can hold
PNG_MODES = ("1", "L", "LA", "RGB", "RGBA", "I;16")  # that a PNG gives back as they are
TIFF_MODES = ("I", "F")  # 32 bits a pixel
TOLD = 500  # files between two events of progress
COMPRESSION = 1  # of PNG: a third larger than the default and several times as fast


class ObjectStore:
    """Files named by what is in them. Every method returns the absolute path. Raises ConfigError on a full disk."""

    def __init__(self, cache_dir: Path, on_progress: OnProgress = ignore) -> None:
        self._folder = Path(os.path.abspath(cache_dir)) / FOLDER
        self._on_progress = on_progress
        self._seen = 0

    def picture(self, picture: Picture | np.ndarray) -> str:
        """Losslessly, upright (EXIF): a PIL picture, or uint8 (h, w) or (h, w, c) with c of 1, 3 or 4."""
        from PIL import Image, ImageOps

        if isinstance(picture, np.ndarray):
            grey = picture.ndim == 3 and picture.shape[2] == 1
            picture = Image.fromarray(np.ascontiguousarray(picture[..., 0] if grey else picture))
        plain = _storable(ImageOps.exif_transpose(picture))
        ending = ".tif" if plain.mode in TIFF_MODES else ".png"
        facts = f"{plain.mode} {plain.size[0]} {plain.size[1]} "
        return self._put(hashlib.sha256(facts.encode() + plain.tobytes()).hexdigest() + ending, lambda: _encode(plain))

    def file(self, data: bytes, ending: str) -> str:
        """The bytes of a file, as they are."""
        return self._put(hashlib.sha256(data).hexdigest() + ending, lambda: data)

    def _put(self, name: str, encode: Callable[[], bytes]) -> str:
        self._seen += 1
        if self._seen % TOLD == 0:
            self._on_progress(Progress("read", self._seen, 0, "files"))
        path = self._folder / name[:2] / name
        temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            if path.exists() and path.stat().st_size:  # a power cut may leave an empty file
                return str(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path, temporary, durable=False):  # an empty file is written again
                temporary.write_bytes(encode())
                os.utime(temporary, (WRITTEN, WRITTEN))
        except OSError as error:
            raise ConfigError(
                f"cannot write the cache in {self._folder}: {error.strerror or error}",
                hint="free some space there, or set NLCLEAN_CACHE_DIR to another folder",
            ) from error
        return str(path)


def _storable(picture: Picture) -> Picture:
    """In a mode that a file gives back. Palettes are resolved, print colours become RGB, as decoding would do."""
    if picture.mode in TIFF_MODES:
        return picture
    if picture.has_transparency_data:
        return picture if picture.mode in ("LA", "RGBA") else picture.convert("RGBA")
    return picture if picture.mode in PNG_MODES else picture.convert("RGB")


def _encode(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    if picture.mode in TIFF_MODES:
        picture.save(buffer, "TIFF", icc_profile=None)  # the same pixels give the same bytes
    else:
        picture.save(buffer, "PNG", compress_level=COMPRESSION, icc_profile=None)
    return buffer.getvalue()

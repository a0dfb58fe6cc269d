"""From a location to bytes, and from bytes to pixels. Every failure is a DecodeError, so that it can be a row."""

from __future__ import annotations

import io
import logging
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cleanlab_lite.archives import member, read_member
from cleanlab_lite.data.kinds import AVIF, HEAD, HEIC, brand, reads_avif, refuse_picture
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.files import MAX_FILE_BYTES, is_remote, local_path, read_remote
from cleanlab_lite.text import one_line

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

PREPROCESSING_VERSION = 1  # raise it whenever `decode_image` gives other pixels for the same bytes

HEADER_BLOCK = 1 << 14  # bytes of a remote file fetched at a time to see its header
LONGEST = 120  # characters of what a library says of a broken file
MAX_PIXELS = 178_956_970  # where Pillow itself refuses: twice its warning threshold
BACKGROUND = 128  # behind transparent pixels: on mid-grey neither black nor white drawings vanish

# Pillow also opens formats that start other programs (EPS) or fetch other files; these do not.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
DEPTHS = (8, 10, 12, 14, 16)  # bits of grey that cameras and scanners store in 16

_ORIENTATION = 0x0112  # EXIF tag

# A handler keeps Pillow's log messages off stderr where nobody has configured logging.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def read_bytes(uri: str) -> bytes:
    """The content of a local file, or of anything fsspec can open.

    Raises DecodeError with code file_missing, file_empty, is_directory, too_large or not_readable.
    """
    if not uri:
        raise DecodeError("the row names no file", code="file_missing")
    path = local_path(uri)
    data = _read_remote(path) if is_remote(path) else _read_local(path)
    if not data:
        raise DecodeError("the file has 0 bytes", code="file_empty")
    return data


@contextmanager
def opened(uri: str) -> Iterator[BinaryIO]:
    """A file as `read_bytes` takes it, to look at its header: of a remote file only the blocks looked at are fetched.

    Raises DecodeError as `read_bytes` does, on leaving also for what failed in between.
    """
    if not uri:
        raise DecodeError("the row names no file", code="file_missing")
    failures, open_ = (_remote_failures, _open_remote) if is_remote(uri) else (_local_failures, _open_local)
    with failures():
        file = open_(uri)
    try:
        with failures():
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
        if not size:
            raise DecodeError("the file has 0 bytes", code="file_empty")
        yield file
    finally:
        with failures():
            file.close()


def _read_local(path: str) -> bytes:
    with _local_failures(), _open_local(path) as file:
        return file.read()


def _open_local(path: str) -> BinaryIO:
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise DecodeError("this is a directory, not a file", code="is_directory")
    if not stat.S_ISREG(found.st_mode):  # reading a pipe or a device may never end
        raise DecodeError("this is a pipe, socket or device, not a file", code="not_readable")
    if found.st_size > MAX_FILE_BYTES:
        raise DecodeError(
            f"the file has {found.st_size} bytes, more than the limit of {MAX_FILE_BYTES}", code="too_large"
        )
    return open(path, "rb")


@contextmanager
def _local_failures() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DecodeError("the file does not exist", code="file_missing") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DecodeError(f"the file cannot be read: {reason}", code="not_readable") from error


def _read_remote(url: str) -> bytes:
    with _remote_failures():
        place = member(url)
        return read_remote(url) if place is None else read_member(place)


def _open_remote(url: str) -> BinaryIO:
    if (place := member(url)) is not None:
        return io.BytesIO(read_member(place))
    from fsspec.core import url_to_fs

    system, path = url_to_fs(url)
    file = system.open(path, "rb", block_size=HEADER_BLOCK)
    try:
        file.seek(0, io.SEEK_END)
    except (OSError, ValueError):  # a server that sends no parts
        with file:
            return io.BytesIO(file.read())
    return io.BufferedReader(_Blocks(file, system))


class _Blocks(io.RawIOBase):
    """What fsspec has opened. Out of the callbacks by which libsndfile reads no exception comes: closing raises it."""

    def __init__(self, file: Any, system: Any) -> None:
        self._file = file
        self._system = system  # an archive is closed when nobody holds its file system
        self._failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:  # every fsspec backend has exceptions of its own
            self._failure = error
            return 0
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            super().close()
            if self._failure is not None:
                raise self._failure


@contextmanager
def _remote_failures() -> Iterator[None]:
    try:
        yield
    except DecodeError:
        raise
    except OverflowError as error:
        raise DecodeError(str(error), code="too_large") from error
    except FileNotFoundError as error:
        raise DecodeError("the file does not exist", code="file_missing") from error
    except IsADirectoryError as error:
        raise DecodeError("this is a directory, not a file", code="is_directory") from error
    except Exception as error:  # every fsspec backend has exceptions of its own
        raise DecodeError(
            f"the file cannot be read: {type(error).__name__}: {one_line(str(error), LONGEST)}", code="not_readable"
        ) from error


def stream_of(data: bytes | BinaryIO) -> tuple[BinaryIO, bytes]:
    """`data` as a stream at its start, and its first 12 bytes."""
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    head = stream.read(12)
    stream.seek(0)
    return stream, head


def image_header(data: bytes | BinaryIO) -> tuple[int, int]:
    """Width and height in pixels as stored (EXIF orientation not applied), without decoding.

    Of a stream only the header is read; Pillow wants all of a WebP. Raises DecodeError.
    """
    with _opened(data) as picture:
        return picture.size


def grey_peak(data: bytes | BinaryIO) -> int:
    """The largest value of a picture of whole grey levels beyond 8 bits, 0 of any other. Raises DecodeError."""
    with _opened(data) as picture:
        if not picture.mode.startswith("I"):
            return 0
        picture.load()
        return max(0, int(np.asarray(picture).max()))


def depth_of(peak: int) -> int:
    """The bits that grey levels up to `peak` were measured in."""
    return next((bits for bits in DEPTHS if peak < 1 << bits), DEPTHS[-1])


def decode_image(data: bytes, size: int, depth: int = 16) -> np.ndarray:
    """The picture as a (3, size, size) uint8 array, RGB.

    The whole picture is squashed to a square, the usual choice for classifying whole pictures: a crop could lose
    what the label is about. A picture that already is size x size keeps its exact pixels. EXIF orientation is
    applied; of animations and multi-page files the first frame counts; transparency is flattened on mid-grey.
    Greyscale of more than 8 bits is scaled by its range: integers within 0-65535 as `depth` bits, floats within 0-1 or
    0-255 as such, everything else from its own minimum and maximum.

    Raises DecodeError with code decode_failed, truncated, too_large or unsupported_format.
    """
    from PIL import Image

    with _opened(data) as picture:
        picture.draft(None, (2 * size, 2 * size))  # JPEG only: decode at 1/2, 1/4 or 1/8 straight from the DCT
        picture.load()
        orientation = picture.getexif().get(_ORIENTATION)  # after load: Pillow turns TIFF by itself
        plain = _eight_bits(picture, depth)
        if plain.size != (size, size):
            plain = plain.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
        pixels = np.asarray(_upright(plain, orientation))
    if pixels.ndim == 2:
        return np.repeat(pixels[None], 3, axis=0)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def thumbnail(data: bytes, longest: int) -> Picture:
    """The picture in mode L or RGB, upright, no side longer than `longest` pixels; a smaller one keeps its pixels.

    Raises DecodeError as `decode_image` does.
    """
    from PIL import Image

    with _opened(data) as picture:
        picture.draft(None, (2 * longest, 2 * longest))
        picture.load()
        orientation = picture.getexif().get(_ORIENTATION)
        plain = _eight_bits(picture, 0)
        plain.thumbnail((longest, longest), Image.Resampling.BICUBIC, reducing_gap=3.0)
        return _upright(plain, orientation)


def _upright(picture: Picture, orientation: int | None) -> Picture:
    """The picture as EXIF says it was meant."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return picture if orientation not in turns else picture.transpose(turns[orientation])


def _formats(head: bytes) -> tuple[str, ...]:
    """What Pillow may take the picture for."""
    if brand(head) in HEIC or (brand(head) in AVIF and not reads_avif()):
        import pillow_heif  # an extra; `refuse_picture` has seen that it is there

        pillow_heif.register_heif_opener()
        if hasattr(pillow_heif, "register_avif_opener"):
            pillow_heif.register_avif_opener()
        return (*FORMATS, "HEIF")
    return FORMATS


@contextmanager
def _opened(data: bytes | BinaryIO) -> Iterator[Picture]:
    """The picture, header read; whatever goes wrong inside the block becomes a DecodeError."""
    from PIL import Image, UnidentifiedImageError

    head = b""
    try:
        stream, head = stream_of(data)
        refuse_picture(stream.read(HEAD))
        stream.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=_formats(head)) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise DecodeError(
                        f"{width} x {height} pixels are more than the limit of {MAX_PIXELS}", code="too_large"
                    )
                yield picture
    except DecodeError:
        raise
    except UnidentifiedImageError as error:  # its own text holds a memory address, no reason
        raise DecodeError(f"not a picture, or its header is broken; starts with {head!r}") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise DecodeError(f"too large: {one_line(str(error), LONGEST) or 'out of memory'}", code="too_large") from error
    except Exception as error:  # on broken bytes Pillow raises nearly anything: OSError, SyntaxError, struct.error ...
        reason = one_line(str(error), LONGEST) or type(error).__name__
        code = "truncated" if isinstance(error, EOFError) or "truncated" in reason.lower() else "decode_failed"
        raise DecodeError(f"cannot decode the picture: {reason}", code=code) from error


def _eight_bits(picture: Picture, depth: int) -> Picture:
    """The picture in mode L or RGB; whole grey levels as `depth` bits, 0: as few as hold them."""
    from PIL import Image

    if picture.mode.startswith(("I", "F")):
        return Image.fromarray(_scaled(np.asarray(picture), depth))
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        below = Image.new("RGBA", layer.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
        return Image.alpha_composite(below, layer).convert("RGB")
    if picture.mode in ("1", "L"):
        return picture.convert("L")
    return picture.convert("RGB")


def _scaled(values: np.ndarray, depth: int) -> np.ndarray:
    """Greyscale (h, w) of any range as uint8; see `decode_image`."""
    real = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(real.min()), float(real.max())
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif values.dtype.kind == "f" and low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    elif values.dtype.kind in "iu" and low >= 0 and high <= 65535:
        low, high = 0.0, float((1 << (depth or depth_of(int(high)))) - 1)
        real = np.minimum(real, high)
    return np.rint((real - low) * (255.0 / max(high - low, 1e-30))).astype(np.uint8)

"""From a location to bytes, and from bytes to pixels. Every failure is a DecodeError, so that it can be a row."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from cleanlab_lite.addresses import is_elsewhere, shown
from cleanlab_lite.archives import Member, member, read_member
from cleanlab_lite.data.kinds import AVIF, HEAD, HEIC, brand, reads_avif, refuse_picture
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.files import is_remote, local_path, open_regular
from cleanlab_lite.remote import open_remote, read_remote
from cleanlab_lite.text import one_line

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


class Decoded(NamedTuple):
    """What a file is to who trains: a arrays, and what is known beside them."""

    arrays: np.ndarray  # (a, *shape) uint8, a >= 1
    notes: tuple[str, ...] = ()  # codes of what it suffers from
    size: tuple[int, int] = (0, 0)  # width and height of a picture in pixels, before it was made small


PREPROCESSING_VERSION = 1  # raise it whenever `decode_image` gives other pixels for the same bytes

MAX_REMOTE_BYTES = 1 << 29  # of a file that is fetched
BLOCK = 1 << 13  # bytes read at a time to look at a header; by default Python 3.14 reads 16 times as many
LONGEST = 120  # characters of what a library says of a broken file
MAX_PIXELS = 178_956_970  # where Pillow itself refuses: twice its warning threshold
MAX_DECODED = 1 << 30  # bytes that decoding a picture may take at once, in each of several workers
MANY_PIXELS, DENSEST = 4 << 20, 5000  # of a picture whose bytes cannot say so many pixels: from how many on, per byte
STRIP = 1 << 22  # pixels converted at a time
BACKGROUND = 128  # behind transparent pixels: on mid-grey neither black nor white drawings vanish

# Pillow also opens formats that start other programs (EPS) or fetch other files; these do not.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
DEPTHS = (8, 10, 12, 14, 16)  # bits of grey that cameras and scanners store in 16

_ORIENTATION = 0x0112  # EXIF tag
_ON_THEIR_SIDE = range(5, 9)  # its values of pictures that are stored with width and height exchanged

# A handler keeps Pillow's log messages off stderr where nobody has configured logging.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def read_bytes(uri: str, *, remote: bool = False) -> bytes:
    """The content of a local file, of one in a local archive, or with `remote` of any address that is opened.

    Who shows or exports what was audited reads without `remote`: nothing is fetched again, nor for a stranger's run.

    Raises DecodeError with code file_missing, file_empty, is_directory, too_large or not_readable.
    """
    with _located(uri, remote) as (place, path):
        if isinstance(place, Member):
            data = read_member(place)
        elif is_remote(path):
            data = read_remote(path, MAX_REMOTE_BYTES)
        else:
            with open_regular(path) as file:
                data = file.read()
    if not data:
        raise DecodeError("the file has 0 bytes", code="file_empty")
    return data


@contextmanager
def opened(uri: str, *, remote: bool = False) -> Iterator[BinaryIO]:
    """A file as `read_bytes` takes it, to look at its header: of a remote file only the blocks looked at are fetched.

    Raises DecodeError as `read_bytes` does, on leaving also for what failed in between.
    """
    with ExitStack() as stack:
        with _located(uri, remote) as (place, path):
            file: Any
            if isinstance(place, Member):
                file = io.BytesIO(read_member(place))
            elif is_remote(path):
                stack.enter_context(_failures())  # those of closing
                found = stack.enter_context(open_remote(path))
                file = stack.enter_context(io.BufferedReader(_Blocks(found), BLOCK))
            else:
                file = stack.enter_context(open_regular(path, block=BLOCK))
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
        if not size:
            raise DecodeError("the file has 0 bytes", code="file_empty")
        yield file


@contextmanager
def _located(uri: str, remote: bool) -> Iterator[tuple[Member | None, str]]:
    """Where in an archive a file is, or at which path; whatever opening it raises becomes a DecodeError."""
    if not uri:
        raise DecodeError("the row names no file", code="file_missing")
    path = local_path(uri)
    place = member(path)
    if is_elsewhere(path) and not remote:
        raise DecodeError("a remote file, which is not fetched again", code="not_readable")
    with _failures():
        yield place, path


class _Blocks(io.RawIOBase):
    """A remote file. Out of the callbacks by which libsndfile reads no exception comes: closing raises it."""

    def __init__(self, file: Any) -> None:
        self._file = file
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
        except Exception as error:  # every backend has exceptions of its own
            self._failure = error
            return 0
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._failure is not None:
                raise self._failure


@contextmanager
def _failures() -> Iterator[None]:
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
    except Exception as error:  # every backend has exceptions of its own
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        raise DecodeError(
            f"the file cannot be read: {one_line(shown(reason), LONGEST)}", code="not_readable"
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
        _load(picture)
        return max(0, *(int(np.asarray(strip).max()) for _, strip in _strips(picture)))


def depth_of(peak: int) -> int:
    """The bits that grey levels up to `peak` were measured in."""
    return next((bits for bits in DEPTHS if peak < 1 << bits), DEPTHS[-1])


def decode_image(data: bytes, size: int, depth: int = 16) -> tuple[np.ndarray, tuple[int, int]]:
    """The picture as a (3, size, size) uint8 array, RGB; and its own width and height in pixels, as it is looked at.

    The whole picture is squashed to a square, the usual choice for classifying whole pictures: a crop could lose
    what the label is about. A picture that already is size x size keeps its exact pixels. EXIF orientation is
    applied; of animations and multi-page files the first frame counts; transparency is flattened on mid-grey.
    Greyscale of more than 8 bits is scaled by its range: integers within 0-65535 as `depth` bits, floats within 0-1 or
    0-255 as such, everything else from its own minimum and maximum.

    Raises DecodeError with code decode_failed, truncated, too_large or unsupported_format.
    """
    from PIL import Image

    with _opened(data) as picture:
        stored = picture.size  # before a JPEG is asked for in less
        _load(picture, 2 * size)
        orientation = picture.getexif().get(_ORIENTATION)  # after load: Pillow turns TIFF by itself
        plain = _eight_bits(picture, depth)
        if plain.size != (size, size):
            plain = plain.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
        pixels = np.asarray(_upright(plain, orientation))
    own = (stored[1], stored[0]) if orientation in _ON_THEIR_SIDE else stored
    if pixels.ndim == 2:
        return np.repeat(pixels[None], 3, axis=0), own
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), own


def thumbnail(data: bytes, longest: int, *, quick: bool = False) -> Picture:
    """The picture in mode L or RGB, upright, no side longer than `longest` pixels; a smaller one keeps its pixels.

    `quick` takes from a JPEG no more pixels than that needs, which is faster on photographs and a little softer.

    Raises DecodeError as `decode_image` does.
    """
    from PIL import Image

    with _opened(data) as picture:
        _load(picture, longest if quick else 2 * longest)
        orientation = picture.getexif().get(_ORIENTATION)
        plain = _eight_bits(picture, 0)
        plain = plain.copy() if plain is picture else plain  # shrinks in place
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
        if (size := _webp_size(stream)) is not None:  # its decoder takes the memory when it is opened
            _refuse_large("WEBP", "RGBA", size, stream)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=_formats(head)) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise DecodeError(
                        f"{width} x {height} pixels are more than the limit of {MAX_PIXELS}", code="too_large"
                    )
                _refuse_dense(picture.size, stream)
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


# Bytes a pixel that decoders hold beside Pillow's own: libwebp two canvases and what it hands over, OpenJPEG 32 bits a
# channel; a progressive JPEG is held as coefficients, however small it is asked for.
_BESIDE = {"WEBP": 12, "JPEG2000": 16, "AVIF": 8, "HEIF": 8, "GIF": 4}
_PROGRESSIVE = 6
_NARROW = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "LA": 4}  # bytes a pixel; others take 4


def _load(picture: Picture, wanted: int | None = None) -> None:
    """Decode it; a JPEG at 1/2, 1/4 or 1/8 straight from the DCT, not below `wanted` pixels a side.

    Raises DecodeError where that would take more than MAX_DECODED.
    """
    if picture.info.get("progressive"):
        _refuse_bytes(picture.size, _PROGRESSIVE)
    if wanted is not None:
        picture.draft(None, (wanted, wanted))
    _refuse_large(picture.format or "", picture.mode, picture.size)
    picture.load()


def _refuse_large(form: str, mode: str, size: tuple[int, int], stream: BinaryIO | None = None) -> None:
    if stream is not None:
        _refuse_dense(size, stream)
    converted = {"RGB": 0, "1": 1, "L": 0}.get(mode, 1 if mode.startswith(("I", "F")) else 4)
    _refuse_bytes(size, _NARROW.get(mode, 4) + converted + _BESIDE.get(form, 0))


def _refuse_bytes(size: tuple[int, int], each: int) -> None:
    width, height = size
    if width * height * each > MAX_DECODED:
        raise DecodeError(
            f"{width} x {height} pixels would take {width * height * each / 2**30:.1f} GiB to decode, more than the "
            f"limit of {MAX_DECODED / 2**30:g} GiB",
            code="too_large",
        )


def _refuse_dense(size: tuple[int, int], stream: BinaryIO) -> None:
    """Raise DecodeError where a header promises far more pixels than the bytes behind it can tell."""
    place = stream.tell()
    length = stream.seek(0, io.SEEK_END)
    stream.seek(place)
    width, height = size
    if width * height > max(MANY_PIXELS, DENSEST * length):
        raise DecodeError(f"{width} x {height} pixels in {length} bytes: no picture is so plain", code="too_large")


def _webp_size(stream: BinaryIO) -> tuple[int, int] | None:
    """Width and height that a WebP declares, None of anything else."""
    head = stream.read(30)
    stream.seek(0)
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 25:
        return None
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def _strips(picture: Picture) -> Iterator[tuple[int, Picture]]:
    """The picture from top to bottom in parts of at most STRIP pixels, each with the row that it begins at."""
    width, height = picture.size
    rows = max(1, STRIP // width)
    if rows >= height:
        yield 0, picture
        return
    for top in range(0, height, rows):
        yield top, picture.crop((0, top, width, min(top + rows, height)))


def _eight_bits(picture: Picture, depth: int) -> Picture:
    """The picture in mode L or RGB; whole grey levels as `depth` bits, 0: as few as hold them.

    A large one is converted strip by strip: every step over all of it would take as much memory again.
    """
    from PIL import Image

    grey = picture.mode.startswith(("I", "F"))
    clear = not grey and picture.has_transparency_data
    if picture.mode in ("L", "RGB") and not clear:
        return picture
    convert: Callable[[Picture], Picture]
    if grey:
        scale = _Scale.of((np.asarray(strip) for _, strip in _strips(picture)), depth)
        convert = lambda strip: Image.fromarray(scale(np.asarray(strip)))  # noqa: E731
    elif clear:
        convert = _flattened
    else:
        mode = "L" if picture.mode == "1" else "RGB"
        convert = lambda strip: strip.convert(mode)  # noqa: E731
    parts = ((top, convert(strip)) for top, strip in _strips(picture))
    _, first = next(parts)
    if first.size == picture.size:
        return first
    result = Image.new(first.mode, picture.size)
    result.paste(first, (0, 0))
    for top, part in parts:
        result.paste(part, (0, top))
    return result


def _flattened(picture: Picture) -> Picture:
    """On the background, in mode RGB."""
    from PIL import Image

    layer = picture.convert("RGBA")
    below = Image.new("RGBA", layer.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
    return Image.alpha_composite(below, layer).convert("RGB")


class _Scale(NamedTuple):
    """Greyscale of any range as uint8; see `decode_image`."""

    low: float
    high: float
    cut: bool  # what lies above counts as the highest

    @classmethod
    def of(cls, parts: Iterable[np.ndarray], depth: int) -> _Scale:
        """Of the parts (h, w) of a picture."""
        low, high, kind = math.inf, -math.inf, ""
        for values in parts:
            real = _finite(values)
            low, high, kind = min(low, float(real.min())), max(high, float(real.max())), values.dtype.kind
        if kind == "f" and low >= 0 and high <= 1:
            return cls(0.0, 1.0, False)
        if kind == "f" and low >= 0 and high <= 255:
            return cls(0.0, 255.0, False)
        if kind in "iu" and low >= 0 and high <= 65535:
            return cls(0.0, float((1 << (depth or depth_of(int(high)))) - 1), True)
        return cls(low, high, False)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        real = _finite(values)
        real = np.minimum(real, self.high) if self.cut else real
        return np.rint((real - self.low) * (255.0 / max(self.high - self.low, 1e-30))).astype(np.uint8)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)

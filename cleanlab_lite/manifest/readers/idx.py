"""MNIST's own form, also of Fashion-MNIST, KMNIST and EMNIST: `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`,
packed with gzip or not; `t10k-...` and `test-...` are the split `test`.

A header says of which type the numbers are and how many there are (LeCun, Cortes and Burges, The MNIST database, "the
IDX file format"); it is held against the size of the file before anything is read.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import is_remote, open_regular, reading
from cleanlab_lite.manifest.readers.base import Rows, list_folder
from cleanlab_lite.text import counted, listing

NAME = re.compile(r"(?:(.+)-)?(train|t10k|test)-(images|labels)[.-]idx([13])-ubyte(?:\.gz)?")
BYTES = b"\0\0\x08"  # how files of unsigned bytes begin; the number of dimensions follows
MOST_PACKED = 1032  # times as large as a file of gzip at most is what it holds
MOST_PICTURES = 10_000_000  # in a file; MNIST8M has 8.1
MOST_SIDE = 1 << 12  # pixels
BLOCK = 1 << 24  # bytes of pictures read together
TURNED = "emnist"  # its pictures lie on their side, mirrored: rows stand where columns should
RAW = "raw"  # where torchvision leaves the files
EXPECTED = "expected the pair as it is downloaded, such as train-images-idx3-ubyte and train-labels-idx1-ubyte"


@dataclass(frozen=True)
class _Pair:
    """The files of one split."""

    images: str
    labels: str
    split: str
    turned: bool

    @property
    def title(self) -> str:
        """What rows are called by, before their numbers."""
        return re.split(r"[.-]idx", os.path.basename(self.images))[0]


def called_idx(path: str) -> bool:
    """Whether a local file is called like one of MNIST."""
    return not is_remote(path) and NAME.fullmatch(os.path.basename(path)) is not None


def idx_in(folder: str, subfolders: Sequence[str]) -> list[str]:
    """The files of MNIST's form in a folder; else in `raw/` or `MNIST/raw/` below it, where torchvision leaves them.

    Raises ManifestError where several folders have some.
    """
    inner = [os.path.join(folder, *parts) for name in subfolders for parts in ([name], [name, RAW])]
    places = [folder, *(place for place in inner if os.path.basename(place) == RAW and os.path.isdir(place))]
    files = [os.path.join(place, name) for place in places for name in list_folder(place) if NAME.fullmatch(name)]
    files = [path for path in files if os.path.isfile(path)]
    found = list(dict.fromkeys(map(os.path.dirname, files)))
    if len(found) > 1:
        raise ManifestError(
            f"{folder!r} holds several datasets: {listing(found, 5)}", hint=f"name one, e.g. {found[0]!r}"
        )
    return files


def read_idx(paths: Sequence[str]) -> Rows:
    """A row per picture of the files, with the label in the file beside; columns `image` (`train-images[0]`), `label`
    and, where there are several, `split`. Raises ManifestError for what is not what it says."""
    pairs = _pairs(paths)
    names: list[str] = []
    splits: list[str] = []
    labels: list[np.ndarray] = []
    for pair in pairs:
        found = _labels(pair)
        labels.append(found)
        names += [f"{pair.title}[{row}]" for row in range(len(found))]
        splits += [pair.split] * len(found)
    columns = {"image": pa.array(names), "label": pa.array(np.concatenate(labels))}
    known = {"path": "image", "label": "label"}
    if len(pairs) > 1:
        columns, known = columns | {"split": pa.array(splits)}, known | {"split": "split"}
    notes = [f"pictures of {os.path.basename(p.images)!r} with {os.path.basename(p.labels)!r}" for p in pairs]
    if any(pair.turned for pair in pairs):
        notes.append("pictures of EMNIST are turned upright")
    folder = os.path.dirname(os.path.abspath(pairs[0].images))
    return Rows(
        paths[0] if len(paths) == 1 else folder,
        pa.table(columns),
        "arrays",
        ((folder, len(names)),),
        known=known,
        pictures=partial(_pictures, pairs),
        notes=tuple(notes),
    )


def _pairs(paths: Sequence[str]) -> list[_Pair]:
    """The files by splits, for training first; what is not among `paths` is looked for beside them."""
    sets: defaultdict[str, dict[str, str]] = defaultdict(dict)  # by what stands before the split, and by the split
    for path in paths:
        folder, file = os.path.split(path)
        start, split = cast(re.Match[str], NAME.fullmatch(file)).group(1, 2)
        sets[os.path.join(folder, start or "")][split] = path
    if len(sets) > 1:
        raise ManifestError(
            f"the files are of several datasets: {listing(sorted(sets), 8)}",
            hint=f"name those of one: '{min(sets)}-*idx*'",
        )
    ((place, files),) = sets.items()
    name = os.path.basename(place)
    order = sorted(files, key=lambda split: split != "train")
    turned = name.casefold().startswith(TURNED)
    return [
        _Pair(
            _beside(files[split], name, split, "images"),
            _beside(files[split], name, split, "labels"),
            "train" if split == "train" else "test",
            turned,
        )
        for split in order
    ]


def _beside(path: str, name: str, split: str, kind: str) -> str:
    """The file of pictures or of labels in the folder of `path`, the unpacked one first."""
    folder = os.path.dirname(path)
    for other in list_folder(folder or "."):
        match = NAME.fullmatch(other)
        wanted = (name or None, split, kind, "3" if kind == "images" else "1")
        if match and match.groups() == wanted and os.path.isfile(found := os.path.join(folder, other)):
            return found  # in order: without .gz first
    raise ManifestError(f"{path!r}: there are no {kind} of {split!r} beside it", hint=EXPECTED)


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    with open_regular(path, sys.maxsize) as file:
        if not path.endswith(".gz"):
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield cast(BinaryIO, unpacked)


def _shape(path: str, file: BinaryIO, dimensions: int) -> tuple[int, ...]:
    """What the header declares, which the file can hold. Raises ManifestError."""
    head = file.read(4)
    if head != BYTES + bytes([dimensions]):
        raise ManifestError(
            f"{path!r} begins with {head.hex(' ') or 'nothing'}, expected {(BYTES + bytes([dimensions])).hex(' ')}: "
            f"unsigned bytes in {dimensions} dimension{'s' * (dimensions > 1)}",
            hint=EXPECTED,
        )
    declared = file.read(4 * dimensions)
    if len(declared) < 4 * dimensions:
        raise ManifestError(f"{path!r} breaks off in its header", hint="download it again")
    shape = tuple(np.frombuffer(declared, ">u4").tolist())
    size, start = os.path.getsize(path), 4 + 4 * dimensions
    packed = path.endswith(".gz")
    holds = size * MOST_PACKED if packed else size - start
    if math.prod(shape) > holds or (math.prod(shape) < holds and not packed):
        at_most = "at most " * packed
        raise ManifestError(
            f"{path!r} declares {' x '.join(map(str, shape))} bytes, and holds {at_most}{holds:,}",
            hint="was it downloaded completely?",
        )
    if 0 in shape or shape[0] > MOST_PICTURES or max(shape[1:], default=1) > MOST_SIDE:
        raise ManifestError(
            f"{path!r} declares {' x '.join(map(str, shape))} bytes, expected 1 to {MOST_PICTURES:,} pictures of up to "
            f"{MOST_SIDE:,} x {MOST_SIDE:,} pixels, and a label each"
        )
    return shape


def _labels(pair: _Pair) -> np.ndarray:
    """(n,) uint8, one for each picture."""
    with reading(f"cannot read {pair.images!r}", ManifestError), _opened(pair.images) as file:
        n = _shape(pair.images, file, 3)[0]
    with reading(f"cannot read {pair.labels!r}", ManifestError), _opened(pair.labels) as file:
        (declared,) = _shape(pair.labels, file, 1)
        if n != declared:
            raise ManifestError(
                f"{pair.images!r} declares {counted(n, 'picture')}, and {pair.labels!r} {counted(declared, 'label')}",
                hint="are both of one split of one dataset?",
            )
        return np.frombuffer(_whole(pair.labels, file, n, last=True), np.uint8)


def _pictures(pairs: Sequence[_Pair]) -> Iterator[np.ndarray]:
    """Blocks (b, h, w) uint8 of all pictures in order. Raises ManifestError where a file breaks off."""
    for pair in pairs:
        with reading(f"cannot read {pair.images!r}", ManifestError), _opened(pair.images) as file:
            n, height, width = _shape(pair.images, file, 3)
            step = max(1, BLOCK // (height * width))
            for start in range(0, n, step):
                some = (min(step, n - start), height, width)
                data = _whole(pair.images, file, math.prod(some), last=start + step >= n)
                pixels = np.frombuffer(data, np.uint8).reshape(some)
                yield pixels.transpose(0, 2, 1) if pair.turned else pixels


def _whole(path: str, file: BinaryIO, size: int, last: bool) -> bytes:
    """So many bytes; `last`: and no more. Raises ManifestError."""
    data = file.read(size)
    if len(data) < size or (last and file.read(1)):
        how = "less" if len(data) < size else "more"
        raise ManifestError(f"{path!r} holds {how} than its header declares", hint="was it downloaded completely?")
    return data

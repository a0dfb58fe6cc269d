"""What a fuzzer needs: mutations, a corpus that is made here, and every decoder and reader as a function of bytes."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import soundfile
from PIL import Image

from cleanlab_lite.archives import uri_of
from cleanlab_lite.data import media, sound
from cleanlab_lite.errors import NlcleanError
from cleanlab_lite.evidence.decisions import DecisionLog
from cleanlab_lite.evidence.own import load_pred_probs
from cleanlab_lite.evidence.trusted import read_trusted
from cleanlab_lite.export.patch import Change, read_patch
from cleanlab_lite.manifest.manifest import Segment
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.report.gate import Row, baseline_text, load_baseline

ROWS = 9
NAMES = [f"{row}.png" for row in range(ROWS)]
LABELS = [("cat", "dog", "owl")[row % 3] for row in range(ROWS)]
LARGEST = 1 << 20  # bytes of a mutated file: mutations that copy would let it grow


@dataclass(frozen=True)
class Target:
    """A reader: what it is fed at first, and what it does with a file. It may raise our own errors only."""

    corpus: tuple[bytes, ...]
    read: Callable[[Path], object]
    ending: str

    def feed(self, data: bytes, folder: Path) -> bool:
        """Whether `data` was read; False where it was refused in words. Whatever else is raised is a fault."""
        path = folder / f"m{self.ending}"
        path.write_bytes(data)
        try:
            self.read(path)
        except NlcleanError:
            return False
        return True


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One of the ways in which files come to harm, or are made to."""
    kind = rng.integers(6)
    if not data or kind == 0:
        return rng.bytes(int(rng.integers(200)))
    place, end = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    changed = bytearray(data)
    if kind == 1:
        return data[:place]
    if kind == 2:
        for _ in range(int(rng.integers(1, 8))):
            changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    elif kind == 3:
        del changed[place:end]
    elif kind == 4:
        changed[place:place] = changed[place:end]
    else:  # another value in a JSON, another length in a header
        changed[place : place + 4] = rng.choice([b"null", b"\xff\xff\xff\x7f", b"[[[[", b'"":-', b"1e99"])
    return bytes(changed)


def mutations(target: Target, rng: np.random.Generator):
    """Without end: damaged files of the corpus, a third of them damaged more than once."""
    while True:
        data = damaged(target.corpus[int(rng.integers(len(target.corpus)))], rng)
        while rng.random() < 1 / 3:
            data = damaged(data, rng)
        yield data[:LARGEST]


# --- The corpus -----------------------------------------------------------------------------------------------------


def _pictures() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    rgb = Image.fromarray(pixels)
    modes = {"RGB": rgb, "L": rgb.convert("L"), "P": rgb.quantize(), "RGBA": rgb.convert("RGBA")}
    modes |= {"I;16": Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), "CMYK": rgb.convert("CMYK")}
    kinds = {"PNG": ("RGB", "L", "P", "RGBA", "I;16"), "JPEG": ("RGB", "L", "CMYK"), "GIF": ("P",), "BMP": ("RGB",)}
    kinds |= {"WEBP": ("RGB", "RGBA"), "TIFF": ("RGB", "L", "I;16", "CMYK"), "PPM": ("RGB",)}
    return {f"{kind} {mode}": _saved(modes[mode], kind) for kind, names in kinds.items() for mode in names}


def _saved(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def _sounds() -> dict[str, bytes]:
    wave = np.sin(np.arange(1600) / 5) / 2
    kinds = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]
    kinds += [("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16"), ("W64", "PCM_16"), ("MP3", "MPEG_LAYER_III")]
    found = {}
    for kind, subtype in kinds:
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, 8000, format=kind, subtype=subtype)
        found[f"{kind} {subtype}"] = buffer.getvalue()
    return found


def _cvat() -> str:
    tags = "".join(
        f'<image name="{name}"><tag label="{label}"/></image>' for name, label in zip(NAMES, LABELS, strict=True)
    )
    return f'<?xml version="1.0"?>\n<annotations>{tags}</annotations>'


def _tables() -> dict[str, bytes]:
    """Manifests by ending; several of them of one ending are told apart by a number."""
    records = [{"path": name, "label": label} for name, label in zip(NAMES, LABELS, strict=True)]
    coco = {
        "images": [{"id": row, "file_name": name} for row, name in enumerate(NAMES)],
        "annotations": [{"id": row, "image_id": row, "category_id": row % 3} for row in range(ROWS)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(("cat", "dog", "owl"))],
    }
    studio = [
        {
            "data": {"image": name},
            "annotations": [{"result": [{"type": "choices", "value": {"choices": [label]}, "from_name": "label"}]}],
        }
        for name, label in zip(NAMES, LABELS, strict=True)
    ]

    def quoted(line: str) -> str:
        return line.replace(",", ";") + ';"a;b""c"'

    lines = [f"{name},{label}" for name, label in zip(NAMES, LABELS, strict=True)]
    found = {
        ".csv": "\n".join(["path,label", *lines]).encode(),
        ".csv 2": "\n".join(["# made by hand", "path;label;by", *(quoted(line) for line in lines)]).encode(),
        ".csv 3": "\n".join(["path,label,annotator", *(f"{line},{who}" for line in lines for who in "ab")]).encode(),
        ".tsv": "\n".join(["path\tlabels", *(line.replace(",", "\t") for line in lines)]).encode(),
        ".jsonl": "\n".join(map(json.dumps, records)).encode(),
        ".xml": _cvat().encode(),
        ".json": json.dumps(records).encode(),
        ".json 2": json.dumps(coco).encode(),
        ".json 3": json.dumps(studio).encode(),
    }
    table = pa.table({"path": NAMES, "label": LABELS, "embedding": np.eye(ROWS, dtype=np.float32).tolist()})
    for ending, write in ((".parquet", pq.write_table), (".feather", pyarrow.feather.write_feather)):
        buffer = io.BytesIO()
        write(table, buffer)
        found[ending] = buffer.getvalue()
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    found[".arrow"] = buffer.getvalue()
    buffer = io.BytesIO()
    np.savez(buffer, features=np.eye(ROWS), labels=np.array(LABELS))
    found[".npz"] = buffer.getvalue()
    return found


def _archives() -> dict[str, bytes]:
    members = {"m.csv": _tables()[".csv"]} | {name: _pictures()["PNG RGB"] for name in NAMES}
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return {".zip": zipped.getvalue(), ".tar": tarred.getvalue()}


DECISIONS = b"".join(
    b'{"id": "%d.png", "action": "%s", "given_label": "cat", "label": %s, "reviewer": "a", "time": "t"}\n'
    % (row, (b"keep", b"relabel")[row % 2], (b"null", b'"dog"')[row % 2])
    for row in range(6)
)
COLUMNS = {"path": "path", "label": "label"}
PATCH = b"\n".join(
    json.dumps(asdict(change)).encode()
    for change in (
        Change("0.png", 0, "cat", "dog", 0.9, "nlclean", ["why"], COLUMNS, None),
        Change("1.png", 1, "dog", None, 0.9, "ann", [], COLUMNS, {"path": "1.png", "label": "dog"}),
    )
)
JUDGED = [Row("aa", "cat", "suspect"), Row("aa", None, "fine"), Row("id:b", "dog", "accepted")]
BASELINE = baseline_text(JUDGED).encode()


# --- The readers ----------------------------------------------------------------------------------------------------


def _look(path: Path) -> None:
    """All that is done with a picture."""
    data = path.read_bytes()
    media.image_header(data)
    media.grey_peak(data)
    media.decode_image(data, 8)
    media.thumbnail(data, 8)
    media.thumbnail(data, 8, quick=True)


def _listen(path: Path) -> None:
    """All that is done with a sound."""
    data = path.read_bytes()
    rate, _ = sound.sound_header(data)
    samples, rate = sound.read_samples(data)[:2]
    sound.log_mel(samples, rate, 10)
    sound.cut_out(data, Segment(0.01, 0.1))


def _unpack(path: Path) -> None:
    """A file in an archive, as decoders ask for it."""
    for name in NAMES[:3]:
        media.read_bytes(uri_of(str(path), name))


def _own(read: Callable) -> Callable[[Path], object]:
    """A reader of what belongs to a manifest."""
    folder = tempfile.mkdtemp()
    Path(folder, "own.csv").write_bytes(_tables()[".csv"])
    manifest = read_manifest(Path(folder, "own.csv"))
    return lambda path: read(path, manifest)


def targets() -> dict[str, Target]:
    """Every decoder and reader by name."""
    found = {"pictures": Target(tuple(_pictures().values()), _look, ".bin")}
    found["sounds"] = Target(tuple(_sounds().values()), _listen, ".bin")
    tables = _tables()
    for ending in dict.fromkeys(name.partition(" ")[0] for name in tables):
        corpus = tuple(data for name, data in tables.items() if name.partition(" ")[0] == ending)
        found[f"manifest{ending}"] = Target(corpus, read_manifest, ending)
    for ending, data in _archives().items():
        found[f"manifest{ending}"] = Target((data,), read_manifest, ending)
        found[f"members{ending}"] = Target((data,), _unpack, ending)
    probabilities = "\n".join(["cat,dog,owl", *["0.5,0.25,0.25"] * ROWS]).encode()
    array = io.BytesIO()
    np.save(array, np.full((ROWS, 3), 1 / 3))
    found["pred_probs.csv"] = Target((probabilities,), _own(load_pred_probs), ".csv")
    found["pred_probs.npy"] = Target((array.getvalue(),), _own(load_pred_probs), ".npy")
    found["trusted.csv"] = Target((tables[".csv"],), _own(read_trusted), ".csv")
    found["decisions"] = Target((DECISIONS,), lambda path: DecisionLog(path).read(), ".jsonl")
    found["patch"] = Target((PATCH,), read_patch, ".jsonl")
    found["baseline"] = Target((BASELINE,), load_baseline, ".jsonl")
    return found

"""Make the sample sets of this folder: `python sample_data/make_samples.py [FOLDER]`.

Everything is drawn from numpy's RandomState, whose streams are frozen, so that any version gives the same rows.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_digits

NONE_OF_THESE = "none_of_these"

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CONFUSED = {0: 6, 1: 7, 2: 3, 3: 8, 4: 9, 5: 6, 6: 5, 7: 1, 8: 3, 9: 3}  # what a tired person writes instead
IMAGE_MISLABELS = 0.10
IMAGE_OUT_OF_VOCABULARY = 0.03
LETTERS = "AEFHKMNPRWX"  # none can pass for a digit

WORDS = ("alfa", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima")
ANNOTATORS = ("ann", "ben", "cleo", "dan", "eve")
CARELESS = 4.0  # how many times more often than the others eve errs
VECTORS = 1500
DIMENSIONS = 48
VECTOR_MISLABELS = 0.08
VECTOR_OUT_OF_VOCABULARY = 0.02


@dataclass
class Sample:
    content: bytes  # of the file
    label: str
    true_label: str
    planted: str = ""  # mislabel, out_of_vocabulary, unreadable, duplicate_conflict; of sounds also what they suffer


def main(folder: Path) -> None:
    write_files(folder / "images", image_samples(), ".png")
    write_vectors(folder / "vectors")


# --- Images ----------------------------------------------------------------------------------------------------------


def write_files(folder: Path, samples: Iterable[Sample], ending: str) -> None:
    """The files of a set, its manifest, and its truth."""
    rows = []
    for i, sample in enumerate(samples):
        path = Path("files", f"{i // 100:02d}", f"{i:04d}{ending}")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(sample.content)
        rows.append((path.as_posix(), sample))
    write_csv(folder / "manifest.csv", ("path", "label"), [(path, sample.label) for path, sample in rows])
    write_csv(
        folder / "truth.csv",
        ("path", "true_label", "planted"),
        [(path, sample.true_label, sample.planted) for path, sample in rows],
    )


def image_samples() -> list[Sample]:
    rng = np.random.RandomState(20)
    pictures, classes = load_digits(return_X_y=True)
    clear = np.flatnonzero(held_out_neighbours(pictures, classes, rng) == classes)  # others could not be tested
    digits = [
        Sample(png(upscaled(pictures[i].reshape(8, 8), rng)), DIGITS[classes[i]], DIGITS[classes[i]]) for i in clear
    ]
    special = rng.permutation(len(digits))
    count = round(IMAGE_MISLABELS * len(digits))
    for i in special[:count]:
        true = DIGITS.index(digits[i].true_label)
        other = CONFUSED[true] if rng.rand() < 0.8 else (true + rng.randint(1, 10)) % 10
        digits[i].label, digits[i].planted = DIGITS[other], "mislabel"

    empty, cut, early, late = (digits[i] for i in special[count : count + 4])
    empty.content, empty.planted = b"", "unreadable"
    cut.content, cut.planted = cut.content[: len(cut.content) // 2], "unreadable"

    strangers = round(IMAGE_OUT_OF_VOCABULARY * len(digits))
    drawings = [letter(rng) if k % 2 else texture(rng) for k in range(strangers)]
    digits += [Sample(png(a), DIGITS[rng.randint(10)], NONE_OF_THESE, "out_of_vocabulary") for a in drawings]
    samples = [digits[i] for i in rng.permutation(len(digits))]

    # Two pairs with the same bytes and different labels; the wrong one comes last in one pair, first in the other.
    for original, last in ((early, True), (late, False)):
        original.planted = "duplicate_conflict"
        wrong = DIGITS[CONFUSED[DIGITS.index(original.true_label)]]
        place = [sample is original for sample in samples].index(True)
        at = rng.randint(place + 1, len(samples) + 1) if last else rng.randint(0, place + 1)
        samples.insert(at, Sample(original.content, wrong, original.true_label, "duplicate_conflict"))
    return samples


def held_out_neighbours(
    vectors: np.ndarray, classes: np.ndarray, rng: np.random.RandomState, *, folds: int = 5, k: int = 5
) -> np.ndarray:
    """(n,) class by vote of the k nearest rows (n, d) of the other folds."""
    fold = rng.permutation(len(vectors)) % folds
    squares = (vectors**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * vectors @ vectors.T
    distances[fold[:, None] == fold[None, :]] = np.inf
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
    votes = np.eye(classes.max() + 1, dtype=int)[classes[nearest]].sum(axis=1)
    return votes.argmax(axis=1)


def upscaled(digit: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """A digit of 8 x 8 values in 0-16 as 32 x 32 grey levels, with a little jitter of contrast."""
    levels = np.rint(digit * (255 / 16) * rng.uniform(0.75, 1.0) + rng.uniform(0, 12))
    return np.asarray(Image.fromarray(levels.clip(0, 255).astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC))


def letter(rng: np.random.RandomState) -> np.ndarray:
    """A letter (32, 32) of Pillow's bitmap font, enlarged, turned and blurred."""
    character = LETTERS[rng.randint(len(LETTERS))]
    font = ImageFont.load_default_imagefont()
    left, top, right, bottom = font.getbbox(character)
    small = Image.new("L", (round(right - left), round(bottom - top)))
    ImageDraw.Draw(small).text((0, 0), character, fill=255, font=font)
    small = small.crop(small.getbbox())
    height = rng.randint(20, 28)
    width = max(12, round(height * small.width / small.height))
    glyph = small.resize((width, height), Image.Resampling.BICUBIC)
    page = Image.new("L", (32, 32))
    page.paste(glyph, ((32 - width) // 2, (32 - height) // 2))
    page = page.rotate(rng.uniform(-40, 40), Image.Resampling.BICUBIC)
    return np.asarray(page.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.2))))


def texture(rng: np.random.RandomState) -> np.ndarray:
    """Smooth noise (32, 32) with grains of 2 to 8 pixels."""
    side = int(rng.choice([4, 6, 8, 16]))
    grains = Image.fromarray(rng.randint(0, 256, (side, side)).astype(np.uint8))
    return np.asarray(grains.resize((32, 32), Image.Resampling.BICUBIC))


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", optimize=True)
    return buffer.getvalue()


# --- Vectors ---------------------------------------------------------------------------------------------------------


def write_vectors(folder: Path) -> None:
    table, truth = vector_samples()
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "manifest.parquet", compression="zstd")
    write_csv(folder / "truth.csv", ("id", "true_label", "planted"), truth)


def vector_samples() -> tuple[pa.Table, list[tuple[str, str, str]]]:
    """Twelve classes on a bent sheet of low rank, whose neighbours touch; two strange clusters and far noise."""
    rng = np.random.RandomState(12)
    k, rank = len(WORDS), 8
    means = rng.normal(size=(k + 2, rank)) * 1.5  # the last two are outside the vocabulary
    bend = rng.normal(size=(rank, 32)) / np.sqrt(rank)
    mix = rng.normal(size=(32 + rank, DIMENSIONS)) / np.sqrt(32)

    def embedded(classes: np.ndarray) -> np.ndarray:
        hidden = means[classes] + rng.normal(size=(len(classes), rank))
        warped = np.concatenate([np.tanh(hidden @ bend) * 2, hidden * 0.5], axis=1)
        return warped @ mix + 0.1 * rng.normal(size=(len(classes), DIMENSIONS))

    strangers = round(VECTOR_OUT_OF_VOCABULARY * VECTORS)
    known = VECTORS - strangers
    true = rng.randint(0, k, size=known * 2)
    vectors = embedded(true)
    clear = np.flatnonzero(held_out_neighbours(vectors, true, rng) == true)[:known]
    true, vectors = true[clear], vectors[clear]

    outside = embedded(rng.randint(k, k + 2, size=strangers))
    outside[::3] = rng.normal(size=outside[::3].shape) * vectors.std() * 2
    vectors = np.concatenate([vectors, outside]).astype(np.float32)
    true = np.concatenate([true, np.full(strangers, -1)])

    annotator = rng.randint(0, len(ANNOTATORS), size=VECTORS)
    given = np.where(true >= 0, true, rng.randint(0, k, size=VECTORS))
    planted = np.where(true >= 0, "", "out_of_vocabulary").astype("U20")
    distance = ((means[:k, None] - means[None, :k]) ** 2).sum(axis=2)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, 1:3]
    careless = np.where(annotator == ANNOTATORS.index("eve"), CARELESS, 1.0) * (true >= 0)
    wrong = rng.choice(VECTORS, size=round(VECTOR_MISLABELS * VECTORS), replace=False, p=careless / careless.sum())
    given[wrong] = nearest[true[wrong], rng.randint(0, 2, size=len(wrong))]
    planted[wrong] = "mislabel"
    broken = np.flatnonzero((planted == "") & (true >= 0))[0]
    vectors[broken], planted[broken] = np.nan, "unreadable"

    order = rng.permutation(VECTORS)
    ids = [f"v{i:04d}" for i in range(VECTORS)]
    table = pa.table(
        {
            "id": ids,
            "label": [WORDS[i] for i in given[order]],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors[order].ravel()), DIMENSIONS),
            "annotator": [ANNOTATORS[i] for i in annotator[order]],
        }
    )
    names = [*WORDS, NONE_OF_THESE]  # -1 is the last
    return table, [(ids[j], names[true[i]], str(planted[i])) for j, i in enumerate(order)]


def write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)

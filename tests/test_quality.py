"""Notes on pictures: what is odd among the others, and nothing where all are alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cleanlab_lite.data.inputs import load_inputs
from cleanlab_lite.data.quality import picture_notes
from cleanlab_lite.manifest.readers import read_manifest


def pictures(n: int = 100, side: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 3, side, side), dtype=np.uint8)


def noted(
    pixels: np.ndarray, sizes: list[tuple[int, int]] | None = None, readable: np.ndarray | None = None
) -> dict[str, list[int]]:
    """The rows with each note; all of one size and readable unless given."""
    of_files = np.array(sizes or [(48, 48)] * len(pixels))
    found = picture_notes(pixels, of_files, np.ones(len(pixels), bool) if readable is None else readable)
    return {note: np.flatnonzero(rows).tolist() for note, rows in found.items()}


def scenes(n: int, side: int) -> list[Image.Image]:
    """Boxes in front of plain or coarse backgrounds, by lamps of all strengths: sharp edges, more or fewer of them."""
    rng, found = np.random.default_rng(1), []
    for _ in range(n):
        scene = np.full((side, side), rng.uniform(80, 120))
        for _ in range(rng.integers(2, 9)):
            top, left = rng.integers(0, side - 8, 2)
            scene[top : top + rng.integers(4, side // 2), left : left + rng.integers(4, side // 2)] += rng.uniform(
                10, 90
            )
        scene = (scene + rng.normal(0, 2, scene.shape)) * rng.uniform(0.5, 1)
        found.append(Image.fromarray(scene.clip(0, 255).astype(np.uint8)).convert("RGB"))
    return found


def as_pixels(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])


@pytest.mark.parametrize("side", [16, 32, 100])
def test_odd_pictures_are_noted(side):
    pixels = pictures(side=side)
    pixels[3] //= 8
    pixels[5] = 255 - pixels[5] // 8
    pixels[7] = 90
    assert noted(pixels) == {"dark": [3], "bright": [5], "blank": [7]}


@pytest.mark.parametrize("side", [32, 96])
def test_blurred_and_enlarged_pictures_are_noted_and_plain_or_dim_ones_are_not(side):
    images = scenes(200, side)
    assert noted(as_pixels(images)) == {}
    images[3] = images[3].filter(ImageFilter.GaussianBlur(1.5))
    images[5] = images[5].resize((side // 3, side // 3)).resize((side, side), Image.Resampling.BICUBIC)
    assert noted(as_pixels(images)) == {"blurred": [3, 5]}


def test_pictures_that_were_enlarged_to_be_decoded_are_judged_as_they_were():
    images = scenes(200, 32)
    images[3] = images[3].filter(ImageFilter.GaussianBlur(1.5))
    images[5] = images[5].filter(ImageFilter.GaussianBlur(4))
    enlarged = [image.resize((160, 160), Image.Resampling.BICUBIC) for image in images]
    assert noted(as_pixels(enlarged), [(32, 32)] * 200) == {"blurred": [3, 5]}


def test_where_all_pictures_are_blurred_none_is():
    assert noted(as_pixels([scene.filter(ImageFilter.GaussianBlur(2)) for scene in scenes(50, 32)])) == {}


@pytest.mark.parametrize(
    ("usual", "odd"),
    [
        ([(64, 64)], [(20, 20), (200, 200), (64, 128)]),
        ([(640, 480), (480, 640), (800, 600)], [(64, 48), (6400, 4800), (1280, 240)]),
    ],
)
def test_sizes_and_shapes_far_from_those_of_the_others_are_noted(usual, odd):
    sizes = (usual * 100)[:100]
    assert noted(pictures(), sizes) == {}
    sizes[10:13] = odd
    assert noted(pictures(), sizes) == {"odd_size": [10, 11, 12]}


def test_sizes_that_vary_or_are_not_known_are_no_note():
    vary = np.exp(np.random.default_rng(0).normal(5, 0.5, (100, 2))).astype(int)
    assert noted(pictures(), [(int(w), int(h)) for w, h in vary]) == {}
    assert noted(pictures(), [(0, 0)] * 50 + [(64, 64)] * 50) == {}


def test_how_the_set_looks_is_no_note():
    assert noted(pictures() // 8) == {}
    drawings = np.zeros((100, 3, 32, 32), np.uint8)
    drawings[:, :, 10:12] = 255  # a white stroke on black
    assert noted(drawings) == {}


def test_unreadable_rows_are_not_looked_at():
    pixels = pictures(4)
    pixels[1] = 0
    sizes = [(48, 48), (4, 4), (48, 48), (48, 48)]
    assert noted(pixels, sizes, np.array([True, False, True, True])) == {}
    assert noted(pixels, sizes, np.zeros(4, bool)) == {}


def test_an_audit_of_pictures_carries_the_notes(tmp_path, monkeypatch):
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    files = tmp_path / "files"
    for i, pixels in enumerate(pictures(30, 32)):
        level = pixels.transpose(1, 2, 0) if i != 4 else np.full((32, 32, 3), 7, np.uint8)
        image = Image.fromarray(level).resize((96, 32)) if i == 6 else Image.fromarray(level)
        (files / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        image.save(files / "ab"[i % 2] / f"{i:02}.png")
    manifest = read_manifest(files)
    rows = {Path(uri).stem: row for row, uri in enumerate(manifest.uris.tolist())}
    for _ in range(2):  # decoded, and from the cache
        notes = load_inputs(manifest, 32).notes
        assert {note: np.flatnonzero(held).tolist() for note, held in notes.items()} == {
            "blank": [rows["04"]],
            "odd_size": [rows["06"]],
        }

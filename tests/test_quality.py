"""Notes on pictures: what is odd among the others, and nothing where all are alike."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cleanlab_lite.data.cache import ImageFormat, load
from cleanlab_lite.data.inputs import inputs_of
from cleanlab_lite.data.quality import picture_notes


def pictures(n: int = 100, side: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 3, side, side), dtype=np.uint8)


@pytest.mark.parametrize("side", [16, 32, 100])
def test_odd_pictures_are_noted(side):
    pixels = pictures(side=side)
    pixels[3] //= 8
    pixels[5] = 255 - pixels[5] // 8
    pixels[7] = 90
    found = picture_notes(pixels, np.ones(100, bool))
    assert {note: np.flatnonzero(rows).tolist() for note, rows in found.items()} == {
        "dark": [3],
        "bright": [5],
        "blank": [7],
    }


def test_how_the_set_looks_is_no_note():
    assert picture_notes(pictures() // 8, np.ones(100, bool)) == {}
    drawings = np.zeros((100, 3, 32, 32), np.uint8)
    drawings[:, :, 10:12] = 255  # a white stroke on black
    assert picture_notes(drawings, np.ones(100, bool)) == {}


def test_unreadable_rows_are_not_looked_at():
    pixels = pictures(4)
    pixels[1] = 0
    assert picture_notes(pixels, np.array([True, False, True, True])) == {}
    assert picture_notes(pixels, np.zeros(4, bool)) == {}


def test_an_audit_of_pictures_carries_the_notes(tmp_path):
    for i, pixels in enumerate(pictures(30, 32)):
        level = pixels.transpose(1, 2, 0) if i != 4 else np.full((32, 32, 3), 7, np.uint8)
        Image.fromarray(level).save(tmp_path / f"{i}.png")
    form = ImageFormat(32)
    store = load([str(tmp_path / f"{i}.png") for i in range(30)], form, cache_dir=tmp_path / "cache")
    assert np.flatnonzero(inputs_of(store, form).notes["blank"]).tolist() == [4]

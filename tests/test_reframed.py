"""Cropped and mirrored copies: found among an encoder's neighbours, and told from pictures that are only alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

from cleanlab_lite.copies import Duplicates, find_copies
from cleanlab_lite.copies.perceptual import small_pictures
from cleanlab_lite.copies.reframed import NEIGHBORS, Overlay, all_frames, framed_agreement, reframed_pairs, samplings
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.train.products import running_on

SIDE = 32


def scenes(count: int, side: int = 2 * SIDE) -> np.ndarray:
    """(count, 3, side, side) float pictures with structure at several scales."""
    rng = np.random.default_rng(0)
    layers = [s * gaussian_filter(rng.normal(size=(count, 3, side, side)), (0, 0, s, s)) for s in (2, 4, 8)]
    return np.clip(128 + 130 * sum(layers), 0, 255)


def stored(pictures: np.ndarray) -> np.ndarray:
    """As uint8 of SIDE pixels."""
    factor = SIDE / pictures.shape[-1]
    return np.clip(np.rint(zoom(pictures, (1, 1, factor, factor), order=1)), 0, 255).astype(np.uint8)


def cropped(pictures: np.ndarray, share: float) -> np.ndarray:
    cut = round(share * pictures.shape[-1])
    return pictures[:, :, cut:-cut, cut:-cut]


def neighbors_of(u: int, pairs: list[tuple[int, int]]) -> np.ndarray:
    """(u, 12) any other rows, and among the first the partner where there is one."""
    rng = np.random.default_rng(1)
    near = np.array([rng.permutation(np.delete(np.arange(u), row))[:12] for row in range(u)])
    for a, b in pairs:
        near[a, NEIGHBORS - 1] = b
    return near


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.06])
def test_crops_and_mirror_images_are_found_and_nothing_else(share, mirrored):
    originals = scenes(60)
    copies = cropped(originals[:20], share) if share else originals[:20]
    copies = copies[..., ::-1] if mirrored else copies
    pictures = np.concatenate([stored(originals), stored(copies)])
    expected = [(row, 60 + row) for row in range(20)]
    overlay = Overlay(pictures, np.arange(80), small_pictures(pictures, np.arange(80)).small)
    pairs, distance = reframed_pairs(overlay, neighbors_of(80, expected))
    assert sorted(map(tuple, pairs.tolist())) == expected
    assert 0 < distance <= 0.05


def test_a_grey_picture_agrees_as_it_does_in_three_channels():
    grey = np.repeat(stored(scenes(12))[:, :1], 3, axis=1)
    tinted = grey.copy()
    tinted[0, 0, 0, 0] ^= 1  # one value of one channel: all are compared as coloured ones
    pairs = np.stack([np.zeros(11, int), np.arange(1, 12)], axis=1)
    every = np.arange(12)
    one, three = (Overlay(each, every, small_pictures(grey, every).small).agreement(pairs) for each in (grey, tinted))
    np.testing.assert_allclose(one, three, atol=1e-3)
    assert np.ptp(one) > 0.1


def test_an_encoder_that_sees_the_pictures_finds_them():
    originals = scenes(60)
    changed = [cropped(originals[:3], 0.06), originals[3:6, :, :, ::-1]]
    pictures = np.concatenate([stored(originals), *map(stored, changed)])
    nothing, unique = np.full(66, ""), np.full(66, -1)
    inputs = Inputs(pictures, nothing, nothing, unique, 0, nothing)
    colours = np.abs(np.fft.rfft2(pictures.astype(np.float32)))[:, :, :3, :3]  # that moves and mirrors change little
    seen = replace(inputs, array=colours.reshape(66, -1) - colours.mean(axis=0).ravel())
    found = find_copies(inputs, seen)
    assert found.copy_of[60:].tolist() == [0, 1, 2, 3, 4, 5] and (found.copy_of[:60] < 0).all()
    assert set(found.kind[60:]) == {"reframed"} and (found.similarity[60:] > 0.95).all()
    assert found.facts["rows"]["reframed"] == 6
    again = Duplicates.from_arrays(found.arrays(), found.facts)
    np.testing.assert_array_equal(again.by_kind["reframed"], found.by_kind["reframed"])


def test_of_two_crops_each_may_lie_in_the_other():
    originals = scenes(40)
    pictures = np.concatenate([stored(originals), stored(cropped(originals[:5], 0.06))])
    overlay = Overlay(pictures, np.arange(45), small_pictures(pictures, np.arange(45)).small)
    forward, backward = np.array([[0, 40]]), np.array([[40, 0]])
    assert overlay.agreement(forward) == pytest.approx(overlay.agreement(backward), abs=1e-6)
    assert overlay.agreement(forward) > 0.97 > 0.9 > overlay.agreement(np.array([[0, 41]]))


def test_pictures_of_one_kind_are_no_copies():
    """Where all are alike up to a small difference, copies must be more so."""
    rng = np.random.default_rng(2)
    common = scenes(1)
    pictures = stored(
        np.clip(common + 12 * gaussian_filter(rng.normal(size=(60, 3, 64, 64)), (0, 0, 2, 2)) * 4, 0, 255)
    )
    overlay = Overlay(pictures, np.arange(60), small_pictures(pictures, np.arange(60)).small)
    pairs, distance = reframed_pairs(overlay, neighbors_of(60, []))
    assert len(pairs) == 0 and distance < 0.05


def test_a_device_finds_the_same():
    originals = scenes(60)
    pictures = np.concatenate([stored(originals), stored(cropped(originals[:20], 0.03))[..., ::-1]])
    small = small_pictures(pictures, np.arange(80)).small
    near = neighbors_of(80, [(row, 60 + row) for row in range(20)])
    here = reframed_pairs(Overlay(pictures, np.arange(80), small), near)
    there = reframed_pairs(Overlay(pictures, np.arange(80), small, running_on("cpu")), near)
    np.testing.assert_array_equal(here[0], there[0])
    assert len(here[0]) == 20 and here[1] == pytest.approx(there[1], rel=1e-4)


@pytest.mark.parametrize("u", [0, 1, 4])
def test_too_few_pictures_have_no_usual_neighbour(u):
    pictures = stored(scenes(max(u, 1)))[:u]
    overlay = Overlay(pictures, np.arange(u), small_pictures(pictures, np.arange(u)).small)
    near = np.full((u, max(u - 1, 0)), -1) if u < 2 else np.array([np.delete(np.arange(u), i) for i in range(u)])
    assert len(reframed_pairs(overlay, near)[0]) == 0


def test_agreement_by_products_is_that_of_what_lies_in_the_frames():
    rng = np.random.default_rng(0)
    whole, other = rng.integers(0, 256, (3, 256)).astype(np.float32), rng.integers(0, 256, (5, 256)).astype(np.float32)
    whole[2] = 7  # blank
    place = np.array([0, 0, 1, 1, 2])
    rows, columns = all_frames().sampling(16)
    framed = rows @ whole.reshape(-1, 1, 16, 16) @ columns.swapaxes(1, 2)  # (3, f, 16, 16)
    for found, flip in zip(framed_agreement(whole, place, other, samplings()), (1, -1), strict=True):
        for pair, seen in enumerate(other.reshape(-1, 16, 16)[:, :, ::flip]):
            expected = [
                0 if place[pair] == 2 else np.corrcoef(f.ravel(), seen.ravel())[0, 1] for f in framed[place[pair]]
            ]
            np.testing.assert_allclose(found[pair], expected, atol=2e-5)

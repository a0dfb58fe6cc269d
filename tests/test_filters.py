"""Pictures as vectors by small pieces of themselves: a reference, what does not matter, and what is told apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.judge.closed_form import hold_out
from cleanlab_lite.progress import Progress
from cleanlab_lite.train.filters import CONTRAST, NUMBERS, THRESHOLD, Filters, filtered, pieces_of


def stripes(n: int, *, side: int = 20, channels: int = 3, seed: int = 0) -> tuple[Inputs, np.ndarray]:
    """Noisy stripes, level or upright (0, 1), of any phase, brightness and contrast: their mean colours say nothing."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 2, n)
    wave = np.sin(np.arange(side) * 1.5 + rng.uniform(0, 7, (n, 1)))[:, None, :, None]
    level = np.broadcast_to(wave, (n, channels, side, side))
    seen = np.where(kinds[:, None, None, None] == 0, level, level.swapaxes(2, 3)) + 0.3 * rng.normal(size=level.shape)
    bright = rng.uniform(80, 170, (n, 1, 1, 1)) + rng.uniform(15, 50, (n, 1, 1, 1)) * seen
    return inputs_of(bright.clip(0, 255).astype(np.uint8)), kinds


def inputs_of(array: np.ndarray, offsets: np.ndarray | None = None, broken: tuple[int, ...] = ()) -> Inputs:
    n = len(array) if offsets is None else len(offsets) - 1
    codes = np.full(n, "", dtype="U9")
    codes[list(broken)] = "truncated"
    starts = np.arange(n) if offsets is None else offsets[:-1]
    content = np.array(
        ["" if code else array[row].tobytes().hex()[:60] for row, code in zip(starts, codes, strict=True)]
    )
    return Inputs(array, codes, codes, np.full(n, -1), 0, content, offsets)


def vectors(inputs: Inputs) -> np.ndarray:
    return filtered(inputs, "cpu", seed=0).array


def test_stripes_are_told_apart_though_their_colours_are_alike():
    inputs, kinds = stripes(300)
    found = vectors(inputs)
    assert found.shape == (300, NUMBERS) and found.dtype == np.float16
    colours = inputs.array.reshape(300, 3, -1).mean(axis=2)
    by_filters, by_colours = (hold_out([view], kinds, 2).agreement for view in (found, colours))
    assert by_filters > 0.98 and by_colours < 0.65


def test_likeness_is_that_of_whitened_pieces_of_one_contrast():
    """Piece by piece, in float64."""
    inputs, _ = stripes(5, side=9)
    rng = np.random.default_rng(1)
    pieces = rng.uniform(size=(500, 3, 6, 6)).astype(np.float32)
    filters = Filters.drawn(pieces, np.random.default_rng(2))
    weights = filters.weights.double().flatten(1)
    windows = F.unfold(torch.from_numpy(inputs.array / 255), 6).transpose(1, 2)  # (5, 16, 108)
    windows = windows - windows.mean(2, keepdim=True)
    windows = windows / (windows.square().mean(2, keepdim=True) + CONTRAST).sqrt()
    like = (windows @ weights.T - filters.offsets.double().flatten()).transpose(1, 2).reshape(5, -1, 4, 4)
    both = torch.cat([(like - THRESHOLD).relu(), (-like - THRESHOLD).relu()], dim=1)
    wanted = both.reshape(5, -1, 2, 2, 2, 2).mean((3, 5)).flatten(1)
    np.testing.assert_allclose(filters(inputs.array), wanted.numpy(), atol=2e-3)


def test_filters_are_white():
    """Whitened pieces have deviations of one size along every direction in which pieces vary at all."""
    inputs, _ = stripes(200)
    pieces = pieces_of(inputs, 0).reshape(20_000, -1)
    assert pieces.min() >= 0 and pieces.max() <= 1
    filters = Filters.drawn(pieces.reshape(-1, 3, 6, 6), np.random.default_rng(0))
    np.testing.assert_allclose(filters.weights.flatten(1).sum(1), 0, atol=1e-4)
    flat = pieces - pieces.mean(axis=1, keepdims=True)
    flat /= np.sqrt((flat**2).mean(axis=1, keepdims=True) + CONTRAST)
    like = flat @ filters.weights.flatten(1).numpy().T - filters.offsets.flatten().numpy()
    np.testing.assert_allclose(like.mean(axis=0), 0, atol=1e-3)
    assert like.std(axis=0).min() > 0.3 and like.std(axis=0).max() < 3


def test_the_order_of_the_rows_does_not_matter():
    inputs, _ = stripes(150)
    order = np.random.default_rng(0).permutation(150)
    np.testing.assert_array_equal(vectors(inputs)[order], vectors(inputs_of(inputs.array[order])))


def test_a_clip_is_the_mean_of_its_patches():
    inputs, _ = stripes(7, channels=1)
    offsets = np.array([0, 1, 4, 7])
    clips = vectors(inputs_of(inputs.array, offsets))
    filters = Filters.drawn(pieces_of(inputs_of(inputs.array, offsets), 0), np.random.default_rng((0, 9)))
    each = filters(inputs.array).astype(np.float32)
    means = [each[start:end].mean(axis=0) for start, end in itertools.pairwise(offsets)]
    np.testing.assert_allclose(clips, means, atol=2e-3)


@pytest.mark.parametrize(("offsets", "unit"), [(None, "pictures"), (np.array([0, 1, 4, 7]), "patches")])
def test_progress_says_what_is_compared(offsets, unit):
    told: list[Progress] = []
    inputs, _ = stripes(7)
    filtered(inputs_of(inputs.array, offsets), "cpu", seed=0, on_progress=told.append)
    assert told[-1] == Progress("filters", 7, 7, unit)


@pytest.mark.parametrize("side", [1, 4, 7])
def test_small_pictures_have_smaller_filters(side):
    found = vectors(inputs_of(np.random.default_rng(0).integers(0, 256, (9, 3, side, side)).astype(np.uint8)))
    assert found.shape == (9, NUMBERS) and np.isfinite(found).all()


def test_rows_that_cannot_be_read_are_zeros_and_teach_nothing():
    inputs, _ = stripes(40)
    broken = inputs_of(inputs.array.copy(), broken=(3, 5))
    broken.array[[3, 5]] = 255
    kept = np.delete(np.arange(40), [3, 5])
    assert not vectors(broken)[[3, 5]].any()
    np.testing.assert_array_equal(vectors(broken)[kept], vectors(inputs_of(inputs.array[kept])))
    assert not vectors(inputs_of(inputs.array, broken=tuple(range(40)))).any()


def test_pictures_of_one_grey_are_like_nothing():
    found = vectors(inputs_of(np.full((12, 3, 16, 16), 90, np.uint8)))
    assert np.isfinite(found).all() and (found == found[0]).all()

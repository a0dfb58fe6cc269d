"""Loader and augmentation: which row a number belongs to, where the data lives, what is done to pictures."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from cleanlab_lite.train.augment import (
    blur_vectors,
    distort,
    flips_preserve_labels,
    random_cutout,
    random_flip,
    random_shift,
    random_tone,
)
from cleanlab_lite.train.loader import Samples, ahead

CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(n: int = 20, d: int = 3) -> np.ndarray:
    """Row i is [i, i, ...]."""
    return np.repeat(np.arange(n, dtype=np.float32)[:, None], d, axis=1)


def everything(n: int) -> np.ndarray:
    return np.ones(n, dtype=bool)


# --- rows -----------------------------------------------------------------------------------------------------------


def test_rows_travel_with_their_index():
    samples = Samples(numbered(), everything(20), CPU)
    rows, targets = np.array([3, 4, 7, 11, 19]), torch.arange(20) * 10
    epoch = list(samples.shuffled(rows, targets, 2, seeded(), drop_last=False))
    assert [len(batch.index) for batch in epoch] == [2, 2, 1]
    assert sorted(torch.cat([batch.index for batch in epoch]).tolist()) == rows.tolist()
    for batch in epoch:
        assert torch.equal(batch.targets, batch.index * 10)
        assert torch.equal(batch.inputs, samples.inputs(batch.index))
        number = batch.inputs[:, 0] * numbered()[:, 0].std() + numbered()[:, 0].mean()  # back to what was given
        np.testing.assert_allclose(number, batch.index, atol=1e-4)


def test_what_is_fetched_ahead_arrives_in_order_and_errors_do_not_get_lost():
    seen = []

    def fetch(item: torch.Tensor) -> torch.Tensor:
        seen.append(int(item))
        if item == 4:
            raise OSError("gone")
        return 10 * item

    results = ahead(fetch, map(torch.tensor, range(9)))
    assert [int(next(results)) for _ in range(4)] == [0, 10, 20, 30]
    with pytest.raises(OSError, match="gone"):
        next(results)
    assert max(seen) <= 4 + 2


def test_epochs_differ_and_a_seed_repeats_them():
    samples, rows = Samples(numbered(), everything(20), CPU), np.arange(20)

    def order(generator: torch.Generator) -> list[int]:
        return torch.cat([b.index for b in samples.shuffled(rows, torch.arange(20), 5, generator)]).tolist()

    generator = seeded(1)
    first, second = order(generator), order(generator)
    assert first != second
    assert order(seeded(1)) == first


@pytest.mark.parametrize(
    ("n", "size", "sizes"),
    [(10, 5, [5, 5]), (11, 5, [5, 5]), (4, 5, [4]), (5, 5, [5]), (1, 8, [1])],
    ids=["even", "rest dropped", "fewer than one batch", "exactly one", "one row"],
)
def test_a_short_batch_is_dropped_unless_it_is_the_only_one(n, size, sizes):
    samples = Samples(numbered(), everything(20), CPU)
    epoch = list(samples.shuffled(np.arange(n), torch.arange(20), size, seeded()))
    assert [len(batch.index) for batch in epoch] == sizes


def test_batches_keep_the_order():
    samples = Samples(numbered(), everything(20), CPU)
    parts = [part.tolist() for part in samples.batches(np.array([9, 2, 5, 0, 1]), 2)]
    assert parts == [[9, 2], [5, 0], [1]]


@pytest.mark.parametrize("n", [3, 8, 9, 15])
def test_a_pass_gives_every_row_once_also_where_the_last_batch_is_filled_up(n, monkeypatch):
    samples = Samples(numbered(n), everything(n), CPU)
    rows, seen = np.arange(n)[::-1].copy(), []

    def compute(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(len(inputs))
        return inputs.flatten(1)[None]

    plain = torch.cat([values for _, values in samples.passes(rows, 4, compute)], dim=1)
    filled_up = Samples._filled_up

    def as_on_a_gpu(self: Samples, parts: list[torch.Tensor]) -> list[torch.Tensor]:
        with monkeypatch.context() as there:
            there.setattr(self, "device", torch.device("cuda"))
            return filled_up(self, parts)

    monkeypatch.setattr(Samples, "_filled_up", as_on_a_gpu)
    seen.clear()
    parts = list(samples.passes(rows, 4, compute))
    assert seen == ([4] * -(-n // 4) if n > 4 else [n])
    assert [part.start for part, _ in parts] == list(range(0, n, 4))
    assert torch.equal(torch.cat([values for _, values in parts], dim=1), plain)


# --- numbers --------------------------------------------------------------------------------------------------------


def test_readable_rows_alone_decide_the_normalisation():
    rng = np.random.default_rng(0)
    values = rng.normal(7, 3, size=(200, 4)).astype(np.float32)
    readable = np.arange(200) % 5 > 0
    values[~readable] = 1e6
    inputs = Samples(values, readable, CPU).inputs(torch.from_numpy(np.flatnonzero(readable)))
    np.testing.assert_allclose(inputs.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(inputs.std(0, correction=0), 1, atol=1e-4)


def test_pictures_are_normalised_per_channel():
    pixels = np.random.default_rng(0).integers(0, 200, (30, 3, 8, 8)).astype(np.uint8)
    pixels[:, 1] //= 4
    inputs = Samples(pixels, everything(30), CPU).inputs(torch.arange(30))
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(inputs.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(inputs.std((0, 2, 3), correction=0), 1, atol=1e-4)


def test_a_constant_channel_or_dimension_says_nothing_and_is_not_nan():
    pixels = np.random.default_rng(0).integers(0, 255, (10, 3, 8, 8)).astype(np.uint8)
    pixels[:, 2] = 77
    assert (Samples(pixels, everything(10), CPU).inputs(torch.arange(10))[:, 2] == 0).all()
    values = numbered()
    values[:, 1] = 10_000.1  # not a float32, so its mean is off by a little
    constant = Samples(values, everything(20), CPU).inputs(torch.arange(20))[:, 1]
    assert constant.abs().max() <= 1
    assert (constant == constant[0]).all()


@pytest.mark.parametrize("kind", ["pictures", "vectors"])
def test_data_on_the_host_equals_data_on_the_device(kind):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 255, (12, 3, 8, 8)).astype(np.uint8) if kind == "pictures" else numbered(12)
    near, far = Samples(data, everything(12), CPU), Samples(data, everything(12), CPU, device_limit=0)
    rows = torch.tensor([3, 3, 11, 0])
    assert torch.equal(near.inputs(rows), far.inputs(rows))
    assert len(near) == len(far) == 12
    assert near.sample_shape == data.shape[1:]


@pytest.mark.parametrize("device_limit", [0, 2**30])
def test_a_read_only_memory_map_is_read_and_left_alone(tmp_path, device_limit):
    data = np.random.default_rng(0).integers(0, 255, (12, 3, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "pixels.npy", data)
    before = (tmp_path / "pixels.npy").read_bytes()
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    rows = torch.tensor([11, 2])
    found = Samples(mapped, everything(12), CPU, device_limit=device_limit).inputs(rows)
    found += 1  # a caller may work in place
    np.testing.assert_array_equal(mapped, data)
    expected = Samples(data, everything(12), CPU).inputs(rows) + 1
    assert torch.equal(found, expected)
    assert (tmp_path / "pixels.npy").read_bytes() == before


def test_a_memory_map_takes_no_memory_of_its_own(tmp_path):
    np.save(tmp_path / "vectors.npy", np.zeros((2**18, 16), np.float32))
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        samples = Samples(mapped, everything(len(mapped)), CPU)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < mapped.nbytes / 4
    assert samples.inputs(torch.tensor([3])).shape == (1, 16)


# --- augmentation ---------------------------------------------------------------------------------------------------


def test_shifts_are_windows_of_the_reflected_picture_and_all_of_them_occur():
    pixels = torch.arange(2 * 36, dtype=torch.float32).reshape(1, 2, 6, 6).repeat(400, 1, 1, 1)
    shifted = random_shift(pixels, 2, seeded())
    assert shifted.shape == pixels.shape
    padded = np.pad(pixels[0].numpy(), ((0, 0), (2, 2), (2, 2)), mode="reflect")
    windows = {padded[:, y : y + 6, x : x + 6].tobytes() for y in range(5) for x in range(5)}
    found = [np.ascontiguousarray(picture.numpy()).tobytes() for picture in shifted]
    assert set(found) == windows
    assert max(found.count(window) for window in windows) < 40  # 16 expected of each


def test_flips_mirror_half_of_the_pictures():
    pixels = torch.rand(400, 3, 5, 5, generator=seeded(1))
    flipped = random_flip(pixels, seeded())
    mirrored = (flipped == pixels.flip(3)).flatten(1).all(1)
    kept = (flipped == pixels).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert 150 < int(mirrored.sum()) < 250


def test_cutout_leaves_one_square_hole_per_picture_and_holes_differ():
    images = torch.ones(200, 3, 8, 8)
    cut = random_cutout(images, 4, seeded())
    assert (images == 1).all()
    holes = cut[:, 0] == 0
    assert torch.equal(cut[:, 0], cut[:, 1]) and torch.equal(cut[:, 0], cut[:, 2])
    for hole in holes:
        rows, columns = hole.any(1), hole.any(0)
        assert torch.equal(hole, rows[:, None] & columns[None, :])
        assert 2 <= rows.sum() <= 4 and 2 <= columns.sum() <= 4  # the centre lies within the picture
    assert len({tuple(hole.flatten().tolist()) for hole in holes}) > 40  # of 64 centres
    assert holes.any(dim=0).all()


def test_tone_is_a_line_per_picture():
    images = torch.randn(50, 3, 4, 4, generator=seeded(1))
    toned = random_tone(images, 0.5, seeded())
    middle = images.mean(dim=(1, 2, 3))
    shift = toned.mean(dim=(1, 2, 3)) - middle
    scale = toned.std(dim=(1, 2, 3)) / images.std(dim=(1, 2, 3))
    expected = (images - middle[:, None, None, None]) * scale[:, None, None, None]
    torch.testing.assert_close(toned, expected + (middle + shift)[:, None, None, None], atol=1e-5, rtol=1e-4)
    assert 0.5 <= scale.min() < 0.6 and 1.4 < scale.max() <= 1.5
    assert -0.5 <= shift.min() < -0.4 and 0.4 < shift.max() <= 0.5


def test_strong_views_follow_the_seed():
    for view, inputs in ((distort, torch.randn(6, 3, 8, 8)), (blur_vectors, torch.randn(6, 5))):
        assert torch.equal(view(inputs, seeded()), view(inputs, seeded()))
        assert not torch.equal(view(inputs, seeded()), view(inputs, seeded(1)))
        assert view(inputs, seeded()).shape == inputs.shape


def test_blurred_vectors_lose_a_share_of_their_numbers_and_keep_the_rest_nearly():
    vectors = torch.full((400, 50), 9.0)
    blurred = blur_vectors(vectors, seeded(), noise=0.3, dropout=0.2)
    kept = blurred[blurred != 0]
    assert len(kept) / blurred.numel() == pytest.approx(0.8, abs=0.02)
    assert kept.mean().item() == pytest.approx(9, abs=0.02) and kept.std().item() == pytest.approx(0.3, abs=0.02)


def sided_pictures(n: int, *, symmetric: bool) -> tuple[np.ndarray, np.ndarray]:
    """Two classes: symmetric ones are bright above or below, the others left or right; a tenth is mislabelled."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    bright = np.zeros((n, 16, 16), dtype=bool)
    bright[labels == 0, :8], bright[labels == 1, 8:] = True, True
    bright = bright if symmetric else bright.transpose(0, 2, 1)
    pixels = rng.integers(0, 100, (n, 3, 16, 16)) + 100 * bright[:, None]
    return pixels.astype(np.uint8), np.where(rng.random(n) < 0.1, 1 - labels, labels)


@pytest.mark.parametrize("symmetric", [True, False])
def test_flips_are_refused_where_they_change_the_class(symmetric):
    assert flips_preserve_labels(*sided_pictures(200, symmetric=symmetric), np.arange(200)) is symmetric


def test_flip_check_leaves_a_large_set_to_a_sample():
    pixels, labels = sided_pictures(400, symmetric=False)
    labels[::5] = -1  # rows that are left out
    found = [flips_preserve_labels(pixels, labels, np.flatnonzero(labels >= 0), sample=100) for _ in range(2)]
    assert found == [False, False]

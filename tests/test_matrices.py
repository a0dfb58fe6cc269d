"""Matrices whose rows are made when they are asked for are what arrays would be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from cleanlab_lite import matrices
from cleanlab_lite.arrays import row_keys, rows_by, unit_rows
from cleanlab_lite.matrices import (
    Concatenated,
    Logarithm,
    Masked,
    OnDisk,
    RowChoice,
    Softmax,
    Subset,
    TopLogits,
    UnitRows,
    WeightedSum,
    blocks,
    margins,
    per_row,
    take,
)

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(300, 7)).astype(np.float32)
KNOWN = RNG.random(300) > 0.2
CHOSEN = RNG.permutation(300)[:50]
MATRICES = {
    "softmax": (Softmax(LOGITS), softmax(LOGITS, axis=1)),
    "logarithm": (Logarithm(softmax(LOGITS, axis=1), 2.0), 2 * np.log(softmax(LOGITS, axis=1))),
    "mixture": (
        WeightedSum((LOGITS, Softmax(LOGITS)), np.float32([0.3, 0.7])),
        0.3 * LOGITS + 0.7 * softmax(LOGITS, axis=1),
    ),
    "masked": (Masked(LOGITS, KNOWN, np.nan), np.where(KNOWN[:, None], LOGITS, np.nan)),
    "unit": (UnitRows((LOGITS, LOGITS[:, :3])), np.hstack([unit_rows(LOGITS), unit_rows(LOGITS[:, :3])])),
    "beside": (Concatenated((LOGITS, Softmax(LOGITS))), np.hstack([LOGITS, softmax(LOGITS, axis=1)])),
    "choice": (
        RowChoice((LOGITS, Softmax(LOGITS)), KNOWN.astype(int)),
        np.where(KNOWN[:, None], softmax(LOGITS, axis=1), LOGITS),
    ),
    "part": (Subset(Softmax(LOGITS), CHOSEN), softmax(LOGITS, axis=1)[CHOSEN]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_rows_are_those_of_the_array(name, monkeypatch):
    monkeypatch.setattr(matrices, "HELD", 64 * 7)  # several blocks
    lazy, array = MATRICES[name]
    close = {"rtol": 1e-5, "atol": 1e-3 if name == "unit" else 1e-6}  # float16
    assert lazy.shape == array.shape and len(lazy) == len(array)
    rows = RNG.integers(0, len(array), 90)
    columns = RNG.integers(0, array.shape[1], 90)
    np.testing.assert_allclose(np.asarray(lazy), array, **close)
    assert np.asarray(lazy).dtype == lazy[:1].dtype
    np.testing.assert_allclose(lazy[rows], array[rows], **close)
    np.testing.assert_allclose(lazy[3], array[3], **close)
    np.testing.assert_allclose(lazy[5:9], array[5:9], **close)
    np.testing.assert_allclose(lazy[rows, columns], array[rows, columns], **close)
    np.testing.assert_allclose(lazy[rows, 2], array[rows, 2], **close)
    mask = np.arange(len(array)) % 3 == 0
    np.testing.assert_allclose(lazy[mask], array[mask], **close)
    np.testing.assert_allclose(take(lazy, mask)[:], array[mask], **close)


def test_a_stored_matrix_is_read_when_it_is_asked_for_and_no_map_of_it_stays(tmp_path):
    np.save(tmp_path / "logits.npy", LOGITS)
    stored = OnDisk.of(np.load(tmp_path / "logits.npy", mmap_mode="r"))
    chosen = [part for rows in (CHOSEN, KNOWN, slice(5, 9), 3) for part in (stored[rows], LOGITS[rows])]
    for found, wanted in zip(chosen[::2], chosen[1::2], strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.asarray(stored), LOGITS)
    np.testing.assert_array_equal(stored[CHOSEN, 2], LOGITS[CHOSEN, 2])
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(tmp_path) not in maps.read_text()


def test_all_rows_of_a_matrix_are_itself():
    lazy = Softmax(LOGITS)
    assert take(lazy, np.arange(300)) is lazy and take(lazy, np.ones(300, bool)) is lazy
    assert take(LOGITS, np.arange(300)) is LOGITS


def test_nothing_is_judged_in_one_empty_block():
    assert list(blocks(np.zeros((0, 4)))) == [slice(0, 0)]
    assert per_row(lambda block: block.max(axis=1, initial=0), np.zeros((0, 4))).shape == (0,)


def test_margins_do_not_depend_on_blocks(monkeypatch):
    labels = np.where(KNOWN, RNG.integers(0, 7, 300), -1)
    whole = margins(LOGITS, labels)
    monkeypatch.setattr(matrices, "HELD", 64 * 7)
    np.testing.assert_array_equal(margins(LOGITS, labels), whole)
    assert np.isnan(whole[~KNOWN]).all() and np.isfinite(whole[KNOWN]).all()


def test_the_largest_logits_and_the_given_one_are_kept():
    logits = RNG.normal(scale=3, size=(200, 400)).astype(np.float32)
    labels = np.where(np.arange(200) % 5 == 0, -1, RNG.integers(0, 400, 200))
    held = TopLogits.empty(201, 400)
    order = RNG.permutation(200)
    for rows in (order[:120], order[120:]):
        held.put(rows, logits[rows], labels[rows])
    found = np.asarray(held)
    assert np.isnan(found[200]).all()  # never put
    found = found[:200]
    np.testing.assert_allclose(logsumexp(found, axis=1), logsumexp(logits, axis=1), rtol=1e-5)
    top = np.argsort(-logits, axis=1)[:, :10]
    np.testing.assert_array_equal(np.take_along_axis(found, top, 1), np.take_along_axis(logits, top, 1))
    known = np.flatnonzero(labels >= 0)
    np.testing.assert_array_equal(found[known, labels[known]], logits[known, labels[known]])
    few = TopLogits.empty(200, 7)
    few.put(np.arange(200), LOGITS[:200], np.full(200, -1))
    np.testing.assert_array_equal(np.asarray(few), LOGITS[:200])  # all of them


def test_equal_rows_have_equal_keys():
    rows = RNG.integers(0, 3, (500, 4)).astype(np.float16)
    rows[0], rows[1] = 0.0, -0.0
    _, group = np.unique(rows + np.float16(0), axis=0, return_inverse=True)
    _, found = np.unique(row_keys(rows), return_inverse=True)
    np.testing.assert_array_equal(found[:, None] == found, group.ravel()[:, None] == group.ravel())


def test_rows_by_value():
    assert [rows.tolist() for rows in rows_by(np.array([2, -1, 2, 0]))] == [[1], [3], [0, 2]]
    assert rows_by(np.zeros(0)) == []

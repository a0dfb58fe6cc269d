"""The map of the page: components in their order, the same for any choice of rows, none where there is no vector."""

from __future__ import annotations

import numpy as np

from cleanlab_lite.report.page.map_data import SIZE, map_of


def test_the_longest_axis_points_right_and_the_next_one_up():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(5000, 2)) * (5, 1)
    axes = np.linalg.qr(rng.normal(size=(16, 2)))[0].T
    places = map_of((hidden @ axes + rng.normal(0, 0.01, (5000, 16))).astype(np.float16), np.arange(5000))
    assert (places.min(axis=0) < SIZE / 8).all() and (places.max(axis=0) > 7 * SIZE / 8).all()
    assert places.min() >= 0 and places.max() <= SIZE
    assert abs(np.corrcoef(places[:, 0], hidden[:, 0])[0, 1]) > 0.99
    assert abs(np.corrcoef(places[:, 1], hidden[:, 1])[0, 1]) > 0.99


def test_rows_are_placed_one_by_one():
    features = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32)
    places = map_of(features, np.arange(300))
    order = np.random.default_rng(2).permutation(300)
    moved = map_of(features, order)
    assert np.abs(moved - places[order]).max() <= 1


def test_what_has_no_place():
    features = np.ones((4, 3), np.float32)
    features[2] = np.nan
    places = map_of(features, np.arange(4))
    assert (places[2] == -1).all() and (places[[0, 1, 3]] >= 0).all()
    assert (map_of(np.full((3, 3), np.nan), np.arange(3)) == -1).all()
    assert (map_of(np.ones((3, 1)), np.arange(3)) == -1).all()

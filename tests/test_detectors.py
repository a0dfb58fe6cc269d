"""Every detector on worlds whose answer is known; every formula on its reference numbers."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from worlds import auroc, blobs

from cleanlab_lite.arrays import unit_rows
from cleanlab_lite.errors import ConfigError, EvidenceError
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.evidence.history import HELD_OUT, History
from cleanlab_lite.judge import neighbors
from cleanlab_lite.judge.detectors import DETECTORS, confident_learning
from cleanlab_lite.judge.detectors.aum import aum_threshold, longest_negative_streak, planted_aum
from cleanlab_lite.judge.detectors.cartography import data_map
from cleanlab_lite.judge.detectors.ctrl import k_means, smooth
from cleanlab_lite.judge.detectors.fine import alignment
from cleanlab_lite.judge.detectors.forgetting import count_events
from cleanlab_lite.judge.detectors.marvel import negative_windows
from cleanlab_lite.judge.detectors.out_of_vocabulary import collision_entropy, contest, percentile_within
from cleanlab_lite.judge.detectors.prototypes import density_and_eta, density_peaks
from cleanlab_lite.judge.detectors.second_split import forgotten_at
from cleanlab_lite.judge.detectors.simifeat import lowest_of_each_class, soft_labels, transition_matrix
from cleanlab_lite.judge.neighbors import nearest_neighbors, on_host
from cleanlab_lite.run.report import SCHEMA
from cleanlab_lite.train.products import searching_on

ALL = DETECTORS.names()
RANKERS = [name for name in ALL if name != "ood"]  # ood ranks rows of no class, not wrong labels


def detect(name: str, evidence: Evidence, **hp):
    return DETECTORS.get(name).function(evidence, **hp)


def recorded(evidence: Evidence) -> History:
    assert evidence.history is not None
    return evidence.history


def probabilities(evidence: Evidence) -> np.ndarray:
    assert evidence.pred_probs is not None
    return evidence.pred_probs


def logits_of(evidence: Evidence) -> np.ndarray:
    assert evidence.logits is not None
    return evidence.logits


def history_of(margin: list, trained_on: list, predicted: list | None = None) -> History:
    """margin (m, e, n), trained_on (m, n)."""
    values = np.array(margin, dtype=np.float16)
    guess = np.zeros(values.shape, dtype=np.int32) if predicted is None else np.array(predicted, dtype=np.int32)
    return History(-values, values, guess, np.array(trained_on, dtype=np.int32))


# --- every detector -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RANKERS)
@pytest.mark.parametrize("world", [{"n": 600, "k": 3}, {"n": 800, "k": 10, "noise": 0.2}, {"n": 300, "k": 2}], ids=str)
def test_planted_errors_rank_low_and_get_the_reason(name, world):
    task = blobs(**world)
    detection = detect(name, task.evidence)
    assert auroc(-detection.score, task.wrong) > 0.98
    (reason,) = detection.reasons.values()
    assert reason[task.wrong].mean() > 0.9
    assert reason[~task.wrong].mean() < 0.05


def test_rows_of_no_class_have_a_high_ood_score():
    task = blobs(900, 5, alien=0.1)
    score = detect("ood", task.evidence).columns["ood_score"]
    alien = task.truth < 0
    assert score.min() >= 0
    assert score.max() <= 1
    assert auroc(score, alien) > 0.9
    assert auroc(score[alien | task.wrong], alien[alien | task.wrong]) > 0.85
    trusted = detect("ood", task.evidence, trust=(~alien).astype(float)).columns["ood_score"]
    assert auroc(trusted, alien) > auroc(score, alien)  # aliens vouch for each other when they are the reference


def test_contest_is_0_where_one_other_class_stands_out_and_1_where_none_does():
    probs = np.array([[0.1, 0.9, 0, 0], [0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.3, 0], [1, 0, 0, 0]])
    np.testing.assert_allclose(contest(np.zeros(4, np.int64), probs), [0, 1, 0.75, 1])
    np.testing.assert_array_equal(contest(np.zeros(1, np.int64), np.array([[0.5, 0.5]])), 0)  # no choice of others


@pytest.mark.parametrize("name", ALL)
def test_outputs_fit_the_report(name):
    task = blobs(200, 3)
    detection = detect(name, task.evidence)
    assert detection.score.shape == (200,)
    assert set(detection.columns) <= set(SCHEMA.names)
    for column, values in detection.columns.items():
        assert len(values) == 200, column
        if column.endswith("_label"):
            assert np.issubdtype(values.dtype, np.integer)
            assert values.min() >= -1
            assert values.max() < 3
    for reason in detection.reasons.values():
        assert reason.dtype == bool
        assert reason.shape == (200,)
    json.dumps(detection.facts)


@pytest.mark.parametrize("name", ALL)
def test_row_order_does_not_matter(name):
    task = blobs(300, 3, planted=0.1)
    order = np.random.default_rng(1).permutation(300)
    plain, shuffled = detect(name, task.evidence), detect(name, task.evidence.select(order))
    np.testing.assert_allclose(shuffled.score, plain.score[order], atol=1e-5)
    for column, values in plain.columns.items():
        if column == "neighbors":  # row numbers
            np.testing.assert_array_equal(order[shuffled.columns[column]], values[order])
        else:
            np.testing.assert_allclose(shuffled.columns[column], values[order], atol=1e-5, err_msg=column)


@pytest.mark.parametrize("name", ALL)
def test_class_numbers_do_not_matter(name):
    evidence = blobs(300, 4).evidence
    to = np.array([2, 0, 3, 1])
    back = np.argsort(to)
    history = recorded(evidence)
    assert evidence.second_split is not None
    renamed = replace(
        evidence,
        labels=to[evidence.labels],
        history=replace(
            history,
            predicted=to[history.predicted],
            trained_on=np.where(history.trained_on >= 0, to[history.trained_on], HELD_OUT),
        ),
        pred_probs=probabilities(evidence)[:, back],
        logits=logits_of(evidence)[:, back],
        second_split=to[evidence.second_split],
    )
    plain, other = detect(name, evidence), detect(name, renamed)
    np.testing.assert_allclose(other.score, plain.score, atol=1e-5)
    for column, values in plain.columns.items():
        expected = to[values] if column.endswith("_label") else values
        np.testing.assert_allclose(other.columns[column], expected, atol=1e-5, err_msg=column)


@functools.cache  # evidence is never changed
def hostile() -> dict[str, Evidence]:
    task = blobs(240, 3)
    plain = task.evidence
    lonely = plain.labels.copy()
    lonely[lonely == 2] = 1
    missing = lonely.copy()
    lonely[0] = 2
    history = recorded(plain)
    flat = replace(history, loss=np.ones_like(history.loss), margin=np.ones_like(history.margin))
    seen = np.tile(plain.labels, (3, 1)).astype(np.int32)
    return {
        "a class of one row": replace(plain, labels=lonely, history=replace(history, trained_on=seen * 0 + lonely)),
        "a class without rows": replace(plain, labels=missing, history=replace(history, trained_on=seen * 0 + missing)),
        "all losses equal": replace(plain, history=flat),
        "two classes": blobs(200, 2).evidence,
        "two hundred classes": blobs(800, 200, d=32).evidence,
        "float16": replace(plain, features=task.features.astype(np.float16)),
        "all labels right": blobs(240, 3, noise=0.0).evidence,
        "all labels wrong": blobs(240, 3, noise=1.0).evidence,
        "certain probabilities": replace(plain, pred_probs=np.eye(3, dtype=np.float32)[plain.labels]),
        "one row per class": blobs(3, 3, noise=0.0).evidence,
        "every row twice": plain.select(np.repeat(np.arange(240), 2)),
    }


@pytest.mark.parametrize("name", ALL)
@pytest.mark.filterwarnings("error")
def test_hostile_worlds_give_finite_scores(name):
    for case, evidence in hostile().items():
        # of three rows in folds of three, two proxies trained on each, so nothing is missing even there
        detection = detect(name, evidence)
        assert np.isfinite(detection.score).all(), case
        for column, values in detection.columns.items():
            if column != "aum_threshold":  # nothing was planted
                assert not np.isnan(values.astype(float)).any(), (case, column)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.filterwarnings("error")
def test_hardly_any_rows(name):
    evidence = blobs(60, 3).evidence
    for n in (0, 1, 2):
        assert detect(name, evidence.select(np.arange(n))).score.shape == (n,)


@pytest.mark.parametrize("name", ALL)
def test_missing_evidence_is_named(name):
    with pytest.raises(EvidenceError, match=DETECTORS.get(name).needs[0]):
        detect(name, Evidence(labels=np.array([0, 1]), num_classes=2))


@pytest.mark.parametrize("name", ["aum", "bmm", "cartography", "ctrl", "gmm", "forgetting", "marvel"])
def test_unseen_rows_and_unrecorded_epochs(name):
    evidence = blobs(200, 3).evidence
    history = recorded(evidence)
    loss, margin, trained_on = history.loss.copy(), history.margin.copy(), history.trained_on.copy()
    trained_on[:, 0] = HELD_OUT
    trained_on[:, 1] = (evidence.labels[1] + 1) % 3  # only ever shown a planted label
    loss[:, 3, 2], margin[:, 3, 2] = np.nan, np.nan
    detection = detect(
        name, replace(evidence, history=replace(history, loss=loss, margin=margin, trained_on=trained_on))
    )
    assert np.isnan(detection.score[:2]).all()
    assert np.isfinite(detection.score[2:]).all()
    assert not any(reason[:2].any() for reason in detection.reasons.values())


@pytest.mark.parametrize("name", ["aum", "bmm", "cartography", "gmm", "forgetting", "marvel"])
def test_epoch_window(name):
    evidence = blobs(200, 3).evidence
    history = recorded(evidence)
    middle = History(history.loss[:, 2:5], history.margin[:, 2:5], history.predicted[:, 2:5], history.trained_on)
    windowed = detect(name, evidence, first_epoch=2, last_epoch=5)
    np.testing.assert_allclose(windowed.score, detect(name, replace(evidence, history=middle)).score)


# --- area under the margin ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "expected"), [(0, -1.5), (1, -0.933333), (2, -0.5)])
def test_aum_reference(label, expected):
    logits = np.array([[2, 1, 0], [1, 3, 0], [0.5, 0.2, 4]])
    margin = logits[:, label] - np.delete(logits, label, axis=1).max(axis=1)
    evidence = Evidence(np.array([label]), 3, history=history_of([margin[:, None]], [[label]]))
    assert detect("aum", evidence).score[0] == pytest.approx(expected, abs=1e-3)  # stored in float16


def test_aum_threshold_has_no_more_than_one_percent_above_it():
    assert aum_threshold(np.arange(1.0, 101.0)) == 99.0
    assert math.isnan(aum_threshold(np.zeros(0)))


def test_planted_rows_give_the_threshold_and_do_not_count_for_their_own_aum():
    margin = [[[4, 3], [2, 1]], [[-6, 5], [-8, 5]]]  # two proxies, two epochs, two rows
    history = history_of(margin, [[0, HELD_OUT], [1, 1]])
    labels = np.array([0, 1])
    np.testing.assert_allclose(planted_aum(history, labels), [-7])
    detection = detect("aum", Evidence(labels, 2, history=history))
    np.testing.assert_allclose(detection.score, [3, 5])
    np.testing.assert_allclose(detection.columns["aum_threshold"], [-7, -7])
    assert detection.facts["threshold_samples"] == 1
    np.testing.assert_allclose(
        detect("aum", Evidence(labels, 2, history=history), threshold=4.0).columns["aum_threshold"], 4
    )


def test_longest_negative_streak_skips_unrecorded_epochs():
    nan = np.nan
    margin = np.array([[-1, -1, 1, nan], [-1, nan, 1, nan], [1, -1, 1, nan], [-1, 1, 1, nan]])
    np.testing.assert_array_equal(longest_negative_streak(margin), [2, 2, 0, 0])


# --- forgetting -----------------------------------------------------------------------------------------------------


def test_forgetting_reference():
    runs = ["0011011", "0101010", "1111111", "0000000", "0000001"]
    correct = np.array([[int(c) for c in run] for run in runs], dtype=bool).T[None]
    events, learned, wrong = count_events(correct, np.ones_like(correct))
    np.testing.assert_array_equal(events[0], [1, 3, 0, 0, 0])
    np.testing.assert_array_equal(learned[0], [6, 0, 1, 0, 7])
    np.testing.assert_allclose(wrong[0], [3 / 7, 4 / 7, 0, 1, 6 / 7])


def test_never_learned_has_the_lowest_score_and_no_epoch():
    predicted = [[[1, 0, 1], [1, 0, 0], [1, 0, 1]]] * 2
    evidence = Evidence(
        np.array([0, 0, 0]), 2, history=history_of(np.zeros((2, 3, 3)).tolist(), [[0] * 3] * 2, predicted)
    )
    detection = detect("forgetting", evidence)
    np.testing.assert_array_equal(detection.columns["learned_epoch"], [-1, 1, -1])
    np.testing.assert_array_equal(detection.columns["forgetting_events"], [0, 0, 1])
    np.testing.assert_array_equal(np.argsort(detection.score), [0, 2, 1])


def test_learned_epoch_is_the_earlier_median_over_the_proxies_that_saw_the_row():
    wrong, right = 1, 0
    first = [[right], [right], [right]]
    third = [[wrong], [wrong], [right]]
    history = history_of(np.zeros((3, 3, 1)).tolist(), [[0], [0], [HELD_OUT]], [first, third, [[wrong]] * 3])
    assert detect("forgetting", Evidence(np.array([0]), 2, history=history)).columns["learned_epoch"][0] == 1


# --- neighbours -----------------------------------------------------------------------------------------------------


SEARCHES = pytest.mark.parametrize("search", [on_host, searching_on("cpu")], ids=["host", "device"])


@SEARCHES
@pytest.mark.parametrize(("n", "k", "block"), [(500, 7, 64), (40, 5, 1000), (6, 9, 4)])
def test_nearest_neighbors_agree_with_brute_force(n, k, block, search):
    features = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    indices, similarities = nearest_neighbors(features, k, block=block, search=search)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    full = unit @ unit.T
    np.fill_diagonal(full, -np.inf)
    found = min(k, n - 1)
    np.testing.assert_array_equal(indices[:, :found], np.argsort(-full, axis=1)[:, :found])
    np.testing.assert_allclose(similarities[:, :found], -np.sort(-full, axis=1)[:, :found], atol=1e-5)
    assert (indices[:, found:] == -1).all()
    assert np.isnan(similarities[:, found:]).all()


@SEARCHES
def test_neighbours_among_a_subset(search):
    features = np.random.default_rng(0).normal(size=(300, 8))
    among = np.arange(0, 300, 7)
    indices, _ = nearest_neighbors(features, 5, among=among, search=search)
    assert np.isin(indices, among).all()
    assert (indices != np.arange(300)[:, None]).all()


def test_neighbours_in_cells_are_nearly_all_found(monkeypatch):
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(20, 16))[rng.integers(0, 20, 2000)] + 0.3 * rng.normal(size=(2000, 16))).astype(
        np.float32
    )
    features[1500:] = features[:500] + 0.001
    among = np.sort(rng.permutation(2000)[:1500])
    exact = nearest_neighbors(features, 10), nearest_neighbors(features, 10, among=among)
    monkeypatch.setattr(neighbors, "EXACT_PAIRS", 0)
    cells = nearest_neighbors(features, 10), nearest_neighbors(features, 10, among=among)
    for (true, cosine), (found, similarity) in zip(exact, cells, strict=True):
        assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(true, found, strict=True)]) > 9
        assert (found != np.arange(2000)[:, None]).all() and (np.diff(similarity, axis=1) <= 0).all()
        assert (similarity <= cosine + 1e-6).all()
    np.testing.assert_array_equal(cells[0][0][1500:, 0], np.arange(500))
    assert np.isin(cells[1][0], among).all()


def test_a_device_looks_at_all_pairs_where_the_host_no_longer_does(monkeypatch):
    features = np.random.default_rng(0).normal(size=(600, 12)).astype(np.float32)
    exact = nearest_neighbors(features, 10)
    monkeypatch.setattr(neighbors, "EXACT_PAIRS", 500**2)
    on_device, in_cells = (nearest_neighbors(features, 10, search=each) for each in (searching_on("cpu"), on_host))
    np.testing.assert_array_equal(on_device[0], exact[0])
    assert 0.4 < (in_cells[0] == exact[0]).mean() < 1


@pytest.mark.parametrize("least_cell", [0, 40])
def test_few_pairs_held_at_a_time_are_the_same_neighbours(monkeypatch, least_cell):
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(size=(900, 6)), rng.normal(size=(least_cell, 6)) * 0.5 + 20]).astype(np.float32)
    monkeypatch.setattr(neighbors, "EXACT_PAIRS", 0)
    expected = neighbors.nearest_neighbors(x, 12)
    monkeypatch.setattr(neighbors, "PAIRS", -len(x) * 12)  # after every cell
    found = neighbors.nearest_neighbors(x, 12)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_fewer_neighbours_than_asked_for_in_cells(monkeypatch):
    monkeypatch.setattr(neighbors, "EXACT_PAIRS", 0)
    indices, similarities = nearest_neighbors(np.eye(6, dtype=np.float32) + 1, 9)
    assert (np.sort(indices, axis=1)[:, 4:] == [[j for j in range(6) if j != i] for i in range(6)]).all()
    assert np.isnan(similarities[:, 5:]).all()


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(EvidenceError, match="row 3"):
        unit_rows(np.where(np.arange(10)[:, None] == 3, np.inf, np.ones((10, 2))).astype(np.float16))
    assert not unit_rows(np.zeros((1, 4), dtype=np.float16)).any()


@pytest.mark.parametrize("scale", [1e-30, 1e30, 3e38])
def test_directions_do_not_depend_on_the_scale(scale):
    features = np.random.default_rng(0).uniform(-1, 1, size=(20, 4)).astype(np.float32)
    np.testing.assert_allclose(unit_rows(features * np.float32(scale)), unit_rows(features), atol=1e-5)


def test_copies_of_a_wrong_label_do_not_vouch_for_each_other():
    task = blobs(300, 3, noise=0.0)
    labels = task.labels.copy()
    labels[:12] = (labels[0] + 1) % 3
    features = task.features.copy()
    features[:12] = features[0]  # twelve copies of one row, all with the same wrong label
    detection = detect("knn", Evidence(labels, 3, features=features))
    assert (detection.columns["knn_label"][:12] == task.labels[0]).all()
    assert detection.columns["knn_agreement"][:12].max() == 0
    assert not np.isin(detection.columns["neighbors"][0], np.arange(12)).any()


def test_knn_with_a_drawn_pool_still_finds_the_errors():
    task = blobs(900, 3)
    detection = detect("knn", task.evidence, max_pool=200)
    assert auroc(-detection.score, task.wrong) > 0.98


def test_rare_classes_vote_with_more_weight():
    # 4 rows of class 1 share a direction with 7 of the 44 of class 0: ten neighbours each, and 44 > 10 * 4
    labels = np.repeat([1, 0], [4, 44])
    angle = np.random.default_rng(0).normal(scale=0.01, size=48) + np.where(np.arange(48) < 11, 0, 2)
    detection = detect("knn", Evidence(labels, 2, features=np.stack([np.cos(angle), np.sin(angle)], axis=1)))
    rare = 3 / math.sqrt(4)
    np.testing.assert_allclose(detection.columns["knn_agreement"][:4], rare / (rare + 7 / math.sqrt(44)))
    assert (detection.columns["knn_label"][:4] == 1).all()


# --- prototypes -----------------------------------------------------------------------------------------------------


def test_density_peaks_reference():
    similarity = np.array([[1, 0.9, 0.8, 0.2], [0.9, 1, 0.85, 0.3], [0.8, 0.85, 1, 0.1], [0.2, 0.3, 0.1, 1]])
    rho, eta, _ = density_and_eta(similarity)
    np.testing.assert_array_equal(rho, [1, 2, 1, -2])
    np.testing.assert_allclose(eta, [0.9, 0.3, 0.85, 0.3])
    np.testing.assert_array_equal(density_peaks(similarity, 2), [1, 0])


def test_one_prototype_per_mode():
    rng = np.random.default_rng(0)
    modes = np.repeat([[1.0, 0, 0], [0, 1.0, 0]], [60, 40], axis=0)
    rows = unit_rows(modes + rng.normal(scale=0.05, size=modes.shape))
    peaks = density_peaks(rows @ rows.T, 2)
    assert sorted(peaks >= 60) == [False, True]


def test_prototypes_are_drawn_from_trusted_rows():
    task = blobs(600, 3, noise=0.45)
    blind = detect("prototypes", task.evidence, sample=40)
    informed = detect("prototypes", task.evidence, sample=40, trust=np.where(task.wrong, 0.1, 0.9))
    assert auroc(-informed.score, task.wrong) >= auroc(-blind.score, task.wrong)
    np.testing.assert_array_equal(informed.columns["prototype_label"], task.truth)


def test_prototype_similarities_belong_to_their_classes():
    detection = detect("prototypes", blobs(300, 3).evidence)
    given, suggested = (detection.columns[f"prototype_similarity_{which}"] for which in ("given", "suggested"))
    assert (suggested >= given).all()
    assert (given == suggested)[detection.score > 0].all()
    assert np.abs(suggested).max() <= 1 + 1e-6


# --- rows of no class -----------------------------------------------------------------------------------------------


def test_collision_entropy_reference():
    probs = np.zeros((3, 10))
    probs[0, 0] = probs[1, 1] = 1
    probs[2] = 0.1
    np.testing.assert_allclose(collision_entropy(np.zeros(3, dtype=int), probs), [0, math.log(2), 1.1239], atol=5e-5)


def test_percentile_within_groups():
    values, groups = np.arange(50.0), np.repeat([0, 1], [25, 25])
    percentile = percentile_within(values, groups, np.arange(50))
    np.testing.assert_allclose(percentile[:25], percentile[25:])
    assert percentile[12] == pytest.approx(0.5)


# --- confident learning ---------------------------------------------------------------------------------------------

P = np.array(
    [
        [0.9, 0.1, 0], [0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.85, 0.05], [0.3, 0.6, 0.1],
        [0.7, 0.2, 0.1], [0.05, 0.05, 0.9], [0.1, 0.1, 0.8], [0.4, 0.35, 0.25], [0.05, 0.9, 0.05],
    ]
)  # fmt: skip
Y = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])


def test_confident_learning_reference():
    joint, guess = confident_learning.confident_joint(Y, P)
    calibrated = confident_learning.calibrate_joint(joint, Y)
    np.testing.assert_allclose(confident_learning.confident_thresholds(Y, P), [0.633333, 0.55, 0.5], atol=1e-6)
    np.testing.assert_array_equal(joint, [[2, 1, 0], [1, 2, 0], [0, 1, 2]])
    np.testing.assert_array_equal(calibrated, [[2, 1, 0], [1, 2, 0], [0, 1, 3]])
    assert guess[8] == -1
    for name, rows in (("confident_learning", [2, 5, 9]), ("predicted_neq_given", [2, 5, 8, 9])):
        np.testing.assert_array_equal(np.flatnonzero(confident_learning.find_label_issues(Y, P, name)), rows)
    expected = {
        "self_confidence": [0.9, 0.8, 0.2, 0.85, 0.6, 0.2, 0.9, 0.8, 0.25, 0.05],
        "normalized_margin": [0.9, 0.85, 0.25, 0.875, 0.65, 0.25, 0.925, 0.85, 0.425, 0.075],
        "confidence_weighted_entropy": [
            0.864594, 0.751541, 0.421103, 0.795476, 0.631027, 0.421103, 0.841535, 0.751541, 0.405724, 0.292717,
        ],
    }  # fmt: skip
    for name, scores in expected.items():
        np.testing.assert_allclose(getattr(confident_learning, name)(Y, P), scores, atol=1e-6, err_msg=name)
    facts = detect("confident_learning", Evidence(Y, 3, pred_probs=P.astype(np.float32))).facts
    assert facts["noise_rate"] == pytest.approx(0.3)


def test_uniform_noise_is_found_by_the_noise_rate_filter():
    task = blobs(2000, 5, noise=0.2)
    flagged = confident_learning.find_label_issues(task.labels, probabilities(task.evidence))
    assert 2 * (flagged & task.wrong).sum() / (flagged.sum() + task.wrong.sum()) > 0.9


def test_unknown_filter():
    with pytest.raises(ConfigError, match="prune_by_class"):
        confident_learning.find_label_issues(Y, P, "prune")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("n", "k", "seed"), [(400, 3, 0), (1000, 5, 1), (60, 4, 3), (2000, 2, 4)])
def test_agrees_with_cleanlab(n, k, seed):
    pytest.importorskip("cleanlab")
    from cleanlab.count import compute_confident_joint, get_confident_thresholds
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    labels = np.where(rng.random(n) < 0.3, rng.integers(k, size=n), truth)
    labels[:k] = np.arange(k)
    scores = np.exp(1.2 * rng.normal(size=(n, k)) + 2 * np.eye(k)[truth])
    probs = scores / scores.sum(axis=1, keepdims=True)

    np.testing.assert_allclose(
        confident_learning.confident_thresholds(labels, probs), get_confident_thresholds(labels, probs)
    )
    joint, _ = confident_learning.confident_joint(labels, probs)
    np.testing.assert_array_equal(joint, compute_confident_joint(labels, probs, calibrate=False))
    calibrated = confident_learning.calibrate_joint(joint, labels)
    np.testing.assert_array_equal(calibrated, compute_confident_joint(labels, probs, calibrate=True))
    for options in (
        {},
        {"frac_noise": 0.5},
        {"min_examples_per_class": 20},
        {"min_examples_per_class": 5, "frac_noise": 0.7},
    ):
        for name in confident_learning.FILTERS:
            np.testing.assert_array_equal(
                confident_learning.find_label_issues(labels, probs, name, **options),
                find_label_issues(labels, probs, filter_by=name, n_jobs=1, **options),
                err_msg=f"{name} {options}",
            )
    for name in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        np.testing.assert_allclose(
            getattr(confident_learning, name)(labels, probs), get_label_quality_scores(labels, probs, method=name)
        )


# --- cartography ----------------------------------------------------------------------------------------------------


def test_data_map_reference():
    probability = np.array([[0.2, 0.9, np.nan], [0.6, 0.9, 0.5], [0.4, 0.9, 0.7]])
    confidence, variability = data_map(probability)
    np.testing.assert_allclose(confidence, [0.4, 0.9, 0.6])
    np.testing.assert_allclose(variability, [math.sqrt(0.08 / 3), 0, 0.1])


def test_the_order_of_the_epochs_counts_for_runs_only():
    margin = np.random.default_rng(0).normal(size=(1, 8, 50)).astype(np.float16)
    labels, order = np.zeros(50, dtype=np.int64), [3, 0, 7, 2, 5, 1, 6, 4]

    def score(name: str, margin: np.ndarray) -> np.ndarray:
        return detect(name, Evidence(labels, 2, history=history_of(margin.tolist(), [[0] * 50]))).score

    for name in ("aum", "cartography"):
        np.testing.assert_allclose(score(name, margin[:, order]), score(name, margin), rtol=1e-6, err_msg=name)
    assert not np.allclose(score("marvel", margin[:, order]), score("marvel", margin))


# --- runs of negative margins ---------------------------------------------------------------------------------------


def test_a_run_as_long_as_the_window_counts_and_a_shorter_one_does_not():
    margin = np.array([[-1, -1, -1, 1, 1], [-1, -1, 1, -1, -1], [-1, -1, -1, -1, -1], [1, 1, 1, 1, 1]], dtype=float).T
    negative, windows = negative_windows(margin[None], np.ones((1, 5, 4), bool), 3)
    np.testing.assert_array_equal(negative, [[1, 0, 3, 0]])
    np.testing.assert_array_equal(windows, [[3, 3, 3, 3]])
    evidence = Evidence(np.zeros(4, dtype=np.int64), 2, history=history_of([margin.tolist()], [[0] * 4]))
    detection = detect("marvel", evidence)
    np.testing.assert_array_equal(detection.reasons["abandoned"], [True, False, True, False])
    np.testing.assert_allclose(detection.score, [-1 / 3, 0, -1, 0])
    assert detection.facts["window"] == 3
    assert detect("marvel", evidence, window=2).score[1] == pytest.approx(-0.5)


def test_a_missing_epoch_neither_adds_to_a_run_nor_ends_it():
    margin = np.array([[-1, np.nan, -1, -1, 1]]).T
    negative, windows = negative_windows(margin[None], np.isfinite(margin)[None], 3)
    assert (negative.item(), windows.item()) == (1, 2)


# --- clusters of loss curves ----------------------------------------------------------------------------------------


def test_curves_are_smoothed_over_five_epochs():
    values = np.arange(7.0)[:, None] * [1, 2]
    np.testing.assert_allclose(smooth(values)[:, 0], [1, 1.5, 2, 3, 4, 4.5, 5])
    values[3, 1] = np.nan
    np.testing.assert_allclose(smooth(values)[:3, 1], [2, 2, (0 + 2 + 4 + 8) / 4])  # epochs 0-2, 0-3, 0-4, without 3


def test_k_means_finds_separate_groups_whatever_their_order():
    rng = np.random.default_rng(0)
    groups = np.repeat([0.0, 3.0, 9.0], [50, 5, 20])
    points = groups[:, None] + rng.normal(scale=0.1, size=(75, 4))
    centers = k_means(points, 3)
    np.testing.assert_allclose(centers.mean(axis=1), [0, 3, 9], atol=0.1)
    np.testing.assert_allclose(k_means(points[rng.permutation(75)], 3), centers)
    assert len(k_means(np.ones((4, 2)), 2)) == 1


@pytest.mark.parametrize("options", [{}, {"clusters": 3, "windows": 4, "votes": 3}, {"windows": 1}], ids=str)
def test_curves_tell_wrong_labels_and_leave_clean_classes_alone(options):
    task = blobs(400, 4, 0.2)
    assert (detect("ctrl", task.evidence, **options).reasons["high_loss_curve"] == task.wrong).mean() > 0.97
    assert detect("ctrl", blobs(400, 4, 0.0).evidence, **options).reasons["high_loss_curve"].mean() < 0.01


# --- second-split forgetting ----------------------------------------------------------------------------------------


def test_second_split_forgetting_reference():
    wrong = np.array([[0, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]], dtype=bool).T
    np.testing.assert_array_equal(forgotten_at(wrong), [1, 3, 4, 0, 4, 3])
    evidence = Evidence(np.full(6, 2), 3, second_split=np.where(wrong, 1, 2))
    detection = detect("second_split_forgetting", evidence)
    np.testing.assert_array_equal(detection.score, [1, 3, 4, 0, 4, 3])
    np.testing.assert_array_equal(detection.columns["second_split_epoch"], [1, 3, -1, 0, -1, 3])
    np.testing.assert_array_equal(detection.reasons["forgotten_early"], [1, 0, 0, 1, 0, 0])
    assert detection.facts == {"epochs": 3, "remembered": 2}


def test_a_second_split_of_other_rows_is_refused():
    with pytest.raises(EvidenceError, match="second_split has 5 columns, labels has 6 rows"):
        Evidence(np.full(6, 2), 3, second_split=np.zeros((4, 5), dtype=np.int32))


# --- SimiFeat -------------------------------------------------------------------------------------------------------

T, PRIOR = np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([0.6, 0.4])


def test_transition_matrix_of_exact_triples():
    triples = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)
    consensus = np.einsum("k,ki,kj,kl->ijl", PRIOR, T, T, T)
    np.testing.assert_allclose(consensus[0], [[0.4482, 0.0738], [0.0738, 0.0642]])
    np.testing.assert_allclose(consensus[1, 1], [0.0642, 0.1378])
    transition, prior = transition_matrix(triples, 2, consensus.ravel(), rounds=5000, tol=1e-10)
    np.testing.assert_allclose(transition, T, atol=1e-3)
    np.testing.assert_allclose(prior, PRIOR, atol=1e-3)


def test_transition_matrix_of_drawn_triples():
    truth = np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.05, 0.05, 0.9]])
    rng = np.random.default_rng(0)
    classes = rng.choice(3, 50_000, p=[0.5, 0.3, 0.2])
    triples = (rng.random((50_000, 3, 1)) > truth[classes].cumsum(axis=1)[:, None, :]).sum(axis=2)
    transition, prior = transition_matrix(triples, 3)
    np.testing.assert_allclose(transition, truth, atol=0.02)
    np.testing.assert_allclose(prior, [0.5, 0.3, 0.2], atol=0.02)


def test_soft_labels_by_hand():
    labels = np.array([0, 1, 1])
    nearest, similarity = np.array([[1, 2], [0, 2], [-1, -1]]), np.array([[0.9, 0.6], [0.8, 0.8], [np.nan, np.nan]])
    expected = np.array([[2 * 0.9 - 0.6, 0.9 + 0.6], [0.8, 0.8 + 2 * 0.8 - 0.8], [0, 1]])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(soft_labels(labels, nearest, similarity, 2), expected, rtol=1e-6)


def test_the_lowest_of_a_class_are_counted_and_ties_are_left_out():
    values = np.array([0.1, 0.2, 0.3, 0.4, 1.0, 1.0, 1.0, 1.0])
    labels = np.repeat([0, 1], 4)
    np.testing.assert_array_equal(np.flatnonzero(lowest_of_each_class(values, labels, np.array([0.5, 0.5]))), [0, 1])


@pytest.mark.parametrize("method", ["vote", "rank"])
def test_simifeat_flags_about_as_many_as_are_wrong(method):
    task = blobs(2000, 4, 0.2)
    detection = detect("simifeat", task.evidence, method=method)
    flagged = detection.reasons["neighbours_unlike"]
    assert 2 * (flagged & task.wrong).sum() / (flagged.sum() + task.wrong.sum()) > 0.9
    np.testing.assert_allclose(detection.facts["right_by_class"], 0.8, atol=0.05)
    drawn = detect("simifeat", task.evidence, method=method, max_triples=500)
    np.testing.assert_allclose(drawn.facts["right_by_class"], 0.8, atol=0.15)


def test_simifeat_knows_two_methods():
    with pytest.raises(ConfigError, match="'mean', must be vote or rank"):
        detect("simifeat", blobs(30, 3).evidence, method="mean")


# --- alignment with the first eigenvector ---------------------------------------------------------------------------


def test_alignment_is_that_with_the_first_singular_vector():
    rows = unit_rows(np.random.default_rng(0).normal(size=(40, 6)) + 2 * np.eye(6)[0])
    first = np.linalg.svd(rows.astype(np.float64))[2][0]
    np.testing.assert_allclose(alignment(rows), (rows @ first) ** 2, atol=1e-6)
    np.testing.assert_allclose(alignment(rows[:1]), [1], atol=1e-6)


def test_fine_follows_the_majority_of_a_class():
    task = blobs(600, 3, 0.3)
    assert (detect("fine", task.evidence).reasons["misaligned"] == task.wrong).mean() > 0.97
    reversed_ = detect("fine", blobs(600, 2, 0.8).evidence)  # most rows of a class belong to the other
    assert auroc(-reversed_.score, blobs(600, 2, 0.8).wrong) < 0.1

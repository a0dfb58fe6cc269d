"""Combine: every row gets the issue, the action and the suggestion that its evidence calls for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from worlds import World, auroc, blobs

from cleanlab_lite.errors import EvidenceError
from cleanlab_lite.evidence.evidence import NOBODY, Evidence, Plants
from cleanlab_lite.evidence.history import HELD_OUT, History
from cleanlab_lite.judge.actions import OFFER, Signs, decide, decide_action, decide_issue, usual
from cleanlab_lite.judge.anchors import Anchors
from cleanlab_lite.judge.posterior import best_other, class_posterior, label_free_sharpness
from cleanlab_lite.judge.ranking import mean_margins, memorised, rank
from cleanlab_lite.judge.verdict import Verdict, combine, conflicting_duplicates, settle_conflicts
from cleanlab_lite.run.report import ACTIONS, ISSUES, SCHEMA

UNREADABLE, UNLABELED = [3, 4], [10, 11, 12]


def judge(
    evidence: Evidence, *, unreadable: list[int] | None = None, duplicate_of: np.ndarray | None = None
) -> Verdict:
    n = len(evidence)
    readable = ~np.isin(np.arange(n), unreadable or [])
    return combine(evidence, readable, np.full(n, -1) if duplicate_of is None else duplicate_of)


def with_gaps(world: World) -> Any:
    """The world's evidence as if some rows could not be read and some had no label, as an ensemble leaves it."""
    evidence: Any = world.evidence
    history = evidence.history
    labels, trained_on = world.labels.copy(), history.trained_on.copy()
    labels[UNLABELED] = -1
    gaps = UNREADABLE + UNLABELED
    trained_on[:, gaps] = HELD_OUT
    loss, margin, predicted = history.loss.copy(), history.margin.copy(), history.predicted.copy()
    loss[:, :, gaps], margin[:, :, gaps], predicted[:, :, UNREADABLE] = np.nan, np.nan, -1
    arrays = {name: getattr(evidence, name).copy() for name in ("features", "pred_probs", "logits")}
    for array in arrays.values():
        array[UNREADABLE] = np.nan
    return Evidence(labels, evidence.num_classes, History(loss, margin, predicted, trained_on), **arrays)


@pytest.fixture(scope="module")
def world() -> World:
    return blobs(600, 4, 0.12)


@pytest.fixture(scope="module")
def verdict(world) -> Verdict:
    return judge(with_gaps(world), unreadable=UNREADABLE)


# --- the verdict ----------------------------------------------------------------------------------------------------


def test_wrong_labels_are_flagged_and_corrected(world):
    verdict = judge(world.evidence)
    flagged = verdict.p_mislabel >= 0.5
    assert flagged[world.wrong].mean() > 0.95
    assert flagged[~world.wrong].mean() < 0.02
    assert auroc(-verdict.score, world.wrong) > 0.99
    relabelled = verdict.action == "relabel"
    assert relabelled[world.wrong].mean() > 0.9
    assert (verdict.suggested[relabelled & world.wrong] == world.truth[relabelled & world.wrong]).all()


def test_a_file_that_holds_nothing_looks_like_no_class_but_one_of_such_files(world):
    """Silence that many call dog is no dog: it is not corrected to one. It is `silence`, where there is that class."""
    evidence, n = world.evidence, len(world.evidence)
    usual = judge(evidence)
    rows = np.flatnonzero(usual.action == "relabel")
    empty = np.isin(np.arange(n), rows)
    verdict = combine(evidence, np.ones(n, dtype=bool), np.full(n, -1), empty=empty)
    assert (verdict.suggested[rows] == -1).all() and np.isnan(verdict.suggestion_confidence[rows]).all()
    assert set(verdict.issue[rows]) == {"out_of_vocabulary"} and set(verdict.action[rows]) <= {"review", "drop"}
    np.testing.assert_array_equal(verdict.p_mislabel, usual.p_mislabel)
    np.testing.assert_array_equal(verdict.suggested[~empty], usual.suggested[~empty])
    silence = usual.suggested[rows[0]]
    verdict = combine(evidence, np.ones(n, dtype=bool), np.full(n, -1), empty=empty | (evidence.labels == silence))
    to_silence = empty & (usual.suggested == silence)
    assert (verdict.action[to_silence] == "relabel").all() and (verdict.suggested[to_silence] == silence).all()
    assert (verdict.suggested[empty & ~to_silence] == -1).all()
    assert (verdict.issue[empty & ~to_silence] == "out_of_vocabulary").all()


def test_words_are_those_of_the_report(verdict):
    assert set(verdict.issue) <= set(ISSUES)
    assert set(verdict.action) <= set(ACTIONS)
    assert set(verdict.columns) <= set(SCHEMA.names)


def test_unreadable_rows_are_dropped_and_nothing_is_invented_about_them(verdict):
    assert (verdict.issue[UNREADABLE] == "unreadable").all()
    assert (verdict.action[UNREADABLE] == "drop").all()
    assert np.isnan(verdict.p_mislabel[UNREADABLE]).all() and np.isnan(verdict.score[UNREADABLE]).all()
    assert (verdict.predicted[UNREADABLE] == -1).all() and (verdict.suggested[UNREADABLE] == -1).all()
    assert (verdict.weight[UNREADABLE] == 0).all()
    for values in verdict.columns.values():
        empty = values[UNREADABLE]
        assert np.isnan(empty).all() if empty.dtype.kind == "f" else (np.isin(empty, (-1, 0))).all()
    assert not any(flags[UNREADABLE].any() for flags in verdict.reasons.values())


def test_unlabeled_rows_get_a_suggestion(world, verdict):
    assert (verdict.issue[UNLABELED] == "unlabeled").all()
    np.testing.assert_array_equal(verdict.predicted[UNLABELED], world.truth[UNLABELED])
    np.testing.assert_array_equal(verdict.suggested[UNLABELED], world.truth[UNLABELED])
    assert (verdict.action[UNLABELED] == "relabel").all()
    assert np.isnan(verdict.p_mislabel[UNLABELED]).all()
    assert (verdict.weight[UNLABELED] == 0).all()
    assert (verdict.suggestion_confidence[UNLABELED] >= OFFER).all()


def test_an_unlabeled_row_of_no_clear_class_is_reviewed(world):
    evidence = with_gaps(world)
    evidence.pred_probs[UNLABELED] = 0.25
    verdict = judge(evidence, unreadable=UNREADABLE)
    assert (verdict.suggested[UNLABELED] == -1).all()
    assert (verdict.action[UNLABELED] == "review").all()


def test_the_posterior_is_a_distribution_and_agrees_with_p(world, verdict):
    labels = with_gaps(world).labels
    known = np.isfinite(verdict.posterior).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(~known), UNREADABLE)
    np.testing.assert_allclose(verdict.posterior[known].sum(axis=1), 1, rtol=1e-4)
    rows = np.flatnonzero(verdict.judged)
    np.testing.assert_allclose(1 - verdict.posterior[rows, labels[rows]], verdict.p_mislabel[rows], atol=1e-6)
    np.testing.assert_allclose(verdict.weight[rows], 1 - verdict.p_mislabel[rows])


def test_a_suggestion_is_never_the_given_label_and_comes_with_a_confidence(world, verdict):
    labels = with_gaps(world).labels
    offered = verdict.suggested >= 0
    assert offered.any()
    assert (verdict.suggested[offered] != labels[offered]).all()
    np.testing.assert_array_equal(np.isfinite(verdict.suggestion_confidence), offered)
    assert (verdict.action[~offered] != "relabel").all()
    rows = np.flatnonzero(offered)
    np.testing.assert_allclose(
        verdict.suggestion_confidence[rows], verdict.posterior[rows, verdict.suggested[rows]], atol=1e-6
    )


def test_neighbors_are_rows_of_the_manifest(world, verdict):
    neighbors = verdict.columns["neighbors"]
    assert neighbors.shape[0] == 600
    listed = neighbors[verdict.judged]
    assert (listed >= 0).all() and not np.isin(listed, UNREADABLE + UNLABELED).any()
    same = world.truth[listed] == world.truth[verdict.judged][:, None]
    assert same.mean() > 0.9


def test_a_second_split_is_judged_where_there_was_one(world, verdict):
    assert "second_split_epoch" not in verdict.columns and "forgotten_early" not in verdict.reasons
    seen = judge(world.evidence)
    assert (seen.columns["second_split_epoch"][world.wrong] >= 0).mean() > 0.9
    assert (seen.columns["second_split_epoch"][~world.wrong] == -1).mean() > 0.9
    assert seen.reasons["forgotten_early"][world.wrong].mean() > 0.9
    np.testing.assert_array_equal(seen.score, judge(replace(world.evidence, second_split=None)).score)


def test_rows_of_no_class_are_never_relabelled():
    world = blobs(900, 5, 0.1, alien=0.1)
    verdict = judge(world.evidence)
    strange = verdict.issue == "out_of_vocabulary"
    assert np.isin(verdict.action[strange], ("drop", "review")).all()
    assert (verdict.suggested[strange] == -1).all()
    alien = world.truth < 0
    assert strange.sum() == 0 or alien[strange].mean() > 0.8


def test_the_order_of_the_rows_does_not_matter(world):
    evidence = with_gaps(world)
    duplicate_of = np.full(600, -1)
    duplicate_of[[50, 51]] = [40, 41]
    evidence.labels[[40, 50]] = [0, 1]
    order = np.random.default_rng(0).permutation(600)
    place = np.argsort(order)
    moved = np.where(duplicate_of[order] >= 0, place[np.maximum(duplicate_of[order], 0)], -1)
    readable = ~np.isin(np.arange(600), UNREADABLE)
    here, there = combine(evidence, readable, duplicate_of), combine(evidence.select(order), readable[order], moved)
    np.testing.assert_allclose(here.score[order], there.score, rtol=1e-4, atol=1e-6)
    for name in ("p_mislabel", "posterior", "weight", "suggestion_confidence"):  # drawn by rows
        np.testing.assert_allclose(getattr(here, name)[order], getattr(there, name), atol=0.02, err_msg=name)
    for name in ("issue", "action", "suggested", "predicted", "judged"):
        np.testing.assert_array_equal(getattr(here, name)[order], getattr(there, name), err_msg=name)


def test_of_networks_of_one_view_as_many_flags_are_real_as_is_said_with_twenty_rows_a_class():
    """Of 100 flags 85 were said to be real, and 72 were."""
    said, real, flags = np.zeros(3)
    for seed in range(5):
        world = blobs(200, 10, 0.15, separation=2.5, planted=0.15, seed=seed)
        shown: Any = world.evidence.history.trained_on[0]
        rows = np.flatnonzero((shown != world.labels) & (shown != HELD_OUT))
        plants = Plants(0, rows, shown[rows].astype(np.int64), np.arange(len(rows)) % 2 == 0)
        verdict = judge(replace(world.evidence, view="vectors", plants=plants))
        flagged = verdict.p_mislabel >= 0.5
        flags, said, real = (
            flags + flagged.sum(),
            said + verdict.p_mislabel[flagged].sum(),
            real + world.wrong[flagged].sum(),
        )
    assert flags > 150 and said / flags == pytest.approx(real / flags, abs=0.07)


def test_nothing_is_proposed_without_a_person_where_the_rate_is_not_determined(world):
    known = judge(replace(world.evidence, plants=None))
    assert known.calibration.rate.reported.determined and (known.action == "relabel").sum() > 10
    evidence = replace(world.evidence, plants=None, pred_probs=None, logits=None)
    verdict = judge(evidence)  # a history alone says how rows stand to each other, not how many are wrong
    assert not verdict.calibration.rate.reported.determined
    assert set(verdict.action) == {"keep", "review"}


def test_conflicting_duplicates_are_named_and_settled(world):
    right = np.flatnonzero(world.labels == world.truth)
    row, copy = right[world.truth[right] == 0][:2]
    labels = world.labels.copy()
    evidence = replace(world.evidence, labels=labels)
    labels[copy] = 1  # a copy of a row of class 0, said to be of class 1
    margin = evidence.history.margin.copy()
    margin[:, :, copy] = -margin[:, :, row]
    history = replace(evidence.history, margin=margin, trained_on=evidence.history.trained_on.copy())
    history.trained_on[:, copy] = np.where(history.trained_on[:, copy] >= 0, 1, HELD_OUT)
    duplicate_of = np.full(600, -1)
    duplicate_of[copy] = row
    verdict = judge(replace(evidence, history=history), duplicate_of=duplicate_of)
    assert (verdict.issue[[row, copy]] == "duplicate_conflict").all()
    assert verdict.reasons["duplicate_conflict"].sum() == 2
    assert verdict.p_mislabel[row] < 0.5 < verdict.p_mislabel[copy]
    assert (verdict.action[row], verdict.action[copy]) == ("keep", "relabel")
    assert verdict.suggested[copy] == 0


def test_missing_records_are_an_error(world):
    with pytest.raises(EvidenceError, match="out-of-sample probabilities"):
        judge(replace(world.evidence, pred_probs=None, history=None))


# --- the ranking ----------------------------------------------------------------------------------------------------


def history_of(margin: list, trained_on: list, predicted: list) -> History:
    values = np.array(margin, dtype=np.float16)
    return History(-values, values, np.array(predicted, dtype=np.int32), np.array(trained_on, dtype=np.int32))


def test_planted_labels_do_not_count_in_the_ranking():
    labels = np.array([0, 1])
    history = history_of(
        margin=[[[1, 2]], [[3, 4]], [[-9, 6]]],
        trained_on=[[0, HELD_OUT], [HELD_OUT, 1], [1, 1]],  # the last proxy was shown another label for row 0
        predicted=[[[0, 1]]] * 3,
    )
    np.testing.assert_allclose(mean_margins(Evidence(labels, 2, history)), [2, 4])


def test_what_was_learned_by_heart_counts_no_more_than_what_the_others_think():
    labels = np.array([0, 0, 0, 0, 0])
    trained_on = np.zeros((5, 5), dtype=np.int64)
    np.fill_diagonal(trained_on, HELD_OUT)
    history = history_of(
        margin=np.where(trained_on == HELD_OUT, -3.0, 1.0)[:, None].tolist(),
        trained_on=trained_on.tolist(),
        predicted=np.where(trained_on == HELD_OUT, 1, 0)[:, None].tolist(),  # no held-out row, every other one
    )
    evidence = Evidence(labels, 2, history)
    assert memorised(evidence) == 1
    np.testing.assert_allclose(mean_margins(evidence), (1 - 3) / 2)
    alike = replace(evidence, history=replace(history, predicted=np.zeros_like(history.predicted)))
    assert memorised(alike) == 0
    np.testing.assert_allclose(mean_margins(alike), (4 * 1 - 3) / 5)


def test_epochs_that_know_too_little_or_memorise_do_not_count():
    n, labels = 100, np.zeros(100, dtype=np.int64)
    agreement = [0.3, 0.79, 0.8, 0.77, 0.5]
    predicted = [[np.where(np.arange(n) < 100 * share, 0, 1) for share in agreement]]
    margin = [[np.full(n, value) for value in (100, 1, 2, 3, 100)]]
    history = history_of(margin, [[HELD_OUT] * n], predicted)
    assert history.safe_window(labels) == (1, 4)
    np.testing.assert_allclose(mean_margins(Evidence(labels, 2, history)), 2)
    trained = replace(history, trained_on=np.zeros((1, n), np.int32))
    assert trained.safe_window(labels) == (0, 5)  # nothing held out, nothing to judge by


def test_what_the_proxies_have_learned_wrong_shows_in_the_prototypes():
    world = blobs(600, 3, 0.2)
    history = world.evidence.history
    learned = np.where(world.wrong, -history.margin, history.margin)  # the wrong labels are believed as the right ones
    noise = np.random.default_rng(0).normal(0, 5, learned.shape).astype(np.float16)
    evidence = replace(world.evidence, history=replace(history, margin=learned + noise), plants=None)
    alone, together = mean_margins(evidence), rank(evidence, seed=0)
    assert auroc(-together, world.wrong) > auroc(-alone, world.wrong) + 0.05
    without = replace(evidence, features=None)
    np.testing.assert_array_equal(rank(without, seed=0), mean_margins(without))


# --- duplicates -----------------------------------------------------------------------------------------------------


def test_duplicates_conflict_where_labels_differ():
    labels = np.array([0, 0, 1, 2, 2, -1, 1, 0, 1])
    duplicate_of = np.array([-1, 0, 0, -1, 3, 3, -1, -1, 7])
    readable = np.array([True] * 8 + [False])
    conflict = conflicting_duplicates(labels, duplicate_of, readable)
    assert np.flatnonzero(conflict).tolist() == [0, 1, 2]  # no label and no content are no conflict


@pytest.mark.parametrize("p", [(0.1, 0.1), (0.05, 0.9), (0.5, 0.5), (0.99, 0.98)], ids=str)
def test_two_labels_of_one_content_share_the_belief(p):
    """Bayes: of independent label errors, at most one label can be right."""
    a, b = p
    first, second, none = (1 - a) * b, a * (1 - b), a * b
    total = first + second + none
    settled = settle_conflicts(
        np.array([a, b, 0.3]), np.array([0, 1, 0]), np.array([-1, 0, -1]), np.array([True, True, False])
    )
    np.testing.assert_allclose(settled, [1 - first / total, 1 - second / total, 0.3])


def test_copies_with_the_same_label_are_judged_alike():
    settled = settle_conflicts(
        np.array([0.1, 0.3, 0.8]), np.array([0, 0, 1]), np.array([-1, 0, 0]), np.array([True, True, True])
    )
    assert settled[0] == settled[1] < 0.5 < settled[2]
    odds = np.array([0.8 / 0.2, 0.2 / 0.8])
    np.testing.assert_allclose(settled[[0, 2]], 1 - odds / (1 + odds.sum()))


# --- corrections ----------------------------------------------------------------------------------------------------


def test_the_posterior_shares_what_the_given_class_leaves():
    logits = np.log(np.array([[0.2, 0.6, 0.2], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    pred_probs = np.array([[1, 0, 0], [1, 0, 0], [0.3, 0.3, 0.4]], dtype=np.float32)
    posterior = class_posterior(logits, pred_probs, np.array([0, 0, -1]), np.array([0.8, 0.1, np.nan]))
    np.testing.assert_allclose(posterior[0], [0.2, 0.6, 0.2], atol=1e-6)
    np.testing.assert_allclose(posterior[1], [0.9, 0.05, 0.05], atol=1e-6)
    np.testing.assert_allclose(posterior[2], [0.3, 0.3, 0.4], atol=1e-6)


def test_best_other_leaves_out_the_given_class():
    posterior = np.array([[0.7, 0.1, 0.2], [0.7, 0.1, 0.2], [np.nan] * 3])
    best, confidence = best_other(posterior, np.array([0, -1, 1]))
    assert best[:2].tolist() == [2, 0]
    np.testing.assert_allclose(confidence, [0.2, 0.7, 0])


@pytest.mark.parametrize("rate", [0.0, 0.2])
@pytest.mark.parametrize("power", [1.0, 3.0])
def test_sharpness_undoes_what_wrong_labels_flattened(rate, power):
    rng = np.random.default_rng(0)
    n, k = 20_000, 5
    logits = rng.normal(scale=3, size=(n, k))
    truth = np.minimum((softmax(logits, axis=1).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), k - 1)
    wrong = rng.random(n) < rate
    labels = np.where(wrong, (truth + rng.integers(1, k, n)) % k, truth)
    found = label_free_sharpness(softmax(logits / power, axis=1), labels, rate)
    assert found == pytest.approx(power, rel=0.05)


# --- rules ----------------------------------------------------------------------------------------------------------

SURE, LIKELY, MAYBE, FINE = 0.95, 0.6, 0.4, 0.05
CASES = {  # readable, label, p, confidence, ood, conflict -> issue, action
    "unreadable comes first": (False, 0, SURE, 0.9, 0.9, True, "unreadable", "drop"),
    "unlabeled, clear": (True, -1, np.nan, 0.9, 0.1, False, "unlabeled", "relabel"),
    "unlabeled, unclear": (True, -1, np.nan, 0.2, 0.1, False, "unlabeled", "review"),
    "conflict, wrong side": (True, 0, SURE, 0.9, 0.1, True, "duplicate_conflict", "relabel"),
    "conflict, wrong, unclear": (True, 0, SURE, 0.2, 0.9, True, "duplicate_conflict", "review"),
    "conflict, right side": (True, 0, FINE, 0.04, 0.1, True, "duplicate_conflict", "keep"),
    "no class claims it, far from all": (True, 0, SURE, 0.2, 0.95, False, "out_of_vocabulary", "drop"),
    "no class claims it, unlike all": (True, 0, SURE, 0.3, 0.9, False, "out_of_vocabulary", "review"),
    "no class claims it, like others, sure": (True, 0, SURE, 0.3, 0.1, False, "mislabel", "review"),
    "no class claims it, like others, likely": (True, 0, LIKELY, 0.3, 0.1, False, "mislabel", "review"),
    "wrong, and unlike all, but clear": (True, 0, SURE, 0.9, 0.9, False, "mislabel", "relabel"),
    "undecided": (True, 0, MAYBE, 0.2, 0.1, False, "ambiguous", "review"),
    "a little doubtful, one rival": (True, 0, MAYBE, 0.39, 0.1, False, "none", "keep"),
    "fine": (True, 0, FINE, 0.04, 0.9, False, "none", "keep"),
}


def test_rows_that_may_be_right_show_what_is_usual_too():
    """Of noisy labels only easy rows are surely right: beside them alone every hard row is strange."""
    ood = np.linspace(0, 1, 1000)
    assert usual(ood, np.where(ood < 0.3, 0.05, 0.4)) == pytest.approx(0.96, abs=0.01)
    assert usual(ood, np.where(ood < 0.3, 0.05, 0.99)) < 0.5  # here hardly another row is right
    assert usual(np.full(3, np.nan), np.full(3, np.nan)) == 0


def test_no_label_is_changed_that_is_not_flagged_at_the_low_end_of_the_rate():
    """Three rows that are alike but for that: flagged at both ends of the interval, at one, and decided by people."""
    three = np.arange(3)
    signs = Signs(
        readable=np.ones(3, bool),
        labels=np.zeros(3, int),
        p=np.full(3, 0.97),
        p_low=np.array([0.6, 0.4, 0.4]),
        confidence=np.full(3, 0.95),
        ood_score=np.zeros(3),
        conflict=np.zeros(3, bool),
        between=np.zeros(3, bool),
        nothing=np.zeros(3, bool),
    )
    people = Anchors.of(Evidence(np.zeros(3, int), 2, decided=np.where(three == 2, 1, NOBODY)))
    found = decide(signs, people, determined=True)
    assert found.issue.tolist() == ["mislabel"] * 3 and found.offered.all()
    assert found.action.tolist() == ["relabel", "review", "relabel"]
    assert decide(signs, people, determined=False).action.tolist() == ["review", "review", "relabel"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_issue_and_action(case):
    readable, label, p, confidence, ood, conflict, issue, action = case
    row = (readable, label, p, p, confidence, ood, conflict, False, False)
    found = decide_issue(Signs(*(np.array([each]) for each in row)))
    assert found.tolist() == [issue]
    offered = confidence >= OFFER and issue not in ("unreadable", "out_of_vocabulary")
    assert decide_action(found, np.array([p]), np.array([offered]), np.array([ood > 0.9])).tolist() == [action]

"""What decisions on some rows say of all: on worlds whose truth is known, against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from cli_world import make_report, mislabel, row
from scipy.stats import hypergeom

from cleanlab_lite.evidence.decisions import Decision
from cleanlab_lite.judge import reviews
from cleanlab_lite.judge.reviews import Looks, calibrate_by, contrary, decision_error, leading, random_order, remaining
from cleanlab_lite.report.reviewed import ASKED, looks_of, reviewed, rows_to_decide, unanswered
from cleanlab_lite.run.report import FLAG


def world(n=2000, seed=0, shift=0.0):
    """p (n,) and which rows are wrong (n,); the odds of p are off by exp(shift)."""
    rng = np.random.default_rng(seed)
    p = np.where(rng.random(n) < 0.1, rng.beta(8, 1, n), rng.beta(0.3, 12, n)).clip(1e-5, 1 - 1e-5)
    return p, rng.random(n) < 1 / (1 + (1 / p - 1) * np.exp(-shift))


def looks(rows, wrong, unsure=(), pairs=0, disagreeing=0):
    decided, known = np.zeros(len(wrong), dtype=bool), np.zeros(len(wrong), dtype=bool)
    decided[rows], known[rows] = True, True
    known[list(unsure)] = False
    return Looks(decided, decided & known & wrong, known, pairs, disagreeing)


def decide(p, wrong, count, seed=0):
    return looks(random_order(p, seed=seed)[:count], wrong)


# the sample


def test_any_beginning_of_the_order_is_a_stratified_sample_and_the_same_every_time():
    p, _ = world()
    p[5] = np.nan
    order = random_order(p)
    assert sorted(order) == [i for i in range(2000) if i != 5]
    assert np.array_equal(order, random_order(p)) and not np.array_equal(order, random_order(p, seed=1))
    for count in (20, 40, 100):
        flagged = (p[order[:count]] >= 0.5).mean()
        assert 0.65 <= flagged <= 0.85
        number = np.searchsorted(reviews.STRATA, p[order[:count]], side="right")
        assert count < 40 or np.bincount(number, minlength=6).min() >= 1


def test_within_a_stratum_every_row_comes_first_as_often_as_any_other():
    p = np.repeat([0.01, 0.9], 10)
    seen = np.zeros(20)
    for seed in range(2000):
        seen[random_order(p, seed=seed)[:4]] += 1
    for stratum in (seen[:10], seen[10:]):
        assert np.abs(stratum - stratum.mean()).max() < 5 * math.sqrt(stratum.mean())


def test_a_sample_goes_on_where_rows_are_decided():
    table = make_report([*(mislabel(f"m{i}") for i in range(30)), *(row(f"r{i}") for i in range(70))]).table
    none = np.zeros(100, dtype=bool)
    first = rows_to_decide(table, none)
    assert len(first) == 40
    done = none.copy()
    done[first[:30]] = True
    assert np.array_equal(rows_to_decide(table, done), first)
    done[first] = True
    assert not set(rows_to_decide(table, done).tolist()) & set(first.tolist())
    assert len(rows_to_decide(table, ~none)) == 20  # all of it is decided: the last ones
    assert len(rows_to_decide(make_report([row("x", p_mislabel=None)]).table, none[:1])) == 0


# how many are wrong


def test_without_decisions_the_probabilities_stay_about_as_they_are():
    p, wrong = world()
    found = calibrate_by(p, p >= 0.5, looks([], wrong))
    assert found.flagged.estimate == pytest.approx(p[p >= 0.5].sum(), rel=0.05)
    assert found.flagged.low < p[p >= 0.5].sum() < found.flagged.high
    assert (np.diff(found.p[np.argsort(p)]) > -0.02).all()


def test_decisions_on_everything_leave_no_doubt_but_that_people_err():
    p, wrong = world(500)
    found = calibrate_by(p, p >= 0.5, looks(np.arange(500), wrong))
    for count, rows in ((found.flagged, p >= 0.5), (found.unflagged, p < 0.5)):
        assert (count.rows, count.looked_at, count.wrong) == (rows.sum(), rows.sum(), wrong[rows].sum())
        assert count.low <= count.estimate == wrong[rows].sum() <= count.high
        assert count.within <= 0.02 * 500
    assert np.array_equal(found.p, wrong)


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.7])
def test_probabilities_that_are_off_are_mended_and_intervals_hold_the_truth(shift):
    inside, closer = 0, 0
    for seed in range(40):
        p, wrong = world(seed=seed, shift=shift)
        flagged = p >= 0.5
        found = calibrate_by(p, flagged, decide(p, wrong, 120, seed), seed=seed)
        truth = wrong[flagged].sum()
        inside += found.flagged.low <= truth <= found.flagged.high
        closer += abs(found.flagged.estimate - truth) <= abs(p[flagged].sum() - truth)
    assert inside >= 36  # of 40, at 95 %
    assert shift == 0 or closer >= 30


def test_flags_that_are_all_right_outweigh_probabilities_that_doubt_them():
    inside = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = np.concatenate([rng.uniform(0.7, 0.98, 300), rng.uniform(0.001, 0.05, 1700)])
        flagged = p >= 0.5
        wrong = rng.random(len(p)) < np.where(flagged, 0.97, p)
        found = calibrate_by(p, flagged, decide(p, wrong, 40, seed), seed=seed).flagged
        inside += found.low <= wrong[flagged].sum() <= found.high
    assert inside >= 18


def test_of_two_rows_that_are_left_none_or_both_may_be_wrong():
    p = np.concatenate([np.full(30, 0.8), np.full(70, 0.1)])
    wrong = np.arange(100) < 17
    sure = {"pairs": 3000, "disagreeing": 0}  # people who do not err
    found = calibrate_by(p, p >= 0.5, looks(np.arange(28), wrong, **sure)).flagged
    assert (found.low, found.high) == (17, 19)


def test_rows_decided_worst_first_are_no_random_sample_and_are_not_taken_for_one():
    """The upper half of a stratum is more often wrong; by p, the lower half is seen to be less so."""
    p, wrong = world(4000)
    flagged = p >= 0.5
    worst = np.argsort(-p)[:100]
    found = calibrate_by(p, flagged, looks(worst, wrong))
    assert wrong[worst].mean() * flagged.sum() > found.flagged.estimate
    assert found.flagged.low <= wrong[flagged].sum() <= found.flagged.high


@pytest.mark.parametrize("drawn", [False, True])
def test_decided_rows_teach_by_what_the_audit_said_that_they_were_chosen_by(drawn):
    """Two audits, both right about how often they are right, 200 rows decided that the first one chose."""
    off, holds = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        wrong = rng.random(4000) < 0.25
        sign = np.where(wrong, 1.2, -1.2) + rng.normal(size=4000)
        blurred, spread = sign + 0.4 * rng.normal(size=4000), 1 + 0.4**2
        first, second = 1 / (1 + 3 * np.exp(-2.4 * np.array([sign, blurred / spread])))  # Bayes, for a quarter wrong
        by_own = looks((random_order(first) if drawn else np.argsort(-first))[:200], wrong)
        by_theirs = replace(by_own, p=np.where(by_own.decided, first, np.nan), at_random=by_own.decided & drawn)
        found = [calibrate_by(second, second >= FLAG, each).everything for each in (by_own, by_theirs)]
        off.append([each.estimate - wrong.sum() for each in found])
        holds.append(found[1].low <= wrong.sum() <= found[1].high)
    own, theirs = np.mean(off, axis=0)
    assert own > 80 and abs(theirs) < own / 2 and all(holds)


def contradicting(p, count, seed=0):
    """Half of the decisions drop rows that are surely right, the others keep rows that are surely wrong."""
    rng = np.random.default_rng(seed)
    dropped = rng.choice(np.flatnonzero(p < 0.01), count - count // 2, replace=False)
    kept = rng.choice(np.flatnonzero(p > 0.9), count // 2, replace=False)
    decided, wrong = np.zeros(len(p), dtype=bool), np.zeros(len(p), dtype=bool)
    decided[[*dropped, *kept]], wrong[dropped] = True, True
    return Looks(decided, wrong, decided)


def test_a_few_decisions_that_contradict_the_report_move_it_little_and_make_it_uncertain():
    p, wrong = world()
    for count in (1, 7, 12):
        found = calibrate_by(p, p >= 0.5, contradicting(p, count)).everything
        assert abs(found.estimate - wrong.sum()) < 0.1 * len(p)
        assert found.low < wrong.sum() < found.high
        assert count == 1 or found.high - found.low > 0.4 * len(p)


@pytest.mark.parametrize("kind", ["dropped", "kept"])
def test_probabilities_of_undecided_rows_add_up_to_the_count_that_is_shown(kind):
    """Of 10 rows that contradict, p was a mean and the count a median: .22 beside .13 of the rows."""
    p, _ = world()
    rows = np.flatnonzero(p < 0.05 if kind == "dropped" else p > 0.95)[:10]
    given = looks(rows, np.full(len(p), kind == "dropped"))
    found = calibrate_by(p, p >= 0.5, given)
    assert found.p.sum() == pytest.approx(found.everything.estimate, abs=0.02 * len(p))
    assert found.p[~given.decided].mean() == pytest.approx(p.mean(), abs=0.04)


def test_many_decisions_that_contradict_the_report_are_believed():
    p, _ = world()
    found = calibrate_by(p, p >= 0.5, contradicting(p, 200)).everything
    assert found.estimate > 0.7 * len(p) and found.low > 0.3 * len(p)


def test_rows_drawn_at_random_are_no_odd_picks():
    """Most of what is surely right is wrong: 40 rows of the random order say so, and are believed."""
    p, _ = world()
    wrong = p < 0.5
    rows = random_order(p)[:40]
    drawn = calibrate_by(p, p >= 0.5, looks(rows, wrong)).everything
    picked = calibrate_by(p, p >= 0.5, looks(rows[1:], wrong)).everything
    assert drawn.estimate > 0.5 * len(p) and drawn.estimate > picked.estimate


def test_decisions_that_contradict_the_report_are_found_where_they_are_many():
    p, wrong = world()
    assert contrary(p, contradicting(p, 7)).sum() == 7
    assert not contrary(p, contradicting(p, 2)).any()
    for count in (40, 300):
        assert not contrary(p, decide(p, wrong, count)).any()
        assert not contrary(p, looks(np.argsort(-p)[:count], wrong)).any()


def test_unsure_is_no_vote():
    p, wrong = world()
    rows = random_order(p)[:60]
    sure, half = (calibrate_by(p, p >= 0.5, looks(rows, wrong, unsure)) for unsure in ((), rows[:30]))
    assert (sure.everything.looked_at, half.everything.looked_at) == (60, 30)
    assert half.flagged.within > sure.flagged.within


def test_decisions_of_people_who_err_say_less():
    p, wrong = world()
    rows = random_order(p)[:200]
    often = {"pairs": 400, "disagreeing": 128}  # 1 in 5 errs
    sure, doubtful = (calibrate_by(p, p >= 0.5, looks(rows, wrong, **pairs)) for pairs in ({}, often))
    assert doubtful.flagged.within > 1.2 * sure.flagged.within
    assert ((doubtful.p[rows] > 0) & (doubtful.p[rows] < 1)).all()
    assert set(sure.p[rows]) == {0.0, 1.0}  # rows themselves are as they were decided


def test_the_interval_knows_that_one_person_may_err():
    """One decision in ten is an error, and nobody else looks."""
    inside = 0
    for seed in range(40):
        p, wrong = world(seed=seed)
        flagged = p >= 0.5
        says = wrong ^ (np.random.default_rng((seed, 1)).random(len(p)) < 0.1)
        found = calibrate_by(p, flagged, decide(p, says, 100, seed), seed=seed).flagged
        inside += found.low <= wrong[flagged].sum() <= found.high
    assert inside >= 33  # 15 where decisions are taken at their word


def test_the_share_of_errors_by_people_who_decided_the_same_rows():
    assert decision_error(0, 0) == pytest.approx(1 / 50, abs=2e-3)  # the prior
    assert decision_error(100, 0) < 0.01
    assert decision_error(2000, 360) == pytest.approx(0.1, abs=0.01)  # 2 * 0.1 * 0.9


# when to stop


def test_the_bound_is_the_most_that_the_sample_allows():
    """One stratum, nothing found: the largest W with C(N - W, n) / C(N, n) >= 0.05 M, M by the beta-binomial."""
    p = np.full(1000, 0.01)
    for count in (1, 100, 400, 999):
        found = remaining(p, decide(p, np.zeros(1000, dtype=bool), count))
        mixture = np.prod([1 - 0.2 / (20 + i) for i in range(count)])
        allowed = [w for w in range(1001) if hypergeom.pmf(0, 1000, w, count) >= 0.05 * mixture]
        assert max(allowed) <= found.most <= max(allowed) + 1
        assert (found.sample, found.rows) == (count, 1000)
    assert remaining(p, decide(p, np.zeros(1000, dtype=bool), 1000)).most == 0


def test_what_is_known_to_be_wrong_is_not_left_and_unsure_is():
    p = np.full(200, 0.9)
    wrong = np.ones(200, dtype=bool)
    assert remaining(p, looks(np.arange(200), wrong)).most == 0
    assert remaining(p, looks(np.arange(200), wrong, unsure=range(7))).most == 7


def test_rows_picked_by_hand_are_no_sample():
    p, wrong = world()
    order = random_order(p)
    found = remaining(p, looks(order[1:400], wrong))
    assert found.sample == 0 and found.most > 1000
    assert len(leading(order, looks(order[:7], wrong).decided)) == 7


@pytest.mark.parametrize("shift", [-0.5, *(pytest.param(shift, marks=pytest.mark.slow) for shift in (0.0, 2.0))])
def test_whoever_looks_after_every_row_and_stops_by_the_bound_is_right(shift):
    kept = stops = 0
    for seed in range(60):
        p, wrong = world(600, seed, shift)
        order = random_order(p, seed=seed)
        for count in range(20, 601, 20):
            made = looks(order[:count], wrong)
            found = remaining(p, made, seed=seed)
            if found.share < 0.03:
                stops += count < 600
                kept += wrong[order[count:]].sum() <= found.most
                break
    assert kept >= 57 and stops >= 50  # of 60


# of a report


def decisions(ids, action, reviewer="ann", label=None):
    return [Decision(id, action, "dog", label, reviewer) for id in ids]


def test_sentences_of_a_report():
    table = make_report([*(mislabel(f"m{i}") for i in range(40)), *(row(f"r{i}") for i in range(200))]).table
    assert reviewed(table, []) is None and reviewed(table, decisions(["elsewhere"], "drop")) is None
    some = decisions([f"m{i}" for i in range(20)], "drop") + decisions([f"r{i}" for i in range(30)], "keep")
    found = reviewed(table, some)
    first, rate, stop = found.in_words()
    assert first.startswith("real flags: about ") and "; reviewing 60 more would find about " in first
    assert rate.startswith("noise rate by 50 decisions: ")
    assert stop == "do not stop yet: no row of a random sample is decided, see `nlclean review --calibrate`"
    everything = decisions([f"m{i}" for i in range(40)], "drop") + decisions([f"r{i}" for i in range(200)], "keep")
    first, _, stop = reviewed(table, everything).in_words(0.02)
    assert first == "real flags: about 40 ± 0 of 40; wrong rows that are not flagged: about 0 ± 0"
    assert stop == "stop here: with 95 % fewer than 2.0 % of the labels are wrong once the decisions are applied"
    assert reviewed(table, everything).as_dict(0.02)["remaining"]["stop"] is True
    assert "fewer than 0.03 % of the labels" in reviewed(table, everything).in_words(0.0003)[-1]


def test_an_interval_that_is_longer_on_one_side_is_said_by_its_ends():
    table = make_report([*(mislabel(f"m{i}") for i in range(40)), *(row(f"r{i}") for i in range(200))]).table
    found = reviewed(table, decisions([f"m{i}" for i in range(4)], "drop") + decisions(["r0"], "drop"))
    for count in (found.flagged, found.unflagged):
        said = f"{count.estimate:,.0f} ± {count.within:,.0f}"
        possible = count.within <= min(count.estimate, count.rows - count.estimate)
        assert possible or said not in found.in_words()[0]
    assert f"not flagged: about {found.unflagged.estimate:.0f} (" in found.in_words()[0]


def test_an_interval_whose_end_is_the_estimate_is_said_by_its_ends():
    """All rows are decided: people may have called right labels wrong, and every row that could be wrong is counted."""
    table = make_report([mislabel("m"), *(row(f"r{i}") for i in range(1000))]).table
    ids = [f"r{i}" for i in range(1000)]
    found = reviewed(table, decisions(["m", *ids[:20]], "drop") + decisions(ids[20:], "keep"))
    count = found.unflagged
    assert count.high == count.estimate == 20 and count.low < 18
    assert f"not flagged: about 20 ({count.low:.0f} to 20)" in found.in_words()[0]


def test_a_warning_that_asks_for_decisions_is_answered_by_them():
    table = make_report([*(mislabel(f"m{i}") for i in range(40)), *(row(f"r{i}") for i in range(200))]).table
    said = [f"look out. {ASKED}", "look out"]
    for decided, left in ((0, said), (39, said), (40, said[1:])):
        assert unanswered(said, reviewed(table, decisions([f"m{i}" for i in range(decided)], "drop"))) == left


def test_decisions_that_contradict_the_report_are_said():
    table = make_report([*(mislabel(f"m{i}") for i in range(40)), *(row(f"r{i}") for i in range(200))]).table
    found = reviewed(table, decisions([f"r{i}" for i in range(6)], "drop"))
    assert any(text.startswith("6 decisions contradict") and "--calibrate" in text for text in found.in_words())
    assert found.as_dict()["contrary"] == 6


def test_two_reviewers_tell_how_often_they_err():
    table = make_report([mislabel(f"m{i}") for i in range(20)]).table
    ids = [f"m{i}" for i in range(20)]
    assert reviewed(table, decisions(ids, "drop")).error is None
    both = decisions(ids, "drop") + decisions(ids[:10], "keep", "bob") + decisions(ids[10:], "drop", "bob")
    found = reviewed(table, both)
    assert found.error > 0.05 and any("of the decisions are errors" in text for text in found.in_words())
    assert looks_of(table, both).known.sum() == 10  # a tie is "unsure"


def test_who_calls_a_label_wrong_is_counted_whatever_the_right_one_may_be():
    """Ten flags are right; two people say so, and differ on what they are."""
    table = make_report([mislabel(f"m{i}") for i in range(20)]).table
    ids = [f"m{i}" for i in range(10)]
    both = decisions(ids, "relabel", "ann", "cat") + decisions(ids, "drop", "bob")
    seen = looks_of(table, both)
    assert seen.known.sum() == seen.wrong.sum() == 10 and (seen.pairs, seen.disagreeing) == (10, 0)
    found = reviewed(table, both)
    assert (found.flagged.looked_at, found.flagged.wrong) == (10, 10)
    agreed = reviewed(table, decisions(ids, "drop") + decisions(ids, "drop", "bob"))
    assert found.flagged == agreed.flagged
    assert found.remaining.most >= agreed.remaining.most + 10  # nothing mends these labels yet
    three = decisions(ids, "keep", "eve") + decisions(["m10"], "keep", "ann")
    assert looks_of(table, both + three).wrong.sum() == 10  # by two of three


def test_a_decision_on_a_label_that_the_row_no_longer_has_says_what_the_row_is():
    table = make_report([mislabel(f"m{i}") for i in range(5)]).table  # labelled dog
    for action, label, known, wrong in (
        ("keep", None, 1, 1),  # it is an owl
        ("relabel", "dog", 1, 0),  # as it was mended
        ("relabel", "cat", 1, 1),
        ("drop", None, 0, 0),  # no owl: of dogs it says nothing
    ):
        seen = looks_of(table, [Decision("m0", action, "owl", label, "ann")])
        assert (seen.decided.sum(), seen.known.sum(), seen.wrong.sum()) == (known, known, wrong)
    all_left = [Decision(f"m{i}", "keep", "owl", None, "ann") for i in range(5)]
    assert reviewed(table, all_left).remaining.most == 5  # an export passes them over

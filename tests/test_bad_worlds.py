"""Data that no method can do much with: a report says what can be said and what cannot, and flags few rows or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from audit_world import CLASSES, picture, write_csv
from cli_world import Result, call

from cleanlab_lite.run import RunFolder
from cleanlab_lite.text import percent

pytestmark = pytest.mark.survival


FAST = ("--preset", "fast", "--device", "cpu", "--workers", "1", "--out", "run")
NOTHING = "held-out labels are predicted no better than chance, so no row is judged"


@dataclass(frozen=True)
class Found:
    """What an audit says: to the user, and in its report."""

    result: Result
    flagged: np.ndarray  # (n,) bool
    judged: np.ndarray  # (n,) bool
    rate: tuple[float | None, float | None, float | None]  # low, estimate, high
    learned: bool


def world(
    n: int, k: int, *, noise: float = 0.0, d: int = 8, gap: float = 6.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors (n, d) around a place per class, `gap` from the origin, their labels (n,), and which are wrong (n,)."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.arange(n) % k)
    places = gap * np.eye(k, d) if k <= d else rng.choice((-1.0, 1.0), (k, d)) * gap / np.sqrt(d)
    labels = truth.copy()
    wrong = rng.choice(n, int(noise * n), replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, k, len(wrong))) % k
    return (places[truth] + rng.normal(size=(n, d))).astype(np.float32), labels, labels != truth


def audited(capsys: pytest.CaptureFixture[str], features: np.ndarray, labels: np.ndarray) -> Found:
    """Audit the vectors, with no label where it is -1; in the working folder."""
    np.savez("rows.npz", features=features, labels=np.array([f"c{c}" if c >= 0 else "" for c in labels]))
    return found(call(capsys, "audit", "rows.npz", *FAST))


def found(result: Result) -> Found:
    assert result.code == 0, result.err
    run = RunFolder(Path("run"))
    table, rate = run.report.table, run.summary.noise_rate
    flagged = np.array(table["is_label_issue"].to_pylist(), dtype=object) == True  # noqa: E712  null is not flagged
    judged = np.array([value is not None for value in table["p_mislabel"].to_pylist()])
    return Found(result, flagged, judged, (rate.low, rate.estimate, rate.high), rate.learned)


def nothing_was_learned(seen: Found) -> None:
    assert NOTHING in seen.result.err
    assert "noise rate: unknown: nothing was learned" in seen.result.out and "flagged: 0 rows" in seen.result.out
    assert not seen.learned and not seen.flagged.any() and not seen.judged.any()


def test_labels_that_are_all_right(here, capsys):
    features, labels, _ = world(300, 3)
    seen = audited(capsys, features, labels)
    low, estimate, high = seen.rate
    assert low == 0 and estimate < 0.01 and high < 0.05
    assert seen.flagged.sum() <= 1


@pytest.mark.parametrize("noise", [0.3, 0.6])
def test_labels_of_which_most_are_wrong(here, capsys, noise):
    """At 60 % a label is right in four rows of ten, and either of the wrong ones in three: that is seen, or nothing."""
    features, labels, wrong = world(600, 3, noise=noise)
    seen = audited(capsys, features, labels)
    if noise > 0.5 and not seen.learned:
        nothing_was_learned(seen)
        return
    low, _, high = seen.rate
    assert low - 0.05 <= noise <= high + 0.05
    assert wrong[seen.flagged].mean() > 0.8


def test_labels_drawn_at_random(here, capsys):
    features, _, _ = world(300, 3)
    nothing_was_learned(audited(capsys, features, np.random.default_rng(1).integers(0, 3, 300)))


def test_one_class(here, capsys):
    features, labels, _ = world(100, 1)
    np.savez("rows.npz", features=features, labels=labels)
    result = call(capsys, "audit", "rows.npz", *FAST)
    assert (result.code, result.out) == (2, "")
    assert (
        "has one class only" in result.err and "expected at least two classes" in result.err and "hint:" in result.err
    )
    assert not Path("run").exists()


def test_two_classes(here, capsys):
    features, labels, wrong = world(200, 2, noise=0.1)
    seen = audited(capsys, features, labels)
    assert seen.rate[0] <= 0.1 <= seen.rate[2]
    assert (seen.flagged == wrong).mean() > 0.97


def test_a_class_with_one_row(here, capsys):
    features, labels, wrong = world(300, 3, noise=0.05)
    only, *others = np.flatnonzero(labels == 2)
    labels[others], wrong[others] = 0, True
    seen = audited(capsys, features, labels)
    assert "1 row is the only one of a class" in seen.result.err and "are the labels spelled" in seen.result.err
    assert not seen.flagged[only] and not seen.judged[only]


def test_rows_that_are_all_the_same(here, capsys):
    seen = audited(capsys, np.ones((100, 8), np.float32), np.arange(100) % 3)
    nothing_was_learned(seen)
    assert "copies: exact 99" in seen.result.out and "contradicting copy 100" in seen.result.out


@pytest.mark.parametrize(("n", "k"), [(3, 2), (3, 3), (20, 2), (20, 10)])
def test_a_handful_of_rows(here, capsys, n, k):
    features, labels, _ = world(n, k, d=16)
    seen = audited(capsys, features, labels)
    assert seen.flagged.sum() <= n // 10
    if seen.learned:
        assert seen.rate[2] > 1 / n  # so few rows leave much open
    else:
        nothing_was_learned(seen)


def test_classes_of_three_rows_are_too_few_and_it_is_said_what_to_do(here, capsys):
    features, labels, _ = world(60, 20, noise=0.15, d=16, gap=4)
    seen = audited(capsys, features, labels)
    text = " ".join(seen.result.err.split())
    assert "classes have 3 rows on average, too few to judge:" in text
    assert "hardly determined: classes have too few rows" in text
    for what in ("order of the rows", "nlclean review", "--trusted", "more rows of every class"):
        assert what in text
    assert "all 20: too few to judge (n < 10)" in seen.result.out and "(n = 3)" not in seen.result.out
    assert seen.flagged.sum() <= 6


@pytest.mark.parametrize(("n", "gap"), [(100, 10), (800, 4)], ids=["strong features", "many rows"])
def test_classes_of_few_rows_that_are_told_apart_and_of_many_are_not_too_few(here, capsys, n, gap):
    features, labels, _ = world(n, 20, noise=0.1, d=16, gap=gap)
    assert "too few to judge:" not in audited(capsys, features, labels).result.err


def test_errors_that_look_like_another_class_are_not_all_seen_and_that_is_said(here, capsys):
    features, truth, _ = world(900, 4, gap=2.5)
    near = features[:, :4].copy()
    near[np.arange(900), truth] = -np.inf
    doubtful = np.argsort(near.max(axis=1) - features[np.arange(900), truth])[-400:]
    labels, mistaken = truth.copy(), np.random.default_rng(1).choice(doubtful, 150, replace=False)
    labels[mistaken] = near.argmax(axis=1)[mistaken]
    seen = audited(capsys, features, labels)
    low, estimate, high = seen.rate
    assert low < estimate < 0.1 < 150 / 900 < high
    assert f"up to {percent(high)} of the labels may be wrong, more than is flagged" in " ".join(
        seen.result.err.split()
    )
    assert "nlclean review --calibrate" in seen.result.err


def test_errors_of_easy_rows_are_all_seen(here, capsys):
    easy, labels, _ = world(900, 4, noise=0.15)
    assert "may be wrong, more than is flagged" not in " ".join(audited(capsys, easy, labels).result.err.split())


def test_ten_labelled_rows_of_three_hundred(here, capsys):
    features, labels, _ = world(300, 3)
    labels[10:] = -1
    seen = audited(capsys, features, labels)
    assert "300 rows, 10 labelled" in seen.result.out and "no label 290" in seen.result.out
    assert "too few to judge" in seen.result.out
    assert seen.judged.sum() <= 10 and not seen.flagged.any()
    assert seen.rate[2] > 0.1  # ten rows rule nothing out


@pytest.mark.slow
def test_a_thousand_classes(here, capsys):
    """Of five rows each; with three, hardly any row is so sure to be wrong that it is flagged."""
    features, labels, wrong = world(5000, 1000, noise=0.05, d=64, gap=16)
    seen = audited(capsys, features, labels)
    assert "1,000 classes" in seen.result.out and "too few to judge" in seen.result.out
    assert wrong[seen.flagged].mean() > 0.5 and seen.flagged[wrong].mean() > 0.8
    assert seen.rate[0] - 0.05 <= 0.05 <= seen.rate[2] + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("k", [1000, 5000])
def test_a_class_for_every_two_rows(here, capsys, k):
    """One other row says what a class looks like."""
    features, labels, _ = world(2 * k, k, d=64, gap=16)
    seen = audited(capsys, features, labels)
    assert f"{k:,} classes" in seen.result.out and "too few to judge" in seen.result.out
    assert seen.flagged.mean() < 0.05


def save_pictures(kinds: list[int], seeds: list[int], labels: list[str]) -> None:
    names = [f"{row}.png" for row in range(len(labels))]
    for name, kind, seed in zip(names, kinds, seeds, strict=True):
        picture(kind, seed=seed).save(name)
    write_csv(Path("pictures.csv"), {"path": names, "label": labels})


PIXELS = ("--views", "pixels", "--image-size", "32", "--epochs", "4", "--ensemble", "2", "--batch-size", "16")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["right", "random", "same", "three"])
def test_pictures(here, capsys, what):
    n = 3 if what == "three" else 120
    rng = np.random.default_rng(0)
    kinds = [row % 3 for row in range(n)]
    labels = [CLASSES[kind] for kind in (rng.integers(0, 3, n).tolist() if what == "random" else kinds)]
    save_pictures([0] * n if what == "same" else kinds, [0] * n if what == "same" else list(range(n)), labels)
    result = call(capsys, "audit", "pictures.csv", *PIXELS, *FAST[2:])
    if what in ("same", "three"):
        assert result.code == 2 and "too few or too alike for 2 proxies" in result.err and "hint: " in result.err
        return
    seen = found(result)
    if what == "right":
        assert seen.learned and seen.flagged.sum() <= 2 and seen.rate[0] == 0
    elif seen.learned:  # networks may see a pattern in chance
        assert seen.flagged.mean() < 0.1
    else:
        nothing_was_learned(seen)

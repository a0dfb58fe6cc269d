"""`nlclean selftest`: errors of known shape are planted, audited, and what is said of the user's own flags is true."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit_world import task, vector_parquet
from cli_world import call, finished_run, make_report, row
from worlds import blobs

import nlclean
from cleanlab_lite import selftest
from cleanlab_lite.config import preset
from cleanlab_lite.errors import ReportError, StoppedEarly
from cleanlab_lite.judge.calibration import raised
from cleanlab_lite.judge.worlds import SHAPES, draw_truth
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.measure import average_precision
from cleanlab_lite.pipeline import run_audit, run_key
from cleanlab_lite.run import Run, RunFolder, layout
from cleanlab_lite.run.columns import numbers
from cleanlab_lite.run.report import flags
from cleanlab_lite.run.selftest import Outcome
from cleanlab_lite.selftest import Believed, Scored, expect, precision_at_depth, promise, self_test

SHAPE = {shape.name: shape for shape in SHAPES}
K = 5


def drawn(n: int = 1000, p: float = 0.1, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(K, size=n)
    return draw_truth(labels, np.full(n, p), (labels + 1) % K, rng)


def world(shape: str, count: int = 100, matrix: np.ndarray | None = None, seed: int = 0):
    truth = drawn()
    rng = np.random.default_rng(seed)
    neighbors = np.random.default_rng(1).integers(1000, size=(1000, 4))
    return truth, SHAPE[shape].plant(truth, count, np.eye(K) if matrix is None else matrix, neighbors, rng)


# --- worlds ---------------------------------------------------------------------------------------------------------


def test_a_row_keeps_its_label_as_often_as_it_is_right():
    truth = drawn(n=20_000, p=0.25)
    assert truth.kept.mean() == pytest.approx(0.75, abs=0.01)


def test_rows_that_were_not_judged_keep_their_label_and_do_not_count():
    labels = np.array([0, 1, -1])
    truth = draw_truth(labels, np.array([np.nan, 1.0, 1.0]), np.array([1, 0, 0]), np.random.default_rng(0))
    assert truth.labels.tolist() == [0, 0, -1]
    assert not truth.kept.any()


@pytest.mark.parametrize("shape", SHAPE)
def test_planted_labels_are_wrong_and_on_rows_that_count(shape):
    truth, found = world(shape)
    assert found.planted.sum() == 100
    assert truth.kept[found.planted].all() and found.counts[found.planted].all()
    assert (found.labels[found.planted] != found.true[found.planted]).all()
    right = found.counts & ~found.planted
    assert (found.labels[right] == found.true[right]).all()
    assert found.labels.max() == len(found.visible) - 1


@pytest.mark.parametrize("shape", SHAPE)
def test_the_same_seed_plants_the_same(shape):
    first, again, other = (world(shape, seed=seed)[1] for seed in (0, 0, 1))
    assert (first.labels == again.labels).all()
    assert (first.labels != other.labels).any()


def test_matrix_plants_along_the_confusions():
    matrix = np.eye(K)
    matrix[0] = [0.5, 0.5, 0, 0, 0]  # only the first class is mistaken, for the second
    _, found = world("matrix", 50, matrix)
    assert (found.true[found.planted] == 0).all() and (found.labels[found.planted] == 1).all()


def test_similar_plants_labels_of_neighbours():
    truth = drawn(p=0.0)
    neighbors = np.array([[(i + 1) % 1000, (i + 2) % 1000] for i in range(1000)])
    found = SHAPE["similar"].plant(truth, 100, np.eye(K), neighbors, np.random.default_rng(0))
    near = truth.labels[neighbors]
    differs = (near != truth.labels[:, None]).any(axis=1)
    rows = found.planted & differs
    assert (near[rows] == found.labels[rows][:, None]).any(axis=1).all()


def test_hidden_classes_leave_the_vocabulary():
    truth, found = world("no_class", 150)
    hidden = np.setdiff1d(np.arange(K), found.visible)
    assert len(hidden) == 1
    assert (truth.labels[found.planted] == hidden[0]).all()
    assert (found.true[found.planted] == -1).all()
    left = (truth.labels == hidden[0]) & ~found.planted
    assert (found.labels[left] == -1).all()


def test_of_few_classes_none_is_hidden():
    truth = draw_truth(np.arange(30) % 3, np.zeros(30), np.zeros(30, dtype=int), np.random.default_rng(0))
    none = np.empty((30, 0), dtype=np.int64)
    assert SHAPE["no_class"].plant(truth, 5, np.eye(3), none, np.random.default_rng(0)) is None


# --- what is said of them -------------------------------------------------------------------------------------------


NO_OUTCOME = Outcome("", "", 0, 0, 0, None, None, None, None, None, 0, None, [], [])


def scored(score, planted, rate=None) -> Scored:
    planted = np.array(planted, dtype=bool)
    nothing = np.zeros(len(planted), dtype=np.int64)
    odds = 1.0 if rate is None else rate / (1 - rate) * (~planted).sum() / planted.sum()
    weight = np.where(planted, odds, 1.0)
    return Scored(np.array(score, dtype=float), nothing + 0.5, planted, planted, nothing, nothing, nothing, weight)


def test_precision_is_that_of_as_many_rows_as_the_run_flags():
    rows = scored(range(10), [1, 1, 0, 1, 0, 0, 0, 0, 0, 0])
    assert precision_at_depth(rows, 0.2) == 1
    assert precision_at_depth(rows, 0.5) == pytest.approx(3 / 5)
    assert precision_at_depth(rows, 0.0) is None


def test_more_planted_errors_than_there_are_do_not_flatter():
    """The same ranking with ten times as many wrong rows says the same of the rate that holds."""
    rng = np.random.default_rng(0)

    def draw(wrong: int, right: int) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate([rng.normal(0, 1, wrong), rng.normal(2, 1, right)]), np.arange(wrong + right) < wrong

    few = precision_at_depth(scored(*draw(2_000, 98_000)), 0.02)
    many = precision_at_depth(scored(*draw(20_000, 80_000), rate=0.02), 0.02)
    assert many == pytest.approx(few, abs=0.03)


def believed(rate: float, low: float, high: float) -> Believed:
    """A run that is as sure of 1,000 flagged rows as of 9,000 others, and more or less so of the rate."""
    p, nothing = np.repeat([0.9, 0.1], [1000, 9000]), np.zeros(10_000, dtype=np.int64)
    none = np.empty((len(p), 0), dtype=np.int64)
    return Believed(nothing, p, nothing, none, np.eye(2), rate, (low, high), 1.0, -p, p >= 0.5)


def test_probabilities_that_are_right_promise_what_comes_true():
    rng = np.random.default_rng(0)
    p = rng.beta(0.2, 0.8, 20_000)
    wrong, flagged = rng.random(len(p)) < p, p >= 0.5
    found = promise(p, -p, flagged)
    assert found.average_precision == pytest.approx(average_precision(-p, wrong), abs=0.01)
    assert found.precision == pytest.approx(wrong[flagged].mean(), abs=0.01)
    assert found.recall == pytest.approx(flagged[wrong].mean(), abs=0.01)


def test_the_interval_is_as_wide_as_the_rate_is_unsure():
    sure, unsure = (expect([], believed(0.18, low, high)) for low, high in ((0.175, 0.185), (0.06, 0.5)))
    assert sure.precision.estimate == unsure.precision.estimate == pytest.approx(0.9, abs=1e-3)
    assert sure.sentence == (
        "On your data about 90 % of the flags are real (between 88 and 92 %), and about 50 % of the errors are flagged "
        "(between 47 and 53 %)."
    )
    assert sure.precision.high - sure.precision.low < 0.06
    assert unsure.precision.low < 0.75 and unsure.precision.high > 0.95
    assert unsure.recall.low < 0.4 and unsure.recall.high > 0.6


@pytest.mark.parametrize("power", [0.8, 1.25])
def test_the_interval_of_ap_holds_where_rows_are_told_apart_better_or_worse_than_p_says(power):
    rng = np.random.default_rng(0)
    p = rng.beta(0.2, 0.8, 10_000)
    run = believed(float(p.mean()), float(p.mean()) - 0.01, float(p.mean()) + 0.01)
    run = replace(run, p=p, score=-p, flagged=p >= 0.5)
    wrong = rng.random(len(p)) < raised(p, power)
    found = expect([], run).average_precision
    assert found.low < average_precision(-p, wrong) < found.high
    assert not found.low < average_precision(-p, rng.random(len(p)) < raised(p, power**3)) < found.high


@pytest.mark.parametrize("power", [0.5, 1.5])
def test_the_interval_of_ap_is_wider_where_classes_have_few_rows(power):
    rng = np.random.default_rng(0)
    p = rng.beta(0.2, 0.8, 10_000)
    run = believed(float(p.mean()), float(p.mean()) - 0.01, float(p.mean()) + 0.01)
    many = replace(run, p=p, score=-p, flagged=p >= 0.5)
    few = replace(many, share=0.6)
    real = average_precision(-p, rng.random(len(p)) < raised(p, power))
    of_many, of_few = (expect([], each).average_precision for each in (many, few))
    assert not of_many.low < real < of_many.high
    assert of_few.low < real < of_few.high
    assert expect([], few).precision == expect([], many).precision


def test_worlds_that_contradict_the_run_widen_the_interval():
    run = believed(0.18, 0.175, 0.185)
    contrary = replace(NO_OUTCOME, shape="similar", average_precision=0.3, precision_at_depth=0.5)
    found = expect([contrary], run)
    assert found.precision.low < 0.5 and found.recall.low < 0.3 and found.average_precision.low < 0.3
    assert expect([replace(contrary, shape="no_class")], run) == expect([], run)  # another kind of errors


def test_where_nothing_is_flagged_nothing_is_promised():
    found = expect([], replace(believed(0.1, 0.05, 0.2), flagged=np.zeros(10_000, dtype=bool)))
    assert found.precision is found.recall is found.average_precision is None
    assert "no row is flagged" in found.sentence


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """150 vectors of 3 classes, 12 labels wrong, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    return vector_parquet(tmp_path / "vectors.parquet", task())


def test_a_manifest_is_audited_and_tested(data, capsys):
    done = call(capsys, "selftest", data, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [shape["shape"] for shape in found["shapes"]] == ["matrix", "similar", "uniform"]
    assert "no_class: fewer than 4 classes" in done.err
    expected = found["expected"]
    assert expected["precision"]["estimate"] > 0.9 and expected["recall"]["estimate"] > 0.9  # the blobs lie far apart
    assert expected["sentence"].startswith("On your data ")
    folder = Path(found["run"])
    assert json.loads((folder / "selftest.json").read_text()).keys() == found.keys() - {"run"}
    assert found["expected"]["sentence"] in call(capsys, "report", folder, "--html", "page.html").err + (
        data.parent / "page.html"
    ).read_text("utf-8")
    assert not (folder / layout.PLANTED).exists()
    page = Path("page.html").read_text("utf-8")
    assert "<h2>Calibration</h2>" in page and "<h2>Classes whose errors are found least</h2>" in page

    def never(*_, **__):
        raise AssertionError("audited again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selftest, "run_audit", never)
        for again in ([data], [folder], [folder / "report.parquet"], []):
            shown = call(capsys, "selftest", *again)
            assert shown.code == 0, shown.err
            assert found["expected"]["sentence"] in shown.out
            assert shown.out.splitlines()[-1] == str(folder / "selftest.json")
        patch.setattr("nlclean.tables.width", lambda: 80)
        narrow = call(capsys, "selftest", folder).out
        assert "…" not in narrow and "labels of similar rows; corrections right " in narrow


def test_a_few_errors_are_planted_more_often_and_that_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    run = call(capsys, "audit", vector_parquet(tmp_path / "v.parquet", task(wrong=0)), "--preset", "fast").out
    folder = Path(run.splitlines()[-1]).parent
    done = call(capsys, "selftest", folder, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    rate = json.loads((folder / "summary.json").read_text())["noise_rate"]["estimate"]
    assert found["noise_rate"] == rate < min(each["planted"] / each["rows"] for each in found["shapes"]) - 0.1
    first = call(capsys, "selftest", folder).out.splitlines()[0]
    assert f"noise rate {100 * rate:.1f} %; more wrong labels planted than that, which count for less" in first
    assert call(capsys, "report", folder, "--html", "page.html").code == 0
    page = Path("page.html").read_text("utf-8")
    assert "more than at the estimated rate, which count for less" in page and "How many" in page


def test_a_stopped_test_goes_on(data, capsys, monkeypatch):
    assert call(capsys, "audit", data, "--preset", "fast", "--out", "run").code == 0
    audited = []

    def audit(manifest, *args, **more):
        audited.append(manifest.labels.tolist())
        if len(audited) == 2:
            raise StoppedEarly("the time is up")
        return run_audit(manifest, *args, **more)

    monkeypatch.setattr(selftest, "run_audit", audit)
    assert call(capsys, "selftest", "run").code == 4
    assert not Path("run/selftest.json").exists()
    [kept] = Path("run").glob(f"{layout.PLANTED}/matrix-*/report.parquet")
    made = kept.stat().st_mtime_ns
    audited.extend([[], []])
    monkeypatch.setattr(selftest, "outcome_of", _seeing(kept, made, selftest.outcome_of))
    assert call(capsys, "selftest", "run").code == 0
    assert audited[0] == audited[4] and audited[1] == audited[5]  # the same worlds


def _seeing(kept: Path, made: int, then):
    def seen(*args):
        assert kept.stat().st_mtime_ns == made  # read, not done again
        return then(*args)

    return seen


def test_a_run_that_learned_nothing_is_not_tested(tmp_path):
    rate = {"estimate": None, "low": None, "high": None, "method": "unknown: nothing was learned"}
    folder = finished_run(tmp_path / "run", make_report([row("a")], noise_rate=rate))
    with pytest.raises(ReportError, match="learned nothing"):
        selftest.believe(RunFolder(folder), None)


def test_audits_of_planted_errors_that_learn_nothing_are_left_out(data, capsys, monkeypatch):
    assert call(capsys, "audit", data, "--preset", "fast", "--out", "run").code == 0
    rate = {"estimate": None, "low": None, "high": None, "method": "unknown: nothing was learned"}
    audit, learned = selftest.run_audit, ["uniform"]

    def seldom(manifest, *args, run, **more):
        report = audit(manifest, *args, run=run, **more)
        if any(name in str(run.folder) for name in learned):
            return report
        return replace(report, summary=make_report([row("a")], noise_rate=rate).summary)

    monkeypatch.setattr(selftest, "run_audit", seldom)
    done = call(capsys, "selftest", "run", "--json")
    assert done.code == 0 and [each["shape"] for each in json.loads(done.out)["shapes"]] == ["uniform"]
    assert "left out: matrix: nothing is learned" in done.err
    learned.clear()
    done = call(capsys, "selftest", "run", "--seed", 1)
    assert done.code == 3 and "cannot be tested" in done.err and not Path("run", layout.PLANTED).exists()


def test_vectors_that_changed_are_not_tested(data, capsys):
    assert call(capsys, "audit", data, "--preset", "fast", "--out", "run").code == 0
    vector_parquet(data, task(seed=1))
    done = call(capsys, "selftest", "run")
    assert done.code == 2 and "is not what the run in run audited" in done.err


def test_vectors_that_were_in_memory_are_asked_for_as_a_file(tmp_path, capsys):
    made = blobs(40, 2, 0.1)
    nlclean.audit((made.features, made.labels), preset="fast", out=tmp_path / "run")
    for command in (("selftest", "run"), ("verify", "run"), ("compare", "run", "--seeds", 2)):
        done = call(capsys, command[0], tmp_path / command[1], *command[2:])
        assert done.code == 2 and "were in memory only" in done.err and "nlclean audit TABLE --features" in done.err


def test_vectors_in_an_archive_of_arrays_are_read_again(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = blobs(40, 2, 0.1)
    np.savez("set.npz", features=made.features, labels=made.labels)
    assert call(capsys, "audit", "set.npz", "--preset", "fast", "--out", "run").code == 0
    done = call(capsys, "compare", "run", "--seeds", 1, "--json")
    assert done.code == 0, done.err


@pytest.mark.slow
@pytest.mark.parametrize(("apart", "others", "seed"), [(3.2, 2, 3), (3.6, 5, 4)], ids=["neighbouring classes", "any"])
def test_what_is_predicted_is_true(tmp_path, apart, others, seed):
    """Blobs that overlap, of which the audit estimates the rate well: the flags against the truth."""
    rng = np.random.default_rng(seed)
    n, k = 1000, 6
    truth = rng.integers(k, size=n)
    vectors = apart * np.eye(k, 16)[truth] + rng.normal(size=(n, 16))
    labels = np.where(rng.random(n) < 0.12, (truth + rng.integers(1, others + 1, n)) % k, truth)
    np.savez(tmp_path / "set.npz", features=vectors.astype(np.float32), labels=labels)
    manifest, config = read_manifest(tmp_path / "set.npz"), preset("fast", device="cpu")
    with Run.start(tmp_path / "run", "set", run_key(manifest, config)) as run:
        run_audit(manifest, config, run=run)
    folder = RunFolder(tmp_path / "run")
    expected = self_test(folder, manifest, config, preset="fast").expected
    table, wrong = folder.report.table, labels != truth
    flagged, ap = flags(table), average_precision(numbers(table, "label_score"), wrong)
    for share, true in (
        (expected.average_precision, ap),
        (expected.precision, wrong[flagged].mean()),
        (expected.recall, flagged[wrong].mean()),
    ):
        assert share.low <= true <= share.high
        assert share.estimate == pytest.approx(true, abs=0.1)

"""`nlclean verify`: whether cleaning helps, on rows that teach nobody."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, QUICK, Task, save_pictures, task, vector_parquet, vectors, write_csv
from cli_world import call, finished_run, make_report, row
from test_training import CONFIG
from worlds import blobs

from cleanlab_lite import verify as module
from cleanlab_lite.config import AuditConfig
from cleanlab_lite.data.inputs import Inputs, load_inputs
from cleanlab_lite.errors import ConfigError, ReportError, StoppedEarly
from cleanlab_lite.evidence.decisions import Decision
from cleanlab_lite.groups import roots
from cleanlab_lite.holdout import Looked, agreeing, rows_of_run
from cleanlab_lite.judge.reweighted import predict_reweighted
from cleanlab_lite.judge.ridge import Head, Ridge
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.measure import crossed_bootstrap
from cleanlab_lite.run import RunFolder, layout
from cleanlab_lite.run.report import ReportTable
from cleanlab_lite.run.verification import HELPED, HURT, SAME, UNKNOWN, USELESS, Way
from cleanlab_lite.train.fit import fit
from cleanlab_lite.train.jobs import Bench
from cleanlab_lite.verify import Lesson, compare, in_words, verdict, verify

# --- the interval ---------------------------------------------------------------------------------------------------


def test_the_interval_holds_what_is_true():
    """Rows and seeds both vary, and the true gain lies inside in about 95 % of 200 worlds."""
    rng = np.random.default_rng(0)
    inside = 0
    for world in range(200):
        easy, shift = rng.normal(size=150), 0.15 * rng.normal(size=(4, 1))
        chance = [np.clip(0.6 + 0.1 * easy + gain + 0.3 * shift, 0, 1) for gain in (0.0, 0.05)]
        before, after = (rng.random((4, 150)) < each for each in chance)
        found = crossed_bootstrap(after, before, np.arange(150), n=300, seed=world)
        inside += found.low <= 0.05 <= found.high
    assert inside >= 185


def test_copies_count_once():
    right = np.array([[True, False] * 20])
    alone = crossed_bootstrap(right, ~right, np.arange(40))
    paired = crossed_bootstrap(right, ~right, np.arange(40) % 4)
    assert paired.high - paired.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize(("rows", "better", "worse"), [(40, 0.01, 0.0), (40, 0.03, 0.02), (150, 0.01, 0.0)])
def test_the_interval_holds_what_is_true_where_hardly_a_row_differs(rows, better, worse):
    """As where all is predicted right already: that no row of the test differs proves little of others."""
    inside = useless = 0
    for world in range(100):
        u = np.random.default_rng((rows, world)).random((1, rows))
        found = crossed_bootstrap(u >= worse, u < 1 - better, np.arange(rows), n=300, seed=world)
        inside += found.low <= better - worse <= found.high
        useless += verdict(found.low, found.high) == USELESS
    assert inside >= 90 and useless <= 5


def test_without_chance_only_rows_count():
    right = np.ones((1, 30), dtype=bool)
    few, many = (crossed_bootstrap(right[:, :n], right[:, :n], np.arange(n)) for n in (10, 30))
    assert few.difference == many.difference == 0
    assert few.low < many.low < 0 < many.high < few.high < 0.25


# --- what is learned ------------------------------------------------------------------------------------------------


def ridge_world(n: int = 300):
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=n)
    x = (2 * np.eye(3, 12)[labels] + rng.normal(size=(n, 12))).astype(np.float32)
    return x, labels, np.where(np.arange(n) < 200, labels, -1)


def test_equal_weights_are_the_ridge_itself():
    x, _, taught = ridge_world()
    ridge = Ridge.fit([x], taught, 3)
    rows = np.flatnonzero(taught < 0)
    for weight in (np.ones(300), np.full(300, 0.25)):
        found = predict_reweighted(ridge, 0.3, taught, weight, rows)
        assert found == pytest.approx(ridge.predictions(Head(0.3), rows), abs=1e-4)


def test_rows_without_weight_teach_nothing():
    x, labels, taught = ridge_world()
    ridge, rows = Ridge.fit([x], taught, 3), np.arange(200, 300)
    weight = np.where(np.arange(300) < 100, 1.0, 0.0)
    wrong = np.where(weight == 0, (labels + 1) % 3, labels)
    shown = np.where(np.arange(300) < 200, wrong, -1)
    assert (predict_reweighted(ridge, 0.3, shown, weight, rows).argmax(1) == labels[rows]).mean() > 0.8
    assert (predict_reweighted(ridge, 0.3, shown, 1 - weight, rows).argmax(1) == labels[rows]).mean() < 0.2


@pytest.mark.parametrize("strategy", ["plain", "mixup"])
def test_a_network_learns_rows_by_their_weight(strategy):
    """Half of the labels are wrong: what is learned is what has weight."""
    world = blobs(200, 2, 0.0)
    given = np.where(np.arange(200) % 2 == 0, world.labels, 1 - world.labels)
    inputs = Inputs(world.features, *[np.full(200, "")] * 2, np.full(200, -1), 0, np.arange(200).astype(str))
    samples = Bench(module_task(inputs, given), "cpu", 2**30).samples("vectors")
    teaching = replace(CONFIG, proxy="mlp", strategy=strategy, epochs=8)
    for heavy in (0, 1):
        weight = np.where(np.arange(200) % 2 == heavy, 1.0, 0.02)
        seen = fit(samples, given, np.arange(200), 2, teaching, seed=0, weight=weight)
        right = (seen.logits.argmax(axis=1) == world.labels).mean()
        assert right > 0.9 if heavy == 0 else right < 0.1


def module_task(inputs: Inputs, labels: np.ndarray):
    from cleanlab_lite.train.task import Task as Learning

    return Learning.of(labels, 2, inputs, view="vectors")


# --- the verdict ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.001, 0.02, HELPED), (-0.02, -0.001, HURT), (-0.01, 0.004, USELESS), (-0.01, 0.02, UNKNOWN), (0, 0, USELESS)],
)
def test_a_verdict_by_the_interval(low, high, said):
    assert verdict(low, high) == said


def way(name: str, verdict: str | None) -> Way:
    return Way(name, "", 10, 0, 0.5, [0.5], 0.01, -0.01, 0.03, verdict)


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ((HELPED, HURT, UNKNOWN), "Cleaning helped ("),
        ((UNKNOWN, HURT, USELESS), "It cannot be told whether cleaning helped ("),
        ((USELESS, HURT, SAME), "Cleaning did not help ("),
        ((HURT, HURT, SAME), "Cleaning made it worse ("),
        ((SAME, SAME, SAME), "Cleaning changes nothing ("),
    ],
)
def test_a_sentence_by_the_verdicts(verdicts, said):
    names = ("pruned", "corrected", "weighted")
    ways = [way("original", None), *map(way, names, verdicts), way("random", HURT)]
    assert in_words(ways, biased=False).startswith(said)
    assert in_words(ways, biased=True).startswith("By the audit's own opinion ")
    assert "no merit" not in in_words(ways, biased=False)
    assert "no merit" in in_words([*ways[:-1], way("random", HELPED)], biased=False)
    asks = HELPED not in verdicts and set(verdicts) != {SAME}
    assert ("--learner plain" in in_words(ways, biased=False)) == asks
    assert "--learner plain" not in in_words(ways, biased=False, plain=True)


def test_what_changes_nothing_is_said_to():
    labels, true = np.array([0, 1, 0, 1]), np.array([0, 1])
    lessons = {"original": [Lesson(labels)], "pruned": [Lesson(labels.copy())], "random": [Lesson(labels)] * 2}
    predicted = dict.fromkeys(lessons, np.array([[0, 1]]))
    ways = compare(lessons, predicted, true, np.arange(2))
    assert [each.verdict for each in ways] == [None, SAME, SAME]


def test_rows_that_a_view_contradicts_are_not_agreed_upon():
    fine = {"view_margin_encoder": 1.0, "view_margin_pixels": 0.5}
    report = make_report(
        [
            row("a", **fine),
            row("b", **fine | {"view_margin_pixels": -0.1}),
            row("c", **fine, is_label_issue=True),
            row("d", **fine, predicted_label="cat"),
            row("e", **fine, issue="ambiguous"),
        ]
    )
    assert agreeing(report).tolist() == [True, False, False, False, False]


def test_the_same_rows_are_kept_in_any_order_of_the_manifest(tmp_path, monkeypatch):
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    given = task()
    x, kept = vectors(given.truth), []
    for rows in (np.arange(150), np.random.default_rng(1).permutation(150)):
        np.savez(tmp_path / "set.npz", features=x[rows], labels=given.labels[rows])
        manifest = read_manifest(tmp_path / "set.npz")
        inputs = load_inputs(manifest, 32)
        looked = Looked(inputs.readable, {}, roots(inputs.duplicate_of), inputs.order(manifest.labels))

        def audit(some: Manifest, _: str) -> ReportTable:
            return make_report([row(id) for id in some.ids.tolist()])

        undecided = cast("RunFolder", SimpleNamespace(decisions=[]))
        kept.append(set(rows[~rows_of_run(undecided, manifest, looked, audit, seed=0).learn].tolist()))
    assert kept[0] == kept[1] and 30 < len(kept[0]) < 45


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def noisy(n: int = 300) -> Task:
    """A third of the labels wrong: enough that learning suffers."""
    return task(n, wrong=round(0.3 * n))


def near(path: Path, given: Task, *, seed: int = 0) -> Path:
    """Vectors of three classes that overlap a little, and labels."""
    x = vectors(given.truth, seed=seed) - 2.7 * np.eye(3, 8, dtype=np.float32)[given.truth]
    table = {
        "key": [f"{path.stem}{row}" for row in range(len(x))],
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 8),
        "label": [CLASSES[label] for label in given.labels],
    }
    pq.write_table(pa.table(table), path)
    return path


def test_cleaning_helps_where_labels_are_wrong(folder, capsys):
    data, test = near(folder / "a.parquet", noisy()), near(folder / "b.parquet", task(1500, wrong=0, seed=1), seed=9)
    done = call(capsys, "verify", data, "--test", test, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["measured_on"] == "file" and found["test_rows"] == 1500 and found["rows"] == 300
    ways = {each["name"]: each for each in found["ways"]}
    assert list(ways) == ["original", "pruned", "corrected", "corrected-pruned", "weighted", "random"]
    both = ways["corrected-pruned"]
    assert ways["pruned"]["rows"] < both["rows"] < 300 and both["relabelled"] == ways["corrected"]["relabelled"] > 0
    assert ways["corrected"]["verdict"] == HELPED and ways["random"]["verdict"] != HELPED
    assert ways["random"]["rows"] == ways["pruned"]["rows"] < 300
    assert len(ways["random"]["by_seed"]) == 5
    assert found["sentence"].startswith("Cleaning helped (")
    run = Path(found["run"])
    assert json.loads((run / "verify.json").read_text()).keys() == found.keys() - {"run"}
    assert not (run / layout.VERIFYING).exists()
    assert call(capsys, "report", run, "--html", "page.html").code == 0
    assert "Did cleaning help?" in Path("page.html").read_text("utf-8")

    def never(*_, **__):
        raise AssertionError("learned again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "by_regression", never)
        for again in (data, run, run / "report.parquet"):
            shown = call(capsys, "verify", again, "--test", test)
            assert shown.code == 0, shown.err
            assert found["sentence"] in shown.out and shown.out.splitlines()[-1] == str(run / "verify.json")
        patch.setattr("nlclean.tables.width", lambda: 80)
        narrow = call(capsys, "verify", run, "--test", test).out
        assert "…" not in narrow and "without the rows that prune leaves out; relabelled 0; " in narrow


def test_plain_networks_profit_more_than_what_resists_wrong_labels(folder, capsys):
    data, test = near(folder / "a.parquet", noisy(150)), near(folder / "b.parquet", task(400, wrong=0, seed=1), seed=9)
    words = ("verify", data, "--test", test, "--seeds", "2", "--json")
    found, plain = (json.loads(call(capsys, *words, *more).out) for more in ((), ("--learner", "plain")))
    assert found["learner"].startswith("a regression") and plain["learner"].startswith("networks mlp on vectors, plain")
    assert found["run"] == plain["run"] and found["key"] != plain["key"]  # the audit is the same
    (before, cleaned), (misled, helped) = ([each["accuracy"] for each in of["ways"][:2]] for of in (found, plain))
    assert misled < before and helped - misled > cleaned - before and helped - misled > 0.05
    assert "--learner" not in plain["sentence"]


def test_copies_and_strangers_are_not_tested_on(folder, capsys):
    data = near(folder / "a.parquet", noisy())
    other = pq.read_table(near(folder / "b.parquet", task(60, wrong=0, seed=1), seed=9))
    stranger = other.slice(0, 1).set_column(2, "label", [["zebra"]])
    both = pa.concat_tables([pq.read_table(data).slice(0, 20), other.slice(1), stranger])
    pq.write_table(both, folder / "c.parquet")
    done = call(capsys, "verify", data, "--test", "c.parquet", "--seeds", 2, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["test_rows"] == 59
    assert "20 test rows with a copy among the rows of the run" in done.err
    assert "1 test row without a label that the run knows" in done.err
    pq.write_table(pq.read_table(data).slice(0, 20), folder / "d.parquet")
    refused = call(capsys, "verify", data, "--test", "d.parquet")
    assert refused.code == 2 and "of 20 test rows none is left" in refused.err


def split_csv(folder: Path, given: Task) -> Path:
    names = [f"{row:03}.png" for row in range(len(given.labels))]
    save_pictures(folder, given.truth, names)
    columns = {"path": names, "label": [CLASSES[label] for label in given.labels]}
    columns["split"] = ["test" if row % 3 == 0 else "train" for row in range(len(names))]
    return write_csv(folder / "pictures.csv", columns)


def audited(monkeypatch) -> list[set[str]]:
    """The ids of every audit that is done from now on."""
    seen: list[set[str]] = []
    real = module.run_audit

    def audit(manifest, *args, **more):
        seen.append(set(manifest.ids.tolist()))
        return real(manifest, *args, **more)

    monkeypatch.setattr(module, "run_audit", audit)
    return seen


def test_decisions_of_people_are_said_to_count(folder, capsys):
    data, test = near(folder / "a.parquet", noisy()), near(folder / "b.parquet", task(300, wrong=0, seed=1), seed=9)
    assert call(capsys, "audit", data, "--preset", "fast", "--out", "run").code == 0
    assert "people have decided" not in call(capsys, "verify", "run", "--test", test).err
    row = RunFolder(folder / "run").report.suspicious().to_pylist()[0]
    RunFolder(folder / "run").journal.append(Decision(row["id"], "drop", row["given_label"], None, "ann"))
    said = call(capsys, "verify", "run", "--test", test)
    assert "people have decided on 1 row: all ways but original and random follow them" in " ".join(said.err.split())


def test_a_protected_split_is_tested_on_and_seen_by_nobody(folder, capsys, monkeypatch):
    data = split_csv(folder, task(90, wrong=6))
    quick = (*QUICK, "--views", "pixels", "--epochs", 2, "--image-size", 16)
    assert call(capsys, "audit", data, *quick, "--out", "run").code == 0
    seen = audited(monkeypatch)
    done = call(capsys, "verify", "run", "--seeds", 2, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["measured_on"] == "split" and "'test'" in found["measure"]
    assert (found["rows"], found["test_rows"]) == (60, 30)
    assert found["learner"].startswith("networks cnn on pixels, plain with ce, 2 epochs")
    [ids] = seen
    assert len(ids) == 60 and not any(int(id[:3]) % 3 == 0 for id in ids)
    assert all(len(each["by_seed"]) == 2 for each in found["ways"])


def test_else_rows_that_an_audit_of_them_alone_agrees_with(folder, capsys, monkeypatch):
    data = vector_parquet(folder / "vectors.parquet", task())
    seen = audited(monkeypatch)
    done = call(capsys, "verify", data, "--seeds", 2, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["measured_on"] == "agreeing" and "biased towards the audit's own opinion" in found["measure"]
    kept, learned = seen
    assert len(kept) + len(learned) == 150 and not kept & learned
    assert found["rows"] == len(learned) and found["test_rows"] <= len(kept)
    assert found["sentence"].startswith("By the audit's own opinion ")


def test_a_stopped_verification_goes_on(folder, capsys, monkeypatch):
    data = vector_parquet(folder / "vectors.parquet", task())
    assert call(capsys, "audit", data, "--preset", "fast", "--out", "run").code == 0
    real, calls = module.run_audit, []

    def audit(manifest, *args, **more):
        calls.append(manifest.ids.tolist())
        if len(calls) == 2:
            raise StoppedEarly("the time is up")
        return real(manifest, *args, **more)

    monkeypatch.setattr(module, "run_audit", audit)
    assert call(capsys, "verify", "run", "--seeds", 2).code == 4
    assert not Path("run/verify.json").exists()
    [kept] = Path("run").glob(f"{layout.VERIFYING}/*/kept/report.parquet")
    made, real_teach = kept.stat().st_mtime_ns, module.teach

    def teach(*args):
        assert kept.stat().st_mtime_ns == made  # read, not done again
        return real_teach(*args)

    monkeypatch.setattr(module, "teach", teach)
    assert call(capsys, "verify", "run", "--seeds", 2).code == 0
    assert calls[0] == calls[2] and calls[1] == calls[3]


def test_a_run_that_learned_nothing_is_not_verified(tmp_path):
    rate = {"estimate": None, "low": None, "high": None, "method": "unknown: nothing was learned"}
    run = RunFolder(finished_run(tmp_path / "run", make_report([row("a")], noise_rate=rate)))
    with pytest.raises(ReportError, match="learned nothing"):
        verify(run, None, None)


def test_a_run_of_own_evidence_needs_test_rows(tmp_path):
    run = RunFolder(finished_run(tmp_path / "run", make_report([row("a")], proxy=None)))
    with pytest.raises(ConfigError, match="evidence that it does not hold"):
        verify(run, None, AuditConfig())


def test_a_run_of_decided_rows_needs_test_rows(tmp_path):
    run = RunFolder(finished_run(tmp_path / "run", make_report([row("a")], trusted=1)))
    with pytest.raises(ConfigError, match="would not know them") as error:
        verify(run, None, AuditConfig())
    assert "--test" in error.value.hint


def test_another_kind_of_rows_is_refused(folder, capsys):
    data = vector_parquet(folder / "vectors.parquet", task())
    wide = pq.read_table(near(folder / "b.parquet", task(30, wrong=0)))
    vector = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(30 * 4, np.float32)), 4)
    pq.write_table(wide.set_column(1, "embedding", vector), folder / "narrow.parquet")
    done = call(capsys, "verify", data, "--test", "narrow.parquet")
    assert done.code == 2 and "vectors of 8 numbers" in done.err and "vectors of 4 numbers" in done.err
    pictures = split_csv(folder / "pictures", task(12, wrong=0))
    done = call(capsys, "verify", data, "--test", pictures)
    assert done.code == 2 and "the run is about vectors, the test rows are pictures" in done.err

"""Audits of a history and of probabilities that the user brings: what is found, what is missing, what is refused."""

from __future__ import annotations

import json
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, save_pictures, task, vectors, write_csv
from cli_world import Result, call, loaded_by

import cleanlab_lite as cl
from cleanlab_lite.evidence.recorder import read_history
from cleanlab_lite.run.report import SCHEMA

N = 300
GIVEN = task(N, wrong=30)
NAMES = [CLASSES[label] for label in GIVEN.labels]
IDS = [f"img/{row:03}.png" for row in range(N)]
ROWS = np.arange(N)
OF_TRAINING = {"aum", "loss_mean", "loss_last", "p_noisy_loss", "margin_streak", "learned_epoch", "forgetting_events"}
OUT_OF_SAMPLE = {"predicted_label", "confident_joint_flag"}
OF_FEATURES = {"knn_label", "knn_agreement", "prototype_label", "neighbors"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of pictures that are elsewhere: no file of it exists."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    write_csv(tmp_path / "m.csv", {"path": IDS, "label": NAMES})
    return tmp_path


def logits(seed: int = 0, strength: float = 4.0) -> np.ndarray:
    """(n, k) of a model that never saw a wrong label."""
    return strength * np.eye(3)[GIVEN.truth] + np.random.default_rng(seed).normal(size=(N, 3))


def probabilities() -> np.ndarray:
    p = np.exp(logits())
    return p / p.sum(axis=1, keepdims=True)


def save_history(folder: Path, *, classes=(0, 1, 2), labels=GIVEN.labels, rows=ROWS, num_samples: int = N) -> Path:
    """Six epochs: the classes are learned first, in the last two the given labels. `classes` numbers ours."""
    classes = np.array(classes)
    recorder = cl.Recorder(num_samples, len(classes))
    for epoch in range(6):
        seen = logits(epoch, strength=1 + epoch / 2) + 2 * max(0, epoch - 3) * np.eye(3)[GIVEN.labels]
        renumbered = np.empty((N, len(classes)))
        renumbered[:, classes] = seen if len(classes) == 3 else np.pad(seen, ((0, 0), (0, len(classes) - 3)))
        recorder.update(rows, renumbered[rows], classes[labels[rows]])
        recorder.end_epoch()
    return recorder.save(folder).parent


def save_csv(path: Path, columns: dict[str, np.ndarray]) -> Path:
    return write_csv(path, {name: [str(value) for value in values] for name, values in columns.items()})


def columns(p: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(CLASSES, p.T, strict=True))


def table(run: Path) -> dict[str, list]:
    return pq.read_table(run / "report.parquet").to_pydict()


def nulls(report: dict[str, list]) -> set[str]:
    return {name for name, values in report.items() if all(value is None for value in values)}


def found(report: dict[str, list]) -> set[int]:
    return {row for row, flagged in enumerate(report["is_label_issue"]) if flagged}


def audit(capsys, here: Path, *arguments: object) -> tuple[Result, dict[str, list]]:
    result = call(capsys, "audit", "m.csv", "--out", "run", *arguments)
    assert result.code == 0, result.err
    return result, table(here / "run")


def assert_planted_errors_found(report: dict[str, list], *, corrected: float) -> None:
    wrong = set(GIVEN.wrong.tolist())
    assert len(found(report) & wrong) >= 0.85 * len(wrong)
    assert len(found(report) - wrong) <= 0.15 * len(wrong)
    worst = np.argsort(report["label_score"])[: len(wrong)]
    assert len(wrong & set(worst.tolist())) >= 0.85 * len(wrong)
    right = [report["suggested_label"][row] == CLASSES[GIVEN.truth[row]] for row in wrong]
    assert np.mean(right) >= corrected


def test_probabilities_alone(here, capsys):
    file = save_csv(here / "p.csv", columns(probabilities()))
    result, report = audit(capsys, here, "--pred-probs", file)
    assert_planted_errors_found(report, corrected=0.8)
    assert OF_TRAINING | OF_FEATURES | {"ood_score"} <= nulls(report)
    assert not OUT_OF_SAMPLE & nulls(report)
    assert "no history (--history)" in result.err and "no features" in result.err
    assert "no out-of-sample" not in result.err and "not calibrated" not in result.err
    assert not (here / "run" / "history.parquet").exists() and not (here / "run" / "features.npy").exists()
    summary = json.loads((here / "run" / "summary.json").read_text())
    assert summary["evidence"] == ["pred_probs"] and summary["proxy"] is None


def test_history_alone(here, capsys):
    result, report = audit(capsys, here, "--history", save_history(here / "h"))
    assert_planted_errors_found(report, corrected=0.8)
    assert nulls(report) >= OUT_OF_SAMPLE | OF_FEATURES
    assert not OF_TRAINING & nulls(report)
    assert "no out-of-sample probabilities" in result.err and "no history" not in result.err
    curves = pq.read_table(here / "run" / "history.parquet")
    assert curves["loss"].type.list_size == 6


def test_both_with_features(here, capsys):
    np.save(here / "f.npy", vectors(GIVEN.truth))
    file = save_csv(here / "p.csv", columns(probabilities()))
    evidence = ("--history", save_history(here / "h"), "--pred-probs", file, "--features", here / "f.npy")
    result, report = audit(capsys, here, *evidence)
    assert_planted_errors_found(report, corrected=0.9)
    assert not nulls(report) & (OF_TRAINING | OUT_OF_SAMPLE | OF_FEATURES | {"ood_score"})
    assert "--history" not in result.err and "--pred-probs" not in result.err and "--features" not in result.err
    assert (here / "run" / "features.npy").exists()


def test_both_rank_better_than_either(here, capsys):
    """Two noisy views of the same rows, one of each kind."""
    file = save_csv(here / "p.csv", columns(probabilities()))
    history = save_history(here / "h")
    misplaced = []
    for name, evidence in {
        "one": ("--history", history),
        "two": ("--pred-probs", file),
        "both": ("--history", history, "--pred-probs", file),
    }.items():
        assert call(capsys, "audit", "m.csv", "--out", name, *evidence).code == 0
        order = np.argsort(table(here / name)["label_score"])
        misplaced.append(len(set(order[:30].tolist()) - set(GIVEN.wrong.tolist())))
    assert misplaced[2] <= min(misplaced[:2])


@pytest.mark.parametrize("form", ["npy", "parquet", "other order", "by id"])
def test_every_form_of_the_probabilities_says_the_same(here, capsys, form):
    p = probabilities()
    expected = audit(capsys, here, "--pred-probs", save_csv(here / "p.csv", columns(p)))[1]
    shuffled = np.random.default_rng(0).permutation(N)
    if form == "npy":
        np.save(path := here / "p.npy", p)
    elif form == "parquet":
        pq.write_table(pa.table(columns(p)), path := here / "p.parquet")
    elif form == "other order":
        path = save_csv(here / "q.csv", dict(reversed(columns(p).items())))
    else:
        path = save_csv(here / "q.csv", {"path": np.array(IDS)[shuffled]} | columns(p[shuffled]))
    assert call(capsys, "audit", "m.csv", "--out", "other", "--pred-probs", path).code == 0
    report = table(here / "other")
    assert found(report) == found(expected)
    np.testing.assert_allclose(report["p_mislabel"], expected["p_mislabel"], atol=1e-4)


def test_the_numbers_of_the_classes_are_read_off_the_labels(here, capsys):
    expected = audit(capsys, here, "--history", save_history(here / "h"))[1]
    other = save_history(here / "other", classes=(2, 0, 1))
    assert call(capsys, "audit", "m.csv", "--out", "renumbered", "--history", other).code == 0
    report = table(here / "renumbered")
    np.testing.assert_allclose(report["p_mislabel"], expected["p_mislabel"], atol=1e-4)
    for name in ("given_label", "suggested_label", "issue", "action", "learned_epoch", "reasons"):
        assert report[name] == expected[name]


def test_rows_that_were_not_recorded_are_not_judged(here, capsys):
    history = save_history(here / "h", rows=ROWS[50:])
    result, report = audit(capsys, here, "--history", history)
    assert "not judged, as the history does not have them: 50 labelled rows" in result.err
    assert report["p_mislabel"][:50] == [None] * 50 and None not in report["p_mislabel"][50:]
    assert set(report["action"][:50]) == {"keep"} and set(report["weight"][:50]) == {1.0}
    assert report["margin_streak"][:50] == [None] * 50
    assert found(report) & set(GIVEN.wrong.tolist())
    file = save_csv(here / "p.csv", columns(probabilities()))
    assert call(capsys, "audit", "m.csv", "--out", "both", "--history", history, "--pred-probs", file).code == 0
    report = table(here / "both")
    assert None not in report["p_mislabel"] and report["aum"][:50] == [None] * 50
    assert_planted_errors_found(report, corrected=0.8)


def test_copies_of_a_file_are_found_and_conflict(here, capsys):
    first, second = (int(np.flatnonzero(GIVEN.labels == label)[0]) for label in (0, 1))
    save_pictures(here, np.array([0]), [IDS[first]])
    shutil.copy(here / IDS[first], here / IDS[second])
    _, report = audit(capsys, here, "--pred-probs", save_csv(here / "p.csv", columns(probabilities())))
    assert {report["issue"][first], report["issue"][second]} == {"duplicate_conflict"}
    assert "unreadable" not in report["issue"]


def test_the_report_is_read_like_any_other(here, capsys):
    audit(capsys, here, "--pred-probs", save_csv(here / "p.csv", columns(probabilities())))
    assert set(table(here / "run")) == set(SCHEMA.names)
    assert call(capsys, "report", "run").code == 0
    assert call(capsys, "report", "run", "--html", "page.html").code == 0
    assert call(capsys, "export", "run", "--policy", "prune", "--output", "pruned.csv").code == 0
    assert call(capsys, "check", "run").code == 0


def test_a_rate_that_nothing_tells_changes_no_label(here, capsys):
    audit(capsys, here, "--history", save_history(here / "h"))  # nothing was planted, nothing held out
    refused = call(capsys, "export", "run", "--policy", "prune", "--output", "pruned.csv")
    assert refused.code == 2 and "cannot say how many labels are wrong" in refused.err
    assert call(capsys, "export", "run", "--policy", "prune", "--output", "pruned.csv", "--force").code == 0


def test_other_evidence_is_another_run_and_the_same_goes_on(here, capsys):
    p = probabilities()
    runs = []
    for evidence in (p, p, p[:, [1, 0, 2]]):
        result = call(capsys, "audit", "m.csv", "--pred-probs", save_csv(here / "p.csv", columns(evidence)))
        runs.append(Path(result.out.splitlines()[-1]).parent)
        runs[-1] = json.loads((runs[-1] / "run.json").read_text())["key"]
    assert runs[0] == runs[1] != runs[2]


def test_probabilities_in_the_wrong_order_judge_nothing(here, capsys):
    file = save_csv(here / "p.csv", columns(np.random.default_rng(0).permutation(probabilities())))
    result, report = audit(capsys, here, "--pred-probs", file)
    assert "no better than chance" in result.err and "probabilities are in the order of the manifest" in result.err
    assert not found(report)


def test_dry_run_says_what_there_is(here, capsys):
    result = call(capsys, "audit", "m.csv", "--history", save_history(here / "h"), "--dry-run", "--json")
    assert json.loads(result.out)["evidence"] == "history"
    assert not (here / "nlclean-runs").exists()


def test_python_takes_the_same(here):
    report = cl.audit("m.csv", out=here / "run", pred_probs=save_csv(here / "p.csv", columns(probabilities())))
    assert found(report.table.to_pydict()) & set(GIVEN.wrong.tolist())


def test_torch_is_not_loaded(here):
    file = save_csv(here / "p.csv", columns(probabilities()))
    arguments = ("audit", "m.csv", "--out", "run", "--history", save_history(here / "h"), "--pred-probs", file)
    assert not loaded_by(*arguments) & {"torch", "torchvision", "torchaudio"}
    assert (here / "run" / "report.parquet").exists()


# --- what does not fit is refused ------------------------------------------------------------------------------------


def changed(row: int, column: int, value: float) -> np.ndarray:
    p = probabilities()
    p[row, column] = value
    return p


REFUSED = {
    "a class is missing": ({"cat": ROWS, "dog": ROWS}, "lacking: 'owl'"),
    "another class": (columns(probabilities()) | {"fox": ROWS}, "not a class: 'fox'"),
    "other spelling": ({"Cat": ROWS, "dog": ROWS, "owl": ROWS}, "lacking: 'cat'; not a class: 'Cat'"),
    "too few rows": (columns(probabilities()[:-1]), "has 299 rows, the manifest has 300"),
    "NaN": (columns(changed(7, 0, np.nan)), "the first is that of 'img/007.png'"),
    "negative": (columns(changed(7, 0, -0.5)), "the first is that of 'img/007.png'"),
    "logits": (columns(np.abs(logits())), "with a sum other than 1"),
    "text": (columns(probabilities()) | {"owl": np.array(["high"] * N)}, "column 'owl' does not hold numbers"),
    "unknown id": (columns(probabilities()) | {"path": np.array(["x", *IDS[1:]])}, "1 absent"),
    "id twice": (columns(probabilities()) | {"path": np.array([IDS[1], *IDS[1:]])}, "the first is 'img/000.png'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_probabilities_that_do_not_fit_are_refused(here, capsys, name):
    given, message = REFUSED[name]
    result = call(capsys, "audit", "m.csv", "--out", "run", "--pred-probs", save_csv(here / "p.csv", given))
    assert result.code == 3
    assert message in result.err
    assert not (here / "run").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((N, 4)), "expected numbers (300, 3)"),
        (np.zeros((N - 1, 3)), "expected numbers (300, 3)"),
        (np.zeros((N, 3), dtype="U3"), "expected numbers"),
        (np.array([{}] * N), "cannot read"),  # a pickle
    ],
)
def test_arrays_that_do_not_fit_are_refused(here, capsys, array, message):
    np.save(here / "p.npy", array)
    result = call(capsys, "audit", "m.csv", "--pred-probs", "p.npy")
    assert result.code == 3 and message in result.err


@pytest.mark.parametrize("name", ["p.xlsx", "absent.csv", "absent.npy", "empty.csv"])
def test_files_that_cannot_be_read_are_refused(here, capsys, name):
    (here / "p.xlsx").touch()
    (here / "empty.csv").touch()
    result = call(capsys, "audit", "m.csv", "--pred-probs", name)
    assert result.code == 3 and name in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": N + 1}, "of 301 samples, the manifest has 300 rows"),
        ({"classes": (0, 1, 2, 3)}, "of 4 classes, the manifest has 3"),
        ({"labels": np.roll(GIVEN.labels, 1)}, "has other labels than the manifest in"),
        ({"labels": GIVEN.truth}, "has other labels than the manifest in 30 of 300 rows"),
    ],
)
def test_histories_that_do_not_fit_are_refused(here, capsys, options, message):
    result = call(capsys, "audit", "m.csv", "--history", save_history(here / "h", **options))
    assert result.code == 3 and message in result.err


def test_a_folder_without_a_history_is_refused(here, capsys):
    result = call(capsys, "audit", "m.csv", "--history", here)
    assert result.code == 3 and "holds no history.npz" in result.err


# --- the examples of the documentation -------------------------------------------------------------------------------

EXAMPLES = re.findall(
    r"^```python\n# (\w+): .*?\n(.*?)^```",
    (Path(__file__).parents[1] / "docs" / "own_evidence.md").read_text("utf-8"),
    re.MULTILINE | re.DOTALL,
)
WORLD = """
import torch
from torch import nn
torch.manual_seed(0)
n, k = 60, 3
labels = torch.arange(n) % k
inputs = 4 * torch.eye(k)[labels] + torch.randn(n, k)
network = nn.Linear(k, k)
"""


def test_there_is_an_example_for_each():
    assert [name for name, _ in EXAMPLES] == ["torch", "lightning", "transformers"]


@pytest.mark.parametrize(("package", "code"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_the_example_records_every_row(here, package, code):
    pytest.importorskip(package)
    (here / "example.py").write_text(WORLD + code)
    runpy.run_path("example.py")
    history, num_classes = read_history(here / "recorded")
    assert num_classes == 3 and history.shape == (1, 3, 60)
    assert np.isfinite(history.margin).all()
    assert history.trained_on[0].tolist() == [row % 3 for row in range(60)]

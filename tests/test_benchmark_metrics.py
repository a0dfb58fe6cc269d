"""The measures agree with values worked out by hand; the benchmark compares what it says it compares."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import data, detection, equal_features, peers, table, worker
from cleanlab_lite import measure as metrics
from cleanlab_lite.errors import EvidenceError

ROOT = Path(__file__).parents[1]

# most suspicious first: wrong, right, wrong, right
SCORE = np.array([0.4, 0.1, 0.3, 0.2])
WRONG = np.array([False, True, True, False])


def test_values_worked_out_by_hand() -> None:
    assert metrics.average_precision(SCORE, WRONG) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.auroc(SCORE, WRONG) == pytest.approx(3 / 4)
    assert metrics.best_f1(SCORE, WRONG) == pytest.approx(0.8)  # the first three: 2/3 and 1
    assert metrics.f1_at_flags(SCORE < 0.15, WRONG) == pytest.approx(2 / 3)
    assert metrics.precision_at(SCORE, WRONG, 1) == 1
    assert metrics.precision_at(SCORE, WRONG, 2) == 1 / 2
    assert metrics.precision_at(SCORE, WRONG, 100) == 1 / 2
    assert metrics.recall_at_budget(SCORE, WRONG, 0.75) == 1
    assert metrics.recall_at_budget(SCORE, WRONG, 0) == 0
    assert metrics.rate_error(0.6, WRONG) == pytest.approx(0.1)


RANKINGS = {
    "average_precision": metrics.average_precision,
    "auroc": metrics.auroc,
    "best_f1": metrics.best_f1,
    "precision_at": lambda score, wrong: metrics.precision_at(score, wrong, int(wrong.sum())),
    "recall_at_budget": lambda score, wrong: metrics.recall_at_budget(score, wrong, 0.3),
}


@pytest.mark.parametrize("metric", RANKINGS.values(), ids=RANKINGS)
def test_a_ranking_is_all_that_counts(metric) -> None:
    """Perfect is 1, order of rows and monotone transformations do not matter, ties are shared out."""
    rng = np.random.default_rng(0)
    wrong = np.arange(400) < 120
    assert metric(-wrong.astype(float), wrong) == 1
    score = (4 * rng.normal(size=400)).round() - 4 * wrong  # many ties
    order = rng.permutation(400)
    assert metric(score[order], wrong[order]) == pytest.approx(metric(score, wrong))
    assert metric(np.exp(score), wrong) == pytest.approx(metric(score, wrong))
    assert metric(score, wrong) > metric(-score, wrong)


def test_all_scores_tied_is_chance() -> None:
    tied = np.zeros(4)
    assert metrics.average_precision(tied, WRONG) == metrics.precision_at(tied, WRONG, 1) == 1 / 2
    assert metrics.auroc(tied, WRONG) == 1 / 2
    assert metrics.recall_at_budget(tied, WRONG, 0.25) == 1 / 4


def test_calibration() -> None:
    p = np.array([0.05, 0.05, 0.95, 1.0])
    wrong = np.array([False, True, True, True])
    # bin 0: |0.05 - 0.5|, two rows of four; bin 9, where 1.0 belongs: |0.975 - 1|
    assert metrics.expected_calibration_error(p, wrong) == pytest.approx((0.45 + 0.025) / 2)
    assert metrics.expected_calibration_error(p, wrong, bins=1) == pytest.approx(abs(p.mean() - 0.75))
    assert metrics.brier(p, wrong) == pytest.approx((0.05**2 + 0.95**2 + 0.05**2) / 4)


def test_a_calibrated_probability_has_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    wrong = rng.random(50_000) < p
    assert metrics.expected_calibration_error(p, wrong) < 0.01
    assert metrics.expected_calibration_error(p**2, wrong) > 0.1
    assert metrics.brier(p, wrong) == pytest.approx(1 / 6, abs=0.01)  # mean of p (1 - p)


def test_corrections() -> None:
    truth = np.array(["cat", "cat", "dog", "dog", "no class"])
    given = np.array(["dog", "cat", "cat", "dog", "dog"])
    suggested = np.array(["cat", "dog", "bird", "", "cat"])
    result = metrics.correction_accuracy(suggested, given, truth, suggested != "")
    assert result == metrics.Corrections(offered=4, accuracy=1 / 4, harm=1 / 4)
    nothing = metrics.correction_accuracy(suggested, given, truth, np.zeros(5, dtype=bool))
    assert nothing.offered == 0 and math.isnan(nothing.accuracy) and math.isnan(nothing.harm)


def test_bootstrap_tells_a_better_ranking_from_an_equal_one() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(1000) < 0.2
    good, poor = (rng.normal(size=1000) - strength * wrong for strength in (3, 1))
    result = metrics.paired_bootstrap(good, poor, wrong, n=100)
    assert 0 < result.low < result.difference < result.high and result.share_better == 1
    assert result.difference == pytest.approx(
        metrics.average_precision(good, wrong) - metrics.average_precision(poor, wrong)
    )
    twin = metrics.paired_bootstrap(good, good * 2, wrong, n=10)
    assert twin == (0, 0, 0, 0.5)
    assert metrics.paired_bootstrap(good, poor, wrong, metrics.auroc, n=10, seed=1) == metrics.paired_bootstrap(
        good, poor, wrong, metrics.auroc, n=10, seed=1
    )


def test_what_is_not_defined_is_nan() -> None:
    none, everything = np.zeros(4, dtype=bool), np.ones(4, dtype=bool)
    assert math.isnan(metrics.average_precision(SCORE, none))
    assert math.isnan(metrics.auroc(SCORE, none)) and math.isnan(metrics.auroc(SCORE, everything))
    assert math.isnan(metrics.best_f1(SCORE, none))
    assert math.isnan(metrics.recall_at_budget(SCORE, none, 0.5))
    assert math.isnan(metrics.precision_at(SCORE, WRONG, 0))
    assert math.isnan(metrics.f1_at_flags(none, none)) and metrics.f1_at_flags(none, WRONG) == 0
    nothing = np.zeros(0)
    assert math.isnan(metrics.brier(nothing, nothing.astype(bool)))
    assert math.isnan(metrics.expected_calibration_error(nothing, nothing.astype(bool)))
    assert math.isnan(metrics.paired_bootstrap(SCORE, SCORE, none, n=5).low)


def test_unusable_arrays_are_refused() -> None:
    with pytest.raises(EvidenceError, match=r"\(4,\) and \(3,\)"):
        metrics.auroc(SCORE, WRONG[:3])
    with pytest.raises(EvidenceError, match="1 of 4 scores are NaN"):
        metrics.precision_at(np.array([0.1, math.nan, 0.2, 0.3]), WRONG, 2)
    with pytest.raises(EvidenceError, match=r"must lie in 0\.\.1"):
        metrics.brier(SCORE - 0.2, WRONG)
    with pytest.raises(EvidenceError, match=r"share in 0\.\.1"):
        metrics.recall_at_budget(SCORE, WRONG, 5)


def write_dataset(folder: Path, *, rows: int = 240, noise: float = 0.1) -> int:
    """Three blobs. The manifest holds half of the rows of the truth, shuffled. Returns the number of wrong labels."""
    rng = np.random.default_rng(0)
    true = np.arange(rows) % 3
    np.save(folder / "embeddings.npy", (8 * np.eye(3)[true] + rng.normal(size=(rows, 3))).astype(np.float16))
    shown = rng.permutation(rows)[: rows // 2]
    wrong = round(noise * len(shown))
    given = np.where(np.arange(len(shown)) < wrong, (true[shown] + 1) % 3, true[shown])
    names = np.array(["ant", "bee", "cat"])
    manifest = "".join(f"r{row},{names[label]}\n" for row, label in zip(shown, given, strict=True))
    truth = "".join(f"r{row},{names[label]}\n" for row, label in enumerate(true))
    (folder / "manifest_easy.csv").write_text("path,label\n" + manifest, "utf-8")
    (folder / "truth.csv").write_text("path,true_label\n" + truth, "utf-8")
    return wrong


def benchmark(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "benchmarks.detection", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_benchmark_matches_truth_by_path_and_gives_peers_the_same_means(tmp_path: Path) -> None:
    wrong = write_dataset(tmp_path)
    out = tmp_path / "out.json"
    options = ["--features", "--epochs", 3, "--ensemble", 3, "--bootstrap", 20, "--only", "nlclean,aum"]
    result = benchmark("--data", tmp_path, *options, "--json", out)
    assert result.returncode == 0, result.stderr
    (found,) = json.loads(out.read_text("utf-8"))
    assert (found["rows"], found["wrong"]) == (120, wrong)
    nlclean, one, several = found["findings"]
    assert nlclean["visits"] == 3 * (2 * 120 + 120)  # three proxies on two thirds, one with planted errors on all
    assert one["visits"] == 3 * 120 and several["visits"] >= nlclean["visits"]
    assert nlclean["epochs"] == one["epochs"] == 3
    assert nlclean["average_precision"] > 0.9 and several["average_precision"] > 0.9
    assert set(found["differences"]["nlclean balanced"]) == {"AUM, one network", "AUM, several networks"}
    assert "| nlclean balanced | " in result.stdout and "easy (embeddings)" in result.stdout


@pytest.mark.slow
def test_audits_and_peers_on_equal_features_in_one_run(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    out = tmp_path / "out.json"
    methods = "nlclean,cleanlab_features,simifeat,knn"
    options = ["--features", "--presets", "fast", "balanced", "--epochs", 2, "--ensemble", 2, "--bootstrap", 20]
    result = benchmark("--data", tmp_path, *options, "--only", methods, "--json", out)
    assert result.returncode == 0, result.stderr
    (found,) = json.loads(out.read_text("utf-8"))
    assert set(found["differences"]) == {"nlclean fast", "nlclean balanced"}
    assert all(len(peers) == 6 for peers in found["differences"].values())
    assert all(finding["average_precision"] > 0.9 for finding in found["findings"])
    assert [cells[2] for cells in table.rows_of(found)] == ["fast", "balanced"]


def blobs(*, rows: int = 300, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors (n, 5), given labels (n,) and which are wrong (n,), of three directions."""
    rng = np.random.default_rng(0)
    true = np.arange(rows) % 3
    wrong = rng.random(rows) < noise
    x = 6 * np.eye(3, 5)[true] + rng.normal(size=(rows, 5))
    return x.astype(np.float32), (true + wrong) % 3, wrong


def test_neighbours_that_disagree_give_planted_errors_away() -> None:
    x, given, wrong = blobs()
    votes = equal_features.neighbors_votes(x, given, 3, k=10)
    np.testing.assert_allclose(votes.sum(axis=1), 1)
    assert metrics.average_precision(votes[np.arange(len(given)), given], wrong) > 0.95
    alone = equal_features.neighbors_votes(np.eye(2, dtype=np.float32), np.array([0, 1]), 2, k=1)
    assert alone.tolist() == [[0, 1], [1, 0]]  # nobody votes for himself


def test_logistic_regression_is_out_of_sample_and_cleanlab_finds_planted_errors() -> None:
    x, given, wrong = blobs()
    pred_probs = equal_features.regress(x, given, 3, folds=5, seed=0)
    np.testing.assert_allclose(pred_probs.sum(axis=1), 1)
    found = dict(peers.confident_learning(given, np.array(["ant", "bee", "cat"]), pred_probs))
    assert list(found) == ["self_confidence, prune_by_noise_rate", "normalized_margin, prune_by_class"]
    for fields in found.values():
        assert metrics.average_precision(fields["score"], wrong) > 0.95
        assert metrics.f1_at_flags(fields["flagged"], wrong) > 0.8
    # labels by chance cannot be predicted by who has not seen them
    by_chance = np.random.default_rng(1).integers(0, 3, len(given))
    assert (equal_features.regress(x, by_chance, 3, folds=5, seed=0).argmax(axis=1) == by_chance).mean() < 0.5


@pytest.mark.parametrize("method", [equal_features.cleanlab_features, equal_features.simifeat, equal_features.knn])
def test_peers_at_equal_features_find_planted_errors(method, tmp_path: Path) -> None:
    write_dataset(tmp_path)
    dataset = data.load(tmp_path, "easy", features_to=tmp_path / "x.npy")
    wrong = dataset.given != dataset.truth
    found = list(method(peers.Contest(str(dataset.manifest), str(dataset.features), {})))
    assert len({finding.method for finding in found}) == len(found) == 2
    for finding in found:
        assert metrics.average_precision(finding.score, wrong) > 0.95
        assert metrics.f1_at_flags(finding.flagged, wrong) > 0.7


def test_methods_are_known_by_name_to_those_who_do_not_load_them() -> None:
    assert set(detection.METHODS) == set(worker.METHODS)


def test_features_ask_for_an_encoder_but_where_they_are_there() -> None:
    pictures = peers.Contest("m.csv", None, {"seed": 1})
    assert equal_features.on_features(pictures).options == {"seed": 1, "proxy": "lite0"}
    for there in (peers.Contest("m.csv", "x.npy", {}), peers.Contest("m.csv", None, {"proxy": "timm:resnet18"})):
        assert equal_features.on_features(there) == there


def finding(method: str, by: str, seed: int, ap: float, **more: object) -> dict[str, object]:
    found = {"method": method, "by": by, "seed": seed, "average_precision": ap, "cpu_seconds": 10.0 + seed}
    return found | {"cpu_seconds_before": 5.0 - seed, "noise_interval": None, "ece": None} | more


def test_table_has_a_row_per_set_and_audit_beside_the_better_ranking_of_cleanlab() -> None:
    audit = {"f1_at_flags": 0.5, "best_f1": 0.6, "noise_rate": 0.2, "noise_interval": [0.1, 0.3]}
    findings = [
        *(finding("nlclean fast", "nlclean", seed, 0.8 + seed / 10, missed_at_wrong=0.25, **audit) for seed in (0, 1)),
        *(finding("cleanlab, one", "cleanlab_features", seed, 0.6) for seed in (0, 1)),
        *(finding("cleanlab, other", "cleanlab_features", seed, 0.7) for seed in (0, 1)),
        finding("kNN", "knn", 0, 0.9),
    ]
    better = [{"difference": 0.1 + seed / 10, "low": 0.05, "high": 0.2 + seed / 10} for seed in (0, 1)]
    result = {
        **{"data": "birds", "labels": "human", "features": False, "rows": 200, "wrong": 30, "findings": findings},
        "differences": {"nlclean fast": {"cleanlab, other": better}},
    }
    head, _, row = table.render([result]).splitlines()
    cells = dict(zip(head.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    assert cells == {
        "set": "birds, human",
        "wrong": "0.150",
        "audit": "fast",
        "AP": "0.850 ± 0.071",
        "F1 own / best": "0.500 ± 0.000 / 0.600 ± 0.000",
        "noise rate": "0.200 ± 0.000 (0.100-0.300)",
        "ECE": "-",
        "missed@wrong": "0.250 ± 0.000",
        "CPU s": "10 ± 1 + 5",
        "AP cleanlab, same features": "0.700 ± 0.000",
        "difference": "0.150 ± 0.071 (0.050 to 0.300)",
    }
    without = result | {"findings": findings[:2], "differences": {}}
    assert table.render([without]).splitlines()[2].endswith("| - | - |")


@pytest.mark.slow
def test_benchmark_names_what_is_missing(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    assert "known: easy" in benchmark("--data", tmp_path, "--labels", "hard").stderr
    closed = benchmark("--data", tmp_path, "--presets", "fast", "--only", "nlclean,aum")
    assert closed.returncode == 2 and "give --peer-epochs" in closed.stderr
    assert "unknown method nothing" in benchmark("--data", tmp_path, "--only", "nothing").stderr
    (tmp_path / "truth.csv").write_text("path,true_label\nr0,ant\n", "utf-8")
    result = benchmark("--data", tmp_path, "--features")
    assert result.returncode == 1 and "119 paths of manifest_easy.csv have no truth" in result.stderr

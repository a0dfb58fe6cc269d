"""The report: its schema, one row per manifest row, nulls where nothing is known, and tables that agree with it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from worlds import World, blobs

from cleanlab_lite.copies import find_copies
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.evidence.history import HELD_OUT, History
from cleanlab_lite.judge.verdict import Verdict, combine
from cleanlab_lite.manifest.manifest import Manifest, Source
from cleanlab_lite.report.reasons import why, with_context
from cleanlab_lite.report.tables import (
    build_report,
    class_table,
    history_table,
    label_score,
    noise_matrix_table,
    shrunken,
)
from cleanlab_lite.report.warnings import warnings
from cleanlab_lite.run.report import ACTIONS, ISSUES, SCHEMA, SCHEMA_VERSION, ReportTable
from cleanlab_lite.run.summary import Summary

N, K = 240, 4
UNREADABLE, UNLABELED, COPY = [7, 200], [9], 30
HOSTILE = ("[red]cat[/red]", 'dog,"quoted"\n', "\x1b[31mred\x1b[0m", "=cmd|'/c calc'!A1" + "x" * 300)


def world_with_gaps() -> tuple[World, Evidence, np.ndarray, np.ndarray]:
    """Two unreadable rows, one unlabelled, and a copy of row 0 with another label."""
    world = blobs(N, K, 0.1)
    evidence: Any = world.evidence
    history = evidence.history
    labels, trained_on = world.labels.copy(), history.trained_on.copy()
    labels[UNLABELED] = -1
    labels[COPY] = (labels[0] + 1) % K
    trained_on[:, UNREADABLE + UNLABELED] = HELD_OUT
    trained_on[:, COPY] = np.where(trained_on[:, COPY] == HELD_OUT, HELD_OUT, labels[COPY])
    loss, margin = history.loss.copy(), history.margin.copy()
    loss[:, :, UNREADABLE + UNLABELED] = margin[:, :, UNREADABLE + UNLABELED] = np.nan
    arrays = {name: getattr(evidence, name).copy() for name in ("features", "pred_probs", "logits")}
    for array in arrays.values():
        array[UNREADABLE] = np.nan
    codes = np.full(N, "", dtype="<U20")
    codes[UNREADABLE] = "truncated"
    duplicate_of = np.full(N, -1)
    duplicate_of[COPY] = 0
    return (
        world,
        Evidence(labels, K, History(loss, margin, history.predicted, trained_on), **arrays),
        codes,
        duplicate_of,
    )


def manifest_of(evidence: Evidence, classes: tuple[str, ...] = HOSTILE) -> Manifest:
    ids = np.array([f"row\n{i}[bold]" for i in range(N)])
    splits = np.where(np.arange(N) % 10 == 0, "test", np.where(np.arange(N) % 3 == 0, "", "train"))
    paths = [f"img/{i}.png" for i in range(N)]
    return Manifest(
        table=pa.table({"path": paths, "label": [classes[label] if label >= 0 else None for label in evidence.labels]}),
        source=Source("/data/manifest.csv", "csv", "label", "path"),
        modality="image",
        classes=classes,
        ids=ids,
        labels=evidence.labels,
        splits=splits,
        uris=np.array([f"/data/{path}" for path in paths]),
    )


class Case:
    """One judged manifest and all its tables."""

    def __init__(self) -> None:
        self.world, self.evidence, self.codes, self.duplicate_of = world_with_gaps()
        self.manifest = manifest_of(self.evidence)
        self.verdict: Verdict = combine(self.evidence, self.codes == "", self.duplicate_of)
        self.content = np.array([hashlib.sha256(b"%d" % (0 if i == COPY else i)).hexdigest() for i in range(N)])
        self.content[UNREADABLE] = ""
        self.errors = np.where(self.codes == "", "", "broken\x1b[2J at byte 7")
        self.duplicates = find_copies(
            Inputs(np.zeros((N, 0)), self.codes, self.errors, self.duplicate_of, 0, self.content)
        )
        self.report = build_report(
            self.manifest, self.verdict, self.duplicates, self.content, self.codes, self.errors, {"device": "cpu"}
        )
        self.rows = self.report.table.to_pylist()


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


# --- the report -----------------------------------------------------------------------------------------------------


def test_the_report_has_the_schema_and_the_rows_of_the_manifest(case):
    table = case.report.table
    assert table.schema.equals(SCHEMA)
    assert table.num_rows == N
    assert table["id"].to_pylist() == case.manifest.ids.tolist()
    assert table["path"].to_pylist() == case.manifest.table["path"].to_pylist()
    assert table["given_label"].to_pylist() == case.manifest.table["label"].to_pylist()
    assert table["split"].to_pylist() == [split or None for split in case.manifest.splits]
    assert set(table["issue"].to_pylist()) <= set(ISSUES)
    assert set(table["action"].to_pylist()) <= set(ACTIONS)


def test_what_is_not_known_is_null_and_never_nan(case):
    for column in case.report.table.columns:
        values = column.combine_chunks()
        values = values.flatten() if pa.types.is_list(values.type) else values
        if pa.types.is_floating(values.type):
            assert not np.isnan(values.drop_null().to_numpy()).any()
    for row in UNREADABLE:
        found = case.rows[row]
        known = {"id", "path", "given_label", "is_label_issue", "issue", "action", "weight", "reasons", "error"}
        assert {name for name, value in found.items() if value is not None} - {"split"} == known
        assert found["reasons"] == ["truncated"] and found["error"].startswith("broken")
        assert (found["issue"], found["action"], found["is_label_issue"]) == ("unreadable", "drop", False)
    assert case.rows[UNLABELED[0]]["given_label"] is None
    assert case.rows[UNLABELED[0]]["p_mislabel"] is None
    assert case.rows[UNLABELED[0]]["suggested_label"] is not None


def test_rows_say_what_the_verdict_says(case):
    classes = case.manifest.classes
    for i in np.flatnonzero(case.verdict.judged):
        row = case.rows[i]
        assert row["p_mislabel"] == pytest.approx(case.verdict.p_mislabel[i], abs=1e-6)
        assert row["is_label_issue"] == (case.verdict.p_mislabel[i] >= 0.5)
        assert row["predicted_label"] == classes[case.verdict.predicted[i]]
        suggested = case.verdict.suggested[i]
        assert row["suggested_label"] == (classes[suggested] if suggested >= 0 else None)
        assert row["top_labels"] == [classes[j] for j in np.argsort(-case.verdict.posterior[i], kind="stable")[:3]]
        assert row["top_probs"] == sorted(row["top_probs"], reverse=True)
        assert sum(row["top_probs"]) <= 1 + 1e-5


def test_duplicates_and_neighbors_are_named_by_id(case):
    assert case.rows[COPY]["duplicate_of"] == case.manifest.ids[0]
    assert case.rows[COPY]["content"] == case.rows[0]["content"] == hashlib.sha256(b"0").hexdigest()[:16]
    assert len({row["content"] for row in case.rows}) == N - len(UNREADABLE)  # one null, one content twice
    assert case.rows[0]["duplicate_of"] is None
    assert {case.rows[0]["issue"], case.rows[COPY]["issue"]} == {"duplicate_conflict"}
    ids = set(case.manifest.ids)
    for i in np.flatnonzero(case.verdict.judged):
        assert case.rows[i]["neighbors"] and set(case.rows[i]["neighbors"]) <= ids - {case.manifest.ids[i]}


def test_reasons_are_in_the_order_of_what_they_tell(case):
    """Facts before all; else what few flagged rows have as strongly, so the lists of rows differ in their order."""
    assert case.rows[0]["reasons"][0] == "duplicate_conflict"
    assert all(case.rows[i]["reasons"][0] == case.codes[i] for i in UNREADABLE)
    mislabelled = [row for row in case.rows if row["is_label_issue"] and row["issue"] == "mislabel"]
    firsts = {row["reasons"][0] for row in mislabelled if row["reasons"]}
    assert len(firsts) > 1


def test_every_flagged_row_has_a_sentence(case):
    rows = with_context(case.report, case.report.flagged())
    assert rows and all(1 <= len(why(row)) <= 3 for row in rows)


def test_a_column_that_no_detector_filled_is_null(case):
    columns = {name: values for name, values in case.verdict.columns.items() if name not in ("aum", "neighbors")}
    verdict = replace(case.verdict, columns=columns)
    report = build_report(case.manifest, verdict, case.duplicates, case.content, case.codes, case.errors, {})
    assert report.table.schema.equals(SCHEMA)
    assert report.table["aum"].null_count == N
    assert report.table["neighbors"].null_count == N


def test_embeddings_have_no_path(case):
    manifest = replace(case.manifest, source=replace(case.manifest.source, path_column=None), uris=None)
    report = build_report(manifest, case.verdict, case.duplicates, case.content, case.codes, case.errors, {})
    assert report.table["path"].null_count == N


def test_hostile_names_survive_a_round_trip(case, tmp_path):
    case.report.write(tmp_path / "report.parquet", run_id="0123")
    found = ReportTable.read(tmp_path / "report.parquet")
    assert found.table.to_pylist() == case.rows
    assert found.summary == case.report.summary
    assert set(found.table["given_label"].to_pylist()) == {*HOSTILE, None}


def test_flagged_rows_come_worst_first(case):
    flagged = case.report.flagged()
    assert flagged.num_rows == int((np.nan_to_num(case.verdict.p_mislabel) >= 0.5).sum()) > 0
    conflict = [issue == "duplicate_conflict" for issue in flagged["issue"].to_pylist()]
    assert conflict == sorted(conflict, reverse=True) and any(conflict)  # copies that prove an error
    score = flagged["label_score"].to_pylist()[sum(conflict) :]
    assert score == sorted(score)


# --- the score ------------------------------------------------------------------------------------------------------


def test_label_score_orders_like_p_and_within_the_same_p_like_the_ranking():
    p = np.array([0.9, 0.5, 0.5, 0.1, 0.1, np.nan])
    ranking = np.array([-3.0, -1.0, -2.0, 4.0, 5.0, np.nan])
    score = label_score(p, ranking)
    assert np.argsort(score[:5]).tolist() == [0, 2, 1, 3, 4]
    assert np.isnan(score[5])
    np.testing.assert_allclose(score[:5], 1 - p[:5], atol=2e-3)
    assert ((score[:5] >= 0) & (score[:5] <= 1)).all()


def test_label_score_of_a_report_follows_p(case):
    judged = case.verdict.judged
    score = np.array(case.report.table["label_score"].to_pylist(), dtype=float)[judged]
    p = case.verdict.p_mislabel[judged]
    clear = np.abs(p[:, None] - p) > 2e-3
    assert ((score[:, None] > score) == (p[:, None] < p))[clear].all()


# --- the summary ----------------------------------------------------------------------------------------------------


def test_the_summary_counts_what_the_report_holds(case):
    summary, table = case.report.summary, case.report.table
    assert Summary.from_dict(json.loads(json.dumps(summary.as_dict()))) == summary
    assert summary.schema_version == SCHEMA_VERSION
    assert summary.manifest.rows == N and summary.manifest.labelled == N - len(UNLABELED)
    assert summary.flagged == sum(table["is_label_issue"].to_pylist())
    for name, counts in (("issue", summary.issues), ("action", summary.actions)):
        values = table[name].to_pylist()
        assert counts == {word: values.count(word) for word in counts}
        assert sum(counts.values()) == N
    reasons = [code for row in case.rows for code in row["reasons"]]
    assert summary.reasons == {code: reasons.count(code) for code in set(reasons)}
    assert sum(pair.rows for pair in summary.confusions) == sum(
        row["suggested_label"] is not None and row["given_label"] is not None for row in case.rows
    )
    for pair in summary.confusions:
        assert pair.given != pair.suggested
        assert 0 < pair.expected <= pair.rows
    assert summary.device == "cpu"


def test_the_noise_rate_covers_the_planted_share(case):
    rate = case.report.summary.noise_rate
    assert rate.low <= case.world.wrong.mean() <= rate.high
    assert rate.estimate == pytest.approx(case.world.wrong.mean(), abs=0.03)


@pytest.mark.parametrize(
    ("method", "warned"),
    [("planted errors", False), ("two clear groups", False), ("Gaussian mixture, uncalibrated", True)],
)
def test_only_an_uncalibrated_rate_is_warned_of(case, method, warned):
    calibration = case.verdict.calibration
    verdict = replace(case.verdict, calibration=replace(calibration, rate=replace(calibration.rate, method=method)))
    inputs = Inputs(
        np.zeros((N, 1)), np.full(N, ""), np.full(N, ""), case.duplicate_of, decoded=0, content=case.content
    )
    assert any("not calibrated" in text for text in warnings(verdict, inputs, [])) == warned


# --- the other tables -----------------------------------------------------------------------------------------------


def test_classes_count_rows_and_their_rate_lies_in_its_interval(case):
    table = class_table(case.manifest, case.verdict)
    rows = table.to_pylist()
    assert [row["label"] for row in rows] == list(HOSTILE)
    judged, p = case.verdict.judged, case.verdict.p_mislabel
    for label, row in enumerate(rows):
        mine = judged & (case.evidence.labels == label)
        assert row["rows"] == mine.sum()
        assert row["flagged"] == (p[mine] >= 0.5).sum()
        overall = p[judged].mean()
        assert min(p[mine].mean(), overall) - 1e-9 <= row["noise_rate"] <= max(p[mine].mean(), overall) + 1e-9
        assert 0 <= row["low"] <= row["noise_rate"] <= row["high"] <= 1
    assert table.to_pylist() == [asdict(each) for each in case.report.summary.classes]


def test_rates_of_small_classes_are_drawn_towards_the_rate_of_all():
    rate, rows = np.array([0.5, 0.5, 0.1, 0.1, 0.3]), np.array([4, 4000, 4000, 4000, 0])
    shrunk = shrunken(rate, rate * (1 - rate) / np.maximum(rows, 1), rows)
    assert shrunk[1] == pytest.approx(0.5, abs=0.01) and shrunk[2] == pytest.approx(0.1, abs=0.01)
    assert 0.25 < shrunk[0] < 0.45 and np.isnan(shrunk[4])
    rng = np.random.default_rng(0)
    few = rng.binomial(20, 0.1, 50) / 20  # classes that are alike: what differs is chance
    alike = shrunken(few, np.full(50, 0.1 * 0.9 / 20), np.full(50, 20))
    assert np.abs(alike - 0.1).max() < 0.05 < np.abs(few - 0.1).max()


def test_a_class_whose_wrong_rows_are_known_has_their_share():
    """20 of 149 rows that are wrong for certain are 13 %, whatever the other classes have."""
    rate, rows = np.array([20, 7, 10]) / 149, np.full(3, 149)
    assert shrunken(rate, np.zeros(3), rows) == pytest.approx(rate)


def test_a_class_without_rows_has_no_rate(case):
    manifest = replace(case.manifest, classes=(*HOSTILE, "nobody"))
    last = class_table(manifest, case.verdict).to_pylist()[-1]
    assert last == {"label": "nobody", "rows": 0, "flagged": 0, "noise_rate": None, "low": None, "high": None}


def test_the_noise_matrix_spreads_every_judged_row(case):
    table = noise_matrix_table(case.manifest, case.verdict).to_pandas()
    total = case.verdict.judged.sum()
    assert table["expected_rows"].sum() == pytest.approx(total, abs=0.05 * K * K)
    assert (table.groupby("true_label")["probability"].sum() <= 1 + 1e-6).all()
    assert (table.groupby("true_label")["probability"].sum() > 0.98).all()
    kept = table[table["true_label"] == table["given_label"]]["expected_rows"].sum()
    assert kept == pytest.approx((1 - case.verdict.p_mislabel[case.verdict.judged]).sum(), rel=1e-3)


def test_history_holds_a_curve_per_row_and_null_where_nothing_was_seen(case):
    table = history_table(case.manifest, case.evidence)
    epochs = case.evidence.history.shape[1]
    assert table["id"].to_pylist() == case.manifest.ids.tolist()
    history, labels = case.evidence.history, case.evidence.labels
    for name in ("loss", "margin"):
        assert table[name].type == pa.list_(pa.float32(), epochs)
        curves = table[name].to_pylist()
        assert curves[UNREADABLE[0]] == [None] * epochs
        row = next(i for i in range(N) if case.verdict.judged[i])
        seen = history.trained_on[:, row] == labels[row]
        expected = getattr(history, name)[seen, :, row].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(curves[row], expected, rtol=1e-5)

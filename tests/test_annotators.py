"""Audits of what several annotators have labelled: who is reliable, what the items are, and where it is shown."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_world import call
from test_crowd import voters

import cleanlab_lite as cl
from cleanlab_lite.crowd import find_consensus
from cleanlab_lite.measure import average_precision
from cleanlab_lite.report.page.html import build_page
from cleanlab_lite.run import RunFolder
from cleanlab_lite.run.columns import numbers

QUALITIES = [0.9, 0.8, 0.65, 0.25, 0.1]  # the fourth says anything, the fifth mostly something wrong
CLASSES = np.array(["cat", "dog", "owl", "pig"])
NAMES = np.array(["ann", "bob", "cy", "spam", "<b>eve"])


def numbered(column: pa.ChunkedArray) -> np.ndarray:
    return CLASSES.searchsorted(np.array(column.to_pylist()))


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A finished run over a row per item and annotator, its votes, and the truth."""
    here = tmp_path_factory.mktemp("crowd")
    votes, truth = voters(QUALITIES, n=700, k=4, seed=4)
    rng = np.random.default_rng(5)
    vectors = (1.6 * np.eye(4, 12)[truth] + rng.normal(size=(700, 12)) * 0.8).astype(np.float32)
    table = {
        "id": [f"i{row:03}" for row in votes.item.tolist()],
        "annotator": NAMES[votes.annotator].tolist(),
        "label": CLASSES[votes.label].tolist(),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors[votes.item].ravel()), 12),
    }
    pq.write_table(pa.table(table), here / "votes.parquet")
    report = cl.audit(here / "votes.parquet", preset="fast", out=here / "run", progress=False)
    return report, votes, truth


def test_qualities_come_back_least_reliable_first(audited):
    report, votes, truth = audited
    found = {each.annotator: each for each in report.summary.annotators}
    assert [each.quality for each in report.summary.annotators] == sorted(each.quality for each in found.values())
    for number, name in enumerate(NAMES):
        mine = votes.annotator == number
        real = (votes.label == truth[votes.item])[mine].mean()
        assert found[name].quality == pytest.approx(real, abs=0.05)
        assert found[name].votes == mine.sum()
        assert found[name].low < found[name].quality < found[name].high
    table = pq.read_table(report.folder / "annotators.parquet")
    assert table["annotator"].to_pylist() == list(found)
    assert table["mistakes"][0].as_py()[0]["votes"] == found["<b>eve"].mistakes[0].votes


def test_the_consensus_beats_the_votes_alone_which_beat_the_majority(audited):
    report, votes, truth = audited
    table = pq.read_table(report.folder / "consensus.parquet")
    assert table["id"].to_pylist() == report.table["id"].to_pylist()
    given, label = (
        CLASSES.searchsorted(np.array(table[f"{name}_label"].to_pylist())) for name in ("given", "consensus")
    )
    alone = np.asarray(find_consensus(votes, len(truth), 4)).argmax(axis=1)
    shares = [(each == truth).mean() for each in (given, alone, label)]
    assert shares[0] + 0.02 < shares[1] < shares[2] - 0.02, shares
    agree = np.bincount(votes.item, votes.label == label[votes.item]) / 3
    np.testing.assert_allclose(table["agreement"].to_numpy(), agree, atol=1e-6)
    assert set(table["votes"].to_pylist()) == {3}


def test_wrong_majorities_are_what_is_suspected(audited):
    report, votes, truth = audited
    given = numbered(report.table["given_label"])
    p, wrong = numbers(report.table, "p_mislabel"), given != truth
    assert average_precision(1 - p, wrong) > 0.8
    flagged = np.asarray(report.table["is_label_issue"])
    assert wrong[flagged].mean() > 0.75 and flagged[wrong].mean() > 0.75
    rate = report.summary.noise_rate
    assert rate.estimate == pytest.approx(wrong.mean(), abs=0.05)
    assert rate.low <= wrong.mean() <= rate.high
    reasons = report.summary.reasons
    assert reasons["outweighed"] > 20
    disagree = [len(set(votes.label[votes.item == row].tolist())) > 1 for row in range(len(truth))]
    assert reasons["annotators_disagree"] == sum(disagree)


def test_terminal_json_and_page_show_them(audited, capsys):
    report, *_ = audited
    shown = call(capsys, "report", str(report.folder))
    assert "Annotators, least reliable first" in shown.out and "<b>eve" in shown.out
    said = json.loads(call(capsys, "report", str(report.folder), "--json").out)
    assert said["annotators"][0]["annotator"] == "<b>eve"
    page = build_page(RunFolder(report.folder)).decode()
    assert "<h2>Annotators</h2>" in page
    assert "&lt;b&gt;eve" in page and "<b>eve" not in page.partition('id="data">')[0]


def test_an_export_has_every_item_once_with_its_votes(audited, capsys, tmp_path):
    report, votes, truth = audited
    target = tmp_path / "corrected.parquet"
    assert call(capsys, "export", str(report.folder), "--policy", "correct", "--output", str(target)).code == 0
    table = pq.read_table(target)
    assert len(set(table["id"].to_pylist())) == len(table) >= 0.9 * len(truth)
    cast = {
        name: json.loads(cell) for name, cell in zip(table["id"].to_pylist(), table["votes"].to_pylist(), strict=True)
    }
    mine = votes.item == 0
    assert cast["i000"] == dict(zip(NAMES[votes.annotator[mine]], CLASSES[votes.label[mine]], strict=True))
    label = numbered(table["label"])
    rows = np.array([int(name[1:]) for name in table["id"].to_pylist()])
    given = numbered(report.table["given_label"])
    assert (label == truth[rows]).mean() > (given == truth).mean() + 0.02
    patch = call(capsys, "export", str(report.folder), "--format", "patch", "--output", str(tmp_path / "p.jsonl"))
    assert patch.code == 2 and "most annotators say" in patch.err


def test_a_manifest_without_annotators_has_none_of_it(tmp_path, audited):
    report, *_ = audited
    votes = pq.read_table(report.folder.parent / "votes.parquet")
    single = votes.select(["label", "embedding"]).slice(0, 300)
    pq.write_table(single, tmp_path / "m.parquet")
    found = cl.audit(tmp_path / "m.parquet", preset="fast", out=tmp_path / "run", progress=False)
    assert found.summary.annotators == []
    assert not {"annotators.parquet", "consensus.parquet"} & {path.name for path in found.folder.iterdir()}
    assert not {"outweighed", "annotators_disagree"} & set(found.summary.reasons)


def test_verify_audits_parts_with_the_votes_on_their_rows(audited, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NLCLEAN_CACHE_DIR", str(tmp_path / "cache"))
    done = call(capsys, "verify", audited[0].folder, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["measured_on"] == "agreeing" and found["rows"] == 525 and 50 < found["test_rows"] < 175

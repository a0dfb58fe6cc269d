"""The table that cleanlab's `Datalab.get_issues("label")` returns, a row per row of the manifest, with the ids."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from cleanlab_lite.manifest.manifest import Manifest

COLUMNS = ("id", "is_label_issue", "label_score", "given_label", "predicted_label")


def write(manifest: Manifest, table: pa.Table, target: Path) -> list[str]:
    """CSV or Parquet, by the ending of `target`."""
    issues = table.select(COLUMNS).replace_schema_metadata(None)
    if target.suffix == ".parquet":
        pq.write_table(issues, target, compression="zstd")
    else:
        pa.csv.write_csv(issues, target)
    return []

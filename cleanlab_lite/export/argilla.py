"""Records for Argilla, most suspicious first: a JSON object a line, in the form that `argilla.Record.from_dict` takes.

The dataset needs a field `image` (pictures) or `text` (else: the path and what part of the file, or the id), a label
question `label`, and metadata properties for what it should filter by. The suggestion is the correction on offer, else
the most probable class, with its probability.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.run.report import by_suspicion

METADATA = ("split", "given_label", "p_mislabel", "label_score", "issue", "action")
LABELS = ("suggested_label", "suggestion_confidence", "top_labels", "top_probs")


def write(manifest: Manifest, table: pa.Table, target: Path) -> list[str]:
    """Write a line per row of the report."""
    rows = table.select(["id", *METADATA, *LABELS]).to_pylist()
    uris = manifest.uris.tolist() if manifest.uris is not None else [""] * len(rows)
    field = "image" if manifest.modality == "image" else "text"
    with target.open("w", encoding="utf-8") as file:
        for position in by_suspicion(table).tolist():
            row = rows[position]
            label, score = row["suggested_label"], row["suggestion_confidence"]
            if label is None and row["top_labels"]:
                label, score = row["top_labels"][0], row["top_probs"][0]
            suggestion = {"value": label, "score": score, "agent": "nlclean"}
            part = "" if manifest.segments is None else f" ({manifest.segment(position)})"
            record = {
                "id": row["id"],
                "fields": {field: uris[position] + part if uris[position] else row["id"]},
                "metadata": {name: row[name] for name in METADATA if row[name] is not None},
                "suggestions": {} if label is None else {"label": suggestion},
            }
            file.write(json.dumps(record) + "\n")
    return []

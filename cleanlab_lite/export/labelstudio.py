"""Tasks for Label Studio, most suspicious first: a JSON list to import, with two predictions for each task.

The prediction of model version "given" is the label of the manifest, scored by label_score; that of "nlclean" is the
label that the proxies hold most probable, with its probability. The labelling configuration needs
`<Choices name="label" toName="image">` (`toName="audio"` for sounds), and a `<Choice>` per class. Local files are named
the way Label Studio serves them, relative to LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT. It plays whole files: a task about
a part of one says which part in `segment`. It does not look into archives.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from cleanlab_lite.archives import member
from cleanlab_lite.export.files import refuse_empty
from cleanlab_lite.files import is_remote
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.run.report import by_suspicion
from cleanlab_lite.text import counted

COLUMNS = ("id", "split", "given_label", "suggested_label", "p_mislabel", "issue", "action", "reasons")


def write(manifest: Manifest, table: pa.Table, target: Path) -> list[str]:
    """Write the tasks. Left out are rows with nothing to show: the file cannot be read, or is inside an archive."""
    media = {"image": "image", "sound": "audio"}[manifest.modality]
    assert manifest.uris is not None
    uris = manifest.uris.tolist()
    local = [os.path.dirname(uri) for uri in uris if uri and not is_remote(uri)]
    root = os.path.commonpath(local) if local else ""
    rows = table.select([*COLUMNS, "label_score", "top_labels", "top_probs", "error"]).to_pylist()
    tasks, archived = [], 0
    for position in by_suspicion(table).tolist():
        row, uri = rows[position], uris[position]
        if not uri or row["error"] is not None:
            continue
        if member(uri) is not None:
            archived += 1
            continue
        address = uri if is_remote(uri) else f"/data/local-files/?d={_quoted(uri, root)}"
        data = {media: address} | {name: row[name] for name in COLUMNS}
        if manifest.segments is not None:
            data["segment"] = str(manifest.segment(position))
        predictions = [_prediction("given", row["given_label"], row["label_score"], media)]
        if row["top_labels"]:
            predictions.append(_prediction("nlclean", row["top_labels"][0], row["top_probs"][0], media))
        tasks.append(
            {
                "data": data,
                "predictions": [prediction for prediction in predictions if prediction],
            }
        )
    target.write_text("[" + ",\n".join(map(json.dumps, tasks)) + "]\n", "utf-8")
    notes = [f"files are named relative to LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root}"] if local else []
    unreadable = len(rows) - len(tasks) - archived
    if unreadable:
        notes.append(f"left out: {counted(unreadable, 'row')} without a readable file")
    if archived:
        notes.append(
            f"left out: {counted(archived, 'row')} in archives: Label Studio does not look into them, unpack them first"
        )
    refuse_empty(len(tasks), notes)
    return notes


def _quoted(path: str, root: str) -> str:
    return quote(Path(os.path.relpath(path, root)).as_posix())


def _prediction(version: str, label: str | None, score: float | None, media: str) -> dict[str, Any] | None:
    if label is None:
        return None
    choice = {"from_name": "label", "to_name": media, "type": "choices", "value": {"choices": [label]}}
    return {"model_version": version, "result": [choice]} | ({} if score is None else {"score": score})

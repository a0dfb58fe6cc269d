"""Records for Argilla, most suspicious first: a JSON object a line, in the form that `argilla.Record.from_dict` takes.

The dataset needs a field `image` (pictures) or `text` (else: the path and what part of the file, or the id), a label
question `label`, and metadata properties for what it should filter by. The suggestion is the correction on offer, else
the most probable class, with its probability.

Argilla's client opens the pictures when it makes records of the lines: files by their path, the web by its address. It
does not look into archives, so a picture inside one is in its line, as a `data:` address.
"""

from __future__ import annotations

import base64
import json
import mimetypes
import os
from pathlib import Path

import pyarrow as pa

from cleanlab_lite.archives import member
from cleanlab_lite.data.media import read_bytes
from cleanlab_lite.errors import DecodeError
from cleanlab_lite.export.files import refuse_empty
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.run.report import by_suspicion
from cleanlab_lite.text import counted

METADATA = ("split", "given_label", "p_mislabel", "label_score", "issue", "action")
LABELS = ("suggested_label", "suggestion_confidence", "top_labels", "top_probs")
WEB = ("http://", "https://")


def write(manifest: Manifest, table: pa.Table, target: Path) -> list[str]:
    """Write a line per row of the report. Pictures that cannot be read are left out: the client would refuse them."""
    rows = table.select(["id", "error", *METADATA, *LABELS]).to_pylist()
    uris = manifest.uris.tolist() if manifest.uris is not None else [""] * len(rows)
    field = "image" if manifest.modality == "image" else "text"
    left_out = 0
    with target.open("w", encoding="utf-8") as file:
        for position in by_suspicion(table).tolist():
            row = rows[position]
            label, score = row["suggested_label"], row["suggestion_confidence"]
            if label is None and row["top_labels"]:
                label, score = row["top_labels"][0], row["top_probs"][0]
            suggestion = {"value": label, "score": score, "agent": "nlclean"}
            if field == "image":
                shown = None if row["error"] is not None else _picture(uris[position])
            else:
                part = "" if manifest.segments is None else f" ({manifest.segment(position)})"
                shown = uris[position] + part if uris[position] else row["id"]
            if shown is None:
                left_out += 1
                continue
            record = {
                "id": row["id"],
                "fields": {field: shown},
                "metadata": {name: row[name] for name in METADATA if row[name] is not None},
                "suggestions": {} if label is None else {"label": suggestion},
            }
            file.write(json.dumps(record) + "\n")
    notes = [f"left out: {counted(left_out, 'row')} without a picture that Argilla can open"] if left_out else []
    refuse_empty(len(rows) - left_out, notes)
    return notes


def _picture(uri: str) -> str | None:
    """What Argilla's client opens; None where it would fail."""
    place = member(uri)
    if place is None:
        return uri if uri.startswith(WEB) or os.path.isfile(uri) else None
    kind = mimetypes.guess_type(place.name)[0] or "image/png"
    try:
        return f"data:{kind};base64,{base64.b64encode(read_bytes(uri)).decode()}"
    except DecodeError:
        return None

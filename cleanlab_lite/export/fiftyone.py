"""A folder that FiftyOne imports as `fiftyone.types.FiftyOneImageClassificationDataset`: `data/` and `labels.json`.

Every picture is in it under its given label, with the verdict as attributes of the label: `mistakenness` is p_mislabel,
`sample_id` the id of the row (`id` is that of the label in FiftyOne's database).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa

from cleanlab_lite.export.files import Names, Placer, file_names, local_uris
from cleanlab_lite.export.formats import Link
from cleanlab_lite.manifest.manifest import Manifest

ATTRIBUTES = {  # attribute -> column of the report; none may be in RESERVED
    "mistakenness": "p_mislabel",
    "suggested_label": "suggested_label",
    "suggestion_confidence": "suggestion_confidence",
    "issue": "issue",
    "action": "action",
    "split": "split",
    "sample_id": "id",
}


def write(manifest: Manifest, table: pa.Table, target: Path, link: Link) -> list[str]:
    """Link or copy the files, and write the labels. Pictures are named by what stands before the ending of the file."""
    uris = local_uris(manifest)
    names, placer = Names(), Placer(target / "data", link)
    labels: dict[str, dict | None] = {}
    columns = zip(*(table[column].to_pylist() for column in ATTRIBUTES.values()), strict=True)
    for uri, own, label, cells in zip(uris, file_names(manifest, uris), manifest.labels.tolist(), columns, strict=True):
        name = names.claim("", own, by_stem=True)
        if not placer.place(uri, name):
            continue
        attributes = {key: cell for key, cell in zip(ATTRIBUTES, cells, strict=True) if cell is not None}
        labels[os.path.splitext(name)[0]] = {"label": label, "attributes": attributes} if label >= 0 else None
    document = {"classes": list(manifest.classes), "labels": labels}
    (target / "labels.json").write_text(json.dumps(document), "utf-8")
    return placer.notes()

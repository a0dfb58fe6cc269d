"""A folder that `nlclean encode` wrote: vectors whose files are still known."""

from __future__ import annotations

import os
from pathlib import Path

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.manifest.encoded import facts_of, read_encoded
from cleanlab_lite.manifest.manifest import PLURALS
from cleanlab_lite.manifest.readers.base import Rows


def read_vectors(folder: str) -> Rows | None:
    """Its rows; None where it is no such folder. Raises ManifestError where it is not complete."""
    facts = facts_of(Path(folder))
    if facts is None:
        return None
    table, vectors, encoded = read_encoded(Path(folder), facts)
    if (encoded.codes != "").all():
        raise ManifestError(f"{folder!r}: not one of the {len(table):,} files could be read: {encoded.errors[0]}")
    known = {name: name for name in ("id", "path", "label", "split") if name in table.column_names}
    return Rows(
        folder,
        table,
        "parquet",
        ((os.path.abspath(folder), len(table)),),
        known=known,
        features=vectors,
        encoded=encoded,
        classes={"label": tuple(facts.classes)},
        notes=(f"vectors of {PLURALS[facts.modality]} by {facts.encoder}, made by nlclean encode",),
    )

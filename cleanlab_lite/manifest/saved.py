"""A `Manifest` saved whole in a run folder, to be read without the user's files."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import json_object, read_table, reading
from cleanlab_lite.manifest.manifest import Manifest, Source, TextStyle
from cleanlab_lite.votes import Votes

SAVED = b"nlclean.manifest"  # metadata key
SAVED_VERSION = 1
PREFIX = "__nlclean_"  # columns that are not the user's


def save_manifest(manifest: Manifest, path: str | Path) -> None:
    """Save everything but `features` as one Parquet file (zstd), to be read without the user's files."""
    arrays = {"id": manifest.ids, "label": manifest.labels, "split": manifest.splits}
    optional = {"uri": manifest.uris, "line": manifest.lines}
    arrays |= {name: array for name, array in optional.items() if array is not None}
    if manifest.segments is not None:
        arrays |= {"offset": manifest.segments[:, 0], "duration": manifest.segments[:, 1]}
    if manifest.votes is not None:
        arrays |= _per_row(manifest.votes, len(manifest))
    table = manifest.table
    for name, array in arrays.items():
        table = table.append_column(PREFIX + name, pa.array(array.tolist()))
    facts = {
        "version": SAVED_VERSION,
        "source": asdict(manifest.source),
        "modality": manifest.modality,
        "classes": manifest.classes,
        "fingerprint": manifest.fingerprint,
    }
    if manifest.votes is not None:
        facts["annotators"] = manifest.votes.annotators
    metadata = {**(table.schema.metadata or {}), SAVED: json.dumps(facts).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd", write_page_checksum=True)


def load_manifest(path: str | Path) -> Manifest:
    """Read what `save_manifest` wrote; `features` is None, `fingerprint` is that of the saved manifest.

    Raises ManifestError when the file is not a saved manifest, or one of a newer version.
    """
    with _reading(path):
        table, facts = _read_saved(path)
        metadata = {name: value for name, value in (table.schema.metadata or {}).items() if name != SAVED}
        own = [name for name in table.column_names if name.startswith(PREFIX)]
        arrays = {name.removeprefix(PREFIX): table[name].to_pylist() for name in own}
        return Manifest(
            table=table.drop_columns(own).replace_schema_metadata(metadata or None),
            source=_source(facts),
            modality=facts["modality"],
            classes=tuple(facts["classes"]),
            ids=np.array(arrays["id"], dtype=str),
            labels=np.array(arrays["label"], dtype=np.int64),
            splits=np.array(arrays["split"], dtype=str),
            uris=np.array(arrays["uri"], dtype=str) if "uri" in arrays else None,
            segments=np.array([arrays["offset"], arrays["duration"]]).T if "offset" in arrays else None,
            lines=np.array(arrays["line"], dtype=np.int64) if "line" in arrays else None,
            votes=_votes(facts["annotators"], arrays) if "annotators" in facts else None,
            _fingerprint=[facts["fingerprint"]],
        )


def _per_row(votes: Votes, n: int) -> dict[str, np.ndarray]:
    """Columns of n lists: numbers of annotators, and of the classes that they have voted for."""
    ends = np.searchsorted(votes.item, np.arange(1, n))
    lists = np.empty((2, n), dtype=object)
    for side, values in enumerate((votes.annotator, votes.label)):
        lists[side] = [part.tolist() for part in np.split(values, ends)]
    return {"annotators": lists[0], "votes": lists[1]}


def _votes(annotators: list[str], arrays: dict[str, list[Any]]) -> Votes:
    item = np.repeat(np.arange(len(arrays["votes"])), [len(each) for each in arrays["votes"]])
    who, label = (np.array([x for each in arrays[name] for x in each], np.int64) for name in ("annotators", "votes"))
    return Votes(tuple(annotators), item, who, label)


@dataclass(frozen=True)
class Lines:
    """Of a saved manifest, what places its rows."""

    source: Source
    ids: pa.ChunkedArray  # n strings
    numbers: np.ndarray | None  # (n,) int64 lines of the file, from 1; None where it has none


def load_lines(path: str | Path) -> Lines:
    """Without reading the user's columns. Raises like `load_manifest`."""
    with _reading(path):
        table, facts = _read_saved(path, [PREFIX + "id", PREFIX + "line"])
        numbers = table[PREFIX + "line"] if PREFIX + "line" in table.column_names else None
        return Lines(
            _source(facts), table[PREFIX + "id"], None if numbers is None else np.asarray(numbers, dtype=np.int64)
        )


def _reading(path: str | Path) -> AbstractContextManager[None]:
    return reading(f"cannot read {str(path)!r}", ManifestError, hint="run `nlclean audit` again")


def _read_saved(path: str | Path, columns: list[str] | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """The table, or those of `columns` that it has, and the facts that go with it. To be called within `_reading`."""
    table = read_table(path, columns)
    metadata = table.schema.metadata or {}
    if SAVED not in metadata:
        raise ManifestError(f"{str(path)!r} is not a manifest saved by nlclean", hint="run `nlclean audit` on it")
    facts = json_object(metadata[SAVED])
    if facts["version"] > SAVED_VERSION:
        raise ManifestError(
            f"{str(path)!r} has version {facts['version']}, this nlclean reads up to {SAVED_VERSION}",
            hint="upgrade nlclean",
        )
    return table, facts


def _source(facts: dict[str, Any]) -> Source:
    found = facts["source"]
    names = ("notes", "segment_columns", "label_columns", "vote_columns")
    lists = {name: tuple(found.get(name, ())) for name in names}
    pairs = tuple((cell, name) for cell, name in found.get("label_names", ()))
    style: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in found.get("style", {}).items()
    }
    return Source(**found | lists | {"label_names": pairs, "style": TextStyle(**style)})

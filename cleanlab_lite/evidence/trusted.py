"""Rows whose right label people have decided, as anchors of an audit: a class for each of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from cleanlab_lite.addresses import shown
from cleanlab_lite.errors import ConfigError, ManifestError
from cleanlab_lite.evidence.decisions import read_journal, settle
from cleanlab_lite.evidence.evidence import NO_CLASS, NOBODY
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.readers.tabular import READERS
from cleanlab_lite.text import counted

JOURNAL = ".jsonl"


def read_trusted(path: Path, manifest: Manifest) -> tuple[np.ndarray, list[str]]:
    """The decided class of every row, `NO_CLASS` where its label is wrong and there is no other, else `NOBODY`.

    Args:
        path: a journal of `nlclean review`, or a table (CSV, TSV, Parquet) with columns of ids and of right labels,
            called `id` and `label` or like those of the manifest; an empty label says that none is right.

    Returns:
        The classes (n,) int64, and a sentence for everything that was passed over.

    Raises:
        ConfigError: it cannot be read, or says nothing about any row of the manifest.
    """
    decided = np.full(len(manifest), NOBODY, dtype=np.int64)
    place = {id: row for row, id in enumerate(manifest.ids.tolist())}
    number = {name: k for k, name in enumerate(manifest.classes)}
    elsewhere, unknown = 0, set()
    for id, label, doubted in _journal(path) if path.suffix.lower() == JOURNAL else _table(path, manifest):
        row = place.get(id, place.get(shown(id)))
        if row is None:
            elsewhere += 1
        elif label is not None and label not in number:
            unknown.add(label)
        elif label is not None:
            decided[row] = number[label]
        elif doubted is None or number.get(doubted) == manifest.labels[row]:
            decided[row] = NO_CLASS
    if (decided == NOBODY).all():
        hint = "are the ids and labels those of this manifest?" if elsewhere or unknown else "nothing is decided in it"
        raise ConfigError(f"{path} says nothing about a row of {manifest.source.path}", hint=hint)
    notes = [f"passed over, not in this manifest: {counted(elsewhere, 'decided row')}"] if elsewhere else []
    if unknown:
        names = ", ".join(repr(name) for name in sorted(unknown)[:3])
        notes.append(f"decided labels that are no class of this manifest are passed over: {names}")
    return decided, notes


def _journal(path: Path) -> Iterable[tuple[str, str | None, str | None]]:
    """id, the right label or None, and then the label that was wrong."""
    for id, decision in settle(read_journal(path)).items():
        if decision.action == "keep" and decision.given_label is not None:
            yield id, decision.given_label, None
        elif decision.action == "relabel":
            yield id, decision.label, None
        elif decision.action == "drop" and decision.given_label is not None:
            yield id, None, decision.given_label


def _table(path: Path, manifest: Manifest) -> Iterable[tuple[str, str | None, None]]:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: unknown ending {path.suffix!r}, expected {JOURNAL} or {', '.join(READERS)}")
    try:
        table = reader([str(path)]).table
    except (ManifestError, OSError) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'message', error)}") from error
    source = manifest.source
    wanted = {
        "of ids": (source.id_column or source.path_column, "id"),
        "of labels": (source.label_column, "label"),
    }
    found = {what: [name for name in names if name in table.column_names] for what, names in wanted.items()}
    if lacking := [what for what, names in found.items() if not names]:
        raise ConfigError(
            f"{path} has no column {' and '.join(lacking)}; it has {', '.join(table.column_names)}",
            hint="name them 'id' and 'label', or like those of the manifest",
        )
    ids, labels = (table[names[0]].cast(pa.string()).to_pylist() for names in found.values())
    return ((id or "", label or None, None) for id, label in zip(ids, labels, strict=True))

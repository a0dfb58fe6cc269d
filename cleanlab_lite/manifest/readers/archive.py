"""Archives: WebDataset shards, and tables that lie in a `.zip` or `.tar` beside their files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cleanlab_lite.archives import Member, names_in, read_member, uri_of
from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import json_value, reading
from cleanlab_lite.manifest.readers.base import WHOLE_ARCHIVE, Rows, check_rows, ending, json_table, title
from cleanlab_lite.manifest.sniff import MEDIA_ENDINGS
from cleanlab_lite.manifest.splits import file_split, split_word
from cleanlab_lite.text import counted, listing

CVAT = "annotations.xml"  # in an export of CVAT
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather", ".json")
LABELS = (".cls", ".json", ".txt")  # of WebDataset
LONGEST = 1 << 20  # bytes of a label or the JSON of a sample


@dataclass(frozen=True)
class _Sample:
    """The files of WebDataset with one key."""

    key: str
    files: dict[str, str]  # ending -> name in the archive
    archive: str

    @property
    def media(self) -> str:
        """The picture or sound; "" where there is none."""
        return next((name for end, name in self.files.items() if ending(f"x{end}") in MEDIA_ENDINGS), "")

    def end(self, kind: str) -> str:
        """The ending of its label: `.cls`, or `.label.cls` where it is the only one so; "" where there is none."""
        found = [end for end in self.files if end.endswith(kind)]
        return kind if kind in found else found[0] if len(found) == 1 else ""


def table_in(archive: str) -> str:
    """URI of the one table in an archive, the nearest to its root; "" where it has none, or is a WebDataset."""
    with reading(f"cannot read {archive!r}", ManifestError, hint=WHOLE_ARCHIVE):
        names = names_in(archive)
    tables = [name for name in names if ending(name) in TABLES or os.path.basename(name) == CVAT]
    if not tables or len(tables) > len(names) / 4:
        return ""
    depth = min(name.count("/") for name in tables)
    nearest = [name for name in tables if name.count("/") == depth]
    known = [name for name in nearest if os.path.splitext(os.path.basename(name))[0] in ("metadata", "manifest")]
    chosen = known or nearest
    if len(chosen) > 1:
        places = [uri_of(archive, name) for name in chosen]
        raise ManifestError(
            f"{archive!r} holds several tables: {listing(chosen, 5)}", hint=f"name one of them: '{places[0]}'"
        )
    return uri_of(archive, chosen[0])


def read_shards(paths: Sequence[str]) -> Rows | None:
    """A row per sample of WebDataset shards; None where they are none. Nothing is unpacked."""
    names: dict[str, list[str]] = {}
    for path in paths:
        with reading(f"cannot read {path!r}", ManifestError, hint=WHOLE_ARCHIVE):
            names[path] = names_in(path)
    samples = [sample for path in paths for sample in _samples(path, names[path])]
    labelled = sum(bool(sample.media) and any(map(sample.end, LABELS)) for sample in samples)
    if samples and labelled >= len(samples) / 2:
        return _webdataset(paths, samples)
    return None


def _samples(archive: str, names: Sequence[str]) -> list[_Sample]:
    """Files that share what stands before the first dot of their names."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        folder, slash, base = name.rpartition("/")
        stem, dot, end = base.partition(".")
        if dot:
            found.setdefault(f"{folder}{slash}{stem}", {})[f".{end.lower()}"] = name
    return [_Sample(key, files, archive) for key, files in found.items()]


def _webdataset(paths: Sequence[str], samples: Sequence[_Sample]) -> Rows:
    with_media = [sample for sample in samples if sample.media]
    records = []
    named = False
    both: set[tuple[str, str]] = set()  # what .cls says, and the label in .json
    for sample in with_media:
        record: dict[str, Any] = {"__key__": sample.key, "path": uri_of(sample.archive, sample.media)}
        if facts := sample.end(".json"):
            said = json_value(_text(sample, facts))
            record |= {key: value for key, value in said.items() if key not in record} if isinstance(said, dict) else {}
        if label := sample.end(".cls") or sample.end(".txt"):
            named = True
            text = _text(sample, label).strip()
            if label.endswith(".cls") and "label" in record:
                both.add((text, str(record["label"])))
            record.setdefault("label", text)
        records.append(record)
    check_rows(paths, len(records))
    if len({cls for cls, _ in both}) < len(both) or len({label for _, label in both}) < len(both):
        raise ManifestError(
            f"{title(paths)!r}: the labels in .cls and in .json do not agree: {listing(sorted(map(str, both)), 3)}",
            hint="leave one of them out",
        )
    keys = {record["__key__"] for record in records}
    known = {"path": "path"} | ({"label": "label"} if named else {})
    known |= {"id": "__key__"} if len(keys) == len(records) else {}
    left = len(samples) - len(with_media)
    note = f"WebDataset: {counted(len(records), 'sample')} of {counted(len(paths), 'archive')}" + (
        f"; left out: {left:,} without a picture or sound" if left else ""
    )
    folders = ((os.path.dirname(os.path.abspath(paths[0])), len(records)),)
    count = Counter(sample.archive for sample in with_media)
    return Rows(
        title(paths),
        json_table(records, title(paths)),
        "jsonl",
        folders,
        known=known,
        file_splits=tuple((split_word(file_split(path)), count[path]) for path in paths),
        notes=(note,),
    )


def _text(sample: _Sample, end: str) -> str:
    name = sample.files[end]
    with reading(f"cannot read {name!r} in {sample.archive!r}", ManifestError, hint=WHOLE_ARCHIVE):
        data = read_member(Member(sample.archive, name))
        if len(data) > LONGEST:
            raise ValueError(f"it has {len(data)} bytes, more than a label or the facts of a sample can have")
        return data.decode("utf-8-sig")

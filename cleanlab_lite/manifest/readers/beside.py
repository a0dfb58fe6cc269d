"""A table at the top of class folders: whether both say the same of the files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.readers.base import Rows, texts, unpadded
from cleanlab_lite.manifest.roles import called, spelled
from cleanlab_lite.text import counted

NAMES_LOOKED_AT = 1000  # rows whose cells may name files
MOST_OTHER = 0.3  # of the files in numbered folders have another label, where the folders could be classes
COUNTED = re.compile(r"[\W\d_]+")  # what numbers folders of one name: images_001


def naming_files(table: Rows, files: set[str]) -> float:
    """The share of the first cells of a column that are called like files, with or without endings; the largest."""
    few = table.table.slice(0, NAMES_LOOKED_AT)
    shares, known = [0.0], set(map(unpadded, files))
    for name in few.column_names:
        cells = (str(cell) for cell in few[name].to_pylist() if isinstance(cell, str | int))
        shares.append(sum(unpadded(re.split(r"[/\\]", cell)[-1]) in known for cell in cells) / len(few))
    return max(shares)


def labels_elsewhere(name: str, tables: Mapping[str, Rows]) -> str:
    """How to join a table to another that has labels for an id which every row of the first has of its own; else ""."""
    here = tables[name].table
    ids = [column for column in here.column_names if spelled(column).endswith("id")]
    keys = [column for column in ids if len(here[column].unique()) == len(here)]
    for other, rows in tables.items():
        shared = [column for column in keys if column in rows.table.column_names and other != name]
        labels = [label for found in called("label", rows.table.column_names) for label in found]
        if shared and labels:
            return (
                f"{other!r} has labels, in {labels[0]!r}: join the two, pandas.merge(files, labels, on={shared[0]!r}), "
                "and write one CSV"
            )
    return ""


def refuse_labels_of_folders(name: str, table: Rows, tree: Rows) -> None:
    """Raise ManifestError where a table has labels of folders that are taken as classes, as of patients."""
    folders = {part for path in texts(tree, "path") for part in path.split("/")[:-1]}
    columns = table.table.column_names
    naming = [column for column in columns if folders & {*map(str, table.table[column].to_pylist())}]
    labels = [label for found in called("label", columns) for label in found if label not in naming]
    if naming and labels:
        raise ManifestError(
            f"{tree.path!r}: {name!r} names folders in {naming[0]!r}, and has labels of its own in {labels[0]!r}",
            hint=f"if {labels[0]!r} is the label, write a CSV with a row per file; --layout auto takes the folders",
        )


def are_numbered(names: Iterable[str]) -> bool:
    """Whether names are one name and numbers: `images_001`, `images_002`."""
    return len({COUNTED.sub("", name.casefold()) for name in names}) == 1


def agreed(path: str, table: Manifest, tree: Rows) -> tuple[dict[str, str], str]:
    """What the numbers in a table are called by the class folders, {} where it holds no such numbers; and a note.

    Folders of one name that are only numbered say nothing. Raises ManifestError where table and folders do not say the
    same of the same files.
    """
    root, name = tree.folders[0][0], os.path.basename(path)
    places = [os.path.join(root, place) for place in texts(tree, "path")]
    by_folder = dict(zip(places, texts(tree, "label"), strict=True))
    uris = [] if table.uris is None else map(os.path.normpath, table.uris.tolist())
    by_table = {uri: table.classes[label] for uri, label in zip(uris, table.labels, strict=True) if label >= 0}
    both = [uri for uri in by_folder if uri in by_table]
    folder_of: dict[str, str] = {}  # class of the table -> the folder of most of its files
    for (label, folder), _ in Counter((by_table[uri], by_folder[uri]) for uri in both).most_common():
        folder_of.setdefault(label, folder)
    if len(set(folder_of.values())) < len(folder_of):
        folder_of = {label: label for label in folder_of}
    other = [uri for uri in both if folder_of[by_table[uri]] != by_folder[uri]]
    alone = not {*by_table.values()} & {*by_folder.values()}  # they have no name in common
    if alone and are_numbered(by_folder.values()) and len(other) > MOST_OTHER * len(both):
        return {}, f"rows from {name!r}; folders such as {min(by_folder.values())!r} are taken as parts, not as classes"
    hint = f"name the table, {path!r}, to take its labels; --layout auto takes those of the folders"
    if other:
        raise ManifestError(
            f"{root!r}: {name!r} and the folders disagree on {len(other):,} of {counted(len(both), 'file')}, "
            f"such as {os.path.relpath(other[0], root)!r}: {by_table[other[0]]!r} there, {by_folder[other[0]]!r} "
            "by its folder",
            hint=hint,
        )
    if len(both) < len(by_folder):
        raise ManifestError(
            f"{root!r}: {name!r} names {len(both):,} of the {counted(len(by_folder), 'file')} in class folders",
            hint=hint,
        )
    same = all(label == folder for label, folder in folder_of.items())
    numbers = all(map(str.isdigit, folder_of)) and not any(map(str.isdigit, folder_of.values()))
    how = "say the same" if same else "say the same in other words"
    return (
        folder_of if numbers else {},
        f"rows from {name!r}; it and the class folders {how}: {counted(len(both), 'file')}",
    )

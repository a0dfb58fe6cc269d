"""Readers: from the user's files to a `Manifest`.

To add a format, write a reader that returns `base.Rows` and give it an ending in `tabular.READERS`,
or a case in `_read_rows`; everything after that is common to all formats.
"""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from itertools import islice

import numpy as np
import pyarrow as pa

from cleanlab_lite.addresses import refuse_login
from cleanlab_lite.archives import ENDINGS as ARCHIVES
from cleanlab_lite.errors import ConfigError, ManifestError
from cleanlab_lite.files import is_remote, local_path, reading
from cleanlab_lite.manifest.labels import POLICIES, WHOLE
from cleanlab_lite.manifest.manifest import NO_FEATURES, Manifest, Modality, Source
from cleanlab_lite.manifest.readers.archive import read_shards, table_in
from cleanlab_lite.manifest.readers.arrow import DATASET, SPLITS, read_arrow, read_feather, read_saved_dataset
from cleanlab_lite.manifest.readers.base import UNREAD, FileKeeper, Rows, bare, ending, list_folder, texts, what_to_do
from cleanlab_lite.manifest.readers.beside import (
    agreed,
    are_numbered,
    labels_elsewhere,
    naming_files,
    refuse_labels_of_folders,
)
from cleanlab_lite.manifest.readers.class_labels import lists_classes, with_class_labels, with_names_beside
from cleanlab_lite.manifest.readers.columns import (
    CLASSES_SHOWN,
    NEMO_PATH,
    Columns,
    check_classes,
    check_columns,
    classes_in_words,
    find_columns,
    in_one_folder,
    is_fraction,
    make_ids,
    make_labels,
    make_segments,
    make_splits,
    of_several_labels,
    refuse_boxes,
    refuse_contents,
    refuse_denied,
)
from cleanlab_lite.manifest.readers.embedded import media_columns, with_media
from cleanlab_lite.manifest.readers.encoded import read_vectors
from cleanlab_lite.manifest.readers.features import (
    column_features,
    hint_for,
    load_features,
    read_npz,
    several_columns,
    vector_columns,
    with_pictures,
)
from cleanlab_lite.manifest.readers.folder import METADATA, SUBMISSION, check_layout, read_packed, read_tree
from cleanlab_lite.manifest.readers.idx import called_idx, idx_in, read_idx
from cleanlab_lite.manifest.readers.modality import modality
from cleanlab_lite.manifest.readers.partitioned import PARTITION, partitions, read_partitions
from cleanlab_lite.manifest.readers.places import are_files, find_files, missing_of
from cleanlab_lite.manifest.readers.tabular import DELIMITED, READERS
from cleanlab_lite.manifest.readers.votes import Ballots, as_items, ballots_of
from cleanlab_lite.manifest.readers.votes import find_columns as find_annotators
from cleanlab_lite.manifest.readers.xml import read_xml
from cleanlab_lite.manifest.reading import Reading
from cleanlab_lite.manifest.roles import called, spelled
from cleanlab_lite.manifest.sniff import MEDIA_ENDINGS, sniff
from cleanlab_lite.manifest.splits import file_split, in_words, is_part, split_word
from cleanlab_lite.text import counted, listing
from cleanlab_lite.votes import Votes

__all__ = ["check_policy", "read_as", "read_labels", "read_manifest", "sniff", "to_manifest"]

TABLES = ("metadata", "manifest")  # by these names the table of a folder is known, whatever else lies there
ALL_READERS = {**READERS, ".arrow": read_arrow, ".feather": read_feather, ".ftr": read_feather, ".xml": read_xml}
# Forms of files whose ending says nothing, by their first bytes
CONTENT = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"FEA1": ".feather", b"[": ".json", b"{": ".json"}
# What files may be called like, as `spelled`; columns looked at where none is called so
IDS = ("id", "imageid", "imgid", "fileid", "sampleid", "key", "uuid", "name")
MOST_IDS = 3
RUNS = "nlclean-runs"  # where an audit started here has left its results
VECTORS = (
    ".npy",
    ".npz",
    ".pt",
    ".pth",
    ".safetensors",
    ".h5",
    ".hdf5",
)  # files beside a table without paths, best first
FEWEST = 5  # files in two tables that are there by no chance
MOST_FOUND = 0.5  # of the files of a table, where it is read beside folders
FEW_ROWS = 20  # that are looked at first
DATALAB = {"id", "is_label_issue", "label_score", "given_label", "predicted_label"}  # columns of an export
FOLDER_TABLES = (*(form for form in READERS if form != ".json"), ".arrow", ".feather")  # JSON lies beside many data
FOLDERS = "folders are read on this machine only: name a manifest that lists what is in it, with an ending such as .csv"


def read_manifest(
    path: str | os.PathLike[str],
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    split_column: str | None = None,
    features_column: str | None = None,
    annotator_column: str | None = None,
    features: str | os.PathLike[str] | None = None,
    features_columns: str | None = None,
    path_prefix: str | None = None,
    path_suffix: str | None = None,
    path_root: str | os.PathLike[str] | None = None,
    keep: FileKeeper | None = None,
    layout: str | None = None,
    multi_label: str | None = None,
    segments: bool = True,
) -> Manifest:
    """Read a dataset as its owner describes it.

    `path` is a CSV, TSV, JSONL or Parquet file, a folder or glob of them, a folder with a `manifest.*` or a Hugging
    Face `metadata.*`, a class-per-folder tree, or an `.npz` of features and labels; files may be URLs (fsspec).
    Columns are detected by their names unless named here, and `Source.notes` says what was detected.
    `features` is an `.npy` or `.npz` file with row i for row i of the manifest, or "none": rows have neither files nor
    vectors, and are judged by evidence that is brought. `features_columns` are the names, or
    patterns with commas, of columns that hold a number each. `keep` makes files of pictures inside tables.
    `path_prefix` and `path_suffix` are put around every path, `path_root` is the folder that relative ones start from.
    Where the first files are not there, they are looked for once, see `places`. Files that stay missing are found when
    they are decoded. `layout` says what the levels of a tree of class folders are: "class", "split/class",
    "class/class", "any/class", "leaf", "path", "name", "name:2" or "auto".
    `multi_label` says what a row with several labels is: "first" (its first label), "drop" (not labelled) or "whole" (a
    class of its own). Without `segments` rows are whole files, whatever columns like `start` and `end` say.
    `annotator_column` is a column that says who labelled an item, which has several rows then, or names and patterns,
    with commas, of one column of labels per annotator; "none": there is no such thing.

    Raises ManifestError with file, line, what was found and what was expected.
    """
    asked = Reading(
        path_column=path_column,
        label_column=label_column,
        id_column=id_column,
        split_column=split_column,
        features_column=features_column,
        annotator_column=annotator_column,
        features=features,
        features_columns=features_columns,
        path_prefix=path_prefix,
        path_suffix=path_suffix,
        path_root=path_root,
        layout=layout,
        multi_label=multi_label,
        segments=segments,
    )
    return read_as(path, asked, keep)


def read_as(path: str | os.PathLike[str], asked: Reading, keep: FileKeeper | None) -> Manifest:
    """`read_manifest`, with what is asked in one object."""
    name = local_path(os.fspath(path))
    for each in (name, asked.features, asked.path_root, asked.path_prefix):
        with reading("an address cannot be read", ManifestError):
            refuse_login(os.fspath(each or ""))
    check_layout(asked.layout)
    check_policy(asked.multi_label)
    rows = _with_contents(_read_rows(name, asked), asked, keep)
    return to_manifest(rows, asked, _absolute(name))


def _with_contents(rows: Rows, asked: Reading, keep: FileKeeper | None) -> Rows:
    """The rows with their vectors, where these are named, or with files of the pictures and sounds that they hold."""
    if asked.features is not None and os.fspath(asked.features) == NO_FEATURES:
        return without_features(rows)
    if asked.features is not None:
        column = asked.features_column or asked.features_columns
        return _with_features(rows, local_path(os.fspath(asked.features)), column)
    if asked.features_columns is not None:
        return with_columns(rows, asked.features_columns, asked.features_column)
    if rows.pictures is not None:
        return with_pictures(rows, keep)
    path = asked.path_column
    if (path is None and asked.features_column is None) or path in media_columns(rows.table):
        return with_media(rows, keep)
    return rows


def to_manifest(rows: Rows, asked: Reading, path: str) -> Manifest:
    """What the rows mean, whatever they were read from; `path` is for `Source.path`."""
    rows, ballots = _with_votes(_with_ids_as_paths(rows, asked), asked)
    rows, columns = _with_roles(rows, asked)
    labels, classes, form, label_notes = make_labels(rows, columns, asked.multi_label)
    check_classes(rows, columns.label, labels, classes)
    refuse_denied(rows, columns)
    votes, vote_notes = (None, []) if ballots is None else _count(ballots, rows, classes, asked.multi_label)
    ids, id_notes = make_ids(rows, columns)
    uris, place_notes = _files(rows, columns, asked)
    features = rows.features if columns.features is None else column_features(rows, columns.features)
    kind, kind_note = _modality(rows, features, uris, path, columns.path or "")
    if kind == "image":
        refuse_boxes(rows, columns, labels)
    segments, segment_columns, segment_notes = _segments(rows, columns, kind, uris, asked)
    if uris is not None and segments is None:
        if ballots is None and os.path.isdir(path):
            _refuse_versions(rows, uris)
        if several := of_several_labels(uris, np.where(uris != "", labels, -1)):
            label_notes.append(f"files with different labels in several rows: {several:,}")
    splits, split_notes = make_splits(rows, columns)
    return Manifest(
        table=rows.table,
        source=replace(
            _source(rows, columns, path),
            segment_columns=segment_columns,
            vote_columns=() if ballots is None else ballots.columns,
            elected=ballots is not None and ballots.elected,
            label_form=form,
            root=_root(rows, path, asked),
            file=None if rows.lines is None else _absolute(rows.path),
            notes=(
                *columns.notes,
                *rows.notes,
                *place_notes,
                kind_note,
                *segment_notes,
                in_words(splits) or "no splits: no row is protected",
                *split_notes,
                classes_in_words(labels, classes),
                *label_notes,
                *vote_notes,
                *id_notes,
            ),
            media=_media(rows),
        ),
        modality=kind,
        classes=classes,
        ids=ids,
        labels=labels,
        splits=splits,
        uris=uris,
        segments=segments,
        features=features,
        encoded=rows.encoded,
        lines=rows.lines,
        votes=votes,
    )


def _with_roles(rows: Rows, asked: Reading) -> tuple[Rows, Columns]:
    """The columns by their roles, and the rows with what lies beside them: folders, splits of files, class names."""
    columns = _find_columns(rows, asked)
    if columns.path is not None:
        rows = in_one_folder(rows, columns.path)
    if columns.split is None and (name := _split_of_files(rows)):
        rows, columns = _with_split(rows, name), replace(columns, split=name)
    return with_names_beside(rows, columns.label), columns


def _files(rows: Rows, columns: Columns, asked: Reading) -> tuple[np.ndarray | None, list[str]]:
    """(n,) paths and URLs of the files, None where rows have none; and notes."""
    if columns.path is None:
        return None, []
    notes: list[str] = []
    if columns.path in rows.files:
        uris = np.array(rows.files[columns.path], dtype=str)
    else:
        refuse_contents(rows, columns.path)
        uris, notes = find_files(rows, texts(rows, columns.path), asked.places)
    _refuse_logins(rows, uris)
    return uris, notes


def _modality(
    rows: Rows, features: np.ndarray | None, uris: np.ndarray | None, path: str, column: str
) -> tuple[Modality, str]:
    """What is looked at, and a sentence on how that was found."""
    if features is not None and not features.shape[1]:
        return "vector", "neither files nor vectors: what you bring judges the rows"
    if features is not None:
        return "vector", f"modality: vector ({features.shape[1]} features)"
    named = [] if uris is None else uris.tolist()
    try:
        return modality(rows.path, named)
    except ManifestError as error:
        if (missing := missing_of(named, path, column)) is not None:
            error.hint = f"{missing.message}; {missing.hint}; vectors are given with --features"
        raise


def _media(rows: Rows) -> str:
    """What an encoder has made the vectors of; "" where it has made none."""
    return "" if rows.encoded is None else rows.encoded.modality


def _segments(
    rows: Rows, columns: Columns, kind: Modality, uris: np.ndarray | None, asked: Reading
) -> tuple[np.ndarray | None, tuple[str, ...], list[str]]:
    """(n, 2) seconds of sounds, None where rows are whole files; the columns that say them, and notes."""
    if not asked.segments or uris is None or "sound" not in (kind, _media(rows)):
        return None, (), []
    segments, names, notes = make_segments(rows, uris, columns.path == NEMO_PATH)
    return segments, names, [*notes, *([f"segments of files: {' and '.join(names)}, in seconds"] if names else [])]


def _source(rows: Rows, columns: Columns, path: str) -> Source:
    """What the rows and their columns say of where they are from."""
    return Source(
        path=path,
        format=rows.format,
        label_column=columns.label,
        path_column=columns.path,
        id_column=columns.id,
        split_column=columns.split,
        features_column=columns.features,
        label_columns=columns.labels,
        delimiter=rows.delimiter,
        quoting=rows.quoting,
        style=rows.style,
        label_names=tuple(rows.names.get(columns.label, {}).items()),
    )


def _with_votes(rows: Rows, asked: Reading) -> tuple[Rows, Ballots | None]:
    """One row per item, labelled as most annotators say, and their votes; the rows as they are where nobody votes."""
    columns = find_annotators(rows, asked.annotator_column)
    named = asked.annotator_column is not None
    if not columns:
        return rows, None
    many, ballots = ballots_of(rows, columns, asked.label_column)
    if len(columns) == 1 and ballots is None:
        with nullcontext() if named else suppress(ManifestError):
            found = _find_columns(rows, asked)
            many, ballots = as_items(rows, columns[0], found.label, found.path, asked.columns, named=named)
    if ballots is None:
        if named:
            raise ManifestError(
                f"{rows.path!r}: column {columns[0]!r} does not say who labelled an item: no item has several rows",
                hint="--id-column names the column that rows of an item share; leave --annotator-column out otherwise",
            )
        return rows, None
    if ballots.elected:
        from cleanlab_lite.crowd import majority  # loads scipy, which few manifests need here

        labels, classes, _ = _labels_of(ballots, many, asked.multi_label)
        voted = np.flatnonzero(labels >= 0)
        votes = Votes(ballots.annotators, ballots.item[voted], ballots.annotator[voted], labels[voted])
        winner = majority(votes, len(many.table), len(classes))
        cell = np.full(len(winner), -1)
        won = voted[votes.label == winner[votes.item]]
        cell[ballots.item[won]] = won
        position = many.table.schema.get_field_index(ballots.label)
        field = many.table.schema.field(ballots.label)
        elected = ballots.cells.take(pa.array(cell, mask=cell < 0)).cast(field.type)
        many = replace(many, table=many.table.set_column(position, field, elected))
    return many, ballots


def _labels_of(ballots: Ballots, rows: Rows, multi_label: str | None) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Labels (m,) of votes, -1 where there is none, their classes, and notes."""
    field = rows.table.schema.field(ballots.label).with_type(ballots.cells.type)
    alone = replace(rows, table=pa.Table.from_arrays([ballots.cells], schema=pa.schema([field])), lines=None)
    labels, classes, _, notes = make_labels(alone, Columns(ballots.label), multi_label)
    return labels, classes, notes


def _count(ballots: Ballots, rows: Rows, classes: tuple[str, ...], multi_label: str | None) -> tuple[Votes, list[str]]:
    """The votes by the classes of the rows; and notes."""
    labels, names, _ = _labels_of(ballots, rows, multi_label)
    place = {name: number for number, name in enumerate(classes)}
    labels = np.array([*(place.get(name, -2) for name in names), -1])[labels]
    kept = labels >= 0
    votes = Votes(ballots.annotators, ballots.item[kept], ballots.annotator[kept], labels[kept])
    counts = votes.counts(len(rows.table))
    what = "the label is what most of them say" if ballots.elected else f"the label is that of {ballots.label!r}"
    notes = [
        f"annotators: {len(votes.annotators):,} ({listing(votes.annotators, CLASSES_SHOWN)}), "
        f"{counted(len(votes), 'vote')}, {counts.mean():.1f} per item; {what}"
    ]
    if lost := int((labels == -2).sum()):
        notes.append(f"not counted: {counted(lost, 'vote')} of classes that label no item")
    return votes, notes


def _refuse_versions(rows: Rows, uris: np.ndarray) -> None:
    """Raise ManifestError where all files of one table of a folder are in others, too: versions, read as one.

    A glob says that all of them are meant.
    """
    if len(rows.file_splits) < 2 or _split_of_files(rows):
        return
    ends = np.cumsum([count for _, count in rows.file_splits])
    named = [{*part.tolist()} - {""} for part in np.split(uris, ends[:-1])]
    known: set[str] = set()
    for number, files in sorted(enumerate(named), key=lambda pair: -len(pair[1])):
        if len(files) >= FEWEST and files <= known:
            raise ManifestError(
                f"{rows.path!r}: all {len(files):,} files of table {number + 1} of {len(named)}, by their names, are "
                f"in the others as well, such as {min(files)!r}",
                hint="are these versions of one table? Name one of them; votes of several annotators need a column "
                "that says who gave them",
            )
        known |= files


def _refuse_logins(rows: Rows, uris: np.ndarray) -> None:
    """Raise ManifestError for the first address with a password in it: ids, reports and exports would show it."""
    for row, uri in enumerate(uris.tolist()):
        if "@" in uri:
            with reading(f"{rows.path!r}, {rows.where(row)}", ManifestError):
                refuse_login(uri)


def _with_ids_as_paths(rows: Rows, asked: Reading) -> Rows:
    """The rows, knowing that files are called like their ids, where nothing else says where they are."""
    known = {*rows.known, *(role for role, name in asked.columns.items() if name is not None)}
    names = rows.table.column_names
    if rows.features is not None or {"path", "features"} & known or vector_columns(rows.table):
        return rows
    ids = sorted((name for name in names if spelled(name) in IDS), key=lambda name: IDS.index(spelled(name)))
    labels = [name for found in called("label", names) for name in found]
    ids += [name for name in names if spelled(name).endswith("id") and name not in (*ids, *labels)]
    ids = [name for name in ids if not any(map(any, called("path", [other for other in names if other != name])))]
    if not ids and not any(map(any, called("path", names))):
        ids = list(islice((name for name in names if _names_each(rows, name)), MOST_IDS))
    for name in ids:
        cells: list[str] = []
        with suppress(ManifestError):  # no text
            cells = texts(rows, name)
        if spelled(name) not in IDS and 4 * len(set(cells)) < len(cells):
            continue  # who or where, not which file
        uris, _ = find_files(rows, cells, asked.places) if cells else (np.array([]), [])
        if any(map(os.path.isfile, uris[:20].tolist())):
            note = f"no path column: the files are called like the cells of {name!r}"
            return replace(rows, known=rows.known | {"path": name}, notes=(*rows.notes, note))
    return rows


def _names_each(rows: Rows, name: str) -> bool:
    """Whether every row has a text of its own in a column, as the names of files are, and row numbers are not."""
    few = replace(rows, table=rows.table.slice(0, FEW_ROWS))
    with suppress(ManifestError):
        first = texts(few, name)
        if len(set(first)) < len(first) or any(is_fraction(cell) or ending(cell) in MEDIA_ENDINGS for cell in first):
            return False
        cells = texts(rows, name)
        counted_from = (list(map(str, range(start, start + len(cells)))) for start in (0, 1))
        return len(set(cells)) == len(cells) and all(map(str.strip, cells)) and cells not in counted_from
    return False


def _find_columns(rows: Rows, asked: Reading) -> Columns:
    try:
        return find_columns(rows, asked.columns, vector_columns(rows.table), asked.multi_label)
    except ManifestError as error:
        if "no path column" not in error.message:
            raise
        if DATALAB.issubset(rows.table.column_names) and asked.path_column is None:
            if ending(texts(rows, "id")[0]) in MEDIA_ENDINGS:  # an export of ours, whose ids are paths
                return find_columns(rows, {**asked.columns, "path": "id", "id": "id"}, [], asked.multi_label)
            error.hint = "this is a table of `nlclean export --format cleanlab`, without files: audit the manifest"
        elif more := hint_for(rows.table, [name for name in asked.columns.values() if name is not None]):
            error.hint = f"{more}; otherwise {error.hint}"
        elif "no label column" not in error.message and (beside := _vectors_beside(rows)):
            name = os.path.basename(beside)
            how = f"--features {beside!r}" if ending(name) in (".npy", ".npz") else f"{what_to_do(beside)}"
            error.hint = f"if {name!r} holds the vectors of the rows: {how}; {error.hint}"
        raise


def _vectors_beside(rows: Rows) -> str:
    """A file that may hold vectors in the folder of a table, `.npy` or `.npz` first; "" where there is none."""
    folder = rows.folders[0][0]
    if is_remote(folder) or not os.path.isdir(folder):
        return ""
    found = [name for form in VECTORS for name in list_folder(folder) if ending(name) == form]
    return os.path.relpath(os.path.join(folder, found[0])) if found else ""


def missing_error(manifest: Manifest) -> ManifestError | None:
    """What to say where not one of the files is there; None where one is, or lies elsewhere than on this machine."""
    source = manifest.source
    uris = [] if manifest.uris is None else manifest.uris.tolist()
    error = missing_of(uris, source.path, source.path_column or "path")
    if error is not None and (vectors := vector_columns(manifest.table)):
        error.hint += f"; {listing(vectors, 3)} hold vectors, which --features-column audits without the files"
    return error


def check_policy(multi_label: str | None) -> None:
    """Raise ConfigError where it is none."""
    if multi_label is not None and multi_label not in POLICIES:
        raise ConfigError(f"--multi-label is {multi_label!r}, expected {' or '.join(POLICIES)}")


def _split_of_files(rows: Rows) -> str:
    """Name of a new column for splits, where every file of rows is called like one and they are not alike."""
    splits = {name for name, _ in rows.file_splits}
    if len(splits) < 2 or "" in splits:
        return ""
    taken = rows.table.column_names
    return next(name for name in ("split", *(f"split_{i}" for i in range(2, len(taken) + 3))) if name not in taken)


def _with_split(rows: Rows, name: str) -> Rows:
    """A column that keeps apart what was in files of their own."""
    cells = [split for split, count in rows.file_splits for _ in range(count)]
    note = f"splits are from the names of files and folders; exports have them in a column {name!r}"
    table = rows.table.append_column(name, pa.array(cells, pa.string()))
    return replace(rows, table=table, notes=(*rows.notes, note))


def _root(rows: Rows, path: str, asked: Reading) -> str | None:
    """The folder that relative paths start from, where `path` does not tell."""
    if asked.places.root:
        return _absolute(asked.places.root)
    folders = {folder for folder, _ in rows.folders}
    if is_remote(path) or len(folders) != 1 or is_remote(folder := folders.pop()):
        return None
    return None if _absolute(folder) == (path if os.path.isdir(path) else os.path.dirname(path)) else folder


def _absolute(path: str) -> str:
    return path if is_remote(path) else os.path.abspath(path)


def read_labels(path: str | os.PathLike[str], columns: Mapping[str, str], *, quotes_are_text: bool = False) -> Manifest:
    """The rows of a manifest with their ids and labels, by `columns`: role (label, path, id) -> name.

    Roles `label 2`, `label 3`... are columns that say the label in other words. Nothing is detected, and neither files
    nor features are looked at. `quotes_are_text` where that is known of a CSV or TSV, whatever its rows look like now.
    Raises ManifestError as `read_manifest` does.
    """
    name = os.fspath(path)
    roles = Columns(columns["label"], columns.get("path"), columns.get("id"))
    asked = Reading(label_column=roles.label, path_column=roles.path, id_column=roles.id, multi_label=WHOLE)
    rows = _read_rows(name, asked, quotes_are_text)
    check_columns(rows, columns)
    if roles.path is not None:
        rows = in_one_folder(rows, roles.path)
    rows = with_names_beside(rows, roles.label)
    labels, classes, _, _ = make_labels(rows, roles, WHOLE)
    several = tuple(name for role, name in columns.items() if role.startswith("label"))
    return Manifest(
        table=rows.table,
        source=replace(_source(rows, roles, _absolute(name)), label_columns=several if len(several) > 1 else ()),
        modality="vector",  # rows of labels and whatever comes with them
        classes=classes,
        ids=make_ids(rows, roles)[0],
        labels=labels,
        splits=np.full(len(rows.table), "", dtype=str),
        lines=rows.lines,
    )


def _read_rows(path: str, asked: Reading, quotes_are_text: bool = False) -> Rows:
    """The rows of whatever `path` is."""
    if not is_remote(path) and os.path.isdir(path):
        return _read_folder(path, asked, quotes_are_text)
    if asked.layout is not None and ending(path) not in ARCHIVES:
        raise ConfigError(f"--layout is about folders of classes, and {path!r} is none", hint="leave it out")
    if is_remote(path):
        return _read_files([path], quotes_are_text)
    if os.path.exists(path):
        return _read_files([path], quotes_are_text, asked.layout)
    if matches := sorted(name for name in glob.glob(path, recursive=True) if os.path.isfile(name)):
        return _read_files(matches, quotes_are_text, asked.layout)
    raise _not_found(path)


def _read_files(paths: list[str], quotes_are_text: bool, layout: str | None = None) -> Rows:
    if all(map(called_idx, paths)):
        return read_idx(paths)
    forms = sorted({form_of(path) for path in paths})
    if len(forms) > 1:
        raise ManifestError(
            f"{listing(paths, 5)} have the endings {listing(forms)}, expected one format",
            hint="name one file, or narrow the glob",
        )
    [form] = forms
    if form == ".npz" and len(paths) == 1:
        return read_npz(paths[0])
    if form in ARCHIVES:
        table = table_in(paths[0]) if len(paths) == 1 and layout is None else ""
        return _read_files([table], quotes_are_text) if table else read_shards(paths) or read_packed(paths, layout)
    if form not in ALL_READERS:
        known = [*READERS, ".arrow", ".feather", ".npz", ".xml", *ARCHIVES]
        raise ManifestError(
            f"{listing(paths, 5)}: unknown ending {form!r}, expected {', '.join(known)} or a folder",
            hint=FOLDERS if is_remote(paths[0]) and not form else what_to_do(paths[0]),
        )
    if quotes_are_text and form in DELIMITED:
        rows = DELIMITED[form](paths, quotes_are_text=True)
    else:
        rows = with_class_labels(ALL_READERS[form](paths))
    counts = [count for _, count in rows.folders]
    rows = replace(rows, file_splits=tuple(zip(map(file_split, paths), counts, strict=True)))
    if all(os.path.splitext(os.path.basename(path))[0] == "metadata" for path in paths):
        return _hugging_face(rows)
    return rows


def form_of(path: str) -> str:
    """The ending that says how a file is read: its own, without that of a compression, or else by its first bytes."""
    by_name = ending(bare(path))
    if by_name in (*ALL_READERS, *ARCHIVES) or (by_name and by_name in UNREAD) or is_remote(path):
        return by_name
    with suppress(OSError, ValueError):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                head = file.read(64)
            return next((form for magic, form in CONTENT.items() if head.startswith(magic)), by_name)
    return by_name


def _hugging_face(rows: Rows) -> Rows:
    if "file_name" not in rows.table.column_names:
        return rows
    return replace(rows, known={"path": "file_name"}, notes=(*rows.notes, "Hugging Face metadata: paths in file_name"))


def _read_folder(folder: str, asked: Reading, quotes_are_text: bool) -> Rows:
    """Tables in the folder, or else the class folders in it; with a layout these, whatever else is there."""
    if asked.layout is not None:
        return read_tree(folder, asked.layout)
    names = [name for name in list_folder(folder) if not name.startswith(".") and name != RUNS]
    if (whole := _one_dataset(folder, names)) is not None:
        return whole
    in_all = [name for name in names if ending(bare(name)) in FOLDER_TABLES]
    named = [name for name in in_all if os.path.splitext(name)[0] in TABLES]
    tables = named or [name for name in in_all if not lists_classes(os.path.join(folder, name))]
    subfolders = [name for name in names if os.path.isdir(os.path.join(folder, name))]
    if subfolders or len(tables) > 1:
        tables = [name for name in tables if SUBMISSION not in name.casefold()]
    if not tables and (of_splits := _of_splits(folder, subfolders)):
        return _read_files(of_splits, quotes_are_text)
    if not tables and len(subfolders) == 1 and _holds_tables(inner := os.path.join(folder, subfolders[0])):
        return _read_folder(inner, asked, quotes_are_text)
    if not tables:
        return _tree_or_json(folder, names, asked)
    if not named and subfolders:
        return _table_or_tree(folder, tables, subfolders, asked, quotes_are_text)
    rows = _read_files([os.path.join(folder, name) for name in tables], quotes_are_text)
    if others := [name for name in in_all if name not in tables]:
        note = f"rows from {listing(tables, 5)}, by its name; not read: {listing(others, 5)}"
        rows = replace(rows, notes=(*rows.notes, note))
    return rows


def _table_or_tree(
    folder: str, tables: list[str], subfolders: list[str], asked: Reading, quotes_are_text: bool
) -> Rows:
    """The table beside folders where these hold its files and say nothing else of them; class folders where it names
    none of their files. Raises ManifestError where it is not clear which of the two is meant."""
    files = _names_below(folder)
    read: dict[str, Rows] = {}
    for name in tables:
        with suppress(ManifestError):
            read[name] = _read_files([os.path.join(folder, name)], quotes_are_text)
    naming = {name: naming_files(rows, files) for name, rows in read.items()}
    best = min(tables, key=lambda name: (naming.get(name, 0.0) <= MOST_FOUND, *_likely(name, read.get(name))))
    path = os.path.join(folder, best)
    refused = ManifestError(
        f"{folder!r} holds tables ({listing(tables, 5)}) and folders ({listing(subfolders, 5)}), expected one kind",
        hint=f"name the table, e.g. {path!r}, or one of the folders; --layout auto reads class folders, and no table",
    )
    tree: Rows | None = None
    with suppress(ManifestError):
        tree = read_tree(folder)
    if tree is not None and not any(naming.values()) and len(read) == len(tables) and not any(asked.columns.values()):
        for name, rows in read.items():
            refuse_labels_of_folders(name, rows, tree)
        return replace(tree, notes=(*tree.notes, f"not read, as they name no files: {listing(tables, 5)}"))
    if best not in read:
        raise refused
    columns, known = read[best].table.column_names, naming[best] > MOST_FOUND
    alike = [name for name, rows in read.items() if rows.table.column_names == columns]
    alike = [name for name in alike if name == best or naming[name] > MOST_FOUND]
    splits = {
        split_word(stem) or (stem if is_part(stem) else "") for stem in (os.path.splitext(name)[0] for name in alike)
    }
    if len(alike) > 1 and ("" in splits or len(splits) < len(alike)):  # versions, or of other kinds
        raise refused
    rows = read[best]
    if alike != [best]:
        rows = _read_files([os.path.join(folder, name) for name in alike], quotes_are_text)
    try:
        manifest = to_manifest(rows, asked, folder)
    except ManifestError as error:
        if not known or not (tree is None or are_numbered(texts(tree, "label"))):
            raise refused from None
        if "no label column" in error.message and (joined := labels_elsewhere(best, read)):
            error.hint = joined
        elif tree is not None:
            error.hint = f"{error.hint}; --layout auto reads the class folders, and no table"
        raise
    if not _are_there(manifest):
        raise refused
    numbers: dict[str, str] = {}
    note = f"rows from {listing(alike, 5)}: the folders beside are no classes"
    if tree is not None and asked.label_column is None:
        numbers, note = agreed(path, manifest, tree)
    if others := [name for name in tables if name not in alike]:
        note = f"{note}; not read: {listing(others, 5)}"
    if numbers:
        label = manifest.source.label_column
        note = f"{note}; names of the classes are those of the folders, exports keep the numbers"
        rows = replace(rows, names={label: numbers}, classes={label: tuple(numbers.values())})
    return replace(rows, notes=(*rows.notes, note))


def _names_below(folder: str) -> set[str]:
    """Names of the pictures and sounds below a folder, with and without endings."""
    found = {file for _, _, files in os.walk(folder) for file in files if ending(file) in MEDIA_ENDINGS}
    return found | {os.path.splitext(file)[0] for file in found}


def _tree_or_json(folder: str, names: list[str], asked: Reading) -> Rows:
    """The class folders; where there are none, the one JSON beside that names the files below."""
    try:
        return read_tree(folder)
    except ManifestError as error:
        found = [os.path.join(folder, name) for name in names if ending(bare(name)) == ".json"]
        found = [path for path in found if not lists_classes(path)]
        rows: Rows | None = None
        with suppress(ManifestError):
            rows = _read_files(found, False) if len(found) == 1 else None
        if rows is None:
            raise
        try:
            manifest = to_manifest(rows, asked, folder)
        except ManifestError as other:
            raise other if naming_files(rows, _names_below(folder)) > MOST_FOUND else error from None
        if not _are_there(manifest):
            raise
        return replace(rows, notes=(*rows.notes, f"rows from {os.path.basename(found[0])!r}"))


def _are_there(manifest: Manifest) -> bool:
    """Whether most of the files are on this machine."""
    uris = [] if manifest.uris is None else manifest.uris.tolist()
    return bool(uris) and sum(are_files(uris)) >= MOST_FOUND * len(uris)


def _of_splits(folder: str, subfolders: list[str]) -> list[str]:
    """The table in each of the folders, where all are called like splits and hold one of the same name, as Hugging
    Face and Roboflow lay out splits; else none.

    Class folders in them are not looked for where they hold a `metadata` file, and are more than one folder otherwise.
    """
    tables: list[str] = []
    for subfolder in subfolders:
        names = [name for name in list_folder(os.path.join(folder, subfolder)) if not name.startswith(".")]
        found = sorted(METADATA & {*names}) or [name for name in names if ending(bare(name)) in FOLDER_TABLES]
        inner = [name for name in names if os.path.isdir(os.path.join(folder, subfolder, name))]
        if not split_word(subfolder) or len(found) != 1 or (found[0] not in METADATA and len(inner) > 1):
            return []
        tables.append(os.path.join(folder, subfolder, found[0]))
    return tables if len({os.path.basename(path) for path in tables}) == 1 else []


def _holds_tables(folder: str) -> bool:
    """Whether a folder holds tables and no folders, or folders of splits with a table in each."""
    names = [name for name in list_folder(folder) if not name.startswith(".")]
    subfolders = [name for name in names if os.path.isdir(os.path.join(folder, name))]
    tables = [name for name in names if ending(bare(name)) in FOLDER_TABLES]
    return (bool(tables) and not subfolders) or bool(_of_splits(folder, subfolders))


def _one_dataset(folder: str, names: list[str]) -> Rows | None:
    """A folder that another program has written as one dataset; None where it is none."""
    if DATASET in names or SPLITS in names:
        return with_class_labels(read_saved_dataset(folder))
    if any(name.startswith("part-") for name in names) and (vectors := read_vectors(folder)):
        return vectors
    listed = "labels.json" if "data" in names else "info.labels"  # FiftyOne, Edge Impulse
    if listed in names:
        return _read_files([os.path.join(folder, listed)], False)
    folders = [name for name in names if os.path.isdir(os.path.join(folder, name))]
    tables = (name for name in names if ending(bare(name)) in FOLDER_TABLES)
    if (files := idx_in(folder, folders)) and not any(tables):
        rows, beside = read_idx(files), folders if os.path.dirname(files[0]) == folder else []
        return replace(rows, notes=(*rows.notes, f"not read: {listing(beside, 5)}")) if beside else rows
    parts = [folder] if not folders else [os.path.join(folder, name) for name in folders if split_word(name)]
    shards = [_shards(part) for part in parts] if len(parts) == max(1, len(folders)) else []
    if shards and all(shards):
        tars = [path for each in shards for path in each]
        return read_shards(tars) or read_packed(tars)
    keyed = bool(folders) and all(map(PARTITION.fullmatch, folders))
    if keyed and (keys := partitions(folder)):
        return with_class_labels(read_partitions(folder, keys))
    return None


def _shards(folder: str) -> list[str]:
    """The tars of a folder, where what lies beside them is only about them: a table called like each, text, counts."""
    names = [name for name in list_folder(folder) if not name.startswith(".")]
    tars = [name for name in names if ending(name) == ".tar"]
    stems = {os.path.splitext(name)[0] for name in tars}
    about = all(
        ending(name) in (".tar", ".txt", ".md", ".idx", ".json", ".yaml") or os.path.splitext(name)[0] in stems
        for name in names
    )
    return [os.path.join(folder, name) for name in tars] if about else []


def _likely(name: str, rows: Rows | None) -> tuple[bool, bool, int]:
    """Of several tables the one for training, of labels, or the longest comes first."""
    stem = os.path.splitext(name)[0].casefold()
    return "train" not in stem, "label" not in stem, 0 if rows is None else -len(rows.table)


def _with_features(rows: Rows, path: str, features_column: str | None) -> Rows:
    if rows.features is not None or features_column is not None:
        other = f"column {features_column!r}" if features_column else f"{rows.path!r}"
        raise ManifestError(f"features are given twice: in {path!r} and in {other}", hint="leave one of them out")
    return replace(rows, features=load_features(path, rows), notes=(*rows.notes, f"features: {path}"))


def without_features(rows: Rows) -> Rows:
    """With vectors of no number: there is nothing to look at."""
    if rows.features is not None:
        raise ManifestError(f"{rows.path!r} holds vectors", hint="leave --features none out")
    return replace(rows, features=np.zeros((len(rows.table), 0), np.float32))


def with_columns(rows: Rows, patterns: str, features_column: str | None) -> Rows:
    """With the vectors in columns of one number each, by names or patterns. Raises ManifestError."""
    if rows.features is not None or features_column is not None:
        raise ManifestError("features are given twice: --features-columns, and others", hint="leave one of them out")
    matrix, names = several_columns(rows, patterns)
    note = f"features: {counted(len(names), 'column')}, {names[0]} to {names[-1]}"
    return replace(rows, features=matrix, notes=(*rows.notes, note))


def _not_found(path: str) -> ManifestError:
    folder, name = os.path.split(os.path.abspath(path))
    if glob.has_magic(path):
        return ManifestError(f"no file matches {path!r}", hint="quote the glob, and use ** for folders in folders")
    if not os.path.isdir(folder):
        return ManifestError(f"{path!r} does not exist, nor does the folder {folder!r}", hint="check the path")
    near = difflib.get_close_matches(name, list_folder(folder), n=3)
    hint = f"did you mean {' or '.join(repr(other) for other in near)}?" if near else f"looked in {folder!r}"
    return ManifestError(f"{path!r} does not exist", hint=hint)

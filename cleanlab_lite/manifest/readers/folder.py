"""Class-per-folder trees: `root/cat/1.jpg`, or with a split level, `root/train/cat/1.jpg` or `root/cat/train/1.jpg`.

Which level means what is seen in the whole tree: in names that are split words, and in names that repeat. Where it
stays ambiguous nothing is read, and the error shows the tree and names `--layout`.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from cleanlab_lite.archives import ENDINGS as ARCHIVES
from cleanlab_lite.archives import Member, names_in, read_member, size_in, uri_of
from cleanlab_lite.errors import ConfigError, ManifestError
from cleanlab_lite.files import reading
from cleanlab_lite.manifest.folders import (
    TABLE,
    Folder,
    are_people,
    check_folders,
    copies_in,
    leftovers,
    name_word,
    outputs_in,
    unnamed_in,
    words_in_names,
)
from cleanlab_lite.manifest.lists import LARGEST, listed_splits, read_list
from cleanlab_lite.manifest.readers.base import (
    DRAWN,
    LINES,
    UNREAD,
    WHOLE_ARCHIVE,
    Rows,
    ending,
    title,
    unreadable,
    what_to_do,
)
from cleanlab_lite.manifest.sniff import IMAGE_ENDINGS, MEDIA_ENDINGS
from cleanlab_lite.manifest.splits import is_held_back, is_part, is_tests, is_unlabelled, split_word
from cleanlab_lite.text import counted, listing

# Files that lie next to the data without being data; skipped and counted.
SIDECARS = {".csv", ".tsv", ".json", ".jsonl", ".parquet", ".npy", ".npz", ".txt", ".md", ".xml", ".yaml", ".yml"}
SIDECARS |= {".html", ".ini", ".db", ".py", ".log", ".mat", ".pkl", ".pickle", ".h5", ".hdf5", ".zip", ".tar", ".gz"}
SIDECARS |= {".tgz", ".7z", ".rar", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ipynb", ".sh", ".toml", ".cfg", ".pt"}
SIDECARS |= {".pth", ".onnx", ".safetensors", ".lst", ".arrow", ".sqlite", ".textgrid", ".lab", ".srt", ".rtf", ".bib"}
MEDIA = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".wav", ".flac", ".ogg", ".mp3"}
KNOWN = SIDECARS | MEDIA
TABLES = {".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".xml"}
LISTED = 20  # texts that could be a list, and lines of each
LOOKED_AT = 3  # files of an ending that says nothing, to see whether they are text
# Folders beside a folder of pictures that hold what was drawn on them.
PICTURES = {"images", "image", "imgs", "img", "pictures", "photos", "original", "originals"}
MASK = re.compile(r"(.+?)[ _-](?:masks?|seg|segmentation|groundtruth|gt)(?:[ _-]?\d+)?", re.IGNORECASE)
MASKS = re.compile(r"(?!with|no[ _-])\w+[ _-]masks")  # lung masks
NO_CLASS = "_background_noise_"  # of Speech Commands: minutes that noise is cut from
WEIGHTS = {".pt", ".pth", ".safetensors"}  # files of networks, which lie beside pictures
METADATA = {"metadata.csv", "metadata.jsonl", "metadata.parquet"}
RESOURCE_FORKS = "__MACOSX"  # what a Mac puts into an archive beside the data

AUTO = "auto"  # a layout: what is seen in the tree, also where tables lie beside it
LEAF, PATH = "leaf", "path"  # layouts: the innermost folder, or all folders, are the class
SUBMISSION = "submission"  # in the name of a table of Kaggle that shows what to hand in: its labels are made up
NAME = re.compile("name(?::([1-9][0-9]?))?")  # layouts: what stands before the number of a file's name, or a part of it
LEVELS = ("split", "class", "any")  # what a level of a layout is
EXPECTED = "levels such as 'class', 'split/class', 'class/any' or 'class/class', or 'leaf', 'path', 'name' or 'auto'"

DAMAGED = re.compile("[\udc80-\udcff]")  # bytes of names that are no characters
_COUNTED = re.compile(r"[\W\d_]+")  # what numbers the parts of something: batch_01, 2021-05


@dataclass(frozen=True)
class _Tree:
    """Data files by their folder, without the levels that say nothing."""

    root: str
    files: dict[Folder, list[str]]  # folder, as it counts -> its files, relative to the root
    counts: dict[Folder, Counter[str]]  # folder -> names right below it, and how many files are under them
    all: Sequence[str]  # files, also those that are no data
    notes: tuple[str, ...] = ()

    def below(self, folder: Folder = ()) -> dict[str, int]:
        """Names right below a folder -> data files under them."""
        return self.counts.get(folder, Counter())


@dataclass(frozen=True)
class _Reading:
    """What the folders of a file mean; None where it has no class."""

    layout: str
    of: dict[Folder, tuple[str, str] | None]  # -> class and split
    notes: tuple[str, ...] = ()


def read_tree(root: str, layout: str | None = None) -> Rows:
    """One row per file, folders and files in sorted order; columns `path` (relative to `root`), `label`, `split`.

    `layout` says what the levels are: `class`, `split` or `any` from the top down, joined by slashes (`split/class`,
    `class/class` for names like `mammal/cat`), or `leaf` or `path`: the innermost folder, or all of them, is the class.
    `name` is what stands before the number of a file's name (`cat.12.jpg`), `name:2` the second part of it, in folders
    at any depth. `auto` and None: what is seen in the tree.
    Folders that hold nothing but one other folder, folders doubled in themselves and copies of the tree inside it
    are passed over and do not count. Hidden files and folders are ignored.

    Raises ManifestError when there are no class folders with files, and where the tree can be read in several ways.
    """
    check_layout(layout)
    files = list(_walk(root))
    damaged = [path for path in files if DAMAGED.search(path)]
    if damaged:
        raise ManifestError(
            f"{root!r}: {len(damaged)} file names are not UTF-8: {listing(damaged, 5)}",
            hint="rename them, e.g. with `convmv -f WINDOWS-1252 -t UTF-8`",
        )
    metadata = [path for path in files if path.rpartition("/")[2] in METADATA]
    if metadata:
        raise ManifestError(
            f"{root!r}: metadata files in subfolders ({listing(metadata, 3)})",
            hint=f"give one of these folders, or all files as a glob: '{os.path.join(root, '*', 'metadata.*')}'",
        )
    where = {path: os.path.join(root, path) for path in files}
    store = _Store(lambda path: os.path.getsize(where[path]), lambda path: read_list(where[path]))
    columns, notes = _read(root, files, _data(root, files), layout, store)
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    folders = ((os.path.abspath(root), len(table)),)
    return Rows(root, table, "folder", folders, known={name: name for name in columns}, notes=tuple(notes))


def read_packed(paths: Sequence[str], layout: str | None = None) -> Rows:
    """As `read_tree`, of the folders in archives: columns `id`, `path` (the address in the archive), `label`, `split`.

    Archives that are called like splits or numbered parts, or that hold no folders but their own name, are folders
    themselves.
    """
    check_layout(layout)
    with reading(f"cannot read {title(paths)!r}", ManifestError, hint=WHOLE_ARCHIVE):
        inside = {path: names_in(path) for path in paths}
    stems = {path: os.path.splitext(os.path.basename(path))[0] for path in paths}
    media = {path: [name for name in names if ending(name) in MEDIA_ENDINGS] for path, names in inside.items()}
    flat = all(os.path.dirname(name) in ("", stems[path]) for path, names in media.items() for name in names)
    named = all(split_word(stem) or is_part(stem) for stem in stems.values())
    as_folders = len(paths) > 1 and len({*stems.values()}) == len(paths) and (named or flat)
    place: dict[str, Member] = {}
    for path, names in inside.items():
        for name in names:
            folder, _, file = name.rpartition("/")
            parts = [*([stems[path]] if as_folders else []), *([folder] if folder else []), file]
            if "/".join(parts) in place:  # the same name in another archive
                parts[-1] = f"{stems[path]}:{file}"
            place["/".join(parts)] = Member(os.path.abspath(path), name)
    data = [name for name in place if ending(name) in MEDIA_ENDINGS]
    if all("/" not in name for name in data) and not NAME.fullmatch(layout or ""):
        raise ManifestError(
            f"{title(paths)!r}: expected a folder per class, a table, or WebDataset, found "
            f"{listing(list(place), 5) or 'nothing'}",
            hint="WebDataset has key.jpg and key.cls; else unpack it, and give the table or the folder",
        )
    store = _Store(lambda name: size_in(place[name]), lambda name: read_member(place[name], LARGEST))
    columns, notes = _read(title(paths), list(place), data, layout, store)
    found = [place[name] for name in columns.pop("path")]
    uris = [uri_of(*each) for each in found]
    names = [each.name for each in found]
    columns = {"id": names if len({*names}) == len(names) else uris, "path": uris, **columns}
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    folders = ((os.path.dirname(os.path.abspath(paths[0])), len(table)),)
    return Rows(title(paths), table, "csv", folders, known={name: name for name in columns}, notes=tuple(notes))


@dataclass(frozen=True)
class _Store:
    """How files of a tree are looked at, by their paths in it; raises anything."""

    size: Callable[[str], int]
    read: Callable[[str], bytes]


def _read(
    root: str, files: Sequence[str], data: Sequence[str], layout: str | None, store: _Store
) -> tuple[dict[str, list[str]], list[str]]:
    """Columns `path`, `label` and, where there are splits, `split`; and notes."""
    guessed = layout in (None, AUTO)
    tree = _tree(root, data, files, store, guessed)
    by_name = NAME.fullmatch(layout or "")
    if set(tree.files) <= {()} and not by_name:
        raise _no_classes(root, files)
    meant = _guessed(tree) if guessed else _asked(tree, str(layout))
    found = {path: meaning for folder, paths in tree.files.items() if (meaning := meant.of[folder]) for path in paths}
    if by_name:
        words = {path: name_word(path, int(by_name[1] or 0)) for path in found}
        found = {path: (words[path], split) for path, (_, split) in found.items() if words[path]}
    if not found:
        raise _no_classes(root, files)
    rows = [path for path in files if path in found]
    columns = {"path": rows, "label": [found[path][0] for path in rows]}
    if guessed and len(set(columns["label"])) == 1:
        raise ManifestError(
            f"{root!r}: one class only, {columns['label'][0]!r:.60}, a folder with all of the files "
            f"({_kinds(rows)}); expected a folder per class",
            hint=_elsewhere(root, files),
        )
    people = [*check_folders(root, columns["label"], rows), *leftovers(columns["label"])] if guessed else []
    notes = [f"folders read as {meant.layout}", *people, *tree.notes, *meant.notes, *_left_out(files, tree, found)]
    if any(split for _, split in found.values()):
        columns["split"] = [found[path][1] for path in rows]
        notes.append(f"split level: {', '.join(sorted(set(columns['split'])))}")
    else:
        listed, said = listed_splits(store.read, files, rows)
        columns |= {"split": listed} if listed else {}
        notes += said
    return columns, notes


def check_layout(layout: str | None) -> None:
    """Raise ConfigError where it is none."""
    whole = layout in (None, AUTO, LEAF, PATH) or NAME.fullmatch(str(layout))
    levels = [] if whole else str(layout).split("/")
    known = set(levels) <= set(LEVELS) and levels.count("split") <= 1
    if levels and not (known and "class" in levels):
        raise ConfigError(f"--layout is {layout!r}, expected {EXPECTED}", hint="levels are counted from the top folder")


def _no_classes(root: str, files: Sequence[str]) -> ManifestError:
    return ManifestError(
        f"{root!r}: expected a folder per class with files in it, found {_kinds(files) or 'nothing'}",
        hint=_elsewhere(root, files),
    )


def _elsewhere(root: str, files: Sequence[str]) -> str:
    """Where the labels may be, if no folder is one: in other files, or in the names."""
    media = [path for path in files if ending(path) in MEDIA_ENDINGS]
    each, xml = _per_file(media, files), [path for path in files if ending(path) == ".xml"]
    if each or (len(xml) > 1 and not media):
        each = each or xml[0]
        if each.endswith(".xml"):
            pattern = os.path.join(root, os.path.dirname(each), "*.xml")
            return f"a file of labels per picture: those of Pascal VOC are read by a glob, '{pattern}'"
        return (
            f"a file of labels per picture or sound ({each!r}) is not read: write a CSV with the columns path and label"
        )
    if not media and (packed := [path for path in files if ending(path).partition("-")[0] == ".tfrecord"]):
        return f"of {packed[0]!r}: {what_to_do(os.path.join(root, packed[0]))}"
    tables = [path for path in files if ending(path) in TABLES and SUBMISSION not in path.casefold()]
    if any(ending(path) == ".parquet" and "/" in path for path in tables):
        return f"tables in subfolders need a glob, e.g. '{os.path.join(root, '**', '*.parquet')}'"
    if tables:
        called = {path: path.rpartition("/")[2].casefold() for path in tables}
        first = min(tables, key=lambda path: ("label" not in called[path], "train" not in called[path]))
        more = f"; also {listing([path for path in tables if path != first], 3)}" if len(tables) > 1 else ""
        return f"are the labels in a table? Name it, e.g. {os.path.join(root, first)!r}{more}"
    if archives := [path for path in files if ending(path) in (*ARCHIVES, ".npz")]:
        every = f", or all of them: '{os.path.join(root, '*' + ending(archives[0]))}'" if len(archives) > 1 else ""
        return f"name the archive: {os.path.join(root, archives[0])!r}{every}"
    silent = {"", ".txt", *(WEIGHTS if media else ())}
    unread = [path for path in files if ending(path).partition("-")[0] in UNREAD.keys() - silent]
    unread += [] if media else [path for path in files if ending(path) in ("", ".gz")]
    if unread:
        return f"of {unread[0]!r}: {what_to_do(os.path.join(root, unread[0]))}"
    if names := words_in_names(media):
        shown = "; ".join(f"--layout {layout} takes {listing(words, 3)}" for layout, words in names.items())
        return f"if the classes are in the names of the files: {shown}; else {TABLE}"
    if lists := _lists(root, media, files):
        return f"{lists!r} is a list of files and labels: {LINES}"
    return "give a manifest (CSV, TSV, JSONL, Parquet) with a path and a label in every row"


def _lists(root: str, media: Sequence[str], files: Sequence[str]) -> str:
    """A text whose lines name pictures or sounds and a label each; else ""."""
    known = {path.rpartition("/")[2] for path in media}
    known |= {os.path.splitext(name)[0] for name in known}
    texts = [path for path in files if ending(path) == ".txt"]
    for path in sorted(texts, key=lambda path: "train" not in path.rpartition("/")[2].casefold())[:LISTED]:
        with suppress(OSError, OverflowError, ValueError):
            lines = read_list(os.path.join(root, path)).decode().splitlines()[:LISTED]
            words = [line.split(None, 1) for line in lines]
            if words and all(len(pair) == 2 and pair[0].rpartition("/")[2] in known for pair in words):
                return path
    return ""


def _per_file(media: Sequence[str], files: Sequence[str]) -> str:
    """A text, JSON or XML called like a picture or sound, where half of these have one; else ""."""
    names = {path.rpartition("/")[2] for path in media}
    stems = names | {os.path.splitext(name)[0] for name in names}
    found = [
        path
        for path in files
        if ending(path) in (".txt", ".json", ".xml")
        and {os.path.splitext(name := path.rpartition("/")[2])[0], name.partition(".")[0]} & stems
    ]
    return found[0] if found and 2 * len(found) >= len(media) else ""


def _kinds(files: Iterable[str]) -> str:
    kinds = Counter(ending(path) or "no ending" for path in files).most_common(5)
    return ", ".join(f"{count} x {kind}" for kind, count in kinds)


def _data(root: str, files: Sequence[str]) -> list[str]:
    """Files that could be pictures or sounds: no sidecars, and no text by whatever ending."""
    keys = [(path.partition("/")[0], ending(path)) for path in files]  # the upper folder and the ending
    unknown: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for path, key in zip(files, keys, strict=True):
        if key[1] not in KNOWN:
            unknown[key].append(path)
    written = {key for key, paths in unknown.items() if all(_is_text(root, path) for path in paths[:LOOKED_AT])}
    return [path for path, key in zip(files, keys, strict=True) if key[1] not in SIDECARS and key not in written]


def _is_text(root: str, path: str) -> bool:
    """Whether a file begins like text, in UTF-8 and without control characters."""
    try:
        with open(os.path.join(root, path), "rb", 256) as file:
            head = file.read(256)
    except OSError:
        return False
    text = head.decode(errors="replace").rstrip("\ufffd")  # a character may be cut at the end
    return bool(text) and all(char.isprintable() or char in "\t\r\n" for char in text) and "\ufffd" not in text


def _left_out(files: Sequence[str], tree: _Tree, found: Mapping[str, object]) -> list[str]:
    """What is in no row: by its folder where it could be data, by its ending where not."""
    skipped = [path for path in files if path not in found]
    if not skipped:
        return []
    notes = [
        f"skipped {counted(len(skipped), 'file')}: no data, or outside the class folders ({_kinds(skipped)})",
    ]
    data = (path for paths in tree.files.values() for path in paths if path not in found and "/" in path)
    places = Counter(path.rpartition("/")[0] for path in data)
    if places:
        shown = ", ".join(f"{count} in {place!r}" for place, count in places.most_common(5))
        more = f", and in {len(places) - 5} more folders" if len(places) > 5 else ""
        notes.append(f"left out, as no class is known: {shown}{more}")
    return notes


# --- the tree that counts -------------------------------------------------------------------------------------------


def _tree(root: str, data: Sequence[str], everything: Sequence[str], store: _Store, guessed: bool) -> _Tree:
    """Without copies of itself, doubled folders and wrapping folders; `guessed`: nor masks and what programs leave."""
    found: defaultdict[Folder, list[str]] = defaultdict(list)
    for path in data:
        found[tuple(path.split("/")[:-1])].append(path)
    files, notes = _without_copies(store, dict(found))
    if drawn := _drawn(files):
        notes.append(f"left out, as drawn on the pictures beside: {listing(sorted(map('/'.join, drawn)), 5)}")
        files = {place: paths for place, paths in files.items() if place not in drawn}
    if masks := {path for paths in files.values() for path in _masks(paths)} if guessed else set():
        notes.append(
            f"left out, as drawn on the picture of the same name: {len(masks):,}, such as {min(masks)!r}; "
            "--layout class takes them"
        )
        files = {place: [path for path in paths if path not in masks] for place, paths in files.items()}
    if guessed:
        files, said = _without_unnamed(store, files)
        notes += said
    if left := outputs_in(files) if guessed else []:
        notes.append(
            f"left out, as {listing(sorted(map('/'.join, left)), 5)} may be the output of programs: "
            "--layout class takes all folders as classes"
        )
        files = {place: paths for place, paths in files.items() if not any(place[: len(each)] == each for each in left)}
    counted, doubled = _without_doubles({folder: folder for folder in files})
    if doubled:
        notes.append(f"folders doubled in themselves, counted once: {listing(sorted(doubled), 5)}")
    wrappers: list[str] = []
    while (top := _wrapper(counted.values())) is not None:
        wrappers.append(top)
        counted = {folder: place[1:] for folder, place in counted.items()}
    if wrappers:
        notes.append(f"the folders that count are in {'/'.join(wrappers)!r}")
    merged: defaultdict[Folder, list[str]] = defaultdict(list)
    for folder, place in counted.items():
        merged[place] += files[folder]
    counts: defaultdict[Folder, Counter[str]] = defaultdict(Counter)
    for place, paths in merged.items():
        for depth, name in enumerate(place):
            counts[place[:depth]][name] += len(paths)
    return _Tree(root, dict(merged), dict(counts), everything, tuple(notes))


def _without_copies(store: _Store, files: dict[Folder, list[str]]) -> tuple[dict[Folder, list[str]], list[str]]:
    """An archive that was packed with itself inside: a folder whose files all lie outside it, too, by name and size."""
    notes = []
    children: defaultdict[Folder, set[str]] = defaultdict(set)
    for place in files:
        for depth in range(len(place)):
            children[place[:depth]].add(place[depth])
    for parent in sorted(children, key=len):
        for name in sorted(children[parent]):
            inner = (*parent, name)
            if not children.get(inner) or not children[inner] <= children[parent] - {name}:
                continue
            inside = _names(files, inner)
            if inside <= _names(files, parent, without=inner) and _as_large(
                store, "/".join(parent), "/".join(inner), inside
            ):
                files = {place: paths for place, paths in files.items() if place[: len(inner)] != inner}
                notes.append(f"left out {'/'.join(inner)!r}: beside it lies the same, {counted(len(inside), 'file')}")
    return files, notes


def _names(files: Mapping[Folder, Sequence[str]], folder: Folder, without: Folder | None = None) -> set[str]:
    """Files under a folder, relative to it."""
    start = len("/".join(folder)) + bool(folder)
    return {
        path[start:]
        for place, paths in files.items()
        if place[: len(folder)] == folder and (without is None or place[: len(without)] != without)
        for path in paths
    }


def _without_unnamed(store: _Store, files: dict[Folder, list[str]]) -> tuple[dict[Folder, list[str]], list[str]]:
    """Without small pictures of others, folders that nobody has named, and copies of folders; and notes.

    Raises ManifestError where a folder is called like a copy of another, and is none.
    """
    notes = []
    small, unnamed = unnamed_in(files)
    if small:
        notes.append(f"left out, as small pictures of others: {listing(list(map('/'.join, small)), 5)}")
    if unnamed:
        shown = listing(list(map("/".join, unnamed)), 5)
        notes.append(f"left out, as nobody has named these folders: {shown}; --layout class takes them as classes")
    left = [*small, *unnamed]
    files = {place: paths for place, paths in files.items() if not any(place[: len(each)] == each for each in left)}
    every = files
    for place, original in copies_in(every):
        copy, name = "/".join(place), "/".join(original)
        inside = {path.rpartition("/")[2] for path in every[place]}
        beside = {path.rpartition("/")[2] for path in every[original]}
        if not inside <= beside or not _as_large(store, name, copy, inside):
            raise ManifestError(
                f"{copy!r} is called like a copy of {name!r} beside it, and holds other files: is it a class?",
                hint=f"move its files into {name!r} if they belong there; {_by_level(place)} takes it as a class",
            )
        files = {other: paths for other, paths in files.items() if other != place}
        notes.append(f"left out {copy!r}: a copy of {name!r}, {counted(len(inside), 'file')}")
    return files, notes


def _by_level(place: Folder) -> str:
    """The layout by which the last of some folders is the class."""
    levels = ["split" if split_word(name) else "any" for name in place[:-1]]
    return f"--layout {'/'.join([*levels, 'class'])}"


def _drawn(files: Mapping[Folder, Sequence[str]]) -> set[Folder]:
    """Folders of masks or annotations that lie beside one of pictures, or beside splits."""
    pictured = {
        place[:depth]
        for place in files
        for depth, name in enumerate(place)
        if name.casefold() in PICTURES or split_word(name)
    }
    return {
        place
        for place in files
        if any(
            (name.casefold().replace("_", "") in DRAWN or MASKS.fullmatch(name.casefold()))
            and place[:depth] in pictured
            for depth, name in enumerate(place)
        )
    }


def _masks(paths: Sequence[str]) -> list[str]:
    """Pictures of a folder that are called like another one in it, with `_mask` or the like behind: `3_mask.png`."""
    pictures = [path for path in paths if ending(path) in IMAGE_ENDINGS]
    stems = {os.path.splitext(path)[0] for path in pictures}
    found = ((path, MASK.fullmatch(os.path.splitext(path)[0])) for path in pictures)
    return [path for path, match in found if match and match[1] in stems]


def _as_large(store: _Store, folder: str, copy: str, names: set[str], limit: int = 50) -> bool:
    """Whether some of the files of a copy are as large as those that they are copies of."""
    start = f"{folder}/" if folder else ""
    try:
        return all(store.size(start + name) == store.size(f"{copy}/{name}") for name in sorted(names)[:limit])
    except OSError:
        return False


def _without_doubles(counted: dict[Folder, Folder]) -> tuple[dict[Folder, Folder], set[str]]:
    """`train/train/cat` as `train/cat`, where `train` holds nothing else."""
    doubled = set()
    for depth in range(max(map(len, counted), default=0) - 1, 0, -1):
        inside: defaultdict[Folder, set[str]] = defaultdict(set)
        for place in counted.values():
            if len(place) >= depth:
                inside[place[:depth]].add(place[depth].casefold() if len(place) > depth else "")
        same = {folder for folder, names in inside.items() if names == {folder[-1].casefold()}}
        doubled |= {"/".join((*folder, folder[-1])) for folder in same}
        counted = {
            folder: (*place[:depth], *place[depth + 1 :]) if place[:depth] in same else place
            for folder, place in counted.items()
        }
    return counted, doubled


def _wrapper(places: Iterable[Folder]) -> str | None:
    """The one folder that all data lie in, some level further down, unless it says of which split they are."""
    inside = [place for place in places if place]
    tops = {place[0] for place in inside}
    if len(tops) != 1 or any(len(place) == 1 for place in inside):
        return None
    (top,) = tops
    return None if split_word(top) else top


# --- what its levels mean -------------------------------------------------------------------------------------------


def _asked(tree: _Tree, layout: str) -> _Reading:
    """As the user says; classes are "" where the names of files say them."""
    if NAME.fullmatch(layout):
        words = bool(tree.below()) and all(map(split_word, tree.below()))
        level = 0 if words else _split_level(tree, strict=False)
        return _Reading(layout, {folder: ("", _apart(folder, level)[0]) for folder in tree.files})
    if layout in (LEAF, PATH):
        level = _split_level(tree, strict=False)
        joined = {}
        for folder in tree.files:
            split, rest = _apart(folder, level)
            joined[folder] = (rest[-1] if layout == LEAF else "/".join(rest), split) if rest else None
        return _Reading(layout, joined)
    levels = re.sub("(/any)+$", "", layout).split("/")  # what is below the last name may be missing
    meanings: dict[Folder, tuple[str, str] | None] = {}
    for folder in tree.files:
        names: dict[str, list[str]] = {"class": [], "split": [], "any": []}
        for kind, name in zip(levels, folder, strict=False):
            names[kind].append(name)
        whole = len(folder) >= len(levels)
        meanings[folder] = ("/".join(names["class"]), "".join(names["split"])) if whole else None
    return _Reading(layout, meanings)


def _apart(folder: Folder, split_level: int | None) -> tuple[str, Folder]:
    """Name of the split, and the other folders."""
    if split_level is None or split_level >= len(folder):
        return "", () if split_level == 0 else folder
    return folder[split_level], (*folder[:split_level], *folder[split_level + 1 :])


def _guessed(tree: _Tree) -> _Reading:
    """As the names say, if they agree. Raises ManifestError where they do not."""
    level = _split_level(tree)
    by_split: defaultdict[str, set[Folder]] = defaultdict(set)
    parts = {folder: _apart(folder, level) for folder in tree.files}
    parts = {folder: (split, () if is_unlabelled(split) else rest) for folder, (split, rest) in parts.items()}
    while _is_around([rest for _, rest in parts.values() if rest]):
        parts = {folder: (split, rest[1:]) for folder, (split, rest) in parts.items()}
    parts = {folder: (split, () if rest[:1] == (NO_CLASS,) else rest) for folder, (split, rest) in parts.items()}
    for split, rest in parts.values():
        by_split[split].add(rest)
    if level is None:
        idle = {name for name in tree.below() if is_unlabelled(name)}
        flat = {name for name in tree.below() if is_tests(name) and not tree.below((name,))}
        idle |= flat if len(tree.below()) - len(flat) > 1 else set()
        parts = {folder: (split, rest if not idle & set(rest[:1]) else ()) for folder, (split, rest) in parts.items()}
    elif idle := _without_classes(tree, by_split):
        parts = {folder: (split, () if split in idle else rest) for folder, (split, rest) in parts.items()}
    if len(only := {split for split, rest in parts.values() if rest}) == 1 and not any(map(split_word, only)):
        parts = {folder: ("" if split in only else split, rest) for folder, (split, rest) in parts.items()}
    places = {rest for _, rest in parts.values() if rest}
    if not places:
        raise _ambiguous(tree, "no folder in it is a class", ("class",))
    deeper = _check_depth(tree, places, level)
    of = {folder: (rest[0], split) if rest else None for folder, (split, rest) in parts.items()}
    layout = {None: "class", 0: "split/class", 1: "class/split"}[level]
    notes = (f"folders inside class folders are not told apart: {listing(deeper, 5)}",) if deeper else ()
    return _Reading(layout, of, notes)


def _is_around(places: Sequence[Folder]) -> bool:
    """Whether one folder, in every split, holds the classes, some pictures of no class beside them or not."""
    inside = {place[1] for place in places if len(place) > 1}
    return len({place[0] for place in places}) == 1 and (all(len(place) > 1 for place in places) or len(inside) > 1)


def _split_level(tree: _Tree, strict: bool = True) -> int | None:
    """The level whose names are split words, 0 or 1; None without one. Not `strict`: None also where names disagree."""

    def unclear(why: str, *layouts: str) -> None:
        if strict:
            raise _ambiguous(tree, why, layouts)

    tops = list(tree.below())
    deep = {top: set(tree.below((top,))) for top in tops}
    words = [top for top in tops if split_word(top) or is_part(top)]
    rest = [top for top in tops if top not in words and not is_unlabelled(top)]
    classes = any(deep[top] for top in words)
    if words and not rest:
        if not classes:
            if strict:
                error = _ambiguous(
                    tree, "folders are named like splits or parts, and hold no class folders", ("class",)
                )
                error.hint = f"{_elsewhere(tree.root, tree.all)}; or {error.hint}"
                raise error
            return None
        return 0
    if words and classes:
        known = set().union(*(deep[top] for top in words))
        if len(words) > 1 and all(deep[top] <= known for top in rest):
            return 0  # a split of a name of its own, or pictures of no class
        unclear(f"{listing(words, 5)} could be splits, {listing(rest, 5)} not", "split/class", "class")
        return None
    if words and all(map(is_held_back, words)) and len(rest) == 1 and len(deep[rest[0]]) > 1:
        return 0  # pictures for tests without classes, beside a folder of classes of any name
    second = set().union(*(deep[top] for top in rest)) if rest else set()
    named = {name for name in second if split_word(name)}
    if named and named == second and not any((top,) in tree.files for top in rest):
        return 1
    if len(named) > 1 or any(map(is_held_back, named)):
        unclear(f"{listing(sorted(named), 5)} could be splits inside the classes", "class/split", "class")
    return None


def _without_classes(tree: _Tree, by_split: Mapping[str, set[Folder]]) -> set[str]:
    """Splits whose one folder is no class of the others, such as `val/images`.

    Raises ManifestError where the classes of splits have nothing in common.
    """
    classes = {split: {rest[0] for rest in places if rest} for split, places in by_split.items()}
    several = {split for split, names in classes.items() if len(names) > 1}
    known = set().union(*(classes[split] for split in several)) if several else set()
    for split in sorted(several):
        others = set().union(*(classes[other] for other in several if other != split)) if len(several) > 1 else set()
        if others and not classes[split] & others:
            why = f"the folders in {split!r} ({listing(sorted(classes[split]), 5)}) are none of those in other splits"
            raise _ambiguous(tree, why, ("split/class",))
    return {split for split, names in classes.items() if known and len(names) == 1 and not names & known}


def _check_depth(tree: _Tree, places: set[Folder], split_level: int | None) -> list[str]:
    """Folders inside class folders that are only parts of a class. Raises ManifestError where they could be classes."""
    inner = sorted({"/".join(place[:2]) for place in places if len(place) > 1})
    passed = 0  # levels of one name in all classes: photos, or the like
    while all(len(place) > 2 for place in places) and len({place[1] for place in places}) == 1:
        places = {(place[0], *place[2:]) for place in places}
        passed += 1
    second: defaultdict[str, set[str]] = defaultdict(set)
    for place in places:
        if len(place) > 1:
            second[place[0]].add(place[1])
    flat = {place[0] for place in places if len(place) == 1}
    names = set().union(*second.values()) if second else set()
    stems = {_COUNTED.sub("", name.casefold()) for name in names}
    repeated = sorted(name for name in names if sum(name in found for found in second.values()) > 1)
    if are_people(list(second)) and len(names) > 1 and repeated == sorted(names):
        layouts = tuple(f"{'split/' * (split_level == 0)}{levels}" for levels in ("any/class", "class/any"))
        inside = listing(repeated, 4)
        why = f"folders such as {min(second)!r} could be people, places or days, and {inside} in them classes"
        raise _ambiguous(tree, why, layouts)
    if len(stems) <= 1 or all(len(found) == 1 for found in second.values()):
        return inner  # one name, numbered ones, or one in every class
    if all(top in flat for top in second):  # a class has files of its own: what lies deeper belongs to it
        return inner
    middle = "/".join(["split"] * (split_level == 1) + ["any"] * passed)
    start, middle = "split/" * (split_level == 0), f"{middle}/" if middle else ""
    layouts = (f"{start}class/{middle}any", f"{start}any/{middle}class", f"{start}class/{middle}class")
    if repeated:
        raise _ambiguous(tree, f"the same folders repeat in others ({listing(repeated, 5)})", layouts)
    raise _ambiguous(tree, "there are two levels of folders, and both could be the classes", layouts)


def _ambiguous(tree: _Tree, why: str, layouts: Sequence[str]) -> ManifestError:
    return ManifestError(
        f"{tree.root!r} can be read in several ways: {why}\n{_picture(tree)}",
        hint=f"say what the levels are, e.g. {' or '.join(f'--layout {layout}' for layout in layouts)}; "
        "also --layout leaf (the innermost folder) or path (all of them)",
    )


def _picture(tree: _Tree, limit: int = 12) -> str:
    """The upper three levels, a line for each folder at the top."""
    tops = sorted(tree.below().items())
    lines = [f"  {top}/{_inside(tree, (top,))}  {counted(count, 'file')}" for top, count in tops[:limit]]
    return "\n".join(lines + ([f"  and {counted(len(tops) - limit, 'more folder')}"] if len(tops) > limit else []))


def _inside(tree: _Tree, folder: Folder, limit: int = 6) -> str:
    names = sorted(tree.below(folder))
    if not names:
        return ""
    deeper = [f"{name}/{_inside(tree, (*folder, name), 3)}" if len(folder) < 2 else name for name in names[:limit]]
    return "{" + ", ".join(text.removesuffix("/") for text in deeper + ["..."] * (len(names) > limit)) + "}"


# --- walking ------------------------------------------------------------------------------------------------------


def _refuse(error: OSError) -> None:
    """A class folder that cannot be read must not go missing quietly."""
    raise unreadable(str(error.filename), error) from error


def _walk(root: str) -> Iterator[str]:
    """Relative paths with forward slashes, sorted folder by folder. Links are followed, loops are not."""
    root = os.path.normpath(root)
    lineage: dict[str, frozenset[str]] = {}  # folder -> real paths from the root to it
    for folder, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        above = lineage.get(os.path.dirname(folder), frozenset())
        if (real := os.path.realpath(folder)) in above:
            folders.clear()
            continue
        lineage[folder] = above | {real}
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != RESOURCE_FORKS)
        prefix = os.path.relpath(folder, root).replace(os.sep, "/") + "/"
        yield from (prefix.removeprefix("./") + name for name in sorted(files) if not name.startswith("."))

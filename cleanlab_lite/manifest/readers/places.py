"""Where the files are, where they do not lie as the cells say: one rule for all rows, found by looking once.

The files below the manifest's folder are listed, within bounds, and compared with the first cells: in another folder,
with another ending, in other case or Unicode form, by the numbers in names, with other slashes, behind the prefix of
another machine. A rule is used where it finds nearly all rows, each a file of its own, and said in a note. The user's
cells stay as they are.
"""

from __future__ import annotations

import filecmp
import os
import re
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal, TypeVar
from urllib.parse import unquote

import numpy as np

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.files import is_remote
from cleanlab_lite.manifest.readers.base import DRAWN, Rows, ending, is_text, locate, plain, texts, unpadded
from cleanlab_lite.manifest.roles import spelled
from cleanlab_lite.manifest.sniff import MEDIA_ENDINGS
from cleanlab_lite.manifest.splits import split_word
from cleanlab_lite.text import listing

SAMPLE = 40  # cells that a rule is tried on, spread over the rows
FIRST = 8  # of these, cells that rules are made of
RULES = 40  # tried on the sample
NEARLY_ALL = 0.9  # of the rows that a rule must find
FEW = 0.5  # of the sample: where as many lie as the cells say, nothing is looked for
MOST_FILES = 200_000  # listed of a folder
DEEPEST = 8  # folders below it
MOST_BESIDE = 1000  # folders that lie beside that of the table
SHOWN = 3  # places in a message

FOLDER_COLUMNS = ("folder", "dir", "directory", "subfolder", "subdir", "foldername", "dirname", "subdirectory")
TABLE_FOLDERS = ("annotation", "annotations", "anno", "label", "labels", "meta", "metadata", "csv", "json")
BLANKS = " \t\r\n\u00a0\u200b\ufeff"
# What programs write in front of the paths that they were given
FOREIGN = re.compile(r"(?:https?://[^/]+)?/data/(?:local-files/\?d=|upload/(?:[0-9]+/)?)")
QUOTED = re.compile(r"%[0-9A-Fa-f]{2}")
DRIVE = re.compile(r"[A-Za-z]:(?=/)")
HASHED = re.compile(r"[0-9a-f]{8}-(?=.)")  # Label Studio, before the name of an uploaded file

PLAIN = re.compile(r"\w[\w.-]*")  # a name alone
NO_TEXT = re.compile("[\ud800-\udfff]")  # bytes that are no characters
DIGITS = re.compile(r"[0-9]+")
WHOLE = re.compile(r"[0-9]+\.0")  # a number of pandas

Ending = Literal["kept", "added", "other"]
T = TypeVar("T")


@dataclass(frozen=True)
class Places:
    """What the user says of where the files are, "" where nothing is said; and, for one reading of a dataset, what was
    found there: rows are understood several times before it is clear what they are."""

    prefix: str = ""  # text before every cell
    suffix: str = ""  # text behind every cell
    root: str = ""  # folder that relative paths start from, and that files are looked for in
    found: dict[tuple[object, ...], tuple[np.ndarray, list[str]]] = field(default_factory=dict, compare=False)
    indices: dict[str, _Index] = field(default_factory=dict, compare=False)  # by their folders

    def index(self, folder: str) -> _Index:
        """Of the files below a folder, which is walked once."""
        if folder not in self.indices:
            self.indices[folder] = _Index.of(folder)
        return self.indices[folder]


def find_files(rows: Rows, cells: Sequence[str], asked: Places) -> tuple[np.ndarray, list[str]]:
    """(n,) str absolute paths and URLs of the files that n cells name, "" where a cell is empty; and notes."""
    key = (rows.path, rows.folders, tuple(rows.table.column_names), tuple(cells))
    if key not in asked.found:
        asked.found[key] = _find_files(rows, cells, asked)
    uris, notes = asked.found[key]
    return uris, [*notes]


def are_files(paths: Sequence[str]) -> list[bool]:
    """Which of n local paths are files: where many are in one folder this is listed once, as looking at each is slow on
    disks of other machines."""
    places = [os.path.split(path) for path in paths]
    crowded = {folder for folder, count in Counter(folder for folder, _ in places).items() if count > SAMPLE}
    listed = {folder: names for folder in crowded if (names := _names_in(folder)) is not None}
    folded = {folder: set(map(_fold, names)) for folder, names in listed.items()}
    return [
        (folder in listed and name in listed[folder])
        # A disk may not tell cases or Unicode forms apart
        or ((folder not in listed or _fold(name) in folded[folder]) and os.path.isfile(path))
        for path, (folder, name) in zip(paths, places, strict=True)
    ]


def _names_in(folder: str) -> set[str] | None:
    """Names of the files in a folder, none where it is not there; None where it cannot be listed."""
    try:
        with os.scandir(folder or ".") as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError:
        return None


def _find_files(rows: Rows, cells: Sequence[str], asked: Places) -> tuple[np.ndarray, list[str]]:
    folders = _folders(rows, asked)
    paths = [f"{asked.prefix}{cell}{asked.suffix}" if cell else "" for cell in cells]
    uris = [locate(path, folder) for path, folder in zip(paths, folders, strict=True)]
    fetched = bool(asked.root) and not is_remote(asked.root)  # what addresses name lies there
    local = [row for row, uri in enumerate(uris) if uri and (fetched or not is_remote(uri))]
    sample = _few(local, SAMPLE)
    there = sum(os.path.isfile(uris[row]) for row in sample)
    if not sample or there >= FEW * len(sample):
        return np.array(uris, dtype=str), []
    if len(set(cells)) < len(cells) and (inside := _folder_column(rows, cells)):
        joined = [f"{folder}/{cell}" if cell else "" for folder, cell in zip(texts(rows, inside), cells, strict=True)]
        places, notes = find_files(replace(rows, table=rows.table.drop_columns([inside])), joined, asked)
        if sum(os.path.isfile(places[row]) for row in sample) >= NEARLY_ALL * len(sample):
            return places, [f"files: in the folders that column {inside!r} names", *notes]
    there_too = are_files([uris[row] for row in local])
    missing = [row for row, present in zip(local, there_too, strict=True) if not present]
    seen = [row for row in sample if not os.path.isfile(uris[row])]
    found, note = _look(rows.path, paths, folders, missing, seen, asked)
    for row, uri in found.items():
        uris[row] = uri
    return np.array(uris, dtype=str), [note] if note else []


def _folder_column(rows: Rows, cells: Sequence[str]) -> str:
    """The column of text that says in which folder a file is, by its name, or as the files are there; else ""."""
    columns = [name for name in rows.table.column_names if is_text(plain(rows.table, name).type)]
    called = [name for name in columns if spelled(name) in FOLDER_COLUMNS]
    sample = _few(range(len(cells)), FIRST)
    starts = _folders(rows, Places())
    for name in called + columns:
        inside = rows.table[name].take(list(sample)).to_pylist()
        pairs = [(row, _tidy(folder)) for row, folder in zip(sample, inside, strict=True) if folder and cells[row]]
        if pairs and all(os.path.isfile(os.path.join(starts[row], *folder, cells[row])) for row, folder in pairs):
            return name
    return next(iter(called), "")


def missing_of(uris: Sequence[str], path: str, column: str) -> ManifestError | None:
    """What to say where not one of the files in a column is there; None where one is, or is not on this machine."""
    local = [uri for uri in uris if uri and not is_remote(uri)]
    if not local or len(local) < sum(map(bool, uris)) or any(map(os.path.isfile, local)):
        return None
    base = path if os.path.isdir(path) else os.path.dirname(path)
    return ManifestError(
        f"{path!r}: missing: {len(local):,} of {len(uris):,} files; looked for {listing(local, SHOWN)}",
        hint=_advice(base, local, column),
    )


def _advice(base: str, missing: Sequence[str], column: str) -> str:
    """What to do where no file is found: the one option, where a look around shows it."""
    names = [os.path.basename(uri) for uri in _few(missing, SAMPLE)]
    above = os.path.dirname(base)
    for folder in (base, above) if above != os.path.dirname(above) else (base,):
        index = _Index.of(folder)
        found = [_named(index, name)[0] for name in names]
        holding = Counter(inside for files in found for inside in {os.path.dirname(rel) for rel in files})
        inside, count = holding.most_common(1)[0] if holding else ("", 0)
        if count < FEW * len(names):  # spread over several
            inside = os.path.commonpath(holding) if holding and sum(map(bool, found)) >= FEW * len(names) else ""
        if inside or count >= FEW * len(names):
            first = next(rel for files in found for rel in files)
            where = os.path.join(folder, inside)
            return f"{where!r} holds {os.path.basename(first)!r}: --path-root {_typed(where)}"
    index = _Index.of(base)
    media = [rel for rel in index.files if ending(rel) in MEDIA_ENDINGS]
    seen = (
        f"pictures or sounds below {base!r}: {len(media):,}, such as {media[0]!r}"
        if media
        else (f"no picture or sound lies below {base!r}")
    )
    return (
        f"{seen}; is {column!r} the column of the paths (--path-column)? "
        "--path-root DIR says in which folder the files are"
    )


def _typed(path: str) -> str:
    """As a user in this folder would type it."""
    relative = os.path.relpath(path)
    shown = path if relative.startswith(os.path.join("..", "..")) else relative
    return f"'{shown}'" if re.search(r"[^\w./-]", shown) else shown


def _folders(rows: Rows, asked: Places) -> list[str]:
    if asked.root:
        if not is_remote(asked.root) and not os.path.isdir(asked.root):
            raise ManifestError(f"--path-root {asked.root!r} is no folder", hint="name the folder of the files")
        root = asked.root if is_remote(asked.root) else os.path.abspath(asked.root)
        return [root] * len(rows.table)
    return [folder for folder, count in rows.folders for _ in range(count)]


# --- a rule ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    """How a cell becomes a path below the folder."""

    above: str = ""  # folder put before, "" or with a slash behind
    strip: int = 0  # leading folders of the cell that are left out
    ending: Ending = "kept"
    usual: str = ""  # the ending where several would do
    hashed: bool = False  # eight digits before the name are left out
    anywhere: bool = False  # by name, wherever it lies
    between: str = ""  # folders put between those of the cell and the name, "" or with a slash behind
    quoted: bool = False  # the cell is written as in an address, with %20 for a blank
    padded: bool = False  # by the numbers in names, whatever zeros stand before them

    def find(self, index: _Index, cell: str) -> str:
        """The file of a cell, relative to the folder of the index; "" where there is none, or several."""
        parts = _tidy(unquote(cell) if self.quoted else cell)
        if len(parts) <= self.strip:
            return ""
        *folders, name = parts[self.strip :]
        if self.hashed:
            name = HASHED.sub("", name, count=1)
        if self.anywhere:
            found = _numbered(index, name) if self.padded else _named(index, name)[0]
            return found[0] if len(found) == 1 else ""
        path = self.above + "/".join((*folders, self.between + name))
        if self.ending == "kept":
            return _one(index.by_path.get(_fold(path), []), path)
        stem = path if self.ending == "added" else os.path.splitext(path)[0]
        return _one(index.by_stem_path.get(_fold(stem), []), stem + self.usual)


def _one(found: Sequence[str], wanted: str) -> str:
    """The one that is spelled as wanted, or the only one."""
    return wanted if wanted in found else found[0] if len(found) == 1 else ""


def _tidy(cell: str) -> list[str]:
    """The folders and the name in a cell, without what other machines and programs write around them."""
    if PLAIN.fullmatch(cell):
        return [cell]
    path = cell.strip(BLANKS)
    if found := FOREIGN.match(path):
        path = unquote(path[found.end() :])
    path = path.replace("\\", "/")
    path = DRIVE.sub("", path.removeprefix("file://"))
    return [part for part in (part.strip(BLANKS) for part in path.split("/")) if part not in ("", ".", "..")]


def _fold(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).casefold()


def _numbered(index: _Index, name: str) -> list[str]:
    """Files of the same numbers, with other zeros before them: `7` is `0007.png`, or `image_07.png`."""
    name = name.removesuffix(".0") if WHOLE.fullmatch(name) else name
    stem, ending = os.path.splitext(name)
    found = index.by_number().get(unpadded(stem if ending.lower() in MEDIA_ENDINGS else name), [])
    return found if any(map(str.isdigit, name)) else []


@dataclass
class _Index:
    """Files below a folder, relative to it with forward slashes, by what they may be called."""

    folder: str
    files: list[str] = field(default_factory=list)
    by_path: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    by_name: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    by_stem: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # pictures and sounds only
    by_stem_path: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    numbered: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def by_number(self) -> dict[str, list[str]]:
        """Pictures and sounds by their names without endings and without zeros before numbers; and by their numbers,
        where all have one, and the same text around it."""
        if not self.numbered:
            alike = {DIGITS.sub("#", stem) for stem in self.by_stem}
            counted = len(alike) == 1 and alike.pop().count("#") == 1
            for stem, paths in self.by_stem.items():
                key = unpadded(stem)
                self.numbered[key] += paths
                if counted and not key.isdigit():
                    self.numbered["".join(DIGITS.findall(key))] += paths
        return self.numbered

    @classmethod
    def of(cls, folder: str) -> _Index:
        index = cls(folder, list(islice(_walk(folder), MOST_FILES)))
        for path in index.files:
            folded = _fold(path)
            name = folded.rpartition("/")[2]
            index.by_path[folded].append(path)
            index.by_name[name].append(path)
            stem, ending = os.path.splitext(folded)
            if ending in MEDIA_ENDINGS:
                index.by_stem[stem.rpartition("/")[2]].append(path)
                index.by_stem_path[stem].append(path)
        return index


def _walk(folder: str) -> Iterable[str]:
    """Nearest first. Links are followed, loops are not; hidden folders and runs are left out."""
    waiting = deque([("", 0)])
    seen: set[str] = set()
    while waiting:
        relative, depth = waiting.popleft()
        real = os.path.realpath(os.path.join(folder, relative))
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(real), key=lambda entry: entry.name)
        except OSError:  # not ours to read
            continue
        for entry in entries:
            if entry.name.startswith(".") or NO_TEXT.search(entry.name):
                continue
            path = f"{relative}/{entry.name}" if relative else entry.name
            try:
                folder_too = entry.is_dir()
            except OSError:  # a link that runs in circles
                continue
            if not folder_too:
                yield path
            elif depth < DEEPEST and entry.name not in ("nlclean-runs", "__MACOSX"):
                waiting.append((path, depth + 1))


def _named(index: _Index, name: str) -> tuple[list[str], Ending]:
    """Files of that name, else with an ending added, else with another one."""
    folded = _fold(name)
    if found := index.by_name.get(folded):
        return found, "kept"
    if found := index.by_stem.get(folded):
        return found, "added"
    stem, ending = os.path.splitext(folded)
    return (index.by_stem.get(stem, []) if ending in MEDIA_ENDINGS else []), "other"


def _rules(index: _Index, cell: str) -> Iterable[_Rule]:
    """By which rules this cell would be one of the files."""
    for quoted in (False, True) if QUOTED.search(cell) else (False,):
        parts = _tidy(unquote(cell) if quoted else cell)
        if not parts:
            continue
        *folders, name = parts
        hashed = False
        found, ending = _named(index, name)
        if not found and HASHED.match(name):
            hashed = True
            found, ending = _named(index, HASHED.sub("", name, count=1))
        for path in found[:RULES]:
            *there, last = path.split("/")
            usual = "" if ending == "kept" else os.path.splitext(last)[1]
            same = 0
            while same < min(len(there), len(folders)) and _fold(there[-1 - same]) == _fold(folders[-1 - same]):
                same += 1
            above = "/".join(there[: len(there) - same])
            yield _Rule(f"{above}/" if above else "", len(folders) - same, ending, usual, hashed, quoted=quoted)
            if 0 < len(folders) < len(there) and [*map(_fold, there[: len(folders)])] == [*map(_fold, folders)]:
                between = "/".join(there[len(folders) :])
                yield _Rule("", 0, ending, usual, hashed, between=f"{between}/", quoted=quoted)


def _look(
    table: str,
    paths: Sequence[str],
    folders: Sequence[str],
    missing: Sequence[int],
    sample: Sequence[int],
    asked: Places,
) -> tuple[dict[int, str], str]:
    """Row -> file of the rows `missing`, by the one rule that finds nearly all of them; and what it is, in a note.

    Raises ManifestError where several rules find other files of the same names.
    """
    local = {folder: None for folder in folders if not is_remote(folder)}
    if len(local) > SAMPLE:
        return {}, ""
    indices = {folder: asked.index(folder) for folder in local}
    rows = [row for row in sample if folders[row] in indices]
    if _are_namesakes([paths[row] for row in missing], indices.values()):
        return {}, ""
    made = Counter(rule for row in rows[:FIRST] for rule in _rules(indices[folders[row]], paths[row]))
    rules = [rule for rule, _ in made.most_common(RULES)]
    rules += [_Rule(anywhere=True), _Rule(anywhere=True, hashed=True)]

    def hits(rule: _Rule) -> int:
        return sum(bool(rule.find(indices[folders[row]], paths[row])) for row in rows)

    # Of rules that find as many, one that uses all folders of the cells: the others may lead to namesakes.
    rank = {rule: (-hits(rule), rule.anywhere, rule.strip) for rule in rules}
    for rule in [*sorted(rules, key=rank.__getitem__)[:FIRST], _Rule(anywhere=True, padded=True)]:
        if hits(rule) < FEW * len(rows):
            continue  # it cannot find nearly all
        rivals = [other for other in rules if not rule.anywhere and rank[other] == rank[rule]]
        if rivals and -rank[rule][0] >= NEARLY_ALL * len(rows):
            files = {
                other: [os.path.join(folders[row], other.find(indices[folders[row]], paths[row])) for row in rows]
                for other in rivals
            }
            rule = _meant(table, files, list(indices.values()), len({paths[row] for row in missing}))
        found = {
            row: os.path.join(folders[row], path)
            for row in missing
            if folders[row] in indices and (path := rule.find(indices[folders[row]], paths[row]))
        }
        distinct = len({paths[row] for row in found})
        if len(found) >= NEARLY_ALL * len(missing) and len(set(found.values())) == distinct:
            note = _note(rule, paths, folders, found, len(missing))
            if rule.padded and len(found) < len(missing) and (doubled := _doubled(indices, paths, folders, missing)):
                note += f"; not found: {len(doubled):,}, as {_either(paths, doubled)}"
            return found, note
    _refuse_doubled(table, indices, paths, folders, missing, rows)
    above = {row: os.path.dirname(folders[row]) for row in missing if not is_remote(folders[row])}
    found = _lying(paths, above)
    if len(found) >= NEARLY_ALL * len(missing):
        where = os.path.dirname(folders[next(iter(found))])
        return found, f"files: {len(found):,} of {len(missing):,} found from the folder above, {where!r}"
    return _beside(paths, folders, missing)


def _beside(paths: Sequence[str], folders: Sequence[str], missing: Sequence[int]) -> tuple[dict[int, str], str]:
    """Row -> file, in the one folder beside that of the table that holds nearly all, as images/ beside annotations/.

    Only of a folder that is called as one of tables: beside train/ lies val/, with files of the same names.
    """
    base = {folders[row] for row in missing}
    if len(base) != 1 or is_remote(own := base.pop()) or spelled(os.path.basename(own)) not in TABLE_FOLDERS:
        return {}, ""
    above = os.path.dirname(own)
    try:
        with os.scandir(above) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and entry.name[:1] != ".")
    except OSError:
        return {}, ""
    first = _few(missing, FIRST)
    beside = [os.path.join(above, name) for name in names[:MOST_BESIDE]]
    holding = [place for place in beside if len(_lying(paths, dict.fromkeys(first, place))) >= FEW * len(first)]
    if len(holding) != 1:
        return {}, ""
    where = holding[0]
    found = _lying(paths, dict.fromkeys(missing, where))
    if len(found) < NEARLY_ALL * len(missing):
        return {}, ""
    return found, (
        f"files: {len(found):,} of {len(missing):,} found beside the folder of the table, in {where!r}; the same as "
        f"--path-root {_typed(where)}"
    )


def _few(rows: Sequence[T], count: int) -> Sequence[T]:
    """At most so many, spread over all."""
    return rows[:: max(1, len(rows) // count)][:count]


def _lying(paths: Sequence[str], places: Mapping[int, str]) -> dict[int, str]:
    """Row -> file, of the rows whose path leads to one from the folder that is named for it."""
    files = {row: os.path.join(place, *_tidy(paths[row])) for row, place in places.items()}
    return {row: file for row, file in files.items() if os.path.isfile(file)}


def _doubled(
    indices: Mapping[str, _Index], paths: Sequence[str], folders: Sequence[str], rows: Iterable[int]
) -> dict[int, list[str]]:
    """Row -> files, of the rows whose number several files of one folder have: `0007.png` and `07.png`."""
    doubled = {}
    for row in rows:
        *_, name = _tidy(paths[row]) or [""]
        found = _numbered(indices[folders[row]], name) if folders[row] in indices else []
        if len(found) > len({*map(os.path.dirname, found)}):
            doubled[row] = sorted(found)
    return doubled


def _either(paths: Sequence[str], doubled: Mapping[int, Sequence[str]]) -> str:
    row, files = next(iter(doubled.items()))
    return f"{paths[row]!r} could be {' or '.join(map(repr, files[:SHOWN]))}"


def _refuse_doubled(
    table: str,
    indices: Mapping[str, _Index],
    paths: Sequence[str],
    folders: Sequence[str],
    missing: Sequence[int],
    sample: Sequence[int],
) -> None:
    """Raise ManifestError where the numbers of rows are those of files, and many of several files of one folder."""
    rule = _Rule(anywhere=True, padded=True)
    for rows in (sample, missing):
        doubled = _doubled(indices, paths, folders, rows)
        single = sum(folders[row] in indices and bool(rule.find(indices[folders[row]], paths[row])) for row in rows)
        if not doubled or len(doubled) + single < NEARLY_ALL * len(rows):
            return
    raise ManifestError(
        f"{table!r}: in {len(doubled):,} of {len(missing):,} rows the number is that of several files: "
        f"{_either(paths, doubled)}",
        hint="move those that are not meant elsewhere, or write names of files, with their zeros, into the table",
    )


def _meant(table: str, files: dict[_Rule, list[str]], indices: Sequence[_Index], n: int) -> _Rule:
    """Of rules that find other files of the same names, the one that is meant; `files` are those of some of n cells.

    Copies are the same, and masks are not meant. Else the name of the table says it (`train.csv` beside `train/` and
    `test/`), or that one folder holds no files beside those of the table. Raises ManifestError where nothing does.
    """
    rules = list({tuple(found): rule for rule, found in reversed(files.items())}.values())[::-1]
    if len(rules) == 1 or all(_same(files[rules[0]][:SHOWN], files[other][:SHOWN]) for other in rules[1:]):
        return rules[0]
    rules = [rule for rule in rules if spelled(_inmost(rule)) not in DRAWN] or rules
    stem = os.path.basename(table).casefold()
    word = next((word for word in ("train", "test", "val") if stem.startswith(word)), "")
    named = [rule for rule in rules if word and split_word(_inmost(rule)).startswith(word)]
    places = Counter(os.path.dirname(os.path.join(index.folder, path)) for index in indices for path in index.files)
    whole = [rule for rule in rules if places[os.path.dirname(files[rule][0])] == n]
    for chosen in (rules, named, whole):
        if len(chosen) == 1:
            return chosen[0]
    shown = [os.path.relpath(files[rule][0], indices[0].folder) for rule in rules]
    raise ManifestError(
        f"{table!r}: files of the same names lie in several places, such as {listing(shown, SHOWN)}",
        hint=f"say which are meant: {' or '.join(_option(rule) for rule in rules[:SHOWN])}",
    )


def _inmost(rule: _Rule) -> str:
    """The name of the folder that a rule puts next to the file."""
    return (rule.between or rule.above).rstrip("/").rpartition("/")[2]


def _same(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether files are copies of others, byte by byte."""
    try:
        return all(filecmp.cmp(one, other, shallow=False) for one, other in zip(some, others, strict=True))
    except OSError:
        return False


def _option(rule: _Rule) -> str:
    """The option that stands for a rule, or nearly."""
    suffix = f"--path-suffix {rule.usual}" if rule.ending == "added" else ""
    return " ".join(part for part in (f"--path-prefix {rule.above}" if rule.above else "", suffix) if part) or (
        f"the column of paths with {(rule.between or rule.usual)!r} in it"
    )


def _are_namesakes(cells: Sequence[str], indices: Iterable[_Index]) -> bool:
    """Whether cells that repeat may be different files, of which every one has a folder of its own."""
    times = Counter(cells)
    again = [cell for cell, count in times.items() if count > 1 and (parts := _tidy(cell)) and len(parts) == 1]
    return bool(again) and all(
        any(len(_named(index, _tidy(cell)[0])[0]) >= times[cell] for index in indices) for cell in again[:SAMPLE]
    )


def _note(rule: _Rule, paths: Sequence[str], folders: Sequence[str], found: dict[int, str], n: int) -> str:
    """One sentence: by which rule, an example, and the options that say the same."""
    row = next(iter(found))
    cell, path = paths[row], os.path.relpath(found[row], folders[row]).replace(os.sep, "/")
    how, options = [], []
    if rule.anywhere:
        inside = dict.fromkeys(map(os.path.dirname, found.values()))
        how.append(f"by name in {listing([os.path.relpath(place, folders[row]) for place in inside], SHOWN)}")
    elif rule.above:
        how.append(f"in {rule.above!r}")
        if not rule.strip:
            options.append(f"--path-prefix {rule.above}")
    if rule.between:
        how.append(f"in {rule.between!r} below their folders")
    if rule.strip:
        how.append(f"without {'/'.join(_tidy(cell)[: rule.strip])!r} in front")
        options.append(f"--path-root {_typed(os.path.join(folders[row], rule.above))}")
    if rule.ending == "added":
        how.append(f"with the ending {rule.usual!r}")
        options.append(f"--path-suffix {rule.usual}")
    elif rule.ending == "other":
        how.append(f"with the ending {rule.usual!r} instead of {os.path.splitext(cell.strip(BLANKS))[1]!r}")
    how += _spelling(cell, path, rule)
    same = f"; the same as {' '.join(options)}" if options and not rule.hashed else ""
    return (
        f"files: {len(found):,} of {n:,}, not where the paths say, were found {', '.join(how) or 'below'}: "
        f"{cell!r} is {path!r}{same}"
    )


def _spelling(cell: str, path: str, rule: _Rule) -> list[str]:
    """How the text of a cell differs from the file that it names, beside folders and endings."""
    how = []
    if cell != cell.strip(BLANKS):
        how.append("without blanks at the ends")
    if rule.quoted:
        how.append("with % and two digits read as in an address")
        cell = unquote(cell)
    if FOREIGN.match(cell.strip(BLANKS)):
        how.append("without the address of another program")
    if "\\" in cell:
        how.append("with / for \\")
    if rule.hashed:
        how.append("without the digits before the name")
    if rule.padded:
        return [*how, "by the numbers in their names"]
    wanted, name = _tidy(cell)[-1], path.rpartition("/")[2]
    if rule.ending == "other":
        wanted = os.path.splitext(wanted)[0]
    if not name.startswith(wanted) and not rule.hashed:
        normal = unicodedata.normalize("NFC", wanted)
        how.append(
            "in another Unicode form" if unicodedata.normalize("NFC", name).startswith(normal) else "in other case"
        )
    return how

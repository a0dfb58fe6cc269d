"""Folders that look like classes and are none: what programs and people leave, who was recorded, days, beginnings of
names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.manifest.sniff import MEDIA_ENDINGS
from cleanlab_lite.manifest.splits import split_word
from cleanlab_lite.text import listing

Folder = tuple[str, ...]  # names from the root down

# In which programs leave what they draw and write
OUTPUTS = {"results", "result", "plots", "plot", "outputs", "output", "logs", "runs", "wandb", "mlruns", "checkpoints"}
# Small pictures that programs keep of others
THUMBNAILS = {"thumbnails", "thumbnail", "@eadir"}
# Folders that nobody has named yet, and copies of folders, as Windows, macOS and Linux call them
UNNAMED = re.compile(
    "(new folder|untitled folder|neuer ordner|nouveau dossier|dossier sans titre|nueva carpeta|nuova cartella"
    r"|nova pasta|nieuwe map|nowy folder|новая папка|新建文件夹|新しいフォルダー|새 폴더)( ?\(?\d+\)?)?"
)
# What people put aside; `trash`, `other` and `unknown` are often classes
LEFTOVER = re.compile(
    "(_|zz?_)?(backup|bak|old|tmp|temp|to[ _-]?(do|sort|check|label)|unsorted|unsure|rejected|discarded|deleted"
    "|duplicate|dupe)s?"
)
_COPY = "copy|kopie|copie|copia|cópia|kopia|копия|副本"
COPY = re.compile(rf"(.+?)([ _-]+({_COPY})( ?\(?\d+\)?)?| ?\(\d+\))|({_COPY}) (of|von|de|di|van) (.+)")
# Who or what was recorded, when a number follows: `Actor_01`, `S01`
RECORDED = {"actor", "speaker", "spk", "spkr", "subject", "subj", "sub", "patient", "participant", "person", "s"}
RECORDED |= {"volunteer", "user", "child", "donor", "session", "sess", "video", "camera", "cam", "recording"}
RECORDED |= {"sequence"}
NUMBERED = re.compile(r"([^\W\d].*?)[\W_]*\d+")  # cat.12, Maine_Coon_007
# Names of months and days, and of the folders of a camera (DCF)
TAKEN = re.compile(
    r"(19|20)\d\d([-_.](0[1-9]|1[0-2])([-_.]\d\d)?|(0[1-9]|1[0-2])([0-2]\d|3[01]))|[1-9]\d\d[A-Z][A-Z0-9_]{4}"
)
BEGINNING, CONTENT = re.compile("[0-9a-f]{1,3}"), re.compile("[0-9a-f]{8,}")  # of names that are made of contents
PERSON = re.compile(r"[A-Za-z]{0,2}\d{1,4}|[A-Z]{2,3}")  # numbers, and initials: 01, f1, DC
LONG = re.compile("[0-9]{4,}")  # numbers, too many for classes
INITIALS = re.compile("[A-Z]{2,3}")
NEARLY_ALL = 0.9  # of the names of files have as many parts
MORE = 3  # times as many classes as people at most, where the folders are taken as people
MOST_PARTS = 6  # of a name that are looked at
MOST_CROSSED = 0.8  # of the pairs of two words are classes
OTHERWISE = "if the folders are the classes: --layout class; leaf, path or any/class where they lie deeper"
TABLE = "write a CSV with the columns path and label"


def outputs_in(files: Mapping[Folder, Sequence[str]]) -> list[Folder]:
    """Folders that are called like the output of programs, once in the tree, and hold no picture or sound, or less than
    half as many files as each folder beside them."""
    under: Counter[Folder] = Counter()
    for place, paths in files.items():
        for depth in range(1, len(place) + 1):
            under[place[:depth]] += len(paths)
    named = [folder for folder in under if folder[-1].casefold() in OUTPUTS]
    times = Counter(folder[-1].casefold() for folder in named)
    found = []
    for folder in named:
        beside = [other for other in under if other[:-1] == folder[:-1] and other not in named]
        small = all(2 * under[folder] < under[other] for other in beside)
        if beside and times[folder[-1].casefold()] == 1 and (small or not _holds_media(files, folder)):
            found.append(folder)
    return found


def _holds_media(files: Mapping[Folder, Sequence[str]], folder: Folder) -> bool:
    """Whether a picture or sound lies under a folder."""
    inside = (path for place, paths in files.items() if place[: len(folder)] == folder for path in paths)
    return any(os.path.splitext(path)[1].lower() in MEDIA_ENDINGS for path in inside)


def unnamed_in(files: Mapping[Folder, Sequence[str]]) -> tuple[list[Folder], list[Folder]]:
    """Folders of small pictures that programs keep of others, and those that nobody has named yet."""
    every = {place[:depth] for place in files for depth in range(1, len(place) + 1)}
    holding = {folder[:-1] for folder in every}
    beside = Counter(folder[:-1] for folder in every)
    small = [folder for folder in every if folder[-1].casefold() in THUMBNAILS]
    small += [folder for folder in every if folder[-1].casefold() == "thumbs" and _repeats(files, folder)]
    if all(any(place[: len(each)] == each for each in small) for place in files):
        small = []  # there is nothing else
    unnamed = [
        folder
        for folder in every
        if UNNAMED.fullmatch(folder[-1].casefold()) and folder not in holding and beside[folder[:-1]] > 1
    ]
    return sorted(small), sorted(unnamed)


def _repeats(files: Mapping[Folder, Sequence[str]], folder: Folder) -> bool:
    """Whether a folder holds files that are called like others, as small pictures of them are, and gestures are not."""
    inside = {path.rpartition("/")[2] for path in files.get(folder, ())}
    above = [path for place, paths in files.items() if place[: len(folder)] != folder for path in paths]
    return inside <= {path.rpartition("/")[2] for path in above}


def leftovers(classes: Sequence[str]) -> list[str]:
    """A note where classes are called like what people put aside."""
    found = sorted(name for name in set(classes) if LEFTOVER.fullmatch(name.casefold()))
    shown = listing(found, 5)
    return [f"taken as classes: {shown}; move them elsewhere if they are what was put aside"] if found else []


def copies_in(files: Mapping[Folder, Sequence[str]]) -> list[tuple[Folder, Folder]]:
    """Folders that are called like a copy of one beside them, `cat - Copy` or `cat (1)`, and that one."""
    known = {(*place[:-1], place[-1].casefold()): place for place in files if place}
    pairs = []
    for place in files:
        match = COPY.fullmatch(place[-1].casefold()) if place else None
        original = known.get((*place[:-1], match[1] or match[7])) if match else None
        if original is not None:
            pairs.append((place, original))
    return pairs


def name_word(path: str, part: int) -> str:
    """A part of a file's name, from 1; 0: what stands before its number. "" where there is none.

    >>> name_word("a/Maine_Coon_12.jpg", 0), name_word("01/7_01_3.wav", 1)
    ('Maine_Coon', '7')
    """
    stem = os.path.splitext(path.rpartition("/")[2])[0]
    if not part:
        match = NUMBERED.fullmatch(stem)
        return match[1] if match else ""
    words = _parts(stem)
    return words[part - 1] if part <= len(words) else ""


def words_in_names(paths: Sequence[str]) -> dict[str, list[str]]:
    """Layout -> classes, of those by the names of n files that give a few classes of several files each."""
    found: dict[str, list[str]] = {}
    longest = max((len(_parts(os.path.splitext(path.rpartition("/")[2])[0])) for path in paths), default=0)
    for part in range(min(longest, MOST_PARTS) + 1):
        words = Counter(name_word(path, part) for path in paths)
        del words[""]
        classes = sorted(words)
        repeat = words.total() >= NEARLY_ALL * len(paths) and 2 * len(words) <= len(paths)
        if repeat and len(words) > 1 and classes not in found.values() and not all(map(split_word, words)):
            found[f"name:{part}" if part else "name"] = classes
    return found


def _parts(stem: str) -> list[str]:
    return re.split(r"[\W_]+", stem)


def check_folders(root: str, classes: Sequence[str], paths: Sequence[str]) -> list[str]:
    """A note where folders, which are the class of each of n paths, are called like what was recorded.

    Raises ManifestError where they cannot be classes, or where the names of files say more: a part of them is a word or
    a number that comes again in a folder, and in others.
    """
    names, files = sorted(set(classes)), [path.rpartition("/")[2] for path in paths]
    stems = [os.path.splitext(file)[0] for file in files]

    def refuse(why: str, hint: str = TABLE) -> ManifestError:
        return ManifestError(f"{root!r}: {why}", hint=f"{hint}; {OTHERWISE}")

    places = [path.split("/") for path in paths]
    if all(len(place) > 2 and _repeats_numbers(*place[-3:]) for place in places):
        raise refuse(
            f"folders such as {'/'.join(places[0][-3:-1])!r} are numbers that the names of files repeat "
            f"({files[0]!r}), as those of speakers and chapters are, not classes"
        )
    if all(map(TAKEN.fullmatch, names)):
        raise refuse(f"folders such as {names[0]!r} say when pictures or sounds were taken, or by which camera")
    hashed = all(map(BEGINNING.fullmatch, names)) and all(map(CONTENT.fullmatch, stems))
    if hashed and re.search("[a-f]", "".join(stems)) and all(map(str.startswith, stems, classes)):
        raise refuse(f"folders such as {names[0]!r} are how the names of the files in them begin ({files[0]!r})")
    crossed, repeated = _crossed(classes, stems)
    called = {match[1].casefold() if (match := NUMBERED.fullmatch(name)) else "" for name in names}
    if len(called) == 1 and called <= RECORDED:
        if crossed:
            place, codes = next(iter(crossed.items()))
            raise refuse(
                f"folders such as {names[0]!r} look like people, sessions or cameras, not classes; names of files "
                f"hold codes, such as {listing(codes, 5)} in {files[0]!r}",
                f"if these codes are the labels: --layout name:{place + 1}, or {TABLE}",
            )
        said = f"the classes are called {names[0]!r} and the like: if that is what was recorded, give a table of labels"
        return [] if "s" in called else [said]
    people = all(map(PERSON.fullmatch, names))
    before = [place for place, found in crossed.items() if place < repeated and len(found) <= MORE * len(names)]
    if people and before:
        raise refuse(
            f"folders such as {names[0]!r} come again in the names of their files ({files[0]!r}), behind "
            f"{listing(crossed[before[0]], 5)}, which come again in other folders: these could be the classes, and the "
            "folders who was recorded",
            f"if what stands before is the class: --layout name:{before[0] + 1}",
        )
    if all(map(INITIALS.fullmatch, names)) and (words := _words_again(classes, paths)):
        raise refuse(
            f"folders such as {names[0]!r} could be initials of people: the names of files are a word and a number, "
            f"and the words come again in all folders ({listing(words, 5)})",
            "if these words are the classes: --layout name",
        )
    likely = [place for place, values in crossed.items() if place < repeated or all(map(str.isalpha, values))]
    if repeated >= 0 and likely:
        values = listing(crossed[likely[0]], 5)
        return [
            f"the folders are taken as the classes; parts of the names of files come again in all of them ({values}), "
            f"which --layout name:{likely[0] + 1} takes instead"
        ]
    return _of_two_words(names)


def are_people(names: Sequence[str]) -> bool:
    """Whether all folders are called by long numbers, or like what was recorded: `8863`, `patient_003`."""
    called = [match[1].casefold() if (match := NUMBERED.fullmatch(name)) else "" for name in names]
    return all(word in RECORDED or LONG.fullmatch(name) for name, word in zip(names, called, strict=True))


def _crossed(classes: Sequence[str], stems: Sequence[str]) -> tuple[dict[int, list[str]], int]:
    """Place in the names of files -> what stands there, again in a folder, and in others; the place that repeats the
    folder, -1 where none does."""
    parts = list(map(_parts, stems))
    width, times = Counter(map(len, parts)).most_common(1)[0]
    rows = [(name, words) for name, words in zip(classes, parts, strict=True) if len(words) == width]
    found: dict[int, list[str]] = {}
    repeated = -1
    for place in range(width if times >= NEARLY_ALL * len(parts) else 0):
        pairs = {(name, words[place]) for name, words in rows}  # of a folder and what stands there
        values = {value for _, value in pairs}
        if all(name.casefold() == value.casefold() for name, value in pairs):
            repeated = place
        recurs = len(values) > 1 and 2 * len(pairs) <= len(rows)
        if recurs and len(pairs) >= 2 * max(len(values), len(set(classes))) and not all(map(split_word, values)):
            found[place] = sorted(values)
    return found, repeated


def _words_again(classes: Sequence[str], paths: Sequence[str]) -> list[str]:
    """The words before the numbers of files, where they are the same in all folders, with several files each."""
    words = [name_word(path, 0) for path in paths]
    pairs = Counter(zip(classes, words, strict=True))
    values = sorted(set(words))
    whole = len(pairs) == len(values) * len(set(classes)) and min(pairs.values()) > 1
    return values if whole and len(values) > 1 and "" not in values else []


def _of_two_words(names: Sequence[str]) -> list[str]:
    """A note where the names of folders are one of a few words and one of others: `OAF_Fear`, `YAF_Fear`."""
    pairs = [(words[0].casefold(), "_".join(words[1:]).casefold()) for words in map(_parts, names)]
    firsts, seconds = {first for first, _ in pairs}, {second for _, second in pairs}
    fewest = min(len(firsts), len(seconds))
    if fewest < 2 or "" in seconds or len(pairs) < MOST_CROSSED * len(firsts) * len(seconds):
        return []
    return [
        f"classes such as {names[0]!r} are one of {len(firsts):,} words and one of {len(seconds):,}: if one of the two "
        f"is the class, {TABLE}"
    ]


def _repeats_numbers(outer: str, inner: str, name: str) -> bool:
    """Whether a file is called like the two folders around it, which are numbers: `84/121123/84-121123-0000.flac`."""
    return outer.isdigit() and inner.isdigit() and re.match(rf"{outer}\D{inner}\D", name) is not None

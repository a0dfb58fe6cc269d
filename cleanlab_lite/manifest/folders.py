"""Folders that look like classes and are none: what programs leave, who was recorded, days, beginnings of names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from cleanlab_lite.errors import ManifestError
from cleanlab_lite.manifest.sniff import MEDIA_ENDINGS
from cleanlab_lite.text import listing

Folder = tuple[str, ...]  # names from the root down

# In which programs leave what they draw and write
OUTPUTS = {"results", "result", "plots", "plot", "outputs", "output", "logs", "runs", "wandb", "mlruns", "checkpoints"}
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
NEARLY_ALL = 0.9  # of the names of files have as many parts
OTHERWISE = "if the folders are the classes: --layout class; leaf, path or any/class where they lie deeper"
TABLE = "write a CSV with the columns path and label"


def outputs_in(files: Mapping[Folder, Sequence[str]]) -> list[Folder]:
    """Folders that are called like the output of programs, once in the tree, and hold no picture or sound, or less than
    half as many files as each folder beside them."""
    under: Counter[Folder] = Counter()
    media: Counter[Folder] = Counter()
    for place, paths in files.items():
        for depth in range(1, len(place) + 1):
            under[place[:depth]] += len(paths)
            media[place[:depth]] += sum(os.path.splitext(path)[1].lower() in MEDIA_ENDINGS for path in paths)
    named = [folder for folder in under if folder[-1].casefold() in OUTPUTS]
    times = Counter(folder[-1].casefold() for folder in named)
    found = []
    for folder in named:
        beside = [other for other in under if other[:-1] == folder[:-1] and other not in named]
        small = all(2 * under[folder] < under[other] for other in beside)
        if beside and times[folder[-1].casefold()] == 1 and (small or not media[folder]):
            found.append(folder)
    return found


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
    called = {match[1].casefold() if (match := NUMBERED.fullmatch(name)) else "" for name in names}
    if len(called) > 1 or not called <= RECORDED:
        return []
    if codes := _codes(classes, stems):
        raise refuse(
            f"folders such as {names[0]!r} look like people, sessions or cameras, not classes; names of files "
            f"hold codes, such as {listing(codes, 5)} in {files[0]!r}",
            f"if these codes are the labels, {TABLE}",
        )
    said = f"the classes are called {names[0]!r} and the like: if that is what was recorded, give a table of labels"
    return [] if "s" in called else [said]


def _codes(classes: Sequence[str], stems: Sequence[str]) -> list[str]:
    """What stands at one place in the names of files, again in a folder, and in others; none where nothing does."""
    parts = [re.split(r"[\W_]+", stem) for stem in stems]
    width, times = Counter(map(len, parts)).most_common(1)[0]
    rows = [(name, words) for name, words in zip(classes, parts, strict=True) if len(words) == width]
    for place in range(width if times >= NEARLY_ALL * len(parts) else 0):
        pairs = {(name, words[place]) for name, words in rows}  # of a folder and what stands there
        values = {value for _, value in pairs}
        if len(values) > 1 and 2 * len(pairs) <= len(rows) and len(pairs) >= 2 * max(len(values), len(set(classes))):
            return sorted(values)
    return []


def _repeats_numbers(outer: str, inner: str, name: str) -> bool:
    """Whether a file is called like the two folders around it, which are numbers: `84/121123/84-121123-0000.flac`."""
    return outer.isdigit() and inner.isdigit() and re.match(rf"{outer}\D{inner}\D", name) is not None

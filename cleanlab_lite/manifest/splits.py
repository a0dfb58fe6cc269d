"""Words that say what a row is for: training, or tests. One list, for folders, columns and whatever holds rows back."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from cleanlab_lite.text import counted

TRAIN_WORDS = ("train", "training", "trainval")
HELD_BACK_WORDS = (
    *("test", "testing", "val", "valid", "validate", "validation", "validating", "dev", "devel", "development"),
    *("eval", "evaluate", "evaluation", "holdout", "heldout"),
)
# Rows that wait for labels; in a tree of class folders they lie in none.
UNLABELLED_WORDS = (
    "unlabeled",
    "unlabelled",
    "unsup",
    "unsupervised",
    "pred",
    "predict",
    "prediction",
    "inference",
    "nolabel",
)
# What people write around the word, without blanks, marks and digits: PrivateTest, test_set, dev-clean, testA, X_val
_BEFORE = "public|private|x"
_AFTER = (
    "set|data|split|part|fold|images?|imgs?|pictures?|jpe?g|png|wav|audio|sounds?|clips?|files|samples|clean|other|a|b"
)
_SPELLING = re.compile(f"(?:{_BEFORE})?(?P<word>{'|'.join((*TRAIN_WORDS, *HELD_BACK_WORDS))})(?:{_AFTER})?s?")
_FIRST_WORDS = ("train", "training", "trainval", "test", "testing", "val", "valid", "validation")
_PART = re.compile(r"(fold|part|batch|chunk|shard)[\W_]*\d+")
_NO_LETTERS = re.compile(r"[\W\d_]+")
_SHARD = re.compile(r"[-_.]\d+[-_]of[-_]\d+$")  # train-00000-of-00004

# Columns that hold splits, without blanks, marks and digits. The others also mean other things, so their cells decide.
COLUMNS = ("split", "subset", "partition")
OTHER_COLUMNS = (
    *("usage", "set", "phase", "fold", "dataset", "splitname", "splitset", "traintest", "traintestsplit"),
    *("datasplit", "datasubset", "datapartition", "datasetsplit", "datasetsubset", "datasetpartition"),
)
_YES, _NO = {"true", "t", "yes", "y", "1", "1.0"}, {"false", "f", "no", "n", "0", "0.0", ""}


def split_word(name: str) -> str:
    """The word that names a split in `name`, however it is written; "" where there is none.

    A name of several words is one where its last word is (`seg_train`, `imagenet-val`), or its first (`train_mini`).

    >>> [split_word(name) for name in ("Test ", "PrivateTest", "val1", "hold-out", "seg_test", "contest")]
    ['test', 'test', 'val', 'holdout', 'test', '']
    """
    words = _words(name)
    found = _SPELLING.fullmatch("".join(words)) or (len(words) > 1 and _SPELLING.fullmatch(words[-1]))
    if found:
        return found["word"]
    return words[0] if len(words) > 1 and words[0] in _FIRST_WORDS else ""


def is_unlabelled(name: str) -> bool:
    """Whether a folder of this name holds what waits for labels: `unlabeled`, `seg_pred`."""
    return not {_letters(name), *_words(name)[-1:]}.isdisjoint(UNLABELLED_WORDS)


def is_part(name: str) -> bool:
    """Whether a folder of this name is a numbered part of the data: `fold1`, `batch_02`."""
    return _PART.fullmatch(name.casefold()) is not None


def file_split(path: str) -> str:
    """The name of the split that a file of rows is for, by its own name or that of its folder; "" where neither says.

    >>> [file_split(path) for path in ("data/train-00000-of-00004.parquet", "val/metadata.csv", "set/a.csv")]
    ['train', 'val', '']
    """
    folder, file = os.path.split(path)
    names = (_SHARD.sub("", os.path.splitext(file)[0]), os.path.basename(folder))
    return next((name for name in names if split_word(name)), "")


def in_paths(paths: Sequence[str]) -> np.ndarray:
    """(n,) str splits by the first folder in which n paths differ, where all of these are called like splits, for
    training and for tests; "" everywhere else.

    >>> in_paths(["data/train/1.png", "data/test/2.png"]).tolist(), in_paths(["test/1.png", "cat/1.png"]).tolist()
    (['train', 'test'], ['', ''])
    """
    nothing = np.full(len(paths), "", dtype=str)
    slashed = [path.replace("\\", "/") for path in paths]
    ends = [min(slashed, default=""), max(slashed, default="")]
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*ends, strict=False)))
    shared = ends[0][:alike].count("/")  # folders, of all paths
    if not all(split_word(path.split("/")[shared]) and path.count("/") > shared for path in ends):
        return nothing  # as for most
    folders = [path.split("/")[:-1] for path in slashed]
    if not all(len(names) > shared for names in folders):
        return nothing
    found = np.array([names[shared] for names in folders], dtype=str)
    words = {split_word(name) for name in np.unique(found).tolist()}
    both = bool(words & {*TRAIN_WORDS}) and bool(words & {*HELD_BACK_WORDS})
    return found if both and "" not in words else nothing


def is_held_back(name: str) -> bool:
    """Whether rows of the split `name` are for validation or tests."""
    return split_word(name) in HELD_BACK_WORDS


def is_tests(name: str) -> bool:
    """Whether a name says validation or tests and nothing else: `test1`, `Validation set`, and not `blood_test`."""
    return is_held_back(name) and _SPELLING.fullmatch("".join(_words(name))) is not None


def held_back(splits: np.ndarray) -> np.ndarray:
    """(n,) bool: rows of `splits` (n,) str that are for validation or tests."""
    return np.isin(splits, [name for name in np.unique(splits) if is_held_back(str(name))])


def from_flags(column: str, cells: Sequence[str]) -> list[str] | None:
    """n splits by a column like `is_test` or `is_train` that says yes or no in every cell; None where it does not.

    What is not for tests is for training, and the other way round; an empty cell is a no.
    """
    word = split_word(_letters(column).removeprefix("is"))
    answers = [cell.strip().casefold() for cell in cells]
    if not word or not (_YES | _NO).issuperset(answers):
        return None
    other = "test" if word in TRAIN_WORDS else "train"
    return [word if answer in _YES else other for answer in answers]


def called_splits(column: str) -> bool:
    """Whether a column of this name holds splits, whatever its cells say."""
    return _letters(column) in COLUMNS


def could_hold_splits(column: str) -> bool:
    """Whether a column of this name holds splits where its cells say so."""
    letters = _letters(column)
    return letters in OTHER_COLUMNS or (letters.startswith("is") and split_word(letters[2:]) != "")


def in_words(splits: np.ndarray, limit: int = 20) -> str:
    """How many rows of every split there are, and whether they are protected; "" where there are no splits."""
    names, first, counts = np.unique(splits, return_index=True, return_counts=True)
    if not any(names):
        return ""
    order = np.argsort(first)  # as they come in the file
    parts = [
        f"{name.strip() or 'none'} {counted(count, 'row')}{', protected' if is_held_back(name) else ''}"
        for name, count in zip(names[order[:limit]].tolist(), counts[order[:limit]].tolist(), strict=True)
    ]
    more = f"; and {len(order) - limit} more" if len(order) > limit else ""
    return f"splits: {'; '.join(parts)}{more}"


def _letters(name: str) -> str:
    return _NO_LETTERS.sub("", name.casefold())


def _words(name: str) -> list[str]:
    return [word for word in _NO_LETTERS.split(name.casefold()) if word]

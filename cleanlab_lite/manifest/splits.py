"""Words that say what a row is for: training, or tests. One list, for folders, columns and whatever holds rows back."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

TRAIN_WORDS = ("train", "training", "trainval")
HELD_BACK_WORDS = (
    *("test", "testing", "val", "valid", "validate", "validation", "validating", "dev", "devel", "development"),
    *("eval", "evaluate", "evaluation", "holdout", "heldout"),
)
# What people write around the word, without blanks, marks and digits: PrivateTest, test_set, dev-clean, testA, X_val
_BEFORE, _AFTER = "public|private|x", "set|data|split|part|fold|images|clean|other|a|b"
_SPELLING = re.compile(f"(?:{_BEFORE})?(?P<word>{'|'.join((*TRAIN_WORDS, *HELD_BACK_WORDS))})(?:{_AFTER})?s?")
_NO_LETTERS = re.compile(r"[\W\d_]+")

# Columns that hold splits, without blanks, marks and digits. The others also mean other things, so their cells decide.
COLUMNS = ("split", "subset", "partition")
OTHER_COLUMNS = (
    *("usage", "set", "phase", "fold", "dataset", "splitname", "splitset", "traintest", "traintestsplit"),
    *("datasplit", "datasubset", "datapartition", "datasetsplit", "datasetsubset", "datasetpartition"),
)
_YES, _NO = {"true", "t", "yes", "y", "1", "1.0"}, {"false", "f", "no", "n", "0", "0.0", ""}


def split_word(name: str) -> str:
    """The word that names a split in `name`, however it is written; "" where there is none.

    >>> [split_word(name) for name in ("Test ", "PrivateTest", "val1", "hold-out", "test2017", "contest")]
    ['test', 'test', 'val', 'holdout', 'test', '']
    """
    found = _SPELLING.fullmatch(_letters(name))
    return found["word"] if found else ""


def is_held_back(name: str) -> bool:
    """Whether rows of the split `name` are for validation or tests."""
    return split_word(name) in HELD_BACK_WORDS


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
        f"{name.strip() or 'none'} {count:,} rows{', protected' if is_held_back(name) else ''}"
        for name, count in zip(names[order[:limit]].tolist(), counts[order[:limit]].tolist(), strict=True)
    ]
    more = f"; and {len(order) - limit} more" if len(order) > limit else ""
    return f"splits: {'; '.join(parts)}{more}"


def _letters(name: str) -> str:
    return _NO_LETTERS.sub("", name.casefold())

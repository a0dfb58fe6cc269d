"""Who is held out of whom: every row of exactly one proxy, and copies together."""

from __future__ import annotations

import numpy as np

from cleanlab_lite.errors import ConfigError
from cleanlab_lite.groups import roots
from cleanlab_lite.run import Run
from cleanlab_lite.run.layout import ARRAYS
from cleanlab_lite.text import counted
from cleanlab_lite.train.task import Task
from cleanlab_lite.train.warm_start import WarmStart

FOLDS = "folds"  # the stage
KNOWN = -2  # stands for the label of rows whose fold is known already


def choose_folds(task: Task, folds: int, seed: int, run: Run, warm: WarmStart | None, stage: str = FOLDS) -> np.ndarray:
    """(n,) int64 fold of each row; those that `stage` of the run began with, and those of rows that `warm` knows.

    Raises ConfigError when there is too little to learn from, or when other rows can be read than at the beginning.
    """
    content = task.main.inputs.content
    known = warm.folds(content) if warm else np.full(len(task), -1)
    strata = np.where(known >= 0, KNOWN, task.taught)  # new rows are spread among themselves
    fold = keep_folds(known, assign_folds(strata, task.copy_of, folds, seed, task.order), task.copy_of)
    require_variety(task, fold, folds)
    return _folds_of_the_run(run, stage, fold, task.teachable)


def halves(task: Task, seed: int) -> np.ndarray:
    """(n,) 0 or 1: two halves of the rows, for the second split. Raises ConfigError when there is too little."""
    half = assign_folds(task.taught, task.copy_of, 2, seed, task.order)
    require_variety(task, half, 2)
    return half


def assign_folds(labels: np.ndarray, copy_of: np.ndarray, folds: int, seed: int, order: np.ndarray) -> np.ndarray:
    """(n,) fold of each row: equal shares of every class, and copies together, or they leak.

    `order` (n,) names all rows in the order in which they are dealt to the folds.
    """
    rng = np.random.default_rng(seed)
    fold = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(order[labels[order] == label])
        fold[rows] = (np.arange(len(rows)) + rng.integers(folds)) % folds
    group = roots(copy_of)
    first = np.empty(len(labels), dtype=np.int64)
    first[group[order[::-1]]] = order[::-1]  # of a group, the first in that order is written last
    return fold[first[group]]


def keep_folds(known: np.ndarray, fold: np.ndarray, copy_of: np.ndarray) -> np.ndarray:
    """(n,) `known` folds where there are any; copies of such rows join them; `fold` for the rest."""
    group = roots(copy_of)
    of_group = np.full(len(known), -1)
    np.maximum.at(of_group, group, known)
    return np.where(known >= 0, known, np.where(of_group[group] >= 0, of_group[group], fold))


def _folds_of_the_run(run: Run, stage: str, fold: np.ndarray, teachable: np.ndarray) -> np.ndarray:
    """The folds that the run began with: finished proxies have them.

    Raises ConfigError where other rows are teachable than then.
    """
    file = f"{stage}{ARRAYS}"
    if not run.done(stage):
        run.write_arrays(file, fold=fold, teachable=teachable)
        run.mark(stage)
    began = run.arrays(file)
    changed = np.flatnonzero(began["teachable"] != teachable)
    if len(changed):
        raise ConfigError(
            f"{counted(len(changed), 'row')} could be read when this run began and cannot be read now, or the "
            f"other way round; the first is row {changed[0] + 1}",
            hint="mend the file and repeat the command, or start a new run with --out DIR",
        )
    return began["fold"]


def require_variety(task: Task, fold: np.ndarray, folds: int) -> None:
    """Raises ConfigError unless there are two classes, and two rows to learn from and one to try on for every proxy."""
    labels = task.taught[task.teachable]
    counts = np.bincount(fold[task.teachable], minlength=folds)
    if len(np.unique(labels)) > 1 and counts.min() >= 1 and len(labels) - counts.max() >= 2:
        return
    errors = task.main.inputs.errors
    raise ConfigError(
        f"rows that have a label and can be read: {len(labels):,}, too few or too alike for {folds} proxies",
        hint="at least two classes and several different rows are needed; are the files the right ones?"
        + "".join(f" The first that cannot be read: {error}" for error in errors[errors != ""][:1]),
    )

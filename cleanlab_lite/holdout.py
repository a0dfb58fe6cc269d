"""The rows that `verify` tests on: who learns, who is tested, and what is to be known about that measure.

Rows of a file whose labels are trusted; or else those of the splits that are held back; or else a quarter of the rows,
of which those count whose label every view agrees with. Copies of rows that are learned from are never tested on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from cleanlab_lite.clock import Clock
from cleanlab_lite.copies import find_copies
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.errors import ConfigError
from cleanlab_lite.groups import copies_in, roots
from cleanlab_lite.manifest.manifest import PLURALS, WHOLE, Encoded, Manifest
from cleanlab_lite.run import Run, RunFolder
from cleanlab_lite.run.report import VIEW_MARGIN, ReportTable, flags
from cleanlab_lite.sources import Proxies
from cleanlab_lite.text import counted, listing

FOLDS = 4  # one of them is kept from learning, where there is nothing else to test on
NAME_FILE = "--test FILE names rows whose labels are trusted"

Audit = Callable[[Manifest, str], ReportTable]  # of some rows by themselves; the name is that of a folder


@dataclass(frozen=True)
class Rows:
    """Who learns and who is tested, of the n rows of a manifest and of a test file behind them."""

    learn: np.ndarray  # (n,) bool
    test: np.ndarray  # (n,) bool
    true: np.ndarray  # (n,) int64, the label that test rows are held to; any number elsewhere
    group: np.ndarray  # (n,) int64, the same for copies
    measured_on: str
    measure: str
    left_out: list[str]


@dataclass(frozen=True)
class Looked:
    """What there is to see of all rows."""

    readable: np.ndarray  # (n,) bool
    views: dict[str, Inputs]  # by name
    group: np.ndarray  # (n,) int64, the same for copies
    order: np.ndarray  # (n,) int64, all rows by content and label


def join(manifest: Manifest, test: Manifest) -> Manifest:
    """The rows of both, as far as they are looked at. Test rows of a class that the manifest does not have have none.

    Raises ConfigError where they are of different kinds.
    """
    if manifest.modality != test.modality:
        kinds = [PLURALS[each.modality] for each in (manifest, test)]
        raise ConfigError(f"the run is about {kinds[0]}, the test rows are {kinds[1]}", hint="test on the same kind")
    _require_same_vectors(manifest, test)
    encoded = _join_encoded(manifest.encoded, test.encoded) if manifest.encoded and test.encoded else None
    number = {name: c for c, name in enumerate(manifest.classes)}
    known = np.array([*(number.get(name, -1) for name in test.classes), -1])
    ids = np.array([*manifest.ids.tolist(), *(f"test:{id}" for id in test.ids.tolist())])
    segments = None
    if manifest.segments is not None or test.segments is not None:
        both = [np.tile(WHOLE, (len(each), 1)) if each.segments is None else each.segments for each in (manifest, test)]
        segments = np.concatenate(both)
    return Manifest(
        table=pa.table({"id": ids.tolist()}),
        source=replace(manifest.source, path_column=None),
        modality=manifest.modality,
        classes=manifest.classes,
        ids=ids,
        labels=np.concatenate([manifest.labels, known[test.labels]]),
        splits=np.concatenate([manifest.splits, np.full(len(test), "")]),
        uris=_one_after_other(manifest.uris, test.uris),
        segments=segments,
        features=_one_after_other(manifest.features, test.features),
        encoded=encoded,
    )


def _require_same_vectors(manifest: Manifest, test: Manifest) -> None:
    if manifest.features is None or test.features is None:
        return
    of_run, of_test = (
        f"vectors of {each.features.shape[1]:,} numbers by {each.encoded.encoder if each.encoded else 'you'}"
        for each in (manifest, test)
        if each.features is not None
    )
    if of_run != of_test:
        raise ConfigError(f"the run is about {of_run}, the test rows are {of_test}", hint="make both in the same way")


def _one_after_other(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    return None if one is None or other is None else np.concatenate([one, other])


def _join_encoded(one: Encoded, other: Encoded) -> Encoded:
    names = ("content", "codes", "errors", "notes")
    joined: dict[str, Any] = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in names}
    return replace(one, **joined, small=None)


def look(whole: Manifest, source: Proxies, trial: Run, clock: Clock) -> Looked:
    """All rows through the views of the run, and which are copies of each other."""
    inputs, views = source.views(whole, trial, clock)
    arithmetic = source.arithmetic()
    main = views[source.plan.views[0]]
    copies = find_copies(inputs, main, on_progress=clock, search=arithmetic.search, elsewhere=arithmetic.elsewhere)
    return Looked(main.readable, views, roots(copies.copy_of), main.order(whole.labels))


def rows_of_file(whole: Manifest, n: int, looked: Looked) -> Rows:
    """The rows behind the first n are tested on. Raises ConfigError where none is left of them."""
    behind, readable, labelled = np.arange(len(whole)) >= n, looked.readable, whole.labels >= 0
    learn = ~behind & ~whole.held_back & readable & labelled
    copy = np.isin(looked.group, looked.group[~behind])
    reasons = {
        "cannot be read": behind & ~readable,
        "without a label that the run knows": behind & readable & ~labelled,
        "with a copy among the rows of the run": behind & readable & labelled & copy,
    }
    test = behind & readable & labelled & ~copy
    left_out = [f"{counted(int(mask.sum()), 'test row')} {why}" for why, mask in reasons.items() if mask.any()]
    if not test.any():
        raise ConfigError(
            f"of {counted(int(behind.sum()), 'test row')} none is left: {'; '.join(left_out)}",
            hint=f"test on rows that the run has not audited, with labels of the same names: {listing(whole.classes)}",
        )
    measure = f"accuracy by the trusted labels of {counted(int(test.sum()), 'row')}"
    return Rows(learn, test, whole.labels, looked.group, "file", measure, left_out)


def rows_of_run(run: RunFolder, whole: Manifest, looked: Looked, audit: Audit, seed: int) -> Rows:
    """Rows of the run itself: those that are held back, or else some that every view agrees with."""
    usable = looked.readable & (whole.labels >= 0)
    learn, held_back = usable & ~whole.held_back, usable & whole.held_back
    copy = np.isin(looked.group, looked.group[learn])
    if (held_back & ~copy).any():
        return _of_splits(whole, looked, learn, held_back, copy)
    return _agreed_upon(run, whole, looked, learn, audit, seed)


def _of_splits(whole: Manifest, looked: Looked, learn: np.ndarray, held_back: np.ndarray, copy: np.ndarray) -> Rows:
    test, copies = held_back & ~copy, int((held_back & copy).sum())
    names = listing(sorted({name.strip() for name in whole.splits[test].tolist()}))
    measure = f"accuracy on {counted(int(test.sum()), 'row')} of split {names}, whose own labels may be wrong"
    left_out = [f"{counted(copies, 'row')} of the split: copies of what is learned from"] if copies else []
    return Rows(learn, test, whole.labels, looked.group, "split", measure, left_out)


def _agreed_upon(run: RunFolder, whole: Manifest, looked: Looked, usable: np.ndarray, audit: Audit, seed: int) -> Rows:
    """Some rows are kept from learning. Those of them count that an audit of them alone agrees with: had the rows that
    are learned from any say in it, what learns from them as they are would be right on these rows more often."""
    from cleanlab_lite.train.folds import assign_folds

    labels = np.where(usable, whole.labels, -1)
    kept = usable & (assign_folds(labels, copies_in(looked.group), FOLDS, seed, looked.order) == 0)
    rows = np.flatnonzero(kept)
    test = np.zeros(len(whole), dtype=bool)
    test[rows] = agreeing(audit(whole.select(rows), "kept"))
    test &= ~np.isin(whole.ids, [each.id for each in run.decisions])
    if not test.any():
        raise ConfigError("no row has a label that every view agrees with: there is nothing to test on", hint=NAME_FILE)
    measure = (
        f"accuracy on {test.sum():,} of {len(rows):,} rows that were kept from learning, those whose label every view "
        "of an audit of them alone agrees with: biased towards the audit's own opinion, and hardly a difficult row is "
        f"among them ({NAME_FILE})"
    )
    return Rows(usable & ~kept, test, whole.labels, looked.group, "agreeing", measure, [])


def agreeing(report: ReportTable) -> np.ndarray:
    """(n,) bool: rows without an issue, whose label is the most probable one by all together and by every view."""
    table = report.table
    label, predicted = (np.array(table[name].to_pylist(), dtype=object) for name in ("given_label", "predicted_label"))
    fine = ~flags(table) & (np.array(table["issue"].to_pylist(), dtype=object) == "none")
    agree = fine & (label == predicted)
    for name in table.column_names:
        if name.startswith(VIEW_MARGIN) and table[name].null_count < len(report):
            agree &= np.asarray(table[name].fill_null(-1.0)) > 0
    return agree

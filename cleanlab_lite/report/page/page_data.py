"""The rows of the page as JSON, most suspicious first, as many as fit.

The table comes first, to its share of the page; then details (preview, margins, neighbours) in the same order until
the page is full: large pictures of rows with an issue until their share is used, then pictures as large as leaves room
for all rows, or small ones, those of neighbours first. Text of strangers is JSON here, and text only in the page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cleanlab_lite.evidence.decisions import Decision, settle
from cleanlab_lite.progress import OnProgress, Progress
from cleanlab_lite.report.keys import PAGE
from cleanlab_lite.report.page.map_data import POINTS, map_of
from cleanlab_lite.report.page.previews import LARGE, SMALL, Preview
from cleanlab_lite.report.reasons import ISSUES, NOTES, SHOWN, sentences, to_show, why, with_context
from cleanlab_lite.run.folder import StoredCurves
from cleanlab_lite.run.report import ReportTable, with_issue
from cleanlab_lite.text import renamed
from cleanlab_lite.workers import ahead, cores

ROWS_SHARE = 0.45  # of the limit, for the table without details
EXAMPLES_SHARE = 0.1  # of the limit, for typical rows of the classes
EXAMPLES = 3  # typical rows of a class
EXAMPLE_SIDE = 160  # pixels of their pictures
LARGE_SHARE = 0.6  # of what is left for details, for those with large pictures
SIDES = ((LARGE, 14_000), (192, 7_000), (SMALL, 0))  # pixels of a picture; bytes per row from which it is taken
NEIGHBORS = 6  # of a row
CURVE_POINTS = 24  # of a row's margins, at most
CONFUSIONS = 12
BLOCK = 2048  # rows of the report turned into Python objects at a time
PREVIEWS = 32  # decoded at a time
THREADS = 8  # that look at files side by side, at most: large pictures need memory in each

# Row of the report and pixels of the longest side -> what the row looks like
Look = Callable[[int, int], Preview]

# What a row of the page holds, in this order; nulls at the end are cut off.
FIELDS = (
    "id", "given", "suggested", "p", "confidence", "issue", "action", "reasons", "probable", "loss", "aum",
    "knn", "agreement", "learned", "forgotten", "path", "split", "duplicate", "near", "error", "notes",
)  # fmt: skip

ARRAYS = (b"rows", b"details", b"examples", b"decided", b"map")  # of the data, as lists of lists


class PageData:
    """The data of the page as JSON, and how many bytes are left for more."""

    def __init__(self, report: ReportTable, left: int, limit: int) -> None:
        self.report, self.table = report, report.table
        self.names = report.names  # of labels that look alike
        self.limit = limit
        self.left = left
        self.labels = {entry.label: i for i, entry in enumerate(report.summary.classes)}
        self.reasons: dict[str, int] = {}
        self.splits: dict[str, int] = {}
        self.listed = np.zeros(0, dtype=np.int64)  # row numbers of the rows in the page
        self.rows: list[bytes] = []
        self.whys: list[list[str]] = []  # sentences on the rows of the page
        self.details: list[bytes] = []
        self.decided: list[bytes] = []
        self.map: list[bytes] = []
        self.examples: list[bytes] = []
        self.facts: dict[str, Any] = {
            "run": report.summary.run_id,
            "total": len(report),
            "choices": len(self.labels),  # so many of the labels are classes to choose from
            "confusions": [
                [self._label(pair.given), self._label(pair.suggested), pair.rows, round(pair.expected)]
                for pair in report.summary.confusions[:CONFUSIONS]
            ],
            "overlaps": [
                [self._label(pair.a), self._label(pair.b), told.in_words]
                for pair, told in zip(report.summary.overlaps, report.told_apart.summary.overlaps, strict=True)
            ][:CONFUSIONS],
            "fields": FIELDS,
            "issues": ISSUES,
            "keys": [[key.key, key.meaning] for key in PAGE],
            "sentences": {code: f"{text}." for code, text in sentences().items()},
        }
        self.left = (
            left - len(_json(self.facts | self._vocabularies())) - len(b"".join(b',"%s":[]' % name for name in ARRAYS))
        )

    def _vocabularies(self) -> dict[str, Any]:
        """`names`: what is shown of labels that look alike, by their place among the labels."""
        names = {at: self.names[label] for label, at in self.labels.items() if label in self.names}
        lists = {"labels": list(self.labels), "reasons": list(self.reasons), "splits": list(self.splits)}
        return {"names": names, **lists}

    def encoded(self) -> bytes:
        arrays = b",".join(b'"%s":[%s]' % (name, b",".join(getattr(self, name.decode()))) for name in ARRAYS)
        return _json(self.facts | self._vocabularies())[:-1] + b"," + arrays + b"}"

    def _add(self, into: list[bytes], value: Any, floor: int = 0) -> bool:
        """Append `value` when more than `floor` bytes are left after it."""
        text = _json(value)
        if self.left - len(text) - 1 < floor:
            return False
        into.append(text)
        self.left -= len(text) + 1
        return True

    def add_rows(self, order: np.ndarray) -> None:
        """The table of the page, in `order`."""
        floor = max(0, self.left - int(ROWS_SHARE * self.limit))
        for start in range(0, len(order), BLOCK):
            for record in with_context(self.report, self.table.take(pa.array(order[start : start + BLOCK]))):
                if not self._add(self.rows, self._row(record), floor):
                    self.listed = order[: len(self.rows)]
                    return
                self.whys.append(why(renamed(record, self.names) if self.names else record))
        self.listed = order

    def _row(self, record: dict[str, Any]) -> list[Any]:
        values = {
            "id": record["id"],
            "given": self._label(record["given_label"]),
            "suggested": self._label(record["suggested_label"]),
            "p": _round(record["p_mislabel"], 3),
            "confidence": _round(record["suggestion_confidence"], 2),
            "issue": record["issue"],
            "action": record["action"],
            "reasons": [self._index(self.reasons, code) for code in to_show(record)[:SHOWN]],
            "probable": [
                value
                for label, p in zip(record["top_labels"] or (), record["top_probs"] or (), strict=True)
                for value in (self._label(label), _round(p, 2))
            ],
            "loss": _round(record["loss_mean"], 2),
            "aum": _round(record["aum"], 2),
            "knn": self._label(record["knn_label"]),
            "agreement": _round(record["knn_agreement"], 2),
            "learned": record["learned_epoch"],
            "forgotten": _round(record["forgetting_events"], 1),
            "path": record["path"] if record["path"] != record["id"] else None,
            "split": None if record["split"] is None else self._index(self.splits, record["split"]),
            "duplicate": record["duplicate_of"],
            "near": record["near_duplicate_of"],
            "error": record["error"],
            "notes": [self._index(self.reasons, code) for code in record["reasons"] or () if code in NOTES] or None,
        }
        cells = [values[name] for name in FIELDS]
        while cells[-1] is None:
            cells.pop()
        return cells

    def _label(self, label: str | None) -> int | None:
        return None if label is None else self._index(self.labels, label)

    def _index(self, vocabulary: dict[str, int], name: str) -> int:
        """The number of `name`; a name not met before takes its bytes from what is left."""
        if name not in vocabulary:
            vocabulary[name] = len(vocabulary)
            self.left -= len(_json(name)) + 1
        return vocabulary[name]

    def add_decisions(self, decisions: Sequence[Decision]) -> None:
        """What people have decided by now about rows of the page: position, action, label, reviewer."""
        settled = settle(decisions)
        known = pc.index_in(
            self.table["id"].take(pa.array(self.listed)), value_set=pa.array(list(settled), pa.string())
        )
        order = list(settled.values())
        for position, found in enumerate(known.to_pylist()):
            if found is not None:
                one = order[found]
                if not self._add(self.decided, [position, one.action, self._label(one.label), one.reviewer]):
                    return

    def add_examples(self, look: Look | None) -> None:
        """A few rows per class that are surely right, to compare with; the classes with most with_issue first.

        Of each its picture, its sound, and its position in the page, -1 where it is not there.
        """
        if look is None:
            return
        floor = max(0, self.left - int(EXAMPLES_SHARE * self.limit))
        score = np.asarray(self.table["label_score"].fill_null(-1.0))
        given = self.table["given_label"].combine_chunks().dictionary_encode()
        codes = np.asarray(given.indices.fill_null(-1))
        names = given.dictionary.to_pylist()
        flagged = np.bincount(codes[with_issue(self.table) & (codes >= 0)], minlength=len(names))
        best = np.lexsort((-score, codes))  # class by class
        starts = np.searchsorted(codes[best], np.arange(len(names) + 1))
        position = self._positions()

        def seen(code: int) -> list[list[Any]]:
            rows = best[starts[code] : starts[code + 1]][:EXAMPLES].tolist()
            found = [(look(row, EXAMPLE_SIDE), row) for row in rows]
            return [[preview.picture, preview.sound, int(position[row])] for preview, row in found if preview.picture]

        order = np.argsort(-flagged, kind="stable").tolist()
        for code, shown in zip(order, ahead(seen, order, _threads()), strict=True):
            if not self._add(self.examples, [self._label(names[code]), *shown], floor):
                return

    def add_map(self, features: np.ndarray | None) -> None:
        """Position in the page and place on the map: rows with an issue, and as many of the others, evenly spread."""
        if features is None or not len(self.listed):
            return
        wrong = with_issue(self.table)[self.listed]
        suspects, others = np.flatnonzero(wrong)[:POINTS], np.flatnonzero(~wrong)
        room = POINTS - len(suspects)
        others = others[np.linspace(0, len(others) - 1, min(room, len(others))).astype(int)]
        shown = np.concatenate([suspects, others])
        places = map_of(features, self.listed[shown])
        for place, (x, y) in zip(shown.tolist(), places.tolist(), strict=True):
            if x >= 0 and not self._add(self.map, [place, x, y]):
                return

    def add_details(self, look: Look, history: StoredCurves | None, on_progress: OnProgress) -> None:
        """Position, preview, margins, neighbours and reasons of the rows of the table until the page is full."""
        curves, neighbors = _curves(history, self.listed), self._neighbors()
        total = len(self.listed)
        wrong = with_issue(self.table)[self.listed]
        done = np.zeros(total, dtype=bool)
        floor = int((1 - LARGE_SHARE) * self.left)
        with ThreadPoolExecutor(_threads()) as pool:
            for start in range(0, total, PREVIEWS):
                on_progress(Progress("page", start, total, "rows"))
                share = self.left / (total - done.sum() or 1)
                usual = next(side for side, size in SIDES if size <= share)
                block = [place for place in range(start, min(start + PREVIEWS, total)) if not done[place]]
                sides = [LARGE if wrong[place] and self.left > floor else usual for place in block]
                if LARGE in sides and usual == SMALL:
                    near = [n for place in block for n in neighbors[place] if isinstance(n, int)]
                    near = [n for n in dict.fromkeys(near) if n >= start + PREVIEWS and not wrong[n] and not done[n]]
                    block, sides = block + near, sides + [SMALL] * len(near)
                done[block] = True
                previews = pool.map(look, self.listed[block].tolist(), sides)
                for place, seen in zip(block, previews, strict=True):
                    detail = [place, seen.picture, seen.sound, curves[place], neighbors[place], self.whys[place]]
                    if not self._add(self.details, detail):
                        on_progress(Progress("page", total, total, "rows"))
                        return
        on_progress(Progress("page", total, total, "rows"))

    def _positions(self) -> np.ndarray:
        """(n,) place in the page of every row of the report, -1 for those that are not in it."""
        position = np.full(len(self.table), -1)
        position[self.listed] = np.arange(len(self.listed))
        return position

    def _neighbors(self) -> list[list[Any]]:
        """Of every row of the page: positions in it, or [id, label] of rows that are not in it."""
        lists = self.table["neighbors"].take(pa.array(self.listed)).combine_chunks()
        lists = pc.list_slice(lists, 0, NEIGHBORS)
        parents = np.asarray(pc.list_parent_indices(lists))
        ids = pc.list_flatten(lists)
        found = np.asarray(pc.index_in(ids, value_set=self.table["id"]).fill_null(-1))
        position = self._positions()
        labels = self.table["given_label"].take(pa.array(np.maximum(found, 0))).to_pylist() if len(found) else []
        result: list[list[Any]] = [[] for _ in self.listed]
        for parent, row, id, label in zip(parents, found, ids.to_pylist(), labels, strict=True):
            if row >= 0:  # else it is not in the report
                in_page = position[row] >= 0
                result[parent].append(int(position[row]) if in_page else [id, self._label(label)])
        return result


def _threads() -> int:
    return min(cores(), THREADS)


def _curves(history: StoredCurves | None, rows: np.ndarray) -> list[list[float | None]]:
    """Margins of `rows` at no more than CURVE_POINTS epochs, evenly spread."""
    if history is None:
        return [[] for _ in rows]
    found, width = history.read("margin", rows), history.epochs
    epochs = np.unique(np.linspace(0, width - 1, min(width, CURVE_POINTS)).round().astype(int))
    return [[_round(value, 1) for value in row] for row in found[:, epochs].tolist()]


def known(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else value


def _round(value: float | None, digits: int) -> float | int | None:
    """A short number for JSON: 1 for 1.0, None for NaN."""
    if (finite := known(value)) is None:
        return None
    rounded = round(finite, digits)
    return int(rounded) if rounded == int(rounded) else rounded


def _json(value: Any) -> bytes:
    """Compact JSON that cannot end the script element it lies in. Lone surrogates become JSON's own escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").encode("utf-8", "backslashreplace")

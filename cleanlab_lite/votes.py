"""Votes of several annotators on the same items. Letters: n items, m votes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

VOTES = "votes"  # column, or key, of objects of annotator: label


@dataclass(frozen=True)
class Votes:
    """m votes on n items, ordered by item. An annotator votes at most once on an item."""

    annotators: tuple[str, ...]
    item: np.ndarray  # (m,) int64, ascending
    annotator: np.ndarray  # (m,) int64
    label: np.ndarray  # (m,) int64, class

    def __len__(self) -> int:
        return len(self.item)

    def counts(self, n: int) -> np.ndarray:
        """(n,) votes on each item."""
        return np.bincount(self.item, minlength=n)

    def objects(self, n: int, classes: Sequence[str]) -> list[str]:
        """n objects of annotator: class, as JSON."""
        found: list[dict[str, str]] = [{} for _ in range(n)]
        for item, who, label in zip(*(each.tolist() for each in (self.item, self.annotator, self.label)), strict=True):
            found[item][self.annotators[who]] = classes[label]
        return [json.dumps(each, ensure_ascii=False) for each in found]

    def select(self, rows: np.ndarray, n: int) -> Votes:
        """The votes on some of n items (index), which are numbered anew."""
        position = np.full(n, -1)
        position[rows] = np.arange(len(rows))
        found = np.flatnonzero(position[self.item] >= 0)
        order = found[np.argsort(position[self.item[found]], kind="stable")]
        return replace(self, item=position[self.item[order]], annotator=self.annotator[order], label=self.label[order])


def confused(votes: Votes, consensus: np.ndarray, annotator: int) -> Sequence[tuple[int, int, int]]:
    """What an annotator took for what: consensus (n,), label, and votes, most of them first."""
    mine = votes.annotator == annotator
    true, said = consensus[votes.item[mine]], votes.label[mine]
    wrong = true != said
    pairs, size = np.unique(np.stack([true[wrong], said[wrong]]), axis=1, return_counts=True)
    return [(int(pairs[0, i]), int(pairs[1, i]), int(size[i])) for i in np.argsort(-size, kind="stable")]

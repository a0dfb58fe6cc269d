"""Rows with the same or nearly the same content, and splits that share some.

Four kinds of copies. `exact`: the same bytes. `perceptual`: a picture or sound that was saved again, resized, made
brighter or louder. `reframed`: a picture that was cropped or mirrored, where an encoder has seen it. `embedding`:
vectors of the user or of a frozen encoder that nearly coincide. The proxies' own features are not searched: they are
learned from the labels, so that rows of a class look alike in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cleanlab_lite.copies.embedding import chord, embedding_pairs
from cleanlab_lite.copies.perceptual import Looks, correlation, perceptual_pairs, small_clips, small_pictures
from cleanlab_lite.copies.reframed import Elsewhere, Overlay, reframed_pairs
from cleanlab_lite.data.inputs import Inputs
from cleanlab_lite.groups import differs, group_pairs, roots
from cleanlab_lite.judge.neighbors import Search, on_host
from cleanlab_lite.matrices import Subset
from cleanlab_lite.progress import OnProgress, Progress, ignore
from cleanlab_lite.run.summary import Leak

KINDS = ("exact", "perceptual", "reframed", "embedding")


@dataclass(frozen=True)
class Duplicates:
    """Groups of copies. Every array points to the first row of the group, -1 for that row itself and for unique rows.

    A group is the union of pairs; similarity is that of the row and the first one, measured as near kinds are.
    """

    copy_of: np.ndarray  # (n,) int64, of all kinds together
    kind: np.ndarray  # (n,) str, what makes the row a copy, "" where it is none
    similarity: np.ndarray  # (n,) float64, 0..1, NaN where it is none
    by_kind: dict[str, np.ndarray]  # kind -> (n,) int64; `exact` alone, and each other kind with `exact`
    facts: dict[str, Any]  # for the summary, JSON types

    @property
    def near(self) -> np.ndarray:
        """(n,) bool: copies whose bytes are not those of the first row."""
        return (self.copy_of >= 0) & (self.by_kind["exact"] != self.copy_of)

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(m,) the copies, the row that each is shown beside, and their similarity: the first row of the same bytes,
        else the first of the group."""
        copies, exact = np.flatnonzero(self.copy_of >= 0), self.by_kind["exact"]
        same = exact[copies] >= 0
        return (
            copies,
            np.where(same, exact[copies], self.copy_of[copies]),
            np.where(same, 1.0, self.similarity[copies]),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """For `from_arrays`, all but the facts."""
        found = {"copy_of": self.copy_of, "kind": self.kind, "similarity": self.similarity}
        return found | {f"by_{kind}": copies for kind, copies in self.by_kind.items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Duplicates:
        """What `arrays` gave."""
        by_kind = {kind: arrays[f"by_{kind}"] for kind in KINDS if f"by_{kind}" in arrays}
        return cls(arrays["copy_of"], arrays["kind"], arrays["similarity"], by_kind, facts)

    def reasons(self, labels: np.ndarray, splits: np.ndarray) -> dict[str, np.ndarray]:
        """Reason code -> (n,) bool. labels (n,) int64, -1 where there is none; splits (n,) str, "" where none."""
        group, content = roots(self.copy_of), roots(self.by_kind["exact"])
        _, name = np.unique(splits, return_inverse=True)
        named, labelled = splits != "", labels >= 0
        return {
            "near_duplicate": differs(group, content, np.ones(len(group), bool)),
            "near_duplicate_conflict": labelled
            & differs(group, labels, labelled)
            & ~differs(content, labels, labelled),
            "leakage": named & differs(group, name, named),
        }

    def leakage(self, splits: np.ndarray) -> list[Leak]:
        """What the splits (n,) str share: per pair of them, rows of either with a copy in the other, each under the
        first kind of copy that it has there."""
        names = [str(name) for name in np.unique(splits) if name]
        rows = {name: splits == name for name in names}
        content = roots(self.by_kind["exact"])
        shared = []
        for a, b in ((a, b) for i, a in enumerate(names) for b in names[i + 1 :]):
            left = rows[a] | rows[b]
            for kind, copies in self.by_kind.items():
                group = roots(copies)
                found_a, found_b = (left & _meets(group, content, rows[x], rows[y], kind) for x, y in ((a, b), (b, a)))
                left &= ~(found_a | found_b)
                n_a, n_b = int(found_a.sum()), int(found_b.sum())
                if n_a or n_b:
                    shared.append(
                        Leak(
                            split_a=a,
                            split_b=b,
                            kind=kind,
                            rows_a=n_a,
                            rows_b=n_b,
                            share_a=n_a / int(rows[a].sum()),
                            share_b=n_b / int(rows[b].sum()),
                        )
                    )
        return shared


def find_copies(
    inputs: Inputs,
    seen: Inputs | None = None,
    *,
    on_progress: OnProgress = ignore,
    search: Search = on_host,
    elsewhere: Elsewhere | None = None,
) -> Duplicates:
    """All copies among the rows: of pictures and clips by their pixels, of vectors by their neighbours.

    Args:
        inputs: what the rows are. Where nothing was decoded, only the same bytes are found.
        seen: what a frozen encoder made of them, searched as well; by default `inputs`.
        search: for neighbours.
        elsewhere: where pictures are laid over each other, see `Overlay`.
    """
    n = len(inputs.codes)
    exact = inputs.duplicate_of
    unique = np.flatnonzero(inputs.readable & (exact < 0))
    links = {kind: np.zeros((0, 2), np.int64) for kind in KINDS[1:]}
    measures: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    facts: dict[str, Any] = {}

    def hear(total: int) -> Callable[[int], None]:
        return lambda done: on_progress(Progress("duplicates", done, total, "rows"))

    looks: Looks | None = None
    place = np.full(n, -1)
    if inputs.array.ndim == 4:
        looks = small_pictures(inputs.array, unique) if inputs.offsets is None else small_clips(inputs, unique)
        found, facts["perceptual_distance"] = perceptual_pairs(looks, hear(len(unique)))
        links["perceptual"] = unique[found]
        place[unique] = np.arange(len(unique))
        measures["perceptual"] = lambda pairs: correlation(looks.small, place[pairs])
    vectors = inputs if seen is None else seen
    if vectors.array.ndim == 2 and vectors.array.shape[1]:
        rows = unique[vectors.readable[unique]]
        part = Subset(vectors.array, rows)
        found, neighbors, facts["search"] = embedding_pairs(part, hear(len(rows)), search)
        links["embedding"] = rows[found]
        if looks is not None and inputs.offsets is None:
            overlay = Overlay(inputs.array, rows, looks.small[place[rows]], elsewhere)
            found, facts["reframed_distance"] = reframed_pairs(overlay, neighbors)
            group = roots(group_pairs(n, links["perceptual"]))
            found = rows[found]
            links["reframed"] = found[group[found[:, 0]] != group[found[:, 1]]]
            within = np.full(n, -1)
            within[rows] = np.arange(len(rows))
            measures["reframed"] = lambda pairs: overlay.agreement(within[pairs])
        measures["embedding"] = lambda pairs: 1 - chord(vectors.array, pairs) ** 2 / 2

    tied = np.flatnonzero(exact >= 0)
    same = np.stack([exact[tied], tied], axis=1)
    by_kind = {"exact": exact}
    by_kind |= {kind: group_pairs(n, np.concatenate([same, links[kind]])) for kind in measures}
    copy_of = group_pairs(n, np.concatenate([same, *links.values()]))
    kind, similarity = _describe(copy_of, by_kind, links, measures)
    counts = {name: int((kind == name).sum()) for name in KINDS}
    return Duplicates(copy_of, kind, similarity, by_kind, {"rows": counts, **facts})


def _describe(
    copy_of: np.ndarray,
    by_kind: dict[str, np.ndarray],
    links: dict[str, np.ndarray],
    measures: dict[str, Callable[[np.ndarray], np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Kind and similarity of every copy. The same bytes as a row before it come first, then what ties a row to the
    first of its group, then what ties it to any other."""
    kind, similarity = np.full(len(copy_of), "", dtype="U10"), np.full(len(copy_of), np.nan)
    left = copy_of >= 0
    same = left & (by_kind["exact"] == copy_of)
    kind[same], similarity[same] = "exact", 1.0
    content = roots(by_kind["exact"])
    for direct in (True, False):
        for name, measure in measures.items():
            tied = (by_kind[name] == copy_of) if direct else np.isin(content, content[links[name]])
            rows = np.flatnonzero(left & (kind == "") & tied)
            kind[rows] = name
            pairs = content[np.stack([copy_of[rows], rows], axis=1)]  # only unique rows have been looked at
            similarity[rows] = np.clip(measure(pairs), 0, 1)
    kind[by_kind["exact"] >= 0] = "exact"
    return kind, similarity


def _meets(group: np.ndarray, content: np.ndarray, own: np.ndarray, other: np.ndarray, kind: str) -> np.ndarray:
    """(n,) bool: `own` rows with a copy among `other` rows; but for kind `exact`, one of another content."""
    n = len(group)
    there = np.bincount(group[other], minlength=n)[group]
    same = 0 if kind == "exact" else np.bincount(content[other], minlength=n)[content]
    return own & (there > same)

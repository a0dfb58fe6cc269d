"""`Evidence`: what training saw. Detectors are pure functions of it.

Letters: n samples, k classes, d features, m networks, e epochs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from cleanlab_lite.errors import EvidenceError
from cleanlab_lite.evidence.history import History
from cleanlab_lite.matrices import Matrix, finite_rows, predictions, take

NO_CLASS, NOBODY = -1, -2  # of decided rows: the label is wrong and there is no other; of other rows


@dataclass(frozen=True)
class Plants:
    """Rows whose label was replaced by a wrong one for one proxy, so that it is known how wrong labels look."""

    proxy: int  # index in the history
    rows: np.ndarray  # (p,) int64
    labels: np.ndarray  # (p,) int64, the planted label
    instance_level: np.ndarray  # (p,) bool: drawn from the row's own probabilities, else from those of its class

    def select(self, rows: np.ndarray, n: int) -> Plants:
        """The plants among a subset of n rows (index or mask), renumbered."""
        position = np.full(n, -1)
        position[rows] = np.arange(len(position[rows]))
        here = position[self.rows] >= 0
        return Plants(self.proxy, position[self.rows[here]], self.labels[here], self.instance_level[here])


@dataclass(frozen=True)
class HeldOut:
    """What a ridge says about n rows without having seen them. NaN and -1 where a row is unreadable."""

    logits: Matrix  # (n, k) float32, of which the softmax is the probability of the true class
    score: np.ndarray  # (n,) float64, log-odds of the given label, higher is cleaner; NaN without one
    predicted: np.ndarray  # (n,) int64
    halves: np.ndarray  # (t, 2, n) int64, predicted from disjoint halves of the principal components, for t splits
    neighbors: np.ndarray  # (n,) int64, what the nearest rows vote for; of a sample, -1 elsewhere
    agreement: float  # share of the given labels that are predicted
    strength: float  # of the penalty
    sharpness: float  # factor that made predictions logits
    noise: float  # share of labels drawn from anywhere, found together with the sharpness; not a noise rate to show
    looks_at: tuple[str, ...] = ()  # views, where a head in closed form has a choice

    def select(self, rows: np.ndarray) -> HeldOut:
        """The same for a subset of rows (index or mask)."""
        return replace(
            self,
            logits=take(self.logits, rows),
            score=self.score[rows],
            predicted=self.predicted[rows],
            halves=self.halves[:, :, rows],
            neighbors=self.neighbors[rows],
        )


@dataclass(frozen=True)
class Vote:
    """What one view by itself says."""

    predicted: np.ndarray  # (n,) int64, without having seen the row; -1 where it is unreadable
    margin: np.ndarray  # (n,) float64, log-probability of the given label minus that of the best other; NaN without one
    agreement: float  # share of the given labels that are predicted

    def select(self, rows: np.ndarray) -> Vote:
        """The same for a subset of rows (index or mask)."""
        return replace(self, predicted=self.predicted[rows], margin=self.margin[rows])


@dataclass(frozen=True)
class Counsel:
    """What a regression that ranks nothing says of how many of n labels are wrong."""

    planted: float  # share of wrong labels by planted errors
    halves: float  # and by votes of halves of the components
    predicted: np.ndarray  # (n,) int64, as in `HeldOut`
    # (n,) float64, how probable a wrong label is by the confusion, and by votes of halves and of the nearest rows; NaN
    # of rows that were not asked
    by_confusion: np.ndarray
    by_halves: np.ndarray

    def select(self, rows: np.ndarray) -> Counsel:
        """The same for a subset of rows (index or mask)."""
        names = ("predicted", "by_confusion", "by_halves")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


@dataclass(frozen=True)
class Asked:
    """What an audit said of n rows when people were asked about some of them."""

    p: np.ndarray  # (n,) float64 p_mislabel there, NaN where nobody was asked
    at_random: np.ndarray  # (n,) bool, asked about as a random sample

    def select(self, rows: np.ndarray) -> Asked:
        """Of a subset of rows (index or mask)."""
        return Asked(self.p[rows], self.at_random[rows])


@dataclass(frozen=True)
class Evidence:
    """Arrays over the same n samples. A field is None when nothing recorded it."""

    labels: np.ndarray  # (n,) int64, given label, -1 where there is none
    num_classes: int
    history: History | None = None
    features: Matrix | None = None  # (n, d) float16 or float32, penultimate layer, not normalised
    pred_probs: Matrix | None = None  # (n, k) float32, each row from proxies that did not train on it
    # (n, k) float32, mean over all cross-fitted proxies, scaled like pred_probs; None: the logarithm of pred_probs
    logits: Matrix | None = None
    plants: Plants | None = None
    # (e + 1, n) int32, class predicted by a network that had learned the row: before, and after each epoch of, learning
    # other rows only
    second_split: np.ndarray | None = None
    head: HeldOut | None = None  # a regression in closed form on all views of vectors
    votes: Mapping[str, Vote] = field(default_factory=dict)  # of each of these views, by name
    counsel: Counsel | None = None  # of a regression on what networks look at alone, which ranks worse than they do
    decided: np.ndarray | None = None  # (n,) int64, the class that people have decided on, else NO_CLASS or NOBODY
    asked: Asked | None = None  # what an earlier audit said of these
    view: str = ""  # that the networks looked at, where it has a name
    beside: Mapping[str, Evidence] = field(default_factory=dict)  # of networks that looked at other views, by name

    def __post_init__(self) -> None:
        n = len(self.labels)
        for name in ("features", "pred_probs", "logits"):
            array = getattr(self, name)
            if array is not None and len(array) != n:
                raise EvidenceError(f"{name} has {len(array)} rows, labels has {n}")
        for name in ("pred_probs", "logits"):
            array = getattr(self, name)
            if array is not None and array.shape[1] != self.num_classes:
                raise EvidenceError(f"{name} has {array.shape[1]} columns for {self.num_classes} classes")
        if self.history is not None and self.history.shape[2] != n:
            raise EvidenceError(f"history has {self.history.shape[2]} samples, labels has {n}")
        if self.second_split is not None and self.second_split.shape[1] != n:
            raise EvidenceError(f"second_split has {self.second_split.shape[1]} columns, labels has {n} rows")
        if n and (self.labels.min() < -1 or self.labels.max() >= self.num_classes):
            raise EvidenceError(
                f"labels must lie in -1..{self.num_classes - 1}, found {self.labels.min()}..{self.labels.max()}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def need(self, name: Literal["features", "pred_probs", "logits", "second_split"]) -> Matrix:
        """The field, for a detector that cannot do without. Raises EvidenceError where it is None."""
        found = getattr(self, name)
        if found is None:
            raise _missing(name)
        return found

    @property
    def agreement(self) -> float:
        """Share of the given labels that are predicted out of sample, of rows that have both."""
        pred_probs = self.need("pred_probs")
        known = (self.labels >= 0) & finite_rows(pred_probs)
        return float((predictions(pred_probs)[known] == self.labels[known]).mean())

    def need_history(self) -> History:
        """The history. Raises EvidenceError where there is none."""
        if self.history is None:
            raise _missing("history")
        return self.history

    @property
    def kinds(self) -> list[str]:
        """Names of what is there of all that a user can bring."""
        return [name for name in ("history", "pred_probs", "features") if getattr(self, name) is not None]

    def fingerprint(self) -> str:
        """sha256 over the arrays that a user can bring: history, features, out-of-sample probabilities."""
        history = self.history
        recorded = (history.loss, history.margin, history.predicted, history.trained_on) if history else (None,)
        digest = hashlib.sha256()
        for array in (self.labels, *recorded, self.features, self.pred_probs):
            digest.update(b"-" if array is None else f"{array.dtype} {array.shape}".encode())
            digest.update(b"" if array is None else np.ascontiguousarray(array).reshape(-1).data)
        return digest.hexdigest()

    def select(self, rows: np.ndarray) -> Evidence:
        """The same evidence for a subset of rows (index or mask); itself where these are all, in order."""
        if len(rows) == len(self) and (rows.all() if rows.dtype == bool else (rows == np.arange(len(self))).all()):
            return self

        def part(array: Matrix | None) -> Matrix | None:
            return None if array is None else take(array, rows)

        return Evidence(
            labels=self.labels[rows],
            num_classes=self.num_classes,
            history=None if self.history is None else self.history.select(rows),
            features=part(self.features),
            pred_probs=part(self.pred_probs),
            logits=part(self.logits),
            plants=None if self.plants is None else self.plants.select(rows, len(self)),
            second_split=None if self.second_split is None else self.second_split[:, rows],
            head=None if self.head is None else self.head.select(rows),
            votes={name: vote.select(rows) for name, vote in self.votes.items()},
            counsel=None if self.counsel is None else self.counsel.select(rows),
            decided=None if self.decided is None else self.decided[rows],
            asked=None if self.asked is None else self.asked.select(rows),
            view=self.view,
            beside={name: other.select(rows) for name, other in self.beside.items()},
        )


def taught_labels(labels: np.ndarray, decided: np.ndarray | None) -> np.ndarray:
    """(n,) int64 what is learned from: the decided class where there is one, else the given label; -1 for neither."""
    return labels if decided is None else np.where(decided == NOBODY, labels, decided)


def _missing(name: str) -> EvidenceError:
    return EvidenceError(f"this detector needs {name}, which the run did not record")

"""How many labels are wrong, and how probably each: a median of estimators that fail differently.

Each of them overstates somewhere and understates somewhere else; the one in the middle has been near the truth on all
data with known errors. They need held-out logits of one head, and what other heads or views would vote for.

- planted: labels drawn from q, the held-out probabilities, without the given one. How suspicious they are is known
  exactly, as no held-out prediction depends on the row's own label. Where labels seem to be so wrong that no right one
  does, the share of all rows over that of the planted ones is the rate. Corrected for planted labels that hit the
  truth.
- confusion: expectation and maximisation of one k x k confusion, q fixed.
- views: Dawid and Skene's model of the given label and what each of several independent views predicts. It counts
  twice where no rows of no class are seen, which views contradict as well: planted labels and confusion are both read
  off one head, and would outvote it on errors which this head repeats, as people's are who mistake what looks alike
  (benchmarks/RESULTS.md, "Views count twice"). But once where all views are far behind the best, and p does not take
  its shape from them: what these contradict are mistakes of their own.
- halves: with one view the same of two regressions on disjoint halves of its components, mean over a few ways to halve
  them. They repeat each other's mistakes, and count where there are no views, or only views that are far apart.
- shown: in the place of both where networks of one view are all there is, errors that one of them was taught.
- regression: of ready vectors one is there beside such networks, which ranks worse and nothing. Its planted errors, its
  confusion, its halves, and its votes with those of the networks are four voices more, for three are sometimes all far
  too low (benchmarks/RESULTS.md, "With a regression beside them").

Where the confusion leaves hardly a row in doubt, it has counted the wrong labels, and the others are not asked: planted
labels tell nothing where no right one lies near them.

None is believed beyond the share of given labels that held-out predictions differ from.

Where classes have few rows, all of them overcount, and p is too sure which labels are wrong: a wrong prediction passes
for a wrong label, and confusions are made of chance; the more so the more predictions differ from the labels, d of
them. With c rows a class, c / (c + `FEW` d) of what is counted is believed (all of it where hardly a row is in doubt),
and the odds of p are raised to that power. `FEW` was chosen on CIFAR-10N and ESC-50 and held on other data
(benchmarks/RESULTS.md, "Few rows of a class"), and so was `FEW_FOR_NETWORKS`: these need more rows than a regression,
and have no halves beside them, unless one is heard, too.

The interval begins at the least of what they say, and of what errors planted along the confusions of whole classes say,
which are easier to see than real ones. Errors that are what the row looks most like are errors in nobody's eyes, and of
them a fifth to a third is counted. The sign of it is how undecided the confusion is: where `unsure` is half of the rate
or more, which the method card tells, the interval ends at that share of differing predictions (too high nearly always),
else so much nearer. Weak spots: there may be such errors without the sign; rows of no class halve the estimate, and on
clean labels the halves alone find up to a quarter wrong; the median does not follow.

Letters: n rows, k classes, v views. Rows without a label or without features are NaN in and out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.sparse import csr_array
from scipy.special import log_softmax

from cleanlab_lite.arrays import draw
from cleanlab_lite.evidence.evidence import Counsel, HeldOut
from cleanlab_lite.judge.calibration import (
    CHANCE,
    Calibration,
    NoiseRate,
    Z,
    by_rank,
    hit_chance,
    kappa,
    number_deviation,
    raised,
    scale_odds,
    tail_rate,
    without_hits,
    wrong_probability,
)
from cleanlab_lite.judge.closed_form import log_odds, sample_rows
from cleanlab_lite.judge.confusion import confusion_em, dawid_skene
from cleanlab_lite.judge.monotone import isotonic, ranks
from cleanlab_lite.matrices import Matrix, Subset
from cleanlab_lite.run.summary import UNDECIDED

LEAST = 1e-5  # p_mislabel is never nearer to 0 or 1
FEW = 8.0  # rows of a class of which half is believed, if no prediction were the given label
FEW_FOR_NETWORKS = 16.0  # the same where networks of one view are all there is
LEAST_BELIEVED = 2 / 3  # with less, which 1 of 42 sets of ten rows a class has, users are told to go by the order
STEP = 1e-6  # probabilities nearer to each other than this are one plateau
DRAWS = 4  # planted labels a row, of either kind
MOST_UNSURE = 0.1  # share of errors expected among rows that the confusion calls wrong, up to which it stands alone


@dataclass(frozen=True)
class Regression:
    """The share of wrong labels as a regression sees it on what networks look at."""

    planted: float
    confusion: float
    halves: float
    together: float  # by its votes and those of the networks


@dataclass(frozen=True)
class Estimators:
    """The share of wrong labels as each estimator sees it."""

    planted: float
    confusion: float
    halves: float | None  # None where the best witness is no regression
    views: float | None  # None with one view
    classwise: float  # planted along the confusions of classes
    disagreement: float  # held-out predictions that differ from the given label: the most there may be
    unsure: float  # share of the rows that the confusion is expected to put on the wrong side
    rows: int  # judged
    classes: int  # that these have
    few: float = FEW
    besides: float | None = None  # one voice more: the views again, or halves beside views that are far apart
    shown: float | None = None  # by errors that one of the networks was shown, where networks of one view are alone
    regression: Regression | None = None  # that ranks nothing, beside networks of one view

    @property
    def clear(self) -> bool:
        """Whether the confusion alone has counted the wrong labels."""
        return self.unsure <= MOST_UNSURE * self.confusion

    @property
    def rate(self) -> float:
        """The median, as far as it is believed, and never above the disagreement."""
        counted = self.confusion if self.clear else self.believed * float(np.median(self.voices))
        return min(counted, self.disagreement)

    @property
    def believed(self) -> float:
        """Share of what the estimators count, and the power of odds, by how many rows a class has on average."""
        return self.rows / (self.rows + self.few * self.disagreement * self.classes)

    @property
    def too_few(self) -> bool:
        """Whether the rows of a class are too few to judge: the order of all rows says more than p."""
        return self.believed < LEAST_BELIEVED

    @property
    def facts(self) -> dict[str, float | None]:
        """As the summary has it."""
        return asdict(self) | {"believed": self.believed}

    @property
    def voices(self) -> list[float]:
        """Those that the median is of."""
        crowd = self.views
        if crowd is None:
            crowd = self.halves if self.shown is None else self.shown
        more = [each for each in (crowd, self.besides) if each is not None]
        return [self.planted, self.confusion, *more, *(asdict(self.regression).values() if self.regression else ())]

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the most of these rows that may be wrong."""
        low = min(self.rate, self.believed * min(self.classwise, *self.voices))
        way = min(self.unsure / max(UNDECIDED * self.rate, 1e-12), 1.0)
        high = self.rate + way * (self.disagreement - self.rate)
        if self.clear:
            low = max(self.rate - self.unsure, 0.0)
        return float(low), float(high)

    def noise_rate(self, p_low: np.ndarray, method: str) -> NoiseRate:
        """With an interval: both `ends`, and what chance adds to them.

        At the lower end that of how many of these very rows are wrong, which p (rows,) at that end says of most. But
        errors that no estimator sees have a p near 0: at the upper end it is that of any rows of which so many are.
        """
        low, high = self.ends
        most = max(high, 1 / self.rows)  # none that is seen is no proof that there is none
        below, above = number_deviation(p_low) / self.rows, np.sqrt(most * (1 - most) / self.rows)
        return NoiseRate(self.rate, float(max(low - Z * below, 0.0)), float(min(high + Z * above, 1.0)), method)


@dataclass(frozen=True)
class Judged:
    """The calibration of a ranking of n rows, and what its rate is made of; None where nothing was learned."""

    calibration: Calibration
    estimators: Estimators | None


@dataclass(frozen=True)
class Planted:
    """Sampled rows with their own label, and with others that were planted on them."""

    log_q: np.ndarray  # (s, k) float64 held-out log-probabilities
    labels: np.ndarray  # (s,) int64, given
    of_row: np.ndarray  # (t, s) int64, t times drawn from the row's own probabilities without the given class
    of_class: np.ndarray  # (t, s) int64, the same from the mean of the rows with the same label


def judge_rate(
    held_out: HeldOut,
    labels: np.ndarray,
    views: Sequence[np.ndarray] = (),
    ranking: np.ndarray | None = None,
    *,
    near: bool = True,
    few: float = FEW,
    shown: Calibration | None = None,
    counsel: Counsel | None = None,
    seed: int = 0,
) -> Judged:
    """Calibrate a ranking of the rows by what a head says of them.

    Args:
        labels: (n,) int64, -1 where there is none.
        views: what each view predicts alone, (n,) int64, for every row that is judged; with fewer than two no voters.
        ranking: (n,) higher is cleaner, NaN where there is nothing to judge; the head's own score by default.
        near: two views predict nearly as many labels as the best; of views that are far apart only the rate is taken.
        few: rows of a class of which half is believed.
        shown: of networks, by errors that one of them was shown: an estimator, and a shape.
        counsel: of a regression beside networks: estimators, and two shapes.
    """
    ranking = held_out.score if ranking is None else ranking
    judged = np.flatnonzero((labels >= 0) & np.isfinite(held_out.score) & np.isfinite(ranking))
    if not len(judged) or kappa(held_out.predicted[judged], labels[judged]) < CHANCE:
        return Judged(Calibration.unknown(len(labels)), None)
    k = held_out.logits.shape[1]
    rows, by_confusion, plants = _asked(held_out, labels, judged, seed)
    by_halves = _by_halves(held_out, labels, rows) if len(held_out.halves) else None
    by_views = _crowd([labels, *views], rows, k) if len(views) > 1 else None
    planted, classwise = planted_rates(plants)
    estimators = Estimators(
        planted=planted,
        confusion=float(by_confusion.mean()),
        halves=by_halves,
        views=None if by_views is None else float(by_views.mean()),
        classwise=classwise,
        disagreement=float((held_out.predicted[judged] != labels[judged]).mean()),
        unsure=float(np.minimum(by_confusion, 1 - by_confusion).mean()),
        rows=len(judged),
        classes=len(np.unique(labels[judged])),
        few=few,
        shown=None if shown is None else shown.rate.estimate,
        regression=None
        if counsel is None
        else Regression(
            planted=counsel.planted,
            confusion=float(np.nanmean(counsel.by_confusion)),
            halves=counsel.halves,
            together=float(_crowd([labels, held_out.predicted, counsel.predicted], rows, k).mean()),
        ),
    )
    voted, by_vote = rows, by_views if near else None
    if by_vote is None and by_halves is not None:
        voted, by_vote = _with_neighbors(held_out, labels, judged)
    shapes = [
        along(ranking[rows], by_confusion, ranking[judged]),
        by_rank(ranking[judged], planted_shape(plants, estimators.rate), estimators.rate),
    ]
    if by_vote is not None:
        shapes.append(along(ranking[voted], by_vote, ranking[judged]))
    if shown is not None:
        shapes.append(shown.p_mislabel[judged])
    if counsel is not None:
        for wrong in (counsel.by_confusion, counsel.by_halves):
            asked = judged[np.isfinite(wrong[judged])]
            shapes.append(along(ranking[asked], wrong[asked], ranking[judged]))
    mean = np.mean([scale_odds(shape, estimators.rate) for shape in shapes], axis=0)
    p = scale_odds(raised(mean, estimators.believed), estimators.rate)
    return Judged(_calibration(labels, judged, p, ranking, estimators), estimators)


def with_one_more(judged: Calibration, estimators: Estimators, *, near: bool) -> tuple[Calibration, Estimators]:
    """The same where views count twice, or, where none is `near` the best of them, once and the halves beside them."""
    estimators = replace(estimators, besides=estimators.views if near else estimators.halves)
    known, p = np.isfinite(judged.p_mislabel), judged.p_mislabel

    def at(rate: float) -> np.ndarray:
        found = p.copy()
        found[known] = scale_odds(p[known], rate)
        return found

    low, high = map(at, estimators.ends)
    rate = estimators.noise_rate(low[known], judged.rate.method)
    return Calibration(rate, at(rate.estimate), low, high), estimators


def consult(head: HeldOut, labels: np.ndarray, *, seed: int = 0) -> Counsel | None:
    """What a regression says of how many labels (n,) int64, -1 where there is none, are wrong; None if it has learned
    nothing."""
    judged = np.flatnonzero((labels >= 0) & np.isfinite(head.score))
    if not len(judged) or kappa(head.predicted[judged], labels[judged]) < CHANCE:
        return None
    rows, confused, plants = _asked(head, labels, judged, seed)
    voted, by_vote = _with_neighbors(head, labels, judged)
    by_confusion, by_halves = np.full((2, len(labels)), np.nan)
    by_confusion[rows], by_halves[voted] = confused, by_vote
    planted, _ = planted_rates(plants)
    predicted = head.predicted.copy()  # it is a part of all that halves vote for, which need not be kept
    return Counsel(planted, _by_halves(head, labels, rows), predicted, by_confusion, by_halves)


def _asked(head: HeldOut, labels: np.ndarray, judged: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, Planted]:
    """A sample of the `judged` rows, (s,) int64; how probable a wrong label is there by the confusion, (s,); and others
    with planted labels."""
    rows, planted_on = sample_rows(judged, 1, seed), sample_rows(judged, head.logits.shape[1], seed)
    plants = plant(head.logits, labels, planted_on, np.random.default_rng((seed, 5)))
    return rows, confusion_em(Subset(head.logits, rows), labels[rows]), plants


def _by_halves(head: HeldOut, labels: np.ndarray, rows: np.ndarray) -> float:
    """The share of wrong labels by votes of both halves of a head, mean over all splits."""
    k = head.logits.shape[1]
    return float(np.mean([_crowd([labels, *pair], rows, k).mean() for pair in head.halves]))


def _with_neighbors(head: HeldOut, labels: np.ndarray, judged: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some of the `judged` rows, (s,) int64, and how probable a wrong label is there by halves of a head and by the
    nearest rows.

    These are too much like the head to count what it gets wrong, but they sharpen the shape.
    """
    rows, k = judged[head.neighbors[judged] >= 0], head.logits.shape[1]
    return rows, np.mean([_crowd([labels, *pair, head.neighbors], rows, k) for pair in head.halves], axis=0)


def _crowd(votes: Sequence[np.ndarray], rows: np.ndarray, k: int) -> np.ndarray:
    """(s,) probability that the first of the votes (n,) is wrong, for some of the rows (s,)."""
    return dawid_skene(np.stack([vote[rows] for vote in votes]), k)


def _calibration(
    labels: np.ndarray, judged: np.ndarray, p: np.ndarray, ranking: np.ndarray, estimators: Estimators
) -> Calibration:
    """Probabilities p of the judged rows at the estimate and at both ends, in their places among n."""
    low, high = (scale_odds(p, end) for end in estimators.ends)
    columns = np.full((3, len(labels)), np.nan)
    for column, values in zip(columns, (p, low, high), strict=True):
        column[judged] = strictly(values, ranking[judged])
    method = "two clear groups" if estimators.clear else "median of estimators"
    return Calibration(estimators.noise_rate(low, method), *columns)


def plant(logits: Matrix, labels: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> Planted:
    """Wrong labels for some of the rows (s,) of logits (n, k)."""
    log_q, labels, k = log_softmax(logits[rows].astype(np.float64), axis=1), labels[rows], logits.shape[1]
    rest = np.exp(log_q)
    rest[np.arange(len(labels)), labels] = 0
    rest += (rest.sum(axis=1, keepdims=True) == 0) / k  # a row that is all certainty draws any class
    rest /= rest.sum(axis=1, keepdims=True)
    of_class = csr_array((np.ones(len(labels)), (labels, np.arange(len(labels)))), shape=(k, len(labels))) @ rest
    return Planted(
        log_q,
        labels,
        np.stack([draw(rest, rng) for _ in range(DRAWS)]),
        np.stack([draw(of_class[labels], rng) for _ in range(DRAWS)]),
    )


def margin(log_q: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) log_q (n, k) of each label minus that of the best other class."""
    first, second = np.partition(log_q, -2, axis=1)[:, [-1, -2]].T
    own = log_q[np.arange(len(labels)), labels]
    return own - np.where(own == first, second, first)


def planted_rates(plants: Planted) -> tuple[float, float]:
    """The rate at which planted labels explain the lowest margins of all: by those of rows, and by those of classes.

    The former is corrected for labels that hit the truth of a row that was wrong.
    """
    own = margin(plants.log_q, plants.labels)
    upper, classwise = (
        tail_rate(np.sort(own), np.concatenate([margin(plants.log_q, drawn) for drawn in kind]))
        for kind in (plants.of_row, plants.of_class)
    )
    return without_hits(upper, plants.labels, np.exp(plants.log_q), own), classwise


def planted_shape(plants: Planted, rate: float) -> np.ndarray:
    """(s,) descending: probability of a wrong label along the sampled rows, the most suspicious first."""
    own = log_odds(plants.log_q, plants.labels)
    drawn = np.concatenate(
        [log_odds(plants.log_q, labels) for kind in (plants.of_row, plants.of_class) for labels in kind]
    )
    hit = hit_chance(plants.labels, np.exp(plants.log_q), own, rate)
    return wrong_probability(np.sort(own), drawn, rate, rate * hit)


def along(ranking: np.ndarray, shape: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The shape (s,) of sampled rows as a function that falls along their ranking (s,), at the rankings `at` (n,)."""
    return isotonic(ranking, shape, at)


def strictly(p: np.ndarray, ranking: np.ndarray) -> np.ndarray:
    """(n,) probabilities p that fall along a ranking (n,), made to fall strictly, and to stay off 0 and 1.

    An isotonic fit says the same of many rows. Each such plateau is spread by rank, half way to its neighbours and
    symmetrically, so that its mean stays. Rows of equal rank keep equal probabilities.
    """
    values, plateau, size = np.unique(
        np.round(np.clip(p, LEAST, 1 - LEAST) / STEP), return_inverse=True, return_counts=True
    )
    values = values * STEP
    room = np.diff(values, prepend=0.0, append=1.0)
    reach = np.minimum(room[:-1], room[1:]) / 2
    end = size.cumsum()
    rank = ranks(-ranking)  # 1 is the cleanest
    middle = end - (size - 1) / 2
    return values[plateau] + reach[plateau] * (rank - middle[plateau]) / (size[plateau] / 2) * 0.999

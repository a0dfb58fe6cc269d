"""How probable is a wrong label, and how many are there: no clean label is needed, planted wrong ones are.

Rows with a planted label show how the margins of wrong labels are distributed in this data under this proxy. With
distribution functions F_wrong of those, and F_all of the untouched rows: where margins are so low that no right label
lies there, F_all = e F_wrong, so their ratio tells the rate e of wrong labels, and p = e f_wrong / f_all is the
probability that a row is one of them. (AUM's threshold samples, Pleiss et al., NeurIPS 2020, taken further.)

A label planted on a row whose given label was wrong may hit the true one. With h the chance of that, a share
c = e h of the planted rows is right, and f_planted = (1 - c) f_wrong + c f_right; both formulas are corrected for it.

Planted errors are only as realistic as the way they were chosen. Labels drawn from the confusions of a class are
easier to tell than what people get wrong, labels drawn from the row's own probabilities are about as hard or
harder: the first give the lower end of the interval of e, the second the estimate and the upper end. The shape of
f_wrong is taken from both. Where the ranking falls apart into two clear groups no such model of errors is needed,
and a Gaussian mixture counts them. Neither is believed beyond the share of given labels that out-of-sample
predictions differ from: who agrees without having seen the label rarely confirms a wrong one. Measured in
benchmarks/RESULTS.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cleanlab_lite.arrays import Z, kappa
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.mixture import fit_gaussians_by_bic
from cleanlab_lite.judge.monotone import isotonic
from cleanlab_lite.matrices import Matrix, Subset, per_row, predictions
from cleanlab_lite.run.summary import Noise

TAIL = np.linspace(0.05, 0.6, 56)  # quantiles of the planted rows at which the rate is read
BOOTSTRAPS = 200
MOST_UNSURE = 0.15  # expected share of errors among the rows a mixture calls wrong, up to which it is believed
CHANCE = 0.1  # Cohen's kappa of the out-of-sample predictions below which nothing was learned
COUNTED, PLANTED = "two clear groups", "planted errors"  # methods of a rate
FEW_PLANTS = 10  # of one kind; with fewer the mixture alone must do


@dataclass(frozen=True)
class NoiseRate:
    """Share of wrong labels among the judged rows."""

    estimate: float
    low: float
    high: float
    method: str

    @property
    def reported(self) -> Noise:
        """As the summary has it."""
        return Noise(self.estimate if np.isfinite(self.estimate) else None, self.low, self.high, self.method)


@dataclass(frozen=True)
class Calibration:
    """p_mislabel of each judged row at the estimate and at both ends of the interval."""

    rate: NoiseRate
    p_mislabel: np.ndarray  # (n,) float64
    # (n,) float64, if as few, and as many, of these rows were wrong as may be. The ends of the rate of a median of
    # estimators are further apart, by chance; of other rates they are the same.
    p_low: np.ndarray
    p_high: np.ndarray

    @classmethod
    def unknown(cls, n: int) -> Calibration:
        """Where nothing was learned."""
        nothing = np.full(n, np.nan)
        return cls(NoiseRate(np.nan, 0.0, 1.0, "unknown: nothing was learned"), nothing, nothing, nothing)


def calibrate(evidence: Evidence, ranking: np.ndarray, *, seed: int = 0) -> Calibration:
    """Calibrate a ranking (n,), higher is cleaner, by the planted rows of `evidence`, or without any by a mixture.

    Everything is NaN where the proxies predict held-out labels no better than chance.
    """
    if evidence.pred_probs is not None and kappa(predictions(evidence.pred_probs), evidence.labels) < CHANCE:
        return Calibration.unknown(len(ranking))
    plants = evidence.plants
    groups = fit_gaussians_by_bic(ranking).posterior(ranking)
    counted = float(groups.mean())
    most = ceiling(evidence)
    if plants is None or min(plants.instance_level.sum(), (~plants.instance_level).sum()) < FEW_PLANTS:
        if counted > most:
            counted, groups = most, scale_odds(groups, most)
        rate = NoiseRate(counted, counted / 2, min(1.5 * counted + 0.02, 1.0), "Gaussian mixture, uncalibrated")
        return Calibration(rate, groups, scale_odds(groups, rate.low), scale_odds(groups, rate.high))

    history, pred_probs = evidence.need_history(), evidence.need("pred_probs")
    unsure = float(np.minimum(groups, 1 - groups).mean())  # share of the rows that the mixture puts on the wrong side
    sampling = Z * np.sqrt(counted * (1 - counted) / len(ranking))
    if unsure < MOST_UNSURE * counted and counted <= most + sampling:
        below, above = unsure + Z * number_deviation(groups) / len(groups), unsure + sampling
        rate = NoiseRate(counted, max(counted - below, 0.0), min(counted + above, 1.0), COUNTED)
        return Calibration(rate, groups, scale_odds(groups, rate.low), scale_odds(groups, rate.high))

    first, end = history.safe_window(evidence.labels)
    margin = history.margin[plants.proxy, first:end].astype(np.float32).mean(axis=0).astype(np.float64)
    untouched = np.ones(len(margin), dtype=bool)
    untouched[plants.rows] = False
    rest = np.sort(margin[untouched])
    of_class, of_row = (margin[plants.rows[kind]] for kind in (~plants.instance_level, plants.instance_level))

    estimate = min(without_hits(tail_rate(rest, of_row), evidence.labels, pred_probs, ranking), most)
    hit = hit_chance(evidence.labels, pred_probs, ranking, estimate)
    low, high = interval(rest, of_class, of_row, seed)
    low /= 1 + low * hit  # as for the estimate; the upper end stays cautious
    rate = NoiseRate(estimate, min(low, estimate), max(high, estimate), PLANTED)
    wrong = wrong_probability(rest, np.concatenate([of_class, of_row]), estimate, estimate * hit)
    p = by_rank(ranking, wrong, estimate)
    # the same shape at both ends of the interval: computed anew it may cross the estimate
    return Calibration(rate, p, scale_odds(p, rate.low), scale_odds(p, rate.high))


def number_deviation(p: np.ndarray) -> float:
    """Standard deviation of the number of wrong labels among rows that are wrong with p (n,), each by itself.

    Less than among rows of which nothing but their share is known.
    """
    return float(np.sqrt((p * (1 - p)).sum()))


def ceiling(evidence: Evidence) -> float:
    """Share of the given labels that out-of-sample predictions differ from; 1 where there are none."""
    if evidence.pred_probs is None:
        return 1.0
    return float((predictions(evidence.pred_probs) != evidence.labels).mean())


def hit_chance(labels: np.ndarray, pred_probs: Matrix, ranking: np.ndarray, rate: float) -> float:
    """Chance that a label drawn from a wrong row's own probabilities, without the given class, is the true one.

    The true class is itself a draw from them, as far as is known, so it is the chance that two draws agree. Averaged
    over the `rate` most suspicious rows.
    """
    worst = np.argsort(ranking)[: max(FEW_PLANTS, round(rate * len(ranking)))]

    def agreeing(block: np.ndarray, own: np.ndarray) -> np.ndarray:
        q = block.astype(np.float64)
        q[np.arange(len(own)), own] = 0
        q /= np.maximum(q.sum(axis=1, keepdims=True), 1e-12)
        return (q**2).sum(axis=1)

    return float(per_row(agreeing, Subset(pred_probs, worst), labels[worst]).mean())


def without_hits(upper: float, labels: np.ndarray, pred_probs: Matrix, ranking: np.ndarray) -> float:
    """The rate e = upper / (1 + upper h), where the chance h of a hit depends on which rows are wrong."""
    rate = upper
    for _ in range(20):
        rate = upper / (1 + upper * hit_chance(labels, pred_probs, ranking, rate))
    return rate


def tail_rate(rest: np.ndarray, planted: np.ndarray) -> float:
    """Median over `TAIL` of F_all / F_wrong. rest (n,) ascending, planted (p,)."""
    at = np.quantile(planted, TAIL)
    return float(np.median(np.minimum(np.searchsorted(rest, at) / len(rest) / TAIL, 1.0)))


def interval(rest: np.ndarray, of_class: np.ndarray, of_row: np.ndarray, seed: int) -> tuple[float, float]:
    """The 2.5th percentile of the lower end and the 97.5th of the upper one, over bootstraps of the planted rows."""
    rng = np.random.default_rng((seed, 2))
    rates = np.array(
        [
            [tail_rate(rest, rng.choice(planted, len(planted))) for planted in (of_class, of_row)]
            for _ in range(BOOTSTRAPS)
        ]
    )
    return float(np.quantile(rates.min(axis=1), 0.025)), float(np.quantile(rates.max(axis=1), 0.975))


def wrong_probability(rest: np.ndarray, planted: np.ndarray, rate: float, right: float) -> np.ndarray:
    """(n,) descending: e f_wrong / f_all at each of the ascending margins `rest` (n,), by isotonic regression.

    Regressing 1 for planted rows and 0 for the rest, either kind with total weight 1, on the margin gives
    r / (1 + r) with r = f_planted / f_all; `right` is the share of planted rows that got their true label.
    """
    x = np.concatenate([rest, planted])
    y = np.repeat([0.0, 1.0], [len(rest), len(planted)])
    weight = np.repeat([1 / len(rest), 1 / len(planted)], [len(rest), len(planted)])
    z = isotonic(x, y, rest, weight=weight, most=1 - 1e-6)
    ratio = z / (1 - z)
    base = right / max(1 - rate, 1e-6)
    return np.clip(rate * (ratio - base) / max(1 - base, 1e-6), 0, 1)


def by_rank(ranking: np.ndarray, probability: np.ndarray, rate: float) -> np.ndarray:
    """(n,) the descending `probability` handed out in ascending order of `ranking`, scaled in odds to the mean `rate`.

    The probabilities come from the margins of one proxy, the ranking from all of them: what carries over is how
    the ranks are distributed, not the margins.
    """
    n = len(ranking)
    quantile = (np.argsort(np.argsort(ranking, kind="stable")) + 0.5) / n
    p = np.interp(quantile, (np.arange(len(probability)) + 0.5) / len(probability), probability)
    return scale_odds(p, rate)


def scale_odds(p: np.ndarray, mean: float) -> np.ndarray:
    """(n,) probabilities whose odds are all multiplied by the one factor that gives them this mean."""
    p = np.clip(p, 1e-4, 1 - 1e-4)
    odds = p / (1 - p)
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        factor = np.exp(middle)
        low, high = (middle, high) if (factor * odds / (1 + factor * odds)).mean() < mean else (low, middle)
    return factor * odds / (1 + factor * odds)


def raised(p: np.ndarray, power: float) -> np.ndarray:
    """(n,) probabilities p (n,) whose odds are raised to a power."""
    right, wrong = (1 - p) ** power, p**power
    return wrong / (wrong + right)

"""One-dimensional mixtures that split losses, or margins, into clean and noisy.

Beta mixture: Arazo et al., ICML 2019. Gaussian mixture: Li, Socher and Hoi (DivideMix), ICLR 2020.
Every fit runs on a weighted histogram, so its cost hardly grows with n, and every posterior is made
monotone: with unequal shapes the posterior of the noisy component rises again among the easiest rows.

Letters: n values (or histogram bins), k components. Component parameters are a pair of (k,) arrays:
(alpha, beta) of a Beta density, (mean, variance) of a Gaussian one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

EDGE = 1e-3  # Beta densities are evaluated on [EDGE, 1 - EDGE]: their poles at 0 and 1 carry no information
MIN_SEPARATION = 0.15  # of the component means, in units of the scaled range, before anything is called noisy
MIN_WEIGHT = 1e-3  # a lighter component has died
MIN_COUNT = 5  # and so has a Beta component with fewer values
ROUNDS = 200  # of EM at most, which converges
TOLERANCE = 1e-6  # of the mean log likelihood
BINS = 2000
MOST_COMPONENTS = 4  # that BIC chooses from
TIED_LOW = 0.2  # share of values at the lower end from which the network has memorised the labels
REG_COVAR = 5e-4  # added to variances on the scaled range, as in DivideMix


class Components(NamedTuple):
    """Of a mixture. Both parameters are those of its family."""

    weights: np.ndarray  # (k,)
    first: np.ndarray  # (k,)
    second: np.ndarray  # (k,)


@dataclass(frozen=True)
class Family:
    """What components are: their log density at values (n,), and their parameters by moments under weights (n, k)."""

    density: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    moments: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    min_count: int = 2  # values; a component with fewer has died


@dataclass(frozen=True)
class BetaMixture:
    """Two Beta components on the range [low, high] scaled to [0, 1]; index 0 is clean, index 1 noisy."""

    weights: np.ndarray  # (2,)
    alpha: np.ndarray  # (2,)
    beta: np.ndarray  # (2,)
    low: float  # value scaled to 0
    high: float  # value scaled to 1
    iterations: int
    log_likelihood: float  # mean per fitted value, on the scaled range
    degenerate: bool = False  # no two components could be told apart; `posterior` is 0
    separated: bool = True  # two components beat one by BIC, and their means lie apart

    @property
    def means(self) -> np.ndarray:
        """(2,) component means in units of x."""
        return self.low + (self.high - self.low) * self.alpha / (self.alpha + self.beta)

    @property
    def noisy_weight(self) -> float:
        return float(self.weights[1])

    def posterior(self, x: np.ndarray) -> np.ndarray:
        """(n,) probability of the noisy component, non-decreasing in x; NaN where x is."""
        x = np.asarray(x, dtype=np.float64)
        if self.degenerate:
            return np.where(np.isnan(x), np.nan, 0.0)
        grid = np.linspace(EDGE, 1 - EDGE, 2001)
        noisy = responsibilities(beta_log_density(grid, self.alpha, self.beta), self.weights)[0][:, 1]
        pivot = int(np.searchsorted(grid, self.alpha[1] / (self.alpha[1] + self.beta[1])))
        return np.interp((x - self.low) / (self.high - self.low), grid, monotone(noisy, pivot))


@dataclass(frozen=True)
class GaussianMixture:
    """k Gaussian components in units of x, of which `noisy` says which ones stand for wrong labels."""

    weights: np.ndarray  # (k,)
    means: np.ndarray  # (k,) ascending
    variances: np.ndarray  # (k,)
    noisy: np.ndarray  # (k,) bool
    low: float  # range of x that was fitted; values beyond it are judged like its ends
    high: float
    iterations: int
    log_likelihood: float  # mean per fitted value
    rising: bool = True  # the noisy components lie at the upper end (losses), not the lower (margins)
    degenerate: bool = False
    separated: bool = True

    @property
    def noisy_weight(self) -> float:
        return float(self.weights[self.noisy].sum())

    def posterior(self, x: np.ndarray) -> np.ndarray:
        """(n,) probability of the noisy components, monotone in x; NaN where x is."""
        x = np.asarray(x, dtype=np.float64)
        if self.degenerate or not self.noisy.any():
            return np.where(np.isnan(x), np.nan, 0.0)
        sign = 1.0 if self.rising else -1.0  # sign * x grows towards the noisy end
        grid = np.linspace(min(sign * self.low, sign * self.high), max(sign * self.low, sign * self.high), 2001)
        resp, _ = responsibilities(gaussian_log_density(sign * grid, self.means, self.variances), self.weights)
        pivot = int(np.searchsorted(grid, (sign * self.means[self.noisy]).min()))
        return np.interp(sign * x, grid, monotone(resp[:, self.noisy].sum(axis=1), pivot))


def fit_beta_mixture(
    x: np.ndarray, *, rounds: int = 10, percentiles: tuple[float, float] = (5.0, 95.0), bins: int = BINS
) -> BetaMixture:
    """Two Beta components by EM with moments for the M-step (Arazo et al., ICML 2019).

    Values outside `percentiles` are left out of the fit and judged like the ends of the range. Few
    rounds favour a small, broad noisy component, which is right at low noise; use 200 above 25 %.
    NaN is ignored. `degenerate` where the range is empty, a component dies, or a fifth of the values
    is tied at the lower end.
    """
    x, low, high = _range(x, percentiles)
    start = Components(np.array([0.5, 0.5]), np.array([1.0, 2.0]), np.array([2.0, 1.0]))
    inside = x[(x >= low) & (x <= high)]
    if high <= low or len(inside) < 2 * MIN_COUNT:
        return BetaMixture(*start, low, low + 1.0, 0, math.nan, degenerate=True, separated=False)
    scaled, counts = histogram(np.clip((inside - low) / (high - low), EDGE, 1 - EDGE), bins)
    fit = _em(scaled, counts, BETA, start, rounds)
    _, alpha, beta = fit.components
    order = np.argsort(alpha / (alpha + beta))  # noisy is the larger mean, whatever EM made of the start
    mean = (alpha / (alpha + beta))[order]
    (single_alpha,), (single_beta,) = beta_moments(scaled, counts[:, None])
    u_shaped = single_alpha < 1 and single_beta < 1  # then the single density has two modes itself
    two_modes = u_shaped or _bic_prefers_two(scaled, counts, BETA, fit)
    return BetaMixture(
        *fit.ordered(order),
        low,
        high,
        fit.iterations,
        fit.log_likelihood,
        degenerate=fit.dead or float((x <= low).mean()) > TIED_LOW,
        separated=bool(two_modes and mean[1] - mean[0] > MIN_SEPARATION),
    )


def fit_gaussian_mixture(x: np.ndarray, *, bins: int = BINS) -> GaussianMixture:
    """Two Gaussian components on losses; the one with the larger mean is noisy (Li et al., ICLR 2020).

    Losses are cut at their 99.9th percentile (one outlier would squeeze the rest) and scaled to [0, 1].
    Of three fixed starts the best is kept. NaN is ignored.
    """
    x, low, high = _range(x, (0.0, 99.9))
    noisy = np.array([False, True])
    if high <= low:
        flat = np.array([0.5, 0.5]), np.array([low, low]), np.array([1.0, 1.0])
        return GaussianMixture(*flat, noisy, low, low, 0, math.nan, degenerate=True, separated=False)
    scaled, counts = histogram(np.minimum((x - low) / (high - low), 1.0), bins)
    family = gaussian(REG_COVAR)
    variance = np.repeat(family.moments(scaled, counts[:, None])[1], 2)
    starts = [
        Components(np.array([0.7, 0.3]), _quantiles(scaled, counts, start), variance)
        for start in ((0.05, 0.80), (0.25, 0.95), (0.50, 0.99))
    ]
    fits = [_em(scaled, counts, family, start) for start in starts]
    fit = max(fits, key=lambda f: (not f.dead, f.log_likelihood))
    weights, mean, variance = fit.ordered(np.argsort(fit.components.first))
    return GaussianMixture(
        weights,
        low + (high - low) * mean,
        (high - low) ** 2 * variance,
        noisy,
        low,
        high,
        fit.iterations,
        fit.log_likelihood - math.log(high - low),
        degenerate=fit.dead,
        separated=bool(_bic_prefers_two(scaled, counts, family, fit) and mean[1] - mean[0] > MIN_SEPARATION),
    )


def fit_gaussians_by_bic(x: np.ndarray, *, bins: int = BINS) -> GaussianMixture:
    """Gaussians on margins, their number chosen by BIC; every component with a negative mean is noisy.

    Taking only the lowest component would miss half of the noise whenever BIC splits it in two. With
    no negative mean `noisy_weight` is 0: on ambiguous data that is no proof of clean labels. NaN is ignored.
    """
    x, low, high = _range(x, (0.1, 99.9))
    if high <= low:
        flat = np.ones(1), np.array([low]), np.ones(1)
        return GaussianMixture(
            *flat, np.array([low < 0]), low, low, 0, math.nan, rising=False, degenerate=True, separated=False
        )
    values, counts = histogram(np.clip(x, low, high), bins)
    # a spike of tied margins must not take a component
    family = gaussian(1e-3 * float(np.cov(values, aweights=counts)))
    spread, total = family.moments(values, counts[:, None])[1][0], counts.sum()
    best, best_bic = None, math.inf
    for k in range(1, MOST_COMPONENTS + 1):
        middles = (np.arange(k) + 0.5) / k
        for means in (_quantiles(values, counts, middles), low + (high - low) * middles):
            fit = _em(values, counts, family, Components(np.full(k, 1 / k), means, np.full(k, spread / k**2)))
            bic = (3 * k - 1) * math.log(total) - 2 * total * fit.log_likelihood
            if bic < best_bic and not fit.dead:
                best, best_bic = fit, bic
    assert best is not None  # one component cannot die
    weights, means, variances = best.ordered(np.argsort(best.components.first))
    return GaussianMixture(
        weights,
        means,
        variances,
        means < 0,
        low,
        high,
        best.iterations,
        best.log_likelihood,
        rising=False,
        separated=len(means) > 1,
    )


def _range(x: np.ndarray, percentiles: tuple[float, float]) -> tuple[np.ndarray, float, float]:
    """The finite values, and two of their percentiles; 0 where there are none."""
    x = np.asarray(x, dtype=np.float64)
    x = x[np.isfinite(x)]
    low, high = np.percentile(x, percentiles).tolist() if len(x) else (0.0, 0.0)
    return x, low, high


def histogram(x: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """x (n,) as (values, counts), at most `bins` of each; a bin stands at the mean of its values. Exact to n = bins."""
    if len(x) <= bins:
        return x, np.ones(len(x))
    low, high = x.min(), x.max()
    index = np.minimum(((x - low) * (bins / (high - low))).astype(np.int64), bins - 1)
    counts = np.bincount(index, minlength=bins).astype(np.float64)
    sums = np.bincount(index, weights=x, minlength=bins)
    filled = counts > 0
    return sums[filled] / counts[filled], counts[filled]


def beta_log_density(x: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """(n, k) log density of x (n,) in (0, 1)."""
    norm = np.array([math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b) for a, b in zip(alpha, beta, strict=True)])
    return np.log(x)[:, None] * (alpha - 1) + np.log1p(-x)[:, None] * (beta - 1) - norm


def gaussian_log_density(x: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """(n, k) log density of x (n,)."""
    return -0.5 * ((x[:, None] - means) ** 2 / variances + np.log(2 * math.pi * variances))


def beta_moments(x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, beta), each (k,), with the mean and variance that x (n,) has under weights (n, k)."""
    mean, variance = gaussian_moments(x, weights, 0.0)
    variance = np.clip(variance, 1e-8, 0.999 * mean * (1 - mean))  # above m(1-m) no Beta density exists
    total = mean * (1 - mean) / variance - 1
    return np.clip(mean * total, 1e-2, 1e4), np.clip((1 - mean) * total, 1e-2, 1e4)


def gaussian_moments(x: np.ndarray, weights: np.ndarray, reg: float) -> tuple[np.ndarray, np.ndarray]:
    """(mean, variance + reg), each (k,), of x (n,) under weights (n, k)."""
    total = np.maximum(weights.sum(axis=0), 1e-300)
    mean = x @ weights / total
    return mean, ((x[:, None] - mean) ** 2 * weights).sum(axis=0) / total + reg


def responsibilities(log_density: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E-step: posterior of each component (n, k) and log likelihood of each value (n,)."""
    joint = log_density + np.log(weights)
    top = joint.max(axis=1, keepdims=True)
    log_likelihood = top + np.log(np.exp(joint - top).sum(axis=1, keepdims=True))
    return np.exp(joint - log_likelihood), log_likelihood[:, 0]


BETA = Family(beta_log_density, beta_moments, MIN_COUNT)


def gaussian(reg: float) -> Family:
    """`reg` is added to variances."""
    return Family(gaussian_log_density, partial(gaussian_moments, reg=reg))


def em_step(x: np.ndarray, counts: np.ndarray, family: Family, old: Components) -> tuple[Components, float]:
    """One EM step: the new components, and the mean log likelihood under the old ones."""
    resp, log_likelihood = responsibilities(family.density(x, old.first, old.second), old.weights)
    resp *= counts[:, None]
    new = Components(resp.sum(axis=0) / counts.sum(), *family.moments(x, resp))
    return new, float(log_likelihood @ counts / counts.sum())


def monotone(posterior: np.ndarray, pivot: int) -> np.ndarray:
    """`posterior` on a rising grid made non-decreasing: flat left of its minimum before `pivot`, then a maximum."""
    posterior = np.minimum(posterior, 1)  # a sum of responsibilities may round above it
    lowest = int(np.argmin(posterior[: pivot + 1]))
    return np.maximum.accumulate(np.concatenate([np.full(lowest, posterior[lowest]), posterior[lowest:]]))


@dataclass(frozen=True)
class _Fit:
    components: Components
    iterations: int
    log_likelihood: float  # mean per value
    dead: bool  # a component has died

    def ordered(self, order: np.ndarray) -> Components:
        return Components(*(values[order] for values in self.components))


def _em(x: np.ndarray, counts: np.ndarray, family: Family, start: Components, rounds: int = ROUNDS) -> _Fit:
    """EM until the mean log likelihood moves by less than `TOLERANCE`; stops before a component dies."""
    components, previous, iterations, dead = start, -math.inf, 0, False
    while iterations < rounds:
        iterations += 1
        new, current = em_step(x, counts, family, components)
        lightest = new.weights.min()
        dead = bool(lightest < MIN_WEIGHT or lightest * counts.sum() < family.min_count)
        if dead or abs(current - previous) < TOLERANCE:
            break
        components, previous = new, current
    _, log_likelihood = em_step(x, counts, family, components)
    return _Fit(components, iterations, log_likelihood, dead)


def _bic_prefers_two(x: np.ndarray, counts: np.ndarray, family: Family, fit: _Fit) -> bool:
    """To one component: it has 2 parameters, two have 5."""
    total = counts.sum()
    one = float(family.density(x, *family.moments(x, counts[:, None]))[:, 0] @ counts / total)
    return 2 * total * (fit.log_likelihood - one) > 3 * math.log(total)


def _quantiles(values: np.ndarray, counts: np.ndarray, q: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Quantiles of a histogram."""
    order = np.argsort(values)
    share = np.cumsum(counts[order]) / counts.sum()
    return values[order][np.minimum(np.searchsorted(share, q), len(values) - 1)]

"""What decisions on some rows say of all of them: wrong labels among the flags and beside them, and when to stop.

Two questions, two answers, for they may lean on different things.

How many are wrong: the probabilities of the audit, calibrated anew. logit p' = l + a + b l + c flagged + d_h, where l
is logit p and h the stratum of the row; a, b, c and d_h are nearly 0 on most data and far from it on some (multivariate
t), so without decisions p is the median of p', and with many of them p' follows the decided rows of every stratum.
Draws from the posterior are those of Laplace's approximation under a normal prior (Fisher scoring), resampled by what
it leaves out, tails and skew (Rubin 1988). Rows may be decided in any order that depends on p only: given p, decided
rows are like the rest. But people err, and pick rows because they look odd: a share g of the decisions says the
opposite of p'. Either all of these are errors, of a share e that is small and better known where two people decided the
same rows; or, of rows that were not drawn at random, g is anything (`ANY`), and as many of them as errors and odd picks
explain, of the latter `ODD_PICKS` on average however many decisions there are, say nothing of other rows. What is left
of g is true of all: p'' = f + (1 - 2 f) p'. So a few contradictions leave p about where it was, with a wide interval,
and many move it fully. p and counts are medians, so that they agree, where people hardly err (`SLIPS`) and one person's
decisions are taken at their word. Intervals trust people less: e may be larger (`ERRORS`), each draw has its own, and a
decided row is wrong with the odds of p'' times (1 - e) / e or e / (1 - e).

When to stop: no model. `random_order` shuffles every stratum and mixes them in fixed shares, so any beginning of it is
a stratified random sample. Of a stratum of N rows, W of them wrong, n were looked at and x were wrong. That sequence
has the probability L = C(N - n, W - x) / C(N, W), and M = B(alpha + x, beta + n - x) / B(alpha, beta) if W were
beta-binomial. M / L is a martingale of mean 1 for the true W, so with probability 0.95 its product over the strata
never reaches 20, however often one looks and whenever one stops (Ville 1939; Robbins, Annals of Mathematical
Statistics 1970; for samples without replacement Waudby-Smith and Ramdas, NeurIPS 2020). The most wrong labels that
keep the product below it are the bound. p enters by alpha and beta only: where it is off, the bound is wider and holds.

Letters: n rows, h strata, j parameters, s draws, b bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cleanlab_lite.run.report import FLAG

STRATA = (0.05, 0.2, FLAG, 0.8, 0.95)  # inner bounds of p_mislabel
VARIANCE = 0.04  # least one of a stratum in the allocation: where p is sure, it may be surely wrong
LEAST = 0.05  # share of the sample that every stratum has
CONFIDENCE = 0.95
FARTHEST = 7.0  # logits: p nearer to 0 or 1 than 0.001 says no more
APART = 3.0  # logits between two audits of a row, from which it is not the same to both
# Scales and degrees of freedom of the prior: how far off p was on 56 audits with known truth (benchmarks/RESULTS.md).
INTERCEPT, SLOPE, FLAGGED, STRATUM = 0.6, 0.2, 0.8, 0.2
FREEDOM = 3.0
OF_FLAGS = 0.75  # of the random order: what is stated of flags is wanted first
STRENGTH = 20.0  # rows that p counts for in the bound
RAREST = 0.005  # share of wrong labels in a stratum that p may promise there
DRAWS, PROPOSALS = 2000, 6000
HEAVY = 5.0  # degrees of freedom of the proposals: tails no lighter than those of the posterior where rows are decided
BINS = 10  # per logit: rows of the same bin share p'
ERRORS = (0.5, 24.0)  # beta prior of the share of decisions that are errors: 1 in 50, and above 1 in 10 with 3 %
SLIPS = (1.0, 99.0)  # such a prior for what is most likely: 1 in 100; with 1 in 50 truthful decisions move p too little
ERROR_STEPS = np.linspace(0, 0.5, 1001)  # ends of the steps by which e is known
ANY = 0.3  # prior probability that chosen rows contradict p to any degree, 0 to 1
ODD_PICKS = 100.0  # chosen rows that contradict p and are not like the rest: mean of an exponential prior
SURE = 0.1  # p, or 1 - p, up to which a decision that says otherwise contradicts it
SHARES = np.array([0, 0.005, 0.015, 0.035, 0.075, 0.15, 0.3, 0.6, 0.9, 1])  # ends of the steps by which g is known


@dataclass(frozen=True)
class Looks:
    """What people decided about n rows."""

    decided: np.ndarray  # (n,) bool, "unsure" as well
    wrong: np.ndarray  # (n,) bool, decided to be wrong
    known: np.ndarray  # (n,) bool, decided and not "unsure"
    pairs: int = 0  # of decisions of two people on the same row
    disagreeing: int = 0  # of these pairs
    left: np.ndarray | None = None  # (n,) bool, decided to be wrong, and by no decision mended
    p: np.ndarray | None = None  # (n,) p_mislabel of another audit, by which people were asked; NaN: the present one
    at_random: np.ndarray | None = None  # (n,) bool, the rows that were a random sample then


@dataclass(frozen=True)
class Count:
    """Wrong labels among some rows."""

    rows: int
    looked_at: int  # of them, "unsure" left out
    wrong: int  # of those looked at
    estimate: float  # wrong ones among all of the rows, a median
    low: float  # 95 % interval, which knows that people err
    high: float

    @property
    def within(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Calibrated:
    """What the decisions make of the audit's probabilities."""

    p: np.ndarray  # (n,) float64, NaN where nothing was judged: 1 or 0 where it was decided, less sure by pairs
    flagged: Count
    unflagged: Count
    everything: Count


@dataclass(frozen=True)
class Remaining:
    """Wrong labels that are left once the decisions are applied, by the random sample alone."""

    sample: int  # rows at the beginning of the random order that are decided
    rows: int  # judged
    most: int  # with 95 %, at most so many are left

    @property
    def share(self) -> float:
        return self.most / max(self.rows, 1)


def strata_of(p: np.ndarray) -> list[np.ndarray]:
    """Rows by p_mislabel (n,), h arrays, empty ones too. Rows without a probability are in none."""
    number = np.where(np.isfinite(p), np.searchsorted(STRATA, p, side="right"), -1)
    return [np.flatnonzero(number == h) for h in range(len(STRATA) + 1)]


def random_order(p: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """All judged rows, so that any beginning is a stratified random sample; the same for the same p (n,) and seed.

    `OF_FLAGS` of it is flagged, as long as there are such rows. Within flags and within the rest, strata have shares by
    Neyman allocation, in proportion to size times expected standard deviation (Neyman, JRSS 1934).
    """
    rng, strata = np.random.default_rng(seed), strata_of(p)
    mean = np.array([p[rows].mean() if len(rows) else 0.0 for rows in strata])
    due = np.array([len(rows) for rows in strata]) * np.sqrt(np.maximum(mean * (1 - mean), VARIANCE))
    flagged = np.append(False, np.array(STRATA) >= FLAG)
    for part, share in ((flagged, OF_FLAGS), (~flagged, 1 - OF_FLAGS)):
        due[part] *= share / max(due[part].sum(), 1e-12)
    due = np.maximum(due, LEAST)
    turns = [(np.arange(len(rows)) + rng.random(len(rows))) / share for rows, share in zip(strata, due, strict=True)]
    return np.concatenate([rng.permutation(rows) for rows in strata])[np.argsort(np.concatenate(turns))]


def leading(order: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """The rows at the beginning of the order (m,) that are all `decided` (n,)."""
    open_places = np.flatnonzero(~decided[order])
    return order[: open_places[0]] if len(open_places) else order


def calibrate_by(p: np.ndarray, flagged: np.ndarray, looks: Looks, *, seed: int = 0) -> Calibrated:
    """Calibrate p_mislabel (n,), NaN where nothing was judged, by decisions; `flagged` (n,) says what to count.

    Where people were asked by what another audit said, its p is what decided rows teach by: those that it was surest of
    are rows that the present one is less sure of, and would seem to be wrong more often than it says. Not where the
    two are `APART`: there the present one has learned something, mostly what was decided.
    """
    judged = np.isfinite(p)
    level, stratum = _placed(p)
    seen = np.flatnonzero(judged & looks.known)
    if looks.p is None or looks.at_random is None:
        then, sample = p, len(leading(random_order(p, seed=seed), looks.decided))
    else:
        ends = (np.clip(_logit(each), -FARTHEST, FARTHEST) for each in (looks.p, p))
        then, sample = np.where(np.abs(np.subtract(*ends)) <= APART, looks.p, p), (judged & looks.at_random).sum()
    chosen = 1 - sample / max((judged & looks.decided).sum(), 1)
    rng = np.random.default_rng((seed, 7))
    proposals = _propose(*_binned(*_placed(then), seen), looks.wrong[seen], rng)
    posterior, doubting = (
        proposals.posterior(_error_steps(prior, looks.pairs, looks.disagreeing), chosen, len(seen), rng)
        for prior in (SLIPS, ERRORS)
    )
    error = decision_error(looks.pairs, looks.disagreeing) if looks.pairs else 0.0
    groups = (judged & flagged, judged & ~flagged)
    found, spread = (
        [_totals(rows, level, stratum, looks, draws, each, rng) for rows in groups]
        for draws, each in ((posterior, error), (doubting, doubting.error[:, None]))
    )
    return Calibrated(
        _refit(p, level, stratum, looks, posterior, error),
        _count(groups[0], looks, found[0], spread[0]),
        _count(groups[1], looks, found[1], spread[1]),
        _count(judged, looks, found[0] + found[1], spread[0] + spread[1]),
    )


def contrary(p: np.ndarray, looks: Looks) -> np.ndarray:
    """(n,) bool: decided rows of which p_mislabel (n,) is sure and wrong; none where it is not far more than p expects.

    That is 3 rows, a tenth of all, and 3 standard deviations. Of truthful reviews 1 in 100 has so many (RESULTS.md).
    """
    found = looks.known & (np.where(looks.wrong, p, 1 - p) <= SURE)
    doubt = np.minimum(p, 1 - p)
    expected = float(doubt[looks.known & (doubt <= SURE)].sum())
    enough = max(2, expected + 3 * math.sqrt(expected), looks.known.sum() / 10)
    return found & (found.sum() > enough)


def remaining(p: np.ndarray, looks: Looks, *, seed: int = 0, confidence: float = CONFIDENCE) -> Remaining:
    """A bound on the wrong labels left when the decisions on rows with p (n,) are applied, valid at any time.

    "Unsure" counts as wrong, and is left. The order is `random_order` of the same p and seed.
    """
    sample = leading(random_order(p, seed=seed), looks.decided)
    in_sample = np.zeros(len(p), dtype=bool)
    in_sample[sample] = True
    bad = looks.decided & (looks.wrong | ~looks.known)
    budget, strata = -math.log(1 - confidence), []
    for rows in strata_of(p):
        if not len(rows):
            continue
        size, n = len(rows), int(in_sample[rows].sum())
        x, found = int((bad & in_sample)[rows].sum()), int(bad[rows].sum())
        mean = float(np.clip(p[rows].mean(), RAREST, 1 - RAREST))
        alpha, beta = STRENGTH * mean, STRENGTH * (1 - mean)
        budget -= _log_beta(alpha + x, beta + n - x) - _log_beta(alpha, beta)
        most = size - int((looks.decided & ~bad)[rows].sum())
        strata.append(_Stratum(size, n, x, found, most))
    worst = most_wrong(strata, budget)
    mended = looks.wrong & looks.known & np.isfinite(p)
    if looks.left is not None:
        mended &= ~looks.left
    return Remaining(len(sample), int(np.isfinite(p).sum()), max(worst - int(mended.sum()), 0))


@dataclass(frozen=True)
class _Stratum:
    size: int
    n: int  # in the sample
    x: int  # of them wrong
    found: int  # wrong ones known of
    most: int  # that can be wrong, as the others are known to be right

    def cost(self, wrong: int) -> float:
        """-log of the probability of the sample if so many are wrong."""
        return _log_choose(self.size, wrong) - _log_choose(self.size - self.n, wrong - self.x)

    def step(self, wrong: int) -> float:
        """What one more wrong row adds to the cost; it rises with `wrong`."""
        up = (self.size - wrong) * (wrong + 1 - self.x)
        down = (wrong + 1) * (self.size - self.n - wrong + self.x)
        return math.log(up / down) if up and down else math.inf if up else -math.inf


def most_wrong(strata: list[_Stratum], budget: float) -> int:
    """The most wrong rows, known ones included, whose costs add up to no more than the budget; or a few more."""

    def at(price: float) -> list[int]:
        return [_last(lambda w, s=each: s.step(w) <= price, each.found, each.most) for each in strata]  # type: ignore[misc]

    low, high = -50.0, 50.0
    for _ in range(45):
        middle = (low + high) / 2
        cost = sum(each.cost(wrong) for each, wrong in zip(strata, at(middle), strict=True))
        low, high = (middle, high) if cost <= budget else (low, middle)
    return sum(at(high))


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The number of the first of low..high at which the condition, true up to some number, does not hold."""
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if holds(middle) else (low, middle)
    return low


def decision_error(pairs: int, disagreeing: int) -> float:
    """Share of a person's decisions that are errors, by pairs of independent ones on the same row.

    Two that err with probability e disagree with 2 e (1 - e). Posterior mean under a beta prior.
    """
    return float(_error_steps(ERRORS, pairs, disagreeing) @ (ERROR_STEPS[1:] + ERROR_STEPS[:-1]) / 2)


def _error_steps(prior: tuple[float, float], pairs: int, disagreeing: int) -> np.ndarray:
    """(steps of `ERROR_STEPS`,) probability that e, the share of decisions that are errors, lies in each."""
    e = (ERROR_STEPS[1:] + ERROR_STEPS[:-1]) / 2
    differ = 2 * e * (1 - e)
    log_p = (prior[0] - 1) * np.log(e) + (prior[1] - 1) * np.log1p(-e)
    log_p += disagreeing * np.log(differ) + (pairs - disagreeing) * np.log1p(-differ)
    weight = np.exp(log_p - log_p.max())
    return weight / weight.sum()


def _placed(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) logit of p, rounded to the nearest bin, and (n,) the stratum."""
    level = np.round(BINS * np.clip(_logit(p), -FARTHEST, FARTHEST)) / BINS
    return level, np.searchsorted(STRATA, p, side="right")


def _terms(level: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """(n, j) features, the prior of whose parameters has the scale 1."""
    flagged = np.where(level >= 0, 0.5, -0.5)
    own = STRATUM * np.eye(len(STRATA) + 1)[np.minimum(stratum, len(STRATA))]
    return np.column_stack([np.full(len(level), INTERCEPT), SLOPE * level, FLAGGED * flagged, own])


@dataclass(frozen=True)
class _Posterior:
    """s draws."""

    theta: np.ndarray  # (s, j)
    contrary: np.ndarray  # (s,) share of all rows that are the opposite of what theta says
    error: np.ndarray  # (s,) share of decisions that are errors

    def p(self, x: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """(s, b) calibrated probability of bins with features (b, j) and logit p (b,)."""
        return _flipped(_expit(offset + self.theta @ x.T), self.contrary[:, None])


@dataclass(frozen=True)
class _Proposals:
    """m draws, as many of each step of g, of which a posterior is resampled."""

    theta: np.ndarray  # (m, j)
    step: np.ndarray  # (m,) of `SHARES`
    weight: np.ndarray  # (m,) logarithm, before the prior of g

    def posterior(self, errors: np.ndarray, chosen: float, decided: int, rng: np.random.Generator) -> _Posterior:
        """Where errors of decisions are as frequent as `errors` says.

        Args:
            errors: of `_error_steps`.
            chosen: share of the rows that were not drawn at random.
            decided: rows.
        """
        up_to = np.append(0, errors.cumsum())  # distribution function of e
        shares = (SHARES[1:] + SHARES[:-1]) / 2
        all_errors = (1 - ANY * chosen) * np.diff(np.interp(SHARES, ERROR_STEPS, up_to))
        prior = all_errors + ANY * chosen * np.diff(SHARES) * np.interp(shares, ERROR_STEPS, up_to)
        weight = self.weight + np.log(np.maximum(prior, 1e-300))[self.step]
        weight = np.exp(weight - weight.max())
        drawn = rng.choice(len(weight), DRAWS, p=weight / weight.sum())
        step = self.step[drawn]
        only = rng.random(DRAWS) * prior[step] < all_errors[step]
        ends = np.where(only, [SHARES[step], SHARES[step + 1]], [np.zeros(DRAWS), shares[step]])
        error = np.interp(rng.uniform(*np.interp(ends, ERROR_STEPS, up_to)), up_to, ERROR_STEPS)
        odd = chosen * rng.exponential(ODD_PICKS, DRAWS) / max(decided, 1)
        contrary = np.where(only, 0, np.maximum(shares[step] - error - odd, 0))
        return _Posterior(self.theta[drawn], contrary, error)


def _propose(
    number: np.ndarray, x: np.ndarray, offset: np.ndarray, wrong: np.ndarray, rng: np.random.Generator
) -> _Proposals:
    """Given rows, each in the bin `number` (n,) of features x (b, j), decided to be wrong or not (n,)."""
    of_wrong, of_right = (np.bincount(number[kind], minlength=len(x)) for kind in (wrong, ~wrong))
    shares = (SHARES[1:] + SHARES[:-1]) / 2
    size = PROPOSALS // len(shares)
    thetas, weights = [], []
    for share in shares:
        mode, root = _laplace(x[number], offset[number], wrong, share)
        away = rng.standard_normal((size, len(mode))) * np.sqrt(HEAVY / rng.chisquare(HEAVY, (size, 1)))
        theta = mode + away @ root.T
        seen = _seen(_expit(offset + theta @ x.T), share)
        weight = np.log(seen) @ of_wrong + np.log1p(-seen) @ of_right
        thetas.append(theta)
        weights.append(weight + _log_t(theta, FREEDOM) - _log_t(away, HEAVY) + np.log(np.diag(root)).sum())
    return _Proposals(np.concatenate(thetas), np.repeat(np.arange(len(shares)), size), np.concatenate(weights))


def _log_t(theta: np.ndarray, freedom: float) -> np.ndarray:
    """(s,) log-density of the multivariate t at theta (s, j), up to a constant."""
    return -(freedom + theta.shape[1]) / 2 * np.log1p((theta**2).sum(axis=1) / freedom)


def _laplace(x: np.ndarray, offset: np.ndarray, wrong: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Mode (j,) and root of the covariance (j, j) under a normal prior, given rows x (n, j) decided to be wrong or not
    (n,), by Fisher scoring."""
    y, theta = wrong.astype(np.float64), np.zeros(x.shape[1])

    def loss(theta: np.ndarray) -> float:
        mean = _seen(_expit(offset + x @ theta), error)
        return float(theta @ theta / 2 - np.sum(np.log(np.where(wrong, mean, 1 - mean))))

    for _ in range(100):
        share = _expit(offset + x @ theta)
        mean, slope = _seen(share, error), (1 - 2 * error) * share * (1 - share)
        weight = slope / (mean * (1 - mean))
        information = np.eye(len(theta)) + (x * (slope * weight)[:, None]).T @ x
        step = np.linalg.solve(information, x.T @ ((y - mean) * weight) - theta)
        length = 1.0
        while length > 1e-6 and loss(theta + length * step) > loss(theta):
            length /= 2
        theta = theta + length * step
        if np.abs(length * step).max() < 1e-8:
            break
    return theta, np.linalg.cholesky(np.linalg.inv(information))


def _seen(share: np.ndarray, error: float) -> np.ndarray:
    """Share that is called wrong, where `share` is and decisions err."""
    return np.clip(_flipped(share, error), 1e-9, 1 - 1e-9)


def _flipped(p: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Probability p of what is the opposite in a share of the cases."""
    return share + (1 - 2 * share) * p


def _binned(level: np.ndarray, stratum: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows (r,) that are alike share a bin: its number (r,), and of all bins the features (b, j) and logit p (b,)."""
    key = np.round(BINS * level[rows]).astype(np.int64) * (len(STRATA) + 1) + stratum[rows]
    bins, number = np.unique(key, return_inverse=True)
    of_level, of_stratum = np.divmod(bins, len(STRATA) + 1)
    return number, _terms(of_level / BINS, of_stratum), of_level / BINS


def _totals(
    group: np.ndarray,
    level: np.ndarray,
    stratum: np.ndarray,
    looks: Looks,
    posterior: _Posterior,
    error: np.ndarray | float,
    rng: np.random.Generator,
) -> np.ndarray:
    """(s,) draws of the number of wrong labels among the rows of a group (n,) bool."""
    total = np.zeros(DRAWS)
    for known, wrong in ((False, False), (True, False), (True, True)):
        rows = np.flatnonzero(group & (looks.known == known) & (~looks.known | (looks.wrong == wrong)))
        if not len(rows):
            continue
        number, x, offset = _binned(level, stratum, rows)
        p = posterior.p(x, offset)
        if known:
            p = _given_decision(p, wrong, error)
        size = np.bincount(number)
        drawn = p @ size + np.sqrt((p * (1 - p)) @ size) * rng.standard_normal(DRAWS)
        total += np.clip(np.rint(drawn), 0, len(rows))
    return total


def _given_decision(p: np.ndarray, wrong: bool, error: np.ndarray | float) -> np.ndarray:
    """Probability p of being wrong after one decision that errs with probability `error`."""
    if not np.any(error):
        return np.full_like(p, float(wrong))
    like = (1 - error, error) if wrong else (error, 1 - error)
    return p * like[0] / (p * like[0] + (1 - p) * like[1])


def _count(group: np.ndarray, looks: Looks, found: np.ndarray, spread: np.ndarray) -> Count:
    """By draws (s,) of the number of wrong labels: of `found` the middle, of `spread` the ends."""
    known = group & looks.known
    low, high = np.quantile(spread, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Count(
        int(group.sum()),
        int(known.sum()),
        int((known & looks.wrong).sum()),
        float(np.clip(np.median(found), low, high)),
        float(low),
        float(high),
    )


def _refit(
    p: np.ndarray, level: np.ndarray, stratum: np.ndarray, looks: Looks, posterior: _Posterior, error: float
) -> np.ndarray:
    """(n,) median over the posterior, as counts are; with the decision where there is one."""
    result = np.full(len(p), np.nan)
    rows = np.flatnonzero(np.isfinite(p))
    if len(rows):
        number, x, offset = _binned(level, stratum, rows)
        result[rows] = np.median(posterior.p(x, offset), axis=0)[number]
    for wrong in (False, True):
        decided = np.isfinite(p) & looks.known & (looks.wrong == wrong)
        result[decided] = _given_decision(result[decided], wrong, error)
    return result


def _logit(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(p / (1 - p))


def _log_choose(n: int, k: int) -> float:
    """-inf where there is no such choice."""
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _expit(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)); SciPy takes longer to load than all else of a review."""
    return (1 + np.tanh(x / 2)) / 2

"""What several annotators say together: who is how reliable, and what the items are, by expectation and maximisation.

Every annotator has a confusion of their own (Dawid and Skene, 1979), or, where these learn by heart what they saw, only
a share of right votes: what tells held-out votes better is taken. Of few votes little is learned, so each confusion is
drawn to one that knows only how often the annotator is right and what all annotators take for what, and how often they
are right to how often all are. Who is right less often than by chance counts against what they vote for.

What a model says of the items without having seen their votes is one more voice. It says how probable every class is,
not just one, so its trust is the power that its probabilities are raised to: the one under which the votes are most
probable. CROWDLAB (Goh, Tkachenko and Mueller, 2022) weighs the same voices, by how often they agree.

Voices are not independent: what one person takes for another class, others and the model do, too. So in the end they
are believed less far together than their product says: it is raised to the power under which each vote is most
probable given what all others say of the item. No class overtakes another by that. Where all err alike, no vote tells.

Letters: n items, k classes, a annotators, m votes, b items of a block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array
from scipy.special import log_softmax, softmax

from cleanlab_lite.matrices import LazyMatrix, Matrix, blocks
from cleanlab_lite.votes import Votes

ROUNDS = 60
SETTLED = 1e-4  # change of an annotator's confusion that is none
LARGEST = 1 << 24  # numbers of all confusions; with more of them annotators differ in how often they are right only
TO_ALL = 10.0  # votes that the share of right votes of all annotators counts for in that of each
TO_OWN = 16.0  # votes on a class that this share counts for in what an annotator makes of it; one per class at least
SAMPLE = 20_000  # items that tell how far the model is trusted
TRUST = (0.02, 8.0)  # least and most power of its probabilities
POWER = (0.2, 1.0)  # the same of what all voices say together: they are never believed farther than their product


@dataclass(frozen=True)
class Consensus(LazyMatrix):
    """(n, k) float32 probability that each class is the true one, by all votes, and by a model where there is one."""

    votes: csr_array  # (n, a k), 1 where the annotator has voted for the class
    table: np.ndarray | csr_array  # (a k, k) log-likelihood of each vote by true class
    prior: np.ndarray  # (k,) log share of the classes; zeros where the model knows it
    logits: Matrix | None  # (n, k), NaN where the model says nothing
    trust: float  # in the model: the power of its probabilities
    accuracy: np.ndarray  # (a,) share of right votes
    power: float = 1.0  # of what all voices say together

    @property
    def shape(self) -> tuple[int, int]:
        return self.votes.shape[0], len(self.prior)

    def rows(self, rows: np.ndarray | slice) -> np.ndarray:
        return softmax(self.power * self.product(rows), axis=1).astype(np.float32)

    def product(self, rows: np.ndarray | slice) -> np.ndarray:
        """(b, k) float64 log-probabilities, up to a constant per item, were all voices independent."""
        said = self.votes[rows] @ self.table
        log_p = self.prior + (said.toarray() if isinstance(said, csr_array) else said)
        if self.logits is not None:
            log_p = log_p + self.trust * np.nan_to_num(log_softmax(self.logits[rows].astype(np.float64), axis=1))
        return log_p


def find_consensus(votes: Votes, n: int, k: int, logits: Matrix | None = None) -> Consensus:
    """What the items are.

    Args:
        logits: (n, k) of a model that has not seen the votes on the item; NaN where it says nothing.
    """
    by_class = len(votes.annotators) * k * k <= LARGEST and _habits(votes, n, k, logits)
    found = _learned(votes, n, k, logits, by_class)
    return replace(found, power=_power(found, votes, np.arange(n))[0])


def _habits(votes: Votes, n: int, k: int, logits: Matrix | None) -> bool:
    """Whether annotators have confusions of their own: by these of one half of the items, the votes on the other half
    are more probable than by how often each annotator is right."""
    items = np.flatnonzero(votes.counts(n))
    items = items[:: len(items) // SAMPLE + 1]
    votes, n = votes.select(items, n), len(items)
    logits = None if logits is None else logits[items]
    odd = votes.item % 2 == 1
    half = Votes(votes.annotators, votes.item[~odd], votes.annotator[~odd], votes.label[~odd])
    loss = []
    for by_class in (False, True):
        found = replace(_learned(half, n, k, logits, by_class), votes=_cast(votes, n, k))
        loss.append(_power(found, votes, np.arange(1, n, 2))[1])
    return loss[1] < loss[0]


def _cast(votes: Votes, n: int, k: int) -> csr_array:
    """(n, a k), 1 where the annotator has voted for the class."""
    column = votes.annotator * k + votes.label
    return csr_array((np.ones(len(votes)), (votes.item, column)), shape=(n, len(votes.annotators) * k))


def _learned(votes: Votes, n: int, k: int, logits: Matrix | None, whole: bool) -> Consensus:
    """By expectation and maximisation, `whole`: with a confusion of every annotator."""
    cast = _cast(votes, n, k)
    found = _begin(cast, votes, n, k, logits)
    for _ in range(ROUNDS):
        counts, share = _count(found, votes, whole)
        accuracy, table = _annotators(counts, votes, k, whole)
        prior = np.log(share + 1 / max(len(votes), 1)) if logits is None else np.zeros(k)
        moved = np.abs(accuracy - found.accuracy).max(initial=0)
        found = Consensus(cast, table, prior, logits, found.trust, accuracy)
        if logits is not None:
            trust = _trust(found, votes)
            moved, found = max(moved, abs(np.log(trust / found.trust)) / 10), replace(found, trust=trust)
        if moved < SETTLED:
            break
    return found


def _begin(cast: csr_array, votes: Votes, n: int, k: int, logits: Matrix | None) -> Consensus:
    """All annotators alike, mostly right."""
    a = len(votes.annotators)
    own = np.arange(a * k)
    table = csr_array((np.full(a * k, np.log(8.0)), (own, own % k)), shape=(a * k, k))
    return Consensus(cast, table, np.zeros(k), logits, 0.5, np.full(a, np.nan_to_num(1.0)))


def _count(found: Consensus, votes: Votes, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Expected votes by annotator, label and true class (a k, k), or right ones by annotator and label (a k,); and the
    share of the classes (k,) among items with votes."""
    k, a = found.shape[1], len(votes.annotators)
    counts = np.zeros((a * k, k)) if whole else np.zeros(a * k)
    share = np.zeros(k)
    ends = np.searchsorted(votes.item, np.arange(found.shape[0] + 1))
    for part in blocks(found):
        posterior = found.rows(part).astype(np.float64)
        cast = found.votes[part]
        share += posterior[np.diff(cast.indptr) > 0].sum(axis=0)
        if whole:
            counts += cast.T @ posterior
        else:
            here = slice(ends[part.start], ends[part.stop])
            label = votes.label[here]
            right = posterior[votes.item[here] - part.start, label]
            counts += np.bincount(votes.annotator[here] * k + label, weights=right, minlength=a * k)
    return counts, share / max(share.sum(), 1)


def _annotators(counts: np.ndarray, votes: Votes, k: int, whole: bool) -> tuple[np.ndarray, np.ndarray | csr_array]:
    """Share of right votes (a,), and the log-likelihoods (a k, k) of all votes."""
    a, own = len(votes.annotators), np.arange(len(counts))
    right = counts[own, own % k] if whole else counts
    number = np.bincount(votes.annotator, minlength=a)
    right = right.reshape(a, k).sum(axis=1)
    overall = (right.sum() + 1) / (number.sum() + 2)
    accuracy = (right + TO_ALL * overall) / (number + TO_ALL)
    if not whole:  # what is the same for all true classes is left out
        weight = np.log(accuracy * (k - 1) / (1 - accuracy))
        return accuracy, csr_array((np.repeat(weight, k), (own, own % k)), shape=(a * k, k))
    counts = counts.reshape(a, k, k)  # annotator, label, true class
    wrong = counts.sum(axis=0)
    np.fill_diagonal(wrong, 0)
    spread = np.maximum((1 + 0.2 * wrong.sum(axis=0)) / max(k - 1, 1), 1)  # a single vote makes no habit
    wrong = wrong + (1 - np.eye(k)) * spread
    wrong /= np.maximum(wrong.sum(axis=0), 1e-12)
    expected = (1 - accuracy)[:, None, None] * wrong + accuracy[:, None, None] * np.eye(k)
    to_own = max(TO_OWN, k)
    chance = (counts + to_own * expected) / (counts.sum(axis=1, keepdims=True) + to_own)
    return accuracy, np.log(chance + 1e-9).reshape(a * k, k)


def _trust(found: Consensus, votes: Votes) -> float:
    """The power of the model's probabilities under which the votes are most probable."""
    assert found.logits is not None
    items = np.unique(votes.item)
    items = items[:: len(items) // SAMPLE + 1]
    log_q = log_softmax(found.logits[items].astype(np.float64), axis=1)
    known = np.isfinite(log_q).all(axis=1)
    if not known.any():
        return found.trust
    posterior = found.rows(items[known])

    def loss(log_power: float) -> float:
        return -float((posterior * log_softmax(np.exp(log_power) * log_q[known], axis=1)).sum())

    low, high = np.log(TRUST)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def _power(found: Consensus, votes: Votes, among: np.ndarray) -> tuple[float, float]:
    """The power of what the other voices say of an item, under which each vote on the items `among` (index) is most
    probable given them; and what a vote then costs, its mean negative log-probability.

    What a vote says is reckoned by how often its annotator is right alone: confusions know the vote itself.
    """
    n, k = found.shape
    several = (votes.counts(n)[votes.item] > 1) | (found.logits is not None)
    several = np.flatnonzero(several & np.isin(votes.item, among))
    sample = several[:: len(several) // SAMPLE + 1]
    if not len(sample):
        return 1.0, 0.0
    who, label = votes.annotator[sample], votes.label[sample]
    own = found.table[who * k + label]
    others = found.product(votes.item[sample]) - (own.toarray() if isinstance(own, csr_array) else own)
    right, place = found.accuracy[who], np.arange(len(sample))

    def loss(log_power: float) -> float:
        same = softmax(np.exp(log_power) * others, axis=1)[place, label]
        return -float(np.log(same * right + (1 - same) * (1 - right) / max(k - 1, 1)).mean())

    low, high = np.log(POWER)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded")
    return float(np.exp(best.x)), float(best.fun)


def majority(votes: Votes, n: int, k: int) -> np.ndarray:
    """(n,) the class with most votes, of several the one that is most probable; -1 where there are none."""
    pairs, size = np.unique(votes.item * k + votes.label, return_counts=True)
    item, label = np.divmod(pairs, k)
    most = np.zeros(n, dtype=np.int64)
    np.maximum.at(most, item, size)
    first = size == most[item]
    item, label = item[first], label[first]
    tied = np.bincount(item, minlength=n) > 1
    result = np.full(n, -1)
    result[item] = label
    if tied.any():
        found = find_consensus(votes, n, k)
        among = np.flatnonzero(tied[item])
        chance = np.asarray(found[item[among], label[among]])
        order = np.lexsort((-label[among], chance))  # the largest comes last, of equals the first class
        result[item[among][order]] = label[among][order]
    return result

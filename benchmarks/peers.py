"""The methods that are compared: nlclean as a user runs it, and what others would do with the same means.

Peers train the same proxy with the same data, optimiser, schedule, augmentation and epochs per network, and are given
at least the row visits (rows x epochs of training) that nlclean used. Since a longer training memorises wrong labels,
peers spend them on more networks and average; the single network, or single cross-validation, is reported too.
Peers that see what nlclean's encoder sees are in equal_features.py.

A method is a generator of findings, so that each can be timed when it is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp, softmax

from cleanlab_lite.arrays import unit_rows
from cleanlab_lite.config import AuditConfig, preset
from cleanlab_lite.data.inputs import Inputs, load_inputs
from cleanlab_lite.data.statistics import statistics
from cleanlab_lite.manifest.manifest import Manifest
from cleanlab_lite.manifest.readers import read_manifest
from cleanlab_lite.pipeline import run_audit, run_key
from cleanlab_lite.run import Run
from cleanlab_lite.train.encode import encode
from cleanlab_lite.train.ensemble import PRECISIONS, prepare
from cleanlab_lite.train.filters import filtered
from cleanlab_lite.train.fit import Augmenting, Observation, fit
from cleanlab_lite.train.jobs import training_settings
from cleanlab_lite.train.models import build_proxy
from cleanlab_lite.train.models.encoders import describe_encoder, is_encoder, load_encoder
from cleanlab_lite.train.plan import make_plan
from cleanlab_lite.train.planned import Plan
from cleanlab_lite.train.task import DATA, Task
from cleanlab_lite.train.views import PIXELS, reduced


@dataclass(frozen=True)
class Contest:
    """What a method is told."""

    manifest: str
    features: str | None
    options: dict[str, Any]  # changes to the preset
    preset: str = "balanced"
    epochs: int = 0  # per network of a peer
    budget: int = 0  # row visits that a peer must reach: what nlclean used
    folds: int = 5

    def read(self) -> tuple[Manifest, AuditConfig]:
        return read_manifest(self.manifest, features=self.features), preset(self.preset, **self.options)


@dataclass(frozen=True)
class Finding:
    """What a method says about the n teachable rows. A field is None, or NaN, where it says nothing."""

    method: str
    rows: np.ndarray  # (n,) rows of the manifest: readable and labelled
    score: np.ndarray  # (n,) higher is cleaner
    visits: int  # rows x epochs of training
    epochs: int  # per network
    flagged: np.ndarray | None = None  # (n,) bool
    p_mislabel: np.ndarray | None = None  # (n,) 0..1
    suggested: np.ndarray | None = None  # (n,) str, "" where none is offered
    ood_score: np.ndarray | None = None  # (n,) 0..1
    noise_rate: float = math.nan
    noise_interval: tuple[float, float] | None = None  # 95 %


def look(manifest: Manifest, plan: Plan, config: AuditConfig) -> Inputs:
    """What the proxy of `config` sees: the decoded data, or vectors where it is a frozen encoder.

    Vectors are those of the encoder beside filters, of sounds also log-mel statistics, as nlclean's head in closed form
    has them.
    """
    inputs = load_inputs(manifest, plan.picture_size, plan.sound, workers=config.workers)
    if not is_encoder(config.proxy):
        return inputs
    encoder = load_encoder(describe_encoder(plan.encoder, plan.image_size), plan.encoder_weights)
    autocast = PRECISIONS[plan.encoder_precision]
    vectors, _ = encode(inputs, encoder, device=torch.device(plan.device), autocast=autocast)
    views = [vectors.array, filtered(reduced(inputs, PIXELS), plan.device, seed=config.seed).array]
    if inputs.offsets is not None:
        views.append(statistics(inputs).array)
    return replace(vectors, array=np.concatenate([unit_rows(view) for view in views], axis=1))


class Arena:
    """The data of a contest on its device, and the proxy of nlclean to be trained on it. Counts row visits."""

    def __init__(self, contest: Contest) -> None:
        manifest, config = contest.read()
        if config.proxy == config.views == "auto":  # no encoder is named: the data themselves
            config = replace(config, views=DATA[manifest.modality])
        plan = make_plan(manifest, config)
        inputs = look(manifest, plan, config)
        task = Task.of(manifest.labels, manifest.num_classes, inputs)
        bench, teaching = prepare(task, plan, config)
        self._taught = replace(teaching, epochs=contest.epochs)
        self.teaching = replace(self._taught, loss="ce", strategy="plain")
        self.samples = bench.samples(task.main.name)
        self.labels = manifest.labels  # (all rows,)
        self.rows = np.flatnonzero(inputs.readable & (manifest.labels >= 0))  # (n,)
        self.given = manifest.labels[self.rows]
        self.classes = np.array(manifest.classes)
        self.contest, self.seed, self.visits = contest, config.seed, 0
        self.taught = f"{plan.loss}, {plan.strategy}"  # how nlclean teaches

    def train(
        self, rows: np.ndarray, seed: int, *, plain: bool = True, labels: np.ndarray | None = None, extra: int = 0
    ) -> Observation:
        """One network: plain cross entropy, or taught as nlclean's are. `extra` classes beside those of the data."""
        self.visits += len(rows) * self.contest.epochs
        teaching = self.teaching if plain else self._taught
        labels = self.labels if labels is None else labels
        return fit(self.samples, labels, rows, len(self.classes) + extra, teaching, seed=1000 * self.seed + seed)

    def repeats(self, visits: int) -> int:
        """How often something of so many row visits must be done to use the budget."""
        return max(1, math.ceil(self.contest.budget / visits))

    def finding(self, method: str, score: np.ndarray, **more: Any) -> Finding:
        return Finding(method, self.rows, score, self.visits, self.contest.epochs, **more)


def nlclean(contest: Contest) -> Iterator[Finding]:
    """The audit of a preset. Row visits include the trials that chose the epochs, and the planted proxy."""
    manifest, config = contest.read()
    with TemporaryDirectory() as folder, Run.start(Path(folder) / "run", "run", run_key(manifest, config)) as run:
        report = run_audit(manifest, config, run=run)
        stages = [run.facts(path.stem) for path in run.path("stages").glob("*.json")]
    visits = sum(facts["rows"] * facts["epochs"] for facts in stages if "epochs" in facts)  # one per network trained
    assert report.summary.proxy is not None  # these audits train
    judged = report.table["p_mislabel"].is_valid()
    table, rate = report.table.filter(judged), report.summary.noise_rate
    yield Finding(
        f"nlclean {contest.preset}",
        np.flatnonzero(judged),
        table["label_score"].to_numpy(),
        visits,
        report.summary.proxy["epochs"],
        flagged=table["is_label_issue"].to_numpy(),
        p_mislabel=table["p_mislabel"].to_numpy(),
        suggested=table["suggested_label"].fill_null("").to_numpy().astype(str),
        ood_score=table["ood_score"].to_numpy(),
        noise_rate=math.nan if rate.estimate is None else rate.estimate,
        noise_interval=None if rate.low is None or rate.high is None else (rate.low, rate.high),
    )


def cleanlab(contest: Contest, *, plain: bool = True) -> Iterator[Finding]:
    """cleanlab 2 on out-of-sample probabilities: confident learning (Northcutt et al., JAIR 2021).

    Its two usual pairs: ranked by self-confidence with the default filter, and ranked by normalised margin with
    `prune_by_class`. Rows flagged would be relabelled to the most probable class; the rate is that of the calibrated
    joint. 1 - self-confidence stands for p_mislabel. The probabilities are from logits averaged over the last quarter
    of the epochs, which helps a little.
    """
    arena = Arena(contest)
    name = f"cleanlab ({'ce, plain' if plain else arena.taught})"
    repeats = arena.repeats((contest.folds - 1) * len(arena.rows) * contest.epochs)
    total = np.zeros((len(arena.rows), len(arena.classes)))
    for repeat in range(repeats):
        total += out_of_sample(arena, repeat, plain=plain)
        if repeat == 0 or repeat == repeats - 1:
            often = "" if repeat == 0 else "repeated "
            for pair, found in confident_learning(arena.given, arena.classes, total / (repeat + 1)):
                yield arena.finding(f"{name} {often}{contest.folds}-fold, {pair}", **found)


def out_of_sample(arena: Arena, repeat: int, *, plain: bool) -> np.ndarray:
    """(n, k) float64 probabilities from a stratified cross-validation."""
    from sklearn.model_selection import StratifiedKFold

    folds = arena.contest.folds
    pred_probs = np.empty((len(arena.rows), len(arena.classes)))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=1000 * arena.seed + repeat)
    for fold, (train, test) in enumerate(splitter.split(arena.rows, arena.given)):
        seen = arena.train(arena.rows[train], repeat * folds + fold, plain=plain)
        pred_probs[test] = softmax(seen.logits[arena.rows[test]].astype(np.float64), axis=1)
    return pred_probs


def confident_learning(
    given: np.ndarray, classes: np.ndarray, pred_probs: np.ndarray
) -> Iterator[tuple[str, dict[str, Any]]]:
    """cleanlab's two usual pairs of ranking and filter, each with the fields of a Finding.

    given (n,) int64, classes (k,) str, pred_probs (n, k) float64.
    """
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    joint = compute_confident_joint(given, pred_probs)
    predicted = classes[pred_probs.argmax(axis=1)]
    pairs = {"self_confidence": "prune_by_noise_rate", "normalized_margin": "prune_by_class"}
    for ranking, filter_by in pairs.items():
        flagged = find_label_issues(given, pred_probs, filter_by=filter_by, n_jobs=1)
        yield (
            f"{ranking}, {filter_by}",
            {
                "score": get_label_quality_scores(given, pred_probs, method=ranking),
                "flagged": flagged,
                "p_mislabel": 1 - pred_probs[np.arange(len(given)), given] if ranking == "self_confidence" else None,
                "suggested": np.where(flagged, predicted, ""),
                "noise_rate": float(1 - np.trace(joint) / joint.sum()),
            },
        )


def aum(contest: Contest) -> Iterator[Finding]:
    """Area under the margin of networks trained on all rows (Pleiss et al., NeurIPS 2020), as the `aum` package has it.

    AUM_i = mean over epochs of z_y - max_{k != y} z_k. Margins are taken in a clean pass after each epoch rather than
    in the training pass. The package offers no flags without threshold samples: see `aum_threshold`.
    """
    arena = Arena(contest)
    repeats = arena.repeats(len(arena.rows) * contest.epochs)
    total = np.zeros(len(arena.rows))
    for repeat in range(repeats):
        total += mean_margin(arena.train(arena.rows, repeat), arena.rows)
        if repeat == 0:
            yield arena.finding("AUM, one network", total.copy())
    if repeats > 1:
        yield arena.finding("AUM, several networks", total / repeats)


def aum_threshold(contest: Contest) -> Iterator[Finding]:
    """The paper's two runs, each with n / (k + 1) other rows shown under an extra class.

    A row is flagged when in every run in which it kept its label its AUM is below the 99th percentile of those rows.
    """
    arena = Arena(contest)
    n, k = len(arena.rows), len(arena.classes)
    order = np.random.default_rng(arena.seed).permutation(n)
    total, runs, flagged = np.zeros(n), np.zeros(n), np.ones(n, dtype=bool)
    for run, shown in enumerate(np.split(order, [n // (k + 1), 2 * (n // (k + 1))])[:2]):
        labels = arena.labels.copy()
        labels[arena.rows[shown]] = k
        margin = mean_margin(arena.train(arena.rows, run, labels=labels, extra=1), arena.rows)
        kept = np.ones(n, dtype=bool)
        kept[shown] = False
        total[kept] += margin[kept]
        runs += kept
        flagged &= ~kept | (margin < np.percentile(margin[shown], 99))
    yield arena.finding("AUM, two runs with threshold samples", total / runs, flagged=flagged)


def mean_margin(seen: Observation, rows: np.ndarray) -> np.ndarray:
    return seen.margin[:, rows].astype(np.float64).mean(axis=0)


def small_loss(contest: Contest) -> Iterator[Finding]:
    """Loss of networks trained on all rows, split by a Gaussian mixture: the criterion of DivideMix (ICLR 2020).

    With the last loss, as DivideMix has it, and with the mean over the epochs, which is harder to memorise away.
    """
    arena = Arena(contest)
    repeats = arena.repeats(len(arena.rows) * contest.epochs)
    last, mean = np.zeros(len(arena.rows)), np.zeros(len(arena.rows))
    for repeat in range(repeats):
        loss = arena.train(arena.rows, repeat).loss[:, arena.rows].astype(np.float64)
        last += loss[-1]
        mean += loss.mean(axis=0)
        if repeat == 0 or repeat == repeats - 1:
            networks = "one network" if repeat == 0 else "several networks"
            yield split_losses(arena, f"small loss + GMM, last epoch, {networks}", last / (repeat + 1))
            yield split_losses(arena, f"small loss + GMM, mean over epochs, {networks}", mean / (repeat + 1))


def split_losses(arena: Arena, name: str, loss: np.ndarray) -> Finding:
    """Two Gaussians on the losses scaled to 0..1, with DivideMix's settings. Its posterior ranks like the loss."""
    from sklearn.mixture import GaussianMixture

    scaled = ((loss - loss.min()) / max(np.ptp(loss), 1e-12))[:, None]
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=arena.seed).fit(scaled)
    noisy = mixture.predict_proba(scaled)[:, mixture.means_[:, 0].argmax()]
    return arena.finding(name, -loss, flagged=noisy > 0.5, p_mislabel=noisy, noise_rate=float(noisy.mean()))


def cleanlab_taught(contest: Contest) -> Iterator[Finding]:
    """cleanlab on probabilities of proxies that are taught like nlclean's."""
    return cleanlab(contest, plain=False)


def bare(contest: Contest) -> Iterator[Finding]:
    """Nothing but training: the network in a plain loop, nothing recorded; then one pass for the loss of every row."""
    arena = Arena(contest)
    logits, _ = plain_loop(arena, margins=False)
    own = logits[np.arange(len(logits)), arena.given]
    yield arena.finding("bare loop, loss after it", own - logsumexp(logits, axis=1))


def aum_plain(contest: Contest) -> Iterator[Finding]:
    """AUM as a user of the `aum` package has it: margins of the training pass itself, augmented, as weights change."""
    arena = Arena(contest)
    _, margins = plain_loop(arena, margins=True)
    yield arena.finding("AUM, plain loop", margins.mean(axis=0))


def plain_loop(arena: Arena, *, margins: bool) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) logits after the training, and (e, n) margins on the way where they are asked for.

    What anyone would write: SGD with momentum on a one-cycle schedule, our network, batch, rate, decay, augmentation
    and one thread, as ours has on a CPU.
    """
    samples, teaching, device = arena.samples, arena.teaching, arena.samples.device
    arena.visits += len(arena.rows) * teaching.epochs
    with training_settings(str(device)), torch.random.fork_rng(devices=[]):
        torch.manual_seed(arena.seed)
        rows = torch.as_tensor(arena.rows, device=device)
        labels = torch.as_tensor(arena.labels, device=device)
        network = build_proxy(teaching.proxy, samples.inputs(rows[:2000]), len(arena.classes), seed=arena.seed)
        network = network.to(device)
        options = {"momentum": 0.9, "nesterov": True, "weight_decay": teaching.weight_decay}
        optimizer = torch.optim.SGD(network.parameters(), lr=teaching.learning_rate, **options)
        steps = teaching.epochs * math.ceil(len(rows) / teaching.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, teaching.learning_rate, total_steps=steps)
        augment = Augmenting(samples, teaching, torch.Generator().manual_seed(arena.seed)).weakly
        seen = torch.zeros(teaching.epochs if margins else 0, len(samples), device=device)

        def forward(inputs: torch.Tensor) -> torch.Tensor:
            with torch.autocast(device.type, teaching.autocast, enabled=teaching.autocast is not None):
                return network(inputs).float()

        for epoch in range(teaching.epochs):
            network.train()
            for part in rows[torch.randperm(len(rows), device=device)].split(teaching.batch_size):
                logits = forward(augment(samples.inputs(part)))
                optimizer.zero_grad(set_to_none=True)
                torch.nn.functional.cross_entropy(logits, labels[part]).backward()
                optimizer.step()
                schedule.step()
                if margins:
                    given = logits.detach().gather(1, labels[part, None])
                    others = logits.detach().scatter(1, labels[part, None], -torch.inf)
                    seen[epoch, part] = given[:, 0] - others.amax(dim=1)
        network.eval()
        with torch.no_grad():
            last = torch.cat([forward(samples.inputs(part)) for part in rows.split(500)])
    return last.cpu().numpy().astype(np.float64), seen[:, rows].cpu().numpy()


METHODS: dict[str, Callable[[Contest], Iterator[Finding]]] = {
    method.__name__: method
    for method in (nlclean, cleanlab, cleanlab_taught, aum, aum_threshold, small_loss, bare, aum_plain)
}

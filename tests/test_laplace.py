"""The Laplace approximation against dense formulas, finite differences, and where it is exact."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
import support
from scipy import stats

import padchol
from padchol import assembly, likelihoods
from padchol.gmrf import GMRF, IntrinsicGMRF
from padchol.laplace import design, laplace
from padchol.laplace._mode import Problem, are_coupled
from padchol.laplace._start import begun_at

pytestmark = [pytest.mark.core, pytest.mark.shapes]

rng = np.random.default_rng(0)
n, m = 16, 30
Q = support.laplacian(4) + 0.3 * sp.eye_array(n)
B = sp.csr_array(
    sp.eye_array(m, n, k=0)
    + sp.eye_array(m, n, k=-n)
    + 0.2 * sp.random_array((m, n), density=0.1, rng=rng)
)
PLAN = padchol.analyze([Q, assembly.gram_pattern(B)])
DESIGN = design(PLAN, B)
PRIOR = PLAN.values(Q)
ETA = rng.normal(size=m) * 0.5
DATA = {
    "gaussian": lambda t: likelihoods.gaussian(ETA, t),
    "poisson": lambda t: likelihoods.poisson(rng_poisson, t),
    "binomial": lambda t: likelihoods.binomial(rng_binomial * jnp.exp(0 * t), 5),
    "gamma": lambda t: likelihoods.gamma(rng_gamma, t),
    "weibull": lambda t: likelihoods.weibull(rng_gamma, np.arange(m) % 3 > 0, t),
}
rng_poisson, rng_binomial = rng.poisson(2.0, m), rng.binomial(5, 0.4, m)
rng_gamma = rng.gamma(2.0, 0.7, m)
each = pytest.mark.parametrize("name", DATA)


def fitted(name, s, t, **options):
    return laplace(DESIGN, DATA[name](t), s * PRIOR, 0.1, **options)


def dense_log_marginal(name, s, t):
    """The same by scipy's minimiser and dense determinants."""
    terms, dense, precision = DATA[name](t), B.toarray(), s * Q.toarray()

    def psi(x):
        return -(jnp.sum(terms(jnp.asarray(dense @ x))) - (x - 0.1) @ precision @ (x - 0.1) / 2)

    found = scipy.optimize.minimize(
        psi, np.full(n, 0.1), jac=jax.grad(psi), hess=jax.hessian(psi), method="trust-exact",
        options={"gtol": 1e-11},
    )  # fmt: skip
    H = np.asarray(jax.hessian(psi)(found.x))
    half = (np.linalg.slogdet(precision)[1] - np.linalg.slogdet(H)[1]) / 2
    return found.x, half - psi(found.x), np.linalg.inv(H)


@each
def test_mode_marginal_and_variances(name):
    mode, value, covariance = dense_log_marginal(name, 1.3, 1.7)
    found = jax.jit(lambda s, t: fitted(name, s, t))(1.3, 1.7)
    assert found.converged
    assert found.steps < 15
    np.testing.assert_allclose(found.mode, mode, atol=1e-9)
    np.testing.assert_allclose(found.log_marginal, value, rtol=1e-11)
    np.testing.assert_allclose(found.marginal_variances(), np.diag(covariance), rtol=1e-9)
    spread = np.diag(B @ covariance @ B.T)
    np.testing.assert_allclose(found.predictor_variances(), spread, rtol=1e-9)


def test_exact_for_gaussian_observations():
    found = fitted("gaussian", 1.3, 1.7)
    sigma = B @ np.linalg.inv(1.3 * Q.toarray()) @ B.T + np.eye(m) / 1.7
    expected = stats.multivariate_normal(B @ np.full(n, 0.1), sigma).logpdf(ETA)
    np.testing.assert_allclose(found.log_marginal, expected, rtol=1e-12)


def release(name):
    """Laws whose derivatives are of the kind of others'."""
    return [pytest.mark.release] if name in ("gamma", "weibull") else []


@pytest.mark.parametrize(
    ("name", "order"),
    [
        pytest.param("poisson", 1, marks=pytest.mark.slow),
        *(pytest.param(name, 2, marks=[pytest.mark.slow, *release(name)]) for name in DATA),
    ],
)
def test_derivatives_pass_through_the_mode(name, order):
    """First and second, against differences of values and of gradients."""
    value = jax.jit(lambda p: fitted(name, jnp.exp(p[0]), jnp.exp(p[1])).log_marginal)
    support.check_gradients(value, jnp.asarray([0.3, 0.5]), order)


@pytest.mark.slow
def test_the_jacobian_of_the_mode():
    mode = jax.jit(lambda p: fitted("poisson", p[0], p[1]).mode)
    at, h = jnp.asarray([1.3, 1.7]), 1e-5
    steps = h * jnp.eye(2)
    differences = jnp.stack([(mode(at + d) - mode(at - d)) / (2 * h) for d in steps], 1)
    jacobian = jax.jacfwd(mode)(at)
    np.testing.assert_allclose(jacobian, differences, atol=1e-8)
    np.testing.assert_allclose(jax.jacrev(mode)(at), jacobian, atol=1e-12)
    found, V = fitted("poisson", *at), jnp.asarray([[0.2, 0.05], [0.05, 0.1]])
    expected = found.marginal_variances() + np.diag(jacobian @ V @ jacobian.T)
    np.testing.assert_allclose(found.marginal_variances(jacobian, V), expected, rtol=1e-12)


def test_a_batch_whose_members_end_at_different_times():
    """Four scales on a grid. Members that wait stay where they are: a comparison that rounded
    differently in a loop's condition and in its body went on for ever."""
    A = support.grid(6, 6)
    plan = padchol.analyze([A, sp.eye_array(36)])
    cells, a = design(plan, sp.csr_array(sp.eye_array(36))), jnp.asarray(plan.values(A))
    y = likelihoods.poisson(np.random.default_rng(0).poisson(3.0, 36).astype(float))

    @jax.jit
    def fit(t):
        found = laplace(cells, y, jnp.exp(t[0]) * a, t[1])
        return found.log_marginal, found.mode, found.steps

    scales = jnp.linspace(0, 0.5, 8).reshape(4, 2)
    together, alone = jax.vmap(fit)(scales), [fit(t) for t in scales]
    for i, each in enumerate(alone):
        np.testing.assert_allclose(together[0][i], each[0], rtol=1e-13)
        np.testing.assert_allclose(together[1][i], each[1], rtol=1e-12, atol=1e-13)
        assert together[2][i] == each[2]


@pytest.mark.slow
def test_batches():
    s = jnp.asarray([0.5, 1.0, 4.0])
    found = jax.vmap(lambda s: fitted("poisson", s, 1.7).log_marginal)(s)
    np.testing.assert_allclose(
        found, [fitted("poisson", x, 1.7).log_marginal for x in s], rtol=1e-12
    )


@pytest.mark.slow
def test_samples():
    found = fitted("poisson", 1.3, 1.7)
    draws = np.asarray(found.sample(jax.random.key(0), (20_000,)))
    variances = np.asarray(found.marginal_variances())
    np.testing.assert_allclose(draws.mean(0), found.mode, atol=5 * np.sqrt(variances.max() / 2e4))
    np.testing.assert_allclose(draws.var(0), variances, rtol=0.06)


def test_a_far_start_is_reached_by_halving():
    near, far = fitted("poisson", 1.3, 1.7), fitted("poisson", 1.3, 1.7, start=-30.0)
    assert far.converged
    assert far.steps > near.steps
    np.testing.assert_allclose(far.mode, near.mode, atol=1e-10)


@pytest.mark.slow
def test_a_start_from_outside():
    """It is traced, and stays in its trace: what is jitted inside can be called again outside."""
    model = jax.jit(lambda s: fitted("poisson", s, 1.7))

    @jax.jit
    def follow(s, x):
        with begun_at(x):
            return model(s)

    cold = model(1.3)
    warm = follow(1.3, cold.mode)
    assert warm.steps < cold.steps
    np.testing.assert_allclose(warm.mode, cold.mode, atol=1e-10)
    assert follow(1.3, jnp.full(n, jnp.nan)).steps == cold.steps
    assert model(1.3).steps == cold.steps
    assert jax.jit(model)(1.3).steps == cold.steps


@pytest.mark.parametrize(
    ("s", "options"), [(1.3, {"max_steps": 1, "start": 9.0}), (-1.0, {}), (np.nan, {})]
)
def test_what_did_not_converge_says_so_and_is_no_number(s, options):
    found = fitted("poisson", s, 1.7, **options)
    assert not found.converged
    assert np.isnan(found.log_marginal)
    assert np.isnan(found.mode).all()
    assert np.isnan(found.marginal_variances()).all()
    assert np.isnan(found.predictor_variances()).all()
    assert np.isnan(found.sample(jax.random.key(0), (2,))).all()


@pytest.mark.slow
def test_the_gradient_of_a_search_cut_short_is_no_number():
    """Row 26."""
    cut = lambda s: fitted("poisson", s, 1.7, max_steps=1, start=9.0).log_marginal - s**2
    assert np.isnan(jax.grad(cut)(1.3))


@pytest.mark.parametrize("name", ["poisson", "binomial", "gamma"])
def test_likelihoods(name):
    """Against scipy's distributions."""
    eta, mean = ETA, np.exp(ETA)
    expected = {
        "poisson": stats.poisson(1.7 * mean).logpmf(rng_poisson),
        "binomial": stats.binom(5, 1 / (1 + np.exp(-eta))).logpmf(rng_binomial),
        "gamma": stats.gamma(1.7, scale=mean / 1.7).logpdf(rng_gamma),
    }[name]
    np.testing.assert_allclose(DATA[name](1.7)(jnp.asarray(eta)), expected, rtol=1e-12)


def test_survival_likelihood():
    lam, k, event = np.exp(ETA), 1.7, np.arange(m) % 3 > 0
    law = stats.weibull_min(k, scale=lam ** (-1 / k))
    expected = np.where(event, law.logpdf(rng_gamma), law.logsf(rng_gamma))
    np.testing.assert_allclose(DATA["weibull"](k)(jnp.asarray(ETA)), expected, rtol=1e-12)


def test_a_plan_without_the_pattern_of_the_design_is_refused():
    with pytest.raises(ValueError, match="pattern is contained in the plan's"):
        design(padchol.analyze(Q), B)


# ---- priors that are fields -------------------------------------------------------------------

LAPLACIAN = support.graph_laplacian(Q)


def intrinsic(s):
    return IntrinsicGMRF(PLAN, s * PLAN.values(LAPLACIAN), np.ones((n, 1)), 0.1)


@pytest.mark.slow
def test_constraints_are_kept_and_exact_for_gaussian_observations():
    """y ~ N(B loc, B S B^T + noise), S the covariance of the constrained prior."""
    field, noise = GMRF(PLAN, 1.3 * PLAN.values(Q), 0.1), np.eye(m) / 1.7
    proper = field.constrain(np.ones((1, n)), 0.5)
    sigma = np.linalg.inv(1.3 * Q.toarray())
    column = sigma.sum(1)
    mean = 0.1 + column / column.sum() * (0.5 - 0.1 * n)
    sigma = sigma - np.outer(column, column) / column.sum()
    flat = np.linalg.pinv(1.3 * LAPLACIAN.toarray())
    dense = B.toarray()
    for prior, center, S, total in (
        (proper, mean, sigma, 0.5),
        (intrinsic(1.3), np.full(n, 0.1), flat, 0.1 * n),
    ):
        found = laplace(DESIGN, DATA["gaussian"](1.7), prior, constrained=True)
        assert found.converged
        V = dense @ S @ dense.T + noise
        expected = stats.multivariate_normal(dense @ center, V).logpdf(ETA)
        np.testing.assert_allclose(found.log_marginal, expected, rtol=1e-11)
        gain = S @ dense.T @ np.linalg.inv(V)
        np.testing.assert_allclose(found.mode, center + gain @ (ETA - dense @ center), atol=1e-10)
        np.testing.assert_allclose(found.mode.sum(), total, atol=1e-11)
        S = S - gain @ dense @ S
        np.testing.assert_allclose(found.marginal_variances(), np.diag(S), atol=1e-12)
        spread = np.diag(dense @ S @ dense.T)
        np.testing.assert_allclose(found.predictor_variances(), spread, atol=1e-12)
        np.testing.assert_allclose(found.sample(jax.random.key(0)).sum(), total, atol=1e-11)


def test_an_improper_prior_leaves_its_level_to_the_data():
    """The limit of proper priors, after the density of the level: N(0, 1 / e) at zero is flat."""
    found = laplace(DESIGN, DATA["poisson"](1.7), intrinsic(1.3))
    level, e = np.ones(n) / np.sqrt(n), 1e-7
    nearly = 1.3 * LAPLACIAN.toarray() + e * np.outer(level, level)
    full = padchol.analyze([sp.csc_array(nearly), assembly.gram_pattern(B)])
    limit = laplace(design(full, B), DATA["poisson"](1.7), full.values(sp.csc_array(nearly)), 0.1)
    flat = np.log(e / (2 * np.pi)) / 2
    np.testing.assert_allclose(found.log_marginal, limit.log_marginal - flat, atol=1e-5)
    np.testing.assert_allclose(found.mode, limit.mode, atol=1e-5)


@pytest.mark.slow
def test_derivatives_with_an_intrinsic_prior_and_through_the_entries_of_the_design():
    data = jnp.asarray(DESIGN.gram.data)

    def value(p):
        scaled = DESIGN.with_entries(data * p[1])
        prior = intrinsic(jnp.exp(p[0]))
        return laplace(scaled, DATA["poisson"](1.7), prior, constrained=True).log_marginal

    support.check_gradients(jax.jit(value), jnp.asarray([0.3, 0.8]), 1)


@pytest.mark.parametrize("what", [pytest.param("C", marks=pytest.mark.slow), "e"])
@pytest.mark.slow
def test_derivatives_with_respect_to_the_plane(what):
    """Of the mode and the marginal, where the plane that holds x moves, or turns."""
    weight = np.cos(np.arange(n))

    def value(p):
        C = jnp.stack([jnp.ones(n) + p[0] * weight, weight]) if what == "C" else np.ones((1, n))
        e = jnp.array([0.5, 0.1]) if what == "C" else p
        prior = GMRF(PLAN, PLAN.values(Q)).constrain(C, e)
        found = laplace(DESIGN, DATA["poisson"](1.7), prior)
        return found.log_marginal + weight @ found.mode

    support.check_gradients(jax.jit(value), jnp.asarray([0.3]), 1)


def test_a_field_brings_its_own_mean_and_its_plan():
    with pytest.raises(ValueError, match="no loc beside a field"):
        laplace(DESIGN, DATA["poisson"](1.7), intrinsic(1.0), 0.5)
    other = padchol.analyze(Q)
    with pytest.raises(ValueError, match="a prior on the plan of the design"):
        laplace(DESIGN, DATA["poisson"](1.7), GMRF(other, other.values(Q)))
    with pytest.raises(ValueError, match="expected entries of shape"):
        DESIGN.with_entries(np.ones(3))
    for name, options in (("loc", {"loc": np.ones(3)}), ("start", {"start": np.ones(3)})):
        with pytest.raises(ValueError, match=rf"{name} a number or of shape \({n},\); got \(3,\)"):
            laplace(DESIGN, DATA["poisson"](1.7), PLAN.values(Q), **cast(Any, options))
    with pytest.raises(ValueError, match=r"one of them for each of 1 constraints .* got \[True, "):
        laplace(DESIGN, DATA["poisson"](1.7), intrinsic(1.0), constrained=[True, False])


# ---- likelihoods that are none ------------------------------------------------------------------

SHAPES = {
    "column": lambda eta: likelihoods.poisson(rng_poisson[:, None])(eta),
    "sum": lambda eta: likelihoods.poisson(rng_poisson)(eta).sum(),
    "short": lambda eta: likelihoods.poisson(rng_poisson[:-1])(eta[:-1]),
    "long": lambda eta: likelihoods.poisson(rng_poisson[:-1])(eta),
    "row": lambda eta: likelihoods.poisson(rng_poisson)(eta)[None],
    "pair": lambda eta: (eta, eta),
}


@pytest.mark.parametrize("name", SHAPES)
def test_terms_of_another_shape_are_refused(name):
    """Before anything is computed, and so under jit as well."""
    with pytest.raises(ValueError, match=r"a log_likelihood of eta \(30,\) with terms of shape"):
        jax.eval_shape(lambda s: laplace(DESIGN, SHAPES[name], s * PRIOR), 1.0)


def pair(i, j, size):
    return lambda eta: -(eta**2) + size * jnp.where(np.arange(m) == i, eta[j] * eta[i], 0)


COUPLED = {
    "mean": lambda eta: likelihoods.poisson(rng_poisson)(eta - eta.mean()),
    "cumulative": lambda eta: likelihoods.poisson(rng_poisson)(0.1 * jnp.cumsum(eta)),
    "neighbours": lambda eta: -(eta**2) - (eta - jnp.roll(eta, 1)) ** 2,
    "first": lambda eta: likelihoods.binomial(rng_binomial, 5)(eta + 0.3 * eta[0]),
    "softmax": lambda eta: jax.nn.log_softmax(eta) * rng_poisson,
    "one pair": pair(3, 17, 1e-3),
    "pair a period apart": pair(2, 19, -0.5),
    "in one precision": lambda eta: -jnp.log1p(jnp.sum(eta**2)) / m - eta**2,
}


@pytest.mark.parametrize("name", COUPLED)
def test_terms_that_are_coupled_are_refused(name):
    with pytest.raises(ValueError, match="term i depends on eta_i alone"):
        laplace(DESIGN, COUPLED[name], PRIOR, 0.1)


def test_terms_that_are_coupled_do_not_converge_under_jit():
    found = jax.jit(lambda s: laplace(DESIGN, COUPLED["mean"], s * PRIOR, 0.1))(1.3)
    assert not found.converged
    assert np.isnan(found.log_marginal)
    assert np.isnan(found.mode).all()


UNCOUPLED = {
    "mixture": lambda eta: jax.nn.logsumexp(
        jnp.stack([-((eta - 1) ** 2), -((eta + 1) ** 2) / 3]), axis=0
    ),
    "saturated": lambda eta: likelihoods.binomial(np.full(m, 5), 5)(eta + 60),
    "gathered": lambda eta: likelihoods.poisson(rng_poisson)(eta[::-1])[::-1],
    "by differences": lambda eta: likelihoods.poisson(rng_poisson)(
        jnp.diff(jnp.cumsum(eta), prepend=0)
    ),
    "far apart": lambda eta: -(10.0 ** jnp.linspace(-12, 12, m)) * eta**2,
    "linear": lambda eta: eta * 1.0,
}


@support.both_precisions
@pytest.mark.parametrize("name", UNCOUPLED)
def test_terms_that_are_not_coupled_pass(name, precision):
    narrow = design(PLAN, sp.csr_array(B.astype(precision)))
    x = jnp.asarray(np.random.default_rng(4).normal(size=n), precision)
    problem = Problem(narrow, UNCOUPLED[name], jnp.asarray(PRIOR, precision), x, None)
    assert not are_coupled(problem, x)
    assert not jax.jit(lambda x: are_coupled(problem, x))(x)
    assert are_coupled(Problem(narrow, COUPLED["pair a period apart"], problem.a, x, None), x)


def test_a_likelihood_of_infinity_has_no_mode():
    constant = jax.jit(lambda v: laplace(DESIGN, lambda eta: 0 * eta + v, PRIOR))
    for value in (-np.inf, np.inf, np.nan):
        found = constant(value)
        assert not found.converged
        assert np.isnan(found.log_marginal)
    assert constant(-3.0).converged
    flat = laplace(DESIGN, lambda eta: jnp.full(m, -jnp.inf), PRIOR)
    assert not flat.converged


def test_the_design_takes_vectors_of_its_shape():
    for f, length in ((DESIGN, n), (DESIGN.t, m)):
        for wrong in (length - 1, length + 1):
            with pytest.raises(ValueError, match=rf"a vector of shape \({length},\); got shape"):
                jax.eval_shape(lambda x, f=f: f(x), np.ones(wrong))


def test_a_prior_on_another_plan_of_as_many_values_is_refused():
    order = np.random.default_rng(1).permutation(n)
    moved = padchol.analyze(
        [sp.csc_array(Q)[order][:, order], assembly.gram_pattern(sp.csr_array(B)[:, order])]
    )
    assert moved.nnz == PLAN.nnz
    with pytest.raises(ValueError, match="a prior on the plan of the design"):
        laplace(DESIGN, DATA["poisson"](1.7), GMRF(moved, np.ones(moved.nnz)))


def test_a_design_is_asked_for():
    A = support.grid(2, 2)
    plan = padchol.analyze(A)
    with pytest.raises(TypeError, match="expected a design, as made by"):
        laplace(cast(Any, plan), likelihoods.poisson(np.ones(4)), plan.values(A))

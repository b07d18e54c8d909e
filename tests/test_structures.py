"""Random effects with correlated levels: dense formulas, and numbers of R 4.2.2 and glmmTMB."""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from test_reference_data import matrix

import padchol
from padchol import mixed, precisions
from padchol.mixed import structures
from padchol.mixed.boundary import explained
from padchol.mixed.levels import Levels

pandas = pytest.importorskip("pandas")
pytest.importorskip("formulaic", reason="formulas need formulaic")

G, P = 8, 6


@functools.cache
def data():
    """Series of G groups over the positions 0, ..., P - 1, some of them missing, some twice."""
    i = np.arange(96)
    g, t = i % G, (i * 7 // 3) % P
    x, noise = np.cos(2.1 * i), np.sin(12.9 * i + 1) * np.cos(3.7 * i)
    level = np.sin(1.3 * g + 0.9 * t) + np.cos(2.0 * g)
    count = np.floor(np.exp(0.6 + 0.4 * x + 0.6 * level) + 0.5 * (noise > 0))
    labels = np.array(list("abcdef"))[t]
    y = 1 + 0.5 * x + level + noise
    columns = {"y": y, "x": x, "g": g, "t": t, "u": 0.7 * t + 0.1 * t**2, "f": labels, "k": count}
    return pandas.DataFrame(columns)


def deviance_of(V):
    """-2 log likelihood of y with beta and sigma at their best, V the covariance over sigma^2."""
    y, n = data()["y"].to_numpy(), len(data())
    X = np.column_stack([np.ones(n), data()["x"]])
    W = np.linalg.inv(V)
    r = y - X @ np.linalg.solve(X.T @ W @ X, X.T @ W @ y)
    return np.linalg.slogdet(V)[1] + n * (1 + np.log(2 * np.pi * (r @ W @ r) / n))


def correlation(kind, rho):
    """Dense, of all rows, whether of one group or not."""
    t, u = data()["t"].to_numpy(), data()["u"].to_numpy()
    D = np.abs(np.subtract.outer(u, u))
    if kind == "ar1":
        return np.tanh(rho) ** np.abs(np.subtract.outer(t, t))
    if kind == "cs":
        r = np.tanh(rho) if rho > 0 else np.tanh(rho) / (P - 1)
        return np.where(np.equal.outer(t, t), 1.0, r)
    d = D / np.exp(rho)
    return np.exp(-d) if kind == "ou" else (1 + np.sqrt(3) * d) * np.exp(-np.sqrt(3) * d)


TERMS = {"ar1": "ar1(t | g)", "ou": "ou(u | g)", "cs": "cs(f | g)", "matern": "matern(u | g)"}


@pytest.mark.parametrize("kind", TERMS)
def test_deviances_equal_dense_ones(kind):
    model = mixed.linear(f"y ~ x + {TERMS[kind]} + (1 | g)", data())
    together = np.equal.outer(data()["g"].to_numpy(), data()["g"].to_numpy())
    for theta in ([0.6, 0.9, 0.4], [0.0, 1.3, -0.5]):
        of_g, s, rho = theta
        V = np.eye(len(data())) + together * (of_g**2 + s**2 * correlation(kind, rho))
        np.testing.assert_allclose(model.deviance(theta), deviance_of(V), rtol=1e-10)
    assert model.effects.names[1:] == (
        f"{TERMS[kind]}[Intercept]",
        f"{TERMS[kind]}:{'rho' if kind in ('ar1', 'cs') else 'range'}",
    )


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.slow
def test_short_series(k):
    rows = data()[data()["t"] < k]
    model = mixed.linear("y ~ x + ar1(t | g)", rows)
    assert model.prior.structures[0].plan.nnz == G * (2 * k - 1)
    t, g, y = (rows[name].to_numpy() for name in "tgy")
    C = np.equal.outer(g, g) * 0.4 ** np.abs(np.subtract.outer(t, t))
    X = np.column_stack([np.ones(len(y)), rows["x"]])
    V = np.eye(len(y)) + 0.9**2 * C
    W = np.linalg.inv(V)
    r = y - X @ np.linalg.solve(X.T @ W @ X, X.T @ W @ y)
    dense = np.linalg.slogdet(V)[1] + len(y) * (1 + np.log(2 * np.pi * (r @ W @ r) / len(y)))
    np.testing.assert_allclose(model.deviance([0.9, np.arctanh(0.4)]), dense, rtol=1e-10)


@pytest.mark.slow
def test_gradients():
    model = mixed.linear("y ~ x + ar1(t | g) + ou(u | g)", data())
    support.check_gradients(jax.jit(model.deviance), jnp.array([0.6, 0.9, 0.4, -0.3]), 1)


@pytest.mark.slow
def test_fits_of_counts():
    """glmmTMB(k ~ x + ar1(factor(t, 0:5) + 0 | g), family = poisson), and with ou(numFactor(u))"""
    fit = mixed.generalized("k ~ x + ar1(t | g)", data(), "poisson").fit()
    assert fit.converged
    np.testing.assert_allclose(fit.loglik, AR1["loglik"], atol=1e-4)
    np.testing.assert_allclose(fit.beta, AR1["beta"], atol=1e-3)
    np.testing.assert_allclose(fit.theta[0], AR1["sd"], rtol=2e-3)
    found = fit.structure("ar1(t | g)")
    np.testing.assert_allclose(found["rho"], AR1["rho"], atol=2e-3)
    assert "rho" in str(fit)
    table = fit.confint()
    low, high = table.loc["ar1(t | g):rho"]
    assert -1 < low < found["rho"] < high < 1
    # At a position that some group was not seen at, and in a new group.
    new = pandas.DataFrame({"x": [0.0, 0.0], "g": [3, 99], "t": [5, 2]})
    with pytest.raises(ValueError, match=r"that the model knows; got 99 in 1 rows"):
        fit.predict(new)
    value = fit.predict(new, new_levels="zero", se=True)
    assert value.value[1] == fit.beta[0]
    assert value.se[1] > value.se[0] > 0
    np.testing.assert_allclose(fit.predict(data()), fit.predict(), rtol=1e-12)


AR1 = {
    "loglik": -146.495866706,
    "sd": 0.503988876385,
    "rho": 0.853765264421,
    "beta": [0.585300739257, 0.463774946922],
}


def test_linear_fits():
    """glmmTMB(y ~ x + ou(numFactor(u) + 0 | g))"""
    fit = mixed.linear("y ~ x + ou(u | g)", data()).fit()
    np.testing.assert_allclose(fit.loglik, OU["loglik"], atol=1e-4)
    np.testing.assert_allclose(cast(Any, fit.sigma), OU["sigma"], rtol=1e-3)
    drawn = fit.simulate(jax.random.key(0), 2000)
    together = np.equal.outer(data()["g"].to_numpy(), data()["g"].to_numpy())
    s = fit.sigma * fit.theta[0]
    V = fit.sigma**2 * np.eye(len(data())) + together * s**2 * correlation("ou", fit.theta[1])
    np.testing.assert_allclose(np.cov(drawn.T), V, atol=6 * V.max() / np.sqrt(2000))


OU = {"loglik": -98.061273346, "sigma": 0.488007387129}


def pedigree():
    """The inverse relationship matrix of eight animals, four of them parents of the others."""
    A = np.eye(8)
    for child, (mother, father) in {4: (0, 1), 5: (0, 1), 6: (2, 3), 7: (4, 6)}.items():
        A[child, :child] = A[:child, child] = (A[mother, :child] + A[father, :child]) / 2
        A[child, child] = 1 + A[mother, father] / 2
    return A


def test_a_known_relationship_matrix():
    A = pedigree()
    labels = [f"animal {k}" for k in range(8)]
    rows = data().assign(animal=np.array(labels)[data()["g"] // 2 + 4])  # parents have no records
    known = structures.Known(sp.csc_array(np.linalg.inv(A)), labels)
    model = mixed.linear("y ~ x + (1 | animal)", rows, precision={"animal": known})
    at = data()["g"].to_numpy() // 2 + 4
    V = np.eye(len(rows)) + 0.8**2 * A[np.ix_(at, at)]
    np.testing.assert_allclose(model.deviance([0.8]), deviance_of(V), rtol=1e-10)
    fit = model.fit()
    effects = fit.ranef(variances=True)
    assert list(effects.effects["animal"].index) == labels
    # A parent's breeding value is predicted by its relatives: A_01 A_11^-1 of theirs.
    b = effects.effects["animal"]["Intercept"].to_numpy()
    expected = A[:4, 4:] @ np.linalg.solve(A[4:, 4:], b[4:])
    np.testing.assert_allclose(b[:4], expected, atol=1e-8)
    new = rows.iloc[:1].assign(animal="animal 0")
    np.testing.assert_allclose(fit.predict(new), fit.beta @ [1, new["x"].iloc[0]] + b[0])
    for bad, match in [
        ({"animal": structures.Known(known.Q, labels[:7])}, "a label for each of its rows"),
        ({"animal": structures.Known(known.Q, [*labels[:7], "other"])}, "are not"),
        ({"animal": structures.Known(-known.Q, labels)}, "positive definite"),
        ({"g": known}, "precisions for groups of terms"),
    ]:
        with pytest.raises(ValueError, match=match):
            mixed.linear("y ~ x + (1 | animal)", rows, precision=bad)


def test_a_field_of_precisions():
    """A proper CAR field over areas: a structure with a parameter of its own."""
    W = sp.csr_array((support.graph_laplacian(support.grid(2, 4)) < 0).astype(float))
    Q = precisions.leroux(W)
    plan = padchol.analyze(Q.pattern)
    values = Q.on(plan)
    field = structures.Field(
        lambda rho: values(1.0, jax.nn.sigmoid(rho[0])), plan, np.arange(G), ("mixing",), [0.0]
    )
    model = mixed.linear("y ~ x + (1 | g)", data(), precision={"g": field})
    dense = np.linalg.inv(Q.matrix(1.0, 1 / (1 + np.exp(-0.3))).toarray())
    g = data()["g"].to_numpy()
    V = np.eye(len(g)) + 0.7**2 * dense[np.ix_(g, g)]
    np.testing.assert_allclose(model.deviance([0.7, 0.3]), deviance_of(V), rtol=1e-10)


@pytest.mark.parametrize(
    ("term", "match"),
    [
        ("ar1(u | g)", "whole numbers as positions of ar1"),
        ("ar1(f | g)", "I\\(f\\)|one number"),
        ("cs(t + u | g)", "the name of a column"),
        ("ar1(t | g | f)", r"expected ar1\(positions \| group\)"),
    ],
)
def test_terms_that_make_no_sense(term, match):
    with pytest.raises(ValueError, match=match):
        mixed.linear(f"y ~ x + {term}", data())


GROUP = Levels.of(np.arange(6) % 2, "g")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: structures.Cs(np.zeros(6)), "two levels or more of cs in it; got one"),
        (
            lambda: structures.Matern(np.arange(6.0), 2.0),
            r"among \(0\.5, 1\.5, 2\.5\)",
        ),
        (lambda: structures.Matern(np.arange(5.0)), r"in it, \(6, d\) and finite; got .*\(5, 1\)"),
        (lambda: structures.Matern(np.zeros((6, 2))), "two points or more of matern in it"),
        (lambda: structures.Ar1(np.arange(5)), r"positions of ar1 in it, \(6,\) and finite"),
        (lambda: structures.Ar1(np.arange(6) * 10**6), "at most 100000 .* got 0 to 5000000"),
        (lambda: field([0, 1], first=[]), r"a first value for each of \('r',\) and 2 labels"),
        (lambda: field([0, 1, 2]), r"2 labels; got shape \(1,\) and 3"),
        (lambda: field([0, 0]), "labels of the precision for it that differ; got some twice"),
    ],
)
def test_structures_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make().over(GROUP, "it")


def field(labels, first=(0.0,)):
    plan = padchol.analyze(sp.eye_array(2, format="csc"))
    return structures.Field(lambda rho: jnp.exp(rho[0]) * jnp.ones(2), plan, labels, ("r",), first)


def test_matrices():
    rows = data()
    X = np.column_stack([np.ones(len(rows)), rows["x"]])
    ones = np.ones(len(rows))
    random = [mixed.Random(ones, rows["g"], structure=structures.Ar1(rows["t"]))]
    model = mixed.LinearMixedModel(rows["y"], X, random)
    by_formula = mixed.linear("y ~ x + ar1(t | g)", rows)
    theta = [0.9, 0.4]
    np.testing.assert_allclose(model.deviance(theta), by_formula.deviance(theta), rtol=1e-12)
    random = [mixed.Random(X, rows["g"], structure=structures.Ar1(rows["t"]))]
    with pytest.raises(ValueError, match="one column"):
        mixed.LinearMixedModel(rows["y"], X, random)
    with pytest.raises(ValueError, match="nagq"):
        mixed.generalized("k ~ x + ar1(t | g)", rows, "poisson", nagq=5)


@pytest.mark.slow
def test_animals_of_a_real_pedigree():
    """Breeding values of the warcolak pedigree, 5,400 animals, simulated and found again."""
    Q = sp.csc_array(matrix("ped_warcolak_Ainv"))
    n = Q.shape[0]
    plan = padchol.analyze(Q)
    a = padchol.cholesky(plan, plan.values(Q)).sample(jax.random.key(0))
    rng = np.random.default_rng(0)
    rows = pandas.DataFrame({"animal": np.tile(np.arange(n), 2), "x": rng.normal(size=2 * n)})
    rows["y"] = 1 + 0.5 * rows["x"] + 0.8 * np.asarray(a)[rows["animal"]] + rng.normal(size=2 * n)
    known = structures.Known(Q, np.arange(n))
    fit = mixed.linear("y ~ x + (1 | animal)", rows, precision={"animal": known}).fit()
    assert fit.converged
    assert abs(fit.sigma * fit.theta[0] - 0.8) < 0.06
    assert abs(fit.sigma - 1) < 0.03


def test_a_correlation_of_one_is_singular():
    r = np.random.default_rng(0)
    g, f = np.repeat(np.arange(30), 8), np.tile(list("abcd"), 60)
    y = 1 + r.normal(size=30)[g] + 0.5 * r.normal(size=240)
    fit = mixed.linear("y ~ 1 + cs(f | g)", pandas.DataFrame({"y": y, "g": g, "f": f})).fit()
    assert fit.singular == ("cs(f | g)",)
    assert fit.structure("cs(f | g)")["rho"] == pytest.approx(1.0, abs=1e-5)
    lost = explained(fit.terms, fit.minimum._replace(converged=False))
    assert lost.message.startswith("the correlation in cs(f | g) went to its boundary")

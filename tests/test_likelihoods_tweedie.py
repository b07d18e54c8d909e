"""The Tweedie density beside long sums of its series, and draws beside their moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from padchol import likelihoods

Y = np.array([0.0, 1e-3, 0.3, 1.0, 2.5, 7.0, 20.0, 50.0, 0.0, 4.0])
ETA = np.log(Y + 0.1) + np.linspace(-0.8, 0.9, len(Y))


def long_sum(y, eta, log_phi, p):
    """log p(y), and its derivatives in eta, log phi and p, from all terms that matter."""
    phi, mu, a = np.exp(log_phi), np.exp(eta), (2 - p) / (p - 1)
    rate = mu ** (2 - p) / (phi * (2 - p))
    of_p = rate * (-eta + 1 / (2 - p))
    if y == 0:
        return np.array([-rate, -(2 - p) * rate, rate, -of_p])
    k = y ** (2 - p) / (phi * (2 - p))
    j = np.arange(1, int(k + 20 * np.sqrt(k) + 300), dtype=float)
    log_z = a * np.log(y) - a * np.log(p - 1) - (1 + a) * log_phi - np.log(2 - p)
    terms = j * log_z - special.gammaln(j + 1) - special.gammaln(a * j)
    share = special.softmax(terms)
    slope_a = -1 / (p - 1) ** 2
    in_p = j * (slope_a * (np.log(y) - np.log(p - 1) - log_phi) - a / (p - 1) + 1 / (2 - p))
    in_p = in_p - j * slope_a * special.digamma(a * j)
    large = y * mu ** (1 - p) / (phi * (p - 1))
    value = -large - rate - np.log(y) + special.logsumexp(terms)
    return np.array([
        value,
        (p - 1) * large - (2 - p) * rate,
        large + rate - share @ j * (1 + a),
        large * (eta + 1 / (p - 1)) - of_p + share @ in_p,
    ])  # fmt: skip


def test_density_and_derivatives():
    def values(eta, log_phi, p):
        return likelihoods.tweedie(jnp.asarray(Y), jnp.exp(log_phi), p)(eta)

    slopes = [jax.grad(lambda *x: jnp.sum(values(*x)), k) for k in range(3)]
    found = jax.jit(lambda *x: jnp.stack([values(*x), *(slope(*x) for slope in slopes)]))
    for p in (1.08, 1.3, 1.5, 1.8, 1.95):
        for log_phi in (-2.0, 0.0, 2.0):
            at = [jnp.asarray(np.broadcast_to(x, Y.shape)) for x in (ETA, log_phi, p)]
            wanted = [long_sum(*each) for each in zip(Y, *map(np.asarray, at), strict=True)]
            np.testing.assert_allclose(found(*at).T, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_it_is_a_law():
    """Densities and the mass at zero have the sum one; what it says of moments and of P(Y <= y)."""
    phi, p, eta = 0.7, 1.4, 0.3
    y = np.concatenate([[0.0], np.exp(np.linspace(-30, 4.5, 4000))])
    terms = likelihoods.tweedie(y, phi, p)
    density = np.exp(terms(jnp.full(len(y), eta)))
    none, rest = density[0], np.trapezoid(density[1:] * y[1:], np.log(y[1:]))
    assert none + rest == pytest.approx(1, abs=1e-6)
    mean = np.trapezoid(density[1:] * y[1:] ** 2, np.log(y[1:]))
    assert mean == pytest.approx(np.exp(eta), abs=1e-5)
    middle = 3200
    below = none + np.trapezoid(
        density[1 : middle + 1] * y[1 : middle + 1], np.log(y[1 : middle + 1])
    )
    few = likelihoods.tweedie(y[[0, middle]], phi, p).cdf(jnp.full(2, eta))
    np.testing.assert_allclose(few, [none, below], atol=1e-6)


def test_draws():
    phi, p, n = 0.7, 1.6, 5_000
    eta = jnp.full(n, 0.5)
    terms = likelihoods.tweedie(np.ones(n), phi, p)
    drawn = terms.sampled(jax.random.key(0), eta)
    y, mu = np.asarray(drawn.y), np.exp(0.5)
    assert y.mean() == pytest.approx(mu, rel=0.05)
    assert y.var() == pytest.approx(phi * mu**p, rel=0.12)
    share = np.exp(terms.log_none(eta)[0])
    assert (y == 0).mean() == pytest.approx(share, abs=0.02)
    np.testing.assert_allclose(drawn(eta)[:5], likelihoods.tweedie(y, phi, p)(eta)[:5])


def test_what_does_not_fit():
    with pytest.raises(ValueError, match=r"power in \(1, 2\); got 2"):
        likelihoods.tweedie(np.ones(2), 1.0, 2.0)
    with pytest.raises(ValueError, match="dispersion > 0"):
        likelihoods.tweedie(np.ones(2), 0.0, 1.5)
    assert likelihoods.tweedie(-np.ones(2), 1.0, 1.5)(jnp.zeros(2))[0] == -jnp.inf

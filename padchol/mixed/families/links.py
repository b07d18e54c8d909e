"""Link functions: from the linear predictor of a model to that of its likelihood.

The likelihoods of `padchol.likelihoods` have links of their own: the logarithm of a mean, the logit
of a probability, or the mean as it is. Another link is a map from its predictor to theirs.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jaxtyping import Array, Float

from padchol.likelihoods import Likelihood
from padchol.likelihoods._functions import log1mexp

Map = Callable[[Float[Array, " m"]], Float[Array, " m"]]

# {link of the likelihood: {link of the model: predictor of the model to that of the likelihood}}
LINKS: dict[str, dict[str, Map]] = {
    "identity": {
        "identity": lambda eta: eta,
        "log": jnp.exp,
        "inverse": lambda eta: 1 / eta,
    },
    "log": {
        "log": lambda eta: eta,
        "identity": jnp.log,
        "sqrt": lambda eta: jnp.log(eta**2),
        "inverse": lambda eta: -jnp.log(eta),
    },
    "logit": {
        "logit": lambda eta: eta,
        "probit": lambda eta: log_ndtr(eta) - log_ndtr(-eta),
        "cloglog": lambda eta: jnp.exp(eta) + log1mexp(jnp.exp(eta)),
    },
}


def linked(likelihood: Likelihood, own: str, link: str) -> Likelihood:
    """The likelihood, whose own link is `own`, as a function of the predictor of another."""
    return likelihood if link == own else Linked(likelihood, own, link)


class Linked(Likelihood):
    """The likelihood at map(eta)"""

    likelihood: Likelihood
    own: str = eqx.field(static=True)
    link: str = eqx.field(static=True)

    @property
    def y(self) -> Array:
        return self.likelihood.y

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return self.likelihood(self._own(eta))

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """P(Y_i <= y_i | eta_i)"""
        return self.likelihood.cdf(self._own(eta))

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """E[Y_i | eta_i]"""
        return self.likelihood.mean(self._own(eta))

    def sampled(self, key: jax.Array, eta: Float[Array, " m"]) -> Linked:
        """The same likelihood of data drawn from it at eta."""
        return Linked(self.likelihood.sampled(key, self._own(eta)), self.own, self.link)

    def _own(self, eta: Array) -> Array:
        return LINKS[self.own][self.link](eta)

    def _shapes(self) -> list[tuple[int, ...]]:
        return self.likelihood._shapes()

"""A family: the law of a response given its linear predictor, and the parameters that the law has
of its own. A `Family` makes a `padchol.likelihoods.Likelihood` of data and predictors:

    y_i ~ law(eta_i; phi_i, ...),   link(mean) = eta,   log phi = X_d delta,   ...

    with zero=   y_i = 0 with probability pi_i, logit pi = X_z zeta, otherwise y_i ~ law
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol.likelihoods import Likelihood, excess_zeros, weighted
from padchol.mixed.columns import Matrix
from padchol.mixed.families.links import LINKS, linked
from padchol.mixed.families.predictors import Predictor, constant, predictor

REACH = 4.0  # of the logarithm or logit of a parameter, from its first value, where a search begins


class Data(eqx.Module):
    """The rows of a model: responses, numbers of trials and weights, where there are any."""

    y: Float[Any, " n"]  # of NumPy, or traced
    trials: Float[Any, " n"] | None = None
    weights: Float[Any, " n"] | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    """A law and its link; made by the functions of `padchol.mixed.families`.

    law: (data, phi, further parameters) to a likelihood of the predictor that has the link `own`.
    """

    name: str
    law: Callable[..., Likelihood]
    own: str
    link: str
    support: str  # of `SUPPORTS`
    dispersion: str = ""  # what phi is, in words; empty where there is none
    first_dispersion: Callable[[Data], float] = lambda data: 0.0
    dispersion_reach: float = REACH
    parameters: Callable[[Family, Data], tuple[Predictor, ...]] = lambda family, data: ()
    given: tuple[float, ...] = ()  # further parameters that are not estimated
    weigh: bool = True  # whether weights multiply the terms; the law has them otherwise
    intercept: bool = True
    labels: tuple[str, ...] = ()  # of categories
    prepare: Callable[[Data], Data] = lambda data: data

    def __post_init__(self):
        if self.link not in LINKS[self.own]:
            raise ValueError(
                f"expected one of the links {', '.join(LINKS[self.own])} for {self.name}; got "
                f"{self.link!r}"
            )

    def data(self, y: Any, trials: Any = None, weights: Any = None, zero: bool = False) -> Data:
        """The rows of a model, checked: `ValueError` for responses that the family cannot have."""
        data = Data(*(None if x is None else np.asarray(x, float) for x in (y, trials, weights)))
        if trials is not None and self.name != "binomial":
            raise ValueError(
                f"expected one response of the family {self.name}; got successes | trials, which "
                "are for binomial"
            )
        if data.weights is not None:
            check_rows(data.weights, data.weights >= 0, "weights >= 0")
        data = self.prepare(data)
        fine, words = SUPPORTS[self.support]
        possible = fine(data)
        if zero:
            possible = possible | (data.y == 0)
        check_rows(data.y, possible, f"{words} as response of {self.name}")
        return data

    def model(
        self, data: Data, zero: Matrix | None = None, dispersion: Matrix | None = None
    ) -> tuple[Observed, tuple[Predictor, ...]]:
        """The likelihood as a function of predictors, and the predictors: of zeros, phi, others."""
        parts: list[Predictor] = []
        if zero is not None and self.support in ("real", "categories"):
            raise ValueError(
                f"expected no zero= for {self.name}; it is for counts, successes, and amounts and "
                "proportions with zeros"
            )
        if zero is not None:
            parts.append(_zeros(self, data, zero))
        if self.dispersion:
            options: Any = {
                "scale": "log",
                "about": f"phi: {self.dispersion}",
                "formula": "dispersion",
            }
            options["reach"] = self.dispersion_reach
            parts.append(_of(dispersion, "dispersion", self.first_dispersion(data), **options))
        elif dispersion is not None:
            raise ValueError(
                f"expected no dispersion= for {self.name}, which has no such parameter"
            )
        parts += self.parameters(self, data)
        return Observed(data, self, zero is not None), tuple(parts)


class Observed(eqx.Module):
    """The likelihood of data as a function of the predictors of zeros, phi and further parameters,
    as far as the family has them: each (n,), (1,) or one entry a parameter."""

    data: Data
    family: Family = eqx.field(static=True)
    zero: bool = eqx.field(static=True)

    def __call__(self, *predictors: Array) -> Likelihood:
        family, data, rest = self.family, self.data, list(predictors)
        logit = rest.pop(0) if self.zero else None
        values = [jnp.exp(rest.pop(0))] if family.dispersion else []
        y = jnp.asarray(data.y)
        inside = y if logit is None else _inside(family, y)
        law = family.law(eqx.tree_at(lambda d: d.y, data, inside), *values, *rest, *family.given)
        if logit is not None:
            law = excess_zeros(y, law, logit)
        law = linked(law, family.own, family.link)
        return law if data.weights is None or not family.weigh else weighted(law, data.weights)

    def values(self, *predictors: Array) -> list[Any]:
        """phi and further parameters of the law at these predictors."""
        rest = list(predictors)[int(self.zero) :]
        phi = [jnp.exp(rest.pop(0))] if self.family.dispersion else []
        return [*phi, *rest, *self.family.given]

    def sampled(self, key: Array, eta: Array, *predictors: Array) -> Observed:
        """The same with data drawn at these predictors."""
        y = self(*predictors).sampled(key, eta).y
        return eqx.tree_at(lambda observed: observed.data.y, self, y)

    def mean(self, eta: Array, *predictors: Array) -> Array:
        """E[y] of rows with these predictors, of one trial each; of any number of rows."""
        some = jnp.ones_like(eta)
        trials = None if self.data.trials is None else some
        return Observed(Data(some, trials), self.family, self.zero)(*predictors).mean(eta)

    @property
    def y(self) -> Array:
        """The responses."""
        return jnp.asarray(self.data.y)


def has_zeros(family: Family) -> bool:
    """Whether the law itself has zeros, so that more of them are an inflation."""
    return SUPPORTS[family.support][0](Data(np.zeros(1), np.ones(1)))[0]


def _inside(family: Family, y: Array) -> Array:
    """y, with another datum where a law without zeros has one."""
    return y if has_zeros(family) else jnp.where(y == 0, 1.0, y)


def _zeros(family: Family, data: Data, X: Matrix) -> Predictor:
    share = float(np.clip(np.mean(data.y == 0), 0.02, 0.98))
    share = share / 2 if has_zeros(family) else share
    kind = "zero inflation" if has_zeros(family) else "zeros (hurdle)"
    about = "probability of a zero beside those of the law" if has_zeros(family) else ""
    first = float(np.log(share / (1 - share)))
    return _of(X, kind, first, formula="zero", scale="logit", about=about, reach=REACH)


def _of(X: Matrix | None, title: str, first: float, **options: Any) -> Predictor:
    if X is not None and not X.names:
        raise ValueError(f"expected columns in the formula of the {title}; got none")
    if X is None or X.names == ("Intercept",):
        return constant(title, first, **options)
    return predictor(title, X.values, X.names, first, **options)


def check_rows(x: Any, fine: Any, expected: str) -> None:
    """Raises `ValueError` that names the first row of x that is not fine."""
    fine = np.asarray(fine)
    if not fine.all():
        row = int(np.argmin(fine))
        raise ValueError(f"expected {expected}; got {np.asarray(x)[row]:g} in row {row}")


def _whole(y: np.ndarray) -> np.ndarray:
    return y == np.round(y)


# {name: (whether a law can have these data, in words)}
SUPPORTS: dict[str, tuple[Callable[[Data], Any], str]] = {
    "real": (lambda d: np.isfinite(d.y), "numbers"),
    "counts": (lambda d: _whole(d.y) & (d.y >= 0), "counts 0, 1, 2, ..."),
    "positive counts": (lambda d: _whole(d.y) & (d.y >= 1), "counts 1, 2, ... (0 with zero=)"),
    "successes": (
        lambda d: _whole(d.y) & (d.y >= 0) & (d.y <= d.trials),
        "successes between 0 and the trials (successes | trials, or proportions with the trials "
        "as weights)",
    ),
    "positive": (lambda d: d.y > 0, "numbers > 0"),
    "amounts": (lambda d: d.y >= 0, "numbers >= 0"),
    "proportions": (lambda d: (d.y > 0) & (d.y < 1), "proportions between 0 and 1"),
    "categories": (lambda d: _whole(d.y) & (d.y >= 0), "categories"),
}

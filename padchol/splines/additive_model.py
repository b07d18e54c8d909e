"""Generalised additive models: a formula on data, fitted by restricted likelihood."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse as sp
from jaxtyping import Float

from padchol import likelihoods
from padchol.mixed import columns as read
from padchol.mixed.variables import named
from padchol.search import least
from padchol.splines.families import Family, family_of
from padchol.splines.fit import AdditiveFit
from padchol.splines.formula import split
from padchol.splines.frame import columns_of, response_of, used_rows
from padchol.splines.model import restricted
from padchol.splines.parametric import Parametric
from padchol.splines.restricted import Data, Estimate, Restricted, climb
from padchol.splines.terms import SmoothTerm, terms_of

ROUNDING = 1e-4  # relative error of what the data tell about polynomials at the largest lambda
BELOW = 1e-8  # least share of the penalty in H, term by term
REACH = 10.0  # how far from its start the logarithm of a likelihood's parameter is looked for


def additive(
    formula: str,
    data: Any,
    family: Callable[..., Any] | str = likelihoods.gaussian,
    *columns: str,
    weights: Any = None,
    offset: Any = None,
    select: bool = False,
) -> AdditiveModel:
    """The generalised additive model of a formula: see `padchol.splines.formula`.

        fit = padchol.splines.additive("y ~ z + s(x0, k=20) + te(x1, x2)", data).fit()

    data: a pandas DataFrame; rows with missing values in what is used are left out. family: one of
    `padchol.likelihoods` or its name, called with the response and the named columns of the data:
    `additive("hits ~ s(x)", data, likelihoods.binomial, "trials")`. Parameters that a family has of
    its own (dispersion of gaussian and gamma, size of negative_binomial, precision of beta, ...)
    are estimated. A response of two labels becomes 0 and 1 for a binomial, whose trials may also
    stand in the formula, `hits | trials ~ s(x)`.

    weights: a column or an array (m,). They divide the dispersion where there is one, and otherwise
    multiply the terms of the log likelihood. offset: a column or an array, beside those in the
    formula. select: a second penalty on each smooth, by which it may vanish (Marra & Wood 2011).

    Raises `ValueError` for what cannot be read or is not identifiable. Needs formulaic.
    """
    return AdditiveModel(formula, data, family_of(family), columns, weights, offset, select)


class AdditiveModel:
    """Data, smooths and plan of one model; made by `additive`.

    `restricted` and `observed` are for JAX: `model.restricted.log_restricted(z, model.observed)` is
    the restricted log likelihood of z, the log smoothing parameters followed by the logarithms of
    the family's own, differentiable in z and in every entry of `observed`.
    """

    def __init__(
        self,
        formula: str,
        data: Any,
        family: Family,
        columns: tuple[str, ...],
        weights: Any,
        offset: Any,
        select: bool,
    ):
        self.formula, self.family, self.columns = formula, family, columns
        self.parts = parts = split(formula)
        used, self.notes, extra = used_rows(parts, data, columns, weights, offset)
        self.data = used
        y, more = response_of(parts.left, used, family)
        self.parametric = Parametric(parts.fixed, used, data)
        self.notes += [*self.parametric.notes, *more]
        self.terms: list[SmoothTerm] = [
            term for call in parts.smooths for term in terms_of(call, used, select)
        ]
        (w, self.outer_offset), self._offset = extra, offset
        if not (w >= 0).all():
            raise ValueError(f"expected weights >= 0; got {w[~(w >= 0)][0]}")
        beside = columns_of(parts, used, family, columns)
        total = self.offset_of(used) + self.outer_offset
        self.notes += family.check(y, w, total, beside)
        others = tuple(map(jnp.asarray, beside))
        self.observed = Data(jnp.asarray(y), jnp.asarray(w), jnp.asarray(total), others)
        X = self.parametric
        smooths = [term.smooth for term in self.terms]
        self.restricted: Restricted = restricted(X.values, X.names, smooths, w, family)

    def __repr__(self) -> str:
        return f"AdditiveModel({self.formula!r}, {self.family.name}, {len(self.data)} rows)"

    @property
    def starts(self) -> np.ndarray:
        """Where the columns of each smooth begin, and the end of the last."""
        return np.cumsum([len(self.parametric.names), *(t.smooth.size for t in self.terms)])

    def penalties_of(self) -> list[slice]:
        """The smoothing parameters of each smooth."""
        ends = np.cumsum([0, *(len(term.smooth.roots) for term in self.terms)])
        return [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]

    def design(self, data: Any, *, new_levels: str = "error") -> sp.csr_array:
        """B (m, n) of other data."""
        if new_levels not in ("error", "zero"):
            raise ValueError(f"expected new_levels 'error' or 'zero'; got {new_levels!r}")
        read.check_data(data, set().union(*(term.variables for term in self.terms)))
        if not len(data):
            return sp.csr_array((0, self.restricted.plan.n))
        parts = [sp.csr_array(self.parametric.design(data))]
        parts += [term.design(data, new_levels == "zero") for term in self.terms]
        return sp.csr_array(sp.hstack(parts))

    def offset_beside(self, data: Any) -> Any:
        """That of the argument `offset` for other data: a column, or 0 where there was none.

        Raises `ValueError` where it was an array, which other data have not.
        """
        if self._offset is None:
            return 0.0
        if not isinstance(self._offset, str):
            raise ValueError(
                "expected the offset of the rows to predict, predict(data, offset=...); the model "
                "had an array"
            )
        read.check_data(data, [self._offset])
        return read.numbers_of(data, self._offset)

    def offset_of(self, data: Any) -> Float[np.ndarray, " m"]:
        """The sum of the formula's offsets."""
        total = np.zeros(len(data))
        for text in self.parts.offsets:
            alone, inside = named(f"0 + {text}", data)
            read.check_data(data, alone | inside)
            plain = data[sorted(alone | inside)].reset_index(drop=True)
            total = total + read.design(f"0 + {text}", plain).values.sum(1)
        return total

    def evaluate(self, log_smoothing: Any, log_parameters: Any = ()) -> Estimate:
        """The estimate at given log lambda, and logarithms of the family's own parameters."""
        z = np.concatenate([np.ravel(log_smoothing), np.ravel(log_parameters)]).astype(float)
        wanted = self.restricted.smoothings + len(self.family.parameters)
        if z.size != wanted:
            raise ValueError(
                f"expected {self.restricted.smoothings} smoothing and "
                f"{len(self.family.parameters)} other parameters; got {z.size} in all"
            )
        return climb(jnp.asarray(z), self.restricted, self.observed, self._begin())[0]

    def fit(self, start: Any = None) -> AdditiveFit:
        """The estimate at the largest restricted likelihood (REML).

        start: log lambda from which the search begins, by default where penalty and data weigh
        alike. On the host: `padchol.search.least` over one compiled program. Raises `RuntimeError`
        where the restricted likelihood is finite nowhere.
        """
        low, middle, high = self._range()
        if start is not None:
            given = np.broadcast_to(np.asarray(start, float), (self.restricted.smoothings,))
            middle = np.concatenate([given, middle[given.size :]])
        beta = self._begin()

        def loss(z):
            nonlocal beta
            found, slope = climb(jnp.asarray(z), self.restricted, self.observed, beta)
            if np.isfinite(found.log_restricted):
                beta = found.coefficients
            return -float(found.log_restricted), -np.asarray(slope, float)

        z = least(loss, middle, low, high) if middle.size else middle
        found = climb(jnp.asarray(z), self.restricted, self.observed, beta)[0]
        if not np.isfinite(found.log_restricted):
            raise RuntimeError(
                "no mode of the penalised likelihood was found: it may lie at infinity, as where "
                "an unpenalised function separates successes from failures"
            )
        return AdditiveFit(self, z, found)

    def _begin(self) -> Any:
        """Coefficients of a constant predictor, where there is an intercept."""
        beta = np.zeros(self.restricted.plan.n)
        if "Intercept" in self.parametric.names:
            beta[self.parametric.names.index("Intercept")] = self.constant_predictor()
        return jnp.asarray(beta)

    def constant_predictor(self) -> float:
        """The intercept of the model without anything else, 0 where that is not known."""
        family, (y, w, offset, columns) = self.family, map(_host, self.observed)
        deviance, inverse = family.deviance, family.inverse
        if deviance is None or inverse is None:
            return 0.0
        outcome, weight = family.outcome(y, *columns), w * family.counted(y, *columns)
        theta = family.begin(y)

        def total(eta):
            with np.errstate(all="ignore"):
                value = weight @ deviance(outcome, inverse(eta + offset), theta)
            return value if np.isfinite(value) else 1e300

        mean = weight @ outcome / weight.sum()
        guess = {"binomial": _logit(mean), "gaussian": mean}.get(
            family.name, math.log(max(mean, 1e-8))
        )
        near = guess - np.average(offset)
        return float(scipy.optimize.minimize_scalar(total, (near - 0.1, near + 0.1)).x)

    def _range(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(low, middle, high) of what is looked for: middle, where trace(B^T W B) is trace(S) term
        by term; high, where rounding leaves ROUNDING of what the data tell beside the penalty."""
        theta = np.log(np.asarray(self.family.begin(_host(self.observed.y)), float))
        w = _host(self.observed.weights)
        if self.family.name not in ("gaussian", "gamma"):
            at = jnp.concatenate([jnp.zeros(self.restricted.smoothings), jnp.asarray(theta)])
            w = _information(self, at)
        middle = []
        for term in self.terms:
            data = float(term.smooth.columns.power(2).T.dot(w).sum())
            sizes = [float(D.power(2).sum()) for D in term.smooth.roots]
            middle += [math.log(max(data, 1e-300) / size) for size in sizes]
        middle = np.array(middle)
        up = math.log(ROUNDING / float(jnp.finfo(jnp.result_type(float)).eps))
        reach = np.full(theta.size, REACH)
        low = np.concatenate([middle + math.log(BELOW), theta - reach])
        high = np.concatenate([middle + up, theta + reach])
        return low, np.concatenate([middle, theta]), high


def _information(model: AdditiveModel, z: Any) -> np.ndarray:
    """-d^2 log p / d eta^2 of the constant predictor, where it is positive."""
    import jax

    family, observed = model.family, model.observed
    theta = jnp.exp(z[model.restricted.smoothings :])
    terms = family.make(observed.y, observed.weights, theta, *observed.columns)
    eta = model.constant_predictor() + observed.offset
    slope = jax.grad(lambda eta: jnp.sum(terms(eta)))
    found = -np.asarray(jax.jvp(slope, (eta,), (jnp.ones_like(eta),))[1])
    return np.where(np.isfinite(found) & (found > 0), found, 1e-8)


def _host(x: Any) -> Any:
    return tuple(map(np.asarray, x)) if isinstance(x, tuple) else np.asarray(x)


def _logit(p: float) -> float:
    p = min(max(p, 1e-8), 1 - 1e-8)
    return math.log(p / (1 - p))

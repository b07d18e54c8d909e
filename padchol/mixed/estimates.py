"""The fit of a generalised model: its search, what is said of its end, and the covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import scipy.linalg

from padchol.mixed import basis, start
from padchol.mixed.boundary import explained, settled, singular
from padchol.mixed.families.predictors import Part, part
from padchol.mixed.objective import curvature
from padchol.mixed.optimise import Minimum, minimise
from padchol.mixed.refit import Refits, begin, refit_all
from padchol.mixed.report import Fit
from padchol.mixed.separation import endless

if TYPE_CHECKING:
    from padchol.mixed.glmm import GeneralizedLinearMixedModel

SIZES = (0.0, 0.25, 4.0)  # multiples of a term's T that are tried from the end of a search


class Search:
    """The deviance in the standard basis and in units of the spread of the data about the fixed
    effects, and where its search begins.

    units: of theta, beta and extra; `extra` are logarithms and logits, whose unit is one.
    """

    def __init__(self, model: GeneralizedLinearMixedModel, given: Any):
        self.effects, self.inside = model.effects, model.standard()
        self.first, unit, self.unusable = start.start(self.inside)
        n_theta, p, *rest = model.sizes
        self.unit, self.n_theta, self.parts = unit, n_theta, model.parts
        n_cov = model.effects.n_cov
        own = np.ones(n_theta - n_cov)
        self.units = np.concatenate(
            [np.full(n_cov, unit), own, np.full(p, unit), np.ones(sum(rest))]
        )
        self.even = np.concatenate([self.effects.on_diagonal, np.zeros(p + sum(rest), bool)])
        if given is not None:
            given = np.concatenate([np.asarray(each).ravel() for each in _flat(model, given)])
            self.first = model.to_standard(given) / self.units
            self.unusable = ""
        elif not self.unusable:
            for size in (1.0, 0.1, 0.01, 0.0):
                moved = self.first.copy()
                moved[:n_cov] *= size
                if np.isfinite(self.value_and_grad(moved)[0]):
                    self.first = moved
                    break

    def value_and_grad(self, x: Any) -> tuple[Any, Any]:
        value, gradient = self.inside.value_and_grad(jnp.asarray(x) * self.units)
        return value, gradient * self.units

    def others(self, x: np.ndarray) -> list[np.ndarray]:
        """Where another minimum may be: other sizes of a T, and parts brought back within reach."""
        found = basis.neighbours(self.effects, x, SIZES)
        at = x.size - sum(len(each.names) for each in self.parts)
        for each in self.parts:
            where = slice(at, at + len(each.names))
            at = where.stop
            near = each.near(x[where])
            if not np.array_equal(near, x[where]):
                moved = x.copy()
                moved[where] = near
                found.append(moved)
        return found


def _flat(model: GeneralizedLinearMixedModel, given: Any) -> list[Any]:
    theta, beta, extra = model.split(given)
    return [theta, beta, *extra]


def fit(model: GeneralizedLinearMixedModel, given: Any, **options: Any) -> Fit:
    """See `GeneralizedLinearMixedModel.fit`."""
    search = Search(model, given)
    found = minimise(
        search.value_and_grad, search.first, search.even, others=search.others, **options
    )
    found = settled(search.effects, found, search.value_and_grad)
    found = explained(search.effects, found)
    remark = search.unusable or endless(model, found, search.value_and_grad, search.units)
    if remark:
        found = found._replace(converged=False, message=remark)
    size = sum(model.sizes[1:])
    V = np.full((size, size), np.nan)
    if found.converged:
        V = _covariance(model, search, found.x)
    return _report(model, found, model.to_user(found.x * search.units), V)


def refits(model: GeneralizedLinearMixedModel, fit: Fit, responses: Any) -> Refits:
    """The model fitted to other responses, from the estimates of its fit."""
    extra = [each.parameters for each in fit.extras]
    search = Search(model, np.concatenate([fit.theta, fit.beta, *extra]))
    x, inverse = begin(fit.minimum.x, search.even, fit.minimum.curvature)
    found = refit_all(search.inside, responses, x, inverse, jnp.asarray(search.units))
    x, deviance, _, converged = (np.asarray(each) for each in (found[0], found[1], 0, found[3]))
    user = np.stack([model.to_user(each * search.units) for each in x])
    theta, beta, extra = np.split(user, np.cumsum(model.sizes)[:2], axis=1)
    return Refits(theta, beta, None, deviance, converged, extra)


def _covariance(model: GeneralizedLinearMixedModel, search: Search, x: np.ndarray) -> np.ndarray:
    """Of (beta, extra). A direction of theta without curvature, on which nothing depends, is left
    out (as in two terms of one group)."""
    H, k = curvature(search.value_and_grad, x), search.n_theta
    nothing = np.full((x.size - k, x.size - k), np.nan)
    if not np.isfinite(H).all():
        return nothing
    S = H[k:, k:] - H[k:, :k] @ np.linalg.pinv(H[:k, :k], 1e-8, hermitian=True) @ H[:k, k:]
    if min(np.linalg.eigvalsh(each).min(initial=np.inf) for each in (S, H[k:, k:])) <= 0:
        return nothing
    root = scipy.linalg.solve_triangular(model.triangle(), np.diag(search.units[k:]))
    return 2 * root @ np.linalg.solve(S, root.T)


def _report(
    model: GeneralizedLinearMixedModel, found: Minimum, parameters: np.ndarray, V: np.ndarray
) -> Fit:
    u = model.mode(parameters)
    theta, beta, *extra = np.split(parameters, np.cumsum(model.sizes)[:-1])
    b = model.effects.times(model.effects.factors(jnp.asarray(theta)), u)
    p = len(beta)
    how = "Laplace" if model.nagq == 1 else f"adaptive quadrature, {model.nagq} nodes"
    return Fit(
        theta=theta,
        theta_names=model.effects.names,
        beta=beta,
        names=model.names,
        covariance=V[:p, :p],
        sigma=None,
        deviance=found.value,
        effects=model.effects.split(np.asarray(b)),
        terms=model.effects,
        criterion=f"deviance ({how})",
        n=model.Q.shape[0],
        notes=model.notes,
        minimum=found,
        singular=singular(model.effects, found.x[: model.effects.n_theta]),
        model=model,
        extras=_parts(model, extra, V[p:, p:]),
    )


def _parts(
    model: GeneralizedLinearMixedModel, extra: list[np.ndarray], V: np.ndarray
) -> tuple[Part, ...]:
    found, at = [], 0
    for each, c in zip(model.parts, extra, strict=True):
        where = slice(at, at + c.size)
        found.append(part(each, c, V[where, where]))
        at = where.stop
    return tuple(found)

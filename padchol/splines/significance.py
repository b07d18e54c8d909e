"""Tests that a smooth is zero, and of single coefficients.

A smooth with unpenalised functions: with R^T R = X^T W X of its columns, f = R beta, V its Bayesian
covariance, and r the reference degrees of freedom, 2 tr(F) - tr(F F) of its part of F = H^-1 X^T W
X, the statistic is T = f^T V^{r-} f with a pseudo-inverse of rank r. For r = k + v, k whole,

    V^{r-} = U diag(1 / l_1, ..., 1 / l_{k-1}, B, 0, ...) U^T,  B = A [1, b; b, v] A,
    A = diag(l_k, l_{k+1})^{-1/2},  b = sqrt(v (1 - v) / 2)

for the eigenvalues l of V, and under the hypothesis T is chi-squared on k - 1 degrees plus
v_1 times and v_2 times one on one degree, v_1 and v_2 = (v + 1 +- sqrt(1 - v^2)) / 2 (Wood 2013,
Biometrika 100(1), 221-228). The sign of b is arbitrary; the mean of both probabilities is given.

A smooth of which all is penalised (random effects, cyclic smooths): T = b^T V^-1 b, whose law is a
sum of chi-squared variables times the eigenvalues of V^-1 C, C the covariance of the estimate b
where the true one is zero and other such smooths are as they were estimated (after Wood 2013,
Biometrika 100(4), 1005-1010).

Where the dispersion is estimated, T / phi is compared with a ratio to a chi-squared variable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from scipy import stats

from padchol.splines.mixtures import upper_tail

if TYPE_CHECKING:
    from padchol.splines.fit import AdditiveFit

WHOLE = 1e-6  # a rank this near to a whole number is that
NOTHING = 1e-12  # of the largest eigenvalue: what is less is none
ALONE = 1e-9  # of the trace of X^T W X, what a direction has at least that counts


class Test(NamedTuple):
    """edf, reference degrees of freedom, T (F = T / reference where phi is estimated), p."""

    edf: float
    reference: float
    statistic: float
    p: float


class Wald(NamedTuple):
    """Each one number for a coefficient; z, or t where phi is estimated."""

    estimate: float
    se: float
    statistic: float
    p: float


class Part(NamedTuple):
    """What the tests take of one smooth."""

    beta: Float[np.ndarray, " k"]
    information: Float[np.ndarray, "k k"]  # X^T W X
    V: Float[np.ndarray, "k k"]  # covariance
    information_across: Float[np.ndarray, "n k"]  # X^T W X H^-1, columns of the smooth
    FF: Float[np.ndarray, "k k"]  # the smooth's block of F F
    rank: int  # of its columns beside the unpenalised functions of the model


def of_smooth(fit: AdditiveFit, name: str) -> Test:
    part = _part(fit, name)
    term = fit.model.terms[fit.smooths.index(name)]
    edf = fit.edf[name]
    if not term.smooth.null.shape[1]:
        return _of_effects(fit, name, part)
    reference = min(2 * edf - float(np.trace(part.FF)), part.beta.size)
    root = _root(part.information)
    statistic, probabilities = 0.0, []
    for value, weights, degrees in _statistics(root @ part.beta, root @ part.V @ root.T, reference):
        statistic += value / 2
        probabilities.append(_probability(fit, value, weights, degrees))
    shown = statistic / (reference if _estimated(fit) else 1.0)
    return Test(edf, reference, shown, float(np.mean(probabilities)))


def of_columns(fit: AdditiveFit) -> dict[str, Wald]:
    """t on n - edf degrees of freedom where phi is estimated, otherwise z."""
    names = fit.model.parametric.names
    rows = sp.csr_array(sp.eye_array(fit.coefficients.size))[: len(names)]
    se = np.sqrt(fit.variances(rows))
    found = {}
    for name, b, s in zip(names, fit.coefficients.tolist(), se.tolist(), strict=False):
        law: Any = stats.t(_residual_df(fit)) if _estimated(fit) else stats.norm()
        found[name] = Wald(b, s, b / s, float(2 * law.sf(abs(b / s))))
    return found


def _part(fit: AdditiveFit, name: str) -> Part:
    """From columns of H^-1: those of the smooth."""
    where = fit.columns(name)
    n = fit.coefficients.size
    E = sp.csr_array(sp.eye_array(n))[where]
    half = fit._covariance.half(E)
    V = half.T @ half
    W = np.asarray(fit._estimate.information)
    X = sp.csr_array(fit.model.design(fit.model.data))
    data = sp.csr_array(X.T @ sp.diags_array(W) @ X)
    S = precision(fit, fit.model.terms[fit.smooths.index(name)])
    across = fit._covariance.inverse_columns(where)  # H^-1 E, (n, k)
    loaded = data @ across  # X^T W X H^-1 E, the transpose of rows of F
    F_columns = -across @ S
    F_columns[where] += np.eye(S.shape[0])
    information = data[where][:, where].toarray()
    N = _unpenalised(fit)
    beside = data[where] @ N
    left = information - beside @ np.linalg.lstsq(N.T @ (data @ N), beside.T, rcond=None)[0]
    rank = int(np.sum(np.linalg.eigvalsh(left) > ALONE * np.trace(information)))
    return Part(fit.coefficients[where], information, V, loaded, loaded.T @ F_columns, rank)


def _unpenalised(fit: AdditiveFit) -> Float[np.ndarray, "n q"]:
    """Coefficients of what no penalty sees."""
    n, p = fit.coefficients.size, len(fit.model.parametric.names)
    parts = [np.eye(n, p)]
    for term in fit.model.terms:
        inner = term.smooth.null
        outer = np.zeros((n, inner.shape[1]))
        outer[fit.columns(term.label)] = inner
        parts.append(outer)
    return np.hstack(parts)


def _root(A: np.ndarray) -> np.ndarray:
    """R with R^T R = A, of a semi-definite A."""
    values, vectors = np.linalg.eigh(A)
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


def _statistics(f: np.ndarray, V: np.ndarray, rank: float):
    """(T, weights and degrees of its law), for both signs of b."""
    values, U = np.linalg.eigh((V + V.T) / 2)
    values, U = values[::-1], U[:, ::-1]
    kept = values > values[0] * NOTHING
    rank = min(rank, float(kept.sum()))
    z = U.T @ f / np.sqrt(np.where(kept, values, 1.0))
    whole = int(np.floor(rank + WHOLE))
    v = rank - whole
    if v < WHOLE or whole >= kept.sum():
        value = float(z[:whole] @ z[:whole])
        found = (value, np.ones(1), np.array([float(whole)]))
        return [found, found]
    if whole == 0:  # less than one degree: the first direction, in part
        found = (v * float(z[0] ** 2), np.array([v]), np.ones(1))
        return [found, found]
    b, start = np.sqrt(v * (1 - v) / 2), float(z[: whole - 1] @ z[: whole - 1])
    ends = (v + 1 + np.array([1, -1]) * np.sqrt(1 - v**2)) / 2
    weights, degrees = np.array([1.0, *ends]), np.array([whole - 1.0, 1.0, 1.0])
    one, two = z[whole - 1], z[whole]
    return [
        (start + one**2 + v * two**2 + sign * 2 * b * one * two, weights, degrees)
        for sign in (1, -1)
    ]


def _of_effects(fit: AdditiveFit, name: str, part: Part) -> Test:
    """T = b^T V^-1 b; the reference is the number of directions that the columns have beside those
    of no penalty."""
    chol = np.linalg.cholesky(part.V)
    half = np.linalg.solve(chol, part.beta)
    value = float(half @ half)
    spread = np.linalg.solve(chol, np.linalg.solve(chol, _under_zero(fit, name, part)).T)
    weights = np.maximum(np.linalg.eigvalsh((spread + spread.T) / 2), 0)
    p = _probability(fit, value, weights, np.ones(weights.size))
    k = float(part.rank)
    return Test(fit.edf[name], k, value / (k if _estimated(fit) else 1), p)


def _under_zero(fit: AdditiveFit, name: str, part: Part) -> Float[np.ndarray, "k k"]:
    """The covariance of the smooth's estimate b where its true one is zero, of y that varies by its
    own law and by the other smooths of which all is penalised."""
    across = fit._covariance.inverse_columns(fit.columns(name))
    own = part.information_across.T @ across  # E^T H^-1 X^T W X H^-1 E
    for term in fit.model.terms:
        if term.label == name or term.smooth.null.shape[1]:
            continue
        S = precision(fit, term)
        loaded = part.information_across[fit.columns(term.label)].T  # E^T H^-1 X^T W X_k
        own = own + loaded @ np.linalg.solve(S, loaded.T)
    return fit._covariance.scale * own


def precision(fit: AdditiveFit, term: Any) -> Float[np.ndarray, "k k"]:
    """The smooth's part of S in H."""
    smoothing = np.exp(fit.log_smoothing[term.label])
    if fit.model.family.dispersed and fit.model.family.parameters:
        smoothing = smoothing / fit.scale
    pairs = zip(smoothing, term.smooth.roots, strict=True)
    return sum((a * (D.T @ D).toarray() for a, D in pairs), np.zeros((term.smooth.size,) * 2))


def _probability(fit: AdditiveFit, value: float, weights: np.ndarray, degrees: np.ndarray) -> float:
    """P(T > value) for the sum of weights times chi-squared variables."""
    if not _estimated(fit):
        return upper_tail(weights, degrees, value)
    left = _residual_df(fit)
    if weights.size == 1:
        return float(stats.f.sf(value / weights[0] / degrees[0], degrees[0], left))
    return upper_tail(np.append(weights, -value / left), np.append(degrees, left))


def _estimated(fit: AdditiveFit) -> bool:
    return fit.model.family.dispersed


def _residual_df(fit: AdditiveFit) -> float:
    return fit.n - fit.edf_total

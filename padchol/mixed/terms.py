"""Random-effects terms (x | g), and the relative covariance factor Lambda that theta describes.

    b = Lambda u,   Lambda = diag over the terms of I (x) T,   u ~ N(0, s^2 I)

A term has x (n, p), the columns whose coefficients vary, and `levels` groups. Its p coefficients of
one level have the covariance s^2 T T^T, T (p, p) lower triangular. theta holds the lower triangles
of the T's, term by term and column by column, as in lme4 (Bates, Maechler, Bolker & Walker 2015, J.
Stat. Softw. 67(1), section 2.2). The coefficients are counted term by term, level by level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float, Int

from padchol.mixed.levels import Levels
from padchol.mixed.structures.structure import Structure


class Random(NamedTuple):
    """One term: x (n, p) real, group (n,) of any labels, or `Levels`. The models make tables of it.

    structure: what correlates the levels, of `padchol.mixed.structures`; x then has one column. A
    second term of one name is counted on, `g` and `g.1`; formulas give such terms their own text.
    """

    x: Any
    group: Any
    name: str = ""
    columns: tuple[str, ...] = ()
    structure: Any = None


class Labels:
    """The labels of a term's levels, compared by what they are, so that a model that comes out of a
    compiled function has its own."""

    def __init__(self, values: np.ndarray):
        self.values = values
        self._known = (str(values.dtype), tuple(values.tolist()))
        self._hash = hash(self._known)

    def __eq__(self, other: Any) -> bool:
        return self is other or (
            isinstance(other, Labels) and self._hash == other._hash and self._known == other._known
        )

    def __hash__(self) -> int:
        return self._hash


class Term(NamedTuple):
    """Where a term's coefficients and parameters are."""

    name: str
    columns: tuple[str, ...]
    levels: int
    labels: Labels
    start: int  # of its coefficients among all
    theta_start: int
    structured: bool = False  # whether its levels are correlated
    rho: tuple[str, ...] = ()  # parameters of its structure, which stand at the end of theta
    kinds: tuple[str, ...] = ()  # "correlation": artanh; "scale": log; "coefficient"

    @property
    def p(self) -> int:
        return len(self.columns)

    @property
    def size(self) -> int:
        return self.p * self.levels

    @property
    def where(self) -> slice:
        return slice(self.start, self.start + self.size)

    def factor(self, theta: Float[Array, " theta"]) -> Float[Array, "p p"]:
        """T, lower triangular."""
        cols, rows = np.triu_indices(self.p)
        part = theta[self.theta_start : self.theta_start + rows.size]
        return jnp.zeros((self.p, self.p), theta.dtype).at[rows, cols].set(part)


class Effects(eqx.Module):
    """All terms of a model: static facts of the layout of b and theta."""

    terms: tuple[Term, ...] = eqx.field(static=True)

    @property
    def q(self) -> int:
        """Number of coefficients."""
        return sum(term.size for term in self.terms)

    @property
    def n_cov(self) -> int:
        """Number of entries of the T's."""
        return sum(term.p * (term.p + 1) // 2 for term in self.terms)

    @property
    def n_theta(self) -> int:
        """With the parameters of structures."""
        return self.n_cov + sum(len(term.rho) for term in self.terms)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of the parameters of structures."""
        return tuple(kind for term in self.terms for kind in term.kinds)

    @property
    def on_diagonal(self) -> np.ndarray:
        """(n_theta,): which parameters are diagonal entries of a T, to be kept >= 0."""
        parts = [np.equal(*np.triu_indices(term.p)) for term in self.terms]
        return np.concatenate([np.zeros(0, bool), *parts, np.zeros(len(self.kinds), bool)])

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each parameter: g[x] is the diagonal entry of T at the column x of the term g,
        a standard deviation relative to sigma; g[x, z] is the entry below it in row x, column z;
        g:rho is a parameter of its structure."""
        own = tuple(f"{t.name}:{rho}" for t in self.terms for rho in t.rho)
        return (
            *(
                f"{t.name}[{t.columns[i]}]"
                if i == j
                else f"{t.name}[{t.columns[i]}, {t.columns[j]}]"
                for t in self.terms
                for j, i in zip(*np.triu_indices(t.p), strict=True)
            ),
            *own,
        )

    def rho(self, theta: Any) -> Any:
        """The parameters of structures, as they are sought."""
        return theta[self.n_cov : self.n_theta]

    def check(self, theta: Any) -> Float[Array, " theta"]:
        theta = jnp.asarray(theta, float)
        if theta.shape != (self.n_theta,):
            raise ValueError(f"expected theta of shape ({self.n_theta},); got {theta.shape}")
        return theta

    def factors(self, theta: Float[Array, " theta"]) -> list[Float[Array, "p p"]]:
        """T of each term."""
        return [term.factor(theta) for term in self.terms]

    def times(self, factors: Sequence[Any], u: Float[Array, " q"]) -> Float[Array, " q"]:
        """Lambda u, given the T of each term, which may be any (p, p) matrix."""
        pairs = zip(self.terms, factors, strict=True)
        rows = [u[t.where].reshape(-1, t.p) @ T.T for t, T in pairs]
        return jnp.concatenate([jnp.zeros(0, u.dtype), *(row.reshape(-1) for row in rows)])

    def transposed(self, factors: Sequence[Any], v: Float[Array, "q k"]) -> Float[Array, "q k"]:
        """Lambda^T v"""
        parts = [
            jnp.einsum("ca,lck->lak", T, v[t.where].reshape(-1, t.p, v.shape[1]))
            for t, T in zip(self.terms, factors, strict=True)
        ]
        return jnp.concatenate([v[:0], *(part.reshape(-1, v.shape[1]) for part in parts)])

    def split(self, b: Float[np.ndarray, " q"]) -> dict[str, np.ndarray]:
        """The coefficients by name of term, each (levels, p)."""
        return {t.name: np.asarray(b[t.where]).reshape(-1, t.p) for t in self.terms}


class Tables(NamedTuple):
    """The layout of the terms; of each the rows of x, the codes of its levels, its structure."""

    effects: Effects
    rows: list[Float[np.ndarray, "n p"]]
    codes: list[Int[np.ndarray, " n"]]
    structures: list[Structure | None]


def tables(n: int, random: Sequence[Random]) -> Tables:
    """What the models make of their terms.

    Raises `ValueError` for a term whose length is not n, whose values are not finite, or whose
    labels are missing.
    """
    terms, rows, codes, structures = [], [], [], []
    start = theta_start = 0
    for k, given in enumerate(random):
        name = given.name or f"term {k + 1}"
        x, group = np.asarray(given.x, float), Levels.of(given.group, name)
        x = x[:, None] if x.ndim == 1 else x
        if x.ndim != 2 or x.shape[0] != n or len(group) != n:
            raise ValueError(
                f"expected {name} with x of shape ({n}, p) and group of shape ({n},); "
                f"got {x.shape} and ({len(group)},)"
            )
        if not np.isfinite(x).all():
            raise ValueError(f"expected finite values in {name}; got NaN or infinity")
        columns = tuple(given.columns) or tuple(f"x{c}" for c in range(x.shape[1]))
        if len(columns) != x.shape[1]:
            raise ValueError(
                f"expected a name for each of the {x.shape[1]} columns of {name}; got {columns}"
            )
        structure: Structure | None = None
        own: Any = ()
        if given.structure is not None:
            if x.shape[1] != 1:
                raise ValueError(f"expected one column in {name}, a structured term; got {columns}")
            group, made = given.structure.over(group, name)
            structure, own = made, (True, made.names, made.kinds)
        structures.append(structure)
        labels, levels = Labels(group.labels), group.labels.size
        at = (start, theta_start, *own)
        terms.append(Term(_unused(name, terms), columns, levels, labels, *at))
        rows.append(x)
        codes.append(group.codes)
        start += terms[-1].size
        theta_start += terms[-1].p * (terms[-1].p + 1) // 2
    return Tables(Effects(tuple(terms)), rows, codes, structures)


def _unused(name: str, terms: list[Term]) -> str:
    """`name`, counted on where an earlier term has it."""
    taken = {term.name for term in terms}
    tries = (f"{name}.{k}" if k else name for k in range(len(terms) + 1))
    return next(each for each in tries if each not in taken)


def columns_of(term: Term, code: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n p"]:
    """The column of Z of each entry of x."""
    return term.start + term.p * code[:, None] + np.arange(term.p)


def in_short(model: Any) -> str:
    """A model in one line, for its repr."""
    formula = f"{model.reading.formula!r}, " if model.reading is not None else ""
    return (
        f"{type(model).__name__}({formula}{len(model.names)} fixed and {model.effects.q} random "
        "coefficients)"
    )


def design_matrix(
    effects: Effects, rows: list[np.ndarray], codes: list[np.ndarray], n: int
) -> sp.coo_array:
    """Z (n, q), its entries stored term by term and row by row."""
    at = [columns_of(t, code).ravel() for t, code in zip(effects.terms, codes, strict=True)]
    row = [np.repeat(np.arange(n), t.p) for t in effects.terms]
    none = np.zeros(0, int)
    data = np.concatenate([np.zeros(0), *(x.ravel() for x in rows)])
    where = (np.concatenate([none, *row]), np.concatenate([none, *at]))
    return sp.coo_array((data, where), shape=(n, effects.q))

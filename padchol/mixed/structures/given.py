"""Precisions that are given: known ones, as of related animals, and fields with parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array

from padchol.analysis import analyze
from padchol.factor import cholesky
from padchol.mixed.levels import Levels, key_of
from padchol.mixed.structures.structure import Levelled, Structure
from padchol.plan import Plan


class Known(NamedTuple):
    """A precision Q (levels, levels), sparse, and the label of each of its rows."""

    Q: Any
    labels: Any

    def over(self, group: Levels, name: str) -> Levelled:
        """The structure over the levels of the grouping factor of a term."""
        return _labelled(group, name, self.labels, self._structure(name))

    def _structure(self, name: str) -> Structure:
        Q: Any = sp.csc_array(self.Q)
        if Q.shape[0] != Q.shape[1] or len(self.labels) != Q.shape[0]:
            raise ValueError(
                f"expected a square precision for {name} and a label for each of its rows; got "
                f"shape {Q.shape} and {len(self.labels)} labels"
            )
        plan = analyze(Q)
        values = np.asarray(plan.values(Q))
        if int(cholesky(plan, jnp.asarray(values)).info):
            raise ValueError(f"expected a positive definite precision for {name}")
        return Structure(plan, (values,), np.zeros(0), _constant, (), ())


class Field(NamedTuple):
    """A precision on a plan, `values(rho)` with rho (k,) unconstrained, and the labels of its rows.

    names of the parameters and where the search begins. A field of `padchol.precisions`:

        values = Q.on(plan)
        Field(lambda rho: values(1.0, jnp.tanh(rho[0])), plan, labels, ("rho",), [0.0])
    """

    values: Callable[[Array], Array]
    plan: Plan
    labels: Any
    names: tuple[str, ...]
    first: Any

    def over(self, group: Levels, name: str) -> Levelled:
        """The structure over the levels of the grouping factor of a term."""
        first = np.asarray(self.first, float)
        if first.shape != (len(self.names),) or len(self.labels) != self.plan.n:
            raise ValueError(
                f"expected for {name} a first value for each of {self.names} and {self.plan.n} "
                f"labels; got shape {first.shape} and {len(self.labels)}"
            )
        kinds = ("coefficient",) * len(self.names)
        structure = Structure(self.plan, (), first, self.values, self.names, kinds)
        return _labelled(group, name, self.labels, structure)


def _constant(rho: Array, values: Array) -> Array:
    return jnp.asarray(values, rho.dtype)


def _labelled(group: Levels, name: str, labels: Any, structure: Structure) -> Levelled:
    """The labels of a precision as levels, in its order, whether a row has them or not."""
    known = {key_of(label): k for k, label in enumerate(np.asarray(labels).tolist())}
    if len(known) < len(labels):
        raise ValueError(f"expected labels of the precision for {name} that differ; got some twice")
    of_level = [known.get(key_of(label), -1) for label in group.labels.tolist()]
    if min(of_level) < 0:
        missing = [label for label, k in zip(group.labels.tolist(), of_level, strict=True) if k < 0]
        raise ValueError(
            f"expected levels of {name} among the labels of its precision; {missing[:5]} are not"
        )
    made = np.empty(len(labels), object)
    made[:] = np.asarray(labels).tolist()
    return Levelled(Levels(np.array(of_level)[group.codes], made), structure)

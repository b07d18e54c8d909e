"""The columns of a formula that are no smooths, for the data of the fit and for new ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from padchol.mixed import columns as read
from padchol.mixed.fixed import full_rank
from padchol.mixed.levels import Levels
from padchol.mixed.variables import named, without_colours


class Parametric:
    """values (m, p), names and notes; `design` has the same columns of other data."""

    def __init__(self, text: str, used: Any, data: Any):
        import formulaic

        alone, inside = named(text, data)
        table, self.notes = read.usable(used, data, alone, inside)
        X = read.design(text, table)
        self.text, self.variables = text, sorted(alone | inside)
        self.categories = {
            name: list(Levels.of(table[name], name).labels)
            for name in self.variables
            if read.has_labels(table[name])
        }
        made: Any = formulaic.model_matrix(text, table, context={}, na_action="ignore")
        self.spec = made.model_spec
        self.kept, more = full_rank(X.values, X.names, hint="")
        self.notes = [*self.notes, *more]
        self.names = tuple(X.names[j] for j in self.kept)
        self.values: Float[np.ndarray, "m p"] = X.values[:, self.kept]

    def design(self, data: Any) -> Float[np.ndarray, "m p"]:
        """Of new data. `ValueError` for columns that are not there, and levels that are new."""
        import pandas
        from formulaic.errors import FormulaicError

        read.check_data(data, self.variables)
        found = {}
        for name in self.variables:
            column = read.plain(data[name])
            if name in self.categories:
                column = pandas.Series(known_levels(column, self.categories[name], name))
            found[name] = column
        table = pandas.DataFrame(found, index=pandas.RangeIndex(len(data)))
        try:
            X = self.spec.get_model_matrix(table, context={})
        except (FormulaicError, TypeError, ValueError) as error:
            raise ValueError(f"cannot evaluate {self.text!r}: {without_colours(error)}") from None
        return np.asarray(X, float)[:, self.kept]


def known_levels(column: Any, labels: list[Any], name: str) -> Any:
    """The column as a categorical of these levels; `ValueError` for others."""
    import pandas

    new = sorted({str(v) for v in set(column.dropna()) - set(labels)})
    if new:
        raise ValueError(
            f"expected levels of {name} that the model knows, {read.listed(map(str, labels))}; got "
            f"{read.listed(new)}"
        )
    return pandas.Categorical(column, categories=labels)

"""Small data of each family, drawn from NumPy's generators: a covariate, groups, a response."""

from __future__ import annotations

import functools
import json
import pathlib
import re

import numpy as np
import pandas

ROWS, GROUPS = 240, 24


@functools.cache
def simulated(kind: str) -> pandas.DataFrame:
    """Columns y, x, z (a factor of two levels), g (24 groups); of sums of trials also `trials`."""
    rng = np.random.default_rng(17)
    g = np.arange(ROWS) % GROUPS
    x, z = rng.normal(size=ROWS), rng.integers(2, size=ROWS)
    eta = 0.6 + 0.5 * x + 0.6 * rng.normal(size=GROUPS)[g]
    mu, p = np.exp(eta), 1 / (1 + np.exp(-eta))
    table = {"x": x, "z": np.array(["a", "b"])[z], "g": g}
    if kind == "binomial":
        table["trials"] = rng.integers(1, 9, size=ROWS)
        table["y"] = rng.binomial(table["trials"], p)
    else:
        table["y"] = np.round(_drawn(rng, kind, mu, p, eta, z), 6)
    return pandas.DataFrame(table)


def _drawn(rng, kind, mu, p, eta, z):
    if kind == "gaussian":
        return eta + np.exp(-0.5 + 0.7 * z) * rng.normal(size=ROWS)
    if kind == "gamma":
        shape = np.exp(0.8 - 0.5 * z)
        return mu * rng.gamma(shape) / shape
    if kind == "beta":
        return np.clip(rng.beta(6 * p, 6 * (1 - p)), 1e-4, 1 - 1e-4)
    if kind == "nbinom1":
        return rng.poisson(1.7 * rng.gamma(mu / 1.7))
    if kind == "nbinom2":
        return rng.poisson(mu * rng.gamma(1.4, size=ROWS) / 1.4)
    if kind == "tweedie":
        phi, power = 1.3, 1.6
        n = rng.poisson(mu ** (2 - power) / (phi * (2 - power)))
        size = (2 - power) / (power - 1) * n
        return np.where(n > 0, rng.gamma(np.maximum(size, 1e-9)), 0) * (
            phi * (power - 1) * mu ** (power - 1)
        )
    if kind == "ordinal":
        latent = eta + rng.logistic(size=ROWS)
        return np.sum(latent[:, None] > np.array([-0.8, 0.5, 1.9]), 1)
    raise ValueError(f"no data of the kind {kind!r}")


# ---- published counts, which are kept in mixed_counts.json ---------------------------------------


@functools.cache
def _published() -> dict:
    return json.loads(pathlib.Path(__file__).with_name("mixed_counts.json").read_text())


@functools.cache
def salamanders() -> pandas.DataFrame:
    """Columns count, site, mined (yes, no), spp: 644 rows."""
    found = _published()["salamanders"]
    rows = []
    for site, text in found["counts"].items():
        for spp, samples in zip(found["species"], text.split(), strict=True):
            for one in re.findall(r"\d|\(\d+\)", samples):
                rows.append((int(one.strip("()")), site, site in found["mined"], spp))
    table = pandas.DataFrame(rows, columns=["count", "site", "mined", "spp"])
    table["mined"] = pandas.Categorical(np.where(table.mined, "yes", "no"), ["yes", "no"])
    table["spp"] = pandas.Categorical(table.spp, found["species"])
    return table

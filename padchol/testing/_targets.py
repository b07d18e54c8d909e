"""Public functions, a call of each that is right, and what each of its arguments asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.sparse as sp

import padchol
from padchol import assembly, gmrf, likelihoods, precisions
from padchol.inla import priors
from padchol.laplace import design, laplace
from padchol.testing import _junk as junk
from padchol.testing._junk import N, Pool


class Target(NamedTuple):
    """A function with good arguments by name, and the pool of bad ones for some of them."""

    name: str
    call: Callable[..., Any]
    good: dict[str, Any]
    bad: dict[str, Pool]

    @property
    def untouched(self) -> bool:
        """Whether it takes sparse matrices, and nothing is compiled for other entries of them."""
        matrices = any(sp.issparse(x) for x in self.good.values())
        return matrices and self.name not in ("solve", "logdet", "GMRF.condition", "kron")


def _call(function: Callable, names: str, options: str = "") -> Callable[..., Any]:
    """The function of positional arguments with these names, and of options."""

    def called(**given):
        return function(
            *(given[k] for k in names.split()), **{k: given[k] for k in options.split()}
        )

    return called


@lru_cache(maxsize=1)
def targets() -> tuple[Target, ...]:
    """All of them."""
    A = sp.csc_array(sp.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(N, N)))
    plan = padchol.analyze(A)
    return (
        *_core(A, plan),
        *_assembly(A, plan),
        *_fields(A, plan),
        *_precisions(),
        *_laws(),
        *_models(A, plan),
    )


def _core(A: Any, plan: padchol.Plan) -> list[Target]:
    a, b = plan.values(A), np.ones(N)
    F, key = padchol.cholesky(plan, a), jax.random.key(0)
    M = F.update(np.ones((N, 2)))
    of = lambda x, name, names, **bad: Target(
        f"{type(x).__name__}.{name}", _call(getattr(x, name), " ".join(names)), names, bad
    )
    analysed = {"A": A, "order": "auto", "device": "cpu", "shards": 1, "costs": None}
    asked = {"A": junk.MATRIX, "order": junk.ORDER, "device": junk.NAME}
    asked |= {"shards": junk.COUNT, "costs": {k: v for k, v in junk.PLAN.items() if k != "None"}}
    matrix = {
        k: v for k, v in junk.VALUED.items() if k not in ("another order", "outside of the pattern")
    }
    found = [
        Target(
            "analyze", _call(padchol.analyze, "A", "order device shards costs"), analysed, asked
        ),
        Target(
            "cholesky",
            _call(padchol.cholesky, "plan a"),
            {"plan": plan, "a": a},
            {"plan": junk.PLAN, "a": junk.VECTOR},
        ),
        Target(
            "structured_copy",
            _call(padchol.structured_copy, "plan a"),
            {"plan": plan, "a": a},
            {"plan": junk.PLAN, "a": junk.VECTOR},
        ),
        Target(
            "solve", _call(padchol.solve, "A b"), {"A": A, "b": b}, {"A": matrix, "b": junk.VECTOR}
        ),
        Target("logdet", _call(padchol.logdet, "A"), {"A": A}, {"A": matrix}),
        Target("load", _call(padchol.load, "path"), {}, {"path": junk.PATH}),
        of(plan, "values", {"A": A}, A=junk.VALUED),
        of(
            plan,
            "add_diagonal",
            {"a": a, "d": b},
            a=junk.VECTOR,
            d={k: v for k, v in junk.VECTOR.items() if k != "a number"},
        ),
        of(F, "sample", {"key": key, "shape": ()}, key=junk.KEY, shape=junk.SHAPE),
        of(
            F,
            "update",
            {"U": b, "sign": 1},
            U=junk.VECTOR,
            sign={k: v for k, v in junk.PARAMETER.items() if k != "a vector"},
        ),
        of(M, "sample", {"key": key, "shape": ()}, key=junk.KEY, shape=junk.SHAPE),
    ]
    for x, names in ((F, "solve solve_L solve_Lt apply_P apply_Pt"), (M, "solve quadratic")):
        found += [of(x, name, {"b": b}, b=junk.VECTOR) for name in names.split()]
    return found


def _assembly(A: Any, plan: padchol.Plan) -> list[Target]:
    B = sp.csr_array(np.eye(5, N))
    gram, kron = assembly.gram(plan, B), assembly.kron(plan, sp.eye_array(3), sp.eye_array(N // 3))
    blocks = assembly.blocks(plan, [[sp.eye_array(N)]])
    short = {k: v for k, v in junk.VECTOR.items()}
    parts = {k: v for k, v in junk.OBJECTS.items()} | {
        "too large": lambda rng: [[sp.eye_array(N + 1)]],
        "the upper triangle": lambda rng: [
            [sp.eye_array(3), sp.csr_array((3, N - 3))],
            [None, sp.eye_array(N - 3)],
        ],
        "sizes that differ": lambda rng: [
            [sp.eye_array(3)],
            [sp.csr_array((N - 3, 4)), sp.eye_array(N - 3)],
        ],
        "a number": lambda rng: 3,
        "numbers": lambda rng: [[1.0]],
        "nothing": lambda rng: [],
    }
    return [
        Target(
            "gram_pattern",
            _call(assembly.gram_pattern, "A"),
            {"A": A},
            {
                "A": {
                    k: v
                    for k, v in junk.MATRIX.items()
                    if k in junk.OBJECTS or k in ("a number", "one axis", "NaN indices")
                }
            },
        ),
        Target(
            "gram",
            _call(assembly.gram, "plan A"),
            {"plan": plan, "A": B},
            {"plan": junk.PLAN, "A": junk.OBLONG},
        ),
        Target("Gram()", _call(gram, "w"), {}, {"w": short}),
        Target("Gram.times", _call(gram.times, "x"), {}, {"x": short}),
        Target("Gram.t_times", _call(gram.t_times, "v"), {}, {"v": short}),
        Target(
            "Gram.diagonal",
            _call(gram.diagonal, "plan Z"),
            {"plan": plan, "Z": plan.values(A)},
            {"plan": junk.PLAN, "Z": short},
        ),
        Target(
            "kron",
            _call(assembly.kron, "plan A B"),
            {"plan": plan, "A": sp.eye_array(3), "B": sp.eye_array(4)},
            {"plan": junk.PLAN, "A": junk.OBLONG, "B": junk.OBLONG},
        ),
        Target(
            "kron()",
            _call(kron, "a b"),
            {"a": np.ones(3), "b": np.ones(4)},
            {"a": short, "b": short},
        ),
        Target("blocks", _call(assembly.blocks, "plan parts"), {"plan": plan}, {"parts": parts}),
        Target("Blocks()", _call(blocks, "data"), {}, {"data": short}),
    ]


def _fields(A: Any, plan: padchol.Plan) -> list[Target]:
    a, x, key = plan.values(A), np.ones(N), jax.random.key(0)
    walk = precisions.rw1(N).matrix(1.0)
    level = {
        "plan": plan,
        "a": plan.values(walk),
        "null": np.ones((N, 1)),
        "loc": 0.0,
        "constraints": np.ones((1, N)),
    }
    field, B = gmrf.GMRF(plan, a), sp.csr_array(np.eye(5, N))
    loc = {k: v for k, v in junk.VECTOR.items() if k != "a number"}
    rows = {
        k: v
        for k, v in junk.VECTOR.items()
        if k not in ("None", "half precision", "a scipy matrix")
    }
    point = {k: v for k, v in junk.VECTOR.items() if k != "an empty matrix"}
    seen = {"B": B, "y": np.ones(5), "noise_precision": 1.0}
    return [
        Target(
            "GMRF",
            _call(gmrf.GMRF, "plan a loc"),
            {"plan": plan, "a": a, "loc": 0.0},
            {"plan": junk.PLAN, "a": junk.VECTOR, "loc": loc},
        ),
        Target("GMRF.log_prob", _call(field.log_prob, "x"), {"x": x}, {"x": point}),
        Target(
            "GMRF.sample",
            _call(field.sample, "key shape"),
            {"key": key, "shape": ()},
            {"key": junk.KEY, "shape": junk.SHAPE},
        ),
        Target(
            "GMRF.condition",
            _call(field.condition, "B y noise_precision"),
            seen,
            {"B": junk.OBLONG, "y": loc, "noise_precision": loc},
        ),
        Target(
            "GMRF.constrain",
            _call(field.constrain, "C e"),
            {"C": np.ones((1, N)), "e": 0.0},
            {"C": rows, "e": {k: v for k, v in loc.items() if k != "half precision"}},
        ),
        Target(
            "IntrinsicGMRF",
            _call(gmrf.IntrinsicGMRF, "plan a null loc", "constraints"),
            level,
            {
                "plan": junk.PLAN,
                "a": junk.VECTOR,
                "null": rows | {"None": junk.OBJECTS["None"]},
                "loc": loc,
                "constraints": rows,
            },
        ),
    ]


def _precisions() -> list[Target]:
    W = sp.csr_array(sp.diags_array([1.0, 1.0], offsets=[-1, 1], shape=(N, N)))
    eye, walk = sp.eye_array(N, format="csr"), precisions.rw1(N)
    one = lambda name, names, good, **bad: Target(
        name, _call(getattr(precisions, name), names), good, bad
    )
    counts = {
        "iid": {},
        "ar1": {},
        "rw1": {},
        "rw2": {},
        "correlated": {"k": 2},
        "ar": {"p": 2},
        "seasonal": {"period": 3},
    }
    found = [
        one(name, "W", {"W": W}, W=junk.ADJACENCY)
        for name in ("icar", "proper_car", "leroux", "bym2", "scaled_laplacian")
    ]
    for name, more in counts.items():
        good = {"n": N, **more}
        found.append(one(name, " ".join(good), good, **dict.fromkeys(good, junk.COUNT)))
    positions = {
        k: v for k, v in junk.VECTOR.items() if k not in ("None", "half precision", "complex")
    }
    for name in ("rw1", "rw2"):
        call = _call(getattr(precisions, name), "n", "positions")
        found.append(Target(f"{name} at positions", call, {"n": N}, {"positions": positions}))
    other = {k: v for k, v in junk.OBJECTS.items()} | {
        "a number": lambda rng: 1.0,
        "a matrix": lambda rng: eye,
    }
    found += [
        one(
            "matern",
            "C G alpha",
            {"C": eye, "G": eye, "alpha": 2},
            C=junk.OBJECTS,
            G=junk.OBJECTS,
            alpha=junk.COUNT,
        ),
        one(
            "matern_parameters",
            "reach sigma",
            {"reach": 1.0, "sigma": 1.0},
            reach={k: v for k, v in junk.PARAMETER.items() if k != "a vector"},
            sigma={k: v for k, v in junk.PARAMETER.items() if k != "a vector"},
        ),
        one(
            "ar_parameters",
            "tau psi",
            {"tau": 1.0, "psi": 0.5},
            tau=junk.PARAMETER,
            psi=junk.CORRELATION,
        ),
        one("correlation_matrix", "rho", {}, rho=junk.CORRELATION),
        one("kronecker", "left right", {"left": walk, "right": walk}, left=other, right=other),
        one("grouped", "Q R", {"Q": walk, "R": walk}, Q=other, R=other),
        one("independent", "Q R", {"Q": walk, "R": walk}, Q=other, R=other),
        one("replicated", "Q count", {"Q": walk, "count": 2}, Q=other, count=junk.COUNT),
        one(
            "scaled_precision",
            "Q null",
            {"Q": walk.matrix(1.0), "null": np.ones((N, 1))},
            Q=junk.OBJECTS,
            null=junk.OBJECTS | junk.SHAPES,
        ),
        Target("Precision.matrix", _call(walk.matrix, "tau"), {}, {"tau": junk.PARAMETER}),
        Target("Precision.on", _call(walk.on, "plan"), {}, {"plan": junk.PLAN}),
    ]
    return found


def _laws() -> list[Target]:
    y, terms, positive = np.ones(5), junk.TERMS, junk.POSITIVE
    parameters = {
        "gaussian": "precision",
        "gamma": "shape",
        "poisson": "exposure",
        "binomial": "trials",
        "negative_binomial": "size exposure",
        "beta": "precision",
        "student_t": "precision degrees",
        "tweedie": "dispersion power",
    }
    law = lambda name, names, good, **bad: Target(
        f"likelihoods.{name}", _call(getattr(likelihoods, name), names), good, bad
    )
    found = []
    for name, others in parameters.items():
        good = {"y": y} | {k: 1.5 for k in others.split()}
        found.append(
            law(name, f"y {others}", good, y=terms, **dict.fromkeys(others.split(), positive))
        )
    known = likelihoods.poisson(np.ones(5))
    other = {k: v for k, v in junk.OBJECTS.items()} | {"a number": lambda rng: 1.0}
    found += [
        law(
            "ordinal",
            "y cuts",
            {"y": y, "cuts": np.arange(3.0)},
            y=terms,
            cuts=terms
            | {
                "decreasing": lambda rng: -np.arange(3.0),
                "none": lambda rng: np.zeros(0),
                "a number": lambda rng: 1.0,
            },
        ),
        law(
            "weibull",
            "time event shape",
            {"time": y, "event": y, "shape": 1.0},
            time=terms,
            event=terms | {"a half": lambda rng: 0.5},
            shape=positive,
        ),
        law(
            "cox", "points weights", {"points": y, "weights": y}, points=positive, weights=positive
        ),
        law("stacked", "one two", {"one": known, "two": known}, one=other, two=other),
        law("with_offset", "one offset", {"one": known, "offset": 1.0}, one=other, offset=terms),
        law("weighted", "one weights", {"one": known, "weights": 1.0}, one=other, weights=positive),
        law("truncated", "one", {}, one=other),
    ]
    prior = lambda name, good, **bad: Target(
        f"priors.{name}", _call(getattr(priors, name), " ".join(good)), good, bad
    )
    number, share = junk.PARAMETER, junk.PROBABILITY
    return [
        *found,
        prior("pc_precision", {"u": 1.0, "alpha": 0.5}, u=number, alpha=share),
        prior(
            "pc_range_sd",
            {"range0": 1.0, "alpha_range": 0.5, "sd0": 1.0, "alpha_sd": 0.5},
            range0=number,
            alpha_range=share,
            sd0=number,
            alpha_sd=share,
        ),
        prior("pc_ar1", {"u": 0.5, "alpha": 0.5}, u=share, alpha=share),
        prior("gamma", {"shape": 1.0, "rate": 1.0}, shape=number, rate=number),
        prior("gaussian", {"mean": 0.0, "precision": 1.0}, mean=junk.OBJECTS, precision=number),
    ]


def _models(A: Any, plan: padchol.Plan) -> list[Target]:
    B = sp.csr_array(np.eye(5, N))
    d, a, law = design(plan, B), plan.values(A), likelihoods.poisson(np.ones(5))
    short = likelihoods.poisson(np.ones(4))
    start = {k: v for k, v in junk.VECTOR.items() if k not in ("None", "a number")}
    good = {"design": d, "log_likelihood": law, "prior": a, "loc": 0.0, "start": None}
    bad = {
        "design": junk.PLAN,
        "log_likelihood": junk.FUNCTION | {"of other data": lambda rng: short},
    }
    bad |= {
        "prior": junk.VECTOR,
        "loc": {k: v for k, v in junk.VECTOR.items() if k != "a number"},
        "start": start,
    }
    return [
        Target(
            "design",
            _call(design, "plan B"),
            {"plan": plan, "B": B},
            {"plan": junk.PLAN, "B": junk.OBLONG},
        ),
        Target("Design()", _call(d, "x"), {}, {"x": junk.VECTOR}),
        Target("Design.t", _call(d.t, "v"), {}, {"v": junk.VECTOR}),
        Target("Design.with_entries", _call(d.with_entries, "data"), {}, {"data": junk.VECTOR}),
        Target("laplace", _call(laplace, "design log_likelihood prior loc", "start"), good, bad),
    ]

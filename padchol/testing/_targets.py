"""Public functions, a call of each that is right, and what each of its arguments asks for."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
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

OFFSETS: Any = (-1, 0, 1)  # of the diagonals of a line


class Target(NamedTuple):
    """A function with good arguments by name, and the pool of bad ones for each of them."""

    name: str
    call: Callable[..., Any]
    good: dict[str, Any]
    bad: dict[str, Pool]

    @property
    def untouched(self) -> bool:
        """Whether it takes sparse matrices, and nothing is compiled for other entries of them."""
        matrices = any(sp.issparse(x) for x in self.good.values())
        return matrices and self.name not in ("solve", "logdet", "GMRF.condition", "kron")


def target(name: str, function: Callable, options: Any = "", **arguments: Any) -> Target:
    """Of arguments (good, pool of bad ones), by position but for the options named."""
    by_name = options.split()

    def call(**given):
        positional = [x for name, x in given.items() if name not in by_name]
        return function(*positional, **{name: given[name] for name in by_name})

    good, bad = ({k: pair[i] for k, pair in arguments.items()} for i in range(2))
    return Target(name, call, good, bad)


@lru_cache(maxsize=1)
def targets() -> tuple[Target, ...]:
    """All of them."""
    A = sp.csc_array(sp.diags_array([-1.0, 2.5, -1.0], offsets=OFFSETS, shape=(N, N)))
    plan = padchol.analyze(A)
    on_plan = (part for make in (_core, _assembly, _fields, _models) for part in make(A, plan))
    return (*on_plan, *_precisions(), *_joint(), *_likelihoods(), *_priors())


def _draw() -> dict[str, Any]:
    return {"key": (jax.random.key(0), junk.KEY), "shape": ((), junk.SHAPE)}


def _core(A: Any, plan: padchol.Plan) -> list[Target]:
    a, b = plan.values(A), np.ones(N)
    F, draw = padchol.cholesky(plan, a), _draw()
    M = F.update(np.ones((N, 2)))
    on_plan = {"plan": (plan, junk.PLAN), "a": (a, junk.VECTOR)}
    analysis = {"order": ("auto", junk.ORDER), "device": ("cpu", junk.NAME)}
    analysis |= {"shards": (1, junk.COUNT), "costs": (None, junk.less(junk.PLAN, "None"))}
    columns = [
        *((F, name) for name in ("solve", "solve_L", "solve_Lt", "apply_P", "apply_Pt")),
        *((M, name) for name in ("solve", "quadratic")),
    ]
    return [
        target("analyze", padchol.analyze, " ".join(analysis), A=(A, junk.MATRIX), **analysis),
        target("cholesky", padchol.cholesky, **on_plan),
        target("structured_copy", padchol.structured_copy, **on_plan),
        target("solve", padchol.solve, A=(A, junk.ANALYSED), b=(b, junk.VECTOR)),
        target("logdet", padchol.logdet, A=(A, junk.ANALYSED)),
        target("load", padchol.load, path=("", junk.PATH)),
        target("Plan.values", plan.values, A=(A, junk.VALUED)),
        target("Plan.add_diagonal", plan.add_diagonal, a=on_plan["a"], d=(b, junk.NUMBERS)),
        target("Factor.sample", F.sample, **draw),
        target("Factor.update", F.update, U=(b, junk.VECTOR), sign=(1, junk.NUMBER)),
        target("LowRank.sample", M.sample, **draw),
        *(
            target(f"{type(x).__name__}.{name}", getattr(x, name), b=(b, junk.VECTOR))
            for x, name in columns
        ),
    ]


def _assembly(A: Any, plan: padchol.Plan) -> list[Target]:
    B, three, four = sp.csr_array(np.eye(5, N)), sp.eye_array(3), sp.eye_array(N // 3)
    gram, kron = assembly.gram(plan, B), assembly.kron(plan, three, four)
    blocks, on_plan = assembly.blocks(plan, [[sp.eye_array(N)]]), (plan, junk.PLAN)
    pattern = junk.OBJECTS | {k: junk.MATRIX[k] for k in ("a number", "one axis", "NaN indices")}
    vector = lambda size: (np.ones(size), junk.VECTOR)
    factors = {"A": (three, junk.OBLONG), "B": (four, junk.OBLONG)}
    return [
        target("gram_pattern", assembly.gram_pattern, A=(A, pattern)),
        target("gram", assembly.gram, plan=on_plan, A=(B, junk.OBLONG)),
        target("Gram()", gram, w=vector(5)),
        target("Gram.times", gram.times, x=vector(N)),
        target("Gram.t_times", gram.t_times, v=vector(5)),
        target("Gram.diagonal", gram.diagonal, plan=on_plan, Z=vector(plan.nnz)),
        target("kron", assembly.kron, plan=on_plan, **factors),
        target("kron()", kron, a=vector(3), b=vector(4)),
        target("blocks", assembly.blocks, plan=on_plan, parts=([[A]], junk.PARTS)),
        target("Blocks()", blocks, data=vector(N)),
    ]


def _fields(A: Any, plan: padchol.Plan) -> list[Target]:
    a, walk = (plan.values(Q) for Q in (A, precisions.rw1(N).matrix(1.0)))
    field, B = gmrf.GMRF(plan, a), sp.csr_array(np.eye(5, N))
    on_plan, loc = (plan, junk.PLAN), (0.0, junk.NUMBERS)
    seen = {"B": (B, junk.OBLONG), "y": (np.ones(5), junk.NUMBERS)}
    held = {
        "C": (np.ones((1, N)), junk.ROWS),
        "e": (0.0, junk.less(junk.NUMBERS, "half precision")),
    }
    null = junk.ROWS | {"None": junk.OBJECTS["None"]}
    return [
        target("GMRF", gmrf.GMRF, plan=on_plan, a=(a, junk.VECTOR), loc=loc),
        target(
            "GMRF.log_prob",
            field.log_prob,
            x=(np.ones(N), junk.less(junk.VECTOR, "an empty matrix")),
        ),
        target("GMRF.sample", field.sample, **_draw()),
        target("GMRF.condition", field.condition, **seen, noise_precision=(1.0, junk.NUMBERS)),
        target("GMRF.constrain", field.constrain, **held),
        target(
            "IntrinsicGMRF",
            gmrf.IntrinsicGMRF,
            "constraints",
            plan=on_plan,
            a=(walk, junk.VECTOR),
            null=(np.ones((N, 1)), null),
            loc=loc,
            constraints=(np.ones((1, N)), junk.ROWS),
        ),
    ]


def _models(A: Any, plan: padchol.Plan) -> list[Target]:
    B = sp.csr_array(np.eye(5, N))
    d, a = design(plan, B), plan.values(A)
    law, other = (likelihoods.poisson(np.ones(size)) for size in (5, 4))
    arguments: dict[str, Any] = {"design": (d, junk.PLAN)}
    arguments["log_likelihood"] = (law, junk.FUNCTION | {"of other data": lambda rng: other})
    arguments |= {"prior": (a, junk.VECTOR), "loc": (0.0, junk.NUMBERS)}
    arguments["start"] = (None, junk.less(junk.NUMBERS, "None"))
    return [
        target("design", design, plan=(plan, junk.PLAN), B=(B, junk.OBLONG)),
        target("Design()", d, x=(np.ones(N), junk.VECTOR)),
        target("Design.t", d.t, v=(np.ones(5), junk.VECTOR)),
        target("Design.with_entries", d.with_entries, data=(np.ones(5), junk.VECTOR)),
        target("laplace", laplace, "start", **arguments),
    ]


def _precisions() -> list[Target]:
    W = sp.csr_array(sp.diags_array([1.0, 0.0, 1.0], offsets=OFFSETS, shape=(N, N)))
    eye, walk = sp.eye_array(N, format="csr"), precisions.rw1(N)
    graphs = ("icar", "proper_car", "leroux", "bym2", "scaled_laplacian")
    counts = {"iid": {}, "ar1": {}, "rw1": {}, "rw2": {}}
    counts |= {"correlated": {"k": 2}, "ar": {"p": 2}, "seasonal": {"period": 3}}
    positions = junk.less(junk.VECTOR, "None", "half precision", "complex")
    one = lambda name, **arguments: target(name, getattr(precisions, name), **arguments)
    at = lambda n, x: precisions.rw2(n, positions=x)
    null = junk.OBJECTS | junk.SHAPES
    return [
        *(one(name, W=(W, junk.ADJACENCY)) for name in graphs),
        *(
            one(name, n=(N, junk.COUNT), **{k: (good, junk.COUNT) for k, good in more.items()})
            for name, more in counts.items()
        ),
        target("rw2 at positions", at, n=(N, junk.COUNT), x=(np.arange(N), positions)),
        one("matern", C=(eye, junk.OBJECTS), G=(eye, junk.OBJECTS), alpha=(2, junk.COUNT)),
        one("matern_parameters", reach=(1.0, junk.NUMBER), sigma=(1.0, junk.NUMBER)),
        one("ar_parameters", tau=(1.0, junk.PARAMETER), psi=(0.5, junk.CORRELATION)),
        one("correlation_matrix", rho=(0.5, junk.CORRELATION)),
        one("scaled_precision", Q=(walk.matrix(1.0), junk.OBJECTS), null=(np.ones((N, 1)), null)),
        target("Precision.matrix", walk.matrix, tau=(1.0, junk.PARAMETER)),
        target("Precision.on", walk.on, plan=(None, junk.PLAN)),
    ]


def _joint() -> list[Target]:
    field = (precisions.rw1(N), junk.PLAN)
    one = lambda name, **arguments: target(name, getattr(precisions, name), **arguments)
    return [
        *(one(name, Q=field, R=field) for name in ("kronecker", "grouped", "independent")),
        one("replicated", Q=field, count=(2, junk.COUNT)),
    ]


def _likelihoods() -> list[Target]:
    y, law = (np.ones(5), junk.TERMS), (likelihoods.poisson(np.ones(5)), junk.PLAN)
    positive = (1.5, junk.POSITIVE)
    parameters = {
        "gaussian": "precision",
        "gamma": "shape",
        "inverse_gaussian": "shape",
        "poisson": "exposure",
        "binomial": "trials",
        "negative_binomial": "size exposure",
        "beta": "precision",
        "student_t": "precision degrees",
        "tweedie": "dispersion power",
    }
    cuts = junk.TERMS | {
        "decreasing": lambda rng: -np.arange(3.0),
        "none": lambda rng: np.zeros(0),
        "a number": lambda rng: 1.0,
    }
    event = junk.TERMS | {"a half": lambda rng: 0.5}
    one = lambda name, **arguments: target(
        f"likelihoods.{name}", getattr(likelihoods, name), **arguments
    )
    return [
        *(
            one(name, y=y, **dict.fromkeys(others.split(), positive))
            for name, others in parameters.items()
        ),
        one("ordinal", y=y, cuts=(np.arange(3.0), cuts)),
        one("weibull", time=y, event=(np.ones(5), event), shape=positive),
        one("cox", points=positive, weights=positive),
        one("stacked", one=law, two=law),
        one("with_offset", one=law, offset=y),
        one("weighted", one=law, weights=positive),
        one("truncated", one=law),
    ]


def _priors() -> list[Target]:
    number, share = (1.0, junk.PARAMETER), (0.5, junk.PROBABILITY)
    one = lambda name, **arguments: target(f"priors.{name}", getattr(priors, name), **arguments)
    sizes = {"range0": number, "alpha_range": share, "sd0": number, "alpha_sd": share}
    return [
        one("pc_precision", u=number, alpha=share),
        one("pc_range_sd", **sizes),
        one("pc_ar1", u=share, alpha=share),
        one("gamma", shape=number, rate=number),
        one("gaussian", mean=(0.0, junk.OBJECTS), precision=number),
    ]

"""Long NUTS runs of two latent Gaussian models without padchol: tests/nuts_references.json.

    python tests/bench/nuts_references.py SCOTLAND.json [--draws 16000] [--warmup 1500]

SCOTLAND.json holds `y`, `log_expected`, `x` and `edges` of the lip cancer data of Scotland (Clayton
& Kaldor 1987, Biometrics 43, 671-681). Needs numpyro; float64, four chains one after the other.

Scotland, BYM2 (Riebler, Sorbye, Simpson & Rue 2016, Stat. Methods Med. Res. 25, 1145-1165):

    y_i ~ Poisson(exp(log_expected_i + eta_i)),   eta = b0 + b1 x + b
    b ~ N(0, ((1 - phi) I + phi Q^-)/tau),   P(tau^-1/2 > 1) = 0.01,   P(phi < 1/2) = 2/3
    b0, b1 ~ N(0, 1/0.001),   theta = (log tau, logit phi)

    scotland_uniform_phi: the same, except that phi is uniform on (0, 1)

Q^- is the pseudoinverse of the graph's Laplacian, scaled such that the geometric mean of its
diagonal is one on every connected component; an area alone has variance one. So b is
(sqrt(1 - phi) v + sqrt(phi) u)/sqrt(tau), v white noise and u an intrinsic field that sums to zero.
Both priors are exponential in their distance: tau^-1/2 for tau, sqrt(2 KLD(phi)) for phi. The
latter is infinite at phi = 1, so that the density of logit phi falls only like
exp(-c sqrt(logit phi)), and almost half of the posterior lies where phi is rounded to one in double
precision. With phi uniform the density falls like exp(-logit phi).

Binomial, an autoregression seen through few trials, simulated here:

    y_t ~ Binomial(trials_t, 1/(1 + exp(-eta_t))),   eta = b0 + x,   t = 0..39
    cov(x_s, x_t) = rho^|s - t|/tau,   P(tau^-1/2 > 1) = 0.01,   b0 ~ N(0, 1/0.1)
    log((1 + rho)/(1 - rho)) = logit((rho + 1)/2) ~ N(1, 1/0.5): mean 1, precision 0.5, variance 2
    theta = (log tau, logit((rho + 1)/2)),   the data's eta: 2 sin(2 pi t/20)

The density of tau falls like tau^-3/2 in all of them, which makes its mean infinite. On Scotland
the data exclude fields so flat, and "mean" and "sd" of tau are those of the draws; the binomial
data do not quite, and the two are null. log tau and sigma = tau^-1/2 have both.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import MCMC, NUTS
from numpyro.infer.initialization import init_to_uniform
from scipy import integrate, optimize, special, stats
from scipy.sparse import csgraph

RESULTS = Path(__file__).parents[1] / "nuts_references.json"
CHAINS = 4
PROBABILITIES = (0.025, 0.25, 0.5, 0.75, 0.975)
DIGITS = 7
FLAT = dist.ImproperUniform(dist.constraints.real, (), ())

# ---- priors -----------------------------------------------------------------------------------


def pc_log_precision(log_tau: Any, u: float = 1.0, alpha: float = 0.01) -> Any:
    """The log density of log tau where tau^-1/2 is exponential with P(tau^-1/2 > u) = alpha."""
    rate = -np.log(alpha) / u
    return np.log(rate / 2) - log_tau / 2 - rate * jnp.exp(-log_tau / 2)


def generalised_covariance(edges: np.ndarray, n: int) -> np.ndarray:
    """Q^- (n, n), of geometric mean variance one on each component of two areas or more."""
    W = np.zeros((n, n))
    W[edges[:, 0], edges[:, 1]] = W[edges[:, 1], edges[:, 0]] = 1
    component = csgraph.connected_components(W, directed=False)[1]
    covariance = np.eye(n)
    for k in np.flatnonzero(np.bincount(component) > 1):
        at = np.ix_(component == k, component == k)
        inverse = np.linalg.pinv(np.diag(W[at].sum(1)) - W[at], rcond=1e-10, hermitian=True)
        covariance[at] = inverse / np.exp(np.mean(np.log(np.diagonal(inverse))))
    return covariance


def pc_logit_phi(variances: np.ndarray, u: float = 0.5, alpha: float = 2 / 3) -> Callable:
    """The log density of t = logit phi, phi the spatial part of the variance, P(phi < u) = alpha.

    variances (n,): the eigenvalues of Q^-, exactly zero on its null space. With a = variances - 1,

        KLD = sum(phi a - log(1 + phi a))/2,   dKLD/dphi = sum(phi a^2/(1 + phi a))/2
        d = sqrt(2 KLD),   density lambda exp(-lambda d) dd/dt,   dd/dt = dKLD/dphi phi (1 - phi)/d

    d(1) is infinite, an eigenvalue being zero, so that lambda = -log(1 - alpha)/d(u) without
    truncation. log(1 - phi) is a function of t, as phi rounds to one from t = 37 on.
    """
    null, a = variances == 0, variances - 1

    def distance(t: Any) -> tuple[Any, Any]:
        phi, rest = jax.nn.sigmoid(t), jax.nn.sigmoid(-t)
        x, regular = phi * a, jnp.where(null, 0.0, phi * a)
        difference = x - jnp.where(null, jax.nn.log_sigmoid(-t), jnp.log1p(regular))
        series = x**2 * (1 / 2 - x / 3 + x**2 / 4 - x**3 / 5)  # where rounding eats the difference
        d = jnp.sqrt(jnp.sum(jnp.where(jnp.abs(x) < 1e-3, series, difference)))
        slope = jnp.sum(x**2 * jnp.where(null, 1.0, rest / (1 + regular))) / 2
        return d, slope / d

    rate = -np.log1p(-alpha) / float(distance(special.logit(u))[0])

    def log_density(t: Any) -> Any:
        d, slope = distance(t)
        return jnp.log(rate) - rate * d + jnp.log(slope)

    return log_density


def uniform_logit_phi(t: Any) -> Any:
    """The log density of logit phi where phi is uniform."""
    return jax.nn.log_sigmoid(t) + jax.nn.log_sigmoid(-t)


def warped(w: Any) -> Any:
    """logit phi = w + softplus(w)^4/16: tails like exp(-c sqrt(t)) in t are Gaussian in w."""
    return w + jax.nn.softplus(w) ** 4 / 16


def checked_masses(log_density: Callable, below_half: float) -> dict:
    """(P(phi < 1/2), P(phi < 1)) by quadrature over w."""
    slope = jax.grad(warped)
    density = jax.jit(lambda w: jnp.exp(log_density(warped(w))) * slope(w))
    half = optimize.brentq(lambda w: float(warped(w)), -2.0, 2.0)
    pieces = [(-30.0, half), (half, 5.0), (5.0, 60.0)]
    masses = [integrate.quad(lambda w: float(density(w)), *ends, limit=500)[0] for ends in pieces]
    np.testing.assert_allclose([masses[0], sum(masses)], [below_half, 1], rtol=1e-6)
    return {"below_half": masses[0], "below_one": sum(masses)}


# ---- models: (model, quantities of a draw, what else is told) ----------------------------------


def scotland(path: Path, uniform: bool = False) -> tuple[Callable, Callable, dict]:
    data = json.loads(path.read_text())
    y, x, offset = (np.asarray(data[name], float) for name in ("y", "x", "log_expected"))
    variances, vectors = np.linalg.eigh(generalised_covariance(np.asarray(data["edges"]), y.size))
    variances = np.where(variances < 1e-9 * variances.max(), 0.0, variances)
    log_prior = uniform_logit_phi if uniform else pc_logit_phi(variances)
    masses = checked_masses(log_prior, 1 / 2 if uniform else 2 / 3)
    # Coefficient k of b in the eigenvectors is scale^c z, z ~ N(0, scale^(1 - c)), any c being the
    # same law: c is near 1 where the prior says more than the data, near 0 where they do.
    typical = (0.05 + 0.95 * variances) / 4.6
    c = np.where(variances > 0, 1 / (1 + typical * y.mean()), 1.0)
    log_variances = np.log(np.where(variances > 0, variances, 1.0))

    def log_scales(draw: dict) -> Any:  # logarithms, as 1 - phi underflows from t = 745 on
        t = warped(draw["w"])
        white, spatial = jax.nn.log_sigmoid(-t), jax.nn.log_sigmoid(t) + log_variances
        log_variance = jnp.where(variances > 0, jnp.logaddexp(white, spatial), white)
        return (log_variance - draw["log_tau"]) / 2

    def effects(draw: dict) -> dict:
        t = warped(draw["w"])
        b = vectors @ (jnp.exp(c * log_scales(draw)) * draw["z"])
        eta = draw["b0"] + draw["b1"] * x + b
        return {"logit_phi": t, "phi": jax.nn.sigmoid(t), "b": b, "eta": eta}

    def model() -> None:
        draw = {name: numpyro.sample(name, dist.Normal(0, 0.001**-0.5)) for name in ("b0", "b1")}
        draw |= {name: numpyro.sample(name, FLAT) for name in ("log_tau", "w")}
        rest = jnp.exp((1 - c) * log_scales(draw))
        draw["z"] = numpyro.sample("z", dist.Normal(0, rest).to_event(1))
        found = effects(draw)
        numpyro.factor("prior_tau", pc_log_precision(draw["log_tau"]))
        jacobian = jnp.log(jax.grad(warped)(draw["w"]))
        numpyro.factor("prior_phi", log_prior(found["logit_phi"]) + jacobian)
        numpyro.sample("y", dist.Poisson(jnp.exp(offset + found["eta"])), obs=y)

    def quantities(draw: dict) -> dict:
        found = effects(draw) | {name: draw[name] for name in ("b0", "b1")}
        return found | precisions(draw) | {"eta_with_offset": found["eta"] + offset}

    return model, quantities, {"prior_mass_of_phi": masses}


def binomial(n: int = 40) -> tuple[Callable, Callable, dict]:
    random = np.random.default_rng(2026)
    trials = random.integers(1, 5, n)
    y = random.binomial(trials, special.expit(2 * np.sin(2 * np.pi * np.arange(n) / 20)))

    def effects(draw: dict) -> dict:
        t = draw["logit_rho"]
        rho, deviation = jnp.tanh(t / 2), jnp.exp(-draw["log_tau"] / 2)
        innovation = 2 * jnp.sqrt(jax.nn.sigmoid(t) * jax.nn.sigmoid(-t))  # sqrt(1 - rho^2)
        x = deviation * draw["z"] * jnp.where(np.arange(n) == 0, 1.0, innovation)
        power = rho  # (I - rho S)^-1 = (I + rho S)(I + rho^2 S^2)(I + rho^4 S^4)..., S the shift
        for k in 2 ** np.arange(np.ceil(np.log2(n)), dtype=int):
            x, power = x + power * jnp.pad(x, (k, 0))[:n], power**2
        return {"rho": rho, "x": x, "eta": draw["b0"] + x}

    def model() -> None:
        draw = {"b0": numpyro.sample("b0", dist.Normal(0, 0.1**-0.5))}
        draw["log_tau"] = numpyro.sample("log_tau", FLAT)
        draw["logit_rho"] = numpyro.sample("logit_rho", dist.Normal(1, 0.5**-0.5))
        draw["z"] = numpyro.sample("z", dist.Normal(0, 1).expand([n]).to_event(1))
        numpyro.factor("prior_tau", pc_log_precision(draw["log_tau"]))
        numpyro.sample("y", dist.BinomialLogits(effects(draw)["eta"], trials), obs=y)

    def quantities(draw: dict) -> dict:
        kept = {name: draw[name] for name in ("b0", "logit_rho")}
        return kept | precisions(draw) | effects(draw)

    return model, quantities, {"trials": trials.tolist(), "y": y.tolist()}


def precisions(draw: dict) -> dict:
    log_tau = draw["log_tau"]
    return {"log_tau": log_tau, "tau": jnp.exp(log_tau), "sigma": jnp.exp(-log_tau / 2)}


# ---- runs and summaries -----------------------------------------------------------------------


def sampled(model: Callable, quantities: Callable, warmup: int, draws: int) -> tuple[dict, dict]:
    """(quantities, each (chains, draws, ...); how the run went)."""
    kernel = NUTS(
        model, dense_mass=True, target_accept_prob=0.95, init_strategy=init_to_uniform(radius=1)
    )
    mcmc = MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=draws,
        num_chains=CHAINS,
        chain_method="sequential",
        progress_bar=False,
    )
    start = time.perf_counter(), time.process_time()
    mcmc.run(jax.random.key(2026), extra_fields=("diverging", "num_steps"))
    extra = {name: np.asarray(x) for name, x in mcmc.get_extra_fields().items()}
    stop = time.perf_counter(), time.process_time()
    found = jax.jit(jax.vmap(jax.vmap(quantities)))(mcmc.get_samples(group_by_chain=True))
    how = {
        "chains": CHAINS,
        "warmup": warmup,
        "draws_of_each_chain": draws,
        "seconds": round(stop[0] - start[0]),
        "processor_seconds": round(stop[1] - start[1]),
        "divergences": int(extra["diverging"].sum()),
        "mean_steps": rounded(extra["num_steps"].mean()),
    }
    return {name: np.asarray(x) for name, x in found.items()}, how


def summary(x: np.ndarray) -> dict:
    """x (chains, draws, ...): moments, quantiles, their Monte Carlo errors, and diagnostics.

    Effective sizes and r-hat of split chains, bulk ones of ranks; the error of a quantile is half
    the length of the central interval of one deviation (Vehtari, Gelman, Simpson, Carpenter &
    Burkner 2021, Bayesian Analysis 16, 667-718, sections 4.1 to 4.4).
    """
    half = x.shape[1] // 2
    x = x[:, : 2 * half].reshape(2 * x.shape[0], half, *x.shape[2:])
    flat = x.reshape(-1, *x.shape[2:])
    ranks = (stats.rankdata(flat, axis=0) - 3 / 8) / (flat.shape[0] + 1 / 4)
    z = special.ndtri(ranks).reshape(x.shape)
    ordered, quantiles, errors = np.sort(flat, axis=0), [], []
    for p in PROBABILITIES:
        quantiles.append(_quantile(ordered, np.full(x.shape[2:], p)))
        below = (x <= quantiles[-1]).astype(float)
        known = below.min((0, 1)) < below.max((0, 1))  # not so where it is one, and so are others
        size = effective_sample_size(np.where(known, below, x))
        spread = np.where(known, np.sqrt(p * (1 - p) / size), 0.0)
        errors.append((_quantile(ordered, p + spread) - _quantile(ordered, p - spread)) / 2)
    sd = flat.std(0, ddof=1)
    found = {
        "mean": flat.mean(0),
        "sd": sd,
        "quantiles": np.moveaxis(np.array(quantiles), 0, -1),
        "mean_error": sd / np.sqrt(effective_sample_size(x)),
        "quantile_errors": np.moveaxis(np.array(errors), 0, -1),
        "ess_bulk": effective_sample_size(z),
        "r_hat": split_gelman_rubin(z),
    }
    return {name: rounded(value) for name, value in found.items()}


def _quantile(ordered: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The quantile p[...] of ordered[:, ...], linear between two draws."""
    place = np.clip(p, 0, 1) * (ordered.shape[0] - 1)
    low = np.minimum(place.astype(int), ordered.shape[0] - 2)
    one, next_one = (np.take_along_axis(ordered, (low + k)[None], 0)[0] for k in (0, 1))
    return one + (place - low) * (next_one - one)


def rounded(x: Any) -> Any:
    """Nested lists of numbers of DIGITS significant digits."""
    x = np.asarray(x)
    return [rounded(each) for each in x] if x.ndim else float(f"{float(x):.{DIGITS}g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scotland", type=Path)
    parser.add_argument("--draws", type=int, default=16000)
    parser.add_argument("--warmup", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    results: dict = {"probabilities": PROBABILITIES}
    models = {
        "binomial": binomial(),
        "scotland": scotland(given.scotland),
        "scotland_uniform_phi": scotland(given.scotland, uniform=True),
    }
    for name, made in models.items():
        model, quantities, told = made
        found, how = sampled(model, quantities, given.warmup, given.draws)
        posterior: dict = {each: summary(x) for each, x in found.items()}
        if name == "binomial":
            posterior["tau"] |= dict.fromkeys(("mean", "sd", "mean_error"))
        how["least_ess_bulk"] = float(min(np.min(s["ess_bulk"]) for s in posterior.values()))
        how["largest_r_hat"] = float(max(np.max(s["r_hat"]) for s in posterior.values()))
        results[name] = told | {"run": how, "posterior": posterior}
        print(name, how, flush=True)
    given.out.write_text(json.dumps(results, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

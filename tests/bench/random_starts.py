"""A hundred simulated GLMMs with badly scaled covariates, against glmmTMB.

    python tests/bench/random_starts.py [folder]

Needs R with glmmTMB, which is given the same covariates standardised: the likelihood is the same,
and its own search often fails on those as they are. Prints a line for each model whose search did
not converge, or which lies more than 1e-3 below glmmTMB, and a summary.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from padchol import mixed

FAMILIES = ("poisson", "binomial", "nbinom2", "gamma", "nbinom1")
TERMS = ("(1 | g)", "(x1 | g)", "(1 | g) + (1 | h)")
N, G, H = 480, 20, 12

R = """
suppressMessages(library(glmmTMB))
families <- list(poisson = poisson(), binomial = binomial(), nbinom2 = nbinom2(),
                 nbinom1 = nbinom1(), gamma = Gamma("log"))
for (file in Sys.glob("*.csv")) {
  d <- read.csv(file); d$g <- factor(d$g); d$h <- factor(d$h)
  d$x1 <- as.numeric(scale(d$x1)); d$x2 <- as.numeric(scale(d$x2))
  fit <- suppressWarnings(try(glmmTMB(as.formula(paste("y ~ x1 + x2 +", d$terms[1])), d,
                              family = families[[d$family[1]]]), silent = TRUE))
  failed <- inherits(fit, "try-error")
  cat(file, if (failed) NA else format(-fit$fit$objective, digits = 15),
      if (failed) NA else fit$fit$convergence, "\\n")
}
"""


def simulated(seed: int) -> pd.DataFrame:
    """Two covariates in units of 1e-3 to 1e4, shifted; effects of the size they usually have."""
    r = np.random.default_rng(seed)
    i = np.arange(N)
    g, h = i % G, (i // G) % H
    x = r.normal(size=(2, N))
    family, terms = FAMILIES[seed % len(FAMILIES)], TERMS[seed // len(FAMILIES) % len(TERMS)]
    sd = r.choice([0.0, 0.2, 0.6, 1.2], size=3)
    eta = r.normal(0, 1) + x.T @ r.normal(0, 0.5, 2) + sd[0] * r.normal(size=G)[g]
    eta = eta + (sd[1] * r.normal(size=G)[g] * x[0] if "x1 |" in terms else 0)
    eta = eta + (sd[2] * r.normal(size=H)[h] if "| h" in terms else 0)
    mean = np.exp(np.clip(eta, -20, 8))
    y = {
        "poisson": lambda: r.poisson(mean),
        "binomial": lambda: r.binomial(1, 1 / (1 + np.exp(-eta))),
        "nbinom2": lambda: r.poisson(mean * r.gamma(1.5, 1 / 1.5, N)),
        "nbinom1": lambda: r.poisson(r.gamma(mean / 0.8, 0.8)),
        "gamma": lambda: np.maximum(r.gamma(2.0, mean / 2), 1e-300),
    }[family]()
    scale, shift = 10.0 ** r.uniform(-3, 4, 2), r.choice([0.0, 1.0, 20.0], 2)
    x = scale[:, None] * (x + shift[:, None])
    return pd.DataFrame(dict(y=y, x1=x[0], x2=x[1], g=g, h=h, family=family, terms=terms))


def main(folder: Path) -> None:
    for seed in range(100):
        simulated(seed).to_csv(folder / f"{seed:03d}.csv", index=False)
    lines = subprocess.run(
        ["Rscript", "-e", R], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    theirs = {int(line.split()[0][:3]): line.split()[1:] for line in lines}
    equal = better = worse = not_converged = 0
    for seed in range(100):
        d = pd.read_csv(folder / f"{seed:03d}.csv")
        family, terms = d.family[0], d.terms[0]
        fit = mixed.generalized(f"y ~ x1 + x2 + {terms}", d, family).fit()
        other, code = theirs[seed]
        gap = fit.loglik - (float(other) if other != "NA" else np.nan)
        equal += abs(gap) <= 1e-3
        better += gap > 1e-3
        worse += gap < -1e-3
        not_converged += not fit.converged
        assert fit.converged or fit.message, "a failure without a word"
        assert np.isfinite(fit.loglik) or not fit.converged, "NaN"
        if not fit.converged or not abs(gap) <= 1e-3:
            print(seed, family, terms, f"{fit.loglik:.6f} - {other} = {gap:.2g}, theirs", code)
            print("   ", "converged" if fit.converged else "not converged:", fit.message)
    print(f"{equal} equal, {better} better, {worse} worse, {not_converged} not converged, and said")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))

"""Integrated nested Laplace approximations (INLA) of latent Gaussian models.

    theta ~ prior,   x | theta ~ N(loc, Q^-1),   eta = B x,   y_i | eta_i, theta by any likelihood

    approximation = lambda theta: padchol.laplace.laplace(design, likelihood(theta), field(theta))
    posterior = padchol.inla.integrate(approximation, log_prior, start)
    posterior.hyper.mean, posterior.latent.quantile(0.975), posterior.predictor.mean, posterior.waic

`integrate` finds the mode of theta, evaluates the Laplace approximation at points around it, and
gives marginals as mixtures over these points (Rue, Martino & Chopin 2009, JRSS B 71, 319-392).
Means are corrected for the likelihood not being Gaussian, see `padchol.inla._correction`. Priors
are in `padchol.inla.priors`.
"""

from padchol.inla import priors
from padchol.inla._criteria import Criteria
from padchol.inla._hyper import Weighted
from padchol.inla._integrate import integrate
from padchol.inla._marginals import Marginals
from padchol.inla._posterior import Posterior

__all__ = ["Criteria", "Marginals", "Posterior", "Weighted", "integrate", "priors"]

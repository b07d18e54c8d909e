"""Log-likelihoods of a linear predictor eta, term by term, for `padchol.laplace`.

Each function takes the data (and parameters, which may be traced) and gives a `Likelihood`: a map
of eta (m,) to the m terms log p(y_i | eta_i), fully normalised. It is a pytree whose leaves are the
data and the parameters, so one compiled program serves all data of one shape. Beside the terms it
has

    cdf(eta)            P(Y_i <= y_i | eta_i), for probability integral transforms
    mean(eta)           E[Y_i | eta_i]
    sampled(key, eta)   the same likelihood of data drawn at eta
    length              m

At the edges of the support values and derivatives are those of the limit. A term without weight (no
exposure, no trials, precision or shape zero) adds 0; data that cannot occur (a count where there is
no exposure, more successes than trials, a negative time) have the log-likelihood -inf. Negative
weights raise `ValueError`, or give NaN where they are traced. Parameters that have to be positive,
or in an interval, are checked alike.

Terms keep their digits far from the data, where p(y_i | eta_i) or 1 - p would round to 0, and so do
their derivatives in eta of every order. `stacked` and `with_offset` make likelihoods of others.
"""

from padchol.likelihoods._base import Likelihood, Terms
from padchol.likelihoods._beta import Beta, beta
from padchol.likelihoods._combined import Stacked, WithOffset, stacked, with_offset
from padchol.likelihoods._continuous import Gamma, Gaussian, StudentT, gamma, gaussian, student_t
from padchol.likelihoods._counts import (
    Binomial,
    NegativeBinomial,
    Poisson,
    binomial,
    negative_binomial,
    poisson,
)
from padchol.likelihoods._excess_zeros import ExcessZeros, excess_zeros
from padchol.likelihoods._inverse_gaussian import InverseGaussian, inverse_gaussian
from padchol.likelihoods._linear_variance import LinearNegativeBinomial, linear_negative_binomial
from padchol.likelihoods._ordinal import Ordinal, increasing_cuts, ordinal
from padchol.likelihoods._point_process import Cox, cox
from padchol.likelihoods._survival import Weibull, weibull
from padchol.likelihoods._truncated import Truncated, truncated, truncated_poisson
from padchol.likelihoods._tweedie import Tweedie, tweedie
from padchol.likelihoods._volatility import StochasticVolatility, stochastic_volatility
from padchol.likelihoods._weighted import Weighted, weighted
from padchol.likelihoods._zero_inflated import (
    ZeroInflated,
    zero_inflated,
    zero_inflated_binomial,
    zero_inflated_poisson,
)

__all__ = [
    "Beta",
    "Binomial",
    "Cox",
    "ExcessZeros",
    "Gamma",
    "Gaussian",
    "InverseGaussian",
    "Likelihood",
    "LinearNegativeBinomial",
    "NegativeBinomial",
    "Ordinal",
    "Poisson",
    "Stacked",
    "StochasticVolatility",
    "StudentT",
    "Terms",
    "Truncated",
    "Tweedie",
    "Weibull",
    "Weighted",
    "WithOffset",
    "ZeroInflated",
    "beta",
    "binomial",
    "cox",
    "excess_zeros",
    "gamma",
    "gaussian",
    "increasing_cuts",
    "inverse_gaussian",
    "linear_negative_binomial",
    "negative_binomial",
    "ordinal",
    "poisson",
    "stacked",
    "stochastic_volatility",
    "student_t",
    "truncated",
    "truncated_poisson",
    "tweedie",
    "weibull",
    "weighted",
    "with_offset",
    "zero_inflated",
    "zero_inflated_binomial",
    "zero_inflated_poisson",
]

"""Penalised splines and generalised additive models, their smoothing chosen by REML.

    fit = padchol.splines.additive("y ~ z + s(x0, k=20) + te(x1, x2) + s(g, bs='re')", data).fit()
    print(fit)                                           # tables like those of mgcv's summary
    fit.predict(new, interval=0.95, type="response")
    fit.plot()

`smoothing(terms)` is the small kernel for one smooth of arrays, see `padchol.splines.regression`;
`additive` is for formulas on data, several smooths, and all families of `padchol.likelihoods`:

    eta = offset + X alpha + sum_j f_j,   f_j = B_j Z_j gamma_j,   prior of gamma: exp(-gamma^T S
    gamma / 2),  S = sum_l lambda_l S_l

Each f_j is told from the intercept by summing to zero over the data, c^T B_j-coefficients = 0,
which Z_j holds with two entries a column (`centring`), so that B_j Z_j and the one matrix H = B^T W
B + S that is factored stay sparse. Nothing is lost by that choice of Z, nor gained: with K(S) of
`padchol.splines.determinant`, whose determinant is log|S|_+ plus what the coordinates contribute,

    log|det K(S)| - log|H|   is the same for Z and for any other basis Z T of the same functions,

because both terms grow by 2 log|T|. So the restricted likelihood is the one that mgcv computes with
dense orthonormal coordinates, number by number, for the same bases. It is maximised over log lambda
(and the dispersion or whatever else the family has) with exact gradients.

The parts, one a file: `formula` (text), `frame`, `parametric` and `terms` (data), `bases`, `tensor`
and `centring` (design and penalties), `determinant`, `restricted` (the likelihood, in JAX),
`model` and `additive_model` (assembly, search), `fit`, `covariance`, `curves`, `significance` with
`mixtures`, `report`, `picture`.

What differs from mgcv: the default basis is "ps", not thin plate splines; terms whose unpenalised
functions overlap, te(x, z) beside s(x), are refused instead of being constrained (write ti); `aic`
takes edf as it is, without a correction for the choice of lambda; the Gaussian `loglik` has the
dispersion of REML; covariances and edf are made with W, the second derivative of the log
likelihood, and the dispersion of REML, also where mgcv takes Fisher's information and Pearson's.
"""

from padchol.bsplines import PSpline, Term
from padchol.splines.additive_model import AdditiveModel, additive
from padchol.splines.curves import Curve, Prediction
from padchol.splines.fit import AdditiveFit
from padchol.splines.regression import Fit, Smoothing, smoothing

__all__ = [
    "AdditiveFit",
    "AdditiveModel",
    "Curve",
    "Fit",
    "PSpline",
    "Prediction",
    "Smoothing",
    "Term",
    "additive",
    "smoothing",
]

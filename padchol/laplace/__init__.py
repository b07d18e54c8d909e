"""The Laplace approximation of latent Gaussian models, differentiable through the mode.

    x ~ N(loc, Q^-1),   eta = B x,   y_i | eta_i by any likelihood

    log p(y) is about  l(x) + log|Q|/2 - (x - loc)^T Q (x - loc)/2 - log|H|/2   at the mode x,

H = Q + B^T W B, W = -l''(eta) diagonal (Tierney & Kadane 1986, JASA 81, 82-86; as in Rue, Martino &
Chopin 2009, JRSS B 71, 319-392, and Kristensen et al. 2016, J. Stat. Softw. 70(5)).

The mode is found by Newton's method without derivatives. Those of the mode with respect to what Q
and the likelihood depend on follow from the implicit function theorem, exact to every order: solves
with H, whose one factor at the mode serves the determinant, the variances and all derivatives.

Under constraints C x = e, both determinants are those on the plane, and every Newton step is
corrected onto it by kriging (Rue, Martino & Chopin 2009, section 2.1).
"""

from padchol.laplace._approximation import Laplace, laplace
from padchol.laplace._design import Design, design
from padchol.laplace._mode import LogLikelihood

__all__ = ["Design", "Laplace", "LogLikelihood", "design", "laplace"]

"""Additive models against mgcv 1.8-41 (R 4.2): the same bases, restricted likelihoods and fits.

The numbers are R's, from the data of `frame()` written with 17 digits, by

    fit <- function(f, family = gaussian(), ...)
        gam(f, data = d, family = family, method = "REML",
            control = gam.control(epsilon = 1e-11, newton = list(conv.tol = 1e-10)), ...)
    two                 fit(y1 ~ z + s(x0, bs="ps", k=12) + s(x1, bs="ps", k=12))
    te                  fit(y2 ~ te(x0, x1, bs="ps", k=5))
    by                  fit(y3 ~ f + s(x0, by=f, bs="ps", k=10))
    re                  fit(y4 ~ s(x0, bs="ps", k=10) + s(g, bs="re"))
    poisson             fit(y5 ~ s(x0, bs="ps", k=10) + s(x2, bs="cp", k=10), poisson)
    binomial            fit(y6 ~ s(x0, bs="ps", k=10) + s(x1, bs="ps", k=10), binomial)
    gamma               fit(y7 ~ s(x0, bs="ps", k=10) + s(x2, bs="cp", k=10), Gamma(link="log"))
    negative binomial   fit(y5 ~ s(x0, bs="ps", k=10), nb)
    select              fit(y1 ~ s(x0, bs="ps", k=12) + s(x2, bs="ps", k=12), select=TRUE)
    cr                  fit(y1 ~ s(x0, bs="cr", k=12) + s(x1, by=z, bs="cr", k=10))
    ti                  fit(y2 ~ s(x0, bs="ps", k=8) + s(x1, bs="ps", k=8) +
                            ti(x0, x1, bs="ps", k=5))
    te of three         fit(y2 ~ te(x0, x1, x2, bs=c("ps","cr","cp"), k=c(4,4,5)))
    np = FALSE          fit(y2 ~ te(x0, x1, bs="ps", k=c(6,5), np=FALSE))
    slopes              fit(y4 ~ s(x0, bs="ps", k=10) + s(g, bs="re") + s(g, z, bs="re"))
    weights and offset  fit(y5 ~ s(x0, bs="ps", k=10) + s(x2, bs="cp", k=10) + offset(z), poisson,
                            weights=w)

and of m: m$gcv.ubre, summary(m)$edf, range(m$linear.predictors), linear.predictors and standard
errors of rows 1, 2, 3, 100 and 200, of s.table the statistics, Ref.df and p, of p.table the
standard errors, and c(dev.expl, r.sq).
"""

import functools
from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("pandas", reason="additive models take data frames")
import pandas

from padchol import likelihoods, splines

ROWS = [0, 1, 2, 99, 199]


class Reference(NamedTuple):
    reml: float
    edf: list[float]
    ends: list[float]
    predictor: list[float]
    se: list[float]
    statistics: list[float]
    reference_df: list[float]
    p: list[float]
    columns_se: list[float]
    explained: list[float]  # of the deviance, and R-sq.(adj)


REFERENCES = {
    "two": Reference(
        153.881225987,
        [6.703041376, 3.305357919],
        [-1.858537632, 3.810676682],
        [1.3767016263, 2.2003357300, -0.8400979987, 0.4134411841, 1.8032521697],
        [0.07867754467, 0.06550461677, 0.07216850699, 0.06762806951, 0.07578834663],
        [123.0502833, 181.0454244],
        [7.736096078, 4.014298897],
        [0, 0],
        [0.02190817367, 0.02152296120],
        [0.8872912800, 0.8829830203],
    ),
    "te": Reference(
        162.18321608,
        [12.93945112],
        [-2.089762496, 2.328710210],
        [0.2389421884, -0.1348249421, -0.2508971227, -0.8982057259, -1.3006348685],
        [0.10145143991, 0.06382599883, 0.05718075000, 0.05486141982, 0.06826282593],
        [101.9798489],
        [14.4784693],
        [0],
        [0.02221357356],
        [0.8386318189, 0.8313326101],
    ),
    "by": Reference(
        156.242391618,
        [5.202698990, 1.000000011, 5.292372171],
        [-1.114892179, 1.553393812],
        [1.36072211729, 0.01041504006, -0.02103955000, 0.22682504096, 0.70044960955],
        [0.08074186923, 0.08232069210, 0.09335116098, 0.04110417730, 0.09874064620],
        [49.2863446643, 0.3372437192, 52.9113336551],
        [6.012661522, 1.000000022, 6.117723947],
        [0.0, 0.5618816699, 0.0],
        [0.04114045946, 0.05591703535, 0.05534126395],
        [0.7398416126, 0.7275446061],
    ),
    "re": Reference(
        176.651174401,
        [6.077301402, 13.712024986],
        [-2.014311992, 2.034546429],
        [1.1635236898, 0.5622903932, -1.0293865789, -1.7157390159, -0.3574242716],
        [0.08842057155, 0.09300957415, 0.10215377117, 0.08941926747, 0.09085695990],
        [129.26316217, 50.38024353],
        [6.822199454, 14.000000000],
        [0, 0],
        [0.1581915887],
        [0.8437013102, 0.8326234895],
    ),
    "poisson": Reference(
        524.484247367,
        [4.066311427, 3.538800722],
        [-0.1407195443, 1.6950544293],
        [1.54215484057, 1.23481187863, 1.04166569856, 0.15706484299, -0.01359788004],
        [0.09009758409, 0.09175464842, 0.09539268478, 0.11814834130, 0.13145643401],
        [55.68456939, 95.50896781],
        [4.834638526, 9.000000000],
        [0, 0],
        [0.04108062669],
        [0.3621636892, 0.3799875557],
    ),
    "binomial": Reference(
        156.202621484,
        [4.223918755, 1.000000255],
        [-3.121620590, 2.825874962],
        [0.3134547565, 0.9212807072, -1.5155910286, -0.8057770172, -1.0093669638],
        [0.3343995983, 0.3033803200, 0.3344970470, 0.2934255171, 0.3390354118],
        [75.80099901, 17.81149479],
        [5.013729896, 1.000000510],
        [0.000000000e00, 2.472255657e-05],
        [0.1424725497],
        [0.2775750574, 0.3295037059],
    ),
    "gamma": Reference(
        443.580925011,
        [4.533802552, 3.893170446],
        [-0.2280516532, 1.7714301541],
        [1.63845226352, 1.18572334076, 0.94482184740, 0.02142958057, -0.05354965292],
        [0.08626485654, 0.08133240040, 0.08135400821, 0.08452057063, 0.08989982727],
        [28.80641786, 17.54580817],
        [5.336878515, 9.000000000],
        [0, 0],
        [0.02930901989],
        [0.4928694208, 0.3997320093],
    ),
    "negative binomial": Reference(
        564.462792601,
        [3.750557742],
        [0.4438902419, 1.2401550098],
        [1.1079002595, 0.9007403892, 0.6764402559, 0.6256607485, 0.4738316758],
        [0.07568340755, 0.07911234706, 0.08873771695, 0.08961246537, 0.10243233925],
        [45.15551526],
        [4.493831817],
        [0],
        [0.04340778915],
        [0.1342981615, 0.1261244528],
    ),
    "select": Reference(
        409.083767041,
        [4.6152771104, 0.7285470913],
        [0.1499800086, 1.9657629391],
        [1.7304861313, 1.1655382080, 0.5913122625, 0.3764024434, 0.3926649171],
        [0.1256620288, 0.1198569387, 0.1262860677, 0.1263215865, 0.1290358902],
        [12.2168971094, 0.1283067456],
        [11, 11],
        [0.0, 0.1362690795],
        [0.05309397069],
        [0.3250137540, 0.3127306552],
    ),
    "cr": Reference(
        332.983842076,
        [5.843766527, 2.000000030],
        [-1.324465791, 3.164868974],
        [1.9800902804, 1.6344516338, -0.3491902206, 0.1759656132, 1.2883854305],
        [0.0996966195, 0.1112862089, 0.1310089126, 0.1051106749, 0.1277982280],
        [32.22132144, 101.48652159],
        [7.121840729, 2.000000060],
        [0, 0],
        [0.04102730186],
        [0.6010567528, 0.5903091976],
    ),
    "ti": Reference(
        158.779145742,
        [5.555126399, 1.000000017, 7.463903288],
        [-2.168195486, 2.260008842],
        [0.17284150624, -0.09521865573, -0.31567550350, -0.93236874520, -1.21703540655],
        [0.10027804039, 0.06980130390, 0.07070227237, 0.06694837444, 0.07535374640],
        [180.358791247, 1.023509641, 42.960670165],
        [6.122203027, 1.000000033, 8.907897427],
        [0.0, 0.31254596, 0.0],
        [0.0222518423],
        [0.8441206221, 0.8364524693],
    ),
    "te of three": Reference(
        158.389216804,
        [17.70553962],
        [-2.185189761, 2.263889725],
        [0.1807365133, -0.1255841563, -0.2820942884, -0.9194878426, -1.3345193733],
        [0.11744224561, 0.06483068234, 0.07820774622, 0.08258380304, 0.08381513442],
        [64.03339171],
        [23.7067394],
        [0],
        [0.0219460931],
        [0.8451188055, 0.8353701061],
    ),
    "np = FALSE": Reference(
        153.605748728,
        [13.12789218],
        [-2.165436601, 2.096127235],
        [0.2477587328, -0.1164014034, -0.2917417252, -1.0383983142, -1.1657926622],
        [0.10451573264, 0.05633718098, 0.06501493472, 0.06548522711, 0.07334011800],
        [101.6502905],
        [15.04569834],
        [0],
        [0.02188946118],
        [0.8434096474, 0.8362186651],
    ),
    "slopes": Reference(
        176.651174402,
        [6.077301402e00, 1.371202499e01, 1.261580041e-07],
        [-2.014311992, 2.034546429],
        [1.1635236902, 0.5622903937, -1.0293865790, -1.7157390159, -0.3574242715],
        [0.08842057160, 0.09300957427, 0.10215377167, 0.08941926746, 0.09085696027],
        [1.292631622e02, 5.038024356e01, 8.285773414e-09],
        [6.822199453, 14.000000000, 15.000000000],
        [0.0, 0.0, 0.4612965742],
        [0.1581915887],
        [0.8437013103, 0.8326234895],
    ),
    "weights and offset": Reference(
        1096.84805104,
        [5.839659877, 4.602938749],
        [-3.381966484, 3.041727770],
        [1.6158113220, 1.6352419541, -1.0189037297, -0.5562599530, 0.7904605451],
        [0.09179294076, 0.09689810222, 0.10524482432, 0.12732734190, 0.14460552862],
        [115.91643725, 96.74213623],
        [6.593691429, 9.000000000],
        [0, 0],
        [0.03736688157],
        [0.1636385545, -1.7854137007],
    ),
}

# formula, options, and the relative error of standard errors: mgcv has Fisher's information and
# Pearson's dispersion where the likelihood's own are used here
MODELS = {
    "two": ("y1 ~ z + s(x0, k=12) + s(x1, k=12)", {}, 1e-5),
    "te": ("y2 ~ te(x0, x1)", {}, 1e-5),
    "by": ("y3 ~ f + s(x0, by=f)", {}, 1e-5),
    "re": ("y4 ~ s(x0) + s(g, bs='re')", {}, 1e-5),
    "poisson": ("y5 ~ s(x0) + s(x2, bs='cp')", {"family": likelihoods.poisson}, 1e-5),
    "binomial": ("y6 ~ s(x0) + s(x1)", {"family": likelihoods.binomial}, 1e-3),
    "gamma": ("y7 ~ s(x0) + s(x2, bs='cp')", {"family": likelihoods.gamma}, 0.06),
    "negative binomial": ("y5 ~ s(x0)", {"family": likelihoods.negative_binomial}, 0.01),
    "select": ("y1 ~ s(x0, k=12) + s(x2, k=12)", {"select": True}, 1e-4),
    "cr": ("y1 ~ s(x0, bs='cr', k=12) + s(x1, by=z, bs='cr')", {}, 1e-4),
    "ti": ("y2 ~ s(x0, k=8) + s(x1, k=8) + ti(x0, x1)", {}, 1e-3),
    "te of three": ("y2 ~ te(x0, x1, x2, bs=c('ps', 'cr', 'cp'), k=c(4, 4, 5))", {}, 1e-4),
    "np = FALSE": ("y2 ~ te(x0, x1, k=c(6, 5), np=FALSE)", {}, 1e-5),
    "slopes": ("y4 ~ s(x0) + s(g, bs='re') + s(g, z, bs='re')", {}, 1e-4),
    "weights and offset": (
        "y5 ~ s(x0) + s(x2, bs='cp') + offset(z)",
        {"family": likelihoods.poisson, "weights": "w"},
        1e-5,
    ),
}
QUICK = ("two", "te", "by", "re")


def frame() -> pandas.DataFrame:
    rng = np.random.default_rng(11)
    n = 300
    x0, x1, x2 = rng.uniform(0, 1, (3, n))
    z = rng.normal(size=n)
    f, g = rng.integers(0, 3, n), rng.integers(0, 15, n)
    f0, f1, f2 = np.sin(2 * np.pi * x0), np.exp(2 * x1) / 3, np.cos(2 * np.pi * x2)
    b = 0.6 * rng.normal(size=15)
    e = 0.4 * rng.normal(size=n)
    eta = f0 / 2 + f2 / 2 + 0.8
    columns = {"x0": x0, "x1": x1, "x2": x2, "z": z}
    columns |= {"f": np.array(list("abc"))[f], "g": np.array([f"g{k:02d}" for k in range(15)])[g]}
    columns |= {"y1": f0 + f1 + 0.5 * z + e, "y2": f0 * f1 + e}
    columns |= {"y3": f0 * (f - 1) + 0.3 * f + e, "y4": f0 + b[g] + e}
    columns["y5"] = rng.poisson(np.exp(eta)).astype(float)
    columns["y6"] = rng.binomial(1, 1 / (1 + np.exp(-2 * f0 - f1 + 1))).astype(float)
    columns["y7"] = np.exp(eta) * rng.gamma(4.0, size=n) / 4
    columns["w"] = rng.uniform(0.5, 2, n)
    return pandas.DataFrame(columns)


@functools.cache
def fitted(name: str) -> splines.AdditiveFit:
    formula, options, _ = MODELS[name]
    return splines.additive(formula, frame(), **options).fit()


slowly = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MODELS]


@pytest.mark.parametrize("name", slowly)
def test_additive_models_are_those_of_mgcv(name):
    """REML, edf, fitted values, standard errors and tests."""
    found, wanted, close = fitted(name), REFERENCES[name], MODELS[name][2]
    wide = np.ptp(wanted.ends)
    assert abs(found.reml - wanted.reml) < 2e-3  # where it is flat, mgcv stops earlier
    assert found.reml < wanted.reml + 1e-4  # no worse a maximum
    np.testing.assert_allclose(list(found.edf.values()), wanted.edf, rtol=1e-3, atol=5e-3)
    np.testing.assert_allclose(found.linear_predictor[ROWS], wanted.predictor, atol=3e-4 * wide)
    np.testing.assert_allclose(found.se[ROWS], wanted.se, rtol=2 * close)
    explained = [found.deviance_explained, found.r_squared]
    np.testing.assert_allclose(explained, wanted.explained, rtol=1e-3)
    columns = [test.se for test in found.test_columns().values()]
    np.testing.assert_allclose(columns, wanted.columns_se, rtol=2 * close)
    tests = list(found.test_smooths().values())
    dispersed = found.model.family.dispersed
    for k, test in enumerate(tests):
        np.testing.assert_allclose(test.reference, wanted.reference_df[k], rtol=1e-3, atol=5e-3)
        if wanted.edf[k] > 1e-3:  # otherwise both are rounding
            allowed = max(0.005, close) if test.edf > 1e-3 else 1
            np.testing.assert_allclose(test.statistic, wanted.statistics[k], rtol=allowed)
        if wanted.p[k] > 1e-4 and test.edf > 1e-3:
            np.testing.assert_allclose(test.p, wanted.p[k], rtol=0.05)
        elif test.edf > 1e-3:
            assert test.p < 1e-3
    assert dispersed == (found.scale != 1)


def test_predictions_and_terms_are_those_of_mgcv():
    """predict(m, data.frame(z=0, x0=c(-0.2, 0.5, 1.1), x1=0.5), se=TRUE), which extrapolates, and
    predict(m, d[1:3, ], type="terms", se=TRUE); sp / S.scale."""
    fit, data = fitted("two"), frame()
    new = pandas.DataFrame({"z": 0.0, "x0": [-0.2, 0.5, 1.1], "x1": 0.5})
    found = fit.predict(new, interval=0.95)
    np.testing.assert_allclose(found.fit, [-1.1701769473, 0.8720962645, 1.0405268518], atol=1e-6)
    np.testing.assert_allclose(found.se, [0.58368973287, 0.06363929483, 0.36662818989], rtol=1e-5)
    np.testing.assert_allclose(found.upper - found.fit, 1.959963985 * found.se)
    curve = fit.smooth("s(x0)", x=data.x0[:3])
    np.testing.assert_allclose(
        curve.fit, [0.77114043398, -0.01480255822, -0.59750489592], atol=1e-6
    )
    np.testing.assert_allclose(curve.se, [0.05062724295, 0.04834296482, 0.05206966441], rtol=1e-5)
    np.testing.assert_allclose(fit.predict(data[:3], terms="s(x0)"), curve.fit, atol=1e-12)
    np.testing.assert_allclose(fit.predict(), fit.linear_predictor, atol=1e-12)
    np.testing.assert_allclose(fit.predict(data, se=True).se, fit.se, rtol=1e-8)
    smoothing = np.exp(np.concatenate(list(fit.log_smoothing.values())))
    np.testing.assert_allclose(smoothing, [0.5173637801, 21.3553614546], rtol=1e-4)


@pytest.mark.slow
def test_parameters_of_families_are_those_of_mgcv():
    """m$family$getTheta(TRUE), m$reml.scale"""
    np.testing.assert_allclose(fitted("negative binomial").parameters["size"], 8.505295, rtol=1e-5)
    np.testing.assert_allclose(fitted("gamma").parameters["dispersion"], 0.2617057, rtol=1e-5)

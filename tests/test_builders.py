"""Precisions of PyTensor variables: values, gradients, and what lies outside of the domain."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support

import padchol
from padchol import precisions

pytensor = pytest.importorskip("pytensor")
pt = pytest.importorskip("pytensor.tensor")
pytest.importorskip("pymc", reason="padchol.interop.pytensor needs PyMC")

W = sp.csr_array((support.graph_laplacian(support.grid(3, 4)) < 0).astype(float))


@pytest.mark.parametrize(
    ("Q", "at"),
    [
        (precisions.leroux(W), (1.7, 0.4)),
        (precisions.ar1(6), (0.8, -0.5)),
        (precisions.rw2(7), (2.0,)),
    ],
    ids=["leroux", "ar1", "rw2"],
)
def test_values_and_gradients(Q, at):
    values = Q.on(padchol.analyze(Q.pattern))
    theta = [pt.dscalar() for _ in at]
    a = values(*theta)
    weight = np.cos(np.arange(values.plan.nnz))
    total = pt.sum(weight * a**2)
    found = pytensor.function(theta, [a, *pytensor.grad(total, theta)], mode="FAST_COMPILE")(*at)
    np.testing.assert_allclose(found[0], values(*at), rtol=1e-12)
    of = lambda *t: float(jnp.sum(weight * values(*t) ** 2))
    for j, slope in enumerate(found[1:]):
        h = 1e-6 * np.eye(len(at))[j]
        expected = (of(*(np.array(at) + h)) - of(*(np.array(at) - h))) / 2e-6
        np.testing.assert_allclose(slope, expected, rtol=1e-6)


def test_numbers_and_variables_together():
    Q = precisions.independent(precisions.ar1(5), precisions.iid(2))
    values = Q.on(padchol.analyze(Q.pattern))
    tau = pt.dscalar()
    a = pytensor.function([tau], values((tau, 0.3), (0.01,)), mode="FAST_COMPILE")
    np.testing.assert_allclose(a(1.4), values((1.4, 0.3), (0.01,)), rtol=1e-12)
    assert np.isnan(a(-1.0)).any()
    with pytest.raises(ValueError, match="rho"):
        values((tau, 1.5), (0.01,))
    with pytest.raises(ValueError, match=r"or arrays of known shape.* got x of shape \(None,\)"):
        values((pt.dvector("x"), 0.3), (0.01,))

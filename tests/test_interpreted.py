"""Row 45: a version of XLA that no longer compiles our loops as one function is noticed, by the
tests marked `optimised` as well (`test_tiled.py`), and said once; what is computed stays right."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support

import padchol
from padchol.numeric import interpreted

pytestmark = [pytest.mark.compiler, pytest.mark.canary]


@pytest.fixture
def newer(monkeypatch):
    """As if this jaxlib were one that nobody has tried."""
    monkeypatch.setattr(interpreted, "KNOWN", (0, 0))
    interpreted.warn_once.cache_clear()
    jax.clear_caches()
    yield
    interpreted.warn_once.cache_clear()


def log_determinant():
    plan, a = support.case("band")[1:]
    expected = np.linalg.slogdet(np.asarray(support.symmetric(plan, a)))[1]
    found = jax.jit(lambda a: padchol.cholesky(plan, a).logdet())(jnp.asarray(a))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_version_that_interprets_is_said_once(newer, monkeypatch):
    monkeypatch.setattr(interpreted, "one_function", jax.jit)  # the mark, dropped
    monkeypatch.setattr(interpreted, "SECONDS", 0.0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        log_determinant()
        log_determinant()
    assert len([w for w in said if "loops of padchol as one function" in str(w.message)]) == 1


def test_known_versions_are_not_measured(monkeypatch):
    interpreted.warn_once.cache_clear()
    monkeypatch.setattr(interpreted, "interpreted", lambda: pytest.fail("measured"))
    interpreted.warn_once()
    assert tuple(map(int, jax.lib.__version__.split(".")[:2])) <= interpreted.KNOWN


@pytest.mark.optimised
@pytest.mark.slow
def test_this_version_compiles_them(newer):
    """By time: ten times as fast with the mark as without it."""
    assert not interpreted.interpreted()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log_determinant()

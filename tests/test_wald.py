"""Tests of linear hypotheses, apart from any model."""

import numpy as np
import pytest
import scipy.stats

from padchol.mixed.wald import wald

BETA = np.array([1.0, -2.0, 0.5])
C = np.diag([0.25, 4.0, 1.0])


def test_large_samples():
    found = wald(BETA, C, np.eye(3)[:2], [0.0, 1.0])
    assert pytest.approx((1 / 0.25 + 9 / 4) / 2) == found.F
    assert (found.df, found.df_denominator) == (2, np.inf)
    assert found.p_value == pytest.approx(scipy.stats.chi2(2).sf(2 * found.F))
    np.testing.assert_allclose(found.estimate, [1, -3])
    np.testing.assert_allclose(found.standard_error, [0.5, 2])


@pytest.mark.parametrize(
    ("nu", "expected"),
    [
        ([5.0, 5.0, 5.0], 5.0),
        ([4.0, 6.0, 8.0], 58 / 11),  # E = 2 + 3/2 + 4/3 = 29/6
        ([4.0, 6.0, np.inf], 6.0),  # E = 9/2
        ([np.inf, np.inf, np.inf], np.inf),
        ([1.0, 1.5, 2.0], 2.0),
        ([1.5, 50.0, 60.0], 2.0),  # E < 3: of no t distribution, and of none with many degrees
        ([1.5, np.inf, np.inf], 2.0),
    ],
)
def test_degrees_of_freedom_of_several_rows(nu, expected):
    """Those of the F distribution with the mean that the t_k^2 have, 2 where they have none."""
    found = wald(BETA, C, np.eye(3), df_of=lambda row: nu[int(np.argmax(np.abs(row)))])
    assert found.df_denominator == pytest.approx(expected)
    law = scipy.stats.f(3, expected) if np.isfinite(expected) else scipy.stats.chi2(3, scale=1 / 3)
    assert found.p_value == pytest.approx(law.sf(found.F))


def test_what_cannot_be_tested():
    with pytest.raises(ValueError, match=r"L of shape \(r, 3\), finite; got shape \(1, 2\)"):
        wald(BETA, C, np.ones(2))
    with pytest.raises(ValueError, match="a row that is not zero; got rank 0"):
        wald(BETA, C, np.zeros((2, 3)))
    failed = wald(BETA, C * np.nan, np.eye(3))
    assert np.isnan([failed.F, failed.p_value, failed.df_denominator]).all()
    np.testing.assert_array_equal(failed.estimate, BETA)

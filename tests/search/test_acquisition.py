import numpy as np

from bompnas.search.acquisition import upper_confidence_bound


def test_upper_confidence_bound_adds_beta_deviations():
    values = upper_confidence_bound(np.array([1.0, 2.0]), np.array([0.5, 0.0]), beta=2.0)
    np.testing.assert_array_equal(values, [2.0, 2.0])

"""What a network promises: functions of the surrogate's mean and standard deviation."""

import numpy as np


def upper_confidence_bound(mean: np.ndarray, deviation: np.ndarray, beta: float) -> np.ndarray:
    """Optimistic value of a maximized target (GP-UCB, Srinivas et al. 2010; BOMP-NAS, section on the search strategy).

    Args:
        mean: Posterior mean, shape (m,).
        deviation: Posterior standard deviation, shape (m,).
        beta: Standard deviations of optimism; 2.576 bounds a normal variable with probability 0.995.

    Returns:
        Values, shape (m,); larger is better.
    """
    return mean + beta * deviation

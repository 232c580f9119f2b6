"""Keras' optimizers as functions of one vector of parameters.

Keras has stateless updates on other backends than TensorFlow only. Tests compare every step with Keras' own.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from keras import ops

MOMENTUM = 0.9
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The learning rate over steps.

    Attributes:
        rate: At the start.
        steps: After which a cosine has fallen to zero; None for a constant rate.
    """

    rate: float
    steps: int | None = None

    def at(self, step):
        """The rate of a step, counted from 0; a scalar tensor, or a number."""
        if self.steps is None:
            return self.rate
        return self.rate * 0.5 * (1.0 + ops.cos(math.pi * ops.minimum(step / self.steps, 1.0)))


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """What both optimizers have in common.

    Attributes:
        schedule: The learning rate.
        weight_decay: Decoupled decay [per step, times the learning rate].
    """

    schedule: Schedule
    weight_decay: float = 0.0

    def _decay(self, parameters, rate, decayed):
        return parameters * (1.0 - rate * self.weight_decay * decayed) if self.weight_decay else parameters


class Sgd(Optimizer):
    """Stochastic gradient descent with Nesterov's momentum."""

    def begin(self, size: int) -> tuple[np.ndarray, ...]:
        """The optimizer's variables for so many parameters before the first step."""
        return np.float32(0), np.zeros(size, np.float32)

    def update(self, parameters, gradient, decayed, variables) -> tuple[Any, tuple[Any, ...]]:
        """Parameters and the optimizer's variables after a step.

        Args:
            parameters: Shape (parameters,).
            gradient: Of the loss by them.
            decayed: 1 where weight decay acts, else 0.
            variables: Before the step.
        """
        step, velocity = variables
        rate = self.schedule.at(step)
        velocity = MOMENTUM * velocity - rate * gradient
        parameters = self._decay(parameters, rate, decayed)
        return parameters + MOMENTUM * velocity - rate * gradient, (step + 1.0, velocity)


class Adam(Optimizer):
    """Adam [Kingma and Ba 2015], with the betas and the epsilon of Keras."""

    def begin(self, size: int) -> tuple[np.ndarray, ...]:
        """The optimizer's variables for so many parameters before the first step."""
        return np.float32(0), np.zeros(size, np.float32), np.zeros(size, np.float32)

    def update(self, parameters, gradient, decayed, variables) -> tuple[Any, tuple[Any, ...]]:
        """Parameters and the optimizer's variables after a step; arguments as of `Sgd.update`."""
        step, first, second = variables
        rate = self.schedule.at(step)
        first = first + (gradient - first) * (1 - BETA_1)
        second = second + (gradient * gradient - second) * (1 - BETA_2)
        # 1 - beta^t as -expm1(t log beta), which keeps its digits in float32
        corrected = rate * ops.sqrt(-ops.expm1((step + 1.0) * math.log(BETA_2)))
        corrected = corrected / -ops.expm1((step + 1.0) * math.log(BETA_1))
        parameters = self._decay(parameters, rate, decayed)
        return parameters - corrected * first / (ops.sqrt(second) + EPSILON), (step + 1.0, first, second)

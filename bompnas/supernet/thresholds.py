"""The thresholds of HQNAS: probabilities of gates, and REINFORCE on them.

A gate is open with probability sigma(id), where id compares the norm of the weights that it is about with a threshold.
How the paper is read:

* A norm is taken relative to what it would be if its weights were like all others: the mean square of a subset over
  that of its kernel; the square of a residual over that of uniform rounding errors. As printed, ||w||^2 - t, norms
  differ by orders of magnitude between layers and precisions, and sigma is 0 or 1 before anything is learned.
* id = SHARPNESS * (norm - t) for parts to be kept, SHARPNESS * (t - norm) for bits to be left out, the paper's signs.
* Algorithm 1 subtracts the gradient of a reward that is to be maximized: implemented is ascent.
* The paper has no baseline: each network's reward is compared with the mean of the others', which leaves the estimate
  unbiased. The optimizer is Adam, which is indifferent to the unit of the reward.
* Probabilities stay within 2 and 98 %, so that nothing is settled before the end.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from bompnas.supernet.chains import Chains
from bompnas.supernet.structure import Group, Structure

SHARPNESS = 4.0
"""Logits by unit of a relative norm (ours)."""
SPREAD = 0.1
"""Deviation of the first thresholds from the first norms (ours; the paper says they are random)."""
EXTREME = float(np.log(0.98 / 0.02))
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


@dataclasses.dataclass(frozen=True, eq=False)
class Thresholds:
    """The thresholds and the state of their optimizer.

    Attributes:
        values: One for each gate, shape (gates,).
        first: Adam's mean of the gradients.
        second: Adam's mean of their squares.
        steps: Number of updates.
    """

    values: np.ndarray
    first: np.ndarray
    second: np.ndarray
    steps: int = 0

    @classmethod
    def begin(cls, norms: np.ndarray, generator: np.random.Generator) -> "Thresholds":
        """Random thresholds around the norms: all gates are about as likely open as closed."""
        nothing = np.zeros(len(norms))
        return cls(norms + SPREAD * generator.standard_normal(len(norms)), nothing, nothing)

    def logits(self, norms: np.ndarray, chains: Chains) -> np.ndarray:
        """The indicator id of each gate, bounded, shape (gates,)."""
        return np.clip(SHARPNESS * chains.signs * (norms - self.values), -EXTREME, EXTREME)

    def probabilities(self, norms: np.ndarray, chains: Chains) -> np.ndarray:
        """That each gate is open, shape (gates,)."""
        return 1 / (1 + np.exp(-self.logits(norms, chains)))

    def ascend(self, gradient: np.ndarray, learning_rate: float, norms: np.ndarray, chains: Chains) -> "Thresholds":
        """The thresholds after a step towards larger rewards.

        Args:
            gradient: Of the expected reward by the logits, shape (gates,).
            learning_rate: Of Adam.
            norms: No threshold goes further from them than probabilities do.
            chains: The gates.
        """
        slope = -SHARPNESS * chains.signs * gradient
        steps = self.steps + 1
        first = BETA_1 * self.first + (1 - BETA_1) * slope
        second = BETA_2 * self.second + (1 - BETA_2) * slope**2
        mean, square = first / (1 - BETA_1**steps), second / (1 - BETA_2**steps)
        values = self.values + learning_rate * mean / (np.sqrt(square) + EPSILON)
        reach = EXTREME / SHARPNESS
        return Thresholds(np.clip(values, norms - reach, norms + reach), first, second, steps)

    @classmethod
    def relaxed(cls, learned: np.ndarray, norms: np.ndarray, share: float) -> "Thresholds":
        """Learned thresholds that are to learn anew: their logits shrunk to a share, the optimizer at its beginning."""
        nothing = np.zeros(len(norms))
        return cls(norms + share * (learned - norms), nothing, nothing)


def reward_gradient(chains: Chains, probabilities: np.ndarray, gates: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """An unbiased estimate of the gradient of the expected reward by the logits (Algorithm 1).

    (1/N) sum_i (R_i - b_i) grad log p(network_i), with b_i the mean reward of the other networks.

    Args:
        chains: The gates.
        probabilities: That each gate is open, shape (gates,).
        gates: Of the N networks, drawn with these probabilities, shape (N, gates), N at least 2.
        rewards: Theirs, shape (N,).

    Returns:
        Shape (gates,).
    """
    count = len(rewards)
    advantages = (rewards - rewards.mean()) * count / (count - 1)
    return advantages @ chains.log_probability_gradient(probabilities, gates) / count


def relative_norms(structure: Structure, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The norm that each gate compares with its threshold, about 1 for fresh weights, shape (gates,).

    Args:
        structure: The supernet's.
        arrays: Its weights, as `Supernet.arrays` gives them.
    """
    return np.array([norm for group in structure.groups for norm in _group_norms(group, arrays)])


def _group_norms(group: Group, arrays: Mapping[str, np.ndarray]) -> list[float]:
    """In the order of `Group.chains`: skip, kernel, expansion, bits."""
    kernel = arrays[f"{group.depthwise.name}/kernel"].astype(np.float64)[..., 0]
    largest, inputs = group.kernels[-1], group.expand.in_channels
    squares = kernel**2
    mean = squares.mean()
    first = squares[:, :, : group.expansions[0] * inputs]
    norms = [first.mean() / mean] if group.skippable else []
    for smaller, larger in zip(group.kernels[:-1], group.kernels[1:], strict=True):
        inner, outer = (slice((largest - size) // 2, (largest + size) // 2) for size in (smaller, larger))
        ring = squares[outer, outer].sum() - squares[inner, inner].sum()
        norms.append(ring / ((larger**2 - smaller**2) * squares.shape[2]) / mean)
    for smaller, larger in zip(group.expansions[:-1], group.expansions[1:], strict=True):
        norms.append(squares[:, :, smaller * inputs : larger * inputs].mean() / mean)
    kernels = [
        (arrays[f"{group.expand.name}/kernel"], (0, 1, 2)),
        (arrays[f"{group.depthwise.name}/kernel"], (0, 1, 3)),
        (arrays[f"{group.project.name}/kernel"], (0, 1, 2)),
    ]
    for finer, coarser in zip(group.levels[:-1], group.levels[1:], strict=True):
        residual = expected = 0.0
        for values, axes in kernels:
            maximum = np.maximum(np.abs(values).max(axes, keepdims=True).astype(np.float64), 1e-30)
            grids = [np.round(values / (maximum / levels)) * (maximum / levels) for levels in (finer, coarser)]
            residual += ((grids[0] - grids[1]) ** 2).sum()
            variance = (maximum**2 / 12) * (1 / coarser**2 - 1 / finer**2)
            expected += variance.sum() * values.size / variance.size
        norms.append(residual / max(expected, 1e-300))
    return norms

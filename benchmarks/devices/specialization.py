"""The best policy of one network for each of three devices, and what it costs on the others.

Exhaustive: of all policies of `devices.policies` that keep a device's budget, the most accurate one; of equally
accurate ones the fastest there.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from bompnas.hardware.model import CostModel
from bompnas.hardware.registry import load
from bompnas.space.batch import NetworkBatch
from devices.policies import UNIFORM_8, Policy, network

DEVICES: Mapping[str, CostModel] = {
    "BitFusion, 4 x 4": load("bitfusion", {"rows": 4, "columns": 4}),
    "bit-serial, edge": load("bit_serial_edge", {}),
    "bit-serial, cloud": load("bit_serial", {}),
}
"""The accelerator as small as the network: on its 16 x 32 units all policies would take nearly the same time."""
BUDGET = 0.6
"""Of the latency at 8 bits; on the edge device no policy takes less than 0.51."""


@dataclasses.dataclass(frozen=True, eq=False)
class Crossing:
    """All policies on all devices.

    Attributes:
        policies: All of them.
        accuracies: Theirs on the validation part, shape (n,).
        latency_ms: By device, shape (n,).
    """

    policies: tuple[Policy, ...]
    accuracies: np.ndarray
    latency_ms: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, table: Mapping[Policy, float]) -> "Crossing":
        """Prices the policies of a table."""
        policies = tuple(table)
        batch = NetworkBatch.of([network(policy) for policy in policies])
        latency_ms = {name: device.costs(batch)["latency_ms"] for name, device in DEVICES.items()}
        return cls(policies, np.array([table[policy] for policy in policies]), latency_ms)

    def budget_ms(self, device: str) -> float:
        """What a policy may take on a device."""
        return BUDGET * self.latency_ms[device][self.policies.index(UNIFORM_8)]

    def best(self, device: str) -> int:
        """Place of the best policy for a device."""
        within = np.flatnonzero(self.latency_ms[device] <= self.budget_ms(device))
        order = np.lexsort((self.latency_ms[device][within], -self.accuracies[within]))
        return int(within[order[0]])

    def reached(self, device: str) -> np.ndarray:
        """Latencies and accuracies of the policies that no other dominates there, fastest first, (k, 2)."""
        latency_ms = self.latency_ms[device]
        order = np.lexsort((-self.accuracies, latency_ms))
        best = np.maximum.accumulate(self.accuracies[order])
        kept = order[np.diff(best, prepend=-1.0) > 0]
        return np.stack([latency_ms[kept], self.accuracies[kept]], axis=1)

"""All that is known of networks before any training: what is counted, and what a device tells of."""

import dataclasses
from collections.abc import Callable, Collection

import numpy as np

from bompnas.errors import InputError
from bompnas.hardware.counts import Counts, counts
from bompnas.hardware.model import CostModel
from bompnas.hardware.quantities import FACTS
from bompnas.space.batch import NetworkBatch

Costs = Callable[[NetworkBatch], dict[str, np.ndarray]]


def network_costs(device: CostModel | None = None, asked: Collection[str] = ()) -> Costs:
    """The costs of networks: `counts`, the counted costs that are asked for beside them, and the device's.

    Args:
        device: What networks are to run on; None for no device.
        asked: Names of costs, of which those that `Counts` tells of are counted.

    Returns:
        n networks -> arrays of shape (n,) by name.

    Raises:
        InputError: The device calls a cost as a counted one is called.
    """
    counted = [quantity.name for quantity in Counts().quantities]
    further = tuple(name for name in counted if name in asked and name not in FACTS)
    if device is None and not further:
        return counts
    taken = [] if device is None else [quantity.name for quantity in device.quantities if quantity.name in counted]
    if taken and not isinstance(device, Counts):
        raise InputError(
            f"hardware: {type(device).__name__} tells of {', '.join(taken)}, which is counted without a device; "
            "expected other names for its costs"
        )
    return _NetworkCosts(device, further)


@dataclasses.dataclass(frozen=True, eq=False)  # hashable, whatever the device is
class _NetworkCosts:
    """Costs that can be sent to another process.

    Attributes:
        device: What tells of costs beside the counted ones; None for nothing.
        further: Names of counted costs beside the facts.
    """

    device: CostModel | None
    further: tuple[str, ...]

    def __call__(self, networks: NetworkBatch) -> dict[str, np.ndarray]:
        found = counts(networks)
        if self.further:
            everything = Counts().costs(networks)
            found |= {name: everything[name] for name in self.further}
        return found if self.device is None else found | self.device.costs(networks)

"""What BOMP-NAS and the papers that it names have published for CIFAR (BOMP-NAS, Tables II, III and IV)."""

import dataclasses

OWN = "BOMP-NAS"
"""The method whose published numbers are this package's own aim."""


@dataclasses.dataclass(frozen=True)
class PublishedNetwork:
    """A network as its paper reports it.

    Attributes:
        method: How it was found.
        accuracy: On the test part, a fraction.
        kilobytes: Model size [kB]; the papers do not all say what it counts.
    """

    method: str
    accuracy: float
    kilobytes: float


@dataclasses.dataclass(frozen=True)
class PublishedCost:
    """What a search took, as its paper reports it.

    Attributes:
        method: How was searched.
        hours: GPU hours for each deployment scenario, on that paper's hardware.
        table: Table of BOMP-NAS that the number is from.
    """

    method: str
    hours: float
    table: str


NETWORKS = {
    "cifar10": (
        PublishedNetwork("JASQ (repr.)", 0.6597, 4.47),
        PublishedNetwork(OWN, 0.6736, 4.57),
        PublishedNetwork("JASQ", 0.9703, 900.00),
        PublishedNetwork(OWN, 0.8867, 76.08),
        PublishedNetwork("µNAS", 0.8649, 11.40),
        PublishedNetwork(OWN, 0.8396, 16.30),
    ),
    "cifar100": (
        PublishedNetwork("DFQ", 0.7730, 11200.00),
        PublishedNetwork("GZSQ", 0.7595, 5600.00),
        PublishedNetwork(OWN, 0.7584, 4199.00),
        PublishedNetwork("LIE", 0.7334, 1800.00),
        PublishedNetwork(OWN, 0.7400, 1773.00),
        PublishedNetwork("Mix&Match", 0.7150, 1700.00),
        PublishedNetwork("LIE", 0.7124, 1010.00),
        PublishedNetwork(OWN, 0.7236, 1047.00),
        PublishedNetwork("APoT", 0.6642, 90.00),
        PublishedNetwork(OWN, 0.6818, 353.00),
    ),
}
"""Table II, by data set."""

COSTS = {
    "cifar10": (
        PublishedCost("JASQ", 72, "III"),
        PublishedCost("µNAS", 552, "III"),
        PublishedCost("BOMP-NAS (mixed-precision QAFT)", 12, "III and IV"),
        PublishedCost("BOMP-NAS, 4-bit QAFT", 15, "IV"),
        PublishedCost("BOMP-NAS, mixed-precision PTQ", 10, "IV"),
        PublishedCost("BOMP-NAS, 8-bit PTQ", 10, "IV"),
    ),
    "cifar100": (
        PublishedCost("BOMP-NAS (mixed-precision QAFT)", 30, "III and IV"),
        PublishedCost("BOMP-NAS, 4-bit QAFT", 35, "IV"),
        PublishedCost("BOMP-NAS, mixed-precision PTQ", 23, "IV"),
        PublishedCost("BOMP-NAS, 8-bit PTQ", 23, "IV"),
    ),
}
"""Tables III and IV, by data set."""

"""What is searched, and how often: light to import, sent to other processes."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = ROOT / "experiments" / "hqnas_digits.yaml"
TRIALS = ROOT / "experiments" / "digits.yaml"
"""Whose early training searches by trials have."""
PRIORS: Mapping[str, float] = {"accuracy first": 0.2, "latency first": 0.8}
"""Weights of the cost, those of Fig. 5."""
METHODS = ("random", "bomp")
"""What is compared with at equal wall time."""
WEIGHTS = ("fresh", "inherited")
DEVICES: Mapping[str, str] = {
    "bitfusion": "hardware.model=bitfusion",
    "bit_serial_edge": "hardware={model: bit_serial_edge}",
}
"""The experiment's own, where a larger kernel costs twice the time, and bits count; and one where kernels are free."""
LIMITS: Mapping[str, float] = {"device": 0.5, "tight": 0.1}
"""Parts that search for a device: their limits on the latency, shares of random networks that keep them."""
LIMITED = (
    "method.units=relative",
    "method.cost_weight=0.5",
    "method.accuracy_threshold=1.0",
    "method.slope=0.0",
)
"""Searches for a device: accuracy, less what is above the limit on latency; being faster than that wins nothing."""
AS_IT_IS = "as it is"
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "4 samples": ("method.samples=4",),
    "16 samples": ("method.samples=16",),
    "no warm-up": ("method.warm_up=0",),
    "literal": ("method.literal=true",),
}
"""What else might be set, each with the first of the priors."""


@dataclasses.dataclass(frozen=True)
class Case:
    """The experiment, perhaps shortened.

    Attributes:
        overrides: Keys of the experiment that are replaced.
        searched: Those of the search of a supernet alone.
        tried: Those of searches by trials alone.
        few_epochs: Of final trainings from fresh and from inherited weights, beside the experiment's own number.
    """

    overrides: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()
    few_epochs: tuple[int, ...] = (5, 15)


WHOLE = Case()
QUICK = Case(
    ("data.train_images=256", "final.epochs=2", "final.qaft_epochs=1"),
    ("training.epochs=3", "method.warm_up=1", "method.samples=2", "method.candidates=1"),
    ("training.epochs=1",),
    (1,),
)
"""To see that everything works."""


def prior(name: str) -> str:
    """The override that sets a prior."""
    return f"method.cost_weight={PRIORS[name]}"

"""Latency on this machine's CPU as a cost of candidates."""

import dataclasses
from typing import Any

from bompnas.errors import InputError
from bompnas.hardware.model import MeasuredModel
from bompnas.hardware.quantities import LATENCY


@dataclasses.dataclass(frozen=True)
class LiteRTLatency(MeasuredModel):
    """Median time of one inference of a network's LiteRT file; layers that stay in float are left out.

    Attributes:
        threads: For LiteRT.
        warmup: Runs before the measured ones.
        repetitions: Measured runs.

    Raises:
        InputError: A number is too small.
    """

    quantities = (LATENCY,)

    threads: int = 1
    warmup: int = 10
    repetitions: int = 100

    def __post_init__(self) -> None:
        for name, least in (("threads", 1), ("warmup", 0), ("repetitions", 1)):
            if getattr(self, name) < least:
                raise InputError(f"LiteRTLatency: {name} is {getattr(self, name)}, expected {least} or more")

    def measure(self, graph: Any) -> dict[str, float]:
        """See `bompnas.hardware.model.MeasuredModel.measure`.

        Raises:
            NotExportableError: LiteRT has no integer kernel for a layer.
        """
        from bompnas.export import latency, litert  # slow to import, and experiments are read with this module

        content = litert.write(graph)
        found = latency.measure(content, self.threads, self.warmup, self.repetitions)
        return {LATENCY.name: found.median_ms}

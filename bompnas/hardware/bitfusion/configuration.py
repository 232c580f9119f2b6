"""A BitFusion accelerator's sizes, and what events cost on it."""

import dataclasses

from bompnas.errors import InputError


@dataclasses.dataclass(frozen=True)
class Energy:
    """Energy of events [nJ], fitted to the published table, which is of the default configuration.

    Attributes:
        cycle: Every cycle (static power).
        busy_cycle: What a cycle adds in which the array computes.
        buffers: Reading a bit of inputs, reading and writing a bit of sums, reading a bit of weights.
        transfers: Moving a bit of inputs, sums, weights to or from DRAM.
    """

    cycle: float = 0.4313
    busy_cycle: float = 0.4825
    buffers: tuple[float, float, float] = (5.25e-6, 2.90e-5, 1.579e-5)
    transfers: tuple[float, float, float] = (0.01511, 0.01507, 0.01501)


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Sizes of an accelerator.

    Attributes:
        rows: Units that add up, an input channel each.
        columns: Units side by side, an output channel each.
        frequency_mhz: Clock [MHz].
        dram_bits_per_cycle: What DRAM moves in a cycle [bits].
        input_buffer_b: Both halves of the input buffer [B].
        output_buffer_b: Both halves of the output buffer, which holds sums of 32 bits [B].
        weight_buffer_b: Both halves of the weight buffer [B].
        batch: Images at a time.
        energy: Energy of events.

    Raises:
        InputError: A size is not a positive number, or not a whole one where it has to be.
    """

    rows: int = 16
    columns: int = 32
    frequency_mhz: float = 500.0
    dram_bits_per_cycle: int = 192
    input_buffer_b: int = 32768
    output_buffer_b: int = 16384
    weight_buffer_b: int = 65536
    batch: int = 1
    energy: Energy = Energy()

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in (int, float) and not (isinstance(value, int | field.type) and value > 0):
                expected = "a positive whole number" if field.type is int else "a positive number"
                raise InputError(f"BitFusion: {field.name} is {value!r}, expected {expected}")

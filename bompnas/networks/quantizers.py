"""Quantizers: symmetric per-channel weights, power-of-two per-tensor activations.

Both are QKeras quantizers: callable on a tensor, serializable, and usable as `kernel_quantizer` and `activation` of
QKeras layers. QKeras' own `quantized_bits` is not used because its depthwise scale axis is lost on reload and its level
count follows from the bits alone.
"""

import keras
from keras import ops
from qkeras.base_quantizer import BaseQuantizer

from bompnas.networks.fused import fake_quantize
from bompnas.space.levels import full

# Keeps steps of dead channels positive and normal in float32.
SMALLEST_STEP = 2.0**-40


def straight_through(values, quantized):
    """Returns `quantized` with the gradient of `values`."""
    return values + ops.stop_gradient(quantized - values)


@keras.saving.register_keras_serializable("bompnas")
class WeightQuantizer(BaseQuantizer):
    """Symmetric weights per output channel: integers in [-levels, levels] times a step.

    The step is max|w| / levels of the channel [Nagel et al. 2021, the white paper that BOMP-NAS follows].

    Nested grids are rounded to by way of the finest of them: a weight becomes an integer there, and that an integer of
    the coarser grid, finest / levels times as coarse. As this is odd no integer lies halfway, so the integers of all
    the grids follow from those of any finer one. Rounded to each by itself they would not, where a weight is within the
    error of float32 of the middle between two values.

    Args:
        bits: Width of a weight, 2 to 16.
        axis: Axis of the output channels in the kernel: -1 for conv and dense, 2 for depthwise.
        levels: Largest integer; 2^(bits-1) - 1 unless a policy nests its grids.
        finest: Levels of the finest of nested grids, an odd multiple of `levels`; None for a grid by itself.
    """

    alpha = "auto"  # tells QKeras layers that the scale follows the weights

    def __init__(self, bits: int, axis: int = -1, levels: int | None = None, finest: int | None = None):
        super().__init__()
        if not 2 <= bits <= 16:
            raise ValueError(f"weight bits must be 2 to 16, found {bits}")
        self.bits = bits
        self.axis = axis
        self.levels = full(bits) if levels is None else levels
        if finest is not None and (finest % self.levels or finest // self.levels % 2 == 0):
            raise ValueError(f"finest levels must be an odd multiple of {self.levels}, found {finest}")
        self.finest = finest

    @property
    def number(self) -> float:
        """What a policy changes about the quantizer: 1 / levels, or finest / levels of nested grids."""
        return 1.0 / self.levels if self.finest is None else float(self.finest // self.levels)

    def step(self, kernel, number=None):
        """Step of each output channel, broadcastable against the kernel.

        Args:
            kernel: Float weights.
            number: As `number`, where it is another one than the quantizer's.
        """
        number = self.number if number is None else number
        axes = [axis for axis in range(len(kernel.shape)) if axis != self.axis % len(kernel.shape)]
        largest = ops.max(ops.abs(kernel), axis=axes, keepdims=True)
        # A product: TensorFlow's graph optimizer makes one of a division by a constant, which rounds differently, and
        # steps must be the same bits in a graph and out of it.
        if self.finest is None:
            return ops.maximum(largest * number, SMALLEST_STEP)
        return ops.maximum(largest * (1.0 / self.finest), SMALLEST_STEP) * number

    def integers(self, kernel, step, number=None):
        """The kernel's integers as floats.

        Args:
            kernel: Float weights.
            step: As `step()` returns it, or larger; larger ones are a grid by itself.
            number: As of `step()`.
        """
        integers = ops.round(kernel / step)
        if self.finest is None:
            return integers
        number = self.number if number is None else number
        fine = self.step(kernel, 1.0)
        return ops.where(step > fine * number, integers, ops.round(ops.round(kernel / fine) / number))

    def __call__(self, kernel, step=None, number=None):
        """The kernel on its grid, with a straight-through gradient; arguments as of `integers`."""
        step = self.step(kernel, number) if step is None else step
        return straight_through(kernel, self.integers(kernel, step, number) * step)

    def get_config(self):
        """Constructor arguments."""
        config = {"bits": self.bits, "axis": self.axis, "levels": self.levels}
        return config if self.finest is None else {**config, "finest": self.finest}

    @classmethod
    def from_config(cls, config):
        """Inverse of `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable("bompnas")
class ActivationQuantizer(BaseQuantizer):
    """Activations per tensor on a power-of-two grid.

    Values are integers in [low, high] times 2^exponent: [-2^(bits-1), 2^(bits-1) - 1] if signed, else [0, 2^bits - 1].
    An upper clip of the value (ReLU6) lowers `high` where it lies on the grid below it.

    Args:
        bits: Width of a value, 2 to 8.
        exponent: log2 of the scale.
        signed: Whether negative values occur; unsigned clips at 0, which is a ReLU.
        maximum: Upper clip of the value, or None.
        half_up: Round half up (what LiteRT's ADD does) instead of half to even (what its other kernels do).
    """

    def __init__(
        self, bits: int, exponent: int, signed: bool = True, maximum: float | None = None, half_up: bool = False
    ):
        super().__init__()
        if not 2 <= bits <= 8:
            raise ValueError(f"activation bits must be 2 to 8, found {bits}")
        self.bits = bits
        self.exponent = exponent
        self.signed = signed
        self.maximum = maximum
        self.half_up = half_up

    @property
    def scale(self) -> float:
        """Distance of neighbouring values."""
        return 2.0**self.exponent

    @property
    def low(self) -> int:
        """Smallest integer."""
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest integer."""
        largest = 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1
        return largest if self.maximum is None else min(largest, round(self.maximum / self.scale))

    @property
    def zero_point(self) -> int:
        """What INT8 storage holds for 0: -128 without negative values, so that 256 levels fit."""
        return 0 if self.signed else -128

    @property
    def numbers(self) -> tuple[float, float, float]:
        """Scale, low and high: all that a policy changes about the quantizer."""
        return self.scale, float(self.low), float(self.high)

    def from_real_integers(self, values):
        """Grid values of `values` given in units of the scale but not yet rounded: what an integer kernel ends with."""
        rounded = ops.floor(values + 0.5) if self.half_up else ops.round(values)
        return ops.clip(rounded, self.low, self.high) * self.scale

    def __call__(self, values):
        """Values on the grid, with a straight-through gradient inside the range and none outside."""
        clipped = ops.clip(values, self.low * self.scale, self.high * self.scale)
        return straight_through(clipped, self.from_real_integers(clipped / self.scale))

    def fake(self, values, numbers=None):
        """The same for training only: faster, and ties are always rounded up.

        Args:
            values: Any tensor.
            numbers: Scale, low and high where they are others than the quantizer's.
        """
        scale, low, high = self.numbers if numbers is None else numbers
        return fake_quantize(values, scale, low, high, self.signed)

    def get_config(self):
        """Constructor arguments."""
        return {
            "bits": self.bits,
            "exponent": self.exponent,
            "signed": self.signed,
            "maximum": self.maximum,
            "half_up": self.half_up,
        }

    @classmethod
    def from_config(cls, config):
        """Inverse of `get_config`."""
        return cls(**config)

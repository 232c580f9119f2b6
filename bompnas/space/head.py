"""The head as a search space sees it: layers that follow the pooled features."""

import dataclasses

from bompnas.space.network import HEAD, Layer


@dataclasses.dataclass(frozen=True)
class DenseHead:
    """One dense layer on the pooled features: the classifier, or a linear regressor.

    Attributes:
        outputs: Its units: classes, or targets.
    """

    outputs: int

    def __call__(self, features: int) -> tuple[Layer, ...]:
        """The head's layers for a number of features; the space replaces the weight bits by its own."""
        return (
            Layer(
                name="head_dense",
                kind="dense",
                kernel=1,
                stride=1,
                in_channels=features,
                out_channels=self.outputs,
                input_size=1,
                output_size=1,
                weight_bits=8,
                activation_bits=8,
                activation="linear",
                group=HEAD,
            ),
        )

"""Our search space as a block of AutoKeras, and a graph of AutoKeras' blocks as networks."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from bompnas.errors import InputError
from bompnas.integrations.network_parameters import NetworkParameters
from bompnas.networks import float_model
from bompnas.networks import graph as keras_graph
from bompnas.networks.head_layers import with_head
from bompnas.networks.heads import Head, HeadSource
from bompnas.space import loader
from bompnas.space.head import DenseHead
from bompnas.space.network import Layer, Network

try:
    import autokeras
    from autokeras.engine.tuner import AutoTuner
except ImportError as error:
    raise ImportError(f"AutoKeras cannot be imported ({error}): pip install 'bompnas[autokeras]'") from error

BYTES = (0.0, 255.0)


@keras.saving.register_keras_serializable("bompnas")
class MobileNetV2Block(autokeras.Block):
    """A search space of mixed-precision MobileNetV2s, from images to features.

    Architecture and weight bits are hyperparameters, named by the block and the gene
    (`mobile_net_v2_block_1/block2.kernel`). It builds the float network; `BompAutoTuner` quantizes it.

    Args:
        space: Path of the search space's YAML file.
        range: Pixel values of black and white; None for values that a block in front has normalized.
        bits: One width for all weights instead of the file's choices [bits].
        features: `pooled`, shape (batch, channels), or `map`, shape (batch, height, width, channels).
        **kwargs: Of `autokeras.Block`: `name`.

    Raises:
        InputError: The space cannot be read, or a setting is wrong.
    """

    def __init__(
        self,
        space: str | os.PathLike[str],
        range: Sequence[float] | None = BYTES,
        bits: int | None = None,
        features: str = "pooled",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if features not in ("pooled", "map"):
            raise InputError(f"MobileNetV2Block: features is {features!r}, expected 'pooled' or 'map'")
        if range is not None and not (len(range) == 2 and range[0] < range[1]):
            raise InputError(f"MobileNetV2Block: range is {range!r}, expected the values of black and white, as (0, 1)")
        self.space = loader.load(space, bits=bits)
        self.range = None if range is None else (float(range[0]), float(range[1]))
        self.features = features
        self._file, self._bits = str(Path(space).resolve()), bits

    @property
    def parameters(self) -> NetworkParameters:
        """The genes as hyperparameters."""
        return NetworkParameters(self.space, f"{self.name}/")

    def build(self, hp: keras_tuner.HyperParameters, inputs: Any = None) -> Any:
        """The float network of the hyperparameters' values.

        Raises:
            InputError: The images do not fit the space.
        """
        values = keras.tree.flatten(inputs)[0]
        expected = (self.space.input_size, self.space.input_size, self.space.input_channels)
        if tuple(values.shape[1:]) != expected:
            raise InputError(
                f"MobileNetV2Block: images of shape {tuple(values.shape[1:])} found, but space {self.space.name!r} "
                f"expects {expected}; resize the images or change the input of the space"
            )
        parameters = self.parameters
        hp.merge(parameters.hyperparameters(), overwrite=False)
        if self.range is not None:
            if self.range != BYTES:
                scale = 255 / (self.range[1] - self.range[0])
                values = keras.layers.Rescaling(scale, -self.range[0] * scale, name="bytes")(values)
            values = keras.layers.Rescaling(float_model.PIXEL_SCALE, float_model.PIXEL_OFFSET, name="centre")(values)
        network = self.space.decode(parameters.genotype(hp.values))
        return float_model.features(network, values, self.features)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        own = {"space": self._file, "range": self.range, "bits": self._bits, "features": self.features}
        return {**super().get_config(), **own}


class Networks:
    """The networks of a graph with our block, together with the head behind it.

    Attributes:
        block: Our block.
        source: What follows it, as a head.
        space: The block's space with that head's layers, which are known once `bind` was called.

    Args:
        graph: AutoKeras' graph.
        block: Our block in it.
    """

    def __init__(self, graph: Any, block: MobileNetV2Block):
        self.block = block
        self.source = HeadSource(_Tail(graph, block), features=block.features)
        self.space = dataclasses.replace(block.space, head=lambda features: self._layers(features))
        self._graph = graph
        self._layers: Callable[[int], tuple[Layer, ...]] = DenseHead(1)

    @classmethod
    def of(cls, graph: Any) -> "Networks | None":
        """The networks of a graph; None if it has no block of ours.

        Raises:
            InputError: The graph has more than one, or several inputs or outputs.
        """
        blocks = [block for block in graph.blocks if isinstance(block, MobileNetV2Block)]
        if not blocks:
            return None
        counts = len(blocks), len(graph.inputs), len(graph.outputs)
        if counts != (1, 1, 1):
            raise InputError(
                f"AutoModel: {counts[0]} MobileNetV2Blocks, {counts[1]} inputs and {counts[2]} outputs found; a "
                "network of mixed precision has one of each"
            )
        return cls(graph, blocks[0])

    def bind(self, outputs: int) -> None:
        """Builds the head, whose output shape the graph knows by now.

        Args:
            outputs: Classes or targets.

        Raises:
            InputError: The head cannot be built, or gives another number of outputs.
        """
        self._layers = with_head(self.block.space, self.source, outputs).head
        network = self.space.decode(self.space.seed)
        model = self.build(keras_tuner.HyperParameters(), None, network, self.source.head())
        found = sum(map(keras_graph.is_quantizable, model.layers))
        expected = sum(layer.kind != "float" for layer in network.layers)
        if found != expected:
            raise InputError(
                f"AutoModel: {found - expected} Dense or Conv layers found in front of the MobileNetV2Block or beside "
                "it; only layers behind it are quantized and counted"
            )

    def network(self, hp: keras_tuner.HyperParameters) -> Network:
        """The network of a trial's values, with its policy."""
        return self.space.decode(self.block.parameters.genotype(hp.values))

    def build(
        self, hp: keras_tuner.HyperParameters, images: np.ndarray | None, network: Network, head: Head
    ) -> keras.Model:
        """The graph's float model of hyperparameters, from one tensor to one.

        Args:
            hp: The values.
            images: What preprocessing layers adapt to; None to leave them as they are.
            network: The same as a network; the graph builds it from the values.
            head: Its head; part of the graph.
        """
        model = self._graph.build(hp)
        model = keras.Model(model.inputs[0], model.outputs[0])
        if any(isinstance(layer, keras.Model) for layer in model.layers):
            model = keras_graph.rewrite(keras_graph.flatten(model), clone=keras_graph.changed)
        return model if images is None else AutoTuner.adapt(model, images)


class _Tail:
    """All blocks behind ours, as one head (`bompnas.networks.heads`)."""

    def __init__(self, graph: Any, block: MobileNetV2Block):
        self._graph = graph
        self._block = block

    @property
    def loss(self) -> Any:
        return self._graph.outputs[0].in_blocks[0].loss

    @property
    def metrics(self) -> Any:
        return self._graph.outputs[0].in_blocks[0].metrics

    def build(self, hp: keras_tuner.HyperParameters, inputs: Any) -> Any:
        tensors = {self._block.outputs[0]: inputs}
        for block in self._graph.blocks:
            if tensors.keys() >= set(block.inputs):
                outputs = keras.tree.flatten(block.build(hp, inputs=[tensors[node] for node in block.inputs]))
                tensors.update(zip(block.outputs, outputs, strict=True))
        if self._graph.outputs[0] not in tensors:
            raise InputError("AutoModel: its output does not come from the MobileNetV2Block alone, as it must")
        return tensors[self._graph.outputs[0]]

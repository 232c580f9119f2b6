"""The accuracy of every bit policy of one small network that was trained once.

The network has five layers: a convolution, a depthwise one, two pointwise ones and a dense one. A policy gives each of
the first four 3, 4, 6 or 8 bits for the weights, and each map that the second to the fourth read 4, 6 or 8 bits: 6,912
policies. The image, the pooled features and the dense layer keep 8 bits.

Weights are quantized layer by layer, and grids of activations follow from one calibration of the float network. So what
a layer computes under a policy depends on three widths: of its weights, of the map that it reads, and of the one that
it writes. The quantized networks of uniform widths hold all of these layers; every policy is put together of them, and
what the first layers compute is computed once for all policies that begin alike. Nothing is approximated: `repeated`
quantizes some policies the usual way, with Keras, and finds the same accuracies.
"""

import csv
import dataclasses
import functools
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from digits_table import save_data

from bompnas.export import emulator
from bompnas.export.extract import extract
from bompnas.export.graph import IntegerGraph, Linear, Tensor
from bompnas.networks import heads
from bompnas.networks.heads import HeadSource
from bompnas.space.network import Layer, Network
from bompnas.training.loop import Phase
from bompnas.trials import trial
from bompnas.trials.executors.shared import Mapped

WEIGHT_BITS = (3, 4, 6, 8)
ACTIVATION_BITS = (4, 6, 8)
CHOSEN = 4
"""Layers with weights of a chosen width; between them lie one map fewer."""
KEPT_BITS = 8
CHANNELS = (64, 64, 128, 128)
EPOCHS, LEARNING_RATE, BATCH_SIZE, SEED = 20, 0.01, 32, 0
HEAD = HeadSource("classification", 10)


@dataclasses.dataclass(frozen=True, order=True)
class Policy:
    """Widths of one policy.

    Attributes:
        weights: Of the first four layers' weights [bits].
        activations: Of the maps that the second to the fourth layer read [bits].
    """

    weights: tuple[int, ...]
    activations: tuple[int, ...]

    def __str__(self) -> str:
        return f"W {'-'.join(map(str, self.weights))}, A {'-'.join(map(str, self.activations))}"


UNIFORM_8 = Policy((8,) * CHOSEN, (8,) * (CHOSEN - 1))
POLICIES = tuple(
    Policy(weights, activations)
    for weights in itertools.product(WEIGHT_BITS, repeat=CHOSEN)
    for activations in itertools.product(ACTIVATION_BITS, repeat=CHOSEN - 1)
)


def network(policy: Policy) -> Network:
    """The network under a policy."""
    stem, depthwise, project, last = CHANNELS
    shapes = (
        ("stem", "conv", 3, 1, 1, stem, 8, 8, "relu6", "stem", 0),
        ("block1_1_depthwise", "depthwise", 3, 2, stem, depthwise, 8, 4, "relu6", "block1", 1),
        ("block1_1_project", "conv", 1, 1, depthwise, project, 4, 4, "linear", "block1", 1),
        ("last_conv", "conv", 1, 1, project, last, 4, 4, "relu6", "last_conv", 0),
    )
    widths = zip(policy.weights, (*policy.activations, KEPT_BITS), strict=True)
    backbone = (Layer(*shape[:8], *bits, *shape[8:]) for shape, bits in zip(shapes, widths, strict=True))
    return Network(8, 1, (*backbone, _dense(last)))


@functools.cache
def _dense(features: int) -> Layer:
    """The head, which takes Keras a while to describe."""
    (dense,) = heads.layers(HEAD.head(), (features,))
    return dataclasses.replace(dense, weight_bits=KEPT_BITS, activation_bits=KEPT_BITS)


def measure(data: Path) -> Iterator[tuple[Policy, float]]:
    """Trains the network in float and tells the validation accuracy of every policy, quantized after training."""
    uniform = [Policy((w,) * CHOSEN, (a,) * (CHOSEN - 1)) for w in WEIGHT_BITS for a in ACTIVATION_BITS]
    graphs = dict(zip(uniform, _graphs(uniform, data), strict=True))
    images, labels = Mapped(data).load()["validation"]
    layers = Layers({(policy.weights[0], policy.activations[0]): graph for policy, graph in graphs.items()})
    levels = graphs[UNIFORM_8].levels(images)
    for policy, logits in layers.outputs(levels):
        yield policy, float((logits.argmax(axis=-1) == labels).mean())


def repeated(chosen: Sequence[Policy], data: Path) -> list[dict[str, float]]:
    """Validation and test accuracy of some policies as the trial measures them, with Keras."""
    return [dict(outcome.metrics) for outcome in _trained(_task(chosen, data))]


def _graphs(chosen: Sequence[Policy], data: Path) -> Iterator[IntegerGraph]:
    import keras

    outcomes = _trained(_task(chosen, data, keep_models=True))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.keras")
        for outcome in outcomes:
            file.write_bytes(outcome.model)
            yield extract(keras.models.load_model(file)).graph


def _trained(task: trial.TrialTask) -> tuple[trial.Outcome, ...]:
    """What became of the policies of a task.

    Raises:
        RuntimeError: One of them failed.
    """
    outcomes = trial.run_trial(task).outcomes
    for outcome in outcomes:
        if outcome.error:
            raise RuntimeError(outcome.error)
    return outcomes


def _task(chosen: Sequence[Policy], data: Path, keep_models: bool = False) -> trial.TrialTask:
    """The same float training every time, then quantization without fine-tuning."""
    return trial.TrialTask(
        networks=tuple(map(network, chosen)),
        head=HEAD,
        data=Mapped(data),
        early=Phase(EPOCHS, LEARNING_RATE, "cosine", BATCH_SIZE),
        qaft=Phase(0, LEARNING_RATE),
        seed=SEED,
        test=True,
        keep_models=keep_models,
    )


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of all widths, of which policies are put together.

    Attributes:
        graphs: By the uniform widths of weights and activations.
    """

    graphs: dict[tuple[int, int], IntegerGraph]

    def outputs(self, levels: np.ndarray) -> Iterator[tuple[Policy, np.ndarray]]:
        """Every policy with what it makes of images, int32, shape (n, classes)."""
        for weights, activations, maps in self._maps((), (), levels):
            graph = self.graphs[WEIGHT_BITS[-1], ACTIVATION_BITS[-1]]  # behind the last choice all have 8 bits
            place = graph.operations.index(self._linear(graph, CHOSEN - 1)) + 1
            tail = IntegerGraph(graph.operations[place - 1].output, graph.operations[place:], graph.output)
            yield Policy(weights, activations), emulator.emulate(tail, maps)

    def _maps(
        self, weights: tuple[int, ...], activations: tuple[int, ...], levels: np.ndarray
    ) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], np.ndarray]]:
        """Widths of the chosen layers, and the map behind them."""
        place = len(weights)
        if place == CHOSEN:
            yield weights, activations, levels
            return
        for width in WEIGHT_BITS:
            for written in ACTIVATION_BITS if place < CHOSEN - 1 else (None,):
                step = self._step(place, width, activations[-1] if activations else None, written)
                wider = activations if written is None else (*activations, written)
                yield from self._maps((*weights, width), wider, emulator.emulate(step, levels))

    def _step(self, place: int, width: int, read: int | None, written: int | None) -> IntegerGraph:
        """One layer of a width that reads and writes maps of given widths; None where the width is not chosen."""
        graph = self.graphs[width, read or ACTIVATION_BITS[-1]]
        layer = self._linear(graph, place)
        output = self._linear(self.graphs[width, written or ACTIVATION_BITS[-1]], place).output
        return IntegerGraph(_source(graph, layer), (dataclasses.replace(layer, output=output),), output.name)

    def _linear(self, graph: IntegerGraph, place: int) -> Linear:
        return list(graph.linear)[place]


def _source(graph: IntegerGraph, layer: Linear) -> Tensor:
    (name,) = layer.inputs
    return graph.tensors[name]


COLUMNS = ("stem", "depthwise", "project", "last_conv", "a_depthwise", "a_project", "a_last_conv", "val_accuracy")


def make(path: Path) -> None:
    """Writes the table of all policies."""
    with tempfile.TemporaryDirectory() as data:
        save_data(Path(data))
        rows = [(*policy.weights, *policy.activations, f"{value:.6f}") for policy, value in measure(Path(data))]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *sorted(rows)])


def read(path: Path) -> dict[Policy, float]:
    """The table: policy -> validation accuracy."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return {Policy(tuple(map(int, row[:CHOSEN])), tuple(map(int, row[CHOSEN:-1]))): float(row[-1]) for row in rows}


def check(table: dict[Policy, float], chosen: Iterable[Policy]) -> dict[Policy, dict[str, float]]:
    """Metrics of some policies as the trial measures them.

    Raises:
        ValueError: An accuracy is not that of the table.
    """
    chosen = list(chosen)
    with tempfile.TemporaryDirectory() as data:
        save_data(Path(data))
        found = dict(zip(chosen, repeated(chosen, Path(data)), strict=True))
    for policy, metrics in found.items():
        if abs(metrics["val_accuracy"] - table[policy]) > 1e-6:
            raise ValueError(f"{policy}: {metrics['val_accuracy']} by Keras, {table[policy]} in the table")
    return found

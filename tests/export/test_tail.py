import keras
import numpy as np
import pytest

from bompnas.errors import NotExportableError
from bompnas.export import litert
from bompnas.export.emulator import emulate
from bompnas.export.interpreter import Interpreter


@pytest.fixture(scope="module")
def exact(random_graph):
    """A graph that ends in a vector."""
    return next(graph for graph in map(random_graph, range(20)) if len(graph.tensors[graph.output].shape) == 1)


def tail_of(exact, *layers):
    source = values = keras.Input(exact.tensors[exact.output].shape)
    for layer in layers:
        values = layer(values)
    return keras.Model(source, values)


def softmax():
    return [keras.layers.Softmax(name="probabilities")]


def normalized_and_dense():
    return [
        keras.layers.LayerNormalization(),
        keras.layers.Dense(12, activation="gelu", kernel_initializer="random_normal", bias_initializer="random_normal"),
        keras.layers.Reshape((3, 4)),
        keras.layers.Permute((2, 1)),
        keras.layers.Flatten(),
        keras.layers.Dense(7, activation="softmax", name="probabilities"),
    ]


@pytest.mark.parametrize("io", ["int8", "float"])
@pytest.mark.parametrize("layers", [softmax, normalized_and_dense])
def test_files_compute_what_keras_computes_of_the_integers(exact, layers, io, random_levels):
    keras.utils.set_random_seed(0)
    tail = tail_of(exact, *layers())
    levels = random_levels(exact, 70)
    values = (emulate(exact, levels) * exact.tensors[exact.output].grid.scale).astype(np.float32)
    expected = keras.ops.convert_to_numpy(tail(values))
    interpreter = Interpreter(litert.write(exact, io=io, tail=tail))
    assert (interpreter.output.name, interpreter.output.dtype) == ("probabilities", np.float32)
    scale, offset = exact.centring
    given = {
        "int8": (levels + exact.input.grid.zero_point).astype(np.int8),
        "float": ((levels * exact.input.grid.scale - offset) / scale).astype(np.float32),
    }
    np.testing.assert_allclose(interpreter(given[io]), expected, rtol=1e-5, atol=1e-6)


def test_nothing_is_printed(exact, capfd):
    litert.write(exact, tail=tail_of(exact, *softmax()))
    assert capfd.readouterr().out == ""


@keras.saving.register_keras_serializable("bompnas tests")
class Halves(keras.layers.Layer):
    """Halves values until they are small."""

    def call(self, values):
        def large(values, halvings):
            return keras.ops.max(values) > 1

        def halved(values, halvings):
            return values / 2, halvings + 1

        return keras.ops.while_loop(large, halved, (values, 0))[0]


@keras.saving.register_keras_serializable("bompnas tests")
class Inverse(keras.layers.Layer):
    """Something that LiteRT has no operator for."""

    def call(self, values):
        return keras.ops.svd(values[:, :, None] * values[:, None, :])[1]


@pytest.mark.parametrize(
    ("layer", "reason"),
    [(Halves(name="strange"), "loops or branches"), (Inverse(name="strange"), "TensorFlow cannot convert it")],
)
def test_layers_that_cannot_be_converted_are_refused(exact, layer, reason):
    with pytest.raises(NotExportableError, match=reason) as refusal:
        litert.write(exact, tail=tail_of(exact, layer))
    assert refusal.value.layer == "strange"


def test_several_outputs_are_refused(exact):
    source = keras.Input(exact.tensors[exact.output].shape)
    tail = keras.Model(source, [keras.layers.Softmax()(source), keras.layers.ReLU()(source)])
    with pytest.raises(NotExportableError, match="expected one input and one output, found 1 and 2"):
        litert.write(exact, tail=tail)

import dataclasses

import numpy as np
import pytest
from ai_edge_litert import interpreter as runtime
from ai_edge_litert import schema_py_generated as schema

from bompnas.errors import InputError
from bompnas.export import graph, litert
from bompnas.export.emulator import emulate
from bompnas.export.interpreter import Interpreter, litert_levels


def model(kind, bits, channels=4, **changes):
    """One layer with weights of any width, on an image."""
    generator = np.random.default_rng(0)
    source = graph.Tensor("image", (6, 5, channels), graph.Grid(-7, -128, 127))
    shapes = {
        graph.Convolution: (3, 3, channels, channels),
        graph.DepthwiseConvolution: (3, 3, channels),
        graph.Dense: (channels, channels),
    }
    largest = 2 ** (bits - 1) - 1
    weights = generator.integers(-largest, largest + 1, shapes[kind], dtype=np.int32)
    typical = 75 * 0.6 * largest * np.sqrt(weights[..., 0].size)
    steps = (generator.uniform(50, 100, channels) / typical * 2.0**3).astype(np.float32)
    bias = generator.integers(-typical, typical, channels).astype(np.int32)
    output = graph.Tensor("layer", source.shape, graph.Grid(-4, -128, 127))
    operation = kind(("image",), output, weights, bits, steps, bias)
    return graph.IntegerGraph(source, (dataclasses.replace(operation, **changes),), "layer")


def difference(exact, **options):
    """Of a file's levels from the emulator's, for random images."""
    levels = np.random.default_rng(0).integers(-128, 128, (200, *exact.input.shape), dtype=np.int32)
    return litert_levels(Interpreter(litert.write(exact, **options)), exact, levels) - emulate(exact, levels)


def tensors(data):
    """Every tensor of a file by name: the object and the bytes of its data."""
    content = schema.ModelT.InitFromPackedBuf(data)
    return {
        tensor.name.decode(): (tensor, content.buffers[tensor.buffer].data) for tensor in content.subgraphs[0].tensors
    }


def stored(data, name):
    """A layer's integers as the file holds them, bias, scales of the weights and of the bias."""
    (weights, integers), (bias, values) = (tensors(data)[f"{name}/{part}"] for part in ("weights", "bias"))
    integers = integers.view(np.int8)
    if weights.type == schema.TensorType.INT4:
        halves = np.stack([integers << 4 >> 4, integers >> 4], axis=-1)
        integers = halves.reshape(-1)[: np.prod(weights.shape)]
    assert not weights.quantization.zeroPoint.any()
    assert len(weights.quantization.scale) == weights.shape[weights.quantization.quantizedDimension]
    return integers.reshape(weights.shape), values.view(np.int32), weights.quantization.scale, bias.quantization.scale


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("int4", [False, True])
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        (graph.Convolution, lambda weights: weights.transpose(3, 0, 1, 2)),
        (graph.DepthwiseConvolution, lambda weights: weights[None]),
        (graph.Dense, lambda weights: weights.T),
    ],
)
def test_files_hold_the_integers_of_the_graph(kind, layout, bits, int4, channels):
    one = model(kind, bits, channels)
    (operation,) = one.operations
    integers, bias, steps, bias_steps = stored(litert.write(one, int4=int4), "layer")
    np.testing.assert_array_equal(integers, layout(operation.weights))
    np.testing.assert_array_equal(bias, operation.bias)
    np.testing.assert_array_equal(steps, operation.steps)
    np.testing.assert_array_equal(bias_steps, operation.steps * np.float32(one.input.grid.scale))


def test_layers_without_bias_get_zeros():
    without = model(graph.Convolution, 8, bias=None)
    assert stored(litert.write(without), "layer")[1].tolist() == [0, 0, 0, 0]
    assert not difference(without).any()


# The whole graph


@pytest.mark.parametrize("seed", range(120))
def test_random_graphs_are_computed_exactly(seed, random_graph, random_levels):
    exact = random_graph(seed)
    given = random_levels(exact, 65, seed)
    expected = emulate(exact, given)
    for io, batch, threads in [("int8", 64, 1), ("float", 64, 1), ("int8", 1, 1), ("int8", 65, 2)]:
        interpreter = Interpreter(litert.write(exact, io=io), threads, batch)
        images = len(given) if batch > 1 else 3
        np.testing.assert_array_equal(litert_levels(interpreter, exact, given[:images]), expected[:images])


def test_float_files_take_and_return_what_the_keras_model_does(random_graph):
    exact = random_graph(3)
    assert exact.centring != (1.0, 0.0)
    pixels = np.random.default_rng(0).integers(0, 256, (20, *exact.input.shape)).astype(np.float32)
    found = Interpreter(litert.write(exact, io="float"))(pixels)
    scale = exact.tensors[exact.output].grid.scale
    np.testing.assert_array_equal(found, (emulate(exact, exact.levels(pixels)) * scale).astype(np.float32))


@pytest.mark.parametrize("centring", [(1.0, 0.0), (1.0, -0.5), (1 / 255, 0.0), (1 / 127.5, -1.0)])
@pytest.mark.parametrize("zero_point", [0, -128])
def test_real_values_are_quantized_exactly(centring, zero_point):
    """Values on ties, next to them, beside the grid and anywhere."""
    grid = graph.Grid(-6, -128 - zero_point, 127 - zero_point, zero_point)
    source = graph.Tensor("image", (10,), grid)
    exact = graph.IntegerGraph(source, (graph.Clip(("image",), graph.Tensor("clip", (10,), grid)),), "clip", centring)
    ties = (np.arange(grid.low - 10, grid.high + 10) + 0.5) * grid.scale
    values = np.float32([(tie - centring[1]) / centring[0] for tie in ties])
    values = np.concatenate([values, np.nextafter(values, -np.inf), np.nextafter(values, np.inf), -1e9 * values])
    values = values[: values.size // 10 * 10].reshape(-1, 10)
    found = Interpreter(litert.write(exact, io="float"))(values) / grid.scale
    np.testing.assert_array_equal(found, exact.levels(values))


@pytest.mark.parametrize("io", ["int8", "float"])
def test_tensors_are_called_as_the_layers(io, random_graph):
    exact = random_graph(5)
    names = set(tensors(litert.write(exact, io=io)))
    assert names >= set(exact.tensors)


def test_a_file_is_a_function_of_its_graph(random_graph):
    assert litert.write(random_graph(6)) == litert.write(random_graph(6))


def test_files_run_in_batches_of_any_size_without_our_interpreter(random_graph, random_levels):
    exact = random_graph(7)
    interpreter = runtime.Interpreter(model_content=litert.write(exact))
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    for images in (1, 5):
        given = random_levels(exact, images)
        interpreter.resize_tensor_input(source["index"], given.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], (given + exact.input.grid.zero_point).astype(np.int8))
        interpreter.invoke()
        found = interpreter.get_tensor(result["index"]) - exact.tensors[exact.output].grid.zero_point
        np.testing.assert_array_equal(found, emulate(exact, given))


def test_operations_behind_the_output_are_left_out(random_graph):
    exact = random_graph(8)
    inner = exact.operations[0].name
    cut = exact.until(inner)
    assert litert.write(dataclasses.replace(exact, output=inner)) == litert.write(cut)


def test_other_ends_are_refused(random_graph):
    with pytest.raises(InputError, match="io: expected 'int8' or 'float', found 'uint8'"):
        litert.write(random_graph(0), io="uint8")


# INT4


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("kind", [graph.Convolution, graph.DepthwiseConvolution, graph.Dense])
def test_int4_takes_half_the_bytes(kind, bits):
    one = model(kind, bits, channels=3)
    (size,) = (operation.weights.size for operation in one.operations)
    sizes = [tensors(litert.write(one, int4=int4))["layer/weights"][1].size for int4 in (False, True)]
    assert sizes == [size, (size + 1) // 2]


def test_int4_leaves_wider_weights_alone():
    one = model(graph.Convolution, 5)
    assert litert.write(one, int4=True) == litert.write(one)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_int4_dense_layers_of_an_even_number_of_features_are_exact(bits):
    assert not difference(model(graph.Dense, bits, channels=4), int4=True).any()


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize(
    ("kind", "channels"), [(graph.Convolution, 4), (graph.DepthwiseConvolution, 4), (graph.Dense, 3)]
)
def test_int4_layers_are_off_by_one_level_at_most(kind, channels, bits):
    found = np.abs(difference(model(kind, bits, channels), int4=True))
    assert found.max() <= 1
    assert found.mean() < 0.25

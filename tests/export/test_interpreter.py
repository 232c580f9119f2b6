import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder

from bompnas.errors import InputError
from bompnas.export import litert
from bompnas.export.emulator import emulate
from bompnas.export.interpreter import Interpreter, litert_levels
from bompnas.export.litert_file import IDENTIFIER, LiteRTFile


@pytest.fixture(scope="module")
def model(random_graph):
    return random_graph(1)


@pytest.fixture(scope="module")
def data(model):
    return litert.write(model)


def foreign():
    """A file of others: absolute values."""
    file = LiteRTFile()
    source, result = (file.activation(name, (3,)) for name in ("source", "result"))
    return file.finish(source, file.operator("ABS", 1, [source], result))


def refused(model):
    with pytest.raises(InputError) as refusal:
        Interpreter(model)
    return str(refusal.value)


def test_ports_describe_integers(model, data):
    interpreter = Interpreter(data)
    for port, tensor in (
        (interpreter.input, model.input),
        (interpreter.output, model.tensors[model.output]),
    ):
        assert (port.name, port.shape, port.dtype) == (tensor.name, tensor.shape, np.int8)
        assert (port.scale, port.zero_point) == (tensor.grid.scale, tensor.grid.zero_point)


def test_ports_describe_real_values(model):
    interpreter = Interpreter(litert.write(model, io="float"))
    assert (interpreter.input.shape, interpreter.output.shape) == (model.input.shape, model.tensors[model.output].shape)
    assert {interpreter.input.dtype, interpreter.output.dtype} == {np.dtype(np.float32)}
    assert (interpreter.input.scale, interpreter.input.zero_point) == (0, 0)


@pytest.mark.parametrize("images", [0, 1, 7, 8, 9, 24])
def test_batches_of_any_size(model, data, random_levels, images):
    interpreter = Interpreter(data, batch=8)
    levels = random_levels(model, images)
    np.testing.assert_array_equal(litert_levels(interpreter, model, levels), emulate(model, levels))


def test_results_are_copies(data):
    interpreter = Interpreter(data)
    generator = np.random.default_rng(0)
    first, second = generator.integers(-128, 128, (2, 1, *interpreter.input.shape), np.int8)
    kept = interpreter(first)
    expected = kept.copy()
    interpreter(second)
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("change", ["dtype", "shape", "no batch"])
def test_other_inputs_are_refused(data, change):
    interpreter = Interpreter(data)
    values = np.zeros((2, *interpreter.input.shape), np.int8)
    values = {"dtype": values.astype(np.float32), "shape": values[:, :-1], "no batch": values[0]}[change]
    with pytest.raises(InputError, match=r"expected int8 of shape \(n, .*found (int8|float32) of shape"):
        interpreter(values)


def test_files_of_others_run():
    values = np.float32([[-1, 2, -3], [4, -5, 6]])
    np.testing.assert_array_equal(Interpreter(foreign())(values), np.abs(values))


def test_files_are_read_from_paths(tmp_path, model, data, random_levels):
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    levels = random_levels(model, 3)
    np.testing.assert_array_equal(litert_levels(Interpreter(path), model, levels), emulate(model, levels))


def test_missing_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "model.tflite"
    assert "No such file" in refused(path)
    path.write_text("neither flat nor a buffer")
    assert refused(path).startswith(f"{path}: expected a LiteRT file")
    assert "found 0 bytes" in refused(b"")


def test_cut_off_files_are_refused(data):
    for size in range(0, len(data), 97):
        assert "expected" in refused(data[:size])


def test_cut_off_files_of_others_are_refused():
    for size in range(len(foreign())):
        assert "expected a LiteRT file" in refused(foreign()[:size])


def test_damaged_files_are_refused(data):
    generator = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(data)
        start = int(generator.integers(8, len(data) - 8))
        damaged[start : start + 8] = bytes(byte ^ 0x55 for byte in data[start : start + 8])
        if b"bompnas_sha256" in damaged:
            assert "found a damaged or cut off file" in refused(bytes(damaged))


def test_files_with_several_inputs_are_refused():
    content = schema.ModelT.InitFromPackedBuf(foreign())
    (graph,) = content.subgraphs
    graph.inputs = np.append(graph.inputs, graph.outputs)
    builder = Builder(0)
    builder.Finish(content.Pack(builder), IDENTIFIER)
    assert "found 2 inputs and 1 outputs" in refused(bytes(builder.Output()))


def test_nothing_is_said_on_standard_error(tmp_path, data):
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    program = f"from bompnas.export.interpreter import Interpreter; Interpreter({str(path)!r}, 2)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout + result.stderr == ""

import json

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.export import litert, metadata
from bompnas.export.interpreter import Interpreter
from bompnas.export.litert_file import LiteRTFile

LABELS = ["a cat", 'a "dog"', '"bompnas_sha256": "', "Schildkröte"]


@pytest.fixture(scope="module")
def model(random_graph):
    return random_graph(4)


@pytest.fixture(scope="module")
def data(model):
    return litert.write(model, labels=LABELS)


def foreign():
    """A LiteRT file without metadata."""
    file = LiteRTFile()
    source, result = (file.activation(name, (3,)) for name in ("source", "result"))
    return file.finish(source, file.operator("ABS", 1, [source], result))


def test_files_say_what_they_hold(model, data, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    content = litert.read_metadata(path)
    assert content == litert.read_metadata(data)
    assert content["labels"] == LABELS
    assert content["weight_bits"] == {operation.name: operation.bits for operation in model.linear}
    assert list(content["activations"]) == list(model.tensors)
    for name, tensor in model.tensors.items():
        grid = tensor.grid
        assert content["activations"][name] == {
            "scale": grid.scale,
            "zero_point": grid.zero_point,
            "low": grid.low,
            "high": grid.high,
        }


def test_raw_values_can_be_made_from_what_is_said_of_the_input(model, data):
    source = litert.read_metadata(data)["input"]
    pixels = np.arange(256)
    centred = pixels * source["centring"]["scale"] + source["centring"]["offset"]
    raw = np.clip(np.rint(centred / source["scale"]) + source["zero_point"], -128, 127)
    np.testing.assert_array_equal(raw - source["zero_point"], model.levels(pixels))


def test_interpreters_read_the_same_grids(data):
    content, interpreter = litert.read_metadata(data), Interpreter(data)
    for said, port in ((content["input"], interpreter.input), (content["output"], interpreter.output)):
        assert (said["scale"], said["zero_point"]) == (port.scale, port.zero_point)


def test_a_change_of_any_bit_is_found(data):
    generator = np.random.default_rng(0)
    for place in [8, len(data) - 1, data.index(b'"bompnas_sha256"') + 20, *generator.integers(8, len(data), 200)]:
        changed = bytearray(data)
        changed[place] ^= 1 << int(generator.integers(8))
        with pytest.raises(InputError):
            litert.read_metadata(bytes(changed))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found 0 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "found 108 bytes that begin with b'\\x89PNG"),
        (foreign(), "found one without its metadata"),
        (foreign()[:40], "found one without its metadata"),
    ],
    ids=["empty", "PNG", "foreign", "foreign and cut off"],
)
def test_other_files_are_refused(content, found, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        litert.read_metadata(path)
    assert str(refusal.value).startswith(f"{path}: expected a LiteRT file")
    assert found in str(refusal.value)


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        litert.read_metadata(tmp_path / "model.tflite")


def test_metadata_of_other_formats_are_refused(model):
    file = LiteRTFile()
    source, result = (file.activation(name, (3,)) for name in ("source", "result"))
    file.operator("ABS", 1, [source], result)
    content = json.loads(metadata.describe(model, "int8", ()))
    file.metadata(metadata.NAME, json.dumps({**content, "format": 2}).encode())
    with pytest.raises(InputError, match="expected metadata of format 1, found 2"):
        litert.read_metadata(metadata.sign(file.finish(source, result)))

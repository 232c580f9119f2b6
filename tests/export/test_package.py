import subprocess
import sys

import keras
import numpy as np
import pytest

from bompnas.errors import InputError, NotExportableError
from bompnas.export import packed, to_packed, to_tflite
from bompnas.export.emulator import emulate
from bompnas.export.interpreter import Interpreter
from bompnas.export.litert import read_metadata
from bompnas.networks import float_model, fold, quantize
from bompnas.networks.quantize import LayerBits, Policy

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype("float32")


def quantized(*end):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Rescaling(float_model.PIXEL_SCALE, float_model.PIXEL_OFFSET),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
            *end,
        ]
    )
    folded = fold.fold(keras.Model(model.inputs, model.outputs))
    return quantize.quantize(folded, Policy({}, LayerBits(4, 8)), quantize.Calibration.of(folded, IMAGES))


@pytest.fixture(scope="module")
def model():
    return quantized()


@pytest.mark.parametrize("saved", [False, True])
def test_a_model_becomes_a_file_that_computes_the_same(model, tmp_path, saved):
    given = model
    if saved:
        given = tmp_path / "model.keras"
        model.save(given)
    to_tflite(given, tmp_path / "model.tflite", io="float", labels=["oak", "elm", "ash"])
    to_packed(given, tmp_path / "model.bits")
    expected = model.predict(IMAGES, verbose=0)
    np.testing.assert_array_equal(Interpreter(tmp_path / "model.tflite")(IMAGES), expected)
    assert read_metadata(tmp_path / "model.tflite")["labels"] == ["oak", "elm", "ash"]
    graph = packed.load(tmp_path / "model.bits")
    scale = graph.tensors[graph.output].grid.scale
    np.testing.assert_array_equal(emulate(graph, graph.levels(IMAGES)) * np.float32(scale), expected)


def test_what_cannot_be_exported_leaves_the_old_file(tmp_path):
    model = quantized(keras.layers.Softmax(name="probabilities"))
    for write in (to_tflite, to_packed):
        path = tmp_path / "model"
        path.write_text("old")
        with pytest.raises(NotExportableError, match="probabilities") as caught:
            write(model, path)
        assert caught.value.layer == "probabilities"
        assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
        assert path.read_text() == "old"
        write(model, path, float_head=True)
        assert path.read_bytes() != b"old"


@pytest.mark.parametrize("content", [None, b"no model"])
def test_what_is_no_keras_model_is_refused(tmp_path, content):
    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.keras: cannot be read as a Keras model"):
        to_tflite(path, tmp_path / "model.tflite")


def test_importing_the_package_imports_nothing_heavy():
    program = "import sys, bompnas.export; print({'keras', 'tensorflow', 'ai_edge_litert', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "set()"

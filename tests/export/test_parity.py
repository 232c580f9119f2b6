import dataclasses
import re

import keras
import numpy as np
import pytest

from bompnas.errors import InputError, NotExportableError
from bompnas.export import litert, packed, parity
from bompnas.export.extract import extract
from bompnas.export.parity import EMULATOR, EXACT, FLOAT_HEAD, INT4, KERAS, LITERT, Agreement
from bompnas.hardware.counts import counts
from bompnas.networks import float_model, fold, quantize
from bompnas.networks.heads import HeadSource
from bompnas.networks.quantize import LayerBits, Policy
from bompnas.space import loader
from bompnas.space.batch import NetworkBatch

IMAGES = np.random.default_rng(0).integers(0, 256, (150, 8, 8, 1)).astype("uint8")


def quantized(seed=0, outputs=5, filters=6, bits=4, end=None):
    """A small residual network, not trained."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 1))
    values = keras.layers.Rescaling(float_model.PIXEL_SCALE, float_model.PIXEL_OFFSET)(inputs)
    first = keras.layers.Conv2D(filters, 3, padding="same", activation=None, name="first")(values)
    values = keras.layers.ReLU(6.0)(first)
    values = keras.layers.Conv2D(filters, 1, name="second")(values)
    values = keras.layers.Add(name="sum")([first, values])
    values = keras.layers.GlobalAveragePooling2D(name="pool")(values)
    values = keras.layers.Dense(outputs, name="last")(values)
    model = keras.Model(inputs, values if end is None else end(values))
    folded = fold.fold(model)
    calibration = quantize.Calibration.of(folded, IMAGES[:64].astype("float32"))
    return quantize.quantize(folded, Policy({"first": LayerBits(8, 8)}, LayerBits(bits, 8)), calibration)


def compared(model, *, graph=None, file=None, float_head=False, io="int8", int4=False, **options):
    """The parity of a model with a graph and a file, by default those that are made of it."""
    extracted = extract(model, float_head)
    graph = graph or packed.unpack(packed.pack(extracted.graph))
    file = file or litert.write(extracted.graph, io=io, int4=int4, tail=extracted.tail)
    return parity.check(model, extracted, graph, file, IMAGES, **options)


@pytest.fixture(scope="module")
def model():
    return quantized()


@pytest.mark.parametrize("io", ["int8", "float"])
def test_what_was_exported_is_equal_in_every_engine(model, io):
    found = compared(model, io=io, measure=lambda outputs: {"mean": float(outputs.mean())})
    assert found.agreements == {EMULATOR: EXACT, LITERT: EXACT}
    assert found.worst == found.limits == EXACT
    assert found.deviation is None
    assert found.images == 150
    assert found.metrics[KERAS] == found.metrics[EMULATOR] == found.metrics[LITERT]
    assert found.metrics[KERAS]["mean"] == pytest.approx(float(model(IMAGES.astype("float32")).numpy().mean()))


def test_without_a_file_the_emulator_alone_is_compared(model):
    extracted = extract(model)
    found = parity.check(model, extracted, extracted.graph, None, IMAGES)
    assert found.agreements == {EMULATOR: EXACT}


def test_many_images_are_compared_in_chunks(model, monkeypatch):
    monkeypatch.setattr(parity, "_CHUNK", 40)
    found = compared(model, measure=lambda outputs: {"images": len(outputs)})
    assert found.deviation is None
    assert {metrics["images"] for metrics in found.metrics.values()} == {150}


def changed(model, layer, change, float_head=False):
    """The packed graph of a model with one operation changed."""
    graph = extract(model, float_head).graph
    operations = tuple(change(one) if one.name == layer else one for one in graph.operations)
    return dataclasses.replace(graph, operations=operations)


def with_larger_bias(operation):
    return dataclasses.replace(operation, bias=operation.bias + 40)


@pytest.mark.parametrize("layer", ["first", "second", "last"])
def test_the_first_layer_of_another_packed_graph_is_named(model, layer):
    found = compared(model, graph=changed(model, layer, with_larger_bias))
    assert found.agreements[EMULATOR].max_lsb > 0
    assert found.agreements[LITERT] == EXACT
    assert found.deviation.startswith("emulator and Keras: ")
    assert f"the first layer that differs is '{layer}' (Keras and the emulator: " in found.deviation


@pytest.mark.parametrize("io", ["int8", "float"])
@pytest.mark.parametrize("layer", ["first", "second", "last"])
def test_the_first_layer_of_another_file_is_named(model, layer, io):
    found = compared(model, file=litert.write(changed(model, layer, with_larger_bias), io=io))
    assert found.agreements[EMULATOR] == EXACT
    assert found.agreements[LITERT].max_lsb > 0
    assert f"the first layer that differs is '{layer}' (the emulator and LiteRT: " in found.deviation


def test_int4_has_limits_of_its_own_and_the_emulator_none(model):
    found = compared(model, int4=True, limits=Agreement(0.5, 20))
    assert found.agreements[EMULATOR] == EXACT
    assert 0 < found.agreements[LITERT].max_lsb <= 20
    assert found.deviation is None
    assert INT4.argmax < 1
    strict = compared(model, int4=True)
    assert re.search(r"the first layer that differs is '(second|last)' \(the emulator and LiteRT", strict.deviation)


def test_a_float_end_is_compared_behind_an_exact_integer_part():
    model = quantized(end=keras.layers.Softmax(name="probabilities"))
    for io in ("int8", "float"):
        found = compared(model, float_head=True, io=io, limits=FLOAT_HEAD)
        assert found.agreements == {EMULATOR: EXACT, LITERT: EXACT}
        assert found.deviation is None
    other = extract(quantized(seed=1, end=keras.layers.Softmax(name="probabilities")), float_head=True)
    file = litert.write(other.graph, tail=other.tail)
    assert "'first' (the emulator and LiteRT" in compared(model, float_head=True, file=file).deviation


@pytest.mark.parametrize("outputs", [1, 5])
def test_a_float_end_without_classes_is_equal_up_to_float_sums(outputs):
    model = quantized(outputs=outputs, end=lambda values: keras.ops.sigmoid(values - 0.3))
    assert compared(model, float_head=True, limits=FLOAT_HEAD, classes=False).worst == EXACT
    graph = changed(model, "last", with_larger_bias, float_head=True)
    assert compared(model, float_head=True, graph=graph, classes=False).worst.argmax < 0.5


def test_outputs_that_are_no_classes_are_compared_by_value(model):
    graph = changed(model, "last", lambda one: dataclasses.replace(one, bias=one.bias + np.array([0, 0, 0, 0, 40])))
    share = compared(model, graph=graph, classes=False).agreements[EMULATOR].argmax
    assert share == pytest.approx(0.8, abs=0.05)
    single = quantized(outputs=1)
    assert compared(single).worst == EXACT
    assert compared(single, graph=changed(single, "last", with_larger_bias)).worst.argmax < 0.5


def test_other_architectures_are_refused(model):
    other = quantized(filters=7)
    with pytest.raises(InputError, match="packed file is another network's"):
        compared(model, graph=extract(other).graph)
    with pytest.raises(InputError, match=r"another network's"):
        compared(model, file=litert.write(extract(quantized(outputs=4)).graph))


def test_damaged_files_are_refused(model):
    file = litert.write(extract(model).graph)
    for damaged in (file[:-50], b"something else", file[:500] + b"\xff" + file[501:]):
        with pytest.raises(InputError, match="LiteRT model"):
            compared(model, file=damaged)


NESTED = {4: 7, 8: 119, 16: 30583}


def nested(*bits):
    """A network of the digits' space with nested grids of these bits in its blocks, trained with them."""
    space = loader.load("search_spaces/hqnas_digits.yaml")
    genes = {f"block{number}.bits": width for number, width in enumerate(bits, start=1)}
    network = space.decode({**space.seed, **genes})
    keras.utils.set_random_seed(0)
    images, labels = IMAGES.astype("float32"), np.arange(len(IMAGES)) % 10
    folded = fold.fold(float_model.build(network, HeadSource("classification", 10).head()))
    model = quantize.quantize(folded, Policy.of(network), quantize.Calibration.of(folded, images))
    before = model.get_layer("block2_1_depthwise").integer_weights()
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, epochs=1, verbose=0)
    assert (model.get_layer("block2_1_depthwise").integer_weights() != before).any()
    return network, model


def assert_nested(network, graph):
    layers = {layer.name: layer for layer in network.layers}
    assert {operation.bits for operation in graph.linear} == {layer.weight_bits for layer in network.layers}
    for operation in graph.linear:
        layer = layers[operation.name]
        assert layer.levels == (NESTED[layer.weight_bits] if layer.group.startswith("block") else 127)
        assert np.abs(operation.weights).max() == layer.levels


def test_nested_grids_of_4_8_and_16_bits_are_packed_exactly():
    network, model = nested(4, 8, 16, 4, 8)
    extracted = extract(model)
    assert_nested(network, extracted.graph)
    graph = packed.unpack(packed.pack(extracted.graph))
    assert graph.size_bits == counts(NetworkBatch.of([network]))["size_bits"][0]
    found = parity.check(model, extracted, graph, None, IMAGES)
    assert found.agreements == {EMULATOR: EXACT}
    assert found.deviation is None
    with pytest.raises(NotExportableError, match="LiteRT holds weights of up to 8 bits, found 16"):
        litert.write(extracted.graph)


def test_nested_grids_of_4_and_8_bits_are_the_same_in_every_engine():
    network, model = nested(4, 8, 4, 8, 8)
    assert_nested(network, extract(model).graph)
    found = compared(model)
    assert found.agreements == {EMULATOR: EXACT, LITERT: EXACT}
    assert found.deviation is None

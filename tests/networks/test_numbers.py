import dataclasses

import keras
import numpy as np
import pytest

from bompnas.networks import float_model, fold, numbers, quantize
from bompnas.networks.heads import HeadSource
from bompnas.space import levels, loader
from bompnas.space.head import DenseHead


@pytest.fixture(scope="module")
def make():
    space = loader.load("search_spaces/mobilenetv2_digits.yaml", head=DenseHead(10))
    network = space.decode(space.seed)
    keras.utils.set_random_seed(0)
    folded = fold.fold(float_model.build(network, HeadSource("classification", 10).head()))
    images = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1)).astype("float32")
    calibration = quantize.Calibration.of(folded, images)

    def quantized(weight_bits, activation_bits=8, smallest=None):
        nested = levels.nested(weight_bits, smallest) if smallest else None
        changed = {"weight_bits": weight_bits, "activation_bits": activation_bits, "weight_levels": nested}
        layers = tuple(dataclasses.replace(layer, **changed) for layer in network.layers)
        policy = quantize.Policy.of(dataclasses.replace(network, layers=layers))
        return quantize.quantize(folded, policy, calibration)

    return quantized


def test_policies_of_a_network_differ_in_numbers_alone(make):
    models = make(8), make(4), make(8, 5)
    assert len({numbers.structure(model) for model in models}) == 1
    eight, four, narrow = map(numbers.of, models)
    assert eight.shape == four.shape == narrow.shape
    np.testing.assert_array_equal(eight[:, 1:], four[:, 1:])
    weighted = eight[:, 4] != 0
    assert set(np.rint(1 / four[weighted & (eight[:, 0] < 0.1), 0])) == {7}
    assert not np.array_equal(eight[:, 4], narrow[:, 4])


def test_a_model_trains_with_the_numbers_that_it_is_given(make):
    eight, four = make(8), make(4)
    images = np.random.default_rng(1).integers(0, 256, (8, 8, 8, 1)).astype("float32")
    own = eight(images, training=True).numpy()
    with numbers.given(eight, numbers.of(four)):
        found = eight(images, training=True).numpy()
    np.testing.assert_array_equal(found, four(images, training=True).numpy())
    assert not np.array_equal(found, own)
    np.testing.assert_array_equal(eight(images, training=True).numpy(), own)


def test_nested_policies_share_one_structure_too(make):
    wide, *others = (make(bits, smallest=4) for bits in (16, 8, 4))
    assert len({numbers.structure(model) for model in (wide, *others)}) == 1
    assert numbers.structure(wide) not in {numbers.structure(make(16)), numbers.structure(make(16, smallest=2))}
    images = np.random.default_rng(1).integers(0, 256, (8, 8, 8, 1)).astype("float32")
    for other in others:
        with numbers.given(wide, numbers.of(other)):
            found = wide(images, training=True).numpy()
        np.testing.assert_array_equal(found, other(images, training=True).numpy())


def test_inference_keeps_to_the_models_own_numbers(make):
    eight, four = make(8), make(4)
    images = np.random.default_rng(1).integers(0, 256, (8, 8, 8, 1)).astype("float32")
    own = eight(images, training=False).numpy()
    with numbers.given(eight, numbers.of(four)):
        np.testing.assert_array_equal(eight(images, training=False).numpy(), own)


def test_float_models_have_no_numbers():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    assert numbers.of(model).shape == (0, 6)
    with numbers.given(model, numbers.of(model)):
        model(np.zeros((1, 4), "float32"))


def test_another_architecture_has_another_structure(make):
    inputs = keras.Input((8, 8, 1), name="image")
    other = keras.Model(inputs, keras.layers.Flatten()(inputs))
    assert numbers.structure(other) != numbers.structure(make(8))

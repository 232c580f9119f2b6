import keras
import numpy as np

from bompnas.networks import float_model, fold, quantize
from bompnas.networks.heads import HeadSource


def test_folded_model_computes_the_same(network, images, trained):
    model = trained(float_model.build(network, HeadSource("classification", 10).head()))
    folded = fold.fold(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(folded.predict(images, verbose=0), expected, atol=2e-5 * np.abs(expected).max())


def test_folding_copies_weights(network, images, trained):
    model = trained(float_model.build(network, HeadSource("classification", 10).head()))
    before = model.predict(images, verbose=0)
    folded = fold.fold(model)
    for layer in folded.layers:
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    np.testing.assert_array_equal(model.predict(images, verbose=0), before)


def test_normalization_that_cannot_be_folded_stays(images):
    inputs = keras.Input((8, 8, 1))
    values = keras.layers.Conv2D(4, 3, name="shared")(inputs)
    normalized = keras.layers.BatchNormalization(name="one_branch")(values)
    activated = keras.layers.Conv2D(4, 1, activation="relu", name="activated")(values)
    behind_activation = keras.layers.BatchNormalization(name="behind_activation")(activated)
    model = keras.Model(inputs, keras.layers.Add()([normalized, behind_activation]))
    assert fold.foldable(model) == {}
    folded = fold.fold(model)
    np.testing.assert_allclose(folded.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-5)
    assert isinstance(folded.get_layer("activated_activation"), keras.layers.Activation)


def test_normalization_over_another_axis_stays():
    inputs = keras.Input((4, 4, 2))
    values = keras.layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization(axis=1)(values))
    assert fold.foldable(model) == {}


def test_adapted_normalization_stays_adapted(images):
    normalization = keras.layers.Normalization(axis=-1)
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="conv")(normalization(inputs)))
    normalization.adapt(images)
    folded = fold.fold(model)
    np.testing.assert_array_equal(folded.predict(images, verbose=0), model.predict(images, verbose=0))
    policy = quantize.Policy({}, quantize.LayerBits(16, 8))
    quantized = quantize.quantize(folded, policy, quantize.Calibration.of(folded, images))
    expected = folded.predict(images, verbose=0)
    np.testing.assert_allclose(quantized.predict(images, verbose=0), expected, atol=0.02 * np.abs(expected).max())

import keras
import numpy as np

from bompnas.networks import float_model
from bompnas.networks.heads import HeadSource


def test_layers_match_the_network(network):
    model = float_model.build(network, HeadSource("classification", 10).head())
    for layer in network.layers:
        built = model.get_layer(layer.name)
        assert int(np.prod(built.weights[0].shape)) == layer.weights
        if layer.kind != "dense":
            assert built.input.shape[1] == layer.input_size
            assert built.output.shape[1:] == (layer.output_size, layer.output_size, layer.out_channels)
    assert model.output.shape == (None, 10)


def test_residual_adds_the_named_output(network):
    model = float_model.build(network, HeadSource("classification", 10).head())
    add = model.get_layer("block1_1_project_add")
    assert [tensor._keras_history.operation.name for tensor in add.input] == [
        "stem_relu",
        "block1_1_project_normalization",
    ]
    assert sum(isinstance(layer, keras.layers.Add) for layer in model.layers) == 1


def test_images_are_centred_exactly(network):
    model = float_model.build(network, HeadSource("classification", 10).head())
    centred = model.get_layer("centre")(np.arange(256, dtype="float32"))
    np.testing.assert_array_equal(np.asarray(centred) * 128, np.arange(256) - 128)


def test_the_same_seed_gives_the_same_weights(network):
    def weights(seed):
        keras.utils.set_random_seed(seed)
        return float_model.build(network, HeadSource("classification", 10).head()).get_weights()

    assert all(np.array_equal(a, b) for a, b in zip(weights(0), weights(0), strict=True))
    assert not np.array_equal(weights(0)[0], weights(1)[0])


def test_feature_shape(network):
    assert float_model.feature_shape(network, HeadSource("classification").head()) == (32,)
    assert float_model.feature_shape(network, HeadSource("classification", features="map").head()) == (4, 4, 32)

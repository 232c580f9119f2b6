import keras
import pytest

from bompnas.errors import InputError
from bompnas.networks import float_model, fold, heads
from bompnas.networks.heads import HeadSource
from bompnas.space.head import DenseHead


class AutoKerasStyle:
    loss = "categorical_crossentropy"
    metrics = ("top_k_categorical_accuracy",)

    def __init__(self, units=16):
        self.units = units

    def build(self, hp, inputs):
        values = keras.tree.flatten(inputs)[0]
        if hp.Boolean("hidden", default=True):
            values = keras.layers.Dense(self.units, activation="relu")(values)
        values = keras.layers.Dropout(hp.Choice("dropout", [0.0, 0.5], default=0.5))(values)
        return keras.layers.Softmax()(keras.layers.Dense(10)(values))


def convolutional(features):
    values = keras.layers.Conv2D(6, 3, padding="same", use_bias=False)(features)
    values = keras.layers.ReLU()(keras.layers.BatchNormalization()(values))
    values = keras.layers.GlobalAveragePooling2D()(keras.layers.MaxPooling2D()(values))
    return keras.layers.Dense(3)(keras.layers.LayerNormalization()(values))


def test_built_in_head_is_the_space_s_dense_head():
    head = HeadSource("classification", 10).head()
    (layer,) = heads.layers(head, (32,))
    (expected,) = DenseHead(10)(32)
    assert (layer.name, layer.kind, layer.weights, layer.bias) == (expected.name, "dense", expected.weights, True)
    assert heads.output_shape(head, (32,)) == (10,)


def test_regression_head_has_the_regression_task():
    head = HeadSource("regression", 2).head()
    assert head.task == "regression"
    assert heads.output_shape(head, (32,)) == (2,)


def test_autokeras_style_head(network):
    head = HeadSource(AutoKerasStyle()).head()
    assert (head.task, head.metrics) == ("classification", ("top_k_categorical_accuracy",))
    model = float_model.build(network, head)
    assert [layer.name for layer in model.layers if layer.name.startswith("head")] == [
        "head_dense",
        "head_dropout",
        "head_dense_2",
        "head_softmax",
    ]
    assert [(layer.name, layer.weights) for layer in heads.layers(head, (32,))] == [
        ("head_dense", 32 * 16),
        ("head_dense_2", 16 * 10),
    ]


def test_head_by_import_path_gets_its_arguments(tmp_path, monkeypatch):
    (tmp_path / "my_heads.py").write_text(
        "import keras\n"
        "class MyHead:\n"
        "    loss, metrics = 'mean_absolute_error', ()\n"
        "    def __init__(self, units):\n"
        "        self.units = units\n"
        "    def build(self, hp, inputs):\n"
        "        return keras.layers.Dense(self.units)(inputs)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    head = HeadSource("my_heads:MyHead", arguments={"units": 5}).head()
    assert head.task == "regression"
    assert heads.layers(head, (32,))[0].out_channels == 5


def test_convolutional_head_on_the_map(network):
    head = HeadSource(convolutional, features="map").head()
    shape = float_model.feature_shape(network, head)
    layers = heads.layers(head, shape)
    assert [(layer.name, layer.kind, layer.weights, layer.bias) for layer in layers] == [
        ("head_conv2d", "conv", 9 * 32 * 6, True),
        ("head_layer_normalization", "float", 12, False),
        ("head_dense", "dense", 6 * 3, True),
    ]
    assert float_model.build(network, head).output.shape == (None, 3)


def test_models_and_layers_are_copied_for_every_network(network):
    given = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(10)])
    head = HeadSource(given).head()
    first, second = (float_model.build(network, head) for _ in range(2))
    assert not any(isinstance(layer, keras.Model) for layer in first.layers)
    assert first.get_layer("head_dense_2") is not second.get_layer("head_dense_2")
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]


@pytest.mark.parametrize("given", [keras.layers.Dense(10), keras.Sequential([keras.layers.Dense(10)])])
def test_one_layer_object_serves_every_number_of_features(given):
    head = HeadSource(given).head()
    for features in (32, 7, 64):
        (layer,) = heads.layers(head, (features,))
        assert (layer.name, layer.in_channels) == ("head_dense", features)


def test_nested_functional_model(network):
    inputs = keras.Input((32,))
    nested = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Dense(4)(inputs)))
    head = HeadSource(lambda features: keras.layers.Softmax()(nested(features))).head()
    model = float_model.build(network, head)
    assert [layer.name for layer in model.layers[-3:]] == ["head_dense", "head_dense_2", "head_softmax"]


def test_operations_of_keras_on_tensors(network):
    head = HeadSource(
        lambda features: keras.ops.softmax(keras.layers.Dense(12)(keras.ops.tanh(features))[:, :10])
    ).head()
    model = float_model.build(network, head)
    assert fold.fold(model).output.shape == (None, 10)
    assert heads.layers(head, (32,))[0].weights == 32 * 12


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (HeadSource("no_such_package.heads:Head"), "cannot import 'no_such_package.heads:Head'"),
        (HeadSource("keras.layers:NoSuchLayer"), "cannot import"),
        (HeadSource("keras.layers:Dense", arguments={"unit": 3}), "head.arguments"),
        (HeadSource("keras.ops:relu", arguments={"a": 1}), "takes none"),
        (HeadSource(3), "found int, expected an object with build"),
    ],
)
def test_bad_heads_are_refused(source, message):
    with pytest.raises(InputError, match=message):
        source.head()


def test_a_head_that_fails_on_the_features_says_so(network):
    head = HeadSource(keras.layers.Conv2D(3, 3)).head()
    with pytest.raises(InputError, match=r"head: building it on features of shape \(None, 32\) failed"):
        float_model.build(network, head)


def test_dense_layers_at_several_positions_are_counted_at_each():
    head = HeadSource(lambda features: keras.layers.Dense(5)(keras.layers.Reshape((16, 4))(features))).head()
    (layer,) = heads.layers(head, (64,))
    assert layer.macs == 16 * 4 * 5
    head = HeadSource(lambda features: keras.layers.Dense(5)(keras.layers.Reshape((8, 4))(features))).head()
    with pytest.raises(InputError, match="is applied at 8 positions"):
        heads.layers(head, (32,))


def test_convolutions_that_a_network_cannot_describe_are_refused():
    head = HeadSource(lambda features: keras.layers.Conv2D(3, (1, 3))(features), features="map").head()
    with pytest.raises(InputError, match="square kernels"):
        heads.layers(head, (4, 4, 8))

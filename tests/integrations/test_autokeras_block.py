import importlib
import sys

import keras
import keras_tuner
import numpy as np
import pytest

from bompnas.errors import InputError

SPACE = """
family: mobilenetv2
name: tiny
input: {size: 8, channels: 1}
bits: [4, 8]
seed: {bits: 8}
stem: {filters: 4, kernel: 3, stride: 2}
blocks:
  - {channels: 8, stride: 1, kernel: [1, 3], width: [0.5, 1], expansion: 2, repetitions: [0, 1],
     seed: {kernel: 3, width: 1, repetitions: 1}}
last_conv: {filters: [8, 16], seed: {filters: 16}}
"""


def test_missing_autokeras_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "autokeras", None)
    monkeypatch.delitem(sys.modules, "bompnas.integrations.autokeras_block", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'bompnas\[autokeras\]'"):
        import bompnas.integrations.autokeras_block  # noqa: F401


@pytest.fixture
def autokeras():
    return pytest.importorskip("autokeras", reason="the extra autokeras is not installed")


@pytest.fixture
def module(autokeras):
    import bompnas.integrations.autokeras_block

    return bompnas.integrations.autokeras_block


@pytest.fixture
def space(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SPACE)
    return tmp_path / "tiny.yaml"


def assembled(autokeras, *blocks):
    """A graph of blocks one behind the other, a regression head at the end, that knows the shapes of its data."""
    node = image = autokeras.ImageInput()
    for block in (*blocks, autokeras.RegressionHead()):
        (node,) = block(node)
    graph = importlib.import_module("autokeras.graph").Graph(inputs=image, outputs=node)
    image.shape, image.dtype, node.in_blocks[0].shape = (8, 8, 1), "float32", (1,)
    return graph


class TestBlock:
    def test_builds_the_network_of_the_values(self, module, space):
        block = module.MobileNetV2Block(space, name="mine")
        hp = keras_tuner.HyperParameters()
        hp.values = {"mine/block1.kernel": 1, "mine/block1.width": 0.5, "mine/last_conv.filters": 8}
        images = keras.Input((8, 8, 1))
        model = keras.Model(images, block.build(hp, images))
        assert model.get_layer("block1_1_depthwise").kernel_size == (1, 1)
        assert model.get_layer("block1_1_project").filters == 4
        assert model.output.shape == (None, 8)
        assert hp.values["mine/stem.bits"] == 8

    def test_conditional_genes_are_conditional_hyperparameters(self, module, space):
        block = module.MobileNetV2Block(space, name="mine")
        hp = keras_tuner.HyperParameters()
        hp.values = {"mine/block1.repetitions": 0}
        block.build(hp, keras.Input((8, 8, 1)))
        entries = {entry.name: entry for entry in hp.space}
        assert set(entries) == {f"mine/{gene.name}" for gene in block.space.genes}
        assert not hp.is_active(entries["mine/block1.kernel"])
        assert hp.is_active(entries["mine/last_conv.filters"])

    def test_map_features_and_pixel_range(self, module, space):
        block = module.MobileNetV2Block(space, range=(-1, 3), features="map")
        images = keras.Input((8, 8, 1))
        model = keras.Model(images, block.build(keras_tuner.HyperParameters(), images))
        assert model.output.shape == (None, 4, 4, 16)
        centred = keras.Model(images, model.get_layer("centre").output)
        pixels = np.full((1, 8, 8, 1), -1.0)
        pixels[0, 0, 0, 0] = 3.0
        values = centred.predict(pixels, verbose=0)
        assert values.min() == -1.0
        assert values.max() == 127 / 128

    def test_survives_its_configuration(self, module, space):
        block = module.MobileNetV2Block(space, range=(0, 1), bits=4, features="map", name="mine")
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(block))
        assert again.get_config() == block.get_config()
        assert again.space.genes == block.space.genes
        assert not any(gene.name.endswith("bits") for gene in again.space.genes)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"features": "flat"}, "features is 'flat', expected"),
            ({"range": (1, 0)}, r"range is \(1, 0\), expected"),
        ],
    )
    def test_wrong_settings(self, module, space, arguments, message):
        with pytest.raises(InputError, match=message):
            module.MobileNetV2Block(space, **arguments)

    def test_images_of_another_shape(self, module, space):
        with pytest.raises(InputError, match=r"\(10, 10, 1\) found, but space 'tiny' expects \(8, 8, 1\)"):
            module.MobileNetV2Block(space).build(keras_tuner.HyperParameters(), keras.Input((10, 10, 1)))


class TestNetworks:
    def test_a_graph_without_our_block_has_none(self, module, autokeras):
        assert module.Networks.of(assembled(autokeras, autokeras.ConvBlock())) is None

    def test_head_counts_in_every_network(self, module, autokeras, space):
        networks = module.Networks.of(assembled(autokeras, module.MobileNetV2Block(space, name="mine")))
        networks.bind(1)
        hp = keras_tuner.HyperParameters()
        hp.values = {"mine/last_conv.filters": 8, "mine/dense.bits": 4}
        network = networks.network(hp)
        assert [(layer.kind, layer.weights, layer.weight_bits) for layer in network.head] == [("dense", 8, 4)]
        model = networks.build(hp, None, network, networks.source.head())
        kernels = {layer.name: layer.kernel.shape for layer in model.layers if hasattr(layer, "kernel")}
        assert kernels["last_conv"] == (1, 1, 8, 8)
        assert (8, 1) in kernels.values()

    def test_blocks_between_ours_and_the_head_belong_to_the_head(self, module, autokeras, space):
        hidden = autokeras.DenseBlock(num_layers=1, num_units=32, use_batchnorm=True, dropout=0.0)
        networks = module.Networks.of(assembled(autokeras, module.MobileNetV2Block(space), hidden))
        networks.bind(1)
        assert [layer.weights for layer in networks.network(keras_tuner.HyperParameters()).head] == [16 * 32, 32]

    def test_nested_models_are_dissolved_and_preprocessing_adapts(self, module, autokeras, space):
        class Nested(autokeras.Block):
            def build(self, hp, inputs=None):
                return keras.Sequential([keras.layers.Dense(4)])(keras.tree.flatten(inputs)[0])

        block = module.MobileNetV2Block(space, range=None)
        networks = module.Networks.of(assembled(autokeras, autokeras.Normalization(), block, Nested()))
        networks.bind(1)
        images = np.random.default_rng(0).normal(7.0, 2.0, (50, 8, 8, 1)).astype("float32")
        hp = keras_tuner.HyperParameters()
        model = networks.build(hp, images, networks.network(hp), networks.source.head())
        assert not any(isinstance(layer, keras.Model) for layer in model.layers)
        (normalization,) = [layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)]
        assert np.asarray(normalization.mean).item() == pytest.approx(images.mean(), rel=1e-4)

    def test_layers_in_front_are_refused(self, module, autokeras, space):
        front = autokeras.ConvBlock(
            kernel_size=1, num_blocks=1, num_layers=1, filters=1, max_pooling=False, separable=False, dropout=0.0
        )
        networks = module.Networks.of(assembled(autokeras, front, module.MobileNetV2Block(space)))
        with pytest.raises(InputError, match="1 Dense or Conv layers found in front of the MobileNetV2Block"):
            networks.bind(1)

    def test_two_blocks_are_refused(self, module, autokeras, space):
        blocks = [module.MobileNetV2Block(space) for _ in range(2)]
        with pytest.raises(InputError, match="2 MobileNetV2Blocks, 1 inputs and 1 outputs found"):
            module.Networks.of(assembled(autokeras, *blocks))

    def test_a_branch_past_the_block_is_refused(self, module, autokeras, space):
        image = autokeras.ImageInput()
        (ours,), (past,) = module.MobileNetV2Block(space)(image), autokeras.Flatten()(image)
        (merged,) = autokeras.Merge(merge_type="concatenate")([ours, past])
        (output,) = autokeras.RegressionHead()(merged)
        graph = importlib.import_module("autokeras.graph").Graph(inputs=image, outputs=output)
        image.shape, image.dtype, output.in_blocks[0].shape = (8, 8, 1), "float32", (1,)
        with pytest.raises(InputError, match="does not come from the MobileNetV2Block alone"):
            module.Networks.of(graph).bind(1)

from bompnas.space.head import DenseHead


def test_a_dense_head_is_one_linear_layer_on_the_features():
    (layer,) = DenseHead(3)(40)
    assert (layer.name, layer.kind, layer.group, layer.activation) == ("head_dense", "dense", "head", "linear")
    assert (layer.in_channels, layer.out_channels, layer.weights, layer.bias) == (40, 3, 120, True)

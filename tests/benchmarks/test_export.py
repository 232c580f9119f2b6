import dataclasses
import itertools

import numpy as np
import pytest
from exporting import converter, engines, files, qkeras, random_networks, report, stock_report, subjects

from bompnas.export import emulator, litert
from bompnas.export.extract import extract
from bompnas.space import loader

BITS = 4, 5, 6, 7, 8


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), np.uint8)


@pytest.fixture(scope="module")
def graph(images):
    """A network without its last blocks, of every number of bits."""
    network = loader.load(random_networks.SPACES["digits"]).decode(
        {**random_networks.space("digits").seed, "block2.repetitions": 0, "block3.repetitions": 0}
    )
    bits = itertools.cycle(BITS)
    layers = tuple(dataclasses.replace(layer, weight_bits=next(bits)) for layer in network.layers)
    network = dataclasses.replace(network, layers=layers)
    return extract(random_networks.build(network, images, np.random.default_rng(0), seed=0)).graph


def with_a_weight_changed(graph):
    operation = next(operation for operation in graph.linear if operation.weights[..., -1].any())
    weights = operation.weights.copy()
    weights[..., -1] -= np.sign(weights[..., -1])
    changed = dataclasses.replace(operation, weights=weights)
    operations = tuple(changed if one is operation else one for one in graph.operations)
    return dataclasses.replace(graph, operations=operations)


@pytest.mark.parametrize("int4", [False, True])
def test_weights_in_a_file_are_read_as_they_were_written(graph, int4):
    file = litert.write(graph, int4=int4)
    assert files.same_weights(file, graph)
    assert {stored.bits for stored in files.stored_weights(file)} == ({4, 8} if int4 else {8})
    assert files.off_grid(files.deviations(file, graph)) == 0
    other = with_a_weight_changed(graph)
    assert not files.same_weights(file, other)
    assert files.off_grid(files.deviations(file, other)) == 1
    assert max(files.deviations(file, other)) == pytest.approx(1.0, abs=1e-6)


def test_the_graph_with_fake_quant_nodes_computes_the_graph_up_to_rounding(graph, images):
    outputs = converter.fake_quantized(graph).predict(converter.centred(images), verbose=0)
    expected = emulator.emulate(graph, graph.levels(images))
    levels = outputs / graph.tensors[graph.output].grid.scale
    assert np.ptp(expected) > 20
    assert np.abs(levels - expected).max() <= 3


def test_differences_are_counted():
    ours = np.array([[1, 5, 2], [7, 0, 0]])
    theirs = np.array([[1, 5, 4], [7, 9, 0]])
    assert engines.Difference.of(theirs, ours) == engines.Difference(4 / 6, 0.5, 9)
    assert engines.accuracy(ours, np.array([1])) == 1.0
    assert engines.accuracy(ours, np.array([1, 1])) == 0.5
    assert engines.zero_channels(np.array([[0, 1, 0], [0, -1, 2]])) == 1


def test_the_random_network_of_a_seed_agrees_everywhere():
    row = random_networks.check(4)
    assert row["levels_used"] > 50
    assert (row["litert"], row["keras"], row["unpacked"], row["weights_equal"]) == (0, 0, 0, True)


def test_the_network_on_cifar10_has_what_is_hard_to_export():
    space = loader.load(subjects.CIFAR10)
    network = space.decode(subjects.genotype(space, subjects.CIFAR10_BLOCKS))
    depthwise = [layer for layer in network.layers if layer.kind == "depthwise"]
    assert {2, 4, 6} == {layer.kernel for layer in depthwise}
    assert {(layer.kernel, layer.stride) for layer in depthwise if layer.stride > 1} == {(4, 2), (6, 2)}
    assert {layer.weight_bits for layer in network.layers} == set(BITS)
    assert any(layer.out_channels == 1 for layer in depthwise)
    assert any(layer.residual for layer in network.layers if layer.out_channels == 1)
    assert any(layer.residual for layer in network.layers if layer.out_channels > 8)


def test_shifted_images_lose_their_last_column():
    image = np.arange(1, 5, dtype=np.uint8).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(subjects.shifted(image)[0, ..., 0], [[0, 1], [0, 3]])


def test_the_page_says_where_engines_are_not_equal(tmp_path):
    equal = dataclasses.asdict(engines.Difference(1.0, 1.0, 0))
    row = {
        "name": "tiny",
        "layers": 1,
        "weights": 8,
        "bits": [4],
        "zero_channels": 0,
        "single_channel_layers": 0,
        "images": 30_000,
        "outputs": 30_000,
        "accuracy": dict.fromkeys(("Keras", "emulator", "LiteRT"), 0.5),
        "differences": dict.fromkeys(report.ENGINES, equal),
    }
    nothing = {"random": [], "size": [], "speed": [], "stock": []}
    report.write(tmp_path, parity=[row], **nothing)
    assert "All 30,000 outputs are equal" in (tmp_path / "export.md").read_text()
    row["differences"] = {**row["differences"], "LiteRT": {"equal": 29_999 / 30_000, "argmax": 1.0, "max_lsb": 2}}
    report.write(tmp_path, parity=[row], **nothing)
    page = (tmp_path / "export.md").read_text()
    assert "Not equal to the emulator everywhere: LiteRT on tiny" in page
    assert "| 99.99 % / 100 % / 2 |" in page


def test_a_stock_model_is_compared_before_and_after(monkeypatch):
    monkeypatch.setattr(qkeras, "EPOCHS", 1)
    (stock,) = (stock for stock in qkeras.all_of() if stock.name == "ternary weights; 8-bit activations, seed 0")
    row = qkeras.compare(stock)
    assert row["litert_equal"]
    assert row["fine"]["equal"] > row["coarse"]["equal"]
    assert set(row["coarse"]["bits"]) == {2}
    assert row["fine"]["packed_bytes"] > row["coarse"]["packed_bytes"]
    page = "\n".join(stock_report.lines([row]))
    assert "LiteRT equals the emulator everywhere" in page
    assert "**LiteRT differs: ternary" in "\n".join(stock_report.lines([{**row, "litert_equal": False}]))

import numpy as np
import pytest

from bompnas.export import litert, operators
from bompnas.export.interpreter import Interpreter
from bompnas.export.latency import Latency
from bompnas.hardware.layers import LayerTable
from bompnas.hardware.lookup import LookupModel, LookupTable
from bompnas.space.batch import NetworkBatch
from bompnas.testing.mobilenets import mobilenet_v2


@pytest.fixture(scope="module")
def networks(request):
    from bompnas.space import sampling
    from bompnas.space.head import DenseHead
    from bompnas.space.loader import load

    space = load(request.config.rootpath / "search_spaces/mobilenetv2_digits.yaml", head=DenseHead(10))
    return space.batch(sampling.uniform(space, np.random.default_rng(0), 3))


def test_the_table_prices_the_networks_at_every_width(networks, tmp_path, monkeypatch):
    """With a clock that shows the bytes of a file."""

    def measure(model, threads, warmup, repetitions):
        return Latency(float(len(model)), 0.0, 0.0, repetitions, threads)

    monkeypatch.setattr(operators.latency, "measure", measure)
    table = operators.timed(networks)
    table.write(tmp_path / "table.csv")
    model = LookupModel(LookupTable.read(tmp_path / "table.csv"))
    costs = model.costs(networks)["latency_ms"]
    layers = LayerTable.of(networks)
    empty = len(litert.write(operators._empty()))
    expected = sum(len(litert.write(operators._operator(layers, place))) - empty for place in range(len(layers)))
    assert costs.sum() == expected
    fields = networks.fields.copy()
    fields[7][networks.weight_bits > 0] = 2
    np.testing.assert_array_equal(model.costs(NetworkBatch(fields))["latency_ms"], costs)


def test_every_layer_of_mobilenet_v2_is_an_operator_that_litert_runs():
    layers = LayerTable.of(NetworkBatch.of([mobilenet_v2(8, 8)]))
    _, places = np.unique(np.stack([layers.kind, layers.kernel, layers.stride]), axis=1, return_index=True)
    for place in places:
        interpreter = Interpreter(litert.write(operators._operator(layers, place)))
        raw = np.random.default_rng(1).integers(-128, 128, (1, *interpreter.input.shape), np.int8)
        assert len(np.unique(interpreter(raw))) > 5


def test_the_command_writes_a_table(tmp_path, capsys, request):
    space = str(request.config.rootpath / "search_spaces/mobilenetv2_digits.yaml")
    out = tmp_path / "table.csv"
    assert operators.main([space, "--out", str(out), "--networks", "1", "--repetitions", "2"]) == 0
    assert f"{len(LookupTable.read(out).layers)} operators of 2 networks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("space", "out", "message"),
    [("missing.yaml", "table.csv", "missing.yaml"), ("digits", "no/folder/table.csv", "cannot be written")],
)
def test_wrong_input_is_told(space, out, message, tmp_path, capsys, request):
    if space == "digits":
        space = str(request.config.rootpath / "search_spaces/mobilenetv2_digits.yaml")
    assert operators.main([space, "--out", str(tmp_path / out), "--networks", "1", "--repetitions", "1"]) == 2
    assert message in capsys.readouterr().err

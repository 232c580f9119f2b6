import dataclasses

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.hardware.bit_serial import EDGE
from bompnas.hardware.counts import Counts
from bompnas.hardware.layers import COLUMNS, LayerTable
from bompnas.hardware.lookup import LookupModel, LookupTable
from bompnas.hardware.model import CostModel, LayerwiseModel, Quantity
from bompnas.hardware.roofline import Roofline
from bompnas.space.batch import CONV, DEPTHWISE, FLOAT, NetworkBatch
from bompnas.space.network import Layer, Network
from bompnas.space.sampling import uniform
from bompnas.testing.cost_models import CostModelConformance

HEADER = ",".join((*COLUMNS, "latency_ms"))
LINE = "conv,1,1,16,32,8,8,4,8,8,1,0.5"


class Positional(CostModel):
    """Prices a layer by its place."""

    quantities = (Quantity("latency_ms", "latency [ms]", 1e6),)

    def costs(self, networks):
        return {"latency_ms": self.by_layer(networks)["latency_ms"].sum(axis=1)}

    def by_layer(self, networks):
        return {"latency_ms": (networks.kind > 0) * np.arange(1.0, networks.kind.shape[1] + 1)}


class Linear(LayerwiseModel):
    """A cost linear in MACs."""

    quantities = (Quantity("latency_ms", "latency [ms]", 1e6),)

    def price(self, layers):
        return {"latency_ms": 3.0 + 2.0 * layers.macs}


class TestLookup(CostModelConformance):
    def model(self):
        return LookupModel(LookupTable.of(EDGE, NetworkBatch.of(self.networks())))


def convs(*channels, kind=CONV, weight_bits=8):
    rows = [(kind, 1, 1, inputs, outputs, 8, 8, weight_bits, 8, 8, 1) for inputs, outputs in channels]
    return LayerTable(*np.array(rows, dtype=np.int64).T)


def table_of(layers):
    return LookupTable.of_layers(layers, Linear().price(layers))


def written(tmp_path, *lines):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def networks(digits):
    return digits.batch(uniform(digits, np.random.default_rng(0), 20))


@pytest.mark.parametrize("model", [EDGE, Roofline(16, 4, scaling="product")], ids=["edge", "roofline"])
def test_a_table_of_a_model_is_that_model_also_after_a_round_through_a_file(model, networks, tmp_path):
    table = LookupTable.of(model, networks, source="made from a model\non paper")
    table.write(tmp_path / "table.csv")
    for source in (table, tmp_path / "table.csv"):
        copy = LookupModel(source)
        expected, found = model.by_layer(networks), copy.by_layer(networks)
        assert set(found) == set(expected)
        assert all((found[name] == expected[name]).all() for name in expected)
        totals, expected_totals = copy.costs(networks), model.costs(networks)
        assert all((totals[name] == expected_totals[name]).all() for name in totals)
    read = LookupTable.read(tmp_path / "table.csv")
    assert read.source == "made from a model\non paper"
    assert len(read.layers) == len(np.unique(np.stack(LayerTable.of(networks).columns, axis=1), axis=0))
    read.write(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "table.csv").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"again.csv", "table.csv"}


def test_the_file_is_plain(tmp_path):
    LookupTable.of_layers(convs((16, 32), weight_bits=4), {"latency_ms": np.array([0.5])}, "a phone").write(
        tmp_path / "table.csv"
    )
    assert (tmp_path / "table.csv").read_text() == f"# a phone\n{HEADER}\n{LINE}\n"


def test_a_file_written_by_hand_is_read(tmp_path):
    shuffled = "latency_ms, " + ", ".join(COLUMNS)
    path = written(
        tmp_path, "# a phone", "", f"\ufeff{shuffled}".lstrip("\ufeff"), "0.25, " + ", ".join(LINE.split(",")[:-1])
    )
    assert LookupModel(path).price(convs((16, 32), weight_bits=4)) == {"latency_ms": [0.25]}


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = written(tmp_path, HEADER, LINE)
    table = LookupTable.read(path)
    broken = dataclasses.replace(table, costs={"latency_ms": np.array([])})
    with pytest.raises(ValueError, match="zip"):
        broken.write(path)
    assert path.read_text() == f"{HEADER}\n{LINE}\n"


def test_findings_of_one_operator_give_their_median():
    layers = convs((4, 8), (16, 8), (4, 8), (4, 8), (16, 8))
    table = LookupTable.of_layers(layers, {"latency_ms": np.array([9.0, 2.0, 1.0, 3.0, 4.0])})
    assert LookupModel(table).price(layers)["latency_ms"].tolist() == [3, 3, 3, 3, 3]
    assert len(table.layers) == 2


def test_quantities_follow_from_names():
    table = LookupTable(
        convs((4, 8)), {name: np.ones(1) for name in ("latency_ms", "peak_memory_kb", "cycles", "cost")}
    )
    assert LookupModel(table).quantities == (
        Quantity("latency_ms", "latency [ms]", 1e6),
        Quantity("peak_memory_kb", "peak memory [kB]", 1e3),
        Quantity("cycles", "cycles", 1),
        Quantity("cost", "cost", None),
    )


def test_float_layers_cost_nothing_and_stand_in_no_table():
    layers = (
        Layer("dense", "dense", 1, 1, 16, 10, 1, 1, 8, 8, "linear", "head"),
        Layer("norm", "float", 1, 1, 1, 20, 1, 1, 32, 32, "linear", "head", bias=False),
    )
    networks = NetworkBatch.of([Network(1, 16, layers)])
    table = LookupTable.of(EDGE, networks)
    assert FLOAT not in table.layers.kind
    assert LookupModel(table).by_layer(networks)["latency_ms"][0, 1] == 0


def test_a_missing_operator_is_an_error_that_names_it():
    model = LookupModel(table_of(convs((4, 8), (16, 8))))
    with pytest.raises(
        InputError,
        match="does not hold conv kernel=1 stride=1 in_channels=8 out_channels=8 input_size=8 output_size=8 "
        "weight_bits=8 input_bits=8 output_bits=8 bias=1, nor 1 others; add a line for it, or set interpolate",
    ):
        model.price(convs((4, 8), (8, 8), (9, 8)))


def test_every_field_is_part_of_the_key():
    layers = convs((4, 8))
    model = LookupModel(table_of(layers))
    for name in COLUMNS:
        other = dataclasses.replace(layers, **{name: getattr(layers, name) + 1})
        with pytest.raises(InputError, match="does not hold"):
            model.price(other)


def test_interpolation_is_linear_in_macs_between_neighbours():
    model = LookupModel(table_of(convs((4, 8), (16, 8), (16, 32), (64, 64))), interpolate=True)
    wanted = convs((4, 8), (7, 8), (8, 16), (15, 8), (16, 17), (40, 50))
    np.testing.assert_allclose(model.price(wanted)["latency_ms"], 3 + 2 * wanted.macs, rtol=1e-14)


def test_the_nearest_neighbours_are_taken():
    table = LookupTable.of_layers(convs((4, 8), (8, 8), (16, 8), (32, 8)), {"latency_ms": np.array([0.0, 10, 30, 90])})
    found = LookupModel(table, interpolate=True).price(convs((8, 8), (12, 8), (24, 8)))["latency_ms"]
    assert found.tolist() == [10, 20, 60]


@pytest.mark.parametrize(
    "wanted",
    [convs((2, 8)), convs((128, 8)), convs((8, 64)), convs((8, 8), weight_bits=7), convs((8, 8), kind=DEPTHWISE)],
    ids=["below", "above", "outside", "other bits", "other kind"],
)
def test_nothing_is_extrapolated(wanted):
    model = LookupModel(table_of(convs((4, 8), (64, 8))), interpolate=True)
    with pytest.raises(InputError, match=r"does not hold .* add lines for it, or for ones of fewer and of more"):
        model.price(wanted)


def test_depthwise_layers_are_interpolated_in_their_channels():
    layers = convs((8, 8), (32, 32), kind=DEPTHWISE)
    table = LookupTable.of_layers(layers, {"latency_ms": np.array([1.0, 4.0])})
    found = LookupModel(table, interpolate=True).price(convs((16, 16), kind=DEPTHWISE))
    assert found["latency_ms"].tolist() == [2.0]


def test_models_that_no_table_can_hold_are_refused(networks):
    with pytest.raises(InputError, match="Positional gives equal layers different latency_ms"):
        LookupTable.of(Positional(), networks)
    norm = Layer("norm", "float", 1, 1, 1, 20, 1, 1, 32, 32, "linear", "head", bias=False)
    with pytest.raises(InputError, match="Counts gives size_bits to `float` layers"):
        LookupTable.of(Counts(), NetworkBatch.of([Network(1, 1, (norm,))]))


def test_a_model_without_costs_by_layer_is_refused(networks):
    class Whole(CostModel):
        quantities = ()

        def costs(self, networks):
            return {}

    with pytest.raises(InputError, match="Whole has no costs that are sums over layers"):
        LookupTable.of(Whole(), networks)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "table.csv: the header lacks kind, kernel, .*; found nothing"),
        ((LINE,), "the header lacks kind"),
        ((",".join(COLUMNS),), "the header has no cost; expected a column such as latency_ms"),
        ((HEADER + ",latency_ms",), "the header names a column twice"),
        ((HEADER + ",Energy [mJ]",), r"the header has 'Energy \[mJ\]'; expected small letters"),
        ((HEADER, LINE, LINE + ",7"), "table.csv, line 3: found 13 values; expected 12"),
        ((HEADER, "# again", LINE, LINE), "line 4: the same operator stands in line 3"),
        ((HEADER, LINE.replace("conv", "pool")), "line 2: kind is 'pool'; expected one of conv, depthwise, dense"),
        ((HEADER, LINE.replace("conv", "float")), "line 2: kind is 'float'"),
        ((HEADER, LINE.replace("16", "16.5")), "line 2: in_channels is '16.5'; expected a whole number from 1"),
        ((HEADER, LINE.replace("16", "0")), "line 2: in_channels is '0'"),
        ((HEADER, LINE.replace("16", "9" * 30)), "line 2: in_channels is '999"),
        ((HEADER, LINE.replace(",1,0.5", ",2,0.5")), "line 2: bias is '2'; expected 0 or 1"),
        ((HEADER, LINE.replace("0.5", "")), "line 2: latency_ms is ''; expected a number of at least 0"),
        ((HEADER, LINE.replace("0.5", "-1")), "line 2: latency_ms is '-1'"),
        ((HEADER, LINE.replace("0.5", "nan")), "line 2: latency_ms is 'nan'"),
        ((HEADER, LINE.replace("0.5", "inf")), "line 2: latency_ms is 'inf'"),
        ((HEADER, LINE.replace("conv", '"conv')), "line 2 is not CSV"),
    ],
)
def test_a_bad_file_is_an_error_with_file_and_line(tmp_path, lines, message):
    with pytest.raises(InputError, match=message) as caught:
        LookupTable.read(written(tmp_path, *lines))
    assert str(tmp_path / "table.csv") in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"none.csv cannot be read: No such file"):
        LookupTable.read(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary.csv cannot be read: it is not text in UTF-8"):
        LookupModel(tmp_path / "binary.csv")

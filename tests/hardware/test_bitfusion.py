import csv
import dataclasses
import itertools
import math
import time
from pathlib import Path

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.hardware.bitfusion import BitFusion, Energy, layer_cost
from bompnas.hardware.layers import COLUMNS, LayerTable
from bompnas.space.batch import FIELDS, KINDS, NetworkBatch
from bompnas.testing.cost_models import CostModelConformance
from bompnas.testing.mobilenets import mobilenet_v1, mobilenet_v2

PUBLISHED = Path(__file__).parents[1] / "data" / "bitfusion_table.csv"
"""Rows of the table that EMS / APQ search with: github.com/mit-han-lab/apq, lut/BitFusion_new.b1.dict."""

SMALL = BitFusion(
    rows=4, columns=8, dram_bits_per_cycle=48, input_buffer_b=2048, output_buffer_b=1024, weight_buffer_b=4096
)
MACHINES = {
    "default": BitFusion(),
    "small": SMALL,
    "batched": dataclasses.replace(SMALL, batch=3),
}


@dataclasses.dataclass(frozen=True)
class Oracle:
    """The same accelerator in plain loops over tiles and orders, written from the description."""

    machine: BitFusion

    def layer(self, kind, ins, outs, size, kernel, stride, weight_bits, input_bits):
        """Cycles and energy [mJ] of a layer; `size` is that of its output."""
        passes, unfold = 1, kind == "conv" and kernel > 1 and ins < self.machine.rows
        if kind == "depthwise":
            together = min(8 * fusion(input_bits) * fusion(weight_bits), self.machine.columns)
            passes, ins, outs = math.ceil(ins / together), together, together
        tiles = itertools.product(
            powers(1, self.machine.batch),
            powers(1, size),
            powers(1, ins),
            powers(1 if unfold else self.machine.columns, outs),
        )
        shape = ins, outs, size, kernel, stride, weight_bits, input_bits, unfold
        cycles, energy_nj = min(found for tile in tiles for found in self.tiled(*shape, *tile))
        return passes * cycles, passes * energy_nj * 1e-6

    def tiled(self, ins, outs, size, kernel, stride, w, a, unfold, b, o, ic, oc):
        """Cycles and energy [nJ] of all orders of the loops over tiles of b images, o x o outputs, ic x oc channels."""
        machine, lanes = self.machine, self.machine.rows * fusion(a) * fusion(w)
        area, pixels, full_columns = kernel**2, b * o * o, up(oc, self.machine.columns)
        window = b * (kernel + (o - 1) * stride) ** 2
        bits = {"W": area * ic * oc * w, "A": (pixels * area if unfold else window) * ic * a, "O": pixels * oc * 32}
        room = {
            "W": up(area * ic, lanes) * full_columns * stored(w),
            "A": (pixels * up(area * ic, lanes) if unfold else window * up(ic, lanes)) * stored(a),
            "O": pixels * full_columns * 32,
        }
        half = {"W": machine.weight_buffer_b * 4, "A": machine.input_buffer_b * 4, "O": machine.output_buffer_b * 4}
        if any(room[stream] > half[stream] for stream in room):
            return
        across, depth = math.ceil(size / o), up(area * ic, lanes) if unfold else area * up(ic, lanes)
        channels = {"IC": math.ceil(ins / ic), "OC": math.ceil(outs / oc)}
        counts = {"B": math.ceil(machine.batch / b), "OW": across, "OH": across, **channels}
        tiles = math.prod(counts.values())
        computing = tiles * pixels * (full_columns // machine.columns) * (depth // lanes)
        computing *= math.ceil(a / 8) * math.ceil(w / 8)
        read = buffer_reads(pixels, area * ic, oc, depth, full_columns, w, a)
        for order in itertools.permutations(counts):
            moved, kept = {}, {}
            for stream, loops in {
                "W": ("IC", "OC"),
                "A": ("B", "OW", "OH", "IC"),
                "O": ("B", "OW", "OH", "OC"),
            }.items():
                moved[stream] = kept[stream] = bits[stream]
                taken, promotable = room[stream], True
                for loop in order:  # from the innermost
                    if not promotable:
                        moved[stream] *= counts[loop]
                    elif loop in loops:
                        moved[stream], taken = moved[stream] * counts[loop], taken * counts[loop]
                        promotable = taken <= half[stream]
                        kept[stream] = moved[stream] if promotable else kept[stream]
            first, last = sum(kept.values()), kept["O"]
            between = sum(moved.values()) + moved["O"] - first - last
            latency = sum(math.ceil(part / machine.dram_bits_per_cycle) for part in (first, last))
            cycles = computing + max(0, math.ceil(between / machine.dram_bits_per_cycle) - computing) + latency
            energy = 0.4825 * computing + 0.4313 * cycles
            energy += tiles * (5.25e-6 * read["A"] + 1.579e-5 * read["W"] + 2.90e-5 * read["O"])
            energy += 0.01511 * moved["A"] + 0.01501 * moved["W"] + 0.01507 * 2 * moved["O"]
            yield cycles, energy


def buffer_reads(pixels, depth, oc, full_depth, full_columns, w, a):
    """Bits read from the buffers for a tile: the array holds the stream with which that takes the least energy."""
    products = pixels * depth * oc
    holding_inputs = {"A": products // oc * a, "W": products * w, "O": products * 32}
    holding_sums = {"A": products * a, "W": products * w, "O": products // depth * 32}
    holding_weights = {"A": products * a, "W": products // pixels * w, "O": products * 32}
    energies = (
        full_depth * pixels * (a + full_columns * (w + 32)),
        full_columns * pixels * (32 + full_depth * (a + w)),
        full_depth * full_columns * (w + pixels * (a + 32)),
    )
    return (holding_inputs, holding_sums, holding_weights)[energies.index(min(energies))]


def powers(unit, full):
    return [unit * 2**k for k in range(20) if unit * 2**k < full] + [full]


def stored(bits):
    return next(width for width in (2, 4, 8, 16) if width >= bits)


def fusion(bits):
    return max(1, 8 // bits)


def up(number, multiple):
    return math.ceil(number / multiple) * multiple


def published():
    with PUBLISHED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    layers = [{name: int(row[name]) for name in list(row)[1:8]} | {"kind": row["kind"]} for row in rows]
    return [(layer, int(row["cycles"]), float(row["energy_mj"])) for layer, row in zip(layers, rows, strict=True)]


@pytest.mark.parametrize(("layer", "cycles", "energy_mj"), published())
def test_the_published_table(layer, cycles, energy_mj):
    cost = layer_cost(**layer)
    together = 8 * fusion(layer["weight_bits"]) * fusion(layer["activation_bits"])
    passes = math.ceil(layer["in_channels"] / together) if layer["kind"] == "depthwise" else 1
    assert abs(cost.cycles - cycles) <= 2 * passes
    assert cost.energy_mj == pytest.approx(energy_mj, rel=0.01)
    assert cost.latency_ms == pytest.approx(cost.cycles / 500e3)


@pytest.mark.parametrize(
    ("layer", "cycles"),
    [
        (("depthwise", 32, 32, 112, 3, 1, 8, 8), 452_500),
        (("conv", 32, 16, 112, 1, 1, 8, 8), 83_649),
        (("dense", 1280, 1000, 1, 1, 1, 8, 8), 53_721),
    ],
)
def test_layers_that_the_table_leaves_out(layer, cycles):
    assert layer_cost(*layer).cycles == pytest.approx(cycles, abs=2 * 4)


@pytest.mark.parametrize(
    ("network", "bits", "latency_ms", "energy_mj"),
    [
        (mobilenet_v2, (8, 8), 9.099, 12.45),
        (mobilenet_v2, (6, 6), 8.965, 11.95),
        (mobilenet_v2, (4, 8), 6.306, 10.59),
        (mobilenet_v2, (4, 4), 5.322, 9.23),
        (mobilenet_v1, (8, 8), 7.866, 11.20),
        (mobilenet_v1, (6, 6), 7.780, 10.78),
        (mobilenet_v1, (4, 4), 4.121, 7.28),
    ],
)
def test_whole_networks(network, bits, latency_ms, energy_mj):
    cost = BitFusion().cost(network(*bits)).total
    assert cost["latency_ms"] == pytest.approx(latency_ms, abs=0.001)
    assert cost["energy_mj"] == pytest.approx(energy_mj, rel=0.01)


def test_mobilenet_v2_costs_what_is_published():
    network = mobilenet_v2()
    assert (len(network.layers), sum(layer.macs for layer in network.layers)) == (53, 300_774_272)
    assert sum(layer.macs for layer in mobilenet_v1().layers) == 568_740_352
    cost = BitFusion().cost(network)
    assert cost.total["latency_ms"] == pytest.approx(9.10, abs=0.01)
    assert cost.total["energy_mj"] == pytest.approx(12.46, abs=0.1)
    kinds = {kind: [cost.layers[layer.name] for layer in network.layers if layer.kind == kind] for kind in KINDS}
    assert sum(part["latency_ms"] for part in kinds["depthwise"]) == pytest.approx(5.451, abs=0.001)
    assert sum(part["latency_ms"] for part in kinds["dense"]) == pytest.approx(0.107, abs=0.001)


@pytest.mark.parametrize("machine", MACHINES)
def test_plain_loops_find_the_same(machine):
    generator = np.random.default_rng(0)
    layers = [_random_layer(generator, most=160 if machine == "default" else 24) for _ in range(25)]
    found = MACHINES[machine].price(_table(layers))
    oracle = Oracle(MACHINES[machine])
    for place, (kind, channels, outs, size, kernel, stride, *bits) in enumerate(layers):
        cycles, energy_mj = oracle.layer(kind, channels, outs, math.ceil(size / stride), kernel, stride, *bits)
        assert found["cycles"][place] == cycles, layers[place]
        assert found["energy_mj"][place] == pytest.approx(energy_mj, rel=1e-12), layers[place]


def test_layers_are_priced_the_same_together_and_alone():
    generator = np.random.default_rng(1)
    layers = [_random_layer(generator, most=64) for _ in range(60)]
    table = _table([layers[place] for place in generator.integers(0, len(layers), 200)])
    together = BitFusion().price(table)
    for place in range(len(table)):
        alone = BitFusion().price(table[place : place + 1])
        assert all(together[name][place] == alone[name][0] for name in together)


def test_valid_padding_shrinks_the_map():
    sizes = {"kernel_size": 3, "weight_bits": 8, "activation_bits": 8}
    same = layer_cost("conv", 32, 32, 13, stride=2, **sizes)
    assert layer_cost("conv", 32, 32, 15, stride=2, padding="valid", **sizes) == same
    assert layer_cost("conv", 32, 32, 13, stride=2, padding="valid", **sizes).cycles < same.cycles


def test_the_image_is_unfolded():
    # 27 places and channels take 2 of the rows' turns, where 3 channels by themselves would take 9.
    machine = BitFusion(dram_bits_per_cycle=10**9)
    image, map_of_16 = _table([("conv", 3, 32, 224, 3, 2, 8, 8), ("conv", 16, 32, 224, 3, 2, 8, 8)]), 112**2
    assert (machine.price(image)["cycles"] - map_of_16 * np.array([2, 9])).tolist() == [2, 2]


@pytest.mark.parametrize(("bits", "steps"), [((8, 8), 1), ((9, 8), 2), ((8, 16), 2), ((12, 16), 4)])
def test_wide_operands_take_several_steps(bits, steps):
    machine = BitFusion(dram_bits_per_cycle=10**9)
    cycles = machine.price(_table([("conv", 64, 64, 16, 3, 1, *bits)]))["cycles"]
    assert cycles == steps * (16**2 * 9 * 4 * 2) + 2


def test_narrow_operands_compute_like_the_next_width_and_move_fewer_bits():
    for narrow, wide in ((3, 4), (5, 8), (7, 8)):
        for kind, channels, size in (("depthwise", 64, 28), ("conv", 64, 28)):
            cheap, dear = (layer_cost(kind, channels, channels, size, 3, 1, bits, bits) for bits in (narrow, wide))
            assert 0.9 * dear.cycles < cheap.cycles < dear.cycles


def test_a_depthwise_layer_is_no_slower_at_2_bits_than_at_4():
    for kernel, size in itertools.product((3, 5), (7, 14, 56)):
        narrow, wide = (layer_cost("depthwise", 96, 96, size, kernel, 1, bits, bits) for bits in (2, 4))
        assert narrow.cycles <= wide.cycles


def test_the_array_is_never_faster_than_its_units():
    generator = np.random.default_rng(2)
    table = _table([_random_layer(generator, most=256) for _ in range(100)])
    pairs = zip(table.weight_bits.tolist(), table.input_bits.tolist(), strict=True)
    peak = np.array([16 * 32 * fusion(weight_bits) * fusion(input_bits) for weight_bits, input_bits in pairs])
    assert (BitFusion().price(table)["cycles"] > table.macs / peak).all()


def test_configuration():
    network, default = mobilenet_v2(), BitFusion().cost(mobilenet_v2()).total
    faster = BitFusion(frequency_mhz=1000).cost(network).total
    assert faster == default | {"latency_ms": pytest.approx(default["latency_ms"] / 2)}
    wider = BitFusion(dram_bits_per_cycle=768).by_layer(NetworkBatch.of([network]))["cycles"]
    assert (wider < BitFusion().by_layer(NetworkBatch.of([network]))["cycles"]).all()
    one, four = (BitFusion(batch=batch).cost(network).total["cycles"] for batch in (1, 4))
    assert 3 * one < four < 4 * one  # weights are loaded once for several images
    free = BitFusion(energy=Energy(1.0, 0.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))).cost(network).total
    assert free["energy_mj"] == pytest.approx(default["cycles"] * 1e-6)


def test_float_layers_cost_nothing():
    prices = BitFusion().price(_table([("float", 10, 1, 1, 1, 1, 32, 32), ("dense", 10, 1, 1, 1, 1, 8, 8)]))
    assert all(values[0] == 0 < values[1] for values in prices.values())


def test_ten_thousand_policies_in_two_seconds():
    fields = np.repeat(NetworkBatch.of([mobilenet_v2()]).fields, 10_000, axis=1)
    for name in ("weight_bits", "activation_bits"):
        fields[FIELDS.index(name)] = np.random.default_rng(0).integers(2, 9, fields.shape[1:])
    start = time.process_time()
    costs = BitFusion().costs(NetworkBatch(fields))
    assert time.process_time() - start < 2.0
    assert len(np.unique(costs["cycles"])) > 9_000


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "pool"}, "kind is 'pool', expected one of conv, depthwise, dense"),
        ({"padding": "full"}, "padding is 'full', expected 'same' or 'valid'"),
        ({"stride": 0}, "stride is 0, expected a positive integer"),
        ({"input_size": 7.5}, "input_size is 7.5, expected a positive integer"),
        ({"kind": "dense"}, "input_size, kernel_size and stride of a dense layer are 1"),
        ({"kind": "depthwise"}, "in_channels is 16 and out_channels 24, expected the same"),
        ({"padding": "valid", "kernel_size": 8}, "kernel_size is 8, expected at most input_size, 7"),
        ({"weight_bits": 1}, "a conv layer, 3x3, 16 to 24 channels, has weights of 1 bits, expected 2 to 16"),
        ({"activation_bits": 17}, "has inputs of 17 bits, expected 2 to 16"),
        ({"kernel_size": 1000}, "not even the smallest tile of .* fits the buffers"),
    ],
)
def test_wrong_layers_are_refused(changed, message):
    layer = {
        "kind": "conv",
        "in_channels": 16,
        "out_channels": 24,
        "input_size": 7,
        "kernel_size": 3,
        "stride": 1,
        "weight_bits": 8,
        "activation_bits": 8,
    }
    layer_cost(**layer)
    with pytest.raises(InputError, match=message):
        layer_cost(**(layer | changed))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rows": 0}, "rows is 0, expected a positive whole number"),
        ({"batch": 1.5}, "batch is 1.5, expected a positive whole number"),
        ({"frequency_mhz": -1.0}, "frequency_mhz is -1.0, expected a positive number"),
    ],
)
def test_wrong_configurations_are_refused(parameters, message):
    with pytest.raises(InputError, match=f"BitFusion: {message}"):
        BitFusion(**parameters)


class TestConformance(CostModelConformance):
    widths = (2, 3, 4, 6, 8, 16)

    def model(self):
        return BitFusion()


def _random_layer(generator, most):
    kind = generator.choice(["conv", "depthwise", "dense"])
    channels, outs = generator.integers(1, most, 2).tolist()
    size, kernel, stride = (int(generator.integers(1, high)) for high in (20, 6, 3))
    size, kernel, stride = (1, 1, 1) if kind == "dense" else (size, kernel, stride)
    return kind, channels, channels if kind == "depthwise" else outs, size, kernel, stride, *_bits(generator)


def _bits(generator):
    return generator.choice([2, 3, 4, 5, 6, 7, 8, 11, 16], 2).tolist()


def _table(layers):
    """A table of (kind, in_channels, out_channels, input_size, kernel, stride, weight_bits, input_bits)."""
    names = ("kind", "in_channels", "out_channels", "input_size", "kernel", "stride", "weight_bits", "input_bits")
    rows = [dict(zip(names, (KINDS.index(layer[0]), *layer[1:]), strict=True)) for layer in layers]
    for row in rows:
        row |= {"output_size": math.ceil(row["input_size"] / row["stride"]), "output_bits": 8, "bias": 1}
    return LayerTable(**{name: np.array([row[name] for row in rows]) for name in COLUMNS})

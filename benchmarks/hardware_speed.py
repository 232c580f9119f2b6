"""Compares the BitFusion model with published figures, and measures how fast it prices networks.

    python benchmarks/hardware_speed.py

One core. The page goes to `benchmarks/results/hardware.md`.
"""

import csv
import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import threadpoolctl
from end_to_end import machine

from bompnas.hardware.bitfusion import BitFusion, layer_cost
from bompnas.hardware.layers import LayerTable, distinct
from bompnas.space.batch import FIELDS, NetworkBatch
from bompnas.testing.mobilenets import mobilenet_v1, mobilenet_v2

HERE = Path(__file__).resolve().parent
PUBLISHED = HERE.parent / "tests" / "data" / "bitfusion_table.csv"
POLICIES = 10_000
REPETITIONS = 7
SAMPLE = 100
"""Layers that are priced by themselves, from which the time of all is extrapolated."""

NETWORKS = (
    ("MobileNetV2 W8A8", mobilenet_v2(8, 8), "9.10 ms, 12.46 mJ"),
    ("MobileNetV2 W6A6", mobilenet_v2(6, 6), ""),
    ("MobileNetV2 W4A8", mobilenet_v2(4, 8), ""),
    ("MobileNetV2 W4A4", mobilenet_v2(4, 4), ""),
    ("MobileNetV1 W8A8", mobilenet_v1(8, 8), ""),
    ("MobileNetV1 W6A6", mobilenet_v1(6, 6), ""),
    ("MobileNetV1 W4A4", mobilenet_v1(4, 4), ""),
)


def main() -> None:
    """Prints the page and writes it."""
    with threadpoolctl.threadpool_limits(limits=1):
        lines = [
            "# BitFusion",
            "",
            f"`python benchmarks/hardware_speed.py`, one of {machine()}.",
            *["", "## Speed", "", *speed()],
            *["", "## Layers of the table published with APQ (EMS)", "", *layers()],
            *["", "## Whole networks, 224x224, first and last layer's weights at 8 bits", "", *networks()],
        ]
    page = "\n".join(lines) + "\n"
    print(page)
    (HERE / "results" / "hardware.md").write_text(page, encoding="utf-8")


def speed() -> list[str]:
    """Seconds for one policy and for many, with nothing remembered and with everything."""
    network, many = mobilenet_v2(6, 8), policies(POLICIES)
    table = LayerTable.of(many)
    table = dataclasses.replace(table, output_bits=np.full(len(table), 8))  # which this model does not look at
    examples, _ = distinct(table.columns)
    sample = np.random.default_rng(0).choice(examples, SAMPLE, replace=False)
    alone = seconds(lambda: [BitFusion().price(table[[place]]) for place in sample])
    rows = [
        ("one policy of MobileNetV2, each of its 53 layers told", lambda model: model.cost(network)),
        (f"{POLICIES:,} random policies of it", lambda model: model.costs(many)),
    ]
    found = [
        "| | cold cache [ms] | warm cache [ms] |",
        "|---|---|---|",
        *(f"| {name} | {1e3 * cold(work):.1f} | {1e3 * warm(work):.2f} |" for name, work in rows),
    ]
    return [
        *found,
        "",
        f"CPU time, median of {REPETITIONS}. Random policies draw 2 to 8 bits for the weights and for the activations "
        f"of each layer: {len(examples):,} different layers for this model. Priced one by one, with a search through "
        f"tiles for each instead of one for several widths, they take {1e3 * alone / SAMPLE:.2f} ms each, "
        f"{1e3 * alone / SAMPLE * len(examples):.0f} ms together (extrapolated from {SAMPLE} of them).",
    ]


def layers() -> list[str]:
    """Published and our cycles and energy of single layers."""
    lines = [
        "| layer | cycles published | ours | energy published [mJ] | ours | difference |",
        "|---|---|---|---|---|---|",
    ]
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cycles, energy = int(row.pop("cycles")), float(row.pop("energy_mj"))
            cost = layer_cost(row["kind"], *(int(value) for value in list(row.values())[1:]))
            channels, kernel = f"{row['in_channels']} to {row['out_channels']}", row["kernel_size"]
            place = f"stride {row['stride']}, at {row['input_size']}"
            bits = f"W{row['weight_bits']}A{row['activation_bits']}"
            name = f"{row['kind']} {channels}, {kernel}x{kernel}, {place}, {bits}"
            difference = f"{100 * (cost.energy_mj / energy - 1):+.2f} %"
            lines.append(f"| {name} | {cycles} | {cost.cycles} | {energy:.5f} | {cost.energy_mj:.5f} | {difference} |")
    return lines


def networks() -> list[str]:
    """Our cost of whole networks, and the published ones."""
    lines = ["| network | latency [ms] | energy [mJ] | published |", "|---|---|---|---|"]
    for name, network, published in NETWORKS:
        cost = BitFusion().cost(network).total
        lines.append(f"| {name} | {cost['latency_ms']:.3f} | {cost['energy_mj']:.3f} | {published} |")
    return lines


def policies(count: int) -> NetworkBatch:
    """MobileNetV2 with random widths of the weights and the activations of each layer."""
    fields = np.repeat(NetworkBatch.of([mobilenet_v2()]).fields, count, axis=1)
    generator = np.random.default_rng(0)
    for name in ("weight_bits", "activation_bits"):
        fields[FIELDS.index(name)] = generator.integers(2, 9, fields.shape[1:])
    return NetworkBatch(fields)


def cold(work: Callable[[BitFusion], object]) -> float:
    """CPU seconds with a model that has not priced anything yet."""
    return statistics.median(seconds(lambda: work(BitFusion())) for _ in range(REPETITIONS))


def warm(work: Callable[[BitFusion], object]) -> float:
    """CPU seconds with a model that has priced the same before."""
    model = BitFusion()
    work(model)
    return statistics.median(seconds(lambda: work(model)) for _ in range(REPETITIONS))


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()

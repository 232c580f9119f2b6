"""The page of results and its picture."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from end_to_end import machine

from exporting import files, plots, stock_report
from exporting.markdown import percent, span, table

Row = Mapping[str, Any]
PICTURE = "export_sizes.png"
ENGINES = (
    "Keras",
    "LiteRT",
    "LiteRT, 2 threads",
    "LiteRT, batches of 1",
    "LiteRT, float ends",
    "LiteRT, INT4 weights",
    "LiteRT, built-in kernels",
)


def write(
    results: Path,
    *,
    parity: Sequence[Row],
    random: Sequence[Row],
    size: Sequence[Row],
    speed: Sequence[Row],
    stock: Sequence[Row],
) -> None:
    """Writes `export.md` and the picture into the folder of results."""
    lines = ["# Export", "", f"`python benchmarks/export.py report` on {machine()}."]
    if parity:
        lines += _parity(parity)
    if random:
        lines += _random(random)
    if size:
        plots.accuracy_over_bytes(_front(size), results / PICTURE)
        lines += _sizes(size)
    if speed:
        lines += _speed(speed)
    if stock:
        lines += stock_report.lines(stock)
    (results / "export.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


# --- Parity -----------------------------------------------------------------------------------------------------------


def _parity(rows: Sequence[Row]) -> list[str]:
    strict = ENGINES[:5]
    unequal = [f"{name} on {row['name']}" for row in rows for name in strict if row["differences"][name]["equal"] < 1]
    outputs = sum(row["outputs"] for row in rows)
    verdict = (
        f"**All {outputs:,} outputs are equal in Keras, the emulator and LiteRT** (batches of 64 and of 1, one and two "
        "threads, INT8 and float ends)."
        if not unequal
        else f"**Not equal to the emulator everywhere: {'; '.join(unequal)}.**"
    )
    return [
        "",
        "## Trained networks",
        "",
        verdict,
        "",
        "Digits: the front of `experiments/digits.yaml`, finally trained, on all images of digits and as many shifted "
        "by a pixel. CIFAR-10: layers of Table I at full size (kernels 2, 4 and 6, strides, repetitions, sums, blocks "
        "of one channel), bits 4 to 8 from layer to layer, trained on 4,000 images for 4 epochs in float and 1 "
        "quantized; then two output channels of every larger layer are set to zero, one of them with its bias, the "
        "others fine-tuned for an epoch, and the same set to zero again. Accuracies are of the test part (CIFAR-10: of "
        "its images that are compared).",
        "",
        *table(
            ["network", "layers", "weights", "weight bits", "zero channels", "layers of 1 channel", "images", "outputs"]
            + ["accuracy: Keras", "emulator", "LiteRT"],
            (
                [
                    row["name"],
                    row["layers"],
                    f"{row['weights']:,}",
                    span(row["bits"]),
                    row["zero_channels"],
                    row["single_channel_layers"],
                    f"{row['images']:,}",
                    f"{row['outputs']:,}",
                    *(f"{row['accuracy'][name]:.4f}" for name in ("Keras", "emulator", "LiteRT")),
                ]
                for row in rows
            ),
        ),
        "",
        "Compared with the emulator: share of equal outputs / share of images with the same class / largest difference "
        "in steps of the output (LSB). The last two columns are for information: no exactness is claimed for INT4 "
        "weights, which XNNPACK leaves to other kernels, nor for LiteRT's built-in kernels, which round twice.",
        "",
        *table(
            ["network", *ENGINES],
            ([row["name"], *(_difference(row["differences"][name]) for name in ENGINES)] for row in rows),
        ),
    ]


def _difference(found: Row) -> str:
    return f"{percent(found['equal'])} / {percent(found['argmax'])} / {found['max_lsb']}"


# --- Random networks --------------------------------------------------------------------------------------------------


def _random(rows: Sequence[Row]) -> list[str]:
    exported = [row for row in rows if "not_exportable" not in row]
    refused = Counter(row["not_exportable"] for row in rows if "not_exportable" in row)
    checks = {
        "LiteRT == emulator": [row["litert"] == 0 for row in exported],
        "Keras == emulator": [row["keras"] == 0 for row in exported],
        "packed, read back, emulated: unchanged": [row["unpacked"] == 0 for row in exported],
        "weights, steps and biases in the file == Keras' integers": [row["weights_equal"] for row in exported],
    }
    spaces = Counter(row["space"] for row in rows)
    narrow = sum(row["activation_bits"] < 8 for row in rows)
    lines = [
        "",
        "## Random networks",
        "",
        f"{len(rows)} random networks ({', '.join(f'{count} of {name}' for name, count in spaces.items())}) with "
        f"random weights, weight bits 4 to 8 layer by layer and zero channels; {narrow} of them with activations of 2 "
        "to 7 bits. Each is run on 32 random images of 8x8 pixels.",
        "",
        *table(
            ["check", "holds", "of"],
            ([name, sum(held), len(held)] for name, held in checks.items()),
        ),
        "",
        "All could be exported." if not refused else "Not exportable: ",
    ]
    lines += [f"* {count}: {reason}" for reason, count in refused.items()]
    for name, key in (("LiteRT", "litert"), ("Keras", "keras")):
        wrong = [row for row in exported if row[key]]
        lines += [
            f"* {name} differs on seed {row['seed']} ({row['space']}, {row['activation_bits']}-bit activations) by up "
            f"to {row[key]} LSB"
            for row in wrong
        ]
    used = np.median([row["levels_used"] for row in exported])
    chosen = sum(row["classes_chosen"] > 1 for row in exported)
    lines += [
        "",
        f"The outputs are no constants: the median network puts out {used:.0f} different levels, and {chosen} of "
        f"{len(exported)} networks choose more than one class.",
    ]
    return lines


# --- Sizes ------------------------------------------------------------------------------------------------------------


def _sizes(rows: Sequence[Row]) -> list[str]:
    front = _front(rows)
    return [
        "",
        "## Sizes and accuracy of a front",
        "",
        f"![bytes and accuracy]({PICTURE})",
        "",
        "The finally trained networks of `experiments/digits.yaml`, which the picture shows, and the larger one on "
        "CIFAR-10. Accuracies are of the test part "
        f"({front[0]['test_images']} images of digits: one is {100 / front[0]['test_images']:.2f} points), computed by "
        "the LiteRT interpreter from the file, or by the emulator from the packed form.",
        "",
        "* *packed*: weights at their width, 32 bits for each step and bias, and the header.",
        "* *LiteRT*: our files, with all their tables: the format cannot hold 5 to 7 bits, and spends some 24 bytes "
        "on the scales and zero points of each channel.",
        "* *converter, PTQ*: `tf.lite.TFLiteConverter` on the folded float model, all in integers, with 128 training "
        "images as representative data. It starts from the float network before quantization-aware fine-tuning, holds "
        "8 bits everywhere and so is another network: a larger one than was searched for.",
        "* *converter, QAT*: the quantized network with fake-quant nodes of each layer's bits, per channel, and nodes "
        "with the scales of our grids on all activations.",
        "* *QAT at 8 bits*: the same with 8-bit nodes on the weights that span 127 of our steps: another writer "
        "for our integers.",
        "",
        "*Text* is names of tensors, which the converter makes long, and metadata. *Same class* is the share of test "
        "images for which the file chooses what our network chooses. A layer is *off the grid* if a weight is more "
        f"than {files.OFF_GRID} of our steps from ours.",
        "",
        f"Means over the {len(front)} networks of digits:",
        "",
        *table(
            ["file", "bytes / packed bytes", "bytes / our INT8 file", "without text", "accuracy"],
            (_mean_row(front, name) for name in files.NAMES),
        ),
        "",
        *table(
            [
                "network",
                "file",
                "bytes",
                "of these text",
                "gzip",
                "accuracy",
                "same class",
                "layers off the grid",
                "largest [steps]",
            ],
            (_size_row(row, name) for row in rows for name in files.NAMES if name in row["files"]),
        ),
        "",
        *table(
            ["network", "weights", "channels", "packed size [bits]", "header [bytes]", "float accuracy", "bits"],
            (
                [
                    row["name"],
                    row["weights"],
                    row["channels"],
                    row["size_bits"],
                    row["header_bytes"],
                    "" if row["float_accuracy"] is None else f"{row['float_accuracy']:.4f}",
                    " ".join(map(str, row["bits"])),
                ]
                for row in rows
            ),
        ),
        "",
        *_by_bits(rows),
    ]


def _front(rows: Sequence[Row]) -> list[Row]:
    """The networks of digits, whose files are all there."""
    return [row for row in rows if row["float_accuracy"] is not None]


def _mean_row(rows: Sequence[Row], name: str) -> list[str]:
    def mean(quantity: Callable[[Row], float]) -> float:
        return float(np.mean([quantity(row["files"]) for row in rows]))

    return [
        name,
        f"{mean(lambda made: made[name]['bytes'] / made[files.PACKED]['bytes']):.2f}",
        f"{mean(lambda made: made[name]['bytes'] / made[files.OURS]['bytes']):.2f}",
        f"{mean(lambda made: _bare(made[name]) / _bare(made[files.OURS])):.2f}",
        f"{mean(lambda made: made[name]['accuracy']):.4f}",
    ]


def _bare(made: Row) -> int:
    return made["bytes"] - made["text_bytes"]


def _size_row(row: Row, name: str) -> list[object]:
    found = row["files"][name]
    deviations = found["deviations"]
    grid = ["", ""] if deviations is None else [f"{files.off_grid(deviations)} of {len(deviations)}"]
    if deviations is not None:
        grid.append(f"{max(deviations):.3f}")
    shown = [row["name"], name, *(f"{found[key]:,}" for key in ("bytes", "text_bytes", "gzip_bytes"))]
    return [*shown, f"{found['accuracy']:.4f}", percent(found["argmax"]), *grid]


def _by_bits(rows: Sequence[Row]) -> list[str]:
    """How far the converter's QAT route puts weights off our grid, by the layer's bits."""
    deviations: dict[int, list[float]] = {}
    for row in rows:
        for bits, deviation in zip(row["bits"], row["files"][files.QAT]["deviations"], strict=True):
            deviations.setdefault(bits, []).append(deviation)
    return [
        "What the converter's QAT route does to weights, by their bits:",
        "",
        *table(
            ["bits", "layers", "off our grid", "largest deviation [steps]"],
            (
                [bits, len(found), files.off_grid(found), f"{max(found):.3f}"]
                for bits, found in sorted(deviations.items())
            ),
        ),
    ]


# --- Speed ------------------------------------------------------------------------------------------------------------


def _speed(rows: Sequence[Row]) -> list[str]:
    names = list(rows[0]["latency"])
    return [
        "",
        "## Speed",
        "",
        "Latency of one image: median (10th to 90th percentile) of 100 runs on one thread, in milliseconds. The "
        "machine was busy with other work, which the spread shows.",
        "",
        *table(
            ["network", "MACs", *names, f"{names[0]}, 2 threads"],
            (
                [
                    row["name"],
                    f"{row['macs']:,}",
                    *(_latency(row["latency"][name][0]) for name in names),
                    _latency(row["latency"][names[0]][1]),
                ]
                for row in rows
            ),
        ),
        "",
        "Seconds of the export, wall time; parity is `bompnas.export.parity.check`.",
        "",
        *table(
            ["network", "layers", *rows[0]["seconds"], "images of parity", "its result"],
            (
                [
                    row["name"],
                    row["layers"],
                    *(f"{value:.3f}" for value in row["seconds"].values()),
                    row["parity_images"],
                    row["parity"],
                ]
                for row in rows
            ),
        ),
    ]


def _latency(found: Row) -> str:
    return f"{found['median_ms']:.4f} ({found['low_ms']:.4f} to {found['high_ms']:.4f})"

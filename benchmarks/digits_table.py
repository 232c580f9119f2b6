"""Trains and quantizes every network of a small space: a complete table of real trainings to search in.

    python benchmarks/digits_table.py --out benchmarks/results/digits_table.csv

The space: the 54 architectures of `benchmarks/digits_table.yaml` under 18 policies each, 972 different networks. The
family gives every kind of layer of every block a bit gene of its own; here three genes stand for them: the weight bits
of all depthwise layers (2, 3 or 8), of all pointwise layers within the blocks (2, 3 or 8), and of the outer layers,
which are stem, last conv and dense (2 or 4).

The data: the 1,797 digits of scikit-learn, 8x8 pixels, of which 719 train, 539 validate and 539 test (fractions of 0.3,
stratified, split seed 0). Validation is large because the rows are there to be compared with each other.

The trial (`bompnas.trials.trial.run_trial`), once for each architecture: 6 epochs in float with Adam at 0.01, then from
this one float network under each of the 18 policies: batch normalization folded, weights quantized, activations at 8
bits, 2 epochs of quantization-aware fine-tuning with Adam at 0.003. Both rates fall to zero along a cosine; batches of
32 images, no augmentation, no weight decay. Weights, order and calibration images of architecture i (of 0 to 53, in the
order of the rows) come from seed i. So short a training leaves widths, depth and bits to decide about the accuracy.

The rows, one a network: `gene:<name>` (empty where the gene does not matter), `key` (of the realised network),
`size_bits` (packed) [bits], `macs`, `params`, `float_seconds` (what the policies of one architecture share) [s],
`seconds` (the policy's own) [s], losses and accuracies (fractions) before (`float_val_*`, `float_test_*`) and after
quantization (`val_*`, `test_*`), and the `error` of a failed one, whose measurements are empty. A search sees
`val_accuracy`: one training, noise included.

A program that was interrupted continues: each architecture is written as soon as it is finished. When all are there,
accuracy over size is drawn beside the file, as PNG. One core takes about an hour.
"""

import os

for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")  # the results depend on the threads
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse  # noqa: E402
import csv  # noqa: E402
import itertools  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator, Mapping  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import tables  # noqa: E402

from bompnas import pareto  # noqa: E402
from bompnas.errors import InputError  # noqa: E402
from bompnas.hardware.counts import BITS_PER_KB, counts  # noqa: E402
from bompnas.space import loader  # noqa: E402
from bompnas.space.batch import NetworkBatch  # noqa: E402
from bompnas.space.network import Network  # noqa: E402
from bompnas.space.space import BITS, Gene, NetworkSpace  # noqa: E402

SPACE = Path(__file__).resolve().parent / "digits_table.yaml"
POLICIES = {"depthwise_bits": (2, 3, 8), "pointwise_bits": (2, 3, 8), "outer_bits": (2, 4)}
DEPTH = "block2.repetitions"
HELD_OUT = 0.3
SPLIT_SEED = 0
BATCH_SIZE = 32
EPOCHS, LEARNING_RATE = 6, 0.01
QAFT_EPOCHS, QAFT_LEARNING_RATE = 2, 0.003
COSTS = ("size_bits", "macs", "params")
METRICS = tuple(
    f"{precision}{part}_{metric}"
    for precision in ("", "float_")
    for part in ("val", "test")
    for metric in ("accuracy", "loss")
)


def main() -> None:
    """Completes the table named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="CSV file; continued where it exists")
    options = parser.parse_args()
    make(options.out)
    draw(tables.load(options.out), options.out.with_suffix(".png"))


def make(out: Path) -> None:
    """Trains what the file does not hold yet.

    Raises:
        InputError: The file is another table.
    """
    space = loader.load(SPACE)
    trainings = [[(genes, decode(space, genes)) for genes in policies] for policies in architectures(space)]
    order = {network.key: place for place, (_, network) in enumerate(itertools.chain(*trainings))}
    rows = {row["key"]: row for row in written(out, columns(space))}
    todo = [
        (seed, policies)
        for seed, policies in enumerate(trainings)
        if any(network.key not in rows for _, network in policies)
    ]
    with tempfile.TemporaryDirectory() as data:
        save_data(Path(data))
        start = time.perf_counter()
        for done, (seed, policies) in enumerate(todo, start=1):
            rows |= {row["key"]: row for row in train(policies, Path(data), seed)}
            write(out, columns(space), sorted(rows.values(), key=lambda row: order[row["key"]]))
            left = (time.perf_counter() - start) / done * (len(todo) - done)
            failed = sum(bool(row["error"]) for row in rows.values())
            print(
                f"{seed + 1}/{len(trainings)}: {len(rows)} networks, {failed} failed, {left / 60:.0f} min left",
                flush=True,
            )


def architectures(space: NetworkSpace) -> Iterator[list[dict[str, int | float]]]:
    """For each architecture the genotypes of its policies, with the genes that matter alone."""
    genes = architecture_genes(space)
    found = set()
    for values in itertools.product(*(gene.values for gene in genes)):
        genotype = dict(zip((gene.name for gene in genes), values, strict=True))
        active = {gene.name: genotype[gene.name] for gene in genes if gene.active(genotype)}
        if tuple(active.items()) not in found:
            found.add(tuple(active.items()))
            yield [
                {**active, **dict(zip(POLICIES, bits, strict=True))} for bits in itertools.product(*POLICIES.values())
            ]


def architecture_genes(space: NetworkSpace) -> list[Gene]:
    """The family's architecture genes, those that decide whether others matter first."""
    return sorted((gene for gene in space.genes if gene.part != BITS), key=lambda gene: len(gene.conditions))


def decode(space: NetworkSpace, genes: Mapping[str, int | float]) -> Network:
    """The network of one row's genes."""
    bits = {gene.name: genes[_group(gene.name)] for gene in space.genes if gene.part == BITS}
    return space.decode(
        {**space.seed, **{name: value for name, value in genes.items() if name not in POLICIES}, **bits}
    )


def _group(gene: str) -> str:
    if gene.endswith(".depthwise_bits"):
        return "depthwise_bits"
    return "pointwise_bits" if gene.startswith("block") else "outer_bits"


def save_data(directory: Path) -> None:
    """Writes the digits as `run_trial` reads them."""
    from bompnas.experiment.sections import DataSettings
    from bompnas.training import data
    from bompnas.trials.executors.shared import Mapped
    from bompnas.trials.trial import PARTS

    digits = data.load(DataSettings(dataset="digits", validation=HELD_OUT, test=HELD_OUT), 8, 1, SPLIT_SEED)
    parts = {part: getattr(digits, part) for part in PARTS}
    Mapped.write({part: (split.images, split.labels) for part, split in parts.items()}, directory)


def train(policies: list[tuple[dict[str, int | float], Network]], data: Path, seed: int) -> list[dict[str, object]]:
    """The rows of one architecture."""
    from bompnas.networks.heads import HeadSource
    from bompnas.training.loop import DivergedError, Phase
    from bompnas.trials import trial
    from bompnas.trials.executors.shared import Mapped

    task = trial.TrialTask(
        networks=tuple(network for _, network in policies),
        head=HeadSource("classification", 10),
        data=Mapped(data),
        early=Phase(EPOCHS, LEARNING_RATE, "cosine", BATCH_SIZE),
        qaft=Phase(QAFT_EPOCHS, QAFT_LEARNING_RATE, "cosine", BATCH_SIZE),
        seed=seed,
        test=True,
    )
    try:
        result = trial.run_trial(task)
        outcomes, shared = result.outcomes, sum(result.seconds.values())
    except DivergedError as error:
        outcomes, shared = [trial.Outcome({}, {}, f"DivergedError: {error}")] * len(policies), 0.0
    costs = counts(NetworkBatch.of(task.networks))
    return [
        {
            **{f"gene:{name}": value for name, value in genes.items()},
            "key": network.key,
            **{name: costs[name][place].item() for name in COSTS},
            **{name: f"{outcome.metrics[name]:.6f}" for name in METRICS if name in outcome.metrics},
            "float_seconds": f"{shared:.2f}",
            "seconds": f"{sum(outcome.seconds.values()):.2f}",
            "error": outcome.error or "",
        }
        for place, ((genes, network), outcome) in enumerate(zip(policies, outcomes, strict=True))
    ]


def columns(space: NetworkSpace) -> list[str]:
    """The table's header."""
    genes = [gene.name for gene in architecture_genes(space)] + list(POLICIES)
    return [*(f"gene:{name}" for name in genes), "key", *COSTS, *METRICS, "float_seconds", "seconds", "error"]


def written(path: Path, header: list[str]) -> list[dict[str, object]]:
    """Rows that the file holds already.

    Raises:
        InputError: It has other columns.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != header:
            raise InputError(f"{path}: columns {reader.fieldnames} found, expected {header}; name another file")
        return list(reader)


def write(path: Path, header: list[str], rows: list[dict[str, object]]) -> None:
    """Replaces the file in one step."""
    partial = path.with_name(f".{path.name}")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)


def draw(table: tables.Table, path: Path) -> None:
    """Accuracy over size of every row, coloured by the repetitions of block 2, with the Pareto front."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from bompnas.report import style

    rows = [row for row in table.rows if row.error is None]
    points = np.array([(row.metrics["size_bits"] / BITS_PER_KB, 100 * row.metrics["val_accuracy"]) for row in rows])
    depths = np.array([row.genes[DEPTH] for row in rows])
    with style.context():
        figure = Figure(figsize=(7.6, 5.2), layout="constrained")
        axes = figure.add_subplot()
        for depth, colour in zip(np.unique(depths), style.CATEGORIES, strict=False):
            shown = points[depths == depth]
            axes.scatter(*shown.T, s=16, color=colour, alpha=0.75, linewidths=0, label=f"{depth}")
        front = points[pareto.front(points, maximize=[False, True])]
        axes.step(*front[np.argsort(front[:, 0])].T, where="post", color=style.INK, linewidth=1.2, label="front")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("Packed size [kB]")
        axes.set_ylabel("Validation accuracy [%]")
        axes.legend(loc="lower right", title="Repetitions of block 2")
        style.save_png(figure, path)


if __name__ == "__main__":
    main()

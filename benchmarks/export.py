"""Measures what is exported: whether files compute what was scored, how large and how fast they are.

    python benchmarks/export.py train --data cifar10.npz   # the networks, into a work folder; hours on a busy core
    python benchmarks/export.py parity
    python benchmarks/export.py random
    python benchmarks/export.py sizes
    python benchmarks/export.py speed
    python benchmarks/export.py qkeras
    python benchmarks/export.py report

`train` runs `experiments/digits.yaml`, repeats the float trainings of its front, which TensorFlow's converter is given,
and trains a full-sized network of Table I on 4,000 images of CIFAR-10 for 6 epochs. `parity` runs Keras, the NumPy
emulator and LiteRT on them, image by image. `random` does so on 200 random, untrained networks. `sizes` compares
bytes and accuracy with what TensorFlow's converter makes of the same front, `speed` times the files and the export
itself. `qkeras` trains stock QKeras models for a few seconds each and compares their files with Keras. Figures go to
`benchmarks/results/export/`; every command continues where it was interrupted and leaves alone what is there. `report`
makes `benchmarks/results/export.md` and its picture of them.
"""

import os

for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse  # noqa: E402
import json  # noqa: E402
from collections.abc import Callable, Iterable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

if TYPE_CHECKING:
    from exporting.qkeras import StockModel
    from exporting.subjects import Subject

HERE = Path(__file__).resolve().parent
RANDOM_NETWORKS = 200


def main() -> None:
    """Carries out the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "parity", "random", "sizes", "speed", "qkeras", "report"))
    parser.add_argument("--data", type=Path, help="CIFAR-10 as an .npz file, for train")
    parser.add_argument("--work", type=Path, default=HERE.parent / "runs" / "export_benchmark", help="trained networks")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the results")
    options = parser.parse_args()
    (options.results / "export").mkdir(parents=True, exist_ok=True)
    globals()[f"_{options.command}"](options)


def _train(options: argparse.Namespace) -> None:
    from exporting import subjects

    for subject in subjects.all_of(options.work, options.data):
        print(f"{subject.name}: {subject.model}")


def _parity(options: argparse.Namespace) -> None:
    from exporting import engines, subjects

    _each(options, "parity", subjects.all_of(options.work, options.data), engines.compare)


def _random(options: argparse.Namespace) -> None:
    from exporting import random_networks

    path = options.results / "export" / "random.jsonl"
    done = {row["seed"] for row in _lines(path)}
    for seed in range(RANDOM_NETWORKS):
        if seed not in done:
            row = random_networks.check(seed)
            print(row, flush=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def _sizes(options: argparse.Namespace) -> None:
    from exporting import sizes, subjects

    _each(options, "sizes", subjects.all_of(options.work, options.data), sizes.measure)


def _speed(options: argparse.Namespace) -> None:
    from exporting import speed, subjects

    _each(options, "speed", subjects.all_of(options.work, options.data), speed.measure)


def _qkeras(options: argparse.Namespace) -> None:
    from exporting import qkeras

    _each(options, "qkeras", qkeras.all_of(), qkeras.compare)


def _report(options: argparse.Namespace) -> None:
    from exporting import report

    folder = options.results / "export"
    names = {"parity": "parity", "size": "sizes", "speed": "speed", "stock": "qkeras"}
    rows = {key: _read(folder / f"{name}.json") for key, name in names.items()}
    report.write(options.results, random=_lines(folder / "random.jsonl"), **rows)


def _each(
    options: argparse.Namespace, name: str, subjects: "Iterable[Subject | StockModel]", measure: Callable
) -> None:
    """Measures what the results do not hold yet."""
    path = options.results / "export" / f"{name}.json"
    rows = _read(path)
    done = {row["name"] for row in rows}
    for subject in subjects:
        if subject.name not in done:
            rows.append(measure(subject))
            print(rows[-1], flush=True)
            path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> list:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def _lines(path: Path) -> list:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()

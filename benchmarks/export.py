"""Measures what is exported: whether files compute what was scored, how large and how fast they are.

    python benchmarks/export.py train --data cifar10.npz   # the networks, into a work folder; hours on a busy core
    python benchmarks/export.py parity
    python benchmarks/export.py random
    python benchmarks/export.py sizes
    python benchmarks/export.py speed
    python benchmarks/export.py report

`train` runs `experiments/digits.yaml`, repeats the float trainings of its front, which TensorFlow's converter is given,
and trains two full-sized networks of Table I on 4,000 images of CIFAR-10 for 4 + 1 epochs. `parity` runs Keras, the
NumPy emulator and LiteRT on them, image by image. `random` does so on 200 random, untrained networks; it continues
where it was interrupted. `sizes` compares bytes and accuracy with what TensorFlow's converter makes of the same front,
`speed` times the files and the export itself. Figures go to `benchmarks/results/export/`, and `report` makes
`benchmarks/results/export.md` and its picture of them.
"""

import os

for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse  # noqa: E402
import json  # noqa: E402
from pathlib import Path  # noqa: E402

HERE = Path(__file__).resolve().parent
RANDOM_NETWORKS = 200


def main() -> None:
    """Carries out the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "parity", "random", "sizes", "speed", "report"))
    parser.add_argument("--data", type=Path, help="CIFAR-10 as an .npz file, for train")
    parser.add_argument("--work", type=Path, default=HERE.parent / "runs" / "export_benchmark", help="trained networks")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the results")
    options = parser.parse_args()
    (options.results / "export").mkdir(parents=True, exist_ok=True)
    globals()[f"_{options.command}"](options)


def _train(options: argparse.Namespace) -> None:
    from exporting import subjects

    for subject in [*subjects.digits(options.work), *subjects.cifar10(options.work, options.data)]:
        print(f"{subject.name}: {subject.model}")


def _parity(options: argparse.Namespace) -> None:
    from exporting import engines

    rows = []
    for subject in _subjects(options):
        rows.append(engines.compare(subject))
        print(rows[-1], flush=True)
        _store(options, "parity", rows)


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

    rows = []
    for subject in subjects.digits(options.work):
        rows.append(sizes.measure(subject))
        print(rows[-1], flush=True)
        _store(options, "sizes", rows)


def _speed(options: argparse.Namespace) -> None:
    from exporting import speed

    rows = []
    for subject in _subjects(options):
        rows.append(speed.measure(subject))
        print(rows[-1], flush=True)
        _store(options, "speed", rows)


def _report(options: argparse.Namespace) -> None:
    from exporting import report

    folder = options.results / "export"
    parity, size, speed = (_read(folder / f"{name}.json") for name in ("parity", "sizes", "speed"))
    report.write(options.results, parity=parity, random=_lines(folder / "random.jsonl"), size=size, speed=speed)


def _subjects(options: argparse.Namespace) -> list:
    from exporting import subjects

    return [*subjects.digits(options.work), *subjects.cifar10(options.work, options.data)]


def _store(options: argparse.Namespace, name: str, data: object) -> None:
    path = options.results / "export" / f"{name}.json"
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> list:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def _lines(path: Path) -> list:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()

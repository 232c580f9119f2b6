"""Runs whole experiments as a user does and writes down what came out.

    python benchmarks/end_to_end.py digits            # README's first command, with several seeds
    python benchmarks/end_to_end.py cifar10 --data cifar10.npz

`digits` is `experiments/digits.yaml` as it is, seeds 0, 1, 2. `cifar10` is `experiments/cifar10.yaml` on the full-sized
space, shortened to 4,000 training images, 3 trials (two of the start, one of the surrogate), 8 + 1 epochs, 10 final
epochs and networks of at most 32 kB: it shows that every phase works on real images at full size, not how good the
method is. The results go to
`benchmarks/results/<name>.md`, with the search plot beside them.
"""

import argparse
import csv
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHORTENED = [
    "data.train_images=4000",
    "method.trials=3",
    "method.initial=2",
    "training.epochs=8",
    "final.epochs=10",
    "constraints.size_kb=32",
]
COLUMNS = [
    "id",
    "size_kb",
    "macs",
    "search_val_accuracy",
    "val_accuracy",
    "test_accuracy",
    "float_test_accuracy",
    "score",
]


def main() -> None:
    """Runs the experiment named on the command line and writes its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("digits", "cifar10"))
    parser.add_argument("--data", help="CIFAR-10 as an .npz file")
    options = parser.parse_args()
    (HERE / "results").mkdir(exist_ok=True)
    seeds = (0, 1, 2) if options.name == "digits" else (0,)
    overrides = [] if options.name == "digits" else SHORTENED
    given = [] if options.data is None else [f"data.path={Path(options.data).resolve()}"]
    lines = [
        f"# `experiments/{options.name}.yaml`",
        "",
        f"`python benchmarks/end_to_end.py {options.name}` on {machine()}.",
        "",
        f"Overrides: {', '.join(f'`{item}`' for item in overrides) or 'none'}.",
    ]
    for seed in seeds:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "run"
            seconds = run(options.name, folder, [*overrides, *given, f"seed={seed}"])
            lines += ["", f"## Seed {seed}: {seconds:.0f} s of wall time", "", *page(folder)]
            shutil.copy(folder / "figures" / "search.png", HERE / "results" / f"{options.name}_{seed}.png")
    (HERE / "results" / f"{options.name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(name: str, folder: Path, overrides: list[str]) -> float:
    """Runs an experiment in a process of its own; returns its wall time [s]."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "bompnas.run", f"experiments/{name}.yaml", "--out", str(folder)]
    subprocess.run([*command, "--set", *overrides], cwd=HERE.parent, check=True)
    return time.perf_counter() - start


def page(folder: Path) -> list[str]:
    """Markdown of a run: the finally trained front, and where the seconds of the trials went."""
    front = rows(folder / "pareto.csv")
    candidates = rows(folder / "candidates.csv")
    phases = [column for column in candidates[0] if column.startswith("seconds_")]
    spent = {phase: sum(float(row[phase] or 0) for row in candidates) for phase in phases}
    return [
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(shown(row[column]) for column in COLUMNS) + " |" for row in front),
        "",
        f"{len(candidates)} candidates, {sum(row['state'] == 'failed' for row in candidates)} failed. "
        "Worker seconds of the trials: "
        + ", ".join(f"{phase.removeprefix('seconds_')} {value:.0f}" for phase, value in spent.items())
        + ".",
    ]


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def shown(text: str) -> str:
    """A number with four decimals where it has a fraction."""
    return f"{float(text):.4f}" if "." in text else text


def machine(packages: Sequence[str] = ("tensorflow", "keras", "qkeras-v3")) -> str:
    """Processor, cores, and versions of Python and of packages."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()

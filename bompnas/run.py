"""The command line.

python -m bompnas.run experiments/digits.yaml --set training.epochs=3
python -m bompnas.run --status runs/digits
"""

import argparse
import math
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bompnas import experiment as experiments
from bompnas.errors import InputError
from bompnas.experiment import Experiment
from bompnas.hardware.quantities import named
from bompnas.session import Result, run
from bompnas.trials.record import Export

__all__ = ["Result", "main", "run"]

DIFFERENT = 3
INTERRUPTED = 130
_ENDING = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C, and what a cluster sends
_CLEANING = 10.0  # after an interrupt [s]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Returns:
        The exit status: 0; 1 when no network could be trained or the system failed; 2 when the input is wrong; 3 when
        an exported file does not compute what the trained network does, or could not be made; 130 when it was
        interrupted.
    """
    options = _options(arguments)
    if options.status is not None:
        from bompnas import status

        return status.show(options.status, options.watch)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    interrupt = _Interrupt()
    for ending in _ENDING:
        signal.signal(ending, interrupt)
    try:
        experiment = experiments.load(options.experiment, options.set)
        result = run(experiment, out=options.out, overwrite=options.overwrite)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except (OSError, sqlite3.OperationalError) as error:
        print(f"{error}. What was recorded is safe; run the same command again to go on.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        for ending in _ENDING:
            signal.signal(ending, signal.SIG_IGN)  # nothing is left to end but this process
        print("Interrupted. What was recorded is safe; run the same command again to go on.", file=sys.stderr)
        return INTERRUPTED
    if not result.front:
        print("No network was trained to the end; the reasons are in candidates.csv and run.log.", file=sys.stderr)
        return 1
    _print_front(result, experiment)
    wrong = [export for export in result.exports if export.deviation or export.error]
    for export in wrong:
        print(f"network {export.candidate}: {export.deviation or f'export failed: {export.error}'}", file=sys.stderr)
    return DIFFERENT if wrong else 0


class _Interrupt:
    """Ends a run by an interrupt; those that follow at once would only disturb its clean-up."""

    def __init__(self):
        self._last = -math.inf

    def __call__(self, number: int, frame: Any) -> None:
        """Handles a signal."""
        now = time.monotonic()
        if now - self._last > _CLEANING:
            self._last = now
            raise KeyboardInterrupt


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bompnas.run",
        usage="%(prog)s EXPERIMENT [--set KEY=VALUE ...] [--out DIR] [--overwrite]\n"
        "       %(prog)s --status DIR [--watch]",
        description="Run an experiment: search, train the Pareto front, report. The same command goes on with a run "
        "that was interrupted. Or tell how a run stands.",
    )
    parser.add_argument(
        "experiment", metavar="EXPERIMENT", nargs="?", help="YAML file, such as experiments/digits.yaml"
    )
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="replace keys of the experiment, such as training.epochs=3",
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the run; runs/NAME if not given")
    parser.add_argument("--overwrite", action="store_true", help="delete the run that the folder holds and start over")
    parser.add_argument("--status", type=Path, metavar="DIR", help="tell how the run in that folder stands, and end")
    parser.add_argument("--watch", action="store_true", help="with --status: tell it again and again until it ends")
    options = parser.parse_args(arguments)
    if options.status is None:
        if options.experiment is None:
            parser.error("expected EXPERIMENT, a YAML file, or --status DIR, the folder of a run")
        if options.watch:
            parser.error("--watch goes with --status DIR")
    else:
        for given in ("experiment", "set", "out", "overwrite"):
            if getattr(options, given):
                name = "EXPERIMENT" if given == "experiment" else f"--{given}"
                parser.error(f"--status DIR tells of a run and starts none: leave out {name}")
    return options


def _print_front(result: Result, experiment: Experiment) -> None:
    """Prints the finally trained front as a table, and what became of its export."""
    objectives = experiment.deployed_objectives()
    measured = [objective.key for objective in objectives if objective.key.startswith("val_")]
    names = [name for key in measured for name in (key, key.replace("val_", "test_"))]
    exports = {export.candidate: export for export in result.exports}
    table = Table(title="Pareto front, finally trained")
    costs = [
        named(item.key, experiment.told) for item in objectives if item.key not in (*measured, "size_bits", "macs")
    ]
    labels = [quantity.unit or quantity.words for quantity in costs]
    for heading in ("id", "kB", "M MACs", *labels, *names, "score", *([".tflite kB"] if exports else [])):
        table.add_column(heading, justify="right")
    for candidate in result.front:
        cost = [f"{candidate.cost['size_kb']:.2f}", f"{candidate.cost['macs'] / 1e6:.3f}"]
        cost += [f"{candidate.values[quantity.name]:.4g}" for quantity in costs]
        metrics = [f"{candidate.metrics[name]:.4f}" for name in names]
        size = exports[candidate.id].tflite_bytes if candidate.id in exports else None
        tflite = "-" if size is None else f"{size / 1000:.1f}"
        table.add_row(str(candidate.id), *cost, *metrics, f"{candidate.score:.4f}", *([tflite] if exports else []))
    console = Console()
    console.print(table)
    if exports:
        console.print(_exported(result.exports), highlight=False, soft_wrap=True)


def _exported(exports: Sequence[Export]) -> str:
    """How many networks have a LiteRT file, how well they agree with what was trained, and why the others have none."""
    there = [export for export in exports if export.tflite]
    compared = [export for export in exports if export.argmax is not None]
    lines = [f"Exported {len(there)} of {len(exports)} networks as .tflite"]
    if compared:
        images = compared[0].images
        argmax, lsb = min(export.argmax for export in compared), max(export.max_lsb for export in compared)
        agree = "exact" if argmax == 1 and lsb == 0 else f"{argmax:.2%}, at most {lsb} LSB"
        lines[0] += f"; parity of Keras, emulator and LiteRT on {images:,} test images: {agree}"
    lines += [f"network {export.candidate}: {export.not_exportable}" for export in exports if export.not_exportable]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

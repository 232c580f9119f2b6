"""Checks the exported files of a run once more, on its test data: `python -m bompnas.parity DIR`."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bompnas import experiment as experiments
from bompnas.errors import InputError
from bompnas.trials import final
from bompnas.trials.executors.process import quiet_imports
from bompnas.trials.folder import RECORD
from bompnas.trials.record import Export, Record

if TYPE_CHECKING:
    from bompnas.export.parity import Parity
    from bompnas.trials.setup import Setup

DIFFERENT = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Returns:
        The exit status: 0; 2 when there is nothing to check, or a file of it is missing, damaged or another network's;
        3 when a file does not compute what its network does.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bompnas.parity",
        description="Compare the exported files of a run with its Keras models on the test data, and print the result. "
        "Nothing is written.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of a run, such as runs/digits")
    folder = parser.parse_args(arguments).folder
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        exports, meta = _read(folder)
        setup = _prepared(folder, meta)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    console = Console()
    found: dict[int, Parity] = {}
    unusable = []
    for number, export in enumerate(exports, start=1):
        with console.status(f"network {export.candidate}, {number} of {len(exports)}"):
            try:
                found[export.candidate] = _check(folder, export, setup)
            except InputError as error:
                unusable.append(f"network {export.candidate}: {error}")
    if found:
        console.print(_table(found))
    deviations = [f"network {candidate}: {one.deviation}" for candidate, one in found.items() if one.deviation]
    for line in unusable + deviations:
        print(line, file=sys.stderr)
    return 2 if unusable else DIFFERENT if deviations else 0


def _read(folder: Path) -> tuple[tuple[Export, ...], dict[str, Any]]:
    """What a run has exported that can be checked, and what it is.

    Raises:
        InputError: The folder holds no run, or one that has exported nothing.
    """
    with Record(folder / RECORD, read_only=True) as record:
        exports, meta = record.exports, record.meta
    exports = tuple(export for export in exports if export.packed)
    if not exports:
        raise InputError(f"{folder}: no exported networks yet; expected a run that has come to its end")
    return exports, meta


def _prepared(folder: Path, meta: Mapping[str, Any]) -> "Setup":
    """The run's data set and head.

    Raises:
        InputError: They cannot be loaded again, or the images are others.
    """
    with quiet_imports():
        from bompnas.trials import identity, setup
    try:
        prepared = setup.prepare(experiments.parse(meta["experiment"], place="its experiment"))
    except InputError as error:
        raise InputError(f"{folder}: its data set and head cannot be loaded again: {error}") from error
    if identity.run_identity(prepared)["data"] != meta["identity"]["data"]:
        raise InputError(f"{folder}: its data set has changed: these are not the images that it was tested on")
    return prepared


def _check(folder: Path, export: Export, setup: "Setup") -> "Parity":
    import keras

    from bompnas.export import models
    from bompnas.trials import exporting

    keras.backend.clear_session()
    source = folder / final.model_path(export.candidate)
    model = models.load(source)
    extracted, reason = exporting.take_apart(model, export.settings["float_head"])
    if extracted is None:
        raise InputError(f"{source}: is another network's: {reason}")
    return exporting.check(export, model, extracted, folder, exporting.sample(setup.dataset.test), setup.head.head())


def _table(found: Mapping[int, "Parity"]) -> Table:
    first = next(iter(found.values()))
    engines = list(dict.fromkeys(engine for parity in found.values() for engine in parity.metrics))
    columns = [(name, engine) for name in next(iter(first.metrics.values())) if name != "loss" for engine in engines]
    table = Table(title=f"Parity of the exported files on {first.images:,} test images")
    for heading in ("id", *(f"{engine}\n{name}" for name, engine in columns), "agree", "LSB", "parity"):
        table.add_column(heading, justify="right")
    for candidate, parity in found.items():
        values = [parity.metrics.get(engine, {}).get(name) for name, engine in columns]
        table.add_row(
            str(candidate),
            *("-" if value is None else f"{value:.4f}" for value in values),
            f"{parity.worst.argmax:.2%}",
            str(parity.worst.max_lsb),
            "differs" if parity.deviation else "ok",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())

"""The command line, and the run of an experiment from beginning to end.

python -m bompnas.run experiments/digits.yaml --set training.epochs=3
python -m bompnas.run --status runs/digits
"""

import argparse
import contextlib
import dataclasses
import logging
import math
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bompnas import experiment as experiments
from bompnas import pareto
from bompnas.candidate import Candidate, State
from bompnas.errors import InputError
from bompnas.experiment import Experiment
from bompnas.hardware.quantities import named
from bompnas.methods import METHODS
from bompnas.trials import final, folder
from bompnas.trials.context import DECIDED, Material, Run
from bompnas.trials.events import SEARCH, Lost, Values
from bompnas.trials.executors import choice, resources
from bompnas.trials.executors.contract import Executor, Shared
from bompnas.trials.executors.process import Imported, quiet_imports
from bompnas.trials.jobs import Jobs
from bompnas.trials.record import Export, Record, views
from bompnas.trials.watching import live, tensorboard
from bompnas.trials.watching.progress import Watch, console_logging
from bompnas.trials.watching.tensorboard import TensorBoard

if TYPE_CHECKING:
    from bompnas.report.snapshots import Snapshots
    from bompnas.training.data import Dataset
    from bompnas.trials.setup import Setup

_log = logging.getLogger("bompnas.run")  # also where the module runs as __main__
DIFFERENT = 3
INTERRUPTED = 130
_ENDING = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C, and what a cluster sends
_CLEANING = 10.0  # after an interrupt [s]


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run ended with.

    Attributes:
        folder: The run's folder.
        candidates: All candidates of the search, ordered by id.
        trained: The finally trained ones with the metrics, seconds and score of that training, ordered by id.
        front: Those of them that no other dominates, smallest packed size first.
        exports: What was exported of the finally trained ones, failures too, ordered by the candidate's id.
    """

    folder: Path
    candidates: tuple[Candidate, ...]
    trained: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    exports: tuple[Export, ...] = ()

    def model(self, candidate: Candidate) -> Path:
        """Where the model of a finally trained candidate is saved."""
        return self.folder / final.model_path(candidate.id)

    def tflite(self, candidate: Candidate) -> Path | None:
        """Where the LiteRT file of a finally trained candidate is; None where there is none."""
        names = (export.tflite for export in self.exports if export.candidate == candidate.id and export.tflite)
        return next((self.folder / name for name in names), None)


def run(
    experiment: Experiment,
    *,
    head: Any = None,
    data: "Dataset | None" = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Result:
    """Carries out an experiment, or goes on with it where it was interrupted.

    Args:
        experiment: From `bompnas.experiment.load` or `parse`.
        head: An object or callable in place of the experiment's head.
        data: A data set in place of the experiment's.
        out: The run's folder; `runs/<name>` if not given.
        overwrite: Whether to delete the run that the folder holds and start over.

    Raises:
        InputError: Something about the experiment, the data, the head or the folder is wrong; nothing was created.
    """
    if experiment.tensorboard:
        tensorboard.require()
    path = Path(out) if out is not None else Path("runs") / experiment.name
    console = Console()
    with contextlib.ExitStack() as stack:
        stack.enter_context(console_logging(console))
        workers = experiment.workers
        if experiment.cluster is None:
            workers = resources.resolve(workers, experiment.worker_memory_gb)
        threads = _threads(path, experiment, workers, overwrite)
        trials = stack.enter_context(contextlib.ExitStack())
        executor = trials.enter_context(_executor(experiment, threads, workers))
        with quiet_imports():  # slow ones: while workers import them too
            from bompnas import report
            from bompnas.report.snapshots import Snapshots
            from bompnas.trials import identity, setup

        prepared = setup.prepare(experiment, head, data)
        METHODS[experiment.method.name].load_check()(experiment.method, prepared)
        executor.check((prepared.head, prepared.measured))
        record = stack.enter_context(folder.opened(path, identity.record_meta(prepared, threads), overwrite))
        shared = executor.share(setup.parts(prepared.dataset))
        logs = _logs(path, prepared) if experiment.tensorboard else None
        watch = Watch(console, path / live.FILE, None if logs is None else logs.hear)
        session = _Session(prepared, record, executor, shared, path, watch, Snapshots(path), logs)
        session.redraw()
        session.search()
        session.train_front()
        trials.close()  # exports have a worker of their own, and the machine for themselves
        session.export()
        _log.info("report: %s", report.write(path))
        trained = tuple(views.finally_trained(record))
        front = tuple(pareto.front_of(trained, experiment.deployed_objectives()))
        exports = record.exports if experiment.export.format != "none" else ()
        return Result(path, record.candidates, trained, front, exports)


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


@dataclasses.dataclass(frozen=True)
class _Session:
    """A run while it is carried out: what its stages share."""

    setup: "Setup"
    record: Record
    executor: Executor
    shared: Shared
    folder: Path
    watch: Watch
    snapshots: "Snapshots"
    logs: TensorBoard | None

    def redraw(self) -> None:
        """Writes the record's views anew."""
        views.write(self.folder, self.record, self.setup.experiment.deployed_objectives())
        if self.logs is not None:
            self.logs.follow(self.record)

    def search(self) -> None:
        """Lets the method search."""
        settings = self.setup.experiment.method
        method = METHODS[settings.name]
        stage, total = ("trial", settings.trials) if method.trials else (SEARCH, 1)
        done = len({candidate.trial for candidate in self.record.candidates if candidate.state is not State.PENDING})
        if method.trials:
            before = f", {done} of them from before" if done else ""
            _log.info("%s: %d trials of %s%s", self.folder, total, settings.name, before)
        else:
            _log.info("%s: search of %s%s", self.folder, settings.name, ", finished before" if done else "")
        with self.watch.stage(stage, total, done) as progress:
            run = Run(
                self.setup.problem,
                self.record,
                self._jobs(self.executor),
                lambda candidates, checkpoint: self.setup.trial_task(candidates, self.shared, checkpoint),
                self.setup.experiment.seed,
                progress,
                self.redraw,
                Material(self.setup, self.shared, self.folder),
            )
            method.load_search()(settings, run)

    def train_front(self) -> None:
        """Trains the Pareto front of what was found, and what the method itself decided for."""
        objectives, candidates = self.setup.experiment.deployed_objectives(), self.record.candidates
        kept = [candidate for candidate in candidates if self.setup.problem.admits(candidate.values)]
        front = pareto.front_of(kept, objectives)
        sources = views.sources(candidates, self.record.proposals)
        front += [
            candidate
            for candidate in kept
            if sources.get(candidate.id) == DECIDED and candidate.score is not None and candidate not in front
        ]
        method = self.setup.experiment.method
        weights = METHODS[method.name].load_weights()(method, self.folder) if front else None
        _log.info("final training of the front: %d of %d networks", len(front), len(candidates))
        final.train(
            front,
            objectives,
            self.record,
            self.folder,
            self._jobs(self.executor),
            lambda group, state: self.setup.final_task(group, self.shared, state, weights(group[0])),
            self.watch,
            self.redraw,
        )

    def _jobs(self, executor: Executor) -> Jobs:
        retries = self.setup.experiment.trial_retries
        return Jobs(executor, self.folder / "checkpoints", retries, self._hear, self.snapshots.refresh)

    def _hear(self, job: str, event: Any) -> None:
        if isinstance(event, Lost):
            self.record.note(job, event.reason)
        elif isinstance(event, Values):
            self.record.log(job, event.number - 1, event.values)
        self.watch.hear(job, event)
        if isinstance(event, Values):
            self.snapshots.refresh()  # such a job goes on for long

    def export(self) -> None:
        """Exports what was finally trained, and checks the files."""
        experiment = self.setup.experiment
        if experiment.export.format == "none":
            return
        from bompnas.trials import delivery, exporting, setup

        trained = views.finally_trained(self.record)
        waiting = delivery.undelivered(trained, experiment.export, self.record, self.folder)
        if not waiting:
            return
        with choice.alone(exporting.export, self.record.meta["threads"], self.executor) as executor:
            shared = executor.share({"test": setup.parts(self.setup.dataset)["test"]})
            delivery.deliver(
                waiting,
                experiment.export,
                self.record,
                self.folder,
                self._jobs(executor),
                lambda candidate: exporting.ExportTask(
                    candidate.id,
                    (self.folder / final.model_path(candidate.id)).absolute(),
                    experiment.export,
                    shared,
                    self.setup.dataset.class_names,
                    self.setup.head,
                ),
                self.watch,
                self.redraw,
            )


def _executor(experiment: Experiment, threads: int, workers: int | str) -> Executor:
    """What carries out the trials."""
    run_trial = Imported("bompnas.trials.trial", "run_trial")  # which imports TensorFlow
    if experiment.cluster is not None:
        from bompnas.integrations.ray import RayCluster  # imports Ray

        limit = None if workers == "auto" else workers
        return RayCluster(run_trial, experiment.cluster, limit, threads, experiment.trial_timeout)
    return choice.local(run_trial, workers, threads, experiment.trial_timeout, experiment.worker_memory_gb)


def _logs(path: Path, prepared: "Setup") -> TensorBoard:
    problem = prepared.problem
    metrics = dict.fromkeys([*(objective.key for objective in problem.objectives), "score"])
    return TensorBoard(path / tensorboard.FOLDER, problem.space.genes, list(metrics))


def _threads(path: Path, experiment: Experiment, workers: int | str, overwrite: bool) -> int:
    """Threads of each worker: those that the run began with, as results depend on them, or a share of the cores."""
    record = path / folder.RECORD
    if overwrite or not record.exists():
        cluster = experiment.cluster
        return resources.threads_per_worker(workers) if cluster is None else max(1, int(cluster.cpus))
    with Record(record, read_only=True) as begun:
        return begun.meta["threads"]


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

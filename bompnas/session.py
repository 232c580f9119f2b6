"""The run of an experiment from beginning to end: search, final training of the front, export, report."""

import contextlib
import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bompnas import pareto
from bompnas.candidate import Candidate, State
from bompnas.experiment import Experiment
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

_log = logging.getLogger(__name__)


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

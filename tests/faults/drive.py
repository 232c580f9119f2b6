"""Serves runs of the command line whose trials are fakes, each in a process forked from this one.

This process has imported everything that is slow to import, so that a run that is killed costs only its own time. Reads
one JSON object a line and answers with one number: `{"prepare": "file"}`, for all experiments of that name, with 0;
`{"start": [...], ...}` with the process's id; `{"wait": id}` with its exit status, negative for a signal.

Workers import this file too: what is slow to import is imported below, by the server.
"""

import dataclasses
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from bompnas.trials.events import Checkpoint, Epoch
from bompnas.trials.record.entries import Export

EPOCHS = 3

_PREPARED = {}
"""Experiments that need not be prepared again, by name."""


@dataclasses.dataclass(frozen=True)
class Fakes:
    """How the fakes behave.

    Attributes:
        seconds: What an epoch, or half an export, takes [s].
        acts: What befalls jobs, by name (`trial 3`, `final 2`, `export 2`), in their second epoch.
        marks: A folder where jobs leave marks: a line for each epoch, and what was done once.
        space: What a file may hold in the run's process [bytes]; None for no limit.
        real: Parts that are no fakes: `trial`, `export`, `report`.
    """

    seconds: float = 0.02
    acts: dict = dataclasses.field(default_factory=dict)
    marks: str = ""
    space: int | None = None
    real: tuple = ()


@dataclasses.dataclass(frozen=True)
class Task:
    name: str
    keys: tuple
    fakes: Fakes
    keep_models: bool
    checkpoint: bytes | None


@dataclasses.dataclass(frozen=True)
class Outcome:
    metrics: dict
    seconds: dict
    error: str | None = None
    model: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    outcomes: tuple
    seconds: dict
    curves: dict


@dataclasses.dataclass(frozen=True)
class Exported:
    export: Export
    files: dict


def train(task, tell):
    """Accuracies that are a function of the networks; each epoch takes its time and can be gone on from."""
    done = json.loads(task.checkpoint) if task.checkpoint else []
    for epoch in range(len(done) + 1, EPOCHS + 1):
        time.sleep(task.fakes.seconds)
        if epoch == 2:
            befall(task)
        with Path(task.fakes.marks, "epochs").open("a") as file:
            file.write(f"{task.name} {epoch}\n")
        done.append(1 / epoch)
        tell(Epoch("float", 0, epoch, EPOCHS, done[-1]))
        tell(Checkpoint(json.dumps(done).encode()))
    spoiled = task.fakes.acts.get(task.name) == "nan"
    outcomes = []
    for key in task.keys:
        accuracy = float("nan") if spoiled else int(key, 16) % 997 / 997
        metrics = {"float_val_accuracy": accuracy, "val_accuracy": accuracy, "test_accuracy": accuracy}
        outcomes.append(Outcome(metrics, {"qaft": 0.5}, None, b"a model" if task.keep_models else None))
    return Result(tuple(outcomes), {"train": 1.0}, {"float_loss": done})


def export(task, tell):
    time.sleep(task.fakes.seconds)
    befall(task)
    time.sleep(task.fakes.seconds)
    (candidate,) = task.keys
    with Path(task.fakes.marks, "epochs").open("a") as file:
        file.write(f"{task.name}\n")
    content = f"integers of {candidate}".encode()
    names = f"models/{candidate}.bits", f"models/{candidate}.tflite"
    return Exported(
        Export(
            candidate, task.checkpoint, names[0], len(content), names[1], len(content),
            images=10, argmax=1.0, max_lsb=0, latency={"median_ms": 1.0},
        ),
        dict.fromkeys(names, content),
    )  # fmt: skip


def befall(task):
    act = task.fakes.acts.get(task.name)
    if act is None:
        return
    act, _, once = act.partition(" ")
    if once:
        mark = Path(task.fakes.marks, f"{task.name} {act}")
        if mark.exists():
            return
        mark.touch()
    if act == "raise":
        raise ValueError("the head does not like it")
    if act == "hang":
        time.sleep(1000)
    if act == "memory":
        held = []
        while True:
            held.append(bytearray(os.urandom(1 << 20)) * 32)
    if act in ("SIGKILL", "SIGSEGV"):
        os.kill(os.getpid(), getattr(signal, act))


def put_in_place(fakes):
    """Replaces the slow parts of a run."""
    from bompnas import report
    from bompnas.trials import exporting, setup, trial
    from bompnas.trials.executors import pool
    from bompnas.trials.record import Record
    from bompnas.whole_files import write_text

    def maker(stage):
        def make_task(self, candidates, shared, checkpoint=None, weights=None):
            first = candidates[0].trial if stage == "trial" else candidates[0].id
            keys = tuple(candidate.network.key for candidate in candidates)
            return Task(f"{stage} {first}", keys, fakes, stage == "final", checkpoint)

        return make_task

    def make_export(candidate, model, settings, *others):
        return Task(f"export {candidate}", (candidate,), fakes, False, settings.model_dump())

    def write(folder, **options):
        with Record(folder / "run.db", read_only=True) as record:
            write_text(folder / "report.html", f"{len(record.candidates)} candidates")
        return folder / "report.html"

    def prepare(experiment, head, dataset):
        return dataclasses.replace(_PREPARED[experiment.name], experiment=experiment)

    if "trial" not in fakes.real:
        trial.run_trial = train
        setup.Setup.trial_task, setup.Setup.final_task = maker("trial"), maker("final")
        setup.prepare = prepare
        pool.Pool.check = lambda self, task: None
    if "export" not in fakes.real:
        exporting.export, exporting.ExportTask = export, make_export
    if "report" not in fakes.real:
        report.write = write
    if fakes.space is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fakes.space, resource.RLIM_INFINITY))


def carry_out(arguments, log, fakes):
    """Becomes the command line."""
    os.setsid()
    for descriptor in (1, 2):
        file = os.open(f"{log}.{'out' if descriptor == 1 else 'err'}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    put_in_place(Fakes(**fakes))
    sys.exit(run.main(arguments))


def serve():
    for line in sys.stdin:
        command = json.loads(line)
        if "prepare" in command:
            prepared = bompnas.trials.setup.prepare(experiments.load(command["prepare"]))
            _PREPARED[prepared.experiment.name] = prepared
            print(0, flush=True)
            continue
        if "wait" in command:
            print(os.waitstatus_to_exitcode(os.waitpid(command["wait"], 0)[1]), flush=True)
            continue
        id = os.fork()
        if not id:
            return command
        print(id, flush=True)
    return None


if __name__ == "__main__":
    import bompnas.report
    import bompnas.report.snapshots
    import bompnas.search.bayesian
    import bompnas.trials.delivery
    import bompnas.trials.setup
    import bompnas.trials.trial
    from bompnas import experiment as experiments
    from bompnas import run

    print(os.getpid(), flush=True)
    command = serve()
    if command is None:
        os._exit(0)  # TensorFlow takes its time to leave
    carry_out(command["start"], command["log"], command["fakes"])

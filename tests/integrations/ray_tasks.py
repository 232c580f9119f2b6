"""What the tests of the Ray cluster let its nodes do."""

import dataclasses
import os
import re
import signal
import time
from pathlib import Path

import ray


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


def do(task, tell):
    """A task is the name of a function below and its argument."""
    what, value = task
    return globals()[what](value, tell)


def double(value, tell):
    return 2 * value


def where(value, tell):
    tell(node())
    return os.getpid()


def variables(names, tell):
    return {name: os.environ.get(name) for name in names}


def count(value, tell):
    for number in range(value):
        tell(number)
    return "counted"


def large(size, tell):
    tell(os.urandom(size))
    tell("small")
    return os.urandom(size)


def fail(value, tell):
    raise ValueError(f"two\nlines of {value}")


def not_picklable(value, tell):
    return lambda: None


def die(value, tell):
    tell("before")
    time.sleep(0.5)  # what was told is on its way by then
    os.kill(os.getpid(), signal.SIGKILL)


def hang(value, tell):
    """Holds the interpreter's lock for ever."""
    tell("hangs")
    time.sleep(0.5)
    re.match(r"(a+)+$", "a" * 80 + "b")


def sleep(seconds, tell):
    tell(os.getpid())
    time.sleep(seconds)


def loaded(shared, tell):
    images, _ = shared.load()["train"]
    return node(), int(images.sum()), images.flags.writeable, images.flags.owndata, shared.load()["train"][0] is images


def trial(task, tell=None):
    """A trial whose accuracies are a function of networks and seed."""
    outcomes = []
    for network in task.networks:
        accuracy = (int(network.key, 16) + task.seed) % 997 / 997
        metrics = {"float_val_accuracy": accuracy, "val_accuracy": accuracy, "val_loss": 1 - accuracy}
        if task.test:
            metrics["test_accuracy"] = accuracy
        outcomes.append(Outcome(metrics, {"qaft": 0.1}, model=b"a model" if task.keep_models else None))
    return Result(tuple(outcomes), {"train": 1.0}, {"float_loss": [1.0]})


def gated_trial(task, tell=None):
    """A trial that notes its node and goes on when the test says so, unless its node is to be lost."""
    gates = Path(os.environ["GATES"])
    with (gates / f"begun {task.seed}").open("a") as file:
        file.write(f"{node()}\n")
    while not (gates / "go").exists() or (gates / f"lost {node()}").exists():
        time.sleep(0.05)
    return trial(task)


def node():
    return ray.get_runtime_context().get_node_id()

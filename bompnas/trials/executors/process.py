"""How a process that trains is set up, and how it carries out one task."""

import contextlib
import dataclasses
import importlib
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from bompnas.trials.executors.contract import Failure, Function, Tell


@dataclasses.dataclass(frozen=True)
class Imported:
    """A function by its name: it is imported when it is called, and where it arrives in another process.

    Worker processes can so import what they need while their driver does the same.

    Attributes:
        module: Where it is.
        name: What it is called there.
    """

    module: str
    name: str

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function."""
        return _imported(self.module, self.name)(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.module in sys.modules:  # what the name stands for in this process, be it something else, goes there
            return _itself, (_imported(self.module, self.name),)
        return _imported, (self.module, self.name)


def prepare(environment: Mapping[str, str]) -> None:
    """Sets what TensorFlow and JAX read when they are first used."""
    os.environ.update(environment)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every new network's tracing


def attempt(function: Function, task: Any, tell: Tell) -> Any:
    """What the function makes of the task, or the `Failure` that its exception is."""
    try:
        return function(task, tell)
    except Exception as error:
        return failure(error)


def failure(error: Exception) -> Failure:
    """The exception that is being handled, as a `Failure`."""
    return Failure(one_line(error), traceback.format_exc())


def one_line(error: Exception) -> str:
    """An exception's type and text in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Keeps back what TensorFlow's native code writes to standard error at import, unless the import fails."""
    with tempfile.TemporaryFile() as held:
        try:
            with errors_to(held.fileno()):
                yield
        except BaseException:
            held.seek(0)
            os.write(2, held.read())
            raise


@contextlib.contextmanager
def errors_to(descriptor: int) -> Iterator[None]:
    """Lets the process, its native code and new processes included, write standard error to an open file."""
    kept = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _imported(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _itself(function: Any) -> Any:
    return function

"""The interface that all search methods share, and the table of their names.

A method is two dotted paths: its settings' schema and its search function. Both are imported only when an experiment
names the method, so that reading experiment files loads no framework. A new method is one new file and one line here.
"""

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bompnas.candidate import Candidate
    from bompnas.trials.context import Run
    from bompnas.trials.setup import Setup


class Method(Protocol):
    """A way to search: carries out a run's search and leaves everything that it found in the run's record."""

    def __call__(self, settings: Any, run: "Run") -> None:
        """Searches until the settings' budget is spent; called again after an interruption, it goes on."""


@dataclasses.dataclass(frozen=True)
class MethodEntry:
    """Where a method lives.

    Attributes:
        settings: Dotted path `module:name` of the pydantic model that checks `method: {...}` of an experiment.
        search: Dotted path `module:name` of the `Method`.
        trials: Whether it searches by trials, as many as its settings say.
        check: Dotted path of `check(settings, setup)`, which refuses what the method cannot search; None for nothing.
        weights: Dotted path of `weights(settings, folder)`, which returns what gives the final training of a candidate
            its first weights; None where they are fresh.
    """

    settings: str
    search: str
    trials: bool = True
    check: str | None = None
    weights: str | None = None

    def load_settings(self) -> type:
        """Imports the settings' schema."""
        return load(self.settings)

    def load_search(self) -> Method:
        """Imports the search function."""
        return load(self.search)

    def load_check(self) -> Callable[[Any, "Setup"], None]:
        """Imports the check."""
        return load(self.check) if self.check else lambda settings, setup: None

    def load_weights(self) -> Callable[[Any, Path], Callable[["Candidate"], Any]]:
        """Imports what gives final trainings their weights."""
        return load(self.weights) if self.weights else lambda settings, folder: lambda candidate: None


METHODS = {
    "bomp": MethodEntry("bompnas.search.bayesian:BompSettings", "bompnas.trials.loop:search"),
    "evolution": MethodEntry("bompnas.search.evolution:EvolutionSettings", "bompnas.trials.loop:search"),
    "hqnas": MethodEntry(
        "bompnas.supernet.settings:HqnasSettings",
        "bompnas.supernet.hqnas:search",
        trials=False,
        check="bompnas.supernet.hqnas:check",
        weights="bompnas.supernet.hqnas:weights",
    ),
    "random": MethodEntry("bompnas.search.random:RandomSettings", "bompnas.trials.loop:search"),
}


def load(path: str) -> Callable[..., Any]:
    """Imports what a dotted path `module:name` names."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)

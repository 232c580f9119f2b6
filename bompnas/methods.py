"""The interface that all search methods share, and the table of their names.

A method is two dotted paths: its settings' schema and its search function. Both are imported only when an experiment
names the method, so that reading experiment files loads no framework. A new method is one new file and one line here.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bompnas.trials.context import Run


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
    """

    settings: str
    search: str

    def load_settings(self) -> type:
        """Imports the settings' schema."""
        return load(self.settings)

    def load_search(self) -> Method:
        """Imports the search function."""
        return load(self.search)


METHODS = {
    "bomp": MethodEntry("bompnas.search.bayesian:BompSettings", "bompnas.trials.loop:search"),
    "evolution": MethodEntry("bompnas.search.evolution:EvolutionSettings", "bompnas.trials.loop:search"),
    "random": MethodEntry("bompnas.search.random:RandomSettings", "bompnas.trials.loop:search"),
}


def load(path: str) -> Callable[..., Any]:
    """Imports what a dotted path `module:name` names."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)

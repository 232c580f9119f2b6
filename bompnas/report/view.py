"""What a report is made of: one run as plain data, however far it has come."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bompnas import objectives, pareto
from bompnas.candidate import Candidate, State
from bompnas.experiment.sections import ObjectiveSettings
from bompnas.hardware import model as costs
from bompnas.objectives import Constraint, Objective
from bompnas.report.device import Device, device_of
from bompnas.report.plane import Plane
from bompnas.report.quantities import Quantity, quantity
from bompnas.trials.events import SEARCH
from bompnas.trials.folder import RECORD
from bompnas.trials.record import Export, Final, Record, views


@dataclasses.dataclass(frozen=True)
class RunView:
    """One run, finished or not.

    Attributes:
        name: The experiment's name.
        experiment: The experiment as resolved: nested mappings as in its YAML file.
        objectives: Objectives on the deployed (quantized) networks.
        constraints: Limits on costs.
        candidates: All candidates, ordered by id.
        finals: Final trainings, failed ones too; empty while the search goes on.
        exports: What was exported of the finally trained networks, failures too.
        seed: Id of the candidate that is the space's seed network; None where it was not tried.
        versions: Packages that the run began with, and their versions.
        identity: What makes the experiment this one, with its files' contents in place of their paths.
        curves: Of the search of a supernet, a value per epoch; empty for methods that train every network.
        sources: Where the networks of a supernet come from, by id: `decided` or `sampled`.
    """

    name: str
    experiment: Mapping[str, Any]
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    candidates: tuple[Candidate, ...]
    finals: tuple[Final, ...] = ()
    exports: tuple[Export, ...] = ()
    seed: int | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    sources: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def count(self, state: State) -> int:
        """Number of candidates in a state."""
        return sum(candidate.state is state for candidate in self.candidates)

    @property
    def trials(self) -> int:
        """Number of trials that have come to an end."""
        return len({candidate.trial for candidate in self.candidates if candidate.state is not State.PENDING})

    @property
    def supernet(self) -> bool:
        """Whether all candidates come from one supernet, whose training is the search."""
        return bool(self.curves)

    @property
    def decided(self) -> Candidate | None:
        """The candidate that the search of a supernet decided for."""
        return next((item for item in self.candidates if self.sources.get(item.id) == "decided"), None)

    @property
    def progress(self) -> str:
        """How far the search has come: `3 of 12 trials`, `40 of 100 epochs`."""
        if self.supernet:
            done, unit = max(map(len, self.curves.values())), "epochs"
            planned = self.experiment.get("training", {}).get("epochs")
        else:
            done, unit = self.trials, "trials"
            planned = self.experiment.get("method", {}).get("trials")
        return f"{done} of {planned} {unit}" if planned else f"{done} {unit}"

    @functools.cached_property
    def completed(self) -> tuple[Candidate, ...]:
        """Completed candidates, ordered by id."""
        return tuple(candidate for candidate in self.candidates if candidate.state is State.COMPLETED)

    @functools.cached_property
    def front(self) -> tuple[Candidate, ...]:
        """The front as the search measured it, smallest network first; what breaks a measured limit is left out."""
        return tuple(pareto.front_of(filter(self._admits, self.candidates), self.objectives))

    @functools.cached_property
    def trained(self) -> tuple[Candidate, ...]:
        """The finally trained candidates with their final metrics and score, smallest network first."""
        trained = views.finally_trained(self)
        return tuple(sorted(trained, key=lambda candidate: (candidate.cost["size_bits"], candidate.id)))

    @functools.cached_property
    def trained_front(self) -> tuple[Candidate, ...]:
        """The finally trained networks that are still non-dominated, smallest first."""
        return tuple(pareto.front_of(self.trained, self.objectives))

    @functools.cached_property
    def chosen(self) -> tuple[Candidate, ...]:
        """What the final training is for: the front, and what the search of a supernet decided for."""
        decided = self.decided
        beside = decided is not None and decided.score is not None and self._admits(decided)
        return (*self.front, decided) if beside and decided not in self.front else self.front

    @property
    def finished(self) -> bool:
        """Whether every chosen network has been through the final training."""
        return bool(self.chosen) and {item.id for item in self.chosen} <= {final.candidate for final in self.finals}

    @functools.cached_property
    def best(self) -> Candidate | None:
        """The completed candidate within all limits with the highest score; the earlier one of equals."""
        scored = [candidate for candidate in self.completed if candidate.score is not None and self._admits(candidate)]
        return max(scored, key=lambda candidate: candidate.score, default=None)

    @functools.cached_property
    def cost_axis(self) -> Quantity:
        """What the search plot shows from left to right: the first objective that is a cost, or the packed size."""
        costs = self.candidates[0].cost if self.candidates else {}
        return quantity(next((objective.key for objective in self.objectives if objective.key in costs), "size_bits"))

    @functools.cached_property
    def quality(self) -> Objective:
        """What the search plot shows from bottom to top: the first objective that is no cost."""
        costs = self.candidates[0].cost if self.candidates else {}
        measured = [objective for objective in self.objectives if objective.key not in costs]
        return (measured or self.objectives)[0]

    @functools.cached_property
    def plane(self) -> Plane:
        """Where the search plot shows a candidate."""
        return Plane(self.cost_axis, self.quality, self.quality.key)

    @functools.cached_property
    def limit(self) -> float | None:
        """The constraint on the search plot's cost, in the cost's own unit [bits for a size]; None without one."""
        axis = self.cost_axis
        limits = [(quantity(constraint.key), constraint.limit) for constraint in self.constraints]
        shown = [limit / other.scale for other, limit in limits if (other.label, other.unit) == (axis.label, axis.unit)]
        return min(shown) * axis.scale if shown else None

    @functools.cached_property
    def device(self) -> Device | None:
        """The device that it searched for; None where it named none."""
        return device_of(self.experiment)

    def _admits(self, candidate: Candidate) -> bool:
        return objectives.admits(self.constraints, candidate.values)


def load(folder: Path) -> RunView:
    """Reads the run in a folder, while it is going on too.

    Nothing but the record is needed: the experiment's own files may have moved since.

    Raises:
        InputError: The folder holds no run, or a damaged one.
    """
    with Record(folder / RECORD, read_only=True) as record:
        meta, candidates, finals, exports = record.meta, record.candidates, record.finals, record.exports
        curves = record.curves(SEARCH)
        sources = views.sources(candidates, record.proposals) if curves else {}
    experiment = meta["experiment"]
    told = [costs.Quantity(**quantity) for quantity in meta.get("quantities", ())]
    known = {candidate.id for candidate in candidates}
    return RunView(
        name=experiment["name"],
        experiment=experiment,
        objectives=tuple(
            ObjectiveSettings.model_validate(settings).objective(name, told=told)
            for name, settings in experiment["objectives"].items()
        ),
        constraints=tuple(Constraint(cost, limit) for cost, limit in experiment.get("constraints", {}).items()),
        candidates=candidates,
        # Read after the candidates: of a run that goes on there may be a final of a candidate too new to be known.
        finals=tuple(final for final in finals if final.candidate in known),
        exports=tuple(export for export in exports if export.candidate in known),
        seed=next((item.id for item in candidates if item.network.key == meta["seed_network"]), None),
        versions=meta["versions"],
        identity=meta.get("identity", experiment),
        curves=curves,
        sources=sources,
    )

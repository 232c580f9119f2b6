"""Which runs are compared: read, checked, brought to one scale, and grouped by experiment."""

import dataclasses
import functools
import itertools
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bompnas import objectives, pareto
from bompnas.candidate import Candidate
from bompnas.errors import InputError
from bompnas.objectives import Objective
from bompnas.report.comparison.course import Course, course
from bompnas.report.plane import Plane
from bompnas.report.view import RunView, load

_IGNORED = ("name", "seed")  # what seeds of one experiment differ in
_LONGEST_LABEL = 40


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """One of the compared runs.

    Attributes:
        anchor: Its id in the page.
        label: What it is called: as much of its folder's path as tells it from the others.
        view: The run, scored by the comparison's objectives.
    """

    anchor: str
    label: str
    view: RunView

    @functools.cached_property
    def course(self) -> Course:
        """The course of its search."""
        return course(self.view)


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """Runs of one experiment, which differ in nothing but the seed; one colour in the figures.

    Attributes:
        number: Place among the series, from 0.
        label: What it is called.
        members: Its runs, in the order given.
    """

    number: int
    label: str
    members: tuple[Member, ...]

    @property
    def views(self) -> tuple[RunView, ...]:
        """The members' runs."""
        return tuple(member.view for member in self.members)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs that can be compared.

    Attributes:
        series: The runs by experiment, in the order given.
        rescored: Whether runs of other references were given the first one's.
    """

    series: tuple[Series, ...]
    rescored: bool = False

    @property
    def members(self) -> tuple[Member, ...]:
        """All runs, series by series."""
        return tuple(member for series in self.series for member in series.members)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What all runs are judged by."""
        return self.series[0].views[0].objectives

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.series[0].views[0].experiment["data"]["dataset"]

    @property
    def data(self) -> str:
        """The data in words: the data set's name, and that of the user's own file or folder."""
        return _data(self.series[0].views[0])

    @functools.cached_property
    def plane(self) -> Plane:
        """Where the figures show a network as the search measured it."""
        views = [member.view for member in self.members]
        return next((view for view in views if view.candidates), views[0]).plane

    @functools.cached_property
    def final_plane(self) -> Plane:
        """The same after final training: on the test part, where all runs have measured it."""
        test = self.plane.key.replace("val_", "test_", 1)
        trained = [candidate for member in self.members for candidate in member.view.trained]
        tested = trained and all(test in candidate.metrics for candidate in trained)
        return dataclasses.replace(self.plane, key=test if tested else self.plane.key)

    @functools.cached_property
    def joint_front(self) -> frozenset[tuple[str, int]]:
        """Anchor and candidate id of the fronts' networks that no network of another run dominates."""
        shown = [(member.anchor, candidate) for member in self.members for candidate in front(member.view)]
        joint = pareto.front_of([candidate for _, candidate in shown], self.objectives)
        best = {self._judged(candidate) for candidate in joint}  # equals of other runs are as good
        return frozenset((anchor, candidate.id) for anchor, candidate in shown if self._judged(candidate) in best)

    def _judged(self, candidate: Candidate) -> tuple[float, ...]:
        return tuple(candidate.values[objective.key] for objective in self.objectives)


def front(view: RunView) -> tuple[Candidate, ...]:
    """What a run has come to: its finally trained front, or that of its search while there is none."""
    return view.trained_front or view.front


def read(folders: Sequence[Path]) -> Comparison:
    """Reads the runs in the folders, finished or not.

    Runs with other references than the first one's are scored anew with its: references only set a scale.

    Raises:
        InputError: A folder is given twice, holds no run, or runs of other data or objectives than the first one's.
    """
    _refuse_twice(folders)
    views = [load(folder) for folder in folders]
    for folder, view in zip(folders[1:], views[1:], strict=True):
        _refuse_incomparable(folders[0], views[0], folder, view)
    common = views[0].objectives
    rescored = any(set(view.objectives) != set(common) for view in views)
    members = [
        Member(f"run-{number}", label, _rescored(view, common))
        for number, (label, view) in enumerate(zip(labels(folders), views, strict=True), start=1)
    ]
    return Comparison(_grouped(members), rescored)


def labels(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the folders' paths that tell them apart."""
    paths = [Path(os.path.abspath(folder)).parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        ends = ["/".join(path[-length:]) for path in paths]
        if len(set(ends)) == len(ends):
            break
    return [_shortened(end) for end in ends]


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"…{label[1 - _LONGEST_LABEL :]}"


def _refuse_twice(folders: Sequence[Path]) -> None:
    places: dict[Path, Path] = {}
    for folder in folders:
        place = folder.resolve()
        if place in places:
            named = str(folder) if places[place] == folder else f"{places[place]}, also as {folder},"
            raise InputError(f"{named} is given twice; expected different runs")
        places[place] = folder


def _refuse_incomparable(first: Path, one: RunView, second: Path, other: RunView) -> None:
    for what, describe in (("data sets", _data), ("objectives", _judged)):
        here, there = describe(one), describe(other)
        if here != there:
            raise InputError(f"{first} and {second} cannot be compared: their {what} are {here} and {there}")
    if _images(one) and _images(other) and _images(one)[0] == _images(other)[0] and _images(one) != _images(other):
        raise InputError(
            f"{first} and {second} cannot be compared: their data sets are both {_data(one)}, with the same seed and "
            "settings, but hold other images or labels"
        )


def _data(view: RunView) -> str:
    """Which data set a run is on; files may have moved, so only their names count."""
    data = view.experiment["data"]
    own = data["dataset"] in ("npz", "folder") and "path" in data
    return f"{data['dataset']} {Path(data['path']).name}" if own else data["dataset"]


def _judged(view: RunView) -> str:
    """What a run is judged by, without its references."""

    def text(objective: Objective) -> str:
        direction = "more" if objective.maximize else "less"
        transform = "" if objective.transform == "identity" else f" ({objective.transform})"
        return f"{direction} {objective.name}{transform}"

    return ", ".join(sorted(map(text, view.objectives)))


def _images(view: RunView) -> tuple[str, str] | None:
    """What must give the same images, and their fingerprint; None where the record has none."""
    data = dict(view.identity.get("data", {}))
    fingerprint = data.pop("fingerprint", None)
    space = view.identity.get("space")
    size = space.get("input") if isinstance(space, Mapping) else None
    return None if fingerprint is None else (f"{view.identity.get('seed')} {data} {size}", fingerprint)


def _rescored(view: RunView, common: tuple[Objective, ...]) -> RunView:
    """The run judged by common objectives; in mode `none` that replaces scores of networks that are not deployed."""

    def score(values: Mapping[str, float]) -> float | None:
        known = all(math.isfinite(values.get(objective.key, math.nan)) for objective in common)
        return objectives.score(common, values) if known else None

    costs = {candidate.id: candidate.cost for candidate in view.candidates}
    return dataclasses.replace(
        view,
        objectives=common,
        candidates=tuple(
            dataclasses.replace(candidate, score=score(candidate.values)) for candidate in view.candidates
        ),
        finals=tuple(
            dataclasses.replace(final, score=score({**costs[final.candidate], **final.metrics}))
            for final in view.finals
        ),
    )


def _grouped(members: Sequence[Member]) -> tuple[Series, ...]:
    groups: list[list[Member]] = []
    for member in members:
        same = (group for group in groups if _settings(group[0].view) == _settings(member.view))
        group = next(same, None)
        if group is None:
            groups.append([member])
        else:
            group.append(member)
    named = [_group_label(group) for group in groups]
    return tuple(
        # Groups whose folders do not tell them apart are called by their first one.
        Series(number, label if named.count(label) == 1 else _counted(group[0].label, group), tuple(group))
        for number, (label, group) in enumerate(zip(named, groups, strict=True))
    )


def _settings(view: RunView) -> Mapping[str, Any]:
    """What seeds of one experiment have in common."""
    settings = {key: value for key, value in view.identity.items() if key not in _IGNORED}
    settings["data"] = {key: value for key, value in settings.get("data", {}).items() if key != "fingerprint"}
    return settings


def _group_label(group: Sequence[Member]) -> str:
    if len(group) == 1:
        return group[0].label
    names = [member.label for member in group]
    start = "".join(letters[0] for letters in itertools.takewhile(_all_equal, zip(*names, strict=False)))
    if any(name[len(start) :][:1].isdigit() for name in names):  # of one number only the first digits are in common
        start = start.rstrip("0123456789")
    stem = re.sub(r"((^|[\W_]+)(seeds?|s))?[\W_]*$", "", start)
    return _counted(stem or group[0].view.name, group)


def _all_equal(letters: Sequence[str]) -> bool:
    return len(set(letters)) == 1


def _counted(label: str, group: Sequence[Member]) -> str:
    return label if len(group) == 1 else f"{label} ({len(group)} seeds)"

"""KerasTuner's `HyperParameters` as a space of plain genes, and genotypes as hyperparameter values.

A hyperparameter with two or more values becomes a gene; one with a single value (`Fixed`, a choice of one) is a
constant. A conditional scope becomes the gene's conditions, together with all that its parents depend on. KerasTuner
tells hyperparameters of one name apart by their scopes; genes of one name are numbered (`units`, `units#2`).
"""

import bisect
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import keras_tuner
from keras_tuner.engine.hyperparameters import Boolean, Choice, Float, HyperParameter

from bompnas.space.hyperspace import HyperSpace
from bompnas.space.space import Gene, Value

LEVELS = 64
"""Most values of a numeric gene; of a range that holds more, so many are spread evenly over its scale."""
_FINE = 4096
_ALMOST_ONE = math.nextafter(1.0, 0.0)

_Conditions = dict[str, frozenset[Value]]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A hyperparameter and the genes that stand for it.

    Attributes:
        hyperparameter: KerasTuner's own.
        values: What it may be; a constant if it is one value.
        genes: Names of its genes: none of a constant, several where its parents have several.
    """

    hyperparameter: HyperParameter
    values: tuple[Value, ...]
    genes: tuple[str, ...]


class HyperParameterSpace:
    """A `HyperParameters` object as a search space.

    Attributes:
        space: The genes; none if every hyperparameter is a constant.
        parameters: The hyperparameters, parents before what depends on them.

    Args:
        hyperparameters: KerasTuner's `HyperParameters`, or its list `space`.
    """

    def __init__(self, hyperparameters: keras_tuner.HyperParameters | Sequence[HyperParameter]):
        entries = parents_first(getattr(hyperparameters, "space", hyperparameters))
        scopes = [condition for entry in entries for condition in entry.conditions]
        variants: dict[str, list[_Variant]] = {}
        genes, parameters = [], []
        for entry in entries:
            named = [value for scope in scopes if scope.name == entry.name for value in scope.values]
            values = levels(entry, named)
            names = []
            for conditions in _alternatives(entry, variants):
                siblings = variants.setdefault(entry.name, [])
                if any(sibling.covers(conditions) for sibling in siblings):
                    continue  # the earlier one of that name has the word
                name = entry.name if not siblings else f"{entry.name}#{len(siblings) + 1}"
                siblings.append(_Variant(None if len(values) == 1 else name, values, conditions))
                if len(values) > 1:
                    genes.append(_gene(entry, name, values, conditions))
                    names.append(name)
            parameters.append(Parameter(entry, values, tuple(names)))
        self.space = HyperSpace(name="hyperparameters", genes=tuple(genes))
        self.parameters = tuple(parameters)
        self._genes = {gene.name: gene for gene in genes}

    def values(self, genotype: Mapping[str, Value]) -> dict[str, Value]:
        """The values of the active hyperparameters, constants included."""
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            entry = parameter.hyperparameter
            if entry.name not in values and all(condition.is_active(values) for condition in entry.conditions):
                active = [genotype[name] for name in parameter.genes if self._genes[name].active(genotype)]
                values[entry.name] = active[0] if active else parameter.values[0]
        return values

    def genotype(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The canonical genotype of hyperparameter values.

        What has no value takes its default; a number between the levels goes to the nearest.
        """
        genotype = {
            name: _level(parameter.hyperparameter, self._genes[name], values)
            for parameter in self.parameters
            for name in parameter.genes
        }
        return self.space.canonical({gene.name: genotype[gene.name] for gene in self.space.genes})


class ScopedHyperParameters(keras_tuner.HyperParameters):
    """Hyperparameters of which two scopes may share a name.

    KerasTuner drops an active value, or draws a random one, where a hyperparameter of the same name is inactive.
    """

    def ensure_active_values(self) -> None:
        """Removes the values of inactive hyperparameters and gives missing active ones their default."""
        complete(self)


def complete(hyperparameters: keras_tuner.HyperParameters) -> None:
    """Removes the values of inactive hyperparameters and gives missing active ones their default, in place."""
    values: dict[str, Value] = {}
    for entry in parents_first(hyperparameters.space):
        if entry.name not in values and all(condition.is_active(values) for condition in entry.conditions):
            values[entry.name] = hyperparameters.values.get(entry.name, entry.default)
    hyperparameters.values = values


def levels(entry: HyperParameter, named: Iterable[Value] = ()) -> tuple[Value, ...]:
    """The values of a hyperparameter that are searched, at least one.

    Args:
        entry: The hyperparameter.
        named: Values on which others depend; kept, where it can take them.

    Returns:
        All that it can take; at most 64 of a longer numeric range, evenly on its scale, the default, both ends and the
        named ones among them (more only if more are named).
    """
    if isinstance(entry, Boolean):
        return (False, True)
    if not hasattr(entry, "sampling"):
        return tuple(dict.fromkeys(entry.values))
    reached = [min(entry.prob_to_value(place / _FINE), entry.max_value) for place in range(_FINE)]
    found = sorted({*reached, min(entry.prob_to_value(_ALMOST_ONE), entry.max_value)})
    if len(found) > LEVELS:
        inner = [entry.prob_to_value(place / (LEVELS - 1)) for place in range(1, LEVELS - 1)]
        ends = (entry.min_value, entry.max_value) if entry.step is None else (found[0], found[-1])
        found = sorted({*ends, *inner})
    kept = [entry.default, *(value for value in named if _takes(entry, value))]
    for value in kept:
        if value not in found:
            free = [level for level in found[1:-1] if level not in kept]
            if len(found) >= LEVELS and free:
                found.remove(min(free, key=lambda level: abs(level - value)))
            bisect.insort(found, value)
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class _Variant:
    """One way in which a hyperparameter's name can be active: its gene (None of a constant) under its conditions."""

    gene: str | None
    values: tuple[Value, ...]
    conditions: _Conditions

    def covers(self, conditions: _Conditions) -> bool:
        """Whether this one is active wherever the conditions hold."""
        return all(gene in conditions and conditions[gene] <= allowed for gene, allowed in self.conditions.items())


def parents_first(entries: Iterable[HyperParameter]) -> list[HyperParameter]:
    """The entries in their order, but none before one that its scopes name: they travel sorted by type."""
    waiting, ordered = list(entries), []
    while waiting:
        names = {entry.name for entry in waiting}
        ready = (
            place
            for place, entry in enumerate(waiting)
            if not any(condition.name in names for condition in entry.conditions)
        )
        ordered.append(waiting.pop(next(ready, 0)))
    return ordered


def _alternatives(entry: HyperParameter, variants: Mapping[str, list[_Variant]]) -> list[_Conditions]:
    """The conjunctions of conditions under which an entry is active: one for each choice of its parents' variants."""
    found: list[_Conditions] = [{}]
    for scope in entry.conditions:
        found = [
            joined
            for conditions in found
            for variant in variants.get(scope.name, ())
            if (joined := _joined(conditions, variant, scope.values)) is not None
        ]
    return [conditions for place, conditions in enumerate(found) if conditions not in found[:place]]


def _joined(conditions: _Conditions, parent: _Variant, values: Sequence[Value]) -> _Conditions | None:
    """The conditions and that the parent is active with one of the values; None if they exclude each other."""
    allowed = frozenset(value for value in parent.values if value in values)
    if not allowed:
        return None
    joined = dict(conditions)
    own = {} if parent.gene is None or len(allowed) == len(parent.values) else {parent.gene: allowed}
    for gene, among in [*parent.conditions.items(), *own.items()]:
        joined[gene] = joined.get(gene, among) & among
        if not joined[gene]:
            return None
    return joined


def _gene(entry: HyperParameter, name: str, values: tuple[Value, ...], conditions: _Conditions) -> Gene:
    ordered = entry.ordered if isinstance(entry, Choice) else True
    positions = None
    if hasattr(entry, "sampling") and entry.step is None and entry.min_value < entry.max_value:
        places = [entry.value_to_prob(min(max(value, entry.min_value), entry.max_value)) for value in values]
        positions = tuple((place - places[0]) / (places[-1] - places[0]) for place in places)
    return Gene(name, values, entry.default, conditions=tuple(conditions.items()), ordered=ordered, positions=positions)


def _takes(entry: HyperParameter, value: Value) -> bool:
    """Whether a numeric hyperparameter can have a value that a scope names."""
    if isinstance(value, str) or not entry.min_value <= value <= entry.max_value:
        return False
    return (isinstance(entry, Float) and entry.step is None) or entry.prob_to_value(entry.value_to_prob(value)) == value


def _level(entry: HyperParameter, gene: Gene, values: Mapping[str, Value]) -> Value:
    value = values.get(entry.name, gene.default)
    if value in gene.values:
        return gene.values[gene.values.index(value)]
    if isinstance(value, str) or isinstance(gene.values[0], str):
        return gene.default
    logarithmic = getattr(entry, "sampling", "linear") == "log" and value > 0
    place = math.log if logarithmic else float
    return min(gene.values, key=lambda level: abs(place(level) - place(value)))

"""Stage-aligned weighted edit distance between networks.

A network is a row of stages (stem, blocks, last conv, head); a stage is a run of slots, one for each repetition; a slot
has attributes (kernel, channels, bits of each kind of layer, ...). Two networks are aligned stage by stage and slot by
slot:

    D(x, y) = sum over stages s and slots j of g_j * (
                  sum_a w_sa |v_a - v'_a|     where both networks have the slot,
                  theta_s + sum_a w_sa / 2    where only one has it )

with attributes v_a scaled to [0, 1] over the space's grid of the stage (channels, expansion and filters as logarithms)
and g_j = j^-1/2. An attribute that only one of two slots has (the bits of an expand conv) counts w_sa / 2. Because of
the halves the way from one value to another is never shorter through an absent slot, so D is a metric; `Embedding`
gives its exact vectors.

| symbol | here | meaning |
|---|---|---|
| s | stage | `stem`, `block1`, ..., `last_conv`, `head` |
| j | slot | repetition within the stage, from 1 |
| a | attribute | what may differ in a slot |
| theta_s | weights[`block2.insert`] | cost of one more repetition |
| w_sa | weights[`block2.kernel`] | cost of an attribute from one end of its grid to the other |
"""

import dataclasses
import math
from collections.abc import Mapping

from bompnas.space.network import HEAD, Network

INSERT = "insert"
LOGARITHMIC = frozenset({"channels", "expansion", "filters"})


@dataclasses.dataclass(frozen=True)
class Stage:
    """What may differ in one stage of a space's networks.

    Attributes:
        name: The layers' group.
        fewest: Smallest number of slots.
        most: Largest number of slots.
        grids: Attribute -> the values that it may have.
    """

    name: str
    fewest: int
    most: int
    grids: Mapping[str, tuple[float, ...]]

    def scaled(self, attribute: str) -> dict[float, float]:
        """Grid value -> its place in [0, 1], ascending."""
        measure = math.log2 if attribute in LOGARITHMIC else float
        values = sorted(set(self.grids[attribute]))
        low, high = measure(values[0]), measure(values[-1])
        return {value: (measure(value) - low) / ((high - low) or 1.0) for value in values}

    @property
    def varying(self) -> list[str]:
        """The attributes with more than one value: the others never differ."""
        return [attribute for attribute, grid in self.grids.items() if len(set(grid)) > 1]


def slots(network: Network) -> dict[str, list[dict[str, float]]]:
    """Stage -> its slots in order, each a mapping attribute -> value."""
    stages: dict[str, list[dict[str, float]]] = {}
    for layer in network.layers:
        run = stages.setdefault(layer.group, [])
        if layer.group == HEAD:
            if layer.kind != "float" and not run:
                run.append({"bits": layer.weight_bits})
            continue
        if not layer.repetition:
            run.append({"filters": layer.out_channels, "bits": layer.weight_bits})
            continue
        if layer.repetition > len(run):
            run.append({"expansion": 1})
        slot = run[layer.repetition - 1]
        role = layer.name.rpartition("_")[2]
        slot[f"{role}_bits"] = layer.weight_bits
        if role == "expand":
            slot["expansion"] = layer.out_channels / layer.in_channels
        elif role == "depthwise":
            slot["kernel"] = layer.kernel
        else:
            slot["channels"] = layer.out_channels
    return stages


def edit_names(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """Names of all edits that have a weight: `block2.insert`, `block2.kernel`, ..."""
    names = []
    for stage in stages:
        if stage.most > stage.fewest:
            names.append(f"{stage.name}.{INSERT}")
        names += [f"{stage.name}.{attribute}" for attribute in stage.varying]
    return tuple(names)


def edit_distance(stages: tuple[Stage, ...], a: Network, b: Network, weights: Mapping[str, float]) -> float:
    """The distance D(a, b) by its definition, slot by slot.

    Args:
        stages: The space's stages.
        a: A network of the space.
        b: Another one.
        weights: Edit name -> non-negative weight, for all of `edit_names(stages)`.
    """
    slots_a, slots_b = slots(a), slots(b)
    total = 0.0
    for stage in stages:
        run_a, run_b = slots_a.get(stage.name, []), slots_b.get(stage.name, [])
        for place in range(max(len(run_a), len(run_b))):
            slot_a = run_a[place] if place < len(run_a) else None
            slot_b = run_b[place] if place < len(run_b) else None
            cost = weights[f"{stage.name}.{INSERT}"] if slot_a is None or slot_b is None else 0.0
            for attribute in stage.varying:
                scaled = stage.scaled(attribute)
                value_a = None if slot_a is None else slot_a.get(attribute)
                value_b = None if slot_b is None else slot_b.get(attribute)
                weight = weights[f"{stage.name}.{attribute}"]
                if value_a is not None and value_b is not None:
                    cost += weight * abs(scaled[value_a] - scaled[value_b])
                elif value_a is not None or value_b is not None:
                    cost += weight / 2
            total += cost / math.sqrt(place + 1)
    return total

"""Searches of a supernet that meet one class after the other, beside searches that begin anew each time."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from speed.study import Rows

from bompnas import experiment as experiments
from bompnas.supernet import checkpoint, structure
from bompnas.supernet.checkpoint import Knowledge
from bompnas.supernet.search import SearchResult, SearchTask
from bompnas.supernet.single_path import Supernet
from bompnas.trials import setup
from bompnas.trials.events import Values
from bompnas.trials.executors.shared import Held
from bompnas.trials.setup import Setup

EXPERIMENT = Path(__file__).resolve().parents[2] / "experiments" / "hqnas_lifelong_digits.yaml"
SCRATCH, UPDATES = "from scratch", "updates"
LAYERS = ("stem", "block3_1_depthwise", "last_conv")
"""Whose weights are looked at before and after an update."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is searched.

    Attributes:
        classes: How many there are, ascending: the first search's, then one update for each.
        epochs: Of a search from scratch.
        warm_up: How many of them.
        update: Epochs of an update.
        overrides: Further keys of the experiment.
    """

    classes: tuple[int, ...] = (5, 6, 7, 8, 9, 10)
    epochs: int = 40
    warm_up: int = 8
    update: int = 15
    overrides: tuple[str, ...] = ()


def measure(plan: Plan, seeds: int, rows: Rows) -> None:
    """Searches as far as the rows do not hold it yet.

    Args:
        plan: What is searched.
        seeds: Repetitions, each with its own split, weights and sampling.
        rows: Where the measurements are kept.
    """
    rows.once({"kind": "plan"}, dataclasses.asdict, plan)
    for seed in range(seeds):
        rows.once({"kind": UPDATES, "seed": seed}, updates, plan, seed)
        for classes in plan.classes[1:]:
            rows.once({"kind": SCRATCH, "seed": seed, "classes": classes}, from_scratch, plan, classes, seed)


def from_scratch(plan: Plan, classes: int, seed: int) -> dict[str, Any]:
    """A search that begins anew: its course, test accuracies, and how far it moved layers from their first weights."""
    prepared = _prepared(plan, classes, seed, plan.epochs)
    row, result = _search(prepared, None)
    keras.utils.set_random_seed(seed)
    first = Supernet(structure.read(prepared.problem.space), prepared.head.head()).arrays
    return {**row, "drift": drift(first, checkpoint.unpack(result.knowledge).arrays)}


def updates(plan: Plan, seed: int) -> dict[str, Any]:
    """A search on the first classes, then one for each further class from the last one's checkpoint: a list `steps`.

    Each step but the first tells how far it moved layers.
    """
    steps, content = [], None
    for classes in plan.classes:
        prepared = _prepared(plan, classes, seed, plan.epochs if content is None else plan.update)
        row, result = _search(prepared, content)
        if content is not None:
            before, after = (checkpoint.unpack(each).arrays for each in (content, result.knowledge))
            row["drift"] = drift(before, after)
        steps.append({"classes": classes, **row})
        content = result.knowledge
    return {"steps": steps}


def drift(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """How far layers' weight vectors moved: the change relative to the old vector's length, and the cosine of both."""
    moved = {}
    for layer in LAYERS:
        old, new = (arrays[f"{layer}/kernel"].ravel().astype(float) for arrays in (before, after))
        lengths = np.linalg.norm(old), np.linalg.norm(new)
        moved[layer] = {
            "change": float(np.linalg.norm(new - old) / lengths[0]),
            "cosine": float(old @ new / (lengths[0] * lengths[1])),
        }
    return moved


def _prepared(plan: Plan, classes: int, seed: int, epochs: int) -> Setup:
    changes = (f"data.classes={classes}", f"training.epochs={epochs}", f"method.warm_up={plan.warm_up}", f"seed={seed}")
    return setup.prepare(experiments.load(EXPERIMENT, (*plan.overrides, *changes)))


def _search(prepared: Setup, begin: bytes | None) -> tuple[dict[str, Any], SearchResult]:
    """A search's course by epoch, CPU seconds since its begin, and accuracies on the test part."""
    task = SearchTask(
        problem=prepared.problem,
        settings=prepared.experiment.method,
        phase=prepared.training_phase(),
        head=prepared.head,
        data=Held(setup.parts(prepared.dataset)),
        class_names=prepared.dataset.class_names,
        seed=prepared.experiment.seed,
        begin=begin,
    )
    accuracies, seconds = [], []
    start = time.process_time()  # another process on the same core does not count

    def tell(event: Any) -> None:
        if isinstance(event, Values):
            accuracies.append(event.values["val_accuracy"])
            seconds.append(time.process_time() - start)

    result = task.run(tell)
    found = [each.genotype for each in (result.decided, *result.sampled) if each is not None]
    row = {"accuracy": accuracies, "seconds": seconds, "whole_seconds": time.process_time() - start}
    return {**row, **_tested(prepared, checkpoint.unpack(result.knowledge), found)}, result


def _tested(prepared: Setup, knowledge: Knowledge, genotypes: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """Mean accuracies of networks in the supernet on the test images of the newest class, of the others, and of all."""
    test, groups = prepared.dataset.test, structure.read(prepared.problem.space)
    supernet = Supernet(groups, prepared.head.head())
    supernet.restore(knowledge.arrays)
    images = test.images.astype(np.float32)
    gates = [groups.chains.gates_of(genotype) for genotype in genotypes]
    right = np.array([np.argmax(supernet((images, each)), axis=1) == test.labels for each in gates])
    newest = test.labels == prepared.dataset.classes - 1
    parts = {"old": ~newest, "new": newest, "all": np.ones(len(newest), bool)}
    return {f"{name}_test_accuracy": float(right[:, part].mean()) for name, part in parts.items()}

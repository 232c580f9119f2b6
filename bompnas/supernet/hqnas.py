"""The method HQNAS: one supernet trained instead of many networks.

Chen et al., HQNAS: Auto CNN deployment framework for joint quantization and architecture search.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from bompnas.candidate import Candidate
from bompnas.errors import InputError
from bompnas.networks.heads import CLASSIFICATION
from bompnas.supernet import checkpoint, structure
from bompnas.supernet.search import SearchResult, SearchTask
from bompnas.supernet.settings import HqnasSettings
from bompnas.supernet.single_path import Supernet, derived_weights
from bompnas.trials.context import DECIDED, Found, Run
from bompnas.trials.events import SEARCH
from bompnas.trials.executors.contract import Failure
from bompnas.trials.setup import Setup
from bompnas.whole_files import replacing

KNOWLEDGE = "supernet.npz"
"""The file of a run's folder with what its supernet has learned."""

_log = logging.getLogger(__name__)


def check(settings: HqnasSettings, setup: Setup) -> None:
    """Makes sure that the experiment can be searched by a supernet.

    Raises:
        InputError: It cannot; says which key stands in the way.
    """
    groups = structure.read(setup.problem.space)
    task = setup.head.head().task
    if task != CLASSIFICATION:
        raise InputError(
            f"head: method hqnas maximizes the accuracy; found a head for {task}, expected one that classifies"
        )
    if setup.experiment.quantization.mode == "none":
        raise InputError("quantization.mode: method hqnas scores quantized networks; found none, expected qaft or ptq")
    known = setup.problem.analytic
    if settings.cost not in known:
        raise InputError(
            f"method.cost: {settings.cost} is not known before training; expected one of {', '.join(sorted(known))}"
            + ("" if setup.experiment.hardware else ", or a device in the section hardware that tells of it")
        )
    measured = [constraint.key for constraint in setup.problem.constraints if constraint.key not in known]
    if measured:
        raise InputError(f"constraints: {measured[0]} is measured, and method hqnas keeps limits on known costs alone")
    if settings.warm_up >= setup.experiment.training.epochs and settings.checkpoint is None:
        raise InputError(
            f"method.warm_up: {settings.warm_up} of {setup.experiment.training.epochs} epochs (training.epochs) leave "
            "none to learn the thresholds in; expected fewer"
        )
    if settings.checkpoint_file is not None:
        place = f"method.checkpoint: {settings.checkpoint}"
        learned = checkpoint.read(settings.checkpoint_file, place)
        shapes = Supernet(groups, setup.head.head()).shapes
        checkpoint.check(learned, groups.chains, shapes, setup.dataset.class_names, place)


def search(settings: HqnasSettings, run: Run) -> None:
    """Trains the supernet and records what its thresholds decide, and the networks sampled last.

    The supernet's own file is in the run's folder before its networks are in the record.
    """
    if run.record.candidates:
        return
    description = f"supernet of {len(structure.read(run.problem.space).groups)} groups"
    result = run.carry_out(SEARCH, lambda state: _task(settings, run, state), description)
    if isinstance(result, Failure):
        return
    with replacing(run.material.folder / KNOWLEDGE, durable=True) as draft:
        draft.write_bytes(result.knowledge)
    run.adopt(_found(result), SEARCH)
    if result.decided is None:
        _log.warning(
            "no network keeps the limits of the experiment: they are too tight for what the thresholds learned"
        )


def weights(settings: HqnasSettings, folder: Path) -> Callable[[Candidate], Mapping[str, np.ndarray] | None]:
    """What final trainings begin with: the supernet's weights where the settings say so.

    Args:
        settings: Of the method.
        folder: The run's.
    """
    if settings.weights == "fresh":
        return lambda candidate: None
    known = checkpoint.read(folder / KNOWLEDGE, str(folder / KNOWLEDGE))
    return lambda candidate: derived_weights(known.arrays, candidate.network)


def _task(settings: HqnasSettings, run: Run, state: bytes | None) -> SearchTask:
    setup = run.material.setup
    return SearchTask(
        problem=run.problem,
        settings=settings,
        phase=setup.training_phase(),
        head=setup.head,
        data=run.material.data,
        class_names=setup.dataset.class_names,
        seed=run.seed,
        begin=None if settings.checkpoint_file is None else settings.checkpoint_file.read_bytes(),
        checkpoint=state,
    )


def _found(result: SearchResult) -> list[Found]:
    decided = [] if result.decided is None else [result.decided]
    found = [Found(DECIDED, each.genotype, each.metrics, result.seconds) for each in decided]
    # The supernet's time counts once.
    rest = {} if found else result.seconds
    for number, each in enumerate(result.sampled):
        found.append(Found("sampled", each.genotype, each.metrics, {} if number else rest))
    return found

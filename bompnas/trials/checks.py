"""Whether the parts of an experiment fit each other; each check raises `InputError` where they do not."""

import numpy as np

from bompnas.errors import InputError
from bompnas.experiment import Experiment
from bompnas.experiment.hardware import check_cost, check_objective, cost_objectives
from bompnas.experiment.sections import MEASURED, METRICS
from bompnas.hardware.model import CostModel
from bompnas.networks import float_model, fold, heads, quantize
from bompnas.networks.heads import Head
from bompnas.space import sampling
from bompnas.space.network import Network
from bompnas.space.space import NetworkSpace
from bompnas.training.data import Dataset
from bompnas.training.loss import Criterion

PRICED = 256
"""Networks that a device prices before a run."""


def objectives(experiment: Experiment, task: str) -> None:
    """That a head for this task measures what the experiment aims at."""
    for name in experiment.objectives:
        if name in METRICS and name not in MEASURED[task]:
            raise InputError(
                f"objectives: the head is for {task} (its loss tells), which measures no {name}; choose among "
                f"{', '.join((*MEASURED[task], *cost_objectives(experiment.told)))}"
            )


def device(experiment: Experiment) -> None:
    """That the device tells of all that is asked for; what one of the user's own tells is known only now."""
    settings = experiment.hardware
    if settings is None:
        return
    for name in experiment.objectives:
        check_objective(name, settings, experiment.told)
    for name in experiment.constraints:
        check_cost(name, settings, experiment.told)


def prices(device: CostModel, space: NetworkSpace) -> None:
    """That the device can price networks of the space, random ones."""
    batch = space.batch(sampling.uniform(space, np.random.default_rng(0), PRICED))
    try:
        costs = device.costs(batch)
        shapes = {name: np.asarray(values, dtype=float).shape for name, values in costs.items()}
        wrong = [name for name, values in costs.items() if not np.isfinite(values).all()]
    except InputError as error:
        raise InputError(f"hardware: {error}") from error
    except Exception as error:
        raise InputError(
            f"hardware: pricing networks of the space failed ({type(error).__name__}: {error}); expected a model that "
            "passes bompnas.testing.cost_models.CostModelConformance"
        ) from error
    expected = {quantity.name: (len(batch),) for quantity in device.quantities}
    if shapes != expected:
        raise InputError(f"hardware: costs of {len(batch)} networks have shapes {shapes}, expected {expected}")
    if wrong:
        raise InputError(f"hardware: {wrong[0]} of some networks is not finite")


def dataset(given: Dataset, space: NetworkSpace, task: str) -> None:
    """That images and labels are those of the space and of the head's task."""
    expected = (space.input_size, space.input_size, space.input_channels)
    found = given.train.images.shape[1:]
    if found != expected:
        raise InputError(f"data: images of shape {found} do not fit the search space, which expects {expected}")
    labels = heads.REGRESSION if given.classes is None else heads.CLASSIFICATION
    if labels != task:
        raise InputError(f"data: its labels are for {labels}, but the head is for {task}; change one of the two")


def head(given: Head, network: Network, labels: np.ndarray) -> None:
    """That a user's head can be quantized and measured.

    Args:
        given: The head.
        network: What it stands behind.
        labels: Some, of images.
    """
    shape = float_model.feature_shape(network, given)
    features = np.random.default_rng(0).uniform(0, 6, (len(labels), *shape)).astype("float32")
    try:
        folded = fold.fold(heads.alone(given, shape))
        calibration = quantize.Calibration.of(folded, features)
        policy = quantize.Policy({}, quantize.LayerBits(8, 8))
        quantized = quantize.quantize(folded, policy, calibration)
        outputs = np.asarray(quantized(features, training=False))
        Criterion.of(given, quantized).measure(labels, outputs)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"head: quantizing it, or measuring its loss and metrics, failed ({type(error).__name__}: {error}); "
            "expected layers that Keras can trace, and a loss and metrics that take its outputs"
        ) from error

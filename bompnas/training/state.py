"""A model as a function of its weights, and training as a function of its state.

All trainable weights are one vector, so that a gradient is one tensor and an optimizer's update a handful of
operations, not a handful for each of some hundred variables: that is most of what a short training spends in tracing.
"""

import dataclasses
import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """Where a training stands.

    Attributes:
        losses: Mean loss of each finished epoch.
        arrays: `Weights.read` of the model, then the optimizer's variables.
    """

    losses: tuple[float, ...]
    arrays: tuple[np.ndarray, ...]

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.losses)


def pack(stages: dict[str, State]) -> bytes:
    """The states of several trainings, by name, as the content of an .npz file."""
    content = {}
    for name, state in stages.items():
        content[f"{name}/losses"] = np.asarray(state.losses, np.float64)
        content |= {f"{name}/{number}": array for number, array in enumerate(state.arrays)}
    file = io.BytesIO()
    np.savez(file, **content)
    return file.getvalue()


def unpack(content: bytes) -> dict[str, State]:
    """Inverse of `pack`.

    Raises:
        ValueError: It is none of its files.
    """
    try:
        return _unpacked(content)
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"no states of trainings, or damaged ones ({error})") from error


def _unpacked(content: bytes) -> dict[str, State]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        names = [key.removesuffix("/losses") for key in archive.files if key.endswith("/losses")]
        return {
            name: State(
                tuple(archive[f"{name}/losses"].tolist()),
                tuple(
                    archive[f"{name}/{number}"]
                    for number in range(sum(key.startswith(f"{name}/") for key in archive.files) - 1)
                ),
            )
            for name in names
        }


class Weights:
    """How a model's variables lie in a few arrays: trainable ones, other floats, and what is no float32.

    Args:
        model: A built model.
    """

    def __init__(self, model: keras.Model):
        others = model.non_trainable_variables
        self._model = model
        self._parameters = _Layout(model.trainable_variables)
        self._buffers = _Layout([variable for variable in others if variable.dtype == "float32"])
        self._rest = [variable for variable in others if variable.dtype != "float32"]

    @property
    def decayed(self) -> np.ndarray:
        """1 for parameters that weight decay acts on, 0 for biases and normalizations; float32."""
        spared = ("bias", "gamma", "beta")
        shares = [
            np.full(variable.shape, not any(name in variable.name for name in spared), np.float32)
            for variable in self._parameters.variables
        ]
        return _joined(shares)

    def read(self) -> tuple[np.ndarray, ...]:
        """Parameters, buffers, and the rest."""
        return (self._parameters.read(), self._buffers.read(), *map(ops.convert_to_numpy, self._rest))

    def write(self, arrays: Sequence[Any]) -> None:
        """Gives the model what `read` returned."""
        parameters, buffers, *rest = arrays
        self._parameters.write(np.asarray(parameters))
        self._buffers.write(np.asarray(buffers))
        for variable, value in zip(self._rest, rest, strict=True):
            variable.assign(value)

    def call(self, arrays: Sequence[Any], images) -> tuple[Any, Any, tuple[Any, ...]]:
        """The model in training with these weights.

        Returns:
            Its outputs, the sum of its own losses, and the arrays after the step but for the parameters, which are
            the caller's to change.
        """
        parameters, buffers, *rest = arrays
        others = self._in_order(self._buffers.split(buffers), rest)
        outputs, updated, losses = self._model.stateless_call(
            self._parameters.split(parameters), others, images, training=True, return_losses=True
        )
        by_variable = list(zip(self._model.non_trainable_variables, updated, strict=True))
        floats = [value for variable, value in by_variable if variable.dtype == "float32"]
        after = [value for variable, value in by_variable if variable.dtype != "float32"]
        return outputs, sum(losses), (self._buffers.join(floats, buffers), *after)

    def _in_order(self, floats: Sequence[Any], rest: Sequence[Any]) -> list[Any]:
        floats, rest = iter(floats), iter(rest)
        variables = self._model.non_trainable_variables
        return [next(floats if variable.dtype == "float32" else rest) for variable in variables]


class _Layout:
    """Variables one after the other in a vector."""

    def __init__(self, variables: Sequence[keras.Variable]):
        self.variables = list(variables)
        self._shapes = [tuple(variable.shape) for variable in variables]
        self._ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes]).tolist()

    def read(self) -> np.ndarray:
        return _joined([ops.convert_to_numpy(variable) for variable in self.variables])

    def write(self, vector: np.ndarray) -> None:
        for variable, value, shape in zip(
            self.variables, np.split(vector, self._ends[:-1]) if self._ends else [], self._shapes, strict=True
        ):
            variable.assign(value.reshape(shape))

    def split(self, vector) -> list[Any]:
        if not self._ends:
            return []
        pieces = ops.split(vector, self._ends[:-1])
        return [ops.reshape(piece, shape) for piece, shape in zip(pieces, self._shapes, strict=True)]

    def join(self, values: Sequence[Any], otherwise):
        return ops.concatenate([ops.reshape(value, (-1,)) for value in values]) if values else otherwise


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays] or [np.zeros(0)]).astype(np.float32)

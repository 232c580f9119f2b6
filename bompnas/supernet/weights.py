"""The shared weights while they are learned, and the networks that they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from bompnas.supernet.single_path import Supernet
from bompnas.training import augment, backends
from bompnas.training.feed import Feed
from bompnas.training.loop import Phase, optimizer
from bompnas.training.loss import Criterion
from bompnas.training.state import Weights

_ORDER = 2  # stream of random numbers


class SharedWeights:
    """Trains a supernet's weights, and evaluates its networks.

    Args:
        supernet: Whose weights.
        criterion: Loss and metrics.
        images: Shape (n, height, width, channels), values 0..255.
        labels: Class ids, shape (n,).
        places: Of the images that weights are trained on.
        phase: How.
        at_once: Networks that are evaluated at once.
        seed: Of order and augmentation.

    Attributes:
        steps: Of an epoch.
    """

    def __init__(
        self,
        supernet: Supernet,
        criterion: Criterion,
        images: Any,
        labels: np.ndarray,
        places: np.ndarray,
        phase: Phase,
        at_once: int,
        seed: int,
    ):
        self._supernet = supernet
        self._criterion = criterion
        self._images, self._labels, self._places = images, labels, places
        self._phase, self._at_once, self._seed = phase, at_once, seed
        self._batch = min(phase.batch_size, len(places))
        self.steps = len(places) // self._batch
        self._feed = Feed(images, labels, phase.augmentation)
        self._weights = Weights(supernet)
        self._optimizer = optimizer(phase, self.steps)
        trained = self._weights.read()
        self._state = (trained, self._optimizer.begin(len(trained[0])))
        self._epoch = backends.current().epoch(self._step)
        self._infer = backends.current().compiled(self._outputs)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Weights and the optimizer's variables."""
        return tuple(np.asarray(array) for part in self._state for array in part)

    def fits(self, arrays: Sequence[np.ndarray]) -> bool:
        """Whether `arrays` of a supernet like this one are these."""
        return list(map(np.shape, arrays)) == list(map(np.shape, self.arrays))

    def restore(self, arrays: Sequence[np.ndarray]) -> None:
        """Takes what `arrays` gave."""
        count = len(self._state[0])
        self._state = (tuple(arrays[:count]), tuple(arrays[count:]))
        self._weights.write(self._state[0])

    def train(self, number: int, gates: np.ndarray) -> float:
        """A pass over the images, each step on another network; returns the mean loss.

        Args:
            number: Of the epoch, from 0.
            gates: Of each step's network, shape (steps, gates).
        """
        shape, generator = (self.steps, self._batch), np.random.default_rng([self._seed, _ORDER, number])
        order = self._places[generator.permutation(len(self._places))[: self.steps * self._batch]]
        chosen = augment.choices(len(self._images), self._images.shape[1], self._phase.augmentation, generator)
        views = (values[order].reshape(*shape, *values.shape[1:]) for values in chosen)
        total = np.float32(0)
        for data, batches, _ in self._feed.chunks(order.astype(np.int32).reshape(shape), (*views, gates)):
            self._state, total = self._epoch(data, batches, (self._weights.decayed,), self._state, total)
        self._weights.write(self._state[0])
        return float(total) / self.steps

    def accuracies(self, places: np.ndarray, gates: np.ndarray) -> np.ndarray:
        """Accuracies of networks on the same batch of the images, shape (networks,)."""
        outputs = self._predicted(self._images[places], gates)
        return np.array([self._criterion.accuracy(self._labels[places], each) for each in outputs])

    def metrics(self, images: Any, labels: np.ndarray, gates: np.ndarray) -> list[dict[str, float]]:
        """Loss and metrics of networks over other images, without training, by statistics of batches.

        Args:
            images: Shape (m, height, width, channels).
            labels: Class ids, shape (m,).
            gates: Of the networks, shape (networks, gates).
        """
        if not len(gates):
            return []
        size = min(self._phase.batch_size, len(images))  # all batches have it, as each is normalized by itself
        outputs = np.zeros((len(gates), len(images), *self._supernet.head.output.shape[1:]), np.float32)
        for begin in (*range(0, len(images) - size, size), len(images) - size):
            outputs[:, begin : begin + size] = self._predicted(images[begin : begin + size], gates)
        return [self._criterion.measure(labels, each) for each in outputs]

    def _predicted(self, images: np.ndarray, gates: np.ndarray) -> np.ndarray:
        """Outputs of several networks on one batch, shape (networks, images, ...)."""
        padded = np.concatenate([gates, np.zeros((-len(gates) % self._at_once, gates.shape[1]), gates.dtype)])
        outputs = [
            np.asarray(self._infer(tuple(self._state[0]), np.asarray(images), padded[begin : begin + self._at_once]))
            for begin in range(0, len(padded), self._at_once)  # of one shape, which is compiled once
        ]
        return np.concatenate(outputs)[: len(gates)]

    def _outputs(self, arrays, images, gates):
        shown = ops.cast(images, "float32")
        return ops.map(lambda each: self._weights.call(arrays, (shown, each))[0], gates)

    def _step(self, data, batch, constants, state):
        """A step on the weights; see `bompnas.training.backends.Step`."""
        images, labels = data
        indices, *chosen, gates = batch
        (decayed,) = constants
        (parameters, *others), variables = state
        shown = ops.cast(augment.views(images, indices, tuple(chosen), self._images.shape[1:3]), "float32")
        targets = ops.take(labels, indices, axis=0)

        def loss(parameters):
            outputs, own, after = self._weights.call((parameters, *others), (shown, gates))
            return self._criterion.loss(targets, outputs) + own, after

        (value, after), gradient = backends.current().value_and_gradient(loss, parameters)
        parameters, variables = self._optimizer.update(parameters, gradient, decayed, variables)
        return ((parameters, *after), variables), value

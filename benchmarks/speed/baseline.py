"""The other side: the trial that one would write with KerasTuner, Keras' `fit` and QKeras.

A tuner whose `run_trial` builds the float model, trains it by `fit`, evaluates it, builds a QKeras model of the same
layers with unfolded batch normalization, copies the weights, fine-tunes it by `fit` and evaluates it. Network, data,
batches, epochs, optimizer, schedule and loss are those of our trial.

Quantizers: weights symmetric with a scale for each output channel (`quantized_bits(bits, 0, 1, alpha="auto")`), ReLU6
as `quantized_relu`, other maps as `quantized_bits` with a fixed point; bits as the policy says.
"""

import dataclasses
import gc
import tempfile
from collections.abc import Sequence
from typing import Any
from unittest import mock

import keras
import keras_tuner
import numpy as np
from keras import layers
from keras_tuner.engine.trial import TrialStatus
from qkeras import QActivation, QConv2D, QDense, QDepthwiseConv2D, quantized_bits, quantized_relu

from bompnas.networks import float_model
from bompnas.networks.heads import HeadSource
from bompnas.space.network import Layer, Network
from bompnas.trials import setup
from speed import cases
from speed.cases import Case
from speed.clocks import Moment, Phases, epochs

RELU_INTEGER, MAP_INTEGER, SCORE_INTEGER = 3, 3, 5
"""Bits in front of the point, the sign apart: maps behind a ReLU6, others, scores of classes."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """How the user sets `compile` and `fit`.

    Attributes:
        jit: `jit_compile`.
        dataset: Whether images come as a `tf.data.Dataset` without a ragged last batch, in place of arrays.
        together: Whether a whole epoch is one execution (`steps_per_execution`).
    """

    jit: bool | str = "auto"
    dataset: bool = False
    together: bool = False


VARIANTS = {
    "default": Variant(),
    "jit_compile=False": Variant(jit=False),
    "jit_compile=False, steps_per_execution of an epoch": Variant(jit=False, together=True),
    "jit_compile=False, tf.data, drop_remainder": Variant(jit=False, dataset=True),
}


class Given(keras_tuner.Oracle):
    """Proposes what it was given last, once."""

    given: dict[str, Any] | None = None

    def populate_space(self, trial_id):
        """The values given, or the end."""
        values, self.given = self.given, None
        return {"status": TrialStatus.STOPPED if values is None else TrialStatus.RUNNING, "values": values}


class FloatNetwork(keras_tuner.HyperModel):
    """The float model of a network, of Keras' own layers."""

    def build(self, hp):
        """Builds it."""
        network = Network.from_json(hp.values["network"])
        own = {"Conv2D": keras.layers.Conv2D, "BatchNormalization": keras.layers.BatchNormalization}
        with mock.patch.multiple(float_model, **own):
            return float_model.build(network, HeadSource("classification", 10).head())


class Tuner(keras_tuner.Tuner):
    """Trains in float, quantizes, fine-tunes and evaluates; times its phases in `phases` and `epochs`."""

    def run_trial(self, trial, arrays, experiment, variant: Variant, seed: int):
        """Returns the metrics of both models."""
        keras.backend.clear_session()
        gc.collect()
        keras.utils.set_random_seed(seed)
        training = experiment.training
        run = _Fit(arrays, training, variant, self.phases)
        with self.phases("build"):
            model = self.hypermodel.build(trial.hyperparameters)
            run.compile(model, training.learning_rate, training.epochs)
        self.epochs["float"] = run.fit(model, "train", training.epochs)
        found = run.evaluate(model, "float_val_")
        if not training.qaft_epochs:  # float training alone; KerasTuner asks for its objective
            return found | {"val_accuracy": found["float_val_accuracy"]}
        with self.phases("quantize"):
            network = Network.from_json(trial.hyperparameters.values["network"])
            quantized = quantize(model, network)
            run.compile(quantized, training.qaft_learning_rate, training.qaft_epochs)
        self.epochs["qaft"] = run.fit(quantized, "qaft", training.qaft_epochs)
        return found | run.evaluate(quantized, "val_")


@dataclasses.dataclass(frozen=True)
class _Fit:
    """Compiles, fits and evaluates as a variant says."""

    arrays: dict[str, tuple[np.ndarray, np.ndarray]]
    training: Any
    variant: Variant
    phases: Phases

    @property
    def steps(self) -> int:
        images, batch = len(self.arrays["train"][0]), self.training.batch_size
        return images // batch if self.variant.dataset else -(-images // batch)

    def compile(self, model: keras.Model, learning_rate: float, epochs: int) -> None:
        rate = learning_rate
        if self.training.schedule == "cosine":
            rate = keras.optimizers.schedules.CosineDecay(rate, self.steps * epochs)
        optimizer = keras.optimizers.Adam(rate)
        if self.training.optimizer == "sgd":
            optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
        model.compile(
            optimizer,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=self.variant.jit,
            steps_per_execution=self.steps if self.variant.together else 1,
        )

    def fit(self, model: keras.Model, phase: str, epochs_: int) -> dict[str, list[float]]:
        """Times of its epochs on both clocks."""
        images, labels = self.arrays["train"]
        ends: list[Moment] = []
        callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(Moment.now()))
        common = {"epochs": epochs_, "callbacks": [callback], "verbose": 0}
        before = Moment(self.phases.wall.get(phase, 0.0), self.phases.cpu.get(phase, 0.0))
        with self.phases(phase):
            if self.variant.dataset:
                model.fit(_dataset(images, labels, self.training.batch_size), **common)
            else:
                model.fit(images, labels, batch_size=self.training.batch_size, **common)
        return {
            "wall": epochs(self.phases.wall[phase] - before.wall, [end.wall for end in ends]),
            "cpu": epochs(self.phases.cpu[phase] - before.cpu, [end.cpu for end in ends]),
        }

    def evaluate(self, model: keras.Model, prefix: str) -> dict[str, float]:
        with self.phases("evaluate"):
            images, labels = self.arrays["validation"]
            found = model.evaluate(images, labels, self.training.batch_size, verbose=0, return_dict=True)
        return {f"{prefix}{name}": float(value) for name, value in found.items()}


def _dataset(images: np.ndarray, labels: np.ndarray, batch: int):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images))
    return dataset.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def run(case: Case, data: str | None, network: str, seed: int, qaft_epochs: int | None, variant: str) -> dict[str, Any]:
    """Carries out a trial; arguments and result as of `speed.ours.run`, but for the policies.

    Args:
        case: The experiment.
        data: An .npz file in place of the experiment's data.
        network: JSON of the network.
        seed: Of weights and order.
        qaft_epochs: In place of the experiment's.
        variant: Key of `VARIANTS`.
    """
    prepared = cases.prepared(case, data)
    experiment = prepared.experiment
    if qaft_epochs is not None:
        training = experiment.training.model_copy(update={"qaft_epochs": qaft_epochs})
        experiment = experiment.model_copy(update={"training": training})
    tuner = _tuner(network)
    tuner.phases, tuner.epochs = Phases(), {}
    tuner.oracle.given = {"network": network, "seed": seed}
    done = len(tuner.oracle.trials)
    start = Moment.now()
    tuner.search(setup.parts(prepared.dataset), experiment, VARIANTS[variant], seed)
    end = Moment.now()
    (trial,) = list(tuner.oracle.trials.values())[done:]
    if trial.status != TrialStatus.COMPLETED:
        raise RuntimeError(trial.message)
    return {
        "wall": tuner.phases.wall,
        "cpu": tuner.phases.cpu,
        "total": {"wall": end.wall - start.wall, "cpu": end.cpu - start.cpu},
        "epochs": tuner.epochs,
        "metrics": {name: float(trial.metrics.get_last_value(name)) for name in trial.metrics.metrics},
    }


_TUNERS: list[Tuner] = []


def _tuner(network: str) -> Tuner:
    """The tuner of this process, in a folder that is removed with it; it builds a network once when it is made."""
    if not _TUNERS:
        space = keras_tuner.HyperParameters()
        space.Fixed("network", network)
        objective = keras_tuner.Objective("val_accuracy", "max")
        folder = tempfile.TemporaryDirectory()
        tuner = Tuner(
            Given(objective=objective, hyperparameters=space, allow_new_entries=False, tune_new_entries=False),
            FloatNetwork(),
            directory=folder.name,
            project_name="trials",
        )
        tuner.oracle.verbose, tuner.folder = 0, folder
        _TUNERS.append(tuner)
    return _TUNERS[0]


# --- QKeras -----------------------------------------------------------------------------------------------------------


def quantize(model: keras.Model, network: Network) -> keras.Model:
    """A QKeras model of a network with unfolded batch normalization and the float model's weights."""
    inputs = keras.Input((network.input_size, network.input_size, network.input_channels), name="image")
    values = layers.Rescaling(float_model.PIXEL_SCALE, float_model.PIXEL_OFFSET, name="centre")(inputs)
    values, outputs = QActivation(_signed(8, 0), name="image_grid")(values), {}
    for layer in network.backbone:
        values = _unit(layer, values)
        if layer.residual is not None:
            values = layers.Add(name=f"{layer.name}_add")([outputs[layer.residual], values])
            values = QActivation(_signed(layer.activation_bits, MAP_INTEGER), name=f"{layer.name}_add_grid")(values)
        outputs[layer.name] = values
    values = QActivation(_relu(8), name="pool_grid")(layers.GlobalAveragePooling2D(name="pool")(values))
    quantized = keras.Model(inputs, _head(network.head, values))
    for layer in model.layers:
        if layer.weights:
            quantized.get_layer(layer.name).set_weights(layer.get_weights())
    return quantized


def _unit(layer: Layer, values):
    """Convolution, batch normalization, activation."""
    common = {"strides": layer.stride, "padding": "same", "use_bias": False, "name": layer.name}
    if layer.kind == "depthwise":
        quantizer = quantized_bits(layer.weight_bits, 0, 1, alpha="auto", scale_axis=[2])
        values = QDepthwiseConv2D(layer.kernel, depthwise_quantizer=quantizer, **common)(values)
    else:
        quantizer = quantized_bits(layer.weight_bits, 0, 1, alpha="auto")
        values = QConv2D(layer.out_channels, layer.kernel, kernel_quantizer=quantizer, **common)(values)
    momentum = float_model.BATCH_NORMALIZATION_MOMENTUM
    values = layers.BatchNormalization(momentum=momentum, name=f"{layer.name}_normalization")(values)
    relu = layer.activation == "relu6"
    quantizer = _relu(layer.activation_bits) if relu else _signed(layer.activation_bits, MAP_INTEGER)
    return QActivation(quantizer, name=f"{layer.name}_grid")(values)


def _head(head: Sequence[Layer], values):
    """Its one dense layer."""
    (dense,) = head
    quantizer = quantized_bits(dense.weight_bits, 0, 1, alpha="auto")
    values = QDense(dense.out_channels, kernel_quantizer=quantizer, name=dense.name)(values)
    return QActivation(_signed(dense.activation_bits, SCORE_INTEGER), name="scores")(values)


def _relu(bits: int) -> quantized_relu:
    return quantized_relu(bits, RELU_INTEGER, relu_upper_bound=6, is_quantized_clip=False)


def _signed(bits: int, integer: int) -> quantized_bits:
    return quantized_bits(bits, integer, alpha=1)

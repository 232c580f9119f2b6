import dataclasses
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bompnas.networks import float_model, fold, fused, quantize
from bompnas.networks.heads import HeadSource
from bompnas.space import loader
from bompnas.space.head import DenseHead
from bompnas.training import backends, feed, image_files, loop
from bompnas.training.loop import DivergedError, Phase, Trainer
from bompnas.training.loss import Criterion
from bompnas.training.state import pack, unpack


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 130)
    images = generator.integers(0, 60, (130, 4, 4, 1))
    images[np.arange(130), labels] += 150  # the bright row tells the class
    return images.astype("uint8"), labels


def make(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4, 4, 1))
    head = HeadSource("classification", 3).head()
    values = keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, -1)(inputs))
    model = keras.Model(inputs, head.apply(keras.layers.Dense(8, activation="relu")(values)))
    return model, Criterion.of(head, model)


def test_training_learns_and_reports_every_epoch(data):
    model, criterion = make()
    told = []
    losses = Trainer(criterion, *data).train(model, Phase(12, 0.01, batch_size=32), 0, told.append)
    assert losses[-1] < losses[0] / 2
    assert [(state.epoch, state.losses[-1]) for state in told] == list(enumerate(losses, start=1))
    assert not any(state.arrays for state in told)
    assert loop.evaluate(model, criterion, *data)["accuracy"] > 0.9


@pytest.mark.parametrize("augmentation", ["none", "standard"])
def test_the_same_seed_gives_the_same_weights(data, augmentation):
    def weights(seed):
        model, criterion = make()
        loop.train(model, criterion, *data, Phase(2, 0.01, augmentation=augmentation), seed)
        return model.get_weights()

    assert all(np.array_equal(a, b) for a, b in zip(weights(0), weights(0), strict=True))
    assert not np.array_equal(weights(0)[0], weights(1)[0])


def test_it_takes_the_steps_that_keras_takes(data):
    """One epoch without shuffling luck: the whole data set is one batch."""
    ours, criterion = make()
    loop.train(ours, criterion, *data, Phase(5, 0.01, batch_size=130), 0)
    theirs, _ = make()
    theirs.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    theirs.fit(data[0].astype("float32"), data[1], batch_size=130, epochs=5, verbose=0)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize(
    ("optimizer", "decay", "quantized"), [("adam", 0.1, False), ("sgd", 0.1, False), ("adam", 0.0, True)]
)
def test_fifty_steps_follow_those_of_plain_keras(optimizer, decay, quantized):
    """A convolutional network with batch normalization, and its quantized form: losses and weights stay together."""
    images, labels = convolutional_data()
    phase = Phase(5, 0.005, "cosine", 16, optimizer, decay)
    ours, criterion = convolutional(quantized)
    trainer = Trainer(criterion, images, labels)
    losses = trainer.train(ours, phase, 3)
    theirs, _ = convolutional(quantized)
    plain(theirs)
    rate = keras.optimizers.schedules.CosineDecay(0.005, 50)
    if optimizer == "sgd":
        stepper = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay or None)
    else:
        stepper = keras.optimizers.Adam(rate, weight_decay=decay or None)
    untrained, _ = convolutional(quantized)
    stepper.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    stepper.build(theirs.trainable_variables)

    @tf.function
    def step(images, labels):
        with tf.GradientTape() as tape:
            loss = criterion.loss(labels, theirs(images, training=True))
        stepper.apply(tape.gradient(loss, theirs.trainable_variables), theirs.trainable_variables)
        return loss

    expected = []
    for epoch in range(5):
        order = np.random.default_rng([3, epoch]).permutation(len(images))[:160].reshape(10, 16)
        of_epoch = [float(step(tf.constant(images[batch], tf.float32), labels[batch])) for batch in order]
        expected.append(np.mean(of_epoch))
    # Float errors grow with every step, and faster where a value near a tie may fall on either side of it.
    np.testing.assert_allclose(losses, expected, rtol=1e-2 if quantized else 1e-3)
    assert distance(ours, theirs) < (5e-2 if quantized else 5e-3) * distance(untrained, theirs)


@pytest.mark.parametrize("quantized", [False, True])
def test_one_step_is_that_of_plain_keras_within_float_error(quantized):
    images, labels = convolutional_data()
    ours, criterion = convolutional(quantized)
    Trainer(criterion, images, labels).train(ours, Phase(1, 0.1, batch_size=len(images), optimizer="sgd"), 0)
    theirs, _ = convolutional(quantized)
    plain(theirs)
    order = np.random.default_rng([0, 0]).permutation(len(images))
    with tf.GradientTape() as tape:
        loss = criterion.loss(labels[order], theirs(images[order].astype("float32"), training=True))
    keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True).apply(
        tape.gradient(loss, theirs.trainable_variables), theirs.trainable_variables
    )
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)  # Keras' variances lose digits


def distance(first, second):
    """Euclidean distance of two models' weights."""
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return np.sqrt(sum(np.sum((a - b) ** 2) for a, b in pairs))


def convolutional_data():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 163)
    images = generator.integers(0, 100, (163, 8, 8, 1))
    images[np.arange(163), labels] += 100
    return images.astype("uint8"), labels


def small_network():
    """A stem, two bottlenecks, one with a residual sum, and a last convolution."""
    space = loader.load("search_spaces/mobilenetv2_digits.yaml", head=DenseHead(3))
    genotype = {name: 0 if name.endswith("repetitions") else value for name, value in space.seed.items()}
    genotype["block2.repetitions"] = 2
    return space.decode(genotype)


def convolutional(quantized):
    network = small_network()
    keras.utils.set_random_seed(5)
    head = HeadSource("classification", 3).head()
    model = float_model.build(network, head)
    if quantized:
        images = convolutional_data()[0].astype("float32")
        loop.train(model, Criterion.of(head, model), images, convolutional_data()[1], Phase(2, 0.01, batch_size=16), 0)
        folded = fold.fold(model)
        model = quantize.quantize(folded, quantize.Policy.of(network), quantize.Calibration.of(folded, images))
    return model, Criterion.of(head, model)


def plain(model):
    """Lets layers compute as Keras and QKeras do, without our fused operations."""
    for layer in model.layers:
        if isinstance(layer, fused.BatchNormalization):
            layer.call = types.MethodType(keras.layers.BatchNormalization.call, layer)
        if isinstance(layer, fused.Conv2D):
            layer.convolution_op = types.MethodType(keras.layers.Conv2D.convolution_op, layer)
        if hasattr(layer, "numbers"):
            layer.activation.fake = lambda values, numbers=None, quantizer=layer.activation: quantizer(values)


def test_policies_of_one_network_share_a_compiled_epoch(monkeypatch):
    """Training the second policy by the first one's epoch gives what an epoch of its own gives."""
    images, labels = convolutional_data()
    network = small_network()
    keras.utils.set_random_seed(5)
    head = HeadSource("classification", 3).head()
    folded = fold.fold(float_model.build(network, head))
    calibration = quantize.Calibration.of(folded, images.astype("float32"))
    compiled = []
    real = backends.current().epoch
    monkeypatch.setattr(backends.current(), "epoch", lambda step: compiled.append(step) or real(step))

    def make(bits, activation_bits):
        layers = tuple(
            dataclasses.replace(layer, weight_bits=bits, activation_bits=activation_bits) for layer in network.layers
        )
        policy = quantize.Policy.of(dataclasses.replace(network, layers=layers))
        return quantize.quantize(folded, policy, calibration)

    phase = Phase(2, 0.001, batch_size=16)
    trainer = Trainer(Criterion.of(head, folded), images, labels)
    shared = [make(8, 8), make(4, 8), make(5, 6)]
    losses = [trainer.train(model, phase, 1) for model in shared]
    assert len(compiled) == 1
    assert len({tuple(values) for values in losses}) == 3
    for model, found, bits in zip(shared, losses, [(8, 8), (4, 8), (5, 6)], strict=True):
        alone = make(*bits)
        assert Trainer(Criterion.of(head, folded), images, labels).train(alone, phase, 1) == found
        for a, b in zip(model.get_weights(), alone.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_training_goes_on_from_its_state_as_if_nothing_had_happened(data, optimizer):
    phase = Phase(5, 0.01, "cosine", 32, optimizer, augmentation="shift")
    model, criterion = make()
    trainer = Trainer(criterion, *data)
    states = []
    losses = trainer.train(model, phase, 7, states.append, keep_every=2)
    assert [bool(state.arrays) for state in states] == [False, True, False, True, True]
    for state in (states[1], states[3], states[4]):
        again, _ = make(seed=9)
        (loaded,) = unpack(pack({"float 0": state})).values()
        assert Trainer(criterion, *data).train(again, phase, 7, begin=loaded) == losses
        for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_dropout_draws_anew_at_every_step_and_goes_on_from_its_state(data):
    def dropping():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4, 4, 1))
        values = keras.layers.Dropout(0.5, seed=1)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, -1)(inputs)))
        head = HeadSource("classification", 3).head()
        model = keras.Model(inputs, head.apply(values))
        return model, Criterion.of(head, model)

    model, criterion = dropping()
    states = []
    losses = Trainer(criterion, *data).train(model, Phase(3, 1e-9, batch_size=130), 0, states.append, keep_every=1)
    assert len(set(losses)) == 3
    again, _ = dropping()
    found = Trainer(criterion, *data).train(again, Phase(3, 1e-9, batch_size=130), 0, begin=states[0])
    assert found == losses


@pytest.fixture
def in_files(data, tmp_path, monkeypatch):
    """The images as files, of which a chunk holds at most three batches of 16, and their labels."""
    for number, (image, label) in enumerate(zip(*data, strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(tmp_path / str(label) / f"{number:03}.png")
    monkeypatch.setattr(feed, "CHUNK", 3 * 16 * 6 * 6)
    return image_files.find(tmp_path, 4, 1)[:2]


@pytest.mark.parametrize("augmentation", ["none", "standard"])
def test_images_in_files_are_trained_on_as_in_memory(in_files, monkeypatch, augmentation):
    """Eight steps in chunks of three, three and two: the same losses and weights, bit for bit, by one trace."""
    images, labels = in_files
    traced = []
    step = Trainer._step

    def counted(self, *arguments):
        made = step(self, *arguments)
        return lambda *given: traced.append(1) or made(*given)

    monkeypatch.setattr(Trainer, "_step", counted)
    phase = Phase(3, 0.01, "cosine", 16, "sgd", 0.1, augmentation)
    losses, weights, traces = [], [], []
    for given in (images[:], images):
        model, criterion = make()
        losses.append(Trainer(criterion, given, labels).train(model, phase, 5))
        weights.append(model.get_weights())
        traces.append(len(traced))
    assert losses[0] == losses[1]
    assert losses[0][2] < losses[0][0]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert traces == [1, 2]


def test_images_in_files_are_measured_as_in_memory(in_files):
    model, criterion = make()
    images, labels = in_files
    assert loop.evaluate(model, criterion, images, labels) == loop.evaluate(model, criterion, images[:], labels)


def test_prediction_does_not_depend_on_the_batch_size(data):
    model, _ = make()
    expected = loop.predict(model, data[0], 130)
    assert expected.shape == (130, 3)
    for batch_size in (1, 7, 64, 1000):
        np.testing.assert_allclose(loop.predict(model, data[0], batch_size), expected, atol=1e-6)


def test_divergence_is_an_error(data):
    model, criterion = make()
    with pytest.raises(DivergedError, match="epoch"):
        loop.train(model, criterion, *data, Phase(200, 1e30, optimizer="sgd"), 0)


def test_no_epochs_change_nothing(data):
    model, criterion = make()
    before = model.get_weights()
    assert loop.train(model, criterion, *data, Phase(0, 0.01), 0) == []
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))

import keras
import numpy as np
import pytest

from bompnas.networks.heads import HeadSource
from bompnas.training import loop
from bompnas.training.loop import DivergedError, Phase
from bompnas.training.loss import Criterion


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
    losses = loop.train(model, criterion, *data, Phase(12, 0.01, batch_size=32), 0, lambda *event: told.append(event))
    assert losses[-1] < losses[0] / 2
    assert told == list(enumerate(losses, start=1))
    assert loop.evaluate(model, criterion, *data, 50)["accuracy"] > 0.9


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


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_cosine_schedule_ends_at_zero_and_decay_shrinks_kernels_only(data, optimizer):
    model, _ = make()
    phase = Phase(4, 0.01, schedule="cosine", optimizer=optimizer, weight_decay=0.1)
    built = loop._optimizer(phase, 100)
    built.build(model.trainable_variables)
    rates = [float(built._learning_rate(step)) for step in (0, 50, 100)]
    assert rates == pytest.approx([0.01, 0.005, 0.0], abs=1e-7)
    decays = [built._use_weight_decay(variable) for variable in model.trainable_variables]
    assert decays == [True, False, True, False]


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

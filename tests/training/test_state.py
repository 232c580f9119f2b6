import keras
import numpy as np
import pytest

from bompnas.training.state import State, Weights, pack, unpack


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 2))
    values = keras.layers.BatchNormalization()(keras.layers.Conv2D(3, 3, name="conv")(inputs))
    values = keras.layers.Dropout(0.5)(keras.layers.Flatten()(values))
    return keras.Model(inputs, keras.layers.Dense(2)(values))


def test_states_come_back_from_bytes():
    states = {
        "float 0": State((0.5, 0.25), (np.arange(3, dtype="float32"), np.array([1, 2], "uint32"), np.float32(7))),
        "qaft 11": State((), ()),
    }
    found = unpack(pack(states))
    assert list(found) == list(states)
    for name, state in states.items():
        assert (found[name].epoch, found[name].losses) == (state.epoch, state.losses)
        for a, b in zip(found[name].arrays, state.arrays, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


@pytest.mark.parametrize("content", [b"no archive", b"", pack({"float 0": State((0.5,), (np.zeros(99),))})[:-80]])
def test_what_is_no_state_is_refused(content):
    with pytest.raises(ValueError, match=r"no states|pickle"):
        unpack(content)


def test_weights_are_read_and_written(model):
    weights = Weights(model)
    before, values = weights.read(), model.get_weights()
    assert [array.dtype.kind for array in before[:2]] == ["f", "f"]
    assert before[2].dtype.kind in "iu"  # the seed of the dropout
    assert before[0].size == sum(variable.numpy().size for variable in model.trainable_variables)
    model.set_weights([np.zeros_like(value) for value in values])
    weights.write(before)
    for a, b in zip(model.get_weights(), values, strict=True):
        np.testing.assert_array_equal(a, b)


def test_biases_and_normalizations_are_not_decayed(model):
    sizes = {variable.path.split("/")[-1]: variable.numpy().size for variable in model.trainable_variables}
    assert set(sizes) == {"kernel", "bias", "gamma", "beta"}
    kernels = sum(v.numpy().size for v in model.trainable_variables if v.name == "kernel")
    assert Weights(model).decayed.sum() == kernels


def test_the_model_is_called_as_keras_calls_it(model):
    images = np.random.default_rng(0).normal(size=(5, 4, 4, 2)).astype("float32")
    weights = Weights(model)
    outputs, losses, after = weights.call(weights.read(), images)
    keras_outputs = model(images, training=True)
    np.testing.assert_allclose(outputs, keras_outputs, atol=1e-6)
    assert losses == 0
    for a, b in zip(after, weights.read()[1:], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)

import keras
import numpy as np
import pytest
from keras import ops

from bompnas.training.optimizers import Adam, Schedule, Sgd


@pytest.mark.parametrize("steps", [None, 30])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("kind", [Adam, Sgd])
def test_every_step_is_that_of_keras(kind, decay, steps):
    generator = np.random.default_rng(0)
    start = generator.normal(size=50).astype("float32")
    rate = 0.02 if steps is None else keras.optimizers.schedules.CosineDecay(0.02, steps)
    kernel, bias = keras.Variable(start[:40], name="kernel"), keras.Variable(start[40:], name="bias")
    if kind is Adam:
        theirs = keras.optimizers.Adam(rate, weight_decay=decay or None)
    else:
        theirs = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay or None)
    theirs.exclude_from_weight_decay(var_names=["bias"])
    theirs.build([kernel, bias])
    ours = kind(Schedule(0.02, steps), decay)
    decayed = np.r_[np.ones(40), np.zeros(10)].astype("float32")
    parameters, variables = ops.convert_to_tensor(start), ours.begin(50)
    for _ in range(40):  # beyond the end of the cosine
        gradient = generator.normal(size=50).astype("float32")
        theirs.apply([ops.convert_to_tensor(gradient[:40]), ops.convert_to_tensor(gradient[40:])], [kernel, bias])
        parameters, variables = ours.update(parameters, gradient, decayed, variables)
        np.testing.assert_allclose(parameters, np.r_[kernel.numpy(), bias.numpy()], rtol=2e-5, atol=2e-6)


def test_a_cosine_falls_from_the_rate_to_zero():
    schedule = Schedule(0.01, 100)
    assert [float(schedule.at(step)) for step in (0.0, 50.0, 100.0, 150.0)] == pytest.approx([0.01, 0.005, 0, 0])
    assert Schedule(0.01).at(7) == 0.01

import dataclasses
import importlib.util
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from bompnas.errors import InputError
from bompnas.networks import float_model, fold, quantize
from bompnas.networks.heads import HeadSource
from bompnas.space import loader
from bompnas.space.head import DenseHead
from bompnas.training import backends, feed, image_files, loop
from bompnas.training.loop import Phase, Trainer
from bompnas.training.loss import Criterion

needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")

PHASE = Phase(3, 0.01, "cosine", 16, "sgd", augmentation="shift")
SPACE = "search_spaces/mobilenetv2_digits.yaml"

ON_JAX = """
    import dataclasses, json, sys

    class NoTensorFlow:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "tensorflow":
                raise ImportError("TensorFlow is not to be imported")

    sys.meta_path.insert(0, NoTensorFlow())
    import numpy as np
    sys.path.insert(0, {tests!r})
    from test_backends import arrays, losses_and_outputs, losses_of_arrays_and_files, task
    from bompnas.trials.trial import train_quantized

    losses, outputs = losses_and_outputs({weights!r})
    result = train_quantized(dataclasses.replace(task(), precision="bfloat16"), arrays())
    metrics = [outcome.metrics or outcome.error for outcome in result.outcomes]
    chunked = losses_of_arrays_and_files({folder!r})
    print(json.dumps([losses, np.asarray(outputs).tolist(), metrics, chunked]))
"""


def data():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 80)
    images = generator.integers(0, 100, (80, 8, 8, 1))
    images[np.arange(80), labels] += 100
    return images.astype("uint8"), labels


def network():
    """A stem, a bottleneck and a last convolution."""
    space = loader.load(SPACE, head=DenseHead(3))
    return space.decode({name: 0 if name.endswith("repetitions") else value for name, value in space.seed.items()})


def task():
    from bompnas.trials.trial import TrialTask

    networks = (network().with_bits(8), network().with_bits(4))
    phase = dataclasses.replace(PHASE, epochs=2)
    return TrialTask(networks, HeadSource("classification", 3), None, phase, dataclasses.replace(phase, epochs=1), 0)


def arrays():
    return {"train": data(), "validation": data()}


def losses_and_outputs(file):
    """Trains a network from stored weights, in float and quantized; the losses, and the logits of the result."""
    images, labels = data()
    head = HeadSource("classification", 3).head()
    model = float_model.build(network(), head)
    with np.load(file) as stored:
        model.set_weights([stored[f"arr_{number}"] for number in range(len(stored.files))])
    trainer = Trainer(Criterion.of(head, model), images, labels)
    losses = trainer.train(model, PHASE, 3)
    outputs = loop.predict(model, images)
    folded = fold.fold(model)
    policy = quantize.Policy.of(network().with_bits(5))
    quantized = quantize.quantize(folded, policy, quantize.Calibration.of(folded, images.astype("float32")))
    losses += trainer.train(quantized, dataclasses.replace(PHASE, epochs=1, learning_rate=0.001), 3)
    return losses, outputs


def losses_of_arrays_and_files(folder):
    """The losses of a small network on images in memory, and on the same in files, in chunks of two, two and one."""
    images, labels = data()
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Path(folder, str(label)).mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(Path(folder, str(label), f"{number}.png"))
    files, labels, _ = image_files.find(Path(folder), 8, 1)
    feed.CHUNK = 2 * 16 * 10 * 10
    losses = []
    for given in (files[:], files):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8, 8, 1))
        head = HeadSource("classification", 3).head()
        model = keras.Model(inputs, head.apply(keras.layers.Flatten()(keras.layers.Rescaling(1 / 128, -1)(inputs))))
        losses.append(Trainer(Criterion.of(head, model), given, labels).train(model, PHASE, 3))
    return losses


@needs_jax
def test_jax_trains_as_tensorflow_does_and_needs_no_tensorflow(tmp_path, pytestconfig):
    keras.utils.set_random_seed(0)
    model = float_model.build(network(), HeadSource("classification", 3).head())
    np.savez(tmp_path / "weights.npz", *model.get_weights())
    expected, outputs = losses_and_outputs(tmp_path / "weights.npz")
    tests, folder = str(pytestconfig.rootpath / "tests" / "training"), tmp_path / "images"
    folder.mkdir()
    script = textwrap.dedent(ON_JAX).format(tests=tests, weights=str(tmp_path / "weights.npz"), folder=str(folder))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment("jax", pytestconfig),
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    losses, found, metrics, (in_memory, in_files) = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(in_files, in_memory, rtol=1e-6)
    np.testing.assert_allclose(losses, expected, rtol=5e-3)
    np.testing.assert_allclose(found, outputs, atol=0.05 * np.abs(outputs).max())
    for policy in metrics:
        assert 0 <= policy["val_accuracy"] <= 1
        assert np.isfinite(policy["val_loss"])


def environment(backend, pytestconfig):
    import os

    return {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(pytestconfig.rootpath), "JAX_PLATFORMS": "cpu"}


def test_other_backends_are_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(InputError, match="KERAS_BACKEND: networks are trained on tensorflow or jax; found torch"):
        backends.current()


def test_there_is_no_graph_left_of_a_training():
    """TensorFlow's registry of gradients would keep every traced graph."""
    from tensorflow.python.framework import ops

    images, labels = data()
    head = HeadSource("classification", 3).head()
    model = float_model.build(network(), head)
    before = set(ops.gradient_registry._registry)
    loop.train(model, Criterion.of(head, model), images, labels, PHASE, 0)
    assert set(ops.gradient_registry._registry) == before

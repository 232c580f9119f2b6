import keras
import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.networks import IntegerConv2D, IntegerDense, IntegerDepthwiseConv2D

autokeras = pytest.importorskip("autokeras", reason="the extra autokeras is not installed")

from keras_tuner.engine.trial import TrialStatus  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

from bompnas.integrations.autokeras import BompAutoTuner, MobileNetV2Block  # noqa: E402

SPACE = """
family: mobilenetv2
name: tiny
input: {size: 8, channels: 1}
bits: [4, 8]
seed: {bits: 8}
stem: {filters: 4, kernel: 3, stride: 2}
blocks:
  - {channels: 8, stride: 1, kernel: [1, 3], width: 1.0, expansion: 1, repetitions: [0, 1],
     seed: {kernel: 3, repetitions: 1}}
last_conv: {filters: [8, 16], seed: {filters: 16}}
"""
TRAIN, HELD = slice(0, 200), slice(200, 250)
FINAL = {"epochs": 4, "qaft_epochs": 1}


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    return pixels[:250].reshape(-1, 8, 8, 1), labels[:250]


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(SPACE)
    return path


def auto_model(space, directory, head=None, features="pooled", range=(0, 16), tuner=BompAutoTuner, **arguments):
    image = autokeras.ImageInput()
    output = MobileNetV2Block(space, range=range, features=features)(image)
    output = (head or autokeras.ClassificationHead())(output)
    return autokeras.AutoModel(
        image, output, tuner=tuner, **{"directory": directory, "seed": 0, "max_trials": 2, "final": FINAL, **arguments}
    )


def fit(model, images, labels, **arguments):
    held = (images[HELD], labels[HELD])
    return model.fit(
        images[TRAIN], labels[TRAIN], validation_data=held, epochs=1, batch_size=32, verbose=0, **arguments
    )


def trials(model):
    return list(model.tuner.oracle.trials.values())


def predictions(model, images):
    return model.predict(images, verbose=0)


def size_bits(model):
    """Packed size of a quantized model: weights at their width, 32 bits for each bias and each channel's scale."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, IntegerConv2D | IntegerDense | IntegerDepthwiseConv2D):
            kernel, bias = layer.get_weights()
            quantizer = getattr(layer, "depthwise_quantizer_internal", None) or layer.kernel_quantizer_internal
            total += kernel.size * quantizer.bits + 64 * bias.size
    return total


@pytest.fixture(scope="module")
def classified(space, digits, tmp_path_factory):
    """AutoKeras' classification head behind our block, under a constraint, fitted."""
    model = auto_model(space, tmp_path_factory.mktemp("classified"), constraints={"size_kb": 0.7})
    history = fit(model, *digits)
    return model, history


class TestClassificationHead:
    def test_exported_accuracy_is_the_reported_one(self, classified, digits):
        model, _ = classified
        images, labels = digits
        exported = model.export_model()
        accuracy = np.mean(predictions(exported, images[HELD]).argmax(axis=1) == labels[HELD])
        assert accuracy == model.tuner.final_metrics["val_accuracy"]
        loss, evaluated = model.evaluate(images[HELD], labels[HELD], verbose=0)
        assert evaluated == pytest.approx(accuracy, abs=1e-6)
        assert loss == pytest.approx(model.tuner.final_metrics["val_loss"], rel=1e-5)
        assert np.mean(model.predict(images[HELD], verbose=0).ravel() == labels[HELD].astype(str)) == accuracy

    def test_exported_model_predicts_the_same_once_saved(self, classified, digits, tmp_path):
        exported = classified[0].export_model()
        exported.save(tmp_path / "network.keras")
        loaded = keras.models.load_model(tmp_path / "network.keras")
        np.testing.assert_array_equal(predictions(loaded, digits[0]), predictions(exported, digits[0]))

    def test_exported_model_has_the_reported_size(self, classified):
        model, _ = classified
        metrics = model.tuner.final_metrics
        assert size_bits(model.export_model()) == metrics["size_bits"]
        assert metrics["size_kb"] <= 0.7

    def test_trials_are_scored_by_accuracy_and_exact_size(self, classified):
        model, _ = classified
        assert [trial.status for trial in trials(model)] == [TrialStatus.COMPLETED] * 2
        for trial in trials(model):
            accuracy, size = (trial.metrics.get_best_value(key) for key in ("val_accuracy", "size_bits"))
            assert trial.score == pytest.approx(accuracy / 0.8 + 8 / np.log10(size))
            assert size <= 5600
        metrics = model.tuner.final_metrics
        expected = metrics["val_accuracy"] / 0.8 + 8 / np.log10(metrics["size_bits"])
        assert metrics["score"] == pytest.approx(expected)

    def test_only_the_block_is_searched(self, classified):
        model, _ = classified
        block, fixed = [], []
        for trial in trials(model):
            values = trial.hyperparameters.values
            block.append({name: value for name, value in values.items() if name.startswith("mobile_net_v2_block")})
            fixed.append({name: value for name, value in values.items() if name not in block[-1]})
        assert block[0] != block[1]
        assert fixed[0] == fixed[1]
        assert set(map(str, fixed[0].values())) == {"0", "adam", "0.001"}

    def test_history_has_both_phases(self, classified):
        _, history = classified
        assert {phase: len(losses) for phase, losses in history.history.items()} == {"float_loss": 4, "qaft_loss": 1}

    def test_interrupted_search_ends_like_the_undisturbed_one(self, classified, space, digits, tmp_path):
        class Interrupted(BompAutoTuner):
            def run_trial(self, trial, *args, **kwargs):
                if trial.trial_id == "1":
                    raise KeyboardInterrupt
                return super().run_trial(trial, *args, **kwargs)

        with pytest.raises(KeyboardInterrupt):
            fit(auto_model(space, tmp_path, tuner=Interrupted, constraints={"size_kb": 0.7}), *digits)
        model = auto_model(space, tmp_path, constraints={"size_kb": 0.7})
        with pytest.raises(InputError, match="no finally trained model yet"):
            model.export_model()
        fit(model, *digits)
        expected, _ = classified
        assert [trial.score for trial in trials(model)] == [trial.score for trial in trials(expected)]
        assert model.tuner.final_metrics == expected.tuner.final_metrics

    def test_reloaded_project_is_finished(self, classified, space, digits):
        model, _ = classified
        again = auto_model(space, model.directory, constraints={"size_kb": 0.7})
        assert again.tuner.final_metrics == model.tuner.final_metrics
        assert fit(again, *digits) is None
        np.testing.assert_array_equal(
            predictions(again.export_model(), digits[0]), predictions(model.export_model(), digits[0])
        )


class MaximumHead(autokeras.ClassificationHead):
    """A custom head: its own reduction, a hidden layer as wide as there are classes, logits, its own loss."""

    def build(self, hp, inputs=None):
        values = keras.layers.GlobalMaxPooling2D()(keras.tree.flatten(inputs)[0])
        values = keras.layers.Dense(self.shape[-1], activation="relu")(values)
        return keras.layers.Dense(self.shape[-1], name=self.name)(values)

    def infer_loss(self):
        return keras.losses.CategoricalCrossentropy(from_logits=True)


def test_custom_head(space, digits, tmp_path):
    head = MaximumHead(metrics=["accuracy", "top_k_categorical_accuracy"])
    model = auto_model(space, tmp_path, head, features="map")
    fit(model, *digits)
    images, labels = digits
    exported = model.export_model()
    accuracy = np.mean(predictions(exported, images[HELD]).argmax(axis=1) == labels[HELD])
    assert accuracy == model.tuner.final_metrics["val_accuracy"]
    evaluated = model.evaluate(images[HELD], labels[HELD], verbose=0)
    reported = [model.tuner.final_metrics[f"val_{key}"] for key in ("loss", "accuracy", "top_k_categorical_accuracy")]
    assert evaluated == pytest.approx(reported, rel=1e-5)
    assert [layer.units for layer in exported.layers if isinstance(layer, IntegerDense)] == [10, 10]
    assert size_bits(exported) == model.tuner.final_metrics["size_bits"]


def test_regression_head_and_split(space, digits, tmp_path):
    images, labels = digits
    model = auto_model(space, tmp_path, autokeras.RegressionHead(), max_trials=1)
    model.fit(images, labels / 9, validation_split=0.2, epochs=1, verbose=0)
    exported = model.export_model()
    errors = predictions(exported, images[200:])[:, 0] - labels[200:] / 9
    metrics = model.tuner.final_metrics
    assert metrics["val_loss"] == pytest.approx(np.mean(errors**2), rel=1e-5)
    assert model.evaluate(images[200:], labels[200:] / 9, verbose=0)[0] == pytest.approx(metrics["val_loss"], rel=1e-5)
    assert metrics["score"] == -metrics["val_loss"]


def test_ordinary_model(digits, tmp_path):
    def ordinary():
        image = autokeras.ImageInput()
        output = autokeras.ConvBlock(num_blocks=1, num_layers=1, max_pooling=True)(image)
        return autokeras.AutoModel(
            image, autokeras.ClassificationHead()(output), tuner=BompAutoTuner, directory=tmp_path, max_trials=2, seed=0
        )

    model = ordinary()
    images, labels = digits
    model.fit(images, labels, epochs=1, verbose=0)
    first, second = (trial.hyperparameters.values for trial in trials(model))
    assert first != second
    assert {trial.status for trial in trials(model)} == {TrialStatus.COMPLETED}
    exported = model.export_model()
    accuracy = np.mean(predictions(exported, images).argmax(axis=1) == labels)
    assert model.evaluate(images, labels, verbose=0)[1] == pytest.approx(accuracy, abs=1e-6)
    trained = keras.models.load_model(model.tuner.best_model_path)  # the final training's, not the best trial's
    np.testing.assert_array_equal(predictions(trained, images), predictions(exported, images))
    assert model.tuner.final_metrics is None
    assert ordinary().fit(images, labels, epochs=1, verbose=0) is None


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"training": {"epoch": 3}}, "training.epoch: "),
            ({"final": {"qaft_epochs": 0}}, "final.qaft_epochs: "),
            ({"max_model_size": 100}, "max_model_size=100 found; .* constraints"),
        ],
    )
    def test_settings(self, space, tmp_path, arguments, message):
        with pytest.raises(InputError, match=message):
            auto_model(space, tmp_path, **arguments)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"callbacks": [keras.callbacks.EarlyStopping()]}, "fit: callbacks found"),
            ({"class_weight": {0: 2.0}}, "fit: class_weight found"),
        ],
    )
    def test_what_fit_cannot_use(self, space, digits, tmp_path, arguments, message):
        with pytest.raises(InputError, match=message):
            fit(auto_model(space, tmp_path), *digits, **arguments)

    @pytest.mark.parametrize("range", [(0, 255), (0, 1), (1, 16)])
    def test_pixels_that_do_not_fit_the_range(self, space, digits, tmp_path, range):
        with pytest.raises(InputError, match="pixels from 0 to 16 found, but MobileNetV2Block has range="):
            fit(auto_model(space, tmp_path, range=range), *digits)

    def test_several_labels_for_an_image(self, space, digits, tmp_path):
        images, labels = digits
        several = np.eye(10)[labels] + np.eye(10)[9 - labels]
        with pytest.raises(InputError, match="several labels for an image"):
            fit(auto_model(space, tmp_path, autokeras.ClassificationHead(multi_label=True)), images, several)

    @pytest.mark.parametrize(("range", "channels"), [((0, 16), ()), (None, (1,)), ((-1, 16), (1,))])
    def test_augmentation_of_what_has_no_black_zeros(self, space, digits, tmp_path, range, channels):
        images, labels = digits
        model = auto_model(space, tmp_path, range=range, training={"augmentation": "shift"})
        with pytest.raises(InputError, match=r"training.augmentation 'shift' shifts zeros in"):
            fit(model, images.reshape(-1, 8, 8, *channels), labels)


def test_images_without_channels_and_labels_as_text(space, digits, tmp_path):
    images, labels = digits[0][..., 0], np.array(list("abcdefghij"))[digits[1]]
    model = auto_model(space, tmp_path, max_trials=1)
    fit(model, images, labels)
    found = model.predict(images[HELD], verbose=0).ravel()
    assert np.mean(found == labels[HELD]) == model.tuner.final_metrics["val_accuracy"]

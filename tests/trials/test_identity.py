import dataclasses
import json

import keras
import numpy as np
from PIL import Image

from bompnas import experiment as experiments
from bompnas.training import data
from bompnas.trials import setup
from bompnas.trials.identity import record_meta, run_identity


def test_what_identifies_a_run_is_content(document, digits):
    meta = record_meta(digits, 2)
    assert json.loads(json.dumps(meta)) == meta
    identity = meta["identity"]
    assert identity["space"]["family"] == "mobilenetv2"
    assert "workers" not in identity
    free = {"workers": 4, "export": {"format": "none", "io": "float"}}
    same = dataclasses.replace(digits, experiment=experiments.parse({**document, **free}))
    assert record_meta(same, 1)["identity"] == identity
    train = dataclasses.replace(digits.dataset.train, images=digits.dataset.train.images.copy())
    train.images[0, 0, 0] ^= 1
    other = dataclasses.replace(digits, dataset=dataclasses.replace(digits.dataset, train=train))
    assert record_meta(other, 1)["identity"]["data"]["fingerprint"] != identity["data"]["fingerprint"]


def test_streamed_images_are_known_by_the_names_and_sizes_of_their_files(prepared, tmp_path):
    for number in range(24):
        (tmp_path / f"class{number % 2}").mkdir(exist_ok=True)
        Image.new("L", (8, 8), 10 * number).save(tmp_path / f"class{number % 2}" / f"{number}.bmp")

    def identity(**options):
        return run_identity(prepared(data={"dataset": "folder", "path": str(tmp_path), **options}))["data"]

    read, streamed = identity(stream=False), identity(stream=True)
    assert read == identity()
    assert "stream" not in read  # as in records of before
    assert streamed["stream"] is True
    assert streamed["fingerprint"] != read["fingerprint"]
    Image.new("L", (8, 8), 7).save(tmp_path / "class0" / "2.bmp")
    assert identity(stream=True) == streamed
    assert identity()["fingerprint"] != read["fingerprint"]
    Image.new("L", (8, 9), 7).save(tmp_path / "class0" / "2.bmp")
    assert identity(stream=True)["fingerprint"] != streamed["fingerprint"]


def test_the_resolved_experiment_can_be_run_again(digits):
    resolved = record_meta(digits, 2)["experiment"]
    assert experiments.parse(resolved).model_dump() == {**digits.experiment.model_dump(), "space": resolved["space"]}


class Hidden:
    def __init__(self, units):
        self.units = units

    def build(self, hp, inputs):
        return keras.layers.Dense(10)(keras.layers.Dense(self.units, activation="relu")(inputs))


def test_heads_of_one_class_with_other_arguments_are_other_experiments(prepared):
    identities = [record_meta(prepared(Hidden(units)), 1)["identity"] for units in (16, 16, 64)]
    assert identities[0] == identities[1]
    assert identities[0] != identities[2]


def test_data_from_python_are_recorded_as_such(document):
    images, labels = np.zeros((60, 8, 8, 1), "uint8"), np.arange(60) % 3
    dataset = data.from_arrays(images, labels, input_size=8, input_channels=1, name="my photos")
    meta = record_meta(setup.prepare(experiments.parse(document), dataset=dataset), 1)
    assert meta["experiment"]["data"] == {"dataset": "my photos"}

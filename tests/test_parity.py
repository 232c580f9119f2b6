import contextlib
import re
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
import yaml

from bompnas import experiment as experiments
from bompnas import parity, report
from bompnas import run as runs
from bompnas.export import models
from bompnas.trials.record import Record


@pytest.fixture(scope="module")
def finished(tmp_path_factory, pytestconfig):
    """A short run with two exported networks, of small images of its own."""
    folder = tmp_path_factory.mktemp("finished")
    generator = np.random.default_rng(0)
    np.savez(folder / "images.npz", x_train=generator.integers(0, 256, (90, 8, 8)), y_train=np.arange(90) % 3)
    document = {
        "name": "short",
        "data": {"dataset": "npz", "path": str(folder / "images.npz")},
        "space": str(pytestconfig.rootpath / "search_spaces" / "mobilenetv2_digits.yaml"),
        "method": {"name": "random", "trials": 1, "policies_per_network": 2},
        "training": {"epochs": 1},
        "final": {"epochs": 1, "qaft_epochs": 1},
        "constraints": {"size_kb": 2},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write", lambda folder: folder / "report.html")
        result = runs.run(experiments.parse(document), out=folder / "run")
    assert result.exports
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the run, to be spoiled."""
    shutil.copytree(finished / "run", tmp_path / "run")
    return tmp_path / "run"


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def exports(folder):
    with Record(folder / "run.db", read_only=True) as record:
        return record.exports


def test_a_finished_run_is_checked_and_nothing_written(folder, capsys):
    before = contents(folder)
    assert parity.main([str(folder)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "on 18 test images" in printed.out
    assert printed.out.count("100.00%") == len(exports(folder))
    assert contents(folder) == before


def spoil_tflite(folder, path):
    path.with_suffix(".tflite").write_bytes(path.with_suffix(".tflite").read_bytes()[:-100])


def foreign_tflite(folder, path):
    path.with_suffix(".tflite").write_text("something else")


def missing_tflite(folder, path):
    path.with_suffix(".tflite").unlink()


def spoil_bits(folder, path):
    path.with_suffix(".bits").write_bytes(path.with_suffix(".bits").read_bytes()[:40])


def foreign_bits(folder, path):
    path.with_suffix(".bits").write_text("something else")


def missing_bits(folder, path):
    path.with_suffix(".bits").unlink()


def spoil_keras(folder, path):
    path.write_bytes(path.read_bytes()[:2000])


def missing_keras(folder, path):
    path.unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_tflite, foreign_tflite, missing_tflite, spoil_bits, foreign_bits, missing_bits, spoil_keras,
        missing_keras,
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_one_message(folder, capsys, spoil):
    name = exports(folder)[0].candidate
    spoil(folder, folder / f"models/{name}.keras")
    assert parity.main([str(folder)]) == 2
    printed = capsys.readouterr()
    suffix = spoil.__name__.partition("_")[2]
    assert printed.err.startswith(f"network {name}: ")
    assert f"models/{name}.{suffix}" in printed.err
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err


def test_a_model_that_was_changed_differs_from_its_files(folder, capsys):
    name = exports(folder)[0].candidate
    path = folder / f"models/{name}.keras"
    model = models.load(path)
    layer = model.get_layer("last_conv")
    kernel, *bias = layer.get_weights()
    layer.set_weights([kernel[..., ::-1], *bias])
    model.save(path)
    assert parity.main([str(folder)]) == 3
    printed = capsys.readouterr()
    assert "differs" in printed.out
    assert printed.err.startswith(f"network {name}: emulator and Keras: ")
    assert "the first layer that differs is 'last_conv' (Keras and the emulator: " in printed.err


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert parity.main([str(tmp_path)]) == 2
    assert "run.db does not exist; expected the record in the folder of a run" in capsys.readouterr().err


def test_a_run_that_has_exported_nothing_is_told(folder, capsys):
    with contextlib.closing(sqlite3.connect(folder / "run.db")) as connection, connection:
        connection.execute("DELETE FROM exports")
    assert parity.main([str(folder)]) == 2
    assert f"{folder}: no exported networks yet" in capsys.readouterr().err


def test_data_that_are_gone_or_changed_are_told(finished, folder, tmp_path, capsys):
    def at(images):
        with Record(folder / "run.db") as record:
            experiment = record.meta["experiment"]
            record.follow({**experiment, "data": {**experiment["data"], "path": str(images)}})

    at(tmp_path / "gone.npz")
    assert parity.main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert f"{folder}: its data set and head cannot be loaded again: " in error
    assert "gone.npz does not exist" in error
    assert yaml.safe_load((folder / "experiment.yaml").read_text())["data"]["path"] == str(finished / "images.npz")
    np.savez(tmp_path / "other.npz", x_train=np.zeros((90, 8, 8), np.uint8), y_train=np.arange(90) % 3)
    at(tmp_path / "other.npz")
    assert parity.main([str(folder)]) == 2
    assert "its data set has changed" in capsys.readouterr().err


def test_the_command_needs_a_folder_and_starts_fast():
    program = "import sys, bompnas.parity; print({'keras', 'tensorflow', 'ai_edge_litert'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "set()"


def test_the_documented_code_runs_an_exported_file(folder, pytestconfig):
    text = (pytestconfig.rootpath / "docs" / "export.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "ai_edge_litert" in block)
    export = exports(folder)[0]
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1) * 4
    code = code.replace("runs/digits/models/12.tflite", str(folder / export.tflite))
    names = {}
    exec(code.replace("np.zeros((1, 8, 8, 1), np.uint8)", "image"), {"image": image}, names)
    scale, zero_point = names["result"]["quantization"]
    expected = models.load(folder / f"models/{export.candidate}.keras").predict(image, verbose=0)
    np.testing.assert_array_equal((names["scores"].astype(np.float32) - zero_point) * scale, expected[0])

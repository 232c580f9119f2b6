import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bompnas.errors import InputError
from bompnas.experiment import Experiment, load, parse
from bompnas.hardware.counts import Counts
from bompnas.objectives import Constraint, Objective

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
ABLATIONS = {
    "_ptq": {"mode": "ptq", "bits": None, "final": "ptq"},
    "_ptq8": {"mode": "ptq", "bits": 8, "final": "ptq"},
    "_ptq_then_qaft": {"mode": "ptq", "bits": None, "final": "qaft"},
    "_4bit": {"mode": "qaft", "bits": 4, "final": "qaft"},
    "_post_nas": {"mode": "none", "bits": 8, "final": "ptq"},
}


@pytest.fixture
def minimal(tmp_path, monkeypatch):
    """The three keys without a default; their files are there."""
    (tmp_path / "space.yaml").touch()
    (tmp_path / "images.npz").touch()
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    return {"name": "mine", "data": {"dataset": "digits"}, "space": "space.yaml"}


def test_a_minimal_file_is_enough(minimal):
    experiment = parse(minimal)
    assert experiment.method.name == "bomp"
    assert experiment.quantization.model_dump() == {"mode": "qaft", "bits": None, "final": "qaft"}
    assert [(one.name, one.key, one.reference, one.maximize, one.transform) for one in experiment.objective_list()] == [
        ("accuracy", "val_accuracy", 0.8, True, "identity"),
        ("size", "size_bits", 8.0, False, "log10"),
    ]
    assert experiment.constraint_list() == ()
    assert experiment.head.class_ == "classification"


def test_the_resolved_experiment_is_an_experiment_again(minimal):
    experiment = parse(minimal | {"head": {"class": "my.heads:Mine"}, "quantization": {"mode": "none"}})
    document = yaml.safe_load(yaml.safe_dump(experiment.model_dump(mode="json")))
    assert parse(document) == experiment


def test_an_experiment_is_frozen(minimal):
    with pytest.raises(ValueError, match="frozen"):
        parse(minimal).seed = 1


def test_reading_imports_no_framework():
    program = (
        "import sys; from bompnas.experiment import load; load(sys.argv[1]); "
        "print([name for name in ('keras', 'tensorflow') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, EXPERIMENTS / "digits.yaml"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("mode", "final"), [("qaft", "qaft"), ("ptq", "ptq"), ("none", "ptq")])
def test_the_final_quantization_follows_the_mode(minimal, mode, final):
    assert parse(minimal | {"quantization": {"mode": mode}}).quantization.final == final


def test_the_float_network_is_scored_in_mode_none(minimal):
    names = ("accuracy", "loss", "size", "macs", "params")
    experiment = parse(
        minimal | {"quantization": {"mode": "none"}, "objectives": {name: {"reference": 2} for name in names}}
    )
    assert experiment.quantization.bits == 8
    assert [objective.key for objective in experiment.objective_list()] == [
        "float_val_accuracy",
        "float_val_loss",
        "float_size_bits",
        "macs",
        "params",
    ]
    assert [objective.key for objective in experiment.deployed_objectives()] == [
        "val_accuracy",
        "val_loss",
        "size_bits",
        "macs",
        "params",
    ]


def test_networks_are_exported_with_integer_ends_unless_told_otherwise(minimal):
    assert parse(minimal).export.model_dump() == {"format": "tflite", "io": "int8", "int4": False, "float_head": False}
    given = {"format": "none", "io": "float", "int4": True, "float_head": True}
    assert parse(minimal | {"export": given}).export.model_dump() == given


@pytest.mark.parametrize(
    ("export", "message"),
    [
        ({"io": "int16"}, "export.io: expected int8 or float; found the text 'int16'"),
        ({"int4": 1}, "export.int4: expected true or false; found 1"),
        ({"floathead": True}, "export.floathead: unknown key 'floathead'; did you mean float_head?"),
        ("tflite", "export: expected a section with the keys format, io, int4, float_head; found the text 'tflite'"),
    ],
)
def test_what_export_cannot_be_is_told(minimal, export, message):
    with pytest.raises(InputError, match=re.escape(message)):
        parse(minimal | {"export": export})


def test_direction_and_transform_can_be_set(minimal):
    objectives = {
        "size": {"reference": 1e5, "transform": "identity"},
        "macs": {"reference": 7, "direction": "maximize"},
    }
    size, macs = parse(minimal | {"objectives": objectives}).objective_list()
    assert size == Objective("size", "size_bits", 1e5, maximize=False, transform="identity")
    assert macs == Objective("macs", "macs", 7.0, maximize=True)


def test_whatever_is_counted_may_be_limited(minimal):
    limits = {quantity.name: 3.0 for quantity in Counts.quantities}
    assert parse(minimal | {"constraints": limits}).constraint_list() == tuple(Constraint(cost, 3.0) for cost in limits)


def test_overrides_replace_and_add(minimal):
    experiment = parse(minimal, ["training.epochs=3", "constraints.size_kb=32", "method={name: random, trials: 5}"])
    assert experiment.training.epochs == 3
    assert experiment.constraint_list() == (Constraint("size_kb", 32.0),)
    assert (experiment.method.name, experiment.method.trials) == ("random", 5)
    assert "training" not in minimal


def test_paths_start_from_the_experiment_file(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "space.yaml").touch()
    (tmp_path / "images.npz").touch()
    file = tmp_path / "deep" / "mine.yaml"
    file.write_text("{name: mine, data: {dataset: npz, path: ../images.npz}, space: ../space.yaml}")
    monkeypatch.chdir("/")
    experiment = load(file)
    assert experiment.space == "../space.yaml"
    assert experiment.space_file == tmp_path / "space.yaml"
    assert experiment.data.file == tmp_path / "images.npz"


@pytest.mark.parametrize(("given", "expected"), [("5", 5), ("[0, seven]", ["0", "seven"]), ("null", None)])
def test_classes_are_counted_or_named(tmp_path, given, expected):
    (tmp_path / "space.yaml").touch()
    base = {"name": "mine", "data": {"dataset": "digits"}, "space": "space.yaml"}
    experiment = parse(base, [f"data.classes={given}"], directory=tmp_path)
    assert experiment.model_dump(mode="json")["data"]["classes"] == expected


CASES = [
    ({"nam": 1}, "nam: unknown key 'nam'; did you mean name?"),
    ({"name": 12}, "name: expected text; found 12"),
    ({"name": "a/b"}, "name: expected letters, digits, .* found the text 'a/b'"),
    (
        {"training": {"epoch": 3}},
        "training.epoch: unknown key 'epoch'; did you mean epochs? known: epochs, qaft_epochs",
    ),
    ({"training": {"epochs": "many"}}, "training.epochs: expected a whole number; found the text 'many'"),
    ({"training": {"epochs": 2.5}}, "training.epochs: expected a whole number; found 2.5"),
    ({"training": {"epochs": True}}, "training.epochs: expected a whole number; found true"),
    ({"training": {"epochs": 0}}, "training.epochs: expected 1 or more; found 0"),
    (
        {"training": {"learning_rate": "3e-4"}},
        "found the text '3e-4', which YAML reads as a number when written 0.0003",
    ),
    ({"training": {"learning_rate": 0}}, "training.learning_rate: expected a number above 0; found 0"),
    ({"training": {"learning_rate": float("inf")}}, "training.learning_rate: expected a finite number; found inf"),
    ({"training": {"optimizer": "sdg"}}, "training.optimizer: expected adam or sgd; found the text 'sdg'"),
    ({"training": 3}, "training: expected a section with the keys epochs, .* found 3"),
    ({"training": None}, "training: expected a section with the keys epochs, .* found nothing"),
    ({"final": {"schedule": None}}, "final.schedule: expected constant or cosine; found nothing"),
    ({"space": "nowhere.yaml"}, "space: nowhere.yaml does not exist; looked for "),
    ({"data": {}}, "data.dataset: this key is missing"),
    ({"data": {"dataset": "mnist"}}, "data.dataset: expected digits, cifar10, cifar100, npz or folder; found the text"),
    ({"data": {"dataset": "npz"}}, "data.path: this key is missing; dataset npz needs the path of an .npz file"),
    ({"data": {"dataset": "npz", "path": "none.npz"}}, "data.path: none.npz does not exist"),
    ({"data": {"dataset": "cifar10", "path": "photos"}}, "data.path: expected an .npz file; photos is a folder"),
    (
        {"data": {"dataset": "folder", "path": "images.npz"}},
        "data.path: expected a folder with .* images.npz is a file",
    ),
    ({"data": {"dataset": "digits", "path": "images.npz"}}, "data.path: dataset digits .* has no path; remove it"),
    ({"data": {"dataset": "cifar10", "test": 0.1}}, "data.test: cifar10 has a test part of its own; remove this key"),
    ({"data": {"dataset": "digits", "range": [0, 1]}}, "data.range: the range of dataset digits is known; remove"),
    (
        {"data": {"dataset": "npz", "path": "images.npz", "stream": True}},
        "data.stream: only the image files of dataset folder can be streamed, not npz; remove this key",
    ),
    ({"data": {"dataset": "folder", "path": "photos", "stream": 1}}, "data.stream: expected true or false; found 1"),
    ({"data": {"dataset": "digits", "classes": 1}}, "data.classes: expected how many classes .* at least 2; found 1"),
    ({"data": {"dataset": "digits", "classes": [3, 3]}}, "data.classes: expected different classes; found '3' twice"),
    ({"data": {"dataset": "npz", "path": "images.npz", "range": [1, 0]}}, "data.range: expected .* found \\[1, 0\\]"),
    ({"data": {"dataset": "digits", "validation": 1.5}}, "data.validation: expected a fraction .* found 1.5"),
    ({"data": {"dataset": "digits", "validation": True}}, "data.validation: expected a fraction .* found true"),
    ({"data": {"dataset": "digits", "test": 0}}, "data.test: expected a fraction .* found 0"),
    ({"method": {"name": "bompp"}}, "method.name: unknown method 'bompp'; did you mean bomp?"),
    ({"method": {"trials": 3}}, "method.name: this key is missing"),
    ({"method": "bomp"}, "method: expected a section such as {name: bomp, trials: 100}; found the text 'bomp'"),
    ({"method": {"name": "bomp", "trails": 3}}, "method.trails: unknown key 'trails'; did you mean trials?"),
    ({"method": {"name": "bomp", "trials": "3"}}, "method.trials: expected a whole number; found the text '3'"),
    ({"quantization": {"bits": 1}}, "quantization.bits: expected 2 to 16 bits; found 1"),
    ({"quantization": {"bits": 17}}, "quantization.bits: expected 2 to 16 bits; found 17"),
    ({"quantization": {"mode": "none", "bits": None}}, "quantization.bits: expected 2 to 16 bits, .* found nothing"),
    ({"quantization": {"mode": "qat"}}, "quantization.mode: expected qaft, ptq or none; found the text 'qat'"),
    ({"objectives": {}}, "objectives: expected at least one of accuracy, .* found none"),
    (
        {"objectives": {"acuracy": {"reference": 1}}},
        "objectives.acuracy: unknown objective 'acuracy'; did you mean accuracy?",
    ),
    ({"objectives": {"accuracy": {}}}, "objectives.accuracy.reference: this key is missing"),
    (
        {"objectives": {"accuracy": 0.8}},
        "objectives.accuracy: expected a section with the keys reference, .* found 0.8",
    ),
    ({"objectives": {"size": {"reference": -1}}}, "objectives.size.reference: expected a number above 0; found -1"),
    (
        {"objectives": {"size": {"reference": 8, "transfrom": "log10"}}},
        "objectives.size.transfrom: unknown key 'transfrom'; did you mean transform?",
    ),
    (
        {"objectives": {"accuracy": {"reference": 1, "transform": "log10"}}},
        "accuracy is maximized and takes no transform",
    ),
    ({"objectives": {"loss": {"reference": 1, "transform": "log10"}}}, "loss can be 1 or less, where log10 is not"),
    ({"constraints": {"size_kB": 16}}, "constraints.size_kB: unknown cost 'size_kB'; did you mean size_kb?"),
    ({"constraints": {"size_kb": "16 kB"}}, "constraints.size_kb: expected a number; found the text '16 kB'"),
    ({"constraints": {"size_kb": 0}}, "constraints.size_kb: expected a number above 0; found 0"),
    ({"constraints": [16]}, "constraints: expected a section of keys; found \\[16\\]"),
    ({"head": {"class": "regresion"}}, "head.class: unknown head 'regresion'; did you mean regression?"),
    ({"head": {"class": "regression"}}, "objectives: a regression head measures no accuracy; choose among loss, mae"),
    ({"head": {"arguments": {"units": 3}}}, "head.arguments: the classification head takes no arguments"),
    ({"head": {"clas": "x"}}, "head.clas: unknown key 'clas'; did you mean class?"),
    ({"seed": -1}, "seed: expected 0 or more; found -1"),
    ({"seed": 2**32}, "seed: expected a number below 4294967296; found 4294967296"),
    ({"workers": 0}, "workers: expected a whole number from 1, or auto; found 0"),
    ({7: 8}, "7: expected a key that is text; found 7"),
]


@pytest.mark.parametrize(("change", "message"), CASES, ids=[str(change) for change, _ in CASES])
def test_one_clear_line_for_each_mistake(minimal, change, message):
    message = message.replace("?", "\\?")
    with pytest.raises(InputError, match=f"^mine.yaml: .*{message}") as caught:
        parse(minimal | change, place="mine.yaml")
    assert "\n" not in str(caught.value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
)
SECTIONS = {
    "data": "dataset",
    "method": "name",
    "training": "epochs",
    "quantization": "mode",
    "objectives": "size",
    "hardware": "model",
}
SECTIONS |= {"constraints": "size_kb", "head": "class", "final": "schedule", "seed": "seed"}


@settings(deadline=None)
@given(st.sampled_from(sorted(SECTIONS)), ANYTHING, st.booleans())
def test_nothing_but_input_errors(section, value, nested):
    document = {"name": "mine", "data": {"dataset": "digits"}, "space": str(EXPERIMENTS / "digits.yaml")}
    with contextlib.suppress(InputError):
        parse(document | {section: {SECTIONS[section]: value} if nested else value})


@pytest.mark.parametrize("key", ["name", "data", "space"])
def test_required_keys(minimal, key):
    del minimal[key]
    with pytest.raises(InputError, match=f"^mine.yaml: {key}: this key is missing$"):
        parse(minimal, place="mine.yaml")


def test_every_mistake_has_a_line_of_its_own(minimal):
    with pytest.raises(InputError) as caught:
        parse(minimal | {"final": {"epochs": "x"}, "workers": 0}, place="mine.yaml")
    assert str(caught.value).splitlines() == [
        "mine.yaml: final.epochs: expected a whole number; found the text 'x'",
        "mine.yaml: workers: expected a whole number from 1, or auto; found 0",
    ]


def test_a_mistake_on_the_command_line_is_found_there(minimal):
    with pytest.raises(InputError, match=r"^--set training\.epochs=x: training\.epochs: expected a whole number"):
        parse(minimal, ["training.epochs=x"], place="mine.yaml")


@pytest.mark.parametrize(
    "override", ["constraints.size_kB=3", "trainin.epochs=3", "objectives.x.reference=3", "data.x=1"]
)
def test_an_unknown_key_on_the_command_line_is_found_there(minimal, override):
    minimal["objectives"] = {"size": {"reference": 8}}
    with pytest.raises(InputError, match=f"^--set {override}: [^\n]*: unknown [^\n]*$"):
        parse(minimal, [override, "training.epochs=3"], place="mine.yaml")


def test_shipped_experiments_are_valid(tmp_path):
    asked = {"hqnas_imagenet": [f"data.path={tmp_path}"]}  # what nobody can ship
    names = {file.stem: load(file, asked.get(file.stem, ())).name for file in EXPERIMENTS.glob("*.yaml")}
    variants = {f"{data}{suffix}" for data in ("cifar10", "cifar100") for suffix in ("", *ABLATIONS)}
    hqnas = {f"hqnas_{data}" for data in ("digits", "lifelong_digits", "cifar10", "imagenet")}
    others = {"digits", "digits_bitfusion", "cifar10_jasq", *hqnas}
    assert names == {name: name for name in variants | others}


@pytest.mark.parametrize(
    ("data", "weight", "accuracy", "cost", "images"),
    [("cifar10", 0.2, 0.968, 20, 0.5), ("imagenet", 0.5, 0.72, 140, 50_000)],
)
def test_settings_of_hqnas(tmp_path, data, weight, accuracy, cost, images):
    override = [f"data.path={tmp_path}"] if data == "imagenet" else []
    experiment = load(EXPERIMENTS / f"hqnas_{data}.yaml", override)
    method, training = experiment.method, experiment.training
    assert (method.cost_weight, method.accuracy_threshold, method.cost_threshold) == (weight, accuracy, cost)
    assert (method.reward_images, method.warm_up, method.candidates, method.units) == (images, 20, 10, "absolute")
    assert (training.epochs, training.batch_size, training.optimizer) == (100, 256, "sgd")
    assert (training.learning_rate, training.weight_decay) == (0.05, 3e-4)
    assert experiment.data.stream == (data == "imagenet")


@pytest.mark.parametrize(("data", "reference"), [("cifar10", 8), ("cifar100", 6)])
def test_paper_settings(data, reference):
    experiment = load(EXPERIMENTS / f"{data}.yaml")
    assert experiment.method.trials == 100
    assert (experiment.training.epochs, experiment.training.qaft_epochs) == (20, 1)
    assert (experiment.final.epochs, experiment.final.qaft_epochs) == (200, 5)
    assert [objective.reference for objective in experiment.objective_list()] == [0.8, reference]
    assert experiment.space_file.name == f"mobilenetv2_{data}.yaml"


def test_jasq_differs_in_method_bits_and_quantization_alone():
    paper, jasq = (load(EXPERIMENTS / f"{name}.yaml") for name in ("cifar10", "cifar10_jasq"))
    assert (jasq.method.name, jasq.method.removal, jasq.method.fitness) == ("evolution", "worst", "limited")
    assert jasq.method.trials == paper.method.trials
    assert (jasq.quantization.mode, jasq.quantization.final) == ("ptq", "ptq")
    assert jasq.training.epochs == paper.training.epochs
    assert jasq.final.epochs == paper.final.epochs
    assert jasq.objectives == paper.objectives
    spaces = [yaml.safe_load(experiment.space_file.read_text()) for experiment in (paper, jasq)]
    assert spaces[1] == spaces[0] | {"name": "mobilenetv2_cifar10_jasq", "bits": [4, 8, 16]}


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
@pytest.mark.parametrize("suffix", ABLATIONS)
def test_ablations_differ_in_their_quantization_alone(data, suffix):
    paper, ablation = (load(EXPERIMENTS / f"{data}{end}.yaml").model_dump() for end in ("", suffix))
    assert ablation.pop("quantization") == ABLATIONS[suffix]
    assert paper.pop("quantization") == {"mode": "qaft", "bits": None, "final": "qaft"}
    assert ablation == paper | {"name": f"{data}{suffix}"}


def test_experiments_can_be_made_in_python(minimal):
    assert Experiment(**minimal) == parse(minimal)


def test_on_a_cluster_all_that_there_is_room_for_runs_unless_limited(minimal):
    assert parse(minimal).workers == 1
    assert parse(minimal | {"cluster": {"cpus": 4}}).workers == "auto"
    assert parse(minimal | {"cluster": {"cpus": 4}, "workers": 2}).workers == 2

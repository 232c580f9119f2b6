import dataclasses
import re
from html.parser import HTMLParser

import pytest

from bompnas.candidate import Candidate, State
from bompnas.experiment.sections import ObjectiveSettings
from bompnas.objectives import Constraint, score
from bompnas.report.view import RunView, load
from bompnas.space.network import Layer, Network
from bompnas.trials.record import Export, Final

ACCURACY = ObjectiveSettings(reference=0.8).objective("accuracy")
SIZE = ObjectiveSettings(reference=8.0).objective("size")
EXPERIMENT = {
    "name": "toy",
    "data": {"dataset": "digits"},
    "space": "search_spaces/toy.yaml",
    "method": {"name": "bomp", "trials": 12, "initial": 3},
    "quantization": {"mode": "qaft"},
    "objectives": {"accuracy": {"reference": 0.8}, "size": {"reference": 8.0}},
    "constraints": {"size_kb": 16.0},
    "seed": 0,
    "workers": 1,
}


_VOID = {"meta", "br", "link", "img", "hr"}


class _Checker(HTMLParser):
    """Collects ids, links and text, and notices tags that are not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in _VOID:
            self.open.append(tag)
        self.note(attributes)

    def handle_startendtag(self, tag, attributes):
        self.note(dict(attributes))

    def note(self, attributes):
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes[key] for key in ("href", "xlink:href", "src") if key in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def network(bits=8, repetitions=1, expand=True, project_bits=None):
    layers = [Layer("stem", "conv", 3, 1, 1, 4, 8, 8, bits, 8, "relu6", "stem")]
    for repetition in range(1, repetitions + 1):
        prefix = f"block1_{repetition}"
        if expand:
            layers.append(Layer(f"{prefix}_expand", "conv", 1, 1, 4, 8, 8, 8, bits, 8, "relu6", "block1", repetition))
        layers.append(
            Layer(f"{prefix}_depthwise", "depthwise", 3, 1, 8, 8, 8, 8, bits, 8, "relu6", "block1", repetition)
        )
        last = project_bits[repetition - 1] if project_bits else bits
        layers.append(Layer(f"{prefix}_project", "conv", 1, 1, 8, 4, 8, 8, last, 8, "linear", "block1", repetition))
    layers.append(Layer("last_conv", "conv", 1, 1, 4, 16, 8, 8, bits, 8, "relu6", "last_conv"))
    layers.append(Layer("head_dense", "dense", 1, 1, 16, 10, 1, 1, bits, 8, "linear", "head"))
    layers.append(Layer("head_norm", "float", 1, 1, 1, 20, 1, 1, 32, 32, "linear", "head", bias=False))
    return Network(8, 1, tuple(layers))


def candidate(number, quality, kilobytes, objectives=(ACCURACY, SIZE), **changes):
    """A completed candidate; failed where the quality is None."""
    cost = {"size_bits": kilobytes * 8000.0, "size_kb": float(kilobytes), "macs": 1000.0 * number, "params": 500.0}
    common = {"id": number, "trial": number, "network": network(4 + number % 5), "genotype": None, "cost": cost}
    if quality is None:
        return Candidate(
            **common, state=State.FAILED, seconds={"build": 1.0}, error="Diverged: <the loss> became nan", **changes
        )
    metrics = {objectives[0].key: quality}
    return Candidate(
        **common,
        state=State.COMPLETED,
        metrics=metrics,
        seconds={"build": 1.0, "train": 10.0 + number, "qaft": 2.0},
        score=score(objectives, {**cost, **metrics}),
        **changes,
    )


@pytest.fixture(scope="session")
def make_network():
    return network


@pytest.fixture(scope="session")
def make_candidate():
    return candidate


@pytest.fixture(scope="session")
def make_view():
    """A run of the given (quality, kilobytes) pairs."""

    def make(pairs, objectives=(ACCURACY, SIZE), **changes):
        candidates = tuple(candidate(number, *pair, objectives) for number, pair in enumerate(pairs, start=1))
        view = RunView(
            name="toy", experiment=EXPERIMENT, objectives=objectives, constraints=(), candidates=candidates, seed=1
        )
        return dataclasses.replace(view, **changes)

    return make


@pytest.fixture(scope="session")
def view(make_view):
    """A finished run: three on the front (2, 4, 5), one failed (3), number 4 dominated after the final training."""
    pairs = [(0.5, 10), (0.6, 2), (None, 3), (0.7, 4), (0.9, 8), (0.4, 9)]
    finals = (
        Final(2, {"val_accuracy": 0.85, "test_accuracy": 0.84}, {"train": 100.0}, 2.9, "models/2.keras"),
        Final(4, {"val_accuracy": 0.80, "test_accuracy": 0.79}, {"train": 100.0}, 2.7, "models/4.keras"),
        Final(5, {"val_accuracy": 0.95, "test_accuracy": 0.94}, {"train": 100.0}, 2.8, "models/5.keras"),
    )
    return make_view(pairs, finals=finals, constraints=(Constraint("size_kb", 9.5),))


@pytest.fixture(scope="session")
def exported(view):
    """The same run with its networks exported: number 2 exactly, 4 not at all, 5 with a deviation."""
    timed = {"median_ms": 0.0125, "low_ms": 0.012, "high_ms": 0.0134, "repetitions": 100, "threads": 1, "cpu": "A <1>"}
    checked = {"images": 2360, "argmax": 1.0, "max_lsb": 0}
    exports = (
        Export(
            2, {}, "models/2.bits", 1234, "models/2.tflite", 9876,
            metrics={"test_accuracy": 0.84}, latency=timed, **checked,
        ),
        Export(4, {}, "models/4.bits", 2345, not_exportable="layer 'a<b': 16 bits", **checked),
        Export(
            5, {}, "models/5.bits", 3456, "models/5.tflite", 23456, metrics={"test_accuracy": 0.9},
            latency=timed, images=2360, argmax=0.9875, max_lsb=3, deviation="the first layer that differs is 'stem'",
        ),
    )  # fmt: skip
    return dataclasses.replace(view, exports=exports)


@pytest.fixture(scope="session")
def supernet(tmp_path_factory, supernet_runs, hqnas_digits):
    """The folder of a finished search of a supernet: 12 epochs, 4 of them without a reward, and 5 networks."""
    folder = tmp_path_factory.mktemp("supernet")
    supernet_runs.write(folder, hqnas_digits, epochs=12, planned=12, warm_up=4, sampled=4)
    return folder


@pytest.fixture(scope="session")
def supernet_view(supernet):
    return load(supernet)


@pytest.fixture(scope="session")
def begun_supernet(tmp_path_factory, supernet_runs, hqnas_digits):
    """The same after 3 epochs."""
    folder = tmp_path_factory.mktemp("begun")
    supernet_runs.write(folder, hqnas_digits, epochs=3, planned=12, warm_up=4)
    return load(folder)


@pytest.fixture(scope="session")
def experiment():
    return EXPERIMENT


@pytest.fixture(scope="session")
def check_html():
    """Checks that a page is well-formed, that its links lead somewhere, and that it needs nothing from elsewhere.

    Gives what was found in it, and its text.
    """

    def check(html):
        checker = _Checker()
        checker.feed(html)
        assert not checker.open
        assert len(checker.ids) == len(set(checker.ids))
        assert {link[1:] for link in checker.links if link.startswith("#")} <= set(checker.ids)
        elsewhere = set(re.findall(r"https?://[^\s\"'<]+", html))
        assert elsewhere <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
        assert not any(tag in html for tag in ("<script", "@import", "<link"))
        return checker, " ".join(" ".join(checker.text).split())

    return check

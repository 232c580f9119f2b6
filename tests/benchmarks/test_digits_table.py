import csv
from pathlib import Path

import digits_table
import numpy as np
import pytest
import tables

from bompnas import pareto
from bompnas.errors import InputError
from bompnas.hardware.counts import counts
from bompnas.space import loader
from bompnas.space.batch import NetworkBatch

RESULT = Path(digits_table.__file__).parent / "results" / "digits_table.csv"


@pytest.fixture(scope="module")
def space():
    return loader.load(digits_table.SPACE)


@pytest.fixture(scope="module")
def table():
    return tables.load(RESULT)


@pytest.fixture(scope="module")
def points(space):
    return [genes for policies in digits_table.architectures(space) for genes in policies]


@pytest.fixture(scope="module")
def networks(space, points):
    return [digits_table.decode(space, genes) for genes in points]


def test_policies_share_an_architecture_and_all_networks_are_different(space, networks):
    assert [len(policies) for policies in digits_table.architectures(space)] == [18] * 54
    assert len({network.key for network in networks}) == 972
    assert len({network.architecture_key for network in networks}) == 54
    for first in range(0, 972, 18):
        assert len({network.architecture_key for network in networks[first : first + 18]}) == 1


def test_bit_genes_set_their_layers(space, points):
    bits = {"depthwise_bits": 3, "pointwise_bits": 8, "outer_bits": 2}
    network = digits_table.decode(space, {**points[-1], **bits})
    found = {
        (layer.kind == "depthwise", layer.group.startswith("block")): layer.weight_bits for layer in network.layers
    }
    assert found == {(True, True): 3, (False, True): 8, (False, False): 2}
    assert len(network.layers) == 14


def test_the_committed_table_holds_every_network_measured(table, points, networks):
    assert [dict(row.genes) for row in table.rows] == points
    assert [row.key for row in table.rows] == [network.key for network in networks]
    assert all(set(row.metrics) == set(table.metrics) for row in table.rows)
    assert set(digits_table.METRICS) < set(table.metrics)


def test_the_committed_costs_are_those_of_the_networks(table, networks):
    costs = counts(NetworkBatch.of(networks))
    for name in digits_table.COSTS:
        np.testing.assert_array_equal([row.metrics[name] for row in table.rows], costs[name], name)


def test_size_trades_off_against_accuracy_in_the_committed_table(table):
    measured = np.array([(row.metrics["size_bits"], row.metrics["val_accuracy"]) for row in table.rows])
    front = measured[pareto.front(measured, maximize=[False, True])]
    assert len(front) > 15
    assert np.ptp(front[:, 1]) > 0.5
    assert front[:, 0].max() > 4 * front[:, 0].min()


def test_an_interrupted_table_is_continued(tmp_path, monkeypatch, space):
    trained = []

    def train(policies, data, seed):
        trained.append(seed)
        assert (data / "train_images.npy").exists()
        return [
            {**{f"gene:{name}": value for name, value in genes.items()}, "key": network.key, "macs": seed, "error": ""}
            for genes, network in policies
        ]

    monkeypatch.setattr(digits_table, "train", train)
    path = tmp_path / "table.csv"
    digits_table.make(path)
    assert trained == list(range(54))
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    path.write_text("".join(lines[: 1 + 18 * 20] + lines[1 + 18 * 22 :]))  # architectures 20 and 21 are lost
    trained.clear()
    digits_table.make(path)
    assert trained == [20, 21]
    assert path.read_text() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_another_table_is_not_continued(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("gene:a,accuracy\n1,2\n")
    with pytest.raises(InputError, match=r"expected .*; name another file"):
        digits_table.make(path)
    assert path.read_text() == "gene:a,accuracy\n1,2\n"


def test_a_float_training_that_diverges_is_recorded_for_all_its_policies(tmp_path, monkeypatch, space):
    from bompnas.training.loop import DivergedError
    from bompnas.trials import trial

    def run_trial(task, tell=None):
        raise DivergedError("the training loss became nan")

    monkeypatch.setattr(trial, "run_trial", run_trial)
    policies = next(digits_table.architectures(space))
    rows = digits_table.train([(genes, digits_table.decode(space, genes)) for genes in policies], tmp_path, 0)
    assert [row["error"] for row in rows] == ["DivergedError: the training loss became nan"] * 18
    header = digits_table.columns(space)
    digits_table.write(tmp_path / "table.csv", header, rows)
    with (tmp_path / "table.csv").open() as file:
        assert [row["val_accuracy"] for row in csv.DictReader(file)] == [""] * 18


def test_a_real_row_is_measured_in_full(tmp_path, monkeypatch, space):
    monkeypatch.setattr(digits_table, "EPOCHS", 1)
    monkeypatch.setattr(digits_table, "QAFT_EPOCHS", 1)
    digits_table.save_data(tmp_path)
    genes = next(digits_table.architectures(space))[-1]
    (row,) = digits_table.train([(genes, digits_table.decode(space, genes))], tmp_path, 0)
    assert row["error"] == ""
    assert set(row) == set(digits_table.columns(space)) - {"gene:block2.kernel", "gene:block2.width"}
    assert 0 < float(row["val_accuracy"]) < 1

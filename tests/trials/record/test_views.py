import csv
import dataclasses

import pytest

from bompnas.candidate import State
from bompnas.objectives import Objective
from bompnas.trials.record import Export, Final, StoredProposal, views


@pytest.fixture
def read(tmp_path, new_record, problem):
    """Writes the views and reads one: its columns and rows."""

    def rows(name):
        views.write(tmp_path, new_record, problem.objectives)
        with (tmp_path / name).open(newline="") as file:
            reader = csv.DictReader(file)
            return reader.fieldnames, list(reader)

    return rows


@pytest.fixture
def make_completed(make_candidate):
    def make(accuracy, **changes):
        return make_candidate(
            state=State.COMPLETED, metrics={"val_accuracy": accuracy}, score=accuracy, seconds={"train": 0.5}, **changes
        )

    return make


def test_candidates_in_every_state_have_a_row_under_the_same_columns(new_record, make_candidate, make_completed, read):
    pending = make_candidate()
    new_record.add(
        [pending, make_completed(0.1 + 0.2), make_candidate(state=State.FAILED, error="Diverged: nan, at once")]
    )
    columns, rows = read("candidates.csv")
    genes, costs = list(pending.genotype), list(pending.cost)
    assert columns == ["id", "trial", "state", *genes, *costs, "val_accuracy", "score", "seconds_train", "error"]
    assert [row["state"] for row in rows] == ["pending", "completed", "failed"]
    assert rows[0]["val_accuracy"] == rows[0]["score"] == ""
    assert float(rows[1]["val_accuracy"]) == 0.1 + 0.2
    assert rows[2]["error"] == "Diverged: nan, at once"
    assert {gene: float(rows[1][gene]) for gene in genes} == dict(new_record.candidates[1].genotype)


def test_before_the_end_there_are_headings_alone(read):
    assert read("candidates.csv") == (["id", "trial", "state"], [])
    columns, rows = read("pareto.csv")
    promised = "id val_accuracy test_accuracy size_bits size_kb size_without_scales_bits macs params score"
    assert columns[:9] == promised.split()
    assert rows == []


def test_costs_that_are_objectives_come_first(tmp_path, new_record):
    latency = Objective("latency", "latency_ms", 1.0, maximize=False, transform="log10", factor=1e6)
    accuracy = Objective("accuracy", "val_accuracy", 0.8, maximize=True)
    views.write(tmp_path, new_record, (accuracy, latency))
    columns = (tmp_path / "pareto.csv").read_text().split("\n")[0].split(",")
    assert columns[6:10] == ["macs", "params", "latency_ms", "score"]


def test_the_front_is_listed_by_size_with_final_and_searched_values(new_record, make_completed, read):
    first, second = make_completed(0.6), make_completed(0.7)
    lost = dataclasses.replace(make_completed(0.5), cost={**second.cost, "size_bits": 10**9})
    failed = make_completed(0.4)
    new_record.add([first, second, lost, failed])
    finals = [
        Final(id, {"val_accuracy": value, "test_accuracy": value - 0.01}, {}, 2 * value, f"models/{id}.keras")
        for id, value in [(1, 0.8), (2, 0.9), (3, 0.7)]
    ]
    new_record.finish_finals("final 1", [*finals, Final(4, {}, {}, None, None, "killed")])
    columns, rows = read("pareto.csv")
    sizes = [int(row["size_bits"]) for row in rows]
    assert sizes == sorted(sizes)
    by_id = {row["id"]: row for row in rows}
    assert set(by_id) == {"1", "2", "3"}
    assert by_id["1"]["val_accuracy"] == "0.8"
    assert by_id["1"]["search_val_accuracy"] == "0.6"
    assert by_id["2"]["score"] == "1.8"
    assert by_id["2"]["search_score"] == "0.7"
    assert (by_id["2"]["pareto"], by_id["3"]["pareto"]) == ("True", "False")
    assert by_id["3"]["model"] == "models/3.keras"
    assert by_id["1"]["stem.bits"] == str(first.genotype["stem.bits"])
    assert columns[columns.index("model") :] == [
        "model", "tflite", "parity_argmax", "parity_max_lsb", "parity_images", "parity_deviation", "tflite_bytes",
        "packed", "packed_bytes", "tflite_ms", "not_exportable", "export_error",
    ]  # fmt: skip
    assert by_id["3"]["tflite"] == by_id["3"]["parity_argmax"] == by_id["3"]["parity_images"] == ""


def test_what_was_exported_stands_beside_its_network(new_record, make_completed, read):
    new_record.add([make_completed(0.6), make_completed(0.7), make_completed(0.8)])
    finals = [Final(id, {"val_accuracy": 0.9}, {}, 2.0, f"models/{id}.keras") for id in (1, 2, 3)]
    new_record.finish_finals("final 1", finals)
    checked = {"images": 360, "argmax": 1.0, "max_lsb": 0, "packed": "models/x.bits", "packed_bytes": 1234}
    new_record.finish_export(
        Export(
            1,
            {},
            tflite="models/1.tflite",
            tflite_bytes=9876,
            metrics={"test_accuracy": 0.875},
            latency={"median_ms": 0.25},
            **checked,
        )
    )
    new_record.finish_export(Export(2, {}, not_exportable="layer 'stem': 16 bits", **checked))
    new_record.finish_export(Export(3, {}, error="OSError: no space"))
    by_id = {row["id"]: row for row in read("pareto.csv")[1]}
    assert {name: by_id["1"][name] for name in ("tflite", "tflite_bytes", "packed_bytes", "tflite_ms")} == {
        "tflite": "models/1.tflite",
        "tflite_bytes": "9876",
        "packed_bytes": "1234",
        "tflite_ms": "0.25",
    }
    assert by_id["1"]["tflite_test_accuracy"] == "0.875"
    assert (by_id["2"]["tflite"], by_id["2"]["not_exportable"]) == ("", "layer 'stem': 16 bits")
    assert (by_id["2"]["parity_argmax"], by_id["2"]["parity_max_lsb"], by_id["2"]["parity_images"]) == (
        "1.0",
        "0",
        "360",
    )
    assert (by_id["3"]["export_error"], by_id["3"]["packed"]) == ("OSError: no space", "")


def test_finally_trained_candidates_carry_the_final_values(new_record, make_completed):
    new_record.add([make_completed(0.6), make_completed(0.7)])
    new_record.finish_finals("final 1", [Final(2, {"val_accuracy": 0.9}, {"train": 3.0}, 2.5, "models/2.keras")])
    (trained,) = views.finally_trained(new_record)
    assert (trained.id, trained.metrics, trained.score, trained.seconds) == (
        2,
        {"val_accuracy": 0.9},
        2.5,
        {"train": 3.0},
    )


def test_networks_of_a_supernet_tell_where_they_come_from(new_record, make_completed, read):
    networks = [make_completed(0.5 + 0.1 * number, trial=1) for number in range(3)]
    for index, (source, chosen) in enumerate((("decided", networks[:1]), ("sampled", networks[1:]))):
        genotypes = tuple(network.genotype for network in chosen)
        new_record.add(chosen, StoredProposal(index, 1, genotypes, (), (), {"source": source}))
    columns, rows = read("candidates.csv")
    assert "source" not in columns  # networks that were trained one by one tell it of proposals
    new_record.log("search", 0, {"loss": 1.0})
    columns, rows = read("candidates.csv")
    assert columns[:4] == ["id", "trial", "state", "source"]
    assert [row["source"] for row in rows] == ["decided", "sampled", "sampled"]

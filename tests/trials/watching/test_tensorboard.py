import dataclasses
import math
import subprocess
import sys
from collections import Counter

import pytest

from bompnas.candidate import State
from bompnas.errors import InputError
from bompnas.trials.events import Epoch, Values
from bompnas.trials.record import Final
from bompnas.trials.watching import tensorboard
from bompnas.trials.watching.tensorboard import TensorBoard

event_file_loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
METRICS = ["val_accuracy", "size_bits", "score"]


@pytest.fixture
def logs(problem, tmp_path):
    """Opens the logs anew, as every session does."""
    return lambda: TensorBoard(tmp_path / "logs", problem.space.genes, METRICS)


@pytest.fixture
def finish(new_record):
    """Records trials as completed."""

    def add(*candidates, curves=None, **changes):
        completed = [
            dataclasses.replace(
                candidate,
                **{"state": State.COMPLETED, "metrics": {"val_accuracy": 0.5}, "seconds": {"train": 3.0}, "score": 1.25}
                | changes,
            )
            for candidate in candidates
        ]
        new_record.add(candidates)
        new_record.finish(f"trial {candidates[0].trial}", completed, curves or {"float_loss": [2.0, 1.0]})
        return new_record

    return add


def events(place):
    """All events of a run, file by file in order."""
    return [
        event
        for path in sorted(place.glob("*tfevents*"))
        for event in event_file_loader.EventFileLoader(str(path)).Load()
    ]


def scalars(place):
    """(tag, step) -> value; a step that is there twice is an error."""
    found = [
        ((value.tag, event.step), value.tensor.float_val[0])
        for event in events(place)
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "scalars"
    ]
    assert max(Counter(key for key, _ in found).values(), default=1) == 1
    return dict(found)


def losses(place):
    return {key: value for key, value in scalars(place).items() if key[0].startswith("loss/")}


def epoch(number, loss, phase="float", policy=0):
    return Epoch(phase, policy, number, 4, loss)


def test_losses_are_there_while_a_trial_runs(logs, tmp_path):
    board = logs()
    board.hear("trial 1", epoch(1, 2.0))
    board.hear("trial 1", epoch(2, 1.5))
    board.hear("trial 1", epoch(1, 0.5, "qaft"))
    board.hear("trial 1", epoch(1, 0.25, "qaft", policy=1))
    assert losses(tmp_path / "logs" / "trial 1") == {
        ("loss/float", 1): 2.0,
        ("loss/float", 2): 1.5,
        ("loss/qaft", 1): 0.5,
    }
    assert losses(tmp_path / "logs" / "trial 1" / "policy 2") == {("loss/qaft", 1): 0.25}


def test_a_trial_that_is_started_again_tells_nothing_twice(logs, tmp_path):
    board = logs()
    for number, loss in ((1, 2.0), (2, 1.0), (3, 0.5), (2, 1.5), (3, 1.25)):
        board.hear("trial 1", epoch(number, loss))
    assert losses(tmp_path / "logs" / "trial 1") == {
        ("loss/float", 1): 2.0,
        ("loss/float", 2): 1.5,
        ("loss/float", 3): 1.25,
    }


def test_what_is_finished_is_as_recorded(logs, finish, make_candidate, tmp_path):
    board = logs()
    board.hear("trial 1", epoch(2, 1.0))  # the first epoch lies before the checkpoint that it went on from
    (heard,) = (event.wall_time for event in events(tmp_path / "logs" / "trial 1") if event.summary.value)
    candidate = make_candidate()
    board.follow(finish(candidate))
    found = scalars(tmp_path / "logs" / "trial 1")
    assert {key: found[key] for key in found if key[0].startswith("loss/")} == {
        ("loss/float", 1): 2.0,
        ("loss/float", 2): 1.0,
    }
    assert found["val_accuracy", 0] == 0.5
    assert found["score", 0] == 1.25
    assert found["seconds/train", 0] == 3.0
    assert found["size_bits", 0] == candidate.cost["size_bits"]
    times = {event.step: event.wall_time for event in events(tmp_path / "logs" / "trial 1") if event.step}
    assert times[2] == heard
    assert [path.name for path in (tmp_path / "logs" / "trial 1").iterdir()] == ["events.out.tfevents.finished"]


def test_another_session_drops_what_was_interrupted_and_keeps_what_was_finished(logs, finish, make_candidate, tmp_path):
    board = logs()
    record = finish(make_candidate())
    board.follow(record)
    finished = (tmp_path / "logs" / "trial 1" / "events.out.tfevents.finished").read_bytes()
    board.hear("trial 2", epoch(1, 9.0))
    with next((tmp_path / "logs" / "trial 2").iterdir()).open("ab") as file:
        file.write(b"half a rec")

    board = logs()
    board.follow(record)
    assert (tmp_path / "logs" / "trial 1" / "events.out.tfevents.finished").read_bytes() == finished
    assert scalars(tmp_path / "logs" / "trial 2") == {}
    board.hear("trial 2", epoch(1, 8.0))
    assert losses(tmp_path / "logs" / "trial 2") == {("loss/float", 1): 8.0}


def test_logs_that_are_wanted_later_tell_of_earlier_trials_too(logs, finish, make_candidate, tmp_path):
    record = finish(make_candidate())
    logs().follow(record)
    assert losses(tmp_path / "logs" / "trial 1") == {("loss/float", 1): 2.0, ("loss/float", 2): 1.0}


def test_pending_trials_have_no_row_yet(logs, new_record, make_candidate, tmp_path):
    new_record.add([make_candidate()])
    logs().follow(new_record)
    assert not (tmp_path / "logs" / "trial 1").exists()


def test_final_trainings_are_logged(logs, finish, make_candidate, tmp_path):
    candidate = make_candidate()
    record = finish(candidate)
    board = logs()
    board.hear("final 1", epoch(1, 4.0))
    final = Final(candidate.id, {"val_accuracy": 0.75, "test_accuracy": 0.5}, {}, 1.5, "models/1.keras")
    record.finish_finals("final 1", [final], {"float_loss": [4.0, 3.0]})
    board.follow(record)
    found = scalars(tmp_path / "logs" / "final 1")
    assert found["test_accuracy", 0] == 0.5
    assert found["loss/float", 2] == 3.0
    board.hear("final 1", epoch(1, 7.0))  # its model was lost: it is trained again
    assert scalars(tmp_path / "logs" / "final 1") == {("loss/float", 1): 7.0}


def test_the_table_shows_genes_and_objectives(logs, finish, make_candidate, problem, tmp_path):
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.hparams import api_pb2, get_experiment, list_session_groups
    from tensorboard.plugins.hparams.backend_context import Context

    board = logs()
    first, second = make_candidate(), make_candidate()
    finish(first)
    board.follow(finish(second, state=State.FAILED, metrics={}, score=None, error="diverged"))

    folder = str(tmp_path / "logs")
    multiplexer = EventMultiplexer().AddRunsFromDirectory(folder)
    multiplexer.Reload()

    class Loaded:
        data_provider = MultiplexerDataProvider(multiplexer, folder)

    context, request = Context(Loaded()), RequestContext()
    experiment = get_experiment.Handler(
        request, context, folder, api_pb2.GetExperimentRequest(experiment_name="", include_metrics=True)
    ).run()
    assert {column.name for column in experiment.hparam_infos} == {gene.name for gene in problem.space.genes}
    assert {column.name.tag for column in experiment.metric_infos} == set(METRICS)

    asked = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=10,
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE],
        col_params=[
            *(api_pb2.ColParams(hparam=gene.name) for gene in problem.space.genes),
            *(api_pb2.ColParams(metric=api_pb2.MetricName(tag=metric)) for metric in METRICS),
        ],
    )
    rows = list_session_groups.Handler(request, context, folder, asked).run()
    sessions = {group.sessions[0].name: group for group in rows.session_groups}
    assert set(sessions) == {"trial 1", "trial 2"}
    shown = sessions["trial 1"]
    assert {name: value.number_value for name, value in shown.hparams.items()} == pytest.approx(dict(first.genotype))
    assert {value.name.tag: value.value for value in shown.metric_values} == {
        "val_accuracy": 0.5,
        "size_bits": first.cost["size_bits"],
        "score": 1.25,
    }
    assert sessions["trial 2"].sessions[0].status == api_pb2.STATUS_FAILURE


def test_logs_are_written_without_tensorflow(tmp_path):
    code = (
        "import sys; from pathlib import Path; from bompnas.trials.watching.tensorboard import TensorBoard, require;"
        "from bompnas.trials.events import Epoch; require();"
        f"TensorBoard(Path({str(tmp_path)!r}), [], ['score']).hear('trial 1', Epoch('float', 0, 1, 2, 0.5));"
        "print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip() == "set()", printed.stderr
    assert losses(tmp_path / "trial 1") == {("loss/float", 1): 0.5}


def measured(number, reward, share=0.5):
    return {"loss": 1.0 / number, "reward": reward, "p(block2.kernel=5)": share, "p(bits=4)": 0.25}


def logged(number, reward, share=0.5):
    found = {"loss/search": 1.0 / number, "block2/p(kernel=5)": share, "p(bits=4)": 0.25}
    found |= {} if math.isnan(reward) else {"reward": reward}
    return {(tag, number): pytest.approx(value) for tag, value in found.items()}


def test_what_a_search_measures_is_there_while_it_runs_and_goes_on_in_another_session(logs, new_record, tmp_path):
    board, place = logs(), tmp_path / "logs" / "search"
    for number, reward in ((1, math.nan), (2, -3.0), (3, -2.0)):
        board.hear("search", Epoch("search", 0, number, 4, 1.0 / number))
        board.hear("search", Values(number, measured(number, reward)))
        new_record.log("search", number - 1, measured(number, reward))
    assert scalars(place) == logged(1, math.nan) | logged(2, -3.0) | logged(3, -2.0)

    board = logs()
    assert scalars(place) == {}
    board.follow(new_record)
    assert scalars(place) == logged(1, math.nan) | logged(2, -3.0) | logged(3, -2.0)
    board.hear("search", Values(3, measured(3, -1.0, 0.75)))  # its checkpoint was that of the second epoch
    assert scalars(place) == logged(1, math.nan) | logged(2, -3.0) | logged(3, -1.0, 0.75)


def test_networks_of_a_supernet_have_rows_of_their_own(logs, finish, make_candidate, new_record, tmp_path):
    for number in (1, 2):
        new_record.log("search", number - 1, measured(number, -1.0))
    board = logs()
    candidates = [dataclasses.replace(make_candidate(), trial=1) for _ in range(2)]
    board.follow(finish(*candidates))
    assert {path.name for path in (tmp_path / "logs").iterdir() if path.is_dir()} == {
        "search",
        "candidate 1",
        "candidate 2",
    }
    assert scalars(tmp_path / "logs" / "search") == logged(1, -1.0) | logged(2, -1.0)
    found = scalars(tmp_path / "logs" / "candidate 2")
    assert found["size_bits", 0] == candidates[1].cost["size_bits"]
    assert not [tag for tag, _ in found if tag.startswith("loss/")]


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with pytest.raises(InputError, match=r"pip install 'bompnas\[tensorboard\]'"):
        tensorboard.require()

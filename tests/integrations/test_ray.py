import contextlib
import importlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest

import bompnas
from bompnas import experiment as experiments
from bompnas import report, session
from bompnas import run as runs
from bompnas.candidate import State
from bompnas.errors import InputError
from bompnas.experiment.sections import ClusterSettings
from bompnas.trials import trial
from bompnas.trials.executors.contract import Failure
from bompnas.trials.record import Record

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

from ray.cluster_utils import Cluster  # noqa: E402

from bompnas.integrations import ray_nodes  # noqa: E402
from bompnas.integrations.ray import RayCluster  # noqa: E402

STORE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
ROOT = Path(bompnas.__file__).parents[1]
DATA = {"train": (np.arange(300_000, dtype=np.uint8), np.zeros(3, np.uint8))}


@pytest.fixture(scope="module")
def tasks():
    """A module that the driver and the nodes can import by name, as an installed one."""
    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    yield importlib.import_module("ray_tasks")
    sys.path.remove(folder)
    del sys.modules["ray_tasks"]


@pytest.fixture(scope="module")
def gates(tmp_path_factory):
    return tmp_path_factory.mktemp("gates")


@pytest.fixture(scope="module")
def cluster(tasks, gates):
    """Two nodes of one core each, one with a GPU, on this machine, and a connection to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))
        patch.setenv("GATES", str(gates))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        started = Cluster(initialize_head=True, head_node_args={**STORE, "include_dashboard": False})
        started.add_node(**STORE, num_gpus=1)  # so it says; no test computes on it
        with ray_nodes.connected(started.address):
            ours = psutil.Process().children(recursive=True)
            yield started
    started.shutdown()
    _, alive = psutil.wait_procs([process for process in ours if "ray" in process_name(process)], timeout=60)
    assert not alive


def process_name(process):
    with contextlib.suppress(psutil.Error):
        return " ".join([process.name(), *process.cmdline()])
    return ""


@pytest.fixture
def entered(cluster, tasks):
    """Makes an executor on the cluster."""
    with contextlib.ExitStack() as stack:

        def make(limit=None, threads=1, timeout=None, **settings):
            settings = ClusterSettings(address=cluster.address, **settings)
            return stack.enter_context(RayCluster(tasks.do, settings, limit, threads, timeout))

        yield make


@pytest.fixture
def executor(entered):
    return entered()


def outcome(executor, what, value=None):
    """What becomes of one task, and what it told."""
    told = []
    handle = executor.submit((what, value))
    found, result = executor.next_finished(lambda handle, event: told.append((handle, event)))
    assert {found, *(handle for handle, _ in told)} == {handle}
    return result, [event for _, event in told]


def wait_until(condition):
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_results_come_back_with_their_handles_from_all_nodes(executor):
    assert executor.slots == 2
    handles = [executor.submit(("sleep", 1)), executor.submit(("double", 4))]
    assert dict(executor.next_finished() for _ in range(2)) == {handles[0]: None, handles[1]: 8}


def test_tasks_share_a_process_with_its_threads_and_without_gpus(entered, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    executor = entered(limit=1, threads=3)
    assert executor.slots == 1
    assert outcome(executor, "where")[0] == outcome(executor, "where")[0] != os.getpid()
    found, _ = outcome(executor, "variables", ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"))
    assert found == {"TF_NUM_INTRAOP_THREADS": "3", "OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": ""}
    assert outcome(executor, "variables", ("KERAS_BACKEND",))[0] == {"KERAS_BACKEND": "jax"}


def test_tasks_share_a_gpu(entered):
    executor = entered(cpus=0.5, gpus=0.5)
    assert executor.slots == 2
    names = "CUDA_VISIBLE_DEVICES", "TF_FORCE_GPU_ALLOW_GROWTH", "XLA_PYTHON_CLIENT_PREALLOCATE"
    processes = set()
    for _ in range(2):
        assert list(outcome(executor, "variables", names)[0].values()) == ["0", "true", "false"]
        processes.add(outcome(executor, "where")[0])
    assert len(processes) == 1


def test_events_come_in_order(executor):
    assert outcome(executor, "count", 500) == ("counted", list(range(500)))


def test_messages_of_any_size_travel(executor):
    for size in (0, 3_000_000):
        result, (event, last) = outcome(executor, "large", size)
        assert (len(result), len(event), last) == (size, size, "small")


def test_an_exception_is_a_failure_in_one_line_with_its_traceback(executor):
    failure, _ = outcome(executor, "fail", 7)
    assert (failure.error, failure.lost) == ("ValueError: two lines of 7", False)
    assert "ray_tasks.py" in failure.traceback
    failure, _ = outcome(executor, "not_picklable")
    assert "pickle" in failure.error
    assert not failure.lost


def test_a_dying_process_loses_only_its_own_task(executor):
    dying, living = executor.submit(("die", None)), executor.submit(("sleep", 2))
    told = []
    results = dict(executor.next_finished(lambda *heard: told.append(heard)) for _ in range(2))
    assert isinstance(results[dying], Failure)
    assert "ended unexpectedly" in results[dying].error
    assert results[dying].lost
    assert results[living] is None
    assert (dying, "before") in told
    assert outcome(executor, "double", 1) == (2, [])


def test_a_task_that_takes_too_long_is_ended_even_if_it_hangs(entered):
    executor = entered(timeout=5)
    assert outcome(executor, "double", 1)[0] == 2
    failure, told = outcome(executor, "hang")
    assert told == ["hangs"]
    assert failure == Failure("took longer than trial_timeout (5 s)")
    assert outcome(executor, "double", 2)[0] == 4


def test_a_task_that_ended_while_nobody_listened_is_in_time(entered):
    executor = entered(timeout=3)
    handle = executor.submit(("where", None))
    found, result = executor.next_finished(lambda handle, event: time.sleep(5))
    assert found == handle
    assert isinstance(result, int)


def test_leaving_ends_tasks_at_work(entered, cluster, tasks):
    pids = []
    with RayCluster(tasks.do, ClusterSettings(address=cluster.address), 2, 1) as executor:
        executor.submit(("sleep", 600))
        executor.submit(("die", None))
        executor.next_finished(lambda handle, event: pids.append(event))
    (process,) = [psutil.Process(pid) for pid in pids if pid != "before" and psutil.pid_exists(pid)]
    assert not psutil.wait_procs([process], timeout=60)[1]
    assert ray.is_initialized()  # the connection was there before


def test_data_lies_once_in_the_store_of_each_node(executor):
    shared = executor.share(DATA)
    found = []
    for _ in range(2):  # both nodes at the same time, twice
        for _ in range(2):
            executor.submit(("loaded", shared))
        found += [executor.next_finished()[1] for _ in range(2)]
    total = int(DATA["train"][0].sum())
    assert {(total, False, False, True)} == {entry[1:] for entry in found}  # read only, mapped, kept by the process


def test_what_a_node_cannot_load_is_refused(executor, cluster, tmp_path, monkeypatch):
    executor.check(("double", 1))
    (tmp_path / "only_the_driver_has_it.py").write_text("def head(features):\n    return features\n")
    monkeypatch.syspath_prepend(tmp_path)
    head = importlib.import_module("only_the_driver_has_it").head
    with pytest.raises(InputError, match=r"node .* cannot load .*No module named 'only_the_driver_has_it'.*every node"):
        executor.check(head)
    with pytest.raises(InputError, match="cannot be sent to the Ray cluster"):
        executor.check(lambda features: features)


def test_other_versions_are_refused(executor, monkeypatch):
    monkeypatch.setattr(bompnas, "__version__", "0.0.1")
    with pytest.raises(InputError, match=r"cluster: node .* has bompnas .* \(here 0.0.1\); .*same versions"):
        executor.check(("double", 1))


@pytest.fixture
def experiment(tmp_path):
    """A small experiment, its number of trials and further keys."""

    def make(trials, **keys):
        return experiments.parse(
            {
                "name": "small",
                "data": {"dataset": "digits", "train_images": 64},
                "space": str(ROOT / "search_spaces/mobilenetv2_digits.yaml"),
                "method": {"name": "bomp", "trials": trials, "initial": 3},
                "training": {"epochs": 1},
                "final": {"epochs": 1, "qaft_epochs": 1},
                "constraints": {"size_kb": 16},
                "export": {"format": "none"},
            }
            | keys
        )

    return make


@pytest.fixture
def no_report(monkeypatch):
    """Leaves out the report, which takes longer than all the rest."""
    monkeypatch.setattr(report, "write", lambda folder: folder / "report.html")


class Ordered:
    """An executor whose tasks end in an order that a seed fixes."""

    def __init__(self, executor):
        self._executor = executor
        self._generator = np.random.default_rng(4)
        self._running, self._done = [], {}

    def __enter__(self):
        self._executor.__enter__()
        return self

    def __getattr__(self, name):
        return getattr(self._executor, name)

    def __exit__(self, *error):
        self._executor.__exit__(*error)

    def submit(self, task):
        self._running.append(self._executor.submit(task))
        return self._running[-1]

    def next_finished(self, listen):
        handle = self._running.pop(self._generator.integers(len(self._running)))
        while handle not in self._done:
            self._done.update([self._executor.next_finished(listen)])
        return handle, self._done.pop(handle)


def test_proposals_are_those_of_the_local_pool(cluster, tasks, experiment, no_report, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "run_trial", tasks.trial)
    monkeypatch.setattr(
        session, "_executor", lambda *arguments, original=session._executor: Ordered(original(*arguments))
    )
    found = {}
    for where, keys in {"pool": {}, "ray": {"cluster": {"address": cluster.address}}}.items():
        runs.run(experiment(8, workers=2, **keys), out=tmp_path / where)
        with Record(tmp_path / where / "run.db", read_only=True) as record:
            found[where] = record.candidates, record.proposals
    candidates, proposals = found["pool"]
    assert found["ray"] == (candidates, proposals)
    assert [len(proposal.pending) for proposal in proposals] == [0] + 7 * [1]
    assert any(max(proposal.completed) > min(proposal.pending) for proposal in proposals[2:])  # not the order of starts


def test_a_lost_node_costs_only_its_trials_in_flight(
    cluster, tasks, gates, experiment, no_report, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr(trial, "run_trial", tasks.gated_trial)
    lost = cluster.add_node(**STORE)

    def begun():
        return {path.name: path.read_text().split() for path in gates.glob("begun *")}

    def lose():
        wait_until(lambda: [lost.node_id] in begun().values() and len(begun()) == 3)
        (gates / f"lost {lost.node_id}").touch()
        cluster.remove_node(lost, allow_graceful=False)
        (gates / "go").touch()

    thread = threading.Thread(target=lose)
    thread.start()
    result = runs.run(experiment(6, cluster={"address": cluster.address}), out=tmp_path / "out")
    thread.join()
    assert [candidate.state for candidate in result.candidates] == 6 * [State.COMPLETED]
    nodes = sorted(begun().values(), key=len)
    assert list(map(len, nodes)) == (5 + len(result.trained)) * [1] + [2]  # each trained once, but one twice
    assert nodes[-1][0] == lost.node_id != nodes[-1][1]
    assert sum(lost.node_id in names for names in nodes) == 1
    with Record(tmp_path / "out" / "run.db", read_only=True) as record:
        (incident,) = record.incidents
    assert incident.reason == "the node is dead or cannot be reached; started again"
    assert "raylet" not in "".join(capfd.readouterr())


def test_an_experiment_is_carried_out_on_the_nodes(cluster, experiment, no_report, tmp_path):
    settings = experiment(1, cluster={"address": cluster.address}, checkpoint_every=1)
    result = runs.run(settings, out=tmp_path / "out")
    assert [candidate.state for candidate in result.candidates] == [State.COMPLETED]
    (trained,) = result.trained
    assert keras.models.load_model(result.model(trained)).count_params() > 0
    assert {"val_accuracy", "test_accuracy"} <= set(trained.metrics)
    assert not list((tmp_path / "out").glob("checkpoints/*"))


DRIVER = """
    import psutil, sys
    import ray_tasks
    from bompnas.experiment.sections import ClusterSettings
    from bompnas.integrations.ray import RayCluster

    def told(handle, event):
        print(*(process.pid for process in psutil.Process().children(recursive=True)), event, flush=True)

    with RayCluster(ray_tasks.do, ClusterSettings(address="local"), 1, 1) as executor:
        executor.submit(("sleep", 600))
        executor.next_finished(told)
"""


def test_trials_and_the_local_cluster_end_with_a_killed_driver(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as driver:
        processes = [psutil.Process(int(text)) for text in driver.stdout.readline().split()]
        named = {process.pid: process_name(process) for process in processes}
        driver.kill()
    _, alive = psutil.wait_procs([process for process in processes if "Agent" not in named[process.pid]], timeout=60)
    assert not alive
    # Ray's agents look for their cluster for a minute before they end.
    assert any("raylet" in name for name in named.values())
    assert any("ray::work" in name for name in named.values())


def test_without_ray_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "bompnas.integrations.ray")
    with pytest.raises(InputError, match=r"pip install 'bompnas\[ray\]'"):
        importlib.import_module("bompnas.integrations.ray")


@pytest.mark.parametrize(
    ("address", "reason"), [("ray://127.0.0.1:10001", "Ray Client"), ("127.0.0.1:1", "ray start --head")]
)
def test_without_a_cluster_the_remedy_is_named(monkeypatch, address, reason):
    def no_cluster(address, **settings):
        raise ConnectionError("Could not find\nany running Ray instance")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", no_cluster)
    with pytest.raises(InputError, match=reason) as found, ray_nodes.connected(address):
        pass
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("node", "settings", "room"),
    [
        ({"CPU": 8.0}, {}, 8),
        ({"CPU": 8.0}, {"cpus": 3}, 2),
        ({"CPU": 0.3}, {"cpus": 0.1}, 3),
        ({"CPU": 8.0}, {"gpus": 1}, 0),
        ({"CPU": 8.0, "GPU": 4.0}, {"gpus": 1}, 4),
        ({"CPU": 8.0, "GPU": 4.0}, {"gpus": 3}, 1),
        ({"CPU": 8.0, "GPU": 2.0}, {"gpus": 0.4}, 4),
        ({"CPU": 8.0, "memory": 10e9}, {"memory_gb": 4}, 2),
        ({"memory": 10e9}, {}, 0),
    ],
)
def test_room_is_what_the_scarcest_resource_allows(node, settings, room):
    assert ray_nodes.room(node, ClusterSettings(**settings)) == room


def test_a_trial_that_fits_no_node_is_refused(entered):
    with pytest.raises(InputError, match=r"no node has room for a trial of cpus 4, gpus 0; the nodes have 1 cores"):
        entered(cpus=4)
    with pytest.raises(ValueError, match=r"expected a whole number, or a fraction of one GPU below 1; found 1\.5"):
        ClusterSettings(gpus=1.5)


def test_processes_are_used_again_unless_their_gpu_could_change():
    one, four = {"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 4}
    found = {gpus: ray_nodes.tasks_per_process([one, four], gpus) for gpus in (0, 0.5, 1, 4)}
    assert found == {0: 0, 0.5: 1, 1: 1, 4: 0}
    assert ray_nodes.tasks_per_process([one, one], 0.5) == 0

"""Our side: the trial of `bompnas.trials.trial`, with the task that the experiment file gives."""

import dataclasses
from typing import Any
from unittest import mock

from speed import cases
from speed.cases import Case
from speed.clocks import Moment, Phases, epochs


def run(case: Case, data: str | None, network: str, seed: int, qaft_epochs: int | None, count: int) -> dict[str, Any]:
    """Carries out a trial.

    Args:
        case: The experiment.
        data: An .npz file in place of the experiment's data.
        network: JSON of the network.
        seed: Of weights and order.
        qaft_epochs: In place of the experiment's.
        count: Number of policies.

    Returns:
        `wall` and `cpu`: seconds by phase, with the first policy's own; `total`: both clocks over the whole trial;
        `epochs`: float and first policy's QAFT epochs on both clocks; `metrics` of the first policy; `policies`: both
        clocks for each policy's own phases.

    Raises:
        RuntimeError: A policy failed.
    """
    from bompnas.trials import setup, trial
    from bompnas.trials.executors.shared import Held

    prepared = cases.prepared(case, data)
    arrays = setup.parts(prepared.dataset)
    task = _task(prepared, Held(arrays), network, seed, qaft_epochs, count)
    clocks: list[Phases] = []

    class Clock(trial.Clock):
        """The trial's own, and CPU time besides."""

        def __init__(self):
            super().__init__()
            self.both = Phases()
            self.seconds = self.both.wall
            clocks.append(self.both)

        def __call__(self, phase):
            return self.both(phase)

    ends: dict[tuple[str, int], list[Moment]] = {}

    def tell(event):
        if hasattr(event, "phase"):
            ends.setdefault((event.phase, event.policy), []).append(Moment.now())

    start = Moment.now()
    with mock.patch.object(trial, "Clock", Clock):
        result = trial.train_quantized(task, arrays, tell)
    end = Moment.now()
    for outcome in result.outcomes:
        if outcome.error:
            raise RuntimeError(outcome.error)
    shared, *own = clocks
    found: dict[str, Any] = {
        clock: {
            phase: getattr(shared, clock).get(phase, 0.0) + getattr(own[0], clock).get(phase, 0.0)
            for phase in {*getattr(shared, clock), *getattr(own[0], clock)}
        }
        for clock in ("wall", "cpu")
    }
    found["total"] = {"wall": end.wall - start.wall, "cpu": end.cpu - start.cpu}
    found["epochs"] = {
        phase: {
            clock: epochs(found[clock][spent], [getattr(moment, clock) for moment in ends.get((phase, 0), ())])
            for clock in ("wall", "cpu")
        }
        for phase, spent in (("float", "train"), ("qaft", "qaft"))
    }
    found["policies"] = [{"wall": sum(each.wall.values()), "cpu": sum(each.cpu.values())} for each in own]
    found["metrics"] = dict(result.outcomes[0].metrics)
    return found


def _task(prepared, shared, network: str, seed: int, qaft_epochs: int | None, count: int):
    from bompnas.candidate import Candidate, State
    from bompnas.space.network import Network

    candidates = [
        Candidate(number, 1, policy, None, State.PENDING, prepared.problem.cost(policy))
        for number, policy in enumerate(cases.policies(Network.from_json(network), count), start=1)
    ]
    task = dataclasses.replace(prepared.trial_task(candidates, shared), seed=seed)
    if qaft_epochs is None:
        return task
    return dataclasses.replace(task, qaft=dataclasses.replace(task.qaft, epochs=qaft_epochs))

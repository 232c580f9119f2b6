"""Searches and final trainings, each a function that returns a row of results; they need TensorFlow.

Final trainings are those of the experiment, the same for networks of all methods. Rewards are computed of validation
accuracies, to choose by, and of test accuracies, to tell.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml

from bompnas import experiment as experiments
from bompnas import pareto
from bompnas.candidate import Candidate, State
from bompnas.hardware.counts import counts
from bompnas.methods import METHODS
from bompnas.space import sampling
from bompnas.space.batch import NetworkBatch
from bompnas.supernet import checkpoint, structure
from bompnas.supernet.rewards import Judge
from bompnas.supernet.search import Found, SearchResult, SearchTask
from bompnas.supernet.single_path import derived_weights
from bompnas.trials import setup as setups
from bompnas.trials.events import SEARCH, Values
from bompnas.trials.executors.shared import Held
from bompnas.trials.setup import Setup
from supernets import cases, timed
from supernets.cases import Case

Row = dict[str, Any]
RANDOM_NETWORKS = 1000
_LATENCY = "latency_ms"


def prior(case: Case, name: str, seed: int) -> Row:
    """A search with a prior, its networks finally trained, and the decided one's trainings from either weights."""
    setup = prepared(case, (cases.prior(name),), seed)
    searched = _search(setup)
    decided, *_ = candidates = _candidates(setup, searched.result)
    front = pareto.front_of(candidates, setup.experiment.deployed_objectives())
    networks = _finally(setup, [decided, *(candidate for candidate in front if candidate is not decided)])
    known = checkpoint.unpack(searched.result.knowledge).arrays
    weights = {"fresh": None, "inherited": derived_weights(known, decided.network)}
    final = setup.experiment.final
    trainings = []
    for epochs in (*case.few_epochs, final.epochs):
        again = prepared(case, (cases.prior(name), f"final.epochs={epochs}"), seed)
        for kind, begin in weights.items():
            if kind == "fresh" and epochs == final.epochs:
                network = networks[0]
            else:
                network = _described(setup, decided, _trained(again, [decided], begin)[0])
            trainings.append({"weights": kind, "epochs": epochs, **network})
    facts = {"epochs": setup.experiment.training.epochs, "warm_up": setup.experiment.method.warm_up}
    facts |= {"images": len(setup.dataset.train.labels), "test_images": len(setup.dataset.test.labels)}
    return {
        **searched.seconds,
        "facts": facts,
        "curves": searched.curves,
        "networks": networks,
        "trainings": trainings,
    }


def variant(case: Case, name: str, seed: int) -> Row:
    """A search with one setting changed, its decided network finally trained."""
    setup = prepared(case, (cases.prior(next(iter(cases.PRIORS))), *cases.VARIANTS[name]), seed)
    searched = _search(setup)
    return {**searched.seconds, "networks": _finally(setup, _candidates(setup, searched.result)[:1])}


def device(case: Case, name: str, seed: int, share: float) -> Row:
    """A search for a device with a limit that a share of random networks keeps.

    Its decided network is finally trained and priced on all devices.
    """
    on = {other: prepared(case, _for_device(case, other, share), seed) for other in cases.DEVICES}
    searched = _search(on[name])
    decided = _candidates(on[name], searched.result)[:1]
    (network,) = _finally(on[name], decided)
    prices = {}
    for other, setup in on.items():
        judge = _judge(setup, setup.experiment.method.cost_weight)
        cost = setup.problem.cost(decided[0].network)[_LATENCY]
        reward = _reward(judge, network["metrics"]["test_accuracy"], cost)
        prices[other] = {_LATENCY: cost, "limit_ms": setup.experiment.method.cost_threshold, "reward": reward}
    return {**searched.seconds, "curves": searched.curves, "networks": [network], "on": prices}


def tried(case: Case, method: str, seed: int, seconds: float) -> Row:
    """A search by trials for so many seconds of CPU time, its front finally trained."""
    setup, by_trials = prepared(case, (), seed), _prepared_trials(case, method, seed)
    data = _data(setup)

    def train(candidate: Candidate) -> Mapping[str, float] | None:
        (outcome,) = by_trials.trial_task([candidate], data).run().outcomes
        return None if outcome.error else outcome.metrics

    proposer = by_trials.experiment.method.proposer()
    found = timed.search(proposer, by_trials.problem, train, seconds, seed)
    front = pareto.front_of(found.candidates, setup.experiment.deployed_objectives())
    tries = [
        {"val_accuracy": each.metrics.get("val_accuracy"), _LATENCY: each.cost[_LATENCY]} for each in found.candidates
    ]
    return {"seconds": found.seconds, "given": seconds, "trials": tries, "networks": _finally(setup, front)}


def baseline(case: Case, seed: int) -> Row:
    """The space's seed network finally trained: MobileNetV2, in float and in the seed's bits."""
    setup = prepared(case, (), seed)
    space = setup.problem.space
    network = space.decode(space.seed)
    candidate = Candidate(1, 1, network, space.seed, State.COMPLETED, setup.problem.cost(network))
    float_bits = counts(NetworkBatch.of([network]))["float_size_bits"].item()
    return {"networks": _finally(setup, [candidate]), "float_size_kb": float_bits / 8000}


def prepared(case: Case, overrides: Sequence[str], seed: int) -> Setup:
    """The experiment with its parts in hand."""
    return setups.prepare(
        experiments.load(cases.EXPERIMENT, [*case.overrides, *case.searched, *overrides, f"seed={seed}"])
    )


def _prepared_trials(case: Case, method: str, seed: int) -> Setup:
    """The same space, data, device and objectives with the trials of another experiment."""
    document = yaml.safe_load(cases.TRIALS.read_text(encoding="utf-8"))
    settings = {"bomp": document["method"], "random": {"name": "random"}}[method]
    replaced = {"method": {**settings, "trials": 10_000}} | {key: document[key] for key in ("training", "quantization")}
    overrides = [f"{key}={json.dumps(value)}" for key, value in replaced.items()]
    return setups.prepare(
        experiments.load(cases.EXPERIMENT, [*overrides, *case.overrides, *case.tried, f"seed={seed}"])
    )


def _for_device(case: Case, name: str, share: float) -> tuple[str, ...]:
    return (cases.DEVICES[name], f"method.cost_threshold={_limit_ms(case, name, share)}", *cases.LIMITED)


@functools.lru_cache
def _limit_ms(case: Case, name: str, share: float) -> float:
    """The latency that a share of random networks of the space keeps on a device, rounded [ms]."""
    setup = prepared(case, (cases.DEVICES[name],), 0)
    space = setup.problem.space
    batch = space.batch(sampling.uniform(space, np.random.default_rng(0), RANDOM_NETWORKS))
    return float(f"{np.quantile(setup.problem.costs(batch)[_LATENCY], share):.2g}")


def _data(setup: Setup) -> Held:
    return Held(setups.parts(setup.dataset))


@dataclasses.dataclass(frozen=True)
class Searched:
    """A search of a supernet.

    Attributes:
        result: What it found.
        curves: Its values over the epochs, without the probabilities.
        cpu: CPU time of this process [s].
    """

    result: SearchResult
    curves: dict[str, list[float]]
    cpu: float

    @property
    def seconds(self) -> dict[str, float]:
        """Its times [s]."""
        return {"seconds": self.cpu, "wall": self.result.seconds[SEARCH]}


def _search(setup: Setup) -> Searched:
    """Algorithm 1, as a run carries it out."""
    curves: dict[str, list[float]] = {}

    def tell(event: Any) -> None:
        if isinstance(event, Values):
            for name, value in event.values.items():
                if not name.startswith("p("):
                    curves.setdefault(name, []).append(round(float(value), 6))

    METHODS[setup.experiment.method.name].load_check()(setup.experiment.method, setup)
    task = SearchTask(
        problem=setup.problem,
        settings=setup.experiment.method,
        phase=setup.training_phase(),
        head=setup.head,
        data=_data(setup),
        class_names=setup.dataset.class_names,
        seed=setup.experiment.seed,
    )
    begin = time.process_time()
    return Searched(task.run(tell), curves, time.process_time() - begin)


def _candidates(setup: Setup, result: SearchResult) -> list[Candidate]:
    """What was decided first, then what was sampled last."""
    problem = setup.problem

    def candidate(number: int, found: Found) -> Candidate:
        network = problem.space.decode(found.genotype)
        cost = problem.cost(network)
        score = problem.score({**cost, **found.metrics})
        return Candidate(number, 1, network, found.genotype, State.COMPLETED, cost, found.metrics, {}, score)

    return [candidate(number, found) for number, found in enumerate((result.decided, *result.sampled), start=1)]


def _finally(setup: Setup, candidates: Sequence[Candidate]) -> list[Row]:
    """What became of candidates in their final training, in their order."""
    trained: dict[int, Mapping[str, float]] = {}
    for group in timed.grouped(candidates):
        trained |= dict(zip((each.id for each in group), _trained(setup, group), strict=True))
    return [_described(setup, candidate, trained[candidate.id]) for candidate in candidates]


def _described(setup: Setup, candidate: Candidate, metrics: Mapping[str, float]) -> Row:
    """A finally trained network, and its rewards with each prior."""
    judges = {name: _judge(setup, weight) for name, weight in cases.PRIORS.items()}
    latency_ms = candidate.cost[_LATENCY]
    return {
        "genotype": dict(candidate.genotype),
        "searched_val_accuracy": candidate.metrics.get("val_accuracy"),
        _LATENCY: latency_ms,
        "size_kb": candidate.cost["size_kb"],
        "metrics": metrics,
        "rewards": {
            name: {part: _reward(judge, metrics[f"{part}_accuracy"], latency_ms) for part in ("val", "test")}
            for name, judge in judges.items()
        },
    }


def _trained(
    setup: Setup, group: Sequence[Candidate], weights: Mapping[str, np.ndarray] | None = None
) -> list[dict[str, float]]:
    """Metrics of the experiment's final training of candidates of one architecture."""
    first = [dataclasses.replace(candidate, trial=1) for candidate in group]  # one seed for all methods
    outcomes = setup.final_task(first, _data(setup), weights=weights).run().outcomes
    wrong = [outcome.error for outcome in outcomes if outcome.error]
    if wrong:
        raise RuntimeError(f"final training failed: {wrong[0]}")
    kept = ("val_accuracy", "test_accuracy", "float_test_accuracy")
    return [{name: outcome.metrics[name] for name in kept} for outcome in outcomes]


def _judge(setup: Setup, weight: float) -> Judge:
    """What rewards are told by, the same for all settings of a search."""
    settings = setup.experiment.method.model_copy(update={"cost_weight": weight, "literal": False})
    return Judge(setup.problem, settings, structure.read(setup.problem.space).chains)


def _reward(judge: Judge, accuracy: float, cost: float) -> float:
    """Eqs. (2) and (3) of one network."""
    return float(judge.rewards(np.array([accuracy]), np.array([cost]), np.zeros(1))[0])

"""Records of searches of supernets that nobody has trained: numbers as such a search might find them."""

import dataclasses

import numpy as np

from bompnas import objectives, pareto
from bompnas.candidate import Candidate, State
from bompnas.experiment.sections import ObjectiveSettings
from bompnas.hardware import registry
from bompnas.hardware.costs import network_costs
from bompnas.problem import Problem
from bompnas.trials.record import Record, create
from bompnas.trials.record.entries import Final, StoredProposal, probability_name

DEVICE = {"model": "roofline", "peak_gmacs": 0.5, "bandwidth_gb_s": 0.2, "scaling": "product"}
OBJECTIVES = {"accuracy": {"reference": 0.8}, "latency": {"reference": 1.0}}


def experiment(planned=100, **changes):
    """The experiment of a search as its record has it."""
    return {
        "name": "digits_hqnas",
        "data": {"dataset": "digits"},
        "space": "search_spaces/hqnas_digits.yaml",
        "method": {"name": "hqnas", "accuracy_threshold": 0.968, "cost": "latency_ms", "cost_threshold": 0.5},
        "training": {"epochs": planned},
        "objectives": OBJECTIVES,
        "hardware": DEVICE,
        "seed": 0,
        "workers": 1,
        **changes,
    }


def write(folder, space, epochs=100, planned=100, warm_up=20, sampled=10, trained=True, **changes):
    """Writes the record of a search that has come so many epochs far.

    Args:
        folder: Where `run.db` goes.
        space: Of the networks.
        epochs: That have ended.
        planned: Of the whole search; networks are there when all have ended.
        warm_up: Epochs without a reward.
        sampled: Networks besides the decided one.
        trained: Whether the front is finally trained.
        changes: Keys of the experiment.

    Returns:
        The experiment.
    """
    document = experiment(planned, **changes)
    folder.mkdir(exist_ok=True, parents=True)
    identity = {**document, "data": {**document["data"], "fingerprint": "00"}}
    create(
        folder / "run.db",
        {
            "experiment": document,
            "identity": identity,
            "versions": {"keras": "3.15.0"},
            "seed_network": space.decode(space.seed).key,
            "threads": 1,
        },
    )
    judged = tuple(ObjectiveSettings.model_validate(item).objective(name) for name, item in OBJECTIVES.items())
    device = {key: value for key, value in DEVICE.items() if key != "model"}
    problem = Problem(space, network_costs(registry.load(DEVICE["model"], device)), judged)
    generator = np.random.default_rng(0)
    with Record(folder / "run.db") as record:
        probabilities = _search(record, space, generator, epochs, planned, warm_up)
        if epochs == planned:
            found = _networks(record, problem, generator, probabilities, sampled)
            if trained:
                _train(record, found, judged)
    return document


def _search(record, space, generator, epochs, planned, warm_up):
    """Logs the epochs; gives the last probabilities, gene -> values' shares."""
    drift = {gene.name: generator.normal(0, 1.2, len(gene.values)) for gene in space.genes}
    logits = {gene.name: np.zeros(len(gene.values)) for gene in space.genes}
    shares = {}
    for epoch in range(1, epochs + 1):
        for gene in space.genes:
            if epoch > warm_up:
                step = drift[gene.name] * 0.05 + generator.normal(0, 0.12, len(gene.values))
                logits[gene.name] = logits[gene.name] + step
            odds = np.exp(logits[gene.name] - logits[gene.name].max())
            shares[gene.name] = odds / odds.sum()
        accuracy = 0.97 - 0.6 * np.exp(-epoch / 14) - 0.03 * (epoch < warm_up) + generator.normal(0, 0.008)
        latency = 0.62 - 0.35 * max(epoch - warm_up, 0) / max(planned - warm_up, 1) + generator.normal(0, 0.02)
        reward = 0.5 * min(accuracy / 0.968 - 1, 0) + 0.5 * min(1 - latency / 0.5, 0)
        values = {
            "loss": 2.3 * np.exp(-epoch / 25) + 0.1 + generator.normal(0, 0.02),
            "val_accuracy": accuracy,
            "latency_ms": latency,
            "reward": 100 * reward if epoch > warm_up else np.nan,
        }
        values |= {
            probability_name(gene.name, value): share
            for gene in space.genes
            for value, share in zip(gene.values, shares[gene.name], strict=True)
        }
        record.log("search", epoch - 1, values)
    return shares


def _networks(record, problem, generator, shares, sampled):
    """Adds the decided network and sampled ones, none of them twice."""
    genes = problem.space.genes
    genotypes = {}
    decided = {gene.name: gene.values[int(np.argmax(shares[gene.name]))] for gene in genes}
    chosen = problem.space.canonical(decided)
    while len(genotypes) < sampled + 1:
        genotypes.setdefault(problem.space.decode(chosen).key, chosen)
        drawn = {gene.name: gene.values[generator.choice(len(gene.values), p=shares[gene.name])] for gene in genes}
        chosen = problem.space.canonical(drawn)
    found = []
    for number, genotype in enumerate(genotypes.values(), start=1):
        network = problem.space.decode(genotype)
        cost = problem.cost(network)
        accuracy = 0.93 - 0.6 / cost["size_kb"] + generator.normal(0, 0.006)
        metrics = {"val_accuracy": float(accuracy), "val_loss": float(1 - accuracy)}
        candidate = Candidate(number, 1, network, genotype, State.PENDING, cost)
        source = "decided" if number == 1 else "sampled"
        record.add([candidate], StoredProposal(number - 1, 1, (genotype,), (), (), {"source": source}))
        found.append(
            dataclasses.replace(
                candidate,
                state=State.COMPLETED,
                metrics=metrics,
                seconds={"search": 1234.5} if number == 1 else {},
                score=objectives.score(problem.objectives, {**cost, **metrics}),
            )
        )
    record.finish("search", found)
    return found


def _train(record, found, judged):
    """Trains the front and the decided network."""
    chosen = {candidate.id: candidate for candidate in [found[0], *pareto.front_of(found, judged)]}
    finals = []
    for candidate in chosen.values():
        accuracy = candidate.metrics["val_accuracy"] + 0.03
        metrics = {"val_accuracy": accuracy, "test_accuracy": accuracy - 0.005}
        score = objectives.score(judged, {**candidate.cost, **metrics})
        seconds = {"build": 2.0, "train": 60.0, "qaft": 12.0}
        finals.append(Final(candidate.id, metrics, seconds, score, f"models/{candidate.id}.keras"))
    record.finish_finals("final 1", finals)

"""Small problems of every kind that a proposer may meet; they are searched without training anything.

A problem comes with a `measure`: what a trial of a genotype would find. It is a smooth function of the genes, so that
there is something to learn.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from bompnas.hardware.counts import counts
from bompnas.objectives import Constraint, Objective
from bompnas.problem import Problem, no_costs
from bompnas.space.head import DenseHead
from bompnas.space.hyperspace import HyperSpace
from bompnas.space.mobilenetv2 import Block, MobileNetV2Space, Stem
from bompnas.space.space import BITS, Choices, Gene, Genotype, SearchSpace

ACCURACY = Objective("accuracy", "val_accuracy", 0.8, maximize=True)
SIZE = Objective("size", "size_bits", 8.0, maximize=False, transform="log10")
ERROR = Objective("mae", "val_mae", 0.5, maximize=False)


@dataclasses.dataclass(frozen=True)
class Trials:
    """A problem and what its trials would find.

    Attributes:
        problem: What is searched.
        measure: Genotype -> metrics.
    """

    problem: Problem
    measure: Callable[[Genotype], Mapping[str, float]]


def networks() -> Trials:
    """Networks of 4, 8 and 16 bits: accuracy and size, at most 3 kB, with blocks and layers that may be absent."""
    space = _network_space(
        "networks", Choices((4, 8, 16), 8), repetitions=Choices((0, 1, 2), 1), expansion=Choices((1, 3), 3)
    )
    return _trials(Problem(space, counts, (ACCURACY, SIZE), (Constraint("size_kb", 3.0),)))


def plain_genes() -> Trials:
    """Ordered, categorical and conditional genes without costs; one objective, and a limit on what is measured."""
    dropout = ("regularization", frozenset({"dropout", "both"}))
    genes = (
        Gene("layers", (1, 2, 3, 4), 2),
        Gene("units", (8, 16, 32, 64, 128), 32, positions=(0.0, 0.25, 0.5, 0.75, 1.0)),
        Gene("optimizer", ("adam", "rmsprop", "sgd"), "adam", ordered=False),
        Gene("momentum", (0.0, 0.5, 0.9), 0.9, conditions=(("optimizer", frozenset({"sgd"})),)),
        Gene("nesterov", (False, True), False, conditions=(("optimizer", frozenset({"sgd"})),), ordered=False),
        Gene("regularization", ("none", "dropout", "decay", "both"), "none", ordered=False),
        Gene("dropout", (0.1, 0.2, 0.3, 0.4, 0.5), 0.2, conditions=(dropout,)),
        Gene("learning_rate", tuple(float(f"1e-{power}") for power in (5, 4, 3, 2, 1)), 1e-3),
    )
    space = HyperSpace(name="plain_genes", genes=genes)
    return _trials(Problem(space, no_costs, (ACCURACY,), (Constraint("val_loss", 0.6),)))


def regression() -> Trials:
    """Plain genes with a minimized objective alone."""
    genes = tuple(Gene(f"x{number}", tuple(range(6)), 0) for number in range(6))
    return _trials(Problem(HyperSpace(name="regression", genes=genes), no_costs, (ERROR,)))


def twelve_networks() -> Trials:
    """Four kernels times three numbers of filters, nothing else."""
    space = _network_space(
        "twelve_networks", Choices((8,), 8), kernel=Choices((2, 3, 4, 5), 3), filters=Choices((8, 16, 32), 16)
    )
    return _trials(Problem(space, counts, (ACCURACY, SIZE)))


def twelve_policies() -> Trials:
    """Three numbers of filters with four policies each."""
    genes = (
        Gene("filters", (8, 16, 32), 16),
        Gene("first_bits", (4, 8), 8, BITS),
        Gene("last_bits", (4, 8), 8, BITS),
    )
    return _trials(Problem(HyperSpace(name="twelve_policies", genes=genes), no_costs, (ACCURACY,)))


def twelve_points() -> Trials:
    """Twelve points of twenty genotypes: a conditional gene that matters to two of four categories."""
    used = frozenset({"c", "d"})
    genes = (
        Gene("kind", ("a", "b", "c", "d"), "a", ordered=False),
        Gene("amount", (1, 2, 3, 4, 5), 3, conditions=(("kind", used),)),
    )
    return _trials(Problem(HyperSpace(name="twelve_points", genes=genes), no_costs, (ACCURACY,)))


def one_network() -> Trials:
    """A space that holds a single network and no gene."""
    return _trials(Problem(_network_space("one_network", Choices((8,), 8)), counts, (ACCURACY, SIZE)))


def no_network() -> Trials:
    """Twelve networks, all larger than what is allowed."""
    trials = twelve_networks()
    problem = dataclasses.replace(trials.problem, constraints=(Constraint("size_kb", 0.01),))
    return dataclasses.replace(trials, problem=problem)


def _network_space(name: str, bits: Choices, **choices: Choices) -> MobileNetV2Space:
    """Two bottlenecks; what is not among the choices is constant."""
    one, width = Choices((1,), 1), Choices((1.0,), 1.0)
    kernel = choices.get("kernel", Choices((3,), 3))
    expansion, repetitions = choices.get("expansion", one), choices.get("repetitions", one)
    return MobileNetV2Space(
        name=name,
        input_size=8,
        input_channels=1,
        head=DenseHead(10),
        stem=Stem(filters=4, kernel=3, stride=1),
        blocks=(
            Block(channels=8, stride=1, kernel=kernel, width=width, expansion=one, repetitions=one),
            Block(
                channels=12,
                stride=2,
                kernel=Choices((3,), 3),
                width=width,
                expansion=expansion,
                repetitions=repetitions,
            ),
        ),
        last_filters=choices.get("filters", Choices((16,), 16)),
        bits=bits,
    )


def _trials(problem: Problem) -> Trials:
    measured = [objective.key for objective in problem.objectives] + [limit.key for limit in problem.constraints]
    names = [name for name in dict.fromkeys(measured) if name not in problem.analytic]
    weights = np.random.default_rng(0).normal(size=(len(names), len(problem.space.genes)))

    def measure(genotype: Genotype) -> dict[str, float]:
        return {name: _value(problem.space, genotype, row) for name, row in zip(names, weights, strict=True)}

    return Trials(problem, measure)


def _value(space: SearchSpace, genotype: Genotype, weights: np.ndarray) -> float:
    """Between 0.1 and 0.9."""
    (places,) = space.canonical_codes(space.encode([genotype])) / (space.sizes - 1)
    bend = 1.0 - 6.0 * (places - 0.6) ** 2
    return 0.5 + 0.4 * float(np.tanh(weights @ bend / np.sqrt(max(1, len(weights)))))

"""The best true score of a synthetic instance, as far as a long search without noise finds it."""

import numpy as np

from quality.instances import Columns, Instance

POPULATION = 600
GENERATIONS = 250
RESTARTS = 3


def optimum(instance: Instance) -> float:
    """Best true score: genetic algorithms from several starts, each ended by one-exchange ascent."""
    return max(_search(instance, np.random.default_rng([instance.seed, start])) for start in range(RESTARTS))


def scores(instance: Instance, codes: np.ndarray) -> np.ndarray:
    """True scores of genotypes given as places of values, (n, G) -> (n,)."""
    space = instance.problem.space
    values = np.stack([np.array(gene.values)[codes[:, place]] for place, gene in enumerate(space.genes)], axis=1)
    accuracies = instance.accuracies(Columns.of_values(space, values))
    accuracy, size = instance.problem.objectives
    bits = instance.problem.costs(space.batch(codes))["size_bits"]
    return accuracies / accuracy.reference + size.reference / np.log10(bits)


def _search(instance: Instance, generator: np.random.Generator) -> float:
    counts = np.array([len(gene.values) for gene in instance.problem.space.genes])
    codes = _random(generator, counts, 2 * POPULATION)
    fitness = scores(instance, codes)
    for _ in range(GENERATIONS):
        best = np.argsort(-fitness)[:POPULATION]
        codes, fitness = codes[best], fitness[best]
        children = _children(generator, counts, codes)
        codes = np.concatenate([codes, children])
        fitness = np.concatenate([fitness, scores(instance, children)])
        _, kept = np.unique(codes, axis=0, return_index=True)
        codes, fitness = codes[kept], fitness[kept]
    return _ascend(instance, codes[np.argmax(fitness)], float(fitness.max()), counts)


def _random(generator: np.random.Generator, counts: np.ndarray, number: int) -> np.ndarray:
    """Half of it uniform, half of it favouring small networks."""
    draws = generator.random((number, len(counts)))
    draws[::2] **= 3
    return (draws * counts).astype(np.intp)


def _children(generator: np.random.Generator, counts: np.ndarray, codes: np.ndarray) -> np.ndarray:
    shape = codes.shape
    first, second = (codes[(generator.random(len(codes)) ** 2 * len(codes) / 2).astype(np.intp)] for _ in range(2))
    crossed = generator.random(len(codes)) < 0.5
    children = np.where((generator.random(shape) < 0.5) & crossed[:, None], second, first)
    stepped = np.clip(children + generator.choice([-1, 1], shape), 0, counts - 1)
    drawn = (generator.random(shape) * counts).astype(np.intp)
    moved = np.where(generator.random(shape) < 0.6, stepped, drawn)
    return np.where(generator.random(shape) < 2 / shape[1], moved, children)


def _ascend(instance: Instance, code: np.ndarray, score: float, counts: np.ndarray) -> float:
    """Moves to the best genotype that differs in one or two values until none is better."""
    exchanges = [(place, value) for place, count in enumerate(counts) for value in range(count)]
    while True:
        single = np.repeat(code[None], len(exchanges), axis=0)
        single[np.arange(len(exchanges)), [place for place, _ in exchanges]] = [value for _, value in exchanges]
        ranked = np.argsort(-scores(instance, single))[:40]
        double = np.concatenate([_exchanged(single[place], exchanges) for place in ranked])
        around = np.concatenate([single, double])
        found = scores(instance, around)
        if found.max() <= score + 1e-12:
            return score
        code, score = around[np.argmax(found)], float(found.max())


def _exchanged(code: np.ndarray, exchanges: list[tuple[int, int]]) -> np.ndarray:
    around = np.repeat(code[None], len(exchanges), axis=0)
    around[np.arange(len(exchanges)), [place for place, _ in exchanges]] = [value for _, value in exchanges]
    return around

"""A space of networks as KerasTuner's `HyperParameters`: one choice for each gene, in the scopes of its conditions."""

from collections.abc import Mapping

import keras_tuner
from keras_tuner.engine.hyperparameters import Choice
from keras_tuner.src.engine.conditions import Parent

from bompnas.integrations.keras_tuner_space import parents_first
from bompnas.space.space import Gene, SearchSpace, Value


class NetworkParameters:
    """A space with the names that its genes have among hyperparameters.

    Attributes:
        space: The space.

    Args:
        space: The space.
        scope: Begins every hyperparameter's name (`mobile_net_1/`).
    """

    def __init__(self, space: SearchSpace, scope: str = ""):
        self.space = space
        self._scope = scope
        self._values = {gene.name: _alike(gene) for gene in space.genes}

    def hyperparameters(self) -> keras_tuner.HyperParameters:
        """A choice for each gene."""
        found = keras_tuner.HyperParameters()
        found.merge(parents_first(map(self._choice, self.space.genes)))
        return found

    def values(self, genotype: Mapping[str, Value]) -> dict[str, Value]:
        """The values of the active genes, by the hyperparameters' names."""
        return {
            self._scope + gene.name: self._values[gene.name][gene.values.index(genotype[gene.name])]
            for gene in self.space.genes
            if gene.active(genotype)
        }

    def genotype(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The canonical genotype of hyperparameter values; other hyperparameters do not matter."""
        return self.space.canonical({gene.name: self._gene_value(gene, values) for gene in self.space.genes})

    def _gene_value(self, gene: Gene, values: Mapping[str, Value]) -> Value:
        value = values.get(self._scope + gene.name, gene.default)
        if value in gene.values or isinstance(value, str):
            return gene.values[gene.values.index(value)]
        return min(gene.values, key=lambda choice: abs(choice - value))  # sent as a float of 32 bits

    def _choice(self, gene: Gene) -> Choice:
        choices = self._values[gene.name]
        conditions = [
            Parent(self._scope + parent, [value for value in self._values[parent] if value in allowed])
            for parent, allowed in gene.conditions
        ]
        default = choices[gene.values.index(gene.default)]
        return Choice(self._scope + gene.name, list(choices), gene.ordered, default, conditions=conditions)


def _alike(gene: Gene) -> tuple[Value, ...]:
    """The choices of a gene in one type, as KerasTuner wants them."""
    return gene.values if len({type(value) for value in gene.values}) == 1 else tuple(map(float, gene.values))

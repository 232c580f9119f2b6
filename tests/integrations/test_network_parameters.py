import numpy as np
import pytest

from bompnas.integrations.network_parameters import NetworkParameters
from bompnas.space import sampling


@pytest.mark.parametrize("scope", ["", "block_1/"])
def test_values_and_genotypes_are_inverse_and_agree_with_keras_tuner_on_what_is_active(digits, scope):
    parameters = NetworkParameters(digits, scope)
    hp = parameters.hyperparameters()
    assert {entry.name for entry in hp.space} == {scope + gene.name for gene in digits.genes}
    assert hp.values == parameters.values(digits.seed)
    for genotype in digits.genotypes(sampling.uniform(digits, np.random.default_rng(0), 50)):
        values = parameters.values(genotype)
        assert parameters.genotype({**values, "other": 1}) == genotype
        trial = hp.copy()
        trial.values = values
        assert {entry.name for entry in trial.space if trial.is_active(entry)} == set(values)


def test_numbers_sent_as_floats_of_32_bits_come_back(digits):
    parameters = NetworkParameters(digits)
    values = {
        name: float(np.float32(value)) if isinstance(value, float) else value
        for name, value in parameters.values(digits.seed).items()
    }
    assert parameters.genotype(values) == digits.canonical(digits.seed)


def test_choices_of_one_gene_are_of_one_type(random_space):
    for seed in range(20):
        space = random_space(seed)
        for entry in NetworkParameters(space).hyperparameters().space:
            assert len({type(value) for value in entry.values}) == 1

import numpy as np
import pytest

from bompnas.errors import InputError
from bompnas.hardware.quantities import FACTS
from bompnas.integrations.keras_tuner_oracle import BompOracle
from bompnas.integrations.network_parameters import NetworkParameters
from bompnas.objectives import Objective
from bompnas.search import feasible
from bompnas.search.encoding import encoding
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


def test_further_counts_of_networks_are_known_when_they_are_named(digits):
    plain = BompOracle("val_accuracy", space=digits)
    assert plain.known_costs == set(FACTS)
    bitops = Objective("bitops", "bitops", 5.0, maximize=False, transform="log10")
    accuracy = Objective("accuracy", "val_accuracy", 0.8, maximize=True)
    named = BompOracle([accuracy, bitops], space=digits, constraints={"peak_memory_kb": 3.0})
    assert named.known_costs == {*FACTS, "bitops", "peak_memory_kb"}
    assert [limit.key for limit in named.problem.known_limits] == ["peak_memory_kb"]
    assert encoding(named.problem).group_names == encoding(plain.problem).group_names
    with pytest.raises(InputError, match=r"the nearest found has peak_memory_kb .* where 0.001 is allowed"):
        feasible.sample(
            BompOracle([accuracy, bitops], space=digits, constraints={"peak_memory_kb": 0.001}).problem,
            np.random.default_rng(0),
            1,
        )

import itertools

import numpy as np
import pytest

from bompnas.supernet.chains import Chain, Chains

CHAINS = Chains(
    (
        Chain("a.repetitions", (0, 1)),
        Chain("a.kernel", (3, 5, 7), needs="a.repetitions"),
        Chain("a.bits", (16, 8, 4), sign=-1, needs="a.repetitions"),
        Chain("b.expansion", (3, 6)),
    )
)


@pytest.fixture
def probabilities():
    return np.random.default_rng(0).uniform(0.1, 0.9, CHAINS.gates)


def all_gates():
    return np.array(list(itertools.product((0.0, 1.0), repeat=CHAINS.gates)), np.float32)


def test_gates_stand_one_after_the_other():
    assert CHAINS.gates == 6
    assert CHAINS.starts == {"a.repetitions": 0, "a.kernel": 1, "a.bits": 3, "b.expansion": 5}
    assert CHAINS.names == (
        "a.repetitions=1", "a.kernel=5", "a.kernel=7", "a.bits=8", "a.bits=4", "b.expansion=6",
    )  # fmt: skip
    assert CHAINS.signs.tolist() == [1, 1, 1, -1, -1, 1]


def test_a_chain_ends_at_its_first_closed_gate():
    gates = np.array([[1, 1, 0, 0, 1, 1], [0, 1, 1, 1, 1, 0], [1, 0, 1, 1, 1, 0]])
    assert CHAINS.genotypes(gates) == [
        {"a.repetitions": 1, "a.kernel": 5, "a.bits": 16, "b.expansion": 6},
        {"a.repetitions": 0, "a.kernel": 7, "a.bits": 4, "b.expansion": 3},
        {"a.repetitions": 1, "a.kernel": 3, "a.bits": 4, "b.expansion": 3},
    ]


def test_gates_of_is_the_inverse_of_genotypes():
    genotypes = CHAINS.genotypes(all_gates())
    again = CHAINS.genotypes(np.array([CHAINS.gates_of(genotype) for genotype in genotypes]))
    assert again == genotypes


def test_only_gates_that_decide_something_are_reached():
    gates = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 1, 1, 1, 1]])
    assert CHAINS.reached(gates).tolist() == [[1, 1, 0, 1, 1, 1], [1, 0, 0, 0, 0, 1]]


def test_what_gates_without_effect_are_changes_nothing(probabilities):
    """A network's probability is the sum over the gates that stand for it, and the sum over all networks is one."""
    gates = all_gates()
    reached = CHAINS.reached(gates)
    networks = {tuple(row) for row in np.where(reached, gates, -1).tolist()}
    by_gates = np.prod(np.where(gates > 0, probabilities, 1 - probabilities), axis=1)
    total = 0.0
    for network in networks:
        same = (np.where(reached, gates, -1) == network).all(axis=1)
        probability = np.exp(CHAINS.log_probability(probabilities, gates[same]))
        np.testing.assert_allclose(probability, by_gates[same].sum(), rtol=1e-12)
        total += probability[0]
    assert len(networks) == (1 + 3 * 3) * 2
    assert total == pytest.approx(1, abs=1e-12)


def test_gradient_of_the_log_probability_is_that_of_differences(probabilities):
    logits = np.log(probabilities / (1 - probabilities))
    gates = all_gates()
    gradient = CHAINS.log_probability_gradient(probabilities, gates)
    for gate in range(CHAINS.gates):
        shift = 1e-6 * (np.arange(CHAINS.gates) == gate)
        above, below = (
            CHAINS.log_probability(1 / (1 + np.exp(-each)), gates) for each in (logits + shift, logits - shift)
        )
        np.testing.assert_allclose(gradient[:, gate], (above - below) / 2e-6, atol=1e-8)


def test_shares_are_the_probabilities_of_values(probabilities):
    shares = CHAINS.shares(probabilities)
    p = probabilities
    assert shares["p(a.kernel=3)"] == pytest.approx(1 - p[1])
    assert shares["p(a.kernel=5)"] == pytest.approx(p[1] * (1 - p[2]))
    assert shares["p(a.kernel=7)"] == pytest.approx(p[1] * p[2])
    assert shares["p(a.repetitions=1)"] == pytest.approx(p[0])
    for chain in CHAINS.chains:
        assert sum(shares[f"p({chain.gene}={value})"] for value in chain.values) == pytest.approx(1)


def test_drawn_gates_follow_their_probabilities_and_the_seed(probabilities):
    drawn = CHAINS.draw(probabilities, 20_000, np.random.default_rng(1))
    assert drawn.shape == (20_000, 6)
    assert drawn.dtype == np.float32
    assert set(np.unique(drawn)) == {0, 1}
    error = np.sqrt(probabilities * (1 - probabilities) / len(drawn))
    assert (np.abs(drawn.mean(axis=0) - probabilities) < 4.5 * error).all()
    assert (drawn == CHAINS.draw(probabilities, 20_000, np.random.default_rng(1))).all()

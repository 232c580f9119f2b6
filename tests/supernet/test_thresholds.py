import itertools

import numpy as np
import pytest

from bompnas.supernet import thresholds
from bompnas.supernet.chains import Chain, Chains
from bompnas.supernet.thresholds import Thresholds


@pytest.fixture(scope="module")
def enumerated(small, make_supernet, images):
    """Every network of the small supernet with a real reward: how well it follows the full one, less what it costs."""
    supernet = make_supernet()
    chains = small.chains
    genes = [chain.values for chain in chains.chains]
    networks = np.array(
        [
            chains.gates_of(dict(zip((chain.gene for chain in chains.chains), values, strict=True)))
            for values in itertools.product(*genes)
        ]
    )
    reached = chains.reached(networks)
    _, first = np.unique(np.where(reached, networks, -1), axis=0, return_index=True)
    networks = networks[first]
    labels = np.argmax(supernet((images, np.ones(chains.gates, np.float32))), axis=1)
    shares = [np.mean(np.argmax(supernet((images, gates)), axis=1) == labels) for gates in networks]
    return networks, 100 * np.array(shares) - 10 * networks.sum(axis=1)


def exact_gradient(chains, probabilities, networks, rewards):
    weights = np.exp(chains.log_probability(probabilities, networks))
    assert weights.sum() == pytest.approx(1)
    return (weights * rewards) @ chains.log_probability_gradient(probabilities, networks)


@pytest.mark.parametrize("samples", [2, 8])
def test_the_gradient_is_unbiased(small, enumerated, samples):
    """Its mean over many estimates is the gradient summed over all networks, within 4.5 standard errors."""
    chains, (networks, rewards) = small.chains, enumerated
    generator = np.random.default_rng(samples)
    probabilities = generator.uniform(0.15, 0.85, chains.gates)
    by_network = dict(zip(map(tuple, np.where(chains.reached(networks), networks, -1)), rewards, strict=True))
    estimates = []
    for _ in range(12_000 // samples):
        gates = chains.draw(probabilities, samples, generator)
        found = np.array([by_network[tuple(row)] for row in np.where(chains.reached(gates), gates, -1)])
        estimates.append(thresholds.reward_gradient(chains, probabilities, gates, found))
    expected = exact_gradient(chains, probabilities, networks, rewards)
    error = np.std(estimates, axis=0, ddof=1) / np.sqrt(len(estimates))
    assert (np.abs(np.mean(estimates, axis=0) - expected) < 4.5 * error).all()
    assert (np.abs(expected) > 4.5 * error).sum() >= 3  # so that a gradient of nothing would be noticed


def test_the_exact_gradient_is_that_of_differences(small, enumerated):
    chains, (networks, rewards) = small.chains, enumerated
    logits = np.random.default_rng(0).normal(size=chains.gates)

    def expected(logits):
        return np.exp(chains.log_probability(1 / (1 + np.exp(-logits)), networks)) @ rewards

    gradient = exact_gradient(chains, 1 / (1 + np.exp(-logits)), networks, rewards)
    steps = 1e-5 * np.eye(chains.gates)
    np.testing.assert_allclose(
        gradient, [(expected(logits + step) - expected(logits - step)) / 2e-5 for step in steps], rtol=1e-5, atol=1e-6
    )


def test_a_reward_that_all_share_teaches_nothing(small):
    chains = small.chains
    gates = chains.draw(np.full(chains.gates, 0.5), 6, np.random.default_rng(0))
    assert not thresholds.reward_gradient(chains, np.full(chains.gates, 0.5), gates, np.full(6, 7.0)).any()


def test_ascending_makes_rewarded_gates_more_probable():
    """Whether a gate keeps weights or leaves them out, its threshold moves the right way; one of no account rests."""
    chains = Chains((Chain("a.kernel", (3, 5)), Chain("a.bits", (8, 4), sign=-1), Chain("b.kernel", (3, 5))))
    norms = np.ones(3)
    rule = Thresholds(norms, np.zeros(3), np.zeros(3))
    gradient = np.array([2.0, 0.5, 0.0])
    after = rule.ascend(gradient, 0.01, norms, chains)
    assert after.values == pytest.approx([0.99, 1.01, 1.0])  # Adam's first step has the length of its rate
    assert (after.probabilities(norms, chains) > 0.5).tolist() == [True, True, False]
    for _ in range(2000):
        after = after.ascend(gradient, 0.01, norms, chains)
    assert after.probabilities(norms, chains) == pytest.approx([0.98, 0.98, 0.5], abs=1e-9)


def test_larger_norms_keep_parts_and_bits(small):
    chains = small.chains
    rule = Thresholds(np.ones(chains.gates), np.zeros(chains.gates), np.zeros(chains.gates))
    before, after = (rule.probabilities(np.full(chains.gates, norm), chains) for norm in (1.0, 1.5))
    assert (before == 0.5).all()
    assert ((after > before) == (chains.signs > 0)).all()


def test_fresh_weights_have_norms_near_one(small, make_supernet):
    norms = thresholds.relative_norms(small, make_supernet().arrays)
    assert norms.shape == (small.chains.gates,)
    np.testing.assert_allclose(norms, 1, atol=0.35)


def test_norms_are_those_of_the_parts(small, make_supernet):
    arrays = make_supernet().arrays
    kernel = arrays["block1_1_depthwise/kernel"].copy()
    kernel[1:4, 1:4] = 1.0
    kernel[[0, 4]] = kernel[:, [0, 4]] = 2.0
    kernel[:, :, 12:] *= 3.0
    skip, ring, half, *_bits = thresholds.relative_norms(small, arrays | {"block1_1_depthwise/kernel": kernel})[:5]
    first = (9 + 16 * 4) * 12
    mean = (first + 9 * first) / 600
    assert skip == pytest.approx(first / 300 / mean)
    assert half == pytest.approx(9 * first / 300 / mean)
    assert ring == pytest.approx((16 * 4 * 12 * 10) / (16 * 24) / mean)


def test_norms_do_not_depend_on_the_scale_of_weights(small, make_supernet):
    arrays = make_supernet().arrays
    scaled = {name: array * np.float32(8) for name, array in arrays.items()}
    np.testing.assert_allclose(
        thresholds.relative_norms(small, scaled), thresholds.relative_norms(small, arrays), rtol=1e-5
    )


def test_relaxed_thresholds_are_half_way_back_to_chance(small):
    norms = np.full(small.chains.gates, 1.2)
    learned = norms + 0.4
    begun = Thresholds(learned, norms, norms, 5)
    relaxed = Thresholds.relaxed(learned, norms, 0.5)
    np.testing.assert_allclose(relaxed.logits(norms, small.chains), 0.5 * begun.logits(norms, small.chains))
    assert relaxed.steps == 0
    assert not relaxed.first.any()


@pytest.mark.parametrize("distance", [-50.0, 50.0])
def test_probabilities_stay_within_their_limits_wherever_norms_go(small, distance):
    chains = small.chains
    rule = Thresholds(np.ones(chains.gates), np.zeros(chains.gates), np.zeros(chains.gates))
    found = rule.probabilities(np.full(chains.gates, 1 + distance), chains)
    np.testing.assert_allclose(found, np.where(distance * chains.signs > 0, 0.98, 0.02))

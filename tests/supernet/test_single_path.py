import itertools

import numpy as np
import pytest

from bompnas.networks import fold, quantize
from bompnas.supernet import single_path

SKIP = [dict(zip(("repetitions", "kernel", "expansion", "bits"), (0, 3, 3, 16), strict=True))]
CHOICES = [
    dict(zip(("repetitions", "kernel", "expansion", "bits"), (1, *values), strict=True))
    for values in itertools.product((3, 5), (3, 6), (4, 8, 16))
]


def genotype(first, second):
    genes = {f"block1.{name}": value for name, value in first.items()}
    return genes | {f"block2.{name}": value for name, value in second.items() if name != "repetitions"}


PAIRS = [
    *((first, CHOICES[7]) for first in (*CHOICES, *SKIP)),
    *((CHOICES[4], second) for second in CHOICES),
    *((SKIP[0], second) for second in CHOICES[::5]),
]


@pytest.mark.parametrize("choices", PAIRS, ids=lambda pair: "-".join("".join(map(str, each.values())) for each in pair))
def test_one_decision_vector_is_the_derived_network(make_supernet, derive, small, images, choices):
    """All 12 choices of a group, with and without stride and residual, and the skip."""
    supernet = make_supernet()
    genes = genotype(*choices)
    _, derived = derive(supernet, genes, quantized=True)
    found = supernet((images, small.chains.gates_of(genes)), training=True)
    np.testing.assert_allclose(found, derived(images, training=True), rtol=1e-5, atol=1e-5)


def test_different_decisions_are_different_networks(make_supernet, small, images):
    supernet = make_supernet()
    outputs = [
        np.asarray(supernet((images, small.chains.gates_of(genotype(first, CHOICES[0])))))
        for first in (*CHOICES, *SKIP)
    ]
    for one, other in itertools.combinations(outputs, 2):
        assert np.abs(one - other).max() > 1e-7


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize(("kernel", "expansion"), [(3, 3), (5, 6)])
def test_supernet_and_quantized_network_hold_the_same_integers(
    make_supernet, derive, small, small_space, images, bits, kernel, expansion
):
    """Folding normalizations scales whole channels, and so leaves the integers but for the sign of the scale."""
    supernet = make_supernet()
    choice = {"repetitions": 1, "kernel": kernel, "expansion": expansion, "bits": bits}
    genes = genotype(choice, choice)
    network, model = derive(supernet, genes, quantized=False)
    folded = fold.fold(model)
    quantized = quantize.quantize(folded, quantize.Policy.of(network), quantize.Calibration.of(folded, images))
    gates = small.chains.gates_of(genes)
    for bottleneck, group in zip(supernet._bottlenecks, small.groups, strict=True):
        layers = (group.expand, group.depthwise, group.project)
        for kernels, layer in zip(bottleneck.kernels(gates), layers, strict=True):
            derived = next(each for each in network.layers if each.name == layer.name)
            part = single_path._sliced(np.asarray(kernels), derived)
            axis = 2 if layer.kind == "depthwise" else 3
            axes = tuple(place for place in range(4) if place != axis)
            steps = np.abs(part).max(axis=axes, keepdims=True) / derived.levels
            integers = np.rint(part / steps).astype(int)
            signs = np.sign(supernet.arrays[f"{layer.name}_normalization/gamma"][: derived.out_channels])
            shape = [1, 1, 1, 1]
            shape[axis] = -1
            assert np.abs(integers).max() == derived.levels == {4: 7, 8: 119, 16: 30583}[bits]
            found = quantized.get_layer(layer.name).integer_weights()
            np.testing.assert_array_equal(found, integers * signs.astype(int).reshape(shape))


def test_one_quantization_is_what_is_left_of_the_residuals(make_supernet, small):
    """Eq. (6): w16 - g1 * ((w16 - w8) + g2 * (w8 - w4)), for all gates."""
    group = small.groups[0]
    kernel = np.random.default_rng(2).standard_normal((5, 5, 24, 1)).astype(np.float32)

    def quantized(*removed):
        opened = [np.float32(removed[0]), np.float32(removed[0] * removed[1])]
        return np.asarray(single_path.nested_grid(kernel, None, group, opened, axis=2), np.float64)

    w16, w8, w4 = quantized(0, 0), quantized(1, 0), quantized(1, 1)
    assert len(np.unique(w4[:, :, 0])) <= 15 < len(np.unique(w8[:, :, 0]))
    for g1, g2 in itertools.product((0, 1), repeat=2):
        expected = w16 - g1 * ((w16 - w8) + g2 * (w8 - w4))
        np.testing.assert_allclose(quantized(g1, g2), expected, atol=1e-7)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_the_literal_grid_is_that_of_the_printed_equations(small, bits):
    group = small.groups[0]
    kernel = np.random.default_rng(3).standard_normal((1, 1, 4, 24)).astype(np.float32)
    opened = [np.float32(bits <= 8), np.float32(bits <= 4)]
    found = np.asarray(single_path.literal_grid(kernel, None, group, opened, axis=-1))
    low, high = kernel.min(), kernel.max()
    scaled = (kernel - low) / (high - low) * np.float32(2**bits)  # Norm(w) 2^b
    below = np.floor(scaled)
    index = below + (scaled - below > 0.5)  # zeta_i of eq. (8)
    assert index.max() == 2**bits  # one index more than the bits hold
    np.testing.assert_allclose(found, index / 2**bits * (high - low) + low, atol=1e-6)
    mask = (np.arange(24) < 12).astype(np.float32)
    masked = np.asarray(single_path.literal_grid(kernel, mask, group, opened, axis=-1))
    np.testing.assert_allclose(masked, found * mask, atol=1e-6)


def test_a_literal_supernet_differs_only_by_its_grid(make_supernet, small, images):
    supernets = make_supernet(), make_supernet(literal=True)
    fine = small.chains.gates_of(genotype(CHOICES[2], CHOICES[2]))  # 16 bits
    coarse = small.chains.gates_of(genotype(CHOICES[0], CHOICES[0]))  # 4 bits
    at_16, at_4 = (
        np.abs(np.subtract(*(np.asarray(each((images, gates))) for each in supernets))).max()
        for gates in (fine, coarse)
    )
    assert 0 < at_16 < 0.02 < at_4


@pytest.mark.parametrize("literal", [False, True])
def test_rounding_is_straight_through_and_masked_parts_get_no_gradient(small, literal):
    tf = pytest.importorskip("tensorflow")
    group = small.groups[1]
    generator = np.random.default_rng(4)
    kernel = tf.constant(generator.standard_normal((5, 5, 36, 1)).astype(np.float32))
    weights = generator.standard_normal((5, 5, 36, 1)).astype(np.float32)
    mask = single_path.ring_masks((3, 5))[0][:, :, None, None]
    grid = single_path.literal_grid if literal else single_path.nested_grid
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        total = tf.reduce_sum(grid(kernel, mask, group, [1.0, 1.0], axis=2) * weights)
    np.testing.assert_allclose(tape.gradient(total, kernel), weights * mask, atol=1e-6)


def test_masks_are_centred_and_nested():
    small, large = single_path.ring_masks((3, 5))
    assert large.sum() == 25
    assert small.sum() == 9
    assert small[1:4, 1:4].all()
    third, half, whole = single_path.channel_masks((2, 3, 6), 4)
    assert third.tolist() == [1] * 8 + [0] * 16
    assert half.sum() == 12
    assert whole.sum() == 24


def test_weights_can_be_taken_and_given(make_supernet, small, images):
    first, second = make_supernet(0), make_supernet(1)
    gates = small.chains.gates_of(genotype(CHOICES[5], CHOICES[1]))
    expected = np.asarray(first((images, gates)))
    assert np.abs(expected - np.asarray(second((images, gates)))).max() > 1e-3
    second.restore(first.arrays)
    np.testing.assert_array_equal(np.asarray(second((images, gates))), expected)

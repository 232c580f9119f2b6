import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bompnas.errors import InputError
from bompnas.hardware.memory import Tensor, minimum_peak, peak_memory_b, tensors
from bompnas.space.batch import NetworkBatch
from bompnas.space.network import Layer, Network
from bompnas.space.sampling import uniform

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def graphs(draw):
    """Up to eight tensors, each read from any of those before it, and some of them as outputs."""
    count = draw(st.integers(1, 8))
    tensors = {}
    for place in range(count):
        inputs = draw(st.lists(st.sampled_from(sorted(tensors)), unique=True, max_size=3)) if tensors else []
        tensors[f"t{place}"] = Tensor(draw(st.integers(0, 4)), tuple(inputs), draw(st.booleans()))
    outputs = draw(st.lists(st.sampled_from(sorted(tensors)), unique=True, min_size=1, max_size=2))
    return tensors, outputs


def needed_for(tensors, outputs):
    needed = set(outputs)
    for name in reversed(tensors):
        needed |= set(tensors[name].inputs) if name in needed else set()
    return needed


def peak_of_order(tensors, outputs, inputs, order):
    """Memory at the worst moment of one order: of all that is there and will be read, with what is being made."""
    made, peak = set(inputs), 0
    for place, name in enumerate(order):
        later = set(outputs).union(*(tensors[other].inputs for other in order[place + 1 :]))
        during = made & (later | set(tensors[name].inputs))
        size = tensors[name].size
        free = [other for other in tensors[name].inputs if other not in later]
        overwritten = tensors[name].in_place and any(tensors[other].size == size for other in free)
        peak = max(peak, sum(tensors[other].size for other in during) + (0 if overwritten else size))
        made = (made & later) | {name}
    return max(peak, sum(tensors[name].size for name in set(outputs)))


def peak_by_brute_force(tensors, outputs):
    needed = needed_for(tensors, outputs)
    inputs = {name for name in needed if not tensors[name].inputs}
    operators = sorted(needed - inputs)
    orders = (
        order
        for order in itertools.permutations(operators)
        if all(set(tensors[name].inputs) <= inputs | set(order[:place]) for place, name in enumerate(order))
    )
    return min(peak_of_order(tensors, outputs, inputs, order) for order in orders)


@given(graphs())
@settings(max_examples=300, deadline=None)
def test_the_best_of_all_orders_is_found(graph):
    assert minimum_peak(*graph) == peak_by_brute_force(*graph)


def test_the_order_of_branches_matters():
    # The long branch first leaves 1, then the short one needs 8 + 1; the other way round 8 are held beside 9 + 1.
    graph = {
        "image": Tensor(0),
        "wide": Tensor(8, ("image",)),
        "large": Tensor(9, ("image",)),
        "small": Tensor(1, ("large",)),
        "sum": Tensor(1, ("wide", "small")),
    }
    assert minimum_peak(graph, ["sum"]) == 10
    first = ("wide", "large", "small", "sum")
    assert peak_of_order(graph, ["sum"], {"image"}, first) == 18


def test_a_chain_needs_its_largest_pair():
    graph = {"a": Tensor(3), "b": Tensor(5, ("a",)), "c": Tensor(4, ("b",)), "d": Tensor(1, ("c",))}
    assert minimum_peak(graph, ["d"]) == 9
    assert minimum_peak(graph, ["d", "a"]) == 3 + 9


@pytest.mark.parametrize(("in_place", "peak"), [(False, 12), (True, 8)])
def test_a_sum_is_accumulated_in_an_addend(in_place, peak):
    graph = {
        "image": Tensor(0),
        "a": Tensor(4, ("image",)),
        "b": Tensor(4, ("a",)),
        "sum": Tensor(4, ("a", "b"), in_place),
    }
    assert minimum_peak(graph, ["sum"]) == peak
    assert minimum_peak(graph, ["sum", "a"]) == peak
    assert minimum_peak(graph, ["sum", "a", "b"]) == 12


def test_nothing_is_computed_that_nobody_needs():
    graph = {"a": Tensor(1), "b": Tensor(100, ("a",)), "c": Tensor(2, ("a",))}
    assert minimum_peak(graph, ["c"]) == 3
    assert minimum_peak(graph, ["a"]) == 1
    assert minimum_peak(graph, []) == 0


def test_long_graphs_are_no_obstacle():
    graph = {"t0": Tensor(0)}
    for place in range(1, 2000):
        graph[f"t{place}"] = Tensor(1, (f"t{place - 1}",))
    assert minimum_peak(graph, ["t1999"]) == 2


@pytest.mark.parametrize(
    ("graph", "outputs", "message"),
    [
        ({"a": Tensor(1), "b": Tensor(1, ("c",)), "c": Tensor(1)}, ["b"], "tensor 'b': found 'c'.*before: a"),
        ({"a": Tensor(1)}, ["b"], "the outputs: found 'b'.*before: a"),
        ({"a": Tensor(1, ("a",))}, ["a"], "tensor 'a': found 'a'.*before: none"),
    ],
)
def test_names_must_be_known(graph, outputs, message):
    with pytest.raises(InputError, match=message):
        minimum_peak(graph, outputs)


def layer(name, kind, channels, sizes, residual=None):
    group = "head" if kind in ("dense", "float") else "block1"
    return Layer(name, kind, 1, 1, *channels, *sizes, 4, 4, "linear", group, residual=residual)


def network_of(*layers):
    return Network(4, 3, layers)


def general_peak(network):
    graph = tensors(network)
    return minimum_peak(graph, list(graph)[-1:])


def assert_peak(network, expected):
    assert general_peak(network) == expected
    assert peak_memory_b(NetworkBatch.of([network])).tolist() == [expected]


STEM = layer("stem", "conv", (3, 2), (4, 4))


def test_the_image_and_the_weights_do_not_count():
    assert_peak(network_of(STEM), 32)
    assert_peak(network_of(STEM, layer("next", "conv", (2, 5), (4, 2))), 32 + 20)


def test_bits_do_not_matter():
    network = network_of(STEM, layer("next", "conv", (2, 5), (4, 2)))
    assert_peak(network.with_bits(8), 52)


def test_a_residual_is_held_until_it_is_added():
    block = (
        layer("expand", "conv", (2, 6), (4, 4)),
        layer("depthwise", "depthwise", (6, 6), (4, 4)),
        layer("project", "conv", (6, 2), (4, 4), residual="stem"),
    )
    assert_peak(network_of(STEM, *block), 32 + 96 + 96)
    without = (*block[:2], dataclasses.replace(block[2], residual=None))
    assert_peak(network_of(STEM, *without), 96 + 96)


def test_the_sum_itself_can_be_what_is_added_next():
    blocks = [
        layer("one", "conv", (2, 2), (4, 4), residual="stem"),
        layer("wide", "conv", (2, 3), (4, 4)),
        layer("two", "conv", (3, 2), (4, 4), residual="one"),
    ]
    graph = tensors(network_of(STEM, *blocks))
    assert graph["sum of two"].inputs == ("sum of one", "two")
    assert_peak(network_of(STEM, *blocks), 32 + 48 + 32)


def test_pooled_features_stand_between():
    head = layer("out", "dense", (40, 2), (1, 1))
    assert_peak(network_of(layer("last", "conv", (3, 40), (1, 1)), head), 40 + 40)
    assert_peak(network_of(STEM, layer("last", "conv", (2, 40), (4, 4)), head), 640 + 40)
    flattened = layer("out", "dense", (32, 200), (1, 1))
    assert_peak(network_of(STEM, flattened), 32 + 200)


def test_float_layers_are_passed_over():
    norm = layer("norm", "float", (1000, 1), (1, 1))
    out = layer("out", "dense", (2, 50), (1, 1))
    assert_peak(network_of(STEM, norm, out), 2 + 50)
    assert_peak(network_of(STEM, out, norm), 2 + 50)
    assert_peak(network_of(norm), 0)


def test_networks_of_nothing():
    assert_peak(network_of(), 0)
    assert peak_memory_b(NetworkBatch.of([])).shape == (0,)


@st.composite
def chains(draw):
    """Layers of any sizes with any residuals between outputs of one shape, overlapping and shared ones too."""
    layers, shapes = [], [(3, 4)]
    for place in range(draw(st.integers(1, 9))):
        channels, size = draw(st.sampled_from(shapes)) if draw(st.booleans()) else (draw(st.integers(1, 4)), 2)
        same = [number for number, shape in enumerate(shapes[1:]) if shape == (channels, size)]
        residual = f"l{draw(st.sampled_from(same))}" if same and draw(st.booleans()) else None
        read = shapes[-1] if place == 0 or draw(st.integers(0, 5)) else (draw(st.integers(1, 4)), 3)
        layers.append(layer(f"l{place}", "conv", (read[0], channels), (read[1], size), residual))
        shapes.append((channels, size))
    if draw(st.booleans()):
        layers.append(layer("out", "dense", (shapes[-1][0], draw(st.integers(1, 60))), (1, 1)))
    return network_of(*layers)


@given(st.lists(chains(), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_many_networks_at_once_are_each_by_itself(networks):
    found = peak_memory_b(NetworkBatch.of(networks))
    assert found.dtype == np.int64
    assert found.tolist() == [general_peak(network) for network in networks]


@given(SEEDS, SEEDS)
@settings(max_examples=30, deadline=None)
def test_a_batch_of_a_space_is_its_networks(random_space, space_seed, seed):
    space = random_space(space_seed)
    codes = uniform(space, np.random.default_rng(seed), 5)
    expected = [general_peak(space.decode(genotype)) for genotype in space.genotypes(codes)]
    assert peak_memory_b(space.batch(codes)).tolist() == expected


@pytest.mark.parametrize(("name", "peak"), [("cifar10", 83_968), ("digits", 4_608)])
def test_seed_networks(name, peak, request):
    space = request.getfixturevalue(name)
    assert_peak(space.decode(space.seed), peak)

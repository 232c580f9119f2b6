import dataclasses
import math

import numpy as np
import pytest

from bompnas.report.decisions import choices, decisions, part_label, parts


def curves(*names, epochs=3):
    return {name: [0.25 * (number + 1)] * epochs for number, name in enumerate(names)}


def test_decisions_stand_in_the_order_of_the_network_with_values_ascending(view):
    shuffled = curves(
        "p(block10.bits=4)", "p(block2.bits=16)", "p(block2.bits=4)", "p(block2.bits=8)", "p(block2.kernel=5)",
        "p(block2.kernel=3)", "p(head.bits=8)", "p(last_conv.bits=8)", "p(stem.bits=8)", "loss", "latency_ms",
    )  # fmt: skip
    found = decisions(dataclasses.replace(view, curves=shuffled))
    assert [(decision.gene, decision.values) for decision in found] == [
        ("stem.bits", ("8",)),
        ("block2.kernel", ("3", "5")),
        ("block2.bits", ("4", "8", "16")),
        ("block10.bits", ("4",)),
        ("last_conv.bits", ("8",)),
        ("head.bits", ("8",)),
    ]
    assert found[2].probabilities[:, 0].tolist() == [0.75, 1.0, 0.5]
    assert parts(found) == ["stem", "block2", "block10", "last_conv", "head"]
    assert choices(found) == ["kernel", "bits"]


def test_parts_that_may_be_left_out_are_kept_or_skipped(supernet_view):
    found = {decision.gene: decision for decision in decisions(supernet_view)}
    assert found["block3.repetitions"].optional
    assert found["block3.repetitions"].labels == ("skip", "keep")
    assert not found["block3.kernel"].optional
    assert found["block3.kernel"].labels == ("3", "5")
    assert [decision.gene for decision in found.values()][-4:] == [
        "block5.kernel", "block5.expansion", "block5.repetitions", "block5.bits",
    ]  # fmt: skip
    for decision in found.values():
        assert decision.probabilities.shape == (len(decision.values), 12)
        np.testing.assert_allclose(decision.probabilities.sum(axis=0), 1)


def test_the_last_probability_is_the_last_known_one(view):
    (decision,) = decisions(dataclasses.replace(view, curves={"p(bits=4)": [0.5, 0.75, math.nan]}))
    assert decision.part == ""
    assert decision.last(4) == 0.75
    assert math.isnan(decision.last(8))


@pytest.mark.parametrize(
    ("part", "label"), [("block12", "block 12"), ("last_conv", "last conv"), ("stem", "stem"), ("", "network")]
)
def test_parts_in_words(part, label):
    assert part_label(part) == label


def test_other_methods_decide_nothing(view):
    assert decisions(view) == ()

import dataclasses

import numpy as np
import pytest

from bompnas.report.decisions import decisions
from bompnas.report.supernet_plot import course_figure, decided_value, decisions_figure


def with_method(view, **changes):
    method = {**view.experiment["method"], **changes}
    return dataclasses.replace(view, experiment={**view.experiment, "method": method})


def texts(panel):
    return [text.get_text() for text in panel.texts]


def test_the_course_shows_accuracy_cost_reward_and_loss_in_their_units(supernet_view):
    panels = course_figure(supernet_view).axes
    assert [panel.get_ylabel() for panel in panels] == ["Validation accuracy\n[%]", "Latency\n[ms]", "Reward", "Loss"]
    for panel, name, scale in zip(
        panels, ("val_accuracy", "latency_ms", "reward", "loss"), (100, 1, 1, 1), strict=True
    ):
        line = panel.lines[0]
        np.testing.assert_allclose(line.get_ydata(), scale * np.array(supernet_view.curves[name]))
        assert line.get_xdata().tolist() == list(range(1, 13))
    assert panels[-1].get_xlabel() == "Epoch of the search"


def test_epochs_without_a_reward_are_shaded(supernet_view, begun_supernet):
    for view, last in ((supernet_view, 4), (begun_supernet, 3)):
        panels = course_figure(view).axes
        assert texts(panels[0])[-1] == "warm-up"
        for panel in panels:
            (shade,) = panel.patches
            assert (shade.get_x(), shade.get_x() + shade.get_width()) == (0.5, last + 0.5)
    rewarded = dataclasses.replace(supernet_view, curves={**supernet_view.curves, "reward": [-1.0] * 12})
    assert not any(panel.patches for panel in course_figure(rewarded).axes)


def test_there_is_no_panel_for_what_nothing_is_known_of(begun_supernet):
    assert [panel.get_ylabel() for panel in course_figure(begun_supernet).axes] == [
        "Validation accuracy\n[%]", "Latency\n[ms]", "Loss",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("threshold", "line", "text"),
    [
        (5.5, [5.5, 5.5], "threshold 5.5 ms"),
        (20, None, "threshold 20 ms ↑"),
        (0.5, None, "threshold 0.5 ms ↓"),
    ],
)
def test_thresholds_are_lines_where_they_are_near(supernet_view, threshold, line, text):
    latency = [value + 5 for value in supernet_view.curves["latency_ms"]]
    view = dataclasses.replace(supernet_view, curves={**supernet_view.curves, "latency_ms": latency})
    panel = course_figure(with_method(view, cost_threshold=threshold)).axes[1]
    assert [item.get_ydata() for item in panel.lines[1:]] == ([line] if line else [])
    assert texts(panel) == [text]
    low, high = panel.get_ylim()
    assert low < min(latency)
    assert max(latency) < high
    assert line is None or low < threshold < high


def test_an_accuracy_threshold_is_shown_in_percent(supernet_view):
    assert "threshold 90 %" in texts(course_figure(with_method(supernet_view, accuracy_threshold=0.9)).axes[0])


def test_every_decision_has_its_rows_in_the_panel_of_its_kind(supernet_view):
    figure = decisions_figure(supernet_view)
    panels = figure.axes[:4]
    assert [panel.get_title() for panel in panels] == ["kernel", "expansion", "kept or skipped", "bits"]
    assert [len(panel.images) for panel in panels] == [5, 5, 2, 5]
    found = {decision.gene: decision for decision in decisions(supernet_view)}
    for block, image in enumerate(panels[3].images, start=1):
        np.testing.assert_array_equal(image.get_array(), found[f"block{block}.bits"].probabilities)
        left, right, bottom, top = image.get_extent()
        assert (left, right) == (0.5, 12.5)
        assert block - 1 < top < bottom < block
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [f"block {number}" for number in range(1, 6)]
    shown = [text for text in texts(panels[2]) if text != "◂"]
    assert shown == ["skip", "keep"] * 2


def test_what_the_decided_network_has_is_marked(supernet_view, begun_supernet):
    genotype = supernet_view.decided.genotype
    bits = [decision for decision in decisions(supernet_view) if decision.choice == "bits"]
    kept = [decision for decision in bits if genotype.get(f"{decision.part}.repetitions", 1)]
    assert [decided_value(supernet_view, decision) for decision in kept] == [
        str(genotype[decision.gene]) for decision in kept
    ]
    assert texts(decisions_figure(supernet_view).axes[3]).count("◂") == len(kept)
    assert not any("◂" in texts(panel) for panel in decisions_figure(begun_supernet).axes)


def test_of_a_part_that_is_skipped_only_that_is_marked(supernet_view):
    skipped = dataclasses.replace(
        supernet_view.decided, genotype={**supernet_view.decided.genotype, "block3.repetitions": 0}
    )
    view = dataclasses.replace(supernet_view, candidates=(skipped, *supernet_view.candidates[1:]))
    found = {decision.gene: decided_value(view, decision) for decision in decisions(view) if decision.part == "block3"}
    assert found == {
        "block3.kernel": None, "block3.expansion": None, "block3.repetitions": "0", "block3.bits": None,
    }  # fmt: skip


def test_runs_of_other_methods_have_neither(view):
    assert course_figure(view) is None
    assert decisions_figure(view) is None


def test_decisions_of_many_parts_stay_as_high_as_those_of_few(supernet_view):
    def height(parts):
        curves = {f"p(block{number}.bits={bits})": [0.5] * 4 for number in range(1, parts + 1) for bits in (4, 8)}
        return decisions_figure(dataclasses.replace(supernet_view, curves=curves)).get_figheight()

    assert height(22) - height(5) == pytest.approx(17 * (height(2) - height(1)))

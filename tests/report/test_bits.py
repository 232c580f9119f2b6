import dataclasses

from bompnas.report.bits import bits_figure, policies_figure


def test_bits_shares_add_up_to_all_weights_of_a_kind(view, make_network):
    mixed = make_network(bits=4, repetitions=4, project_bits=[4, 4, 4, 8])
    view = dataclasses.replace(
        view,
        finals=(),
        candidates=tuple(
            dataclasses.replace(candidate, network=mixed) if candidate.id == 5 else candidate
            for candidate in view.candidates
        ),
    )
    panels = bits_figure(view).axes
    assert [panel.get_title() for panel in panels] == ["stem", "expand", "depthwise", "project", "last conv", "head"]
    widths = [bar.get_width() for bar in panels[3].patches if round(bar.get_y() + bar.get_height() / 2) == 2]
    assert widths == [75, 25]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [
        "№ 2\u20022.00 kB",
        "№ 4\u20024.00 kB",
        "№ 5\u20028.00 kB",
    ]


def test_policies_name_every_layer_and_the_bits_it_has(make_view, make_network):
    view = make_view([(0.5, 4), (0.9, 8)])
    plain, mixed = make_network(5, expand=False), make_network(4, 2, project_bits=[7, 8])
    first, second = (
        dataclasses.replace(candidate, network=network)
        for candidate, network in zip(view.candidates, (plain, mixed), strict=True)
    )
    axes = policies_figure(dataclasses.replace(view, candidates=(first, second))).axes[0]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert columns == ["conv", "expand", "depthwise", "project", "conv", "dense"]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert [cells[x, 0] for x in range(6)] == ["5", "·", "5", "5", "5", "5"]
    assert [cells[x, 1] for x in range(6)] == ["4", "4", "4", "7.5", "4", "4"]


def test_the_legend_names_the_bits_that_there_are(make_view, make_network):
    view = make_view([(0.5, 4), (0.9, 8)])
    few, many = (
        dataclasses.replace(candidate, network=make_network(bits))
        for candidate, bits in zip(view.candidates, (4, 16), strict=True)
    )
    figure = bits_figure(dataclasses.replace(view, candidates=(few, many)))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["4", "16"]

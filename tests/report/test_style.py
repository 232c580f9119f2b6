import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest
from matplotlib.colors import to_rgb

from bompnas.report import figures, style
from bompnas.report.stylesheet import STYLESHEET


@pytest.fixture(scope="module")
def drawn(view):
    with style.context():
        return figures.draw(view)


def svg(drawn, name, titles=None):
    with style.context():
        return style.to_svg(drawn[name], name, f"the {name} & more", titles or {})


def test_svg_is_well_formed_and_says_what_it_shows(drawn):
    root = ElementTree.fromstring(svg(drawn, "search"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("aria-label") == "the search & more"
    assert re.fullmatch(r"0 0 [\d.]+ [\d.]+", root.get("viewBox"))


def test_svg_is_the_same_every_time(view):
    with style.context():
        first, second = ({"search": figures.search_figure(view)} for _ in range(2))
    assert svg(first, "search") == svg(second, "search")


def test_equal_pictures_within_a_figure_share_no_id(begun_supernet):
    with style.context():
        text = svg({"decisions": figures.decisions_figure(begun_supernet)}, "decisions")
    assert text.count("<image") == 18  # 17 genes and the scale
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_ids_of_two_figures_do_not_meet_and_every_reference_has_a_target(drawn):
    texts = [svg(drawn, name) for name in ("search", "score")]
    first, second = (set(re.findall(r'\bid="([^"]+)"', text)) for text in texts)
    assert not first & second
    clips = set(re.findall(r"url\(#([^)]+)\)", texts[0]))
    marks = set(re.findall(r'xlink:href="#([^"]+)"', texts[0]))
    assert clips
    assert marks
    assert clips | marks <= first


def test_neutral_colours_become_variables(drawn):
    text = svg(drawn, "search")
    assert "var(--ink)" in text
    assert not any(colour in text for colour in style.CSS_VARIABLES)


def test_points_link_to_their_rows_and_have_tooltips(drawn):
    text = svg(drawn, "search", {"#candidate-2": "number <2>"})
    assert '<a href="#candidate-2"><title>number &lt;2&gt;</title>' in text
    assert '<a href="#network-5">' in text
    assert "_blank" not in text


def test_png_has_two_hundred_dots_an_inch(drawn, tmp_path):
    with style.context():
        style.save_png(drawn["search"], tmp_path / "search.png")
    header = (tmp_path / "search.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(header[16:20]) == 1520


def test_the_style_leaves_no_trace():
    before = dict(matplotlib.rcParams)
    with style.context():
        assert matplotlib.rcParams["axes.grid"]
    assert dict(matplotlib.rcParams) == before


def test_series_differ_in_more_than_colour():
    looks = [style.series(number) for number in range(64)]
    assert len({(look.colour, look.marker) for look in looks}) == 64
    assert len({look.colour for look in looks[:8]}) == len({look.marker for look in looks[:8]}) == 8


def test_series_are_seen_on_light_and_on_dark_paper():
    light, dark = (
        dict(re.findall(r"(--[\w-]+): (#\w{6})", part)) for part in STYLESHEET.split("prefers-color-scheme: dark")
    )
    assert {light[variable] for variable in style.CSS_VARIABLES.values() if "series" in variable} == set(style.SERIES)
    for colours in (light, dark):
        for place in range(1, 9):
            assert contrast(colours[f"--series-{place}"], colours["--paper"]) >= 3.5


def contrast(one, two):
    """Of two colours (WCAG)."""
    luminances = []
    for colour in (one, two):
        channels = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(colour)]
        luminances.append(0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2])
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


def test_a_colour_for_every_width_and_readable_digits_on_it():
    assert list(style.bit_colours(2, 16)) == list(range(2, 17))
    assert len(set(style.bit_colours(2, 16).values())) == 15
    assert list(style.bit_colours(8, 8)) == [8]
    assert style.text_colour("#ffffd9") == "#000000"
    assert style.text_colour("#081d58") != "#000000"

import math

import pytest

from bompnas.report.quantities import DASH, duration, plain, quantity, time_unit


def test_sizes_are_shown_in_thousands_of_bytes():
    assert quantity("size_bits").text(80_000) == "10.0 kB"
    assert quantity("size_bits").axis_label == "Packed size [kB]"


def test_macs_are_shown_in_millions():
    assert quantity("macs").text(1_057_000) == "1.06 M"


@pytest.mark.parametrize(
    ("longest", "unit"), [(0, ("s", 1)), (119, ("s", 1)), (120, ("min", 60)), (7199, ("min", 60)), (7200, ("h", 3600))]
)
def test_time_axes_have_a_unit_that_is_reached_twice(longest, unit):
    assert time_unit(longest) == unit


def test_accuracies_are_shown_in_percent():
    assert quantity("val_accuracy").text(0.87654) == "87.65 %"
    assert quantity("float_test_accuracy").label == "float test accuracy"


@pytest.mark.parametrize(
    ("key", "value", "text", "label"),
    [
        ("size_without_scales_bits", 8000, "1.00 kB", "Packed size without scales [kB]"),
        ("float_size_bits", 8000, "1.00 kB", "Float size [kB]"),
        ("bitops", 2.5e6, "2.50 M", "BitOps [M]"),
        ("params", 1500, "1.50 k", "Parameters [k]"),
        ("peak_memory_b", 4000, "4.00 kB", "Peak activation memory [kB]"),
        ("latency_ms", 0.0271, "0.0271 ms", "Latency [ms]"),
        ("energy_mj", 12.46, "12.5 mJ", "Energy [mJ]"),
        ("startup_ms", 2, "2.00 ms", "Startup [ms]"),
    ],
)
def test_costs_are_called_as_the_table_of_quantities_says(key, value, text, label):
    assert (quantity(key).text(value), quantity(key).axis_label) == (text, label)


def test_unknown_keys_are_read_from_their_words():
    assert quantity("val_mae").axis_label == "Validation mean absolute error"
    assert quantity("train_speed").text(12.3456) == "12.3"


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_missing_numbers_are_a_dash_without_unit(value):
    assert quantity("size_bits").text(value) == DASH


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1.00"),
        (9.999, "10.00"),
        (12.34, "12.3"),
        (123.4, "123"),
        (12345.6, "12,346"),
        (0.01234, "0.0123"),
        (1.5e8, "1.5e+08"),
        (-0.5, "-0.500"),
        (2e-6, "2e-06"),
    ],
)
def test_plain_numbers(value, text):
    assert plain(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (185.2, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (3600, "1 h 00 min"),
        (43_440, "12 h 04 min"),
        (7199, "2 h 00 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text

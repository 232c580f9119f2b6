import numpy as np
import pytest

from bompnas.space import levels


def test_four_eight_and_sixteen_bits_nest():
    assert [levels.nested(bits, 4) for bits in (4, 8, 16)] == [7, 7 * 17, 7 * 17 * 257] == [7, 119, 30583]
    assert [levels.nested(bits, 2) for bits in (2, 4, 8, 16)] == [1, 5, 85, 21845]
    assert [levels.full(bits) for bits in (2, 4, 8, 16)] == [1, 7, 127, 32767]


@pytest.mark.parametrize(("narrow", "wide"), [(4, 8), (8, 16)])
def test_every_value_of_a_grid_is_one_of_the_next(narrow, wide):
    values, others = (
        np.arange(-levels.nested(bits, 4), levels.nested(bits, 4) + 1) * (30583 // levels.nested(bits, 4))
        for bits in (narrow, wide)
    )
    assert set(values) < set(others)


@pytest.mark.parametrize("smallest", range(2, 17))
def test_levels_of_all_widths_fit_theirs_and_divide_the_finest(smallest):
    widths = [bits for bits in range(smallest, 17) if levels.doubles(bits, smallest)]
    counts = [levels.nested(bits, smallest) for bits in widths]
    assert counts[0] == levels.full(smallest)
    for bits, count in zip(widths, counts, strict=True):
        assert count <= levels.full(bits)
        assert levels.finest(bits, count) == counts[-1]
        assert counts[-1] // count % 2 == 1
        assert counts[-1] % count == 0


@pytest.mark.parametrize("bits", [0, 3, 6, 12])
def test_other_widths_do_not_nest(bits):
    with pytest.raises(ValueError, match=f"{bits} bits are not 4 bits times a power of 2"):
        levels.nested(bits, 4)

from hypothesis import given
from hypothesis import strategies as st

from bompnas.report.plane import log_ticks


@given(st.floats(1e-3, 1e6), st.floats(1.5, 1e4))
def test_log_ticks_lie_inside_and_are_neither_few_nor_many(low, ratio):
    ticks = log_ticks(low, low * ratio)
    assert 2 <= len(ticks) <= 9
    assert all(low <= tick <= low * ratio for tick in ticks)
    assert ticks == sorted(set(ticks))

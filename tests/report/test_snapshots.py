import pytest

from bompnas import report
from bompnas.report.snapshots import SHARE, Snapshots


@pytest.fixture
def drawn(clock, monkeypatch):
    """When the report was drawn; each time takes three seconds."""
    times = []

    def write(folder, going_on, pictures):
        assert going_on
        assert not pictures
        times.append(clock.now)
        clock.now += 3

    monkeypatch.setattr(report, "write", write)
    return times


def test_drawing_takes_a_small_share_of_the_time(clock, drawn, tmp_path):
    snapshots = Snapshots(tmp_path)
    while clock.now < 11_000:
        snapshots.refresh()
        clock.now += 1
    assert drawn[0] == 1060
    assert 3 * len(drawn) <= SHARE * 10_000
    assert 3 * len(drawn) >= 0.9 * SHARE * 10_000


def test_a_report_that_cannot_be_drawn_ends_nothing_and_is_told_of_once(clock, monkeypatch, tmp_path, caplog):
    def fail(*arguments, **settings):
        raise ValueError("no such font")

    monkeypatch.setattr(report, "write", fail)
    snapshots = Snapshots(tmp_path)
    clock.now += 60
    for _ in range(3):
        snapshots.refresh()
        clock.now += 100
    messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert messages == ["report.html: could not be drawn (ValueError: no such font)"]


def test_ctrl_c_while_a_report_is_drawn_ends_the_run(clock, monkeypatch, tmp_path):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "write", interrupted)
    snapshots = Snapshots(tmp_path)
    clock.now += 60
    with pytest.raises(KeyboardInterrupt):
        snapshots.refresh()

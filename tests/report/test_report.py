import fcntl
import subprocess
import sys

import pytest

from bompnas import report
from bompnas.report.__main__ import main
from bompnas.trials.record import Record, create


@pytest.fixture
def folder(view, experiment, tmp_path):
    meta = {"experiment": experiment, "versions": {"keras": "3.15.0"}, "seed_network": view.candidates[0].network.key}
    create(tmp_path / "run.db", meta)
    with Record(tmp_path / "run.db") as record:
        record.add(view.candidates)
        record.finish_finals("final 2", view.finals)
    return tmp_path


def test_write_draws_the_page_and_the_pictures(folder):
    before = (folder / "run.db").read_bytes()
    assert report.write(folder) == folder / "report.html"
    assert sorted(path.name for path in (folder / "figures").iterdir()) == [
        "bits.png",
        "front_layers.png",
        "layers.png",
        "policies.png",
        "score.png",
        "search.png",
        "seconds.png",
    ]
    assert "keras 3.15.0" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "run.db").read_bytes() == before


def test_command_line_draws_a_run_while_its_driver_writes_and_the_same_page_every_time(folder, capsys):
    first = report.write(folder).read_bytes()
    with Record(folder / "run.db"):
        assert main([str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert (folder / "report.html").read_bytes() == first


def test_command_line_refuses_a_folder_without_a_run_and_creates_nothing(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_drawing_needs_neither_keras_nor_tensorflow():
    code = "import sys, bompnas.report; print({'keras', 'tensorflow', 'matplotlib.pyplot'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_a_snapshot_is_drawn_without_pictures(folder):
    report.write(folder, going_on=True, pictures=False)
    assert "This page reloads itself" in (folder / "report.html").read_text(encoding="utf-8")
    assert not (folder / "figures").exists()


def test_command_line_knows_that_a_run_goes_on(folder):
    with (folder / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main([str(folder)]) == 0
        assert "This page reloads itself" in (folder / "report.html").read_text(encoding="utf-8")
    assert main([str(folder)]) == 0
    assert "This page reloads itself" not in (folder / "report.html").read_text(encoding="utf-8")

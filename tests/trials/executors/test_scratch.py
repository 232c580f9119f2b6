import subprocess
import sys
import tempfile
import textwrap

from bompnas.trials.executors.scratch import scratch


def test_scratch_is_removed_at_the_end_and_after_a_kill(tmp_path, monkeypatch, environment):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = """
        import os, signal
        from bompnas.trials.executors.scratch import scratch
        with scratch() as directory:
            (directory / "images.npy").write_text("images")
            print(directory, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    subprocess.run(command, env={**environment, "TMPDIR": str(tmp_path)})
    (killed,) = tmp_path.iterdir()
    finished = tmp_path / "bompnas-scratch-and-mine"  # whatever a user calls the folder of a run, it is kept
    finished.mkdir()
    (finished / "run.lock").write_text("process 7 on host")
    with scratch() as first:
        assert not killed.exists()
        with scratch() as second:
            assert first.is_dir()
            assert first != second
    assert list(tmp_path.iterdir()) == [finished]
    assert (finished / "run.lock").exists()

"""Disks that are full, and records that are damaged: one clear error, and nothing that was recorded is lost."""

import numpy as np
import pytest

ADVICE = "What was recorded is safe; run the same command again to go on.\n"


@pytest.mark.parametrize("space", [10_000, 60_000])
def test_a_full_disk_ends_a_run_with_one_error(place, check, space):
    here = place(training={"epochs": 1})
    driver = here.start(space=space)
    assert driver.wait() == 1
    assert driver.errors.count("\n") == 1
    assert driver.errors.endswith(ADVICE)
    assert f"{here.folder}/" in driver.errors
    assert not list(here.folder.rglob(".draft*"))
    before = here.finished()
    assert bool(before) == (space > 50_000)
    here.finish()
    assert {name: here.finished()[name] for name in before} == before
    check(here)


def cut(content):
    return content[: len(content) // 2]


def garbage(content, begin, end):
    return content[:begin] + np.random.default_rng(0).bytes(end - begin) + content[end:]


DAMAGE = {
    "cut off": cut,
    "empty": lambda content: b"",
    "header": lambda content: garbage(content, 0, 100),
    "page": lambda content: garbage(content, 4096 * 5, 4096 * 6),
    "no SQLite": lambda content: b"id,trial\n1,1\n",
}


def test_a_damaged_record_is_refused_and_nothing_overwritten(place, check):
    here = place()
    here.finish()
    record = here.folder / "run.db"
    whole = record.read_bytes()
    for damage in DAMAGE.values():
        record.write_bytes(damage(whole))
        before = {path: path.read_bytes() for path in here.folder.rglob("*") if path.is_file()}
        driver = here.start()
        assert driver.wait() == 2
        assert str(record) in driver.errors
        assert "--out" in driver.errors
        assert "Traceback" not in driver.errors
        assert driver.errors.count("\n") == 1
        after = {path: path.read_bytes() for path in here.folder.rglob("*") if path.is_file()}
        lock = here.folder / "run.lock"
        assert {**after, lock: b""} == {**before, lock: b""}
    record.write_bytes(whole)  # a copy in its place
    here.finish()
    check(here)

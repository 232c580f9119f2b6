import numpy as np
import pytest
from quality import task

from bompnas.errors import InputError


@pytest.fixture
def tasks(conditional_table):
    return task.from_table(conditional_table, "val_accuracy", "size_bits")


def test_costs_are_those_of_the_table(tasks, conditional_table):
    search = tasks(0)
    rows = [line.split(",") for line in conditional_table.read_text().splitlines()[1:]]
    genotypes = [
        {"kind": kind, "units": int(units or 8), "kernel": int(kernel or 5), "rate": float(rate), "depth": int(depth)}
        for kind, units, kernel, rate, depth, _, _ in rows
    ]
    space = search.problem.space
    np.testing.assert_array_equal(
        search.problem.costs(space.batch(space.encode(genotypes)))["size_bits"], [float(row[-1]) for row in rows]
    )
    points = [space.decode(genotype) for genotype in genotypes]
    assert [search.observe(point, 0) for point in points] == [float(row[-2]) for row in rows]
    best = max(
        search.problem.score({**search.problem.cost(point), "val_accuracy": search.truth(point)}) for point in points
    )
    assert search.optimum == pytest.approx(best, abs=1e-12)


def test_tasks_differ_in_their_initial_points(tasks):
    assert tasks(0).initial == tasks(0).initial
    assert tasks(0).initial != tasks(1).initial


@pytest.mark.parametrize(
    ("metric", "cost", "message"),
    [
        ("accuracy", "size_bits", "no column 'accuracy' of numbers, expected one of val_accuracy, size_bits"),
        ("size_bits", "val_accuracy", "val_accuracy is .* in a row, expected above 1"),
    ],
)
def test_columns_are_checked(conditional_table, metric, cost, message):
    with pytest.raises(InputError, match=message):
        task.from_table(conditional_table, metric, cost)


def test_small_and_incomplete_tables_are_refused(tmp_path):
    small = tmp_path / "small.csv"
    small.write_text("gene:a,val_accuracy,size_bits\n1,0.5,100\n2,0.6,200\n")
    with pytest.raises(InputError, match="2 rows found, expected at least 20"):
        task.from_table(small, "val_accuracy", "size_bits")
    failed = tmp_path / "failed.csv"
    failed.write_text("gene:a,val_accuracy,size_bits,error\n1,0.5,100,\n2,,200,diverged\n")
    with pytest.raises(InputError, match=r"'a': 2.* has no val_accuracy"):
        task.from_table(failed, "val_accuracy", "size_bits")

"""Complete tables of trainings, read from CSV files: every point of a space with what was measured there.

A table is a CSV file with a header and one row for every point of its space, in any order:

* A column `gene:<name>` holds a choice. A gene is ordered where all its cells are numbers, otherwise categorical. Where
  a cell is empty the gene does not matter; whether it does is decided by gene columns further left: it matters while
  each of them has one of the values beside which it is ever filled in. A gene whose name ends with `bits` is one of the
  policy, all others make up the architecture.
* `key` and `error`, where there are such columns, are text: what the row is called, and why it could not be measured
  (empty: it was measured). A failed row's other cells may be empty.
* Every other column is a metric where its first cell that is not empty is a number, and then all its cells must be;
  columns of other text are not read.
"""

import csv
import dataclasses
import functools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bompnas.errors import InputError
from bompnas.space.hyperspace import HyperSpace
from bompnas.space.space import ARCHITECTURE, BITS, Gene, Value

GENE = "gene:"
KEY, ERROR = "key", "error"

Genes = tuple[Value | None, ...]  # of one point, in the order of the columns; None does not matter


@dataclasses.dataclass(frozen=True)
class Row:
    """One point and what was measured there.

    Attributes:
        genes: Gene name -> value, of the genes that matter.
        metrics: What was measured; a failed row may lack some.
        key: What the row is called; empty where the table has no keys.
        error: Why it could not be measured; None if it was.
    """

    genes: Mapping[str, Value]
    metrics: Mapping[str, float]
    key: str
    error: str | None


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A complete table.

    Attributes:
        name: The file's name without its ending.
        genes: The choices, those that decide whether others matter first; the default is the middle choice.
        metrics: Names of what was measured.
        rows: One for each point of the space, in the order of the file.
    """

    name: str
    genes: tuple[Gene, ...]
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]

    @functools.cached_property
    def space(self) -> HyperSpace:
        """The space whose points are the rows."""
        return HyperSpace(name=self.name, genes=self.genes)

    def row(self, genotype: Mapping[str, Value]) -> Row:
        """The row of a genotype; genes that do not matter may have any value, or none.

        Raises:
            InputError: A gene that matters is missing, or its value is not in the table.
        """
        point: list[Value | None] = []
        for gene in self.genes:
            if not gene.active(genotype):
                point.append(None)
            elif genotype.get(gene.name) in gene.values:
                point.append(genotype[gene.name])
            else:
                found = repr(genotype[gene.name]) if gene.name in genotype else "nothing"
                raise InputError(f"table {self.name!r}: {gene.name} is {found}, expected one of {list(gene.values)}")
        return self._places[tuple(point)]

    @functools.cached_property
    def _places(self) -> dict[Genes, Row]:
        return {tuple(row.genes.get(gene.name) for gene in self.genes): row for row in self.rows}


def load(path: str | os.PathLike[str]) -> Table:
    """Reads a table.

    Raises:
        InputError: The file cannot be read, or is not a complete table; says where and what is expected.
    """
    header, cells = _read(Path(path))
    names = [name.removeprefix(GENE) for name in header if name.startswith(GENE)]
    if not names:
        raise InputError(f"{path}: columns {', '.join(header)} found, expected at least one `{GENE}<name>`")
    columns = [_values([row[GENE + name] for row in cells]) for name in names]
    points: list[Genes] = list(zip(*columns, strict=True))
    genes = _genes(names, points, str(path))
    _check_complete(genes, points, str(path))
    metrics = tuple(name for name in header if _is_metric(name, cells, str(path)))
    if not metrics:
        raise InputError(
            f"{path}: columns {', '.join(header)} found, expected at least one of numbers beside the genes"
        )
    rows = tuple(
        Row(
            {name: value for name, value in zip(names, point, strict=True) if value is not None},
            {name: float(row[name]) for name in metrics if row[name]},
            row.get(KEY, ""),
            row.get(ERROR) or None,
        )
        for point, row in zip(points, cells, strict=True)
    )
    return Table(Path(path).stem, genes, metrics, rows)


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The header and the cells of every row, without space around them."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8 with commas"
        raise InputError(f"{path} cannot be read: {reason}") from None
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) < 2:
        raise InputError(f"{path}: {len(lines)} lines found, expected a header and at least one row")
    header = lines[0]
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: column {twice!r} is there twice")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise InputError(f"{path}, row {number}: {len(line)} cells found, expected {len(header)} as in the header")
    return header, [dict(zip(header, line, strict=True)) for line in lines[1:]]


def _values(cells: Sequence[str]) -> list[Value | None]:
    """Cells of one gene as whole numbers, else as numbers, else as they are; empty ones as None."""
    present = [cell for cell in cells if cell]
    kinds: tuple[type, ...] = (int, float)
    convert: type = next((kind for kind in kinds if all(_is(kind, cell) for cell in present)), str)
    return [convert(cell) if cell else None for cell in cells]


def _is(kind: type, cell: str) -> bool:
    try:
        return math.isfinite(kind(cell))
    except (ValueError, OverflowError):
        return False


def _genes(names: Sequence[str], points: Sequence[Genes], path: str) -> tuple[Gene, ...]:
    genes: list[Gene] = []
    for name, column in zip(names, zip(*points, strict=True), strict=True):
        values = tuple(sorted(set(column) - {None}))
        if len(values) < 2:
            raise InputError(f"{path}: {GENE}{name} has the values {list(values)}, expected at least two")
        gene = Gene(
            name=name,
            values=values,
            default=values[len(values) // 2],
            part=BITS if name.endswith("bits") else ARCHITECTURE,
            conditions=_conditions(genes, column, points),
            ordered=not isinstance(values[0], str),
        )
        for number, (point, value) in enumerate(zip(points, column, strict=True), start=2):
            genotype = dict(zip(names, point, strict=True))
            if gene.active(genotype) != (value is not None):
                found = "empty" if value is None else repr(value)
                raise InputError(
                    f"{path}, row {number}: {GENE}{name} is {found} here; expected that what the genes left "
                    "of it are decides whether a cell is empty"
                )
        genes.append(gene)
    return tuple(genes)


def _conditions(
    before: Sequence[Gene], column: Genes, points: Sequence[Genes]
) -> tuple[tuple[str, frozenset[Value]], ...]:
    """Of the genes to the left, the values beside which cells of a column are not empty, where not all are."""
    if None not in column:
        return ()
    beside = [
        {point[place] for point, value in zip(points, column, strict=True) if value is not None}
        for place in range(len(before))
    ]
    return tuple(
        (gene.name, frozenset(values)) for gene, values in zip(before, beside, strict=True) if values < set(gene.values)
    )


def _check_complete(genes: Sequence[Gene], points: Sequence[Genes], path: str) -> None:
    """Follows the points gene by gene, so that the first choice nobody made is found however large the space is."""
    first: dict[Genes, int] = {}
    for number, point in enumerate(points, start=2):
        if first.setdefault(point, number) != number:
            raise InputError(f"{path}, row {number}: the same genes as in row {first[point]}, expected each point once")
    for place, gene in enumerate(genes):
        present = {point[: place + 1] for point in points}
        for prefix in {point[:place] for point in points}:
            genotype = {other.name: value for other, value in zip(genes, prefix, strict=False)}
            for value in gene.values if gene.active(genotype) else ():
                if (*prefix, value) not in present:
                    point = ", ".join(f"{name} {chosen}" for name, chosen in genotype.items() if chosen is not None)
                    raise InputError(
                        f"{path}: no row with {gene.name} {value}{' and ' if point else ''}{point}; expected every "
                        "point of the space"
                    )


def _is_metric(name: str, rows: Sequence[Mapping[str, str]], path: str) -> bool:
    """Whether a column holds measurements; they are checked then."""
    if name.startswith(GENE) or name in (KEY, ERROR):
        return False
    if not _is(float, next((row[name] for row in rows if row[name]), "")):
        return False
    for number, row in enumerate(rows, start=2):
        if not (_is(float, row[name]) or (row[name] == "" and row.get(ERROR))):
            found = repr(row[name]) if row[name] else "nothing"
            raise InputError(f"{path}, row {number}: {name} is {found}, expected a number")
    return True

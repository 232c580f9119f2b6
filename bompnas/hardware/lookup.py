"""Costs looked up in a table of operators, made from another model or from measurements.

The file is CSV: lines that begin with `#` tell where the numbers come from, then a header, then one line an operator.
Its first columns are the fields of `LayerTable`, `kind` as a word; all others are costs, named with their unit at the
end: `latency_ms`, `energy_mj`.
"""

import csv
import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from bompnas.errors import InputError
from bompnas.hardware import quantities
from bompnas.hardware.layers import COLUMNS, LayerTable, distinct
from bompnas.hardware.model import CostModel, LayerwiseModel, Quantity
from bompnas.space.batch import ABSENT, FLOAT, KINDS, NetworkBatch
from bompnas.whole_files import replacing

_OPERATORS = tuple(kind for place, kind in enumerate(KINDS) if place not in (ABSENT, FLOAT))
_CHANNELS = ("in_channels", "out_channels")
_COST_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True, eq=False)
class LookupTable:
    """What operators cost.

    Attributes:
        layers: m different operators, none of kind `float`.
        costs: By name, float64 arrays of shape (m,).
        source: Where the numbers come from, for readers of the file.
    """

    layers: LayerTable
    costs: Mapping[str, np.ndarray]
    source: str = ""

    @classmethod
    def of(cls, model: CostModel, networks: NetworkBatch, source: str = "") -> "LookupTable":
        """Those costs of a model that are sums over layers, for all layers of some networks.

        Raises:
            InputError: The model has no such costs, prices equal layers differently, or prices `float` layers, which
                no table holds.
        """
        present = networks.kind != ABSENT
        costs = {name: values[present] for name, values in model.by_layer(networks).items()}
        if not costs:
            raise InputError(f"lookup table: {type(model).__name__} has no costs that are sums over layers")
        layers = LayerTable.of(networks)
        examples, numbers = distinct(layers.columns)
        for name, values in costs.items():
            if (values != values[examples][numbers]).any():
                place = int(np.argmax(values != values[examples][numbers]))
                raise InputError(
                    f"lookup table: {type(model).__name__} gives equal layers different {name} "
                    f"({_describe(layers, place)}); a table cannot hold it"
                )
            if values[layers.kind == FLOAT].any():
                raise InputError(
                    f"lookup table: {type(model).__name__} gives {name} to `float` layers; a table cannot hold it"
                )
        return cls.of_layers(layers, costs, source)

    @classmethod
    def of_layers(cls, layers: LayerTable, costs: Mapping[str, np.ndarray], source: str = "") -> "LookupTable":
        """What m layers were found to cost, such as the operators of a measured network.

        Args:
            layers: One row a finding; those of kind `float` are left out.
            costs: By name, arrays of shape (m,). Where a layer was priced several times, the median stands.
            source: Where the numbers come from.
        """
        operators = layers[layers.kind != FLOAT]
        examples, numbers = distinct(operators.columns)
        costs = {name: _medians(values[layers.kind != FLOAT], numbers) for name, values in costs.items()}
        return cls(operators[examples], costs, source)

    @classmethod
    def read(cls, path: Path) -> "LookupTable":
        """Reads a file.

        Raises:
            InputError: It cannot be read, or a line of it is not as it should be; names file, line and column.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise InputError(f"lookup table {path} cannot be read: {reason}") from None
        source = "\n".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
        rows = _rows(path, lines)
        _, header = next(rows, (1, []))
        names = _cost_names(path, header)
        found: dict[tuple[int, ...], tuple[int, list[float]]] = {}
        for number, row in rows:
            place = f"{path}, line {number}"
            if len(row) != len(header):
                raise InputError(f"{place}: found {len(row)} values; expected {len(header)}, as in the header")
            values = dict(zip(header, row, strict=True))
            key = tuple(_key_part(place, column, values[column]) for column in COLUMNS)
            if key in found:
                raise InputError(f"{place}: the same operator stands in line {found[key][0]}; expected it once")
            found[key] = (number, [_cost(place, name, values[name]) for name in names])
        layers = LayerTable(*np.array(list(found), dtype=np.int64).reshape(-1, len(COLUMNS)).T)
        costs = np.array([costs for _, costs in found.values()]).reshape(-1, len(names)).T
        return cls(layers, dict(zip(names, costs, strict=True)), source)

    def write(self, path: Path) -> None:
        """Writes the file, whole or not at all; what `read` reads is exactly what was written."""
        with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
            file.writelines(f"# {line}\n" for line in self.source.splitlines())
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*COLUMNS, *self.costs])
            kinds = [KINDS[kind] for kind in self.layers.kind]
            others = [values.tolist() for values in (*self.layers.columns[1:], *self.costs.values())]
            writer.writerows(zip(kinds, *others, strict=True))

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The costs, with labels and units from their names."""
        return tuple(quantities.of_name(name) for name in self.costs)

    def places(self, layers: LayerTable) -> np.ndarray:
        """Where m layers stand in the table, shape (m,); -1 for those that it does not hold."""
        return np.array([self._numbers.get(key, -1) for key in _keys(layers)], dtype=np.intp)

    @functools.cached_property
    def _numbers(self) -> dict[tuple[int, ...], int]:
        return {key: number for number, key in enumerate(_keys(self.layers))}


@dataclasses.dataclass(frozen=True)
class LookupModel(LayerwiseModel):
    """A device whose costs stand in a table; `float` layers cost nothing.

    Attributes:
        table: The table, or the path of its file.
        interpolate: Whether an operator that is missing is priced between two that are there and differ in nothing but
            channels: of those with at most its input and output channels the one of most MACs, of those with at least
            its input and output channels the one of fewest, linearly in MACs. Nothing is extrapolated.
    """

    table: LookupTable | Path
    interpolate: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.table, LookupTable):
            object.__setattr__(self, "table", LookupTable.read(Path(self.table)))

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The costs of the table."""
        return self.table.quantities

    def price(self, layers: LayerTable) -> dict[str, np.ndarray]:
        """Costs of m layers, arrays of shape (m,).

        Raises:
            InputError: The table does not hold a layer, nor two to interpolate between; names the layer.
        """
        lower = upper = self.table.places(layers)
        share = np.zeros(len(layers))
        missing = np.flatnonzero((lower < 0) & (layers.kind != FLOAT))
        if self.interpolate and len(missing):
            lower, upper = lower.copy(), upper.copy()
            for place in missing:
                lower[place], upper[place], share[place] = _neighbours(self.table.layers, layers[place : place + 1])
            missing = missing[lower[missing] < 0]
        if len(missing):
            raise InputError(self._complaint(layers, missing))
        held = lower >= 0
        prices = {}
        for name, values in self.table.costs.items():
            prices[name] = np.zeros(len(layers))
            low, high = values[lower[held]], values[upper[held]]
            prices[name][held] = low + share[held] * (high - low)
        return prices

    def _complaint(self, layers: LayerTable, missing: np.ndarray) -> str:
        others = f", nor {len(missing) - 1} others" if len(missing) > 1 else ""
        remedy = (
            "add lines for it, or for ones of fewer and of more channels"
            if self.interpolate
            else "add a line for it, or set interpolate to price it between others"
        )
        return f"the lookup table does not hold {_describe(layers, missing[0])}{others}; {remedy}"


def _neighbours(table: LayerTable, layer: LayerTable) -> tuple[int, int, float]:
    """The places of the two operators that a missing one lies between, and how far it is from the first, 0 to 1.

    Returns:
        (-1, -1, 0.0) where either is not there; among equally near ones the first of the table is taken.
    """
    alike = np.logical_and.reduce(
        [getattr(table, name) == getattr(layer, name) for name in COLUMNS if name not in _CHANNELS]
    )
    below = alike & np.logical_and.reduce([getattr(table, name) <= getattr(layer, name) for name in _CHANNELS])
    above = alike & np.logical_and.reduce([getattr(table, name) >= getattr(layer, name) for name in _CHANNELS])
    if not (below.any() and above.any()):
        return -1, -1, 0.0
    lower = int(np.argmax(np.where(below, table.macs, -1)))
    upper = int(np.argmin(np.where(above, table.macs, np.iinfo(np.int64).max)))
    share = (layer.macs[0] - table.macs[lower]) / (table.macs[upper] - table.macs[lower])
    return lower, upper, float(share)


def _medians(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The median of each group, float64; `numbers`: the groups of the values, from 0."""
    order = np.argsort(numbers, kind="stable")
    groups = np.split(np.asarray(values, dtype=np.float64)[order], np.flatnonzero(np.diff(numbers[order])) + 1)
    return np.array([np.median(group) for group in groups if len(group)])


def _keys(layers: LayerTable) -> list[tuple[int, ...]]:
    """Each layer as a tuple of plain numbers."""
    return list(map(tuple, np.stack(layers.columns, axis=1).tolist()))


def _describe(layers: LayerTable, place: int) -> str:
    """One layer in words, with every field that a line of the file has."""
    kind, *others = (int(values[place]) for values in layers.columns)
    return f"{KINDS[kind]} " + " ".join(f"{name}={value}" for name, value in zip(COLUMNS[1:], others, strict=True))


def _rows(path: Path, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The lines that are neither empty nor comments, with their numbers from 1, split and stripped."""
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            try:
                row = next(csv.reader([line], strict=True))
            except csv.Error as error:
                raise InputError(f"{path}, line {number} is not CSV: {error}") from None
            yield number, [value.strip() for value in row]


def _cost_names(path: Path, header: list[str]) -> list[str]:
    """The columns of a header that are costs."""
    missing = [name for name in COLUMNS if name not in header]
    names = [name for name in header if name not in COLUMNS]
    if missing:
        found = ", ".join(header) or "nothing"
        raise InputError(f"lookup table {path}: the header lacks {', '.join(missing)}; found {found}")
    if len(set(header)) < len(header):
        raise InputError(f"lookup table {path}: the header names a column twice; found {', '.join(header)}")
    if not names:
        raise InputError(f"lookup table {path}: the header has no cost; expected a column such as latency_ms")
    for name in names:
        if not _COST_NAME.fullmatch(name):
            raise InputError(
                f"lookup table {path}: the header has {name!r}; expected small letters, digits and _, as in latency_ms"
            )
    return names


def _key_part(place: str, column: str, text: str) -> int:
    """One field of an operator."""
    if column == "kind":
        if text not in _OPERATORS:
            raise InputError(f"{place}: kind is {text!r}; expected one of {', '.join(_OPERATORS)}")
        return KINDS.index(text)
    expected = "0 or 1" if column == "bias" else "a whole number from 1 to 999999999"
    allowed = r"[01]" if column == "bias" else r"0*[1-9][0-9]{0,8}"
    if not re.fullmatch(allowed, text):
        raise InputError(f"{place}: {column} is {text!r}; expected {expected}")
    return int(text)


def _cost(place: str, name: str, text: str) -> float:
    """One cost of an operator."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise InputError(f"{place}: {name} is {text!r}; expected a number of at least 0")
    return value

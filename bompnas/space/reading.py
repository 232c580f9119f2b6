"""Reading a search-space file value by value, with errors that name the file and the key."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from bompnas.errors import InputError
from bompnas.space.space import Choices


@dataclasses.dataclass(frozen=True)
class Section:
    """A mapping of a YAML file.

    Attributes:
        values: Key -> value, as loaded.
        file: Path of the file.
        path: Keys from the top of the file to here, each followed by a dot.
    """

    values: Mapping[str, Any]
    file: str
    path: str = ""

    def only(self, *known: str) -> "Section":
        """Itself; refuses keys that are not known."""
        for key in self.values:
            if key not in known:
                raise self.error(key, f"unknown key; known here: {', '.join(known)}")
        return self

    def section(self, key: str) -> "Section":
        """The mapping under a key; an empty one where it is missing, so that its first required key is named."""
        value = self.values.get(key, {})
        if not isinstance(value, Mapping):
            raise self.error(key, f"{value!r} found, expected a mapping of keys to values")
        return Section(value, self.file, f"{self.path}{key}.")

    def sections(self, key: str) -> list["Section"]:
        """The mappings of the list under a key; at least one."""
        value = self.values.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, Mapping) for item in value):
            raise self.error(key, f"{_found(value)}, expected a list of mappings")
        return [Section(item, self.file, f"{self.path}{key}[{number}].") for number, item in enumerate(value, 1)]

    def text(self, key: str) -> str:
        """The text under a key."""
        value = self.values.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, f"{_found(value)}, expected text")
        return value

    def integer(self, key: str, low: int, high: int | None = None, default: int | None = None) -> int:
        """The whole number under a key, within its bounds; required where it has no default."""
        return self._number(key, self.values.get(key, default), low, high, real=False)

    def choices(self, key: str, low: int, high: int | None = None, real: bool = False) -> Choices:
        """The choices under a key: one number, or a list of numbers of which the section's `seed` names one.

        Args:
            key: The parameter.
            low: Smallest allowed value; excluded for reals.
            high: Largest allowed value.
            real: Whether the values are real numbers (whole ones otherwise).
        """
        value = self.values.get(key)
        if value == []:
            raise self.error(key, "an empty list of choices found, expected at least one")
        if isinstance(value, list):
            items = enumerate(value, 1)
            numbers = tuple(self._number(f"{key}[{place}]", item, low, high, real) for place, item in items)
        else:
            numbers = (self._number(key, value, low, high, real),)
        if len(set(numbers)) < len(numbers):
            raise self.error(key, f"{value} found, expected choices that differ")
        seeds = self.section("seed")
        seed = seeds.values.get(key, numbers[0] if len(numbers) == 1 else None)
        if seed not in numbers:
            raise seeds.error(key, f"{_found(seed)}, expected one of the choices {list(numbers)}")
        return Choices(numbers, numbers[numbers.index(seed)])

    def error(self, key: str, message: str) -> InputError:
        """The error to raise about a key."""
        return InputError(f"{self.file}: {self.path}{key}: {message}")

    def _number(self, key: str, value: Any, low: int, high: int | None, real: bool) -> int | float:
        right_type = isinstance(value, (int, float) if real else int) and not isinstance(value, bool)
        if (
            right_type
            and math.isfinite(value)
            and (value > low if real else value >= low)
            and (high is None or value <= high)
        ):
            return float(value) if real else value
        kind = "a number" if real else "a whole number"
        bounds = f"from {low} to {high}" if high is not None else f"above {low}" if real else f"of at least {low}"
        raise self.error(key, f"{_found(value)}, expected {kind} {bounds}")


def _found(value: Any) -> str:
    return "nothing found" if value is None else f"{value!r} found"

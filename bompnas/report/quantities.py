"""How metrics and costs are called and written in tables and figures."""

import dataclasses
import math

from bompnas.hardware.quantities import TABLE, named

DASH = "\u2013"
"""Stands where there is no number."""


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A metric or a cost as people read it.

    Attributes:
        key: Where the value is found among a candidate's values.
        label: Its name in words.
        unit: Unit of the displayed number; empty for plain numbers.
        scale: Value of one displayed unit: displayed number = value / scale.
        digits: Digits after the decimal point; None for as many as the size of the number needs.
    """

    key: str
    label: str
    unit: str = ""
    scale: float = 1.0
    digits: int | None = None

    @property
    def axis_label(self) -> str:
        """Label of an axis, with the unit in brackets."""
        label = self.label[:1].upper() + self.label[1:]
        return f"{label} [{self.unit}]" if self.unit else label

    def number(self, value: float | None) -> str:
        """The displayed number without its unit; a dash where there is none."""
        if value is None or not math.isfinite(value):
            return DASH
        shown = value / self.scale
        if self.digits is not None:
            return f"{shown:.{self.digits}f}"
        return plain(shown)

    def text(self, value: float | None) -> str:
        """The displayed number with its unit."""
        number = self.number(value)
        return f"{number} {self.unit}" if self.unit and number != DASH else number


SCORE = Quantity("score", "score", digits=3)
_UNITS = {"bits": ("kB", 8000.0), "B": ("kB", 1000.0)}
_COUNTS = {"macs": ("M", 1e6), "bitops": ("M", 1e6), "params": ("k", 1e3)}
_ABBREVIATIONS = {"val": "validation", "mae": "mean absolute error", "mse": "mean squared error"}


def quantity(key: str) -> Quantity:
    """The quantity of a key: costs as `bompnas.hardware.quantities` calls them, metrics by the words of the key."""
    cost = named(key)
    if cost.unit or key in TABLE:
        unit, scale = _COUNTS.get(key) or _UNITS.get(cost.unit, (cost.unit, 1.0))
        return Quantity(key, cost.words, unit, scale)
    if key == SCORE.key:
        return SCORE
    label = " ".join(_ABBREVIATIONS.get(word, word) for word in key.split("_"))
    if "accuracy" in key:
        return Quantity(key, label, "%", 0.01, digits=2)
    return Quantity(key, label)


def plain(value: float) -> str:
    """A number with three to four significant digits, without exponent where that stays readable."""
    size = abs(value)
    if value == 0:
        return "0"
    if size >= 1e7 or size < 1e-4:
        return f"{value:.3g}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 3 - math.floor(math.log10(size)) - 1)}f}"


def duration(seconds: float) -> str:
    """A time span in the two units that matter: `4.2 s`, `3 min 05 s`, `12 h 04 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def time_unit(longest: float) -> tuple[str, float]:
    """Unit for an axis of time spans up to the longest [s]: its name, and its length [s]."""
    return next(((name, size) for name, size in (("h", 3600.0), ("min", 60.0)) if longest >= 2 * size), ("s", 1.0))

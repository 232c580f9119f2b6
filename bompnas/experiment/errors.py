"""Pydantic's errors in the user's words: place, key, what was found, what is expected."""

import difflib
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic
import yaml

_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "invalid_key": "a key that is text",
    "greater_than": "a number above {gt:.15g}",
    "greater_than_equal": "{ge:.15g} or more",
    "less_than": "a number below {lt:.15g}",
    "less_than_equal": "{le:.15g} or less",
}
_OF_KEY = "[key]"  # what pydantic appends where a key is wrong, not its value
_SECTION = ("model_type", "dict_type", "is_instance_of")
_EXPONENT = re.compile(r"[+-]?\d+\.?\d*e[+-]?\d+", re.IGNORECASE)


class NestedSettingsError(ValueError):
    """Settings whose schema is known only once they are read do not keep it."""

    def __init__(self, model: type[pydantic.BaseModel], error: pydantic.ValidationError):
        super().__init__(str(error))
        self.model = model
        self.error = error


def explain(
    error: pydantic.ValidationError, model: type[pydantic.BaseModel], origins: Mapping[tuple[str, ...], str]
) -> str:
    """One line per problem.

    Args:
        error: What pydantic found.
        model: The schema that it checked against.
        origins: Key path -> what to call the place that it comes from; the longest path that fits counts.
    """
    lines = []
    for path, message in _problems(error, model, ()):
        origin = max((start for start in origins if path[: len(start)] == start), key=len)
        lines.append(": ".join(filter(None, (origins[origin], ".".join(path), message))))
    return "\n".join(dict.fromkeys(lines))


def unknown(what: str, found: object, known: Iterable[str]) -> str:
    """Says that a word is not known, which one may have been meant, and which ones there are."""
    known = list(known)
    close = difflib.get_close_matches(str(found), known, n=1)
    question = f"did you mean {close[0]}? " if close else ""
    return f"unknown {what} {found!r}; {question}known: {', '.join(known)}"


def _problems(
    error: pydantic.ValidationError, model: type[pydantic.BaseModel], start: tuple[str, ...]
) -> list[tuple[tuple[str, ...], str]]:
    problems = []
    for item in error.errors():
        path = (*start, *(str(part) for part in item["loc"] if part != _OF_KEY))
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, NestedSettingsError):
            problems += _problems(cause.error, cause.model, path)
        elif item["type"] != "default_factory_not_called":
            problems.append((path, _message(item, model)))
    return problems


def _message(item: Any, model: type[pydantic.BaseModel]) -> str:
    kind, path, context = item["type"], item["loc"], item.get("ctx", {})
    if kind == "missing":
        return "this key is missing"
    if kind == "extra_forbidden":
        return unknown("key", path[-1], _keys(model, path[:-1]))
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        expected = context["expected"].replace("'", "")
    elif kind in _SECTION:
        keys = _keys(model, path)
        expected = f"a section with the keys {', '.join(keys)}" if keys else "a section of keys"
    else:
        expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else item["msg"]
    return f"expected {expected}; found {describe(item['input'])}"


def _keys(model: type[pydantic.BaseModel] | None, path: Iterable[str | int]) -> list[str]:
    """The keys of the section that a path leads to; none where they are the user's choice."""
    steps = iter(path)
    for step in steps:
        field = next(field for name, field in model.model_fields.items() if step in (name, field.alias))
        if typing.get_origin(field.annotation) is dict and next(steps, None) is None:
            return []
        model = _model_in(field.annotation)
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)


def describe(value: object) -> str:
    """A value as the user wrote it in YAML, with its kind where that helps."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # YAML 1.1 wants a point and a signed exponent in its numbers, which surprises everyone once.
        number = yaml.safe_dump(float(value)).split()[0] if _EXPONENT.fullmatch(value) else None
        return f"the text {value!r}" + (f", which YAML reads as a number when written {number}" if number else "")
    if isinstance(value, Mapping):
        return f"the keys {', '.join(map(str, value))}" if value else "an empty section"
    return repr(value)

"""The table of cost models' names, and how a name with parameters becomes a model.

A model is a dotted path `module:name` of a dataclass, whose fields are its parameters, or of a ready instance of one,
whose fields are replaced. It is imported only when it is named. A new model is one new file and one line here; a
user's own needs no line.
"""

import contextlib
import dataclasses
import importlib
import inspect
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union

from bompnas.errors import InputError
from bompnas.hardware.model import CostModel, MeasuredModel

MODELS = {
    "counts": "bompnas.hardware.counts:Counts",
    "bitfusion": "bompnas.hardware.bitfusion:BitFusion",
    "bit_serial": "bompnas.hardware.bit_serial:CLOUD",
    "bit_serial_edge": "bompnas.hardware.bit_serial:EDGE",
    "roofline": "bompnas.hardware.roofline:Roofline",
    "lookup": "bompnas.hardware.lookup:LookupModel",
    "litert_cpu": "bompnas.export.measured:LiteRTLatency",
    "huffman": "bompnas.hardware.huffman:HuffmanSize",
}

_EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "the path of a file",
    type(None): "null",
}


def load(name: str, parameters: Mapping[str, Any], folder: Path = Path()) -> CostModel | MeasuredModel:
    """A cost model, analytic or measured, by its name.

    Args:
        name: One of `MODELS`, or the import path of the user's own: `my_package.devices:MyModel`.
        parameters: Field -> value as YAML gives it; fields that are not given keep their defaults. A section stands
            for a dataclass, a list for a tuple.
        folder: What relative paths among the parameters are relative to.

    Raises:
        InputError: The name is not known or names no cost model, a parameter is not known, missing or of a wrong type,
            or the model refuses a value.
    """
    given = _found(name)
    if not isinstance(given, type):
        values = _values("hardware", type(given), parameters, folder, complete=False)
        return dataclasses.replace(given, **values) if values else given
    return given(**_values("hardware", given, parameters, folder))


def resolve(name: str, parameters: Mapping[str, Any], folder: Path = Path()) -> dict[str, Any]:
    """All parameters of a cost model as plain data with `Path`s, defaults filled in where plain data can express them.

    Arguments and errors are those of `load`.
    """
    given = _found(name)
    model_type = given if isinstance(given, type) else type(given)
    values = _values("hardware", model_type, parameters, folder, complete=given is model_type)
    fields = dataclasses.fields(model_type) if dataclasses.is_dataclass(model_type) else ()
    for field in fields:
        if field.init and field.name not in values:
            made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            values[field.name] = made if given is model_type else getattr(given, field.name)
    plain = {field.name: _plain(values[field.name]) for field in fields if field.init}
    return {name: value for name, value in plain.items() if value is not ...}


def _found(name: str) -> Any:
    """The class or the instance that a name stands for, which is known to be a cost model."""
    given = _import(name)
    model_type = given if isinstance(given, type) else type(given)
    if not issubclass(model_type, CostModel | MeasuredModel) or inspect.isabstract(model_type):
        raise InputError(
            f"hardware.model: {name} is {'the class' if given is model_type else 'of type'} {model_type.__name__}; "
            "expected a subclass of CostModel, or of MeasuredModel, that has all its methods"
        )
    return given


def _plain(value: Any) -> Any:
    """A parameter's value as plain data; `...` where there is none."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return {name: part for name, part in fields.items() if part is not ...}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float | str | Path) else ...


def _import(name: str) -> Any:
    """What a name or an import path stands for."""
    if name not in MODELS and ":" not in name:
        raise InputError(
            f"hardware.model: found {name!r}; expected one of {', '.join(MODELS)}, or an import path like "
            "'my_package.devices:MyModel'"
        )
    module, _, attribute = MODELS.get(name, name).partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise InputError(
            f"hardware.model: cannot import {name!r} ({type(error).__name__}: {error}); expected one of "
            f"{', '.join(MODELS)}, or an import path that Python finds from the working directory"
        ) from error


def _values(
    place: str, data_type: type, given: Mapping[str, Any], folder: Path, complete: bool = True
) -> dict[str, Any]:
    """Values for fields of a dataclass; other classes have no fields.

    Args:
        place: What messages call it.
        data_type: The class.
        given: Field -> value as YAML gives it.
        folder: See `load`.
        complete: Whether fields without a default must be given.

    Raises:
        InputError: A field is not known, missing, or its value has another type.
    """
    fields = dataclasses.fields(data_type) if dataclasses.is_dataclass(data_type) else ()
    known = [field.name for field in fields if field.init]
    for name in given:
        if name not in known:
            raise InputError(
                f"{place}.{name}: {data_type.__name__} has no such parameter; expected {', '.join(known) or 'none'}"
            )
    for field in fields:
        is_required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if complete and is_required and field.name not in given:
            raise InputError(f"{place}.{field.name}: found nothing; {data_type.__name__} needs it")
    hints = typing.get_type_hints(data_type)
    return {name: _converted(f"{place}.{name}", value, hints[name], folder) for name, value in given.items()}


def _converted(place: str, value: Any, hint: Any, folder: Path) -> Any:
    """A value of the type that a field has.

    Raises:
        InputError: It has another type.
    """
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        for member in members:
            with contextlib.suppress(InputError):
                return _converted(place, value, member, folder)
    elif origin is tuple and isinstance(value, list | tuple):
        members = members[:1] * len(value) if members[-1] is ... else members
        if len(members) == len(value):
            pairs = enumerate(zip(value, members, strict=True))
            return tuple(_converted(f"{place}[{n}]", part, member, folder) for n, (part, member) in pairs)
    elif dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return hint(**_values(place, hint, value, folder))
    elif hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    elif hint is Path and isinstance(value, str | Path):
        return folder / value
    elif hint is Any or (origin is Literal and value in members) or _is_plain(value, hint):
        return value
    raise InputError(f"{place}: found {value!r}; expected {_expected(hint)}")


def _is_plain(value: Any, hint: Any) -> bool:
    """Whether a value is of a class as it stands; a truth value is no number."""
    if hint is float or not isinstance(hint, type):
        return False
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _expected(hint: Any) -> str:
    """A type in words."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        # What only Python can build is no help to who writes a file.
        parts = [part for part in typing.get_args(hint) if part in _EXPECTED or typing.get_origin(part)]
        return " or ".join(map(_expected, parts or typing.get_args(hint)))
    if typing.get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, typing.get_args(hint)))}"
    if typing.get_origin(hint) is tuple:
        return f"a list like [{', '.join('...' if part is ... else _expected(part) for part in typing.get_args(hint))}]"
    if dataclasses.is_dataclass(hint):
        return f"a section of {', '.join(field.name for field in dataclasses.fields(hint) if field.init)}"
    return _EXPECTED.get(hint) or f"a {getattr(hint, '__name__', hint)}"

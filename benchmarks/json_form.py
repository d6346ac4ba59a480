"""Records from JSON, by the types of their fields."""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def read_as(kind: type[T], value: object) -> T:
    """Build a frozen record from what `json.loads` gives.

    Args:
        kind: The record's class; its fields may be records, optional, tuples and mappings of such.
        value: A dict with the fields; those that are missing keep their defaults.

    Raises:
        TypeError: A field is unknown, missing, or not of its type.
        KeyError: As TypeError.
    """
    return cast("T", _read(kind, value))


def _read(kind: Any, value: object) -> object:
    if is_dataclass(kind):
        return _record(cast("type[object]", kind), value)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _read(next(one for one in inner if one is not type(None)), value)
    if origin is tuple:
        return _tuple(inner, value)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise TypeError(f"{value!r} is no mapping")
        return {key: _read(inner[1], one) for key, one in cast("dict[str, object]", value).items()}
    return _plain(kind, value)


def _record(kind: type[object], value: object) -> object:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    hints, known = get_type_hints(kind), {one.name for one in fields(cast("Any", kind))}
    raw = cast("dict[str, object]", value)
    if unknown := raw.keys() - known:
        raise TypeError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
    return kind(**{key: _read(hints[key], one) for key, one in raw.items()})


def _tuple(inner: tuple[Any, ...], value: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    items = cast("list[object]", value)
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(_read(inner[0], one) for one in items)
    return tuple(_read(part, one) for part, one in zip(inner, items, strict=True))


def _plain(kind: Any, value: object) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float, str, bool) and not (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value

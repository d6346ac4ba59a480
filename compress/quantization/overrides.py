"""The user's word on single layers, from a TOML file."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, cast

from ...runtime.errors import ConfigError
from .ranges import METHODS, Method

Precision = Literal["float", "int8"]
_EXAMPLE = '[[layer]] name = "node_conv*" precision = "float"'


@dataclass(frozen=True, slots=True)
class Layer:
    """What one or more layers shall be; None leaves a field to the quantizer.

    Attributes:
        name: Name of a node, or a pattern with `*` and `?`.
        precision: `float` or `int8`; int8 holds even where it is slower.
        method: Range method of the layer's output.
        percentile: Share of the output's values inside its range, percent; for the method `percentile`.
        weight_bits: 8, or 7 where sums of two products must fit 16 bits.
    """

    name: str
    precision: Precision | None = None
    method: Method | None = None
    percentile: float | None = None
    weight_bits: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that no layer can have.

        Raises:
            ConfigError: A field is unknown or out of range; it says which.
        """
        if not isinstance(self.name, str) or not self.name:  # pyright: ignore[reportUnnecessaryIsInstance]  # it may come from a file
            raise ConfigError("a layer needs a name", repr(self.name), f"for example {_EXAMPLE}")
        if self.precision not in (None, "float", "int8"):
            raise ConfigError(f"the precision of {self.name} is unknown", repr(self.precision), "choose float or int8")
        if self.method is not None and self.method not in METHODS:
            raise ConfigError(f"the range method of {self.name} is unknown", repr(self.method), f"choose one of {', '.join(METHODS)}")
        given = self.percentile
        if given is not None and not (isinstance(given, int | float) and 50 <= given <= 100):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"the percentile of {self.name} must be between 50 and 100", self.percentile, "99.99 is usual")
        if self.weight_bits not in (None, 7, 8):
            raise ConfigError(f"the weights of {self.name} can have 7 or 8 bits", repr(self.weight_bits), "choose 7 or 8")


def read_layers(path: Path) -> tuple[Layer, ...]:
    """Read a TOML file with one `[[layer]]` table a rule; of several rules for a layer the last one counts.

    Raises:
        ConfigError: The file is missing, is no TOML, or has a key or value that is not known.
    """
    try:
        text = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("the file of layer rules cannot be read", f"{path} ({error.strerror})", "check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("the file of layer rules is no TOML", f"{path} ({error})", f"write it like this: {_EXAMPLE}") from error
    tables = text.get("layer", [])
    unknown = sorted(text.keys() - {"layer"})
    if unknown or not isinstance(tables, list) or not all(isinstance(one, dict) for one in cast("list[object]", tables)):
        raise ConfigError("the file of layer rules holds [[layer]] tables only", f"{path} ({', '.join(unknown) or 'layer'})", _EXAMPLE)
    return tuple(_layer(one, path) for one in cast("list[dict[str, object]]", tables))


def layer_for(node: str, layers: Iterable[Layer], absorbed: Iterable[str] = ()) -> Layer:
    """Return what the rules say about a node, or about one of those that its kernel absorbs; later rules over earlier ones."""
    names = (node, *absorbed)
    merged: dict[str, object] = {"name": node}
    for layer in layers:
        if any(fnmatchcase(name, layer.name) for name in names):
            merged |= {field.name: value for field in fields(Layer)[1:] if (value := getattr(layer, field.name)) is not None}
    return Layer(**merged)  # type: ignore[arg-type]  # the fields of Layer itself


def _layer(table: Mapping[str, object], path: Path) -> Layer:
    known = [field.name for field in fields(Layer)]
    unknown = sorted(table.keys() - {*known})
    if unknown or "name" not in table:
        raise ConfigError(
            f"a layer rule in {path.name} cannot be read", ", ".join(unknown) or "it has no name", f"known keys: {', '.join(known)}"
        )
    return Layer(**table)  # type: ignore[arg-type]  # the record checks the values

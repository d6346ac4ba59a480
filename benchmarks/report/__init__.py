"""A benchmark's document for people and for other programs: CSV, markdown, one web page, a picture of each chart."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .page import to_html as to_html
    from .page import write_html as write_html
    from .pictures import write_charts as write_charts
    from .text import to_csv as to_csv
    from .text import to_markdown as to_markdown

_HOMES = {"to_csv": "text", "to_html": "page", "to_markdown": "text", "write_charts": "pictures", "write_html": "page"}

__all__ = ["to_csv", "to_html", "to_markdown", "write_charts", "write_html"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)

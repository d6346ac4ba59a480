"""From a chart's specification to SVG and PNG, without a browser."""

import json
import re
from typing import Any

from ...runtime.errors import ConfigError
from .chart import Chart
from .theme import config, in_light, var

WIDE, NARROW = 760, 340  # pixels: a page on a desk, a page on a phone of 360
_CLIP = re.compile(r'(id="|url\(#)(clip|gradient_?)(\d+)')
_SIZE = re.compile(r' width="[\d.]+" height="[\d.]+"')


def check_tools() -> None:
    """Find out before anything is drawn whether charts can be.

    Raises:
        ConfigError: altair or vl-convert is not installed.
    """
    from importlib.util import find_spec

    missing = [package for module, package in (("altair", "altair"), ("vl_convert", "vl-convert-python")) if find_spec(module) is None]
    if missing:
        raise ConfigError("charts need packages that are not installed", ", ".join(missing), "pip install 'edgerec[toolkit]'")


def specification(chart: Chart, width: int) -> dict[str, Any]:
    """Return a chart's Vega-Lite specification, with the page's colours as variables."""
    return {**chart.draw(width).to_dict(), "config": config(), "padding": 4}


def to_svg(chart: Chart, width: int) -> str:
    """Return a chart for the page: its size follows the page, its colours are the page's, each mark says its figures."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(specification(chart, width), vl_version=_vega_lite_version())
    svg = _numbered(svg, f"{chart.name}-{width}-")
    return _SIZE.sub("", svg, count=1)


def to_light_svg(chart: Chart) -> str:
    """Return a chart as a file of its own, in light colours, on white."""
    import vl_convert

    return _numbered(vl_convert.vegalite_to_svg(_in_light(chart), vl_version=_vega_lite_version()), f"{chart.name}-")


def to_light_png(chart: Chart) -> bytes:
    """Return the same as PNG, two pixels a point."""
    import vl_convert

    return vl_convert.vegalite_to_png(_in_light(chart), vl_version=_vega_lite_version(), scale=2)


def _in_light(chart: Chart) -> dict[str, Any]:
    titled = specification(chart, WIDE)
    titled["title"] = {"text": chart.title, "subtitle": titled.get("title", "")}
    titled["config"]["background"] = var("ground")
    return json.loads(in_light(json.dumps(titled)))


def _vega_lite_version() -> str:
    """Return the version that altair writes, as vl-convert names it: `6.1`."""
    import altair

    return ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])


def _numbered(svg: str, prefix: str) -> str:
    """Number the clips of a drawing from 0: Vega counts them over the life of the process, and a page holds many drawings."""
    seen: dict[str, int] = {}
    return _CLIP.sub(lambda found: f"{found[1]}{prefix}{found[2]}{seen.setdefault(found[2] + found[3], len(seen))}", svg)

"""Colours, shapes and type of every chart and of the page: one list for light, one for dark.

Colours are CSS variables inside the page, so that a chart follows the reader's light or dark setting without being drawn twice; a picture
gets the light ones. All stand at a contrast of 3 to 1 or more against their ground (WCAG 2.2, 1.4.11), and none tells alone.
"""

import re
from typing import Any

LIGHT = {
    "ground": "#ffffff",
    "panel": "#f5f6f8",
    "ink": "#1b2430",
    "muted": "#556070",
    "line": "#d8dde4",
    "link": "#0b57a4",
    "warn": "#8a4b00",
    "s0": "#0b62c4",
    "s1": "#c2410c",
    "s2": "#00796b",
    "s3": "#a21caf",
    "s4": "#8a6100",
    "s5": "#374151",
    "s6": "#be123c",
    "s7": "#4d7c0f",
    "s8": "#6d28d9",
    "s9": "#0e7490",
}
DARK = {
    "ground": "#12161c",
    "panel": "#1b212a",
    "ink": "#e7ebf0",
    "muted": "#a3aebb",
    "line": "#39424e",
    "link": "#7db8ff",
    "warn": "#ffb866",
    "s0": "#6cb0ff",
    "s1": "#ff9a62",
    "s2": "#4fd1b5",
    "s3": "#f09bff",
    "s4": "#f2c14e",
    "s5": "#c5cdd8",
    "s6": "#ff8fa6",
    "s7": "#b7e06a",
    "s8": "#b9a2ff",
    "s9": "#67d5ee",
}
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (5, 2, 1, 2), (12, 3))
_SERIES = 10
_VARIABLE = re.compile(r"var\(--(\w+)\)")


def var(name: str) -> str:
    """Return a colour of the page by name."""
    return f"var(--{name})"


def series(at: int) -> str:
    """Return the colour of a document's record."""
    return var(f"s{at % _SERIES}")


def shape(at: int) -> str:
    """Return the shape of its points; with the colour it is unique among forty records."""
    return SHAPES[at % len(SHAPES)]


def dash(at: int) -> list[int]:
    """Return the dashes of its lines."""
    return list(DASHES[at % len(DASHES)])


def in_light(text: str) -> str:
    """Return a specification or a style with the light colours in the place of the variables."""
    return _VARIABLE.sub(lambda found: LIGHT[found[1]], text)


def config() -> dict[str, Any]:
    """Return Vega-Lite's `config` of every chart: quiet axes, no frame, one size of type."""
    axis = {
        "domainColor": var("line"),
        "tickColor": var("line"),
        "gridColor": var("line"),
        "gridOpacity": 0.6,
        "labelColor": var("muted"),
        "titleColor": var("ink"),
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "labelFlush": False,
        "titleFontSize": 12,
        "labelLimit": 230,
        "titlePadding": 8,
    }
    legend = {
        "orient": "bottom",
        "labelColor": var("ink"),
        "titleColor": var("muted"),
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 300,
        "symbolSize": 90,
        "symbolOpacity": 1,
        "rowPadding": 4,
        "columnPadding": 30,
    }
    return {
        "font": "sans-serif",
        "background": None,
        "view": {"stroke": None},
        "axis": axis,
        "axisY": {"labelPadding": 6},
        "legend": legend,
        "title": {"color": var("ink"), "subtitleColor": var("muted"), "fontSize": 13, "fontWeight": "bold", "anchor": "start"},
        "text": {"color": var("ink"), "fontSize": 12},
        "rule": {"color": var("muted")},
        "tick": {"color": var("ink")},
    }

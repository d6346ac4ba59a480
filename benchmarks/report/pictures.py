"""Each chart as PNG and SVG in a folder."""

from pathlib import Path

from ...runtime.errors import OutputError
from ...runtime.files import replacing, write_text
from ..document import Document
from ..history import History
from .charts import charts_of
from .drawing import check_tools, to_light_png, to_light_svg
from .naming import name_records
from .over_time import over_time


def write_charts(document: Document, folder: Path, history: History | None = None) -> tuple[Path, ...]:
    """Write `NAME.png` and `NAME.svg` for every chart that the document has figures for.

    Args:
        document: What was measured.
        folder: Where to; it is made if its parent exists.
        history: Earlier runs, drawn over time.

    Returns:
        What was written.

    Raises:
        ConfigError: altair or vl-convert is not installed.
        OutputError: The folder is a file, or cannot be made or written.
    """
    check_tools()
    _make(folder)
    written: list[Path] = []
    charts = charts_of(name_records(document.records), document.labels) | (over_time(history) if history else {})
    for name, chart in charts.items():
        with replacing(folder / f"{name}.png") as temporary:
            temporary.write_bytes(to_light_png(chart))
        write_text(folder / f"{name}.svg", to_light_svg(chart))
        written += [folder / f"{name}.png", folder / f"{name}.svg"]
    return tuple(written)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise OutputError("the folder for the charts is a file", folder, "give the name of a folder") from error
    except OSError as error:
        raise OutputError("the folder for the charts cannot be made", f"{folder} ({error.strerror})", "make it first") from error

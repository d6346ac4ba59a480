"""All charts of a report, in the order of the page."""

from collections.abc import Sequence

from .chart import Chart
from .costs import memory, stages, start
from .latencies import distribution, percentiles
from .losses import classes, corruptions
from .naming import Named
from .roof import operators, roofline
from .tradeoff import tradeoff


def charts_of(named: Sequence[Named], labels: Sequence[str]) -> dict[str, Chart]:
    """Return by name the charts for which the document has figures."""
    drawn = (
        tradeoff(named),
        percentiles(named),
        distribution(named),
        stages(named),
        operators(named),
        start(named),
        roofline(named),
        memory(named),
        classes(named, labels),
        corruptions(named),
    )
    return {chart.name: chart for chart in drawn if chart}

"""Ways to fill a page: a table, and the curve of what diversity costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from distill.reports.point import Number

Ways = Mapping[str, Mapping[str, Number]]
"""Way to measure to number; see `distill.cascade.ways.measure_ways`."""
TITLES = {
    "value": "value of a place",
    "distance": "intra-list distance, 1 − cos",
    "coverage": "share of the categories",
    "alpha_ndcg": "α-NDCG",
}


def ways_table(ways: Ways) -> Iterator[Sequence[str]]:
    """Yields the head and the rows of a table."""
    yield ["page", *TITLES.values()]
    for name, found in ways.items():
        yield [name, *(str(found[measure]) for measure in TITLES)]


def markdown(ways: Ways) -> str:
    """Returns the table as Markdown."""
    head, *rows = ways_table(ways)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)) + "\n"


def draw_ways(ways: Ways, errors: str, path: Path) -> bool:
    """Draws what each kind gives against the value of a place, a panel for each measure; nothing without values.

    Args:
        ways: What was measured.
        errors: What the bars are.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of import, seldom needed
    from matplotlib.figure import Figure

    if not ways or any(math.isnan(found["value"].value) for found in ways.values()):
        return False
    figure = Figure(figsize=(14, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    kinds = list(dict.fromkeys(name.partition(" ")[0] for name in ways))
    for panel, measure in zip(figure.subplots(1, 3), list(TITLES)[1:], strict=True):
        for kind in kinds:
            own = {name: found for name, found in ways.items() if name.partition(" ")[0] == kind}
            x, y = ([found[of] for found in own.values()] for of in (measure, "value"))
            at = [one.value for one in x], [one.value for one in y]
            look = {"marker": "*", "markersize": 13, "zorder": 3} if len(own) == 1 else {"marker": "o", "markersize": 4}
            panel.errorbar(*at, _bars(y), _bars(x), capsize=2, label=kind, **look)
            for name, *place in zip(own, *at, strict=True):
                panel.annotate(name.partition(" ")[2], place, (4, 4), textcoords="offset points", fontsize=7)
        panel.set_xlabel(TITLES[measure])
        panel.set_ylabel(TITLES["value"])
        panel.grid(visible=True, alpha=0.3)
    panel.legend(fontsize="small")
    figure.suptitle(f"numbers at points: λ, from relevance (1) to diversity (0); bars: {errors}", fontsize="small")
    figure.savefig(path, dpi=130)
    return True


def _bars(numbers: Sequence[Number]) -> list[float]:
    return [0.0 if math.isnan(one.error) else one.error for one in numbers]

"""A study of feedback: how exposures concentrate, round by round, as JSON, a table and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from distill.files import write_text_atomic
from distill.reports.backtest import Spread, spread
from distill.reports.numbers import number

FEEDBACK_FILE = "feedback.json"
PICTURE_FILE = "feedback.png"
TITLES = {
    "chance": "true chance of a click on what is shown",
    "gini": "Gini of exposures",
    "top_1_percent": "share of exposures of the top 1 % of items",
    "top_10_percent": "share of exposures of the top 10 %",
    "coverage": "share of items shown at all",
    "tail": "share of exposures of the tail",
    "new": "share of exposures of new items",
    "new_lift": "exposures of a new candidate over any's",
}
_ON_SCREEN = ("chance", "gini", "top_1_percent", "coverage", "tail", "new_lift")
_PANELS = ("chance", "gini", "top_1_percent", "coverage", "tail", "new_lift")


@dataclass(frozen=True)
class Feedback:
    """What every arm measured.

    Attributes:
        seeds: Of the worlds.
        values: Arm to, for each world and round, the measures by name. Round 0 is production's in every arm.
    """

    seeds: tuple[int, ...]
    values: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]

    def at(self, arm: str, measure: str, round_: int) -> Spread:
        """Returns mean and deviation over the worlds."""
        return spread([world[round_].get(measure, math.nan) for world in self.values[arm]])

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return len(next(iter(self.values.values()))[0])


def save_feedback(found: Feedback, folder: Path) -> None:
    """Writes `feedback.json`, `feedback.md` with the last round, and `feedback.png`."""
    content = {
        "seeds": list(found.seeds),
        "arms": {
            arm: {
                measure: [
                    [x if math.isfinite(x) else None for x in found.at(arm, measure, round_)]
                    for round_ in range(found.rounds)
                ]
                for measure in TITLES
            }
            for arm in found.values
        },
    }
    write_text_atomic(folder / FEEDBACK_FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_text_atomic(folder / "feedback.md", feedback_markdown(found))
    _draw(found, folder / PICTURE_FILE)


def feedback_markdown(found: Feedback) -> str:
    """Returns the last round as a table, mean ± deviation over the worlds."""
    lines = [f"| arm | {' | '.join(TITLES.values())} |", "|---|" + "---|" * len(TITLES)]
    lines += [
        f"| {arm} | {' | '.join(_cell(found.at(arm, name, found.rounds - 1)) for name in TITLES)} |"
        for arm in found.values
    ]
    return "\n".join(lines) + "\n"


def print_feedback(found: Feedback, console: Console) -> None:
    """Prints the last round."""
    title = f"Round {found.rounds - 1}, mean ± deviation over {len(found.seeds)} worlds"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in _ON_SCREEN:
        table.add_column(name.replace("_percent", " %").replace("_", " "), justify="right")
    for arm in found.values:
        cells = [_cell(found.at(arm, name, found.rounds - 1)).replace(" ± ", "\n±") for name in _ON_SCREEN]
        table.add_row(arm.replace("+", "\n+"), *cells)
    console.print(table)


def _cell(found: Spread) -> str:
    mean, deviation = found
    return number(mean) + ("" if math.isnan(deviation) else f" ± {number(deviation)}")


def _draw(found: Feedback, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a second of import, seldom needed
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 3).ravel()
    families = list(dict.fromkeys(_family(arm) for arm in found.values))
    for panel, measure in zip(panels, _PANELS, strict=True):
        for place, arm in enumerate(found.values):
            points = [found.at(arm, measure, round_) for round_ in range(found.rounds)]
            errors = [0.0 if math.isnan(deviation) else deviation for _, deviation in points]
            x = [round_ + 0.03 * (place - len(found.values) / 2) for round_ in range(found.rounds)]
            own, look = f"C{families.index(_family(arm))}", "--" if _family(arm) != arm else "-"
            panel.errorbar(
                x, [mean for mean, _ in points], errors, label=arm, color=own, linestyle=look, capsize=2, marker="."
            )
        panel.set_title(TITLES[measure], fontsize="medium")
        panel.set_xticks(range(found.rounds))
        panel.grid(visible=True, alpha=0.3)
    figure.supxlabel(
        f"round (0: production decides); mean ± deviation over {len(found.seeds)} worlds", fontsize="medium"
    )
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(families), handlelength=4, frameon=False)
    figure.savefig(path, dpi=130)


def _family(arm: str) -> str:
    """What an arm is called without its exploration."""
    return arm.partition("+")[0]

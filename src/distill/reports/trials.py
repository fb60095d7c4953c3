"""The trials of a study as a table in the terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from distill.files import write_text_atomic


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    Attributes:
        number: In the study, from 0.
        state: complete | pruned | fail | running.
        value: Of the objective: the mean over seeds, each at its chosen checkpoint; of a pruned trial, at its last
            validation; None if it has none.
        validations: Reported by the first seed.
        params: Key to the value that was tried.
    """

    number: int
    state: str
    value: float | None
    validations: int
    params: dict[str, float | int | str]


def ranked(rows: Sequence[TrialRow], largest_first: bool) -> list[TrialRow]:
    """Puts complete trials first, the best at the top, then pruned ones, then those without a value."""

    def place(row: TrialRow) -> tuple[int, float]:
        order = {"complete": 0, "pruned": 1}.get(row.state, 2)
        value = math.inf if row.value is None else -row.value if largest_first else row.value
        return order, value

    return sorted(rows, key=place)


def trials_table(rows: Sequence[TrialRow], objective: str, title: str) -> Table:
    """Builds the table of ranked trials; the best is bold."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    head, body = _cells(rows, objective)
    for name in head:
        right = name != "state"
        table.add_column(
            name.replace(".", ".\n") if name in _keys(rows) else name, justify="right" if right else "left"
        )
    for row, cells in zip(rows, body, strict=True):
        table.add_row(*cells, style="bold" if row is _best(rows) else None)
    return table


def trials_markdown(rows: Sequence[TrialRow], objective: str) -> str:
    """Writes ranked trials as a Markdown table; the best is bold."""
    head, body = _cells(rows, objective)
    lines = ["| " + " | ".join(head) + " |", "|" + " ---: |" * len(head)]
    for row, cells in zip(rows, body, strict=True):
        text = [f"**{cell}**" for cell in cells] if row is _best(rows) else cells
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in text) + " |")
    return "\n".join(lines) + "\n"


def save_trials(rows: Sequence[TrialRow], objective: str, path: Path) -> None:
    """Writes ranked trials as JSON."""
    content = {"objective": objective, "trials": [asdict(row) for row in rows]}
    write_text_atomic(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _cells(rows: Sequence[TrialRow], objective: str) -> tuple[list[str], list[list[str]]]:
    keys = _keys(rows)
    body = [
        [
            str(row.number),
            row.state,
            "–" if row.value is None else f"{row.value:.4f}",
            str(row.validations),
            *(_number(row.params[key]) if key in row.params else "–" for key in keys),
        ]
        for row in rows
    ]
    return ["trial", "state", objective, "validations", *keys], body


def _keys(rows: Sequence[TrialRow]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row.params))


def _number(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _best(rows: Sequence[TrialRow]) -> TrialRow | None:
    return rows[0] if rows and rows[0].state == "complete" else None

"""The table of a study."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from distill.reports.trials import TrialRow, ranked, save_trials, trials_markdown, trials_table

ROWS = [
    TrialRow(0, "complete", 0.5, 2, {"optimizer.lr": 0.00123456, "units": "a|b"}),
    TrialRow(1, "pruned", 0.9, 1, {"optimizer.lr": 0.1}),
    TrialRow(2, "fail", None, 0, {"optimizer.lr": 0.2}),
    TrialRow(3, "complete", 0.7, 2, {"optimizer.lr": 0.3}),
]


def test_complete_trials_come_first_and_the_best_is_on_top() -> None:
    assert [row.number for row in ranked(ROWS, True)] == [3, 0, 1, 2]
    assert [row.number for row in ranked(ROWS, False)] == [0, 3, 1, 2]


def test_markdown_marks_the_best_only_among_complete_trials() -> None:
    lines = trials_markdown(ranked(ROWS, True), "val/auc").splitlines()
    assert lines[0] == "| trial | state | val/auc | validations | optimizer.lr | units |"
    assert lines[2] == "| **3** | **complete** | **0.7000** | **2** | **0.3** | **–** |"
    assert lines[3] == "| 0 | complete | 0.5000 | 2 | 0.001235 | a\\|b |"
    assert lines[5] == "| 2 | fail | – | 0 | 0.2 | – |"
    assert "**" not in trials_markdown(ROWS[1:3], "val/auc")


def test_terminal_and_json(tmp_path: Path) -> None:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(trials_table(ranked(ROWS, True), "val/auc", "4 trials"))
    assert "0.001235" in capture.get()
    save_trials(ROWS, "val/auc", tmp_path / "trials.json")
    assert json.loads((tmp_path / "trials.json").read_text())["trials"][2]["value"] is None

"""After a sweep: one table of all its runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from distill.errors import DataError
from distill.reports.compare import compare, comparison_table, main_metrics, save_comparison
from distill.reports.summary import SUMMARY_FILE, Summary, load_summary

COMPARISON_FILE = "comparison.json"


class CompareAtEnd(Callback):
    """Hydra callback: prints the comparison of a sweep's runs and writes `comparison.json` into the sweep's folder."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compares the runs that finished and names those that did not."""
        if os.environ.get("RANK", "0") != "0":
            return
        folder = Path(config.hydra.sweep.dir)
        runs: list[Summary] = []
        unfinished: list[str] = []
        for job in sorted(path for path in folder.glob("*") if (path / ".hydra").is_dir()):
            try:
                runs.append(load_summary(job))
            except DataError:
                unfinished.append(job.name)
        console = Console()
        if unfinished:
            console.print(f"Without {SUMMARY_FILE}, left out of the comparison: {', '.join(unfinished)}")
        if not runs:
            return
        rows = compare(runs)
        console.print(comparison_table(rows, main_metrics(rows), f"{len(runs)} runs"))
        save_comparison(rows, folder / COMPARISON_FILE)
        console.print(f"All metrics: {folder / COMPARISON_FILE}", soft_wrap=True)

"""After a sweep: one table of all its runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from distill.jobs.compare import COMPARISON, find_runs, report_console, save_all
from distill.reports.compare import compare, comparison_table, main_metrics
from distill.reports.summary import SUMMARY_FILE


class CompareAtEnd(Callback):
    """Hydra callback: prints the comparison of a sweep's runs and writes it into the sweep's folder."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compares the runs that finished and names those that did not."""
        if os.environ.get("RANK", "0") != "0":
            return
        folder = Path(config.hydra.sweep.dir)
        runs, unfinished = find_runs([folder])
        console = report_console()
        if unfinished:
            names = ", ".join(path.name for path in unfinished)
            console.print(f"Without {SUMMARY_FILE}, left out of the comparison: {names}")
        if not runs:
            return
        rows = compare(runs)
        metrics = main_metrics(rows)
        console.print(comparison_table(rows, metrics, f"{len(runs)} runs"))
        save_all(rows, metrics, folder)
        console.print(f"All metrics: {folder / COMPARISON}.json; also .md and .png", soft_wrap=True)

"""After a sweep: one table of all its runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from distill.jobs.app import FAILED

if TYPE_CHECKING:  # Hydra imports this at every start
    from distill.reports.summary import Summary


class CompareAtEnd(Callback):
    """Hydra callback: prints the comparison of a sweep's runs and writes it into the sweep's folder."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compares the runs that finished and names those that did not: then the sweep has failed."""
        if os.environ.get("RANK", "0") != "0":
            return
        from distill.console import report_console
        from distill.jobs.compare import find_runs
        from distill.reports.summary import SUMMARY_FILE

        folder = Path(config.hydra.sweep.dir)
        runs, unfinished = find_runs([folder])
        console = report_console()
        if unfinished:
            names = ", ".join(path.name for path in unfinished)
            console.print(f"Without {SUMMARY_FILE}, left out of the comparison: {names}")
        if runs:
            _show(runs, folder)
        if unfinished:
            sys.exit(FAILED)


def _show(runs: Sequence[Summary], folder: Path) -> None:
    from distill.console import report_console
    from distill.jobs.compare import COMPARISON, save_all
    from distill.reports.compare import compare
    from distill.reports.comparison_table import comparison_table
    from distill.reports.main_metrics import shown_metrics
    from distill.reports.page.page import REPORT_FILE
    from distill.reports.summary import title_of

    console = report_console()
    rows = compare(runs)
    metrics = shown_metrics(rows)
    console.print(comparison_table(rows, metrics, title_of(runs), console.width))
    save_all(runs, rows, metrics, folder)
    console.print(f"All metrics: {folder / REPORT_FILE} and {COMPARISON}.json; also .md and .png", soft_wrap=True)

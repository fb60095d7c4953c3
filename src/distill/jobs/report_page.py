"""Writes `report.html` of runs, from what they left in their folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.jobs.manifest import MANIFEST_FILE
from distill.jobs.program import as_typed
from distill.reports.compare import Row
from distill.reports.evidence import load_evidence
from distill.reports.page.page import REPORT_FILE, Source, write_page
from distill.reports.summary import Summary, title_of


def write_report(runs: Sequence[Summary], rows: Sequence[Row], metrics: Sequence[str] | None, folder: Path) -> Path:
    """Writes the page of some runs into a folder.

    Args:
        runs: What they measured.
        rows: The same as rows of a comparison, in the order to show.
        metrics: To show first; those that the runs were asked for, or the main ones, if None.
        folder: Of the page.

    Returns:
        The page.

    Raises:
        DataError: The curves of a run are damaged.
    """
    found = {run.folder: load_evidence(Path(run.folder)) for run in runs if run.folder}
    path = folder / REPORT_FILE
    source = Source(
        title=title_of(runs),
        rows=rows,
        evidence={folder: evidence for folder, evidence in found.items() if evidence is not None},
        commands=list(dict.fromkeys(command for run in runs if (command := _command(run)))),
        metrics=metrics,
        facts=_facts(runs[0]) if len(runs) == 1 else {},
    )
    write_page(source, path)
    return path


def _facts(run: Summary) -> dict[str, str]:
    facts = {
        "test split": f"{run.requests:,} requests",
        "main task": run.main_task,
        "fingerprint of the data": run.dataset,
    }
    if run.scored is not None and run.scored < 1:
        facts["scored by the teacher"] = f"{run.scored:.3g} of the candidates"
    if run.cached:
        facts["from the cache"] = ", ".join(run.cached)
    return {name: value for name, value in facts.items() if value}


def _command(run: Summary) -> str:
    """How a run was started; empty if its folder does not say."""
    try:
        found = json.loads((Path(run.folder) / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    command = found.get("command") if isinstance(found, Mapping) else None
    return as_typed(command) if isinstance(command, list) else ""

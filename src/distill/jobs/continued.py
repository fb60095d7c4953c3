"""How a run goes on that was interrupted: what it says then."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from distill.jobs.program import quoted
from distill.jobs.sweep_job import task_overrides

_PLAIN = re.compile(r"[\w./-]+")  # what neither Hydra nor a shell takes for anything else


def continuation() -> str:
    """Says with which command the run that is interrupted here goes on: a sweep starts in a new folder each time, so it
    must be told its own; a study knows by that which trials did not end."""
    if not in_sweep():
        return "Continue with the same command and resume=last."
    resume = "" if any(text.startswith("study.") for text in task_overrides()) else " resume=last"
    folder = str(Path(HydraConfig.get().sweep.dir).absolute())
    value = folder if _PLAIN.fullmatch(folder) else quoted(folder)
    return f"Continue with the same command and {shlex.quote(f'hydra.sweep.dir={value}')}{resume}"


def in_sweep() -> bool:
    """Whether what runs here is a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN

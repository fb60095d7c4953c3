"""What tells a job of a sweep from the others."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode

from distill.screen.lines import speaking_as

_WIDTH = 24  # characters of overrides at the beginning of each line
_FOLDER = 120  # characters of a name of a folder, at most
_ONE_AFTER_ANOTHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
_OF_STUDY = "study."  # what a study tells its trials


def swept_overrides() -> list[str]:
    """Returns the overrides of this job that are values of a sweep or of a study.

    Launchers of Hydra's that start processes on other machines do not pass on what was typed; there it is all of them.
    """
    return swept(task_overrides(), sys.argv[1:])


def swept(overrides: Sequence[str], typed: Sequence[str]) -> list[str]:
    """Returns the overrides whose key was typed with several values, or was not typed.

    Args:
        overrides: Of a job.
        typed: The command line, its options included.
    """
    fixed = set[str]()
    for text in typed:
        with contextlib.suppress(HydraException):
            found = OverridesParser.create().parse_override(text)
            if not found.is_sweep_override():
                fixed.add(text.partition("=")[0])
    return [text for text in overrides if text.partition("=")[0] not in fixed and not text.startswith(_OF_STUDY)]


def task_overrides() -> list[str]:
    """Returns the overrides of what runs here; none where it is not run by Hydra."""
    return [str(text) for text in HydraConfig.get().overrides.task] if HydraConfig.initialized() else []


def speaking_as_job() -> AbstractContextManager[None]:
    """Within the block each line on the screen begins with the job of a sweep: its number and what differs."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return speaking_as("", alone=True)
    differs = " ".join(swept_overrides())
    number = str(hydra.job.num)
    name = f"{number} {differs}" if 0 < len(differs) <= _WIDTH else number
    return speaking_as(name, alone=hydra.launcher._target_ == _ONE_AFTER_ANOTHER)


def job_folder_name() -> str:
    """Returns a folder's name that says what differs in a job of a sweep; empty outside of sweeps."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return ""
    return re.sub(r"[^\w.,=+@~:-]+", "_", ",".join(swept_overrides()))[:_FOLDER] or str(HydraConfig.get().job.num)

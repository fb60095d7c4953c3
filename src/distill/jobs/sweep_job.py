"""What tells a job of a sweep from the others."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from distill.screen.lines import speaking_as

_WIDTH = 24  # characters of overrides at the beginning of each line
_ONE_AFTER_ANOTHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
_OF_STUDY = "study."  # what a study tells its trials


def swept_overrides() -> list[str]:
    """Returns the overrides of this job that were not typed as they are: values of a sweep, or of a study.

    Launchers of Hydra's that start processes on other machines do not pass on what was typed; there it is all of them.
    """
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task)
    assert isinstance(overrides, list)
    return [text for text in map(str, overrides) if text not in sys.argv and not text.startswith(_OF_STUDY)]


def speaking_as_job() -> AbstractContextManager[None]:
    """Within the block each line on the screen begins with the job of a sweep: its number and what differs."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return speaking_as("", alone=True)
    differs = " ".join(swept_overrides())
    number = str(hydra.job.num)
    name = f"{number} {differs}" if 0 < len(differs) <= _WIDTH else number
    return speaking_as(name, alone=hydra.launcher._target_ == _ONE_AFTER_ANOTHER)

"""Hydra's side of going on with a run. Hydra imports this at every start: what is slow is imported when it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from distill.errors import ConfigError
from distill.jobs.app import LAST, guarded


class CheckResumed(Callback):
    """Hydra callback: compares before Hydra itself writes its records of the command into the run folder."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends the program with one message if the command does not say with which sweep it goes on."""
        if config.resume is not None:
            guarded(lambda folder: _check_sweep(str(config.resume), folder), Path(config.hydra.sweep.dir))

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends the program with one message if the command may not go on with the run."""
        if config.resume is not None:
            from distill.jobs.resumed import check_command

            guarded(check_command, config)


def _check_sweep(resume: str, folder: Path) -> None:
    if resume == LAST and folder.is_dir():
        return
    raise ConfigError(
        "A sweep that goes on needs its folder.",
        where="resume",
        expected="the folder of the sweep, with resume=last",
        found=f"resume={resume}, and a folder that is not there: {folder}",
        remedy="Give hydra.sweep.dir=FOLDER resume=last; jobs that ended are only tested again.",
    )

"""Hydra's side of going on with a run. Hydra imports this at every start: what is slow is imported when it is used."""

from __future__ import annotations

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from distill.jobs.app import guarded


class CheckResumed(Callback):
    """Hydra callback: compares before Hydra itself writes its records of the command into the run folder."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends the program with one message if the command may not go on with the run."""
        if config.resume is not None:
            from distill.jobs.resumed import check_command

            guarded(check_command, config)

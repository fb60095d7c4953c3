"""Hydra's side of a study. Hydra imports this at every start, so what is slow is imported when a sweep begins."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Runs the trials of a study as jobs of the configured launcher."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Takes what Hydra gives every sweeper."""
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> None:
        """Runs the study; an error of the user's making ends the program with its message."""
        from distill.errors import ConfigError
        from distill.jobs import app

        def run(config: DictConfig) -> None:
            if importlib.util.find_spec("optuna") is None:
                raise ConfigError("Optuna is not installed.", where="+sweep=optuna", remedy="pip install optuna")
            from distill.jobs.study.tuning import Tuning

            Tuning(config, arguments, self._launch).run()

        assert self.config is not None
        app.guarded(run, self.config)

    def _launch(self, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        self.validate_batch_is_legal(jobs)
        assert self.launcher is not None
        return self.launcher.launch(jobs, initial_job_idx=first)

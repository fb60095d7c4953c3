"""Hydra's side of a sweep on Ray. Hydra imports this at every start, so what is slow is imported when one begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from distill.jobs.ray_sweep import RaySweep


class RayLauncher(Launcher):
    """Runs the jobs of a sweep as tasks of Ray; conf/hydra/launcher/distill_ray.yaml says what its arguments are."""

    def __init__(
        self, n_jobs: int, cpus_per_job: int, gpus_per_job: int, address: str | None, object_store_bytes: int | None
    ) -> None:
        super().__init__()
        self.sizes = n_jobs, cpus_per_job, gpus_per_job
        self.address = address
        self.object_store_bytes = object_store_bytes
        self.sweep: RaySweep | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Takes what Hydra gives every launcher."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs jobs, and returns what they returned, in their order. Ray stays for those of the next call."""
        from distill.jobs.ray_sweep import RaySweep

        if self.sweep is None:
            self.sweep = RaySweep(self.hydra_context, self.config, self.task_function)
            self.sweep.start(*self.sizes, self.address, self.object_store_bytes)
        return self.sweep.run(job_overrides, initial_job_idx)

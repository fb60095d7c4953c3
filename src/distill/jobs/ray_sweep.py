"""The jobs of a sweep as tasks of Ray: what Hydra's launchers do, for processes that Ray starts."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from distill.engines.ray_cluster import RayOptions, await_lines, connected, give_up, own_lines
from distill.errors import ConfigError

_log = logging.getLogger(__name__)
_KEYS = "hydra.launcher."
_SAVE_SECONDS = 120.0  # what jobs have for a checkpoint when the sweep is interrupted


class RaySweep:
    """Runs the jobs of a sweep on Ray.

    Args:
        hydra_context: Of the sweep.
        config: Of the sweep.
        task_function: What each job runs.
    """

    def __init__(self, hydra_context: HydraContext, config: DictConfig, task_function: TaskFunction) -> None:
        self.context, self.config, self.task = hydra_context, config, task_function
        self._stack = ExitStack()

    def start(self, n_jobs: int, cpus: int, gpus: int, address: str | None, object_store_bytes: int | None) -> None:
        """Starts Ray on this machine, which ends with this process, or connects to a cluster.

        Args:
            n_jobs: Jobs side by side.
            cpus: Processors of each.
            gpus: GPUs of each.
            address: Of a cluster; None starts Ray here.
            object_store_bytes: Memory in which Ray's processes share data; None leaves it to Ray.

        Raises:
            ConfigError: A number is none, Ray cannot be had, or it has no GPUs for a job.
            RankError: It does not start.
        """
        for name, value, least in (("n_jobs", n_jobs, 1), ("cpus_per_job", cpus, 1), ("gpus_per_job", gpus, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                where, wanted = f"{_KEYS}{name}", f"a whole number of at least {least}"
                raise ConfigError("The launcher cannot run so many.", where=where, expected=wanted, found=str(value))
        self.n_jobs = n_jobs
        own_lines()
        here = None if address is not None else n_jobs * cpus
        options = RayOptions(address, here, object_store_bytes, "hydra/launcher=distill_ray", _KEYS)
        self._ray: ModuleType = self._stack.enter_context(connected(options))
        self._check_room(cpus, gpus)
        self._run = self._ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(run_sweep_job)

    def _check_room(self, cpus: int, gpus: int) -> None:
        """Refuses jobs that no machine has room for, which would wait forever."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in machines):
            where = f"{_KEYS}cpus_per_job, {_KEYS}gpus_per_job"
            found = "; ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in machines)
            raise ConfigError(
                "No machine has room for a job.",
                where=where,
                expected=f"a machine with {cpus} processors and {gpus} GPUs",
                found=found,
            )

    def run(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Runs jobs, at most `n_jobs` at once.

        Args:
            job_overrides: The overrides of each.
            first: The number of the first.

        Returns:
            What they returned, in their order. Of a job whose process died it is None, as of one that an error of the
            user's ended: the others have their turn.
        """
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        _log.info("Ray runs %d jobs, at most %d at once", len(job_overrides), self.n_jobs)
        shared = self._ray.put((self.context, self.config, self.task, Singleton.get_state()))
        where = str(Path.cwd()), list(sys.argv)
        found: dict[int, JobReturn] = {}
        waiting, running = list(enumerate(job_overrides, first)), dict[Any, tuple[int, Sequence[str]]]()
        try:
            while waiting or running:
                while waiting and len(running) < self.n_jobs:
                    number, overrides = waiting.pop(0)
                    _log.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))
                    run = self._run.options(name=f"job {number}")
                    running[run.remote(where, [shared], number, list(overrides))] = number, overrides
                for reference in self._ray.wait(list(running), num_returns=1)[0]:
                    number, overrides = running.pop(reference)
                    found[number] = self._result(reference, number, overrides)
        except (KeyboardInterrupt, SystemExit):
            give_up(self._ray, list(running), _SAVE_SECONDS)
            raise
        finally:
            give_up(self._ray, list(running), 0)
            await_lines()
        return [found[number] for number in sorted(found)]

    def _result(self, reference: Any, number: int, overrides: Sequence[str]) -> JobReturn:
        try:
            result: JobReturn = self._ray.get(reference)
            return result
        except self._ray.exceptions.RayTaskError as error:
            return JobReturn(overrides=overrides, status=JobStatus.FAILED, _return_value=error)
        except self._ray.exceptions.RayError as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            _log.error("The worker of job %d died: %s", number, said)
            return JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=None)


def run_sweep_job(where: tuple[str, list[str]], shared: list[Any], number: int, overrides: Sequence[str]) -> JobReturn:
    """Runs a job in a process that Ray started, as Hydra's launchers run one in theirs.

    Args:
        where: The folder that relative paths are in, and the command line.
        shared: The reference to the sweep's context, config and function, and to the state of Hydra's singletons.
        number: Of the job.
        overrides: Of the job.
    """
    import ray

    folder, sys.argv = where[0], list(where[1])
    with contextlib.suppress(FileNotFoundError):  # then no path is relative to it
        os.chdir(folder)
    context, config, task, state = ray.get(shared[0])
    setup_globals()
    Singleton.set_state(state)
    own = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(own):
        own.hydra.job.id = f"{own.hydra.job.name}_{number}"
        own.hydra.job.num = number
    HydraConfig.instance().set_config(own)
    try:
        return run_job(
            hydra_context=context,
            task_function=task,
            config=own,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    except SystemExit as stop:  # which Ray takes for the end of its worker
        error = RuntimeError(f"Job {number} ended with exit status {stop.code}.")
        return JobReturn(overrides=overrides, status=JobStatus.FAILED, _return_value=error)

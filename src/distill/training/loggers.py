"""Lightning's loggers, told which fit they log: its curves in one place for each role, also after a restart.

Each takes what it wants of these, from the run and from no config: `folder`, where files of the run belong; `run`, its
name, which tells it from all others; and `role` (teacher | control | student | model).
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, WandbLogger

from distill.errors import ConfigError
from distill.ops.ranks import rank

_RUN_TAG = "distill.run"
_FIT_TAG = "distill.fit"  # a hash: MLflow's filters know no escapes, and a name may have quotes


class FitCSV(CSVLogger):
    """Writes `csv/<role>/version_<n>/metrics.csv`, one version for each process that trained."""

    def __init__(self, folder: Path, run: str, role: str, flush_logs_every_n_steps: int = 100) -> None:
        super().__init__(folder / "csv", name=role, flush_logs_every_n_steps=flush_logs_every_n_steps)


class FitWandb(WandbLogger):
    """Logs to Weights & Biases: a run for each fit, grouped by the run of this program.

    Args:
        folder: Where its files go.
        run: Name of the group.
        role: Which model is trained.
        project: Of Weights & Biases.
        offline: Whether files are written for `wandb sync`, and nothing is sent.
        entity: The team; None is the user's own.
    """

    def __init__(
        self, folder: Path, run: str, role: str, project: str, offline: bool = False, entity: str | None = None
    ) -> None:
        identity = _digest(f"{run}/{role}")
        name = f"{role} {run}"
        try:
            super().__init__(
                name=name, save_dir=folder, id=identity, project=project, offline=offline, entity=entity, group=run
            )
        except ModuleNotFoundError as error:
            raise _missing("wandb", "Weights & Biases") from error

    def finalize(self, status: str) -> None:
        """Ends the run, so that the next fit of this process has its own."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None


class FitMLflow(MLFlowLogger):
    """Logs to MLflow: a run for each fit, which a resumed fit goes on with.

    Args:
        run: Name of the run of this program; with the role it is the tag `distill.run`.
        role: Which model is trained.
        experiment_name: Of MLflow.
        tracking_uri: Of the server, or `sqlite:///FILE`.
    """

    def __init__(self, run: str, role: str, experiment_name: str, tracking_uri: str) -> None:
        fit = f"{run}/{role}"
        digest = _digest(fit)
        try:
            super().__init__(
                experiment_name=experiment_name,
                run_name=f"{role} {run}",
                tracking_uri=tracking_uri,
                tags={_RUN_TAG: fit, _FIT_TAG: digest, "distill.role": role},
            )
        except ModuleNotFoundError as error:
            raise _missing("mlflow", "MLflow") from error
        self._run_id = self._earlier(digest)
        self._goes_on = self._run_id is not None

    def _earlier(self, digest: str) -> str | None:
        experiment = self._mlflow_client.get_experiment_by_name(self._experiment_name)
        if experiment is None or rank() != 0:
            return None
        found = self._mlflow_client.search_runs([experiment.experiment_id], f"tags.`{_FIT_TAG}` = '{digest}'")
        return found[0].info.run_id if found else None

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Logs them once: MLflow refuses others for a run that goes on."""
        if not self._goes_on:
            super().log_hyperparams(params, *args, **kwargs)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs them, under names that MLflow takes."""
        super().log_metrics({name.replace("@", "_at_"): value for name, value in metrics.items()}, step)


def _digest(fit: str) -> str:
    return blake2b(fit.encode(), digest_size=8).hexdigest()


def _missing(package: str, name: str) -> ConfigError:
    return ConfigError(
        f"{name} is not installed.",
        where="logger",
        found=package,
        remedy=f"Install it: pip install 'distill-ranker[{package}]'.",
    )

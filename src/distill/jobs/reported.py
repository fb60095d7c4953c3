"""The metrics that a run is asked to show (`metrics.report`), before anything is trained: whether there are such."""

from __future__ import annotations

from omegaconf import DictConfig

from distill.errors import ConfigError
from distill.jobs.monitored import measured_names
from distill.jobs.teacher import scored_tasks
from distill.models.score import RankingScore
from distill.schema import Schema


def check_reported(cfg: DictConfig, schema: Schema) -> None:
    """Finds a mistyped metric before any data is prepared.

    Raises:
        ConfigError: A metric that is asked for is not measured.
    """
    asked = [str(name) for name in cfg.metrics.get("report") or ()]
    if not asked:
        return
    taught = cfg.teacher.source != "none"
    teacher = taught, taught and bool(RankingScore(schema, scored_tasks(cfg, schema)).tasks)
    known = {name for names in measured_names(cfg, schema, teacher).values() for name in names}
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise ConfigError(
            "The report asks for metrics that are not measured.",
            where="metrics.report",
            expected=", ".join(sorted(known)),
            found=", ".join(unknown),
        )

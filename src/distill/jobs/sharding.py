"""What embedding tables that are divided over the ranks, or stored in bfloat16, cannot do: refused before any data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from omegaconf import DictConfig

from distill.errors import ConfigError
from distill.features import table_factory
from distill.jobs.fit_plan import FitPlan
from distill.jobs.machine import processes

_WHERE = "embedding.sharding"
_KEEP_WEIGHTS = ("auto", "32-true", "bf16-mixed", "16-mixed")  # of trainer.precision: weights keep their types


def check_sharding(cfg: DictConfig, plans: Sequence[FitPlan]) -> None:
    """Refuses what sharded tables cannot do; one process has whole tables, which can.

    Args:
        cfg: Of the run.
        plans: Of the models that it trains.

    Raises:
        ConfigError: The teacher learns with the student, tables are to begin with rows of elsewhere, or weights are
            averaged.
    """
    if cfg.embedding.sharding is None:
        return
    if cfg.teacher.source == "cotrained":
        raise ConfigError(
            "A cotrained teacher and its student need whole embedding tables.",
            where=_WHERE,
            expected="null",
            found=str(cfg.embedding.sharding),
            remedy="Set embedding=default, or train the teacher first (teacher=trained).",
        )
    if processes(cfg) == 1:
        return
    if cfg.callbacks.weight_average is not None:
        raise ConfigError(
            "Sharded embedding tables have no average.",
            where="callbacks.weight_average",
            expected="null with embedding.sharding",
            found=str(cfg.callbacks.weight_average),
            remedy="Set callbacks.weight_average=null, or embedding=default.",
        )
    for where, found in (begun for plan in plans for begun in _begun(plan, cfg.resume is not None)):
        raise ConfigError(
            "Sharded tables cannot start with rows from elsewhere.",
            where=where,
            expected="nothing, or embedding=default",
            found=found,
        )


def check_tables(cfg: DictConfig) -> None:
    """Refuses types of embedding tables that they cannot have.

    Raises:
        ConfigError: Tables of this kind do not have the type, or the precision of the trainer would change it.
    """
    sharding, dtype, precision = cfg.embedding.sharding, cfg.embedding.dtype, cfg.trainer.get("precision", "32-true")
    table_factory(sharding, dtype)
    if dtype != "float32" and str(precision) not in _KEEP_WEIGHTS:
        raise ConfigError(
            "This precision gives all weights its own type, embedding tables too.",
            where="embedding.dtype, trainer.precision",
            expected=f"embedding.dtype=float32, or trainer.precision={', '.join(_KEEP_WEIGHTS)}",
            found=f"embedding.dtype={dtype}, trainer.precision={precision}",
        )


def _begun(plan: FitPlan, resumed: bool) -> Iterator[tuple[str, str]]:
    """Yields what the tables of a model begin with: key and file. A run that goes on has begun."""
    if plan.init_from is not None and not resumed:
        yield plan.key("model.init_from"), str(plan.init_from)
    for table, file in plan.vectors.items():
        if not resumed or file.frozen:
            yield plan.key(f"model.vectors.{table}"), str(file.path)

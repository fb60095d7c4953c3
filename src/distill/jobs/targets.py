"""What a config may name under `_target_`: classes that are parts of a run, never functions or foreign programs."""

from __future__ import annotations

from functools import cache
from typing import Any

from hydra.utils import get_class

from distill.errors import ConfigError

_OWN = "distill."
# Members of the parts that have no base class: a data set (DatasetSource) and a metric (Metric).
_SHAPES = ({"fingerprint", "write_raw"}, {"__call__", "missing"})
# Bases by name, since Optuna is an extra.
_OPTUNA = {"optuna.pruners._base.BasePruner", "optuna.samplers._base.BaseSampler"}


class Part:
    """Base of what is not part of a run, but is named by the configs of a program that stands on this package."""


def run_part(target: Any, where: str, kind: type[Any] = object) -> type[Any]:
    """Finds the class that a target of the user's config names, and refuses anything but parts of a run.

    Allowed are the classes of this package and classes of any package that extend a base of it (`Part` at least), of
    torch, of Lightning or of Optuna's pruners and samplers (or, for data sets and metrics, have the methods that these
    need). To find out, the module that a target names is imported, as for any `import` of the user's.

    Args:
        target: The path of a class.
        where: Its place, for errors.
        kind: What it must be.

    Raises:
        ConfigError: The target is something else, or does not exist.
    """
    try:
        found: type[Any] = get_class(target)
    except Exception as error:  # whatever the import of a module raises
        raise ConfigError(
            "The target is not a class that can be imported.",
            where=where,
            found=f"{target}: {' '.join(str(error).split())[:300]}",
        ) from error
    if not (issubclass(found, kind) and _is_part(found)):
        raise ConfigError(
            "The target is not part of a run.",
            where=where,
            expected=f"a {kind.__name__}"
            if kind is not object
            else "a class of distill, or one that extends its bases",
            found=str(target),
        )
    return found


def _is_part(found: type[Any]) -> bool:
    if f"{found.__module__}.".startswith(_OWN) or issubclass(found, (Part, *_bases())):
        return True
    if not _OPTUNA.isdisjoint(f"{base.__module__}.{base.__qualname__}" for base in found.__mro__):
        return True
    return any(all(callable(getattr(found, name, None)) for name in shape) for shape in _SHAPES)


@cache
def _bases() -> tuple[type[Any], ...]:
    """What parts of other packages extend; imported where one is named, since preparing data needs none of it."""
    import pytorch_lightning as pl
    from lightning_fabric.plugins import CheckpointIO, ClusterEnvironment
    from pytorch_lightning.accelerators import Accelerator
    from pytorch_lightning.loggers import Logger
    from pytorch_lightning.plugins import LayerSync, Precision
    from pytorch_lightning.profilers import Profiler
    from pytorch_lightning.strategies import Strategy
    from torch import nn

    from distill.features import SequenceEncoding
    from distill.losses.schedule import Schedule
    from distill.metrics.base import PointwiseMetric, RequestMetric

    lightning = (pl.Callback, pl.Trainer, Accelerator, CheckpointIO, ClusterEnvironment, LayerSync, Logger)
    return (
        *(nn.Module, Schedule, SequenceEncoding, PointwiseMetric, RequestMetric),
        *(*lightning, Precision, Profiler, Strategy),
    )

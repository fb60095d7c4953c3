"""What can be refused, or warned of, before anything is trained."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from distill.jobs.fit import FitJob
from distill.jobs.fit_plan import FitPlan
from distill.jobs.parts import build, build_loss
from distill.losses.tasks import task_infos
from distill.sampling import Sampling
from distill.schema import Schema
from distill.training.launch import rank

_log = logging.getLogger(__name__)
_FEW_STEPS = 500
_SMALL_BATCH = 128


def check_setup(plan: FitPlan, schema: Schema, taught: Sequence[str], has_signals: bool) -> None:
    """Refuses loss terms and samplers that do not fit the tasks or the teacher.

    Args:
        plan: Of the model that may have a teacher.
        schema: Of the dataset.
        taught: Names of the tasks that the teacher scores.
        has_signals: Whether there is one.

    Raises:
        ConfigError: A term or sampler asks for a task, or for the teacher's word on one, that there is not.
    """
    build_loss(plan.loss, "loss").setup(task_infos(schema, taught), has_signals)
    sampling = Sampling({name: build(node, f"sampling.{name}") for name, node in plan.sampling.items()})
    sampling.setup(schema.task_names, has_signals, taught)


def warn_of_few_steps(job: FitJob) -> None:
    """Says that small logs, read a few times in large batches, make too few steps to learn much from.

    Says nothing where `trainer.max_steps` was set.
    """
    steps = job.planned_steps()
    if rank() != 0 or job.cfg.trainer.max_steps > 0 or not 0 < steps < _FEW_STEPS:
        return
    epochs = math.ceil(_FEW_STEPS * job.plan.max_epochs / steps)
    batch = max(_SMALL_BATCH, int(job.cfg.data.loader.batch_candidates) * steps // _FEW_STEPS)
    _log.warning(
        "WARNING: The %s will train for %d steps only, too few for most models. Take smaller batches or more epochs, "
        "such as data.loader.batch_candidates=%d or trainer.max_epochs=%d; early stopping ends what has stopped to "
        "get better.",
        job.plan.role,
        steps,
        2 ** int(math.log2(batch)),
        epochs,
    )

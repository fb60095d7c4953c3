"""What a loss is told of the run that it is part of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from distill.batch import FeatureBlock
from distill.data.catalogue import Catalogue
from distill.data.items import ItemFields
from distill.data.popularity import ItemExposures
from distill.errors import ConfigError
from distill.schema import Schema


@dataclass(frozen=True)
class TaskInfo:
    """A task of the schema, as far as a loss needs to know it.

    Attributes:
        name: Its name.
        weight: Its weight among the tasks.
        kind: binary | graded | value.
        taught: Whether the teacher, if there is one, scores it.
    """

    name: str
    weight: float
    kind: str = "binary"
    taught: bool = True


def task_infos(schema: Schema, taught: Collection[str]) -> list[TaskInfo]:
    """Describes the tasks of a schema, in the order of the logits.

    Args:
        schema: Names them.
        taught: Names of those that the teacher scores.
    """
    return [TaskInfo(task.name, task.weight, task.kind, task.name in taught) for task in schema.tasks]


def _untold() -> NoReturn:
    raise ConfigError("The setting of this loss does not tell what one of its terms or samplers asks for.")


@dataclass(frozen=True)
class LossSetting:
    """The run around loss terms and samplers. What takes work to find out is a function, called by who wants to know.

    Attributes:
        tasks: In the order of the logits' columns.
        has_signals: Whether batches will come with teacher signals.
        total_steps: Optimiser steps of the whole training.
        where: Where the config describes the loss, for errors.
        student_vectors: Returns the width of each hidden vector of the student by name.
        teacher_vectors: Likewise of the teacher; nothing if its signals hold none.
        items: Returns the items of the dataset, with the candidate-side fields that the student sees.
        catalogue: Returns the catalogue of the dataset, with the candidate-side fields of batches.
        exposures: Returns how often each item was exposed in the training split.
        missing_cross: Returns one row of cross fields, all missing: nobody computed them for a pair that was not
            recalled.
    """

    tasks: Sequence[TaskInfo]
    has_signals: bool = False
    total_steps: int = 1
    where: str = "loss"
    student_vectors: Callable[[], Mapping[str, int]] = dict
    teacher_vectors: Callable[[], Mapping[str, int]] = dict
    items: Callable[[], ItemFields] = _untold
    catalogue: Callable[[], Catalogue] = _untold
    exposures: Callable[[], ItemExposures] = _untold
    missing_cross: Callable[[], FeatureBlock] = _untold

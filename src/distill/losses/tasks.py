"""What a loss knows of the tasks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

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

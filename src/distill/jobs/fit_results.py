"""What a run tells of its fits, by role: their values on validation, their checkpoints, and how they learned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from distill.jobs.fit_plan import FitResult
from distill.metrics.learning import LearningCurve
from distill.places.mirror import named
from distill.training.callbacks import validation_of
from distill.training.checkpoint_io import read_checkpoint

_OF_TEACHER = "val/teacher/"


def validation_by_role(results: Mapping[str, FitResult], main: str) -> dict[str, dict[str, float]]:
    """Returns what each measured on validation at its best checkpoint; a cotrained teacher at that of its student."""
    found = {role: validation_of(read_checkpoint(of.checkpoint, "meta")) for role, of in results.items()}  # no tensors
    for name, value in found[main].items():
        if name.startswith(_OF_TEACHER) and "teacher" in found:
            found["teacher"]["val/" + name.removeprefix(_OF_TEACHER)] = value
    return {role: values for role, values in found.items() if values}


def checkpoints_by_role(results: Mapping[str, FitResult], folder: Path) -> dict[str, str]:
    """Returns the best checkpoints; one in the run folder by its path there, so that the folder may move."""
    paths = {role: of.checkpoint for role, of in results.items()}
    below = {role: path.relative_to(folder) if path.is_relative_to(folder) else path for role, path in paths.items()}
    return {role: named(str(path)) for role, path in below.items()}


def learning_by_role(results: Mapping[str, FitResult]) -> dict[str, LearningCurve]:
    """Returns the learning curves of those that have one."""
    return {role: of.learning for role, of in results.items() if of.learning is not None}

"""What the terms have in common that take the teacher's probability of a task for a label."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from distill.errors import ConfigError
from distill.losses.functional.teacher_label import teacher_label
from distill.losses.schedule import Schedule, temperature_schedule
from distill.losses.terms.base import LossInputs
from distill.losses.terms.soft import SoftTerm


class ProbabilityTerm(SoftTerm):
    """A term on the teacher's probability p of each task, or on clip(α p, low, high) in its place.

    A teacher that says too little of rare behaviour is scaled up; one that is too sure of itself is clipped.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all that the teacher scores if None.
        label_scale: α.
        label_clip: low and high; none if None.

    Raises:
        ConfigError: The scale is not positive, the clip no interval within 0..1, or α p could be 1 or more.

    Reference: ExFM, arXiv 2502.17494. See `teacher_label`.
    """

    needs_probabilities = True

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        tasks: Sequence[str] | None = None,
        label_scale: float = 1.0,
        label_clip: Sequence[float] | None = None,
    ) -> None:
        super().__init__(weight, rows, tasks)
        self.label_scale, self.label_clip = float(label_scale), _clip(label_clip, f"{type(self).__name__}.label_clip")
        wanted = "above 0" if self.label_clip is not None else "above 0 and, without label_clip, at most 1"
        if not 0 < self.label_scale < float("inf") or (self.label_clip is None and self.label_scale > 1):
            raise ConfigError(
                "The scale of the teacher's probabilities is wrong.",
                where=f"{type(self).__name__}.label_scale",
                expected=wanted,
                found=str(label_scale),
                remedy="Give label_clip too, such as [0.0, 0.99]: a label must stay below 1.",
            )

    def teacher_logits(self, inputs: LossInputs) -> Tensor:
        """Returns the logits of the teacher's labels `[N, K']`, detached; see `LossTerm.teacher_logits`."""
        return teacher_label(super().teacher_logits(inputs), self.label_scale, self.label_clip)


class TemperedProbabilityTerm(ProbabilityTerm):
    """A `ProbabilityTerm` with a temperature, which softens the label as it is after α and the clip.

    Args:
        weight: Weight of the term in the total, a number or a schedule.
        rows: Row selector or several for their union.
        tasks: Names of the tasks it acts on; all that the teacher scores if None.
        temperature: T > 0, a number or a schedule.
        label_scale: α of `ProbabilityTerm`.
        label_clip: low and high; none if None.
    """

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        rows: str | Sequence[str] = "scored",
        tasks: Sequence[str] | None = None,
        temperature: float | Schedule = 1.0,
        label_scale: float = 1.0,
        label_clip: Sequence[float] | None = None,
    ) -> None:
        super().__init__(weight, rows, tasks, label_scale, label_clip)
        self.temperature = self.planned(
            "temperature", temperature_schedule(temperature, where=f"{type(self).__name__}.temperature")
        )


def _clip(clip: Sequence[float] | str | None, where: str) -> tuple[float, float] | None:
    if clip is None:
        return None
    if isinstance(clip, str) or len(clip) != 2 or not 0 <= float(clip[0]) < float(clip[1]) < 1:
        raise ConfigError(
            "Labels must be clipped to an interval of probabilities.",
            where=where,
            expected="[low, high] with 0 <= low < high < 1",
            found=str(clip),
        )
    return float(clip[0]), float(clip[1])
